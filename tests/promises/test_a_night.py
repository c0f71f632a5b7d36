"""The story of one night, with real processes: four agents, three kinds of trouble, nine hours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository

CLOCK = """
import json, os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import vespera_orchestrator as vespera

def clock():
    return datetime.now(UTC) + timedelta(hours=float(Path(sys.argv[1]).read_text()))

def say(**facts):
    print(json.dumps(facts), flush=True)
"""
"""Every process has the same clock: that of the machine, and the hours that it has slept."""
AGENT = (
    CLOCK
    + """
_, _, task, how = sys.argv
with vespera.open(clock=clock, embedder="none") as orch:
    work = orch.execute_task(task, worktree=True)
    (work.path / f"{task}.txt").write_text(f"{task}: first line by {orch.agent}\\n")
    work.checkpoint({"of": task, "line": 1}, f"{task}: the first line stands", 0.5)
    (work.path / f"{task}.txt").write_text(f"{task}: first and second line by {orch.agent}\\n")
    if how == "crash":
        work.checkpoint({"of": task, "line": 2}, f"{task}: two lines stand")
        os.kill(os.getpid(), 9)
    if how == "fail":
        work.fail(f"{task}: the ink ran out")
        sys.exit(1)
    if how == "hang":
        print("{}", flush=True)
        sys.stdin.readline()
    done = {"summary": f"{task} is drawn", "detailed_work": f"# {task}\\n\\nBy {orch.agent}."}
    try:
        work.complete(**done)
    except vespera.LeaseLostError as exc:
        say(kept=exc.kept_artifact_id)
"""
)
"""Works on one task, and meets its fate."""
MORNING = (
    CLOCK
    + """
PAGE = {"summary": "done in the morning", "detailed_work": "# Morning\\n\\nThe rest of it."}
texts = []
with vespera.open(clock=clock, agent="eve", embedder="none") as orch:
    texts.append(str(orch.resume()))
    for _ in range(20):
        step = orch.next_step()
        if step.action in {"done", "decide"}:
            break
        work = eval(step.call, {"orch": orch})
        if isinstance(work, vespera.Work):
            texts.append(work.briefing())
            if work.path is not None and work.task.recovers_task_id is None:
                with (work.path / f"{work.task.alias}.txt").open("a") as file:
                    file.write("and a line by eve\\n")
            work.complete(**PAGE)
    say(texts=texts, last=str(step))
"""
)
"""Somebody who knows nothing, and does what the next step says until there is none."""
PARTS = {"lid": "work", "spout": "crash", "handle": "fail", "body": "hang"}
AGENTS = dict(zip(PARTS, ("ada", "ben", "cleo", "dora"), strict=True))


@pytest.fixture
def night(tmp_path):
    """A repository, and a clock that every process reads."""
    project = make_repository(tmp_path / "project", {"readme.txt": "A kettle\n"})
    hours = tmp_path / "hours"
    hours.write_text("0")
    return project, hours


def start(code, project, *words, env=None):
    """Start a process in the project."""
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=project,
        env={**(env or os.environ), **paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def contents(project, orch):
    """Return everything that anybody can get at: in artifacts, checkpoints, and git's refs."""
    texts = [orch.artifacts.read(each) for each in orch.artifacts.list(limit=None)]
    objects = git(project, "rev-list", "--objects", "--all").splitlines()
    texts += [
        git(project, "cat-file", "blob", name).encode()
        for name, _, path in (line.partition(" ") for line in objects)
        if path.endswith(".txt")
    ]
    return b"\n".join(texts).decode()


def test_a_night_in_which_everything_happens(night):
    """One agent crashes, one fails, one hangs past its lease, and the machine sleeps nine hours.

    A fresh process resumes. Every byte is there, nothing is explained twice, all of it is done.
    """
    project, hours = night
    with vespera.open(project, embedder="none") as orch:
        orch.initialize_session("Draw a kettle")
        for part in PARTS:
            orch.plan_task(part.title(), f"Two lines about the {part}, in copper.")
        orch.plan_task("Kettle", "Put the parts together.", dependencies=list(PARTS))
        running = {}
        for part, how in PARTS.items():
            context = orch.spawn_agent_with_context(part, agent=AGENTS[part])
            running[part] = start(AGENT, project, hours, part, how, env=context.environ())
        hanging = running["body"]
        hanging.stdout.readline()  # dora has written, and waits for an answer that does not come
        others = [running[part] for part in PARTS if part != "body"]
        for agent in others:
            agent.communicate()
        assert [agent.returncode for agent in others] == [0, -9, 1]
        orch.pause("The parts are being drawn.", "look at the handle first")
    hours.write_text("9")
    eve = start(MORNING, project, hours)
    said, _ = eve.communicate()
    assert eve.returncode == 0
    morning = last_words(said)
    resume, *briefings = morning["texts"]
    # What the person left, and what happened, in few lines; then all of it from the briefings.
    assert len(resume.splitlines()) <= 12
    assert "The parts are being drawn." in resume
    assert "look at the handle first" in resume
    together = "\n".join(briefings)
    for words in (
        "Two lines about the spout, in copper.",
        "spout: two lines stand",
        "Two lines about the handle, in copper.",
        "handle: the ink ran out",
        "body: the first line stands",
    ):
        assert words in together
    assert "Everything has ended" in morning["last"]
    late, _ = hanging.communicate("\n")
    assert hanging.returncode == 0
    with vespera.open(project, embedder="none") as orch:
        tasks = orch.query_tasks()
        assert {task.status for task in tasks} == {vespera.TaskStatus.COMPLETED}
        assert {task.alias for task in tasks} >= {*PARTS, "kettle"}
        assert orch.artifacts.text(last_words(late)["kept"]) == "# body\n\nBy dora."
        everything = contents(project, orch)
        for part, agent in AGENTS.items():
            assert f"{part}: first and second line by {agent}" in everything
        landed = git(project, "show", "integration:spout.txt")
        assert landed == "spout: first and second line by ben\nand a line by eve"
        assert orch.check(), str(orch.check())


def last_words(text):
    """Return the last thing that a process said."""
    return json.loads(text.splitlines()[-1])
