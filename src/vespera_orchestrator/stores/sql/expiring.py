"""Attempts that are over by the clock, or because their holder is gone.

Four things end an attempt from outside. Its holder gives no sign of life until the lease expires,
or its process has ended: it *crashed*, or, where the holder had paused, it *rests*. It holds its
lease and brings nothing new: it *stalled*. It goes on for too long: it *timed out*. Or somebody
knows that its holder is gone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import (
    AttemptEnding,
    Ending,
    EventKind,
    NextAction,
    TaskStatus,
)
from vespera_orchestrator._text import duration
from vespera_orchestrator.errors import TransitionError
from vespera_orchestrator.stores.sql import events, failing, progress, reading, rows, timing
from vespera_orchestrator.stores.sql.consequences import close_attempt, recount, set_columns
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from vespera_orchestrator._model import Attempt, JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_CLOCK_STEP_US: Final = 1_000_000
"""How far a clock may be set back before it makes a difference."""


def lease_is_due(mark: str) -> str:
    """Return the test for attempts that are over, or whose leases are from the future.

    Args:
        mark: The placeholder of the time now.
    """
    return f"({_is_over(mark)} OR {_from_the_future(mark)})"


def _is_over(mark: str) -> str:
    """Return the test for attempts whose lease has expired, or one of whose limits is over."""
    moments = ("lease_until", "times_out_at", "stalls_at")
    return f"({' OR '.join(f'coalesce({moment}, lease_until) < {mark}' for moment in moments)})"


def _from_the_future(mark: str) -> str:
    """Return the test for leases that were renewed later than now: the clock was set back."""
    return f"last_sign_at > {mark} + {_CLOCK_STEP_US}"


@attrs.frozen(kw_only=True)
class Overdue:
    """What `expire` may have to do."""

    is_due: bool
    """Whether a lease has expired, or is from the future, or a date has come."""
    processes: frozenset[str]
    """The processes that running attempts end with."""


def overdue(tx: Transaction) -> Overdue:
    """Return what `expire` may have to do."""
    lease_test = lease_is_due(f"{tx.mark}1")
    sql = f"""
        SELECT process, {lease_test} FROM attempts
        WHERE ended_at IS NULL AND ({lease_test} OR process <> '')
    """
    attempts = tx.execute(sql, (tx.now,)).fetchall()
    processes = frozenset(process for process, _ in attempts if process)
    has_due_lease = any(is_due for _, is_due in attempts)
    return Overdue(is_due=has_due_lease or timing.has_due(tx), processes=processes)


def dead_among(processes: Collection[str], is_gone: Callable[[str], bool] | None) -> frozenset[str]:
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
                times_out_at = {tx.mark}1 + times_out_at - last_sign_at,
                stalls_at = {tx.mark}1 + stalls_at - last_sign_at,
                last_sign_at = {tx.mark}1
            WHERE task_id = {tx.mark}2 AND number = {tx.mark}3 AND ended_at IS NULL
                AND {_from_the_future(f"{tx.mark}1")}
        """
        if not tx.execute(sql, (tx.now, task_id, number)).rowcount:
            continue  # its holder was faster
        data: dict[str, JsonValue] = {"attempt": number, "clock_set_back": True}
        events.record_for(tx, task, EventKind.LEASE_RENEWED, data, agent=agent)


def lapsed_attempts(tx: Transaction, dead: Collection[str] = ()) -> list[Attempt]:
    """Return the attempts whose lease is over: of the locked session, or of all where none is.

    So is the lease of an attempt that ends with processes that are *dead*.

    Where rows are locked one by one, their tasks are locked first and looked at again: a holder
    may have renewed in between.
    """
    if tx.writing and tx.dialect.lock_row:
        return _lapsed_in_locked_session(tx, dead)
    sql = f"""
        SELECT {rows.ATTEMPT.columns} FROM attempts
        WHERE ended_at IS NULL AND {_is_over(f"{tx.mark}1")} ORDER BY lease_until
    """
    attempts = rows.ATTEMPT.read_all(tx.execute(sql, (tx.now,)))
    if dead:
        sql = f"""
            SELECT {rows.ATTEMPT.columns} FROM attempts
            WHERE ended_at IS NULL AND NOT {_is_over(f"{tx.mark}1")}
                AND process {tx.dialect.in_list(2)}
        """
        values = (tx.now, json.dumps(sorted(dead)))
        attempts += rows.ATTEMPT.read_all(tx.execute(sql, values))
    return attempts


