"""The shape of a row: what each column may hold, whatever the other rows say.

A row that a program of ours wrote has it. One from an edited export, or of a database that
somebody else prepared, may hold a path that leads out of the project, or a list where a mapping
should be.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import EventKind
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptRecordError
from vespera_orchestrator.home.files import parts_of, stays_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}|")
_WORKTREE: Final = re.compile(r"[\w-]{1,255}")
_ID: Final = re.compile(r"[\w.:-]{1,200}")
_RESCUE_REF: Final = re.compile(r"refs/vespera/[\w/.-]+")


def shape_problem(table: str, row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the values of a row, on their own; ``None`` if nothing is."""
    meaning = TABLES.get(table)
    if meaning is None:
        return None
    for name in meaning.times:
        if row.get(name) is not None and not _is_time(row[name]):
            return f"{name} is no time"
    for name in meaning.structures:
        problem = _structure_problem(f"{table}.{name}", row.get(name))
        if problem is not None:
            return f"{name} {problem}"
    if table == "events":
        problem = _event_problem(row)
        if problem is not None:
            return problem
    for name, check in _CHECKS.get(table, {}).items():
        value = row.get(name)
        if value is not None and not (isinstance(value, str) and check(value)):
            return f"{name} is {str(value)[:80]!r}, which this library never writes"
    return None


def _is_time(stamp: object) -> bool:
    if type(stamp) is not int:
        return False
    try:
        load_time(stamp)
    except CorruptRecordError:
        return False
    return True


def _structure_problem(column: str, text: str | None) -> str | None:
    if column not in _LISTS and column not in _MAPPINGS:
        return None
    try:
        value = {} if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None  # the rules for each table report that
    if column in _LISTS:
        is_right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return None if is_right else "is not a list of texts"
    return None if isinstance(value, dict) else "is not a mapping"


def _event_problem(row: Mapping[str, Any]) -> str | None:
    """Return what an event lacks of what others read in it."""
    wanted = _EVENT_DATA.get(row["kind"])
    if wanted is None:
        return None
    try:
        data = json.loads(row["data"])
    except (ValueError, TypeError, RecursionError):
        return None  # the rules for each table report that
    for name, kind in wanted.items():
        if not isinstance(data.get(name), kind):
            return f"data of a {row['kind']} has no {name} as it should be"
    return None


_EVENT_DATA: Final[dict[str, dict[str, type]]] = {
    EventKind.SESSION_PAUSED: {"note": str, "next_step": str, "worded": list},
    EventKind.ARTIFACT_SAVED: {"artifact": str},
    EventKind.ARTIFACT_SUPERSEDED: {"artifact": str},
}
_LISTS: Final = ("checkpoints.left_out", "artifacts.tags", "document_versions.edited")
_MAPPINGS: Final = (
    "sessions.context",
    "tasks.condition_names",
    "tasks.context",
    "tasks.outputs",
    "artifacts.metadata",
    "events.data",
)


def _is_inside(path: str) -> bool:
    """Tell whether a path stays in the project, and out of git's own folder."""
    return stays_inside(path) and ".git" not in parts_of(path.casefold())


_CHECKS: Final[dict[str, dict[str, Callable[[str], object]]]] = {
    "sessions": {"id": _ID.fullmatch, "parent_session_id": _ID.fullmatch},
    "tasks": {"id": _ID.fullmatch, "worktree": _WORKTREE.fullmatch},
    "artifacts": {"id": _ID.fullmatch},
    "worktrees": {
        "name": _WORKTREE.fullmatch,
        "base": _COMMIT.fullmatch,
        "landed": _COMMIT.fullmatch,
        "saved": _COMMIT.fullmatch,
        "rescue_ref": _RESCUE_REF.fullmatch,
        "branch": lambda branch: branch.isprintable() and not branch.startswith("-"),
        "path": lambda path: bool(path) and "\0" not in path,
    },
    "document_versions": {"path": _is_inside},
}
"""What a text may be that becomes a path, a ref or the name of a file."""
