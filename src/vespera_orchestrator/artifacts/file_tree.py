"""Which path each artifact gets in a folder for a person: by session, task and title."""

from __future__ import annotations

import os
import unicodedata
from typing import TYPE_CHECKING, Final, TypeAlias

from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator.artifacts.content import media_types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vespera_orchestrator._model import Artifact

MANIFEST_NAME: Final = ".derived.json"
README_NAME: Final = "README.txt"

_MOST_NAME_BYTES: Final = 80
_MOST_SUFFIX_BYTES: Final = 20
_DEEPEST: Final = 8
"""How many folders deep a file may lie; a longer path becomes one name."""
_DEVICE_NAMES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}
)
"""What Windows takes for devices, with any suffix."""
_SEPARATORS: Final = frozenset('<>:"/\\|?*')
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Co", "Cn", "Zl", "Zp"})

Parts: TypeAlias = tuple[str, ...]
"""A path below the folder."""


def arrange(
    artifacts: Iterable[Artifact], session_names: Mapping[str, str], task_names: Mapping[str, str]
) -> dict[str, Artifact]:
    """Return the artifact for each path. The same records give the same paths.

    Args:
        artifacts: Each gets a path of its own.
        session_names: What the folders of the sessions are called, by id.
        task_names: What the folders of the tasks are called, by id.
    """
    tree = _Tree()
    paths = {}
    for artifact in artifacts:
        session_name = session_names.get(artifact.session_id, artifact.session_id)
        folder = tree.add_folder_of((), safe_name(session_name), artifact.session_id)
        if artifact.task_id is not None:
            task_name = task_names.get(artifact.task_id, artifact.task_id)
            folder = tree.add_folder_of(folder, safe_name(task_name), artifact.task_id)
        *subfolders, name = _names(artifact)
        for subfolder in subfolders:
            folder = tree.add_folder(folder, subfolder)
        path = tree.add_file(folder, name, artifact.id)
        paths["/".join(path)] = artifact
    return paths


class _Tree:
    """Makes sure that no two paths are the same, even if letter case is ignored."""

    def __init__(self) -> None:
        self._spelling: dict[Parts, str] = {}
        """How the last part of each path is spelled, by the folded path."""
        self._folders: set[Parts] = set()
        self._owners: dict[Parts, str] = {}
        for name in (MANIFEST_NAME, README_NAME):
            self._spelling[_folded((name,))] = name

    def add_folder(self, parent: Parts, name: str) -> Parts:
        """Return the folder of this name, shared by all who ask for it."""
        for spelling in (name, f"{name}~", f"{name} ()~"):
            folder = self._as_folder(parent, spelling)
            if folder is not None:
                return folder
        raise AssertionError(name)

    def add_folder_of(self, parent: Parts, name: str, owner: str) -> Parts:
        """Return a folder of this name that belongs to *owner* alone."""
        short_owner = owner[-6:]
        for spelling in (name, f"{name} ({short_owner})", f"{name} ({owner})~"):
            folder = self._as_folder(parent, spelling)
            if folder is None:
                continue
            first_owner = self._owners.setdefault(_folded(folder), owner)
            if first_owner == owner:
                return folder
        raise AssertionError(name)

    def _as_folder(self, parent: Parts, name: str) -> Parts | None:
        """Return the folder, as it was spelled first, or ``None`` if a file has the name."""
        key = _folded((*parent, name))
        if key not in self._spelling:
            self._spelling[key] = name
            self._folders.add(key)
        if key not in self._folders:
            return None
        return (*parent, self._spelling[key])

    def add_file(self, folder: Parts, name: str, artifact_id: str) -> Parts:
        """Return the path of a new file."""
        stem, suffix = os.path.splitext(name)
        short_id = artifact_id[-6:]
        for spelling in (
            name,
            f"{stem} ({short_id}){suffix}",
            f"{stem} ({artifact_id}){suffix}",
        ):
            key = _folded((*folder, spelling))
            if key not in self._spelling:
                self._spelling[key] = spelling
                return (*folder, spelling)
        raise AssertionError(name)


def _folded(path: Parts) -> Parts:
    lower = [part.casefold() for part in path]
    normal = [unicodedata.normalize("NFC", part) for part in lower]
    return tuple(normal)


# --- names --------------------------------------------------------------------------


def _names(artifact: Artifact) -> list[str]:
    """Return the folders and the file name that stand for the title."""
    *folders, name = _title_parts(artifact)
    stem, suffix = os.path.splitext(name)
    is_file = artifact.kind == ArtifactKind.FILE
    if not is_file and media_types.by_name(name) != artifact.media_type:
        stem = name
        suffix = media_types.suffix_of(artifact.media_type)
    ending = suffix
    if artifact.superseded:
        ending = f" v{artifact.version}{suffix}"
    room = _MOST_NAME_BYTES - len(ending.encode())
    stem = _shortened(safe_name(stem), room)
    parts = [*folders, f"{stem}{ending}"]
    return [safe_name(part) for part in parts]


def _title_parts(artifact: Artifact) -> list[str]:
    """Split the title of a file, which is its path; any other title is one name."""
    parts = [artifact.title]
    if artifact.kind == ArtifactKind.FILE:
        parts = [part for part in artifact.title.split("/") if part not in {"", ".", ".."}]
    if not 0 < len(parts) <= _DEEPEST:
        parts = ["_".join(parts)]
    return parts


def safe_name(text: str) -> str:
    """Return a file name that is valid on every system and leads nowhere.

    That is one visible component of at most 80 bytes.
    """
    text = unicodedata.normalize("NFC", text)
    text = "".join(map(_safe_character, text))
    text = " ".join(text.split())
    text = text.strip(". ")
    stem, suffix = os.path.splitext(text)
    if len(suffix.encode()) > _MOST_SUFFIX_BYTES:
        stem, suffix = text, ""
    room = _MOST_NAME_BYTES - len(suffix.encode())
    name = _shortened(stem, room) + suffix
    if not name or name[0] in "-~" or _is_device(name):
        name = f"_{name}"
    return name


def _safe_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":
        return ""  # invisible, or changes the direction of writing
    if character in _SEPARATORS or category in _UNPRINTABLE:
        return "_"
    return character


def _shortened(text: str, most_bytes: int) -> str:
    beginning = text.encode()[:most_bytes].decode("utf-8", "ignore")
    return beginning.rstrip(". ")


def _is_device(name: str) -> bool:
    stem = name.partition(".")[0]
    return stem.strip().casefold() in _DEVICE_NAMES
