"""Snapshots: the worktree's files as a commit, without touching the agent's index, HEAD, branch or hooks."""

from __future__ import annotations

import hashlib
import os
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pygit2
from pygit2.enums import DeltaStatus, DiffOption, FileMode, SortMode
from pygit2.ffi import C, ffi

from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.worktrees.checkout import admin_trouble
from vespera_orchestrator.worktrees.repository import WIP, git_errors

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_FLAGS = DiffOption.INCLUDE_UNTRACKED | DiffOption.RECURSE_UNTRACKED_DIRS | DiffOption.IGNORE_SUBMODULES | DiffOption.INCLUDE_TYPECHANGE
_SKIP_WORKTREE = 1 << 14
_TRIES = 5
"""How often to try a file that is rewritten while it is read."""


@attrs.frozen
class Snapshot:
    """A worktree's files at one moment. The objects are written; until `pin` no ref holds them."""

    worktree: str
    """The worktree's name."""
    commit: str
    """The commit that holds the files, in hexadecimal.

    Its parents: the worktree's HEAD, what is being merged into it, then the previous snapshot.
    """
    tree: str
    """Its tree, in hexadecimal."""
    changed: bool
    """Whether anything is different from the previous snapshot; when not, *commit* is that one."""
    skipped: tuple[str, ...]
    """Paths that were left out: larger than ``max_file_bytes`` and untracked, unreadable, or repositories of their own."""
    previous: str | None
    """What the ref named when the snapshot was taken."""
    _repository: ProjectRepository = attrs.field(repr=False, eq=False)

    @property
    def ref(self) -> str:
        """The ref that holds the worktree's latest snapshot."""
        return WIP + self.worktree

    def pin(self) -> None:
        """Make the ref name this snapshot, if it still names the previous one. Quick; does not call the store. Idempotent.

        Raises:
            RefMovedError: Another snapshot was pinned meanwhile, or the worktree was removed. Nothing was changed.
        """
        if self.changed:
            self._repository.move(self.ref, self.previous, self.commit, message=f"snapshot of {self.worktree}")

    def __str__(self) -> str:
        left_out = f", left out: {', '.join(self.skipped)}" if self.skipped else ""
        return f"{self.worktree} {self.commit[:12]}{'' if self.changed else ' (unchanged)'}{left_out}"


def take(repository: ProjectRepository, worktree: Worktree, *, note: str, max_file_bytes: int | None) -> Snapshot:
    """Write the files of *worktree* as a commit and move no ref. To be called under the worktree's lock.

    Untracked files are included, ignored ones are not.

    Args:
        repository: The repository.
        worktree: The worktree.
        note: First line of the commit's message.
        max_file_bytes: Larger untracked files are left out; ``None`` takes all.

    Raises:
        GitFailedError: The folder is gone, or git refused.
        UnsupportedRepositoryError: The agent's index is of a kind that libgit2 cannot read.
    """
    doing = f"save the files of worktree {worktree.name}"
    with git_errors(doing):
        if (trouble := admin_trouble(repository, worktree)) is not None:
            raise GitFailedError(doing, trouble)
        previous = repository.tip(WIP + worktree.name)
        repo = repository.open_worktree(worktree.name)
        reading = _Reading(repo, Path(worktree.path), max_file_bytes)
        tree = reading.tree()
        parents = _parents(repo, repository.admin(worktree.name), merged=not reading.unmerged)
        if _is_unchanged(repo, tree, parents, previous, worktree):
            return Snapshot(worktree.name, previous or worktree.base, tree, False, tuple(reading.skipped), previous, repository)
        author, committer = repository.signatures(repo)
        lineage = list(dict.fromkeys((*parents, *([previous] if previous else []))))
        message = _message(worktree, note, reading.skipped)
        commit = str(repo.create_commit(None, author, committer, message, tree, lineage))
        return Snapshot(worktree.name, commit, tree, True, tuple(reading.skipped), previous, repository)


def _parents(repo: pygit2.Repository, admin: Path, *, merged: bool) -> list[str]:
    """Return the parents that a commit of the agent's would have now: HEAD, and what it is merging, once every conflict is resolved."""
    parents = [] if repo.head_is_unborn else [str(repo.head.peel(pygit2.Commit).id)]
    if merged and (merging := admin / "MERGE_HEAD").is_file():
        parents += merging.read_text("ascii").split()
    return parents


def _is_unchanged(repo: pygit2.Repository, tree: str, parents: list[str], previous: str | None, worktree: Worktree) -> bool:
    last = repo[previous or worktree.base].peel(pygit2.Commit)
    if str(last.tree_id) != tree:
        return False
    # A commit of the agent's own is pinned even when it changed no file: a reset would lose it.
    known = [str(parent) for parent in last.parent_ids[: len(parents)]] if previous else [worktree.base]
    return parents == known


