"""Objects that are gone although a ref of ours names them: told, and the work goes on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pygit2
import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import UnreadableObjectError
from vespera_orchestrator.worktrees import engine, lost_objects
from vespera_orchestrator.worktrees.landed_mark import LandedMark


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Nobody else moves objects here."""
    monkeypatch.setattr(engine, "_PAUSES_S", ())
    monkeypatch.setattr(lost_objects, "_PAUSES_S", ())


@pytest.fixture
def worktree(project, trees):
    """A worktree that was landed twice, has earlier snapshots, and files that are not saved."""
    worktree = trees.create("work")
    other = trees.create("other")
    project.write({"other.txt": "theirs"}, other.path)
    trees.merge(other, message="theirs")
    trees.remove(other)
    for number in range(2):
        project.write({f"w{number}.txt": f"content {number}"}, worktree.path)
        trees.snapshot(worktree)
        trees.merge(worktree, message="part")
    project.write({"saved.txt": "saved"}, worktree.path)
    trees.snapshot(worktree)
    project.write({"new.txt": "not saved yet"}, worktree.path)
    return worktree


def lose(project, what):
    """Take an object away, wherever it is."""
    name = project.git("rev-parse", what)
    folder = project.folder / ".git" / "objects"
    for pack in folder.glob("pack/*.pack"):
        content = pack.read_bytes()
        for file in folder.glob(f"pack/{pack.stem}.*"):
            file.unlink()
        command = ["git", "unpack-objects", "-q"]
        subprocess.run(command, cwd=project.folder, input=content, check=True)
    folder.joinpath(name[:2], name[2:]).unlink()
    return name


def landed(project):
    """The names of the files on the integration branch."""
    return set(project.git("ls-tree", "--name-only", "integration").split())


LOSSES = [
    "refs/vespera/wip/work",
    "refs/vespera/wip/work^{tree}",
    "refs/vespera/wip/work:src",
    "refs/vespera/wip/work:saved.txt",
    "refs/vespera/wip/work:src/b.py",
    "refs/vespera/history/work",
    "refs/vespera/history/work^1:w0.txt",
    "refs/vespera/landed/work",
    "refs/vespera/landed/work^{tree}",
    "refs/vespera/landed/work^1",
]


@pytest.mark.parametrize("what", LOSSES)
def test_whatever_is_gone_the_files_in_the_folder_land(project, trees, worktree, what):
    """The call that meets it goes on without it, and git is sound again afterwards."""
    lose(project, what)
    assert trees.check()
    trees.forecast()
    landing = trees.merge(worktree, message="the rest")
    assert landing.changed
    assert {"w0.txt", "w1.txt", "saved.txt", "new.txt"} < landed(project)
    trees.repair()
    assert not trees.check()
    project.assert_sound()
    project.git("gc", "-q", "--prune=now")


@pytest.mark.usefixtures("worktree")
@pytest.mark.parametrize("what", ["refs/vespera/wip/work:src", *LOSSES[3:6]])
def test_repair_keeps_the_rest(project, trees, what):
    """Of each snapshot it keeps what is there, and says what is not."""
    lose(project, what)
    said = trees.repair()
    assert any(" of work (refs/vespera/" in line or "written again" in line for line in said)
    assert not trees.check()
    kept = project.git("ls-tree", "-r", "--name-only", "refs/vespera/wip/work").split()
    assert {"w0.txt", "w1.txt"} <= set(kept)
    project.assert_sound()


def test_the_list_of_snapshots_is_made_again_from_the_checkpoints(project):
    """What a checkpoint names stays, though nothing else leads to it any more."""
    with vespera.open(project.folder) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("Work")
        work = orch.execute_task("work", worktree=True)
        named = []
        for number in range(3):
            project.write({"a.txt": str(number)}, work.path)
            named.append(work.checkpoint({}).snapshot)
        lose(project, "refs/vespera/history/work")
        work.checkpoint({})
        project.git("gc", "-q", "--prune=now")
        assert [project.git("show", f"{commit}:a.txt") for commit in named] == ["0", "1", "2"]
        assert not orch.check().errors


