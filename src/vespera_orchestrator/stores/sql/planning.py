"""Planning: new tasks with their edges, and changes to tasks that are planned."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import EventKind, TaskStatus
from vespera_orchestrator.errors import (
    ConditionError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.stores.sql import cycles, events, reading, rows, timing, waiting
from vespera_orchestrator.stores.sql.consequences import follow_ends, recount, set_columns, skip
from vespera_orchestrator.stores.sql.drafts import Drafts
from vespera_orchestrator.stores.sql.urgency import urgencies
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vespera_orchestrator._model import JsonValue, Outcome, Task, TaskDraft
    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.stores.sql.transaction import Transaction

_EDGE_COLUMNS: Final = "task_id, needs_id, position, on_outcome, governed, met"


def plan(
    tx: Transaction,
    session_id: str,
    drafts: Sequence[TaskDraft],
    mistakes: Sequence[VesperaError] = (),
) -> list[Task]:
    """See `contracts.Store.plan`."""
    named = Drafts(tx, session_id, drafts, mistakes)
    tasks = named.tasks()
    if not tasks:
        return []
    new = {task.id: task for task in tasks}
    needed = {**named.existing, **new}
    children = Counter(task.parent_task_id for task in tasks if task.parent_task_id is not None)
    parents_before = {parent: needed[parent] for parent in children if parent in named.existing}
    readiness = {task.id: lifecycle.readiness(task, needed) for task in tasks}
    hours = urgencies(tasks, {parent: task.urgency for parent, task in parents_before.items()})
    counted = _with_counts(tasks, readiness, children, hours)
    _insert_tasks(tx, counted, needed)
    _follow_due_dates(tx, tasks, list(parents_before))
    if parents_before:
        _add_blockers(tx, [(children[parent], parent) for parent in parents_before])
        cycles.refuse_circles_through(tx, counted)
    impossible = [task for task in counted if readiness[task.id].impossible]
    for task in impossible:
        skip(tx, task, lifecycle.skip_reason(task, readiness[task.id], needed))
    if impossible:
        follow_ends(tx, _read_again(tx, impossible))
    is_answered = waiting.take_earlier_signals(tx, counted)
    return _read_again(tx, counted) if impossible or is_answered else counted


def _follow_due_dates(tx: Transaction, tasks: Sequence[Task], parents: Sequence[str]) -> None:
    """Let the due dates of new tasks, and of those they are put under, count upward."""
    dated = [task.id for task in tasks if task.due_at is not None]
    if parents and timing.have_due_dates(tx, parents):
        dated += [task.id for task in tasks if task.parent_task_id in parents]
    if dated:
        timing.follow_due_dates(tx, dated)


def _with_counts(
    tasks: Sequence[Task],
    readiness: Mapping[str, lifecycle.Readiness],
    children: Mapping[str, int],
    hours: Mapping[str, float],
) -> list[Task]:
    """Return the new tasks with the number of their blockers and their urgency."""
    counted = []
    for task in tasks:
        blockers = readiness[task.id].blockers + children.get(task.id, 0)
        counted.append(attrs.evolve(task, blockers=blockers, urgency=hours[task.id]))
    return counted


def _add_blockers(tx: Transaction, counts: Sequence[tuple[int, str]]) -> None:
    """Count new children as blockers; *counts* has the number for each parent's id."""
    sql = f"UPDATE tasks SET blockers = blockers + {tx.mark}1 WHERE id = {tx.mark}2"
    tx.executemany(sql, counts)


def _read_again(tx: Transaction, tasks: Sequence[Task]) -> list[Task]:
    return reading.tasks_by_id(tx, [task.id for task in tasks])


def _insert_tasks(tx: Transaction, tasks: Sequence[Task], needed: Mapping[str, Task]) -> None:
    new = {task.id for task in tasks}
    stored = []
    edges: list[rows.Row] = []
    for task in tasks:
        names_only_new = all(edge.task in new for edge in task.dependencies)
        stored.append(rows.new_task_row(task, weighed=names_only_new))
        edges += _edge_rows(task, needed)
    tx.insert("tasks", ", ".join(stored[0]), [tuple(columns.values()) for columns in stored])
    if edges:
        tx.insert("dependencies", _EDGE_COLUMNS, edges)
    tx.tally_planned(tasks)
    described = [
        (task, dump_json({"alias": task.alias, "title": task.title}, "title")) for task in tasks
    ]
    events.record_each(tx, EventKind.TASK_PLANNED, described)


