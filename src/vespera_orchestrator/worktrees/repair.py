"""Bringing worktrees, refs and records into order after a kill."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import EventKind, TaskStatus, WorktreeState
from vespera_orchestrator._text import plural
from vespera_orchestrator.errors import GitFailedError, WorktreeError, WorktreeLockedError
from vespera_orchestrator.worktrees import landing_check
from vespera_orchestrator.worktrees.admin_note import (
    MAKING,
    REMOVING,
    owner_of,
    read_note,
    read_notes,
)
from vespera_orchestrator.worktrees.checkout import (
    NAMES_LOCK,
    fill,
    lock_against_prune,
    take_down,
)
from vespera_orchestrator.worktrees.integration import recover_landing
from vespera_orchestrator.worktrees.refs import WIP
from vespera_orchestrator.worktrees.removal import (
    delete_merged_branch,
    is_unlanded,
    remove,
    remove_and_record,
    retire,
)
from vespera_orchestrator.worktrees.rescue import rescue_ref
from vespera_orchestrator.worktrees.snapshot_index import SnapshotIndex
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.update import recover_update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    Worktrees of other homes are left alone.

    What somebody is working on just now is left alone.
    """
    with git_errors("repair"):
        for ref in repository.clear_stale_locks():
            yield f"Removed a lock that a killed process left on {ref}."
        yield from _repair_landing(repository)
        yield from _sweep_checks(repository)
        yield from _sweep_workshop(repository)
        all_records = store.worktrees(include_removed=True)
        records = {record.name: record for record in all_records if is_own(record)}
        for note in read_notes(repository):
            name = note.worktree.name
            yield from _repair_worktree(repository, store, note.worktree, records.get(name))
        yield from _sweep_leftovers(repository)
        for record in records.values():
            yield from _repair_record(repository, store, record)


# --- what is not of one worktree --------------------------------------------


def _repair_landing(repository: ProjectRepository) -> Iterator[str]:
    try:
        report = recover_landing(repository)
    except WorktreeError as exc:
        report = f"Could not finish a landing that was killed: {exc}."
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


# --- worktrees that have a note ---------------------------------------------


def _repair_worktree(
    repository: ProjectRepository, store: Store, worktree: Worktree, record: Worktree | None
) -> Iterator[str]:
    try:
        with repository.lock(owner_of(worktree), patience_s=0):
            note = read_note(repository, worktree.name)  # it may have changed meanwhile
            if note is not None:
                yield from _repair_files(repository, note.worktree)
                yield from _repair_stage(repository, store, note, record)
    except WorktreeLockedError:
        return  # somebody is at work there
    except GitFailedError as exc:
        yield f"Could not repair the worktree {worktree.name}: {exc}."


def _repair_files(repository: ProjectRepository, worktree: Worktree) -> Iterator[str]:
    if SnapshotIndex(repository, worktree).clean_up():
        yield f"Removed what a killed process left of a snapshot of the worktree {worktree.name}."
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
        fill(repository, worktree)
        yield f"Made the worktree {name} whole again at {worktree.path}."
    elif note.stage == MAKING:
        _discard(repository, worktree)
        yield f"Removed the worktree {name}, which was never finished."
    elif in_use and (ending := _ending_of_task(store, worktree)):
        removed = remove_and_record(repository, store, worktree)
        kept = f"its files are kept under {removed.rescue_ref}"
        yield f"Removed the worktree {name}, whose task {ending}; {kept}."
    elif not in_use and _is_known(store, worktree):
        store.put_worktree(worktree, EventKind.WORKTREE_CREATED)
        yield f"Took the worktree {name} at {worktree.path} back into the records."
    elif lock_against_prune(repository, worktree):
        yield f"Locked the worktree {name} against git worktree prune again."


def _discard(repository: ProjectRepository, worktree: Worktree) -> None:
    """Take down a worktree that nobody ever got: nothing in it needs keeping."""
    take_down(repository, worktree)
    delete_merged_branch(repository, worktree, worktree.base)


# --- records ----------------------------------------------------------------


def _repair_record(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    if record.state == WorktreeState.REMOVED:
        if not repository.admin(record.name).exists() and retire(repository, record):
            target = "its rescue ref"
            yield f"Moved the snapshots of the removed worktree {record.name} to {target}."
        return
    report = _record_removal(repository, store, record)
    if report:
        yield report
    elif read_note(repository, record.name) is None and not os.path.lexists(record.path):
        yield from _close_vanished(repository, store, record)


def _record_removal(repository: ProjectRepository, store: Store, record: Worktree) -> str | None:
    """Record a removal whose process was killed after it had taken everything down.

    The last snapshot stands under its rescue ref then.
    """
    if repository.admin(record.name).exists() or os.path.lexists(record.path):
        return None
    commit = repository.tip(WIP + record.name)
    if commit is None:
        return None
    ref = rescue_ref(record.name, commit)
    kept = repository.tip(ref)
    if kept is None or not repository.reaches(commit, [kept]):
        # Somebody else took it down: the next attempt gets it back from its last snapshot.
        return None
    try:
        with repository.lock(owner_of(record), patience_s=0):
            delete_merged_branch(repository, record, kept)
            unlanded = is_unlanded(repository, record, commit)
            removed = attrs.evolve(
                record, state=WorktreeState.REMOVED, rescue_ref=ref, unlanded=unlanded
            )
            store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
            retire(repository, removed)
    except WorktreeLockedError:
        return None
    was_removed = f"Recorded that the worktree {record.name} was removed"
    return f"{was_removed}; its files are kept under {ref}."


def _close_vanished(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    """Close the record of a worktree that is gone without a trace and whose task has ended.

    The next attempt makes any other again.
    """
    if not _has_task_ended(store, record):
        return
    with repository.lock(owner_of(record)):
        removed = remove_and_record(repository, store, record)
    closed = f"Closed the record of the worktree {record.name}, whose folder is gone"
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


def _has_task_ended(store: Store, worktree: Worktree) -> bool:
    task = _task_of(store, worktree)
    if task is None:
        return worktree.task_id is not None
    return task.status.is_terminal


def _is_known(store: Store, worktree: Worktree) -> bool:
    """Tell whether the session is in the store, and the task if there is one."""
    if store.find_session(worktree.session_id) is None:
        return False
    return worktree.task_id is None or _task_of(store, worktree) is not None
