"""An agent that works through the tools, in a loop of your own.

    ANTHROPIC_API_KEY=… python examples/tool_loop.py "Write a short poem about kettles"

It needs the package ``anthropic``. Stop it whenever you like: what it planned and saved is in the
project, and the next run goes on from there.
"""

from __future__ import annotations

import sys
from typing import Any

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.tools import Toolbox

SYSTEM = "Plan the work as tasks, do each, and complete it. Start with orchestrator_resume."


def work(client: Any, goal: str, *, model: str = "claude-sonnet-4-5") -> None:
    """Let the model call tools until it has nothing more to do."""
    with vespera.open() as orch:
        toolbox = Toolbox(orch)
        options = {"model": model, "max_tokens": 4096, "system": SYSTEM}
        messages: list[Any] = [{"role": "user", "content": goal}]
        while True:
            reply = client.messages.create(**options, tools=toolbox.anthropic(), messages=messages)
            messages.append({"role": "assistant", "content": reply.content})
            results = toolbox.anthropic_results(reply.content)
            if not results:
                return
            messages.append({"role": "user", "content": results})


if __name__ == "__main__":
    import anthropic

    work(anthropic.Anthropic(), sys.argv[1])
