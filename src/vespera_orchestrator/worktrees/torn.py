"""What a power cut leaves of a file that was being written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_small_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PAGE: Final = 4096
"""Systems write files to disk in pieces of this size, in any order."""


def is_part_of(content: bytes, whole: bytes) -> bool:
    """Tell whether *content* holds nothing but pieces of *whole*, each in its place.

    Pieces that had not come to the disk are missing at the end, or hold NULs. An empty file is
    part of every other.
    """
    if len(content) > len(whole):
        return False
    for start in range(0, len(content), _PAGE):
        piece = content[start : start + _PAGE]
        if not whole.startswith(piece.rstrip(b"\0"), start):
            return False
    return True


def damaged_files(
    repo: pygit2.Repository, saved: Mapping[Path, str], *, any_missing: bool
) -> set[Path]:
    """Return the files that a power cut has damaged.

    Args:
        repo: The repository.
        saved: For each file the object that holds what was saved of it.
        any_missing: Whether every missing file counts as damaged, and not only where others are.
    """
    missing = {file for file in saved if not os.path.lexists(file)}
    damaged = {file for file, name in saved.items() if _is_cut_short(repo, file, name)}
    return damaged | missing if damaged or any_missing else damaged


def _is_cut_short(repo: pygit2.Repository, file: Path, saved: str) -> bool:
    """Tell whether a file holds only parts of what was saved of it, as the object *saved*."""
    if file.is_symlink() or not file.is_file():
        return False
    _, size = repo.odb.read_header(pygit2.Oid(hex=saved))
    present = file.stat().st_size
    if present > size or (present == size > 0 and not _ends_with_nul(file)):
        return False
    content, whole = read_small_file(file, MOST_GIT_BYTES), repo[saved].data
    return content != whole and is_part_of(content, whole)


def _ends_with_nul(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\0"
