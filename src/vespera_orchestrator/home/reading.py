"""Small files that somebody else may have put there: read up to a bound, and never waited for.

A home, a repository and a worktree can hold a pipe, a device or a file without end where a small
file is expected. Every reading of such a file comes through here: settings, notes, journals,
templates, the files of git. A test looks for readings that do not.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.errors import CorruptContentError
from vespera_orchestrator.home.files import OpenHandle, UnfitFileError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from vespera_orchestrator.contracts import ContentStore

MOST_BYTES: Final = 1_000_000
"""Of what people write: settings, roles, templates, patterns."""
MOST_STATE_BYTES: Final = 64_000_000
"""Of what the library itself notes down, which grows with the project."""
MOST_GIT_BYTES: Final = 4_000_000_000
"""Of what git keeps, and of the project's own files."""
_PIECE_BYTES: Final = 1_000_000
_WITHOUT_WAITING: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_AS_IT_IS: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


def read_small_file(
    path: str | Path, most_bytes: int = MOST_BYTES, *, follow_links: bool = True
) -> bytes:
    """Return the bytes of a plain file.

    Args:
        path: The file.
        most_bytes: How many bytes it may have.
        follow_links: Whether *path* may be a link to the file.

    Raises:
        UnfitFileError: It is something else than a plain file, or larger. Nothing was waited for.
        OSError: It is not there, or cannot be read.
    """
    flags = os.O_RDONLY | _WITHOUT_WAITING | _AS_IT_IS
    if not follow_links:
        flags |= _NO_LINK
    handle = OpenHandle(path, flags)
    status = os.fstat(handle.number)
    _require_plain(status, path)
    # Its size is a hint only: files in /proc have none, and a file can grow while it is read.
    wanted = min(status.st_size, most_bytes) + 1
    pieces: list[bytes] = []
    count = 0
    while piece := os.read(handle.number, min(wanted, _PIECE_BYTES)):
        pieces.append(piece)
        count += len(piece)
        if count > most_bytes:
            raise UnfitFileError(path, f"has more than {most_bytes:,} bytes")
    return b"".join(pieces)


def read_small_text(
    path: str | Path, most_bytes: int = MOST_BYTES, *, errors: str = "strict"
) -> str:
    """Return the text of a plain file in UTF-8; every line break becomes a line feed.

    Raises:
        UnfitFileError: See `read_small_file`.
        OSError: See `read_small_file`.
        UnicodeDecodeError: It is not UTF-8.
    """
    text = read_small_file(path, most_bytes).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: str | Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        UnfitFileError: See `read_small_file`.
        OSError: See `read_small_file`.
        ValueError: It is not JSON, or nested too deeply.
    """
    content = read_small_file(path, MOST_STATE_BYTES)
    try:
        return json.loads(content)
    except RecursionError as exc:
        raise ValueError(f"{path} is nested too deeply") from exc


def open_plain_file(path: str | Path) -> FileIO:
    """Open a plain file of any size for reading, unbuffered.

    Raises:
        UnfitFileError: It is something else, which was not waited for.
        OSError: It is not there, or cannot be read.
    """
    stream = open(path, "rb", buffering=0, opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _require_plain(os.fstat(stream.fileno()), path)
    except BaseException:
        stream.close()
        raise
    return stream


def read_content(store: ContentStore, digest: str, most_bytes: int) -> bytes:
    """Return a content whose size is known. A few bytes on the disk can expand without end.

    Raises:
        CorruptContentError: It is missing, not what was saved, or larger.
    """
    pieces: list[bytes] = []
    count = 0
    most_bytes = max(most_bytes, 0)
    with store.open(digest) as stream:
        while piece := stream.read(min(most_bytes + 1 - count, _PIECE_BYTES)):
            pieces.append(piece)
            count += len(piece)
            if count > most_bytes:
                problem = f"it has more than {most_bytes:,} bytes"
                raise CorruptContentError(digest, store.url, problem)
    return b"".join(pieces)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | _WITHOUT_WAITING)


def _require_plain(status: os.stat_result, path: str | Path) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if kind != stat.S_IFREG:
        words = "a pipe" if kind == stat.S_IFIFO else "a device"
        raise UnfitFileError(path, f"is {words}, not a file")
