"""How contents are encoded: plain, or compressed in one Zstandard frame where that saves space.

A digest is always that of the original bytes. So the same content has the same digest,
whether it is compressed or not. Reading checks the bytes against the digest. This module is
the only door to zstd.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

Piece: TypeAlias = bytes | bytearray | memoryview
PIECE_BYTES = 1 << 20
"""How much is held in memory while bytes are streamed."""
FRAME_SUFFIX = ".zst"
"""Ends the name of a compressed content. ``zstd -d`` opens it too."""
_BLOCK_BYTES = 4096
"""The unit in which file systems allocate space: compressing what fits into one saves nothing."""
_SAMPLE_BYTES = 1 << 18
_HIGHEST_RATIO = 0.9
"""What compresses to more than this stays plain: decompressing it would not be worth it."""
_COMPRESSION_LEVEL = 3
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(digest: object) -> bool:
    """Tell whether *digest* is a SHA-256 digest as it is stored: 64 characters of 0-9a-f."""
    return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None


def check_digest(digest: str, place: str) -> None:
    """Refuse anything but a digest, so that nothing else becomes part of a file name.

    A damaged record may name such a content. It is missing like any other that is not there.

    Args:
        digest: What a record names.
        place: The store that is asked.

    Raises:
        CorruptContentError: *digest* is not a SHA-256 digest.
    """
    if not is_digest(digest):
        shown = one_line(repr(digest), 80)
        raise CorruptContentError(str(digest), place, f"{shown} is not a SHA-256 digest")


def _zstd() -> Any:
    """Return the zstd module: part of Python from 3.14 on, a backport before."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


# --- reading a source ---------------------------------------------------------------


@attrs.define
class Tally:
    """Counts the bytes that pass through it, and computes their digest."""

    size_bytes: int = 0
    _sha256: Any = attrs.field(factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far, in hexadecimal."""
        return str(self._sha256.hexdigest())

    def over(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Yield *pieces* unchanged."""
        for piece in pieces:
            self._sha256.update(piece)
            self.size_bytes += len(piece)
            yield piece


def pieces_of(content: bytes | IO[bytes]) -> Iterator[Piece]:
    """Cut *content* into pieces of `PIECE_BYTES`; only the last one is shorter.

    Short reads of a stream are joined.
    """
    if isinstance(content, bytes):
        whole = memoryview(content)
        for start in range(0, len(whole), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]
        return
    buffer = b""
    while piece := _read(content, PIECE_BYTES - len(buffer)):
        buffer = buffer + piece if buffer else piece
        if len(buffer) >= PIECE_BYTES:
            yield buffer
            buffer = b""
    if buffer:
        yield buffer


def _read(stream: IO[bytes], size: int) -> bytes:
    try:
        piece: object = stream.read(size)
    except OSError as exc:
        raise InvalidInputError("content", f"the stream cannot be read: {exc}") from exc
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise InvalidInputError(
            "content", f"the stream returns {type(piece).__name__}; open it in binary mode"
        )
    return bytes(piece)


# --- compressing --------------------------------------------------------------------


def write_packed(pieces: Iterator[Piece], write: Callable[[Piece], object]) -> bool:
    """Write *pieces*, compressed where that helps, and return whether they were compressed.

    The beginning decides for the whole content.
    """
    first = next(pieces, b"")
    if len(first) < PIECE_BYTES:
        frame = pack(first)
        write(first if frame is None else frame)
        return frame is not None
    if not _is_compressible(first[:_SAMPLE_BYTES]):
        write(first)
        for piece in pieces:
            write(piece)
        return False
    compressor = _zstd().ZstdCompressor(level=_COMPRESSION_LEVEL)
    write(compressor.compress(first))
    for piece in pieces:
        write(compressor.compress(piece))
    write(compressor.flush())
    return True


def pack(content: Piece) -> bytes | None:
    """Return *content* as a frame, or ``None`` when that would not save disk space."""
    size = len(content)
    if size <= _BLOCK_BYTES:
        return None
    frame: bytes = _zstd().compress(content, _COMPRESSION_LEVEL)
    if len(frame) > _HIGHEST_RATIO * size:
        return None
    if _blocks(len(frame)) >= _blocks(size):
        return None
    return frame


def _is_compressible(sample: Piece) -> bool:
    frame = _zstd().compress(sample, _COMPRESSION_LEVEL)
    return len(frame) <= _HIGHEST_RATIO * len(sample)


def _blocks(size: int) -> int:
    return -(-size // _BLOCK_BYTES)


# --- reading back -------------------------------------------------------------------


class CheckedStream(io.RawIOBase):
    """Reads a stored content back, and raises at the end if the bytes are not the saved ones.

    Bytes read before the end are only known to be right once the end was reached.

    Args:
        source: The stored bytes; closed together with this stream.
        packed: Whether they are a frame.
        digest: The digest that the content should have.
        place: Where it is stored, for the error.
    """

    def __init__(self, source: IO[bytes], *, packed: bool, digest: str, place: str) -> None:
        self._source = source
        self._plain = source
        self._frame_errors: tuple[type[Exception], ...] = ()
        if packed:
            zstd = _zstd()
            self._plain = zstd.ZstdFile(source)
            self._frame_errors = (EOFError, zstd.ZstdError)
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0
        self._digest = digest
        self._place = place

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes into *buffer*."""
        try:
            piece = self._plain.read(len(buffer))
        except self._frame_errors as exc:
            problem = f"its frame is damaged ({exc})"
            raise CorruptContentError(self._digest, self._place, problem) from exc
        except OSError as exc:
            raise translate_os_error(exc, Path(self._place)) from exc
        if not piece and len(buffer) and self._sha256.hexdigest() != self._digest:
            problem = different_bytes(self._size_bytes)
            raise CorruptContentError(self._digest, self._place, problem)
        self._sha256.update(piece)
        self._size_bytes += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def readall(self) -> bytes:
        """Read to the end, in larger pieces than the base class does."""
        pieces = []
        while piece := self.read(PIECE_BYTES):
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the source as well."""
        if not self.closed:
            try:
                if self._plain is not self._source:
                    self._plain.close()
            finally:
                self._source.close()
                super().close()


def open_checked(source: IO[bytes], *, packed: bool, digest: str, place: str) -> IO[bytes]:
    """Return a buffered `CheckedStream`."""
    stream = CheckedStream(source, packed=packed, digest=digest, place=place)
    return io.BufferedReader(stream, PIECE_BYTES)


def different_bytes(size_bytes: int) -> str:
    """Say that the stored bytes are not the saved ones."""
    return f"its {size_bytes} bytes are not those that were saved"


def read_through(stream: IO[bytes]) -> None:
    """Read to the end and keep nothing, so that the stream raises if it is damaged."""
    while stream.read(PIECE_BYTES):
        pass


def problem_with(content: AbstractContextManager[IO[bytes]]) -> str | None:
    """Open and read *content*, and return what is wrong with it, or ``None``."""
    try:
        with content as stream:
            read_through(stream)
    except CorruptContentError as exc:
        return exc.reason
    return None
