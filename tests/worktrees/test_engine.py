"""Git worktrees, judged by the git command line."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import TESTS
from support.git_project import ODD, Project, files_of, fingerprint
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.errors import (
    GitFailedError,
    InvalidInputError,
    MergeConflictError,
    NotARepositoryError,
    OperationUnderWayError,
    RefMovedError,
    UnsupportedRepositoryError,
    WorktreeFolderLostError,
    WorktreeNotFoundError,
)
from vespera_orchestrator.home.config import Config, WorktreeSettings

WORKER = TESTS / "support" / "worktrees_worker.py"


# --- the way of a worktree ---------------------------------------------------


def test_a_worktree_is_made_saved_landed_and_removed(project, trees):
    """The whole way, each step as git sees it."""
    worktree = trees.create("work")
    folder = Path(worktree.path)
    assert (worktree.name, worktree.branch, worktree.state) == ("work", "feature/work", "active")
    assert folder == project.folder.parent / "worktrees" / "work"
    assert "branch refs/heads/feature/work" in project.listed()[str(folder)]
    assert "locked vespera_orchestrator" in project.listed()[str(folder)]
    assert project.git("status", "--porcelain", cwd=folder) == ""
    assert files_of(folder) == files_of(project.folder)
    assert (
        project.git("rev-parse", "integration") == worktree.base == project.git("rev-parse", "HEAD")
    )

    project.write({"a.txt": "one\n2\nthree\n", "new/n.txt": "n\n", "noise.log": "z"}, folder)
    (folder / "gone.txt").unlink()
    snapshot = trees.snapshot(worktree, note="half way")
    assert snapshot.changed
    assert project.git("rev-parse", "refs/vespera/wip/work") == snapshot.commit
    assert project.git("ls-tree", "-r", "--name-only", snapshot.commit).split() == [
        ".gitignore",
        "a.txt",
        "new/n.txt",
        "src/b.py",
    ]
    assert (
        project.git("log", "-1", "--format=%an %ae %s", snapshot.commit)
        == "Ada ada@example.org half way"
    )

    landing = trees.merge("work", message="Do the work\n\nTask: work")
    assert landing.changed
    assert project.git("log", "--format=%s", "integration").split("\n") == ["Do the work", "first"]
    assert project.git("rev-parse", "integration^{tree}") == landing.tree == snapshot.tree
    assert trees.find("work").landed == landing.commit == project.git("rev-parse", "integration")
    assert trees.find("work").state == "landed"

    removed = trees.remove("work")
    assert not folder.exists()
    assert list(project.listed()) == [str(project.folder)]
    assert project.git("branch", "--format=%(refname:short)").split() == ["integration", "main"]
    assert project.git("for-each-ref", "--format=%(refname)", "refs/vespera") == removed.rescue_ref
    assert project.git("merge-base", "--is-ancestor", snapshot.commit, removed.rescue_ref) == ""
    assert trees.list() == []
    assert [w.state for w in trees.list(include_removed=True)] == ["removed"]
    kinds = [
        event.kind for event in project.stores[0].events() if event.kind.startswith("worktree")
    ]
    assert kinds == ["worktree_created", "worktree_landed", "worktree_removed"]
    assert trees.remove(worktree) == removed
    project.assert_sound()


def test_create_is_idempotent(trees):
    """The same task or agent gets the same worktree, found by task, alias and name."""
    worktree = trees.create("work")
    assert trees.create("work") == trees.create(worktree.task_id) == worktree
    mine = trees.create(agent="odd/../agent: näme")
    assert mine.name == "odd_agent_näme"
    assert trees.create(agent="odd/../agent: näme") == mine
    assert trees.create().agent == "main"
    assert trees.find("work") == trees.find(worktree.task_id) == trees.find(worktree) == worktree
    assert trees.find("nothing") is None
    with pytest.raises(WorktreeNotFoundError, match="'nothing'"):
        trees.snapshot("nothing")


def test_a_lost_folder_comes_back_with_the_last_snapshot(project, trees):
    """Whether only the folder is gone, or git's entry and the branch as well, every saved file is
    back, and nothing else.
    """
    worktree = trees.create("work")
    folder = Path(worktree.path)
    project.write({ODD: "odd", "a.txt": "changed\n", "staged.txt": "s"}, folder)
    project.git("add", "staged.txt", cwd=folder)
    (folder / "gone.txt").unlink()
    trees.snapshot("work")
    saved = files_of(folder)
    subprocess.run(["rm", "-rf", folder], check=True)
    assert trees.create("work") == worktree
    assert files_of(folder) == saved
    assert project.git("status", "--porcelain", cwd=folder).split("\n")[:3] == [
        " M a.txt",
        " D gone.txt",
        "A  staged.txt",
    ]

    project.git("worktree", "unlock", str(folder))
    project.git("worktree", "remove", "--force", str(folder))
    project.git("branch", "-D", "feature/work")
    assert trees.create("work") == worktree
    assert files_of(folder) == saved
    assert project.git("symbolic-ref", "HEAD", cwd=folder) == "refs/heads/feature/work"
    assert not trees.snapshot("work").changed
    project.assert_sound()


def test_files_of_a_damaged_worktree_are_never_written_over(project, trees):
    """When git's entry or the .git file is lost, the files stay as they are and are usable
    again: at once, or after the remedy that the error names.
    """
    worktree = trees.create("work")
    folder = Path(worktree.path)
    trees.snapshot("work")
    project.write({"unsaved.txt": "precious"}, folder)
    subprocess.run(["rm", "-rf", project.folder / ".git" / "worktrees" / "work"], check=True)
    assert trees.create("work") == worktree
    assert (folder / "unsaved.txt").read_text() == "precious"
    (folder / ".git").unlink()
    with pytest.raises(WorktreeFolderLostError) as caught:
        trees.snapshot("work")
    remedy = caught.value.reason.partition("was lost: ")[2]
    subprocess.run(remedy, shell=True, check=True)
    assert trees.create("work") == worktree
    assert project.git("status", "--porcelain", cwd=folder) == "?? unsaved.txt"
    subprocess.run(["rm", "-rf", project.folder / ".git" / "worktrees" / "work"], check=True)
    removed = trees.remove("work")
    assert "unsaved.txt" in project.git("ls-tree", "--name-only", removed.rescue_ref)


def test_names_give_way_to_what_is_not_ours(project, trees):
    """Folders, branches and git's own entries of others are left alone; ours get a number."""
    root = project.folder.parent / "worktrees"
    (root / "work").mkdir(parents=True)
    project.git("branch", "feature/work-2")
    project.git("branch", "feature/work-3/below")
    project.git(
        "worktree", "add", "-q", "-b", "theirs", str(project.folder.parent / "elsewhere" / "work-4")
    )
    worktree = trees.create("work")
    assert (worktree.name, worktree.branch, Path(worktree.path).name) == (
        "work-5",
        "feature/work-5",
        "work-5",
    )
    assert trees.remove(worktree).state == "removed"
    assert "theirs" in project.git("branch")
    project.assert_sound()


