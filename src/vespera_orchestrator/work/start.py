"""Taking a task up: the claim, and the worktree to work in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Agenda,
    AttemptEnding,
    CauseKind,
    Claim,
    Ending,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    NothingReadyError,
    NotReadyError,
    SettingsConflictError,
    TransitionError,
    WorktreeBusyError,
    WorktreeElsewhereError,
)
from vespera_orchestrator.home import machine
from vespera_orchestrator.progress.startable import recovery_beside
from vespera_orchestrator.tasks import arguments, lifecycle
from vespera_orchestrator.work.assignment import CHOICES, Assignment
from vespera_orchestrator.work.submission import Holder
from vespera_orchestrator.work.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Attempt, Cause, Task, Worktree
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts import Artifacts
    from vespera_orchestrator.progress.overview import Overview
    from vespera_orchestrator.work.assignment import WorktreeChoice
    from vespera_orchestrator.work.completion import Completion
    from vespera_orchestrator.work.delegation import Coordination
    from vespera_orchestrator.work.files import WorkFiles
    from vespera_orchestrator.work.limits import ClaimLimit


_SETUP_MARGIN_S: Final = 60.0
"""How much longer the lease lasts than the set-up command of a worktree may take."""
_GOES_ON: Final = (None, AttemptEnding.ABANDONED, AttemptEnding.RESTED)
"""How the attempt of somebody who comes back may have ended: a lease that expired is regained."""
_LOOKED_THROUGH: Final = 200
"""Up to how many ready tasks are tried until one can be started here."""


@attrs.frozen(kw_only=True)
class StartRequest:
    """What a caller asks for; see `Orchestrator.execute_task`."""

    task: str | Task | None
    """The task; ``None`` for the best ready one."""
    agent: str
    worktree: WorktreeChoice
    lease_s: float
    take_over: bool
    despite_pressure: bool = False
    process: str = ""
    """The processes that the attempt ends with; empty if the agent may come back in another one."""
    wanted: TaskQuery | None = None
    """Which tasks may be taken where none is named; ``None`` for any."""
    parents: bool | None = None
    """Whether it may be a task with subtasks where none is named; see `TaskQuery.parents`."""

    @classmethod
    def read(
        cls,
        *,
        task: str | Task | None,
        agent: str,
        worktree: WorktreeChoice,
        lease_s: float,
        take_over: bool,
        despite_pressure: bool = False,
        wanted: TaskQuery | None = None,
        parents: bool | None = None,
    ) -> StartRequest:
        """Check what a caller passed.

        Raises:
            InvalidInputError: Names the argument.
        """
        if not arguments.is_number(lease_s) or not 0 < lease_s <= lifecycle.MAX_LEASE_S:
            raise InvalidInputError(
                "lease_s",
                f"{show_value(lease_s)} should be more than 0 seconds, and ten years at most",
            )
        if worktree not in CHOICES:
            raise InvalidInputError(
                "worktree",
                f"{show_value(worktree)} is not one of True, False, 'task', 'agent', 'subtree'",
            )
        if parents is not None and not isinstance(parents, bool):
            problem = f"{show_value(parents)} is not one of None, True, False"
            raise InvalidInputError("parents", problem)
        return cls(
            task=task,
            agent=arguments.agent_name("agent", agent),
            worktree=worktree,
            lease_s=lease_s,
            take_over=take_over,
            despite_pressure=despite_pressure,
            wanted=wanted,
            parents=parents,
        )

    @classmethod
    def again(
        cls, task: str | Task, agent: str, *, lease_s: float = lifecycle.LEASE_S
    ) -> StartRequest:
        """Return the request for a task that the agent holds already.

        Raises:
            InvalidInputError: Names the argument.
        """
        return cls.read(task=task, agent=agent, worktree=None, lease_s=lease_s, take_over=False)


class Starter:
    """Hands out tasks to agents."""

    def __init__(
        self,
        rooms: Rooms,
        artifacts: Artifacts,
        completion: Completion,
        files: WorkFiles,
        *,
        coordination: Coordination,
        limit: ClaimLimit,
    ) -> None:
        self._rooms = rooms
        self._artifacts = artifacts
        self._completion = completion
        self._files = files
        self._coordination = coordination
        self._limit = limit
        self._unstartable_ids: set[str] = set()
        """Tasks that this home cannot go on with: their files, or what they need, are elsewhere."""
        self._works: dict[str, Work] = {}

    @property
    def _overview(self) -> Overview:
        """What says why nothing is started; whoever starts a task does without."""
        from vespera_orchestrator.progress.overview import Overview

        return Overview(self._rooms)

    def start(self, request: StartRequest) -> Work:
        """Claim the task, and give the attempt its worktree.

        A claim without its worktree is released again: nobody is left holding a task that they
        cannot work on.
        """
        claim = self.claim(request)
        try:
            return self.begin(claim, request)
        except (WorktreeElsewhereError, SettingsConflictError, WorktreeBusyError) as exc:
            if request.task is not None:
                raise
            if not isinstance(exc, WorktreeBusyError):
                self._unstartable_ids.add(claim.task.id)
            return self.start(attrs.evolve(request, task=self._next_startable(request)))

    def take_up(self, request: StartRequest, *, keeps_lease: bool = False) -> Work:
        """Give back the work on a task that the agent holds, under the same attempt.

        The lease is renewed, also where it had expired and nobody took the task meanwhile.

        Args:
            request: The task and the agent.
            keeps_lease: The lease lasts as long as it did before.

        Raises:
            TransitionError: The agent does not hold it.
        """
        task = self._rooms.scope.task(request.task)  # type: ignore[arg-type] # it is named
        store = self._rooms.store
        attempts = store.attempts(task.id)
        last = attempts[-1] if attempts else None
        if last is None or last.agent != request.agent or last.ending not in _GOES_ON:
            raise self._not_taken_up(task, last, request.agent)
        self._files.assignments.refuse_elsewhere(task)
        if keeps_lease:
            request = attrs.evolve(request, lease_s=last.lease_s)
        try:
            mark = machine.returning_mark()
            attempt = store.renew(task.id, last.number, lease_s=request.lease_s, process=mark)
        except LeaseLostError:
            raise self._not_taken_up(task, last, request.agent) from None
        checkpoint = store.last_checkpoint(task.id)
        claim = Claim(task=self._rooms.scope.task(task), attempt=attempt, resumed_from=checkpoint)
        return self.begin(claim, request)

    def _not_taken_up(self, task: Task, last: Attempt | None, agent: str) -> TransitionError:
        holder = last if task.status is TaskStatus.IN_PROGRESS else None
        if holder is not None and _has_lapsed(holder, self._rooms.clock()):
            state = f"no longer held: the hold of {holder.agent} has lapsed"
            remedy = f"to go on with it: orch.execute_task({task.alias!r})"
            return TransitionError(task.alias, state, f"be taken up again by {agent}", remedy)
        if holder is not None and holder.agent != agent:
            return TransitionError(
                task.alias,
                f"held by {holder.agent}",
                f"be taken up again by {agent}",
                "its holder goes on with it, under the same name",
            )
        wanted = f"be taken up again by {agent}, who does not hold it"
        return TransitionError(task.alias, str(task.status), wanted, _what_comes_next(task))

    def in_hand(self, task: Task, agent: str | None, *, saves_files: bool = False) -> Work:
        """Return the work on a task for a call that names the task, and has no `Work`.

        Nothing is written, unless the worktree has to be made again: the call is fenced by the
        attempt, whether it is still the current one or not.

        Args:
            task: The task.
            agent: Who holds it; ``None`` for the agent of the `Work` that this process has begun,
                or else for the agent of this orchestrator.
            saves_files: The call saves the worktree's files, so the worktree has to be there.

        Raises:
            LeaseLostError: Another agent holds it.
            TransitionError: Nobody does.
        """
        work = self._works.get(task.id)
        if work is not None and work.is_open and agent in {None, work.attempt.agent}:
            return work
        agent = agent or self._rooms.scope.agent
        attempts = self._rooms.store.attempts(task.id)
        own = [attempt for attempt in attempts if attempt.agent == agent]
        if not own:
            raise _not_held(task, attempts, agent)
        last = own[-1]
        is_current = last is attempts[-1]
        if is_current and last.ending not in _GOES_ON:
            raise _not_held(task, attempts, agent)
        worktree = self._files.assignments.worktree_of(task)
        if worktree is not None and saves_files and is_current and not self._is_here(worktree):
            return self.take_up(StartRequest.again(task, agent), keeps_lease=True)
        return Work(
            self._rooms,
            self._artifacts,
            self._completion,
            self._files,
            claim=Claim(task=task, attempt=last, resumed_from=None),
            assignment=None if worktree is None else Assignment(worktree=worktree),
            lease_s=last.lease_s,
        )

    def _is_here(self, worktree: Worktree) -> bool:
        worktrees = self._rooms.worktrees
        return worktrees.is_own(worktree) and Path(worktrees.locate(worktree).path).is_dir()

    def claim(self, request: StartRequest) -> Claim:
        """Claim the task. Whoever works on it calls `begin`, perhaps in another process."""
        if request.worktree:
            self._rooms.worktrees.require()  # before the task is taken
        self._files.expire()  # saves what a silent agent left, before another works there
        if request.task is not None:
            task = self._rooms.scope.task(request.task)
            request = attrs.evolve(request, task=task)
            session_id = task.session_id
            self._rooms.team.refuse_conflict(session_id, lands=False)
            self._files.assignments.refuse_unavailable(task, request.worktree, request.agent)
        else:
            session_id = self._rooms.scope.session_id()
            self._rooms.team.refuse_conflict(session_id, lands=bool(request.worktree))
        if not request.despite_pressure and not request.take_over:
            self._limit.refuse_too_many(session_id)
        return self._claim(request)

    def begin(self, claim: Claim, request: StartRequest) -> Work:
        """Give a claimed task its worktree, in this process or another one than claimed it.

        Begun once more under the same claim, it goes on from the last checkpoint.
        """
        self._completion.attempts[claim.task.id] = claim.attempt.number
        self._renew_for_setup(claim, request)
        assignment = self._assign(claim, request.worktree)
        work = Work(
            self._rooms,
            self._artifacts,
            self._completion,
            self._files,
            claim=claim,
            assignment=assignment,
            lease_s=request.lease_s,
        )
        self._register(work)
        return work

    def _register(self, work: Work) -> None:
        for task_id, other in list(self._works.items()):
            if not other.is_open:
                self._works.pop(task_id, None)
        self._works[work.task.id] = work

    def open_works(self) -> list[Work]:
        """Return what this process has begun and still holds, the first one first."""
        return [work for work in list(self._works.values()) if work.is_open]

    def _renew_for_setup(self, claim: Claim, request: StartRequest) -> None:
        """Let the lease last as long as the set-up command of a new worktree may take."""
        settings = self._rooms.config.worktrees
        gets_worktree = request.worktree or claim.task.worktree
        if settings.setup is None or not gets_worktree:
            return
        lease_s = max(request.lease_s, settings.setup_timeout_s + _SETUP_MARGIN_S)
        self._rooms.store.renew(claim.task.id, claim.attempt.number, lease_s=lease_s)

    def status_of(self, claim: Claim) -> TaskStatus | None:
        """Return the state of a claimed task; ``None`` once another attempt has followed."""
        task = self._rooms.store.find_task(claim.task.id, None)
        if task is None or task.attempts != claim.attempt.number:
            return None
        return task.status

    def join(self, claim: Claim, request: StartRequest) -> None:
        """Note that this process does the work, beside the one that claimed the task.

        Whoever sees the other one end must not take the task from this one.
        """
        own = machine.process_mark()
        if not request.process or own in request.process.split():
            return
        both = f"{request.process} {own}" if own else ""
        self._rooms.store.renew(
            claim.task.id, claim.attempt.number, lease_s=request.lease_s, process=both
        )

    def has_ended(self, claim: Claim) -> bool:
        """Tell whether the claimed attempt can no longer be continued."""
        last = self._rooms.store.attempts(claim.task.id)[-1]
        if last.number != claim.attempt.number:
            return True
        return last.ending not in _GOES_ON

    def with_last_checkpoint(self, claim: Claim) -> Claim:
        """Return the claim as it should be continued now, after this attempt's own checkpoints."""
        last = self._rooms.store.last_checkpoint(claim.task.id)
        return attrs.evolve(claim, resumed_from=last)

    def _claim(self, request: StartRequest) -> Claim:
        if request.task is None and request.wanted is not None:
            return self._claim_wanted(request)
        if request.task is None:
            chosen = self._coordination.choose(request.agent, parents=request.parents)
            request = attrs.evolve(request, task=chosen)
        if request.task is None and self._unstartable_ids:
            # Else the best task, which this home cannot start, would be taken every time.
            request = attrs.evolve(request, task=self._next_startable(request))
        if request.task is None:
            return self._claim_best(request)
        named = request.task
        return self._claim_named(
            self._rooms.scope.task(named) if isinstance(named, str) else named, request
        )

    def _claim_best(self, request: StartRequest) -> Claim:
        claim = self._rooms.store.claim(
            self._rooms.scope.session_id(),
            request.agent,
            lease_s=request.lease_s,
            process=request.process or machine.returning_mark(),
            parents=request.parents,
        )
        if claim is None:
            raise self._nothing_ready(request)
        return claim

    def _claim_named(self, task: Task, request: StartRequest) -> Claim:
        try:
            claim = self._rooms.store.claim(
                task.session_id,
                request.agent,
                task_id=task.id,
                lease_s=request.lease_s,
                take_over=request.take_over,
                process=request.process or machine.returning_mark(),
            )
        except NotReadyError as exc:
            if exc.why is not None and any(map(_is_held, exc.why.causes)):
                exc.why = self._overview.why(task)  # which also knows whether its holder has left
            raise _with_advice_to_holder(exc, task, request.agent) from None
        assert claim is not None  # noqa: S101 - only an unnamed claim comes back empty
        return claim

    def _claim_wanted(self, request: StartRequest) -> Claim:
        """Claim the best ready task of those that are wanted; another one if somebody is faster."""
        while True:
            task = self._next_startable(request)
            try:
                return self._claim(attrs.evolve(request, task=task))
            except NotReadyError:
                continue  # somebody else has it now, so it is not among the ready ones again

    def _candidates(self, request: StartRequest) -> list[Task]:
        """Return ready tasks that the request allows, the best first."""
        store, session_id = self._rooms.store, self._rooms.scope.session_id()
        query = attrs.evolve(
            request.wanted or TaskQuery(),
            session_id=session_id,
            agenda=Agenda.READY,
            takeable_by=request.agent,
            parents=request.parents,
            limit=_LOOKED_THROUGH,
        )
        beside = recovery_beside(store, request.wanted, request.agent)
        return [*store.tasks(query), *beside]

    def _next_startable(self, request: StartRequest) -> Task:
        """Return the best ready task that this home can go on with."""
        choice = request.worktree
        refusal: WorktreeElsewhereError | SettingsConflictError | None = None
        for task in self._candidates(request):
            try:
                self._files.assignments.refuse_unavailable(task, choice, request.agent)
            except (WorktreeElsewhereError, SettingsConflictError) as exc:
                refusal = refusal or exc
            except WorktreeBusyError:
                continue
            else:
                return task
        if refusal is not None:
            raise refusal
        raise self._nothing_ready(request)

    def _nothing_ready(self, request: StartRequest) -> NothingReadyError:
        """Make the error with the next step of the tasks that were wanted."""
        self._rooms.scope.session()  # a session that is not in the store is the better error
        wanted = request.wanted
        if request.parents is not None:
            wanted = attrs.evolve(wanted or TaskQuery(), parents=request.parents)
        step = self._overview.next_step(wanted)
        return NothingReadyError("", step.sentence, "start a task", step.call, next_step=step)

    def _assign(self, claim: Claim, choice: WorktreeChoice) -> Assignment | None:
        try:
            return self._files.assignments.assign(claim, choice)
        except BaseException as exc:
            holder = Holder(
                task=claim.task, attempt=claim.attempt.number, agent=claim.attempt.agent
            )
            reason = f"no worktree could be made: {exc}"
            self._completion.finish(holder, Ending(action=None, reason=reason))
            raise


