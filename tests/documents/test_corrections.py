"""Corrections reach the documents: what is mended, reopened or deleted is not told as before."""

from __future__ import annotations

import re

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.documents.sections import section_contents


@pytest.fixture
def changelog(tmp_path):
    """Return a project with one completed task, and what its changelog says after an update."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Kettles", project_type="software_development")
        task = orch.plan_task("feat: a lid")
        orch.complete_task(task, summary="Added the wrong lid", detailed_work="A lid.")

        def updated() -> str:
            orch.documents.update()
            return (tmp_path / "docs" / "CHANGELOG.md").read_text("utf-8")

        assert "wrong lid" in updated()
        yield orch, task, updated


def test_a_corrected_summary_is_told_as_corrected(changelog):
    """Also by a process that has the wrong one in memory."""
    orch, task, updated = changelog
    orch.correct_task(task, summary="Added a lid that closes")
    text = updated()
    assert "Added a lid that closes." in text
    assert "wrong lid" not in text


def test_a_reopened_task_is_no_change(changelog):
    """Until it is completed again."""
    orch, task, updated = changelog
    orch.reopen_task(task, "it does not close")
    assert "lid" not in updated()
    orch.complete_task(task, summary="Added a lid that closes", detailed_work="A lid.")
    assert "Added a lid that closes." in updated()


def test_a_deleted_task_is_no_change(changelog):
    """One that is only archived stays: what it changed is still there."""
    orch, task, updated = changelog
    orch.delete_task(task)
    assert "wrong lid" in updated()
    orch.delete_task(task, hard=True)
    assert "lid" not in updated()


# --- superseded, and forgotten --------------------------------------------------


@pytest.fixture
def research(tmp_path):
    """Return a research project, and what a document says after an update."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Tea", project_type="research_project")

        def updated(name):
            orch.documents.update()
            return section_contents((tmp_path / "docs" / name).read_text("utf-8"))

        yield orch, updated


def complete(orch, title, work, kind="finding", **how):
    """Complete a task, and return the artifact of its work."""
    task = orch.plan_task(title)
    orch.complete_task(
        task, summary=title, detailed_work=work, artifact_type=kind, **{"outputs": {}, **how}
    )
    return orch.artifacts.find(title, task=task)


def test_a_superseded_finding_is_shown_as_withdrawn(research):
    """Below what holds, with what holds instead, by however many steps it came to that."""
    orch, updated = research
    first = complete(orch, "First round", "OR = 1.52", outputs={"odds": 1.52})
    second = complete(
        orch, "Without doubles", "OR = 1.31", outputs={"odds": 1.31}, supersedes=first
    )
    sections = updated("FINDINGS.md")
    assert "1.52" not in sections["findings"]
    assert "### ~~First round~~" in sections["withdrawn"]
    assert "superseded by: [Without doubles](#without-doubles)." in sections["withdrawn"]
    assert "| `odds` | 1.52 |" in sections["withdrawn"]
    orch.artifacts.save("Reanalysis", "OR = 1.2", kind="finding", supersedes=second)
    sections = updated("FINDINGS.md")
    assert re.findall("^### (.*)", sections["findings"], re.MULTILINE) == ["Reanalysis"]
    assert sections["withdrawn"].count("superseded by: [Reanalysis](#reanalysis).") == 2


def test_a_version_that_is_saved_later_holds_again(research):
    """Nothing is withdrawn then; and an earlier version of the same text never was a withdrawal."""
    orch, updated = research
    guess = orch.artifacts.save("Guess", "About 5.", kind="finding")
    orch.artifacts.save("Measured", "It is 6.", kind="finding", supersedes=guess)
    assert "About 5." in updated("FINDINGS.md")["withdrawn"]
    orch.artifacts.save("Guess", "About 7, after all.", kind="finding")
    sections = updated("FINDINGS.md")
    assert "About 7, after all." in sections["findings"]
    assert sections["withdrawn"] == "No finding was withdrawn."


def test_a_forgotten_finding_is_nowhere(research):
    """Neither among what holds nor among what was withdrawn."""
    orch, updated = research
    first = orch.artifacts.save("First", "Ada likes tea.", kind="finding")
    later = orch.artifacts.save("Later", "Most like tea.", kind="finding", supersedes=first)
    orch.artifacts.forget(first, reason="she asked us to")
    assert "Ada" not in str(updated("FINDINGS.md"))
    again = orch.artifacts.save("Later still", "All do.", kind="finding", supersedes=later)
    orch.artifacts.forget(again, reason="a mistake")
    withdrawn = updated("FINDINGS.md")["withdrawn"]
    assert "Most like tea." in withdrawn
    assert "superseded by" not in withdrawn, "what took its place is gone"


def test_a_superseded_protocol_is_an_earlier_version(research):
    """Of the one that holds, whatever that is called."""
    orch, updated = research
    plan = orch.artifacts.save("Plan", "We ask 20.", kind="protocol")
    orch.artifacts.save("Protocol", "We ask 40.", kind="protocol", supersedes=plan)
    text = updated("METHODOLOGY.md")["methodology"]
    assert "We ask 40." in text
    assert "We ask 20." not in text
    assert "*Version 2, " in text


def test_a_superseded_decision_keeps_its_number(tmp_path):
    """And says which one holds; a page about the design is replaced."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Kettles", project_type="software_development")
        old = orch.artifacts.save("Use minutes", "Cooks do.", kind="decision")
        orch.artifacts.save("Use seconds", "Sensors do.", kind="decision", supersedes=old)
        sketch = orch.artifacts.save("Sketch", "One box.", kind="design")
        orch.artifacts.save("Plan", "Two boxes.", kind="design", supersedes=sketch)
        orch.documents.update()
        text = (tmp_path / "docs" / "ARCHITECTURE.md").read_text("utf-8")
        assert "### 1. Use minutes" in text
        assert "*Superseded by [2](#2-use-seconds), " in text
        assert "Two boxes." in text
        assert "One box." not in text
        left_out = [
            each
            for each in orch.documents.explain("ARCHITECTURE.md", "design")
            if not each.is_shown
        ]
        assert [each.title for each in left_out] == ["Sketch"]
        assert "'Plan' supersedes it" in left_out[0].reason


def test_findings_that_do_not_agree_are_named(research):
    """Different numbers for one measure, and different texts under one title; no other numbers."""
    orch, updated = research
    complete(orch, "First round", "Few do.", outputs={"share": 0.2, "seconds": 4})
    complete(orch, "Second round", "Many do.", outputs={"share": 0.7, "seconds": 4})
    complete(orch, "Clean up", "It is tidy.", kind="general", outputs={"seconds": 9})
    orch.artifacts.save("Third round", "All do.", kind="finding")
    orch.complete_task(
        orch.plan_task("Third round"),
        summary="Third round",
        detailed_work="None do.",
        artifact_type="finding",
    )
    text = updated("FINDINGS.md")["findings"]
    assert (
        "- `share`: `0.2` in [First round](#first-round); `0.7` in [Second round](#second-round)."
        in text
    )
    assert "- Third round: said twice, in different words (" in text
    assert "seconds`:" not in text
