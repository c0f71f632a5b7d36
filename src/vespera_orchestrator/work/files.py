"""Saving the files of worktrees, whatever becomes of their tasks. Needs no artifacts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vespera_orchestrator._model import WorktreeState
from vespera_orchestrator.errors import WorktreeError
from vespera_orchestrator.home import machine
from vespera_orchestrator.work.assignment import Assignments

if TYPE_CHECKING:
    from vespera_orchestrator._model import Attempt, Task, Worktree
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.worktrees.snapshot import Snapshot

log = logging.getLogger("vespera_orchestrator")


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
            self._rooms.worktrees.snapshot(worktree, note=note)
        except WorktreeError as exc:  # its last snapshot remains
            log.warning("the files of %s could not be saved: %s", worktree.name, exc)

    def try_snapshot(
        self, worktree: Worktree | None, note: str, *, passing: bool = False
    ) -> tuple[Snapshot | None, str]:
        """Prepare a snapshot, or say why there is none.

        A missing worktree must not keep the holder from saying how the work went.
        """
        if worktree is None:
            return None, ""
        try:
            snapshot = self._rooms.worktrees.prepare_snapshot(worktree, note=note, passing=passing)
        except WorktreeError as exc:
            log.warning("the files of %s could not be saved: %s", worktree.name, exc)
            return None, str(exc)
        return snapshot, ""
