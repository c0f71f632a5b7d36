"""Files that become artifacts: read as they are at one moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vespera_orchestrator.errors import SourceFileNotFoundError


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("src/run.py", b"print()", "text/x-python"),
        ("README.MD", b"# Hi", "text/markdown"),
        ("data.json", b"{}", "application/json"),
        ("main.rs", b"fn main() {}", "text/plain"),
        ("Makefile", b"all:\n", "text/plain"),
        ("page.html", b"<p>", "text/html"),
        ("picture.png", b"\x89PNG", "image/png"),
        ("data.tar.gz", b"\x1f\x8b", "application/octet-stream"),
        ("unknown.bin7", b"a\0b", "application/octet-stream"),
        ("latin", b"caf\xe9 au lait", "text/plain"),
        ("long", ("ü" * 5000 + "x").encode(), "text/plain"),
        ("empty", b"", "text/plain"),
    ],
)
def test_a_file_is_taken_in_as_it_is(artifacts, tmp_path, name, content, media_type):
    """Its title is its path in the project; its media type follows from its name or its bytes."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    draft = artifacts.draft_file(name, root=tmp_path)
    assert (draft.title, draft.kind, draft.media_type, draft.size_bytes) == (
        name,
        "file",
        media_type,
        len(content),
    )
    path.write_bytes(b"changed later")
    assert artifacts._content.read(draft.digest) == content


def test_files_elsewhere(artifacts, tmp_path, tmp_path_factory):
    """A file outside of the project is titled with its whole path.

    A name that is not UTF-8 is no obstacle.
    """
    outside = tmp_path_factory.mktemp("outside") / "notes.txt"
    outside.write_text("x")
    assert artifacts.draft_file(outside, root=tmp_path).title == outside.as_posix()
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("x")
    assert artifacts.draft_file("sub/../a.txt", root=tmp_path).title == "a.txt"
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    Path(odd).write_text("x")
    assert artifacts.draft_file(odd, root=tmp_path).title == "caf?.txt"


def test_a_file_that_cannot_be_taken_in_is_named(artifacts, tmp_path):
    """A missing file, folder, pipe or loop: one error with the remedy; nothing is written."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path in ("missing.py", "folder", "pipe", "loop", "a\0b", "x" * 5000):
        with pytest.raises(SourceFileNotFoundError, match="correct file_paths"):
            artifacts.draft_file(path, root=tmp_path)
    assert [p for p in artifacts._content.folder.rglob("*") if p.is_file()] == []


def test_a_relative_path_stays_within(artifacts, tmp_path):
    """``..`` out of a worktree names another checkout's file, so it is refused with a remedy.

    An absolute path shows that it is meant.
    """
    inside = tmp_path / "worktree"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("x")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    for path in ("../secret.txt", "a/../../secret.txt", "../worktree2/x"):
        with pytest.raises(
            SourceFileNotFoundError, match="leads out of that folder; give the absolute path"
        ):
            artifacts.draft_file(path, root=inside)
    assert (
        artifacts.draft_file(tmp_path / "secret.txt", root=inside).title
        == (tmp_path / "secret.txt").as_posix()
    )
    assert artifacts.draft_file("link.txt", root=inside).title == "link.txt"
    assert artifacts.draft_file("../worktree/link.txt", root=inside).title == "link.txt"


def test_a_device_and_a_closed_folder(artifacts, tmp_path):
    """Neither is read, and the error names both."""
    for path in ("/dev/zero", "/dev/tty", "/proc/self/mem"):
        with pytest.raises(SourceFileNotFoundError):
            artifacts.draft_file(path, root=tmp_path)
    assert (
        artifacts._content.read(artifacts.draft_file("/proc/version", root=tmp_path).digest)
        == Path("/proc/version").read_bytes()
    )


class Changing:
    """Changes the file while it is read, a number of times."""

    def __init__(self, path, times, change):
        self.path, self.times, self.change = path, times, change

    def __call__(self, handle, size, real=os.read):
        piece = real(handle, size)
        if self.times and size > 10_000:
            self.times -= 1
            self.change(self.path)
        return piece


CHANGES = {
    "grows": lambda path: os.truncate(path, path.stat().st_size + 1000),
    "shrinks": lambda path: os.truncate(path, path.stat().st_size - 1000),
    "is rewritten": lambda path: (
        path.write_bytes(os.urandom(2_000_000)),
        os.utime(path, (1, path.stat().st_mtime + 1)),
    ),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_file_that_changes_while_it_is_read(artifacts, tmp_path, monkeypatch, how):
    """It is read again; if it keeps changing, the error names it, and nothing torn is stored."""
    path = tmp_path / "busy.log"
    path.write_bytes(os.urandom(3_000_000))
    monkeypatch.setattr(os, "read", Changing(path, 1, CHANGES[how]))
    draft = artifacts.draft_file("busy.log", root=tmp_path)
    assert artifacts._content.read(draft.digest) == path.read_bytes()
    path.write_bytes(os.urandom(3_000_000))
    monkeypatch.setattr(os, "read", Changing(path, 99, CHANGES[how]))
    with pytest.raises(SourceFileNotFoundError, match="being written to"):
        artifacts.draft_file("busy.log", root=tmp_path)
    monkeypatch.undo()
    assert [p.name for p in artifacts._content.folder.rglob("*") if p.is_file()] == [
        draft.digest[2:]
    ]


@pytest.mark.parametrize("free", [0, 1 << 50])
def test_a_file_of_holes_is_read_only_where_its_size_has_room(
    artifacts, tmp_path, monkeypatch, free
):
    """Reading the zeros of one that claims terabytes would take hours, and keep nothing."""
    with (tmp_path / "image.bin").open("wb") as file:
        file.truncate(1 << 20)
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    if free:
        assert artifacts.draft_file("image.bin", root=tmp_path).size_bytes == 1 << 20
    else:
        with pytest.raises(SourceFileNotFoundError, match="mostly holes: 1,048,576 bytes"):
            artifacts.draft_file("image.bin", root=tmp_path)
