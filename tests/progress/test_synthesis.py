"""A synthesis: how the subtasks ended, what is missing, and an excerpt of each result."""

from __future__ import annotations

import pytest

from support.records import artifact, task, why
from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator._text import clip
from vespera_orchestrator.progress.synthesis import SubtaskResults, results_of, synthesis


def results(*subtasks, artifacts=(), open_whys=()):
    """Put together what the subtasks of ``top`` produced."""
    return SubtaskResults(
        parent=task("top", title="Make tea"),
        subtasks=subtasks,
        artifacts=artifacts,
        open_whys=open_whys,
    )


def excerpt(of, budget_tokens):
    """Return the beginning of a text that says whose it is."""
    return clip(f"text of {of.title}\nand more", budget_tokens)


def test_what_is_there_and_what_is_missing():
    """Each subtask that gave something has a section; what is missing comes first."""
    done = task("a", "completed", title="Boil", summary="boiled", outputs={"degrees": 100})
    gone = task("b", "failed", title="Pour", reason="no cup")
    skipped = task("c", "skipped", title="Stir", reason="waits for b")
    waiting = task("d", "blocked", title="Sweeten")
    notes = artifact("Notes", task_id="t_a", partial=True)
    written = synthesis(
        results(
            done,
            gone,
            skipped,
            waiting,
            artifacts=[notes],
            open_whys=[why("d", "no sugar")],
        ),
        excerpt,
        budget_tokens=1000,
    )
    assert written.splitlines() == [
        "# Make tea",
        "",
        "1 of 4 subtasks are completed.",
        "",
        "## What is missing",
        "",
        "- d is blocked: no sugar",
        "- b is failed: no cup",
        "",
        "## What was skipped",
        "",
        "- c is skipped: waits for b",
        "",
        "## Boil",
        "",
        "boiled",
        "",
        'Outputs: `{"degrees":100}`',
        "",
        "From Notes, a_notes (cut short):",
        "",
        "> text of Notes",
        "> and more",
    ]


def test_a_small_budget_names_and_a_smaller_one_counts():
    """First excerpts go, then names; the call for the rest is there."""
    subtasks = [task(f"s{number}", "completed") for number in range(40)]
    artifacts = [artifact(f"N{number}", task_id=f"t_s{number}") for number in range(40)]
    written = synthesis(results(*subtasks, artifacts=artifacts), excerpt, budget_tokens=500)
    assert "> text" not in written
    assert written.count("\nSee N") == 20
    rest = "orch.query_tasks(parent_task_id='top', limit=None)"
    assert f"… and the results of 20 more subtasks: {rest}" in written


def test_recoveries_are_not_counted_as_planned():
    """They repair a subtask and are none themselves."""
    recovery = task("r", "completed", recovers_task_id="t_a")
    written = synthesis(results(task("a", "completed"), recovery), excerpt, budget_tokens=100)
    assert "1 of 1 subtasks are completed." in written


def test_no_text_of_others_forms_a_heading():
    """Titles and summaries are one line, excerpts are quoted."""
    hostile = "x\n# Not ours\n## Neither"
    subtask = task("a", "completed", title=hostile, summary=hostile)
    notes = artifact(hostile, task_id="t_a", id="a_1")
    written = synthesis(results(subtask, artifacts=[notes]), excerpt, budget_tokens=1000)
    headings = [line for line in written.splitlines() if line.startswith("#")]
    assert headings == ["# Make tea", "## x # Not ours ## Neither"]


@pytest.mark.parametrize("status", ["completed", "blocked"])
@pytest.mark.parametrize("kind", ArtifactKind)
def test_late_work_and_failures_stand_behind_a_result(kind, status):
    """Of a task that was completed; of any other they are all there is."""
    made = artifact(kind=kind)
    is_behind = kind in {"late", "failure"} and status == "completed"
    assert results_of([made], [task("a", status)]) == ([] if is_behind else [made])
