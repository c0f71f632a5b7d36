"""Which files a landing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2

if TYPE_CHECKING:
    from collections.abc import Iterable


def changed_between(repo: pygit2.Repository, before: str, after: str) -> tuple[str, ...]:
    """Return the paths that differ between two commits or trees, in order.

    Args:
        repo: Has both.
        before: The older one, in hexadecimal.
        after: The newer one.
    """
    old, new = (repo[name].peel(pygit2.Tree) for name in (before, after))
    deltas = old.diff_to_tree(new).deltas
    return tuple(sorted(set(_paths(deltas))))


def changed_by(repo: pygit2.Repository, commit: str) -> tuple[str, ...]:
    """Return the paths that a commit changes, compared with its first parent."""
    parents = repo[commit].peel(pygit2.Commit).parent_ids
    if not parents:
        return ()
    return changed_between(repo, str(parents[0]), commit)


def _paths(deltas: Iterable[pygit2.DiffDelta]) -> Iterable[str]:
    for delta in deltas:
        for file in (delta.old_file, delta.new_file):
            if file.raw_path:
                yield file.raw_path.decode("utf-8", "replace")
