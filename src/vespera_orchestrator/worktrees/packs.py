"""Packs of new objects: on disk before anybody sees them, and put together when they are many.

A save or a landing writes its objects into one pack. A hundred saves would leave a hundred packs,
which make git slow, and make it pack the whole repository again whenever a person commits. So the
small ones are put together into one from time to time. That loses nothing, whoever is at work
beside us: the new pack has all of their objects and is on disk before the first of them goes. A
``git gc`` does the same, and readers look again when a pack is gone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.files import sync_file, sync_folder, sync_open_file
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, open_plain_file, read_small_file
from vespera_orchestrator.worktrees.pack_format import (
    NAME_BYTES,
    PackOfOneFile,
    encode_pack,
    names_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator.worktrees.pack_format import GitObject

UNFINISHED_PREFIX: Final = "vespera-pack-"
"""Begins the names, among git's objects, of a pack that is not complete, or of its folder."""
MANY: Final = 20
"""So many packs of ours are put together. ``git gc --auto`` begins to pack all at 50."""
_SMALL_BYTES: Final = 2_000_000
"""Packs up to this size are always put together, larger ones with their like."""
_LARGE_BYTES: Final = 64_000_000
"""Larger packs are left as they are."""
_READ_ONLY: Final = 0o444
_PIECE_BYTES: Final = 1_000_000
_KEEP_NOTE: Final = b"vespera_orchestrator: a ref is about to name these objects\n"
_ABANDONED_S: Final = 3600.0
"""A pack is kept for moments; one that is kept for longer than this was left behind."""
_SPECIAL: Final = (".keep", ".promisor", ".bitmap", ".mtimes", ".rev")
"""Files beside a pack that somebody else made, or wants to be left alone."""


@attrs.frozen(kw_only=True)
class _Pack:
    """A pack without anything special about it."""

    index: Path
    size_bytes: int

    @property
    def data(self) -> Path:
        """The file with the objects."""
        return self.index.with_suffix(".pack")

    def object_names(self) -> Iterator[str]:
        """Yield the names of its objects.

        Raises:
            ValueError: The index is of a kind that git does not write any more.
        """
        return names_in(read_small_file(self.index, MOST_GIT_BYTES))


def write_pack(
    repo: pygit2.Repository, names: Iterable[str], *, durable: bool = True, keep: bool = False
) -> str:
    """Write objects into a pack of their own, and return its name.

    Until it is complete, and on disk, it is where git does not look, so that a power cut leaves no
    damaged one among those that git reads.

    Args:
        repo: The repository.
        names: The objects, in hexadecimal.
        durable: Whether the pack is on disk when this returns.
        keep: Whether git leaves it alone until `release_pack`, whatever refs name.

    Raises:
        KeyError: An object is missing.
        pygit2.GitError: An object is damaged, or missing.
    """
    common = Path(repo.path)
    with _room(common) as room:
        _pack_into(repo, names, room)
        (index,) = room.glob("*.idx")
        data = index.with_suffix(".pack")
        if durable:
            sync_file(data)
            sync_file(index)
        return _publish(common, data, index, durable=durable, keep=keep)


def write_new_pack(common: Path, objects: Mapping[bytes, GitObject], *, durable: bool) -> str:
    """Write new objects into a pack of their own, and return its name.

    Git leaves it alone until `release_pack`, whatever refs name.

    Args:
        common: The git directory that all worktrees share.
        objects: The objects, by their names.
        durable: Whether the pack is on disk when this returns.

    Raises:
        OSError: The file system refused; there is no pack.
    """
    data, index = encode_pack(objects)
    with _unfinished_files(common) as (data_file, index_file):
        _create(data_file, data, durable=durable)
        _create(index_file, index, durable=durable)
        return _publish(common, data_file, index_file, durable=durable, keep=True)


def write_file_pack(common: Path, file: Path, *, durable: bool) -> tuple[str, str]:
    """Write a file, as it is, into a pack of its own; return the pack and the blob.

    The file is read piece by piece. As with `write_new_pack`, git leaves the pack alone.

    Args:
        common: The git directory that all worktrees share.
        file: The file.
        durable: Whether the pack is on disk when this returns.

    Raises:
        OSError: The file system refused, or the file changed while it was read; there is no pack.
    """
    with _unfinished_files(common) as (data_file, index_file):
        with open_plain_file(file) as source:
            pack = _stream(source, data_file, durable=durable)
        _create(index_file, pack.index(), durable=durable)
        name = _publish(common, data_file, index_file, durable=durable, keep=True)
        return name, pack.object_name


@contextmanager
def _unfinished_files(common: Path) -> Iterator[tuple[Path, Path]]:
    """Give the places of a pack and its index, to be written and moved away.

    They lie among git's objects under names that git does not look at. After an error nothing is
    left of them.
    """
    unfinished = common / "objects" / _new_name()
    files = Path(f"{unfinished}.pack"), Path(f"{unfinished}.idx")
    try:
        yield files
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise


def _stream(source: IO[bytes], target: Path, *, durable: bool) -> PackOfOneFile:
    size_bytes = os.fstat(source.fileno()).st_size
    pack = PackOfOneFile(size_bytes)
    with _new_file(target) as stream:
        stream.write(pack.head())
        while piece := source.read(_PIECE_BYTES):
            size_bytes -= len(piece)
            stream.write(pack.add(piece))
        if size_bytes:
            raise OSError(f"{source.name} changed while it was read")
        stream.write(pack.end())
        if durable:
            stream.flush()
            sync_open_file(target, stream.fileno())
    return pack


