"""Files of the home: written whole or not at all, and the errors of the system in our words."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError, ReadOnlyError, StoreUnavailableError
from vespera_orchestrator.home.permissions import file_mode_in, inherit_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE_IN_THE_WAY: Final = (errno.ENOTDIR, errno.EEXIST)
_FORBIDDEN: Final = (errno.EACCES, errno.EROFS, errno.EPERM)
_CANNOT_SYNC: Final = (errno.EINVAL, errno.ENOTSUP)
_FIT_REMEDY: Final = "remove it, or put the right file there"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UnfitFileError(OSError):
    """What should be a small file is something else, such as a pipe, or is too large."""

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(errno.EINVAL, problem, os.fspath(path))

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def is_disk_trouble(exc: Exception) -> bool:
    """Tell whether the disk refused a write that another time, or with more room, it accepts."""
    return isinstance(exc, OSError) and exc.errno in (*_FULL, errno.EIO)


def resolved_path(name: str, path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without links; ``~`` and ``~user`` are folders of users.

    Args:
        name: What to call it in an error.
        path: The path. It need not exist.

    Raises:
        InvalidInputError: No file can have this path, or there is no such user.
    """
    try:
        return Path(path).expanduser().resolve()
    except (ValueError, RuntimeError, OSError) as exc:
        raise InvalidInputError(name, f"{show_value(path)} cannot be used: {exc}") from exc


def write_atomically(
    path: Path, text: str, *, durable: bool = True, mode: int | None = None
) -> None:
    """Replace the whole file: a reader sees the old text or the new, whatever kills the writer.

    Args:
        path: The file.
        text: What it is to hold.
        durable: Whether the new text survives a power cut once this has returned. Without it, a
            power cut may even leave an empty file.
        mode: Its rights; by default those that a new file in its folder gets.
    """
    with replacing(path, text, durable=durable, mode=mode):
        pass


@contextmanager
def replacing(
    path: Path, text: str, *, durable: bool = True, mode: int | None = None
) -> Iterator[None]:
    """Write the new text beside *path* before the block; move it into place after the block.

    The usual failures come before the block: a full disk, a folder that cannot be written, a
    folder where the file should be. If the block raises, the file stays as it was.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    durable = durable and not _is_trial(path)
    stream = tempfile.NamedTemporaryFile(  # noqa: SIM115 - it is closed before it is moved
        "w", encoding="utf-8", newline="", dir=path.parent, prefix=f".{path.name}.", delete=False
    )
    temporary = stream.name
    try:
        with stream:
            stream.write(text)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        os.chmod(temporary, file_mode_in(path.parent) if mode is None else mode)
        yield
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def stays_inside(path: str) -> bool:
    """Tell whether a relative path leads to something below where it starts, on every system."""
    is_relative = bool(path) and not path.startswith(("/", "\\"))
    return is_relative and path.isprintable() and ".." not in parts_of(path)


def parts_of(path: str) -> list[str]:
    """Return the names in a path, which may be written for any system."""
    return path.replace("\\", "/").split("/")


def make_folders(*folders: Path) -> None:
    """Create missing folders and those above them, durably; see `permissions` for their rights."""
    for folder in folders:
        missing = [above for above in (folder, *folder.parents) if not above.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for new in reversed(missing):
            inherit_rights(new)
            sync_folder(new.parent)


def sync_file(file: Path) -> None:
    """Wait until the bytes of *file* are on disk; its name is the folder's, see `sync_folder`."""
    handle = OpenHandle(file)
    sync_open_file(file, handle.number)


def sync_open_file(file: str | Path, number: int) -> None:
    """Do so for a file that is open as this descriptor."""
    if not _is_trial(file):
        os.fsync(number)


_TRIAL_FOLDERS: Final[set[str]] = set()
"""Homes of stores in memory, each with a separator behind it."""


def never_sync(folder: Path) -> None:
    """Wait for the disk no more below a folder that is removed before this process ends.

    What is in it needs to survive nothing. `remove_folder` ends that.
    """
    _TRIAL_FOLDERS.add(f"{folder}{os.sep}")


def _is_trial(place: str | Path) -> bool:
    name = f"{place}{os.sep}"
    return any(name.startswith(folder) for folder in tuple(_TRIAL_FOLDERS))


class OpenHandle:
    """A file or folder, open for as long as somebody has this object.

    Ctrl-C between any two lines leaves none open; with ``try`` and ``finally`` it can.
    """

    number = -1

    def __init__(self, place: str | Path, flags: int = os.O_RDONLY, mode: int = 0o777) -> None:
        self.number = os.open(place, flags, mode)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def create_file(path: Path) -> None:
    """Make an empty file with the rights of its folder, unless there is one."""
    mode = file_mode_in(path.parent)
    with suppress(FileExistsError):
        handle = OpenHandle(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        if mode & stat.S_IRWXG and hasattr(os, "fchmod"):
            with suppress(OSError):
                os.fchmod(handle.number, mode)  # in spite of the process's mask


def sync_folder(folder: str | Path) -> None:
    """Wait until the names in *folder* are on disk: what was created, renamed and removed there.

    A file that was synced can still lose its name in a power cut, because names belong to the
    folder. Where the system or the file system cannot sync folders, nothing is done.
    """
    if _is_trial(folder):
        return
    try:
        handle = OpenHandle(folder)
    except PermissionError:
        if os.name == "nt":
            # Windows does not open folders; its file systems keep names in order by themselves.
            return
        raise
    try:
        os.fsync(handle.number)
    except OSError as exc:
        # Some file systems cannot sync folders, and say so.
        if exc.errno not in _CANNOT_SYNC:
            raise


def remove_folder(path: Path, process_id: int) -> None:
    """Remove a temporary folder, but not in a child that was forked from its owner."""
    if os.getpid() == process_id:
        shutil.rmtree(path, ignore_errors=True)
        _TRIAL_FOLDERS.discard(f"{path}{os.sep}")


def make_temporary_folder() -> Path:
    """Make a new folder for temporary files, for this user alone.

    Raises:
        ReadOnlyError: The folder for temporary files cannot be written.
        StoreUnavailableError: There is no room, or no such folder.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="vespera-"))
    except OSError as exc:
        raise translate_os_error(exc, Path(tempfile.gettempdir())) from exc


def translate_os_error(
    exc: OSError, path: Path
) -> InvalidInputError | ReadOnlyError | StoreUnavailableError:
    """Turn an `OSError` from below the home into the error of ours that a caller can act on."""
    if isinstance(exc, UnfitFileError):
        return InvalidInputError(exc.filename, f"{exc.strerror}; {_FIT_REMEDY}")
    reason = exc.strerror or str(exc)
    if exc.errno in _FILE_IN_THE_WAY:
        name = str(exc.filename or path)
        return ReadOnlyError(name, "a file is where a folder should be: move it away")
    if exc.errno == errno.EISDIR:
        reason = "a folder is where a file should be: move it away"
    if exc.errno in (errno.EISDIR, *_FORBIDDEN):
        return ReadOnlyError(str(path), reason)
    if exc.errno in _FULL:
        advice = f"no room to write ({exc.strerror}): free some disk space"
        return StoreUnavailableError(str(path), advice)
    return StoreUnavailableError(str(path), f"the system said: {exc}")
