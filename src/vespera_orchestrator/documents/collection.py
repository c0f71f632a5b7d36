"""What the store has for the documents of one project type, followed event by event.

The first look reads everything. From then on only what events name is read again: a completion
after ten thousand others costs as much as one after ten. Nothing is kept beyond the process, so
there is nothing that a crash could leave wrong.
"""

from __future__ import annotations

import bisect
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    ArtifactKind,
    ArtifactQuery,
    EventKind,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.home.scope import find_type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Artifact, Event, Session, Task
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.documents.project_types import ProjectType

T = TypeVar("T")

_MOST_EVENTS: Final = 2_000
"""After more, everything is read again: that is faster then."""
_MOST_TASKS: Final = 200
_CONCERNS_NO_DOCUMENT: Final = frozenset(
    {
        EventKind.SESSION_STARTED,  # the list of sessions is read at every look
        EventKind.SESSION_RESUMED,
        EventKind.SESSION_PAUSED,
        EventKind.CONTEXT_SHARED,
        EventKind.SETTINGS_AGREED,
        EventKind.DOCUMENT_UPDATED,
        EventKind.ENERGY_SET,
        EventKind.PRESSURE_CHANGED,
        EventKind.WORKTREE_CREATED,
        EventKind.WORKTREE_MOVED,
        EventKind.WORKTREE_REMOVED,
        EventKind.WORKTREE_LANDED,
    }
)
"""Kinds of events that change nothing here when they name no task.

Of any other kind that names none, also one that is added later, everything is read again.
"""


_ABOUT_ARTIFACTS: Final = frozenset({EventKind.ARTIFACT_SAVED, EventKind.ARTIFACT_SUPERSEDED})


@attrs.frozen(kw_only=True)
class LandingTask:
    """A task that is completed when its work has landed, as it will be then."""

    task: Task
    artifacts: tuple[Artifact, ...]
    """What it hands in, and the store does not have yet."""
    supersedes: Mapping[str, str] = attrs.field(factory=dict)
    """The ids of artifacts whose place it takes, each with that of the one that takes it."""


@attrs.frozen(kw_only=True)
class Collected:
    """The completed tasks of all sessions of one project type, and their artifacts."""

    tasks: tuple[Task, ...] = ()
    """By the time of their end."""
    by_id: Mapping[str, Task] = attrs.field(factory=dict)
    """The same tasks."""
    artifacts: tuple[Artifact, ...] = ()
    """Those of the tasks, and those of no task, by the time they were saved.

    Of each the latest version. One that another artifact has superseded is among them.
    """
    followers: Mapping[str, Artifact] = attrs.field(factory=dict)
    """What holds in place of superseded artifacts, by the superseded one's id.

    Without those whose follower was removed for good.
    """
    commits: Mapping[str, str] = attrs.field(factory=dict)
    """The commits that landed tasks, by the task's id."""


