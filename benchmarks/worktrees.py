"""Worktrees made, saved, landed, compared and removed, beside git doing the same.

The repositories are made on the spot.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pygit2
import pygit2.enums

import vespera_orchestrator as vespera
from measure import Cost, Row, Scale, alternate, median, metered, say
from vespera_orchestrator._model import Worktree, utcnow
from vespera_orchestrator.home.files import sync_folder
from vespera_orchestrator.worktrees.staging import Staging
from vespera_orchestrator.worktrees.tree_merge import tree_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_WORDS = (
    "the",
    "a",
    "task",
    "waits",
    "for",
    "agent",
    "reads",
    "writes",
    "branch",
    "file",
    "when",
    "it",
    "has",
    "ended",
    "nothing",
    "lost",
)
_CHANGES = 10
_SYNCED = ("-c", "core.fsync=all")
"""Git puts everything on disk, as we do: both sides survive a power cut."""
_LOOK = (
    pygit2.enums.DiffOption.INCLUDE_UNTRACKED
    | pygit2.enums.DiffOption.RECURSE_UNTRACKED_DIRS
    | pygit2.enums.DiffOption.INCLUDE_TYPECHANGE
)
_MANY, _LARGE, _FORECAST_MS = 30, 10_000, 150


def rows(scale: Scale) -> list[Row]:
    found = _rows(
        scale,
        scale.folder / "some",
        scale.pick(3000, 150),
        creations=scale.pick(9, 2),
        saves=scale.pick(15, 3),
    )
    if scale.large:
        found += _rows(scale, scale.folder / "many", 50_000, creations=3, saves=7)
    return found


def _rows(scale: Scale, folder: Path, count: int, *, creations: int, saves: int) -> list[Row]:
    say(f"making a repository of {count:,} files")
    folder.mkdir()
    project = folder / "project"
    files = make_repository(project, count)
    with vespera.open(project) as orch, vespera.open(project, durability="normal") as relaxed:
        orch.initialize_session("measure")
        bench = _Bench(orch, relaxed, project, folder, files)
        made = alternate(creations, ours=bench.create, git=bench.git_create)
        removed = {
            name: costs[1:] for name, costs in bench.removals.items()
        }  # the round that does not count was its first
        bench.settle()
        saved = alternate(
            saves, ours=bench.snapshot, hand=bench.snapshot_by_hand, git=bench.git_snapshot
        )
        kept = alternate(saves, durable=bench.snapshot, relaxed=bench.relaxed_snapshot)
        again = alternate(saves, ours=bench.heartbeat, git=bench.git_snapshot_of_nothing)
        waits = {
            "create a worktree": _longest_wait(bench.create),
            "snapshot": _longest_wait(bench.snapshot),
        }
    many = f"{count:,} files"
    plumbing = "git add -A, write-tree, commit-tree, update-ref, all synced; index of its own"
    table = [
        Row.of(
            f"create a worktree of {many}", made["ours"], "git worktree add", made["git"], at_most=1
        ),
        Row.of(
            f"remove a worktree of {many}, its last state kept",
            removed["ours"],
            "git worktree remove, branch -D",
            removed["git"],
        ),
        Row.of(
            f"snapshot of {_CHANGES} changes in {many}",
            saved["ours"],
            plumbing,
            saved["git"],
            at_most=0.5,
        ),
        Row.of(
            f"the same by hand, {many}: look at each file, one pack, one ref, all synced",
            saved["hand"],
            "the same",
            saved["git"],
        ),
        Row.of(
            f"durability of that snapshot, {many}",
            kept["durable"],
            'the same with durability="normal"',
            kept["relaxed"],
        ),
        Row.of(
            f"snapshot of no change in {many}",
            again["ours"],
            "git add -A, write-tree; index of its own",
            again["git"],
        ),
    ]
    for what, (wait_s, took_s) in waits.items():
        told = f"{wait_s * 1e3:.3g} ms", "the whole call", f"{took_s * 1e3:.3g} ms"
        figures = {"wait_s": wait_s, "took_s": took_s}
        table.append(
            Row(
                f"longest wait of another thread: {what}, {many}",
                *told,
                wait_s / took_s,
                figures=figures,
            )
        )
    return table + merging(project, files, many, scale)


def _longest_wait(do: Callable[[], object], rounds: int = 3) -> tuple[float, float]:
    """Return how long another thread had to wait at most, and how long a call took, in seconds."""
    with _ticking() as ticking:
        begun = time.perf_counter()
        for _ in range(rounds):
            do()
        took_s = (time.perf_counter() - begun) / rounds
    return max(ticking), took_s


def merging(project: Path, files: list[str], count: str, scale: Scale) -> list[Row]:
    """Measure landing, and the forecast for ten and for thirty worktrees."""
    found = []
    with vespera.open(project) as orch:
        session = orch.initialize_session("merge")
        lines = _Lines(orch, project, files, session.id)
        lines.add(scale.pick(10, 4))
        what = f"land a snapshot in {count}: merge, commit, move the branch"
        found.append(_landing(lines, what, scale))
        for number in (scale.pick(10, 4), scale.pick(30, 6)):
            lines.add(number - len(lines.saved))
            costs = alternate(scale.pick(5, 1), ours=lines.forecast, git=lines.git_forecast)
            wall_ms = median(costs["ours"]).wall_s * 1e3
            row = Row.of(
                f"forecast for {number} worktrees of {count}",
                costs["ours"],
                "git merge-tree for each pair",
                costs["git"],
            )
            met = wall_ms <= _FORECAST_MS if number == _MANY and len(files) < _LARGE else None
            told = f"{wall_ms:.0f} ms; another thread waited {lines.stall_ms:.0f} ms at most"
            found.append(
                attrs.evolve(
                    row,
                    target=f"≤ {_FORECAST_MS} ms" if met is not None else "",
                    met=met,
                    reached=told,
                )
            )
        lines.let_another_land()
        what = f"land a snapshot in {count}, after another's"
        found.append(_landing(lines, what, scale))
    return found


def _landing(lines: _Lines, what: str, scale: Scale) -> Row:
    landed = alternate(scale.pick(9, 2), ours=lines.land, git=lines.git_land)
    against = "git merge-tree, commit-tree, update-ref, synced"
    return Row.of(what, landed["ours"], against, landed["git"], at_most=1.2)


def make_repository(folder: Path, count: int) -> list[str]:
    """Make a repository of *count* files in folders of thirty; return their paths.

    It is the same each time.
    """
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
    for key, value in (
        ("user.name", "Bench"),
        ("user.email", "bench@example.org"),
        ("commit.gpgsign", "false"),
        ("gc.auto", "0"),
    ):
        git(folder, "config", key, value)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "All files")
    git(folder, "repack", "-q", "-a", "-d")  # as after a clone
    return paths


def git(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


class _Bench:
    """Worktrees of both sides, one repository."""

    def __init__(
        self,
        orch: vespera.Orchestrator,
        relaxed: vespera.Orchestrator,
        project: Path,
        folder: Path,
        files: list[str],
    ) -> None:
        self.orch, self.relaxed = orch, relaxed
        self.project, self.folder, self.files = project, folder, files
        self.choice = random.Random(5)
        self.number = 0
        self.by_hand = ""
        self.removals: dict[str, list[Cost]] = {"ours": [], "git": []}

    def create(self) -> Cost:
        self.number += 1
        with metered() as meter:
            made = self.orch.worktrees.create(agent=f"agent_{self.number}")
        with metered() as removal:
            self.orch.worktrees.remove(made)
        self.removals["ours"].append(removal.per(1))
        return meter.per(1)

    def git_create(self) -> Cost:
        self.number += 1
        place = self.folder / "git" / f"tree_{self.number}"
        place.parent.mkdir(exist_ok=True)
        with metered() as meter:
            git(
                self.project,
                "worktree",
                "add",
                "-q",
                "-b",
                f"tree_{self.number}",
                str(place),
                "main",
            )
        with metered() as removal:
            git(self.project, "worktree", "remove", "--force", str(place))
            git(self.project, "branch", "-q", "-D", f"tree_{self.number}")
        self.removals["git"].append(removal.per(1))
        return meter.per(1)

    def settle(self) -> None:
        """Make the two worktrees that are saved, with indexes younger than the files.

        Otherwise both sides would read every file.
        """
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

    def relaxed_snapshot(self) -> Cost:
        self._change(Path(self.mine.path))
        with metered() as meter:
            self.relaxed.worktrees.snapshot(self.mine)
        return meter.per(1)

    def heartbeat(self) -> Cost:
        with metered() as meter:
            self.orch.worktrees.snapshot(self.mine, passing=True)
        return meter.per(1)

    def git_snapshot_of_nothing(self) -> Cost:
        index = Path(git(self.theirs, "rev-parse", "--absolute-git-dir")) / "index"
        env = {**os.environ, "GIT_INDEX_FILE": str(self.folder / "index")}
        with metered() as meter:
            shutil.copy2(index, self.folder / "index")
            git(self.theirs, "add", "-A", env=env)
            git(self.theirs, "write-tree", env=env)
        return meter.per(1)

    def git_snapshot(self) -> Cost:
        self._change(self.theirs)
        index = Path(git(self.theirs, "rev-parse", "--absolute-git-dir")) / "index"
        env = {**os.environ, "GIT_INDEX_FILE": str(self.folder / "index")}
        with metered() as meter:
            shutil.copy2(index, self.folder / "index")  # with git's knowledge of unchanged files
            git(self.theirs, *_SYNCED, "add", "-A", env=env)
            tree = git(self.theirs, *_SYNCED, "write-tree", env=env)
            words = ("commit-tree", "-p", "HEAD", "-m", "snapshot", tree)
            commit = git(self.theirs, *_SYNCED, *words)
            git(self.theirs, *_SYNCED, "update-ref", "refs/wip/saver", commit)
        return meter.per(1)

    def snapshot_by_hand(self) -> Cost:
        """Do the least that a durable snapshot takes: no locks, no history, nothing after a kill.

        New objects go into one pack. It is what is left of the cost where nothing is checked.
        """
        self._change(self.theirs)
        common = self.project / ".git"
        git_dir = git(self.theirs, "rev-parse", "--absolute-git-dir")
        with metered() as meter:
            place = Staging(common, durable=True)
            repo = place.attach(pygit2.Repository(git_dir))
            before = self.by_hand or str(repo.head.target)
            files = {}
            for delta in repo.index.diff_to_workdir(_LOOK).deltas:
                path = delta.new_file.path
                repo.index.add(path)
                entry = repo.index[path]
                files[path] = str(entry.id), int(entry.mode)
            tree = tree_with(repo, repo[before].peel(pygit2.Tree), files)
            who = pygit2.Signature("Bench", "bench@example.org")
            self.by_hand = str(repo.create_commit(None, who, who, "snapshot", tree, [before]))
            repo.index.write()
            place.write()
            _write_ref(common / "refs" / "wip" / "by_hand", self.by_hand)
        place.release()
        return meter.per(1)

    def _change(self, place: Path) -> None:
        """Give the same ten files new contents."""
        for path in self.files[:: len(self.files) // _CHANGES][:_CHANGES]:
            (place / path).write_text(
                " ".join(self.choice.choices(_WORDS, k=400)) + f"\n{self.choice.random()}\n",
                "utf-8",
            )


def _write_ref(file: Path, commit: str) -> None:
    """Write a ref so that it is there after a power cut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.with_name(f"{file.name}.lock")
    with lock.open("x") as stream:
        stream.write(f"{commit}\n")
        stream.flush()
        os.fsync(stream.fileno())
    lock.replace(file)
    sync_folder(file.parent)


