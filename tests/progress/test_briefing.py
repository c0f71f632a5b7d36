"""The way back in: at most twelve lines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.records import NOW, attempt, status, task, why
from vespera_orchestrator._model import Event, TaskStatus
from vespera_orchestrator._text import tokens
from vespera_orchestrator.progress.briefing import (
    BRIEFING_LINES,
    CHANGE_WORDS,
    briefing,
    change_line,
)
from vespera_orchestrator.progress.status import Running


def brief(changes=(), total=None, decisions=(), **fields):
    """Write a briefing of a session that was left two days ago."""
    total = len(changes) if total is None else total
    return briefing(
        status(**fields),
        changes=changes,
        total=total,
        since="2 days ago",
        decisions=decisions,
    )


def test_where_we_were_what_changed_what_to_do():
    """In this order, each on a line."""
    run = Running(task=task("run", "in_progress"), attempt=attempt("run"), checkpoint=None)
    written = brief(
        ["a completed: boiled", "b blocked: no key"],
        decisions=[why("b", "a person must decide")],
        counts={TaskStatus.COMPLETED: 1, TaskStatus.BLOCKED: 1},
        planned={TaskStatus.COMPLETED: 1, TaskStatus.BLOCKED: 1},
        running=(run,),
    )
    assert str(written).splitlines() == [
        "Goal: Boil water",
        "[##########..........] 1 of 2 completed (50 %); all tasks: 1 blocked, 1 completed",
        "Since the last look, 2 days ago:",
        "  a completed: boiled",
        "  b blocked: no key",
        "Running: run: ada, last sign of life just now",
        "To decide: b: a person must decide",
        "Next: Start 'a'.  →  orch.execute_task('a')",
    ]


def test_nothing_new_is_said_so():
    """A look on the same day is not left without a word."""
    assert "Nothing has changed since the last look, 2 days ago." in brief().lines


@pytest.mark.parametrize(("total", "more"), [(40, "33"), (1000, "993+")])
def test_changes_beyond_the_page_are_counted(total, more):
    """A thousand means that or more."""
    changes = [f"t{number} completed" for number in range(BRIEFING_LINES)]
    written = brief(changes, total)
    assert len(written.lines) == BRIEFING_LINES
    assert f"  … and {more} more" in written.lines


LINES = st.lists(st.text(max_size=200), max_size=BRIEFING_LINES)


@settings(max_examples=60)
@given(LINES, st.integers(0, 3), st.integers(0, 3), st.integers(0, 2))
def test_a_tired_person_reads_twelve_lines(changes, running, decisions, elsewhere):
    """Never more, and the last is the one thing to do."""
    run = Running(task=task("run", "in_progress"), attempt=attempt("run"), checkpoint=None)
    written = brief(
        changes,
        total=len(changes) * 50,
        decisions=[why(f"b{number}", "decide") for number in range(decisions)],
        running=(run,) * running,
        elsewhere=elsewhere,
    )
    lines = str(written).splitlines()
    assert len(lines) <= BRIEFING_LINES
    assert lines[-1].startswith("Next: ")


@settings(max_examples=60)
@given(st.integers(10, 200))
def test_a_short_briefing_keeps_the_step(budget_tokens):
    """What is cut is what stands before it."""
    changes = [f"t{number} completed: {'word ' * 20}" for number in range(8)]
    written = brief(changes, budget_tokens=budget_tokens)
    assert tokens(str(written)) <= budget_tokens + 1
    if budget_tokens > 20:
        assert "Next: Start 'a'." in str(written)


@pytest.mark.parametrize("kind", sorted(CHANGE_WORDS))
def test_a_change_is_told_in_words(kind):
    """With the task's alias, also when it was deleted since, and with the summary or the reason."""
    event = Event(
        seq=1,
        at=NOW,
        session_id="s_1",
        task_id="t_a",
        agent="ada",
        kind=kind,
        data={"alias": "a", "reason": "no key"},
    )
    expected = f"a {CHANGE_WORDS[kind]}: no key"
    assert change_line(event, task("a")) == change_line(event, None) == expected
