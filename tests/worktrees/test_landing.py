"""How finished work reaches the integration branch, judged by the git command line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support.git_project import git
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home import machine
from vespera_orchestrator.home.config import read_settings
from vespera_orchestrator.worktrees import integration

pytestmark = pytest.mark.usefixtures("identity")

BYTES = os.fsdecode(b"bytes \xff\xfe\n.txt")


def write(folder, files):
    """Write files, by name; ``None`` deletes."""
    for name, content in files.items():
        path = Path(folder, name)
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def commit(folder, message, files=None):
    """Commit everything in *folder*."""
    write(folder, files or {})
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def assert_sound(project):
    """Let the git command line judge the repository."""
    done = subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(project.joinpath(".git").rglob("*.lock"))
    assert not list(project.joinpath(".git").glob("vespera-*"))
    assert not project.joinpath(".task_orchestrator", "locks", "landing.json").exists()


def fingerprint(folder, without=()):
    """Return what a checkout holds: files with times, what is staged, status; paths in *without*
    left out.
    """
    git(folder, "update-index", "-q", "--refresh", check=False)
    files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in {".git", ".task_orchestrator"}]
        for path in (Path(place, name) for name in names):
            shown = str(path.relative_to(folder))
            if shown not in without:
                files[shown] = (
                    path.lstat().st_mtime_ns,
                    path.lstat().st_mode,
                    path.read_bytes() if path.is_file() else None,
                )
    skipped = [f":(exclude,literal){path}" for path in (*without, ".task_orchestrator")]
    staged = git(folder, "ls-files", "-s", "--", ".", *skipped)
    status = git(folder, "status", "--porcelain", "-uall", "--ignored", "--", ".", *skipped)
    return hashlib.sha256(repr((sorted(files.items()), staged, status)).encode()).hexdigest()


@pytest.fixture
def project(tmp_path):
    """A repository with one commit."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    lines = "".join(f"line {number}\n" for number in range(1, 13))
    commit(
        folder,
        "first",
        {
            "a.txt": "one\ntwo\nthree\n",
            "long.txt": lines,
            "src/b.py": "b = 1\n",
            ".gitignore": "*.log\nbuild/\n",
        },
    )
    return folder


@pytest.fixture
def orch(project):
    """The façade on that repository, in a session with four tasks; ``after`` depends on ``one``."""
    with vespera.open(project) as opened:
        opened.initialize_session("Goal")
        opened.plan_tasks(
            [{"title": title} for title in ("one", "two", "three")]
            + [{"title": "after", "dependencies": ["one"]}]
        )
        yield opened


def begin(orch, name, files):
    """Start a task with a worktree and write files there."""
    work = orch.execute_task(name, worktree=True, agent=f"{name}'s agent")
    write(work.path, files)
    return work


def finish(work, **more):
    """Complete a task."""
    return work.complete(
        summary=f"{work.task.alias} is done", detailed_work=f"what {work.task.alias} did", **more
    )


# --- styles -----------------------------------------------------------------


def test_the_message_tells_task_summary_and_artifacts(orch, project):
    """One commit for a task: its title, its summary, and the ids under which the record of the work
    is found.
    """
    finish(begin(orch, "one", {"n.txt": "n"}), file_paths=["n.txt"])
    message = git(project, "log", "-1", "--format=%B", "integration")
    task = orch.get_task("one")
    assert message.splitlines()[:5] == ["one", "", "one is done", "", f"Task: one ({task.id})"]
    named = [line.removeprefix("Artifact: ") for line in message.splitlines()[5:]]
    assert set(named) == {artifact.id for artifact in orch.artifacts.list(task="one")}
    assert [orch.artifacts.get(artifact_id).title for artifact_id in named] == ["one", "n.txt"]
    assert_sound(project)


@pytest.mark.parametrize("dirty", [False, True])
def test_a_merge_commit_keeps_the_agents_own_history(orch, project, dirty):
    """``style="merge"``: two parents, the agent's commits behind the second, snapshots behind
    neither; open changes become a commit.
    """
    worktree = orch.worktrees.create("one")
    commit(worktree.path, "step 1", {"n.txt": "1"})
    orch.worktrees.snapshot("one")
    commit(worktree.path, "step 2", {"n.txt": "2"})
    write(worktree.path, {"open.txt": "open"} if dirty else {})
    orch.worktrees.snapshot("one")
    landing = orch.worktrees.merge("one", style="merge", message="bring it in")
    assert git(project, "rev-parse", "integration^1") == git(project, "rev-parse", "main")
    assert git(project, "log", "--first-parent", "--format=%s", "integration").splitlines() == [
        "bring it in",
        "first",
    ]
    own = ["bring it in"] if dirty else []
    assert git(project, "log", "--format=%s", "integration^2").splitlines() == [
        *own,
        "step 2",
        "step 1",
        "first",
    ]
    assert landing.commit == git(project, "rev-parse", "integration")
    # Further work in the same worktree counts from there.
    write(worktree.path, {"n.txt": "3"})
    assert orch.worktrees.merge("one", style="merge").changed
    assert git(project, "show", "integration:n.txt") == "3"
    assert_sound(project)


def test_fast_forward_where_nothing_else_has_landed(orch, project):
    """``style="fast-forward"``: the agent's commits are the branch; after somebody else has landed
    it is a merge commit.
    """
    one, two = orch.worktrees.create("one"), orch.worktrees.create("two")
    head = commit(one.path, "step", {"n.txt": "1"})
    commit(two.path, "beside", {"m.txt": "1"})
    assert (
        orch.worktrees.merge("one", style="fast-forward").commit
        == head
        == git(project, "rev-parse", "integration")
    )
    orch.worktrees.merge("two", style="fast-forward", message="both")
    assert git(project, "log", "--format=%s", "--topo-order", "integration").splitlines() == [
        "both",
        "beside",
        "step",
        "first",
    ]
    assert_sound(project)


def test_config_chooses_and_nonsense_is_refused(orch, project):
    """``config.toml`` says how work lands; a style or a check that is none is refused, and so is a
    setting.
    """
    config = orch.home / "config.toml"
    config.write_text(
        '[worktrees]\nmerge_style = "merge"\ncheck = ["test", "-e", "n.txt"]\nundoing = "refuse"\n'
    )
    with vespera.open(project) as other:
        write(other.worktrees.create("one").path, {"n.txt": "n"})
        other.worktrees.merge("one")
        assert len(git(project, "log", "-1", "--format=%P", "integration").split()) == 2
        with pytest.raises(InvalidInputError, match="squash, merge, fast-forward"):
            other.worktrees.merge("one", style="rebase")
        for check in ([], "", 3, [1]):
            with pytest.raises(InvalidInputError, match="check"):
                other.worktrees.merge("one", check=check)
    for line, said in (
        ("merge_style = 'x'", "one of squash"),
        ("check = 3", "list of words"),
        ("check = []", "list of words"),
        ("undoing = 1", "warn"),
    ):
        config.write_text(f"[worktrees]\n{line}\n")
        with pytest.raises(InvalidInputError, match=said):
            read_settings(config).config()


