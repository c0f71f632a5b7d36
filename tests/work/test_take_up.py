"""An agent of many short processes: each goes on under the same attempt, and robs nobody."""

from __future__ import annotations

import contextlib
import shutil

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


def test_a_lapsed_hold_of_another_is_told_as_such(process, clock):
    """The error names the call that goes on, and it works."""
    first = process("ada")
    first.initialize_session("Goal")
    first.plan_task("Lid")
    first.execute_task("lid")
    clock.advance(hours=9)
    with pytest.raises(vespera.TransitionError, match="the hold of ada has lapsed") as caught:
        process("bob").work("lid")
    assert caught.value.remedy.endswith("orch.execute_task('lid')")
    assert process("bob").execute_task("lid").attempt.number == 2


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


def test_starting_what_you_hold_says_how_to_go_on(process, clock):
    """Not how to take it over: that is for the task of another agent that was silent for long."""
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
    with pytest.raises(vespera.NotReadyError, match="ada is working on it") as caught:
        process("ben").execute_task("lid")
    assert "take_over" not in str(caught.value)
    clock.advance(minutes=8)
    with pytest.raises(vespera.NotReadyError, match=r"if that agent is gone.*take_over=True"):
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


# --- verbs that name the task ---------------------------------------------------


def held(process, agent="main", **options):
    """Return a process that has started a task, and has ended since."""
    first = process(agent)
    first.initialize_session("Goal")
    first.plan_task("Lid")
    first.execute_task("lid", **options)
    first.close()


def test_each_verb_goes_on_under_the_same_attempt(process):
    """One start, one attempt, no expiry, whatever the processes did that came and went."""
    held(process)
    saved = process().checkpoint("lid", {"rim": "turned"}, "rim is done", 0.5)
    assert (saved.attempt, saved.note, saved.progress) == (1, "rim is done", 0.5)
    assert process().heartbeat("lid").number == 1
    assert process().checkpoint("lid", state={"rim": "polished"}).attempt == 1
    released = process().release("lid", "lunch")
    assert (released.status, released.reason) == ("pending", "lunch")
    last = process()
    assert last.execute_task("lid").resumed_from.state == {"rim": "polished"}
    assert last.fail("lid", ValueError("bent")).status == "blocked"
    assert last.get_task("recover_lid").context["error"] == "ValueError: bent"
    assert kinds(last).count("task_started") == 2
    assert "lease_expired" not in kinds(last)
    assert "lease_regained" not in kinds(last)


def test_the_lease_lasts_as_long_as_it_did(process, clock):
    """A checkpoint of the next process does not shorten what was asked for at the start."""
    held(process, lease_s=7200)
    clock.advance(minutes=30)
    for renew in (
        lambda orch: orch.checkpoint("lid", {}),
        lambda orch: orch.heartbeat("lid"),
        lambda orch: orch.work("lid"),
    ):
        orch = process()
        renew(orch)
        attempt = orch._store.attempts(orch.get_task("lid").id)[-1]
        assert attempt.lease_s == 7200
        assert attempt.last_sign_at == clock()


def test_an_expired_lease_is_regained_by_a_verb(process, clock):
    """The checkpoint that comes late is written, and the attempt is open again."""
    held(process)
    clock.advance(hours=9)
    process().get_status()
    assert process().checkpoint("lid", {"n": 1}).attempt == 1
    assert process().get_task("lid").status == "in_progress"
    assert kinds(process()).count("task_started") == 1


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("checkpoint", ({"n": 1},)),
        ("heartbeat", ()),
        ("release", ("enough",)),
        ("fail", ("it broke",)),
    ],
)
def test_who_does_not_hold_it_changes_nothing(process, clock, verb, arguments):
    """The error says who holds it, or how to start it; what came with the call is kept."""
    held(process, "ada")
    ben = process("ben")
    with pytest.raises(
        vespera.LeaseLostError, match=r"ada holds it \(attempt 1\), and you are ben"
    ):
        getattr(ben, verb)("lid", *arguments)
    clock.advance(hours=9)
    ben.execute_task("lid")
    with pytest.raises(vespera.LeaseLostError, match="attempt 2 by ben followed it") as late:
        getattr(process("ada"), verb)("lid", *arguments)
    brings = verb in {"checkpoint", "fail"}
    assert (late.value.kept_artifact_id is not None) == brings
    with pytest.raises(vespera.LeaseLostError, match="and you are carl"):
        getattr(ben, verb)("lid", *arguments, agent="carl")
    ben.release("lid")
    remedy = r"ben, who does not hold it; to start it: orch.execute_task\('lid'\)"
    with pytest.raises(vespera.TransitionError, match=remedy) as ended:
        getattr(process("ben"), verb)("lid", *arguments)
    if verb == "checkpoint":
        assert "1" in ben.artifacts.text(ended.value.kept_artifact_id)
    ben.plan_task("Rim")
    with pytest.raises(vespera.TransitionError, match=r"orch.execute_task\('rim'\)") as unknown:
        getattr(ben, verb)("rim", *arguments)
    assert unknown.value.kept_artifact_id is None
    assert ben.get_task("lid").status == "pending"


def test_a_verb_acts_on_the_work_in_this_process(process):
    """Also for an agent that this object has started it for; the block has nothing to give back."""
    orch = process("main")
    orch.initialize_session("Goal")
    orch.plan_task("Lid")
    with orch.execute_task("lid", agent="ada") as work:
        assert orch.checkpoint("lid", {"n": 1}).attempt == 1
        assert orch.release("lid", "enough").reason == "enough"
        assert not work.is_open
    assert orch.get_task("lid").reason == "enough"
    assert kinds(orch).count("task_released") == 1


def test_a_mistake_in_a_verb_keeps_the_state_and_the_task(process):
    """As in the verb of `Work`."""
    held(process)
    orch = process()
    with pytest.raises(vespera.InvalidInputError, match="use progress=…") as caught:
        orch.checkpoint("lid", {"n": "precious"}, progres=0.5)
    assert "precious" in orch.artifacts.text(caught.value.kept_artifact_id)
    with pytest.raises(vespera.InvalidInputError, match="between 0 and 1"):
        orch.checkpoint("lid", {"n": 1}, progress=7)
    assert orch.get_task("lid").status == "in_progress"


def test_verbs_save_the_files_of_the_worktree(project, clock):
    """Also where the folder was removed meanwhile: then it is made again, from the last save."""

    def opened():
        return vespera.open(project.folder, clock=clock, embedder="none")

    with opened() as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Lid")
        path = orch.execute_task("lid", worktree=True).path
    (path / "lid.txt").write_text("half")
    with opened() as orch:
        orch.checkpoint("lid", {}, "half")
    (path / "lid.txt").write_text("most of it")
    with opened() as orch:
        orch.heartbeat("lid")
    shutil.rmtree(path)
    with opened() as orch:
        orch.checkpoint("lid", {}, "still there")
        assert (orch.work("lid").path / "lid.txt").read_text() == "most of it"
    (path / "lid.txt").write_text("all but the knob")
    with opened() as orch:
        orch.release("lid", "the knob is missing")
    shutil.rmtree(path)
    with opened() as orch:
        work = orch.execute_task("lid")
        assert (work.path / "lid.txt").read_text() == "all but the knob"
        shutil.rmtree(work.path)
        assert orch.fail("lid", "gone").status == "blocked"
