"""Snapshots: the worktree's files as a commit, without touching the agent's index, HEAD, branch or hooks.

What is known of the files (their times and sizes, the trees of unchanged folders) is kept from one snapshot to the next in an index of our
own, below the worktree's admin directory. It begins as a copy of the agent's, and it counts only while it stands for the commit that the
snapshot ref names: so it never vouches for an object that nothing holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs
import pygit2
from pygit2.enums import DeltaStatus, DiffOption, FileMode, SortMode
from pygit2.ffi import C, ffi

from vespera_orchestrator.errors import GitFailedError, RefMovedError
from vespera_orchestrator.worktrees import retention, tree_merge, update
from vespera_orchestrator.worktrees.checkout import admin_trouble
from vespera_orchestrator.worktrees.repository import WIP, git_errors
from vespera_orchestrator.worktrees.retention import HISTORY, Earlier

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_FLAGS = (
    DiffOption.INCLUDE_UNTRACKED
    | DiffOption.RECURSE_UNTRACKED_DIRS
    | DiffOption.IGNORE_SUBMODULES
    | DiffOption.INCLUDE_TYPECHANGE
)
_SKIP_WORKTREE = 1 << 14
_ASSUME_UNCHANGED = 1 << 15
_TRIES = 10
"""How often to try a file that is rewritten while it is read."""
_LEFT_OUT = "Left-out: "


@attrs.frozen(kw_only=True)
class Snapshot:
    """A worktree's files at one moment. The objects are written; until `pin` no ref holds them."""

    worktree: str
    """The worktree's name."""
    commit: str
    """The commit that holds the files, in hexadecimal. Its parents are the worktree's HEAD, then what is being merged into it."""
    tree: str
    """Its tree, in hexadecimal."""
    changed: bool
    """Whether anything is different from the previous snapshot; when not, *commit* is that one."""
    skipped: tuple[str, ...]
    """Paths that were left out: larger than ``max_file_bytes`` and untracked, unreadable, or repositories of their own."""
    previous: str | None
    """What the ref named when the snapshot was taken."""
    passing: bool
    """Whether it may be thinned out later, as that of a heartbeat; others are kept for ever."""
    _saver: _Saver = attrs.field(repr=False, eq=False)
    _history: tuple[str | None, str | None] = attrs.field(repr=False, eq=False)
    """What the history ref names, and what it is to name."""
    _over_passing: bool = attrs.field(repr=False, eq=False)
    """Whether the history says of the previous snapshot that it was a passing one; somebody may be naming it just now."""
    _brings: tuple[str, ...] = attrs.field(repr=False, eq=False)
    """The trees and blobs that were written."""

    @property
    def ref(self) -> str:
        """The ref that holds the worktree's latest snapshot."""
        return WIP + self.worktree

    def pin(self) -> None:
        """Make the ref name this snapshot, if it still names the previous one. Quick; does not call the store. Idempotent.

        Raises:
            RefMovedError: Another snapshot was pinned meanwhile, or the worktree was removed. Nothing was changed.
        """
        repository = self._saver.repository
        if not self.changed:
            if (
                not self.passing
            ):  # it is going to be named: it must not have been superseded as a passing one
                repository.move(self.ref, self.previous, self.previous)
            return
        self._keep_previous()

        message = f"snapshot of {self.worktree}"
        repository.move(
            self.ref,
            self.previous,
            self.commit,
            message=message,
            first=self._refuse_named,
            brings=self._brings,
        )
        self._saver.mark(self.commit, passing=self.passing)

    def _refuse_named(self) -> None:
        if self._over_passing and not self._saver.is_passing(self.previous):
            raise RefMovedError(
                self.ref, self.previous or "", "the same, which somebody was told of meanwhile"
            )

    def _keep_previous(self) -> None:
        """Hang the previous snapshot on the history, before the ref lets go of it."""
        repository, (before, after) = self._saver.repository, self._history
        if after is None or repository.tip(self.ref) == self.commit:
            return
        try:
            repository.move(HISTORY + self.worktree, before, after, brings=())
        except RefMovedError as exc:
            raise RefMovedError(self.ref, self.previous or "", "another snapshot") from exc

    def __str__(self) -> str:
        left_out = f", left out: {', '.join(self.skipped)}" if self.skipped else ""
        return (
            f"{self.worktree} {self.commit[:12]}{'' if self.changed else ' (unchanged)'}{left_out}"
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
) -> Snapshot:
    """Write the files of *worktree* as a commit and move no ref. To be called under the worktree's lock.

    Untracked files are included, ignored ones are not.

    Args:
        repository: The repository.
        worktree: The worktree.
        note: First line of the commit's message.
        max_file_bytes: Larger untracked files are left out; ``None`` takes all, and looks at everything anew.
        passing: Whether it may be thinned out later.
        midway: Whether the caller is just bringing something in; otherwise what was half brought in is taken back first.
        hidden: Whether to take also edits that the agent told git not to look at (``git update-index --assume-unchanged`` and the like).

    Raises:
        GitFailedError: The folder is gone, or git refused.
        UnsupportedRepositoryError: The agent's index is of a kind that libgit2 cannot read.
    """
    doing = f"save the files of worktree {worktree.name}"
    with git_errors(doing):
        if (trouble := admin_trouble(repository, worktree)) is not None:
            raise GitFailedError(doing, trouble)
        if not midway:
            update.settle(repository, worktree)
        saver = _Saver(repository, worktree)
        previous = repository.tip(WIP + worktree.name)
        reading, tree = _read_patiently(
            saver, previous or worktree.base, max_file_bytes, hidden=hidden
        )
        repo, skipped = reading.repo, tuple(reading.skipped)
        parents = _parents(repository, worktree, merged=not reading.unmerged)
        if _is_unchanged(repo, tree, parents, previous, worktree):
            commit = previous or worktree.base
            saver.remember(reading, commit)
            if not passing:
                saver.mark(commit, passing=False)
            return Snapshot(
                worktree=worktree.name,
                commit=commit,
                tree=tree,
                changed=False,
                skipped=skipped,
                previous=previous,
                passing=passing,
                saver=saver,
                history=(None, None),
                over_passing=False,
                brings=(),
            )
        author, committer = repository.signatures(repo)
        commit = str(
            repo.create_commit(
                None, author, committer, _message(worktree, note, reading.skipped), tree, parents
            )
        )
        saver.remember(reading, commit)
        over_passing = saver.is_passing(previous)
        line = _history(
            repository, worktree.name, repo, previous, committer, named=not over_passing
        )
        return Snapshot(
            worktree=worktree.name,
            commit=commit,
            tree=tree,
            changed=True,
            skipped=skipped,
            previous=previous,
            passing=passing,
            saver=saver,
            history=line,
            over_passing=over_passing,
            brings=reading.brought(tree),
        )


