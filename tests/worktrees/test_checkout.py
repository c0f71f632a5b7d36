"""Where worktrees are made and what they are called; judged by the git command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pygit2
import pytest

import vespera_orchestrator as vespera
from support.git_project import fingerprint
from vespera_orchestrator.errors import GitFailedError, InvalidInputError
from vespera_orchestrator.home.config import Config, WorktreeSettings
from vespera_orchestrator.worktrees.translation import git_errors


def test_place_and_branch_are_configurable(project):
    """Folder and branch may name the project, the session and the agent; what stands for them
    cannot lead elsewhere.
    """
    trees = project.open(
        Config(
            worktrees=WorktreeSettings(
                root="../of {project}/{agent}", branch_prefix="agents/{agent}/{session}/"
            )
        )
    )
    worktree = trees.create(agent="../../evil agent")
    assert Path(worktree.path) == project.folder.parent / "of project" / "evil_agent" / "evil_agent"
    assert worktree.branch == "agents/evil_agent/s_000000000001/evil_agent"
    assert worktree.path in project.listed()
    for config, told in (
        (Config(worktrees=WorktreeSettings(root="../{home}")), r"allowed are \{project\}"),
        (Config(worktrees=WorktreeSettings(root=".git/worktrees")), "git's own folder"),
        (Config(worktrees=WorktreeSettings(branch_prefix="../")), "cannot name a branch"),
        (Config(worktrees=WorktreeSettings(branch_prefix="-")), "cannot name a branch"),
    ):
        with pytest.raises(InvalidInputError, match=told):
            project.open(config).create("work")
    project.assert_sound()


def test_names_that_are_one_to_some_file_systems(project, trees):
    """A branch or worktree whose name differs in letter case or composition only counts as
    taken.
    """
    project.git("branch", "feature/WORK")
    assert trees.create("work").branch == "feature/work-2"
    project.git("branch", "feature/caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    assert trees.create(agent="cafe\N{COMBINING ACUTE ACCENT}").name.endswith("-2")
    with pytest.raises(InvalidInputError, match="letter case"):
        trees.create("other", branch="FEATURE/work")
    assert trees.create(agent="Work").name == "Work-3"
    project.assert_sound()


def test_a_branch_below_another_or_above(project):
    """``task`` beside ``task/1``: git cannot have both, so the one that is there stays and ours
    gets a number, or is refused by name.
    """
    project.git("branch", "work/1")
    trees = project.open(Config(worktrees=WorktreeSettings(branch_prefix="")))
    assert trees.create("work").branch == "work-2"
    project.git("branch", "deep")
    with pytest.raises(GitFailedError, match="the branch 'deep' exists"):
        project.open(Config(worktrees=WorktreeSettings(branch_prefix="deep/"))).create("other")
    project.assert_sound()


def test_the_home_is_found_from_inside(project, trees):
    """Whoever opens the project from within a worktree, or from a folder below it, is in the same
    home.
    """
    folder = Path(trees.create("work").path)
    for place in (folder, folder / "src"):
        with vespera.open(place) as orch:
            assert orch.home == project.folder / ".task_orchestrator"


def test_git_worktree_prune_leaves_what_is_in_use(project, trees):
    """A worktree of ours is locked: pruning keeps it although its folder is gone, and its files
    come back.
    """
    worktree = trees.create("work")
    project.write({"n.txt": "n"}, worktree.path)
    trees.snapshot("work")
    subprocess.run(["rm", "-rf", worktree.path], check=True)
    project.git("worktree", "prune", "--expire=now")
    assert "locked" in project.listed()[worktree.path]
    assert Path(trees.create("work").path, "n.txt").read_text() == "n"


def test_a_repository_of_another_user(project, monkeypatch, tmp_path):
    """What git says about ownership is passed on with a remedy that helps.

    Only root can give files away; others see what is said.
    """
    if os.geteuid() != 0:
        with pytest.raises(GitFailedError, match=r"safe\.directory /x$"), git_errors("open"):
            raise pygit2.GitError("repository path '/x' is not owned by current user")
        return
    for path in (project.folder, *project.folder.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    code = """
import vespera_orchestrator
orch = vespera_orchestrator.open()
orch.initialize_session("g")
print(orch.worktrees.create(agent="ada").path)
"""
    for remedy in (
        None,
        ["git", "config", "--global", "--add", "safe.directory", str(project.folder)],
    ):
        if remedy is not None:
            subprocess.run(remedy, check=True, env={**os.environ, "HOME": str(tmp_path)})
        home = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=project.folder,
            env=home,
            capture_output=True,
            text=True,
            check=False,
        )
        if remedy is None:
            assert f"safe.directory {project.folder}\n" in done.stderr
        else:
            assert Path(done.stdout.strip(), "a.txt").exists(), done.stderr


def test_every_public_operation_leaves_the_users_checkout_alone(project):
    """Staged, unstaged, untracked and ignored files, index, HEAD, stash and configuration hash the
    same after each thing we can do.
    """
    project.write({"a.txt": "stash me\n"})
    project.git("stash")
    project.write(
        {
            "a.txt": "staged\n",
            "src/b.py": "b = 'unstaged'\n",
            "untracked.txt": "u",
            "x.log": "ignored",
            "build/o": "i",
        }
    )
    project.git("add", "a.txt")
    project.git("rm", "-q", "--cached", "gone.txt")
    project.git("status")
    with vespera.open(project.folder) as orch:
        orch.initialize_session("test")
        orch.plan_tasks([{"title": "one"}, {"title": "two"}, {"title": "three"}])
        before = fingerprint(project)
        work = orch.execute_task("one", worktree=True)
        shared = orch.execute_task("two", worktree="agent", agent="ada")
        steps = [
            lambda: project.write({"new.txt": "1", "a.txt": "one\nTWO\nthree\n"}, work.path),
            lambda: work.checkpoint({}),
            work.heartbeat,
            lambda: project.commit("mine", {"c.txt": "c"}, work.path),
            lambda: work.complete(summary="done", detailed_work="all"),
            lambda: project.write({"two.txt": "2"}, shared.path),
            lambda: shared.fail("no"),
            lambda: orch.worktrees.snapshot("ada"),
            lambda: orch.worktrees.merge("ada"),
            lambda: orch.worktrees.remove("ada"),
            lambda: orch.worktrees.restore(
                orch.worktrees.rescue()[0], project.folder.parent / "back"
            ),
            lambda: orch.worktrees.create("three", path="../elsewhere/three", branch="topic/three"),
            lambda: orch.worktrees.remove("three"),
            orch.worktrees.repair,
            orch.worktrees.list,
        ]
        for number, step in enumerate(steps):
            step()
            assert fingerprint(project) == before, number
    project.assert_sound()
    assert os.environ.get("GIT_INDEX_FILE") is None
