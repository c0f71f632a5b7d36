"""Changes to tasks that are planned: what is written about them, and what they wait for."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import Dependency, EventKind, TaskDraft, TaskStatus
from vespera_orchestrator.errors import TransitionError, UnknownDependencyError
from vespera_orchestrator.stores.sql import claims, cycles, events, reading, rows, timing, waiting
from vespera_orchestrator.stores.sql.consequences import recount, set_columns
from vespera_orchestrator.stores.sql.drafts import (
    Change,
    Drafts,
    place_in_plan,
    reopening,
)
from vespera_orchestrator.stores.sql.restoring import (
    follow_restored,
    may_be_restored,
    restore_skipped,
)
from vespera_orchestrator.tasks import effort, lifecycle, plans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vespera_orchestrator._model import JsonValue, Outcome, Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

EDGE_COLUMNS: Final = "task_id, needs_id, position, on_outcome, governed, met"
_DRAFT_FIELDS: Final = frozenset(field.name for field in attrs.fields(TaskDraft))
_WAITING: Final = frozenset({"dependencies", "condition", "question", "signal"})
"""What a task waits for: fields that change only while it is pending or skipped."""
_SKIPPING: Final = _WAITING | {"parent_task_id"}
"""Fields for which a task may have been skipped: a change of them decides that anew."""
_COUNTED: Final = _WAITING | {"condition_names", "not_before"}
"""Fields that decide how many causes keep the task from being ready."""
_MOVING: Final = frozenset(
    {"dependencies", "parent_task_id", "estimated_effort", "due_at", "due_day", "zone"}
)
"""Fields that decide by when the task, and what it waits for, should be done."""
_LIMITS: Final = frozenset({"time_limit_s", "stalled_after_s"})
"""Fields that hold for the running attempt, too."""
_NAMED_EDGES: Final = 5
"""How many dependencies of a task an error names."""
_DERIVED: Final = frozenset({"condition_names", "due_day", "zone"})
"""Fields that follow from others, and are not named to people."""


def update_task(tx: Transaction, task_id: str, changes: Mapping[str, JsonValue]) -> Task:
    """See `contracts.Store.update_task`."""
    task = reading.task(tx, task_id)
    fields = {name: value for name, value in changes.items() if name in _DRAFT_FIELDS}
    named = frozenset(fields) - {"written_dates"}
    draft = TaskDraft(**{"title": task.title, **fields}, place=task.title, named=named)
    drafts = Drafts(tx, task.session_id, [draft], matches={0: task})
    drafts.tasks()
    restored = detach(tx, drafts.changes)
    apply_changes(tx, drafts.changes, restored)
    if "worktree" in changes and changes["worktree"] != task.worktree:
        set_columns(tx, task_id, worktree=changes["worktree"])
        data = {"worktree": changes["worktree"]}
        events.record_for(tx, task, EventKind.TASK_UPDATED, data)
    return reading.task(tx, task_id)


def detach(tx: Transaction, changes: Sequence[Change]) -> list[Task]:
    """Remove edges that are no longer meant, and take tasks from under their old parents.

    All changes of a plan are detached before any is applied: so two tasks may change places.

    Returns:
        The tasks that were skipped, as they were; they are pending now, and decided anew.

    Raises:
        TransitionError: What a task waits for can be changed only while it is pending or skipped.
    """
    for change in changes:
        _refuse_late(tx, change)
    changed = [change.task for change in changes if _SKIPPING & change.fields.keys()]
    restored = [task for task in changed if may_be_restored(tx, task)]
    for task in restored:
        restore_skipped(tx, task)
    for change in changes:
        task, after = change.task, _edges_after(change)
        for edge in task.dependencies:
            if edge.task not in after:
                _delete_edge(tx, task, edge.task)
        if "parent_task_id" in change.fields:
            set_columns(tx, task.id, touch=False, parent_task_id=None)
    return restored


def apply_changes(
    tx: Transaction, changes: Sequence[Change], restored: Sequence[Task] = ()
) -> dict[str, tuple[str, ...]]:
    """Write what is different, and carry out what follows from it.

    Args:
        tx: The transaction.
        changes: What is different.
        restored: What `detach` has made pending.

    Returns:
        For the id of each task that has changed, the arguments of planning that have.

    Raises:
        CycleError: Tasks would wait for each other.
    """
    for change in changes:
        _write(tx, change)
    for change in changes:
        _refuse_circles(tx, change)
    for change in changes:
        _follow(tx, change)
    follow_restored(tx, restored)
    return {
        change.task.id: tuple(sorted(map(plans.argument_of, change.fields.keys() - _DERIVED)))
        for change in changes
        if change.fields
    }


def _refuse_late(tx: Transaction, change: Change) -> None:
    task, place = change.task, place_in_plan(change.place, change.task.title)
    late = sorted(_WAITING & change.fields.keys())
    if not late or may_be_restored(tx, task):
        return
    if task.status is not TaskStatus.PENDING:
        remedy = "release it first"
        if task.status is not TaskStatus.IN_PROGRESS:
            remedy = reopening(task.alias, task.status)
        wanted = f"change its {late[0]}"
        raise TransitionError(task.alias, task.status, wanted, remedy, place=place)
    if task.answered:
        remedy = "it is answered, and done as soon as it waits for nothing else"
        wanted = f"change its {late[0]}"
        raise TransitionError(task.alias, task.status, wanted, remedy, place=place)


def _edges_after(change: Change) -> dict[str, Outcome]:
    edges = change.fields.get("dependencies", change.task.dependencies)
    return {edge.task: edge.on for edge in edges}


def _write(tx: Transaction, change: Change) -> None:
    task, fields = change.task, change.fields
    if not fields:
        return
    before = {edge.task: edge.on for edge in task.dependencies}
    for needs, on in _edges_after(change).items():
        if before.get(needs) is not on:
            _write_edge(tx, task, needs, on)
    set_columns(tx, task.id, **_columns(tx, change))
    if fields.keys() & _LIMITS and task.status is TaskStatus.IN_PROGRESS:
        claims.follow_limits(tx, reading.task(tx, task.id))
    _govern(tx, change)
    if _asks(change):
        _refuse_work_of_its_own(tx, change)
    names = fields.keys() - {"dependencies", "condition_names"}
    if names:
        data = {name: _plain(fields[name]) for name in sorted(names)}
        if change.written_dates:
            data["written_dates"] = dict(change.written_dates)
        events.record_for(tx, task, EventKind.TASK_UPDATED, data)


def _refuse_work_of_its_own(tx: Transaction, change: Change) -> None:
    """Refuse a question or a signal where an answer would end work, or leave it behind."""
    task, place = change.task, place_in_plan(change.place, change.task.title)
    if reading.has_open_children(tx, task.id):
        remedy = "what waits for an answer or a signal has no subtasks"
        raise TransitionError(task.alias, task.status, "wait for the world", remedy, place=place)
    if task.attempts and task.question is None and task.signal is None:
        remedy = "plan a task that waits for it, and let this one depend on that"
        raise TransitionError(task.alias, "begun", "wait for the world", remedy, place=place)


def _asks(change: Change) -> bool:
    """Tell whether the task waits for an answer or a signal from now on."""
    names = ("question", "signal")
    return any(change.fields.get(name) is not None for name in names)


def _columns(tx: Transaction, change: Change) -> dict[str, Any]:
    task, fields = change.task, change.fields
    columns = {name: fields[name] for name in fields if name in rows.DESCRIPTIVE}
    if "context" in fields:
        columns["context"] = dump_json(fields["context"], "context")
    if "condition_names" in fields:
        names = dict(fields["condition_names"])
        columns["condition_names"] = dump_json(names, "condition") if names else None
    if "condition" in fields:
        has_condition = fields["condition"] is not None
        columns["condition_version"] = lifecycle.CONDITION_VERSION if has_condition else None
    if {"dependencies", "parent_task_id"} & fields.keys():
        columns["weighed"] = 0
    if "estimated_effort" in fields:
        before = effort.effort_hours(task.estimated_effort)
        hours = effort.effort_hours(fields["estimated_effort"])
        urgency = task.urgency + hours - before
        columns |= {"effort_hours": hours, "urgency": urgency, "weighed": 0}
    return columns | timing.date_columns(task, fields, tx.now)


def _plain(value: JsonValue) -> JsonValue:
    return str(value) if isinstance(value, datetime) else value


def _govern(tx: Transaction, change: Change) -> None:
    """Mark the edges that the task's condition names."""
    if not {"dependencies", "condition_names"} & change.fields.keys():
        return
    names = change.fields.get("condition_names", change.task.condition_names)
    sql = f"UPDATE dependencies SET governed = {tx.mark}3 WHERE task_id = {tx.mark}1"
    sql += f" AND needs_id = {tx.mark}2"
    governed = set(names.values())
    edges = [(change.task.id, needs, int(needs in governed)) for needs in _edges_after(change)]
    tx.executemany(sql, edges)


