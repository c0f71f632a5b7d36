"""Bringing worktrees, refs and records into order after a kill."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import EventKind, TaskStatus, WorktreeState
from vespera_orchestrator._text import plural
from vespera_orchestrator.errors import WorktreeError, WorktreeLockedError
from vespera_orchestrator.worktrees import landing_check
from vespera_orchestrator.worktrees.admin_note import (
    MAKING,
    READY,
    REMOVING,
    owner_of,
    read_note,
    read_notes,
)
from vespera_orchestrator.worktrees.checkout import (
    NAMES_LOCK,
    fill,
    lock_against_prune,
)
from vespera_orchestrator.worktrees.integration import recover_landing
from vespera_orchestrator.worktrees.lost_objects import mend_losses, mend_rescued, name_again
from vespera_orchestrator.worktrees.ownership import FolderState, find_place, reconnect
from vespera_orchestrator.worktrees.packs import UNFINISHED_PREFIX, release_abandoned_packs
from vespera_orchestrator.worktrees.refs import WIP
from vespera_orchestrator.worktrees.removal import (
    delete_merged_branch,
    discard,
    is_unlanded,
    remove,
    remove_and_record,
    retire,
)
from vespera_orchestrator.worktrees.rescue import rescue_ref
from vespera_orchestrator.worktrees.restart import heal_worktree
from vespera_orchestrator.worktrees.snapshot_index import SnapshotIndex
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.update import recover_update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vespera_orchestrator._model import Task, Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.admin_note import AdminNote
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_ABANDONED_S: Final = 3600
"""What is older than this and unfinished will not be finished."""


def repair(
    repository: ProjectRepository, store: Store, *, is_own: Callable[[Worktree], bool]
) -> Iterator[str]:
    """Bring everything of ours into order after a kill, and yield a sentence for each thing done.

    What somebody is working on just now is left alone. What cannot be repaired is named, and the
    rest is repaired all the same. Worktrees of other homes are left alone.
    """
    for what, step in _steps(repository, store, is_own):
        try:
            with git_errors(f"repair {what}"):
                yield from step
        except WorktreeLockedError:
            continue  # somebody is at work there
        except WorktreeError as exc:
            yield f"Could not repair {what}: {exc}."


def _steps(
    repository: ProjectRepository, store: Store, is_own: Callable[[Worktree], bool]
) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield what there is to repair, one thing after the other, and how."""
    with git_errors("list what is to be repaired"):
        locked_refs = repository.maybe_locked_refs()
        noted = [note.worktree for note in read_notes(repository)]
    for ref in locked_refs:
        yield f"the lock of {ref}", _clear_lock(repository, ref)
    yield "a landing that was killed", _repair_landing(repository)
    yield "the folders of checks", _sweep_checks(repository)
    yield "half-made admin directories", _sweep_workshop(repository)
    for worktree in noted:
        record = _find_record(store, worktree.name)
        if record is not None and not is_own(record):
            continue
        yield f"the worktree {worktree.name}", _repair_worktree(repository, store, worktree)
    yield "what other programs left", _sweep_leftovers(repository)
    yield "what was kept of removed worktrees", mend_rescued(repository)
    for record in filter(is_own, store.worktrees(include_removed=True)):
        what = f"the record of the worktree {record.name}"
        yield what, _repair_record(repository, store, record)


def _find_record(store: Store, name: str) -> Worktree | None:
    records = store.worktrees(name=name, include_removed=True)
    return records[0] if records else None


# --- what is not of one worktree --------------------------------------------


def _clear_lock(repository: ProjectRepository, ref: str) -> Iterator[str]:
    if repository.clear_stale_lock(ref):
        yield f"Removed a lock that a killed process left on {ref}."


def _repair_landing(repository: ProjectRepository) -> Iterator[str]:
    report = recover_landing(repository)
    if report:
        yield report


def _sweep_checks(repository: ProjectRepository) -> Iterator[str]:
    swept = landing_check.sweep(repository)
    if swept:
        yield f"Removed {plural(swept, 'folder')} of checks that were killed."


def _sweep_workshop(repository: ProjectRepository) -> Iterator[str]:
    swept = 0
    with repository.lock(NAMES_LOCK):
        for leftover in repository.workshop.glob("*"):
            shutil.rmtree(leftover, ignore_errors=True)
            swept += not leftover.exists()
    if swept:
        noun = "admin directory" if swept == 1 else "admin directories"
        yield f"Swept away {swept} half-made or half-removed {noun}."


