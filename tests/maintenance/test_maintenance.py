"""What holds for all of maintenance: on each store, for each table, and once a home is closed."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

import vespera_orchestrator as vespera
from support.homes import do_some_of_everything, rows_of
from vespera_orchestrator.contracts import TABLES


def test_maintenance_is_the_same_on_postgresql(new_postgres_url, tmp_path):
    """All of it works on PostgreSQL; what is saved there comes back in SQLite, and back again."""
    with vespera.open(tmp_path, store=new_postgres_url()) as orch:
        do_some_of_everything(orch)
        assert orch.check(), str(orch.check())
        orch.export(tmp_path / "all.jsonl")
        orch.backup(tmp_path / "kept")
        before = rows_of(orch)
        with orch._store.ledger(write=True) as ledger:
            ledger.change("tasks", {"alias": "third"}, {"blockers": 5})
            ledger.change("tallies", {"status": "completed"}, {"tasks": 40})
        assert orch.check().exit_code == 2
        repaired = orch.repair()
        assert repaired.left, str(repaired)
        assert rows_of(orch)["tasks"] == before["tasks"]
        task = orch.complete_task(orch.plan_task("Goes on"), summary="s", detailed_work="d")
        assert task.status == "completed"
        assert orch.prune(timedelta(0), keep_events=0, keep_checkpoints=1).checkpoints == 4
        assert orch.check(), str(orch.check())
    with vespera.open(home=tmp_path / "kept") as backup:
        assert rows_of(backup) == before
        assert backup.check(), str(backup.check())
        backup.export(tmp_path / "again.jsonl")
    (tmp_path / "other").mkdir()
    with vespera.open(tmp_path / "other", store=new_postgres_url()) as other:
        other.import_(tmp_path / "again.jsonl")
        after = rows_of(other)
        assert after.pop("events")[:-1] == before.pop("events")
        assert after == before
        assert other.check(), str(other.check())
        task = other.complete_task(other.plan_task("Goes on"), summary="s", detailed_work="d")
        assert task.status == "completed"
        assert other.check(), str(other.check())


@pytest.mark.parametrize(
    "call", ["check", "repair", "prune", "backup", "export", "import_", "watch"]
)
def test_closed_is_closed(orch, tmp_path, call):
    """Once closed, nothing can be read or written."""
    needs_path = call in {"backup", "export", "import_"}
    arguments = [tmp_path / "x"] if needs_path else []
    orch.close()
    with pytest.raises(vespera.ClosedError):
        getattr(orch, call)(*arguments)


def test_every_table_is_known(orch):
    """Each table is either in exports and backups, or kept up by the database itself."""
    db = sqlite3.connect(orch.home / "orchestrator.db")
    names = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    tables = {name for (name,) in names}
    columns = {
        table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for table in TABLES
    }
    db.close()
    assert tables <= {*TABLES, "tallies", "migrations", "sqlite_sequence"}
    for table, spec in TABLES.items():
        assert {*spec.key, *spec.times, *spec.structures} <= columns[table]
        assert {name for name in columns[table] if name.endswith("_at")} <= {*spec.times}
