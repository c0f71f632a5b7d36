"""Rows and records, without a transaction: columns, values, and what is told of damaged ones."""

from __future__ import annotations

import sqlite3

import attrs
import pytest

from support.stores import start_session
from vespera_orchestrator._model import Dependency, Outcome, TaskDraft
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import CorruptRecordError
from vespera_orchestrator.stores.sql import rows
from vespera_orchestrator.stores.sql.cycles import refuse_circles_within
from vespera_orchestrator.stores.sql.dialect import POSTGRES, SQLITE, Conditions, quoted
from vespera_orchestrator.stores.sql.urgency import urgencies
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS
from vespera_orchestrator.testing import MemoryStore

ROW_TYPES = {
    "sessions": rows.SESSION,
    "tasks": rows.TASK,
    "attempts": rows.ATTEMPT,
    "checkpoints": rows.CHECKPOINT,
    "artifacts": rows.ARTIFACT,
    "events": rows.EVENT,
    "worktrees": rows.WORKTREE,
    "document_versions": rows.DOCUMENT,
    "looks": rows.LOOK,
    "shared_values": rows.SHARED,
    "team_settings": rows.TEAM_SETTINGS,
    "homes": rows.HOME,
}


@pytest.fixture
def columns():
    """The columns of each table, as the schema makes them."""
    db = sqlite3.connect(":memory:")
    for script in MIGRATIONS:
        db.executescript(script)
    yield {
        table: {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
        for table in TABLES
    }
    db.close()


@pytest.fixture
def task():
    """A task with two edges, as a store made it."""
    store = MemoryStore()
    session = start_session(store)
    edges = (Dependency("b", Outcome.FAILURE), Dependency("a"))
    drafts = [
        TaskDraft(title="A"),
        TaskDraft(title="B"),
        TaskDraft(title="C", dependencies=edges, context={"k": [1]}, estimated_effort="2 hours"),
    ]
    planned = store.plan(session.id, drafts)
    store.close()
    return planned[2]


def task_row(task, **changes):
    """The row of *task* as a statement returns it."""
    values = rows.TASK.values(task) | changes
    edges = [[number, edge.task, str(edge.on)] for number, edge in enumerate(task.dependencies)]
    as_json = rows.dump_json(edges[::-1], "edges")  # a database need not sort them
    return [*(values[name] for name in rows.TASK.names), as_json]


@pytest.mark.parametrize("table", ROW_TYPES)
def test_every_field_of_a_record_has_a_column(columns, table):
    """Records name their columns, so that a new field of the model asks for a migration only."""
    assert set(ROW_TYPES[table].names) <= columns[table]


def test_a_new_task_has_a_value_for_every_column(columns, task):
    """Those that only the store's own statements read included; the store numbers it itself."""
    assert set(rows.new_task_row(task, weighed=True)) == columns["tasks"] - {"seq"}


def test_a_task_survives_the_way_to_a_row_and_back(task):
    """Every field, and each edge in its place."""
    assert rows.TASK.read(task_row(task)) == task


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"status": "dormant"}, "'dormant' is not a status"),
        ({"context": "{"}, "invalid JSON"),
        ({"condition_names": "["}, "invalid JSON"),
    ],
)
def test_a_damaged_row_is_named(task, changes, match):
    """By the task that it is, with what is wrong with it."""
    with pytest.raises(CorruptRecordError, match=match) as caught:
        rows.TASK.read(task_row(task, **changes))
    assert task.id in str(caught.value)


def test_a_damaged_edge_is_named(task):
    """With the outcome that does not exist."""
    *columns, _ = task_row(task)
    with pytest.raises(CorruptRecordError, match="'maybe'"):
        rows.TASK.read([*columns, '[[0,"t_other","maybe"]]'])


@pytest.mark.parametrize(("dialect", "mark"), [(SQLITE, "?"), (POSTGRES, "$")])
def test_conditions_bind_their_values(dialect, mark):
    """In the order in which they are added; ``None`` tests for NULL, or nothing."""
    conditions = Conditions(dialect)
    assert conditions.where == "TRUE"
    conditions.same("task_id", None)
    conditions.same("title", "T")
    conditions.equal(kind=None, agent="ada")
    conditions.add(f"seq > {conditions.bind(7)}")
    expected = f"task_id IS NULL AND title = {mark}1 AND agent = {mark}2 AND seq > {mark}3"
    assert conditions.where == expected
    assert conditions.values == ["T", "ada", 7]


def test_dialects_word_the_same_fragments():
    """Whatever one of them names, the other names too."""
    for field in attrs.fields(type(SQLITE)):
        assert type(getattr(SQLITE, field.name)) is type(getattr(POSTGRES, field.name)), field.name
    assert SQLITE.slots(3) == "?1, ?2, ?3"
    assert POSTGRES.slots(3) == "$1, $2, $3"
    assert quoted([]) == "(NULL)"


def test_hours_are_those_of_the_longest_chain(task):
    """The task's own, and the longest of what waits for it: dependents and the parent."""
    two_hours = task
    parent = attrs.evolve(task, id="t_parent", dependencies=(), estimated_effort="1 day")
    child = attrs.evolve(two_hours, id="t_child", dependencies=(), parent_task_id="t_parent")
    first = attrs.evolve(child, id="t_first", parent_task_id=None)
    second = attrs.evolve(first, id="t_second", dependencies=(Dependency("t_first"),))
    outside = attrs.evolve(first, id="t_outside", parent_task_id="t_known")
    hours = urgencies([parent, child, first, second, outside], {"t_known": 5.0})
    assert hours == {
        "t_parent": 8.0,
        "t_child": 10.0,
        "t_first": 4.0,
        "t_second": 2.0,
        "t_outside": 7.0,
        "t_known": 5.0,
    }


def test_a_plan_without_circles_is_let_through(task):
    """Though a task waits for one that is in no circle itself."""
    other = attrs.evolve(task, id="t_other", dependencies=(Dependency(task.id),))
    refuse_circles_within([task, other], {})
