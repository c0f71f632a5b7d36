"""Taking the best ready task in one statement, where many machines ask at once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Claim, TaskStatus
from vespera_orchestrator.stores.sql import claims, expiring, rows, timing
from vespera_orchestrator.stores.sql.dialect import POSTGRES
from vespera_orchestrator.stores.sql.filters import BEST_FIRST, IS_READY, takeable

if TYPE_CHECKING:
    from vespera_orchestrator.stores.postgres.transaction import Transaction

_TAKE_BEST: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT
            EXISTS (
                SELECT 1 FROM attempts WHERE ended_at IS NULL AND {expiring.lease_is_due("$1")}
            ) OR {timing.dates_due("$1")} AS expired,
            EXISTS (SELECT 1 FROM tasks WHERE session_id = $2 AND weighed = 0) AS unweighed
    ), best AS MATERIALIZED (
        SELECT seq FROM tasks
        WHERE session_id = $2 AND {IS_READY} AND {{takeable}}
            AND ($5 = 1 OR NOT (SELECT expired OR unweighed FROM due))
        ORDER BY {BEST_FIRST} LIMIT 1 FOR NO KEY UPDATE {{skip_locked}}
    ), started AS (
        UPDATE tasks
        SET status = '{TaskStatus.IN_PROGRESS}', attempts = attempts + 1, updated_at = $1
        FROM best WHERE tasks.seq = best.seq RETURNING tasks.*
    ), attempt AS (
        INSERT INTO attempts
            (task_id, number, agent, started_at, lease_until, last_sign_at, process,
                times_out_at, stalls_at)
        SELECT id, attempts, $3, $1, $1 + $4, $1, $6,
            $1 + CAST(time_limit_s * 1000000 AS bigint),
            $1 + CAST(stalled_after_s * 1000000 AS bigint)
        FROM started
    )
    SELECT expired, unweighed, {rows.TASK.columns}, {POSTGRES.edges}
    FROM due LEFT JOIN started AS tasks ON true
"""
"""Finds the best ready task that no other process has locked, locks and holds it, and opens the
attempt.

If something comes first, such as leases that have expired, dates that have come, or tasks that
were not weighed, it only reports that. ``$1``: now; ``$4``: the length of the lease, both in
microseconds; ``$5``: 1 to take a task in any case; ``$6``: the processes that the attempt ends
with.
"""


@cache
def _take_best(*, parents: bool | None, wait: bool) -> str:
    test = takeable("$3", parents=parents)
    return _TAKE_BEST.format(takeable=test, skip_locked="" if wait else "SKIP LOCKED")


@attrs.frozen(kw_only=True)
class TakenBest:
    """What came of trying to take the best ready task."""

    expired: bool = False
    """Something must be done first: a lease has expired, or a date has come."""
    unweighed: bool = False
    """Some task was not weighed, which must be done first."""
    claim: Claim | None = None


def take_best(
    tx: Transaction,
    session_id: str,
    agent: str,
    lease_s: float,
    process: str,
    *,
    parents: bool | None = None,
    in_any_case: bool = False,
    wait: bool = False,
) -> TakenBest:
    """Take the best ready task, if nothing else must be done first.

    Args:
        tx: The transaction.
        session_id: The session.
        agent: Who claims it.
        lease_s: How long the claim holds, in seconds.
        process: The processes that the attempt ends with.
        parents: Whether it may be a task with subtasks, see `filters.takeable`.
        in_any_case: Take a task whatever else should be done first.
        wait: Wait until the best task is unlocked, instead of taking the next one.
    """
    sql = _take_best(parents=parents, wait=wait)
    length = claims.lease_length(lease_s)
    values = (tx.now, session_id, agent, length, int(in_any_case), process)
    expired, unweighed, *row = tx.execute(sql, values).fetchone()
    task_id, *_ = row
    if task_id is None:
        return TakenBest(expired=expired, unweighed=unweighed)
    return TakenBest(claim=claims.started(tx, rows.TASK.read(row), agent, lease_s, process))
