"""Git's format of a pack and of its index, version 2, as bytes.

See gitformat-pack(5). Each object is compressed for itself, without differences between objects:
that is quick, and `packs.gather_packs` finds the differences later.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INDEX_HEAD: Final = b"\xfftOc\x00\x00\x00\x02"
FANOUT: Final = struct.Struct(">256I")
"""How many names begin with at most this byte."""
NAME_BYTES: Final = 20
_PACK_HEAD: Final = struct.Struct(">4sII")
_VERSION: Final = 2
_BLOB: Final = 3
_FIRST_BYTES: Final = 256
_LEVEL: Final = 1
"""As git compresses a new object of its own file."""


@attrs.frozen(kw_only=True)
class GitObject:
    """An object, as git writes it."""

    kind: int
    """What git's format calls it: 1 for a commit, 2 for a tree, 3 for a blob, 4 for a tag."""
    content: bytes


@attrs.frozen(kw_only=True)
class _Place:
    """Where an object is in a pack."""

    name: bytes
    offset: int
    checksum: int


def encode_pack(objects: Mapping[bytes, GitObject]) -> tuple[bytes, bytes]:
    """Return a pack with *objects*, by their names, and its index."""
    pieces = [_PACK_HEAD.pack(b"PACK", _VERSION, len(objects))]
    offset = _PACK_HEAD.size
    places: list[_Place] = []
    for name, item in objects.items():
        record = _head(item.kind, len(item.content)) + zlib.compress(item.content, _LEVEL)
        places.append(_Place(name=name, offset=offset, checksum=zlib.crc32(record)))
        pieces.append(record)
        offset += len(record)
    data = b"".join(pieces)
    digest = _digest(data)
    return data + digest, _encode_index(places, digest)


class PackOfOneFile:
    """A pack with one blob, encoded piece by piece, in the order of its methods."""

    def __init__(self, size_bytes: int) -> None:
        """Begin the blob of a file of this size."""
        self._name = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
        self._head = _head(_BLOB, size_bytes)
        self._pack = hashlib.sha1(usedforsecurity=False)
        self._checksum = zlib.crc32(self._head)
        self._compressor = zlib.compressobj(_LEVEL)

    def head(self) -> bytes:
        """Return the beginning of the pack."""
        head = _PACK_HEAD.pack(b"PACK", _VERSION, 1) + self._head
        self._pack.update(head)
        return head

    def add(self, piece: bytes) -> bytes:
        """Return what goes into the pack for the next piece of the file."""
        self._name.update(piece)
        return self._with_sums(self._compressor.compress(piece))

    def end(self) -> bytes:
        """Return the end of the pack."""
        rest = self._with_sums(self._compressor.flush())
        return rest + self._pack.digest()

    def _with_sums(self, record: bytes) -> bytes:
        self._checksum = zlib.crc32(record, self._checksum)
        self._pack.update(record)
        return record

    def index(self) -> bytes:
        """Return the pack's index."""
        place = _Place(name=self._name.digest(), offset=_PACK_HEAD.size, checksum=self._checksum)
        return _encode_index([place], self._pack.digest())

    @property
    def object_name(self) -> str:
        """The blob, in hexadecimal."""
        return self._name.hexdigest()


def _head(kind: int, size: int) -> bytes:
    """Return kind and size: the lowest four bits of the size first, then seven in each byte."""
    byte = (kind << 4) | (size & 0b1111)
    size >>= 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte = size & 0x7F
        size >>= 7
    head.append(byte)
    return bytes(head)


def _encode_index(places: list[_Place], pack_digest: bytes) -> bytes:
    places.sort(key=lambda place: place.name)
    counts = [0] * _FIRST_BYTES
    for place in places:
        counts[place.name[0]] += 1
    numbers = struct.Struct(f">{len(places)}I")
    index = b"".join(
        [
            INDEX_HEAD,
            FANOUT.pack(*accumulate(counts)),
            *(place.name for place in places),
            numbers.pack(*(place.checksum for place in places)),
            numbers.pack(*(place.offset for place in places)),
            pack_digest,
        ]
    )
    return index + _digest(index)


def _digest(content: bytes) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()


def names_in(index: bytes) -> Iterator[str]:
    """Yield the names of the objects in a pack, as its index lists them.

    Raises:
        ValueError: The index is of a kind that git does not write any more.
    """
    if not index.startswith(INDEX_HEAD):
        raise ValueError("not an index of version 2")
    count = FANOUT.unpack_from(index, len(INDEX_HEAD))[-1]
    start = len(INDEX_HEAD) + FANOUT.size
    for position in range(start, start + count * NAME_BYTES, NAME_BYTES):
        yield index[position : position + NAME_BYTES].hex()
