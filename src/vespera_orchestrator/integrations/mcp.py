"""The tools, artifacts and documents of a project on an MCP server of the host's own.

``register_tools(server, orch)`` is all that a host calls. It needs the extra ``mcp``, the official
SDK for Python. Our ids are the handles: the server keeps nothing of a call, so any other server of
the same project can answer the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import (
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    VesperaError,
)
from vespera_orchestrator.integrations.tools import Answer, Toolbox
from vespera_orchestrator.integrations.tools import Tool as TableTool
from vespera_orchestrator.integrations.tools.table import PREFIX, in_tool_names
from vespera_orchestrator.integrations.tools.toolbox import BUDGET_TOKENS

try:
    import anyio.from_thread
    import anyio.to_thread
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import (
        ResourceError,
        ResourceNotFoundError,
        UnexpectedToolError,
    )
    from mcp.server.mcpserver.prompts import Prompt
    from mcp.server.mcpserver.tools import Tool
    from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
    from mcp_types import CallToolResult, TextContent, ToolAnnotations
except ImportError as exc:
    raise MissingDependencyError(
        "an MCP server", "mcp", "python -m pip install 'vespera-orchestrator[mcp]'"
    ) from exc

log = logging.getLogger("vespera_orchestrator")

INSTRUCTIONS: Final = (
    "Large work is planned as tasks and done one at a time. Call orchestrator_resume first: it "
    "says where the work stands and names the next call. Start a task with "
    "orchestrator_execute_task, save on the way with orchestrator_checkpoint, and hand everything "
    "you did to orchestrator_complete_task. When you cannot go on, say so with "
    "orchestrator_fail_task or orchestrator_release_task. Tasks are named by id or alias."
)
"""What a server can tell its clients about these tools; a host passes it to ``MCPServer``."""


def register_tools(
    server: MCPServer[Any],
    orch: vespera.Orchestrator,
    *,
    include: str | Iterable[str] | None = None,
    budget_tokens: int = BUDGET_TOKENS,
) -> tuple[str, ...]:
    """Put the ``orchestrator_*`` tools on *server*, with resources and prompts.

    Resources are artifacts, document versions and the status; prompts are those to resume and to
    plan. Call it once, before the server runs.

    Args:
        server: The host's own server.
        orch: The open project. It stays the host's to close.
        include: Names of tools or groups, or ``"all"``; as for `Toolbox`.
        budget_tokens: About how long an answer may be; one token is counted as four characters.

    Returns:
        The names of the tools.

    Raises:
        InvalidInputError: *include* names something that does not exist, or *server* is no
            ``MCPServer``, or has a tool of such a name already.
    """
    registered = tools(orch, include=include, budget_tokens=budget_tokens)
    by_name = _tools_of(server)
    for tool in registered:
        if tool.name in by_name:
            raise InvalidInputError("server", f"it has a tool {tool.name!r} already")
    for tool in registered:
        by_name[tool.name] = tool
    _add_resources(server, orch)
    for prompt in _prompts(orch):
        server.add_prompt(prompt)
    return tuple(tool.name for tool in registered)


def tools(
    orch: vespera.Orchestrator,
    *,
    include: str | Iterable[str] | None = None,
    budget_tokens: int = BUDGET_TOKENS,
) -> list[Tool]:
    """Return the tools for ``MCPServer(tools=…)``, without resources and prompts.

    The arguments are those of `register_tools`.
    """
    toolbox = Toolbox(orch, include=include, budget_tokens=budget_tokens)
    return [_HostTool.of(tool, toolbox) for tool in toolbox.tools]


def _tools_of(server: MCPServer[Any]) -> dict[str, Tool]:
    """Return the tools of a server by name, to add to: the one private part that we touch.

    ``MCPServer.add_tool`` makes the schema itself, from a signature. It cannot say that there are
    no other arguments, drops those that are unknown, and takes "7" for a number.
    """
    manager = getattr(server, "_tool_manager", None)
    by_name = getattr(manager, "_tools", None)
    if not isinstance(by_name, dict):
        raise InvalidInputError(
            "server",
            f"{type(server).__name__} is not an MCPServer of mcp 2; "
            "or pass MCPServer(tools=vespera_orchestrator.integrations.mcp.tools(orch))",
        )
    return by_name


class _HostTool(Tool):
    """A tool of the table. It checks its own arguments, and answers in our words."""

    answer: Callable[..., Answer]

    @classmethod
    def of(cls, tool: TableTool, toolbox: Toolbox) -> _HostTool:
        """Make it of a row of the table."""
        spec = tool.spec
        metadata = FuncMetadata(arg_model=ArgModelBase, output_schema=dict(tool.returns))
        return cls(
            fn=tool,
            name=tool.name,
            title=spec.title,
            description=tool.description,
            parameters=dict(tool.parameters),
            fn_metadata=metadata,
            is_async=False,
            annotations=ToolAnnotations(
                title=spec.title,
                read_only_hint=spec.reads_only,
                destructive_hint=spec.destroys,
                idempotent_hint=spec.is_repeatable,
                open_world_hint=False,
            ),
            answer=toolbox.answer,
        )

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002, FBT001, FBT002 - the signature of the SDK
    ) -> CallToolResult:
        """Call it in a worker thread, so that the server goes on with other requests."""
        progress = _progress_of(context)
        call = partial(self.answer, self.name, arguments, progress=progress)
        try:
            answer = await anyio.to_thread.run_sync(call)
        except Exception as exc:  # a bug of ours: its text stays on the server
            log.exception("%s failed", self.name)
            raise UnexpectedToolError(f"{self.name} failed; the server's log says why") from exc
        return CallToolResult(
            content=[TextContent(type="text", text=answer.text)],
            structured_content=dict(answer.data),
            is_error=answer.is_error,
        )


def _progress_of(context: Context[Any, Any]) -> Callable[[str], None]:
    """Return what passes a step of a long call on to the client, from the worker's thread."""
    steps = 0

    def report(message: str) -> None:
        nonlocal steps
        steps += 1
        anyio.from_thread.run(partial(context.report_progress, steps, message=message))

    return report


