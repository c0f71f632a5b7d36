"""The default store: one SQLite file in the home."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import Attempt, Claim, utcnow
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.stores.sql import claims, events, expiring, reading, urgency
from vespera_orchestrator.stores.sql.observers import Observer
from vespera_orchestrator.stores.sql.store import SQLStore
from vespera_orchestrator.stores.sqlite.database import Database, Durability
from vespera_orchestrator.stores.sqlite.ledger import SQLiteLedger
from vespera_orchestrator.stores.sqlite.looking import retry_reads

if TYPE_CHECKING:
    from vespera_orchestrator.stores.sqlite.transaction import Transaction


class SQLiteStore(SQLStore):
    """Keeps `contracts.Store` in one SQLite database. Made by `open`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        if database.is_looking:
            retry_reads(self, database.name)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        clock: Callable[[], datetime] = utcnow,
        durability: Durability = "full",
        readonly: bool = False,
    ) -> Self:
        """Open the database at *path*; make it if it is missing.

        Several processes may do so at once.

        Args:
            path: The file; ``None`` keeps everything in this process's memory.
            clock: Returns the time, aware, for leases and events.
            durability: ``full``: what was acknowledged survives a power cut. ``normal``: about ten
                times faster on a disk that really flushes, and a power cut may take the last
                transactions.
            readonly: Only read it, and write nothing whatsoever, neither in the file nor beside
                it. Others may write meanwhile. A database of an earlier version is read through a
                private copy.

        Raises:
            SchemaVersionError: It was made by a newer version, or by another program.
            CorruptStoreError: It is damaged.
            ReadOnlyError: It, or its folder, cannot be written.
            StoreUnavailableError: It is locked, or the disk is full.
            UnsupportedFileSystemError: It would lie on a network file system.
        """
        try:
            file = None if path is None else Path(path).expanduser().absolute()
        except RuntimeError as exc:  # of ~user, where there is no such user
            raise InvalidInputError("store", f"{show_value(path)} cannot be used: {exc}") from exc
        if file is not None and not file.name:
            raise InvalidInputError("store", f"{show_value(path)} is a folder; name a file in it")
        database = Database(
            file, lambda: dump_time(clock()), durability=durability, readonly=readonly
        )
        return cls(database)

    @property
    def url(self) -> str:
        """The address under which another process opens the same store."""
        if self.path is None:
            return "memory:"
        durability = self._database.durability
        option = "" if durability == "full" else f"?durability={durability}"
        return f"sqlite:///{self.path}{option}"

    @cached_property
    def identity(self) -> str:
        """See `contracts.Store.identity`: the file, the machine, and when the database was made."""
        if self.path is None:
            return f"in the memory of a process on {platform.node()}, {secrets.token_hex(8)}"
        sql = "SELECT applied_at FROM migrations WHERE version = 1"
        with self._read_once() as tx:
            (made_at,) = tx.execute(sql).fetchone()
        return f"{self.path} on {platform.node()}, made at {made_at}"

    @property
    def path(self) -> Path | None:
        """The database file; ``None`` when it is in memory."""
        return self._database.path

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._database.close()

    def _write(self) -> AbstractContextManager[Transaction]:
        return self._database.write()

    def _read(self) -> AbstractContextManager[Transaction]:
        return self._database.read()

    def _is_reading(self) -> bool:
        return self._database.is_in_transaction

    def _weigh(self, session_id: str) -> None:
        if self._is_reading() or not self._database.is_looking:
            super()._weigh(session_id)
            return
        with self._read() as tx:
            is_due = urgency.has_unweighed(tx, session_id)
        if is_due:
            self._database.anticipate(lambda tx: urgency.weigh(tx, session_id))

    def claim(
        self,
        session_id: str,
        agent: str,
        *,
        task_id: str | None = None,
        lease_s: float,
        take_over: bool = False,
        process: str = "",
        parents: bool | None = None,
    ) -> Claim | None:
        """See `contracts.Store.claim`."""
        with self._write() as tx:
            expiring.expire(tx, task_id if take_over else None, taken_by=agent)
            if task_id is not None:
                task = reading.task(tx, task_id)
                return claims.claim(
                    tx, task, agent, lease_s, process=process, for_anybody=take_over
                )
            urgency.weigh(tx, session_id)
            best = reading.best_for(tx, session_id, agent, parents=parents)
            return claims.claim(tx, best[0], agent, lease_s, process=process) if best else None

    def expire(self, *, is_gone: Callable[[str], bool] | None = None) -> list[Attempt]:
        """See `contracts.Store.expire`."""
        dead = self._dead_if_due(is_gone)
        if dead is None:
            return []
        if self._database.is_looking:
            self._database.anticipate(lambda tx: expiring.expire(tx, dead=dead))
            return []
        with self._write() as tx:
            return expiring.expire(tx, dead=dead)

    def anticipate(self, *, is_gone: Callable[[str], bool] | None = None) -> None:
        """Do what the next `expire` would do, and leave out the events.

        Only for a private copy.
        """
        dead = self._dead_if_due(is_gone)
        if dead is None:
            return
        with self._write() as tx, events.without_events(tx):
            expiring.expire(tx, dead=dead)

    def _dead_if_due(self, is_gone: Callable[[str], bool] | None) -> frozenset[str] | None:
        """Return the processes that have ended; ``None`` where there is nothing to `expire`."""
        with self._read() as tx:
            overdue = expiring.overdue(tx)
        dead = expiring.dead_among(overdue.processes, is_gone)
        return dead if overdue.is_due or dead else None

    def observe(self, callback: Observer) -> Callable[[], None]:
        """See `contracts.Store.observe`."""
        return self._database.observers.add(callback)

    def wait(self, after: int, timeout_s: float) -> None:
        """See `contracts.Store.wait`."""
        self._database.wait(after, timeout_s)

    def ledger(self, *, write: bool = False) -> AbstractContextManager[SQLiteLedger]:
        """See `contracts.Store.ledger`."""
        return SQLiteLedger.open(self._database, write=write)

    def shrink(self, *, rewrite: bool = False, erase: bool = False) -> int:
        """See `contracts.Store.shrink`."""
        return self._database.shrink(rewrite=rewrite, erase=erase)

    def copy_to(self, file: Path) -> None:
        """Write the whole store as of one moment into the new database *file*.

        Others may read and write meanwhile.
        """
        self._database.copy_to(file)
