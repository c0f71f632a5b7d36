"""Several homes with one store: what one made, the others neither touch nor take for their own."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pytest

import vespera_orchestrator as vespera
from support.clones import Team
from support.git_project import git, make_repository
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.worktrees import checkout, engine

DONE = {"summary": "done", "detailed_work": "all of it"}


@pytest.fixture
def clones(any_team):
    """Two clones with homes of their own, A and B, on one store."""
    return any_team.open("a", agent="ada"), any_team.open("b", agent="bob")


def run(commands, folder):
    """Run what a message names: one command, or several with ``&&`` between them."""
    for command in commands.split(" && "):
        subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)


def begin_on(orch, alias, text):
    """Start a task in a worktree, write a file, save it, and let go."""
    work = orch.execute_task(alias, worktree=True)
    (work.path / f"{alias}.txt").write_text(text)
    work.checkpoint({"file": alias}, "half")
    work.release()
    return work


def test_each_worktree_says_which_home_made_it(clones):
    """Names are unique over all homes, also for worktrees of one task or agent."""
    one, two = clones
    one.plan_task("Same")
    records = [one.worktrees.create(agent="x"), two.worktrees.create(agent="x")]
    records += [one.worktrees.create("same"), two.worktrees.create("same", resume=False)]
    assert [record.name for record in records] == ["x", "x-2", "same", "same-2"]
    assert [record.home_id for record in records] == [one._scope.home.id, two._scope.home.id] * 2
    assert all(record.machine and record.project for record in records)
    assert one.worktrees.list() == two.worktrees.list()


@pytest.mark.parametrize("is_begun", [False, True])
def test_two_homes_that_choose_one_name_at_once_get_two(clones, monkeypatch, is_begun):
    """The slower one chooses again, and its worktree has the files all the same."""
    one, two = clones
    one.plan_task("Task")
    if is_begun:
        begin_on(one, "task", "by ada")
        git(two.project, "fetch", "-q", "origin", "refs/vespera/*:refs/vespera/*")
    fill, contested = checkout.fill, []

    def fill_while_the_other_takes_the_name(repository, worktree):
        if not contested and repository.home.project == two.project:
            contested.append(worktree.name)
            with monkeypatch.context() as patch:
                patch.setattr(engine, "plain_name", lambda _: worktree.name)
                assert one.worktrees.create(agent="ada").name == worktree.name
        return fill(repository, worktree)

    monkeypatch.setattr(checkout, "fill", fill_while_the_other_takes_the_name)
    work = two.execute_task("task", worktree=True)
    names = {each.name: each.home_id for each in one.worktrees.list()}
    assert names[contested[0]] == one._scope.home.id
    assert names[work.worktree.name] == two._scope.home.id
    assert (work.path / "task.txt").exists() == is_begun
    assert one.check().findings == two.check().findings == ()
    (work.path / "task.txt").write_text("by bob")
    assert work.complete(**DONE).status == "completed"
    assert git(two.project, "show", "integration:task.txt") == "by bob"
    assert two.check().findings == ()


def test_a_name_taken_after_a_killed_creation_is_given_up(clones, monkeypatch):
    """Between the worktree and its record nobody works in it, so it makes way."""
    one, two = clones
    one.plan_task("Task")
    with monkeypatch.context() as patch:
        patch.setattr(type(two._store), "put_worktree", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            two.worktrees.create("task")
    assert one.worktrees.create(agent="task").name == "task"
    assert two.worktrees.create("task").name == "task-2"
    assert one.check().findings == two.check().findings == ()
    assert git(two.project, "worktree", "list").count("\n") == 1


def test_a_task_whose_files_are_elsewhere_is_refused_until_they_are_brought(clones):
    """By name, and before it is taken; the command of the message brings them, byte for byte."""
    one, two = clones
    one.plan_task("Task")
    begin_on(one, "task", "by ada")
    for choice in (None, True, False, "agent"):
        with pytest.raises(vespera.WorktreeElsewhereError, match="last saved") as caught:
            two.execute_task("task", worktree=choice)
    assert two.get_task("task").attempts == 1
    assert caught.value.machine in str(caught.value)
    run(caught.value.fetch, two.project)
    work = two.execute_task("task")
    assert (work.path / "task.txt").read_text() == "by ada"
    assert work.path.is_relative_to(two.project.parent)
    assert work.resumed_from.state == {"file": "task"}
    assert work.complete(**DONE).status == "completed"
    assert git(two.project, "show", "integration:task.txt") == "by ada"
    # A's worktree is as it was, and A is told of nothing.
    assert (one.project.parent / "worktrees" / "task" / "task.txt").read_text() == "by ada"
    assert one.check().findings == ()


def test_a_newer_save_elsewhere_has_to_be_brought_again(clones):
    """What was fetched before the last checkpoint does not count as the work."""
    one, two = clones
    one.plan_task("Task")
    begin_on(one, "task", "old")
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("task")
    run(caught.value.fetch, two.project)
    begin_on(one, "task", "new")
    with pytest.raises(vespera.WorktreeElsewhereError):
        two.execute_task("task")
    run(caught.value.fetch, two.project)
    assert (two.execute_task("task").path / "task.txt").read_text() == "new"


def test_files_of_an_unrelated_repository_are_not_landed(any_team, tmp_path):
    """What was fetched from another project is refused by name, until it is left there."""
    one = any_team.open("a")
    folder = make_repository(tmp_path / "other" / "project", {"g.txt": "g"})
    settings = {"store": any_team.store, "content": any_team.content, "session": any_team.session}
    with vespera.open(folder, agent="bob", **settings) as other:
        one.plan_task("Task")
        begin_on(one, "task", "by ada")
        with pytest.raises(vespera.WorktreeElsewhereError) as caught:
            other.execute_task("task")
        run(caught.value.fetch, folder)
        with pytest.raises(vespera.WorktreeElsewhereError, match="no commit in common") as caught:
            other.execute_task("task")
        assert "git fetch" not in str(caught.value)
        with pytest.raises(vespera.WorktreeElsewhereError, match="no commit in common"):
            other.execute_task()
        eval(caught.value.without, {"orch": other})
        work = other.execute_task("task")
        assert sorted(path.name for path in work.path.iterdir()) == [".git", "g.txt"]


def test_of_two_who_save_at_once_the_later_save_is_noted(any_team, monkeypatch):
    """Else another home would take the earlier one, which it has fetched, for all of the work."""
    one = any_team.open("a", agent="ada")
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    (work.path / "task.txt").write_text("old")
    note_saved, was_faster = type(one._store).note_saved, []

    def note_when_another_was_faster(store, *arguments, **options):
        if not was_faster:
            was_faster.append(True)
            later = any_team.open("a", agent="eve").execute_task("task")
            (later.path / "task.txt").write_text("new")
            later.checkpoint({})
        note_saved(store, *arguments, **options)

    monkeypatch.setattr(type(one._store), "note_saved", note_when_another_was_faster)
    one.end_attempt("task", "it does not answer")
    assert was_faster
    saved = one._store.worktrees(name="task")[0].saved
    assert saved == git(one.project, "rev-parse", "refs/vespera/wip/task").strip()
    assert git(one.project, "show", f"{saved}:task.txt") == "new"


def test_back_on_the_first_machine_the_old_folder_is_not_taken_for_the_work(clones):
    """What was done elsewhere since must be brought; the old files stay under a rescue ref."""
    one, two = clones
    one.plan_task("Task")
    begin_on(one, "task", "by ada")
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("task")
    run(caught.value.fetch, two.project)
    begin_on(two, "task", "by bob")
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        one.execute_task("task")
    run(caught.value.fetch, one.project)
    work = one.execute_task("task")
    assert (work.path / "task.txt").read_text() == "by bob"
    work.complete(**DONE)
    assert git(one.project, "show", "integration:task.txt") == "by bob"


@pytest.mark.parametrize("has_branch", [False, True])
def test_landed_elsewhere_is_not_done_again_without_it(clones, has_branch):
    """What landed on another machine is needed here by whoever builds on it."""
    one, two = clones
    one.plan_tasks([{"title": "Task"}, {"title": "Next", "dependencies": ["task"]}])
    if has_branch:
        two.plan_task("Own")
        begin_on(two, "own", "by bob")
    work = one.execute_task("task", worktree=True)
    (work.path / "task.txt").write_text("landed by ada")
    work.complete(**DONE)
    assert "next" not in two.next_step().call
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("next", worktree=True)
    assert two.get_task("next").attempts == 0
    assert caught.value.without in str(caught.value)
    run(caught.value.fetch, two.project)
    work = two.execute_task("next", worktree=True)
    assert (work.path / "task.txt").read_text() == "landed by ada"


def test_what_landed_elsewhere_can_be_done_without(clones):
    """The error names the call, and it works."""
    one, two = clones
    one.plan_tasks([{"title": "Task"}, {"title": "Next", "dependencies": ["task"]}])
    with one.execute_task("task", worktree=True) as work:
        (work.path / "task.txt").write_text("landed by ada")
        work.complete(**DONE)
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("next", worktree=True)
    eval(caught.value.without, {"orch": two})
    assert not (two.execute_task("next", worktree=True).path / "task.txt").exists()


def test_starting_over_is_possible_and_said(clones):
    """A machine may be gone for ever."""
    one, two = clones
    one.plan_task("Task")
    begin_on(one, "task", "by ada")
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("task")
    assert str(caught.value).endswith(f"without them: {caught.value.without}")
    eval(caught.value.without, {"orch": two})
    work = two.execute_task("task")
    assert not (work.path / "task.txt").exists()


def test_an_unnamed_start_passes_over_what_cannot_start_here(clones):
    """Also the next time; and where nothing else is ready, the error says where the files are."""
    one, two = clones
    one.plan_tasks([{"title": "First", "priority": 9}, {"title": "Second"}, {"title": "Third"}])
    begin_on(one, "first", "by ada")
    assert two.execute_task().task.alias == "second"
    attempts = two.get_task("first").attempts
    assert two.execute_task().task.alias == "third"
    with pytest.raises(vespera.WorktreeElsewhereError, match="first"):
        two.execute_task()
    assert two.get_task("first").attempts == attempts
    assert one.execute_task().task.alias == "first"


def test_the_other_home_s_worktree_is_not_touched(clones):
    """Saving, landing, removing, catching up and repairing leave it and its record alone."""
    one, two = clones
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    (work.path / "new.txt").write_text("unsaved")
    before = one.worktrees.list()
    for call in (
        two.worktrees.snapshot,
        two.worktrees.merge,
        two.worktrees.remove,
        two.worktrees.catch_up,
        two.worktrees.is_merged,
    ):
        with pytest.raises(vespera.WorktreeElsewhereError, match="do this there"):
            call("task")
    assert two.check().findings == ()
    assert two.worktrees.repair() == []
    assert two.repair().done == ()
    two.worktrees.forecast()
    two.get_status()
    assert one.worktrees.list() == before
    assert (work.path / "new.txt").read_text() == "unsaved"
    assert work.complete(**DONE).status == "completed"
    assert git(one.project, "show", "integration:new.txt") == "unsaved"
    assert two.check().findings == ()
    assert two.repair().done == ()
    assert [record.landed for record in one.worktrees.list(include_removed=True)] != [None]


def test_people_on_a_shared_store_have_names_of_their_own(postgres_url, tmp_path, monkeypatch):
    """On PostgreSQL the agent is person and machine; in a home of one's own it is ``main``."""
    monkeypatch.delenv("VESPERA_ORCHESTRATOR_AGENT", raising=False)
    monkeypatch.setenv("LOGNAME", "ada")
    with vespera.open(tmp_path, store=postgres_url) as orch:
        assert orch.agent.startswith("ada@")
        assert len(orch.agent) > len("ada@")
    with vespera.open(tmp_path) as orch:
        assert orch.agent == "main"


