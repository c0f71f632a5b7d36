"""What has to be looked at once after the machine was started again.

When power fails, files that nobody waited for are left empty, cut short, or missing. What was
acknowledged is on disk: snapshots, refs, records. The files in a worktree are not, nor are its
index and objects that another git wrote. Taken for the agent's edits, an emptied file would be
saved and landed. So the first call after a start compares, and restores from the last snapshot.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import pygit2
from pygit2.enums import CheckoutStrategy, FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import plural
from vespera_orchestrator.home import machine
from vespera_orchestrator.home.files import translate_os_error, write_atomically
from vespera_orchestrator.home.reading import read_small_text
from vespera_orchestrator.worktrees import nested, torn
from vespera_orchestrator.worktrees.admin_note import READY, read_note, write_note
from vespera_orchestrator.worktrees.checkout import drop_damaged_index, write_first_index
from vespera_orchestrator.worktrees.durability import set_aside_damaged
from vespera_orchestrator.worktrees.ownership import FolderState, find_place, reconnect
from vespera_orchestrator.worktrees.refs import WIP, unlink_if_older
from vespera_orchestrator.worktrees.snapshot import take_snapshot
from vespera_orchestrator.worktrees.snapshot_index import SnapshotIndex
from vespera_orchestrator.worktrees.tree_merge import changes, empty_tree
from vespera_orchestrator.worktrees.tree_switch import write_partial_tree
from vespera_orchestrator.worktrees.update import recovered_after_restart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

log = logging.getLogger("vespera_orchestrator")

_BOOT_FILE: Final = "boot-id"
_GIT_LOCKS: Final = ("index.lock", "HEAD.lock")
"""Of a worktree; those of processes that the machine took down make every git command fail."""
_PLAIN_FILES: Final = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)
_OVERWRITE: Final = (
    CheckoutStrategy.FORCE
    | CheckoutStrategy.DONT_UPDATE_INDEX
    | CheckoutStrategy.DONT_REMOVE_EXISTING
)
_File: TypeAlias = "tuple[str, int]"
"""Object and mode of a file."""


def heal_repository(repository: ProjectRepository) -> None:
    """Set aside damaged objects and dead locks, once after each start of the machine."""
    now = machine.boot_id()
    file = repository.home.locks / _BOOT_FILE
    if not now or _noted(file) == now:
        return
    if repository.home.locks.is_dir():
        with repository.lock("start of the machine"):
            damaged = set_aside_damaged(repository.common, repository.workshop)
            repository.clear_locks_before(machine.started_at())
            try:
                write_atomically(file, now)
            except OSError as exc:
                raise translate_os_error(exc, file) from exc
        if damaged:
            log.warning(
                "%d git objects were damaged, as after a power cut, and are set aside in %s",
                len(damaged),
                repository.workshop / "damaged-objects",
            )


def _noted(file: Path) -> str:
    """Return what is noted about the last start; nothing where there is no such note."""
    try:
        return read_small_text(file, errors="replace")
    except OSError:
        return ""


def heal_worktree(repository: ProjectRepository, worktree: Worktree) -> list[str]:
    """Restore files that a power cut damaged, once after each start of the machine.

    Call it under the worktree's lock. What is there is saved before.

    Returns:
        Sentences that say what was done.
    """
    now = machine.boot_id()
    note = read_note(repository, worktree.name)
    if note is None or not now or note.boot == now:
        return []
    place = find_place(repository, worktree)
    if place.state is not FolderState.OURS:
        return []
    worktree = reconnect(repository, worktree, place)
    admin = repository.admin(worktree.name)
    # Before that nobody has worked there; later all of it is kept elsewhere.
    is_in_use = bool(note.boot) and note.stage == READY
    reports = list(_heal(repository, worktree)) if is_in_use else []
    noted = attrs.evolve(note.worktree, path=worktree.path)
    write_note(repository, admin, note.stage, noted)
    return reports


def _heal(repository: ProjectRepository, worktree: Worktree) -> Iterator[str]:
    for name in _GIT_LOCKS:
        unlink_if_older(repository.admin(worktree.name) / name, machine.started_at())
    SnapshotIndex(repository, worktree).discard()  # only a cache
    with recovered_after_restart(repository, worktree) as taken_back:
        index_was_damaged = _rebuild_damaged_index(repository, worktree)
        last = repository.tip(WIP + worktree.name)
        saved = last if taken_back is None else taken_back.commit
        number = _restore_damaged(repository, worktree, saved, any_missing=index_was_damaged)
        if taken_back is not None:
            # The last snapshot may hold what was taken back. Files are compared with that.
            _save(repository, worktree, "what was half brought in is taken back after a restart")
    if taken_back is not None:
        log.warning("%s", taken_back.report)
        yield taken_back.report
    if number:
        restored = f"{plural(number, 'file')} of {worktree.name}"
        report = f"Restored {restored} as last saved: damaged, as after a power cut."
        log.warning("%s", report)
        yield report


def _save(repository: ProjectRepository, worktree: Worktree, note: str) -> None:
    snapshot = take_snapshot(repository, worktree, note=note, max_file_bytes=None, midway=True)
    snapshot.pin()


def _restore_damaged(
    repository: ProjectRepository, worktree: Worktree, saved: str | None, *, any_missing: bool
) -> int:
    """Restore what is damaged from the snapshot *saved*; return how many files.

    Args:
        repository: The repository.
        worktree: The worktree.
        saved: The snapshot; ``None`` for what the worktree started from.
        any_missing: Whether every missing file counts as damaged.
    """
    repo = repository.open_worktree(worktree.name)
    folder = Path(worktree.path)
    files = dict(_saved_files(repo, saved))
    # That all of them are gone is no wish of anybody's: their names had not come to the disk.
    any_missing = any_missing or not any(os.path.lexists(folder / path) for path in files)
    names = {folder / path: file[0] for path, file in files.items()}
    damaged = torn.damaged_files(repo, names, any_missing=any_missing)
    inside: dict[Path, pygit2.Object] = {}
    if saved is not None:
        inside = nested.damaged_files(repo, saved, folder, any_missing=any_missing)
    if damaged or inside:
        _save(repository, worktree, "as found after a restart")
        again = {path: file for path, file in files.items() if folder / path in damaged}
        part = repo[write_partial_tree(repo, again)]
        repo.checkout_tree(part, strategy=_OVERWRITE)
        nested.write_files(inside)
    return len(damaged) + len(inside)


def _rebuild_damaged_index(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Make the agent's index anew from HEAD where it cannot be read; ours is only a cache."""
    index = repository.admin(worktree.name) / "index"
    if not drop_damaged_index(repository, worktree) and index.exists():
        return False
    repo = repository.open_worktree(worktree.name)
    write_first_index(index.parent, repo.head.peel(pygit2.Tree))
    return True


def _saved_files(repo: pygit2.Repository, snapshot: str | None) -> Iterator[tuple[str, _File]]:
    """Yield the plain files of the last snapshot, or of HEAD where there is none."""
    commit = repo.head if snapshot is None else repo[snapshot]
    for path, (_, file) in changes(repo, empty_tree(repo), commit.peel(pygit2.Tree)).items():
        if file is not None and file[1] in _PLAIN_FILES:
            yield path, file
