"""The life of a task, seen through the façade: what becomes ready, what blocks, what recovers, and
what is never lost.
"""

# ruff: noqa: PT012, PT017 - blocks that an exception leaves, and errors that are one of several right answers, are the subject here

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from vespera_orchestrator._model import ArtifactQuery, CauseKind, Dependency, TaskQuery, TaskStatus
from vespera_orchestrator.errors import (
    AliasTakenError,
    ConditionError,
    CycleError,
    InvalidInputError,
    LeaseLostError,
    NothingReadyError,
    NotReadyError,
    PlanError,
    TaskNotFoundError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.orchestrator import Orchestrator
from vespera_orchestrator.tasks import lifecycle
from vespera_orchestrator.testing import ManualClock


@pytest.fixture(params=["memory:", "postgresql:"])
def orch(request, tmp_path, clock):
    """An orchestrator with a session, in memory and on a server."""
    address = (
        request.param
        if request.param == "memory:"
        else request.getfixturevalue("empty_postgres_url")
    )
    with Orchestrator.open(tmp_path, store=address, clock=clock) as opened:
        opened.initialize_session("Try the life of tasks")
        yield opened


def done(orch, task, **given):
    """Complete a task in one step."""
    return orch.complete_task(task, summary="done", detailed_work="the work", **given)


def ready(orch):
    """The aliases of the ready tasks, best first."""
    return [task.alias for task in orch.ready_tasks(limit=1000)]


def statuses(orch):
    """Alias to status, archived tasks included."""
    return {
        task.alias: str(task.status) for task in orch.query_tasks(limit=None, include_archived=True)
    }


def kinds(orch, task=None):
    """The kinds of events, of one task or of all."""
    task_id = None if task is None else orch.get_task(task).id
    return [
        event.kind for event in orch._store.events(limit=None) if task_id in (None, event.task_id)
    ]


def fail(orch, alias, error="it broke", **given):
    """Start a task and fail it; return its open recovery, if one was made."""
    task = orch.execute_task(alias, **given).fail(error)
    found = orch._store.tasks(TaskQuery(recovers_task_id=task.id, status=(TaskStatus.PENDING,)))
    return found[0] if found else None


# --- the three patterns -----------------------------------------------------------


def test_serial(orch):
    """A task is ready when the one it waits for is completed, and not before."""
    a = orch.plan_task("Task A")
    b = orch.plan_task("Task B", dependencies=[a.id])
    assert (a.alias, b.alias, ready(orch)) == ("task_a", "task_b", ["task_a"])
    assert str(orch.why(b)) == "task_b is pending: waits for success of task_a (pending)"
    with pytest.raises(NotReadyError, match="waits for success of task_a") as caught:
        orch.execute_task(b)
    assert caught.value.why == orch.why(b)
    done(orch, a)
    assert ready(orch) == ["task_b"]
    assert str(orch.why(b)) == "task_b is ready"


def test_parallel_with_convergence(orch):
    """Tasks that wait for nothing common run side by side; where they converge, all must have
    come.
    """
    parts = [orch.plan_task(title) for title in ("One", "Two", "Three")]
    orch.plan_task("Together", dependencies=parts)
    assert ready(orch) == ["one", "two", "three"]
    works = [orch.execute_task(agent=f"agent {n}") for n in range(3)]
    assert [work.task.alias for work in works] == ["one", "two", "three"]
    for left, work in enumerate(works[:2]):
        work.complete(summary="done", detailed_work="work")
        assert len(orch.why("together").causes) == 2 - left
        assert ready(orch) == []
    works[2].complete(summary="done", detailed_work="work")
    assert ready(orch) == ["together"]


@pytest.mark.parametrize(("succeeds", "expected"), [(True, "ready"), (False, "skipped")])
def test_conditional(orch, succeeds, expected):
    """``condition="task_d.success"`` on a task that depends on Task D: ready when D is completed,
    skipped when D is given up.
    """
    task_d = orch.plan_task("Task D")
    task_e = orch.plan_task("Task E", dependencies=[task_d.id], condition="task_d.success")
    assert (
        str(orch.why(task_e))
        == "task_e is pending: the condition is not decided yet: task_d is pending (task_d.success)"
    )
    assert orch.why(task_e).causes[0].names == ("task_d",)
    if succeeds:
        done(orch, task_d)
    else:
        orch.abandon_task(task_d)
    after = orch.get_task(task_e)
    assert "ready" if after.is_ready else str(after.status) == expected
    assert after.is_ready is (expected == "ready") is orch.why(task_e).ready
    if not succeeds:
        assert str(orch.why(task_e)) == "task_e is skipped (condition is false: task_d.success)"


def test_a_condition_on_outputs(orch):
    """A condition reads what an earlier task handed on, names a dependency by alias or id, and
    decides as early as it can.
    """
    tests, audit = orch.plan_task("Tests"), orch.plan_task("Audit")
    ship = orch.plan_task(
        "Ship",
        dependencies=[tests, audit],
        condition=f"{tests.id}.outputs.coverage >= 0.8 and not audit.failed",
    )
    alarm = orch.plan_task(
        "Alarm",
        dependencies=[tests, audit],
        condition="tests.outputs.coverage < 0.5 or audit.failed",
    )
    done(orch, tests, outputs={"coverage": 0.4})
    assert orch.get_task(ship).status is TaskStatus.SKIPPED
    assert ready(orch) == ["audit", alarm.alias]


def test_what_the_condition_does_not_name_keeps_its_own_outcome(orch):
    """A dependency that the condition names is governed by it; every other one waits for its own
    outcome.
    """
    for title in ("A", "B", "C"):
        orch.plan_task(title)
    task = orch.plan_task(
        "Then", dependencies=["a", "b", Dependency("c", "failure")], condition="a.done"
    )
    orch.abandon_task("a")
    assert [cause.alias for cause in orch.why(task).causes] == ["b", "c"]
    done(orch, "b")
    orch.abandon_task("c")
    assert ready(orch) == ["then"]


def test_a_condition_that_can_never_be_decided_skips(orch):
    """When everything a condition names has ended and it is still undecided, the task is skipped,
    and the reason says so.
    """
    orch.plan_task("A")
    orch.plan_task("B", dependencies=["a"], condition="a.outputs.x > 1")
    done(orch, "a", outputs={"y": 2})
    assert "can never be decided" in orch.get_task("b").reason


@pytest.mark.parametrize(
    "condition",
    [
        "1 < 'x' and (a.success or true)",
        "(1) < ('x') and (a.success or true)",
        "(true and true) < 'x' and (a.done or true)",
    ],
)
def test_a_condition_of_literals_alone_leaves_no_task_without_a_cause(orch, condition):
    """A comparison that no task can decide is refused; if it is not, `why` does not say that the
    task is ready when it is not.
    """
    orch.plan_task("A")
    with contextlib.suppress(ConditionError):
        task = orch.plan_task("B", dependencies=["a"], condition=condition)
        assert orch.why(task).ready == orch.get_task(task).is_ready == ("b" in ready(orch))


OUTCOME_BY_END = {
    "completed": {"success", "done"},
    "failed": {"failure", "done"},
    "cancelled": {"cancelled", "done"},
    "skipped": {"skipped", "done"},
    "blocked": {"blocked"},
}


@pytest.mark.parametrize(
    "outcome", ["success", "failure", "done", "skipped", "cancelled", "blocked"]
)
@pytest.mark.parametrize("end", OUTCOME_BY_END)
def test_every_outcome_of_a_dependency(orch, end, outcome):
    """A dependency on each outcome is met by exactly the ends that the table says; one that never
    can be skips its task.
    """
    orch.plan_task("Before")
    orch.plan_task("A", dependencies=["before"])
    waiting = orch.plan_task("Waiting", dependencies=[orch.get_task("a").on(outcome)])
    if end == "skipped":
        orch.abandon_task("before")
    else:
        done(orch, "before")
        {
            "completed": done,
            "failed": Orchestrator.abandon_task,
            "cancelled": Orchestrator.cancel_task,
            "blocked": fail,
        }[end](orch, "a")
    assert orch.get_task("a").status == end
    met = outcome in OUTCOME_BY_END[end]
    status = orch.get_task(waiting).status
    assert orch.get_task(waiting).is_ready is met
    if not met:
        assert status == ("pending" if end == "blocked" else "skipped")
    assert orch.why(waiting).ready is met


# --- failure, recovery, a person ------------------------------------------------------


def test_failure_is_blocked_then_recovered_then_ready_from_the_checkpoint(orch):
    """A failed attempt blocks with one recovery task; completing that makes it ready again, and it
    resumes from the checkpoint.
    """
    orch.plan_task("Build", priority=3, specialist_type="builder")
    orch.plan_task("After", dependencies=["build"])
    work = orch.execute_task("build", agent="ada")
    work.save_artifact("Half", "half of it")
    work.checkpoint({"step": 2}, "two of four", progress=0.5)
    blocked = work.fail(ValueError("no compiler"))
    assert (blocked.status, blocked.reason, blocked.failures, blocked.was_blocked) == (
        "blocked",
        "ValueError: no compiler",
        1,
        True,
    )
    (recovery,) = orch.ready_tasks()
    assert (recovery.alias, recovery.task_type, recovery.recovers_task_id) == (
        "recover_build",
        "recovery",
        blocked.id,
    )
    assert (recovery.priority, recovery.specialist_type) == (3, "builder")
    assert recovery.context["error"] == "ValueError: no compiler"
    assert recovery.context["checkpoint_note"] == "two of four"
    kept = [
        orch.artifacts.get(artifact_id).title for artifact_id in recovery.context["artifact_ids"]
    ]
    assert kept == ["Half", "Build: attempt 1 did not succeed"]
    assert str(orch.why("build")) == (
        "build is blocked: its recovery recover_build comes first (pending); "
        "it stopped with: ValueError: no compiler"
    )
    assert orch.get_task("after").status is TaskStatus.PENDING
    done(orch, recovery)
    again = orch.execute_task("build", agent="bob")
    assert (again.attempt.number, again.resumed_from.state, again.resumed_from.attempt) == (
        2,
        {"step": 2},
        1,
    )
    again.complete(summary="built", detailed_work="all of it")
    assert ready(orch) == ["after"]
    assert kinds(orch, "build")[-5:] == [
        "task_blocked",
        "task_recovered",
        "task_started",
        "artifact_saved",
        "task_completed",
    ]


def test_after_max_attempts_a_person_decides(orch):
    """Two failures each get a recovery; after the third `why` names the person and what can be
    chosen, and so does the next step.
    """
    orch.plan_task("Build")
    for number in (1, 2):
        done(orch, fail(orch, "build", f"error {number}"))
    assert fail(orch, "build", "error 3") is None
    why = orch.why("build")
    assert why.needs_person
    assert [(cause.kind, cause.names) for cause in why.causes] == [
        (CauseKind.PERSON, ("retry", "abandon", "replace"))
    ]
    assert str(why) == (
        "build is blocked: a person must decide after 3 failed attempts: "
        "orch.retry_task('build'), orch.abandon_task('build'), "
        "or plan a replacement (error 3)"
    )
    step = orch.next_step()
    assert (step.action, step.alias, step.call) == ("decide", "build", "orch.retry_task('build')")


def test_a_person_may_retry(orch):
    """Retrying makes the task pending with its failures forgotten, so that recovery is tried
    again.
    """
    orch.plan_task("Build")
    for _ in range(2):
        done(orch, fail(orch, "build"))
    fail(orch, "build")
    retried = orch.retry_task("build", "the disk was full")
    assert (retried.is_ready, retried.failures, retried.reason, retried.attempts) == (
        True,
        0,
        None,
        3,
    )
    assert fail(orch, "build") is not None


def test_a_person_may_abandon(orch):
    """Abandoning fails the task; what waits for success is skipped downward, each with its reason,
    what waits for failure is ready.
    """
    orch.plan_task("Build")
    orch.plan_task("Test", dependencies=["build"])
    orch.plan_task("Ship", dependencies=["test"])
    orch.plan_task("Apologise", dependencies=[Dependency("build", "failure")])
    orch.plan_task("Note", dependencies=[Dependency("ship", "skipped")])
    recovery = fail(orch, "build")
    assert orch.abandon_task("build", "not worth it").reason == "not worth it"
    assert statuses(orch) == {
        "build": "failed",
        "test": "skipped",
        "ship": "skipped",
        "apologise": "pending",
        "note": "pending",
        recovery.alias: "cancelled",
    }
    assert orch.get_task("test").reason == "waits for success of build, which is failed"
    assert orch.get_task("ship").reason == "waits for success of test, which is skipped"
    assert ready(orch) == ["apologise", "note"]
    with pytest.raises(TransitionError, match="ended already"):
        orch.abandon_task("build")


def test_a_recovery_that_fails_gets_no_recovery(orch):
    """A blocked recovery is no task for another recovery: a person decides about it, and the task
    it is for says so.
    """
    orch.plan_task("Build")
    recovery = fail(orch, "build")
    assert fail(orch, recovery) is None
    assert orch.why(recovery).needs_person
    assert "as its recovery recover_build is blocked itself" in str(orch.why("build"))
    orch.retry_task(recovery)
    done(orch, recovery)
    assert ready(orch) == ["build"]


def test_a_cancelled_recovery_leaves_the_decision_to_a_person(orch):
    """Without its recovery the blocked task needs a person; retrying the recovery opens that way
    again.
    """
    orch.plan_task("Build")
    recovery = fail(orch, "build")
    orch.cancel_task(recovery)
    assert "a person must decide as it has no open recovery" in str(orch.why("build"))
    orch.retry_task(recovery)
    assert not orch.why("build").needs_person
    assert ready(orch) == ["recover_build"]


def open_recoveries(orch, alias):
    """The recoveries of a task that have not ended."""
    query = TaskQuery(recovers_task_id=orch.get_task(alias).id, limit=None, include_archived=True)
    return [task.alias for task in orch._store.tasks(query) if not task.status.is_terminal]


def test_there_is_at_most_one_open_recovery(orch):
    """Whatever a person does with an old recovery, a task never has two open ones."""
    orch.plan_task("Build")
    first = fail(orch, "build")
    orch.retry_task("build")
    assert orch.get_task(first).status is TaskStatus.CANCELLED
    second = fail(orch, "build")
    assert open_recoveries(orch, "build") == [second.alias]
    with contextlib.suppress(TransitionError):
        orch.retry_task(first)
    assert len(open_recoveries(orch, "build")) == 1


def test_a_recovery_cannot_wait_for_what_it_recovers(orch):
    """A blocked task waits for its recovery: an edge back would leave both waiting for ever, so it
    is refused as a circle.
    """
    orch.plan_task("Build")
    recovery = fail(orch, "build")
    with pytest.raises(CycleError):
        orch.add_dependency(recovery, "build")


def test_a_subtask_of_a_recovery_cannot_wait_for_what_it_recovers(orch):
    """The same through a subtask that is planned under the recovery."""
    orch.plan_task("Build")
    recovery = fail(orch, "build")
    with pytest.raises(CycleError):
        orch.plan_task("Look", parent_task_id=recovery, dependencies=["build"])


def test_a_task_of_the_highest_priority_can_fail(orch):
    """No priority is so high that failing is impossible."""
    orch.plan_task("Build", priority=2**53)
    assert fail(orch, "build") is not None


def test_a_recovery_comes_where_what_waits_for_it_puts_it(orch):
    """Before what is as long, and behind a longer chain: that one decides when all is done."""
    orch.plan_tasks(
        [
            {"title": "Dig", "estimated_effort": "2h"},
            {"title": "Build", "dependencies": ["dig"]},
            {"title": "Paint", "dependencies": ["build"]},
            {"title": "Sweep"},
            {"title": "Mow"},
        ]
    )
    fail(orch, "sweep")
    assert [task.alias for task in orch.ready_tasks()] == ["dig", "recover_sweep", "mow"]
    fail(orch, "dig")
    assert orch.ready_tasks()[0].alias == "recover_dig"


# --- next_action ------------------------------------------------------------------------


def test_next_action_complete(orch):
    """The task is completed, with summary, outputs, and the work whole in an artifact."""
    orch.plan_task("Build")
    task = orch.complete_task(
        "build",
        summary="built",
        detailed_work="# All of it\n",
        outputs={"n": [1]},
        artifact_type="report",
    )
    assert (task.status, task.summary, task.outputs, task.ended_at) == (
        "completed",
        "built",
        {"n": [1]},
        orch._clock(),
    )
    (artifact,) = orch._store.artifacts(ArtifactQuery(task_ids=(task.id,)))
    assert (orch.artifacts.read(artifact), artifact.kind, artifact.attempt, artifact.partial) == (
        b"# All of it\n",
        "report",
        1,
        False,
    )


def test_next_action_continue(orch):
    """What was handed in becomes an artifact, and the holder keeps the task."""
    orch.plan_task("Build")
    work = orch.execute_task("build")
    task = work.complete(summary="half", detailed_work="half", next_action="continue")
    assert (task.status, task.summary, task.attempts) == ("in_progress", "half", 1)
    assert len(orch._store.artifacts(ArtifactQuery(task_ids=(task.id,)))) == 1
    assert work.complete(summary="whole", detailed_work="whole").status is TaskStatus.COMPLETED
    assert [
        a.version
        for a in orch._store.artifacts(ArtifactQuery(task_ids=(task.id,), include_superseded=True))
    ] == [1, 2]


def test_next_action_continue_on_a_task_that_was_not_started(orch, clock):
    """Handing in on a ready task with ``continue`` takes the task and holds it, for longer than
    this moment.
    """
    orch.plan_task("Build")
    assert done(orch, "build", next_action="continue").status is TaskStatus.IN_PROGRESS
    clock.advance(60)
    assert orch.why("build").causes[0].kind is CauseKind.LEASE


def test_next_action_needs_revision(orch):
    """The task is pending again with the note; what was handed in stays, and the next attempt is a
    new one.
    """
    orch.plan_task("Build")
    orch.execute_task("build")
    task = orch.complete_task(
        "build", summary="names are unclear", detailed_work="draft", next_action="needs_revision"
    )
    assert (task.status, task.reason, task.is_ready) == ("pending", "names are unclear", True)
    assert orch._store.artifacts(ArtifactQuery(task_ids=(task.id,)))[0].partial
    assert str(orch.why("build")) == "build is ready; it was handed back with: names are unclear"
    assert str(orch.next_step()).startswith(
        "When you have read this, then start 'Build'. It was handed back with: names are unclear."
    )
    again = orch.execute_task("build")
    assert again.attempt.number == 2
    assert "From the attempt before: names are unclear" in again.briefing()


def test_next_action_blocked(orch):
    """The task is blocked with one recovery that carries the words and what was handed in."""
    orch.plan_task("Build")
    task = done(orch, "build", next_action="blocked")
    (recovery,) = orch.ready_tasks()
    assert (task.status, task.failures, recovery.context["error"]) == ("blocked", 1, "done")
    assert orch.artifacts.read(recovery.context["artifact_ids"][0]) == b"the work"


def test_an_unknown_next_action_is_refused(orch):
    """A word that is none of the four is refused with the four, and nothing is written."""
    orch.plan_task("Build")
    with pytest.raises(
        InvalidInputError, match="not one of complete, continue, needs_revision, blocked"
    ):
        done(orch, "build", next_action="finish")
    assert statuses(orch) == {"build": "pending"}


# --- the hold -----------------------------------------------------------------------------


def test_a_lapsed_hold_goes_to_the_next_caller(orch, clock):
    """After the lease has lapsed whoever calls next finds the task ready, with the checkpoint of
    the one who fell silent.
    """
    orch.plan_task("Build")
    work = orch.execute_task("build", agent="ada", lease_s=60)
    work.checkpoint({"at": 1}, "one")
    assert str(orch.why("build")) == (
        "build is in_progress: ada is working on it "
        "(attempt 1, last sign of life just now, held for another 1 minute)"
    )
    clock.advance(60)
    with pytest.raises(NotReadyError, match=r"ada is working on it .* take_over=True"):
        orch.execute_task("build", agent="bob")
    clock.advance(1)
    again = orch.execute_task(agent="bob", lease_s=60)
    assert (again.task.alias, again.attempt.number, again.resumed_from.state) == (
        "build",
        2,
        {"at": 1},
    )
    first, second = orch._store.attempts(again.task.id)
    assert (first.ending, second.ending, second.agent) == ("abandoned", None, "bob")
    assert kinds(orch, "build")[-2:] == ["lease_expired", "task_started"]


@pytest.mark.parametrize("sign", ["checkpoint", "heartbeat"])
def test_signs_of_life_renew_the_hold(orch, clock, sign):
    """A checkpoint or a heartbeat makes the hold last as long again, from that moment."""
    orch.plan_task("Build")
    work = orch.execute_task("build", lease_s=60)
    for _ in range(3):
        clock.advance(50)
        work.checkpoint({}) if sign == "checkpoint" else work.heartbeat()
    assert orch.why("build").causes[0].until == clock() + timedelta(seconds=60)


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("act", ["checkpoint", "heartbeat", "complete"])
def test_a_holder_that_slept_has_its_task_back(orch, clock, act, noticed):
    """A holder whose lease lapsed while nobody took the task goes on as if nothing had happened."""
    orch.plan_task("Build")
    work = orch.execute_task("build", lease_s=60)
    clock.advance(3600)
    assert not noticed or orch.why("build").ready
    if act == "complete":
        assert work.complete(summary="s", detailed_work="d").status is TaskStatus.COMPLETED
    else:
        work.checkpoint({}) if act == "checkpoint" else work.heartbeat()
        assert orch.why("build").causes[0].until == clock() + timedelta(seconds=60)
        assert work.complete(summary="s", detailed_work="d").attempts == 1


def test_a_holder_that_saves_an_artifact_after_sleeping_has_its_task_back(orch, clock):
    """Any fenced write regains a lapsed hold, and what is regained lasts: the next call does not
    take it away again.
    """
    orch.plan_task("Build")
    work = orch.execute_task("build", lease_s=60)
    clock.advance(3600)
    assert orch.why("build").ready
    work.save_artifact("Notes", "n")
    assert orch.why("build").causes[0].kind is CauseKind.LEASE
    assert orch._store.attempts(work.task.id)[0].error is None


def test_a_hold_that_lapses_after_its_reason_is_gone_ends_in_an_explained_skip(orch, clock):
    """What was begun on a failure that has been made good since is not begun anew; its checkpoint
    stays, and its holder is told.
    """
    build = orch.plan_task("Build")
    orch.plan_task("Apologise", dependencies=[build.on("failure")])
    orch.abandon_task("build")
    work = orch.execute_task("apologise", lease_s=60)
    work.checkpoint({"letter": "half"})
    orch.retry_task("build")
    orch.complete_task("build", summary="s", detailed_work="d")
    assert orch.get_task("apologise").status is TaskStatus.IN_PROGRESS
    clock.advance(3600)
    assert "build" in str(orch.why("apologise"))
    assert orch.get_task("apologise").status is TaskStatus.SKIPPED
    assert orch._store.last_checkpoint(work.task.id).state == {"letter": "half"}
    with pytest.raises(LeaseLostError, match="skipped"):
        work.heartbeat()
    assert orch.next_step().action == "done"


def replaced(orch, clock):
    """Two works on one task: one that was replaced after it fell silent, and the one that replaced
    it.
    """
    orch.plan_task("Build")
    lost = orch.execute_task("build", agent="ada", lease_s=60)
    clock.advance(61)
    return lost, orch.execute_task("build", agent="bob", lease_s=60)


@pytest.mark.parametrize(
    "act", ["checkpoint", "heartbeat", "complete", "continue", "save_artifact", "fail", "release"]
)
def test_a_replaced_holder_is_told_and_can_change_nothing(orch, clock, act):
    """The one that was replaced gets `LeaseLostError` whatever it tries; the task, the new attempt
    and the log stay as they were.
    """
    lost, new = replaced(orch, clock)
    before = (
        orch.get_task("build"),
        orch._store.attempts(new.task.id),
        orch._store.last_checkpoint(new.task.id),
    )
    calls = {
        "checkpoint": lambda: lost.checkpoint({"from": "ada"}),
        "heartbeat": lost.heartbeat,
        "complete": lambda: lost.complete(summary="s", detailed_work="ada's work"),
        "continue": lambda: lost.complete(
            summary="s", detailed_work="ada's work", next_action="continue"
        ),
        "save_artifact": lambda: lost.save_artifact("Notes", "ada's work"),
        "fail": lambda: lost.fail("ada's work"),
        "release": lost.release,
    }
    with pytest.raises(LeaseLostError, match="attempt 2 by bob followed it") as caught:
        calls[act]()
    assert (caught.value.task_id, caught.value.attempt) == ("build", 1)
    assert before == (
        orch.get_task("build"),
        orch._store.attempts(new.task.id),
        orch._store.last_checkpoint(new.task.id),
    )
    if act in ("complete", "continue", "save_artifact", "fail"):
        kept = orch.artifacts.get(caught.value.kept_artifact_id)
        assert b"ada's work" in orch.artifacts.read(kept)
        assert (kept.kind, kept.agent, kept.partial, kept.task_id) == (
            "late",
            "ada",
            True,
            new.task.id,
        )
    assert new.complete(summary="bob's", detailed_work="bob's work").summary == "bob's"


@pytest.mark.parametrize("verb", ["cancel_task", "abandon_task"])
def test_a_holder_whose_task_was_given_up_is_told_and_its_work_kept(orch, verb):
    """Cancelling or abandoning a running task takes it from its holder; what the holder still
    brings is kept.
    """
    orch.plan_task("Build")
    work = orch.execute_task("build")
    getattr(orch, verb)("build", "changed our minds")
    with pytest.raises(LeaseLostError, match="changed our minds") as caught:
        work.complete(summary="s", detailed_work="all of it")
    assert orch.artifacts.read(caught.value.kept_artifact_id) == b"all of it"


def test_a_completion_sent_twice_is_one(orch):
    """The same completion again, by the work or without one, changes nothing; a different one is
    refused and kept.
    """
    orch.plan_task("Build")
    work = orch.execute_task("build")
    said = {"summary": "s", "detailed_work": "d", "outputs": {"x": 1}}
    first = work.complete(**said)
    seq = orch._store.last_seq()
    assert work.complete(**said) == orch.complete_task("build", **said) == first
    assert orch._store.last_seq() == seq
    with pytest.raises(TransitionError, match="kept as artifact"):
        orch.complete_task("build", summary="s", detailed_work="other", outputs={"x": 1})
    assert orch.get_task("build") == first


def test_a_block_sent_twice_is_one(orch):
    """The same report of a failure again makes no second recovery."""
    orch.plan_task("Build")
    work = orch.execute_task("build")
    work.fail("no")
    work.fail("no")
    assert len(open_recoveries(orch, "build")) == 1
    assert orch.get_task("build").failures == 1


# --- the with block -----------------------------------------------------------------------


def test_an_exception_in_the_block_blocks_the_task_and_propagates(orch):
    """The partial work is kept with the traceback, and the exception goes on."""
    orch.plan_task("Build")
    with pytest.raises(ZeroDivisionError), orch.execute_task("build") as work:
        work.checkpoint({"n": 1})
        raise ZeroDivisionError("by nothing")
    task = orch.get_task("build")
    assert (task.status, task.reason) == ("blocked", "ZeroDivisionError: by nothing")
    (report,) = orch._store.artifacts(ArtifactQuery(task_ids=(task.id,), kind="failure"))
    assert b"Traceback" in orch.artifacts.read(report)
    assert b"Last checkpoint: " in orch.artifacts.read(report)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_releases_the_task(orch, interruption):
    """Ctrl-C is no failure: the task is pending again with its checkpoint, no recovery is made, and
    the interruption goes on.
    """
    orch.plan_task("Build")
    with pytest.raises(interruption), orch.execute_task("build") as work:
        work.checkpoint({"n": 1})
        raise interruption
    task = orch.get_task("build")
    assert (task.status, task.failures, task.reason) == (
        "pending",
        0,
        f"interrupted: {interruption.__name__}",
    )
    assert orch.execute_task("build").resumed_from.state == {"n": 1}


def test_leaving_the_block_without_a_word_releases_the_task(orch):
    """Who says nothing has given no verdict."""
    orch.plan_task("Build")
    with orch.execute_task("build"):
        pass
    assert ready(orch) == ["build"]
    with orch.execute_task("build") as work:
        work.complete(summary="s", detailed_work="d")
    assert orch.get_task("build").status is TaskStatus.COMPLETED


def test_an_exception_after_the_hold_was_lost_still_propagates(orch, clock):
    """The block of a replaced holder cannot give back what it no longer has; its own exception is
    the one that is seen.
    """
    orch.plan_task("Build")
    with pytest.raises(KeyError, match="mine") as caught, orch.execute_task("build", lease_s=60):
        clock.advance(61)
        orch.execute_task("build", agent="bob")
        raise KeyError("mine")
    assert "attempt 1 no longer holds task build" in caught.value.__notes__[0]
    assert orch.get_task("build").status is TaskStatus.IN_PROGRESS


# --- cancelling, skipping, trying again ------------------------------------------------------


def family(orch):
    """A parent with two children and a grandchild, and what waits for them."""
    orch.plan_tasks(
        [
            {
                "title": "Parent",
                "alias": "p",
                "children": [{"title": "C1", "alias": "c1"}, {"title": "C2", "alias": "c2"}],
            },
            {"title": "Grandchild", "alias": "g", "parent_task_id": "c1"},
            {"title": "After", "dependencies": ["p"]},
        ]
    )


def test_cancelling_takes_the_subtree_along(orch):
    """All below that has not ended is cancelled too, work is kept, dependents are skipped;
    cancelling twice is no error.
    """
    family(orch)
    done(orch, "c2")
    work = orch.execute_task("g")
    work.save_artifact("Notes", "n")
    assert orch.cancel_task("p", "no money").status is TaskStatus.CANCELLED
    assert statuses(orch) == {
        "p": "cancelled",
        "c1": "cancelled",
        "g": "cancelled",
        "c2": "completed",
        "after": "skipped",
    }
    assert orch.get_task("g").reason == "no money"
    assert len(orch._store.artifacts(ArtifactQuery(task_ids=(work.task.id,)))) == 1
    seq = orch._store.last_seq()
    assert orch.cancel_task("p").reason == "no money"
    assert orch._store.last_seq() == seq
    with pytest.raises(TransitionError, match="ended already"):
        orch.cancel_task("c2")


def test_cancelling_without_the_subtree_leaves_it(orch):
    """With ``subtree=False`` the subtasks go on."""
    family(orch)
    orch.cancel_task("p", subtree=False)
    assert statuses(orch) == {
        "p": "cancelled",
        "c1": "pending",
        "g": "pending",
        "c2": "pending",
        "after": "skipped",
    }
    assert ready(orch) == ["g", "c2"] or ready(orch) == ["c2", "g"]


def test_skipping_takes_the_subtree_along(orch):
    """Whoever works on a part of what is skipped is told so, and loses nothing by it."""
    orch.plan_task("Before")
    family(orch)
    orch.update_task("p", dependencies=["before"])
    work = orch.execute_task("g")
    work.checkpoint({"page": 7})
    orch.abandon_task("before", "too dear")
    skipped = dict.fromkeys(("p", "c1", "g", "c2", "after"), "skipped")
    assert statuses(orch) == {"before": "failed"} | skipped
    assert str(orch.why("g")) == "g is skipped (it is a part of c1, which is skipped)"
    with pytest.raises(LeaseLostError, match="a part of c1") as caught:
        work.complete(summary="s", detailed_work="d")
    assert orch.artifacts.read(caught.value.kept_artifact_id) == b"d"
    orch.retry_task("before")
    assert set(statuses(orch).values()) == {"pending"}
    assert orch.execute_task("g").resumed_from.state == {"page": 7}


def test_a_parent_is_ready_when_all_its_children_have_ended(orch):
    """A parent waits for its children, however they end, then does its own work: their results are
    together already.
    """
    family(orch)
    assert str(orch.why("p")) == "p is pending: 2 subtasks have not ended: c1, c2"
    with pytest.raises(NotReadyError, match="2 subtasks have not ended"):
        orch.execute_task("p")
    done(orch, "g")
    done(orch, "c1")
    orch.abandon_task("c2")
    assert ready(orch) == ["p"]
    assert "are brought together" in orch.next_step().sentence
    done(orch, "p")
    assert ready(orch) == ["after"]


def test_a_running_parent_waits_for_subtasks_planned_meanwhile(orch):
    """A holder may plan subtasks of its own task; completing it before they have ended is refused,
    and says what is open.
    """
    orch.plan_task("P")
    work = orch.execute_task("p")
    orch.plan_task("C", parent_task_id="p")
    with pytest.raises(NotReadyError, match="1 subtask has not ended: c"):
        work.complete(summary="s", detailed_work="d")
    work.release()
    assert ready(orch) == ["c"]
    done(orch, "c")
    assert ready(orch) == ["p"]


def test_an_ended_parent_takes_no_subtasks(orch):
    """A subtask under a task that has ended is refused, with the way to open it again."""
    orch.plan_task("P")
    orch.cancel_task("p")
    with pytest.raises(TransitionError, match="retry_task"):
        orch.plan_task("C", parent_task_id="p")


def test_retrying_opens_what_was_skipped_because_of_it(orch):
    """What was skipped because a task failed is pending again when that task is tried again, and so
    on downward.
    """
    orch.plan_task("A")
    orch.plan_task("B", dependencies=["a"])
    orch.plan_task("C", dependencies=["b"])
    orch.plan_task("Otherwise", dependencies=[Dependency("a", "failure")])
    orch.abandon_task("a")
    assert statuses(orch) == {"a": "failed", "b": "skipped", "c": "skipped", "otherwise": "pending"}
    orch.retry_task("a")
    assert set(statuses(orch).values()) == {"pending"}
    assert ready(orch) == ["a"]
    assert kinds(orch, "c") == ["task_planned", "task_skipped", "task_reopened"]
    for alias in "abc":
        done(orch, alias)
    assert statuses(orch) == {
        "a": "completed",
        "b": "completed",
        "c": "completed",
        "otherwise": "skipped",
    }


def test_retrying_opens_a_task_skipped_over_two_ways_once(orch):
    """A task reached over two ways is opened once, with one event, and its parent waits for it
    once.
    """
    orch.plan_task("A")
    orch.plan_task("P")
    orch.plan_task("B", dependencies=["a"])
    orch.plan_task("C", dependencies=["a"])
    orch.plan_task("D", dependencies=["b", "c"], parent_task_id="p")
    orch.cancel_task("a")
    orch.retry_task("a")
    assert kinds(orch, "d") == ["task_planned", "task_skipped", "task_reopened"]
    for alias in "abcd":
        done(orch, alias)
    assert orch.get_task("p").blockers == 0
    assert ready(orch) == ["p"]


def test_a_skipped_task_cannot_be_retried_while_its_cause_stands(orch):
    """Retrying what would be skipped again at once is refused, and names the cause; nothing is
    written.
    """
    orch.plan_task("A")
    orch.plan_task("B", dependencies=["a"])
    orch.cancel_task("a")
    seq = orch._store.last_seq()
    with pytest.raises(
        TransitionError,
        match=r"waits for success of a, which is cancelled\); first a: orch.retry_task",
    ):
        orch.retry_task("b")
    assert (orch._store.last_seq(), orch.get_task("b").status) == (seq, "skipped")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("pending", "only a blocked or ended task can"),
        ("in_progress", "only a blocked or ended task can"),
        ("completed", r"it is done, and opens again by orch\.reopen_task\('a', 'what is wrong'\)"),
    ],
)
def test_what_cannot_be_retried(orch, state, reason):
    """Only an ended or blocked task can be tried again; a completed one is opened again."""
    orch.plan_task("A")
    if state == "in_progress":
        orch.execute_task("a")
    if state == "completed":
        done(orch, "a")
    with pytest.raises(
        TransitionError, match=f"task a is {state}: cannot be tried again; {reason}"
    ):
        orch.retry_task("a")


