"""Where tasks work, and that none is called done whose work has not landed; the git command line is
the judge.
"""

from __future__ import annotations

import multiprocessing
import shlex
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.git_project import Project
from vespera_orchestrator.errors import GitFailedError, InvalidInputError, WorktreeBusyError
from vespera_orchestrator.worktrees import checkout

TITLES = ("one", "two", "three")
pytestmark = pytest.mark.usefixtures("identity")


@pytest.fixture
def orch(project):
    """The façade on the project, in a session with three tasks, and ``after``, which depends on
    ``one``.
    """
    with vespera.open(project.folder) as opened:
        opened.initialize_session("Goal")
        opened.plan_tasks(
            [*({"title": title} for title in TITLES), {"title": "after", "dependencies": ["one"]}]
        )
        yield opened


def finish(work, **more):
    """Complete a task."""
    return work.complete(summary=work.task.title, detailed_work=f"all of {work.task.title}", **more)


def on_branch(project, path):
    """Return a file of the integration branch."""
    return project.git("show", f"integration:{path}")


def conflict(project, orch, **how):
    """Land ``three``, and let ``one``, started *how*, conflict with it; return the place where
    ``one`` worked.
    """
    work = orch.execute_task("one", **how)
    project.write({"a.txt": "ONE\n", "one.txt": "1"}, work.path)
    with orch.execute_task("three", worktree=True, agent="third") as other:
        project.write({"a.txt": "THREE\n"}, other.path)
        finish(other)
    assert finish(work).status == "blocked"
    return work.path


# --- work that is not left behind ------------------------------------------------------


@pytest.mark.parametrize("how", ["task", "agent"])
def test_a_worktree_removed_by_hand_comes_back_with_its_files(project, orch, how):
    """A task whose worktree was removed before its work had landed goes on with exactly these
    files, and lands them.
    """
    with orch.execute_task("one", worktree=how) as work:
        project.write({"one.txt": "1", "sub/x": "x"}, work.path)
        project.commit("mine", {"committed.txt": "c"}, work.path)
        project.write({"a.txt": "changed\n"}, work.path)
        work.release("later")
    removed = orch.worktrees.remove("one" if how == "task" else orch.agent)
    assert removed.unlanded
    assert not work.path.exists()
    for wanted in (True, None):
        with orch.execute_task("one", worktree=wanted) as again:
            assert (again.path / "one.txt").read_text() == "1"
            assert (again.path / "a.txt").read_text() == "changed\n"
            assert project.git("log", "--format=%s", cwd=again.path).split("\n") == [
                "mine",
                "first",
            ]
    with orch.execute_task("one") as again:
        assert finish(again).status == "completed"
    assert [
        on_branch(project, path) for path in ("one.txt", "sub/x", "committed.txt", "a.txt")
    ] == ["1", "x", "c", "changed"]
    project.assert_sound()


def test_a_worktree_removed_while_its_task_is_blocked(project, orch):
    """The recovery gets it again, with what was landed since between markers; nothing is completed
    without having landed.
    """
    conflict(project, orch, worktree=True)
    orch.worktrees.remove("one")
    with orch.execute_task("recover_one") as medic:
        assert medic.conflicts == ("a.txt",)
        assert "a.txt" in medic.briefing()
        assert "<<<<<<<" in (medic.path / "a.txt").read_text()
        assert (medic.path / "one.txt").read_text() == "1"
        project.write({"a.txt": "ONE and THREE\n"}, medic.path)
        assert finish(medic).status == "completed"
    orch.worktrees.remove("one")
    with orch.execute_task("one") as again:
        assert finish(again).status == "completed"
    assert on_branch(project, "a.txt") == "ONE and THREE"
    assert on_branch(project, "one.txt") == "1"
    assert orch.worktrees.list() == []
    project.assert_sound()


def test_a_shared_worktree_removed_before_its_task_is_completed(project, orch):
    """Completed by its name, the task stays open and is told where its files are, although others
    have landed from there before.
    """
    with orch.execute_task("two", worktree="agent") as work:
        project.write({"two.txt": "2"}, work.path)
        finish(work)
    work = orch.execute_task("one", worktree="agent")
    project.write({"one.txt": "1"}, work.path)
    ref = orch.worktrees.remove(orch.agent).rescue_ref
    for complete in (
        lambda: orch.complete_task("one", summary="s", detailed_work="w"),
        lambda: finish(work),
    ):
        with pytest.raises(GitFailedError, match=ref):
            complete()
    assert orch.get_task("one").status == "in_progress"
    with orch.execute_task("one", take_over=True) as again:
        assert finish(again).status == "completed"
    assert [on_branch(project, path) for path in ("one.txt", "two.txt")] == ["1", "2"]
    project.assert_sound()


