"""What is known of a worktree's files since its last snapshot.

A snapshot reads only what has changed. For that, times and sizes of files and the trees of
unchanged folders are kept from one snapshot to the next, in an index of our own below the
worktree's admin directory. It begins as a copy of the agent's, and it counts only while it stands
for the commit that the snapshot ref names: so it never vouches for an object that nothing holds.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import pygit2
from pygit2.enums import DeltaStatus, DiffOption, FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_small_file, read_small_text
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.git_command import find_git, run_git
from vespera_orchestrator.worktrees.git_config import excludes_file, is_true, read_settings
from vespera_orchestrator.worktrees.left_out import LeftOut, LeftOutKind, shown_path
from vespera_orchestrator.worktrees.nested import is_pushed
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.retrying import retrying
from vespera_orchestrator.worktrees.staging import LARGE_FILE_BYTES
from vespera_orchestrator.worktrees.tree_entries import new_submodules
from vespera_orchestrator.worktrees.tree_merge import tree_with
from vespera_orchestrator.worktrees.tree_switch import read_file
from vespera_orchestrator.worktrees.unlisted import find_unlisted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.staging import Staging
    from vespera_orchestrator.worktrees.tree_merge import File

_COMPARE: Final = (
    DiffOption.INCLUDE_UNTRACKED | DiffOption.RECURSE_UNTRACKED_DIRS | DiffOption.INCLUDE_TYPECHANGE
)
_KINDS_TAKEN: Final = frozenset({stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR})
"""What the system calls things that git can hold, or look into."""
_TRIES: Final = 10
"""How often to try a file that is rewritten while it is read."""
_STAGES: Final = 4
"""A path in conflict has up to three entries, and none of the ordinary kind."""
_CONVERTING: Final = ("text", "crlf", "eol", "ident", "filter", "working-tree-encoding")
"""Attributes by which git stores other bytes than the file has."""
_PLAIN_INDEX: Final = (
    *("-c", "core.splitIndex=false"),
    *("-c", "index.sparse=false"),
    *("-c", "core.fsmonitor=false"),
)

_Stamp: TypeAlias = "list[int]"
"""What shows whether a file is the same as before; a list, as JSON gives it back."""


@attrs.frozen(kw_only=True)
class _Basis:
    """What the kept index stands for. Stored as JSON beside it."""

    commit: str
    seen: list[_Stamp]
    """The agent's index and the files with what is ignored, as they were."""
    unmerged: bool
    """Whether the agent's index had conflicts."""
    index: _Stamp
    """The kept index itself: another one does not count."""

    @classmethod
    def parse(cls, text: str) -> _Basis:
        """Read what was stored.

        Raises:
            ValueError: It is not what we store.
        """
        try:
            fields = json.loads(text)
            return cls(
                commit=fields["commit"],
                seen=fields["seen"],
                unmerged=bool(fields["unmerged"]),
                index=fields["index"],
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(text) from exc


class SnapshotIndex:
    """A git directory of our own for one worktree, with an index of our own.

    Used under the worktree's lock. All of it may be lost at any time: the next snapshot then looks
    at everything anew.
    """

    def __init__(self, repository: ProjectRepository, worktree: Worktree) -> None:
        self.repository = repository
        self.worktree = worktree
        self._admin = repository.admin(worktree.name)
        self._folder = self._admin / "vespera"
        self._index = self._folder / "index"
        self._index_lock = self._folder / "index.lock"
        self._basis = self._folder / "basis.json"
        self._passing = self._folder / "passing"

    # reading

    def read(self, anchor: str, max_file_bytes: int | None) -> FolderReading:
        """Look at the files.

        Args:
            anchor: The commit that a kept index must stand for.
            max_file_bytes: Larger untracked files are left out; ``None`` takes all, and looks at
                everything anew.
        """
        repo = self._open()
        seen = self._stamps(repo)
        basis = self._read_basis()
        is_kept = basis is not None and (basis.commit, basis.seen) == (anchor, seen)
        if is_kept and max_file_bytes is not None:
            reading = self._look(repo, max_file_bytes, seen, basis)
            if not reading.changes_what_is_ignored():
                return reading
            repo = self._open()
        self._start_over()
        try:
            return self._look(repo, max_file_bytes, seen, None)
        except pygit2.GitError as exc:
            if "mandatory extension" not in str(exc) or not self._rewrite_by_git():
                raise
        return self._look(self._open(), max_file_bytes, seen, None)

    def _look(
        self,
        repo: pygit2.Repository,
        max_file_bytes: int | None,
        seen: list[_Stamp],
        basis: _Basis | None,
    ) -> FolderReading:
        staging = self.repository.staging()
        return FolderReading(repo, staging, self.worktree, max_file_bytes, seen=seen, basis=basis)

    def git_dir(self) -> Path:
        """Return the git directory, made if it is not there, with the places as they are now."""
        git_dir = self._folder
        if not git_dir.joinpath("gitdir").exists():
            git_dir.mkdir(exist_ok=True)
            git_dir.joinpath("HEAD").write_text("ref: refs/heads/nothing\n", "utf-8")
            with suppress(FileExistsError):
                git_dir.joinpath("config.worktree").symlink_to("../config.worktree")
        # They are other ones after the project or the folder was moved or copied.
        self._put("commondir", os.fsencode(self.repository.common) + b"\n")
        self._put("gitdir", os.fsencode(self.worktree.path) + b"/.git\n")
        return git_dir

    def _open(self) -> pygit2.Repository:
        return open_repository(self.git_dir())

    def _put(self, name: str, content: bytes) -> None:
        file = self._folder / name
        if not file.exists() or read_small_file(file) != content:
            file.write_bytes(content)

    def _stamps(self, repo: pygit2.Repository) -> list[_Stamp]:
        """Return what shows that the agent's index, or what is ignored elsewhere, is another."""
        files = (
            self._admin / "index",
            self.repository.common / "info" / "exclude",
            excludes_file(repo),
        )
        return [_stamp(path) for path in files]

    def _read_basis(self) -> _Basis | None:
        try:
            basis = _Basis.parse(read_small_text(self._basis, MOST_STATE_BYTES))
        except (OSError, ValueError):
            return None
        return basis if basis.index == _stamp(self._index) else None

    def _start_over(self) -> None:
        self.forget()
        self._index_lock.unlink(missing_ok=True)  # only we come here
        agents_index = self._admin / "index"
        if agents_index.exists():
            # With its time: what changed in the same tick as it was written must be looked at.
            shutil.copy2(agents_index, self._index)
        else:
            self._index.unlink(missing_ok=True)

    def _rewrite_by_git(self) -> bool:
        """Let git write our copy of a split or sparse index as one that libgit2 can read.

        Returns:
            ``False`` without git, or where git failed.
        """
        if find_git() is None:
            return False
        folder = self.worktree.path
        place = (f"--git-dir={self._admin}", f"--work-tree={folder}")
        rewrite = ("update-index", "--no-split-index", "--force-write-index")
        environment = {"GIT_INDEX_FILE": str(self._index)}
        run = run_git(*place, *_PLAIN_INDEX, *rewrite, cwd=folder, environment=environment)
        return run.returncode == 0

    # remembering

    def remember(self, reading: FolderReading, commit: str) -> None:
        """Keep what is known now, for as long as the snapshot ref names *commit*."""
        if reading.is_as_remembered(commit):
            return
        with suppress(OSError, pygit2.GitError):  # it only saves time
            self.forget()
            reading.index.write()
            basis = _Basis(
                commit=commit,
                seen=reading.seen,
                unmerged=reading.unmerged,
                index=_stamp(self._index),
            )
            # In its place: half of it counts for nothing, and a new file costs more.
            self._basis.write_text(json.dumps(attrs.asdict(basis, recurse=False)), "utf-8")

    def forget(self) -> None:
        """Look at everything anew next time."""
        with suppress(FileNotFoundError):
            os.truncate(self._basis, 0)

    def discard(self) -> None:
        """Throw everything away that was remembered."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def clean_up(self) -> bool:
        """Remove a half-written file of ours; return whether there was one."""
        was_left = self._index_lock.exists()
        self._index_lock.unlink(missing_ok=True)
        return was_left

    # passing snapshots

    def is_passing(self, commit: str | None) -> bool:
        """Tell whether nobody learned the name of this snapshot.

        Without evidence it counts as named.
        """
        try:
            return commit is not None and read_small_text(self._passing) == commit
        except (OSError, ValueError):
            return False

    def mark(self, commit: str, *, passing: bool) -> None:
        """Leave evidence that nobody learned the latest snapshot's name, or remove it.

        The evidence says which snapshot it is about, so that of an earlier one may stay.
        """
        if passing:
            with suppress(
                OSError
            ):  # a full disk, or a worktree that was removed: it counts as named
                self._passing.write_text(commit, "ascii")
        elif self.is_passing(commit):
            self._passing.unlink(missing_ok=True)


def _stamp(path: Path) -> _Stamp:
    try:
        return _stamp_of(path.stat())
    except OSError:
        return []


def _stamp_of(status: os.stat_result) -> _Stamp:
    return [status.st_mtime_ns, status.st_size, status.st_ino]


class FolderReading:
    """One pass over the folder."""

    def __init__(
        self,
        repo: pygit2.Repository,
        staging: Staging,
        worktree: Worktree,
        max_file_bytes: int | None,
        *,
        seen: list[_Stamp],
        basis: _Basis | None,
    ) -> None:
        self.staging = staging
        """Where new objects are."""
        self.repo = staging.attach(repo)
        self.seen = seen
        self.left_out: list[LeftOut] = []
        """What could not be taken."""
        self.repositories: set[str] = set()
        """Those of the paths that are repositories of their own."""
        self.index = self.repo.index
        has_conflicts = basis.unmerged if basis is not None else self.index.conflicts is not None
        self.unmerged = has_conflicts
        """Whether the agent's index has conflicts."""
        self._folder = Path(worktree.path)
        self._max_file_bytes = max_file_bytes
        self._basis = basis
        self._changes = self._compare()
        self._touched: set[str] = set()
        self._agents_index: pygit2.Index | None = None
        self._large_files: pygit2.Index | None = None

    def open_plain(self) -> pygit2.Repository:
        """Open the repository anew, to write new objects straight to the disk."""
        return open_repository(self.repo.path)

    @retrying((OSError, pygit2.GitError), times=_TRIES)  # a file shrank while it was compared
    def _compare(self) -> list[tuple[DeltaStatus, str]]:
        changes: list[tuple[DeltaStatus, str]] = []
        for delta in self.index.diff_to_workdir(_COMPARE).deltas:
            path = os.fsdecode(delta.new_file.raw_path)
            changes.append((delta.status, path))
        return changes

    def look_at_hidden(self) -> None:
        """Look again, also at files on the disk that the agent's index says not to look at."""
        if libgit2.unhide_entries(self.index, self._is_on_disk):
            self._changes = self._compare()

    def _is_on_disk(self, path: str) -> bool:
        return os.path.lexists(self._folder / path)

    def changes_what_is_ignored(self) -> bool:
        """Tell whether files that were taken may be ignored now, or the reverse."""
        return any(path.endswith(".gitignore") for _, path in self._changes)

    def is_as_remembered(self, commit: str) -> bool:
        """Tell whether what is known is what was known for *commit*."""
        if self._basis is None or self._touched:
            return False
        return self._basis.commit == commit

    def write_tree(self) -> str:
        """Write the files as a tree."""
        # Removals first: a file may have become a folder, or the other way round.
        for status, path in self._changes:
            if status == DeltaStatus.DELETED and not self._is_outside_sparse(path):
                self._remove_or_leave(path)
        for status, path in self._changes:
            if status != DeltaStatus.DELETED:
                self._add(path, is_untracked=status == DeltaStatus.UNTRACKED)
                self.staging.relieve()
        return self._last_tree_with_changes() or str(self.index.write_tree(self.repo))

    def _last_tree_with_changes(self) -> str | None:
        """Write the last snapshot's tree with what has changed since.

        The index would write the tree from all of its entries.
        """
        if self._basis is None:
            return None
        last = self.repo[self._basis.commit].peel(pygit2.Tree)
        if not self._touched:
            return str(last.id)
        return tree_with(self.repo, last, {path: self._file(path) for path in self._touched})

    def _file(self, path: str) -> File:
        if path not in self.index:
            return None
        entry = self.index[path]
        return str(entry.id), int(entry.mode)

    def _is_outside_sparse(self, path: str) -> bool:
        # An agent may have made its worktree sparse. What is not on disk because of that was not
        # deleted.
        entry = libgit2.find_entry(self.index, path)
        return entry is not None and entry.is_outside_sparse

    def _remove_or_leave(self, path: str) -> None:
        try:
            mode = self._folder.joinpath(path).lstat().st_mode
        except OSError:
            mode = None
        if mode is None or stat.S_IFMT(mode) in _KINDS_TAKEN:
            self._remove(path)
        else:  # a pipe or a socket in the place of a file: nobody has deleted that
            self._leave_out(path, LeftOutKind.SPECIAL)

    def _remove(self, path: str) -> None:
        self._touched.add(path)
        for stage in range(_STAGES):
            try:
                self.index.remove(path, stage)
            except (OSError, pygit2.GitError):
                continue

    def _add(self, path: str, *, is_untracked: bool) -> None:
        file = self._folder / path
        try:
            status = file.lstat()
        except (FileNotFoundError, NotADirectoryError):
            self._remove(path)
            return
        if stat.S_ISDIR(status.st_mode):
            self._add_repository(path.rstrip("/"))
        elif self._is_too_large(status) and (is_untracked or not self._is_tracked(path)):
            self._leave_out(path, LeftOutKind.TOO_LARGE)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._read(path, file, is_large=status.st_size > LARGE_FILE_BYTES)

    def _is_too_large(self, status: os.stat_result) -> bool:
        if self._max_file_bytes is None:
            return False
        return status.st_size > self._max_file_bytes

    def _is_tracked(self, path: str) -> bool:
        """Tell whether the agent's own index has the file.

        Ours has untracked ones as well, since they were last saved.
        """
        if self._agents_index is None:
            admin = Path(self.repo.path).parent
            self._agents_index = pygit2.Index(str(admin / "index"))
        return path in self._agents_index

    def _read(self, path: str, file: Path, *, is_large: bool) -> None:
        self._touched.add(path)
        add = self._add_large if is_large else self.index.add
        for _ in range(_TRIES):
            try:
                add(path)
            except (OSError, pygit2.GitError):
                continue
            return
        # It never holds still, or it cannot be read: take one look at it as a whole.
        try:
            content, mode = read_file(file)
        except FileNotFoundError:
            self._remove(path)
        except OSError:
            self._leave_out(path, LeftOutKind.UNREADABLE)
        else:
            self._add_content(path, content, mode)

    def _add_large(self, path: str) -> None:
        """Add a file piece by piece.

        Where it is not stored as it is, libgit2 does so, outside of `staging` only; then it is
        written a second time, into a pack.
        """
        if self._is_stored_as_it_is(path):
            self._add_as_it_is(path)
            return
        if self._large_files is None:
            self._large_files = self.open_plain().index
        self._large_files.add(path)
        libgit2.copy_entry(self._large_files, self.index, path)

    def _is_stored_as_it_is(self, path: str) -> bool:
        """Tell whether git stores a file's bytes without a change to line ends and the like."""
        settings = read_settings(self.repo)
        converts = is_true(settings.get("core.autocrlf", ""))
        knows_modes = is_true(settings.get("core.filemode", "true"))
        if converts or not knows_modes:
            return False
        values = [self.repo.get_attr(os.fsencode(path), name) for name in _CONVERTING]
        return not any(values)

    def _add_as_it_is(self, path: str) -> None:
        file = self._folder / path
        before = file.lstat()
        name = self.staging.write_file(file)
        after = file.lstat()
        if _stamp_of(before) != _stamp_of(after):
            raise OSError(f"{file} changed while it was read")
        mode = FileMode.BLOB_EXECUTABLE if after.st_mode & stat.S_IXUSR else FileMode.BLOB
        if not libgit2.add_entry(self.index, path, (name, int(mode)), after):
            self._leave_out(path, LeftOutKind.REFUSED)

    def _add_content(self, path: str, content: bytes, mode: FileMode) -> None:
        try:
            self.index.add(pygit2.IndexEntry(path, self.repo.create_blob(content), mode))
        except (OSError, pygit2.GitError):  # one name that git refuses must not cost the others
            self._leave_out(path, LeftOutKind.REFUSED)

    def _add_repository(self, path: str) -> None:
        """Take the commit of a submodule, as git would stage it.

        What it has beside that commit is in no repository of ours, nor is a commit that was not
        pushed.
        """
        entry = libgit2.find_entry(self.index, path)
        if entry is None or entry.mode != FileMode.COMMIT:
            self._leave_out(path, LeftOutKind.NESTED_REPOSITORY)
            return
        submodule = self._open_inside(path)
        if submodule is None:
            return
        if submodule.status():
            self._leave_out(path, LeftOutKind.SUBMODULE_EDITS)
        if submodule.head_is_unborn:
            return
        head = submodule.head.peel(pygit2.Commit)
        if str(head.id) == entry.name:
            return
        if not is_pushed(submodule, head):
            self._leave_out(path, LeftOutKind.SUBMODULE_COMMIT)
            return
        self._touched.add(path)
        libgit2.add_entry(self.index, path, (str(head.id), int(FileMode.COMMIT)), None)

    def _open_inside(self, path: str) -> pygit2.Repository | None:
        """Open the repository at *path*; leave it out where git cannot read it."""
        try:
            return open_repository(self._folder / path)
        except pygit2.GitError:
            self._leave_out(path, LeftOutKind.BROKEN_REPOSITORY)
            return None

    def look_at_uninitialised_submodules(self) -> None:
        """Leave out what somebody wrote into the folder of a submodule without a repository in it.

        Git does not look there, so neither status nor commit tells of it.
        """
        if not libgit2.has_entry(self.index, ".gitmodules"):
            return
        for path in self.repo.listall_submodules():
            folder = self._folder / path
            if os.path.lexists(folder / ".git") or folder.is_symlink() or not folder.is_dir():
                continue
            if any(folder.iterdir()):
                self._leave_out(path, LeftOutKind.UNINITIALISED)

    def look_at_staged_submodules(self, base: str, tree: str) -> None:
        """Leave out what the agent has staged of a submodule, and nobody else has.

        Args:
            base: The commit that the worktree started from.
            tree: The files as they are now.
        """
        before = self.repo[base].peel(pygit2.Tree).id.raw
        for raw_path, name in new_submodules(self.repo, bytes.fromhex(tree), before):
            path = os.fsdecode(raw_path)
            if not os.path.lexists(self._folder / path / ".git"):
                continue
            submodule = self._open_inside(path)
            commit = None if submodule is None else submodule.get(pygit2.Oid(raw=name))
            if submodule is None or not isinstance(commit, pygit2.Commit):
                continue
            if not is_pushed(submodule, commit):
                self._leave_out(path, LeftOutKind.SUBMODULE_COMMIT)

    def look_at_unlisted(self, tree: str) -> None:
        """Leave out what git never lists.

        Args:
            tree: The files as they are now.
        """
        for path, kind in find_unlisted(self.repo, tree, self._folder):
            self._leave_out(path, kind)

    def leave_out_repositories(self, paths: Iterable[str]) -> None:
        """Leave out the repositories at *paths* as well."""
        for path in set(paths) - self.repositories:
            self._leave_out(path, LeftOutKind.NESTED_REPOSITORY)

    def _leave_out(self, path: str, kind: LeftOutKind) -> None:
        self._touched.discard(path)
        item = LeftOut(path=shown_path(path), kind=kind)
        if item.is_repository:
            self.repositories.add(path)
        self.left_out.append(item)
