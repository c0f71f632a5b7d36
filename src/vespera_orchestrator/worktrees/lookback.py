"""What changed between two commits, file by file, for whoever comes back to the work."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.worktrees.paths import display_path
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import changes
from vespera_orchestrator.worktrees.tree_survey import read_blob

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.tree_merge import File

_LOOKED_INTO: Final = 5
"""In how many files the lines are looked for; the others are only counted."""
_MOST_RANGES: Final = 3
"""How many places of one file are named."""
_MOST_BYTES: Final = 1_000_000
"""Larger files are named without their lines."""


@attrs.frozen(kw_only=True)
class FileChange:
    """A file that was changed, and where."""

    path: str
    """Its path, as text that can be shown."""
    ranges: tuple[tuple[int, int], ...] = ()
    """First and last line of each new part, from 1; empty for a removed or a binary file."""
    first_line: str = ""
    """The first new line that is not blank."""
    is_removed: bool = False
    """Whether the file is gone."""

    def __str__(self) -> str:
        if self.is_removed:
            return f"{self.path} (removed)"
        places = [f"{first}-{last}" if last > first else f"{first}" for first, last in self.ranges]
        return ":".join([self.path, ",".join(places)]) if places else self.path


@attrs.frozen(kw_only=True)
class Changes:
    """What differs between two commits."""

    files: tuple[FileChange, ...] = ()
    """The first few files."""
    total: int = 0
    """How many files there are in all."""


def changes_between(
    repository: ProjectRepository, old: str, new: str, *, documents: Collection[str] = ()
) -> Changes:
    """Return what changed from the commit *old* to the commit *new*; see `changes_of`."""
    with git_errors(f"compare {old[:12]} with {new[:12]}"):
        repo = repository.open()
        before, after = (repo[commit].peel(pygit2.Tree) for commit in (old, new))
        return _changes(repo, before, after, documents)


def changes_of(
    repository: ProjectRepository, commit: str, *, documents: Collection[str] = ()
) -> Changes:
    """Return what the commit *commit* changed, compared with its first parent.

    Args:
        repository: The repository.
        commit: The commit.
        documents: Paths of documents that update themselves. They count only where nothing else
            was changed.
    """
    with git_errors(f"look into {commit[:12]}"):
        repo = repository.open()
        changed = repo[commit].peel(pygit2.Commit)
        if not changed.parents:
            return Changes()
        return _changes(repo, changed.parents[0].tree, changed.tree, documents)


def unlanded_changes(repository: ProjectRepository, commit: str) -> Changes:
    """Return what *commit*, a snapshot, has beyond what it shares with the integration branch."""
    with git_errors(f"look into {commit[:12]}"):
        repo = repository.open()
        base = repo.merge_base(repository.integration_tip(), commit)
        if base is None:
            return Changes()
        before = repo[base].peel(pygit2.Tree)
        return _changes(repo, before, repo[commit].peel(pygit2.Tree))


def commits_between(repository: ProjectRepository, old: str, new: str) -> int:
    """Return how many commits *new* has and *old* has not."""
    with git_errors(f"count the commits between {old[:12]} and {new[:12]}"):
        repo = repository.open()
        ahead, _ = repo.ahead_behind(pygit2.Oid(hex=new), pygit2.Oid(hex=old))
        return int(ahead)


def _changes(
    repo: pygit2.Repository,
    before: pygit2.Tree,
    after: pygit2.Tree,
    documents: Collection[str] = (),
) -> Changes:
    changed = sorted(changes(repo, before, after).items())
    suffixes = tuple(f"/{path}" for path in documents)  # the project may be a folder further down
    work = [item for item in changed if not f"/{item[0]}".endswith(suffixes)]
    counted = work or changed
    files = [_change(repo, path, *sides) for path, sides in counted[:_LOOKED_INTO]]
    return Changes(files=tuple(files), total=len(counted))


def _change(repo: pygit2.Repository, path: str, old: File, new: File) -> FileChange:
    path = display_path(path)
    if new is None:
        return FileChange(path=path, is_removed=True)
    sides = [_content(repo, side) for side in (old, new)]
    if None in sides:
        return FileChange(path=path)
    patch = pygit2.Patch.create_from(*sides, context_lines=0)
    if patch.delta.is_binary:
        return FileChange(path=path)
    ranges = [(hunk.new_start, hunk.new_start + max(hunk.new_lines, 1) - 1) for hunk in patch.hunks]
    first_line = next(_new_lines(patch), "")
    return FileChange(path=path, ranges=tuple(ranges[:_MOST_RANGES]), first_line=first_line)


def _content(repo: pygit2.Repository, file: File) -> bytes | None:
    """Return a side of a change; ``None`` where it is large, or no file."""
    if file is None:
        return b""
    name, mode = file
    if mode == FileMode.COMMIT:
        return None
    with suppress(pygit2.GitError):
        return read_blob(repo, name, _MOST_BYTES)
    return None


def _new_lines(patch: pygit2.Patch) -> Iterator[str]:
    for hunk in patch.hunks:
        for line in hunk.lines:
            text = line.content.strip()
            if line.origin == "+" and text:
                yield text
