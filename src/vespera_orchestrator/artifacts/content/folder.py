"""The bytes of artifacts, in a folder, each under its digest.

A content is written beside its place (``tmp/``), made durable, and then renamed into it: under a final name stands all of it or nothing,
whatever kills the writer. What a killed writer leaves is in ``tmp/`` and is nobody's.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import hashlib
import os
import re
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import attrs

from vespera_orchestrator.artifacts.content import packing
from vespera_orchestrator.artifacts.content.packing import PACKED
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError
from vespera_orchestrator.home.files import translate_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from vespera_orchestrator.artifacts.content.packing import Piece
    from vespera_orchestrator.contracts import ContentStore

_OBJECT_STORES = ("s3", "gs", "az", "memory")
_PREFIX = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"([0-9a-f]{62})(\.zst)?")


@attrs.frozen(kw_only=True)
class Collected:
    """What `Artifacts.collect_garbage` took away, or with *dry_run* would take away. Prints as a sentence."""

    contents: int
    """How many contents that nothing refers to."""
    size_bytes: int
    """What they and the leftovers took on the disk."""
    leftovers: int
    """Files of writers that were killed."""
    kept: int
    """Contents that nothing refers to and that are too young: somebody may be about to record them."""
    dry_run: bool
    condemned: int = 0
    """Contents in an object store that were marked now: a call that comes later than the grace time takes them away."""

    def __str__(self) -> str:
        did, marked = ("would take away", "would mark") if self.dry_run else ("took away", "marked")
        condemned = f"{marked} {self.condemned} for a later call; " if self.condemned else ""
        return (
            f"{did} {self.contents} contents and {self.leftovers} leftovers, {self.size_bytes:,} bytes; {condemned}"
            f"{self.kept} that nothing refers to are too young"
        )


class FolderContent:
    """A `ContentStore` in a local folder: ``ab/cdef…`` for the digest ``abcdef…``, with ``.zst`` behind it where it is compressed.

    Any number of threads and processes may use one folder at once; two that put the same bytes store them once. What is larger than a
    disk block and shrinks by a tenth is kept in a Zstandard frame; everything else is kept as it is.

    Args:
        folder: Made when something is first put into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = os.fspath(folder)
        self._durable: set[str] = set()
        """Prefix folders whose names are known to survive a power cut."""

    @property
    def url(self) -> str:
        """The folder as a ``file://`` address."""
        return self.folder.absolute().as_uri()

    # writing

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
            sound, damaged = self._look(digest)
            if not sound:
                with self._temporary() as (temporary, handle):
                    packed = packing.pour(packing.pieces_of(content), _writer(handle))
                    self._settle(handle, temporary, self._place(digest, packed=packed), damaged)
            return digest, len(content)

    def _put_stream(self, content: IO[bytes]) -> tuple[str, int]:
        tally = packing.Tally()
        with self._temporary() as (temporary, handle):
            packed = packing.pour(tally.over(packing.pieces_of(content)), _writer(handle))
            sound, damaged = self._look(tally.digest)
            if not sound:
                self._settle(handle, temporary, self._place(tally.digest, packed=packed), damaged)
        return tally.digest, tally.size_bytes

    def _look(self, digest: str) -> tuple[bool, list[str]]:
        """Tell whether the bytes are stored and sound, and which files hold them damaged.

        Sees to it that they stay: younger, to `collect`, and durable.
        """
        damaged = []
        for packed in (False, True):
            place = self._place(digest, packed=packed)
            try:
                # By its name and before it is read: if it is being collected just now, either this fails or the collector sees it.
                os.utime(place)
                with self._checked(place, digest, packed=packed) as stream:
                    packing.drain(stream)
            except (FileNotFoundError, PermissionError):
                continue  # another user's file cannot be made younger: a new one takes its place
            except CorruptContentError:
                damaged.append(place)
                continue
            # Another writer may have renamed it a moment ago and not have come to this yet.
            self._make_durable(digest[:2])
            return True, damaged
        return False, damaged

    @contextmanager
    def _temporary(self) -> Iterator[tuple[str, int]]:
        temporary = f"{self._root}/tmp/{secrets.token_hex(8)}"
        # Read-only for whoever opens it later; this handle may write.
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(temporary, how, 0o444)
        except FileNotFoundError:
            os.makedirs(f"{self._root}/tmp", exist_ok=True)
            handle = os.open(temporary, how, 0o444)
        try:
            yield temporary, handle
        finally:
            os.close(handle)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _settle(self, handle: int, temporary: str, place: str, damaged: list[str]) -> None:
        os.fsync(handle)
        folder, prefix = os.path.dirname(place), place[len(self._root) + 1 :][:2]
        try:
            os.replace(temporary, place)
        except FileNotFoundError:  # the first with this prefix, or the folder was cleared away
            self._durable.discard(prefix)
            os.makedirs(folder, exist_ok=True)
            os.replace(temporary, place)
        self._make_durable(prefix)
        for other in damaged:
            if other != place:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(other)

    def _make_durable(self, prefix: str) -> None:
        """Make the names of the files with this prefix durable, and the prefix folder's own, which needs it only once."""
        _sync_folder(f"{self._root}/{prefix}")
        if prefix not in self._durable:
            there = {name for name in os.listdir(self._root) if _PREFIX.fullmatch(name)}
            _sync_folder(self._root)
            self._durable |= there  # all that stood there before the call, not this prefix alone

    # reading

    def read(self, digest: str) -> bytes:
        """Return the bytes; see `ContentStore.read`."""
        with self._translating():
            file, place, packed = self._found(digest)
            if packed:
                with packing.checked(file, packed=True, digest=digest, place=place) as stream:
                    return stream.read()
            with file:
                content = file.read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptContentError(
                digest, place, f"its {len(content)} bytes are not those that were saved"
            )
        return content

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces; see `ContentStore.open`."""
        with self._translating():
            file, place, packed = self._found(digest)
        with packing.checked(file, packed=packed, digest=digest, place=place) as stream:
            yield stream

    def path(self, digest: str) -> Path | None:
        """Return the file that holds the bytes as they are, unchecked; ``None`` when none does. Do not write to it."""
        place = self.folder / digest[:2] / os.path.basename(self._place(digest, packed=False))
        return place if place.is_file() else None

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``. Reads all of them, in constant memory."""
        try:
            with self.open(digest) as stream:
                packing.drain(stream)
        except CorruptContentError as exc:
            return exc.reason
        return None

    def _found(self, digest: str) -> tuple[IO[bytes], str, bool]:
        """Open the file that holds the bytes; tell its name, and whether it is a frame."""
        kinds = [(self._place(digest, packed=packed), packed) for packed in (False, True)]
        leaving = [(self._leaving(place), packed) for place, packed in kinds]
        # Last the first again: one that was being collected may have been put back between two looks.
        for place, packed in (*kinds, *leaving, *kinds):
            try:
                return builtins.open(place, "rb", buffering=0), place, packed
            except FileNotFoundError:
                continue
        raise CorruptContentError(digest, kinds[0][0], "the file is missing")

    def _checked(self, place: str, digest: str, *, packed: bool) -> IO[bytes]:
        return packing.checked(
            builtins.open(place, "rb", buffering=0), packed=packed, digest=digest, place=place
        )

    def _place(self, digest: str, *, packed: bool) -> str:
        packing.check_digest(digest)
        return f"{self._root}/{digest[:2]}/{digest[2:]}{PACKED if packed else ''}"

    def _leaving(self, place: str) -> str:
        """Return where a content stands while it is being collected."""
        folder, name = os.path.split(place)
        return f"{self._root}/leaving/{os.path.basename(folder)}{name}"

    # taking away

    def collect(
        self,
        referenced: Callable[[], Container[str]],
        *,
        older_than_s: float,
        dry_run: bool = False,
    ) -> Collected:
        """Take away contents that nothing refers to, and what killed writers left behind.

        Safe beside writers. A content counts as young when it was written, or put again, less than *older_than_s* ago by the file
        system's clock; whoever puts it makes it young by its name first, and looks whether it is there afterwards. The collector moves a
        content aside, looks at its age again, and puts it back if somebody came in between; readers look in both places. So a put finds
        it gone and writes it anew, or is seen. What remains to the caller: between a put and the record of it passes less time than
        *older_than_s*.

        Args:
            referenced: Gives the digests that are in use. Called after the clock was read.
            older_than_s: How long nobody must have put it.
            dry_run: Count only.
        """
        with self._translating():
            if not os.path.isdir(self._root):
                return Collected(contents=0, size_bytes=0, leftovers=0, kept=0, dry_run=dry_run)
            limit_ns = self._now_ns() - int(older_than_s * 1e9)
            in_use = referenced()
            leftovers = [
                *self._put_back(in_use, limit_ns, dry_run=dry_run),
                *self._clear_temporary(limit_ns, dry_run=dry_run),
            ]
            sizes, kept = [], 0
            for place, digest in self._stored():
                if digest in in_use:
                    continue
                size = _size_if_older(place, limit_ns)
                if size is not None and (dry_run or self._retire(place, limit_ns)):
                    sizes.append(size)
                else:
                    kept += 1
        return Collected(
            contents=len(sizes),
            size_bytes=sum(sizes) + sum(leftovers),
            leftovers=len(leftovers),
            kept=kept,
            dry_run=dry_run,
        )

    def _now_ns(self) -> int:
        """Return the time of the clock that stamps the files, which need not be this machine's."""
        with self._temporary() as (_, handle):
            return os.fstat(handle).st_mtime_ns

    def _stored(self) -> Iterator[tuple[str, str]]:
        for prefix in sorted(name for name in os.listdir(self._root) if _PREFIX.fullmatch(name)):
            with os.scandir(f"{self._root}/{prefix}") as entries:
                for entry in entries:
                    match = _NAME.fullmatch(entry.name)
                    if match is not None:  # what is not ours is left alone
                        yield entry.path, prefix + match[1]

    def _retire(self, place: str, limit_ns: int) -> bool:
        """Remove an old content, unless somebody puts it just now."""
        aside = self._leaving(place)
        os.makedirs(os.path.dirname(aside), exist_ok=True)
        try:
            os.replace(place, aside)
        except FileNotFoundError:
            return False
        return self._decide(aside, place, limit_ns)

    def _decide(self, aside: str, place: str, limit_ns: int) -> bool:
        """Remove what was moved aside if it is old still; else put it back, over a copy that was made meanwhile: it is the same."""
        try:
            if os.stat(aside).st_mtime_ns < limit_ns:
                os.unlink(aside)
                return True
            os.replace(aside, place)
        except FileNotFoundError:
            pass  # another collector was faster
        return False

    def _put_back(self, in_use: Container[str], limit_ns: int, *, dry_run: bool) -> Iterator[int]:
        """Deal with what a collector that was killed had moved aside."""
        if dry_run or not os.path.isdir(f"{self._root}/leaving"):
            return
        for name in os.listdir(f"{self._root}/leaving"):
            aside, digest = f"{self._root}/leaving/{name}", name[:64]
            place = self._place(digest, packed=name.endswith(PACKED))
            size = _size_if_older(aside, limit_ns)
            if self._decide(aside, place, 0 if digest in in_use else limit_ns) and size is not None:
                yield size

    def _clear_temporary(self, limit_ns: int, *, dry_run: bool) -> Iterator[int]:
        for name in os.listdir(f"{self._root}/tmp"):
            place = f"{self._root}/tmp/{name}"
            size = _size_if_older(place, limit_ns)
            if size is not None:
                if not dry_run:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(place)
                yield size

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise translate_os_error(exc, self.folder) from exc


