"""Markdown that shows text of others without being changed by it, and reading theirs.

Titles, summaries and artifacts come from anybody. What `inline`, `code` and `quote` return can
stand anywhere in a document: it opens no HTML, no link, no list, no heading, no fence beyond
itself, and never forms a section marker.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
"""Control characters, and those that turn the direction of reading: a line would show something
else than it says."""
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<=\s)#(?=#*\Z)")
_LINE_START = re.compile(r"^(?=[#>+=-])|^(\d{1,9})(?=[.)](?:\s|$))")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r" {0,3}(#{1,6})((?:[ \t].*)?)")
_LINK_DEFINITION = re.compile(r"^(\s*)\[(?=[^\]]+\]:)")
_HTML = re.compile(r"<(?=[A-Za-z/!?])")
_BACKTICKS = re.compile(r"`+")

MAX_INLINE_CHARACTERS = 300
"""The longest text on one line, where the caller does not say another length."""
_MAX_QUOTE_LINES = 40
_MAX_QUOTE_CHARACTERS = 4000


# --- writing ----------------------------------------------------------------


def inline(text: str, limit: int = MAX_INLINE_CHARACTERS) -> str:
    """Return *text* as one line of Markdown that shows it literally, cut at *limit* characters."""
    flat = _on_one_line(text)
    if len(flat) > limit:
        beginning = flat[: limit - 1].rstrip()
        flat = f"{beginning}…"
    escaped = _SPECIAL.sub(r"\\\g<0>", flat)
    escaped = _ENTITY.sub("&amp;", escaped)
    escaped = escaped.replace("<", "&lt;")
    return _LINE_START.sub(_escaped_line_start, escaped)


def _escaped_line_start(match: re.Match[str]) -> str:
    number = match[1] or ""
    return f"{number}\\"


def code(text: str, limit: int = MAX_INLINE_CHARACTERS) -> str:
    """Return *text* as a code span on one line, cut at *limit* characters."""
    flat = _on_one_line(text)
    if len(flat) > limit:
        flat = flat[: limit - 1] + "…"
    runs = _BACKTICKS.findall(flat)
    longest_run = max(map(len, runs), default=0)
    ticks = "`" * (longest_run + 1)
    needs_space = not flat or flat.startswith("`") or flat.endswith("`")
    space = " " if needs_space else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def quote(text: str) -> str:
    """Return *text*, itself Markdown, as a block quotation that ends whatever it leaves open.

    HTML is shown, not interpreted. A long text is cut, and its last line is an ellipsis then. A
    blank one gives an empty string.
    """
    lines = plain_text(text).strip("\n").split("\n")
    if not any(line.strip() for line in lines):
        return ""
    safe_lines, size = [], 0
    for line, role in _line_roles(lines[:_MAX_QUOTE_LINES]):
        size += len(line)
        safe = _disarmed(line) if role is _Role.TEXT else line
        excess = size - _MAX_QUOTE_CHARACTERS
        if excess > 0:
            end = max(1, len(safe) - excess)
            safe_lines.append(safe[:end])
            break
        safe_lines.append(safe)
    quoted = [f"> {line}".rstrip() for line in safe_lines]
    if size > _MAX_QUOTE_CHARACTERS or len(lines) > len(safe_lines):
        quoted += [">", "> …"]
    return "\n".join(quoted)


def _disarmed(line: str) -> str:
    without_html = _HTML.sub("&lt;", line)
    return _LINK_DEFINITION.sub(r"\1\\[", without_html)


def _on_one_line(text: str) -> str:
    words = _visible(text).split()
    return " ".join(words)


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return _LONE_SURROGATE.sub("\ufffd", _INVISIBLE.sub("", text))


def plain_text(text: str) -> str:
    """Return *text* with newlines as its only line ends, and without invisible characters."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _visible(unified)


# --- reading ----------------------------------------------------------------


class _Role(Enum):
    """What a line is to Markdown."""

    TEXT = "text"
    OPENS_CODE = "opens code"
    CODE = "code"
    CLOSES_CODE = "closes code"


def _line_roles(lines: list[str]) -> Iterator[tuple[str, _Role]]:
    """Yield each line with its role; only fences that start in the first column open code.

    An indented fence may belong to a list item and end with it, so what follows one is not taken
    for code: one escape too many is better than letting HTML through.
    """
    fence = ""
    for line in lines:
        match = _FENCE.fullmatch(line)
        if fence and match and _closes(match, fence):
            fence = ""
            yield line, _Role.CLOSES_CODE
        elif fence:
            yield line, _Role.CODE
        elif match and _opens(match):
            fence = match[1]
            yield line, _Role.OPENS_CODE
        else:
            yield line, _Role.TEXT


def _closes(match: re.Match[str], fence: str) -> bool:
    marks, rest = match.groups()
    return marks.startswith(fence) and not rest.strip()


def _opens(match: re.Match[str]) -> bool:
    marks, rest = match.groups()
    if match[0].startswith(" "):
        return False
    is_code_span = marks.startswith("`") and "`" in rest
    return not is_code_span


@attrs.frozen(kw_only=True)
class HeadedPart:
    """What stands under a heading, down to the next one of the same or a higher level."""

    title: str
    start: int
    """Its first line, from 0: the heading."""
    end: int
    """The line after its last."""
    text: str
    """Without the heading."""


def headed_parts(text: str) -> list[HeadedPart]:
    """Return every headed part of *text*, in order; a part also contains its sub-parts."""
    lines = plain_text(text).split("\n")
    headings = _headings(lines)
    parts = []
    for position, heading in enumerate(headings):
        end = _part_end(headings, position, len(lines))
        body = "\n".join(lines[heading.line + 1 : end])
        part = HeadedPart(title=heading.title, start=heading.line, end=end, text=body.strip("\n"))
        parts.append(part)
    return parts


@attrs.frozen(kw_only=True)
class _Heading:
    line: int
    level: int
    title: str


def _headings(lines: list[str]) -> list[_Heading]:
    headings = []
    for number, (line, role) in enumerate(_line_roles(lines)):
        match = _HEADING.fullmatch(line) if role is _Role.TEXT else None
        if match is not None:
            marks, text = match.groups()
            heading = _Heading(line=number, level=len(marks), title=_heading_title(text))
            headings.append(heading)
    return headings


def _part_end(headings: list[_Heading], position: int, last: int) -> int:
    """Return the line of the next heading that is not below the one at *position*."""
    level = headings[position].level
    for following in range(position + 1, len(headings)):
        heading = headings[following]
        if heading.level <= level:
            return heading.line
    return last


def _heading_title(text: str) -> str:
    """Return the title of a heading without the marks that may close it."""
    title = text.strip()
    without_marks = title.rstrip("#")
    if not without_marks or without_marks[-1] in " \t":
        return without_marks.rstrip()
    return title


def fenced_code(text: str, languages: frozenset[str]) -> list[str]:
    """Return the contents of the code fences whose language is one of *languages*."""
    fences: list[str] = []
    is_ours = False
    for line, role in _line_roles(plain_text(text).split("\n")):
        if role is _Role.OPENS_CODE:
            words = line.lstrip("`~").split()
            is_ours = bool(words) and words[0].lower() in languages
            if is_ours:
                fences.append("")
        elif role is _Role.CODE and is_ours:
            fences[-1] += f"{line}\n"
    return fences
