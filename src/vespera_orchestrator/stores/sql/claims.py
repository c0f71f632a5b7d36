"""Holding a task: claims, renewals, checkpoints, and the end of expired leases."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._codec import dump_json, load_time
from vespera_orchestrator._model import (
    Attempt,
    AttemptEnding,
    Claim,
    EventKind,
    TaskStatus,
)
from vespera_orchestrator.errors import LeaseLostError, NotReadyError, TransitionError
from vespera_orchestrator.stores.sql import events, reading, rows, timing
from vespera_orchestrator.stores.sql.consequences import recount, set_columns
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

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
        why = lifecycle.why(reading.situation(tx, task.id))
        raise NotReadyError(task.alias, task.status, purpose, why=why)
    other = None if for_anybody else lifecycle.why_not_for(task, agent)
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
    }
    rows.insert(tx, "attempts", columns)
    claimed = attrs.evolve(
        task, status=TaskStatus.IN_PROGRESS, attempts=number, updated_at=load_time(tx.now)
    )
    return started(tx, claimed, agent, lease_s, process)


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
    if task.status is TaskStatus.PENDING and _was_abandoned(tx, task):
        return _regain(tx, task)
    reason = f" ({task.reason})" if task.reason else ""
    raise LeaseLostError(task.alias, attempt, f"the task is {task.status}{reason}")


def _was_abandoned(tx: Transaction, task: Task) -> bool:
    attempt = reading.attempt(tx, task)
    return attempt is not None and attempt.ending == AttemptEnding.ABANDONED


def revoke(tx: Transaction, task: Task) -> None:
    """Make sure that the last attempt cannot be regained, because a person has decided since."""
    sql = f"""
        UPDATE attempts SET ending = '{AttemptEnding.CANCELLED}'
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2
            AND ending = '{AttemptEnding.ABANDONED}'
    """
    tx.execute(sql, (task.id, task.attempts))


def _regain(tx: Transaction, task: Task) -> Task:
    """Open the task's last attempt again, for as long as it was held before."""
    sql = f"""
        UPDATE attempts SET ended_at = NULL, ending = NULL, error = NULL,
            lease_until = {tx.mark}1 + lease_until - last_sign_at, last_sign_at = {tx.mark}1
        WHERE task_id = {tx.mark}2 AND number = {tx.mark}3
    """
    tx.execute(sql, (tx.now, task.id, task.attempts))
    set_columns(tx, task.id, status=str(TaskStatus.IN_PROGRESS))
    events.record_for(tx, task, EventKind.LEASE_REGAINED, {"attempt": task.attempts})
    return attrs.evolve(task, status=TaskStatus.IN_PROGRESS)


def renew(
    tx: Transaction,
    task_id: str,
    attempt: int,
    *,
    lease_s: float,
    process: str | None,
    files_changed: bool,
    within: Callable[[], None] | None,
) -> Attempt:
    """See `contracts.Store.renew`."""
    task = require_hold(tx, reading.task(tx, task_id), attempt)
    _extend(tx, task, lease_s)
    if files_changed:
        _note_changed_files(tx, task)
    if process is not None:
        _set_process(tx, task, process)
    holder = reading.attempt(tx, task)
    assert holder is not None  # noqa: S101 - the fence has just seen it
    data = {"attempt": attempt}
    events.record_for(tx, task, EventKind.LEASE_RENEWED, data, agent=holder.agent)
    if within is not None:
        within()
    return holder


def _extend(tx: Transaction, task: Task, lease_s: float) -> None:
    sql = f"""
        UPDATE attempts SET lease_until = {tx.mark}1, last_sign_at = {tx.mark}2
        WHERE task_id = {tx.mark}3 AND number = {tx.mark}4
    """
    lease_until = tx.now + lease_length(lease_s)
    tx.execute(sql, (lease_until, tx.now, task.id, task.attempts))


def _note_changed_files(tx: Transaction, task: Task) -> None:
    sql = f"""
        UPDATE attempts SET files_changed = 1
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2 AND files_changed = 0
    """
    tx.execute(sql, (task.id, task.attempts))


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
    _extend(tx, task, lease_s)
    sql = f"""
        INSERT INTO checkpoints
            (task_id, attempt, state, note, progress, snapshot, left_out, created_at)
        VALUES ({tx.dialect.slots(8)}) RETURNING {rows.CHECKPOINT.columns}
    """
    paths = dump_json(list(left_out), "left_out")
    values = (task_id, attempt, state_text, note, progress, snapshot, paths, tx.now)
    saved = rows.CHECKPOINT.read(tx.execute(sql, values).fetchone())
    data: dict[str, JsonValue] = {
        "attempt": attempt,
        "checkpoint": saved.id,
        "note": note,
        "progress": progress,
    }
    if left_out:
        data["left_out"] = list(left_out)
    events.record_for(tx, task, EventKind.CHECKPOINT_SAVED, data)
    if within is not None:
        within()
    return saved


