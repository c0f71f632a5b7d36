"""Which files a landing changed."""

from __future__ import annotations

import os

import pygit2

from vespera_orchestrator.worktrees.tree_merge import changes


def changed_between(repo: pygit2.Repository, before: str, after: str) -> tuple[str, ...]:
    """Return the paths that differ between two commits or trees, in order.

    Args:
        repo: Has both.
        before: The older one, in hexadecimal.
        after: The newer one.
    """
    old, new = (repo[name].peel(pygit2.Tree) for name in (before, after))
    paths = {os.fsencode(path).decode("utf-8", "replace") for path in changes(repo, old, new)}
    return tuple(sorted(paths))


def changed_by(repo: pygit2.Repository, commit: str) -> tuple[str, ...]:
    """Return the paths that a commit changes, compared with its first parent."""
    parents = repo[commit].peel(pygit2.Commit).parent_ids
    if not parents:
        return ()
    return changed_between(repo, str(parents[0]), commit)
