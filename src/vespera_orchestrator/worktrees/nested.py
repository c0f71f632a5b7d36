"""Repositories inside a worktree, kept beside its snapshots: found, saved, brought back.

A snapshot's files are those that land, so a repository of its own cannot be among them: neither
what a scaffolding tool initialised, nor the edits in a submodule. It is kept as it lies, its files
and the files of its git directory, in the tree of one commit, the *nested commit*. A snapshot has
it as its last parent. So it is kept for as long as the snapshot, goes wherever that goes, and never
lands.

The tree has a folder for each repository, named after its quoted path, with ``files`` and ``git``
in it. ``gitfile`` stands there instead of ``git`` where the git directory is somebody else's, and
``nogit`` where there is none, as in the folder of a submodule that was not initialised.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pygit2
from pygit2.enums import DiffOption, FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.files import is_disk_trouble
from vespera_orchestrator.home.reading import read_json
from vespera_orchestrator.worktrees import libgit2, torn
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.paths import display_path, folders_above
from vespera_orchestrator.worktrees.repository import message_of
from vespera_orchestrator.worktrees.tree_entries import files_below
from vespera_orchestrator.worktrees.tree_switch import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

log = logging.getLogger("vespera_orchestrator")

MOST_GIT_DIR_BYTES: Final = 100_000_000
"""A larger git directory is not copied: it is a clone, and holds little that is new."""
_FILES: Final = "files"
_GIT: Final = "git"
_GIT_FILE: Final = "gitfile"
_NO_GIT: Final = "nogit"
"""Names in the tree of a nested commit. Stored."""
_TRAILER: Final = "Nested: "
"""Begins the line of a snapshot's message that names the nested commit. Stored."""
_WITH_UNTRACKED: Final = (
    DiffOption.INCLUDE_UNTRACKED | DiffOption.RECURSE_UNTRACKED_DIRS | DiffOption.INCLUDE_TYPECHANGE
)
_EMPTY_FOLDERS: Final = ("objects", "refs")
"""Git takes no folder for a repository that lacks one of them."""
_REFUSED_NAMES: Final = (".git", "git~1")
"""Git refuses them in a tree, in whatever letters."""
_NEW: Final = ".git.vespera"
"""The git directory while it is written out."""
_EXECUTABLE: Final = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
_FRESH_NS: Final = 2_000_000_000
"""File times are coarse: what changed so recently is looked at again."""

_Seen: TypeAlias = "dict[str, list[int | str]]"
"""Of each file in the tree: what shows that it is the same, then its object and mode."""


# --- looking ----------------------------------------------------------------


def is_pushed(repo: pygit2.Repository, commit: pygit2.Commit) -> bool:
    """Tell whether a remote branch is known to have the commit."""
    for name in repo.branches.remote:
        tip = repo.branches.remote[name].peel(pygit2.Commit)
        if tip.id == commit.id or repo.descendant_of(tip.id, commit.id):
            return True
    return False


def has_own_work(repo: pygit2.Repository) -> bool:
    """Tell whether a submodule holds anything that its remote has not.

    Edits, a stash, or a commit of HEAD or of a branch.
    """
    if repo.status():
        return True
    names = [f"refs/heads/{name}" for name in repo.branches.local]
    if "refs/stash" in repo.references:
        names.append("refs/stash")
    if not repo.head_is_unborn:
        names.append("HEAD")
    commits = [repo.revparse_single(name).peel(pygit2.Commit) for name in names]
    return not all(is_pushed(repo, commit) for commit in commits)


def nested_commit(repo: pygit2.Repository, snapshot: str) -> str | None:
    """Return the nested commit of a snapshot; ``None`` where it has none."""
    for line in message_of(repo, snapshot).splitlines():
        if line.startswith(_TRAILER):
            return line.removeprefix(_TRAILER)
    return None


def nested_line(commit: str) -> str:
    """Return the line of a snapshot's message that names its nested commit."""
    return _TRAILER + commit


def own_parents(repo: pygit2.Repository, snapshot: str) -> list[str]:
    """Return the parents of a snapshot without the nested commit."""
    nested = nested_commit(repo, snapshot)
    parents = [str(parent) for parent in repo[snapshot].peel(pygit2.Commit).parent_ids]
    return [parent for parent in parents if parent != nested]


# --- saving -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SavedNested:
    """What was saved of the repositories inside a worktree."""

    commit: str
    """The nested commit."""
    whole: tuple[str, ...] = ()
    """The paths of those that were saved with all they hold."""


