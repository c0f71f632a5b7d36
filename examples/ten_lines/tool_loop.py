"""An agent in ten lines: a loop in which a model calls our tools.

Any model will do whose interface is that of OpenAI's Chat Completions; OPENAI_BASE_URL says where.
Stop it whenever you like: the next run goes on from there.
"""

from typing import Any

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.tools import Toolbox


def work(client: Any, model: str, goal: str) -> str:
    """Let the model work on the goal until it has nothing more to do; return its last words."""
    with vespera.open() as orch:
        toolbox, messages = Toolbox(orch), [{"role": "user", "content": goal}]
        options: Any = {"model": model, "tools": toolbox.openai()}
        while True:
            reply = client.chat.completions.create(messages=messages, **options).choices[0].message
            messages.append(reply)
            if not reply.tool_calls:
                return str(reply.content)
            messages += toolbox.openai_results(reply.tool_calls)


if __name__ == "__main__":
    from openai import OpenAI

    print(work(OpenAI(), "gpt-5", "Write a short poem about kettles. Plan it as tasks first."))
