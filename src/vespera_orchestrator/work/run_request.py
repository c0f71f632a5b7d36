"""What a caller of `Orchestrator.run` asks for, checked before a task is taken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home import machine
from vespera_orchestrator.tasks import arguments, lifecycle
from vespera_orchestrator.work.errand import Handler
from vespera_orchestrator.work.start import StartRequest

if TYPE_CHECKING:
    import threading

    from vespera_orchestrator._model import Task
    from vespera_orchestrator.contracts import Executor
    from vespera_orchestrator.work.assignment import WorktreeChoice
    from vespera_orchestrator.work.run_report import RunProgress

ANY: Final = "*"
"""The key of the function for whatever no other key names."""
_CHILDREN_ROLES: Final = frozenset({ANY, "standard"})
"""Keys that do not count for a parent: its own work is to bring its subtasks' results together."""

Recovery: TypeAlias = Handler | Literal["retry"] | None
"""What is done with recovery tasks; see `Orchestrator.run`."""


@attrs.frozen(kw_only=True)
class Handlers:
    """The caller's functions, and which task each is for."""

    by_word: Mapping[str, Handler]
    on_recovery: Recovery

    @classmethod
    def read(cls, handlers: object, on_recovery: object) -> Handlers:
        """Check what a caller passed.

        Raises:
            InvalidInputError: Names the argument.
        """
        words = {ANY: handlers} if callable(handlers) else handlers
        if not isinstance(words, Mapping) or not words:
            problem = (
                f"{show_value(handlers)} should be a function, or a mapping from words to functions"
            )
            raise InvalidInputError("handlers", one_line(problem, 300))
        for word, handler in words.items():
            if not isinstance(word, str) or not callable(handler):
                problem = (
                    f"{show_value(word)}: {show_value(handler)} should be a word and a function"
                )
                raise InvalidInputError("handlers", one_line(problem, 300))
            _refuse_coroutine("handlers", handler)
        if not (on_recovery is None or on_recovery == "retry" or callable(on_recovery)):
            problem = f"{show_value(on_recovery)} should be a function, 'retry' or None"
            raise InvalidInputError("on_recovery", one_line(problem, 300))
        _refuse_coroutine("on_recovery", on_recovery)
        return cls(by_word=dict(words), on_recovery=on_recovery)

    def for_task(self, task: Task) -> Handler | None:
        """Return the function for a task without subtasks: by alias, role, type, or for any."""
        if task.task_type == lifecycle.RECOVERY:
            return self._for_recovery(task)
        words = (task.alias, task.specialist_type, task.task_type, ANY)
        return self._first(words)

    def for_parent(self, task: Task) -> Handler | None:
        """Return the function for a task whose subtasks have all ended, if one is named for it."""
        words = (task.alias, task.specialist_type, task.task_type)
        return self._first(word for word in words if word not in _CHILDREN_ROLES)

    def _for_recovery(self, task: Task) -> Handler | None:
        named = self._first((task.alias, lifecycle.RECOVERY))
        if named is not None or not callable(self.on_recovery):
            return named
        return self.on_recovery

    def _first(self, words: Iterable[str | None]) -> Handler | None:
        named = (self.by_word.get(word) for word in words if word is not None)
        return next(filter(None, named), None)

    def __iter__(self) -> Iterator[tuple[str, Handler]]:
        yield from self.by_word.items()
        if callable(self.on_recovery):
            yield "on_recovery", self.on_recovery


@attrs.frozen(kw_only=True)
class RunRequest:
    """What a caller asks for; see `Orchestrator.run`."""

    handlers: Handlers
    executor: Executor | None
    max_parallel: int
    start: StartRequest
    """How each task is started; task and agent are filled in."""
    backoff_s: float
    idle_s: float | None
    progress: Callable[[RunProgress], object] | None
    stop: threading.Event | None

    @property
    def is_stopped(self) -> bool:
        """Whether the caller wants no further task to be taken."""
        return self.stop is not None and self.stop.is_set()

    @classmethod
    def read(
        cls,
        *,
        handlers: object,
        executor: Any,
        max_parallel: int | None,
        worktree: WorktreeChoice,
        lease_s: float,
        backoff_s: float,
        idle_s: float | None,
        progress: Callable[[RunProgress], object] | None,
        on_recovery: object,
        stop: threading.Event | None,
    ) -> RunRequest:
        """Check what a caller passed.

        Raises:
            InvalidInputError: Names the argument.
        """
        if executor is not None and not callable(getattr(executor, "submit", None)):
            problem = (
                f"{show_value(executor)} has no submit(); pass an executor of concurrent.futures"
            )
            raise InvalidInputError("executor", one_line(problem, 300))
        for name, value in (("backoff_s", backoff_s), ("idle_s", idle_s)):
            is_missing = value is None and name == "idle_s"
            if not is_missing and not (arguments.is_number(value) and float(value or 0) >= 0):
                raise InvalidInputError(name, f"{show_value(value)} should be a number of seconds")
        start = StartRequest.read(
            task=None, agent="run", worktree=worktree, lease_s=lease_s, take_over=False
        )
        start = attrs.evolve(start, process=machine.process_mark())
        most = arguments.whole_number("max_parallel", max_parallel, least=1)
        if executor is None and (most or 1) > 1:
            advice = "pass executor=ThreadPoolExecutor(…) to do several tasks at once"
            raise InvalidInputError("max_parallel", f"{most} tasks need an executor; {advice}")
        return cls(
            handlers=Handlers.read(handlers, on_recovery),
            executor=executor,
            max_parallel=most or _workers_of(executor),
            start=start,
            backoff_s=backoff_s,
            idle_s=idle_s,
            progress=progress,
            stop=stop,
        )


def _refuse_coroutine(argument: str, handler: object) -> None:
    """Refuse a function whose call would begin nothing, and look like a result."""
    if arguments.is_coroutine_function(handler):
        name = getattr(handler, "__qualname__", repr(handler))
        advice = "use AsyncOrchestrator.run of vespera_orchestrator.integrations.aio"
        problem = f"{name} is a coroutine function; {advice}"
        raise InvalidInputError(argument, one_line(problem, 300))


def _workers_of(executor: object) -> int:
    """Return how many calls an executor does at once.

    More than that would hold leases while they wait in line, and no other process could do them.
    The executors of the standard library only say it under a private name.
    """
    if executor is None:
        return 1
    return int(getattr(executor, "_max_workers", 0) or os.cpu_count() or 1)
