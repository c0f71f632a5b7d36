"""Which artifacts a spawned agent inherits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import SECONDARY_KINDS, ArtifactQuery
from vespera_orchestrator.artifacts.surroundings import upstream

if TYPE_CHECKING:
    from vespera_orchestrator._model import Artifact, Task, TaskArtifact
    from vespera_orchestrator.contracts import Store

_NEWEST: Final = 50
"""How many artifacts an agent without a task inherits."""
_MOST_UPSTREAM: Final = 200
"""How many artifacts an agent with a task inherits, the nearest ones."""


def newest_artifacts(store: Store, session_id: str) -> tuple[Artifact, ...]:
    """Return the session's newest artifacts, for an agent that has no task yet."""
    query = ArtifactQuery(session_id=session_id, newest_first=True, limit=_NEWEST)
    return tuple(store.artifacts(query))


def upstream_artifacts(store: Store, task: Task) -> tuple[Artifact, ...]:
    """Return the artifacts of everything the task builds on.

    Results come before what went wrong on the way, and the nearest tasks before those further away.
    """
    task_ids = tuple(upstream(store, task))
    distance = {task_id: number for number, task_id in enumerate(task_ids)}

    def rank(entry: TaskArtifact) -> tuple[bool, int]:
        is_secondary = entry.artifact.kind in SECONDARY_KINDS
        return is_secondary, distance[entry.task_id]

    nearest_first = sorted(store.task_artifacts(task_ids), key=rank)
    by_id = {entry.artifact.id: entry.artifact for entry in nearest_first}
    return tuple(by_id.values())[:_MOST_UPSTREAM]
