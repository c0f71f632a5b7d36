"""Which worktrees would conflict, told from their snapshots before anybody has finished.

Each worktree's changes are found once. Two of them are looked at more closely only where they have changed the same path, or one has a
file where the other has a folder; then only these paths are merged. Where a file was removed beside others that were added, it may have
been renamed: then the two are merged as a whole, as landing them would.
"""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import attrs
import pygit2

from vespera_orchestrator.worktrees.landing import starting_tree, unsolved
from vespera_orchestrator.worktrees.repository import LANDED, WIP, git_errors
from vespera_orchestrator.worktrees.tree_merge import (
    FileMerges,
    changes,
    folders_above,
    have_clash,
    may_be_renamed,
)

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.tree_merge import Changes, Merged

_NAMED = 5


@attrs.frozen(kw_only=True)
class Clash:
    """Two lines of work that do not merge cleanly as they are now."""

    first: str
    """A worktree's name."""
    second: str
    """Another worktree's name, or that of the integration branch."""
    paths: tuple[str, ...]
    """The files in conflict."""

    def __str__(self) -> str:
        return f"{self.first} and {self.second}: {_named(self.paths)}"


def _named(paths: tuple[str, ...]) -> str:
    return f"{', '.join(paths[:_NAMED])}{f' and {len(paths) - _NAMED} more' if len(paths) > _NAMED else ''}"


@attrs.frozen(repr=False, kw_only=True)
class Forecast:
    """What would conflict if all live worktrees were merged as they were last saved."""

    branch: str
    """The integration branch."""
    worktrees: tuple[str, ...]
    """Names of the worktrees looked at."""
    clashes: tuple[Clash, ...]
    """What would conflict; empty where everything merges."""
    order: tuple[str, ...]
    """In what order to merge them, so that as many as possible land before the first conflict."""
    unsolved: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """For each worktree with a conflict that is not solved yet, the files that still hold both sides between markers."""

    def of(self, worktree: str) -> tuple[Clash, ...]:
        """Return what the worktree of this name is part of."""
        return tuple(clash for clash in self.clashes if worktree in (clash.first, clash.second))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        count = "1 worktree" if len(self.worktrees) == 1 else f"{len(self.worktrees)} worktrees"
        lines = [f"  {clash}" for clash in self.clashes]
        lines += [
            f"  {name}, not solved yet: {_named(paths)}" for name, paths in self.unsolved.items()
        ]
        if not lines:
            return f"{count}: no conflicts ahead."
        ahead = "1 conflict" if len(lines) == 1 else f"{len(lines)} conflicts"
        return "\n".join(
            [f"{count}, {ahead} ahead:", *lines, f"Merge in this order: {', '.join(self.order)}"]
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(clash.first)}</td><td>{html.escape(clash.second)}</td>"
            f"<td style='text-align:left'>{'<br>'.join(map(html.escape, clash.paths))}</td></tr>"
            for clash in (
                *self.clashes,
                *(
                    Clash(first=name, second="not solved yet", paths=paths)
                    for name, paths in self.unsolved.items()
                ),
            )
        )
        head = "<tr><th></th><th></th><th style='text-align:left'>files in conflict</th></tr>"
        table = f"<table>{head}{rows}</table>" if rows else "no conflicts ahead"
        order = ", ".join(map(html.escape, self.order))
        return f"<div><b>{len(self.worktrees)} worktrees</b>: {table}<br>Merge in this order: {order}</div>"


@attrs.frozen
class State:
    """All that a forecast depends on: as long as it is the same, so is the forecast."""

    tip: str | None
    saved: tuple[tuple[Worktree, str, str | None], ...]
    """Of each worktree: its record, its last snapshot, what it was last landed from."""


def state(repository: ProjectRepository, worktrees: Iterable[Worktree]) -> State:
    """Read where everything stands."""
    saved = (
        (worktree, repository.tip(WIP + worktree.name), repository.tip(LANDED + worktree.name))
        for worktree in worktrees
    )
    known = tuple(
        (worktree, commit, mark) for worktree, commit, mark in saved if commit is not None
    )
    return State(repository.tip(repository.integration_ref), known)


def make(repository: ProjectRepository, now: State) -> Forecast:
    """Find what would conflict in this state."""
    with git_errors("foresee conflicts"):
        repo = repository.open()
        tip = now.tip or repository.head(repo)
        ours = repo[tip].peel(pygit2.Tree)
        files = _Files(repo, ours)
        lines = [_Line(files, tip, worktree, commit, mark) for worktree, commit, mark in now.saved]
        branch = repository.integration_branch
        clashes = [
            Clash(first=line.name, second=branch, paths=paths)
            for line in lines
            if (paths := line.against_tip())
        ]
        clashes += [
            Clash(first=one.name, second=two.name, paths=paths)
            for one, two in combinations(lines, 2)
            if (paths := one.against(two))
        ]
        marks = (
            (worktree.name, unsolved(repo, commit, mark)) for worktree, commit, mark in now.saved
        )
        left = {name: paths for name, paths in marks if paths}
        return Forecast(
            branch=branch,
            worktrees=tuple(line.name for line in lines),
            clashes=tuple(clashes),
            order=_order(lines, clashes, left),
            unsolved=left,
        )


