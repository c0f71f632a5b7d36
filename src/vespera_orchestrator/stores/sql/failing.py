"""What follows when an attempt does not succeed: another try, a recovery, or a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import EventKind, TaskStatus
from vespera_orchestrator.stores.sql import claims, events, progress, reading, records
from vespera_orchestrator.stores.sql.consequences import follow_ends, recount, set_columns
from vespera_orchestrator.stores.sql.planning import plan
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import Ending, JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction


def is_retried(task: Task, ending: Ending) -> bool:
    """Tell whether a task whose attempt ends so is tried again by itself."""
    return _pause_s(task, ending) is not None


def _pause_s(task: Task, ending: Ending) -> float | None:
    """Return how long the task rests before it is tried again; ``None`` if it is not."""
    return lifecycle.retry_pause_s(task, task.failures + 1) if ending.may_retry else None


def fail(
    tx: Transaction, task: Task, ending: Ending, agent: str, data: Mapping[str, JsonValue]
) -> Task | None:
    """Write that an attempt, which has ended, did not succeed.

    Args:
        tx: The transaction.
        task: The task, as the attempt held it.
        ending: How the attempt ended.
        agent: Who says so.
        data: What the event says of the attempt.

    Returns:
        The recovery task, if one was planned.
    """
    pause_s = _pause_s(task, ending)
    if pause_s is not None:
        _schedule_retry(tx, task, ending, agent, data, pause_s=pause_s)
        return None
    failures = task.failures + 1
    _set_failed(tx, task, ending, TaskStatus.BLOCKED, was_blocked=1)
    events.record_for(tx, task, EventKind.TASK_BLOCKED, data, agent=agent)
    blocked = attrs.evolve(task, status=TaskStatus.BLOCKED, failures=failures, was_blocked=True)
    failure = lifecycle.Failure(
        error=ending.reason or "no reason given",
        checkpoint=reading.last_checkpoint(tx, task.id),
        artifact_ids=records.artifact_ids_of_attempt(tx, task),
        snapshot=ending.snapshot,
        context=ending.recovery,
    )
    recovery = lifecycle.recovery_for(blocked, failure)
    follow_ends(tx, [blocked])
    if recovery is None or reading.task(tx, task.id).status is not TaskStatus.BLOCKED:
        return None  # a condition on the block may have skipped it, with the whole
    return plan(tx, task.session_id, [recovery])[0]


def _schedule_retry(
    tx: Transaction,
    task: Task,
    ending: Ending,
    agent: str,
    data: Mapping[str, JsonValue],
    *,
    pause_s: float,
) -> None:
    """Let the task rest until it is tried again."""
    retry_at = tx.now + claims.lease_length(pause_s)
    rest: dict[str, JsonValue] = {}
    if pause_s:
        rest = {"asleep": 1, "not_before": retry_at, "retry_at": retry_at}
    _set_failed(tx, task, ending, TaskStatus.PENDING, **rest)
    data = {**data, "failures": task.failures + 1, "retry_at": str(load_time(retry_at))}
    events.record_for(tx, task, EventKind.RETRY_SCHEDULED, data, agent=agent)
    recount(tx, task.id)


def _set_failed(
    tx: Transaction, task: Task, ending: Ending, status: TaskStatus, **columns: JsonValue
) -> None:
    set_columns(
        tx,
        task.id,
        status=str(status),
        reason=ending.reason,
        failures=task.failures + 1,
        empty_rounds=0,
        crashes=0,
        summary=ending.summary,
        **columns,
    )


def count_crash(tx: Transaction, task: Task, words: str, *, agent: str) -> None:
    """Write that a task is pending again after its holder was lost, or blocked after too many.

    Args:
        tx: The transaction.
        task: The task, as its attempt held it.
        words: What happened to the attempt.
        agent: Who held it, or ended it.
    """
    crashes = 0 if progress.made_progress(tx, task) else task.crashes + 1
    reason = ""
    if crashes >= task.max_attempts:
        reason = lifecycle.crash_reason(crashes, words)
    else:
        lost = progress.lost_in_a_row(tx, task)
        if lost % lifecycle.most_lost(task) == 0:  # and once more each time a person has it retried
            crashes, reason = lost, lifecycle.lost_reason(lost, words)
    set_columns(tx, task.id, status=str(TaskStatus.PENDING), crashes=crashes)
    if reason:
        brake(tx, task, reason, {"crashes": crashes}, agent=agent)
    else:
        recount(tx, task.id)


def brake(
    tx: Transaction, task: Task, reason: str, counts: Mapping[str, JsonValue], *, agent: str
) -> None:
    """Block a task on which attempt after attempt came to nothing: a person must look at it."""
    status = TaskStatus.BLOCKED
    set_columns(tx, task.id, status=str(status), reason=reason, was_blocked=1)
    data = {"attempt": task.attempts, "artifacts": [], "reason": reason, **counts}
    events.record_for(tx, task, EventKind.TASK_BLOCKED, data, agent=agent)
    follow_ends(tx, [attrs.evolve(task, status=status, was_blocked=True)])
