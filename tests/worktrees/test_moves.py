"""Projects, their parents and worktrees that are moved or copied go on; originals stay alone."""

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import SESSION, Project, files_of
from vespera_orchestrator.worktrees import integration
from vespera_orchestrator.worktrees.refs import WIP


@pytest.fixture
def room(make, tmp_path):
    """A folder with a project and its worktrees in it, one with unsaved edits."""
    project = make(name="room/project", files={"a.txt": "a\n"})
    trees = project.open()
    worktree = trees.create("work")
    project.write({"saved.txt": "saved"}, worktree.path)
    trees.snapshot("work")
    project.write({"unsaved.txt": "unsaved"}, worktree.path)
    return tmp_path / "room"


def reopened(room, project, stores):
    """Open the project at its new place."""
    moved = Project(room / project)
    moved.stores = stores
    return moved, moved.open()


@pytest.fixture
def stores():
    """What is opened at new places, and closed at the end."""
    stores = []
    yield stores
    for store in stores:
        store.close()


def make_old(room):
    """Make notes and records those of older versions: absolute paths, and nothing else."""
    for note in room.glob("project/.git/worktrees/*/vespera_orchestrator.json"):
        fields = json.loads(note.read_text())
        del fields["common"], fields["folder_in_git"]
        for name in ("home_id", "machine", "project"):
            del fields["worktree"][name]
        note.write_text(json.dumps(fields))
    with closing(sqlite3.connect(room / "project/.task_orchestrator/orchestrator.db")) as database:
        database.execute("UPDATE worktrees SET home_id = '', machine = '', project = ''")
        database.commit()


def assert_at_work(project, trees, expected):
    """Let the worktree be saved, landed and removed at its new place."""
    worktree = trees.create("work")
    assert {name for name in expected if Path(worktree.path, name).exists()} == set(expected)
    project.git("status", cwd=worktree.path)
    assert trees.check() == []
    assert trees.repair() == []
    trees.merge("work")
    landed = project.git("ls-tree", "-r", "--name-only", "integration").split()
    assert set(expected) <= set(landed)
    assert not Path(trees.remove("work").path).exists()
    project.assert_sound()
    return worktree


@pytest.mark.parametrize("old_note", [False, True], ids=["note", "old note"])
@pytest.mark.parametrize("repaired_by", ["nobody", "us", "git"])
@pytest.mark.parametrize("moved", ["project", "parent"])
def test_moved(room, stores, moved, repaired_by, old_note):
    """After the project or its parent was moved, the folder is found with its unsaved edits."""
    if old_note:
        make_old(room)
    if moved == "project":
        (room / "project").rename(room / "renamed")
        project, trees = reopened(room, "renamed", stores)
    else:
        room = room.rename(room.with_name("elsewhere"))
        project, trees = reopened(room, "project", stores)
    [finding] = trees.check()
    assert finding.remedy == "orch.repair() fixes this"
    if repaired_by == "us":
        [line] = trees.repair()
        assert line == f"Found the worktree work at {room}/worktrees/work, where it was moved."
        assert trees.check() == []
        assert trees.find("work").path == str(room / "worktrees" / "work")
    elif repaired_by == "git":
        project.git("worktree", "repair", str(room / "worktrees" / "work"))
    worktree = assert_at_work(project, trees, ["saved.txt", "unsaved.txt"])
    assert worktree.path == str(room / "worktrees" / "work")


def test_moved_while_at_work(room, stores):
    """A snapshot finds the folder by itself, and the record says where it is."""
    (room / "project").rename(room / "renamed")
    project, trees = reopened(room, "renamed", stores)
    assert trees.snapshot("work").changed
    assert project.git("show", f"{WIP}work:unsaved.txt") == "unsaved"


@pytest.mark.parametrize("how", ["git", "mv", "link"])
def test_a_worktree_that_was_moved(room, stores, how):
    """Moved by git, by hand, or with a link left in its place: it is the same worktree."""
    folder = room / "worktrees" / "work"
    project, trees = reopened(room, "project", stores)
    place = folder.with_name("moved")
    if how == "git":
        place = room / "far" / "moved"
        place.parent.mkdir()
        project.git("worktree", "unlock", str(folder))
        project.git("worktree", "move", str(folder), str(place))
        project.git("worktree", "lock", str(place))
    else:
        folder.rename(place)
    if how == "link":
        folder.symlink_to(place)
    assert trees.snapshot("work").changed
    assert trees.find("work").path == str(place)
    assert_at_work(project, trees, ["saved.txt", "unsaved.txt"])


@pytest.mark.parametrize("moved", ["project", "parent", "project and parent"])
def test_both_have_another_name(room, stores, moved):
    """The worktree's folder was renamed, and so was the project or what both are in."""
    room.joinpath("worktrees", "work").rename(room / "worktrees" / "renamed")
    name = "project"
    if "project" in moved:
        name = "other"
        (room / "project").rename(room / name)
    if "parent" in moved:
        room = room.rename(room.with_name("elsewhere"))
    project, trees = reopened(room, name, stores)
    assert trees.snapshot("work").changed
    assert trees.find("work").path == str(room / "worktrees" / "renamed")
    assert_at_work(project, trees, ["saved.txt", "unsaved.txt"])


