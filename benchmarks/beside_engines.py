"""`run` with many tiny tasks, beside a bare pool, Dask's own futures and Prefect.

    python benchmarks/beside_engines.py run|loop|bare|dask|prefect [COUNT]

Each needs a process of its own, and what it compares with: ``pip install distributed prefect``.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import vespera_orchestrator as vespera

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 4


def cpu_s() -> float:
    """Return the processor time of this process and of the children that have ended."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(what: str, count: int, do: Callable[[], object]) -> None:
    """Do it once, and print what a task took."""
    cpu, wall = cpu_s(), time.perf_counter()
    do()
    cpu, wall = cpu_s() - cpu, time.perf_counter() - wall
    print(f"{what}: {cpu / count * 1e6:.0f} µs CPU, {wall / count * 1e3:.2f} ms wall a task")


def titles(count: int) -> list[str]:
    return [f"Task {number}" for number in range(count)]


def bare(count: int) -> None:
    def do() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(str.strip, titles(count))) == titles(count)

    measure("a bare ThreadPoolExecutor", count, do)


def by_run(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, vespera.open(folder) as orch:
        orch.initialize_session("Run")
        orch.plan_tasks([{"title": title} for title in titles(count)])

        def do() -> None:
            with ThreadPoolExecutor(THREADS) as pool:
                report = orch.run(lambda work: work.task.title, executor=pool)
            assert len(report.completed) == count

        measure("run()", count, do)


def by_loop(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, vespera.open(folder) as orch:
        orch.initialize_session("Loop")
        orch.plan_tasks([{"title": title} for title in titles(count)])

        def do() -> None:
            for _ in range(count):
                with orch.execute_task() as work:
                    work.complete(summary=work.task.title, detailed_work=work.task.title)

        measure("claim and complete in a loop", count, do)


def dask(count: int) -> None:
    from dask.distributed import Client, LocalCluster

    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": THREADS, "processes": False}
    with LocalCluster(**options, dashboard_address=None) as cluster, Client(cluster) as client:

        def do() -> None:
            client.gather(client.map(str.strip, titles(count), pure=False))

        measure("Dask's futures", count, do)


def prefect(count: int) -> None:
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    strip = task(str.strip, name="strip")

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=THREADS))
    def everything() -> None:
        for future in [strip.submit(title) for title in titles(count)]:
            future.result()

    measure("Prefect", count, everything)


WAYS = {"bare": bare, "run": by_run, "loop": by_loop, "dask": dask, "prefect": prefect}

if __name__ == "__main__":
    WAYS[sys.argv[1]](int(sys.argv[2]) if sys.argv[2:] else 10_000)
