"""Reading what a content says, whatever kind it is: the one way from bytes to what is searched.

Texts are decoded, notebooks become their cells, PDFs their pages, mails what they say. Where a hit
says at which characters a passage stands, it counts in the text that comes from here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from vespera_orchestrator._model import SearchGap
from vespera_orchestrator.artifacts.content import mails, media_types, notebooks, pdfs
from vespera_orchestrator.artifacts.content.decoding import decoded, is_garbled
from vespera_orchestrator.artifacts.content.readable_text import ReadableText
from vespera_orchestrator.home.reading import read_content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vespera_orchestrator.contracts import ContentStore

MAX_TEXT_CHARACTERS: Final = 2_000_000
"""How much of one text is searched. The rest is kept and can be read, but is not found."""
_MOST_PARSED_BYTES: Final = 64_000_000
"""A larger notebook or mail is read as the JSON or the lines that it is."""
_MAX_UTF8_BYTES: Final = 4
"""No character takes more in UTF-8."""
_MOST_KEPT: Final = 4


class Content(Protocol):
    """What is known of a content: an artifact, or the draft of one."""

    @property
    def digest(self) -> str:
        """The SHA-256 of its bytes."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""

    @property
    def media_type(self) -> str:
        """What it is."""


def is_readable(media_type: str) -> bool:
    """Tell whether content of this media type may have a text. A PDF may be of pictures only."""
    return media_types.is_text(media_type) or _bare(media_type) == pdfs.MEDIA_TYPE


def readable_text(
    store: ContentStore, artifact: Content, most_characters: int | None = None
) -> ReadableText:
    """Return the text of an artifact.

    Args:
        store: Has the bytes.
        artifact: The artifact.
        most_characters: How much of the beginning is wanted; ``None`` for all of it. Of a PDF,
            no more than `MAX_TEXT_CHARACTERS` are read in any case.

    Raises:
        StoreError: Its bytes cannot be had.
    """
    if _bare(artifact.media_type) == pdfs.MEDIA_TYPE:
        return _beginning(_pdf_text(store, artifact), most_characters)
    if not media_types.is_text(artifact.media_type):
        return ReadableText(text="", gap=SearchGap.NOT_TEXT)
    text = _parsed(store, artifact) or _decoded_beginning(store, artifact, most_characters)
    return _beginning(text, most_characters)


def expected_gap(store: ContentStore, content: Content) -> SearchGap | None:
    """Tell what of a text will not be searched, as far as it can be told at once.

    That what is no text is not searched goes without saying here.
    """
    if _bare(content.media_type) == pdfs.MEDIA_TYPE:
        if content.size_bytes > pdfs.MOST_BYTES:
            return SearchGap.TOO_LARGE
        return SearchGap.NO_READER if pdfs.reader_folder() is None else None
    may_be_long = content.size_bytes > MAX_TEXT_CHARACTERS
    if not may_be_long or not has_readable_beginning(content.media_type):
        return None
    return readable_text(store, content, MAX_TEXT_CHARACTERS).gap


def has_readable_beginning(media_type: str) -> bool:
    """Tell whether the first bytes of such content are the beginning of its text."""
    is_whole_read = _bare(media_type) in {pdfs.MEDIA_TYPE, *_PARSED}
    return media_types.is_text(media_type) and not is_whole_read


def _parsed(store: ContentStore, artifact: Content) -> ReadableText | None:
    """Return what a notebook or a mail says; ``None`` for what is neither, or not read as one."""
    parse = _PARSED.get(_bare(artifact.media_type))
    if parse is None or artifact.size_bytes > _MOST_PARSED_BYTES:
        return None
    return parse(read_content(store, artifact.digest, artifact.size_bytes))


def _notebook_text(content: bytes) -> ReadableText | None:
    return notebooks.notebook_text(decoded(content))


_PARSED: Final[Mapping[str, Callable[[bytes], ReadableText | None]]] = {
    notebooks.MEDIA_TYPE: _notebook_text,
    mails.MEDIA_TYPE: mails.mail_text,
}


def _decoded_beginning(
    store: ContentStore, artifact: Content, most_characters: int | None
) -> ReadableText:
    content = _beginning_bytes(store, artifact, most_characters)
    text = decoded(content)
    gap = SearchGap.GARBLED if is_garbled(content, text) else None
    return ReadableText(text=text, gap=gap)


def _beginning_bytes(store: ContentStore, artifact: Content, most_characters: int | None) -> bytes:
    most_bytes = artifact.size_bytes
    if most_characters is not None:
        most_bytes = _MAX_UTF8_BYTES * (most_characters + 1)
    if artifact.size_bytes <= most_bytes:
        return read_content(store, artifact.digest, artifact.size_bytes)
    with store.open(artifact.digest) as stream:
        return stream.read(most_bytes)


def _beginning(text: ReadableText, most_characters: int | None) -> ReadableText:
    if most_characters is None or len(text.text) <= most_characters:
        return text
    return text.beginning(most_characters).with_gap(SearchGap.PART)


def _bare(media_type: str) -> str:
    return media_types.without_parameters(media_type)


# --- PDFs that were just read ---------------------------------------------------------

_kept: OrderedDict[str, ReadableText] = OrderedDict()
"""The last few, by digest: reading one takes a process of its own, and often more than one asks."""
_turn = threading.Lock()


def _pdf_text(store: ContentStore, artifact: Content) -> ReadableText:
    with _turn:
        known = _kept.get(artifact.digest)
    if known is not None:
        return known
    content = b""
    if artifact.size_bytes <= pdfs.MOST_BYTES:
        content = read_content(store, artifact.digest, artifact.size_bytes)
    text = pdfs.pdf_text(content, artifact.size_bytes, MAX_TEXT_CHARACTERS)
    if text.gap is not SearchGap.NO_READER:
        with _turn:
            _kept[artifact.digest] = text
            while len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
    return text


def forget_kept_texts() -> None:
    """Let go of the PDFs that were just read."""
    with _turn:
        _kept.clear()
