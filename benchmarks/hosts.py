"""What a host adds: calls through asyncio and MCP beside plain calls; `run` beside a loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mcp.client import Client
from mcp.server.mcpserver import MCPServer

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, alternate, metered
from vespera_orchestrator.integrations.aio import AsyncOrchestrator
from vespera_orchestrator.integrations.mcp import register_tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def rows(scale: Scale) -> list[Row]:
    """Return a row for each way of calling, and one for running a graph."""
    return [*_calls(scale), *_graph(scale)]


def _calls(scale: Scale) -> list[Row]:
    count = scale.pick(300, 20)
    folder = scale.folder / "calls"
    folder.mkdir()
    with vespera.open(folder) as orch:
        orch.initialize_session("Calls")
        orch.plan_task("Task")
        orch.plan_task("Next", dependencies=["task"])
        server = MCPServer("benchmark")
        register_tools(server, orch)

        def plain() -> Cost:
            with metered() as meter:
                for _ in range(count):
                    orch.why("next")
            return meter.per(count)

        costs = alternate(
            scale.pick(7, 2),
            plain=plain,
            awaited=lambda: asyncio.run(_awaited(folder, count)),
            mcp=lambda: asyncio.run(_over_mcp(server, count)),
        )
    return [
        Row.of("why(), awaited", costs["awaited"], "why()", costs["plain"]),
        Row.of("why(), as an MCP tool, in memory", costs["mcp"], "why()", costs["plain"]),
    ]


async def _awaited(folder: Path, count: int) -> Cost:
    async with AsyncOrchestrator.open(folder) as orch:
        with metered() as meter:
            for _ in range(count):
                await orch.why("next")
    return meter.per(count)


async def _over_mcp(server: MCPServer, count: int) -> Cost:
    async with Client(server) as client:
        with metered() as meter:
            for _ in range(count):
                await client.call_tool("orchestrator_why", {"task": "next"})
    return meter.per(count)


# --- running a graph ----------------------------------------------------------


def _graph(scale: Scale) -> list[Row]:
    count = scale.pick(10_000, 30)
    costs = alternate(
        scale.pick(2, 2),
        run=lambda: _timed(scale.folder, count, _by_run),
        loop=lambda: _timed(scale.folder, count, _by_hand),
        bare=lambda: _bare(count),
    )
    what = f"run() with {count:,} tiny tasks and 4 threads, a task"
    return [
        Row.of(what, costs["run"], "claim and complete in a loop", costs["loop"]),
        Row.of(what, costs["run"], "a bare ThreadPoolExecutor, nothing kept", costs["bare"]),
    ]


def _bare(count: int) -> Cost:
    """Do as much without any record of it: what is left is the price of keeping it."""
    titles = [f"Task {number}" for number in range(count)]
    with metered() as meter, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(str.strip, titles)) == titles
    return meter.per(count)


def _timed(folder: Path, count: int, do: Callable[[vespera.Orchestrator], None]) -> Cost:
    home = folder / f"run-{len(list(folder.iterdir()))}"
    home.mkdir()
    with vespera.open(home) as orch:
        orch.initialize_session("Run")
        orch.plan_tasks([{"title": f"Task {number}"} for number in range(count)])
        with metered() as meter:
            do(orch)
        assert orch.next_step().action == "done"
    return meter.per(count)


def _by_run(orch: vespera.Orchestrator) -> None:
    with ThreadPoolExecutor(4) as pool:
        orch.run(lambda work: work.task.title, executor=pool)


def _by_hand(orch: vespera.Orchestrator) -> None:
    try:
        while True:
            with orch.execute_task() as work:
                work.complete(summary=work.task.title, detailed_work=work.task.title)
    except vespera.NothingReadyError:
        pass
