"""Cut the power at random moments while several processes work in worktrees of one project.

Each process takes tasks, writes files, saves and lands them, and notes on another disk what was
acknowledged. At a random moment the disk keeps what a power cut would leave of it, and all of them
are killed. Then a new process looks for everything that had been noted before that moment, and the
next processes go on from there, first with the tasks that were interrupted.

    python tests/support/power_soak.py --cuts 300 --processes 8
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import attrs

import vespera_orchestrator as vespera
from support import killing
from support.forgetful_disk import MODES, ForgetfulDisk
from support.power_cuts import expect_sound, start_again
from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator.errors import VesperaError

_CUTS_PER_PROJECT = 8
"""Then a new project begins: the old one has so many tasks that looking takes long."""
_LONGEST_RUN_S = 2.0
_PATIENCE_S = 60.0
"""How long to wait for the first acknowledgement."""


@attrs.define
class SoakReport:
    """What came of it."""

    cuts: int = 0
    acknowledged: int = 0
    """How many acknowledgements were looked for, each once after each cut that followed it."""
    new: int = 0
    """How many different ones there were."""
    problems: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        text = f"{self.cuts} power cuts, {self.new} acknowledgements, looked for "
        text += f"{self.acknowledged} times, {len(self.problems)} problems"
        return "\n".join([text, *self.problems])


def git(project, *words):
    """Run git; return what it prints, or ``None`` where it fails."""
    run = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=False)
    return run.stdout if run.returncode == 0 else None


# --- the processes that work ----------------------------------------------------------


class Worker:
    """One process: its tasks are named after it, so that the next run goes on with them."""

    def __init__(self, project, name, notes):
        self.project = project
        self.name = name
        self.notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, **facts):
        """Write down, outside of the disk, what was acknowledged."""
        os.write(self.notes, json.dumps(facts).encode() + b"\n")

    def run(self):
        """Work until somebody kills us."""
        with vespera.open(self.project, agent=self.name) as orch:
            own = [task for task in orch.query_tasks() if task.title.startswith(f"{self.name} ")]
            for task in own:
                if task.status in (TaskStatus.PENDING, TaskStatus.IN_PROGRESS):
                    self._do(orch, task)
            number = len(own)
            while True:
                task = orch.plan_task(f"{self.name} {number}")
                self.note(task=task.id)
                self._do(orch, task)
                number += 1

    def _do(self, orch, task):
        work = orch.execute_task(task, worktree=True, take_over=True)
        first, second = f"{task.id}/first.txt", f"{task.id}/second.txt"
        folder = work.path / task.id
        folder.mkdir(exist_ok=True)
        (work.path / first).write_text(task.title * 50, "utf-8")
        saved = work.checkpoint({"first": True}, "the first file")
        self.note(snapshot=saved.snapshot, file=first, text=task.title * 50)
        artifact = work.save_artifact("Notes", task.title * 20)
        self.note(artifact=artifact.id, text=task.title * 20)
        (work.path / second).write_text(task.title, "utf-8")
        task = work.complete(summary="done", detailed_work=f"# {task.title}\n")
        assert task.status == TaskStatus.COMPLETED, task.reason
        self.note(task=task.id, landed=[first, second])


# --- looking for what was acknowledged --------------------------------------------------


def look(project, notes, find):
    """Report through *find* whatever of *notes* is not there."""
    with vespera.open(project) as orch:
        for facts in notes:
            try:
                _hold(orch, project, facts)
            except (VesperaError, AssertionError) as exc:
                find(f"lost: {facts}: {type(exc).__name__}: {exc}")
        orch.worktrees.repair()
        for finding in orch.check().errors:
            find(f"check: {finding}")
    expect_sound(project)


def _hold(orch, project, facts):
    if "snapshot" in facts:
        text = git(project, "show", f"{facts['snapshot']}:{facts['file']}")
        assert text == facts["text"], "the snapshot does not have the file"
    elif "artifact" in facts:
        assert orch.artifacts.text(facts["artifact"]) == facts["text"], "its bytes are others"
    else:
        task = orch.get_task(facts["task"])
        landed = facts.get("landed", [])
        assert not landed or task.status == TaskStatus.COMPLETED, f"it is {task.status}"
        for file in landed:
            assert git(project, "cat-file", "-e", f"integration:{file}") is not None, file


# --- one round after the other ----------------------------------------------------------


class Soak:
    """Projects on disks that forget, one after the other."""

    def __init__(self, processes, seed):
        self._processes = processes
        self._choice = random.Random(seed)
        self.report = SoakReport()

    def run(self, cuts, say=lambda _: None):
        """Cut the power so many times."""
        while self.report.cuts < cuts:
            remaining = cuts - self.report.cuts
            with tempfile.TemporaryDirectory(prefix="vespera-soak-") as room:
                folder = Path(room).resolve()
                with ForgetfulDisk(folder / "disk", folder / "control") as disk:
                    self._run_project(disk, folder, min(remaining, _CUTS_PER_PROJECT), say)
        return self.report

    def _run_project(self, disk, folder, cuts, say):
        project = disk.folder / "place" / "project"
        notes = folder / "notes"
        notes.mkdir()
        killing.in_child(lambda: _begin(project))
        disk.settle()
        disk.stop_recording()
        before = 0
        for round_number in range(cuts):
            mode = self._choice.choice(MODES)
            acknowledged = self._work_until_cut(disk, project, notes, round_number, mode)
            self.report.cuts += 1
            self.report.new += len(acknowledged) - before
            self.report.acknowledged += len(acknowledged)
            before = len(acknowledged)
            problems = _look_in_child(project, acknowledged, round_number + 1)
            self.report.problems += [f"{mode}, cut {round_number + 1}: {text}" for text in problems]
            say(f"{self.report.cuts} {mode} {len(acknowledged)} {problems or ''}")

    def _work_until_cut(self, disk, project, notes, round_number, mode):
        known = len(read_notes(notes))
        names = [f"w{number}" for number in range(self._processes)]
        workers = [_start(project, name, notes / name, round_number) for name in names]
        deadline = time.monotonic() + _PATIENCE_S
        while len(read_notes(notes)) == known and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(self._choice.uniform(0, _LONGEST_RUN_S))
        acknowledged = read_notes(notes)
        disk.keep_present(mode)
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFEXITED(status):
                self.report.problems.append(f"a process ended by itself, see {notes}")
        disk.put_back_kept()
        keep_only(notes, acknowledged)
        return acknowledged


def _begin(project):
    project.mkdir(parents=True)
    killing.make_repository(project)
    killing.git(project, "config", "user.name", "Ada")
    killing.git(project, "config", "user.email", "ada@example.org")
    with vespera.open(project) as orch:
        orch.initialize_session("Soak")


def _start(project, name, notes, boot_number):
    pid = os.fork()
    if not pid:
        start_again(f"boot {boot_number}")
        try:
            Worker(project, name, notes).run()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the parent is told
            print(f"{name}: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        os._exit(1)
    return pid


def read_notes(folder):
    """Return what all processes have noted so far."""
    notes = []
    for file in sorted(folder.iterdir()):
        lines = file.read_bytes().splitlines(keepends=True)
        notes += [json.loads(line) for line in lines if line.endswith(b"\n")]
    return notes


def keep_only(folder, notes):
    """Forget what was noted after the power cut: nobody was told of it in time."""
    for file in folder.iterdir():
        file.unlink()
    lines = [json.dumps(facts) + "\n" for facts in notes]
    folder.joinpath("before").write_text("".join(lines))


def _look_in_child(project, acknowledged, boot_number):
    problems = []
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        start_again(f"boot {boot_number}")
        with os.fdopen(write, "w") as stream:
            try:
                look(project, acknowledged, lambda text: print(json.dumps(text), file=stream))
            except BaseException as exc:  # noqa: BLE001 - whatever it is, the parent is told
                print(json.dumps(f"{type(exc).__name__}: {exc}"), file=stream)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        problems += [json.loads(line) for line in stream]
    os.waitpid(pid, 0)
    return problems


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=300)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    soak = Soak(chosen.processes, chosen.seed)
    report = soak.run(chosen.cuts, say=lambda text: print(text, flush=True))
    print(report)
    return int(bool(report.problems))


if __name__ == "__main__":
    sys.exit(main())
