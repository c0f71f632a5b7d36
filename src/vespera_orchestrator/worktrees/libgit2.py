"""The only door to pygit2's private parts.

pygit2 offers no public call for a few things that worktrees need: flags and times of index
entries, names that are not UTF-8, conflict markers in diff3 style. They are reached through its
cffi layer here, and nowhere else. `PRIVATE_PARTS` lists every private name that this module
uses; a test looks for each of them, and says so in plain words when an upgrade moves one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.callbacks import git_checkout_options
from pygit2.enums import ConfigLevel, FileMode, ObjectType
from pygit2.ffi import C, ffi

from vespera_orchestrator import _attrs as attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pygit2.enums import CheckoutStrategy

PRIVATE_PARTS: Final = {
    "pygit2.callbacks": ("git_checkout_options",),
    "pygit2.ffi.C": (
        "git_checkout_tree",
        "git_config_add_file_ondisk",
        "GIT_MERGE_FILE_FAVOR_UNION",
        "GIT_MERGE_FILE_STYLE_DIFF3",
        "git_index_add",
        "git_index_get_byindex",
        "git_index_get_bypath",
        "git_merge_file_from_index",
        "git_merge_file_result_free",
        "git_repository_hashfile",
    ),
    "pygit2.ffi.ffi": ("NULL", "addressof", "buffer", "cast", "new", "string"),
    "pygit2.Index": ("_index",),
    "pygit2.IndexEntry": ("_to_c",),
    "pygit2.Repository": ("_repo",),
    "pygit2.Tree": ("_pointer",),
    "pygit2.config.RepositoryConfig": ("_c_config",),
}
"""Where pygit2 keeps them, and their names."""
STRUCT_FIELDS: Final = {
    "git_checkout_options": ("disable_filters",),
    "git_index_entry": (
        *("ctime", "mtime", "dev", "ino", "mode", "uid", "gid", "file_size"),
        *("id", "flags", "flags_extended", "path"),
    ),
    "git_merge_file_options": (
        *("version", "flags", "favor", "ancestor_label", "our_label", "their_label"),
    ),
    "git_merge_file_result": ("automergeable", "ptr", "len"),
}
"""The fields that are read or written of libgit2's structures."""

_ASSUME_UNCHANGED: Final = 1 << 15
"""In ``flags``: the user told git not to look at the file."""
_INTENT_TO_ADD: Final = 1 << 13
_SKIP_WORKTREE: Final = 1 << 14
"""In ``flags_extended``: the file is outside of a sparse checkout."""
_FLAGS_MASK: Final = 0xFFFF
_STAGE_SHIFT: Final = 12
"""In ``flags``: two bits for the side of a conflict."""
_STAGE_MASK: Final = 3
_FIELD_MASK: Final = 0xFFFFFFFF
"""Git keeps the lower 32 bits of what the system says about a file."""
_TIME_MASK: Final = 0x7FFFFFFF
_NS_PER_S: Final = 10**9
_CONFLICT_STAGES: Final = (1, 2, 3)


# --- configuration -----------------------------------------------------------


def add_config_file(repo: pygit2.Repository, path: str | os.PathLike[str]) -> None:
    """Let a file of settings count above all others, for this object only.

    pygit2's own call refuses to add to a repository's configuration.

    Raises:
        pygit2.GitError: libgit2 cannot read the file.
    """
    config, level = repo.config._c_config, int(ConfigLevel.APP)
    if C.git_config_add_file_ondisk(config, os.fsencode(path), level, ffi.NULL, 1) < 0:
        raise pygit2.GitError(f"cannot read {os.fspath(path)}")


# --- entries of an index ----------------------------------------------------


@attrs.frozen(kw_only=True)
class RawEntry:
    """What an index says about a path."""

    name: str
    """The object, in hexadecimal."""
    mode: int
    is_intent_to_add: bool
    """Whether ``git add -N`` only announced it."""
    is_outside_sparse: bool
    """Whether a sparse checkout leaves it out, so that it may be missing on disk."""


def find_entry(index: pygit2.Index, path: str) -> RawEntry | None:
    """Return the entry at *path*, which may hold any bytes, or ``None``.

    Unlike ``index[path]`` it shows the flags, and does not raise where there is none.
    """
    entry = _entry(index, path, 0)
    if entry is None:
        return None
    return _raw_entry(entry)