def test_a_parent_may_wait_for_one_of_its_own_children(orch):
    """A parent whose condition names a child is counted right when several children are skipped in
    one go.
    """
    orch.plan_task("A")
    orch.plan_tasks(
        [
            {"title": "P", "dependencies": ["c"], "condition": "c.skipped"},
            {"title": "C", "parent_task_id": "p", "dependencies": ["a"]},
            {"title": "D", "parent_task_id": "p", "dependencies": ["a"]},
        ]
    )
    orch.cancel_task("a")
    assert statuses(orch) == {"a": "cancelled", "p": "pending", "c": "skipped", "d": "skipped"}
    assert orch.get_task("p").blockers == 0
    assert ready(orch) == ["p"]


def test_a_plan_that_is_partly_dead_on_arrival_counts_right(orch):
    """The same when the children are skipped in the moment they are planned."""
    orch.plan_task("A")
    orch.cancel_task("a")
    orch.plan_tasks(
        [
            {"title": "P", "dependencies": ["c"], "condition": "c.skipped"},
            {"title": "C", "parent_task_id": "p", "dependencies": ["a"]},
            {"title": "D", "parent_task_id": "p", "dependencies": ["a"]},
        ]
    )
    assert ready(orch) == ["p"]


# --- deleting, updating ----------------------------------------------------------------------


