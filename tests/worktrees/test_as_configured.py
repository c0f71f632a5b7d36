"""Git's configuration counts as it does for git, also where libgit2 would not look at it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

import vespera_orchestrator as vespera

DONE = {"summary": "done", "detailed_work": "All of it."}


@pytest.fixture
def orch(project):
    """Return an orchestrator of the project with two tasks."""
    with vespera.open(project.folder) as opened:
        opened.initialize_session("test")
        opened.plan_tasks([{"title": "One"}, {"title": "Two"}])
        yield opened


def landed(project):
    """Return the files on the integration branch."""
    return set(project.git("ls-tree", "-r", "--name-only", "integration").split())


# --- letters and links ---------------------------------------------------------------


@pytest.mark.parametrize("staged", [False, True])
def test_a_name_changed_in_case_only(project, orch, staged):
    """On a disk that tells case apart, whatever the configuration says of another disk."""
    project.git("config", "core.ignorecase", "true")
    work = orch.execute_task("one", worktree=True)
    (work.path / "a.txt").rename(work.path / "A.txt")
    if staged:
        project.git("mv", "-f", "--cached", "a.txt", "A.txt", cwd=work.path, check=False)
        project.git("rm", "-q", "--cached", "a.txt", cwd=work.path)
    work.checkpoint({})
    assert work.complete(**DONE).status == "completed"
    assert "A.txt" in landed(project)
    assert "a.txt" not in landed(project)


def test_two_names_that_differ_in_case_only(project, orch):
    """Neither is lost because of the other."""
    project.commit("both", {"A.txt": "upper\n"})
    project.git("config", "core.ignorecase", "true")
    work = orch.execute_task("one", worktree=True)
    assert (work.path / "A.txt").read_text() == "upper\n"
    project.write({"a.txt": "lower\n", "n.txt": "n"}, work.path)
    assert work.complete(**DONE).status == "completed"
    assert {"a.txt", "A.txt", "n.txt"} <= landed(project)
    assert project.git("show", "integration:A.txt") == "upper"
    assert project.git("show", "integration:a.txt") == "lower"


def test_links_that_are_written_as_files(project, orch):
    """With core.symlinks=false a link that nobody touched stays a link."""
    (project.folder / "link").symlink_to("a.txt")
    project.commit("a link")
    project.git("config", "core.symlinks", "false")
    work = orch.execute_task("one", worktree=True)
    project.write({"n.txt": "n"}, work.path)
    work.checkpoint({})
    assert work.complete(**DONE).status == "completed"
    [line] = project.git("ls-tree", "integration", "link").split("\n")
    assert line.startswith("120000")


# --- who commits, and how that is proven -----------------------------------------------


def test_an_identity_by_the_remote(project, orch, tmp_path):
    """``includeIf hasconfig`` is a condition that libgit2 does not know."""
    (tmp_path / "work.gitconfig").write_text("[user]\n\temail = ada@work.example\n")
    condition = "hasconfig:remote.*.url:https://work.example/**"
    with (tmp_path / "gitconfig").open("a") as config:
        config.write(f'[includeIf "{condition}"]\n\tpath = {tmp_path / "work.gitconfig"}\n')
    project.git("remote", "add", "origin", "https://work.example/shop.git")
    work = orch.execute_task("one", worktree=True)
    project.write({"n.txt": "n"}, work.path)
    work.complete(**DONE)
    who = project.git("log", "-1", "--format=%an <%ae>, %cn <%ce>", "integration")
    assert who == "Ada <ada@work.example>, Ada <ada@work.example>"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="signs with an SSH key")
@pytest.mark.parametrize("style", ["squash", "merge"])
def test_what_lands_is_signed(project, orch, tmp_path, style):
    """With the key that git would use, and whatever the style."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "signers").write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
    for name, value in (
        ("commit.gpgsign", "true"),
        ("gpg.format", "ssh"),
        ("gpg.ssh.allowedSignersFile", str(tmp_path / "signers")),
        ("user.signingkey", str(key.with_suffix(".pub"))),
    ):
        project.git("config", name, value)
    work = orch.execute_task("one", worktree=True)
    project.write({"n.txt": "n"}, work.path)
    orch.worktrees.merge("one", style=style, message="Work\n\nin two lines: ö")
    project.git("verify-commit", "integration")
    assert project.git("log", "-1", "--format=%B", "integration") == "Work\n\nin two lines: ö"
    for commit in project.git("rev-list", "main..integration").split():
        project.git("verify-commit", commit)
    project.assert_sound()