# --- merged later -----------------------------------------------------------


def test_merged_later(orch, project):
    """The task is completed when it is merged; until then its dependents wait, and why, status and
    next step say for what.
    """
    orch.plan_task("decides", dependencies=["one"], condition="one.success")
    work = begin(orch, "one", {"n.txt": "n"})
    task = finish(work, merge="later", outputs={"n": 1})
    assert (task.status, task.summary) == ("in_progress", "one is done")
    assert git(project, "rev-parse", "integration") == git(project, "rev-parse", "main")
    waits = "waits for one's work to be merged: orch.worktrees.merge('one')"
    assert str(orch.why("after")) == f"after is pending: {waits}"
    waits = "its work is done and waits to be merged: orch.worktrees.merge('one')"
    assert str(orch.why("one")) == f"one is in_progress: {waits}"
    assert "orch.worktrees.merge('one')" in str(orch.why("decides"))
    assert "one: done by one's agent, waits to be merged: orch.worktrees.merge('one')" in str(
        orch.get_status()
    )
    with pytest.raises(vespera.NotReadyError, match="waits to be merged"):
        orch.execute_task("one")
    for name in ("two", "three"):
        orch.cancel_task(name)
    step = orch.next_step()
    assert (step.action, step.call) == ("merge", "orch.worktrees.merge('one')")
    assert finish(work, merge="later", outputs={"n": 1}).status == "in_progress"
    assert [event.kind for event in orch._store.events(kinds=["task_handed_in"])] == [
        "task_handed_in"
    ]

    landing = orch.worktrees.merge("one")
    assert landing.commit == git(project, "rev-parse", "integration")
    done = orch.get_task("one")
    assert (done.status, done.summary, done.outputs) == ("completed", "one is done", {"n": 1})
    assert orch.why("after").ready
    assert orch.why("decides").ready
    assert not work.path.exists()
    [kept] = orch.artifacts.list(task="one")
    assert f"Artifact: {kept.id}" in git(project, "log", "-1", "--format=%B", "integration")
    assert_sound(project)


def test_handed_in_work_is_not_lost_to_time(project):
    """Nobody's hold lapses on work that waits to be merged; who wants to work on it takes it over,
    and the old hand is refused.
    """
    from datetime import UTC, datetime, timedelta

    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    with vespera.open(project, clock=lambda: now[0]) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("one")
        work = begin(orch, "one", {"n.txt": "n"})
        finish(work, merge="later")
        now[0] += timedelta(days=30)
        assert orch.get_status().counts == {"in_progress": 1}
        assert orch.next_step().action == "merge"
        again = orch.execute_task("one", take_over=True, agent="another")
        assert (again.path / "n.txt").read_text() == "n"
        with pytest.raises(vespera.LeaseLostError):
            finish(work)
        assert finish(again).status == "completed"
    assert git(project, "show", "integration:n.txt") == "n"


def test_merged_later_with_a_conflict(orch, project):
    """A conflict raises for whoever merges, and leaves one task blocked with one recovery; the
    others still land.
    """
    works = [begin(orch, name, {"a.txt": f"one\n{name}'s\nthree\n"}) for name in ("one", "two")]
    works.append(begin(orch, "three", {"free.txt": "free"}))
    for work in works:
        finish(work, merge="later")
    orch.worktrees.merge("one")
    with pytest.raises(vespera.MergeConflictError) as caught:
        orch.worktrees.merge("two")
    assert "recover_two" in caught.value.__notes__[0]
    assert orch.get_task("two").status == "blocked"
    assert orch.worktrees.merge("three").changed
    assert [task.alias for task in orch.query_tasks(task_type="recovery")] == ["recover_two"]
    assert_sound(project)


# --- the check --------------------------------------------------------------


