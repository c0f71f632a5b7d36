"""No link inside a home is followed: it could lead anywhere, and came with the home."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import UntrustedHomeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEPTH: Final = 2
"""How deep a home is searched: its folders, and what lies in them. Below are contents, which are
read by their digest and replaced by renaming. The index is searched throughout when it is opened.
"""
_EDITORS_LOCK: Final = ".#"
"""Emacs locks a file by a link of this name beside it, which leads nowhere."""
_REPLACED: Final = ".active_session"
"""Is read without following a link, and replaced by renaming."""
_REMEDIES: Final = {
    "artifacts": "; or name the folder with content = 'file:///…' in config.toml",
    "orchestrator.db": "; or name the file with [store] url = 'sqlite:///…' in config.toml",
}


def refuse_links(home: Path, depth: int = _DEPTH) -> None:
    """Refuse a home that has links in it, before anything is read or written through one.

    Raises:
        UntrustedHomeError: Names the link, and what to do about it.
    """
    for link in _links_in(os.fspath(home), depth):
        name = os.path.relpath(link, home)
        remedy = f"put the file or folder itself there, or remove the link{_REMEDIES.get(name, '')}"
        problem = f"{name} is a link, and no link inside a home is followed"
        raise UntrustedHomeError(str(home), problem, remedy)


def _links_in(folder: str, depth: int) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                is_harmless = entry.name == _REPLACED or entry.name.startswith(_EDITORS_LOCK)
                if not is_harmless:
                    yield entry.path
            elif depth > 1 and entry.is_dir(follow_symlinks=False):
                yield from _links_in(entry.path, depth - 1)
