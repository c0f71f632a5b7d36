"""The files of the project, as they are now: what documents say about code and texts is read there.

A tree is the project's folder, or the state of a branch.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vespera_orchestrator.home.reading import read_small_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

READ_SUFFIXES = (
    *(".py", ".pyi", ".md", ".markdown", ".txt", ".tex", ".bib", ".json"),
    *(".cc", ".cjs", ".cpp", ".cs", ".cts", ".go", ".h", ".hpp", ".java", ".js", ".jsx"),
    *(".kt", ".mjs", ".mts", ".php", ".rb", ".rs", ".scala", ".swift", ".ts", ".tsx"),
    *("go.mod", "Cargo.toml"),
)
"""Endings of the files that some document reads."""
_MAX_BYTES = 1_000_000
_MAX_FILES = 20_000
_SKIPPED_FOLDERS = frozenset(
    {"node_modules", "__pycache__", "site-packages", "venv", "env", "build", "dist"}
)


class VersionTag(Protocol):
    """A version of the project."""

    @property
    def name(self) -> str:
        """As it is written, such as ``v1.2.0``."""

    @property
    def commit(self) -> str:
        """Its commit, in hexadecimal."""

    @property
    def at(self) -> datetime:
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
    def tags(self) -> tuple[VersionTag, ...]:
        """The versions that this state contains, the oldest first."""

    def at(self, commit: str) -> ProjectTree | None:
        """Return the tree of an earlier state; ``None`` where there is none."""


class CommittedFiles(Protocol):
    """The files of a commit, as git keeps them."""

    @property
    def blobs(self) -> Mapping[str, str]:
        """The name of each file's content, by path."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; ``None`` if there is none."""

    def size_bytes(self, path: str) -> int:
        """Return the size of a file that is there."""

    def versions(self) -> Sequence[VersionTag]:
        """Return the versions that the commit contains, the oldest first."""

    def at(self, commit: str) -> CommittedFiles:
        """Return the files of another commit."""

    def last_change(self, path: str) -> str | None:
        """Return the commit that made a file what it is here; ``None`` if none is known to."""


class CommitTree:
    """The files of a commit.

    Args:
        files: What git has of them.
    """

    def __init__(self, files: CommittedFiles) -> None:
        self._files = files

    @cached_property
    def files(self) -> Mapping[str, str]:
        """See `ProjectTree.files`."""
        return {path: blob for path, blob in self._files.blobs.items() if _is_wanted(path)}

    def read(self, path: str) -> str | None:
        """See `ProjectTree.read`."""
        if path not in self.files or self._files.size_bytes(path) > _MAX_BYTES:
            return None
        content = self._files.read(path)
        if content is None:
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None

    @cached_property
    def tags(self) -> tuple[VersionTag, ...]:
        """See `ProjectTree.tags`."""
        return tuple(self._files.versions())

    def at(self, commit: str) -> CommitTree:
        """See `ProjectTree.at`."""
        return CommitTree(self._files.at(commit))


class FolderTree:
    """The files in a folder, without hidden ones and what tools put there.

    Args:
        folder: The project's folder.
        committed: The files of the commit that is checked out there, if it is one: it knows the
            versions.
    """

    def __init__(self, folder: Path, committed: CommittedFiles | None = None) -> None:
        self._folder = folder
        self._committed = None if committed is None else CommitTree(committed)

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
            return read_small_file(self._folder / path, _MAX_BYTES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def tags(self) -> tuple[VersionTag, ...]:
        """See `ProjectTree.tags`."""
        return () if self._committed is None else self._committed.tags

    def at(self, commit: str) -> CommitTree | None:
        """See `ProjectTree.at`."""
        return None if self._committed is None else self._committed.at(commit)


def _is_wanted(path: str) -> bool:
    *folders, name = path.split("/")
    return is_read(name, 0) and not any(map(is_skipped, folders))


def is_read(name: str, size: int) -> bool:
    """Tell whether some document reads a file."""
    return name.endswith(READ_SUFFIXES) and size <= _MAX_BYTES


def is_skipped(folder: str) -> bool:
    """Tell whether a folder of this name holds nothing that people of the project wrote."""
    return folder.startswith(".") or folder in _SKIPPED_FOLDERS


def all_paths(folder: Path) -> list[str]:
    """Return the paths of all files of a project, whatever they are."""
    return [path for path, _ in _walk(folder, "", suffixes=("",))]


def _walk(
    folder: Path, prefix: str, suffixes: tuple[str, ...] = READ_SUFFIXES
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files below a folder. A link is not followed, nor another project entered."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    is_foreign = not names.isdisjoint((".git", "pyvenv.cfg", "CACHEDIR.TAG"))
    if prefix and is_foreign:
        return
    for entry in entries:
        if entry.is_symlink():
            continue
        if entry.is_dir():
            if not is_skipped(entry.name):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", suffixes)
        elif entry.name.endswith(suffixes):
            status = entry.stat()
            if "" in suffixes or is_read(entry.name, status.st_size):
                yield f"{prefix}{entry.name}", status
