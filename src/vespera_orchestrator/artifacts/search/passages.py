"""From text to passages, and from words to the text that is searched.

A passage is a slice of an artifact's text, cut where the text has its own seams, with the offsets
to find it again. What is searched is more than the slice: the artifact's title, and the parts of
every identifier, because people ask for ``config`` where the code says ``parseConfig``. Queries
and documents are split in the same way.

Only text comes here: `index` turns everything else away. Whoever changes how text is cut raises
`state.FORMAT`, so that indexes made before are rebuilt.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.artifacts.content.media_types import without_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vespera_orchestrator.artifacts.content.readable_text import ReadableText, Section

PASSAGE_CHARACTERS = (600, 1200)
"""Shortest and longest length to aim for in a passage.

Anything from 300 to 2,400 finds equally well; this is a screenful to read.
"""

_BLOCK_CHARACTERS = 20_000
_LEAST_ENCODED = 400
_ENCODED_LINE = 60
_ENCODED = re.compile(r"(?:[A-Za-z0-9+/]{60,}(?:\\n|\r?\n)?)+(?:[A-Za-z0-9+/]+={0,2})?={0,2}")
"""Base64 in lines of 60 characters and more, as in mail, or in one, as in notebooks."""

_PROSE_TYPES = frozenset({"text/markdown", "text/x-markdown", "text/plain", "text/x-rst"})


@attrs.frozen(kw_only=True)
class Passage:
    """A slice of a text."""

    start: int
    """Offset of the first character."""
    end: int
    """Offset behind the last character."""
    text: str
    """Exactly what stands between the two."""
    place: str = ""
    """The pages or cells that it is from, such as ``page 3``; empty where the text has none."""


def passages_of(content: ReadableText, media_type: str) -> list[Passage]:
    """Cut the text of a content into passages, and none across a page or a cell that fills one.

    Short pages and cells that follow each other, such as a heading and its code, make one passage.
    The arguments and the result are those of `split`.
    """
    if not content.sections:
        return split(content.text, media_type)
    passages = []
    for start, end in _groups(content.sections):
        for part in split(content.text[start:end], media_type):
            first, last = start + part.start, start + part.end
            place = content.place(first, last)
            passages.append(attrs.evolve(part, start=first, end=last, place=place))
    return passages


def _groups(sections: Sequence[Section]) -> Iterator[tuple[int, int]]:
    """Yield where to cut between sections: as many together as make one passage."""
    shortest, longest = PASSAGE_CHARACTERS
    start, end = sections[0].start, sections[0].end
    for section in sections[1:]:
        is_filled = end - start >= shortest
        if is_filled or section.end - start > longest:
            yield start, end
            start = section.start
        end = section.end
    yield start, end


def split(text: str, media_type: str) -> list[Passage]:
    """Cut *text* into passages; headings, paragraphs and code blocks stay whole where they fit.

    Args:
        text: Any text without lone surrogates.
        media_type: Prose is cut as Markdown, everything else at blank lines and line ends.

    Returns:
        The passages in order. White space between them belongs to none, nor does base64, which
        is no text; a blank text has none.
    """
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    is_prose = without_parameters(media_type) in _PROSE_TYPES
    splitter_class = MarkdownSplitter if is_prose else TextSplitter
    splitter = splitter_class(PASSAGE_CHARACTERS)
    passages = []
    readable = _without_base64(text)
    for block_start, block in _blocks(readable):
        for offset, chunk in splitter.chunk_indices(block):
            start = block_start + offset
            end = start + len(chunk)
            passages.append(Passage(start=start, end=end, text=text[start:end]))
    return passages


def _without_base64(text: str) -> str:
    """Return *text* with spaces in place of base64."""
    longest = max(map(len, text.split()), default=0)
    # To look for it takes longer than all the rest, and most texts have no word of that length.
    return text if longest < _ENCODED_LINE else _ENCODED.sub(_blanked, text)


def _blanked(encoded: re.Match[str]) -> str:
    """Return spaces in place of base64: nobody searches for its letters.

    Digests, which are as long and have small letters only, stay.
    """
    run = encoded[0]
    kinds = (str.isupper, str.islower, str.isdigit)
    is_base64 = all(any(map(kind, run)) for kind in kinds)
    return " " * len(run) if is_base64 and len(run) >= _LEAST_ENCODED else run


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield *text* in blocks with their offsets.

    The splitter's time grows with the square of a line that has no seams.
    """
    start = 0
    while start < len(text):
        end = _block_end(text, start)
        yield start, text[start:end]
        start = end


def _block_end(text: str, start: int) -> int:
    """Return where to end a block: at its last seam, if its second half has one."""
    end = start + _BLOCK_CHARACTERS
    middle = start + _BLOCK_CHARACTERS // 2
    if end >= len(text):
        return end
    for seam in ("\n\n", "\n", " "):
        behind_seam = text.rfind(seam, middle, end) + len(seam)
        if behind_seam > middle:
            return behind_seam
    return end


# --- words ------------------------------------------------------------------

