"""How soon a process sees the events of another, and what watching costs while nothing happens."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import vespera_orchestrator as vespera
from measure import Row, Scale, quantile

if TYPE_CHECKING:
    from pathlib import Path

MAX_DELAY_S = 0.05
MAX_CPU_SHARE = 0.02
_WRITER = """
import sys, time, vespera_orchestrator as vespera
with vespera.open(sys.argv[1]) as orch:
    for number in range(int(sys.argv[2])):
        time.sleep(0.05)
        orch.plan_task(str(number), context={"at": time.time()})
"""


def rows(scale: Scale) -> list[Row]:
    events, quiet_s = scale.pick(200, 10), scale.pick(10, 1)
    with vespera.open(scale.folder) as orch:
        orch.initialize_session("Watch")
        waits = _latencies(orch, scale.folder, events)
        share = _share(orch, quiet_s)
    longest = max(waits)
    late = quantile(waits, 0.99)
    median = quantile(waits, 0.5)
    delays = f"p50 {median * 1000:.1f} ms, p99 {late * 1000:.1f} ms, max {longest * 1000:.0f} ms"
    return [
        Row(
            what="an event of another process is seen",
            ours=delays,
            against="",
            floor="",
            ratio=None,
            target=f"≤ {MAX_DELAY_S * 1000:.0f} ms",
            met=late <= MAX_DELAY_S,
            figures={"p50_s": median, "p99_s": late, "max_s": longest},
        ),
        Row(
            what="watching while nothing happens",
            ours=f"{share:.2%} of a core",
            against="",
            floor="",
            ratio=None,
            target=f"≤ {MAX_CPU_SHARE:.0%}",
            met=share <= MAX_CPU_SHARE,
            figures={"cpu_share": share},
        ),
    ]


def _latencies(orch: vespera.Orchestrator, folder: Path, events: int) -> list[float]:
    watched = orch.watch()
    command = [sys.executable, "-c", _WRITER, folder, str(events)]
    with subprocess.Popen(command):
        waits = []
        for _ in range(events):
            event = next(watched)
            now = time.time()
            task = orch.get_task(str(event.task_id))
            waits.append(now - task.context["at"])
    return waits


def _share(orch: vespera.Orchestrator, quiet_s: float) -> float:
    cpu_start, wall_start = time.process_time(), time.perf_counter()
    for _ in orch.watch(timeout_s=quiet_s):
        pass
    cpu_s = time.process_time() - cpu_start
    wall_s = time.perf_counter() - wall_start
    return cpu_s / wall_s
