"""The rows of a SQL store as they are kept: `contracts.Ledger`."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from vespera_orchestrator.contracts import TABLES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.stores.sql.lifecycle import Connection
    from vespera_orchestrator.stores.sqlite.database import Database

_COUNTED: Final = ("tallies",)
"""Tables that the store keeps by itself."""
_NUMBERED: Final = {
    "sessions": "seq",
    "tasks": "seq",
    "checkpoints": "id",
    "artifacts": "seq",
    "events": "seq",
}
"""The column that tells in which order the rows of a table were made."""
_AT_ONCE: Final = 5000
_MOST_PROBLEMS: Final = 100


class Rows:
    """Keeps the part of `contracts.Ledger` that all databases say alike."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def count(self, table: str) -> int:
        """See `contracts.Ledger.count`."""
        return int(self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def rows(self, table: str) -> Iterator[dict[str, JsonValue]]:
        """See `contracts.Ledger.rows`."""
        number = _NUMBERED.get(table)
        if number is None:
            order = f" ORDER BY {', '.join(TABLES[table].key)}" if table in TABLES else ""
            yield from self._read(f"SELECT * FROM {table}{order}")
            return
        last = -(2**62)
        while part := self._read(
            f"SELECT * FROM {table} WHERE {number} > ? ORDER BY {number} LIMIT {_AT_ONCE}", last
        ):
            yield from part
            last = part[-1][number]

    def _read(self, sql: str, *values: int) -> list[dict[str, Any]]:
        cursor = self._db.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def put(self, table: str, rows: Iterable[Mapping[str, JsonValue]]) -> None:
        """See `contracts.Ledger.put`."""
        for row in rows:
            slots = ", ".join("?" for _ in row)
            self._db.execute(
                f"INSERT INTO {table} ({', '.join(row)}) VALUES ({slots})", tuple(row.values())
            )

    def change(
        self, table: str, key: Mapping[str, JsonValue], values: Mapping[str, JsonValue]
    ) -> None:
        """See `contracts.Ledger.change`."""
        columns = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(
            f"UPDATE {table} SET {columns} WHERE {_same(key)}", (*values.values(), *key.values())
        )

    def remove(self, table: str, keys: Iterable[Mapping[str, JsonValue]]) -> None:
        """See `contracts.Ledger.remove`."""
        for key in keys:
            self._db.execute(f"DELETE FROM {table} WHERE {_same(key)}", tuple(key.values()))


def _same(key: Mapping[str, JsonValue]) -> str:
    return " AND ".join(f"{name} = ?" for name in key)


class SQLiteLedger(Rows):
    """The rows of a SQLite store, within one transaction."""

    def __init__(self, database: Database, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._database = database

    @classmethod
    @contextmanager
    def of(cls, database: Database, *, write: bool) -> Iterator[Self]:
        """See `contracts.Store.ledger`."""
        with database.write() if write else database.read() as db, database.reserved():
            if write:  # whatever order the rows come in; what is left dangling fails the commit
                db.execute("PRAGMA defer_foreign_keys=ON")
            yield cls(database, db)

    @cached_property
    def tables(self) -> Sequence[str]:
        """See `contracts.Ledger.tables`."""
        there = {
            row[0]
            for row in self._db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
        return [name for name in (*TABLES, *_COUNTED) if name in there]

    @property
    def schema(self) -> int:
        """See `contracts.Ledger.schema`."""
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def problems(self) -> Iterator[str]:
        """See `contracts.Ledger.problems`."""
        with self._database.translated():
            said = [row[0] for row in self._db.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})")]
            dangling = self._db.execute("PRAGMA foreign_key_check").fetchall()[:_MOST_PROBLEMS]
        yield from (f"SQLite says: {line}" for line in said if line != "ok")
        for table, row, parent, _ in dangling:
            yield f"a row of {table}{'' if row is None else f' ({row})'} refers to a row of {parent} that is not there"

    def _read(self, sql: str, *values: int) -> list[dict[str, Any]]:
        with self._database.translated():  # here and not at the end of the block: whoever reads may want to go on with the next table
            return super()._read(sql, *values)

    def rebuild_indexes(self) -> None:
        """See `contracts.Ledger.rebuild_indexes`."""
        self._db.execute("REINDEX")


class PostgresLedger(Rows):
    """The rows of a PostgreSQL store, within one transaction.

    Whoever writes waits until no other transaction writes, and keeps new ones out until it has ended.
    """

    @classmethod
    @contextmanager
    def of(cls, server: Any, *, write: bool) -> Iterator[Self]:
        """See `contracts.Store.ledger`."""
        with server.write(alone=True) if write else server.read() as db:
            if write:
                db.execute("SET CONSTRAINTS ALL DEFERRED")
            yield cls(db)

    @property
    def tables(self) -> Sequence[str]:
        """See `contracts.Ledger.tables`."""
        return [*TABLES, *_COUNTED]

    @property
    def schema(self) -> int:
        """See `contracts.Ledger.schema`."""
        return int(self._db.execute("SELECT max(version) FROM vespera_migrations").fetchone()[0])

    def problems(self) -> Iterator[str]:
        """See `contracts.Ledger.problems`. The server looks after its files by itself."""
        yield from ()

    def put(self, table: str, rows: Iterable[Mapping[str, JsonValue]]) -> None:
        """See `contracts.Ledger.put`."""
        kept = list(rows)
        super().put(table, kept)
        if (
            table == "tasks"
        ):  # taken away and changed they are counted by triggers; planned they are counted by whoever plans
            self._tally(kept)
        if (number := _NUMBERED.get(table)) is not None and any(number in row for row in kept):
            self._db.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{number}'), (SELECT max({number}) FROM {table}))"
            )

    def _tally(self, tasks: Iterable[Mapping[str, JsonValue]]) -> None:
        for task in tasks:
            self._db.execute(
                """
                INSERT INTO tallies AS t VALUES (?, ?, ?, ?, 1)
                ON CONFLICT (session_id, archived, recovery, status) DO UPDATE SET tasks = t.tasks + 1
                """,
                (
                    task["session_id"],
                    task["archived"],
                    int(task["task_type"] == "recovery"),
                    task["status"],
                ),
            )

    def rebuild_indexes(self) -> None:
        """See `contracts.Ledger.rebuild_indexes`."""