def test_deleting_archives(orch):
    """An ended task disappears from lists and stays readable; an open one is not deleted."""
    orch.plan_task("A")
    with pytest.raises(TransitionError, match="cancel it first"):
        orch.delete_task("a")
    done(orch, "a")
    assert orch.delete_task("a").archived
    assert orch.query_tasks() == []
    assert [task.alias for task in orch.query_tasks(include_archived=True)] == ["a"]
    assert orch.get_task("a").archived


def test_an_archived_task_that_is_opened_again_is_no_longer_archived(orch):
    """``archived`` is a flag on an ended task: what is open again appears in lists, counts and the
    next step.
    """
    orch.plan_task("A")
    orch.plan_task("B", dependencies=["a"])
    orch.cancel_task("a")
    orch.delete_task("a")
    orch.delete_task("b")
    assert not orch.retry_task("a").archived
    assert not orch.get_task("b").archived
    assert [task.alias for task in orch.query_tasks()] == ["a", "b"]
    assert orch.next_step().action == "execute"


def test_deleting_for_good(orch):
    """A hard delete removes the task and keeps its artifacts and an event; while others depend on
    it, it is refused by name.
    """
    orch.plan_task("A")
    orch.plan_task("B", dependencies=["a"])
    done(orch, "a")
    (artifact,) = orch._store.artifacts(ArtifactQuery())
    with pytest.raises(TransitionError, match="b depend on it or are below it"):
        orch.delete_task("a", hard=True)
    orch.cancel_task("b")
    orch.delete_task("b", hard=True)
    orch.delete_task("a", hard=True)
    with pytest.raises(TaskNotFoundError):
        orch.get_task("a")
    assert orch.artifacts.read(artifact) == b"the work"
    assert kinds(orch)[-2:] == ["task_deleted", "task_deleted"]


