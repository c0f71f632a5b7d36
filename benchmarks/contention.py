"""Processes that claim and complete from one queue as fast as they can, and how long they wait."""

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
MAX_WAIT_S = 0.2
FLUSH_S = 0.002
"""How much longer a commit is made to take, to look like one on a disk that flushes."""
_MAX_ERRORS = 200
_BY_HAND = "same SQL by hand, busy_timeout 5 s"


@attrs.frozen(kw_only=True)
class Report:
    """What one process did."""

    won: list[str]
    """The tasks that it completed."""
    waits_s: list[float]
    """How long each call took."""
    errors: list[str]
    cpu_s: float
    started_s: float
    ended_s: float


@attrs.frozen(kw_only=True)
class Round:
    """What all processes of a round did."""

    won: list[str]
    waits_s: list[float]
    errors: list[str]
    cpu_s: float
    wall_s: float

    @classmethod
    def of(cls, reports: list[Report]) -> Round:
        """Add up what the processes report."""
        started_s = min(report.started_s for report in reports)
        ended_s = max(report.ended_s for report in reports)
        return cls(
            won=[task for report in reports for task in report.won],
            waits_s=[wait for report in reports for wait in report.waits_s],
            errors=[error for report in reports for error in report.errors],
            cpu_s=sum(report.cpu_s for report in reports),
            wall_s=ended_s - started_s,
        )

    @property
    def cost(self) -> Cost:
        """The cost of one task; wall time is that of the whole round, shared among its tasks."""
        tasks = len(self.won)
        return Cost(self.cpu_s / tasks, self.wall_s / tasks)

    @property
    def tasks_per_s(self) -> float:
        """How many tasks all processes together completed in a second."""
        return len(self.won) / self.wall_s


# --- in the processes -----------------------------------------------------------


