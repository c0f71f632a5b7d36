"""Which task comes first: hours of the longest chain of work that starts with it."""

from __future__ import annotations

import json
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from vespera_orchestrator.stores.sql.dialect import OPEN
from vespera_orchestrator.tasks import effort

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vespera_orchestrator._model import Task
    from vespera_orchestrator.stores.sql.transaction import Transaction

_MAX_LEVELS: Final = 16
"""How many levels upward the weight of new tasks is carried to tasks that were weighed before.

Each level costs a statement. A chain that is planned one by one, and looked at each time, would
pay for its whole length each time.
"""


def urgencies(tasks: Sequence[Task], waiting: Mapping[str, float]) -> dict[str, float]:
    """Return, for each of these new tasks, the hours of the longest chain that starts with it.

    Its own hours count. What comes after a task is what waits for it: its dependents, its parent,
    the task that it recovers.

    Args:
        tasks: The new tasks.
        waiting: The urgency of existing tasks that they are put under, or recover, by id.
    """
    following: dict[str, list[str]] = {task.id: [] for task in tasks}
    hours = dict(waiting)
    for task in tasks:
        for edge in task.dependencies:
            if edge.task in following:
                following[edge.task].append(task.id)
        for after in (task.parent_task_id, task.recovers_task_id):
            if after is not None and (after in following or after in hours):
                following[task.id].append(after)
    own_hours = {task.id: effort.effort_hours(task.estimated_effort) for task in tasks}
    for start in following:
        _add_longest(start, following, own_hours, hours)
    return hours


def _add_longest(
    start: str,
    following: Mapping[str, list[str]],
    own_hours: Mapping[str, float],
    hours: dict[str, float],
) -> None:
    """Add the hours of *start*, and of all that follows it, to *hours*."""
    stack = [start]
    while stack:
        task_id = stack[-1]
        unknown = [other for other in following[task_id] if other not in hours]
        if unknown and task_id not in hours:
            stack.extend(unknown)
            continue
        longest = max((hours[other] for other in following[task_id]), default=0.0)
        hours.setdefault(task_id, own_hours[task_id] + longest)
        stack.pop()


class _Needed(NamedTuple):
    """An open task that another one waits for."""

    seq: int
    id: str
    own_hours: float
    urgency: float


def has_unweighed(tx: Transaction, session_id: str) -> bool:
    """Tell whether a task was planned since the session's tasks were last weighed."""
    sql = f"SELECT 1 {_unweighed(tx)} LIMIT 1"
    return tx.execute(sql, (session_id,)).fetchone() is not None


def _unweighed(tx: Transaction) -> str:
    hint = tx.dialect.use_index("tasks_unweighed")
    return f"FROM tasks {hint} WHERE session_id = {tx.mark}1 AND weighed = 0"


def weigh(tx: Transaction, session_id: str) -> None:
    """Carry the weight of tasks that were planned since the last time to those they wait for.

    This is done once for all of them, when they are first asked for. It goes from the newest task
    to the oldest, because tasks mostly wait for older ones: so each is visited once.
    """
    sql = f"SELECT seq, id, urgency {_unweighed(tx)}"
    unweighed = tx.execute(sql, (session_id,)).fetchall()
    if not unweighed:
        return
    hours = {task_id: urgency for _, task_id, urgency in unweighed}
    queue = [(-seq, task_id, 0) for seq, task_id, _ in unweighed]
    queued = set(hours)
    needs = _NeedsReader(tx)
    heapify(queue)
    while queue:
        _, task_id, level = heappop(queue)
        queued.discard(task_id)
        for needed in needs.of(task_id, queued):
            chain = needed.own_hours + hours[task_id]
            if chain <= hours.get(needed.id, needed.urgency):
                continue
            hours[needed.id] = chain
            if needed.id not in queued and level < _MAX_LEVELS:
                queued.add(needed.id)
                heappush(queue, (-needed.seq, needed.id, level + 1))
    sql = f"UPDATE tasks SET urgency = {tx.mark}1, weighed = 1 WHERE id = {tx.mark}2"
    tx.executemany(sql, [(weight, task_id) for task_id, weight in hours.items()])


class _NeedsReader:
    """Reads the open tasks that a task waits for; from a remote database, for many at once."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._read_ahead: dict[str, list[_Needed]] = {}

    def of(self, task_id: str, queued: Iterable[str]) -> Sequence[_Needed]:
        """Return what the task waits for; *queued* are the tasks that will be asked for later."""
        if not self._tx.dialect.remote:
            return self._one(task_id)
        if task_id not in self._read_ahead:
            self._read_all([task_id, *queued])
        return self._read_ahead[task_id]

    def _one(self, task_id: str) -> list[_Needed]:
        mark = self._tx.mark
        sql = f"""
            SELECT seq, id, effort_hours, urgency FROM (
                SELECT needs_id AS id FROM dependencies WHERE task_id = {mark}1
                UNION ALL SELECT id FROM tasks WHERE parent_task_id = {mark}1
                UNION ALL SELECT id FROM tasks WHERE recovers_task_id = {mark}1
            ) AS needed {self._tx.dialect.ordered_join} tasks USING (id) WHERE status IN {OPEN}
        """
        return [_Needed(*row) for row in self._tx.execute(sql, (task_id,)).fetchall()]

    def _read_all(self, task_ids: list[str]) -> None:
        dialect = self._tx.dialect
        listed = dialect.in_list(1)
        sql = f"""
            SELECT waiting, seq, id, effort_hours, urgency FROM (
                SELECT task_id AS waiting, needs_id AS id FROM dependencies WHERE task_id {listed}
                UNION ALL SELECT parent_task_id, id FROM tasks WHERE parent_task_id {listed}
                UNION ALL SELECT recovers_task_id, id FROM tasks WHERE recovers_task_id {listed}
            ) AS needed {dialect.ordered_join} tasks USING (id) WHERE status IN {OPEN}
        """
        self._read_ahead.update({task_id: [] for task_id in task_ids})
        for waiting, *needed in self._tx.execute(sql, (json.dumps(task_ids),)).fetchall():
            self._read_ahead[waiting].append(_Needed(*needed))