# --- expired leases ---------------------------------------------------------


_CLOCK_STEP: Final = 1_000_000
"""How far a clock may be set back, in microseconds, before it makes a difference."""


def lease_is_due(mark: str) -> str:
    """Return the test for leases that have expired, or are from the future.

    Args:
        mark: The placeholder of the time now.
    """
    return f"(lease_until < {mark} OR {_from_the_future(mark)})"


def _from_the_future(mark: str) -> str:
    """Return the test for leases that were renewed later than now: the clock was set back."""
    return f"last_sign_at > {mark} + {_CLOCK_STEP}"


@attrs.frozen(kw_only=True)
class Due:
    """What `expire` may have to do."""

    is_due: bool
    """Whether a lease has expired, or is from the future, or a date has come."""
    processes: frozenset[str]
    """The processes that running attempts end with."""


def due(tx: Transaction) -> Due:
    """Return what `expire` may have to do."""
    is_due = lease_is_due(f"{tx.mark}1")
    sql = f"""
        SELECT process, {is_due} FROM attempts
        WHERE ended_at IS NULL AND ({is_due} OR process <> '')
    """
    found = tx.execute(sql, (tx.now,)).fetchall()
    processes = frozenset(process for process, _ in found if process)
    is_late = any(is_late for _, is_late in found)
    return Due(is_due=is_late or timing.has_due(tx), processes=processes)


def gone_among(processes: Collection[str], is_gone: Callable[[str], bool] | None) -> frozenset[str]:
    """Return those of the processes that have ended for certain."""
    if is_gone is None:
        return frozenset()
    return frozenset(process for process in processes if process and is_gone(process))


def _follow_clock(tx: Transaction) -> None:
    """Let each lease last no longer from now on than its length, if the clock was set back."""
    sql = f"""
        SELECT task_id, number, agent FROM attempts
        WHERE ended_at IS NULL AND {_from_the_future(f"{tx.mark}1")}
    """
    for task_id, number, agent in tx.execute(sql, (tx.now,)).fetchall():
        task = reading.task(tx, task_id)
        if tx.locked_session not in {None, task.session_id}:
            continue
        sql = f"""
            UPDATE attempts SET lease_until = {tx.mark}1 + lease_until - last_sign_at,
                last_sign_at = {tx.mark}1
            WHERE task_id = {tx.mark}2 AND number = {tx.mark}3 AND ended_at IS NULL
                AND {_from_the_future(f"{tx.mark}1")}
        """
        if not tx.execute(sql, (tx.now, task_id, number)).rowcount:
            continue  # its holder was faster
        data: dict[str, JsonValue] = {"attempt": number, "clock_set_back": True}
        events.record_for(tx, task, EventKind.LEASE_RENEWED, data, agent=agent)


def expired(tx: Transaction, gone: Collection[str] = ()) -> list[Attempt]:
    """Return the attempts whose lease is over: of the locked session, or of all where none is.

    So is the lease of an attempt that ends with processes which are *gone*.

    Where rows are locked one by one, their tasks are locked first and looked at again: a holder
    may have renewed in between.
    """
    if tx.writing and tx.dialect.lock_row:
        return _expired_in_locked_session(tx, gone)
    sql = f"""
        SELECT {rows.ATTEMPT.columns} FROM attempts
        WHERE ended_at IS NULL AND lease_until < {tx.mark}1
    """
    attempts = rows.ATTEMPT.read_all(tx.execute(sql, (tx.now,)))
    if gone:
        sql = f"""
            SELECT {rows.ATTEMPT.columns} FROM attempts
            WHERE ended_at IS NULL AND lease_until >= {tx.mark}1
                AND process {tx.dialect.in_list(2)}
        """
        values = (tx.now, json.dumps(sorted(gone)))
        attempts += rows.ATTEMPT.read_all(tx.execute(sql, values))
    return attempts


