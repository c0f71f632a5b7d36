"""Records as plain data: whole, in brief, within a budget, and back."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import attrs
import pytest
from cattrs import ClassValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.records import NOW, STEP, artifact, attempt, checkpoint, session, status, task
from vespera_orchestrator._model import (
    Attempt,
    Dependency,
    Finding,
    FindingKind,
    Severity,
    Task,
    TaskStatus,
)
from vespera_orchestrator._records import RecordList, converter, plain_list, to_plain
from vespera_orchestrator._text import tokens
from vespera_orchestrator.artifacts.showing import ArtifactList
from vespera_orchestrator.documents.report import UpdateReport
from vespera_orchestrator.errors import DocumentUpdateError
from vespera_orchestrator.maintenance.backup import BackupReport
from vespera_orchestrator.progress.status import Running

RECORDS = [
    session(context={"budget": [1, None, {"deep": True}]}),
    task(dependencies=(Dependency("t_b", "failure"),), outputs={"n": 0.5}, due_at=NOW),
    attempt(ended_at=NOW, ending="completed"),
    checkpoint(state=["anything"], progress=0.25),
    artifact(tags=("one", "two"), metadata={"k": 1}),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record):
    """Also through JSON: times, enums and nested records included."""
    plain = to_plain(record)
    again = converter().structure(json.loads(json.dumps(plain)), type(record))
    assert again == record


def test_a_plain_record_has_every_field_by_its_name():
    """Nothing is renamed or left out; times are ISO 8601, enums their words."""
    plain = to_plain(task("a", "in_progress", due_at=NOW))
    assert [*plain] == [*(field.name for field in attrs.fields(Task)), "is_ready"]
    assert (plain["status"], plain["due_at"]) == ("in_progress", "2026-01-01T12:00:00+00:00")
    assert type(plain["status"]) is str
    assert to_plain([attempt()])[0]["agent"] == "ada"


def test_a_field_that_is_not_known_is_refused():
    """What a newer version wrote is not dropped in silence."""
    plain = to_plain(attempt()) | {"mood": "good"}
    with pytest.raises(ClassValidationError) as caught:
        converter().structure(plain, Attempt)
    assert [problem.extra_fields for problem in caught.value.exceptions] == [{"mood"}]


def test_a_time_without_a_zone_is_taken_as_utc():
    """Every time that we hold is aware."""
    read = converter().structure("2026-01-01T12:00:00", datetime)
    assert (read, read.tzinfo) == (NOW, UTC)
    east = timezone(timedelta(hours=2))
    assert converter().structure("2026-01-01T14:00:00+02:00", datetime) == NOW.astimezone(east)


# --- whole --------------------------------------------------------------------


def test_a_record_as_json_is_its_dict():
    """Nothing in it needs a second look: paths and errors are texts, tuples are lists."""
    report = BackupReport(path=Path("/b"), tasks=1, contents=0, size_bytes=0, problems=("a", "b"))
    assert json.loads(report.to_json()) == report.to_dict()
    assert report.to_dict()["path"] == "/b"
    error = DocumentUpdateError("docs/x.md", "it is gone")
    assert UpdateReport(errors=(error,)).to_dict()["errors"] == [str(error)]


def test_what_json_cannot_hold_is_left_out():
    """A status can draw itself, which is no data; its figures are."""
    counts = {TaskStatus.PENDING: 3}
    data = status(counts=counts, planned=counts | {TaskStatus.COMPLETED: 1}).to_dict()
    assert "draw" not in data
    assert data["counts"] == {"pending": 3}
    assert {type(key) for key in data["counts"]} == {str}
    assert (data["wanted_count"], data["percent"]) == (4, 25.0)


def test_half_a_character_can_be_sent():
    """A text that no encoding can hold, such as a file name that is no UTF-8, is escaped."""
    text = task(title="half \ud83d").to_json()
    assert text.encode("ascii")
    assert json.loads(text)["title"] == "half \ud83d"


# --- in brief -------------------------------------------------------------------


def test_brief_leaves_out_what_is_empty_or_usual():
    """An ordinary task is its names, its state and what it waits for."""
    plain = task("b", title="Write it", dependencies=(Dependency("t_a"),), blockers=1)
    assert plain.to_dict(brief=True) == {
        "id": "t_b",
        "alias": "b",
        "title": "Write it",
        "status": "pending",
        "dependencies": [{"task": "t_a"}],
    }
    unusual = task(priority=2, task_type="recovery", due_at=NOW).to_dict(brief=True)
    assert unusual["priority"] == 2
    assert unusual["task_type"] == "recovery"
    assert unusual["due_at"] == "2026-01-01T12:00:00+00:00"


def test_brief_names_what_it_shortened():
    """Whatever is cut is named with the call that returns it, inside of values, too."""
    short = task(description="word " * 100, outputs={"rows": list(range(30))}).to_dict(brief=True)
    assert short["description"].endswith("word …")
    assert short["outputs"] == {"rows": list(range(10))}
    assert short["left_out"] == {
        "description": "266 more characters: orch.get_task('t_a')",
        "outputs.rows": "20 more: orch.get_task('t_a')",
    }


def test_within_another_record_a_task_is_named():
    """A status in brief names its tasks; what they are about is one call away."""
    running = Running(task=task(description="Long"), attempt=attempt(), checkpoint=checkpoint())
    data = status(running=(running,), ready=(task("b"),)).to_dict(brief=True)
    assert data["ready"] == [{"id": "t_b", "alias": "b", "title": "b", "status": "pending"}]
    assert data["running"][0]["task"]["title"] == "a"
    assert "description" not in data["running"][0]["task"]


# --- within a budget --------------------------------------------------------------


def test_what_fits_is_whole():
    """A budget that is large enough changes nothing."""
    one = task(description="short")
    assert one.to_dict(budget_tokens=1000) == one.to_dict()
    assert one.to_dict(brief=True, budget_tokens=1000) == one.to_dict(brief=True)


def test_a_status_is_as_short_as_it_was_asked_for():
    """The budget of the call counts for JSON, too, and the next step is always included."""
    blocked = tuple(task(f"t{n}", title="x" * 90) for n in range(10))
    small = status(budget_tokens=120, completed=blocked, next_step=STEP)
    assert tokens(small.to_json()) <= 120
    assert small.to_dict()["next_step"]["call"] == STEP.call
    assert small.to_dict()["left_out"] == {"*": "orch.get_status(session_id='s_1')"}


WORDS = st.text(max_size=400)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(WORDS, inner, max_size=30),
    max_leaves=30,
)


@settings(max_examples=60)
@given(WORDS, VALUES, st.integers(min_value=60, max_value=600))
def test_no_value_is_over_its_budget(text, value, budget):
    """Whatever a record holds, it is within its budget, and says where the rest is."""
    record = task(description=text, summary=text, outputs={"v": value}, context={"c": value})
    short = record.to_dict(budget_tokens=budget)
    assert tokens(record.to_json(budget_tokens=budget)) <= budget
    assert short["id"] == record.id
    if short != record.to_dict() and "left_out" not in short:
        assert short == record.to_dict(brief=True)


def test_a_list_within_a_budget_says_how_to_go_on():
    """As many as fit, the first in any case, and the call for the others."""
    tasks = [task(f"t{n}", description="word " * 30) for n in range(40)]
    rest = "orch.query_tasks(offset={})".format
    data = plain_list(tasks, name="tasks", budget_tokens=500, rest=rest)
    listed = len(data["tasks"])
    assert 3 < listed < 40
    assert tokens(json.dumps(data)) <= 560
    assert data["left_out"] == {"tasks": f"{40 - listed} more: orch.query_tasks(offset={listed})"}
    assert plain_list(tasks[:2], name="tasks", budget_tokens=500, rest=rest).keys() == {"tasks"}
    assert len(plain_list(tasks, name="tasks", budget_tokens=1, rest=rest)["tasks"]) == 1


def test_a_list_of_records_is_plain_data_too():
    """Whole, in brief, or as many of the first ones as fit."""
    tasks = RecordList([task(f"t{n}", description="word " * 30) for n in range(40)])
    assert tasks.to_dict()["records"][7] == tasks[7].to_dict()
    assert json.loads(tasks.to_json(brief=True))["records"][7] == tasks[7].to_dict(brief=True)
    data = tasks.to_dict(budget_tokens=500)
    assert tokens(json.dumps(data)) <= 560
    left = 40 - len(data["records"])
    assert data["left_out"]["records"].startswith(f"{left} more: a larger budget, or the list from")
    assert RecordList().to_json(budget_tokens=50) == '{"records":[]}'


@pytest.mark.parametrize("budget_tokens", [50, 60, 80, 100])
def test_a_small_budget_is_kept_also_by_the_first_field(budget_tokens):
    """What matters most is then there in part."""
    with vespera.open(store="memory:") as orch:
        orch.initialize_session("Build a kettle with many parts and a goal that takes some words")
        for number in range(30):
            orch.plan_task(f"Task number {number}", "long words about it " * 20)
        for record in (orch.get_status(), orch.resume(), orch.session_status(), orch.next_step()):
            text = record.to_json(budget_tokens=budget_tokens)
            assert tokens(text) <= budget_tokens, text
            assert "execute" in text


def test_a_list_of_records_is_a_table():
    """With the columns that one of them has; what others wrote forms no markup and no line."""
    tasks = RecordList([task("a", title="<b>Boil</b>\nwater"), task("b", summary="poured")])
    assert str(tasks).splitlines() == [
        "alias  title              status   summary",
        "a      <b>Boil</b> water  pending",
        "b      b                  pending  poured",
    ]
    assert "&lt;b&gt;Boil" in tasks._repr_html_()
    assert tasks == list(tasks)
    assert pickle.loads(pickle.dumps(tasks)) == tasks
    assert "… and 50 more" in RecordList(tasks * 125)._repr_html_()
    findings = RecordList(
        Finding(severity=Severity.WARNING, kind=FindingKind.DOCUMENT, subject="a", sentence=words)
        for words in ("the file is gone", "<b>")
    )
    assert str(findings) == "warning: the file is gone\nwarning: <b>"
    assert "&lt;b&gt;" in findings._repr_html_()
    saved = ArtifactList([artifact("Plan", partial=True)])
    assert str(saved).splitlines()[0].startswith("title           version  kind")
    assert "Plan (partial)" in saved._repr_html_()
    assert str(RecordList()) == "(none)"
    assert "(none)" in RecordList()._repr_html_()
