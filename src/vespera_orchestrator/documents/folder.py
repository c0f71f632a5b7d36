"""The folder of the documents: reading and writing that stays inside the project's ``docs/``."""

from __future__ import annotations

import stat
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from vespera_orchestrator.errors import DocumentUpdateError
from vespera_orchestrator.home.files import write_atomically

if TYPE_CHECKING:
    import os

FOLDER = "docs"
_TURN_OFF = "turn documents off with enabled = false under [documents] in config.toml of the home"


class DocumentFolder:
    """The folder ``docs/`` of a project.

    Args:
        project: The project's folder.
    """

    def __init__(self, project: Path) -> None:
        self._project = project

    def name(self, path: str | os.PathLike[str]) -> str:
        """Return *path* relative to the project's folder, with forward slashes.

        A bare file name is one in ``docs/``.
        """
        relative = Path(path)
        if relative.is_absolute():
            relative = self._within_project(relative)
        parts = relative.parts
        if len(parts) <= 1:
            parts = (FOLDER, *parts)
        return PurePath(*parts).as_posix()

    def _within_project(self, path: Path) -> Path:
        resolved = path.parent.resolve() / path.name
        if resolved.is_relative_to(self._project):
            return resolved.relative_to(self._project)
        return resolved

    def place(self, path: str) -> Path:
        """Return where a document lies, after checking that it is inside ``docs/``.

        Raises:
            DocumentUpdateError: It is elsewhere, or a link leads out, or it is not a file.
        """
        parts = PurePath(path).parts
        if len(parts) != 2 or parts[0] != FOLDER or parts[1] == "..":  # noqa: PLR2004 - the folder and the file
            raise DocumentUpdateError(
                path, f"is not a file directly in {FOLDER}/; documents are kept nowhere else"
            )
        place = self._project / path
        folder_mode = _mode(place.parent)
        if folder_mode is not None:
            _check_kind(path, place.parent, "folder", folder_mode, stat.S_ISDIR(folder_mode))
            file_mode = _mode(place)
            if file_mode is not None:
                _check_kind(path, place, "regular file", file_mode, stat.S_ISREG(file_mode))
        return place

    def read(self, path: str) -> bytes | None:
        """Return a document; ``None`` when it does not exist.

        Raises:
            DocumentUpdateError: It cannot be read.
        """
        try:
            return self.place(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise DocumentUpdateError(
                path, f"cannot be read ({exc.strerror}); make it readable, or {_TURN_OFF}"
            ) from exc

    def write(self, path: str, text: str) -> None:
        """Replace a document. It keeps its permissions.

        Raises:
            DocumentUpdateError: It cannot be written.
        """
        try:
            place = self.place(path)
            place.parent.mkdir(exist_ok=True)
            mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else None
            write_atomically(place, text)
            if mode is not None:
                place.chmod(mode)
        except OSError as exc:
            reason = f"cannot be written ({exc.strerror})"
            remedy = f"make room or make it writable, or {_TURN_OFF}"
            raise DocumentUpdateError(path, f"{reason}; {remedy}") from exc


def _mode(place: Path) -> int | None:
    try:
        return place.lstat().st_mode
    except FileNotFoundError:
        return None


def _check_kind(path: str, place: Path, kind: str, mode: int, matches: bool) -> None:  # noqa: FBT001 - within this module
    if matches:
        return
    actual = "a symbolic link" if stat.S_ISLNK(mode) else f"not a {kind}"
    raise DocumentUpdateError(
        path,
        f"{place} is {actual} and was not followed; put a {kind} in its place, or {_TURN_OFF}",
    )
