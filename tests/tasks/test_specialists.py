"""Who does a task when nobody is named."""

from __future__ import annotations

import pytest

from support.records import task
from vespera_orchestrator._model import TaskDraft
from vespera_orchestrator.agents.roles.role import read_roles
from vespera_orchestrator.tasks import plans
from vespera_orchestrator.tasks.effort import is_heavy
from vespera_orchestrator.tasks.lifecycle import Failure, recovery_for
from vespera_orchestrator.tasks.specialists import _BY_TYPE, following, specialist_for


@pytest.mark.parametrize(
    ("task_type", "complexity", "specialist"),
    [
        ("standard", "moderate", "generic"),
        ("standard", "complex", "architect"),
        ("Bug-Fix", "simple", "debugger"),
        ("research", "complex", "researcher"),
        ("code_review", "moderate", "reviewer"),
        ("unit test", "moderate", "tester"),
        ("knitting", "Very High", "architect"),
        ("", "", "generic"),
    ],
)
def test_type_and_complexity_decide(task_type, complexity, specialist):
    """The last word of the type that is known, then how heavy it is."""
    assert specialist_for(task_type, complexity) == specialist


def test_every_specialist_that_is_chosen_has_a_role(tmp_path):
    """Nobody is sent to a role that does not exist."""
    assert {*_BY_TYPE.values(), "architect", "generic"} <= set(read_roles(tmp_path))


@pytest.mark.parametrize(
    ("fields", "heavy"),
    [
        ({}, False),
        ({"complexity": "Very complex"}, True),
        ({"complexity": "simple"}, False),
        ({"estimated_effort": "30 min"}, False),
        ({"estimated_effort": "1 day"}, True),
        ({"estimated_effort": "4 h"}, True),
        ({"estimated_effort": "as it comes"}, False),
    ],
)
def test_heavy_is_more_than_one_sitting(fields, heavy):
    """By its complexity, or by four hours and more."""
    assert is_heavy(task(**fields)) is heavy


def test_a_plan_names_a_specialist_for_each_task():
    """Whether it is written as a mapping or as a draft; a name that was given stays."""
    drafts, mistakes = plans.plan(
        [
            {"title": "a", "task_type": "testing"},
            {"title": "b", "specialist_type": "cook"},
            TaskDraft(title="c", task_type="docs"),
        ]
    )
    assert mistakes == []
    assert [draft.specialist_type for draft in drafts] == ["tester", "cook", "documenter"]


def test_a_change_of_type_changes_a_specialist_that_nobody_named():
    """One that somebody named stays."""
    derived = task(specialist_type="generic")
    assert following(derived, {"task_type": "bug"})["specialist_type"] == "debugger"
    assert following(task(), {"task_type": "bug"})["specialist_type"] == "debugger"
    assert following(derived, {"title": "x"}) == {"title": "x"}
    named = task(specialist_type="cook")
    assert following(named, {"task_type": "bug"}) == {"task_type": "bug"}
    both = {"task_type": "bug", "specialist_type": "cook"}
    assert following(derived, both) == both


def test_a_recovery_goes_to_the_debugger_unless_somebody_was_named():
    """Whoever was named knows the task best."""
    failure = Failure(error="no")
    assert recovery_for(task(specialist_type="generic"), failure).specialist_type == "debugger"
    assert recovery_for(task(specialist_type="cook"), failure).specialist_type == "cook"
