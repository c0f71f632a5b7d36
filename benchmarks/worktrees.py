"""Making a worktree and saving it, beside git doing the same, in a repository that is made on the spot."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, alternate, metered

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORDS = ("the", "a", "task", "waits", "for", "agent", "reads", "writes", "branch", "file", "when", "it", "has", "ended", "nothing", "lost")
_CHANGES = 10


def rows(scale: Scale) -> list[Row]:
    project = scale.folder / "project"
    files = make_repository(project, scale.pick(3000, 150))
    with vespera.open(project) as orch:
        orch.initialize_session("measure")
        bench = _Bench(orch, project, scale.folder, files)
        made = alternate(scale.pick(9, 2), ours=bench.create, git=bench.git_create)
        bench.settle()
        saved = alternate(scale.pick(15, 3), ours=bench.snapshot, git=bench.git_snapshot)
    count = f"{len(files):,} files"
    return [
        Row.of(f"create a worktree of {count}", made["ours"], "git worktree add", made["git"], at_most=1),
        Row.of(
            f"snapshot of {_CHANGES} changes in {count}",
            saved["ours"],
            "git add -A, write-tree, commit-tree, update-ref; index of its own",
            saved["git"],
            at_most=0.5,
        ),
    ]


def make_repository(folder: Path, count: int) -> list[str]:
    """Make a repository of *count* files in folders of thirty, the same each time; return their paths."""
    choice = random.Random(3)
    paths = []
    for number in range(count):
        path = f"part_{number // 300}/room_{number // 30}/file_{number}.py"
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = (" ".join(choice.choices(_WORDS, k=9)) for _ in range(choice.randrange(5, 150)))
        place.write_text("\n".join(lines) + "\n", "utf-8")
        paths.append(path)
    git(folder, "init", "-q", "-b", "main")
    for key, value in (("user.name", "Bench"), ("user.email", "bench@example.org"), ("commit.gpgsign", "false"), ("gc.auto", "0")):
        git(folder, "config", key, value)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "All files")
    git(folder, "repack", "-q", "-a", "-d")  # as after a clone
    return paths


def git(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


class _Bench:
    """Worktrees of both sides, one repository."""

    def __init__(self, orch: vespera.Orchestrator, project: Path, folder: Path, files: list[str]) -> None:
        self.orch, self.project, self.folder, self.files = orch, project, folder, files
        self.choice = random.Random(5)
        self.number = 0

    def create(self) -> Cost:
        self.number += 1
        with metered() as meter:
            made = self.orch.worktrees.create(agent=f"agent_{self.number}")
        self.orch.worktrees.remove(made)
        return meter.per(1)

    def git_create(self) -> Cost:
        self.number += 1
        place = self.folder / "git" / f"tree_{self.number}"
        place.parent.mkdir(exist_ok=True)
        with metered() as meter:
            git(self.project, "worktree", "add", "-q", "-b", f"tree_{self.number}", str(place), "main")
        git(self.project, "worktree", "remove", "--force", str(place))
        git(self.project, "branch", "-q", "-D", f"tree_{self.number}")
        return meter.per(1)

    def settle(self) -> None:
        """Make the two worktrees that are saved, with indexes younger than the files: both sides would read every file otherwise."""
        self.mine = self.orch.worktrees.create(agent="saver")
        self.theirs = self.folder / "git" / "saver"
        git(self.project, "worktree", "add", "-q", "-b", "saver", str(self.theirs), "main")
        time.sleep(1.1)
        for place in (Path(self.mine.path), self.theirs):
            git(place, "update-index", "--force-write-index")

    def snapshot(self) -> Cost:
        self._change(Path(self.mine.path))
        with metered() as meter:
            taken = self.orch.worktrees.snapshot(self.mine)
        if not taken.changed:
            raise RuntimeError(taken)
        return meter.per(1)

    def git_snapshot(self) -> Cost:
        self._change(self.theirs)
        index = Path(git(self.theirs, "rev-parse", "--absolute-git-dir")) / "index"
        env = {**os.environ, "GIT_INDEX_FILE": str(self.folder / "index")}
        with metered() as meter:
            shutil.copy2(index, self.folder / "index")  # with git's knowledge of unchanged files
            git(self.theirs, "add", "-A", env=env)
            tree = git(self.theirs, "write-tree", env=env)
            commit = git(self.theirs, "commit-tree", "-p", "HEAD", "-m", "snapshot", tree)
            git(self.theirs, "update-ref", "refs/wip/saver", commit)
        return meter.per(1)

    def _change(self, place: Path) -> None:
        """Give the same ten files new contents."""
        for path in self.files[:: len(self.files) // _CHANGES][:_CHANGES]:
            (place / path).write_text(" ".join(self.choice.choices(_WORDS, k=400)) + f"\n{self.choice.random()}\n", "utf-8")
