"""What is saved of a worktree, when, and for how long; judged by the git command line."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vespera_orchestrator as vespera
from support.git_project import ODD, files_of
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    RefMovedError,
    UnsupportedRepositoryError,
)
from vespera_orchestrator.home.config import Config, WorktreeSettings
from vespera_orchestrator.worktrees import durability, retention
from vespera_orchestrator.worktrees.retention import EarlierSnapshot


def tree_by_git(project, folder):
    """Return the tree that ``git add -A`` would make of the folder, with an index of its own."""
    index = Path(project.git("rev-parse", "--absolute-git-dir", cwd=folder)) / "index"
    beside = project.folder.parent / "index.beside"
    shutil.copy2(index, beside)
    environment = {**os.environ, "GIT_INDEX_FILE": str(beside)}
    subprocess.run(
        ["git", "add", "-A"], cwd=folder, env=environment, check=True, capture_output=True
    )
    return subprocess.run(
        ["git", "write-tree"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


# --- the same as git would save ------------------------------------------------

NAMES = (
    "a.txt",
    "b",
    "d/a.txt",
    "d/e/b",
    "b/c",
    ODD,
    "x.log",
    os.fsdecode(b"bytes\xff"),
    ".gitignore",
    "d/.gitignore",
)
EDITS = st.one_of(
    st.tuples(
        st.just("write"),
        st.sampled_from(NAMES),
        st.sampled_from(["", "1\n", "2\n", "*.log\n", "b\n"]),
    ),
    st.tuples(
        st.sampled_from(["delete", "link", "mode", "add", "untrack"]), st.sampled_from(NAMES)
    ),
    st.tuples(st.sampled_from(["commit", "reset", "status", "stash", "snapshot", "heartbeat"])),
)


def clear(path, folder):
    """Take away whatever stands in the way of a file at *path*."""
    for place in (path, *path.parents):
        if place == folder:
            break
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place == path and place.is_dir():
            shutil.rmtree(place)


def edit(project, folder, what, name="", content=""):
    """Do one thing that an agent may do."""
    path = folder / name
    if what in ("write", "link"):
        clear(path, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("nowhere") if what == "link" else path.write_text(content)
    elif what == "delete" and name:
        clear(path, folder)
    elif what == "mode" and path.is_file() and not path.is_symlink():
        path.chmod(path.stat().st_mode ^ 0o111)
    elif what == "add":
        project.git("add", "-f", "--", name, cwd=folder, check=False)
    elif what == "untrack":
        project.git("rm", "-q", "--cached", "--ignore-unmatch", "--", name, cwd=folder, check=False)
    elif what == "commit":
        project.git("commit", "-qam", "step", cwd=folder, check=False)
    elif what == "reset":
        project.git("reset", "-q", "--hard", cwd=folder)
    elif what == "status":
        subprocess.run(
            ["git", "status"], cwd=folder, check=True, capture_output=True
        )  # writes the index
    elif what == "stash":
        project.git("stash", "-q", cwd=folder, check=False)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=st.lists(EDITS, min_size=3, max_size=14))
def test_what_is_saved_is_what_git_would_save(project, trees, edits):
    """Whatever an agent does between snapshots, each holds what ``git add -A`` would take, though
    only changes are looked at again.
    """
    worktree = trees.create("work")
    folder = Path(worktree.path)
    for what, *given_ in edits:
        edit(project, folder, what, *given_)
        if what in ("snapshot", "heartbeat"):
            assert trees.snapshot("work", passing=what == "heartbeat").tree == tree_by_git(
                project, folder
            )
    assert trees.snapshot("work").tree == tree_by_git(project, folder)
    assert trees._engine.prepare_snapshot("work", whole=True).tree == tree_by_git(project, folder)
    project.assert_sound()
    trees.remove("work")


def test_what_is_ignored_now_was_untracked_before(project, trees):
    """A file that was saved while untracked is left out once it is ignored, by whichever file says
    so; and the reverse.
    """
    folder = Path(trees.create("work").path)
    project.write({"made.o": "o", "n.txt": "n"}, folder)
    assert "made.o" in project.git("ls-tree", "--name-only", trees.snapshot("work").commit)
    with project.folder.joinpath(".git", "info", "exclude").open("a") as exclude:
        exclude.write("*.o\n")
    assert "made.o" not in project.git("ls-tree", "--name-only", trees.snapshot("work").commit)
    project.write({".gitignore": "n.txt\n"}, folder)
    assert project.git("ls-tree", "--name-only", trees.snapshot("work").commit).split() == [
        ".gitignore",
        "a.txt",
        "gone.txt",
        "src",
    ]


def test_unchanged_files_are_not_read_again(project, trees):
    """A large untracked file is read for the first snapshot and not for the next ones, in this
    process or another.
    """
    folder = Path(trees.create("work").path)
    large = folder / "large.bin"
    large.write_bytes(os.urandom(1_000_000))
    old = time.time() - 100
    os.utime(large, (old, old))
    trees.snapshot("work")
    large.chmod(0)  # whoever reads it fails, or (as root) changes its time of access
    os.utime(large, (old, old))
    for number in range(3):
        project.write({"n.txt": str(number)}, folder)
        snapshot = project.open().snapshot("work")
        assert snapshot.skipped == ()
        assert "large.bin" in project.git("ls-tree", "--name-only", snapshot.commit)
    assert large.stat().st_atime == pytest.approx(old)
    large.chmod(0o644)


def test_a_file_that_grows_above_the_limit(make):
    """It is named from then on; what was saved of it stays; a tracked one is saved at any size."""
    project = make(files={"tracked.bin": "t"})
    trees = project.open(Config(worktrees=WorktreeSettings(max_file_bytes=1000)))
    folder = Path(trees.create("work").path)
    project.write({"log.bin": b"1" * 900, "tracked.bin": b"t" * 2000}, folder)
    assert trees.snapshot("work").skipped == ()
    project.write({"log.bin": b"1" * 1100}, folder)
    snapshot = trees.snapshot("work")
    assert snapshot.skipped == ("log.bin",)
    assert project.git("cat-file", "-s", f"{snapshot.commit}:log.bin") == "900"
    assert project.git("cat-file", "-s", f"{snapshot.commit}:tracked.bin") == "2000"
    trees.merge("work")
    assert project.git("cat-file", "-s", "integration:log.bin") == "1100"


def test_split_and_sparse_indexes(project, trees, monkeypatch):
    """The user's and the agent's may be of a kind that libgit2 cannot read: git itself reads them
    for us, and theirs stay as they are.
    """
    project.commit("more", {"d/e/f.txt": "f", "d/g.txt": "g"})
    project.git("config", "core.splitIndex", "true")
    project.git("update-index", "--split-index")
    worktree = trees.create("work")
    folder = Path(worktree.path)
    index = project.folder / ".git" / "worktrees" / "work" / "index"
    project.git("update-index", "--split-index", cwd=folder)
    project.write({"n.txt": "n", "d/g.txt": "changed"}, folder)
    project.git("add", "n.txt", cwd=folder)
    before = index.read_bytes()
    assert trees.snapshot("work").tree == tree_by_git(project, folder)
    project.write({"n.txt": "more"}, folder)
    assert trees.snapshot("work").tree == tree_by_git(project, folder)
    assert index.read_bytes() == before
    assert trees.merge("work").changed
    trees.restore(trees.snapshot("work").commit, project.folder.parent / "back")

    project.git("config", "core.splitIndex", "false")
    project.git("update-index", "--no-split-index", cwd=folder)
    project.git("commit", "-qam", "mine", cwd=folder)
    project.git("sparse-checkout", "set", "--cone", "--sparse-index", "src", cwd=folder)
    assert not folder.joinpath("d").exists()
    project.write({"n.txt": "sparse"}, folder)
    before = index.read_bytes()
    assert b"sdir" in before
    saved = trees.snapshot("work")
    assert project.git("show", f"{saved.commit}:n.txt") == "sparse"
    assert project.git("ls-tree", "-r", "--name-only", saved.commit).count("d/e/f.txt") == 1
    assert index.read_bytes() == before
    project.write({"n.txt": "again"}, folder)
    index.touch()
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(UnsupportedRepositoryError, match="a sparse index") as caught:
        trees.snapshot("work")
    assert "install git" in caught.value.remedy


# --- how long it is kept ---------------------------------------------------------


def test_history_is_thinned_and_named_ones_stay():
    """All of the last hour, the last of each hour for a week, the last of each day; whatever was
    named.
    """
    now = 1_000 * 86_400
    passing = [
        EarlierSnapshot(commit=f"{n:040}", at=now - n * 600, named=False) for n in range(20 * 144)
    ]  # every ten minutes for twenty days
    named = [
        EarlierSnapshot(commit=f"a{n:039}", at=now - n * 7200 - 60, named=True) for n in range(240)
    ]
    kept = retention.thin_out([*passing, *named], now)
    assert set(named) <= set(kept)
    left = [one for one in kept if not one.named]
    assert [one for one in left if now - one.at < 3600] == sorted(
        passing[:6], key=lambda one: one.at
    )
    assert 6 + 6 * 24 + 12 <= len(left) <= 6 + 7 * 24 + 15
    assert max(one.at for one in left) == now
    assert retention.thin_out(kept, now) == kept
    # However often it is thinned on the way, at no moment an hour or a day is without one.
    run: list[EarlierSnapshot] = []
    for one in sorted(passing, key=lambda one: one.at):
        run = retention.thin_out([*run, one], one.at)
    days = {one.at // 86_400 for one in passing}
    assert {one.at // 86_400 for one in run} == days


def test_heartbeats_are_thinned_and_checkpoints_are_not(project, trees, monkeypatch):
    """Of a day of heartbeats a few remain; each commit that somebody was told stays, also when it
    was a heartbeat's.
    """
    folder = Path(trees.create("work").path)
    clock = [1_700_000_000]
    monkeypatch.setattr(time, "time", lambda: float(clock[0]))
    told = []
    for number in range(60):
        clock[0] += 600
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{clock[0]} +0000")
        project.write({"n.txt": str(number)}, folder)
        beat = trees.snapshot("work", passing=True)
        if number in (7, 33):
            named = trees.snapshot("work")  # a checkpoint of the same files
            assert (named.changed, named.commit) == (False, beat.commit)
            told.append(beat.commit)
    monkeypatch.undo()
    reachable = project.git("rev-list", "refs/vespera/history/work").split()
    assert set(told) <= set(reachable)


def test_many_named_snapshots_stay_reachable(project, trees, monkeypatch):
    """History folds when it gets long, and nothing of it is lost; removal takes all of it along."""
    monkeypatch.setattr(retention, "_MOST_PARENTS", 6)
    monkeypatch.setattr(retention, "_FOLDED", 4)
    folder = Path(trees.create("work").path)
    saved = []
    for number in range(20):
        project.write({"n.txt": str(number)}, folder)
        saved.append(trees.snapshot("work").commit)
    parents = project.git("log", "-1", "--format=%P", "refs/vespera/history/work").split()
    assert len(parents) <= 7
    removed = trees.remove("work")
    assert project.git("for-each-ref", "--format=%(refname)", "refs/vespera") == removed.rescue_ref
    project.git("gc", "-q", "--prune=now")
    assert [project.git("show", f"{commit}:n.txt") for commit in saved] == [
        str(number) for number in range(20)
    ]
    project.assert_sound()


def test_a_save_looks_at_no_earlier_snapshot_again(project, trees, monkeypatch):
    """What is in the history is on disk, however long it is: only two new commits are read."""
    worktree = trees.create(agent="ada")
    place = Path(worktree.path)
    looked_at = []
    look = durability.new_in_tree
    monkeypatch.setattr(
        durability,
        "new_in_tree",
        lambda repo, tree, known: looked_at.append(tree) or look(repo, tree, known),
    )
    counts = []
    for number in range(6):
        looked_at.clear()
        project.write({"a.txt": f"{number}"}, place)
        trees.snapshot(worktree)
        counts.append(len(looked_at))
    assert counts[1:] == [2] * 5  # the snapshot, and the commit that names the one before


def test_a_heartbeat_that_a_checkpoint_names_meanwhile_is_kept(project, trees):
    """Two savers at once: the heartbeat's snapshot that a checkpoint has just named does not pass
    for an unnamed one.
    """
    folder = Path(trees.create("work").path)
    project.write({"n.txt": "1"}, folder)
    beat = trees.snapshot("work", passing=True)
    checkpoint = trees._engine.prepare_snapshot("work")
    project.write({"n.txt": "2"}, folder)
    later = trees._engine.prepare_snapshot("work", passing=True)
    checkpoint.pin()
    later.pin()
    assert f"{beat.commit} " in project.git("log", "-1", "--format=%B", "refs/vespera/history/work")
    assert "named" in project.git("log", "-1", "--format=%B", "refs/vespera/history/work")

    project.write({"n.txt": "3"}, folder)
    third = trees._engine.prepare_snapshot("work", passing=True)
    named = trees._engine.prepare_snapshot("work", note="of other files")
    third.pin()
    with pytest.raises(RefMovedError):
        named.pin()


def test_a_save_that_succeeded_is_none_that_failed(project, trees, monkeypatch):
    """Its ref has moved; that old evidence cannot be removed on a full disk changes nothing."""
    folder = Path(trees.create("work").path)
    project.write({"n.txt": "1"}, folder)
    trees.snapshot("work", passing=True)
    project.write({"n.txt": "2"}, folder)
    unlink = Path.unlink

    def refuse(path, **kwargs):
        if path.name == "passing":
            raise OSError(errno.ENOSPC, "no room", str(path))
        unlink(path, **kwargs)

    monkeypatch.setattr(Path, "unlink", refuse)
    named = trees.snapshot("work")
    project.write({"n.txt": "3"}, folder)
    trees.snapshot("work")
    history = project.git("log", "-1", "--format=%B", "refs/vespera/history/work").splitlines()
    assert [line.split()[2] for line in history if line.startswith(named.commit)] == ["named"]


# --- what git takes away beside us --------------------------------------------------


def test_objects_pruned_before_a_ref_held_them_are_written_again(project, trees):
    """``git gc --prune=now`` between the taking and the pinning costs a second try, never a commit
    with holes.

    Git has the files already, in objects that nothing holds.
    """
    folder = Path(trees.create("work").path)
    project.write({"n.txt": "precious", "deep/er/m.txt": "too"}, folder)
    for victim in ("n.txt", "deep/er/m.txt", "deep", ""):
        tree = tree_by_git(project, folder)
        taken = trees._engine.prepare_snapshot("work")
        object_name = project.git("rev-parse", f"{tree}:{victim}")
        project.folder.joinpath(".git", "objects", object_name[:2], object_name[2:]).unlink()
        with pytest.raises(RefMovedError) as caught:
            taken.pin()
        assert caught.value.retryable
    tree_by_git(project, folder)
    taken = trees._engine.prepare_snapshot("work")
    for path in project.folder.joinpath(".git", "objects").glob("??/*"):
        os.utime(path, (1, 1))
    project.git("prune", "--expire=now")
    with pytest.raises(RefMovedError):
        taken.pin()
    saved = trees.snapshot("work")
    assert project.git("show", f"{saved.commit}:deep/er/m.txt") == "too"
    project.assert_sound()


def test_a_prune_that_read_the_refs_before_deletes_nothing_of_it(project, trees):
    """What is saved is in a pack: a ``git prune`` deletes every loose object that no ref held."""
    folder = Path(trees.create("work").path)
    git_dir = project.folder / ".git"
    loose = set(git_dir.joinpath("objects").glob("??/*"))
    for number in range(3):
        project.write({"n.txt": f"precious {number}", "deep/er/m.txt": "too"}, folder)
        saved = trees.snapshot("work")
        for path in set(git_dir.joinpath("objects").glob("??/*")) - loose:
            path.unlink()  # as git would
        assert project.git("show", f"{saved.commit}:n.txt") == f"precious {number}"
    project.assert_sound()


# --- when it is saved ----------------------------------------------------------------


@pytest.fixture
def orch(project):
    """Return an orchestrator of the project with a session, whose clock stands still."""
    now = [utcnow()]
    with vespera.open(project.folder, clock=lambda: now[0]) as opened:
        opened.initialize_session("test")
        opened.now = now
        yield opened


def saved_text(project, name, path):
    """Return what the latest snapshot of the worktree has at *path*."""
    return project.git("show", f"refs/vespera/wip/{name}:{path}")


def test_heartbeat_failure_release_cancel_and_expiry_save(project, orch):
    """Whatever ends or renews a hold saves the files, also when it is somebody else who notices
    that the holder fell silent.
    """
    for number, end in enumerate(("heartbeat", "release", "fail", "cancel", "expire")):
        task = orch.plan_task(f"part {number}")
        work = orch.execute_task(task, worktree=True, lease_s=60)
        project.write({"n.txt": end}, work.path)
        if end == "heartbeat":
            work.heartbeat()
        elif end == "release":
            work.release()
        elif end == "fail":
            work.fail("did not work")
        elif end == "cancel":
            orch.cancel_task(task)
        else:
            orch.now[0] += timedelta(seconds=61)
            with vespera.open(
                project.folder, clock=lambda: orch.now[0], agent="somebody else"
            ) as other:
                assert "part_4" in str(other.ready_tasks())
        assert saved_text(project, task.alias, "n.txt") == end
    project.assert_sound()


def test_a_heartbeat_beside_a_completion_does_not_warn_of_files_that_have_landed(
    project, orch, caplog
):
    """Its worktree is gone because its files are on the integration branch. A worktree that is
    missing while the task is held is still named.
    """
    orch.plan_tasks([{"title": "part"}, {"title": "lost"}])
    work = orch.execute_task("part", worktree=True, lease_s=60)
    beside = orch.work("part")
    project.write({"n.txt": "landed"}, work.path)
    work.complete(summary="s", detailed_work="d")
    for call in (beside.heartbeat, beside.release, lambda: beside.checkpoint({"at": 1})):
        with pytest.raises(vespera.LeaseLostError, match="the task is completed"):
            call()
    assert not [record for record in caplog.records if "could not be saved" in record.message]
    lost = orch.execute_task("lost", worktree=True, lease_s=60)
    shutil.rmtree(lost.path)
    lost.heartbeat()
    assert "the files of lost could not be saved" in caplog.text


def test_a_heartbeat_soon_after_a_save_looks_at_no_file(project, orch):
    """Each one saves; with ``heartbeat_save_s`` it only renews within that time of the last save.

    A checkpoint always saves.
    """
    orch.plan_task("part")
    work = orch.execute_task("part", worktree=True, lease_s=60)
    for number in range(3):
        project.write({"n.txt": f"each {number}"}, work.path)
        work.heartbeat()
        assert saved_text(project, "part", "n.txt") == f"each {number}"
    work.release()
    project.folder.joinpath(".task_orchestrator", "config.toml").write_text(
        "[worktrees]\nheartbeat_save_s = 5\n"
    )
    with vespera.open(project.folder, clock=lambda: orch.now[0]) as again:
        work = again.execute_task("part", lease_s=60)
        steps = [
            (0, "heartbeat", 0),
            (4, "heartbeat", 0),
            (0, "checkpoint", 2),
            (3, "heartbeat", 2),
            (2, "heartbeat", 4),
        ]
        for number, (seconds, what, expected) in enumerate(steps):
            orch.now[0] += timedelta(seconds=seconds)
            project.write({"n.txt": str(number)}, work.path)
            work.heartbeat() if what == "heartbeat" else work.checkpoint({})
            assert saved_text(project, "part", "n.txt") == str(expected)
            assert work.attempt.lease_until >= orch.now[0] + timedelta(seconds=55)


def test_a_holder_that_was_replaced_moves_nothing(project, orch):
    """Its heartbeat and checkpoint raise, and the snapshot ref stays with the new holder."""
    orch.plan_task("part")
    first = orch.execute_task("part", worktree=True, agent="first")
    second = orch.execute_task("part", agent="second", take_over=True)
    project.write({"n.txt": "second's"}, second.path)
    second.checkpoint({})
    before = project.git("rev-parse", "refs/vespera/wip/part")
    project.write({"n.txt": "first's"}, first.path)
    with pytest.raises(LeaseLostError):
        first.heartbeat()
    with pytest.raises(LeaseLostError):
        first.checkpoint({})
    assert project.git("rev-parse", "refs/vespera/wip/part") == before


def test_an_attempt_that_starts_again_gets_its_files_back(project, orch):
    """Exactly those of the last save, by name, kind and content, though the folder was deleted."""
    orch.plan_task("part")
    work = orch.execute_task("part", worktree=True)
    project.write({ODD: "odd", "run.sh": "#!/bin/sh\n", "a.txt": "changed\n"}, work.path)
    (work.path / "run.sh").chmod(0o755)
    (work.path / "link").symlink_to("a.txt")
    (work.path / "gone.txt").unlink()
    work.checkpoint({"at": 1})
    saved = files_of(work.path)
    work.release()
    shutil.rmtree(work.path)
    again = orch.execute_task("part")
    assert files_of(again.path) == saved
    assert again.resumed_from.state == {"at": 1}


def test_what_is_not_saved_is_told(project):
    """The limit on single files is told by the work, by the event and in the next attempt's
    briefing.
    """
    home = project.folder / ".task_orchestrator"
    vespera.open(project.folder).close()
    home.joinpath("config.toml").write_text("[worktrees]\nmax_file_bytes = 1000\n")
    with vespera.open(project.folder) as orch:
        orch.initialize_session("test")
        orch.plan_task("part")
        work = orch.execute_task("part", worktree=True)
        project.write({"big.bin": b"x" * 1001, "n.txt": "n"}, work.path)
        assert work.left_out == ()
        work.checkpoint({})
        assert work.left_out == ("big.bin",)
        [event] = orch._store.events(kinds=("checkpoint_saved",))
        assert event.data["left_out"] == ["big.bin"]
        work.release()
        again = orch.execute_task("part")
        assert "big.bin" in again.briefing()


# --- worktrees that several tasks share --------------------------------------------------


def test_one_worktree_for_an_agent(project, orch):
    """Its tasks follow each other in one folder; each lands what is there, and the folder stays."""
    for title in ("one", "two"):
        orch.plan_task(title)
    with orch.execute_task("one", worktree="agent", agent="ada") as work:
        place = work.path
        project.write({"one.txt": "1"}, work.path)
        work.complete(summary="one", detailed_work="one")
    assert project.git("show", "integration:one.txt") == "1"
    two = orch.execute_task("two", worktree="agent", agent="ada")
    assert two.path == place
    assert (place / "one.txt").read_text() == "1"
    project.write({"two.txt": "2"}, place)
    two.release()
    again = orch.execute_task("two", agent="bob")  # who takes it up goes on where it lies
    assert again.path == place
    orch.complete_task("two", summary="two", detailed_work="two")
    assert project.git("log", "--format=%s", "integration").split("\n") == ["two", "one", "first"]
    [worktree] = orch.worktrees.list()
    assert (worktree.agent, Path(worktree.path)) == ("ada", place)
    orch.worktrees.remove(worktree)
    project.assert_sound()


def test_one_worktree_for_a_subtree(project, orch):
    """Everything below a task works in its folder, which goes when that task has landed."""
    orch.plan_tasks(
        [{"title": "whole", "children": [{"title": "half", "children": [{"title": "quarter"}]}]}]
    )
    for title in ("quarter", "half", "whole"):
        with orch.execute_task(title, worktree="subtree") as work:
            assert work.worktree.name == "whole"
            project.write({f"{title}.txt": title}, work.path)
            work.complete(summary=title, detailed_work=title)
    assert project.git("log", "--format=%s", "integration").split("\n") == [
        "whole",
        "half",
        "quarter",
        "first",
    ]
    assert orch.worktrees.list() == []
    with pytest.raises(InvalidInputError, match="'subtree'"):
        orch.execute_task("whole", worktree="all")
