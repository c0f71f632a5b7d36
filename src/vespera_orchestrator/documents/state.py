"""Whether the documents are up to date, without reading them: ``documents.json`` in the home.

The file is a cache. Whatever is wrong with it, the documents are examined again.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactKind, EventKind, TaskStatus
from vespera_orchestrator.documents.place import file_stamp
from vespera_orchestrator.documents.readings import code_stamps
from vespera_orchestrator.documents.rendering import template_files
from vespera_orchestrator.documents.sources.languages.syntax import installed_grammars
from vespera_orchestrator.home.failing_documents import FAILING, STATE_FILE
from vespera_orchestrator.home.files import translate_os_error, write_atomically
from vespera_orchestrator.home.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vespera_orchestrator._model import Event
    from vespera_orchestrator.documents.layout import Layout
    from vespera_orchestrator.documents.place import Place
    from vespera_orchestrator.documents.project_types import ProjectType
    from vespera_orchestrator.home.scope import Scope

_LAYOUT = 2
"""Version of the file; one of another layout is ignored, and written again."""
_NEWS_ONCE_COMPLETED = frozenset(
    {
        EventKind.TASK_UPDATED,
        EventKind.ARTIFACT_SAVED,
        EventKind.ARTIFACT_SUPERSEDED,
        EventKind.ARTIFACT_FORGOTTEN,
    }
)
"""What belongs to a task counts once the task is completed."""
_RELEVANT_KINDS = (
    EventKind.TASK_COMPLETED,
    EventKind.TASK_CORRECTED,
    EventKind.TASK_RETRIED,
    EventKind.TASK_REOPENED,
    EventKind.TASK_ARCHIVED,
    EventKind.TASK_DELETED,
    EventKind.STORE_IMPORTED,
    EventKind.STORE_REPAIRED,
    EventKind.TEXT_FORGOTTEN,
    *_NEWS_ONCE_COMPLETED,
)
"""Kinds of events that can change what a document says.

``document_updated`` is not among them: an update must not cause the next one.
"""

_Entry = dict[str, Any]
"""For one project type: up to which event it is up to date, and the signature then."""


@attrs.define(kw_only=True)
class _State:
    """What the file says."""

    types: dict[str, _Entry] = attrs.field(factory=dict)
    """By project type."""
    written: dict[str, str] = attrs.field(factory=dict)
    """The place to which each document was written, by its path."""
    failing: list[str] = attrs.field(factory=list)
    """The documents that the last update had to leave as they are."""


class UpdateState:
    """Remembers for each project type up to which event its documents are up to date.

    Args:
        scope: Knows the home and the store.
        layout: Knows the paths.
    """

    def __init__(self, scope: Scope, layout: Layout) -> None:
        self._scope = scope
        self._layout = layout
        self._irrelevant_to: dict[str, int] = {}
        """By project type: up to which event the log has nothing that a document would show."""

    def is_current(self, kind: ProjectType, place: Place) -> bool:
        """Tell whether neither the log nor a file has changed since the last update."""
        entry = self._read().types.get(kind.name)
        if entry is None or entry["signature"] != self._signature(kind, place):
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
        """Tell whether an event can change a document."""
        if event.data.get("kind") == ArtifactKind.PROPOSAL:
            return False
        if event.kind not in _NEWS_ONCE_COMPLETED or event.task_id is None:
            return True
        task = self._scope.store.find_task(event.task_id, None)
        return task is None or task.status is TaskStatus.COMPLETED

    def save(self, kind: ProjectType, seq: int, place: Place) -> None:
        """Remember that the documents are up to date with event *seq*."""
        state = self._read()
        signature = self._signature(kind, place)
        state.types[kind.name] = {"seq": seq, "signature": signature}
        self._write(state)

    def was_written(self, path: str, place: Place) -> bool:
        """Tell whether a document was written to *place*: if it is not there, it was deleted."""
        return self._read().written.get(path) == place.name

    def remember_written(self, paths: Iterable[str], place: Place) -> None:
        """Remember where documents are, so that a deleted one is not written again."""
        state = self._read()
        news = {path: place.name for path in paths if state.written.get(path) != place.name}
        if news:
            state.written.update(news)
            self._write(state)

    def remember_failing(self, failing: Iterable[str], names: Iterable[str]) -> None:
        """Remember which documents could not be brought up to date.

        Args:
            failing: Their paths.
            names: The paths of all documents that were looked at.
        """
        state = self._read()
        others = set(state.failing).difference(names)
        news = sorted({*others, *failing})
        if news != state.failing:
            state.failing = news
            self._write(state)

    def accept(self, path: str, place: Place) -> None:
        """Let a file as it is now count as up to date, until there is news."""
        state = self._read()
        for entry in state.types.values():
            if path in entry["signature"]:
                entry["signature"][path] = place.stamp(path)
        self._write(state)

    def _signature(self, kind: ProjectType, place: Place) -> dict[str, Any]:
        """Return what changes when a document, a template or this package changes.

        Reads none of them.
        """
        home = self._scope.home
        documents = self._layout.documents(kind)
        templates = template_files(documents, home.templates)
        signature: dict[str, Any] = {"store": self._scope.store.identity, "place": place.name}
        for name in documents:
            path = self._layout.path(name)
            signature[path] = place.stamp(path)
        signature["tree"] = self._tree_stamp(documents, place)
        for file in templates:
            signature[str(file)] = file_stamp(file)
        signature["grammars"] = installed_grammars()
        signature |= code_stamps()
        return signature

    def _tree_stamp(self, documents: Iterable[str], place: Place) -> str:
        """Return what changes when a file changes that documents are made from."""
        own = {self._layout.path(name) for name in documents}
        own |= {self._layout.former_path(name) for name in documents}
        files = [pair for pair in place.tree().files.items() if pair[0] not in own]
        return hashlib.sha256(repr(files).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def _file(self) -> Path:
        return self._scope.home.path / STATE_FILE

    def _read(self) -> _State:
        try:
            state = read_json(self._file)
            if state["layout"] != _LAYOUT:
                return _State()
            types = {
                name: {"seq": int(entry["seq"]), "signature": dict(entry["signature"])}
                for name, entry in state["types"].items()
            }
            return _State(
                types=types,
                written=dict(state["written"]),
                failing=list(state.get(FAILING, [])),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return _State()

    def _write(self, state: _State) -> None:
        text = json.dumps(
            {
                "layout": _LAYOUT,
                "types": state.types,
                "written": state.written,
                FAILING: state.failing,
            }
        )
        try:
            write_atomically(self._file, text)
        except OSError as exc:
            raise translate_os_error(exc, self._file) from exc