def test_a_chosen_folder_and_branch(project, trees):
    """The caller's own choice is taken, or refused with the reason; it cannot be the project's
    own.
    """
    worktree = trees.create("work", path=".trees/x y", branch="topic/one")
    assert worktree.path == str(project.folder / ".trees" / "x y")
    assert worktree.branch == "topic/one"
    assert project.git("status", "--porcelain") == ""
    with pytest.raises(InvalidInputError, match="not empty"):
        trees.create("other", path=project.folder / "src")
    for path in (project.folder, project.folder / ".git" / "x"):
        with pytest.raises(InvalidInputError, match="project's own"):
            trees.create("other", path=path)
    for branch in ("topic/one", "topic"):
        with pytest.raises(InvalidInputError, match="exists already"):
            trees.create("other", branch=branch)
    for branch in ("../x", "-x", "a b", "HEAD", "x.lock", ""):
        with pytest.raises(InvalidInputError, match="cannot name a branch"):
            trees.create("other", branch=branch)
    project.git("branch", "feature")
    with pytest.raises(GitFailedError, match="branch_prefix"):
        trees.create("other")
    project.assert_sound()


# --- the user's checkout -------------------------------------------------------


def test_the_users_checkout_stays_as_it_is(project, trees):
    """Staged, unstaged, untracked and ignored files, HEAD, index and stash hash the same before and
    after everything we do.
    """
    project.write({"a.txt": "stash me\n"})
    project.git("stash")
    project.write(
        {
            "a.txt": "staged\n",
            "src/b.py": "b = 'unstaged'\n",
            "untracked.txt": "u",
            "x.log": "ignored",
            "build/o": "i",
        }
    )
    project.git("add", "a.txt")
    project.git("status")
    before = fingerprint(project)
    for task in ("work", "other"):
        worktree = trees.create(task)
        project.write({f"{task}.txt": task, "a.txt": "one\ntwo\nthree\nfour\n"}, worktree.path)
        trees.snapshot(task)
        trees.merge(task)
    trees.remove("work")
    trees.restore(trees.rescue()[0], project.folder.parent / "restored")
    trees.repair()
    assert fingerprint(project) == before
    project.assert_sound()


# --- snapshots ------------------------------------------------------------------


