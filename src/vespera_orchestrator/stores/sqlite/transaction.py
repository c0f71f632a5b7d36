"""One transaction on a SQLite connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vespera_orchestrator.stores.sql.dialect import SQLITE
from vespera_orchestrator.stores.sql.rows import insertion

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from types import FrameType

    from vespera_orchestrator._model import Task


class Transaction:
    """See `stores.sql.transaction.Transaction`. Whoever writes has locked the whole database."""

    dialect = SQLITE
    mark = SQLITE.mark

    def __init__(
        self, connection: sqlite3.Connection, clock: Callable[[], int], *, writing: bool
    ) -> None:
        self.connection = connection
        self.writing = writing
        self.locked_session: str | None = None
        self.opener: FrameType | None = None
        """Who works on it; ``None`` once it has ended."""
        self.execute = connection.execute
        self.executemany = connection.executemany
        self._clock = clock
        self._now: int | None = None

    @property
    def now(self) -> int:
        """See `stores.sql.transaction.Transaction.now`."""
        if self._now is None:
            self._now = self._clock()
        return self._now

    def insert(self, table: str, columns: str, rows: list[Any]) -> None:
        """See `stores.sql.transaction.Transaction.insert`."""
        sql = insertion(table, columns, self.dialect.slots(len(rows[0])))
        if len(rows) == 1:  # executemany costs more
            self.execute(sql, rows[0])
        else:
            self.executemany(sql, rows)

    def insert_events(self, columns: str, rows: list[Any]) -> None:
        """See `stores.sql.transaction.Transaction.insert_events`."""
        self.insert("events", columns, rows)

    def tally_planned(self, tasks: Iterable[Task]) -> None:
        """Do nothing: triggers count the tasks."""
