"""The entries of a tree, read as git stores them.

An object of pygit2 for each entry costs several times as much, which shows where a tree is large
and little of it is of interest.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import ObjectType

from vespera_orchestrator.worktrees.paths import display_path

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = b"40000"
"""The mode of a folder."""
SUBMODULE: Final = b"160000"
"""The mode of a submodule's commit."""
MOST_PATHS: Final = 1_000_000
"""A tree with more files is not looked through: a few bytes can stand for billions of them."""
MOST_LEVELS: Final = 200
"""How deep folders may lie in each other."""
_MOST_TREE_BYTES: Final = 100_000_000
"""A folder with a million names has less."""
_ENTRY: Final = re.compile(rb"0*([1-7][0-7]*) ([^\0]+)\0(.{20})", re.DOTALL)
"""Old programs wrote modes with a zero in front, which mean the same."""


def read_entries(repo: pygit2.Repository, tree: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return mode, name and object of each entry.

    Raises:
        KeyError: The tree is missing.
        pygit2.GitError: It is damaged, no tree, or larger than any.
    """
    oid = pygit2.Oid(raw=tree)
    kind, size_bytes = repo.odb.read_header(oid)
    if kind != ObjectType.TREE or size_bytes > _MOST_TREE_BYTES:
        raise pygit2.GitError(f"unable to read tree {oid}")
    _, content = repo.read(oid)
    return _ENTRY.findall(content)


def files_below(tree: pygit2.Tree) -> Iterator[tuple[str, pygit2.Object]]:
    """Yield path and entry of each file, link and submodule in a tree and its folders.

    Git looks at names when it writes a tree, and not when it receives one. Whoever writes files by
    these paths writes nowhere but below the folder that the tree stands for, unless a folder is a
    link there.

    Raises:
        ValueError: A name would lead somewhere else, or there are too many files or levels.
        KeyError: A folder is missing.
        pygit2.GitError: A folder is damaged.
    """
    folders = [("", 1, tree)]
    count = 0
    while folders:
        above, level, folder = folders.pop()
        if level > MOST_LEVELS:
            raise ValueError(f"its folders are more than {MOST_LEVELS} levels deep")
        for entry in folder:
            path = above + _plain_name(entry)
            if isinstance(entry, pygit2.Tree):
                folders.append((f"{path}/", level + 1, entry))
            else:
                yield path, entry
            count += 1
        if count > MOST_PATHS:
            raise ValueError(f"it has more than {MOST_PATHS:,} files")


def _plain_name(entry: pygit2.Object) -> str:
    name = os.fsdecode(entry.raw_name or b"")
    has_separator = "/" in name or os.sep in name
    if has_separator or name in ("", os.curdir, os.pardir):
        raise ValueError(f"it has a file of the name {display_path(name)!r}")
    return name


def new_submodules(
    repo: pygit2.Repository, tree: bytes, known: bytes | None, above: bytes = b""
) -> Iterator[tuple[bytes, bytes]]:
    """Yield path and commit of each submodule in *tree* that *known* does not have there.

    Folders that are the same are not looked into. It costs half of libgit2's comparison, which
    tells of the files as well.
    """
    listing = [] if known is None else read_entries(repo, known)
    folders = {name: folder for mode, name, folder in listing if mode == FOLDER}
    for mode, name, entry in set(read_entries(repo, tree)).difference(listing):
        if mode == SUBMODULE:
            yield above + name, entry
        elif mode == FOLDER:
            yield from new_submodules(repo, entry, folders.get(name), above + name + b"/")
