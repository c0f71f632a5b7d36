"""Reads from the store what `Status` and `NextStep` say of one session, as of one moment.

Nothing here writes, and nothing asks git: both would take their time in the middle of a reading.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Agenda,
    ArtifactKind,
    ArtifactQuery,
    AttemptEnding,
    CauseKind,
    EventKind,
    Task,
    TaskQuery,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    SettingsConflictError,
)
from vespera_orchestrator.home import machine
from vespera_orchestrator.home.failing_documents import failing_documents
from vespera_orchestrator.home.locate import git_common_dir
from vespera_orchestrator.progress.own_tasks import held_tasks, unfinished_tasks
from vespera_orchestrator.progress.pauses import standing_pause, words_for_later
from vespera_orchestrator.progress.pressure import PressureGauge
from vespera_orchestrator.progress.startable import (
    has_subtasks,
    is_startable,
    named_kinds,
    recovery_beside,
)
from vespera_orchestrator.progress.status import Running
from vespera_orchestrator.progress.synthesis import SubtaskResults, results_of, source_metadata
from vespera_orchestrator.progress.usual_time import usual_time_of
from vespera_orchestrator.tasks import causes, dates, lifecycle, simplifying
from vespera_orchestrator.tasks.next_step import (
    FILES_CALL,
    SETTINGS_CALL,
    Holding,
    SessionFacts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vespera_orchestrator._model import (
        Attempt,
        Cause,
        Checkpoint,
        ContextUse,
        Event,
        Situation,
        TaskArtifact,
        Worktree,
    )
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.progress.low_energy import Gentleness

LISTED: Final = 10
"""Most tasks that a status lists of one kind."""
_NAMED_BEFORE: Final = 2
"""How many tasks a step names that were completed before it."""
_LOOKED_BACK: Final = 50
"""In how many of the last milestones it is looked for what the caller left unfinished."""
_REPORTS: Final = frozenset({ArtifactKind.FAILURE, ArtifactKind.CONFLICT, ArtifactKind.REFUSAL})
"""The kinds of artifacts that tell why a task is blocked."""
_MAX_UNMERGED: Final = 200
"""Most held tasks among which work that waits to be merged is looked for."""


@attrs.frozen(kw_only=True)
class _Start:
    """What a reader could begin, or go on with."""

    ready: Task | None = None
    """The best ready task."""
    obstacle: VesperaError | None = None
    """What keeps this home from starting it."""
    unfinished: Task | None = None
    """What the reader had in hand last."""
    is_left: bool
    """What is ready, if anything, is left to other agents."""
    enough: str = ""
    """Why nothing should be begun: as much is held as the pressure allows."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to begin."""
        return self.ready is None and self.unfinished is None


@attrs.frozen(kw_only=True)
class SessionState:
    """What the store says of a session at one moment."""

    facts: SessionFacts
    """What the next step depends on, as far as git need not be asked."""
    has_landed: bool
    """Whether every task has ended, and some work has landed."""
    worktrees: tuple[Worktree, ...]
    """The session's worktrees in use, of all homes."""


