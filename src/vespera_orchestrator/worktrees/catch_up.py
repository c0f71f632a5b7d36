"""Catching up: what is new on the integration branch comes into the files of a worktree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import DirtyCheckoutError, RefMovedError
from vespera_orchestrator.worktrees.conflict_markers import (
    added_paths,
    still_marked,
    write_with_markers,
)
from vespera_orchestrator.worktrees.landed_mark import LandedMark, merge_base, origin_tree
from vespera_orchestrator.worktrees.paths import display_paths
from vespera_orchestrator.worktrees.refs import LANDED
from vespera_orchestrator.worktrees.retrying import retrying
from vespera_orchestrator.worktrees.snapshot import Snapshot, take_snapshot
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import FileMerges, entry_at
from vespera_orchestrator.worktrees.update import update_files

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_TRIES: Final = 5


def catch_up(
    repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot
) -> tuple[str, ...]:
    """Merge the integration branch into the worktree's files; its index, HEAD and branch stay.

    Only files that differ are written, and only where they are still as they were saved. When one
    is not, all is made as it was, saved again and merged anew. Where both changed the same lines
    the file holds both, between conflict markers. What cannot be put together as text stays as
    the worktree has it.

    Args:
        repository: The repository.
        worktree: The worktree.
        snapshot: Its files. It must be pinned.

    Returns:
        The paths in conflict.

    Raises:
        DirtyCheckoutError: Files were changed all the time, or one that no snapshot keeps is in
            the way. Nothing was changed.
    """
    blocked: list[str] = []
    for _ in range(_TRIES):
        doing = f"bring {repository.integration_branch} into the worktree {worktree.name}"
        with git_errors(doing):
            news = _find_news(repository, worktree, snapshot)
            if news is None:
                return ()
            if news.tree is None:
                return news.conflicts
            blocked_before = blocked
            blocked = update_files(
                repository, worktree, snapshot.commit, news.tree, move_mark=news.move_mark
            )
        if not blocked:
            return news.conflicts
        snapshot = _save(repository, worktree, "changed while catching up")
        if blocked == blocked_before and not _are_any_saved(repository, snapshot, blocked):
            raise _unsaved_in_the_way(worktree, blocked)
    reason = (
        f"somebody works in it all the time, just now on {display_paths(blocked)}; "
        "let that come to an end, then catch up again"
    )
    raise DirtyCheckoutError(worktree.path, reason)


def _are_any_saved(repository: ProjectRepository, snapshot: Snapshot, paths: list[str]) -> bool:
    tree = repository.open()[snapshot.tree]
    files = [entry_at(tree, path) for path in paths]
    return any(file is not None for file in files)


def _unsaved_in_the_way(worktree: Worktree, paths: list[str]) -> DirtyCheckoutError:
    reason = (
        "files that no snapshot keeps are in the way of what was landed: "
        f"{display_paths(paths)}; move them elsewhere, then catch up again"
    )
    return DirtyCheckoutError(worktree.path, reason)


@retrying(RefMovedError, times=_TRIES)  # a checkpoint of an earlier moment was pinned just now
def _save(repository: ProjectRepository, worktree: Worktree, note: str) -> Snapshot:
    """Take and pin a snapshot. Under the worktree's lock."""
    limit = repository.home.config.worktrees.max_file_bytes
    snapshot = take_snapshot(repository, worktree, note=note, max_file_bytes=limit, midway=True)
    snapshot.pin()
    return snapshot


# --- what is new ------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _News:
    """What is new on the integration branch, merged with what a worktree has."""

    tree: str | None
    """The merged files; ``None`` where a file and a folder claim the same name."""
    conflicts: tuple[str, ...]
    marked: tuple[str, ...]
    """Paths that have conflict markers, from now or from before."""
    tip: str
    """The head of the integration branch."""
    snapshot: Snapshot
    """The worktree's files before."""
    _mark: LandedMark | None
    _repository: ProjectRepository
    _worktree: Worktree

    def move_mark(self) -> None:
        """Save the files, once they are there, and mark the worktree as having all of the branch.

        Saving comes first, so that the files come back from the last snapshot: the mark says that
        the worktree has all of the branch.
        """
        saved = _save(self._repository, self._worktree, "caught up")
        repo = self._repository.open()
        unsaved = self._unsaved(repo, saved)
        branch_tree = repo[self.tip].peel(pygit2.Tree)
        mark = LandedMark(
            tree=_tree_without(repo, branch_tree, unsaved),
            snapshot=self.snapshot.commit,
            seen=self.tip,
            origin=origin_tree(repo, self._worktree, self.tip, self._mark),
            marked=self.marked,
        )
        commit = mark.write(repo, f"caught up: {self._worktree.name}")
        previous = None if self._mark is None else self._mark.commit
        self._repository.move(LANDED + self._worktree.name, previous, commit)

    def _unsaved(self, repo: pygit2.Repository, saved: Snapshot) -> list[str]:
        """Return what was brought in and no snapshot has, because it is ignored or a submodule.

        Not having it in a snapshot is no wish to delete it.
        """
        folder = Path(self._worktree.path)
        merged, saved_tree = repo[self.tree], repo[saved.tree]
        unsaved: list[str] = []
        for path in added_paths(repo, self.snapshot.tree, str(self.tree)):
            if entry_at(saved_tree, path) is not None:
                continue
            file = entry_at(merged, path)
            is_submodule = file is not None and file[1] == FileMode.COMMIT
            if is_submodule or os.path.lexists(folder / path):
                unsaved.append(path)
        return unsaved


def _find_news(
    repository: ProjectRepository, worktree: Worktree, snapshot: Snapshot
) -> _News | None:
    """Return what the worktree has not, or ``None`` where it has everything."""
    tip, repo = repository.integration_tip(), repository.open()
    mark = LandedMark.read(repo, repository.tip(LANDED + worktree.name))
    base = merge_base(repo, worktree, tip, snapshot.commit, mark)
    theirs = repo[tip].peel(pygit2.Tree)
    base_tree = repo[base.commit].peel(pygit2.Tree)
    if base_tree.id == theirs.id:
        return None
    repository.refuse_giants(repo, tip, base.commit, snapshot.commit, with_files=True)
    ours = repo[snapshot.commit].peel(pygit2.Commit)
    if base.by_history:
        repository.refuse_giant_bases(repo, tip, snapshot.commit)
        index = repo.merge_commits(ours, repo[tip])
    else:
        index = repo.merge_trees(base_tree, ours.tree, theirs)
    FileMerges(repo, repository.merge_text).solve(index)
    labels = (b"base", os.fsencode(worktree.branch), os.fsencode(repository.integration_branch))
    merged = write_with_markers(repo, index, labels)
    marked = merged.marked
    if mark is not None and merged.tree is not None:
        before = [path for path in mark.marked if path not in merged.marked]
        marked += tuple(still_marked(repo, merged.tree, before))
    return _News(
        tree=merged.tree,
        conflicts=merged.conflicts,
        marked=marked,
        tip=tip,
        snapshot=snapshot,
        mark=mark,
        repository=repository,
        worktree=worktree,
    )


def _tree_without(repo: pygit2.Repository, tree: pygit2.Tree, paths: list[str]) -> str:
    if not paths:
        return str(tree.id)
    index = pygit2.Index()
    index.read_tree(tree)
    for path in paths:
        index.remove(path)
    return str(index.write_tree(repo))
