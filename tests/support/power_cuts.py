"""Cut the power at each sync point of each operation of the façade, and look at what is left.

The operations are those of `killing`. Each runs once on a disk that forgets whatever was not synced
(`forgetful_disk`). Then, for each of its sync points and each mode, the disk gets the image that a
power cut leaves there, and a new process opens the home: what was acknowledged must be there, one
`repair` must leave nothing to mend, and the work must go on, including the same operation.

    python tests/support/power_cuts.py                        # every sync point of every operation
    python tests/support/power_cuts.py --most 5 "resume"      # at most five of this one
    python tests/support/power_cuts.py --page docs/reliability.md   # put the table there
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

import vespera_orchestrator as vespera
from support import killing
from support.forgetful_disk import MODES, ForgetfulDisk
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.home import machine

HEAD = "| operation | sync points | power cuts | acknowledged and lost | did not go on |\n"
RULE = "|---|---|---|---|---|\n"
_MOST_S = 120
"""A process that takes longer hangs."""


class PowerStage(killing.Stage):
    """Where one operation runs once, and power is cut at each of its sync points."""

    def __init__(self, operation, disk):
        self.operation = operation
        self.disk = disk
        self.folder = disk.folder / "place"
        self.project = operation.make_project(self.folder)
        if operation.on is not None:
            killing.in_child(self._prepare)

    def run(self):
        """Run the operation; return what it said, each with the sync point that it followed."""
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            self._run_in_child(write)
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            said = [json.loads(line) for line in stream]
        os.waitpid(pid, 0)
        return said

    def _run_in_child(self, write):
        def ack(**facts):
            facts["point"] = len(self.disk.sync_points()) - 1
            os.write(write, json.dumps(facts).encode() + b"\n")

        try:
            signal.alarm(_MOST_S)
            is_early = self.operation.on is not None
            orch = vespera.open(self.project) if is_early else None
            held = self.operation.begin(orch) if is_early else None
            self.disk.settle()
            orch = orch or vespera.open(self.project)
            self.operation.act(orch, held, ack)
            self.disk.mark("the end")
            ack(done=True)
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the parent is told
            ack(raised="".join(traceback.format_exception(exc)))
        os._exit(0)

    def cut(self, point, mode, said):
        """Cut the power; return what is lost, and what keeps the work from going on."""
        self.disk.cut(point, mode)
        promised = [facts for facts in said if facts["point"] <= point]
        lost = _problem(lambda: self._hold(promised))
        stuck = _problem(lambda: self._go_on(promised))
        return lost, stuck

    def _hold(self, promised):
        start_again()
        with vespera.open(self.project) as orch:
            for worktree in orch.worktrees.list() if self.operation.repository else ():
                with suppress(VesperaError):  # the first call heals; a removal is half done
                    orch.worktrees.snapshot(worktree)
            for facts in promised:
                killing.hold(orch, facts)

    def _go_on(self, promised):
        start_again()
        with vespera.open(self.project) as orch:
            orch.repair()
        self.look(promised)
        if self.operation.repository:
            expect_sound(self.project)


def start_again(boot="the next start"):
    """Let this process, and those it starts, count as the first ones after a start of the machine.

    Args:
        boot: What tells this start of the machine from others.
    """
    started = time.time()
    machine.boot_id = lambda: boot
    machine.started_at = lambda: started


def expect_sound(project):
    """Git itself finds nothing wrong."""
    command = ["git", "fsck", "--no-dangling"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _problem(look):
    """Return what is wrong, in a process of its own; empty where nothing is."""
    try:
        killing.in_child(look)
    except AssertionError as exc:
        return str(exc)
    return ""


def try_operation(operation, most=0):
    """Run one operation and cut the power at its sync points; return what came of it."""
    with tempfile.TemporaryDirectory(prefix="vespera-power-") as room:
        folder = Path(room).resolve()
        with ForgetfulDisk(folder / "disk", folder / "control") as disk:
            stage = PowerStage(operation, disk)
            said = stage.run()
            raised = [facts["raised"] for facts in said if "raised" in facts]
            assert said, f"{operation.name} does not begin"
            assert not raised, f"{operation.name} does not work at all: {raised[0]}"
            return cut_everywhere(stage, said, most)


def cut_everywhere(stage, said, most):
    """Cut the power at the sync points, in each mode; of equal images one is tried."""
    points = stage.disk.sync_points()
    stage.disk.keep()
    report = {
        "operation": stage.operation.name,
        "points": len(points),
        "cuts": 0,
        "lost": [],
        "stuck": [],
    }
    tried = set()
    for point in killing.chosen_points(len(points), most):
        promised = sum(facts["point"] <= point for facts in said)
        for mode in MODES:
            report["cuts"] += 1
            image = (stage.disk.digest(point, mode), promised)
            if image in tried:
                continue
            tried.add(image)
            lost, stuck = stage.cut(point, mode, said)
            place = f"{mode}, after sync point {point} ({points[point]})"
            report["lost"] += [f"{place}: {lost}"] if lost else []
            report["stuck"] += [f"{place}: {stuck}"] if stuck else []
    return report


def table_row(report):
    """Return the line of the table."""
    lost, stuck = len(report["lost"]), len(report["stuck"])
    numbers = f"{report['points']} | {report['cuts']} | {lost} | {stuck}"
    return f"| {report['operation']} | {numbers} |\n"


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="OPERATION", help="by default all")
    parser.add_argument("--most", type=int, default=0, help="sync points of each; by default all")
    parser.add_argument("--json", type=Path, help="append what came of each to this file")
    parser.add_argument("--page", type=Path, help="also put the table between the marks here")
    chosen = parser.parse_args()
    killing.forget_environment()
    killing.in_child(killing.make_export)
    reports = []
    for operation in killing.OPERATIONS:
        if chosen.names and operation.name not in chosen.names:
            continue
        report = try_operation(operation, chosen.most)
        reports.append(report)
        problems = "".join(f"\n  - {text}" for text in report["lost"] + report["stuck"])
        print(table_row(report).rstrip() + problems, flush=True)
        if chosen.json:
            with chosen.json.open("a") as stream:
                stream.write(json.dumps(report) + "\n")
    killing.EXPORT.unlink(missing_ok=True)
    if chosen.page:
        rows = "".join(table_row(report) for report in reports)
        killing.put_on_page(chosen.page, "power", f"{HEAD}{RULE}{rows}")
    return int(any(report["lost"] or report["stuck"] for report in reports))


if __name__ == "__main__":
    sys.exit(main())
