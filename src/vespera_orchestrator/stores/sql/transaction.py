"""What the shared core needs of a transaction; `stores.sqlite` and `stores.postgres` provide it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vespera_orchestrator._model import Task
    from vespera_orchestrator.stores.sql.dialect import Dialect


class Cursor(Protocol):
    """The answer to one statement."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""

    @property
    def description(self) -> Any:
        """One sequence for each column; its first item is the name."""

    def fetchone(self) -> Any:
        """Return the next row, or ``None``."""

    def fetchall(self) -> list[Any]:
        """Return the remaining rows."""

    def __iter__(self) -> Iterator[Any]: ...


class Transaction(Protocol):
    """Statements that see one state, and are written together or not at all."""

    dialect: Dialect
    mark: str
    """The dialect's placeholder mark, here because every statement needs it."""
    writing: bool
    """Whether it may write."""
    locked_session: str | None
    """The session whose row it has locked.

    Meanwhile, no other transaction changes several of its tasks.
    """

    @property
    def now(self) -> int:
        """The store's time in microseconds since 1970, the same throughout the transaction."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each row."""

    def insert(self, table: str, columns: str, rows: list[Any]) -> None:
        """Insert rows, by whatever way is fastest for their number."""

    def insert_events(self, columns: str, rows: list[Any]) -> None:
        """Insert rows of ``events``, now or as the last act before the commit."""

    def tally_planned(self, tasks: Iterable[Task]) -> None:
        """Count new tasks in ``tallies``, where no trigger does."""


def first_column(rows: Iterable[Sequence[Any]]) -> list[Any]:
    """Return the values of rows that have one column."""
    return [value for (value,) in rows]
