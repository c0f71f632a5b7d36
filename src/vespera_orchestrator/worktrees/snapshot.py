"""Snapshots: a worktree's files as a commit.

The agent's index, HEAD, branch and hooks are not touched.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import SortMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import GitOperation
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._secrets import mask
from vespera_orchestrator._text import printable
from vespera_orchestrator.errors import RefMovedError
from vespera_orchestrator.worktrees.git_config import read_signatures
from vespera_orchestrator.worktrees.left_out import LeftOut, refuse_left_out, shown_path
from vespera_orchestrator.worktrees.nested import (
    NestedRepositories,
    SavedNested,
    nested_commit,
    nested_line,
)
from vespera_orchestrator.worktrees.operation import (
    UnderWay,
    find_operation,
    merged_commits,
    operation_line,
    write_state,
)
from vespera_orchestrator.worktrees.refs import HISTORY, WIP
from vespera_orchestrator.worktrees.retention import (
    EarlierSnapshot,
    read_history,
    thin_out,
    write_history,
)
from vespera_orchestrator.worktrees.retrying import retrying
from vespera_orchestrator.worktrees.set_aside import find_set_aside
from vespera_orchestrator.worktrees.snapshot_index import SnapshotIndex
from vespera_orchestrator.worktrees.staging import Held, Staging
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.update import recover_update

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.snapshot_index import FolderReading

_TRIES: Final = 10
_LEFT_OUT: Final = "Left-out: "
"""Begins a line of a snapshot's message. Stored, for people who read it."""
_COMMITS_SEARCHED: Final = 2000