class Collection:
    """Follows the store. May be used by several threads.

    Args:
        store: What it follows.
        kind: The project type.
    """

    def __init__(self, store: Store, kind: ProjectType) -> None:
        self._store = store
        self._kind = kind
        self._lock = threading.Lock()
        self._latest: Event | None = None
        """The last event that was taken into account; ``None`` before the first look."""
        self._sessions: tuple[str, ...] = ()
        self._tasks: dict[str, Task] = {}
        self._artifacts: dict[str, tuple[Artifact, ...]] = {}
        """By task."""
        self._free: dict[str, Artifact] = {}
        """Artifacts of no task, by id."""
        self._commits: dict[str, str] = {}
        self._worktree_tasks: dict[str, str] = {}
        """The task of each worktree, by the worktree's name."""
        self._collected: Collected | None = None
        self._order: _Order | None = None
        """The tasks and artifacts in order; ``None`` if it has to be found anew."""

    def collect(self, landing: LandingTask | None = None) -> Collected:
        """Return what is in the store now.

        Args:
            landing: A task that counts as completed.
        """
        with self._lock:
            self._follow()
            if landing is not None and landing.task.session_id in self._sessions:
                return self._with_landing(landing)
            if self._collected is None:
                if self._order is None:
                    self._order = self._put_in_order(self._tasks, self._artifacts)
                self._collected = self._as_collected(self._order, self._tasks)
            return self._collected

    # --- following the log ------------------------------------------------------

    def _follow(self) -> None:
        # The log is read before the rows. What is written between them is read now and again at the
        # next look, which changes nothing.
        sessions = tuple(session.id for session in _sessions_of(self._kind, self._store))
        events = self._news()
        is_known = self._latest is not None and sessions == self._sessions
        if events is None or not is_known or not self._take_in(events):
            latest = self._store.events(newest_first=True, limit=1)
            self._read_everything(sessions)
            self._latest = latest[0] if latest else None
        elif events:
            self._latest = events[-1]

    def _news(self) -> list[Event] | None:
        """Return the events since the last look; ``None`` if they do not tell what changed."""
        if self._latest is None:
            return None
        events = self._store.events(self._latest.seq - 1, limit=_MOST_EVENTS)
        # A store that was put back to an earlier state, or replaced, has another event there.
        if not events or events[0] != self._latest or len(events) == _MOST_EVENTS:
            return None
        return events[1:]

    def _take_in(self, events: Sequence[Event]) -> bool:
        """Read what events name; ``False`` if they do not tell what changed."""
        tasks: set[str] = set()
        for event in events:
            if event.kind in _ABOUT_ARTIFACTS:
                self._collected = None  # it may have taken the place of one that is shown
            if event.kind in (EventKind.STORE_IMPORTED, EventKind.STORE_REPAIRED):
                return False
            if event.task_id is not None:
                tasks.add(event.task_id)
            elif event.kind in _ABOUT_ARTIFACTS:
                self._read_free_artifact(event)
            elif event.kind not in _CONCERNS_NO_DOCUMENT:
                return False
        if len(tasks) > _MOST_TASKS:
            return False
        for task_id in sorted(tasks):
            self._read_task(task_id)
        worktrees = {str(event.data.get("worktree") or "") for event in events}
        for name in sorted(worktrees - {""}):
            self._read_worktree(name)
        return True

    def _read_free_artifact(self, event: Event) -> None:
        artifact = self._store.find_artifact(str(event.data.get("artifact") or ""))
        if artifact is None or artifact.session_id not in self._sessions:
            return
        versions = self._versions_of(artifact)
        self._order = None
        for version in versions:
            self._free.pop(version.id, None)
        self._free |= {latest.id: latest for latest in _latest_versions(versions)}

    def _versions_of(self, artifact: Artifact) -> list[Artifact]:
        query = ArtifactQuery(
            session_id=artifact.session_id, title=artifact.title, include_superseded=True
        )
        versions = self._store.artifacts(query)
        return [each for each in versions if _lineage(each) == _lineage(artifact)]

    def _of_task(self, task_id: str) -> tuple[Artifact, ...]:
        query = ArtifactQuery(task_ids=(task_id,), include_superseded=True)
        return tuple(_latest_versions(self._store.artifacts(query)))

    def _read_task(self, task_id: str) -> None:
        task = self._store.find_task(task_id, None)
        is_completed = (
            task is not None
            and task.status is TaskStatus.COMPLETED
            and task.session_id in self._sessions
        )
        if task is None or not is_completed:
            if self._tasks.pop(task_id, None) is not None:
                self._artifacts.pop(task_id, None)
                self._collected = self._order = None
            self._commits.pop(task_id, None)
            return
        artifacts = self._of_task(task_id)
        is_new = task_id not in self._tasks and self._order is not None
        if not (is_new and self._order is not None and self._order.take_in(task, artifacts)):
            self._order = None
        self._tasks[task_id] = task
        self._artifacts[task_id] = artifacts
        self._read_commit(task_id)
        self._collected = None

    def _read_worktree(self, name: str) -> None:
        """Read a worktree again. Its name may have been that of another task's."""
        former = self._worktree_tasks.pop(name, None)
        if former is not None:
            self._read_commit(former)
        for worktree in self._store.worktrees(name=name, include_removed=True):
            if worktree.task_id is not None:
                self._worktree_tasks[name] = worktree.task_id
                self._read_commit(worktree.task_id)

    def _read_commit(self, task_id: str) -> None:
        self._commits.pop(task_id, None)
        self._collected = None
        if task_id not in self._tasks:
            return
        for worktree in self._store.worktrees(task_id=task_id, include_removed=True):
            if worktree.landed:
                self._commits[task_id] = worktree.landed

    # --- reading everything -----------------------------------------------------

    def _read_everything(self, sessions: tuple[str, ...]) -> None:
        self._sessions = sessions
        self._tasks, self._artifacts, self._free = {}, {}, {}
        self._collected = self._order = None
        for session_id in sessions:
            query = TaskQuery(
                session_id=session_id,
                status=(TaskStatus.COMPLETED,),
                include_archived=True,
                limit=None,
            )
            self._tasks |= {task.id: task for task in self._store.tasks(query)}
            self._read_artifacts(session_id)
        # Once in order, sorting them again with every completion takes next to nothing.
        self._artifacts = dict(sorted(self._artifacts.items()))
        in_order = sorted(self._tasks.values(), key=lambda task: (ended_at(task), task.id))
        self._tasks = {task.id: task for task in in_order}
        self._commits, self._worktree_tasks = {}, {}
        for worktree in self._store.worktrees(include_removed=True):
            if worktree.task_id is None:
                continue
            self._worktree_tasks[worktree.name] = worktree.task_id
            if worktree.landed and worktree.task_id in self._tasks:
                self._commits[worktree.task_id] = worktree.landed

    def _read_artifacts(self, session_id: str) -> None:
        by_task: dict[str, list[Artifact]] = {}
        query = ArtifactQuery(session_id=session_id, include_superseded=True)
        for artifact in _latest_versions(self._store.artifacts(query)):
            if artifact.task_id is None:
                self._free[artifact.id] = artifact
            elif artifact.task_id in self._tasks:
                by_task.setdefault(artifact.task_id, []).append(artifact)
        self._artifacts |= {task_id: tuple(listed) for task_id, listed in by_task.items()}

    # --- putting together -------------------------------------------------------

    def _with_landing(self, landing: LandingTask) -> Collected:
        task = landing.task
        handed_in = {_lineage(artifact) for artifact in landing.artifacts}
        saved = [each for each in self._of_task(task.id) if _lineage(each) not in handed_in]
        delivered = (*saved, *landing.artifacts)
        order = None
        if task.id not in self._tasks and self._order is not None:
            order = self._order.copy()
        tasks = {**self._tasks, task.id: task}
        if order is None or not order.take_in(task, delivered):
            order = self._put_in_order(tasks, {**self._artifacts, task.id: delivered})
        lineages = self._superseded_lineages(landing)
        if lineages:
            order.artifacts = [_superseded(artifact, lineages) for artifact in order.artifacts]
        return self._as_collected(order, tasks)

    def _superseded_lineages(self, landing: LandingTask) -> dict[_Lineage, str]:
        lineages: dict[_Lineage, str] = {}
        for earlier_id, follower_id in landing.supersedes.items():
            earlier = self._store.find_artifact(earlier_id)
            if earlier is not None:
                lineages[_lineage(earlier)] = follower_id
        return lineages

    def _put_in_order(
        self, tasks: Mapping[str, Task], artifacts: Mapping[str, tuple[Artifact, ...]]
    ) -> _Order:
        """Put tasks and artifacts in order; what is of the same moment is ordered by id.

        The artifacts of a task stay in the order in which it saved them.
        """
        ordered_tasks = sorted(tasks.values(), key=lambda task: (ended_at(task), task.id))
        groups = [artifacts[task_id] for task_id in sorted(artifacts)]
        listed = [artifact for group in groups for artifact in group]
        listed += sorted(self._free.values(), key=lambda artifact: artifact.id)
        listed.sort(key=_saved_at)
        return _Order(tasks=ordered_tasks, artifacts=listed)

    def _as_collected(self, order: _Order, tasks: Mapping[str, Task]) -> Collected:
        return Collected(
            tasks=tuple(order.tasks),
            by_id=dict(tasks),
            artifacts=tuple(order.artifacts),
            followers=self._followers(order.artifacts),
            commits=dict(self._commits),
        )

    def _followers(self, artifacts: Iterable[Artifact]) -> dict[str, Artifact]:
        """Return what holds in place of each superseded artifact."""
        superseded = [artifact for artifact in artifacts if artifact.superseded]
        latest = {artifact.id: artifact for artifact in artifacts} if superseded else {}
        followers = {}
        for artifact in superseded:
            follower = self._follower(artifact, latest)
            if follower is not None:
                followers[artifact.id] = follower
        return followers

    def _follower(self, artifact: Artifact, latest: Mapping[str, Artifact]) -> Artifact | None:
        """Return what has taken the artifact's place by and by.

        Args:
            artifact: What has been superseded.
            latest: The latest versions that are known already, by id.
        """
        follower, visited = artifact, {artifact.id}
        while follower.superseded_by is not None:
            later_id = follower.superseded_by
            later = latest.get(later_id) or self._latest_version(later_id)
            if later is None or later.id in visited:
                break
            visited.add(later.id)
            follower = later
        return None if follower is artifact else follower

    def _latest_version(self, artifact_id: str) -> Artifact | None:
        """Return the latest version of what an id means; ``None`` if it was removed for good."""
        artifact = self._store.find_artifact(artifact_id)
        if artifact is None:
            return None
        return max(self._versions_of(artifact), key=lambda version: version.version)


