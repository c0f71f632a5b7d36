"""What a person decides: cancel, abandon, retry, delete."""

from __future__ import annotations

import pytest

from vespera_orchestrator._model import (
    ArtifactQuery,
    AttemptEnding,
    EventKind,
    Outcome,
    TaskDraft,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.errors import CycleError, LeaseLostError, TransitionError
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import (
    ALL_TASKS,
    aliases,
    artifact,
    completion,
    draft,
    everything,
    failure,
    kinds,
    ready_aliases,
    statuses,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


class DecidingContract(StoreFixtures):
    """What a person decides: cancel, abandon, retry, delete."""

    def test_cancelling(self, store, session_id):
        """The task, and on demand all below it; dependents are skipped; twice is once.

        The holder is fenced off.
        """
        drafts = [
            draft("top"),
            draft("one", parent="top"),
            draft("two", parent="one"),
            draft("after", "top"),
            draft("free"),
        ]
        top, _, two, _, free = store.plan(session_id, drafts)
        store.claim(session_id, "ada", task_id=two.id, lease_s=60)
        cancelled = store.cancel(top.id, "no more", subtree=True)
        assert set(aliases(cancelled)) == {"top", "one", "two"}
        assert statuses(store, session_id)["after"] == "skipped"
        assert store.find_task(top.id, None).reason == "no more"
        assert store.attempts(two.id)[0].ending == AttemptEnding.CANCELLED
        with pytest.raises(LeaseLostError):
            store.renew(two.id, 1, lease_s=60)
        before = everything(store)
        assert store.cancel(top.id, "again", subtree=True) == []
        assert everything(store) == before
        store.finish(free.id, None, completion(), agent="ada")
        with pytest.raises(TransitionError):
            store.cancel(free.id, "", subtree=False)

    def test_giving_up_goes_down(self, store, session_id):
        """What is open below a task that is given up is cancelled, with the reason; or nothing."""
        drafts = [draft("top"), draft("one", parent="top"), draft("two", parent="one")]
        top, one, *_ = store.plan(session_id, [*drafts, draft("done", parent="top")])
        store.claim(session_id, "ada", task_id=store.find_task("done", session_id).id, lease_s=60)
        done = store.find_task("done", session_id)
        store.finish(done.id, 1, completion(), agent="ada")
        ended = store.abandon(top.id, "too dear", subtree=True)
        assert statuses(store, session_id) == {
            "top": "failed",
            "one": "cancelled",
            "two": "cancelled",
            "done": "completed",
        }
        assert [task.alias for task in ended] == ["top", "one", "two"]
        assert store.find_task(one.id, None).reason == (
            "top, of which it is a part, was given up: too dear"
        )

    def test_giving_up_one_alone(self, store, session_id):
        """Without its subtree, what is below it goes on."""
        top, _ = store.plan(session_id, [draft("top"), draft("one", parent="top")])
        [failed] = store.abandon(top.id, "", subtree=False)
        assert failed.status == "failed"
        assert statuses(store, session_id) == {"top": "failed", "one": "pending"}

    def test_skipping_goes_down_and_comes_up_again(self, store, session_id):
        """All open parts are skipped with the whole, at any depth, and restored with it."""
        drafts = [
            draft("a"),
            draft("top", "a"),
            draft("part", parent="top"),
            draft("below", parent="part"),
            draft("after", "part"),
        ]
        a, *_ = store.plan(session_id, drafts)
        store.cancel(a.id, "", subtree=True)
        skipped = dict.fromkeys(("top", "part", "below", "after"), "skipped")
        assert statuses(store, session_id) == {"a": "cancelled"} | skipped
        with pytest.raises(TransitionError, match="a part of part"):
            store.retry(store.find_task("below", session_id).id, "")
        store.retry(a.id, "")
        assert set(statuses(store, session_id).values()) == {"pending"}

    def test_skipping_ends_what_runs(self, store, session_id):
        """The holder of a part is fenced off, what it saved is kept, and the next one has it."""
        drafts = [draft("a"), draft("top", "a"), draft("runs", parent="top")]
        a, top, runs = store.plan(session_id, drafts)
        store.claim(session_id, "ada", task_id=runs.id, lease_s=60)
        store.checkpoint(runs.id, 1, {"page": 7}, lease_s=60)
        store.cancel(a.id, "", subtree=True)
        reason = "it is a part of top, which is skipped"
        ended = store.find_task(runs.id, None)
        assert (ended.status, ended.reason) == (TaskStatus.SKIPPED, reason)
        (attempt,) = store.attempts(runs.id)
        assert (attempt.ending, attempt.error) == (AttemptEnding.CANCELLED, reason)
        assert kinds(store, runs.id)[-1] == EventKind.TASK_SKIPPED
        before = everything(store)
        with pytest.raises(LeaseLostError, match="skipped"):
            store.finish(runs.id, 1, completion(), agent="ada")
        assert everything(store) == before
        store.retry(a.id, "")
        assert store.find_task(top.id, None).blockers == 2
        with pytest.raises(LeaseLostError):
            store.renew(runs.id, 1, lease_s=60)
        claim = store.claim(session_id, "bob", task_id=runs.id, lease_s=60)
        assert (claim.attempt.number, claim.resumed_from.state) == (2, {"page": 7})

    def test_skipping_takes_a_blocked_part_and_its_recovery(self, store, session_id):
        """So goes what is below the recovery; what comes back needs no recovery any more."""
        drafts = [draft("a"), draft("top", "a"), draft("part", parent="top")]
        a, _, part = store.plan(session_id, drafts)
        store.claim(session_id, "ada", task_id=part.id, lease_s=60)
        recovery = store.finish(part.id, 1, failure(), agent="ada").recovery
        store.claim(session_id, "ada", task_id=recovery.id, lease_s=60)
        store.plan(session_id, [draft("look", parent=recovery.id)])
        store.cancel(a.id, "", subtree=True)
        gone = dict.fromkeys(("top", "part", recovery.alias, "look"), "skipped")
        assert statuses(store, session_id) == {"a": "cancelled"} | gone
        reason = "it is the recovery of part, which is skipped"
        assert store.find_task(recovery.id, None).reason == reason
        with pytest.raises(TransitionError, match="no longer needs it"):
            store.retry(recovery.id, "")
        with pytest.raises(TransitionError, match="a part of top"):
            store.retry(part.id, "")
        store.retry(a.id, "")
        back = dict.fromkeys(("a", "top", "part"), "pending")
        assert statuses(store, session_id) == gone | back
        assert store.find_task(part.id, None).failures == 0
        assert set(ready_aliases(store, session_id)) == {"a", "part"}

    def test_a_recovery_goes_with_what_it_recovers(self, store, session_id):
        """It stays when only the whole is skipped from which the blocked task was taken away."""
        drafts = [draft("a"), draft("top", "a"), draft("part", parent="top")]
        a, top, part = store.plan(session_id, drafts)
        store.claim(session_id, "ada", task_id=part.id, lease_s=60)
        recovery = store.finish(part.id, 1, failure(), agent="ada").recovery
        store.update_task(part.id, {"parent": None})
        store.cancel(a.id, "", subtree=True)
        assert store.find_task(top.id, None).status is TaskStatus.SKIPPED
        store.finish(recovery.id, None, completion(), agent="ada")
        assert store.find_task(part.id, None).is_ready

    def test_a_block_that_skips_the_whole_needs_no_recovery(self, store, session_id):
        """The whole may be wanted only as long as its part is not blocked."""
        plan = [draft("top", "part", condition="not part.blocked"), draft("part", parent="top")]
        _, part = store.plan(session_id, plan)
        store.claim(session_id, "ada", task_id=part.id, lease_s=60)
        finished = store.finish(part.id, 1, failure(), agent="ada")
        assert (finished.task.status, finished.recovery) == (TaskStatus.SKIPPED, None)
        assert statuses(store, session_id) == {"top": "skipped", "part": "skipped"}

    def test_of_two_that_lapse_one_may_skip_the_other(self, store, session_id, clock):
        """What was skipped in the same step is not handed out again."""
        plan = [
            draft("slow", time_limit_s=10.0),
            draft("top", "slow", condition="not slow.blocked"),
            draft("part", parent="top"),
        ]
        slow, _, part = store.plan(session_id, plan)
        store.claim(session_id, "ada", task_id=slow.id, lease_s=60)
        store.claim(session_id, "bob", task_id=part.id, lease_s=61)
        clock.advance(120)
        store.expire()
        assert store.find_task(slow.id, None).status is TaskStatus.BLOCKED
        assert store.find_task(part.id, None).status is TaskStatus.SKIPPED
        assert store.attempts(part.id)[0].ending == AttemptEnding.CANCELLED
        assert kinds(store, part.id)[-1] == EventKind.TASK_SKIPPED

    def test_a_whole_that_waits_for_its_own_part_comes_back(self, store, session_id):
        """A part, what waits for it, and the whole were each skipped because of another one."""
        drafts = [draft("x"), draft("part", "x", parent="whole"), draft("d", "part")]
        planned = store.plan(session_id, [*drafts, draft("whole", "d")])
        store.cancel(planned[0].id, "", subtree=True)
        skipped = dict.fromkeys(("part", "d", "whole"), "skipped")
        assert statuses(store, session_id) == {"x": "cancelled"} | skipped
        with pytest.raises(TransitionError):
            store.retry(planned[3].id, "")
        store.retry(planned[0].id, "")
        assert set(statuses(store, session_id).values()) == {"pending"}

    def test_reopening(self, store, session_id):
        """What was completed is open again; what has not begun waits, what built on it is named."""
        names = ["a", "b", "c", "d", "e", "f"]
        needs = [(), ("a",), ("b",), ("a",), (("a", "failure"),), (("a", "done"),)]
        plan = [draft(name, *need) for name, need in zip(names, needs, strict=True)]
        a, b, c, d, e, f = store.plan(session_id, plan)
        for task in (a, b, c):
            store.finish(task.id, None, completion(n=1), agent="ada")
        store.claim(session_id, "bob", task_id=f.id, lease_s=60)
        assert statuses(store, session_id)["e"] == "skipped"
        reopened = store.reopen(a.id, "n is wrong")
        assert (reopened.task.status, reopened.task.reason) == (TaskStatus.PENDING, "n is wrong")
        assert (reopened.task.outputs, reopened.task.summary) == ({"n": 1}, "done")
        assert [task.id for task in reopened.waiting] == [d.id, e.id]
        assert sorted(task.id for task in reopened.outdated) == sorted([b.id, c.id, f.id])
        assert [task.blockers for task in store.tasks(ALL_TASKS)] == [0, 1, 0, 1, 1, 1]
        event = store.events(limit=None)[-2]
        assert (event.kind, event.task_id) == (EventKind.TASK_REOPENED, a.id)
        assert event.data["waiting"] == [d.id, e.id]
        assert ready_aliases(store, session_id) == ["a"]
        assert store.claim(session_id, "eve", task_id=a.id, lease_s=60).attempt.number == 2
        store.finish(a.id, 2, completion(n=2), agent="eve")
        assert statuses(store, session_id)["e"] == "skipped"
        assert ready_aliases(store, session_id) == ["d"]

    @pytest.mark.parametrize("on", ["success", "done"])
    def test_what_is_older_than_what_it_builds_on_says_so(self, store, session_id, on, clock):
        """Also where that was answered, and done again since."""
        gate = draft("gate", question="May we?")
        gate, ship = store.plan(session_id, [gate, draft("ship", ("gate", on))])
        store.answer(gate.id, {"approved": True}, agent="eve")
        store.finish(ship.id, None, completion(), agent="ada")
        clock.advance(1)
        reopened = store.reopen(gate.id, "asked the wrong person")
        assert [task.alias for task in reopened.outdated] == ["ship"]
        assert "was reopened and is not done again yet: gate" in str(
            causes.why(store.situation(ship.id))
        )
        store.answer(gate.id, {"approved": False}, agent="eve")
        assert "was done again since: gate" in str(causes.why(store.situation(ship.id)))

    @pytest.mark.parametrize("gone", ["needed", "whole"])
    def test_what_would_be_skipped_is_not_reopened(self, store, session_id, gone):
        """It stays done: what it waits for, or the whole, comes first."""
        plan = [draft("gate"), draft("whole", "gate"), draft("a"), draft("b", "a", parent="whole")]
        tasks = {task.alias: task.id for task in store.plan(session_id, plan)}
        for name in "ab":
            store.finish(tasks[name], None, completion(), agent="ada")
        if gone == "needed":
            store.reopen(tasks["a"], "wrong")
            store.cancel(tasks["a"], "", subtree=False)
        else:
            store.cancel(tasks["gate"], "", subtree=False)
        before = everything(store)
        with pytest.raises(TransitionError, match="it would be skipped"):
            store.reopen(tasks["b"], "another way")
        assert everything(store) == before

    def test_a_whole_that_is_being_made_from_a_reopened_part_is_named(self, store, session_id):
        """Somebody works with what is no longer so."""
        whole, part = store.plan(session_id, [draft("whole"), draft("part", parent="whole")])
        store.finish(part.id, None, completion(), agent="ada")
        store.claim(session_id, "ada", task_id=whole.id, lease_s=60)
        assert [task.alias for task in store.reopen(part.id, "wrong").outdated] == ["whole"]

    def test_what_cannot_be_reopened(self, store, session_id):
        """What is not completed, and a part of what is; nothing is written."""
        top, part = store.plan(session_id, [draft("top"), draft("part", parent="top")])
        store.finish(part.id, None, completion(), agent="ada")
        with pytest.raises(TransitionError):
            store.reopen(top.id, "no")
        store.finish(top.id, None, completion(), agent="ada")
        before = everything(store)
        with pytest.raises(TransitionError, match=r"reopen_task\(.top"):
            store.reopen(part.id, "no")
        assert everything(store) == before
        store.reopen(top.id, "more to do")
        store.reopen(part.id, "this")
        assert store.find_task(top.id, None).blockers == 1
        assert ready_aliases(store, session_id) == ["part"]

    def test_correcting(self, store, session_id):
        """A summary is replaced; the earlier one stays in the log, and who has built on it."""
        drafts = [draft("a"), draft("b", "a"), draft("c", "b"), draft("d", "a")]
        a, b, c, _ = store.plan(session_id, drafts)
        with pytest.raises(TransitionError):
            store.correct(a.id, "nothing yet")
        for task in (a, b):
            store.finish(task.id, None, completion(), agent="ada")
        store.claim(session_id, "ada", task_id=c.id, lease_s=60)
        assert store.correct(a.id, "half done").summary == "half done"
        before = everything(store)
        assert store.correct(a.id, "half done") == store.find_task(a.id, None)
        assert everything(store) == before
        last = store.events(limit=None)[-1]
        assert (last.kind, last.data) == (
            EventKind.TASK_CORRECTED,
            {"summary": "half done", "before": "done", "outdated": [b.id, c.id]},
        )

    def test_retrying(self, store, session_id):
        """What was given up is pending again, and so is what was skipped because of it.

        A completed task stays completed.
        """
        a, b, _ = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c", "b")])
        store.abandon(a.id, "", subtree=True)
        assert set(statuses(store, session_id).values()) == {"failed", "skipped"}
        with pytest.raises(TransitionError):
            store.retry(b.id, "")
        assert store.retry(a.id, "again").status is TaskStatus.PENDING
        assert statuses(store, session_id) == {"a": "pending", "b": "pending", "c": "pending"}
        assert [task.blockers for task in store.tasks(ALL_TASKS)] == [0, 1, 1]
        store.finish(a.id, None, completion(), agent="ada")
        with pytest.raises(TransitionError):
            store.retry(a.id, "")

    @pytest.mark.parametrize("decision", ["abandon", "cancel"])
    @pytest.mark.parametrize("again", ["whole", "part"])
    def test_what_was_taken_down_with_the_whole_comes_back_with_it(
        self, store, session_id, decision, again
    ):
        """What was cancelled before, for itself, stays cancelled; so does what was archived."""
        parts = [("part", "whole"), ("piece", "part"), ("dropped", "part"), ("hidden", "part")]
        plan = [draft("whole"), *(draft(name, parent=parent) for name, parent in parts)]
        plan += [draft("after", "piece", parent="whole")]
        ids = {task.alias: task.id for task in store.plan(session_id, plan)}
        store.cancel(ids["dropped"], "not needed", subtree=True)
        getattr(store, decision)(ids["whole"], "", subtree=True)
        store.delete(ids["hidden"], hard=False)
        store.retry(ids[again], "after all")
        back = {"part", "piece"} | ({"whole", "after"} if again == "whole" else set())
        pending = store.tasks(TaskQuery(status=(TaskStatus.PENDING,)))
        assert {task.alias for task in pending} == back
        assert store.find_task(ids["part"], None).blockers == 1
        assert store.events(limit=None)[-1].kind == EventKind.TASK_RETRIED

    @pytest.mark.parametrize("decision", ["abandon", "cancel", "retry"])
    def test_giving_up_ends_the_recovery(self, store, session_id, decision):
        """Each of them cancels the recovery of a blocked task: nobody waits for it any more."""
        task = store.plan(session_id, [TaskDraft(title="A")])[0]
        store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        recovery = store.finish(task.id, 1, failure(), agent="ada").recovery
        decide = {
            "abandon": lambda: store.abandon(task.id, "", subtree=True),
            "cancel": lambda: store.cancel(task.id, "", subtree=False),
            "retry": lambda: store.retry(task.id, ""),
        }
        decide[decision]()
        assert store.find_task(recovery.id, None).status is TaskStatus.CANCELLED

    def test_a_recovery_that_would_close_a_circle_is_not_tried_again(self, store, session_id):
        """What a cancelled recovery waits for may have come to wait for what it recovers.

        Tried again, the three would wait for each other. It is refused with the path; to try the
        task itself again helps.
        """
        target, other = store.plan(session_id, [draft("a"), draft("b")])
        store.claim(session_id, "ada", task_id=target.id, lease_s=60)
        recovery = store.finish(target.id, 1, failure(), agent="ada").recovery
        store.add_dependency(recovery.id, other.id, Outcome.SUCCESS)
        store.cancel(recovery.id, "", subtree=False)
        store.add_dependency(other.id, target.id, Outcome.SUCCESS)
        before = everything(store)
        with pytest.raises(CycleError, match=r"orch.retry_task\('a'\)") as caught:
            store.retry(recovery.id, "")
        assert caught.value.path == ("a", recovery.alias, "b", "a")
        assert everything(store) == before
        assert store.retry(target.id, "").is_ready

    @pytest.mark.parametrize("lapsed", [False, True])
    @pytest.mark.parametrize("decision", ["cancel", "abandon"])
    def test_a_holder_from_before_a_decision_stays_out(
        self, store, session_id, clock, lapsed, decision
    ):
        """Given up and tried again, a task is not its old holder's.

        That holds whether its lease still ran when somebody decided, or had expired before.
        """
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        if lapsed:
            clock.advance(seconds=120)
            store.expire()
        if decision == "cancel":
            store.cancel(task.id, "wrong approach", subtree=False)
        else:
            store.abandon(task.id, "wrong approach", subtree=True)
        store.retry(task.id, "begin anew")
        before = everything(store)
        for call in (
            lambda: store.renew(task.id, 1, lease_s=60),
            lambda: store.checkpoint(task.id, 1, {}, lease_s=60),
            lambda: store.finish(task.id, 1, completion(), agent="ada"),
        ):
            with pytest.raises(LeaseLostError):
                call()
        assert everything(store) == before
        assert store.claim(session_id, "bob", lease_s=60).attempt.number == 2

    def test_deleting(self, store, session_id):
        """An ended task is archived; removed for good only when nothing refers to it."""
        a, b, c = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c")])
        with pytest.raises(TransitionError):
            store.delete(c.id, hard=False)
        store.finish(a.id, None, completion(), agent="ada", artifacts=[artifact()])
        assert store.delete(a.id, hard=False).archived
        assert aliases(store.tasks(TaskQuery())) == ["b", "c"]
        with pytest.raises(TransitionError):
            store.delete(a.id, hard=True)
        store.finish(c.id, None, completion(), agent="ada", artifacts=[artifact()])
        assert store.delete(c.id, hard=True).alias == "c"
        assert store.find_task(c.id, None) is None
        assert store.attempts(c.id) == []
        remaining = store.artifacts(ArtifactQuery())
        assert [record.task_id for record in remaining] == [a.id, c.id]
        assert kinds(store)[-1] == EventKind.TASK_DELETED
        assert store.find_task(b.id, None).blockers == 0
