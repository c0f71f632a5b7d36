"""One transaction, or a single statement, on a PostgreSQL connection."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.errors import StoreUnavailableError
from vespera_orchestrator.stores.postgres.driver import psycopg
from vespera_orchestrator.stores.sql.dialect import POSTGRES
from vespera_orchestrator.stores.sql.rows import insertion
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import FrameType

    from vespera_orchestrator._model import Task

SERVER_TIME: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""The server's time, in microseconds since 1970."""
COPY_FROM_ROWS: Final = 32
"""From this many rows on they are copied, not inserted."""


class Transaction:
    """See `stores.sql.transaction.Transaction`.

    Events, and how many tasks were planned, are only collected here: they are written with the
    commit, see `stores.postgres.server.Server`.
    """

    dialect = POSTGRES
    mark = POSTGRES.mark

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        clock: Callable[[], int] | None,
        *,
        writing: bool,
    ) -> None:
        self.connection = connection
        self.writing = writing
        self.xid: str | None = None
        """Its number on the server."""
        self.locked_session: str | None = None
        self.opener: FrameType | None = None
        """Who works on it; ``None`` once it has ended."""
        self.events: list[Any] = []
        """The rows of ``events`` that are written with the commit."""
        self.event_columns = ""
        self.planned: dict[tuple[str, int], int] = {}
        """How many tasks were added, by session and whether they are recoveries."""
        self._clock = clock
        self._now: int | None = None
        self._pid = os.getpid()

    @property
    def now(self) -> int:
        """See `stores.sql.transaction.Transaction.now`: the server's time, or that of a clock."""
        if self._now is None:
            self.set_server_time(None)
        return self._now  # type: ignore[return-value]

    def set_server_time(self, now: int | None) -> None:
        """Keep the time that the server sent along with something else; ``None``: ask for it."""
        if self._clock is not None:
            self._now = self._clock()
        elif now is not None:
            self._now = now
        else:
            (self._now,) = self.execute(f"SELECT {SERVER_TIME}").fetchone()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement, with ``$1`` for the first value."""
        if self._pid != os.getpid():
            raise StoreUnavailableError(
                "postgresql",
                "this process was forked in the middle of a transaction, which stays the parent's",
            )
        return psycopg.RawCursor(self.connection).execute(sql, values)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row, in one round trip."""
        rows = list(rows)
        if len(rows) == 1:
            self.execute(sql, rows[0])
        elif rows:
            psycopg.RawCursor(self.connection).executemany(sql, rows)

    def execute_script(self, sql: str, values: Sequence[Any] = ()) -> list[list[Any]]:
        """Send several statements at once, with ``%s`` for values, and return the rows of each."""
        cursor = psycopg.ClientCursor(self.connection)
        cursor.execute(sql.encode(), values or None)
        answers = []
        while True:
            answers.append(cursor.fetchall() if cursor.description is not None else [])
            if not cursor.nextset():
                return answers

    def insert(self, table: str, columns: str, rows: list[Any]) -> None:
        """See `stores.sql.transaction.Transaction.insert`."""
        if len(rows) >= COPY_FROM_ROWS:
            self.copy(table, columns, rows)
            return
        self.executemany(insertion(table, columns, self.dialect.slots(len(rows[0]))), rows)

    def copy(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write many rows."""
        sql = f"COPY {table} ({columns}) FROM STDIN".encode()
        with self.connection.cursor().copy(sql) as target:
            for row in rows:
                target.write_row(row)

    def insert_events(self, columns: str, rows: list[Any]) -> None:
        """See `stores.sql.transaction.Transaction.insert_events`: written with the commit."""
        self.event_columns = columns
        self.events.extend(rows)

    def tally_planned(self, tasks: Iterable[Task]) -> None:
        """See `stores.sql.transaction.Transaction.tally_planned`: written with the commit."""
        for task in tasks:
            kind = task.session_id, int(task.task_type == lifecycle.RECOVERY)
            self.planned[kind] = self.planned.get(kind, 0) + 1
