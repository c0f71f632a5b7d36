"""Git objects and refs that survive a power cut, and a ``git gc`` beside us.

Git and libgit2 leave new objects to the system, which writes them when it likes: after a power cut
they are empty files, and refs to them are broken. And what no ref names yet may be deleted by a
``git gc``. Here objects are put on disk before a ref names them, and kept until it does. All new
objects of a move go into one pack, so that a snapshot costs three waits for the disk instead of two
for each object.
"""

from __future__ import annotations

import hashlib
import zlib
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import pygit2
from pygit2.enums import SortMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.files import UnfitFileError
from vespera_orchestrator.home.reading import open_plain_file
from vespera_orchestrator.worktrees.packs import write_pack
from vespera_orchestrator.worktrees.tree_entries import FOLDER, SUBMODULE, read_entries
from vespera_orchestrator.worktrees.tree_survey import MOST_FILE_BYTES, blob_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

_MOST_COMMITS: Final = 1000
"""More commits than this at once were fetched, and a fetched pack is synced by git."""
_ID_LENGTH: Final = 40
_PIECE_BYTES: Final = 1_000_000


@attrs.frozen(kw_only=True)
class KnownCommits:
    """Commits that refs name, and that are on disk with all they need."""

    near: Collection[str]
    """Those that new commits are usually made from."""
    list_others: Callable[[], Collection[str]]
    """Returns the rest, which takes longer the more worktrees there are."""


def hold_objects(
    repo: pygit2.Repository,
    commits: Collection[str],
    known: KnownCommits,
    *,
    expected: str | None = None,
    kept: Collection[str] = (),
    durable: bool = True,
) -> str | None:
    """Write what *commits* need into one pack, which git leaves alone until it is released.

    A ``git gc --prune=now``, ``git prune`` or ``git repack -a -d`` deletes what no ref held when
    it read the refs, however young it is. It does not touch a pack that was kept when it looked,
    or was not there; and the next one sees the ref.

    Args:
        repo: The repository.
        commits: What refs are about to name.
        known: What need not be looked at.
        expected: What a ref names until it names one of *commits*.
        kept: Objects that are on disk in packs that git leaves alone.
        durable: Whether the pack is on disk when this returns.

    Returns:
        The pack, for `release_pack`; ``None`` where nothing is new.

    Raises:
        KeyError: An object is missing.
        pygit2.GitError: An object is damaged.
    """
    new = _NewObjects.of(repo, commits, known, expected=expected, kept=kept)
    new_elsewhere = (new.inherited | new.own).difference(kept)
    loose = _loose(repo, new_elsewhere)
    names = new.own.difference(kept).union(loose)
    if not names:
        return None
    pack = write_pack(repo, sorted(names), durable=durable, keep=True)
    _drop_loose(repo, loose)
    return pack


def sync_tree(repo: pygit2.Repository, tree: str, known: Iterable[str]) -> None:
    """Put a tree on disk, with everything that is in it and in none of the *known* commits.

    Raises:
        KeyError: An object is missing.
        pygit2.GitError: An object is damaged.
    """
    trees = [repo[commit].peel(pygit2.Tree).id.raw for commit in known]
    loose = _loose(repo, set(new_in_tree(repo, bytes.fromhex(tree), trees)))
    if loose:
        write_pack(repo, loose)
        _drop_loose(repo, loose)


@attrs.frozen(kw_only=True)
class _NewObjects:
    """What commits need and no known commit has, but for what is kept already."""

    own: set[str]
    """The commits themselves, what was written beside them, and what is new in their trees."""
    inherited: set[str]
    """The same of their ancestors, which others have made."""

    @classmethod
    def of(
        cls,
        repo: pygit2.Repository,
        commits: Collection[str],
        known: KnownCommits,
        *,
        expected: str | None,
        kept: Collection[str],
    ) -> _NewObjects:
        """Walk from *commits* to what is known. See `hold_objects` for the arguments."""
        held = [] if expected is None else [repo[expected].peel(pygit2.Commit).tree_id.raw]
        # The first parent is the work's; the others hold what was saved beside it.
        ours = {*commits}
        for name in commits:
            ours.update(str(parent) for parent in repo[name].parent_ids[1:])
        objects: dict[bool, set[str]] = {True: set(), False: set()}
        for commit in _new_commits(repo, commits, known, kept):
            names = objects[str(commit.id) in ours]
            names.add(str(commit.id))
            tree = commit.tree_id.raw
            # A save has usually just written all that is new since the one before. The trees of
            # the parents, of which a history has hundreds, are read only where it has not.
            if held and all(name in kept for name in new_in_tree(repo, tree, held)):
                continue
            before = [parent.tree_id.raw for parent in commit.parents]
            names.update(new_in_tree(repo, tree, [*before, *held]))
        return cls(own=objects[True], inherited=objects[False])


