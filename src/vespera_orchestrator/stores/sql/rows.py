"""Between rows and records: what every SQL store shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vespera_orchestrator._codec import (
    dump_json,
    dump_time,
    load_json,
    load_time,
    load_time_or_none,
)
from vespera_orchestrator._model import (
    Artifact,
    Attempt,
    Checkpoint,
    Dependency,
    DocumentVersion,
    Event,
    Outcome,
    Session,
    Task,
    TaskStatus,
    Worktree,
)
from vespera_orchestrator.errors import CorruptRecordError
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Row: TypeAlias = Any
"""A row, read by position."""

ALL: Final = 2**62
"""As a limit: none."""

SESSION: Final = "id, goal, project_type, parent_session_id, context, created_at"
TASK: Final = (
    "id, alias, session_id, title, description, status, task_type, complexity, specialist_type, priority, estimated_effort, due_at, "
    "parent_task_id, condition, condition_names, context, outputs, summary, reason, attempts, failures, max_attempts, was_blocked, "
    "blockers, urgency, recovers_task_id, archived, created_at, updated_at, ended_at, worktree"
)
ATTEMPT: Final = (
    "task_id, number, agent, started_at, lease_until, last_sign_at, ended_at, ending, error"
)
CHECKPOINT: Final = "id, task_id, attempt, state, note, progress, snapshot, created_at"
ARTIFACT: Final = (
    "id, session_id, task_id, attempt, agent, kind, title, media_type, digest, size_bytes, version, supersedes_id, superseded, partial, "
    "tags, metadata, created_at"
)
EVENT: Final = "seq, at, kind, session_id, task_id, agent, data"
WORKTREE: Final = "name, session_id, task_id, agent, path, branch, base, state, landed, rescue_ref, created_at, unlanded"
DOCUMENT: Final = "path, version, digest, event_seq, created_at"

RANKED: Final = "effort_hours, condition_version, weighed"
"""Columns of a task that only the store's own statements read."""

TASK_TEXTS: Final = (
    "title",
    "description",
    "task_type",
    "complexity",
    "specialist_type",
    "priority",
    "estimated_effort",
)
"""Descriptive columns of a task that are stored as they are."""


def prefixed(columns: str, table: str) -> str:
    """Put *table* before each of *columns*."""
    return ", ".join(f"{table}.{name.strip()}" for name in columns.split(","))


def slots(columns: str) -> str:
    """Return as many question marks as there are *columns*."""
    return ", ".join("?" for _ in columns.split(","))


def _names(columns: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in columns.split(","))


_TASK, _ATTEMPT, _CHECKPOINT, _ARTIFACT, _EVENT, _WORKTREE, _DOCUMENT = map(
    _names, (TASK, ATTEMPT, CHECKPOINT, ARTIFACT, EVENT, WORKTREE, DOCUMENT)
)
_STATUSES: Final = {str(status): status for status in TaskStatus}
_OUTCOMES: Final = {str(outcome): outcome for outcome in Outcome}


def read_session(row: Row, updated_at: int) -> Session:
    """Make the record of a session."""
    context = load_json(row[4], f"session {row[0]}")
    return Session(
        id=row[0],
        goal=row[1],
        project_type=row[2],
        parent_session_id=row[3],
        context=context,
        created_at=load_time(row[5]),
        updated_at=load_time(max(updated_at, row[5])),
    )


def read_task(row: Row, dependencies: tuple[Dependency, ...]) -> Task:
    """Make the record of a task from its row and its edges."""
    record = row[0]
    try:
        status = _STATUSES[row[5]]
    except KeyError as exc:
        raise CorruptRecordError(f"task {record}", f"{row[5]!r} is no status") from exc
    values = dict(zip(_TASK, row, strict=True))
    for name in ("condition_names", "context", "outputs"):
        values[name] = _mapping(values[name], record)
    for name in ("due_at", "ended_at"):
        values[name] = load_time_or_none(values[name])
    values["created_at"] = load_time(values["created_at"])
    values["updated_at"] = load_time(values["updated_at"])
    values["was_blocked"] = bool(values["was_blocked"])
    values["archived"] = bool(values["archived"])
    values["status"] = status
    return Task(**values, dependencies=dependencies)