class Obstacles:
    """What keeps this home from starting tasks: what git has to say is asked between readings."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._answers: dict[tuple[str, bool], VesperaError | None] = {}
        self._questions: list[tuple[Task, bool]] = []

    def of(self, task: Task, *, lands: bool) -> VesperaError | None:
        """Return what is in the way, see `Rooms.obstacle`; nothing while git was not asked."""
        conflict = self._rooms.settings_obstacle(task, lands=lands)
        if conflict is not None or not self._rooms.may_lack_files(task, lands=lands):
            return conflict
        if (task.id, lands) not in self._answers:
            self._questions.append((task, lands))
        return self._answers.get((task.id, lands))

    def ask(self) -> bool:
        """Ask git what it was not asked yet; tell whether there was anything."""
        questions, self._questions = self._questions, []
        for task, lands in questions:
            answer = self._rooms.files_obstacle(task, lands=lands)
            self._answers[task.id, lands] = answer
        return bool(questions)


class SessionReader:
    """Reads one session; each object only once, within `contracts.Store.read_together`.

    Args:
        rooms: The store, the clock and who reads.
        session_id: The session.
        obstacles: What keeps this home from starting tasks.
        wanted: Only these of its tasks; ``None`` for all. Everything that is read is about them.
    """

    def __init__(
        self,
        rooms: Rooms,
        session_id: str,
        obstacles: Obstacles,
        wanted: TaskQuery | None = None,
    ) -> None:
        self._rooms = rooms
        self._wanted = wanted
        self._scope = rooms.scope
        self._store = rooms.store
        self._session_id = session_id
        self._obstacles = obstacles
        self._gauge = PressureGauge(rooms)

    @cached_property
    def everything(self) -> TaskQuery:
        """All tasks that are read about, but archived ones."""
        wanted = self._wanted or TaskQuery()
        return attrs.evolve(wanted, session_id=self._session_id, parents=None, limit=None)

    @cached_property
    def _wanted_ids(self) -> frozenset[str]:
        """The tasks that are wanted, where these are not all."""
        query = attrs.evolve(self.everything, include_archived=True)
        return frozenset(task.id for task in self._store.tasks(query))

    def _is_wanted(self, task_id: str | None) -> bool:
        return self._wanted is None or task_id in self._wanted_ids

    @cached_property
    def counts(self) -> dict[TaskStatus, int]:
        """How many tasks there are of each status."""
        return self._store.count(self.everything)

    @cached_property
    def blocked(self) -> list[Why]:
        """Why the first blocked tasks wait."""
        if not self.counts.get(TaskStatus.BLOCKED):
            return []
        query = attrs.evolve(self.everything, status=(TaskStatus.BLOCKED,), limit=LISTED)
        return [self.why(task) for task in self._store.tasks(query)]

    @cached_property
    def worktrees(self) -> tuple[Worktree, ...]:
        """The session's worktrees in use, of all homes."""
        return tuple(self._store.worktrees(session_id=self._session_id))

    @cached_property
    def _wanted_worktrees(self) -> tuple[Worktree, ...]:
        """Those in which the wanted tasks work."""
        if self._wanted is None or not self.worktrees:
            return self.worktrees
        names = {task.worktree for task in self._store.tasks(self.everything)}
        return tuple(
            each for each in self.worktrees if each.name in names or self._is_wanted(each.task_id)
        )

    @property
    def is_gentle(self) -> bool:
        """Whether the reader sees one step at a time, in gentle words."""
        return self._gauge.is_gentle(self._session_id)

    @property
    def gentleness(self) -> Gentleness | None:
        """What was done today, if the reader sees one step at a time."""
        return self._gauge.gentleness(self._session_id)

    def state(self) -> SessionState:
        """Read what the next step depends on."""
        facts = self._facts()
        is_over = facts.ready is None and all(status.is_terminal for status in facts.counts)
        return SessionState(
            facts=facts,
            has_landed=is_over and self._wanted is None and self._has_landed(),
            worktrees=self._wanted_worktrees if self._is_in_git else (),
        )

    def _takeable(self, tasks: TaskQuery) -> list[Task]:
        """Return the best ready ones of *tasks* that are not left to another agent."""
        query = attrs.evolve(
            tasks,
            agenda=Agenda.READY,
            takeable_by=self._scope.agent,
            parents=None if self._wanted is None else self._wanted.parents,
            limit=LISTED,
        )
        return self._store.tasks(query)

    def _within(self) -> str:
        """Say which tasks are wanted, to follow a noun; empty where all are."""
        wanted = self._wanted
        if wanted is None:
            return ""
        words = ""
        if wanted.parent_task_id is not None:
            parent = self._store.find_task(wanted.parent_task_id, None)
            words = f" in {wanted.parent_task_id if parent is None else parent.alias!r}"
        kinds = [f"{name}={show_value(getattr(wanted, name))}" for name in named_kinds(wanted)]
        return f"{words} with {', '.join(kinds)}" if kinds else words

    def _instead(self) -> list[str]:
        """Name what is ready where no task is of the kind that is wanted, and its kind."""
        names = [name for name in named_kinds(self._wanted) if name != "alias_prefix"]
        described = []
        for task in self._takeable(all_of(self._session_id)):
            kinds = ", ".join(f"{name}={show_value(getattr(task, name))}" for name in names)
            described.append(f"{task.alias} ({kinds})" if kinds else task.alias)
        return described

    def _agent_of(self, task: Task) -> str:
        """Return the agent that a task is left to: whom it is for, or who planned its subtasks."""
        if task.for_agent is not None:
            return task.for_agent
        query = TaskQuery(parent_task_id=task.id, include_archived=True, limit=None)
        planners = [each.planned_by for each in self._store.tasks(query)]
        return next((name for name in planners if name not in {"", self._scope.agent}), "")

    def _best_here(
        self, ready: list[Task], *, lands: bool
    ) -> tuple[Task | None, VesperaError | None]:
        """Return the first of the *ready* tasks that this agent can start in this home.

        If there is none, return the first that only the home cannot start, and why.
        """
        best, reason = None, None
        for task in ready:
            if not is_startable(self._store, task, self._scope.agent):
                continue
            obstacle = self._obstacles.of(task, lands=lands)
            if obstacle is None:
                return task, None
            if best is None:
                best, reason = task, obstacle
        return best, reason

    def _facts(self) -> SessionFacts:
        in_progress = self.counts.get(TaskStatus.IN_PROGRESS, 0)
        rows = self._running_rows(_MAX_UNMERGED) if in_progress else []
        unmerged = [task for task, attempt, _ in rows if attempt.is_handed_in]
        places = self._places_elsewhere(unmerged)
        running = in_progress - len(unmerged)
        start = self._start(running)
        facts = SessionFacts(
            counts=self.counts,
            within=self._within(),
            instead=() if self.counts or self._wanted is None else self._instead(),
            is_archived=not self.counts and self._has_archived(),
            own=self._own() if running else None,
            own_words=self._own_words(),
            unfinished=start.unfinished,
            unfinished_note=self._last_note(start.unfinished),
            uses_worktrees=self._uses_worktrees,
            unmerged=[task for task in unmerged if task.id not in places],
            unmerged_elsewhere=[(task, places[task.id]) for task in unmerged if task.id in places],
            running=running,
            holdings=self._holdings(rows, lands=self._uses_worktrees),
            enough=start.enough,
            decisions=[why for why in self.blocked if why.needs_person],
            now=self._rooms.by_clock_here(self._rooms.clock()),
        )
        if self._wanted is None:
            failing = failing_documents(self._scope.home.path)
            facts = attrs.evolve(
                facts, proposals=self._count_proposals(), failing_documents=failing
            )
        if start.ready is not None:
            return self._with_ready(facts, start.ready, start.obstacle)
        is_idle = not running and not unmerged
        return self._without_ready(facts, is_idle=is_idle, is_left=start.is_left)

    def _start(self, running: int) -> _Start:
        """Find what the reader could begin, or go on with, while so many tasks are held."""
        beside = recovery_beside(self._store, self._wanted, self._scope.agent)
        candidates = [*self._takeable(self.everything), *beside]
        ready, obstacle = self._best_here(candidates, lands=self._uses_worktrees)
        start = _Start(
            ready=ready,
            obstacle=obstacle,
            unfinished=self._unfinished(),
            is_left=not candidates,
        )
        enough = "" if start.is_nothing else self._enough(running)
        if not enough:
            return start
        if ready is not None and has_subtasks(self._store, ready):
            return attrs.evolve(start, unfinished=None, enough=enough)
        return _Start(is_left=True, enough=enough)

    def _enough(self, running: int) -> str:
        """Say why a start would be refused, if the pressure was that high at the last look.

        To count all that makes pressure would cost most readers something, and in vain.
        """
        if not running:
            return ""
        level = self._gauge.last_level(self._session_id)
        load = self._gauge.full_load(self._session_id, level)
        return "" if load is None else load.words

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
            usual=usual_time_of(self._store, ready),
            setback=self._setback(ready),
            ready_note=self._last_note(ready if ready.attempts else None),
            synthesis_id=self._fresh_synthesis(ready) if is_parent else None,
            unplanned=self._unplanned(ready) if is_parent else (),
        )

    def _unplanned(self, task: Task) -> Sequence[str]:
        """Name the pieces that are missing where some of a simplified task were taken back."""
        query = TaskQuery(parent_task_id=task.id, recoveries=False, limit=None)
        children = self._store.tasks(query)
        planned = [child for child in children if simplifying.is_piece_of(child, task)]
        if not planned:
            return ()
        return [draft.title for draft in simplifying.missing_pieces(task, 3, planned)]

    def _setback(self, task: Task) -> str:
        """Return how the latest attempt at a ready task ended, if it came to nothing by itself."""
        attempts = self._store.attempts(task.id) if task.attempts else ()
        if not attempts:
            return ""
        last = attempts[-1]
        if last.agent == self._scope.agent and last.ending == AttemptEnding.ABANDONED:
            return ""  # whoever was away knows it, and has not crashed
        zone = self._rooms.by_clock_here(last.last_sign_at).tzinfo
        return causes.setback(task, last, zone)

    def _without_ready(self, facts: SessionFacts, *, is_idle: bool, is_left: bool) -> SessionFacts:
        """Add what matters only where nothing is ready for the reader.

        Args:
            facts: What is known already.
            is_idle: Nothing is under way, either.
            is_left: What is ready, if anything, is left to other agents.
        """
        is_over = all(status.is_terminal for status in facts.counts)
        for_another = None
        if is_left:
            for_another = self._first_by(Agenda.READY)
        question = self._first_by(Agenda.QUESTIONS)
        asked = None if question is None else self._store.situation(question.id)
        waited_for = facts.longest_silent
        has_one_holder = facts.running == 1
        return attrs.evolve(
            facts,
            usual=usual_time_of(self._store, waited_for.task) if waited_for else None,
            for_another=for_another,
            other_agent="" if for_another is None else self._agent_of(for_another),
            question=question,
            outputs_read=() if asked is None else asked.outputs_read,
            waiting=self._first_waiting() if is_idle else None,
            resting=self._first_by(Agenda.ASLEEP) if is_idle or has_one_holder else None,
            unreached=self._first_unreached() if is_over else None,
        )

    @cached_property
    def _recent(self) -> list[Event]:
        """The session's last milestones, the newest first."""
        return self._store.events(
            session_id=self._session_id,
            kinds=lifecycle.MILESTONES,
            limit=_LOOKED_BACK,
            newest_first=True,
        )

    @cached_property
    def _held(self) -> list[tuple[Task, Attempt]]:
        """What the caller holds."""
        return held_tasks(self._store, self._session_id, self._scope.agent)

    def _own_words(self) -> str:
        pause = standing_pause(
            self._store,
            self._session_id,
            self._scope.agent,
            recent=self._recent,
            attempts=[attempt for _, attempt in self._held],
        )
        return words_for_later(pause, self._scope.agent)

    def _own(self) -> Holding | None:
        """Return what the caller holds, what another process holds under its name first."""
        held = [
            self._holding(task, attempt, self._store.last_checkpoint(task.id))
            for task, attempt in self._held
            if self._is_wanted(task.id)
        ]
        held = [own for own in held if own.is_here or self._is_startable(own.task)]
        own = min(held, key=lambda holding: holding.is_here, default=None)
        if own is None:
            return None
        return attrs.evolve(
            own, open_part=self._open_part(own.task), was_refused=self._was_refused(own)
        )

    def _was_refused(self, own: Holding) -> bool:
        """Tell whether work was handed in during this attempt that was not accepted."""
        began = self._rooms.clock() - timedelta(seconds=own.elapsed_s + 1)
        query = ArtifactQuery(
            task_ids=(own.task.id,), kind=ArtifactKind.LATE, created_after=began, limit=1
        )
        return bool(self._store.artifacts(query))

    def _open_part(self, task: Task) -> Why | None:
        """Return what keeps the first open subtask of a task from being done."""
        query = TaskQuery(parent_task_id=task.id, status=lifecycle.OPEN, limit=1)
        parts = self._store.tasks(query) if task.blockers else []
        return self.why(parts[0]) if parts else None

    def _is_startable(self, task: Task) -> bool:
        """Tell whether this home could go on with a task that it does not hold now."""
        return self._obstacles.of(task, lands=bool(task.worktree)) is None

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
            if not holding.may_be_gone or self._obstacles.of(holding.task, lands=lands) is None
        ]

    def _holding(self, task: Task, attempt: Attempt, checkpoint: Checkpoint | None) -> Holding:
        now = self._rooms.clock()
        silence = now - attempt.last_sign_at
        return Holding(
            task=task,
            agent=attempt.agent,
            silent_s=max(0, int(silence.total_seconds())),
            elapsed_s=max(0, int((now - attempt.started_at).total_seconds())),
            lease_s=int(attempt.lease_s),
            note="" if checkpoint is None else checkpoint.note,
            is_here=self._rooms.attempts.get(task.id) == attempt.number,
            is_between_calls=not attempt.process,
            has_left=machine.has_left(attempt.process),
        )

    def _unfinished(self) -> Task | None:
        """Return what the caller had in hand last, if it can go on with it now, and here."""
        tasks = unfinished_tasks(self._store, self._recent, self._scope.agent)
        ready = [task for task in tasks if task.is_ready and self._is_wanted(task.id)]
        best, obstacle = self._best_here(ready, lands=self._uses_worktrees)
        return None if obstacle else best

    def _last_note(self, task: Task | None) -> str:
        checkpoint = None if task is None else self._store.last_checkpoint(task.id)
        return "" if checkpoint is None else checkpoint.note

    def _done_before(self, task: Task) -> list[str]:
        """Return the aliases of the first completed tasks that *task* waited for."""
        aliases: list[str] = []
        for edge in task.dependencies[:LISTED]:
            other = self._store.find_task(edge.task, None)
            if other is not None and other.status is TaskStatus.COMPLETED:
                aliases.append(other.alias)
            if len(aliases) == _NAMED_BEFORE:
                break
        return aliases

    @cached_property
    def _is_in_git(self) -> bool:
        return git_common_dir(self._scope.home.project) is not None

    @cached_property
    def _uses_worktrees(self) -> bool:
        """Whether the session's tasks work in worktrees, and can do so here."""
        if not self._is_in_git:
            return False
        is_new = any(event.kind == EventKind.WORKTREE_CREATED for event in self._recent)
        return is_new or bool(self.worktrees)

    def _report(self, task: Task) -> str | None:
        """Return the artifact that tells what a recovery is for."""
        if task.recovers_task_id is None:
            return None
        query = ArtifactQuery(task_ids=(task.recovers_task_id,), newest_first=True, limit=LISTED)
        for artifact in self._store.artifacts(query):
            if artifact.kind in _REPORTS:
                return artifact.id
        return None

    def _count_proposals(self) -> int:
        query = ArtifactQuery(session_id=self._session_id, kind=ArtifactKind.PROPOSAL, partial=True)
        return len(self._store.artifacts(query))

    def _has_archived(self) -> bool:
        all_tasks = attrs.evolve(self.everything, include_archived=True)
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
        if is_newer or latest[0].metadata == source_metadata(*self._subtasks_and_results(task)):
            return latest[0].id
        return None

    def _places_elsewhere(self, tasks: list[Task]) -> dict[str, str]:
        """Return the machine and folder of worktrees that other homes have, by task id."""
        if not tasks:
            return {}
        records = [each for each in self.worktrees if self._rooms.is_elsewhere(each)]
        elsewhere = {each.name: each for each in records}
        own_task = {each.task_id: each for each in elsewhere.values()}
        places = {}
        for task in tasks:
            record = elsewhere.get(task.worktree or "") or own_task.get(task.id)
            if record is not None:
                places[task.id] = f"{record.machine}, {record.path}"
        return places

    def _first_by(self, agenda: Agenda) -> Task | None:
        query = attrs.evolve(self.everything, agenda=agenda, limit=1)
        return next(iter(self._store.tasks(query)), None)

    def near_dates(self, tasks: TaskQuery) -> tuple[Task, ...]:
        """Return those of *tasks* whose due date is worth a word, the first one first."""
        now = self._rooms.clock()
        return tuple(
            task
            for task in self.by_agenda(tasks, Agenda.DUE)
            if dates.is_near(task, now) and not task.asleep
        )

    def first_needed(self, tasks: Iterable[Task]) -> dict[str, str]:
        """Return, by the ids of those tasks that wait, the alias of one that has to end first."""
        waiting = [task for task in tasks if task.status is TaskStatus.PENDING and task.blockers]
        needed = {task.id: self._needed_first(task) for task in waiting}
        return {task_id: alias for task_id, alias in needed.items() if alias}

    def _needed_first(self, task: Task) -> str:
        for cause in self.why(task).causes:
            if cause.kind is CauseKind.DEPENDENCY:
                return str(cause.alias)
            if cause.kind is CauseKind.CHILDREN:
                return cause.names[0]
        return ""

    def by_agenda(self, tasks: TaskQuery, agenda: Agenda) -> tuple[Task, ...]:
        """Return the first of *tasks* that the agenda names."""
        query = attrs.evolve(tasks, agenda=agenda, limit=LISTED)
        return tuple(self._store.tasks(query))

    def _first_waiting(self) -> Why | None:
        task = self._first(self.everything, TaskStatus.BLOCKED, TaskStatus.PENDING)
        if task is None:
            return None
        return self.why(self._root_of_waiting(task))

    def _root_of_waiting(self, task: Task) -> Task:
        """Return what keeps *task* waiting in the end, as far as that is wanted, too."""
        for _ in range(LISTED):
            situation = self._store.situation(task.id)
            before = self._first_before(situation)
            if before is None:
                return task
            task = before
        return task

    def _first_before(self, situation: Situation) -> Task | None:
        """Return the first open task that a pending one waits for, if it is wanted, too."""
        task = situation.task
        if task.status is not TaskStatus.PENDING:
            return None
        for other in situation.needed.values():
            if not other.status.is_terminal and self._is_wanted(other.id):
                return other
        child = next(iter(situation.open_children), None)
        part = None if child is None else self._store.find_task(child, task.session_id)
        return part if part is not None and self._is_wanted(part.id) else None

    def _first_unreached(self) -> Task | None:
        planned = attrs.evolve(self.everything, recoveries=False)
        return self._first(planned, TaskStatus.FAILED)  # what was cancelled, nobody wants

    def _first(self, tasks: TaskQuery, *statuses: TaskStatus) -> Task | None:
        """Return the first task of the first status that has one.

        Asked for a single status, the store need not look at tasks of the others.
        """
        for status in statuses:
            first = self._store.tasks(attrs.evolve(tasks, status=(status,), limit=1))
            if first:
                return first[0]
        return None

    def _has_landed(self) -> bool:
        landed = self._store.events(
            session_id=self._session_id,
            kinds=(EventKind.WORKTREE_LANDED,),
            limit=1,
            newest_first=True,
        )
        return bool(landed)

    def why(self, task: Task) -> Why:
        """Return what keeps the task from being ready."""
        situation = self._store.situation(task.id)
        holder = situation.attempt
        has_left = holder is not None and machine.has_left(holder.process)
        as_of = self._rooms.by_clock_here(situation.as_of)
        why = causes.why(attrs.evolve(situation, has_holder_left=has_left, as_of=as_of))
        unmerged = [situation.needed[other] for other in situation.unmerged]
        if situation.attempt is not None and situation.attempt.is_handed_in:
            unmerged.append(task)
        places = self._places_elsewhere(unmerged)
        placed = tuple(_placed(cause, places) for cause in why.causes)
        return attrs.evolve(why, causes=placed, obstacle=self._obstacle(task) if why.ready else "")

    def _obstacle(self, task: Task) -> str:
        obstacle = self._obstacles.of(task, lands=self._uses_worktrees)
        return "" if obstacle is None else str(obstacle)

    def other_open_sessions(self) -> int:
        """Return how many other sessions have open tasks."""
        count = self._store.open_sessions()
        is_whole = self._wanted is None
        counts = self.counts if is_whole else self._store.count(all_of(self._session_id))
        if any(not status.is_terminal for status in counts):
            count -= 1
        return max(0, count)

    def _running_rows(self, limit: int) -> list[tuple[Task, Attempt, Checkpoint | None]]:
        """Return the wanted tasks that are held, with their last checkpoint."""
        below = None if self._wanted is None else self._wanted.parent_task_id
        rows = self._store.running(self._session_id, limit, below=below)
        return [row for row in rows if self._is_wanted(row[0].id)]

    def running(self) -> tuple[Running, ...]:
        """Return what is under way."""
        rows = self._running_rows(LISTED)
        places = self._places_elsewhere([task for task, attempt, _ in rows if attempt.is_handed_in])
        running = [
            Running(
                task=task,
                attempt=attempt,
                checkpoint=checkpoint,
                has_left=machine.has_left(attempt.process),
                place=places.get(task.id, ""),
            )
            for task, attempt, checkpoint in rows
        ]
        return tuple(running)

    def outdated(self) -> tuple[ContextUse, ...]:
        """Return which tasks were given a version that has a later one by now."""
        limit = LISTED if self._wanted is None else None
        uses = self._store.context_uses(session_id=self._session_id, outdated=True, limit=limit)
        return tuple([use for use in uses if self._is_wanted(use.task_id)][:LISTED])

    def subtask_results(self, parent: Task) -> SubtaskResults:
        """Return the subtasks of *parent*, what they produced, and what keeps the open ones."""
        subtasks, work = self._subtasks_and_results(parent)
        return SubtaskResults(
            parent=parent,
            subtasks=subtasks,
            work=work,
            open_whys=[self.why(task) for task in subtasks if not task.status.is_terminal],
            branch=self._landing_branch(subtasks),
            contradictions=self._contradictions(parent, subtasks),
        )

    def _subtasks_and_results(self, parent: Task) -> tuple[list[Task], list[TaskArtifact]]:
        """Return the subtasks of *parent*, and what they produced."""
        query = TaskQuery(
            session_id=parent.session_id,
            parent_task_id=parent.id,
            limit=None,
        )
        subtasks = self._store.tasks(query)
        work = self._store.task_artifacts(task.id for task in subtasks)
        return subtasks, results_of(work, subtasks)

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


def _placed(cause: Cause, places: dict[str, str]) -> Cause:
    """Say where the work is that a task waits for, if it is to be merged in another home."""
    place = places.get(cause.task_id or "")
    if place is None:
        return cause
    return attrs.evolve(cause, sentence=f"{cause.sentence} (on {place})")


def all_of(session_id: str) -> TaskQuery:
    """Return the query for all tasks of a session, but archived ones."""
    return TaskQuery(session_id=session_id, limit=None)
