"""Moving the integration branch, and with it the checkout that has it.

A checkout is only brought along where nothing of its owner's is touched. The order is: lock the
branch, lock the checkout's index as git does, prove that nothing is in the way, write a journal,
then files (see `tree_switch`), index, branch. Whoever comes by after a kill finds the journal. If
the branch is where it was to go, everything was written, and is on disk; if it is where it was, the
files are taken back.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pygit2
from pygit2.enums import DiffOption, FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import converter, to_plain
from vespera_orchestrator.errors import DirtyCheckoutError, GitFailedError
from vespera_orchestrator.home import machine
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_json, read_small_file
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.operation import operation_in
from vespera_orchestrator.worktrees.paths import display_path, display_paths, folders_above
from vespera_orchestrator.worktrees.refs import RESCUE, unlink_if_older
from vespera_orchestrator.worktrees.repository import leads_to, linked_folder
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_switch import TreeSwitch, room_beside

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.staging import Held
    from vespera_orchestrator.worktrees.tree_merge import File

_LANDING: Final = "landing"
"""The lock under which the branch moves."""
_TOKEN: Final = re.compile("[0-9a-f]{16}")
_PROVING, _WRITING = "proving", "writing"
"""Stages in the journal."""
_INDEX_PATIENCE_S: Final = 2.0
"""Git holds the index's lock for as long as one command takes."""
_POLL_S: Final = 0.01
_DETACH: Final = "git switch --detach"
_MAKE_ROOM: Final = f"Commit, stash (git stash -u) or move that; or run {_DETACH} there"


def advance(
    repository: ProjectRepository,
    expected: str,
    new: str,
    *,
    message: str,
    held: Held | None = None,
) -> None:
    """Move the integration branch from *expected* to *new*, and bring its checkout along.

    With *held*, the caller is within `ProjectRepository.holding` for *new*.

    Raises:
        RefMovedError: The branch is not at *expected*. Nothing was changed.
        DirtyCheckoutError: It is checked out where it cannot be brought along safely. Nothing was
            changed.
        GitFailedError: Git or the file system refused. Nothing was changed.
    """
    with repository.lock(_LANDING):
        _recover(repository)
        try:
            repository.move(
                repository.integration_ref,
                expected,
                new,
                message=message,
                while_locked=lambda: _bring_along(repository, expected, new),
                held=held,
            )
        finally:
            _recover(repository)


def refuse_unsafe(
    repository: ProjectRepository, old: str, new: str, paths: Collection[str] | None = None
) -> None:
    """Check, without a lock and so without promise, that `advance` would go through.

    Args:
        repository: The repository.
        old: Where the integration branch is.
        new: A commit that has what is to come.
        paths: What is to come of it; ``None`` for all that is different.

    Raises:
        DirtyCheckoutError: It would not. Names the place, what is in the way, and the remedy.
    """
    checkout = _Checkout.find(repository, old, new)
    if checkout is not None:
        checkout.refuse_unsafe(paths)


def recover_landing(repository: ProjectRepository) -> str | None:
    """Bring into order what a killed landing left in a checkout.

    Returns:
        A sentence that says what was done; ``None`` where there was nothing to do.
    """
    if not _journal_names(repository):
        return None
    with repository.lock(_LANDING):
        return _recover(repository)


def _bring_along(repository: ProjectRepository, old: str, new: str) -> None:
    if _journal_file(repository).exists():
        return  # the branch could not be moved at once, and this is the second try
    checkout = _Checkout.find(repository, old, new)
    if checkout is None:
        return
    checkout.write_journal(_PROVING)
    checkout.take_lock()
    checkout.refuse_unsafe()
    checkout.write_journal(_WRITING)
    checkout.write_files()
    checkout.write_index(checkout.new)


