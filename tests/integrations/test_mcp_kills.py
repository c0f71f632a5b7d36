"""MCP servers are killed at random moments while clients call them: no work is lost or taken away.

Several clients, each with an agent of its own, do tasks through one server over HTTP. After each
kill a new server answers for the same handles.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from typing import Any, Literal

import pytest
from mcp.client import Client
from mcp.client.extension import ClientExtension, ResultClaim
from mcp_types import Request, RequestParams, Result
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.mcp_tasks import EXTENSION

SERVERS = """
import os, signal, sys, tempfile
from mcp.server.mcpserver import MCPServer
import uvicorn
import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.mcp import register_tools
from vespera_orchestrator.integrations.mcp_tasks import TaskHandles

signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a server ended

def server_of(orch):
    server = MCPServer("kills", log_level="CRITICAL", extensions=[TaskHandles(orch)])
    register_tools(server, orch)
    return server

with tempfile.TemporaryDirectory() as folder, vespera.open(folder) as orch:
    uvicorn.Config(server_of(orch).streamable_http_app()).load()  # imports what servers need
for _ in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    with vespera.open(sys.argv[1]) as orch:
        server_of(orch).run("streamable-http", port=int(sys.argv[2]))
"""
"""Starts a server for each line: what is imported once need not be imported after each kill."""
PATIENCE_S = 60
"""So long the last server may take for an answer."""


class Servers:
    """One server at a time, on the same port."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._parent = subprocess.Popen(
            [sys.executable, "-c", SERVERS, str(folder), str(self.port)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._server = 0

    def start(self):
        """Start a server."""
        self._parent.stdin.write("\n")
        self._parent.stdin.flush()
        self._server = int(self._parent.stdout.readline())

    async def listens(self):
        """Wait until it can be reached."""
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.01)

    async def is_gone(self):
        """Wait until nothing of a killed server is left."""
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(self._server, 0)
                await asyncio.sleep(0.01)

    def kill(self):
        """Kill it."""
        os.kill(self._server, signal.SIGKILL)

    def close(self):
        """End everything."""
        self.kill()
        self._parent.kill()
        self._parent.communicate()


class Agent:
    """A client that does one task after the other, through whatever server answers."""

    def __init__(self, name, url, news):
        self.name = name
        self.completed = []
        self._url = url
        self._news = news
        self._calls = asyncio.Queue()
        self._under_way = None

    async def connect(self):
        """Answer calls over a connection for as long as it holds, and then over the next one."""
        while True:
            try:
                async with Client(self._url) as client:
                    while True:
                        self._under_way = self._under_way or await self._calls.get()
                        tool, arguments, answer = self._under_way
                        result = await client.call_tool(tool, arguments)
                        self._under_way = None
                        answer.set_result(result)
            except (Exception, BaseExceptionGroup):  # noqa: BLE001 - however the SDK says it
                if asyncio.current_task().cancelling():
                    return
                await asyncio.sleep(0.01)  # the next server is not there yet

    async def call(self, tool, **arguments):
        """Call a tool until there is an answer."""
        answer = asyncio.get_running_loop().create_future()
        self._calls.put_nowait((f"orchestrator_{tool}", arguments, answer))
        result = await answer
        self._news.set()
        return result

    async def do_tasks(self):
        """Plan a task, do it in several calls, and note it once its completion is acknowledged."""
        number = 0
        while True:
            number += 1
            await self._do(f"{self.name}_{number}", number)
            self.completed.append(f"{self.name}_{number}")

    async def _do(self, alias, number):
        planned = await self.call("plan_task", title=f"Task {alias}", alias=alias)
        assert not planned.is_error or "alias" in planned.content[0].text  # planned before the kill
        mine = {"task_id": alias, "agent": self.name}
        started = await self.call("execute_task", **mine)
        if started.is_error:  # started before the kill
            assert f"you hold it already, as {self.name}" in started.content[0].text
        saved = await self.call("checkpoint", **mine, state={"n": number})
        assert not saved.is_error, saved.content[0].text
        again = await self.call("work", task=alias, agent=self.name)
        assert again.structured_content["attempt"] == 1
        assert again.structured_content["resumed_from"]["state"] == {"n": number}
        done = {"summary": f"{number}", "detailed_work": f"{alias} is done"}
        completed = await self.call("complete_task", **mine, **done)
        assert not completed.is_error, completed.content[0].text


async def kill_servers(servers, kills, seed):
    """Kill a server again and again, each time after it has answered; return the agents."""
    moments = random.Random(seed)
    news = asyncio.Event()
    agents = [Agent(name, servers.url, news) for name in ("ada", "ben", "cleo")]
    servers.start()
    connections = [asyncio.create_task(agent.connect()) for agent in agents]
    doing = [asyncio.create_task(agent.do_tasks()) for agent in agents]
    for _ in range(kills):
        news.clear()
        answered = asyncio.create_task(news.wait())
        await asyncio.wait([answered, *doing], return_when=asyncio.FIRST_COMPLETED)
        for task in doing:
            if task.done():
                task.result()  # raises what went wrong
        await asyncio.sleep(moments.uniform(0, 0.2))
        servers.kill()
        servers.start()
        await ended(*connections)  # a client may wait long for a server that is gone
        connections = [asyncio.create_task(agent.connect()) for agent in agents]
    enough = max(len(agent.completed) for agent in agents) + 1
    while min(len(agent.completed) for agent in agents) < enough:
        news.clear()
        async with asyncio.timeout(PATIENCE_S):
            await news.wait()  # the last server answers everybody
    await ended(*doing, *connections)
    return agents


