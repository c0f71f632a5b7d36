"""Files taken in as they are at one moment, and what kind of bytes they hold."""

from __future__ import annotations

import codecs
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from vespera_orchestrator.errors import SourceFileNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TRIES = 3
"""How often a file is read that changes meanwhile."""

_MEDIA_TYPES = {
    **dict.fromkeys((".md", ".markdown"), "text/markdown"),
    **dict.fromkeys((".py", ".pyi"), "text/x-python"),
    **dict.fromkeys((".yaml", ".yml"), "application/yaml"),
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".rst": "text/x-rst",
    ".sql": "application/sql",
    ".toml": "application/toml",
    ".ts": "text/x-typescript",
    ".tsx": "text/x-typescript",
    ".webp": "image/webp",
}
"""What Python's own table gets wrong or leaves to the machine; the rest is looked up there, and last in the bytes."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
)
BEGINNING_BYTES = 8192
"""So much of the bytes is enough to tell what they are."""


# --- what it is -------------------------------------------------------------------


def named_type(name: str) -> str | None:
    """Tell the media type by the name, the same on every machine; ``None`` when it says nothing."""
    import mimetypes

    suffix = os.path.splitext(name)[1].lower()
    if suffix in _MEDIA_TYPES:
        return _MEDIA_TYPES[suffix]
    # The instance has Python's table alone; the module's function would add this machine's.
    guessed, encoding = mimetypes.MimeTypes().guess_type("name" + suffix)
    return "application/octet-stream" if encoding else guessed


def marked_type(beginning: bytes) -> str | None:
    """Tell the media type by the mark that some formats begin with."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for mark, media_type in _MAGIC if beginning.startswith(mark)), None)


def media_type(name: str, beginning: bytes) -> str:
    """Tell the media type by the name, and where it says nothing by the bytes."""
    known = named_type(name) or marked_type(beginning)
    if known is not None:
        return known
    if b"\0" in beginning:
        return "application/octet-stream"
    try:
        # Not final: a character cut in two by the end of the piece is no fault.
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain"


def suffix_of(media_type: str) -> str:
    """Return the suffix that a file of this type is given."""
    import mimetypes

    ours = {known: suffix for suffix, known in reversed(_MEDIA_TYPES.items())}
    ours |= {
        "text/markdown": ".md",
        "text/x-python": ".py",
        "text/plain": ".txt",
        "text/html": ".html",
        "image/jpeg": ".jpg",
    }
    return ours.get(media_type) or mimetypes.MimeTypes().guess_extension(media_type) or ".bin"


# --- taking in --------------------------------------------------------------------


def locate(path: str | os.PathLike[str], root: Path) -> tuple[Path, str]:
    """Return where the file is, and what it is called: its path from *root*, with forward slashes, or all of it outside.

    A relative path stays within *root*: one that leads out of a worktree names another checkout's file, which nobody means. Absolute paths
    and symbolic links may lead anywhere the caller may read.

    Raises:
        SourceFileNotFoundError: A relative path leads out.
    """
    root = root.absolute()
    try:
        place = Path(os.path.normpath(root / path))
        # A folder can be reached by two names, e.g. /tmp and /private/tmp.
        inside = next(
            (place.relative_to(top) for top in (root, root.resolve()) if place.is_relative_to(top)),
            None,
        )
    except (ValueError, OSError, TypeError) as exc:
        raise SourceFileNotFoundError(str(path), str(root), str(exc)) from exc
    if inside is None and not Path(path).is_absolute():
        raise SourceFileNotFoundError(
            os.fspath(path),
            str(root),
            "it leads out of that folder; give the absolute path if you mean it",
        )
    return place, (inside or place).as_posix()


class _ChangedError(Exception):
    """The file was written to while it was read."""


class _Steady:
    """Reads a file as long as it stays the same."""

    def __init__(self, handle: int, complain: Callable[[OSError], SourceFileNotFoundError]) -> None:
        self._handle = handle
        self._complain = complain
        self._before = self._look()
        self._left = self._before[0] or None
        """Never more than there was: a log may grow faster than it is read. The system's own files say 0, and are read to their end."""

    def _look(self) -> tuple[int, int, int]:
        found = os.fstat(self._handle)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def beginning(self) -> bytes:
        try:
            piece = os.read(self._handle, BEGINNING_BYTES)
            os.lseek(self._handle, 0, os.SEEK_SET)
        except OSError as exc:
            raise self._complain(exc) from exc
        return piece

    def read(self, size: int) -> bytes:
        try:
            piece = os.read(self._handle, size if self._left is None else min(size, self._left))
            if (
                not piece
                and self._look()[: 2 if self._before[0] else 1]
                != self._before[: 2 if self._before[0] else 1]
            ):
                raise _ChangedError
        except OSError as exc:
            raise self._complain(exc) from exc
        if self._left is not None:
            self._left -= len(piece)
        if not piece and self._left:
            raise _ChangedError
        return piece


def take_in(
    path: str | os.PathLike[str],
    place: Path,
    root: Path,
    put: Callable[[IO[bytes]], tuple[str, int]],
) -> tuple[str, int, str]:
    """Give the file to *put*, as it is at one moment, read once; return digest, size and media type.

    A file that changes while it is read is read again, three times at most; what was read in vain is not stored.

    Raises:
        SourceFileNotFoundError: It is not there, is no regular file, cannot be read, or does not stay the same.
    """
    for _ in range(_TRIES):
        with _opened(path, place, root) as file:
            kind = media_type(place.name, file.beginning())
            try:
                return *put(cast("IO[bytes]", file)), kind
            except _ChangedError:
                continue
    raise SourceFileNotFoundError(
        os.fspath(path), str(root), "it is being written to; let the writer finish, or give a copy"
    )


@contextmanager
def _opened(path: str | os.PathLike[str], place: Path, root: Path) -> Iterator[_Steady]:
    def complain(exc: Exception) -> SourceFileNotFoundError:
        reason = (
            "it is not there"
            if isinstance(exc, FileNotFoundError)
            else getattr(exc, "strerror", None) or str(exc)
        )
        return SourceFileNotFoundError(os.fspath(path), str(root), reason)

    how: Any = (
        os.O_RDONLY
        | getattr(os, "O_BINARY", 0)
        | getattr(os, "O_NONBLOCK", 0)
        | getattr(os, "O_NOCTTY", 0)
    )
    try:
        # Looked at before it is opened, because opening a device may do something; and again after, for what was put in its place.
        _require_regular(place.stat(), path, root)
        handle = os.open(place, how)
    except (OSError, ValueError) as exc:
        raise complain(exc) from exc
    try:
        _require_regular(os.fstat(handle), path, root)
        yield _Steady(handle, complain)
    finally:
        os.close(handle)


def _require_regular(found: os.stat_result, path: str | os.PathLike[str], root: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SourceFileNotFoundError(
            os.fspath(path), str(root), "it is a folder, a pipe or a device; name regular files"
        )
