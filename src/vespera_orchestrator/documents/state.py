"""Whether the documents are up to date, without reading them: ``documents.json`` in the home.

The file is a cache. Whatever is wrong with it, the documents are examined again.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vespera_orchestrator._model import EventKind, TaskStatus
from vespera_orchestrator.documents.folder import FOLDER
from vespera_orchestrator.documents.rendering import template_files
from vespera_orchestrator.home.files import translate_os_error, write_atomically

if TYPE_CHECKING:
    from vespera_orchestrator._model import Event
    from vespera_orchestrator.documents.project_types import ProjectType
    from vespera_orchestrator.home.scope import Scope

_LAYOUT = 1
"""Version of the file; one of another layout is ignored, and written again."""
_TASK_ENDS = (EventKind.TASK_COMPLETED, EventKind.TASK_DELETED)
_RELEVANT_KINDS = (*_TASK_ENDS, EventKind.TASK_UPDATED, EventKind.ARTIFACT_SAVED)
"""Kinds of events that can change what a document says.

``document_updated`` is not among them: an update must not cause the next one.
"""

_Entry = dict[str, Any]
"""For one project type: up to which event it is up to date, and the signature then."""


class UpdateState:
    """Remembers for each project type up to which event its documents are up to date.

    Args:
        scope: Knows the home and the store.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._irrelevant_to: dict[str, int] = {}
        """By project type: up to which event the log has nothing that a document would show."""

    def is_current(self, kind: ProjectType) -> bool:
        """Tell whether neither the log nor a file has changed since the last update."""
        entry = self._read().get(kind.name)
        if entry is None or entry["signature"] != self._signature(kind):
            return False
        after = max(entry["seq"], self._irrelevant_to.get(kind.name, 0))
        last = self._scope.store.last_seq()
        if last == after:
            return True
        if last < after or self._has_news(after):
            return False
        self._irrelevant_to[kind.name] = last
        return True

    def _has_news(self, after: int) -> bool:
        store = self._scope.store
        events = store.events(after, kinds=_RELEVANT_KINDS, limit=None)
        return any(map(self._is_news, events))

    def _is_news(self, event: Event) -> bool:
        """Tell whether an event can change a document.

        What belongs to a task counts once the task is completed.
        """
        if event.kind in _TASK_ENDS or event.task_id is None:
            return True
        task = self._scope.store.find_task(event.task_id, None)
        return task is None or task.status is TaskStatus.COMPLETED

    def save(self, kind: ProjectType, seq: int) -> None:
        """Remember that the documents are up to date with event *seq*."""
        entries = self._read()
        entries[kind.name] = {"seq": seq, "signature": self._signature(kind)}
        self._write(entries)

    def accept(self, place: Path) -> None:
        """Let a file as it is now count as up to date, until there is news."""
        entries = self._read()
        for entry in entries.values():
            if str(place) in entry["signature"]:
                entry["signature"][str(place)] = file_stamp(place)
        self._write(entries)

    def _signature(self, kind: ProjectType) -> dict[str, Any]:
        """Return what changes when a document, a template or this package changes.

        Reads none of them.
        """
        home = self._scope.home
        documents = [home.project / FOLDER / name for name in kind.documents]
        templates = template_files(kind.documents, home.templates)
        signature: dict[str, Any] = {"store": self._scope.store.url}
        for path in [*documents, *templates]:
            signature[str(path)] = file_stamp(path)
        signature |= _code_stamps()
        return signature

    @property
    def _file(self) -> Path:
        return self._scope.home.path / "documents.json"

    def _read(self) -> dict[str, _Entry]:
        try:
            state = json.loads(self._file.read_text("utf-8"))
            if state["layout"] != _LAYOUT:
                return {}
            return {
                name: {"seq": int(entry["seq"]), "signature": dict(entry["signature"])}
                for name, entry in state["types"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _write(self, entries: dict[str, _Entry]) -> None:
        text = json.dumps({"layout": _LAYOUT, "types": entries})
        try:
            write_atomically(self._file, text)
        except OSError as exc:
            raise translate_os_error(exc, self._file) from exc


@functools.cache
def _code_stamps() -> dict[str, Any]:
    """Return the stamps of the modules that decide what documents say.

    A process keeps the code that it loaded, so one look is enough.
    """
    package = Path(__file__).parent
    return {str(module): file_stamp(module) for module in package.rglob("*.py")}


def file_stamp(path: Path) -> list[int] | None:
    """Return what changes when a file changes; ``None`` when it does not exist."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]
