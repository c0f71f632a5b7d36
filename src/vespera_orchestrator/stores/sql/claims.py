"""Holding a task: claims, renewals, checkpoints, and the fence."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json, load_time
from vespera_orchestrator._model import (
    Attempt,
    AttemptEnding,
    Claim,
    EventKind,
    TaskStatus,
)
from vespera_orchestrator.errors import LeaseLostError, NotReadyError
from vespera_orchestrator.stores.sql import events, reading, records, rows, timing
from vespera_orchestrator.stores.sql.consequences import set_columns
from vespera_orchestrator.stores.sql.dialect import REGAINABLE, quoted
from vespera_orchestrator.tasks import causes, lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Checkpoint, JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_MICROSECOND: Final = timedelta(microseconds=1)


def lease_length(lease_s: float) -> int:
    """Return the length of a lease in microseconds."""
    return timedelta(seconds=lease_s) // _MICROSECOND


def claim(
    tx: Transaction,
    task: Task,
    agent: str,
    lease_s: float,
    purpose: str = "start",
    process: str = "",
    *,
    for_anybody: bool = False,
) -> Claim:
    """Give *agent* the task, which must be ready, and be for it or *for_anybody*.

    *purpose* says in an error what for.
    """
    if task.asleep:
        timing.follow_clock(tx)
        task = reading.task(tx, task.id)
    if not task.is_ready:
        why = causes.why(reading.situation(tx, task.id))
        raise NotReadyError(task.alias, task.status, purpose, why=why)
    other = None if for_anybody else causes.why_not_for(task, agent)
    if other is not None:
        raise NotReadyError(task.alias, task.status, purpose, why=other)
    number = task.attempts + 1
    sql = f"""
        UPDATE tasks SET status = '{TaskStatus.IN_PROGRESS}', attempts = {tx.mark}2,
            updated_at = {tx.mark}3
        WHERE id = {tx.mark}1
    """
    tx.execute(sql, (task.id, number, tx.now))
    columns = {
        "task_id": task.id,
        "number": number,
        "agent": agent,
        "started_at": tx.now,
        "lease_until": tx.now + lease_length(lease_s),
        "last_sign_at": tx.now,
        "process": process,
        "times_out_at": _limit_at(tx, task.time_limit_s),
        "stalls_at": _limit_at(tx, task.stalled_after_s),
    }
    rows.insert(tx, "attempts", columns)
    claimed = attrs.evolve(
        task, status=TaskStatus.IN_PROGRESS, attempts=number, updated_at=load_time(tx.now)
    )
    return started(tx, claimed, agent, lease_s, process)


def _limit_at(tx: Transaction, length_s: float | None) -> int | None:
    """Return when a limit that begins now is over."""
    return None if length_s is None else tx.now + lease_length(length_s)


def _limit(tx: Transaction, length_s: float | None) -> datetime | None:
    at = _limit_at(tx, length_s)
    return None if at is None else load_time(at)


def started(tx: Transaction, task: Task, agent: str, lease_s: float, process: str) -> Claim:
    """Record that the task's latest attempt was started just now, and return the claim."""
    started_at = load_time(tx.now)
    attempt = Attempt(
        task_id=task.id,
        number=task.attempts,
        agent=agent,
        started_at=started_at,
        lease_until=load_time(tx.now + lease_length(lease_s)),
        last_sign_at=started_at,
        process=process,
        times_out_at=_limit(tx, task.time_limit_s),
        stalls_at=_limit(tx, task.stalled_after_s),
    )
    data = {"attempt": attempt.number}
    events.record_for(tx, task, EventKind.TASK_STARTED, data, agent=agent)
    resumed_from = reading.last_checkpoint(tx, task.id) if attempt.number > 1 else None
    return Claim(task=task, attempt=attempt, resumed_from=resumed_from)


# --- the fence --------------------------------------------------------------


