"""The façade for asyncio: the same verbs, each to be awaited.

    async with AsyncOrchestrator.open(".") as orch:
        await orch.plan_task("Task")
        async with orch.execute_task() as work:
            await work.complete(summary="done", detailed_work="All of it.")

One instance has one worker thread, which does its calls one after the other: the event loop is
never blocked, and a call sees what the calls before it have done. Signatures and documentation are
those of the synchronous verbs, taken from them at run time and by type checkers alike.

A call that is cancelled before its turn does nothing. One that is under way comes to its end in the
worker, as one transaction, and its answer is dropped; a task that was being started is released.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Final, Literal, ParamSpec, Self, TypeAlias, TypeVar

from vespera_orchestrator import (
    Artifacts,
    Attempt,
    Checkpoint,
    ClosedError,
    Documents,
    Event,
    EventWatch,
    GitOperation,
    HandedIn,
    HomeSource,
    Orchestrator,
    RunProgress,
    RunReport,
    Task,
    VesperaError,
    Work,
    Worktree,
    Worktrees,
)
from vespera_orchestrator._mistakes import listed
from vespera_orchestrator.tasks.arguments import is_coroutine_function, whole_number
from vespera_orchestrator.tasks.lifecycle import LEASE_S
from vespera_orchestrator.work.errand import Handler

log = logging.getLogger("vespera_orchestrator")

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Block = TypeVar("_Block", bound=AbstractAsyncContextManager[Any])

_LOOK_S: Final = 0.03
"""How often `AsyncOrchestrator.watch` looks for new events, in seconds."""


class _Worker:
    """The one thread that does the calls of an instance."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="vespera-aio")
        self._is_closed = False

    def submit(self, call: Callable[[], _T]) -> Future[_T]:
        """Do *call* in the worker, with the context variables of the caller.

        Raises:
            ClosedError: The instance was closed.
        """
        if self._is_closed:
            raise ClosedError
        context = contextvars.copy_context()
        return self._pool.submit(context.run, call)

    async def do(self, call: Callable[[], _T], *, undo: Callable[[_T], object] | None = None) -> _T:
        """Do *call* in the worker and return its answer.

        Args:
            call: What to do.
            undo: Done with the answer if the caller was cancelled meanwhile.
        """
        future = self.submit(call)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if not future.cancel() and undo is not None:
                future.add_done_callback(functools.partial(self._undo, undo))
            raise

    async def finish(self, call: Callable[[], _T]) -> _T:
        """Do *call* in the worker, also if the caller is cancelled before its turn."""
        return await asyncio.shield(asyncio.wrap_future(self.submit(call)))

    def _undo(self, undo: Callable[[_T], object], done: Future[_T]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        with suppress(ClosedError):
            self.submit(lambda: undo(done.result()))

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._is_closed

    def close(self) -> None:
        """Let the thread end after the calls that are under way."""
        self._is_closed = True
        self._pool.shutdown(wait=False)


class _Room:
    """Something whose calls are done by a worker."""

    def __init__(self, worker: _Worker, room: Callable[[], Any]) -> None:
        self._worker = worker
        self._room = room

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: the same verbs, to be awaited>"


def _verb(
    function: Callable[Concatenate[Any, _P], _T],
) -> Callable[Concatenate[Any, _P], Coroutine[Any, Any, _T]]:
    """Return the method that does the synchronous one in the worker."""

    @functools.wraps(function)
    async def call(self: _Room, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        worker, room = self._worker, self._room
        return await worker.do(lambda: function(room(), *args, **kwargs))

    return call


class _Beginning(Awaitable[_Block]):
    """Something that is beginning: await it, or use it as an ``async with`` block."""

    def __init__(self) -> None:
        self._block: _Block | None = None

    @abstractmethod
    async def _begin(self) -> _Block:
        """Begin it, and return what the block is entered with."""

    def __await__(self) -> Generator[Any, None, _Block]:
        return self._begin().__await__()

    async def __aenter__(self) -> _Block:
        self._block = await self._begin()
        return self._block

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._block is not None  # noqa: S101 - it was entered
        await self._block.__aexit__(kind, exc, trace)


class AsyncWork(_Room):
    """A task in the hands of one agent; see `Work`. Made by `AsyncOrchestrator.execute_task`.

    Use it as an ``async with`` block. It ends as that of `Work` does. A cancellation is an
    interruption: the task is released, with its partial work kept.
    """

    def __init__(self, worker: _Worker, work: Work) -> None:
        super().__init__(worker, lambda: work)
        self._work = work

    def __repr__(self) -> str:
        return repr(self._work).replace("<Work", "<AsyncWork", 1)

    briefing = _verb(Work.briefing)
    checkpoint = _verb(Work.checkpoint)
    heartbeat = _verb(Work.heartbeat)
    save_artifact = _verb(Work.save_artifact)
    complete = _verb(Work.complete)
    fail = _verb(Work.fail)
    release = _verb(Work.release)
    interrupt = _verb(Work.interrupt)
    once = _verb(Work.once)
    ask = _verb(Work.ask)

    async def handed_in(self) -> HandedIn | None:
        """See `Work.handed_in`. It reads the store, so it is a method here."""
        return await self._worker.do(lambda: self._work.handed_in)

    @property
    def task(self) -> Task:
        """The task, as it was when the work began."""
        return self._work.task

    @property
    def attempt(self) -> Attempt:
        """This try; its number fences every write."""
        return self._work.attempt

    @property
    def resumed_from(self) -> Checkpoint | None:
        """The last checkpoint of an earlier attempt, or ``None``."""
        return self._work.resumed_from

    @property
    def worktree(self) -> Worktree | None:
        """The worktree, or ``None`` if the task has none."""
        return self._work.worktree

    @property
    def path(self) -> Path | None:
        """The folder of its worktree, or ``None`` without one."""
        return self._work.path

    @property
    def is_open(self) -> bool:
        """Whether you still hold the task, as far as this process knows."""
        return self._work.is_open

    @property
    def conflicts(self) -> tuple[str, ...]:
        """See `Work.conflicts`."""
        return self._work.conflicts

    @property
    def left_out(self) -> tuple[str, ...]:
        """See `Work.left_out`."""
        return self._work.left_out

    @property
    def operation(self) -> GitOperation | None:
        """See `Work.operation`."""
        return self._work.operation

    @property
    def not_saved(self) -> str:
        """See `Work.not_saved`."""
        return self._work.not_saved

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._worker.finish(lambda: self._work.__exit__(kind, exc, trace))


class _Starting(_Beginning[AsyncWork]):
    """A task that is being started."""

    def __init__(self, worker: _Worker, start: Callable[[], Work]) -> None:
        super().__init__()
        self._worker = worker
        self._start = start

    def __repr__(self) -> str:
        return "<a task to be started: await it, or use it in an async with block>"

    async def _begin(self) -> AsyncWork:
        work = await self._worker.do(self._start, undo=_release)
        return AsyncWork(self._worker, work)


def _release(work: Work) -> None:
    """Give back a task whose caller was cancelled while it was being started."""
    try:
        work.interrupt("interrupted while it was being started")
    except VesperaError as exc:
        log.warning("%s could not be given back: %s", work.task.alias, exc)


def _starting(
    function: Callable[Concatenate[Any, _P], Work],
) -> Callable[Concatenate[Any, _P], _Starting]:
    """Return the method that starts a task in the worker."""

    @functools.wraps(function)
    def call(self: _Room, /, *args: _P.args, **kwargs: _P.kwargs) -> _Starting:
        worker, room = self._worker, self._room
        return _Starting(worker, lambda: function(room(), *args, **kwargs))

    return call


# --- running a graph ------------------------------------------------------------


AsyncHandler: TypeAlias = Callable[[AsyncWork], Awaitable[object]] | Handler
"""A caller's function: a coroutine function with `AsyncWork`, or a plain one with `Work`."""
_PARALLEL: Final = 8
"""How many tasks `AsyncOrchestrator.run` does at once, unless you say otherwise."""


class _Ending(Enum):
    """How a coroutine ended without a result."""

    CANCELLED = "cancelled"


class _Calls:
    """The coroutines of a run: they are called from its threads, and run in the caller's loop."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.stop = threading.Event()
        """Set when no further task is to be taken."""

    def in_threads(self, handlers: Any) -> Any:
        """Return functions that the threads of a run can call."""
        if isinstance(handlers, Mapping):
            words = listed("handlers", handlers)
            return {word: self._in_thread(handlers[word]) for word in words}
        return self._in_thread(handlers)

    def _in_thread(self, handlers: Any) -> Any:
        if not callable(handlers) or not is_coroutine_function(handlers):
            return handlers

        def call(work: Work) -> object:
            doing = self._do(handlers, work)
            result = asyncio.run_coroutine_threadsafe(doing, self._loop).result()
            if result is not _Ending.CANCELLED:
                return result
            if work.is_open:
                work.interrupt("its coroutine was cancelled")
            return None

        return call

    async def _do(self, handler: Callable[[AsyncWork], Awaitable[object]], work: Work) -> object:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - it is running
        if self.stop.is_set():
            return _Ending.CANCELLED
        self._tasks.add(task)
        try:
            return await handler(AsyncWork(self._worker, work))
        except asyncio.CancelledError:
            return _Ending.CANCELLED
        finally:
            self._tasks.discard(task)

    async def drive(self, run: Callable[[], RunReport]) -> RunReport:
        """Do *run* in a thread of its own. If the caller is cancelled, wait until it has ended."""
        context = contextvars.copy_context()
        with ThreadPoolExecutor(1, thread_name_prefix="vespera-run") as pool:
            driving = self._loop.run_in_executor(pool, context.run, run)
            try:
                return await asyncio.shield(driving)
            except asyncio.CancelledError:
                self.stop.set()
                while not driving.done():
                    for task in self._tasks:
                        task.cancel()
                    with suppress(asyncio.CancelledError):  # once is enough
                        await asyncio.wait({driving})
                driving.exception()
                raise


class AsyncArtifacts(_Room):
    """The full record of the work; see `Artifacts`."""

    save = _verb(Artifacts.save)
    draft = _verb(Artifacts.draft)
    draft_file = _verb(Artifacts.draft_file)
    get = _verb(Artifacts.get)
    find = _verb(Artifacts.find)
    read = _verb(Artifacts.read)
    text = _verb(Artifacts.text)
    show = _verb(Artifacts.show)
    list = _verb(Artifacts.list)
    versions = _verb(Artifacts.versions)
    diff = _verb(Artifacts.diff)
    forget = _verb(Artifacts.forget)
    forget_text = _verb(Artifacts.forget_text)
    finish_forgetting = _verb(Artifacts.finish_forgetting)
    browse = _verb(Artifacts.browse)
    export = _verb(Artifacts.export)
    verify = _verb(Artifacts.verify)
    collect_garbage = _verb(Artifacts.collect_garbage)
    search = _verb(Artifacts.search)
    context = _verb(Artifacts.context)
    context_uses = _verb(Artifacts.context_uses)
    catch_up = _verb(Artifacts.catch_up)
    check_index = _verb(Artifacts.check_index)
    index_status = _verb(Artifacts.index_status)
    verify_index = _verb(Artifacts.verify_index)
    rebuild_index = _verb(Artifacts.rebuild_index)


class AsyncWorktrees(_Room):
    """Git worktrees; see `Worktrees`."""

    create = _verb(Worktrees.create)
    list = _verb(Worktrees.list)
    find = _verb(Worktrees.find)
    brought = _verb(Worktrees.brought)
    snapshot = _verb(Worktrees.snapshot)
    merge = _verb(Worktrees.merge)
    land_all = _verb(Worktrees.land_all)
    is_merged = _verb(Worktrees.is_merged)
    catch_up = _verb(Worktrees.catch_up)
    forecast = _verb(Worktrees.forecast)
    remove = _verb(Worktrees.remove)
    rescue = _verb(Worktrees.rescue)
    restore = _verb(Worktrees.restore)
    check = _verb(Worktrees.check)
    repair = _verb(Worktrees.repair)


class AsyncDocuments(_Room):
    """Project documents that update themselves; see `Documents`."""

    update = _verb(Documents.update)
    catch_up = _verb(Documents.catch_up)
    check = _verb(Documents.check)
    versions = _verb(Documents.versions)
    read = _verb(Documents.read)
    restore = _verb(Documents.restore)
    explain = _verb(Documents.explain)
    proposals = _verb(Documents.proposals)
    accept = _verb(Documents.accept)
    decline = _verb(Documents.decline)
    diff = _verb(Documents.diff)
    undo = _verb(Documents.undo)


class _Opening(_Beginning["AsyncOrchestrator"]):
    """A project that is being opened."""

    def __init__(self, open_: Callable[[], Orchestrator]) -> None:
        super().__init__()
        self._open = open_

    def __repr__(self) -> str:
        return "<a project to be opened: await it, or use it in an async with block>"

    async def _begin(self) -> AsyncOrchestrator:
        worker = _Worker()
        try:
            opened = await worker.do(self._open, undo=Orchestrator.close)
        except BaseException:
            worker.close()
            raise
        return AsyncOrchestrator(opened, worker)


def _opening(open_: Callable[_P, Orchestrator]) -> Callable[_P, _Opening]:
    @functools.wraps(open_)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _Opening:
        return _Opening(lambda: open_(*args, **kwargs))

    return call


class AsyncOrchestrator(_Room):
    """Sessions, tasks, artifacts, worktrees and documents of one project; see `Orchestrator`.

    Made by `open`: ``await AsyncOrchestrator.open(…)``, or ``async with`` it.
    """

    def __init__(self, orch: Orchestrator, worker: _Worker) -> None:
        super().__init__(worker, lambda: orch)
        self._orch = orch
        self.artifacts = AsyncArtifacts(worker, lambda: orch.artifacts)
        """The full record of the work: save, read, search."""
        self.worktrees = AsyncWorktrees(worker, lambda: orch.worktrees)
        """Git worktrees: create, snapshot, merge, forecast, remove, rescue, repair."""
        self.documents = AsyncDocuments(worker, lambda: orch.documents)
        """Project documents that update themselves: update, check, versions, restore."""

    def __repr__(self) -> str:
        return repr(self._orch).replace("<Orchestrator", "<AsyncOrchestrator", 1)

    # --- opening and closing ------------------------------------------------

    open = staticmethod(_opening(Orchestrator.open))

    async def close(self) -> None:
        """Release every resource, and let the worker end. Idempotent."""
        with suppress(ClosedError):
            await self._worker.finish(self._orch.close)
        self._worker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def home(self) -> Path:
        """The folder that holds everything."""
        return self._orch.home

    @property
    def home_source(self) -> HomeSource:
        """How the home was found: named, or that of the folder, the repository, a folder above."""
        return self._orch.home_source

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self._orch.project

    @property
    def agent(self) -> str:
        """Who is calling, unless a call says otherwise."""
        return self._orch.agent

    catch_up = _verb(Orchestrator.catch_up)

    # --- sessions -----------------------------------------------------------

    initialize_session = _verb(Orchestrator.initialize_session)
    current_session = _verb(Orchestrator.current_session)
    resume_session = _verb(Orchestrator.resume_session)
    list_sessions = _verb(Orchestrator.list_sessions)
    session_status = _verb(Orchestrator.session_status)
    spawn_agent_with_context = _verb(Orchestrator.spawn_agent_with_context)
    resume = _verb(Orchestrator.resume)
    pause = _verb(Orchestrator.pause)

    digest = _verb(Orchestrator.digest)
    history = _verb(Orchestrator.history)
    pressure = _verb(Orchestrator.pressure)
    set_energy = _verb(Orchestrator.set_energy)
    roles = _verb(Orchestrator.roles)
    team_settings = _verb(Orchestrator.team_settings)
    share_settings = _verb(Orchestrator.share_settings)
    share_context = _verb(Orchestrator.share_context)
    shared_context = _verb(Orchestrator.shared_context)

    # --- planning -----------------------------------------------------------

    plan_task = _verb(Orchestrator.plan_task)
    plan_tasks = _verb(Orchestrator.plan_tasks)
    update_task = _verb(Orchestrator.update_task)
    snooze_task = _verb(Orchestrator.snooze_task)
    add_dependency = _verb(Orchestrator.add_dependency)
    remove_dependency = _verb(Orchestrator.remove_dependency)
    usual_time = _verb(Orchestrator.usual_time)
    simplify = _verb(Orchestrator.simplify)
    undo_simplify = _verb(Orchestrator.undo_simplify)

    # --- looking ------------------------------------------------------------

    get_task = _verb(Orchestrator.get_task)
    query_tasks = _verb(Orchestrator.query_tasks)
    ready_tasks = _verb(Orchestrator.ready_tasks)
    why = _verb(Orchestrator.why)
    next_step = _verb(Orchestrator.next_step)
    get_status = _verb(Orchestrator.get_status)
    graph = _verb(Orchestrator.graph)

    def watch(
        self, after: int | None = None, *, timeout_s: float | None = None
    ) -> AsyncIterator[Event]:
        """Yield events of the current session as they are recorded; see `Orchestrator.watch`.

        Other calls go on meanwhile.
        """
        begun = self._worker.submit(lambda: self._orch.watch(after, timeout_s=timeout_s))
        return self._watched(begun, timeout_s)

    async def _watched(
        self, begun: Future[EventWatch], timeout_s: float | None
    ) -> AsyncIterator[Event]:
        watch = await asyncio.wrap_future(begun)
        clock = asyncio.get_running_loop().time
        quiet_since = clock()
        while not self._worker.is_closed:
            for event in await self._worker.do(watch.poll):
                yield event
                quiet_since = clock()
            if timeout_s is not None and clock() - quiet_since >= timeout_s:
                return
            await asyncio.sleep(_LOOK_S)

    def on_event(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call *callback* in the event loop with every event that this object records.

        See `Orchestrator.on_event`. It is called soon after the commit; the call that made the
        change does not wait for it. Call this in the loop.
        """
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(callback, event)

        return self._orch.on_event(tell)

    # --- working ------------------------------------------------------------

    execute_task = _starting(Orchestrator.execute_task)
    work = _starting(Orchestrator.work)
    checkpoint = _verb(Orchestrator.checkpoint)
    heartbeat = _verb(Orchestrator.heartbeat)
    release = _verb(Orchestrator.release)
    fail = _verb(Orchestrator.fail)
    end_attempt = _verb(Orchestrator.end_attempt)
    complete_task = _verb(Orchestrator.complete_task)

    async def run(
        self,
        handlers: AsyncHandler | Mapping[str, AsyncHandler],
        *,
        max_parallel: int = _PARALLEL,
        worktree: bool | Literal["task", "agent", "subtree"] | None = None,
        on_recovery: AsyncHandler | Literal["retry"] | None = None,
        progress: bool | Callable[[RunProgress], object] = False,
        lease_s: float = LEASE_S,
        backoff_s: float = 1.0,
        idle_s: float | None = None,
    ) -> RunReport:
        """Drive the task graph with your own coroutine functions; see `Orchestrator.run`.

        A coroutine function gets an `AsyncWork` and runs in this loop, beside the others. Any other
        function gets a `Work` and is called in a thread. What they return is handed in.

        If this call is cancelled, so are your coroutines. When they have ended, their tasks are
        given back, with their checkpoints and files; plain functions come to their end first.

        Args:
            handlers: As for `Orchestrator.run`.
            max_parallel: How many tasks at once.
            worktree: As for `Orchestrator.run`; so are the others.
            on_recovery: Your function for recovery tasks, or ``"retry"``.
            progress: ``True`` shows a bar. Or a function, called in this loop.
            lease_s: Seconds until a task is free again after this process has died.
            backoff_s: Pause before a task that failed or came back is tried again.
            idle_s: Return when others have held what comes first for so long.
        """
        calls = _Calls(self._worker)
        loop = asyncio.get_running_loop()

        def tell(state: RunProgress) -> None:
            if callable(progress):
                loop.call_soon_threadsafe(progress, state)

        def drive() -> RunReport:
            with ThreadPoolExecutor(max_parallel, thread_name_prefix="vespera-run") as pool:
                return self._orch.run(
                    calls.in_threads(handlers),
                    executor=pool,
                    max_parallel=max_parallel,
                    worktree=worktree,
                    on_recovery=calls.in_threads(on_recovery),
                    progress=tell if callable(progress) else progress,
                    lease_s=lease_s,
                    backoff_s=backoff_s,
                    idle_s=idle_s,
                    stop=calls.stop,
                )

        whole_number("max_parallel", max_parallel, least=1)
        return await calls.drive(drive)

    # --- a person decides ---------------------------------------------------

    answer = _verb(Orchestrator.answer)
    signal = _verb(Orchestrator.signal)
    cancel_task = _verb(Orchestrator.cancel_task)
    retry_task = _verb(Orchestrator.retry_task)
    reopen_task = _verb(Orchestrator.reopen_task)
    correct_task = _verb(Orchestrator.correct_task)
    abandon_task = _verb(Orchestrator.abandon_task)
    delete_task = _verb(Orchestrator.delete_task)

    # --- bringing together, maintenance -------------------------------------

    synthesize_results = _verb(Orchestrator.synthesize_results)
    check = _verb(Orchestrator.check)
    repair = _verb(Orchestrator.repair)
    backup = _verb(Orchestrator.backup)
    export = _verb(Orchestrator.export)
    import_ = _verb(Orchestrator.import_)
    prune = _verb(Orchestrator.prune)


_LEFT_OUT: Final = frozenset({"open"})
"""A verb that has no counterpart: reading a stream would block the loop."""


def _complete(kind: type[_Room], sync: type) -> None:
    """Add the verbs that have no line above yet. They work; type checkers do not know them."""
    for name, function in vars(sync).items():
        is_verb = inspect.isfunction(function) and not name.startswith("_")
        if is_verb and name not in _LEFT_OUT and not hasattr(kind, name):
            setattr(kind, name, _verb(function))


for _kind, _sync in (
    (AsyncOrchestrator, Orchestrator),
    (AsyncWork, Work),
    (AsyncArtifacts, Artifacts),
    (AsyncWorktrees, Worktrees),
    (AsyncDocuments, Documents),
):
    _complete(_kind, _sync)
