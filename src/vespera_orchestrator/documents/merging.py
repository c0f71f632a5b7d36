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
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
    merged = _merged(*lines, settle=_nobody_can)
    return None if merged is None else "\n".join(merged)


def _merge_words(base: str, theirs: str, ours: str) -> str | None:
    pieces = [_PIECE.findall(text) for text in (base, theirs, ours)]
    if max(map(len, pieces)) > _MOST_PIECES:
        return None
    merged = _merged(*pieces, settle=_nobody_can)
    return None if merged is None else "".join(merged)


_Change: TypeAlias = tuple[int, int, tuple[str, ...]]
"""The pieces of the base from, and up to, and what stands there instead."""


def _changes(base: Sequence[str], changed: Sequence[str]) -> Iterator[_Change]:
    matcher = difflib.SequenceMatcher(None, base, changed, autojunk=False)
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag != "equal":
            yield start, end, tuple(changed[first:last])


def _collide(one: _Change, other: _Change) -> bool:
    (start, end, _), (other_start, other_end, _) = one, other
    if start == end == other_start == other_end:
        return True  # two insertions at one place: nobody knows which comes first
    return start < other_end and other_start < end


_SidedChange: TypeAlias = tuple[int, int, tuple[str, ...], bool]
"""A change, and whether it is theirs."""
_Settlement: TypeAlias = "Callable[[list[str], list[str], list[str]], list[str] | None]"
"""Says what stands where both sides have changed the same pieces: of the base, theirs and ours."""


def _merged(
    base: list[str], theirs: list[str], ours: list[str], *, settle: _Settlement
) -> list[str] | None:
    """Return the pieces of the base with the changes of both sides; ``None`` if *settle* does."""
    our_changes = set(_changes(base, ours))
    # What both have changed in the same way is one change.
    their_changes = [change for change in _changes(base, theirs) if change not in our_changes]
    changes = [(*change, False) for change in our_changes]
    changes += [(*change, True) for change in their_changes]
    merged, position = list[str](), 0
    for group in _colliding(sorted(changes)):
        start, end = group[0][0], max(change[1] for change in group)
        pieces = base[start:end]
        their_pieces = _of_side(pieces, start, group, is_theirs=True)
        our_pieces = _of_side(pieces, start, group, is_theirs=False)
        sides = {is_theirs for *_, is_theirs in group}
        settled: list[str] | None = their_pieces if True in sides else our_pieces
        if len(sides) > 1:
            settled = settle(pieces, their_pieces, our_pieces)
        if settled is None:
            return None
        merged += [*base[position:start], *settled]
        position = end
    return merged + base[position:]


def _nobody_can(_base: list[str], _theirs: list[str], _ours: list[str]) -> None:
    """Leave it to a person."""


def _of_side(
    pieces: list[str], start: int, group: Iterable[_SidedChange], *, is_theirs: bool
) -> list[str]:
    """Return some pieces of the base after the changes of one side to them."""
    changed = list(pieces)
    # From the end, so that the positions before stay right.
    for first, last, replacement, side in reversed(list(group)):
        if side is is_theirs:
            changed[first - start : last - start] = replacement
    return changed


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
        lines = (text.split("\n") for text in plain)
        merged = "\n".join(_merged(*lines, settle=_by_words) or ())
        if read_alike(merged, plain_due):
            return merged if is_moved else f"{merged}\n\n{definitions}".strip("\n")
    return None


def _by_words(base: list[str], theirs: list[str], ours: list[str]) -> list[str]:
    """Return lines that both sides have changed, word by word, or else ours."""
    merged = _merge_words(*("\n".join(lines) for lines in (base, theirs, ours)))
    return ours if merged is None else merged.split("\n")
