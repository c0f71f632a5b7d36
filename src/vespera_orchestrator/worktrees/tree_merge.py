"""Merging path by path: a file that one side or neither has changed needs no look into it.

libgit2 merges whole trees and writes them anew, which grows with the number of files. This grows
with the number of changes. It is the same merge as long as no name stands for a file on one side
and a folder on the other, and nothing may have been renamed; it says so where it cannot tell.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.merge_drivers import UNION, MergeDrivers
from vespera_orchestrator.worktrees.paths import folders_above
from vespera_orchestrator.worktrees.tree_entries import FOLDER, MOST_LEVELS, read_entries
from vespera_orchestrator.worktrees.tree_survey import MOST_FILE_BYTES, blob_bytes, read_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

File: TypeAlias = "tuple[str, int] | None"
"""Object and mode of a path; ``None`` where there is no file."""
MergedFile: TypeAlias = "File | Literal[False]"
"""What becomes of a path; ``False`` for a conflict."""
Changes: TypeAlias = "dict[str, tuple[File, File]]"
"""For each path that was changed, the file before and after."""

MergeText: TypeAlias = "Callable[[str, bytes, bytes, bytes], bytes | None]"
"""Merges a file that both sides have changed: its path, what it was, ours, theirs. ``None`` where
it cannot.
"""

MOST_CHANGES: Final = 250_000
"""More than this takes longer than anybody waits for a comparison."""
_PLAIN_FILES = frozenset({FileMode.BLOB, FileMode.BLOB_EXECUTABLE})


# --- merging ----------------------------------------------------------------


def merged_tree(
    merges: FileMerges, base: pygit2.Tree, ours: pygit2.Tree, theirs: pygit2.Tree
) -> str | None:
    """Write the merged tree and return it.

    ``None`` where it takes a merge of the whole, or there is a conflict.
    """
    if ours.id == base.id:
        return str(theirs.id)  # nobody else has landed anything since
    repo = merges.repo
    our_changes, their_changes = changes(repo, base, ours), changes(repo, base, theirs)
    if have_clash(our_changes, their_changes) or may_be_renamed(our_changes, their_changes):
        return None
    merged_files: dict[str, File] = {}
    for path, (before, after) in their_changes.items():
        merged: MergedFile = after
        if path in our_changes:
            merged = merges.merge(path, before, our_changes[path][1], after)
        if merged is False:
            return None
        merged_files[path] = merged
    return tree_with(repo, ours, merged_files)


class FileMerges:
    """Merges single files of one repository, each combination once.

    Args:
        repo: The repository.
        merge_text: Asked where git cannot merge a file, such as a document by its sections.
    """

    def __init__(self, repo: pygit2.Repository, merge_text: MergeText | None = None) -> None:
        self.repo = repo
        self._merge_text = merge_text
        self._drivers = MergeDrivers(repo)
        self._merged: dict[tuple[str, File, File, File], MergedFile] = {}

    def merge(self, path: str, base: File, ours: File, theirs: File) -> MergedFile:
        """Return the merged file; ``False`` where both sides do not go together."""
        if theirs in (ours, base):
            return ours
        if ours == base:
            return theirs
        if ours is None or theirs is None:
            return False
        key = (path, base, ours, theirs)
        if key not in self._merged:
            self._merged[key] = self._merge(path, base, ours, theirs)
        return self._merged[key]

    def solve(self, index: pygit2.Index) -> None:
        """Take out of a merge's index, in memory, the conflicts that libgit2 alone leaves."""
        for base, ours, theirs in list(index.conflicts or ()):
            if ours is None or theirs is None:
                continue
            if self._merge_text is None and self._drivers.name_for(ours.path) is None:
                continue
            before = None if base is None else _file_of(base)
            merged = self.merge(ours.path, before, _file_of(ours), _file_of(theirs))
            if merged:
                del index.conflicts[ours.path]
                index.add(index_entry(ours.path, merged))

    def _merge(
        self, path: str, base: File, ours: tuple[str, int], theirs: tuple[str, int]
    ) -> MergedFile:
        mode = _merged_mode(base, ours, theirs)
        if mode is None:
            return False
        base_name = None if base is None else base[0]
        our_name, their_name = ours[0], theirs[0]
        if their_name in (our_name, base_name):
            return our_name, mode
        if our_name == base_name:
            return their_name, mode
        content = self._merge_bytes(path, base, ours, theirs)
        if content is None:
            return False
        return str(self.repo.create_blob(content)), mode

    def _merge_bytes(self, path: str, base: File, ours: File, theirs: File) -> bytes | None:
        sides = [side[0] for side in (base, ours, theirs) if side is not None]
        if any(blob_bytes(self.repo, name) > MOST_FILE_BYTES for name in sides):
            return None
        driver = self._drivers.name_for(path)
        if driver is None and not is_text(self.repo, path):
            return None
        if driver is None:
            content = _merge_content(self.repo, base, ours, theirs)
        else:
            content = self._merge_by_driver(driver, path, base, ours, theirs)
        if content is not None or self._merge_text is None or base is None:
            return content
        contents = [_content(self.repo, file) for file in (base, ours, theirs)]
        return self._merge_text(path, *contents)

    def _merge_by_driver(
        self, driver: str, path: str, base: File, ours: File, theirs: File
    ) -> bytes | None:
        if driver == UNION:
            return _merge_content(self.repo, base, ours, theirs, is_union=True)
        sides = [_content(self.repo, file) for file in (base, ours, theirs)]
        return self._drivers.get(driver).merge(path, *sides)


