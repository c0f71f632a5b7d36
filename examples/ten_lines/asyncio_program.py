"""Three letters at the same time, in ten lines of asyncio.

After a crash or a Ctrl-C, ``await orch.run(write)`` goes on: what is done stays done.
"""

import asyncio

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.aio import AsyncOrchestrator, AsyncWork


async def write(work: AsyncWork) -> str:
    """Do one task: wait for a model or a service here, and return what came of it."""
    await asyncio.sleep(0.1)
    return f"Dear {work.task.title},\n\nthank you for the kettle."


async def main() -> vespera.RunReport:
    """Plan the letters, and write them side by side."""
    async with AsyncOrchestrator.open() as orch:
        await orch.initialize_session("Thank everybody")
        await orch.plan_tasks([{"title": name} for name in ("Ada", "Ben", "Cleo")])
        return await orch.run(write)


if __name__ == "__main__":
    print(asyncio.run(main()))
