"""How much is in a tree, found out before libgit2 or the disk has to take it.

A few bytes that somebody sends can stand for billions of files, or for gigabytes: ten folders that
each hold the same ten folders, or a file of one letter. libgit2 goes through all of it without an
end, and reads every file whole. So each tree that is checked out, merged or compared is surveyed
first. That costs one look at each different folder, however often it is in the tree; where files
are written or merged as a whole, one at each different file, too.
"""

from __future__ import annotations

import os
from typing import Final

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import UnsupportedRepositoryError
from vespera_orchestrator.worktrees.paths import display_path
from vespera_orchestrator.worktrees.tree_entries import (
    FOLDER,
    MOST_LEVELS,
    MOST_PATHS,
    SUBMODULE,
    read_entries,
)

MOST_FILE_BYTES: Final = 1_000_000_000
"""A larger file is not read. libgit2 has all of a file in memory, and of a merge all three."""
_ATTRIBUTES: Final = b".gitattributes"
_LINK: Final = b"120000"
_REMEDY: Final = (
    "take it out of the branch, or work without worktrees in this repository; "
    "everything else of the orchestrator works"
)


@attrs.frozen(kw_only=True)
class TreeContents:
    """What a tree holds, with all folders below."""

    paths: int
    """How many files and folders."""
    levels: int
    """How deep folders lie in each other."""
    attributes: tuple[tuple[str, bytes], ...]
    """Path and object of each file ``.gitattributes``."""


class TreeSurvey:
    """Surveys trees, and remembers them by their names."""

    def __init__(self) -> None:
        self._contents: dict[bytes, TreeContents] = {}
        self._sizes: dict[bytes, int] = {}

    def contents(self, repo: pygit2.Repository, tree: bytes, level: int = 0) -> TreeContents:
        """Return what is in a tree.

        Args:
            repo: The repository.
            tree: The tree.
            level: How deep it is known to lie in others.

        Raises:
            UnsupportedRepositoryError: It has too many files or levels.
            KeyError: A folder is missing.
            pygit2.GitError: A folder is damaged, or larger than a folder can be.
        """
        contents = self._contents.get(tree)
        if contents is None:
            if level > MOST_LEVELS:
                raise _too_deep()
            contents = self._sum_up(repo, tree, level)
            self._contents[tree] = contents
        return contents

    def _sum_up(self, repo: pygit2.Repository, tree: bytes, level: int) -> TreeContents:
        entries = read_entries(repo, tree)
        paths, levels = len(entries), 0
        attributes: list[tuple[str, bytes]] = []
        looked_into = [each for each in entries if each[0] == FOLDER or each[1] == _ATTRIBUTES]
        for mode, raw_name, entry in looked_into:
            if mode == FOLDER:
                name = os.fsdecode(raw_name)
                below = self.contents(repo, entry, level + 1)
                paths += below.paths
                levels = max(levels, below.levels + 1)
                attributes += [(f"{name}/{path}", blob) for path, blob in below.attributes]
            elif mode != _LINK:
                attributes.append((os.fsdecode(raw_name), entry))
        if levels > MOST_LEVELS:
            raise _too_deep()
        if paths > MOST_PATHS:
            raise UnsupportedRepositoryError(f"more than {MOST_PATHS:,} files in a commit", _REMEDY)
        return TreeContents(paths=paths, levels=levels, attributes=tuple(attributes))

    def size_bytes(self, repo: pygit2.Repository, tree: bytes, above: str = "") -> int:
        """Return how much room the files of a tree take, whose `contents` are known.

        It looks at each different file, and costs about a thirtieth of writing them.

        Args:
            repo: The repository.
            tree: The tree.
            above: Its path, with a slash at the end, for the error.

        Raises:
            UnsupportedRepositoryError: One is too large.
            KeyError: A folder is missing.
            pygit2.GitError: An object is damaged.
        """
        size_bytes = self._sizes.get(tree)
        if size_bytes is not None:
            return size_bytes
        size_bytes = 0
        for mode, name, entry in read_entries(repo, tree):
            if mode == FOLDER:
                size_bytes += self.size_bytes(repo, entry, f"{above}{os.fsdecode(name)}/")
            elif mode != SUBMODULE:
                size_bytes += self._file_bytes(repo, entry, above, name)
        self._sizes[tree] = size_bytes
        return size_bytes

    def _file_bytes(self, repo: pygit2.Repository, blob: bytes, above: str, name: bytes) -> int:
        """Return the size of a file; 0 where it is missing, which whoever reads it tells."""
        size_bytes = self._sizes.get(blob)
        if size_bytes is None:
            try:
                size_bytes = blob_bytes(repo, blob.hex())
            except KeyError:
                return 0
            self._sizes[blob] = size_bytes
        if size_bytes > MOST_FILE_BYTES:
            path = display_path(above + os.fsdecode(name))
            raise UnsupportedRepositoryError(f"a file of {size_bytes:,} bytes ({path})", _REMEDY)
        return size_bytes


def _too_deep() -> UnsupportedRepositoryError:
    return UnsupportedRepositoryError(f"folders more than {MOST_LEVELS} levels deep", _REMEDY)


def blob_bytes(repo: pygit2.Repository, name: str) -> int:
    """Return the size of a file, without reading it.

    Raises:
        KeyError: It is missing.
        pygit2.GitError: It is damaged.
    """
    _, size_bytes = repo.odb.read_header(pygit2.Oid(hex=name))
    return int(size_bytes)


def read_blob(repo: pygit2.Repository, name: str, most_bytes: int = MOST_FILE_BYTES) -> bytes:
    """Return the content of a file. A few bytes in a pack can stand for gigabytes.

    Raises:
        KeyError: It is missing.
        pygit2.GitError: It is damaged, no file, or larger.
    """
    size_bytes = blob_bytes(repo, name)
    if size_bytes > most_bytes:
        raise pygit2.GitError(f"it has {size_bytes:,} bytes; at most {most_bytes:,} are read")
    return bytes(repo[name].peel(pygit2.Blob).data)
