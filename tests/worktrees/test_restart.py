"""The first call after the machine was started again: dead locks go, lost files come back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vespera_orchestrator.home import machine


@pytest.fixture
def start_again(monkeypatch):
    """A function after which the machine counts as started again, a moment ago."""

    def start():
        now = time.time()
        monkeypatch.setattr(machine, "boot_id", lambda: f"start of {now}")
        monkeypatch.setattr(machine, "started_at", lambda: now - 60)

    return start


def test_locks_from_before_the_start_are_gone(project, trees, start_again):
    """Nobody can hold them any more; a younger one may be somebody's, and stays."""
    worktree = trees.create("work")
    git_dir = project.folder / ".git"
    old = [git_dir / "refs/vespera/wip/work.lock", git_dir / "packed-refs.lock"]
    young = git_dir / "refs/vespera/wip/other.lock"
    young.parent.mkdir(parents=True, exist_ok=True)
    for lock in (*old, young):
        lock.touch()
    for lock in old:
        os.utime(lock, (time.time() - 3600,) * 2)
    start_again()
    project.write({"new.txt": "new"}, worktree.path)
    saved = project.open().snapshot("work")
    assert project.git("show", f"{saved.commit}:new.txt") == "new"
    assert not any(lock.exists() for lock in old)
    assert young.exists()


def test_a_folder_in_which_all_files_are_missing_gets_them_back(project, trees, start_again):
    """Their names had not come to the disk. That is no wish to delete the project."""
    worktree = trees.create("work")
    project.write({"new.txt": "new"}, worktree.path)
    trees.snapshot("work")
    files = [path for path in Path(worktree.path).rglob("*") if path.is_file()]
    for path in files:
        if path.name != ".git":
            path.unlink()
    start_again()
    saved = project.open().snapshot("work")
    assert project.git("show", f"{saved.commit}:new.txt") == "new"
    assert all(path.exists() for path in files)


def test_a_deletion_before_a_restart_stays_one(project, trees, start_again):
    """As long as anything is there."""
    worktree = trees.create("work")
    trees.snapshot("work")
    Path(worktree.path, "a.txt").unlink()
    start_again()
    saved = project.open().snapshot("work")
    assert "a.txt" not in project.git("ls-tree", "--name-only", saved.commit).split()


def test_the_machine_says_when_it_was_started():
    """Where the system tells."""
    assert 0 <= machine.started_at() < time.time()
