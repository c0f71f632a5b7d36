"""Reading and moving refs, so that a kill at any moment and a ``git gc`` beside us do no harm."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import GitFailedError, RefMovedError
from vespera_orchestrator.home.files import OpenHandle, sync_folder
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_small_file, read_small_text
from vespera_orchestrator.worktrees.locks import exclusive, lock_path
from vespera_orchestrator.worktrees.paths import folders_above
from vespera_orchestrator.worktrees.ref_files import packed_refs, read_ref
from vespera_orchestrator.worktrees.ref_lock import RefLock, RefLockedError
from vespera_orchestrator.worktrees.reflog import note_move, remove_log
from vespera_orchestrator.worktrees.translation import git_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from vespera_orchestrator.worktrees.staging import Held

WIP: Final = "refs/vespera/wip/"
"""Latest snapshot of each worktree."""
LANDED: Final = "refs/vespera/landed/"
"""What each worktree had when it was last landed, see `landed_mark`."""
RESCUE: Final = "refs/vespera/rescue/"
"""Last state of each worktree that was removed."""
HISTORY: Final = "refs/vespera/history/"
"""Earlier snapshots of each worktree, see `retention`."""

_LOCK_WORD: Final = "ref"
"""Begins the names of our locks of refs."""
_MOVE_PATIENCE_S: Final = 2.0
"""How long to wait for another git process that holds the lock of a ref."""
_POLL_S: Final = 0.01
_ABANDONED_S: Final = 600.0
"""A ref lock is held for milliseconds; one that is older than this was left behind."""
_TICK_S: Final = 0.1
"""File times are coarse: a lock made in the same tick as the evidence counts as newer."""
_DIGEST_CHARS: Final = 24
_NO_MOVE: Final = b"\n"
"""Begins the lock file of a ref that nobody is moving."""
_IN_PLACE: Final = os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


# --- moving -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class RefMove:
    """A ref that is to go from one commit to another, in one step."""

    ref: str
    expected: str | None
    """The commit that it names now; ``None`` where it does not exist."""
    new: str | None
    """The commit that it is to name; ``None`` removes it."""
    message: str = "vespera_orchestrator"
    """For its log."""
    while_locked: Callable[[], None] | None = None
    """Called while the ref is locked and at *expected*; if it raises, the ref does not move."""
    held: Held | None = None
    """Keeps what *new* needs."""


class Refs:
    """Moves the refs of one repository.

    A process that is killed in the middle leaves a lock file of git's behind. Before it began, it
    wrote the ref's name into the lock file of ours that it held. So whoever holds that one next
    knows git's lock for a dead one's, and removes it. No file is made for it: file systems take
    longer to make files the more of them have just been removed.
    """

    def __init__(
        self,
        common: Path,
        locks: Path,
        workshop: Path,
        open_repo: Callable[[], pygit2.Repository],
        *,
        durable: bool,
    ) -> None:
        """Take the places to work in.

        Args:
            common: The git directory that all worktrees share.
            locks: The home's folder for locks.
            workshop: A folder on git's own file system, for files of ours.
            open_repo: Opens the repository anew.
            durable: Whether a ref that was moved survives a power cut.
        """
        self._durable = durable
        self._synced_folders: set[str] = set()
        """Folders below git's own whose names this process has put on disk."""
        self._synced_refs: dict[str, str] = {}
        """For refs that this process has put on disk: what each named then."""
        self._common = common
        self._locks = locks
        self._workshop = workshop
        self._open = open_repo

    def move(self, move: RefMove) -> None:
        """Move a ref, if it is where it is expected. Moving it to where it is does nothing.

        Raises:
            RefMovedError: It is somewhere else, or objects of the new commit were pruned before a
                ref held them. Nothing was changed; make the new commit again.
            GitFailedError: Git refused, e.g. because another program holds the ref's lock.
        """
        with git_errors(f"move {move.ref}"), self._locked(move.ref):
            self._clear_dead_move(move.ref)
            evidence = self._evidence(move.ref)
            _overwrite(evidence, f"{move.ref}\n".encode())
            try:
                self._move_patiently(move)
            finally:
                _overwrite(evidence, _NO_MOVE)

    def confirm(self, ref: str, commit: str | None) -> None:
        """Check that *ref* names *commit*, also after a power cut; nothing is written.

        ``None`` stands for "does not exist".

        Raises:
            RefMovedError: It names something else.
        """
        with git_errors(f"read {ref}"), self._locked(ref):
            current = read_ref(self._common, ref)
            if current != commit:
                raise RefMovedError(ref, commit or "", current or "")
            if commit is None:
                return
            if self._durable and self._synced_refs.get(ref) != commit:
                self._sync(ref)  # who wrote it may have been killed then
                self._synced_refs[ref] = commit

    def _locked(self, ref: str) -> AbstractContextManager[None]:
        return exclusive(self._locks, _lock_of(ref))

    def _move_patiently(self, move: RefMove) -> None:
        deadline = time.monotonic() + _MOVE_PATIENCE_S
        while True:
            try:
                self._move_once(move)
            except RefLockedError as exc:
                if time.monotonic() > deadline:
                    hint = "another git process holds it; when none is running, delete that file"
                    raise GitFailedError(f"move {move.ref}", f"{exc}; {hint}") from exc
                time.sleep(_POLL_S)
            else:
                if not self._is_back(move):
                    return

    def _is_back(self, move: RefMove) -> bool:
        """Tell whether a removed ref is there again, and has to be removed once more.

        A ``git pack-refs`` that read it just before we removed it writes it back.
        """
        if move.new is not None or move.expected is None:
            return False
        return read_ref(self._common, move.ref) == move.expected

    def _move_once(self, move: RefMove) -> None:
        self._forget_missing_folders(move.ref)
        with RefLock(self._common, move.ref) as lock:
            self._move_locked(move, lock)
        if not self._durable:
            return
        self._sync(move.ref)
        self._synced_refs.pop(move.ref, None)
        if move.new is not None:
            self._synced_refs[move.ref] = move.new

    def _forget_missing_folders(self, ref: str) -> None:
        """Git removes folders in which no ref is left; they are made anew then."""
        for folder in folders_above(ref):
            if not self._common.joinpath(folder).exists():
                self._synced_folders.discard(folder)

    def _sync(self, ref: str) -> None:
        """Put the name of the ref's file on disk, and those of folders above it that may be new."""
        folders = ["", *folders_above(ref)]
        for folder in reversed(folders):
            with suppress(FileNotFoundError):  # an empty folder may have been removed meanwhile
                sync_folder(self._common / folder)
            if folder in self._synced_folders:
                break
        self._synced_folders.update(folders)

    def _move_locked(self, move: RefMove, lock: RefLock) -> None:
        current = read_ref(self._common, move.ref)
        if current == move.new:
            return
        if current != move.expected:
            raise RefMovedError(move.ref, move.expected or "", current or "")
        if move.new is None:
            self._remove(move.ref)
            return
        repo = self._repository_with(move.new, move.held)
        if repo is None:  # whoever slept since it was written
            pruned = "its new commit was pruned in the meantime"
            raise RefMovedError(move.ref, move.expected or "", reason=pruned)
        if move.while_locked is not None:
            move.while_locked()
        note_move(repo, self._common, move.ref, current, move.new, message=move.message)
        lock.write(move.new, durable=self._durable)

    def _repository_with(self, commit: str, held: Held | None) -> pygit2.Repository | None:
        """Return the repository, opened anew unless *held* keeps the commit.

        ``None`` if the commit is not there.
        """
        if held is not None and held.keeps(commit):
            return held.repo
        repo = self._open()
        return repo if commit in repo else None

    # removing

    def _remove(self, ref: str) -> None:
        # libgit2 is not let near it: it reads packed-refs before it locks it (libgit2 #1534), so
        # that it writes over what a `git pack-refs` writes in between. Refs that were packed just
        # then go back to an old value or are lost, and with them what others landed.
        self._remove_packed(ref)
        self._common.joinpath(ref).unlink(missing_ok=True)
        remove_log(self._common, ref)

    def _remove_packed(self, ref: str) -> None:
        """Take *ref* out of ``packed-refs``, under git's lock for it.

        This comes before the ref's own file goes: what is packed may be years old.
        """
        if all(name != ref for _, name in packed_refs(self._common)):
            return
        packed = self._common / "packed-refs"
        lock = self._common / "packed-refs.lock"
        new = self._packing(ref)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        new.touch()
        try:
            os.link(new, lock)  # so that after a kill the lock is known for ours
        except FileExistsError as exc:
            raise RefLockedError(f"{lock} exists") from exc
        try:
            _write_without(packed, new, ref)
            lock.replace(packed)
        except BaseException:
            lock.unlink(missing_ok=True)
            raise
        finally:
            new.unlink(missing_ok=True)

    def _packing(self, ref: str) -> Path:
        digest = _digest(ref)
        return self._workshop / f"packing-{digest}"

    # after a kill

    def _evidence(self, ref: str) -> Path:
        return lock_path(self._locks, _lock_of(ref))

    def _clear_dead_move(self, ref: str) -> bool:
        """Remove the lock file that a killed process of ours left on *ref*, under our own lock.

        Whoever holds our lock is the only one of us that may be moving a ref under it, so evidence
        of another move is that of a dead one.

        Returns:
            Whether there was a lock file.
        """
        evidence = self._evidence(ref)
        dead = _moving(evidence)  # another ref may have the same lock
        if dead is None:
            return False
        begun = evidence.stat().st_mtime
        is_cleared = _unlink_if_newer(self._common / f"{dead}.lock", begun)
        lock = self._common / "packed-refs.lock"
        packing = self._packing(dead)
        with suppress(FileNotFoundError):
            if lock.samefile(packing):
                lock.unlink()
                is_cleared = True
        packing.unlink(missing_ok=True)
        _overwrite(evidence, _NO_MOVE)
        return is_cleared and dead == ref

    def maybe_locked(self, *others: str) -> list[str]:
        """Return the refs on which a killed process may have left a lock.

        Args:
            others: Refs to look at besides those below ``refs/vespera``.
        """
        return sorted({*self._locked_refs(), *self._refs_with_evidence(), *others})

    def clear_locks_before(self, moment: float, *others: str) -> None:
        """Remove the locks that are older than *moment*, on the refs of `maybe_locked`."""
        names = [*self.maybe_locked(*others), "packed-refs"]
        for name in names:
            unlink_if_older(self._common / f"{name}.lock", moment)

    def clear_stale_lock(self, ref: str) -> bool:
        """Remove the lock file on *ref* if no living process can be holding it.

        Returns:
            Whether there was one.

        Raises:
            WorktreeLockedError: Somebody is moving the ref just now.
        """
        with exclusive(self._locks, _lock_of(ref), patience_s=0):
            is_dead = self._clear_dead_move(ref)
            return is_dead or _unlink_if_abandoned(self._common / f"{ref}.lock")

    def _locked_refs(self) -> Iterator[str]:
        folder = self._common.joinpath("refs", "vespera")
        for lock in folder.rglob("*.lock"):
            path = str(lock.relative_to(self._common))
            yield path.removesuffix(".lock")

    def _refs_with_evidence(self) -> Iterator[str]:
        for evidence in self._locks.glob(f"{_LOCK_WORD}-*.lock"):
            ref = _moving(evidence)
            if ref is not None:
                yield ref


