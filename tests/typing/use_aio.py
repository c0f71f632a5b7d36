"""Typed use of the façade for asyncio; checked by type checkers, never run."""

from __future__ import annotations

from typing import assert_type

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.aio import AsyncOrchestrator, AsyncWork


async def write(work: AsyncWork) -> str:
    """Write something."""
    return work.task.title


def count(work: vespera.Work) -> dict[str, int]:
    """Count something."""
    return {"titles": len(work.task.title)}


async def use() -> None:
    """Use what most callers use."""
    async with AsyncOrchestrator.open(".", agent="ada") as orch:
        assert_type(orch, AsyncOrchestrator)
        assert_type(await orch.initialize_session("goal"), vespera.Session)
        task = await orch.plan_task("Task", dependencies=["a"])
        assert_type(task, vespera.Task)
        async with orch.execute_task(task, worktree=True) as work:
            assert_type(work, AsyncWork)
            assert_type(await work.checkpoint({"a": 1}, "note", 0.5), vespera.Checkpoint)
        assert_type(await orch.execute_task(), AsyncWork)
        assert_type(await orch.artifacts.search("x"), list[vespera.Hit])
        assert_type(await orch.worktrees.list(), list[vespera.Worktree])
        assert_type(await orch.run(write, max_parallel=2), vespera.RunReport)
        await orch.run({"writer": write, "*": count}, on_recovery="retry", progress=True)
        async for event in orch.watch():
            assert_type(event, vespera.Event)
    other = await AsyncOrchestrator.open()
    assert_type(other, AsyncOrchestrator)
