"""The few fragments in which the SQL of SQLite and PostgreSQL differs, each under a name.

A statement of the shared core is written once, as an f-string over these fragments. Values are
always bound: ``{tx.mark}1`` stands for the first one. Neither database's text is ever rewritten.

The shared core takes ``ON CONFLICT``, ``RETURNING`` and numbered placeholders for granted. A store
on a database without them keeps `contracts.Store` by itself.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import AttemptEnding, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")


def quoted(words: Iterable[str]) -> str:
    """Write *words* of our own, such as statuses, as a list in parentheses for ``IN``.

    Written out and not bound, they let partial indexes serve a statement.
    """
    items = ", ".join(f"'{word}'" for word in words)
    return f"({items or 'NULL'})"


def sql_name(name: str) -> str:
    """Return a name as a statement may have it, whatever it is made of."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


OPEN: Final = quoted(status for status in TaskStatus if not status.is_terminal)
"""The statuses of a task that has not ended."""
LOST: Final = quoted((AttemptEnding.ABANDONED, AttemptEnding.STALLED, AttemptEnding.GONE))
"""How an attempt ends whose holder crashed, stalled or was gone."""
REGAINABLE: Final = (AttemptEnding.ABANDONED, AttemptEnding.RESTED)
"""How an attempt ends that its holder goes on with if nobody has taken the task meanwhile."""


@attrs.frozen(kw_only=True, eq=False)
class Dialect:
    """How one database words what the other words differently."""

    mark: str
    """Stands before the number of a bound value: ``?1``, ``$1``."""
    list_test: str
    """Follows a column: whether its text is in a bound JSON list. ``{}`` is the value."""
    position: str
    """The function that returns where in its first text the second begins, or 0."""
    folded: str
    """A text as `folding.folded` returns it. ``{}`` is the text."""
    folds_ascii_only: bool
    """Whether `folded` leaves the case of other letters, for `folding.folds_into` to replace."""
    edges: str
    """The edges of a row of ``tasks`` as JSON text: for each its position, task id and outcome."""
    as_id: str
    """Follows a column of ``given``: compare it as ids are compared elsewhere.

    With the column's own collation, no index of the other tables could be used.
    """
    index_hint: str
    """Follows a table: the index to use, where the planner needs a hint. ``{}`` is its name."""
    ordered_join: str
    """A join that starts from its left side."""
    lock_row: str
    """Ends a SELECT of one row: nobody else may write it before this transaction has ended."""
    lock_task: str
    """The same for a SELECT that reads from more than ``tasks``."""
    keep_rows: str
    """Ends a SELECT: its rows may not change before this transaction has ended."""
    writing_with: bool
    """Whether WITH may contain statements that write."""
    remote: bool
    """Whether statements travel over a network, so that one long one beats many short ones."""
    waits_for: str
    """Starts a statement: ``up (id)``, the tasks in the first value and all that they wait for.

    The value is a JSON list. Each database allows the recursion only in the form given here.
    """

    def in_list(self, number: int) -> str:
        """Test a column for being in the JSON list that is bound as value *number*."""
        return self.list_test.format(f"{self.mark}{number}")

    def slots(self, count: int) -> str:
        """Return the placeholders of the first *count* values, with commas between them."""
        return _slots(self.mark, count)

    def use_index(self, index: str) -> str:
        """Tell the planner, after the name of a table, which index serves the statement."""
        return self.index_hint.format(index)


@cache
def _slots(mark: str, count: int) -> str:
    numbers = range(1, count + 1)
    return ", ".join(f"{mark}{number}" for number in numbers)


SQLITE: Final = Dialect(
    mark="?",
    list_test="IN (SELECT value FROM json_each({}))",
    position="instr",
    folded="vespera_folded({})",
    folds_ascii_only=False,
    edges="""
        (SELECT json_group_array(json_array(position, needs_id, on_outcome))
            FROM dependencies WHERE dependencies.task_id = tasks.id)
    """,
    as_id="",
    index_hint="INDEXED BY {}",
    ordered_join="CROSS JOIN",
    lock_row="",
    lock_task="",
    keep_rows="",
    writing_with=False,
    remote=False,
    waits_for=f"""
        WITH RECURSIVE up (id) AS (
            SELECT value FROM json_each(?1)
            UNION SELECT needs_id FROM dependencies JOIN up ON task_id = up.id
            UNION SELECT tasks.id FROM tasks JOIN up ON parent_task_id = up.id
            UNION SELECT tasks.id FROM tasks JOIN up
                ON recovers_task_id = up.id AND status IN {OPEN}
        )
    """,
)

POSTGRES: Final = Dialect(
    mark="$",
    list_test="= ANY (ARRAY(SELECT json_array_elements_text({}::json)))",
    position="strpos",
    folded='lower(normalize({}, NFKC) COLLATE "C")',
    folds_ascii_only=True,
    edges="""
        (SELECT coalesce(json_agg(json_build_array(position, needs_id, on_outcome))::text, '[]')
            FROM dependencies WHERE dependencies.task_id = tasks.id)
    """,
    as_id='COLLATE "default"',
    index_hint="",
    ordered_join="JOIN",
    lock_row="FOR NO KEY UPDATE",
    lock_task="FOR NO KEY UPDATE OF tasks",
    keep_rows="FOR SHARE",
    writing_with=True,
    remote=True,
    waits_for=f"""
        WITH RECURSIVE up (id) AS (
            SELECT json_array_elements_text($1::json)
            UNION SELECT needed.id FROM up CROSS JOIN LATERAL (
                SELECT needs_id FROM dependencies WHERE task_id = up.id
                UNION ALL SELECT tasks.id FROM tasks WHERE parent_task_id = up.id
                UNION ALL SELECT tasks.id FROM tasks
                    WHERE recovers_task_id = up.id AND status IN {OPEN}
            ) AS needed (id)
        )
    """,
)


class Conditions:
    """Collects the tests of a WHERE clause together with the values that they bind."""

    def __init__(self, dialect: Dialect, values: Sequence[Any] = ()) -> None:
        """Start with *values* that are bound already."""
        self.dialect = dialect
        self.values = list(values)
        self._tests: list[str] = []

    def bind(self, value: object) -> str:
        """Bind one more value, and return its placeholder."""
        self.values.append(value)
        return f"{self.dialect.mark}{len(self.values)}"

    def add(self, test: str) -> None:
        """Require *test*, which may name placeholders that `bind` returned."""
        self._tests.append(test)

    def equal(self, **columns: object) -> None:
        """Require each column to have its value; ``None`` requires nothing."""
        for column, value in columns.items():
            if value is not None:
                self.add(f"{column} = {self.bind(value)}")

    def same(self, column: str, value: object) -> None:
        """Require the column to have this value, and to be NULL where *value* is ``None``.

        The text depends on the value, because no index serves ``IS NOT DISTINCT FROM``.
        """
        if value is None:
            self.add(f"{column} IS NULL")
        else:
            self.add(f"{column} = {self.bind(value)}")

    def in_list(self, column: str, json_list: str) -> None:
        """Require the column's text to be in a list, given as JSON."""
        self.bind(json_list)
        self.add(f"{column} {self.dialect.in_list(len(self.values))}")

    @property
    def where(self) -> str:
        """The tests, all of which must hold."""
        return " AND ".join(self._tests) or "TRUE"