def leftovers():
    """Return what checks have left in the system's temporary folder."""
    return sorted(Path(tempfile.gettempdir()).glob("vespera-check-*"))


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """A temporary folder of our own, so that other programs' files do not count."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def outside_git(folder):
    """Yield what is below a folder, its repository left out."""
    for path in folder.iterdir():
        if path.name != ".git":
            yield path
            yield from path.rglob("*")


def test_the_check_sees_the_merged_files_and_nothing_else(orch, temporary):
    """It runs in a folder of its own that has the work of both, outside of every checkout, and is
    gone afterwards.
    """
    seen = []

    def look(folder):
        seen.append(
            (
                folder,
                {path.name for path in outside_git(folder) if path.is_file()},
                (folder / "run.sh").stat().st_mode & 0o111,
            )
        )

    one, two = orch.worktrees.create("one"), orch.worktrees.create("two")
    write(one.path, {"one.txt": "1"})
    write(two.path, {"two.txt": "2", "run.sh": "#!/bin/sh\n"})
    Path(two.path, "run.sh").chmod(0o755)
    orch.worktrees.merge("one")
    orch.worktrees.merge("two", check=look)
    [(folder, names, executable)] = seen
    assert names == {"a.txt", "long.txt", "b.py", ".gitignore", "one.txt", "two.txt", "run.sh"}
    assert executable
    assert folder.parent == temporary
    assert not leftovers()
    assert not orch.worktrees.merge("two", check=look).changed
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (["sh", "-c", "echo broken: $(cat n.txt); exit 3"], "ended with 3"),
        ("echo broken: $(cat n.txt) && false", "ended with 1"),
        (lambda _: False, "said no"),
        (lambda folder: (folder / "n.txt").read_text() + 1, "raised TypeError"),
        (["no such program at all"], "could not be started"),
    ],
)
@pytest.mark.usefixtures("temporary")
def test_a_red_check_lands_nothing(orch, project, check, said):
    """Whatever way it refuses: nothing moves, the work is saved, the output is told."""
    worktree = orch.worktrees.create("one")
    write(worktree.path, {"n.txt": "n"})
    with pytest.raises(vespera.LandingRefusedError, match=said) as caught:
        orch.worktrees.merge("one", check=check)
    assert caught.value.kind is vespera.RefusalKind.CHECK
    assert git(project, "rev-parse", "integration") == git(project, "rev-parse", "main")
    assert git(project, "show", "refs/vespera/wip/one:n.txt") == "n"
    if "ended" in said:
        assert "    broken: n" in caught.value.report
    assert not leftovers()


def test_a_check_that_hangs_is_ended_with_all_it_started(project, temporary):
    """After the time that the settings give it is killed, its children as well, and the task is
    blocked with what it said.
    """
    with vespera.open(project) as orch:
        mark = temporary / "child"
        (orch.home / "config.toml").write_text(
            "[worktrees]\ncheck_timeout_s = 1\n"
            f"check = \"echo begun; sh -c 'echo $$ > {mark}; exec sleep 300' & wait\"\n"
        )
    with vespera.open(project) as orch:
        orch.initialize_session("Goal")
        orch.plan_task("one")
        assert finish(begin(orch, "one", {"n.txt": "n"})).status == "blocked"
        recovery = orch.get_task("recover_one")
        assert "took longer than 1 s" in recovery.context["refused"]
        refusal = next(
            artifact for artifact in orch.artifacts.list(task="one") if artifact.kind == "refusal"
        )
        assert refusal.id in recovery.context["artifact_ids"]
        assert "    begun" in orch.artifacts.text(refusal)
        assert len(orch.query_tasks(task_type="recovery")) == 1
    child = Path("/proc", mark.read_text().strip(), "stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"
    assert not leftovers()


@pytest.mark.usefixtures("temporary")
def test_only_what_was_checked_lands(orch, project):
    """When somebody lands while the check runs, the work is merged and checked once more, on top of
    theirs.
    """
    one, two = orch.worktrees.create("one"), orch.worktrees.create("two")
    write(one.path, {"one.txt": "1"})
    write(two.path, {"two.txt": "2"})
    seen = []

    def look(folder):
        seen.append((folder / "two.txt").exists())
        if len(seen) == 1:
            orch.worktrees.merge("two")

    orch.worktrees.merge("one", check=look)
    assert seen == [False, True]
    assert git(project, "log", "--format=%s", "integration").splitlines() == ["one", "two", "first"]


@pytest.mark.usefixtures("temporary")
def test_repair_takes_away_what_a_killed_check_left(orch, project):
    """The folder of a check that was killed goes with the next repair; that of a living one
    stays.
    """
    write(orch.worktrees.create("one").path, {"n.txt": "n"})
    code = (
        "import os, signal, vespera_orchestrator as v\n"
        "v.open().worktrees.merge('one', check=lambda folder: os.kill(os.getpid(), signal.SIGKILL))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=project, check=False)
    assert run.returncode == -signal.SIGKILL
    assert len(leftovers()) == 1
    said = []
    orch.worktrees.merge(
        "one",
        check=lambda folder: (
            said.extend(orch.worktrees.repair()) or folder.joinpath("n.txt").exists()
        ),
    )
    assert said == ["Removed 1 folder of checks that were killed."]
    assert not leftovers()
    assert orch.worktrees.repair() == []
    assert not list(orch.home.joinpath("locks").glob("vespera-check-*"))


# --- where the branch is checked out ------------------------------------------


def test_a_clean_checkout_is_brought_along(orch, project):
    """Files, index and branch are one step on; everything else of the user's, staged and not, is as
    it was.
    """
    worktree = orch.worktrees.create("one")
    files = {
        "a.txt": "one\ntwo\nthree\nfour\n",
        "new/deep/n.txt": "n\n",
        "src/b.py": None,
        BYTES: "odd",
        "build": "was a folder",
    }
    write(worktree.path, files)
    Path(worktree.path, "new/deep/run.sh").write_text("#!/bin/sh\n")
    Path(worktree.path, "new/deep/run.sh").chmod(0o755)
    Path(worktree.path, "link").symlink_to("a.txt")
    git(project, "switch", "-q", "integration")
    write(
        project,
        {
            "long.txt": "staged\n",
            "mine.txt": "untracked",
            "x.log": "ignored",
            "staged.txt": "new and staged",
        },
    )
    git(project, "add", "long.txt", "staged.txt")
    write(project, {"long.txt": "staged, and more\n"})
    without = [*files, "new/deep/run.sh", "link"]
    before, stash = fingerprint(project, without), git(project, "stash", "list")
    landing = orch.worktrees.merge("one")
    assert git(project, "rev-parse", "HEAD", "integration").split() == [landing.commit] * 2
    assert fingerprint(project, without) == before
    assert git(project, "stash", "list") == stash
    assert git(project, "-c", "core.quotePath=false", "status", "--porcelain").splitlines() == [
        "MM long.txt",
        "A  staged.txt",
        "?? mine.txt",
    ]
    assert (
        git(project, "diff-files", "--name-only") == "long.txt"
    )  # no file need be read to know that it is unchanged
    assert not project.joinpath("src").exists()
    assert project.joinpath("link").readlink() == Path("a.txt")
    assert os.access(project / "new/deep/run.sh", os.X_OK)
    assert project.joinpath(BYTES).read_text() == "odd"
    assert_sound(project)


def test_another_worktree_of_the_users_is_brought_along(orch, project, tmp_path):
    """It need not be the main checkout; line endings are as git would write them."""
    commit(project, "attributes", {".gitattributes": "*.crlf text eol=crlf\n", "w.crlf": "a\r\n"})
    beside = tmp_path / "beside"
    worktree = orch.worktrees.create("one")
    git(project, "worktree", "add", "-q", str(beside), "integration")
    write(worktree.path, {"w.crlf": "a\r\nb\r\n"})
    orch.worktrees.merge("one")
    assert (beside / "w.crlf").read_bytes() == b"a\r\nb\r\n"
    assert git(beside, "status", "--porcelain") == ""
    assert git(project, "cat-file", "blob", "integration:w.crlf") == "a\nb"
    write(worktree.path, {"w.crlf": "c\r\n"})
    assert orch.worktrees.merge("one").changed
    assert (beside / "w.crlf").read_bytes() == b"c\r\n"
    assert_sound(project)


IN_THE_WAY = {
    "edited": ("echo mine >> a.txt", "have changes: a.txt"),
    "staged": ("echo mine >> a.txt; git add a.txt", "staged: a.txt"),
    "staged, file as before": (
        "cp a.txt x; echo mine >> a.txt; git add a.txt; mv x a.txt",
        "staged: a.txt",
    ),
    "deleted": ("rm a.txt", "have changes: a.txt"),
    "untracked": ("echo mine > n.txt", "in the way: n.txt"),
    "ignored": ("echo mine > n.log", "in the way: n.log"),
    "already the same": ("printf n > n.txt", "in the way: n.txt"),
    "folder in the way": ("mkdir n.txt; echo mine > n.txt/x", "in the way: n.txt/x"),
    "file for a folder": ("echo mine > new", "in the way: new"),
    "link for a folder": ("mkdir elsewhere; ln -s elsewhere new", "in the way: new"),
    "removed there, edited here": ("echo mine >> src/b.py", "have changes: src/b.py"),
    "untracked where one goes": ("git rm -q --cached a.txt", "staged: a.txt"),
    "to be added later": ("echo mine > n.txt; git add -N n.txt", "staged: n.txt"),
    "another git at work": ("touch .git/index.lock", "index.lock"),
    "merging": ("git rev-parse main > .git/MERGE_HEAD", "a git merge is under way"),
    "rebasing": (
        (
            "git switch -q --detach; mkdir .git/rebase-merge; "
            "echo refs/heads/integration > .git/rebase-merge/head-name"
        ),
        "a git rebase is under way",
    ),
    "checked out twice": ("git worktree add -qf ../twice integration", "twice as well"),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_nothing_of_the_users_is_touched(orch, project, monkeypatch, what):
    """Whatever is in the way: refused with its name and the remedy, nothing changed, also when it
    came after the merge was prepared.
    """
    monkeypatch.setattr(integration, "_INDEX_PATIENCE_S", 0.1)
    worktree = orch.worktrees.create("one")
    write(
        worktree.path,
        {
            "a.txt": "changed\n",
            "n.txt": "n",
            "src/b.py": None,
            "new/n.txt": "n",
            ".gitignore": "build/\n",
        },
    )
    write(worktree.path, {"n.log": "logged"})
    git(project, "switch", "-q", "integration")
    prepared = orch.worktrees._engine.prepare_landing("one", message="m")
    prepare, said = IN_THE_WAY[what]
    subprocess.run(prepare, shell=True, cwd=project, check=True)
    before, branch = fingerprint(project), git(project, "rev-parse", "integration")
    for land in (prepared.apply, lambda: orch.worktrees.merge("one")):
        with pytest.raises(vespera.DirtyCheckoutError) as caught:
            land()
        assert said in str(caught.value)
        assert re.search("git switch --detach|delete|give it up", str(caught.value))
    assert (fingerprint(project), git(project, "rev-parse", "integration")) == (before, branch)
    assert not list(project.joinpath(".git").glob("vespera-*"))
    assert orch.worktrees.repair() == []
    assert fingerprint(project) == before


def test_refused_because_of_a_checkout_is_told_by_the_next_step(orch, project):
    """The work is handed in and waits; the next step names the reason, and the call that completes
    it once that is settled.
    """
    for name in ("two", "three"):
        orch.cancel_task(name)
    work = begin(orch, "one", {"a.txt": "changed\n"})
    git(project, "switch", "-q", "integration")
    write(project, {"a.txt": "mine\n"})
    with pytest.raises(vespera.DirtyCheckoutError, match=r"have changes: a\.txt"), work:
        finish(work)
    assert orch.get_task("one").status == "in_progress"
    step = orch.next_step()
    assert (step.action, step.call) == ("decide", "")
    assert "orch.worktrees.merge('one')" in str(step)
    for text in (str(step), str(orch.get_status()), str(orch.why("one"))):
        assert "have changes: a.txt" in text
    with pytest.raises(vespera.DirtyCheckoutError):
        orch.worktrees.merge("one")
    git(project, "checkout", "-q", "a.txt")
    orch.worktrees.merge("one")
    assert (orch.get_task("one").status, orch.get_task("one").reason) == ("completed", None)
    assert project.joinpath("a.txt").read_text() == "changed\n"
    assert git(project, "status", "--porcelain") == ""


KILLED = """
import os, signal, sys
import pygit2
import vespera_orchestrator as vespera
from vespera_orchestrator.worktrees import integration, repository
point = int(sys.argv[1])
count = 0
def maybe_die(*_):
    global count
    count += 1
    if count == point:
        os.kill(os.getpid(), signal.SIGKILL)
