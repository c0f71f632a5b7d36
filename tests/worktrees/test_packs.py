"""Packs of ours are put together when they are many, and nothing is lost, whoever is at work."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import random
import subprocess
import time
from pathlib import Path

import pygit2
import pytest

from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.worktrees import durability, packs, removal, staging
from vespera_orchestrator.worktrees.refs import Refs


@pytest.fixture
def folder(project):
    """The folder of packs."""
    place = project.folder / ".git" / "objects" / "pack"
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture
def repo(project):
    """The repository, as pygit2 sees it."""
    return pygit2.Repository(str(project.folder))


def write_packs(repo, count, start=0):
    """Write packs of one blob each, which nothing refers to; return the names of the blobs."""
    names = []
    for number in range(start, start + count):
        name = str(repo.create_blob(f"content {number}\n".encode()))
        packs.write_pack(repo, [name])
        Path(repo.path, "objects", name[:2], name[2:]).unlink()
        names.append(name)
    return names


def packs_in(folder):
    """The names of all packs."""
    return sorted(path.stem for path in folder.glob("*.idx"))


def content_of(project, name):
    """What git reads of an object."""
    return project.git("cat-file", "blob", name)


def test_many_become_one(project, repo, folder):
    """With all objects of theirs; and few stay as they are."""
    names = write_packs(repo, packs.MANY - 1)
    assert not packs.has_many_packs(project.folder / ".git")
    assert packs.gather_packs(repo) == 0
    names += write_packs(repo, 1, start=packs.MANY)
    assert packs.has_many_packs(project.folder / ".git")
    assert packs.gather_packs(repo) == packs.MANY
    assert len(packs_in(folder)) == 1
    assert sorted(path.suffix for path in folder.iterdir()) == [".idx", ".pack"]
    for name in names:
        assert content_of(project, name).startswith("content ")
    project.assert_sound()
    assert list(folder.parent.glob(f"{packs.UNFINISHED_PREFIX}*")) == []


def test_the_same_objects_make_another_pack_each_time(repo, folder):
    """A pack that was there may be about to be deleted by a ``git gc`` that has seen it."""
    (name,) = write_packs(repo, 1)
    again = packs.write_pack(repo, [name], keep=True)
    assert len(packs_in(folder)) == 2
    assert folder.joinpath(f"{again}.keep").exists()
    packs.release_pack(Path(repo.path), again)
    assert not list(folder.glob("*.keep"))


def test_a_save_is_done_where_its_pack_cannot_be_released(project, trees, folder, monkeypatch):
    """The ref has moved by then. The pack stays as it is until somebody can release it."""
    worktree = trees.create("work")
    project.write({"n.txt": "n"}, Path(worktree.path))
    unlink = Path.unlink

    def refuse(path, **options):
        if path.suffix == ".keep":
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    commit = trees.snapshot("work").commit
    assert project.git("rev-parse", "refs/vespera/wip/work") == commit
    removed = trees.remove("work")
    assert removed.rescue_ref is not None
    monkeypatch.undo()
    assert list(folder.glob("*.keep"))
    project.assert_sound()


def test_a_removal_that_the_system_refuses_says_so(trees, monkeypatch):
    """It is an error of ours, so that a completion that comes to it is done all the same."""
    trees.create("work")
    with monkeypatch.context() as patch:
        patch.setattr(removal, "take_down", lambda *_: os.rmdir("/nowhere"))  # noqa: PTH106
        with pytest.raises(GitFailedError, match="cannot remove the worktree work"):
            trees.remove("work")
    assert trees.remove("work").state == "removed"


def test_what_a_killed_process_kept_is_released(trees, repo, folder):
    """Only what is ours, and old enough that nobody can be moving a ref just now."""
    (name,) = write_packs(repo, 1)
    ours, young, theirs = (packs.write_pack(repo, [name], keep=True) for _ in range(3))
    folder.joinpath(f"{theirs}.keep").write_text("mine")
    for pack in (ours, theirs):
        os.utime(folder / f"{pack}.keep", (time.time() - 7200,) * 2)
    (said,) = trees.repair()
    assert ours in said
    assert {note.stem for note in folder.glob("*.keep")} == {young, theirs}


def test_who_reads_meanwhile_reads_on(project, repo):
    """Git and libgit2 that opened the repository before look again when a pack is gone."""
    names = write_packs(repo, packs.MANY)
    reader = pygit2.Repository(str(project.folder))
    assert reader[names[0]].data == b"content 0\n"
    command = ["git", "cat-file", "--batch-check"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=project.folder, stdin=pipe, stdout=pipe, text=True) as batch:
        batch.stdin.write(f"{names[0]}\n")
        batch.stdin.flush()
        assert "blob" in batch.stdout.readline()
        packs.gather_packs(repo)
        assert [reader[name].data for name in names[1:]] == [
            f"content {number}\n".encode() for number in range(1, packs.MANY)
        ]
        out, _ = batch.communicate("\n".join(names[1:]))
        assert out.count("blob") == packs.MANY - 1


def test_special_packs_are_left_alone(repo, folder):
    """Somebody else made them, or wants them to stay."""
    suffixes = [".keep", ".promisor", ".bitmap", ".mtimes", ".rev"]
    write_packs(repo, packs.MANY + len(suffixes))
    special = packs_in(folder)[: len(suffixes)]
    for name, suffix in zip(special, suffixes, strict=True):
        folder.joinpath(name + suffix).touch()
    assert packs.gather_packs(repo) == packs.MANY
    assert set(special) < set(packs_in(folder))
    assert len(packs_in(folder)) == len(special) + 1


def test_gits_own_list_of_packs_is_respected(project, repo, folder):
    """Where ``git maintenance`` keeps one, git cares for the packs."""
    write_packs(repo, packs.MANY)
    project.git("multi-pack-index", "write")
    assert packs.gather_packs(repo) == 0
    assert len(packs_in(folder)) == packs.MANY


def test_a_large_pack_waits_for_its_like(repo, folder, monkeypatch):
    """So an object is not copied each time, and in the end there are few packs all the same."""
    monkeypatch.setattr(packs, "_SMALL_BYTES", 200)
    large = str(repo.create_blob(random.Random(1).randbytes(3000)))
    first = packs.write_pack(repo, [large])
    is_there = []
    for turn in range(12):
        write_packs(repo, packs.MANY, start=packs.MANY * turn)
        packs.gather_packs(repo)
        is_there.append(first in packs_in(folder))
    assert is_there[:2] == [True, True]
    assert not is_there[-1]
    assert len(packs_in(folder)) < 5


def test_a_gc_in_the_middle(project, repo, folder, monkeypatch):
    """It takes away what is just being read: nothing changes, and what a ref holds is there."""
    names = write_packs(repo, packs.MANY)
    held = names[: packs.MANY // 2]
    for name in held:
        repo.references.create(f"refs/tags/{name}", name)
    write = packs.write_pack

    def write_after_gc(*arguments):
        project.git("gc", "-q", "--prune=now")
        return write(*arguments)

    monkeypatch.setattr(packs, "write_pack", write_after_gc)
    before = packs_in(folder)
    with pytest.raises((KeyError, pygit2.GitError)):
        packs.gather_packs(repo)
    assert before != packs_in(folder)
    for name in held:
        assert content_of(project, name).startswith("content ")
    project.assert_sound()


def test_saving_keeps_the_number_small(project, trees):
    """However often files are saved."""
    worktree = trees.create("work")
    for number in range(packs.MANY * 2):
        project.write({"new.txt": str(number)}, folder=worktree.path)
        trees.snapshot(worktree)
    count = len(packs_in(project.folder / ".git" / "objects" / "pack"))
    assert 0 < count <= packs.MANY
    assert project.git("show", "refs/vespera/wip/work:new.txt") == str(packs.MANY * 2 - 1)
    project.assert_sound()


# --- git that deletes what no ref names ---------------------------------------------


class Tidying:
    """What ``git repack -a -d`` and ``git prune --expire=now`` do, in two halves.

    The first half looks what there is and what refs name; the second deletes the rest of what the
    first one saw. Between the two, others go on.
    """

    def __init__(self, project):
        self._project = project
        self._folder = project.folder / ".git" / "objects" / "pack"
        self._packs = None
        self._is_named = set()

    @property
    def is_half_done(self):
        return self._packs is not None

    def begin(self):
        kept = {note.stem for note in self._folder.glob("*.keep")}
        self._packs = {path.stem for path in self._folder.glob("*.idx")} - kept
        everything = ["--all", "--reflog", "--indexed-objects"]
        listed = self._project.git("rev-list", "--objects", *everything)
        self._is_named = {line.split()[0] for line in listed.splitlines()}
        new = self._project.git("pack-objects", "-q", *everything, str(self._folder / "pack"))
        self._packs.discard(f"pack-{new}")

    def finish(self):
        for name in self._packs:
            for suffix in (".idx", ".pack", ".rev"):
                self._folder.joinpath(name + suffix).unlink(missing_ok=True)
        for loose in self._folder.parent.glob("[0-9a-f][0-9a-f]/*"):
            if loose.parent.name + loose.name not in self._is_named:
                loose.unlink()
        self._packs = None


@pytest.mark.parametrize("length", [1, 4])
def test_whatever_git_deletes_in_the_middle_is_written_again(project, trees, monkeypatch, length):
    """It begins at any moment of a save, a landing or a removal, and ends some moments later."""
    tidying = Tidying(project)
    moments = 0
    begin = 0

    def moment():
        nonlocal moments
        moments += 1
        if moments == begin:
            tidying.begin()
        elif tidying.is_half_done and moments == begin + length:
            tidying.finish()

    def noticing(function):
        @functools.wraps(function)
        def call(*arguments, **named):
            moment()
            try:
                return function(*arguments, **named)
            finally:
                moment()

        return call

    monkeypatch.setattr(durability, "write_pack", noticing(durability.write_pack))
    monkeypatch.setattr(staging, "write_new_pack", noticing(staging.write_new_pack))
    monkeypatch.setattr(Refs, "move", noticing(Refs.move))
    for number in itertools.count(1):
        name = f"w{number}"
        begin = 0
        worktree = trees.create(agent=name)
        moments, begin = 0, number
        project.write({f"{name}.txt": name, "same.txt": "the same each time"}, worktree.path)
        trees.snapshot(worktree)
        trees.merge(worktree, message=name)
        trees.remove(worktree)
        if tidying.is_half_done:
            tidying.finish()
        assert project.git("show", f"integration:{name}.txt") == name
        project.assert_sound()
        if moments < begin:
            break
    assert number > 10