def test_a_checkpoint_tells_when_the_files_could_not_be_saved(project, orch):
    """After its worktree was taken away the state is still saved, and the work says that the files
    were not, and what helps.
    """
    work = orch.execute_task("one", worktree=True)
    project.write({"one.txt": "1"}, work.path)
    assert (work.checkpoint({"n": 1}).snapshot is not None, work.not_saved) == (True, "")
    orch.worktrees.remove("one")
    assert work.checkpoint({"n": 2}).snapshot is None
    assert "it was removed; orch.worktrees.create(…, resume=True)" in work.not_saved
    orch.worktrees.create("one", resume=True)
    work.heartbeat()
    assert work.not_saved == ""
    assert (work.path / "one.txt").read_text() == "1"


def test_what_has_landed_already_is_no_hindrance(project, orch):
    """Merged and removed by hand, a worktree holds nothing that a completion would leave behind."""
    work = orch.execute_task("one", worktree=True)
    project.write({"one.txt": "1"}, work.path)
    orch.worktrees.merge("one")
    assert not orch.worktrees.remove("one").unlanded
    assert finish(work).status == "completed"
    assert on_branch(project, "one.txt") == "1"


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_file_that_is_known_although_it_is_ignored_comes_back_as_such(project, orch, by_hand):
    """An ignored file that an agent had added is in the snapshots; where the worktree is made again
    it is landed as well.
    """
    with orch.execute_task("one", worktree=True) as work:
        project.write({".gitignore": "*.log\n", "kept.log": "kept", "not.log": "not"}, work.path)
        project.git("add", "-f", "kept.log", cwd=work.path)
    if by_hand:
        orch.worktrees.remove("one")
    else:
        shutil.rmtree(work.path)
    finish(orch.execute_task("one"))
    assert on_branch(project, "kept.log") == "kept"
    assert "not.log" not in project.git("ls-tree", "--name-only", "integration")


def test_merging_a_task_whose_alias_is_the_name_of_another_worktree(project, orch):
    """The call that `why` names lands the task's own work, and not what another session has under
    way in a worktree of that name.
    """
    first = orch.execute_task("one", worktree=True)
    project.write({"half.txt": "half"}, first.path)
    with vespera.open(project.folder) as other:
        other.initialize_session("Another goal")
        task = other.plan_task("one")
        work = other.execute_task(task, worktree=True)
        project.write({"whole.txt": "whole"}, work.path)
        finish(work, merge="later")
        assert other.next_step().call == "orch.worktrees.merge('one')"
        other.worktrees.merge("one")
        assert other.get_task(task.id).status == "completed"
    assert on_branch(project, "whole.txt") == "whole"
    assert "half.txt" not in project.git("ls-tree", "--name-only", "integration")


def test_a_binary_file_that_two_have_changed_is_whole_in_the_recovery(project, orch):
    """It conflicts even where its lines would go together; the worktree keeps its own, whole, until
    somebody decides.
    """
    lines = [f"{number}\n" for number in range(20)]
    project.commit("packed", {".gitattributes": "*.pack binary\n", "a.pack": "".join(lines)})
    works = [orch.execute_task(title, worktree=True, agent=title) for title in ("one", "two")]
    project.write({"a.pack": "".join(["first\n", *lines[1:]])}, works[0].path)
    project.write({"a.pack": "".join([*lines[:-1], "second\n"])}, works[1].path)
    assert [finish(work).status for work in works] == ["completed", "blocked"]
    recovery = orch.execute_task()
    assert recovery.conflicts == ("a.pack",)
    assert (recovery.path / "a.pack").read_text("utf-8") == "".join([*lines[:-1], "second\n"])


