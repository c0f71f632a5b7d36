"""Whatever is passed, to whichever public call: it ends soon, and at worst with our own error."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import itertools
import shutil
import threading
from collections.abc import Mapping

import pytest

import vespera_orchestrator as vespera
from support.bounds import Tally
from support.hostile_values import VALUES
from vespera_orchestrator.integrations.aio import AsyncOrchestrator
from vespera_orchestrator.integrations.command import main
from vespera_orchestrator.integrations.tools import Toolbox

STOPPED = threading.Event()
STOPPED.set()
RIGHT = {
    "task": "first",
    "task_id": "first",
    "parent_task_id": "first",
    "before": "first",
    "after": "second",
    "specs": [{"title": "One more"}],
    "dependency": "second",
    "session": None,
    "worktree": "first",
    "question": "Which one?",
    "answer": "This one.",
    "path": "README.md",
    "name": "name",
    "version": 1,
    "timeout_s": 0,
    "idle_s": 0,
    "stop": STOPPED,
    "handlers": {"standard": lambda _: "done"},
    "callback": print,
    "do": lambda: 1,
    "state": {},
    "energy": "low",
    "needs": "second",
    "error": "it broke",
    "steps": ["one", "two"],
    "outputs": {},
    "budget_tokens": 1000,
    "target": "copy",
    "level": "low",
    "source": "copy.jsonl",
}
"""What is passed for the other arguments, by their name."""
ALWAYS = {"timeout_s", "idle_s", "stop"}
"""Passed also where a call has a default of its own: it would wait for other agents."""
CALLED = {"progress", "by", "handlers", "callback", "do", "probe", "on_recovery"}
"""Functions of the caller's. What they raise is theirs, and comes out as it is."""
ENDS_IT = {"close"}
FOR_OUR_OWN_ROOMS = {"draft_file", "prepare_landing"}
"""Called by other rooms of the library only, with records that these have made."""
SPECIAL = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class Surface:
    """The public calls of one kind, on a project that each may change."""

    def __init__(self, folder):
        self.folder = folder
        self.orch = vespera.open(folder, durability="normal")
        self.orch.initialize_session("Bear anything")
        self.orch.plan_tasks([{"title": "First"}, {"title": "Second"}, {"title": "Third"}])
        RIGHT["artifact"] = self.orch.artifacts.save("Notes", "some").id
        self.work = self.orch.execute_task("third")

    def close(self):
        """Give back what was opened."""
        self.orch.close()

    def calls(self):
        """Yield the name of each call, what it is called with, and the function."""
        for name, thing in self.objects().items():
            for verb, function in inspect.getmembers(type(thing), inspect.isfunction):
                is_pythons = isinstance(thing, Mapping) and hasattr(Mapping, verb)
                if is_pythons or verb.startswith("_") or verb in ENDS_IT | FOR_OUR_OWN_ROOMS:
                    continue
                parameters = list(inspect.signature(function).parameters.values())[1:]
                yield f"{name}.{verb}", parameters, getattr(thing, verb)

    def objects(self):
        """Return what a caller holds."""
        return {
            "orch": self.orch,
            "orch.artifacts": self.orch.artifacts,
            "orch.documents": self.orch.documents,
            "orch.worktrees": self.orch.worktrees,
            "work": self.work,
        }

    def do(self, function, by_position, by_name):
        """Make a call, and do what a caller does with its answer."""
        answer = function(*by_position, **by_name)
        if isinstance(answer, vespera.EventWatch):
            answer.poll()


class Answers(Surface):
    """The calls of what other calls return."""

    def objects(self):
        """Return one of each."""
        orch = self.orch
        return {
            "graph": orch.graph(),
            "status": orch.get_status(),
            "session_status": orch.session_status(),
            "resume": orch.resume(),
            "task": orch.get_task("first"),
            "session": orch.current_session(),
            "artifact list": orch.artifacts.list(),
            "context": orch.artifacts.context("some"),
            "history": orch.history(),
            "agent": orch.spawn_agent_with_context("first"),
            "shared": orch.shared_context(),
            "check": orch.check(),
        }

    def do(self, function, by_position, by_name):
        """Make a call; a key that is not shared is an error of Python's, as in every mapping."""
        with contextlib.suppress(KeyError):
            super().do(function, by_position, by_name)


class Asynchronous(Surface):
    """The same for asyncio."""

    def __init__(self, folder):
        super().__init__(folder)
        self.runner = asyncio.Runner()
        self.aio = self.runner.run(self._begin(AsyncOrchestrator.open(folder)))
        self.orch.release("third")
        self.aio_work = self.runner.run(self._begin(self.aio.execute_task("third")))

    async def _begin(self, opening):
        return await opening

    def close(self):
        """Let the worker end, too."""
        self.runner.run(self.aio.close())
        self.runner.close()
        super().close()

    def objects(self):
        """Return what a caller holds."""
        aio = self.aio
        return {
            "aio": aio,
            "aio.artifacts": aio.artifacts,
            "aio.documents": aio.documents,
            "aio.worktrees": aio.worktrees,
            "aio.work": self.aio_work,
        }

    def do(self, function, by_position, by_name):
        """Make a call in the loop and wait for it; of what never ends take the first."""

        async def wait():
            answer = function(*by_position, **by_name)
            if hasattr(answer, "__anext__"):
                with contextlib.suppress(StopAsyncIteration):
                    await anext(answer)
            elif inspect.isawaitable(answer):
                await answer

        self.runner.run(wait())