def _refuse_circles(tx: Transaction, change: Change) -> None:
    task = change.task
    before = {edge.task for edge in task.dependencies}
    starts = _edges_after(change).keys() - before
    if starts and cycles.reaches(tx, starts, task.id):
        raise cycles.cycle_error(cycles.find_path(tx, task.id, task.id), change.place)
    parent = change.fields.get("parent_task_id")
    if parent is not None and cycles.reaches(tx, [task.id], parent):
        raise cycles.cycle_error(cycles.find_path(tx, parent, parent), change.place)


def _follow(tx: Transaction, change: Change) -> None:
    """Count anew what the task, and those above it, wait for, and by when."""
    task, fields = change.task, change.fields
    parents = set()
    if "parent_task_id" in fields:
        parents = {task.parent_task_id, fields["parent_task_id"]} - {None}
    if fields.get("parent_task_id") is not None:
        set_columns(tx, fields["parent_task_id"], touch=False, weighed=0)
    before = {edge.task for edge in task.dependencies}
    if fields.keys() & _MOVING:
        moved = before ^ _edges_after(change).keys()
        timing.follow_due_dates(tx, [task.id, *moved])
    if fields.get("signal") is not None:
        waiting.take_earlier_signals(tx, [reading.task(tx, task.id)])
    if fields.keys() & _COUNTED:
        recount(tx, task.id)
    for parent in sorted(parents):
        recount(tx, parent)


