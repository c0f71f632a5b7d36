"""Taking worktrees away without losing what they held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import EventKind, WorktreeState
from vespera_orchestrator.errors import (
    DirtyCheckoutError,
    GitFailedError,
    RefMovedError,
    WorktreeError,
)
from vespera_orchestrator.worktrees.admin_note import READY
from vespera_orchestrator.worktrees.checkout import (
    delete_branch,
    fill,
    nested_repositories,
    take_down,
)
from vespera_orchestrator.worktrees.landing import is_merged
from vespera_orchestrator.worktrees.ownership import find_place, reconnect
from vespera_orchestrator.worktrees.paths import display_paths
from vespera_orchestrator.worktrees.refs import WIP
from vespera_orchestrator.worktrees.rescue import keep_last_state, retire_refs
from vespera_orchestrator.worktrees.snapshot import snapshot_at, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.left_out import LeftOut
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_TRIES: Final = 5


def remove(
    repository: ProjectRepository, worktree: Worktree, *, with_branch: bool = True
) -> Worktree:
    """Keep the worktree's last state under a rescue ref, then take it down.

    The snapshot refs stay until the record is written (`retire`), so that a kill in between
    changes nothing. Call it under the worktree's lock. Safe to repeat.

    Args:
        repository: The repository.
        worktree: The worktree.
        with_branch: Whether to delete its branch too, if nothing needs it any more.

    Returns:
        The record as it should be now.

    Raises:
        DirtyCheckoutError: It holds something that no snapshot can keep. Nothing was changed.
        GitFailedError: Git or the file system refused; the next call continues.
    """
    worktree = _with_folder(repository, worktree)
    commit = _last_state(repository, worktree)
    if not repository.has(commit):
        # The records were imported, and git's objects were not: there is nothing here to keep.
        take_down(repository, worktree)
        return attrs.evolve(worktree, state=WorktreeState.REMOVED, unlanded=True)
    unlanded = is_unlanded(repository, worktree, commit)
    ref = keep_last_state(repository, worktree.name, commit)
    take_down(repository, worktree)
    if with_branch:
        delete_merged_branch(repository, worktree, commit)
    return attrs.evolve(
        worktree, state=WorktreeState.REMOVED, rescue_ref=ref, unlanded=unlanded, saved=commit
    )


def remove_and_record(
    repository: ProjectRepository, store: Store, worktree: Worktree, *, with_branch: bool = True
) -> Worktree:
    """Remove the worktree, record that, and retire its refs. See `remove`."""
    removed = remove(repository, worktree, with_branch=with_branch)
    store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
    retire(repository, removed)
    return removed


def discard(repository: ProjectRepository, worktree: Worktree) -> None:
    """Take down a worktree that nobody ever got: nothing in it needs keeping."""
    take_down(repository, worktree)
    delete_merged_branch(repository, worktree, worktree.base)


def retire(repository: ProjectRepository, removed: Worktree) -> bool:
    """Remove the snapshot refs of a worktree whose removal is recorded.

    Of one whose work has not landed, what it knows of the integration branch stays: it may be made
    again.

    Returns:
        Whether there were any.
    """
    return retire_refs(repository, removed.name, keep_mark=removed.unlanded)


def delete_merged_branch(repository: ProjectRepository, worktree: Worktree, kept: str) -> bool:
    """Delete the worktree's branch where *kept* or the integration branch has all its commits."""
    tip = repository.tip(repository.integration_ref)
    commits = [kept] if tip is None else [kept, tip]
    return delete_branch(repository, worktree, commits)


def is_unlanded(repository: ProjectRepository, worktree: Worktree, commit: str) -> bool:
    """Tell whether the worktree's last state is not on the integration branch.

    ``True`` also when that cannot be known.
    """
    try:
        return not is_merged(repository, worktree, snapshot_at(repository, worktree, commit))
    except WorktreeError:
        return True


def _with_folder(repository: ProjectRepository, worktree: Worktree) -> Worktree:
    """Return the record with the folder where it is now, if it has one."""
    place = find_place(repository, worktree)
    if not place.is_ours:
        return worktree
    if place.note is None:
        # Its admin directory was deleted, its files are still there.
        return fill(repository, worktree)
    return reconnect(repository, worktree, place)


def _last_state(repository: ProjectRepository, worktree: Worktree) -> str:
    place = find_place(repository, worktree)
    is_ready = place.note is not None and place.note.stage == READY
    if is_ready and place.is_ours:
        return _final_snapshot(repository, worktree)
    for ref in (WIP + worktree.name, worktree.rescue_ref, f"refs/heads/{worktree.branch}"):
        commit = None if ref is None else repository.tip(ref)
        if commit is not None:
            return commit
    return worktree.base


def _final_snapshot(repository: ProjectRepository, worktree: Worktree) -> str:
    note = "last state before removal"
    for _ in range(_TRIES):
        snapshot = take_snapshot(
            repository,
            worktree,
            note=note,
            max_file_bytes=None,
            hidden=True,
            repositories=nested_repositories(repository, worktree),
        )
        _refuse_loss(worktree, snapshot.unsaved)
        try:
            snapshot.pin()
        except RefMovedError:
            continue  # a checkpoint of an earlier moment was pinned just now
        return snapshot.commit
    reason = "it is being saved all the time; stop the agent that works in it first"
    raise GitFailedError(f"remove the worktree {worktree.name}", reason)


def _refuse_loss(worktree: Worktree, unsaved: Sequence[LeftOut]) -> None:
    repositories = [item.path for item in unsaved if item.is_repository]
    others = [item.path for item in unsaved if not item.is_repository]
    if repositories:
        what, remedy = "git repositories of their own", "move them elsewhere, or delete them"
        raise _cannot_keep(worktree, what, repositories, remedy)
    if others:
        what, remedy = "files that cannot be saved", "make that possible, or delete them"
        raise _cannot_keep(worktree, what, others, remedy)


def _cannot_keep(
    worktree: Worktree, what: str, paths: list[str], remedy: str
) -> DirtyCheckoutError:
    names = display_paths(paths)
    reason = f"it holds {what}, which would be lost: {names}; {remedy}, then remove it again"
    return DirtyCheckoutError(worktree.path, reason)