def _recover(repository: ProjectRepository) -> str | None:
    path = _journal_file(repository)
    names = _journal_names(repository)
    if not names:
        return None
    for name in names:
        if name.startswith("."):  # it was never finished
            path.with_name(name).unlink()
    journal = _read_journal(repository, path)
    if journal is None:
        return None
    report = None
    with git_errors(f"bring the checkout {journal.folder} into order"):
        checkout = _Checkout(repository, journal)
        has_moved = repository.tip(journal.ref) != journal.old
        if journal.stage == _WRITING and not has_moved and checkout.git_dir.exists():
            was_restarted = path.stat().st_mtime < machine.started_at()
            report = checkout.undo(was_restarted=was_restarted)
        checkout.clear()
        checkout.release_lock()
        path.unlink()
    return report


# --- the journal ------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _LandingJournal:
    """What is being done to a checkout. Stored: old versions read it, and wrote it."""

    stage: str
    ref: str
    git_dir: str
    folder: str
    old: str
    new: str
    token: str
    """Names the file that proves the index's lock ours."""


def _journal_file(repository: ProjectRepository) -> Path:
    return repository.home.locks / "landing.json"


def _journal_names(repository: ProjectRepository) -> list[str]:
    """Return the names of the journal and of those that were begun."""
    name = _journal_file(repository).name
    with suppress(FileNotFoundError), os.scandir(repository.home.locks) as entries:
        names = [entry.name for entry in entries]
        return [each for each in names if each == name or each.startswith(f".{name}.")]
    return []


def _read_journal(repository: ProjectRepository, path: Path) -> _LandingJournal | None:
    try:
        journal = converter().structure(read_json(path), _LandingJournal)
        return _relocated(repository, journal)
    except FileNotFoundError:
        return None
    except Exception as exc:
        branch = repository.integration_branch
        reason = f"{exc}; look at the checkout of {branch}, then delete it"
        raise GitFailedError(f"read {path}", reason) from exc


def _relocated(repository: ProjectRepository, journal: _LandingJournal) -> _LandingJournal:
    """Return the journal with the places as they are now.

    It may have been moved or copied with the project, and the original is not ours to touch. It
    may have come with a stranger's repository: no path in it is believed.
    """
    if not _TOKEN.fullmatch(journal.token):
        raise ValueError("its token is none of ours")
    git_dir = Path(journal.git_dir)
    here, folder = repository.common, repository.home.project
    if git_dir.parent.name == "worktrees":
        here = repository.admin(git_dir.name)
        folder = linked_folder(here)
        if not leads_to(folder, here):
            folder = here / "nowhere"
    return attrs.evolve(journal, git_dir=str(here), folder=str(folder))


# --- the checkout -----------------------------------------------------------