def test_updating_changes_what_is_written_about_a_task(orch):
    """What is given changes, the rest stays; the event tells what changed."""
    orch.plan_task("A", "old", priority=1)
    task = orch.update_task(
        "a",
        description="new",
        priority=5,
        due_date="2026-12-24",
        context={"k": 1},
        estimated_effort="1 day",
    )
    assert (task.title, task.description, task.priority, task.context) == ("A", "new", 5, {"k": 1})
    assert task.due_at == datetime(2026, 12, 24, 12, tzinfo=UTC)
    event = orch._store.events(limit=None)[-1]
    assert (event.kind, event.data["priority"]) == ("task_updated", 5)
    seq = orch._store.last_seq()
    assert orch.update_task("a") == task
    assert orch._store.last_seq() == seq
    with pytest.raises(InvalidInputError, match="title"):
        orch.update_task("a", title="  ")


def test_dependencies_can_be_added_and_removed(orch):
    """A pending task can wait for more or less; what its condition names must stay."""
    for title in ("A", "B", "C"):
        orch.plan_task(title)
    assert orch.add_dependency("c", "a").blockers == 1
    assert orch.add_dependency("c", orch.get_task("b").on("failure")).blockers == 2
    done(orch, "a")
    assert orch.remove_dependency("c", "b").is_ready
    with pytest.raises(UnknownDependencyError, match=r"does not depend on b, but on a$"):
        orch.remove_dependency("c", "b")
    with pytest.raises(UnknownDependencyError, match=r"does not depend on c, but on nothing$"):
        orch.remove_dependency("b", "c")
    orch.plan_task("D", dependencies=["b"], condition="b.success")
    with pytest.raises(ConditionError, match="must stay"):
        orch.remove_dependency("d", "b")
    done(orch, "c")
    with pytest.raises(TransitionError, match="only a pending task"):
        orch.add_dependency("c", "b")