def test_what_cannot_be_signed_does_not_land(project, orch):
    """The reason and a remedy that works are told, and the work is kept."""
    project.git("config", "commit.gpgsign", "true")
    project.git("config", "gpg.program", "false")
    work = orch.execute_task("one", worktree=True)
    project.write({"n.txt": "n"}, work.path)
    with pytest.raises(vespera.GitFailedError, match="cannot sign the commit") as caught:
        work.complete(**DONE)
    assert orch.get_task("one").status == "in_progress"
    assert "n.txt" not in landed(project)
    remedy = str(caught.value).rpartition("without a signature: ")[2]
    subprocess.run(remedy, shell=True, cwd=project.folder, check=True)
    assert work.complete(**DONE).status == "completed"
    assert "n.txt" in landed(project)


# --- merge drivers ---------------------------------------------------------------------


def both_change(project, orch, driver, *, rename=False):
    """Let two tasks change LOCK, which *driver* merges; return how the second one ended."""
    project.commit("attributes", {".gitattributes": f"LOCK merge={driver}\n", "LOCK": "a\nb\n"})
    one = orch.execute_task("one", worktree=True, agent="one")
    two = orch.execute_task("two", worktree=True, agent="two")
    project.write({"LOCK": "a\nb\none\n"}, one.path)
    project.write({"LOCK": "a\nb\ntwo\n"}, two.path)
    if rename:
        (one.path / "src/b.py").rename(one.path / "src/c.py")
        project.write({"src/b.py": "b = 2\n"}, two.path)
    one.checkpoint({})
    two.checkpoint({})
    assert orch.worktrees.forecast().clashes == ()
    one.complete(**DONE)
    return two


SORTED = "sh -c 'sort -u %A %B > %A.new && mv %A.new %A && echo %P >> ran'"


@pytest.mark.parametrize(
    ("driver", "text"),
    [("union", "a\nb\none\ntwo"), ("ours", "a\nb\none"), ("sorted", "a\nb\none\ntwo")],
)
@pytest.mark.parametrize("rename", [False, True])
def test_merge_drivers_merge_as_for_git(project, orch, driver, text, rename):
    """Built in or a command; no conflict is foreseen, and none is made."""
    project.git("config", "merge.ours.driver", "true")
    project.git("config", "merge.sorted.driver", SORTED)
    two = both_change(project, orch, driver, rename=rename)
    assert two.complete(**DONE).status == "completed"
    assert project.git("show", "integration:LOCK") == text
    if driver == "sorted":
        assert set((project.folder / "ran").read_text().split()) == {"LOCK"}


def test_a_driver_that_is_not_configured_is_as_for_git(project, orch):
    """The file is merged as text."""
    project.commit("attributes", {".gitattributes": "LOCK merge=nowhere\n", "LOCK": "a\n" * 9})
    one = orch.execute_task("one", worktree=True, agent="one")
    two = orch.execute_task("two", worktree=True, agent="two")
    project.write({"LOCK": "one\n" + "a\n" * 9}, one.path)
    project.write({"LOCK": "a\n" * 9 + "two\n"}, two.path)
    one.complete(**DONE)
    assert two.complete(**DONE).status == "completed"
    assert project.git("show", "integration:LOCK").split("\n") == ["one", *"a" * 9, "two"]


def test_a_driver_that_sees_a_conflict(project, orch):
    """Then there is one, with a recovery; another file's conflict does not undo its work."""
    project.git("config", "merge.never.driver", "false")
    project.commit("attributes", {".gitattributes": "LOCK merge=never\n", "LOCK": "a\n"})
    one = orch.execute_task("one", worktree=True, agent="one")
    two = orch.execute_task("two", worktree=True, agent="two")
    project.write({"LOCK": "one\n"}, one.path)
    project.write({"LOCK": "two\n"}, two.path)
    one.complete(**DONE)
    assert two.complete(**DONE).status == "blocked"
    assert orch.execute_task("recover_two").conflicts == ("LOCK",)


