"""What a snapshot cannot hold is named, and keeps a task from being called done."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest

import vespera_orchestrator as vespera
from support.git_project import Project
from vespera_orchestrator.errors import UnsavedFilesError

DONE = {"summary": "done", "detailed_work": "All of it."}


@pytest.fixture
def orch(project, tmp_path):
    """Return an orchestrator of a project whose submodule ``lib`` has a newer commit upstream."""
    library = Project(tmp_path / "library")
    library.git("init", "-q")
    library.commit("first", {"lib.py": "x = 1\n"})
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(
            '[protocol "file"]\n\tallow = always\n[receive]\n\tdenyCurrentBranch = ignore\n'
        )
    project.git("submodule", "add", "-q", str(library.folder), "lib")
    project.commit("with the library")
    with vespera.open(project.folder) as opened:
        opened.initialize_session("test")
        opened.plan_task("Part")
        opened.test_project, opened.test_library = project, library
        yield opened


@pytest.fixture
def work(orch):
    """Return the task in progress, with a file of its own."""
    work = orch.execute_task("part", worktree=True)
    orch.test_project.write({"n.txt": "n"}, work.path)
    return work


@pytest.fixture
def lib(orch, work):
    """Return the submodule in the worktree, initialised."""
    orch.test_project.git("submodule", "update", "-q", "--init", cwd=work.path)
    return work.path / "lib"


def run(command, folder):
    """Run what a person would type."""
    subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)


def landed(orch):
    """Return the files on the integration branch."""
    names = orch.test_project.git("ls-tree", "-r", "--name-only", "integration")
    return names.split("\n")


def refused(orch, work, *paths):
    """Check that *paths* are named wherever they should be; return the refusal to complete."""
    saved = work.checkpoint({})
    assert work.left_out == paths
    assert saved.left_out == paths
    event = orch._store.events(kinds=("checkpoint_saved",))[-1]
    assert tuple(event.data["left_out"]) == paths
    assert f"left out of its save: {', '.join(paths)}" in str(orch.get_status())
    assert f"Left out of the last save: {', '.join(paths)} (part)" in orch.resume().lines
    before = orch.test_project.git("for-each-ref", "refs/heads/integration")
    for merge in ("now", "later"):
        with pytest.raises(vespera.UnsavedFilesError) as caught:
            work.complete(**DONE, merge=merge)
    error = caught.value
    assert error.files == paths
    assert error.path == str(work.path)
    assert all(path in str(error) for path in paths)
    assert orch.artifacts.read(error.kept_artifact_id) == b"All of it."
    assert orch.get_task("part").status == "in_progress"
    assert orch.test_project.git("for-each-ref", "refs/heads/integration") == before
    saved = orch.test_project.git("show", "refs/vespera/wip/part:n.txt")
    assert saved == "n"
    return error


# --- repositories inside -----------------------------------------------------------


def scaffold(project, work, *, commits):
    """Do what scaffolding tools do: make a project with a repository of its own."""
    app = work.path / "app"
    app.mkdir()
    project.git("init", "-q", cwd=app)
    project.write({"page.tsx": "export default 1\n"}, app)
    if commits:
        project.commit("Initial commit", folder=app)
    return app


@pytest.mark.parametrize("commits", [False, True])
def test_a_nested_repository(orch, work, commits):
    """Its files are in no snapshot. The command of the error makes them files of the project."""
    scaffold(orch.test_project, work, commits=commits)
    error = refused(orch, work, "app")
    assert "app (kept apart) is a git repository of its own" in str(error)
    assert "rm -rf app/.git" in str(error)
    shutil.rmtree(work.path)  # what is kept apart comes back, too
    with vespera.open(orch.test_project.folder, agent="next") as other:
        again = other.execute_task("part", take_over=True)
        assert again.left_out == ("app",)
        assert "app" in again.briefing()
        run("rm -rf app/.git", again.path)
        assert again.complete(**DONE).status == "completed"
    assert "app/page.tsx" in landed(orch)


def test_a_nested_repository_that_is_left_out(orch, work):
    """Whoever ignores it, or moves it away, has decided."""
    app = scaffold(orch.test_project, work, commits=True)
    refused(orch, work, "app")
    app.rename(work.path.parent / "elsewhere")
    assert work.complete(**DONE).status == "completed"
    assert "n.txt" in landed(orch)


# --- submodules ----------------------------------------------------------------------


def bump(orch, lib):
    """Move the submodule to a newer commit of its upstream, and return that."""
    newest = orch.test_library.commit("second", {"lib.py": "x = 2\n"})
    orch.test_project.git("fetch", "-q", cwd=lib)
    orch.test_project.git("checkout", "-q", newest, cwd=lib)
    return newest


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_a_submodule_moved_on_lands(orch, work, lib, staged, listed):
    """As git would stage it, with or without an entry in .gitmodules."""
    if not listed:
        (work.path / ".gitmodules").unlink()
    newest = bump(orch, lib)
    if staged:
        orch.test_project.git("add", "lib", cwd=work.path)
    work.checkpoint({})
    assert work.left_out == ()
    assert work.complete(**DONE).status == "completed"
    assert orch.test_project.git("rev-parse", "integration:lib") == newest
    orch.test_project.assert_sound()


@pytest.mark.parametrize("staged", [False, True])
def test_a_commit_that_nobody_else_has(orch, work, lib, staged):
    """A submodule's own commit lands once it was pushed."""
    commit = orch.test_project.commit("mine", {"lib.py": "x = 3\n"}, lib)
    if staged:
        orch.test_project.git("add", "lib", cwd=work.path)
    error = refused(orch, work, "lib")
    [command] = [part for part in str(error).split(": ") if part.startswith("git -C lib push")]
    run(command.replace("NAME", "mine"), work.path)
    assert work.complete(**DONE).status == "completed"
    assert orch.test_project.git("rev-parse", "integration:lib") == commit


