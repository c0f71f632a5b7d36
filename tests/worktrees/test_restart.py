"""The first call after the machine was started again: dead locks go, lost files come back."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from support.git_project import files_of
from vespera_orchestrator.home import machine
from vespera_orchestrator.worktrees import update
from vespera_orchestrator.worktrees.landed_mark import LandedMark
from vespera_orchestrator.worktrees.torn import is_part_of
from vespera_orchestrator.worktrees.tree_switch import TreeSwitch


@pytest.fixture
def start_again(monkeypatch):
    """A function after which the machine counts as started again, a moment ago."""

    def start():
        now = time.time()
        monkeypatch.setattr(machine, "boot_id", lambda: f"start of {now}")
        monkeypatch.setattr(machine, "started_at", lambda: now - 60)

    return start


def test_locks_from_before_the_start_are_gone(project, trees, start_again):
    """Nobody can hold them any more; a younger one may be somebody's, and stays."""
    worktree = trees.create("work")
    git_dir = project.folder / ".git"
    old = [git_dir / "refs/vespera/wip/work.lock", git_dir / "packed-refs.lock"]
    young = git_dir / "refs/vespera/wip/other.lock"
    young.parent.mkdir(parents=True, exist_ok=True)
    for lock in (*old, young):
        lock.touch()
    for lock in old:
        os.utime(lock, (time.time() - 3600,) * 2)
    start_again()
    project.write({"new.txt": "new"}, worktree.path)
    saved = project.open().snapshot("work")
    assert project.git("show", f"{saved.commit}:new.txt") == "new"
    assert not any(lock.exists() for lock in old)
    assert young.exists()


def test_locks_of_git_in_a_worktree_are_gone_after_the_start(project, trees, start_again):
    """They keep the agent from every git command."""
    worktree = trees.create("work")
    lock = project.folder / ".git" / "worktrees" / "work" / "index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 3600,) * 2)
    start_again()
    project.open().snapshot("work")
    project.git("add", "-A", cwd=worktree.path)


def test_a_lock_where_the_index_is_missing_is_in_nobodys_way(project, trees):
    """The lock may be that of a kill, or of the agent's git."""
    worktree = trees.create("work")
    project.write({"new.txt": "new"}, worktree.path)
    trees.snapshot("work")
    admin = project.folder / ".git" / "worktrees" / "work"
    admin.joinpath("index").rename(admin / "index.lock")
    assert project.open().create("work").path == worktree.path
    admin.joinpath("index.lock").unlink()
    assert project.git("status", "--porcelain", cwd=worktree.path) == "?? new.txt"


def test_a_folder_in_which_all_files_are_missing_gets_them_back(project, trees, start_again):
    """Their names had not come to the disk. That is no wish to delete the project."""
    worktree = trees.create("work")
    project.write({"new.txt": "new"}, worktree.path)
    trees.snapshot("work")
    files = [path for path in Path(worktree.path).rglob("*") if path.is_file()]
    for path in files:
        if path.name != ".git":
            path.unlink()
    start_again()
    saved = project.open().snapshot("work")
    assert project.git("show", f"{saved.commit}:new.txt") == "new"
    assert all(path.exists() for path in files)


def test_a_deletion_before_a_restart_stays_one(project, trees, start_again):
    """As long as anything is there."""
    worktree = trees.create("work")
    trees.snapshot("work")
    Path(worktree.path, "a.txt").unlink()
    start_again()
    saved = project.open().snapshot("work")
    assert "a.txt" not in project.git("ls-tree", "--name-only", saved.commit).split()


def test_the_machine_says_when_it_was_started():
    """Where the system tells."""
    assert 0 <= machine.started_at() < time.time()


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "NULs"])
def test_a_repository_inside_is_restored(project, trees, start_again, how):
    """Its files, its index and what names its commits; what was changed there since stays."""
    app = Path(trees.create("work").path, "app")
    app.mkdir()
    project.git("init", "-q", cwd=app)
    project.commit("inside", {"a.txt": "a\n" * 20, "b.txt": "b\n" * 20, "c.txt": "c\n"}, app)
    commit = project.git("rev-parse", "HEAD", cwd=app)
    project.write({"a.txt": "edited\n" * 20}, app)
    trees.snapshot("work")
    project.write({"c.txt": "c\nnew since\n"}, app)
    damage(app / "b.txt", "cut")
    for name in ("a.txt", ".git/index", ".git/HEAD", ".git/refs/heads/main"):
        damage(app / name, how)
    start_again()
    project.open().snapshot("work")
    assert files_of(app) == {
        b"a.txt": (False, b"edited\n" * 20),
        b"b.txt": (False, b"b\n" * 20),
        b"c.txt": (False, b"c\nnew since\n"),
    }
    assert project.git("rev-parse", "HEAD", cwd=app) == commit
    assert project.git("status", "--porcelain", cwd=app) == " M a.txt\n M c.txt"


# --- power fails in the middle of catching up -------------------------------------------


class PowerFailedError(BaseException):
    """Nothing goes on after it."""