class _Checkout:
    """A checkout of the integration branch that is to go from one commit to the next."""

    def __init__(self, repository: ProjectRepository, journal: _LandingJournal) -> None:
        self._repository = repository
        self._journal = journal
        self.git_dir, self._folder = Path(journal.git_dir), Path(journal.folder)
        with git_errors(f"look at the checkout {self._folder}"):
            room_name = f"{journal.token}-files"
            self._switch = TreeSwitch(
                repository,
                self.git_dir,
                self._folder,
                room_beside(self._folder, self.git_dir, room_name),
                old=journal.old,
                new=journal.new,
            )
            self._repo = open_repository(self.git_dir)
        self.old, self.new = self._switch.old, self._switch.new

    @classmethod
    def find(cls, repository: ProjectRepository, old: str, new: str) -> _Checkout | None:
        """Return the checkout that has the integration branch, or ``None``."""
        holders = repository.holders(repository.integration_branch)
        if not holders:
            return None
        git_dir, folder = holders[0]
        journal = _LandingJournal(
            stage=_PROVING,
            ref=repository.integration_ref,
            git_dir=str(git_dir),
            folder=str(folder),
            old=old,
            new=new,
            token=secrets.token_hex(8),
        )
        checkout = cls(repository, journal)
        if len(holders) > 1:
            what = f"it is checked out in {holders[1][1]} as well"
            checkout.refuse(what, f"Run {_DETACH} in one of the two")
        return checkout

    def refuse(self, what: str, remedy: str = _MAKE_ROOM) -> NoReturn:
        """Raise `DirtyCheckoutError`."""
        branch = self._repository.integration_branch
        where = f"the integration branch {branch!r} is checked out there"
        reason = f"{where}, and {what}. {remedy}; then try again"
        raise DirtyCheckoutError(str(self._folder), reason)

    def write_journal(self, stage: str) -> None:
        """Write how far we have come, so that whoever comes after a kill knows."""
        self._journal = attrs.evolve(self._journal, stage=stage)
        with git_errors("write the journal of a landing"):
            text = json.dumps(to_plain(self._journal))
            write_atomically(_journal_file(self._repository), text)

    # the index's lock

    @property
    def _proof(self) -> Path:
        token = self._journal.token
        return self.git_dir / f"vespera-{token}"

    @property
    def _lock(self) -> Path:
        return self.git_dir / "index.lock"

    def take_lock(self) -> None:
        """Lock the index as git does.

        After a kill our lock is known by the file that it is a second name of.
        """
        with git_errors(f"lock the index of {self._folder}"):
            self._proof.touch()
            deadline = time.monotonic() + _INDEX_PATIENCE_S
            while not self._is_ours():
                try:
                    os.link(self._proof, self._lock)
                except FileExistsError:
                    if time.monotonic() > deadline:
                        remedy = f"Wait for it; when none is running, delete {self._lock}"
                        self.refuse("another git process is at work in it", remedy)
                    time.sleep(_POLL_S)

    def release_lock(self) -> None:
        """Unlock the index, if the lock is ours."""
        if self._is_ours():
            self._lock.unlink()
        self._proof.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            return self._lock.samefile(self._proof)
        except FileNotFoundError:
            return False

    # proving

    def refuse_unsafe(self, among: Collection[str] | None = None) -> None:
        """Raise `DirtyCheckoutError` where something of its owner's would be touched.

        Args:
            among: The paths that count; ``None`` for all that are different.
        """
        with git_errors(f"look at the checkout {self._folder}"):
            operation = operation_in(self.git_dir)
            if operation is not None:
                ways = f"Finish it ({operation.finish}) or give it up ({operation.abandon})"
                self.refuse(f"a git {operation} is under way in it", ways)
            if not self.git_dir.joinpath("index").is_file():
                self.refuse("it has no index", "Make one (git reset)")
            submodules = _among(self._submodules(), among)
            if submodules:
                what = f"these submodules would change: {display_paths(submodules)}"
                self.refuse(what, f"Run {_DETACH} there; you update them when you switch back")
            for what, all_paths in self._obstacles():
                paths = _among(all_paths, among)
                if paths:
                    self.refuse(f"{what}: {display_paths(paths)}")

    def _obstacles(self) -> Iterator[tuple[str, list[str]]]:
        yield "these changes are staged", self._staged()
        yield "these files have changes", self._edited()
        yield "these files are in the way", self._switch.in_the_way()

    def _submodules(self) -> list[str]:
        submodules: list[str] = []
        for side in (self.old, self.new):
            for path, file in side.items():
                if file is not None and file[1] == FileMode.COMMIT:
                    submodules.append(path)
        return submodules

    def _staged(self) -> list[str]:
        index = pygit2.Index(str(self.git_dir / "index"))
        staged: list[str] = []
        for path, file in self.old.items():
            if not _is_indexed(index, path, file):
                staged.append(path)
        return staged

    def _edited(self) -> list[str]:
        """Return files that are not as the index has them.

        All that are to change are in the index as they were.
        """
        index = self._repo.index
        index.read(True)
        flags = DiffOption.INCLUDE_TYPECHANGE | DiffOption.IGNORE_SUBMODULES
        deltas = index.diff_to_workdir(flags).deltas
        edited = {os.fsdecode(delta.old_file.raw_path) for delta in deltas}
        return sorted(edited & self.old.keys())

    # writing

    def write_files(self) -> None:
        """Write what is different, where nobody has changed it since it was proven free.

        It is on disk then: nobody comes back to the owner's files after a power cut.
        """
        with git_errors(f"update the checkout {self._folder}"):
            self._switch.prepare()
            self._switch.sync_new_files()
            changed = self._switch.switch()
            if changed is not None:
                self.refuse(f"these files have changes: {display_path(changed)}")
            self._switch.sync_names()

    def write_index(self, files: Mapping[str, File]) -> None:
        """Replace the index by one in which the changed paths are *files*."""
        with git_errors(f"update the index of {self._folder}"):
            copy = self.git_dir / f"vespera-index-{self._journal.token}"
            shutil.copyfile(self.git_dir / "index", copy)
            shutil.copymode(self.git_dir / "index", copy)
            try:
                index = pygit2.Index(str(copy))
                for path in self.old:
                    if libgit2.has_entry(index, path):
                        index.remove(path)
                for path, file in files.items():
                    if file is not None:
                        _add_to_index(index, path, file, self._folder / path)
                index.write()
                self._repository.sync_files(copy)
                copy.replace(self.git_dir / "index")
                self._repository.sync_names(self.git_dir)
            finally:
                copy.unlink(missing_ok=True)

    # after a kill

    def undo(self, *, was_restarted: bool) -> str:
        """Take back what was written, and say so.

        Args:
            was_restarted: Whether the machine was started again since. Files may be missing then,
                and nobody holds the index's lock.
        """
        if was_restarted:
            # Ours is no more known by its second name, where that was lost.
            unlink_if_older(self._lock, machine.started_at())
        self.take_lock()
        switch = self._switch
        changed = switch.take_back_after_restart() if was_restarted else switch.take_back()
        self.write_index(self.old)
        report = f"Undid what an unfinished landing had written into {self._folder}."
        return report + left_as_they_are(changed)

    def clear(self) -> None:
        """Remove what was needed on the way."""
        rescue_prefix = f"{RESCUE}checkout"
        self._switch.clear(rescue_prefix, self._journal.old)


