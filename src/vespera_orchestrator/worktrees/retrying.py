"""Trying again when another process was faster."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_P = ParamSpec("_P")
_T = TypeVar("_T")


def retrying(errors: type[Exception] | tuple[type[Exception], ...], *, times: int) -> Retries:
    """Repeat work that must be safe to repeat, as long as it raises one of *errors*.

    There is no pause between two tries: whoever was faster has finished by then. Other errors
    pass at once, and the last try raises whatever it raises.

    A whole function is repeated by decorating it::

        @retrying(RefMovedError, times=50)
        def save() -> Snapshot: ...

    A block, where something has to happen between two tries, is repeated by a loop, which ends
    after the first try that succeeds::

        for attempt in retrying(RefMovedError, times=50):
            with attempt:
                return save()
            forget()  # only after a try that failed

    Args:
        errors: What to try again after.
        times: How many tries there are at most, the first one included.
    """
    return Retries(errors, times)


class Retries:
    """What `retrying` returns: a decorator, and an iterable of `Attempt`."""

    def __init__(self, errors: type[Exception] | tuple[type[Exception], ...], times: int) -> None:
        if times < 1:
            raise ValueError(f"there must be at least one try, not {times}")
        self._errors = errors
        self._times = times

    def __iter__(self) -> Iterator[Attempt]:
        for number in range(1, self._times + 1):
            attempt = Attempt(self._errors, is_last=number == self._times)
            yield attempt
            if attempt.succeeded:
                return

    def __call__(self, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return *function* with its retries."""

        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            for attempt in self:
                with attempt:
                    return function(*args, **kwargs)
            raise AssertionError  # pragma: no cover - the last try returns or raises

        return call


class Attempt:
    """One try: a block whose expected errors are swallowed, unless it is the last one."""

    def __init__(
        self, errors: type[Exception] | tuple[type[Exception], ...], *, is_last: bool
    ) -> None:
        self.is_last = is_last
        """Whether no other try follows when this one fails."""
        self.succeeded = False
        """Whether the block came to its end without an error."""
        self._errors = errors

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.succeeded = error is None
        return isinstance(error, self._errors) and not self.is_last
