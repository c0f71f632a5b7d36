"""Keeping and reading the bytes of artifacts: against the same done by hand, and against zlib."""

from __future__ import annotations

import hashlib
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
_GROWTH = """
import io, resource, sys
from pathlib import Path
from vespera_orchestrator.artifacts.content.folder import FolderContent

class Made(io.RawIOBase):
    def __init__(self, size):
        self.left = size
    def read(self, size):
        taken = min(size, self.left)
        self.left -= taken
        return (b"one line of a log after the other\\n" * (taken // 34 + 1))[:taken]

content = FolderContent(Path(sys.argv[1]))
content.put(Made(3 << 20))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
digest, _ = content.put(Made(int(sys.argv[2])))
with content.open(digest) as stream:
    while stream.read(1 << 20):
        pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def rows(scale: Scale) -> list[Row]:
    texts, rounds = _sources(scale.pick(400, 40)), scale.pick(7, 2)
    notes = [text[:2000] + str(number).encode() for number, text in enumerate(texts)]
    large = [random.Random(number).randbytes(8 << 20) for number in range(scale.pick(4, 1))]
    return [
        *_puts_and_reads(scale.folder / "notes", f"{len(notes)} notes of 2 KB", notes, rounds),
        *_puts_and_reads(
            scale.folder / "files",
            f"{len(texts)} source files of {_mean_kb(texts)} KB",
            texts,
            rounds,
        ),
        *_puts_and_reads(
            scale.folder / "large", f"{len(large)} incompressible contents of 8 MB", large, rounds
        ),
        _room(scale.folder / "room", texts, rounds),
        _memory(scale.folder / "memory", scale.pick(2_000_000_000, 50_000_000)),
    ]


def _sources(count: int) -> list[bytes]:
    """Real text that every machine has: the sources of Python's own library and of this one."""
    folders = [Path(os.__file__).parent, Path(vespera_orchestrator.__file__).parent]
    found = [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*.py"))]
    found = [text for text in found if len(text) > 4096]  # noqa: PLR2004 - what is smaller is kept as it is
    return random.Random(0).sample(found, min(count, len(found)))


def _mean_kb(contents: Sequence[bytes]) -> int:
    return sum(map(len, contents)) // len(contents) // 1024


def _puts_and_reads(folder: Path, what: str, contents: Sequence[bytes], rounds: int) -> list[Row]:
    made = iter(range(1_000_000))

    def fresh() -> Path:
        place = folder / str(next(made))
        place.mkdir(parents=True)
        return place

    kept, plain = FolderContent(fresh()), fresh()
    for content in contents:
        kept.put(content)
        _put_by_hand(plain, content)
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    puts = alternate(
        rounds,
        ours=_each(contents, lambda: FolderContent(fresh()).put),
        hand=_each(contents, lambda: _putting(fresh())),
    )
    again = alternate(
        rounds, ours=_each(contents, lambda: kept.put), hand=_each(digests, lambda: _reading(plain))
    )
    reads = alternate(
        rounds, ours=_each(digests, lambda: kept.read), hand=_each(digests, lambda: _reading(plain))
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


def _room(folder: Path, texts: Sequence[bytes], rounds: int) -> Row:
    """Compare the room that is taken, and the time that compressing takes, with zlib."""
    content = FolderContent(folder)
    for text in texts:
        content.put(text)
    costs = alternate(
        rounds, ours=_each(texts, lambda: packing.pack), zlib=_each(texts, lambda: zlib.compress)
    )
    row = Row.of("compress the source files", costs["ours"], "zlib", costs["zlib"])
    given, kept, by_zlib = (
        sum(map(len, texts)),
        size_bytes(folder),
        sum(len(zlib.compress(text)) for text in texts),
    )
    return attrs.evolve(
        row, reached=f"{given / kept:.1f} times smaller on disk (zlib {given / by_zlib:.1f})"
    )


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
