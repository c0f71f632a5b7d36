"""A worktree's folder is moved, or made again in another place, while somebody works in it."""

from __future__ import annotations

import shutil

import pytest

from support.git_project import git

DONE = {"summary": "done", "detailed_work": "all of it"}


def move_by_hand(_, source, target):
    """Move the folder as a person does."""
    shutil.move(source, target)


def move_by_git(project, source, target):
    """Move the folder as git does."""
    git(project, "worktree", "unlock", str(source))
    git(project, "worktree", "move", str(source), str(target))


@pytest.fixture
def work(team):
    """A task that is being worked on."""
    orch = team.open("a")
    orch.plan_task("Task")
    work = orch.execute_task("task", worktree=True)
    (work.path / "new.txt").write_text("saved\n")
    work.checkpoint({})
    return work


@pytest.mark.parametrize("move", [move_by_hand, move_by_git])
def test_the_work_knows_where_its_folder_is(team, work, move):
    """Path, briefing, relative files and the landing follow it."""
    before, target = work.path, work.path.with_name("renamed")
    move(team.folder("a"), before, target)
    assert work.path == target
    (work.path / "new.txt").write_text("after the move\n")
    (work.path / "notes.md").write_text("notes\n")
    assert str(target) in work.briefing()
    assert str(before) not in work.briefing()
    assert work.complete(**DONE, file_paths=["notes.md"]).status == "completed"
    orch = team.open("a")
    assert git(orch.project, "show", "integration:new.txt") == "after the move"
    assert {each.title for each in orch.artifacts.list(task="task")} == {"Task", "notes.md"}
    assert not target.exists()


def test_the_work_knows_where_its_folder_was_made_again(team, work):
    """Somebody's own folder took the place; another process made the worktree beside it."""
    before = work.path
    shutil.rmtree(before)
    before.mkdir()
    (before / "mine.txt").write_text("a person's own\n")
    assert work.path == before
    team.open("a").worktrees.create("task")
    assert work.path != before
    assert (work.path / "new.txt").read_text() == "saved\n"
    assert work.complete(**DONE).status == "completed"
    assert (before / "mine.txt").read_text() == "a person's own\n"


def test_a_lost_folder_is_where_it_was(work):
    """There is no better answer; saving says what is wrong."""
    before = work.path
    shutil.rmtree(before)
    assert work.path == before
    work.checkpoint({})
    assert str(before) in work.not_saved


def rename(folder):
    """Give the folder another name."""
    folder.rename(folder.with_name("renamed"))


def delete(folder):
    """Delete the folder."""
    shutil.rmtree(folder)


def replace(folder):
    """Put a folder of one's own in its place."""
    rename(folder)
    folder.mkdir()
    (folder / "mine.txt").write_text("a person's own")


@pytest.mark.parametrize("change", [rename, delete, replace])
def test_what_happens_to_the_folder_while_its_landing_is_checked(team, work, change):
    """What was checked lands, the worktree goes, and nothing of anybody else's."""
    folder = work.path
    work.complete(**DONE, merge="later")
    orch = team.open("a")
    orch.worktrees.merge("task", check=lambda _: change(folder) or True)
    assert orch.get_task("task").status == "completed"
    assert git(orch.project, "show", "integration:new.txt") == "saved"
    left = [path.name for path in folder.parent.rglob("*") if path.is_file()]
    assert left == (["mine.txt"] if change is replace else [])
    assert orch.check().findings == ()
