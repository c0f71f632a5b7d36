"""The tools, artifacts and documents of a project on an MCP server of the host's own.

``register_tools(server, orch)`` is all that a host calls. It needs the extra ``mcp``, the official
SDK for Python. Our ids are the handles: the server keeps nothing of a call, so any other server of
the same project can answer the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Literal

import vespera_orchestrator as vespera
from vespera_orchestrator._secrets import mask_and_warn
from vespera_orchestrator.errors import (
    InvalidInputError,
    MissingDependencyError,
    NotFoundError,
    VesperaError,
)
from vespera_orchestrator.home.choice import calling_tools
from vespera_orchestrator.integrations.tools import Answer, Toolbox
from vespera_orchestrator.integrations.tools import Tool as TableTool
from vespera_orchestrator.integrations.tools.schemas import checked, object_schema
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
    from mcp_types import (
        CallToolResult,
        ElicitRequest,
        ElicitRequestFormParams,
        ElicitResult,
        InputRequiredResult,
        TextContent,
        ToolAnnotations,
    )
    from mcp_types.version import is_version_at_least
    from pydantic import BaseModel
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
        budget_tokens: About how long an answer may be; a token is about four letters, or one digit.

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

    ``orchestrator_ask_person`` comes with ``orchestrator_retry_task``: it lets the person at the
    client decide what an agent must not decide. The arguments are those of `register_tools`.
    """
    toolbox = Toolbox(orch, include=include, budget_tokens=budget_tokens)
    hosted: list[Tool] = [_HostTool.of(tool, toolbox) for tool in toolbox.tools]
    if any(tool.name == _RETRY for tool in hosted):
        hosted.append(_AskPerson.of(orch))
    return hosted


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


# --- what a person decides --------------------------------------------------------

_RETRY: Final = f"{PREFIX}retry_task"
_ASKED_BY_RESULT: Final = "2026-07-28"
"""From this version of the protocol on, a question is the result of a call."""
_QUESTION: Final = "decision"


class _Decision(BaseModel):
    """What a person can choose."""

    decision: Literal["retry", "abandon", "cancel", "later"]
    reason: str = ""


class _AskPerson(Tool):
    """Asks the person at the client what to do with a task that only a person can go on with."""

    orch: Any

    @classmethod
    def of(cls, orch: vespera.Orchestrator) -> _AskPerson:
        """Make it for a project."""
        task = {"type": "string", "description": "The task: its id or alias."}
        return cls(
            fn=orch.why,
            name=f"{PREFIX}ask_person",
            title="Ask the person",
            description=(
                "Let the person decide about a task that is blocked and waits for a decision: try "
                "again, give it up, cancel it, or later. The answer is carried out."
            ),
            parameters=object_schema({"task": task}, ["task"]),
            fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema={"type": "object"}),
            is_async=True,
            annotations=ToolAnnotations(
                title="Ask the person",
                read_only_hint=False,
                destructive_hint=True,
                idempotent_hint=False,
                open_world_hint=False,
            ),
            orch=orch,
        )

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002, FBT001, FBT002 - the signature of the SDK
    ) -> CallToolResult | InputRequiredResult:
        """Ask, and carry out the answer."""
        try:
            task = checked(arguments, dict(self.parameters), self.name)["task"]
            why = await anyio.to_thread.run_sync(self._why, task)
            if not why.needs_person:
                return _said(f"There is nothing to decide: {why}")
            if not _can_ask(context):
                return _said(f"This client cannot ask. Ask the person yourself: {why}")
            answer = await self._answer(str(why), context)
            if isinstance(answer, InputRequiredResult):
                return answer
            return _said(await anyio.to_thread.run_sync(self._carry_out, task, answer))
        except VesperaError as exc:
            return _said(str(exc), is_error=True)
        except ValueError:  # pydantic's
            return _said("The person's answer does not fit the question.", is_error=True)

    async def _answer(
        self, why: str, context: Context[Any, Any]
    ) -> _Decision | InputRequiredResult | None:
        """Return what the person chose, or the question; ``None`` if nobody wants to choose now."""
        message = f"{in_tool_names(why)}. What should happen?"
        version = context.protocol_version
        if version is None or not is_version_at_least(version, _ASKED_BY_RESULT):
            answer = await context.elicit(message, _Decision)
            return answer.data if answer.action == "accept" else None
        reply = (context.input_responses or {}).get(_QUESTION)
        if not isinstance(reply, ElicitResult):
            schema = _Decision.model_json_schema()
            form = ElicitRequestFormParams(message=message, requested_schema=schema)
            return InputRequiredResult(input_requests={_QUESTION: ElicitRequest(params=form)})
        accepted = reply.action == "accept" and reply.content is not None
        return _Decision.model_validate(reply.content) if accepted else None

    def _why(self, task: str) -> vespera.Why:
        with calling_tools():
            why: vespera.Why = self.orch.why(task)
        return why

    def _carry_out(self, task: str, answer: _Decision | None) -> str:
        decide = {
            "retry": self.orch.retry_task,
            "abandon": self.orch.abandon_task,
            "cancel": self.orch.cancel_task,
        }
        if answer is None or answer.decision not in decide:
            return "The person has not decided yet. Go on with something else."
        with calling_tools():
            return str(decide[answer.decision](task, answer.reason))


def _can_ask(context: Context[Any, Any]) -> bool:
    capabilities = context.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def _said(text: str, *, is_error: bool = False) -> CallToolResult:
    content = [TextContent(type="text", text=in_tool_names(text))]
    return CallToolResult(content=content, structured_content={}, is_error=is_error)


# --- resources ------------------------------------------------------------------


def _add_resources(server: MCPServer[Any], orch: vespera.Orchestrator) -> None:
    def read_artifact(artifact_id: str) -> str:
        return mask_and_warn(_read(orch.artifacts.text, artifact_id), f"artifact {artifact_id}")

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


_ASK_FOR_GOAL: Final = "Help me plan a piece of work as tasks. First ask me what it is."
"""How the prompt begins if the client passes no goal."""


def _prompts(orch: vespera.Orchestrator) -> list[Prompt]:
    toolbox = Toolbox(orch, include=["resume", "get_status"])

    def resume() -> str:
        briefing = toolbox.answer("resume", {}).text
        return (
            f"This is where the work stands:\n\n{briefing}\n\n"
            f"Take the next step with the tool that it names. Ask me before you do anything that "
            f"is marked as a decision."
        )

    def plan(goal: str = "") -> str:
        status = toolbox.answer("get_status", {}).text
        wish = f"Plan this work as tasks: {goal}" if goal else _ASK_FOR_GOAL
        return (
            f"{wish}\n\nWhere the project stands:\n\n{status}\n\n"
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
