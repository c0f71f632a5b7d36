"""Writing trees and commits, as git is configured to. No ref is moved here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator.worktrees.git_config import read_settings, read_signatures
from vespera_orchestrator.worktrees.signing import are_commits_signed, write_signed

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_commit(repo: pygit2.Repository, tree: str, parents: list[str], message: str) -> str:
    """Write a commit as git is configured to: with its author, and signed. No ref is moved."""
    signatures = read_signatures(repo)
    if is_signing(repo):
        return write_signed(repo, signatures, message=message, tree=tree, parents=parents)
    author, committer = signatures
    return str(repo.create_commit(None, author, committer, message, tree, parents))


def is_signing(repo: pygit2.Repository) -> bool:
    """Tell whether git is configured to sign every commit, which only git itself does."""
    return are_commits_signed(read_settings(repo))


def tree_with(repo: pygit2.Repository, base: str, files: Mapping[str, bytes | None]) -> str:
    """Write the tree of *base* with some files replaced or removed, and return its name."""
    index = pygit2.Index()
    tree = repo[base].peel(pygit2.Tree)
    index.read_tree(tree)
    for path, content in files.items():
        if content is None:
            if path in index:
                index.remove(path)
            continue
        mode = index[path].mode if path in index else FileMode.BLOB
        index.add(pygit2.IndexEntry(path, repo.create_blob(content), mode))
    return str(index.write_tree(repo))