@attrs.frozen(kw_only=True)
class Snapshot(Record):
    """A worktree's files at one moment.

    No ref holds the objects until `pin`, which writes those that are new.
    """

    worktree: str
    """The worktree's name."""
    commit: str
    """The commit that holds the files, in hexadecimal.

    Its parents are the worktree's HEAD, then what is merged into it. While the agent has a git
    operation under way, the second one keeps the state of that operation. The last one keeps the
    repositories inside the worktree, if there are any."""
    tree: str
    """Its tree, in hexadecimal."""
    changed: bool = False
    """Whether anything differs from the previous snapshot; if not, *commit* is that one."""
    skipped: tuple[str, ...] = ()
    """Paths that are not among its files: untracked files above ``max_file_bytes``, nested
    repositories, edits in submodules, pipes and sockets, files that cannot be read or have a name
    git refuses. Repositories are kept beside the files, and land with nothing. So is what the
    agent has set aside with ``git stash``, or on a branch that it left.
    """
    previous: str | None = None
    """What the ref named when the snapshot was taken."""
    passing: bool = False
    """Whether it may be thinned out later, like that of a heartbeat; others are kept for ever."""
    _under_way: UnderWay | None = attrs.field(default=None, repr=False)
    _left_out: tuple[LeftOut, ...] = attrs.field(default=(), repr=False)
    """The same with the reasons."""
    _index: SnapshotIndex = attrs.field(repr=False, eq=False)
    _history: tuple[str | None, str | None] = attrs.field(
        default=(None, None), repr=False, eq=False
    )
    """What the history ref names, and what it is to name."""
    _staging: Staging | None = attrs.field(default=None, repr=False, eq=False)
    """Where its new objects are until `pin`."""
    _over_passing: bool = attrs.field(default=False, repr=False, eq=False)
    """Whether the history says of the previous snapshot that it was a passing one.

    Somebody may be naming it just now."""

    json_form = JsonForm(properties=("ref", "operation", "conflicts"))

    @property
    def ref(self) -> str:
        """The ref that holds the worktree's latest snapshot."""
        return WIP + self.worktree

    @property
    def unsaved(self) -> tuple[LeftOut, ...]:
        """What was left out and would be lost with the worktree."""
        return tuple(item for item in self._left_out if item.is_lost_with_worktree)

    @property
    def operation(self) -> GitOperation | None:
        """The git operation that the agent had under way."""
        return None if self._under_way is None else self._under_way.operation

    @property
    def conflicts(self) -> tuple[str, ...]:
        """The files that were in conflict in the agent's index."""
        return () if self._under_way is None else self._under_way.paths

    def refuse_under_way(self) -> None:
        """Refuse to go on while the agent has a git operation under way.

        Raises:
            OperationUnderWayError: It names what to do.
        """
        if self._under_way is not None:
            raise self._under_way.error()

    def refuse_unlandable(self) -> None:
        """Refuse to call done what does not hold all of the work.

        Raises:
            OperationUnderWayError: A git operation of the agent's is under way.
            UnsavedFilesError: Something could not be saved.
        """
        self.refuse_under_way()
        refuse_left_out(self._index.worktree, self._left_out)

    def pin(self) -> None:
        """Make the ref name this snapshot, if it still names the previous one.

        Quick; does not call the store. Idempotent.

        Raises:
            RefMovedError: Another snapshot was pinned first, or the worktree was removed.
                Nothing was changed.
        """
        with self.held() as held:
            self.pin_held(held)

    def pin_held(self, held: Held | None) -> None:
        """Do what `pin` does, within the block of `held`, with what that gave."""
        repository = self._index.repository
        if not self.changed:
            # One that is going to be named must not have been superseded as a passing one.
            if not self.passing:
                repository.confirm(self.ref, self.previous)
            return
        self._keep_previous(held)
        repository.move(
            self.ref,
            self.previous,
            self.commit,
            message=f"snapshot of {self.worktree}",
            while_locked=self._refuse_named,
            held=held,
        )
        self._index.mark(self.commit, passing=self.passing)

    def held(
        self, *commits: str, staging: Staging | None = None
    ) -> AbstractContextManager[Held | None]:
        """Put on disk what `pin` is going to name, with *commits*, and keep it within the block.

        Args:
            commits: What else refs are going to name within the block.
            staging: Where new objects of theirs are, if not with those of the snapshot.

        Raises:
            RefMovedError: Objects were pruned in the meantime.
        """
        own = (self.commit, self._history[1]) if self.changed else ()
        names = [name for name in (*own, *commits) if name is not None]
        repository, (history, _) = self._index.repository, self._history
        return repository.holding(
            names,
            expected=self.previous,
            ref=self.ref,
            known=[history],
            staging=staging or self._staging,
        )

    def staging(self) -> Staging:
        """Return where its new objects are, and what is made of it may be put."""
        return self._staging or self._index.repository.staging()

    def open(self) -> pygit2.Repository:
        """Open the repository, with what is not on disk yet."""
        return self._index.repository.open(self._staging)

    def _refuse_named(self) -> None:
        if self._over_passing and not self._index.is_passing(self.previous):
            reason = "somebody has used the snapshot that this one was to replace"
            raise RefMovedError(self.ref, self.previous or "", reason=reason)

    def _keep_previous(self, held: Held | None) -> None:
        """Hang the previous snapshot on the history, before the ref drops it."""
        repository, (before, after) = self._index.repository, self._history
        if after is None or repository.tip(self.ref) == self.commit:
            return
        try:
            repository.move(HISTORY + self.worktree, before, after, held=held)
        except RefMovedError as exc:
            reason = "another snapshot was added to its history"
            raise RefMovedError(self.ref, self.previous or "", reason=reason) from exc

    def __str__(self) -> str:
        text = f"{self.worktree} {self.commit[:12]}"
        if not self.changed:
            text += " (unchanged)"
        if self.skipped:
            text += f", left out: {', '.join(self.skipped)}"
        return text


