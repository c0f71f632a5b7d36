"""The rows of a SQLite store, within one transaction."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptStoreError
from vespera_orchestrator.stores.sql.dialect import sql_name
from vespera_orchestrator.stores.sql.ledger import COUNTED_TABLES, SQLLedger
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator.stores.sqlite.database import Database
    from vespera_orchestrator.stores.sqlite.transaction import Transaction

_MAX_PROBLEMS: Final = 100


_OBJECTS: Final = """
    SELECT name, type, coalesce(sql, '') FROM sqlite_schema
    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""
"""Each object of the schema but those that SQLite makes by itself: name, kind and declaration."""


@cache
def _own_objects() -> dict[str, tuple[str, str]]:
    """Return the kind and the declaration of each of our objects, by its name."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration)
        return {name: (kind, sql) for name, kind, sql in connection.execute(_OBJECTS)}


class SQLiteLedger(SQLLedger):
    """Keeps `contracts.Ledger` for a SQLite store."""

    def __init__(self, database: Database, tx: Transaction) -> None:
        super().__init__(tx)
        self._database = database

    @classmethod
    @contextmanager
    def open(cls, database: Database, *, write: bool) -> Iterator[Self]:
        """See `contracts.Store.ledger`."""
        if database.is_looking:  # rows that the clock has changed have no events yet
            database.leave_anticipation()
        with database.maintain() if write else database.read() as tx:
            if write:  # rows may come in any order; one that refers to nothing fails the commit
                tx.execute("PRAGMA defer_foreign_keys=ON")
            yield cls(database, tx)

    @cached_property
    def tables(self) -> Sequence[str]:
        """See `contracts.Ledger.tables`."""
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        existing = {name for (name,) in self._tx.execute(sql)}
        return [name for name in (*TABLES, *COUNTED_TABLES) if name in existing]

    @property
    def schema(self) -> int:
        """See `contracts.Ledger.schema`."""
        (version,) = self._tx.execute("PRAGMA user_version").fetchone()
        return int(version)

    def problems(self) -> Iterator[str]:
        """See `contracts.Ledger.problems`."""
        try:
            with self._database.translated():
                lines = self._tx.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})").fetchall()
                dangling = self._tx.execute("PRAGMA foreign_key_check").fetchall()
        except CorruptStoreError as exc:  # damaged where even SQLite's own check cannot go on
            yield f"SQLite says: {exc}"
            return
        yield from self._foreign_objects()
        for (line,) in lines:
            if line != "ok":
                yield f"SQLite says: {line}"
        for table, row, parent, _ in dangling[:_MAX_PROBLEMS]:
            number = "" if row is None else f" ({row})"
            yield f"a row of {table}{number} refers to a row of {parent} that does not exist"

    def _foreign_objects(self) -> Iterator[str]:
        """Yield what is in the schema and never came from us, and what is missing from it."""
        expected = _own_objects()
        present = {name: (kind, sql) for name, kind, sql in self._tx.execute(_OBJECTS)}
        for name, (kind, sql) in present.items():
            own_kind, own_sql = expected.get(name, ("", ""))
            if own_kind != kind:
                remedy = f"look at it, and remove it: DROP {kind.upper()} {sql_name(name)}"
                yield f"the {kind} {name!r} was not made by this library; {remedy}"
            elif sql.split() != own_sql.split():
                # Only words count: the lines of an old schema may be broken elsewhere.
                words = "does something else" if kind == "trigger" else "is declared otherwise"
                yield f"the {kind} {name!r} {words} than ours of that name"
        for name, (kind, _) in expected.items():
            if present.get(name, ("", ""))[0] != kind:
                yield f"the {kind} {name!r} is missing"

    def _select(self, sql: str, *values: int) -> list[dict[str, Any]]:
        # Translated here, and not at the end of the block: the caller may want to go on with the
        # next table.
        with self._database.translated():
            return super()._select(sql, *values)

    def rebuild_indexes(self) -> None:
        """See `contracts.Ledger.rebuild_indexes`."""
        self._tx.execute("REINDEX")
