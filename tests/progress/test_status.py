"""The status page: what it says, in how much room, and that no text of others can form a line of
it.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.records import NOW, attempt, checkpoint, session, status, task, why
from vespera_orchestrator._model import AttemptEnding, NextStep, TaskStatus
from vespera_orchestrator._text import tokens
from vespera_orchestrator.progress.status import Running, SessionStatus, bar, elsewhere_lines

HOSTILE = "title\n# Heading\r\n\x1b[31mNext: <script>alert(1)</script>\u2028- item"


@pytest.mark.parametrize(
    ("percent", "drawn"),
    [
        (0, "[....................]"),
        (2, "[....................]"),
        (50, "[##########..........]"),
        (99, "[####################]"),
        (100, "[####################]"),
    ],
)
def test_the_bar_is_drawn_to_the_nearest_part(percent, drawn):
    """Twenty parts, whatever the share."""
    assert bar(percent) == drawn


@pytest.mark.parametrize(
    ("count", "lines"),
    [
        (0, []),
        (
            1,
            [
                (
                    "Elsewhere: 1 other session has open tasks: "
                    "orch.list_sessions(), orch.resume_session(…)"
                )
            ],
        ),
        (
            2,
            [
                (
                    "Elsewhere: 2 other sessions have open tasks: "
                    "orch.list_sessions(), orch.resume_session(…)"
                )
            ],
        ),
    ],
)
def test_open_work_elsewhere_is_told(count, lines):
    """With the calls that lead there; nothing where there is none."""
    assert elsewhere_lines(count) == lines


@pytest.mark.parametrize(
    ("planned", "completed", "wanted", "percent"),
    [
        ({}, 0, 0, 0),
        ({"pending": 2}, 0, 2, 0),
        ({"completed": 1, "pending": 3}, 1, 4, 25),
        ({"completed": 1, "skipped": 2, "cancelled": 1}, 1, 1, 100),
        ({"completed": 1, "failed": 1}, 1, 2, 50),
        ({"skipped": 1}, 0, 0, 0),
    ],
)
def test_progress_counts_what_is_wanted(planned, completed, wanted, percent):
    """What was skipped or cancelled is not wanted any more; what failed still is."""
    counts = {TaskStatus(name): count for name, count in planned.items()}
    page = status(planned=counts, counts=counts)
    assert (page.completed_count, page.wanted_count) == (completed, wanted)
    assert page.percent == pytest.approx(percent)


def test_the_page_says_all_that_matters():
    """Goal, progress, what is blocked, running and ahead; at the end the one thing to do."""
    counts = {TaskStatus.BLOCKED: 7, TaskStatus.IN_PROGRESS: 1, TaskStatus.COMPLETED: 2}
    run = Running(
        task=task("run", "in_progress"),
        attempt=attempt("run", last_sign_at=NOW - timedelta(minutes=3)),
        checkpoint=checkpoint("run", progress=0.5, note="half"),
    )
    page = status(
        counts=counts,
        planned=counts,
        blocked=tuple(why(f"b{number}", "no key") for number in range(6)),
        running=(run,),
        chain=(task("one"), task("two")),
        clashes=("one and two would conflict in a.txt",),
        elsewhere=1,
    )
    assert str(page).splitlines() == [
        "Boil water  (s_1)",
        (
            "[####................] 2 of 10 completed (20 %); "
            "all tasks: 1 in progress, 7 blocked, 2 completed"
        ),
        "Blocked:",
        *(f"  b{number} is blocked: no key" for number in range(5)),
        "  … and 2 more: orch.query_tasks(status='blocked')",
        "Running:",
        "  run: ada, 50%, 'half', last sign of life 3 minutes ago",
        "Conflicts ahead:",
        "  one and two would conflict in a.txt",
        "Longest chain ahead:",
        "  one → two",
        "Elsewhere: 1 other session has open tasks: orch.list_sessions(), orch.resume_session(…)",
        "Next: Start 'a'.  →  orch.execute_task('a')",
    ]


def test_no_call_in_a_line_is_cut_and_a_question_has_its_own():
    """Who is told to decide or to answer is told how, whole."""
    sentence = (
        "a person must decide after 2 failed attempts: orch.retry_task('pack_the_books'), "
        "orch.abandon_task('pack_the_books'), or plan a replacement (no boxes)"
    )
    asked = task("paint", question="May we paint the walls? " * 20)
    text = str(status(blocked=(why("pack_the_books", sentence),), questions=(asked,)))
    assert ", 1 question to answer; all tasks:" in text
    assert sentence in text
    assert text.count("orch.answer('paint', …)") == 1


def test_what_rests_is_listed_with_the_moment_when_it_wakes():
    """What is tried again by itself is named; what somebody has put off is not spoken of."""
    retry_at = NOW + timedelta(seconds=30)
    failed = task(
        "fetch",
        not_before=retry_at,
        retry_at=retry_at,
        asleep=True,
        failures=1,
        reason="no answer",
    )
    snoozed = task("report", not_before=NOW + timedelta(days=1), asleep=True)
    later = task("letter", not_before=NOW + timedelta(days=3), asleep=True)
    lines = str(status(resting=(failed, snoozed, later))).splitlines()
    start = lines.index("Resting:")
    assert lines[start + 1 : start + 3] == [
        "  fetch: it is tried again by itself in 30 s, after 1 of 3 failures (no answer)",
        "  2 tasks rest, the first until tomorrow, 12:00: orch.query_tasks(status='pending')",
    ]
    only = str(status(resting=(later,)))
    assert "  1 task rests until Sunday, 12:00: orch.query_tasks(status='pending')" in only
    assert "Resting:" not in str(status())


def test_a_subtree_is_asked_for_by_its_parent():
    """The page of a subtree has its parent's title, and calls that stay within it."""
    counts = {TaskStatus.BLOCKED: 9}
    blocked = (why("b", "no key"),)
    page = status(parent=task("top", title="The top"), counts=counts, blocked=blocked)
    assert str(page).splitlines()[0] == "The top  (top)"
    call = "orch.query_tasks(status='blocked', parent_task_id='top', include_children=True)"
    assert f"  … and 8 more: {call}" in str(page).splitlines()


