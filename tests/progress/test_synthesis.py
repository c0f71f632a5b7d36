"""A synthesis: how the subtasks ended, what is missing, and an excerpt of each result."""

from __future__ import annotations

import attrs
import pytest

from support.records import artifact, task, why
from vespera_orchestrator._model import ArtifactKind, TaskArtifact
from vespera_orchestrator.progress.synthesis import SubtaskResults, results_of, synthesis


def results(*subtasks, artifacts=(), open_whys=()):
    """Put together what the subtasks of ``top`` produced."""
    return SubtaskResults(
        parent=task("top", title="Make tea"),
        subtasks=subtasks,
        work=[TaskArtifact(task_id=each.task_id, artifact=each) for each in artifacts],
        open_whys=open_whys,
    )


def excerpt(of):
    """Return a text that says whose it is."""
    return f"text of {of.title}\nand more"


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
        "> text of Notes",
        "> and more",
    ]


def test_a_small_budget_names_and_a_smaller_one_counts():
    """First the reports go, and the calls that read them stay; then what is left is counted."""
    subtasks = [task(f"s{number}", "completed") for number in range(40)]
    artifacts = [artifact(f"N{number}", task_id=f"t_s{number}") for number in range(40)]
    written = synthesis(results(*subtasks, artifacts=artifacts), excerpt, budget_tokens=500)
    named = written.count("[to read: orch.artifacts.text(")
    assert 3 <= named < 40
    assert "more entries left out: ask for a larger budget_tokens]" in written


REPORT = """# Boil

It boils.

```
## Open
not this
```

## Known gaps

- it whistles late
- [ ] it drips

Tests: 41 passed.

## Thanks

everybody
"""


def test_what_a_report_leaves_open_stands_at_the_head():
    """In its own words; what is code, or behind the list, is none of it."""
    made = artifact("Boil", task_id="t_a")
    written = synthesis(
        results(task("a", "completed"), artifacts=[made]), lambda _: REPORT, budget_tokens=900
    )
    head, _, body = written.partition(f"\n## {task('a').title}")
    assert head.endswith("## What the reports leave open\n\n- a: it whistles late\n- a: it drips\n")
    assert "> everybody" in body


def test_the_head_tells_tests_and_counts_what_it_does_not_list():
    """From outputs, or from the report; long code of a report is named."""
    listing = "\n".join(f"line {n}" for n in range(11))
    report = f"Tests: 3 passed\n\n```py\n{listing}\n```\n\n## Offen\n\n- a\n- b\n- c\n- d\n"
    a = task("a", "completed", outputs={"tests_passed": 165})
    b = task("b", "completed")
    written = synthesis(
        results(a, b, artifacts=[artifact("Report", task_id="t_b")]),
        lambda _: report,
        budget_tokens=900,
    )
    assert "## Tests\n\n- a: tests_passed 165\n- b: 3 passed\n" in written
    assert "- b: c\n- b: 1 more in orch.artifacts.text('a_report')\n" in written
    assert "> [code, py: 11 lines]" in written
    assert "line 3" not in written


def test_code_files_and_earlier_syntheses_are_only_named():
    """A reader finds them by their ids."""
    made = [
        artifact("kettle.py", task_id="t_a", kind=ArtifactKind.FILE),
        artifact("Data", task_id="t_a", media_type="application/json"),
        artifact("Synthesis", task_id="t_a", kind=ArtifactKind.SYNTHESIS),
    ]
    written = synthesis(results(task("a", "completed"), artifacts=made), excerpt, budget_tokens=900)
    assert "text of" not in written
    assert "Also there: kettle.py, a_kettle.py, Data, a_data, Synthesis, a_synthesis" in written


def test_a_long_report_is_cut_at_a_paragraph():
    """With the call that reads all of it; a short one beside it is whole."""
    long, short = artifact("Long", task_id="t_a"), artifact("Short", task_id="t_a")
    paragraphs = "\n\n".join(f"Paragraph {number} ends here." for number in range(200))
    texts = {long.id: paragraphs, short.id: "All of it."}
    written = synthesis(
        results(task("a", "completed"), artifacts=[long, short]),
        lambda of: texts[of.id],
        budget_tokens=300,
    )
    quoted = [line for line in written.splitlines() if line.startswith("> P")]
    assert 5 < len(quoted) < 200
    assert all(line.endswith("ends here.") for line in quoted)
    assert "more characters: orch.artifacts.text('a_long')]" in written
    assert "> All of it." in written


def test_where_it_landed_and_what_does_not_agree():
    """Both stand before the reports."""
    found = results(task("a", "completed"))
    found = attrs.evolve(found, branch="integration", contradictions=["ada says 1, bob says 2"])
    written = synthesis(found, excerpt, budget_tokens=900)
    assert "What they changed is on the branch integration." in written
    assert "## What does not agree\n\n- ada says 1, bob says 2\n" in written


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


def test_what_has_taken_the_place_of_results_is_named_once():
    """Where the first of them was; or with the subtask that saved it."""
    old, older = artifact("Design", task_id="t_a"), artifact("Draft", task_id="t_b")
    outside, own = artifact("Review", task_id=None), artifact("Better", task_id="t_b")
    tasks = [task("a", "completed"), task("b", "completed")]
    first = TaskArtifact(task_id="t_a", artifact=outside, replaces=old)
    again = TaskArtifact(task_id="t_b", artifact=outside, replaces=older)
    assert results_of([first, again], tasks) == [first]
    moved = TaskArtifact(task_id="t_a", artifact=own, replaces=old)
    saved = TaskArtifact(task_id="t_b", artifact=own)
    assert results_of([moved, saved], tasks) == [saved]


@pytest.mark.parametrize("status", ["completed", "blocked"])
@pytest.mark.parametrize("kind", ArtifactKind)
def test_late_work_failures_and_conflicts_stand_behind_a_result(kind, status):
    """Of a task that was completed; of any other they are all there is."""
    made = TaskArtifact(task_id="t_a", artifact=artifact(kind=kind, task_id="t_a"))
    is_behind = kind in {"late", "failure", "conflict", "refusal"} and status == "completed"
    assert results_of([made], [task("a", status)]) == ([] if is_behind else [made])


def test_a_file_from_before_the_completion_is_not_there():
    """What was kept unfinished, such as before a conflict was resolved, holds no more."""
    before = artifact("cli.py", kind=ArtifactKind.FILE, task_id="t_a", partial=True)
    made = TaskArtifact(task_id="t_a", artifact=before)
    assert results_of([made], [task("a", "completed")]) == []
    assert results_of([made], [task("a", "blocked")]) == [made]
