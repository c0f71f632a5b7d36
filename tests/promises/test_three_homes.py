"""Three clones with homes of their own on one PostgreSQL store, at work at once, and killed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from support.clones import Team
from support.git_project import git

_MOST_STARTS = 150
_WORKER = """
import os, random, subprocess, sys
import vespera_orchestrator as vespera
from vespera_orchestrator.errors import NothingReadyError

project, store, session, seed, log = sys.argv[1:]
chance = random.Random(int(seed))

def say(*words):
    with open(log, "a") as stream:
        stream.write(" ".join(words) + "\\n")

def take(orch):
    try:
        return orch.execute_task(worktree=True)
    except vespera.WorktreeElsewhereError as exc:
        for command in exc.fetch.split(" && "):
            subprocess.run(command, shell=True, cwd=project, capture_output=True)
        return None
    except NothingReadyError:
        running = orch.get_status().running
        held = [run.task for run in running if run.attempt.agent == orch.agent]
        if not held:
            sys.exit(0)
        return orch.work(held[0])

with vespera.open(project, store=store, session=session) as orch:
    for _ in range(40):
        work = take(orch)
        if work is None:
            continue
        alias = work.task.alias
        for needed in work.task.dependencies:
            assert (work.path / f"{orch.get_task(needed.task).alias}.txt").exists()
        with open(work.path / f"{alias}.txt", "a") as stream:
            stream.write(orch.agent + "\\n")
        work.checkpoint({}, "a line more")
        say("saved", alias)
        event = chance.random()
        if event < 0.15:
            os.kill(os.getpid(), 9)
        elif event < 0.4:
            work.release()
        else:
            assert work.complete(summary="done", detailed_work="all").status == "completed"
"""


def begin(team, name, seed):
    """Start a worker in the clone of this name."""
    words = [team.folder(name), team.store, team.session, seed, team.room / f"{name}.log"]
    command = [sys.executable, "-c", _WORKER, *map(str, words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.soak
@pytest.mark.usefixtures("identity")
@pytest.mark.parametrize("seed", [1, 2])
def test_three_homes_at_once_lose_nothing(empty_postgres_url, tmp_path, monkeypatch, seed):
    """Each task lands once, on one machine, with every line that was saved of it anywhere."""
    monkeypatch.delenv("VESPERA_ORCHESTRATOR_AGENT", raising=False)
    team = Team(tmp_path, empty_postgres_url)
    plan = [{"title": f"T{n}"} for n in range(6)]
    plan += [{"title": f"D{n}", "dependencies": [f"t{n}"]} for n in range(4)]
    with team.opened:
        homes = {name: team.open(name, agent=None, content=None) for name in "abc"}
        homes["a"].plan_tasks(plan)
        workers = {name: begin(team, name, seed) for name in "abc"}
        for start in range(_MOST_STARTS):
            name = "abc"[start % 3]
            worker = workers.pop(name)
            _, problem = worker.communicate()
            assert worker.returncode in (0, -9), problem
            counts = Counter(task.status.value for task in homes["a"].query_tasks(limit=None))
            if counts == {"completed": len(plan)}:
                break
            workers[name] = begin(team, name, seed * 1000 + start)
        for worker in workers.values():
            _, problem = worker.communicate()
            assert worker.returncode in (0, -9), problem
        assert counts == {"completed": len(plan)}
        for orch in homes.values():
            assert [each for each in orch.check().findings if each.severity != "note"] == []
            assert orch.repair().done == ()
        saved = Counter()
        for name in "abc":
            log = tmp_path / f"{name}.log"
            lines = log.read_text().splitlines() if log.exists() else []
            saved.update(line.split()[1] for line in lines)
        for task in homes["a"].query_tasks(limit=None):
            texts = [landed_text(team, name, task.alias) for name in "abc"]
            lines = max(texts, key=len).splitlines()
            assert len(lines) == saved[task.alias], task.alias


def landed_text(team, name, alias):
    """Return what the clone's integration branch has of a task's file."""
    names = git(team.folder(name), "ls-tree", "--name-only", "integration").split()
    file = f"{alias}.txt"
    return git(team.folder(name), "show", f"integration:{file}") if file in names else ""
