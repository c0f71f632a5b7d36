"""The default store: one SQLite file in the home."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.stores._database import Database
from vespera_orchestrator.stores._operations import Operations

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from datetime import datetime


class SQLiteStore(Operations):
    """Keeps `contracts.Store` in one SQLite database (WAL, ``synchronous=FULL``). Made by `open`."""

    _database: Database

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None, *, clock: Callable[[], datetime] = utcnow) -> Self:
        """Open the database at *path*, making it when it is missing. Several processes may do so at once.

        Args:
            path: The file; ``None`` keeps everything in this process's memory.
            clock: Tells the time, aware, for leases and events.

        Raises:
            SchemaVersionError: It was made by a newer version, or by another program.
            CorruptStoreError: It is damaged.
            ReadOnlyError: It, or its folder, cannot be written.
            StoreUnavailableError: It is locked, or the disk is full.
        """
        file = None if path is None else Path(path).expanduser().absolute()
        return cls(Database(file, lambda: dump_time(clock()) or 0))

    @property
    def url(self) -> str:
        """The address under which another process opens the same store."""
        return "memory:" if self._database.path is None else f"sqlite:///{self._database.path}"

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        self._database.close()

    def wait(self, after: int, timeout_s: float) -> None:
        """See `contracts.Store.wait`."""
        deadline = time.monotonic() + timeout_s
        while self.last_seq() <= after and time.monotonic() < deadline:
            time.sleep(0.02)
