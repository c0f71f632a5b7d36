"""An update of the documents that has nothing to change."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, alternate, metered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vespera_orchestrator import Orchestrator

LONGEST_S = 0.010
_WORK = """\
# {name}

## Added

- `{name}(text: str) -> str` reads what {name} was given.

```python
def {name}(text: str) -> str:
    \"\"\"Return what was read.\"\"\"
    return text
```
"""


def rows(scale: Scale) -> list[Row]:
    tasks = scale.pick(60, 6)
    with vespera.open(scale.folder) as orch:
        orch.initialize_session("measure", project_type="software_development")
        for number in range(tasks):
            task = orch.plan_task(f"Reader {number}")
            orch.complete_task(
                task, summary=f"reader {number}", detailed_work=_WORK.format(name=f"read_{number}")
            )
        waiting = orch.plan_task("Later")
        orch.documents.update()
        files = sorted((scale.folder / "docs").glob("*.md"))
        repeat = scale.pick(20, 3)
        costs = alternate(
            scale.pick(9, 2),
            same=_updates(orch, repeat, lambda number: None),  # noqa: ARG005
            quiet=_updates(orch, repeat, lambda number: orch.update_task(waiting, priority=number)),
            telling=_updates(
                orch, repeat, lambda number: orch.artifacts.save("Notes", f"# Note {number}\n")
            ),
            hand=lambda: _by_hand(files, repeat),
        )
    floor = "read and digest the documents"
    about = f"{tasks} completed tasks"
    return [
        _row(f"update, nothing has happened, {about}", costs["same"], floor, costs["hand"]),
        _row(
            f"update, events that concern no document, {about}",
            costs["quiet"],
            floor,
            costs["hand"],
        ),
        _row(
            f"update, an artifact was saved, no text changes, {about}",
            costs["telling"],
            floor,
            costs["hand"],
        ),
    ]


def _updates(
    orch: Orchestrator, repeat: int, before: Callable[[int], object]
) -> Callable[[], Cost]:
    """Return a side that updates after *before* has happened, which is not measured."""
    calls = iter(range(1, 1_000_000))

    def side() -> Cost:
        cpu = wall = 0.0
        for _ in range(repeat):
            before(next(calls))
            with metered() as meter:
                report = orch.documents.update()
            cpu, wall = cpu + meter.cpu_s, wall + meter.wall_s
            if report.written:
                raise RuntimeError(str(report))
        return Cost(cpu / repeat, wall / repeat)

    return side


def _by_hand(files: Sequence[Path], repeat: int) -> Cost:
    with metered() as meter:
        for _ in range(repeat):
            for file in files:
                hashlib.sha256(file.read_bytes()).hexdigest()
    return meter.per(repeat)


def _row(what: str, ours: Sequence[Cost], against: str, floor: Sequence[Cost]) -> Row:
    row = Row.of(what, ours, against, floor)
    reached = row.figures["wall_s"]
    return attrs.evolve(
        row,
        target=f"≤ {LONGEST_S * 1000:.0f} ms",
        met=reached <= LONGEST_S,
        reached=f"{reached * 1000:.1f} ms",
    )
