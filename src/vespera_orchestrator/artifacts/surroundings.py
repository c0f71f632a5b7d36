"""What lies around a task in the graph: what it builds on, its siblings, its sessions."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import TaskQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vespera_orchestrator._model import Artifact, Session, Task, TaskArtifact
    from vespera_orchestrator.contracts import Store

DEPENDENCY: Final = "dependency"
SIBLING: Final = "sibling"
SESSION: Final = "session"
ANCESTOR: Final = "ancestor"

_SESSION_BONUS: Final = 0.15
"""What it counts to be of the same session, where the best answer to the query counts 1."""
_ANCESTOR_BONUS: Final = 0.05
"""The same for an earlier session that this one is part of."""
_MOST_UPSTREAM: Final = 200
_MOST_SIBLINGS: Final = 200
_MOST_ANCESTORS: Final = 10


@attrs.frozen(kw_only=True)
class Surroundings:
    """What is around a task, or around a session alone."""

    task: Task | None
    dependencies: Mapping[str, int]
    """Ids of the tasks it builds on, the nearest first, and how many steps away each is."""
    siblings: frozenset[str]
    session_id: str | None
    ancestors: tuple[str, ...]
    """The earlier sessions that the session is part of, the nearest first."""
    work: Sequence[TaskArtifact] = ()
    """What those tasks saved, or what holds now in its place: of the nearest task first."""

    @classmethod
    def of(cls, store: Store, task: Task | None, session: Session | None) -> Surroundings:
        """Read them from the store."""
        dependencies: Mapping[str, int] = {}
        siblings: frozenset[str] = frozenset()
        if task is not None:
            dependencies = upstream(store, task, _MOST_UPSTREAM)
            siblings = _siblings(store, task)
        return cls(
            task=task,
            dependencies=dependencies,
            siblings=siblings,
            session_id=None if session is None else session.id,
            ancestors=_ancestors(store, session),
            work=_work_of(store, dependencies),
        )

    @property
    def session_ids(self) -> tuple[str, ...]:
        """The session and its ancestors; empty where there is no session."""
        return () if self.session_id is None else (self.session_id, *self.ancestors)

    @property
    def artifacts(self) -> list[Artifact]:
        """The artifacts of *work*, each once."""
        by_id = {entry.artifact.id: entry.artifact for entry in self.work}
        return list(by_id.values())

    @cached_property
    def _replacements(self) -> Mapping[str, int]:
        """How far away the tasks are whose work these artifacts have replaced, by artifact id."""
        steps: dict[str, int] = {}
        for entry in self.work:
            if entry.replaces is not None:
                steps.setdefault(entry.artifact.id, self.dependencies[entry.task_id])
        return steps

    def session_bonus(self, artifact: Artifact) -> float:
        """Return what it counts that *artifact* is of this session, or of one above it."""
        if artifact.session_id == self.session_id:
            return _SESSION_BONUS
        if artifact.session_id in self.ancestors:
            return _ANCESTOR_BONUS / (1 + self.ancestors.index(artifact.session_id))
        return 0.0

    def nearness(self, artifact: Artifact) -> tuple[str, int]:
        """Return where *artifact* comes from, and how many steps away that is."""
        steps = self._replacements.get(artifact.id)
        if steps is None:
            steps = self.dependencies.get(artifact.task_id or "")
        if steps is not None:
            return DEPENDENCY, steps
        if artifact.task_id in self.siblings:
            return SIBLING, 1
        if artifact.session_id == self.session_id:
            return SESSION, 1
        if artifact.session_id in self.ancestors:
            return ANCESTOR, 1 + self.ancestors.index(artifact.session_id)
        return "", 1


def _work_of(store: Store, steps: Mapping[str, int]) -> Sequence[TaskArtifact]:
    if not steps:
        return ()
    return sorted(store.task_artifacts(steps), key=lambda entry: steps[entry.task_id])


def upstream(store: Store, task: Task, limit: int | None = None) -> dict[str, int]:
    """Return the ids of the tasks that *task* builds on, with how many steps away they are.

    See `upstream_tasks`.
    """
    return {other.id: steps for other, steps in upstream_tasks(store, task, limit)}


def upstream_tasks(store: Store, task: Task, limit: int | None = None) -> list[tuple[Task, int]]:
    """Return the tasks that *task* builds on, and how many steps away each is.

    The nearest come first. Its subtasks count as well, and so does what the whole builds on that it
    is a part of, though not the other parts.

    Args:
        store: Knows the graph.
        task: Where to start.
        limit: Stop looking further once there are this many.
    """
    wholes = _wholes(store, task)
    known = {task.id, *(whole.id for whole in wholes)}
    reached: list[tuple[Task, int]] = []
    queue = deque([(task, 1)])
    queue.extend((whole, steps) for steps, whole in enumerate(wholes, 2))
    while queue and (limit is None or len(reached) < limit):
        current, steps = queue.popleft()
        builds_on = list(store.situation(current.id).needed.values())
        if current not in wholes:
            builds_on += _parts(store, current, limit)
        for other in builds_on:
            if other.id not in known:
                known.add(other.id)
                reached.append((other, steps))
                queue.append((other, steps + 1))
    return reached


def _wholes(store: Store, task: Task) -> list[Task]:
    """Return the task that *task* is a part of, the one that this is a part of, and so on."""
    wholes: list[Task] = []
    parent_id = task.parent_task_id
    while parent_id is not None:
        parent = store.find_task(parent_id, None)
        if parent is None:
            break
        wholes.append(parent)
        parent_id = parent.parent_task_id
    return wholes


def _parts(store: Store, task: Task, limit: int | None) -> list[Task]:
    query = TaskQuery(
        session_id=task.session_id,
        parent_task_id=task.id,
        limit=limit,
        include_archived=True,
    )
    return store.tasks(query)


def _siblings(store: Store, task: Task) -> frozenset[str]:
    if task.parent_task_id is None:
        return frozenset()
    query = TaskQuery(
        session_id=task.session_id, parent_task_id=task.parent_task_id, limit=_MOST_SIBLINGS
    )
    ids = {sibling.id for sibling in store.tasks(query)}
    return frozenset(ids - {task.id})


def _ancestors(store: Store, session: Session | None) -> tuple[str, ...]:
    ancestors: list[str] = []
    while session is not None and len(ancestors) < _MOST_ANCESTORS:
        parent_id = session.parent_session_id
        if parent_id is None:
            break
        ancestors.append(parent_id)
        session = store.find_session(parent_id)
    return tuple(ancestors)