def _raw_entry(entry: ffi.CData) -> RawEntry:
    flags = entry.flags_extended
    return RawEntry(
        name=_object_name(ffi.addressof(entry, "id")),
        mode=int(entry.mode),
        is_intent_to_add=bool(flags & _INTENT_TO_ADD),
        is_outside_sparse=bool(flags & _SKIP_WORKTREE),
    )


def has_entry(index: pygit2.Index, path: str) -> bool:
    """Tell whether there is an entry at *path* that is not in conflict."""
    return _entry(index, path, 0) is not None


def is_in_conflict(index: pygit2.Index, path: str) -> bool:
    """Tell whether the index has sides of a conflict at *path*."""
    entries = [_entry(index, path, stage) for stage in _CONFLICT_STAGES]
    return any(entry is not None for entry in entries)


def entry_paths(index: pygit2.Index) -> Iterator[str]:
    """Yield the path of every entry, which may hold any bytes."""
    for entry in _entries(index):
        yield os.fsdecode(ffi.string(entry.path))


def conflict_entries(index: pygit2.Index) -> Iterator[tuple[str, int, RawEntry]]:
    """Yield path, stage and entry of every side of every conflict in the index."""
    for entry in _entries(index):
        stage = (entry.flags >> _STAGE_SHIFT) & _STAGE_MASK
        if stage:
            yield os.fsdecode(ffi.string(entry.path)), stage, _raw_entry(entry)


def unhide_entries(index: pygit2.Index, is_on_disk: Callable[[str], bool]) -> bool:
    """Clear, in memory, the flags that keep git from looking at a file that is on disk.

    They are set by ``git update-index --assume-unchanged`` and ``--skip-worktree``.

    Returns:
        Whether any entry was changed.
    """
    is_changed = False
    for entry in _entries(index):
        is_assumed = entry.flags & _ASSUME_UNCHANGED
        is_skipped = entry.flags_extended & _SKIP_WORKTREE
        if not (is_assumed or is_skipped):
            continue
        if is_on_disk(os.fsdecode(ffi.string(entry.path))):
            entry.flags &= ~_ASSUME_UNCHANGED & _FLAGS_MASK
            entry.flags_extended &= ~_SKIP_WORKTREE & _FLAGS_MASK
            is_changed = True
    return is_changed


def add_entry(
    index: pygit2.Index, path: str, file: tuple[str, int], status: os.stat_result | None
) -> bool:
    """Add an entry in memory, with the times and the size of the file on disk.

    Args:
        index: The index.
        path: The path; it may hold any bytes.
        file: Object and mode.
        status: What the system says about the file on disk, if its content is that object: then
            git need not read it again. ``None`` leaves the times empty, so that git looks at it.

    Returns:
        ``False`` when libgit2 refuses the entry.
    """
    name, mode = file
    entry, path_buffer = pygit2.IndexEntry(path, pygit2.Oid(hex=name), FileMode(mode))._to_c()
    if status is not None:
        _set_status(entry, status)
    is_added: bool = C.git_index_add(index._index, entry) >= 0
    del path_buffer  # the entry points into it until here
    return is_added


def copy_entry(source: pygit2.Index, target: pygit2.Index, path: str) -> None:
    """Let *target* have what *source* has at *path*, times and size included, in memory.

    Raises:
        pygit2.GitError: libgit2 refuses the entry.
    """
    entry = _entry(source, path, 0)
    if entry is None or C.git_index_add(target._index, entry) < 0:
        raise pygit2.GitError(f"git takes no entry {os.fsencode(path)!r}")


def _set_status(entry: ffi.CData, status: os.stat_result) -> None:
    _set_time(entry.ctime, status.st_ctime_ns)
    _set_time(entry.mtime, status.st_mtime_ns)
    entry.dev = status.st_dev & _FIELD_MASK
    entry.ino = status.st_ino & _FIELD_MASK
    entry.uid = status.st_uid & _FIELD_MASK
    entry.gid = status.st_gid & _FIELD_MASK
    entry.file_size = status.st_size & _FIELD_MASK


def _set_time(field: ffi.CData, time_ns: int) -> None:
    seconds, nanoseconds = divmod(time_ns, _NS_PER_S)
    field.seconds = seconds & _TIME_MASK
    field.nanoseconds = nanoseconds


