"""Sessions, tasks and dependencies: what they refer to exists, and a task's own columns agree."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import Dependency, FindingKind, Outcome
from vespera_orchestrator.maintenance.row_checks.facts import (
    RESTORE,
    UNREADABLE,
    TaskFacts,
    change,
    fixable,
    json_error,
    remove,
    unfixable,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Finding
    from vespera_orchestrator.maintenance.row_checks.facts import Facts, Row

_RELATIONS: Final = ("parent_task_id", "recovers_task_id")


def read_sessions(facts: Facts) -> Iterator[Finding]:
    """Read the sessions; their JSON can be read."""
    for row in facts.rows("sessions"):
        facts.sessions[row["id"]] = row["parent_session_id"]
        error = json_error("sessions", row)
        if error is not None:
            yield error


def parent_sessions_exist(facts: Facts) -> Iterator[Finding]:
    """A session's parent exists."""
    for session, parent in facts.sessions.items():
        if parent is None or parent in facts.sessions:
            continue
        yield fixable(
            kind=FindingKind.REFERENCE,
            subject=session,
            sentence=f"session {session} has the parent session {parent}, which does not exist",
            fixes=[change("sessions", {"id": session}, parent_session_id=None)],
        )


def read_tasks(facts: Facts) -> Iterator[Finding]:
    """Read the tasks and count their open children; each row can be read."""
    for row in facts.rows("tasks"):
        try:
            facts.tasks[row["id"]] = TaskFacts.from_row(row)
        except UNREADABLE as exc:
            yield unreadable("tasks", row, exc)
    for task in facts.tasks.values():
        parent = facts.tasks.get(task.parent_task_id or "")
        if parent is not None and task.is_open:
            parent.open_children += 1


def read_dependencies(facts: Facts) -> Iterator[Finding]:
    """Read the dependencies; both of their tasks exist."""
    for row in facts.rows("dependencies"):
        task = facts.tasks.get(row["task_id"])
        if task is None or row["needs_id"] not in facts.tasks:
            yield _broken_dependency(row, task)
        else:
            task.edges.append(row)


def _broken_dependency(row: Row, task: TaskFacts | None) -> Finding:
    task_id = row["task_id"]
    needs_id = row["needs_id"]
    missing = task_id if task is None else needs_id
    sentence = f"the dependency of {task_id} on {needs_id}: task {missing} does not exist"
    if task is not None and needs_id in task.governed:
        return unfixable(
            kind=FindingKind.REFERENCE,
            subject=task_id,
            sentence=sentence,
            remedy="plan the task again",
        )
    key = {"task_id": task_id, "needs_id": needs_id}
    return fixable(
        kind=FindingKind.REFERENCE,
        subject=task_id,
        sentence=sentence,
        fixes=[remove("dependencies", key)],
    )


def outcomes_are_known(facts: Facts) -> Iterator[Finding]:
    """A dependency waits for an outcome that exists. Notes the dependencies of each task."""
    for task in facts.tasks.values():
        task.edges.sort(key=lambda row: row["position"])
        try:
            edges = [Dependency(row["needs_id"], Outcome(row["on_outcome"])) for row in task.edges]
        except ValueError as exc:
            yield unreadable("dependencies", task.edges[0], exc)
        else:
            task.dependencies = tuple(edges)


def sessions_of_tasks_exist(facts: Facts) -> Iterator[Finding]:
    """A task's session exists."""
    for task in facts.tasks.values():
        session = task.session_id
        if session in facts.sessions:
            continue
        yield unfixable(
            kind=FindingKind.REFERENCE,
            subject=task.id,
            sentence=f"{task.name} belongs to session {session}, which does not exist",
            remedy=RESTORE,
        )


def related_tasks_exist(facts: Facts) -> Iterator[Finding]:
    """A task's parent, and the task that it recovers, exist in the same session."""
    for task in facts.tasks.values():
        for column in _RELATIONS:
            other_id = getattr(task, column)
            if other_id is None:
                continue
            other = facts.tasks.get(other_id)
            if other is not None and other.session_id == task.session_id:
                continue
            yield fixable(
                kind=FindingKind.REFERENCE,
                subject=task.id,
                sentence=f"{task.name}: {column} is {other_id}, which its session does not have",
                fixes=[task.change(**{column: None})],
            )


def end_times_match_states(facts: Facts) -> Iterator[Finding]:
    """A task has an end time exactly when it has ended."""
    for task in facts.tasks.values():
        if task.has_end_time == task.has_ended:
            continue
        if task.has_ended:
            problem, end = "but has no end time", task.updated_at
        else:
            problem, end = "but has an end time", None
        yield fixable(
            kind=FindingKind.STATE,
            subject=task.id,
            sentence=f"{task.name} is {task.status}, {problem}",
            fixes=[task.change(ended_at=end)],
        )


def only_ended_tasks_are_archived(facts: Facts) -> Iterator[Finding]:
    """An archived task has ended."""
    for task in facts.tasks.values():
        if not task.archived or task.has_ended:
            continue
        yield fixable(
            kind=FindingKind.STATE,
            subject=task.id,
            sentence=f"{task.name} is archived, but has not ended",
            fixes=[task.change(archived=0)],
        )


def one_recovery_is_open(facts: Facts) -> Iterator[Finding]:
    """A task has at most one open recovery."""
    open_recoveries: dict[str, list[str]] = defaultdict(list)
    for task in facts.tasks.values():
        task_id = task.recovers_task_id
        if task_id in facts.tasks and task.is_open:
            open_recoveries[task_id].append(task.alias)
    for task_id, aliases in open_recoveries.items():
        number = len(aliases)
        if number == 1:
            continue
        name = facts.tasks[task_id].name
        names = ", ".join(aliases)
        yield unfixable(
            kind=FindingKind.STATE,
            subject=task_id,
            sentence=f"{name} has {number} open recoveries, should have one: {names}",
            remedy="cancel all but one",
        )