def _expired_in_locked_session(tx: Transaction, gone: Collection[str]) -> list[Attempt]:
    gone_list = json.dumps(sorted(gone))
    is_over = f"(lease_until < {tx.mark}2 OR process {tx.dialect.in_list(3)})"
    sql = f"""
        SELECT tasks.id FROM attempts JOIN tasks ON tasks.id = task_id
        WHERE session_id = {tx.mark}1 AND attempts.ended_at IS NULL AND {is_over}
        ORDER BY tasks.id {tx.dialect.lock_task}
    """
    values = (tx.locked_session, tx.now, gone_list)
    task_ids = first_column(tx.execute(sql, values).fetchall())
    if not task_ids:
        return []
    sql = f"""
        SELECT {rows.ATTEMPT.columns} FROM attempts
        WHERE task_id {tx.dialect.in_list(1)} AND ended_at IS NULL AND {is_over}
        ORDER BY lease_until
    """
    return rows.ATTEMPT.read_all(tx.execute(sql, (json.dumps(task_ids), tx.now, gone_list)))


def expire(
    tx: Transaction,
    taken_over: str | None = None,
    *,
    taken_by: str = "",
    gone: Collection[str] = (),
) -> list[Attempt]:
    """End every expired lease, and that of the task *taken_over* in any case; wake tasks.

    Args:
        tx: The transaction.
        taken_over: A task.
        taken_by: Who takes it over.
        gone: Processes that have ended; what ends with them is over, too.
    """
    timing.follow_clock(tx)
    _follow_clock(tx)
    attempts = expired(tx, gone)
    taken_id = ""
    if taken_over is not None:
        expired_ids = {attempt.task_id for attempt in attempts}
        holder = _holder(tx, taken_over) if taken_over not in expired_ids else None
        if holder is not None:
            attempts.append(holder)
            taken_id = holder.task_id
    for attempt in attempts:
        task = reading.task(tx, attempt.task_id)
        error = f"no sign of life since {attempt.last_sign_at:%Y-%m-%d %H:%M:%S} UTC"
        data: dict[str, JsonValue] = {"attempt": attempt.number}
        if attempt.process in gone:
            error = "its process has ended"
            data["process_ended"] = True
        elif attempt.task_id == taken_id:
            error = f"taken over by {taken_by}"
            data["taken_by"] = taken_by
        end_attempt(tx, task, AttemptEnding.ABANDONED, error)
        set_columns(tx, task.id, status=str(TaskStatus.PENDING))
        events.record_for(tx, task, EventKind.LEASE_EXPIRED, data, agent=attempt.agent)
        recount(tx, task.id)
    return attempts


def _holder(tx: Transaction, task_id: str) -> Attempt | None:
    task = reading.task(tx, task_id)
    return reading.attempt(tx, task) if task.status is TaskStatus.IN_PROGRESS else None


def end_of_gone(tx: Transaction, task_id: str, reason: str, *, agent: str, holder: str) -> Attempt:
    """See `contracts.Store.end_attempt`."""
    task = reading.task(tx, task_id)
    attempt = reading.attempt(tx, task)
    is_held = lifecycle.next_status(lifecycle.Verb.END_ATTEMPT, task.status) is not None
    if attempt is None or not is_held or attempt.ended_at is not None:
        remedy = f"nobody holds it; orch.why({task.alias!r}) says what comes next"
        raise TransitionError(task.alias, task.status, "have its attempt ended", remedy)
    if holder and attempt.agent != holder:
        remedy = f"{attempt.agent} has taken it since (attempt {attempt.number})"
        raise TransitionError(
            task.alias, f"no longer held by {holder}", "have its attempt ended", remedy
        )
    end_attempt(tx, task, AttemptEnding.GONE, reason)
    set_columns(tx, task.id, status=str(TaskStatus.PENDING), reason=reason)
    data: dict[str, JsonValue] = {
        "attempt": attempt.number,
        "holder": attempt.agent,
        "reason": reason,
    }
    events.record_for(tx, task, EventKind.ATTEMPT_ENDED, data, agent=agent)
    recount(tx, task.id)
    ended = reading.attempt(tx, task)
    assert ended is not None  # noqa: S101 - it has just been written
    return ended


def end_attempt(
    tx: Transaction,
    task: Task,
    ending: AttemptEnding,
    error: str | None,
    receipt: str | None = None,
) -> None:
    """Write how the task's latest attempt ended."""
    sql = f"""
        UPDATE attempts SET ended_at = {tx.mark}1, ending = {tx.mark}2, error = {tx.mark}3,
            receipt = {tx.mark}4
        WHERE task_id = {tx.mark}5 AND number = {tx.mark}6
    """
    tx.execute(sql, (tx.now, str(ending), error, receipt, task.id, task.attempts))
