"""The gate before SQLite's write lock: writers of all processes go in one after the other, in the order they came."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not there on Windows
    fcntl = None  # type: ignore[assignment]


class Gate:
    """A lock of our own on a file beside the database, held for the length of one transaction.

    SQLite knows no queue: whoever waits for its write lock tries again and again, and under load somebody is unlucky for seconds. The
    kernel wakes those who wait for ``flock`` in order. The gate gives fairness only: what must not happen at the same time is kept apart
    by SQLite's own lock, with the gate or without it. So every trouble with the file is passed over, and a program that knows nothing of
    it is waited for as before.

    It is ``flock`` and not ``fcntl``'s record lock, which a process loses as soon as it closes any handle of the file, and which does not
    tell two connections of one process apart. A killed holder lets go; a holder that is stopped in the middle of a write keeps the others
    waiting until it goes on or is ended.
    """

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}-gate")
        self._handle: int | None = None

    def enter(self) -> None:
        """Wait for our turn, interruptibly; or do not, where the file system has no such lock."""
        if fcntl is None:
            return
        with suppress(OSError):
            if self._handle is None:
                self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self._handle, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Let the next one in. Does nothing when we are not inside."""
        if self._handle is not None:
            with suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file. A child made by ``fork`` must do so: its handle is the parent's, and shares the parent's turn."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
