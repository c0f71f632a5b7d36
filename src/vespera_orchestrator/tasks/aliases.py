"""The short names of tasks: which are allowed, and how one is made from a title."""

from __future__ import annotations

import re
from typing import Final

from vespera_orchestrator._model import is_id
from vespera_orchestrator._secrets import mask
from vespera_orchestrator.tasks.conditions import RESERVED_WORDS

_MOST_SLUG_CHARS: Final = 48
"""Longest alias that is made from a title."""
_ALIAS: Final = re.compile(r"[^\W\d]\w{0,79}")


def is_alias(text: str) -> bool:
    """Tell whether *text* may be an alias.

    An alias has a letter or underscore, then letters, digits, underscores; at most 80 in all. It
    does not look like an id, and is not a word of the condition language.
    """
    if is_id(text) or text in RESERVED_WORDS:
        return False
    return _ALIAS.fullmatch(text) is not None


def slug(title: str) -> str:
    """Make an alias from *title*: ``"Task D"`` becomes ``task_d``."""
    words = re.sub(r"\W+", "_", mask(title).lower()).strip("_")
    text = words[:_MOST_SLUG_CHARS].rstrip("_")
    if not text:
        return "task"
    return text if is_alias(text) else f"task_{text}"[:_MOST_SLUG_CHARS]
