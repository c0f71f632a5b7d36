"""New objects of one save or landing: in memory, until a ref is about to name them.

libgit2 writes each new object into a file of its own. A save would write some thirty, read them
again to put them into a pack, compress them a second time, and delete them: two thirds of its time.
Here they are compressed once, into one pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator.worktrees.pack_format import GitObject
from vespera_orchestrator.worktrees.packs import (
    is_kept,
    release_pack,
    write_file_pack,
    write_new_pack,
)

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES: Final = 32_000_000
"""When there is more than this, it is written before it is needed."""
LARGE_FILE_BYTES: Final = 8_000_000
"""Files above this are not read into memory as a whole."""
_FIRST: Final = 1000
"""Above the priority of libgit2's own places, so that new objects come here."""


class Staging:
    """Collects what repositories write that it is attached to.

    Others do not see it before `write`: no other process, no git, and no repository that was opened
    without it.
    """

    def __init__(self, common: Path, *, durable: bool) -> None:
        """Take the places to work in.

        Args:
            common: The git directory that all worktrees share.
            durable: Whether what was written survives a power cut.
        """
        self._common = common
        self._durable = durable
        self._objects = _Objects()
        self._packs: dict[str, frozenset[str]] = {}
        """Packs that git leaves alone until `release`, and the objects in them."""

    def attach(self, repo: pygit2.Repository) -> pygit2.Repository:
        """Let *repo* read what is here, and write here; return it."""
        repo.odb.add_backend(_Backend(self._objects), _FIRST)
        return repo

    def write(self) -> None:
        """Write what there is into a pack, which git leaves alone until `release`.

        Raises:
            OSError: The file system refused; nothing is lost.
        """
        if not self._objects:
            return
        pack = write_new_pack(self._common, self._objects, durable=self._durable)
        self._packs[pack] = frozenset(name.hex() for name in self._objects)
        self._objects.clear()

    def write_file(self, file: Path) -> str:
        """Write a file as it is, however large, into a pack of its own; return the blob.

        Git leaves it alone until `release`.

        Raises:
            OSError: The file system refused, or the file changed while it was read.
        """
        pack, name = write_file_pack(self._common, file, durable=self._durable)
        self._packs[pack] = frozenset({name})
        return name

    def relieve(self) -> None:
        """Write what there is where it takes much memory."""
        if self._objects.size_bytes > MOST_BYTES:
            self.write()

    def kept_names(self) -> set[str]:
        """Return the objects that no git can delete: they are in packs that it leaves alone."""
        kept = [names for pack, names in self._packs.items() if is_kept(self._common, pack)]
        return set().union(*kept)

    def keep(self, pack: str) -> None:
        """Release one more pack by `release`."""
        self._packs[pack] = frozenset()

    def release(self) -> bool:
        """Let git treat the packs like any others: refs name what is in them, or nobody will.

        Returns:
            Whether there were any.
        """
        packs = list(self._packs)
        for pack in packs:
            release_pack(self._common, pack)
        self._packs.clear()
        return bool(packs)


class Held:
    """What refs are about to name, kept from git until it is released."""

    def __init__(self, repo: pygit2.Repository, staging: Staging) -> None:
        """Take the repository, opened when everything was there, and what keeps it so."""
        self.repo = repo
        self._staging = staging

    def keeps(self, commit: str) -> bool:
        """Tell whether git leaves *commit* alone, also if we have slept for long."""
        return commit in self._staging.kept_names()


class _Objects(dict[bytes, GitObject]):
    """Objects by their names, and how large they are together."""

    def __init__(self) -> None:
        super().__init__()
        self.size_bytes = 0

    def __setitem__(self, name: bytes, item: GitObject) -> None:
        if name not in self:
            self.size_bytes += len(item.content)
        super().__setitem__(name, item)

    def clear(self) -> None:
        super().clear()
        self.size_bytes = 0


class _Backend(pygit2.OdbBackend):  # type: ignore[misc] # pygit2 has no types
    """What libgit2 asks first for objects, and gives new ones to.

    pygit2 calls it also where libgit2 works without the interpreter's lock, since 1.21. Before, it
    crashed the interpreter.
    """

    def __init__(self, objects: dict[bytes, GitObject]) -> None:
        super().__init__()
        self._objects = objects

    def write_cb(self, name: pygit2.Oid, content: bytes, kind: int) -> None:
        self._objects[name.raw] = GitObject(kind=kind, content=content)

    def read_cb(self, name: pygit2.Oid) -> tuple[int, bytes]:
        item = self._objects[name.raw]
        return item.kind, item.content

    def read_header_cb(self, name: pygit2.Oid) -> tuple[int, int]:
        item = self._objects[name.raw]
        return item.kind, len(item.content)

    def exists_cb(self, name: pygit2.Oid) -> bool:
        return name.raw in self._objects

    def read_prefix_cb(self, prefix: str) -> tuple[int, bytes, pygit2.Oid]:
        name = self.exists_prefix_cb(prefix)
        return *self.read_cb(name), name

    def exists_prefix_cb(self, prefix: str) -> pygit2.Oid:
        # pygit2 asks with whole names. Nobody can know a part of one that is new.
        name = pygit2.Oid(hex=prefix)
        if name.raw not in self._objects:
            raise KeyError(prefix)
        return name

    def refresh_cb(self) -> None:
        """Do nothing: it is always up to date."""