def pinned(repository: ProjectRepository, worktree: Worktree) -> Snapshot:
    """Return the latest snapshot that was taken, without looking at the files; where there is none, what the worktree started from."""
    with git_errors(f"read the latest snapshot of {worktree.name}"):
        previous = repository.tip(WIP + worktree.name)
    return at(repository, worktree, previous or worktree.base, previous)


def at(
    repository: ProjectRepository, worktree: Worktree, commit: str, previous: str | None = None
) -> Snapshot:
    """Return the state of the worktree's files that *commit* holds."""
    with git_errors(f"read what is kept of {worktree.name}"):
        tree = str(repository.open()[commit].peel(pygit2.Tree).id)
    return Snapshot(
        worktree=worktree.name,
        commit=commit,
        tree=tree,
        changed=False,
        skipped=(),
        previous=previous,
        passing=False,
        saver=_Saver(repository, worktree),
        history=(None, None),
        over_passing=False,
        brings=(),
    )


def _read_patiently(
    saver: _Saver, anchor: str, max_file_bytes: int | None, *, hidden: bool
) -> tuple[_Reading, str]:
    for remaining in reversed(range(_TRIES)):
        try:
            reading = saver.read(anchor, max_file_bytes)
            if hidden:
                reading.look_at_hidden()
            return reading, reading.tree()
        except (
            pygit2.GitError
        ):  # a file never held still, or `git gc --prune=now` took what was written a moment ago
            if not remaining:
                raise
            saver.forget()
    raise AssertionError  # pragma: no cover - the last round returns or raises


