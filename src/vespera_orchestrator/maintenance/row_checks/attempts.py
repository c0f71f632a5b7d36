"""Attempts and checkpoints: they belong to tasks, and what runs is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import AttemptEnding, EventKind, FindingKind, TaskStatus
from vespera_orchestrator.maintenance.row_checks.facts import (
    change,
    fixable,
    json_error,
    key_of,
    remove,
)
from vespera_orchestrator.maintenance.row_checks.log import task_event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Finding
    from vespera_orchestrator.maintenance.row_checks.facts import Facts, Row, TaskFacts


def read_attempts(facts: Facts) -> Iterator[Finding]:
    """Read the attempts; each belongs to a task, and only a running task has an open one."""
    for row in facts.rows("attempts"):
        task = facts.tasks.get(row["task_id"])
        if task is None:
            yield _lost_attempt(row)
            continue
        earlier = facts.last_attempts.get(task.id, 0)
        facts.last_attempts[task.id] = max(earlier, row["number"])
        if _holds(row, task):
            facts.held_tasks.add(task.id)
        elif row["ended_at"] is None:
            yield _open_attempt(row, task, facts.now)


def _lost_attempt(row: Row) -> Finding:
    task_id = row["task_id"]
    number = row["number"]
    return fixable(
        kind=FindingKind.REFERENCE,
        subject=task_id,
        sentence=f"attempt {number} belongs to task {task_id}, which does not exist",
        fixes=[remove("attempts", key_of("attempts", row))],
    )


def _holds(row: Row, task: TaskFacts) -> bool:
    """Tell whether an attempt keeps its task in progress.

    One whose work waits to be merged does: nobody holds the task then, and nobody has to.
    """
    if task.status is not TaskStatus.IN_PROGRESS:
        return False
    if row["number"] != task.attempts:
        return False
    return row["ended_at"] is None or row["ending"] == AttemptEnding.HANDED_IN


def _open_attempt(row: Row, task: TaskFacts, now: int) -> Finding:
    number = row["number"]
    end = change(
        "attempts",
        key_of("attempts", row),
        ended_at=now,
        ending=AttemptEnding.ABANDONED,
        error="a check found it without an end",
    )
    return fixable(
        kind=FindingKind.STATE,
        subject=task.id,
        sentence=f"attempt {number} of {task.name} has no end, but the task is {task.status}",
        fixes=[end],
    )


def attempt_counts_are_right(facts: Facts) -> Iterator[Finding]:
    """A task counts all of its attempts."""
    for task in facts.tasks.values():
        last = facts.last_attempts.get(task.id, 0)
        if last <= task.attempts:
            continue
        yield fixable(
            kind=FindingKind.COUNTER,
            subject=task.id,
            sentence=f"{task.name}: attempt count is {task.attempts}, should be {last}",
            fixes=[task.change(attempts=last)],
        )


def running_tasks_are_held(facts: Facts) -> Iterator[Finding]:
    """A task in progress is held by its last attempt. A wrong count of attempts is fixed first."""
    for task in facts.tasks.values():
        if task.status is not TaskStatus.IN_PROGRESS or task.id in facts.held_tasks:
            continue
        if facts.last_attempts.get(task.id, 0) > task.attempts:
            continue
        release = task.change(status=TaskStatus.PENDING, updated_at=facts.now)
        data = {"attempt": task.attempts}
        event = task_event(EventKind.LEASE_EXPIRED, task, data, at=facts.now)
        yield fixable(
            kind=FindingKind.STATE,
            subject=task.id,
            sentence=f"{task.name} is in progress, but no attempt holds it",
            fixes=[release, event],
        )


def read_checkpoints(facts: Facts) -> Iterator[Finding]:
    """Read the checkpoints; each belongs to a task, and its state can be read."""
    for row in facts.rows("checkpoints"):
        error = json_error("checkpoints", row)
        if error is not None:
            yield error
        elif row["task_id"] not in facts.tasks:
            yield _lost_checkpoint(row)


def _lost_checkpoint(row: Row) -> Finding:
    number = row["id"]
    task_id = row["task_id"]
    return fixable(
        kind=FindingKind.REFERENCE,
        subject=str(number),
        sentence=f"checkpoint {number} belongs to task {task_id}, which does not exist",
        fixes=[remove("checkpoints", {"id": number})],
    )
