"""The rules of a task's life, by table: states, outcomes, causes and recoveries, without a
store.
"""

from __future__ import annotations

import itertools
from datetime import timedelta

import attrs
import pytest

from support.records import NOW, attempt, checkpoint, situation, task
from vespera_orchestrator._model import (
    AttemptEnding,
    Cause,
    CauseKind,
    Dependency,
    EventKind,
    NextAction,
    Outcome,
    TaskStatus,
)
from vespera_orchestrator.tasks import causes, lifecycle
from vespera_orchestrator.tasks.lifecycle import Failure, Verb, edge_met, next_status

# --- states ------------------------------------------------------------------


def test_a_verb_leads_to_one_state_or_nowhere():
    """Each verb is allowed from the states that its transition names, and from no other."""
    for verb, status in itertools.product(Verb, TaskStatus):
        transition = lifecycle.TRANSITIONS[verb]
        expected = transition.end if status in transition.start else None
        assert next_status(verb, status) is expected


def test_out_of_every_end_a_person_leads_back():
    """Only reopening leads out of completed; out of every other end, a retry."""
    ways = [verb for verb in Verb if next_status(verb, TaskStatus.COMPLETED) is not None]
    assert ways == [Verb.REOPEN]
    for status in (TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED):
        assert next_status(Verb.RETRY, status) is TaskStatus.PENDING


def test_every_state_is_reached_and_every_open_one_is_left():
    """There is no state that nothing leads to, and no open task that is stuck for ever."""
    ends = {transition.end for transition in lifecycle.TRANSITIONS.values()}
    starts = {status for change in lifecycle.TRANSITIONS.values() for status in change.start}
    assert ends == set(TaskStatus)
    assert {status for status in TaskStatus if not status.is_terminal} <= starts


@pytest.mark.parametrize("action", [*NextAction, None])
def test_whatever_a_holder_says_is_a_verb(action):
    """Each way of handing a task in is allowed for a task that runs, and for no other."""
    verb = lifecycle.ending_verb(action)
    for status in TaskStatus:
        is_running = status is TaskStatus.IN_PROGRESS
        assert (next_status(verb, status) is not None) == is_running


def test_events_tell_the_state_that_follows():
    """Only events that change a state are named, and every state has one."""
    table = lifecycle.STATUS_AFTER_EVENT
    assert set(table.values()) == set(TaskStatus)
    assert set(table) <= set(EventKind)
    assert not set(table) & {EventKind.CHECKPOINT_SAVED, EventKind.TASK_HANDED_IN}


def test_the_diagram_has_an_arrow_for_each_transition():
    """What the page on the life cycle draws is what the code does."""
    lines = lifecycle.state_diagram().splitlines()
    for transition in lifecycle.TRANSITIONS.values():
        for start in transition.start:
            arrow = f"    {start} --> {transition.end}: "
            assert any(line.startswith(arrow) and transition.words in line for line in lines)


# --- dependencies ------------------------------------------------------------

MET = {
    "success": {"completed"},
    "failure": {"failed"},
    "skipped": {"skipped"},
    "cancelled": {"cancelled"},
    "done": {"completed", "failed", "skipped", "cancelled"},
    "blocked": set(),
}


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize("on", Outcome)
def test_a_dependency_is_met_by_its_outcome(on, status):
    """It is met, not yet, or never; only a task that has ended can say never."""
    expected = True if status in MET[on] else None
    if status.is_terminal and status not in MET[on]:
        expected = False
    assert edge_met(on, status, was_blocked=False) is expected
    assert edge_met(on, status, was_blocked=True) is (True if on == "blocked" else expected)


def ready_state(*needed, **fields):
    """Return the readiness of a task that depends on the success of *needed*."""
    edges = tuple(Dependency(other.id) for other in needed)
    waiting = task("w", dependencies=edges, **fields)
    return lifecycle.readiness(waiting, {other.id: other for other in needed})


@pytest.mark.parametrize(
    ("statuses", "waiting", "never"),
    [
        ((), 0, 0),
        (("completed",), 0, 0),
        (("pending",), 1, 0),
        (("in_progress", "blocked"), 2, 0),
        (("failed",), 0, 1),
        (("completed", "pending", "skipped"), 1, 1),
    ],
)
def test_causes_are_counted(statuses, waiting, never):
    """What is unmet is waited for or can never come; the count of blockers is their sum."""
    needed = [task(f"n{number}", status) for number, status in enumerate(statuses)]
    state = ready_state(*needed)
    assert (len(state.waiting_for), len(state.never)) == (waiting, never)
    assert state.blockers == waiting + never
    assert state.impossible == bool(never)


