"""Rows that no store of ours writes, in a database that somebody has edited by hand."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.bounds import Tally
from support.git_project import git
from vespera_orchestrator.errors import CorruptRecordError

VALUES = [
    None, "", "zz", "../../x", "\x1b[2J", "x" * 5000, -1, 0, 2**62, 1e300, b"\x00\xff", "[]", "{}",
    "[1", "[" * 3000, '{"a": 1}', '[["a"]]', "null", '"x"', "9999-99-99", "completed", True,
    '{"checkpoint_id": []}', 253402300800000000,
]  # fmt: skip
READING = {
    "status": lambda orch: str(orch.get_status(include_completed=True)),
    "resume": lambda orch: str(orch.resume()),
    "next_step": lambda orch: str(orch.next_step()),
    "why": lambda orch: [str(orch.why(task)) for task in orch.query_tasks()],
    "history": lambda orch: [str(event) for event in orch.history(limit=100)],
    "graph": lambda orch: (orch.graph().to_mermaid(), orch.graph().critical_path()),
    "sessions": lambda orch: str(orch.list_sessions()),
    "list": lambda orch: [orch.artifacts.read(each) for each in orch.artifacts.list()],
    "context_uses": lambda orch: orch.artifacts.context_uses(),
    "shared": lambda orch: str(orch.shared_context()),
    "worktrees": lambda orch: orch.worktrees.list(),
    "watch": lambda orch: list(orch.watch(0, timeout_s=0)),
    "check": lambda orch: orch.check(),
}
WRITING = {
    "plan": lambda orch: orch.plan_task("N", dependencies=["a"]),
    "work": lambda orch: orch.execute_task(orch.plan_task("M")).complete(
        summary="s", detailed_work="d"
    ),
    "retry": lambda orch: orch.retry_task("b"),
    "spawn": lambda orch: orch.spawn_agent_with_context("b"),
    "documents": lambda orch: orch.documents.update(),
    "synthesize": lambda orch: orch.synthesize_results("a"),
    "pause": lambda orch: orch.pause("later"),
    "prune": lambda orch: orch.prune(keep_events=0),
    "export": lambda orch: orch.export(orch.home / "export.jsonl"),
    "repair": lambda orch: orch.repair(),
}
MOST_TABLES = 20
"""At least as many as there are: a test for each has its own limit of time."""
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def fill(orch, *, worktree=False):
    """Bring a row into each table, of worktrees only on request."""
    orch.initialize_session("x", project_type="software_development", context={"k": 1})
    orch.plan_tasks(
        [{"title": "A"}, {"title": "B", "dependencies": ["a"], "condition": "a.success"}]
    )
    work = orch.execute_task("a")
    work.checkpoint({"s": 1}, "n")
    work.once("mail", lambda: 1)
    work.complete(summary="s", detailed_work="d", outputs={"x": 1})
    work = orch.execute_task("b", worktree=worktree)
    work.briefing()
    work.fail("no")
    orch.artifacts.forget(orch.artifacts.save("Wrong", "secret"))
    orch.share_context(port=1)
    orch.signal("ready", {"x": 1})
    orch.resume()
    orch.pause("later")
    orch.documents.update()


@cache
def used_home(*, worktree=False):
    """Return a project whose home is only ever copied; with a worktree every call takes longer."""
    project = Path(tempfile.mkdtemp(prefix="vespera-rows-"))
    if worktree:
        make_repository(project)
    with vespera.open(project, durability="normal") as orch:
        fill(orch, worktree=worktree)
    return project


def make_repository(folder):
    """Make a repository without files."""
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-qm", "x", "--allow-empty")


@cache
def cells():
    """Return table and column of every cell that has a row."""
    file = used_home(worktree=True) / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        pairs = []
        for (table,) in tables:
            is_ours = not table.startswith("sqlite_") and "migrations" not in table
            if is_ours and database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
                names = database.execute(f"PRAGMA table_info({table})").fetchall()
                pairs += [(table, name[1]) for name in names]
    return pairs


def make_calls(tally, orch, calls, cell):
    """Make the calls on a store with one edited cell."""
    for name, call in calls.items():
        tally.call(f"{cell}: {name}"[:200], call, orch)


def key_of(database, table):
    """Return the columns that tell the rows of a table apart."""
    columns = database.execute(f"PRAGMA table_info({table})").fetchall()
    return [column[1] for column in columns if column[5]] or ["rowid"]


def look(tally, cell, value, *, is_last):
    """Edit one cell in a copy of the home; open it and make every call."""
    table, column = cell
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        shutil.copytree(used_home(worktree=table == "worktrees"), project, symlinks=True)
        file = project / ".task_orchestrator" / "orchestrator.db"
        with contextlib.closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA ignore_check_constraints = ON")
            key = key_of(database, table)
            order = ", ".join(f"{name} {'DESC' if is_last else 'ASC'}" for name in key)
            names = ", ".join(key)
            row = f"SELECT {names} FROM {table} ORDER BY {order} LIMIT 1"
            edit = f"UPDATE {table} SET {column} = ? WHERE ({names}) = ({row})"
            try:
                database.execute(edit, [value])
            except sqlite3.IntegrityError:
                return  # a type that the table itself refuses
            database.commit()
        words = f"{cell} = {value!r}"[:150]
        orch = tally.call(f"{words}: open", vespera.open, project, durability="normal")
        if orch is not None:
            with orch:
                make_calls(tally, orch, READING | WRITING, words)


def edits():
    """Return one cell with a value, of the first or of the last row."""
    return st.tuples(st.sampled_from(cells()), st.sampled_from(VALUES), st.booleans())


@settings(max_examples=8, derandomize=True, **QUIET)
@given(st.deferred(edits))
def test_an_edited_row_breaks_no_call(edit):
    """Each call works, or says in an error of ours what cannot be read."""
    cell, value, is_last = edit
    tally = Tally()
    look(tally, cell, value, is_last=is_last)
    tally.judge("an edited row")


@pytest.mark.parametrize("kind", ["{}", "{alias.upper}", "{x!r:>99999999}"])
def test_the_kind_of_an_event_is_no_template(tmp_path, kind):
    """What somebody wrote there is shown as it is."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        orch.plan_task("A")
    file = tmp_path / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE events SET kind = ? WHERE kind = 'task_planned'", [kind])
        database.commit()
    with vespera.open(tmp_path) as orch:
        assert kind in [event.words for event in orch.history()]


