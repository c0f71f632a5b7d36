"""How attempts end, and what follows."""

from __future__ import annotations

import hashlib

import pytest

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    ArtifactDraft,
    ArtifactQuery,
    AttemptEnding,
    Ending,
    EventKind,
    NextAction,
    TaskStatus,
)
from vespera_orchestrator.errors import LeaseLostError, NotReadyError, TransitionError
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import (
    ALL_TASKS,
    artifact,
    completion,
    draft,
    everything,
    failure,
    kinds,
    ready_aliases,
    start_session,
    statuses,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

COMMIT = "ab" * 20


BACK = Ending(action=None, most_empty_rounds=3)
"""Handed back, and counted."""


def hand_back(store, session_id, task, number, words):
    """Start a task, and hand it back as it was."""
    store.claim(session_id, "ada", task_id=task.id, lease_s=60)
    return store.finish(task.id, number, attrs.evolve(BACK, reason=words), agent="ada")


class EndingContract(StoreFixtures):
    """How attempts end, and what follows."""

    # --- completion ---------------------------------------------------------

    def test_a_completion_frees_what_waits(self, store, session_id, clock):
        """Status, outputs, summary, attempt and artifacts are written together.

        Dependents become ready.
        """
        drafts = [draft("a"), draft("b", "a"), draft("c", "a", "b")]
        a = store.plan(session_id, drafts)[0]
        attempt = store.claim(session_id, "ada", lease_s=60).attempt
        clock.advance(5)
        ending = Ending(action=NextAction.COMPLETE, summary="sum", outputs={"n": 1}, landed=COMMIT)
        finished = store.finish(a.id, 1, ending, agent="ada", artifacts=[artifact()])
        task = finished.task
        assert task == store.find_task(a.id, None)
        assert task.status is TaskStatus.COMPLETED
        assert task.outputs == {"n": 1}
        assert task.summary == "sum"
        assert task.ended_at == clock.now
        assert finished.recovery is None
        assert not finished.repeated
        (saved,) = finished.artifacts
        assert store.artifacts(ArtifactQuery()) == [saved]
        assert saved.task_id == a.id
        assert saved.attempt == attempt.number
        assert saved.agent == "ada"
        ended = store.attempts(a.id)[0]
        assert ended.ending == AttemptEnding.COMPLETED
        assert ended.ended_at == clock.now
        assert [task.blockers for task in store.tasks(ALL_TASKS)] == [0, 0, 1]
        assert ready_aliases(store, session_id) == ["b"]
        assert kinds(store)[-2:] == [EventKind.ARTIFACT_SAVED, EventKind.TASK_COMPLETED]
        assert store.events()[-1].data["landed"] == COMMIT

    def test_past_work_is_that_of_similar_tasks(self, store, session_id, clock):
        """Of every session, the last completed first; without what was lost."""
        drafts = [draft("a", specialist_type="coder"), draft("b"), draft("c", complexity="hard")]
        planned = store.plan(session_id, drafts) + store.plan(start_session(store), drafts)
        for minutes, task in enumerate(planned, 1):
            store.claim(task.session_id, "ada", task_id=task.id, lease_s=60)
            clock.advance(hours=1)
            store.expire()
            store.claim(task.session_id, "ada", task_id=task.id, lease_s=999)
            clock.advance(minutes=minutes)
            store.finish(task.id, 2, completion(), agent="ada")
        reopened = planned[1]
        store.reopen(reopened.id, "again")
        store.claim(session_id, "ada", task_id=reopened.id, lease_s=60)
        clock.advance(30)
        store.finish(reopened.id, 3, completion(), agent="ada")
        unworked, new = store.plan(session_id, [draft("d"), draft("e")])
        store.finish(unworked.id, None, completion(), agent="ada")
        nobodys, *past = store.past_work(new, 9)
        assert (nobodys.task_id, sum(nobodys.attempts_s)) == (unworked.id, 0)
        assert [each.task_id for each in past] == [planned[n].id for n in (1, 4, 3, 0)]
        assert [each.specialist_type for each in past] == [None, None, "coder", "coder"]
        assert past[0].attempts_s == (120, 30)
        assert past[1].attempts_s == (300,)
        assert store.past_work(new, 2) == [nobodys, past[0]]
        assert planned[4].id not in {each.task_id for each in store.past_work(planned[4], 9)}

    def test_work_handed_in_waits_to_be_merged(self, store, other, session_id, clock):
        """The task stays in progress, its dependents know why they wait, and no time takes it away.

        It is finished under its attempt.
        """
        a, b = store.plan(session_id, [draft("a"), draft("b", "a")])
        store.claim(session_id, "ada", lease_s=60)
        later = attrs.evolve(completion(n=1), later=True)
        named = attrs.evolve(artifact(), id="a_000000000001")
        handed_in = store.finish(a.id, 1, later, agent="ada", artifacts=[named])
        assert handed_in.task.status is TaskStatus.IN_PROGRESS
        assert handed_in.task.summary == "done"
        assert handed_in.artifacts[0].id == "a_000000000001"
        assert kinds(store)[-1] == EventKind.TASK_HANDED_IN
        before = everything(store)
        assert other.finish(a.id, 1, later, agent="ada", artifacts=[artifact()]).repeated
        clock.advance(days=30)
        assert store.expire() == []
        assert store.ready(session_id, 9) == []
        assert everything(store) == before
        assert store.situation(a.id).attempt.ending == AttemptEnding.HANDED_IN
        assert store.situation(b.id).unmerged == {a.id}
        merged = other.finish(a.id, 1, completion(n=1), agent="eve")
        assert merged.task.status is TaskStatus.COMPLETED
        assert ready_aliases(store, session_id) == ["b"]

    def test_a_completion_sent_twice_is_one(self, store, other, session_id):
        """The same attempt with the same outputs and artifacts gets the first answer once more.

        Nothing is written.
        """
        a = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)

        def complete(side, attempt, ending, **options):
            return side.finish(
                a.id, attempt, ending, agent="ada", artifacts=[artifact()], **options
            )

        first = complete(store, 1, completion(n=1))
        before = everything(store)
        again = complete(other, 1, completion(n=1), within=lambda: pytest.fail("called again"))
        assert again == attrs.evolve(first, repeated=True)
        with pytest.raises(LeaseLostError):
            complete(other, 1, completion(n=2))
        with pytest.raises(TransitionError):
            other.finish(a.id, None, completion(n=2), agent="ada")
        assert everything(store) == before

    # --- failure ------------------------------------------------------------

    def test_a_block_sent_twice_is_one(self, store, session_id):
        """There is one recovery, however often anybody reports the failure."""
        a = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        first = store.finish(a.id, 1, failure(), agent="ada")
        before = everything(store)
        again = store.finish(a.id, 1, failure(), agent="ada")
        assert again == attrs.evolve(first, repeated=True)
        assert everything(store) == before

    def test_a_failure_blocks_and_makes_one_recovery(self, store, session_id):
        """The recovery carries the error, the last checkpoint and what was saved.

        Completing it makes the task ready again.
        """
        drafts = [draft("a", priority=2), draft("b", ("a", "blocked"))]
        a = store.plan(session_id, drafts)[0]
        store.claim(session_id, "ada", lease_s=60)
        saved = store.checkpoint(a.id, 1, {}, note="half", lease_s=60)
        ending = attrs.evolve(failure("it broke"), recovery={"conflict": ["x"]})
        partial = artifact(partial=True)
        finished = store.finish(a.id, 1, ending, agent="ada", artifacts=[partial])
        assert finished.task.status is TaskStatus.BLOCKED
        assert finished.task.failures == 1
        assert finished.task.was_blocked
        recovery = finished.recovery
        assert recovery.recovers_task_id == a.id
        assert recovery.task_type == "recovery"
        assert recovery.alias == "recover_a"
        assert recovery.priority == 2
        assert recovery.context["error"] == "it broke"
        assert recovery.context["checkpoint_id"] == saved.id
        assert recovery.context["conflict"] == ["x"]
        assert recovery.context["artifact_ids"] == [finished.artifacts[0].id]
        assert ready_aliases(store, session_id) == ["recover_a", "b"]
        store.finish(recovery.id, None, completion(), agent="bob")
        again = store.find_task(a.id, None)
        assert again.status is TaskStatus.PENDING
        assert again.blockers == 0
        assert again.failures == 1
        assert kinds(store, a.id)[-1] == EventKind.TASK_RECOVERED
        assert store.claim(session_id, "ada", task_id=a.id, lease_s=60).attempt.number == 2

    def test_after_its_last_failure_a_person_decides(self, store, session_id):
        """No further recovery is made; retry starts the count again, abandon fails the task."""
        a = store.plan(session_id, [draft("a", max_attempts=1)])[0]
        store.claim(session_id, "ada", lease_s=60)
        assert store.finish(a.id, 1, failure(), agent="ada").recovery is None
        assert causes.why(store.situation(a.id)).needs_person
        assert store.retry(a.id, "again").failures == 0
        assert kinds(store)[-1] == EventKind.TASK_RETRIED
        store.claim(session_id, "ada", lease_s=60)
        store.finish(a.id, 2, failure(), agent="ada")
        [failed] = store.abandon(a.id, "enough", subtree=True)
        assert failed.status is TaskStatus.FAILED
        assert failed.reason == "enough"
        assert kinds(store)[-1] == EventKind.TASK_FAILED

    # --- other endings ------------------------------------------------------

    @pytest.mark.parametrize(
        ("action", "status", "event", "attempt_ending"),
        [
            (NextAction.CONTINUE, "in_progress", "task_continued", None),
            (NextAction.NEEDS_REVISION, "pending", "task_revised", "revised"),
            (None, "pending", "task_released", "released"),
        ],
    )
    def test_other_endings(self, store, session_id, action, status, event, attempt_ending):
        """Handing in and going on, asking for a revision, releasing: the artifacts are kept."""
        a = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        ending = Ending(action=action, summary="so far", reason="note")
        finished = store.finish(a.id, 1, ending, agent="ada", artifacts=[artifact()])
        assert str(finished.task.status) == status
        assert finished.recovery is None
        assert len(finished.artifacts) == 1
        assert store.attempts(a.id)[0].ending == attempt_ending
        assert kinds(store)[-1] == event

    # --- rounds without progress --------------------------------------------

    def test_a_task_handed_back_again_and_again_is_blocked(self, store, session_id):
        """The last of the rounds says so, names its words, and plans no recovery."""
        a, b = store.plan(session_id, [draft("a"), draft("b", ("a", "blocked"))])
        for number in (1, 2):
            finished = hand_back(store, session_id, a, number, "too hard")
            assert finished.task.status is TaskStatus.PENDING
            assert finished.task.empty_rounds == number
        finished = hand_back(store, session_id, a, 3, "too hard")
        assert finished.task.status is TaskStatus.BLOCKED
        assert finished.task.failures == 0
        assert finished.recovery is None
        assert "3 times in a row without progress, the last time with: too hard" in str(
            finished.task.reason
        )
        assert kinds(store, a.id)[-2:] == [EventKind.TASK_RELEASED, EventKind.TASK_BLOCKED]
        (event,) = store.events(kinds=[EventKind.TASK_BLOCKED])
        assert event.data["empty_rounds"] == 3
        why = causes.why(store.situation(a.id))
        assert why.needs_person
        assert "orch.retry_task('a')" in str(why)
        assert ready_aliases(store, session_id) == ["b"]  # it waited for a block
        assert store.claim(session_id, "ada", lease_s=60).task.id == b.id
        retried = store.retry(a.id, "it is described now")
        assert (retried.status, retried.empty_rounds) == (TaskStatus.PENDING, 0)
        assert hand_back(store, session_id, a, 4, "").task.empty_rounds == 1

    @pytest.mark.parametrize(
        "progress",
        [
            lambda store, task: store.checkpoint(task.id, task.attempts, 1, lease_s=60),
            lambda store, task: store.renew(task.id, task.attempts, lease_s=60, files_changed=True),
            lambda store, task: store.begin_effect(task.id, task.attempts, "mail"),
            lambda store, task: store.plan(task.session_id, [draft("part", parent="a")]),
            lambda store, task: store.save_artifact(
                task.session_id, artifact(), task_id=task.id, attempt=task.attempts, agent="ada"
            ),
        ],
        ids=["checkpoint", "files", "effect", "subtask", "artifact"],
    )
    def test_progress_ends_the_row(self, store, session_id, clock, progress):
        """Whatever the attempt has left; the same again is none."""
        a = store.plan(session_id, [draft("a")])[0]
        clock.advance(1)
        hand_back(store, session_id, a, 1, "")
        claim = store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        progress(store, claim.task)
        finished = store.finish(a.id, 2, BACK, agent="ada")
        assert finished.task.empty_rounds == 0

    def test_the_same_again_is_no_progress(self, store, session_id, clock):
        """A checkpoint that says what the last one said, an artifact with the bytes of another."""
        a = store.plan(session_id, [draft("a")])[0]
        for number in range(1, 4):
            clock.advance(1)
            store.claim(session_id, "ada", task_id=a.id, lease_s=60)
            store.checkpoint(a.id, number, {"n": 1}, note="here", progress=0.5, lease_s=60)
            ending = attrs.evolve(BACK, action=NextAction.NEEDS_REVISION)
            finished = store.finish(a.id, number, ending, agent="ada", artifacts=[artifact()])
            assert finished.task.empty_rounds == number - 1
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        store.checkpoint(a.id, 4, {"n": 1}, note="further", progress=0.5, lease_s=60)
        assert store.finish(a.id, 4, BACK, agent="ada").task.empty_rounds == 0

    def test_a_line_is_no_progress_where_it_is_all_that_was_handed_in(self, store, session_id):
        """The summary says why the task comes back, whether it is kept as the work or not."""
        a = store.plan(session_id, [draft("a")])[0]
        for number, summary in enumerate(("no", "still no"), 1):
            store.claim(session_id, "ada", task_id=a.id, lease_s=60)
            digest = hashlib.sha256(summary.encode()).hexdigest()
            line = ArtifactDraft(title="Lid", digest=digest, size_bytes=len(summary))
            ending = attrs.evolve(BACK, action=NextAction.NEEDS_REVISION, summary=summary)
            finished = store.finish(a.id, number, ending, agent="ada", artifacts=[line])
            assert finished.task.empty_rounds == number

    def test_leaving_by_a_pause_is_no_empty_round(self, store, session_id):
        """Whoever begins each evening, and rests, is not told that it came to nothing."""
        a = store.plan(session_id, [draft("a")])[0]
        hand_back(store, session_id, a, 1, "")
        for number in range(2, 6):
            store.claim(session_id, "ada", task_id=a.id, lease_s=60)
            store.pause_session(session_id, "ada", note="tired", next_step="call")
            task = store.finish(a.id, number, BACK, agent="ada").task
            assert (task.status, task.empty_rounds) == (TaskStatus.PENDING, 1)

    def test_what_is_no_handing_back_counts_for_nothing(self, store, session_id, clock):
        """An interruption, an expired lease, a holder that was gone; a failure ends the row."""
        a = store.plan(session_id, [draft("a")])[0]
        hand_back(store, session_id, a, 1, "")
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        interrupted = Ending(action=None, reason="interrupted")
        assert store.finish(a.id, 2, interrupted, agent="ada").task.empty_rounds == 1
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        clock.advance(61)
        store.expire()
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        store.end_attempt(a.id, "killed", agent="bob")
        assert store.find_task(a.id, None).empty_rounds == 1
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        assert store.finish(a.id, 5, failure(), agent="ada").task.empty_rounds == 0

    def test_without_an_attempt_the_current_one_is_meant(self, store, session_id):
        """A ready task is claimed and completed in one step.

        Of a held one only its agent is the holder; a waiting one is refused.
        """
        a, b, c = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c")])
        with pytest.raises(NotReadyError):
            store.finish(b.id, None, completion(), agent="ada")
        store.claim(session_id, "ada", task_id=c.id, lease_s=60)
        with pytest.raises(LeaseLostError):
            store.finish(c.id, None, completion(), agent="bob")
        finished = store.finish(c.id, None, completion(), agent="ada")
        assert finished.task.status is TaskStatus.COMPLETED
        assert store.finish(a.id, None, completion(), agent="bob").task.attempts == 1
        assert kinds(store, a.id) == [
            EventKind.TASK_PLANNED,
            EventKind.TASK_STARTED,
            EventKind.TASK_COMPLETED,
        ]

    # --- consequences -------------------------------------------------------

    def test_a_parent_waits_for_its_children(self, store, session_id):
        """It is ready when all have ended, whatever way, and cannot be completed before."""
        drafts = [draft("top"), draft("one", parent="top"), draft("two", parent="top")]
        top, one, two = store.plan(session_id, drafts)
        assert store.find_task(top.id, None).blockers == 2
        store.finish(one.id, None, completion(), agent="ada")
        store.cancel(two.id, "", subtree=False)
        store.claim(session_id, "ada", task_id=top.id, lease_s=60)
        store.plan(session_id, [draft("three", parent="top")])
        with pytest.raises(NotReadyError):
            store.finish(top.id, 1, completion(), agent="ada")
        assert store.find_task(top.id, None).blockers == 1

    def test_an_end_is_carried_downward(self, store, session_id):
        """Edges on every outcome, conditions, and chains of them are decided in the same step."""
        drafts = [
            draft("a"),
            draft("if_ok", "a"),
            draft("if_failed", ("a", "failure")),
            draft("any", ("a", "done")),
            draft("after_failed", "if_failed"),
            draft("rescue", ("if_failed", "skipped")),
            draft("big", "a", condition="a.outputs.n > 3"),
            draft("small", "a", condition="a.outputs.n <= 3 or a.failed"),
        ]
        a = store.plan(session_id, drafts)[0]
        store.finish(a.id, None, completion(n=5), agent="ada")
        assert ready_aliases(store, session_id) == ["if_ok", "any", "rescue", "big"]
        by_alias = statuses(store, session_id)
        skipped = {alias for alias, status in by_alias.items() if status == "skipped"}
        assert skipped == {"if_failed", "after_failed", "small"}
        assert kinds(store).count(EventKind.TASK_SKIPPED) == 3
