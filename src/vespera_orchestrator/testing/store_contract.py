"""What `contracts.Store` promises, as tests for any backend. Found under `vespera_orchestrator.testing`."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from vespera_orchestrator._model import (
    ArtifactDraft,
    ArtifactQuery,
    CauseKind,
    Dependency,
    DocumentVersion,
    Ending,
    NextAction,
    Outcome,
    Session,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    Worktree,
    new_id,
    utcnow,
)
from vespera_orchestrator.contracts import TABLES, Store
from vespera_orchestrator.errors import (
    AliasTakenError,
    ClosedError,
    ConditionError,
    CycleError,
    InvalidInputError,
    InvalidPlanError,
    LeaseLostError,
    NotReadyError,
    PlanError,
    SessionNotFoundError,
    TaskNotFoundError,
    TransitionError,
    UnknownDependencyError,
    VesperaError,
)
from vespera_orchestrator.tasks import lifecycle
from vespera_orchestrator.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HALF = "half \ud83d"
"""Half of a surrogate pair: Python has such texts, no file does."""
EVERYTHING = TaskQuery(limit=None, include_archived=True)


def started(store, **given) -> str:
    """Record a new session and return its id."""
    session = Session(
        id=given.get("id", new_id("s")),
        goal=given.get("goal", "test"),
        project_type=None,
        parent_session_id=None,
        context=given.get("context", {}),
        created_at=utcnow(),
        updated_at=utcnow(),
    )
    return store.start_session(session).id


def draft(alias, *needs, **given) -> TaskDraft:
    """Make the draft of a task that waits for *needs*: aliases, or pairs of alias and outcome."""
    edges = tuple(
        Dependency(*need) if isinstance(need, tuple) else Dependency(need) for need in needs
    )
    return TaskDraft(title=alias.capitalize(), alias=alias, dependencies=edges, **given)


def completed(**outputs) -> Ending:
    """Make a plain completion."""
    return Ending(action=NextAction.COMPLETE, summary="done", outputs=outputs)


def blocked(reason="it broke") -> Ending:
    """Make the end of an attempt that did not succeed."""
    return Ending(action=NextAction.BLOCKED, reason=reason)


def artifact(title="Notes", content="1", **given) -> ArtifactDraft:
    """Make the draft of an artifact with some digest."""
    return ArtifactDraft(title=title, digest=content * 64, size_bytes=7, **given)


def whole(store) -> dict[str, Any]:
    """Read all that a store tells."""
    tasks = store.tasks(EVERYTHING)
    return {
        "sessions": store.sessions(limit=None),
        "tasks": tasks,
        "attempts": [store.attempts(task.id) for task in tasks],
        "checkpoints": [store.last_checkpoint(task.id) for task in tasks],
        "artifacts": store.artifacts(ArtifactQuery(include_superseded=True)),
        "worktrees": store.worktrees(include_removed=True),
        "documents": store.document_versions(),
        "events": store.events(limit=None),
        "counts": store.count(EVERYTHING),
    }


def aliases(tasks) -> list[str]:
    """Return the aliases of *tasks*."""
    return [task.alias for task in tasks]


def kinds(store, task_id=None) -> list[str]:
    """Return the kinds of all events, or of one task's."""
    return [event.kind for event in store.events(limit=None) if task_id in {None, event.task_id}]


