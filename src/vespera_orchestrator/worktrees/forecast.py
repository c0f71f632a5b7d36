"""Which worktrees would conflict, seen from their snapshots before anybody has finished.

Each worktree's changes are found once. Two of them are looked at more closely only where they have
changed the same path, or one has a file where the other has a folder; then only these paths are
merged. Where a file was removed beside others that were added, it may have been renamed: then the
two are merged as a whole, as landing them would.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import plural
from vespera_orchestrator.worktrees.conflict_markers import unresolved
from vespera_orchestrator.worktrees.landed_mark import starting_commit
from vespera_orchestrator.worktrees.paths import display_path, display_paths, folders_above
from vespera_orchestrator.worktrees.refs import LANDED, WIP
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import (
    FileMerges,
    changes,
    have_clash,
    may_be_renamed,
)

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.tree_merge import Changes, MergedFile

_LEFT: Final = "text-align:left"


@attrs.frozen(kw_only=True)
class Clash(Record):
    """Two lines of work that do not merge cleanly as they are now."""

    first: str
    """A worktree's name."""
    second: str
    """Another worktree's name, or that of the integration branch."""
    paths: tuple[str, ...]
    """The files in conflict."""

    def concerns(self, worktree: str) -> bool:
        """Tell whether this worktree is one of the two."""
        return worktree in (self.first, self.second)

    def __str__(self) -> str:
        paths = display_paths(self.paths)
        return f"{self.first} and {self.second}: {paths}"


@attrs.frozen(repr=False, kw_only=True)
class Forecast(Record):
    """What would conflict if all live worktrees were merged as they were last saved."""

    branch: str
    """The integration branch."""
    worktrees: tuple[str, ...]
    """Names of the worktrees that were compared: those that were ever saved."""
    clashes: tuple[Clash, ...]
    """What would conflict; empty if everything merges."""
    order: tuple[str, ...]
    """The best order to merge them: as many as possible land before the first conflict."""
    unsolved: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """For each worktree with an unresolved conflict, the files that still have markers."""
    unsaved: tuple[str, ...] = ()
    """Names of worktrees that were never saved: what was changed there is not known yet.
    ``forecast(fresh=True)`` saves them first.
    """

    def of(self, worktree: str) -> tuple[Clash, ...]:
        """Return the conflicts that this worktree is part of."""
        return tuple(clash for clash in self.clashes if clash.concerns(worktree))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        count = plural(len(self.worktrees), "worktree")
        lines = [f"  {clash}" for clash in self.clashes]
        for name, paths in self.unsolved.items():
            lines.append(f"  {name}, not solved yet: {display_paths(paths)}")
        if not lines:
            title = f"{count}: no conflicts ahead."
        else:
            title = f"{count}, {plural(len(lines), 'conflict')} ahead:"
            lines.append(f"Merge in this order: {', '.join(self.order)}")
        return "\n".join([title, *lines, *self._unsaved_words()])

    def _repr_html_(self) -> str:
        rows = [_html_row(clash.first, clash.second, clash.paths) for clash in self.clashes]
        for name, paths in self.unsolved.items():
            rows.append(_html_row(name, "not solved yet", paths))
        table = "no conflicts ahead"
        if rows:
            titles = ("worktree", "with", "files in conflict")
            cells = [f"<th scope='col' style='{_LEFT}'>{title}</th>" for title in titles]
            head = f"<tr>{''.join(cells)}</tr>"
            table = f"<table>{head}{''.join(rows)}</table>"
        order = ", ".join(html.escape(name) for name in self.order)
        title = f"<b>{plural(len(self.worktrees), 'worktree')} compared</b>"
        parts = [f"{title}: {table}"]
        if order:
            parts.append(f"Merge in this order: {order}")
        parts += map(html.escape, self._unsaved_words())
        return f"<div>{'<br>'.join(parts)}</div>"

    def _unsaved_words(self) -> Iterator[str]:
        if self.unsaved:
            names = display_paths(self.unsaved)
            yield f"Not saved yet, so not compared: {names}. forecast(fresh=True) saves them first."