# --- single edges -------------------------------------------------------------


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
    others = [edge for edge in task.dependencies if edge.task != needs]
    edges = (*others, Dependency(needs, on))
    apply_changes(tx, [Change(task=task, fields={"dependencies": edges})])
    return reading.task(tx, task_id)


def _write_edge(tx: Transaction, task: Task, needs: str, on: Outcome) -> None:
    sql = f"""
        INSERT INTO dependencies ({EDGE_COLUMNS}) VALUES (
            {tx.mark}1, {tx.mark}2,
            (SELECT coalesce(max(position), -1) + 1 FROM dependencies WHERE task_id = {tx.mark}1),
            {tx.mark}3, 0, 0
        )
        ON CONFLICT (task_id, needs_id) DO UPDATE SET on_outcome = excluded.on_outcome
    """
    tx.execute(sql, (task.id, needs, str(on)))
    data = {"needs": needs, "on": str(on)}
    events.record_for(tx, task, EventKind.DEPENDENCY_ADDED, data)


def remove_dependency(tx: Transaction, task_id: str, needs: str) -> Task:
    """See `contracts.Store.remove_dependency`."""
    task = reading.task(tx, task_id)
    plans.refuse_ungoverned(task, {edge.task for edge in task.dependencies} - {needs}, task.title)
    restored = [task] if may_be_restored(tx, task) else []
    for each in restored:
        restore_skipped(tx, each)
    if not _delete_edge(tx, task, needs):
        raise _no_such_edge(tx, task, needs)
    recount(tx, task_id)
    follow_restored(tx, restored)
    return reading.task(tx, task_id)


def _no_such_edge(tx: Transaction, task: Task, needs: str) -> UnknownDependencyError:
    """Make the error that names what the task does depend on."""
    named_ids = [edge.task for edge in task.dependencies[:_NAMED_EDGES]]
    named = reading.tasks_by_id(tx, [needs, *named_ids], edges=False)
    names = {each.id: each.alias for each in named}
    known = ", ".join(names[task_id] for task_id in named_ids) or "nothing"
    more = len(task.dependencies) - len(named_ids)
    if more:
        known += f" and {more} more"
    problem = f"it does not depend on {names.get(needs, needs)}, but on {known}"
    return UnknownDependencyError(problem, task.title, needs)


def _delete_edge(tx: Transaction, task: Task, needs: str) -> bool:
    """Delete an edge; return whether there was one."""
    sql = f"DELETE FROM dependencies WHERE task_id = {tx.mark}1 AND needs_id = {tx.mark}2"
    if not tx.execute(sql, (task.id, needs)).rowcount:
        return False
    events.record_for(tx, task, EventKind.DEPENDENCY_REMOVED, {"needs": needs})
    return True
