"""The Tasks extension of MCP: a client waits for a task of ours by its id, however long it takes.

    server = MCPServer("kettle", extensions=[TaskHandles(orch)])

The extension is ``io.modelcontextprotocol/tasks``, as of protocol 2026-07-28 (SEP-2663). The handle
is the id of the task in the store. So it outlives the server that gave it: any other server of the
project answers for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import MissingDependencyError, VesperaError
from vespera_orchestrator.home.choice import calling_tools
from vespera_orchestrator.integrations.tools.table import PREFIX, in_tool_names

try:
    import anyio.to_thread
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.extension import Extension, MethodBinding, ToolBinding
    from mcp.shared.exceptions import MCPError
    from mcp_types import (
        CallToolRequestParams,
        CallToolResult,
        ElicitRequest,
        ElicitRequestFormParams,
        RequestParams,
        Result,
        TextContent,
        ToolAnnotations,
    )
    from pydantic import BaseModel, ConfigDict, ValidationError
    from pydantic.alias_generators import to_camel
except ImportError as exc:
    raise MissingDependencyError(
        "the Tasks extension of MCP", "mcp", "python -m pip install 'vespera-orchestrator[mcp]'"
    ) from exc

EXTENSION: Final = "io.modelcontextprotocol/tasks"
"""The name of the extension, as clients declare it."""
WAIT_TOOL: Final = f"{PREFIX}wait_for"
"""The tool whose result may come later."""
_POLL_MS: Final = 2000
"""So often a client should ask."""
_LONGEST_WAIT_S: Final = 50.0
"""A call without the extension ends by then, ended task or not."""
_INVALID_PARAMS: Final = -32602


class _TaskParams(RequestParams):
    """Which task is meant."""

    task_id: str


class _UpdateParams(_TaskParams):
    """Answers to what the task asked, by key."""

    input_responses: dict[str, Any]


class _Handle(Result):
    """A task, as the extension shows it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    result_type: Literal["task", "complete"]
    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None = None
    poll_interval_ms: int = _POLL_MS
    result: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


class _Decision(BaseModel):
    """What a person can choose for a task that only a person can go on with."""

    decision: Literal["retry", "abandon", "cancel"]
    reason: str = ""


class _Answer(BaseModel):
    """What a person says to a question."""

    answer: str