@pytest.mark.parametrize("copied", ["project", "worktree"])
def test_a_renamed_folder_of_the_original_is_not_taken_by_a_copy(room, stores, copied):
    """Whoever copies the project, or the renamed folder, gets nothing of the other's."""
    folder = room.joinpath("worktrees", "work").rename(room / "worktrees" / "renamed")
    if copied == "project":
        shutil.copytree(room / "project", room / "copy", symlinks=True)
        _, trees = reopened(room, "project", stores)
        assert trees.snapshot("work").changed
        _, trees = reopened(room, "copy", stores)
    else:
        shutil.copytree(folder, folder.with_name("twin"), symlinks=True)
        (room / "project").rename(room / "other")
        _, trees = reopened(room, "other", stores)
    with pytest.raises((vespera.WorktreeElsewhereError, vespera.WorktreeFolderLostError)):
        trees.snapshot("work")
    assert folder.joinpath("unsaved.txt").read_text() == "unsaved"


def test_moved_far_away_by_hand(room, stores):
    """Nobody can find it; the remedies in the error both work."""
    folder = room / "worktrees" / "work"
    project, trees = reopened(room, "project", stores)
    far = room / "far"
    folder.rename(far)
    assert [finding.subject for finding in trees.check()] == ["work"]
    project.git("worktree", "repair", str(far))
    assert trees.snapshot("work").changed
    assert trees.find("work").path == str(far)


def test_two_places_in_turn(room, stores):
    """A container sees the project elsewhere: whoever comes next finds it again, every time."""
    for number in range(3):
        here = room.with_name(f"mount {number}")
        room = room.rename(here)
        project, trees = reopened(room, "project", stores)
        project.write({"count.txt": str(number)}, room / "worktrees" / "work")
        assert trees.snapshot("work").changed
        assert project.git("show", f"{WIP}work:count.txt") == str(number)
    assert trees.repair() == []


@pytest.mark.parametrize("old_note", [False, True], ids=["note", "old note"])
@pytest.mark.parametrize("copied", ["project beside", "project elsewhere", "parent"])
def test_a_copy_never_touches_the_original(room, stores, copied, old_note):
    """It makes its own folder with the last save, and the original goes on as if alone.

    A record of an earlier version names no home: then a copied folder is taken with the project.
    """
    if old_note:
        make_old(room)
    expected = {"a.txt", "saved.txt"}
    if copied == "project beside":
        home = room
        shutil.copytree(room / "project", room / "copy", symlinks=True)
    elif copied == "project elsewhere":
        home = room.with_name("other")
        shutil.copytree(room / "project", home / "copy", symlinks=True)
    else:
        home = room.with_name("other")
        shutil.copytree(room, home, symlinks=True)
        (home / "project").rename(home / "copy")
        if old_note:
            expected.add("unsaved.txt")
    original = room / "worktrees" / "work"
    before = files_of(original), files_of(room / "project" / ".git")
    copy = Project(home / "copy")
    with vespera.open(copy.folder, session=SESSION) as orch:
        orch.worktrees.repair()
        work = orch.execute_task("work", worktree=True)
        assert work.path != original
        assert {path.name for path in work.path.iterdir()} == {*expected, ".git"}
        work.complete(summary="done", detailed_work="all of it")
        assert orch.worktrees.check() == []
    landed = copy.git("ls-tree", "-r", "--name-only", "integration").split()
    assert set(landed) == expected
    copy.assert_sound()
    assert (files_of(original), files_of(room / "project" / ".git")) == before
    project, trees = reopened(room, "project", stores)
    assert trees.check() == []
    assert_at_work(project, trees, ["saved.txt", "unsaved.txt"])


def test_a_copy_lands_only_in_its_own_checkouts(room, stores):
    """Git's entries in a copy name the original's checkouts; they are not written."""
    project, _ = reopened(room, "project", stores)
    holder = room / "holder"
    project.git("worktree", "add", "-q", str(holder), "integration")
    shutil.copytree(room / "project", room.with_name("other") / "copy", symlinks=True)
    before = files_of(holder)
    copy = Project(room.with_name("other") / "copy")
    with vespera.open(copy.folder, session=SESSION) as orch:
        work = orch.execute_task("work", worktree=True)
        work.complete(summary="done", detailed_work="all of it")
    assert copy.git("show", "integration:saved.txt") == "saved"
    assert files_of(holder) == before
    assert project.git("status", "--porcelain", cwd=holder) == ""


def test_a_landing_that_was_killed_before_the_project_was_copied(room, stores, monkeypatch):
    """The copy undoes it in its own checkout, not in the original's."""
    project, trees = reopened(room, "project", stores)
    project.git("checkout", "-q", "integration")

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(integration, "_recover", lambda _: None)
        patch.setattr(integration._Checkout, "write_index", die)
        with pytest.raises(KeyboardInterrupt):
            trees.merge("work")
    assert (room / "project" / "saved.txt").exists()
    project.folder.joinpath(".git", "index.lock").unlink()
    subprocess.run(["cp", "-a", room / "project", room / "copy"], check=True)
    copy, trees = reopened(room, "copy", stores)
    [line] = [line for line in trees.repair() if "landing" in line]
    assert str(copy.folder) in line
    assert not (copy.folder / "saved.txt").exists()
    assert (project.folder / "saved.txt").exists()
