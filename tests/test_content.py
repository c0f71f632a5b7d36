"""The content store: bytes under their digest, all of them or nothing."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.artifacts.content import FolderContent
from vespera_orchestrator.contracts import ContentStore
from vespera_orchestrator.errors import CorruptContentError, InvalidInputError, ReadOnlyError, StoreUnavailableError

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
    """Bytes are found under their digest, in a file that holds them as they are."""
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
    """A file of any size is taken in by pieces."""
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
    """Bytes that are not those that were saved are never handed out."""
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
    """When the bytes are put again, a damaged copy is replaced: the caller had them in hand."""
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
    with pytest.raises(InvalidInputError):
        content.read(digest)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The error says where, and what helps."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReadOnlyError, match="VESPERA_ORCHESTRATOR_HOME"):
        FolderContent(tmp_path / "file" / "artifacts").put(b"x")


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
    for large in (bytes(300_000), io.BytesIO(bytes(300_000))):
        try:
            content.put(large)
        except StoreUnavailableError as exc:
            report.put(str(exc))


def test_no_room_leaves_nothing(content):
    """A write that hits the limit is a retryable error, and nothing is left under a final name, nor beside it."""
    context = multiprocessing.get_context("spawn")
    report = context.Queue()
    child = context.Process(target=put_with_a_small_disk, args=(content.folder, report))
    child.start()
    sentences = [report.get(timeout=30), report.get(timeout=30)]
    child.join()
    assert all("free some disk space" in sentence for sentence in sentences)
    assert [p for p in content.folder.rglob("*") if p.is_file()] == []


KILLED = """
import os, signal, sys
from pathlib import Path
from vespera_orchestrator.artifacts.content import FolderContent

name = sys.argv[2]
real = getattr(os, name)
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os, name, die)
FolderContent(Path(sys.argv[1])).put(b"half of this would be worse than nothing")
"""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_killed_writer_leaves_nothing_under_a_final_name(content, call):
    """SIGKILL before the bytes are durable, or before the rename: only ``tmp/`` knows of it, and the next writer succeeds."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(content.folder), call], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert final_files(content.folder) == []
    assert len(list((content.folder / "tmp").iterdir())) == 1
    digest, _ = content.put(b"half of this would be worse than nothing")
    assert content.verify(digest) is None
