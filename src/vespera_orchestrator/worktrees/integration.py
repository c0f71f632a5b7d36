"""Moving the integration branch, and with it the checkout that has it, if that can be done without touching anything of its owner's.

The order is: lock the branch, lock the checkout's index as git does, prove that nothing is in the way, write a journal, then files (see
`transition`), index, branch. Whoever comes by after a kill finds the journal: is the branch where it was to go, everything was written; is
it where it was, the files are taken back.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import attrs
import pygit2
from pygit2.enums import DiffOption, FileMode
from pygit2.ffi import C, ffi

from vespera_orchestrator._codec import converter, to_plain
from vespera_orchestrator.errors import DirtyCheckoutError, GitFailedError
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.worktrees import tree_switch
from vespera_orchestrator.worktrees.repository import RESCUE, git_errors

if TYPE_CHECKING:
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_File: TypeAlias = "tuple[str, int] | None"
"""What a tree says of a path: object and mode."""
_PROVING, _WRITING = "proving", "writing"
_PATIENCE_S = 2.0
"""Git holds the index's lock for as long as one command takes."""
_BUSY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_UNUSUAL_ENTRY = 1 << 13 | 1 << 14
"""Flags of an index entry: to be added later, and outside of a sparse checkout."""


def advance(repository: ProjectRepository, expected: str, new: str, *, message: str) -> None:
    """Move the integration branch from *expected* to *new*, and bring the checkout that has it along.

    Raises:
        RefMovedError: The branch is not at *expected*. Nothing was changed.
        DirtyCheckoutError: It is checked out where it cannot be brought along safely. Nothing was changed.
        GitFailedError: Git or the file system refused. Nothing was changed.
    """
    with repository.lock("landing"):
        _settle(repository)
        try:
            ref = repository.integration_ref
            repository.move(
                ref,
                expected,
                new,
                message=message,
                first=lambda: _bring_along(repository, expected, new),
            )
        finally:
            _settle(repository)


def refuse_unsafe(repository: ProjectRepository, old: str, new: str) -> None:
    """Check, without a lock and so without promise, that `advance` would go through.

    Raises:
        DirtyCheckoutError: It would not. Names the place, what is in the way, and the remedy.
    """
    checkout = _Checkout.find(repository, old, new)
    if checkout is not None:
        checkout.refuse_unsafe()


def settle(repository: ProjectRepository) -> str | None:
    """Bring into order what a killed landing left in a checkout, and say what was done."""
    if not any(_journal_file(repository).parent.glob("*landing.json*")):
        return None
    with repository.lock("landing"):
        return _settle(repository)


def _bring_along(repository: ProjectRepository, old: str, new: str) -> None:
    if _journal_file(repository).exists():
        return  # the branch could not be moved at once, and this is the second try
    checkout = _Checkout.find(repository, old, new)
    if checkout is None:
        return
    checkout.note(_PROVING)
    checkout.take_lock()
    checkout.refuse_unsafe()
    checkout.note(_WRITING)
    checkout.write_files()
    checkout.write_index(checkout.new)


def _settle(repository: ProjectRepository) -> str | None:
    path = _journal_file(repository)
    for unfinished in path.parent.glob(f".{path.name}.*"):
        unfinished.unlink()
    try:
        journal = converter().structure(json.loads(path.read_text("utf-8")), _Journal)
    except FileNotFoundError:
        return None
    except Exception as exc:
        raise GitFailedError(
            f"read {path}",
            f"{exc}; look at the checkout of {repository.integration_branch}, then delete it",
        ) from exc
    said = None
    with git_errors(f"bring the checkout {journal.folder} into order"):
        checkout = _Checkout(repository, journal)
        if (
            journal.stage == _WRITING
            and repository.tip(journal.ref) == journal.old
            and checkout.git_dir.exists()
        ):
            checkout.take_lock()
            left = checkout.take_back()
            checkout.write_index(checkout.old)
            said = (
                f"Took back what a landing that did not finish had written into {journal.folder}."
            )
            if left:
                said += f" Left as they are, because somebody has changed them since: {', '.join(left)}."
        checkout.clear()
        checkout.release_lock()
        path.unlink()
    return said


def _journal_file(repository: ProjectRepository) -> Path:
    return repository.home.locks / "landing.json"