# --- taking -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Beside:
    """What is kept beside the files: each in a commit of its own."""

    under_way: UnderWay | None
    """The git operation that the agent had under way."""
    state: str | None
    """The commit that keeps its state."""
    nested: SavedNested | None
    """The repositories inside the worktree."""
    previous: str | None
    """The nested commit of the previous snapshot."""

    @classmethod
    def of(
        cls,
        repository: ProjectRepository,
        worktree: Worktree,
        reading: FolderReading,
        *,
        snapshot: str | None,
        max_file_bytes: int | None,
    ) -> _Beside:
        """Write what there is; no ref is moved.

        Args:
            repository: The repository.
            worktree: The worktree.
            reading: What was found in its folder.
            snapshot: The previous snapshot.
            max_file_bytes: Larger files in them are left out; ``None`` takes all.
        """
        repo = reading.repo
        under_way = find_operation(repository, worktree, has_conflicts=reading.unmerged)
        state = None
        if under_way is not None:
            state = write_state(repository, repo, worktree, under_way)
        previous = None if snapshot is None else nested_commit(repo, snapshot)
        inside = NestedRepositories(repository, worktree)
        nested = inside.save(
            reading.open_plain,
            reading.repositories,
            previous=previous,
            max_file_bytes=max_file_bytes,
        )
        return cls(under_way=under_way, state=state, nested=nested, previous=previous)

    def judge(self, left_out: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
        """Mark what was left out of the files and is kept here."""
        whole = () if self.nested is None else self.nested.whole
        kept = {shown_path(path) for path in whole}
        return tuple(
            attrs.evolve(item, is_kept=item.is_repository and item.path in kept)
            for item in left_out
        )


def take_snapshot(
    repository: ProjectRepository,
    worktree: Worktree,
    *,
    note: str,
    max_file_bytes: int | None,
    passing: bool = False,
    midway: bool = False,
    hidden: bool = False,
    repositories: Iterable[str] = (),
) -> Snapshot:
    """Write the files of *worktree* as a commit and move no ref.

    Call it under the worktree's lock, after `require_folder` or what does the same. Untracked files
    are included, ignored ones are not.

    Args:
        repository: The repository.
        worktree: The worktree.
        note: First line of the commit's message.
        max_file_bytes: Larger untracked files are left out; ``None`` takes all, and looks at
            everything anew, also for files that git never lists.
        passing: Whether it may be thinned out later.
        midway: Whether the caller is just bringing something in; otherwise what was half brought
            in is taken back first.
        hidden: Whether to take also edits that the agent told git not to look at
            (``git update-index --assume-unchanged`` and the like).
        repositories: Repositories inside the worktree to keep besides those that keep it from
            landing.

    Raises:
        GitFailedError: Git refused.
        UnsupportedRepositoryError: The agent's index is of a kind that libgit2 cannot read.
    """
    doing = f"save the files of worktree {worktree.name}"
    with git_errors(doing):
        if not midway:
            recover_update(repository, worktree)
        index = SnapshotIndex(repository, worktree)
        previous = repository.tip(WIP + worktree.name)
        anchor = previous or worktree.base
        reading, tree = _read_files(index, anchor, max_file_bytes, hidden=hidden)
        if not passing:
            reading.look_at_staged_submodules(worktree.base, tree)
            reading.look_at_uninitialised_submodules()
        if max_file_bytes is None and not midway:
            reading.look_at_unlisted(tree)
        reading.leave_out_repositories(repositories)
        beside = _Beside.of(
            repository, worktree, reading, snapshot=previous, max_file_bytes=max_file_bytes
        )
        left_out = list(reading.left_out)
        if beside.under_way is None:
            left_out += find_set_aside(repository, reading.repo, worktree, tree)
        snapshot = Snapshot(
            worktree=worktree.name,
            commit=anchor,
            tree=tree,
            skipped=tuple(dict.fromkeys(item.path for item in left_out)),
            left_out=beside.judge(left_out),
            under_way=beside.under_way,
            previous=previous,
            passing=passing,
            index=index,
        )
        parents = _parents(repository, worktree, beside)
        if _is_unchanged(reading.repo, tree, parents, previous, worktree):
            index.remember(reading, anchor)
            if not passing:
                index.mark(anchor, passing=False)
            return snapshot
        message = _message(worktree, note, snapshot.skipped, beside)
        return _write_commit(snapshot, index, reading, message=message, parents=parents)


def _write_commit(
    snapshot: Snapshot,
    index: SnapshotIndex,
    reading: FolderReading,
    *,
    message: str,
    parents: list[str],
) -> Snapshot:
    """Write the commit of a *snapshot* that differs from the previous one."""
    repo, tree = reading.repo, snapshot.tree
    author, committer = read_signatures(repo)
    commit = str(repo.create_commit(None, author, committer, message, tree, parents))
    index.remember(reading, commit)
    over_passing = index.is_passing(snapshot.previous)
    history = _next_history(index, repo, snapshot.previous, committer, named=not over_passing)
    return attrs.evolve(
        snapshot,
        commit=commit,
        changed=True,
        history=history,
        over_passing=over_passing,
        staging=reading.staging,
    )


def _read_files(
    index: SnapshotIndex, anchor: str, max_file_bytes: int | None, *, hidden: bool
) -> tuple[FolderReading, str]:
    # A file never held still, or `git gc --prune=now` deleted what was written a moment ago.
    for attempt in retrying(pygit2.GitError, times=_TRIES):
        with attempt:
            reading = index.read(anchor, max_file_bytes)
            if hidden:
                reading.look_at_hidden()
            return reading, reading.write_tree()
        index.forget()
    raise AssertionError  # pragma: no cover - the last try returns or raises


def _parents(repository: ProjectRepository, worktree: Worktree, beside: _Beside) -> list[str]:
    """Return the parents that a commit of the agent's would have now, and what is kept beside it.

    These are HEAD, and what it is merging once every conflict is resolved. While an operation is
    under way, the second one is the commit that keeps its state.
    """
    head = repository.worktree_head(worktree.name)
    others = [beside.state] if beside.state else merged_commits(repository, worktree)
    if beside.nested is not None:
        others.append(beside.nested.commit)
    if head is None and (beside.state or beside.nested):
        head = worktree.base  # the first parent is never one of those
    return others if head is None else [head, *others]


def _is_unchanged(
    repo: pygit2.Repository, tree: str, parents: list[str], previous: str | None, worktree: Worktree
) -> bool:
    last = repo[previous or worktree.base].peel(pygit2.Commit)
    if str(last.tree_id) != tree:
        return False
    # A commit of the agent's own is pinned even when it changed no file: a reset would lose it.
    if previous is None:
        return parents == [worktree.base]
    return parents == [str(parent) for parent in last.parent_ids]


def _next_history(
    index: SnapshotIndex,
    repo: pygit2.Repository,
    previous: str | None,
    who: pygit2.Signature,
    *,
    named: bool,
) -> tuple[str | None, str | None]:
    """Return what the history ref names, and a commit through which *previous* stays reachable."""
    name = index.worktree.name
    before = index.repository.tip(HISTORY + name)
    if previous is None:
        return before, None
    last = EarlierSnapshot(commit=previous, at=repo[previous].commit_time, named=named)
    earlier = thin_out([*read_history(repo, before), last], int(time.time()))
    if last not in earlier:  # superseded within the hour that it stands for
        earlier.append(last)
    return before, write_history(repo, name, earlier, who)


def _message(worktree: Worktree, note: str, skipped: tuple[str, ...], beside: _Beside) -> str:
    title = " ".join(printable(mask(note)).split()) or "snapshot"
    lines = [
        title,
        "",
        f"Worktree: {worktree.name}",
        f"Branch: {worktree.branch}",
    ]
    if beside.under_way is not None:
        lines.append(operation_line(beside.under_way.operation))
    if beside.nested is not None:
        lines.append(nested_line(beside.nested.commit))
    lines += [_LEFT_OUT + path for path in skipped]
    return "\n".join(lines) + "\n"


# --- reading ----------------------------------------------------------------


def latest_snapshot(repository: ProjectRepository, worktree: Worktree) -> Snapshot:
    """Return the latest snapshot that was taken, without looking at the files.

    Where there is none, what the worktree started from.
    """
    with git_errors(f"read the latest snapshot of {worktree.name}"):
        previous = repository.tip(WIP + worktree.name)
    return snapshot_at(repository, worktree, previous or worktree.base, previous)


def snapshot_at(
    repository: ProjectRepository, worktree: Worktree, commit: str, previous: str | None = None
) -> Snapshot:
    """Return the state of the worktree's files that *commit* holds."""
    with git_errors(f"read what is kept of {worktree.name}"):
        tree = str(repository.open()[commit].peel(pygit2.Tree).id)
    return Snapshot(
        worktree=worktree.name,
        commit=commit,
        tree=tree,
        previous=previous,
        index=SnapshotIndex(repository, worktree),
    )


def is_snapshot_message(message: str, worktree: str) -> bool:
    """Tell whether a commit's message is that of a snapshot of this worktree."""
    return f"\n\nWorktree: {worktree}\nBranch: " in message


def find_commit_with(repository: ProjectRepository, path: str, digest: str) -> str | None:
    """Return the newest commit whose file at *path* has this SHA-256.

    ``None`` when none of the last 2,000 commits of branches and snapshots has it.
    """
    with git_errors(f"look for {path}"):
        repo = repository.open()
        walk = repo.walk(None, SortMode.TIME)
        branches, ours = repository.refs("refs/heads/"), repository.refs("refs/vespera/")
        for tip in {*branches.values(), *ours.values()}:
            walk.push(tip)
        hashed: set[pygit2.Oid] = set()
        for commit in islice(walk, _COMMITS_SEARCHED):
            blob = _blob_at(commit.tree, path)
            if blob is None or blob.id in hashed:
                continue
            hashed.add(blob.id)
            if hashlib.sha256(memoryview(blob)).hexdigest() == digest:
                return str(commit.id)
    return None


def _blob_at(tree: pygit2.Tree, path: str) -> pygit2.Blob | None:
    try:
        entry = tree[path]
    except (KeyError, ValueError):
        return None
    return entry if isinstance(entry, pygit2.Blob) else None
