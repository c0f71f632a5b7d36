"""What a power cut leaves of a file that was being written."""

from __future__ import annotations

from typing import Final

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