def _entry(index: pygit2.Index, path: str, stage: int) -> ffi.CData | None:
    raw_path = os.fsencode(path)
    entry = C.git_index_get_bypath(index._index, raw_path, stage)
    return None if entry == ffi.NULL else entry


def _entries(index: pygit2.Index) -> Iterator[ffi.CData]:
    for number in range(len(index)):
        # libgit2 gives it as constant; in memory it may be changed.
        yield ffi.cast("git_index_entry *", C.git_index_get_byindex(index._index, number))


def _object_name(oid: ffi.CData) -> str:
    raw = ffi.buffer(oid)[:]
    return bytes(raw).hex()


# --- files on disk ----------------------------------------------------------


def check_out_as_stored(
    repo: pygit2.Repository, tree: pygit2.Tree, strategy: CheckoutStrategy
) -> None:
    """Write the files of *tree* without looking for filters, line ends and the like.

    pygit2's own call always looks for them, twice for each file, each time with a realpath: a third
    of a checkout.

    Raises:
        pygit2.GitError: libgit2 cannot write a file.
    """
    pointer = ffi.new("git_object **")
    ffi.buffer(pointer)[:] = tree._pointer[:]
    with git_checkout_options(strategy=strategy) as checkout:
        options = checkout.checkout_options
        options.disable_filters = 1
        checkout.check_error(C.git_checkout_tree(repo._repo, pointer[0], options))


def hash_as_git(repo: pygit2.Repository, file: str | os.PathLike[str], path: str) -> str | None:
    """Return the object that git would make of *file* if it stood at *path*, line ends and all.

    pygit2's own call takes no names that are not UTF-8.

    Returns:
        The object's name in hexadecimal; ``None`` when libgit2 cannot read the file.
    """
    oid = ffi.new("git_oid *")
    blob = int(ObjectType.BLOB)
    raw_file, raw_path = os.fsencode(file), os.fsencode(path)
    code = C.git_repository_hashfile(oid, repo._repo, raw_file, blob, raw_path)
    return _object_name(oid) if code == 0 else None


# --- merging one file -------------------------------------------------------


@attrs.frozen(kw_only=True)
class FileMerge:
    """Two versions of a file put together line by line."""

    content: bytes | None
    """The merged file; ``None`` where libgit2 gives none, because it is not text."""
    is_clean: bool
    """Whether there is no conflict in it."""


def merge_file(
    repo: pygit2.Repository,
    sides: Sequence[pygit2.IndexEntry | None],
    labels: Sequence[bytes] | None = None,
    *,
    is_union: bool = False,
) -> FileMerge | None:
    """Merge base, ours and theirs, in memory.

    pygit2's own call takes no options, and decodes what may not be UTF-8.

    Args:
        repo: The repository that has the objects.
        sides: Base, ours and theirs; ``None`` where a side has no such file.
        labels: What to call them in conflict markers, which are then in diff3 style.
        is_union: Whether to keep the lines of both sides instead of a conflict.

    Returns:
        The merge; ``None`` where libgit2 refuses.
    """
    result = ffi.new("git_merge_file_result *")
    # The second part of each is the path's buffer, which the first part points into.
    entries = [(ffi.NULL, None) if side is None else side._to_c() for side in sides]
    pointers = [pointer for pointer, _ in entries]
    buffers = [ffi.new("char[]", label) for label in labels or ()]
    options = _merge_options(buffers) if buffers else ffi.NULL
    if is_union:
        options = ffi.new("git_merge_file_options *")
        options.version = 1
        options.favor = C.GIT_MERGE_FILE_FAVOR_UNION
    if C.git_merge_file_from_index(result, repo._repo, *pointers, options) < 0:
        return None
    try:
        has_content = result.ptr != ffi.NULL
        content = bytes(ffi.buffer(result.ptr, result.len)) if has_content else None
        return FileMerge(content=content, is_clean=bool(result.automergeable))
    finally:
        C.git_merge_file_result_free(result)


def _merge_options(labels: Sequence[ffi.CData]) -> ffi.CData:
    options = ffi.new("git_merge_file_options *")
    options.version = 1
    options.flags = C.GIT_MERGE_FILE_STYLE_DIFF3
    options.ancestor_label, options.our_label, options.their_label = labels
    return options
