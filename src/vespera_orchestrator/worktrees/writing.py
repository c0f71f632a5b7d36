"""Writing trees and commits, as git is configured to. No ref is moved here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator.worktrees import tree_merge
from vespera_orchestrator.worktrees.git_config import read_settings, read_signatures
from vespera_orchestrator.worktrees.signing import are_commits_signed, write_signed
from vespera_orchestrator.worktrees.tree_merge import entry_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator.worktrees.tree_merge import File


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
    """Write the tree of *base* with some files replaced or removed, and return its name.

    Only the folders of these files are read and written.
    """
    tree = repo[base].peel(pygit2.Tree)
    written = tree_merge.tree_with(
        repo, tree, {path: _store(repo, tree, path, content) for path, content in files.items()}
    )
    if written is None:  # pragma: no cover - settings and documents have no such names
        raise ValueError(f"a name among {sorted(files)!r} is not UTF-8")
    return written


def _store(repo: pygit2.Repository, tree: pygit2.Tree, path: str, content: bytes | None) -> File:
    """Write a file's content, and return it with the mode that the file had."""
    if content is None:
        return None
    present = entry_at(tree, path)
    mode = int(FileMode.BLOB) if present is None else present[1]
    return str(repo.create_blob(content)), mode
