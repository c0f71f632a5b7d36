"""Paths inside a tree, which may be any bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._text import first_names

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_NAMED: Final = 5
"""As many names fit a line."""


def display_path(path: str) -> str:
    """Return *path*, which may be any bytes, as text that can be shown."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def display_paths(paths: Iterable[str]) -> str:
    """Return the first few of *paths*, and how many more there are."""
    return first_names([display_path(path) for path in paths], _MOST_NAMED)


def folders_above(path: str) -> list[str]:
    """Return the folders that a path lies in, the outermost first."""
    parts = path.split("/")
    ends = range(1, len(parts))
    return ["/".join(parts[:end]) for end in ends]