def tables():
    """Return the tables that have rows."""
    return sorted({table for table, _ in cells()})


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", range(MOST_TABLES))
def test_every_cell_with_every_value(number):
    """One table; some 4,000 databases with 24 calls each in all."""
    assert len(tables()) <= MOST_TABLES
    tally = Tally()
    for table, column in cells():
        if table in tables()[number : number + 1]:
            for number_of_value, value in enumerate(VALUES):
                look(tally, (table, column), value, is_last=number_of_value % 2 == 0)
    tally.judge(f"rows, SQLite, {''.join(tables()[number : number + 1])}")


@contextlib.contextmanager
def edited(server, table, column, value):
    """Give one cell of a table another value for the time of the block."""
    query = f"SELECT ctid::text, {column} FROM {table} LIMIT 1"
    place, before = server.execute(query).fetchone()
    change = f"UPDATE {table} SET {column} = %s WHERE ctid = %s::tid RETURNING ctid::text"
    (place,) = server.execute(change, [value, place]).fetchone()
    try:
        yield
    finally:
        server.execute(change, [before, place])


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", range(MOST_TABLES))
def test_every_cell_with_every_value_on_postgres(tmp_path, postgres, postgres_url, number):
    """What the server's types let through, in one table; each cell is put back before the next."""
    schema = postgres_url.rpartition("schema=")[2]
    tally = Tally()
    make_repository(tmp_path)
    chosen = [cell for cell in cells() if cell[0] in tables()[number : number + 1]]
    with (
        vespera.open(tmp_path, store=postgres_url) as orch,
        psycopg.connect(postgres, autocommit=True) as server,
    ):
        fill(orch, worktree=True)
        server.execute(f"SET search_path = {schema}; SET session_replication_role = replica")
        for table, column in chosen:
            for value in VALUES:
                refused = contextlib.suppress(psycopg.Error, ValueError)
                with refused, edited(server, table, column, value):
                    make_calls(tally, orch, READING, f"{(table, column)} = {value!r}"[:150])
    tally.judge(f"rows, PostgreSQL, {''.join(tables()[number : number + 1])}")


@pytest.mark.parametrize(
    ("edit", "call"),
    [
        ("attempts SET ending = 'zz'", READING["status"]),
        ("given SET given_at = 253402300800000000", READING["context_uses"]),
        ("tasks SET attempts = -1 WHERE alias = 'a'", READING["next_step"]),
        ("tasks SET id = '' WHERE alias = 'b'", READING["graph"]),
        (
            """tasks SET context = '{"checkpoint_id": []}' WHERE task_type = 'recovery'""",
            WRITING["prune"],
        ),
    ],
)
def test_what_was_once_a_raw_error(tmp_path, edit, call):
    """Faults that the search above has met."""
    project = tmp_path / "project"
    shutil.copytree(used_home(), project)
    file = project / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        assert database.execute(f"UPDATE {edit}").rowcount
        database.commit()
    tally = Tally()
    with vespera.open(project) as orch:
        tally.call(edit, call, orch)
        for name in ("resume", "check"):
            tally.call(edit, READING[name], orch)
    tally.judge(edit)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_worktree_without_a_path_is_named(tmp_path, path):
    """On PostgreSQL, `resume` met one."""
    project = tmp_path / "project"
    shutil.copytree(used_home(worktree=True), project, symlinks=True)
    file = project / ".task_orchestrator" / "orchestrator.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE worktrees SET path = ?", [path])
        database.commit()
    with vespera.open(project) as orch:
        with pytest.raises(CorruptRecordError, match="no path"):
            orch.worktrees.list()
        assert any("path" in finding.sentence for finding in orch.check().errors)
