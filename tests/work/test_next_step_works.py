"""Whatever the next step names can be done, in every state, until everything has ended.

So it is with what an error names as its remedy.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from contextlib import suppress

import pytest

import vespera_orchestrator as vespera

DONE = {"summary": "done", "detailed_work": "All of it."}
MOST_STEPS = 40


@pytest.fixture
def orch(project):
    """Return the façade in a project of git's, in a session without tasks."""
    with vespera.open(project.folder, agent="ann") as opened:
        opened.initialize_session("x")
        opened.test_project = project
        yield opened


def as_agent(orch, name):
    """Return the façade of another agent."""
    return vespera.open(orch.project, agent=name)


# --- following ---------------------------------------------------------------


def follow(orch, step):
    """Make the call that a step names, if any, with words for what is left open."""
    if not step.call:
        settle_by_hand(step)
        return None
    call = step.call.replace("summary=…", "summary='s'").replace("detailed_work=…", "**more")
    return eval(call, {"orch": orch, "more": {"detailed_work": "d"}})


COMMAND = re.compile(r"git stash -u|git add -A && git -c \S+ rebase --continue|rm -rf \S+/\.git")


def settle_by_hand(step):
    """Do what a sentence says that no call does, in the folder that it names."""
    command = COMMAND.search(step.sentence)
    if command is None:
        return
    folder = re.search(r"/\S+", step.sentence)[0].strip(",:;")
    subprocess.run(command[0], shell=True, cwd=folder, check=True, capture_output=True)


def follow_to_the_end(orch):
    """Do what the next step says until nothing is left; return the actions on the way."""
    actions = []
    for _ in range(MOST_STEPS):
        step = orch.next_step()
        actions.append(step.action)
        if step.action == "done":
            return actions
        if step.sentence.endswith("Open it again"):
            with as_agent(orch, orch.agent) as again:
                return actions + follow_to_the_end(again)
        try:
            answer = follow(orch, step)
        except vespera.MergeConflictError:
            answer = None  # the task has a recovery now, which comes next
        if isinstance(answer, vespera.Work):
            finish(answer)
        elif step.action == "wait":
            finish_somebody_elses(orch)
    pytest.fail(f"no end: {actions}, {orch.next_step()}")


def finish(work):
    """Do what an agent would: resolve what is in conflict, and complete the task."""
    for path in work.conflicts:
        file = work.path / path
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(("<<<", "|||", "===", ">>>"))]
        file.write_text("".join(kept))
    work.complete(**DONE)


def finish_somebody_elses(orch):
    """Let whoever holds a task complete it."""
    for run in orch.get_status().running:
        with as_agent(orch, run.attempt.agent) as other:
            other.complete_task(run.task.id, **DONE)


# --- states ------------------------------------------------------------------


def nothing_planned(orch):
    """The session has no tasks."""


def ready(orch):
    """A task can be started."""
    orch.plan_task("a")


def handed_back(orch):
    """Somebody began and gave it back."""
    orch.plan_task("a")
    orch.execute_task("a").release("the key is missing")


def running(orch):
    """Another agent works, and another task waits for it."""
    orch.plan_tasks([{"title": "a"}, {"title": "b", "dependencies": ["a"]}])
    with as_agent(orch, "bob") as bob:
        bob.execute_task("a", worktree=True)


def parent(orch):
    """All subtasks have ended."""
    orch.plan_task("top")
    orch.plan_task("part", parent_task_id="top")
    orch.complete_task("part", **DONE)


def failed(orch):
    """A failure has a recovery."""
    orch.plan_task("a")
    orch.execute_task("a", worktree=True).fail("no key")


def failed_too_often(orch):
    """A person must decide."""
    orch.plan_tasks([{"title": "a"}, {"title": "b", "dependencies": ["a"]}])
    for recovery in ("recover_a", "recover_a_2"):
        orch.execute_task("a").fail("no key")
        orch.complete_task(recovery, **DONE)
    orch.execute_task("a").fail("no key")


def recovery_failed(orch):
    """So must one whose recovery could not help."""
    orch.plan_task("a")
    orch.execute_task("a").fail("no key")
    orch.execute_task("recover_a").fail("no key either")


