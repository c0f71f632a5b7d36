"""What lies in a worktree is files: nothing in it is obeyed by git, or leads out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3

import pygit2
import pytest
from pygit2.enums import ObjectType

import vespera_orchestrator as vespera
from support.git_project import git
from vespera_orchestrator.errors import UnsavedFilesError, VesperaError
from vespera_orchestrator.worktrees import engine, lost_objects

DONE = {"summary": "s", "detailed_work": "d"}
DRIVERS = """
[core]
    fsmonitor = touch {marks}/fsmonitor
    hooksPath = {marks}/hooks
[filter "x"]
    clean = touch {marks}/clean
    smudge = touch {marks}/smudge
[diff "x"]
    textconv = touch {marks}/textconv
    command = touch {marks}/diff
[merge "x"]
    driver = touch {marks}/merge
[uploadpack]
    packObjectsHook = touch {marks}/pack
[gpg]
    program = touch {marks}/gpg
[commit]
    gpgsign = true
"""


@pytest.fixture
def marks(tmp_path):
    """A folder in which every command of a hostile repository would leave a file."""
    folder = tmp_path / "marks"
    (folder / "hooks").mkdir(parents=True)
    for name in ("pre-commit", "post-checkout", "reference-transaction", "post-index-change"):
        hook = folder / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {folder}/{name}\n")
        hook.chmod(0o755)
    return folder


def hostile_repository(folder, marks):
    """Make a repository whose settings run commands, with a change that git would filter."""
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "y").write_text("y")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "y")
    (folder / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    (folder / "y").write_text("changed")
    with (folder / ".git" / "config").open("a") as config:
        config.write(DRIVERS.format(marks=marks))


def work_beside(project, fill):
    """Do a task in a worktree into which *fill* puts something, and look at everything."""
    with vespera.open(project.folder) as orch:
        orch.initialize_session("x", project_type="software_development")
        orch.plan_tasks([{"title": "A"}, {"title": "B"}])
        with orch.execute_task("a", worktree=True) as work:
            fill(work.path)
            work.checkpoint({"a": 1})
            try:
                work.complete(**DONE)
            except UnsavedFilesError:
                work.release()
        orch.worktrees.list()
        orch.worktrees.forecast()
        orch.check()
        return str(orch.get_task("a").status)


def test_settings_of_a_repository_in_a_worktree_run_nothing(project, marks):
    """An agent may have unpacked an archive with a ``.git`` folder of its own."""
    work_beside(project, lambda path: hostile_repository(path / "vendor", marks))
    assert [each.name for each in marks.iterdir()] == ["hooks"]


def test_a_git_file_that_points_elsewhere_leads_nowhere(project, marks, tmp_path):
    """The repository at its other end is somebody's, and stays as it is."""
    elsewhere = tmp_path / "elsewhere"
    hostile_repository(elsewhere, marks)
    before = {path: path.read_bytes() for path in (elsewhere / ".git").rglob("*") if path.is_file()}

    def fill(path):
        (path / "sub").mkdir()
        (path / "sub" / ".git").write_text(f"gitdir: {elsewhere}/.git\n")
        (path / "sub" / "y").write_text("ours")

    work_beside(project, fill)
    assert [each.name for each in marks.iterdir()] == ["hooks"]
    after = {path: path.read_bytes() for path in (elsewhere / ".git").rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("opened", [".", "server"])
def test_a_folder_that_looks_like_a_bare_repository_is_none(project, marks, opened):
    """Git takes such a folder of the tree for a repository, with the commands in its settings."""
    bare = project.folder / "server"
    for name in ("objects", "refs/heads"):
        (bare / name).mkdir(parents=True)
        (bare / name / "keep").touch()
    (bare / "HEAD").write_text("ref: refs/heads/main\n")
    settings = "[core]\n    repositoryformatversion = 0\n    bare = false\n    worktree = ..\n"
    (bare / "config").write_text(settings + DRIVERS.format(marks=marks))
    project.git("add", "-A", "-f")
    project.git("commit", "-qm", "bare")
    with vespera.open(project.folder / opened) as orch:
        assert orch.project == project.folder
        orch.initialize_session("x")
        orch.plan_task("A")
        with orch.execute_task("a", worktree=True) as work:
            (work.path / "f").write_text("1")
            work.complete(**DONE)
    assert [each.name for each in marks.iterdir()] == ["hooks"]
    assert {each.name for each in bare.iterdir()} == {"HEAD", "config", "objects", "refs"}


def test_a_link_where_documents_go_is_not_followed(project, tmp_path):
    """Neither the folder nor a file behind it is written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("kept")
    (project.folder / "docs").symlink_to(outside)
    (project.folder / "CHANGELOG.md").symlink_to(outside / "secret")
    project.git("add", "-A")
    project.git("commit", "-qm", "links")
    with vespera.open(project.folder) as orch:
        orch.initialize_session("x", project_type="software_development")
        orch.plan_task("A")
        with orch.execute_task("a", worktree=True) as work:
            (work.path / "f.py").write_text("x = 1\n")
            work.complete(**DONE)
        orch.documents.update()
    assert [each.name for each in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "kept"


def test_pipes_and_hard_links_in_a_worktree_hold_nothing_up(project):
    """A pipe is no file; a second name of a file is a file."""

    def fill(path):
        os.mkfifo(path / "pipe")
        (path / "new").write_text("1")
        os.link(path / "new", path / "second")

    assert work_beside(project, fill) == "completed"
    assert "second" in project.git("ls-tree", "--name-only", "integration")


@pytest.mark.parametrize("name", ["a", "mine"])
def test_rows_of_a_database_name_no_folder_of_yours(project, name):
    """Neither any folder, nor a worktree that you made yourself, is taken for the task's own."""
    folder = project.folder
    yours = folder.parent / "mine"
    git(folder, "worktree", "add", "-q", yours, "-b", "mine")
    (yours / "precious").write_text("kept")
    with vespera.open(folder, durability="normal") as orch:
        orch.initialize_session("x")
        orch.plan_task("A")
        orch.execute_task("a", worktree=True)
        orch.release("a")
    with contextlib.closing(sqlite3.connect(orch.home / "orchestrator.db")) as database:
        row = {"name": name, "path": str(yours), "branch": "mine", "home_id": ""}
        columns = ", ".join(f"{column} = :{column}" for column in row)
        database.execute(f"UPDATE worktrees SET {columns}", row)
        database.execute("UPDATE tasks SET worktree = ?", [name])
        database.commit()
    calls = [
        lambda orch: orch.execute_task("a"),
        lambda orch: orch.complete_task("a", summary="s", detailed_work="d"),
        lambda orch: orch.worktrees.merge(name),
        lambda orch: orch.worktrees.remove(name),
        lambda orch: orch.repair(),
    ]
    for call in calls:
        with vespera.open(folder, durability="normal") as orch, contextlib.suppress(VesperaError):
            call(orch)
    assert (yours / "precious").read_text() == "kept"
    assert git(yours, "status", "--porcelain") == "?? precious"
    assert git(yours, "branch", "--show-current") == "mine"


# --- commits that git would not have written -------------------------------------------

COMMITS = {
    "an encoding that nobody knows": {"extra": b"encoding zzz\n"},
    "an encoding that is none of text": {"extra": b"encoding rot13\n"},
    "no author": {"author": b""},
    "a time of twenty digits": {"author": b"Eve <e@x> 99999999999999999999 +0000"},
    "words of ours": {"message": b"snapshot\n\nNested: zz\nOperation: zz\nMarked: zz\n"},
}


def commit_of(repo, *, author=b"Eve <e@x> 1700000000 +0000", extra=b"", message=b"\xff evil\n"):
    """Write a commit on top of HEAD with the same files, whatever the words are."""
    head = repo.head.peel(pygit2.Commit)
    lines = f"tree {head.tree_id}\nparent {head.id}\n".encode()
    lines += b"author " + author + b"\ncommitter " + author + b"\n" + extra + b"\n" + message
    return str(repo.write(ObjectType.COMMIT, lines))


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("heads/main", "no author"),
        ("heads/main", "an encoding that nobody knows"),
        ("heads/integration", "a time of twenty digits"),
        ("heads/feature/a", "an encoding that nobody knows"),
        ("vespera/wip/a", "an encoding that nobody knows"),
        ("vespera/wip/a", "an encoding that is none of text"),
        ("vespera/history/a", "words of ours"),
        ("vespera/landed/a", "words of ours"),
    ],
)
def test_a_commit_of_somebody_breaks_no_call(project, monkeypatch, ref, words):
    """Nobody looks at commits when they are fetched; each call works, or says what is wrong."""
    monkeypatch.setattr(engine, "_PAUSES_S", ())
    monkeypatch.setattr(lost_objects, "_PAUSES_S", ())
    with vespera.open(project.folder, durability="normal") as orch:
        orch.initialize_session("x")
        orch.plan_tasks([{"title": "A"}, {"title": "B"}])
        work = orch.execute_task("a", worktree=True)
        (work.path / "f").write_text("1")
        work.checkpoint({})
        commit = commit_of(pygit2.Repository(project.folder), **COMMITS[words])
        file = project.folder / ".git" / "refs" / ref
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{commit}\n")
        for call in (
            orch.worktrees.forecast,
            lambda: work.checkpoint({"a": 1}),
            lambda: orch.worktrees.catch_up("a"),
            lambda: orch.execute_task("b", worktree=True),
            lambda: orch.worktrees.merge("a", style="merge"),
            orch.repair,
        ):
            with contextlib.suppress(VesperaError):
                call()
        assert orch.get_task("a").title == "A"


