"""The one next step through the façade: its call works, and leads on."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository
from vespera_orchestrator.home import machine


@pytest.fixture
def project(tmp_path):
    """A repository with one commit."""
    return make_repository(tmp_path / "project", {"a.txt": "one\n"})


@pytest.fixture
def open_as(project, clock):
    """A function that opens the project under a name."""
    with contextlib.ExitStack() as opened:
        yield lambda agent: opened.enter_context(vespera.open(project, agent=agent, clock=clock))


@pytest.fixture
def ada(open_as):
    """Ada, in a session."""
    orch = open_as("ada")
    orch.initialize_session("Goal")
    return orch


def take(orch, **words):
    """Do what the next step says, with something to fill in; return what came of it."""
    call = orch.next_step().call
    for name, value in words.items():
        call = call.replace(f"{name}=…", f"{name}={value!r}")
    return eval(call.replace("…", "x"), {"orch": orch})


def test_a_story_told_by_its_next_steps(ada, open_as, clock, project):
    """Whoever only ever does what the next step says comes to the end, through a crash."""
    (project / "b.txt").write_text("mine\n")
    ada.plan_tasks(
        [{"title": "Whole", "children": [{"title": "A"}, {"title": "B", "dependencies": ["a"]}]}]
    )
    work = ada.execute_task("a", worktree=True)
    (work.path / "a.txt").write_text("two\n")
    work.complete(summary="s", detailed_work="d")
    assert ada.next_step().call == "orch.execute_task('b', worktree=True)"
    take(ada).checkpoint({"n": 1}, "half")
    assert ada.next_step().call == "orch.complete_task('b', summary=…, detailed_work=…)"
    clock.advance(hours=9)  # ada's process was killed meanwhile
    again = open_as("ada")
    step = again.next_step()
    assert step.call == "orch.execute_task('b')"
    assert "go on with 'B', which you left unfinished. You were at: half." in step.sentence
    work = take(again)
    (work.path / "b2.txt").write_text("b\n")
    take(again, summary="s", detailed_work="d")
    (synthesis,) = (each for each in again.artifacts.list() if each.kind == "synthesis")
    step = again.next_step()
    assert f"print(orch.artifacts.text({synthesis.id!r}))" in step.sentence
    assert take(again, summary="s", detailed_work="d").status == "completed"
    step = again.next_step()
    assert step.sentence.endswith(
        f"main lacks 2 commits of it. When you want it there, then run, in {project}: "
        "git merge integration"
    )
    git(project, "merge", "-q", "integration")
    assert again.next_step().sentence.endswith("main has all of it. Nothing needs you: rest.")


def test_a_squash_into_main_counts_as_merged(ada, project):
    """What matters is what main has, not how it got there."""
    ada.plan_task("A")
    with ada.execute_task("a", worktree=True) as work:
        (work.path / "a.txt").write_text("two\n")
        work.complete(summary="s", detailed_work="d")
    git(project, "merge", "-q", "--squash", "integration")
    git(project, "commit", "-qm", "all of it")
    assert "main has all of it" in ada.next_step().sentence
    git(project, "switch", "-q", "integration")
    assert "which is checked out" in ada.next_step().sentence


def test_a_dead_agents_lease_is_no_dead_end(ada, open_as, clock):
    """How long it has been silent is told, and when the task is free; what takes it over, once that
    has been long.
    """
    ada.plan_task("A")
    open_as("bob").execute_task("a")
    for minutes in range(0, 14, 2):
        step = ada.next_step()
        assert ("orch.execute_task('a', take_over=True)" in str(step)) == (minutes >= 8)
        assert f" free in {15 - minutes} minutes" in str(step)
        if minutes:
            assert f"last sign of life {minutes} minutes ago" in str(step)
        clock.advance(minutes=2)
    assert take(ada).attempt.agent == "ada"
    assert ada.next_step().call.startswith("orch.complete_task('a'")


def test_a_restarted_process_is_told_of_its_own_task(ada, open_as):
    """Held by the very agent that asks, in a process that is gone."""
    ada.plan_tasks([{"title": "A"}, {"title": "B", "priority": 5}])
    ada.execute_task("a").checkpoint({"n": 3}, "third")
    again = open_as("ada")
    step = again.next_step()
    assert "as ada, in another process" in step.sentence
    assert "You were at: third." in step.sentence
    work = take(again)
    assert (work.attempt.number, work.resumed_from.state) == (1, {"n": 3})


def test_a_recovery_says_what_to_read(ada):
    """The report of what went wrong, by the call that prints it."""
    ada.plan_task("A", "Boil water.")
    ada.execute_task("a").fail("no gas")
    step = ada.next_step()
    assert step.call == "orch.execute_task('recover_a')"
    (report,) = [found for found in ada.artifacts.list(task="a") if found.kind == "failure"]
    assert f"print(orch.artifacts.text({report.id!r}))" in step.sentence
    assert "no gas" in ada.artifacts.text(report)


HOLD = """
import os, signal, sys
import vespera_orchestrator as vespera
orch = vespera.open(sys.argv[1], agent="bob")
orch.execute_task("big")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not machine.process_mark(), reason="the system has no /proc")
def test_a_holder_whose_process_was_killed_here(tmp_path):
    """Everybody is told, with the call that takes it over; nothing happens by itself."""
    with vespera.open(tmp_path, agent="ada") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Big")
        subprocess.run([sys.executable, "-c", HOLD, tmp_path], check=False)
        assert "the process in which bob took it has ended" in str(orch.why("big"))
        assert "and its process has ended" in str(orch.get_status())
        assert "and that process has ended" in orch.next_step().sentence
        with pytest.raises(vespera.NotReadyError, match=r"take_over=True"):
            orch.execute_task("big")
        assert orch.get_task("big").status == "in_progress"
        assert take(orch).resumed_from is None
        assert "ended" not in str(orch.why("big"))


