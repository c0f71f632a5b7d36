"""What pruning removes, and what it keeps."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest

import vespera_orchestrator as vespera
from support.homes import rows_of
from vespera_orchestrator.contracts import COPIED_TABLES
from vespera_orchestrator.errors import InvalidInputError, StoreUnavailableError
from vespera_orchestrator.stores.sqlite.reserve import Reserve


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
    for table in set(COPIED_TABLES) - {"events", "checkpoints"}:
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


# --- the room that it takes, and gives back -----------------------------------------------


def save_much(orch, count, characters=50_000):
    """Save checkpoints that take room."""
    with orch.execute_task("much", take_over=True) as work:
        for number in range(count):
            work.checkpoint({"text": "x" * characters}, f"n{number}")
        work.release("for later")


def file_bytes(orch):
    """How large the database is, after its log was written back."""
    with sqlite3.connect(orch.home / "orchestrator.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return orch.home.joinpath("orchestrator.db").stat().st_size


@pytest.fixture
def full(tmp_path):
    """A home with checkpoints that nobody needs."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("x")
        opened.plan_task("Much")
        save_much(opened, 60)
        yield opened


def prune_all(orch, **how):
    """Remove what can be removed."""
    return orch.prune(timedelta(0), keep_events=0, keep_checkpoints=1, **how)


def test_the_file_shrinks(full):
    """By what was removed; and the report says by how much."""
    before = file_bytes(full)
    report = prune_all(full)
    assert report.checkpoints > 50
    assert report.given_back_bytes > 1_000_000
    assert "bytes back to the disk" in str(report)
    assert file_bytes(full) < before - 1_000_000
    assert full.check().is_clean
    assert full.execute_task("much").resumed_from.note == "n59"


def test_others_write_while_it_shrinks(full):
    """Nobody meets an error, and nothing of theirs is missing."""
    stop = threading.Event()
    planned = []

    def plan():
        with vespera.open(full.project) as other:
            while not stop.is_set():
                planned.append(other.plan_task(f"T{len(planned)}").id)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(plan)
        report = prune_all(full)
        stop.set()
        writing.result()
    assert report.given_back_bytes > 0
    assert {task.id for task in full.query_tasks(limit=None)} >= set(planned)
    assert full.check().is_clean


def make_rigid(orch):
    """Make the file one that cannot shrink, as earlier versions made it."""
    with closing(sqlite3.connect(orch.home / "orchestrator.db", isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum=NONE")
        db.execute("VACUUM")
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)


def test_a_file_of_an_earlier_version_is_made_to_shrink_once(full):
    """It stays as large as it is until somebody asks for it; from then on it shrinks by itself."""
    make_rigid(full)
    before = file_bytes(full)
    assert prune_all(full).given_back_bytes == 0
    assert file_bytes(full) >= before
    assert prune_all(full, compact=True).given_back_bytes > 1_000_000
    assert file_bytes(full) < before - 1_000_000
    save_much(full, 60)
    assert prune_all(full).given_back_bytes > 1_000_000
    assert full.check().is_clean


def test_what_does_not_fit_is_told_beforehand(full, monkeypatch):
    """The error names the room that it takes, and nothing is changed."""
    make_rigid(full)
    monkeypatch.setattr(Reserve, "free_bytes", lambda _: 10_000)
    with pytest.raises(StoreUnavailableError, match=r"takes [\d,]+ bytes of free room, and 10,000"):
        prune_all(full, compact=True)
    assert full.check().is_clean


FULL_DISK = """
import json, subprocess, sys
from datetime import timedelta
from pathlib import Path
import vespera_orchestrator as vespera

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], check=True)
orch = vespera.open(disk)
orch.initialize_session("x")
orch.plan_task("Much")
work = orch.execute_task("much")
saved = 0
try:
    while True:
        work.checkpoint({"text": "x" * int(sys.argv[2])}, f"n{saved}")
        saved += 1
except vespera.StoreUnavailableError as exc:
    refused = str(exc)
with open(disk / "others", "wb", buffering=0) as others:  # to the last byte
    try:
        while True:
            others.write(b"x" * 4096)
    except OSError:
        pass
resumed = str(orch.resume())
reserve = orch.home / "orchestrator.db-reserve"
had_reserve = reserve.exists()
report = orch.prune(timedelta(0), keep_events=0, keep_checkpoints=1)
again = work.checkpoint({"text": "y"}, "goes on").note
clean = bool(orch.check())
print(json.dumps([saved, refused, resumed, had_reserve, report.given_back_bytes, again, clean]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("characters", [20_000, 400_000])
def test_a_full_disk(tmp_path, characters):
    """You can see where you were, and remove what nobody needs; then the work goes on."""
    command = ["unshare", "-m", sys.executable, "-c", FULL_DISK, str(tmp_path), str(characters)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    saved, refused, resumed, had_reserve, given_back, again, clean = json.loads(run.stdout)
    assert saved > 10
    assert "the disk is full" in refused
    assert "Goal: x" in resumed
    assert had_reserve
    assert given_back > 3_000_000
    assert (again, clean) == ("goes on", True)