def _new_commits(
    repo: pygit2.Repository,
    commits: Collection[str],
    known: KnownCommits,
    kept: Collection[str],
) -> list[pygit2.Commit]:
    new: list[pygit2.Commit] = []
    for commit in _walk(repo, commits, known.near):
        if str(commit.id) not in kept:
            break  # somebody else has made it, and a ref may name it
        new.append(commit)
    else:
        return new
    walk = _walk(repo, commits, [*known.near, *known.list_others()])
    return list(islice(walk, _MOST_COMMITS))


def _walk(repo: pygit2.Repository, commits: Iterable[str], known: Iterable[str]) -> pygit2.Walker:
    walker = repo.walk(None, SortMode.NONE)
    for commit in commits:
        walker.push(pygit2.Oid(hex=commit))
    for commit in known:
        walker.hide(pygit2.Oid(hex=commit))
    return walker


def new_in_tree(repo: pygit2.Repository, tree: bytes, known: Collection[bytes]) -> Iterator[str]:
    """Yield the blobs and trees of *tree*, itself included, that no *known* tree has in that place.

    Folders that one of them has are not looked into: what a merge took whole from one side costs
    nothing.

    Raises:
        KeyError: A tree is missing.
    """
    # A few folders that each hold the others many times can stand for billions of paths.
    seen: set[tuple[bytes, tuple[bytes, ...]]] = set()
    folders = [(tree, tuple(known))]
    while folders:
        look = folders.pop()
        tree, peers = look
        if tree in peers or look in seen:
            continue
        seen.add(look)
        yield tree.hex()
        by_name: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for peer in peers:
            for mode, name, entry in read_entries(repo, peer):
                by_name.setdefault(name, []).append((mode, entry))
        for mode, name, entry in read_entries(repo, tree):
            same_name = by_name.get(name, ())
            if mode == SUBMODULE or any(peer == entry for _, peer in same_name):
                continue
            if mode == FOLDER:
                below = [peer for kind, peer in same_name if kind == mode]
                folders.append((entry, tuple(below)))
            else:
                yield entry.hex()


def _loose(repo: pygit2.Repository, names: Iterable[str]) -> list[str]:
    """Return the objects that are files of their own.

    Raises:
        KeyError: One of *names* is missing.
    """
    loose: list[str] = []
    for name in names:
        if _loose_file(repo, name).exists():
            if _is_of_usual_size(repo, name):
                loose.append(name)
        elif name not in repo:
            raise KeyError(name)
    return loose


def _is_of_usual_size(repo: pygit2.Repository, name: str) -> bool:
    """Tell whether libgit2, which has all of an object in memory, can put it into a pack.

    A larger one came from somebody else, with a commit that cannot land.
    """
    return blob_bytes(repo, name) <= MOST_FILE_BYTES


def _drop_loose(repo: pygit2.Repository, names: Iterable[str]) -> None:
    """Delete files of objects that are in a pack: after a power cut they would be found empty."""
    for name in names:
        _loose_file(repo, name).unlink(missing_ok=True)


def _loose_file(repo: pygit2.Repository, name: str) -> Path:
    return Path(repo.path, "objects", name[:2], name[2:])


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
        with open_plain_file(file) as stream:
            return _digest_of_packed(stream) == name
    except FileNotFoundError:
        return True  # it was packed just now
    except (UnfitFileError, zlib.error):
        return False


def _digest_of_packed(stream: IO[bytes]) -> str | None:
    """Return the digest of what a compressed stream holds; ``None`` where it is cut short.

    It takes little memory, however much the stream expands to.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    expander = zlib.decompressobj()
    waiting = b""
    while not expander.eof:
        packed = waiting or stream.read(_PIECE_BYTES)
        piece = expander.decompress(packed, _PIECE_BYTES)
        if not packed and not piece:
            return None
        digest.update(piece)
        waiting = expander.unconsumed_tail
    return digest.hexdigest()
