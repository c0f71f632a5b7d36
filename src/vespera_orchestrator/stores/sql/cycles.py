"""Circles: tasks that would wait for each other.

Dependencies, subtasks and recoveries count alike.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from vespera_orchestrator.errors import CycleError
from vespera_orchestrator.stores.sql.dialect import OPEN
from vespera_orchestrator.stores.sql.transaction import first_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vespera_orchestrator._model import Task
    from vespera_orchestrator.stores.sql.transaction import Transaction


def cycle_error(
    path: Sequence[str], place: str = "", *, remedy: str = "let one of them not wait for the next"
) -> CycleError:
    """Make the error for a circle along *path*, a list of aliases."""
    arrows = " → ".join(path)
    return CycleError(
        f"these tasks would wait for each other: {arrows}; {remedy}",
        place,
        path=tuple(path),
    )


# --- within one plan --------------------------------------------------------


def refuse_circles_within(tasks: Sequence[Task], places: Mapping[str, str]) -> None:
    """Refuse a circle among new tasks: each waits for its dependencies and for its children.

    Args:
        tasks: The new tasks.
        places: Where each stands in the plan, by id.
    """
    needs = {task.id: [edge.task for edge in task.dependencies] for task in tasks}
    for task in tasks:
        if task.parent_task_id in needs:
            needs[task.parent_task_id].append(task.id)
    in_circles = _stuck_tasks(needs)
    if in_circles:
        names = {task.id: task.alias for task in tasks}
        path = _circle_path(in_circles, needs)
        raise cycle_error([names[task_id] for task_id in path], places[path[0]])


def _stuck_tasks(needs: Mapping[str, list[str]]) -> set[str]:
    """Return the tasks that are in a circle, or wait for one that is."""
    waiting: dict[str, list[str]] = {}
    open_needs = dict.fromkeys(needs, 0)
    for task_id, needed_ids in needs.items():
        for needed in needed_ids:
            if needed in needs:
                waiting.setdefault(needed, []).append(task_id)
                open_needs[task_id] += 1
    queue = deque(task_id for task_id, number in open_needs.items() if not number)
    while queue:
        for task_id in waiting.get(queue.popleft(), ()):
            open_needs[task_id] -= 1
            if not open_needs[task_id]:
                queue.append(task_id)
    return {task_id for task_id, number in open_needs.items() if number}


def _circle_path(in_circles: set[str], needs: Mapping[str, list[str]]) -> list[str]:
    """Walk along needs until a task comes up twice; return the walk between the two times."""
    task_id = next(each for each in needs if each in in_circles)  # the first of the plan
    path: list[str] = []
    position: dict[str, int] = {}
    while task_id not in position:
        position[task_id] = len(path)
        path.append(task_id)
        task_id = next(needed for needed in needs[task_id] if needed in in_circles)
    return [*path[position[task_id] :], task_id]


# --- through tasks that exist -----------------------------------------------


def refuse_circles_through(tx: Transaction, tasks: Sequence[Task]) -> None:
    """Refuse a circle that runs through a task that existed before the plan; all rows are written.

    A new task that only names existing ones closes no circle. One that is put under an existing
    parent may, if what it waits for waits for that parent. What lies below that parent cannot, or
    there would have been a circle before. So only the rest is searched.
    """
    new = {task.id: task for task in tasks}
    children: dict[str, list[str]] = {}
    for task in tasks:
        if task.parent_task_id is not None:
            children.setdefault(task.parent_task_id, []).append(task.id)
    for parent, children_ids in children.items():
        if parent in new:
            continue
        needed = _existing_needs(children_ids, new, children)
        outside = {task_id for task_id in needed if not _is_below(tx, task_id, parent)}
        if outside and reaches(tx, outside, parent):
            raise cycle_error(find_path(tx, parent, parent))


def _existing_needs(
    start: Sequence[str], new: Mapping[str, Task], children: Mapping[str, list[str]]
) -> set[str]:
    """Return the existing tasks that those in *start* wait for, through any number of new ones."""
    queue = deque(start)
    visited = set(start)
    existing: set[str] = set()
    while queue:
        task_id = queue.popleft()
        needed_ids = [edge.task for edge in new[task_id].dependencies]
        for needed in (*needed_ids, *children.get(task_id, ())):
            if needed not in new:
                existing.add(needed)
            elif needed not in visited:
                visited.add(needed)
                queue.append(needed)
    return existing


def _is_below(tx: Transaction, task_id: str, parent: str) -> bool:
    sql = f"SELECT parent_task_id FROM tasks WHERE id = {tx.mark}1"
    ancestor: str | None = task_id
    while ancestor is not None and ancestor != parent:
        row = tx.execute(sql, (ancestor,)).fetchone()
        ancestor = row[0] if row else None
    return ancestor == parent and task_id != parent


def reaches(tx: Transaction, starts: Iterable[str], goal: str) -> bool:
    """Tell whether any of *starts* is *goal* or waits for it, however indirectly."""
    sql = f"{tx.dialect.waits_for} SELECT 1 FROM up WHERE id = {tx.mark}2 LIMIT 1"
    start_ids = json.dumps(list(starts))
    row = tx.execute(sql, (start_ids, goal)).fetchone()
    return row is not None


def find_path(tx: Transaction, start: str, goal: str) -> list[str]:
    """Return the aliases from *start* to *goal* along "waits for", or an empty list."""
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        task_id = queue.popleft()
        for needed in _needs(tx, task_id):
            if needed == goal:
                return _aliases(tx, [*_walk_back(task_id, start, came_from), goal])
            if needed not in came_from and needed != start:
                came_from[needed] = task_id
                queue.append(needed)
    return []


def _needs(tx: Transaction, task_id: str) -> list[str]:
    """Return the ids of the tasks that this one waits for directly."""
    sql = f"""
        SELECT needs_id FROM dependencies WHERE task_id = {tx.mark}1
        UNION ALL SELECT id FROM tasks WHERE parent_task_id = {tx.mark}1
        UNION ALL SELECT id FROM tasks WHERE recovers_task_id = {tx.mark}1 AND status IN {OPEN}
    """
    return first_column(tx.execute(sql, (task_id,)))


def _walk_back(task_id: str, start: str, came_from: Mapping[str, str]) -> list[str]:
    path = [task_id]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _aliases(tx: Transaction, task_ids: Sequence[str]) -> list[str]:
    sql = f"SELECT id, alias FROM tasks WHERE id {tx.dialect.in_list(1)}"
    names = dict(tx.execute(sql, (json.dumps(task_ids),)).fetchall())
    return [names[task_id] for task_id in task_ids]