def test_a_snapshot_without_a_folder_comes_back_with_what_is_left(project, trees, worktree):
    """The next attempt gets all files but the one that git has lost."""
    lose(project, "refs/vespera/wip/work:saved.txt")
    project.git("worktree", "remove", "--force", "--force", worktree.path)
    (said,) = trees.repair()
    assert "saved.txt" in said
    again = trees.create("work")
    names = {path.name for path in Path(again.path).iterdir()}
    assert {"w0.txt", "w1.txt", "a.txt"} < names
    assert "saved.txt" not in names


@pytest.mark.parametrize(("what", "detached"), [("HEAD", True), ("HEAD~1", False)])
def test_a_commit_of_the_agents_that_is_gone(project, trees, worktree, what, detached):
    """As after a power cut beside a git that did not wait for the disk: its files are there."""
    if detached:
        project.git("checkout", "-q", "--detach", cwd=worktree.path)
    for number in range(2):
        project.commit("own", {f"own{number}.txt": "own"}, worktree.path)
    head = project.git("rev-parse", what, cwd=worktree.path)
    lose(project, head)
    trees.merge(worktree, message="the rest")
    assert {"own0.txt", "own1.txt", "new.txt"} < landed(project)
    project.git("log", cwd=worktree.path)
    project.git("gc", "-q", "--prune=now")


@pytest.mark.parametrize(
    ("ref", "text"), [("refs/vespera/wip/work", ""), ("refs/heads/feature/work", "nonsense\n")]
)
def test_a_ref_that_names_nothing(project, trees, worktree, ref, text):
    """It was cut short, as the one of a git that did not wait for the disk."""
    project.folder.joinpath(".git", ref).write_text(text)
    trees.check()
    trees.forecast()
    trees.merge(worktree, message="the rest")
    assert {"saved.txt", "new.txt"} < landed(project)
    project.assert_sound()


def test_what_was_kept_of_others_is_listed_and_mended(project, trees):
    """One that is gone hides no other; the remedies that `check` names work."""
    for name in ("one", "two"):
        made = trees.create(agent=name)
        project.write({f"{name}.txt": name}, made.path)
        trees.remove(made)
    clone = project.folder.with_name("clone.git")
    project.git("clone", "-q", "--mirror", ".", str(clone))
    (ref,) = (item.ref for item in trees.rescue() if item.name == "one")
    lose(project, ref)
    assert [item.name for item in trees.rescue()] == ["two"]
    (finding,) = trees.check()
    remedy = finding.remedy.partition(",")[0].replace("CLONE", str(clone))
    project.git(*remedy.split()[1:])
    assert [item.name for item in trees.rescue()] == ["two", "one"]
    assert not trees.check()
    lose(project, ref)
    trees.repair()
    (finding,) = trees.check()
    remedy = finding.remedy.partition(": ")[2].partition(";")[0].replace("CLONE", str(clone))
    project.git(*remedy.split()[1:])
    assert not trees.check()
    assert len(trees.rescue()) == 2
    project.assert_sound()


def test_a_hole_in_the_integration_branch_is_told_with_what_brings_it(project, trees, worktree):
    """Nobody here can mend that; nothing of ours is forgotten for it, and fetching helps."""
    clone = project.folder.with_name("clone.git")
    project.git("clone", "-q", "--mirror", ".", str(clone))
    mark = project.git("rev-parse", "refs/vespera/landed/work")
    lose(project, "integration")
    with pytest.raises(UnreadableObjectError, match="--refetch"):
        trees.merge(worktree, message="the rest")
    assert project.git("rev-parse", "refs/vespera/landed/work") == mark
    finding = next(each for each in trees.check() if "integration" in each.remedy)
    remedy = finding.remedy.rpartition(": ")[2].replace("CLONE", str(clone))
    project.git(*remedy.split()[1:])
    trees.merge(worktree, message="the rest")
    assert {"saved.txt", "new.txt"} < landed(project)
    assert trees.check() == []