def test_a_snapshot_leaves_index_head_and_hooks_alone(project, trees):
    """What the agent staged stays staged, byte for byte; no hook runs."""
    worktree = trees.create("work")
    folder = Path(worktree.path)
    hook = project.folder / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    project.write({"a.txt": "staged\n", "t.txt": "t"}, folder)
    project.git("add", "a.txt", cwd=folder)
    project.write({"a.txt": "and more\n"}, folder)
    admin = project.folder / ".git" / "worktrees" / "work"
    before = (
        [admin.joinpath(name).read_bytes() for name in ("index", "HEAD")],
        project.git("rev-parse", "feature/work"),
    )
    snapshot = trees.snapshot("work")
    assert (
        [admin.joinpath(name).read_bytes() for name in ("index", "HEAD")],
        project.git("rev-parse", "feature/work"),
    ) == before
    assert project.git("show", f"{snapshot.commit}:a.txt") == "and more"
    assert not list(folder.glob("ran"))
    environment = {**os.environ, "GIT_INDEX_FILE": str(project.folder.parent / "index")}
    subprocess.run(
        "git read-tree HEAD && git add -A", shell=True, cwd=folder, env=environment, check=True
    )
    tree = subprocess.run(
        ["git", "write-tree"],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert tree.stdout.strip() == snapshot.tree


def test_an_unchanged_snapshot_makes_no_commit(project, trees):
    """Nothing is written when nothing changed; a commit of the agent's own is pinned even when it
    changes no file.
    """
    worktree = trees.create("work")
    assert trees.snapshot("work").commit == worktree.base
    assert project.git("for-each-ref", "refs/vespera") == ""
    project.write({"n.txt": "n"}, worktree.path)
    first = trees.snapshot("work")
    objects = sorted(project.folder.joinpath(".git", "objects").rglob("*"))
    again = trees.snapshot("work")
    assert (first.changed, again.changed, again.commit) == (True, False, first.commit)
    assert sorted(project.folder.joinpath(".git", "objects").rglob("*")) == objects
    project.git("add", "-A", cwd=worktree.path)
    project.git("commit", "-qm", "mine", cwd=worktree.path)
    mine = project.git("rev-parse", "HEAD", cwd=worktree.path)
    pinned = trees.snapshot("work")
    assert project.git("log", "-1", "--format=%P", pinned.commit) == mine
    assert project.git("log", "-1", "--format=%P", "refs/vespera/history/work") == first.commit
    assert not trees.snapshot("work").changed


def test_every_acknowledged_snapshot_stays_reachable(project, trees):
    """After a hard reset, garbage collection and removal, each state that was saved can still be
    read.
    """
    worktree = trees.create("work")
    saved = []
    for number in range(3):
        project.commit(f"step {number}", {"n.txt": f"{number}\n"}, worktree.path)
        project.write({"open.txt": f"open {number}\n"}, worktree.path)
        saved.append(trees.snapshot("work").commit)
        project.git("reset", "-q", "--hard", worktree.base, cwd=worktree.path)
    project.git("reflog", "expire", "--expire=now", "--all")
    trees.remove("work")
    project.git("gc", "-q", "--prune=now")
    assert [project.git("show", f"{commit}:open.txt") for commit in saved] == [
        "open 0",
        "open 1",
        "open 2",
    ]
    project.assert_sound()


def test_large_and_foreign_files_are_left_out_and_named(project):
    """Untracked files above the limit and repositories of their own are named; landing takes files
    of any size.
    """
    trees = project.open(Config(worktrees=WorktreeSettings(max_file_bytes=1000)))
    worktree = trees.create("work")
    project.write(
        {"big.bin": b"x" * 1001, "fits.bin": b"x" * 1000, "a.txt": "tracked " * 1000}, worktree.path
    )
    nested = Path(worktree.path, "nested")
    nested.mkdir()
    project.git("init", "-q", cwd=nested)
    project.commit("inner", {"f": "f"}, nested)
    snapshot = trees.snapshot("work")
    assert snapshot.skipped == ("big.bin", "nested")
    assert "big.bin" in str(snapshot)
    assert "Left-out: big.bin" in project.git("log", "-1", "--format=%B", snapshot.commit)
    assert project.git("ls-tree", "--name-only", snapshot.commit).split() == [
        ".gitignore",
        "a.txt",
        "fits.bin",
        "gone.txt",
        "src",
    ]
    trees.merge("work")
    assert project.git("cat-file", "-s", "integration:big.bin") == "1001"
    removed = trees.remove("work")
    assert removed.state == "removed"
    assert removed.unlanded  # the repository inside has not landed; it is kept


def test_a_file_that_never_holds_still_is_saved(project, trees):
    """A log that is being written does not keep the rest from being saved."""
    worktree = trees.create("work")
    stop = threading.Event()
    restless = Path(worktree.path, "restless.txt")
    restless.write_text("")

    def write():
        while not stop.is_set():
            restless.write_bytes(os.urandom(int.from_bytes(os.urandom(2))))

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write)
        try:
            for number in range(10):
                project.write({"n.txt": str(number)}, worktree.path)
                snapshot = trees.snapshot("work")
                assert project.git("show", f"{snapshot.commit}:n.txt") == str(number)
                assert "restless.txt" in project.git("ls-tree", "--name-only", snapshot.commit)
        finally:
            stop.set()
    project.assert_sound()


