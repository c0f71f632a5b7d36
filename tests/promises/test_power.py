"""Power fails at every moment: whatever was acknowledged is there, and work goes on.

The story runs once on a disk that forgets what was not synced. Then power is cut at each of its
sync points, in three ways, and a new process opens what is left.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support import killing, power_cuts, power_soak
from support.forgetful_disk import MODES, ForgetfulDisk, why_unavailable

TESTS = Path(__file__).parent.parent
COMMON = """
import json, os, subprocess, sys
from pathlib import Path
import vespera_orchestrator as vespera
from support.forgetful_disk import ForgetfulDisk
from vespera_orchestrator.home import machine

mountpoint, address = sys.argv[1:3]
project = Path(mountpoint, "parent", "project")

def git(*words, check=True):
    run = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=check)
    return run.stdout if run.returncode == 0 else None

def has(commit, files):
    return all(git("show", f"{commit}:{name}", check=False) == text for name, text in files.items())
"""

STORY = """
disk = ForgetfulDisk(mountpoint, address)
project.mkdir(parents=True)
git("init", "-q")
for number in range(20):
    (project / f"f{number}.txt").write_text(f"{number}\\n" * 20)
git("add", "-A")
git("commit", "-qm", "first")
disk.settle()

def acknowledge(operation, **details):
    point = len(disk.sync_points()) - 1
    print(json.dumps({"operation": operation, "point": point, **details}))

orch = vespera.open(project)
session = orch.initialize_session("reach it", project_type="software_development")
acknowledge("session", id=session.id)
for title in ("One", "Two", "Three"):
    acknowledge("plan", id=orch.plan_task(title).id)
work = orch.execute_task("one", worktree=True)
acknowledge("execute", alias="one", attempts=1)
(work.path / "new.txt").write_text("new\\n" * 50)
(work.path / "f1.txt").write_text("changed\\n")
files = {"new.txt": "new\\n" * 50, "f1.txt": "changed\\n"}
checkpoint = work.checkpoint({"half": True}, "half")
acknowledge("checkpoint", alias="one", snapshot=checkpoint.snapshot, files=files)
artifact = work.save_artifact("Note", "x" * 5000)
acknowledge("artifact", id=artifact.id, text="x" * 5000)
(work.path / "more.txt").write_text("more\\n")
work.complete(summary="done", detailed_work="work " * 500)
acknowledge("complete", alias="one", landed={**files, "more.txt": "more\\n"})
work = orch.execute_task("two", worktree=True)
(work.path / "two.txt").write_text("two")
work.heartbeat()
acknowledge("heartbeat", alias="two", ref="refs/vespera/wip/two", files={"two.txt": "two"})
work.fail("it broke")
acknowledge("fail", alias="two", ref="refs/vespera/wip/two", files={"two.txt": "two"})
orch.execute_task("three").complete(summary="no files", detailed_work="three")
acknowledge("complete", alias="three", landed={})
orch.close()
"""

JUDGE = """
acknowledged = json.loads(sys.argv[3])
problems = []

def judge(operation, *, point, id=None, text=None, alias=None, attempts=0, **files):
    if operation == "session":
        assert id in [session.id for session in orch.list_sessions()], "it is gone"
    elif operation == "plan":
        orch.get_task(id)
    elif operation == "artifact":
        assert orch.artifacts.text(id) == text, "its bytes are others"
    elif operation == "complete":
        assert orch.get_task(alias).status == "completed", orch.get_task(alias)
        assert has("integration", files["landed"]) or not files["landed"], "landed files are gone"
    else:
        assert orch.get_task(alias).attempts >= attempts, orch.get_task(alias)
        kept = files.get("files", {})
        assert has(files.get("snapshot") or files.get("ref"), kept) or not kept, "files are gone"

def trying(name, step):
    try:
        step()
    except Exception as exc:
        problems.append(f"{name}: {type(exc).__name__}: {exc}")

def go_on(task):
    # Whatever state it is in, the task can be finished.
    if task.status == "blocked":
        task = orch.retry_task(task)
    if task.status == "completed":
        return
    work = orch.execute_task(task, worktree=True, take_over=True)
    (work.path / "later.txt").write_text(task.title)
    status = work.complete(summary="later", detailed_work="later").status
    assert status == "completed", f"it is {status}"