def _has_lapsed(attempt: Attempt, now: datetime) -> bool:
    """Tell whether a holder has not renewed its lease in time, and nobody has noted that yet."""
    return attempt.ended_at is None and attempt.lease_until <= now


def _not_held(
    task: Task, attempts: Sequence[Attempt], agent: str
) -> LeaseLostError | TransitionError:
    last = attempts[-1] if attempts else None
    if task.status is TaskStatus.IN_PROGRESS and last is not None and last.ended_at is None:
        reason = f"{last.agent} holds it (attempt {last.number}), and you are {agent}"
        return LeaseLostError(task.alias, 0, reason)
    wanted = f"be worked on by {agent}, who does not hold it"
    return TransitionError(task.alias, str(task.status), wanted, _what_comes_next(task))


def _what_comes_next(task: Task) -> str:
    if task.is_ready:
        return f"to start it: orch.execute_task({task.alias!r})"
    return f"orch.why({task.alias!r}) says what comes next"


def _with_advice_to_holder(exc: NotReadyError, task: Task, agent: str) -> NotReadyError:
    """Tell an agent that starts what it holds already how to go on, instead of taking it over."""
    if exc.why is None or not any(_is_held_by(cause, agent) for cause in exc.why.causes):
        return exc
    sentence = f"you hold it already, as {agent}; to go on with it: orch.work({task.alias!r})"
    causes = []
    for cause in exc.why.causes:
        is_own = _is_held_by(cause, agent)
        causes.append(attrs.evolve(cause, sentence=sentence) if is_own else cause)
    why = attrs.evolve(exc.why, causes=tuple(causes))
    return NotReadyError(exc.task_id, exc.state, exc.wanted, exc.remedy, why=why)


def _is_held_by(cause: Cause, agent: str) -> bool:
    return _is_held(cause) and cause.agent == agent


def _is_held(cause: Cause) -> bool:
    return cause.kind is CauseKind.LEASE
