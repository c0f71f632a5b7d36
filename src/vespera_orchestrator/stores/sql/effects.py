"""What a task does to the world, recorded before and after it happens.

An effect that was begun and never recorded may have happened or not: its process died in between.
Whoever comes next is told so, and asks the world or a person, instead of repeating it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._codec import dump_json, dump_time
from vespera_orchestrator._model import (
    AttemptEnding,
    EventKind,
    Outcome,
    TaskDraft,
    TaskStatus,
)
from vespera_orchestrator.stores.sql import changing, claims, events, planning, reading, rows
from vespera_orchestrator.stores.sql.consequences import close_attempt, set_columns

if TYPE_CHECKING:
    from vespera_orchestrator._model import Effect, JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction


def find(tx: Transaction, task_id: str, key: str) -> Effect | None:
    """See `contracts.Store.find_effect`."""
    sql = f"""
        SELECT {rows.EFFECT.columns} FROM effects WHERE task_id = {tx.mark}1 AND key = {tx.mark}2
    """
    return rows.EFFECT.read_first(tx.execute(sql, (task_id, key)))


def begin(
    tx: Transaction, task_id: str, attempt: int, key: str, *, instead_of: Effect | None
) -> Effect | None:
    """See `contracts.Store.begin_effect`."""
    task = claims.require_hold(tx, reading.task(tx, task_id), attempt)
    before = find(tx, task_id, key)
    if before != instead_of or (before is not None and before.is_done):
        return None
    begun_at = tx.now
    if before is not None:  # each intent has its own moment, also where the clock stands still
        begun_at = max(begun_at, dump_time(before.begun_at) + 1)
    sql = f"""
        INSERT INTO effects (task_id, key, attempt, is_done, result, begun_at)
        VALUES ({tx.mark}1, {tx.mark}2, {tx.mark}3, 0, 'null', {tx.mark}4)
        ON CONFLICT (task_id, key) DO UPDATE
            SET attempt = excluded.attempt, begun_at = excluded.begun_at, question_id = NULL
    """
    tx.execute(sql, (task_id, key, attempt, begun_at))
    claims.note_progress(tx, task)
    events.record_for(tx, task, EventKind.EFFECT_BEGUN, {"attempt": attempt, "key": key})
    return _effect(tx, task_id, key)


def record(tx: Transaction, task_id: str, attempt: int, key: str, result: JsonValue) -> Effect:
    """See `contracts.Store.record_effect`."""
    task = reading.task(tx, task_id)
    sql = f"""
        UPDATE effects
        SET is_done = 1, result = {tx.mark}3, recorded_at = {tx.mark}4, attempt = {tx.mark}5
        WHERE task_id = {tx.mark}1 AND key = {tx.mark}2 AND is_done = 0
    """
    text = dump_json(result, "result")
    if tx.execute(sql, (task_id, key, text, tx.now, attempt)).rowcount:
        if task.attempts == attempt:
            claims.note_progress(tx, task)
        events.record_for(tx, task, EventKind.EFFECT_RECORDED, {"attempt": attempt, "key": key})
    return _effect(tx, task_id, key)


def _effect(tx: Transaction, task_id: str, key: str) -> Effect:
    effect = find(tx, task_id, key)
    assert effect is not None  # noqa: S101 - it was begun
    return effect


def ask(
    tx: Transaction, task_id: str, attempt: int, question: str, *, agent: str, effect: str | None
) -> Task:
    """See `contracts.Store.ask`."""
    task = claims.require_hold(tx, reading.task(tx, task_id), attempt)
    draft = TaskDraft(
        title=f"Question: {task.title}",
        question=question,
        parent=_open_parent(tx, task),
        priority=task.priority,
    )
    asking = planning.plan(tx, task.session_id, [draft])[0]
    close_attempt(tx, task, AttemptEnding.RELEASED, "waits for an answer")
    reason = f"asked {asking.alias}"
    set_columns(tx, task_id, status=str(TaskStatus.PENDING), reason=reason)
    data = {"attempt": attempt, "artifacts": [], "reason": reason}
    events.record_for(tx, task, EventKind.TASK_RELEASED, data, agent=agent)
    changing.add_dependency(tx, task_id, asking.id, Outcome.DONE)
    asked = {"attempt": attempt, "question": asking.id}
    events.record_for(tx, task, EventKind.QUESTION_ASKED, asked, agent=agent)
    if effect is not None:
        sql = f"""
            UPDATE effects SET question_id = {tx.mark}3
            WHERE task_id = {tx.mark}1 AND key = {tx.mark}2
        """
        tx.execute(sql, (task_id, effect, asking.id))
    return asking


def _open_parent(tx: Transaction, task: Task) -> str | None:
    """Return the task that this one is a part of, unless that has ended and takes no more parts."""
    if task.parent_task_id is None:
        return None
    parent = reading.task(tx, task.parent_task_id)
    return None if parent.status.is_terminal else parent.id