def test_a_worktree_made_by_hand_after_one_removed_by_hand_goes_on(project, orch):
    """A task that has not ended is not completed without what it had saved, unless somebody says
    so.
    """
    work = orch.execute_task("one", worktree=True)
    project.write({"one.txt": "1"}, work.path)
    orch.worktrees.remove("one")
    orch.worktrees.create("one")
    assert finish(work).status == "completed"
    assert on_branch(project, "one.txt") == "1"
    work = orch.execute_task("two", worktree=True)
    project.write({"two.txt": "2"}, work.path)
    orch.worktrees.remove("two")
    assert not (Path(orch.worktrees.create("two", resume=False).path) / "two.txt").exists()


def test_a_worktree_that_git_was_told_to_remove(project, orch):
    """The error names what helps: the worktree is made again from its last snapshot."""
    work = orch.execute_task("one", worktree=True)
    project.write({"one.txt": "1"}, work.path)
    work.checkpoint({})
    project.git("worktree", "remove", "--force", "--force", str(work.path))
    with pytest.raises(GitFailedError, match=r"orch\.worktrees\.create"):
        finish(work)
    orch.worktrees.create("one")
    assert finish(work).status == "completed"
    assert on_branch(project, "one.txt") == "1"


def test_a_conflict_that_was_left_is_told_to_whoever_goes_on(project, orch):
    """The next attempt at a recovery finds the markers of the first one, though nothing is new on
    the integration branch.
    """
    conflict(project, orch, worktree=True)
    first = orch.execute_task("recover_one")
    assert first.conflicts == ("a.txt",)
    assert finish(first).status == "pending"
    second = orch.execute_task("recover_one")
    assert second.conflicts == ("a.txt",)
    assert "a.txt" in second.briefing()
    project.write({"a.txt": "BOTH\n"}, second.path)
    finish(second)
    last = orch.execute_task("one")
    assert last.conflicts == ()
    assert finish(last).status == "completed"


def test_what_was_handed_in_and_did_not_land_is_told(project, orch):
    """After a recovered conflict the next attempt knows that only landing failed, with summary,
    outputs and artifacts at hand; once the task is done, nobody is told any more.
    """
    work = orch.execute_task("one", worktree=True)
    project.write({"a.txt": "ONE\n"}, work.path)
    with orch.execute_task("three", worktree=True, agent="third") as other:
        project.write({"a.txt": "THREE\n"}, other.path)
        finish(other)
    said = {"summary": "the ones", "outputs": {"count": 1}, "detailed_work": "all of it"}
    assert work.complete(**said).status == "blocked"
    assert work.handed_in is None
    with orch.execute_task("recover_one") as recovery:
        project.write({"a.txt": "ONE\nTHREE\n"}, recovery.path)
        finish(recovery)
    with orch.execute_task("one") as again:
        assert again.handed_in.attempt == 1
        assert again.handed_in.summary == "the ones"
        assert again.handed_in.outputs == {"count": 1}
        assert "conflict" in again.handed_in.reason
        (artifact_id,) = again.handed_in.artifact_ids
        assert orch.artifacts.text(artifact_id) == "all of it"
        briefing = again.briefing()
        assert "only its landing failed" in briefing
        assert "Its summary: the ones" in briefing
        assert "Its outputs: {'count': 1}" in briefing
        assert artifact_id in briefing
        assert again.complete(**said).status == "completed"


def test_work_that_was_refused_when_it_should_land_is_told(project, orch):
    """The same for a check before landing that was red, and for work that was to be merged
    later.
    """
    with orch.execute_task("one", worktree=True) as work:
        project.write({"one.txt": "1"}, work.path)
        work.complete(summary="one", detailed_work="d", outputs={"n": 1}, merge="later")
    with pytest.raises(vespera.LandingRefusedError):
        orch.worktrees.merge("one", check=["false"])
    orch.complete_task("recover_one", summary="s", detailed_work="d")
    with orch.execute_task("one") as again:
        assert again.handed_in.outputs == {"n": 1}
        assert len(again.handed_in.artifact_ids) == 1


def test_two_links_in_conflict_stay_links(orch):
    """Markers are for text: in a link they would be a path that leads nowhere."""
    works = [orch.execute_task(title, worktree=True, agent=title) for title in ("one", "two")]
    for work in works:
        (work.path / "link").symlink_to(f"to {work.task.alias}")
    assert [finish(work).status for work in works] == ["completed", "blocked"]
    recovery = orch.execute_task()
    assert recovery.conflicts == ("link",)
    assert (recovery.path / "link").readlink() == Path("to two")
    assert finish(recovery).status == "completed"