def recovery_cancelled(orch):
    """Nobody recovers it any more."""
    orch.plan_task("a")
    orch.execute_task("a").fail("no key")
    orch.cancel_task("recover_a", "no")


def waits_for_merge(orch):
    """Finished work was handed in, to be merged later."""
    orch.plan_tasks([{"title": "a"}, {"title": "b", "dependencies": ["a"]}])
    work = orch.execute_task("a", worktree=True)
    (work.path / "a.txt").write_text("mine\n")
    work.complete(**DONE, merge="later")


def several_wait_for_merge(orch):
    """Two of three conflict."""
    for name, text in (("a", "one\n"), ("b", "two\n"), ("c", None)):
        orch.plan_task(name)
        work = orch.execute_task(name, worktree=True)
        if text:
            (work.path / "a.txt").write_text(text)
        work.complete(**DONE, merge="later")


def conflict(orch):
    """Two tasks changed the same line."""
    orch.plan_tasks([{"title": "a"}, {"title": "b"}, {"title": "c", "dependencies": ["b"]}])
    works = [orch.execute_task(name, worktree=True) for name in ("a", "b")]
    for number, work in enumerate(works):
        (work.path / "a.txt").write_text(f"{number}\n")
        work.complete(**DONE)
    assert orch.get_task("b").status == "blocked"


def refused(orch):
    """The check before landing failed."""
    orch.plan_task("a")
    config = orch.home / "config.toml"
    config.write_text('[worktrees]\ncheck = ["test", "-e", "n.txt"]\n')
    with as_agent(orch, "ann") as strict:
        first = strict.execute_task("a", worktree=True)
        (first.path / "m.txt").write_text("m")
        first.complete(**DONE)
        work = strict.execute_task(strict.next_step().alias)
        (work.path / "n.txt").write_text("n")
        work.release("nearly")


def given_up(orch):
    """A person gave it up, and the rest was skipped."""
    failed_too_often(orch)
    orch.abandon_task("a", "no")


def cancelled(orch):
    """A person did not want it, with work in a worktree."""
    orch.plan_task("a")
    orch.execute_task("a", worktree=True)
    orch.cancel_task("a", "no")


def folder_gone(orch):
    """Somebody deleted the worktree of a task that was given back."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    work.release()
    subprocess.run(["rm", "-rf", work.path], check=True)


def folder_taken(orch):
    """Somebody made another folder in its place."""
    folder_gone(orch)
    orch.test_project.write({".env": "x"}, orch.worktrees.find("a").path)


def held_folder_gone(orch):
    """Somebody deleted the worktree of a task that is in hand."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    (work.path / "n.txt").write_text("n")
    work.checkpoint({})
    subprocess.run(["rm", "-rf", work.path], check=True)


def merge_folder_gone(orch):
    """Somebody deleted the worktree of work that waits to be merged."""
    waits_for_merge(orch)
    subprocess.run(["rm", "-rf", orch.worktrees.find("a").path], check=True)


def dirty_checkout(orch):
    """The project's checkout is in the way of a landing."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    (work.path / "a.txt").write_text("mine\n")
    project = orch.test_project
    project.git("checkout", "-q", "integration")
    project.write({"a.txt": "edited\n"})
    with suppress(vespera.DirtyCheckoutError):
        work.complete(**DONE)


def nested_repository(orch):
    """What was handed in holds a repository of its own."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    orch.test_project.git("init", "-q", str(work.path / "sub"))
    orch.test_project.commit("x", {"x.txt": "x"}, work.path / "sub")
    with suppress(vespera.UnsavedFilesError):
        work.complete(**DONE)


def rebase_under_way(orch):
    """It was handed in in the middle of a rebase."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    project = orch.test_project
    project.commit("mine", {"a.txt": "mine\n"}, work.path)
    project.git("checkout", "-qb", "side")
    project.commit("yours", {"a.txt": "yours\n"})
    project.git("checkout", "-q", "main")
    project.git("rebase", "side", cwd=work.path, check=False)
    with suppress(vespera.OperationUnderWayError):
        work.complete(**DONE)


def removed_worktree(orch):
    """A person removed it."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    (work.path / "n.txt").write_text("n")
    work.release()
    orch.worktrees.remove("a")


