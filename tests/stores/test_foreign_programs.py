"""Views and triggers that somebody put into a database: they end, and are named."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import CorruptStoreError, StoreUnavailableError, VesperaError
from vespera_orchestrator.stores.sqlite import foreign

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
VIEW = f"""
    DROP TABLE shared_values;
    CREATE VIEW shared_values AS SELECT x AS id, 's' || x AS session_id, 'k' AS key, '1' AS value,
        'a' AS agent, 0 AS shared_at, NULL AS disputes, 1 AS is_current FROM ({ENDLESS});
"""
TRIGGER = f"""
    CREATE TRIGGER evil AFTER INSERT ON events BEGIN
        UPDATE tasks SET title = title WHERE id IN ({ENDLESS});
    END;
"""
OWN_WITH_ANOTHER_BODY = f"""
    DROP TRIGGER tasks_tallied_in;
    CREATE TRIGGER tasks_tallied_in AFTER INSERT ON tasks BEGIN
        UPDATE tasks SET title = title WHERE id IN ({ENDLESS});
    END;
"""


def put_into(project, script):
    """Change the database as no store of ours does."""
    file = project / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.executescript(f"PRAGMA foreign_keys = OFF; {script}")


@pytest.fixture
def project(tmp_path):
    """A folder with a home that has a session."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        orch.plan_task("A")
    return tmp_path


@pytest.mark.parametrize(
    ("script", "call"),
    [
        (VIEW, lambda orch: orch.shared_context()),
        (TRIGGER, lambda orch: orch.plan_task("B")),
        (OWN_WITH_ANOTHER_BODY, lambda orch: orch.plan_task("B")),
    ],
)
def test_what_does_not_end_is_ended(project, monkeypatch, caplog, script, call):
    """Nothing else could: SQLite hears no Ctrl-C. Opening says what is there."""
    monkeypatch.setattr(foreign, "_LIMIT_S", 0.3)
    put_into(project, script)
    with vespera.open(project) as orch:
        assert "what this library did not make" in caplog.text
        with pytest.raises(CorruptStoreError, match="does not end"):
            call(orch)
        assert [task.alias for task in orch.query_tasks()] == ["a"]


def test_a_database_of_ours_has_no_limit(project, caplog):
    """Its own triggers are known, also those of an object that only looks."""
    for readonly in (False, True):
        with vespera.open(project, readonly=readonly) as orch:
            assert orch._store._database._limit is None
    assert "did not make" not in caplog.text


def test_the_remedy_is_one_statement(project):
    """Whatever the thing is called."""
    name = 'x"; DROP TABLE tasks; --'
    quoted = name.replace('"', '""')
    put_into(project, f'CREATE TRIGGER "{quoted}" AFTER INSERT ON looks BEGIN SELECT 1; END')
    with vespera.open(project) as orch:
        sentences = [finding.sentence for finding in orch.check().errors]
    (sentence,) = [each for each in sentences if "DROP TRIGGER" in each]
    put_into(project, sentence.partition("remove it: ")[2])
    with vespera.open(project) as orch:
        assert orch.check().errors == ()
        assert orch.query_tasks()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("CREATE INDEX odd ON tasks (length(title))", "the index 'odd' was not made by this"),
        ("CREATE TABLE odd (x)", "the table 'odd' was not made by this library"),
        (
            "ALTER TABLE tasks ADD COLUMN odd INTEGER AS (length(title))",
            "'tasks' is declared otherwise",
        ),
    ],
)
def test_whatever_else_was_put_in_is_named(project, script, said):
    """An index or a column of an expression is worked out at every write."""
    put_into(project, script)
    with vespera.open(project) as orch:
        assert orch.plan_task("B")
        assert any(said in finding.sentence for finding in orch.check().errors)


def test_a_giant_in_the_database_is_not_read(project):
    """Shown, a title of half a gigabyte would take five times as much memory."""
    put_into(project, "UPDATE tasks SET title = CAST(zeroblob(101000000) AS TEXT)")
    with vespera.open(project) as orch:
        for call in (orch.get_status, orch.resume, orch.next_step, orch.query_tasks):
            with pytest.raises(VesperaError, match="larger than the 100 MB"):
                call()


@pytest.mark.parametrize("version", [3, -1])
def test_a_version_that_the_tables_belie_is_told(project, version):
    """Repeating the migrations would not be safe, whatever the error of SQLite says."""
    put_into(project, f"PRAGMA user_version = {version}")
    with pytest.raises(CorruptStoreError, match="its version"):
        vespera.open(project)


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_pipe_for_a_database_is_not_waited_for(project, ending, readonly):
    """SQLite would wait for a writer for ever, and hears no Ctrl-C."""
    file = project / ".task_orchestrator" / f"orchestrator.db{ending}"
    file.unlink(missing_ok=True)
    os.mkfifo(file)
    with pytest.raises(StoreUnavailableError, match="is a pipe"):
        vespera.open(project, readonly=readonly)