async def ended(*tasks):
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def kill_and_check(folder, kills, seed):
    """Kill servers; then everything that was acknowledged is there, and was never taken away."""
    with vespera.open(folder) as orch:
        orch.initialize_session("Kills")
    servers = Servers(folder)
    try:
        agents = asyncio.run(kill_servers(servers, kills, seed))
    finally:
        servers.close()
    with vespera.open(folder) as orch:
        for agent in agents:
            for alias in agent.completed:
                assert orch.get_task(alias).status == "completed"
                assert orch.get_task(alias).attempts == 1
                (artifact,) = orch.artifacts.list(task=alias)
                assert orch.artifacts.text(artifact) == f"{alias} is done"
        events = list(orch.watch(0, timeout_s=0))
        kinds = Counter(event.kind for event in events)
        assert kinds["lease_expired"] == kinds["lease_regained"] == kinds["task_blocked"] == 0
        for event in events:
            if event.kind == "task_started":
                assert orch.get_task(event.task_id).alias.startswith(f"{event.agent}_")
        assert orch.check()


def test_a_server_killed_at_a_random_moment(tmp_path):
    """The soak kills three hundred."""
    kill_and_check(tmp_path, 1, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_three_hundred_servers_killed_at_random_moments(tmp_path):
    """The same, three hundred times in one home."""
    kill_and_check(tmp_path, 300, seed=2)


# --- handles of the Tasks extension ----------------------------------------------------


class Handle(Result):
    """What a client gets in place of a result, and when it comes back to it."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    result_type: Literal["task"] = "task"
    task_id: str


class Answer(Handle):
    """What `tasks/get` answers."""

    result_type: Literal["complete"] = "complete"
    status: str
    result: dict[str, Any] | None = None


class TaskParams(RequestParams):
    """Which task."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    task_id: str


class GetTask(Request[TaskParams, Literal["tasks/get"]]):
    """Comes back to a handle."""

    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class Handles(ClientExtension):
    """A client that takes a handle in place of a result."""

    identifier = EXTENSION

    def claims(self):
        return [ResultClaim(result_type="task", model=Handle, resolve=self._never)]

    async def _never(self, *_):
        raise AssertionError("the client asks for the handle itself")


async def wait_for(url, task, handle):
    """Wait for a task, note the handle, and hold the connection."""
    async with Client(url, extensions=[Handles()]) as client:
        waited = {"task": task}
        answer = await client.session.call_tool("orchestrator_wait_for", waited, allow_claimed=True)
        handle.set_result(answer.task_id)
        await asyncio.Event().wait()


async def handles_and_kills(servers, kills):
    """Make a handle for each task, each with a server that is killed right after it answered."""
    handles = []
    for number in range(kills):
        servers.start()
        await servers.listens()
        handle = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(wait_for(servers.url, f"t{number}", handle))
        await asyncio.wait([handle, waiting], return_when=asyncio.FIRST_COMPLETED)
        servers.kill()
        handles.append(handle.result())
        await servers.is_gone()
        await ended(waiting)
    servers.start()
    return handles


async def answers(servers, handles):
    """Come back to every handle."""
    await servers.listens()
    async with Client(servers.url, extensions=[Handles()]) as client:
        requests = [GetTask(params=TaskParams(task_id=handle)) for handle in handles]
        return [await client.session.send_request(request, Answer) for request in requests]


def make_handles_and_check(folder, kills):
    """Every handle answers on a later server, before its task has ended and after."""
    with vespera.open(folder) as orch:
        orch.initialize_session("Handles")
        orch.plan_tasks([{"title": f"T{number}"} for number in range(kills)])
        servers = Servers(folder)
        try:
            handles = asyncio.run(handles_and_kills(servers, kills))
            before = asyncio.run(answers(servers, handles))
            for number in range(kills):
                orch.complete_task(f"t{number}", summary=f"done {number}", detailed_work="d")
            after = asyncio.run(answers(servers, handles))
        finally:
            servers.close()
    assert handles == [answer.task_id for answer in before]
    assert {answer.status for answer in before} == {"working"}
    for number, answer in enumerate(after):
        assert answer.status == "completed"
        assert f"done {number}" in answer.result["content"][0]["text"]


def test_a_handle_outlives_the_server_that_gave_it(tmp_path):
    """The soak makes three hundred."""
    make_handles_and_check(tmp_path, 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_three_hundred_handles_outlive_their_servers(tmp_path):
    """The server is killed between creating and reading, three hundred times."""
    make_handles_and_check(tmp_path, 300)