def test_an_added_dependency_that_can_never_be_met_skips(orch):
    """Waiting for what has already ended otherwise is the same as having waited for it."""
    orch.plan_task("A")
    orch.plan_task("B")
    done(orch, "a")
    assert orch.add_dependency("b", "a", on="failure").status is TaskStatus.SKIPPED


# --- what now? -------------------------------------------------------------------------------


def test_nothing_ready_carries_the_next_step(orch):
    """Asking for any task when none is ready says what to do instead: plan, wait, decide, or that
    all is done.
    """
    with pytest.raises(NothingReadyError, match="plan the first one") as caught:
        orch.execute_task()
    assert caught.value.next_step == orch.next_step()
    orch.plan_task("A")
    orch.execute_task()
    with pytest.raises(NothingReadyError) as caught:
        orch.execute_task()
    assert (caught.value.next_step.action, caught.value.next_step) == ("wait", orch.next_step())
    orch.complete_task("a", summary="s", detailed_work="d")
    with pytest.raises(NothingReadyError, match="Everything has ended: 1 completed"):
        orch.execute_task()
    assert orch.next_step().action == "done"


def test_the_best_ready_task_goes_first(orch):
    """By priority, then in the order planned."""
    for title, priority in (("A", 0), ("B", 5), ("C", 5), ("D", -1)):
        orch.plan_task(title, priority=priority)
    assert ready(orch) == ["b", "c", "a", "d"]
    assert [task.alias for task in orch.ready_tasks(limit=2)] == ["b", "c"]
    assert orch.execute_task().task.alias == "b"


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"priority": "high"},
        {"priority": 1.5},
        {"priority": 2**63},
        {"context": 5},
        {"context": {"a": {1, 2}}},
        {"context": {"a": float("nan")}},
        {"condition": 5},
        {"due_date": 5},
        {"due_date": "someday"},
        {"dependencies": "first"},
        {"dependencies": [5]},
        {"dependencies": 5},
        {"dependencies": [{"on": "success"}]},
        {"dependencies": [{"task": "first", "on": "luck"}]},
        {"alias": "two words"},
        {"alias": "and"},
        {"alias": ""},
        {"parent_task_id": 5},
        {"title": None},
        {"title": " "},
    ],
    ids=str,
)
@pytest.mark.parametrize("way", ["plan_task", "plan_tasks"])
def test_a_wrong_argument_is_refused_in_our_words(orch, way, given):
    """What an agent passes by mistake is refused as that, not as the store's trouble or a bare
    TypeError, and nothing is written.
    """
    orch.plan_task("First")
    seq = orch._store.last_seq()
    spec = {"title": "Second"} | given
    with pytest.raises((PlanError, InvalidInputError)):
        orch.plan_tasks([spec]) if way == "plan_tasks" else orch.plan_task(
            spec.pop("title"), **spec
        )
    assert orch._store.last_seq() == seq