def require_hold(tx: Transaction, task: Task, attempt: int) -> Task:
    """Return the task if *attempt* holds it, or regains it because nobody took it meanwhile."""
    if task.attempts != attempt:
        holder = reading.attempt(tx, task)
        reason = "it was never started"
        if holder is not None:
            reason = f"attempt {task.attempts} by {holder.agent} followed it"
        raise LeaseLostError(task.alias, attempt, reason)
    if task.status is TaskStatus.IN_PROGRESS:
        return task
    may_regain = lifecycle.next_status(lifecycle.Verb.REGAIN, task.status) is not None
    ending = _last_ending(tx, task)
    if may_regain and ending in REGAINABLE:
        return _regain(tx, task, is_crash=ending == AttemptEnding.ABANDONED)
    reason = f" ({task.reason})" if task.reason else ""
    raise LeaseLostError(task.alias, attempt, f"the task is {task.status}{reason}{_end(tx, task)}")


def _end(tx: Transaction, task: Task) -> str:
    """Say what ended the attempt, if it came to nothing by itself, and how to go on."""
    if task.status is not TaskStatus.PENDING:
        return ""
    ended = causes.setback(task, reading.attempts(tx, task.id)[-1])
    return f"; {ended}; to go on: orch.execute_task({task.alias!r})" if ended else ""


def _last_ending(tx: Transaction, task: Task) -> str | None:
    attempt = reading.attempt(tx, task)
    return None if attempt is None else attempt.ending


def revoke(tx: Transaction, task: Task) -> None:
    """Make sure that the last attempt cannot be regained, because a person has decided since."""
    sql = f"""
        UPDATE attempts SET ending = '{AttemptEnding.CANCELLED}'
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2
            AND ending IN {quoted(REGAINABLE)}
    """
    tx.execute(sql, (task.id, task.attempts))


def _regain(tx: Transaction, task: Task, *, is_crash: bool) -> Task:
    """Open the task's last attempt again, for as long as it was held before.

    What was counted as a crash was none. The time without a lease does not count for its limits.
    """
    sql = f"""
        UPDATE attempts SET ended_at = NULL, ending = NULL, error = NULL,
            {_limits_shifted(tx, 1)},
            lease_until = {tx.mark}1 + lease_until - last_sign_at, last_sign_at = {tx.mark}1
        WHERE task_id = {tx.mark}2 AND number = {tx.mark}3
    """
    tx.execute(sql, (tx.now, task.id, task.attempts))
    reason = None if task.status is TaskStatus.BLOCKED else task.reason
    crashes = max(0, task.crashes - 1) if is_crash else task.crashes
    status = TaskStatus.IN_PROGRESS
    set_columns(tx, task.id, status=str(status), reason=reason, crashes=crashes)
    events.record_for(tx, task, EventKind.LEASE_REGAINED, {"attempt": task.attempts})
    return attrs.evolve(task, status=status, reason=reason, crashes=crashes)


def _limits_shifted(tx: Transaction, slot: int) -> str:
    """Return the assignments that leave the time since the lease expired out of the limits.

    A holder that slept, with its whole machine, has not used that time.
    """
    lapsed = (
        f"CASE WHEN lease_until < {tx.mark}{slot} THEN {tx.mark}{slot} - lease_until ELSE 0 END"
    )
    return f"times_out_at = times_out_at + {lapsed}, stalls_at = stalls_at + {lapsed}"


def renew(
    tx: Transaction,
    task_id: str,
    attempt: int,
    *,
    lease_s: float,
    process: str | None,
    files_changed: bool,
    snapshot: str | None,
    within: Callable[[], None] | None,
) -> Attempt:
    """See `contracts.Store.renew`."""
    task = require_hold(tx, reading.task(tx, task_id), attempt)
    _extend(tx, task, lease_s)
    note_files(tx, task, snapshot)
    if files_changed:
        _note_changed_files(tx, task)
        note_progress(tx, task)
    if process is not None:
        _set_process(tx, task, process)
    holder = reading.attempt(tx, task)
    assert holder is not None  # noqa: S101 - the fence has just seen it
    data = {"attempt": attempt}
    events.record_for(tx, task, EventKind.LEASE_RENEWED, data, agent=holder.agent)
    if within is not None:
        within()
    return holder


def note_files(tx: Transaction, task: Task, snapshot: str | None) -> None:
    """Note the commit with the files of the task's worktree, if they have just been saved."""
    if snapshot is not None and task.worktree:
        records.note_saved(tx, task.worktree, snapshot)


