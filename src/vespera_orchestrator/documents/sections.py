"""The parts of a document that are ours, between two marker lines.

A section begins and ends with a line of its own::

    <!-- vespera:section changelog -->
    <!-- vespera:end changelog -->

What lies between is ours, everything else belongs to the people who write the document. All
functions here are pure: text in, text out. A marker starts in the first column. Indented by a space
it is plain text, so that a document can show what markers look like.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MARKER = re.compile(r"<!--[ \t]*vespera:([^\n]*?)[ \t]*(\r?\n|\Z)")
r"""Only \n and \r\n end a line: str.splitlines would also cut at form feeds and U+2028, which are
the user's own characters."""
_WORDS = re.compile(r"(section|end)[ \t]+([a-z][a-z0-9_]*)[ \t]*-->")
_BYTE_ORDER_MARK = "\ufeff"


@attrs.define(slots=False)
class MarkerError(Exception):
    """The markers of a text contradict each other. Translated before it leaves the package."""

    line: int
    """Where, from 1."""
    problem: str
    """What is wrong, and what helps."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


@attrs.frozen(kw_only=True)
class Section:
    """Where a section lies in its text."""

    name: str
    line: int
    """The line of its first marker, from 1."""
    start: int
    """Offset of the first character between the markers."""
    end: int
    """Offset behind the last one."""
    newline: str
    """How the line of its first marker ends."""


def parse_sections(text: str) -> tuple[Section, ...]:
    """Find the sections of *text*, in order.

    Raises:
        MarkerError: A marker is misspelled, has no partner, stands inside another section, or
            names a section a second time.
    """
    sections: dict[str, Section] = {}
    begun: Section | None = None
    for match in _markers(text):
        line = text.count("\n", 0, match.start()) + 1
        kind, name = _marker_words(match, line)
        if kind == "section":
            _check_beginning(name, line, sections, begun)
            newline = match[2]
            begun = Section(
                name=name, line=line, start=match.end(), end=match.end(), newline=newline
            )
        elif begun is None or begun.name != name:
            raise MarkerError(
                line,
                f"section {name!r} ends here but does not begin before; "
                "delete this line, or put its beginning back",
            )
        else:
            sections[name] = attrs.evolve(begun, end=match.start())
            begun = None
    if begun is not None:
        raise MarkerError(
            begun.line,
            f"section {begun.name!r} begins here and never ends; "
            f"add the line {end_marker(begun.name)}",
        )
    return tuple(sections.values())


def _markers(text: str) -> Iterator[re.Match[str]]:
    # Whether a marker starts its line is checked here: a pattern that begins with plain text is
    # found ten times as fast.
    for match in _MARKER.finditer(text):
        start = match.start()
        before = text[max(0, start - 1) : start]
        follows_byte_order_mark = before == _BYTE_ORDER_MARK and start == 1
        if before in ("", "\n") or follows_byte_order_mark:
            yield match


def _marker_words(match: re.Match[str], line: int) -> tuple[str, str]:
    """Return the kind of a marker and the section that it names."""
    words = _WORDS.fullmatch(match[1])
    if words is None:
        raise MarkerError(
            line,
            "this marker cannot be read; correct it, "
            "or indent it by a space if it is only an example",
        )
    return words[1], words[2]


def _check_beginning(
    name: str, line: int, sections: Mapping[str, Section], begun: Section | None
) -> None:
    if begun is not None:
        raise MarkerError(
            line,
            f"section {name!r} begins inside section {begun.name!r} of line {begun.line}; "
            f"add {end_marker(begun.name)} before it",
        )
    if name in sections:
        raise MarkerError(
            line,
            f"section {name!r} begins here a second time, after line {sections[name].line}; "
            "keep one of the two",
        )


def begin_marker(name: str) -> str:
    """Return the line that begins section *name*."""
    return f"<!-- vespera:section {name} -->"


def end_marker(name: str) -> str:
    """Return the line that ends section *name*."""
    return f"<!-- vespera:end {name} -->"


def normalize(content: str) -> str:
    """Return *content* without what does not count.

    That is the kind of line ends, space at their ends, and blank lines around it.
    """
    unified = content.replace("\r\n", "\n")
    lines = [line.rstrip() for line in unified.split("\n")]
    return "\n".join(lines).strip("\n")


def section_contents(text: str) -> dict[str, str]:
    """Return the content of each section of *text*, normalized.

    Raises:
        MarkerError: As for `parse_sections`.
    """
    contents = {}
    for section in parse_sections(text):
        content = text[section.start : section.end]
        contents[section.name] = normalize(content)
    return contents


def replace_sections(text: str, contents: Mapping[str, str]) -> str:
    """Put *contents* between the markers of the sections they name.

    Everything outside stays character for character, and so does a section that is not named or
    that already says the same. New content takes the line ends of its marker. Doing it again
    changes nothing.

    Raises:
        MarkerError: As for `parse_sections`.
    """
    present = section_contents(text)
    changed = {
        name: content
        for name, content in contents.items()
        if present.get(name) != normalize(content)
    }
    return _with_contents(text, changed)


def normalize_sections(text: str) -> str:
    """Give every section of a new document the shape that `replace_sections` gives it.

    Raises:
        MarkerError: As for `parse_sections`.
    """
    return _with_contents(text, section_contents(text))


def _with_contents(text: str, contents: Mapping[str, str]) -> str:
    for section in reversed(parse_sections(text)):
        if section.name in contents:
            # Blank lines next to the markers: some renderers read a line that follows an HTML
            # comment directly as part of it.
            content = f"\n{normalize(contents[section.name])}\n\n"
            content = content.replace("\n", section.newline)
            text = text[: section.start] + content + text[section.end :]
    return text
