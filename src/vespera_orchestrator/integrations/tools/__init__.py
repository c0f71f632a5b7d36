"""The calls of an `Orchestrator` as tools for language models, without MCP.

`Toolbox` has them as neutral JSON schemas with callables, and in the shapes that the loops of
Anthropic's and OpenAI's interfaces ask for. It needs no package beside this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._lazy import lazy_names

if TYPE_CHECKING:
    from vespera_orchestrator.integrations.tools.answers import Answer as Answer
    from vespera_orchestrator.integrations.tools.toolbox import Tool as Tool
    from vespera_orchestrator.integrations.tools.toolbox import Toolbox as Toolbox

__all__ = ["Answer", "Tool", "Toolbox"]
__getattr__ = lazy_names(
    "vespera_orchestrator.integrations.tools",
    {"Answer": "answers", "Tool": "toolbox", "Toolbox": "toolbox"},
)
