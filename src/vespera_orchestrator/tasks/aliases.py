"""The short names of tasks: which are allowed, and how one is made from a title."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from vespera_orchestrator._model import is_id
from vespera_orchestrator._secrets import mask
from vespera_orchestrator.tasks.conditions import RESERVED_WORDS

_MOST_SLUG_CHARS: Final = 48
"""Longest alias that is made from a title."""
_NO_WORDS: Final = re.compile(
    r"""[\s.,;:!?'"()\[\]{}_/|…«»“”\N{LEFT SINGLE QUOTATION MARK}"""
    r"""\N{RIGHT SINGLE QUOTATION MARK}\N{EN DASH}\N{EM DASH}-]+"""
)
"""What titles of the same task may differ in, beside the case of letters."""
_ALIAS: Final = re.compile(r"[^\W\d]\w{0,79}")


def is_alias(text: str) -> bool:
    """Tell whether *text* may be an alias.

    An alias has a letter or underscore, then letters, digits, underscores; at most 80 in all. It
    does not look like an id, and is not a word of the condition language.
    """
    if is_id(text) or text in RESERVED_WORDS:
        return False
    return _ALIAS.fullmatch(text) is not None


def spelled(text: str) -> str:
    """Return a text in the one spelling that aliases made from titles have.

    A Mac writes é as two characters, and some programs write fi as one.
    """
    return unicodedata.normalize("NFKC", text)


def slug(title: str) -> str:
    """Make an alias from *title*: ``"Task D"`` becomes ``task_d``."""
    words = re.sub(r"\W+", "_", spelled(mask(title)).lower()).strip("_")
    text = words[:_MOST_SLUG_CHARS].rstrip("_")
    if not text:
        return "task"
    return text if is_alias(text) else f"task_{text}"[:_MOST_SLUG_CHARS]


def mean_the_same(title: str, other: str) -> bool:
    """Tell whether two titles are those of one task, as far as an alias leaves it open.

    Aliases have no symbols, and are cut: "C++" and "C#", or two long titles, may make the same one.
    """
    return slug(title) != slug(other) or _words(title) == _words(other)


def _words(title: str) -> str:
    return _NO_WORDS.sub("", title.casefold())
