"""Recognising work that would silently take back what others landed.

A merge keeps what others landed as long as the worktree does not know of it. Once it does, having
merged or caught up, whatever the worktree has instead counts as the agent's wish. So it does when
the agent only copied an old file back, or resolved a merge with "mine".

Three states of a file are compared: *origin*, what the worktree started from; *base*, what it has
come to know of since, others' work included; *theirs*, what is to be landed. A change from origin
to base is reverted where theirs has again what origin had: the whole file, or each run of lines
that differs between base and theirs and is, line for line, the others' change backwards.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import fenced, plural
from vespera_orchestrator.worktrees.paths import display_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_BYTES: Final = 2_000_000
"""Larger files are compared as a whole only."""


@attrs.frozen(kw_only=True)
class Revert(Record):
    """A change by others that landing a worktree would undo."""

    path: str
    """The file."""
    lines: int
    """How many of its lines would be as before that change, or gone again; 0 for the whole file."""
    text: str = attrs.field(repr=False, default="")
    """The lines that would be lost, and those that would return, marked ``-`` and ``+``."""

    def __str__(self) -> str:
        extent = "the whole file"
        if self.lines:
            extent = plural(self.lines, "line")
        return f"{self.path} ({extent})"


class _Hunk(NamedTuple):
    """Lines of one text, and what stands in their place in another."""

    start: int
    """The first line, from 0."""
    end: int
    """The line after the last one."""
    lines: list[bytes]


def find(repo: pygit2.Repository, origin: str, base: str, theirs: str) -> tuple[Revert, ...]:
    """Return what is taken back between the trees *base* and *theirs*.

    Namely, of the changes between the trees *origin* and *base*.
    """
    if base in (origin, theirs):
        return ()
    others = _deltas(repo, origin, base)
    own = _deltas(repo, base, theirs)
    reverts: list[Revert] = []
    for path in sorted(others.keys() & own.keys()):
        revert = _in_file(repo, path, others[path], own[path])
        if revert is not None:
            reverts.append(revert)
    return tuple(reverts)


def report(branch: str, reverts: tuple[Revert, ...]) -> str:
    """Describe what would be taken back, as Markdown."""
    intro = "After this worktree began, others landed changes that its files undo:"
    lines = [f"# Work by others on {branch} would be undone", "", intro]
    for revert in reverts:
        lines += ["", f"## {revert}"]
        if revert.text:
            lines += ["", fenced(revert.text, "diff")]
    return "\n".join(lines) + "\n"


def _deltas(repo: pygit2.Repository, before: str, after: str) -> dict[str, pygit2.DiffDelta]:
    deltas: dict[str, pygit2.DiffDelta] = {}
    for delta in repo.diff(repo[before], repo[after]).deltas:
        path = os.fsdecode(delta.new_file.raw_path)
        deltas[path] = delta
    return deltas


def _in_file(
    repo: pygit2.Repository, path: str, others: pygit2.DiffDelta, own: pygit2.DiffDelta
) -> Revert | None:
    before, after = others.old_file, own.new_file
    # An absent side has the zero object and mode 0, so this also covers added and removed files.
    if (before.id, before.mode) == (after.id, after.mode):
        return Revert(path=display_path(path), lines=0)
    origin, base, theirs = (_lines(repo, file) for file in (before, own.old_file, after))
    if origin is None or base is None or theirs is None:
        return None
    backwards = list(_hunks(base, origin))
    reverted: list[_Hunk] = []
    for hunk in _hunks(base, theirs):
        reverted += _taken_back(base, hunk, backwards)
    if not reverted:
        return None
    text = b"".join(_as_diff(base, hunk) for hunk in reverted)
    return Revert(
        path=display_path(path),
        lines=sum(max(hunk.end - hunk.start, len(hunk.lines)) for hunk in reverted),
        text=text.decode("utf-8", "backslashreplace").rstrip("\n"),
    )


def _taken_back(base: list[bytes], own: _Hunk, backwards: list[_Hunk]) -> list[_Hunk]:
    """Return the others' changes that one change of the worktree's makes exactly backwards.

    Its own lines are then what was there before.
    """
    within = [hunk for hunk in backwards if _is_within(hunk, own)]
    before, position = [], own.start
    for hunk in within:
        before += [*base[position : hunk.start], *hunk.lines]
        position = hunk.end
    before += base[position : own.end]
    return within if before == own.lines else []


def _is_within(hunk: _Hunk, outer: _Hunk) -> bool:
    if hunk.start < outer.start or hunk.end > outer.end:
        return False
    # An insertion right behind the outer one's last line belongs to what follows.
    return hunk.start < outer.end or outer.start == outer.end


def _hunks(one: list[bytes], other: list[bytes]) -> Iterator[_Hunk]:
    patch = pygit2.Patch.create_from(b"".join(one), b"".join(other), context_lines=0)
    for hunk in patch.hunks:
        # Of an empty range git names the line before it.
        start, new_start = hunk.old_start, hunk.new_start
        if hunk.old_lines:
            start -= 1
        if hunk.new_lines:
            new_start -= 1
        end = start + hunk.old_lines
        new_end = new_start + hunk.new_lines
        yield _Hunk(start, end, other[new_start:new_end])


def _lines(repo: pygit2.Repository, file: pygit2.DiffFile) -> list[bytes] | None:
    """Return the lines of a version of a file; ``None`` where it is not text, or too large."""
    if file.mode == FileMode.UNREADABLE:
        return []
    blob = repo.get(file.id)
    if not isinstance(blob, pygit2.Blob) or blob.size > _MOST_BYTES or blob.is_binary:
        return None
    text = blob.data
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


def _as_diff(base: list[bytes], hunk: _Hunk) -> bytes:
    removed = base[hunk.start : hunk.end]
    diff = [*_with_sign(b"-", removed), *_with_sign(b"+", hunk.lines)]
    return b"".join(diff)


def _with_sign(sign: bytes, lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        text = line.removesuffix(b"\n")
        yield sign + text + b"\n"
