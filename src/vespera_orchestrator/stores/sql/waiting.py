"""Tasks that the world completes: by a person's answer, or by something that the host reports.

Such a task counts one blocker until its answer has come, so it is never handed out. An answer that
comes before all else is ready is kept with the task, and completes it in the transaction that
counts its last blocker down.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from vespera_orchestrator._codec import dump_json, load_json
from vespera_orchestrator._model import EventKind, TaskStatus
from vespera_orchestrator.errors import InvalidInputError, TransitionError
from vespera_orchestrator.stores.sql import events, reading, rows, timing
from vespera_orchestrator.stores.sql.consequences import recount, set_columns
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks.answers import PLAIN, understood

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vespera_orchestrator._model import JsonValue, Situation, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction


def answer(tx: Transaction, task_id: str, outputs: Mapping[str, JsonValue], *, agent: str) -> Task:
    """See `contracts.Store.answer`."""
    task = reading.task(tx, task_id)
    asks_about_an_effect = _asks_about_an_effect(tx, task_id)
    if asks_about_an_effect and isinstance(outputs.get(PLAIN), bool):  # a plain yes or no
        outputs = {"happened": outputs[PLAIN], **outputs}
    if task.status is TaskStatus.PENDING:
        outputs = understood(task, outputs, _readers(tx, task))
    text = dump_json(dict(outputs), "answer")
    if task.answered and _is_said_before(outputs, _answer_of(tx, task)):
        return task
    if task.status is not TaskStatus.PENDING:
        remedy = f"orch.why({task.alias!r}) says where it stands"
        if task.status is TaskStatus.COMPLETED:
            remedy = f"to answer otherwise: orch.reopen_task({task.alias!r}, 'what is wrong')"
        raise TransitionError(task.alias, task.status, "be answered", remedy)
    if task.attempts and not _waits_for_the_world(task):
        raise TransitionError(task.alias, "begun", "be answered", _begun_remedy(tx, task))
    if reading.has_open_children(tx, task.id):
        remedy = "its subtasks come first; answer one of these, or plan a task with a question"
        raise TransitionError(task.alias, task.status, "be answered", remedy)
    if asks_about_an_effect and not isinstance(outputs.get("happened"), bool):
        problem = "it is asked whether something has happened; say happened=True or happened=False"
        raise InvalidInputError("answer", problem)
    data = {"outputs": dict(outputs)}
    events.record_for(tx, task, EventKind.TASK_ANSWERED, data, agent=agent)
    timing.wake_for_answer(tx, task)
    _keep(tx, task_id, text)
    return reading.task(tx, task_id)


def _answer_of(tx: Transaction, task: Task) -> dict[str, JsonValue]:
    """Return the answer that is kept with the task."""
    return dict(load_json(reading.answer_of(tx, task) or "{}", f"answer of {task.id}"))


def _waits_for_the_world(task: Task) -> bool:
    return task.question is not None or task.signal is not None


def _begun_remedy(tx: Transaction, task: Task) -> str:
    """Say how a task ends that somebody has worked on: an answer would land none of its work."""
    needed = reading.tasks_by_id(tx, [edge.task for edge in task.dependencies], edges=False)
    for question in needed:
        if question.question is not None and question.status is TaskStatus.PENDING:
            return f"answer what was asked about it: orch.answer({question.alias!r}, …)"
    call = f"orch.complete_task({task.alias!r}, summary=…, detailed_work=…)"
    return f"its work has to be handed in: {call}"


def _is_said_before(outputs: Mapping[str, JsonValue], kept: Mapping[str, JsonValue]) -> bool:
    """Tell whether an answer says what is kept, which has also the name that a plain value got."""
    known = {PLAIN: kept.get(PLAIN)} if outputs.keys() == {PLAIN} else dict(kept)
    return dump_json(dict(outputs), "answer") == dump_json(known, "answer")


def _readers(tx: Transaction, task: Task) -> list[Situation]:
    """Return the tasks whose conditions may read the outputs of this one."""
    return [reading.situation(tx, reader_id) for reader_id in reading.reader_ids(tx, task.id)]


def _asks_about_an_effect(tx: Transaction, task_id: str) -> bool:
    sql = f"""
        SELECT 1 FROM dependencies JOIN effects ON effects.task_id = dependencies.task_id
        WHERE needs_id = {tx.mark}1 AND question_id = {tx.mark}1 LIMIT 1
    """
    return tx.execute(sql, (task_id,)).fetchone() is not None


def _keep(tx: Transaction, task_id: str, outputs: str) -> None:
    """Keep the answer with the task, which it may complete."""
    set_columns(tx, task_id, answered=1, answer=outputs)
    recount(tx, task_id)


def signal(
    tx: Transaction,
    session_id: str,
    name: str,
    payload: Mapping[str, JsonValue],
    *,
    agent: str,
    key: str | None,
) -> list[Task]:
    """See `contracts.Store.signal`."""
    if key is not None and _is_known(tx, session_id, name, key):
        return []
    text = dump_json(dict(payload), "payload")
    task_ids = _waiting_for(tx, session_id, name)
    columns = {
        "session_id": session_id,
        "name": name,
        "payload": text,
        "key": key,
        "agent": agent,
        "taken": int(bool(task_ids)),
        "received_at": tx.now,
    }
    rows.insert(tx, "signals", columns)
    data = {"name": name, "payload": dict(payload), "tasks": task_ids}
    events.record(tx, EventKind.SIGNAL_RECEIVED, data, session_id=session_id, agent=agent)
    for task_id in task_ids:
        _keep(tx, task_id, text)
    return reading.tasks_by_id(tx, task_ids)


def _is_known(tx: Transaction, session_id: str, name: str, key: str) -> bool:
    sql = f"""
        SELECT 1 FROM signals
        WHERE session_id = {tx.mark}1 AND name IN ({tx.mark}2, {tx.mark}3) AND key = {tx.mark}4
    """
    return tx.execute(sql, (session_id, *_spellings(name), key)).fetchone() is not None


def _spellings(name: str) -> tuple[str, str]:
    """Return the name of a signal as it is written now, and as it may have been stored before."""
    return name, unicodedata.normalize("NFD", name)


def _waiting_for(tx: Transaction, session_id: str, name: str) -> list[str]:
    # "IS NOT NULL" lets the planner take the index, which holds only tasks with a signal.
    sql = f"""
        SELECT id FROM tasks
        WHERE session_id = {tx.mark}1 AND signal IN ({tx.mark}2, {tx.mark}3)
            AND signal IS NOT NULL AND answered = 0 AND status = '{TaskStatus.PENDING}'
        ORDER BY seq
    """
    return first_column(tx.execute(sql, (session_id, *_spellings(name))).fetchall())


def take_earlier_signals(tx: Transaction, tasks: Sequence[Task]) -> bool:
    """Answer tasks by signals that came before anybody waited; return whether any was.

    They are new, or have just come back.

    A task that was skipped at once takes none: the signal is kept for one that waits.
    """
    is_answered = False
    for task in tasks:
        if task.signal is None or task.answered:
            continue
        sql = f"""
            SELECT id, payload FROM signals
            WHERE session_id = {tx.mark}1 AND name IN ({tx.mark}2, {tx.mark}3) AND taken = 0
                AND EXISTS (
                    SELECT 1 FROM tasks WHERE id = {tx.mark}4 AND status = '{TaskStatus.PENDING}'
                )
            ORDER BY id LIMIT 1
        """
        values = (task.session_id, *_spellings(task.signal), task.id)
        earliest = tx.execute(sql, values).fetchone()
        if earliest is None:
            continue
        sql = f"UPDATE signals SET taken = 1 WHERE id = {tx.mark}1"
        tx.execute(sql, (earliest[0],))
        _keep(tx, task.id, earliest[1])
        is_answered = True
    return is_answered
