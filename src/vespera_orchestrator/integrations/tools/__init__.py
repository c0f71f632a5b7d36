"""The calls of an `Orchestrator` as tools for language models, without MCP.

`Toolbox` has them as neutral JSON schemas with callables, and in the shapes that the loops of
Anthropic's and OpenAI's interfaces ask for. It needs no package beside this one.
"""

from __future__ import annotations

from vespera_orchestrator.integrations.tools.answers import Answer
from vespera_orchestrator.integrations.tools.toolbox import Tool, Toolbox

__all__ = ["Answer", "Tool", "Toolbox"]
