"""Whether an attempt has brought its task on, or hands it back as it was."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import EventKind
from vespera_orchestrator.stores.sql import events
from vespera_orchestrator.stores.sql.dialect import LOST

if TYPE_CHECKING:
    from vespera_orchestrator._model import Attempt, Event, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_PAUSES_LOOKED_AT: Final = 50


def made_progress(tx: Transaction, task: Task, summary: str | None = None) -> bool:
    """Tell whether the task's latest attempt has left anything that was not there before.

    The words of a release are nothing of that kind, and neither is an artifact that holds nothing
    but the *summary* with which the task comes back.
    """
    words = hashlib.sha256((summary or "").encode()).hexdigest()
    traces = (_changed_files(tx), _effects(tx), _checkpoints(tx), _content(tx), _subtasks(tx))
    sql = "SELECT " + " OR ".join(f"EXISTS ({trace})" for trace in traces)
    return bool(tx.execute(sql, (task.id, task.attempts, words)).fetchone()[0])


def has_paused(tx: Transaction, task: Task, attempt: Attempt) -> bool:
    """Tell whether the holder of the attempt has said, since it began, that it leaves off.

    On the command line the process that says so is another one than the one that began, and has
    nothing open itself. So the holder's name counts as much as what was in hand.
    """
    pauses = events.events(
        tx,
        0,
        session_id=task.session_id,
        kinds=(EventKind.SESSION_PAUSED,),
        limit=_PAUSES_LOOKED_AT,
        newest_first=True,
    )
    return any(_is_of(pause, attempt) for pause in pauses if pause.at >= attempt.started_at)


def _is_of(pause: Event, attempt: Attempt) -> bool:
    in_hand = pause.data.get("tasks")
    was_in_hand = isinstance(in_hand, list) and attempt.task_id in in_hand
    return was_in_hand or pause.agent == attempt.agent


def lost_in_a_row(tx: Transaction, task: Task) -> int:
    """Return how many of the task's latest attempts were lost, one after the other."""
    sql = f"""
        SELECT count(*) FROM attempts WHERE task_id = {tx.mark}1 AND number > (
            SELECT coalesce(max(number), 0) FROM attempts
            WHERE task_id = {tx.mark}1 AND ending NOT IN {LOST}
        )
    """
    return int(tx.execute(sql, (task.id,)).fetchone()[0])


def _changed_files(tx: Transaction) -> str:
    return f"""
        SELECT 1 FROM attempts
        WHERE task_id = {tx.mark}1 AND number = {tx.mark}2 AND files_changed = 1
    """


def _effects(tx: Transaction) -> str:
    return f"SELECT 1 FROM effects WHERE task_id = {tx.mark}1 AND attempt = {tx.mark}2"


def _checkpoints(tx: Transaction) -> str:
    """Select the attempt's checkpoints that say something else than the last one before it."""
    return f"""
        SELECT 1 FROM checkpoints AS saved
        LEFT JOIN checkpoints AS before ON before.id = (
            SELECT max(id) FROM checkpoints WHERE task_id = {tx.mark}1 AND attempt < {tx.mark}2
        )
        WHERE saved.task_id = {tx.mark}1 AND saved.attempt = {tx.mark}2 AND (
            before.id IS NULL OR saved.state <> before.state OR saved.note <> before.note
            OR coalesce(saved.progress, -1) <> coalesce(before.progress, -1)
            OR coalesce(saved.snapshot, '') <> coalesce(before.snapshot, '')
        )
    """


def _content(tx: Transaction) -> str:
    """Select the attempt's artifacts with bytes that the task did not have before."""
    return f"""
        SELECT 1 FROM artifacts AS saved
        WHERE saved.task_id = {tx.mark}1 AND saved.attempt = {tx.mark}2
            AND saved.size_bytes > 0 AND saved.digest <> {tx.mark}3 AND NOT EXISTS (
            SELECT 1 FROM artifacts AS before
            WHERE before.task_id = {tx.mark}1 AND before.digest = saved.digest
                AND before.seq < saved.seq
        )
    """


def _subtasks(tx: Transaction) -> str:
    """Select the subtasks that were planned since the attempt began."""
    return f"""
        SELECT 1 FROM tasks JOIN attempts ON attempts.task_id = {tx.mark}1
            AND attempts.number = {tx.mark}2
        WHERE tasks.parent_task_id = {tx.mark}1 AND tasks.created_at >= attempts.started_at
    """