def test_machines_with_one_name_are_told_apart(empty_postgres_url, tmp_path, monkeypatch, identity):  # noqa: ARG001
    """Neither completes what the other holds, and each keeps its name."""
    monkeypatch.delenv("VESPERA_ORCHESTRATOR_AGENT", raising=False)
    team = Team(tmp_path, empty_postgres_url)
    with team.opened:
        one, two = (team.open(name, agent=None) for name in ("a", "b"))
        assert two.agent == f"{one.agent}-2"
        one.plan_task("Task")
        one.execute_task("task")
        with pytest.raises(vespera.VesperaError, match=one.agent):
            two.complete_task("task", **DONE)
        assert "You hold" not in str(two.resume())
        again = [team.open(name, agent=None).agent for name in ("b", "a")]
        assert again == [two.agent, one.agent]
        assert team.open("b", agent=None, readonly=True).agent == two.agent
        assert one.check().findings == two.check().findings == ()
        assert one.complete_task("task", **DONE).status == "completed"


def test_a_ready_task_whose_files_are_elsewhere_says_so(clones):
    """Everybody may ask why; where it can be started, it is just ready."""
    one, two = clones
    one.plan_tasks([{"title": "Task"}, {"title": "Next", "dependencies": ["task"]}])
    begin_on(one, "task", "by ada")
    assert str(one.why("task")) == "task is ready"
    assert "git fetch" in two.why("task").obstacle
    assert two.why("task").ready
    assert str(two.why("task")).startswith(
        "task is ready, but this home cannot start it: the worktree"
    )
    one.execute_task("task").complete(**DONE)
    assert one.why("next").obstacle == ""
    assert "git fetch" in str(two.why("next"))


