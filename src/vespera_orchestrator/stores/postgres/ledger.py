"""The rows of a PostgreSQL store, within one transaction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.stores.postgres.foreign import OWN_TRIGGERS, read_programs
from vespera_orchestrator.stores.sql.ledger import COUNTED_TABLES, NUMBER_COLUMNS, SQLLedger
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.stores.postgres.foreign import Program
    from vespera_orchestrator.stores.postgres.server import Server


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
        programs = read_programs(lambda sql: self._tx.execute(sql).fetchall())
        for program in programs:
            yield from _problem(program)
        triggers = {program.name for program in programs if program.kind == "trigger"}
        for name in sorted(OWN_TRIGGERS - triggers):
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


def _problem(program: Program) -> Iterator[str]:
    """Yield what is wrong with something that the schema has, if anything is."""
    name, table = program.name, program.place
    if not program.is_ours_by_name:
        remedy = f"look at it, and remove it: {program.removal}"
        yield f"the {program.kind} {name!r} was not made by this library; {remedy}"
    elif not program.is_ours:
        yield f"the {program.kind} {name!r} does something else than ours of that name"
    elif not program.is_on:
        remedy = f"ALTER TABLE {table} ENABLE TRIGGER {name}"
        yield f"the {program.kind} {name!r} is turned off: {remedy}"
