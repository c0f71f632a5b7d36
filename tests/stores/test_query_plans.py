"""Statements that run at every call are answered by an index, on both databases, however much is
stored.
"""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from support.stores import start_session
from vespera_orchestrator._model import (
    Agenda,
    ArtifactDraft,
    Ending,
    EventKind,
    NextAction,
    Position,
    TaskDraft,
    TaskQuery,
    new_id,
)
from vespera_orchestrator.stores.postgres import PostgresStore
from vespera_orchestrator.stores.postgres import transaction as postgres_transaction
from vespera_orchestrator.stores.sqlite import SQLiteStore

FEW_ROWS = {
    "SCAN latest",
    "SCAN needed",
    "SCAN affected",
    "SCAN CONSTANT ROW",
    "SCAN attempts USING INDEX attempts_lease",
}
"""Scans of few rows: those of a subquery, none at all, and the attempts that are held now."""
ROWS = 2000
"""So many artifacts and tasks are stored that a planner with a choice prefers an index."""


def fill(store, session_id):
    """Store many tasks, and many artifacts with and without a task."""
    later = datetime(2100, 1, 1, tzinfo=UTC)
    dates = ({}, {"not_before": later, "due_at": later})
    drafts = [TaskDraft(title=f"T{number}", **dates[number % 2]) for number in range(ROWS)]
    tasks = store.plan(session_id, drafts)
    artifacts = []
    for number in range(ROWS):
        owner = tasks[number].id if number % 2 else None
        artifacts.append(
            {
                "id": new_id("a"),
                "session_id": session_id,
                "task_id": owner,
                "kind": "general",
                "title": f"title {number}",
                "media_type": "text/plain",
                "digest": f"{number:064x}",
                "size_bytes": 1,
                "version": 1,
                "superseded": 0,
                "partial": 0,
                "tags": "[]",
                "metadata": "{}",
                "created_at": number,
            }
        )
    with store.ledger(write=True) as ledger:
        ledger.put("artifacts", artifacts)


def save_and_complete(store, session_id):
    """Do what must not cost more where more is stored."""
    record = ArtifactDraft(title="title 1", digest="f" * 64, size_bytes=1)
    store.save_artifact(session_id, record, task_id=None, attempt=None, agent=None)
    claim = store.claim(session_id, "ada", lease_s=60)
    ending = Ending(action=NextAction.COMPLETE, summary="done")
    store.finish(claim.task.id, 1, ending, agent="ada", artifacts=[record])
    store.find_task("t7", session_id)
    (artifact,) = store.finish(claim.task.id, 1, ending, agent="ada", artifacts=[record]).artifacts
    other = store.claim(session_id, "ada", lease_s=60).task
    store.record_context(other.id, [artifact.id], agent="ada")
    store.context_uses(task_id=other.id)


def look_back(store, session_id):
    """Ask what somebody who comes back is told."""
    kinds = (EventKind.TASK_COMPLETED, EventKind.TASK_SKIPPED)
    store.events(session_id=session_id, kinds=kinds, newest_first=True, limit=100)
    paused = (EventKind.SESSION_PAUSED,)
    store.events(session_id=session_id, kinds=paused, newest_first=True, limit=1)
    moods = (EventKind.ENERGY_SET, EventKind.PRESSURE_CHANGED)
    store.events(session_id=session_id, kinds=moods, newest_first=True, limit=1)
    store.note_look(session_id, "ada", Position())
    store.last_look(session_id, "ada")
    store.worktrees(session_id=session_id)
    store.running(session_id, 10)
    store.past_work(store.running(session_id, 1)[0][0], 9)
    for kind in Agenda:
        store.tasks(TaskQuery(session_id=session_id, agenda=kind, limit=10))
    store.expire()


def is_lookup(sql):
    """Tell whether a statement reads or changes rows of a large table that it chooses by a
    value.
    """
    words = sql.split()
    large = {"tasks", "artifacts", "attempts", "dependencies", "given", "events", "looks"}
    large.add("worktrees")
    reads_or_changes = words[0] in {"SELECT", "UPDATE", "DELETE"}
    if "WHERE TRUE" in sql:
        return False  # the newest event of all is the end of an index
    return reads_or_changes and "WHERE" in words and bool(large & set(words))


def test_sqlite_searches_by_an_index(tmp_path):
    """No statement scans a table, equality with NULL included."""
    store = SQLiteStore.open(tmp_path / "store.db")
    session_id = start_session(store).id
    fill(store, session_id)
    store.ready(session_id, 1)
    statements = []
    connection = store._database._connection
    connection.set_trace_callback(statements.append)
    save_and_complete(store, session_id)
    look_back(store, session_id)
    connection.set_trace_callback(None)
    lookups = {sql for sql in statements if is_lookup(sql)}
    assert len(lookups) > 10
    assert any("task_id IS NULL" in sql for sql in lookups)
    for sql in lookups:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
        scans = [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
        assert set(scans) <= FEW_ROWS, (sql, plan)
        if "FROM events" in sql and "kind IN" in sql:
            index = "events_pauses" if "session_paused" in sql else "events_milestones"
            index = "events_moods" if "energy_set" in sql else index
            assert any(index in step for step in plan), (sql, plan)
        if "FROM worktrees" in sql:
            assert any("worktrees_in_use" in step for step in plan), (sql, plan)
    store.close()


@pytest.mark.parametrize("generic", [False, True], ids=["custom plan", "generic plan"])
def test_postgres_searches_by_an_index(postgres_url, monkeypatch, generic):
    """No statement scans a table, whether planned for its values or once for all."""
    store = PostgresStore.open(postgres_url)
    session_id = start_session(store).id
    fill(store, session_id)
    store.ready(session_id, 1)
    with store.ledger(write=True) as ledger:
        ledger._tx.execute("ANALYZE")
    statements = []
    execute = postgres_transaction.Transaction.execute

    def noting(self, sql, values=()):
        statements.append((sql, tuple(values)))
        return execute(self, sql, values)

    monkeypatch.setattr(postgres_transaction.Transaction, "execute", noting)
    save_and_complete(store, session_id)
    look_back(store, session_id)
    monkeypatch.undo()
    lookups = {sql: values for sql, values in statements if is_lookup(sql)}
    assert len(lookups) > 10
    assert any("task_id IS NULL" in sql for sql in lookups)
    with store._database.write() as tx:
        mode = "force_generic_plan" if generic else "force_custom_plan"
        tx.execute(f"SET LOCAL plan_cache_mode = {mode}")
        tx.execute("SET LOCAL enable_seqscan = off")  # small tables are scanned where one may
        for number, (sql, values) in enumerate(lookups.items()):
            plan = postgres_plan(tx, f"statement_{number}", sql, values)
            assert not any("Seq Scan" in step for step in plan), (sql, plan)
            if "task_id IS NULL" in sql and "title = " in sql:
                assert any("Index Cond" in step and "title" in step for step in plan), (sql, plan)
    store.close()


def postgres_plan(tx, name, sql, values):
    """Return the steps of a statement's plan, prepared as the store prepares it."""
    tx.execute(f"PREPARE {name} AS {sql}")
    literals = ", ".join(psycopg.sql.Literal(value).as_string() for value in values)
    call = f"{name}({literals})" if values else name
    rows = tx.execute(f"EXPLAIN EXECUTE {call}").fetchall()
    return [step for (step,) in rows]