def test_a_second_home_makes_its_own_worktree(tmp_path, clones):
    """An imported copy that has fetched the saves goes on beside the original."""
    one, two = clones
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    (work.path / "t.txt").write_text("saved")
    work.checkpoint({})
    one.export(tmp_path / "all.jsonl")
    (work.path / "t.txt").write_text("three hours since")
    git(two.project, "fetch", "-q", "origin", "refs/vespera/*:refs/vespera/*")
    with vespera.open(two.project, agent="copy") as copy:
        copy.import_(tmp_path / "all.jsonl")
        for _ in range(2):
            again = copy.execute_task("task", take_over=True)
            assert (again.path / "t.txt").read_text() == "saved"
            assert again.path != work.path
    assert (work.path / "t.txt").read_text() == "three hours since"
    assert one.check().findings == ()


def test_the_next_step_is_one_that_this_home_can_take(clones):
    """It passes over what is elsewhere; what is only elsewhere, it explains."""
    one, two = clones
    one.plan_tasks([{"title": "First", "priority": 9}, {"title": "Second"}])
    begin_on(one, "first", "by ada")
    assert one.next_step().alias == "first"
    step = two.next_step()
    assert step.alias == "second"
    eval(step.call, {"orch": two}).complete(**DONE)
    step = two.next_step()
    assert (step.action, step.alias) == ("decide", "first")
    assert "git fetch" in step.sentence
    assert str(two.get_status().next_step) == str(step)
    eval(step.call, {"orch": two})
    run(re.search("to bring them: (git fetch .*?); ", step.sentence)[1], two.project)
    assert two.next_step().call == "orch.execute_task('first')"


