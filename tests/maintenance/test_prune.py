"""What pruning removes, and what it keeps."""

from __future__ import annotations

from datetime import timedelta

import pytest

import vespera_orchestrator as vespera
from support.homes import rows_of
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import InvalidInputError


def test_pruning_keeps_all_that_something_refers_to(orch, clock):
    """The last checkpoints and events of everything stay, and no other table is touched."""
    clock.now += timedelta(days=200)
    before = rows_of(orch)
    planned = orch.prune(timedelta(days=90), keep_events=0, keep_checkpoints=1, dry_run=True)
    assert rows_of(orch) == before
    report = orch.prune(timedelta(days=90), keep_events=0, keep_checkpoints=1)
    assert (report.events, report.checkpoints) == (planned.events, planned.checkpoints)
    assert report.checkpoints == 4
    assert report.events > 10
    after = rows_of(orch)
    for table in set(TABLES) - {"events", "checkpoints"}:
        assert after[table] == before[table]
    assert {row["task_id"] for row in after["checkpoints"]} == {
        row["task_id"] for row in before["checkpoints"]
    }
    assert orch.check(), str(orch.check())
    assert str(orch.resume())
    assert orch.artifacts.search("First")
    assert orch.execute_task("second", take_over=True).resumed_from.state == {"at": 1}
    again = orch.prune(timedelta(days=90), keep_events=0, keep_checkpoints=1)
    assert again.checkpoints == 0


def test_what_is_young_or_among_the_newest_stays(orch, clock):
    """Age and count each protect."""
    assert orch.prune(timedelta(days=1), keep_events=0).events == 0
    assert orch.prune(timedelta(days=1)).checkpoints == 0
    clock.now += timedelta(days=200)
    assert orch.prune(timedelta(days=1), keep_events=10_000, keep_checkpoints=9).events == 0
    with pytest.raises(InvalidInputError, match="keep_checkpoints"):
        orch.prune(keep_checkpoints=0)
    with pytest.raises(InvalidInputError, match="older_than"):
        orch.prune(30)


def test_a_checkpoint_that_a_recovery_names_stays(tmp_path, clock):
    """However old it is, and however many came after it."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("x")
        task = orch.plan_task("T")
        work = orch.execute_task(task)
        named = work.checkpoint(1)
        work.fail("broke")
        orch.complete_task("recover_t", summary="s", detailed_work="d")
        work = orch.execute_task(task)
        for n in range(5):
            work.checkpoint(n)
        clock.now += timedelta(days=200)
        assert orch.prune(keep_events=0, keep_checkpoints=1).checkpoints == 4
        assert named.id in {row["id"] for row in rows_of(orch)["checkpoints"]}


def test_growth_is_linear_in_the_work(tmp_path, clock):
    """A task that sends heartbeats for ever leaves a bounded log when it is pruned."""
    sizes = []
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("x")
        work = orch.execute_task(orch.plan_task("T"))
        for _ in range(2):
            for n in range(200):
                work.heartbeat()
                work.checkpoint(n)
            clock.now += timedelta(days=1)
            work.heartbeat()
            orch.prune(timedelta(hours=1), keep_events=50)
            sizes.append({table: len(rows) for table, rows in rows_of(orch).items()})
    assert sizes[1]["checkpoints"] == sizes[0]["checkpoints"] == 3
    assert sizes[1]["events"] <= sizes[0]["events"] + 3


def test_pruning_from_before_the_calendar_is_refused_in_our_words(orch):
    """A duration that no clock reaches back to is a wrong argument."""
    with pytest.raises(InvalidInputError, match="older_than"):
        orch.prune(timedelta.max)
