"""Git objects and refs that survive a power cut.

Git and libgit2 leave new objects to the system, which writes them when it likes: after a power cut
they are empty files, and refs to them are broken. Here they are put on disk before a ref names
them. All new objects of a move go into one pack, so that a snapshot costs three waits for the disk
instead of two for each object.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import Option, SortMode

from vespera_orchestrator.home.files import sync_folder
from vespera_orchestrator.worktrees.gc_guard import new_in_tree
from vespera_orchestrator.worktrees.packs import write_pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST_COMMITS: Final = 1000
"""More commits than this at once were fetched, and a fetched pack is synced by git."""
_ID_LENGTH: Final = 40
_writers = threading.Lock()
_depth = 0


def sync_objects(repo: pygit2.Repository, commits: Iterable[str], durable: Iterable[str]) -> None:
    """Put everything on disk that *commits* need, in one pack.

    Args:
        repo: The repository.
        commits: What refs are about to name.
        durable: Commits that are on disk already, with all they need.

    Raises:
        KeyError: An object is missing.
        pygit2.GitError: An object is damaged.
    """
    _sync(repo, _needed(repo, commits, durable))


def sync_tree(repo: pygit2.Repository, tree: str, known: Iterable[str]) -> None:
    """Put a tree on disk, with everything that is in it and in none of the *known* commits.

    Raises:
        KeyError: An object is missing.
        pygit2.GitError: An object is damaged.
    """
    trees = [repo[commit].peel(pygit2.Tree) for commit in known]
    _sync(repo, set(new_in_tree(repo[tree].peel(pygit2.Tree), trees)))


def _sync(repo: pygit2.Repository, needed: set[str]) -> None:
    missing = [name for name in needed if name not in repo]
    if missing:
        raise KeyError(missing[0])
    loose = [name for name in needed if _loose_file(repo, name).exists()]
    if not loose:
        return
    write_pack(repo, loose)
    for name in loose:  # they are not on disk, and would be found empty after a power cut
        _loose_file(repo, name).unlink(missing_ok=True)


def _needed(repo: pygit2.Repository, commits: Iterable[str], durable: Iterable[str]) -> set[str]:
    """Return the objects of *commits* and their ancestors that no durable commit has."""
    first, *others = commits
    walker = repo.walk(pygit2.Oid(hex=first), SortMode.NONE)
    for commit in others:
        walker.push(pygit2.Oid(hex=commit))
    for known in durable:
        walker.hide(pygit2.Oid(hex=known))
    needed: set[str] = set()
    for number, ancestor in enumerate(walker):
        if number == _MOST_COMMITS:
            break
        needed.add(str(ancestor.id))
        before = [parent.tree for parent in ancestor.parents]
        needed.update(new_in_tree(ancestor.tree, before))
    return needed


def _loose_file(repo: pygit2.Repository, name: str) -> Path:
    return Path(repo.path, "objects", name[:2], name[2:])


def sync_ref(common: Path, ref: str, *, with_folders: bool) -> None:
    """Put the name of a ref's file on disk.

    Args:
        common: The git directory that all worktrees share.
        ref: The ref.
        with_folders: Also put the names of the folders above it there, which may be new.
    """
    file = common / ref
    for folder in file.parents:
        with suppress(FileNotFoundError):  # an empty folder may have been removed meanwhile
            sync_folder(folder)
        if folder == common or not with_folders:
            return


@contextmanager
def synced_refs(*, is_wanted: bool) -> Iterator[None]:
    """Let libgit2 write refs so that a power cut leaves the old value or the new one.

    It takes effect for repositories that are opened within the block. The setting is libgit2's,
    for the whole process: while several threads are in such a block, it stays.
    """
    global _depth  # noqa: PLW0603 - it counts for a setting that is global itself
    if not is_wanted:
        yield
        return
    with _writers:
        _depth += 1
        pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    try:
        yield
    finally:
        with _writers:
            _depth -= 1
            if not _depth:
                pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)


def set_aside_damaged(common: Path, workshop: Path) -> list[str]:
    """Move loose objects away that are damaged, and return their names.

    Git and libgit2 take an object for written when its file is there, however damaged: an object
    of that name would never be written again. What is not the object of its name has no value; it
    is kept below *workshop* all the same.
    """
    damaged = []
    for file in common.joinpath("objects").glob("[0-9a-f][0-9a-f]/*"):
        name = file.parent.name + file.name
        if len(name) != _ID_LENGTH or _is_sound(file, name):
            continue
        place = workshop / "damaged-objects"
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            file.replace(place / name)
        damaged.append(name)
    return damaged


def _is_sound(file: Path, name: str) -> bool:
    """Tell whether a loose object's file holds what its name says."""
    try:
        content = zlib.decompress(file.read_bytes())
    except FileNotFoundError:
        return True  # it was packed just now
    except zlib.error:
        return False
    return hashlib.sha1(content, usedforsecurity=False).hexdigest() == name
