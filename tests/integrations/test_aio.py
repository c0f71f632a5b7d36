"""The façade for asyncio has the same verbs, never blocks the loop, and survives cancellation."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest

import vespera_orchestrator as vespera
from support.hostile_values import VALUES
from vespera_orchestrator.integrations import aio
from vespera_orchestrator.integrations.aio import AsyncOrchestrator
from vespera_orchestrator.testing import ManualClock

DONE = {"summary": "done", "detailed_work": "All of it."}
PAIRS = [
    (vespera.Orchestrator, AsyncOrchestrator),
    (vespera.Work, aio.AsyncWork),
    (vespera.Artifacts, aio.AsyncArtifacts),
    (vespera.Worktrees, aio.AsyncWorktrees),
    (vespera.Documents, aio.AsyncDocuments),
]
LEFT_OUT = {"open": "its stream would block the loop"}


def public(kind):
    """Return the public methods and properties of a class."""
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS, ids=lambda kind: kind.__name__)
def test_both_surfaces_are_the_same(sync, asynchronous):
    """Each verb is there, with the signature and the documentation of the synchronous one.

    A new verb is there at once; one line in ``integrations/aio.py`` tells type checkers of it.
    """
    theirs = public(asynchronous)
    rooms = {"artifacts", "worktrees", "documents"}
    assert set(public(sync)) - set(theirs) - rooms <= set(LEFT_OUT)
    assert set(theirs) <= set(public(sync)) | {"resumed_from", "task", "attempt", "worktree"} | {
        "conflicts",
        "left_out",
        "operation",
        "not_saved",
    }
    for name, verb in theirs.items():
        if inspect.isfunction(verb) and hasattr(verb, "__wrapped__"):
            assert inspect.signature(verb) == inspect.signature(getattr(sync, name))
            assert verb.__doc__ == getattr(sync, name).__doc__


def test_from_a_goal_to_a_result(tmp_path):
    """The verbs do what their synchronous namesakes do."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("Goal")
            await orch.plan_tasks([{"title": "One"}, {"title": "Two", "dependencies": ["one"]}])
            async with orch.execute_task() as work:
                await work.checkpoint({"step": 1}, "half")
                await work.complete(**DONE, outputs={"a": 1})
            work = await orch.execute_task("two")
            assert "# Two" in await work.briefing()
            assert await work.handed_in() is None
            await work.complete(**DONE)
            (artifact,) = await orch.artifacts.list(task="one")
            assert await orch.artifacts.read(artifact) == b"All of it."
            return (await orch.get_status()).completed_count

    assert asyncio.run(use()) == 2


def test_an_error_is_raised_where_it_is_awaited(tmp_path):
    """A failing block blocks its task, and the error passes on."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("Goal")
            await orch.plan_task("One")
            with pytest.raises(vespera.TaskNotFoundError):
                await orch.get_task("two")
            with pytest.raises(ValueError, match="no luck"):
                async with orch.execute_task("one"):
                    raise ValueError("no luck")
            assert (await orch.get_task("one")).status == "blocked"
        with pytest.raises(vespera.ClosedError):
            await orch.get_task("one")
        await orch.close()

    asyncio.run(use())


class Gate:
    """A clock that stops whoever asks for the time until the gate is open."""

    def __init__(self):
        self.clock = ManualClock()
        self.is_open = threading.Event()
        self.is_open.set()
        self.reached = threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.is_open.wait(60)
        return self.clock()

    async def wait_until_reached(self):
        """Let the loop turn until the worker stands at the gate."""
        while not self.reached.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0)

    def shut(self):
        """Stop the next one."""
        self.is_open.clear()
        self.reached.clear()


@pytest.fixture
def gate():
    """A gate that stands open."""
    return Gate()


def test_the_loop_goes_on_while_a_call_is_under_way(tmp_path, gate):
    """A slow call stops nobody but those behind it."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path, clock=gate) as orch:
            await orch.initialize_session("Goal")
            gate.shut()
            planning = asyncio.create_task(orch.plan_task("Slow"))
            await gate.wait_until_reached()
            assert not planning.done()
            gate.is_open.set()  # were the loop blocked, nobody would open it
            assert (await planning).alias == "slow"

    asyncio.run(use())


def test_a_call_that_is_cancelled_before_its_turn_does_nothing(tmp_path, gate):
    """One under way comes to its end; the one behind it never begins."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path, clock=gate) as orch:
            await orch.initialize_session("Goal")
            gate.shut()
            under_way = asyncio.create_task(orch.plan_task("Under way"))
            behind = asyncio.create_task(orch.plan_task("Behind"))
            await gate.wait_until_reached()
            for call in (under_way, behind):
                call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await behind
            gate.is_open.set()
            return [task.alias for task in await orch.query_tasks()]

    assert asyncio.run(use()) == ["under_way"]


def test_a_task_whose_start_was_cancelled_is_given_back(tmp_path, gate):
    """Nobody is left holding a task that nobody works on."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path, clock=gate) as orch:
            await orch.initialize_session("Goal")
            await orch.plan_task("One")
            gate.shut()

            async def start():
                await orch.execute_task("one")

            starting = asyncio.create_task(start())
            await gate.wait_until_reached()
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            gate.is_open.set()
            await orch.current_session()  # the worker's turn after the start
            return await orch.get_task("one")

    task = asyncio.run(use())
    assert task.attempts == 1
    assert task.is_ready


