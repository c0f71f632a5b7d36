"""Whoever looks sees one moment, whatever others write meanwhile; and nobody waits for git."""

from __future__ import annotations

import itertools
import re
import subprocess

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import TaskStatus
from vespera_orchestrator.stores.sqlite.looking import READING_METHODS
from vespera_orchestrator.worktrees.engine import WorktreeEngine

DONE = {"summary": "done", "detailed_work": "all of it"}
LOOKS = ("next_step", "get_status", "session_status", "resume")


class Writer:
    """Another process that writes in the middle of a look: at the read with this number."""

    def __init__(self, store, write):
        self._write = write
        self.at, self.reads = -1, 0
        for name in READING_METHODS:
            setattr(store, name, self._counted(getattr(store, name)))

    def _counted(self, read):
        def counted(*args, **kwargs):
            answer = read(*args, **kwargs)
            self.reads += 1
            if self.reads == self.at:
                self._write()
            return answer

        return counted

    def arm(self, at):
        self.at, self.reads = at, 0


@pytest.fixture
def pair(tmp_path):
    """Somebody who looks, and somebody else with a store of their own on the same home."""
    with vespera.open(tmp_path, agent="eve") as orch, vespera.open(tmp_path, agent="bob") as bob:
        session = orch.initialize_session("A goal")
        bob.resume_session(session.id)
        yield orch, bob


def contradictions(status):
    """What a status says that cannot be so at one moment."""
    counts = status.counts
    ready = {task.alias for task in status.ready}
    running = {each.task.alias for each in status.running}
    step = status.next_step
    if len(running) != counts.get(TaskStatus.IN_PROGRESS, 0):
        yield f"{counts}, but {running} run"
    if ready & running:
        yield f"{ready & running} are ready and run"
    if len(ready) != counts.get(TaskStatus.PENDING, 0):
        yield f"{counts}, but {ready} are ready"
    if step.action == "execute" and not any(repr(name) in str(step.call) for name in ready):
        yield f"{step.call}, but {ready} are ready"
    if step.action == "wait" and (ready or not running):
        yield f"{step}, but {ready} are ready and {running} run"


@pytest.mark.parametrize("look", LOOKS)
def test_a_writer_in_the_middle_changes_nothing_of_what_is_told(pair, look):
    """At each read of it, another process hands in the task that runs, or takes up the next.

    So at each moment one task is ready, or one runs: what is told is one or the other.
    """
    orch, bob = pair
    orch.plan_task("First")
    numbers = itertools.count(1)

    def write():
        running = bob.query_tasks(status="in_progress")
        if running:
            bob.complete_task(running[0], **DONE)
            bob.plan_task(f"Next {next(numbers)}")
        else:
            bob.execute_task()

    writer = Writer(orch._store, write)
    getattr(orch, look)()
    reads = writer.reads
    assert reads > 5
    for at in range(1, reads + 1):
        writer.arm(at)
        told = getattr(orch, look)()
        writer.arm(-1)
        if look == "resume":
            assert ("in progress" in str(told)) == ("Running: " in str(told)), str(told)
        else:
            step = told if look == "next_step" else told.next_step
            assert step.action in {"wait", "execute"}, step
        if look == "get_status":
            assert list(contradictions(told)) == []
    assert next(numbers) >= reads // 2


def test_news_that_come_while_somebody_looks_are_still_news(pair):
    """What was written after it was read counts as new at the next look."""
    orch, bob = pair
    orch.plan_task("Late")
    bob.execute_task("late")
    orch.resume()
    writer = Writer(orch._store, lambda: bob.complete_task("late", **DONE))
    orch.resume()
    last = writer.reads
    writer.arm(last)
    first = str(orch.resume())
    writer.arm(-1)
    second = str(orch.resume())
    assert "Running: late" in first
    assert "Nothing has changed" not in second
    assert "late" in second
    assert "Running" not in second


def test_a_briefing_is_of_one_state_too(pair):
    """What others plan and agree on while it is read is in it as a whole, or not at all."""
    orch, bob = pair
    orch.plan_task("after_0", alias="whole")
    orch.plan_task("Mine", parent_task_id="whole")
    work = orch.execute_task("mine")
    numbers = itertools.count(1)

    def write():
        number = next(numbers)
        bob.update_task("whole", title=f"after_{number}")
        bob.share_context(newest=f"after_{number} is agreed")

    writer = Writer(orch._store, write)
    write()
    work.briefing()
    for at in range(1, writer.reads + 1):
        writer.arm(at)
        text = work.briefing()
        writer.arm(-1)
        agreed = re.search(r"(after_\d+) is agreed", text).group(1)
        assert set(re.findall(r"after_\d+", text)) == {agreed}, text
        assert text.count(agreed) > 1, text


def test_git_is_asked_while_nothing_is_being_read(tmp_path, monkeypatch):
    """No state of the store is held open for as long as git takes."""
    for command in ("init -q -b main", "config user.name Eve", "config user.email eve@example.org"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    subprocess.run(
        ["git", "commit", "-q", "--allow-empty", "-m", "start"], cwd=tmp_path, check=True
    )
    asked = []
    repository = WorktreeEngine._repository
    with vespera.open(tmp_path, agent="eve") as orch:
        orch.initialize_session("A goal")

        def asks(engine):
            asked.append(orch._store._is_reading())
            return repository(engine)

        for name in ("One", "Two", "Three"):
            task = orch.plan_task(name)
            work = orch.execute_task(task, worktree=True)
            (work.path / f"{task.alias}.txt").write_text("new\n")
            orch.checkpoint(task, {"n": 1}, "half") if name == "Three" else None
            if name != "Three":
                work.complete(**DONE, merge="later")
        orch.worktrees.merge("one")
        monkeypatch.setattr(WorktreeEngine, "_repository", asks)
        for look in LOOKS:
            str(getattr(orch, look)())
    assert asked
    assert not any(asked)
