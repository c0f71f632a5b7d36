"""The machine we run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_STATISTICS: Final = Path("/proc/stat")
_SPACES: Final = Path("/proc/self/ns")
_DEAD: Final = frozenset("ZX")
"""States of a process that has ended, also while its parent has not asked how; see proc(5)."""
_BEGAN: Final = 19
"""Where, in the fields after its name, it says when it began."""


_MAY_COME_BACK: Final = "?"
"""Stands before the mark of a process whose user may go on in another one."""
_IS_PASSING: Final = ContextVar("is_passing", default=False)
"""Whether this process ends with the call that it makes, and says nothing about its user."""


def boot_id() -> str:
    """Return the id of this boot of the system; empty if the system gives none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def started_at() -> float:
    """Return when the system was started, in seconds since 1970; 0 if the system does not say."""
    try:
        lines = _STATISTICS.read_text("ascii").splitlines()
    except OSError:
        return 0.0
    times = [line.split()[1] for line in lines if line.startswith("btime ")]
    return float(times[0]) if times else 0.0


# --- processes --------------------------------------------------------------


def process_mark() -> str:
    """Return what tells this process from every other one, now and later.

    Empty where the system does not say when a process began: a number alone may be that of another
    process later.
    """
    return _mark_of(os.getpid())


def returning_mark() -> str:
    """Return the mark of this process for work that its user may go on with in another one.

    That it has ended ends nothing: `have_ended` is false for it. Whoever waits for that user is
    told, see `has_left`. Empty within `passing`.
    """
    mark = "" if _IS_PASSING.get() else process_mark()
    return f"{_MAY_COME_BACK} {mark}" if mark else ""


@contextmanager
def passing() -> Iterator[None]:
    """Make a call in a process that ends with it, such as a command: nobody is gone with that."""
    token = _IS_PASSING.set(True)
    try:
        yield
    finally:
        _IS_PASSING.reset(token)


def has_left(marks: str) -> bool:
    """Tell whether the processes have ended for certain in which somebody had taken work."""
    return have_ended(marks.removeprefix(_MAY_COME_BACK))


@cache
def _mark_of(process: int) -> str:
    fields = _fields_of(process)
    view = _view(process)
    return f"{view}/{process}/{fields[_BEGAN]}" if view and fields else ""


def have_ended(marks: str) -> bool:
    """Tell whether all these processes have ended for certain.

    Nobody can tell from here for those of another machine or container, and for those from before
    this machine was started again: ``False``.

    Args:
        marks: What `process_mark` returned in each of them, with spaces between them. What
            `returning_mark` returned has never ended.
    """
    view = _view(os.getpid())
    each = marks.split()
    return bool(view and each) and all(_has_ended(mark, view) for mark in each)


def _has_ended(mark: str, view: str) -> bool:
    if mark == process_mark():
        return False
    if not mark.startswith(f"{view}/"):
        return False
    _, process, began = mark.rsplit("/", 2)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, which /proc may hide
        return False
    fields = _fields_of(int(process))
    return bool(fields) and (fields[0] in _DEAD or fields[_BEGAN] != began)


@cache
def _view(_process: int) -> str:
    """Return from where processes are seen: this start of the machine, and this container."""
    try:
        spaces = [str(_SPACES.joinpath(kind).readlink()) for kind in ("pid", "time")]
    except OSError:
        return ""
    boot = boot_id()
    return "/".join([boot, *spaces]) if boot else ""


def _fields_of(process: int) -> list[str]:
    """Return the fields of a process after its name, which may contain anything; see proc(5)."""
    try:
        line = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
    except OSError:
        return []
    return line.rpartition(")")[2].split()