def _size_if_older(place: str, limit_ns: int) -> int | None:
    try:
        found = os.stat(place)
    except FileNotFoundError:
        return None
    return found.st_size if found.st_mtime_ns < limit_ns else None


def _writer(handle: int) -> Callable[[Piece], None]:
    def write(piece: Piece) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(handle, rest) :]

    return write


def _sync_folder(folder: str) -> None:
    """Make the names in *folder* durable."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        if (
            os.name == "nt"
        ):  # Windows opens no folders; its file systems keep names in order by themselves
            return
        raise
    try:
        os.fsync(handle)
    except OSError as exc:
        # Some file systems cannot do it for folders, and say so.
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def open_content(address: str | None, folder: Path) -> ContentStore:
    """Open the content store at *address*.

    Args:
        address: ``file:///folder``, ``s3://bucket/folder``, ``gs://…``, ``az://…``, ``memory://``, or ``None``.
        folder: Where the bytes are when *address* is ``None``.

    Raises:
        InvalidInputError: No content store has such an address.
        MissingDependencyError: It is an object store, and obstore is not installed.
    """
    if address is None:
        return FolderContent(folder)
    scheme, found, rest = address.partition("://")
    if scheme == "file" and rest.startswith("/"):
        from urllib.request import url2pathname

        return FolderContent(Path(url2pathname(rest)))
    if found and scheme in _OBJECT_STORES:
        from vespera_orchestrator.artifacts.content.object_store import ObjectContent

        return ObjectContent(address)
    known = ", ".join(f"{name}://" for name in ("file", *_OBJECT_STORES))
    raise InvalidInputError(
        "content", f"{address!r} is no address of a content store; known are {known}"
    )
