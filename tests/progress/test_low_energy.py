"""A day with little energy: one step, at most three choices, and no word of blame."""

from __future__ import annotations

import re

import pytest

import vespera_orchestrator as vespera
from support.records import STEP, session, status, task
from vespera_orchestrator._model import NextStep
from vespera_orchestrator.progress.low_energy import Gentleness

UNKIND = re.compile(
    r"\b(overdue|failed to|fail(ed|ure)?|should have|must|late|behind|urgent|asap|still not|only|"
    r"hurry|wrong|error|missed|lazy|immediately|at once|deadline)\b",
    re.IGNORECASE,
)


def page(step=STEP, **fields):
    """Return the lines of the page."""
    gentleness = fields.pop("gentleness", Gentleness())
    return str(status(gentleness=gentleness, next_step=step, **fields)).splitlines()


def choices(lines):
    """Return what one can do."""
    return [line for line in lines if "→" in line]


def test_one_step_and_a_way_out():
    """In few lines."""
    assert page(gentleness=Gentleness(begun=2, completed=1)) == [
        "Boil water",
        "Today: 2 things begun, 1 done. That counts.",
        "One thing, if you like:",
        "  Start 'a'.  →  orch.execute_task('a')",
        "Or:",
        "  not today: everything is kept  →  orch.pause()",
    ]


def test_a_heavy_task_can_be_made_smaller():
    """That makes three choices, and there are never more."""
    heavy = task("a", complexity="complex")
    step = NextStep(action="execute", sentence="Start.", call="x()", task_id=heavy.id)
    lines = page(step, ready=(heavy, *(task(f"b{number}") for number in range(9))))
    assert len(choices(lines)) == 3
    assert "orch.simplify('a')" in choices(lines)[1]


@pytest.mark.parametrize("action", ["wait", "done"])
def test_where_nothing_needs_you_it_says_so(action):
    """Rather than nothing at all."""
    step = NextStep(action=action, sentence="Wait.", call="orch.get_status()")
    assert page(step, session=session("")) == ["Nothing needs you now. Rest."]


def test_the_page_comes_and_goes_with_the_persons_word(tmp_path):
    """Beginning counts, the usual page is one call away, and no word is unkind."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Tea")
        assert str(orch.set_energy("low")).count("\n") <= 8
        seen = []

        def look():
            text = str(orch.get_status())
            assert len(choices(text.splitlines())) <= 3
            assert len(text.splitlines()) <= 8
            seen.append(text)

        look()
        orch.plan_tasks([{"title": "Boil", "due_date": "2020-01-01"}, {"title": "Pour"}])
        look()
        orch.execute_task("boil").release("tired")
        look()
        work = orch.execute_task("boil")
        orch.execute_task("pour")
        look()
        work.complete(summary="hot", detailed_work="It boils.")
        look()
        orch.complete_task("pour", summary="poured", detailed_work="It is poured.")
        look()
        assert "begun" in seen[3]
        assert [UNKIND.findall(text) for text in seen if UNKIND.search(text)] == []
        assert UNKIND.search(str(orch.pressure())) is None
        orch.set_energy("normal")
        assert "completed (100 %)" in str(orch.get_status())
