"""Driving the task graph with the caller's own functions, on the caller's own executor.

The loop runs in the thread that calls `Orchestrator.run`, and nowhere else: it claims ready tasks,
submits them, renews their leases, and takes note of what came of them. An `Errand` does the work,
wherever the executor calls it.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Future,
    wait,
)
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    AttemptEnding,
    Ending,
    NextAction,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator._text import named_error, one_line, show_value
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    NotReadyError,
    PressureLimitError,
    SettingsConflictError,
    StoreError,
    VesperaError,
    WorktreeBusyError,
    WorktreeElsewhereError,
)
from vespera_orchestrator.progress.startable import has_subtasks
from vespera_orchestrator.tasks import lifecycle
from vespera_orchestrator.work.errand import (
    Errand,
    Handler,
    Outcome,
    Result,
    task_called_for,
)
from vespera_orchestrator.work.run_report import RunEnding, RunProgress, RunReport, Trouble
from vespera_orchestrator.work.submission import Holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Task
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.overview import Overview
    from vespera_orchestrator.work.completion import Completion
    from vespera_orchestrator.work.errand import Elsewhere
    from vespera_orchestrator.work.files import WorkFiles
    from vespera_orchestrator.work.run_request import RunRequest
    from vespera_orchestrator.work.start import Starter
    from vespera_orchestrator.worktrees.snapshot import Snapshot

log = logging.getLogger("vespera_orchestrator")

_BEATS_A_LEASE: Final = 3
"""How often a lease is renewed before it would expire."""
_MAX_EMPTY_ROUNDS: Final = 3
"""How often a task may come back without a result before this run leaves it alone."""
_LONGEST_PAUSE_S: Final = 60.0
_QUICKEST_LOOK_S: Final = 0.02
_SLOWEST_LOOK_S: Final = 1.0
"""Between these is the pause before a run with idle workers looks for ready tasks again."""
_STORE_TRIES: Final = 8
"""How often something is tried again when the store is busy or away for a moment."""
_UNHANDLED_LISTED: Final = 100


@attrs.define(eq=False)
class _Running:
    """An errand under way."""

    errand: Errand
    slot: int
    """Which of the run's workers does it; from 1."""
    nth: int
    """The how many-th claim of the run it is."""
    beat_at: float
    """When its lease is renewed next."""
    overdue: str = ""
    """Why its attempt was ended although the call has not returned; empty as long as it was not."""

    @property
    def task(self) -> Task:
        """The task, as it was when it was claimed."""
        return self.errand.claim.task

    @property
    def number(self) -> int:
        """The number of the attempt."""
        return self.errand.claim.attempt.number


@attrs.define
class _Rest:
    """A task that came back without success, and is not tried again at once."""

    until: float
    rounds: int = 0
    """How often it came back."""
    empty_rounds: int = 0
    """How often in a row it came back without even a checkpoint."""
    reason: str = ""
    needs_person: bool = False
    """Whether only a person can change what keeps it from starting here, so nobody waits for it."""

    @property
    def is_over(self) -> bool:
        """Whether this run leaves the task alone for good."""
        return self.empty_rounds >= _MAX_EMPTY_ROUNDS


