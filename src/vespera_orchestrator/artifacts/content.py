"""The bytes of artifacts, in a folder, each under its digest.

A content is written beside its place (``tmp/``), made durable, and then renamed into it: under a final name stands all of it or nothing,
whatever kills the writer. What a killed writer leaves is in ``tmp/`` and is nobody's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from vespera_orchestrator._sessions import translate_os_error
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PIECE_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderContent:
    """A `ContentStore` in a local folder: ``ab/cdef…`` for the digest ``abcdef…``.

    Any number of threads and processes may use one folder at once; two that put the same bytes store them once.

    Args:
        folder: Made when something is first put into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content* durably; see `ContentStore.put`.

        A copy that is already there is checked, and replaced when it was damaged.

        Raises:
            ReadOnlyError: The folder cannot be written.
        """
        with self._translating():
            if not isinstance(content, bytes):
                return self._put_stream(content)
            digest = hashlib.sha256(content).hexdigest()
            if not self._have(digest, len(content)):
                with self._temporary() as (temporary, stream):
                    stream.write(content)
                    self._settle(stream, temporary, digest)
            return digest, len(content)

    def _put_stream(self, content: IO[bytes]) -> tuple[str, int]:
        found, size = hashlib.sha256(), 0
        with self._temporary() as (temporary, stream):
            while piece := content.read(_PIECE_BYTES):
                found.update(piece)
                size += len(piece)
                stream.write(piece)
            if not self._have(found.hexdigest(), size):
                self._settle(stream, temporary, found.hexdigest())
        return found.hexdigest(), size

    def _have(self, digest: str, size: int) -> bool:
        """Tell whether the bytes are stored and sound, and make sure that they stay so."""
        place = self._place(digest)
        try:
            if place.stat().st_size != size or _digest_of(place) != digest:
                return False
        except FileNotFoundError:
            return False
        # Another writer may have renamed it a moment ago and not have come to this yet.
        self._sync_names(place)
        return True

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, IO[bytes]]]:
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / secrets.token_hex(8)
        # Read-only for whoever opens it later; this handle may write.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield temporary, stream
        finally:
            temporary.unlink(missing_ok=True)

    def _settle(self, stream: IO[bytes], temporary: Path, digest: str) -> None:
        stream.flush()
        os.fsync(stream.fileno())
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True)
        os.replace(temporary, place)
        self._sync_names(place)

    def _sync_names(self, place: Path) -> None:
        """Make the file's name durable, and its folder's; cheap when they are already."""
        _sync_folder(place.parent)
        _sync_folder(self.folder)

    def read(self, digest: str) -> bytes:
        """Return the bytes; see `ContentStore.read`."""
        place = self._place(digest)
        with self._translating():
            try:
                content = place.read_bytes()
            except FileNotFoundError as exc:
                raise CorruptContentError(digest, str(place), "the file is missing") from exc
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptContentError(digest, str(place), f"its {len(content)} bytes are not those that were saved")
        return content

    def path(self, digest: str) -> Path | None:
        """Return the file that holds the bytes, unchecked, or ``None`` when there is none. Do not write to it."""
        place = self._place(digest)
        return place if place.is_file() else None

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``. Reads all of them, in constant memory."""
        with self._translating():
            try:
                found = _digest_of(self._place(digest))
            except FileNotFoundError:
                return "the file is missing"
        return None if found == digest else "its bytes are not those that were saved"

    def _place(self, digest: str) -> Path:
        if _DIGEST.fullmatch(digest) is None:
            raise InvalidInputError("digest", f"{digest!r} is no SHA-256 digest: 64 characters of 0-9a-f")
        return self.folder / digest[:2] / digest[2:]

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise translate_os_error(exc, self.folder) from exc


def _digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as exc:
        # Some file systems cannot do it for folders, and say so.
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
