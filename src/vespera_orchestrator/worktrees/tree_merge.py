"""Merging path by path: what is changed on neither side, or on one, need not be looked into.

libgit2 merges whole trees and writes them anew, which grows with the number of files. This grows with the number of changes. It is the same
merge as long as no name stands for a file here and a folder there, and nothing may have been renamed; it says so where it cannot tell.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, TypeAlias

import pygit2
from pygit2.enums import FileMode
from pygit2.ffi import C, ffi

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

File: TypeAlias = "tuple[str, int] | None"
"""Object and mode of a path; ``None`` where there is no file."""
Merged: TypeAlias = "File | Literal[False]"
"""What becomes of a path; ``False`` for a conflict."""
Changes: TypeAlias = "dict[str, tuple[File, File]]"
"""For each path that was changed, the file before and after."""


def merged_tree(
    repo: pygit2.Repository, base: pygit2.Tree, ours: pygit2.Tree, theirs: pygit2.Tree
) -> str | None:
    """Write the merged tree and return it; ``None`` where it takes a merge of the whole, or there is a conflict."""
    mine, others = changes(base, ours), changes(base, theirs)
    if have_clash(mine, others) or may_be_renamed(mine, others):
        return None
    files, found = FileMerges(repo), {}
    for path, (before, after) in others.items():
        merged = files.merge(path, before, mine[path][1], after) if path in mine else after
        if merged is False:
            return None
        found[path] = merged
    return tree_with(repo, ours, found)


def tree_with(repo: pygit2.Repository, tree: pygit2.Tree, files: Mapping[str, File]) -> str | None:
    """Write *tree* with *files* instead of its own at these paths; ``None`` where pygit2 has no name for one of them."""
    if not all(_is_plain(path) for path in files):
        return None
    written = _written(repo, tree, {path.encode(): file for path, file in files.items()})
    return str(repo.TreeBuilder().write() if written is None else written)


def _is_plain(path: str) -> bool:
    """Tell whether pygit2 can name it when it builds a tree."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _written(
    repo: pygit2.Repository, tree: pygit2.Tree | None, files: Mapping[bytes, File]
) -> pygit2.Oid | None:
    """Write *tree* with *files* instead of its own; ``None`` where nothing is left."""
    builder = repo.TreeBuilder() if tree is None else repo.TreeBuilder(tree)
    folders: dict[bytes, dict[bytes, File]] = {}
    for path, file in sorted(
        files.items(), key=lambda item: item[1] is not None
    ):  # removals first: a file may become a folder
        name, _, below = path.partition(b"/")
        if below:
            folders.setdefault(name, {})[below] = file
        elif file is not None:
            builder.insert(name.decode(), pygit2.Oid(hex=file[0]), FileMode(file[1]))
        elif builder.get(name.decode()) is not None:
            builder.remove(name.decode())
    for name, below_it in folders.items():
        shown = name.decode()
        found = builder.get(shown)
        new = _written(repo, found if isinstance(found, pygit2.Tree) else None, below_it)
        if new is not None:
            builder.insert(shown, new, FileMode.TREE)
        elif isinstance(found, pygit2.Tree):
            builder.remove(shown)
    return builder.write() if len(builder) else None


