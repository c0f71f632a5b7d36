"""An MCP server with the tools, seen by the SDK's own client: in memory, over stdio, over HTTP."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

import vespera_orchestrator as vespera
from support import ROOT
from vespera_orchestrator._text import tokens

pytest.importorskip("mcp")

from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from vespera_orchestrator.integrations import mcp as integration
from vespera_orchestrator.integrations.mcp import INSTRUCTIONS, register_tools
from vespera_orchestrator.integrations.tools.table import TABLE

HOST = ROOT / "examples" / "mcp_host.py"


@pytest.fixture
def orch(tmp_path):
    """A project without tasks."""
    with vespera.open(tmp_path, durability="normal", embedder="none") as orch:
        yield orch


def with_client(orch, talk, **options):
    """Let *talk* use a client of a server with the tools."""

    async def serve():
        server = MCPServer("vespera", log_level="CRITICAL")
        register_tools(server, orch, **options)
        async with Client(server) as client:
            return await talk(client)

    return asyncio.run(serve())


async def work_through(client):
    """Do a task from the first call to the last; return what was said."""
    said = {}
    for name, arguments in [
        ("initialize_session", {"goal": "Build a kettle"}),
        ("plan_task", {"title": "Lid", "description": "It must close."}),
        ("execute_task", {}),
        ("checkpoint", {"task_id": "lid", "state": {"n": 1}, "progress": 0.5}),
        ("complete_task", {"task_id": "lid", "summary": "closes", "detailed_work": "# Lid"}),
        ("get_status", {}),
    ]:
        result = await client.call_tool(f"orchestrator_{name}", arguments)
        assert not result.is_error, result.content
        said[name] = result
    return said


# --- in memory ------------------------------------------------------------------------


def test_a_client_does_a_task_from_first_to_last(orch):
    """Each answer is one short text and the data of the announced shape; the work is saved."""
    said = with_client(orch, work_through)
    for result in said.values():
        (text,) = result.content
        assert text.text
    assert said["execute_task"].content[0].text.startswith("# Lid")
    assert said["complete_task"].structured_content["status"] == "completed"
    assert orch.artifacts.text(orch.artifacts.list()[0]) == "# Lid"


def test_what_a_tool_says_of_itself_is_what_the_table_says(orch):
    """Order, schemas, annotations: each list is the same as the one before."""

    async def talk(client):
        first = (await client.list_tools()).tools
        again = (await client.list_tools()).tools
        assert first == again
        return first

    *tools, ask = with_client(orch, talk, include="all")
    assert ask.name == "orchestrator_ask_person"
    rows = {f"orchestrator_{spec.name}": spec for spec in TABLE}
    order = [name for name in rows if name in {tool.name for tool in tools}]
    assert [tool.name for tool in tools] == order
    for tool in tools:
        spec, hints = rows[tool.name], tool.annotations
        assert hints.read_only_hint == spec.reads_only
        assert hints.destructive_hint == spec.destroys
        assert hints.idempotent_hint == spec.is_repeatable
        assert hints.open_world_hint is False
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema["type"] == "object"
    size = tokens("".join(tool.model_dump_json(exclude_none=True) for tool in tools))
    assert size < 25_000


def test_wrong_arguments_are_refused_in_our_words(orch):
    """What the SDK would drop or bend is refused, and the model reads what would be right."""

    async def talk(client):
        calls = [
            {"titel": "Lid"},
            {},
            {"title": "Lid", "priority": "7"},
            {"title": "Lid", "dependencies": "[]"},
        ]
        return [await client.call_tool("orchestrator_plan_task", call) for call in calls]

    orch.initialize_session("Goal")
    results = with_client(orch, talk)
    assert all(result.is_error for result in results)
    texts = [result.content[0].text for result in results]
    assert "did you mean title?" in texts[0]
    assert texts[1] == "title: orchestrator_plan_task needs it: What to do, in a few words."
    assert texts[2] == "priority: '7' should be a whole number"
    assert texts[3] == "dependencies: '[]' should be a list"
    assert results[0].structured_content["error"] == "InvalidInputError"
    assert orch.query_tasks() == []


def test_text_that_looks_like_json_stays_text(orch):
    """The SDK reads JSON within arguments; work that is JSON is kept as it was written."""

    async def talk(client):
        await client.call_tool("orchestrator_plan_task", {"title": "Data"})
        work = {"task_id": "data", "summary": "s", "detailed_work": '{"a":  1}'}
        return await client.call_tool("orchestrator_complete_task", work)

    orch.initialize_session("Goal")
    assert not with_client(orch, talk).is_error
    assert orch.artifacts.text(orch.artifacts.list()[0]) == '{"a":  1}'


def test_an_error_of_the_library_tells_what_to_do(orch):
    """In the names of tools, with what explains it as data."""

    async def talk(client):
        return await client.call_tool("orchestrator_why", {"task": "lit"})

    orch.initialize_session("Goal")
    orch.plan_task("Lid")
    result = with_client(orch, talk)
    assert result.is_error
    assert "did you mean lid?" in result.content[0].text


def test_a_bug_of_ours_stays_on_the_server(orch, monkeypatch, caplog):
    """The client is told that it failed, the log why; no inner text goes over the wire."""

    async def talk(client):
        return await client.call_tool("orchestrator_next_step", {})

    monkeypatch.setattr(type(orch), "next_step", lambda _: 1 / 0)
    result = with_client(orch, talk)
    assert result.is_error
    assert "the server's log says why" in result.content[0].text
    assert "division" not in result.content[0].text
    assert "ZeroDivisionError" in caplog.text


def test_progress_is_told_while_a_call_runs(orch):
    """A check reports each thing that it begins."""
    steps = []

    async def talk(client):
        async def note(progress, total, message):
            steps.append((progress, total, message))

        return await client.call_tool("orchestrator_check", {}, progress_callback=note)

    orch.initialize_session("Goal")
    result = with_client(orch, talk, include="maintenance")
    assert result.content[0].text.startswith("check: all is well")
    assert [step[0] for step in steps] == list(range(1, len(steps) + 1))
    assert "rows of tasks" in [step[2] for step in steps]


def test_artifacts_and_documents_are_resources(orch):
    """Text as text, bytes as bytes, a document in its latest version, and what is not there."""
    orch.initialize_session("Goal", project_type="software_development")
    text = orch.artifacts.save("Note", "It closes.")
    data = orch.artifacts.save("raw.bin", b"\x00\xff")
    orch.plan_task("Lid")
    orch.complete_task("lid", summary="closes", detailed_work="# Lid")
    path = next(orch.project.glob("docs/*.md")).relative_to(orch.project)

    async def talk(client):
        async def read(uri):
            return (await client.read_resource(f"orchestrator://{uri}")).contents[0]

        for uri in ["artifacts/a_nothing", "documents/docs/none.md", "documents/../secret"]:
            with pytest.raises(MCPError):
                await read(uri)
        return [
            await read(f"artifacts/{text.id}"),
            await read(f"artifacts/{data.id}/bytes"),
            await read(f"documents/{path.as_posix()}"),
            await read("status"),
        ]

    note, raw, document, status = with_client(orch, talk)
    assert note.text == "It closes."
    assert raw.blob == "AP8="
    assert document.text == (orch.project / path).read_text("utf-8")
    assert status.text == str(orch.get_status())


def test_resuming_and_planning_are_prompts(orch):
    """Each says where the work stands, and names tools that exist; a goal may be told later."""
    orch.initialize_session("Build a kettle")

    async def talk(client):
        resume = await client.get_prompt("orchestrator_resume_work")
        plan = await client.get_prompt("orchestrator_plan_work", {"goal": "Make tea"})
        asking = await client.get_prompt("orchestrator_plan_work")
        return [each.messages[0].content.text for each in (resume, plan, asking)]

    resume, plan, asking = with_client(orch, talk)
    assert "First ask me what it is" in asking
    assert "Goal: Build a kettle" in resume
    assert "Make tea" in plan
    names = {f"orchestrator_{spec.name}" for spec in TABLE}
    assert set(re.findall(r"orchestrator_[a-z_]+", resume + plan + INSTRUCTIONS)) <= names


def test_a_server_that_cannot_take_the_tools_is_refused(orch):
    """Another kind of server, and one that has such a tool already: in a sentence."""
    with pytest.raises(vespera.InvalidInputError, match=r"MCPServer\(tools="):
        register_tools(object(), orch)
    server = MCPServer("vespera", log_level="CRITICAL")
    assert register_tools(server, orch, include="why") == ("orchestrator_why",)
    with pytest.raises(vespera.InvalidInputError, match="has a tool 'orchestrator_why' already"):
        register_tools(server, orch, include="why")
    assert [tool.name for tool in integration.tools(orch, include="why")] == ["orchestrator_why"]


# --- a person decides ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("action", "decision", "status"),
    [("accept", "retry", "pending"), ("accept", "abandon", "failed"), ("decline", "", "blocked")],
)
def test_a_decision_is_asked_of_the_person_at_the_client(orch, mode, action, decision, status):
    """In both ways in which the protocol asks; what the person says is done, and nothing else."""
    orch.initialize_session("Goal")
    orch.plan_task("Lid")
    while not orch.why("lid").needs_person:
        orch.execute_task().fail("bent")
    asked = []

    async def person(_, params):
        asked.append(params.message)
        content = {"decision": decision, "reason": "so it is"} if action == "accept" else None
        return ElicitResult(action=action, content=content)

    async def serve():
        server = MCPServer("vespera", log_level="CRITICAL")
        register_tools(server, orch)
        async with Client(server, mode=mode, elicitation_callback=person) as client:
            return await client.call_tool("orchestrator_ask_person", {"task": "lid"})

    result = asyncio.run(serve())
    assert not result.is_error, result.content
    (message,) = asked
    assert "a person must decide" in message
    assert "orchestrator_retry_task" in message
    assert orch.get_task("lid").status == status


def test_a_client_that_cannot_ask_is_told_what_to_ask(orch):
    """The agent asks in the conversation, with the choices at hand; nothing was decided."""
    orch.initialize_session("Goal")
    orch.plan_task("Lid")
    while not orch.why("lid").needs_person:
        orch.execute_task().fail("bent")

    async def talk(client):
        return await client.call_tool("orchestrator_ask_person", {"task": "lid"})

    text = with_client(orch, talk).content[0].text
    assert text.startswith("This client cannot ask. Ask the person yourself: lid is blocked")
    assert "orchestrator_abandon_task" in text
    assert orch.get_task("lid").status == "blocked"


def test_nobody_is_asked_where_nothing_is_to_be_decided(orch):
    """Nor about a task that does not exist."""
    orch.initialize_session("Goal")
    orch.plan_task("Lid")

    async def talk(client):
        ready = await client.call_tool("orchestrator_ask_person", {"task": "lid"})
        wrong = await client.call_tool("orchestrator_ask_person", {"task": "lit"})
        return ready, wrong

    ready, wrong = with_client(orch, talk)
    assert ready.content[0].text == "There is nothing to decide: lid is ready"
    assert wrong.is_error
    assert "did you mean lid?" in wrong.content[0].text


# --- over stdio and HTTP -----------------------------------------------------------------


def stdio(folder):
    """Describe the example server as a child process."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    return StdioServerParameters(
        command=sys.executable, args=[str(HOST), str(folder)], env=environment
    )