def _content(repo: pygit2.Repository, file: File) -> bytes:
    if file is None:
        return b""
    return read_blob(repo, file[0])


def _file_of(entry: pygit2.IndexEntry) -> tuple[str, int]:
    return str(entry.id), int(entry.mode)


def _merged_mode(base: File, ours: tuple[str, int], theirs: tuple[str, int]) -> int | None:
    """Return the mode of the merged file; ``None`` where a link or a submodule is involved."""
    modes = {ours[1], theirs[1]}
    if base is not None:
        modes.add(base[1])
    if not modes <= _PLAIN_FILES:
        return None
    if base is None:
        return max(modes)  # the larger one is executable
    return theirs[1] if ours[1] == base[1] else ours[1]


def _merge_content(
    repo: pygit2.Repository, base: File, ours: File, theirs: File, *, is_union: bool = False
) -> bytes | None:
    """Return the merged content; ``None`` where it conflicts, or is not text."""
    sides = [_entry_of(file) for file in (base, ours, theirs)]
    merge = libgit2.merge_file(repo, sides, is_union=is_union)
    if merge is None or not merge.is_clean:
        return None
    return merge.content


def _entry_of(file: File) -> pygit2.IndexEntry | None:
    return None if file is None else index_entry("file", file)


def index_entry(path: str, file: tuple[str, int]) -> pygit2.IndexEntry:
    """Return an entry for an index."""
    name, mode = file
    return pygit2.IndexEntry(path, pygit2.Oid(hex=name), FileMode(mode))


def is_text(repo: pygit2.Repository, path: str) -> bool:
    """Tell whether two versions of a file may be put together line by line.

    ``binary`` and ``-merge`` in ``.gitattributes`` forbid it.
    """
    attribute = repo.get_attr(os.fsencode(path), "merge")
    return attribute not in (False, "binary")


# --- writing ----------------------------------------------------------------


def empty_tree(repo: pygit2.Repository) -> pygit2.Tree:
    """Return the tree that holds nothing, after writing it where it is missing."""
    return repo[repo.TreeBuilder().write()].peel(pygit2.Tree)


def tree_with(repo: pygit2.Repository, tree: pygit2.Tree, files: Mapping[str, File]) -> str | None:
    """Write *tree* with *files* instead of its own at these paths.

    ``None`` where pygit2 cannot name one of them: it builds trees with UTF-8 names only.
    """
    try:
        named = {path.encode(): file for path, file in files.items()}
    except UnicodeEncodeError:
        return None
    written = _write_tree(repo, tree, named)
    return str(empty_tree(repo).id if written is None else written)


def _write_tree(
    repo: pygit2.Repository, tree: pygit2.Tree | None, files: Mapping[bytes, File]
) -> pygit2.Oid | None:
    """Write *tree* with *files* instead of its own; ``None`` where nothing is left."""
    builder = repo.TreeBuilder() if tree is None else repo.TreeBuilder(tree)
    in_folders: dict[bytes, dict[bytes, File]] = {}
    for path, file in _removals_first(files):
        name, _, below = path.partition(b"/")
        if below:
            in_folders.setdefault(name, {})[below] = file
        elif file is not None:
            builder.insert(name.decode(), pygit2.Oid(hex=file[0]), FileMode(file[1]))
        elif builder.get(name.decode()) is not None:
            builder.remove(name.decode())
    for folder, below_it in in_folders.items():
        _write_folder(repo, builder, folder.decode(), below_it)
    return builder.write() if len(builder) else None


