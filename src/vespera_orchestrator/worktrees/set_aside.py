"""Work that the agent has set aside with git itself: in a stash, or on a branch that it left.

It is in no file of the worktree, so no snapshot has it and no landing takes it along. Nobody would
miss it: git reports a clean worktree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator.worktrees.left_out import LeftOut, LeftOutKind
from vespera_orchestrator.worktrees.ref_files import read_text_if_present
from vespera_orchestrator.worktrees.repository import has_ancestor, message_of
from vespera_orchestrator.worktrees.tree_merge import empty_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_BRANCHES: Final = "refs/heads/"
_STASH_LINE: Final = re.compile(r"\w+ (\w+) .*> (\d+) [+-]\d{4}\t(.*)")
"""A line of the stash's log: commit, time and message."""
_AUTOSTASH: Final = "autostash"
"""What git says there of a stash that ``git rebase --autostash`` could not put back."""
_BRANCH: Final = re.compile("(?:WIP on|On) (.+?): ")
"""Begins a message: on which branch it was stashed."""


def find_set_aside(
    repository: ProjectRepository, repo: pygit2.Repository, worktree: Worktree, tree: str
) -> Iterator[LeftOut]:
    """Yield what the agent has set aside since the worktree was made.

    Args:
        repository: The repository.
        repo: The same, opened in the worktree.
        worktree: The worktree.
        tree: The files that are in it.
    """
    admin = repository.admin(worktree.name)
    head = (read_text_if_present(admin / "HEAD") or "").strip()
    present = head.removeprefix(f"ref: {_BRANCHES}")
    since = int(worktree.created_at.timestamp())
    for number, commit in _stashed(repository, repo, {worktree.branch, present}, since):
        yield LeftOut(path=f"stash@{{{number}}}", kind=LeftOutKind.STASH, commit=commit)
    if present != worktree.branch and _is_deserted(repository, repo, worktree, tree):
        yield LeftOut(path=worktree.branch, kind=LeftOutKind.BRANCH)


def _stashed(
    repository: ProjectRepository, repo: pygit2.Repository, branches: set[str], since: int
) -> Iterator[tuple[int, str]]:
    """Yield number and commit of the entries that were stashed on one of these branches."""
    lines = (read_text_if_present(repository.common / "logs/refs/stash") or "").splitlines()
    for number, line in zip(range(len(lines) - 1, -1, -1), lines, strict=True):
        entry = _STASH_LINE.match(line)
        if entry is None or int(entry[2]) < since:
            continue
        commit, _, message = entry.groups()
        if message == _AUTOSTASH and commit in repo:
            message = message_of(repo, commit)
        branch = _BRANCH.match(message)
        if branch is not None and branch[1] in branches:
            yield number, commit


def _is_deserted(
    repository: ProjectRepository, repo: pygit2.Repository, worktree: Worktree, tree: str
) -> bool:
    """Tell whether there is work on the worktree's own branch that is not in the files.

    The agent may have brought the branch's commits there in its own way: merged, picked, squashed
    or rebased. Then merging the branch would change nothing, or conflict.
    """
    own = repository.tip(_BRANCHES + worktree.branch)
    head = repository.worktree_head(worktree.name)
    if own is None or own in (worktree.base, head):
        return False
    started = (worktree.base, repository.tip(repository.integration_ref))
    starts = [each for each in started if each is not None]
    if any(has_ancestor(repo, each, own) for each in starts):
        return False  # its commits have landed
    if head is None:  # a new branch without a commit
        return tree == str(empty_tree(repo).id)
    if has_ancestor(repo, head, own):
        return False
    base = repo.merge_base(own, head)
    sides = [str(each) for each in (base or worktree.base, tree, own)]
    repository.refuse_giants(repo, *sides, with_files=True)
    merged = repo.merge_trees(*(repo[side].peel(pygit2.Tree) for side in sides))
    return merged.conflicts is None and str(merged.write_tree(repo)) != tree
