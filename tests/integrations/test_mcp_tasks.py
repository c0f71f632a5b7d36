"""The Tasks extension of MCP: a handle that outlives the server, seen by the SDK's own client."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

import vespera_orchestrator as vespera

pytest.importorskip("mcp")

from mcp.client import Client
from mcp.client.extension import ClientExtension, ResultClaim
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from vespera_orchestrator.integrations.mcp_tasks import EXTENSION, TaskHandles


class Shape(Result):
    """Whatever a server answers."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow")


class Handle(Shape):
    """What a client gets in place of a result."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str


class Asked(Shape):
    """What `tasks/get` and the others answer."""

    status: str | None = None
    status_message: str | None = None
    result: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


class TaskParams(RequestParams):
    """Which task, and what else."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[TaskParams, str]):
    """A request of the extension."""

    name_param = "taskId"


async def ask(client, method, task_id, **params):
    """Send a request of the extension."""
    request = TaskRequest(method=method, params=TaskParams(task_id=task_id, **params))
    return await client.session.send_request(request, Asked)


class Waiting(ClientExtension):
    """A client that comes back to its handles until they have a result."""

    identifier = EXTENSION

    def __init__(self, meanwhile=None):
        self._meanwhile = meanwhile
        self.handles = []

    def claims(self):
        return [ResultClaim(result_type="task", model=Handle, resolve=self._resolve)]

    async def _resolve(self, handle, ctx):
        self.handles.append(handle)
        self._meanwhile()
        request = TaskRequest(method="tasks/get", params=TaskParams(task_id=handle.task_id))
        answer = await ctx.session.send_request(request, Asked)
        return CallToolResult.model_validate(answer.result)


@pytest.fixture
def orch(tmp_path):
    """A project with one task."""
    with vespera.open(tmp_path, durability="normal", embedder="none") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        yield orch


def talk(orch, conversation, **options):
    """Let a conversation use a client of a server with the extension."""

    async def serve():
        server = MCPServer("vespera", log_level="CRITICAL", extensions=[TaskHandles(orch)])
        async with Client(server, **options) as client:
            return await conversation(client)

    return asyncio.run(serve())


def wait(client):
    """Wait for the lid."""
    return client.call_tool("orchestrator_wait_for", {"task": "lid"})


async def nobody(context, params):
    """Stand for a client that can ask, and is not asked here."""


def test_a_client_waits_by_its_handle(orch):
    """It gets the task's id at once, and its result once somebody has completed the task."""

    def complete():
        orch.complete_task("lid", summary="it closes", detailed_work="# Lid", outputs={"mm": 90})

    waiting = Waiting(complete)
    result = talk(orch, wait, extensions=[waiting])
    (handle,) = waiting.handles
    assert handle.task_id == orch.get_task("lid").id
    assert handle.status == "working"
    assert handle.model_dump(by_alias=True)["ttlMs"] is None
    assert not result.is_error
    assert "it closes" in result.content[0].text
    assert "orchestrator_read_artifact" in result.content[0].text
    assert result.structured_content["outputs"] == {"mm": 90}
    again = Waiting()
    assert talk(orch, wait, extensions=[again]).content == result.content
    assert again.handles == []  # what has ended is answered at once


def test_a_client_without_the_extension_waits_in_the_call(orch):
    """For as long as it says; then it is told how the task is, and can ask again."""

    async def conversation(client):
        short = {"task": "lid", "timeout_s": 0}
        before = await client.call_tool("orchestrator_wait_for", short)
        asyncio.get_running_loop().call_later(0.1, complete)
        after = await wait(client)
        wrong = await client.call_tool("orchestrator_wait_for", {"task": "lit"})
        return before, after, wrong

    def complete():
        orch.complete_task("lid", summary="it closes", detailed_work="# Lid")

    before, after, wrong = talk(orch, conversation)
    assert before.content[0].text == "Not ended yet: lid is ready. Ask again."
    assert "it closes" in after.content[0].text
    assert wrong.is_error
    assert "did you mean lid?" in wrong.content[0].text


def test_how_a_task_is_doing(orch):
    """Working, with what happened last; cancelled; what is no task is an error."""
    task_id = orch.get_task("lid").id
    orch.execute_task("lid").checkpoint({"n": 1}, "half of the rim")

    async def conversation(client):
        working = await ask(client, "tasks/get", task_id)
        with pytest.raises(MCPError, match="no task"):
            await ask(client, "tasks/get", "t_nowhere")
        await ask(client, "tasks/cancel", task_id)
        await ask(client, "tasks/cancel", task_id)
        return working, await ask(client, "tasks/get", task_id)

    working, cancelled = talk(orch, conversation)
    assert working.status == "working"
    assert "half of the rim" in working.status_message
    assert cancelled.status == "cancelled"
    assert orch.get_task("lid").status == "cancelled"


def test_a_decision_is_asked_for_and_carried_out(orch):
    """Only where the client can ask a person; an answer to what was asked before does nothing."""
    while not orch.why("lid").needs_person:
        orch.execute_task().fail("bent")
    task_id = orch.get_task("lid").id

    async def silent(client):
        return await ask(client, "tasks/get", task_id)

    async def conversation(client):
        asked = await ask(client, "tasks/get", task_id)
        (key,) = asked.input_requests
        for decision in ("perhaps", "retry"):
            content = {"decision": decision, "reason": "a new plate"}
            responses = {key: {"action": "accept", "content": content}, "other": {}}
            if decision == "perhaps":
                with pytest.raises(MCPError, match="decision"):
                    await ask(client, "tasks/update", task_id, input_responses=responses)
                continue
            await ask(client, "tasks/update", task_id, input_responses=responses)
            await ask(client, "tasks/update", task_id, input_responses=responses)
        return asked, await ask(client, "tasks/get", task_id)

    assert talk(orch, silent).status == "working"
    asked, after = talk(orch, conversation, elicitation_callback=nobody)
    assert asked.status == "input_required"
    (request,) = asked.input_requests.values()
    assert "a person must decide" in request["params"]["message"]
    assert after.status == "working"
    assert orch.get_task("lid").status == "pending"


def test_a_question_is_asked_and_answered(orch):
    """A task that waits for an answer gets it from the client's person."""
    orch.plan_task("Which copper?", alias="copper", question="Red or yellow?")
    task_id = orch.get_task("copper").id

    async def conversation(client):
        asked = await ask(client, "tasks/get", task_id)
        (key,) = asked.input_requests
        responses = {key: {"action": "accept", "content": {"answer": "red"}}}
        await ask(client, "tasks/update", task_id, input_responses=responses)
        return asked, await ask(client, "tasks/get", task_id)

    asked, after = talk(orch, conversation, elicitation_callback=nobody)
    (request,) = asked.input_requests.values()
    assert request["params"]["message"] == "Red or yellow?"
    assert after.status == "completed"
    assert orch.get_task("copper").outputs == {"answer": "red"}
