"""Reads the state of a session from the store, for `Status`, `NextStep`, `Briefing` and others.

Nothing here writes: the caller ends expired leases first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import (
    Agenda,
    ArtifactKind,
    ArtifactQuery,
    AttemptEnding,
    EventKind,
    NextStep,
    Session,
    Task,
    TaskQuery,
    TaskStatus,
    Why,
)
from vespera_orchestrator.errors import (
    SessionNotFoundError,
    SettingsConflictError,
    WorktreeError,
)
from vespera_orchestrator.home.locate import git_common_dir
from vespera_orchestrator.progress.own_tasks import held_tasks, unfinished_tasks
from vespera_orchestrator.progress.pressure import PressureGauge
from vespera_orchestrator.progress.startable import first_startable, has_subtasks
from vespera_orchestrator.progress.status import Drawing, Running, SessionStatus, Status
from vespera_orchestrator.progress.synthesis import SubtaskResults, results_of
from vespera_orchestrator.tasks import dates, lifecycle
from vespera_orchestrator.tasks.gentle_step import gently
from vespera_orchestrator.tasks.next_step import (
    FILES_CALL,
    SETTINGS_CALL,
    Holding,
    LandedWork,
    SessionFacts,
    first_step,
    next_step,
    resume_step,
)
from vespera_orchestrator.worktrees.peek import read_position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Attempt, Cause, Checkpoint, Event
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.tasks.graph import TaskGraph

_LISTED: Final = 10
"""Most tasks that a status lists of one kind."""
_NAMED_BEFORE: Final = 2
"""How many tasks a step names that were completed before it."""
_LOOKED_BACK: Final = 50
"""In how many of the last milestones it is looked for what the caller left unfinished."""
_REPORTS: Final = frozenset({ArtifactKind.FAILURE, ArtifactKind.CONFLICT, ArtifactKind.REFUSAL})
"""The kinds of artifacts that tell why a task is blocked."""
_MAX_UNMERGED: Final = 200
"""Most held tasks among which work that waits to be merged is looked for."""


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

    # --- the next step --------------------------------------------------------

    def next_step(self) -> NextStep:
        """Return the one thing to do now, also without a session."""
        try:
            session = self._scope.session()
        except SessionNotFoundError as exc:
            earlier = self._store.sessions(limit=1)
            if earlier:
                return resume_step(earlier[0], exc.problem)
            return first_step(exc.problem if exc.named_by else None)
        ready = self._takeable(session.id)
        everything = _all_of(session.id)
        counts = self._store.count(everything)
        blocked = self._blocked(everything, counts)
        facts = self._facts(session.id, counts, ready, blocked)
        is_gentle = PressureGauge(self._rooms).is_gentle(session.id)
        return self._worded(facts, is_gentle=is_gentle)

    def _takeable(self, session_id: str) -> list[Task]:
        """Return the best ready tasks that are not left to another agent than the reader."""
        query = TaskQuery(
            session_id=session_id,
            agenda=Agenda.READY,
            takeable_by=self._scope.agent,
            limit=_LISTED,
        )
        return self._store.tasks(query)

    def _agent_of(self, task: Task) -> str:
        """Return the agent that a task is left to: whom it is for, or who planned its subtasks."""
        if task.for_agent is not None:
            return task.for_agent
        query = TaskQuery(parent_task_id=task.id, include_archived=True, limit=None)
        planners = [each.planned_by for each in self._store.tasks(query)]
        return next((name for name in planners if name not in {"", self._scope.agent}), "")

    def _worded(self, facts: SessionFacts, *, is_gentle: bool) -> NextStep:
        if not is_gentle:
            return next_step(facts)
        kind_facts = attrs.evolve(facts, proposals=0)
        if facts.own is not None:  # whoever has something in hand is not asked to begin more
            kind_facts = attrs.evolve(kind_facts, ready=None, unfinished=None, unmerged=())
        return gently(next_step(kind_facts), kind_facts)

    def _best_here(
        self, ready: list[Task], *, lands: bool
    ) -> tuple[Task | None, VesperaError | None]:
        """Return the first of the *ready* tasks that this agent can start in this home.

        If there is none, return the first that only the home cannot start, and why.
        """
        best, reason = None, None
        for task in ready:
            if first_startable(self._store, [task], self._scope.agent) is None:
                continue
            obstacle = self._rooms.obstacle(task, lands=lands)
            if obstacle is None:
                return task, None
            if best is None:
                best, reason = task, obstacle
        return best, reason

    def _facts(
        self,
        session_id: str,
        counts: dict[TaskStatus, int],
        candidates: list[Task],
        blocked: list[Why],
    ) -> SessionFacts:
        tasks = _all_of(session_id)
        in_progress = counts.get(TaskStatus.IN_PROGRESS, 0)
        rows = self._store.running(session_id, _MAX_UNMERGED) if in_progress else []
        all_unmerged = self._unmerged(rows)
        places = self._places_elsewhere(all_unmerged)
        unmerged = [task for task in all_unmerged if task.id not in places]
        running = in_progress - len(all_unmerged)
        recent = self._recent(session_id)
        uses_worktrees = self._uses_worktrees(session_id, recent)
        ready, obstacle = self._best_here(candidates, lands=uses_worktrees)
        unfinished = self._unfinished(recent, lands=uses_worktrees)
        facts = SessionFacts(
            counts=counts,
            is_archived=not counts and self._has_archived(tasks),
            own=self._own(session_id) if running else None,
            unfinished=unfinished,
            unfinished_note=self._last_note(unfinished),
            uses_worktrees=uses_worktrees,
            unmerged=unmerged,
            unmerged_elsewhere=[
                (task, places[task.id]) for task in all_unmerged if task.id in places
            ],
            running=running,
            holdings=self._holdings(rows, lands=uses_worktrees),
            decisions=[why for why in blocked if why.needs_person],
            now=self._rooms.clock(),
            proposals=self._count_proposals(session_id),
        )
        if ready is not None:
            return self._with_ready(facts, ready, obstacle)
        is_idle = not running and not all_unmerged
        return self._without_ready(facts, session_id, is_idle=is_idle, is_left=not candidates)

    def _with_ready(
        self, facts: SessionFacts, ready: Task, obstacle: VesperaError | None
    ) -> SessionFacts:
        """Add what is known about the best ready task."""
        is_setting = isinstance(obstacle, SettingsConflictError)
        is_parent = has_subtasks(self._store, ready)
        return attrs.evolve(
            facts,
            ready=ready,
            ready_after=self._done_before(ready),
            obstacle="" if obstacle is None else str(obstacle),
            obstacle_call=SETTINGS_CALL if is_setting else FILES_CALL,
            ready_has_subtasks=is_parent,
            report_id=self._report(ready),
            setback=self._setback(ready),
            synthesis_id=self._fresh_synthesis(ready) if is_parent else None,
        )

    def _setback(self, task: Task) -> str:
        """Return how the latest attempt at a ready task ended, if it came to nothing by itself."""
        if not task.attempts:
            return ""
        return lifecycle.setback(task, self._store.attempts(task.id)[-1])

    def _without_ready(
        self, facts: SessionFacts, session_id: str, *, is_idle: bool, is_left: bool
    ) -> SessionFacts:
        """Add what matters only where nothing is ready for the reader.

        Args:
            facts: What is known already.
            session_id: The session.
            is_idle: Nothing is under way, either.
            is_left: What is ready, if anything, is left to other agents.
        """
        tasks = _all_of(session_id)
        is_over = all(status.is_terminal for status in facts.counts)
        for_another = None
        if is_left:
            for_another = next(iter(self._store.ready(session_id, 1)), None)
        return attrs.evolve(
            facts,
            for_another=for_another,
            other_agent="" if for_another is None else self._agent_of(for_another),
            question=self._first_by(session_id, Agenda.QUESTIONS),
            waiting=self._first_waiting(tasks) if is_idle else None,
            resting=self._first_by(session_id, Agenda.ASLEEP) if is_idle else None,
            unreached=self._first_unreached(tasks) if is_over else None,
            landed=self._landed(session_id) if is_over else None,
        )

    def _recent(self, session_id: str) -> list[Event]:
        return self._store.events(
            session_id=session_id,
            kinds=lifecycle.MILESTONES,
            limit=_LOOKED_BACK,
            newest_first=True,
        )

    def _own(self, session_id: str) -> Holding | None:
        """Return what the caller holds, what another process holds under its name first."""
        held = [
            self._holding(task, attempt, self._store.last_checkpoint(task.id))
            for task, attempt in held_tasks(self._store, session_id, self._scope.agent)
        ]
        held = [own for own in held if own.is_here or self._is_startable(own.task)]
        return min(held, key=lambda holding: holding.is_here, default=None)

    def _is_startable(self, task: Task) -> bool:
        """Tell whether this home could go on with a task that it does not hold now."""
        return self._rooms.obstacle(task, lands=bool(task.worktree)) is None

    def _holdings(
        self, rows: Sequence[tuple[Task, Attempt, Checkpoint | None]], *, lands: bool
    ) -> list[Holding]:
        """Return what is held, except what this home could not take over from a silent agent."""
        holdings = [
            self._holding(task, attempt, checkpoint)
            for task, attempt, checkpoint in rows
            if attempt.ended_at is None
        ]
        return [
            holding
            for holding in holdings
            if not holding.may_be_gone or self._rooms.obstacle(holding.task, lands=lands) is None
        ]

    def _holding(self, task: Task, attempt: Attempt, checkpoint: Checkpoint | None) -> Holding:
        silence = self._rooms.clock() - attempt.last_sign_at
        return Holding(
            task=task,
            agent=attempt.agent,
            silent_s=max(0, int(silence.total_seconds())),
            lease_s=int(attempt.lease_s),
            note="" if checkpoint is None else checkpoint.note,
            is_here=self._rooms.attempts.get(task.id) == attempt.number,
        )

    def _unfinished(self, recent: Sequence[Event], *, lands: bool) -> Task | None:
        """Return what the caller had in hand last, if it can go on with it now, and here."""
        tasks = unfinished_tasks(self._store, recent, self._scope.agent)
        ready = [task for task in tasks if task.is_ready]
        best, obstacle = self._best_here(ready, lands=lands)
        return None if obstacle else best

    def _last_note(self, task: Task | None) -> str:
        checkpoint = None if task is None else self._store.last_checkpoint(task.id)
        return "" if checkpoint is None else checkpoint.note

    def _done_before(self, task: Task) -> list[str]:
        """Return the aliases of the first completed tasks that *task* waited for."""
        aliases: list[str] = []
        for edge in task.dependencies[:_LISTED]:
            other = self._store.find_task(edge.task, None)
            if other is not None and other.status is TaskStatus.COMPLETED:
                aliases.append(other.alias)
            if len(aliases) == _NAMED_BEFORE:
                break
        return aliases

    def _uses_worktrees(self, session_id: str, recent: Sequence[Event]) -> bool:
        """Tell whether the session's tasks work in worktrees, and can do so here."""
        if git_common_dir(self._scope.home.project) is None:
            return False
        is_new = any(event.kind == EventKind.WORKTREE_CREATED for event in recent)
        return is_new or bool(self._store.worktrees(session_id=session_id))

    def _report(self, task: Task) -> str | None:
        """Return the artifact that tells what a recovery is for."""
        if task.recovers_task_id is None:
            return None
        query = ArtifactQuery(task_ids=(task.recovers_task_id,), newest_first=True, limit=_LISTED)
        for artifact in self._store.artifacts(query):
            if artifact.kind in _REPORTS:
                return artifact.id
        return None

    def _count_proposals(self, session_id: str) -> int:
        query = ArtifactQuery(session_id=session_id, kind=ArtifactKind.PROPOSAL, partial=True)
        return len(self._store.artifacts(query))

    def _has_archived(self, tasks: TaskQuery) -> bool:
        all_tasks = attrs.evolve(tasks, include_archived=True)
        return bool(self._store.count(all_tasks))

    def _fresh_synthesis(self, task: Task) -> str | None:
        """Return the id of the task's synthesis, unless something was added since."""
        latest = self._store.artifacts(
            ArtifactQuery(
                task_ids=(task.id,),
                kind=ArtifactKind.SYNTHESIS,
                newest_first=True,
                limit=1,
            )
        )
        if not latest:
            return None
        is_newer = latest[0].created_at >= task.updated_at
        if is_newer or latest[0].metadata == self.subtask_results(task).metadata():
            return latest[0].id
        return None

    def _unmerged(self, rows: Sequence[tuple[Task, Attempt, Checkpoint | None]]) -> list[Task]:
        """Return tasks whose work waits to be merged, in the order in which to merge them."""
        unmerged = [task for task, attempt, _ in rows if _waits(attempt)]
        forecast = self._rooms.forecast() if len(unmerged) > 1 else None
        if forecast is None:
            return unmerged
        position = {name: number for number, name in enumerate(forecast.order)}
        task_position = {
            record.task_id: position[record.name]
            for record in self._store.worktrees()
            if record.name in position
        }
        return sorted(unmerged, key=lambda task: task_position.get(task.id, len(task_position)))

    def _places_elsewhere(self, tasks: list[Task]) -> dict[str, str]:
        """Return the machine and folder of worktrees that other homes have, by task id."""
        if not tasks:
            return {}
        records = self._store.worktrees(session_id=tasks[0].session_id)
        elsewhere = {each.name: each for each in records if self._rooms.is_elsewhere(each)}
        own_task = {each.task_id: each for each in elsewhere.values()}
        places = {}
        for task in tasks:
            record = elsewhere.get(task.worktree or "") or own_task.get(task.id)
            if record is not None:
                places[task.id] = f"{record.machine}, {record.path}"
        return places

    def _first_by(self, session_id: str, agenda: Agenda) -> Task | None:
        query = TaskQuery(session_id=session_id, agenda=agenda, limit=1)
        return next(iter(self._store.tasks(query)), None)

    def _near_dates(self, tasks: TaskQuery) -> tuple[Task, ...]:
        """Return those of *tasks* whose due date is worth a word, the first one first."""
        query = attrs.evolve(tasks, agenda=Agenda.DUE, limit=_LISTED)
        now = self._rooms.clock()
        return tuple(
            task
            for task in self._store.tasks(query)
            if dates.is_near(task, now) and not task.asleep
        )

    def _by_agenda(self, tasks: TaskQuery, agenda: Agenda) -> tuple[Task, ...]:
        query = attrs.evolve(tasks, agenda=agenda, limit=_LISTED)
        return tuple(self._store.tasks(query))

    def _first_waiting(self, tasks: TaskQuery) -> Why | None:
        task = self._first(tasks, TaskStatus.BLOCKED, TaskStatus.PENDING)
        if task is None:
            return None
        return self.why(task)

    def _first_unreached(self, tasks: TaskQuery) -> Task | None:
        planned = attrs.evolve(tasks, recoveries=False)
        return self._first(
            planned,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        )

    def _first(self, tasks: TaskQuery, *statuses: TaskStatus) -> Task | None:
        """Return the first task of the first status that has one.

        Asked for a single status, the store need not look at tasks of the others.
        """
        for status in statuses:
            first = self._store.tasks(attrs.evolve(tasks, status=(status,), limit=1))
            if first:
                return first[0]
        return None

    def _landed(self, session_id: str) -> LandedWork | None:
        """Return where the session's work has landed, if any has, and what the checkout lacks."""
        project = self._scope.home.project
        branch = self._scope.home.config.worktrees.integration_branch
        position = read_position(project, branch)
        if position.integration is None or not self._has_landed(session_id):
            return None
        try:
            missing = self._rooms.worktrees.missing_in_checkout()
        except WorktreeError:
            missing = 0
        return LandedWork(
            branch=branch, checkout=position.branch, folder=str(project), missing=missing
        )

    def _has_landed(self, session_id: str) -> bool:
        landed = self._store.events(
            session_id=session_id,
            kinds=(EventKind.WORKTREE_LANDED,),
            limit=1,
            newest_first=True,
        )
        return bool(landed)

    # --- status ---------------------------------------------------------------

    def why(self, task: Task) -> Why:
        """Return what keeps the task from being ready."""
        situation = self._store.situation(task.id)
        why = lifecycle.why(situation)
        unmerged = [situation.needed[other] for other in situation.unmerged]
        if situation.attempt is not None and _waits(situation.attempt):
            unmerged.append(task)
        places = self._places_elsewhere(unmerged)
        return attrs.evolve(why, causes=tuple(_placed(cause, places) for cause in why.causes))

    def _blocked(self, tasks: TaskQuery, counts: dict[TaskStatus, int]) -> list[Why]:
        """Return why the first blocked ones of *tasks* wait; *counts* are theirs by status."""
        if not counts.get(TaskStatus.BLOCKED):
            return []
        query = attrs.evolve(tasks, status=(TaskStatus.BLOCKED,), limit=_LISTED)
        blocked = self._store.tasks(query)
        return [self.why(task) for task in blocked]

    def status(
        self,
        session: Session,
        parent: Task | None = None,
        *,
        include_completed: bool = False,
        budget_tokens: int | None = None,
    ) -> Status:
        """Return where the session, or the subtree of *parent*, stands."""
        store = self._store
        everything = _all_of(session.id)
        all_counts = store.count(everything)
        all_blocked = self._blocked(everything, all_counts)
        tasks, counts, blocked = everything, all_counts, all_blocked
        if parent is not None:
            tasks = attrs.evolve(everything, parent_task_id=parent.id, include_children=True)
            counts = store.count(tasks)
            blocked = self._blocked(tasks, counts)
        completed: list[Task] = []
        if include_completed:
            completed = store.tasks(attrs.evolve(tasks, status=(TaskStatus.COMPLETED,)))
        ready = store.ready(session.id, _LISTED)
        below = None if parent is None else parent.id
        outdated = store.context_uses(session_id=session.id, outdated=True, limit=_LISTED)
        gentleness = PressureGauge(self._rooms).gentleness(session.id)
        facts = self._facts(session.id, all_counts, self._takeable(session.id), all_blocked)
        return Status(
            session=store.find_session(session.id) or session,
            parent=parent,
            counts=counts,
            planned=store.count(attrs.evolve(tasks, recoveries=False)),
            elsewhere=self._other_open_sessions(all_counts),
            ready=tuple(ready if below is None else store.ready(session.id, _LISTED, below=below)),
            running=self._running(session.id, below),
            blocked=tuple(blocked),
            completed=tuple(completed),
            dated=self._near_dates(tasks),
            questions=self._by_agenda(tasks, Agenda.QUESTIONS),
            resting=self._by_agenda(tasks, Agenda.ASLEEP),
            chain=tuple(store.longest_chain(session.id, _LISTED, below=below)),
            clashes=self._clashes(session.id),
            next_step=self._worded(facts, is_gentle=gentleness is not None),
            outdated=tuple(outdated),
            as_of=self._rooms.clock(),
            budget_tokens=budget_tokens,
            draw=Drawing(lambda: self.graph(session.id).to_mermaid()),
            gentleness=gentleness,
        )

    def _other_open_sessions(self, counts: dict[TaskStatus, int]) -> int:
        count = self._store.open_sessions()
        if any(not status.is_terminal for status in counts):
            count -= 1
        return max(0, count)

    def _running(self, session_id: str, below: str | None) -> tuple[Running, ...]:
        rows = self._store.running(session_id, _LISTED, below=below)
        places = self._places_elsewhere([task for task, attempt, _ in rows if _waits(attempt)])
        running = [
            Running(
                task=task,
                attempt=attempt,
                checkpoint=checkpoint,
                place=places.get(task.id, ""),
            )
            for task, attempt, checkpoint in rows
        ]
        return tuple(running)

    def _clashes(self, session_id: str) -> tuple[str, ...]:
        """Say which worktrees of the session would conflict as they were last saved."""
        names = {record.name for record in self._store.worktrees(session_id=session_id)}
        forecast = self._rooms.forecast() if names else None
        if forecast is None:
            return ()
        return tuple(
            str(clash) for clash in forecast.clashes if names & {clash.first, clash.second}
        )

    def session_status(self, status: Status) -> SessionStatus:
        """Return the progress of the session of *status* in figures."""
        session_id = status.session.id
        return SessionStatus(
            session=status.session,
            counts=status.counts,
            percent=status.percent,
            artifacts=self._store.count_artifacts(session_id),
            worktrees=len(self._store.worktrees(session_id=session_id)),
            events=self._store.last_seq(session_id),
            next_step=status.next_step,
        )

    def graph(self, session_id: str) -> TaskGraph:
        """Return the task graph of the session, archived tasks included."""
        from vespera_orchestrator.tasks.graph import TaskGraph  # loads networkx

        return TaskGraph(
            self._store.tasks(attrs.evolve(_all_of(session_id), include_archived=True))
        )

    # --- bringing together ----------------------------------------------------

    def subtask_results(self, parent: Task) -> SubtaskResults:
        """Return the subtasks of *parent*, what they produced, and what keeps the open ones."""
        query = TaskQuery(
            session_id=parent.session_id,
            parent_task_id=parent.id,
            limit=None,
        )
        subtasks = self._store.tasks(query)
        artifacts = self._store.artifacts(
            ArtifactQuery(task_ids=tuple(task.id for task in subtasks))
        )
        return SubtaskResults(
            parent=parent,
            subtasks=subtasks,
            artifacts=results_of(artifacts, subtasks),
            open_whys=[self.why(task) for task in subtasks if not task.status.is_terminal],
            branch=self._landing_branch(subtasks),
            contradictions=self._contradictions(parent, subtasks),
        )

    def _landing_branch(self, subtasks: Sequence[Task]) -> str:
        """Return where the work of the tasks landed, if they worked in worktrees."""
        uses_worktrees = any(task.worktree for task in subtasks)
        return self._rooms.config.worktrees.integration_branch if uses_worktrees else ""

    def _contradictions(self, parent: Task, subtasks: Sequence[Task]) -> list[str]:
        """Return what agents say differently, and which subtasks built on an earlier version."""
        session = self._store.find_session(parent.session_id)
        said = [] if session is None else self._rooms.shared.conflicts(session)
        ids = {task.id for task in subtasks}
        uses = self._store.context_uses(session_id=parent.session_id, outdated=True)
        return said + [str(use) for use in uses if use.task_id in ids]


def _waits(attempt: Attempt) -> bool:
    """Tell whether the attempt's work is done and waits to be merged."""
    return attempt.ending == AttemptEnding.HANDED_IN


def _placed(cause: Cause, places: dict[str, str]) -> Cause:
    """Say where the work is that a task waits for, if it is to be merged in another home."""
    place = places.get(cause.task_id or "")
    if place is None:
        return cause
    return attrs.evolve(cause, sentence=f"{cause.sentence} (on {place})")


def _all_of(session_id: str) -> TaskQuery:
    return TaskQuery(session_id=session_id, limit=None)
