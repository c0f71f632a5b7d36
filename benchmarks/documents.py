"""An update of the documents that has nothing to change, and one completion after many."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import griffe

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, alternate, metered, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vespera_orchestrator import Orchestrator

LONGEST_S = 0.010
LONGEST_COMPLETION_S = 0.050
_OFF = "[documents]\nenabled = false\n"
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
    return [*_quiet_rows(scale), _completion_row(scale), *_reference_rows(scale)]


def _reference_rows(scale: Scale) -> list[Row]:
    """Write the API reference of a large library, against reading its files with griffe alone.

    First as a process that has read nothing of it, then as the next process.
    """
    found = importlib.util.find_spec("sympy")
    if found is None or found.submodule_search_locations is None:
        say("the reference of sympy is left out, as it is not installed: pip install --group bench")
        return []
    (installed,) = found.submodule_search_locations
    folder = scale.folder / "reference"
    package = folder / "src" / "sympy"
    skipped = shutil.ignore_patterns("__pycache__", "tests", "[!_]*.txt")
    source = Path(installed) / scale.pick(".", "core")
    shutil.copytree(source, package, ignore=skipped)
    files = sorted(package.rglob("*.py"))
    first = [_first_reference(folder) for _ in range(scale.pick(2, 1))]
    later = [_next_reference(folder, number) for number in range(scale.pick(2, 1))]
    alone = [_visit(files) for _ in range(scale.pick(2, 1))]
    what = f"documents of sympy, {len(files):,} files of Python"
    against = "read each file with griffe"
    return [
        Row.of(f"first {what}", first, against, alone),
        Row.of(f"{what}, in the next process, one is new", later, against, alone),
    ]


def _first_reference(folder: Path) -> Cost:
    """Update the documents of a project as a process that has read nothing of it."""
    shutil.rmtree(folder / ".task_orchestrator", ignore_errors=True)
    shutil.rmtree(folder / "docs", ignore_errors=True)
    with vespera.open(folder) as orch:
        orch.initialize_session("measure", project_type="software_development")
        with metered() as meter:
            orch.documents.update()
    return meter.per(1)


def _next_reference(folder: Path, number: int) -> Cost:
    """Update them again as a process that has only the home, after one file has come."""
    (folder / "src" / "sympy" / f"new_{number}.py").write_text('"""New."""\n', "utf-8")
    with vespera.open(folder) as orch, metered() as meter:
        orch.documents.update()
    return meter.per(1)


def _visit(files: Sequence[Path]) -> Cost:
    logging.getLogger("griffe").disabled = True
    with metered() as meter, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            griffe.visit(file.stem, filepath=file, code=file.read_text("utf-8"))
    return meter.per(1)


def _completion_row(scale: Scale) -> Row:
    """Complete a task after many others, with documents and without."""
    tasks = scale.pick(10_000, 20)
    folders = {name: scale.folder / name for name in ("with", "without")}
    for folder in folders.values():
        _fill(folder, tasks)
    (folders["with"] / ".task_orchestrator" / "config.toml").write_text("")
    with vespera.open(folders["with"]) as ours, vespera.open(folders["without"]) as others:
        ours.documents.update()
        repeat = scale.pick(20, 2)
        costs = alternate(
            scale.pick(5, 2),
            ours=_completions(ours, repeat),
            without=_completions(others, repeat),
        )
    row = Row.of(
        f"complete a task after {tasks:,} others, documents included",
        costs["ours"],
        "the same without documents",
        costs["without"],
    )
    return _judged(row, LONGEST_COMPLETION_S)


def _fill(folder: Path, tasks: int) -> None:
    home = folder / ".task_orchestrator"
    home.mkdir(parents=True)
    (home / "config.toml").write_text(_OFF)
    with vespera.open(folder, durability="normal") as orch:
        orch.initialize_session("measure", project_type="software_development")
        for number in range(tasks):
            _complete(orch, number)


def _complete(orch: Orchestrator, number: int) -> None:
    task = orch.plan_task(f"Reader {number}")
    work = _WORK.format(name=f"read_{number}")
    orch.complete_task(task, summary=f"Added reader {number}", detailed_work=work)


def _completions(orch: Orchestrator, repeat: int) -> Callable[[], Cost]:
    numbers = iter(range(1_000_000, 2_000_000))

    def side() -> Cost:
        with metered() as meter:
            for _ in range(repeat):
                _complete(orch, next(numbers))
        return meter.per(repeat)

    return side


def _quiet_rows(scale: Scale) -> list[Row]:
    tasks = scale.pick(60, 6)
    folder = scale.folder / "quiet"
    folder.mkdir()
    with vespera.open(folder) as orch:
        orch.initialize_session("measure", project_type="software_development")
        for number in range(tasks):
            _complete(orch, number)
        waiting = orch.plan_task("Later")
        orch.documents.update()
        files = sorted((folder / "docs").glob("*.md"))
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
    return _judged(Row.of(what, ours, against, floor), LONGEST_S)


def _judged(row: Row, longest_s: float) -> Row:
    reached = row.figures["wall_s"]
    return attrs.evolve(
        row,
        target=f"≤ {longest_s * 1000:.0f} ms",
        met=reached <= longest_s,
        reached=f"{reached * 1000:.1f} ms",
    )
