"""An agent of many short processes: each goes on under the same attempt, and robs nobody."""

from __future__ import annotations

import contextlib

import pytest

import vespera_orchestrator as vespera


@pytest.fixture
def process(tmp_path, clock):
    """Return a function that opens the project as another process does."""
    with contextlib.ExitStack() as opened:
        yield lambda agent="main": opened.enter_context(
            vespera.open(tmp_path, agent=agent, clock=clock, embedder="none")
        )


def kinds(orch):
    """Return what was recorded, in order."""
    return [str(event.kind) for event in orch._store.events(0)]


def test_the_next_process_has_the_same_attempt(process):
    """Nothing is taken over, nothing expires, and the last checkpoint is at hand."""
    first = process()
    first.initialize_session("Goal")
    first.plan_task("Lid")
    first.execute_task("lid").checkpoint({"n": 1}, "rim")
    second = process()
    work = second.work("lid")
    assert work.attempt.number == 1
    assert work.resumed_from.state == {"n": 1}
    work.checkpoint({"n": 2})
    third = process()
    assert third.work("lid").resumed_from.state == {"n": 2}
    third.work("lid").complete(summary="closes", detailed_work="# Lid")
    assert third.get_task("lid").attempts == 1
    assert "lease_expired" not in kinds(third)
    assert kinds(third).count("task_started") == 1


def test_verbs_after_a_restart_are_fenced_like_any(process):
    """Heartbeat, release and failing work; after that there is nothing to take up."""
    first = process()
    first.initialize_session("Goal")
    first.plan_task("Lid")
    first.execute_task("lid")
    process().work("lid").heartbeat()
    assert process().work("lid").release("later").status == "pending"
    with pytest.raises(vespera.TransitionError, match="task lid is pending: cannot be taken up"):
        process().work("lid")
    first.execute_task("lid")
    assert process().work("lid").fail("bent").status == "blocked"


def test_an_expired_lease_is_regained_if_nobody_took_the_task(process, clock):
    """Whoever was away longer than the lease, and comes first, goes on under the same attempt."""
    first = process()
    first.initialize_session("Goal")
    first.plan_task("Lid")
    first.execute_task("lid")
    clock.advance(hours=9)
    first.get_status()  # somebody looks, and the lease is ended
    assert first.get_task("lid").status == "pending"
    work = process().work("lid")
    assert (work.attempt.number, work.task.status) == (1, "in_progress")
    assert work.complete(summary="s", detailed_work="d").status == "completed"


def test_another_agents_task_is_not_taken_up(process, clock):
    """Neither what it holds, nor what it has taken since; the error says who holds it."""
    first = process("ada")
    first.initialize_session("Goal")
    first.plan_task("Lid")
    with pytest.raises(vespera.TransitionError, match="who does not hold it"):
        first.work("lid")
    first.execute_task("lid")
    with pytest.raises(vespera.TransitionError, match="held by ada: cannot be taken up again by b"):
        process("ben").work("lid")
    assert process("ben").work("lid", agent="ada").attempt.agent == "ada"
    clock.advance(hours=9)
    process("ben").execute_task("lid")
    with pytest.raises(vespera.TransitionError, match="held by ben"):
        first.work("lid")


def test_starting_what_you_hold_says_how_to_go_on(process):
    """Not how to take it over: that is for the task of another agent, which may be gone."""
    first = process("ada")
    first.initialize_session("Goal")
    first.plan_task("Lid")
    first.execute_task("lid")
    with pytest.raises(vespera.NotReadyError) as caught:
        process("ada").execute_task("lid")
    assert str(caught.value).endswith(
        "you hold it already, as ada; to go on with it: orch.work('lid')"
    )
    assert "take_over" not in str(caught.value)
    with pytest.raises(vespera.NotReadyError, match="take_over=True"):
        process("ben").execute_task("lid")


def test_the_files_of_its_worktree_are_where_they_were(project, clock):
    """The next process works in the same folder, with what is in it."""
    with vespera.open(project.folder, clock=clock, embedder="none") as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        path = orch.execute_task("lid", worktree=True).path
        (path / "lid.txt").write_text("half")
    with vespera.open(project.folder, clock=clock, embedder="none") as orch:
        work = orch.work("lid")
        assert work.path == path
        assert (work.path / "lid.txt").read_text() == "half"
        assert work.complete(summary="s", detailed_work="d").status == "completed"
    assert project.git("show", "integration:lid.txt") == "half"
