"""The default store: one SQLite file in the home."""

from __future__ import annotations

import platform
import secrets
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.stores.sql.ledger import SQLiteLedger
from vespera_orchestrator.stores.sql.lifecycle import Operations
from vespera_orchestrator.stores.sqlite.database import Database, Durability

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime


class SQLiteStore(Operations):
    """Keeps `contracts.Store` in one SQLite database (WAL, ``synchronous=FULL``). Made by `open`."""

    _database: Database

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        clock: Callable[[], datetime] = utcnow,
        durability: Durability = "full",
    ) -> Self:
        """Open the database at *path*, making it when it is missing. Several processes may do so at once.

        Args:
            path: The file; ``None`` keeps everything in this process's memory.
            clock: Tells the time, aware, for leases and events.
            durability: ``full``: what was acknowledged survives a power cut; ``normal``: about ten times faster on a disk that really
                flushes, and a power cut may take the last transactions.

        Raises:
            SchemaVersionError: It was made by a newer version, or by another program.
            CorruptStoreError: It is damaged.
            ReadOnlyError: It, or its folder, cannot be written.
            StoreUnavailableError: It is locked, or the disk is full.
            UnsupportedFileSystemError: It would lie on a network file system.
        """
        file = None if path is None else Path(path).expanduser().absolute()
        return cls(Database(file, lambda: dump_time(clock()), durability=durability))

    @property
    def url(self) -> str:
        """The address under which another process opens the same store."""
        if self._database.path is None:
            return "memory:"
        return f"sqlite:///{self._database.path}{'' if self._database.durability == 'full' else '?durability=normal'}"

    @cached_property
    def identity(self) -> str:
        """See `contracts.Store.identity`: the file, the machine, and when the database was made."""
        if self.path is None:
            return f"in the memory of a process on {platform.node()}, {secrets.token_hex(8)}"
        with self._looking() as db:
            made_at = db.execute("SELECT applied_at FROM migrations WHERE version = 1").fetchone()[
                0
            ]
        return f"{self.path} on {platform.node()}, made at {made_at}"

    @property
    def path(self) -> Path | None:
        """The database file; ``None`` when it is in memory."""
        return self._database.path

    def close(self) -> None:
        """Let go of the connection. Idempotent."""
        self._database.close()

    def wait(self, after: int, timeout_s: float) -> None:
        """See `contracts.Store.wait`."""
        self._database.wait(after, timeout_s)

    def ledger(self, *, write: bool = False) -> AbstractContextManager[SQLiteLedger]:
        """See `contracts.Store.ledger`."""
        return SQLiteLedger.of(self._database, write=write)

    def copy_to(self, file: Path) -> None:
        """Write the whole store as of one moment into the new database *file*, while others read and write."""
        self._database.copy_to(file)