def test_a_cancelled_block_releases_its_task(tmp_path):
    """The checkpoint stays, and the next attempt goes on from it."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("Goal")
            await orch.plan_task("One")
            saved = asyncio.Event()

            async def work_on_it():
                async with orch.execute_task("one") as work:
                    await work.checkpoint({"step": 1})
                    saved.set()
                    await asyncio.Event().wait()

            working = asyncio.create_task(work_on_it())
            await saved.wait()
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
            again = await orch.execute_task("one")
            return again.resumed_from.state

    assert asyncio.run(use()) == {"step": 1}


def test_events_come_while_other_calls_go_on(tmp_path):
    """The watch begins with the call, and yields what is recorded after it."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("Goal")
            await orch.plan_task("Before")
            events = orch.watch(timeout_s=60)
            await orch.plan_task("After")
            return await anext(events)

    event = asyncio.run(use())
    assert (event.kind, event.data["alias"]) == ("task_planned", "after")


def test_a_watch_ends_when_nothing_comes(tmp_path):
    """With a time limit it ends; what lies behind *after* is yielded first."""

    async def use():
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("Goal")
            return [event.kind async for event in orch.watch(0, timeout_s=0)]

    assert asyncio.run(use()) == ["session_started"]


# --- running a graph ------------------------------------------------------------------


def run(folder, use):
    """Plan three tasks in a new project, and do something with it."""

    async def main():
        async with AsyncOrchestrator.open(folder) as orch:
            await orch.initialize_session("Run")
            await orch.plan_tasks([{"title": "One"}, {"title": "Two"}, {"title": "Three"}])
            return await use(orch)

    return asyncio.run(main())


def test_coroutines_run_side_by_side_in_the_callers_loop(tmp_path):
    """Each waits for the others, so none would come to its end alone."""
    loops, here = set(), set()

    async def use(orch):
        all_here = asyncio.Event()

        async def do(work):
            loops.add(asyncio.get_running_loop())
            here.add(work.task.alias)
            await work.checkpoint({"here": True})
            if len(here) == 3:
                all_here.set()
            await all_here.wait()
            return {"together": len(here)}

        seen = []
        report = await orch.run(do, max_parallel=3, progress=seen.append)
        return report, seen, asyncio.get_running_loop()

    report, seen, loop = run(tmp_path, use)
    assert report
    assert sorted(report.completed) == ["one", "three", "two"]
    assert loops == {loop}
    assert seen[-1].completed == 3


def test_coroutines_and_plain_functions(tmp_path):
    """By alias, as in the synchronous façade; a plain one is called in a thread. So is a failure
    blocked, and everything else goes on.
    """

    class Do:
        async def __call__(self, work):
            return f"# {work.task.title} by an object"

    def plain(work):
        assert isinstance(work, vespera.Work)
        return {"thread": threading.current_thread() is threading.main_thread()}

    async def fail(work):
        raise RuntimeError(work.task.title)

    async def use(orch):
        report = await orch.run({"one": Do(), "two": plain, "three": fail})
        return report, await orch.get_task("one"), await orch.get_task("two")

    report, one, two = run(tmp_path, use)
    assert sorted(report.completed) == ["one", "two"]
    assert [trouble.reason for trouble in report.blocked] == ["RuntimeError: Three"]
    assert one.summary == "One by an object"
    assert two.outputs == {"thread": False}


def test_a_cancelled_run_gives_its_tasks_back(tmp_path):
    """Its coroutines come to their end first, and can still save; no further task is taken."""
    began = []

    async def use(orch):
        both_began = asyncio.Event()

        async def do(work):
            began.append(work.task.alias)
            if len(began) == 2:
                both_began.set()
            try:
                await asyncio.Event().wait()
            finally:
                await work.checkpoint({"saved": "at the end"})

        running = asyncio.create_task(orch.run(do, max_parallel=2))
        await both_began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        async with orch.execute_task("one") as again:
            return await orch.get_status(), again.resumed_from

    status, resumed_from = run(tmp_path, use)
    assert began == ["one", "two"]
    assert len(status.running) == 1  # the one that was started again
    assert resumed_from.state == {"saved": "at the end"}


def test_a_coroutine_that_is_cancelled_alone_gives_back_its_task(tmp_path):
    """The run goes on with the others, and tries it again."""
    tries = []

    async def use(orch):
        async def do(work):
            tries.append(work.task.alias)
            if tries.count("one") == 1 and work.task.alias == "one":
                raise asyncio.CancelledError
            return "done"

        return await orch.run(do, backoff_s=0)

    assert sorted(run(tmp_path, use).completed) == ["one", "three", "two"]
    assert sorted(tries) == ["one", "one", "three", "two"]


def test_a_run_refuses_what_is_wrong(tmp_path):
    """Before a task is taken; and the synchronous façade names this one for coroutines."""

    async def do(_):
        raise AssertionError

    async def use(orch):
        with pytest.raises(vespera.InvalidInputError, match="max_parallel"):
            await orch.run(do, max_parallel=0)
        with pytest.raises(vespera.InvalidInputError, match="handlers"):
            await orch.run(7)
        return await orch.query_tasks(status="pending")

    assert len(run(tmp_path, use)) == 3
    with vespera.open(tmp_path) as orch:
        for options in ({"handlers": do}, {"handlers": len, "on_recovery": do}):
            with pytest.raises(vespera.InvalidInputError, match=r"AsyncOrchestrator\.run"):
                orch.run(**options)


@pytest.mark.parametrize(
    "words", ["a mapping that cannot be read", "a mapping too deep to be printed"]
)
def test_functions_that_are_none_are_refused(tmp_path, words):
    """Before any of them is looked at for being a coroutine function."""

    async def attempt():
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("x")
            with pytest.raises(vespera.InvalidInputError):
                await orch.run(VALUES[words]())

    asyncio.run(attempt())