@pytest.mark.parametrize("lease_s", [0, -1, float("nan"), float("inf"), 1e12, 1e300])
def test_a_lease_that_cannot_be_is_refused(orch, lease_s):
    """A hold lasts more than nothing and ends within the calendar."""
    orch.plan_task("A")
    with pytest.raises(InvalidInputError):
        orch.execute_task("a", lease_s=lease_s)
    assert ready(orch) == ["a"]


def test_a_taken_alias_is_refused(orch):
    """An alias that was asked for is given or refused, never changed."""
    task = orch.plan_task("A")
    with pytest.raises(AliasTakenError) as caught:
        orch.plan_task("B", alias="a")
    assert caught.value.task_id == task.id
    assert orch.plan_task("A").alias == "a_2"


def test_a_condition_is_checked_when_it_is_planned(orch):
    """A name that is no dependency is refused with its column and the names that would do."""
    orch.plan_task("A")
    orch.plan_task("B")
    with pytest.raises(ConditionError, match="'b' is not a dependency of this task") as caught:
        orch.plan_task("C", dependencies=["a"], condition="a.success and b.success")
    assert (caught.value.column, caught.value.allowed) == (15, ("a",))
    assert "add it to the dependencies" in str(caught.value)
    with pytest.raises(ConditionError, match=r"'aa' is not .* did you mean 'a'?"):
        orch.plan_task("C", dependencies=["a"], condition="aa.success")
    with pytest.raises(ConditionError) as caught:
        orch.plan_tasks([{"title": "C", "dependencies": ["a"], "condition": "a.succes"}])
    assert (caught.value.column, caught.value.place) == (3, "task 1 (C)")
    assert set(statuses(orch)) == {"a", "b"}


