"""From text to passages, and from words to what is searched.

A passage is a slice of an artifact's text, cut where the text has its own seams, with the offsets to find it again. What is searched is
more than the slice: the artifact's title, and the parts of every identifier, because people ask for ``config`` where the code says
``parseConfig``. Query and document go through the same splitting.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSAGE_CHARACTERS = (600, 1200)
"""Wanted length of a passage. Anything from 300 to 2,400 finds equally well; this is a screenful to read."""

TEXT_CHARACTERS = 2_000_000
"""How much of one text is searched; what comes after it is kept and read like the rest, but not found."""

_BLOCK_CHARACTERS = 20_000

_MARKDOWN = frozenset({"text/markdown", "text/x-markdown", "text/plain", "text/x-rst"})
_TEXT_LIKE = frozenset(
    {
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/sql",
        "application/toml",
        "application/x-httpd-php",
        "application/x-ipynb+json",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-tex",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
        "image/svg+xml",
    }
)


def is_text(media_type: str) -> bool:
    """Tell whether bytes of this media type are read, and searched, as text."""
    bare = media_type.partition(";")[0].strip().lower()
    return (
        bare.startswith("text/") or bare in _TEXT_LIKE or bare.endswith(("+json", "+xml", "+yaml"))
    )


@attrs.frozen(kw_only=True)
class Passage:
    """A slice of a text."""

    start: int
    """Offset of the first character."""
    end: int
    """Offset behind the last character."""
    text: str
    """Exactly what stands between the two."""


def split(text: str, media_type: str) -> list[Passage]:
    """Cut *text* into passages: headings, paragraphs and code blocks stay whole where they fit.

    Args:
        text: Any text without lone surrogates. Only its first `TEXT_CHARACTERS` are cut.
        media_type: Prose is cut as Markdown, everything else at blank lines and line ends.

    Returns:
        The passages in order. White space between them belongs to none; a blank text has none.
    """
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    prose = media_type.partition(";")[0].strip().lower() in _MARKDOWN
    splitter = MarkdownSplitter(PASSAGE_CHARACTERS) if prose else TextSplitter(PASSAGE_CHARACTERS)
    return [
        Passage(start=begin + start, end=begin + start + len(chunk), text=chunk)
        for begin, block in _blocks(text[:TEXT_CHARACTERS])
        for start, chunk in splitter.chunk_indices(block)
    ]


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield *text* in blocks with their offsets: the splitter's time grows with the square of a line that has no seams."""
    begin = 0
    while begin < len(text):
        end = begin + _BLOCK_CHARACTERS
        if end < len(text):
            seams = (
                text.rfind(seam, begin + _BLOCK_CHARACTERS // 2, end) + len(seam)
                for seam in ("\n\n", "\n", " ")
            )
            end = next((seam for seam in seams if seam > begin + _BLOCK_CHARACTERS // 2), end)
        yield begin, text[begin:end]
        begin = end


# --- words ------------------------------------------------------------------

WORD = re.compile(r"\w+")
_QUOTED = re.compile(r'"([^"]{1,1000})"')
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]{2,}")
"""Runs of Chinese, Japanese and Korean characters, whose words are not set apart by spaces."""


@lru_cache(maxsize=100_000)
def identifier_parts(word: str) -> tuple[str, ...]:
    """Return what *word* is made of: ``("parse", "HTTP", "Config")``; empty when it has fewer than two parts.

    Parts are those of camelCase and snake_case, and pairs of neighbours where the script does not set its words apart.
    """
    parts = _PART.findall(word) if word.isascii() else _parts_beyond_ascii(word)
    return tuple(parts) if len(parts) > 1 else ()


def _parts_beyond_ascii(word: str) -> list[str]:
    unspaced = [a + b for run in _UNSPACED.findall(word) for a, b in pairwise(run)]
    # The same seams as in ASCII, without taking "größer" apart at its umlaut.
    seams = "".join(f" {b}" if a.islower() and b.isupper() else b for a, b in pairwise(f" {word}"))
    return unspaced or seams.replace("_", " ").split()


def phrases(query: str) -> tuple[str, ...]:
    """Return what stands between double quotes in *query*, where it is more than one word."""
    return tuple(quoted for quoted in _QUOTED.findall(query) if len(WORD.findall(quoted)) > 1)


def searchable(text: str, title: str = "") -> str:
    """Return *text* with what else it is to be found by behind it: the title, and the parts of identifiers.

    *text* stays the beginning, unchanged, so that phrases are found as they were written and the passage can be cut off again.
    """
    parts = [part for word in WORD.findall(f"{text} {title}") for part in identifier_parts(word)]
    return "\n".join(piece for piece in (text, title, " ".join(parts)) if piece)