@pytest.mark.parametrize("flag", ["assume-unchanged", "skip-worktree"])
def test_an_edit_that_git_was_told_not_to_see_outlives_the_worktree(project, orch, flag):
    """It does not land, as ``git add`` would not take it either, but it is kept when the worktree
    is taken away.
    """
    work = orch.execute_task("one", worktree=True)
    project.git("update-index", f"--{flag}", "a.txt", cwd=work.path)
    before = (work.path / "a.txt").read_text("utf-8")
    project.write({"a.txt": "mine", "one.txt": "1"}, work.path)
    assert finish(work).status == "completed"
    assert on_branch(project, "a.txt") == before.rstrip("\n")
    assert project.git("show", f"{orch.worktrees.rescue()[0].ref}:a.txt") == "mine"


@pytest.mark.parametrize("other", ["agent", "subtree", True])
def test_a_task_keeps_to_the_worktree_that_has_its_work(project, orch, other):
    """Whatever a later attempt asks for, it goes on where there is work that has not landed."""
    first = "agent" if other is True else True
    with orch.execute_task("one", worktree=first) as work:
        project.write({"one.txt": "1"}, work.path)
        work.release()
    with orch.execute_task("one", worktree=other) as again:
        assert again.path == work.path
        finish(again)
    assert on_branch(project, "one.txt") == "1"


def test_a_task_without_work_may_move(project, orch):
    """An earlier worktree that holds nothing is given up for the kind that is asked for."""
    with orch.execute_task("one", worktree=True) as work:
        work.release()
    with orch.execute_task("one", worktree="agent", agent="ada") as again:
        assert again.worktree.agent == "ada"
        project.write({"one.txt": "1"}, again.path)
        finish(again)
    assert not work.path.exists()
    assert on_branch(project, "one.txt") == "1"


def test_doing_without_a_worktree(project, orch):
    """``worktree=False`` is refused where it would leave work behind; after removal by hand it is
    the way to finish without.
    """
    with orch.execute_task("one", worktree=True) as work:
        project.write({"one.txt": "1"}, work.path)
        work.release()
    attempts = orch.get_task("one").attempts
    with pytest.raises(InvalidInputError, match=r"orch\.worktrees\.remove\('one'\)"):
        orch.execute_task("one", worktree=False)
    assert orch.get_task("one").attempts == attempts
    ref = orch.worktrees.remove("one").rescue_ref
    orch.execute_task("one", worktree=False)
    assert orch.complete_task("one", summary="s", detailed_work="w").status == "completed"
    assert project.git("show", f"{ref}:one.txt") == "1"
    assert orch.worktrees.repair() == []


# --- two in one folder -------------------------------------------------------------------


def test_two_agents_are_not_let_into_one_folder(project, orch):
    """A task of a shared worktree is not started while another agent is at work there; one agent
    may have several tasks open.
    """
    with orch.execute_task("one", worktree="agent", agent="ada") as work:
        project.write({"half.txt": "half"}, work.path)
        work.release()
    two = orch.execute_task("two", worktree="agent", agent="ada")
    attempts = orch.get_task("one").attempts
    with pytest.raises(WorktreeBusyError, match="ada works in the worktree 'ada', on two"):
        orch.execute_task("one", agent="bob")
    assert orch.get_task("one").attempts == attempts
    one = orch.execute_task("one", agent="ada")
    assert one.path == two.path
    one.release()
    two.release()
    with orch.execute_task("one", agent="bob") as again:
        assert (again.path / "half.txt").read_text() == "half"
        finish(again)
    assert on_branch(project, "half.txt") == "half"


def test_the_best_task_is_one_that_the_agent_of_the_call_can_start(project, orch):
    """Whoever opened the project: a folder is busy for the agent that asks, or is its own."""
    with orch.execute_task("one", worktree="agent") as work:
        project.write({"half.txt": "half"}, work.path)
        work.release()
    orch.execute_task("two", worktree="agent")
    assert orch.execute_task(agent="carol").task.alias == "three"
    assert orch.execute_task().task.alias == "one"