def test_a_condition_without_its_output_says_what_there_is(orch):
    """The person who misspelt it sees which name it was."""
    orch.plan_task("Gate")
    orch.plan_task("Ship", dependencies=["gate"], condition="gate.outputs.aproved")
    orch.complete_task("gate", summary="s", detailed_work="d", outputs={"approved": True})
    assert "gate has no output 'aproved' (did you mean 'approved'?" in str(orch.why("ship"))


def test_messages_call_tasks_of_a_plan_by_their_title(orch):
    """And not by the number that the reader of the plan gives them; nobody can use that either."""
    plan = [{"title": "Gate", "question": "May we?", "children": [{"title": "Ask"}]}]
    with pytest.raises(PlanError, match="'Gate' waits for an answer"):
        orch.plan_tasks(plan)
    with pytest.raises(UnknownDependencyError, match="dependency '#0' is not a task"):
        orch.plan_tasks([{"title": "a"}, {"title": "b", "dependencies": ["#0"]}])


@pytest.mark.parametrize("nothing", [None, "", "  ", {}])
def test_an_answer_that_says_nothing_is_refused(orch, nothing):
    """It would end the question, and skip what waits for the answer."""
    orch.plan_task("Gate", question="May we?")
    with pytest.raises(InvalidInputError, match="it says nothing"):
        orch.answer("gate", nothing)
    assert statuses(orch) == {"gate": "pending"}


def test_what_is_no_function_leaves_no_doubt_about_an_effect(orch):
    """It is refused before the intent is recorded, so no person is asked about it."""
    orch.plan_task("Letter")
    with orch.execute_task("letter") as work:
        for arguments in ({"do": 5}, {"do": list, "probe": True}):
            with pytest.raises(InvalidInputError, match="should be a function"):
                work.once("sent", **arguments)
        assert work.once("sent", lambda: 1) == 1
        work.release()


def test_an_alias_that_a_plan_gives_twice_names_both_tasks(orch):
    """By their titles: nobody has seen an id yet."""
    with pytest.raises(AliasTakenError, match="alias 'x' is also the alias of 'One' in this plan"):
        orch.plan_tasks([{"title": "One", "alias": "x"}, {"title": "Two", "alias": "x"}])


# --- any history at all -----------------------------------------------------------------------

OUTCOMES = ("success", "failure", "done", "skipped", "cancelled", "blocked")
CONDITION_FACTS = (
    "success",
    "failed",
    "cancelled",
    "skipped",
    "blocked",
    "done",
    "outputs.x == 1",
    "outputs.x < 5",
    "attempts > 1",
)
MOST_TASKS = 12
STATUS_AFTER = {
    **dict.fromkeys(
        (
            "task_planned",
            "task_released",
            "task_revised",
            "task_recovered",
            "task_retried",
            "task_reopened",
        ),
        "pending",
    ),
    **dict.fromkeys(
        ("task_started", "lease_regained", "task_continued", "lease_renewed"), "in_progress"
    ),
    "lease_expired": "pending",
    "task_completed": "completed",
    "task_blocked": "blocked",
    "task_skipped": "skipped",
    "task_cancelled": "cancelled",
    "task_failed": "failed",
}
"""What each event says about the state of its task; this is the model that the store is compared
with.
"""

some = st.integers(0, 999)
specs = st.tuples(
    st.lists(st.tuples(some, st.sampled_from(("success",) * 6 + OUTCOMES)), max_size=3),
    st.none() | some,
    st.just([])
    | st.lists(st.tuples(some, st.sampled_from(CONDITION_FACTS)), min_size=1, max_size=2),
    st.sampled_from([" and ", " or ", " and not "]),
)
"""What a task waits for, below which one it is, the facts of its condition, and how these are
joined.
"""
actions = st.sampled_from(["complete", "complete", "continue", "needs_revision", "blocked"])


