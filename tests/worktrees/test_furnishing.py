"""What a new worktree needs beside what git tracks: ignored files, and a set-up command."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import SetupFailedError
from vespera_orchestrator.worktrees import commands

INCLUDED = """\
# what agents need
.env*
!.env.prod
build/cache/
src/local.log
a.txt
"""
DONE = {"summary": "done", "detailed_work": "All of it."}


@pytest.fixture
def open_orch(project):
    """Return a function that opens the project with some settings, with tasks planned once."""
    opened = []

    def open_with(*lines):
        home = project.folder / ".task_orchestrator"
        home.mkdir(exist_ok=True)
        home.joinpath("config.toml").write_text("\n".join(["[worktrees]", *lines]))
        orch = vespera.open(project.folder)
        opened.append(orch)
        if not orch.list_sessions():
            orch.initialize_session("Furnish")
            orch.plan_tasks([{"title": title} for title in ("One", "Two", "Three")])
        return orch

    yield open_with
    for orch in opened:
        orch.close()


def files_in(folder):
    """Return the paths of everything that is no folder."""
    folders = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in folders)


# --- copies ------------------------------------------------------------------------


def test_named_and_ignored_files_are_copied(project, open_orch):
    """Neither what git tracks nor what nobody named; an edit there leaves the user's own file."""
    project.commit("ignore", {".gitignore": ".env*\nbuild/\nsecret/\n*.log\n"})
    project.write(
        {
            ".worktreeinclude": INCLUDED,
            ".env": "KEY=1\n",
            ".env.prod": "KEY=2\n",
            "build/cache/deep/x.bin": b"\x00",
            "build/out.o": "o",
            "secret/key": "k",
            "src/local.log": "l",
            "other.log": "l",
            "src/.env": "KEY=3\n",
        }
    )
    project.folder.joinpath(".env").chmod(0o600)
    work = open_orch().execute_task("one", worktree=True)
    assert files_in(work.path) == sorted(
        [
            ".env",
            ".git",
            ".gitignore",
            "a.txt",
            "build/cache/deep/x.bin",
            "gone.txt",
            "src/.env",
            "src/b.py",
            "src/local.log",
        ]
    )
    assert stat.S_IMODE(work.path.joinpath(".env").stat().st_mode) == 0o600
    work.path.joinpath(".env").write_text("KEY=changed\n")
    assert project.folder.joinpath(".env").read_text() == "KEY=1\n"


