"""What git never lists, so that no status tells of it and no commit takes it.

That is whatever is called ``.git`` in other letters, such as ``.GIT``, and paths that are longer
than the system can open in one piece.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator.worktrees.left_out import LeftOutKind
from vespera_orchestrator.worktrees.tree_entries import FOLDER, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GIT: Final = b".git"
_LONGEST_PATH: Final = 4095
"""Bytes of a path that the system opens; see PATH_MAX in limits.h(0P)."""
_LONGEST_SHOWN: Final = 200
"""Bytes of a path that is too long, as far as it is shown."""


def find_unlisted(
    repo: pygit2.Repository, tree: str, root: Path
) -> Iterator[tuple[str, LeftOutKind]]:
    """Yield the paths in the folder *root* that git never lists, unless they are ignored.

    Reads every folder, which costs about as much as a status does.

    Args:
        repo: The repository, opened in the worktree.
        tree: The files that are known to be there. What is ignored is not among them.
        root: The worktree's folder.
    """
    top = os.fsencode(root)
    folders: list[tuple[bytes, bytes | None]] = [(top, bytes.fromhex(tree))]
    while folders:
        folder, known = folders.pop()
        entries = _entries(folder)
        is_repository = folder != top and any(entry.name == _GIT for entry in entries)
        if is_repository:
            continue  # it is saved as one
        below = {} if known is None else _folders_in(repo, known)
        longest_name = _LONGEST_PATH - len(folder) - 1
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            is_too_long = len(entry.name) > longest_name
            if not (is_folder or is_too_long or entry.name.lower() == _GIT):
                continue
            if is_folder and entry.name in below:
                folders.append((entry.path, below[entry.name]))
                continue
            path = os.fsdecode(os.path.relpath(entry.path, top))
            if entry.name == _GIT or _is_ignored(repo, path, is_folder=is_folder):
                continue
            if is_too_long:
                yield _beginning(path), LeftOutKind.TOO_LONG
            elif entry.name.lower() == _GIT:
                yield path, LeftOutKind.UNLISTED if is_folder else LeftOutKind.REFUSED
            else:
                folders.append((entry.path, None))


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # gone meanwhile, or it cannot be read, which a status says
        return []


def _folders_in(repo: pygit2.Repository, tree: bytes) -> dict[bytes, bytes]:
    return {name: below for mode, name, below in read_entries(repo, tree) if mode == FOLDER}


def _is_ignored(repo: pygit2.Repository, path: str, *, is_folder: bool) -> bool:
    try:
        return bool(repo.path_is_ignored(f"{path}/" if is_folder else path))
    except (ValueError, pygit2.GitError):  # not text, or longer than git can look at
        return False


def _beginning(path: str) -> str:
    """Return the folders that a long path begins with, as many as can be shown."""
    shown, *parts = path.split("/")
    for part in parts:
        if len(os.fsencode(f"{shown}/{part}")) > _LONGEST_SHOWN:
            break
        shown = f"{shown}/{part}"
    return shown