def tidy(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Remove what a killed snapshot left of the index it was writing; return whether there was something. Under the worktree's lock."""
    return _Saver(repository, worktree).tidy()


def left_out(repository: ProjectRepository, commit: str) -> tuple[str, ...]:
    """Return the paths that the snapshot *commit* had to leave out, as its message tells them."""
    with git_errors(f"read the snapshot {commit}"):
        lines = repository.open()[commit].message.splitlines()
    return tuple(line.removeprefix(_LEFT_OUT) for line in lines if line.startswith(_LEFT_OUT))


def _parents(repository: ProjectRepository, worktree: Worktree, *, merged: bool) -> list[str]:
    """Return the parents that a commit of the agent's would have now: HEAD, and what it is merging, once every conflict is resolved."""
    head = repository.worktree_head(worktree.name)
    parents = [] if head is None else [head]
    if merged and (merging := repository.admin(worktree.name) / "MERGE_HEAD").is_file():
        parents += merging.read_text("ascii").split()
    return parents


def _is_unchanged(
    repo: pygit2.Repository, tree: str, parents: list[str], previous: str | None, worktree: Worktree
) -> bool:
    last = repo[previous or worktree.base].peel(pygit2.Commit)
    if str(last.tree_id) != tree:
        return False
    # A commit of the agent's own is pinned even when it changed no file: a reset would lose it.
    return parents == ([str(parent) for parent in last.parent_ids] if previous else [worktree.base])


def _history(
    repository: ProjectRepository,
    name: str,
    repo: pygit2.Repository,
    previous: str | None,
    who: pygit2.Signature,
    *,
    named: bool,
) -> tuple[str | None, str | None]:
    """Return what the history ref names, and the commit it is to name so that *previous* stays reachable."""
    before = repository.tip(HISTORY + name)
    if previous is None:
        return before, None
    last = Earlier(commit=previous, at=repo[previous].commit_time, named=named)
    kept = retention.thinned([*retention.read(repo, before), last], int(time.time()))
    if last not in kept:  # superseded within the hour that it stands for
        kept.append(last)
    return before, retention.write(repo, name, kept, who)


def _message(worktree: Worktree, note: str, skipped: list[str]) -> str:
    told = "".join(f"{_LEFT_OUT}{path}\n" for path in skipped)
    return f"{' '.join(note.split()) or 'snapshot'}\n\nWorktree: {worktree.name}\nBranch: {worktree.branch}\n{told}"


# --- what is known of the files ------------------------------------------------


class _Saver:
    """A git directory of our own for one worktree, with an index of our own: what is known of its files since the last snapshot.

    Used under the worktree's lock. All of it may be lost at any time: the next snapshot then looks at everything anew.
    """

    def __init__(self, repository: ProjectRepository, worktree: Worktree) -> None:
        self.repository = repository
        self._worktree = worktree
        self._admin = repository.admin(worktree.name)
        self._folder = self._admin / "vespera"
        self._basis = self._folder / "basis.json"
        self._passing = self._folder / "passing"

    def read(self, anchor: str, max_file_bytes: int | None) -> _Reading:
        """Look at the files; *anchor* is the commit that a kept index must stand for."""
        repo = self._open()
        seen = self._seen(repo)
        basis = self._remembered()
        if (
            max_file_bytes is not None
            and basis is not None
            and (basis["commit"], basis["seen"]) == (anchor, seen)
        ):
            reading = _Reading(repo, self._worktree, max_file_bytes, seen, basis)
            if not reading.changes_what_is_ignored():
                return reading
            repo = self._open()
        self._begin_anew()
        try:
            return _Reading(repo, self._worktree, max_file_bytes, seen, None)
        except pygit2.GitError as exc:
            if "mandatory extension" not in str(exc) or not self._rewrite_by_git():
                raise
        return _Reading(self._open(), self._worktree, max_file_bytes, seen, None)

    def _open(self) -> pygit2.Repository:
        if not self._folder.joinpath("gitdir").exists():
            self._folder.mkdir(exist_ok=True)
            self._folder.joinpath("HEAD").write_text("ref: refs/heads/nothing\n", "utf-8")
            self._folder.joinpath("commondir").write_bytes(
                os.fsencode(self.repository.common) + b"\n"
            )
            with suppress(FileExistsError):
                self._folder.joinpath("config.worktree").symlink_to("../config.worktree")
            self._folder.joinpath("gitdir").write_bytes(
                os.fsencode(self._worktree.path) + b"/.git\n"
            )
        return pygit2.Repository(str(self._folder))

    def _seen(self, repo: pygit2.Repository) -> list[list[int]]:
        """Return what shows that the agent's index, or what is ignored outside of the worktree, is another."""
        ignored = self.repository.common / "info" / "exclude", self.repository.excludes_file(repo)
        return [_stamp(path) for path in (self._admin / "index", *ignored)]

    def _remembered(self) -> dict[str, Any] | None:
        try:
            basis = json.loads(self._basis.read_text("utf-8"))
            return basis if basis["index"] == _stamp(self._folder / "index") else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self) -> None:
        """Look at everything anew next time."""
        self._basis.unlink(missing_ok=True)

    def tidy(self) -> bool:
        """Remove half-written files of ours; return whether there were any."""
        left = [
            path for name in ("index.lock", "basis.new") if (path := self._folder / name).exists()
        ]
        for path in left:
            path.unlink()
        return bool(left)

    def _begin_anew(self) -> None:
        self.forget()
        self._folder.joinpath("index.lock").unlink(missing_ok=True)  # only we come here
        index = self._folder / "index"
        if self._admin.joinpath("index").exists():
            # With its time: what changed in the same tick as it was written must be looked at.
            shutil.copy2(self._admin / "index", index)
        else:
            index.unlink(missing_ok=True)

    def _rewrite_by_git(self) -> bool:
        """Let git write our copy of a split or sparse index as a plain one, which libgit2 can read; ``False`` without git."""
        git = shutil.which("git")
        if git is None:
            return False
        place = [f"--git-dir={self._admin}", f"--work-tree={self._worktree.path}"]
        plain = [
            "-c",
            "core.splitIndex=false",
            "-c",
            "index.sparse=false",
            "-c",
            "core.fsmonitor=false",
        ]
        command = [git, *place, *plain, "update-index", "--no-split-index", "--force-write-index"]
        environment = {**os.environ, "GIT_INDEX_FILE": str(self._folder / "index")}
        run = subprocess.run(
            command, cwd=self._worktree.path, env=environment, capture_output=True, check=False
        )
        return run.returncode == 0

    def remember(self, reading: _Reading, commit: str) -> None:
        """Keep what is known now, for as long as the snapshot ref names *commit*."""
        if reading.is_as_remembered(commit):
            return
        with suppress(OSError, pygit2.GitError):  # it only saves time
            self._basis.unlink(missing_ok=True)
            reading.index.write()
            stamp = _stamp(self._folder / "index")
            basis = {
                "commit": commit,
                "seen": reading.seen,
                "unmerged": reading.unmerged,
                "index": stamp,
            }
            temporary = self._folder / "basis.new"
            temporary.write_text(json.dumps(basis), "utf-8")
            temporary.replace(self._basis)

    # passing snapshots

    def is_passing(self, commit: str | None) -> bool:
        """Tell whether nobody was told the name of this snapshot. Without evidence it counts as named."""
        try:
            return commit is not None and self._passing.read_text("ascii") == commit
        except (OSError, ValueError):
            return False

    def mark(self, commit: str, *, passing: bool) -> None:
        """Leave evidence that nobody was told the name of the latest snapshot, or take it away."""
        with suppress(FileNotFoundError):  # the worktree was removed meanwhile
            if passing:
                self._passing.write_text(commit, "ascii")
            else:
                self._passing.unlink()