# --- trees that git would not have written ---------------------------------------------


def tree_of(repo, *entries):
    """Write a tree of names and what they stand for, whatever the names are.

    Bytes are a file, a path is a link to it, and a tuple holds the entries of a folder.
    """
    content = b""
    for name, entry in entries:
        kind, mode = ObjectType.BLOB, b"100644"
        if isinstance(entry, tuple):
            mode, oid = b"40000", tree_of(repo, *entry)
        elif isinstance(entry, bytes):
            oid = repo.write(kind, entry)
        else:
            mode, oid = b"120000", repo.write(kind, os.fsencode(entry))
        content += mode + b" " + name + b"\0" + oid.raw
    return repo.write(ObjectType.TREE, content)


def leading_out(outside):
    """Return entries of trees whose files would be written into the folder *outside*."""
    levels = (3, 4)
    """From a folder of the worktree, and from the admin directory."""
    dots = [(b"outside", ((b"owned", b"x"),))]
    for _ in levels:
        dots.append((b"..", (dots[-1],)))
    return {
        "two dots": [(b"..", ((b"..", tuple(dots[1:])),))],
        "a name with slashes": [(b"../" * level + b"outside/owned", b"x") for level in levels],
        "a whole path": [(os.fsencode(outside / "owned"), b"x")],
        "a folder behind a link": [(b"l", outside), (b"l", ((b"owned", b"x"),))],
    }