def _html_row(first: str, second: str, paths: Iterable[str]) -> str:
    files = "<br>".join(html.escape(path) for path in paths)
    cells = (
        f"<td style='{_LEFT}'>{html.escape(first)}</td>",
        f"<td style='{_LEFT}'>{html.escape(second)}</td>",
        f"<td style='{_LEFT}'>{files}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>"


# --- making -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SavedWorktree:
    """A worktree and what the refs say of it."""

    worktree: Worktree
    commit: str
    """Its latest snapshot."""
    mark: str | None
    """The commit that keeps what it has of the integration branch."""


@attrs.frozen(kw_only=True)
class ForecastInput:
    """What a forecast depends on: of the same input comes the same forecast."""

    tip: str | None
    """The head of the integration branch; ``None`` where that is missing."""
    saved: tuple[SavedWorktree, ...]
    unsaved: tuple[str, ...] = ()
    """Names of those without a snapshot."""


def read_input(repository: ProjectRepository, worktrees: Iterable[Worktree]) -> ForecastInput:
    """Read where everything stands."""
    saved: list[SavedWorktree] = []
    unsaved: list[str] = []
    for worktree in worktrees:
        commit = repository.tip(WIP + worktree.name)
        if commit is None or not repository.has_sound(commit):
            unsaved.append(worktree.name)
            continue
        mark = repository.tip(LANDED + worktree.name)
        if mark is not None and not repository.has_sound(mark):
            mark = None  # the next call on that worktree tells of it
        saved.append(SavedWorktree(worktree=worktree, commit=commit, mark=mark))
    tip = repository.tip(repository.integration_ref)
    return ForecastInput(tip=tip, saved=tuple(saved), unsaved=tuple(unsaved))


def make_forecast(repository: ProjectRepository, now: ForecastInput) -> Forecast:
    """Find what would conflict."""
    with git_errors("foresee conflicts"):
        repo = repository.open()
        tip = now.tip or repository.head(repo)
        branch = repository.integration_branch
        merges = _TipMerges(repository, repo, repo[tip].peel(pygit2.Tree))
        bases = [
            starting_commit(repo, saved.worktree, tip, saved.commit, saved.mark)
            for saved in now.saved
        ]
        saved_commits = [saved.commit for saved in now.saved]
        repository.refuse_giants(repo, tip, *bases, *saved_commits)
        lines = [_Line(merges, base, saved) for base, saved in zip(bases, now.saved, strict=True)]
        clashes = [*_clashes_with_tip(lines, branch), *_clashes_between(lines)]
        unsolved: dict[str, tuple[str, ...]] = {}
        for saved in now.saved:
            paths = unresolved(repo, saved.commit, saved.mark)
            if paths:
                unsolved[saved.worktree.name] = paths
        return Forecast(
            branch=branch,
            worktrees=tuple(line.name for line in lines),
            clashes=tuple(clashes),
            order=_order(lines, clashes, unsolved),
            unsolved=unsolved,
            unsaved=now.unsaved,
        )


def _clashes_with_tip(lines: Iterable[_Line], branch: str) -> Iterator[Clash]:
    for line in lines:
        paths = line.against_tip()
        if paths:
            yield Clash(first=line.name, second=branch, paths=paths)


def _clashes_between(lines: Iterable[_Line]) -> Iterator[Clash]:
    for one, two in combinations(lines, 2):
        paths = one.against(two)
        if paths:
            yield Clash(first=one.name, second=two.name, paths=paths)


# --- the order --------------------------------------------------------------


def _order(
    lines: Sequence[_Line], clashes: Sequence[Clash], unsolved: Collection[str]
) -> tuple[str, ...]:
    """Put first a set of worktrees that do not conflict with each other.

    The one with the fewest conflicts left is taken again and again.
    """
    names = [line.name for line in lines]
    neighbours = _neighbours(names, clashes)
    stuck = {clash.first for clash in clashes if clash.second not in neighbours}
    stuck.update(name for name in names if name in unsolved)
    open_names = [name for name in names if name not in stuck]
    first = _without_conflicts(open_names, neighbours)
    counts: Counter[str] = Counter()
    for clash in clashes:
        counts.update((clash.first, clash.second))
    rest = [name for name in names if name not in first]
    rest.sort(key=lambda name: (name in stuck, counts[name]))
    return (*first, *rest)


def _neighbours(names: Iterable[str], clashes: Iterable[Clash]) -> dict[str, set[str]]:
    """Return for each worktree those that it conflicts with."""
    neighbours: dict[str, set[str]] = {name: set() for name in names}
    for clash in clashes:
        if clash.second in neighbours:
            neighbours[clash.first].add(clash.second)
            neighbours[clash.second].add(clash.first)
    return neighbours


def _without_conflicts(names: list[str], neighbours: Mapping[str, set[str]]) -> list[str]:
    chosen: list[str] = []
    while names:
        best = min(names, key=lambda name: len(neighbours[name].intersection(names)))
        chosen.append(best)
        names = [name for name in names if name != best and name not in neighbours[best]]
    return chosen


# --- one worktree's changes -------------------------------------------------


class _TipMerges(FileMerges):
    """Also knows what was landed since a worktree began."""

    def __init__(
        self, repository: ProjectRepository, repo: pygit2.Repository, tip_tree: pygit2.Tree
    ) -> None:
        super().__init__(repo, repository.merge_text)
        self._repository = repository
        self.tip_tree = tip_tree
        self._landed: dict[str, Changes] = {}

    def landed_since(self, base: pygit2.Tree) -> Changes:
        """Return what is different on the integration branch.

        Most worktrees began from one of few commits.
        """
        key = str(base.id)
        if key not in self._landed:
            self._landed[key] = changes(self.repo, base, self.tip_tree)
        return self._landed[key]

    def merge_whole(
        self, base: pygit2.Tree, ours: pygit2.Tree, theirs: pygit2.Tree
    ) -> pygit2.Index:
        """Merge whole trees, in memory."""
        names = [str(tree.id) for tree in (base, ours, theirs)]
        self._repository.refuse_giants(self.repo, *names, with_files=True)
        index = self.repo.merge_trees(base, ours, theirs)
        self.solve(index)
        return index


class _Line:
    """One worktree's changes, beside the integration branch."""

    def __init__(self, merges: _TipMerges, base: str, saved: SavedWorktree) -> None:
        repo = merges.repo
        self.name = saved.worktree.name
        self._merges = merges
        self._tree = repo[saved.commit].peel(pygit2.Tree)
        self._base = repo[base].peel(pygit2.Tree)
        self.changes = changes(repo, self._base, self._tree)
        self._tip_changes = merges.landed_since(self._base)
        self._needs_whole = have_clash(self.changes, self._tip_changes) or may_be_renamed(
            self.changes, self._tip_changes
        )
        """Whether it takes a merge of the whole even beside the integration branch alone."""
        self._after = {**self._tip_changes, **self.changes}
        self.folders: set[str] = set()
        """The folders of what it has written."""
        for path, (_, new) in self.changes.items():
            if new is not None:
                self.folders.update(folders_above(path))

    def against_tip(self) -> tuple[str, ...]:
        """Return the paths that conflict with the integration branch as it is."""
        if self._needs_whole:
            return _conflicts(self._merge_whole_with_tip())
        common = self.changes.keys() & self._tip_changes.keys()
        return _displayed(path for path in common if self._landed(path) is False)

    def against(self, other: _Line) -> tuple[str, ...]:
        """Return the paths that would conflict when one of both lands after the other."""
        common = self.changes.keys() & other.changes.keys()
        is_nested = self._is_nested_with(other)
        needs_whole = self._needs_whole or other._needs_whole
        is_apart = not (needs_whole or common or is_nested)
        if is_apart and self._after.keys().isdisjoint(other.changes):
            return ()
        if not needs_whole:
            has_clash = is_nested and have_clash(self.changes, other.changes)
            needs_whole = has_clash or may_be_renamed(self._after, other.changes)
        if needs_whole:
            return self._whole_against(other)
        return _displayed(path for path in common if self._conflicts_at(other, path))

    def _is_nested_with(self, other: _Line) -> bool:
        """Tell whether one has written into a folder that is a changed path of the other."""
        if not self.folders.isdisjoint(other.changes):
            return True
        return not other.folders.isdisjoint(self.changes)

    def _merge_whole_with_tip(self) -> pygit2.Index:
        merges = self._merges
        return merges.merge_whole(self._base, merges.tip_tree, self._tree)

    def _conflicts_at(self, other: _Line, path: str) -> bool:
        landed = self._landed(path)
        if landed is False:
            return False  # already reported: it conflicts with the branch
        base, new = other.changes[path]
        is_conflict = self._merges.merge(path, base, landed, new) is False
        return is_conflict and other._landed(path) is not False

    def _landed(self, path: str) -> MergedFile:
        """Return the file on the integration branch once this worktree has landed."""
        base, new = self.changes[path]
        if path not in self._tip_changes:
            return new
        return self._merges.merge(path, base, self._tip_changes[path][1], new)

    def _whole_against(self, other: _Line) -> tuple[str, ...]:
        first = self._merge_whole_with_tip()
        if first.conflicts is not None:
            return ()
        repo = self._merges.repo
        landed = repo[first.write_tree(repo)]
        reported = set(other.against_tip())
        index = self._merges.merge_whole(other._base, landed, other._tree)
        return tuple(path for path in _conflicts(index) if path not in reported)


def _conflicts(index: pygit2.Index) -> tuple[str, ...]:
    paths: list[str] = []
    for sides in index.conflicts or ():
        paths.extend(entry.path for entry in sides if entry is not None)
    return _displayed(paths)


def _displayed(paths: Iterable[str]) -> tuple[str, ...]:
    unique = {display_path(path) for path in paths}
    return tuple(sorted(unique))
