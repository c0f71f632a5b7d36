"""How soon a new process has its first answer, and in how much memory, where more is stored.

Each round starts fresh interpreters: one only opens the home, one opens it and searches, one opens
it and writes the first briefing of a task. Passages are made up, each an artifact's only one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs

import vespera_orchestrator as vespera
from index import Writer
from measure import Cost, Row, Scale, say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SIZES = (2, 200, 5_000)
_ROUNDS = 12
_MAX_MORE_S = 0.150
_MAX_MEMORY_MB = 60

_CHILD = r"""
import os, re, sys, time
begun = time.perf_counter()
import vespera_orchestrator
orch = vespera_orchestrator.open(sys.argv[1])
if sys.argv[2] == "search":
    assert orch.artifacts.search(sys.argv[3])
elif sys.argv[2] == "briefing":
    assert str(orch.execute_task(agent=f"agent {os.getpid()}").briefing())
# ru_maxrss starts with the parent's
peak = re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())
print(time.perf_counter() - begun, time.process_time(), int(peak[1]) / 1024)
"""


@attrs.frozen
class _Answer:
    cost: Cost
    memory_mb: float


def rows(scale: Scale) -> list[Row]:
    return [
        row
        for size in (_SIZES if not scale.quick else _SIZES[:2])
        for row in _measured(scale, size)
    ]


def _measured(scale: Scale, size: int) -> list[Row]:
    project = scale.folder / f"first {size}"
    project.mkdir()
    question = _prepare(project, size)
    say(f"{size:,} passages")
    answers: dict[str, list[_Answer]] = {"open": [], "search": [], "briefing": []}
    for number in range(scale.pick(_ROUNDS, 2) + 1):
        for what, measured in answers.items():
            answer = _ask(project, what, question)
            if number:  # the first round does not count
                measured.append(answer)
    return [_row(what, size, answers) for what in ("search", "briefing")]


def _prepare(project: Path, size: int) -> str:
    writer = Writer()
    with vespera.open(project) as orch:
        orch.initialize_session("measure")
        texts = [writer.text().split("\n\n")[0] for _ in range(size)]
        question = " ".join(texts[0].split()[:6])
        for number in range(_ROUNDS + 1):
            orch.plan_task(f"Task {number}", question)
        for number, text in enumerate(texts):
            orch.artifacts.save(f"Artifact {number}", text)
        orch.artifacts.catch_up()
    return question


def _ask(project: Path, what: str, question: str) -> _Answer:
    command = [sys.executable, "-c", _CHILD, str(project), what, question]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    wall_s, cpu_s, memory_mb = map(float, ended.stdout.split())
    return _Answer(Cost(cpu_s, wall_s), memory_mb)


def _row(what: str, size: int, answers: Mapping[str, Sequence[_Answer]]) -> Row:
    ours, floor = answers[what], answers["open"]
    row = Row.of(
        f"a new process's first {what}, {size:,} passages",
        [answer.cost for answer in ours],
        "opening the home",
        [answer.cost for answer in floor],
    )
    pairs = zip(ours, floor, strict=True)
    more_s = statistics.median(our.cost.cpu_s - bare.cost.cpu_s for our, bare in pairs)
    memory_mb = statistics.median(answer.memory_mb for answer in ours)
    return attrs.evolve(
        row,
        target=f"≤ {_MAX_MORE_S * 1000:.0f} ms more, ≤ {_MAX_MEMORY_MB} MB",
        met=more_s <= _MAX_MORE_S and memory_mb <= _MAX_MEMORY_MB,
        reached=f"{more_s * 1000:.0f} ms more, {memory_mb:.0f} MB",
        figures={**row.figures, "more_cpu_s": more_s, "memory_mb": memory_mb},
    )


if __name__ == "__main__":
    sys.exit("run benchmarks/run.py first")
