"""Paths inside a tree, which may be any bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_NAMED: Final = 5
"""As many names fit a line."""


def display_path(path: str) -> str:
    """Return *path*, which may be any bytes, as text that can be shown."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def display_paths(paths: Iterable[str]) -> str:
    """Return the first few of *paths*, and how many more there are."""
    every = [display_path(path) for path in paths]
    text = ", ".join(every[:_MOST_NAMED])
    if len(every) > _MOST_NAMED:
        text += f" and {len(every) - _MOST_NAMED} more"
    return text


def folders_above(path: str) -> list[str]:
    """Return the folders that a path lies in, the outermost first."""
    parts = path.split("/")
    ends = range(1, len(parts))
    return ["/".join(parts[:end]) for end in ends]
