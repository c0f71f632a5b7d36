"""Keeping new objects alive until a ref holds them, although a ``git gc`` may run meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeAlias

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator.worktrees.packs import write_pack
from vespera_orchestrator.worktrees.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

RawObject: TypeAlias = "tuple[int, bytes]"
"""An object's type and content, as the object database takes them."""

_TRIES: Final = 20
_OLD_GC_S: Final = 43_200.0
"""Git itself takes an older ``gc.pid`` for one that was left behind."""
_MOST_HELD_BYTES: Final = 8_000_000
"""Larger objects are not held in memory while a ref moves."""


def read_new_objects(
    repo: pygit2.Repository, commit: str, known: str | None, objects: Collection[str] | None
) -> dict[str, RawObject | None]:
    """Return the objects that were written for *commit*; ``None`` for one too large to be held.

    Args:
        repo: The repository.
        commit: The new commit.
        known: A commit that a ref holds already; by default the first parent. Further parents
            are held anyway.
        objects: The trees and blobs that were written, if the caller knows them. Otherwise they
            are found by comparing the tree of *commit* with those; a root commit has none.

    Raises:
        KeyError: One of them is gone: a ``git gc --prune=now`` ran before a ref held them.
    """
    names = [commit]
    if objects is not None:
        names += objects
    elif held := _trees_before(repo, commit, known):
        names += new_in_tree(repo[commit].tree, held)
    return {name: _read_raw(repo, name) for name in names}


def hold_against_gc(
    common: Path,
    open_repo: Callable[[], pygit2.Repository],
    objects: Mapping[str, RawObject | None],
) -> None:
    """Write objects again that a ``git gc --prune=now`` deleted before a ref held them.

    It deletes whatever no ref held when it read the refs, however young. While one runs, the
    objects go into a pack: it leaves alone a pack that it did not see when it started. The next
    one sees the ref.

    Args:
        common: The git directory that all worktrees share.
        open_repo: Opens the repository anew, without what it remembers of objects.
        objects: What to keep, from `read_new_objects`.
    """

    @retrying((KeyError, pygit2.GitError), times=_TRIES)  # the gc has just deleted one of them
    def write() -> None:
        is_running = _is_gc_running(common)
        repo = open_repo()
        for name, raw in objects.items():
            if raw is not None and name not in repo:
                repo.write(*raw)
        if is_running:
            write_pack(repo, objects)

    write()


def _is_gc_running(common: Path) -> bool:
    try:
        started = common.joinpath("gc.pid").stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - started < _OLD_GC_S


def _trees_before(repo: pygit2.Repository, commit: str, known: str | None) -> list[pygit2.Tree]:
    """Return the trees whose objects a ref holds already: of *known*, and of the parents."""
    parents = [parent.tree for parent in repo[commit].parents]
    if known is None:
        return parents
    return [repo[known].peel(pygit2.Tree), *parents[1:]]


def _read_raw(repo: pygit2.Repository, name: str) -> RawObject | None:
    _, size = repo.odb.read_header(name)
    if size > _MOST_HELD_BYTES:
        return None
    raw: RawObject = repo.read(name)
    return raw


def new_in_tree(tree: pygit2.Tree, known: Sequence[pygit2.Tree]) -> Iterator[str]:
    """Yield the blobs and trees of *tree*, itself included, that no *known* tree has in that place.

    Folders that one of them has are not looked into: what a merge took whole from one side costs
    nothing.
    """
    if any(tree.id == other.id for other in known):
        return
    yield str(tree.id)
    listings = [{entry.name: entry for entry in other} for other in known]
    for entry in tree:
        peers = [listing[entry.name] for listing in listings if entry.name in listing]
        if any(peer.id == entry.id for peer in peers):
            continue
        if isinstance(entry, pygit2.Tree):
            folders = [peer for peer in peers if isinstance(peer, pygit2.Tree)]
            yield from new_in_tree(entry, folders)
        elif entry.filemode != FileMode.COMMIT:
            yield str(entry.id)
