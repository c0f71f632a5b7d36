"""Git's lock of a ref, and writing the ref: by hand, as git does it.

libgit2 would open the repository anew for each ref that is to survive a power cut, and sync the
ref's log as well, which git itself never does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Self

import pygit2

from vespera_orchestrator.home.files import OpenHandle, sync_open_file
from vespera_orchestrator.worktrees.ref_files import packed_refs
from vespera_orchestrator.worktrees.retrying import retrying

_NEW_LOCK: Final = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_MODE: Final = 0o666
"""What git gives its files; the process's mask takes away from it."""
_TRIES_BESIDE_GIT: Final = 5
"""Git removes empty folders, maybe just when we need one."""


class RefLockedError(OSError):
    """Another program holds git's lock of a ref."""


class RefLock:
    """Git's lock of a ref, held within a ``with`` block: a file that becomes the ref.

    A process that is killed within the block leaves it behind.
    """

    def __init__(self, common: Path, ref: str) -> None:
        """Take the place; nothing is locked yet.

        Args:
            common: The git directory that all worktrees share.
            ref: The ref's full name.

        Raises:
            ValueError: No ref can have this name.
        """
        if not pygit2.reference_is_valid_name(ref):
            raise ValueError(f"no ref can be called {ref!r}")
        self._common = common
        self._ref = ref
        self._file = common / ref
        self._lock = Path(f"{self._file}.lock")
        self._handle: OpenHandle | None = None
        self._is_locked = False

    def __enter__(self) -> Self:
        """Lock the ref.

        Raises:
            RefLockedError: Another program holds the lock.
            OSError: The file system refused, or another ref is where a folder should be.
        """
        self._handle = self._create_lock()
        self._is_locked = True
        return self

    def __exit__(self, *_: object) -> None:
        self._handle = None  # closed: Windows removes and moves no file that is open
        if self._is_locked:
            self._is_locked = False
            self._lock.unlink(missing_ok=True)

    @retrying(FileNotFoundError, times=_TRIES_BESIDE_GIT)
    def _create_lock(self) -> OpenHandle:
        try:
            return OpenHandle(self._lock, _NEW_LOCK, _MODE)
        except FileExistsError as exc:
            raise RefLockedError(f"{self._lock} exists") from exc
        except FileNotFoundError:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            raise

    def write(self, commit: str, *, durable: bool) -> None:
        """Let the ref name *commit*, and unlock it.

        Args:
            commit: The commit, in hexadecimal.
            durable: Whether a power cut leaves the old value or the new one, and only the new one
                once the folder was synced.

        Raises:
            OSError: The file system refused, or another ref is in the way. Nothing was changed.
        """
        if not os.path.lexists(self._file):
            self._refuse_clash()
        self._write_lock(commit, durable=durable)
        self._handle = None
        if self._file.is_dir():
            remove_empty_folders(self._file)
        self._lock.replace(self._file)
        self._is_locked = False

    def _write_lock(self, commit: str, *, durable: bool) -> None:
        if self._handle is None:
            raise RuntimeError(f"{self._ref} is not locked")
        os.write(self._handle.number, f"{commit}\n".encode("ascii"))
        if durable:
            sync_open_file(self._lock, self._handle.number)

    def _refuse_clash(self) -> None:
        """Refuse to make a ref where a packed one has a part of its path for its name.

        Or the reverse. Among the refs that have files of their own the file system does so.
        """
        for _, name in packed_refs(self._common):
            if name.startswith(f"{self._ref}/") or self._ref.startswith(f"{name}/"):
                raise FileExistsError(f"there is a ref {name}")


def remove_empty_folders(folder: Path) -> None:
    """Remove a folder of git's in which only empty folders are left.

    Raises:
        OSError: There is a file in it.
    """
    for place, _, _ in os.walk(folder, topdown=False):
        Path(place).rmdir()