@attrs.define(kw_only=True)
class _Order:
    """Tasks by the time of their end, and artifacts by the time they were saved."""

    tasks: list[Task]
    artifacts: list[Artifact]

    def copy(self) -> _Order:
        """Return one that can be changed by itself."""
        return _Order(tasks=list(self.tasks), artifacts=list(self.artifacts))

    def take_in(self, task: Task, artifacts: Sequence[Artifact]) -> bool:
        """Put a task with its artifacts in their places.

        Among ten thousand others, sorting all of them takes longer than everything else.

        Returns:
            Whether it could be done. Otherwise the order is useless: something else is of the same
            moment, so that its place depends on more than the time.
        """
        if not _put_in_place(self.tasks, task, ended_at):
            return False
        return all(_put_in_place(self.artifacts, artifact, _saved_at) for artifact in artifacts)


def _put_in_place(listed: list[T], item: T, moment: Callable[[T], datetime]) -> bool:
    """Insert an item by its moment; return ``False`` if another one has the same."""
    place = bisect.bisect_left(listed, moment(item), key=moment)
    if place < len(listed) and moment(listed[place]) == moment(item):
        return False
    listed.insert(place, item)
    return True


def _saved_at(artifact: Artifact) -> datetime:
    return artifact.created_at


_Lineage = tuple[str, str | None, str, bool]
"""What all versions of an artifact have in common: session, task, title, and whether a file."""


