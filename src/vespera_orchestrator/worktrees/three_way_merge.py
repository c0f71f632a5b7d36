"""The merge of a worktree's snapshot into the integration branch, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2

from vespera_orchestrator.errors import MergeConflictError
from vespera_orchestrator.worktrees.conflict_report import (
    Conflict,
    ConflictReport,
    conflict_paths,
)
from vespera_orchestrator.worktrees.crossed_histories import shared_beyond
from vespera_orchestrator.worktrees.tree_merge import FileMerges, merged_tree

if TYPE_CHECKING:
    from vespera_orchestrator.worktrees.landed_mark import MergeBase
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.snapshot import Snapshot
    from vespera_orchestrator.worktrees.tree_merge import MergeText


class ThreeWayMerge:
    """A three-way merge: the branch is ours, the snapshot is theirs.

    Raises:
        UnsupportedRepositoryError: One side, or a base, is more than libgit2 can go through.
    """

    def __init__(
        self,
        repository: ProjectRepository,
        repo: pygit2.Repository,
        tip: str,
        snapshot: Snapshot,
        base: MergeBase,
        *,
        merge_text: MergeText | None = None,
    ) -> None:
        repository.refuse_giants(repo, tip, snapshot.tree, base.commit)
        self._repository = repository
        self._repo = repo
        self._files = FileMerges(repo, merge_text)
        self._tip = tip
        self._snapshot = snapshot
        self._base = base
        self.base_tree = str(repo[base.commit].peel(pygit2.Tree).id)
        self.our_tree = str(repo[tip].peel(pygit2.Tree).id)
        """The files of the integration branch."""

    def write_tree(self, branch: str) -> str:
        """Write the merged tree, and return it.

        Args:
            branch: The integration branch, for the report.

        Raises:
            MergeConflictError: With the paths, and the report.
        """
        if self._snapshot.tree == self.base_tree:
            return self.our_tree
        tree = self._merge_by_path()
        if tree is not None:
            return tree
        index = self._merge_whole()
        if index.conflicts is None:
            return str(index.write_tree(self._repo))
        conflicts: list[Conflict] = list(index.conflicts)
        report = ConflictReport(
            repo=self._repo,
            branch=branch,
            base=self._base.commit,
            ours=self._tip,
            theirs=self._snapshot.commit,
        )
        raise MergeConflictError(branch, conflict_paths(conflicts), report.render(conflicts))

    def _merge_by_path(self) -> str | None:
        if self._base.by_history and not self._is_only_base():
            return None
        repo = self._repo
        base = repo[self.base_tree]
        ours = repo[self.our_tree]
        theirs = repo[self._snapshot.tree]
        return merged_tree(self._files, base, ours, theirs)

    def _is_only_base(self) -> bool:
        """Tell whether the histories did not cross: then all that both have is in the base."""
        sides = (self._tip, self._snapshot.commit)
        return not shared_beyond(self._repo, *sides, self._base.commit)

    def _merge_whole(self) -> pygit2.Index:
        index = self._merge_by_libgit2()
        self._files.solve(index)
        return index

    def _merge_by_libgit2(self) -> pygit2.Index:
        repo, theirs = self._repo, self._snapshot
        sides = (self._tip, theirs.tree, self._base.commit)
        self._repository.refuse_giants(repo, *sides, with_files=True)
        if self._base.by_history:
            self._repository.refuse_giant_bases(repo, self._tip, theirs.commit)
            return repo.merge_commits(self._tip, theirs.commit)
        return repo.merge_trees(self.base_tree, self.our_tree, theirs.tree)