names = {"link", "replace", "unlink", "rename", "touch", "open"}
names |= {"git_checkout_tree", "git_index_write"}
names |= {"write", "fsync"}
def profile(frame, event, function):
    if event == "c_call" and function.__name__ in names:
        if "integration.py" in str([*stack(frame)]):
            maybe_die()
def stack(frame):
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back
orch = vespera.open()
landing = orch.worktrees._engine.prepare_landing("one", message="landed")
sys.setprofile(profile)
landing.apply()
sys.setprofile(None)
print(count)
"""


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.soak)])
def test_killed_while_the_checkout_is_brought_along(orch, project, step):
    """After a SIGKILL at any step repair leaves the checkout whole, before or after the landing,
    and the user's own work untouched.
    """
    worktree = orch.worktrees.create("one")
    git(project, "switch", "-q", "integration")
    write(project, {"long.txt": "mine\n", "mine.txt": "untracked", "x.log": "ignored"})
    point, outcomes = 1, []
    while True:
        write(worktree.path, {"a.txt": f"changed {point}\n", f"n/{point}.txt": "n"})
        before = git(project, "rev-parse", "integration")
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(point)],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode in {0, -signal.SIGKILL}, run.stderr
        if len(outcomes) % 2:
            orch.worktrees.repair()
            assert not orch.worktrees.repair()
            assert git(project, "status", "--porcelain").splitlines() == [
                " M long.txt",
                "?? mine.txt",
            ]
            assert_sound(project)
            assert not list(orch.home.joinpath("locks").glob(".landing*"))
        outcomes.append(git(project, "rev-parse", "integration") == before)
        orch.worktrees.merge("one")  # goes on by itself as well
        assert git(project, "status", "--porcelain").splitlines() == [" M long.txt", "?? mine.txt"]
        assert project.joinpath("a.txt").read_text() == f"changed {point}\n"
        assert project.joinpath("long.txt").read_text() == "mine\n"
        assert_sound(project)
        if run.returncode == 0:
            break
        point += step
    assert point > 30
    assert True in outcomes
    assert False in outcomes


LANDING = """
import sys
from pathlib import Path
import vespera_orchestrator as vespera
orch = vespera.open(agent=sys.argv[1])
for number in range(4):
    name = f"{sys.argv[1]}_{number}"
    worktree = orch.worktrees.create(agent=name)
    Path(worktree.path, f"{name}.txt").write_text(name)
    orch.worktrees.merge(worktree, message=name)
    orch.worktrees.remove(worktree)
