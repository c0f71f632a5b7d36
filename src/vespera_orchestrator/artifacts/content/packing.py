"""How bytes are kept: as they are, or in one Zstandard frame where that saves room; and how they are checked when they are read.

A digest is always of the bytes that were given, so the same content has the same digest however it is kept.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import attrs

from vespera_orchestrator.errors import CorruptContentError, InvalidInputError
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Piece: TypeAlias = bytes | bytearray | memoryview
PIECE_BYTES = 1 << 20
"""So much is held at once while bytes are streamed."""
PACKED = ".zst"
"""Ends the name of what is kept in a frame. ``zstd -d`` opens it as well."""
_BLOCK_BYTES = 4096
"""What file systems hand out: a content that fits into one of these takes no less room when it is made smaller."""
_SAMPLE_BYTES = 1 << 18
_WORTH = 0.9
"""Packed to more than this share it is kept as it is: reading would pay for hardly anything."""
_LEVEL = 3


_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_digest(digest: str) -> None:
    """Refuse what is no digest: nothing else may become part of a name.

    Raises:
        InvalidInputError: It is none.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidInputError(
            "digest", f"{digest!r} is no SHA-256 digest: 64 characters of 0-9a-f"
        )


def zstd() -> Any:
    """Return the module, which comes with Python from 3.14 on."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module


@attrs.define
class Tally:
    """Counts and digests what goes by."""

    size_bytes: int = 0
    _found: Any = attrs.field(factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """SHA-256 so far, in hexadecimal."""
        return str(self._found.hexdigest())

    def over(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Yield the pieces again."""
        for piece in pieces:
            self._found.update(piece)
            self.size_bytes += len(piece)
            yield piece


def pieces_of(content: bytes | IO[bytes]) -> Iterator[Piece]:
    """Cut into pieces of `PIECE_BYTES`, the last one shorter; what a stream gives in driblets is put together."""
    if isinstance(content, bytes):
        whole = memoryview(content)
        for start in range(0, len(whole), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]
        return
    waiting = b""
    while piece := _next_of(content, PIECE_BYTES - len(waiting)):
        waiting = waiting + piece if waiting else piece
        if len(waiting) >= PIECE_BYTES:
            yield waiting
            waiting = b""
    if waiting:
        yield waiting


def _next_of(stream: IO[bytes], size: int) -> bytes:
    try:
        piece: object = stream.read(size)
    except OSError as exc:
        raise InvalidInputError("content", f"the stream cannot be read: {exc}") from exc
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise InvalidInputError(
            "content", f"the stream gives {type(piece).__name__}; open it in binary mode"
        )
    return bytes(piece)


def pour(pieces: Iterator[Piece], write: Callable[[Piece], object]) -> bool:
    """Write the pieces, in a frame where that helps, and tell whether they are in one. The beginning decides for all of it."""
    first = next(pieces, b"")
    if len(first) < PIECE_BYTES:
        packed = pack(first)
        write(first if packed is None else packed)
        return packed is not None
    if not _saves(first[:_SAMPLE_BYTES]):
        write(first)
        for piece in pieces:
            write(piece)
        return False
    frame = zstd().ZstdCompressor(level=_LEVEL)
    write(frame.compress(first))
    for piece in pieces:
        write(frame.compress(piece))
    write(frame.flush())
    return True


def pack(content: Piece) -> bytes | None:
    """Return the frame, or ``None`` when it would save no room on a disk."""
    size = len(content)
    if size <= _BLOCK_BYTES:
        return None
    packed: bytes = zstd().compress(content, _LEVEL)
    return packed if len(packed) <= _WORTH * size and _blocks(len(packed)) < _blocks(size) else None


def _saves(sample: Piece) -> bool:
    return len(zstd().compress(sample, _LEVEL)) <= _WORTH * len(sample)


def _blocks(size: int) -> int:
    return -(-size // _BLOCK_BYTES)


class CheckedStream(io.RawIOBase):
    """Reads kept bytes as they were given, and raises at their end when they are not those.

    What was read before the end is known to be right only then.

    Args:
        source: What is kept; closed with this.
        packed: Whether it is a frame.
        digest: What the bytes should have.
        place: Where they are, for the error.
    """

    def __init__(self, source: IO[bytes], *, packed: bool, digest: str, place: str) -> None:
        self._source = source
        self._plain: IO[bytes] = zstd().ZstdFile(source) if packed else source
        self._found = hashlib.sha256()
        self._size = 0
        self._digest, self._place = digest, place
        self._broken: tuple[type[Exception], ...] = (EOFError, zstd().ZstdError) if packed else ()

    def readable(self) -> bool:
        """It is for reading, from the beginning to the end."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what comes next."""
        try:
            piece = self._plain.read(len(buffer))
        except self._broken as exc:
            raise CorruptContentError(
                self._digest, self._place, f"its frame is damaged ({exc})"
            ) from exc
        except OSError as exc:
            raise translate_os_error(exc, Path(self._place)) from exc
        if not piece and len(buffer) and self._found.hexdigest() != self._digest:
            raise CorruptContentError(
                self._digest, self._place, f"its {self._size} bytes are not those that were saved"
            )
        self._found.update(piece)
        self._size += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """Read to the end, in larger pieces than the base class does."""
        return b"".join(iter(lambda: self.read(PIECE_BYTES), b""))

    def close(self) -> None:
        """Close the source as well."""
        if not self.closed:
            try:
                if self._plain is not self._source:
                    self._plain.close()
            finally:
                self._source.close()
                super().close()


def checked(source: IO[bytes], *, packed: bool, digest: str, place: str) -> IO[bytes]:
    """Return a buffered `CheckedStream`."""
    return io.BufferedReader(
        CheckedStream(source, packed=packed, digest=digest, place=place), PIECE_BYTES
    )


def drain(stream: IO[bytes]) -> None:
    """Read to the end, keeping nothing: what is damaged says so on the way."""
    while stream.read(PIECE_BYTES):
        pass