def statuses(store, session_id) -> dict[str, str]:
    """Return the status of each task of a session, by alias."""
    return {
        task.alias: str(task.status)
        for task in store.tasks(TaskQuery(session_id=session_id, limit=None, include_archived=True))
    }


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Let each call run in a thread of its own, all from the same moment, and return what each returned or raised."""
    gate = threading.Barrier(len(calls))
    said: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        gate.wait()
        try:
            said[number] = calls[number]()
        except BaseException as exc:  # noqa: BLE001 - a thread's error is an answer, too
            said[number] = exc

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


class StoreContract:
    """The proof that a store keeps `contracts.Store`: subclass it, and give a fixture ``open_store``.

    ``open_store(clock)`` opens the store of this test, which is empty at first, with *clock* as its clock. Called again within one test
    it returns another object on the same data, as another process would; a store that lives in one object returns that object again.
    What it opened is closed by the tests.
    """

    @pytest.fixture
    def open_store(self) -> Callable[[Callable[[], Any]], Store]:
        """To be given by the subclass."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock of `store` and `other`."""
        return ManualClock()

    @pytest.fixture
    def store(self, open_store, clock) -> Iterator[Store]:
        """The store."""
        opened = open_store(clock)
        yield opened
        opened.close()

    @pytest.fixture
    def other(self, open_store, store, clock) -> Iterator[Store]:  # noqa: ARG002 - it is opened first
        """The same store, as another process sees it."""
        opened = open_store(clock)
        yield opened
        opened.close()

    @pytest.fixture
    def session_id(self, store) -> str:
        """A session in `store`."""
        return started(store)

    # --- the store as a whole -----------------------------------------------

    def test_it_is_a_store(self, store):
        """It has every operation, and an address."""
        assert isinstance(store, Store)
        assert isinstance(store.url, str)
        assert store.url
        assert isinstance(store.identity, str)
        assert store.identity

    def test_a_new_store_is_empty(self, store):
        """Nothing is found, listed or counted, and no event was ever recorded."""
        assert all(not part for part in whole(store).values())
        assert (store.last_seq(), store.open_sessions()) == (0, 0)
        assert (
            store.find_session("s_"),
            store.find_task("t", None),
            store.find_artifact("a_"),
        ) == (None, None, None)
        assert store.expire() == []

    def test_a_closed_store_says_so(self, store, session_id):
        """``close`` is idempotent; whatever is called afterwards raises `ClosedError`."""
        store.close()
        store.close()
        for call in (
            store.last_seq,
            store.expire,
            lambda: store.plan(session_id, [draft("a")]),
            lambda: store.find_session(session_id),
        ):
            with pytest.raises(ClosedError):
                call()

    def test_everything_is_seen_by_others(self, store, other, session_id):
        """What one object wrote, another one reads at once, equal record for record."""
        store.plan(
            session_id,
            [
                draft(
                    "a",
                    context={"é": [1, None, {"x": 0.5}], "big": 2**200, "half": HALF, "nul": "\0"},
                ),
                draft("b"),
            ],
        )
        claim = store.claim(session_id, "ada", lease_s=60)
        store.checkpoint(
            claim.task.id, 1, {"n": [1.5, "zwei", None]}, note="one", progress=0.5, lease_s=60
        )
        store.finish(claim.task.id, 1, completed(x=1), agent="ada", artifacts=[artifact()])
        assert whole(other) == whole(store)
        context = other.find_task("a", session_id).context
        assert context == {"é": [1, None, {"x": 0.5}], "big": 2**200, "half": HALF, "nul": "\0"}

    # --- sessions -----------------------------------------------------------

    def test_a_session_comes_back_as_given(self, store, clock):
        """Goal, project type, parent and context are kept; the time is the store's."""
        parent = started(store)
        given = Session(
            id=new_id("s"),
            goal="Größe",
            project_type="research_project",
            parent_session_id=parent,
            context={"k": [1]},
            created_at=utcnow(),
            updated_at=utcnow(),
        )
        made = store.start_session(given)
        assert made == store.find_session(given.id)
        assert (made.goal, made.project_type, made.parent_session_id, made.context) == (
            "Größe",
            "research_project",
            parent,
            {"k": [1]},
        )
        assert (made.created_at, made.updated_at) == (clock.now, clock.now)
        assert kinds(store) == ["session_started"] * 2

    def test_an_id_names_one_session(self, store, session_id):
        """A second session with the same id is refused, and nothing is written."""
        before = whole(store)
        with pytest.raises(VesperaError):
            started(store, id=session_id)
        assert whole(store) == before

    def test_sessions_are_listed_by_last_use(self, store, clock):
        """The one last written to comes first, in pages, and tells when that was."""
        ids = [started(store) for _ in range(3)]
        clock.advance(60)
        assert store.resume_session(ids[0]).updated_at == clock.now
        assert [session.id for session in store.sessions()] == [ids[0], ids[2], ids[1]]
        assert [session.id for session in store.sessions(limit=1, offset=1)] == [ids[2]]
        assert [session.id for session in store.sessions(limit=None, offset=2)] == [ids[1]]
        assert kinds(store)[-1] == "session_resumed"

    def test_a_session_that_does_not_exist_is_told(self, store):
        """Going on with it, planning in it and saving to it raise `SessionNotFoundError`."""
        for call in (
            lambda: store.resume_session("s_missing"),
            lambda: store.plan("s_missing", [draft("a")]),
            lambda: store.save_artifact(
                "s_missing", artifact(), task_id=None, attempt=None, agent=None
            ),
        ):
            with pytest.raises(SessionNotFoundError):
                call()
        assert store.last_seq() == 0

    def test_open_sessions_are_those_with_open_tasks(self, store):
        """A session counts while one of its tasks has not ended."""
        first, second, _ = started(store), started(store), started(store)
        a = store.plan(first, [draft("a")])[0]
        store.plan(second, [draft("a")])
        assert store.open_sessions() == 2
        store.cancel(a.id, "", subtree=False)
        assert store.open_sessions() == 1

    # --- planning -----------------------------------------------------------

    def test_a_plan_refers_by_alias_in_any_order(self, store, session_id):
        """What comes later in a plan can be named earlier, and the plan comes back in the order given."""
        drafts = [
            TaskDraft(title="Last", dependencies=(Dependency("first"),)),
            TaskDraft(title="First", parent="top"),
            TaskDraft(title="Top"),
        ]
        last, first, top = planned = store.plan(session_id, drafts)
        assert aliases(planned) == aliases(store.tasks(EVERYTHING)) == ["last", "first", "top"]
        assert [task.blockers for task in planned] == [1, 0, 1]
        assert (last.dependencies, first.parent_task_id) == ((Dependency(first.id),), top.id)
        assert planned == store.tasks(EVERYTHING)

    def test_a_plan_keeps_every_field(self, store, session_id, clock):
        """A task comes back as it was planned, and so does each of its edges, in order."""
        due = clock.now + timedelta(days=2, microseconds=7)
        given = {
            "description": "all\nof it",
            "task_type": "review",
            "complexity": "hard",
            "specialist_type": "tester",
            "priority": -3,
        }
        more = {
            "estimated_effort": "2 hours",
            "due_at": due,
            "context": {"k": None},
            "max_attempts": 5,
        }
        needs = [("b", "failure"), ("a", "done"), ("c", "blocked")]
        store.plan(session_id, [draft("a"), draft("b"), draft("c")])
        task = store.plan(session_id, [draft("x", *needs, **given, **more)])[0]
        assert attrs.asdict(task) | given | more == attrs.asdict(task)
        assert [
            (store.find_task(e.task, None).alias, str(e.on)) for e in task.dependencies
        ] == needs
        assert (task.created_at, task.updated_at, task.ended_at) == (clock.now, clock.now, None)
        assert store.find_task(task.id, None) == task

    def test_a_plan_of_two_thousand_tasks_is_all_or_nothing(self, store, session_id):
        """With one mistake at its very end nothing is written; without it everything is."""
        drafts = [draft(f"t{n}", *(f"t{m}" for m in range(max(0, n - 3), n))) for n in range(2000)]
        before = whole(store)
        with pytest.raises(UnknownDependencyError) as caught:
            store.plan(session_id, [*drafts, draft("last", "t1_999", place="task 2001")])
        assert (caught.value.name, caught.value.place) == ("t1_999", "task 2001")
        assert whole(store) == before
        assert [task.blockers for task in store.plan(session_id, drafts)] == [0, 1, 2, *[3] * 1997]
        assert store.count(TaskQuery(session_id=session_id)) == {TaskStatus.PENDING: 2000}
        assert kinds(store)[1:] == ["task_planned"] * 2000
        assert aliases(store.ready(session_id, 10)) == ["t0"]

    @pytest.mark.parametrize("count", [1, 7])
    def test_aliases_are_numbered(self, store, session_id, count):
        """Equal titles get numbers from 2, in one plan or over several, and never one that is taken."""
        for _ in range(count):
            store.plan(session_id, [TaskDraft(title="Look around!")])
        store.plan(
            session_id,
            [
                TaskDraft(title="other", alias=f"look_around_{count + 2}"),
                *[TaskDraft(title="Look around?")] * 5,
            ],
        )
        made = store.aliases(session_id)
        first = [
            "look_around",
            *(f"look_around_{n}" for n in range(2, count + 1)),
            f"look_around_{count + 2}",
        ]
        assert len(set(made)) == count + 6
        assert made[: count + 1] == first[: count + 1]
        assert all(
            alias == "look_around" or alias.removeprefix("look_around_").isdigit() for alias in made
        )

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
        assert store.plan(
            session_id,
            [
                TaskDraft(
                    title="After", dependencies=(Dependency(alias),), condition=f"{alias}.done"
                )
            ],
        )[0].condition_names

    def test_mistakes_in_a_plan_are_told(self, store, session_id):
        """Each kind of mistake has its error, several at once are told at once, and nothing is written."""
        a, gone = store.plan(session_id, [draft("a"), draft("gone")])
        store.cancel(gone.id, "", subtree=False)
        before = whole(store)
        for drafts, error in (
            ([draft("b", "nobody")], UnknownDependencyError),
            ([draft("b", parent="nobody")], UnknownDependencyError),
            ([draft("a")], AliasTakenError),
            ([draft("b"), draft("b")], AliasTakenError),
            ([draft("b", "a", condition="a.sucess")], ConditionError),
            ([draft("b", condition="a.success")], ConditionError),
            ([draft("b", parent="gone")], TransitionError),
            ([draft("b", "a", ("a", "failure"))], PlanError),
            ([draft("b c")], PlanError),
            ([draft("b", "nobody"), draft("c", "b", parent="nowhere")], InvalidPlanError),
        ):
            with pytest.raises(error):
                store.plan(session_id, drafts)
            assert whole(store) == before
        known = PlanError("told before")
        with pytest.raises(InvalidPlanError) as caught:
            store.plan(session_id, [draft("b", "nobody")], mistakes=[known])
        assert known in caught.value.mistakes
        assert len(caught.value.mistakes) == 2
        assert store.find_task("a", session_id) == a

    def test_references_stay_within_their_session(self, store, session_id):
        """A task of another session is no task of this one, whether by alias or by id."""
        theirs = store.plan(started(store), [draft("theirs")])[0]
        for ref in ("theirs", theirs.id):
            with pytest.raises(UnknownDependencyError):
                store.plan(session_id, [draft("b", ref)])
        ours = store.plan(session_id, [draft("ours")])[0]
        with pytest.raises(UnknownDependencyError):
            store.add_dependency(ours.id, theirs.id, Outcome.SUCCESS)

    def test_what_can_never_become_ready_is_skipped_at_once(self, store, session_id):
        """A task that waits for what will not come any more is planned, and skipped with the reason; so is what waits for it."""
        a = store.plan(session_id, [draft("a")])[0]
        store.finish(a.id, None, completed(), agent="ada")
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
        assert aliases(store.ready(session_id, 9)) == ["d"]
        assert planned == store.tasks(EVERYTHING)[1:]

    def test_circles_in_one_plan_are_refused_with_their_path(self, store, session_id):
        """Dependencies alone, through a parent, to itself, of itself: each with the aliases along the circle."""
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
        """A subtask that waits for what waits for its parent, and an edge added between existing tasks."""
        ids = {
            task.alias: task.id
            for task in store.plan(session_id, [draft("p"), draft("x", "p"), draft("y", "x")])
        }
        before = whole(store)
        with pytest.raises(CycleError) as caught:
            store.plan(session_id, [draft("c", "n", parent="p"), draft("n", "y")])
        assert caught.value.path == ("p", "c", "n", "y", "x", "p")
        with pytest.raises(CycleError, match="p → y → x → p"):
            store.add_dependency(ids["p"], ids["y"], Outcome.SUCCESS)
        with pytest.raises(CycleError) as caught:
            store.add_dependency(ids["p"], ids["p"], Outcome.SUCCESS)
        assert caught.value.path == ("p", "p")
        assert whole(store) == before

    def test_fields_can_be_changed(self, store, session_id, clock):
        """What describes a task can be changed at any time; what was not named stays."""
        task = store.plan(session_id, [draft("a", description="before")])[0]
        clock.advance(5)
        due = clock.now + timedelta(days=1)
        changes = {
            "title": "New",
            "priority": 7,
            "context": {"x": 1},
            "due_at": due,
            "estimated_effort": "1 day",
            "specialist_type": None,
        }
        changed = store.update_task(task.id, changes)
        assert attrs.asdict(changed) == attrs.asdict(task) | changes | {
            "updated_at": clock.now,
            "urgency": changed.urgency,
        }
        assert store.find_task(task.id, None) == changed
        assert kinds(store, task.id) == ["task_planned", "task_updated"]
        with pytest.raises(TaskNotFoundError):
            store.update_task("t_missing", {"title": "x"})

    def test_edges_can_be_added_and_removed(self, store, session_id):
        """A pending task can be made to wait for more and for less; it is counted anew each time."""
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        waiting = store.add_dependency(b.id, a.id, Outcome.DONE)
        assert (waiting.blockers, waiting.dependencies) == (1, (Dependency(a.id, Outcome.DONE),))
        assert aliases(store.ready(session_id, 9)) == ["a"]
        assert aliases(store.dependents(a.id)) == ["b"]
        free = store.remove_dependency(b.id, a.id)
        assert (free.blockers, free.dependencies) == (0, ())
        assert kinds(store, b.id) == ["task_planned", "dependency_added", "dependency_removed"]
        with pytest.raises(UnknownDependencyError):
            store.remove_dependency(b.id, a.id)
        store.claim(session_id, "ada", task_id=b.id, lease_s=60)
        with pytest.raises(TransitionError):
            store.add_dependency(b.id, a.id, Outcome.SUCCESS)

    def test_an_edge_that_a_condition_names_stays(self, store, session_id):
        """It cannot be removed."""
        a, b = store.plan(session_id, [draft("a"), draft("b", "a", condition="a.success")])
        with pytest.raises(ConditionError):
            store.remove_dependency(b.id, a.id)

    def test_an_edge_that_can_never_be_met_skips(self, store, session_id):
        """Added to what has ended already, the task is skipped in the same step, and what waits for it as well."""
        a, b, _ = store.plan(session_id, [draft("a"), draft("b"), draft("c", "b")])
        store.cancel(a.id, "", subtree=False)
        assert store.add_dependency(b.id, a.id, Outcome.SUCCESS).status is TaskStatus.SKIPPED
        assert statuses(store, session_id) == {"a": "cancelled", "b": "skipped", "c": "skipped"}

    # --- reading ------------------------------------------------------------

    def test_a_task_is_found_by_id_or_alias(self, store, session_id):
        """By id from anywhere, by alias within its session."""
        task = store.plan(session_id, [draft("a")])[0]
        assert store.find_task(task.id, None) == store.find_task("a", session_id) == task
        assert (
            store.find_task("a", None),
            store.find_task("a", started(store)),
            store.find_task("b", session_id),
        ) == (None,) * 3
        for call in (
            store.situation,
            lambda missing: store.delete(missing, hard=False),
            lambda missing: store.retry(missing, ""),
        ):
            with pytest.raises(TaskNotFoundError):
                call("t_missing")

    def test_queries_filter(self, store, session_id, clock):
        """Each field of a query leaves out what it does not describe, in the order planned; counts are of the same tasks."""
        start = clock.now
        drafts = [
            draft("top"),
            draft("mid", parent="top"),
            draft("low", parent="mid", task_type="review", complexity="hard"),
        ]
        drafts += [draft("odd", "top", specialist_type="tester", description="50% of IT_ALL")]
        ids = {task.alias: task.id for task in store.plan(session_id, drafts)}
        clock.advance(60)
        store.plan(session_id, [draft("late")])
        store.plan(started(store), [draft("elsewhere")])
        store.claim(session_id, "ada", task_id=ids["low"], lease_s=60)
        store.finish(ids["low"], 1, blocked(), agent="ada")
        for given, expected in (
            ({}, "top mid low odd late elsewhere recover_low"),
            ({"session_id": session_id}, "top mid low odd late recover_low"),
            ({"parent_task_id": ids["top"]}, "mid"),
            ({"parent_task_id": ids["top"], "include_children": True}, "top mid low recover_low"),
            (
                {
                    "parent_task_id": ids["top"],
                    "include_children": True,
                    "status": (TaskStatus.BLOCKED,),
                },
                "low",
            ),
            ({"status": (TaskStatus.BLOCKED, TaskStatus.IN_PROGRESS)}, "low"),
            ({"task_type": "review"}, "low"),
            ({"complexity": "hard"}, "low recover_low"),
            ({"specialist_type": "tester"}, "odd"),
            ({"text": "0% of it_a"}, "odd"),
            ({"text": "T_A"}, "odd"),
            ({"text": "%"}, "odd"),
            ({"ready": True}, "late elsewhere recover_low"),
            ({"ready": False}, "top mid low odd"),
            ({"recoveries": True}, "recover_low"),
            ({"recoveries": False, "session_id": session_id}, "top mid low odd late"),
            ({"recovers_task_id": ids["low"]}, "recover_low"),
            ({"agent": "ada"}, "low"),
            ({"alias_prefix": "l"}, "low late"),
            ({"alias_prefix": "%"}, ""),
            ({"created_before": clock.now}, "top mid low odd"),
            ({"created_after": clock.now}, "late elsewhere recover_low"),
            ({"updated_before": clock.now}, "top mid odd"),
            ({"updated_after": start}, "top mid low odd late elsewhere recover_low"),
        ):
            found = store.tasks(TaskQuery(**given))
            assert aliases(found) == expected.split(), given
            assert sum(store.count(TaskQuery(**given, limit=1)).values()) == len(found)
        assert aliases(store.tasks(TaskQuery(limit=2, offset=1))) == ["mid", "low"]
        assert aliases(store.tasks(TaskQuery(limit=None, offset=5))) == ["elsewhere", "recover_low"]
        assert store.tasks(TaskQuery(limit=0)) == []

    def test_the_best_ready_task_comes_first(self, store, session_id):
        """By priority, then by the hours of the longest chain that starts with it, then in the order planned."""
        chain = [draft("c1"), draft("c2", "c1", estimated_effort="1 week"), draft("c3", "c2")]
        store.plan(
            session_id,
            [
                draft("a"),
                *chain,
                draft("b"),
                draft("first", priority=1),
                draft("never", priority=-1),
            ],
        )
        assert aliases(store.ready(session_id, 9)) == ["first", "c1", "a", "b", "never"]
        assert aliases(store.ready(session_id, 2)) == ["first", "c1"]
        assert aliases(store.longest_chain(session_id, 9)) == ["c1", "c2", "c3"]
        assert aliases(store.longest_chain(session_id, 2)) == ["c1", "c2"]
        store.plan(session_id, [draft("more", "b", estimated_effort="3 weeks")])
        assert aliases(store.ready(session_id, 9)) == ["first", "b", "c1", "a", "never"]

    def test_a_situation_holds_all_that_bears_on_readiness(self, store, session_id, clock):
        """What it depends on, its open children, who holds it, its open recovery, and when that was."""
        drafts = [draft("a"), draft("b", "a"), *(draft(f"k{n}", parent="b") for n in range(12))]
        a, b, *_ = store.plan(session_id, drafts)
        seen = store.situation(b.id)
        assert (aliases(seen.needed.values()), seen.open_children_count, seen.as_of) == (
            ["a"],
            12,
            clock.now,
        )
        assert seen.open_children == tuple(f"k{n}" for n in range(10))
        assert [cause.kind for cause in lifecycle.why(seen).causes] == [
            CauseKind.DEPENDENCY,
            CauseKind.CHILDREN,
        ]
        claim = store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        assert store.situation(a.id).attempt == claim.attempt
        recovery = store.finish(a.id, 1, blocked(), agent="ada").recovery
        assert store.situation(a.id).open_recovery == recovery

    # --- holding ------------------------------------------------------------

    def test_a_claim_holds_the_task(self, store, session_id, clock):
        """The task is in progress under a first attempt, until the lease lapses."""
        task = store.plan(session_id, [draft("a")])[0]
        claim = store.claim(session_id, "ada", lease_s=90)
        assert claim.task == store.find_task(task.id, None)
        assert (claim.task.status, claim.task.attempts, claim.resumed_from) == (
            TaskStatus.IN_PROGRESS,
            1,
            None,
        )
        attempt = claim.attempt
        assert (attempt.number, attempt.agent, attempt.started_at) == (1, "ada", clock.now)
        assert (attempt.lease_until, attempt.last_sign_at) == (
            clock.now + timedelta(seconds=90),
            clock.now,
        )
        assert store.attempts(task.id) == [attempt]
        assert store.running(session_id, 9) == [(claim.task, attempt, None)]
        assert kinds(store, task.id) == ["task_planned", "task_started"]

    def test_a_claim_takes_the_best_or_nothing(self, store, session_id):
        """Without a name the best ready task is taken; when nothing is ready, nothing is, and nothing is written."""
        store.plan(session_id, [draft("a"), draft("b", priority=1), draft("c", "a")])
        assert [store.claim(session_id, "ada", lease_s=60).task.alias for _ in range(2)] == [
            "b",
            "a",
        ]
        before = whole(store)
        assert store.claim(session_id, "ada", lease_s=60) is None
        assert store.claim("s_missing", "ada", lease_s=60) is None
        assert whole(store) == before

    def test_a_named_task_that_is_not_ready_is_refused_with_its_causes(self, store, session_id):
        """Whether it waits, is held, or has ended."""
        a, b = store.plan(session_id, [draft("a"), draft("b", "a")])
        with pytest.raises(NotReadyError) as caught:
            store.claim(session_id, "ada", task_id=b.id, lease_s=60)
        assert caught.value.why == lifecycle.why(store.situation(b.id))
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        with pytest.raises(NotReadyError) as caught:
            store.claim(session_id, "bob", task_id=a.id, lease_s=60)
        assert caught.value.why.causes[0].agent == "ada"
        store.finish(a.id, 1, completed(), agent="ada")
        with pytest.raises(NotReadyError):
            store.claim(session_id, "bob", task_id=a.id, lease_s=60)
        with pytest.raises(TaskNotFoundError):
            store.claim(session_id, "bob", task_id="t_missing", lease_s=60)

    def test_a_hold_can_be_renewed(self, store, session_id, clock):
        """It then lasts as long from that moment."""
        store.plan(session_id, [draft("a")])
        claim = store.claim(session_id, "ada", lease_s=60)
        clock.advance(50)
        renewed = store.renew(claim.task.id, 1, lease_s=60)
        assert (renewed.lease_until, renewed.last_sign_at) == (
            clock.now + timedelta(seconds=60),
            clock.now,
        )
        assert store.attempts(claim.task.id) == [renewed]
        clock.advance(50)
        assert store.expire() == []
        assert kinds(store)[-1] == "lease_renewed"

    def test_a_checkpoint_is_kept_for_the_next_attempt(self, store, session_id, clock):
        """It renews the hold, is the last one until the next, and is handed to whoever goes on."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(50)
        store.checkpoint(task.id, 1, {"n": 1}, lease_s=60)
        saved = store.checkpoint(
            task.id, 1, {"n": 2}, note="half", progress=0.5, snapshot="ab" * 20, lease_s=60
        )
        assert (saved.state, saved.note, saved.progress, saved.snapshot, saved.attempt) == (
            {"n": 2},
            "half",
            0.5,
            "ab" * 20,
            1,
        )
        assert store.last_checkpoint(task.id) == saved
        assert store.attempts(task.id)[0].lease_until == clock.now + timedelta(seconds=60)
        assert store.running(session_id, 9)[0][2] == saved
        event = store.events(kinds=["checkpoint_saved"])[-1]
        assert (event.data["checkpoint"], event.data["note"]) == (saved.id, "half")
        store.finish(task.id, 1, Ending(action=None), agent="ada")
        assert store.claim(session_id, "bob", lease_s=60).resumed_from == saved

    def test_a_lapsed_hold_is_ended_by_whoever_comes_by(self, store, other, session_id, clock):
        """The attempt is abandoned, the task is ready again with its checkpoint, and the next attempt has the next number."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        saved = store.checkpoint(task.id, 1, 7, lease_s=60)
        clock.advance(60)
        assert other.expire() == []
        clock.advance(1)
        (lapsed,) = other.expire()
        assert (lapsed.task_id, lapsed.number, lapsed.agent) == (task.id, 1, "ada")
        assert other.expire() == []
        assert (store.attempts(task.id)[0].ending, kinds(store, task.id)[-1]) == (
            "abandoned",
            "lease_expired",
        )
        claim = other.claim(session_id, "bob", lease_s=60)
        assert (claim.attempt.number, claim.resumed_from) == (2, saved)

    def test_a_claim_notices_lapsed_holds_itself(self, store, session_id, clock):
        """Nobody needs to call ``expire`` first."""
        store.plan(session_id, [draft("a")])
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(61)
        claim = store.claim(session_id, "bob", lease_s=60)
        assert (claim.task.alias, claim.attempt.number) == ("a", 2)
        assert kinds(store)[-3:] == ["task_started", "lease_expired", "task_started"]

    def test_a_sleeper_regains_its_hold_if_nobody_took_it(self, store, other, session_id, clock):
        """After nine hours of sleep the holder goes on, whether or not its lapse was noticed, by whatever it writes first."""
        for noticed in (False, True):
            for write in (
                lambda s, task_id: s.renew(task_id, 1, lease_s=60),
                lambda s, task_id: s.checkpoint(task_id, 1, {}, lease_s=60),
                lambda s, task_id: s.save_artifact(
                    session_id, artifact(), task_id=task_id, attempt=1, agent="ada"
                ),
            ):
                task = store.plan(session_id, [TaskDraft(title="A")])[0]
                store.claim(session_id, "ada", task_id=task.id, lease_s=60)
                clock.advance(hours=9)
                if noticed:
                    assert len(other.expire()) == 1
                write(store, task.id)
                assert store.find_task(task.id, None).status is TaskStatus.IN_PROGRESS
                assert ("lease_regained" in kinds(store, task.id)) is noticed
                assert (
                    store.finish(task.id, 1, completed(), agent="ada").task.status
                    is TaskStatus.COMPLETED
                )

    def test_a_holder_that_was_replaced_can_write_nothing(self, store, other, session_id, clock):
        """Every fenced write of the old attempt is refused, and leaves no trace."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(61)
        other.claim(session_id, "bob", lease_s=60)
        before = whole(store)
        for call in (
            lambda: store.renew(task.id, 1, lease_s=60),
            lambda: store.checkpoint(
                task.id, 1, {}, lease_s=60, within=lambda: pytest.fail("called behind the fence")
            ),
            lambda: store.finish(
                task.id,
                1,
                completed(),
                agent="ada",
                artifacts=[artifact()],
                within=lambda: pytest.fail("called"),
            ),
            lambda: store.save_artifact(
                session_id, artifact(), task_id=task.id, attempt=1, agent="ada"
            ),
            lambda: store.renew(task.id, 7, lease_s=60),
        ):
            with pytest.raises(LeaseLostError):
                call()
            assert whole(store) == before

    def test_a_hold_can_be_taken_over(self, store, other, session_id):
        """By name, on demand, without waiting for the lease; the old holder is behind the fence from then on."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=600)
        claim = other.claim(session_id, "bob", task_id=task.id, lease_s=60, take_over=True)
        assert (claim.attempt.number, claim.attempt.agent) == (2, "bob")
        assert kinds(store, task.id)[-2:] == ["lease_expired", "task_started"]
        with pytest.raises(LeaseLostError):
            store.renew(task.id, 1, lease_s=60)

    def test_a_clock_that_jumps_back_loses_no_hold(self, store, session_id, clock):
        """Nothing lapses, and work goes on."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(hours=-9)
        assert store.expire() == []
        store.checkpoint(task.id, 1, {}, lease_s=60)
        assert (
            store.finish(task.id, 1, completed(), agent="ada").task.status is TaskStatus.COMPLETED
        )

    # --- endings ------------------------------------------------------------

    def test_a_completion_frees_what_waits(self, store, session_id, clock):
        """Status, outputs, summary, attempt and artifacts are written together, and dependents become ready."""
        a = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c", "a", "b")])[0]
        claim = store.claim(session_id, "ada", lease_s=60)
        clock.advance(5)
        done = store.finish(
            a.id,
            1,
            Ending(action=NextAction.COMPLETE, summary="sum", outputs={"n": 1}, landed="ab" * 20),
            agent="ada",
            artifacts=[artifact()],
        )
        assert done.task == store.find_task(a.id, None)
        assert (done.task.status, done.task.outputs, done.task.summary) == (
            TaskStatus.COMPLETED,
            {"n": 1},
            "sum",
        )
        assert (done.task.ended_at, done.recovery, done.repeated) == (clock.now, None, False)
        assert done.artifacts == tuple(store.artifacts(ArtifactQuery()))
        assert (done.artifacts[0].task_id, done.artifacts[0].attempt, done.artifacts[0].agent) == (
            a.id,
            claim.attempt.number,
            "ada",
        )
        ended = store.attempts(a.id)[0]
        assert (ended.ending, ended.ended_at) == ("completed", clock.now)
        assert [task.blockers for task in store.tasks(EVERYTHING)] == [0, 0, 1]
        assert aliases(store.ready(session_id, 9)) == ["b"]
        assert kinds(store)[-2:] == ["artifact_saved", "task_completed"]
        assert store.events()[-1].data["landed"] == "ab" * 20

    def test_work_handed_in_waits_to_be_merged(self, store, other, session_id, clock):
        """The task stays in progress, its dependents know why they wait, no time takes it away, and it is finished under its attempt."""
        store.plan(session_id, [draft("a"), draft("b", "a")])
        a = store.claim(session_id, "ada", lease_s=60).task
        later = attrs.evolve(completed(n=1), later=True)
        handed = store.finish(
            a.id, 1, later, agent="ada", artifacts=[attrs.evolve(artifact(), id="a_000000000001")]
        )
        assert (handed.task.status, handed.task.summary, handed.artifacts[0].id) == (
            TaskStatus.IN_PROGRESS,
            "done",
            "a_000000000001",
        )
        assert kinds(store)[-1] == "task_handed_in"
        before = whole(store)
        assert other.finish(a.id, 1, later, agent="ada", artifacts=[artifact()]).repeated
        clock.advance(days=30)
        assert (store.expire(), store.ready(session_id, 9)) == ([], [])
        assert whole(store) == before
        assert store.situation(a.id).attempt.ending == "handed_in"
        assert store.situation(store.find_task("b", session_id).id).unmerged == {a.id}
        assert (
            other.finish(a.id, 1, completed(n=1), agent="eve").task.status is TaskStatus.COMPLETED
        )
        assert aliases(store.ready(session_id, 9)) == ["b"]

    def test_a_completion_sent_twice_is_one(self, store, other, session_id):
        """The same attempt with the same outputs and artifacts again: the first answer once more, nothing written."""
        store.plan(session_id, [draft("a")])
        a = store.claim(session_id, "ada", lease_s=60).task
        first = store.finish(a.id, 1, completed(n=1), agent="ada", artifacts=[artifact()])
        before = whole(store)
        again = other.finish(
            a.id,
            1,
            completed(n=1),
            agent="ada",
            artifacts=[artifact()],
            within=lambda: pytest.fail("called again"),
        )
        assert again == attrs.evolve(first, repeated=True)
        with pytest.raises(LeaseLostError):
            other.finish(a.id, 1, completed(n=2), agent="ada", artifacts=[artifact()])
        with pytest.raises(TransitionError):
            other.finish(a.id, None, completed(n=2), agent="ada")
        assert whole(store) == before

    def test_a_block_sent_twice_is_one(self, store, session_id):
        """There is one recovery, whoever tells of the failure how often."""
        a = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        first = store.finish(a.id, 1, blocked(), agent="ada")
        before = whole(store)
        assert store.finish(a.id, 1, blocked(), agent="ada") == attrs.evolve(first, repeated=True)
        assert whole(store) == before

    def test_a_failure_blocks_and_makes_one_recovery(self, store, session_id):
        """The recovery carries the error, the last checkpoint and what was kept; completing it makes the task ready again."""
        a = store.plan(session_id, [draft("a", priority=2), draft("b", ("a", "blocked"))])[0]
        store.claim(session_id, "ada", lease_s=60)
        saved = store.checkpoint(a.id, 1, {}, note="half", lease_s=60)
        end = Ending(action=NextAction.BLOCKED, reason="it broke", recovery={"conflict": ["x"]})
        done = store.finish(a.id, 1, end, agent="ada", artifacts=[artifact(partial=True)])
        assert (done.task.status, done.task.failures, done.task.was_blocked) == (
            TaskStatus.BLOCKED,
            1,
            True,
        )
        recovery = done.recovery
        assert (
            recovery.recovers_task_id,
            recovery.task_type,
            recovery.alias,
            recovery.priority,
        ) == (a.id, "recovery", "recover_a", 3)
        assert recovery.context["error"] == "it broke"
        assert (recovery.context["checkpoint_id"], recovery.context["conflict"]) == (
            saved.id,
            ["x"],
        )
        assert recovery.context["artifact_ids"] == [done.artifacts[0].id]
        assert aliases(store.ready(session_id, 9)) == ["recover_a", "b"]
        store.finish(recovery.id, None, completed(), agent="bob")
        again = store.find_task(a.id, None)
        assert (again.status, again.blockers, again.failures) == (TaskStatus.PENDING, 0, 1)
        assert kinds(store, a.id)[-1] == "task_recovered"
        assert store.claim(session_id, "ada", task_id=a.id, lease_s=60).attempt.number == 2

    def test_after_its_last_failure_a_person_decides(self, store, session_id):
        """No further recovery is made; retry starts the count anew, abandon fails the task."""
        a = store.plan(session_id, [draft("a", max_attempts=1)])[0]
        store.claim(session_id, "ada", lease_s=60)
        assert store.finish(a.id, 1, blocked(), agent="ada").recovery is None
        assert lifecycle.why(store.situation(a.id)).needs_person
        assert (store.retry(a.id, "again").failures, kinds(store)[-1]) == (0, "task_retried")
        store.claim(session_id, "ada", lease_s=60)
        store.finish(a.id, 2, blocked(), agent="ada")
        failed = store.abandon(a.id, "enough")
        assert (failed.status, failed.reason, kinds(store)[-1]) == (
            TaskStatus.FAILED,
            "enough",
            "task_failed",
        )

    @pytest.mark.parametrize(
        ("action", "status", "event", "ending"),
        [
            (NextAction.CONTINUE, "in_progress", "task_continued", None),
            (NextAction.NEEDS_REVISION, "pending", "task_revised", "revised"),
            (None, "pending", "task_released", "released"),
        ],
    )
    def test_other_endings(self, store, session_id, action, status, event, ending):
        """Handing in and going on, asking for a revision, letting go: the artifacts are kept, the task is as it should be."""
        a = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        done = store.finish(
            a.id,
            1,
            Ending(action=action, summary="so far", reason="note"),
            agent="ada",
            artifacts=[artifact()],
        )
        assert (str(done.task.status), done.recovery, len(done.artifacts)) == (status, None, 1)
        assert (store.attempts(a.id)[0].ending, kinds(store)[-1]) == (ending, event)

    def test_without_an_attempt_the_current_one_is_meant(self, store, session_id):
        """A ready task is claimed and completed in one step; of a held one only its agent is the holder; a waiting one is refused."""
        a, b, c = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c")])
        with pytest.raises(NotReadyError):
            store.finish(b.id, None, completed(), agent="ada")
        store.claim(session_id, "ada", task_id=c.id, lease_s=60)
        with pytest.raises(LeaseLostError):
            store.finish(c.id, None, completed(), agent="bob")
        assert (
            store.finish(c.id, None, completed(), agent="ada").task.status is TaskStatus.COMPLETED
        )
        assert store.finish(a.id, None, completed(), agent="bob").task.attempts == 1
        assert kinds(store, a.id) == ["task_planned", "task_started", "task_completed"]

    def test_a_parent_waits_for_its_children(self, store, session_id):
        """It is ready when all have ended, whatever way, and cannot be completed before."""
        top, one, two = store.plan(
            session_id, [draft("top"), draft("one", parent="top"), draft("two", parent="top")]
        )
        assert store.find_task(top.id, None).blockers == 2
        store.finish(one.id, None, completed(), agent="ada")
        store.cancel(two.id, "", subtree=False)
        store.claim(session_id, "ada", task_id=top.id, lease_s=60)
        store.plan(session_id, [draft("three", parent="top")])
        with pytest.raises(NotReadyError):
            store.finish(top.id, 1, completed(), agent="ada")
        assert store.find_task(top.id, None).blockers == 1

    def test_an_end_is_carried_downward(self, store, session_id):
        """Edges on every outcome, conditions, and chains of them are decided in the same step."""
        drafts = [
            draft("a"),
            draft("if_ok", "a"),
            draft("if_failed", ("a", "failure")),
            draft("any", ("a", "done")),
        ]
        drafts += [draft("after_failed", "if_failed"), draft("rescue", ("if_failed", "skipped"))]
        drafts += [
            draft("big", "a", condition="a.outputs.n > 3"),
            draft("small", "a", condition="a.outputs.n <= 3 or a.failed"),
        ]
        a = store.plan(session_id, drafts)[0]
        store.finish(a.id, None, completed(n=5), agent="ada")
        assert aliases(store.ready(session_id, 99)) == ["if_ok", "any", "rescue", "big"]
        skipped = {
            alias for alias, status in statuses(store, session_id).items() if status == "skipped"
        }
        assert skipped == {"if_failed", "after_failed", "small"}
        assert kinds(store).count("task_skipped") == 3

    # --- a person decides ---------------------------------------------------

    def test_cancelling(self, store, session_id):
        """The task, and on demand all below it; the holder is behind the fence, dependents are skipped; twice is once."""
        drafts = [
            draft("top"),
            draft("one", parent="top"),
            draft("two", parent="one"),
            draft("after", "top"),
            draft("free"),
        ]
        top, _, two, *_ = store.plan(session_id, drafts)
        store.claim(session_id, "ada", task_id=two.id, lease_s=60)
        assert set(aliases(store.cancel(top.id, "no more", subtree=True))) == {"top", "one", "two"}
        assert statuses(store, session_id)["after"] == "skipped"
        assert store.find_task(top.id, None).reason == "no more"
        assert store.attempts(two.id)[0].ending == "cancelled"
        with pytest.raises(LeaseLostError):
            store.renew(two.id, 1, lease_s=60)
        before = whole(store)
        assert store.cancel(top.id, "again", subtree=True) == []
        assert whole(store) == before
        free = store.find_task("free", session_id)
        store.finish(free.id, None, completed(), agent="ada")
        with pytest.raises(TransitionError):
            store.cancel(free.id, "", subtree=False)

    def test_retrying(self, store, session_id):
        """What was given up is pending again, and so is what was skipped because of it; a completed task stays completed."""
        a, b, _ = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c", "b")])
        store.abandon(a.id, "")
        assert set(statuses(store, session_id).values()) == {"failed", "skipped"}
        with pytest.raises(TransitionError):
            store.retry(b.id, "")
        assert store.retry(a.id, "again").status is TaskStatus.PENDING
        assert statuses(store, session_id) == {"a": "pending", "b": "pending", "c": "pending"}
        assert [task.blockers for task in store.tasks(EVERYTHING)] == [0, 1, 1]
        store.finish(a.id, None, completed(), agent="ada")
        with pytest.raises(TransitionError):
            store.retry(a.id, "")

    def test_giving_up_ends_the_recovery(self, store, session_id):
        """Abandon, cancel and retry of a blocked task cancel the recovery that nobody waits for any more."""
        for give_up in (
            lambda task: store.abandon(task, ""),
            lambda task: store.cancel(task, "", subtree=False),
            lambda task: store.retry(task, ""),
        ):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            recovery = store.finish(task.id, 1, blocked(), agent="ada").recovery
            give_up(task.id)
            assert store.find_task(recovery.id, None).status is TaskStatus.CANCELLED

    def test_deleting(self, store, session_id):
        """An ended task is archived; removed for good only when nothing refers to it."""
        a, b, c = store.plan(session_id, [draft("a"), draft("b", "a"), draft("c")])
        with pytest.raises(TransitionError):
            store.delete(c.id, hard=False)
        store.finish(a.id, None, completed(), agent="ada", artifacts=[artifact()])
        assert store.delete(a.id, hard=False).archived
        assert aliases(store.tasks(TaskQuery())) == ["b", "c"]
        with pytest.raises(TransitionError):
            store.delete(a.id, hard=True)
        store.finish(c.id, None, completed(), agent="ada", artifacts=[artifact()])
        assert store.delete(c.id, hard=True).alias == "c"
        assert (store.find_task(c.id, None), store.attempts(c.id)) == (None, [])
        assert [kept.task_id for kept in store.artifacts(ArtifactQuery())] == [a.id, c.id]
        assert kinds(store)[-1] == "task_deleted"
        assert store.find_task(b.id, None).blockers == 0

    # --- artifacts, worktrees, documents --------------------------------------

    def test_artifacts_have_versions(self, store, session_id, clock):
        """The same title in the same task is the next version; the same bytes again are the same artifact."""
        task = store.plan(session_id, [draft("a")])[0]
        given = {
            "kind": "notes",
            "media_type": "text/plain",
            "tags": ("x", "ä"),
            "metadata": {"k": [1]},
        }
        save = lambda content, **more: store.save_artifact(  # noqa: E731
            session_id,
            artifact("T", content, **given | more),
            task_id=task.id,
            attempt=None,
            agent="ada",
        )
        first = save("1")
        assert save("1") == first
        assert (first.version, first.tags, first.metadata, first.created_at) == (
            1,
            ("x", "ä"),
            {"k": [1]},
            clock.now,
        )
        assert (first.kind, first.media_type, first.digest, first.size_bytes) == (
            "notes",
            "text/plain",
            "1" * 64,
            7,
        )
        second = save("2")
        assert (second.version, second.supersedes_id) == (2, first.id)
        assert store.find_artifact(first.id) == attrs.evolve(first, superseded=True)
        elsewhere = store.save_artifact(
            session_id, artifact("T", **given), task_id=None, attempt=None, agent=None
        )
        assert (elsewhere.version, elsewhere.task_id) == (1, None)
        assert save("2", kind="file").version == 1
        told = store.events(kinds=["artifact_saved"])
        assert [event.data["artifact"] for event in told][:2] == [first.id, second.id]

    def test_what_a_task_was_given_is_kept_until_it_is_given_anew(self, store, session_id):
        """Versions of others' artifacts, once in an attempt; what is superseded is outdated for tasks that rest on it, till given anew."""
        maker, user = store.plan(session_id, [draft("a"), draft("b")])
        save = lambda content, task=maker.id: store.save_artifact(  # noqa: E731
            session_id, artifact("T", content), task_id=task, attempt=None, agent="ada"
        )
        first, own, loose = save("1"), save("2", user.id), save("3", None)
        for _ in range(2):
            store.record_context(user.id, [first.id, own.id, loose.id, "a_missing"], agent="ada")
        (told,) = store.events(kinds=["context_given"])
        assert (told.task_id, told.agent, told.data) == (
            user.id,
            "ada",
            {"attempt": 0, "artifacts": [first.id, loose.id]},
        )
        both = store.context_uses(task_id=user.id)
        assert [(r.alias, r.artifact_id, r.version, r.outdated) for r in both] == [
            ("b", first.id, 1, False),
            ("b", loose.id, 1, False),
        ]
        second = save("4")
        assert store.context_uses(outdated=True) == []  # it has not begun
        store.claim(session_id, "ada", task_id=user.id, lease_s=60)
        (outdated,) = store.context_uses(session_id=session_id, outdated=True, limit=5)
        assert (outdated.artifact_id, outdated.latest_id, outdated.latest_version) == (
            first.id,
            second.id,
            2,
        )
        assert store.context_uses(artifact_ids=[first.id]) == [outdated]
        assert (
            store.context_uses(session_id=started(store))
            == store.context_uses(artifact_ids=[])
            == []
        )
        store.record_context(user.id, [second.id, loose.id], agent="ada")
        assert store.context_uses(outdated=True) == []
        assert {(r.artifact_id, r.attempt) for r in store.context_uses()} == {
            (loose.id, 1),
            (second.id, 1),
        }
        with pytest.raises(TaskNotFoundError):
            store.record_context("t_missing", [first.id], agent=None)

    def test_artifacts_are_listed(self, store, session_id):
        """By session, task, kind, title; current ones or all; in either order; counted."""
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        save = lambda title, content, task, **given: store.save_artifact(  # noqa: E731
            session_id, artifact(title, content, **given), task_id=task, attempt=None, agent=None
        )
        old, new, third = (
            save("T", "1", a.id),
            save("T", "2", a.id),
            save("U", "3", b.id, kind="synthesis"),
        )
        loose = save("T", "4", None)
        old = attrs.evolve(old, superseded=True)
        elsewhere = store.save_artifact(
            started(store), artifact(), task_id=None, attempt=None, agent=None
        )
        assert store.artifacts(ArtifactQuery(session_id=session_id)) == [new, third, loose]
        assert store.artifacts(ArtifactQuery(session_id=session_id, include_superseded=True)) == [
            old,
            new,
            third,
            loose,
        ]
        assert store.artifacts(ArtifactQuery(task_ids=(a.id, b.id))) == [new, third]
        assert store.artifacts(ArtifactQuery(task_ids=())) == []
        assert store.artifacts(ArtifactQuery(kind="synthesis")) == [third]
        assert store.artifacts(ArtifactQuery(title="T", session_id=session_id)) == [new, loose]
        assert store.artifacts(ArtifactQuery(limit=2, newest_first=True)) == [elsewhere, loose]
        assert (store.count_artifacts(session_id), store.find_artifact("a_missing")) == (3, None)

    def test_artifacts_are_chosen_by_what_describes_them(self, store, session_id, clock):
        """By agent, partial mark, tags, time and digest, alone and together. A tag is a whole word, whatever characters it holds."""
        save = lambda title, content, agent, **given: store.save_artifact(  # noqa: E731
            session_id, artifact(title, content, **given), task_id=None, attempt=None, agent=agent
        )
        one = save("one", "1", "ada", tags=("a", 'odd "tag", here', "[list]", "50%_x"))
        clock.advance(1)
        two = save("two", "2", "bob", tags=("a", "lists", 'back\\slash"'), partial=True)
        assert (
            store.artifacts(ArtifactQuery(agent="ada"))
            == store.artifacts(ArtifactQuery(partial=False))
            == store.artifacts(ArtifactQuery(digest=one.digest))
            == [one]
        )
        assert store.artifacts(ArtifactQuery(tags=("a",))) == [one, two]
        for tag in one.tags[1:]:
            assert store.artifacts(ArtifactQuery(tags=("a", tag))) == [one]
        assert store.artifacts(ArtifactQuery(tags=two.tags)) == [two]
        for part in ("tag", " here", "list", "odd", '"', "slash", ""):
            assert store.artifacts(ArtifactQuery(tags=(part,))) == [], part
        assert store.artifacts(ArtifactQuery(created_after=two.created_at)) == [two]
        assert store.artifacts(ArtifactQuery(created_before=two.created_at)) == [one]
        assert store.artifacts(ArtifactQuery(tags=("a",), agent="ada", partial=True)) == []

    def test_every_content_that_is_referred_to_is_named(self, store, session_id, clock):
        """Older versions and documents included: what is missing here would be thrown away as garbage."""
        for content in ("1", "2"):
            store.save_artifact(
                session_id, artifact("same", content), task_id=None, attempt=None, agent=None
            )
        store.put_document(
            DocumentVersion(
                path="docs/x.md", version=1, digest="3" * 64, event_seq=1, created_at=clock.now
            ),
            session_id,
        )
        assert store.content_digests() == {"1" * 64, "2" * 64, "3" * 64}

    def test_worktrees_are_recorded(self, store, session_id, clock):
        """One record per name, replaced as it goes along; removed ones only on demand."""
        task = store.plan(session_id, [draft("a")])[0]
        one = Worktree(
            name="wt",
            session_id=session_id,
            task_id=task.id,
            agent="ada",
            path="/x",
            branch="feature/a",
            base="ab" * 20,
            state="active",
            landed=None,
            rescue_ref=None,
            created_at=clock.now,
        )
        two = attrs.evolve(
            one, name="two", task_id=None, created_at=clock.now + timedelta(seconds=1)
        )
        assert (
            store.put_worktree(one, "worktree_created"),
            store.put_worktree(two, "worktree_created"),
        ) == (one, two)
        gone = attrs.evolve(one, state="removed", landed="cd" * 20, rescue_ref="refs/x")
        store.put_worktree(gone, "worktree_removed")
        assert store.worktrees() == [two]
        assert store.worktrees(include_removed=True) == [gone, two]
        assert (
            store.worktrees(task_id=task.id, include_removed=True)
            == store.worktrees(session_id=session_id, include_removed=True)[:1]
        )
        assert kinds(store)[-1] == "worktree_removed"

    def test_document_versions_are_recorded(self, store, session_id, clock):
        """All of one document, or the latest of each."""
        versions = [
            DocumentVersion(
                path=path, version=number, digest="0" * 64, event_seq=number, created_at=clock.now
            )
            for path in ("b.md", "a.md")
            for number in (1, 2)
        ]
        for version in versions:
            assert store.put_document(version, session_id) == version
        assert store.document_versions("b.md") == versions[:2]
        assert store.document_versions() == [versions[3], versions[1]]
        assert kinds(store)[-1] == "document_updated"

    # --- events -------------------------------------------------------------

    def test_events_follow_a_cursor(self, store, session_id):
        """After a position, by session and kind, in either direction, in pages; positions grow."""
        store.plan(session_id, [draft(f"t{n}") for n in range(5)])
        second = started(store)
        every = store.events(limit=None)
        seqs = [event.seq for event in every]
        assert seqs == sorted(set(seqs))
        assert store.events(seqs[2], limit=2) == every[3:5]
        assert store.events(newest_first=True, limit=2) == every[:-3:-1]
        assert store.events(session_id=second) == every[-1:]
        assert store.events(kinds=["session_started"]) == [every[0], every[-1]]
        assert store.events(kinds=[]) == []
        assert store.events(seqs[-1]) == []
        assert (store.last_seq(), store.last_seq(session_id), store.last_seq("s_missing")) == (
            seqs[-1],
            seqs[-2],
            0,
        )
        assert (every[1].data, every[1].task_id) == (
            {"alias": "t0", "title": "T0"},
            store.find_task("t0", session_id).id,
        )

    def test_a_ledger_shows_all_rows_and_changes_them_together(self, store, session_id):
        """Every table's rows as of one moment; changes are one transaction, undone by whatever ends the block early."""
        task = store.plan(session_id, [draft("a")])[0]
        with store.ledger() as ledger:
            assert [row["id"] for row in ledger.rows("tasks")] == [task.id]
            assert set(TABLES) <= set(ledger.tables)
            assert ledger.count("events") == 2
            assert ledger.schema > 0
            assert list(ledger.problems()) == []
            event = [dict(row) for row in ledger.rows("events")][-1]
        with pytest.raises(ZeroDivisionError), store.ledger(write=True) as ledger:
            ledger.change("tasks", {"id": task.id}, {"title": "other"})
            ledger.remove("events", [{"seq": event["seq"]}])
            raise ZeroDivisionError
        assert store.find_task(task.id, None) == task
        assert store.last_seq() == event["seq"]
        with store.ledger(write=True) as ledger:
            ledger.rebuild_indexes()
            ledger.change("tasks", {"id": task.id}, {"title": "other"})
            ledger.remove("events", [{"seq": event["seq"]}])
            ledger.put("events", [event | {"seq": event["seq"] + 10}])
        assert store.find_task(task.id, None).title == "other"
        assert store.last_seq() == event["seq"] + 10
        store.resume_session(session_id)
        assert store.last_seq() > event["seq"] + 10

    def test_waiting_for_events(self, store, other, session_id):
        """It returns at once when there is one, when the time is over when there is none, and soon when one comes."""
        seen = store.last_seq()
        store.wait(seen - 1, 60.0)
        store.wait(seen, 0.0)
        store.wait(seen, 0.01)
        gate = threading.Event()

        def write():
            gate.wait()
            other.plan(session_id, [draft("a")])

        writer = threading.Thread(target=write)
        writer.start()
        gate.set()
        store.wait(seen, 60.0)
        assert store.last_seq() > seen
        writer.join()

    # --- all or nothing -------------------------------------------------------

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_what_runs_within_undoes_everything_when_it_raises(self, store, session_id, error):
        """An exception, or Ctrl-C, from what runs within a checkpoint or a completion leaves no trace of either."""
        store.plan(session_id, [draft("a"), draft("b", "a")])
        claim = store.claim(session_id, "ada", lease_s=60)
        before = whole(store)

        def within():
            raise error

        with pytest.raises(error):
            store.checkpoint(claim.task.id, 1, {}, lease_s=60, within=within)
        with pytest.raises(error):
            store.finish(
                claim.task.id, 1, completed(), agent="a", artifacts=[artifact()], within=within
            )
        assert whole(store) == before
        assert (
            store.finish(claim.task.id, 1, completed(), agent="a").task.status
            is TaskStatus.COMPLETED
        )

    def test_what_raises_has_written_nothing(self, store, session_id):
        """Each refused operation leaves the store exactly as it was."""
        a, b = store.plan(session_id, [draft("a"), draft("b", parent="a")])
        claim = store.claim(session_id, "ada", task_id=b.id, lease_s=60)
        before = whole(store)
        for call, error in (
            (
                lambda: store.plan(session_id, [draft("c"), draft("d", parent="x")]),
                UnknownDependencyError,
            ),
            (lambda: store.claim(session_id, "bob", task_id=a.id, lease_s=60), NotReadyError),
            (lambda: store.finish(a.id, None, completed(), agent="x"), NotReadyError),
            (lambda: store.finish(b.id, 7, completed(), agent="x"), LeaseLostError),
            (
                lambda: store.finish(b.id, 1, completed(x={1}), agent="x", artifacts=[artifact()]),
                InvalidInputError,
            ),
            (
                lambda: store.checkpoint(b.id, claim.attempt.number, {"x": object()}, lease_s=60),
                InvalidInputError,
            ),
            (lambda: store.update_task(b.id, {"priority": 2**63}), InvalidInputError),
            (lambda: store.cancel("t_missing", "", subtree=True), TaskNotFoundError),
        ):
            with pytest.raises(error):
                call()
            assert whole(store) == before

    @pytest.mark.parametrize(
        "call",
        [
            lambda s, i: s.plan(i, [TaskDraft(title=HALF)]),
            lambda s, i: s.plan(i, [TaskDraft(title="x", description=HALF)]),
            lambda s, i: s.plan(
                i, [*[TaskDraft(title="x")] * 100, TaskDraft(title="x", description=HALF)]
            ),
            lambda s, i: s.plan(i, [TaskDraft(title="x", dependencies=(Dependency(HALF),))]),
            lambda s, i: s.plan(i, [TaskDraft(title="x", parent=HALF)]),
            lambda s, _: started(s, id=HALF),
            lambda s, _: s.find_task(HALF, HALF),
            lambda s, _: s.tasks(TaskQuery(text=HALF)),
            lambda s, i: s.claim(i, HALF, lease_s=60),
            lambda s, i: s.finish(
                s.find_task("a", i).id,
                None,
                Ending(action=NextAction.COMPLETE, summary=HALF),
                agent="x",
            ),
            lambda s, i: s.cancel(s.find_task("a", i).id, HALF, subtree=True),
            lambda s, i: s.plan(i, [TaskDraft(title="x", priority=2**63)]),
            lambda s, i: s.plan(i, [TaskDraft(title="x", priority=-(2**64))]),
            lambda s, i: s.ready(i, 2**70),
            lambda s, _: s.tasks(TaskQuery(limit=2**70)),
            lambda s, i: s.plan(i, [TaskDraft(title="x", context={"n": float("inf")})]),
            lambda s, i: s.plan(i, [TaskDraft(title="x", context={1: {2}})]),
        ],
    )
    def test_what_no_file_can_hold_is_refused(self, store, session_id, call):
        """Half a surrogate pair, a number beyond 63 bits, what JSON has no word for: refused as input, and nothing is written."""
        store.plan(session_id, [draft("a")])
        before = whole(store)
        with pytest.raises((InvalidInputError, PlanError)):
            call(store, session_id)
        assert whole(store) == before

    def test_a_nul_in_a_text_is_kept_or_refused(self, store, session_id):
        """A title with a NUL comes back as it was given, or is refused as input with nothing written."""
        before = whole(store)
        try:
            task = store.plan(session_id, [TaskDraft(title="a\0b")])[0]
        except InvalidInputError:
            assert whole(store) == before
        else:
            assert store.find_task(task.id, None).title == "a\0b"

    # --- at the same moment -----------------------------------------------------

    def test_two_claim_one_task(self, store, other, session_id):
        """One of them gets it, the other gets nothing, or is told who holds it."""
        for number in range(10):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            named = task.id if number % 2 else None
            claims = [
                lambda s=s, n=n: s.claim(session_id, n, task_id=named, lease_s=60)
                for s, n in ((store, "ada"), (other, "bob"))
            ]
            said = at_once(*claims)
            lost = [one for one in said if one is None or isinstance(one, NotReadyError)]
            won = [one for one in said if one not in lost]
            assert len(won) == len(lost) == 1, said
            assert store.attempts(task.id) == [won[0].attempt]
            store.cancel(task.id, "", subtree=False)

    def test_many_take_from_one_queue(self, open_store, store, clock, session_id):
        """Four at once, each with a store of its own, empty a queue: every task is won once, and nobody is turned away early."""
        store.plan(session_id, [TaskDraft(title="T") for _ in range(40)])

        def work(name):
            mine = open_store(clock)
            won = []
            while (claim := mine.claim(session_id, name, lease_s=600)) is not None:
                won.append(claim.task.id)
                mine.finish(claim.task.id, claim.attempt.number, completed(), agent=name)
            if mine is not store:
                mine.close()
            return won

        said = at_once(*(lambda name=f"agent {n}": work(name) for n in range(4)))
        assert all(isinstance(one, list) for one in said), said
        assert sorted(task_id for won in said for task_id in won) == sorted(
            task.id for task in store.tasks(EVERYTHING)
        )
        assert store.count(EVERYTHING) == {TaskStatus.COMPLETED: 40}

    def test_dense_convergence_is_counted_exactly(self, open_store, store, clock, session_id):
        """Layers of eight, all waiting for all of the layer before, four at once: nothing hangs, each counter ends at what is true."""
        layers = [[f"l{layer}_{n}" for n in range(8)] for layer in range(4)]
        store.plan(
            session_id,
            [
                draft(name, *(layers[n - 1] if n else ()))
                for n, layer in enumerate(layers)
                for name in layer
            ],
        )
        left = threading.Semaphore(0)

        def work(name):
            mine = open_store(clock)
            while store.count(TaskQuery(status=(TaskStatus.PENDING,))):
                claim = mine.claim(session_id, name, lease_s=600)
                if claim is not None:
                    mine.finish(claim.task.id, claim.attempt.number, completed(), agent=name)
                    left.release()
            if mine is not store:
                mine.close()

        assert at_once(*(lambda name=f"agent {n}": work(name) for n in range(4))) == [None] * 4
        assert store.count(EVERYTHING) == {TaskStatus.COMPLETED: 32}
        assert {task.blockers for task in store.tasks(EVERYTHING)} == {0}

    def test_a_reader_of_the_log_misses_nothing(self, open_store, store, clock, session_id):
        """While four write, one follows the log by its last position: in the end it has seen each event once, in order."""
        done = threading.Event()
        seen: list[int] = []

        def write(name):
            mine = open_store(clock)
            for number in range(15):
                task = mine.plan(session_id, [TaskDraft(title=f"{name} {number}")])[0]
                mine.finish(task.id, None, completed(), agent=name, artifacts=[artifact()])
            if mine is not store:
                mine.close()

        def follow():
            while not done.is_set():
                seen.extend(event.seq for event in store.events(seen[-1] if seen else 0, limit=7))

        follower = threading.Thread(target=follow)
        follower.start()
        said = at_once(*(lambda name=f"w{n}": write(name) for n in range(4)))
        done.set()
        follower.join()
        seen.extend(event.seq for event in store.events(seen[-1] if seen else 0, limit=None))
        assert said == [None] * 4
        assert seen == [event.seq for event in store.events(limit=None)]
        assert len(seen) == 1 + 60 * 4

    def test_two_finish_one_task(self, store, other, session_id):
        """The same completion from two sides is one; a completion and a cancellation are one of both, whole."""
        for _ in range(5):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            said = at_once(
                *(
                    lambda s=s: s.finish(
                        task.id, 1, completed(), agent="ada", artifacts=[artifact()]
                    )
                    for s in (store, other)
                )
            )
            assert sorted(one.repeated for one in said) == [False, True]
            assert (
                len(store.artifacts(ArtifactQuery(task_ids=(task.id,), include_superseded=True)))
                == 1
            )
        for _ in range(5):
            task, after = store.plan(
                session_id,
                [TaskDraft(title="A"), TaskDraft(title="B", dependencies=(Dependency("#0"),))],
            )
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            said = at_once(
                lambda: store.finish(task.id, 1, completed(), agent="ada"),
                lambda: other.cancel(task.id, "", subtree=False),
            )
            status = store.find_task(task.id, None).status
            refused = LeaseLostError if status is TaskStatus.CANCELLED else TransitionError
            assert [type(one) for one in said if isinstance(one, Exception)] == [refused]
            then = TaskStatus.SKIPPED if status is TaskStatus.CANCELLED else TaskStatus.PENDING
            assert store.find_task(after.id, None).status is then
            assert kinds(store, task.id)[-1] == (
                "task_cancelled" if status is TaskStatus.CANCELLED else "task_completed"
            )

    def test_a_cancellation_and_a_claim_are_one_after_the_other(self, store, other, session_id):
        """Whichever comes first: a cancelled task has no attempt that still runs."""
        for _ in range(10):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            said = at_once(
                lambda: store.cancel(task.id, "", subtree=False),
                lambda: other.claim(session_id, "ada", lease_s=60),
            )
            assert not [one for one in said if isinstance(one, Exception)], said
            assert store.find_task(task.id, None).status is TaskStatus.CANCELLED
            assert all(attempt.ending == "cancelled" for attempt in store.attempts(task.id))

    def test_two_planners(self, store, other, session_id):
        """An alias is taken once, titles get numbers, and of two edges that close a circle together one is refused."""
        for number in range(5):
            said = at_once(
                *(
                    lambda s=s: s.plan(
                        session_id, [draft(f"same{number}"), TaskDraft(title="Twin")]
                    )
                    for s in (store, other)
                )
            )
            assert [type(one) for one in said if isinstance(one, Exception)] == [AliasTakenError]
            a, b = store.plan(session_id, [TaskDraft(title="A"), TaskDraft(title="B")])
            said = at_once(
                lambda: store.add_dependency(a.id, b.id, Outcome.SUCCESS),
                lambda: other.add_dependency(b.id, a.id, Outcome.SUCCESS),
            )
            assert [type(one) for one in said if isinstance(one, Exception)] == [CycleError]
        titles = [task.alias for task in store.tasks(EVERYTHING) if task.title == "Twin"]
        assert len(titles) == len(set(titles)) == 5

    def test_two_notice_one_lapse(self, store, other, session_id, clock):
        """One of them ends the attempt; there is one event."""
        for _ in range(5):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            clock.advance(61)
            said = at_once(store.expire, other.expire)
            assert sorted(map(len, said)) == [0, 1]
            assert kinds(store, task.id).count("lease_expired") == 1
            store.cancel(task.id, "", subtree=False)

    def test_a_lapse_and_a_sign_of_life(self, store, other, session_id, clock):
        """A holder that renews while its lapse is noticed keeps the task, whoever comes first."""
        for _ in range(5):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            clock.advance(61)
            said = at_once(other.expire, lambda: store.renew(task.id, 1, lease_s=60))
            assert not [one for one in said if isinstance(one, Exception)], said
            assert store.find_task(task.id, None).status is TaskStatus.IN_PROGRESS
            assert store.attempts(task.id)[0].ending is None
            store.cancel(task.id, "", subtree=False)
