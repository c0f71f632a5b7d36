"""Conflict markers in a worktree's files: writing them, and finding those that are left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import MergeConflictError
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.conflict_report import Conflict, conflict_paths
from vespera_orchestrator.worktrees.landed_mark import LandedMark
from vespera_orchestrator.worktrees.paths import display_path
from vespera_orchestrator.worktrees.tree_merge import changes, entry_at, is_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_BEGIN, _END = rb"^<{7} ", rb"^>{7} "


# --- writing ----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class MarkedTree:
    """A merged tree in which conflicts stand between markers."""

    tree: str | None
    """``None`` where a file and a folder claim the same name: then there is no such tree."""
    conflicts: tuple[str, ...] = ()
    """The paths in conflict, as text."""
    marked: tuple[str, ...] = ()
    """Those of them that have markers."""


def write_with_markers(
    repo: pygit2.Repository, index: pygit2.Index, labels: Sequence[bytes]
) -> MarkedTree:
    """Write the tree of a merge. What cannot be put together as text stays as ours is.

    Args:
        repo: The repository.
        index: The merge. Its conflicts are taken out.
        labels: What to call base, ours and theirs in the markers.
    """
    conflicts: list[Conflict] = list(index.conflicts or ())
    nothing = MarkedTree(tree=None, conflicts=conflict_paths(conflicts))
    _remove_conflicts(index, conflicts)
    marked: list[str] = []
    for sides in conflicts:
        _, ours, theirs = sides
        entry = ours or theirs
        if entry is None:
            continue
        content = _content_with_markers(repo, sides, labels)
        if content:
            entry = pygit2.IndexEntry(entry.path, repo.create_blob(content), entry.mode)
            marked.append(entry.path)
        try:
            index.add(entry)
        except (OSError, ValueError, pygit2.GitError):
            return nothing
    try:
        tree = str(index.write_tree(repo))
    except (OSError, pygit2.GitError):
        return nothing
    return MarkedTree(tree=tree, conflicts=nothing.conflicts, marked=tuple(marked))


def _remove_conflicts(index: pygit2.Index, conflicts: Iterable[Conflict]) -> None:
    for sides in conflicts:
        for path in {entry.path for entry in sides if entry is not None}:
            if path in (index.conflicts or ()):
                del index.conflicts[path]


def _content_with_markers(
    repo: pygit2.Repository, sides: Conflict, labels: Sequence[bytes]
) -> bytes | None:
    """Return the file with markers, if both sides have it and it is text.

    In a link, markers would be a path that leads nowhere.
    """
    _, ours, theirs = sides
    if ours is None or theirs is None or FileMode.LINK in (ours.mode, theirs.mode):
        return None
    if not is_text(repo, ours.path):
        return None
    merge = libgit2.merge_file(repo, sides, labels)
    return None if merge is None else merge.content


# --- finding ----------------------------------------------------------------


def unresolved(repo: pygit2.Repository, commit: str, mark: str | None) -> tuple[str, ...]:
    """Return the files of a snapshot that still have the markers of a conflict, as text.

    Args:
        repo: The repository.
        commit: The snapshot.
        mark: The commit that keeps what the worktree has of the integration branch.
    """
    tree = repo[commit].peel(pygit2.Tree)
    landed = LandedMark.read(repo, mark)
    paths = _unresolved_paths(repo, str(tree.id), landed)
    return tuple(display_path(path) for path in paths)


def refuse_unresolved(
    repo: pygit2.Repository, branch: str, tree: str, mark: LandedMark | None
) -> None:
    """Refuse to land files that still have markers.

    Raises:
        MergeConflictError: With the paths, and a report.
    """
    paths = tuple(display_path(path) for path in _unresolved_paths(repo, tree, mark))
    if not paths:
        return
    names = "".join(f"- {path}\n" for path in paths)
    report = (
        "# Conflict markers are left\n\n"
        "These files still hold both sides between `<<<<<<<` and `>>>>>>>`:\n\n"
        f"{names}\n"
        "Correct them in the worktree, then complete the task again.\n"
    )
    raise MergeConflictError(branch, paths, report)


def still_marked(repo: pygit2.Repository, tree: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield those of *paths* that have markers in *tree*, or are gone from there.

    A file that is gone may have another name now.
    """
    for path in paths:
        if _is_gone(repo, tree, path) or _has_markers(repo, tree, path):
            yield path


def _unresolved_paths(repo: pygit2.Repository, tree: str, mark: LandedMark | None) -> list[str]:
    """Return the files that still have markers, under whatever name they are now."""
    if mark is None:
        return []
    paths = [path for path in mark.marked if _has_markers(repo, tree, path)]
    if any(_is_gone(repo, tree, path) for path in mark.marked):
        for path in added_paths(repo, mark.tree, tree):
            if path not in paths and _has_markers(repo, tree, path):
                paths.append(path)
    return paths


def added_paths(repo: pygit2.Repository, before: str, after: str) -> Iterator[str]:
    """Yield the files that the tree *after* has and the tree *before* has not."""
    trees = (repo[name].peel(pygit2.Tree) for name in (before, after))
    for path, (old, new) in sorted(changes(repo, *trees).items()):
        if old is None and new is not None:
            yield path


def _is_gone(repo: pygit2.Repository, tree: str, path: str) -> bool:
    file = entry_at(repo[tree], path)
    return file is None


def _has_markers(repo: pygit2.Repository, tree: str, path: str) -> bool:
    file = entry_at(repo[tree], path)
    blob = None if file is None else repo.get(file[0])
    if not isinstance(blob, pygit2.Blob):
        return False
    text = blob.data
    if re.search(_BEGIN, text, re.MULTILINE) is None:
        return False
    return re.search(_END, text, re.MULTILINE) is not None
