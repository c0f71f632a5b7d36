"""What a child process inherits of git: its configuration, but no repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import git
from vespera_orchestrator.home.environment import LOCAL_GIT_VARIABLES, without_repository


def test_every_variable_that_git_calls_local_is_known():
    """Git's own list; a newer git may add to it."""
    listed = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) <= LOCAL_GIT_VARIABLES


def test_the_user_s_configuration_is_inherited():
    """Who commits, and which files are read: that says nothing of a repository."""
    kept = {"GIT_AUTHOR_NAME": "Ada", "GIT_CONFIG_GLOBAL": "/x", "PATH": "/bin"}
    local = dict.fromkeys(LOCAL_GIT_VARIABLES, "/other")
    assert without_repository({**kept, **local}) == kept


@pytest.fixture
def repositories(tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """The project, and another repository that the environment leads to."""
    for name in ("project", "other"):
        folder = tmp_path / name
        folder.mkdir()
        git(folder, "init", "-q")
        (folder / f"{name}.txt").write_text("first\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "first")
    return tmp_path / "project", tmp_path / "other"


AGENT = """
import pathlib, subprocess, sys
import vespera_orchestrator as vespera
with vespera.open() as orch:
    work = orch.execute_task("two", worktree=True)
    pathlib.Path(work.path, "two.txt").write_text("by the agent")
    subprocess.run(["git", "add", "-A"], cwd=work.path, check=True)
    subprocess.run(["git", "commit", "-qm", "own commit"], cwd=work.path, check=True)
    work.complete(summary="s", detailed_work="d")
"""


def test_a_hook_s_environment_reaches_neither_us_nor_our_children(
    repositories, monkeypatch, tmp_path
):
    """In a hook of another repository, libgit2, git, the check before landing and an agent's own
    git work on the project; the other repository stays as it is, byte for byte.
    """
    project, other = repositories
    config = project / ".task_orchestrator" / "config.toml"
    config.parent.mkdir()
    check = 'test -z "$GIT_DIR$GIT_INDEX_FILE$GIT_OBJECT_DIRECTORY$GIT_CONFIG_PARAMETERS"'
    config.write_text(f"[worktrees]\ncheck = '{check}'\n")
    clean = dict(os.environ)

    def state():
        files = [path for path in other.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files}

    before = state()
    for name in LOCAL_GIT_VARIABLES:
        monkeypatch.setenv(name, str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git" / "objects"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.bare'='true'")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")

    with vespera.open(project) as orch:
        orch.initialize_session("x")
        orch.plan_tasks([{"title": "one"}, {"title": "two"}])
        work = orch.execute_task("one", worktree=True)
        (work.path / "one.txt").write_text("one")
        # Such an index is read by the git command line, which is given our environment.
        subprocess.run(
            ["git", "update-index", "--split-index"], cwd=work.path, env=clean, check=True
        )
        work.checkpoint({})
        assert work.complete(summary="s", detailed_work="d").status == "completed"
        for base in (None, dict(os.environ)):
            environ = orch.spawn_agent_with_context("two", agent="kid").environ(base)
            assert not LOCAL_GIT_VARIABLES & environ.keys()
        subprocess.run([sys.executable, "-c", AGENT], env=environ, cwd=tmp_path, check=True)
        assert orch.get_task("two").status == "completed"

    for name in LOCAL_GIT_VARIABLES:
        monkeypatch.delenv(name)
    assert state() == before
    landed = git(project, "ls-tree", "--name-only", "integration").split()
    assert landed == ["one.txt", "project.txt", "two.txt"]
    assert git(project, "fsck", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda orch: orch.backup("kept"),
        lambda orch: orch.export("all.jsonl"),
        lambda orch: orch.artifacts.export("files"),
        lambda orch: orch.worktrees.restore("HEAD", "files"),
    ],
)
def test_a_current_folder_that_is_gone(project, tmp_path, call):
    """A relative path leads nowhere then; everything else works."""
    gone = tmp_path / "gone"
    gone.mkdir()
    before = Path.cwd()
    with vespera.open(project.folder) as orch:
        orch.initialize_session("x")
        os.chdir(gone)
        gone.rmdir()
        try:
            orch.plan_task("Task")
            with pytest.raises(vespera.InvalidInputError, match="current folder is gone"):
                call(orch)
        finally:
            os.chdir(before)
