"""The making of the schema, in an empty file or in one of an older version."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from vespera_orchestrator._version import __version__
from vespera_orchestrator.errors import CorruptStoreError
from vespera_orchestrator.stores.sqlite.schema import APPLICATION_ID, TODAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def upgrade(
    connection: sqlite3.Connection,
    steps: Sequence[str],
    *,
    version: int,
    name: str,
    clock: Callable[[], int],
) -> None:
    """Take every step that is missing, within the caller's transaction.

    Args:
        connection: The connection.
        steps: All steps from an empty file to today's.
        version: How many of them the file has; 0 if it is empty.
        name: What errors call the file.
        clock: Says when a step is taken.

    Raises:
        CorruptStoreError: The tables are not those of that version.
    """
    start = version or _make_tables(connection, clock)
    for number, step in enumerate(steps[start:], start=start + 1):
        for statement in _statements(step):
            _change_schema(connection, statement, number, name)
        _record_step(connection, number, clock)
    connection.execute(f"PRAGMA user_version={len(steps)}")
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")


def _make_tables(connection: sqlite3.Connection, clock: Callable[[], int]) -> int:
    """Make today's tables in an empty file; return the version that it has then.

    For each column that a step adds, SQLite reads the whole schema again: the steps would take
    four times as long.
    """
    for statement in _statements(TODAY.read_text("utf-8")):
        connection.execute(statement)
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for number in range(1, version + 1):
        _record_step(connection, number, clock)
    return version


def _change_schema(connection: sqlite3.Connection, sql: str, number: int, name: str) -> None:
    try:
        connection.execute(sql)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise  # the disk is full, or somebody holds the lock
        problem = f"its version says {number - 1}, and its tables something else: {exc}"
        raise CorruptStoreError(name, problem) from exc


def _record_step(connection: sqlite3.Connection, number: int, clock: Callable[[], int]) -> None:
    record = (number, clock(), __version__)
    connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", record)


def _statements(script: str) -> Iterator[str]:
    # executescript would commit first; a migration must stay within its transaction.
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