def _take(folder, task, agent, start, won):
    with vespera.open(folder) as orch:
        start.wait()
        try:
            orch.execute_task(task, worktree="subtree", agent=agent)
        except WorktreeBusyError:
            won.put(None)
        else:
            won.put(agent)


def test_of_agents_that_race_for_a_folder_one_gets_in(project, orch):
    """Processes that start tasks of one subtree at the same moment: exactly one works there, the
    others are told who.
    """
    orch.plan_task("whole")
    agents = [f"agent {number}" for number in range(4)]
    for agent in agents:
        orch.plan_task(f"part of {agent}", parent_task_id="whole", alias=agent.replace(" ", "_"))
    spawn = multiprocessing.get_context("spawn")
    start, won = spawn.Event(), spawn.Queue()
    racers = [
        spawn.Process(target=_take, args=(project.folder, a.replace(" ", "_"), a, start, won))
        for a in agents
    ]
    for racer in racers:
        racer.start()
    start.set()
    winners = [won.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join(60)
    assert len([winner for winner in winners if winner]) == 1
    assert [
        task.status for task in orch.query_tasks(parent_task_id="whole", status="in_progress")
    ] == ["in_progress"]


def test_one_conflict_in_a_shared_worktree_is_one_recovery(project, orch):
    """Work that is completed there meanwhile is handed in, and lands when the conflict is
    solved.
    """
    place = conflict(project, orch, worktree="agent")
    with orch.execute_task("two", worktree="agent") as two:
        assert two.path == place
        project.write({"two.txt": "2"}, place)
        assert finish(two).status == "in_progress"
    assert "recover_one goes first" in str(orch.why("two"))
    assert [task.alias for task in orch.query_tasks(task_type="recovery")] == ["recover_one"]
    with orch.execute_task("recover_one") as medic:
        assert (medic.path, medic.conflicts) == (place, ("a.txt",))
        project.write({"a.txt": "both\n"}, place)
        finish(medic)
    with orch.execute_task("one") as again:
        assert finish(again).status == "completed"
    assert "orch.worktrees.merge('two')" in str(orch.why("two"))
    orch.worktrees.merge("two")
    assert orch.get_task("two").status == "completed"
    assert [on_branch(project, path) for path in ("a.txt", "one.txt", "two.txt")] == [
        "both",
        "1",
        "2",
    ]
    project.assert_sound()


def test_work_of_a_shared_worktree_can_be_merged_later(project, orch):
    """Handed in by several tasks, it lands at once when the worktree is merged by its name; what
    depends on them waits until then.
    """
    for title in ("one", "two"):
        with orch.execute_task(title, worktree="agent", agent="ada") as work:
            project.write({f"{title}.txt": title}, work.path)
            assert finish(work, merge="later").status == "in_progress"
    assert "orch.worktrees.merge('one')" in str(orch.why("after"))
    orch.worktrees.merge("ada")
    assert [orch.get_task(title).status for title in ("one", "two")] == ["completed", "completed"]
    assert [on_branch(project, f"{title}.txt") for title in ("one", "two")] == ["one", "two"]
    assert orch.why("after").ready
    assert [worktree.name for worktree in orch.worktrees.list()] == ["ada"]


@pytest.mark.parametrize("how", ["task", "agent"])
def test_work_handed_in_and_removed_still_merges(project, orch, how):
    """What was handed in is merged from what was kept of its worktree."""
    with orch.execute_task("one", worktree=how, agent="ada") as work:
        project.write({"one.txt": "1"}, work.path)
        finish(work, merge="later")
    orch.worktrees.remove(work.worktree)
    assert "orch.worktrees.merge('one')" in str(orch.why("one"))
    orch.worktrees.merge("one")
    assert orch.get_task("one").status == "completed"
    assert on_branch(project, "one.txt") == "1"


# --- what a task builds on ---------------------------------------------------------------


def test_a_shared_worktree_gets_what_the_next_task_builds_on(project, orch):
    """Landed elsewhere meanwhile, the work of a dependency is in the files when the task starts,
    and so are the agent's own edits.
    """
    with orch.execute_task("two", worktree="agent", agent="ada") as work:
        project.write({"two.txt": "2"}, work.path)
        finish(work)
    project.write({"mine.txt": "unsaved"}, work.path)
    with orch.execute_task("one", worktree=True, agent="bob") as other:
        project.write({"one.txt": "1"}, other.path)
        finish(other)
    with orch.execute_task("after", worktree="agent", agent="ada") as after:
        assert after.path == work.path
        assert (after.path / "one.txt").read_text() == "1"
        assert (after.path / "mine.txt").read_text() == "unsaved"
        assert after.conflicts == ()
        finish(after)
    assert on_branch(project, "mine.txt") == "unsaved"


def test_a_dependency_added_later_is_brought_in(project, orch):
    """The next attempt of a task that was begun before has the dependency's work; what conflicts is
    told, and stands between markers.
    """
    with orch.execute_task("two", worktree=True) as two:
        project.write({"a.txt": "TWO\n"}, two.path)
        two.release()
    orch.add_dependency("two", "one")
    with orch.execute_task("one", worktree=True, agent="bob") as one:
        project.write({"a.txt": "ONE\n", "one.txt": "1"}, one.path)
        finish(one)
    with orch.execute_task("two") as again:
        assert (again.path / "one.txt").read_text() == "1"
        assert again.conflicts == ("a.txt",)
        assert "ONE" in (again.path / "a.txt").read_text()
        assert orch.worktrees.forecast().unsolved == {"two": ("a.txt",)}
        assert "two, not solved yet: a.txt" in str(orch.worktrees.forecast())
        again.release()


# --- the branch itself ---------------------------------------------------------------------


def test_an_integration_branch_that_is_gone_is_not_made_anew_without_its_work(project, orch):
    """Renamed or deleted with work on it, it is asked for; where HEAD has that work, squashed as
    well, it is made from HEAD.
    """
    for title in ("one", "two"):
        with orch.execute_task(title, worktree=True) as work:
            project.write({f"{title}.txt": title}, work.path)
            finish(work)
    project.git("branch", "-m", "integration", "elsewhere")
    for act in (lambda: orch.execute_task("three", worktree=True), orch.worktrees.create):
        with pytest.raises(
            GitFailedError, match=r"git branch integration .*integration_branch in config"
        ):
            act()
    assert "integration" not in project.git("branch", "--format=%(refname:short)").split("\n")
    project.git("merge", "-q", "--squash", "elsewhere")
    project.commit("all of it")
    project.git("branch", "-D", "elsewhere")
    with orch.execute_task("three", worktree=True) as work:
        assert (work.path / "two.txt").read_text() == "two"
        project.write({"three.txt": "3"}, work.path)
        assert finish(work).status == "completed"
    assert on_branch(project, "three.txt") == "3"


def _land_checked(folder, task, start, done):
    with vespera.open(folder, agent=task) as orch:
        work = orch.execute_task(task, worktree=True)
        (work.path / f"{task}.txt").write_text(task)
        start.wait()
        done.put(str(finish(work).status))


def test_each_landing_is_checked_once_however_many_there_are(project, orch):
    """Agents that finish at the same moment land one after the other: no check is made in vain."""
    log = project.folder.parent / "checks.log"
    (orch.home / "config.toml").write_text(
        f"[worktrees]\ncheck = \"echo checked >> '{log}'; test -e a.txt\"\n"
    )
    spawn = multiprocessing.get_context("spawn")
    start, done = spawn.Event(), spawn.Queue()
    agents = [
        spawn.Process(target=_land_checked, args=(project.folder, title, start, done))
        for title in TITLES
    ]
    for agent in agents:
        agent.start()
    start.set()
    assert [done.get(timeout=60) for _ in agents] == ["completed"] * 3
    for agent in agents:
        agent.join(60)
    assert log.read_text().count("checked") == len(TITLES)


@pytest.mark.parametrize("fetched", [True, False])
def test_an_import_into_a_repository_without_the_commits(project, orch, tmp_path, fetched):
    """A task that was under way says what to fetch, and goes on with its files then; or it begins
    anew, where that is wanted.
    """
    with orch.execute_task("one", worktree=True) as work:
        project.write({"one.txt": "1"}, work.path)
        work.release()
    orch.export(tmp_path / "all.zip")
    shutil.rmtree(work.path)
    elsewhere = Project(tmp_path / "elsewhere" / "project")
    elsewhere.git("init", "-q", "-b", "main")
    elsewhere.git("pull", "-q", str(project.folder), "HEAD")  # an unrelated one is refused
    elsewhere.commit("more", {"other.txt": "other"})
    with vespera.open(elsewhere.folder) as moved:
        moved.import_(tmp_path / "all.zip")
        assert moved.worktrees.check() == []  # it is another home's
        with pytest.raises(vespera.WorktreeElsewhereError) as caught:
            moved.execute_task("one")
        if fetched:
            elsewhere.git(*shlex.split(caught.value.fetch)[1:])
        else:
            moved.worktrees.create("one", resume=False)
        with moved.execute_task("one", worktree=True) as again:
            assert (again.path / "one.txt").exists() == fetched
            again.release()
        assert moved.worktrees.check() == []
    elsewhere.assert_sound()


# --- tidying -------------------------------------------------------------------------------


def test_the_worktree_of_a_task_that_was_deleted(project, orch):
    """It can still be merged; ``check`` tells of it, and ``repair`` takes it away with its files
    kept.
    """
    orch.worktrees.create("two")
    project.write({"two.txt": "2"}, orch.worktrees.find("two").path)
    orch.cancel_task("two")
    orch.delete_task("two", hard=True)
    assert "of a task that was deleted" in str(orch.check())
    orch.worktrees.merge("two")
    assert on_branch(project, "two.txt") == "2"
    assert "whose task was deleted" in " ".join(orch.worktrees.repair())
    assert orch.worktrees.check() == []
    assert orch.worktrees.list() == []


def test_killed_while_a_worktree_is_made_again(project, orch, monkeypatch):
    """Stopped between any two steps of being made again, the next call goes on with the files that
    were kept.
    """
    for step in range(3):
        with orch.execute_task("one", worktree=True) as work:
            project.write({"one.txt": f"{step}"}, work.path)
            work.release()
        orch.worktrees.remove("one")
        name = ("_restore_refs", "_restore_branch", "_write_files")[step]

        def stop(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(checkout, name, stop)
            with pytest.raises(KeyboardInterrupt):
                orch.execute_task("one")
        with orch.execute_task("one") as again:
            assert (again.path / "one.txt").read_text() == f"{step}"
            again.release()
    project.assert_sound()


@pytest.mark.parametrize("step", ["_restore_refs", "_restore_branch", "_write_files"])
def test_stopped_in_the_making_of_the_very_first_worktree(project, orch, monkeypatch, step):
    """Repair takes away what was begun, also where not even the folder of all worktrees is there
    yet.
    """

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkout, step, stop)
        with pytest.raises(KeyboardInterrupt):
            orch.execute_task("one", worktree=True)
    assert orch.worktrees.check() != []
    assert orch.worktrees.repair() == ["Removed the worktree one, which was never finished."]
    assert orch.worktrees.check() == []
    project.assert_sound()


class Places:
    """Random lives of three tasks that have worktrees of their own, share them, conflict, and lose
    them.
    """

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="places-"))
        self.project = Project(self.root / "project")
        self.project.git("init", "-q", "-b", "main")
        self.project.commit("first", {"a.txt": "0\n", ".gitignore": "*.log\n"})
        self.orch = vespera.open(self.project.folder)
        self.orch.initialize_session("Goal")
        self.orch.plan_tasks([{"title": title} for title in TITLES])
        self.wrote = {}
        self.count = 0

    def close(self):
        self.orch.close()
        shutil.rmtree(self.root)

    def attempt(self, task, place, clash, removed, end):
        """Start a task where it may be, change something, perhaps lose the worktree, and end the
        attempt somehow.
        """
        how, agent = place
        if self.orch.get_task(task).status == "blocked":
            return self.recover(task, clash)
        try:
            work = self.orch.execute_task(task, worktree=how, agent=agent, despite_pressure=True)
        except (vespera.NotReadyError, WorktreeBusyError, InvalidInputError):
            return None
        if work.path is not None:
            self.count += 1
            content = f"{task} {self.count}\n"
            self.project.write(
                {f"{task}.txt": content, **({"a.txt": content} if clash else {})}, work.path
            )
            work.checkpoint({"count": self.count})
            self.wrote[task] = content
        if removed and work.worktree is not None:
            self.orch.worktrees.remove(work.worktree)
        with suppress(GitFailedError):
            match end:
                case "complete" | "later":
                    finish(work, merge="later" if end == "later" else "now")
                case "by name":
                    with vespera.open(self.project.folder, agent=agent) as other:
                        other.complete_task(task, summary="s", detailed_work=f"{task} {self.count}")
                case "release":
                    work.release()
        return None

    def others_land(self):
        """Somebody else lands a change of the file that clashes."""
        self.count += 1
        worktree = self.orch.worktrees.create(agent="else")
        self.project.write({"a.txt": f"else {self.count}\n"}, worktree.path)
        with suppress(vespera.MergeConflictError):
            self.orch.worktrees.merge(worktree)
        self.orch.worktrees.remove(worktree)

    def take_back(self, task):
        """A silent holder's task is given back."""
        if self.orch.get_task(task).status == "in_progress":
            with suppress(WorktreeBusyError, GitFailedError):
                self.orch.execute_task(
                    task, agent="ada", take_over=True, despite_pressure=True
                ).release()

    def remove(self, number):
        """A person removes a worktree."""
        worktrees = self.orch.worktrees.list()
        if worktrees:
            self.orch.worktrees.remove(worktrees[number % len(worktrees)])

    def merge(self, task):
        """Somebody merges where a task works."""
        with suppress(
            vespera.MergeConflictError, vespera.LeaseLostError, vespera.WorktreeNotFoundError
        ):
            self.orch.worktrees.merge(task)

    def recover(self, task, solve):
        """Somebody takes on the recovery of a task, and solves the conflict or leaves the
        markers.
        """
        ready = self.orch.query_tasks(task_type="recovery", ready=True)
        found = next(
            (one for one in ready if one.recovers_task_id == self.orch.get_task(task).id), None
        )
        if found is None:
            return
        try:
            work = self.orch.execute_task(found, agent="ada", despite_pressure=True)
        except WorktreeBusyError:
            return
        for name in work.conflicts if solve and work.path is not None else ():
            self.project.write({name: self.wrote[task]}, work.path)
        finish(work)

    def repair(self):
        """Somebody calls for order."""
        self.orch.worktrees.repair()

    def done_means_landed(self):
        """What a completed task had saved is on the integration branch."""
        for task in TITLES:
            found = self.orch.get_task(task)
            if found.status == "completed" and task in self.wrote and found.worktree != "":
                assert on_branch(self.project, f"{task}.txt") + "\n" == self.wrote[task], task

    def one_conflict_is_one_recovery(self):
        """No worktree has two open recoveries at a time that were made because it could not
        land.
        """
        names = [
            self.orch.get_task(found.recovers_task_id).worktree
            for found in self.orch.query_tasks(task_type="recovery")
            if not found.status.is_terminal and "integration_branch" in found.context
        ]
        assert len(names) == len(set(names)), names


