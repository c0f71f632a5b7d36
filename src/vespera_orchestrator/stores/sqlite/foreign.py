"""What somebody else put into the schema of a database.

A view in the place of a table, a trigger, or an index of an expression is a program that runs with
our statements. It can neither call a dangerous function (``trusted_schema``) nor reach another
file, but it need not end, and nothing interrupts SQLite from outside: not even Ctrl-C. So where
there is one, every call has a limit.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.stores.sql.dialect import sql_name
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    import sqlite3

_PROGRAMS: Final = """
    SELECT type, name, sql FROM sqlite_schema
    WHERE type IN ('trigger', 'view', 'index') AND sql IS NOT NULL
"""
_OWN_TRIGGER: Final = re.compile(r"CREATE TRIGGER (\w+).*?\nEND", re.DOTALL)
_OWN_INDEX: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+)")
_LIMIT_S: Final = 5.0
_STEPS: Final = 1_000_000
"""Of SQLite's machine, between two looks at the clock: a few hundredths of a second."""


def foreign_programs(connection: sqlite3.Connection) -> list[str]:
    """Return the views, triggers and indexes that are not ours, or do something else."""
    rows = connection.execute(_PROGRAMS).fetchall()
    schema = "\n".join(MIGRATIONS)
    triggers = {match[1]: match[0] for match in _OWN_TRIGGER.finditer(schema)}
    indexes = set(_OWN_INDEX.findall(schema))
    names = []
    for kind, name, sql in rows:
        is_own_trigger = kind == "trigger" and triggers.get(name, "").split() == sql.split()
        if not is_own_trigger and not (kind == "index" and name in indexes):
            names.append(f"{kind} {sql_name(name)}")
    return names


class CallLimit:
    """Ends statements of a call that takes too long."""

    def __init__(self) -> None:
        self._end = 0.0

    def begin(self) -> None:
        """Note that a call begins."""
        self._end = time.monotonic() + _LIMIT_S

    def hold(self, connection: sqlite3.Connection) -> None:
        """Look at the clock while the connection works."""
        self.begin()
        connection.set_progress_handler(self._is_over, _STEPS)

    def _is_over(self) -> bool:
        return time.monotonic() > self._end
