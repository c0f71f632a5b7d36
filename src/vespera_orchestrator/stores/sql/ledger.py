"""The rows of a SQL store as they are kept: the part of `contracts.Ledger` that all share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.stores.sql.transaction import Transaction

COUNTED_TABLES: Final = ("tallies",)
"""Tables that the store keeps by itself."""
NUMBER_COLUMNS: Final = {
    "sessions": "seq",
    "tasks": "seq",
    "checkpoints": "id",
    "artifacts": "seq",
    "events": "seq",
    "shared_values": "id",
    "signals": "id",
}
"""By table, the column that numbers its rows in the order in which they were inserted."""
_PAGE_ROWS: Final = 5000
_BELOW_ALL_NUMBERS: Final = -(2**62)


class SQLLedger:
    """Reads and writes rows of any table."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def count(self, table: str) -> int:
        """See `contracts.Ledger.count`."""
        (number,) = self._tx.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(number)

    def rows(self, table: str) -> Iterator[dict[str, JsonValue]]:
        """See `contracts.Ledger.rows`."""
        number = NUMBER_COLUMNS.get(table)
        if number is None:
            order = f"ORDER BY {', '.join(TABLES[table].key)}" if table in TABLES else ""
            yield from self._select(f"SELECT * FROM {table} {order}")
            return
        sql = f"""
            SELECT * FROM {table} WHERE {number} > {self._tx.mark}1
            ORDER BY {number} LIMIT {_PAGE_ROWS}
        """
        last = _BELOW_ALL_NUMBERS
        while page := self._select(sql, last):
            yield from page
            last = page[-1][number]

    def _select(self, sql: str, *values: int) -> list[dict[str, Any]]:
        cursor = self._tx.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def put(self, table: str, rows: Iterable[Mapping[str, JsonValue]]) -> None:
        """See `contracts.Ledger.put`."""
        known = self._columns(table)
        for row in rows:
            foreign = sorted(set(row) - known)
            if foreign:
                raise InvalidInputError(table, f"has no column {foreign[0][:80]!r}")
            slots = self._tx.dialect.slots(len(row))
            sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({slots})"
            self._tx.execute(sql, tuple(row.values()))

    def _columns(self, table: str) -> set[str]:
        description = self._tx.execute(f"SELECT * FROM {table} LIMIT 0").description
        return {column[0] for column in description}

    def change(
        self, table: str, key: Mapping[str, JsonValue], values: Mapping[str, JsonValue]
    ) -> None:
        """See `contracts.Ledger.change`."""
        assignments = ", ".join(self._equations(values, first=1))
        test = " AND ".join(self._equations(key, first=len(values) + 1))
        sql = f"UPDATE {table} SET {assignments} WHERE {test}"
        self._tx.execute(sql, (*values.values(), *key.values()))

    def remove(self, table: str, keys: Iterable[Mapping[str, JsonValue]]) -> None:
        """See `contracts.Ledger.remove`."""
        for key in keys:
            test = " AND ".join(self._equations(key, first=1))
            self._tx.execute(f"DELETE FROM {table} WHERE {test}", tuple(key.values()))

    def _equations(self, columns: Iterable[str], *, first: int) -> list[str]:
        mark = self._tx.mark
        return [f"{name} = {mark}{number}" for number, name in enumerate(columns, start=first)]
