"""The way back in: at most twelve lines and 400 tokens; what must not be missed stays longest."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.records import NOW, STEP, attempt, checkpoint, session, status, task, why
from vespera_orchestrator._model import CauseKind, NextStep, Position, TaskStatus
from vespera_orchestrator._text import tokens
from vespera_orchestrator.progress.resume import (
    BRIEFING_LINES,
    BRIEFING_TOKENS,
    CHANGE_WORDS,
    Change,
    Drift,
    InHand,
    ResumeFacts,
    Whereabouts,
    briefing,
    no_session,
)
from vespera_orchestrator.progress.status import Running
from vespera_orchestrator.tasks.lifecycle import MILESTONES

TWO_DAYS_AGO = NOW - timedelta(days=2)
RUN = Running(task=task("run", "in_progress"), attempt=attempt("run"), checkpoint=None)


def change(alias, kind="task_completed", **fields):
    """Make a change of two days ago."""
    return Change(alias=alias, kind=kind, words=CHANGE_WORDS[kind], at=TWO_DAYS_AGO, **fields)


def facts(*, of=None, **fields):
    """Make what ada reads, who looked two days ago."""
    values = {"reader": "ada", "last_look": TWO_DAYS_AGO}
    return ResumeFacts(status=status(**of or {}), **values | fields)


def test_where_we_were_what_changed_what_to_do():
    """In this order: one's own work, changes in the order they happened, trouble, place, step."""
    counts = {TaskStatus.COMPLETED: 1, TaskStatus.BLOCKED: 1}
    written = briefing(
        facts(
            of={
                "counts": counts,
                "planned": counts,
                "blocked": (why("b", "a person must decide"),),
            },
            reader="eve",
            own=[
                InHand(
                    task=task("lid"),
                    attempt=attempt("lid", agent="eve", ended_at=NOW),
                    checkpoint=checkpoint("lid", note="half", progress=0.5),
                    files=("lid.py:3-9",),
                    file_count=1,
                )
            ],
            others=[
                InHand(
                    task=RUN.task,
                    attempt=RUN.attempt,
                    checkpoint=checkpoint("run", note="begun", progress=0.1),
                    files=("run.py:3",),
                    file_count=1,
                )
            ],
            changes=[
                change("a", detail="boiled", agent="bob", files=("a.py:1", "b.py"), file_count=4),
                change("b", "task_blocked", detail="no key", agent="eve"),
            ],
            new_changes=7,
            drift=Drift(commits=2, files=("a.py:1",), file_count=1, relied_on=("lid",)),
            skipped=[change("c", "task_skipped", detail="no gas")],
            skipped_count=3,
            where=Whereabouts(
                position=Position(branch="main", head="a" * 40, integration="b" * 40),
                integration_branch="integration",
                missing=3,
                worktrees=("lid (feature/lid)",),
                worktree_count=1,
            ),
        )
    )
    assert str(written).splitlines() == [
        "Goal: Boil water",
        "[##########..........] 1 of 2 completed (50 %); all tasks: 1 blocked, 1 completed",
        "You left lid: half (50%, saved just now; lid.py:3-9)",
        "Since you looked, 2 days ago: 7 changes, the last:",
        "  a completed: boiled (bob, 2 days ago; a.py:1, b.py and 2 more)",
        "  b blocked: no key (you, 2 days ago)",
        "Since then: what lid builds on is unchanged; 2 new commits, 1 file changed (a.py:1).",
        "To decide: b: a person must decide",
        "Running: run: begun (ada, 10%, saved just now; run.py:3)",
        "Skipped: c (no gas), 2 more",
        "Where: the project is on main, 3 commits behind integration; worktree: lid (feature/lid)",
        "Next: Start 'a'.  →  orch.execute_task('a')",
    ]


def test_what_nobody_saved_is_told_by_signs_of_life():
    """Of one's own task, and of others'; and what a save left out, for all of them."""
    held = InHand(task=RUN.task, attempt=RUN.attempt)
    saved = checkpoint("run", left_out=("big.bin",))
    running = (attrs.evolve(RUN, checkpoint=saved),)
    written = str(briefing(facts(of={"running": running}, own=[held], others=[held])))
    assert "You hold run (last sign of life just now)" in written
    assert "Running: run (ada, last sign of life just now)" in written
    assert "Left out of the last save: big.bin (run)" in written


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Nothing has changed since you looked, 2 days ago."),
        ({"changes": [change("a")]}, "since you looked, 2 days ago. The last changes:"),
        ({"changes": [change("a")], "new_changes": 1}, "2 days ago: 1 change, the last:"),
        ({"changes": [change("a")], "new_changes": 100}, "2 days ago: 100+ changes, the last:"),
        (
            {"changes": [change("a"), change("b")], "new_changes": 1},
            "2 days ago: 1 change. With earlier ones:",
        ),
        ({"last_look": None}, "This is your first look at all of it, and nothing has changed yet."),
        (
            {"last_look": None, "changes": [change("a")]},
            "This is your first look at all of it. The last changes:",
        ),
    ],
)
def test_news_are_counted_from_the_readers_own_look(fields, words):
    """Whether there is any news, since when, and how much; the first time, what happened last."""
    assert words in str(briefing(facts(**fields)))


SAME = Drift(relied_on=("a",), are_files_the_same=True)


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        (SAME, "what a builds on is unchanged; the files are as you left them."),
        (attrs.evolve(SAME, relied_on=("a", "b")), "what a and b build on is unchanged;"),
        (attrs.evolve(SAME, relied_on=()), "Since then: the files are as you left them."),
        (Drift(relied_on=("a",)), "Since then: what a builds on is unchanged."),
        (Drift(commits=1, file_count=1), "Since then: 1 new commit, 1 file changed."),
        (attrs.evolve(SAME, replaced=("x",)), "Since then: look again: x; the files are as"),
    ],
)
def test_what_is_still_safe_to_rely_on(drift, words):
    """The code, and what the reader's own tasks build on."""
    assert words in str(briefing(facts(drift=drift)))


