"""Reading sessions, tasks, attempts and checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import (
    AttemptEnding,
    EventKind,
    PastWork,
    Situation,
    TaskStatus,
    is_id,
)
from vespera_orchestrator.errors import SessionNotFoundError, TaskNotFoundError
from vespera_orchestrator.stores.sql import rows
from vespera_orchestrator.stores.sql.dialect import LOST, OPEN, Conditions
from vespera_orchestrator.stores.sql.filters import (
    BEST_FIRST,
    IS_READY,
    TaskFilter,
    subtree,
    takeable,
    tallied_only,
)
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks.answers import outputs_read
from vespera_orchestrator.tasks.lifecycle import is_open_question

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vespera_orchestrator._model import Attempt, Checkpoint, Session, Task, TaskQuery
    from vespera_orchestrator.stores.sql.transaction import Transaction

_LOOKED_THROUGH: Final = 500
"""Among how many of the last completions tasks like another one are looked for."""

# --- sessions ---------------------------------------------------------------


def find_session(tx: Transaction, session_id: str) -> Session | None:
    """See `contracts.Store.find_session`."""
    sql = f"SELECT {rows.SESSION.columns} FROM sessions WHERE id = {tx.mark}1"
    row = tx.execute(sql, (session_id,)).fetchone()
    if row is None:
        return None
    fields = rows.SESSION.fields(row)
    sql = f"SELECT at FROM events WHERE session_id = {tx.mark}1 ORDER BY seq DESC LIMIT 1"
    last_event = tx.execute(sql, (session_id,)).fetchone()
    updated_at = fields["created_at"]
    if last_event is not None:
        updated_at = max(updated_at, load_time(last_event[0]))
    return rows.SESSION.record(**fields, updated_at=updated_at)


def session(tx: Transaction, session_id: str, **changes: Any) -> Session:
    """Return the session, which must exist, with *changes* to its fields."""
    record = find_session(tx, session_id)
    if record is None:
        raise SessionNotFoundError(session_id)
    return attrs.evolve(record, **changes)


def require_session(tx: Transaction, session_id: str) -> None:
    """Refuse a session that does not exist."""
    if tx.locked_session == session_id:
        return
    sql = f"SELECT 1 FROM sessions WHERE id = {tx.mark}1"
    if tx.execute(sql, (session_id,)).fetchone() is None:
        raise SessionNotFoundError(session_id)


def sessions(tx: Transaction, *, limit: int | None, offset: int) -> list[Session]:
    """See `contracts.Store.sessions`."""
    of_session = "FROM events WHERE session_id = sessions.id"
    sql = f"""
        SELECT
            (SELECT at {of_session} ORDER BY seq DESC LIMIT 1),
            {rows.SESSION.columns}
        FROM sessions ORDER BY (SELECT max(seq) {of_session}) DESC
        LIMIT {tx.mark}1 OFFSET {tx.mark}2
    """
    records = []
    for last_event_at, *row in tx.execute(sql, (rows.limited(limit), offset)):
        fields = rows.SESSION.fields(row)
        updated_at = fields["created_at"]
        if last_event_at is not None:
            updated_at = max(updated_at, load_time(last_event_at))
        records.append(rows.SESSION.record(**fields, updated_at=updated_at))
    return records


def open_sessions(tx: Transaction) -> int:
    """See `contracts.Store.open_sessions`."""
    sql = f"""
        SELECT count(DISTINCT session_id) FROM tallies WHERE tasks > 0 AND status IN {OPEN}
    """
    (count,) = tx.execute(sql).fetchone()
    return int(count)


# --- tasks ------------------------------------------------------------------


def select_tasks(tx: Transaction) -> str:
    """Start a statement that reads tasks with their edges; FROM and the rest follow."""
    return f"SELECT {rows.TASK.columns}, {tx.dialect.edges}"


def find_task(tx: Transaction, reference: str, session_id: str | None) -> Task | None:
    """See `contracts.Store.find_task`."""
    if is_id(reference):
        sql = f"{select_tasks(tx)} FROM tasks WHERE id = {tx.mark}1"
        task_by_id = rows.TASK.read_first(tx.execute(sql, (reference,)))
        if task_by_id is not None:
            return task_by_id
    sql = f"""
        {select_tasks(tx)} FROM tasks
        WHERE id = {tx.mark}1 OR (session_id = {tx.mark}2 AND alias = {tx.mark}1)
        ORDER BY CASE id WHEN {tx.mark}1 THEN 0 ELSE 1 END LIMIT 1
    """
    return rows.TASK.read_first(tx.execute(sql, (reference, session_id)))


def task(tx: Transaction, task_id: str) -> Task:
    """Return the task, which must exist.

    A transaction that may write locks it first, and so sees it as the last writer left it.
    """
    lock = tx.dialect.lock_task if tx.writing else ""
    sql = f"{select_tasks(tx)} FROM tasks WHERE id = {tx.mark}1 {lock}"
    row = tx.execute(sql, (task_id,)).fetchone()
    if row is None:
        raise TaskNotFoundError(task_id)
    return rows.TASK.read(row)


def answer_of(tx: Transaction, task: Task) -> str | None:
    """Return the answer that is kept with the task, as JSON; ``None`` if it has none."""
    sql = f"SELECT answer FROM tasks WHERE id = {tx.mark}1"
    (text,) = tx.execute(sql, (task.id,)).fetchone()
    return None if text is None else str(text)


def tasks_by_id(tx: Transaction, ids: Iterable[str], *, edges: bool = True) -> list[Task]:
    """Return the tasks with these ids; without *edges* their own dependencies are left out."""
    chosen = list(ids)
    if not chosen:
        return []
    select = select_tasks(tx) if edges else f"SELECT {rows.TASK.columns}, {rows.NO_EDGES}"
    sql = f"{select} FROM tasks WHERE id {tx.dialect.in_list(1)} ORDER BY seq"
    return rows.TASK.read_all(tx.execute(sql, (json.dumps(chosen),)))


def tasks(tx: Transaction, query: TaskQuery) -> list[Task]:
    """See `contracts.Store.tasks`."""
    chosen = TaskFilter(tx.dialect, query)
    bind = chosen.conditions.bind
    sql = f"""
        {chosen.prefix} {select_tasks(tx)} FROM {chosen.source} ORDER BY {chosen.order}
        LIMIT {bind(rows.limited(query.limit))} OFFSET {bind(query.offset)}
    """
    return rows.TASK.read_all(tx.execute(sql, chosen.conditions.values))


def count(tx: Transaction, query: TaskQuery) -> dict[TaskStatus, int]:
    """See `contracts.Store.count`."""
    if tallied_only(query):
        return _tally(tx, query)
    chosen = TaskFilter(tx.dialect, query)
    sql = f"""
        {chosen.prefix} SELECT tasks.status, count(*) FROM {chosen.source} GROUP BY tasks.status
    """
    counts = tx.execute(sql, chosen.conditions.values)
    return _by_status(counts)


def _by_status(counts: Iterable[Sequence[Any]]) -> dict[TaskStatus, int]:
    """Return the numbers of the statuses that there are. `check` names rows with another."""
    return {TaskStatus(status): number for status, number in counts if status in set(TaskStatus)}


def _tally(tx: Transaction, query: TaskQuery) -> dict[TaskStatus, int]:
    conditions = Conditions(tx.dialect)
    conditions.equal(session_id=query.session_id)
    conditions.add("tasks > 0")
    if not query.include_archived:
        conditions.add("archived = 0")
    if query.recoveries is not None:
        conditions.equal(recovery=int(query.recoveries))
    sql = f"""
        SELECT status, CAST(sum(tasks) AS INTEGER) FROM tallies WHERE {conditions.where}
        GROUP BY status
    """
    counts = tx.execute(sql, conditions.values)
    return _by_status(counts)


def ready(tx: Transaction, session_id: str, limit: int, below: str | None = None) -> list[Task]:
    """Return the best tasks that can be started now, as they were last weighed."""
    prefix, only_below, values = _only_below(tx, below, session_id, limit)
    sql = f"""
        {prefix} {select_tasks(tx)} FROM tasks
        WHERE session_id = {tx.mark}1 AND {IS_READY} {only_below}
        ORDER BY {BEST_FIRST} LIMIT {tx.mark}2
    """
    return rows.TASK.read_all(tx.execute(sql, values))


def best_for(tx: Transaction, session_id: str, agent: str, *, parents: bool | None) -> list[Task]:
    """Return the best task that *agent* may be handed without naming it, if there is one."""
    sql = f"""
        {select_tasks(tx)} FROM tasks
        WHERE session_id = {tx.mark}1 AND {IS_READY}
            AND {takeable(f"{tx.mark}2", parents=parents)}
        ORDER BY {BEST_FIRST} LIMIT 1
    """
    return rows.TASK.read_all(tx.execute(sql, (session_id, agent)))


def _only_below(
    tx: Transaction, below: str | None, *values: object
) -> tuple[str, str, tuple[object, ...]]:
    """Return what narrows a statement to a task and what is below it.

    Returns:
        What stands before the SELECT, a further condition, and the values of the placeholders.
    """
    if below is None:
        return "", "", values
    prefix = subtree(f"{tx.mark}{len(values) + 1}")
    return prefix, "AND tasks.id IN (SELECT id FROM below)", (*values, below)


def aliases(tx: Transaction, session_id: str) -> list[str]:
    """See `contracts.Store.aliases`."""
    sql = f"SELECT alias FROM tasks WHERE session_id = {tx.mark}1 ORDER BY seq"
    return first_column(tx.execute(sql, (session_id,)))


def dependent_ids(tx: Transaction, task_id: str) -> list[str]:
    """Return the ids of the tasks that wait, or waited, for this one, in the order planned."""
    sql = f"""
        SELECT task_id FROM dependencies JOIN tasks ON tasks.id = task_id
        WHERE needs_id = {tx.mark}1 ORDER BY seq
    """
    return first_column(tx.execute(sql, (task_id,)).fetchall())


def reader_ids(tx: Transaction, task_id: str) -> list[str]:
    """Return the ids of the tasks that have not begun, wait for this one, and have a condition."""
    sql = f"""
        SELECT task_id FROM dependencies JOIN tasks ON tasks.id = task_id
        WHERE needs_id = {tx.mark}1 AND condition IS NOT NULL AND status = '{TaskStatus.PENDING}'
        ORDER BY seq
    """
    return first_column(tx.execute(sql, (task_id,)).fetchall())


def open_subtree_ids(tx: Transaction, task_id: str) -> list[str]:
    """Return the task and all below it that have not ended, the last planned first."""
    sql = f"""
        {subtree(f"{tx.mark}1")}
        SELECT tasks.id FROM tasks JOIN below ON tasks.id = below.id
        WHERE status IN {OPEN} ORDER BY seq DESC
    """
    return first_column(tx.execute(sql, (task_id,)).fetchall())


def cancelled_below(tx: Transaction, task_id: str) -> list[str]:
    """Return what is cancelled below a task, recoveries and archived tasks apart."""
    sql = f"""
        {subtree(f"{tx.mark}1")}
        SELECT tasks.id FROM tasks JOIN below ON tasks.id = below.id
        WHERE tasks.id <> {tx.mark}1 AND status = '{TaskStatus.CANCELLED}'
            AND archived = 0 AND recovers_task_id IS NULL
        ORDER BY seq
    """
    return first_column(tx.execute(sql, (task_id,)).fetchall())


def longest_chain(
    tx: Transaction, session_id: str, limit: int, below: str | None = None
) -> list[Task]:
    """Return the first tasks of the longest chain of open work, as they were last weighed."""
    prefix, only_below, values = _only_below(tx, below, session_id)
    best = f"status IN {OPEN} {only_below} ORDER BY urgency DESC, seq LIMIT 1"
    first = f"{prefix} SELECT id FROM tasks WHERE session_id = {tx.mark}1 AND {best}"
    following = f"""
        {prefix} SELECT tasks.id FROM (
            SELECT task_id AS id FROM dependencies WHERE needs_id = {tx.mark}1
            UNION SELECT parent_task_id FROM tasks
                WHERE id = {tx.mark}1 AND parent_task_id IS NOT NULL
        ) AS waiting JOIN tasks ON tasks.id = waiting.id WHERE {best}
    """
    ids: list[str] = []
    row = tx.execute(first, values).fetchone()
    while row is not None and len(ids) < limit:
        ids.append(row[0])
        row = tx.execute(following, (row[0], *values[1:])).fetchone()
    by_id = {record.id: record for record in tasks_by_id(tx, ids)}
    return [by_id[task_id] for task_id in ids]


# --- what bears on a task ---------------------------------------------------


def situation(tx: Transaction, task_id: str) -> Situation:
    """See `contracts.Store.situation`."""
    subject = task(tx, task_id)
    needed_ids = [edge.task for edge in subject.dependencies]
    needed = {record.id: record for record in tasks_by_id(tx, needed_ids, edges=False)}
    running_ids = [other.id for other in needed.values() if other.status is TaskStatus.IN_PROGRESS]
    children_count, some_children = _open_children(tx, task_id)
    has_attempt = subject.status in {TaskStatus.PENDING, TaskStatus.IN_PROGRESS}
    return Situation(
        task=subject,
        outputs_read=_outputs_read(tx, subject),
        needed=needed,
        open_children=tuple(some_children),
        open_children_count=children_count,
        open_recovery=open_recovery(tx, task_id),
        attempt=attempt(tx, subject) if has_attempt and subject.attempts else None,
        as_of=load_time(tx.now),
        unmerged=_unmerged(tx, running_ids),
    )


def _outputs_read(tx: Transaction, subject: Task) -> tuple[str, ...]:
    """Return what conditions read of the answer that a task waits for."""
    if subject.status is not TaskStatus.PENDING or not is_open_question(subject):
        return ()
    readers = tasks_by_id(tx, reader_ids(tx, subject.id), edges=False)
    names = [name for reader in readers for name in outputs_read(reader, subject.id)]
    return tuple(dict.fromkeys(names))


def _open_children(tx: Transaction, task_id: str) -> tuple[int, list[str]]:
    """Return how many subtasks have not ended, and the aliases of the first ten."""
    source = f"FROM tasks WHERE parent_task_id = {tx.mark}1 AND status IN {OPEN}"
    (number,) = tx.execute(f"SELECT count(*) {source}", (task_id,)).fetchone()
    if not number:
        return 0, []
    sql = f"SELECT alias {source} ORDER BY seq LIMIT 10"
    return number, first_column(tx.execute(sql, (task_id,)))


def has_open_children(tx: Transaction, task_id: str) -> bool:
    """Tell whether a subtask has not ended."""
    sql = f"""
        SELECT 1 FROM tasks WHERE parent_task_id = {tx.mark}1 AND status IN {OPEN} LIMIT 1
    """
    return tx.execute(sql, (task_id,)).fetchone() is not None


def open_recovery(tx: Transaction, task_id: str) -> Task | None:
    """Return the recovery of this task that has not ended."""
    sql = f"""
        {select_tasks(tx)} FROM tasks WHERE recovers_task_id = {tx.mark}1 AND status IN {OPEN}
        ORDER BY seq DESC LIMIT 1
    """
    return rows.TASK.read_first(tx.execute(sql, (task_id,)))


def open_recovery_ids(tx: Transaction, task_id: str) -> list[str]:
    """Return the ids of all recoveries of this task that have not ended."""
    sql = f"SELECT id FROM tasks WHERE recovers_task_id = {tx.mark}1 AND status IN {OPEN}"
    return first_column(tx.execute(sql, (task_id,)).fetchall())


def _unmerged(tx: Transaction, running_ids: Sequence[str]) -> frozenset[str]:
    if not running_ids:
        return frozenset()
    sql = f"""
        SELECT tasks.id FROM tasks JOIN attempts
            ON attempts.task_id = tasks.id AND attempts.number = tasks.attempts
        WHERE tasks.id {tx.dialect.in_list(1)} AND attempts.ending = '{AttemptEnding.HANDED_IN}'
    """
    return frozenset(first_column(tx.execute(sql, (json.dumps(running_ids),))))


# --- attempts and checkpoints -----------------------------------------------


def attempt(tx: Transaction, subject: Task) -> Attempt | None:
    """Return the task's latest attempt."""
    sql = f"""
        SELECT {rows.ATTEMPT.columns} FROM attempts
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2
    """
    return rows.ATTEMPT.read_first(tx.execute(sql, (subject.id, subject.attempts)))


