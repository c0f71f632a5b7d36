"""Corrections reach the documents: what is mended, reopened or deleted is not told as before."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera


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
