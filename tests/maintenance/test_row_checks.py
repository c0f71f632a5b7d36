"""The rules for rows, one by one, on rows that lie in memory: no store, no file."""

from __future__ import annotations

import copy

import pytest

import vespera_orchestrator as vespera
from support.homes import do_some_of_everything, rows_of
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows


class Rows:
    """A ledger over lists of rows."""

    def __init__(self, tables):
        self.tables = tables

    def rows(self, table):
        """Yield the rows of a table."""
        yield from self.tables[table]

    def row(self, table, **key):
        """Return the one row that has these values."""
        (row,) = [row for row in self.tables[table] if key.items() <= row.items()]
        return row


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The rows of a home with some of everything."""
    with vespera.open(tmp_path_factory.mktemp("home"), store="memory:") as orch:
        do_some_of_everything(orch)
        return rows_of(orch)


@pytest.fixture
def rows(sound):
    """The same rows, to be damaged."""
    return Rows(copy.deepcopy(sound))


def findings_of(rows):
    """Return the kind and the sentence of each finding."""
    facts = Facts(ledger=rows, now=1, progress=lambda _: None)
    return {(str(finding.kind), finding.sentence) for finding in check_rows(facts)}


def test_sound_rows_have_no_findings(rows):
    """What the library writes breaks no rule."""
    assert findings_of(rows) == set()


SIGNAL = {
    "id": 1, "session_id": "s_gone", "name": "go", "payload": "{}", "key": None, "agent": "a",
    "taken": 0, "received_at": 1,
}  # fmt: skip
EFFECT = {
    "task_id": "t_gone", "key": "mail", "attempt": 1, "is_done": 0, "result": "null", "begun_at": 1,
    "recorded_at": None, "question_id": None,
}  # fmt: skip


def test_signals_and_effects_are_looked_at(rows):
    """They belong to a session and to a task, and what they hold can be read."""
    rows.tables["signals"] = [*rows.tables.get("signals", ()), SIGNAL]
    rows.tables["effects"] = [*rows.tables.get("effects", ()), {**EFFECT, "result": "{"}]
    sentences = {sentence for _, sentence in findings_of(rows)}
    assert "signal 'go': session s_gone does not exist" in sentences
    assert "effect 'mail': task t_gone does not exist" in sentences
    assert any("effects" in sentence and "read" in sentence for sentence in sentences)


CHANGES = {
    "blocker count": (
        ("tasks", {"alias": "third"}, {"blockers": 3}),
        ("counter", "task third ({id}): blocker count is 3, should be 1"),
    ),
    "attempt count": (
        ("tasks", {"alias": "first"}, {"attempts": 0}),
        ("counter", "task first ({id}): attempt count is 0, should be 1"),
    ),
    "end without an end": (
        ("tasks", {"alias": "third"}, {"ended_at": 5}),
        ("state", "task third ({id}) is pending, but has an end time"),
    ),
    "no end": (
        ("tasks", {"alias": "first"}, {"ended_at": None}),
        ("state", "task first ({id}) is completed, but has no end time"),
    ),
    "archived": (
        ("tasks", {"alias": "third"}, {"archived": 1}),
        ("state", "task third ({id}) is archived, but has not ended"),
    ),
    "not held": (
        ("tasks", {"alias": "third"}, {"status": "in_progress"}),
        ("state", "task third ({id}) is in progress, but no attempt holds it"),
    ),
    "unknown parent": (
        ("tasks", {"alias": "third"}, {"parent_task_id": "t_0"}),
        ("reference", "task third ({id}): parent_task_id is t_0, which its session does not have"),
    ),
    "unknown session": (
        ("tasks", {"alias": "third"}, {"session_id": "s_0"}),
        ("reference", "task third ({id}) belongs to session s_0, which does not exist"),
    ),
    "condition": (
        ("tasks", {"alias": "either"}, {"condition": "third.success or"}),
        ("condition", "task either ({id}): its condition cannot be read: "),
    ),
    "parent session": (
        ("sessions", {}, {"parent_session_id": "s_0"}),
        ("reference", "session {id} has the parent session s_0, which does not exist"),
    ),
    "superseded": (
        ("artifacts", {"title": "Binary"}, {"superseded": 1}),
        ("counter", "artifact {id} 'Binary': superseded is 1, should be 0"),
    ),
    "session of an artifact": (
        ("artifacts", {"title": "Binary"}, {"session_id": "s_0"}),
        ("reference", "artifact {id} belongs to session s_0, which does not exist"),
    ),
    "unreadable row": (
        ("tasks", {"alias": "third"}, {"outputs": "{"}),
        ("row", "the row '{id}' of tasks cannot be read: "),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_column_breaks_its_rule(rows, case):
    """Each rule names the row, the value it found, and the value it should be."""
    (table, key, values), (kind, sentence) = CHANGES[case]
    row = rows.row(table, **key)
    row.update(values)
    expected = sentence.replace("{id}", row["id"])
    matching = {found for found in findings_of(rows) if found[1].startswith(expected)}
    assert {found[0] for found in matching} == {kind}, findings_of(rows)


def test_lost_tasks_are_named_by_whatever_refers_to_them(rows):
    """Dependencies, attempts and checkpoints say which task does not exist."""
    row = rows.row("tasks", alias="first")
    rows.tables["tasks"].remove(row)
    sentences = {sentence for _, sentence in findings_of(rows)}
    lost = f"task {row['id']}, which does not exist"
    assert f"attempt 1 belongs to {lost}" in sentences
    assert f"checkpoint 1 belongs to {lost}" in sentences
    assert any(sentence.endswith(f"task {row['id']} does not exist") for sentence in sentences)


def test_the_log_and_the_rows_are_compared(rows):
    """A state that no event tells, an artifact without event, an event without artifact."""
    events = rows.tables["events"]
    rows.tables["events"] = [row for row in events if row["kind"] != "task_cancelled"]
    lost = rows.row("artifacts", title="Empty")
    rows.tables["artifacts"].remove(lost)
    sentences = {sentence for kind, sentence in findings_of(rows) if kind == "log"}
    doomed = rows.row("tasks", alias="doomed")
    assert sentences == {
        f"task doomed ({doomed['id']}) is cancelled, but the event log says pending",
        f"the event log names artifact {lost['id']}, which does not exist",
    }


def test_tasks_that_wait_for_each_other_are_a_circle(rows):
    """Dependencies, subtasks and recoveries count together."""
    part, rest = rows.row("tasks", alias="part"), rows.row("tasks", alias="rest")
    edge = rows.row("dependencies", task_id=rest["id"])
    rows.tables["dependencies"].append(edge | {"task_id": part["id"], "needs_id": rest["id"]})
    circles = [sentence for kind, sentence in findings_of(rows) if kind == "circle"]
    assert len(circles) == 1
    assert circles[0].startswith("tasks wait for each other in a circle, among them ")


def test_a_table_that_cannot_be_read_is_reported_where_it_breaks(rows):
    """The rows before the break are checked, and so are the other tables."""

    def broken(table, read=rows.rows):
        for row in read(table):
            if table == "checkpoints" and row["id"] == 3:
                raise vespera.CorruptStoreError("store.db", "a page is damaged")
            yield row

    rows.rows = broken
    (found,) = [found for found in findings_of(rows) if found[0] == "storage"]
    assert found[1].startswith("the table checkpoints cannot be read after row 2: ")