@pytest.fixture
def orch(tmp_path):
    """A session in memory, with one task."""
    with vespera.open(tmp_path, store="memory:") as opened:
        opened.initialize_session("Goal")
        opened.plan_task("Big")
        yield opened


@pytest.mark.parametrize("way", ["ask", "end_attempt", "cancel"])
def test_what_the_same_process_has_let_go_is_free(orch, way):
    """The call that the next step names claims it anew, as after a release."""
    work = orch.execute_task("big")
    orch.plan_task("Part", parent_task_id="big")
    if way == "ask":
        orch.answer(work.ask("By land or by sea?"), "by sea")
    elif way == "end_attempt":
        orch.end_attempt("big", "it was killed")
    else:
        orch.cancel_task("big", subtree=False)
        orch.retry_task("big")
    orch.complete_task("part", summary="s", detailed_work="d")
    orch.synthesize_results("big")
    assert orch.next_step().call.startswith("orch.complete_task('big'")
    assert take(orch, summary="s", detailed_work="d").status == "completed"


@pytest.mark.parametrize(
    ("part", "words", "call"),
    [
        ({"question": "May we?"}, "May we?", "orch.answer('part', …)"),
        (
            {"signal": "ci"},
            "You hold 'Big'. It can be handed in after its parts: part is pending",
            "",
        ),
        ({"not_before": "in 3 days"}, "orch.snooze_task('part', None)", ""),
        ({}, "", "orch.execute_task('part')"),
    ],
    ids=["question", "signal", "rest", "ready"],
)
@pytest.mark.parametrize("energy", ["normal", "low"])
def test_a_task_with_an_open_part_is_not_to_be_handed_in(orch, part, words, call, energy):
    """The next step is about what it waits for."""
    orch.execute_task("big")
    orch.plan_task("Part", parent_task_id="big", **part)
    orch.set_energy(energy)
    step = orch.next_step()
    assert words in step.sentence
    assert step.call == call


@pytest.mark.parametrize("end", ["cancel", "complete"])
def test_parts_that_are_archived_are_not_brought_together(orch, end):
    """There is nothing to bring together: the whole is started like any other task."""
    orch.plan_task("Part", parent_task_id="big")
    if end == "cancel":
        orch.cancel_task("part")
    else:
        orch.complete_task("part", summary="s", detailed_work="d")
    orch.delete_task("part")
    assert take(orch).task.alias == "big"


def test_what_another_agent_began_goes_on_from_its_checkpoint(ada, open_as):
    """Whoever takes it up sees where it stands before taking it."""
    ada.plan_task("A")
    ada.execute_task("a").checkpoint({}, "the rim is turned")
    ada.end_attempt("a", "killed")
    sentence = open_as("ben").next_step().sentence
    assert sentence.endswith("killed. It goes on from: the rim is turned.")


def test_worktrees_are_asked_for_only_where_tasks_use_them(ada, project):
    """Not before the first one, and not without git."""
    ada.plan_tasks([{"title": title} for title in "AC"])
    assert ada.next_step().call == "orch.execute_task('a')"
    with ada.execute_task("a", worktree=True) as work:
        work.complete(summary="s", detailed_work="d")
    assert ada.next_step().call == "orch.execute_task('c', worktree=True)"
    shutil.rmtree(project / ".git")
    assert ada.next_step().call == "orch.execute_task('c')"
    assert take(ada).path is None
