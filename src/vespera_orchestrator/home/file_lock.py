"""A lock that is a file: it keeps threads and processes apart, and falls when its holder dies."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from vespera_orchestrator.home.files import OpenHandle, create_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

try:
    import fcntl
except ImportError:  # not there on Windows
    fcntl = None  # type: ignore[assignment]

_POLL_S: Final = 0.05
_FLAGS: Final = (
    os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
)  # it follows no link that somebody has planted, and no program that we start has it
_HELD_BY_ANOTHER: Final = (BlockingIOError, PermissionError)
"""Some network file systems answer with the second one."""
_handles: WeakSet[OpenHandle] = WeakSet()


@contextmanager
def file_lock(
    path: Path, *, timeout_s: float | None = None, poll_s: float = _POLL_S
) -> Iterator[None]:
    """Keep all others away from what *path* stands for during the block.

    The file is made where it is missing, its folder is not. Everybody can take the lock who may
    write in that folder. The block may remove the file: whoever waits for it takes a new one. A
    child that is forked meanwhile does not hold the lock. A landing takes four locks, and
    filelock 4 needs fifteen to twenty times as long for each.

    Args:
        path: The file. It stays when it is unlocked, so that all lock the same one.
        timeout_s: How long to wait, in seconds; ``None`` waits for ever.
        poll_s: How often to try meanwhile, in seconds.

    Raises:
        TimeoutError: Somebody else held it all the time.
        OSError: The file system refused.
    """
    if fcntl is None:
        from filelock import FileLock

        with FileLock(path, timeout=-1 if timeout_s is None else timeout_s):
            yield
        return
    handle = _take(path, timeout_s, poll_s)
    _handles.add(handle)
    try:
        yield
    finally:
        if handle.number >= 0:
            fcntl.flock(handle.number, fcntl.LOCK_UN)


def _take(path: Path, timeout_s: float | None, poll_s: float) -> OpenHandle:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        handle = _open(path)
        try:
            fcntl.flock(handle.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except _HELD_BY_ANOTHER:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"somebody else holds {path}") from None
            time.sleep(poll_s)
            continue
        if os.fstat(handle.number).st_nlink:
            return handle  # otherwise its last holder has removed it


def _open(path: Path) -> OpenHandle:
    while True:
        try:
            return OpenHandle(path, _FLAGS)
        except FileNotFoundError:
            create_file(path)


def _leave_to_parent() -> None:
    """Close the handles that a forked child has from its parent, and so share its locks."""
    for handle in list(_handles):
        number, handle.number = handle.number, -1
        os.close(number)
    _handles.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
