"""The files of the project, as they are now: what documents say about code and texts is read there.

A tree is the project's folder, or the state of a branch.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

READ_SUFFIXES = (".py", ".pyi", ".md", ".markdown", ".txt", ".tex", ".bib", ".json")
"""Endings of the files that some document reads."""
_MAX_BYTES = 1_000_000
_MAX_FILES = 20_000
_SKIPPED_FOLDERS = frozenset(
    {"node_modules", "__pycache__", "site-packages", "venv", "env", "build", "dist"}
)


@attrs.frozen(kw_only=True)
class Tag:
    """A version of the project."""

    name: str
    """As it is written, such as ``v1.2.0``."""
    commit: str
    at: datetime
    """When its commit was made."""


class ProjectTree(Protocol):
    """The files of a project at one moment."""

    @property
    def files(self) -> Mapping[str, str]:
        """What changes when a file changes, by path; only files that some document reads.

        Paths are relative to the project's folder, with forward slashes, in order.
        """

    def read(self, path: str) -> str | None:
        """Return the text of a file; ``None`` if it is missing, too large, or not UTF-8."""

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The versions that this state contains, the oldest first."""

    def at(self, commit: str) -> ProjectTree | None:
        """Return the tree of an earlier state; ``None`` where there is none."""


class FolderTree:
    """The files in a folder, without hidden ones and what tools put there.

    Args:
        folder: The project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def files(self) -> Mapping[str, str]:
        """See `ProjectTree.files`."""
        found: dict[str, str] = {}
        for path, status in _walk(self._folder, ""):
            found[path] = f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"
            if len(found) == _MAX_FILES:
                break
        return dict(sorted(found.items()))

    def read(self, path: str) -> str | None:
        """See `ProjectTree.read`."""
        if path not in self.files:
            return None
        try:
            return self._folder.joinpath(path).read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def tags(self) -> tuple[Tag, ...]:
        """A folder knows no versions."""
        return ()

    def at(self, commit: str) -> None:  # noqa: ARG002 - a folder knows no earlier state
        """See `ProjectTree.at`."""
        return


def is_read(name: str, size: int) -> bool:
    """Tell whether some document reads a file."""
    return name.endswith(READ_SUFFIXES) and size <= _MAX_BYTES


def is_skipped(folder: str) -> bool:
    """Tell whether a folder of this name holds nothing that people of the project wrote."""
    return folder.startswith(".") or folder in _SKIPPED_FOLDERS


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files below a folder. A link is not followed, nor another project entered."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    is_foreign = ".git" in names or "pyvenv.cfg" in names
    if prefix and is_foreign:
        return
    for entry in entries:
        if entry.is_symlink():
            continue
        if entry.is_dir():
            if not is_skipped(entry.name):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.name.endswith(READ_SUFFIXES):
            status = entry.stat()
            if is_read(entry.name, status.st_size):
                yield f"{prefix}{entry.name}", status
