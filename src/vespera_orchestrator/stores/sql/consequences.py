"""What follows when a task ends or changes.

Blockers are counted, and dependents become ready or are skipped.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._codec import dump_json, load_json
from vespera_orchestrator._model import AttemptEnding, EventKind, Outcome, TaskStatus
from vespera_orchestrator._text import one_line
from vespera_orchestrator.stores.sql import events, reading
from vespera_orchestrator.stores.sql.dialect import OPEN, quoted
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks import lifecycle
from vespera_orchestrator.tasks.answers import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vespera_orchestrator._model import Dependency, JsonValue, Situation, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_SUMMARY_WIDTH: Final = 200
"""Longest summary made of an answer, in characters."""


def set_columns(tx: Transaction, task_id: str, *, touch: bool = True, **columns: Any) -> None:
    """Write columns of a task; with *touch* it counts as updated now."""
    if touch:
        columns["updated_at"] = tx.now
    assignments = ", ".join(
        f"{name} = {tx.mark}{number}" for number, name in enumerate(columns, start=2)
    )
    sql = f"UPDATE tasks SET {assignments} WHERE id = {tx.mark}1"
    tx.execute(sql, (task_id, *columns.values()))


def add_blockers(tx: Transaction, task_id: str, change: int) -> None:
    """Count *change* more causes that keep the task from being ready."""
    sql = f"UPDATE tasks SET blockers = blockers + {tx.mark}2 WHERE id = {tx.mark}1"
    tx.execute(sql, (task_id, change))


def end_task(tx: Transaction, task: Task, status: TaskStatus, **columns: Any) -> None:
    """Write that the task has ended.

    Its parent is counted down in the same step, so that a recount at any time gives the same.
    """
    set_columns(tx, task.id, status=str(status), ended_at=tx.now, **columns)
    if task.parent_task_id is not None:
        add_blockers(tx, task.parent_task_id, -1)


def close_attempt(
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


def skip(tx: Transaction, task: Task, reason: str) -> None:
    """Write that the task is not to be done; its dependents and parts are not looked at yet.

    Somebody may work on it, if it is a part of what is skipped: that attempt ends.
    """
    if task.status is TaskStatus.IN_PROGRESS:
        close_attempt(tx, task, AttemptEnding.CANCELLED, reason)
    end_task(tx, task, TaskStatus.SKIPPED, reason=reason)
    events.record_for(tx, task, EventKind.TASK_SKIPPED, {"reason": reason})


def follow_ends(tx: Transaction, ended: Iterable[Task]) -> None:
    """Carry what ended, or was blocked, to dependents and to the task it recovers, downward.

    Args:
        tx: The transaction.
        ended: The tasks as they are now.
    """
    queue = deque(ended)
    while queue:
        task = queue.popleft()
        if task.recovers_task_id is not None and task.status is TaskStatus.COMPLETED:
            _recovered(tx, task)
        ended_ids = _follow_edges(tx, task)
        if task.status is TaskStatus.SKIPPED:
            ended_ids += _skip_parts(tx, task)
        queue.extend(reading.task(tx, task_id) for task_id in ended_ids)


def _skip_parts(tx: Transaction, task: Task) -> list[str]:
    """Skip the open parts of a skipped task, and its open recovery; return those."""
    sql = f"""
        SELECT id FROM tasks
        WHERE status IN {OPEN} AND (parent_task_id = {tx.mark}1 OR recovers_task_id = {tx.mark}1)
        ORDER BY seq
    """
    part_ids = first_column(tx.execute(sql, (task.id,)).fetchall())
    parts = [reading.task(tx, part_id) for part_id in part_ids]
    skipped = [part for part in parts if _whole_id(part) == task.id]
    for part in skipped:
        skip(tx, part, _part_reason(part, task))
    return [part.id for part in skipped]


def _whole_id(task: Task) -> str | None:
    """Return the id of the task with which this one is skipped; a recovery is no part."""
    return task.recovers_task_id or task.parent_task_id


def _part_reason(part: Task, whole: Task) -> str:
    relation = "a part of" if part.recovers_task_id is None else "the recovery of"
    return f"it is {relation} {whole.alias}, which is skipped"


def _recovered(tx: Transaction, recovery: Task) -> None:
    task = reading.task(tx, str(recovery.recovers_task_id))
    if lifecycle.next_status(lifecycle.Verb.RECOVER, task.status) is None:
        return
    status = str(TaskStatus.PENDING)
    set_columns(tx, task.id, status=status, reason=None, empty_rounds=0, crashes=0)
    events.record_for(tx, task, EventKind.TASK_RECOVERED, {"recovery": recovery.id})
    recount(tx, task.id)


def _follow_edges(tx: Transaction, task: Task) -> list[str]:
    """Count down the dependents whose edge is met now; return those that have ended by that.

    The task's parent is counted down already, and may have ended by that, too.
    """
    count_down = _count_down_at_once if tx.dialect.writing_with else _count_down
    affected = count_down(tx, task, *_decided(task.status, was_blocked=task.was_blocked))
    return [task_id for task_id in affected if _recount_one(tx, task_id)]


@cache
def _decided(status: TaskStatus, *, was_blocked: bool) -> tuple[str, str]:
    """Return the outcomes that a task has reached, and those it never will, as lists for SQL."""
    met: list[Outcome] = []
    never: list[Outcome] = []
    for outcome in Outcome:
        is_met = lifecycle.edge_met(outcome, status, was_blocked=was_blocked)
        if is_met is not None:
            (met if is_met else never).append(outcome)
    return quoted(met), quoted(never)


def _count_down(tx: Transaction, task: Task, met: str, never: str) -> list[str]:
    """Count down the dependents that waited for an outcome in *met*.

    Returns:
        The tasks that must be looked at, see `_affected`, in the order planned.
    """
    sql = f"""
        UPDATE dependencies SET met = 1
        WHERE needs_id = {tx.mark}1 AND governed = 0 AND met = 0 AND on_outcome IN {met}
        RETURNING task_id
    """
    counted = tx.execute(sql, (task.id,)).fetchall()
    sql = f"UPDATE tasks SET blockers = blockers - 1 WHERE id = {tx.mark}1"
    tx.executemany(sql, counted)
    values = (task.id, task.parent_task_id)
    return first_column(tx.execute(_affected(tx, never), values).fetchall())


def _count_down_at_once(tx: Transaction, task: Task, met: str, never: str) -> list[str]:
    """Do what `_count_down` does in one statement, for databases that are asked over a network.

    The rows that are counted down may be locked in any order: nobody who holds one of them waits
    for another.
    """
    sql = f"""
        WITH now_met AS (
            UPDATE dependencies SET met = 1
            WHERE needs_id = {tx.mark}1 AND governed = 0 AND met = 0 AND on_outcome IN {met}
            RETURNING task_id
        ), counted AS (
            UPDATE tasks SET blockers = blockers - 1 FROM now_met WHERE tasks.id = now_met.task_id
        )
        {_affected(tx, never)}
    """
    return first_column(tx.execute(sql, (task.id, task.parent_task_id)).fetchall())


def _affected(tx: Transaction, never: str) -> str:
    """Select what may end now: dependents of one task, and another one, its parent.

    A condition decides, or an edge that will never be met, or an answer that came before.
    """
    return f"""
        SELECT id FROM (
            SELECT tasks.id, tasks.seq FROM dependencies JOIN tasks ON tasks.id = task_id
            WHERE needs_id = {tx.mark}1 AND tasks.status = '{TaskStatus.PENDING}'
                AND (governed = 1 OR answered = 1 OR (met = 0 AND on_outcome IN {never}))
            UNION SELECT id, seq FROM tasks
            WHERE id = {tx.mark}2 AND status = '{TaskStatus.PENDING}' AND answered = 1
        ) AS affected ORDER BY seq
    """


def recount(tx: Transaction, task_id: str) -> None:
    """Count the task's blockers from scratch.

    Where it ends by that, see `_recount_one`, what follows is carried downward.
    """
    if _recount_one(tx, task_id):
        follow_ends(tx, [reading.task(tx, task_id)])


def _recount_one(tx: Transaction, task_id: str) -> bool:
    """Count the task's blockers from scratch; return whether it has ended by that.

    It is skipped when it can never become ready, or belongs to what is skipped. It is completed
    when all it waited for was its answer, and that has come.
    """
    situation = reading.situation(tx, task_id)
    task = situation.task
    readiness = lifecycle.readiness(task, situation.needed)
    sql = f"""
        UPDATE dependencies SET met = {tx.mark}3
        WHERE task_id = {tx.mark}1 AND needs_id = {tx.mark}2
    """
    for edge in task.dependencies:
        tx.execute(sql, (task_id, edge.task, int(_is_met(edge, situation))))
    blockers = readiness.blockers + situation.open_children_count
    set_columns(tx, task_id, touch=False, blockers=blockers)
    if task.status is not TaskStatus.PENDING:
        return False
    whole = _skipped_whole(tx, task)
    if whole is not None:
        skip(tx, task, _part_reason(task, whole))
        return True
    if task.answered and not blockers:
        _complete_answered(tx, task)
        return True
    if not readiness.impossible:
        return False
    skip(tx, task, lifecycle.skip_reason(task, readiness, situation.needed))
    return True


def _skipped_whole(tx: Transaction, task: Task) -> Task | None:
    """Return the task with which this one is skipped, if that is."""
    whole_id = _whole_id(task)
    if whole_id is None:
        return None
    whole = reading.task(tx, whole_id)
    return whole if whole.status is TaskStatus.SKIPPED else None


def _complete_answered(tx: Transaction, task: Task) -> None:
    outputs = reading.answer_of(tx, task)
    words = "answered" if task.signal is None else f"signal {task.signal}"
    said = _as_words(dict(load_json(outputs or "{}", f"answer of {task.id}")))
    summary = one_line(f"{words}: {said}" if said else words, _SUMMARY_WIDTH)
    end_task(tx, task, TaskStatus.COMPLETED, outputs=outputs, summary=summary, reason=None)
    data = {"attempt": task.attempts, "artifacts": [], "summary": summary}
    events.record_for(tx, task, EventKind.TASK_COMPLETED, data)


def _as_words(outputs: Mapping[str, JsonValue]) -> str:
    """Return an answer as a person reads it: plain words, or each value with its name."""
    if outputs.keys() == {PLAIN}:
        return str(outputs[PLAIN])
    return ", ".join(f"{name}: {_as_word(value)}" for name, value in outputs.items())


def _as_word(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else dump_json(value, "answer")


def _is_met(edge: Dependency, situation: Situation) -> bool:
    other = situation.needed[edge.task]
    return lifecycle.edge_met(edge.on, other.status, was_blocked=other.was_blocked) is True
