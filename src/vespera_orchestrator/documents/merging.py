"""Bringing together what two sides made of one text: pure, text in and text out."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final, TypeAlias

from vespera_orchestrator.documents.markdown import (
    apart_from_definitions,
    bullets_of,
    read_alike,
    with_bullets,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_PIECE: Final = re.compile(r"\S+|\s+")
_MOST_PIECES: Final = 10_000
"""More are not compared word by word: it would take seconds."""


def merge(base: str, theirs: str, ours: str) -> str | None:
    """Return *base* with the changes of both sides; ``None`` where they touch the same words."""
    by_line = merge_lines(base, theirs, ours)
    if by_line is not None:
        return by_line
    return _merge_words(base, theirs, ours)


def merge_lines(base: str, theirs: str, ours: str) -> str | None:
    """Return *base* with the changes of both sides; ``None`` where they touch the same lines."""
    if theirs in (base, ours):
        return ours
    if ours == base:
        return theirs
    lines = (text.split("\n") for text in (base, theirs, ours))
    merged = _merge_pieces(*lines)
    return None if merged is None else "\n".join(merged)


def _merge_words(base: str, theirs: str, ours: str) -> str | None:
    pieces = [_PIECE.findall(text) for text in (base, theirs, ours)]
    if max(map(len, pieces)) > _MOST_PIECES:
        return None
    merged = _merge_pieces(*pieces)
    return None if merged is None else "".join(merged)


def _merge_pieces(base: list[str], theirs: list[str], ours: list[str]) -> list[str] | None:
    their_changes = list(_changes(base, theirs))
    our_changes = list(_changes(base, ours))
    if any(_collide(one, other) for one in their_changes for other in our_changes):
        return None
    return _applied(base, {*their_changes, *our_changes})


_Change: TypeAlias = tuple[int, int, tuple[str, ...]]
"""The pieces of the base from, and up to, and what stands there instead."""


def _changes(base: Sequence[str], changed: Sequence[str]) -> Iterator[_Change]:
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag != "equal":
            yield start, end, tuple(changed[first:last])


def _applied(base: Sequence[str], changes: Iterable[_Change]) -> list[str]:
    merged = list(base)
    # From the end, so that the positions before stay right.
    for start, end, replacement in sorted(changes, reverse=True):
        merged[start:end] = replacement
    return merged


def _collide(one: _Change, other: _Change) -> bool:
    if one == other:
        return False
    (start, end, _), (other_start, other_end, _) = one, other
    if start == end == other_start == other_end:
        return True  # two insertions at one place: nobody knows which comes first
    return start < other_end and other_start < end


# --- notation -------------------------------------------------------------------


def with_notation(base: str, theirs: str, due: str) -> str | None:
    """Return what is due in the notation of a text that reads as *base* does.

    Whoever wrote other bullets, other emphasis, wider tables or shorter lines than we do finds them
    wherever the words are the same. New words come in ours, new items with the bullet of their
    list.

    Args:
        base: What we wrote.
        theirs: The same, as a formatter or a person has written it.
        due: What it should say now.

    Returns:
        The text, which reads as *due* does; ``None`` where that is not to be had.
    """
    plain_base, _ = apart_from_definitions(base)
    plain_theirs, their_definitions = apart_from_definitions(theirs)
    plain_due, definitions = apart_from_definitions(due)
    is_moved = bool(definitions) and not their_definitions
    for bullet in bullets_of(theirs):
        plain = with_bullets(plain_base, bullet), plain_theirs, with_bullets(plain_due, bullet)
        merged = "\n".join(_merge_regions(*(text.split("\n") for text in plain)))
        if read_alike(merged, plain_due):
            return merged if is_moved else f"{merged}\n\n{definitions}".strip("\n")
    return None


def _merge_regions(base: list[str], theirs: list[str], ours: list[str]) -> list[str]:
    """Return the lines of both sides; where they collide, word by word, or else ours."""
    changes = [(*change, True) for change in _changes(base, theirs)]
    changes += [(*change, False) for change in _changes(base, ours)]
    merged, position = list[str](), 0
    for group in _colliding(sorted(changes)):
        start, end = group[0][0], max(change[1] for change in group)
        merged += base[position:start]
        merged += _merged_group(base[start:end], start, group)
        position = end
    return merged + base[position:]


_SidedChange: TypeAlias = tuple[int, int, tuple[str, ...], bool]
"""A change, and whether it is theirs."""


def _colliding(changes: Iterable[_SidedChange]) -> Iterator[list[_SidedChange]]:
    """Yield the changes, those together that touch the same lines.

    Args:
        changes: By position.
    """
    group: list[_SidedChange] = []
    for change in changes:
        if group and not any(_collide(change[:3], other[:3]) for other in group):
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _merged_group(lines: list[str], start: int, group: Iterable[_SidedChange]) -> list[str]:
    """Return some lines after the changes of both sides to them."""
    sides: dict[bool, list[_Change]] = {True: [], False: []}
    for first, last, replacement, is_theirs in group:
        sides[is_theirs].append((first - start, last - start, replacement))
    theirs, ours = (_applied(lines, sides[is_theirs]) for is_theirs in (True, False))
    if not sides[True] or not sides[False]:
        return ours if sides[False] else theirs
    texts = ("\n".join(each) for each in (lines, theirs, ours))
    merged = _merge_words(*texts)
    return ours if merged is None else merged.split("\n")