def test_what_waits_to_be_merged_elsewhere_is_merged_there(clones):
    """The other home is told where; it is not told to do it."""
    one, two = clones
    one.plan_tasks([{"title": "Task"}, {"title": "Next", "dependencies": ["task"]}])
    with one.execute_task("task", worktree=True) as work:
        (work.path / "new.txt").write_text("x")
        work.complete(**DONE, merge="later")
    assert one.next_step().call == "orch.worktrees.merge('task')"
    step = two.next_step()
    assert step.action == "wait"
    assert str(work.path) in step.sentence
    for words in (two.why("next"), two.why("task"), two.get_status().running[0].line(utcnow())):
        assert str(work.path) in str(words)
        assert str(work.path) not in str(one.why("next"))
    eval(step.call, {"orch": two})
    (trouble,) = two.worktrees.land_all().left
    assert str(work.path) in trouble.reason
    eval(one.next_step().call, {"orch": one})
    assert two.get_task("task").status == "completed"


@pytest.mark.parametrize("is_removed", [False, True])
@pytest.mark.parametrize("merge", ["now", "later"])
def test_work_that_another_home_has_is_not_called_done(clones, is_removed, merge):
    """Completing by name is refused until it is started here with its files; nothing is lost."""
    one, two = clones
    one.plan_task("Task")
    begin_on(one, "task", "by ada")
    if is_removed:
        one.worktrees.remove("task")
    with pytest.raises(vespera.WorktreeElsewhereError, match="git fetch") as caught:
        two.complete_task("task", **DONE, merge=merge)
    assert caught.value.completion_of == two.get_task("task").id
    assert two.artifacts.read(caught.value.kept_artifact_id) == b"all of it"
    (note,) = caught.value.__notes__
    assert two.get_task("task").status == "pending"
    run(caught.value.fetch, two.project)
    with pytest.raises(vespera.WorktreeElsewhereError):
        two.complete_task("task", **DONE, merge=merge)  # its files are not in any worktree here
    work = eval(re.search(r"here \((.*?\))\)", note)[1], {"orch": two})
    assert work.complete(**DONE).status == "completed"
    assert git(two.project, "show", "integration:task.txt") == "by ada"
    assert one.check().errors == two.check().errors == ()


