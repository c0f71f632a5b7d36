"""Changing what is planned: single fields, edges, and whole plans again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Dependency,
    EventKind,
    Existing,
    Outcome,
    TaskDraft,
    TaskStatus,
)
from vespera_orchestrator.errors import (
    AliasTakenError,
    ConditionError,
    CycleError,
    InvalidPlanError,
    PlanError,
    TaskNotFoundError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.testing.store_contract.examples import (
    aliases,
    completion,
    draft,
    everything,
    failure,
    kinds,
    ready_aliases,
    status_of,
    statuses,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


class ChangingContract(StoreFixtures):
    """Changing what is planned."""

    def test_fields_can_be_changed(self, store, session_id, clock):
        """What describes a task can be changed at any time; what was not named stays."""
        task = store.plan(session_id, [draft("a", description="before")])[0]
        clock.advance(5)
        changes = {
            "title": "New",
            "acceptance": "it is new",
            "priority": 7,
            "context": {"x": 1},
            "due_at": clock.now + timedelta(days=1),
            "estimated_effort": "1 day",
            "specialist_type": None,
        }
        changed = store.update_task(task.id, changes)
        follows = {"updated_at": clock.now, "urgency": changed.urgency}
        assert attrs.asdict(changed) == attrs.asdict(task) | changes | follows
        assert store.find_task(task.id, None) == changed
        assert kinds(store, task.id) == [EventKind.TASK_PLANNED, EventKind.TASK_UPDATED]
        with pytest.raises(TaskNotFoundError):
            store.update_task("t_missing", {"title": "x"})

    def test_edges_can_be_added_and_removed(self, store, session_id):
        """A pending task can wait for more and for less; it is counted again each time."""
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        waiting = store.add_dependency(b.id, a.id, Outcome.DONE)
        assert waiting.blockers == 1
        assert waiting.dependencies == (Dependency(a.id, Outcome.DONE),)
        assert ready_aliases(store, session_id) == ["a"]
        assert aliases(store.dependents(a.id)) == ["b"]
        free = store.remove_dependency(b.id, a.id)
        assert free.blockers == 0
        assert free.dependencies == ()
        assert kinds(store, b.id) == [
            EventKind.TASK_PLANNED,
            EventKind.DEPENDENCY_ADDED,
            EventKind.DEPENDENCY_REMOVED,
        ]
        with pytest.raises(UnknownDependencyError):
            store.remove_dependency(b.id, a.id)
        store.claim(session_id, "ada", task_id=b.id, lease_s=60)
        with pytest.raises(TransitionError):
            store.add_dependency(b.id, a.id, Outcome.SUCCESS)

    def test_nothing_open_is_put_below_what_has_ended(self, store, session_id):
        """Neither a task nor the recovery of one."""
        old, task = store.plan(session_id, [draft("old"), draft("task")])
        store.finish(old.id, None, completion(), agent="ada")
        recovery = store.finish(task.id, None, failure(), agent="ada").recovery
        for each in (task, recovery):
            with pytest.raises(TransitionError, match="take a subtask"):
                store.update_task(each.id, {"parent": old.id})

    def test_what_was_skipped_is_decided_anew_without_the_edge(self, store, session_id):
        """By itself, and with it what was skipped because of it."""
        plan = [draft("gone"), draft("b"), draft("c", "gone", "b"), draft("d", "c")]
        gone, b, c, d = store.plan(session_id, plan)
        store.cancel(gone.id, "", subtree=False)
        assert status_of(store, d.id) == "skipped"
        assert store.remove_dependency(c.id, gone.id).status is TaskStatus.PENDING
        assert status_of(store, d.id) == "pending"
        store.cancel(b.id, "", subtree=False)
        assert store.remove_dependency(c.id, b.id).blockers == 0

    def test_an_edge_that_a_condition_names_stays(self, store, session_id):
        """It cannot be removed."""
        a, b = store.plan(session_id, [draft("a"), draft("b", "a", condition="a.success")])
        with pytest.raises(ConditionError):
            store.remove_dependency(b.id, a.id)

    def test_an_edge_that_can_never_be_met_skips(self, store, session_id):
        """Added to what has ended already, it skips the task, and what waits for that as well."""
        a, b, _ = store.plan(session_id, [draft("a"), draft("b"), draft("c", "b")])
        store.cancel(a.id, "", subtree=False)
        skipped = store.add_dependency(b.id, a.id, Outcome.SUCCESS)
        assert skipped.status is TaskStatus.SKIPPED
        assert statuses(store, session_id) == {"a": "cancelled", "b": "skipped", "c": "skipped"}

    def test_the_same_condition_may_mean_another_task(self, store, session_id):
        """Planned again, it means the task of that name in the plan, not the one renamed since."""
        plan = [draft("gate"), draft("ship", "gate", condition="gate.success")]
        plan = [attrs.evolve(each, named=frozenset({"dependencies", "condition"})) for each in plan]
        gate = store.plan(session_id, plan)[0]
        store.update_task(gate.id, {"alias": "door"})
        again, ship = store.plan(session_id, plan, existing=Existing.UPDATE)
        assert again.id != gate.id
        assert ship.dependencies == (Dependency(again.id),)
        assert ship.condition_names == {"gate": again.id}

    def test_what_it_waits_for_can_be_exchanged(self, store, session_id):
        """All edges at once, with another condition: each change is recorded as what it is."""
        a, b, c = store.plan(session_id, [draft("a"), draft("b"), draft("c", "a")])
        edges = (Dependency("b", Outcome.DONE),)
        changed = store.update_task(c.id, {"dependencies": edges, "condition": "b.success"})
        assert changed.dependencies == (Dependency(b.id, Outcome.DONE),)
        assert changed.condition_names == {"b": b.id}
        assert changed.blockers == 1
        assert kinds(store, c.id)[1:] == [
            EventKind.DEPENDENCY_REMOVED,
            EventKind.DEPENDENCY_ADDED,
            EventKind.TASK_UPDATED,
        ]
        freed = store.update_task(c.id, {"dependencies": (), "condition": None})
        assert (freed.blockers, freed.condition_names) == (0, {})
        with pytest.raises(ConditionError):
            store.update_task(c.id, {"condition": "a.success"})
        store.update_task(c.id, {"dependencies": (Dependency(a.id),), "condition": "a.success"})
        with pytest.raises(ConditionError):
            store.update_task(c.id, {"dependencies": ()})

    def test_a_condition_decides_at_once(self, store, session_id):
        """What can never become ready by its new condition is skipped, with what waits for it."""
        a, b, _ = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c", "b")])
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        store.finish(a.id, 1, completion(), agent="ada")
        changed = store.update_task(b.id, {"condition": "a.failed"})
        assert changed.status is TaskStatus.SKIPPED
        assert statuses(store, session_id) == {"a": "completed", "b": "skipped", "c": "skipped"}

    def test_what_was_skipped_is_decided_anew(self, store, session_id):
        """When what it waits for changes, it is open again, with its parts and what waits for it.

        What has no reason to be skipped any more can be done; what still has is skipped again.
        """
        plan = [draft("a"), draft("b"), draft("c", "a"), draft("d", "c")]
        tasks = {
            task.alias: task
            for task in store.plan(session_id, [*plan, draft("part", parent="c"), draft("e", "a")])
        }
        store.cancel(tasks["a"].id, "", subtree=False)
        skipped = {"c": "skipped", "d": "skipped", "part": "skipped", "e": "skipped"}
        assert statuses(store, session_id).items() >= skipped.items()
        store.update_task(tasks["c"].id, {"dependencies": (Dependency("b"),)})
        opened = {"c": "pending", "d": "pending", "part": "pending", "e": "skipped"}
        assert statuses(store, session_id).items() >= opened.items()
        assert ready_aliases(store, session_id) == ["b", "part"]
        assert store.find_task("c", session_id).blockers == 2
        again = store.update_task(
            tasks["e"].id, {"dependencies": (Dependency("a"), Dependency("b"))}
        )
        assert again.status is TaskStatus.SKIPPED

    def test_what_was_skipped_may_not_wait_for_itself(self, store, session_id):
        """Others may have come to wait for its end while it had none to wait for itself."""
        a, b, c = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c")])
        store.cancel(a.id, "", subtree=False)
        store.add_dependency(c.id, b.id, Outcome.DONE)
        with pytest.raises(CycleError):
            store.update_task(b.id, {"dependencies": (Dependency("c"),)})
        assert statuses(store, session_id) == {"a": "cancelled", "b": "skipped", "c": "pending"}

    def test_it_moves_under_another_parent(self, store, session_id):
        """Both parents are counted anew; it is put under nothing that has ended or waits for it."""
        drafts = [draft("p"), draft("q"), draft("a", parent="p"), draft("b", parent="a")]
        p, q, a, b = store.plan(session_id, drafts)
        moved = store.update_task(a.id, {"parent": "q"})
        assert moved.parent_task_id == q.id
        blockers = [store.find_task(task.id, None).blockers for task in (p, q, a)]
        assert blockers == [0, 1, 1]
        before = everything(store)
        for parent in (a.id, "b"):
            with pytest.raises(CycleError):
                store.update_task(a.id, {"parent": parent})
        store.add_dependency(b.id, p.id, Outcome.DONE)
        before = everything(store)
        with pytest.raises(CycleError, match="p → a → b → p"):
            store.update_task(a.id, {"parent": p.id})
        assert everything(store) == before
        assert store.update_task(a.id, {"parent": None}).parent_task_id is None
        assert ready_aliases(store, session_id) == ["p", "q"]
        store.cancel(q.id, "", subtree=False)
        with pytest.raises(TransitionError):
            store.update_task(a.id, {"parent": "q"})

    def test_its_alias_changes(self, store, session_id):
        """To one that is free; conditions that named it go on meaning it."""
        a, b = store.plan(session_id, [draft("a"), draft("b", "a", condition="a.success")])
        assert store.update_task(a.id, {"alias": "first"}).alias == "first"
        store.update_task(b.id, {"priority": 2})
        assert store.find_task("first", session_id).id == a.id
        assert store.find_task("a", session_id) is None
        with pytest.raises(AliasTakenError):
            store.update_task(a.id, {"alias": "b"})
        with pytest.raises(PlanError):
            store.update_task(a.id, {"alias": "no alias"})
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        store.finish(a.id, 1, completion(), agent="ada")
        assert ready_aliases(store, session_id) == ["b"]

    def test_it_may_wait_for_the_world(self, store, session_id):
        """From a question or a signal on it is handed to nobody, and without one it is again."""
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        store.plan(session_id, [draft("part", parent="b")])
        asked = store.update_task(a.id, {"question": "Which colour?"})
        assert (asked.question, asked.blockers) == ("Which colour?", 1)
        assert store.update_task(a.id, {"question": None}).is_ready
        with pytest.raises(TransitionError):
            store.update_task(b.id, {"signal": "built"})
        store.signal(session_id, "built", {"ok": True}, agent="ada", key=None)
        waiting = store.update_task(a.id, {"signal": "built"})
        assert (waiting.status, waiting.outputs) == (TaskStatus.COMPLETED, {"ok": True})

    def test_only_a_pending_task_waits_for_something_else(self, store, session_id):
        """The rest can be changed whatever its state."""
        a, _, p = store.plan(session_id, [draft("a"), draft("b"), draft("p")])
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        for changes in (
            {"dependencies": (Dependency("b"),)},
            {"question": "Why?"},
            {"signal": "built"},
        ):
            before = everything(store)
            with pytest.raises(TransitionError):
                store.update_task(a.id, changes)
            assert everything(store) == before
        changed = store.update_task(a.id, {"alias": "x", "parent": "p", "max_attempts": 9})
        assert (changed.alias, changed.parent_task_id, changed.max_attempts) == ("x", p.id, 9)
        assert changed.status is TaskStatus.IN_PROGRESS

    def test_the_same_again_changes_nothing(self, store, session_id):
        """Nothing is written where nothing is different."""
        (task,) = store.plan(session_id, [draft("a", description="as it is")])
        before = everything(store)
        same = {"description": "as it is", "parent": None, "dependencies": (), "alias": "a"}
        assert store.update_task(task.id, same) == task
        assert everything(store) == before

    # --- a plan again -------------------------------------------------------

    def test_a_plan_again_adds_what_is_missing(self, store, session_id):
        """Kept tasks stay as they are, whatever the plan says of them, and can be referred to."""
        first = store.plan(session_id, [draft("a"), TaskDraft(title="Write it")])
        before = everything(store)["tasks"]
        drafts = [
            draft("a", description="other", named=frozenset({"description"})),
            TaskDraft(title="Write it"),
            draft("c", "write_it", parent="a"),
        ]
        again = store.plan(session_id, drafts, existing=Existing.KEEP)
        assert aliases(again) == ["a", "write_it", "c"]
        assert aliases(again.new) == ["c"]
        assert again.changed == {}
        assert aliases(again.unchanged) == ["a", "write_it"]
        assert again[2].dependencies == (Dependency(first[1].id),)
        kept = [task for task in everything(store)["tasks"] if task.alias != "c"]
        assert [attrs.evolve(task, blockers=0) for task in kept] == before

    def test_a_plan_again_changes_what_it_names(self, store, session_id):
        """Two tasks may change places; what the plan leaves out stays."""
        store.plan(session_id, [draft("a"), draft("b", "a", description="kept"), draft("c")])
        drafts = [
            draft("b", named=frozenset({"dependencies"})),
            draft("a", "b", "d", named=frozenset({"dependencies"})),
            draft("d", parent="c"),
        ]
        again = store.plan(session_id, drafts, existing=Existing.UPDATE)
        assert again.changed == {"b": ("dependencies",), "a": ("dependencies",)}
        assert aliases(again.new) == ["d"]
        assert again[0].description == "kept"
        assert ready_aliases(store, session_id) == ["b", "d"]
        seq = store.last_seq()
        assert store.plan(session_id, drafts, existing=Existing.UPDATE).changed == {}
        assert store.last_seq() == seq

    def test_a_plan_again_reads_no_date_anew(self, store, session_id):
        """Words that were written before change nothing, whatever day they mean now."""

        def plan(words, day):
            moment = datetime(2031, 1, day, tzinfo=UTC)
            named, written = frozenset({"not_before"}), {"not_before": words}
            call = draft("a", not_before=moment, named=named, written_dates=written)
            return store.plan(session_id, [call], existing=Existing.UPDATE)

        (task,) = plan("monday", 1)
        store.snooze(task.id, datetime(2032, 1, 1, tzinfo=UTC), zone="UTC", subtree=True)
        assert plan("monday", 8).changed == {}
        assert plan("tuesday", 9).changed == {"a": ("not_before",)}
        assert plan("tuesday", 16)[0].not_before == datetime(2031, 1, 9, tzinfo=UTC)
        store.update_task(task.id, {"not_before": None, "written_dates": {"not_before": ""}})
        assert plan("tuesday", 23).changed == {"a": ("not_before",)}

    def test_a_wrong_plan_changes_nothing(self, store, session_id):
        """All mistakes are reported at once; none of the plan is written."""
        a, _ = store.plan(session_id, [draft("a"), draft("b", "a")])
        edges = frozenset({"dependencies"})
        before = everything(store)
        with pytest.raises(CycleError):
            store.plan(session_id, [draft("a", "b", named=edges)], existing=Existing.UPDATE)
        with pytest.raises(InvalidPlanError):
            drafts = [draft("a", "none", named=edges), draft("c", "nothing")]
            store.plan(session_id, drafts, existing=Existing.UPDATE)
        assert everything(store) == before
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        before = everything(store)
        with pytest.raises(TransitionError):
            drafts = [draft("new"), draft("a", "new", named=edges)]
            store.plan(session_id, drafts, existing=Existing.UPDATE)
        assert everything(store) == before
