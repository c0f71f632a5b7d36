"""The content store: bytes under their digest, all of them or nothing."""

from __future__ import annotations

import errno
import hashlib
import io
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support import content_race, dying
from vespera_orchestrator.artifacts.content import Collected, packing
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.contracts import ContentStore
from vespera_orchestrator.errors import (
    CorruptContentError,
    InvalidInputError,
    ReadOnlyError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from pathlib import Path


def sha(content: bytes) -> str:
    """Return the digest that *content* should get."""
    return hashlib.sha256(content).hexdigest()


def final_files(folder: Path) -> list[Path]:
    """Return what stands under a final name."""
    return [p for p in folder.rglob("*") if p.is_file() and p.parent.name != "tmp"]


@pytest.fixture
def content(tmp_path: Path) -> FolderContent:
    """Return a store whose folder does not exist yet."""
    return FolderContent(tmp_path / "artifacts")


def test_keeps_the_contract(content):
    """It is a ContentStore."""
    assert isinstance(content, ContentStore)


def test_what_was_put_is_read_back_from_its_place(content):
    """Bytes are stored under their digest, in a file that holds them as they are."""
    digest, size = content.put(b"hello\0world")
    assert (digest, size) == (sha(b"hello\0world"), 11)
    assert content.read(digest) == b"hello\0world"
    assert content.path(digest) == content.folder / digest[:2] / digest[2:]
    assert content.path(digest).read_bytes() == b"hello\0world"
    assert content.verify(digest) is None


@given(data=st.binary(max_size=3000))
def test_bytes_and_stream_are_one_content(tmp_path_factory, data):
    """A stream and bytes with the same content give the same digest and are stored once."""
    content = FolderContent(tmp_path_factory.mktemp("content"))
    assert content.put(data) == content.put(io.BytesIO(data)) == (sha(data), len(data))
    assert len(final_files(content.folder)) == 1
    assert list((content.folder / "tmp").iterdir()) == []


def test_a_large_stream_takes_constant_memory(content, tmp_path):
    """A file of any size is stored piece by piece."""
    source = tmp_path / "large"
    with source.open("wb") as stream:
        stream.truncate(64_000_000)
    tracemalloc.start()
    try:
        with source.open("rb") as stream:
            assert content.put(stream)[1] == 64_000_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_missing_and_changed_bytes_are_named(content):
    """Damaged bytes are never returned."""
    digest, _ = content.put(b"important")
    path = content.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"importanT")
    with pytest.raises(CorruptContentError, match="not those that were saved"):
        content.read(digest)
    assert "not those" in content.verify(digest)
    path.unlink()
    with pytest.raises(CorruptContentError, match="missing"):
        content.read(digest)
    assert "missing" in content.verify(digest)
    assert content.path(digest) is None


def test_putting_again_repairs(content):
    """Putting the same bytes again replaces a damaged copy."""
    digest, _ = content.put(b"important")
    content.path(digest).chmod(0o644)
    content.path(digest).write_bytes(b"importanT")
    content.put(b"important")
    assert content.read(digest) == b"important"
    content.path(digest).unlink()
    content.put(io.BytesIO(b"important"))
    assert content.read(digest) == b"important"


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_a_digest_never_leads_out_of_the_folder(content, digest):
    """Only digests are looked up."""
    with pytest.raises(CorruptContentError, match="is not a SHA-256 digest"):
        content.read(digest)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The error says where, and what helps."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReadOnlyError, match="VESPERA_ORCHESTRATOR_HOME"):
        FolderContent(tmp_path / "file" / "artifacts").put(b"x")
    with pytest.raises(ReadOnlyError, match="a file is where a folder should be: move it away"):
        FolderContent(tmp_path / "file").put(b"x")
    (tmp_path / ".task_orchestrator").mkdir()
    (tmp_path / ".task_orchestrator" / "artifacts").write_text("in the way")
    with pytest.raises(
        ReadOnlyError, match=r"artifacts cannot be written .a file is where a folder should be"
    ):
        vespera.open(tmp_path)