def sound():
    command = ["git", "fsck", "--no-dangling"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr

machine.boot_id = lambda: "the next start"
orch = vespera.open(project)
for entry in acknowledged:
    trying(f"{entry['operation']} was lost", lambda: judge(**entry))
planned = orch.query_tasks() if acknowledged else []
for task in [task for task in planned if task.recovers_task_id is None]:
    trying(f"{task.title} cannot go on", lambda: go_on(task))
if planned and json.loads(sys.argv[4]) % 20 == 0:  # it loads much
    trying("search", lambda: orch.artifacts.search("work"))
    trying("documents", lambda: orch.documents.update())
trying("check", lambda: problems.extend(f"check: {finding}" for finding in orch.check().errors))
trying("git", sound)
print(json.dumps(problems))
"""


def run(script, disk, address, *arguments):
    """Run a script in a process of its own; it may not hang."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "VESPERA_ORCHESTRATOR_EMBEDDER": "none"}
    command = [sys.executable, "-c", COMMON + script, str(disk.folder), str(address), *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return ["it hangs"]
    if done.returncode:
        return [f"it cannot be opened: {done.stderr.splitlines()[-1]}"]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def told(tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """Return a disk on which the story was told, and what was acknowledged at which sync point."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    address = tmp_path / "control"
    with ForgetfulDisk(tmp_path / "disk", address) as disk:
        acknowledged = run(STORY, disk, address)
        points = disk.sync_points()
        disk.keep()
        yield disk, address, acknowledged, points


def problems_at(point, mode, told):
    """Cut the power at this sync point, and return what a new process finds wrong."""
    disk, address, acknowledged, points = told
    promised = [entry for entry in acknowledged if entry["point"] <= point]
    disk.cut(point, mode)
    problems = run(JUDGE, disk, address, json.dumps(promised), str(point))
    last = problems[-1] if problems else []
    found = last if isinstance(last, list) else problems
    return [f"{mode}, after sync point {point} ({points[point]}): {problem}" for problem in found]


def test_power_fails_now_and_then(told):
    """After a power cut everything acknowledged is there, and every task can be finished."""
    _, _, acknowledged, points = told
    assert len(acknowledged) > 8
    assert len(points) > 30
    mode = MODES[len(points) % len(MODES)]  # each takes its turn as the story changes
    assert problems_at(len(points) // 2, mode, told) == []


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_power_fails_at_every_sync_point(told, mode):
    """The same wherever it is cut."""
    _, _, _, points = told
    problems = []
    for point in range(len(points)):
        problems += problems_at(point, mode, told)
    assert problems == []


# --- each operation by itself -------------------------------------------------------

BY_NAME = {operation.name: operation for operation in killing.OPERATIONS}


@pytest.fixture
def _can_mount():
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.usefixtures("_can_mount")
@pytest.mark.parametrize("name", ["save_artifact", "export", "checkpoint in a worktree"])
def test_power_fails_in_an_operation(name):
    """What it acknowledged is there, and it can be done again."""
    report = power_cuts.try_operation(BY_NAME[name], most=2)
    assert report["cuts"] == 2 * len(MODES)
    assert (report["lost"], report["stuck"]) == ([], [])


@pytest.mark.soak
@pytest.mark.usefixtures("_can_mount")
@pytest.mark.parametrize("name", BY_NAME)
def test_power_fails_at_every_sync_point_of_an_operation(name):
    """The same at every sync point of every operation."""
    killing.in_child(killing.make_export)
    report = power_cuts.try_operation(BY_NAME[name])
    assert (report["lost"], report["stuck"]) == ([], [])


@pytest.mark.usefixtures("_can_mount")
def test_what_was_not_synced_is_lost():
    """The disk forgets, and the harness says so: this operation asks for nothing better."""

    def plan(orch, _, ack):
        with vespera.open(orch.project, durability="normal") as relaxed:
            ack(task=relaxed.plan_task("Soon forgotten").alias, status="pending")

    report = power_cuts.try_operation(killing.Operation("relaxed", plan))
    assert any("soon_forgotten" in text for text in report["lost"])
    assert report["stuck"]


@pytest.mark.usefixtures("_can_mount")
@pytest.mark.parametrize("forget", ["forget", "forget_text"])
def test_what_was_forgotten_stays_forgotten(tmp_path, forget):
    """Neither a file for browsing nor the search index comes back with a name that was on disk."""
    with ForgetfulDisk(tmp_path / "disk", tmp_path / "control") as disk:
        project = disk.folder / "project"
        project.mkdir()
        with vespera.open(project, embedder="none") as orch:
            orch.initialize_session("A ward")
            saved = orch.artifacts.save("Interview", "Patient Zaphod gets the red pill.")
            orch.artifacts.browse()
            index = orch.home / "index.lance"
            index.mkdir(exist_ok=True)
            (index / "passages").write_text("Zaphod")
            disk.settle()
            call = getattr(orch.artifacts, forget)
            assert call(saved.id if forget == "forget" else "Zaphod").is_complete
            disk.mark("the end")
        last = len(disk.sync_points()) - 1
        disk.keep()
        disk.cut(last, "strict")
        files = [path for path in project.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if b"Zaphod" in path.read_bytes()]


# --- beside several processes ----------------------------------------------------------


@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("_can_mount")
@pytest.mark.parametrize(("cuts", "processes"), [pytest.param(300, 8, marks=pytest.mark.soak)])
def test_power_fails_at_random_beside_processes_with_worktrees(cuts, processes):
    """Nothing is lost that any of them was told of, and they go on."""
    report = power_soak.Soak(processes, seed=1).run(cuts)
    assert report.cuts == cuts
    assert report.new > 0
    assert report.problems == []