def _mapping(text: str | None, task_id: str) -> Any:
    return load_json(text, f"task {task_id}") if text and text != "{}" else {}


def read_edge(needs: str, on: str) -> Dependency:
    """Make the record of an edge."""
    try:
        return Dependency(needs, _OUTCOMES[on])
    except KeyError as exc:
        raise CorruptRecordError(f"a dependency on {needs}", f"{on!r} is no outcome") from exc


def read_attempt(row: Row) -> Attempt:
    """Make the record of an attempt."""
    values = dict(zip(_ATTEMPT, row, strict=True))
    for name in ("started_at", "lease_until", "last_sign_at", "ended_at"):
        values[name] = load_time_or_none(values[name])
    return Attempt(**values)


def read_checkpoint(row: Row) -> Checkpoint:
    """Make the record of a checkpoint."""
    values = dict(zip(_CHECKPOINT, row, strict=True))
    values["state"] = load_json(values["state"], f"checkpoint {row[0]}")
    return Checkpoint(**values | {"created_at": load_time(values["created_at"])})


def read_artifact(row: Row) -> Artifact:
    """Make the record of an artifact."""
    values = dict(zip(_ARTIFACT, row, strict=True))
    record = f"artifact {row[0]}"
    values["tags"] = tuple(load_json(values["tags"], record))
    values["metadata"] = load_json(values["metadata"], record)
    values["superseded"] = bool(values["superseded"])
    values["partial"] = bool(values["partial"])
    return Artifact(**values | {"created_at": load_time(values["created_at"])})


def read_event(row: Row) -> Event:
    """Make the record of an event."""
    values = dict(zip(_EVENT, row, strict=True))
    values["data"] = load_json(values["data"], f"event {row[0]}")
    return Event(**values | {"at": load_time(values["at"])})


def read_worktree(row: Row) -> Worktree:
    """Make the record of a worktree."""
    values = dict(zip(_WORKTREE, row, strict=True))
    return Worktree(
        **values
        | {"created_at": load_time(values["created_at"]), "unlanded": bool(values["unlanded"])}
    )


def read_document(row: Row) -> DocumentVersion:
    """Make the record of a document's version."""
    values = dict(zip(_DOCUMENT, row, strict=True))
    return DocumentVersion(**values | {"created_at": load_time(values["created_at"])})


def task_row(task: Task, *, weighed: bool) -> Row:
    """Make the row of a new task: `TASK`, then `RANKED`."""
    names = dump_json(dict(task.condition_names), "condition") if task.condition_names else None
    return (
        task.id,
        task.alias,
        task.session_id,
        task.title,
        task.description,
        str(task.status),
        task.task_type,
        task.complexity,
        task.specialist_type,
        task.priority,
        task.estimated_effort,
        dump_time(task.due_at),
        task.parent_task_id,
        task.condition,
        names,
        dump_json(task.context, "context"),
        dump_json(task.outputs, "outputs"),
        task.summary,
        task.reason,
        task.attempts,
        task.failures,
        task.max_attempts,
        int(task.was_blocked),
        task.blockers,
        task.urgency,
        task.recovers_task_id,
        int(task.archived),
        dump_time(task.created_at),
        dump_time(task.updated_at),
        dump_time(task.ended_at),
        task.worktree,
        lifecycle.effort_hours(task.estimated_effort),
        None if task.condition is None else lifecycle.CONDITION_VERSION,
        int(weighed),
    )


def group_edges(rows: Iterable[Row]) -> Mapping[str, tuple[Dependency, ...]]:
    """Group ``(task_id, needs_id, on_outcome)`` by task."""
    grouped: dict[str, list[Dependency]] = {}
    for task_id, needs, on in rows:
        grouped.setdefault(task_id, []).append(read_edge(needs, on))
    return {task_id: tuple(edges) for task_id, edges in grouped.items()}