def test_racing_writers_store_one_copy(content):
    """Threads that put the same bytes at once all succeed, and one copy is there."""
    data = os.urandom(300_000)
    threads = [threading.Thread(target=content.put, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(final_files(content.folder)) == 1
    assert content.read(sha(data)) == data


def put_with_a_small_disk(folder: Path, report) -> None:
    """Run in a child: put more than the process may write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    content = FolderContent(folder)
    for large in (os.urandom(300_000), io.BytesIO(os.urandom(300_000))):
        try:
            content.put(large)
        except StoreUnavailableError as exc:
            report.put(str(exc))


def test_no_room_leaves_nothing(content):
    """A write that hits the limit raises a retryable error and leaves no file."""
    context = multiprocessing.get_context("spawn")
    report = context.Queue()
    child = context.Process(target=put_with_a_small_disk, args=(content.folder, report))
    child.start()
    sentences = [report.get(timeout=30), report.get(timeout=30)]
    child.join()
    assert all("free some disk space" in sentence for sentence in sentences)
    assert [p for p in content.folder.rglob("*") if p.is_file()] == []


def test_what_is_acknowledged_is_durable(content, monkeypatch):
    """Bytes are synced before their name, the name before the call returns.

    The root folder is synced only until it is known to be durable.
    """
    content.put(b"warm up")
    same_prefix = next(
        b"%d" % n for n in range(10_000) if sha(b"%d" % n)[:2] == sha(b"warm up")[:2]
    )
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(
        os, "replace", lambda source, target: (calls.append("replace"), replace(source, target))
    )
    content.put(same_prefix)
    assert calls == ["fsync", "replace", "fsync"]
    calls.clear()
    content.put(same_prefix)
    assert calls == ["fsync"]
    calls.clear()
    FolderContent(content.folder).put(same_prefix)
    assert calls == ["fsync", "fsync"]


# --- compressed where it helps ------------------------------------------------------------

TEXT = b"The quick brown fox jumps over the lazy dog, again and again. " * 3000


@pytest.mark.parametrize(
    ("data", "packed"),
    [
        (b"x" * 4096, False),
        (b"x" * 5000, True),
        (TEXT, True),
        (os.urandom(100_000), False),
        (TEXT * 20, True),
        (os.urandom(3 << 20), False),
        (TEXT[:1000] + os.urandom(3 << 20), False),
    ],
    ids=["block", "more", "text", "noise", "long text", "long noise", "mixed"],
)
def test_what_saves_room_is_compressed(content, data, packed):
    """A content is compressed only if that saves disk space; digest and bytes stay the same."""
    digest, size = content.put(data)
    assert content.put(io.BytesIO(data)) == (digest, size) == (sha(data), len(data))
    (file,) = final_files(content.folder)
    assert (file.suffix == ".zst") == packed == (content.path(digest) is None)
    assert not packed or file.stat().st_size < 0.9 * len(data)
    assert content.read(digest) == data
    assert content.verify(digest) is None
    with content.open(digest) as stream:
        assert stream.read(10) == data[:10]
        assert data[:10] + stream.read() == data


@given(
    parts=st.lists(
        st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 30_000)), max_size=6
    ),
    piece=st.integers(1, 70_000),
)
@settings(max_examples=25, deadline=None)
def test_whatever_is_put_comes_back(tmp_path_factory, parts, piece):
    """Any bytes come back, put at once or in reads of any size."""
    data = b"".join(part * count for part, count in parts)
    content = FolderContent(tmp_path_factory.mktemp("content"))
    source = io.BytesIO(data)
    driblets = io.BufferedReader(io.BytesIO(data), 1)
    driblets.read = lambda size: source.read(min(size, piece))
    assert content.put(driblets) == content.put(data) == (sha(data), len(data))
    assert content.read(sha(data)) == data
    assert len(final_files(content.folder)) == 1


def test_what_was_kept_as_it_is_stays_readable(content):
    """A content that an earlier version stored plain is found, and not stored twice."""
    place = content.folder / sha(TEXT)[:2] / sha(TEXT)[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(TEXT)
    assert content.read(sha(TEXT)) == TEXT
    content.put(TEXT)
    assert final_files(content.folder) == [place]
    place.write_bytes(TEXT + b"!")
    content.put(TEXT)
    assert content.read(sha(TEXT)) == TEXT
    assert [path.suffix for path in final_files(content.folder)] == [".zst"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-5],
        lambda b: b[:0],
        lambda b: b[:100] + b"?" + b[101:],
        lambda b: TEXT[: len(b)],
    ],
    ids=range(4),
)
def test_a_damaged_frame_is_named_and_replaced(content, damage):
    """A damaged frame is never returned, raises our own error, and the next put replaces it."""
    digest, _ = content.put(TEXT)
    (file,) = final_files(content.folder)
    file.chmod(0o644)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CorruptContentError, match=r"damaged|not those"):
        content.read(digest)
    with pytest.raises(CorruptContentError), content.open(digest) as stream:
        stream.read()
    assert content.verify(digest) is not None
    content.put(io.BytesIO(TEXT))
    assert content.read(digest) == TEXT


def test_a_stream_that_is_none_is_refused(content):
    """A text stream, or one that fails, is the caller's mistake, and nothing is stored."""
    with pytest.raises(InvalidInputError, match="binary mode"):
        content.put(io.StringIO("text"))
    closed = (content.folder.parent / "file").open("wb")
    with closed, pytest.raises(InvalidInputError, match="cannot be read"):
        content.put(closed)
    assert final_files(content.folder) == []


MEMORY = """
import io, resource, sys
from pathlib import Path
from vespera_orchestrator.artifacts.content.folder import FolderContent

class Made(io.RawIOBase):
    def __init__(self, size, piece):
        self.left, self.piece = size, piece
    def read(self, size):
        taken = min(size, self.left)
        self.left -= taken
        return (self.piece * (taken // len(self.piece) + 1))[:taken]

content = FolderContent(Path(sys.argv[1]))
content.put(Made(3 << 20, b"warm up")); content.put(Made(3 << 20, bytes(range(256)) * 16))
import hashlib, random
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
noise = random.Random(1).randbytes(1 << 20)
for piece in (b"text that shrinks, line after line\\n", noise):
    digest, size = content.put(Made(int(sys.argv[2]), piece))
    with content.open(digest) as stream:
        while stream.read(1 << 20):
            pass
    assert content.verify(digest) is None and size == int(sys.argv[2])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def grown_by_mb(folder: Path, size: int) -> int:
    """Return how many MB a process grows that puts, reads and verifies contents of *size*."""
    ended = subprocess.run(
        [sys.executable, "-c", MEMORY, str(folder), str(size)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(ended.stdout)


def test_memory_does_not_grow_with_the_content(tmp_path):
    """150 MB are put, read and verified within 24 MB of memory."""
    assert grown_by_mb(tmp_path, 150_000_000) < 24


@pytest.mark.soak
def test_two_gigabytes_in_constant_memory(tmp_path):
    """The same bound for 2 GB."""
    assert grown_by_mb(tmp_path, 2_000_000_000) < 24


# --- taking away ---------------------------------------------------------------------------

HOUR = 3600.0


def age(folder: Path, *, hours: float = 48) -> None:
    """Make everything in the folder look as if it was written that long ago."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - hours * HOUR,) * 2)


def collect(content: FolderContent, *keep: str, dry_run: bool = False) -> Collected:
    """Collect what is older than a day."""
    return content.collect(lambda: set(keep), older_than_s=24 * HOUR, dry_run=dry_run)


def test_only_what_is_old_and_nobody_refers_to_is_taken_away(content):
    """Referenced, young and foreign files stay; a dry run removes nothing.

    Leftovers of killed writers are removed as well.
    """
    assert collect(content) == Collected(
        contents=0, size_bytes=0, leftovers=0, kept=0, dry_run=False
    )
    used, unused, packed = (content.put(data)[0] for data in (b"kept", b"gone", TEXT))
    (content.folder / "tmp" / "killed").write_bytes(b"half")
    (content.folder / "ab").mkdir(exist_ok=True)
    (content.folder / "ab" / "notes.txt").write_text("somebody's own")
    age(content.folder)
    young, _ = content.put(b"young")
    (content.folder / "tmp" / "running").write_bytes(b"half")
    before = sorted(content.folder.rglob("*"))
    forecast = collect(content, used, dry_run=True)
    assert (forecast.contents, forecast.leftovers, forecast.kept, forecast.dry_run) == (
        2,
        1,
        1,
        True,
    )
    assert sorted(content.folder.rglob("*")) == before
    assert "would remove 2 contents" in str(forecast)
    result = collect(content, used)
    assert (result.contents, result.leftovers, result.kept, result.size_bytes) == (
        2,
        1,
        1,
        forecast.size_bytes,
    )
    assert [content.verify(digest) is None for digest in (used, young, unused, packed)] == [
        True,
        True,
        False,
        False,
    ]
    assert (content.folder / "ab" / "notes.txt").exists()
    assert (content.folder / "tmp" / "running").exists()
    assert collect(content, used).contents == 0


@pytest.mark.parametrize("again", [b"again", io.BytesIO(b"again")], ids=["bytes", "stream"])
def test_what_is_put_again_is_young_again(content, again):
    """A caller that puts the same bytes may be about to record them."""
    digest, _ = content.put(b"again")
    age(content.folder)
    content.put(again)
    assert collect(content).contents == 0
    assert content.verify(digest) is None


def test_what_another_user_has_put(content, monkeypatch):
    """In a shared folder, another user's file is replaced, because its time cannot be changed."""
    digest, _ = content.put(b"shared")
    age(content.folder)

    def utime(place):
        raise PermissionError(errno.EPERM, "Operation not permitted", place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", utime)
        content.put(b"shared")
    assert collect(content).contents == 0
    assert content.read(digest) == b"shared"


@pytest.mark.parametrize("moment", ["before it is moved aside", "while it is aside"])
def test_a_writer_that_comes_between(content, monkeypatch, moment):
    """Bytes that are put again while they are being collected stay readable all the time."""
    digest, _ = content.put(TEXT)
    age(content.folder)
    real, other = os.replace, FolderContent(content.folder)

    def replace(source, target):
        aside = "leaving" in str(target)
        if aside and moment.startswith("before"):
            other.put(TEXT)
        real(source, target)
        if aside:
            assert other.read(digest) == TEXT
            if moment.startswith("while"):
                other.put(TEXT)

    monkeypatch.setattr(os, "replace", replace)
    collect(content)
    assert content.verify(digest) is None
    assert list((content.folder / "leaving").iterdir()) == []


def test_what_a_killed_collector_had_moved_aside(content):
    """It stays readable; the next collector puts it back if a record needs it, or removes it."""
    needed, unused = content.put(TEXT)[0], content.put(b"gone")[0]
    age(content.folder)
    (content.folder / "leaving").mkdir()
    for digest, suffix in ((needed, ".zst"), (unused, "")):
        os.replace(
            content.folder / digest[:2] / f"{digest[2:]}{suffix}",
            content.folder / "leaving" / f"{digest}{suffix}",
        )
    assert (content.read(needed), content.read(unused)) == (TEXT, b"gone")
    collect(content, needed)
    assert [content.verify(digest) is None for digest in (needed, unused)] == [True, False]
    assert list((content.folder / "leaving").iterdir()) == []


def race(folder, **least):
    """Race in a folder of its own, where contents are collected after a moment."""
    code = "__import__('{0}', fromlist='x').FolderContent(records.with_name('content'))"
    make = code.format("vespera_orchestrator.artifacts.content.folder")
    content_race.race(folder / "records", make, contents=12, grace_s=0.3, pause_s=0.4, **least)


def test_collecting_never_takes_what_a_writer_has_just_put(tmp_path):
    """Nothing recorded is missing while some put, read and forget and others collect."""
    race(tmp_path, puts=20, takings=3)


@pytest.mark.soak
def test_collecting_beside_writers_for_long(tmp_path):
    """The same for two minutes."""
    race(tmp_path, puts=100, takings=100, seconds=120)


# --- killed at every step --------------------------------------------------------------------

STEPS = """
import io, os, sys
from pathlib import Path
from support.dying import killed_before
from vespera_orchestrator.artifacts.content.folder import FolderContent

folder, doing = Path(sys.argv[1]), sys.argv[2]
TEXT = b"all of it or nothing " * 20000
NOISE = bytes(os.urandom(3 << 20))
DATA = {"small": b"all of it or nothing", "noise": NOISE}.get(doing, TEXT)

def act():
    content = FolderContent(folder / str(step))
    if doing == "collect":
        content.collect(lambda: {keep}, older_than_s=0)
    else:
        content.put(io.BytesIO(DATA) if doing in ("stream", "noise") else DATA)

step, killed = 0, True
while killed:
    step += 1
    content = FolderContent(folder / str(step))
    keep, _ = content.put(b"kept all along " * 1000)
    if doing in ("repair", "collect"):
        digest, _ = content.put(DATA)
        place = content.folder / digest[:2] / (digest[2:] + ".zst")
        os.chmod(place, 0o644)
        if doing == "repair":
            place.write_bytes(b"damaged")
    killed = killed_before(step, act)
    assert content.verify(keep) is None
    for path in content.folder.glob("??/*"):
        problem = content.verify(path.parent.name + path.name[:62])
        assert problem is None or doing == "repair", problem
    assert content.read(content.put(DATA)[0]) == DATA
    if killed:
        content.collect(lambda: {keep}, older_than_s=-60)
        files = [path for path in content.folder.rglob("*") if path.is_file()]
        assert [path for path in files if not path.match(keep[:2] + "/*")] == []
        assert content.verify(keep) is None
print(step - 1)
"""


@pytest.mark.parametrize("doing", ["small", "text", "stream", "noise", "repair", "collect"])
def test_killed_at_every_step(tmp_path, doing):
    """SIGKILL before each system call of a put or a collection: all or nothing.

    The next put succeeds, and the rest is removed.
    """
    assert dying.run(STEPS, str(tmp_path), doing) >= 8


# --- a disk that is full -----------------------------------------------------------------------

FULL = """
import ctypes, io, os, resource, sys
from pathlib import Path
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.errors import StoreUnavailableError

folder = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 1 << 14, 1 << 18
try:
    mounted = (
        libc.unshare(CLONE_NEWNS) == 0
        and libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
        and libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"size=1m") == 0
    )
except AttributeError:
    mounted = False
if not mounted:
    resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
content = FolderContent(Path(folder) / "artifacts")
kept, _ = content.put(b"kept")
for large in (os.urandom(3_000_000), io.BytesIO(os.urandom(3_000_000)), os.urandom(1_100_000)):
    try:
        content.put(large)
    except StoreUnavailableError as exc:
        assert "free some disk space" in str(exc), exc
    else:
        sys.exit("it had room")
    files = [path.name for path in content.folder.rglob("*") if path.is_file()]
    assert files == [kept[2:]], "something was left"
data = os.urandom(300_000)
assert content.read(content.put(data)[0]) == data and content.read(kept) == b"kept"
print("full disk" if mounted else "limit")
"""


def test_a_full_disk(tmp_path):
    """On a disk of 1 MB (or under a limit): retryable, nothing left, smaller contents still fit."""
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() in {"full disk", "limit"}


def test_a_bomb_is_not_unpacked(tmp_path):
    """Its record says eleven bytes; what stands in its place expands to a hundred megabytes."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x", project_type="research_project")
        artifact = orch.artifacts.save("Notes", "hello world")
        folder = orch.home / "artifacts" / artifact.digest[:2]
        (folder / artifact.digest[2:]).unlink()
        with (folder / f"{artifact.digest[2:]}.zst").open("wb") as stream:
            packing.write_packed((b"\0" * packing.PIECE_BYTES for _ in range(100)), stream.write)
        tracemalloc.start()
        try:
            with pytest.raises(CorruptContentError, match="it has more than 11 bytes"):
                orch.artifacts.read(artifact)
            (damage,) = orch.artifacts.verify()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "not those that were saved" in str(damage)
        assert peak < 20_000_000
