"""Processes that claim and complete from one queue as fast as they can: eight in detail, one, four and eight for how long they wait."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

import vespera_orchestrator as vespera
from by_hand import ByHand, copy_store, new_store, put_content
from measure import Cost, Row, Scale, quantile
from store import LEASE_S
from vespera_orchestrator._model import ArtifactDraft, Ending, NextAction
from vespera_orchestrator.errors import NothingReadyError
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROCESSES = 8
LONGEST_WAIT_S = 0.2
FLUSH_S = 0.002
"""How long a commit is made to take longer, to look like one on a disk that flushes."""
_ENOUGH_ERRORS = 200


@attrs.frozen
class Drained:
    """What the processes reported of one round."""

    won: list[str]
    waits_s: list[float]
    errors: list[str]
    cpu_s: float
    wall_s: float

    @property
    def cost(self) -> Cost:
        """The cost of one task; wall time is that of the whole round, shared among its tasks."""
        return Cost(self.cpu_s / len(self.won), self.wall_s / len(self.won))


# --- in the processes -----------------------------------------------------------


def _facade(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    orch = vespera.open(folder)

    def take() -> Any:
        try:
            return orch.execute_task()
        except NothingReadyError:
            return None

    def hand_in(work: Any) -> str:
        return str(work.complete(summary="done", detailed_work=f"# {work.task.title}\n").id)

    return take, hand_in


def _store(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    store = SQLiteStore.open(folder / "store.db")
    session_id = store.sessions()[0].id

    def hand_in(claim: Any) -> str:
        draft = ArtifactDraft(title=claim.task.title, digest="0" * 64, size_bytes=9)
        ending = Ending(action=NextAction.COMPLETE, summary="done")
        return store.finish(
            claim.task.id, claim.attempt.number, ending, agent="main", artifacts=[draft]
        ).task.id

    return lambda: store.claim(session_id, "main", lease_s=LEASE_S), hand_in


def _hand(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    floor, contents = ByHand(folder / "hand.db"), folder / "contents"

    def hand_in(claim: tuple[str, int]) -> str:
        written = put_content(contents, claim[0].encode()) if contents.is_dir() else ("0" * 64, 9)
        floor.complete(*claim, *written)
        return claim[0]

    return floor.claim, hand_in


def _slow(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    """The store, with a pause before each commit, while the lock is held: that is where a disk that really flushes lets one wait."""
    from vespera_orchestrator.stores.sqlite.database import Database

    write = Database.write

    @contextmanager
    def slow_write(self: Database) -> Iterator[Any]:
        with write(self) as connection:
            yield connection
            time.sleep(FLUSH_S)

    Database.write = slow_write  # type: ignore[method-assign]
    return _store(folder)


_WAYS = {"facade": _facade, "store": _store, "hand": _hand, "file": _hand}
_LOOKS = {"store": _store, "slow": _slow, "hand": _hand}


def drain(way: str, folder: Path, gate: Any, reports: Any) -> None:
    """Take and hand in until nothing is left; report what was won, how long each call took, and every error."""
    take, hand_in = (_WAYS | _LOOKS)[way](folder)
    won: list[str] = []
    waits: list[float] = []
    errors: list[str] = []

    def timed(call: Callable[..., Any], *given: Any) -> Any:
        begun = time.perf_counter()
        try:
            return call(*given)
        except Exception as exc:  # noqa: BLE001 - whatever goes wrong is what is counted
            errors.append(f"{type(exc).__name__}: {exc}")
            return _WRONG
        finally:
            waits.append(time.perf_counter() - begun)

    gate.wait()
    cpu, begun = time.process_time(), time.perf_counter()
    while len(errors) < _ENOUGH_ERRORS and (held := timed(take)) is not None:
        if held is _WRONG:
            continue
        while len(errors) < _ENOUGH_ERRORS:
            done = timed(hand_in, held)
            if done is not _WRONG:
                won.append(done)
                break
    reports.put((won, waits, errors, time.process_time() - cpu, begun, time.perf_counter()))


_WRONG = object()

# --- in the one that measures ----------------------------------------------------


def rows(scale: Scale) -> list[Row]:
    tasks, rounds = scale.pick(2000, 80), scale.pick(3, 1)
    source = scale.folder / "queue.db"
    new_store(source)
    floor = ByHand(source)
    for number in range(tasks):
        floor.plan(number, ())
    floor.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    floor.close()
    found: dict[str, list[Drained]] = {way: [] for way in _WAYS}
    for number in range(rounds):
        for way in _WAYS:
            found[way].append(_round(way, scale.folder / f"{way} {number}", source))
    sql = "same SQL by hand, busy_timeout 5 s"
    return [
        *compare("façade", tasks, found["facade"], f"{sql}, and content file", found["file"]),
        *compare("store", tasks, found["store"], sql, found["hand"]),
        *_looks(scale),
    ]


def _looks(scale: Scale) -> list[Row]:
    """Measure how long a call waits with one, four and eight processes, on the disk as it is and on one that seems to flush."""
    found: list[Row] = []
    source = scale.folder / "queue.db"
    for processes in (1, 4, 8):
        rounds = {
            way: _round(way, scale.folder / f"look {processes} {way}", source, processes)
            for way in _LOOKS
        }
        against, floor = "same SQL by hand, busy_timeout 5 s", rounds["hand"]
        for way, name in (
            ("store", "store"),
            ("slow", f"store, each commit {FLUSH_S * 1000:.0f} ms longer"),
        ):
            wait = max(rounds[way].waits_s)
            found.append(
                Row(
                    what=f"{processes} process{'es' if processes > 1 else ''}, {name}: longest wait for one call",
                    ours=_waits([rounds[way]]),
                    against=against if way == "store" else "",
                    floor=_waits([floor]) if way == "store" else "",
                    ratio=wait / max(floor.waits_s) if way == "store" else None,
                    target=f"≤ {LONGEST_WAIT_S * 1000:.0f} ms",
                    met=wait <= LONGEST_WAIT_S,
                    figures={
                        "wait_s": wait,
                        "tasks_per_s": len(rounds[way].won) / rounds[way].wall_s,
                    },
                )
            )
    return found


def _round(way: str, folder: Path, source: Path, processes_count: int = PROCESSES) -> Drained:
    folder.mkdir()
    if way == "facade":
        copy_store(source, folder / ".task_orchestrator" / "orchestrator.db")
        with vespera.open(folder) as orch:
            orch.resume_session(orch.list_sessions()[0])
    else:
        copy_store(source, folder / ("store.db" if way in {"store", "slow"} else "hand.db"))
    if way == "file":
        (folder / "contents").mkdir()
    context = multiprocessing.get_context("spawn")
    gate, reports = context.Barrier(processes_count), context.Queue()
    processes = [
        context.Process(target=drain, args=(way, folder, gate, reports))
        for _ in range(processes_count)
    ]
    for process in processes:
        process.start()
    told = [reports.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return Drained(
        won=[task for report in told for task in report[0]],
        waits_s=[wait for report in told for wait in report[1]],
        errors=[error for report in told for error in report[2]],
        cpu_s=sum(report[3] for report in told),
        wall_s=max(report[5] for report in told) - min(report[4] for report in told),
    )


def compare(
    name: str, tasks: int, ours: list[Drained], against: str, floor: list[Drained]
) -> list[Row]:
    drained = f"{PROCESSES} processes drain {tasks:,} tasks, {name}"
    wait, floor_wait = _longest(ours), _longest(floor)
    lost, floor_lost = _losses(tasks, ours), _losses(tasks, floor)
    rates = [[len(r.won) / r.wall_s for r in side] for side in (ours, floor)]
    return [
        Row.of(f"{drained}: a task", [r.cost for r in ours], against, [r.cost for r in floor]),
        Row(
            what=f"{drained}: longest wait for one call",
            ours=_waits(ours),
            against=against,
            floor=_waits(floor),
            ratio=wait / floor_wait,
            target=f"≤ {LONGEST_WAIT_S * 1000:.0f} ms",
            met=wait <= LONGEST_WAIT_S,
            figures={
                "wait_s": wait,
                "floor_wait_s": floor_wait,
                "tasks_per_s": max(rates[0]),
                "floor_tasks_per_s": max(rates[1]),
            },
        ),
        Row(
            what=f"{drained}: errors; tasks won twice or never",
            ours=f"{lost[0]}; {lost[1]}",
            against=against,
            floor=f"{floor_lost[0]}; {floor_lost[1]}",
            ratio=None,
            target="none",
            met=lost == (0, 0),
            figures={
                "errors": lost[0],
                "wrong": lost[1],
                "floor_errors": floor_lost[0],
                "floor_wrong": floor_lost[1],
            },
        ),
    ]


def _longest(side: list[Drained]) -> float:
    return max(max(r.waits_s) for r in side)


def _waits(side: list[Drained]) -> str:
    waits = [wait * 1000 for r in side for wait in r.waits_s]
    return f"{max(waits):.0f} ms (p50 {quantile(waits, 0.5):.2f}, p99 {quantile(waits, 0.99):.0f})"


def _losses(tasks: int, side: list[Drained]) -> tuple[int, int]:
    """Return how many calls failed, and how many tasks were won twice or never."""
    wrong = 0
    for r in side:
        times = Counter(r.won)
        wrong += tasks - len(times) + sum(count - 1 for count in times.values())
    return sum(len(r.errors) for r in side), wrong
