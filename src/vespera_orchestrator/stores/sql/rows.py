"""Rows become records and records become rows, by the names of their fields.

A table's columns are the fields of its record. `contracts.TABLES` says what the columns hold,
so that a new column of plain text or numbers needs nothing here.
"""

from __future__ import annotations

import json
import re
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json, dump_time, load_json, load_time
from vespera_orchestrator._model import (
    Artifact,
    Attempt,
    Checkpoint,
    Dependency,
    DocumentVersion,
    Effect,
    Event,
    HomePlace,
    Look,
    Outcome,
    Session,
    SharedValue,
    Task,
    TaskStatus,
    TeamSettings,
    Tombstone,
    Worktree,
)
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptRecordError
from vespera_orchestrator.tasks import dates, effort, lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator.stores.sql.transaction import Cursor, Transaction

R = TypeVar("R", bound="attrs.AttrsInstance")
Row: TypeAlias = Any
"""A sequence of values, in the order of the columns that were asked for."""

_NO_LIMIT: Final = 2**62


def limited(limit: int | None) -> int:
    """Return *limit* as SQL takes it; ``None`` means no limit."""
    return _NO_LIMIT if limit is None else limit


class RowType(Generic[R]):
    """The columns of one kind of record, and the way from a row to the record and back."""

    def __init__(
        self,
        record: type[R],
        table: str,
        *,
        noun: str,
        derived: tuple[str, ...] = (),
        joined: tuple[str, ...] = (),
        tuples: tuple[str, ...] = (),
        prefix: str = "",
    ) -> None:
        """Take the columns from the fields of *record*.

        Args:
            record: The class.
            table: Its name in `contracts.TABLES`.
            noun: What to call such a record in an error.
            derived: Fields that the caller of `read` provides.
            joined: Fields that the caller selects behind `columns`.
            tuples: Fields that are stored as a JSON list and read as a tuple.
            prefix: Stands before each column in `columns`, for statements that join tables.
        """
        self.record = record
        self.noun = noun
        fields = [field.name for field in attrs.fields(record)]
        self.names = tuple(name for name in fields if name not in (*derived, *joined))
        """The columns, in order."""
        self.selected = (*self.names, *joined)
        """The values of a row, in order."""
        self.columns = ", ".join(f"{prefix}{name}" for name in self.names)
        """The columns as a SELECT names them."""
        meaning = TABLES[table]
        self._times = self._among(meaning.times)
        self._structures = self._among(meaning.structures)
        self._flags = self._among(meaning.flags)
        self._tuples = tuples
        types = attrs.fields_dict(record)
        self._mappings = [
            name for name in self._structures if str(types[name].type).startswith("Mapping")
        ]
        self._names = {
            name for name in self._mappings if str(types[name].type) == "Mapping[str, str]"
        }
        self._values = attrgetter(*self.names)

    def _among(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in columns if name in self.names)

    def read(self, row: Row, **derived: Any) -> R:
        """Make the record of a row that has exactly `columns`."""
        return self.record(**self.fields(row), **derived)

    def read_all(self, rows: Iterable[Row]) -> list[R]:
        """Make the record of each row."""
        return [self.record(**self.fields(row)) for row in rows]

    def read_first(self, rows: Cursor) -> R | None:
        """Make the record of the first row, where there is one."""
        row = rows.fetchone()
        return None if row is None else self.record(**self.fields(row))

    def fields(self, row: Row) -> dict[str, Any]:
        """Return the fields of a row's record by name."""
        values = dict(zip(self.selected, row, strict=True))
        for name in self._times:
            if values[name] is not None:
                try:
                    values[name] = load_time(values[name])
                except CorruptRecordError as exc:
                    raise self._damaged(row, name, "no time") from exc
        for name in self._structures:
            text = values[name]
            if text is None or text == "{}":
                values[name] = {}
            else:
                values[name] = load_json(text, f"{self.noun} {row[0]}")
        self._read_shapes(row, values)
        for name in self._flags:
            values[name] = bool(values[name])
        return values

    def _read_shapes(self, row: Row, values: dict[str, Any]) -> None:
        for name in self._mappings:
            if type(values[name]) is not dict:
                raise self._damaged(row, name, "not a mapping")
            if name in self._names and not all(type(text) is str for text in values[name].values()):
                raise self._damaged(row, name, "not a mapping of texts")
        for name in self._tuples:
            is_list = isinstance(values[name], list)
            if not is_list or not all(isinstance(item, str) for item in values[name]):
                raise self._damaged(row, name, "not a list of texts")
            values[name] = tuple(values[name])

    def _damaged(self, row: Row, name: str, problem: str) -> CorruptRecordError:
        return CorruptRecordError(f"{self.noun} {row[0]}", f"{name} is {problem}")

    def values(self, record: R) -> dict[str, Any]:
        """Return what to store of a record, by column."""
        values = dict(zip(self.names, self._values(record), strict=True))
        for name in self._times:
            if values[name] is not None:
                values[name] = dump_time(values[name])
        for name in self._structures:
            values[name] = dump_json(values[name], name) if values[name] != {} else "{}"
        for name in self._flags:
            values[name] = int(values[name])
        return values