def _lineage(artifact: Artifact) -> _Lineage:
    is_file = artifact.kind == ArtifactKind.FILE
    return artifact.session_id, artifact.task_id, artifact.title, is_file


def _latest_versions(artifacts: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield the latest version of each artifact, without partial ones.

    Earlier versions say nothing any more. What another artifact has superseded was a result once.
    """
    listed = list(artifacts)
    latest: dict[_Lineage, Artifact] = {}
    for artifact in listed:
        known = latest.get(_lineage(artifact))
        if known is None or known.version < artifact.version:
            latest[_lineage(artifact)] = artifact
    for artifact in listed:
        was_a_result = not artifact.superseded or artifact.superseded_by is not None
        if latest[_lineage(artifact)] is artifact and was_a_result and not artifact.partial:
            yield artifact


def _superseded(artifact: Artifact, lineages: Mapping[_Lineage, str]) -> Artifact:
    """Return an artifact as it will be once others have taken the place of some."""
    follower_id = lineages.get(_lineage(artifact), artifact.id)
    if follower_id == artifact.id:
        return artifact
    return attrs.evolve(artifact, superseded=True, superseded_by=follower_id)


def knows(store: Store, record_id: str) -> bool:
    """Tell whether a store has, or once had, a task or an artifact.

    Args:
        store: The store.
        record_id: The id of either.
    """
    if store.find_task(record_id, None) is not None or store.find_artifact(record_id) is not None:
        return True
    if store.events(task_id=record_id, limit=1):
        return True
    forgotten = store.events(kinds=(EventKind.ARTIFACT_FORGOTTEN,), limit=None)
    return any(event.data.get("artifact") == record_id for event in forgotten)


def ended_at(task: Task) -> datetime:
    """Return when a task ended, as documents order and date it."""
    return task.ended_at or task.updated_at


def _sessions_of(kind: ProjectType, store: Store) -> list[Session]:
    by_id = {session.id: session for session in store.sessions(limit=None)}
    sessions = [
        session for session in by_id.values() if find_type_name(session, by_id.get) == kind.name
    ]
    sessions.sort(key=lambda session: (session.created_at, session.id))
    return sessions