@pytest.mark.parametrize("path", ["lib.py", "new.py"])
def test_edits_in_a_submodule(orch, work, lib, path):
    """They are in no snapshot; without them the rest lands."""
    orch.test_project.write({path: "two hours of work\n"}, lib)
    error = refused(orch, work, "lib")
    run(str(error).rpartition(": ")[2], work.path)
    assert work.complete(**DONE).status == "completed"
    assert "n.txt" in landed(orch)


def test_files_in_a_submodule_that_was_not_initialised(orch, work):
    """Git does not see them. They are named, kept, and do not count as done."""
    orch.test_project.write({"deep/mine.py": "two hours of work\n"}, work.path / "lib")
    error = refused(orch, work, "lib")
    assert "git submodule update --init" in str(error)
    shutil.rmtree(work.path)
    with vespera.open(orch.test_project.folder, agent="next") as other:
        again = other.execute_task("part", take_over=True)
        mine = again.path / "lib" / "deep" / "mine.py"
        assert mine.read_text() == "two hours of work\n"
        mine.rename(again.path / "mine.py")
        run("rm -rf lib/deep && git submodule update -q --init", again.path)
        assert again.complete(**DONE).status == "completed"
    assert {"mine.py", "n.txt"} <= set(landed(orch))


def test_a_submodule_that_git_cannot_read(orch, work):
    """It is named, and the rest is saved."""
    (work.path / "lib" / ".git").write_text("gitdir: /nowhere\n")
    error = refused(orch, work, "lib")
    run(str(error).rpartition(": ")[2], work.path)
    assert work.complete(**DONE).status == "completed"


def test_submodules_that_nobody_touched(orch, work):
    """One that is not initialised stays as it is; one that was removed is removed."""
    work.checkpoint({})
    assert work.left_out == ()
    orch.test_project.git("rm", "-q", "lib", cwd=work.path)
    assert work.complete(**DONE).status == "completed"
    assert "lib" not in landed(orch)


# --- single files ----------------------------------------------------------------------


def test_pipes_and_sockets(orch, work, monkeypatch):
    """A tracked file in whose place there is one is not taken for deleted. It is named, and keeps
    nothing from landing: a pipe holds nothing.
    """
    for name in ("a.txt", "untracked"):
        (work.path / name).unlink(missing_ok=True)
        os.mkfifo(work.path / name)
    (work.path / "gone.txt").unlink()
    with socket.socket(socket.AF_UNIX) as listening, monkeypatch.context() as inside:
        inside.chdir(work.path)  # the whole path may be too long for a socket's name
        listening.bind("gone.txt")
    work.checkpoint({})
    assert work.left_out == ("a.txt", "gone.txt")
    assert work.complete(**DONE).status == "completed"
    assert {"a.txt", "gone.txt", "n.txt"} <= set(landed(orch))
    assert "untracked" not in landed(orch)
    assert not work.path.exists()


def test_one_name_that_git_refuses(orch, work):
    """The rest is saved all the same."""
    orch.test_project.write({"git~1": "x", "sub/.git~1x": "fine"}, work.path)
    refused(orch, work, "git~1")
    (work.path / "git~1").rename(work.path / "git-1")
    assert work.complete(**DONE).status == "completed"
    assert {"git-1", "sub/.git~1x"} <= set(landed(orch))


