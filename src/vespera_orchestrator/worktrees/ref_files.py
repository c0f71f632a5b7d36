"""Refs as git's own files tell them: read without git, and without libgit2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_small_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINKS: Final = 5
"""Git follows this many symbolic refs."""


def read_ref(common: Path, ref: str) -> str | None:
    """Return the commit that *ref* names, read from git's own files, or ``None``.

    libgit2 looks for the ref's own file, then into ``packed-refs``, and does not look again: a
    ref that was packed, and is written as a file of its own between the two looks, is answered
    with its old value.

    Args:
        common: The git directory that all worktrees share.
        ref: The ref's full name.
    """
    for _ in range(_MOST_LINKS):
        loose = read_text_if_present(common / ref)
        if loose is None:
            return _read_packed(common, ref)
        if not loose.startswith("ref:"):
            return loose.strip()
        ref = loose.removeprefix("ref:").strip()
    return None


def list_refs(common: Path, prefix: str) -> dict[str, str]:
    """Return the refs below *prefix*, which ends with a slash, and what they name."""
    refs: dict[str, str] = {}
    for name in _ref_names(common, prefix):
        target = read_ref(common, name)
        if target is not None:
            refs[name] = target
    return refs


def read_text_if_present(path: Path) -> str | None:
    """Return the text of one of git's files; ``None`` where there is no such file."""
    try:
        return read_small_text(path, MOST_GIT_BYTES, errors="surrogateescape")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _ref_names(common: Path, prefix: str) -> list[str]:
    # Loose ones first: a ref that is packed between the two looks is found by the second one.
    names: set[str] = set()
    for folder, _, files in os.walk(common / prefix):
        for name in files:
            if not name.endswith(".lock"):
                names.add(Path(folder, name).relative_to(common).as_posix())
    for _, name in packed_refs(common):
        if name.startswith(prefix):
            names.add(name)
    return sorted(names)


def _read_packed(common: Path, ref: str) -> str | None:
    for commit, name in packed_refs(common):
        if name == ref:
            return commit
    # Between the two reads it may have been written as a file of its own.
    loose = read_text_if_present(common / ref)
    return None if loose is None or loose.startswith("ref:") else loose.strip()


def packed_refs(common: Path) -> Iterator[tuple[str, str]]:
    """Yield commit and name of each ref in ``packed-refs``."""
    for line in (read_text_if_present(common / "packed-refs") or "").splitlines():
        if not line.startswith(("#", "^")):
            commit, _, name = line.partition(" ")
            yield commit, name