def test_what_was_brought_is_listed_and_never_lands(project, open_orch):
    """It is in no snapshot and in no landing; the status of the worktree is clean."""
    project.commit("ignore", {".gitignore": ".env\n"})
    project.write({".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    orch = open_orch()
    work = orch.execute_task("one", worktree=True)
    assert orch.worktrees.brought("one").copied == (".env",)
    assert project.git("status", "--porcelain", cwd=work.path) == ""
    work.checkpoint({})
    work.path.joinpath("new.txt").write_text("n\n")
    work.complete(**DONE)
    landed = project.git("ls-tree", "-r", "--name-only", "integration").splitlines()
    assert "new.txt" in landed
    assert ".env" not in landed
    saved = project.git("log", "--all", "--format=%H", "--", ".env")
    assert saved == ""


def test_what_only_the_users_own_gitignore_ignores_does_not_land(project, open_orch):
    """The branch does not know that file yet: it would save the secret and publish it."""
    project.write({".gitignore": ".env\n", ".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    orch = open_orch()
    work = orch.execute_task("one", worktree=True)
    assert work.path.joinpath(".env").exists()
    work.path.joinpath("new.txt").write_text("n\n")
    work.complete(**DONE)
    assert ".env" not in project.git("ls-tree", "-r", "--name-only", "integration").splitlines()


def test_what_git_would_not_ignore_there_is_left(project, open_orch):
    """Where the branch insists on seeing a file, it is not brought, and is named."""
    project.commit("insist", {".gitignore": "!.env\n"})
    project.write({".gitignore": ".env\n", ".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    orch = open_orch()
    work = orch.execute_task("one", worktree=True)
    assert not work.path.joinpath(".env").exists()
    assert orch.worktrees.brought("one").left == (".env",)


def test_a_file_that_the_branch_tracks_stays_as_it_is_there(project, open_orch):
    """Only in the main worktree it was taken out of git."""
    project.commit("tracked", {".env": "theirs\n"})
    project.git("rm", "-q", "--cached", ".env")
    project.write({".gitignore": ".env\n", ".worktreeinclude": ".env\n", ".env": "mine\n"})
    work = open_orch().execute_task("one", worktree=True)
    assert work.path.joinpath(".env").read_text() == "theirs\n"


def test_nothing_is_written_through_a_link_of_the_branch(project, open_orch, tmp_path):
    """A folder here may be a link out of the worktree there."""
    outside = tmp_path / "outside"
    outside.mkdir()
    project.folder.joinpath("conf").symlink_to(outside)
    project.commit("link", {".gitignore": "*.key\n"})
    project.git("rm", "-q", "--cached", "conf")
    project.folder.joinpath("conf").unlink()
    project.write({".worktreeinclude": "*.key\n", "conf/a.key": "k"})
    open_orch().execute_task("one", worktree=True)
    assert list(outside.iterdir()) == []


def test_what_belongs_to_a_running_program_is_not_brought(project, open_orch):
    """A pipe can be no copy, and it is not listed as one."""
    project.commit("ignore", {".gitignore": "run/\n"})
    project.write({".worktreeinclude": "run/*\n", "run/pid": "1\n"})
    os.mkfifo(project.folder / "run/pipe")
    orch = open_orch()
    work = orch.execute_task("one", worktree=True)
    assert orch.worktrees.brought("one").copied == ("run/pid",)
    assert files_in(work.path / "run") == ["pid"]


def test_links_are_copied_as_links(project, open_orch, tmp_path):
    """What a link points to is not read."""
    tmp_path.joinpath("secret").write_text("s")
    project.commit("ignore", {".gitignore": "local/\n"})
    project.write({".worktreeinclude": "local/\n", "local/x": "x"})
    project.folder.joinpath("local", "out").symlink_to(tmp_path / "secret")
    work = open_orch().execute_task("one", worktree=True)
    assert work.path.joinpath("local", "out").readlink() == tmp_path / "secret"


def test_other_worktrees_and_the_home_are_not_copied(project, open_orch):
    """Not even when everything that is ignored is asked for."""
    project.commit("ignore", {".gitignore": "trees/\n*.log\n.task_orchestrator/\n"})
    project.write({".worktreeinclude": "*\n", "x.log": "x", "trees/note.log": "n"})
    orch = open_orch('root = "trees"')
    orch.execute_task("one", worktree=True)
    second = orch.execute_task("two", worktree=True)
    assert files_in(second.path) == [".git", ".gitignore", "a.txt", "gone.txt", "src/b.py", "x.log"]


def test_the_same_files_as_git_would_choose(project, open_orch):
    """The patterns mean what they mean to git."""
    patterns = [
        "*.env",
        "!no.env",
        "/top.log",
        "deep/**/x.log",
        "sp ace.log",
        "[ab].log",
        r"\#x.log",
    ]
    project.commit("ignore", {".gitignore": "*.log\n*.env\n"})
    names = [
        "a.env",
        "no.env",
        "sub/b.env",
        "sub/no.env",
        "top.log",
        "sub/top.log",
        "deep/1/2/x.log",
        "deep/x.log",
        "x.log",
        "sp ace.log",
        "a.log",
        "b.log",
        "c.log",
        "#x.log",
    ]
    project.write(dict.fromkeys(names, "x"))
    project.write({".worktreeinclude": "\n".join(patterns) + "\n"})
    listing = ("ls-files", "-z", "--others", "--ignored")
    ignored = set(project.git(*listing, "--exclude-standard").split("\0"))
    named = set(project.git(*listing, "--exclude-from=.worktreeinclude").split("\0"))
    orch = open_orch()
    orch.execute_task("one", worktree=True)
    assert set(orch.worktrees.brought("one").copied) == (ignored & named) - {""}


# --- links -------------------------------------------------------------------------


def test_a_folder_as_a_link_on_request(project, open_orch):
    """The link is not saved, although ``node_modules/`` means folders only."""
    project.commit("ignore", {".gitignore": "node_modules/\n"})
    project.write({"node_modules/x/index.js": "1\n"})
    orch = open_orch('link = ["node_modules"]')
    work = orch.execute_task("one", worktree=True)
    assert work.path.joinpath("node_modules").is_symlink()
    assert work.path.joinpath("node_modules/x/index.js").read_text() == "1\n"
    assert orch.worktrees.brought("one").linked == ("node_modules",)
    work.path.joinpath("new.txt").write_text("n\n")
    work.complete(**DONE)
    assert "node_modules" not in project.git("ls-tree", "--name-only", "integration").splitlines()
    assert project.folder.joinpath("node_modules/x/index.js").exists()


# --- the set-up command --------------------------------------------------------------


def test_the_command_runs_before_anybody_works_there(project, open_orch):
    """Its placeholders are filled in; what it said is in its log; ignored files are there first."""
    project.commit("ignore", {".gitignore": ".env\nmade\n"})
    project.write({".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    orch = open_orch("setup = 'echo {index} {task} {project} ${HOME:+home} $(cat .env) | tee made'")
    first = orch.execute_task("one", worktree=True)
    second = orch.execute_task("two", worktree=True, agent="other")
    assert first.path.joinpath("made").read_text() == f"1 one {project.folder} home KEY=1\n"
    assert second.path.joinpath("made").read_text().startswith("2 two ")
    log = orch.home / "logs" / "setup-one.log"
    assert log.read_text() == first.path.joinpath("made").read_text()
    orch.worktrees.remove(second.worktree)
    third = orch.execute_task("three", worktree=True, agent="third")
    assert third.path.joinpath("made").read_text().startswith("2 three ")


def test_a_path_with_a_space_stays_one_word(make):
    """In a line for the shell it is quoted; in a list it is one word anyway."""
    project = make(name="my project; echo oops", files={"a.txt": "a\n", ".gitignore": "made*\n"})
    for setup in ("'ls -d {project} > made'", '["touch", "made {project}x"]'):
        home = project.folder / ".task_orchestrator"
        home.mkdir(exist_ok=True)
        home.joinpath("config.toml").write_text(f"[worktrees]\nsetup = {setup}\n")
        with vespera.open(project.folder) as orch:
            orch.initialize_session("x")
            orch.plan_task("One")
            if "touch" in setup:
                with pytest.raises(SetupFailedError):
                    orch.execute_task("one", worktree=True)
            else:
                work = orch.execute_task("one", worktree=True)
                assert work.path.joinpath("made").read_text() == f"{project.folder}\n"


def test_a_failing_command_leaves_the_task_ready(open_orch):
    """The error has its last words and its log; corrected, the next start does it again."""
    orch = open_orch("setup = 'echo no network; exit 3'")
    with pytest.raises(SetupFailedError, match="ended with 3") as caught:
        orch.execute_task("one", worktree=True)
    assert "no network" in str(caught.value)
    assert "no network" in Path(caught.value.log).read_text()
    assert orch.why("one").ready
    orch.close()
    work = open_orch("setup = 'touch gone.log'").execute_task("one", worktree=True)
    assert work.path.joinpath("gone.log").exists()


def test_a_command_that_never_stops_talking_is_killed(open_orch, monkeypatch):
    """It would have filled the disk long before its time was over."""
    monkeypatch.setattr(commands, "MOST_WRITTEN_BYTES", 1_000_000)
    orch = open_orch("setup = 'yes'")
    with pytest.raises(SetupFailedError, match="said more than 1 MB; the last it said"):
        orch.execute_task("one", worktree=True)
    assert orch.why("one").ready


def test_a_slow_command_is_killed(open_orch):
    """With all that it started, after its time."""
    orch = open_orch("setup = 'sleep 600 & sleep 600'", "setup_timeout_s = 1")
    with pytest.raises(SetupFailedError, match=r"took longer than 1 s\. All of it is in"):
        orch.execute_task("one", worktree=True)


def test_an_interrupted_set_up_is_done_again(project, open_orch, monkeypatch):
    """Whatever was half done by then."""
    project.commit("ignore", {".gitignore": ".env\nmade\n"})
    project.write({".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    orch = open_orch("setup = 'touch made'")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commands.subprocess, "Popen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            orch.execute_task("one", worktree=True)
    work = orch.execute_task("one", worktree=True)
    assert work.path.joinpath("made").exists()
    assert work.path.joinpath(".env").read_text() == "KEY=1\n"


def test_a_worktree_that_is_made_again_is_furnished_again(project, open_orch):
    """Also after its folder was removed by hand; but only then."""
    project.commit("ignore", {".gitignore": ".env\nruns\n"})
    project.write({".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    orch = open_orch("setup = 'echo x >> runs'")
    work = orch.execute_task("one", worktree=True)
    work.path.joinpath(".env").write_text("the agent's\n")
    work.release()
    again = orch.execute_task("one", worktree=True)
    assert again.path.joinpath("runs").read_text() == "x\n"
    assert again.path.joinpath(".env").read_text() == "the agent's\n"
    again.release()
    project.git("worktree", "unlock", str(again.path), check=False)
    shutil.rmtree(again.path)
    anew = orch.execute_task("one", worktree=True)
    assert anew.path.joinpath("runs").read_text() == "x\n"
    assert anew.path.joinpath(".env").read_text() == "KEY=1\n"


# --- the folder of a check -------------------------------------------------------------


def test_a_check_may_call_git_and_finds_what_a_worktree_has(project, open_orch):
    """HEAD is what is to land; ignored files are there, and the set-up command has run."""
    project.commit("ignore", {".gitignore": ".env\nmade\n"})
    project.git("tag", "-a", "v1", "-m", "one")
    project.write({".worktreeinclude": ".env\n", ".env": "KEY=1\n"})
    check = (
        'git diff --check HEAD~1 && git status --porcelain && test -z "$(git status --porcelain)"'
        " && git describe --tags && git rev-parse --abbrev-ref HEAD && cat .env made b.txt"
        " && test $(git log --format=%s HEAD | wc -l) = 3 && git branch check-was-here && exit 9"
    )
    orch = open_orch(f"check = '''{check}'''", "setup = 'echo furnished > made'")
    work = orch.execute_task("one", worktree=True)
    work.path.joinpath("b.txt").write_text("b\n")
    assert work.complete(**DONE).status == "blocked"
    (report,) = orch.artifacts.list(task="one", kind="refusal")
    text = orch.artifacts.text(report)
    for line in ("v1-1-g", "integration", "KEY=1", "furnished", "`", "ended with 9", "    b"):
        assert line in text
    assert "check-was-here" not in project.git("branch", "--list")
    assert project.git("fsck", "--no-dangling") == ""


def test_a_check_that_cannot_begin_says_why(open_orch):
    """The report names the set-up command, not the check."""
    orch = open_orch("check = 'true'", "setup = 'test -f b.txt || exit 0; echo no network; exit 4'")
    work = orch.execute_task("one", worktree=True)
    work.path.joinpath("b.txt").write_text("b\n")
    assert work.complete(**DONE).status == "blocked"
    (report,) = orch.artifacts.list(task="one", kind="refusal")
    text = orch.artifacts.text(report)
    assert "could not begin: the set-up command" in text
    assert "no network" in text
