"""What people read of a content: its text, in sections where it has pages or cells."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import SearchGap

_BETWEEN: Final = "\n\n"


@attrs.frozen(kw_only=True)
class Section:
    """A page or a cell."""

    name: str
    """Such as ``page 3``."""
    start: int
    """Offset of its first character."""
    end: int
    """Offset behind its last character."""


@attrs.frozen(kw_only=True)
class ReadableText:
    """The text of a content."""

    text: str
    sections: tuple[Section, ...] = ()
    """Its pages or cells, in order; empty where it has none."""
    gap: SearchGap | None = None
    """What of the content is not in the text; ``None`` if all of it is."""

    def with_gap(self, gap: SearchGap) -> ReadableText:
        """Return the same text, of which this is missing."""
        return attrs.evolve(self, gap=gap)

    def beginning(self, most_characters: int) -> ReadableText:
        """Return what is before that many characters."""
        sections = [part for part in self.sections if part.start < most_characters]
        return attrs.evolve(self, text=self.text[:most_characters], sections=tuple(sections))

    def place(self, start: int, end: int) -> str:
        """Name the sections that a slice is from: ``page 3``, ``cells 4-6``; or nothing."""
        if not self.sections:
            return ""
        first = self._section_at(start)
        last = self._section_at(max(start, end - 1))
        if first is last:
            return first.name
        kind, number = first.name.rsplit(" ", 1)
        _, last_number = last.name.rsplit(" ", 1)
        return f"{kind}s {number}-{last_number}"

    def _section_at(self, offset: int) -> Section:
        behind = bisect_right(self.sections, offset, key=_start_of)
        return self.sections[max(0, behind - 1)]


def _start_of(section: Section) -> int:
    return section.start


def joined(sections: Iterable[tuple[str, str]]) -> ReadableText:
    """Return one text of several, with a blank line between them.

    Args:
        sections: Names and texts, in order.
    """
    places: list[Section] = []
    parts: list[str] = []
    length = 0
    for name, part in sections:
        start = length + len(_BETWEEN) if parts else 0
        length = start + len(part)
        parts.append(part)
        places.append(Section(name=name, start=start, end=length))
    text = _BETWEEN.join(parts)
    return ReadableText(text=text, sections=tuple(places))
