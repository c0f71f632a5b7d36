"""CPU per durable step, ours and that of peers, each in a process of its own, in turns. Needs the peers installed: ``nox -s peers``.

A durable step is the smallest piece of work that survives the death of the process that did it. With us that is a task taken and completed
with its artifact, or a checkpoint of a task in hand; with DBOS a step of a workflow; with LangGraph a node whose checkpoint is written
before the next begins; with huey a task, and with procrastinate a job, that is queued and executed. They promise different things;
docs/benchmarks.md says what.
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
"""So many steps before the clock runs: what is imported and made on the first use is not what a step costs."""


def ours(folder: Path, steps: int) -> None:
    import vespera_orchestrator as vespera

    with vespera.open(folder) as orch:
        orch.initialize_session("Compare")
        tasks = orch.plan_tasks([{"title": f"Step {number}"} for number in range(WARM + steps)])
        for number, task in enumerate(tasks):
            if number == WARM:
                begun()
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
                begun()
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
    begun()
    workflow(steps)
    ended()
    DBOS.destroy()


def langgraph(folder: Path, steps: int) -> None:
    import operator
    from typing import Annotated, TypedDict

    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    State = TypedDict("State", {"total": Annotated[int, operator.add]})  # noqa: UP013 - in the other form its annotation is a text nobody here can read
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
                begun()
            app.invoke(
                {"total": 0}, {"configurable": {"thread_id": str(thread)}}, durability="sync"
            )
        ended()


def huey(folder: Path, steps: int) -> None:
    from huey import SqliteHuey

    queue = SqliteHuey("compare", filename=str(folder / "huey.sqlite"), fsync=True)

    @queue.task()
    def step(number: int) -> int:
        return number

    for number in range(WARM + steps):
        if number == WARM:
            begun()
        step(number)
        queue.execute(queue.dequeue())
    ended()


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
            begun()
            for number in range(steps):
                await step.defer_async(number=number)
            await app.run_worker_async(wait=False, concurrency=1, install_signal_handlers=False)
            ended()

    asyncio.run(run())


PEERS = {
    "ours: task taken and completed, with artifact": ours,
    "ours: checkpoint of a held task": chain,
    "DBOS: step of a workflow": dbos,
    "LangGraph: node, SqliteSaver, durability sync": langgraph,
    "huey: enqueued and executed, SQLite, fsync": huey,
    "procrastinate: deferred and executed, PostgreSQL": procrastinate,
}
_mark: list[tuple[float, float]] = []


def begun() -> None:
    """Everything before it is not counted."""
    _mark[:] = [(time.process_time(), time.perf_counter())]


def ended() -> None:
    """Everything after it is not counted."""
    _mark.append((time.process_time(), time.perf_counter()))


def alone(name: str, steps: int) -> None:
    """Run one in this process, and say what it took."""
    with tempfile.TemporaryDirectory() as folder:
        PEERS[name](Path(folder), steps)
        if len(_mark) == 1:
            ended()
    (cpu, wall), (cpu_end, wall_end) = _mark
    print(json.dumps([(cpu_end - cpu) / steps, (wall_end - wall) / steps]))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--alone", metavar="NAME", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        alone(chosen.alone, chosen.steps)
        return 0
    names = [
        name
        for name in PEERS
        if not name.startswith("procrastinate") or "VESPERA_BENCH_POSTGRESQL" in os.environ
    ]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(chosen.rounds):
        for name in names:
            done = subprocess.run(
                [sys.executable, __file__, "--alone", name, "--steps", str(chosen.steps)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(
                    f"{name}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}",
                    file=sys.stderr,
                )
            else:
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    base = min(cpu for cpu, _ in found[names[0]])
    print(
        "| durable step | CPU, µs (least of the rounds; all) | wall, µs (least) | CPU through ours |\n|---|---|---|---|"
    )
    for name, rounds in found.items():
        if rounds:
            cpus = sorted(cpu * 1e6 for cpu, _ in rounds)
            wall = min(wall for _, wall in rounds) * 1e6
            print(
                f"| {name} | {cpus[0]:,.0f} ({', '.join(f'{cpu:,.0f}' for cpu in cpus)}) | {wall:,.0f} | {cpus[0] / 1e6 / base:.1f} |"
            )
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