def left_as_they_are(paths: list[str]) -> str:
    """Return the end of a report about files that were taken back; empty without *paths*."""
    if not paths:
        return ""
    names = ", ".join(display_path(path) for path in paths)
    return f" Left as they are, because somebody has changed them since: {names}."


def _is_indexed(index: pygit2.Index, path: str, file: File) -> bool:
    """Tell whether the index has exactly *file* at this path.

    Without a conflict, and without a mark of its own.
    """
    if libgit2.is_in_conflict(index, path):
        return False
    entry = libgit2.find_entry(index, path)
    if entry is None:
        return file is None
    is_marked = entry.is_intent_to_add or entry.is_outside_sparse
    return (entry.name, entry.mode) == file and not is_marked


def _add_to_index(index: pygit2.Index, path: str, file: tuple[str, int], place: Path) -> None:
    """Add an entry with the times of the file on disk, where that holds what the entry says.

    Then git need not read it again. Where it holds something else, its times would make git take
    the difference for none.
    """
    status = None
    with suppress(OSError):
        now, content = place.lstat(), _content(place)
        if content is not None and str(pygit2.hash(content)) == file[0]:
            status = now
    if not libgit2.add_entry(index, path, file, status):
        raise GitFailedError("update an index", f"git takes no entry {display_path(path)}")


def _content(place: Path) -> bytes | None:
    """Return what a file or a link holds; empty for a device; ``None`` where there is no file."""
    try:
        mode = place.lstat().st_mode
        if stat.S_ISLNK(mode):
            return os.fsencode(place.readlink())
        if stat.S_ISREG(mode):
            return read_small_file(place, MOST_GIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISDIR(mode) else b""


def _among(paths: list[str], wanted: Collection[str] | None) -> list[str]:
    """Return the paths that are wanted, or are a folder of one that is."""
    if wanted is None:
        return paths
    names = {*wanted, *(folder for path in wanted for folder in folders_above(path))}
    return [path for path in paths if path in names]
