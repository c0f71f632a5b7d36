"""Answers that are about what was asked, whatever else is in the session."""

from __future__ import annotations

import pickle

import pytest

import vespera_orchestrator as vespera


@pytest.fixture
def orch(tmp_path):
    """A session with a busy subtree beside a quiet one."""
    with vespera.open(tmp_path, embedder="none") as orch:
        orch.initialize_session("Right answers")
        orch.plan_tasks(
            [
                {
                    "title": "Other",
                    "children": [{"title": f"Urgent {n}", "priority": 5} for n in range(21)],
                },
                {"title": "Mine", "children": [{"title": f"Part {n}"} for n in range(3)]},
            ]
        )
        yield orch


def test_a_status_of_a_subtree_is_about_the_subtree(orch):
    """More urgent work elsewhere, however much, hides nothing of it."""
    for number in range(10):
        orch.execute_task(f"urgent_{number}", agent=f"agent {number}")
    orch.execute_task("part_0", agent="me")
    status = orch.get_status(parent_task_id="mine")
    assert [task.alias for task in status.ready] == ["part_1", "part_2"]
    assert [running.task.alias for running in status.running] == ["part_0"]
    assert {task.alias for task in status.chain} <= {"mine", "part_0", "part_1", "part_2"}


def test_a_status_can_be_pickled(orch):
    """And its drawing comes along, as it was then."""
    status = orch.get_status()
    again = pickle.loads(pickle.dumps(status))
    assert again == status
    assert str(again) == str(status)
    assert again.to_mermaid() == status.to_mermaid()
    assert pickle.loads(pickle.dumps(again)) == status


def test_a_failure_report_names_the_checkpoint(orch):
    """A large state is in the checkpoint only; the next attempt starts from it."""
    work = orch.execute_task("part_0")
    saved = work.checkpoint({"rows": ["x" * 100] * 1000}, "half of the rows")
    work.fail("boom")
    [report] = [each for each in orch.artifacts.list(task="part_0") if each.kind == "failure"]
    assert report.size_bytes < 1000
    assert f"Last checkpoint: {saved.id} of attempt 1: half of the rows" in orch.artifacts.text(
        report
    )
    orch.complete_task("recover_part_0", summary="s", detailed_work="d")
    assert orch.execute_task("part_0").resumed_from.state == saved.state


KEYED = {1: "one", "1": "text"}


@pytest.mark.parametrize(
    "call",
    [
        lambda orch: orch.initialize_session("Next", context=KEYED),
        lambda orch: orch.plan_task("Mine", context={"a": KEYED}),
        lambda orch: orch.plan_tasks([{"title": "Mine", "context": KEYED}]),
        lambda orch: orch.update_task("held", context=KEYED),
        lambda orch: orch.share_context(scores=KEYED),
        lambda orch: orch.signal("ready", {"a": KEYED}),
        lambda orch: orch.answer("asked", KEYED),
        lambda orch: orch.artifacts.save("Scores", {"a": KEYED}),
        lambda orch: orch.artifacts.save("Scores", "text", metadata=KEYED),
        lambda orch: orch.work("held").checkpoint({"a": KEYED}),
        lambda orch: orch.work("held").once("key", lambda: KEYED),
        lambda orch: orch.work("held").complete(summary="s", detailed_work="d", outputs=KEYED),
        lambda orch: orch.complete_task("held", summary="s", detailed_work="d", outputs=KEYED),
    ],
)
def test_a_key_that_is_not_a_text_is_refused(orch, call):
    """Wherever JSON is taken: of two keys one would be lost without a word."""
    orch.plan_task("Held")
    orch.plan_task("Asked", question="Which?")
    orch.execute_task("held")
    with pytest.raises(vespera.InvalidInputError, match="the key 1 of type int is not a text"):
        call(orch)
    assert orch.get_task("held").status == "in_progress"


def test_what_agents_share_can_be_pickled(orch):
    """All but the history, which is in the store."""
    orch.share_context(port=8080)
    copy = pickle.loads(pickle.dumps(orch.shared_context()))
    assert (dict(copy), copy.source("port").agent) == ({"port": 8080}, "main")
    with pytest.raises(vespera.InvalidInputError, match="shared_context"):
        copy.history("port")