def _stamp(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_mtime_ns, status.st_size, status.st_ino]


class _Reading:
    """One pass over the folder."""

    def __init__(
        self,
        repo: pygit2.Repository,
        worktree: Worktree,
        max_file_bytes: int | None,
        seen: list[list[int]],
        basis: dict[str, Any] | None,
    ) -> None:
        self.repo = repo
        self.seen = seen
        self.skipped: list[str] = []
        self._folder = Path(worktree.path)
        self._max_file_bytes = max_file_bytes
        self._basis = basis
        self.index = repo.index
        self.unmerged = (
            self.index.conflicts is not None if basis is None else bool(basis["unmerged"])
        )
        self._changes = self._compare()
        self._touched: set[str] = set()
        self._agents: pygit2.Index | None = None

    def _compare(self) -> list[tuple[DeltaStatus, str]]:
        for remaining in reversed(range(_TRIES)):
            try:
                deltas = self.index.diff_to_workdir(_FLAGS).deltas
            except (OSError, pygit2.GitError):  # a file grew shorter while it was compared
                if not remaining:
                    raise
            else:
                return [(delta.status, os.fsdecode(delta.new_file.raw_path)) for delta in deltas]
        raise AssertionError  # pragma: no cover - the last round raises or returns

    def look_at_hidden(self) -> None:
        """Look again, at files too that the agent's index says not to look at, as far as they are on the disk."""
        shown = False
        for number in range(len(self.index)):
            entry = ffi.cast(
                "git_index_entry *",
                C.git_index_get_byindex(self.index._index, number),  # noqa: SLF001
            )
            hidden = entry.flags & _ASSUME_UNCHANGED or entry.flags_extended & _SKIP_WORKTREE
            if hidden and os.path.lexists(self._folder / os.fsdecode(ffi.string(entry.path))):
                entry.flags &= ~_ASSUME_UNCHANGED & 0xFFFF
                entry.flags_extended &= ~_SKIP_WORKTREE & 0xFFFF
                shown = True
        if shown:
            self._changes = self._compare()

    def changes_what_is_ignored(self) -> bool:
        """Tell whether files that were taken may be ignored now, or the reverse."""
        return any(path.endswith(".gitignore") for _, path in self._changes)

    def is_as_remembered(self, commit: str) -> bool:
        """Tell whether what is known is what was known for *commit*."""
        return self._basis is not None and self._basis["commit"] == commit and not self._touched

    def brought(self, tree: str) -> tuple[str, ...]:
        """Return the trees and blobs that stand for what changed in *tree*, itself included."""
        root = self.repo[tree]
        folders = {str(folder) for path in self._touched for folder in PurePosixPath(path).parents}
        trees = (str(root[folder].id) for folder in folders - {"."} if folder in root)
        return (
            tree,
            *trees,
            *(str(self.index[path].id) for path in self._touched if path in self.index),
        )

    def tree(self) -> str:
        # Removals first: a file may have become a folder, or the other way round.
        for status, path in self._changes:
            if status == DeltaStatus.DELETED and not self._is_outside_sparse(path):
                self._forget(path)
        for status, path in self._changes:
            if status != DeltaStatus.DELETED:
                self._take(path, untracked=status == DeltaStatus.UNTRACKED)
        return self._beside_the_last() or str(self.index.write_tree(self.repo))

    def _beside_the_last(self) -> str | None:
        """Write the last snapshot's tree with what has changed since: the index would write from all of its entries."""
        if self._basis is None:
            return None
        known = self.repo[self._basis["commit"]].peel(pygit2.Tree)
        if not self._touched:
            return str(known.id)
        return tree_merge.tree_with(
            self.repo, known, {path: self._entry(path) for path in self._touched}
        )

    def _entry(self, path: str) -> tree_merge.File:
        if path not in self.index:
            return None
        entry = self.index[path]
        return str(entry.id), int(entry.mode)

    def _is_outside_sparse(self, path: str) -> bool:
        # An agent may have made its worktree sparse: what is not on disk because of that was not deleted.
        entry = C.git_index_get_bypath(self.index._index, os.fsencode(path), 0)  # noqa: SLF001 - pygit2 shows no flags
        return entry != ffi.NULL and bool(entry.flags_extended & _SKIP_WORKTREE)

    def _forget(self, path: str) -> None:
        self._touched.add(path)
        for stage in range(
            4
        ):  # a path in conflict has up to three entries, and none of the ordinary kind
            try:
                self.index.remove(path, stage)
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
        elif (
            self._max_file_bytes is not None
            and status.st_size > self._max_file_bytes
            and (untracked or not self._is_tracked(path))
        ):
            self._skip(path)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._read(path, full)

    def _is_tracked(self, path: str) -> bool:
        """Tell whether the agent's own index has the file: ours has untracked ones as well, since they were last saved."""
        if self._agents is None:
            self._agents = pygit2.Index(str(Path(self.repo.path).parent / "index"))
        return path in self._agents

    def _read(self, path: str, full: Path) -> None:
        self._touched.add(path)
        for _ in range(_TRIES):
            try:
                self.index.add(path)
            except (OSError, pygit2.GitError):
                continue
            return
        # It never holds still, or it cannot be read: take one look at it as a whole.
        try:
            status = full.lstat()
            if stat.S_ISLNK(status.st_mode):
                content, mode = os.fsencode(full.readlink()), FileMode.LINK
            else:
                content, mode = (
                    full.read_bytes(),
                    FileMode.BLOB_EXECUTABLE if status.st_mode & stat.S_IXUSR else FileMode.BLOB,
                )
        except FileNotFoundError:
            self._forget(path)
        except OSError:
            self._skip(path)
        else:
            self.index.add(pygit2.IndexEntry(path, self.repo.create_blob(content), mode))

    def _skip(self, path: str) -> None:
        self.skipped.append(os.fsencode(path).decode("utf-8", "backslashreplace"))


_COMMITS_LOOKED_AT = 2000


def commit_with(repository: ProjectRepository, path: str, digest: str) -> str | None:
    """Return the newest commit whose file at *path* has this SHA-256; ``None`` when none of the last 2,000 has it."""
    with git_errors(f"look for {path}"):
        repo = repository.open()
        walk = repo.walk(None, SortMode.TIME)
        for tip in {
            *repository.refs("refs/heads/").values(),
            *repository.refs("refs/vespera/").values(),
        }:
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
