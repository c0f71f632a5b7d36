"""Work saves itself while its agent uses it: no agent has to remember to."""

from __future__ import annotations

import shutil

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository


@pytest.fixture
def project(tmp_path):
    """A repository with one commit."""
    return make_repository(tmp_path / "project", {"a.txt": "one\n"})


@pytest.fixture
def orch(project, clock):
    """The façade, with a task."""
    with vespera.open(project, clock=clock) as opened:
        opened.initialize_session("Goal")
        opened.plan_task("A")
        yield opened


def checkpoints(orch):
    """Return the kinds of saves that the log tells of, with the note of each."""
    events = orch._store.events(kinds=["checkpoint_saved"])
    return [event.data["note"] for event in events]


def write(work, text):
    """Write a file as an agent does that knows nothing of saving."""
    (work.path / "a.txt").write_text(text)


def test_an_agent_that_only_writes_files_loses_at_most_the_interval(orch, clock):
    """It asks for its folder and writes; its last save is never older than ten minutes."""
    work = orch.execute_task("a", worktree=True)
    for minute in range(45):
        write(work, f"minute {minute}\n")
        clock.advance(minutes=1)
    assert len(checkpoints(orch)) == 4
    folder = work.path
    clock.advance(hours=9)  # the agent is gone, and so is its folder
    shutil.rmtree(folder)
    again = orch.execute_task("a")
    assert (again.path / "a.txt").read_text() == "minute 39\n"


def test_one_number_stands_for_state_note_and_files(orch, clock):
    """What the agent said last is repeated, with the files as they are now."""
    work = orch.execute_task("a", worktree=True)
    first = work.checkpoint({"n": 1}, "half", 0.5)
    write(work, "two\n")
    clock.advance(minutes=10)
    work.save_artifact("notes", "so far")
    saved = orch._store.last_checkpoint(orch.get_task("a").id)
    assert saved.id > first.id
    assert (saved.state, saved.note, saved.progress) == ({"n": 1}, "half", 0.5)
    assert git(orch.project, "show", f"{saved.snapshot}:a.txt") == "two"


@pytest.mark.parametrize("call", ["path", "briefing", "save_artifact"])
def test_every_use_of_the_work_is_an_occasion(orch, clock, call):
    """And what was saved a moment ago is not saved again."""
    work = orch.execute_task("a", worktree=True)
    write(work, "two\n")
    for _ in range(2):
        clock.advance(minutes=9, seconds=59)
        use(work, call)
        write(work, "three\n")
        assert checkpoints(orch) == []
        work.heartbeat()
    clock.advance(minutes=10)
    (orch.project.parent / "worktrees" / "a" / "a.txt").write_text("four\n")
    use(work, call)
    assert len(checkpoints(orch)) == 1


def use(work, call):
    """Use the work in one of the ways."""
    if call == "path":
        assert work.path.name == "a"
    elif call == "briefing":
        work.briefing()
    else:
        work.save_artifact("notes", "so far")


def test_unchanged_files_only_keep_the_task(orch, clock):
    """No checkpoint is written, and the lease is renewed: somebody is at work there."""
    work = orch.execute_task("a", worktree=True)
    for _ in range(6):
        clock.advance(minutes=10)
        assert work.path is not None
    assert checkpoints(orch) == []
    assert orch.get_task("a").status == "in_progress"
    assert work.complete(summary="s", detailed_work="d").status == "completed"


def test_saves_come_closer_together_under_pressure(orch, clock):
    """A quarter of the time when it is too much, from the first change on."""
    work = orch.execute_task("a", worktree=True)
    level = {"level": "overwhelmed", "energy": "normal"}
    orch._store.record_event(orch.current_session().id, "pressure_changed", level)
    for number in range(4):
        write(work, f"{number}\n")
        clock.advance(seconds=151)
    assert work.path is not None
    assert len(checkpoints(orch)) == 4


def test_it_can_be_turned_off(project, clock):
    """By the setting; and without a worktree there is nothing to save."""
    with vespera.open(project, clock=clock) as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks([{"title": "A"}, {"title": "B"}])
        (orch.home / "config.toml").write_text("[pressure]\ncheckpoint_minutes = 0\n")
        plain = orch.execute_task("b")
        clock.advance(hours=1)
        plain.save_artifact("x", "y")
        assert plain.path is None
        assert checkpoints(orch) == []
    with vespera.open(project, clock=clock) as orch:
        work = orch.execute_task("a", worktree=True)
        write(work, "two\n")
        clock.advance(hours=1)
        assert work.path is not None
        assert checkpoints(orch) == []


def test_a_failed_save_stands_in_nobodys_way(orch, clock, caplog):
    """Who has lost the task hears of it at the next call that means to write."""
    work = orch.execute_task("a", worktree=True)
    write(work, "two\n")
    orch.execute_task("a", agent="eve", take_over=True)
    clock.advance(minutes=10)
    assert work._cadence.is_due()
    work._completion.attempts[work.task.id] = work.attempt.number  # as in the holder's own process
    assert work.path is not None
    assert "could not be saved by itself" in caplog.text
    with pytest.raises(vespera.LeaseLostError):
        work.checkpoint({"n": 1})


def test_a_long_state_is_not_repeated(orch, clock):
    """The files are saved without it, and the state stays that of the last checkpoint."""
    work = orch.execute_task("a", worktree=True)
    work.checkpoint({"long": "x" * 200_000}, "half")
    write(work, "two\n")
    clock.advance(minutes=10)
    assert work.path is not None
    assert checkpoints(orch) == ["half"]
    clock.advance(hours=1)
    again = orch.execute_task("a")
    assert again.resumed_from.state == {"long": "x" * 200_000}
    assert (again.path / "a.txt").read_text() == "two\n"