def _facade(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    orch = vespera.open(folder)

    def take() -> Any:
        try:
            return orch.execute_task()
        except NothingReadyError:
            return None

    def hand_in(work: Any) -> str:
        text = f"# {work.task.title}\n"
        task = work.complete(summary="done", detailed_work=text)
        return str(task.id)

    return take, hand_in


def _store(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    store = SQLiteStore.open(folder / "store.db")
    session_id = store.sessions()[0].id

    def hand_in(claim: Any) -> str:
        draft = ArtifactDraft(title=claim.task.title, digest="0" * 64, size_bytes=9)
        ending = Ending(action=NextAction.COMPLETE, summary="done")
        finished = store.finish(
            claim.task.id,
            claim.attempt.number,
            ending,
            agent="main",
            artifacts=[draft],
        )
        return finished.task.id

    return lambda: store.claim(session_id, "main", lease_s=LEASE_S), hand_in


def _hand(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    floor = ByHand(folder / "hand.db")
    contents = folder / "contents"

    def hand_in(claim: tuple[str, int]) -> str:
        task_id, number = claim
        digest, size_bytes = "0" * 64, 9
        if contents.is_dir():
            digest, size_bytes = put_content(contents, task_id.encode())
        floor.complete(task_id, number, digest, size_bytes)
        return task_id

    return floor.claim, hand_in


def _slow(folder: Path) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    """The store with a pause before each commit, where a disk that really flushes would wait."""
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
_WAITING_WAYS = {"store": _store, "slow": _slow, "hand": _hand}


def drain(way: str, folder: Path, gate: Any, reports: Any) -> None:
    """Drain the queue in *folder*, in this process."""
    take, hand_in = (_WAYS | _WAITING_WAYS)[way](folder)
    take_all(take, hand_in, gate, reports)


def take_all(
    take: Callable[[], Any], hand_in: Callable[[Any], str], gate: Any, reports: Any
) -> None:
    """Take and hand in until nothing is left, and report it."""
    won: list[str] = []
    calls = _TimedCalls()
    gate.wait()
    cpu_start, start_s = time.process_time(), time.perf_counter()
    while not calls.have_failed_often:
        claim = calls.run(take)
        if claim is None:
            break
        if claim is _FAILED:
            continue
        task = _FAILED
        while task is _FAILED and not calls.have_failed_often:
            task = calls.run(hand_in, claim)
        if task is not _FAILED:
            won.append(task)
    report = Report(
        won=won,
        waits_s=calls.waits_s,
        errors=calls.errors,
        cpu_s=time.process_time() - cpu_start,
        started_s=start_s,
        ended_s=time.perf_counter(),
    )
    reports.put(report)


_FAILED = object()


class _TimedCalls:
    """Runs calls; notes how long each took, and what went wrong."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.errors: list[str] = []

    @property
    def have_failed_often(self) -> bool:
        return len(self.errors) >= _MAX_ERRORS

    def run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments)
        except Exception as exc:  # noqa: BLE001 - whatever goes wrong is what is counted
            self.errors.append(f"{type(exc).__name__}: {exc}")
            return _FAILED
        finally:
            self.waits_s.append(time.perf_counter() - start)


# --- in the one that measures ----------------------------------------------------


def rows(scale: Scale) -> list[Row]:
    tasks, repetitions = scale.pick(2000, 80), scale.pick(3, 1)
    source = scale.folder / "queue.db"
    new_store(source)
    floor = ByHand(source)
    for number in range(tasks):
        floor.plan(number, ())
    floor.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    floor.close()
    rounds: dict[str, list[Round]] = {way: [] for way in _WAYS}
    for number in range(repetitions):
        for way in _WAYS:
            folder = scale.folder / f"{way} {number}"
            rounds[way].append(_run(way, folder, source, PROCESSES))
    facade = Comparison(
        name="façade",
        tasks=tasks,
        ours=rounds["facade"],
        against=f"{_BY_HAND}, and content file",
        floor=rounds["file"],
    )
    store = Comparison(
        name="store",
        tasks=tasks,
        ours=rounds["store"],
        against=_BY_HAND,
        floor=rounds["hand"],
    )
    return [*facade.rows(), *store.rows(), *_waiting_rows(scale, source)]


def _waiting_rows(scale: Scale, source: Path) -> list[Row]:
    """Measure how long a call waits, on the disk as it is and on one that seems to flush."""
    table: list[Row] = []
    for processes in (1, 4, 8):
        rounds = {}
        for way in _WAITING_WAYS:
            folder = scale.folder / f"look {processes} {way}"
            rounds[way] = _run(way, folder, source, processes)
        count = "1 process" if processes == 1 else f"{processes} processes"
        table.append(_waiting_row(f"{count}, store", rounds["store"], rounds["hand"]))
        slow = f"{count}, store, each commit {FLUSH_S * 1000:.0f} ms longer"
        table.append(_waiting_row(slow, rounds["slow"], None))
    return table


def _waiting_row(name: str, ours: Round, floor: Round | None) -> Row:
    wait_s = max(ours.waits_s)
    return Row(
        what=f"{name}: longest wait for one call",
        ours=_waits([ours]),
        against="" if floor is None else _BY_HAND,
        floor="" if floor is None else _waits([floor]),
        ratio=None if floor is None else wait_s / max(floor.waits_s),
        target=f"≤ {MAX_WAIT_S * 1000:.0f} ms",
        met=wait_s <= MAX_WAIT_S,
        figures={"wait_s": wait_s, "tasks_per_s": ours.tasks_per_s},
    )


def _run(way: str, folder: Path, source: Path, processes_count: int) -> Round:
    """Let the processes drain a queue of their own in *folder*."""
    _prepare(way, folder, source)
    return run_round(drain, way, folder, processes_count=processes_count)


def run_round(target: Callable[..., None], *args: Any, processes_count: int = PROCESSES) -> Round:
    """Run *target* in several processes at once; it also takes a gate and a queue for reports."""
    context = multiprocessing.get_context("spawn")
    gate, reports = context.Barrier(processes_count), context.Queue()
    processes = []
    for _ in range(processes_count):
        process = context.Process(target=target, args=(*args, gate, reports))
        process.start()
        processes.append(process)
    received = [reports.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return Round.of(received)


def _prepare(way: str, folder: Path, source: Path) -> None:
    folder.mkdir()
    if way == "facade":
        copy_store(source, folder / ".task_orchestrator" / "orchestrator.db")
        with vespera.open(folder) as orch:
            orch.resume_session(orch.list_sessions()[0])
        return
    name = "store.db" if way in {"store", "slow"} else "hand.db"
    copy_store(source, folder / name)
    if way == "file":
        (folder / "contents").mkdir()


@attrs.frozen(kw_only=True)
class Comparison:
    """Rounds of ours beside rounds of a floor."""

    name: str
    tasks: int
    ours: list[Round]
    against: str
    floor: list[Round]

    def rows(self) -> list[Row]:
        """Return the cost of a task, the longest wait, and what went wrong."""
        what = f"{PROCESSES} processes drain {self.tasks:,} tasks, {self.name}"
        costs = [round_.cost for round_ in self.ours]
        floor_costs = [round_.cost for round_ in self.floor]
        return [
            Row.of(f"{what}: a task", costs, self.against, floor_costs),
            self._wait_row(what),
            self._loss_row(what),
        ]

    def _wait_row(self, what: str) -> Row:
        wait_s, floor_wait_s = _longest_wait_s(self.ours), _longest_wait_s(self.floor)
        return Row(
            what=f"{what}: longest wait for one call",
            ours=_waits(self.ours),
            against=self.against,
            floor=_waits(self.floor),
            ratio=wait_s / floor_wait_s,
            target=f"≤ {MAX_WAIT_S * 1000:.0f} ms",
            met=wait_s <= MAX_WAIT_S,
            figures={
                "wait_s": wait_s,
                "floor_wait_s": floor_wait_s,
                "tasks_per_s": max(round_.tasks_per_s for round_ in self.ours),
                "floor_tasks_per_s": max(round_.tasks_per_s for round_ in self.floor),
            },
        )

    def _loss_row(self, what: str) -> Row:
        errors, wrong = _losses(self.tasks, self.ours)
        floor_errors, floor_wrong = _losses(self.tasks, self.floor)
        return Row(
            what=f"{what}: errors; tasks won twice or never",
            ours=f"{errors}; {wrong}",
            against=self.against,
            floor=f"{floor_errors}; {floor_wrong}",
            ratio=None,
            target="none",
            met=errors == wrong == 0,
            figures={
                "errors": errors,
                "wrong": wrong,
                "floor_errors": floor_errors,
                "floor_wrong": floor_wrong,
            },
        )


def _longest_wait_s(rounds: list[Round]) -> float:
    return max(max(round_.waits_s) for round_ in rounds)


def _waits(rounds: list[Round]) -> str:
    waits_ms = [wait_s * 1000 for round_ in rounds for wait_s in round_.waits_s]
    median, late = quantile(waits_ms, 0.5), quantile(waits_ms, 0.99)
    return f"{max(waits_ms):.0f} ms (p50 {median:.2f}, p99 {late:.0f})"


def _losses(tasks: int, rounds: list[Round]) -> tuple[int, int]:
    """Return how many calls failed, and how many tasks were won twice or never."""
    errors = wrong = 0
    for round_ in rounds:
        errors += len(round_.errors)
        times = Counter(round_.won)
        wrong += tasks - len(times)
        wrong += sum(count - 1 for count in times.values())
    return errors, wrong