def _create(file: Path, content: bytes, *, durable: bool) -> None:
    with _new_file(file) as stream:
        stream.write(content)
        if durable:
            stream.flush()
            sync_open_file(file, stream.fileno())


def _new_file(file: Path) -> IO[bytes]:
    """Begin a file that nobody is to change, as git does with packs."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(file, flags, _READ_ONLY), "wb")


def _new_name() -> str:
    return UNFINISHED_PREFIX + secrets.token_hex(8)


@contextmanager
def _room(common: Path) -> Iterator[Path]:
    """Make a folder among git's objects, for the files of a pack that is not complete."""
    room = common / "objects" / _new_name()
    room.mkdir()
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _publish(common: Path, data: Path, index: Path, *, durable: bool, keep: bool) -> str:
    """Move the two files of a pack to where git finds them, and return the pack's name.

    Their bytes are on disk if *durable*; then their names are as well when this returns.
    """
    folder = common / "objects" / "pack"
    folder.mkdir(exist_ok=True)
    # Never the name of a pack that was there: a `git gc` that is running may have seen that one,
    # and be about to delete it.
    name = f"pack-{secrets.token_hex(NAME_BYTES)}"
    if keep:
        _note(common, name).write_bytes(_KEEP_NOTE)
    data.replace(folder / f"{name}.pack")
    index.replace(folder / f"{name}.idx")
    if durable:
        sync_folder(folder)
    return name


def is_kept(common: Path, name: str) -> bool:
    """Tell whether git leaves a pack alone that was written to be kept."""
    return _note(common, name).exists()


def _note(common: Path, name: str) -> Path:
    return common / "objects" / "pack" / f"{name}.keep"


def release_pack(common: Path, name: str) -> None:
    """Let git treat a pack that was written with *keep* like any other.

    Where the system refuses, the pack stays as it is: see `release_abandoned_packs`.
    """
    with suppress(OSError):  # what the caller has done by now must not look as if it had failed
        _note(common, name).unlink(missing_ok=True)


def release_abandoned_packs(common: Path) -> list[str]:
    """Release the packs of processes that were killed while they moved a ref; return their names.

    That takes moments. Whoever slept in the middle of it finds out that objects are gone before it
    moves the ref, and writes them again.
    """
    released: list[str] = []
    for note in common.joinpath("objects", "pack").glob("pack-*.keep"):
        with suppress(FileNotFoundError):
            is_old = time.time() - note.stat().st_mtime > _ABANDONED_S
            if is_old and read_small_file(note) == _KEEP_NOTE:
                note.unlink()
                released.append(note.stem)
    return released


def _pack_into(repo: pygit2.Repository, names: Iterable[str], room: Path) -> None:
    def add_all(builder: pygit2.PackBuilder) -> None:
        for name in names:
            builder.add(pygit2.Oid(hex=name))

    repo.pack(str(room), pack_delegate=add_all, n_threads=1)


def has_many_packs(common: Path) -> bool:
    """Tell, at a glance, whether it may be time to put packs together."""
    with suppress(FileNotFoundError), os.scandir(common / "objects" / "pack") as entries:
        return sum(entry.name.endswith(".idx") for entry in entries) >= MANY
    return False


def gather_packs(repo: pygit2.Repository) -> int:
    """Put the small packs of a repository into one, where there are many of them.

    Call it under a lock: two at once would do the same work twice. Killed anywhere, it leaves what
    was there, the new pack, or both.

    Returns:
        How many packs were put together.

    Raises:
        OSError: The file system refused; nothing is lost.
        pygit2.GitError: An object could not be read, as when a ``git gc`` has just taken a pack
            away. Nothing was changed.
    """
    folder = Path(repo.path, "objects", "pack")
    packs = _choose(_plain_packs(folder))
    if len(packs) < MANY:
        return 0
    names = dict.fromkeys(name for pack in packs for name in pack.object_names())
    write_pack(repo, names)
    for pack in packs:
        pack.index.unlink(missing_ok=True)  # first, as git does: no index without its pack
        pack.data.unlink(missing_ok=True)
    sync_folder(folder)
    return len(packs)


def _plain_packs(folder: Path) -> list[_Pack]:
    """Return the packs that may be put together, the smallest first."""
    if folder.joinpath("multi-pack-index").exists():
        return []  # git keeps a list of packs, and cares for them itself
    names = {path.name for path in folder.glob("pack-*")}
    packs: list[_Pack] = []
    for name in names:
        stem = name.removesuffix(".idx")
        is_special = any(stem + suffix in names for suffix in _SPECIAL)
        if stem == name or is_special or f"{stem}.pack" not in names:
            continue
        with suppress(FileNotFoundError):
            size_bytes = folder.joinpath(f"{stem}.pack").stat().st_size
            packs.append(_Pack(index=folder / name, size_bytes=size_bytes))
    return sorted(packs, key=lambda pack: pack.size_bytes)


def _choose(packs: Sequence[_Pack]) -> list[_Pack]:
    """Return the packs to put together: all small ones, and larger ones that come near their sum.

    So each object is copied a few times only, however often this is done.
    """
    chosen: list[_Pack] = []
    total_bytes = 0
    for pack in packs:
        is_near = pack.size_bytes <= max(total_bytes, _SMALL_BYTES)
        if not is_near or pack.size_bytes > _LARGE_BYTES:
            break
        chosen.append(pack)
        total_bytes += pack.size_bytes
    return chosen
