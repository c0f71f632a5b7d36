"""Whatever a finding or an error about worktrees names as its remedy is done here, and works."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.worktrees import checkout, removal, update
from vespera_orchestrator.worktrees.refs import WIP


@pytest.fixture
def orch(project):
    """A façade in the project, with an open task that has saved a file in its worktree."""
    with vespera.open(project.folder) as orch:
        orch.initialize_session("x")
        orch.plan_tasks([{"title": "work"}, {"title": "other"}])
        with orch.execute_task("work", worktree=True) as work:
            (work.path / "half.txt").write_text("half")
        yield orch


@pytest.fixture
def clone(project, orch):  # noqa: ARG001 - it is a clone of what the task has saved
    """Another clone that has everything the repository had."""
    place = project.folder.parent / "clone.git"
    project.git("clone", "-q", "--mirror", str(project.folder), str(place))
    return place


def follow(remedy, orch, project, *, only="", clone=None):
    """Do what a remedy says: the calls and the commands in it."""
    steps = re.findall(r"orch\.[\w.]+\([^)]*\)|git (?:fetch|worktree) [^;,]*", remedy)
    wanted = [step for step in steps if step.startswith(only)]
    assert wanted, remedy
    for step in wanted:
        if step.startswith("orch."):
            eval(step, {"orch": orch})
            continue
        command = step.replace("CLONE", str(clone)).replace("OLD", str(clone))
        subprocess.run(command, shell=True, cwd=project.folder, check=True, capture_output=True)


def folder_of(orch):
    """Return the folder that the record names."""
    return Path(orch.worktrees.find("work").path)


def has_work(orch):
    """Tell whether the next attempt begins with the saved file."""
    with orch.execute_task("work", take_over=True) as work:
        return (work.path / "half.txt").exists()


# --- findings ---------------------------------------------------------------


def killed(orch, monkeypatch, room, name, act):
    """Let the process die in the middle of *act*."""

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, name, die)
        with pytest.raises(KeyboardInterrupt):
            act(orch)


def half_made(orch, project, monkeypatch):  # noqa: ARG001 - as the others
    """Killed while its files were written."""
    shutil.rmtree(folder_of(orch))
    killed(orch, monkeypatch, checkout, "_write_files", lambda orch: orch.worktrees.create("work"))


def half_removed(orch, project, monkeypatch):  # noqa: ARG001
    """Killed while its folder was removed."""
    killed(orch, monkeypatch, checkout, "_remove_entry", lambda orch: orch.worktrees.remove("work"))


def removed_and_not_recorded(orch, project, monkeypatch):  # noqa: ARG001
    """Killed after the removal, before its refs were retired."""
    orch.cancel_task("work", "no")
    orch.retry_task("work")
    killed(orch, monkeypatch, removal, "retire", lambda orch: orch.worktrees.remove("work"))


def without_record(orch, project, monkeypatch):  # noqa: ARG001
    """The store lost the record."""
    with orch._scope.store._database.write() as database:
        database.execute("DELETE FROM worktrees")


def with_deleted_task(orch, project, monkeypatch):  # noqa: ARG001
    """Its task was cancelled and then removed for good."""
    orch.cancel_task("work", "no")
    orch.delete_task("work", hard=True)


def made_by_a_person(orch, project, _):
    """A person took the worktree down with git, and made their own in its place."""
    folder = folder_of(orch)
    project.git("worktree", "unlock", str(folder))
    project.git("worktree", "remove", "--force", str(folder))
    project.git("worktree", "add", "-q", "--detach", str(folder))
    folder.joinpath("secret.txt").write_text("a person's own")


def unknown_to_git(orch, project, monkeypatch):  # noqa: ARG001
    """Somebody removed it with git."""
    project.git("worktree", "remove", "-f", "-f", str(folder_of(orch)))


def folder_gone(orch, project, monkeypatch):  # noqa: ARG001
    """Somebody deleted the folder."""
    shutil.rmtree(folder_of(orch))


def folder_taken(orch, project, monkeypatch):
    """Something else made the folder again."""
    folder_gone(orch, project, monkeypatch)
    project.write({".env": "PASSWORD=1"}, folder_of(orch))


def folder_moved(orch, project, monkeypatch):  # noqa: ARG001
    """Somebody renamed the folder."""
    folder = folder_of(orch)
    folder.rename(folder.with_name("moved"))


def half_updated(orch, project, monkeypatch):
    """Killed while newer work was merged in."""
    project.git("switch", "-q", "integration")
    project.commit("newer", {"newer.txt": "newer"})
    project.git("switch", "-q", "main")
    killed(orch, monkeypatch, update, "_finish", lambda orch: orch.worktrees.catch_up("work"))


def unknown_to_git_and_ended(orch, project, monkeypatch):
    """Removed with git, and its task was cancelled."""
    unknown_to_git(orch, project, monkeypatch)
    orch.cancel_task("work", "no")


BROKEN = (
    made_by_a_person,
    half_made,
    half_removed,
    removed_and_not_recorded,
    without_record,
    with_deleted_task,
    unknown_to_git,
    unknown_to_git_and_ended,
    folder_gone,
    folder_taken,
    folder_moved,
    half_updated,
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_the_remedy_of_a_finding_works(project, orch, monkeypatch, broken):
    """After it, nothing is found any more, and no work is lost."""
    broken(orch, project, monkeypatch)
    findings = orch.worktrees.check()
    assert findings
    for finding in findings:
        follow(finding.remedy, orch, project)
    assert orch.worktrees.check() == []
    if broken is with_deleted_task:
        [rescued] = orch.worktrees.rescue()
        assert project.git("show", f"{rescued.ref}:half.txt") == "half"
        return
    if broken is unknown_to_git_and_ended:
        orch.retry_task("work")
    assert has_work(orch)
    if broken is made_by_a_person:
        assert [path.name for path in project.folder.parent.rglob("secret.txt")] == ["secret.txt"]


def test_a_worktree_of_a_session_that_nobody_knows(project, orch):
    """As after a home was thrown away: git takes it down, and nothing of ours is in the way."""
    with orch._scope.store._database.write() as database:
        for table in ("worktrees", "attempts", "checkpoints", "tasks"):
            database.execute("PRAGMA defer_foreign_keys = ON")
            database.execute(f"DELETE FROM {table}")
    [finding] = [one for one in orch.worktrees.check() if "in no record" in one.sentence]
    follow(finding.remedy, orch, project, only="git")
    assert orch.worktrees.check() == []


def test_a_folder_that_is_left_after_a_restore(project, orch):
    """The project was put back from a backup that knows nothing of it: it is named, not touched."""
    folder = folder_of(orch)
    left = folder.with_name("newer")
    shutil.copytree(folder, left)
    left.joinpath(".git").write_text(f"gitdir: {project.folder}/.git/worktrees/newer\n")
    [finding] = orch.check().findings
    assert (finding.subject, str(left) in finding.sentence) == ("newer", True)
    orch.repair()
    assert left.joinpath("half.txt").exists()
    command = finding.remedy.rpartition("then: ")[2]
    subprocess.run(command, shell=True, check=True)
    assert orch.check().findings == ()
    assert has_work(orch)


def test_worktrees_of_a_home_that_was_deleted(project, orch):
    """``git clean -fdx`` takes the home: the next one names what it left, and touches nothing."""
    folder = folder_of(orch)
    orch.close()
    project.git("clean", "-fdx")
    with vespera.open(project.folder) as new:
        [finding] = new.check().findings
        assert str(folder) in finding.sentence
        new.repair()
        assert folder.joinpath("half.txt").exists()
        follow(finding.remedy, new, project)
        assert new.check().findings == ()
    assert not folder.exists()


@pytest.mark.parametrize("how", ["branch -D integration", "branch -f integration HEAD"])
def test_a_branch_that_has_lost_what_landed(project, orch, how):
    """The commands in the finding bring it back, whether the branch is gone or elsewhere."""
    orch.worktrees.merge("work")
    project.git(*how.split())
    [finding] = orch.check().findings
    assert finding.subject == "integration"
    command = re.search("git (?:branch|switch)[^.]*", finding.remedy)[0]
    subprocess.run(command, shell=True, cwd=project.folder, check=True)
    assert orch.check().findings == ()
    assert project.git("show", "integration:half.txt") == "half"


def test_what_another_clone_has_is_fetched(project, orch, clone):
    """A rescue ref and a landed commit that are gone here come back from there."""
    orch.worktrees.remove("work")
    [rescued] = orch.worktrees.rescue()
    project.git("push", "-q", str(clone), rescued.ref)
    project.git("update-ref", "-d", rescued.ref)
    [finding] = orch.worktrees.check()
    follow(finding.remedy, orch, project, clone=clone)
    assert orch.worktrees.check() == []
    assert has_work(orch)


def test_a_landed_commit_is_fetched(project, orch, clone):
    """Where the commit that landed a worktree is gone, a clone that has it brings it back."""
    orch.worktrees.merge("work")
    project.git("push", "-q", str(clone), "integration")
    project.git("branch", "-f", "integration", "main")
    orch.worktrees.remove("work")
    project.git("reflog", "expire", "--expire=now", "--all")
    for ref in project.git("for-each-ref", "--format=%(refname)", "refs/vespera").split():
        project.git("update-ref", "-d", ref)
    project.git("gc", "-q", "--prune=now")
    findings = [one for one in orch.worktrees.check() if "is missing" in one.sentence]
    for finding in findings:
        follow(finding.remedy, orch, project, clone=clone)
    assert findings
    assert not [one for one in orch.worktrees.check() if "is missing" in one.sentence]


@pytest.mark.parametrize("only", ["git", "orch.worktrees.remove"])
def test_records_that_came_without_commits(orch, clone, tmp_path, make, only):
    """After an import elsewhere: fetch what was saved, or start over."""
    orch.export(tmp_path / "all.jsonl")
    other = make(name="other/project", files={"b.txt": "b"})
    with vespera.open(other.folder) as there:
        there.import_(tmp_path / "all.jsonl")
        with there._scope.store._database.write() as database:
            database.execute("UPDATE worktrees SET home_id = ''")  # by an earlier version
        [finding] = there.worktrees.check()
        follow(finding.remedy, there, other, only=only, clone=clone)
        for left in there.worktrees.check():
            follow(left.remedy, there, other)
        assert there.worktrees.check() == []
        assert has_work(there) == (only == "git")


# --- errors -----------------------------------------------------------------


@pytest.mark.parametrize("broken", [folder_gone, folder_taken, unknown_to_git])
def test_the_remedy_of_a_refused_call_works(project, orch, monkeypatch, broken):
    """Save, land, catch up: what the error says makes the same call go through."""
    for name in ("snapshot", "catch_up", "merge"):
        broken(orch, project, monkeypatch)
        call = getattr(orch.worktrees, name)
        with pytest.raises(vespera.GitFailedError) as caught:
            call("work")
        follow(str(caught.value), orch, project, only="orch")
        call("work")
    assert project.git("show", "integration:half.txt") == "half"


@pytest.mark.parametrize("made", ["nothing", "a repository of its own"])
def test_the_right_folder_without_its_git_file(project, orch, made):
    """The command in the error makes it the worktree's again; a repository made there is kept."""
    folder = folder_of(orch)
    folder.joinpath(".git").unlink()
    folder.joinpath("new.txt").write_text("new")
    if made != "nothing":
        project.git("init", "-q", cwd=folder)
    with pytest.raises(vespera.WorktreeFolderLostError) as caught:
        orch.worktrees.snapshot("work")
    command = re.search("right folder and [^:]*: (.*)", str(caught.value))[1]
    subprocess.run(command, shell=True, check=True)
    orch.worktrees.snapshot("work")
    assert project.git("show", f"{WIP}work:new.txt") == "new"
    assert folder.with_name("work.git").joinpath("HEAD").exists() == (made != "nothing")