@attrs.frozen
class _Journal:
    """What is being done to a checkout."""

    stage: str
    ref: str
    git_dir: str
    folder: str
    old: str
    new: str
    token: str
    """Names the file that proves the index's lock ours."""


class _Checkout:
    """A checkout of the integration branch that is to go from one commit to the next."""

    def __init__(self, repository: ProjectRepository, journal: _Journal) -> None:
        self._repository = repository
        self._journal = journal
        self.git_dir, self._folder = Path(journal.git_dir), Path(journal.folder)
        with git_errors(f"look at the checkout {self._folder}"):
            room = tree_switch.room_beside(self._folder, self.git_dir, f"{journal.token}-files")
            self._transition = tree_switch.Transition(
                repository, self.git_dir, self._folder, room, old=journal.old, new=journal.new
            )
            self._repo = pygit2.Repository(str(self.git_dir))
        self.old, self.new = self._transition.old, self._transition.new

    @classmethod
    def find(cls, repository: ProjectRepository, old: str, new: str) -> _Checkout | None:
        holders = repository.holders(repository.integration_branch)
        if not holders:
            return None
        git_dir, folder = holders[0]
        journal = _Journal(
            _PROVING,
            repository.integration_ref,
            str(git_dir),
            str(folder),
            old,
            new,
            secrets.token_hex(8),
        )
        checkout = cls(repository, journal)
        if len(holders) > 1:
            checkout.refuse(f"it is checked out in {holders[1][1]} as well")
        return checkout

    def refuse(self, what: str) -> NoReturn:
        branch = self._repository.integration_branch
        reason = (
            f"the integration branch {branch!r} is checked out there, and {what}. "
            f"Commit, stash or move that; or run `git switch --detach` there; then try again"
        )
        raise DirtyCheckoutError(str(self._folder), reason)

    # the journal and the lock

    def note(self, stage: str) -> None:
        self._journal = attrs.evolve(self._journal, stage=stage)
        with git_errors("write the journal of a landing"):
            write_atomically(_journal_file(self._repository), json.dumps(to_plain(self._journal)))

    @property
    def _proof(self) -> Path:
        return self.git_dir / f"vespera-{self._journal.token}"

    @property
    def _lock(self) -> Path:
        return self.git_dir / "index.lock"

    def take_lock(self) -> None:
        """Lock the index as git does; after a kill our lock is known by the file that it is a second name of."""
        with git_errors(f"lock the index of {self._folder}"):
            self._proof.touch()
            deadline = time.monotonic() + _PATIENCE_S
            while not self._is_ours():
                try:
                    os.link(self._proof, self._lock)
                except FileExistsError:
                    if time.monotonic() > deadline:
                        self.refuse(
                            "another git process is at work in it (index.lock); when none is, delete that file"
                        )
                    time.sleep(0.01)

    def release_lock(self) -> None:
        if self._is_ours():
            self._lock.unlink()
        self._proof.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            return self._lock.samefile(self._proof)
        except FileNotFoundError:
            return False

    # proving

    def refuse_unsafe(self) -> None:
        with git_errors(f"look at the checkout {self._folder}"):
            if busy := [name for name in _BUSY if self.git_dir.joinpath(name).exists()]:
                self.refuse(f"something is under way in it ({busy[0]})")
            if not self.git_dir.joinpath("index").is_file():
                self.refuse("it has no index")
            for what, paths in (
                ("these submodules would change", self._submodules()),
                ("these changes are staged", self._staged()),
                ("these files have changes", self._edited()),
                ("these files are in the way", self._transition.in_the_way()),
            ):
                if paths:
                    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""  # noqa: PLR2004 - five names fit a line
                    self.refuse(f"{what}: {', '.join(map(tree_switch.shown, paths[:5]))}{more}")

    def _submodules(self) -> list[str]:
        return [
            path
            for side in (self.old, self.new)
            for path, file in side.items()
            if file is not None and file[1] == FileMode.COMMIT
        ]

    def _staged(self) -> list[str]:
        index = pygit2.Index(str(self.git_dir / "index"))
        return [path for path, file in self.old.items() if not _is_indexed(index, path, file)]

    def _edited(self) -> list[str]:
        """Return files that are not as the index has them. All that are to change are in the index as they were."""
        self._repo.index.read(True)
        flags = DiffOption.INCLUDE_TYPECHANGE | DiffOption.IGNORE_SUBMODULES
        changed = {
            os.fsdecode(delta.old_file.raw_path)
            for delta in self._repo.index.diff_to_workdir(flags).deltas
        }
        return sorted(changed & self.old.keys())

    # writing

    def write_files(self) -> None:
        """Write what is different, each file only where nobody has changed it since it was proven free."""
        with git_errors(f"update the checkout {self._folder}"):
            self._transition.prepare()
            if (changed := self._transition.go()) is not None:
                self.refuse(f"these files have changes: {tree_switch.shown(changed)}")

    def write_index(self, files: dict[str, _File]) -> None:
        """Replace the index by one in which the changed paths are *files*, all the rest being as it is."""
        with git_errors(f"update the index of {self._folder}"):
            copy = self.git_dir / f"vespera-index-{self._journal.token}"
            shutil.copyfile(self.git_dir / "index", copy)
            shutil.copymode(self.git_dir / "index", copy)
            try:
                index = pygit2.Index(str(copy))
                for path in self.old:
                    if C.git_index_get_bypath(index._index, os.fsencode(path), 0) != ffi.NULL:  # noqa: SLF001 - the quiet question
                        index.remove(path)
                for path, file in files.items():
                    if file is not None:
                        _add(index, path, file, self._folder / path)
                index.write()
                copy.replace(self.git_dir / "index")
            finally:
                copy.unlink(missing_ok=True)

    def take_back(self) -> list[str]:
        """Make every file that we wrote what it was; return those that somebody has changed since."""
        return [tree_switch.shown(path) for path in self._transition.take_back()]

    def clear(self) -> None:
        """Remove what was needed on the way."""
        self._transition.clear(f"{RESCUE}checkout", self._journal.old)