def test_a_name_of_two_lines_is_named_on_one(orch, work):
    """The message of a snapshot has a line for each."""
    app = work.path / "two\nlines"
    app.mkdir()
    orch.test_project.git("init", "-q", cwd=app)
    orch.test_project.write({"page.tsx": "1"}, app)
    refused(orch, work, "two\\nlines")


# --- nothing at all ----------------------------------------------------------------------


def test_a_task_that_changed_nothing_says_so(orch):
    """It is completed, since its work may be elsewhere, and its reason tells."""
    work = orch.execute_task("part", worktree=True)
    task = work.complete(**DONE)
    assert task.status == "completed"
    assert "nothing was changed in its worktree" in orch.get_task("part").reason


@pytest.mark.parametrize("choice", ["to land it", "to leave it out"])
def test_what_was_stashed_in_the_worktree(orch, work, choice):
    """Git calls the worktree clean; what it took out is named, also to the next agent."""
    for number in range(2):
        orch.test_project.write({f"stashed{number}.txt": "two hours"}, work.path)
        orch.test_project.git("stash", "-q", "-u", cwd=work.path)
    orch.test_project.write({"a.txt": "somebody else's"})
    orch.test_project.git("stash", "-q")
    names = ("stash@{2}", "stash@{1}")
    assert work.checkpoint({}).left_out == names
    with pytest.raises(UnsavedFilesError) as caught:
        work.complete(**DONE)
    assert caught.value.files == names
    with vespera.open(orch.test_project.folder, agent="next") as other:
        again = other.execute_task("part", take_over=True)
        assert "stash@{2}, stash@{1}" in again.briefing()
        for problem in caught.value.problems:
            orch.test_project.write({"gone.txt": f"whose ever {problem}"})
            orch.test_project.git("stash", "-q")  # the numbers are others by now
            run(problem.partition(f"{choice}: ")[2].partition(";")[0], again.path)
        assert again.complete(**DONE).status == "completed"
    stashed = {"n.txt", "stashed0.txt", "stashed1.txt"} & set(landed(orch))
    assert len(stashed) == (3 if choice == "to land it" else 0)
    assert len(orch.test_project.git("stash", "list").splitlines()) == 3


@pytest.mark.parametrize("choice", ["to land them", "to leave them out"])
@pytest.mark.parametrize(
    ("switch", "new_files"),
    [
        ("switch -q integration", {}),
        ("switch -q -c better HEAD~1", {}),
        ("switch -q -c better HEAD~1", {"new.txt": "new"}),
    ],
)
def test_commits_on_a_branch_that_the_agent_left(orch, work, choice, switch, new_files):
    """They are in no file any more; an agent that only renamed or moved on is not stopped."""
    orch.test_project.commit("two hours", {"own.txt": "own"}, work.path)
    orch.test_project.git(*switch.split(), cwd=work.path)
    orch.test_project.write(new_files, work.path)
    assert work.checkpoint({}).left_out == ("feature/part",)
    with pytest.raises(UnsavedFilesError) as caught:
        work.complete(**DONE)
    run(str(caught.value).partition(f"{choice}: ")[2].partition(";")[0], work.path)
    assert work.complete(**DONE).status == "completed"
    assert ("own.txt" in landed(orch)) == (choice == "to land them")


@pytest.mark.parametrize("command", ["switch -q --detach", "branch -m other", "switch -q -c other"])
def test_an_agent_may_be_on_any_branch(orch, work, command):
    """What is checked out has everything."""
    orch.test_project.commit("two hours", {"own.txt": "own"}, work.path)
    orch.test_project.git(*command.split(), cwd=work.path)
    orch.test_project.commit("more", {"more.txt": "more"}, work.path)
    assert work.complete(**DONE).status == "completed"
    assert {"own.txt", "more.txt"} < set(landed(orch))


@pytest.mark.parametrize(
    "commands",
    [
        "git switch -qc other HEAD~1; git cherry-pick feature/part",
        "git switch -qc other HEAD~1; git merge -q --squash feature/part",
        "git switch -qc other; git commit -q --amend -m again",
        "git switch -qc other HEAD~1; echo another > own.txt",
    ],
)
def test_an_agent_may_bring_its_commits_to_another_branch_in_its_own_way(orch, work, commands):
    """Whatever is in the files by now was not left behind."""
    orch.test_project.commit("two hours", {"own.txt": "own"}, work.path)
    subprocess.run(commands, shell=True, cwd=work.path, check=True)
    assert work.complete(**DONE).status == "completed"
    assert "own.txt" in landed(orch)