def test_others_are_saved_beside_a_damaged_one(project, trees, worktree):
    """One worktree whose snapshots have a hole keeps nobody else from saving."""
    other = trees.create("fresh")
    head = project.commit("own", {"own.txt": "own"}, worktree.path)
    trees.snapshot(worktree)
    lose(project, head)
    project.write({"theirs.txt": "theirs"}, other.path)
    assert trees.snapshot(other).changed


def test_what_comes_back_in_a_moment_is_not_taken_for_lost(project, trees, worktree, monkeypatch):
    """A ``git gc`` moves objects, and is done soon."""
    before = project.git("rev-parse", "refs/vespera/landed/work")
    content = project.git("cat-file", "commit", before)
    lose(project, before)

    def come_back(_):
        command = ("hash-object", "-t", "commit", "-w", "--stdin")
        project.git(*command, text=f"{content}\n".encode())

    monkeypatch.setattr(lost_objects, "_PAUSES_S", (1.0,))
    monkeypatch.setattr(lost_objects.time, "sleep", come_back)
    trees.snapshot(worktree)
    assert project.git("rev-parse", "refs/vespera/landed/work") == before
    project.assert_sound()


@pytest.mark.usefixtures("worktree")
def test_git_keeps_all_that_a_mark_counts_from(project, trees):
    """Its files are of another snapshot, which may be thinned out long before."""
    repo = pygit2.Repository(str(project.folder))
    blob = repo.create_blob(b"of nobody else")
    builder = repo.TreeBuilder()
    builder.insert("origin.txt", blob, pygit2.enums.FileMode.BLOB)
    mark = LandedMark(
        tree=project.git("rev-parse", "refs/vespera/wip/work^{tree}"),
        snapshot=project.git("rev-parse", "refs/vespera/wip/work"),
        seen=project.git("rev-parse", "integration"),
        origin=str(builder.write()),
    )
    commit = mark.write(repo, "caught up")
    project.git("update-ref", "refs/vespera/landed/work", commit)
    project.git("reflog", "expire", "--expire=now", "--all")
    project.git("repack", "-a", "-d", "-q")
    project.git("gc", "-q", "--prune=now")
    read = LandedMark.read(pygit2.Repository(str(project.folder)), commit)
    assert (read.tree, read.snapshot, read.seen) == (mark.tree, mark.snapshot, mark.seen)
    assert project.git("show", f"{read.origin}:origin.txt") == "of nobody else"
    assert not trees.check()


@pytest.mark.parametrize("way", ["folder there", "folder gone", "removed"])
@pytest.mark.parametrize("is_repaired", [False, True])
def test_refs_of_ours_that_somebody_deleted(project, way, is_repaired):
    """As ``git fetch --prune`` of a mirror does: the work goes on from what was saved last."""
    with vespera.open(project.folder, agent="ada") as orch:
        orch.initialize_session("refs")
        orch.plan_task("Task")
        work = orch.execute_task("task", worktree=True)
        project.write({"work.txt": "first"}, work.path)
        first = work.checkpoint({})
        project.write({"work.txt": "last"}, work.path)
        work.release()
        if way == "removed":
            orch.worktrees.remove("task")
        elif way == "folder gone":
            shutil.rmtree(work.path)
        for ref in project.git("for-each-ref", "--format=%(refname)", "refs/vespera").split():
            project.git("update-ref", "-d", ref)
        if is_repaired:
            orch.worktrees.repair()
        work = orch.execute_task("task")
        assert (work.path / "work.txt").read_text() == "last"
        project.git("gc", "--quiet", "--prune=now")
        assert project.git("show", f"{first.snapshot}:work.txt") == "first"
        work.complete(summary="done", detailed_work="all of it")
        assert project.git("show", "integration:work.txt") == "last"
        assert orch.check().findings == ()