class TaskHandles(Extension):
    """Lets clients wait for tasks: pass it to ``MCPServer(extensions=[TaskHandles(orch)])``.

    It brings the tool ``orchestrator_wait_for``. To a client with the extension, that gives a
    handle at once; ``tasks/get`` says how the task is doing and, once it has ended, what it
    brought. What waits for a person is ``input_required``, and ``tasks/update`` carries the answer
    out. ``tasks/cancel`` cancels the task. Any other client waits a while, and asks again.
    """

    identifier = EXTENSION

    def __init__(self, orch: vespera.Orchestrator) -> None:
        """Serve the tasks of a project.

        Args:
            orch: The open project. It stays the host's to close.
        """
        self._orch = orch

    def tools(self) -> Sequence[ToolBinding]:
        """Return the tool that waits."""
        options = {
            "name": WAIT_TOOL,
            "title": "Wait for a task",
            "description": (
                "Wait until a task has ended, and return what it brought. Others do the task "
                "meanwhile; do not use it for a task that you hold."
            ),
            "annotations": ToolAnnotations(
                title="Wait for a task",
                read_only_hint=True,
                destructive_hint=False,
                idempotent_hint=True,
                open_world_hint=False,
            ),
        }
        return [ToolBinding(fn=self._wait, kwargs=options)]

    def methods(self) -> Sequence[MethodBinding]:
        """Return the methods by which clients come back to a handle."""
        return [
            MethodBinding("tasks/get", _TaskParams, self._get),
            MethodBinding("tasks/update", _UpdateParams, self._update),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel),
        ]

    async def intercept_tool_call(
        self,
        params: CallToolRequestParams,
        ctx: ServerRequestContext[Any, Any],
        call_next: CallNext,
    ) -> HandlerResult:
        """Give a handle in place of waiting, to a client that knows what to do with one."""
        if params.name != WAIT_TOOL or not _knows_handles(ctx):
            return await call_next(ctx)
        try:
            task = await _in_thread(self._task, (params.arguments or {}).get("task"))
        except VesperaError:
            return await call_next(ctx)  # the tool says what is wrong
        if task.status.is_terminal:
            return await call_next(ctx)
        return await _in_thread(self._handle, task, result_type="task", can_ask=_can_ask(ctx))

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: _TaskParams) -> HandlerResult:
        task = await self._known(params.task_id)
        return await _in_thread(self._handle, task, result_type="complete", can_ask=_can_ask(ctx))

    async def _update(
        self,
        ctx: ServerRequestContext[Any, Any],  # noqa: ARG002 - the signature of the SDK
        params: _UpdateParams,
    ) -> HandlerResult:
        task = await self._known(params.task_id)
        with _refusals():
            await _in_thread(self._carry_out, task, params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(
        self,
        ctx: ServerRequestContext[Any, Any],  # noqa: ARG002 - the signature of the SDK
        params: _TaskParams,
    ) -> HandlerResult:
        task = await self._known(params.task_id)
        if not task.status.is_terminal:
            await _in_thread(self._orch.cancel_task, task, "cancelled by the client")
        return {"resultType": "complete"}

    async def _known(self, task_id: str) -> vespera.Task:
        with _refusals():
            task: vespera.Task = await _in_thread(self._task, task_id)
        return task

    def _task(self, task: Any) -> vespera.Task:
        return self._orch.get_task(task)

    # --- what a task is to a client ---------------------------------------------

    def _handle(
        self, task: vespera.Task, *, result_type: Literal["task", "complete"], can_ask: bool
    ) -> HandlerResult:
        """Return how a task is doing; once it has ended, with what it brought."""
        handle = _Handle(
            result_type=result_type,
            task_id=task.id,
            status="working",
            created_at=task.created_at.isoformat(),
            last_updated_at=task.updated_at.isoformat(),
        )
        if task.status is vespera.TaskStatus.CANCELLED:
            handle.status = "cancelled"
        elif task.status.is_terminal:
            handle.status = "completed"
            result = self._result(task)
            handle.result = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        else:
            handle.status_message = in_tool_names(self._state(task))
            requests = self._requests(task) if can_ask else {}
            if requests:
                handle.status, handle.input_requests = "input_required", requests
        data = handle.model_dump(by_alias=True, mode="json", exclude_none=True)
        return {**data, "ttlMs": None}  # for ever, which has to be said

    def _state(self, task: vespera.Task) -> str:
        if task.status is not vespera.TaskStatus.IN_PROGRESS:
            return str(self._orch.why(task))
        last = self._orch.history(task, limit=1)
        return last[-1].sentence if last else f"{task.alias} is being worked on"

    def _requests(self, task: vespera.Task) -> dict[str, Any]:
        """Return what a person has to say before the task can go on, under a key of its own."""
        why = self._orch.why(task)
        model = _form(why)
        if model is None:
            return {}
        is_answer = model is _Answer
        message = task.question if is_answer else f"{in_tool_names(str(why))}. What should happen?"
        form = ElicitRequestFormParams(
            message=message or task.title, requested_schema=model.model_json_schema()
        )
        request = ElicitRequest(params=form)
        return {self._key(task): request.model_dump(by_alias=True, mode="json", exclude_none=True)}

    def _key(self, task: vespera.Task) -> str:
        """Return the key of the question: another one as soon as anything has happened since."""
        last = self._orch.history(task, limit=1)
        return f"question_{last[-1].seq if last else 0}"

    def _carry_out(self, task: vespera.Task, responses: dict[str, Any]) -> None:
        """Do what a person chose. Answers to what is no longer asked are left alone."""
        form = _form(self._orch.why(task))
        response = responses.get(self._key(task))
        if form is None or response is None or response.get("action") != "accept":
            return
        said = form.model_validate(response.get("content"))
        if isinstance(said, _Answer):
            self._orch.answer(task, said.answer)
            return
        decide: dict[str, Callable[..., Any]] = {
            "retry": self._orch.retry_task,
            "abandon": self._orch.abandon_task,
            "cancel": self._orch.cancel_task,
        }
        decide[said.decision](task, said.reason)

    # --- waiting without the extension --------------------------------------------

    def _wait(self, task: str, timeout_s: float = 20.0) -> CallToolResult:
        """Wait in the call itself; at most fifty seconds."""
        with calling_tools():
            try:
                return self._waited(task, min(max(timeout_s, 0.0), _LONGEST_WAIT_S))
            except VesperaError as exc:
                return _said(str(exc), is_error=True)

    def _waited(self, task: str, timeout_s: float) -> CallToolResult:
        until = time.monotonic() + timeout_s
        record = self._task(task)
        while not record.status.is_terminal:
            left = until - time.monotonic()
            news = self._orch.watch(timeout_s=max(left, 0.0))
            record = self._task(record.id)  # again: it may have ended before the watch began
            if record.status.is_terminal or left <= 0 or next(news, None) is None:
                break
        if record.status.is_terminal:
            return self._result(record)
        return _said(f"Not ended yet: {self._state(record)}. Ask again.")

    def _result(self, task: vespera.Task) -> CallToolResult:
        """Return what a task brought: in words, and its record."""
        words = str(task)
        if task.summary or task.reason:
            words += f"\n{task.summary or task.reason}"
        for artifact in self._orch.artifacts.list(task=task, limit=5):
            words += f"\n{artifact.title}: orch.artifacts.text({artifact.id!r})"
        return CallToolResult(
            content=[TextContent(type="text", text=in_tool_names(words))],
            structured_content=task.to_dict(budget_tokens=1000),
            is_error=task.status is not vespera.TaskStatus.COMPLETED,
        )


def _form(why: vespera.Why) -> type[_Answer | _Decision] | None:
    """Return what a person can say about a task; nothing if no person is needed."""
    kinds = {cause.kind for cause in why.causes}
    if vespera.CauseKind.PERSON in kinds:
        return _Decision
    return _Answer if kinds == {vespera.CauseKind.ANSWER} else None


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell a client in the protocol's own way that its request cannot be done."""
    try:
        yield
    except (VesperaError, ValidationError) as exc:
        raise MCPError(code=_INVALID_PARAMS, message=in_tool_names(str(exc))) from exc


async def _in_thread(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call the library in a worker thread, as a call of this server's client."""

    def call() -> Any:
        with calling_tools():
            return function(*arguments, **options)

    return await anyio.to_thread.run_sync(call)


def _knows_handles(ctx: ServerRequestContext[Any, Any]) -> bool:
    capabilities = ctx.session.client_capabilities
    declared = None if capabilities is None else capabilities.extensions
    return bool(declared is not None and EXTENSION in declared)


def _can_ask(ctx: ServerRequestContext[Any, Any]) -> bool:
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and capabilities.elicitation is not None


def _said(text: str, *, is_error: bool = False) -> CallToolResult:
    content = [TextContent(type="text", text=in_tool_names(text))]
    return CallToolResult(content=content, structured_content={}, is_error=is_error)
