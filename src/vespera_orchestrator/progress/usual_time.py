"""Reads from the history how long tasks like a given one took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import AttemptEnding, EventKind
from vespera_orchestrator.tasks.durations import UsualTime, usual_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Task
    from vespera_orchestrator.contracts import Store

_LOOKED_THROUGH: Final = 100
"""Among how many of the last completed tasks of the session similar ones are looked for."""
_LONGEST_S: Final = 16 * 3600.0
"""An attempt that lay over night says nothing about the work."""


def usual_time_of(store: Store, task: Task) -> UsualTime | None:
    """Return how long the last such tasks took in this session: same type, same complexity."""
    return usual_time(list(_durations(store, task)))


def _durations(store: Store, task: Task) -> Iterator[float]:
    completed = store.events(
        session_id=task.session_id,
        kinds=(EventKind.TASK_COMPLETED,),
        limit=_LOOKED_THROUGH,
        newest_first=True,
    )
    for event in completed:
        other = None if event.task_id is None else store.find_task(event.task_id, None)
        if other is None or other.id == task.id or not _is_like(other, task):
            continue
        seconds = _worked_s(store, other)
        if seconds is not None:
            yield seconds


def _is_like(other: Task, task: Task) -> bool:
    return (other.task_type, other.complexity) == (task.task_type, task.complexity)


def _worked_s(store: Store, task: Task) -> float | None:
    """Return how long all attempts at a task took together; ``None`` if nobody knows.

    A task that was completed without being started has no length.
    """
    spans = [
        (attempt.ended_at - attempt.started_at).total_seconds()
        for attempt in store.attempts(task.id)
        if attempt.ended_at is not None and attempt.ending != AttemptEnding.ABANDONED
    ]
    total = sum(spans)
    is_known = bool(spans) and total > 0 and max(spans) <= _LONGEST_S
    return total if is_known else None