class FileMerges:
    """Merges single files of one repository, each once."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self.repo = repo
        self._merged: dict[tuple[bool, File, File, File], Merged] = {}

    def merge(self, path: str, base: File, one: File, two: File) -> Merged:
        """Return the merged file (``None`` where it is gone), or ``False`` where both do not go together."""
        if two in (one, base):
            return one
        if one == base:
            return two
        if one is None or two is None:
            return False
        key = (is_text(self.repo, path), base, one, two)
        if key not in self._merged:
            self._merged[key] = self._merge(*key)
        return self._merged[key]

    def _merge(self, text: bool, base: File, one: tuple[str, int], two: tuple[str, int]) -> Merged:  # noqa: FBT001 - from `key`
        modes = {one[1], two[1], *([] if base is None else [base[1]])}
        if not modes <= {FileMode.BLOB, FileMode.BLOB_EXECUTABLE}:
            return False
        mode = (
            max(modes) if base is None else two[1] if one[1] == base[1] else one[1]
        )  # the larger one is executable
        if one[0] == two[0] or (base is not None and base[0] == two[0]):
            return one[0], mode
        if base is not None and base[0] == one[0]:
            return two[0], mode
        merged = _merge_blobs(self.repo, base, one, two) if text else None
        return False if merged is None else (str(self.repo.create_blob(merged)), mode)


def is_text(repo: pygit2.Repository, path: str) -> bool:
    """Tell whether two versions of a file may be put together line by line: ``binary`` and ``-merge`` in ``.gitattributes`` forbid it."""
    return repo.get_attr(os.fsencode(path), "merge") not in (False, "binary")


def _merge_blobs(
    repo: pygit2.Repository, base: File, one: tuple[str, int], two: tuple[str, int]
) -> bytes | None:
    """Return the merged content, or ``None`` where it conflicts or is no text."""
    result = ffi.new("git_merge_file_result *")
    entries = [
        None
        if side is None
        else pygit2.IndexEntry("file", pygit2.Oid(hex=side[0]), FileMode(side[1]))
        for side in (base, one, two)
    ]
    held = [(ffi.NULL, None) if entry is None else entry._to_c() for entry in entries]  # noqa: SLF001 - as in `merge`
    pointers = [pointer for pointer, _ in held]
    if C.git_merge_file_from_index(result, repo._repo, *pointers, ffi.NULL) < 0:  # noqa: SLF001 - see above
        return None
    try:
        return (
            bytes(ffi.buffer(result.ptr, result.len))
            if result.automergeable and result.ptr != ffi.NULL
            else None
        )
    finally:
        C.git_merge_file_result_free(result)


def changes(base: pygit2.Tree, other: pygit2.Tree) -> Changes:
    """Return what is different in *other*. Folders that are the same are not looked into, as libgit2's own comparison does."""
    found: Changes = {}
    _compare(base, other, b"", found)
    return found


def entry_at(tree: pygit2.Tree, path: str) -> File:
    """Return object and mode of the file at *path*, whose name may be any bytes; ``None`` where there is none."""
    at: pygit2.Object = tree
    for part in os.fsencode(path).split(b"/"):
        if not isinstance(at, pygit2.Tree):
            return None
        found = next((entry for entry in at if entry.raw_name == part), None)
        if found is None:
            return None
        at = found
    return (str(at.id), int(at.filemode)) if not isinstance(at, pygit2.Tree) else None


def _compare(
    one: Iterable[pygit2.Object], two: Iterable[pygit2.Object], above: bytes, found: Changes
) -> None:
    before = {(entry.raw_name, entry.id, entry.filemode): entry for entry in one}
    after = {(entry.raw_name, entry.id, entry.filemode): entry for entry in two}
    sides = [
        {key[0]: side[key] for key in side.keys() - other.keys()}
        for side, other in ((before, after), (after, before))
    ]
    for name in sides[0].keys() | sides[1].keys():
        old, new = (side.get(name) for side in sides)
        if isinstance(old, pygit2.Tree) or isinstance(new, pygit2.Tree):
            below = [side if isinstance(side, pygit2.Tree) else () for side in (old, new)]
            _compare(below[0], below[1], above + name + b"/", found)
        files = _file(old), _file(new)
        if files != (None, None):
            found[os.fsdecode(above + name)] = files


def _file(entry: pygit2.Object | None) -> File:
    return (
        None
        if entry is None or isinstance(entry, pygit2.Tree)
        else (str(entry.id), int(entry.filemode))
    )


def folders_above(path: str) -> list[str]:
    """Return the folders that a path lies in."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def have_clash(one: Changes, two: Changes) -> bool:
    """Tell whether one has a file where the other needs a folder."""
    for here, there in ((one, two), (two, one)):
        folders = {
            above
            for path, (_, new) in here.items()
            if new is not None
            for above in folders_above(path)
        }
        if any(path in folders and new is not None for path, (_, new) in there.items()):
            return True
    return False


def may_be_renamed(one: Changes, two: Changes) -> bool:
    """Tell whether a path that both have changed may be the old or the new name of a renamed file."""
    common = one.keys() & two.keys()
    for side in (one, two) if common else ():
        removes, adds = (any(file[place] is None for file in side.values()) for place in (1, 0))
        if removes and adds and any(None in side[path] for path in common):
            return True
    return False
