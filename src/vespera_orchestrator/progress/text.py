"""Text within a width or a budget."""

from __future__ import annotations

from typing import Final

CHARS_PER_TOKEN: Final = 4
"""How many characters are counted as one token; English prose and code have between 3 and 5."""


def tokens(text: str) -> int:
    """Estimate how many tokens *text* takes."""
    return -(-len(text) // CHARS_PER_TOKEN)


def clip(text: str, budget_tokens: int) -> str:
    """Cut *text* to about *budget_tokens*, at a line or a word, and say so with an ellipsis."""
    most = max(0, budget_tokens) * CHARS_PER_TOKEN
    if len(text) <= most:
        return text
    cut = text[: max(0, most - 2)]
    edge = max(cut.rfind("\n"), cut.rfind(" "))
    return (cut[:edge] if edge > len(cut) // 2 else cut).rstrip() + " …"


def one_line(text: str, width: int = 100) -> str:
    """Put *text* on one line of at most *width* characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"
