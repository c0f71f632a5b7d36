"""What a person decides: cancel, abandon, retry, delete."""

from __future__ import annotations

import pytest

from vespera_orchestrator._model import (
    ArtifactQuery,
    AttemptEnding,
    EventKind,
    TaskDraft,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.errors import LeaseLostError, TransitionError
from vespera_orchestrator.testing.store_contract.examples import (
    ALL_TASKS,
    aliases,
    artifact,
    completion,
    draft,
    everything,
    failure,
    kinds,
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

    def test_retrying(self, store, session_id):
        """What was given up is pending again, and so is what was skipped because of it.

        A completed task stays completed.
        """
        a, b, _ = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c", "b")])
        store.abandon(a.id, "")
        assert set(statuses(store, session_id).values()) == {"failed", "skipped"}
        with pytest.raises(TransitionError):
            store.retry(b.id, "")
        assert store.retry(a.id, "again").status is TaskStatus.PENDING
        assert statuses(store, session_id) == {"a": "pending", "b": "pending", "c": "pending"}
        assert [task.blockers for task in store.tasks(ALL_TASKS)] == [0, 1, 1]
        store.finish(a.id, None, completion(), agent="ada")
        with pytest.raises(TransitionError):
            store.retry(a.id, "")

    @pytest.mark.parametrize("decision", ["abandon", "cancel", "retry"])
    def test_giving_up_ends_the_recovery(self, store, session_id, decision):
        """Each of them cancels the recovery of a blocked task: nobody waits for it any more."""
        task = store.plan(session_id, [TaskDraft(title="A")])[0]
        store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        recovery = store.finish(task.id, 1, failure(), agent="ada").recovery
        decide = {
            "abandon": lambda: store.abandon(task.id, ""),
            "cancel": lambda: store.cancel(task.id, "", subtree=False),
            "retry": lambda: store.retry(task.id, ""),
        }
        decide[decision]()
        assert store.find_task(recovery.id, None).status is TaskStatus.CANCELLED

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
