"""Whether an agent can start a ready task just now, and what for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import TaskQuery, TaskStatus
from vespera_orchestrator.tasks import causes

if TYPE_CHECKING:
    from vespera_orchestrator._model import Task
    from vespera_orchestrator.contracts import Store

_KINDS: Final = ("specialist_type", "task_type", "alias_prefix")


@attrs.frozen(kw_only=True)
class Occupant:
    """Who works in a worktree."""

    alias: str
    """The task."""
    agent: str


def occupant_of(store: Store, worktree: str, task: Task, agent: str) -> Occupant | None:
    """Return another agent who works in the worktree of this name, on another task.

    One agent may have several tasks there: it does one thing at a time.
    """
    query = TaskQuery(worktree=worktree, status=(TaskStatus.IN_PROGRESS,), limit=None)
    for other in store.tasks(query):
        if other.id == task.id:
            continue
        attempt = store.situation(other.id).attempt
        if attempt is not None and attempt.ended_at is None and attempt.agent != agent:
            return Occupant(alias=other.alias, agent=attempt.agent)
    return None


def is_startable(store: Store, task: Task, agent: str) -> bool:
    """Tell whether no other agent works in the worktree of *task*."""
    worktree = _worktree_name(store, task)
    return not worktree or occupant_of(store, worktree, task, agent) is None


def named_kinds(wanted: TaskQuery | None) -> list[str]:
    """Return by what somebody wants tasks, apart from their parent."""
    return [name for name in _KINDS if getattr(wanted, name, None) is not None]


def recovery_beside(store: Store, wanted: TaskQuery | None, agent: str) -> list[Task]:
    """Return the ready recovery of the task below which tasks are wanted.

    It stands beside that task, not below it, and nothing there goes on without it.
    """
    if wanted is None or wanted.parent_task_id is None or named_kinds(wanted):
        return []
    recovery = store.situation(wanted.parent_task_id).open_recovery
    if recovery is None or not recovery.is_ready:
        return []
    return [recovery] if causes.why_not_for(recovery, agent) is None else []


def has_subtasks(store: Store, task: Task) -> bool:
    """Tell whether a task has subtasks: then its own work is to bring their results together.

    Of those that are archived there is nothing to bring together.
    """
    query = TaskQuery(parent_task_id=task.id, limit=1)
    return bool(store.tasks(query))


def _worktree_name(store: Store, task: Task) -> str | None:
    if task.worktree is None and task.recovers_task_id is not None:
        recovered = store.find_task(task.recovers_task_id, None)
        return None if recovered is None else recovered.worktree
    return task.worktree
