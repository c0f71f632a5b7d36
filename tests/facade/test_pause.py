"""Leaving off: nothing is asked, the words are kept first, and everything in hand is saved."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support.children import python
from support.git_project import git, make_repository
from vespera_orchestrator.home.machine import passing
from vespera_orchestrator.work.work import Work


@pytest.fixture
def project(tmp_path):
    """A repository with one commit."""
    return make_repository(tmp_path / "project", {"a.txt": "one\n"})


@pytest.fixture
def orch(project, clock):
    """The façade, with three tasks."""
    with vespera.open(project, clock=clock, agent="ada") as opened:
        opened.initialize_session("Goal")
        opened.plan_tasks([{"title": title} for title in "ABC"])
        yield opened


def begin(orch, alias, line="two\n"):
    """Start a task in a worktree and write a line."""
    work = orch.execute_task(alias, worktree=True)
    (work.path / f"{alias}.txt").write_text(line)
    return work


def test_the_words_come_back_as_they_were(orch, clock):
    """Verbatim, with their age, in the same place each time, until one has gone on."""
    begin(orch, "a").checkpoint({"n": 1}, "half", 0.5)
    begin(orch, "b")
    pause = orch.pause("the loop in “a” is wrong", "swap the two lines; then run it")
    assert pause.saved == ("a", "b")
    assert str(pause) == "Paused. Saved: a, b. When you come back: print(orch.resume())"
    clock.advance(hours=9)
    for _ in range(2):
        lines = orch.resume().lines
        assert lines[2] == "Paused by you, 9 hours ago: “the loop in “a” is wrong”"
        assert lines[3] == "Meant to be next: “swap the two lines; then run it”"
    work = orch.execute_task("a")
    assert (work.path / "a.txt").read_text() == "two\n"
    assert (work.resumed_from.state, work.resumed_from.progress) == ({"n": 1}, 0.5)
    assert work.resumed_from.note == "half"
    assert orch._store.last_checkpoint(orch.get_task("b").id).note == ""
    assert "Paused" not in str(orch.resume())


def test_the_words_are_the_note_of_the_only_task_without_one(orch):
    """Its next attempt begins with them; what was noted on the way stays."""
    work = begin(orch, "a")
    orch.pause("read the loop again")
    assert orch._store.last_checkpoint(work.task.id).note == "read the loop again"
    work.checkpoint({}, "two lines swapped")
    orch.pause("tired")
    assert orch._store.last_checkpoint(work.task.id).note == "two lines swapped"


def test_nothing_is_asked(orch):
    """Without words, the library says what is in hand and what comes next."""
    begin(orch, "a").checkpoint({"n": 1}, "half", 0.5)
    pause = orch.pause()
    assert (pause.note, pause.next_step) == ("at work on a: half", "go on with a")
    assert pause.worded == ("note", "next_step")
    assert "Paused by you, just now: at work on a: half" in orch.resume().lines
    assert orch._store.last_checkpoint(orch.get_task("a").id).note == "half"
    half = orch.pause(next_step="sleep")
    assert (half.worded, half.next_step) == (("note",), "sleep")


def test_nothing_in_hand_is_no_error(orch, project):
    """What was done last, and the next step; a session there must be."""
    assert orch.pause().note == "nothing was in hand"
    orch.complete_task("a", summary="s", detailed_work="d")
    pause = orch.pause()
    assert pause.note == "nothing was in hand; the last change: a completed"
    assert "then start 'B'" in pause.next_step
    assert str(pause).startswith("Paused. Nothing was open.")
    with pytest.raises(vespera.InvalidInputError, match="note"):
        orch.pause(note=3)
    with vespera.open(project, store="memory:") as other, pytest.raises(vespera.NotFoundError):
        other.pause("x")


def test_what_somebody_else_left_is_theirs(orch, project, clock):
    """Another reader sees who wrote the words, and one's own words come first."""
    orch.pause("ada's words")
    with vespera.open(project, agent="eve", clock=clock) as eve:
        assert "Paused by ada, just now: “ada's words”" in eve.resume().lines
        eve.pause("eve's words")
        assert "Paused by you, just now: “eve's words”" in eve.resume().lines
    assert "Paused by you, just now: “ada's words”" in orch.resume().lines


def test_a_task_that_was_lost_keeps_nobody_from_leaving(orch, project, clock):
    """The others are saved, and what was not is named."""
    begin(orch, "a")
    begin(orch, "b")
    with vespera.open(project, agent="eve", clock=clock) as eve:
        eve.execute_task("a", take_over=True)
    pause = orch.pause("tired")
    assert pause.saved == ("b",)
    assert "a: " in pause.not_saved[0]
    assert "Not saved: a: " in str(pause)