def test_conflicted_sparse_and_changed_kinds(project, trees):
    """A merge in progress is saved as it stands; a file that became a folder, or the reverse, is;
    sparse files are not deleted.
    """
    worktree = trees.create("work")
    folder = Path(worktree.path)
    project.commit("mine", {"a.txt": "mine\n", "gone.txt": "mine\n"}, folder)
    project.commit("yours", {"a.txt": "yours\n", "gone.txt": "yours\n"})
    project.git("merge", "main", cwd=folder, check=False)
    (folder / "gone.txt").unlink()
    snapshot = trees.snapshot("work")
    assert "<<<<<<<" in project.git("show", f"{snapshot.commit}:a.txt")
    assert project.git("ls-tree", "--name-only", snapshot.commit).split() == [
        ".gitignore",
        "a.txt",
        "src",
    ]
    assert project.git("status", "--porcelain", cwd=folder).split("\n")[0] == "UU a.txt"
    project.git("merge", "--abort", cwd=folder)
    project.git("sparse-checkout", "set", "src", cwd=folder)
    snapshot = trees.snapshot("work")
    assert project.git("ls-tree", "-r", "--name-only", snapshot.commit).split() == [
        ".gitignore",
        "a.txt",
        "gone.txt",
        "src/b.py",
    ]
    project.git("sparse-checkout", "disable", cwd=folder)
    (folder / "a.txt").unlink()
    project.write({"a.txt/inside": "now a folder"}, folder)
    subprocess.run(["rm", "-r", folder / "src"], check=True)
    (folder / "src").symlink_to("a.txt")
    snapshot = trees.snapshot("work")
    assert project.git("ls-tree", "-r", "--format=%(objectmode) %(path)", snapshot.commit).split(
        "\n"
    )[1:] == [
        "100644 a.txt/inside",
        "100644 gone.txt",
        "120000 src",
    ]


def test_pin_refuses_when_another_snapshot_was_first(project, trees):
    """Of two snapshots prepared from the same state one is pinned; a removed worktree takes no
    more.
    """
    worktree = trees.create("work")
    project.write({"n.txt": "1"}, worktree.path)
    first, second = (
        trees._engine.prepare_snapshot("work"),
        trees._engine.prepare_snapshot("work", note="second"),
    )
    assert project.git("for-each-ref", "refs/vespera") == ""
    first.pin()
    first.pin()
    with pytest.raises(RefMovedError) as caught:
        second.pin()
    assert caught.value.retryable
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    project.write({"n.txt": "2"}, worktree.path)
    late = trees._engine.prepare_snapshot("work")
    trees.remove("work")
    with pytest.raises(RefMovedError):
        late.pin()


# --- landing --------------------------------------------------------------------


def test_two_worktrees_land_at_once(project, trees):
    """Work of both is on the integration branch, one commit each."""
    for task in ("work", "other"):
        project.commit(f"inner {task}", {f"{task}.txt": f"{task}\n"}, trees.create(task).path)
    with ThreadPoolExecutor(2) as pool:
        landings = list(pool.map(trees.merge, ("work", "other")))
    assert all(landing.changed for landing in landings)
    assert sorted(project.git("log", "--format=%s", "integration").split()) == [
        "first",
        "other",
        "work",
    ]
    assert {"work.txt", "other.txt"} < set(
        project.git("ls-tree", "--name-only", "integration").split()
    )
    project.assert_sound()


def test_of_two_prepared_landings_the_second_is_made_again(project, trees):
    """The slower merger is refused with nothing changed, and lands on top when it prepares again.

    Landing twice lands once.
    """
    for task in ("work", "other"):
        project.write({f"{task}.txt": task}, trees.create(task).path)
    first, second = (
        trees._engine.prepare_landing(task, message=task) for task in ("work", "other")
    )
    assert project.git("rev-parse", "integration") == project.git("rev-parse", "main")
    first.apply()
    first.apply()
    with pytest.raises(RefMovedError):
        second.apply()
    trees._engine.prepare_landing("other", message="other").apply()
    assert project.git("log", "--format=%s", "integration").split("\n") == [
        "other",
        "work",
        "first",
    ]
    again = trees._engine.prepare_landing("work", message="again")
    assert (again.changed, again.commit) == (False, project.git("rev-parse", "integration"))
    again.apply()
    assert project.git("log", "--format=%s", "integration").split("\n") == [
        "other",
        "work",
        "first",
    ]


