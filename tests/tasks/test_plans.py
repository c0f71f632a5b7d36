"""What callers write, read into drafts: every mistake named at once, with its place and its
parameter.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from vespera_orchestrator._model import Dependency, Outcome, TaskDraft, TaskStatus
from vespera_orchestrator.errors import InvalidInputError, PlanError
from vespera_orchestrator.tasks import arguments, plans


def test_every_mistake_of_a_task_is_named_at_once():
    """Three wrong parameters are three mistakes; the rest of the draft is read all the same."""
    spec = {"title": " ", "priority": "high", "due_date": "soon", "description": "Boil it"}
    drafts, mistakes = plans.plan([spec])
    assert [str(mistake).split(": ")[1] for mistake in mistakes] == [
        "title",
        "priority",
        "due_date",
    ]
    assert {mistake.place for mistake in mistakes} == {"task 1 ( )"}
    assert (drafts[0].title, drafts[0].description, drafts[0].priority) == ("?", "Boil it", 0)


def test_a_wrong_outcome_costs_the_dependencies_alone():
    """An error may name another thing than the parameter it came in by: nothing is read from its
    words.
    """
    spec = {"title": "b", "alias": "b", "dependencies": [{"task": "a", "on": "luck"}]}
    (draft,), (mistake,) = plans.plan([spec])
    assert str(mistake).startswith("task 1 (b): on: 'luck' is not one of success,")
    assert (draft.alias, draft.dependencies) == ("b", ())


def test_children_refer_to_their_parent_by_number():
    """A child names its parent whatever alias that gets; a parent of its own wins."""
    children = [{"title": "b"}, {"title": "c", "parent_task_id": "else"}, TaskDraft(title="d")]
    drafts, mistakes = plans.plan([{"title": "z"}, {"title": "a", "children": children}])
    assert mistakes == []
    assert [draft.parent for draft in drafts] == [None, None, "#1", "else", "#1"]
    assert drafts[2].place == "task 2 (a), child 1 (b)"


def test_a_draft_names_the_first_mistake_and_its_place():
    """A single task that is wrong is refused with its first mistake."""
    with pytest.raises(PlanError, match="here: dependencies: 5 should be a list"):
        plans.draft({"title": "a", "dependencies": 5, "alias": 5}, "here")


def test_what_is_empty_is_the_default():
    """None and an empty word mean the default; an empty description is one."""
    draft = plans.draft({"title": "a", "task_type": "", "complexity": None, "context": None})
    assert draft == TaskDraft(title="a", specialist_type="generic")


def test_changes_are_named_as_the_store_names_them():
    """The due date becomes ``due_at``; an empty word is the default, as in planning."""
    changes = plans.changes({"due_date": date(2026, 12, 24), "task_type": ""})
    assert changes == {
        "due_at": datetime(2026, 12, 24, 12, tzinfo=UTC),
        "due_day": "2026-12-24",
        "zone": "UTC",
        "task_type": "standard",
        "written_dates": {"due_date": "2026-12-24"},
    }


def test_a_query_is_checked():
    """Words become statuses, dates times; the rest goes through."""
    query = plans.task_query(status="active", created_after="2026-12-24", limit=None, text="x")
    assert query.status == (TaskStatus.IN_PROGRESS,)
    assert query.created_after == datetime(2026, 12, 24, tzinfo=UTC)
    assert (query.limit, query.offset, query.text) == (None, 0, "x")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("2026-12-24", datetime(2026, 12, 24, tzinfo=UTC)),
        (date(2026, 12, 24), datetime(2026, 12, 24, tzinfo=UTC)),
        (datetime(2026, 12, 24, 18), datetime(2026, 12, 24, 18, tzinfo=UTC)),  # noqa: DTZ001
        (
            datetime(2026, 12, 24, 1, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 12, 23, 23, tzinfo=UTC),
        ),
    ],
)
def test_a_moment_is_aware_and_in_utc(value, expected):
    """Texts, dates and times with or without a zone become one time in UTC."""
    assert arguments.moment("due_date", value) == expected


@pytest.mark.parametrize(
    ("value", "hint"),
    [("done", "did you mean completed?"), ("failled", "did you mean failed?"), ("x", "(pending,")],
)
def test_a_wrong_status_is_answered_with_the_right_one(value, hint):
    """The error names the value, what was probably meant, and all there are."""
    with pytest.raises(InvalidInputError) as caught:
        arguments.statuses("status", [TaskStatus.PENDING, value])
    assert caught.value.name == "status"
    assert hint in caught.value.problem


def test_a_dependency_may_be_written_in_four_ways():
    """An alias, a mapping, a record with an outcome: all are edges."""
    edges = arguments.dependencies(
        "dependencies", ["a", {"task": "b"}, {"task": "c", "on": "done"}, Dependency("d")]
    )
    assert edges == (
        Dependency("a"),
        Dependency("b"),
        Dependency("c", Outcome.DONE),
        Dependency("d"),
    )


def test_a_path_is_answered_with_how_to_read_it():
    """Nobody but the caller says which files are read."""
    _, (mistake,) = plans.plan(Path("plan.yaml"))
    assert "pass its text: path.read_text('utf-8')" in str(mistake)


def test_the_page_about_plans_names_every_key():
    """In its table of what a task of a plan may say."""
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text("utf-8")
    table = page.partition("| key | what it says |")[2].partition("\n\n")[0]
    _, (mistake,) = plans.plan([{"title": "a", "x": 1}])
    keys = str(mistake).partition("known are ")[2].split(", ")
    assert len(keys) > 20
    assert [key for key in keys if f"`{key}`" not in table] == []


SYNONYMS = {
    "due": "due_date",
    "Deadline": "due_date",
    "depends": "dependencies",
    "depends_on": "dependencies",
    "effort": "estimated_effort",
    "retries": "max_attempts",
    "attempts": "max_attempts",
    "subtasks": "children",
    "notes": "description",
    "Title": "title",
}


def test_a_key_that_people_would_write_is_answered_with_the_one_they_mean():
    """And the list of all keys stands there once, where nothing better can be said."""
    specs = [{"title": "a", key: 1} for key in SYNONYMS]
    _, mistakes = plans.plan([*specs, {"title": "b", "colour": 1}, {"title": "c", "wheels": 4}])
    texts = [str(mistake) for mistake in mistakes if "unknown key" in str(mistake)]
    for text, meant in zip(texts, SYNONYMS.values(), strict=False):
        assert f", did you mean {meant!r}?" in text
    assert [text.count("known are") for text in texts] == [0] * len(SYNONYMS) + [1, 0]


@pytest.mark.parametrize("spec", [{"title": None}, {"title": ""}, {}])
def test_a_title_that_is_missing_is_told_in_plain_words(spec):
    """Nobody who writes YAML knows None."""
    _, (mistake,) = plans.plan([spec])
    assert str(mistake) == (
        "task 1 (without title): title: there is none; say in a few words what to do"
    )


def test_the_usual_priority_comes_back_by_null_and_by_an_empty_text():
    """As every other field goes back to what it is without it."""
    (task,), mistakes = plans.plan([{"title": "a", "priority": None, "max_attempts": None}])
    assert (task.priority, mistakes) == (0, [])
    assert task.named >= {"priority", "max_attempts"}
    assert plans.changes({"priority": "", "max_attempts": ""}) == {
        "priority": 0,
        "max_attempts": plans.draft({"title": "a"}).max_attempts,
    }


def test_whether_a_task_is_ready_is_true_or_false():
    """A text would be one of the two by chance."""
    with pytest.raises(InvalidInputError, match="ready: 'no' should be True or False"):
        plans.task_query(session_id="s", ready="no")