class _Lines:
    """Lines of work as their snapshots, without the folders.

    In each, eight files are changed, three of them among sixty that all touch, and one is new.
    """

    def __init__(
        self, orch: vespera.Orchestrator, project: Path, files: list[str], session_id: str
    ) -> None:
        self.orch, self.project, self.files, self.session_id = orch, project, files, session_id
        self.choice = random.Random(7)
        self.base = git(project, "rev-parse", "main")
        self.tip = self.base
        """Where the integration branch is before each landing."""
        git(project, "update-ref", "refs/heads/integration", self.base)
        for ref in git(
            project,
            "for-each-ref",
            "--format=%(refname)",
            "refs/vespera/wip",
            "refs/vespera/landed",
        ).splitlines():
            git(project, "update-ref", "-d", ref)
        self.saved: list[str] = []
        self.touched: set[str] = set()
        self.number = 0
        self.stall_ms = 0.0

    def add(self, number: int) -> None:
        """Save so many more."""
        repo = pygit2.Repository(str(self.project))
        for _ in range(number):
            name = f"line_{len(self.saved)}"
            chosen = self.choice.sample(self.files[:60], 3)
            chosen += self.choice.sample(self.files[60:], 5)
            self.touched.update(chosen)
            self.saved.append(self._commit(repo, name, chosen))
            repo.references.create(f"refs/vespera/wip/{name}", self.saved[-1])
            record = Worktree(
                name=name,
                session_id=self.session_id,
                task_id=None,
                agent=name,
                path=f"worktrees/{name}",
                branch="",
                base=self.base,
                state="active",
                landed=None,
                rescue_ref=None,
                created_at=utcnow(),
            )
            self.orch._store.put_worktree(record, "worktree_created")  # noqa: SLF001 - a forecast needs records and snapshots, no folders

    def _commit(self, repo: pygit2.Repository, name: str, chosen: Iterable[str]) -> str:
        index = pygit2.Index()
        index.read_tree(repo[self.base].peel(pygit2.Tree))
        for path in chosen:
            lines = (self.project / path).read_text("utf-8").splitlines(keepends=True)
            lines[self.choice.randrange(len(lines))] = f"{name} was here\n"
            index.add(
                pygit2.IndexEntry(
                    path, repo.create_blob("".join(lines).encode()), pygit2.enums.FileMode.BLOB
                )
            )
        index.add(
            pygit2.IndexEntry(
                f"new/{name}.py", repo.create_blob(name.encode()), pygit2.enums.FileMode.BLOB
            )
        )
        who = pygit2.Signature("Bench", "bench@example.org")
        return str(repo.create_commit(None, who, who, name, index.write_tree(repo), [self.base]))

    def let_another_land(self) -> None:
        """Put other work on the branch, so that the lines have to be merged, without a conflict."""
        others = [path for path in self.files if path not in self.touched]
        repo = pygit2.Repository(str(self.project))
        self.tip = self._commit(repo, "another", others[:: max(1, len(others) // 8)])

    def _start_again(self) -> str:
        git(self.project, "update-ref", "refs/heads/integration", self.tip)
        self.number += 1
        return self.saved[self.number % len(self.saved)]

    def land(self) -> Cost:
        from vespera_orchestrator.worktrees import landing, snapshot

        commit = self._start_again()
        repository = self.orch.worktrees._engine._repository()  # noqa: SLF001 - a snapshot whose folder was never made
        record = self.orch.worktrees.find(f"line_{self.saved.index(commit)}")
        saved = snapshot.latest_snapshot(repository, record)
        with metered() as meter:
            landing.prepare(repository, record, saved, "work", landing.Rules.of(repository)).apply()
        git(self.project, "update-ref", "-d", f"refs/vespera/landed/{record.name}")
        return meter.per(1)

    def git_land(self) -> Cost:
        commit = self._start_again()
        with metered() as meter:
            words = ("merge-tree", "--write-tree", "integration", commit)
            tree = git(self.project, *_SYNCED, *words)
            words = ("commit-tree", "-p", self.tip, "-m", "work", tree)
            made = git(self.project, *_SYNCED, *words)
            words = ("update-ref", "refs/heads/integration", made, self.tip)
            git(self.project, *_SYNCED, *words)
        return meter.per(1)

    def forecast(self) -> Cost:
        git(self.project, "update-ref", "refs/heads/integration", self.base)
        self.orch.worktrees._engine._last_forecast = None  # noqa: SLF001 - it is remembered while nothing has moved
        with _ticking() as ticking, metered() as meter:
            seen = self.orch.worktrees.forecast()
        if len(seen.worktrees) != len(self.saved):
            raise RuntimeError(seen)
        self.stall_ms = max(ticking) * 1e3
        return meter.per(1)

    def git_forecast(self) -> Cost:
        with metered() as meter:
            for one, two in combinations(self.saved, 2):
                subprocess.run(
                    ["git", "merge-tree", "--write-tree", one, two],
                    cwd=self.project,
                    check=False,
                    capture_output=True,
                )
        return meter.per(1)


@contextmanager
def _ticking() -> Iterator[list[float]]:
    """Note meanwhile how long another thread has to wait for its turn, in seconds."""
    gaps, over = [0.0], threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not over.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield gaps
    finally:
        over.set()
        thread.join()
