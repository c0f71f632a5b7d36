"""Markdown that holds foreign text without being changed by it, and the reading of Markdown that others wrote.

Titles, summaries and artifacts come from anybody. Whatever `inline`, `code` and `quote` return can stand anywhere in a document: it
opens no HTML, no link, no list, no heading, no fence beyond itself, and never forms a section marker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

# Control characters, and those that turn the direction of reading, which make a line show something else than it says.
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")
_LONE = re.compile(r"[\ud800-\udfff]")
_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])|(?<=\s)#(?=#*\Z)")
_LEADING = re.compile(r"^(?=[#>+=-])|^(\d{1,9})(?=[.)](?:\s|$))")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r" {0,3}(#{1,6})((?:[ \t].*)?)")
_DEFINITION = re.compile(r"^(\s*)\[(?=[^\]]+\]:)")
_HTML = re.compile(r"<(?=[A-Za-z/!?])")

QUOTE_LINES = 40
"""Most lines of an excerpt."""
QUOTE_CHARACTERS = 4000
"""Most characters of an excerpt."""


def inline(text: str, limit: int = 300) -> str:
    """Return *text* as one line of Markdown that shows it literally, cut after *limit* characters."""
    flat = " ".join(_clean(text).split())
    if len(flat) > limit:
        flat = flat[: limit - 1].rstrip() + "…"
    escaped = _ENTITY.sub("&amp;", _SPECIAL.sub(r"\\\g<0>", flat)).replace("<", "&lt;")
    return _LEADING.sub(lambda match: f"{match[1] or ''}\\", escaped)


def code(text: str, limit: int = 300) -> str:
    """Return *text* as a code span on one line, cut after *limit* characters."""
    flat = " ".join(_clean(text).split())
    if len(flat) > limit:
        flat = flat[: limit - 1] + "…"
    ticks = "`" * (1 + max((len(run) for run in re.findall(r"`+", flat)), default=0))
    pad = " " if not flat or flat[0] == "`" or flat[-1] == "`" else ""
    return f"{ticks}{pad}{flat}{pad}{ticks}"


def quote(text: str) -> str:
    """Return *text*, itself Markdown, as a block quotation: whatever it leaves open ends with the quotation.

    HTML is shown, not interpreted. A long text is cut, which its last line, an ellipsis, tells. A blank one gives an empty string.
    """
    lines = plain(text).strip("\n").split("\n")
    if not any(line.strip() for line in lines):
        return ""
    kept, size = [], 0
    for line, role in _roles(lines[:QUOTE_LINES]):
        size += len(line)
        kept.append(line if role != "text" else _DEFINITION.sub(r"\1\\[", _HTML.sub("&lt;", line)))
        if size > QUOTE_CHARACTERS:
            kept[-1] = kept[-1][: max(1, len(kept[-1]) - size + QUOTE_CHARACTERS)]
            break
    quoted = [f"> {line}".rstrip() for line in kept]
    if size > QUOTE_CHARACTERS or len(lines) > len(kept):
        quoted += [">", "> …"]
    return "\n".join(quoted)


def _clean(text: str) -> str:
    return (
        text
        if text.isascii() and text.isprintable()
        else _LONE.sub("\ufffd", _UNSEEN.sub("", text))
    )


def plain(text: str) -> str:
    """Return *text* with the newline as its only line end, and without characters that do not show."""
    return _clean(text.replace("\r\n", "\n").replace("\r", "\n"))


def _roles(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Give each line its role: ``text``, or ``opens``, ``code``, ``closes`` for a code fence that starts in the first column.

    An indented fence may belong to a list item and end with it, so what follows one is not taken for code: it is better to show an
    escape too many than to let HTML through.
    """
    fence = ""
    for line in lines:
        match = _FENCE.fullmatch(line)
        if fence and match and match[1].startswith(fence) and not match[2].strip():
            fence = ""
            yield line, "closes"
        elif fence:
            yield line, "code"
        elif match and not line.startswith(" ") and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
            yield line, "opens"
        else:
            yield line, "text"


# --- reading ----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Part:
    """What stands under a heading, down to the next one of the same or a higher level."""

    title: str
    start: int
    """Its first line, from 0: the heading."""
    end: int
    """The line after its last."""
    text: str
    """Without the heading."""


def parts(text: str) -> list[Part]:
    """Return every headed part of *text*, in order; a part also contains its sub-parts."""
    lines = plain(text).split("\n")
    heads = [
        (i, m)
        for i, (line, role) in enumerate(_roles(lines))
        if role == "text" and (m := _HEADING.fullmatch(line))
    ]
    found = []
    for position, (start, head) in enumerate(heads):
        following = (heads[k] for k in range(position + 1, len(heads)))
        end = next((i for i, other in following if len(other[1]) <= len(head[1])), len(lines))
        found.append(
            Part(
                title=_title(head[2]),
                start=start,
                end=end,
                text="\n".join(lines[start + 1 : end]).strip("\n"),
            )
        )
    return found


def _title(rest: str) -> str:
    title = rest.strip()
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


def fences(text: str, languages: frozenset[str]) -> list[str]:
    """Return the contents of the code fences whose language is one of *languages*."""
    found: list[str] = []
    wanted = False
    for line, role in _roles(plain(text).split("\n")):
        if role == "opens":
            words = line.lstrip("`~").split()
            wanted = bool(words) and words[0].lower() in languages
            if wanted:
                found.append("")
        elif role == "code" and wanted:
            found[-1] += line + "\n"
    return found
