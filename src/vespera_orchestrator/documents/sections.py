"""The parts of a document that are ours, between two marker lines.

A section begins and ends with a line of its own::

    <!-- vespera:section changelog -->
    <!-- vespera:end changelog -->

What lies between is ours, everything else belongs to the people who write the document. All
functions here are pure: text in, text out. A marker starts in the first column. markdown-it-py
tells where Markdown shows a text as it is, so a marker in a code block is an example and no marker.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from markdown_it.token import Token

_MARKER = re.compile(r"<!--[ \t]*vespera:([^\n]*?)[ \t]*(\r?\n|\Z)", re.IGNORECASE)
r"""Only \n and \r\n end a line: str.splitlines would also cut at form feeds and U+2028, which are
the user's own characters."""
_WORDS = re.compile(r"(section|end)[ \t]+([a-z][a-z0-9_]*)[ \t]*-->")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?=\n|\Z)")
_VERBATIM_HTML = re.compile(r"\s*<(?:!--|!\[CDATA\[|\?|pre|script|style|textarea)", re.IGNORECASE)
"""What opens an HTML block whose lines are shown as they are, or not at all."""
_INDENTATION = " \t"
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


@functools.lru_cache(maxsize=16)
def parse_sections(text: str) -> tuple[Section, ...]:
    """Find the sections of *text*, in order.

    Raises:
        MarkerError: A marker is misspelled, has no partner, stands inside another section, or
            names a section a second time.
    """
    sections: dict[str, Section] = {}
    begun: Section | None = None
    for marker in _markers(text):
        match, line = marker.match, marker.line
        kind, name = _marker_words(marker)
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


@attrs.frozen(kw_only=True)
class _Candidate:
    """A line that looks like a marker."""

    match: re.Match[str]
    line: int
    """From 1."""
    is_indented: bool
    words: tuple[str, str] | None
    """Its kind and the section that it names; ``None`` if it cannot be read."""


def _markers(text: str) -> Iterator[_Candidate]:
    candidates = _candidates(text)
    if not candidates:
        return
    inside = _lines_inside_pairs(candidates)
    shown = _lines_shown_as_they_are(text, inside)
    for candidate in candidates:
        is_text_of_section = candidate.is_indented and candidate.line in inside
        if candidate.line not in shown and not is_text_of_section:
            yield candidate


def _candidates(text: str) -> list[_Candidate]:
    candidates, line, counted_to = [], 1, 0
    # Whether a marker starts its line is checked here: a pattern that begins with plain text is
    # found ten times as fast.
    for match in _MARKER.finditer(text):
        line_start = text.rfind("\n", 0, match.start()) + 1
        before = text[line_start : match.start()]
        if line_start == 0:
            before = before.removeprefix(_BYTE_ORDER_MARK)
        if before.strip(_INDENTATION):
            continue
        line += text.count("\n", counted_to, match.start())
        counted_to = match.start()
        words = _WORDS.fullmatch(match[1])
        candidate = _Candidate(
            match=match,
            line=line,
            is_indented=bool(before),
            words=None if words is None else (words[1], words[2]),
        )
        candidates.append(candidate)
    return candidates


def _lines_shown_as_they_are(text: str, inside: set[int]) -> set[int]:
    """Return the lines of code blocks and the like, from 1, outside of sections.

    What lies *inside* a section is left out before the text is parsed. So a fence that somebody
    left open there does not swallow the rest of the document, and a long section costs nothing.
    """
    lines = text.replace("\r\n", "\n").replace("\r", " ").split("\n")
    lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
    kept = [number for number in range(1, len(lines) + 1) if number not in inside]
    reduced = "\n".join(lines[number - 1] for number in kept)
    shown: set[int] = set()
    for token in _block_tokens(reduced):
        if token.map is not None and _shows_as_it_is(token):
            shown.update(kept[slice(*token.map)])
    return shown


def _lines_inside_pairs(candidates: Sequence[_Candidate]) -> set[int]:
    """Return the lines between each end and the nearest beginning of the same section before it."""
    inside: set[int] = set()
    begun: dict[str, int] = {}
    for candidate in candidates:
        if candidate.words is None or candidate.is_indented:
            continue
        kind, name = candidate.words
        if kind == "section":
            begun[name] = candidate.line
        elif name in begun:
            first = begun.pop(name) + 1
            inside.update(range(first, candidate.line))
    return inside


def _block_tokens(text: str) -> list[Token]:
    from markdown_it import MarkdownIt

    front_matter = _FRONT_MATTER.match(text)
    if front_matter is not None:
        # Markdown would take its last line for the underline of a heading.
        text = "\n" * front_matter[0].count("\n") + text[front_matter.end() :]
    parser = MarkdownIt("commonmark").disable(["inline"])
    tokens: list[Token] = parser.parse(text)
    return tokens


def _shows_as_it_is(token: Token) -> bool:
    if token.type in ("fence", "code_block"):
        return True
    if token.type != "html_block":
        return False
    first, _, rest = token.content.partition("\n")
    is_own_line = _MARKER.match(first.lstrip(_INDENTATION)) is not None
    return bool(rest) and not is_own_line and _VERBATIM_HTML.match(first) is not None


def _marker_words(candidate: _Candidate) -> tuple[str, str]:
    """Return the kind of a marker and the section that it names."""
    if candidate.is_indented:
        raise MarkerError(
            candidate.line,
            "this marker is indented; let it start its line, "
            "or put it into a code block if it is only an example",
        )
    if candidate.words is None:
        raise MarkerError(
            candidate.line,
            "this marker cannot be read; correct it, "
            "or put it into a code block if it is only an example",
        )
    return candidate.words


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


def outside_sections(text: str) -> tuple[str, ...]:
    """Return what lies outside of the sections, piece by piece, normalized.

    Raises:
        MarkerError: As for `parse_sections`.
    """
    pieces, position = [], 0
    for section in parse_sections(text):
        pieces.append(normalize(text[position : section.start]))
        position = section.end
    return (*pieces, normalize(text[position:]))


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