def test_nothing_to_land(project, trees):
    """A worktree without work lands as nothing."""
    trees.create("work")
    landing = trees.merge("work")
    assert not landing.changed
    assert landing.commit == project.git("rev-parse", "main") == trees.find("work").landed


def test_a_conflict_changes_nothing_and_tells_all(project, trees):
    """Paths, all three sides and the text of both are told; the work is saved, the branch unmoved,
    and others still land.
    """
    one, two, three = (trees.create(name) for name in ("work", "other", "fresh"))
    project.write({"a.txt": "one\nWORK\nthree\n", "bin": b"\0\1", "src/b.py": "b = 2\n"}, one.path)
    project.write({"a.txt": "one\n```\nOTHER\nthree\n", "bin": b"\0\2"}, two.path)
    Path(two.path, "src", "b.py").unlink()
    project.write({"free.txt": "free"}, three.path)
    trees.merge("work")
    before = project.git("rev-parse", "integration")
    with pytest.raises(MergeConflictError) as caught:
        trees.merge("other")
    assert caught.value.paths == ("a.txt", "bin", "src/b.py")
    assert project.git("rev-parse", "integration") == before
    report = caught.value.report
    for text in (
        "<<<<<<< the worktree\n```\nOTHER\n||||||| base\ntwo\n=======\n",
        "````text\n",
        "WORK\n>>>>>>> integration",
        "Binary, 2 bytes",
        "b = 2",
        "Not there.",
    ):
        assert text in report
    assert f"`{project.git('rev-parse', 'refs/vespera/wip/other')}`" in report
    assert trees.merge("fresh").changed
    # Somebody resolves it in the worktree, and it lands.
    project.git("add", "-A", cwd=two.path)
    project.git("commit", "-qm", "mine", cwd=two.path)
    project.git("merge", "integration", cwd=two.path, check=False)
    with pytest.raises(OperationUnderWayError):
        trees.merge("other")  # not yet: the files in conflict are not resolved
    project.write({"bin": b"\0\2", "a.txt": "one\n```\nBOTH\nthree\n"}, two.path)
    project.git("rm", "-q", "src/b.py", cwd=two.path)
    project.git("add", "-A", cwd=two.path)
    assert trees.merge("other").changed
    assert project.git("show", "integration:a.txt") == "one\n```\nBOTH\nthree"
    assert project.git("show", "integration:free.txt") == "free"
    project.assert_sound()


def test_one_worktree_lands_again_and_again(project, trees):
    """Work goes on in the same files after a squash, beside landings of others, without false
    conflicts and without undoing theirs.
    """
    mine, yours = trees.create(agent="mine"), trees.create(agent="yours")
    for number in range(3):
        project.write({"a.txt": f"one\ntwo\nthree {number}\n"}, mine.path)
        project.write({"src/b.py": f"b = {number}\n"}, yours.path)
        trees.merge(mine)
        trees.merge(yours)
    project.write(
        {"a.txt": "one\ntwo\nthree 1\n"}, mine.path
    )  # back to an earlier state, on purpose
    trees.merge(mine)
    assert project.git("show", "integration:a.txt") == "one\ntwo\nthree 1"
    assert project.git("show", "integration:src/b.py") == "b = 2"
    assert project.git("rev-list", "--count", "integration") == "8"
    # Thrown out of the branch by somebody: it counts as not landed, and lands again whole.
    project.git("update-ref", "refs/heads/integration", "main")
    trees.merge(mine)
    assert project.git("show", "integration:a.txt") == "one\ntwo\nthree 1"


def test_the_integration_branch_follows_head_until_they_part(project, trees):
    """A new worktree starts from HEAD while that only goes ahead; later from the branch."""
    assert trees.create("work").base == project.git("rev-parse", "main")
    second = project.commit("second", {"s.txt": "s"})
    other = trees.create("other")
    assert other.base == second
    project.write({"n.txt": "n"}, other.path)
    landed = trees.merge("other").commit
    project.commit("third", {"t.txt": "t"})
    assert trees.create("fresh").base == landed


# --- removal, rescue, restore ------------------------------------------------------


