"""Letters of every script are compared alike, and no list leaves any out."""

from __future__ import annotations

import sys
import unicodedata

from hypothesis import assume, given
from hypothesis import strategies as st

from vespera_orchestrator.stores.sql.folding import folded, folds_into

ALL = "".join(map(chr, range(0x80, sys.maxunicode + 1)))


def replaced(text, sought):
    """Return *text* as a server without `folded` has it when *sought* is looked for."""
    words = unicodedata.normalize("NFKC", text)
    words = "".join(letter.lower() if letter.isascii() else letter for letter in words)
    for other, form in folds_into(sought):
        words = words.replace(other, form)
    return unicodedata.normalize("NFKC", words)


def test_every_letter_is_found_by_its_folded_form():
    """Of all that Unicode has, by replacements as well. A new script needs a line in the list."""
    lost = [
        letter
        for letter in ALL
        if folded(letter) != letter and folded(letter) not in replaced(letter, folded(letter))
    ]
    assert lost == []


LETTERS = "aAiI\u0131İsSßẞ\u017fΣ\u03c3ςKk\u212a\u0307\u030cjJéÉ\u0301ﬁﬀĲĳᾼᾳΐ本ᏣꮳႹⴙ𐐔 "
TRICKY = st.text(alphabet=LETTERS, max_size=12)


@given(TRICKY, TRICKY)
def test_replacing_finds_what_folding_finds(text, sought):
    """Both stores answer alike, unless what is sought begins in the middle of a letter."""
    sought = folded(sought)
    assume(not sought or not unicodedata.combining(sought[0]))
    assert (sought in replaced(text, sought)) is (sought in folded(text))


@given(st.text(max_size=20))
def test_folding_again_changes_nothing(text):
    """What is sought can be folded before."""
    assert folded(folded(text)) == folded(text)
