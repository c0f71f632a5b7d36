"""What a worktree is known to have of the integration branch.

After a squash the histories do not show it. So it is kept as a commit of its own, below `LANDED`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.worktrees.git_config import read_signatures
from vespera_orchestrator.worktrees.operation import own_line
from vespera_orchestrator.worktrees.refs import LANDED
from vespera_orchestrator.worktrees.repository import has_ancestor, message_of
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import changes

if TYPE_CHECKING:
    from collections.abc import Collection

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository


@attrs.frozen(kw_only=True)
class LandedMark:
    """What a worktree had when it was last landed, or when landed work was last brought into it.

    It counts as long as *seen* is still in the integration branch, and the worktree has not itself
    merged something later. Stored, as a commit with these fields in tree, parents and message.
    """

    tree: str
    """Files that changes of the worktree are counted from."""
    snapshot: str
    seen: str
    """The commit of the integration branch that the worktree's work is in, or that was brought
    into the worktree."""
    origin: str | None = None
    """After catching up: the files that the worktree started from before.

    So it is known what others did since."""
    marked: tuple[str, ...] = ()
    """Paths into which conflict markers were written."""
    commit: str = ""
    """The commit that holds this."""

    @classmethod
    def read(cls, repo: pygit2.Repository, commit: str | None) -> LandedMark | None:
        """Read the mark that *commit* holds; ``None`` for no commit."""
        if commit is None:
            return None
        stored = repo[commit].peel(pygit2.Commit)
        notes = [line.partition(": ") for line in message_of(repo, commit).splitlines()]
        origins = [value for key, _, value in notes if key == "Origin"]
        marked = [json.loads(value) for key, _, value in notes if key == "Marked"]
        return cls(
            tree=str(stored.tree_id),
            snapshot=str(stored.parent_ids[0]),
            seen=str(stored.parent_ids[-1]),
            origin=origins[0] if origins else None,
            marked=tuple(marked),
            commit=commit,
        )

    def write(self, repo: pygit2.Repository, title: str) -> str:
        """Write the mark as a commit and return it; no ref is moved."""
        author, committer = read_signatures(repo)
        lines = [title, ""]
        if self.origin:
            lines.append(f"Origin: {self.origin}")
        lines += [f"Marked: {json.dumps(path)}" for path in self.marked]
        message = "\n".join(lines).rstrip() + "\n"
        parents = [self.snapshot, self.seen]
        if self.origin:
            # Between the two, so that a `git gc` keeps these files for as long as the mark.
            title = f"what {title} counts from\n"
            held = repo.create_commit(None, author, committer, title, self.origin, [self.snapshot])
            parents.insert(1, str(held))
        parents = list(dict.fromkeys(parents))
        return str(repo.create_commit(None, author, committer, message, self.tree, parents))


@attrs.frozen(kw_only=True)
class MergeBase:
    """What a worktree's changes are counted from."""

    commit: str
    """The commit whose tree it is."""
    by_history: bool
    """Whether the histories give it; otherwise the mark does, or the worktree's start."""


def merge_base(
    repo: pygit2.Repository, worktree: Worktree, tip: str, snapshot: str, mark: LandedMark | None
) -> MergeBase:
    """Return what a worktree's changes are counted from when *snapshot* is merged into *tip*."""
    shared = repo.merge_base(tip, own_line(repo, snapshot))
    common = None if shared is None else str(shared)
    if mark is not None and has_ancestor(repo, tip, mark.seen):
        # Where the histories show the same, they are the better base.
        is_in_history = common is not None and has_ancestor(repo, common, mark.seen)
        if not is_in_history:
            return MergeBase(commit=mark.commit, by_history=False)
    if common is None:
        return MergeBase(commit=worktree.base, by_history=False)
    return MergeBase(commit=common, by_history=True)


def starting_commit(
    repo: pygit2.Repository, worktree: Worktree, tip: str, snapshot: str, mark: str | None
) -> str:
    """Return the commit of `merge_base`, given the commit *mark* that the mark is kept in."""
    landed = LandedMark.read(repo, mark)
    base = merge_base(repo, worktree, tip, snapshot, landed)
    return base.commit


def own_changes(
    repository: ProjectRepository, worktree: Worktree, tip: str, saved: str
) -> Collection[str]:
    """Return the paths that a worktree has changed since it and the integration branch parted.

    Args:
        repository: The repository.
        worktree: The worktree.
        tip: Where the integration branch is.
        saved: What was last saved of the worktree.
    """
    with git_errors(f"look for what {worktree.name} has changed"):
        repo = repository.open()
        mark = repository.tip(LANDED + worktree.name)
        base = starting_commit(repo, worktree, tip, saved, mark)
        repository.refuse_giants(repo, base, saved)
        trees = [repo[commit].peel(pygit2.Tree) for commit in (base, saved)]
        return changes(repo, *trees).keys()


def origin_tree(
    repo: pygit2.Repository, worktree: Worktree, tip: str, mark: LandedMark | None
) -> str:
    """Return the tree after which everything new on the integration branch is others' work."""
    if mark is not None and has_ancestor(repo, tip, mark.seen):
        return mark.origin or mark.tree
    start = repo[worktree.base].peel(pygit2.Tree)
    return str(start.id)