@pytest.mark.parametrize(
    ("status", "condition", "blockers", "impossible"),
    [
        ("completed", True, 0, False),
        ("failed", False, 1, True),
        ("pending", None, 1, False),
    ],
)
def test_a_condition_counts_once_whatever_it_reads(status, condition, blockers, impossible):
    """A dependency that a condition governs is not counted beside it."""
    names = {"n": "t_n", "m": "t_m"}
    fields = {"condition": "n.success and m.success", "condition_names": names}
    state = ready_state(task("n", status), task("m", status), **fields)
    assert state.condition is condition
    assert (state.blockers, state.impossible) == (blockers, impossible)


def test_a_condition_on_what_is_missing_is_decided_never():
    """Where all that it reads has ended, an undecided condition stays so: the task is skipped."""
    fields = {"condition": "n.outputs.x > 1", "condition_names": {"n": "t_n"}}
    needed = {"t_n": task("n", "completed")}
    waiting = task("w", dependencies=(Dependency("t_n"),), **fields)
    state = lifecycle.readiness(waiting, needed)
    assert (state.condition, state.condition_final, state.impossible) == (None, True, True)
    assert "can never be decided" in lifecycle.skip_reason(waiting, state, needed)


def test_the_reason_of_a_skip_is_a_sentence():
    """It names the outcome that cannot come, or the condition that is false."""
    needed = {"t_n": task("n", "failed")}
    waiting = task("w", dependencies=(Dependency("t_n"),))
    state = lifecycle.readiness(waiting, needed)
    said = lifecycle.skip_reason(waiting, state, needed)
    assert said == "waits for success of n, which is failed"
    fields = {"condition": "n.success", "condition_names": {"n": "t_n"}}
    waiting = attrs.evolve(waiting, **fields)
    state = lifecycle.readiness(waiting, needed)
    assert lifecycle.skip_reason(waiting, state, needed) == "condition is false: n.success"
    renamed = {"t_n": attrs.evolve(needed["t_n"], alias="m")}
    said = lifecycle.skip_reason(waiting, state, renamed)
    assert said == "condition is false: n.success, where n is m"


# --- why ----------------------------------------------------------------------

