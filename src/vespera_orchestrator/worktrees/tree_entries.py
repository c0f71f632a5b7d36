"""The entries of a tree, read as git stores them.

An object of pygit2 for each entry costs several times as much, which shows where a tree is large
and little of it is of interest.
"""

from __future__ import annotations

import re
from typing import Final

import pygit2

FOLDER: Final = b"40000"
"""The mode of a folder."""
SUBMODULE: Final = b"160000"
"""The mode of a submodule's commit."""
_ENTRY: Final = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)


def read_entries(repo: pygit2.Repository, tree: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return mode, name and object of each entry.

    Raises:
        KeyError: The tree is missing.
        pygit2.GitError: It is damaged.
    """
    _, content = repo.read(pygit2.Oid(raw=tree))
    return _ENTRY.findall(content)