WORD = re.compile(r"\w+")
TERM = re.compile(r"[^\W_]+")
"""A word as the tables index it: underscores separate words."""
_WORDY = 4
_MOST_REPETITIONS = 3
_LONGEST_TYPED = 200
"""Characters."""
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these",
    "they", "this", "to", "was", "will", "with",
})  # fmt: skip
_QUOTED = re.compile(r'"([^"]{1,1000})"')
_IDENTIFIER_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_UNSPACED_RUN = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    r"\U00020000-\U0003ffff]+"
)
"""A run of Thai, Lao, Burmese, Khmer, Chinese, Japanese or Korean characters.

No spaces set their words apart.
"""
_HYPHENATED = re.compile(r"([^\W\d_]+)-\n([^\W\d_]+)")
"""A word that is parted at the end of a line, as in PDFs."""
_ACCENTS = re.compile(r"[\u0300-\u036f]")
"""Marks over and under letters. Those that are vowels, or part of a character, stand elsewhere."""
_SYMBOL = re.compile(r"[\u2190-\u2bff\U0001f000-\U0001faff]")
"""Emoji, arrows and other pictures, which are no words to a tokenizer."""


@lru_cache(maxsize=100_000)
def identifier_parts(word: str) -> tuple[str, ...]:
    """Return the parts of *word*: ``("parse", "HTTP", "Config")``; empty for fewer than two.

    Parts are those of camelCase and snake_case, and pairs of neighbours where the script does not
    set its words apart.
    """
    find_parts = _IDENTIFIER_PART.findall if word.isascii() else _parts_beyond_ascii
    parts = find_parts(word)
    return tuple(parts) if len(parts) > 1 else ()


def _parts_beyond_ascii(word: str) -> list[str]:
    runs = _UNSPACED_RUN.findall(word)
    if runs:
        return [first + second for run in runs for first, second in pairwise(run)]
    # The same seams as in ASCII, without taking "größer" apart at its umlaut.
    spaced = ""
    for before, character in pairwise(f" {word}"):
        starts_part = before.islower() and character.isupper()
        spaced += f" {character}" if starts_part else character
    return spaced.replace("_", " ").split()


def quoted_phrases(query: str) -> tuple[str, ...]:
    """Return what stands between double quotes in *query*, where it is more than one word.

    In a pasted text quotes are part of it, and demand nothing: one of several lines, or longer than
    anybody types.
    """
    if len(query) > _LONGEST_TYPED or "\n" in query.strip():
        return ()
    phrases = []
    for quotation in _QUOTED.findall(query):
        words = WORD.findall(quotation)
        if len(words) > 1:
            phrases.append(quotation)
    return tuple(phrases)


def has_words(query: str) -> bool:
    """Tell whether there is anything in *query* that can be found."""
    return any(character.isalnum() for character in query) or _SYMBOL.search(query) is not None


def is_wordy(query: str) -> bool:
    """Tell whether *query* says enough to be answered by what stands around a note as well.

    Who looks for a word or two wants to see them in what is found.
    """
    words = set(WORD.findall(query.lower()))
    return len(words - STOP_WORDS) >= _WORDY


def searchable_text(text: str, title: str = "") -> str:
    """Return *text*, and behind it what else should find it.

    That is the title, the parts of identifiers, and where no spaces set words apart, every
    character. *text* stays the beginning, unchanged, so that phrases are found as they were
    written and the passage can be cut off again.
    """
    whole = f"{text} {title}"
    runs = _unspaced_runs(whole)
    characters = dict.fromkeys("".join(runs))
    pieces = (text, title, " ".join(_parts(whole, runs)), " ".join(characters))
    return "\n".join(filter(None, pieces))


def searched_words(query: str) -> str:
    """Return *query*, and behind it the parts of its words, as `searchable_text` splits them.

    No word more than three times: a question that comes back to a word means it, and a pasted log
    only repeats it.
    """
    whole = " ".join((query, *_parts(query, _unspaced_runs(query))))
    # Only a tokenizer knows what is a word where marks stand over characters.
    words = TERM.findall(whole.lower()) if whole.isascii() else whole.split()
    seen: Counter[str] = Counter()
    kept = []
    for word in words:
        seen[word] += 1
        if seen[word] <= _MOST_REPETITIONS:
            kept.append(word)
    return " ".join(kept)


def _parts(text: str, runs: Iterable[str]) -> list[str]:
    """Return the parts of identifiers, pairs of neighbours in *runs*, and names for symbols."""
    words = WORD.findall(text)
    is_ascii = text.isascii()
    if not is_ascii:
        words = [word for word in words if word.isascii() or _UNSPACED_RUN.search(word) is None]
    parts = list(chain.from_iterable(map(identifier_parts, words)))
    if not is_ascii:
        parts += _folded_words(text)
        parts += [f"u{ord(symbol):x}" for symbol in _SYMBOL.findall(text)]
    for run in runs:
        parts += map("".join, pairwise(run))
    if "-\n" in text:
        parts += [first + second for first, second in _HYPHENATED.findall(text)]
    return parts


def _unspaced_runs(text: str) -> list[str]:
    """Return the runs without marks such as those of tones: a tokenizer would part words there."""
    if text.isascii():
        return []
    # Characters of half and of full width are the same ones.
    runs = _UNSPACED_RUN.findall(unicodedata.normalize("NFKC", text))
    return ["".join(filter(str.isalnum, run)) for run in runs]


def _folded_words(text: str) -> list[str]:
    """Return the words that are typed otherwise, too: without accents, "ss", in usual width."""
    folded = [_folded_word(word) for word in WORD.findall(text) if not word.isascii()]
    return [word for word in folded if word]


@lru_cache(maxsize=50_000)
def _folded_word(word: str) -> str:
    """Return another spelling of *word*; empty if it has none."""
    usual = unicodedata.normalize("NFKC", word).casefold()
    bare = _ACCENTS.sub("", unicodedata.normalize("NFD", usual))
    other = unicodedata.normalize("NFC", bare)
    return "" if other == word.lower() else other