class Runner:
    """One run. `drive` does it."""

    def __init__(
        self,
        rooms: Rooms,
        starter: Starter,
        completion: Completion,
        files: WorkFiles,
        overview: Overview,
        *,
        request: RunRequest,
        elsewhere: Elsewhere | None,
        bring_together: Callable[[Task], str],
    ) -> None:
        self._rooms = rooms
        self._starter = starter
        self._completion = completion
        self._files = files
        self._overview = overview
        self._request = request
        self._elsewhere = elsewhere
        self._bring_together = bring_together
        self._session_id = rooms.scope.session().id
        self._running: dict[Future[Any], _Running] = {}
        self._retried: set[str] = set()
        """Tasks that failed in this run, and are tried again by themselves."""
        self._rests: dict[str, _Rest] = {}
        self._blocked: dict[str, Trouble] = {}
        self._claims = 0
        self._completed: list[tuple[int, str]] = []
        self._handed_in: list[str] = []
        self._unhandled: dict[str, str] = {}
        self._broken = ""
        self._began = time.monotonic()
        self._look_s = _QUICKEST_LOOK_S

    # --- the loop -------------------------------------------------------------

    def drive(self) -> RunReport:
        """Run whatever can be run, and report.

        An interruption passes on. What has not begun is given back first; what runs keeps its hold
        and hands in its work when it is done.
        """
        self._refuse_unsendable()
        self._refuse_circle()
        try:
            ending = self._loop()
        except BaseException as exc:
            self._withdraw(exc)
            raise
        return self._report(ending)

    def _refuse_circle(self) -> None:
        """Refuse to run a session from within one of its own tasks, which would never end."""
        task = task_called_for()
        if task is None or task.session_id != self._session_id or self._request.idle_s is not None:
            return
        raise InvalidInputError(
            "idle_s",
            f"a run called this function for {task.alias!r}, and a run within it would wait for "
            "that task for ever; plan the subtasks and return, and the outer run does them, or "
            "pass idle_s=",
        )

    def _loop(self) -> RunEnding:
        idle_since: float | None = None
        while True:
            seq = self._rooms.store.last_seq()
            if self._takes_tasks:
                self._patiently(self._fill)
            if any(not running.overdue for running in self._running.values()):
                idle_since = None
                self._wait_for_own()
                continue
            if self._broken:
                return RunEnding.BROKEN
            if self._request.is_stopped:
                return RunEnding.STOPPED
            until, retry_s = self._next_try_at(), self._next_retry_s()
            if until is None and retry_s is None and not self._others_work():
                return RunEnding.DONE if self._is_over() else RunEnding.WAITING
            now = time.monotonic()
            idle_since = now if idle_since is None else idle_since
            wait_s = self._pause_s(until, retry_s, idle_since + (self._request.idle_s or 0) - now)
            if wait_s is None:
                return RunEnding.OUT_OF_PATIENCE
            self._rooms.store.wait(seq, wait_s)

    def _pause_s(self, until: float | None, retry_s: float | None, left_s: float) -> float | None:
        """Return how long to wait before looking again; ``None`` when patience is at its end.

        Args:
            until: When a task that came back may be tried again.
            retry_s: In how many seconds one is tried again by itself.
            left_s: How long others may still hold what comes first, if there is a limit.
        """
        wait_s = _SLOWEST_LOOK_S if until is None else max(0.0, until - time.monotonic())
        if retry_s is not None:
            wait_s = min(wait_s, retry_s)
        if until is None and self._request.idle_s is not None:
            if left_s <= 0:
                return None
            wait_s = min(wait_s, left_s)
        if self._request.stop is not None:
            wait_s = min(wait_s, _SLOWEST_LOOK_S)
        return wait_s

    def _wait_for_own(self) -> None:
        """Wait until an errand is done, a lease is due, or others may have made a task ready."""
        now = time.monotonic()
        held = [running for running in self._running.values() if not running.overdue]
        due = min(running.beat_at for running in held)
        wait_s = max(0.0, due - now)
        if len(self._running) < self._request.max_parallel and self._takes_tasks:
            wait_s = min(wait_s, self._look_s)
            self._look_s = min(2 * self._look_s, _SLOWEST_LOOK_S)
        done, _ = wait(self._running, wait_s, FIRST_COMPLETED)
        for future in done:
            self._look_s = _QUICKEST_LOOK_S
            self._collect(future)
        self._renew_leases()

    def _patiently(self, step: Callable[[], object]) -> None:
        """Do *step*; again after a growing pause while the store is busy or away."""
        for attempt in range(_STORE_TRIES):
            try:
                step()
            except StoreError as exc:
                if not exc.retryable or attempt == _STORE_TRIES - 1:
                    raise
                log.warning("the run tries again in a moment: %s", exc)
            else:
                return
            time.sleep(0.05 * 2**attempt)

    # --- taking tasks ---------------------------------------------------------

    @property
    def _takes_tasks(self) -> bool:
        return not self._broken and not self._request.is_stopped

    def _fill(self) -> None:
        """Start ready tasks as long as there are idle workers."""
        self._renew_leases()  # first: after a long pause our own would expire, too
        self._files.expire()  # what a silent or dead agent held is ready again
        while self._takes_tasks and len(self._running) < self._request.max_parallel:
            if not self._start_one():
                return

    def _start_one(self) -> bool:
        """Start the best ready task that can be started; return whether there was one."""
        for task, handler in self._candidates():
            try:
                if self._start(task, handler):
                    return True
            except NotReadyError:
                continue  # somebody else was faster
            except PressureLimitError as exc:
                log.info("the run takes no further task for now: %s", exc)
                return False
            except WorktreeBusyError as exc:
                self._let_rest(task, str(exc), is_empty=False)
            except (WorktreeElsewhereError, SettingsConflictError) as exc:
                self._let_rest(task, str(exc), is_empty=False)
                self._rests[task.id].needs_person = True
        return False

    def _candidates(self) -> Iterator[tuple[Task, Handler | None]]:
        """Yield ready tasks with their functions, best first; ``None`` is for our own work."""
        self._unhandled.clear()
        looked_at = 0
        limit = 8 + len(self._rests)
        now = time.monotonic()
        while True:
            ready = self._rooms.store.ready(self._session_id, limit)
            for task in ready[looked_at:]:
                if task.for_agent not in {None, self._rooms.scope.agent}:
                    continue
                rest = self._rests.get(task.id)
                if rest is not None and (rest.is_over or rest.until > now):
                    continue
                is_ours, handler = self._handler(task)
                if handler is not None or is_ours:
                    yield task, handler
                else:
                    self._unhandled[task.id] = task.alias
            if len(ready) < limit:
                return
            looked_at, limit = len(ready), 8 * limit

    def _handler(self, task: Task) -> tuple[bool, Handler | None]:
        """Return whether we do the task ourselves, and the caller's function otherwise."""
        handlers = self._request.handlers
        if task.task_type == lifecycle.RECOVERY:
            handler = handlers.for_task(task)
            is_ours = handler is None and handlers.on_recovery == "retry"
            return is_ours and "integration_branch" not in task.context, handler
        if has_subtasks(self._rooms.store, task):
            handler = handlers.for_parent(task)
            return handler is None, handler
        return False, handlers.for_task(task)

    def _start(self, task: Task, handler: Handler | None) -> bool:
        slot = self._free_slot()
        agent = self._rooms.scope.agent
        is_one = self._request.executor is None or task.for_agent is not None
        request = attrs.evolve(
            self._request.start,
            task=task,
            agent=agent if is_one else f"{agent}-{slot}",
            worktree=self._request.start.worktree if handler is not None else None,
            despite_pressure=not self._running,  # one at a time always goes on
        )
        claim = self._starter.claim(request)
        errand = Errand(
            handler=handler or self._own_work(claim.task),
            claim=claim,
            request=request,
            elsewhere=self._elsewhere,
            starter=self._starter,
        )
        beat_at = time.monotonic() + self._beat_s(task)
        self._claims += 1
        running = _Running(errand=errand, slot=slot, nth=self._claims, beat_at=beat_at)
        self._unhandled.pop(task.id, None)
        if handler is None or self._request.executor is None:
            self._tell_progress(task.alias)
            self._note(running, errand())
            return True
        return self._submit(running)

    def _submit(self, running: _Running) -> bool:
        assert self._request.executor is not None  # noqa: S101 - else it was done here
        try:
            future = self._request.executor.submit(running.errand)
        except BaseException as exc:
            self._give_back(running, "the executor takes no more calls")
            if not isinstance(exc, Exception):
                raise
            self._broken = self._broken or _words(exc)
            return False
        if not isinstance(future, Future):
            self._give_back(running, "the executor returned no future")
            problem = f"submit() returned {show_value(future)}, not a concurrent.futures.Future"
            raise InvalidInputError("executor", problem)
        self._running[future] = running
        self._tell_progress()
        return True

    def _free_slot(self) -> int:
        taken = {running.slot for running in self._running.values()}
        return next(slot for slot in range(1, len(taken) + 2) if slot not in taken)

    def _own_work(self, task: Task) -> Handler:
        """Return what we do ourselves: try again after a failure, or bring results together."""
        if task.task_type == lifecycle.RECOVERY:
            error = task.context.get("error", "")
            words = f"The run tries again after: {error}"
            return lambda _: Result(summary="try again", detailed_work=words)
        bring_together = self._bring_together
        return lambda work: Result(
            summary="the results of its subtasks, brought together",
            detailed_work=bring_together(work.task),
        )

    # --- what came of them ----------------------------------------------------

    def _collect(self, future: Future[Any]) -> None:
        running = self._running.pop(future)
        try:
            outcome = future.result(timeout=0)
        except CancelledError:
            self._give_back(running, "the executor cancelled the call")
            self._let_rest(running.task, "the executor cancelled the call")
        except BrokenExecutor as exc:
            self._broken = self._broken or _words(exc)
            self._give_back(running, f"its worker died: {_words(exc)}")
        except Exception as exc:  # noqa: BLE001 - whatever the engine raises: this call is lost
            self._note(running, self._fail(running, exc))
        except SystemExit as exc:  # the function called sys.exit() in a thread
            self._note(running, self._fail(running, exc))
        except BaseException as exc:
            self._give_back(running, f"its call was interrupted: {_words(exc)}")
            raise
        else:
            self._note(running, outcome)
        self._tell_progress()

    def _note(self, running: _Running, outcome: Outcome) -> None:
        """Take note of what came of an errand."""
        task = running.task
        if outcome.status is TaskStatus.COMPLETED:
            self._completed.append((running.nth, task.alias))
            self._blocked.pop(task.id, None)
            self._rests.pop(task.id, None)
        elif outcome.status is TaskStatus.IN_PROGRESS:
            self._note_held(running, outcome)
        elif outcome.status is TaskStatus.PENDING and self._is_retried(task):
            self._retried.add(task.id)
        elif outcome.status is TaskStatus.PENDING:
            reason = outcome.reason or "it came back without a result"
            self._let_rest(task, reason, is_empty=not self._made_progress(running))
        elif outcome.status is TaskStatus.BLOCKED:
            current = self._rooms.store.find_task(task.id, None) or task
            reason = current.reason or outcome.reason
            self._blocked[task.id] = Trouble(alias=task.alias, reason=reason)
            self._let_rest(task, reason, is_empty=False)
        # Otherwise somebody else has the task now, or decided about it.

    def _is_retried(self, task: Task) -> bool:
        """Tell whether a task, which is pending, failed and is tried again by itself."""
        last = self._rooms.store.attempts(task.id)[-1]
        return last.ending in {AttemptEnding.FAILED, AttemptEnding.TIMED_OUT}

    def _note_held(self, running: _Running, outcome: Outcome) -> None:
        attempt = self._rooms.store.situation(running.task.id).attempt
        if attempt is not None and attempt.is_handed_in:
            self._handed_in.append(running.task.alias)
            return
        reason = outcome.reason or "its call ended, and the task was still held"
        self._give_back(running, reason)
        self._let_rest(running.task, reason)

    def _made_progress(self, running: _Running) -> bool:
        last = self._rooms.store.last_checkpoint(running.task.id)
        return last is not None and last.attempt == running.number

    def _let_rest(self, task: Task, reason: str, *, is_empty: bool = True) -> None:
        """Leave a task alone for a while, longer each time; for good after empty rounds."""
        rest = self._rests.setdefault(task.id, _Rest(until=0.0))
        rest.rounds += 1
        rest.empty_rounds = rest.empty_rounds + 1 if is_empty else 0
        rest.reason = reason
        pause_s = min(self._request.backoff_s * 2 ** min(rest.rounds - 1, 20), _LONGEST_PAUSE_S)
        rest.until = time.monotonic() + pause_s
        if rest.is_over:
            log.warning("%s is left alone for the rest of this run: %s", task.alias, reason)

    # --- holding --------------------------------------------------------------

    def _renew_leases(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            if running.beat_at <= now and not running.overdue:
                running.beat_at = now + self._beat_s(running.task)
                self._renew(running)

    def _beat_s(self, task: Task) -> float:
        """Return after how many seconds a lease is renewed, or a limit looked at."""
        limits = (task.time_limit_s, task.stalled_after_s)
        lengths = [limit for limit in limits if limit is not None]
        beat_s = self._request.start.lease_s / _BEATS_A_LEASE
        return max(_QUICKEST_LOOK_S, min([beat_s, *lengths]))

    def _renew(self, running: _Running) -> None:
        """Renew a lease for a function that may not do so itself, and save its files."""
        task = self._rooms.store.find_task(running.task.id, None)
        worktree = None if task is None else self._files.assignments.worktree_of(task)

        def renew(snapshot: Snapshot | None, _trouble: str) -> None:
            self._rooms.store.renew(
                running.task.id,
                running.number,
                lease_s=self._request.start.lease_s,
                files_changed=snapshot is not None and snapshot.changed,
                snapshot=None if snapshot is None else snapshot.commit,
                within=None if snapshot is None else snapshot.pin,
            )

        try:
            if running.task.time_limit_s is not None or running.task.stalled_after_s is not None:
                self._files.expire()
            self._files.write_saving(worktree, "heartbeat", renew, passing=True)
        except LeaseLostError:  # it has just ended, or was taken over: its future will say so
            self._note_overdue(running)
        except VesperaError as exc:
            log.warning("the lease of %s could not be renewed: %s", running.task.alias, exc)
            running.beat_at = time.monotonic() + _SLOWEST_LOOK_S

    def _note_overdue(self, running: _Running) -> None:
        """Note a call that goes on although its attempt has run into a limit.

        Nothing can stop a function from outside. Its worker stays taken, and the run does not wait
        for it.
        """
        attempt = self._rooms.store.attempts(running.task.id)[running.number - 1]
        if attempt.ending not in {AttemptEnding.TIMED_OUT, AttemptEnding.STALLED}:
            return
        running.overdue = str(attempt.error)
        if attempt.ending == AttemptEnding.TIMED_OUT:
            self._retried.add(running.task.id)
        log.warning("%s has not come back: %s", running.task.alias, attempt.error)

    def _give_back(self, running: _Running, reason: str) -> None:
        """Release a task that nobody works on any more."""
        self._end(running, Ending(action=None, reason=reason))

    def _fail(self, running: _Running, exc: BaseException) -> Outcome:
        """Block a task whose call was lost, as it would be if its function had raised."""
        reason = _words(exc)
        ending = Ending(action=NextAction.BLOCKED, reason=reason, may_retry=True)
        self._end(running, ending)
        status = self._starter.status_of(running.errand.claim)
        return Outcome(status=status, reason=reason)

    def _end(self, running: _Running, ending: Ending) -> None:
        task = self._rooms.store.find_task(running.task.id, None)
        if task is None or self._starter.has_ended(running.errand.claim):
            return
        holder = Holder(
            task=task,
            attempt=running.number,
            agent=running.errand.request.agent,
            worktree=self._files.assignments.worktree_of(task),
        )
        try:
            self._completion.finish_saving(holder, ending)
        except VesperaError as exc:
            log.warning("%s could not be given back: %s", running.task.alias, exc)

    def _withdraw(self, exc: BaseException) -> None:
        """Give back what has not begun. What runs hands in its work when it is done."""
        for future, running in list(self._running.items()):
            if future.cancel() or _is_lost(future):
                self._give_back(running, f"interrupted: {type(exc).__name__}")
                del self._running[future]
        if self._running:
            aliases = ", ".join(running.task.alias for running in self._running.values())
            exc.add_note(f"still running, and handing in their work when they are done: {aliases}")

    # --- looking around -------------------------------------------------------

    def _next_try_at(self) -> float | None:
        """Return when a task that rests may be tried again; ``None`` if none is ready."""
        times = []
        for task_id, rest in self._rests.items():
            if rest.is_over or rest.needs_person:
                continue
            task = self._rooms.store.find_task(task_id, None)
            if task is not None and task.is_ready:
                times.append(rest.until)
        return min(times, default=None)

    def _next_retry_s(self) -> float | None:
        """Return in how many seconds a task of this run is tried again; ``None`` if none is.

        Where every worker is taken by a call that does not come back, none can be.
        """
        if len(self._running) >= self._request.max_parallel:
            return None
        pauses = []
        for task_id in self._retried:
            task = self._rooms.store.find_task(task_id, None)
            if task is not None and task.retry_at is not None:
                pauses.append((task.retry_at - self._rooms.clock()).total_seconds())
        return max(0.0, min(pauses)) if pauses else None

    def _others_work(self) -> bool:
        """Tell whether another agent holds a task, so that others may become ready."""
        held = self._rooms.store.running(self._session_id, 200)
        return any(attempt.ended_at is None for _, attempt, _ in held)

    def _is_over(self) -> bool:
        counts = self._rooms.store.count(TaskQuery(session_id=self._session_id, limit=None))
        return all(status.is_terminal for status in counts)

    def _report(self, ending: RunEnding) -> RunReport:
        left_alone = [
            (self._rooms.store.find_task(task_id, None), rest)
            for task_id, rest in self._rests.items()
            if rest.is_over
        ]
        self._tell_progress()
        return RunReport(
            ending=ending,
            completed=tuple(alias for _, alias in sorted(self._completed)),
            blocked=tuple(self._still_blocked()),
            given_back=tuple(
                Trouble(alias=task.alias, reason=rest.reason)
                for task, rest in left_alone
                if task is not None and task.status is TaskStatus.PENDING
            ),
            unhandled=tuple(list(self._unhandled.values())[:_UNHANDLED_LISTED]),
            handed_in=tuple(self._handed_in),
            overdue=tuple(
                Trouble(alias=running.task.alias, reason=running.overdue)
                for running in self._running.values()
            ),
            error=self._broken,
            took_s=time.monotonic() - self._began,
            next_step=self._overview.next_step(),
        )

    def _still_blocked(self) -> Iterator[Trouble]:
        for task_id, trouble in self._blocked.items():
            task = self._rooms.store.find_task(task_id, None)
            if task is not None and task.status is TaskStatus.BLOCKED:
                yield trouble

    def _tell_progress(self, *own: str) -> None:
        if self._request.progress is None:
            return
        query = TaskQuery(session_id=self._session_id, recoveries=False, limit=None)
        counts = self._rooms.store.count(query)
        unwanted = counts.get(TaskStatus.SKIPPED, 0) + counts.get(TaskStatus.CANCELLED, 0)
        aliases = [running.task.alias for running in self._running.values()]
        progress = RunProgress(
            total=sum(counts.values()) - unwanted,
            completed=counts.get(TaskStatus.COMPLETED, 0),
            blocked=counts.get(TaskStatus.BLOCKED, 0),
            running=(*own, *aliases),
            took_s=time.monotonic() - self._began,
        )
        try:
            self._request.progress(progress)
        except Exception:  # showing it may fail without failing the work
            log.exception("the run's progress could not be shown")

    # --- before the first task ------------------------------------------------

    def _refuse_unsendable(self) -> None:
        """Refuse what the processes of a pool could not be sent, before a task is taken.

        Raises:
            InvalidInputError: Names the function, or the store.
        """
        from concurrent.futures import ProcessPoolExecutor

        if not isinstance(self._request.executor, ProcessPoolExecutor):
            return
        if self._elsewhere is None:
            advice = "open a file store, or use a ThreadPoolExecutor"
            problem = f"other processes cannot open what this one has open; {advice}"
            raise InvalidInputError("executor", problem)
        for word, handler in self._request.handlers:
            try:
                pickle.dumps(handler)
            except Exception as exc:
                advice = "define it at the top level of a module"
                problem = f"{word}: cannot be sent to another process ({exc}); {advice}"
                raise InvalidInputError("handlers", one_line(problem, 300)) from exc


def _words(exc: BaseException) -> str:
    return one_line(named_error(exc), 300)


def _is_lost(future: Future[Any]) -> bool:
    """Tell whether a call is over without an outcome, so that nobody works on its task."""
    return future.done() and future.exception() is not None