HELD = task("a", "in_progress", attempts=1)
SITUATIONS = {
    "ready": (situation(task("a")), [], "a is ready"),
    "given back": (
        situation(task("a", reason="no\nkey")),
        [],
        "a is ready; it was handed back with: no key",
    ),
    "waits": (
        situation(task("a", dependencies=(Dependency("t_b"),)), task("b", "in_progress")),
        [CauseKind.DEPENDENCY],
        "a is pending: waits for success of b (in_progress)",
    ),
    "waits for a merge": (
        situation(
            task("a", dependencies=(Dependency("t_b"),)),
            task("b", "in_progress"),
            unmerged=frozenset({"t_b"}),
        ),
        [CauseKind.DEPENDENCY],
        "a is pending: waits for b's work to be merged: orch.worktrees.merge('b')",
    ),
    "condition": (
        situation(
            task(
                "a",
                dependencies=(Dependency("t_b"),),
                condition="b.failed",
                condition_names={"b": "t_b"},
            ),
            task("b"),
        ),
        [CauseKind.CONDITION],
        "a is pending: the condition is not decided yet: b is pending (b.failed)",
    ),
    "condition on a task that is called otherwise now": (
        situation(
            task(
                "a",
                dependencies=(Dependency("t_b"),),
                condition="old.failed",
                condition_names={"old": "t_b"},
            ),
            task("b"),
        ),
        [CauseKind.CONDITION],
        "a is pending: the condition is not decided yet: b is pending (old.failed, where old is b)",
    ),
    "one subtask": (
        situation(task("a"), open_children=("x",), open_children_count=1),
        [CauseKind.CHILDREN],
        "a is pending: 1 subtask has not ended: x",
    ),
    "subtasks": (
        situation(task("a"), open_children=("x", "y"), open_children_count=5),
        [CauseKind.CHILDREN],
        "a is pending: 5 subtasks have not ended: x, y and 3 more",
    ),
    "held": (
        situation(HELD, attempt=attempt(), as_of=NOW + timedelta(minutes=5)),
        [CauseKind.LEASE],
        (
            "a is in_progress: ada is working on it (attempt 1, last sign of life 5 minutes ago, "
            "held for another 10 minutes)"
        ),
    ),
    "held, and silent for long": (
        situation(HELD, attempt=attempt(), as_of=NOW + timedelta(minutes=8)),
        [CauseKind.LEASE],
        (
            "a is in_progress: ada is working on it (attempt 1, last sign of life 8 minutes ago, "
            "held for another 7 minutes); if that agent is gone: "
            "orch.execute_task('a', take_over=True)"
        ),
    ),
    "handed in": (
        situation(HELD, attempt=attempt(ending=AttemptEnding.HANDED_IN)),
        [CauseKind.MERGE],
        "a is in_progress: its work is done and waits to be merged: orch.worktrees.merge('a')",
    ),
    "recovery": (
        situation(
            task("a", "blocked", reason="no key"), open_recovery=task("recover_a", "pending")
        ),
        [CauseKind.RECOVERY],
        "a is blocked: its recovery recover_a comes first (pending); it stopped with: no key",
    ),
    "failed too often": (
        situation(task("a", "blocked", failures=3, reason="no key")),
        [CauseKind.PERSON],
        (
            "a is blocked: a person must decide after 3 failed attempts: orch.retry_task('a'), "
            "orch.abandon_task('a'), or plan a replacement (no key)"
        ),
    ),
    "recovery blocked": (
        situation(task("a", "blocked", failures=1), open_recovery=task("recover_a", "blocked")),
        [CauseKind.PERSON],
        (
            "a is blocked: a person must decide as its recovery recover_a is blocked itself: "
            "orch.retry_task('a'), orch.abandon_task('a'), or plan a replacement (no reason given)"
        ),
    ),
    "ended": (
        situation(task("a", "cancelled", reason="not needed")),
        [CauseKind.ENDED],
        "a is cancelled (not needed)",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_why_names_each_cause_in_one_sentence(name):
    """The causes are the smallest set, and what can be done stands in the sentence."""
    given, kinds, said = SITUATIONS[name]
    why = causes.why(given)
    assert [cause.kind for cause in why.causes] == kinds
    assert str(why) == said
    assert why.ready == (not kinds)
    assert why.needs_person == (CauseKind.PERSON in kinds)


def test_all_causes_are_named_in_their_order():
    """What is waited for, then the condition, then the children."""
    waiting = task(
        "a",
        dependencies=(Dependency("t_b"), Dependency("t_c")),
        condition="c.failed",
        condition_names={"c": "t_c"},
    )
    everything = situation(
        waiting, task("b"), task("c"), open_children=("x",), open_children_count=1
    )
    kinds = [cause.kind for cause in causes.why(everything).causes]
    assert kinds == [CauseKind.DEPENDENCY, CauseKind.CONDITION, CauseKind.CHILDREN]
    (child,) = causes.why_not_complete(everything).causes
    assert child == Cause(
        kind=CauseKind.CHILDREN, sentence="1 subtask has not ended: x", names=("x",)
    )


# --- recovery ----------------------------------------------------------------


def test_a_failure_is_followed_by_a_recovery():
    """It is beside the task, as urgent, and says what is known of the failure."""
    failed = task("a", "blocked", attempts=2, failures=1, priority=5, parent_task_id="t_p")
    failure = Failure(
        error="no key",
        checkpoint=checkpoint(id=7, note="half way"),
        artifact_ids=("a_1", "a_2"),
        snapshot="c0ffee",
        context={"worktree": "a"},
    )
    draft = lifecycle.recovery_for(failed, failure)
    assert (draft.title, draft.task_type, draft.recovers_task_id) == (
        "Recover: a",
        lifecycle.RECOVERY,
        "t_a",
    )
    assert (draft.priority, draft.parent) == (5, "t_p")
    assert draft.context == {
        "error": "no key",
        "attempt": 2,
        "artifact_ids": ["a_1", "a_2"],
        "worktree": "a",
        "checkpoint_id": 7,
        "checkpoint_note": "half way",
        "snapshot": "c0ffee",
    }
    for part in (
        "no key",
        "half way",
        "in the worktree a,",
        "a_1, a_2",
        "continues from its last checkpoint",
    ):
        assert part in draft.description


def test_little_is_known_and_little_is_said():
    """Without checkpoint, artifacts and files, no sentence speaks of them."""
    draft = lifecycle.recovery_for(task("a", "blocked", failures=1), Failure(error="no key"))
    assert draft.description.splitlines() == [
        "'a' could not be finished: no key.",
        "Remove the cause, then complete this task: the blocked one becomes ready again.",
    ]
    assert draft.context == {"error": "no key", "attempt": 0, "artifact_ids": []}


@pytest.mark.parametrize(
    ("fields", "is_drafted"),
    [
        ({"failures": 2}, True),
        ({"failures": 3}, False),
        ({"failures": 1, "max_attempts": 1}, False),
        ({"failures": 0, "task_type": lifecycle.RECOVERY}, False),
    ],
)
def test_in_the_end_a_person_decides(fields, is_drafted):
    """After so many failures, and of a recovery itself, there is no recovery."""
    draft = lifecycle.recovery_for(task("a", "blocked", **fields), Failure(error="no key"))
    assert (draft is not None) == is_drafted


def test_priorities_end_where_json_ends():
    """A recovery of what is most urgent is as urgent, and can still be stored."""
    most_urgent = task("a", "blocked", priority=lifecycle.MAX_PRIORITY)
    draft = lifecycle.recovery_for(most_urgent, Failure(error="no key"))
    assert draft.priority == lifecycle.MAX_PRIORITY
