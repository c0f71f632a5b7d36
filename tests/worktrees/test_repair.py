"""Tidying up: what is taken away, what never is, and how removed work is found again; judged by the
git command line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pygit2
import pytest

from support.git_project import files_of
from vespera_orchestrator.worktrees.packs import UNFINISHED_PREFIX


def make_old(path):
    """Give the file a time two hours ago."""
    os.utime(path, (time.time() - 7200,) * 2)


def test_admin_directories_that_mislead_libgit2_are_removed(project, trees):
    """Empty ones that a failed ``add_worktree`` left are removed once they are old; nothing that
    holds anything is.
    """
    trees.create("work")
    admins = project.folder / ".git" / "worktrees"
    for name in ("poison1", "poison2"):
        admins.joinpath(name).mkdir()
    admins.joinpath("theirs").mkdir()
    admins.joinpath("theirs", "gitdir").write_text(f"{project.folder.parent}/nowhere/.git\n")
    assert trees.repair() == []  # somebody may be making them just now
    for path in admins.iterdir():
        make_old(path)
    said = trees.repair()
    assert len(said) == 2
    assert all("empty admin directory" in line for line in said)
    assert admins.joinpath("theirs", "gitdir").exists()
    other = project.folder.parent / "other"
    pygit2.Repository(str(project.folder)).add_worktree("other", str(other))
    assert (other / "a.txt").exists()
    assert trees.repair() == []


def test_unfinished_objects_are_removed_when_old(project, trees):
    """A temporary object of libgit2's that nobody can be writing any more goes, and so does a pack
    of ours, in a folder or not; a young one stays, and what is git's.
    """
    objects = project.folder / ".git" / "objects"
    room = objects / f"{UNFINISHED_PREFIX}room"
    room.mkdir()
    old = [objects / "tmp_object_git2_old", objects / f"{UNFINISHED_PREFIX}old.pack", room]
    young = [objects / "tmp_object_git2_young", objects / f"{UNFINISHED_PREFIX}young.idx"]
    gits = objects / "tmp_obj_git"
    for path in (*old[:2], *young, gits):
        path.touch()
    for path in (*old, gits):
        make_old(path)
    assert len(trees.repair()) == len(old)
    assert [path for path in (*old, *young, gits) if path.exists()] == [*young, gits]


def test_records_and_folders_that_lost_each_other(project, trees):
    """An open task's vanished worktree is made again by the next attempt; an ended one's record is
    closed, its files kept; a folder whose record is gone comes back into the records.
    """
    store = project.stores[0]
    saved = {}
    for name in ("work", "other", "fresh"):
        worktree = trees.create(name)
        project.write({"n.txt": name}, worktree.path)
        saved[name] = trees.snapshot(name).commit
    for name in ("work", "other"):
        project.git("worktree", "unlock", trees.find(name).path)
        project.git("worktree", "remove", "--force", trees.find(name).path)
    store.cancel(trees.find("other").task_id, "", subtree=False)
    with store._database.write() as db:
        db.execute("DELETE FROM worktrees WHERE name = 'fresh'")
    said = trees.repair()
    assert [line.split()[0] for line in said] == ["Took", "Closed"]
    assert trees.repair() == []
    assert trees.find("other") is None
    [rescued] = trees.rescue()
    assert project.git("show", f"{rescued.ref}:n.txt") == "other"
    assert Path(trees.find("fresh").path, "n.txt").read_text() == "fresh"
    assert Path(trees.create("work").path, "n.txt").read_text() == "work"
    project.assert_sound()


def test_a_lock_that_a_living_git_holds_is_left(project, trees):
    """Locks of other programs stay, however old the evidence looks, and what was not asked for is
    not touched.
    """
    trees.create("work")
    locks = [
        project.folder / ".git" / name
        for name in (
            "index.lock",
            "HEAD.lock",
            "packed-refs.lock",
            "refs/heads/main.lock",
            "config.lock",
        )
    ]
    for path in locks:
        path.touch()
        make_old(path)
    assert trees.repair() == []
    assert all(path.exists() for path in locks)
    for path in locks:
        path.unlink()


def test_every_removal_leaves_a_way_back(project, trees, tmp_path):
    """Removed twice under the same name, both states are listed and restored, the folder gone or
    not.
    """
    for number in range(2):
        worktree = trees.create("work")
        project.write({"n.txt": str(number), "m/o.txt": "o"}, worktree.path)
        trees.snapshot("work")
        if number:
            shutil.rmtree(worktree.path)
        trees.remove("work")
    backs = [
        trees.restore(rescued, tmp_path / f"back {number}")
        for number, rescued in enumerate(trees.rescue())
    ]
    assert sorted(files_of(back)[b"n.txt"][1] for back in backs) == [b"0", b"1"]
    project.git("gc", "-q", "--prune=now")
    assert len(trees.rescue()) == 2
    project.assert_sound()


@pytest.mark.parametrize("pack", [False, True])
def test_a_ref_is_removed_beside_packed_ones(project, trees, pack):
    """Taking a ref of ours out of ``packed-refs`` leaves every other line, annotated tags'
    included, and git's own lock is respected.
    """
    worktree = trees.create("work")
    project.git("tag", "-a", "-m", "annotated", "v1")
    project.write({"n.txt": "n"}, worktree.path)
    trees.snapshot("work")
    if pack:
        project.git("pack-refs", "--all")
    before = set(
        project.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").split("\n")
    )
    trees.remove("work")
    after = set(
        project.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").split("\n")
    )
    assert {line.split()[0] for line in before - after} == {
        "refs/heads/feature/work",
        "refs/vespera/wip/work",
    }
    assert {line.split()[0].rpartition("/")[0] for line in after - before} == {
        "refs/vespera/rescue"
    }
    subprocess.run(["git", "pack-refs", "--all"], cwd=project.folder, check=True)
    project.assert_sound()


@pytest.mark.parametrize("has_folder", [False, True])
def test_an_older_copy_of_the_repository_was_put_back(project, trees, has_folder):
    """What has landed since is missing, and stays told: repairing does not make the records forget
    it, and the command that is named brings it.
    """
    worktree = trees.create("work")
    project.write({"w.txt": "saved"}, worktree.path)
    trees.snapshot(worktree)
    git_dir, backup = project.folder / ".git", project.folder.with_name("backup")
    shutil.copytree(git_dir, backup, symlinks=True)
    shutil.copytree(worktree.path, f"{backup}-work")
    trees.merge(worktree, message="work")
    landed = trees.remove(worktree).landed
    newer = project.folder.with_name("newer.git")
    shutil.move(git_dir, newer)
    shutil.move(backup, git_dir)
    if has_folder:
        shutil.move(f"{backup}-work", worktree.path)
    (said,) = trees.repair()
    assert ("back into the records" in said) == has_folder
    (record,) = trees.list(include_removed=True)
    assert record.landed == landed
    lost = next(each for each in trees.check() if "which landed" in each.sentence)
    project.git(*lost.remedy.rpartition(": ")[2].replace("CLONE", str(newer)).split()[1:])
    assert lost not in trees.check()
    assert trees.repair() == []
    project.assert_sound()


def test_what_cannot_be_repaired_keeps_nothing_else_from_it(project, trees):
    """It is named, and stays as it is; what comes after it is repaired all the same."""
    locks = project.folder / ".task_orchestrator" / "locks"
    locks.mkdir(exist_ok=True)
    locks.joinpath("landing.json").write_text("{")
    worktree = trees.create("work")
    project.git("worktree", "unlock", worktree.path)
    admins = project.folder / ".git" / "worktrees"
    admins.joinpath("poison").mkdir()
    make_old(admins / "poison")
    failed, *others = trees.repair()
    assert failed.startswith("Could not repair a landing that was killed: ")
    assert "delete it" in failed
    assert any("Locked the worktree work" in line for line in others)
    assert any("empty admin directory" in line for line in others)
    locks.joinpath("landing.json").unlink()
    assert trees.repair() == []
