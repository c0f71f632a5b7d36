"""A git operation that an agent has under way is finished before its work lands, and survives."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import GitOperation, UnsavedFilesError

DONE = {"summary": "done", "detailed_work": "All of it."}
OWN_FILES = {"a.txt", "b.txt", "c.txt", "d.txt"}


@pytest.fixture
def orch(make):
    """Return an orchestrator of a project with one task."""
    project = make(files={"a.txt": "a\n", "b.txt": "b\n"})
    with vespera.open(project.folder, agent="one") as opened:
        opened.initialize_session("test")
        opened.plan_task("One")
        opened.test_project = project
        yield opened


def begin(orch):
    """Start the task, make three commits in its worktree, and a branch that conflicts."""
    project = orch.test_project
    work = orch.execute_task("one", worktree=True)
    project.git("switch", "-qc", "theirs", cwd=work.path)
    project.commit("theirs", {"a.txt": "two\n", "other.txt": "other\n"}, work.path)
    project.git("switch", "-q", work.worktree.branch, cwd=work.path)
    for name, text in (("a.txt", "one\n"), ("c.txt", "c\n"), ("d.txt", "d\n")):
        project.commit(f"step {name}", {name: text}, work.path)
    work.checkpoint({}, note="three steps")
    return work


PICK_ONE = (
    "git checkout -q --detach theirs; git cherry-pick work-one~3..work-one; "
    r"sed -i /^[=\<\>]/d a.txt; git commit -qam x"
)
STOPS = {
    "rebase": (GitOperation.REBASE, "git rebase theirs"),
    "rebase at edit": (
        GitOperation.REBASE,
        "git -c sequence.editor='sed -i s/^pick/edit/' rebase -i HEAD~3",
    ),
    "rebase by patches": (GitOperation.REBASE, "git rebase --apply theirs"),
    "merge": (GitOperation.MERGE, "git merge theirs"),
    "cherry-pick": (GitOperation.CHERRY_PICK, "git cherry-pick theirs"),
    # The conflict of the first pick is committed; the others wait in the sequencer.
    "between cherry-picks": (GitOperation.CHERRY_PICK, PICK_ONE),
    "revert": (
        GitOperation.REVERT,
        "echo three > a.txt; git commit -qam again; git revert --no-edit HEAD~3",
    ),
    "bisect": (GitOperation.BISECT, "git bisect start HEAD HEAD~3"),
    "am": (GitOperation.AM, "git format-patch --stdout -1 theirs | git am -3"),
    "stash pop": (
        GitOperation.STASH_POP,
        "git reset -q --soft HEAD~3; git stash -q -u; git merge -q theirs; git stash pop",
    ),
}
"""What is under way, and the commands that stop in its middle."""


def stop(orch, work, kind):
    """Bring the worktree into the middle of an operation.

    Return what is under way, and the commits that must not be lost.
    """
    project = orch.test_project
    project.git("branch", "-f", "work-one", "HEAD", cwd=work.path)
    commits = project.git("rev-list", "HEAD", "theirs", cwd=work.path).split()
    operation, commands = STOPS[kind]
    run(commands, work.path)
    project.git("branch", "-D", "work-one", cwd=work.path)
    return operation, commits


def resolve(folder):
    """Take both sides of every conflict."""
    for path in folder.rglob("*.txt"):
        text = re.sub(r"(?m)^(<{7}|\|{7}|={7}|>{7}).*\n", "", path.read_text())
        path.write_text(text)


def run(command, folder):
    """Run what a person would type, and tell whether it succeeded."""
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode == 0


def finish(work, operation):
    """Do what the error says, as often as it takes: each commit may conflict again."""
    for _ in range(6):
        resolve(work.path)
        run(operation.finish, work.path)
        work.checkpoint({})
        if work.operation is None:
            if "stash@{0}" in work.left_out:  # git keeps what did not go in without a conflict
                run("git stash drop", work.path)
            return
    pytest.fail(f"{operation.finish} did not end it")


def refused(work):
    """Complete, and return the refusal."""
    with pytest.raises(vespera.OperationUnderWayError) as caught:
        work.complete(**DONE)
    return caught.value


def landed(orch):
    """Return the files on the integration branch."""
    project = orch.test_project
    return set(project.git("ls-tree", "-r", "--name-only", "integration").split())


@pytest.mark.parametrize("kind", STOPS)
def test_nothing_lands_before_it_is_finished(orch, kind):
    """Completing names the operation, keeps the work and the task, and leaves the branch alone.
    Once the command of the error has ended the operation, the same call lands everything.
    """
    project = orch.test_project
    work = begin(orch)
    before = project.git("rev-parse", "integration")
    operation, commits = stop(orch, work, kind)
    error = refused(work)
    assert (error.operation, error.path) == (operation, str(work.path))
    assert (error.finish, error.abandon) == (operation.finish, operation.abandon)
    assert error.finish in str(error)
    assert error.abandon in str(error)
    assert project.git("rev-parse", "integration") == before
    assert orch.get_task("one").status == "in_progress"
    [kept] = [artifact for artifact in orch.artifacts.list(task="one") if artifact.kind == "late"]
    assert orch.artifacts.read(kept.id) == b"All of it."
    ours = project.git("for-each-ref", "--format=%(refname)", "refs/vespera").split()
    assert set(commits) <= set(project.git("rev-list", "theirs", *ours).split())
    finish(work, operation)
    assert work.complete(**DONE).status == "completed"
    assert landed(orch) >= OWN_FILES
    assert "<<<<" not in project.git("show", "integration:a.txt")
    project.assert_sound()


@pytest.mark.parametrize("kind", STOPS)
def test_given_up(orch, kind):
    """Once the second command of the error has ended it, what the agent had before lands."""
    work = begin(orch)
    operation, _ = stop(orch, work, kind)
    if kind == "between cherry-picks":
        return  # git gives up nothing when somebody has committed in between
    refused(work)
    assert run(operation.abandon, work.path)
    if kind == "stash pop":  # what is in the stash still is not in the files
        with pytest.raises(UnsavedFilesError, match="git stash drop"):
            work.complete(**DONE)
        run("git stash drop", work.path)
    task = work.complete(**DONE)
    assert work.operation is None or task.status == "completed"
    assert not orch.test_project.git("ls-files", "--unmerged", cwd=orch.test_project.folder)


@pytest.mark.parametrize("kind", STOPS)
@pytest.mark.parametrize("loss", ["folder", "worktree"])
def test_the_next_attempt_goes_on_with_it(orch, kind, loss):
    """Also when the folder, or all of the worktree, is gone: the operation is where it was, the
    briefing and the work tell of it, and finishing it loses no commit.
    """
    project = orch.test_project
    work = begin(orch)
    operation, commits = stop(orch, work, kind)
    work.checkpoint({}, note="in the middle")
    assert work.operation is operation
    status = project.git("status", "--porcelain=v1", cwd=work.path)
    if loss == "folder":
        subprocess.run(["rm", "-r", work.path], check=True)
        project.git("stash", "drop", check=False)
    else:
        orch.worktrees.remove("one")
        project.git("reflog", "expire", "--expire=now", "--all")
        project.git("gc", "-q", "--prune=now")
    again = orch.execute_task("one", take_over=True, agent="next")
    assert again.operation is operation
    assert operation.finish in again.briefing()
    assert operation.abandon in again.briefing()
    conflicts = re.findall(r"(?m)^(?:UU|AA|DU|UD) .*", status)
    now = project.git("status", "--porcelain=v1", cwd=again.path)
    assert re.findall(r"(?m)^(?:UU|AA|DU|UD) .*", now) == conflicts
    refused(again)
    finish(again, operation)
    assert again.complete(**DONE).status == "completed"
    assert landed(orch) >= OWN_FILES
    ours = project.git("for-each-ref", "--format=%(refname)", "refs/").split()
    assert set(commits) <= set(project.git("rev-list", *ours).split())
    project.assert_sound()


@pytest.mark.parametrize("kind", ["am", "bisect"])
def test_who_takes_over_in_the_middle_saves_and_finishes_it(orch, kind):
    """In the same folder, by another agent: its checkpoint holds the operation and every commit."""
    project = orch.test_project
    operation, commits = stop(orch, begin(orch), kind)
    with vespera.open(project.folder, agent="next") as other:
        work = other.execute_task("one", take_over=True)
        saved = work.checkpoint({}, note="taken over")
        assert work.operation is operation
        project.git("reflog", "expire", "--expire=now", "--all")
        kept = project.git("rev-list", "theirs", saved.snapshot).split()
        assert set(commits) <= set(kept)
        refused(work)
        finish(work, operation)
        assert work.complete(**DONE).status == "completed"
    assert landed(orch) >= OWN_FILES
    project.assert_sound()


def test_handing_in_for_later_and_merging_are_refused_too(orch):
    """No way of landing goes past it, and catching up writes no file."""
    project = orch.test_project
    work = begin(orch)
    stop(orch, work, "rebase")
    text = (work.path / "a.txt").read_bytes()
    for call in (
        lambda: work.complete(**DONE, merge="later"),
        lambda: orch.worktrees.merge("one"),
        lambda: orch.worktrees.catch_up("one"),
    ):
        with pytest.raises(vespera.OperationUnderWayError):
            call()
    assert (work.path / "a.txt").read_bytes() == text
    assert not orch.worktrees.is_merged("one")
    assert "c.txt" not in landed(orch)
    assert project.git("status", cwd=work.path).find("rebase in progress") >= 0


def test_a_merge_whose_conflicts_are_resolved_lands(orch):
    """All of it is in the files, committed or not."""
    project = orch.test_project
    work = begin(orch)
    project.git("merge", "--no-commit", "-Xours", "theirs", cwd=work.path)
    assert work.complete(**DONE).status == "completed"
    assert OWN_FILES | {"other.txt"} <= landed(orch)


def test_a_block_that_ends_with_it_is_no_failure(orch):
    """The task is released, not blocked, and its next attempt goes on in the same place."""
    work = begin(orch)
    operation, _ = stop(orch, work, "rebase")
    with pytest.raises(vespera.OperationUnderWayError) as caught, work:
        work.complete(**DONE)
    assert caught.value.completion_of == work.task.id
    assert orch.artifacts.read(caught.value.kept_artifact_id) == b"All of it."
    assert orch.get_task("one").status == "pending"
    assert orch.execute_task("one").operation is operation


def test_a_recovery_is_not_done_before_it_is_finished(orch):
    """A recovery works in the worktree of the task that it recovers: it must not leave there
    what that task could not land.
    """
    work = begin(orch)
    work.fail("something is wrong")
    recovery = orch.execute_task("recover_one")
    operation, _ = stop(orch, recovery, "bisect")
    refused(recovery)
    assert orch.get_task("recover_one").status == "in_progress"
    finish(recovery, operation)
    recovery.complete(**DONE)
    assert orch.execute_task("one").complete(**DONE).status == "completed"
    assert landed(orch) >= OWN_FILES


def test_who_was_replaced_is_told_that_first(orch):
    """It keeps its words, as ever, and moves no ref."""
    project = orch.test_project
    work = begin(orch)
    stop(orch, work, "rebase")
    with vespera.open(project.folder, agent="next") as other:
        other.execute_task("one", take_over=True)
        tip = project.git("rev-parse", "refs/vespera/wip/one")
        with pytest.raises(vespera.LeaseLostError):
            work.complete(**DONE)
        assert project.git("rev-parse", "refs/vespera/wip/one") == tip


def test_a_split_index_tells_its_conflicts(orch, monkeypatch):
    """Git reads the index where libgit2 cannot."""
    monkeypatch.setenv("GIT_DIR", os.devnull)  # of a hook that we may be called from
    monkeypatch.delenv("GIT_DIR")
    project = orch.test_project
    work = begin(orch)
    project.git("update-index", "--split-index", cwd=work.path)
    stop(orch, work, "merge")
    monkeypatch.setenv("GIT_DIR", str(project.folder / "nowhere"))
    error = refused(work)
    assert error.paths == ("a.txt",)


def test_an_operation_that_ended_leaves_no_trace_in_the_history(orch):
    """The state of a rebase is no part of what the task lands as its own commits."""
    project = orch.test_project
    work = begin(orch)
    operation, _ = stop(orch, work, "rebase")
    work.checkpoint({})
    finish(work, operation)
    orch.worktrees.merge("one", style="merge")
    titles = project.git("log", "--format=%s", "integration").split("\n")
    assert not [title for title in titles if "under way" in title or "snapshot" in title]