def _sweep_leftovers(repository: ProjectRepository) -> Iterator[str]:
    """Remove what holds nothing and what nobody can be writing any more, whoever left it."""
    before = time.time() - _ABANDONED_S
    for admin in repository.admins():
        # pygit2's own add_worktree leaves such a directory when it fails. Two of them make libgit2
        # refuse every further worktree, with a false reason.
        if admin.is_dir() and admin.stat().st_mtime < before and not any(admin.iterdir()):
            with suppress(OSError):
                admin.rmdir()
                cause = "left by a failed attempt to create a worktree"
                yield f"Removed the empty admin directory {admin}, {cause}."
    for path in sorted(repository.common.joinpath("objects").glob("tmp_object_git2_*")):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                yield f"Removed {path}, an object that was never finished."
    for path in sorted(repository.common.joinpath("objects").glob(f"{UNFINISHED_PREFIX}*")):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                _remove_unfinished(path)
                yield f"Removed {path}, a pack that was never finished."
    for pack in release_abandoned_packs(repository.common):
        yield f"Let git tidy up {pack}, which a killed process had kept from it."


def _remove_unfinished(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink()


# --- worktrees that have a note ---------------------------------------------


def _repair_worktree(
    repository: ProjectRepository, store: Store, worktree: Worktree
) -> Iterator[str]:
    with repository.lock(owner_of(worktree), patience_s=0):
        record = _find_record(store, worktree.name)
        yield from _repair_place(repository, store, worktree.name, record)
        note = read_note(repository, worktree.name)  # it may have changed meanwhile
        if note is not None:
            yield from _repair_files(repository, store, note.worktree)
            yield from _repair_stage(repository, store, note, record)


def _repair_place(
    repository: ProjectRepository, store: Store, name: str, record: Worktree | None
) -> Iterator[str]:
    """Find the folder of a worktree that was moved, by itself or with the project."""
    note = read_note(repository, name)
    if note is None or note.stage != READY:
        return
    place = find_place(repository, note.worktree)
    is_moved = place.state is FolderState.MOVED
    is_unrecorded = record is not None and record.path != str(place.folder)
    if not place.is_ours or not (is_moved or is_unrecorded):
        return
    reconnect(repository, note.worktree, place)
    if record is not None and record.state != WorktreeState.REMOVED:
        project = str(repository.home.project)
        located = attrs.evolve(record, path=str(place.folder), project=project)
        store.put_worktree(located, EventKind.WORKTREE_MOVED)
    yield f"Found the worktree {name} at {place.folder}, where it was moved."


def _repair_files(repository: ProjectRepository, store: Store, worktree: Worktree) -> Iterator[str]:
    if SnapshotIndex(repository, worktree).clean_up():
        yield f"Removed what a killed process left of a snapshot of the worktree {worktree.name}."
    yield from mend_losses(repository, store, worktree, thorough=True)
    yield from heal_worktree(repository, worktree)
    report = recover_update(repository, worktree)
    if report:
        yield report


def _repair_stage(
    repository: ProjectRepository, store: Store, note: AdminNote, record: Worktree | None
) -> Iterator[str]:
    worktree = note.worktree
    name = worktree.name
    in_use = record is not None and record.state != WorktreeState.REMOVED
    if note.stage == REMOVING:
        removed = remove(repository, worktree)
        if in_use:
            store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
        retire(repository, removed)
        kept = f"its files are kept under {removed.rescue_ref}"
        yield f"Finished removing the worktree {name}; {kept}."
    elif note.stage == MAKING and in_use:
        made = fill(repository, worktree)
        if record is not None and record.path != made.path:
            moved = attrs.evolve(record, path=made.path)
            store.put_worktree(moved, EventKind.WORKTREE_MOVED)
        yield f"Made the worktree {name} whole again at {made.path}."
    elif note.stage == MAKING:
        discard(repository, worktree)
        yield f"Removed the worktree {name}, which was never finished."
    elif in_use and (ending := _ending_of_task(store, worktree)):
        removed = remove_and_record(repository, store, worktree)
        kept = f"its files are kept under {removed.rescue_ref}"
        yield f"Removed the worktree {name}, whose task {ending}; {kept}."
    elif not in_use and is_known(store, worktree):
        yield from _take_back(repository, store, worktree, record)
    elif lock_against_prune(repository, worktree):
        yield f"Locked the worktree {name} against git worktree prune again."


def _take_back(
    repository: ProjectRepository, store: Store, worktree: Worktree, record: Worktree | None
) -> Iterator[str]:
    """Bring a worktree that git has and the records have not, or not any more, into order.

    The records know of its removal where an older copy of the repository was put back. What they
    say of its landing stays: it may be missing in that copy, and `check` has to tell so.
    """
    name, place = worktree.name, find_place(repository, worktree)
    if record is not None and not place.is_ours:
        kept = remove(repository, worktree).rescue_ref
        retire(repository, record)
        yield f"Removed the worktree {name}, which came without its folder; {_kept_under(kept)}."
        return
    landed = None if record is None else record.landed
    store.put_worktree(attrs.evolve(worktree, landed=landed), EventKind.WORKTREE_CREATED)
    yield f"Took the worktree {name} at {worktree.path} back into the records."


def _kept_under(ref: str | None) -> str:
    return (
        "nothing of it is in this repository" if ref is None else f"its files are kept under {ref}"
    )


# --- records ----------------------------------------------------------------


def _repair_record(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    with repository.lock(owner_of(record), patience_s=0):
        latest = _find_record(store, record.name)  # an earlier step may have changed it
        if latest is None:
            return
        if latest.state == WorktreeState.REMOVED:
            yield from _retire_removed(repository, store, latest)
            return
        if read_note(repository, latest.name) is None:
            yield from mend_losses(repository, store, latest, thorough=True)
        if (ref := _rescue_of_killed_removal(repository, latest)) is not None:
            yield from _record_removal(repository, store, latest, ref)
        elif read_note(repository, latest.name) is None and has_task_ended(store, latest):
            yield from _close_vanished(repository, store, latest)


def _retire_removed(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    ref = record.rescue_ref
    is_gone = ref is not None and repository.tip(ref) is None
    if is_gone and name_again(repository, store, record):
        yield f"{ref} was gone; it keeps the removed worktree {record.name} again."
    if not repository.admin(record.name).exists() and retire(repository, record):
        target = "its rescue ref"
        yield f"Moved the snapshots of the removed worktree {record.name} to {target}."


def _rescue_of_killed_removal(repository: ProjectRepository, record: Worktree) -> str | None:
    """Return the ref that keeps a worktree whose removal was killed before it was recorded.

    The last snapshot stands under it then. ``None`` where somebody else took the worktree down:
    the next attempt gets it back from its last snapshot.
    """
    if repository.admin(record.name).exists() or find_place(repository, record).is_ours:
        return None
    commit = repository.tip(WIP + record.name)
    if commit is None:
        return None
    ref = rescue_ref(record.name, commit)
    kept = repository.tip(ref)
    is_kept = kept is not None and repository.reaches(commit, [kept])
    return ref if is_kept else None


def _record_removal(
    repository: ProjectRepository, store: Store, record: Worktree, ref: str
) -> Iterator[str]:
    commit, kept = repository.tip(WIP + record.name), repository.tip(ref)
    if commit is None or kept is None:
        return
    delete_merged_branch(repository, record, kept)
    unlanded = is_unlanded(repository, record, commit)
    removed = attrs.evolve(record, state=WorktreeState.REMOVED, rescue_ref=ref, unlanded=unlanded)
    store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
    retire(repository, removed)
    was_removed = f"Recorded that the worktree {record.name} was removed"
    yield f"{was_removed}; its files are kept under {ref}."


def _close_vanished(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    """Close the record of a worktree that git does not know and whose task has ended.

    The next attempt makes any other again.
    """
    removed = remove_and_record(repository, store, record)
    closed = f"Closed the record of the worktree {record.name}, which git does not know any more"
    yield f"{closed}; its last files are kept under {removed.rescue_ref}."


# --- tasks ------------------------------------------------------------------


def _task_of(store: Store, worktree: Worktree) -> Task | None:
    if worktree.task_id is None:
        return None
    return store.find_task(worktree.task_id, None)


def _ending_of_task(store: Store, worktree: Worktree) -> str | None:
    """Say how its task ended for good; ``None`` while it has not.

    It is completed only once its work is on the integration branch.
    """
    task = _task_of(store, worktree)
    if task is None:
        return None if worktree.task_id is None else "was deleted"
    return "is completed" if task.status is TaskStatus.COMPLETED else None


def has_task_ended(store: Store, worktree: Worktree) -> bool:
    """Tell whether the task that the worktree was made for has ended, or was deleted."""
    task = _task_of(store, worktree)
    if task is None:
        return worktree.task_id is not None
    return task.status.is_terminal


def is_known(store: Store, worktree: Worktree) -> bool:
    """Tell whether the session is in the store, and the task if there is one."""
    if store.find_session(worktree.session_id) is None:
        return False
    return worktree.task_id is None or _task_of(store, worktree) is not None
