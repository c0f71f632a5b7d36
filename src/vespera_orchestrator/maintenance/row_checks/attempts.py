"""Attempts and checkpoints: they belong to tasks, and what runs is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import AttemptEnding, EventKind, FindingKind, TaskStatus
from vespera_orchestrator.maintenance.row_checks.facts import change, fixable, json_error, remove
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
        facts.last_attempts[task.id] = max(facts.last_attempts.get(task.id, 0), row["number"])
        if _holds(row, task):
            facts.held_tasks.add(task.id)
        elif row["ended_at"] is None:
            yield _open_attempt(row, task, facts.now)


def _key(row: Row) -> Row:
    return {"task_id": row["task_id"], "number": row["number"]}


def _lost_attempt(row: Row) -> Finding:
    task_id = row["task_id"]
    sentence = f"attempt {row['number']} belongs to task {task_id}, which does not exist"
    return fixable(FindingKind.REFERENCE, task_id, sentence, remove("attempts", _key(row)))


def _holds(row: Row, task: TaskFacts) -> bool:
    # A task whose work waits for its merge stays in progress: nobody holds it, and nobody has to.
    is_running = row["ended_at"] is None or row["ending"] == AttemptEnding.HANDED_IN
    is_last = row["number"] == task.attempts
    return is_running and is_last and task.status is TaskStatus.IN_PROGRESS


def _open_attempt(row: Row, task: TaskFacts, now: int) -> Finding:
    sentence = f"attempt {row['number']} of {task.name} has no end, but the task is {task.status}"
    fix = change(
        "attempts",
        _key(row),
        ended_at=now,
        ending=AttemptEnding.ABANDONED,
        error="a check found it without an end",
    )
    return fixable(FindingKind.STATE, task.id, sentence, fix)


def attempt_counts_are_right(facts: Facts) -> Iterator[Finding]:
    """A task counts all of its attempts."""
    for task in facts.tasks.values():
        last = facts.last_attempts.get(task.id, 0)
        if last > task.attempts:
            sentence = f"{task.name}: attempt count is {task.attempts}, should be {last}"
            fix = task.change(attempts=last)
            yield fixable(FindingKind.COUNTER, task.id, sentence, fix)


def running_tasks_are_held(facts: Facts) -> Iterator[Finding]:
    """A task in progress is held by its last attempt. A wrong count of attempts is fixed first."""
    for task in facts.tasks.values():
        has_wrong_count = facts.last_attempts.get(task.id, 0) > task.attempts
        is_held = task.id in facts.held_tasks
        if task.status is TaskStatus.IN_PROGRESS and not is_held and not has_wrong_count:
            sentence = f"{task.name} is in progress, but no attempt holds it"
            release = task.change(status=TaskStatus.PENDING, updated_at=facts.now)
            data = {"attempt": task.attempts}
            event = task_event(EventKind.LEASE_EXPIRED, task, data, at=facts.now)
            yield fixable(FindingKind.STATE, task.id, sentence, release, event)


def read_checkpoints(facts: Facts) -> Iterator[Finding]:
    """Read the checkpoints; each belongs to a task, and its state can be read."""
    for row in facts.rows("checkpoints"):
        error = json_error("checkpoints", row)
        if error is not None:
            yield error
        elif row["task_id"] not in facts.tasks:
            checkpoint, task_id = row["id"], row["task_id"]
            sentence = f"checkpoint {checkpoint} belongs to task {task_id}, which does not exist"
            fix = remove("checkpoints", {"id": checkpoint})
            yield fixable(FindingKind.REFERENCE, str(checkpoint), sentence, fix)
