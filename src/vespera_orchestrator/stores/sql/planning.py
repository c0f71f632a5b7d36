"""Planning: new tasks with their edges."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import EventKind, Existing, PlannedTasks
from vespera_orchestrator.stores.sql import (
    changing,
    claims,
    cycles,
    events,
    reading,
    rows,
    timing,
    waiting,
)
from vespera_orchestrator.stores.sql.consequences import follow_ends, skip
from vespera_orchestrator.stores.sql.drafts import Drafts, matching
from vespera_orchestrator.stores.sql.urgency import urgencies
from vespera_orchestrator.tasks import lifecycle
from vespera_orchestrator.tasks.aliases import slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from vespera_orchestrator._model import JsonValue, Task, TaskDraft
    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.stores.sql.transaction import Transaction


def plan(
    tx: Transaction,
    session_id: str,
    drafts: Sequence[TaskDraft],
    mistakes: Sequence[VesperaError] = (),
    existing: Existing = Existing.ERROR,
) -> PlannedTasks:
    """See `contracts.Store.plan`."""
    matches: Mapping[int, Task] = {}
    if existing is not Existing.ERROR:
        matches = matching(tx, session_id, drafts)
    if existing is Existing.KEEP:
        kept = {number: attrs.evolve(drafts[number], named=frozenset()) for number in matches}
        drafts = [kept.get(number, each) for number, each in enumerate(drafts)]
    elif matches:
        drafts = [
            timing.without_dates_as_before(tx, each, matches[number]) if number in matches else each
            for number, each in enumerate(drafts)
        ]
    named = Drafts(tx, session_id, drafts, mistakes, matches=matches)
    new = named.tasks()
    restored = changing.detach(tx, named.changes)
    planned = {task.id: task for task in _insert(tx, named, new)}
    changed = changing.apply_changes(tx, named.changes, restored)
    if matches:
        planned = {task.id: task for task in reading.tasks_by_id(tx, named.ids)}
    return PlannedTasks(
        [planned[task_id] for task_id in named.ids],
        new=[task.id for task in new],
        changed=changed,
        renamed=_renamed(drafts, named.ids, planned, {task.id for task in new}),
    )


def _renamed(
    drafts: Sequence[TaskDraft],
    ids: Sequence[str],
    planned: Mapping[str, Task],
    new: AbstractSet[str],
) -> dict[str, str]:
    """Return, by alias, what the titles of new tasks would have given them."""
    renamed = {}
    for draft, task_id in zip(drafts, ids, strict=True):
        is_titled = draft.alias is None and draft.recovers_task_id is None
        if not is_titled or task_id not in new:
            continue
        alias, wanted = planned[task_id].alias, slug(draft.title)
        if alias != wanted:
            renamed[alias] = wanted
    return renamed


def _insert(tx: Transaction, named: Drafts, tasks: Sequence[Task]) -> Sequence[Task]:
    """Write new tasks with all that follows; return them as they are then."""
    if not tasks:
        return []
    new = {task.id: task for task in tasks}
    needed = {**named.existing, **new}
    children = Counter(task.parent_task_id for task in tasks if task.parent_task_id is not None)
    parents_before = {parent: needed[parent] for parent in children if parent in named.existing}
    readiness = {task.id: lifecycle.readiness(task, needed) for task in tasks}
    recovered = {task.recovers_task_id for task in tasks} - {None, *new}
    after = [*parents_before.values(), *reading.tasks_by_id(tx, sorted(map(str, recovered)))]
    hours = urgencies(tasks, {task.id: task.urgency for task in after})
    counted = _with_counts(tasks, readiness, children, hours)
    _insert_tasks(tx, named, counted, needed)
    _follow_due_dates(tx, tasks, list(parents_before))
    if parents_before:
        _add_blockers(tx, [(children[parent], parent) for parent in parents_before])
        for parent in parents_before.values():
            claims.note_progress(tx, parent)  # whoever plans the parts of its task has not stalled
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


def _insert_tasks(
    tx: Transaction, named: Drafts, tasks: Sequence[Task], needed: Mapping[str, Task]
) -> None:
    new = {task.id for task in tasks}
    stored = []
    edges: list[rows.Row] = []
    for task in tasks:
        names_only_new = all(edge.task in new for edge in task.dependencies)
        stored.append(rows.new_task_row(task, weighed=names_only_new))
        edges += _edge_rows(task, needed)
    tx.insert("tasks", ", ".join(stored[0]), [tuple(columns.values()) for columns in stored])
    if edges:
        tx.insert("dependencies", changing.EDGE_COLUMNS, edges)
    tx.tally_planned(tasks)
    described = [(task, _planned_data(task, named.written_dates(task.id))) for task in tasks]
    events.record_each(tx, EventKind.TASK_PLANNED, described)


def _planned_data(task: Task, written_dates: Mapping[str, str]) -> str:
    """Return what the event says by which a task was planned."""
    data: dict[str, JsonValue] = {"alias": task.alias, "title": task.title}
    if written_dates:
        data["written_dates"] = dict(written_dates)
    return str(dump_json(data, "title"))


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
