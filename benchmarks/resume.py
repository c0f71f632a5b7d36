"""Coming back: `resume` and `next_step` where a little, and where a million tasks are stored."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import vespera_orchestrator as vespera
from measure import Row, Scale, quantile, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_S = 0.05
_LEFT_OPEN = 500
"""So many tasks are still pending; all others are completed, each with its events."""
_MICROSECONDS = 1_000_000


def rows(scale: Scale) -> list[Row]:
    sizes = [1000] if scale.quick else [1000, 100_000]
    if scale.large and not scale.quick:
        sizes.append(1_000_000)
    calls = scale.pick(400, 20)
    measured = []
    for size in sizes:
        folder = scale.folder / str(size)
        _fill(folder, size)
        with vespera.open(folder, agent="eve") as orch:
            orch.resume()
            orch.execute_task(worktree=False).checkpoint({"n": 1}, "half", 0.5)
            measured += [_row(orch, what, size, calls) for what in ("resume", "next_step")]
    return measured


def _row(orch: vespera.Orchestrator, what: str, size: int, calls: int) -> Row:
    ask, waits = getattr(orch, what), []
    for _ in range(calls):
        begun = time.perf_counter()
        str(ask())
        waits.append(time.perf_counter() - begun)
    median, late = quantile(waits, 0.5), quantile(waits, 0.99)
    return Row(
        what=f"{what}, {size:,} tasks stored",
        ours=f"p50 {median * 1000:.1f} ms, p99 {late * 1000:.1f} ms",
        against="",
        floor="",
        ratio=None,
        target=f"p99 ≤ {MAX_S * 1000:.0f} ms",
        met=late <= MAX_S,
        figures={"p50_s": median, "p99_s": late},
    )


def _fill(folder: Path, size: int) -> None:
    """Put in a session that has come far, as its own calls would have left it."""
    begun = time.perf_counter()
    folder.mkdir()
    with vespera.open(folder, agent="eve") as orch:
        session = orch.initialize_session("A very long session")
        orch.plan_task("T0")
        store = orch._store  # noqa: SLF001 - rows are put in below the calls
        with store.ledger() as ledger:
            (pattern,) = ledger.rows("tasks")
        with store.ledger(write=True) as ledger:
            ledger.put("tasks", _tasks(pattern, size))
            ledger.put("events", _events(session.id, size))
    say(f"{size:,} tasks put in, {time.perf_counter() - begun:.0f} s")


def _tasks(pattern: dict[str, object], size: int) -> Iterator[dict[str, object]]:
    common = {name: value for name, value in pattern.items() if name != "seq"}
    for number in range(1, size):
        is_open = number >= size - _LEFT_OPEN
        yield common | {
            "id": f"t_{number:012d}",
            "alias": f"t{number}",
            "title": f"T{number}",
            "status": "pending" if is_open else "completed",
            "ended_at": None if is_open else number * _MICROSECONDS,
        }


def _events(session_id: str, size: int) -> Iterator[dict[str, object]]:
    for number in range(1, size - _LEFT_OPEN):
        task_id = f"t_{number:012d}"
        for kind, data in (
            ("task_planned", f'{{"alias": "t{number}", "title": "T{number}"}}'),
            ("task_started", '{"attempt": 1}'),
            ("task_completed", '{"attempt": 1, "artifacts": [], "summary": "done"}'),
        ):
            yield {
                "at": number * _MICROSECONDS,
                "kind": kind,
                "session_id": session_id,
                "task_id": task_id,
                "agent": "ada",
                "data": data,
            }