class AnyHistory(RuleBasedStateMachine):
    """Drives the façade through random plans and histories, and compares its views with each other
    and with the event log.
    """

    @staticmethod
    def address():
        """Where the store is."""
        return "memory:"

    @initialize()
    def open(self):
        """Start with an empty session."""
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.orch = Orchestrator.open(
            self.folder.name,
            store=self.address(),
            clock=self.clock,
            home=f"{self.folder.name}/home",
        )
        self.session = self.orch.initialize_session("anything")
        self.works = []
        self.model = {}
        self.seen = 0

    def teardown(self):
        """Leave nothing behind."""
        if hasattr(self, "orch"):
            self.orch.close()
            self.folder.cleanup()

    def tasks(self):
        """All tasks as they are, archived ones included."""
        return self.orch._store.tasks(
            TaskQuery(session_id=self.session.id, limit=None, include_archived=True)
        )

    def pick(self, number, *statuses):
        """One of the tasks in these states, or `None`."""
        found = [task for task in self.tasks() if not statuses or task.status in statuses]
        return found[number % len(found)] if found else None

    # what may happen

    @rule(specs=st.lists(specs, min_size=1, max_size=4))
    def plan(self, specs):
        """Plan some tasks at once, which may name each other and any task there is."""
        tasks = self.tasks()
        if len(tasks) > MOST_TASKS:
            return
        new = [f"n{len(tasks) + n}" for n in range(len(specs))]
        open_ones = [task.id for task in tasks if not task.status.is_terminal]
        plan = []
        for alias, (needs, parent, facts, word) in zip(new, specs, strict=True):
            others = [name for name in [*(task.id for task in tasks), *new] if name != alias]
            edges = {others[n % len(others)]: on for n, on in needs} if others else {}
            parents = [name for name in [*open_ones, *new] if name != alias]
            above = parents[parent % len(parents)] if parents and parent is not None else None
            named = [f"{list(edges)[n % len(edges)]}.{fact}" for n, fact in facts] if edges else []
            dependencies = [{"task": name, "on": on} for name, on in edges.items()]
            plan.append(
                {
                    "title": alias,
                    "alias": alias,
                    "dependencies": dependencies,
                    "parent_task_id": above,
                }
            )
            plan[-1]["condition"] = word.join(named) or None
        with contextlib.suppress(CycleError):
            assert [task.alias for task in self.orch.plan_tasks(plan)] == new

    @rule(number=some)
    def fail_one(self, number):
        """Start a ready task and fail it."""
        found = self.orch.ready_tasks(limit=1000)
        if found:
            work = self.orch.execute_task(found[number % len(found)], despite_pressure=True)
            self.works.append(work)
            assert work.fail(f"error {number}").status is TaskStatus.BLOCKED

    @rule(number=some)
    def try_again(self, number):
        """A person retries what has ended or is blocked."""
        task = self.pick(number, "blocked", "failed", "cancelled", "skipped")
        if task is not None:
            with contextlib.suppress(TransitionError):
                assert self.orch.retry_task(task).status is TaskStatus.PENDING

    @rule(number=some, agent=st.sampled_from(["ada", "bob"]), lease_s=st.sampled_from([60, 600]))
    def execute(self, number, agent, lease_s):
        """Start one of the ready tasks, or the best."""
        found = self.orch.ready_tasks(limit=1000)
        if not found:
            with pytest.raises(NothingReadyError) as caught:
                self.orch.execute_task(despite_pressure=True)
            assert caught.value.next_step == self.orch.next_step()
            return
        chosen = None if number % 3 == 0 else found[number % len(found)]
        work = self.orch.execute_task(chosen, agent=agent, lease_s=lease_s, despite_pressure=True)
        assert work.task.id == (chosen or found[0]).id
        self.works.append(work)

    @precondition(lambda self: self.works)
    @rule(number=some, action=actions, outputs=st.sampled_from([{}, {"x": 1}, {"x": "s"}]))
    def hand_in(self, number, action, outputs):
        """Hand in work, as a holder or as one that was replaced."""
        work = self.works[number % len(self.works)]
        holds = self.holds(work)
        try:
            task = work.complete(
                summary=f"s{number}", detailed_work="d", outputs=outputs, next_action=action
            )
        except LeaseLostError as exc:
            assert not holds
            # What an earlier call has saved is not saved again, and is not called late then.
            assert self.orch.artifacts.read(exc.kept_artifact_id) == b"d"
        except NotReadyError:
            assert action == "complete"
            assert any(
                t.parent_task_id == work.task.id and not t.status.is_terminal for t in self.tasks()
            )
        else:
            assert holds or not work._is_open
            assert task.attempts == work.attempt.number

    @precondition(lambda self: self.works)
    @rule(
        number=some, how=st.sampled_from(["fail", "release", "checkpoint", "heartbeat", "artifact"])
    )
    def act(self, number, how):
        """Fail, release, checkpoint, give a sign of life, or save something, as a holder or as one
        that was replaced.
        """
        work = self.works[number % len(self.works)]
        calls = {
            "fail": lambda: work.fail(f"error {number}"),
            "release": work.release,
            "checkpoint": lambda: work.checkpoint({"n": number}),
            "heartbeat": work.heartbeat,
            "artifact": lambda: work.save_artifact("Notes", f"{number}"),
        }
        holds = self.holds(work)
        try:
            calls[how]()
        except LeaseLostError:
            assert not holds

    def holds(self, work):
        """Whether this work is still the one that may act on its task."""
        task = self.orch.get_task(work.task)
        last = self.orch._store.attempts(task.id)[-1]
        return last.number == work.attempt.number and (
            task.status == "in_progress"
            or (task.status == "pending" and last.ending == "abandoned")
        )

    @rule(number=some)
    def complete_without_starting(self, number):
        """Complete a ready task in one step."""
        found = self.orch.ready_tasks(limit=1000)
        if found:
            task = found[number % len(found)]
            self.orch._completion.attempts.pop(task.id, None)
            assert done(self.orch, task).status is TaskStatus.COMPLETED

    @rule(number=some, verb=st.sampled_from(["cancel", "cancel alone", "abandon"]))
    def decide(self, number, verb):
        """A person cancels or abandons."""
        task = self.pick(number)
        if task is None:
            return
        calls = {
            "cancel": lambda: self.orch.cancel_task(task, "c"),
            "cancel alone": lambda: self.orch.cancel_task(task, "c", subtree=False),
            "abandon": lambda: self.orch.abandon_task(task, "a"),
        }
        before = self.orch._store.last_seq()
        try:
            calls[verb]()
        except TransitionError:
            assert self.orch._store.last_seq() == before
            assert task.status.is_terminal

    @rule(number=some, other=some, on=st.sampled_from(OUTCOMES))
    def add_dependency(self, number, other, on):
        """Let a pending task wait for one more."""
        task, needs = self.pick(number, "pending"), self.pick(other)
        if task is None:
            return
        before = self.orch._store.last_seq()
        try:
            self.orch.add_dependency(task, needs, on=on)
        except CycleError as exc:
            assert exc.path[0] == exc.path[-1]
            assert self.orch._store.last_seq() == before

    @rule(number=some)
    def remove_dependency(self, number):
        """Let a task wait for one less."""
        task = self.pick(number)
        free = (
            []
            if task is None
            else [e.task for e in task.dependencies if e.task not in task.condition_names.values()]
        )
        if free:
            self.orch.remove_dependency(task, free[number % len(free)])

    @rule(number=some)
    def archive(self, number):
        """Archive an ended task."""
        task = self.pick(number, "completed", "failed", "cancelled", "skipped")
        if task is not None:
            assert self.orch.delete_task(task).archived

    @rule(seconds=st.sampled_from([1, 61, 601]))
    def let_time_pass(self, seconds):
        """Leases lapse."""
        self.clock.advance(seconds)

    # what always holds

    @invariant()
    def every_change_has_an_event(self):
        """The states are what the event log says, event by event."""
        if not hasattr(self, "orch"):
            return
        tasks = self.tasks()
        for event in self.orch._store.events(self.seen, limit=None):
            self.seen = event.seq
            if event.kind in STATUS_AFTER:
                self.model[event.task_id] = STATUS_AFTER[event.kind]
        assert {task.id: str(task.status) for task in tasks} == self.model

    @invariant()
    def views_agree(self):
        """`why`, the ready list, the counters and the records give one answer; causes, rules and
        counters agree.
        """
        if not hasattr(self, "orch"):
            return
        listed = {task.id for task in self.orch.ready_tasks(limit=1000)}
        tasks = {task.id: task for task in self.tasks()}
        for task in tasks.values():
            why = self.orch.why(task)
            assert why.ready == (task.id in listed) == task.is_ready, (task, str(why))
            open_children = sum(
                t.parent_task_id == task.id and not t.status.is_terminal for t in tasks.values()
            )
            stands = lifecycle.readiness(task, tasks)
            if task.status is TaskStatus.PENDING:
                assert task.blockers == stands.blockers + open_children, task
                assert not stands.impossible, task
                expected = (
                    len(stands.waiting_for) + (stands.condition is None) + bool(open_children)
                )
                assert len(why.causes) == expected, str(why)
            if task.recovers_task_id is None:
                mine = [
                    t
                    for t in tasks.values()
                    if t.recovers_task_id == task.id and not t.status.is_terminal
                ]
                assert len(mine) <= 1, mine
            assert not task.archived or task.status.is_terminal, task

    @invariant()
    def what_is_tallied_is_what_there_is(self):
        """The counts that a status shows are those of the tasks themselves, whatever they went
        through.
        """
        if not hasattr(self, "orch"):
            return
        tasks, store, session = self.tasks(), self.orch._store, self.session.id
        for archived in (False, True):
            for recoveries in (None, True, False):
                mine = [t for t in tasks if archived or not t.archived]
                mine = [
                    t
                    for t in mine
                    if recoveries is None or (t.task_type == "recovery") == recoveries
                ]
                query = TaskQuery(
                    session_id=session, include_archived=archived, recoveries=recoveries, limit=None
                )
                assert store.count(query) == dict(Counter(task.status for task in mine))
        assert store.open_sessions() == any(not task.status.is_terminal for task in tasks)

    @invariant()
    def there_is_always_a_next_step(self):
        """Where work is open something is ready, or running, or a person is named who must
        decide.
        """
        if not hasattr(self, "orch"):
            return
        tasks = self.tasks()
        still_open = [task for task in tasks if not task.status.is_terminal]
        step = self.orch.next_step()
        if not still_open:
            assert step.action in ("done", "plan")
        elif self.orch.ready_tasks():
            assert step.action in ("execute", "synthesize")
        elif any(task.status is TaskStatus.IN_PROGRESS for task in still_open):
            assert step.action in ("wait", "decide")
        else:
            assert step.action == "decide", (step, statuses(self.orch))
            assert any(self.orch.why(task).needs_person for task in still_open), statuses(self.orch)


SETTINGS = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_any_history(part):
    """Whatever is done in whatever order, what is promised of every history holds."""
    run_state_machine_as_test(seed(part)(AnyHistory), settings=SETTINGS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_history_for_long():
    """The same for thousands of histories."""
    longer = settings(SETTINGS, max_examples=3000, stateful_step_count=60)
    run_state_machine_as_test(seed(9)(AnyHistory), settings=longer)


def test_any_history_on_postgresql(new_postgres_url):
    """The same on a server, for a few histories, each in a store of its own."""

    class OnPostgres(AnyHistory):
        """Opens another address each time."""

        address = staticmethod(new_postgres_url)

    few = settings(SETTINGS, max_examples=3)
    run_state_machine_as_test(seed(4)(OnPostgres), settings=few)
