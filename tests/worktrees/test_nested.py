"""Repositories inside a worktree are kept with its snapshots: files, history, branches, stash."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import Project
from vespera_orchestrator.errors import DirtyCheckoutError
from vespera_orchestrator.worktrees import nested
from vespera_orchestrator.worktrees.operation import operation_of

NOT_UTF8 = os.fsdecode(b"caf\xe9.txt")


@pytest.fixture
def trees(project):
    """Return the worktrees of the project."""
    return project.open()


@pytest.fixture
def folder(trees):
    """Return the folder of a worktree."""
    return Path(trees.create("work").path)


def begin(project, place):
    """Make an empty repository."""
    place.mkdir(parents=True)
    project.git("init", "-q", cwd=place)
    return place


def with_history(project, place):
    """Make a repository with commits, branches, a stash, staged and unstaged edits."""
    begin(project, place)
    project.commit("one", {"a.txt": "1\n", "deep/b.txt": "b\n", ".gitignore": "*.log\n"}, place)
    project.git("branch", "other", cwd=place)
    project.commit("two", {"a.txt": "2\n"}, place)
    project.write({"a.txt": "stashed\n"}, place)
    project.git("stash", cwd=place)
    project.write({"staged.txt": "s\n"}, place)
    project.git("add", "staged.txt", cwd=place)
    project.write({"a.txt": "edited\n", "new.txt": "n\n", "debug.log": "ignored\n"}, place)
    (place / "run.sh").write_text("#!/bin/sh\n")
    (place / "run.sh").chmod(0o755)
    (place / "link").symlink_to("a.txt")
    (place / NOT_UTF8).write_text("é")
    return place


def state_of(project, place):
    """Return all that git says about a repository, and its files."""
    project.git("fsck", "--strict", cwd=place)
    answers = [
        project.git(*words, cwd=place)
        for words in (
            ("status", "--short", "--branch"),
            ("log", "--all", "--oneline", "--graph"),
            ("for-each-ref",),
            ("stash", "list"),
            ("diff", "HEAD"),
        )
    ]
    return answers, files_of(place)


def files_of(place):
    """Return the files below *place* outside of git directories, with mode and content."""
    files = {}
    for above, names, own in os.walk(place):
        names[:] = [name for name in names if name != ".git"]
        for name in own:
            path = Path(above, name)
            content = path.readlink() if path.is_symlink() else path.read_bytes()
            executable = bool(path.lstat().st_mode & 0o100)
            if name not in {".git", "debug.log"}:
                files[str(path.relative_to(place))] = content, executable
    return files


# --- kept and brought back ---------------------------------------------------


def test_a_repository_inside_comes_back_as_it_was(project, trees, folder):
    """With history, branches, stash, index and files; what its own .gitignore names is not kept."""
    app = with_history(project, folder / "app")
    before = state_of(project, app)
    snapshot = trees.snapshot("work")
    assert snapshot.skipped == ("app",)
    shutil.rmtree(folder)
    assert Path(trees.create("work").path) == folder
    assert state_of(project, app) == before
    assert not (app / "debug.log").exists()
    assert trees.snapshot("work").skipped == ("app",)
    project.assert_sound()


def test_one_without_a_commit(project, trees, folder):
    """It is a repository again, with its files untracked."""
    app = begin(project, folder / "app")
    project.write({"page.tsx": "1\n"}, app)
    trees.snapshot("work")
    shutil.rmtree(folder)
    trees.create("work")
    assert project.git("status", "--short", cwd=app) == "?? page.tsx"
    assert (app / "page.tsx").read_text() == "1\n"


def test_repositories_inside_of_repositories(project, trees, folder):
    """However deep."""
    with_history(project, folder / "app")
    inner = begin(project, folder / "app" / "lib" / "inner")
    project.commit("inner", {"x.txt": "x\n"}, inner)
    project.write({"x.txt": "y\n"}, inner)
    before = state_of(project, folder / "app"), state_of(project, inner)
    trees.snapshot("work")
    shutil.rmtree(folder)
    trees.create("work")
    assert (state_of(project, folder / "app"), state_of(project, inner)) == before


def test_a_linked_worktree_of_another_repository(project, trees, folder, make):
    """Its history is elsewhere; its files and the way there are kept."""
    other = make(name="other", files={"o.txt": "o\n"})
    place = folder / "linked"
    other.git("worktree", "add", "-q", str(place))
    project.write({"o.txt": "edited\n"}, place)
    before = state_of(other, place)
    trees.snapshot("work")
    shutil.rmtree(folder)
    trees.create("work")
    assert (place / ".git").is_file()
    assert (place / "o.txt").read_text() == "edited\n"
    other.git("read-tree", "HEAD", cwd=place)
    assert state_of(other, place) == before


def test_a_change_inside_makes_a_snapshot_and_nothing_else_does(project, trees, folder):
    """The same repositories give the same commit; every earlier state stays reachable."""
    app = with_history(project, folder / "app")
    first = trees.snapshot("work")
    assert first.changed
    assert not trees.snapshot("work").changed
    project.write({"a.txt": "later\n"}, app)
    second = trees.snapshot("work")
    assert second.changed
    assert second.tree == first.tree
    project.git("commit", "-qam", "three", cwd=app)
    third = trees.snapshot("work", passing=True)
    assert third.changed
    project.git("gc", "-q", "--prune=now")
    contents = [project.git("show", f"{inside(trees, each)}:app/files/a.txt") for each in (first,)]
    contents += [project.git("show", f"{inside(trees, second)}:app/files/a.txt")]
    assert contents == ["edited", "later"]
    (app / ".git").rename(folder.parent / "git")
    assert trees.snapshot("work").skipped == ()
    assert not nested.nested_commit(trees._engine._repository().open(), head(project))


def inside(trees, snapshot):
    """Return the nested commit of a snapshot."""
    return nested.nested_commit(trees._engine._repository().open(), snapshot.commit)


def head(project, name="work"):
    """Return the latest snapshot."""
    return project.git("rev-parse", f"refs/vespera/wip/{name}")


def test_beside_a_rebase_that_is_under_way(project, trees, folder):
    """Both come back."""
    project.commit("mine", {"a.txt": "mine\n"}, folder)
    base = project.git("rev-parse", "main")
    project.git("checkout", "-q", "-b", "elsewhere", base, cwd=folder)
    project.commit("theirs", {"a.txt": "theirs\n"}, folder)
    project.git("checkout", "-q", "-", cwd=folder)
    project.git("rebase", "elsewhere", cwd=folder, check=False)
    app = with_history(project, folder / "app")
    before = state_of(project, app)
    snapshot = trees.snapshot("work")
    assert operation_of(trees._engine._repository().open(), snapshot.commit) == "rebase"
    shutil.rmtree(folder)
    project.git("worktree", "remove", "-f", "-f", str(folder))
    trees.create("work")
    assert state_of(project, app) == before
    assert "rebase in progress" in project.git("status", cwd=folder)


# --- submodules ----------------------------------------------------------------------


@pytest.fixture
def lib(project, trees, tmp_path):
    """Return a submodule, initialised in the worktree."""
    library = Project(tmp_path / "library")
    library.git("init", "-q")
    library.commit("first", {"lib.py": "x = 1\n"})
    with (tmp_path / "gitconfig").open("a") as config:
        config.write('[protocol "file"]\n\tallow = always\n')
    project.git("submodule", "add", "-q", str(library.folder), "vendor/lib")
    project.commit("with the library")
    folder = Path(trees.create("work").path)
    project.git("submodule", "update", "-q", "--init", cwd=folder)
    return folder / "vendor" / "lib"


def test_edits_and_commits_in_a_submodule_come_back(project, trees, lib):
    """As a submodule at the commit that it was at, with its remote."""
    project.commit("mine", {"lib.py": "x = 2\n"}, lib)
    project.write({"lib.py": "x = 3\n", "new.py": "n\n"}, lib)
    before = state_of(project, lib)
    outside = project.git("status", "--short", cwd=lib.parent)
    trees.snapshot("work")
    shutil.rmtree(lib.parent.parent)
    trees.create("work")
    assert state_of(project, lib) == before
    assert project.git("status", "--short", cwd=lib.parent) == outside
    assert project.git("remote", cwd=lib) == "origin"


def test_a_worktree_with_a_submodule_that_nobody_touched_is_removed(project, trees, lib):
    """All of it is in its remote, so nothing need be kept."""
    removed = trees.remove("work")
    assert not lib.exists()
    assert "Nested: " not in project.git("log", "-1", "--format=%B", removed.rescue_ref)
    project.assert_sound()


@pytest.mark.parametrize("own", ["branch", "stash"])
def test_what_only_a_submodule_has_is_kept_when_it_is_removed(project, trees, lib, own, tmp_path):
    """A branch that was not pushed, a stash: nothing in its files shows them."""
    project.write({"lib.py": "x = 5\n"}, lib)
    if own == "stash":
        project.git("stash", cwd=lib)
    else:
        project.git("switch", "-q", "-c", "mine", cwd=lib)
        project.git("commit", "-qam", "mine", cwd=lib)
        project.git("switch", "-q", "main", cwd=lib)
    before = state_of(project, lib)
    removed = trees.remove("work")
    restored = trees.restore(removed.rescue_ref, tmp_path / "restored")
    assert state_of(project, restored / "vendor" / "lib") == before


# --- removed, restored, landed -------------------------------------------------------


def test_removing_keeps_it_with_the_last_state(project, trees, folder, tmp_path):
    """`restore` writes it out, and going on with the worktree does too."""
    app = with_history(project, folder / "app")
    before = state_of(project, app)
    trees.snapshot("work")
    project.write({"n.txt": "n"}, folder)
    removed = trees.remove("work")
    assert removed.unlanded
    assert not folder.exists()
    restored = trees.restore(removed.rescue_ref, tmp_path / "restored")
    assert state_of(project, restored / "app") == before
    again = Path(trees.create("work", resume=True).path)
    assert state_of(project, again / "app") == before
    project.assert_sound()


@pytest.mark.parametrize("style", ["squash", "merge", "fast-forward"])
def test_it_never_lands(project, trees, folder, style):
    """What lands beside it has neither its files nor its commit."""
    with_history(project, folder / "app")
    project.write({"n.txt": "n"}, folder)
    snapshot = trees.snapshot("work")
    kept = inside(trees, snapshot)
    trees.merge("work", style=style)
    assert project.git("show", "integration:n.txt") == "n"
    assert "app" not in project.git("ls-tree", "-r", "--name-only", "integration")
    assert kept not in project.git("rev-list", "integration").split()
    assert not trees.is_merged("work")


def test_a_large_history_is_left_where_it_is(project, trees, folder, monkeypatch):
    """Files are kept, and its folder stays a repository; removing it is refused."""
    monkeypatch.setattr(nested, "MOST_GIT_DIR_BYTES", 60_000)
    app = begin(project, folder / "app")
    project.commit("big", {"big.bin": os.urandom(40_000), "a.txt": "1\n"}, app)
    project.write({"a.txt": "2\n"}, app)
    trees.snapshot("work")
    with pytest.raises(DirtyCheckoutError, match="repositories of their own"):
        trees.remove("work")
    shutil.rmtree(folder)
    trees.create("work")
    assert (app / "a.txt").read_text() == "2\n"
    assert project.git("status", "--short", "a.txt", cwd=app) == "?? a.txt"
    assert trees.snapshot("work").skipped == ("app",)


# --- odd ones --------------------------------------------------------------------------


def test_a_folder_that_only_looks_like_a_repository(project, trees, folder):
    """An empty .git is none: the repository above it is not taken for it. It is kept apart."""
    project.write({"app/page.tsx": "1\n"}, folder)
    (folder / "app" / ".git").mkdir()
    snapshot = trees.snapshot("work")
    assert snapshot.skipped == ("app",)
    files = project.git("ls-tree", "-r", "--name-only", inside(trees, snapshot))
    assert files == "app/files/page.tsx"


def test_a_damaged_one_costs_nothing_else(project, trees, folder):
    """It is named and kept as it is, and the rest is saved."""
    app = with_history(project, folder / "app")
    (app / ".git" / "index").write_bytes(b"nonsense")
    (app / ".git" / "config").write_bytes(b"[nonsense")
    project.write({"n.txt": "n"}, folder)
    snapshot = trees.snapshot("work")
    assert snapshot.skipped == ("app",)
    assert project.git("show", f"{snapshot.commit}:n.txt") == "n"
    before = {path: path.read_bytes() for path in app.rglob("*") if path.is_file()}
    trees.remove("work")
    assert Path(trees.create("work", resume=True).path) == folder
    assert {path: path.read_bytes() for path in app.rglob("*") if path.is_file()} == before


def test_a_killed_write_is_finished_by_the_next(project, trees, folder, monkeypatch):
    """A repository is there whole, or not yet."""
    app = with_history(project, folder / "app")
    before = state_of(project, app)
    trees.snapshot("work")
    shutil.rmtree(folder)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nested, "_forget_place", die)
        with pytest.raises(KeyboardInterrupt):
            trees.create("work")
    assert not (app / ".git").exists()
    trees.create("work")
    assert state_of(project, app) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_on_a_full_disk_nobody_begins_without_it(project, trees, folder, monkeypatch, number):
    """The worktree is not made until there is room; then all of it is there."""
    app = with_history(project, folder / "app")
    before = state_of(project, app)
    trees.snapshot("work")
    shutil.rmtree(folder)

    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(nested, "_forget_place", refuse)
        with pytest.raises(vespera.GitFailedError, match=os.strerror(number)):
            trees.create("work")
    trees.create("work")
    assert state_of(project, app) == before


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "link/app", "."])
def test_nothing_is_written_outside_of_the_worktree(project, trees, folder, path):
    """A nested commit may come from elsewhere."""
    app = begin(project, folder / "app")
    project.write({"evil.txt": "e"}, app)
    snapshot = trees.snapshot("work")
    repo = trees._engine._repository().open()
    saved = repo[inside(trees, snapshot)].tree["app"]
    target = folder.parent / "target"
    target.mkdir()
    (target / "link").symlink_to(folder.parent)
    with pytest.raises(ValueError, match="leads out of the worktree"):
        nested._write_repository(saved, target, path)
    assert list(folder.parent.rglob("evil.txt")) == [app / "evil.txt"]
