"""A bucket of an object store: a few requests, with errors in our words.

This module is the only door to obstore.
"""

from __future__ import annotations

import io
import os
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.artifacts.content.packing import PIECE_BYTES
from vespera_orchestrator.errors import (
    ContentAccessError,
    InvalidInputError,
    MissingDependencyError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

_KEYS_PER_DELETE = 1000
_CLIENT_OPTIONS = {"timeout": "60s", "connect_timeout": "5s", "allow_http": "true"}
_RETRY_CONFIG = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_MISSING_BUCKET_WORDS = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
"""What the providers say; nothing else tells a missing bucket from a missing key."""
_CLOCK_KEY = "clock"
"""Written to learn the store's time."""
_LONGEST_MESSAGE = 400


@attrs.frozen(kw_only=True)
class StoredObject:
    """What the object store knows about an object."""

    key: str
    size_bytes: int
    modified_at: datetime
    e_tag: str
    """Without quotes; empty where the store gives none."""

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> StoredObject:
        """Read obstore's answer."""
        e_tag = about["e_tag"] or ""
        return cls(
            key=about["path"],
            size_bytes=about["size"],
            modified_at=about["last_modified"],
            e_tag=e_tag.strip('"'),
        )


class Bucket:
    """A bucket, or a folder in one.

    A key that does not exist raises `FileNotFoundError`; every other error is one of ours.

    Args:
        url: As for `ObjectContent`, like the other arguments.
        config: Settings of the provider.
        client_options: Options of the HTTP client.
        retry_config: How often to try again.

    Raises:
        MissingDependencyError: obstore is not installed.
        InvalidInputError: The address or a setting cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        config: Mapping[str, Any] | None,
        client_options: Mapping[str, Any] | None,
        retry_config: Mapping[str, Any] | None,
    ) -> None:
        self.url = url
        self._obstore = _import_obstore()
        self._process = os.getpid()
        self._store = self._connect(
            dict(config or {}),
            {**_CLIENT_OPTIONS, **(client_options or {})},
            _RETRY_CONFIG if retry_config is None else dict(retry_config),
        )

    def _connect(
        self, config: dict[str, Any], client_options: dict[str, Any], retry_config: dict[str, Any]
    ) -> Any:
        try:
            if self.url.startswith("memory:"):
                return self._obstore.store.MemoryStore()
            return self._obstore.store.from_url(
                self.url, config=config, client_options=client_options, retry_config=retry_config
            )
        except (self._obstore.exceptions.BaseError, ValueError, TypeError) as exc:
            problem = f"{self.url!r} cannot be opened: {_message(exc)}"
            raise InvalidInputError("content", problem) from exc

    def put(self, key: str, body: bytes) -> None:
        """Store a small object."""
        with self._translate_errors():
            self._obstore.put(self._store, key, body)

    def upload(self, key: str, body: bytes | IO[bytes], *, part_bytes: int) -> None:
        """Store an object of any size, a large one in parts of *part_bytes*."""
        with self._translate_errors():
            self._obstore.put(self._store, key, body, chunk_size=part_bytes, max_concurrency=2)

    def read(self, key: str) -> bytes:
        """Return a small object."""
        with self._translate_errors():
            return bytes(self._obstore.get(self._store, key).bytes())

    def open(self, key: str) -> IO[bytes]:
        """Return an object as a stream."""
        with self._translate_errors():
            answer = self._obstore.get(self._store, key)
        return io.BufferedReader(_Body(self, answer), PIECE_BYTES)

    def head(self, key: str) -> StoredObject:
        """Return what the store knows about one object."""
        with self._translate_errors():
            return StoredObject.of(self._obstore.head(self._store, key))

    def objects(self, prefix: str | None = None) -> Iterator[StoredObject]:
        """Yield the objects below *prefix*, or all of them."""
        with self._translate_errors():
            for page in self._obstore.list(self._store, prefix):
                yield from map(StoredObject.of, page)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, whether they exist or not."""
        every = [*keys]
        for start in range(0, len(every), _KEYS_PER_DELETE):
            batch = every[start : start + _KEYS_PER_DELETE]
            try:
                self._delete(batch)
            except FileNotFoundError:
                # Some stores refuse a missing key, and may have stopped there.
                for key in batch:
                    with suppress(FileNotFoundError):
                        self._delete(key)

    def _delete(self, keys: str | list[str]) -> None:
        with self._translate_errors():
            self._obstore.delete(self._store, keys)

    def now(self) -> datetime:
        """Return the time by the store's clock. Writes an object to learn it."""
        self.put(_CLOCK_KEY, b"")
        return self.head(_CLOCK_KEY).modified_at

    def address(self, key: str) -> str:
        """Return the full address of an object."""
        root = self.url.rstrip("/")
        return f"{root}/{key}"

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise ContentAccessError(
                self.url,
                "this process was forked from one that had it open",
                "start processes by spawning them",
            )
        foreign = self._obstore.exceptions
        try:
            yield
        except FileNotFoundError as exc:
            message = str(exc)
            if not any(words in message for words in _MISSING_BUCKET_WORDS):
                raise
            raise ContentAccessError(
                self.url, "there is no such bucket", "create it, or correct the address"
            ) from exc
        except (
            foreign.PermissionDeniedError,
            foreign.UnauthenticatedError,
            PermissionError,
        ) as exc:
            raise ContentAccessError(
                self.url,
                f"access is refused ({_message(exc)})",
                "set the provider's credentials in the environment, "
                "or give them access to this bucket",
            ) from exc
        except (foreign.BaseError, OSError, ValueError) as exc:
            raise StoreUnavailableError(self.url, _message(exc)) from exc


class _Body(io.RawIOBase):
    """The body of an answer, as a stream."""

    def __init__(self, bucket: Bucket, answer: Any) -> None:
        self._bucket = bucket
        self._pieces = iter(answer.stream(PIECE_BYTES))
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                with self._bucket._translate_errors():  # noqa: SLF001 - both are this door
                    self._rest = memoryview(bytes(next(self._pieces)))
            except StopIteration:
                return 0
        piece = self._rest[: len(buffer)]
        self._rest = self._rest[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _import_obstore() -> Any:
    try:
        import obstore
        import obstore.exceptions
        import obstore.store
    except ImportError as exc:
        raise MissingDependencyError(
            "content in an object store",
            "obstore",
            "python -m pip install 'vespera-orchestrator[objects]'",
        ) from exc
    return obstore


def _message(exc: BaseException) -> str:
    """Return the part of a foreign error that is for people.

    The rest is for developers: debug output, and the whole answer of a server.
    """
    text = str(exc)
    for technical in ("\n\nDebug source", "<?xml"):
        text = text.partition(technical)[0]
    return " ".join(text.split())[:_LONGEST_MESSAGE]