class NestedRepositories:
    """Saves the repositories inside one worktree. Used under the worktree's lock."""

    def __init__(self, repository: ProjectRepository, worktree: Worktree) -> None:
        self._common = repository.common
        self._folder = Path(worktree.path)
        self._base = worktree.base
        self._notes = repository.admin(worktree.name) / "vespera" / "nested.json"

    def save(
        self,
        open_repo: Callable[[], pygit2.Repository],
        paths: Collection[str],
        *,
        previous: str | None,
        max_file_bytes: int | None,
    ) -> SavedNested | None:
        """Write a nested commit for the repositories at *paths*; no ref is moved.

        The same repositories give the same commit.

        Args:
            open_repo: Opens the repository to write it to: much may be written.
            paths: The repositories, relative to the worktree. Those inside of them are found.
            previous: The nested commit of the latest snapshot. What is known about files since
                that was written counts only while it is held.
            max_file_bytes: Larger files are left out; ``None`` takes all of them. A git directory
                above `MOST_GIT_DIR_BYTES` is always left out.

        Returns:
            What was saved; ``None`` when there is nothing to save.
        """
        if not paths:
            return None
        repo = open_repo()
        copy = _Copy(repo, self._read_notes(previous), max_file_bytes)
        whole = [path for path in sorted(paths) if self._copy_repository(copy, path)]
        if copy.is_empty:
            return None
        start = repo[self._base].peel(pygit2.Commit)
        who = start.committer  # the same each time
        tree = copy.write_tree()
        commit = str(repo.create_commit(None, who, who, "repositories inside\n", tree, []))
        self._write_notes(commit, copy.seen)
        return SavedNested(commit=commit, whole=tuple(whole))

    def _copy_repository(self, copy: _Copy, path: str) -> bool:
        """Copy one repository, and those inside of it; return whether all of it was taken."""
        folder = self._folder / path
        name = _stored_name(path)
        if not os.path.lexists(folder / ".git"):
            return _copy_plain_folder(copy, name, folder)
        try:
            nested = open_repository(folder)
            files, inner = _list_work_tree(nested, folder)
        except (OSError, pygit2.GitError, ValueError):
            return self._copy_unreadable(copy, name, folder)
        is_whole = True
        for file in files:
            is_whole &= copy.add(f"{name}/{_FILES}/{file}", folder / file)
        if self._owns(Path(nested.path), folder):
            is_whole &= self._copy_git_dir(copy, name, Path(nested.path))
        else:
            is_whole &= copy.add(f"{name}/{_GIT_FILE}", folder / ".git")
        for below in inner:
            is_whole &= self._copy_repository(copy, f"{path}/{below}")
        return is_whole

    def _copy_unreadable(self, copy: _Copy, name: str, folder: Path) -> bool:
        """Copy every file of a repository that git cannot read, unless it is too much."""
        files = _files_below(folder)
        if _is_too_much(folder, files):
            log.warning("the repository %s could not be saved", display_path(str(folder)))
            return False
        is_whole = True
        for file in files:
            top, _, below = file.partition("/")
            place = f"{_FILES}/{file}"
            if top == ".git":
                place = f"{_GIT}/{below}" if below else _GIT_FILE
            is_whole &= copy.add(f"{name}/{place}", folder / file)
        return is_whole

    def _owns(self, git_dir: Path, folder: Path) -> bool:
        """Tell whether a git directory would be gone with the worktree.

        That is one in the folder, or one of a submodule beside our admin directory. A linked
        worktree of whatever repository has its history there.
        """
        if git_dir.joinpath("commondir").exists():
            return False
        place = git_dir.resolve()
        is_beside = place.is_relative_to(self._common)
        return is_beside or place == folder.resolve() / ".git"

    def _copy_git_dir(self, copy: _Copy, name: str, git_dir: Path) -> bool:
        files = _list_git_dir(git_dir)
        if _is_too_much(git_dir, files):
            return False
        for file in files:
            copy.add(f"{name}/{_GIT}/{file}", git_dir / file, may_be_large=True)
        return True

    def _read_notes(self, previous: str | None) -> _Seen:
        try:
            notes = read_json(self._notes)
            seen: _Seen = notes["files"] if notes["commit"] == previous else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return seen

    def _write_notes(self, commit: str, seen: _Seen) -> None:
        with suppress(OSError):  # it only saves time
            self._notes.write_text(json.dumps({"commit": commit, "files": seen}), "ascii")


def _stored_name(path: str) -> str:
    """Return the name of a repository's folder in the tree that keeps them all."""
    name = quote_from_bytes(os.fsencode(path), safe="")
    is_refused = name.lower() in _REFUSED_NAMES
    return f"%{ord(name[0]):02X}{name[1:]}" if is_refused else name


def _copy_plain_folder(copy: _Copy, name: str, folder: Path) -> bool:
    is_whole = copy.add_content(f"{name}/{_NO_GIT}", b"")
    for file in _files_below(folder):
        is_whole &= copy.add(f"{name}/{_FILES}/{file}", folder / file)
    return is_whole


