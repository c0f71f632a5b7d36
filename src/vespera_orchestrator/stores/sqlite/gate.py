"""The gate before SQLite's write lock: all processes' writers go in, in the order they came."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vespera_orchestrator.home.files import OpenHandle, create_file

try:
    import fcntl
except ImportError:  # not there on Windows
    fcntl = None  # type: ignore[assignment]


class Gate:
    """A lock of our own on a file beside the database, held for the length of one transaction.

    SQLite has no queue. Whoever waits for its write lock tries again and again, and under load
    somebody is unlucky for seconds. The kernel wakes those who wait for ``flock`` in order.

    The gate is only for fairness: SQLite's own lock keeps writers apart, with the gate or without
    it. So any trouble with the file is ignored, and a program that does not know the gate is
    waited for as before.

    It is ``flock`` and not ``fcntl``'s record lock. A process loses a record lock as soon as it
    closes any handle of the file, and two connections of one process share it. When a holder is
    killed, the lock is free. A holder that is stopped in the middle of a write keeps the others
    waiting until it goes on or ends.
    """

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}-gate")
        self._file: OpenHandle | None = None

    def enter(self) -> None:
        """Wait for our turn; return at once where the file system has no such lock."""
        if fcntl is None:
            return
        with suppress(OSError):
            if self._file is None:
                create_file(self._path)
                self._file = OpenHandle(self._path, os.O_RDWR)
            fcntl.flock(self._file.number, fcntl.LOCK_EX)

    def leave(self) -> None:
        """Let the next one in. Does nothing when we are not inside."""
        if self._file is not None:
            with suppress(OSError):
                fcntl.flock(self._file.number, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file. A forked child must do so: its handle shares the parent's turn."""
        self._file = None
