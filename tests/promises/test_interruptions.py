"""Ctrl-C between any two lines of a call: no file stays open when the object is gone, nothing stays
locked, and the next call goes on.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository
from support.lines import run_traced
from vespera_orchestrator.home import files

SOURCE = str(Path(vespera.__file__).parent)
MOST = 8
"""How many lines are tried where not all are."""


def work(folder):
    """Open a home, do a little of everything, and close it."""
    folder.mkdir()
    with vespera.open(folder) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("One")
        held = orch.execute_task("one")
        held.checkpoint({"half": True})
        held.save_artifact("Notes", "text")
        held.complete(summary="done", detailed_work="# One\n")
        orch.backup(folder.parent / f"{folder.name}-backup")


def open_files():
    """Return what this process has open, by number."""
    places = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            places[entry.name] = str(entry.readlink())
        except FileNotFoundError:  # the one that listed them
            continue
    return places


def is_disposing():
    """Whether a destructor runs."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def interrupt_at(line, call, below=SOURCE):
    """Interrupt a call where this line first runs; return the files that stay open.

    Not while Python disposes of an object: it prints what is raised there, and goes on.
    """
    is_over = False

    def interrupt(current):
        nonlocal is_over
        if current == line and not is_over and not is_disposing():
            is_over = True
            raise KeyboardInterrupt

    before = open_files()
    with suppress(KeyboardInterrupt):
        run_traced(call, below, interrupt)
    gc.collect()
    return [place for number, place in open_files().items() if number not in before]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("most", [MOST, pytest.param(None, marks=pytest.mark.soak)])
def test_ctrl_c_leaves_no_file_open(tmp_path, most):
    """Wherever it comes."""
    work(tmp_path / "warm")
    lines = {}
    run_traced(lambda: work(tmp_path / "counted"), SOURCE, lines.setdefault)
    chosen = list(lines)
    assert len(chosen) > 1000
    step = 1 if most is None else len(chosen) // most
    leaks = {}
    for number, line in enumerate(chosen[::step]):
        folder = tmp_path / f"n{number}"
        leaked = interrupt_at(line, lambda folder=folder: work(folder))
        if leaked:
            leaks[line] = leaked
    assert leaks == {}


@pytest.mark.parametrize("sync", [files.sync_file, files.sync_folder])
def test_ctrl_c_while_something_is_put_on_disk(tmp_path, monkeypatch, sync):
    """Also while the disk is being waited for."""
    place = tmp_path / "file"
    place.touch()

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    before = open_files()
    with pytest.raises(KeyboardInterrupt):
        sync(place if sync is files.sync_file else tmp_path)
    assert open_files() == before


# --- worktrees and their locks ----------------------------------------------------------

WORKTREES = str(Path(SOURCE, "worktrees"))


@pytest.fixture
def project(tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """A project with a task, and with news on the integration branch that its worktree lacks."""
    folder = make_repository(tmp_path / "place" / "project", {"a.txt": "a\n"})
    with vespera.open(folder, durability="normal") as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks([{"title": "One"}, {"title": "Other"}])
        one = orch.execute_task("one", worktree=True)
        other = orch.execute_task("other", worktree=True, agent="other")
        other.path.joinpath("news.txt").write_text("news\n")
        other.complete(summary="news", detailed_work="news")
        one.release("for later")
        orch.worktrees.remove("one")
    return folder


def work_in_a_worktree(folder):
    """Make a worktree, save, catch up, land and remove it."""
    with vespera.open(folder, durability="normal") as orch:
        held = orch.execute_task("one", worktree=True, take_over=True)
        held.path.joinpath("one.txt").write_text("one\n")
        held.checkpoint({"half": True})
        orch.worktrees.catch_up("one")
        held.complete(summary="done", detailed_work="# One\n")
        orch.worktrees.remove("one")


def finish(folder):
    """Go on with whatever an interruption left; return what is wrong."""
    if git(folder, "rev-parse", "-q", "--verify", "integration:one.txt", check=False) == "":
        work_in_a_worktree(folder)
    with vespera.open(folder, durability="normal") as orch:
        if orch.get_task("one").status != "completed":
            orch.execute_task("one", worktree=True, take_over=True).complete(
                summary="done", detailed_work="# One\n"
            )
        orch.repair()
        wrong = [str(finding) for finding in orch.check().findings]
    names = git(folder, "ls-tree", "-r", "--name-only", "integration").split()
    if not {"a.txt", "news.txt", "one.txt"} <= set(names):
        wrong.append(f"landed: {names}")
    wrong += [str(lock) for lock in folder.joinpath(".git").rglob("*.lock")]
    return wrong


@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("most", [4, pytest.param(None, marks=pytest.mark.soak)])
def test_ctrl_c_in_a_worktree_call(project, tmp_path, most):
    """Wherever it comes, no file and no lock stays, and the work goes on in this process."""
    place, kept = project.parent, tmp_path / "kept"
    shutil.copytree(place, kept, symlinks=True)
    lines = {}
    run_traced(lambda: work_in_a_worktree(project), WORKTREES, lines.setdefault)
    chosen = list(lines)
    assert len(chosen) > 1000
    step = 1 if most is None else len(chosen) // most
    problems = {}
    for line in chosen[::step]:
        shutil.rmtree(place)
        shutil.copytree(kept, place, symlinks=True)
        wrong = interrupt_at(line, lambda: work_in_a_worktree(project), WORKTREES)
        wrong += finish(project)
        if wrong:
            problems[line] = wrong
    assert problems == {}
