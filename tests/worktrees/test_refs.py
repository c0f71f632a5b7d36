"""Refs and their logs, written by hand as git writes them; the git command line is the judge."""

import re

import pygit2
import pytest

from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.worktrees import refs
from vespera_orchestrator.worktrees.repository import ProjectRepository

BRANCH = "refs/heads/work"


@pytest.fixture
def repository(project):
    """Return the repository around a home, as the engine opens it."""
    return ProjectRepository.of(Home.locate(project.folder).create())


@pytest.fixture
def commits(project):
    """Return two commits that no ref names yet."""
    repo = pygit2.Repository(project.folder)
    who, tree = pygit2.Signature("Ada", "ada@example.org"), repo.TreeBuilder().write()
    return [str(repo.create_commit(None, who, who, title, tree, [])) for title in ("one", "two")]


def log_of(project, name):
    """Return commit and reason of each line of a log, the newest first, as git reads them."""
    lines = project.git("reflog", "show", "--format=%H %gs", name, "--", check=False)
    return [line.split(" ", 1) for line in lines.splitlines()]


@pytest.mark.parametrize("ref", [BRANCH, "refs/vespera/wip/part"])
@pytest.mark.parametrize(
    "setting",
    [
        "core.logAllRefUpdates=true",
        "core.logAllRefUpdates=false",
        "core.logAllRefUpdates=always",
        "core.bare=true",
        "core.bare=false",
    ],
)
def test_git_decides_alike_what_is_logged(project, repository, commits, ref, setting):
    """A move of ours leaves the log that git would have left, of a new ref and of an old one."""
    one, two = commits
    project.git("config", *setting.split("="))
    twin = f"{ref}_twin"
    project.git("update-ref", "-m", "made", twin, one)
    project.git("update-ref", "-m", "moved on", twin, two)
    repository.move(ref, None, one, message="made")
    repository.move(ref, one, two, message="moved\non")
    assert repository.tip(ref) == two
    assert log_of(project, ref) == log_of(project, twin)


def test_a_line_of_the_log_is_as_git_writes_it(project, repository, commits):
    """With both commits, whoever it was, the time and the reason."""
    one, two = commits
    project.git("config", "user.name", "Ädä")
    project.git("config", "user.email", "ada@example.org")
    repository.move(BRANCH, None, one, message="made")
    repository.move(BRANCH, one, two, message="moved")
    lines = project.folder.joinpath(".git/logs", BRANCH).read_text("utf-8").splitlines()
    starts = [line.rpartition("> ")[0] for line in lines]
    who = "Ädä <ada@example.org"
    assert starts == [f"{'0' * 40} {one} {who}", f"{one} {two} {who}"]
    zone = project.git("log", "-1", "--format=%cd", "--date=raw", two).split()[1]
    assert all(re.search(rf"> \d+ \{zone}\t", line) for line in lines)


def test_the_log_of_head_follows_its_branch(project, repository, commits):
    """As with git, where the main worktree has the branch checked out."""
    before = project.git("rev-parse", "HEAD")
    repository.move("refs/heads/main", before, commits[0], message="moved")
    assert log_of(project, "HEAD")[0] == [commits[0], "moved"]


def test_a_log_that_is_a_link_is_not_followed(project, repository, commits, tmp_path):
    """It may have come with a stranger's repository."""
    theirs = tmp_path / "theirs"
    theirs.write_text("mine\n")
    log = project.folder / ".git/logs" / BRANCH
    log.parent.mkdir(parents=True, exist_ok=True)
    log.symlink_to(theirs)
    with pytest.raises(GitFailedError):
        repository.move(BRANCH, None, commits[0])
    assert theirs.read_text() == "mine\n"
    assert repository.tip(BRANCH) is None


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("names", [("work", "work/part"), ("work/part", "work")])
def test_a_ref_in_the_way_of_another_is_refused(project, repository, commits, names, is_packed):
    """One name is a folder for the other. Nothing is changed, and no lock is left."""
    there, new = (f"refs/heads/{name}" for name in names)
    project.git("update-ref", there, commits[0])
    if is_packed:
        project.git("pack-refs", "--all")
    with pytest.raises(GitFailedError):
        repository.move(new, None, commits[1])
    assert repository.refs("refs/heads/").keys() == {"refs/heads/main", there}
    assert not list(project.folder.joinpath(".git/refs").rglob("*.lock"))
    project.assert_sound()


def test_empty_folders_are_not_in_the_way(project, repository, commits):
    """Git leaves them where refs with longer names were; it removes them itself."""
    for place in ("refs/heads/work/deep/er", "logs/refs/heads/work/deep"):
        project.folder.joinpath(".git", place).mkdir(parents=True)
    repository.move(BRANCH, None, commits[0], message="made")
    assert log_of(project, BRANCH) == [[commits[0], "made"]]


def test_a_lock_of_another_program_is_waited_for_and_then_named(
    project, repository, commits, monkeypatch
):
    """The ref stays, and so does the lock."""
    monkeypatch.setattr(refs, "_MOVE_PATIENCE_S", 0)
    lock = project.folder / ".git" / f"{BRANCH}.lock"
    lock.touch()
    with pytest.raises(GitFailedError, match=r"work\.lock exists; another git process holds it"):
        repository.move(BRANCH, None, commits[0])
    assert repository.tip(BRANCH) is None
    assert lock.exists()


@pytest.mark.parametrize("ref", ["refs/../config", "config", "refs/heads/a..b", "/etc/passwd"])
def test_what_cannot_name_a_ref_names_no_file(project, repository, commits, ref):
    """Whatever a record or a stranger's repository says."""
    before = project.folder.joinpath(".git/config").read_text()
    with pytest.raises(GitFailedError, match="no ref can be called"):
        repository.move(ref, None, commits[0])
    assert project.folder.joinpath(".git/config").read_text() == before