def test_an_interrupt_takes_no_words(orch, monkeypatch):
    """The words are kept before anything else is tried, and what was saved stays saved."""
    begin(orch, "a")
    begin(orch, "b")
    checkpoint = Work.checkpoint

    def interrupted(self, *given, **named):
        if self.task.alias == "b":
            raise KeyboardInterrupt
        return checkpoint(self, *given, **named)

    monkeypatch.setattr(Work, "checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        orch.pause("do not lose this")
    assert "Paused by you, just now: “do not lose this”" in orch.resume().lines
    assert orch._store.last_checkpoint(orch.get_task("a").id) is not None


DYING = """
import vespera_orchestrator as vespera
from vespera_orchestrator.work.work import Work
orch = vespera.open(sys.argv[1], agent="ada")
work = orch.execute_task("a", worktree=True)
(work.path / "a.txt").write_text("two")
Work.checkpoint = lambda *given, **named: os._exit(7)
orch.pause("do not lose this", "nor this")
"""


def test_a_crash_in_the_middle_loses_nothing(project):
    """Not the words, nor the files: they are saved by whoever comes next."""
    with vespera.open(project, agent="ada") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("A")
        child = python(DYING, project)
        child.communicate()
        assert child.returncode == 7
        text = str(orch.resume())
        assert "“do not lose this”" in text
        assert "“nor this”" in text
        work = orch.execute_task("a", take_over=True)
        assert (work.path / "a.txt").read_text() == "two"


@pytest.mark.usefixtures("orch")
def test_what_was_begun_in_short_processes_is_saved(project, clock):
    """Whoever lives by the command holds everything from processes that have ended."""
    with passing(), vespera.open(project, agent="ada", clock=clock) as command:
        path = begin(command, "a").path
    (path / "a.txt").write_text("three\n")
    with passing(), vespera.open(project, agent="ada", clock=clock) as command:
        pause = command.pause("tired", next_step="call")
        assert (pause.saved, pause.begun) == (("a",), ())
        saved = command._store.last_checkpoint(command.get_task("a").id)
        assert saved.note == "tired"
        (path / "a.txt").unlink()
    assert git(project, "show", f"{saved.snapshot}:a.txt") == "three"


def test_a_process_that_runs_saves_its_own(orch, project, clock):
    """Its files may be in the middle of something."""
    begin(orch, "a")
    with passing(), vespera.open(project, agent="ada", clock=clock) as command:
        pause = command.pause("tired")
    assert (pause.saved, pause.begun) == ((), ("a",))
    assert orch._store.last_checkpoint(orch.get_task("a").id) is None


def test_leaving_off_twice_takes_no_words_back(orch, clock):
    """The last words go on to count until somebody says others, or has gone on."""
    begin(orch, "a")
    orch.pause("the shop is closed", next_step="try the other shop")
    clock.advance(60)
    again = orch.pause()
    assert (again.note, again.next_step) == ("the shop is closed", "try the other shop")
    assert "Paused by you, just now: “the shop is closed”" in orch.resume().lines
    assert orch.pause(next_step="sleep").note == "at work on a: the shop is closed"
    orch.complete_task("a", summary="s", detailed_work="d")
    assert orch.pause().note.startswith("nothing was in hand")


def test_what_was_meant_to_be_next_is_in_the_next_step(orch, project, clock):
    """In the writer's own words, and only there: the library's step stays beside them."""
    begin(orch, "a")
    orch.pause("hm", next_step="look left")
    with vespera.open(project, agent="ada", clock=clock) as again:
        step = again.next_step()
        assert str(step).startswith("You meant to do next: “look left”. You began 'A'")
        assert step.own_words == "look left"
        assert step.to_dict()["own_words"] == "look left"
        assert str(again.resume()).count("look left") == 1
        again.set_energy("low")
        assert str(again.resume()).count("look left") == 1
    with vespera.open(project, agent="eve", clock=clock) as eve:
        assert "look left" not in str(eve.next_step())
    orch.complete_task("a", summary="s", detailed_work="d")
    assert orch.next_step().own_words == ""


def test_words_end_with_the_work_that_they_are_about(orch, project, clock):
    """Somebody else has done it meanwhile: nobody is told to look left any more."""
    begin(orch, "a")
    orch.pause("hm", next_step="look left")
    clock.advance(hours=10)
    with vespera.open(project, agent="zoe", clock=clock) as zoe:
        zoe.execute_task("a").complete(summary="s", detailed_work="d")
        assert "look left" not in str(zoe.resume())
    assert "look left" not in str(orch.resume())
    assert orch.next_step().own_words == ""