class _TaskRows(RowType[Task]):
    """Tasks, whose edges come along as one column more, see `sql.dialect.Dialect.edges`."""

    def fields(self, row: Row) -> dict[str, Any]:
        values = super().fields(row)
        edges = values["dependencies"]
        values["dependencies"] = () if edges == "[]" else _read_edges(edges)
        try:
            values["status"] = _STATUSES[values["status"]]
        except KeyError as exc:
            raise CorruptRecordError(
                f"task {values['id']}", f"{values['status']!r} is not a status"
            ) from exc
        return values

    def values(self, record: Task) -> dict[str, Any]:
        values = super().values(record)
        values["status"] = str(record.status)
        if not record.condition_names:
            values["condition_names"] = None
        return values


class _ArtifactRows(RowType[Artifact]):
    def values(self, record: Artifact) -> dict[str, Any]:
        values = super().values(record)
        values["kind"] = str(record.kind)
        return values


_WORKTREE_NAME: Final = re.compile(r"[\w-]{1,255}")
"""It is part of paths and refs, and leads out of no folder."""


class _WorktreeRows(RowType[Worktree]):
    def fields(self, row: Row) -> dict[str, Any]:
        values = super().fields(row)
        if not _WORKTREE_NAME.fullmatch(values["name"]):
            raise self._damaged(row, "name", "no name of a worktree")
        if not values["path"] or "\0" in values["path"]:
            raise self._damaged(row, "path", "no path")
        return values


class _TeamSettingsRows(RowType[TeamSettings]):
    def fields(self, row: Row) -> dict[str, Any]:
        values = super().fields(row)
        if isinstance(values["landing_check"], list):
            values["landing_check"] = tuple(values["landing_check"])
        return values


SESSION: Final = RowType(Session, "sessions", noun="session", derived=("updated_at",))
TASK: Final = _TaskRows(Task, "tasks", noun="task", joined=("dependencies",), prefix="tasks.")
ATTEMPT: Final = RowType(Attempt, "attempts", noun="attempt")
CHECKPOINT: Final = RowType(Checkpoint, "checkpoints", noun="checkpoint", tuples=("left_out",))
ARTIFACT: Final = _ArtifactRows(Artifact, "artifacts", noun="artifact", tuples=("tags",))
EVENT: Final = RowType(Event, "events", noun="event")
WORKTREE: Final = _WorktreeRows(Worktree, "worktrees", noun="worktree")
SHARED: Final = RowType(SharedValue, "shared_values", noun="shared value")
LOOK: Final = RowType(Look, "looks", noun="look")
DOCUMENT: Final = RowType(
    DocumentVersion, "document_versions", noun="document version", tuples=("edited",)
)
TOMBSTONE: Final = RowType(Tombstone, "forgotten", noun="tombstone")
EFFECT: Final = RowType(Effect, "effects", noun="effect")
TEAM_SETTINGS: Final = _TeamSettingsRows(
    TeamSettings, "team_settings", noun="what was agreed on in session"
)

HOME: Final = RowType(HomePlace, "homes", noun="home")

NO_EDGES: Final = "'[]'"
"""Stands for `sql.dialect.Dialect.edges` where nobody looks at a task's own edges."""

NOT_PRESSED: Final = 2**63 - 1
"""Stands in ``pressed_by`` of a task whose due date is not near: behind all that are."""

DESCRIPTIVE: Final = frozenset(
    {
        "title",
        "description",
        "acceptance",
        "task_type",
        "complexity",
        "specialist_type",
        "priority",
        "estimated_effort",
        "worktree",
        "alias",
        "parent_task_id",
        "condition",
        "question",
        "signal",
        "max_attempts",
        "for_agent",
        "retry_after_s",
        "time_limit_s",
        "stalled_after_s",
    }
)
"""Columns of a task that callers may change, and that are stored as they are."""

_STATUSES: Final = {str(status): status for status in TaskStatus}
_OUTCOMES: Final = {str(outcome): outcome for outcome in Outcome}
_decode: Final = json.JSONDecoder().decode
"""Quicker than ``json.loads`` for the short texts of edges."""


def _read_edges(text: str) -> tuple[Dependency, ...]:
    try:
        edges = sorted(_decode(text))
        return tuple([Dependency(needs, _OUTCOMES[on]) for _, needs, on in edges])
    except (KeyError, TypeError, ValueError) as exc:
        raise CorruptRecordError(f"one of the dependencies {text}", f"no outcome {exc}") from exc


def new_task_row(task: Task, *, weighed: bool) -> dict[str, Any]:
    """Return the columns of a new task, those that only the store's statements read included."""
    columns = TASK.values(task)
    columns["effort_hours"] = effort.effort_hours(task.estimated_effort)
    has_condition = task.condition is not None
    columns["condition_version"] = lifecycle.CONDITION_VERSION if has_condition else None
    columns["weighed"] = int(weighed)
    columns["due_until"] = dump_time(dates.due_until(task))
    columns["answer"] = None
    columns |= {"needed_by": None, "press_at": None, "pressed_by": NOT_PRESSED}
    return columns


def insert(tx: Transaction, table: str, values: dict[str, Any]) -> None:
    """Insert one row, given by column."""
    slots = tx.dialect.slots(len(values))
    tx.execute(insertion(table, ", ".join(values), slots), tuple(values.values()))


@cache
def insertion(table: str, columns: str, slots: str) -> str:
    """Write the statement that inserts one row."""
    return f"INSERT INTO {table} ({columns}) VALUES ({slots})"
