"""A coordinator that knows that its child is dead ends the attempt in one call."""

from __future__ import annotations

import contextlib

import pytest

import vespera_orchestrator as vespera


@pytest.fixture
def agent(tmp_path, clock):
    """Return a function that opens the project as an agent."""
    with contextlib.ExitStack() as opened:
        yield lambda name: opened.enter_context(
            vespera.open(tmp_path, agent=name, clock=clock, embedder="none")
        )


def test_the_next_attempt_goes_on_at_once(agent):
    """From the checkpoint, with the reason; the log tells it as what it is, not as an expiry."""
    lead, child = agent("lead"), agent("child")
    lead.initialize_session("Goal")
    lead.plan_task("Lid")
    work = child.execute_task("lid")
    work.checkpoint({"n": 1}, "rim")
    task = lead.end_attempt("lid", "killed: out of memory", holder="child")
    assert (task.status, task.reason) == ("pending", "killed: out of memory")
    assert str(lead.why("lid")) == "lid is ready; attempt 1 was ended: killed: out of memory"
    assert "killed: out of memory" in str(lead.next_step())
    kinds = [event.kind for event in lead.watch(0, timeout_s=0)]
    assert kinds[-1] == "attempt_ended"
    assert "lease_expired" not in kinds
    again = agent("another").execute_task("lid")
    assert (again.attempt.number, again.resumed_from.state) == (2, {"n": 1})
    assert "killed: out of memory" in again.briefing()


def test_a_holder_that_lives_loses_nothing(agent):
    """It cannot go on, and cannot regain its lease; what it brings is kept."""
    lead, child = agent("lead"), agent("child")
    lead.initialize_session("Goal")
    lead.plan_task("Lid")
    work = child.execute_task("lid")
    lead.end_attempt("lid", "it does not answer")
    with pytest.raises(vespera.LeaseLostError, match="it does not answer"):
        work.heartbeat()
    with pytest.raises(vespera.LeaseLostError) as late:
        work.complete(summary="s", detailed_work="all of it")
    assert lead.artifacts.text(late.value.kept_artifact_id) == "all of it"
    with pytest.raises(vespera.TransitionError, match=r"orch.execute_task\('lid'\)"):
        agent("child").checkpoint("lid", {"n": 2})


def test_what_a_lost_holder_brings_is_kept_once(agent):
    """If the refusal ends its block, no second artifact tells of it; any other error does."""
    lead, child = agent("lead"), agent("child")
    lead.initialize_session("Goal")
    lead.plan_task("Lid")

    def lose(error=None):
        with child.execute_task("lid") as work:
            lead.end_attempt("lid", "it does not answer")
            if error is not None:
                raise error
            work.complete(summary="s", detailed_work="all of it")

    with pytest.raises(vespera.LeaseLostError) as late:
        lose()
    [only] = lead.artifacts.list()
    assert only.id == late.value.kept_artifact_id
    with pytest.raises(ValueError, match="boom"):
        lose(ValueError("boom"))
    assert any("boom" in lead.artifacts.text(each) for each in lead.artifacts.list())


def test_a_refusal_about_another_task_ends_this_one_as_any_error_does(agent):
    """The task of the block is blocked, and does not stay in the hands of nobody."""
    lead, child = agent("lead"), agent("child")
    lead.initialize_session("Goal")
    lead.plan_tasks([{"title": "Lid"}, {"title": "Rim"}])
    other = child.execute_task("rim")
    lead.end_attempt("rim", "it does not answer")

    def confuse():
        with child.execute_task("lid"):
            other.complete(summary="s", detailed_work="all of it")

    with pytest.raises(vespera.LeaseLostError):
        confuse()
    assert lead.get_task("lid").status is vespera.TaskStatus.BLOCKED


def test_it_asks_for_a_reason_and_for_a_holder(agent):
    """Nobody is robbed by a slip: neither who took the task meanwhile, nor without a word."""
    lead, child = agent("lead"), agent("child")
    lead.initialize_session("Goal")
    lead.plan_task("Lid")
    with pytest.raises(vespera.TransitionError, match="nobody holds it"):
        lead.end_attempt("lid", "dead")
    child.execute_task("lid")
    with pytest.raises(vespera.InvalidInputError, match="how you know"):
        lead.end_attempt("lid", " ")
    with pytest.raises(vespera.TransitionError, match=r"child holds it .*; eve never has"):
        lead.end_attempt("lid", "dead", holder="eve")
    child.release("lid")
    lead.execute_task("lid")
    with pytest.raises(vespera.TransitionError, match="lead has taken it since"):
        lead.end_attempt("lid", "dead", holder="child")
    lead.release("lid")
    child.execute_task("lid")
    assert child.heartbeat("lid").number == 3


def test_its_files_are_saved_and_found_again(project, clock):
    """The next attempt works in the same worktree, with what the dead child had not saved."""
    with vespera.open(project.folder, clock=clock, embedder="none", agent="lead") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        work = orch.execute_task("lid", agent="child", worktree=True)
        (work.path / "lid.txt").write_text("half")
        orch.end_attempt("lid", "killed")
        name = orch.worktrees.list()[0].name
        assert project.git("show", f"refs/vespera/wip/{name}:lid.txt") == "half"
        again = orch.execute_task("lid", agent="next")
        assert (again.path / "lid.txt").read_text() == "half"
