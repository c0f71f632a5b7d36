"""Planning tasks, and changing what is planned."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Dependency,
    EventKind,
    Outcome,
    TaskDraft,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.errors import (
    AliasTakenError,
    ConditionError,
    CycleError,
    InvalidPlanError,
    PlanError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.testing.store_contract.examples import (
    ALL_TASKS,
    aliases,
    completion,
    draft,
    everything,
    kinds,
    ready_aliases,
    start_session,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


class PlanningContract(StoreFixtures):
    """Planning tasks, and changing what is planned."""

    # --- plans --------------------------------------------------------------

    def test_an_empty_plan_writes_nothing(self, store, session_id):
        """And it is not a mistake."""
        before = everything(store)
        assert store.plan(session_id, []) == []
        assert everything(store) == before

    def test_a_plan_refers_by_alias_in_any_order(self, store, session_id):
        """What comes later in a plan can be named earlier, and the plan comes back in its order."""
        drafts = [
            TaskDraft(title="Last", dependencies=(Dependency("first"),)),
            TaskDraft(title="First", parent="top"),
            TaskDraft(title="Top"),
        ]
        planned = store.plan(session_id, drafts)
        last, first, top = planned
        assert aliases(planned) == ["last", "first", "top"]
        assert [task.blockers for task in planned] == [1, 0, 1]
        assert last.dependencies == (Dependency(first.id),)
        assert first.parent_task_id == top.id
        assert planned == store.tasks(ALL_TASKS)

    def test_a_plan_keeps_every_field(self, store, session_id, clock):
        """A task comes back as it was planned, and so does each of its edges, in order."""
        fields = {
            "description": "all\nof it",
            "acceptance": "it is\nhere",
            "task_type": "review",
            "complexity": "hard",
            "specialist_type": "tester",
            "priority": -3,
            "estimated_effort": "2 hours",
            "due_at": clock.now + timedelta(days=2, microseconds=7),
            "context": {"k": None},
            "max_attempts": 5,
        }
        a, b, c = store.plan(session_id, [draft("a"), draft("b"), draft("c")])
        needs = [("b", "failure"), ("a", "done"), ("c", "blocked")]
        task = store.plan(session_id, [draft("x", *needs, **fields)])[0]
        assert attrs.asdict(task) | fields == attrs.asdict(task)
        assert task.dependencies == (
            Dependency(b.id, Outcome.FAILURE),
            Dependency(a.id, Outcome.DONE),
            Dependency(c.id, Outcome.BLOCKED),
        )
        assert task.created_at == clock.now
        assert task.updated_at == clock.now
        assert task.ended_at is None
        assert store.find_task(task.id, None) == task

    def test_a_plan_of_two_thousand_tasks_is_all_or_nothing(self, store, session_id):
        """With one mistake at its very end nothing is written; without it everything is."""
        drafts = []
        for number in range(2000):
            three_before = range(max(0, number - 3), number)
            drafts.append(draft(f"t{number}", *(f"t{other}" for other in three_before)))
        before = everything(store)
        mistake = draft("last", "t1_999", place="task 2001")
        with pytest.raises(UnknownDependencyError) as caught:
            store.plan(session_id, [*drafts, mistake])
        assert caught.value.name == "t1_999"
        assert caught.value.place == "task 2001"
        assert everything(store) == before
        planned = store.plan(session_id, drafts)
        assert [task.blockers for task in planned] == [0, 1, 2, *[3] * 1997]
        assert store.count(TaskQuery(session_id=session_id)) == {TaskStatus.PENDING: 2000}
        assert kinds(store)[1:] == [EventKind.TASK_PLANNED] * 2000
        assert ready_aliases(store, session_id) == ["t0"]

    @pytest.mark.parametrize("count", [1, 7])
    def test_aliases_are_numbered(self, store, session_id, count):
        """Equal titles get numbers from 2, in one plan or several, and never one that is taken."""
        for _ in range(count):
            store.plan(session_id, [TaskDraft(title="Look around!")])
        chosen = f"look_around_{count + 2}"
        same_title = [TaskDraft(title="Look around?")] * 5
        store.plan(session_id, [TaskDraft(title="other", alias=chosen), *same_title])
        names = store.aliases(session_id)
        numbered = [f"look_around_{number}" for number in range(2, count + 1)]
        assert names[: count + 1] == ["look_around", *numbered, chosen]
        assert len(set(names)) == count + 6
        for name in names[1:]:
            assert name.removeprefix("look_around_").isdigit()

    @pytest.mark.parametrize(
        ("title", "alias"),
        [
            ("Task D", "task_d"),
            ("  Größe ändern!  ", "größe_ändern"),
            ("123 go", "task_123_go"),
            ("and", "task_and"),
            ("True", "task_true"),
            ("…", "task"),
            ("x" * 100, "x" * 48),
            ("t_0123456789ab", "task_t_0123456789ab"),
            ("日本語", "日本語"),
        ],
    )
    def test_titles_become_aliases(self, store, session_id, title, alias):
        """Whatever the title, its alias is a name that a condition can use."""
        assert store.plan(session_id, [TaskDraft(title=title)])[0].alias == alias
        after = TaskDraft(
            title="After", dependencies=(Dependency(alias),), condition=f"{alias}.done"
        )
        assert store.plan(session_id, [after])[0].condition_names

    def test_what_can_never_become_ready_is_skipped_at_once(self, store, session_id):
        """A task that waits for what will not come any more is skipped; so is what waits for it."""
        a = store.plan(session_id, [draft("a")])[0]
        store.finish(a.id, None, completion(), agent="ada")
        drafts = [
            draft("b", ("a", "failure")),
            draft("c", "b"),
            draft("d", ("b", "skipped")),
            draft("e", "a", condition="a.failed"),
        ]
        planned = store.plan(session_id, drafts)
        assert [str(task.status) for task in planned] == [
            "skipped",
            "skipped",
            "pending",
            "skipped",
        ]
        assert planned[0].reason == "waits for failure of a, which is completed"
        assert ready_aliases(store, session_id) == ["d"]
        assert planned == store.tasks(ALL_TASKS)[1:]

    # --- mistakes -----------------------------------------------------------

    def test_mistakes_in_a_plan_are_told(self, store, session_id):
        """Each kind of mistake has its error; several are reported at once; nothing is written."""
        a, ended = store.plan(session_id, [draft("a"), draft("ended")])
        store.cancel(ended.id, "", subtree=False)
        before = everything(store)
        for drafts, error in (
            ([draft("b", "nobody")], UnknownDependencyError),
            ([draft("b", parent="nobody")], UnknownDependencyError),
            ([draft("a")], AliasTakenError),
            ([draft("b"), draft("b")], AliasTakenError),
            ([draft("b", "a", condition="a.sucess")], ConditionError),
            ([draft("b", condition="a.success")], ConditionError),
            ([draft("b", parent="ended")], TransitionError),
            ([draft("b", "a", ("a", "failure"))], PlanError),
            ([draft("b c")], PlanError),
            ([draft("b", "nobody"), draft("c", "b", parent="nowhere")], InvalidPlanError),
        ):
            with pytest.raises(error):
                store.plan(session_id, drafts)
            assert everything(store) == before
        known = PlanError("known before")
        with pytest.raises(InvalidPlanError) as caught:
            store.plan(session_id, [draft("b", "nobody")], mistakes=[known])
        assert known in caught.value.mistakes
        assert len(caught.value.mistakes) == 2
        assert store.find_task("a", session_id) == a

    def test_references_stay_within_their_session(self, store, session_id):
        """A task of another session cannot be named in this one, neither by alias nor by id."""
        theirs = store.plan(start_session(store), [draft("theirs")])[0]
        for reference in ("theirs", theirs.id):
            with pytest.raises(UnknownDependencyError):
                store.plan(session_id, [draft("b", reference)])
        ours = store.plan(session_id, [draft("ours")])[0]
        with pytest.raises(UnknownDependencyError):
            store.add_dependency(ours.id, theirs.id, Outcome.SUCCESS)

    def test_a_plan_means_its_own_tasks_first(self, store, session_id):
        """The same plan a second time depends on its own tasks, by the names that it uses."""
        plan = [
            TaskDraft(title="Build"),
            TaskDraft(title="Test"),
            TaskDraft(title="Test", dependencies=(Dependency("build"), Dependency("test"))),
            draft("ship", "test_2", condition="test_2.success"),
        ]
        store.plan(session_id, plan[:3])
        build, test, again, ship = store.plan(session_id, plan)
        assert aliases([build, test, again]) == ["build_2", "test_3", "test_4"]
        assert again.dependencies == (Dependency(build.id), Dependency(test.id))
        assert ship.dependencies == (Dependency(again.id),)
        assert ship.condition_names == {"test_2": again.id}

    def test_a_task_does_not_mean_itself(self, store, session_id):
        """Where a task of its own title was planned before, the name means that one."""
        [first] = store.plan(session_id, [TaskDraft(title="Build")])
        drafts = [TaskDraft(title="Build", dependencies=(Dependency("build"),))]
        [second] = store.plan(session_id, drafts)
        assert second.dependencies == (Dependency(first.id),)
        with pytest.raises(CycleError):
            store.plan(session_id, [draft("new", "new")])

    def test_circles_in_one_plan_are_refused_with_their_path(self, store, session_id):
        """Dependencies alone, through a parent, to itself: each with the aliases along it."""
        for drafts, path in (
            ([draft("a", "b"), draft("b", "a")], {"a", "b"}),
            ([draft("a", "a")], {"a"}),
            ([draft("a", parent="a")], {"a"}),
            ([draft("a", "b", parent="b"), draft("b")], {"a", "b"}),
            ([draft("a", parent="b"), draft("b", parent="a")], {"a", "b"}),
            ([draft("p"), draft("c", "x", parent="p"), draft("x", "p")], {"p", "c", "x"}),
        ):
            with pytest.raises(CycleError) as caught:
                store.plan(session_id, drafts)
            assert set(caught.value.path) == path
            assert caught.value.path[0] == caught.value.path[-1]
        assert store.aliases(session_id) == []

    def test_a_circle_through_existing_tasks_is_refused_with_its_path(self, store, session_id):
        """A subtask that waits for what waits for its parent; an edge between existing tasks."""
        p, _, y = store.plan(session_id, [draft("p"), draft("x", "p"), draft("y", "x")])
        before = everything(store)
        with pytest.raises(CycleError) as caught:
            store.plan(session_id, [draft("c", "n", parent="p"), draft("n", "y")])
        assert caught.value.path == ("p", "c", "n", "y", "x", "p")
        with pytest.raises(CycleError, match="p → y → x → p"):
            store.add_dependency(p.id, y.id, Outcome.SUCCESS)
        with pytest.raises(CycleError) as caught:
            store.add_dependency(p.id, p.id, Outcome.SUCCESS)
        assert caught.value.path == ("p", "p")
        assert everything(store) == before
