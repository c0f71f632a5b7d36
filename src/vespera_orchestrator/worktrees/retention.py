"""The earlier snapshots of a worktree, kept thin.

A snapshot's own parents are what a commit of the agent's would have. The snapshots before it hang
on a commit beside it, whose message lists them and whose parents they are. So any of them can be
dropped without changing the name of another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.worktrees.repository import message_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pygit2

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_KEEP_ALL_S: Final = _HOUR_S
"""Younger snapshots are all kept."""
_KEEP_HOURLY_S: Final = 7 * _DAY_S
"""Of younger ones the last of each hour is kept; of older ones, the last of each day."""
_MOST_PARENTS: Final = 400
_FOLDED: Final = 300
"""A commit with more than _MOST_PARENTS parents becomes slow to rewrite.

Then the oldest _FOLDED go below a commit of their own."""
_ENTRY: Final = re.compile("[0-9a-f]{40} [0-9]{1,12} (named|passing)")
"""A line of the list. A commit that somebody else put there may say anything."""


@attrs.frozen(kw_only=True)
class EarlierSnapshot:
    """One earlier snapshot. Its text is stored, in the message of the history commit."""

    commit: str
    at: int
    """When it was taken, in seconds since 1970."""
    named: bool
    """Whether somebody learned its name (a checkpoint, a recovery, a caller).

    Then it is kept for ever."""

    def __str__(self) -> str:
        kind = "named" if self.named else "passing"
        return f"{self.commit} {self.at} {kind}"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read what ``str`` wrote."""
        commit, at, kind = line.split()
        is_named = kind == "named"
        return cls(commit=commit, at=int(at), named=is_named)


def read_history(repo: pygit2.Repository, tip: str | None) -> list[EarlierSnapshot]:
    """Return the snapshots that the history commit *tip* holds, the oldest first."""
    if tip is None:
        return []
    _, _, lines = message_of(repo, tip).partition("\n\n")
    return [EarlierSnapshot.parse(line) for line in lines.splitlines() if _ENTRY.fullmatch(line)]


def thin_out(snapshots: Iterable[EarlierSnapshot], now: int) -> list[EarlierSnapshot]:
    """Return those to keep, the oldest first.

    These are all named ones, all of the last hour, then the last one of each hour for a week, and
    of each day before that.
    """
    unique = {snapshot.commit: snapshot for snapshot in snapshots}
    ordered = sorted(unique.values(), key=lambda snapshot: snapshot.at)
    last_of = {_slot(passing, now): passing.commit for passing in ordered if not passing.named}
    return [
        snapshot
        for snapshot in ordered
        if snapshot.named or last_of[_slot(snapshot, now)] == snapshot.commit
    ]


def _slot(snapshot: EarlierSnapshot, now: int) -> tuple[int, int | str]:
    """Return the span of time of which only the last snapshot is kept."""
    age_s = now - snapshot.at
    if age_s < _KEEP_ALL_S:
        return 0, snapshot.commit
    span_s = _HOUR_S if age_s < _KEEP_HOURLY_S else _DAY_S
    return span_s, snapshot.at // span_s


def write_history(
    repo: pygit2.Repository,
    name: str,
    snapshots: Sequence[EarlierSnapshot],
    who: pygit2.Signature,
) -> str:
    """Write a history commit and return it; no ref is moved. Its tree is that of the newest one."""
    if len(snapshots) > _MOST_PARENTS:
        oldest = snapshots[:_FOLDED]
        title = f"Oldest snapshots of {name}"
        folded = _commit(repo, title, oldest, who)
        kept = EarlierSnapshot(commit=folded, at=oldest[-1].at, named=True)
        snapshots = [kept, *snapshots[_FOLDED:]]
    return _commit(repo, f"Earlier snapshots of {name}", snapshots, who)


def _commit(
    repo: pygit2.Repository,
    title: str,
    snapshots: Sequence[EarlierSnapshot],
    who: pygit2.Signature,
) -> str:
    lines = "".join(f"{snapshot}\n" for snapshot in snapshots)
    message = f"{title}\n\n{lines}"
    newest = repo[snapshots[-1].commit]
    parents = [snapshot.commit for snapshot in snapshots]
    commit = repo.create_commit(None, who, who, message, newest.tree_id, parents)
    return str(commit)