def everything_ended(orch):
    """And landed."""
    orch.plan_task("a")
    work = orch.execute_task("a", worktree=True)
    (work.path / "n.txt").write_text("n")
    work.complete(**DONE)


def busy_worktree(orch):
    """A task shares a worktree in which another agent works."""
    orch.plan_task("top")
    orch.plan_tasks([{"title": name, "parent_task_id": "top"} for name in ("a", "b")])
    work = orch.execute_task("b", worktree="subtree")
    work.release()
    with as_agent(orch, "bob") as bob:
        bob.execute_task("a", worktree="subtree")


STATES = (
    nothing_planned,
    ready,
    handed_back,
    running,
    parent,
    failed,
    failed_too_often,
    recovery_failed,
    recovery_cancelled,
    waits_for_merge,
    several_wait_for_merge,
    conflict,
    refused,
    given_up,
    cancelled,
    folder_gone,
    folder_taken,
    held_folder_gone,
    merge_folder_gone,
    dirty_checkout,
    nested_repository,
    rebase_under_way,
    removed_worktree,
    everything_ended,
    busy_worktree,
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_the_next_step_leads_to_the_end(orch, state):
    """Each call that it names works, whatever the state, and there is an end."""
    state(orch)
    follow_to_the_end(orch)
    command = re.search(r"git merge \S+", orch.next_step().sentence)
    if command:
        subprocess.run(command[0].split(), cwd=orch.project, check=True, capture_output=True)
    with as_agent(orch, "eve") as again:
        assert again.check().errors == ()


def test_what_others_have_landed_is_in_nobody_s_way(orch):
    """A file that only they have changed stays as it is when the work is merged."""
    project = orch.test_project
    waits_for_merge(orch)
    orch.plan_task("other")
    other = orch.execute_task("other", worktree=True)
    project.write({"other.txt": "landed\n"}, other.path)
    other.complete(**DONE)
    project.git("checkout", "-q", "integration")
    project.write({"other.txt": "edited\n"})
    step = orch.next_step()
    assert (step.action, step.alias) == ("merge", "a")
    follow(orch, step)
    assert project.git("show", "integration:a.txt").strip() == "mine"
    assert (project.folder / "other.txt").read_text() == "edited\n"


# --- random lives --------------------------------------------------------------


def act(orch, rng):
    """Do something that people and agents do, if it is possible now."""
    agent = rng.choice(["ann", "bob"])
    choice = rng.choice([None, True, "agent", "subtree"])
    with as_agent(orch, agent) as other:
        works = [run.task for run in other.get_status().running if run.attempt.agent == agent]
        try:
            if not works or rng.random() < 0.4:
                other.execute_task(worktree=choice)
                return
            work = other.execute_task(rng.choice(works).id, take_over=True)
            if work.path is not None:
                (work.path / "a.txt").write_text(rng.choice("abc") + "\n")
            end = rng.choice(["now", "later", "fail", "release", "checkpoint", "cancel"])
            if end in {"now", "later"}:
                work.complete(**DONE, merge=end)
            elif end == "cancel":
                other.cancel_task(work.task.id, "not wanted")
            elif end == "checkpoint":
                work.checkpoint({"n": 1})
            else:
                getattr(work, end)("because")
        except (
            vespera.NothingReadyError,
            vespera.WorktreeBusyError,
            vespera.TransitionError,
            vespera.InvalidInputError,
        ):
            return


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_the_next_step_leads_to_the_end(orch, seed):
    """Two agents, worktrees of every kind, failures, conflicts, cancellations."""
    rng = random.Random(seed)
    orch.plan_task("top")
    for number in range(4):
        needs = [f"t{other}" for other in range(number) if rng.random() < 0.3]
        orch.plan_task(f"t{number}", parent_task_id="top", dependencies=needs)
    for _ in range(12):
        act(orch, rng)
    follow_to_the_end(orch)
    assert orch.check().errors == ()


# --- errors ----------------------------------------------------------------------


def edited(project, folder):
    """A file that would change has edits."""
    project.write({"a.txt": "edited\n"}, folder)


def staged(project, folder):
    """They are staged."""
    edited(project, folder)
    project.git("add", "a.txt", cwd=folder)


def in_the_way(project, folder):
    """A file that nobody tracks has the name of one that lands."""
    project.write({"n.txt": "somebody's\n"}, folder)


def under_way(project, folder):
    """A merge with a conflict is under way."""
    project.git("checkout", "-q", "-B", "side", "HEAD", cwd=folder)
    project.commit("side", {"src/b.py": "b = 2\n"}, folder)
    project.git("checkout", "-q", "integration", cwd=folder)
    project.commit("here", {"src/b.py": "b = 3\n"}, folder)
    project.git("merge", "side", cwd=folder, check=False)


WAYS_OUT = {
    "Commit": "git add -A && git commit -qm mine",
    "git stash -u": "git stash -u",
    "move": "git restore --staged . ; rm -f n.txt ; git restore .",
    "git switch --detach": "git switch --detach",
}
OF_A_MERGE = {
    "git add -A && git commit --no-edit": "git add -A && git commit --no-edit",
    "git merge --abort": "git merge --abort",
}


@pytest.mark.parametrize(
    ("obstacle", "ways"),
    [(edited, WAYS_OUT), (staged, WAYS_OUT), (in_the_way, WAYS_OUT), (under_way, OF_A_MERGE)],
)
def test_a_checkout_in_the_way_of_a_landing(orch, tmp_path, obstacle, ways):
    """Every way out that the error names works, and the call that it names lands the work."""
    project = orch.test_project
    for number, (words, command) in enumerate(ways.items()):
        name, folder = f"a{number}", tmp_path / f"checkout{number}"
        orch.plan_task(name)
        work = orch.execute_task(name, worktree=True)
        project.write({"a.txt": f"{name}\n", "n.txt": f"{name}\n"}, work.path)
        project.git("worktree", "add", "-q", str(folder), "integration")
        obstacle(project, folder)
        with pytest.raises(vespera.DirtyCheckoutError) as caught:
            work.complete(**DONE)
        assert words in str(caught.value)
        step = orch.next_step()
        assert (words in step.sentence, step.call) == (True, "")
        subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)
        [call] = re.findall(r"orch\.worktrees\.merge\(.*\)", "".join(caught.value.__notes__))
        assert orch.next_step().call == call
        with suppress(vespera.MergeConflictError):  # with what was committed there
            eval(call, {"orch": orch})
        follow_to_the_end(orch)
        assert name in project.git("show", "integration:n.txt").splitlines()
        project.git("worktree", "remove", "-f", str(folder))