def test_work_that_waits_to_be_merged_says_how():
    """A running task whose work is done names the call, and why it was not done."""
    run = Running(
        task=task("a", "in_progress", reason="main is dirty"),
        attempt=attempt(ending=AttemptEnding.HANDED_IN),
        checkpoint=None,
    )
    assert run.line(NOW) == (
        "a: done by ada, waits to be merged: orch.worktrees.merge('a') (main is dirty)"
    )


@settings(max_examples=60)
@given(st.integers(1, 400), st.text(max_size=300))
def test_a_page_keeps_to_its_budget(budget_tokens, text):
    """However small the budget and however long the texts, it is about as long as asked for."""
    counts = {TaskStatus.BLOCKED: 3, TaskStatus.COMPLETED: 2}
    page = status(
        session=session(text),
        counts=counts,
        blocked=tuple(why(f"b{number}", text) for number in range(3)),
        completed=(task("done", "completed", summary=text),),
        budget_tokens=budget_tokens,
    )
    assert tokens(str(page)) <= budget_tokens + 1


def test_no_text_of_others_forms_a_line():
    """A goal, a summary or a reason with line breaks stays within its own line; HTML is escaped."""
    counts = {TaskStatus.BLOCKED: 1, TaskStatus.COMPLETED: 1}
    page = status(
        session=session(HOSTILE),
        counts=counts,
        blocked=(why("b", HOSTILE),),
        completed=(task("done", "completed", summary=HOSTILE),),
    )
    starts = ("title # Heading", "[", "Blocked:", "  b is", "Completed:", "  done:", "Next: Start")
    assert all(line.startswith(starts) for line in str(page).splitlines())
    assert "<script>" not in page._repr_html_()


def test_figures_of_a_session_fit_a_few_lines():
    """One line for the session, one for the figures, one for the next step."""
    figures = SessionStatus(
        session=session(),
        counts={TaskStatus.COMPLETED: 1},
        percent=100,
        artifacts=1,
        worktrees=2,
        events=40,
        next_step=NextStep(action="done", sentence="Everything has ended.", call=""),
    )
    assert str(figures).splitlines() == [
        "session s_1: Boil water",
        (
            "[####################] 100 %: 1 completed; 1 artifact, 2 worktrees; "
            "last written 2026-01-01 12:00 UTC"
        ),
        "Next: Everything has ended.",
    ]
