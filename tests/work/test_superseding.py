"""Completed work may take the place of what earlier work said."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera


@pytest.fixture
def orch(tmp_path):
    """A home with something that will turn out to be wrong."""
    with vespera.open(tmp_path) as opened:
        opened.initialize_session("Build a kettle", project_type="research_project")
        opened.plan_task("Measure")
        finding = "# Finding\n\nIt boils at 93 degrees."
        opened.complete_task("measure", summary="measured", detailed_work=finding)
        opened.plan_task("Measure again")
        yield opened


def _old(orch):
    return orch.artifacts.find("Measure")


def test_a_completion_supersedes(orch):
    """By id or record, with the façade or the work in hand; sent twice it is one completion."""
    old = _old(orch)
    for _ in range(2):
        orch.complete_task(
            "measure_again", summary="97", detailed_work="It boils at 97.", supersedes=old
        )
    new = orch.artifacts.find("Measure again")
    assert orch.artifacts.get(old).superseded_by == new.id
    orch.plan_task("Third time")
    with orch.execute_task("third_time") as work:
        note = work.save_artifact("Doubt", "Is it 97?")
        work.save_artifact("Certainty", "It is 98.", supersedes=note.id)
        work.complete(summary="98", detailed_work="It boils at 98.", supersedes=[new.id])
    assert {each.title for each in orch.artifacts.list()} == {"Certainty", "Third time"}
    assert orch.check()


def test_a_document_shows_what_holds(orch):
    """The new finding is there; the one that was superseded stands below, as withdrawn."""
    folder = orch.home.parent / "docs"
    before = "".join(path.read_text() for path in folder.glob("*.md"))
    assert "93 degrees" in before
    orch.complete_task(
        "measure_again",
        summary="97",
        detailed_work="# Finding\n\nIt boils at 97 degrees.",
        supersedes=_old(orch),
    )
    after = "".join(path.read_text() for path in folder.glob("*.md"))
    above, withdrawn = after.split("<!-- vespera:section withdrawn -->")
    assert "97 degrees" in above
    assert "93 degrees" not in above
    assert "93 degrees" in withdrawn


@pytest.mark.parametrize("action", ["continue", "blocked", "needs_revision"])
def test_unfinished_work_supersedes_nothing(orch, action):
    """The call is refused, and the work is kept."""
    work = orch.execute_task("measure_again")
    with pytest.raises(vespera.InvalidInputError, match="supersedes: only finished") as caught:
        work.complete(
            summary="97", detailed_work="So far.", next_action=action, supersedes=_old(orch)
        )
    assert orch.artifacts.text(caught.value.kept_artifact_id) == "So far."
    assert not _old(orch).superseded


def test_a_wrong_name_costs_nothing(orch):
    """The task stays with its holder, who corrects the call and makes it again."""
    orch.plan_task("Between")
    old = _old(orch)
    orch.complete_task("between", summary="95", detailed_work="95", supersedes=old)
    work = orch.execute_task("measure_again")
    for wrong, error in (
        ("a_missing00000", vespera.ArtifactNotFoundError),
        (old, vespera.ArtifactSupersededError),
    ):
        with pytest.raises(error) as caught:
            work.complete(summary="97", detailed_work="It is 97.", supersedes=wrong)
        assert orch.artifacts.text(caught.value.kept_artifact_id) == "It is 97."
        assert orch.get_task("measure_again").status == "in_progress"
    between = orch.artifacts.find("Between")
    work.complete(summary="97", detailed_work="It is 97.", supersedes=between)
    assert orch.artifacts.get(between).superseded
    assert orch.get_task("measure_again").status == "completed"
