"""Open again: tasks that had ended, and what was skipped because of them, downward."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import EventKind, TaskStatus
from vespera_orchestrator.stores.sql import claims, events, reading, waiting
from vespera_orchestrator.stores.sql.consequences import add_blockers, recount, set_columns
from vespera_orchestrator.stores.sql.cycles import cycle_error, find_path
from vespera_orchestrator.stores.sql.transaction import first_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vespera_orchestrator._model import JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_NEEDS_CHANGED: Final = "what it waits for was changed"


def make_pending(
    tx: Transaction,
    task: Task,
    kind: EventKind,
    reason: str,
    data: Mapping[str, JsonValue] | None = None,
) -> None:
    """Write that a task is to be done: what counted against it is forgotten."""
    set_columns(
        tx,
        task.id,
        status=str(TaskStatus.PENDING),
        reason=None,
        failures=0,
        empty_rounds=0,
        crashes=0,
        ended_at=None,
        archived=0,
    )
    if not _keeps_answer(task):
        set_columns(tx, task.id, answered=0, answer=None)
    if task.retry_at is not None:  # nobody waits for a pause who asks for another try
        set_columns(tx, task.id, retry_at=None, not_before=None, asleep=0)
    claims.revoke(tx, task)
    events.record_for(tx, task, kind, {"reason": reason, **(data or {})})
    if task.status.is_terminal and task.parent_task_id is not None:
        add_blockers(tx, task.parent_task_id, 1)


def _keeps_answer(task: Task) -> bool:
    """Tell whether what came before a task could be done still counts when it comes back.

    What was skipped had been answered, and nobody takes that back. A person who tries a question
    again is asked again; the host does not report again what it has reported.
    """
    if task.status is TaskStatus.SKIPPED:
        return True
    return task.signal is not None and task.status is not TaskStatus.COMPLETED


def restore_dependents(tx: Transaction, tasks: Sequence[Task], reason: str) -> None:
    """Count what waits for open tasks, and restore what was skipped because of them, downward.

    All are pending before any is counted: a part, what waits for it, and the whole may each be
    skipped only because another of them is.

    Args:
        tx: The transaction.
        tasks: The tasks as they were before they were opened.
        reason: Why they were.
    """
    affected = dict.fromkeys(task.id for task in tasks)
    waiting_again = [task.id for task in tasks if task.status is not TaskStatus.COMPLETED]
    queue = deque(task_id for task in tasks for task_id in _held_up_by(tx, task))
    while queue:
        other = reading.task(tx, queue.popleft())
        if other.id in affected:
            continue
        affected[other.id] = None
        if may_be_restored(tx, other):  # or it was reached before over another way
            make_pending(tx, other, EventKind.TASK_REOPENED, reason)
            waiting_again.append(other.id)
            queue.extend(_held_up_by(tx, other))
    for task_id in affected:
        recount(tx, task_id)
    waiting.take_earlier_signals(tx, reading.tasks_by_id(tx, waiting_again))


def _held_up_by(tx: Transaction, task: Task) -> list[str]:
    """Return what waits for the task, and, if it was skipped, its parts that were skipped too."""
    dependents = reading.dependent_ids(tx, task.id)
    if task.status is not TaskStatus.SKIPPED:
        return dependents
    sql = f"""
        SELECT id FROM tasks
        WHERE parent_task_id = {tx.mark}1 AND status = '{TaskStatus.SKIPPED}' ORDER BY seq
    """
    return [*first_column(tx.execute(sql, (task.id,)).fetchall()), *dependents]


def may_be_restored(tx: Transaction, task: Task) -> bool:
    """Tell whether a task is skipped, and can be decided anew when what it waits for changes.

    Nobody waits for an old recovery, or for a part of what is completed.
    """
    return (
        task.status is TaskStatus.SKIPPED
        and task.recovers_task_id is None
        and completed_parent(tx, task) is None
    )


def completed_parent(tx: Transaction, task: Task) -> Task | None:
    """Return the task that this one is a part of, if that is completed."""
    if task.parent_task_id is None:
        return None
    parent = reading.task(tx, task.parent_task_id)
    return parent if parent.status is TaskStatus.COMPLETED else None


def refuse_circle_through(tx: Transaction, task: Task) -> None:
    """Refuse an open task that waits for itself: edges may have been added while it was done."""
    path = find_path(tx, task.id, task.id)
    if path:
        raise cycle_error(path, remedy="plan a further task instead")


def restore_skipped(tx: Transaction, task: Task) -> None:
    """Make a skipped task pending again, before what it waits for is changed."""
    make_pending(tx, task, EventKind.TASK_REOPENED, _NEEDS_CHANGED)


def follow_restored(tx: Transaction, tasks: Sequence[Task]) -> None:
    """Decide anew about what was skipped because these tasks were, downward.

    Args:
        tx: The transaction.
        tasks: The tasks as they were while they were skipped; what they wait for is changed now.

    Raises:
        CycleError: One of them would wait for itself: others may have come to wait for it.
    """
    for task in tasks:
        recount(tx, task.id)
        if reading.task(tx, task.id).status is not TaskStatus.SKIPPED:
            restore_dependents(tx, [task], _NEEDS_CHANGED)
            refuse_circle_through(tx, task)