@pytest.fixture
def interrupted(project, trees, monkeypatch):
    """A worktree into which landed work was half brought when power failed, and its folder.

    Beside ``a.txt``, which both changed, ``src/b.py`` grew by a line, ``gone.txt`` is gone, and
    ``n/new.txt`` is new.
    """
    folder = Path(trees.create("work").path)
    project.write({"a.txt": "one\nmine\nthree\n"}, folder)
    before = files_of(folder)
    other = Path(trees.create("other").path)
    new = {"a.txt": "one\nlanded\nthree\n", "src/b.py": "b = 1\nc = 2\n", "n/new.txt": "n\n"}
    project.write(new, other)
    other.joinpath("gone.txt").unlink()
    trees.merge("other", message="landed")
    trees.remove("other")

    def fail_at(place, name):
        def fail(*_):
            raise PowerFailedError

        with monkeypatch.context() as patch:
            patch.setattr(place, name, fail)
            patch.setattr(update, "_finish", lambda *_, **__: None)
            with pytest.raises(PowerFailedError):
                trees.catch_up("work")
        return folder, before

    return fail_at


def assert_as_before(project, folder, before):
    """The files are those from before, and catching up goes on from there."""
    trees = project.open()
    saved = trees.snapshot("work")
    assert files_of(folder) == before
    assert project.git("show", f"{saved.commit}:a.txt") == "one\nmine\nthree"
    assert trees.check() == []
    assert trees.catch_up("work") == ("a.txt",)
    text = folder.joinpath("a.txt").read_text()
    assert [text.count(word) for word in ("mine", "landed", "<<<<<<<")] == [1, 1, 1]
    assert folder.joinpath("n/new.txt").read_text() == "n\n"
    assert folder.joinpath("src/b.py").read_text() == "b = 1\nc = 2\n"
    project.assert_sound()


def damage(path, how):
    """Leave of a file what a power cut may leave."""
    content = path.read_bytes()
    path.unlink()
    if how == "missing":
        return
    kept = content[: len(content) // 2]
    remains = {"empty": b"", "cut": kept, "NULs": kept + bytes(len(content) - len(kept))}
    path.write_bytes(remains[how])


@pytest.mark.parametrize("is_room_lost", [False, True])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "NULs"])
def test_what_was_half_brought_in_is_no_edit(project, interrupted, start_again, how, is_room_lost):
    """However the files were damaged, and whether or not the old ones are still there."""
    folder, before = interrupted(TreeSwitch, "sync_names")
    for name in ("a.txt", "src/b.py", "n/new.txt"):
        damage(folder / name, how)
    if is_room_lost:
        for place in project.folder.rglob("vespera-catching-up/*"):
            if place.is_dir():
                shutil.rmtree(place)
    start_again()
    assert_as_before(project, folder, before)


def test_what_was_brought_in_and_not_marked_is_no_edit(project, interrupted, start_again):
    """The last snapshot has it all already; what is shorter than there was not cut by a power
    failure.
    """
    folder, before = interrupted(LandedMark, "write")
    start_again()
    assert_as_before(project, folder, before)


def test_repair_takes_back_what_was_half_brought_in(project, interrupted, start_again):
    """And says so."""
    folder, before = interrupted(TreeSwitch, "sync_names")
    damage(folder / "a.txt", "cut")
    start_again()
    assert any("Undid what was half written" in line for line in project.open().repair())
    assert_as_before(project, folder, before)


def test_an_edit_in_the_middle_of_it_is_kept(project, interrupted, start_again):
    """In a file that was brought in, in one that was moved away, and in one that is gone."""
    folder, _ = interrupted(TreeSwitch, "sync_names")
    project.write({"n/new.txt": "n\nand mine\n", "gone.txt": "not gone\n"}, folder)
    folder.joinpath("a.txt").unlink()
    (moved,) = [
        path
        for path in project.folder.rglob("vespera-catching-up/out/*")
        if path.read_text() == "one\nmine\nthree\n"
    ]
    moved.write_text("one\nmine at last\nthree\n")
    start_again()
    saved = project.open().snapshot("work")
    for name, text in {
        "n/new.txt": "n\nand mine",
        "gone.txt": "not gone",
        "a.txt": "one\nmine at last\nthree",
        "src/b.py": "b = 1",
    }.items():
        assert project.git("show", f"{saved.commit}:{name}") == text
    project.assert_sound()


def test_what_looks_torn_is_kept_in_git(project, interrupted, start_again):
    """Somebody may have cut the file off there: a rescue ref holds it."""
    folder, before = interrupted(TreeSwitch, "sync_names")
    folder.joinpath("a.txt").write_text("one\n")
    start_again()
    assert_as_before(project, folder, before)
    refs = project.git("for-each-ref", "--format=%(refname)", "refs/vespera/rescue/").split()
    assert "one" in [project.git("show", f"{ref}:a.txt") for ref in refs]


def test_parts_of_a_file():
    """Whatever pieces had come to the disk, but nothing else."""
    whole = random.Random(1).randbytes(20_000)
    nothing = bytes(4096)
    for part in (
        b"",
        whole,
        whole[:100],
        whole[:100] + bytes(50),
        nothing + whole[4096:9000],
        whole[:4096] + nothing + whole[8192:],
    ):
        assert is_part_of(part, whole)
    for other in (whole + b"\0", b"x", whole[1:100], whole[:4096] + whole[:4096]):
        assert not is_part_of(other, whole)