def test_removal_keeps_exactly_the_last_files(project, trees, tmp_path):
    """Untracked files, executable bits, symlinks and odd names come back as they were;
    write-protected folders are no obstacle.
    """
    worktree = trees.create("work")
    folder = Path(worktree.path)
    project.write(
        {
            ODD: "odd",
            "deep/er/x.sh": "#!/bin/sh\n",
            "empty": "",
            "z.bin": bytes(range(256)),
            "x.log": "ignored",
        },
        folder,
    )
    folder.joinpath(os.fsdecode(b"bytes\xff\xfe")).write_text("b")
    folder.joinpath("deep/er/x.sh").chmod(0o755)
    folder.joinpath("link").symlink_to("nowhere/at all")
    folder.joinpath("a.txt").unlink()
    before = files_of(folder)
    before.pop(b"x.log")
    folder.joinpath("deep/er").chmod(0o555)
    removed = trees.remove("work")
    assert not folder.exists()
    [rescued] = trees.rescue()
    assert (rescued.ref, rescued.name, rescued.commit) == (
        removed.rescue_ref,
        "work",
        project.git("rev-parse", removed.rescue_ref),
    )
    assert abs((utcnow() - rescued.when).total_seconds()) < 60
    assert trees.restore(rescued, tmp_path / "back" / "here") == tmp_path / "back" / "here"
    assert files_of(tmp_path / "back" / "here") == before
    with pytest.raises(InvalidInputError, match="not empty"):
        trees.restore(rescued.ref, tmp_path / "back" / "here")
    with pytest.raises(InvalidInputError, match="names nothing"):
        trees.restore("refs/vespera/rescue/none", tmp_path / "other")
    project.assert_sound()


def test_removal_of_what_is_gone_already(project, trees):
    """A missing folder, a missing entry and an unfinished removal all end in a removed record with
    the last snapshot kept.
    """
    for number, damage in enumerate(("folder", "both", "git")):
        worktree = trees.create(agent=f"agent {number}")
        project.write({"n.txt": str(number)}, worktree.path)
        saved = trees.snapshot(worktree)
        if damage == "git":
            project.git("worktree", "unlock", worktree.path)
            project.git("worktree", "remove", "--force", worktree.path)
        else:
            subprocess.run(["rm", "-rf", worktree.path], check=True)
        if damage == "both":
            subprocess.run(
                ["rm", "-rf", project.folder / ".git" / "worktrees" / worktree.name], check=True
            )
        removed = trees.remove(worktree)
        assert project.git("rev-parse", removed.rescue_ref) == saved.commit
        assert worktree.branch not in project.git("branch")
    project.assert_sound()


def test_a_branch_with_more_on_it_stays(project, trees):
    """A branch whose commits are not kept elsewhere, or that is wanted, is not deleted."""
    worktree = trees.create("work")
    project.commit("mine", {"m": "m"}, worktree.path)
    project.git("switch", "-q", "--detach", worktree.base, cwd=worktree.path)
    trees.remove("work")
    assert project.git("log", "-1", "--format=%s", "feature/work") == "mine"
    trees.create("other")
    trees.remove("other", delete_branch=False)
    assert "feature/other" in project.git("branch")
    again = trees.create("work")
    assert (again.name, again.branch) == ("work-2", "feature/work-2")


# --- kills and crowds ---------------------------------------------------------------


