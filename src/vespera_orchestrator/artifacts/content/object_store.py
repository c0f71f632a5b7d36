"""The bytes of artifacts in an object store: S3 and compatible ones, Google Cloud Storage, Azure.

An object store deletes without checking whether the object has changed meanwhile, and a request
may arrive long after its sender had a good reason for it. So the rule is: never delete anything
that somebody may come to rely on again.

* The bytes of a content are *copies*, numbered from 0. Usually copy 0 is the only one.
* ``condemned/<digest>/<number>`` *marks* a copy. A collector makes the mark. It is an empty
  object, and stays for ever.
* A writer relies on the first copy without a mark, and looks for the mark first. From that look
  to the record of the content, less than the grace time may pass; this is up to the caller.
* A collector deletes a copy if it was marked at least the grace time ago, by the store's clock,
  and *then* no record refers to it.

So a copy that a record relies on is never deleted, whoever is stopped or killed at any point:

===================================  =====================================================
what happens in between              why nothing is lost
===================================  =====================================================
a mark, after the writer looked      The writer records within the grace time, and the
                                     records are only read after it.
a mark, before the writer looked     The writer puts the next copy. The old mark does not
                                     lead to the deletion of that one.
a deletion that arrives days late    It hits a marked copy: nobody has come to rely on that
                                     one since.
a collector is killed                Its marks stay, and the next call continues from there.
                                     Two collectors at once do the same work twice.
a writer is killed                   No record refers to what it put, and it is collected
                                     like anything else.
a reader                             If a copy is missing and marked, it looks for later
                                     ones.
another store starts to use the      It leaves its name (``users/``) before its first look
bucket                               for a mark. A collector lists the names after the
                                     grace time of the marks, finds it, and refuses.
===================================  =====================================================

The object store must show at once what was written, as S3, Google Cloud Storage and Azure do.
Conditional requests are not needed. ``tests/artifacts/content/test_collecting.py`` runs through
the orders in which requests can arrive.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.artifacts.content import packing
from vespera_orchestrator.artifacts.content.bucket import Bucket
from vespera_orchestrator.artifacts.content.collected import Collected
from vespera_orchestrator.artifacts.content.packing import FRAME_SUFFIX
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError, StoreError
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping
    from datetime import datetime

    from vespera_orchestrator.artifacts.content.bucket import StoredObject

_PART_BYTES = 8 << 20
"""What is larger goes through a temporary file, and is uploaded in parts of this size."""
_COMPARED_FROM_BYTES = 1 << 20
"""What is smaller is sent again without asking whether it is stored.

