"""In words, what of an artifact is not searched."""

from __future__ import annotations

from typing import Final

from vespera_orchestrator._model import SearchGap
from vespera_orchestrator.artifacts.content.pdfs import INSTALL
from vespera_orchestrator.artifacts.content.readable import MAX_TEXT_CHARACTERS

BY_TITLE: Final = frozenset(
    set(SearchGap) - {SearchGap.PART, SearchGap.FIGURES, SearchGap.ATTACHMENTS, SearchGap.GARBLED},
)
"""Of these, nothing but the title is searched."""
_WORDS: Final = {
    SearchGap.NOT_TEXT: "found by title only: no text",
    SearchGap.NO_READER: f"found by title only: a PDF, for which you need {INSTALL}",
    SearchGap.ENCRYPTED: "found by title only: a PDF with a password",
    SearchGap.DAMAGED: "found by title only: a PDF that cannot be read",
    SearchGap.TOO_LARGE: "found by title only: a PDF that takes too much time or memory",
    SearchGap.NO_WORDS: "found by title only: a PDF whose pages are pictures",
    SearchGap.UNREAD: "found by title only: its bytes could not be read here",
    SearchGap.GARBLED: "searched with odd letters: its encoding is not known",
    SearchGap.PART: f"searched in part only, at most the first {MAX_TEXT_CHARACTERS:,} characters",
    SearchGap.FIGURES: "searched without its pictures",
    SearchGap.ATTACHMENTS: "searched without what is attached to it",
}


def gap_words(gap: SearchGap) -> str:
    """Say what of an artifact is not searched, and why."""
    return _WORDS[gap]