def test_what_has_landed_there_can_be_completed_here(clones):
    """It is not asked for a second time."""
    one, two = clones
    one.plan_task("Task")
    begin_on(one, "task", "by ada")
    one.worktrees.merge("task")
    one.worktrees.remove("task")
    assert two.complete_task("task", **DONE).status == "completed"


def test_one_name_on_two_machines_does_not_land_what_the_other_holds(any_team):
    """The holder keeps the task, and completes it; what the other one handed in is kept."""
    one, two = any_team.open("a", agent="main"), any_team.open("b", agent="main")
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    (work.path / "new.txt").write_text("by ada")
    with pytest.raises(vespera.WorktreeElsewhereError):
        two.complete_task("task", summary="mine", detailed_work="by bob")
    assert "take_over" not in two.next_step().call
    assert str(work.path) not in str(two.resume())
    task = two.complete_task("task", summary="x", detailed_work="y", next_action="continue")
    assert task.status == "in_progress"
    assert work.complete(**DONE).status == "completed"
    assert git(one.project, "show", "integration:new.txt") == "by ada"


def fail(_, work):
    """Let the attempt fail."""
    work.fail("boom")


def release(_, work):
    """Give the task back."""
    work.release()


def renew(_, work):
    """Go on working."""
    work.heartbeat()


def end(orch, _):
    """End the attempt of somebody who is gone; what was left is saved."""
    orch.end_attempt("task", "gone")


def remove(orch, work):
    """Give the task back, and remove the worktree."""
    work.release()
    orch.worktrees.remove("task")


@pytest.mark.parametrize("leave", [fail, release, renew, end, remove])
def test_whatever_was_saved_last_is_needed_elsewhere(clones, leave):
    """Not only what a checkpoint names; and the command that the error names is enough."""
    one, two = clones
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    for text in ("first", "second"):
        (work.path / "task.txt").write_text(text)
        work.checkpoint({})
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("task", take_over=True)
    run(caught.value.fetch, two.project)
    (work.path / "task.txt").write_text("last")
    leave(one, work)
    alias = "recover_task" if leave is fail else "task"
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task(alias, take_over=True)
    run(caught.value.fetch, two.project)
    work = two.execute_task(alias, take_over=True)
    assert (work.path / "task.txt").read_text() == "last"


def test_saves_of_another_store_under_the_same_name_stay_apart(clones, tmp_path):
    """A clone may have worktrees from before; they are neither overwritten nor taken for A's."""
    one, two = clones
    with vespera.open(two.project, home=tmp_path / "own", store=None) as before:
        before.initialize_session("before")
        before.plan_task("Task")
        begin_on(before, "task", "bob's own")
        one.plan_task("Task")
        work = one.execute_task("task", worktree=True)
        (work.path / "new.txt").write_text("by ada")
        work.release()
        with pytest.raises(vespera.WorktreeElsewhereError) as caught:
            two.execute_task("task")
        run(caught.value.fetch, two.project)
        work = two.execute_task("task")
        assert (work.path / "new.txt").read_text() == "by ada"
        assert not (work.path / "task.txt").exists()
        before.worktrees.remove("task")
        again = before.execute_task("task")
        assert (again.path / "task.txt").read_text() == "bob's own"
        assert not (again.path / "new.txt").exists()


def test_what_another_home_landed_is_not_gone_on_with_in_an_old_folder(clones):
    """A task that is opened again starts from what has landed; the old files are kept."""
    one, two = clones
    one.plan_task("Task")
    old = begin_on(one, "task", "by ada")
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        two.execute_task("task")
    run(caught.value.fetch, two.project)
    work = two.execute_task("task")
    (work.path / "task.txt").rename(work.path / "final.txt")
    work.complete(**DONE)
    (old.path / "task.txt").write_text("edited since")
    one.reopen_task("task", "more")
    with pytest.raises(vespera.WorktreeElsewhereError) as caught:
        one.execute_task("task")
    run(caught.value.fetch, one.project)
    work = one.execute_task("task")
    assert (work.path / "final.txt").read_text() == "by ada"
    assert not (work.path / "task.txt").exists()
    (kept,) = one.worktrees.rescue()
    assert git(one.project, "show", f"{kept.ref}:task.txt") == "edited since"
    assert work.complete(**DONE).status == "completed"


