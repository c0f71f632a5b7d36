"""The rows of a SQLite store, within one transaction."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, Self

from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptStoreError
from vespera_orchestrator.stores.sql.ledger import COUNTED_TABLES, SQLLedger
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator.stores.sqlite.database import Database
    from vespera_orchestrator.stores.sqlite.transaction import Transaction

_MAX_PROBLEMS: Final = 100


_OBJECTS: Final = "SELECT name, type FROM sqlite_schema"
"""The kind of each object of the schema by its name."""
_TRIGGERS: Final = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"


@cache
def _own_objects() -> tuple[dict[str, str], dict[str, str]]:
    """Return the kinds of our objects, and what our triggers do."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in MIGRATIONS:
            connection.executescript(migration)
        return dict(connection.execute(_OBJECTS)), dict(connection.execute(_TRIGGERS))


class SQLiteLedger(SQLLedger):
    """Keeps `contracts.Ledger` for a SQLite store."""

    def __init__(self, database: Database, tx: Transaction) -> None:
        super().__init__(tx)
        self._database = database

    @classmethod
    @contextmanager
    def open(cls, database: Database, *, write: bool) -> Iterator[Self]:
        """See `contracts.Store.ledger`."""
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
        present = dict(self._tx.execute(_OBJECTS))
        expected, own_triggers = _own_objects()
        for name, kind in present.items():
            if kind in ("trigger", "view") and expected.get(name) != kind:
                remedy = f"look at it, and remove it: DROP {kind.upper()} {name}"
                yield f"the {kind} {name!r} was not made by this library; {remedy}"
        for name, kind in expected.items():
            if present.get(name) != kind:
                yield f"the {kind} {name!r} is missing"
        for name, sql in self._tx.execute(_TRIGGERS):
            own = own_triggers.get(name)
            # The lines of an old schema may be broken elsewhere.
            if own is not None and sql.split() != own.split():
                yield f"the trigger {name!r} does something else than ours of that name"

    def _select(self, sql: str, *values: int) -> list[dict[str, Any]]:
        # Translated here, and not at the end of the block: the caller may want to go on with the
        # next table.
        with self._database.translated():
            return super()._select(sql, *values)

    def rebuild_indexes(self) -> None:
        """See `contracts.Ledger.rebuild_indexes`."""
        self._tx.execute("REINDEX")
