"""CPU per durable step, ours and that of peers, each in its own process, in turns.

Needs the peers installed: ``nox -s peers``.

A durable step is the smallest piece of work that survives the death of the process that did it.
Here that is a task taken and completed with its artifact, or a checkpoint of a task in hand; with
DBOS a step of a workflow; with LangGraph a node whose checkpoint is written before the next one
starts; with huey a task, and with procrastinate a job, that is queued and executed. They promise
different things; docs/benchmarks.md says what.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 300
ROUNDS = 3
WARM = 20
"""Steps before the clock starts: what is imported and made on first use is not a step's cost."""


def ours(folder: Path, steps: int) -> None:
    import vespera_orchestrator as vespera

    with vespera.open(folder) as orch:
        orch.initialize_session("Compare")
        tasks = orch.plan_tasks([{"title": f"Step {number}"} for number in range(WARM + steps)])
        for number, task in enumerate(tasks):
            if number == WARM:
                start_clock()
            with orch.execute_task(task) as work:
                work.complete(summary="done", detailed_work="x")


def chain(folder: Path, steps: int) -> None:
    import vespera_orchestrator as vespera

    with vespera.open(folder) as orch:
        orch.initialize_session("Compare")
        orch.plan_task("Step")
        work = orch.execute_task()
        for number in range(WARM + steps):
            if number == WARM:
                start_clock()
            work.checkpoint(number)


def dbos(folder: Path, steps: int) -> None:
    from dbos import DBOS

    DBOS(
        config={
            "name": "compare",
            "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
            "log_level": "ERROR",
        }
    )

    @DBOS.step()
    def step(number: int) -> int:
        return number

    @DBOS.workflow()
    def workflow(steps: int) -> int:
        return sum(step(number) for number in range(steps))

    DBOS.launch()
    workflow(WARM)
    start_clock()
    workflow(steps)
    stop_clock()
    DBOS.destroy()


def langgraph(folder: Path, steps: int) -> None:
    import operator
    from typing import Annotated, TypedDict

    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    # In the other form its annotation would be a text that nobody here can resolve.
    State = TypedDict("State", {"total": Annotated[int, operator.add]})  # noqa: UP013
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(10)]
    for before, name in zip([START, *names], names, strict=False):
        graph.add_node(name, lambda _: {"total": 1})
        graph.add_edge(before, name)
    graph.add_edge(names[-1], END)
    with SqliteSaver.from_conn_string(str(folder / "graph.sqlite")) as saver:
        app = graph.compile(checkpointer=saver)
        for thread in range((WARM + steps) // len(names)):
            if thread == WARM // len(names):
                start_clock()
            config = {"configurable": {"thread_id": str(thread)}}
            app.invoke({"total": 0}, config, durability="sync")
        stop_clock()


def huey(folder: Path, steps: int) -> None:
    from huey import SqliteHuey

    queue = SqliteHuey("compare", filename=str(folder / "huey.sqlite"), fsync=True)

    @queue.task()
    def step(number: int) -> int:
        return number

    for number in range(WARM + steps):
        if number == WARM:
            start_clock()
        step(number)
        queue.execute(queue.dequeue())
    stop_clock()


def procrastinate(folder: Path, steps: int) -> None:
    """Needs ``VESPERA_BENCH_POSTGRESQL``, the address of an empty database."""
    import asyncio

    from procrastinate import App, PsycopgConnector

    del folder
    app = App(connector=PsycopgConnector(conninfo=os.environ["VESPERA_BENCH_POSTGRESQL"]))

    @app.task(name="step")
    async def step(number: int) -> int:
        return number

    async def run() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            start_clock()
            for number in range(steps):
                await step.defer_async(number=number)
            await app.run_worker_async(wait=False, concurrency=1, install_signal_handlers=False)
            stop_clock()

    asyncio.run(run())


PROCRASTINATE = "procrastinate: deferred and executed, PostgreSQL"
PEERS = {
    "ours: task taken and completed, with artifact": ours,
    "ours: checkpoint of a held task": chain,
    "DBOS: step of a workflow": dbos,
    "LangGraph: node, SqliteSaver, durability sync": langgraph,
    "huey: enqueued and executed, SQLite, fsync": huey,
    PROCRASTINATE: procrastinate,
}
_marks: list[tuple[float, float]] = []
"""CPU and wall time at the start and at the end."""


def start_clock() -> None:
    """Count nothing that happened before this."""
    _marks.clear()
    stop_clock()


def stop_clock() -> None:
    """Count nothing that happens after this."""
    now = (time.process_time(), time.perf_counter())
    _marks.append(now)


def run_here(name: str, steps: int) -> None:
    """Run one in this process, and print what a step took."""
    with tempfile.TemporaryDirectory() as folder:
        PEERS[name](Path(folder), steps)
        if len(_marks) == 1:
            stop_clock()
    (cpu_start, wall_start), (cpu_end, wall_end) = _marks
    cpu_s = (cpu_end - cpu_start) / steps
    wall_s = (wall_end - wall_start) / steps
    print(json.dumps([cpu_s, wall_s]))


def run_alone(name: str, steps: int) -> list[float] | None:
    """Run one in its own process; return CPU and wall time of a step, ``None`` if it failed."""
    command = [sys.executable, __file__, "--alone", name, "--steps", str(steps)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [str(process.returncode)]
        print(f"{name}: {lines[-1]}", file=sys.stderr)
        return None
    times: list[float] = json.loads(process.stdout.splitlines()[-1])
    return times


def print_table(times: dict[str, list[list[float]]]) -> None:
    """Print a row for each that could be run; the others are compared with the first."""
    head = "durable step | CPU, µs (least of the rounds; all) | wall, µs (least) | CPU through ours"
    print(f"| {head} |\n|---|---|---|---|")
    base_us = None
    for name, rounds in times.items():
        if not rounds:
            continue
        cpus_us = sorted(cpu_s * 1e6 for cpu_s, _ in rounds)
        wall_us = min(wall_s for _, wall_s in rounds) * 1e6
        least_us = cpus_us[0]
        base_us = base_us or least_us
        all_us = ", ".join(f"{cpu_us:,.0f}" for cpu_us in cpus_us)
        ratio = least_us / base_us
        print(f"| {name} | {least_us:,.0f} ({all_us}) | {wall_us:,.0f} | {ratio:.1f} |")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", metavar="NAME", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        run_here(chosen.alone, chosen.steps)
        return 0
    times: dict[str, list[list[float]]] = {name: [] for name in PEERS}
    if "VESPERA_BENCH_POSTGRESQL" not in os.environ:
        del times[PROCRASTINATE]
    for _ in range(chosen.rounds):
        for name, rounds in times.items():
            cost = run_alone(name, chosen.steps)
            if cost is not None:
                rounds.append(cost)
    print_table(times)
    return 0 if all(times.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