def test_a_worktree_in_which_another_agent_works(orch):
    """A worktree of its own works at once, and the shared one later."""
    busy_worktree(orch)
    with pytest.raises(vespera.WorktreeBusyError) as caught:
        orch.execute_task("b")
    call = re.search(r"orch\.execute_task\(.*\)", str(caught.value))[0].replace("…", "'b'")
    work = eval(call, {"orch": orch})
    assert work.worktree.name == "b"
    work.release()
    finish_somebody_elses(orch)
    assert orch.execute_task("b").worktree.name in {"b", "top"}


def test_a_conflict_says_how_it_is_resolved(orch):
    """The steps of its report, one after the other, land the work with both sides."""
    conflict(orch)
    report = orch.artifacts.text(orch.artifacts.list(kind="conflict")[0])
    assert "execute the recovery task" in report
    recovery = orch.get_task("recover_b")
    assert str(orch.project.parent) not in recovery.description + json.dumps(recovery.context)
    finish(orch.execute_task("recover_b"))
    finish(orch.execute_task("b"))
    assert {"0", "1"} <= set(orch.test_project.git("show", "integration:a.txt").split())


def test_what_was_handed_in_too_early(orch):
    """The error of a task that is not ready names its causes; without them it can be started."""
    orch.plan_tasks([{"title": "a"}, {"title": "b", "dependencies": ["a"]}])
    with pytest.raises(vespera.NotReadyError) as caught:
        orch.execute_task("b")
    assert "a" in str(caught.value)
    orch.complete_task("a", **DONE)
    finish(orch.execute_task("b"))
    with pytest.raises(vespera.NothingReadyError) as nothing:
        orch.execute_task()
    assert nothing.value.next_step.action == "done"
