"""What a person decides about tasks: to cancel, give up, try again, open again, archive."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import AttemptEnding, EventKind, Reopening, TaskStatus
from vespera_orchestrator.errors import TransitionError
from vespera_orchestrator.stores.sql import events, reading
from vespera_orchestrator.stores.sql.consequences import (
    close_attempt,
    end_task,
    follow_ends,
    set_columns,
)
from vespera_orchestrator.stores.sql.cycles import cycle_error, find_path
from vespera_orchestrator.stores.sql.drafts import reopening
from vespera_orchestrator.stores.sql.restoring import (
    completed_parent,
    make_pending,
    refuse_circle_through,
    restore_dependents,
)
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks.lifecycle import (
    HAVE_BUILT,
    Verb,
    next_status,
    readiness,
    tasks_by_name,
)

if TYPE_CHECKING:
    from vespera_orchestrator._model import JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_GIVEN_UP: Final = (EventKind.TASK_CANCELLED, EventKind.TASK_FAILED)
"""Events that tell how a task was taken out of the plan."""
_WAITS_AGAIN: Final = frozenset({TaskStatus.PENDING, TaskStatus.BLOCKED, TaskStatus.SKIPPED})


def cancel(tx: Transaction, task_id: str, reason: str, *, whole_subtree: bool) -> list[Task]:
    """See `contracts.Store.cancel`."""
    task = reading.task(tx, task_id)
    if task.status is TaskStatus.CANCELLED:
        return []
    if next_status(Verb.CANCEL, task.status) is None:
        raise TransitionError(task.alias, task.status, "be cancelled", "it has ended already")
    task_ids = reading.open_subtree_ids(tx, task_id) if whole_subtree else [task_id]
    for each in task_ids:
        _cancel(tx, reading.task(tx, each), reason, whole=task_id)
    changed = reading.tasks_by_id(tx, task_ids)
    return [each for each in changed if each.status is TaskStatus.CANCELLED]


def abandon(tx: Transaction, task_id: str, reason: str, *, whole_subtree: bool) -> list[Task]:
    """See `contracts.Store.abandon`."""
    task = reading.task(tx, task_id)
    if next_status(Verb.ABANDON, task.status) is None:
        raise TransitionError(task.alias, task.status, "be abandoned", "it has ended already")
    task_ids = reading.open_subtree_ids(tx, task_id) if whole_subtree else [task_id]
    for part_id in task_ids:
        if part_id != task_id:
            why = f"{task.alias}, of which it is a part, was given up"
            part_reason = f"{why}: {reason}" if reason else why
            _cancel(tx, reading.task(tx, part_id), part_reason, whole=task_id)
    _give_up(tx, reading.task(tx, task_id), TaskStatus.FAILED, EventKind.TASK_FAILED, reason)
    changed = reading.tasks_by_id(tx, task_ids)
    return [each for each in changed if each.id == task_id or each.status is TaskStatus.CANCELLED]


def _cancel(tx: Transaction, task: Task, reason: str, *, whole: str | None = None) -> None:
    _give_up(tx, task, TaskStatus.CANCELLED, EventKind.TASK_CANCELLED, reason, whole=whole)


def _give_up(
    tx: Transaction,
    task: Task,
    status: TaskStatus,
    kind: EventKind,
    reason: str,
    *,
    whole: str | None = None,
) -> None:
    """Take a task out of the plan; *whole* is the id of the one with which that was meant."""
    if task.status.is_terminal:  # a consequence of one that was given up before it
        return
    if task.status is TaskStatus.IN_PROGRESS:
        close_attempt(tx, task, AttemptEnding.CANCELLED, reason)
    end_task(tx, task, status, reason=reason or None)
    data: dict[str, JsonValue] = {"reason": reason}
    if whole not in {None, task.id}:
        data["with"] = whole
    events.record_for(tx, task, kind, data)
    _cancel_recovery(tx, task)
    _cancel_questions(tx, task, whole=whole or task.id)
    follow_ends(tx, [attrs.evolve(task, status=status)])


def _cancel_recovery(tx: Transaction, task: Task) -> None:
    for recovery_id in reading.open_recovery_ids(tx, task.id):
        reason = f"{task.alias} needs no recovery any more"
        _cancel(tx, reading.task(tx, recovery_id), reason)


def _cancel_questions(tx: Transaction, task: Task, *, whole: str) -> None:
    """Cancel what an agent has asked about a task, unless another task waits for that, too."""
    for question in _asked_about(tx, task):
        if question.status is TaskStatus.PENDING and not _is_awaited(tx, question, task):
            reason = f"{task.alias}, for which it was asked, was given up"
            _cancel(tx, question, reason, whole=whole)


def _asked_about(tx: Transaction, task: Task) -> list[Task]:
    """Return the questions that were asked on the way by those who worked on a task."""
    if not task.attempts:
        return []
    asked = events.data_of(tx, task.id, (EventKind.QUESTION_ASKED,))
    ids = [str(data.get("question")) for data in asked]
    needed = {edge.task for edge in task.dependencies}
    return reading.tasks_by_id(tx, [each for each in ids if each in needed])


def _is_awaited(tx: Transaction, needed: Task, apart: Task) -> bool:
    """Tell whether another open task than *apart* waits for *needed*."""
    dependents = reading.tasks_by_id(tx, reading.dependent_ids(tx, needed.id), edges=False)
    return any(each.id != apart.id and not each.status.is_terminal for each in dependents)


def retry(tx: Transaction, task_id: str, reason: str) -> Task:
    """See `contracts.Store.retry`."""
    task = reading.task(tx, task_id)
    if next_status(Verb.RETRY, task.status) is None:
        remedy = "only a blocked or ended task can"
        if task.retry_at is not None:
            remedy = f"it will be, by itself; now: orch.snooze_task({task.alias!r}, None)"
        if task.status is TaskStatus.COMPLETED:
            remedy = reopening(task.alias, task.status)
        raise _cannot_retry(task, remedy)
    _refuse_second_recovery(tx, task)
    parent = completed_parent(tx, task)
    if parent is not None:
        remedy = f"{parent.alias}, of which it is a part, is completed: reopen that first"
        raise _cannot_retry(task, remedy)
    _cancel_recovery(tx, task)
    _try_again(tx, task, reason)
    _refuse_circle(tx, task)
    retried = reading.task(tx, task_id)
    if retried.status is TaskStatus.SKIPPED:  # what it waits for has not changed
        remedy = f"it would be skipped again ({retried.reason}); {_way_on(tx, retried)}"
        raise _cannot_retry(task, remedy)
    return retried


def _way_on(tx: Transaction, task: Task) -> str:
    """Say what lets a skipped task be done: what it waits for comes again, or matters no more."""
    needed_ids = [edge.task for edge in task.dependencies]
    needed = {each.id: each for each in reading.tasks_by_id(tx, needed_ids)}
    never = readiness(task, needed).never
    change = "condition=''"
    other = next(iter(tasks_by_name(task, needed).values()), None)
    if never:
        change = "dependencies=…"
        other = needed[never[0].task]
    out = f"take that out: orch.update_task({task.alias!r}, {change})"
    if other is None or not other.status.is_terminal:
        return out
    return f"first {other.alias}: {reopening(other.alias, other.status)}; or {out}"


def reopen(tx: Transaction, task_id: str, reason: str) -> Reopening:
    """See `contracts.Store.reopen`."""
    task = reading.task(tx, task_id)
    if next_status(Verb.REOPEN, task.status) is None:
        remedy = "only a completed one can"
        if task.status.is_terminal or task.status is TaskStatus.BLOCKED:
            remedy += f"; {reopening(task.alias, task.status)}"
        raise _cannot_reopen(task, remedy)
    if task.recovers_task_id is not None:
        remedy = "a recovery is done once; reopen what it recovered, if that is completed"
        raise _cannot_reopen(task, remedy)
    parent = completed_parent(tx, task)
    if parent is not None:
        remedy = f"it is a part of {parent.alias}; {reopening(parent.alias, parent.status)}"
        raise _cannot_reopen(task, remedy)
    waiting, outdated = _affected_by_reopening(tx, task)
    data: dict[str, JsonValue] = {
        "summary": task.summary,
        "outputs": dict(task.outputs),
        "waiting": waiting,
        "outdated": outdated,
    }
    make_pending(tx, task, EventKind.TASK_REOPENED, reason, data)
    set_columns(tx, task.id, reason=reason or None)
    restore_dependents(tx, [task], reason)
    refuse_circle_through(tx, task)
    reopened = reading.task(tx, task_id)
    if reopened.status is TaskStatus.SKIPPED:  # what it waits for has failed or gone since
        remedy = f"it would be skipped ({reopened.reason}); try that again first"
        raise _cannot_reopen(task, remedy)
    return Reopening(
        task=reopened,
        waiting=tuple(reading.tasks_by_id(tx, waiting)),
        outdated=tuple(reading.tasks_by_id(tx, outdated)),
    )


def _affected_by_reopening(tx: Transaction, task: Task) -> tuple[list[str], list[str]]:
    """Return the ids of the dependents that wait again, and of all that was built on the task.

    So is the task that it is a part of, if somebody works on that.
    """
    waiting: list[str] = []
    outdated: dict[str, None] = {}
    queue = deque([task.id])
    while queue:
        needed = queue.popleft()
        for dependent in reading.tasks_by_id(tx, reading.dependent_ids(tx, needed)):
            if dependent.status in HAVE_BUILT and dependent.id not in outdated:
                outdated[dependent.id] = None
                queue.append(dependent.id)
            elif needed == task.id and dependent.status in _WAITS_AGAIN:
                waiting.append(dependent.id)
    parent = None if task.parent_task_id is None else reading.task(tx, task.parent_task_id)
    if parent is not None and parent.status is TaskStatus.IN_PROGRESS:
        outdated[parent.id] = None
    return waiting, list(outdated)


def correct(tx: Transaction, task_id: str, summary: str) -> Task:
    """See `contracts.Store.correct`."""
    task = reading.task(tx, task_id)
    if task.summary is None:
        remedy = "it has no summary yet"
        raise TransitionError(task.alias, task.status, "be corrected", remedy)
    if summary == task.summary:
        return task
    set_columns(tx, task_id, summary=summary)
    _, outdated = _affected_by_reopening(tx, task)
    data: dict[str, JsonValue] = {
        "summary": summary,
        "before": task.summary,
        "outdated": list(outdated),
    }
    events.record_for(tx, task, EventKind.TASK_CORRECTED, data)
    return reading.task(tx, task_id)


def _cannot_retry(task: Task, remedy: str) -> TransitionError:
    return TransitionError(task.alias, task.status, "be tried again", remedy)


def _cannot_reopen(task: Task, remedy: str) -> TransitionError:
    return TransitionError(task.alias, task.status, "be reopened", remedy)


def _refuse_second_recovery(tx: Transaction, task: Task) -> None:
    if task.recovers_task_id is None or task.status is TaskStatus.BLOCKED:
        return
    situation = reading.situation(tx, task.recovers_task_id)
    target = situation.task
    if target.status is not TaskStatus.BLOCKED or situation.open_recovery is not None:
        remedy = (
            f"{target.alias} is {target.status} and no longer needs it; "
            f"see orch.why({target.alias!r})"
        )
        raise _cannot_retry(task, remedy)


def _refuse_circle(tx: Transaction, recovery: Task) -> None:
    """Refuse a recovery that waits for what it recovers: that waits for it again, once it is open.

    What it waits for may have been added while it was cancelled.
    """
    target_id = recovery.recovers_task_id
    if target_id is None:
        return
    path = find_path(tx, target_id, target_id)
    if path:
        target = reading.task(tx, target_id)
        raise cycle_error(path, remedy=f"try {target.alias} again instead: {_retry_call(target)}")


def _retry_call(task: Task) -> str:
    return f"orch.retry_task({task.alias!r})"


def _try_again(tx: Transaction, task: Task, reason: str) -> None:
    """Make the task pending again, and all that ended because of it, downward."""
    parts = _cancelled_parts(tx, task)
    make_pending(tx, task, EventKind.TASK_RETRIED, reason)
    for part in parts:
        make_pending(tx, part, EventKind.TASK_RETRIED, reason, {"with": task.id})
    restore_dependents(tx, [task, *parts], reason)


def _cancelled_parts(tx: Transaction, task: Task) -> list[Task]:
    """Return what was cancelled together with a task: what is below it, and what it had asked.

    What somebody had cancelled before, for itself, is not among it, nor what was archived.
    """
    if task.status not in {TaskStatus.CANCELLED, TaskStatus.FAILED}:
        return []
    whole = _cancelled_with(tx, task.id) or task.id
    parts = reading.tasks_by_id(tx, reading.cancelled_below(tx, task.id))
    asked = [each for asker in (task, *parts) for each in _asked_about(tx, asker)]
    ended = {each.id: each for each in (*parts, *asked)}
    return [each for each in ended.values() if _was_cancelled_with(tx, each, whole)]


def _was_cancelled_with(tx: Transaction, task: Task, whole: str) -> bool:
    is_cancelled = task.status is TaskStatus.CANCELLED and not task.archived
    return is_cancelled and _cancelled_with(tx, task.id) == whole


def _cancelled_with(tx: Transaction, task_id: str) -> str | None:
    """Return the whole with which a task was cancelled; ``None`` if that was meant for itself."""
    whole = events.last_data_of(tx, task_id, _GIVEN_UP).get("with")
    return None if whole is None else str(whole)


def delete(tx: Transaction, task_id: str, *, hard: bool) -> Task:
    """See `contracts.Store.delete`."""
    task = reading.task(tx, task_id)
    if not task.status.is_terminal:
        remedy = f"cancel it first: orch.cancel_task({task.alias!r})"
        raise TransitionError(task.alias, task.status, "be deleted", remedy)
    if hard:
        _delete_for_good(tx, task)
        return task
    set_columns(tx, task_id, archived=1)
    events.record_for(tx, task, EventKind.TASK_ARCHIVED, {})
    return reading.task(tx, task_id)


def _delete_for_good(tx: Transaction, task: Task) -> None:
    sql = f"""
        SELECT alias FROM tasks JOIN dependencies ON task_id = id WHERE needs_id = {tx.mark}1
        UNION SELECT alias FROM tasks
            WHERE parent_task_id = {tx.mark}1 OR recovers_task_id = {tx.mark}1
    """
    others = first_column(tx.execute(sql, (task.id,)))
    if others:
        names = ", ".join(others[:5])
        remedy = (
            f"{names} depend on it or are below it; "
            f"archive it instead: orch.delete_task({task.alias!r})"
        )
        raise TransitionError(task.alias, task.status, "be removed for good", remedy)
    for table in ("dependencies", "checkpoints", "attempts", "given", "effects"):
        tx.execute(f"DELETE FROM {table} WHERE task_id = {tx.mark}1", (task.id,))
    tx.execute(f"DELETE FROM tasks WHERE id = {tx.mark}1", (task.id,))
    data = {"alias": task.alias, "title": task.title}
    events.record_for(tx, task, EventKind.TASK_DELETED, data)