def _is_indexed(index: pygit2.Index, path: str, file: _File) -> bool:
    """Tell whether the index has exactly *file* at this path, without a conflict and without a mark of its own."""
    name = os.fsencode(path)
    if any(C.git_index_get_bypath(index._index, name, stage) != ffi.NULL for stage in (1, 2, 3)):  # noqa: SLF001 - pygit2 shows no stages
        return False
    entry = C.git_index_get_bypath(index._index, name, 0)  # noqa: SLF001 - pygit2 shows no flags
    if entry == ffi.NULL:
        return file is None
    found = bytes(ffi.buffer(ffi.addressof(entry, "id"))[:]).hex(), int(entry.mode)
    return found == file and not entry.flags_extended & _UNUSUAL_ENTRY


def _add(index: pygit2.Index, path: str, file: tuple[str, int], place: Path) -> None:
    """Add an entry with the times and size of the file on disk, where that holds what the entry says: git need not read it again then.

    Where it holds something else, its times would make git take the difference for none.
    """
    entry, name = pygit2.IndexEntry(path, pygit2.Oid(hex=file[0]), FileMode(file[1]))._to_c()  # noqa: SLF001 - pygit2 sets no times
    status = None
    with suppress(OSError):
        found, holds = place.lstat(), _content(place)
        status = found if holds is not None and str(pygit2.hash(holds[1])) == file[0] else None
    if status is not None:
        for field, time_ns in (
            (entry.ctime, status.st_ctime_ns),
            (entry.mtime, status.st_mtime_ns),
        ):
            field.seconds, field.nanoseconds = (time_ns // 10**9) & 0x7FFFFFFF, time_ns % 10**9
        entry.dev, entry.ino, entry.uid, entry.gid = (
            n & 0xFFFFFFFF for n in (status.st_dev, status.st_ino, status.st_uid, status.st_gid)
        )
        entry.file_size = status.st_size & 0xFFFFFFFF
    if C.git_index_add(index._index, entry) < 0:  # noqa: SLF001 - see above
        raise GitFailedError("update an index", f"git takes no entry {tree_switch.shown(path)}")
    del name  # held the C string until here


def _content(place: Path) -> tuple[str, bytes] | None:
    """Return what kind of file there is and what it holds; ``None`` where there is no file."""
    try:
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            return "link", os.fsencode(place.readlink())
        if stat.S_ISREG(status.st_mode):
            return "executable" if status.st_mode & stat.S_IXUSR else "file", place.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISDIR(status.st_mode) else ("other", b"")