def test_a_driver_solves_its_files_in_a_recovery_too(project, orch):
    """Markers are only where a person has to decide."""
    project.git("config", "merge.sorted.driver", SORTED)
    project.commit("attributes", {".gitattributes": "LOCK merge=sorted\n", "LOCK": "a\n"})
    one = orch.execute_task("one", worktree=True, agent="one")
    two = orch.execute_task("two", worktree=True, agent="two")
    project.write({"LOCK": "a\none\n", "a.txt": "one\n"}, one.path)
    project.write({"LOCK": "a\ntwo\n", "a.txt": "two\n"}, two.path)
    one.complete(**DONE)
    assert two.complete(**DONE).status == "blocked"
    recovery = orch.execute_task("recover_two")
    assert recovery.conflicts == ("a.txt",)
    assert (recovery.path / "LOCK").read_text() == "a\none\ntwo\n"


def test_a_driver_that_fails_is_named(project, orch):
    """It is no conflict: the setting is wrong, and the work waits."""
    project.git("config", "merge.gone.driver", "no-such-command %A")
    project.commit("attributes", {".gitattributes": "LOCK merge=gone\n", "LOCK": "a\n"})
    one = orch.execute_task("one", worktree=True, agent="one")
    two = orch.execute_task("two", worktree=True, agent="two")
    project.write({"LOCK": "one\n"}, one.path)
    project.write({"LOCK": "two\n"}, two.path)
    one.complete(**DONE)
    with pytest.raises(vespera.GitFailedError, match=r"merge\.gone\.driver"):
        two.complete(**DONE)
    project.git("config", "merge.gone.driver", "true")
    assert two.complete(**DONE).status == "completed"


# --- whose repository it is --------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_folder_of_another_user(project, orch, monkeypatch):
    """Where git says by the environment that it is safe, as in many containers, it is."""
    work = orch.execute_task("one", worktree=True)
    project.write({"n.txt": "n"}, work.path)
    for path in [project.folder, *project.folder.rglob("*"), work.path, *work.path.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    with pytest.raises(vespera.GitFailedError, match=r"safe\.directory"):
        work.complete(**DONE)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert work.complete(**DONE).status == "completed"
    assert "n.txt" in landed(project)


# --- whatever else is set --------------------------------------------------------------

SETTINGS = {
    "line ends": ("core.autocrlf=true core.eol=crlf", "*.md ident\n*.sh text eol=lf\n"),
    "attributes": ("core.autocrlf=input", "* text=auto\n*.dat binary\n*.txt text eol=crlf -text\n"),
    "modes": ("core.filemode=false core.trustctime=false core.checkstat=minimal", ""),
    "names": ("core.protectntfs=true core.protecthfs=true core.quotepath=true", ""),
    "indexes": ("index.version=4 index.skiphash=true feature.manyfiles=true", ""),
    "storage": ("core.bigfilethreshold=1 core.compression=0 core.abbrev=4", ""),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_what_lands_is_what_git_would_have_committed(project, orch, kind):
    """The same edits beside it, committed by git, give exactly the same files."""
    settings, attributes = SETTINGS[kind]
    project.commit("attributes", {".gitattributes": attributes, "README.md": "$Id$\n"})
    for setting in settings.split():
        project.git("config", *setting.split("="))
    beside = project.folder.with_name("beside")
    project.git("worktree", "add", "-q", str(beside))
    work = orch.execute_task("one", worktree=True)
    assert project.git("status", "--porcelain", cwd=work.path) == ""
    for folder in (beside, work.path):
        edit(project, folder)
    project.git("add", "-A", cwd=beside)
    expected = project.git("write-tree", cwd=beside)
    assert work.complete(**DONE).status == "completed"
    assert project.git("diff", "--stat", expected, "integration") == ""


def edit(project, folder):
    """Change, add, remove and rename files of every kind."""
    texts = {"a.txt": b"one\r\nTWO\r\n", "new.txt": b"x\r\ny\r\n", "all.dat": bytes(range(256))}
    project.write(texts | {"A.txt": "upper", "caf\u00e9/b \u00e8.txt": "q", "aux~1": "a"}, folder)
    project.write({"run.sh": "#!/bin/sh\n", "seen.log": "ignored"}, folder)
    for name in ("run.sh", "gone.txt"):
        folder.joinpath(name).chmod(0o755)
    folder.joinpath("src", "b.py").unlink()
    folder.joinpath("link").symlink_to("a.txt")