def _lapsed_in_locked_session(tx: Transaction, dead: Collection[str]) -> list[Attempt]:
    dead_list = json.dumps(sorted(dead))
    is_over = f"({_is_over(f'{tx.mark}2')} OR process {tx.dialect.in_list(3)})"
    sql = f"""
        SELECT tasks.id FROM attempts JOIN tasks ON tasks.id = task_id
        WHERE session_id = {tx.mark}1 AND attempts.ended_at IS NULL AND {is_over}
        ORDER BY tasks.id {tx.dialect.lock_task}
    """
    values = (tx.locked_session, tx.now, dead_list)
    task_ids = first_column(tx.execute(sql, values).fetchall())
    if not task_ids:
        return []
    sql = f"""
        SELECT {rows.ATTEMPT.columns} FROM attempts
        WHERE task_id {tx.dialect.in_list(1)} AND ended_at IS NULL AND {is_over}
        ORDER BY lease_until
    """
    return rows.ATTEMPT.read_all(tx.execute(sql, (json.dumps(task_ids), tx.now, dead_list)))


def expire(
    tx: Transaction,
    taken_over: str | None = None,
    *,
    taken_by: str = "",
    dead: Collection[str] = (),
) -> list[Attempt]:
    """End every expired lease, and that of the task *taken_over* in any case; wake tasks.

    Args:
        tx: The transaction.
        taken_over: The id of a task whose attempt ends even if its lease has not expired.
        taken_by: The agent that takes it over.
        dead: Processes that have ended; attempts that end with them are over, too.

    Returns:
        The attempts that were ended, as they were before.
    """
    timing.follow_clock(tx)
    _follow_clock(tx)
    attempts = lapsed_attempts(tx, dead)
    taken_id = ""
    if taken_over is not None:
        expired_ids = {attempt.task_id for attempt in attempts}
        holder = _holder(tx, taken_over) if taken_over not in expired_ids else None
        if holder is not None:
            attempts.append(holder)
            taken_id = holder.task_id
    for attempt in attempts:
        _end(tx, attempt, taken_by if attempt.task_id == taken_id else "", dead)
    return attempts


def _end(tx: Transaction, attempt: Attempt, taken_by: str, dead: Collection[str]) -> None:
    """End an attempt that is over, in the way that came first."""
    task = reading.task(tx, attempt.task_id)
    if task.status is not TaskStatus.IN_PROGRESS:
        return  # a consequence of one that has ended before it
    is_dead = attempt.process in dead
    if taken_by and not is_dead:
        _take_over(tx, task, attempt, taken_by)
    elif not is_dead and _is_reached(attempt.times_out_at, attempt, tx.now):
        _time_out(tx, task, attempt)
    elif progress.has_paused(tx, task, attempt):
        _rest(tx, task, attempt)
    elif is_dead:
        _crash(tx, task, attempt, "its process has ended", {"process_ended": True})
    elif _is_reached(attempt.stalls_at, attempt, tx.now):
        _stall(tx, task, attempt)
    else:
        # When it was is in `Attempt.last_sign_at`: whoever tells it knows the reader's clock.
        _crash(tx, task, attempt, "no sign of life", {})


def _is_reached(limit: datetime | None, attempt: Attempt, now: int) -> bool:
    """Tell whether a limit is over, and was before the lease: a lost holder has not used it up."""
    if limit is None or limit > attempt.lease_until:
        return False
    return limit < load_time(now)


def _rest(tx: Transaction, task: Task, attempt: Attempt) -> None:
    """End the attempt of a holder that has paused: who rests has not crashed.

    So it neither counts towards `max_attempts`, nor is it told as an attempt that came to nothing.
    """
    close_attempt(tx, task, AttemptEnding.RESTED, None)
    data: dict[str, JsonValue] = {"paused": True, **_silence_of(attempt)}
    events.record_for(tx, task, EventKind.LEASE_EXPIRED, data, agent=attempt.agent)
    set_columns(tx, task.id, status=str(TaskStatus.PENDING))
    recount(tx, task.id)


def _crash(
    tx: Transaction, task: Task, attempt: Attempt, error: str, data: dict[str, JsonValue]
) -> None:
    """End the attempt of a holder that is gone, and count it as a crash."""
    _abandon(tx, task, attempt, error, data)
    failing.count_crash(tx, task, f"it crashed: {error}", agent=attempt.agent)


