"""The bytes of artifacts in a folder, each content in a file named after its digest.

A content is written to a temporary file (``tmp/``), made durable, and then renamed. So a final
name always stands for the whole content, whatever kills the writer. A killed writer leaves only
a temporary file, which `FolderContent.collect` removes later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vespera_orchestrator.artifacts.content import packing
from vespera_orchestrator.artifacts.content.collected import Collected
from vespera_orchestrator.artifacts.content.packing import FRAME_SUFFIX
from vespera_orchestrator.errors import CorruptContentError
from vespera_orchestrator.home.files import (
    OpenHandle,
    sync_folder,
    sync_open_file,
    translate_os_error,
    write_atomically,
)
from vespera_orchestrator.home.permissions import file_mode_in, make_folder
from vespera_orchestrator.home.reading import open_plain_file, read_small_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from vespera_orchestrator.artifacts.content.packing import Piece

_PREFIX_NAME = re.compile(r"[0-9a-f]{2}")
_CONTENT_NAME = re.compile(r"([0-9a-f]{62})(\.zst)?")
_USERS = "users"
"""The folder with a file for each store that puts contents here, if several may."""
_MARKER_NAME = re.compile(r"[0-9a-f]{64}")
_FRAME_OR_NOT = (False, True)
"""The two ways a content may be stored, the plain one first."""


class FolderContent:
    """A `ContentStore` in a local folder.

    The digest ``abcdef…`` is stored as ``ab/cdef…``, or as ``ab/cdef….zst`` if it is compressed.
    A content is compressed if it is larger than a disk block and shrinks by at least a tenth.

    Any number of threads and processes may use one folder at once. If two of them put the same
    bytes, these are stored once.

    Args:
        folder: Created when the first content is put.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = os.fspath(folder)
        self._durable_prefixes: set[str] = set()
        """Prefix folders whose names are known to survive a power cut."""
        self._users: set[str] = set()
        self._is_announced = False

    @property
    def url(self) -> str:
        """The folder as a ``file://`` address."""
        return self.folder.absolute().as_uri()

    # who else puts contents here

    def used_by(self, identity: str) -> None:
        """Say which store (`contracts.Store.identity`) puts contents here.

        A file in ``users/`` names it from the first put on, or from now on if there are contents.
        """
        self._users.add(identity)
        if os.path.isdir(self._root):
            with contextlib.suppress(OSError):  # it may be for reading only
                self._announce_users()

    def _announce_users(self) -> None:
        """Leave the name of every user before their first content; see `other_users`."""
        for identity in self._users:
            marker = self._marker(identity)
            if not marker.exists():
                make_folder(marker.parent)
                write_atomically(marker, f"{identity}\n")
        self._is_announced = True

    def _marker(self, identity: str) -> Path:
        name = hashlib.sha256(identity.encode()).hexdigest()
        return self.folder / _USERS / name

    def other_users(self, identity: str) -> dict[Path, str]:
        """Return the stores that put contents here, besides *identity*, and the file that says so.

        Whoever collects must not take for garbage what only they refer to.
        """
        own = self._marker(identity)
        with self._translate_errors():
            try:
                markers = [Path(entry) for entry in os.scandir(own.parent) if entry.is_file()]
            except FileNotFoundError:
                return {}
            others = [marker for marker in sorted(markers) if _is_marker_of_another(marker, own)]
            return {marker: read_small_text(marker, errors="replace").strip() for marker in others}

    # writing

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content* durably; see `ContentStore.put`.

        A copy that is already stored is checked, and replaced if it is damaged.

        Raises:
            ReadOnlyError: The folder cannot be written.
        """
        with self._translate_errors():
            if self._users and not self._is_announced:
                self._announce_users()
            if not isinstance(content, bytes):
                return self._put_stream(content)
            digest = hashlib.sha256(content).hexdigest()
            is_stored, damaged = self._find_stored(digest)
            if not is_stored:
                with self._temporary_file() as (temporary, handle):
                    pieces = packing.pieces_of(content)
                    packed = packing.write_packed(pieces, _writer(handle))
                    place = self._place(digest, packed=packed)
                    self._move_into_place(handle, temporary, place, damaged)
            return digest, len(content)

    def _put_stream(self, content: IO[bytes]) -> tuple[str, int]:
        tally = packing.Tally()
        with self._temporary_file() as (temporary, handle):
            pieces = tally.over(packing.pieces_of(content))
            packed = packing.write_packed(pieces, _writer(handle))
            digest = tally.digest
            is_stored, damaged = self._find_stored(digest)
            if not is_stored:
                place = self._place(digest, packed=packed)
                self._move_into_place(handle, temporary, place, damaged)
        return digest, tally.size_bytes

    def _find_stored(self, digest: str) -> tuple[bool, list[str]]:
        """Return whether a sound copy is stored, and which files hold damaged copies.

        A sound copy becomes young again, so that `collect` keeps it, and durable.
        """
        damaged = []
        for packed in _FRAME_OR_NOT:
            place = self._place(digest, packed=packed)
            try:
                # By its name, and before it is read: if a collector is removing it now, either
                # this fails or the collector sees the new time.
                os.utime(place)
                file = open_plain_file(place)
                with packing.open_checked(
                    file, packed=packed, digest=digest, place=place
                ) as stream:
                    packing.read_through(stream)
            except (FileNotFoundError, PermissionError):
                # The time of another user's file cannot be changed: a new file replaces it.
                continue
            except CorruptContentError:
                damaged.append(place)
                continue
            # Another writer may have renamed it a moment ago and may not have synced it yet.
            self._make_durable(digest[:2])
            return True, damaged
        return False, damaged

    @contextmanager
    def _temporary_file(self) -> Iterator[tuple[str, int]]:
        temporary = f"{self._root}/tmp/{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        # Read-only for whoever opens it later; this handle may write.
        mode = file_mode_in(self._root) & 0o444
        try:
            handle = OpenHandle(temporary, flags, mode)
        except FileNotFoundError:
            make_folder(f"{self._root}/tmp")
            handle = OpenHandle(temporary, flags, mode)
        try:
            yield temporary, handle.number
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _move_into_place(self, handle: int, temporary: str, place: str, damaged: list[str]) -> None:
        sync_open_file(temporary, handle)
        folder = os.path.dirname(place)
        prefix = os.path.basename(folder)
        try:
            os.replace(temporary, place)
        except FileNotFoundError:  # the first with this prefix, or somebody removed the folder
            self._durable_prefixes.discard(prefix)
            make_folder(folder)
            os.replace(temporary, place)
        self._make_durable(prefix)
        for other in damaged:
            if other != place:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(other)

    def _make_durable(self, prefix: str) -> None:
        """Sync the names in the prefix folder, and once the name of that folder itself."""
        sync_folder(f"{self._root}/{prefix}")
        if prefix in self._durable_prefixes:
            return
        present = [name for name in os.listdir(self._root) if _PREFIX_NAME.fullmatch(name)]
        sync_folder(self._root)
        self._durable_prefixes.update(present)  # the sync covers every name that was there

    # reading

    def read(self, digest: str) -> bytes:
        """Return the bytes; see `ContentStore.read`."""
        with self._translate_errors():
            file, place, packed = self._open_stored(digest)
            if packed:
                with packing.open_checked(file, packed=True, digest=digest, place=place) as stream:
                    return stream.read()
            with file:
                content = file.read()
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptContentError(digest, place, packing.different_bytes(len(content)))
        return content

    @contextmanager
    def open(self, digest: str) -> Iterator[IO[bytes]]:
        """Open the bytes for reading in pieces; see `ContentStore.open`."""
        with self._translate_errors():
            file, place, packed = self._open_stored(digest)
        with packing.open_checked(file, packed=packed, digest=digest, place=place) as stream:
            yield stream

    def path(self, digest: str) -> Path | None:
        """Return the file that holds the plain bytes, unchecked, or ``None``.

        Do not write to it.
        """
        if not packing.is_digest(digest):
            return None
        path = Path(self._place(digest, packed=False))
        return path if path.is_file() else None

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``.

        Reads all of them, in constant memory.
        """
        return packing.problem_with(self.open(digest))

    def _open_stored(self, digest: str) -> tuple[IO[bytes], str, bool]:
        """Open the file with the bytes; return it, its name, and whether it is a frame."""
        stored = [(self._place(digest, packed=packed), packed) for packed in _FRAME_OR_NOT]
        aside = [(self._place_aside(place), packed) for place, packed in stored]
        # The first places once more at the end: a collector may have put the file back between
        # the first look and the second.
        for place, packed in (*stored, *aside, *stored):
            try:
                return open_plain_file(place), place, packed
            except FileNotFoundError:
                continue
        place, _ = stored[0]
        raise CorruptContentError(digest, place, "the file is missing", is_missing=True)

    def _place(self, digest: str, *, packed: bool) -> str:
        packing.check_digest(digest, self._root)
        place = f"{self._root}/{digest[:2]}/{digest[2:]}"
        if packed:
            place += FRAME_SUFFIX
        return place

    def _place_aside(self, place: str) -> str:
        """Return where a collector moves a content before it decides."""
        folder, name = os.path.split(place)
        prefix = os.path.basename(folder)
        return f"{self._root}/leaving/{prefix}{name}"

    # removing

    def remove(self, digest: str) -> None:
        """Remove a content at once, however young; see `ContentStore`."""
        with self._translate_errors():
            places = [self._place(digest, packed=packed) for packed in _FRAME_OR_NOT]
            aside = [self._place_aside(place) for place in places]
            # The first places once more at the end, as for reading.
            for place in (*places, *aside, *places):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place)
            with contextlib.suppress(FileNotFoundError):
                sync_folder(f"{self._root}/{digest[:2]}")

    # collecting

    def collect(
        self,
        referenced: Callable[[], Container[str]],
        *,
        older_than_s: float,
        dry_run: bool = False,
    ) -> Collected:
        """Remove unreferenced contents, and what killed writers left behind.

        Safe while others write. A content counts as young if it was written, or put again, less
        than *older_than_s* ago by the clock of the file system. A writer that finds its content
        stored first makes the file young, by name, and then checks that it is still there. The
        collector moves a content aside, checks its age again, and puts it back if a writer came
        in between; readers look in both places. So a writer either finds the content gone and
        writes it again, or the collector sees the writer. The caller must make sure that less
        than *older_than_s* passes between a put and the record of it.

        Args:
            referenced: Returns the digests that are in use. Called after the clock was read.
            older_than_s: How long ago a content must have been put to be removed.
            dry_run: Only count.
        """
        with self._translate_errors():
            if not os.path.isdir(self._root):
                return Collected(contents=0, size_bytes=0, leftovers=0, kept=0, dry_run=dry_run)
            # A dry run writes nothing, not even to ask the file system for its time.
            now_ns = time.time_ns() if dry_run else self._now_ns()
            limit_ns = now_ns - int(older_than_s * 1e9)
            in_use = referenced()
            leftover_sizes = [
                *self._finish_interrupted(in_use, limit_ns, dry_run=dry_run),
                *self._clear_temporary_files(limit_ns, dry_run=dry_run),
            ]
            sizes = []
            young = 0
            for place, digest in self._stored_contents():
                if digest in in_use:
                    continue
                size = _size_if_older(place, limit_ns)
                if size is not None and (dry_run or self._remove_if_old(place, limit_ns)):
                    sizes.append(size)
                else:
                    young += 1
        return Collected(
            contents=len(sizes),
            size_bytes=sum(sizes) + sum(leftover_sizes),
            leftovers=len(leftover_sizes),
            kept=young,
            dry_run=dry_run,
        )

    def _now_ns(self) -> int:
        """Return the time of the clock that stamps the files; it need not be this machine's."""
        with self._temporary_file() as (_, handle):
            return os.fstat(handle).st_mtime_ns

    def _stored_contents(self) -> Iterator[tuple[str, str]]:
        """Yield path and digest of every stored content. Foreign files are left alone."""
        for prefix in sorted(os.listdir(self._root)):
            if not _PREFIX_NAME.fullmatch(prefix):
                continue
            with os.scandir(f"{self._root}/{prefix}") as entries:
                for entry in entries:
                    match = _CONTENT_NAME.fullmatch(entry.name)
                    if match is not None:
                        yield entry.path, prefix + match[1]

    def _remove_if_old(self, place: str, limit_ns: int) -> bool:
        """Remove an old content, unless a writer puts it at this moment."""
        aside = self._place_aside(place)
        make_folder(os.path.dirname(aside))
        try:
            os.replace(place, aside)
        except FileNotFoundError:
            return False
        return self._remove_or_put_back(aside, place, limit_ns)

    def _remove_or_put_back(self, aside: str, place: str, limit_ns: int) -> bool:
        """Remove a content that was moved aside, if it is still old; otherwise put it back.

        Putting back may replace a copy that was written meanwhile, which has the same bytes.
        """
        try:
            if os.stat(aside).st_mtime_ns < limit_ns:
                os.unlink(aside)
                return True
            os.replace(aside, place)
        except FileNotFoundError:
            pass  # another collector was faster
        return False

    def _finish_interrupted(
        self, in_use: Container[str], limit_ns: int, *, dry_run: bool
    ) -> Iterator[int]:
        """Deal with what a killed collector had moved aside; yield the sizes removed."""
        if dry_run or not os.path.isdir(f"{self._root}/leaving"):
            return
        for name in os.listdir(f"{self._root}/leaving"):
            aside = f"{self._root}/leaving/{name}"
            digest = name[:64]
            place = self._place(digest, packed=name.endswith(FRAME_SUFFIX))
            size = _size_if_older(aside, limit_ns)
            removable_before_ns = 0 if digest in in_use else limit_ns
            was_removed = self._remove_or_put_back(aside, place, removable_before_ns)
            if was_removed and size is not None:
                yield size

    def _clear_temporary_files(self, limit_ns: int, *, dry_run: bool) -> Iterator[int]:
        folder = f"{self._root}/tmp"
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            place = f"{folder}/{name}"
            size = _size_if_older(place, limit_ns)
            if size is None:
                continue
            if not dry_run:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(place)
            yield size

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise translate_os_error(exc, self.folder) from exc


def _is_marker_of_another(marker: Path, own: Path) -> bool:
    return marker != own and _MARKER_NAME.fullmatch(marker.name) is not None


def _size_if_older(place: str, limit_ns: int) -> int | None:
    try:
        status = os.stat(place)
    except FileNotFoundError:
        return None
    return status.st_size if status.st_mtime_ns < limit_ns else None


def _writer(handle: int) -> Callable[[Piece], None]:
    def write(piece: Piece) -> None:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(handle, rest) :]

    return write
