"""What the rules need to know about a home's rows, and how they report what is wrong."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Dependency,
    Finding,
    FindingKind,
    RowFix,
    Severity,
    TaskStatus,
)
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import StoreError
from vespera_orchestrator.maintenance.reports import REPAIR
from vespera_orchestrator.maintenance.row_checks.shapes import shape_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.contracts import Ledger

Row: TypeAlias = dict[str, Any]

RESTORE: Final = "restore a backup"
UNREADABLE: Final = (ValueError, TypeError, KeyError, RecursionError)
"""What a row raises that no store of ours wrote."""
_NO_TASKS: Final[frozenset[str]] = frozenset()
_ROWS_PER_PROGRESS: Final = 20_000


@attrs.define(kw_only=True)
class TaskFacts:
    """What the rules need to know about a task. It has the fields that `tasks.lifecycle` reads."""

    id: str
    alias: str
    session_id: str
    status: TaskStatus
    task_type: str
    parent_task_id: str | None
    recovers_task_id: str | None
    attempts: int
    was_blocked: bool
    blockers: int
    archived: bool
    asleep: bool
    question: str | None
    signal: str | None
    answered: bool
    has_end_time: bool
    updated_at: int
    condition: str | None
    condition_names: Mapping[str, str]
    governed: frozenset[str]
    """The ids of the tasks that its condition names."""
    outputs_text: str
    dependencies: tuple[Dependency, ...] = ()
    edges: list[Row] = attrs.field(factory=list)
    """The rows of its dependencies."""
    open_children: int = 0

    @property
    def outputs(self) -> JsonValue:
        """What its completion handed on."""
        return json.loads(self.outputs_text)

    @property
    def name(self) -> str:
        """How a finding calls it."""
        return f"task {self.alias} ({self.id})"

    @property
    def needs(self) -> list[str]:
        """The ids of the tasks that it depends on."""
        return [edge.task for edge in self.dependencies]

    @property
    def has_ended(self) -> bool:
        """Whether it is in a state that is an end."""
        return self.status.is_terminal

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return not self.status.is_terminal

    def change(self, **values: JsonValue) -> RowFix:
        """Return a fix that sets columns of this task."""
        key = {"id": self.id}
        return change("tasks", key, **values)

    @classmethod
    def from_row(cls, row: Row) -> TaskFacts:
        """Take the facts from a row.

        Raises:
            ValueError: Or another of `UNREADABLE`: no store of ours wrote this row.
        """
        for name in TABLES["tasks"].structures:
            json.loads(row[name] or "{}")
        same = {name: row[name] for name in _SAME_COLUMNS}
        condition_names = json.loads(row["condition_names"] or "{}")
        return cls(
            **same,
            status=TaskStatus(row["status"]),
            was_blocked=bool(row["was_blocked"]),
            archived=bool(row["archived"]),
            asleep=bool(row["asleep"]),
            answered=bool(row["answered"]),
            has_end_time=row["ended_at"] is not None,
            condition_names=condition_names,
            governed=frozenset(condition_names.values()) if condition_names else _NO_TASKS,
            outputs_text=row["outputs"],
        )


_SAME_COLUMNS: Final = (
    "id",
    "alias",
    "session_id",
    "task_type",
    "parent_task_id",
    "recovers_task_id",
    "attempts",
    "blockers",
    "updated_at",
    "condition",
    "question",
    "signal",
)
"""The columns that `TaskFacts` takes over as they are."""


@attrs.define(kw_only=True)
class ArtifactFacts:
    """What the rules need to know about an artifact."""

    id: str
    title: str
    kind: str
    session_id: str
    task_id: str | None
    agent: str | None
    supersedes_id: str | None
    superseded: int
    superseded_by: str | None

    @property
    def name(self) -> str:
        """How a finding calls it."""
        return f"artifact {self.id} {self.title!r}"

    @classmethod
    def from_row(cls, row: Row) -> ArtifactFacts:
        """Take the facts from a row."""
        names = attrs.fields_dict(cls)
        return cls(**{name: row[name] for name in names})


@attrs.define(kw_only=True)
class Facts:
    """What is known about the rows of a store, as of one moment. The rules fill it."""

    ledger: Ledger
    now: int
    """The time that a fix would write, in microseconds since 1970."""
    progress: Callable[[str], None]
    tasks: dict[str, TaskFacts] = attrs.field(factory=dict)
    sessions: dict[str, str | None] = attrs.field(factory=dict)
    """Each session's parent, by id."""
    last_attempts: dict[str, int] = attrs.field(factory=dict)
    """The highest number of an attempt, by task."""
    held_tasks: set[str] = attrs.field(factory=set)
    """Tasks in progress whose last attempt is running, or waits for its merge."""
    artifacts: dict[str, ArtifactFacts] = attrs.field(factory=dict)
    forgotten: set[str] = attrs.field(factory=set)
    """Ids of what was removed for good."""
    digests: dict[str, list[str]] = attrs.field(factory=dict)
    """Every content that a row refers to, and what refers to it, in words."""
    keepers: dict[str, set[str]] = attrs.field(factory=dict)
    """The homes that keep each content in their own folder; an empty name stands for others."""
    states_in_log: dict[str, str] = attrs.field(factory=dict)
    """The last status of each task that the event log tells."""
    artifacts_in_log: set[str] = attrs.field(factory=set)
    counts: dict[str, int] = attrs.field(factory=dict)
    """How many rows each table has."""
    _table_errors: list[Finding] = attrs.field(factory=list, init=False)

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the rows of a table and count them. Stop where it cannot be read, and note that."""
        self.progress(f"rows of {table}")
        number = 0
        try:
            for number, row in enumerate(self.ledger.rows(table), 1):
                if number % _ROWS_PER_PROGRESS == 0:
                    self.progress(f"rows of {table}: {number:,}")
                problem = shape_problem(table, row)
                if problem is None:
                    yield row
                else:
                    self._table_errors.append(unreadable(table, row, problem))
        except StoreError as exc:
            error = unfixable(
                kind=FindingKind.STORAGE,
                subject=table,
                sentence=f"the table {table} cannot be read after row {number}: {exc}",
                remedy=f"keep a copy of the home, and {RESTORE}",
            )
            self._table_errors.append(error)
        self.counts[table] = number

    def take_table_errors(self) -> list[Finding]:
        """Return the findings about tables that could not be read, and forget them."""
        errors, self._table_errors = self._table_errors, []
        return errors

    def use_content(self, digest: str, user: str, *, home_id: str = "") -> None:
        """Note that *user*, in words, refers to the content, and which home has it, if known."""
        self.digests.setdefault(digest, []).append(user)
        self.keepers.setdefault(digest, set()).add(home_id)


# --- findings and fixes -----------------------------------------------------------


_error = partial(Finding, severity=Severity.ERROR)


def fixable(*, kind: FindingKind, subject: str, sentence: str, fixes: Iterable[RowFix]) -> Finding:
    """Return an error that `Orchestrator.repair` fixes."""
    return _error(
        kind=kind,
        subject=subject,
        sentence=sentence,
        remedy=REPAIR,
        fixes=tuple(fixes),
    )


def unfixable(*, kind: FindingKind, subject: str, sentence: str, remedy: str) -> Finding:
    """Return an error that a person has to deal with."""
    return _error(
        kind=kind,
        subject=subject,
        sentence=sentence,
        remedy=remedy,
    )


def json_error(table: str, row: Row) -> Finding | None:
    """Return a finding where a column that should hold JSON does not."""
    try:
        for name in TABLES[table].structures:
            json.loads(row[name])
    except UNREADABLE as exc:
        return unreadable(table, row, exc)
    return None


def unreadable(table: str, row: Row, problem: Exception | str) -> Finding:
    """Return the finding about a row that no store of ours wrote."""
    key = key_of(table, row)
    subject = " ".join(str(value) for value in key.values())
    return unfixable(
        kind=FindingKind.ROW,
        subject=subject,
        sentence=f"the row {subject!r} of {table} cannot be read: {problem}",
        remedy=f"this library never writes such a row: {RESTORE}, or correct the row by hand",
    )


def key_of(table: str, row: Row) -> Row:
    """Return the columns that identify the row."""
    columns = TABLES[table].key
    return {name: row[name] for name in columns}


def change(table: str, key: Mapping[str, JsonValue], **values: JsonValue) -> RowFix:
    """Return a fix that sets columns of one row."""
    return RowFix(
        verb="change",
        table=table,
        key=key,
        values=values,
    )


def remove(table: str, key: Mapping[str, JsonValue]) -> RowFix:
    """Return a fix that removes one row."""
    return RowFix(
        verb="remove",
        table=table,
        key=key,
    )


def put(table: str, row: Mapping[str, JsonValue]) -> RowFix:
    """Return a fix that adds a row."""
    return RowFix(
        verb="put",
        table=table,
        key=row,
    )