def _take_over(tx: Transaction, task: Task, attempt: Attempt, taken_by: str) -> None:
    """End the attempt of a holder that is replaced.

    It is no crash: the agent that takes the task over knows that it was tried before.
    """
    _abandon(tx, task, attempt, f"taken over by {taken_by}", {"taken_by": taken_by})
    set_columns(tx, task.id, status=str(TaskStatus.PENDING))
    recount(tx, task.id)


def _abandon(
    tx: Transaction, task: Task, attempt: Attempt, error: str, data: dict[str, JsonValue]
) -> None:
    close_attempt(tx, task, AttemptEnding.ABANDONED, error)
    data = {**data, **_silence_of(attempt)}
    events.record_for(tx, task, EventKind.LEASE_EXPIRED, data, agent=attempt.agent)


def _silence_of(attempt: Attempt) -> dict[str, JsonValue]:
    """Return when the holder was last heard of: the event is as young as the look that ended it."""
    return {"attempt": attempt.number, "silent_since": str(attempt.last_sign_at)}


def _stall(tx: Transaction, task: Task, attempt: Attempt) -> None:
    """End the attempt of a holder that lives, and has brought nothing new for too long."""
    error = f"nothing new for {duration(int(task.stalled_after_s or 0))}"
    close_attempt(tx, task, AttemptEnding.STALLED, error)
    _record_limit(tx, task, attempt, EventKind.ATTEMPT_STALLED, task.stalled_after_s)
    failing.count_crash(tx, task, f"it stalled: {error}", agent=attempt.agent)


def _time_out(tx: Transaction, task: Task, attempt: Attempt) -> None:
    """End an attempt that took too long, which is a failure."""
    reason = f"it took longer than its time limit of {duration(int(task.time_limit_s or 0))}"
    close_attempt(tx, task, AttemptEnding.TIMED_OUT, reason)
    _record_limit(tx, task, attempt, EventKind.ATTEMPT_TIMED_OUT, task.time_limit_s)
    context = {"worktree": task.worktree} if task.worktree else {}
    ending = Ending(action=NextAction.BLOCKED, reason=reason, recovery=context, may_retry=True)
    data: dict[str, JsonValue] = {"attempt": attempt.number, "artifacts": [], "reason": reason}
    failing.fail(tx, task, ending, attempt.agent, data)


def _record_limit(
    tx: Transaction, task: Task, attempt: Attempt, kind: EventKind, limit_s: float | None
) -> None:
    data: dict[str, JsonValue] = {"attempt": attempt.number, "limit_s": limit_s}
    events.record_for(tx, task, kind, data, agent=attempt.agent)


def _holder(tx: Transaction, task_id: str) -> Attempt | None:
    task = reading.task(tx, task_id)
    return reading.attempt(tx, task) if task.status is TaskStatus.IN_PROGRESS else None


def _not_the_holder(tx: Transaction, task: Task, attempt: Attempt, holder: str) -> TransitionError:
    """Make the error for a task that another agent holds than the one that was named."""
    state = f"not held by {holder}"
    remedy = f"{attempt.agent} holds it (attempt {attempt.number}); {holder} never has"
    if any(each.agent == holder for each in reading.attempts(tx, task.id)):
        state = f"no longer held by {holder}"
        remedy = f"{attempt.agent} has taken it since (attempt {attempt.number})"
    return TransitionError(task.alias, state, "have its attempt ended", remedy)


def end_attempt(tx: Transaction, task_id: str, reason: str, *, agent: str, holder: str) -> Attempt:
    """See `contracts.Store.end_attempt`."""
    task = reading.task(tx, task_id)
    attempt = reading.attempt(tx, task)
    is_held = lifecycle.next_status(lifecycle.Verb.END_ATTEMPT, task.status) is not None
    if attempt is None or not is_held or attempt.ended_at is not None:
        remedy = f"nobody holds it; orch.why({task.alias!r}) says what comes next"
        raise TransitionError(task.alias, task.status, "have its attempt ended", remedy)
    if holder and attempt.agent != holder:
        raise _not_the_holder(tx, task, attempt, holder)
    close_attempt(tx, task, AttemptEnding.GONE, reason)
    data: dict[str, JsonValue] = {
        "attempt": attempt.number,
        "holder": attempt.agent,
        "reason": reason,
    }
    events.record_for(tx, task, EventKind.ATTEMPT_ENDED, data, agent=agent)
    set_columns(tx, task.id, reason=reason)
    failing.count_crash(tx, task, reason, agent=agent)
    ended = reading.attempt(tx, task)
    assert ended is not None  # noqa: S101 - it has just been written
    return ended