WAYS_OUT = ["two dots", "a name with slashes", "a whole path", "a folder behind a link"]


@pytest.mark.parametrize("beside", ["Nested", "Operation"])
@pytest.mark.parametrize("way", WAYS_OUT)
def test_what_somebody_saved_beside_a_snapshot_leads_nowhere(project, trees, way, beside):
    """Git takes any names over the network, and a colleague's refs may be fetched."""
    folder = project.folder.parent
    outside = folder / "outside"
    outside.mkdir()
    worktree = trees.create("work")
    saved = trees.snapshot("work").commit
    repo = pygit2.Repository(project.folder)
    entries = leading_out(outside)[way]
    if beside == "Nested":
        tree = tree_of(repo, (b"sub", ((b"files", tuple(entries)), (b"nogit", b""))))
    else:
        note = (b"vespera", ((b"branch", b"agent/work\n\n"),))
        tree = tree_of(repo, (b"MERGE_HEAD", saved.encode() + b"\n"), *entries, note)
    commit = git(project.folder, "commit-tree", str(tree), "-m", "beside")
    line = f"Nested: {commit}" if beside == "Nested" else "Operation: merge"
    message = f"snapshot\n\nWorktree: work\nBranch: {worktree.branch}\n{line}\n"
    words = ("commit-tree", f"{saved}^{{tree}}", "-p", saved, "-p", commit, "-m", message)
    snapshot = git(project.folder, *words)
    git(project.folder, "update-ref", "refs/vespera/wip/work", snapshot)
    git(project.folder, "update-ref", "refs/remotes/origin/evil", snapshot)
    shutil.rmtree(worktree.path)
    shutil.rmtree(project.folder / ".git" / "worktrees" / "work")
    for call in (
        lambda: trees.create("work"),
        lambda: trees.restore("refs/vespera/wip/work", folder / "back" / "one"),
        lambda: trees.restore("refs/remotes/origin/evil", folder / "back" / "two"),
    ):
        with contextlib.suppress(VesperaError):
            call()
    assert list(outside.iterdir()) == []


def test_a_branch_of_somebody_brings_no_repository(project, trees, tmp_path):
    """Its settings would run commands: only what was saved here brings repositories along."""
    repo = pygit2.Repository(project.folder)
    git_dir = ((b"config", b"[core]\n\tfsmonitor = evil\n"), (b"HEAD", b"ref: refs/heads/main\n"))
    tree = tree_of(repo, (b"sub", ((b"git", git_dir),)))
    beside = git(project.folder, "commit-tree", str(tree), "-m", "beside")
    message = f"snapshot\n\nNested: {beside}\n"
    words = ("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-p", beside, "-m", message)
    git(project.folder, "update-ref", "refs/remotes/origin/evil", git(project.folder, *words))
    for number, ref in enumerate(["refs/remotes/origin/evil", "refs/remotes/origin/evil~0"]):
        restored = trees.restore(ref, tmp_path / f"restored{number}")
        assert not (restored / "sub").exists()