# --- resources ------------------------------------------------------------------


def _add_resources(server: MCPServer[Any], orch: vespera.Orchestrator) -> None:
    def read_artifact(artifact_id: str) -> str:
        return str(_read(orch.artifacts.text, artifact_id))

    def read_bytes(artifact_id: str) -> bytes:
        return bytes(_read(orch.artifacts.read, artifact_id))

    def read_document(path: str) -> str:
        versions = _read(orch.documents.versions, path)
        if not versions:
            raise ResourceNotFoundError(f"{path!r} is not a document that this project keeps")
        return str(_read(orch.documents.read, versions[-1]))

    def read_status() -> str:
        return str(_read(orch.get_status))

    server.resource(
        "orchestrator://artifacts/{artifact_id}",
        name="artifact",
        description="The text of an artifact, whole. Its id is a_ and twelve letters or digits.",
        mime_type="text/markdown",
    )(read_artifact)
    server.resource(
        "orchestrator://artifacts/{artifact_id}/bytes",
        name="artifact_bytes",
        description="The bytes of an artifact, for those that are not text.",
        mime_type="application/octet-stream",
    )(read_bytes)
    server.resource(
        "orchestrator://documents/{+path}",
        name="document",
        description="The latest version of a project document, such as docs/CHANGELOG.md.",
        mime_type="text/markdown",
    )(read_document)
    server.resource(
        "orchestrator://status",
        name="status",
        description="Where the current session stands.",
        mime_type="text/plain",
    )(read_status)


def _read(function: Callable[..., Any], *arguments: object) -> Any:
    """Call *function*, with our errors as those of the SDK."""
    try:
        return function(*arguments)
    except NotFoundError as exc:
        raise ResourceNotFoundError(in_tool_names(str(exc))) from exc
    except VesperaError as exc:
        raise ResourceError(in_tool_names(str(exc))) from exc


# --- prompts --------------------------------------------------------------------


def _prompts(orch: vespera.Orchestrator) -> list[Prompt]:
    toolbox = Toolbox(orch, include=["resume", "get_status"])

    def resume() -> str:
        briefing = toolbox.answer("resume", {}).text
        return (
            f"This is where the work stands:\n\n{briefing}\n\n"
            f"Take the next step with the tool that it names. Ask me before you do anything that "
            f"is marked as a decision."
        )

    def plan(goal: str) -> str:
        status = toolbox.answer("get_status", {}).text
        return (
            f"Plan this work as tasks: {goal}\n\nWhere the project stands:\n\n{status}\n\n"
            f"If no session is active, start one with {PREFIX}initialize_session. Then plan all "
            f"tasks at once with {PREFIX}plan_tasks: each small enough for one sitting, with what "
            f"it depends on, and how to tell that it is done. Show me the plan before you start."
        )

    return [
        Prompt.from_function(
            resume,
            name=f"{PREFIX}resume_work",
            title="Resume the work",
            description="Where the work stands, and the next step.",
        ),
        Prompt.from_function(
            plan,
            name=f"{PREFIX}plan_work",
            title="Plan a piece of work",
            description="Plan a goal as tasks.",
        ),
    ]