def _extend(tx: Transaction, task: Task, lease_s: float) -> str:
    """Extend the lease, and return who holds it."""
    has_limits = task.time_limit_s is not None or task.stalled_after_s is not None
    limits = f"{_limits_shifted(tx, 2)}," if has_limits else ""
    sql = f"""
        UPDATE attempts SET {limits} lease_until = {tx.mark}1, last_sign_at = {tx.mark}2
        WHERE task_id = {tx.mark}3 AND number = {tx.mark}4 RETURNING agent
    """
    lease_until = tx.now + lease_length(lease_s)
    row = tx.execute(sql, (lease_until, tx.now, task.id, task.attempts)).fetchone()
    return str(row[0])


def _note_changed_files(tx: Transaction, task: Task) -> None:
    sql = f"""
        UPDATE attempts SET files_changed = 1
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2 AND files_changed = 0
    """
    tx.execute(sql, (task.id, task.attempts))


def note_progress(tx: Transaction, task: Task) -> None:
    """Note that the attempt which holds the task has brought something new: it is not stalled."""
    if task.stalled_after_s is None:
        return
    sql = f"""
        UPDATE attempts SET stalls_at = {tx.mark}3
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2 AND ended_at IS NULL
    """
    values = (task.id, task.attempts, _limit_at(tx, task.stalled_after_s))
    tx.execute(sql, values)


def follow_limits(tx: Transaction, task: Task) -> None:
    """Let the limits of a task, which were changed, hold for its running attempt.

    Args:
        tx: The transaction.
        task: The task as it is now.
    """
    sql = f"""
        UPDATE attempts SET times_out_at = started_at + {tx.mark}3, stalls_at = {tx.mark}4
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2 AND ended_at IS NULL
    """
    length = None if task.time_limit_s is None else lease_length(task.time_limit_s)
    stalls_at = _limit_at(tx, task.stalled_after_s)
    tx.execute(sql, (task.id, task.attempts, length, stalls_at))


def _set_process(tx: Transaction, task: Task, process: str) -> None:
    sql = f"""
        UPDATE attempts SET process = {tx.mark}1 WHERE task_id = {tx.mark}2 AND number = {tx.mark}3
    """
    tx.execute(sql, (process, task.id, task.attempts))


def checkpoint(
    tx: Transaction,
    task_id: str,
    attempt: int,
    state: JsonValue,
    *,
    note: str,
    progress: float | None,
    snapshot: str | None,
    left_out: Sequence[str],
    lease_s: float,
    within: Callable[[], None] | None,
) -> Checkpoint:
    """See `contracts.Store.checkpoint`."""
    state_text = dump_json(state, "state")
    task = require_hold(tx, reading.task(tx, task_id), attempt)
    agent = _extend(tx, task, lease_s)
    paths = dump_json(list(left_out), "left_out")
    values = (task_id, attempt, state_text, note, progress, snapshot, paths, tx.now)
    if task.stalled_after_s is not None and _is_new(tx, values):
        note_progress(tx, task)
    sql = f"""
        INSERT INTO checkpoints
            (task_id, attempt, state, note, progress, snapshot, left_out, created_at)
        VALUES ({tx.dialect.slots(8)}) RETURNING {rows.CHECKPOINT.columns}
    """
    saved = rows.CHECKPOINT.read(tx.execute(sql, values).fetchone())
    note_files(tx, task, snapshot)
    data: dict[str, JsonValue] = {
        "attempt": attempt,
        "checkpoint": saved.id,
        "note": note,
        "progress": progress,
    }
    if left_out:
        data["left_out"] = list(left_out)
    events.record_for(tx, task, EventKind.CHECKPOINT_SAVED, data, agent=agent)
    if within is not None:
        within()
    return saved


def _is_new(tx: Transaction, values: tuple[object, ...]) -> bool:
    """Tell whether a checkpoint says something else than the last one of its task."""
    task_id, _, state, note, progress, snapshot, *_ = values
    sql = f"""
        SELECT 1 FROM checkpoints
        WHERE id = (SELECT max(id) FROM checkpoints WHERE task_id = {tx.mark}1)
            AND state = {tx.mark}2 AND note = {tx.mark}3
            AND coalesce(progress, -1) = {tx.mark}4 AND coalesce(snapshot, '') = {tx.mark}5
    """
    share = -1.0 if progress is None else progress
    return tx.execute(sql, (task_id, state, note, share, snapshot or "")).fetchone() is None
