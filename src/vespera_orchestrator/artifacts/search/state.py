"""What ``state.json`` says of the search index, and the folder that it stands in.

The folder::

    state.json          which generation counts, up to which event it is complete, whose vectors
    <generation>/       a table of passages: a SQLite file, or from some thousands on LanceDB's
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.files import sync_folder, translate_os_error, write_atomically
from vespera_orchestrator.home.reading import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from vespera_orchestrator._model import Event

FORMAT = 12
"""Raised when passages are cut or stored differently: an index of another format is rebuilt."""

_GENERATION = re.compile(r"[0-9a-f]{16}")


@attrs.frozen(kw_only=True)
class IndexState:
    """Where the index stands. The names of the fields are those in ``state.json``."""

    generation: str
    """Name of the folder that counts."""
    large: bool = False
    """Whether LanceDB has the passages; if not, a SQLite file has."""
    cursor: int = 0
    """The last event that is indexed."""
    stamp: str = ""
    """That event in short, which tells another log apart: a restored backup, another store."""
    version: int = 0
    """The table's version then. A lower one later means that files were lost."""
    tidied: int = 0
    """The table's version after it was last optimized."""
    gathered: int = 0
    """The table's version after its small files were last compacted."""
    epoch: int = 0
    """How often it was optimized. Rows carry the number under which they were written."""
    embedder: str = ""
    """Identity of the embedder whose vectors it has; empty for none."""
    dimensions: int = 0
    """How long the vectors are; 0 for none."""
    bare: bool = False
    """Whether passages lack a vector, because the embedder could not be reached in time."""
    unread: bool = False
    """Whether PDFs are left out, because their reader was not installed."""
    has_gaps: bool = False
    """Whether texts are not searched whole, or were not once."""
    copied_at: float = 0.0
    """When optimizing wrote most of the table anew, by the clock; 0 when it did not.

    LanceDB keeps the files from before until it is optimized again, which would be long after.
    """
    trained: int = 0
    """With how many passages the vector index was trained; 0: every vector is compared."""


_TYPES = {name: type(value) for name, value in attrs.asdict(IndexState(generation="")).items()}


class IndexFolder:
    """The folder of the index.

    Args:
        path: Where it is, or will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def generation(self, state: IndexState) -> Path:
        """Return the folder of the generation that *state* names."""
        return self.path / state.generation

    def read_state(self) -> IndexState | None:
        """Return the state; ``None`` when there is none of this format, or nothing behind it."""
        try:
            content = read_json(self._state_file)
            if content["format"] != FORMAT:
                return None
            state = IndexState(**content["state"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not _is_sound(state) or not self.generation(state).is_dir():
            return None
        return state

    def publish(self, state: IndexState) -> None:
        """Make *state* the one that counts, and remove every generation but its own.

        Raises:
            StoreError: The folder cannot be written.
        """
        text = json.dumps({"format": FORMAT, "state": attrs.asdict(state)}, indent=1)
        try:
            write_atomically(self._state_file, text)
        except OSError as exc:
            raise translate_os_error(exc, self.path) from exc
        for path in self.path.iterdir():
            if path.is_dir() and path.name != state.generation:
                shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> bool:
        """Remove the index as a whole, so that no power cut brings it back.

        Returns:
            Whether there was one.

        Raises:
            StoreError: Something of it could not be removed.
        """
        is_there = self.path.is_dir()
        try:
            if is_there:
                self._state_file.unlink(missing_ok=True)
                shutil.rmtree(self.path)
            sync_folder(self.path.parent)  # a killed call may have removed it
        except OSError as exc:
            raise translate_os_error(exc, self.path) from exc
        return is_there

    @property
    def _state_file(self) -> Path:
        return self.path / "state.json"


def _is_sound(state: IndexState) -> bool:
    """Tell whether every field has its type, and the generation is a name that we made.

    Nothing else may be joined to a path.
    """
    for name, expected in _TYPES.items():
        if type(getattr(state, name)) is not expected:
            return False
    return _GENERATION.fullmatch(state.generation) is not None


def event_stamp(event: Event) -> str:
    """Return what tells *event* apart from the one with the same number in another log."""
    time = event.at.isoformat()
    return f"{time} {event.kind} {event.session_id}"
