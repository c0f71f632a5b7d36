"""Storing and reading the bytes of artifacts, compared with the same by hand and with zlib."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import vespera_orchestrator
from measure import Cost, Row, Scale, alternate, metered, size_bytes
from vespera_orchestrator.artifacts.content import packing
from vespera_orchestrator.artifacts.content.folder import FolderContent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PEAK_MB = 24
_NOT_COMPRESSED_BYTES = 4096
"""What is no larger is stored as it is."""
_GROWTH = """
import io, resource, sys
from pathlib import Path
from vespera_orchestrator.artifacts.content.folder import FolderContent

class Log(io.RawIOBase):
    def __init__(self, size):
        self.remaining = size
    def read(self, size):
        size = min(size, self.remaining)
        self.remaining -= size
        return (b"one line of a log after the other\\n" * (size // 34 + 1))[:size]

content = FolderContent(Path(sys.argv[1]))
content.put(Log(3 << 20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
digest, _ = content.put(Log(int(sys.argv[2])))
with content.open(digest) as stream:
    while stream.read(1 << 20):
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def rows(scale: Scale) -> list[Row]:
    rounds = scale.pick(7, 2)
    texts = _sources(scale.pick(400, 40))
    notes = [text[:2000] + str(number).encode() for number, text in enumerate(texts)]
    large = [random.Random(number).randbytes(8 << 20) for number in range(scale.pick(4, 1))]
    groups = {
        "notes": (f"{len(notes)} notes of 2 KB", notes),
        "files": (f"{len(texts)} source files of {_mean_kb(texts)} KB", texts),
        "large": (f"{len(large)} incompressible contents of 8 MB", large),
    }
    measured = []
    for name, (what, contents) in groups.items():
        measured += _puts_and_reads(scale.folder / name, what, contents, rounds)
    measured.append(_disk_space(scale.folder / "room", texts, rounds))
    measured.append(_memory(scale.folder / "memory", scale.pick(2_000_000_000, 50_000_000)))
    return measured


def _sources(count: int) -> list[bytes]:
    """Return real text that every machine has: the sources of Python's library and of ours."""
    folders = [Path(os.__file__).parent, Path(vespera_orchestrator.__file__).parent]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    texts = [path.read_bytes() for path in paths]
    texts = [text for text in texts if len(text) > _NOT_COMPRESSED_BYTES]
    return random.Random(0).sample(texts, min(count, len(texts)))


def _mean_kb(contents: Sequence[bytes]) -> int:
    return sum(map(len, contents)) // len(contents) // 1024


def _puts_and_reads(folder: Path, what: str, contents: Sequence[bytes], rounds: int) -> list[Row]:
    numbers = itertools.count()

    def fresh() -> Path:
        path = folder / str(next(numbers))
        path.mkdir(parents=True)
        return path

    store = FolderContent(fresh())
    plain = fresh()
    for content in contents:
        store.put(content)
        _put_by_hand(plain, content)
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    puts = alternate(
        rounds,
        ours=_each(contents, lambda: FolderContent(fresh()).put),
        hand=_each(contents, lambda: _putting(fresh())),
    )
    again = alternate(
        rounds,
        ours=_each(contents, lambda: store.put),
        hand=_each(digests, lambda: _reading(plain)),
    )
    reads = alternate(
        rounds,
        ours=_each(digests, lambda: store.read),
        hand=_each(digests, lambda: _reading(plain)),
    )
    return [
        Row.of(
            f"put, {what}",
            puts["ours"],
            "digest, write, fsync, rename, fsync folder",
            puts["hand"],
            at_most=2,
        ),
        Row.of(f"put again, {what}", again["ours"], "read, digest", again["hand"]),
        Row.of(f"read, {what}", reads["ours"], "read, digest", reads["hand"]),
    ]


def _each(things: Sequence[Any], make: Callable[[], Callable[[Any], object]]) -> Callable[[], Cost]:
    def side() -> Cost:
        act = make()
        with metered() as meter:
            for thing in things:
                act(thing)
        return meter.per(len(things))

    return side


def _putting(folder: Path) -> Callable[[bytes], None]:
    return lambda content: _put_by_hand(folder, content)


def _put_by_hand(folder: Path, content: bytes) -> None:
    temporary = folder / os.urandom(8).hex()
    with temporary.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / hashlib.sha256(content).hexdigest())
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _reading(folder: Path) -> Callable[[str], None]:
    def read(digest: str) -> None:
        if hashlib.sha256((folder / digest).read_bytes()).hexdigest() != digest:
            raise RuntimeError(digest)

    return read


def _disk_space(folder: Path, texts: Sequence[bytes], rounds: int) -> Row:
    """Compare disk space and the time to compress with zlib."""
    content = FolderContent(folder)
    for text in texts:
        content.put(text)
    costs = alternate(
        rounds, ours=_each(texts, lambda: packing.pack), zlib=_each(texts, lambda: zlib.compress)
    )
    row = Row.of("compress the source files", costs["ours"], "zlib", costs["zlib"])
    size = sum(map(len, texts))
    by_ours = size / size_bytes(folder)
    by_zlib = size / sum(len(zlib.compress(text)) for text in texts)
    return attrs.evolve(row, reached=f"{by_ours:.1f} times smaller on disk (zlib {by_zlib:.1f})")


def _memory(folder: Path, size: int) -> Row:
    with metered() as meter:
        ended = subprocess.run(
            [sys.executable, "-c", _GROWTH, str(folder), str(size)],
            check=True,
            capture_output=True,
            text=True,
        )
    grown = float(ended.stdout)
    return Row(
        what=f"growth of a process that puts and reads {size / 1e9:g} GB",
        ours=f"{grown:.0f} MB",
        against="all of it",
        floor=f"{size / 1e6:,.0f} MB",
        ratio=grown * 1e6 / size,
        target=f"≤ {_PEAK_MB} MB",
        met=grown <= _PEAK_MB,
        figures={"grown_mb": grown, "cpu_s": meter.cpu_s, "wall_s": meter.wall_s},
    )
