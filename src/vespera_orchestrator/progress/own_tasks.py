"""Which tasks somebody has in hand, or had in hand last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import EventKind, TaskQuery, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import Attempt, Event, Task
    from vespera_orchestrator.contracts import Store

LETTING_GO: Final = frozenset(
    {
        EventKind.LEASE_EXPIRED,
        EventKind.ATTEMPT_ENDED,
        EventKind.ATTEMPT_STALLED,
        EventKind.TASK_RELEASED,
    }
)
"""How a holder is left without its task, while the work is not done."""
_MOST_HELD: Final = 20
"""How many tasks in progress are looked at."""


def held_tasks(store: Store, session_id: str, agent: str) -> list[tuple[Task, Attempt]]:
    """Return what *agent* holds in the session, the task that was taken up last first.

    Work that is handed in and waits to be merged is in nobody's hands.
    """
    query = TaskQuery(
        session_id=session_id,
        status=(TaskStatus.IN_PROGRESS,),
        agent=agent,
        limit=_MOST_HELD,
    )
    held = []
    for task in store.tasks(query):
        attempt = store.attempts(task.id)[-1]
        if attempt.agent == agent and attempt.ended_at is None:
            held.append((task, attempt))
    held.sort(key=lambda pair: pair[1].started_at, reverse=True)
    return held


def unfinished_tasks(store: Store, recent: Iterable[Event], agent: str) -> list[Task]:
    """Return what *agent* had in hand last, with work saved, and nobody has taken up since.

    Args:
        store: Where the tasks are.
        recent: The session's last milestones, the newest first.
        agent: Whose tasks.
    """
    tasks: dict[str, Task] = {}
    for event in recent:
        if event.kind not in LETTING_GO or event.task_id in tasks:
            continue
        if event.data.get("holder", event.agent) != agent:
            continue
        task = store.find_task(str(event.task_id), None)
        if task is None or task.status is not TaskStatus.PENDING:
            continue
        if event.data.get("attempt") == task.attempts and _has_saved_work(store, task):
            tasks[task.id] = task
    return list(tasks.values())


def _has_saved_work(store: Store, task: Task) -> bool:
    return bool(task.worktree) or store.last_checkpoint(task.id) is not None
