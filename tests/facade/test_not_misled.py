"""The five ways in which `resume` once misled somebody who took a real project over with it."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support.git_project import make_repository

GOAL = "Draw a kettle of which every part is merged to the integration branch"


@pytest.fixture
def taken_over(tmp_path, clock):
    """What eve reads, who holds a task, after others have worked and somebody else has looked."""
    project = make_repository(tmp_path / "project", {"a.txt": "one\n"})
    with (
        vespera.open(project, agent="ada", clock=clock) as ada,
        vespera.open(project, agent="eve", clock=clock) as eve,
        vespera.open(project, agent="bob", clock=clock) as bob,
    ):
        ada.initialize_session(GOAL)
        ada.plan_tasks(
            [
                {"title": "Lid"},
                {"title": "Spout"},
                {"title": "Rescue", "dependencies": [{"task": "lid", "on": "failure"}]},
            ]
        )
        eve.resume()
        eve.execute_task("spout", worktree=True).checkpoint({"n": 1}, "half of the spout")
        clock.advance(hours=1)
        work = ada.execute_task("lid", worktree=True)
        (work.path / "lid.txt").write_text("a lid\n")
        work.complete(summary="the lid closes", detailed_work="# Lid")
        clock.advance(hours=1)
        bob.resume()
        yield str(eve.resume()).splitlines()


def line_with(lines, words):
    """Return the number of the first line that has these words."""
    return next(number for number, line in enumerate(lines) if words in line)


def test_resume_misleads_nobody_in_these_ways_again(taken_over):
    """News are the reader's own; goal, place, what is held and what was skipped are said."""
    text = "\n".join(taken_over)
    news = line_with(taken_over, "lid completed: the lid closes (ada")
    assert "Nothing has changed" not in text  # bob's look has not used the news up
    assert f"Goal: {GOAL}" in taken_over
    where = taken_over[line_with(taken_over, "Where: ")]
    assert "main, 1 commit behind integration" in where
    assert "spout" in where
    skipped = taken_over[line_with(taken_over, "rescue skipped")]
    assert "lid" in skipped  # and why
    assert line_with(taken_over, "half of the spout") < news  # what one holds comes first
