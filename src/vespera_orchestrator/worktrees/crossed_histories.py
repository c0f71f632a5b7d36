"""Which commits libgit2 brings together before a merge, where two histories have crossed.

Branches that have merged each other have several newest commits in common. libgit2 merges these
first, and before them what they have in common, and so on downward. Each of these merges takes
whole trees. With three such commits at every crossing there are twice as many merges at each
further one, and a few hundred commits that somebody sends keep it busy for ever.
"""

from __future__ import annotations

from typing import Final

import pygit2

from vespera_orchestrator.errors import UnsupportedRepositoryError

MOST_BASES: Final = 24
"""With these, libgit2 makes some eight hundred merges at the worst."""


def shared_beyond(repo: pygit2.Repository, one: str, two: str, base: str) -> set[pygit2.Oid]:
    """Return the commits that both *one* and *two* have and *base* has not."""
    return _beyond(repo, one, base) & _beyond(repo, two, base)


def _beyond(repo: pygit2.Repository, commit: str, base: str) -> set[pygit2.Oid]:
    walk = repo.walk(pygit2.Oid(hex=commit))
    walk.hide(pygit2.Oid(hex=base))
    return {each.id for each in walk}


def merge_bases(repo: pygit2.Repository, one: str, two: str, branch: str) -> list[str]:
    """Return every commit whose files libgit2 needs for the base of a merge.

    Args:
        repo: The repository.
        one: A side of the merge.
        two: The other side.
        branch: The integration branch, for the error.

    Raises:
        UnsupportedRepositoryError: They are more than `MOST_BASES`.
    """
    bases: list[str] = []
    waiting = _newest_shared(repo, one, two)
    while waiting:
        commit = waiting.pop()
        for other in bases:
            waiting |= _newest_shared(repo, commit, other).difference(bases, [commit])
        bases.append(commit)
        if len(bases) + len(waiting) > MOST_BASES:
            raise _too_many(branch)
    return bases


def _newest_shared(repo: pygit2.Repository, one: str, two: str) -> set[str]:
    """Return the commits in common of which none is an ancestor of another."""
    base = repo.merge_base(one, two)
    if base is None:
        return set()
    shared = shared_beyond(repo, one, two, str(base))
    older = {parent for commit in shared for parent in repo[commit].parent_ids}
    return {str(commit) for commit in (base, *(shared - older))}


def _too_many(branch: str) -> UnsupportedRepositoryError:
    feature = f"histories that crossed at more than {MOST_BASES} commits"
    remedy = f"merge the branch {branch!r} into that of the worktree with git, then try again"
    return UnsupportedRepositoryError(feature, remedy)