@pytest.mark.parametrize(
    ("position", "missing", "words"),
    [
        (Position(branch="main", head="a"), 0, "Where: the project is on main"),
        (Position(head="a"), 0, "is on no branch (a detached HEAD)"),
        (Position(branch="main", integration="b"), 0, "main, which has all of integration"),
        (Position(branch="main", integration="b"), 1, "main, 1 commit behind integration"),
        (Position(branch="integration", integration="b"), 0, "is on integration"),
    ],
)
def test_where_the_work_is(position, missing, words):
    """The branch, and how far it is behind the one where finished work goes."""
    where = Whereabouts(position=position, integration_branch="integration", missing=missing)
    assert str(briefing(facts(where=where))).splitlines()[-2].endswith(words)


def test_what_the_next_step_says_is_not_said_before_it():
    """A decision stands once on the page."""
    asked = why("a", "a person must decide: retry it")
    step = NextStep(action="decide", sentence="a waits.", call="x", task_id=asked.task_id)
    written = str(briefing(facts(of={"blocked": (asked,), "next_step": step})))
    assert "To decide" not in written
    written = str(briefing(facts(of={"blocked": (asked, why("b", "a person must decide"))})))
    assert "To decide: b: a person must decide" in written


def test_trouble_is_told():
    """What is blocked without needing a person, and worktrees that would conflict."""
    waits = why("b", "recover_b comes first", CauseKind.RECOVERY)
    written = str(briefing(facts(of={"blocked": (waits,), "clashes": ("x and y in a.py",)})))
    assert "Blocked: b is blocked: recover_b comes first" in written
    assert "Conflict ahead: x and y in a.py" in written


@pytest.mark.parametrize("kind", sorted(CHANGE_WORDS))
def test_every_change_has_words_and_an_index(kind):
    """The store answers for exactly these kinds without reading all the others."""
    assert f"  a {CHANGE_WORDS[kind]}: x (2 days ago)" in str(
        briefing(facts(changes=[change("a", kind, detail="x")]))
    )
    assert kind in MILESTONES


def test_ages_and_paths_are_never_cut():
    """What is too long for its line is the words in the middle."""
    long = "word " * 100
    changes = [change("a" * 90, detail=long, agent="bob", files=("src/a.py:1-3",), file_count=1)]
    line = briefing(facts(changes=changes)).lines[3]
    assert len(line) <= 130
    assert line.endswith("(bob, 2 days ago; src/a.py:1-3)")
    assert "word word" in line


TEXT = st.text(max_size=300)
CHANGES = st.lists(
    st.builds(
        Change,
        alias=TEXT,
        kind=st.sampled_from(sorted(CHANGE_WORDS)),
        words=st.sampled_from(sorted(CHANGE_WORDS.values())),
        at=st.just(TWO_DAYS_AGO),
        agent=st.none() | TEXT,
        detail=TEXT,
        files=st.lists(TEXT, max_size=5).map(tuple),
        file_count=st.integers(0, 9),
    ),
    max_size=5,
)


@settings(max_examples=60)
@given(TEXT, CHANGES, st.integers(0, 3), TEXT, st.none() | st.integers(1, 900))
def test_a_tired_person_reads_twelve_lines(goal, changes, count, step, budget):
    """Never more, nor more than the budget, whatever the texts are; the last is what to do."""
    written = briefing(
        facts(
            of={
                "session": session(goal),
                "blocked": tuple(why(f"b{number}", "decide") for number in range(count)),
                "elsewhere": 1,
                "next_step": attrs.evolve(STEP, sentence=f"Start {step}"),
                "budget_tokens": budget,
            },
            reader="eve",
            others=[InHand(task=RUN.task, attempt=RUN.attempt)] * count,
            changes=changes,
        )
    )
    text = str(written)
    assert len(text.split("\n")) == len(written.lines) <= BRIEFING_LINES
    assert tokens(text) <= (budget or BRIEFING_TOKENS)
    if budget is None or budget > 150:
        assert written.lines[-1].startswith("Next: Start")


def test_the_goal_is_cut_last():
    """Changes, places and counts go first; the goal's own words stay while the step fits."""
    goal = "everything is merged to the integration branch " * 4
    changes = [change(f"t{number}", detail="word " * 20) for number in range(5)]
    of = {"session": session(goal), "budget_tokens": 70}
    written = briefing(facts(of=of, changes=changes))
    assert written.lines == (f"Goal: {goal.strip()}", "Next: Start 'a'.  →  orch.execute_task('a')")
    of["budget_tokens"] = 40
    short = briefing(facts(of=of, changes=changes))
    assert short.lines[0].startswith("Goal: everything is merged")
    assert short.lines[1] == written.lines[1]


def test_without_a_session_it_says_how_to_start():
    """The step is all there is to say."""
    step = NextStep(action="initialize", sentence="Say what you want.", call="orch.x()")
    assert str(no_session(step)) == f"Next: {step}"
    assert tokens(str(no_session(step, 5))) <= 5


def test_no_task_in_hand_is_passed_over():
    """Two are told, the others named: whoever comes back takes the list as whole."""
    held = InHand(task=RUN.task, attempt=RUN.attempt)
    more = InHand(task=attrs.evolve(RUN.task, alias="third"), attempt=RUN.attempt)
    lines = str(briefing(facts(own=[held, held, more]))).splitlines()
    assert "You also hold: third" in lines