"""


def test_several_processes_land_into_one_checkout(orch, project):
    """All land, one after the other, while somebody works in the checkout with git; their open work
    stays as it was.
    """
    orch.worktrees.create("one")
    git(project, "switch", "-q", "integration")
    write(project, {"long.txt": "mine\n"})
    command = [sys.executable, "-c", LANDING]
    running = [
        subprocess.Popen([*command, f"p{number}"], cwd=project, stderr=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    while any(process.poll() is None for process in running):
        git(project, "add", "long.txt", check=False)
        git(
            project, "restore", "--staged", "long.txt", check=False
        )  # not reset: that writes back the HEAD it read before it locked
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 3
    git(project, "restore", "--staged", "long.txt")
    assert git(project, "status", "--porcelain") == " M long.txt"
    assert {path.name for path in project.glob("p*.txt")} == {
        f"p{process}_{number}.txt" for process in range(3) for number in range(4)
    }
    assert git(project, "rev-list", "--count", "integration") == "13"
    assert_sound(project)


def test_who_was_replaced_merges_nothing(orch, project):
    """A holder that was replaced, or whose task was cancelled, cannot land what its successor is
    half through with.
    """
    orch.plan_task("one")
    orch.execute_task("one", worktree=True, agent="ada")
    with vespera.open(project) as other:
        held = other.execute_task("one", agent="bob", take_over=True)
        write(held.path, {"a.txt": "half\n"})
        before = git(project, "rev-parse", "integration")
        with pytest.raises(vespera.LeaseLostError):
            orch.worktrees.merge("one")
        assert git(project, "rev-parse", "integration") == before
        assert (
            other.worktrees.merge("one").commit
            == git(project, "rev-parse", "integration")
            != before
        )
        other.cancel_task("one")
        with pytest.raises(vespera.LeaseLostError, match="cancelled"):
            other.worktrees.merge("one")


def test_what_was_changed_since_a_landing_died_is_left(orch, project, monkeypatch):
    """Files that we had written are taken back; those that somebody has changed since are left, and
    named; nothing of ours stays.
    """
    worktree = orch.worktrees.create("one")
    write(
        worktree.path,
        {
            "a.txt": "changed and long\n",
            "long.txt": "changed too\n",
            "n/n.txt": "new\n",
            "src/b.py": None,
            "m.txt": "m\n",
        },
    )
    git(project, "switch", "-q", "integration")
    landing = orch.worktrees._engine.prepare_landing("one", message="m")

    def die(*_):
        write(project, {"long.txt": "somebody's own\n", "m.txt": "also\n"})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(integration._Checkout, "write_index", die)
        patch.setattr(integration, "_recover", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            landing.apply()
    assert project.joinpath("a.txt").read_text() == "changed and long\n"
    os.utime(
        project / "long.txt", (1_600_000_000, 1_600_000_000)
    )  # long ago: git takes such a file for what its index says it is
    assert json.loads((orch.home / "locks" / "landing.json").read_text())["stage"] == "writing"
    [said] = orch.worktrees.repair()
    assert said.startswith(f"Undid what an unfinished landing had written into {project}.")
    assert said.endswith(
        "Left as they are, because somebody has changed them since: m.txt, long.txt."
    )
    assert git(project, "status", "--porcelain").splitlines() == [" M long.txt", "?? m.txt"]
    assert project.joinpath("long.txt").read_text() == "somebody's own\n"
    assert not project.joinpath("n").exists()
    assert not list(project.joinpath(".git").glob("vespera-*"))
    assert_sound(project)


def test_power_fails_while_the_checkout_is_brought_along(orch, project, monkeypatch):
    """Files that came are cut short or gone, and so is what lay ready to undo it: the checkout is
    as before, but for what somebody wrote there.
    """
    worktree = orch.worktrees.create("one")
    new = {"a.txt": "changed and long\n", "n/n.txt": "new\n", "m.txt": "m\n", "src/b.py": None}
    write(worktree.path, {**new, "long.txt": "changed too\n"})
    git(project, "switch", "-q", "integration")
    landing = orch.worktrees._engine.prepare_landing("one", message="m")

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(integration._Checkout, "write_index", fail)
        patch.setattr(integration, "_recover", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            landing.apply()
    for place in project.joinpath(".git").glob("vespera-*"):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    project.joinpath("n/n.txt").write_text("ne")
    project.joinpath("a.txt").write_text("")
    project.joinpath("long.txt").unlink()
    project.joinpath("m.txt").write_text("m, and mine\n")
    monkeypatch.setattr(machine, "started_at", lambda: time.time() + 1)
    [said] = orch.worktrees.repair()
    assert said.endswith("Left as they are, because somebody has changed them since: m.txt.")
    assert git(project, "status", "--porcelain").splitlines() == ["?? m.txt"]
    assert project.joinpath("m.txt").read_text() == "m, and mine\n"
    assert not list(project.joinpath(".git").glob("vespera-*"))
    assert not project.joinpath(".git", "index.lock").exists()
    assert_sound(project)


# --- conflicts ----------------------------------------------------------------

CONFLICTS = {
    "same lines": (
        {"a.txt": "one\nONE\nthree\n"},
        {"a.txt": "one\nTWO\nthree\n"},
        {"a.txt"},
        "=======\nONE\n>>>>>>> integration\n",
    ),
    "changed and deleted": ({"a.txt": "changed\n"}, {"a.txt": None}, {"a.txt"}, "Not there."),
    "deleted and changed": ({"a.txt": None}, {"a.txt": "changed\n"}, {"a.txt"}, "Not there."),
    "binary": ({"a.txt": b"\0\1"}, {"a.txt": b"\0\2"}, {"a.txt"}, "Binary, 2 bytes."),
    "both new": (
        {"n.txt": "one\n"},
        {"n.txt": "two\n"},
        {"n.txt"},
        "=======\none\n>>>>>>> integration",
    ),
    "renamed in two ways": (
        {"long.txt": None, "x.txt": "long"},
        {"long.txt": None, "y.txt": "long"},
        {"long.txt", "x.txt", "y.txt"},
        "Not there.",
    ),
    "file and folder": ({"new": "file"}, {"new/n.txt": "in a folder"}, {"new"}, "file"),
    "link and file": ({"n": "-> a.txt"}, {"n": "file\n"}, {"n"}, "a.txt"),
    "bytes": (
        {BYTES: b"one \xff\n"},
        {BYTES: b"two \xfe\n"},
        {"bytes \\xff\\xfe\n.txt"},
        "one \\xff",
    ),
}


@pytest.mark.parametrize("kind", CONFLICTS)
def test_conflicts_of_every_kind(orch, project, kind):
    """Git's command line sees the same conflict; the report has it, one recovery is made, nothing
    moved, and the work is saved.
    """
    ours, theirs, paths, said = CONFLICTS[kind]
    long = project.joinpath("long.txt").read_text()
    works = []
    for name, files in (("one", ours), ("two", theirs)):
        works.append(
            begin(
                orch,
                name,
                {path: long if content == "long" else content for path, content in files.items()},
            )
        )
        for path, content in files.items():
            if isinstance(content, str) and content.startswith("-> "):
                Path(works[-1].path, path).unlink()
                Path(works[-1].path, path).symlink_to(content[3:])
    finish(works[0])
    before = git(project, "rev-parse", "integration")
    assert finish(works[1]).status == "blocked"
    assert git(project, "rev-parse", "integration") == before
    saved = git(project, "rev-parse", "refs/vespera/wip/two")
    judged = subprocess.run(
        ["git", "merge-tree", "--write-tree", before, saved],
        cwd=project,
        capture_output=True,
        check=False,
    )
    assert judged.returncode == 1
    recovery = orch.get_task("recover_two")
    assert paths <= set(recovery.context["conflict_paths"])
    [conflict] = [
        artifact for artifact in orch.artifacts.list(task="two") if artifact.kind == "conflict"
    ]
    text = orch.artifacts.text(conflict)
    assert said in text
    assert before in text
    assert saved in text
    assert len(orch.query_tasks(task_type="recovery")) == 1
    assert finish(begin(orch, "three", {"free.txt": "free"})).status == "completed"
    # The recovery can be started whatever the conflict, and loses nothing.
    with orch.execute_task("recover_two") as work:
        finish(work)
    for path, content in theirs.items():
        if content is not None and kind != "same lines":
            assert git(project, "rev-parse", "--verify", f"{saved}:{path}")
    assert_sound(project)


def test_both_changed_the_mode_only(orch, project):
    """An executable bit here and an edit there go together."""
    one, two = begin(orch, "one", {"a.txt": "one\ntwo\nthree\nfour\n"}), begin(orch, "two", {})
    (two.path / "a.txt").chmod(0o755)
    assert [finish(work).status for work in (one, two)] == ["completed", "completed"]
    assert git(project, "ls-tree", "integration", "a.txt").startswith("100755")
    assert git(project, "show", "integration:a.txt").endswith("four")


def test_from_conflict_to_landed(orch, project):
    """The recovery works in the blocked task's worktree, with both sides in it; corrected there,
    the task lands at its next attempt.
    """
    one = begin(orch, "one", {"a.txt": "one\nONE\nthree\n", "one.txt": "1", "src/b.py": "b = 2\n"})
    two = begin(orch, "two", {"a.txt": "one\nTWO\nthree\n", "two.txt": "2"})
    git(two.path, "add", "two.txt")
    staged = git(two.path, "ls-files", "-s")
    finish(one)
    assert finish(two).status == "blocked"
    step = orch.next_step()
    assert step.call == "orch.execute_task('recover_two')"
    with orch.execute_task("recover_two", worktree=True, agent="medic") as medic:
        assert medic.path == two.path
        assert (medic.path / "a.txt").read_text() == (
            "one\n"
            "<<<<<<< feature/two\nTWO\n"
            "||||||| base\ntwo\n"
            "=======\nONE\n"
            ">>>>>>> integration\nthree\n"
        )
        assert (medic.path / "one.txt").read_text() == "1"
        assert (medic.path / "src/b.py").read_text() == "b = 2\n"
        assert git(medic.path, "ls-files", "-s") == staged
        # Not corrected yet: it does not land.
        medic.checkpoint({"looked": True})
        with pytest.raises(vespera.MergeConflictError, match=r"a\.txt") as caught:
            orch.worktrees.merge("two")
        assert "markers" in caught.value.report
        write(medic.path, {"a.txt": "one\nONE and TWO\nthree\n"})
        medic.complete(summary="put together", detailed_work="Both words are kept.")
    assert git(project, "log", "--format=%s", "integration").splitlines() == ["one", "first"]
    assert orch.why("two").ready
    with orch.execute_task("two") as again:
        assert again.path == two.path
        assert (again.path / "a.txt").read_text() == "one\nONE and TWO\nthree\n"
        assert finish(again).status == "completed"
    assert git(project, "log", "--format=%s", "integration").splitlines() == ["two", "one", "first"]
    assert git(project, "show", "integration:a.txt") == "one\nONE and TWO\nthree"
    assert git(project, "ls-tree", "-r", "--name-only", "integration").split() == [
        ".gitignore",
        "a.txt",
        "long.txt",
        "one.txt",
        "src/b.py",
        "two.txt",
    ]
    assert_sound(project)


def test_a_recovery_that_is_interrupted_goes_on_where_it_was(orch, project):
    """Started again, it finds its half-corrected files, and what has landed since besides; without
    a worktree it gets none.
    """
    one, two, three = (
        begin(orch, name, {"a.txt": f"one\n{name.upper()}\nthree\n"})
        for name in ("one", "two", "three")
    )
    finish(one)
    finish(two)
    with orch.execute_task("recover_two") as medic:
        write(medic.path, {"a.txt": "one\nONE TWO\nthree\n"})
    write(three.path, {"a.txt": None, "late.txt": "late", "src/b.py": "b = 3\n"})
    git(three.path, "checkout", "-q", "a.txt")
    finish(three)
    with orch.execute_task("recover_two", worktree=False) as medic:
        assert medic.path is None
    with orch.execute_task("recover_two") as medic:
        assert (medic.path / "a.txt").read_text() == "one\nONE TWO\nthree\n"
        assert (medic.path / "late.txt").read_text() == "late"
        finish(medic)
    with orch.execute_task("two") as again:
        finish(again)
    assert git(project, "show", "integration:a.txt") == "one\nONE TWO\nthree"
    assert git(project, "show", "integration:src/b.py") == "b = 3"
    assert_sound(project)


def test_from_a_red_check_to_landed(project):
    """The recovery has the merged files that the check refused; the correction lands when the check
    is green.
    """
    with vespera.open(project) as orch:
        (orch.home / "config.toml").write_text('[worktrees]\ncheck = "! grep -q broken *.txt"\n')
    with vespera.open(project) as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks([{"title": "one"}, {"title": "two"}])
        work = begin(orch, "one", {"n.txt": "broken"})
        assert finish(begin(orch, "two", {"m.txt": "fine"})).status == "completed"
        assert finish(work).status == "blocked"
        with orch.execute_task("recover_one") as medic:
            assert (medic.path / "m.txt").read_text() == "fine"
            write(medic.path, {"n.txt": "mended"})
            finish(medic)
        with orch.execute_task("one") as again:
            assert finish(again).status == "completed"
    assert git(project, "show", "integration:n.txt") == "mended"


# --- undoing what others landed -------------------------------------------------


def landed_beside(orch, files):
    """Begin ``one``, land *files* as ``two``, and merge the integration branch in the worktree of
    ``one`` as an agent would.
    """
    one = begin(orch, "one", {"mine.txt": "mine"})
    commit(one.path, "mine")
    finish(begin(orch, "two", files))
    git(one.path, "merge", "-q", "integration")
    return one


LONG = [f"line {number}\n" for number in range(1, 13)]


def lines(**changed):
    """Return long.txt with lines replaced, by name ``_3="…"``."""
    found = list(LONG)
    for name, text in changed.items():
        found[int(name[1:]) - 1] = text
    return "".join(found)


UNDOING = {
    "old file copied back": (
        {"a.txt": "new\n"},
        {"a.txt": "one\ntwo\nthree\n"},
        ["a.txt (the whole file)"],
    ),
    "one of two changes taken back": (
        {"long.txt": lines(_3="three\n", _9="nine\n")},
        {"long.txt": lines(_9="nine\n", _12="mine\n")},
        ["long.txt (1 line)"],
    ),
    "inserted lines gone again": (
        {"long.txt": lines(_3="line 3\nnew\nand new\n")},
        {"long.txt": lines(_7="mine\n")},
        ["long.txt (2 lines)"],
    ),
    "deleted lines back again": (
        {"long.txt": lines(_3="", _4="")},
        {"long.txt": lines(_7="mine\n")},
        ["long.txt (2 lines)"],
    ),
    "new file deleted": (
        {"theirs.txt": "t"},
        {"theirs.txt": None},
        ["theirs.txt (the whole file)"],
    ),
    "deleted file back": (
        {"src/b.py": None},
        {"src/b.py": "b = 1\n"},
        ["src/b.py (the whole file)"],
    ),
    "binary back": ({"a.txt": b"\0\1"}, {"a.txt": "one\ntwo\nthree\n"}, ["a.txt (the whole file)"]),
    "changed once more": (
        {"a.txt": "one\nTWO\nthree\n"},
        {"a.txt": "one\nTWO and more\nthree\n"},
        [],
    ),
    "changed elsewhere": (
        {"long.txt": lines(_3="three\n")},
        {"long.txt": lines(_3="three\n", _4="four\n")},
        [],
    ),
    "their part rewritten": (
        {"long.txt": lines(_3="a\nb\nc\n")},
        {"long.txt": lines(_3="a\nx\nc\n")},
        [],
    ),
    "nothing of it touched": ({"long.txt": lines(_3="three\n")}, {"a.txt": "mine\n"}, []),
}


@pytest.mark.parametrize("kind", UNDOING)
def test_undoing_what_others_landed_is_told(orch, project, kind):
    """Where a worktree that knows of others' change has again what was before it, the landing says
    so; other changes are no undoing.
    """
    theirs, mine, expected = UNDOING[kind]
    one = landed_beside(orch, theirs)
    write(one.path, mine)
    landing = orch.worktrees._engine.prepare_landing("one", message="m")
    assert [str(revert) for revert in landing.reverts] == expected
    assert finish(one).status == "completed"
    warnings = [
        artifact for artifact in orch.artifacts.list(task="one") if artifact.kind == "warning"
    ]
    assert [path.rpartition(" (")[0] in orch.artifacts.text(warnings[0]) for path in expected] == [
        True
    ] * len(expected)
    assert len(warnings) == bool(expected)
    assert_sound(project)


def test_a_file_copied_back_without_merging_undoes_nothing(orch, project):
    """A worktree that does not know of others' change keeps it, whatever old state its own files
    have.
    """
    one = begin(orch, "one", {"mine.txt": "mine"})
    finish(begin(orch, "two", {"a.txt": "new\n"}))
    write(one.path, {"a.txt": "one\ntwo\nthree\n"})
    assert orch.worktrees._engine.prepare_landing("one", message="m").reverts == ()
    finish(one)
    assert git(project, "show", "integration:a.txt") == "new"


def test_undoing_ones_own_is_no_undoing(orch):
    """What the same worktree landed before may be taken back in silence; what others landed between
    may not.
    """
    mine, theirs = orch.worktrees.create("one"), orch.worktrees.create("two")
    write(mine.path, {"a.txt": "mine\n"})
    orch.worktrees.merge("one")
    write(theirs.path, {"long.txt": lines(_3="three\n")})
    orch.worktrees.merge("two")
    orch.worktrees.catch_up("one")
    write(mine.path, {"a.txt": "one\ntwo\nthree\n"})
    assert orch.worktrees._engine.prepare_landing("one", message="m").reverts == ()
    write(mine.path, {"long.txt": lines()})
    assert [str(undone) for undone in orch.worktrees.merge("one").reverts] == [
        "long.txt (the whole file)"
    ]


def test_undoing_can_be_refused(project):
    """With ``undoing = "refuse"`` the task is blocked, and its recovery says what would be lost."""
    with vespera.open(project) as orch:
        (orch.home / "config.toml").write_text('[worktrees]\nundoing = "refuse"\n')
    with vespera.open(project) as orch:
        orch.initialize_session("Goal")
        orch.plan_tasks([{"title": "one"}, {"title": "two"}])
        one = landed_beside(orch, {"long.txt": lines(_3="three\n")})
        write(one.path, {"long.txt": lines(_12="mine\n")})
        assert finish(one).status == "blocked"
        refusal = next(
            artifact for artifact in orch.artifacts.list(task="one") if artifact.kind == "refusal"
        )
        assert "-three\n+line 3" in orch.artifacts.text(refusal)
        with pytest.raises(vespera.LandingRefusedError) as caught:
            orch.worktrees.merge("one")
        assert caught.value.kind is vespera.RefusalKind.REVERTS
        with orch.execute_task("recover_one") as medic:
            write(medic.path, {"long.txt": lines(_3="three\n", _12="mine\n")})
            finish(medic)
        with orch.execute_task("one") as again:
            assert finish(again).status == "completed"


# --- what is on the branch --------------------------------------------------------


def test_a_worktree_starts_from_what_its_task_depends_on(orch, project):
    """The landing of each dependency is in it, as a commit or by content; where that was taken
    away, it is refused with the remedy.
    """
    finish(begin(orch, "one", {"n.txt": "n"}))
    landed = git(project, "rev-parse", "integration")
    git(project, "branch", "-f", "integration", "main")
    with pytest.raises(
        vespera.GitFailedError,
        match=f"depends on one, whose work .commit {landed[:12]}. is no longer on 'integration'",
    ):
        orch.execute_task("after", worktree=True)
    assert orch.why("after").ready
    assert [worktree.name for worktree in orch.worktrees.list()] == []
    git(project, "switch", "-q", "integration")
    commit(project, "something else", {"m.txt": "m"})
    git(project, "cherry-pick", landed)
    git(project, "switch", "-q", "main")
    assert git(project, "rev-parse", "integration") != landed
    with orch.execute_task("after", worktree=True) as work:
        assert (work.path / "n.txt").read_text() == "n"
        work.release()


def test_merged_is_judged_by_content(orch, project):
    """Work that somebody squashed or picked onto the branch is merged, whatever the history says;
    other work is not.
    """
    one, two = orch.worktrees.create("one"), orch.worktrees.create("two")
    commit(one.path, "step 1", {"n.txt": "1"})
    commit(one.path, "step 2", {"n.txt": "2"})
    assert not orch.worktrees.is_merged("one")
    assert orch.worktrees.is_merged("two")
    git(project, "switch", "-q", "integration")
    git(project, "merge", "-q", "--squash", "feature/one")
    commit(project, "squashed", {"m.txt": "m"})
    git(project, "switch", "-q", "main")
    assert orch.worktrees.is_merged("one")
    write(one.path, {"open.txt": "not there"})
    assert not orch.worktrees.is_merged("one")
    removed = orch.worktrees.remove("one")
    assert git(project, "show", f"{removed.rescue_ref}:open.txt") == "not there"
    assert "feature/one" not in git(project, "branch")
    assert two


# --- what must survive between a conflict and the landing ---------------------


def test_a_folder_deleted_after_catching_up_undoes_nothing_of_others(orch, project):
    """The worktree is known to have all of the branch, so its last snapshot must have it as
    well.
    """
    one = begin(orch, "one", {"a.txt": "one\nONE\nthree\n", "src/b.py": "b = 2\n"})
    two = begin(orch, "two", {"a.txt": "one\nTWO\nthree\n"})
    finish(one)
    finish(two)
    orch.execute_task("recover_two", agent="killed")
    shutil.rmtree(two.path)
    with orch.execute_task("recover_two", take_over=True) as medic:
        assert (medic.path / "src/b.py").read_text() == "b = 2\n"
        assert "ONE" in (medic.path / "a.txt").read_text()
        write(medic.path, {"a.txt": "one\nONE TWO\nthree\n"})
        finish(medic)
    with orch.execute_task("two") as again:
        assert finish(again).status == "completed"
    assert git(project, "show", "integration:src/b.py") == "b = 2"
    assert_sound(project)


@pytest.mark.parametrize("name", ["a.txt", "renamed.txt"])
def test_markers_are_not_forgotten_when_more_has_landed_since(orch, project, name):
    """Catching up a second time, without a conflict of its own, leaves the first one's markers
    unfit to land; so does another name.
    """
    one, two = (
        begin(orch, name, {"a.txt": f"one\n{name.upper()}\nthree\n"}) for name in ("one", "two")
    )
    finish(one)
    finish(two)
    with orch.execute_task("recover_two") as medic:
        (medic.path / "a.txt").rename(medic.path / name)
        medic.release("tired")
    finish(begin(orch, "three", {"src/b.py": "b = 3\n"}))
    for status in ("pending", "blocked"):  # it has had three attempts then, one of them given back
        with orch.execute_task("recover_two") as medic:
            assert finish(medic).status == status
        assert f"between markers: {name}" in orch.get_task("recover_two").reason
    with pytest.raises(vespera.MergeConflictError, match=name):
        orch.worktrees.merge("two")
    assert git(project, "show", "integration:a.txt") == "one\nONE\nthree"


def test_what_was_saved_after_a_landing_survives_the_folder(orch, project):
    """A shared worktree goes on after a landing: made again, it has what was saved since."""
    with orch.execute_task("one", worktree="agent", agent="ada") as work:
        write(work.path, {"one.txt": "1"})
        finish(work)
    work = orch.execute_task("two", worktree="agent", agent="ada")
    write(work.path, {"two.txt": "2"})
    work.checkpoint({"half": True})
    shutil.rmtree(work.path)
    with orch.execute_task("two", agent="ada", take_over=True) as again:
        assert (again.path / "two.txt").read_text() == "2"
        assert finish(again).status == "completed"
    assert git(project, "show", "integration:two.txt") == "2"
    shutil.rmtree(again.path)  # all of it has landed: a fresh one begins at the branch's head
    orch.plan_task("four")
    with orch.execute_task("four", worktree="agent", agent="ada") as work:
        assert (work.path / "two.txt").read_text() == "2"


@pytest.mark.parametrize("merge", ["now", "later"])
def test_work_that_was_removed_is_not_called_done(orch, project, merge):
    """Completed by its name after its worktree was taken away, a task stays open and tells where
    its files are.
    """
    work = begin(orch, "one", {"one.txt": "1"})
    if merge == "later":
        finish(work, merge="later")
    ref = orch.worktrees.remove("one").rescue_ref
    for _ in range(2):
        with pytest.raises(
            vespera.GitFailedError, match=f"before its work had landed.*{ref}"
        ) as caught:
            orch.complete_task("one", summary="done", detailed_work="all of it")
        kept_id = caught.value.kept_artifact_id
        assert caught.value.__notes__ == [f"your work is kept as artifact {kept_id}"]
        assert orch.artifacts.text(kept_id) == "all of it"
    assert orch.get_task("one").status == "in_progress"
    with orch.execute_task("one", worktree=False, take_over=True) as again:
        assert finish(again).status == "completed"
    begin(orch, "two", {})
    orch.worktrees.remove("two")  # nothing was in it
    assert (
        orch.complete_task("two", summary="done", detailed_work="all of it").status == "completed"
    )
    begin(orch, "three", {"three.txt": "3"})
    commit(project, "picked by hand", {"three.txt": "3"})
    git(project, "branch", "-f", "integration")
    orch.worktrees.remove("three")
    assert (
        orch.complete_task("three", summary="done", detailed_work="all of it").status == "completed"
    )


def test_catching_up_writes_over_nothing_that_is_not_saved(orch, project):
    """An ignored file is in no snapshot: where others landed one of that name, it stays."""
    one = begin(orch, "one", {".gitignore": "*.env\n", "x.env": "secret"})
    finish(begin(orch, "two", {"x.env": "landed", "src/b.py": "b = 2\n"}))
    with pytest.raises(vespera.DirtyCheckoutError, match=r"x\.env; move"):
        orch.worktrees.catch_up("one")
    assert (one.path / "x.env").read_text() == "secret"
    assert (one.path / "src/b.py").read_text() == "b = 1\n"
    (one.path / "x.env").unlink()
    assert orch.worktrees.catch_up("one") == ()
    assert (one.path / "x.env").read_text() == "landed"
    assert git(project, "show", "integration:x.env") == "landed"


def test_a_report_shows_the_places_first(orch):
    """Of a long file in conflict the report begins with the places, a few lines around each; the
    whole comes after.
    """
    one, two = (
        begin(orch, name, {"long.txt": lines(_3=f"{name}\n", _11=f"{name} too\n") + "rest\n" * 200})
        for name in ("one", "two")
    )
    finish(one)
    assert finish(two).status == "blocked"
    [conflict] = orch.artifacts.list(task="two", kind="conflict")
    report = orch.artifacts.text(conflict)
    places, whole = report.split("## Whole files")
    said = ["two", "one", "two too", "one too"]
    assert [line for line in places.splitlines() if line in said] == said
    assert len(places.splitlines()) < 60 < len(whole.splitlines())
    with orch.execute_task("recover_two", agent="three") as work:
        briefing = str(work.briefing())
        work.release()
    assert "> one too" in briefing
    assert briefing.count("> rest") < 10
    assert f"more characters: orch.artifacts.text('{conflict.id}')]" in briefing