def run_worker(project, *arguments):
    """Run the worker as a process of its own."""
    command = [
        sys.executable,
        str(WORKER),
        arguments[0],
        str(project.folder),
        *map(str, arguments[1:]),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_repair_takes_away_only_what_is_ours(project, trees):
    """An old lock on a ref of ours goes, another program's stays; an unlocked worktree of ours is
    locked again.
    """
    worktree = trees.create("work")
    project.write({"n.txt": "n"}, worktree.path)
    refs = project.folder / ".git" / "refs"
    trees.snapshot("work")
    old = refs / "vespera" / "wip" / "work.lock"
    old.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    theirs = refs / "heads" / "integration.lock"
    theirs.touch()
    project.git("worktree", "unlock", worktree.path)
    project.git("worktree", "add", "-q", "-b", "user", str(project.folder.parent / "user"))
    said = trees.repair()
    assert any("refs/vespera/wip/work" in line for line in said)
    assert any("git worktree prune" in line for line in said)
    assert len(said) == 2
    assert theirs.exists()
    assert not old.exists()
    theirs.unlink()
    assert trees.repair() == []
    assert len(project.listed()) == 3


MAINTENANCE = [
    *("maintenance", "run", "--quiet"),
    *("--task=loose-objects", "--task=incremental-repack"),
]

THROWING_AWAY = [
    ["gc", "-q", "--prune=now"],
    ["repack", "-q", "-a", "-d"],
    ["prune", "--expire=now"],
]


def work_side_by_side(project, processes, rounds, beside):
    """Let processes do whole cycles on one repository while git commands run beside them, and check
    that all of it landed.
    """
    project.open()
    labels = [f"p{number}" for number in range(processes)]
    command = [sys.executable, str(WORKER), "cycle", str(project.folder)]
    starts = [[*command, label, str(rounds)] for label in labels]
    running = [
        subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for start in starts
    ]
    while any(process.poll() is None for process in running):
        for words in beside:
            project.git(*words, check=False)
    for process in running:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert len(out.split()) == rounds
    expected = {f"{label}_{number}.txt" for label in labels for number in range(rounds)}
    assert expected < set(project.git("ls-tree", "--name-only", "integration").split())
    assert project.git("rev-list", "--count", "integration") == str(1 + len(expected))
    assert list(project.listed()) == [str(project.folder)]
    trees = project.open()
    for rescued in trees.rescue():
        assert project.git("show", f"{rescued.commit}:{rescued.name}.txt") == rescued.name
    assert {rescued.name for rescued in trees.rescue()} == {
        name.removesuffix(".txt") for name in expected
    }
    # A ref that pack-refs wrote back in the moment of its removal is the only thing that may be
    # left to tidy.
    assert all(said.startswith("Moved the snapshots of the removed") for said in trees.repair())
    assert trees.repair() == []
    project.assert_sound()


def test_processes_work_side_by_side(project):
    """Several processes do whole cycles on one repository while git packs refs beside them: all
    land, none is lost.
    """
    work_side_by_side(project, 4, 4, [["pack-refs", "--all"]])


def test_a_few_work_while_git_throws_away(project):
    """The short form of the crowd below: git packs and prunes all the time, and nothing is lost."""
    work_side_by_side(project, 2, 2, [*THROWING_AWAY, MAINTENANCE])


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "beside",
    [
        [["pack-refs", "--all"]],
        [["gc", "-q"], ["pack-refs", "--all"], ["worktree", "prune"]],
        [THROWING_AWAY[0]],
        THROWING_AWAY[1:],
        [MAINTENANCE],
    ],
    ids=["pack-refs", "gc", "gc --prune=now", "repack and prune", "maintenance"],
)
def test_a_crowd_works_while_git_tidies_up(project, beside):
    """Eight processes, and git tidying up beside them, with its harshest option too: all land,
    nothing that was saved is lost.
    """
    work_side_by_side(project, 8, 6, beside)