@pytest.mark.parametrize("has_markers", [False, True])
def test_a_conflict_is_solved_where_both_sides_are(clones, has_markers):
    """Elsewhere the recovery waits for the branch that it conflicts with; markers do not land."""
    one, two = clones
    one.plan_tasks([{"title": "Timer"}, {"title": "Bell"}])
    works = {alias: one.execute_task(alias, worktree=True) for alias in ("timer", "bell")}
    for alias, work in works.items():
        (work.path / "f.txt").write_text(f"{alias}\n")
        work.complete(**DONE)
    if has_markers:
        one.execute_task("recover_bell").release()
    for has_fetched in (False, True):
        with pytest.raises(vespera.WorktreeElsewhereError) as caught:
            two.execute_task("recover_bell")
        assert (" integration:integration" in caught.value.fetch) == has_fetched
        run(caught.value.fetch, two.project)
    recovery = two.execute_task("recover_bell")
    assert "<<<<<<<" in (recovery.path / "f.txt").read_text()
    assert recovery.complete(**DONE).status == "pending"
    recovery = two.execute_task("recover_bell")
    (recovery.path / "f.txt").write_text("timer and bell\n")
    assert recovery.complete(**DONE).status == "completed"
    assert two.execute_task("bell").complete(**DONE).status == "completed"
    assert git(two.project, "show", "integration:f.txt") == "timer and bell"
    assert one.check().errors == two.check().errors == ()


def test_a_project_below_the_top_of_its_repository_can_be_fetched_from(team):
    """Git fetches from a repository, and not from a folder inside it."""
    folders = {name: team.folder(name) / "app" for name in "ab"}
    for folder in folders.values():
        folder.mkdir()
    with vespera.open(folders["a"], home=folders["a"] / "home", store=team.store) as one:
        session = one.initialize_session("below").id
        one.plan_task("Task")
        begin_on(one, "task", "by ada")
        home = folders["b"] / "home"
        with vespera.open(folders["b"], home=home, store=team.store, session=session) as two:
            with pytest.raises(vespera.WorktreeElsewhereError) as caught:
                two.execute_task("task", agent="bob")
            run(caught.value.fetch, two.project)
            assert (two.execute_task("task").path / "task.txt").read_text() == "by ada"


def test_taking_up_elsewhere_what_one_s_name_holds_leaves_it_with_its_holder(any_team):
    """The call is refused before anything is renewed or given back."""
    one, two = any_team.open("a", agent="main"), any_team.open("b", agent="main")
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    with pytest.raises(vespera.WorktreeElsewhereError):
        two.work("task")
    assert work.complete(**DONE).status == "completed"


def test_a_home_that_was_deleted_is_gone_on_from(team):
    """The repository still has what it saved last, also after the last checkpoint."""
    one = team.open("a")
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    for text in ("checkpoint", "released"):
        (work.path / "task.txt").write_text(text)
        work.checkpoint({}) if text == "checkpoint" else work.release()
    one.close()
    shutil.rmtree(one.home)
    work = team.open("a").execute_task("task")
    assert (work.path / "task.txt").read_text() == "released"


def test_a_run_does_not_wait_for_files_of_another_home(clones):
    """Only a person can bring them: it does the rest, ends, and names the command."""
    one, two = clones
    one.plan_tasks([{"title": "First", "priority": 9}, {"title": "Second"}])
    begin_on(one, "first", "by ada")
    report = two.run(lambda _: DONE)
    assert (report.ending, report.completed) == ("waiting", ("second",))
    assert "git fetch" in str(report.next_step)


@pytest.mark.parametrize("merge", [None, "later"])
def test_a_machine_that_is_gone_for_good_holds_up_nothing(clones, merge):
    """Neither what it held nor what it was about to merge; the calls are those of the page."""
    one, two = clones
    one.plan_task("Task")
    work = one.execute_task("task", worktree=True)
    (work.path / "task.txt").write_text("by ada")
    if merge is None:
        work.checkpoint({})
        two.worktrees.create("task", resume=False)
        two.end_attempt("task", "its machine is gone")
    else:
        work.complete(**DONE, merge=merge)
    with pytest.raises(vespera.WorktreeElsewhereError):
        two.execute_task("task", take_over=True)  # a held one is not pulled away
    two.worktrees.create("task", resume=False)
    work = two.execute_task("task", take_over=True)
    assert not (work.path / "task.txt").exists()
    assert work.complete(**DONE).status == "completed"
