"""Saving the files of worktrees, whatever becomes of their tasks. Needs no artifacts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeVar

from vespera_orchestrator._model import WorktreeState
from vespera_orchestrator.errors import RefMovedError, WorktreeError
from vespera_orchestrator.home import machine
from vespera_orchestrator.work.assignment import Assignments
from vespera_orchestrator.worktrees.retrying import retrying

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator._model import Attempt, Task, Worktree
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.worktrees.snapshot import Snapshot

log = logging.getLogger("vespera_orchestrator")

_T = TypeVar("_T")

MERGE_TRIES: Final = 50
"""How often a landing or a save is prepared again because another process was faster."""


class WorkFiles:
    """Saves what attempts have in their worktrees."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self.assignments = Assignments(rooms)
        """Which worktree each task works in."""

    def expire(self) -> None:
        """End expired leases, and save what their holders left in their worktrees.

        What ends with a process of this machine that is gone has expired, too.
        """
        for attempt in self._rooms.store.expire(is_gone=machine.have_ended):
            self.save_left_behind(attempt)

    def save_left_behind(self, attempt: Attempt) -> None:
        """Save what an attempt that has ended left in its worktree."""
        task = self._rooms.store.find_task(attempt.task_id, None)
        if task is not None:
            self._save(task, f"as attempt {attempt.number} by {attempt.agent} left it")

    def save_cancelled(self, task: Task) -> None:
        """Save the files of a task that was cancelled while somebody worked on it."""
        if task.attempts:
            self._save(task, "as it was when the task was cancelled")

    def _save(self, task: Task, note: str) -> None:
        worktree = self.assignments.worktree_of(task)
        if worktree is None or worktree.state == WorktreeState.REMOVED:
            return
        try:
            self._rooms.worktrees.snapshot(worktree, note=note, noted=True)
        except WorktreeError as exc:  # its last snapshot remains
            log.warning("the files of %s could not be saved: %s", worktree.name, exc)

    def write_saving(
        self,
        worktree: Worktree | None,
        note: str,
        write: Callable[[Snapshot | None, str], _T],
        *,
        passing: bool = False,
    ) -> _T:
        """Write to the store, with the worktree's files saved in the same step.

        A missing worktree does not keep its holder from saying how the work went. That its files
        are not saved is told after the write: beside a completion the write is refused, and the
        worktree is gone because its files have landed.

        Args:
            worktree: What to save, if anything.
            note: A line for people.
            write: Called with the snapshot, or with the reason why there is none; once more
                whenever another process has moved the ref meanwhile.
            passing: Nothing refers to the snapshot, which may be thinned out later.
        """

        @retrying(RefMovedError, times=MERGE_TRIES)
        def write_once() -> _T:
            snapshot, trouble = self._try_snapshot(worktree, note, passing=passing)
            written = write(snapshot, trouble)
            if worktree is not None and trouble:
                log.warning("the files of %s could not be saved: %s", worktree.name, trouble)
            return written

        return write_once()

    def _try_snapshot(
        self, worktree: Worktree | None, note: str, *, passing: bool
    ) -> tuple[Snapshot | None, str]:
        """Prepare a snapshot, or say why there is none."""
        if worktree is None:
            return None, ""
        try:
            snapshot = self._rooms.worktrees.prepare_snapshot(worktree, note=note, passing=passing)
        except WorktreeError as exc:
            return None, str(exc)
        return snapshot, ""