def _message(worktree: Worktree, note: str, skipped: list[str]) -> str:
    left_out = "".join(f"Left-out: {path}\n" for path in skipped)
    return f"{' '.join(note.split()) or 'snapshot'}\n\nWorktree: {worktree.name}\nBranch: {worktree.branch}\n{left_out}"


class _Reading:
    """One pass over the folder. The agent's index is used in memory for what it knows about unchanged files, and never written."""

    def __init__(self, repo: pygit2.Repository, folder: Path, max_file_bytes: int | None) -> None:
        self._repo = repo
        self._folder = folder
        self._max_file_bytes = max_file_bytes
        self._index = repo.index
        self._index.read(True)
        self.unmerged = self._index.conflicts is not None
        self.skipped: list[str] = []

    def tree(self) -> str:
        changes = [(delta.status, os.fsdecode(delta.new_file.raw_path)) for delta in self._index.diff_to_workdir(_FLAGS).deltas]
        # Removals first: a file may have become a folder, or the other way round.
        for status, path in changes:
            if status == DeltaStatus.DELETED and not self._is_outside_sparse(path):
                self._forget(path)
        for status, path in changes:
            if status != DeltaStatus.DELETED:
                self._take(path, untracked=status == DeltaStatus.UNTRACKED)
        return str(self._index.write_tree(self._repo))

    def _is_outside_sparse(self, path: str) -> bool:
        # An agent may have made its worktree sparse: what is not on disk because of that was not deleted.
        entry = C.git_index_get_bypath(self._index._index, os.fsencode(path), 0)  # noqa: SLF001 - pygit2 shows no flags
        return entry != ffi.NULL and bool(entry.flags_extended & _SKIP_WORKTREE)

    def _forget(self, path: str) -> None:
        for stage in range(4):  # a path in conflict has up to three entries, and none of the ordinary kind
            try:
                self._index.remove(path, stage)
            except (OSError, pygit2.GitError):
                continue

    def _take(self, path: str, *, untracked: bool) -> None:
        full = self._folder / path
        try:
            status = full.lstat()
        except (FileNotFoundError, NotADirectoryError):
            self._forget(path)
            return
        if stat.S_ISDIR(status.st_mode):
            self._skip(path.rstrip("/"))
        elif untracked and self._max_file_bytes is not None and status.st_size > self._max_file_bytes:
            self._skip(path)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._read(path, full)

    def _read(self, path: str, full: Path) -> None:
        for _ in range(_TRIES):
            try:
                self._index.add(path)
            except (OSError, pygit2.GitError):
                continue
            return
        # It never holds still, or it cannot be read: take one look at it as a whole.
        try:
            status = full.lstat()
            if stat.S_ISLNK(status.st_mode):
                content, mode = os.fsencode(full.readlink()), FileMode.LINK
            else:
                content, mode = full.read_bytes(), FileMode.BLOB_EXECUTABLE if status.st_mode & stat.S_IXUSR else FileMode.BLOB
        except FileNotFoundError:
            self._forget(path)
        except OSError:
            self._skip(path)
        else:
            self._index.add(pygit2.IndexEntry(path, self._repo.create_blob(content), mode))

    def _skip(self, path: str) -> None:
        self.skipped.append(os.fsencode(path).decode("utf-8", "backslashreplace"))


_COMMITS_LOOKED_AT = 2000


def commit_with(repository: ProjectRepository, path: str, digest: str) -> str | None:
    """Return the newest commit whose file at *path* has this SHA-256; ``None`` when none of the last 2,000 has it."""
    with git_errors(f"look for {path}"):
        repo = repository.open()
        walk = repo.walk(None, SortMode.TIME)
        for tip in {*repository.refs("refs/heads/").values(), *repository.refs("refs/vespera/").values()}:
            walk.push(tip)
        seen: set[pygit2.Oid] = set()
        for commit in islice(walk, _COMMITS_LOOKED_AT):
            blob = _blob_at(commit.tree, path)
            if blob is None or blob.id in seen:
                continue
            seen.add(blob.id)
            if hashlib.sha256(memoryview(blob)).hexdigest() == digest:
                return str(commit.id)
    return None


def _blob_at(tree: pygit2.Tree, path: str) -> pygit2.Blob | None:
    try:
        found = tree[path]
    except (KeyError, ValueError):
        return None
    return found if isinstance(found, pygit2.Blob) else None
