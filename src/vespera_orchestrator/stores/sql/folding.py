"""Texts as they are compared in a search: letter case and ways of writing ignored, in any script.

SQLite calls `folded` itself. A server that cannot gets it as replacements, see `folds_into`.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

_DOTTED_I: Final = "i\u0307"
"""What the capital letter with a dot becomes, of Turkish; it is to be found as an ``i``."""
_CASED: Final = (
    range(0x80, 0x2200),
    range(0x2C00, 0x2E00),
    range(0xA640, 0xAC00),
    range(0x10000, 0x11A00),
    range(0x16E00, 0x16F00),
    range(0x1E900, 0x1EA00),
)
"""Where the letters are that fold into others, besides ASCII. A test looks at all characters."""


def folded(text: str) -> str:
    """Return *text* in the form in which texts are compared.

    It is close to Unicode's NFKC_Casefold: ``STRASSE`` is found as ``straße``, a ligature as its
    letters, and letters of full width as others.
    """
    if text.isascii():
        return text.lower()
    composed = unicodedata.normalize("NFKC", text)
    return unicodedata.normalize("NFKC", composed.casefold().replace(_DOTTED_I, "i"))


def folds_into(sought: str) -> list[tuple[str, str]]:
    """Return what has to be replaced, by what, so that *sought*, a folded text, is found.

    The text in which it is sought is composed (NFKC), and its ASCII letters are lower case. Of
    other letters, only those matter that fold into some letter of *sought*, or into one that an
    accent after it makes into such a letter.
    """
    letters = {*sought, *unicodedata.normalize("NFD", sought)}
    return [(other, form) for other, form in _foldings() if letters.intersection(form)]


@cache
def _foldings() -> tuple[tuple[str, str], ...]:
    forms = [(_DOTTED_I, "i")]
    for letters in _CASED:
        for letter in map(chr, letters):
            form = folded(letter)
            if form != letter and unicodedata.is_normalized("NFKC", letter):
                forms.append((letter, form))
    return tuple(forms)
