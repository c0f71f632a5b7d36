"""What git ignores, and the patterns that say so."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_small_file

if TYPE_CHECKING:
    from pathlib import Path

    import pygit2


def is_ignored(repo: pygit2.Repository, path: str) -> bool:
    """Tell whether git ignores *path*; ``False`` for a name that is not UTF-8."""
    try:
        return bool(repo.path_is_ignored(path))
    except ValueError:
        return False


def escape(path: str) -> str:
    """Return the pattern that means exactly this path."""
    return re.sub(r"([\\*?\[ ])", r"\\\1", path)


def add_pattern(exclude: Path, pattern: str) -> None:
    """Add a line to a file with patterns, which may not end with a line break."""
    exclude.parent.mkdir(exist_ok=True)
    before = read_small_file(exclude, MOST_STATE_BYTES) if exclude.exists() else b""
    line_break = b"\n" if before and not before.endswith(b"\n") else b""
    with exclude.open("ab") as stream:
        stream.write(line_break + os.fsencode(pattern) + b"\n")
