"""Recognising work that would take back, without a word, what others landed.

A merge keeps what others landed as long as the worktree does not know of it. Once it does, having merged or caught up, whatever the
worktree has instead is taken for the agent's wish; also when the agent only copied an old file back, or resolved a merge with "mine".

Three states of a file are compared: *origin*, what the worktree started from; *base*, what it has come to know of since, others' work
included; *theirs*, what is to be landed. A change from origin to base is undone where theirs has again what origin had: the whole file, or
each run of lines that differs between base and theirs and is, line for line, the others' change backwards.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, TypeAlias

import attrs
import pygit2
from pygit2.enums import FileMode

if TYPE_CHECKING:
    from collections.abc import Iterator

_Hunk: TypeAlias = "tuple[int, int, list[bytes]]"
"""Lines from, up to (of the first text, from 0), and what stands in their place in the second."""
_MOST_BYTES = 2_000_000
"""Larger files are compared as a whole only."""


@attrs.frozen(kw_only=True)
class Revert:
    """A change of others that landing a worktree would take back."""

    path: str
    """The file."""
    lines: int
    """How many of its lines would be as they were before that change, or gone again; 0 for the whole file."""
    text: str = attrs.field(repr=False, default="")
    """The lines that would be lost, and those that would be back, marked ``-`` and ``+``."""

    def __str__(self) -> str:
        return f"{self.path} ({'the whole file' if not self.lines else '1 line' if self.lines == 1 else f'{self.lines} lines'})"


def find(repo: pygit2.Repository, origin: str, base: str, theirs: str) -> tuple[Revert, ...]:
    """Return what of the changes between the trees *origin* and *base* is taken back between *base* and *theirs*."""
    if base in (origin, theirs):
        return ()
    before, after = repo[origin], repo[theirs]
    others = {_path(delta): delta for delta in repo.diff(before, repo[base]).deltas}
    mine = {_path(delta): delta for delta in repo.diff(repo[base], after).deltas}
    found = (
        _in_file(repo, path, others[path], mine[path])
        for path in sorted(others.keys() & mine.keys())
    )
    return tuple(revert for revert in found if revert is not None)


def report(branch: str, reverts: tuple[Revert, ...]) -> str:
    """Describe what would be taken back, as Markdown."""
    said = "After this worktree began, others landed changes that its files take back:"
    lines = [f"# Work of others on {branch} would be undone", "", said]
    for revert in reverts:
        lines += ["", f"## {revert}"]
        lines += ["", "```diff", revert.text, "```"] if revert.text else []
    return "\n".join(lines) + "\n"


def _path(delta: pygit2.DiffDelta) -> str:
    return os.fsdecode(delta.new_file.raw_path)


def _in_file(
    repo: pygit2.Repository, path: str, others: pygit2.DiffDelta, mine: pygit2.DiffDelta
) -> Revert | None:
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    # An absent side has the zero object and mode 0, so this covers files that were added and removed as well.
    if (others.old_file.id, others.old_file.mode) == (mine.new_file.id, mine.new_file.mode):
        return Revert(path=shown, lines=0)
    texts = [_lines(repo, side) for side in (others.old_file, mine.old_file, mine.new_file)]
    if any(text is None for text in texts):
        return None
    origin, base, theirs = (text or [] for text in texts)
    backwards = list(_hunks(base, origin))
    undone = [part for hunk in _hunks(base, theirs) for part in _taken_back(base, hunk, backwards)]
    if not undone:
        return None
    text = b"".join(
        _marked(b"-", base[start:end]) + _marked(b"+", back) for start, end, back in undone
    )
    count = sum(max(end - start, len(back)) for start, end, back in undone)
    return Revert(
        path=shown, lines=count, text=text.decode("utf-8", "backslashreplace").rstrip("\n")
    )


def _taken_back(base: list[bytes], mine: _Hunk, backwards: list[_Hunk]) -> list[_Hunk]:
    """Return the others' changes that one change of the worktree's makes exactly backwards: its own lines are what was there before."""
    start, end, lines = mine
    within = [
        hunk
        for hunk in backwards
        if start <= hunk[0] and hunk[1] <= end and (hunk[0] < end or start == end == hunk[0])
    ]
    before, at = [], start
    for first, last, old in within:
        before += [*base[at:first], *old]
        at = last
    return within if within and [*before, *base[at:end]] == lines else []


def _hunks(one: list[bytes], other: list[bytes]) -> Iterator[_Hunk]:
    patch = pygit2.Patch.create_from(b"".join(one), b"".join(other), context_lines=0)
    for hunk in patch.hunks:
        # Of an empty range git names the line before it.
        start = hunk.old_start - 1 if hunk.old_lines else hunk.old_start
        new = hunk.new_start - 1 if hunk.new_lines else hunk.new_start
        yield start, start + hunk.old_lines, other[new : new + hunk.new_lines]


def _lines(repo: pygit2.Repository, file: pygit2.DiffFile) -> list[bytes] | None:
    if file.mode == FileMode.UNREADABLE:
        return []
    found = repo.get(file.id)
    if not isinstance(found, pygit2.Blob) or found.size > _MOST_BYTES or found.is_binary:
        return None
    return re.findall(rb"[^\n]*\n|[^\n]+", found.data)


def _marked(sign: bytes, lines: list[bytes]) -> bytes:
    return b"".join(sign + line.removesuffix(b"\n") + b"\n" for line in lines)