class Tools(Surface):
    """What a model may call, and how a host makes the tools."""

    def calls(self):
        """Yield each tool, and the calls of the toolbox itself."""
        toolbox = Toolbox(self.orch, include="all")
        for tool in toolbox.tools:
            names = [*tool.parameters.get("properties", {}), "unknown"]
            required = set(tool.parameters.get("required", []))
            kinds = inspect.Parameter.KEYWORD_ONLY
            parameters = [
                inspect.Parameter(name, kinds, default=... if name in required else None)
                for name in names
            ]
            yield tool.name, parameters, self._function(toolbox, tool.name)
        for verb in ("answer", "anthropic_results", "openai_results"):
            function = getattr(toolbox, verb)
            yield f"toolbox.{verb}", list(inspect.signature(function).parameters.values()), function
        making = list(inspect.signature(Toolbox).parameters.values())[1:]
        yield "Toolbox", making, lambda **keywords: Toolbox(self.orch, **keywords)

    def _function(self, toolbox, name):
        return lambda **arguments: str(toolbox.answer(name, arguments))


class Functions(Surface):
    """Functions of the package, commands and hooks."""

    def calls(self):
        """Yield each."""
        for function in (vespera.open, vespera.trust):
            yield function.__name__, list(inspect.signature(function).parameters.values()), function
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        for name in ("word", "second", "hook"):
            yield f"main {name}", [inspect.Parameter(name, kind)], main_with(name)

    def do(self, function, by_position, by_name):
        """Make a call, and close what was opened."""
        answer = function(*by_position, **by_name)
        if isinstance(answer, vespera.Orchestrator):
            answer.close()


def main_with(place):
    """Return a function that passes a text to the command line."""

    def call(**values):
        word = values[place]
        if type(word) is not str or "\0" in word:
            return  # the system passes no other
        arguments = {
            "word": [word],
            "second": ["why", word],
            "hook": ["hook", "session-start"],
        }[place]
        with contextlib.suppress(SystemExit):
            main(arguments, out=io.StringIO(), err=io.StringIO(), stdin=io.StringIO(word))

    return call


KINDS = {
    "calls": Surface,
    "answers": Answers,
    "asyncio": Asynchronous,
    "tools": Tools,
    "functions": Functions,
}


def default_of(parameter):
    """Tell whether a parameter must be passed."""
    return parameter.default in (parameter.empty, ...) and parameter.kind not in SPECIAL


def arguments_for(parameters, odd, value):
    """Return right arguments, except for one."""
    by_name = {
        parameter.name: RIGHT.get(parameter.name, "some words")
        for parameter in parameters
        if default_of(parameter) or parameter.name in ALWAYS & RIGHT.keys()
    }
    if odd.kind is odd.VAR_POSITIONAL:
        return [value], by_name
    by_name[odd.name] = value
    by_position = [
        by_name.pop(parameter.name)
        for parameter in parameters
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.name in by_name
    ]
    return by_position, by_name


def try_one(tally, surface, call, odd, words):
    """Make one call with one value that does not belong there."""
    name, parameters, function = call
    value = VALUES[words]()
    if odd.name in CALLED and callable(value):
        return
    by_position, by_name = arguments_for(parameters, odd, value)
    described = f"{name}({odd.name}={words})"
    tally.call(described, surface.do, function, by_position, by_name)


@pytest.fixture
def folders(project, monkeypatch, tmp_path):
    """Return a function that gives a copy of a project, and goes there."""
    numbers = itertools.count()

    def copy():
        folder = tmp_path / f"copy{next(numbers)}"
        shutil.copytree(project.folder, folder, symlinks=True)
        monkeypatch.chdir(folder)
        return folder

    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_any_argument_of_any_call(folders, kind):
    """Each argument with a few of the values, in one project; the soak takes all of them."""
    tally = Tally()
    numbers = itertools.count()
    with contextlib.closing(KINDS[kind](folders())) as surface:
        for call in surface.calls():
            for odd, words in itertools.product(call[1], VALUES):
                if next(numbers) % 113 == 0:
                    try_one(tally, surface, call, odd, words)
    tally.judge(kind)
    assert tally.tries > 5


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_every_value_for_every_argument(folders, kind):
    """Each parameter in a project of its own, so that no call is refused for what another did."""
    tally = Tally()
    with contextlib.closing(KINDS[kind](folders())) as surface:
        shapes = [(name, len(parameters)) for name, parameters, _ in surface.calls()]
    for name, count in shapes:
        for place in range(count):
            folder = folders()
            with contextlib.closing(KINDS[kind](folder)) as surface:
                (call,) = [each for each in surface.calls() if each[0] == name]
                for words in VALUES:
                    try_one(tally, surface, call, call[1][place], words)
            shutil.rmtree(folder, ignore_errors=True)
    tally.judge(f"arguments, {kind}")