def attempts(tx: Transaction, task_id: str) -> list[Attempt]:
    """See `contracts.Store.attempts`."""
    sql = f"""
        SELECT {rows.ATTEMPT.columns} FROM attempts WHERE task_id = {tx.mark}1 ORDER BY number
    """
    return rows.ATTEMPT.read_all(tx.execute(sql, (task_id,)))


def past_work(tx: Transaction, like: Task, limit: int) -> list[PastWork]:
    """See `contracts.Store.past_work`."""
    mark = tx.mark
    sql = f"""
        SELECT latest.id, latest.specialist_type,
            attempts.number, attempts.started_at, attempts.ended_at
        FROM (
            SELECT tasks.id, tasks.specialist_type, events.seq
            FROM events {tx.dialect.use_index("events_kind")}
            {tx.dialect.ordered_join} tasks ON tasks.id = events.task_id
            WHERE events.kind = '{EventKind.TASK_COMPLETED}' AND events.seq >= (
                SELECT min(seq) FROM (
                    SELECT seq FROM events WHERE kind = '{EventKind.TASK_COMPLETED}'
                    ORDER BY seq DESC LIMIT {_LOOKED_THROUGH}
                ) AS recent
            )
            AND tasks.status = '{TaskStatus.COMPLETED}'
            AND tasks.task_type = {mark}1 AND tasks.complexity = {mark}2 AND tasks.id <> {mark}3
            ORDER BY events.seq DESC LIMIT {mark}4
        ) AS latest
        JOIN attempts ON attempts.task_id = latest.id
        WHERE attempts.ended_at IS NOT NULL AND attempts.ending NOT IN {LOST}
        ORDER BY latest.seq DESC, attempts.number
    """
    values = (like.task_type, like.complexity, like.id, limit)
    lengths: dict[tuple[str, str | None], dict[int, float]] = {}
    for task_id, specialist, number, started_at, ended_at in tx.execute(sql, values).fetchall():
        length = load_time(ended_at) - load_time(started_at)
        of_task = lengths.setdefault((task_id, specialist), {})
        of_task[number] = length.total_seconds()  # once, although it was completed twice
    return [
        PastWork(task_id=task_id, specialist_type=specialist, attempts_s=tuple(of_task.values()))
        for (task_id, specialist), of_task in lengths.items()
    ]


def last_checkpoint(tx: Transaction, task_id: str) -> Checkpoint | None:
    """See `contracts.Store.last_checkpoint`."""
    sql = f"""
        SELECT {rows.CHECKPOINT.columns} FROM checkpoints WHERE task_id = {tx.mark}1
        ORDER BY id DESC LIMIT 1
    """
    return rows.CHECKPOINT.read_first(tx.execute(sql, (task_id,)))


def running(
    tx: Transaction, session_id: str, limit: int, below: str | None = None
) -> list[tuple[Task, Attempt, Checkpoint | None]]:
    """See `contracts.Store.running`."""
    prefix, only_below, values = _only_below(tx, below, session_id, limit)
    sql = f"""
        {prefix} {select_tasks(tx)} FROM tasks
        WHERE session_id = {tx.mark}1 AND status = '{TaskStatus.IN_PROGRESS}' {only_below}
        ORDER BY updated_at, seq LIMIT {tx.mark}2
    """
    answers = []
    for record in rows.TASK.read_all(tx.execute(sql, values).fetchall()):
        holder = attempt(tx, record)
        if holder is not None:
            answers.append((record, holder, last_checkpoint(tx, record.id)))
    return answers