def test_a_handle_outlives_the_server(tmp_path):
    """Over stdio: a server is killed between two calls; the next one answers for the same ids, goes
    on from the same checkpoint, and the work is completed.
    """
    others = set(children_of(os.getpid()))  # a database server of the tests, for example

    async def before():
        with suppress(BaseExceptionGroup):  # the client notices that its server died
            async with Client(stdio_client(stdio(tmp_path))) as client:
                call = client.call_tool
                await call("orchestrator_initialize_session", {"goal": "Goal"})
                planned = await call("orchestrator_plan_task", {"title": "Lid"})
                await call("orchestrator_execute_task", {"task_id": "lid"})
                await call("orchestrator_checkpoint", {"task_id": "lid", "state": {"n": 7}})
                for child in set(children_of(os.getpid())) - others:
                    os.kill(child, signal.SIGKILL)
        return planned.structured_content["id"]

    async def after(task_id):
        async with Client(stdio_client(stdio(tmp_path))) as client:
            task = await client.call_tool("orchestrator_get_task", {"task": task_id})
            start = {"task_id": task_id, "take_over": True}
            again = await client.call_tool("orchestrator_execute_task", start)
            work = {"task_id": task_id, "summary": "closes", "detailed_work": "# Lid"}
            await client.call_tool("orchestrator_complete_task", work)
            return task.structured_content, again.structured_content

    task, again = asyncio.run(after(asyncio.run(before())))
    assert task["status"] == "in_progress"
    assert again["resumed_from"]["state"] == {"n": 7}
    with vespera.open(tmp_path) as orch:
        assert orch.get_task("lid").summary == "closes"


def children_of(parent):
    """Return the ids of a process's children."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


@contextmanager
def http_server(folder):
    """Run the example server over HTTP; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(HOST), str(folder), "--http", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "the server ended"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.kill()
        server.wait()


def test_the_example_server_over_http(tmp_path):
    """The same over streamable HTTP; two clients at once see one project."""

    async def talk(url):
        async with Client(url) as first, Client(url) as second:
            said = await work_through(first)
            seen = await second.call_tool("orchestrator_query_tasks", {})
            return said, seen

    with http_server(tmp_path) as url:
        said, seen = asyncio.run(talk(url))
    assert said["get_status"].structured_content["completed_count"] == 1
    assert [task["alias"] for task in seen.structured_content["tasks"]] == ["lid"]


def test_the_example_is_as_short_as_promised():
    """A complete server in under forty lines."""
    assert len(HOST.read_text("utf-8").splitlines()) < 40
