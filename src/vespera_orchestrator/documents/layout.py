"""Where each document lies: its path, as the settings of the home say."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import arguments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator.documents.project_types import ProjectType, ProjectTypes
    from vespera_orchestrator.home.config import DocumentSettings


@attrs.frozen(kw_only=True)
class Layout:
    """The paths of documents, relative to the project's folder and with forward slashes."""

    settings: DocumentSettings
    project: Path
    types: ProjectTypes

    def documents(self, kind: ProjectType) -> tuple[str, ...]:
        """Return the names of the documents of *kind* that are kept."""
        excluded = {name.casefold() for name in self.settings.exclude}
        return tuple(name for name in kind.documents if name.casefold() not in excluded)

    def path(self, name: str) -> str:
        """Return the path of the document *name*."""
        chosen = self.settings.names.get(name)
        if chosen is not None:
            return posixpath.normpath(chosen)
        return posixpath.join(posixpath.normpath(self.settings.folder), name)

    def former_path(self, name: str) -> str:
        """Return where earlier versions of this library kept the document."""
        return f"docs/{name.lower()}"

    def resolve(self, path: str | os.PathLike[str]) -> str:
        """Return the path of the document that *path* means.

        A document's name will do, in any case: ``CHANGELOG.md`` or ``changelog.md``. So will its
        path, absolute or relative to the project's folder.
        """
        relative = arguments.path("path", path)
        if relative.is_absolute():
            relative = self._within_project(relative)
        text = relative.as_posix()
        for name in self.all_names():
            usual = self.path(name)
            if text.casefold() in (name.casefold(), usual.casefold(), self.former_path(name)):
                return usual
        if "/" not in text:
            return posixpath.join(self.settings.folder, text)
        return text

    def all_names(self) -> list[str]:
        """Return the names of the documents of every type."""
        kinds = self.types.all().values()
        return list(dict.fromkeys(name for kind in kinds for name in kind.documents))

    def _within_project(self, path: Path) -> Path:
        resolved = path.parent.resolve() / path.name
        if resolved.is_relative_to(self.project):
            return resolved.relative_to(self.project)
        return resolved

    def select(self, kind: ProjectType, only: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the documents that a caller asks for.

        Raises:
            InvalidInputError: The project keeps no such document.
        """
        kept = self.documents(kind)
        by_path = {self.path(name): name for name in kept}
        selected = []
        for path in only:
            name = by_path.get(self.resolve(path))
            if name is None:
                known = ", ".join(kept)
                shown = show_value(str(path))
                problem = f"{shown} is no document of this project; it keeps {known}"
                raise InvalidInputError("only", problem)
            selected.append(name)
        return tuple(selected)


def relative_link(from_path: str, to_path: str) -> str:
    """Return the link from one document to another."""
    return posixpath.relpath(to_path, posixpath.dirname(from_path) or ".")
