"""Where a task works: in a worktree of its own, in one that it shares, in that of the task it recovers, or in none.

A task that has work in a worktree goes on there, whatever is asked for, until that work has landed: also when the worktree was removed by
hand, for it is made again from what was kept. So work is not left behind when a task is called done.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import Task, TaskQuery, TaskStatus
from vespera_orchestrator.errors import InvalidInputError, WorktreeBusyError, WorktreeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator._model import Claim, Worktree
    from vespera_orchestrator.home.scope import Scope
    from vespera_orchestrator.worktrees import Worktrees

log = logging.getLogger("vespera_orchestrator")

KINDS: Final = (None, True, False, "task", "agent", "subtree")
"""What a caller may ask for."""
_NONE: Final = ""
"""Of a task that was started without a worktree by choice."""


@attrs.frozen(kw_only=True)
class Place:
    """The worktree an attempt was given, and what it finds there."""

    worktree: Worktree
    conflicts: tuple[str, ...] = ()
    """Files that hold both sides of a conflict between markers."""
    behind: str = ""
    """Why what was landed since could not be brought in; empty when it could, or did not have to."""


class Places:
    """Finds, makes and shares out worktrees for tasks."""

    def __init__(self, scope: Scope, worktrees: Callable[[], Worktrees]) -> None:
        self._scope = scope
        self._worktrees = worktrees

    # finding

    def of(self, task: Task) -> Worktree | None:
        """Return the worktree that the task works in, also when it was removed; ``None`` without one."""
        return None if task.worktree == _NONE else self._remembered(task)

    def is_lent(self, task: Task, worktree: Worktree) -> bool:
        """Tell whether it is that of the task which this one recovers, with which its work will land."""
        recovered = self._recovered(task)
        lent = None if recovered is None else self._remembered(recovered)
        return lent is not None and lent.name == worktree.name

    def waits_for(self, task: Task, worktree: Worktree) -> Task | None:
        """Return the recovery that has to be done before anything lands from a shared worktree, if another task's work conflicts there."""
        blocked = self._at_work(worktree.name, TaskStatus.BLOCKED)
        recoveries = (
            self._scope.store.situation(other.id).open_recovery
            for other in blocked
            if other.id != task.id
        )
        return next(
            (
                found
                for found in recoveries
                if found is not None and could_not_land(found) and found.id != task.id
            ),
            None,
        )

    def _remembered(self, task: Task) -> Worktree | None:
        """Return the worktree that any attempt worked in last, whether or not the present one does."""
        found = (
            self._scope.store.worktrees(name=task.worktree, include_removed=True)
            if task.worktree
            else []
        )
        found += reversed(self._scope.store.worktrees(task_id=task.id, include_removed=True))
        if found:
            return next((record for record in found if record.state != "removed"), found[0])
        recovered = self._recovered(task)
        return None if recovered is None else self._remembered(recovered)

    def _recovered(self, task: Task) -> Task | None:
        return (
            None
            if task.recovers_task_id is None
            else self._scope.store.find_task(task.recovers_task_id, None)
        )

    def _at_work(self, name: str, status: TaskStatus) -> list[Task]:
        return self._scope.store.tasks(TaskQuery(worktree=name, status=(status,), limit=None))

    # taking a place

    def look(self, task: Task, wanted: bool | str | None, agent: str) -> None:  # noqa: FBT001 - passed on as it was given
        """Raise what `settle` would raise for a task that is still to be claimed, as far as that can be told before.

        Raises:
            InvalidInputError: It is to do without a worktree, and has work in one.
            WorktreeBusyError: Another agent works there.
        """
        earlier = self._remembered(task)
        if wanted is False:
            self._refuse_to_leave(task, earlier)
        elif earlier is not None and wanted is None:
            self._refuse_busy(earlier, task, agent)

    def settle(self, claim: Claim, wanted: bool | str | None) -> Place | None:  # noqa: FBT001 - passed on as it was given
        """Give the attempt its place, and remember it with the task.

        Raises:
            InvalidInputError: It is to do without a worktree, and has work in one.
            WorktreeBusyError: Another agent works there.
            WorktreeError: No worktree could be made.
        """
        task, agent = claim.task, claim.attempt.agent
        earlier = self._remembered(task)
        if wanted is False:
            self._refuse_to_leave(task, earlier)
            self._remember(task, None)
            return None
        if earlier is None and wanted is None:
            return None
        worktree = self._make(task, earlier, wanted, agent)
        with self._worktrees().kept_from_others(worktree):
            self._refuse_busy(worktree, task, agent)
            self._remember(task, worktree)
        if earlier is None and worktree.task_id == task.id:
            return Place(worktree=worktree)  # made just now, with all that it depends on
        self._worktrees().snapshot(
            worktree, note=f"as attempt {task.attempts} of {task.alias} found it"
        )
        return self._brought_along(task, worktree)

    def _make(
        self,
        task: Task,
        earlier: Worktree | None,
        wanted: bool | str | None,  # noqa: FBT001
        agent: str,
    ) -> Worktree:
        trees = self._worktrees()
        owner, of_agent = self._owner(task, wanted, agent)
        if earlier is not None:
            same = (earlier.task_id, earlier.agent if earlier.task_id is None else None) == (
                owner,
                of_agent,
            )
            if wanted is None or same or self.is_lent(task, earlier) or self._holds_work(earlier):
                return trees.again(earlier)
            if earlier.task_id == task.id and earlier.state != "removed":
                trees.remove(earlier)  # all of it has landed
        return trees.create(owner, agent=of_agent, resume=True)

    def _owner(
        self,
        task: Task,
        wanted: bool | str | None,  # noqa: FBT001
        agent: str,
    ) -> tuple[str | None, str | None]:
        if wanted == "agent":
            return None, agent
        while wanted == "subtree" and task.parent_task_id is not None:
            task = self._scope.task(task.parent_task_id)
        return task.id, None

    def _holds_work(self, worktree: Worktree) -> bool:
        """Tell whether it holds, or held when it was removed, what is not on the integration branch."""
        trees = self._worktrees()
        try:
            return (
                trees.is_removed_unlanded(worktree)
                if worktree.state == "removed"
                else not trees.is_merged(worktree)
            )
        except WorktreeError:  # it cannot be looked at: then nothing proves that it is empty
            return True

    def _refuse_to_leave(self, task: Task, earlier: Worktree | None) -> None:
        if (
            earlier is None
            or earlier.state == "removed"
            or self.is_lent(task, earlier)
            or not self._holds_work(earlier)
        ):
            return
        raise InvalidInputError(
            "worktree",
            f"False would leave work behind: {task.alias} has some in {earlier.path} that has not landed. Leave worktree out to go on "
            f"there; to go on without it, orch.worktrees.remove({earlier.name!r}) first, which keeps it under a rescue ref",
        )

    def _refuse_busy(self, worktree: Worktree, task: Task, agent: str) -> None:
        """Keep two agents out of one folder. One agent may have several tasks there: it does one thing at a time."""
        for other in self._at_work(worktree.name, TaskStatus.IN_PROGRESS):
            attempt = None if other.id == task.id else self._scope.store.situation(other.id).attempt
            if attempt is not None and attempt.ended_at is None and attempt.agent != agent:
                raise WorktreeBusyError(worktree.name, other.alias, attempt.agent)

    def _remember(self, task: Task, worktree: Worktree | None) -> None:
        name = _NONE if worktree is None else worktree.name
        if task.worktree != name and (worktree is not None or self._remembered(task) is not None):
            self._scope.store.update_task(task.id, {"worktree": name})

    def _brought_along(self, task: Task, worktree: Worktree) -> Place:
        """Bring in what was landed since, where the task needs it: to solve a conflict, or because it builds on it."""
        trees = self._worktrees()
        try:
            needed = could_not_land(task) or trees.lacks(
                worktree, [edge.task for edge in task.dependencies]
            )
            found = trees.catch_up(worktree) if needed else ()
            return Place(
                worktree=worktree,
                conflicts=tuple(dict.fromkeys((*found, *trees.unsolved_when_saved(worktree)))),
            )
        except WorktreeError as exc:
            log.warning(
                "what was landed since could not be brought into %s: %s", worktree.name, exc
            )
            return Place(worktree=worktree, behind=str(exc))


def could_not_land(recovery: Task) -> bool:
    """Tell whether a recovery was made because finished work could not land."""
    return recovery.recovers_task_id is not None and "integration_branch" in recovery.context