def _files_below(folder: Path) -> list[str]:
    files = [Path(above, name) for above, _, names in os.walk(folder) for name in names]
    return [file.relative_to(folder).as_posix() for file in files]


def _list_work_tree(repo: pygit2.Repository, folder: Path) -> tuple[list[str], list[str]]:
    """Return the files of a repository, untracked ones included, and the repositories inside."""
    paths = set(libgit2.entry_paths(repo.index))
    for delta in repo.index.diff_to_workdir(_WITH_UNTRACKED).deltas:
        paths.add(os.fsdecode(delta.new_file.raw_path).rstrip("/"))
    files, inner = [], []
    for path in sorted(paths):
        place = folder / path
        if place.is_symlink() or not place.is_dir():
            files.append(path)
        elif os.path.lexists(place / ".git"):
            inner.append(path)
    return files, inner


def _list_git_dir(git_dir: Path) -> list[str]:
    """Return the files of a git directory, in an order in which git may go on meanwhile.

    What names objects comes before the objects, and what git moves to another place comes before
    that place.
    """
    paths = [path for path in _files_below(git_dir) if not _is_passing(path)]
    return sorted(paths, key=_order)


def _is_passing(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.endswith(".lock") or name.startswith("tmp_")


def _order(path: str) -> tuple[bool, bool, bool, str]:
    is_object = path.startswith("objects/")
    is_pack = path.startswith("objects/pack/")
    return is_object, is_pack, path == "packed-refs", path


def _is_too_much(folder: Path, files: Iterable[str]) -> bool:
    return sum(_size(folder / file) for file in files) > MOST_GIT_DIR_BYTES


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0


class _Copy:
    """Collects files into a tree, in memory."""

    def __init__(self, repo: pygit2.Repository, known: _Seen, max_file_bytes: int | None) -> None:
        self._repo = repo
        self._known = known
        self._max_file_bytes = max_file_bytes
        self._index = pygit2.Index()
        self._now_ns = time.time_ns()
        self.seen: _Seen = {}
        """What is known about the files now."""

    @property
    def is_empty(self) -> bool:
        return not len(self._index)

    def add(self, path: str, file: Path, *, may_be_large: bool = False) -> bool:
        """Add *file*; return ``False`` where it is there and cannot be taken."""
        try:
            status = file.lstat()
        except OSError:
            return not os.path.lexists(file)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            return True  # a pipe or a socket holds nothing
        limit = None if may_be_large else self._max_file_bytes
        if limit is not None and status.st_size > limit:
            return False
        stamp: list[int | str] = [status.st_mtime_ns, status.st_size, status.st_ino]
        known = self._known.get(path)
        if known is not None and known[:3] == stamp:
            _, _, _, name, mode = known
        else:
            try:
                content, mode = read_file(file)
            except OSError:
                return False
            name = str(self._repo.create_blob(content))
        if status.st_mtime_ns < self._now_ns - _FRESH_NS:
            self.seen[path] = [*stamp, name, int(mode)]
        return libgit2.add_entry(self._index, path, (str(name), int(mode)), None)

    def add_content(self, path: str, content: bytes) -> bool:
        """Add a file with this content."""
        file = str(self._repo.create_blob(content)), int(FileMode.BLOB)
        return libgit2.add_entry(self._index, path, file, None)

    def write_tree(self) -> pygit2.Oid:
        return self._index.write_tree(self._repo)


# --- bringing back ----------------------------------------------------------


def write_out(repo: pygit2.Repository, snapshot: str, folder: Path) -> None:
    """Write the repositories that were saved beside *snapshot* into the worktree's folder.

    One that is there already is left as it is. Safe to repeat after a kill: a repository's ``.git``
    comes last, in one step.

    Raises:
        OSError: The disk is full, or bad.
    """
    commit = nested_commit(repo, snapshot)
    if commit is None:
        return
    for saved in repo[commit].peel(pygit2.Tree):
        path = os.fsdecode(unquote_to_bytes(str(saved.name)))
        try:
            _write_repository(saved.peel(pygit2.Tree), folder, path)
        except (OSError, pygit2.GitError, ValueError) as exc:
            if is_disk_trouble(exc):
                raise  # nobody must begin without it; the next call goes on from here
            # What else there is in the worktree must not be lost because of it.
            log.warning("the repository %s was not written out: %s", display_path(path), exc)


def _write_repository(saved: pygit2.Tree, root: Path, path: str) -> None:
    folder = _place_inside(root, path)
    git_dir = folder / ".git"
    if os.path.lexists(git_dir):
        return
    folder.mkdir(parents=True, exist_ok=True)
    parts = {entry.name: entry for entry in saved}
    if _FILES in parts:
        _write_tree(parts[_FILES].peel(pygit2.Tree), folder)
    if _NO_GIT in parts:
        return
    if _GIT_FILE in parts:
        _write_file(parts[_GIT_FILE], git_dir)
        return
    new = folder / _NEW
    shutil.rmtree(new, ignore_errors=True)
    if _GIT in parts:
        _write_tree(parts[_GIT].peel(pygit2.Tree), new)
        _complete(new)
    else:  # its history was too large: it must remain a repository of its own all the same
        pygit2.init_repository(str(new), bare=True)
        pygit2.Config(str(new / "config"))["core.bare"] = False
    new.rename(git_dir)


def _complete(git_dir: Path) -> None:
    """Make a git directory whose files were written one that git can use here."""
    for name in _EMPTY_FOLDERS:
        git_dir.joinpath(name).mkdir(exist_ok=True)
    _forget_place(git_dir / "config")


def damaged_files(
    repo: pygit2.Repository, snapshot: str, folder: Path, *, any_missing: bool
) -> dict[Path, pygit2.Object]:
    """Return the files of repositories inside the worktree that a power cut has damaged.

    Args:
        repo: The repository that has the snapshot.
        snapshot: What was last saved.
        folder: The worktree's folder.
        any_missing: Whether every missing file counts as damaged, and not only those of a
            repository in which others are.

    Returns:
        What each of them held.
    """
    damaged: dict[Path, pygit2.Object] = {}
    commit = nested_commit(repo, snapshot)
    if commit is None:
        return damaged
    for saved in repo[commit].peel(pygit2.Tree):
        path = os.fsdecode(unquote_to_bytes(str(saved.name)))
        with suppress(ValueError, OSError):
            place = _place_inside(folder, path)
            files = dict(_saved_files(saved.peel(pygit2.Tree), place))
            names = {file: str(entry.id) for file, entry in files.items()}
            for file in torn.damaged_files(repo, names, any_missing=any_missing):
                damaged[file] = files[file]
    return damaged


def _saved_files(saved: pygit2.Tree, folder: Path) -> Iterator[tuple[Path, pygit2.Object]]:
    git_dir = folder / ".git"
    for part in saved:
        if part.name == _FILES:
            yield from _entries(part.peel(pygit2.Tree), folder)
        elif part.name == _GIT_FILE:
            yield git_dir, part
        elif part.name == _GIT and not git_dir.is_file():  # else it is beside the worktree's
            yield from _entries(part.peel(pygit2.Tree), git_dir)


def _entries(tree: pygit2.Tree, folder: Path) -> Iterator[tuple[Path, pygit2.Object]]:
    for path, entry in files_below(tree):
        if not _leads_through_link(folder, path):
            yield folder / path, entry


def write_files(files: Mapping[Path, pygit2.Object]) -> None:
    """Write files of `damaged_files` again."""
    for place, entry in files.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        _write_file(entry, place)
        if place.name == "config" and place.parent.name == ".git":
            _complete(place.parent)


def _place_inside(root: Path, path: str) -> Path:
    """Return the folder for a saved repository.

    Raises:
        ValueError: It would not be inside *root*.
    """
    parts = PurePosixPath(path).parts
    place = root.joinpath(*parts)
    is_plain = bool(parts) and ".." not in parts and not path.startswith("/")
    if not is_plain or not place.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{path} leads out of the worktree")
    return place


def _write_tree(tree: pygit2.Tree, folder: Path) -> None:
    """Write the files of a tree.

    Raises:
        ValueError: One of them would be outside of *folder*.
    """
    folder.mkdir(exist_ok=True)
    for path, entry in files_below(tree):
        # A tree can hold a link, and beside it a folder of the same name.
        if _leads_through_link(folder, path):
            raise ValueError(f"{display_path(path)} leads through a link")
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # a call that was killed may have written it
        _write_file(entry, place)


def _leads_through_link(folder: Path, path: str) -> bool:
    return any(folder.joinpath(above).is_symlink() for above in folders_above(path))


def _write_file(entry: pygit2.Object, place: Path) -> None:
    content = entry.peel(pygit2.Blob).data
    if entry.filemode == FileMode.LINK:
        place.symlink_to(os.fsdecode(content))
        return
    place.write_bytes(content)
    if entry.filemode == FileMode.BLOB_EXECUTABLE:
        place.chmod(place.stat().st_mode | _EXECUTABLE)


def _forget_place(config: Path) -> None:
    """Let a submodule's git directory belong to the folder that it stands in."""
    with suppress(KeyError, pygit2.GitError):
        del pygit2.Config(str(config))["core.worktree"]