That takes one request either way, and replaces a damaged copy.
"""
_MOST_NAMED_USERS = 5
_LONGEST_IDENTITY = 200
_COPY_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})(?:\.([0-9]+))?(?:\.zst)?")
_MARK_KEY = re.compile(r"condemned/([0-9a-f]{64})/([0-9]+)")
_USER_KEY = re.compile(r"users/([0-9a-f]{64})")


class ObjectContent:
    """A `ContentStore` in an object store.

    The digest ``abcdef…`` is stored under the key ``ab/cdef…``, or ``ab/cdef….zst`` if it is
    compressed. Any number of machines may use one bucket. A key appears when the whole object
    was received, so there is never half of one. Small objects for `collect` lie beside them:
    ``condemned/…``, ``users/…`` and ``clock``. Leave them there.

    Credentials, region and endpoint come from the environment, under the names that the
    provider's own tools use (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``,
    ``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_NAME``, …), or from *config*.

    Args:
        url: ``s3://bucket/folder``, ``gs://bucket/folder``, ``az://container/folder``, or
            ``memory://`` for this object alone.
        config: Settings of the provider, as ``obstore.store.from_url`` takes them.
        client_options: Options of the HTTP client, in the same form; by default 5 seconds to
            connect and 60 for a request.
        retry_config: How often to try again, in the same form; by default four times within
            half a minute.

    Raises:
        MissingDependencyError: obstore is not installed.
        InvalidInputError: The address or a setting cannot be used.
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
        self._bucket = Bucket(
            url, config=config, client_options=client_options, retry_config=retry_config
        )
        self._users: set[str] = set()
        self._announced: set[str] = set()
        self._damaged: set[str] = set()
        """Digests of contents that were damaged when read; the next put replaces them."""

    def used_by(self, identity: str) -> None:
        """Say which store (`contracts.Store.identity`) puts contents here.

        Its name is written to the bucket with the first put, not before.
        """
        self._users.add(identity)

    # writing

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content*; see `ContentStore.put`.

        A stream is read once, into a temporary file if it is large. A content larger than 1 MB
        that is already stored is not sent again if the store's e-tag shows that it is the same.
        S3 does show that, unless it encrypts with keys of its own (SSE-KMS).

        Raises:
            ContentAccessError: The bucket does not exist, or the credentials are refused.
                Nothing was stored.
        """
        tally = packing.Tally()
        with tempfile.SpooledTemporaryFile(_PART_BYTES) as spool:
            with _translate_disk_errors():
                pieces = tally.over(packing.pieces_of(content))
                packed = packing.write_packed(pieces, spool.write)
            self._announce_users()
            self._send(tally.digest, spool, packed=packed)
        return tally.digest, tally.size_bytes

    def _announce_users(self) -> None:
        for identity in self._users - self._announced:
            self._bucket.put(_user_key(identity), identity.encode())
            self._announced.add(identity)

    def _send(self, digest: str, spool: IO[bytes], *, packed: bool) -> None:
        size = spool.tell()
        number = self._first_unmarked(digest, 0)
        while True:
            key = _copy_key(digest, number, packed=packed)
            if digest in self._damaged or not self._has(key, spool, size):
                self._upload(key, spool, size)
            if size <= _PART_BYTES:
                break
            # An upload in parts may take longer than any grace time. Everything else takes
            # minutes at most.
            unmarked = self._first_unmarked(digest, number)
            if unmarked == number:
                break
            number = unmarked
        self._damaged.discard(digest)
        if number:
            self._delete_earlier_copies(digest, number)

    def _upload(self, key: str, spool: IO[bytes], size: int) -> None:
        spool.seek(0)
        body = spool if size > _PART_BYTES else spool.read()
        self._bucket.upload(key, body, part_bytes=_PART_BYTES)

    def _delete_earlier_copies(self, digest: str, number: int) -> None:
        """Delete the copies before *number*: readers would find these first.

        They may be damaged. If this fails, a collector deletes them some day.
        """
        with suppress(StoreError):
            self._bucket.delete(
                _copy_key(digest, earlier, packed=packed)
                for earlier in range(number)
                for packed in (False, True)
            )

    def _first_unmarked(self, digest: str, number: int) -> int:
        """Return the number of the first copy without a mark, from *number* on.

        Takes one request, or two if there is a mark.
        """
        if not self._is_marked(digest, number):
            return number
        marks = self._bucket.objects(f"condemned/{digest}")
        return 1 + max(_number_of(mark.key) for mark in marks)

    def _is_marked(self, digest: str, number: int) -> bool:
        try:
            self._bucket.head(_mark_key(digest, number))
        except FileNotFoundError:
            return False
        return True

    def _has(self, key: str, spool: IO[bytes], size: int) -> bool:
        """Return whether the bucket is known to have the same bytes under *key*."""
        if size < _COMPARED_FROM_BYTES:
            return False
        try:
            stored = self._bucket.head(key)
        except FileNotFoundError:
            return False
        return stored.size_bytes == size and stored.e_tag == _e_tag(spool)

    # reading

    def read(self, digest: str) -> bytes:
        """Return the bytes; see `ContentStore.read`."""
        with self.open(digest) as stream:
            return stream.read()

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces; see `ContentStore.open`."""
        body, key, packed = self._open_copy(digest)
        place = self._bucket.address(key)
        try:
            with packing.open_checked(body, packed=packed, digest=digest, place=place) as stream:
                yield stream
        except CorruptContentError:
            self._damaged.add(digest)
            raise

    def path(self, digest: str) -> Path | None:  # noqa: ARG002 - as the contract has it
        """Return ``None``: nothing of it is a local file."""
        return None

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``.

        Fetches all of them, in constant memory.
        """
        return packing.problem_with(self.open(digest))

    def _open_copy(self, digest: str) -> tuple[IO[bytes], str, bool]:
        """Open the newest copy; return it, its key, and whether it is a frame."""
        tried = -1
        number = 0
        while tried != number:
            for copy in range(number, tried, -1):
                for packed in (False, True):
                    key = _copy_key(digest, copy, packed=packed)
                    with suppress(FileNotFoundError):
                        return self._bucket.open(key), key, packed
            tried = number
            number = self._first_unmarked(digest, number)
        place = self._bucket.address(_copy_key(digest, 0, packed=False))
        raise CorruptContentError(digest, place, "the object is missing", is_missing=True)

    # removing

    def remove(self, digest: str, *, user: str) -> None:
        """Remove every copy of a content at once, however young; see `ContentStore`.

        Each is marked first, so that whoever puts the same bytes afterwards makes a new copy.

        Args:
            digest: The content.
            user: The store (`contracts.Store.identity`) that refers to it no longer.

        Raises:
            InvalidInputError: Other stores use the bucket as well. Nothing was changed.
        """
        survey = _Survey()
        for stored in [*self._bucket.objects("users"), *self._bucket.objects(digest[:2])]:
            survey.add(stored, ())
        self._require_sole_user(survey, user)
        copies = [copy for copy in survey.unreferenced if copy.digest == digest]
        for number in sorted({copy.number for copy in copies}):
            self._bucket.put(_mark_key(digest, number), b"")
        self._bucket.delete(copy.key for copy in copies)

    # collecting

    def collect(
        self,
        referenced: Callable[[], Container[str]],
        *,
        older_than_s: float,
        dry_run: bool = False,
        user: str | None = None,
    ) -> Collected:
        """Mark unreferenced contents, and remove those marked long enough ago.

        Safe while others write, read and collect; the module says why. All ages go by the
        store's clock. The caller must make sure that less than *older_than_s* passes from the
        beginning of a put to the record of it, not counting the upload of what is larger than
        8 MB. A mark stays for ever, as an empty object.

        Args:
            referenced: Returns the digests that are in use. Called after the clock was read.
            older_than_s: How long ago a content must have been put to be marked, and marked to
                be removed.
            dry_run: Only count, by the clock of this machine; nothing is written.
            user: The store (`contracts.Store.identity`) whose references *referenced* returns;
                refused if another one uses the bucket as well. ``None``: *referenced* returns
                all references there are.

        Raises:
            InvalidInputError: Somebody else uses the bucket, or nobody is known to. Nothing was
                changed.
        """
        now = utcnow() if dry_run else self._bucket.now()
        survey = self._survey(referenced())
        if user is not None:
            self._require_sole_user(survey, user)
        plan = _Plan.of(survey, now - timedelta(seconds=older_than_s))
        if not dry_run:
            for mark_key in plan.mark_keys():
                self._bucket.put(mark_key, b"")
            self._bucket.delete(copy.key for copy in plan.to_delete)
        return plan.result(dry_run=dry_run)

    def _survey(self, in_use: Container[str]) -> _Survey:
        survey = _Survey()
        for stored in self._bucket.objects():
            survey.add(stored, in_use)
        return survey

    def _require_sole_user(self, survey: _Survey, identity: str) -> None:
        own = _user_key(identity)
        others = sorted(survey.users - {own})
        if others:
            names = [
                f"{self._bucket.address(key)}: {self._identity(key)}"
                for key in others[:_MOST_NAMED_USERS]
            ]
            raise InvalidInputError(
                "sole_user",
                "other stores put their contents there too, and contents to which only they "
                f"refer would be lost ({'; '.join(names)}); if one of these is gone for good, "
                "delete that object; pass sole_user=True if all of them are",
            )
        if own not in survey.users and survey.unreferenced:
            raise InvalidInputError(
                "sole_user",
                f"this store has put nothing into {self.url}, so somebody else has, and contents "
                "to which they refer would be lost; pass sole_user=True if nobody needs them",
            )

    def _identity(self, user_key: str) -> str:
        try:
            return self._bucket.read(user_key).decode("utf-8", "replace")[:_LONGEST_IDENTITY]
        except FileNotFoundError:
            return "gone"


# --- what to collect ------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Copy:
    key: str
    digest: str
    number: int
    size_bytes: int
    modified_at: datetime


@attrs.define
class _Survey:
    """What lies in the bucket, as far as a collector needs to know."""

    unreferenced: list[_Copy] = attrs.field(factory=list)
    marks: dict[tuple[str, int], datetime] = attrs.field(factory=dict)
    """When each copy was marked, by digest and number."""
    users: set[str] = attrs.field(factory=set)
    """The keys under which the users left their names."""

    def add(self, stored: StoredObject, in_use: Container[str]) -> None:
        """Note one object. Foreign ones are ignored."""
        if match := _COPY_KEY.fullmatch(stored.key):
            digest = match[1] + match[2]
            if digest not in in_use:
                copy = _Copy(
                    key=stored.key,
                    digest=digest,
                    number=int(match[3] or 0),
                    size_bytes=stored.size_bytes,
                    modified_at=stored.modified_at,
                )
                self.unreferenced.append(copy)
        elif match := _MARK_KEY.fullmatch(stored.key):
            self.marks[match[1], int(match[2])] = stored.modified_at
        elif _USER_KEY.fullmatch(stored.key):
            self.users.add(stored.key)


@attrs.define
class _Plan:
    """What happens to each unreferenced copy."""

    to_delete: list[_Copy] = attrs.field(factory=list)
    to_mark: list[_Copy] = attrs.field(factory=list)
    young: list[_Copy] = attrs.field(factory=list)

    @classmethod
    def of(cls, survey: _Survey, limit: datetime) -> _Plan:
        """Decide, where *limit* is the grace time ago."""
        plan = cls()
        for copy in survey.unreferenced:
            marked_at = survey.marks.get((copy.digest, copy.number))
            if marked_at is not None and marked_at <= limit:
                plan.to_delete.append(copy)
            elif marked_at is None and copy.modified_at <= limit:
                plan.to_mark.append(copy)
            else:
                plan.young.append(copy)
        return plan

    def mark_keys(self) -> list[str]:
        """Return the marks to make. A plain copy and a compressed one may share a mark."""
        keys = {}
        for copy in self.to_mark:
            key = _mark_key(copy.digest, copy.number)
            keys[key] = copy
        return list(keys)

    def result(self, *, dry_run: bool) -> Collected:
        """Count contents, of which there may be several copies."""
        deleted = {copy.digest for copy in self.to_delete}
        marked = {copy.digest for copy in self.to_mark}
        young = {copy.digest for copy in self.young}
        return Collected(
            contents=len(deleted),
            size_bytes=sum(copy.size_bytes for copy in self.to_delete),
            leftovers=0,
            kept=len(young - deleted - marked),
            dry_run=dry_run,
            condemned=len(marked - deleted),
        )


# --- keys and e-tags --------------------------------------------------------------------


def _copy_key(digest: str, number: int, *, packed: bool) -> str:
    packing.check_digest(digest, "the object store")
    key = f"{digest[:2]}/{digest[2:]}"
    if number:
        key += f".{number}"
    if packed:
        key += FRAME_SUFFIX
    return key


def _mark_key(digest: str, number: int) -> str:
    return f"condemned/{digest}/{number}"


def _number_of(mark_key: str) -> int:
    number = mark_key.rpartition("/")[2]
    return int(number)


def _user_key(identity: str) -> str:
    digest = hashlib.sha256(identity.encode())
    return f"users/{digest.hexdigest()}"


def _e_tag(spool: IO[bytes]) -> str:
    """Return the e-tag that S3 gives to what `ObjectContent` uploads.

    That is the MD5 of the bytes; for an upload in parts, the MD5 of the parts' MD5s, and how
    many parts there are.
    """
    spool.seek(0)
    parts = [
        hashlib.md5(part, usedforsecurity=False)
        for part in iter(lambda: spool.read(_PART_BYTES), b"")
    ]
    if len(parts) == 1:
        return parts[0].hexdigest()
    digests = b"".join(part.digest() for part in parts)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"


@contextmanager
def _translate_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise translate_os_error(exc, Path(tempfile.gettempdir())) from exc
