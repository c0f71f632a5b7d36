"""The bytes of artifacts in an object store: S3 and what speaks like it, Google Cloud Storage, Azure. The only door to obstore.

An object store deletes without asking what has become of the object meanwhile, and a request may arrive long after the one who sent it
had good reason to. So nothing is ever deleted that somebody may come to rely on again:

* The bytes of a content are *copies*, numbered from 0. Hardly ever is there another than copy 0.
* ``condemned/<digest>/<number>`` *marks* a copy. A mark is made by a collector, is empty, and stays for ever.
* Whoever puts a content relies on the first copy that has no mark, and looks for the mark first. From that look to the record of the
  content passes less than the grace time; this is the caller's part.
* A collector deletes a copy that was marked for at least the grace time, by the store's clock, and *then* is referred to by no record.

Then a copy that a record relies on is never deleted, whoever is stopped or killed wherever:

=============================================  ================================================================================
what comes between                             what comes of it
=============================================  ================================================================================
a mark, after the writer looked for it         The writer records within the grace time; only after it the records are looked up.
a mark, before the writer looked               The writer puts the next copy. Nothing can delete that one for the old one's mark.
a deletion that slept for days                 It hits a copy with a mark: since then nobody has come to rely on it.
a collector is killed                          Its marks stand, and the next call goes on from there. Two at once do the same twice.
a writer is killed                             What it put is referred to by nobody, and is collected like anything else.
a reader                                       Where a copy is missing and has a mark, it looks for later ones.
another store begins to use the place          It leaves its name (``users/``) before its first look for a mark. Whoever deletes lists
                                               the names after the grace time of the marks, finds it, and refuses.
=============================================  ================================================================================

This needs a store that shows at once what was written, as S3, Google Cloud Storage and Azure do; it needs no conditional requests.
``tests/artifacts/content/test_collecting.py`` runs through the orders in which requests can arrive.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import attrs

from vespera_orchestrator._model import utcnow
from vespera_orchestrator.artifacts.content import packing
from vespera_orchestrator.artifacts.content.folder import Collected
from vespera_orchestrator.artifacts.content.packing import PACKED
from vespera_orchestrator.errors import (
    ContentAccessError,
    CorruptContentError,
    InvalidInputError,
    MissingDependencyError,
    StoreError,
    StoreUnavailableError,
)
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping
    from datetime import datetime

_AT_ONCE_BYTES = 8 << 20
"""Up to so much is held in memory; what is larger goes over a temporary file, and up in parts of this size."""
_TRUSTED_FROM_BYTES = 1 << 20
"""Less is sent again rather than asked for: it costs one request either way, and replaces what was damaged."""
_DELETED_AT_ONCE = 1000
_MOST_NAMED = 5
_CLIENT = {"timeout": "60s", "connect_timeout": "5s", "allow_http": "true"}
_RETRIES = 4
_PATIENCE = timedelta(seconds=30)
_COPY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})(?:\.([0-9]+))?(?:\.zst)?")
_MARK = re.compile(r"condemned/([0-9a-f]{64})/([0-9]+)")
_USER = re.compile(r"users/([0-9a-f]{64})")
_CLOCK = "clock"
"""Written to learn what time it is there."""


@attrs.define(kw_only=True)
class _Survey:
    """What a listing found."""

    unreferenced: list[tuple[str, str, int, Any]] = attrs.field(factory=list)
    """Copies: key, digest, number, and what the store tells about the object."""
    marks: dict[tuple[str, int], datetime] = attrs.field(factory=dict)
    users: set[str] = attrs.field(factory=set)


class ObjectContent:
    """A `ContentStore` in an object store, under the keys ``ab/cdef…`` and, compressed, ``ab/cdef….zst``.

    Any number of machines may use one. A key appears when all of it was received, so there is never half of one. Beside them are small
    objects for `collect`: ``condemned/…``, ``users/…`` and ``clock``. Leave them there.

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
        self._users: set[str] = set()
        self._announced: set[str] = set()
        self._damaged: set[str] = set()
        """Digests of what was read and was not what it should be; the next put does not trust it."""
        self._store = self._connect(
            config or {}, {**_CLIENT, **(client_options or {})}, retry_config
        )

    def _connect(
        self, config: Mapping[str, Any], client: Mapping[str, Any], retry: Mapping[str, Any] | None
    ) -> Any:
        patience = (
            {"max_retries": _RETRIES, "retry_timeout": _PATIENCE} if retry is None else dict(retry)
        )
        try:
            if self.url.startswith("memory:"):
                return self._obstore.store.MemoryStore()
            return self._obstore.store.from_url(
                self.url, config=dict(config), client_options=dict(client), retry_config=patience
            )
        except (self._obstore.exceptions.BaseError, ValueError, TypeError) as exc:
            raise InvalidInputError(
                "content", f"{self.url!r} cannot be opened: {_said(exc)}"
            ) from exc

    def used_by(self, identity: str) -> None:
        """Tell for which store (`contracts.Store.identity`) things are put. Its name goes there with the first put, not before."""
        self._users.add(identity)

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content*; see `ContentStore.put`. A stream is read once, into a temporary file when it is large.

        What is there already and larger than 1 MB is not sent again where the store's e-tag tells that it is the same: S3 does, unless it
        encrypts with keys of its own (SSE-KMS).

        Raises:
            ContentAccessError: The bucket does not exist, or the credentials are refused. Nothing was stored.
        """
        tally = packing.Tally()
        with _room() as spool:
            with _disk_errors():
                packed = packing.pour(tally.over(packing.pieces_of(content)), spool.write)
            self._announce()
            self._send(tally.digest, spool, packed=packed)
        return tally.digest, tally.size_bytes

    def _announce(self) -> None:
        for identity in self._users - self._announced:
            with self._translating():
                self._obstore.put(self._store, f"users/{_digest(identity)}", identity.encode())
            self._announced.add(identity)

    def _send(self, digest: str, spool: IO[bytes], *, packed: bool) -> None:
        size = spool.tell()
        number = self._unmarked(digest, 0)
        while True:
            key = _key(digest, number, packed=packed)
            if (
                size < _TRUSTED_FROM_BYTES
                or digest in self._damaged
                or not self._has(key, spool, size)
            ):
                spool.seek(0)
                with self._translating():
                    body = spool if size > _AT_ONCE_BYTES else spool.read()
                    self._obstore.put(
                        self._store, key, body, chunk_size=_AT_ONCE_BYTES, max_concurrency=2
                    )
            # What goes up in parts may take longer than any grace time; everything else has minutes.
            still = self._unmarked(digest, number) if size > _AT_ONCE_BYTES else number
            if still == number:
                break
            number = still
        self._damaged.discard(digest)
        if number:
            # Readers would find these first, and they may be damaged. Where it does not succeed they are collected some day.
            with suppress(StoreError):
                self._delete(
                    _key(digest, n, packed=form) for n in range(number) for form in (False, True)
                )

    def _unmarked(self, digest: str, number: int) -> int:
        """Return the number of the first copy that has no mark, from this one on. One request, or two where a mark is found."""
        if not self._marked(digest, number):
            return number
        with self._translating():
            listed = [
                about["path"]
                for some in self._obstore.list(self._store, f"condemned/{digest}")
                for about in some
            ]
        return 1 + max(int(path.rpartition("/")[2]) for path in listed)

    def _marked(self, digest: str, number: int) -> bool:
        try:
            with self._translating():
                self._obstore.head(self._store, _mark(digest, number))
        except FileNotFoundError:
            return False
        return True

    def _has(self, key: str, spool: IO[bytes], size: int) -> bool:
        """Tell whether the object is what would be sent, as far as the store can say."""
        try:
            with self._translating():
                found = self._obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return bool(found["size"] == size and (found["e_tag"] or "").strip('"') == _e_tag(spool))

    def read(self, digest: str) -> bytes:
        """Return the bytes; see `ContentStore.read`."""
        with self.open(digest) as stream:
            return stream.read()

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces; see `ContentStore.open`."""
        answer, key, packed = self._get(digest)
        received = io.BufferedReader(_Received(self, answer), packing.PIECE_BYTES)
        try:
            with packing.checked(
                received, packed=packed, digest=digest, place=self._named(key)
            ) as stream:
                yield stream
        except CorruptContentError:
            self._damaged.add(digest)
            raise

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
        tried, number = -1, 0
        while tried != number:
            for key, packed in (
                (_key(digest, n, packed=form), form)
                for n in range(number, tried, -1)
                for form in (False, True)
            ):
                with suppress(FileNotFoundError), self._translating():
                    return self._obstore.get(self._store, key), key, packed
            tried, number = number, self._unmarked(digest, number)
        raise CorruptContentError(
            digest, self._named(_key(digest, 0, packed=False)), "the object is missing"
        )

    # taking away

    def collect(
        self,
        referenced: Callable[[], Container[str]],
        *,
        older_than_s: float,
        dry_run: bool = False,
        user: str | None = None,
    ) -> Collected:
        """Mark contents that nothing refers to, and take away those that were marked long enough ago and still are not referred to.

        Safe beside writers, readers and other collectors; the module says why. All ages go by the store's clock. What remains to the
        caller: from the beginning of a put to the record of it passes less time than *older_than_s*, not counting the upload of what is
        larger than 8 MB. A mark stays for ever, as an empty object.

        Args:
            referenced: Gives the digests that are in use. Called after the clock was read.
            older_than_s: How long ago it must have been put to be marked, and marked to be taken away.
            dry_run: Count only, by the clock of this machine; nothing is written.
            user: The store (`contracts.Store.identity`) that *referenced* speaks for; refused when another one uses the place as well.
                ``None``: *referenced* speaks for all.

        Raises:
            InvalidInputError: Somebody else uses the place, or nobody is known to. Nothing was changed.
        """
        limit = self._now(dry_run=dry_run) - timedelta(seconds=older_than_s)
        found = self._survey(referenced())
        if user is not None:
            self._require_alone(found, _digest(user))
        going, condemned, young = [], {}, set()
        for key, digest, number, about in found.unreferenced:
            marked_at = found.marks.get((digest, number))
            if marked_at is not None and marked_at <= limit:
                going.append((key, digest, about["size"]))
            elif marked_at is None and about["last_modified"] <= limit:
                condemned[_mark(digest, number)] = digest
            else:
                young.add(digest)
        if not dry_run:
            self._condemn(condemned)
            self._delete(key for key, _, _ in going)
        gone = {digest for _, digest, _ in going}
        marked = set(condemned.values())
        size = sum(size for _, _, size in going)
        return Collected(
            contents=len(gone),
            size_bytes=size,
            leftovers=0,
            kept=len(young - gone - marked),
            dry_run=dry_run,
            condemned=len(marked - gone),
        )

    def _now(self, *, dry_run: bool) -> datetime:
        if dry_run:
            return utcnow()
        with self._translating():
            self._obstore.put(self._store, _CLOCK, b"")
            found: datetime = self._obstore.head(self._store, _CLOCK)["last_modified"]
        return found

    def _survey(self, in_use: Container[str]) -> _Survey:
        found = _Survey()
        with self._translating():
            for about in (about for some in self._obstore.list(self._store) for about in some):
                key = about["path"]
                if copy := _COPY.fullmatch(key):
                    digest, number = copy[1] + copy[2], int(copy[3] or 0)
                    if digest not in in_use:
                        found.unreferenced.append((key, digest, number, about))
                elif mark := _MARK.fullmatch(key):
                    found.marks[mark[1], int(mark[2])] = about["last_modified"]
                elif name := _USER.fullmatch(key):
                    found.users.add(name[1])
        return found

    def _require_alone(self, found: _Survey, user: str) -> None:
        others = sorted(found.users - {user})
        if others:
            named = "; ".join(
                f"{self._named('users/' + other)}: {self._introduced(other)}"
                for other in others[:_MOST_NAMED]
            )
            raise InvalidInputError(
                "sole_user",
                f"other stores put their contents there too, and what they alone refer to would be lost ({named}); "
                "where one of these is gone for good, delete that object; say sole_user=True if all of them are",
            )
        if user not in found.users and found.unreferenced:
            raise InvalidInputError(
                "sole_user",
                f"this store has put nothing into {self.url}, so somebody else has, and what they refer to would be lost; "
                "say sole_user=True if nobody needs it",
            )

    def _introduced(self, user: str) -> str:
        try:
            with self._translating():
                return bytes(self._obstore.get(self._store, f"users/{user}").bytes()).decode(
                    "utf-8", "replace"
                )[:200]
        except FileNotFoundError:
            return "gone"

    def _condemn(self, marks: Iterable[str]) -> None:
        for mark in marks:
            with self._translating():
                self._obstore.put(self._store, mark, b"")

    def _delete(self, keys: Iterable[str]) -> None:
        """Delete objects, whether they are there or not."""
        every = list(keys)
        for start in range(0, len(every), _DELETED_AT_ONCE):
            some = every[start : start + _DELETED_AT_ONCE]
            try:
                with self._translating():
                    self._obstore.delete(self._store, some)
            except FileNotFoundError:  # some stores mind, and may have left the rest
                for key in some:
                    with suppress(FileNotFoundError), self._translating():
                        self._obstore.delete(self._store, key)

    def _named(self, key: str) -> str:
        return f"{self.url.rstrip('/')}/{key}"

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Let `FileNotFoundError` of a key out, and nothing else that is not ours."""
        if os.getpid() != self._process:
            raise ContentAccessError(
                self.url,
                "this process was forked from one that had it open",
                "start processes by spawning them",
            )
        known = self._obstore.exceptions
        try:
            yield
        except FileNotFoundError as exc:
            if any(
                word in str(exc)
                for word in ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
            ):
                raise ContentAccessError(
                    self.url, "there is no such bucket", "create it, or correct the address"
                ) from exc
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
            "content in an object store",
            "obstore",
            "python -m pip install 'vespera-orchestrator[objects]'",
        ) from exc
    return obstore


def _key(digest: str, number: int, *, packed: bool) -> str:
    packing.check_digest(digest)
    return f"{digest[:2]}/{digest[2:]}{f'.{number}' if number else ''}{PACKED if packed else ''}"


def _mark(digest: str, number: int) -> str:
    return f"condemned/{digest}/{number}"


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


def _e_tag(spool: IO[bytes]) -> str:
    """Return the e-tag that S3 gives to what is sent as `ObjectContent` sends it: the MD5 of it, or of the MD5 of its parts."""
    spool.seek(0)
    parts = [
        hashlib.md5(part, usedforsecurity=False)
        for part in iter(lambda: spool.read(_AT_ONCE_BYTES), b"")
    ]
    if len(parts) == 1:
        return parts[0].hexdigest()
    return f"{hashlib.md5(b''.join(part.digest() for part in parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


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
