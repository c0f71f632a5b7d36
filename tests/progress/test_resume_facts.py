"""What coming back costs: it does not grow with what is stored."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera

EVENT_INDEXES = ("events_milestones", "events_pauses", "events_moods")
FEW_ROWS = {
    "SCAN attempts USING INDEX attempts_lease",
    "SCAN tallies",
    "SCAN latest",
    "SCAN waiting",
    "SCAN CONSTANT ROW",
}
"""Scans of few rows: what is held, counts, and the tasks that wait for one."""


@pytest.fixture
def orch(tmp_path):
    """A session with more tasks than anybody is told of."""
    with vespera.open(tmp_path, agent="ada") as opened:
        opened.initialize_session("Goal")
        yield opened


def come_far(orch, start, count):
    """Complete some tasks, cancel one, leave some open, and pause."""
    numbers = range(start, start + count)
    orch.plan_tasks([{"title": f"T{number}"} for number in numbers])
    for number in numbers[: count // 2]:
        orch.complete_task(f"t{number}", summary="s", detailed_work="d")
    orch.cancel_task(f"t{numbers[-1]}")
    orch.pause("tired")


def statements(orch, call):
    """Return what a call asks the database, and what it changes."""
    connection = orch._store._database._connection
    asked = []
    connection.set_trace_callback(asked.append)
    call()
    connection.set_trace_callback(None)
    return [sql for sql in asked if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "WITH"}]


@pytest.mark.parametrize("name", ["resume", "next_step"])
def test_coming_back_asks_as_much_where_more_is_stored(orch, name):
    """The same number of statements, each answered by an index."""
    come_far(orch, 0, 20)
    orch.execute_task("t15").checkpoint({"n": 1}, "half")
    orch.resume()
    call = getattr(orch, name)
    before = statements(orch, call)
    come_far(orch, 20, 60)
    orch.resume()
    after = statements(orch, call)
    assert len(after) <= len(before)
    connection = orch._store._database._connection
    for sql in after:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
        scans = {step for step in plan if step.startswith("SCAN") and "json_each" not in step}
        assert scans <= FEW_ROWS, (sql, plan)
        if "FROM events" in sql and "kind IN" in sql:
            assert any(index in step for index in EVENT_INDEXES for step in plan), sql


def test_how_somebody_lost_a_task_is_told_as_what_it_was(orch, tmp_path):
    """Taken over is no silence: the loser, and whoever reads later, learn who has it now."""
    orch.plan_task("Walls")
    orch.execute_task("walls")
    with vespera.open(tmp_path, agent="bob") as other:
        other.execute_task("walls", take_over=True)
        assert "walls taken over by bob from ada (just now)" in str(orch.resume())
        assert orch.pause().note.endswith("the last change: walls taken over by bob from ada")
        assert "stopped responding" not in str(other.resume())


def test_a_lost_agent_is_as_old_as_its_last_sign_of_life(tmp_path, clock):
    """Nobody looked during the night: in the morning it has not stopped responding just now."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Walls")
        orch.execute_task("walls", agent="bob")
        clock.advance(hours=11)
        assert "walls released: its agent stopped responding (bob, 11 hours ago)" in str(
            orch.resume()
        )
        assert "attempt 1 crashed" in str(orch.next_step())
        orch.execute_task("walls")
        clock.advance(hours=11)
        assert "walls free again: you were away (you, 11 hours ago)" in str(orch.resume())
        assert "crashed" not in str(orch.next_step())


def test_one_step_costs_less_than_the_whole_page(orch):
    """On a day with little energy what is not shown is not read.

    Nothing is under way: else it is counted whether one more may be begun.
    """
    come_far(orch, 0, 20)
    work = orch.execute_task("t15")
    work.checkpoint({"n": 1}, "half")
    work.release()
    orch.resume()
    whole = statements(orch, orch.resume)
    orch.set_energy("low")
    reader = statements(orch, orch.resume)
    assert len(reader) < len(whole)
    assert "half" in str(orch.resume())
