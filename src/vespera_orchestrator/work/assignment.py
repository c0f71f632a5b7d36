"""Where a task works: a worktree of its own, a shared one, that of the task it recovers, or none.

A task that has work in a worktree goes on there, whatever is asked for, until that work has
landed. That holds after the worktree was removed by hand, too: it is recreated from its last
snapshot. So no work is left behind when a task is called done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Task, TaskQuery, TaskStatus, WorktreeState
from vespera_orchestrator.errors import InvalidInputError, WorktreeBusyError, WorktreeError
from vespera_orchestrator.progress.startable import occupant_of

if TYPE_CHECKING:
    from vespera_orchestrator._model import Claim, GitOperation, Worktree
    from vespera_orchestrator._rooms import Rooms

log = logging.getLogger("vespera_orchestrator")

WorktreeChoice: TypeAlias = bool | Literal["task", "agent", "subtree"] | None
"""What a caller may ask for; see `Orchestrator.execute_task`."""
CHOICES: Final = (None, True, False, "task", "agent", "subtree")
_NO_WORKTREE: Final = ""
"""What a task remembers that was started without a worktree by choice."""


@attrs.frozen(kw_only=True)
class Assignment:
    """The worktree that an attempt works in, and what the attempt has to know about it."""

    worktree: Worktree
    conflicts: tuple[str, ...] = ()
    """Files that hold both sides of a conflict between markers."""
    operation: GitOperation | None = None
    """The git operation that the attempt before left under way in it."""
    left_out: tuple[str, ...] = ()
    """Files that no save of it holds."""
    behind: str = ""
    """Why newer work could not be merged in; empty when it could, or did not have to."""


class Assignments:
    """Assigns worktrees to attempts."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    # looking up

    def worktree_of(self, task: Task) -> Worktree | None:
        """Return the worktree that the task works in, removed or not; ``None`` without one."""
        return None if task.worktree == _NO_WORKTREE else self._remembered(task)

    def is_borrowed(self, task: Task, worktree: Worktree) -> bool:
        """Tell whether a recovery works in the worktree of the task that it recovers.

        Then its work lands with that task.
        """
        recovered = self._recovered(task)
        if recovered is None:
            return False
        lender = self._remembered(recovered)
        return lender is not None and lender.name == worktree.name

    def recovery_due_first(self, task: Task, worktree: Worktree) -> Task | None:
        """Return the recovery that must be done before anything lands from a shared worktree.

        There is one when another task's work conflicts there.
        """
        for other in self._tasks_in(worktree.name, TaskStatus.BLOCKED):
            if other.id == task.id:
                continue
            recovery = self._rooms.store.situation(other.id).open_recovery
            if recovery is not None and could_not_land(recovery) and recovery.id != task.id:
                return recovery
        return None

    def _remembered(self, task: Task) -> Worktree | None:
        """Return the worktree that any attempt worked in last, the present one or not."""
        return self._rooms.last_worktree(task)

    def start_over_here(self, task: Task, worktree: Worktree) -> None:
        """Let the task go on in *worktree*, whatever another home has of it, unless it is held."""
        attempt = self._rooms.store.situation(task.id).attempt
        is_held = attempt is not None and attempt.ended_at is None
        if not is_held:
            self._remember(task, worktree)

    def refuse_elsewhere(self, task: Task) -> None:
        """Refuse what another home saved and this repository does not have.

        Raises:
            WorktreeElsewhereError: With what brings it here.
        """
        earlier = self._remembered(task)
        if earlier is not None:
            self._rooms.worktrees.refuse_missing(task, earlier)

    def _refuse_conflict(
        self, task: Task, earlier: Worktree | None, choice: WorktreeChoice
    ) -> None:
        """Refuse work in a worktree, from which this home could not land it."""
        if choice or (earlier is not None and choice is None):
            self._rooms.team.refuse_conflict(task.session_id, lands=True)

    def _recovered(self, task: Task) -> Task | None:
        if task.recovers_task_id is None:
            return None
        return self._rooms.store.find_task(task.recovers_task_id, None)

    def _tasks_in(self, name: str, status: TaskStatus) -> list[Task]:
        query = TaskQuery(worktree=name, status=(status,), limit=None)
        return self._rooms.store.tasks(query)

    # assigning

    def refuse_unavailable(self, task: Task, choice: WorktreeChoice, agent: str) -> None:
        """Raise what `assign` would raise, as far as that is known before the claim.

        Raises:
            InvalidInputError: It is to do without a worktree, and has work in one.
            SettingsConflictError: Its work could not land from here.
            WorktreeBusyError: Another agent works there.
        """
        earlier = self._remembered(task)
        if earlier is not None:
            self._rooms.worktrees.refuse_missing(task, earlier)
        self._refuse_conflict(task, earlier, choice)
        if earlier is None and choice:
            self._rooms.worktrees.refuse_missing_needed(task)
        if choice is False:
            self._refuse_to_leave(task, earlier)
        elif earlier is not None and choice is None:
            self._refuse_busy(earlier, task, agent)

    def assign(self, claim: Claim, choice: WorktreeChoice) -> Assignment | None:
        """Give the attempt its worktree, and remember it with the task.

        Raises:
            InvalidInputError: It is to do without a worktree, and has work in one.
            SettingsConflictError: Its work could not land from here.
            WorktreeBusyError: Another agent works there.
            WorktreeError: No worktree could be made.
        """
        task, agent = claim.task, claim.attempt.agent
        earlier = self._remembered(task)
        if earlier is not None:
            self._rooms.worktrees.refuse_missing(task, earlier)
        self._refuse_conflict(task, earlier, choice)
        if choice is False:
            self._refuse_to_leave(task, earlier)
            self._remember(task, None)
            return None
        if earlier is None and choice is None:
            return None
        worktree = self._open(task, earlier, choice, agent)
        with self._rooms.worktrees.exclusively(worktree):
            self._refuse_busy(worktree, task, agent)
            self._remember(task, worktree)
        if earlier is None and worktree.task_id == task.id:
            return Assignment(worktree=worktree)  # just made, with everything it depends on
        note = f"as attempt {task.attempts} of {task.alias} found it"
        saved = self._rooms.worktrees.snapshot(worktree, note=note, noted=True)
        if saved.operation is None:
            assignment = self._with_newer_work(task, worktree)
        else:
            assignment = Assignment(
                worktree=worktree, conflicts=saved.conflicts, operation=saved.operation
            )
        return attrs.evolve(assignment, left_out=saved.skipped)

    def _open(
        self, task: Task, earlier: Worktree | None, choice: WorktreeChoice, agent: str
    ) -> Worktree:
        worktrees = self._rooms.worktrees
        owner_id, owner_agent = self._owner(task, choice, agent)
        if earlier is not None and not worktrees.is_own(earlier):
            return self._continue_elsewhere(task, earlier, owner_id, owner_agent)
        if earlier is not None:
            if choice is None or self._must_stay(task, earlier, owner_id, owner_agent):
                return worktrees.reopen(earlier)
            if earlier.task_id == task.id and earlier.state != WorktreeState.REMOVED:
                worktrees.remove(earlier)  # all of it has landed
        return worktrees.create(owner_id, agent=owner_agent, resume=True)

    def _continue_elsewhere(
        self, task: Task, earlier: Worktree, owner_id: str | None, owner_agent: str | None
    ) -> Worktree:
        """Return a worktree of this home with what another home saved for the task."""
        worktrees = self._rooms.worktrees
        if earlier.state == WorktreeState.REMOVED and not earlier.unlanded:
            if owner_id == task.id:
                return worktrees.start_anew(task.id)
            return worktrees.create(owner_id, agent=owner_agent, resume=True)
        recovered = self._recovered(task)
        if recovered is None or earlier.task_id != recovered.id:
            return worktrees.adopt(earlier, task, task.id)
        # The recovery works in the worktree of the task that it recovers, here as well.
        worktree = worktrees.adopt(earlier, task, recovered.id)
        self._remember(recovered, worktree)
        return worktree

    def _must_stay(
        self, task: Task, earlier: Worktree, owner_id: str | None, owner_agent: str | None
    ) -> bool:
        """Tell whether the task goes on in its earlier worktree, whatever was asked for."""
        earlier_agent = earlier.agent if earlier.task_id is None else None
        if (earlier.task_id, earlier_agent) == (owner_id, owner_agent):
            return True
        return self.is_borrowed(task, earlier) or self._holds_work(earlier)

    def _owner(
        self, task: Task, choice: WorktreeChoice, agent: str
    ) -> tuple[str | None, str | None]:
        """Return the task, or else the agent, that owns the worktree asked for."""
        if choice == "agent":
            return None, agent
        while choice == "subtree" and task.parent_task_id is not None:
            task = self._rooms.scope.task(task.parent_task_id)
        return task.id, None

    def _holds_work(self, worktree: Worktree) -> bool:
        """Tell whether it holds, or held when it was removed, work that has not landed."""
        worktrees = self._rooms.worktrees
        try:
            if worktree.state == WorktreeState.REMOVED:
                return worktrees.is_removed_unlanded(worktree)
            return not worktrees.is_merged(worktree)
        except WorktreeError:  # it cannot be looked at, so nothing proves that it is empty
            return True

    def _refuse_to_leave(self, task: Task, earlier: Worktree | None) -> None:
        if earlier is None or earlier.state == WorktreeState.REMOVED:
            return
        if self.is_borrowed(task, earlier):
            return
        if not self._rooms.worktrees.is_own(earlier):
            place = f"{earlier.path} on {earlier.machine}"
            first = f"orch.worktrees.create({task.alias!r}, resume=False) first, which leaves it"
        elif self._holds_work(earlier):
            place = f"the worktree {earlier.name}"
            first = f"orch.worktrees.remove({earlier.name!r}) first, which keeps it under a "
            first += "rescue ref"
        else:
            return
        raise InvalidInputError(
            "worktree",
            f"False would leave work behind: {task.alias} has some in {place} that has not "
            f"landed. Omit worktree to go on with it. To go on without it, call {first}",
        )

    def _refuse_busy(self, worktree: Worktree, task: Task, agent: str) -> None:
        """Keep two agents out of one folder."""
        occupant = occupant_of(self._rooms.store, worktree.name, task, agent)
        if occupant is not None:
            raise WorktreeBusyError(worktree.name, occupant.alias, occupant.agent)

    def _remember(self, task: Task, worktree: Worktree | None) -> None:
        name = _NO_WORKTREE if worktree is None else worktree.name
        if task.worktree == name:
            return
        if worktree is not None or self._remembered(task) is not None:
            self._rooms.store.update_task(task.id, {"worktree": name})

    def _with_newer_work(self, task: Task, worktree: Worktree) -> Assignment:
        """Merge in newer work where the task needs it.

        To solve a conflict, or because it builds on it.
        """
        worktrees = self._rooms.worktrees
        try:
            conflicts: tuple[str, ...] = ()
            if could_not_land(task) or self._lacks_needed_work(task, worktree):
                conflicts = worktrees.update(worktree)
            left = worktrees.unresolved_when_saved(worktree)
        except WorktreeError as exc:
            log.warning("newer work could not be merged into %s: %s", worktree.name, exc)
            return Assignment(worktree=worktree, behind=str(exc))
        return Assignment(worktree=worktree, conflicts=tuple(dict.fromkeys((*conflicts, *left))))

    def _lacks_needed_work(self, task: Task, worktree: Worktree) -> bool:
        needed = [edge.task for edge in task.dependencies]
        return self._rooms.worktrees.lacks_work_of(worktree, needed)


def could_not_land(recovery: Task) -> bool:
    """Tell whether a recovery was made because finished work could not land."""
    return recovery.recovers_task_id is not None and "integration_branch" in recovery.context