def test_a_folder_that_only_its_owner_can_find(project, orch, tmp_path):
    """Moved far away by hand, the command in the error makes it the worktree's folder again."""
    place = tmp_path / "far" / "away"
    place.parent.mkdir()
    folder_of(orch).rename(place)
    (place / "unsaved.txt").write_text("unsaved")
    with pytest.raises(vespera.WorktreeFolderLostError) as caught:
        orch.worktrees.snapshot("work")
    command = str(caught.value).replace("NEW_FOLDER", str(place))
    follow(command, orch, project, only="git")
    orch.worktrees.snapshot("work")
    assert project.git("show", f"{WIP}work:unsaved.txt") == "unsaved"


def test_a_project_without_a_repository_or_a_commit(tmp_path, project):
    """The commands in the error make both."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    with vespera.open(folder) as orch:
        orch.initialize_session("x")
        orch.plan_task("work")
        for prepare in ("", "git init -q"):
            shutil.rmtree(folder / ".git", ignore_errors=True)
            subprocess.run(prepare or "true", shell=True, cwd=folder, check=True)
            with pytest.raises(vespera.NotARepositoryError) as caught:
                orch.worktrees.create("work")
            command = caught.value.missing.partition("make one: ")[2]
            subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)
        assert Path(orch.worktrees.create("work").path, "a.txt").exists()
    assert project.folder.exists()


def test_a_branch_s_name_is_one_word_of_every_command(project):
    """A cloned home says how the integration branch is called, and git allows nearly any sign."""
    name, mark = "x;touch${IFS}mark", project.folder / "mark"
    home = project.folder / ".task_orchestrator"
    home.mkdir()
    (home / "config.toml").write_text(f"[worktrees]\nintegration_branch = '{name}'\n")
    with vespera.open(project.folder, durability="normal") as orch:
        orch.initialize_session("x")
        orch.plan_task("A")
        with orch.execute_task("a", worktree=True) as work:
            (work.path / "f").write_text("1")
            work.complete(summary="s", detailed_work="d")
        project.git("update-ref", "-d", f"refs/heads/{name}")
        said = str(orch.check())
    (command,) = re.findall(r"Bring it back: (git branch .*?)\. If", said)
    subprocess.run(command, shell=True, cwd=project.folder, check=True)
    assert not mark.exists()
    assert project.git("rev-parse", "--verify", f"refs/heads/{name}")
