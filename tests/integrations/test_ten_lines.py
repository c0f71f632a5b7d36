"""The programs of a newcomer: each attaches an agent in ten lines, and works."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

import vespera_orchestrator as vespera
from support import ROOT
from support.notebooks import RUN

EXAMPLES = ROOT / "examples" / "ten_lines"
NOTEBOOK = EXAMPLES / "notebook.ipynb"
PATHS = {"PYTHONPATH": os.pathsep.join(sys.path), "VESPERA_ORCHESTRATOR_EMBEDDER": "none"}


def load(name):
    """Return the names that an example defines."""
    return runpy.run_path(str(EXAMPLES / name))


# --- how long they are --------------------------------------------------------------


def lines_of(source):
    """Return how many lines of code there are, but for imports, docstrings and the last block."""
    tree = ast.parse(source)
    lines = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.expr | ast.arg)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    for node in ast.walk(tree):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        if is_docstring or is_import or node == last_block(tree):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    written = source.splitlines()
    return len([line for line in lines if written[line - 1].strip()])


def last_block(tree):
    """Return ``if __name__ == "__main__":``, or nothing."""
    return tree.body[-1] if isinstance(tree.body[-1], ast.If) else None


def test_lines_are_counted():
    """Of a function with its docstring: its head and its body."""
    assert lines_of('"""Doc."""\nimport os\n\ndef f():\n    """Do."""\n    return os\n') == 2


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("mcp_server.py", 10),
        ("tool_loop.py", 10),
        ("asyncio_program.py", 10),
        ("coordinator.py", 40),
    ],
)
def test_an_example_is_as_short_as_promised(name, most):
    """Ten lines of glue; the heads of its functions are not glue."""
    source = (EXAMPLES / name).read_text("utf-8")
    heads = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    assert lines_of(source) - len(heads) <= most


def test_the_notebook_is_as_short_as_promised():
    """Ten lines of code, and no outputs are stored."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    source = "\n".join("".join(cell["source"]) for cell in code)
    assert lines_of(source) <= 10
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


# --- that they work -----------------------------------------------------------------


def test_a_client_works_through_the_server(tmp_path):
    """The SDK's own client starts it, plans a task and does it."""
    server = StdioServerParameters(
        command=sys.executable,
        args=[str(EXAMPLES / "mcp_server.py")],
        env={**PATHS, "PATH": os.environ["PATH"]},
        cwd=tmp_path,
    )

    async def talk():
        async with Client(stdio_client(server)) as client:
            call = client.call_tool
            await call("orchestrator_initialize_session", {"goal": "Tea"})
            await call("orchestrator_plan_task", {"title": "Boil water"})
            await call("orchestrator_execute_task", {})
            work = {"task_id": "boil_water", "summary": "boils", "detailed_work": "Two cups."}
            return await call("orchestrator_complete_task", work)

    assert not asyncio.run(talk()).is_error
    with vespera.open(tmp_path) as orch:
        assert orch.get_task("boil_water").summary == "boils"


class Model:
    """A model with the interface of OpenAI that calls these tools, one a turn."""

    def __init__(self, *calls):
        self._calls = list(calls)
        self.chat = SimpleNamespace(completions=self)
        self.seen = []

    def create(self, *, model, messages, tools):
        """Return the next turn."""
        assert model == "a-model"
        assert tools[0]["function"]["name"] == "orchestrator_initialize_session"
        self.seen = list(messages)
        message = SimpleNamespace(content="All done.", tool_calls=None)
        if self._calls:
            name, arguments = self._calls.pop(0)
            function = SimpleNamespace(name=name, arguments=json.dumps(arguments))
            call = SimpleNamespace(id=f"call_{name}", type="function", function=function)
            message = SimpleNamespace(content=None, tool_calls=[call])
        return SimpleNamespace(choices=[SimpleNamespace(message=message)])


def test_a_model_works_in_the_loop(tmp_path, monkeypatch):
    """It gets the answer to each of its calls, and has the last word."""
    monkeypatch.chdir(tmp_path)
    model = Model(
        ("orchestrator_initialize_session", {"goal": "Tea"}),
        ("orchestrator_plan_task", {"title": "Boil water"}),
        ("orchestrator_execute_task", {}),
        ("orchestrator_complete_task", {"task_id": "boil_water", "summary": "s", "wrong": 1}),
    )
    assert load("tool_loop.py")["work"](model, "a-model", "Make tea") == "All done."
    answers = [message for message in model.seen if isinstance(message, dict)][1:]
    assert [answer["role"] for answer in answers] == ["tool"] * 4
    assert "no such argument" in answers[-1]["content"]


def test_coroutines_do_the_tasks(tmp_path, monkeypatch):
    """Side by side, in the caller's own loop."""
    monkeypatch.chdir(tmp_path)
    report = asyncio.run(load("asyncio_program.py")["main"]())
    assert report
    assert sorted(report.completed) == ["ada", "ben", "cleo"]
    with vespera.open(tmp_path) as orch:
        assert "thank you for the kettle" in orch.artifacts.text(orch.artifacts.list()[0])


def in_process(command, folder):
    """Run a program in *folder*, and return what it printed."""
    run = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env={**os.environ, **PATHS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_notebook_runs(tmp_path):
    """Cell after cell; each shows something that says what it is."""
    assert "every task has ended" in in_process(["-c", RUN, str(NOTEBOOK)], tmp_path)


def test_a_coordinator_and_its_workers_come_through(project):
    """A killed worker, a failure and a conflict: all the work lands."""
    said = in_process([str(EXAMPLES / "coordinator.py")], project.folder)
    assert "every task has ended" in said
    with vespera.open(project.folder) as orch:
        tasks = {task.alias: task for task in orch.query_tasks()}
        assert {tasks[alias].status for alias in ("lid", "spout", "handle", "body")} == {
            "completed"
        }
        assert tasks["lid"].attempts > 1
        assert tasks["spout"].attempts == 2
    joint = project.git("show", "integration:joint.txt")
    assert sorted(joint.split()) == ["Body", "Handle"]
