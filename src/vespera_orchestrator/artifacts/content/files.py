"""Reading a file as it is at one moment, although others may be writing to it."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.artifacts.content import media_types
from vespera_orchestrator.errors import SourceFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_TRIES = 3
"""How often a file is read that changes meanwhile."""
_ST_BLOCK_BYTES = 512
"""The unit of ``st_blocks``, whatever the blocks of the file system are; see stat(3type)."""


@attrs.frozen(kw_only=True)
class SourceFile:
    """A file that is to become an artifact."""

    path: Path
    """Where it is."""
    title: str
    """Its path from the root, with forward slashes; the whole path if it lies outside."""
    requested: str
    """The path as the caller gave it, for errors."""
    root: Path
    """Where relative paths start."""

    def error(self, reason: str) -> SourceFileNotFoundError:
        """Return the error that says why the file cannot be read."""
        looked_in = str(self.root)
        return SourceFileNotFoundError(self.requested, looked_in, reason)


@attrs.frozen(kw_only=True)
class StoredFile:
    """What `store` put into the content store."""

    digest: str
    """SHA-256 of its bytes, in hexadecimal."""
    size_bytes: int
    media_type: str


def locate(path: str | os.PathLike[str], root: Path) -> SourceFile:
    """Find out which file is meant, without looking at it.

    A relative path stays within *root*: one that leads out of a worktree names the file of
    another checkout, which nobody means. Absolute paths and symbolic links may lead to any file
    that the caller may read.

    Raises:
        SourceFileNotFoundError: A relative path leads out.
    """
    root = root.absolute()
    try:
        full = Path(os.path.normpath(root / path))
        inside = _relative_to(full, root)
    except (ValueError, OSError, TypeError) as exc:
        raise SourceFileNotFoundError(str(path), str(root), str(exc)) from exc
    requested = os.fspath(path)
    if inside is None and not Path(path).is_absolute():
        reason = "it leads out of that folder; give the absolute path if you mean it"
        raise SourceFileNotFoundError(requested, str(root), reason)
    title = (inside or full).as_posix()
    return SourceFile(path=full, title=title, requested=requested, root=root)


def _relative_to(path: Path, root: Path) -> Path | None:
    # A folder may have two names, such as /tmp and /private/tmp.
    for folder in (root, root.resolve()):
        if path.is_relative_to(folder):
            return path.relative_to(folder)
    return None


def store(source: SourceFile, put: Callable[[IO[bytes]], tuple[str, int]]) -> StoredFile:
    """Pass the file to *put*, as it is at one moment.

    It is read once. If it changes meanwhile it is read again, three times at most; a failed
    reading is not stored.

    Raises:
        SourceFileNotFoundError: It does not exist, is not a regular file, cannot be read, or
            keeps changing.
    """
    for _ in range(_MOST_TRIES):
        with _open(source) as file:
            media_type = media_types.detect(source.path.name, file.beginning())
            try:
                digest, size = put(cast("IO[bytes]", file))
            except _ChangedError:
                continue
            return StoredFile(digest=digest, size_bytes=size, media_type=media_type)
    raise source.error("it is being written to; let the writer finish, or give a copy")


class _ChangedError(Exception):
    """The file was written to while it was read."""


class _UnchangingFile:
    """Reads a file as long as it stays the same."""

    def __init__(self, handle: int, source: SourceFile) -> None:
        self._handle = handle
        self._source = source
        self._stamp = self._current_stamp()
        size = self._stamp[0]
        # Some files of the system, such as those in /proc, have size 0. These are read to
        # their end, and change their times without being written to.
        self._has_size = size > 0
        self._remaining = size
        """Never read more than there was: a log may grow faster than it is read."""

    def _current_stamp(self) -> tuple[int, ...]:
        status = os.fstat(self._handle)
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def beginning(self) -> bytes:
        with self._translate_errors():
            piece = os.read(self._handle, media_types.BEGINNING_BYTES)
            os.lseek(self._handle, 0, os.SEEK_SET)
        return piece

    def read(self, size: int) -> bytes:
        with self._translate_errors():
            piece = os.read(self._handle, self._limit(size))
            if not piece:
                self._require_unchanged()
        if self._has_size:
            self._remaining -= len(piece)
            if not piece and self._remaining:
                raise _ChangedError
        return piece

    def _limit(self, size: int) -> int:
        if not self._has_size:
            return size
        return min(size, self._remaining)

    def _require_unchanged(self) -> None:
        compared = 2 if self._has_size else 1
        if self._current_stamp()[:compared] != self._stamp[:compared]:
            raise _ChangedError

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise self._source.error(_reason(exc)) from exc


@contextmanager
def _open(source: SourceFile) -> Iterator[_UnchangingFile]:
    flags: Any = os.O_RDONLY
    for name in ("O_BINARY", "O_NONBLOCK", "O_NOCTTY"):
        flags |= getattr(os, name, 0)
    try:
        # Checked before opening, because opening a device may do something; and again
        # afterwards, because another file may have taken its place.
        _require_regular(source.path.stat(), source)
        handle = os.open(source.path, flags)
    except (OSError, ValueError) as exc:
        raise source.error(_reason(exc)) from exc
    try:
        status = os.fstat(handle)
        _require_regular(status, source)
        _refuse_giant_hole(status, source)
        yield _UnchangingFile(handle, source)
    finally:
        os.close(handle)


def _require_regular(status: os.stat_result, source: SourceFile) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise source.error("it is a folder, a pipe or a device; name regular files")


def _refuse_giant_hole(status: os.stat_result, source: SourceFile) -> None:
    """Refuse a file that is mostly holes, and whose size the disk has no room for.

    It may claim terabytes without having them, and reading its zeros would take hours.
    """
    on_disk = getattr(status, "st_blocks", None)  # not told by every system
    if on_disk is None or on_disk * _ST_BLOCK_BYTES * 2 > status.st_size:
        return
    free = shutil.disk_usage(source.path.parent).free
    if status.st_size > free:
        raise source.error(
            f"it is mostly holes: {status.st_size:,} bytes, of which "
            f"{on_disk * _ST_BLOCK_BYTES:,} are on the disk, and only {free:,} are free there; "
            "give what is in it as a smaller file"
        )


def _reason(exc: Exception) -> str:
    if isinstance(exc, FileNotFoundError):
        return "it is not there"
    return getattr(exc, "strerror", None) or str(exc)
