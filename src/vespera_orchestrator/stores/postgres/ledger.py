"""The rows of a PostgreSQL store, within one transaction."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.stores.postgres.schema import MIGRATIONS
from vespera_orchestrator.stores.sql.ledger import COUNTED_TABLES, NUMBER_COLUMNS, SQLLedger
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.stores.postgres.server import Server


_OBJECTS: Final = """
    SELECT 'trigger', t.tgname, t.tgrelid::regclass::text, p.prosrc, t.tgenabled <> 'D'
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'rule', r.rulename, r.ev_class::regclass::text, '', true
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, relname, '', '', true
    FROM pg_class
    WHERE relkind IN ('v', 'm') AND relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT 'policy', pol.polname, pol.polrelid::regclass::text, '', true
    FROM pg_policy pol JOIN pg_class c ON c.oid = pol.polrelid
    WHERE c.relnamespace = current_schema()::regnamespace
    ORDER BY 1, 2
"""
"""What decides about rows in the schema: its kind, name, table, text, and whether it is on."""
_OWN_TEXT: Final = " ".join(" ".join(MIGRATIONS).split())
_OWN_TRIGGERS: Final = frozenset(
    name for step in MIGRATIONS for name in re.findall(r"CREATE CONSTRAINT TRIGGER (\w+)", step)
)


class PostgresLedger(SQLLedger):
    """Keeps `contracts.Ledger` for a PostgreSQL store.

    Whoever writes waits until no other transaction writes, and keeps new ones out until it has
    ended.
    """

    @classmethod
    @contextmanager
    def open(cls, server: Server, *, write: bool) -> Iterator[Self]:
        """See `contracts.Store.ledger`."""
        with server.write(alone=True) if write else server.read() as tx:
            if write:
                tx.execute("SET CONSTRAINTS ALL DEFERRED")
            yield cls(tx)

    @property
    def tables(self) -> Sequence[str]:
        """See `contracts.Ledger.tables`."""
        return [*TABLES, *COUNTED_TABLES]

    @property
    def schema(self) -> int:
        """See `contracts.Ledger.schema`."""
        sql = "SELECT max(version) FROM vespera_migrations"
        (version,) = self._tx.execute(sql).fetchone()
        return int(version)

    def problems(self) -> Iterator[str]:
        """See `contracts.Ledger.problems`. The server looks after its files by itself."""
        missing = set(_OWN_TRIGGERS)
        for kind, name, table, text, is_on in self._tx.execute(_OBJECTS).fetchall():
            if kind != "trigger" or name not in _OWN_TRIGGERS:
                place = f" ON {table}" if table else ""
                remedy = f"look at it, and remove it: DROP {kind.upper()} {name}{place}"
                yield f"the {kind} {name!r} was not made by this library; {remedy}"
                continue
            missing.discard(name)
            if " ".join(text.split()) not in _OWN_TEXT:
                yield f"the trigger {name!r} does something else than ours of that name"
            elif not is_on:
                remedy = f"ALTER TABLE {table} ENABLE TRIGGER {name}"
                yield f"the trigger {name!r} is turned off: {remedy}"
        for name in sorted(missing):
            yield f"the trigger {name!r} is missing"

    def put(self, table: str, rows: Iterable[Mapping[str, JsonValue]]) -> None:
        """See `contracts.Ledger.put`."""
        inserted = list(rows)
        super().put(table, inserted)
        if table == "tasks":
            # Triggers count changed and removed tasks, but not new ones.
            self._tally(inserted)
        number = NUMBER_COLUMNS.get(table)
        if number is not None and any(number in row for row in inserted):
            sequence = f"pg_get_serial_sequence('{table}', '{number}')"
            self._tx.execute(f"SELECT setval({sequence}, (SELECT max({number}) FROM {table}))")

    def _tally(self, tasks: Iterable[Mapping[str, JsonValue]]) -> None:
        sql = """
            INSERT INTO tallies AS t VALUES ($1, $2, $3, $4, 1)
            ON CONFLICT (session_id, archived, recovery, status) DO UPDATE SET tasks = t.tasks + 1
        """
        for task in tasks:
            recovery = int(task["task_type"] == lifecycle.RECOVERY)
            values = (task["session_id"], task["archived"], recovery, task["status"])
            self._tx.execute(sql, values)

    def rebuild_indexes(self) -> None:
        """See `contracts.Ledger.rebuild_indexes`. Nothing to do here."""