def _write_folder(
    repo: pygit2.Repository,
    builder: pygit2.TreeBuilder,
    name: str,
    files: Mapping[bytes, File],
) -> None:
    entry = builder.get(name)
    folder = entry if isinstance(entry, pygit2.Tree) else None
    written = _write_tree(repo, folder, files)
    if written is not None:
        builder.insert(name, written, FileMode.TREE)
    elif folder is not None:
        builder.remove(name)


def _removals_first(files: Mapping[bytes, File]) -> list[tuple[bytes, File]]:
    """Order them so that a file may become a folder."""
    removed = {path: file for path, file in files.items() if file is None}
    written = {path: file for path, file in files.items() if file is not None}
    return [*removed.items(), *written.items()]


# --- comparing --------------------------------------------------------------


def changes(repo: pygit2.Repository, base: pygit2.Tree, other: pygit2.Tree) -> Changes:
    """Return what is different in *other*.

    Folders that are the same are not looked into, as in libgit2's own comparison.

    Raises:
        KeyError: A folder is missing.
        pygit2.GitError: A folder is damaged, or more differs than anybody could have changed.
    """
    changed: Changes = {}
    pairs: list[_Pair] = [(b"", base.id.raw, other.id.raw)]
    folders = 0
    while pairs:
        above, one, two = pairs.pop()
        folders += 1
        if folders + len(changed) > MOST_CHANGES or above.count(b"/") > MOST_LEVELS:
            bounds = f"{MOST_CHANGES:,} files or {MOST_LEVELS} levels"
            raise pygit2.GitError(f"more than {bounds} differ")
        pairs += _compare(repo, above, one, two, changed)
    return changed


_Pair: TypeAlias = "tuple[bytes, bytes | None, bytes | None]"
"""The path of a folder, with a slash at the end, and its tree on either side."""


def _compare(
    repo: pygit2.Repository,
    above: bytes,
    one: bytes | None,
    two: bytes | None,
    changed: Changes,
) -> Iterator[_Pair]:
    """Add the files that differ in one folder to *changed*, and yield the folders that do."""
    before = set() if one is None else set(read_entries(repo, one))
    after = set() if two is None else set(read_entries(repo, two))
    only_before = {name: (mode, entry) for mode, name, entry in before - after}
    only_after = {name: (mode, entry) for mode, name, entry in after - before}
    for name in only_before.keys() | only_after.keys():
        old, new = only_before.get(name), only_after.get(name)
        old_folder, new_folder = _folder(old), _folder(new)
        if old_folder is not None or new_folder is not None:
            yield above + name + b"/", old_folder, new_folder
        old_file, new_file = _file(old), _file(new)
        if old_file is not None or new_file is not None:
            changed[os.fsdecode(above + name)] = old_file, new_file


def _folder(entry: tuple[bytes, bytes] | None) -> bytes | None:
    return entry[1] if entry is not None and entry[0] == FOLDER else None


def _file(entry: tuple[bytes, bytes] | None) -> File:
    if entry is None or entry[0] == FOLDER:
        return None
    mode, name = entry
    return name.hex(), int(mode, 8)


def entry_at(tree: pygit2.Tree, path: str) -> File:
    """Return object and mode of the file at *path*, whose name may be any bytes.

    ``None`` where there is no file.
    """
    entry: pygit2.Object = tree
    for part in os.fsencode(path).split(b"/"):
        if not isinstance(entry, pygit2.Tree):
            return None
        below = next((child for child in entry if child.raw_name == part), None)
        if below is None:
            return None
        entry = below
    if isinstance(entry, pygit2.Tree):
        return None
    return str(entry.id), int(entry.filemode)


def have_clash(one: Changes, two: Changes) -> bool:
    """Tell whether one has a file where the other needs a folder."""
    if _needs_folder_at_file(one, two):
        return True
    return _needs_folder_at_file(two, one)


def _needs_folder_at_file(needing: Changes, having: Changes) -> bool:
    folders: set[str] = set()
    for path, (_, new) in needing.items():
        if new is not None:
            folders.update(folders_above(path))
    written = [path for path, (_, new) in having.items() if new is not None]
    return not folders.isdisjoint(written)


def may_be_renamed(one: Changes, two: Changes) -> bool:
    """Tell whether a path that both have changed may be an old or a new name of a renamed file."""
    common = one.keys() & two.keys()
    if not common:
        return False
    return _may_rename(one, common) or _may_rename(two, common)


def _may_rename(side: Changes, paths: Iterable[str]) -> bool:
    files = side.values()
    has_removed = any(new is None for _, new in files)
    has_added = any(old is None for old, _ in files)
    if not (has_removed and has_added):
        return False
    return any(None in side[path] for path in paths)