TASKS = st.sampled_from(TITLES)
ATTEMPTS = st.tuples(
    st.just("attempt"),
    TASKS,
    st.tuples(
        st.sampled_from([None, True, "agent", "agent", False]),
        st.sampled_from(["ada", "ada", "bob"]),
    ),
    st.booleans(),
    st.sampled_from([False, False, True]),
    st.sampled_from(["complete", "complete", "later", "by name", "release", "fall silent"]),
)
BETWEEN = st.one_of(
    st.tuples(st.sampled_from(["others_land", "repair"])),
    st.tuples(st.sampled_from(["take_back", "merge"]), TASKS),
    st.tuples(st.just("recover"), TASKS, st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 3)),
)


PATIENT = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def live_through(steps):
    """Go through a life step by step; after each, done means landed."""
    lives = Places()
    try:
        for step, *arguments in steps:
            getattr(lives, step)(*arguments)
            lives.done_means_landed()
            lives.one_conflict_is_one_recovery()
        lives.project.assert_sound()
    finally:
        lives.close()


@settings(PATIENT, max_examples=12)
@given(steps=st.lists(st.one_of(ATTEMPTS, ATTEMPTS, BETWEEN), min_size=5, max_size=16))
def test_done_means_landed_whatever_happens(steps):
    """No task is completed whose saved work has not landed.

    Worktrees are shared, lent, lost and made again in any order.
    """
    live_through(steps)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(PATIENT, max_examples=1500)
@given(steps=st.lists(st.one_of(ATTEMPTS, ATTEMPTS, BETWEEN), min_size=5, max_size=30))
def test_done_means_landed_through_long_lives(steps):
    """The same, longer."""
    live_through(steps)