def _lock_of(ref: str) -> str:
    return f"{_LOCK_WORD} {ref}"


def _moving(lock: Path) -> str | None:
    """Return the ref that is being moved under one of our locks, or was when its holder died."""
    try:
        ref, _, _ = read_small_text(lock).partition("\n")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    # A stranger's repository may have brought the file: it leads to nothing but a ref.
    return ref if ref.startswith("refs/") and pygit2.reference_is_valid_name(ref) else None


def _overwrite(lock: Path, beginning: bytes) -> None:
    """Write the beginning of a lock file of ours: only the first line counts.

    File systems take ten times as long to cut a file short.
    """
    with suppress(FileNotFoundError):  # somebody has cleared the folder
        handle = OpenHandle(lock, _IN_PLACE)
        os.write(handle.number, beginning)


def _digest(ref: str) -> str:
    digest = hashlib.sha256(ref.encode()).hexdigest()
    return digest[:_DIGEST_CHARS]


def _write_without(packed: Path, new: Path, ref: str) -> None:
    lines = read_small_file(packed, MOST_GIT_BYTES).splitlines(keepends=True)
    with new.open("wb") as stream:
        stream.writelines(_lines_without(lines, os.fsencode(ref)))
        stream.flush()
        os.fsync(stream.fileno())


def _lines_without(lines: Sequence[bytes], ref: bytes) -> Iterator[bytes]:
    is_of_ref = False
    for line in lines:
        # A line that begins with ^ says what the annotated tag above it stands for.
        if not line.startswith(b"^"):
            is_of_ref = line.rstrip(b"\n").partition(b" ")[2] == ref
        if not is_of_ref:
            yield line


def _unlink_if_newer(path: Path, since: float) -> bool:
    modified = _modified(path)
    if modified is None or modified < since - _TICK_S:
        return False
    path.unlink(missing_ok=True)
    return True


def _unlink_if_abandoned(path: Path) -> bool:
    return unlink_if_older(path, time.time() - _ABANDONED_S)


def unlink_if_older(lock: Path, moment: float) -> bool:
    """Remove a lock file that was last written before *moment*.

    Returns:
        Whether there was one.
    """
    modified = _modified(lock)
    if modified is None or modified >= moment:
        return False
    lock.unlink(missing_ok=True)
    return True


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None
