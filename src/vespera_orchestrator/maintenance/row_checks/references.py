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
        if parent is not None and parent not in facts.sessions:
            sentence = f"session {session} has the parent session {parent}, which does not exist"
            fix = change("sessions", {"id": session}, parent_session_id=None)
            yield fixable(FindingKind.REFERENCE, session, sentence, fix)


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
    task_id, needs_id = row["task_id"], row["needs_id"]
    missing = task_id if task is None else needs_id
    sentence = f"the dependency of {task_id} on {needs_id}: task {missing} does not exist"
    if task is not None and needs_id in task.condition_names.values():
        return unfixable(FindingKind.REFERENCE, task_id, sentence, "plan the task again")
    fix = remove("dependencies", {"task_id": task_id, "needs_id": needs_id})
    return fixable(FindingKind.REFERENCE, task_id, sentence, fix)


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
        if task.session_id not in facts.sessions:
            sentence = f"{task.name} belongs to session {task.session_id}, which does not exist"
            yield unfixable(FindingKind.REFERENCE, task.id, sentence, RESTORE)


def related_tasks_exist(facts: Facts) -> Iterator[Finding]:
    """A task's parent, and the task that it recovers, exist in the same session."""
    for task in facts.tasks.values():
        for column in _RELATIONS:
            other_id = getattr(task, column)
            if other_id is None:
                continue
            other = facts.tasks.get(other_id)
            if other is None or other.session_id != task.session_id:
                sentence = f"{task.name}: {column} is {other_id}, which its session does not have"
                fix = task.change(**{column: None})
                yield fixable(FindingKind.REFERENCE, task.id, sentence, fix)


def end_times_match_states(facts: Facts) -> Iterator[Finding]:
    """A task has an end time exactly when it has ended."""
    for task in facts.tasks.values():
        if task.has_end_time and task.is_open:
            sentence = f"{task.name} is {task.status}, but has an end time"
            yield fixable(FindingKind.STATE, task.id, sentence, task.change(ended_at=None))
        elif not task.has_end_time and not task.is_open:
            sentence = f"{task.name} is {task.status}, but has no end time"
            fix = task.change(ended_at=task.updated_at)
            yield fixable(FindingKind.STATE, task.id, sentence, fix)


def only_ended_tasks_are_archived(facts: Facts) -> Iterator[Finding]:
    """An archived task has ended."""
    for task in facts.tasks.values():
        if task.archived and task.is_open:
            sentence = f"{task.name} is archived, but has not ended"
            yield fixable(FindingKind.STATE, task.id, sentence, task.change(archived=0))


def one_recovery_is_open(facts: Facts) -> Iterator[Finding]:
    """A task has at most one open recovery."""
    open_recoveries: dict[str, list[str]] = defaultdict(list)
    for task in facts.tasks.values():
        if task.recovers_task_id in facts.tasks and task.is_open:
            open_recoveries[task.recovers_task_id].append(task.alias)
    for task_id, aliases in open_recoveries.items():
        if len(aliases) > 1:
            name, names = facts.tasks[task_id].name, ", ".join(aliases)
            sentence = f"{name} has {len(aliases)} open recoveries, should have one: {names}"
            yield unfixable(FindingKind.STATE, task_id, sentence, "cancel all but one")
