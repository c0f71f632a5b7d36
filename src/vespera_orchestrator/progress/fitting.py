"""Fits pieces of a text into a budget: the important ones whole, the others cut or only named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import beginning, clip, first_names, inert, quoted, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHORTEST_CUT: Final = 40
"""A quotation that has to be cut shorter than this many tokens is left out."""

_NAMES_SHARE: Final = 3
"""Names of what there is no room for take no more than this part of the budget, as a divisor."""
_TOKENS_PER_NAME: Final = 4
"""About so long is one of them, with its comma."""
_LEFT_OUT_TOKENS: Final = 20
"""So long is the line that says how much is left out."""


@attrs.frozen(kw_only=True, eq=False)
class Piece:
    """A line of ours, and a text of others that is quoted below it."""

    line: str = attrs.field(converter=inert)
    """Stands there if there is any room for the piece."""
    quote: str = ""
    """Is quoted below it, as far as there is room."""
    rest: str = ""
    """How to read all of the quotation."""
    length: int | None = None
    """How many characters there are to read in all; ``None`` if *quote* is all of it."""
    share: float = 1.0
    """Which part of the room that is left the quotations of this rank may take at first."""
    rank: int = 0
    """Quotations of a lower rank come first; those of one rank share the room."""
    reserved: float = 0.0
    """Which part of the whole budget is kept for the quotation, whatever comes after it."""
    source: str | None = None
    """The id of what is quoted."""
    name: str = ""
    """Stands at the end of the section where there is no room for the piece."""

    @property
    def is_whole(self) -> bool:
        """Whether *quote* is all there is to read."""
        return self.length is None or self.length <= len(self.quote)

    def print(self, room: int) -> str:
        """Return the piece with at most *room* tokens of quotation; with 0 only the line."""
        if not self.quote or room <= 0:
            return f"{self.line} {self._hint()}".rstrip()
        part = quoted(self.quote) if self.is_whole else ""
        if not part or tokens(part) > room:
            part = self._cut(room)
        if not part:
            return f"{self.line} {self._hint()}".rstrip()
        return f"{self.line}\n{part}"

    def _cut(self, room: int) -> str:
        """Return the quotation, cut, with a line of ours that says what is missing."""
        for share in (1.0, 0.9, 0.8, 0.65, 0.5):
            part = beginning(self.quote, int(room * share) - tokens(self._hint()))
            missing = self._missing(part)
            text = f"{quoted(part)}\n{missing}".rstrip()
            if part.strip() and tokens(text) <= room:
                return text
        return ""

    def _missing(self, part: str) -> str:
        count = max(len(self.quote), self.length or 0) - len(part)
        if count <= 0:
            return ""
        way = f": {self.rest}" if self.rest else ""
        return f"[{count:,} more characters{way}]"

    def _hint(self) -> str:
        return f"[to read: {self.rest}]" if self.quote and self.rest else ""


@attrs.frozen(kw_only=True)
class Section:
    """Pieces under one heading."""

    heading: str = attrs.field(converter=inert)
    """Empty for pieces that stand under none."""
    pieces: Sequence[Piece]


@attrs.frozen(kw_only=True)
class Fitted:
    """The text, and what it quotes."""

    text: str
    sources: tuple[str, ...]
    """The ids of what is quoted, whole or cut."""


def fit(sections: Iterable[Section], budget_tokens: int, *, last: Section | None = None) -> Fitted:
    """Write the sections in their order within the budget.

    Every piece is at least named, as long as there is room: what comes first is more important.
    Then the quotations take what is left, by rank. Nothing is filled up.

    Args:
        sections: The most important first.
        budget_tokens: About how long the text may be.
        last: What stands at the end in any case, unless it would take more than a third.
    """
    layout = _Layout(list(sections), last, budget_tokens)
    rooms = layout.share_room()
    sources = [piece.source for piece, room in rooms.items() if room and piece.source]
    return Fitted(text=clip(layout.write(rooms), budget_tokens), sources=tuple(sources))


class _Layout:
    def __init__(self, sections: list[Section], last: Section | None, budget_tokens: int) -> None:
        self._budget = budget_tokens
        self._footer = ""
        if last is not None:
            footer = _section_text(last, {})
            if tokens(footer) <= budget_tokens // 3:
                self._footer = footer
        self._sections, self._left_out = self._named(sections)

    def _named(self, sections: list[Section]) -> tuple[list[Section], int]:
        """Return what there is room to name, and how many pieces are left out."""
        room = self._budget - tokens(self._footer) - 1
        kept = self._kept(sections, room)
        if _count(kept) < _count(sections):  # the line that says so needs room, too
            kept = self._kept(sections, room - _LEFT_OUT_TOKENS)
        return kept, _count(sections) - _count(kept)

    def _kept(self, sections: list[Section], room: int) -> list[Section]:
        """Return what there is room to name."""
        kept: list[Section] = []
        for section in sections:
            room -= _lines_tokens(section.heading)
            pieces: list[Piece] = []
            names = [piece.name for piece in section.pieces if piece.name]
            for piece in section.pieces:
                later = names[1:] if piece.name else names
                needed = _lines_tokens(piece.print(0)) + self._reserve(piece)
                if room < needed + _lines_tokens(self._names_line(later)):
                    pieces += _named_pieces(self._names_line(names))
                    room = -1
                    break
                room -= needed
                names = later
                pieces.append(piece)
            if pieces:
                kept.append(attrs.evolve(section, pieces=pieces))
            if room < 0:
                break
        return kept

    def _names_line(self, names: Sequence[str]) -> str:
        """Return a line with *names*, as far as a third of the budget; empty for none."""
        if not names:
            return ""
        most = self._budget // (_NAMES_SHARE * _TOKENS_PER_NAME)
        return f"Also: {first_names(names, max(1, most))}"

    def _reserve(self, piece: Piece) -> int:
        return min(_wanted(piece), int(self._budget * piece.reserved))

    def share_room(self) -> dict[Piece, int]:
        """Return how many tokens of quotation each piece gets."""
        pieces = [piece for section in self._sections for piece in section.pieces if piece.quote]
        rooms: dict[Piece, int] = {}
        # The second time, what a rank did not take goes to those before it.
        for is_second in (False, True):
            for rank in sorted({piece.rank for piece in pieces}):
                of_rank = [piece for piece in pieces if piece.rank == rank]
                others = {piece: room for piece, room in rooms.items() if piece.rank != rank}
                free = max(0, self._budget - tokens(self.write(others)))
                share = 1.0 if is_second else min(piece.share for piece in of_rank)
                for piece, room in _shared_out(of_rank, int(free * share)).items():
                    rooms[piece] = max(room, rooms.get(piece, 0))
        return rooms

    def write(self, rooms: Mapping[Piece, int]) -> str:
        """Write everything, each quotation within its room."""
        texts = [_section_text(section, rooms) for section in self._sections]
        if self._left_out:
            texts.append(
                f"[{self._left_out} more entries left out: ask for a larger budget_tokens]"
            )
        if self._footer:
            texts.append(self._footer)
        return "\n\n".join(texts)


def _named_pieces(line: str) -> list[Piece]:
    return [Piece(line=line)] if line else []


def _count(sections: Iterable[Section]) -> int:
    return sum(len(section.pieces) for section in sections)


def _lines_tokens(text: str) -> int:
    """Return how many tokens lines take, with the end of the last one."""
    return tokens(f"{text}\n") if text else 0


def _section_text(section: Section, rooms: Mapping[Piece, int]) -> str:
    lines = [section.heading] if section.heading else []
    lines += [piece.print(rooms.get(piece, 0)) for piece in section.pieces]
    return "\n".join(lines)


def _shared_out(pieces: Sequence[Piece], room: int) -> dict[Piece, int]:
    """Share *room* among the quotations: short ones are whole, long ones get equal parts."""
    rooms = {}
    waiting = sorted(pieces, key=_wanted)
    for number, piece in enumerate(waiting):
        part = room // (len(waiting) - number)
        size = min(_wanted(piece), part)
        if size < min(_SHORTEST_CUT, _wanted(piece)):
            size = 0
        rooms[piece] = size
        room -= size
    return rooms


def _wanted(piece: Piece) -> int:
    """Return how many tokens the whole quotation takes."""
    if not piece.quote:
        return 0
    missing = "" if piece.is_whole else piece.rest
    return tokens(quoted(piece.quote)) + tokens(missing) + 12 * (not piece.is_whole)
