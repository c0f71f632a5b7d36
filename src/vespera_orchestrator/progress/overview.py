"""Says where a session stands: `Status`, `NextStep`, what is brought together of subtasks.

What the store says is read in one state of it. Git is asked before or afterwards. Nothing here
writes: the caller ends expired leases first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Agenda, NextStep, Session, Task, TaskQuery, TaskStatus, Why
from vespera_orchestrator.errors import (
    SessionNotFoundError,
    WorktreeError,
    WorktreeFolderLostError,
)
from vespera_orchestrator.progress.session_reader import (
    LISTED,
    Obstacles,
    SessionReader,
    SessionState,
    all_of,
)
from vespera_orchestrator.progress.status import Drawing, SessionStatus, Status
from vespera_orchestrator.tasks.gentle_step import gently
from vespera_orchestrator.tasks.next_step import (
    LandedWork,
    SessionFacts,
    first_step,
    next_step,
    resume_step,
)
from vespera_orchestrator.worktrees.peek import read_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.progress.synthesis import SubtaskResults
    from vespera_orchestrator.tasks.graph import TaskGraph
    from vespera_orchestrator.worktrees.forecast import Forecast

_T = TypeVar("_T")

_MOST_TRIED: Final = 5
"""Of how many pieces of work that wait to be merged it is asked whether they can be."""


class Overview:
    """Reads the store, and asks the pure rules what it means.

    Args:
        rooms: The store, the session and the clock; and the forecast, which is made only where
            there are worktrees, because it loads git.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._scope = rooms.scope

    @property
    def _store(self) -> Store:
        return self._scope.store

    def _in_one_state(
        self,
        session_id: str,
        read: Callable[[SessionReader], _T],
        wanted: TaskQuery | None = None,
    ) -> _T:
        """Return what *read* makes of one state of the store, and of the *wanted* tasks only.

        Where git has to say whether this home can start a task, it is asked in between, and all
        of it is read again.
        """
        obstacles = Obstacles(self._rooms)

        def read_state() -> _T:
            return read(SessionReader(self._rooms, session_id, obstacles, wanted))

        while True:
            answer = self._store.read_together(read_state, session_id=session_id)
            if not obstacles.ask():
                return answer

    # --- the next step --------------------------------------------------------

    def next_step(self, wanted: TaskQuery | None = None) -> NextStep:
        """Return the one thing to do now, also without a session.

        Args:
            wanted: Only these tasks count; ``None`` for all of the session.
        """
        try:
            session = self._scope.session()
        except SessionNotFoundError as exc:
            earlier = self._store.sessions(limit=1)
            if earlier:
                return resume_step(earlier[0], exc.problem)
            return first_step(exc.problem if exc.named_by else None)
        state, is_gentle = self._in_one_state(
            session.id, lambda reader: (reader.state(), reader.is_gentle), wanted
        )
        return self._worded(self._with_git(state, self._forecast(state)), is_gentle=is_gentle)

    def _worded(self, facts: SessionFacts, *, is_gentle: bool) -> NextStep:
        if not is_gentle:
            return next_step(facts)
        kind_facts = attrs.evolve(facts, proposals=0, failing_documents=())
        own = facts.own
        if own is not None and own.open_part is None:  # nobody is asked to begin more than that
            kind_facts = attrs.evolve(kind_facts, ready=None, unfinished=None, unmerged=())
        return gently(next_step(kind_facts), kind_facts)

    # --- what git says --------------------------------------------------------

    def _forecast(self, state: SessionState) -> Forecast | None:
        """Return the forecast of merges, where the order of several depends on it."""
        unmerged = len(state.facts.unmerged) + len(state.facts.unmerged_elsewhere)
        return self._rooms.forecast() if unmerged > 1 else None

    def _with_git(self, state: SessionState, forecast: Forecast | None) -> SessionFacts:
        """Add the order of merges, and where finished work has landed."""
        facts = state.facts
        if forecast is not None:
            places = _merge_order(forecast, state.worktrees)
            last = len(places)
            facts = attrs.evolve(
                facts,
                unmerged=sorted(facts.unmerged, key=lambda task: places.get(task.id, last)),
            )
        if state.has_landed:
            return attrs.evolve(facts, landed=self._landed())
        return self._with_obstacles(facts)

    def _with_obstacles(self, facts: SessionFacts) -> SessionFacts:
        """Add what would keep the call of the step from working, so that another one is named."""
        step, own = next_step(facts), facts.own
        if step.action == "merge":
            return self._with_merge_obstacle(facts)
        if own is None or (own.task.id, "wait") != (step.task_id, step.action):
            return facts
        obstacle = self._rooms.handing_in_obstacle(own.task, was_refused=own.was_refused)
        if obstacle is None:
            return facts
        if isinstance(obstacle, WorktreeFolderLostError):
            return attrs.evolve(facts, own_lost_folder=obstacle.path)
        return attrs.evolve(facts, own_obstacle=str(obstacle))

    def _with_merge_obstacle(self, facts: SessionFacts) -> SessionFacts:
        """Put work first that can be merged; say what is in the way where none can."""
        obstacles = []
        for task in facts.unmerged[:_MOST_TRIED]:
            obstacle = self._rooms.landing_obstacle(task)
            if obstacle is None:
                others = [other for other in facts.unmerged if other.id != task.id]
                return attrs.evolve(facts, unmerged=[task, *others])
            obstacles.append(obstacle)
        return attrs.evolve(facts, merge_obstacle=str(obstacles[0]))

    def _landed(self) -> LandedWork | None:
        """Return where the session's work has landed, and what the checkout lacks."""
        project = self._scope.home.project
        branch = self._scope.home.config.worktrees.integration_branch
        position = read_position(project, branch)
        if position.integration is None:
            return None
        try:
            missing = self._rooms.worktrees.missing_in_checkout()
        except WorktreeError:
            missing = 0
        return LandedWork(
            branch=branch, checkout=position.branch, folder=str(project), missing=missing
        )

    # --- status ---------------------------------------------------------------

    def why(self, task: Task) -> Why:
        """Return what keeps the task from being ready."""
        return self._in_one_state(task.session_id, lambda reader: reader.why(task))

    def status(
        self,
        session: Session,
        parent: Task | None = None,
        *,
        include_completed: bool = False,
        budget_tokens: int | None = None,
    ) -> Status:
        """Return where the session, or the subtree of *parent*, stands."""
        status, _ = self.status_with(
            session,
            lambda _status, _reader: None,
            parent=parent,
            include_completed=include_completed,
            budget_tokens=budget_tokens,
        )
        return status

    def status_with(
        self,
        session: Session,
        also: Callable[[Status, SessionReader], _T],
        *,
        parent: Task | None = None,
        include_completed: bool = False,
        budget_tokens: int | None = None,
    ) -> tuple[Status, _T]:
        """Return where the session stands, and what *also* reads in the same state of the store.

        The status that *also* gets has neither a forecast nor the final next step.
        """

        def read(reader: SessionReader) -> tuple[Status, SessionState, _T]:
            state = reader.state()
            status = self._status(
                reader, state, session, parent, include_completed=include_completed
            )
            return status, state, also(status, reader)

        wanted = None
        if parent is not None:
            wanted = TaskQuery(parent_task_id=parent.id, include_children=True)
        status, state, answer = self._in_one_state(session.id, read, wanted)
        forecast = self._rooms.forecast() if state.worktrees else None
        facts = self._with_git(state, forecast)
        final = attrs.evolve(
            status,
            clashes=_clashes(forecast, state.worktrees),
            next_step=self._worded(facts, is_gentle=status.gentleness is not None),
            budget_tokens=budget_tokens,
        )
        return final, answer

    def _status(
        self,
        reader: SessionReader,
        state: SessionState,
        session: Session,
        parent: Task | None,
        *,
        include_completed: bool,
    ) -> Status:
        """Return what the store says of the session."""
        store, tasks = self._store, reader.everything
        completed: list[Task] = []
        if include_completed:
            completed = store.tasks(attrs.evolve(tasks, status=(TaskStatus.COMPLETED,)))
        below = None if parent is None else parent.id
        gentleness = reader.gentleness
        dated = reader.near_dates(tasks)
        return Status(
            session=store.find_session(session.id) or session,
            parent=parent,
            counts=reader.counts,
            planned=store.count(attrs.evolve(tasks, recoveries=False)),
            elsewhere=reader.other_open_sessions(),
            ready=tuple(store.ready(session.id, LISTED, below=below)),
            running=reader.running(),
            blocked=tuple(reader.blocked),
            completed=tuple(completed),
            dated=dated,
            dated_after=reader.first_needed(dated),
            questions=reader.by_agenda(tasks, Agenda.QUESTIONS),
            resting=reader.by_agenda(tasks, Agenda.ASLEEP),
            chain=tuple(store.longest_chain(session.id, LISTED, below=below)),
            clashes=(),
            next_step=self._worded(state.facts, is_gentle=gentleness is not None),
            outdated=reader.outdated(),
            as_of=self._rooms.by_clock_here(self._rooms.clock()),
            budget_tokens=None,
            draw=Drawing(lambda: self._graph_of(tasks).to_mermaid()),
            gentleness=gentleness,
        )

    def session_status(self, session: Session) -> SessionStatus:
        """Return the progress of a session in figures."""
        store = self._store

        def count(_: Status, reader: SessionReader) -> dict[str, int]:
            return {
                "artifacts": store.count_artifacts(session.id),
                "worktrees": len(reader.worktrees),
                "events": store.last_seq(session.id),
            }

        status, figures = self.status_with(session, count)
        return SessionStatus(
            session=status.session,
            counts=status.counts,
            percent=status.percent,
            next_step=status.next_step,
            is_gentle=status.gentleness is not None,
            **figures,
        )

    def graph(self, session_id: str) -> TaskGraph:
        """Return the task graph of the session, archived tasks included."""
        return self._graph_of(all_of(session_id))

    def _graph_of(self, tasks: TaskQuery) -> TaskGraph:
        from vespera_orchestrator.tasks.graph import TaskGraph  # loads networkx

        return TaskGraph(self._store.tasks(attrs.evolve(tasks, include_archived=True)))

    # --- bringing together ----------------------------------------------------

    def subtask_results(self, parent: Task) -> SubtaskResults:
        """Return the subtasks of *parent*, what they produced, and what keeps the open ones."""
        return self._in_one_state(parent.session_id, lambda reader: reader.subtask_results(parent))


def _merge_order(forecast: Forecast, worktrees: Iterable[Worktree]) -> dict[str | None, int]:
    """Return at which place the work of each task is best merged."""
    place = {name: number for number, name in enumerate(forecast.order)}
    return {each.task_id: place[each.name] for each in worktrees if each.name in place}


def _clashes(forecast: Forecast | None, worktrees: Iterable[Worktree]) -> tuple[str, ...]:
    """Say which of the worktrees would conflict as they were last saved."""
    if forecast is None:
        return ()
    names = {record.name for record in worktrees}
    return tuple(str(clash) for clash in forecast.clashes if names & {clash.first, clash.second})
