"""The calls of ``orch.worktrees``.

They are above the engine, because merging work that was handed in completes its task.
"""

from __future__ import annotations

import builtins
import os
from pathlib import Path

from vespera_orchestrator import worktrees
from vespera_orchestrator._model import (
    ArtifactQuery,
    Finding,
    Task,
    TaskQuery,
    TaskStatus,
    Worktree,
    WorktreeState,
)
from vespera_orchestrator._records import RecordList
from vespera_orchestrator._rooms import Rooms
from vespera_orchestrator.errors import (
    LeaseLostError,
    SettingsConflictError,
    WorktreeError,
    WorktreeNotFoundError,
)
from vespera_orchestrator.home.calls import explains_calls
from vespera_orchestrator.home.scope import writes
from vespera_orchestrator.work.completion import Completion
from vespera_orchestrator.work.land_all_report import LandAllReport
from vespera_orchestrator.work.run_report import Trouble
from vespera_orchestrator.worktrees.terms import (
    Check,
    LandingTerms,
    Style,
    WorktreeRef,
    landing_message,
)


@explains_calls
class Worktrees:
    """One git worktree for each task or agent. Use it as ``orch.worktrees``.

    Any number of threads and processes may work at once. Nothing saved is ever lost: removal keeps
    the last state, and every earlier snapshot stays reachable from it. Your own checkouts (index,
    HEAD, stash, files) are never changed.

    Every call that touches git may raise `NotARepositoryError` (no repository, or no commit yet),
    `UnsupportedRepositoryError` (a feature that would be handled wrongly; nothing was written) and
    `GitFailedError` (git or the file system refused).
    """

    def __init__(self, rooms: Rooms, completion: Completion) -> None:
        self._rooms = rooms
        self._scope = rooms.scope
        self._engine = rooms.worktrees
        self._completion = completion

    def __repr__(self) -> str:
        return "<Worktrees: git worktrees: create, list, merge, forecast, remove>"

    # making and finding

    @writes
    def create(
        self,
        task: str | Task | None = None,
        *,
        agent: str | None = None,
        path: str | os.PathLike[str] | None = None,
        branch: str | None = None,
        resume: bool | None = None,
    ) -> Worktree:
        """Return the worktree of a task, or of an agent; create it if there is none.

        Idempotent: a task that has a worktree gets the same one. If its folder is gone, it is
        recreated with exactly the files of the last snapshot. After a kill at any moment, the next
        call finishes the job. A new worktree starts from the head of the integration branch. If
        that branch is missing, it is created from the main worktree's HEAD. If it is only behind
        that HEAD, it is fast-forwarded.

        Args:
            task: The task; ``None`` makes one for an agent, for all its tasks in the session.
            agent: The agent; by default the current one, if you pass no task.
            path: The folder, relative to the project's; by default ``../worktrees/<alias>``, with a
                number if that is taken.
            branch: The branch to create; by default ``feature/<alias>``, with a number if that is
                taken.
            resume: If the last worktree was removed before its work had landed, continue from what
                was kept of it, as `Orchestrator.execute_task` does. This is the default for a task
                that was started and has not ended, which would otherwise be completed without that
                work. Other tasks start from scratch. ``False`` also lets a task go on here whose
                files are with another home, and leaves them there.

        Raises:
            TaskNotFoundError: There is no such task.
            InvalidInputError: *path* or *branch* is taken, or cannot be used.
            GitFailedError: A task that this one depends on has landed, and the integration branch
                no longer contains its work.
            SetupFailedError: The set-up command failed. The worktree stays; the next call tries
                again.
        """
        record = self._engine.create(task, agent=agent, path=path, branch=branch, resume=resume)
        if task is not None and resume is False:
            self._completion.assignments.start_over_here(self._rooms.scope.task(task), record)
        return record

    def list(self, *, include_removed: bool = False) -> builtins.list[Worktree]:
        """Return the worktrees of all sessions, the oldest first."""
        return RecordList(self._engine.list(include_removed=include_removed))

    def find(self, worktree: WorktreeRef) -> Worktree | None:
        """Return the worktree with this name, or the one that this task has or shares, or ``None``.

        Removed worktrees are not found.
        """
        return self._engine.find(worktree)

    def brought(self, worktree: WorktreeRef) -> worktrees.Brought:
        """Return which ignored files were brought along from the main worktree.

        ``.worktreeinclude`` at its top names those that are copied, in the syntax of
        ``.gitignore``; the setting ``link`` names those that are linked. They are never saved or
        landed.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
        """
        return self._engine.brought(worktree)

    # saving

    @writes
    def snapshot(
        self, worktree: WorktreeRef, *, note: str = "", passing: bool = False
    ) -> worktrees.Snapshot:
        """Save the worktree's files under ``refs/vespera/wip/<name>``.

        Untracked files are included, ignored files are not. Untracked files above
        ``max_file_bytes`` are left out and named. The agent's index, HEAD, branch and hooks stay
        untouched. If nothing has changed since the previous snapshot, no commit is made.

        Args:
            worktree: The worktree.
            note: First line of the commit message.
            passing: The snapshot may be thinned out: all of the last hour are kept, then the last
                of each hour for a week, then the last of each day. Other snapshots are kept for
                ever.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
            GitFailedError: Its folder is gone or not complete.
            RefMovedError: Others saved it first, every time; safe to retry.
        """
        return self._engine.snapshot(worktree, note=note, passing=passing)

    # landing

    @writes
    def merge(
        self,
        worktree: WorktreeRef,
        *,
        message: str | None = None,
        style: Style | None = None,
        check: Check | None = None,
    ) -> worktrees.Landing:
        """Land the worktree's files on the integration branch, and record it.

        If its task was completed with ``merge="later"``, this completes the task and removes folder
        and branch. If several tasks share the worktree, it completes all that were handed in, or
        the one that you name. Otherwise folder and branch stay for further work; `remove` removes
        them. Others may merge at the same time: the second one merges again on top. Safe to repeat:
        work lands once.

        A checkout of the integration branch is updated too, if nothing of its owner's is in the
        way.

        Args:
            worktree: The worktree. A word that is both a task's alias and the name of another
                worktree means the task.
            message: The commit message; by default made from the task.
            style: ``squash``: one commit with one parent, whatever the agent committed. ``merge``:
                a merge commit, with the agent's own commits behind it. ``fast-forward``: the
                agent's own commits if nothing else has landed since, otherwise the same as
                ``merge``. By default the setting in ``config.toml``.
            check: A callable that gets a folder with the merged files, and refuses by raising or by
                returning ``False``. Or a command: a list of words, or a line for the shell. Work
                lands exactly as it was checked. By default the setting in ``config.toml``.

        Returns:
            The landing; its ``reverts`` are changes by others that it undoes.

        Raises:
            MergeConflictError: With paths and report. The branch is unchanged, and the work is
                saved as a snapshot. A task that was completed with ``merge="later"`` is blocked,
                with a recovery task.
            LandingRefusedError: The check refused, or the work would undo what others landed and
                the settings refuse that. Otherwise as above.
            OperationUnderWayError: A rebase, merge or the like is under way in it. Nothing was
                changed but that the work is saved.
            UnsavedFilesError: A task would be completed by this, and something in the worktree
                cannot be saved, such as a nested repository. Nothing was changed.
            DirtyCheckoutError: The integration branch is checked out where it cannot be updated
                safely. Nothing was changed.
            SettingsConflictError: This home has another check or another integration branch than
                its session has agreed on. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
            LeaseLostError: You worked on the task, and were replaced, or the task was taken from
                you. Nothing was changed.
            RefMovedError: Others were faster every time; safe to retry.
        """
        terms = LandingTerms(message=message, style=style, check=check)
        record = self._meant(worktree)
        owner = self._owner(record)
        if owner is not None:
            self._completion.refuse_lost(owner)
        tasks = self._handed_in(record, worktree)
        if record.state == WorktreeState.REMOVED:
            if not tasks:
                raise self._nothing_to_merge(record, worktree)
            record = self._engine.reopen(record)
        elif tasks and self._engine.lost_folder(record) is not None:
            record = self._engine.reopen(record)  # all that was handed in is in its last save
        if not tasks:
            self._rooms.team.refuse_conflict(record.session_id, lands=True)
            message = message or self._message(record, owner)
            return self._engine.land(
                record,
                message,
                terms,
                bring_along=lambda landing: self._completion.with_documents(
                    record.session_id, landing
                ),
            )
        landings = [self._completion.land_handed_in(task, record, terms) for task in tasks]
        return next((landing for landing in landings if landing.changed), landings[0])

    @writes
    def land_all(self, *, style: Style | None = None, check: Check | None = None) -> LandAllReport:
        """Land all finished work of the session that waits to be merged, in the best order.

        This is `merge` for each task that was completed with ``merge="later"``, in the order of
        `forecast`. What does not land stops nothing: a conflict or a red check blocks its task and
        plans a recovery, and the rest goes on. Safe to repeat, also after an interrupt.

        Work that waits in the worktree of another home is left to that home, and named.

        Args:
            style: As for `merge`.
            check: As for `merge`. Each piece of work is checked by itself.

        Returns:
            What landed, and what did not, with the reason. Print it.

        Raises:
            SessionNotFoundError: No session is active.
        """
        landed: builtins.list[str] = []
        left: builtins.list[Trouble] = []
        for task in self._waiting():
            try:
                self.merge(task.id, style=style, check=check)
            except (WorktreeError, SettingsConflictError, LeaseLostError) as exc:
                left.append(Trouble(alias=task.alias, reason=str(exc)))
            else:
                landed.append(task.alias)
        branch = self._rooms.config.worktrees.integration_branch
        return LandAllReport(branch=branch, landed=tuple(landed), left=tuple(left))

    def _waiting(self) -> builtins.list[Task]:
        """Return the tasks of the session whose work waits to be merged, in the best order."""
        query = TaskQuery(
            session_id=self._scope.session_id(), status=(TaskStatus.IN_PROGRESS,), limit=None
        )
        tasks = [task for task in self._rooms.store.tasks(query) if self._waits_to_be_merged(task)]
        if len(tasks) > 1:
            order = self._engine.forecast().order
            places = {name: number for number, name in enumerate(order)}
            tasks.sort(key=lambda task: places.get(self._worktree_name(task), len(places)))
        return tasks

    def _worktree_name(self, task: Task) -> str:
        record = self._rooms.last_worktree(task)
        return "" if record is None else record.name

    def _meant(self, ref: WorktreeRef) -> Worktree:
        """Return the worktree that *ref* means.

        A task's alias comes before another worktree's name: a worktree of another session, or of an
        agent, may have the same name as this task's alias.
        """
        if isinstance(ref, str):
            own = self._engine.of_task(ref, include_removed=True)
            if own is not None:
                return own
        return self._engine.get(ref, include_removed=True)

    def _owner(self, record: Worktree) -> Task | None:
        if record.task_id is None:
            return None
        return self._rooms.store.find_task(record.task_id, None)

    def _nothing_to_merge(self, record: Worktree, ref: WorktreeRef) -> WorktreeNotFoundError:
        reason = "its work has landed, there is nothing to merge"
        if self._engine.is_removed_unlanded(record):
            reason = (
                "it was removed before all its work had landed; "
                "orch.worktrees.create(…, resume=True) recreates it"
            )
        return WorktreeNotFoundError(ref if isinstance(ref, str) else record.name, reason)

    def _handed_in(self, record: Worktree, ref: WorktreeRef) -> builtins.list[Task]:
        """Return the tasks whose finished work waits in the worktree to be merged.

        Only the one that *ref* names, if it names a task.
        """
        store = self._rooms.store
        query = TaskQuery(worktree=record.name, status=(TaskStatus.IN_PROGRESS,), limit=None)
        tasks = store.tasks(query)
        owner = self._owner(record)
        if owner is not None and self._is_running_unassigned(owner):
            tasks.append(owner)
        if not isinstance(ref, Worktree) and ref != record.name:
            named = self._rooms.scope.task(ref)
            tasks = [task for task in tasks if task.id == named.id]
        return [task for task in tasks if self._waits_to_be_merged(task)]

    @staticmethod
    def _is_running_unassigned(task: Task) -> bool:
        """Tell whether the task runs and has no worktree recorded: then it uses its own."""
        return task.status is TaskStatus.IN_PROGRESS and task.worktree is None

    def _waits_to_be_merged(self, task: Task) -> bool:
        attempt = self._rooms.store.situation(task.id).attempt
        return attempt is not None and attempt.is_handed_in

    def _message(self, record: Worktree, owner: Task | None) -> str:
        if owner is None:
            return f"Work of {record.agent or record.name}\n\nWorktree: {record.name}"
        artifacts = self._rooms.store.artifacts(ArtifactQuery(task_ids=(owner.id,)))
        return landing_message(owner, owner.summary, [artifact.id for artifact in artifacts])

    @writes
    def is_merged(self, worktree: WorktreeRef) -> bool:
        """Tell whether the worktree's work, as it is now, is on the integration branch.

        The answer depends on content: work that somebody squashed, rebased or cherry-picked counts,
        even if none of the worktree's own commits is there. If it is merged, removing it loses
        nothing.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
        """
        return self._engine.is_merged(worktree)

    @writes
    def catch_up(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Merge what is new on the integration branch into the worktree's files.

        The worktree is saved first. Its index, HEAD and branch stay as they are. If both sides
        changed the same lines, the file gets both, between conflict markers, and does not land
        before these are gone. A conflict that cannot be merged as text leaves the worktree's
        version.

        An agent may be working there. Only files that differ are written, and only if they are
        still as they were saved. If one is not, all are put back, saved again and merged again. No
        edit is lost: if two edits meet at such a moment, the later one stays in the file, and the
        earlier one is kept under a rescue ref. The next save, or `repair`, undoes what a killed
        process had written.

        Returns:
            The paths in conflict.

        Raises:
            OperationUnderWayError: A rebase, merge or the like is under way in it. Nothing was
                changed but that the work is saved.
            DirtyCheckoutError: A file that no snapshot keeps, such as an ignored one, is where a
                landed file belongs; or files never stopped changing. It names them. Nothing was
                changed.
            WorktreeNotFoundError: There is no such worktree.
        """
        return self._engine.update(worktree)

    # looking ahead

    def forecast(self, *, fresh: bool = False) -> worktrees.Forecast:
        """Return which live worktrees would conflict, and in what order to merge them.

        It looks for conflicts between any two of them, and with the integration branch.

        Args:
            fresh: Save every worktree first, instead of using the last snapshots.
        """
        if fresh:
            self._scope.require_writable()
        return self._engine.forecast(fresh=fresh)

    # removing, and bringing back

    @writes
    def remove(self, worktree: WorktreeRef, *, delete_branch: bool = True) -> Worktree:
        """Remove the worktree; its last state is kept under a rescue ref first.

        Every earlier snapshot is behind that ref. This also works if the folder is already gone or
        half removed. Ignored files are not kept. Idempotent.

        Args:
            worktree: The worktree.
            delete_branch: Whether to delete its branch, if all its commits are kept and it is
                checked out nowhere else.

        Returns:
            The record, with ``rescue_ref``.

        Raises:
            DirtyCheckoutError: It contains something that no snapshot can keep, such as a nested
                repository. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
        """
        return self._engine.remove(worktree, delete_branch=delete_branch)

    def rescue(self) -> builtins.list[worktrees.Rescued]:
        """Return what was kept of removed worktrees, the newest first.

        `restore` writes one of them to a folder.
        """
        return self._engine.rescue()

    @writes
    def restore(self, ref: str | worktrees.Rescued, path: str | os.PathLike[str]) -> Path:
        """Write the files that a rescue ref (or any commit) keeps into a new folder.

        The folder appears complete or not at all.

        Raises:
            InvalidInputError: *ref* names nothing, or *path* exists and is not empty.
        """
        return self._engine.restore(ref, path)

    # checking and repairing

    def check(self) -> builtins.list[Finding]:
        """Check all worktrees, and change nothing.

        Returns:
            A finding for each problem, its subject the worktree's name. `repair` fixes most.
        """
        return self._engine.check()

    @writes
    def repair(self) -> builtins.list[str]:
        """Put all worktrees in order after a kill.

        It finishes or undoes worktrees that are half made, finishes removals, and removes locks
        that a dead process of ours left on our refs. It leaves alone whatever it cannot prove to be
        ours, and whatever somebody is working on now. Without a repository there is nothing to do.

        Returns:
            One plain sentence for each thing done.
        """
        return self._engine.repair()
