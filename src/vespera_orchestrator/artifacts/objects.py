"""The bytes of artifacts in an object store: S3 and what speaks like it, Google Cloud Storage, Azure. The only door to obstore."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vespera_orchestrator._sessions import translate_os_error
from vespera_orchestrator.artifacts import packing
from vespera_orchestrator.artifacts.packing import PACKED
from vespera_orchestrator.errors import (
    ContentAccessError,
    CorruptContentError,
    InvalidInputError,
    MissingDependencyError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_AT_ONCE_BYTES = 8 << 20
"""Up to so much is held in memory; what is larger goes over a temporary file, and up in parts of this size."""
_TRUSTED_FROM_BYTES = 1 << 20
"""Less is sent again rather than asked for: it costs one request either way, and replaces what was damaged."""
_CLIENT = {"timeout": "60s", "connect_timeout": "5s", "allow_http": "true"}
_RETRIES = 4
_PATIENCE = timedelta(seconds=30)


class ObjectContent:
    """A `ContentStore` in an object store, under the keys ``ab/cdef…`` and, compressed, ``ab/cdef….zst``.

    Any number of machines may use one. A key appears when all of it was received, so there is never half of one.

    Credentials, region and endpoint come from the environment, as the provider's own tools have them (``AWS_ACCESS_KEY_ID``,
    ``AWS_ENDPOINT_URL``, ``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_NAME``, …), or from *config*.

    Args:
        url: ``s3://bucket/folder``, ``gs://bucket/folder``, ``az://container/folder``, or ``memory://`` for this object alone.
        config: Settings of the provider, as ``obstore.store.from_url`` takes them.
        client_options: Of the HTTP client, likewise; by default 5 seconds for connecting and 60 for a request.
        retry_config: How often to try again, likewise; by default four times within half a minute.

    Raises:
        MissingDependencyError: obstore is not installed.
        InvalidInputError: There is no such kind of address, or a setting is not known.
    """

    def __init__(
        self,
        url: str,
        *,
        config: Mapping[str, Any] | None = None,
        client_options: Mapping[str, Any] | None = None,
        retry_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.url = url
        """The address, without credentials."""
        self._obstore = _obstore()
        self._process = os.getpid()
        self._store = self._connect(config or {}, {**_CLIENT, **(client_options or {})}, retry_config)

    def _connect(self, config: Mapping[str, Any], client: Mapping[str, Any], retry: Mapping[str, Any] | None) -> Any:
        patience = {"max_retries": _RETRIES, "retry_timeout": _PATIENCE} if retry is None else dict(retry)
        try:
            if self.url.startswith("memory:"):
                return self._obstore.store.MemoryStore()
            return self._obstore.store.from_url(self.url, config=dict(config), client_options=dict(client), retry_config=patience)
        except (self._obstore.exceptions.BaseError, ValueError, TypeError) as exc:
            raise InvalidInputError("content", f"{self.url!r} cannot be opened: {_said(exc)}") from exc

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content*; see `ContentStore.put`. A stream is read once, into a temporary file when it is large.

        Raises:
            ContentAccessError: The bucket does not exist, or the credentials are refused. Nothing was stored.
        """
        tally = packing.Tally()
        with _room() as spool:
            with _disk_errors():
                packed = packing.pour(tally.over(packing.pieces_of(content)), spool.write)
                size = spool.tell()
                spool.seek(0)
            key = _key(tally.digest, packed=packed)
            if size < _TRUSTED_FROM_BYTES or not self._has(key, size):
                body = spool if size > _AT_ONCE_BYTES else spool.read()
                with self._translating():
                    self._obstore.put(self._store, key, body, chunk_size=_AT_ONCE_BYTES, max_concurrency=2)
        return tally.digest, tally.size_bytes

    def _has(self, key: str, size: int) -> bool:
        try:
            with self._translating():
                return bool(self._obstore.head(self._store, key)["size"] == size)
        except FileNotFoundError:
            return False

    def read(self, digest: str) -> bytes:
        """Return the bytes; see `ContentStore.read`."""
        answer, key, packed = self._get(digest)
        if packed:
            with self._stream(answer, key, digest, packed=True) as stream:
                return stream.read()
        with self._translating():
            content = bytes(answer.bytes())
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptContentError(digest, self._named(key), f"its {len(content)} bytes are not those that were saved")
        return content

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces; see `ContentStore.open`."""
        answer, key, packed = self._get(digest)
        with self._stream(answer, key, digest, packed=packed) as stream:
            yield stream

    def path(self, digest: str) -> Path | None:  # noqa: ARG002 - as the contract has it
        """Return ``None``: nothing of it is a file here."""
        return None

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``. Fetches all of them, in constant memory."""
        try:
            with self.open(digest) as stream:
                packing.drain(stream)
        except CorruptContentError as exc:
            return exc.reason
        return None

    def _get(self, digest: str) -> tuple[Any, str, bool]:
        for packed in (False, True):
            key = _key(digest, packed=packed)
            try:
                with self._translating():
                    return self._obstore.get(self._store, key), key, packed
            except FileNotFoundError:
                continue
        raise CorruptContentError(digest, self._named(_key(digest, packed=False)), "the object is missing")

    def _stream(self, answer: Any, key: str, digest: str, *, packed: bool) -> IO[bytes]:
        received = io.BufferedReader(_Received(self, answer), packing.PIECE_BYTES)
        return packing.checked(received, packed=packed, digest=digest, place=self._named(key))

    def _named(self, key: str) -> str:
        return f"{self.url.rstrip('/')}/{key}"

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Let `FileNotFoundError` of a key out, and nothing else that is not ours."""
        if os.getpid() != self._process:
            raise ContentAccessError(self.url, "this process was forked from one that had it open", "start processes by spawning them")
        known = self._obstore.exceptions
        try:
            yield
        except FileNotFoundError as exc:
            if any(word in str(exc) for word in ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")):
                raise ContentAccessError(self.url, "there is no such bucket", "create it, or correct the address") from exc
            raise
        except (known.PermissionDeniedError, known.UnauthenticatedError, PermissionError) as exc:
            raise ContentAccessError(
                self.url,
                f"access is refused ({_said(exc)})",
                "set the provider's credentials in the environment, or allow them this bucket",
            ) from exc
        except (known.BaseError, OSError, ValueError) as exc:
            raise StoreUnavailableError(self.url, _said(exc)) from exc


class _Received(io.RawIOBase):
    """The body of an answer, as a stream."""

    def __init__(self, content: ObjectContent, answer: Any) -> None:
        self._content = content
        self._pieces = iter(answer.stream(packing.PIECE_BYTES))
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                with self._content._translating():  # noqa: SLF001 - one door, two rooms
                    self._rest = memoryview(bytes(next(self._pieces)))
            except StopIteration:
                return 0
        taken = self._rest[: len(buffer)]
        self._rest = self._rest[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


def _obstore() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as exc:
        raise MissingDependencyError(
            "content in an object store", "obstore", "python -m pip install 'vespera-orchestrator[objects]'"
        ) from exc
    return obstore


def _key(digest: str, *, packed: bool) -> str:
    packing.check_digest(digest)
    return f"{digest[:2]}/{digest[2:]}{PACKED if packed else ''}"


@contextmanager
def _room() -> Iterator[IO[bytes]]:
    with tempfile.SpooledTemporaryFile(_AT_ONCE_BYTES) as spool:
        yield spool


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise translate_os_error(exc, Path(tempfile.gettempdir())) from exc


def _said(exc: BaseException) -> str:
    """Return what a foreign error says for people: its first sentence, without what it has for developers and without whole answers."""
    text = " ".join(str(exc).partition("\n\nDebug source")[0].partition("<?xml")[0].split())
    return text[:400]
