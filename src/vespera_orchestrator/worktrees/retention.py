"""The earlier snapshots of a worktree, kept thin.

A snapshot's own parents are what a commit of the agent's would have; the snapshots before it hang on a commit beside it, whose message
lists them and whose parents they are. So any of them can be let go without changing the name of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pygit2

HISTORY = "refs/vespera/history/"
"""Earlier snapshots of each worktree."""

_HOUR_S, _DAY_S = 3600, 86_400
_ALL_S = _HOUR_S
"""For so long every snapshot is kept."""
_HOURLY_S = 7 * _DAY_S
"""For so long the last one of each hour is kept; of what is older, the last one of each day."""
_MOST = 400
_FOLDED = 300
"""A commit with more parents than _MOST becomes slow to rewrite: then the oldest _FOLDED go below a commit of their own."""


@attrs.frozen(kw_only=True)
class Earlier:
    """One earlier snapshot."""

    commit: str
    at: int
    """When it was taken, in seconds since 1970."""
    named: bool
    """Whether somebody was told its name (a checkpoint, a recovery, a caller): then it is kept for ever."""

    def __str__(self) -> str:
        return f"{self.commit} {self.at} {'named' if self.named else 'passing'}"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read what ``str`` wrote."""
        commit, at, kind = line.split()
        return cls(commit=commit, at=int(at), named=kind == "named")


def read(repo: pygit2.Repository, tip: str | None) -> list[Earlier]:
    """Return the snapshots that the history commit *tip* holds, the oldest first."""
    if tip is None:
        return []
    _, _, listed = repo[tip].message.partition("\n\n")
    return [Earlier.parse(line) for line in listed.splitlines()]


def thinned(earlier: Iterable[Earlier], now: int) -> list[Earlier]:
    """Return those to keep: all named ones, all of the last hour, then the last one of each hour for a week, then of each day."""
    ordered = sorted({one.commit: one for one in earlier}.values(), key=lambda one: one.at)
    last_of = {_slot(one, now): one.commit for one in ordered if not one.named}
    return [one for one in ordered if one.named or last_of[_slot(one, now)] == one.commit]


def _slot(one: Earlier, now: int) -> tuple[int, int | str]:
    age = now - one.at
    if age < _ALL_S:
        return 0, one.commit
    return (_HOUR_S, one.at // _HOUR_S) if age < _HOURLY_S else (_DAY_S, one.at // _DAY_S)


def write(
    repo: pygit2.Repository, name: str, earlier: Sequence[Earlier], who: pygit2.Signature
) -> str:
    """Write a history commit and return it; no ref is moved. Its tree is that of the newest one."""
    if len(earlier) > _MOST:
        folded = _commit(repo, f"Oldest snapshots of {name}", earlier[:_FOLDED], who)
        earlier = [
            Earlier(commit=folded, at=earlier[_FOLDED - 1].at, named=True),
            *earlier[_FOLDED:],
        ]
    return _commit(repo, f"Earlier snapshots of {name}", earlier, who)


def _commit(
    repo: pygit2.Repository, title: str, earlier: Sequence[Earlier], who: pygit2.Signature
) -> str:
    listed = "".join(f"{one}\n" for one in earlier)
    tree = repo[earlier[-1].commit].tree_id
    return str(
        repo.create_commit(
            None, who, who, f"{title}\n\n{listed}", tree, [one.commit for one in earlier]
        )
    )
