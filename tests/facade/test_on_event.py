"""`Orchestrator.on_event`: what this process records, told after the commit."""

from __future__ import annotations

import asyncio

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.integrations.aio import AsyncOrchestrator


@pytest.fixture
def orch(tmp_path):
    """The façade, in a session."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("Observed")
        yield opened


def test_every_event_of_this_object_once_in_order(orch, tmp_path):
    """The state that an event reports can be read by then; others' events do not come."""
    told = []
    stop = orch.on_event(lambda event: told.append((event, orch.get_task(event.task_id).status)))
    task = orch.plan_task("One")
    with vespera.open(tmp_path) as other:
        other.plan_task("Theirs")
    orch.complete_task(task, summary="done", detailed_work="All.")
    stop()
    orch.plan_task("Two")
    kinds = [event.kind for event, _ in told]
    assert kinds == ["task_planned", "task_started", "artifact_saved", "task_completed"]
    assert told[-1][1] == "completed"
    sentences = [event.sentence for event, _ in told[:2]]
    assert sentences == ["one: planned", "one: started, attempt 1 (main)"]
    assert str(told[0][0]).endswith("UTC  one: planned")
    logged = [event for event in orch.watch(0, timeout_s=0) if event.task_id == task.id]
    assert [event.seq for event, _ in told] == [event.seq for event in logged]
    assert [event.sentence for event in logged][1:2] == ["one: started, attempt 1 (main)"]


def test_a_callback_may_write(orch):
    """A follow-up is planned where the event says that it is due."""

    def follow_up(event):
        if event.kind == vespera.EventKind.TASK_COMPLETED:
            orch.plan_task("Follow up")

    orch.on_event(follow_up)
    orch.plan_task("One")
    orch.complete_task("one", summary="done", detailed_work="All.")
    assert orch.get_task("follow_up").is_ready


def test_a_callback_that_fails_fails_nothing(orch, caplog):
    """It is logged under the library's name, and told of the next event all the same."""
    told = []

    def fail(event):
        told.append(event.kind)
        raise RuntimeError("no luck")

    orch.on_event(fail)
    orch.plan_tasks([{"title": "One"}, {"title": "Two"}])
    assert told == ["task_planned", "task_planned"]
    assert {record.name for record in caplog.records} == {"vespera_orchestrator"}
    assert "no luck" in caplog.text


def test_in_asyncio_it_is_called_in_the_loop(tmp_path):
    """So it may touch what belongs to the loop."""

    async def use():
        told = asyncio.Queue()
        async with AsyncOrchestrator.open(tmp_path) as orch:
            await orch.initialize_session("x")
            orch.on_event(told.put_nowait)
            await orch.plan_task("One")
            return (await told.get()).kind

    assert asyncio.run(use()) == "task_planned"