def test_one_task_is_given_one_worktree_by_all(trees):
    """Threads that ask at the same time get the same one."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: trees.create("work"), range(8)))
    assert len(set(made)) == 1
    assert trees.list() == [made[0]]


# --- repositories of every kind -------------------------------------------------------


def test_no_repository_and_no_commit(make, tmp_path):
    """What is missing is said, with the command that makes it; nothing is written."""
    plain = Project(tmp_path / "plain")
    plain.stores = []
    trees = plain.open()
    with pytest.raises(NotARepositoryError, match=r"git init && git add -A && git commit"):
        trees.create("work")
    assert trees.list() == trees.repair() == []
    plain.stores[0].close()
    unborn = make(name="unborn")
    with pytest.raises(NotARepositoryError, match=r"no commit yet.*git commit"):
        unborn.open().create("work")
    assert not unborn.folder.joinpath(".git", "worktrees").exists()
    unborn.commit("first", {"f": "f"})
    assert unborn.open().create("work").state == "active"


UNSUPPORTED = {
    "sparse checkout": "git config core.sparseCheckout true",
    "Git LFS": (
        "echo '*.bin filter=lfs diff=lfs merge=lfs -text' > src/.gitattributes"
        " && git add -A && git commit -qm lfs"
    ),
    "the filter 'crypt'": (
        "git config filter.crypt.clean cat && echo '*.txt filter=crypt' > .git/info/attributes"
    ),
    "working-tree-encoding": (
        "echo '*.utf working-tree-encoding=UTF-16' > .gitattributes"
        " && git add -A && git commit -qm utf16"
    ),
    "a partial clone": "git config remote.origin.promisor true",
    "the reftable ref storage": (
        "git config core.repositoryformatversion 1 && git config extensions.refStorage reftable"
    ),
    "sha256 object names": (
        "rm -rf .git && git init -q --object-format=sha256 && git add -A && git commit -qm 256"
    ),
}


@pytest.mark.parametrize("feature", UNSUPPORTED)
def test_what_would_be_handled_wrongly_is_refused(project, trees, feature):
    """Named, with a remedy, and before anything is written."""
    subprocess.run(UNSUPPORTED[feature], shell=True, cwd=project.folder, check=True)
    before = {p for p in project.folder.joinpath(".git").rglob("*") if p.is_dir()}
    with pytest.raises(UnsupportedRepositoryError) as caught:
        trees.create("work")
    assert caught.value.feature.startswith(feature)
    assert caught.value.remedy
    assert {p for p in project.folder.joinpath(".git").rglob("*") if p.is_dir()} == before
    assert trees.list() == []


def test_filters_without_a_driver_and_line_endings_are_no_obstacle(project, trees):
    """An attribute that does nothing in git does nothing here; text conversions are as git does
    them.
    """
    project.commit(
        "attributes",
        {
            ".gitattributes": "# filter=lfs\n*.txt filter=none\n*.crlf text eol=crlf\n",
            "w.crlf": "a\r\nb\r\n",
        },
    )
    worktree = trees.create("work")
    assert Path(worktree.path, "w.crlf").read_bytes() == b"a\r\nb\r\n"
    assert project.git("status", "--porcelain", cwd=worktree.path) == ""
    assert not trees.snapshot("work").changed


def test_bare_detached_separate_and_with_submodules(make, project, tmp_path):
    """A bare main repository, a detached HEAD, a git directory elsewhere and submodules work."""
    detached = make(name="detached", files={"f": "f"})
    detached.git(
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(project.folder),
        "module",
    )
    detached.commit("with a submodule")
    detached.git("switch", "-q", "--detach")
    separate = make(f"--separate-git-dir={tmp_path / 'gitdir'}", name="separate", files={"f": "f"})
    bare = Project(tmp_path / "bare.git")
    bare.stores = project.stores
    bare.git("clone", "-q", "--bare", str(project.folder), ".")
    module = Project.__new__(Project)
    module.folder, module.stores = detached.folder / "module", project.stores
    for number, place in enumerate((detached, separate, bare, module)):
        trees = place.open(
            Config(worktrees=WorktreeSettings(root=str(tmp_path / f"trees{number}")))
        )
        worktree = trees.create("work")
        assert place.git("status", "--porcelain", cwd=worktree.path) == ""
        assert not trees.snapshot("work").changed
        place.write({"n.txt": "n"}, worktree.path)
        assert trees.merge("work").changed
        assert place.git("show", "integration:n.txt") == "n"
        trees.remove("work")
        assert place.git("fsck", "--strict", "--no-dangling") == ""
    assert "160000" in detached.git("ls-tree", "integration", "module")


def test_who_commits(project, trees, monkeypatch, tmp_path):
    """The environment's name comes first, then git's configuration, then ours."""
    worktree = trees.create("work")

    def author_and_committer():
        project.write({"n.txt": os.urandom(8)}, worktree.path)
        return project.git(
            "log", "-1", "--format=%an <%ae> %cn <%ce>", trees.snapshot("work").commit
        )

    assert author_and_committer() == "Ada <ada@example.org> Ada <ada@example.org>"
    project.git("config", "user.name", "Local")
    assert author_and_committer() == "Local <ada@example.org> Local <ada@example.org>"
    project.git("config", "user.name", "<>")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    ours = "vespera_orchestrator <vespera@localhost>"
    assert author_and_committer() == f"{ours} {ours}"
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Env")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "env@example.org")
    assert (
        author_and_committer() == "Env <vespera@localhost> vespera_orchestrator <env@example.org>"
    )


def test_importing_the_room_loads_nothing_heavy():
    """pygit2 is not loaded before a worktree is asked for."""
    heavy = "{'pygit2', 'cattrs'}"
    code = f"""
import sys
from vespera_orchestrator.work import worktrees
print({heavy} & set(sys.modules), worktrees.Worktrees.__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["set()", "Worktrees"]


def test_other_threads_go_on_while_a_worktree_is_made(make):
    """Files are written without holding the interpreter's lock."""
    project = make(
        files={
            f"{folder}/{number}.txt": f"{number}\n" * 50
            for folder in range(20)
            for number in range(60)
        }
    )
    trees = project.open()

    def create():
        trees.create("work")

    for _ in range(20):  # a busy machine may keep the other thread waiting
        if goes_on_during(create):
            return
        trees.remove("work")
    pytest.fail("the other thread stood still each time")


def goes_on_during(act):
    """Tell whether another thread went on for most of the time that *act* takes."""
    stop, longest_pause = threading.Event(), [0.0]

    def tick():
        last = time.perf_counter()
        while not stop.wait(0.001):
            now = time.perf_counter()
            longest_pause[0] = max(longest_pause[0], now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        start = time.perf_counter()
        act()
        took = time.perf_counter() - start
    finally:
        stop.set()
        thread.join()
    return longest_pause[0] < 0.7 * took
