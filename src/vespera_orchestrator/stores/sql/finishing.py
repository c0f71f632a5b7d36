"""How attempts end: what their holders hand in, or hand back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import (
    AttemptEnding,
    EventKind,
    Finished,
    NextAction,
    TaskStatus,
)
from vespera_orchestrator.errors import LeaseLostError, NotReadyError, TransitionError
from vespera_orchestrator.stores.sql import (
    claims,
    events,
    failing,
    progress,
    reading,
    records,
    rows,
)
from vespera_orchestrator.stores.sql.consequences import (
    close_attempt,
    end_task,
    follow_ends,
    recount,
    set_columns,
)
from vespera_orchestrator.stores.sql.drafts import reopening
from vespera_orchestrator.tasks.causes import why_not_complete
from vespera_orchestrator.tasks.lifecycle import LEASE_S, brake_reason, ending_verb, next_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vespera_orchestrator._model import Artifact, ArtifactDraft, Ending, JsonValue, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_WITH_RECEIPT: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.BLOCKED, TaskStatus.IN_PROGRESS})
"""Statuses in which the last attempt may have a receipt.

In progress, it has one when its work waits to be merged.
"""
_ATTEMPT_ENDING: Final = {
    NextAction.COMPLETE: AttemptEnding.COMPLETED,
    NextAction.BLOCKED: AttemptEnding.BLOCKED,
    NextAction.NEEDS_REVISION: AttemptEnding.REVISED,
    None: AttemptEnding.RELEASED,
}


def finish(
    tx: Transaction,
    task_id: str,
    attempt: int | None,
    ending: Ending,
    *,
    agent: str,
    artifacts: Sequence[ArtifactDraft],
    within: Callable[[], None] | None,
) -> Finished:
    """See `contracts.Store.finish`."""
    receipt = _receipt(ending, artifacts)
    task = reading.task(tx, task_id)
    repeated = _repeated(tx, task, attempt, receipt)
    if repeated is not None:
        return repeated
    task = _require_holder(tx, task, attempt, agent)
    if ending.action is NextAction.COMPLETE:
        _refuse_open_children(tx, task)
    saved = tuple(
        records.save_artifact(
            tx, task.session_id, draft, task_id=task.id, attempt=task.attempts, agent=agent
        )
        for draft in artifacts
    )
    if ending.later or ending.action is not NextAction.COMPLETE:
        claims.note_files(tx, task, ending.snapshot)  # what is completed has landed
    recovery = _end(tx, task, ending, agent, saved, receipt)
    if within is not None:
        within()
    return Finished(task=reading.task(tx, task_id), artifacts=saved, recovery=recovery)


def _receipt(ending: Ending, artifacts: Sequence[ArtifactDraft]) -> str:
    """Digest what a completion says, so that the same one sent twice is recognized."""
    content: list[JsonValue] = [
        ending.action,
        ending.summary,
        dump_json(dict(ending.outputs), "outputs"),
        [(draft.title, draft.digest) for draft in artifacts],
    ]
    if ending.later:
        content.append("later")
    return hashlib.sha256(dump_json(content, "summary").encode()).hexdigest()


def _repeated(tx: Transaction, task: Task, attempt: int | None, receipt: str) -> Finished | None:
    """Return the first answer again if the same completion was recorded before."""
    if attempt not in {None, task.attempts} or task.status not in _WITH_RECEIPT:
        return None
    sql = f"SELECT receipt FROM attempts WHERE task_id = {tx.mark}1 AND number = {tx.mark}2"
    row = tx.execute(sql, (task.id, task.attempts)).fetchone()
    if row is None or row[0] != receipt:
        return None
    sql = f"""
        SELECT {rows.ARTIFACT.columns} FROM artifacts
        WHERE task_id = {tx.mark}1 AND attempt = {tx.mark}2 ORDER BY seq
    """
    saved = rows.ARTIFACT.read_all(tx.execute(sql, (task.id, task.attempts)))
    recovery = reading.open_recovery(tx, task.id)
    return Finished(task=task, artifacts=tuple(saved), recovery=recovery, repeated=True)


def _require_holder(tx: Transaction, task: Task, attempt: int | None, agent: str) -> Task:
    """Return the task as the caller holds it; without an attempt, a ready task is claimed."""
    if attempt is not None:
        return claims.require_hold(tx, task, attempt)
    if task.status is TaskStatus.PENDING:
        return claims.claim(tx, task, agent, LEASE_S, "complete").task
    if task.status is not TaskStatus.IN_PROGRESS:
        remedy = reopening(task.alias, task.status)
        raise TransitionError(task.alias, task.status, "be completed", remedy)
    holder = reading.attempt(tx, task)
    if holder is not None and holder.agent != agent:
        reason = f"{holder.agent} holds it (attempt {holder.number}), and you are {agent}"
        raise LeaseLostError(task.alias, 0, reason)
    return task


def _refuse_open_children(tx: Transaction, task: Task) -> None:
    # An open child is a blocker, so most tasks need no look at their children.
    if task.blockers and reading.has_open_children(tx, task.id):
        why = why_not_complete(reading.situation(tx, task.id))
        raise NotReadyError(task.alias, task.status, "complete", why=why)


def _end(
    tx: Transaction,
    task: Task,
    ending: Ending,
    agent: str,
    saved: tuple[Artifact, ...],
    receipt: str,
) -> Task | None:
    """Write how the attempt ends and what follows; return the recovery task, if one was planned."""
    data = _event_data(task, ending, saved)
    if ending.action is NextAction.CONTINUE:
        set_columns(tx, task.id, summary=ending.summary)
        data["outputs"] = dict(ending.outputs)
        claims.note_progress(tx, task)
        events.record_for(tx, task, EventKind.TASK_CONTINUED, data, agent=agent)
        return None
    if ending.later:
        _hand_in(tx, task, ending, agent, data, receipt)
        return None
    allowed = next_status(ending_verb(ending.action), task.status) is not None
    assert allowed  # noqa: S101 - the fence has seen to it that the task is in progress
    attempt_ending = _ATTEMPT_ENDING[ending.action]
    if failing.is_retried(task, ending):
        attempt_ending = AttemptEnding.FAILED
    close_attempt(tx, task, attempt_ending, ending.reason, receipt)
    match ending.action:
        case NextAction.COMPLETE:
            _complete(tx, task, ending, agent, data)
        case NextAction.BLOCKED:
            return failing.fail(tx, task, ending, agent, data)
        case _:
            _hand_back(tx, task, ending, agent, data)
    return None


def _hand_back(
    tx: Transaction, task: Task, ending: Ending, agent: str, data: dict[str, JsonValue]
) -> None:
    """Write that the task is pending again, or blocked after too many rounds without progress."""
    released = ending.action is None
    kind = EventKind.TASK_RELEASED if released else EventKind.TASK_REVISED
    events.record_for(tx, task, kind, data, agent=agent)
    rounds = _empty_rounds(tx, task, ending)
    set_columns(
        tx,
        task.id,
        status=str(TaskStatus.PENDING),
        reason=ending.reason,
        empty_rounds=rounds,
        crashes=task.crashes if rounds else 0,
    )
    if ending.most_empty_rounds and rounds >= ending.most_empty_rounds:
        reason = brake_reason(rounds, ending.reason)
        failing.brake(tx, task, reason, {"empty_rounds": rounds}, agent=agent)
    else:
        recount(tx, task.id)


def _empty_rounds(tx: Transaction, task: Task, ending: Ending) -> int:
    """Return how many attempts in a row, with this one, have handed the task back as it was."""
    if ending.files_changed or progress.made_progress(tx, task, ending.summary):
        return 0
    attempt = reading.attempt(tx, task)
    if not ending.most_empty_rounds or (attempt and progress.has_paused(tx, task, attempt)):
        return task.empty_rounds
    return task.empty_rounds + 1


def _event_data(task: Task, ending: Ending, saved: tuple[Artifact, ...]) -> dict[str, JsonValue]:
    data: dict[str, JsonValue] = {
        "attempt": task.attempts,
        "artifacts": [artifact.id for artifact in saved],
    }
    if ending.summary:
        data["summary"] = ending.summary
    if ending.reason:
        data["reason"] = ending.reason
    return data


def _hand_in(
    tx: Transaction,
    task: Task,
    ending: Ending,
    agent: str,
    data: dict[str, JsonValue],
    receipt: str,
) -> None:
    close_attempt(tx, task, AttemptEnding.HANDED_IN, None, receipt)
    outputs = dump_json(dict(ending.outputs), "outputs")
    set_columns(tx, task.id, summary=ending.summary, outputs=outputs, reason=ending.reason)
    events.record_for(tx, task, EventKind.TASK_HANDED_IN, data, agent=agent)


def _complete(
    tx: Transaction, task: Task, ending: Ending, agent: str, data: dict[str, JsonValue]
) -> None:
    outputs = dump_json(dict(ending.outputs), "outputs")
    end_task(
        tx,
        task,
        TaskStatus.COMPLETED,
        summary=ending.summary,
        outputs=outputs,
        reason=ending.reason,
    )
    if ending.landed:
        data["landed"] = ending.landed
    events.record_for(tx, task, EventKind.TASK_COMPLETED, data, agent=agent)
    follow_ends(tx, [attrs.evolve(task, status=TaskStatus.COMPLETED)])
