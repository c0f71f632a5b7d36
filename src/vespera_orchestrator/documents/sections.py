"""The parts of a document that are kept by us, between two marker lines.

A section begins and ends with a line of its own::

    <!-- vespera:section changelog -->
    <!-- vespera:end changelog -->

What lies between belongs to us, everything else to the people who write the document. All functions here are pure: text in, text out.
A marker starts in the first column; indented by a space it is plain text, so that a document can show what markers look like.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Only \n and \r\n end a line: str.splitlines would also cut at form feeds and U+2028, which are the user's own characters.
_MARKER = re.compile(r"<!--[ \t]*vespera:([^\n]*?)[ \t]*(\r?\n|\Z)")
_WORDS = re.compile(r"(section|end)[ \t]+([a-z][a-z0-9_]*)[ \t]*-->")


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


def parse(text: str) -> tuple[Section, ...]:
    """Find the sections of *text*, in order.

    Raises:
        MarkerError: A marker is misspelled, has no partner, stands inside another section, or names a section a second time.
    """
    found: dict[str, Section] = {}
    begun: Section | None = None
    for match in _markers(text):
        line = text.count("\n", 0, match.start()) + 1
        words = _WORDS.fullmatch(match[1])
        if words is None:
            raise MarkerError(
                line,
                "this marker cannot be read; correct it, or indent it by a space if it is only an example",
            )
        if words[1] == "section":
            begun = _begin(words[2], line, match, found, begun)
        elif begun is None or begun.name != words[2]:
            raise MarkerError(
                line,
                f"section {words[2]!r} ends here but does not begin before; delete this line, or put its beginning back",
            )
        else:
            found[begun.name] = attrs.evolve(begun, end=match.start())
            begun = None
    if begun is not None:
        raise MarkerError(
            begun.line,
            f"section {begun.name!r} begins here and never ends; add the line {end_marker(begun.name)}",
        )
    return tuple(found.values())


def _markers(text: str) -> Iterator[re.Match[str]]:
    # That a marker starts its line is asked here: a pattern that begins with a plain text is found ten times as fast.
    for match in _MARKER.finditer(text):
        before = text[max(0, match.start() - 1) : match.start()]
        if before in ("", "\n") or (before == "\ufeff" and match.start() == 1):
            yield match


def _begin(
    name: str, line: int, match: re.Match[str], found: Mapping[str, Section], begun: Section | None
) -> Section:
    if begun is not None:
        raise MarkerError(
            line,
            f"section {name!r} begins inside section {begun.name!r} of line {begun.line}; add {end_marker(begun.name)} before it",
        )
    if name in found:
        raise MarkerError(
            line,
            f"section {name!r} stands here a second time, after line {found[name].line}; keep one of the two",
        )
    return Section(name=name, line=line, start=match.end(), end=match.end(), newline=match[2])


def begin_marker(name: str) -> str:
    """Return the line that begins section *name*."""
    return f"<!-- vespera:section {name} -->"


def end_marker(name: str) -> str:
    """Return the line that ends section *name*."""
    return f"<!-- vespera:end {name} -->"


def normal(body: str) -> str:
    """Return *body* without what is not content: kinds of line ends, space at their ends, blank lines around it."""
    return "\n".join(line.rstrip() for line in body.replace("\r\n", "\n").split("\n")).strip("\n")


def bodies(text: str) -> dict[str, str]:
    """Return the content of each section of *text*, normalised.

    Raises:
        MarkerError: As for `parse`.
    """
    return {section.name: normal(text[section.start : section.end]) for section in parse(text)}


def replace(text: str, contents: Mapping[str, str]) -> str:
    """Put *contents* between the markers of the sections they name.

    Everything outside stays character for character, and so does a section that is not named or that already says the same. New
    content takes the line ends of its marker. Doing it again changes nothing.

    Raises:
        MarkerError: As for `parse`.
    """
    present = bodies(text)
    return _filled(
        text,
        {
            name: content
            for name, content in contents.items()
            if present.get(name) != normal(content)
        },
    )


def framed(text: str) -> str:
    """Give every section of a new document the shape that `replace` gives it.

    Raises:
        MarkerError: As for `parse`.
    """
    return _filled(text, bodies(text))


def _filled(text: str, contents: Mapping[str, str]) -> str:
    for section in reversed(parse(text)):
        if section.name in contents:
            # Blank lines next to the markers: some renderers read a line that follows an HTML comment directly as part of it.
            content = f"\n{normal(contents[section.name])}\n\n".replace("\n", section.newline)
            text = text[: section.start] + content + text[section.end :]
    return text