def test_what_a_rebase_could_not_put_back(orch, work):
    """``git rebase --autostash`` succeeds all the same, and leaves the edits in the stash."""
    project = orch.test_project
    project.commit("own", {"own.txt": "own"}, work.path)
    project.git("branch", "theirs", "HEAD~1")
    project.git("switch", "-q", "theirs")
    project.commit("theirs", {"a.txt": "theirs\n"})
    project.git("switch", "-q", "main")
    project.write({"a.txt": "two hours\n"}, work.path)
    project.git("rebase", "-q", "--autostash", "theirs", cwd=work.path)
    project.git("checkout", "-q", "HEAD", "--", "a.txt", cwd=work.path)
    assert work.checkpoint({}).left_out == ("stash@{0}",)
    with pytest.raises(UnsavedFilesError, match="git stash pop"):
        work.complete(**DONE)


# --- what git never lists ------------------------------------------------------------


def refused_at_the_end(orch, work):
    """Return what completing says, and check that nothing has landed."""
    with pytest.raises(vespera.UnsavedFilesError) as caught:
        work.complete(**DONE)
    assert orch.get_task("part").status == "in_progress"
    return caught.value


@pytest.mark.parametrize("path", [".GIT", "sub/.Git"])
def test_a_folder_that_git_never_lists(orch, work, path):
    """It is named before the work counts as done, and kept with the worktree."""
    orch.test_project.write({f"{path}/x.txt": "x", "ignored/.GIT/y.txt": "y"}, work.path)
    orch.test_project.write({".gitignore": "ignored\n"}, work.path)
    error = refused_at_the_end(orch, work)
    assert error.files == (path,)
    assert f"git never lists {path} (kept apart)" in str(error)
    work.release()
    orch.worktrees.remove("part")
    again = orch.execute_task("part")
    assert (again.path / path / "x.txt").read_text() == "x"
    run(f"mv {path} {path}-2", again.path)
    assert again.complete(**DONE).status == "completed"
    assert f"{path}-2/x.txt" in landed(orch)


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_file_that_is_called_like_a_repository(orch, work, is_ignored):
    """Git lists none of that name, whatever it is; whoever ignores it has decided."""
    (work.path / ".Git").write_text("x")
    if not is_ignored:
        assert refused_at_the_end(orch, work).files == (".Git",)
        with pytest.raises(vespera.DirtyCheckoutError, match=r"\.Git"):
            orch.worktrees.remove("part")
    (work.path / ".gitignore").write_text(".Git\n")
    assert work.complete(**DONE).status == "completed"


def test_a_path_that_is_too_long(orch, work, monkeypatch):
    """Its first folders are named; the rest is saved, and nothing is removed with it."""
    name = "n" * 240
    monkeypatch.chdir(work.path)
    for _ in range(18):
        os.mkdir(name)  # noqa: PTH102 - a path as a whole would be too long
        os.chdir(name)
    with open("deep.txt", "w") as file:  # noqa: PTH123
        file.write("deep")
    error = refused_at_the_end(orch, work)
    assert error.files == (name,)
    with pytest.raises(vespera.DirtyCheckoutError, match=name):
        orch.worktrees.remove("part")
    os.chdir(work.path)
    run(f"rm -rf {name}", work.path)
    assert work.complete(**DONE).status == "completed"
    assert "n.txt" in landed(orch)


def test_a_repository_that_git_cannot_read(orch, work):
    """All of its files are kept apart, and come back."""
    orch.test_project.write({"app/x.txt": "x", "app/.git/note": "no repository"}, work.path)
    error = refused(orch, work, "app")
    assert "app (kept apart)" in str(error)
    shutil.rmtree(work.path)
    work.release()
    again = orch.execute_task("part")
    assert (again.path / "app/x.txt").read_text() == "x"
    assert (again.path / "app/.git/note").read_text() == "no repository"


def test_a_new_branch_without_anything_is_not_the_work(orch, work):
    """An agent that has left its commits on its branch has not deleted the project."""
    orch.test_project.commit("mine", folder=work.path)
    run("git checkout -q --orphan other; git rm -rqf .", work.path)
    assert work.checkpoint({}).left_out == ("feature/part",)
    assert refused_at_the_end(orch, work).files == ("feature/part",)
    run("git checkout -q -f feature/part", work.path)
    assert work.complete(**DONE).status == "completed"
    assert "n.txt" in landed(orch)


def test_a_checkpoint_without_files_names_the_folder(orch, work):
    """The next attempt, and everybody who looks, must know that no file was saved."""
    (work.path / ".git").unlink()
    saved = work.checkpoint({"n": 1})
    assert saved.left_out == work.left_out == (str(work.path),)
    assert saved.snapshot is None
    assert f"left out of its save: {work.path}" in str(orch.get_status())
