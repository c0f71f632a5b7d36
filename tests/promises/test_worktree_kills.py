"""Killed at any moment: repair brings everything into order, nothing that was saved is lost, and
work goes on.

Three ways to die, none of which needs anything installed but the last: at every call by which our
code or libgit2's is entered to change files (counted by ``sys.setprofile`` in the process that
dies), at random moments (which fall inside libgit2's calls as well), and, where strace is
installed, at every single system call that changes a file.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from support import TESTS
from support.git_project import files_of

WORKER = TESTS / "support" / "worktrees_worker.py"
ACTIONS = ("create", "snapshot", "merge", "remove")
CHANGING = (
    "open,openat,creat,write,pwrite64,writev,ftruncate,truncate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat"
)
SAVED = {"n.txt": "precious\n", "deep/er.txt": "too\n"}
LATE = {"late.txt": "late\n", "a.txt": "changed\n"}


class Scene:
    """A project with a saved worktree, put back to that state as often as one likes."""

    def __init__(self, make):
        self.project = make(
            name="scene/project",
            files={f"f{n}.txt": f"{n}\n" for n in range(12)} | {"a.txt": "a\n", "d/b.txt": "b\n"},
        )
        self.root = self.project.folder.parent
        trees = self.project.open()
        self.worktree = trees.create("work")
        self.project.write(SAVED, self.worktree.path)
        self.saved = [trees.snapshot("work").commit]
        self.project.write({"n.txt": "precious 2\n"}, self.worktree.path)
        self.saved.append(trees.snapshot("work", passing=True).commit)
        self.project.write(LATE, self.worktree.path)
        self.project.git("pack-refs", "--all")
        self.close()
        self.parked = self.root.with_name("parked")
        subprocess.run(["cp", "-a", self.root, self.parked], check=True)

    def close(self):
        while self.project.stores:
            self.project.stores.pop().close()

    def again(self):
        shutil.rmtree(self.root)
        subprocess.run(["cp", "-a", self.parked, self.root], check=True)

    def command(self, action, point=0):
        return [sys.executable, str(WORKER), action, str(self.project.folder), str(point)]

    def points(self, action):
        """Return how many calls the action makes."""
        self.again()
        return int(
            subprocess.run(self.command(action), capture_output=True, text=True, check=True).stdout
        )

    def kill(self, action, point):
        """Let a child do it anew, and be killed at this call."""
        self.again()
        done = subprocess.run(self.command(action, point), capture_output=True, check=False)
        assert done.returncode == -9

    def judge(self, action, what):
        """Check all promises after a kill, and return what the repair had to do."""
        project = self.project
        trees = project.open()
        said = trees.repair()
        assert trees.repair() == [], what
        for commit, text in zip(self.saved, ("precious", "precious 2"), strict=True):
            assert project.git("for-each-ref", f"--contains={commit}", "refs/vespera"), (what, said)
            assert project.git("show", f"{commit}:n.txt") == text, what
        project.assert_sound()
        if trees.find("work") is not None:
            assert trees.create("work").path == self.worktree.path
            assert {name: Path(self.worktree.path, name).read_text() for name in LATE} == LATE, what
            assert trees.merge("work").commit == project.git("rev-parse", "integration")
            assert project.git("show", "integration:late.txt") == "late"
            trees.remove("work")
        else:
            assert action == "remove", what
        [rescued] = trees.rescue()
        assert project.git("show", f"{rescued.ref}:late.txt") == "late", what
        fresh = trees.create("fresh")
        assert files_of(fresh.path)[b"f7.txt"] == (False, b"7\n"), what
        assert project.git("status", "--porcelain", cwd=fresh.path) == "", what
        trees.remove("fresh")
        assert trees.repair() == [], what
        project.assert_sound()
        assert list(project.listed()) == [str(project.folder)], what
        assert project.git("branch", "--format=%(refname:short)").split() == [
            "integration",
            "main",
        ], what
        assert not list(project.folder.joinpath(".git", "vespera").rglob("new-*")), what
        self.close()
        return re.sub(r"\d+|worktree \w+|refs/\S+", "…", "; ".join(said)) or "nothing to do"


def report(action, means, outcomes):
    """Print a line of the table in docs/worktrees.md."""
    done = "; ".join(f"{count}x {said}" for said, count in outcomes.most_common())
    print(f"| {action} | {means} | {sum(outcomes.values())} | {done} |")


@pytest.fixture
def scene(make):
    """Return a scene."""
    return Scene(make)


@pytest.mark.parametrize("action", ACTIONS)
def test_killed_here_and_there(scene, action):
    """Two places in each action; all of them in the long run."""
    total = scene.points(action)
    for point in (total // 3, total - total // 6):
        scene.kill(action, point)
        scene.judge(action, (action, point))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_every_call(scene, action):
    """Every call into libgit2 or the system that changes files or refs."""
    outcomes = Counter()
    for point in range(1, scene.points(action) + 1):
        scene.kill(action, point)
        outcomes[scene.judge(action, (action, point))] += 1
    report(action, "every call", outcomes)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_random_moments(scene, action):
    """75 moments of each action, wherever they fall."""
    choice, outcomes = random.Random(action), Counter()
    scene.again()
    command = [*scene.command(action), "tell"]
    begun, took = moments(command)
    while sum(outcomes.values()) < 75:
        scene.again()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "begin\n", begun
        time.sleep(choice.uniform(0, took))  # a moment is what is to be met
        process.kill()
        process.communicate()
        outcomes[scene.judge(action, (action, "random"))] += 1
    report(action, "random moments", outcomes)


def moments(command):
    """Return when the action began and how long it took, in seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    begun = time.monotonic()
    process.communicate()
    return begun, time.monotonic() - begun


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("action", ACTIONS)
def test_killed_at_every_system_call(scene, action, tmp_path):
    """Every system call that changes a file below the project."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: the tests above are all there is")
    scene.again()
    log, outcomes = tmp_path / "log", Counter()
    trace = ["strace", "-f", "-qq", "-y", "-s", "16", "-o", str(log), "-e", f"trace={CHANGING}"]
    subprocess.run([*trace, *scene.command(action)], capture_output=True, check=True)
    seen = Counter()
    points = []
    for line in log.read_text(errors="replace").splitlines():
        if (match := re.match(r"\d+ +(\w+)\((.*)", line)) is None:
            continue
        seen[match[1]] += 1
        opens_only = match[1] in ("open", "openat") and not re.search(
            "O_(WRONLY|RDWR|CREAT)", match[2]
        )
        if str(scene.root) in match[2] and not opens_only:
            points.append((match[1], seen[match[1]]))
    for call, number in points:
        scene.again()
        inject = [
            "strace",
            "-f",
            "-qq",
            "-o",
            os.devnull,
            "-e",
            f"trace={CHANGING}",
            "-e",
            f"inject={call}:signal=KILL:when={number}",
        ]
        run = subprocess.run([*inject, *scene.command(action)], capture_output=True, check=False)
        assert run.returncode in (0, -9, 137), run.stderr
        outcomes[scene.judge(action, (action, call, number))] += 1
    report(action, "every system call", outcomes)