def _edge_rows(task: Task, needed: Mapping[str, Task]) -> Iterable[rows.Row]:
    governed = frozenset(task.condition_names.values())
    for position, edge in enumerate(task.dependencies):
        other = needed[edge.task]
        met = lifecycle.edge_met(edge.on, other.status, was_blocked=other.was_blocked)
        yield (
            task.id,
            edge.task,
            position,
            str(edge.on),
            int(edge.task in governed),
            int(met is True),
        )


# --- changes ----------------------------------------------------------------


def update_task(tx: Transaction, task_id: str, changes: Mapping[str, JsonValue]) -> Task:
    """See `contracts.Store.update_task`."""
    columns = _changed_columns(changes)
    task = reading.task(tx, task_id)
    if "estimated_effort" in columns:
        before = lifecycle.effort_hours(task.estimated_effort)
        hours = lifecycle.effort_hours(columns["estimated_effort"])
        urgency = task.urgency + hours - before
        columns |= {"effort_hours": hours, "urgency": urgency, "weighed": 0}
    date_columns = timing.date_columns(task, changes, tx.now)
    columns |= date_columns
    if not columns:
        return task
    set_columns(tx, task_id, **columns)
    if date_columns or "effort_hours" in columns:
        timing.follow_due_dates(tx, [task_id])
    event_data = {name: _plain(value) for name, value in changes.items()}
    events.record_for(tx, task, EventKind.TASK_UPDATED, event_data)
    if date_columns and task.answered:  # and done, if it rested and waits for nothing else now
        recount(tx, task_id)
    return reading.task(tx, task_id)


def _changed_columns(changes: Mapping[str, JsonValue]) -> dict[str, Any]:
    columns = {name: value for name, value in changes.items() if name in rows.DESCRIPTIVE}
    if "context" in changes:
        columns["context"] = dump_json(changes["context"], "context")
    return columns


def _plain(value: JsonValue) -> JsonValue:
    return str(value) if isinstance(value, datetime) else value


def add_dependency(tx: Transaction, task_id: str, needs: str, on: Outcome) -> Task:
    """See `contracts.Store.add_dependency`."""
    task = reading.task(tx, task_id)
    other = reading.task(tx, needs)
    if task.status is not TaskStatus.PENDING:
        remedy = "only a pending task can wait for more"
        raise TransitionError(task.alias, task.status, "take a further dependency", remedy)
    if other.session_id != task.session_id:
        problem = f"{other.alias!r} belongs to another session"
        raise UnknownDependencyError(problem, task.title, needs)
    _refuse_circle(tx, task, other)
    sql = f"""
        INSERT INTO dependencies ({_EDGE_COLUMNS}) VALUES (
            {tx.mark}1, {tx.mark}2,
            (SELECT coalesce(max(position), -1) + 1 FROM dependencies WHERE task_id = {tx.mark}1),
            {tx.mark}3, 0, 0
        )
        ON CONFLICT (task_id, needs_id) DO UPDATE SET on_outcome = excluded.on_outcome
    """
    tx.execute(sql, (task_id, needs, str(on)))
    set_columns(tx, task_id, weighed=0)
    data = {"needs": needs, "on": str(on)}
    events.record_for(tx, task, EventKind.DEPENDENCY_ADDED, data)
    if timing.have_due_dates(tx, [task_id]):
        timing.follow_due_dates(tx, [needs])
    recount(tx, task_id)
    return reading.task(tx, task_id)


def _refuse_circle(tx: Transaction, task: Task, needed: Task) -> None:
    if not cycles.reaches(tx, [needed.id], task.id):
        return
    path = [needed.alias]
    if needed.id != task.id:
        path = cycles.find_path(tx, needed.id, task.id)
    raise cycles.cycle_error([task.alias, *path], task.title)


def remove_dependency(tx: Transaction, task_id: str, needs: str) -> Task:
    """See `contracts.Store.remove_dependency`."""
    task = reading.task(tx, task_id)
    for name, named_id in task.condition_names.items():
        if named_id == needs:
            text = str(task.condition)
            problem = f"it names {name!r}, so the dependency must stay"
            raise ConditionError(problem, task.title, text, text.find(name) + 1)
    sql = f"DELETE FROM dependencies WHERE task_id = {tx.mark}1 AND needs_id = {tx.mark}2"
    if not tx.execute(sql, (task_id, needs)).rowcount:
        raise UnknownDependencyError(f"does not depend on {needs!r}", task.title, needs)
    events.record_for(tx, task, EventKind.DEPENDENCY_REMOVED, {"needs": needs})
    recount(tx, task_id)
    return reading.task(tx, task_id)