def _order(
    lines: Sequence[_Line], clashes: Sequence[Clash], unsolved: Container[str]
) -> tuple[str, ...]:
    """Put first a set of worktrees that do not conflict with each other, taking again and again the one with the fewest conflicts left."""
    near: dict[str, set[str]] = {line.name: set() for line in lines}
    trouble = Counter(name for clash in clashes for name in (clash.first, clash.second))
    for clash in clashes:
        if clash.second in near:
            near[clash.first].add(clash.second)
            near[clash.second].add(clash.first)
    stuck = {clash.first for clash in clashes if clash.second not in near} | {
        name for name in near if name in unsolved
    }
    open_names = [line.name for line in lines if line.name not in stuck]
    first: list[str] = []
    while open_names:
        best = min(open_names, key=lambda name: len(near[name].intersection(open_names)))
        first.append(best)
        open_names = [name for name in open_names if name != best and name not in near[best]]
    rest = [line.name for line in lines if line.name not in first]
    return (*first, *sorted(rest, key=lambda name: (name in stuck, trouble[name])))


class _Files(FileMerges):
    """Beside that knows what was landed since a worktree began."""

    def __init__(self, repo: pygit2.Repository, ours: pygit2.Tree) -> None:
        super().__init__(repo)
        self.ours = ours
        self._since: dict[str, Changes] = {}

    def landed_since(self, base: pygit2.Tree) -> Changes:
        """Return what is different on the integration branch; most worktrees began from one of few commits."""
        key = str(base.id)
        if key not in self._since:
            self._since[key] = changes(base, self.ours)
        return self._since[key]


class _Line:
    """One worktree's changes, beside the integration branch."""

    def __init__(
        self, files: _Files, tip: str, worktree: Worktree, commit: str, mark: str | None
    ) -> None:
        repo = files.repo
        self.name = worktree.name
        self._files = files
        self._theirs = repo[commit].peel(pygit2.Tree)
        self._base = repo[starting_tree(repo, worktree, tip, commit, mark)].peel(pygit2.Tree)
        self.changes = changes(self._base, self._theirs)
        self._tip_changes = files.landed_since(self._base)
        self._tangled = have_clash(self.changes, self._tip_changes) or may_be_renamed(
            self.changes, self._tip_changes
        )
        """Whether already beside the integration branch it takes a merge of the whole to see what becomes of it."""
        self._after = {**self._tip_changes, **self.changes}
        self.folders = {
            str(above)
            for path, (_, new) in self.changes.items()
            if new is not None
            for above in folders_above(path)
        }

    def against_tip(self) -> tuple[str, ...]:
        """Return the paths that conflict with the integration branch as it is."""
        common = self.changes.keys() & self._tip_changes.keys()
        if self._tangled:
            return _conflicts(
                self._files.repo.merge_trees(self._base, self._files.ours, self._theirs)
            )
        return _shown(path for path in common if self._landed(path) is False)

    def against(self, other: _Line) -> tuple[str, ...]:
        """Return the paths that would conflict when one of both lands after the other."""
        common = self.changes.keys() & other.changes.keys()
        nested = not self.folders.isdisjoint(other.changes) or not other.folders.isdisjoint(
            self.changes
        )
        tangled = self._tangled or other._tangled
        if not (tangled or common or nested) and self._after.keys().isdisjoint(other.changes):
            return ()
        if (
            tangled
            or (nested and have_clash(self.changes, other.changes))
            or may_be_renamed(self._after, other.changes)
        ):
            return self._as_a_whole(other)
        return _shown(path for path in common if self._conflicts_at(other, path))

    def _conflicts_at(self, other: _Line, path: str) -> bool:
        landed = self._landed(path)
        if landed is False:
            return False  # told already: it conflicts with the branch
        base, new = other.changes[path]
        return (
            self._files.merge(path, base, landed, new) is False and other._landed(path) is not False
        )

    def _landed(self, path: str) -> Merged:
        """Return the file as it would be on the integration branch after this worktree has landed."""
        base, new = self.changes[path]
        return (
            self._files.merge(path, base, self._tip_changes[path][1], new)
            if path in self._tip_changes
            else new
        )

    def _as_a_whole(self, other: _Line) -> tuple[str, ...]:
        repo, ours = self._files.repo, self._files.ours
        first = repo.merge_trees(self._base, ours, self._theirs)
        if first.conflicts is not None:
            return ()
        landed = repo[first.write_tree(repo)]
        told = set(other.against_tip())
        return tuple(
            path
            for path in _conflicts(repo.merge_trees(other._base, landed, other._theirs))
            if path not in told
        )


def _conflicts(index: pygit2.Index) -> tuple[str, ...]:
    return _shown(
        entry.path for entries in index.conflicts or () for entry in entries if entry is not None
    )


def _shown(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths}))
