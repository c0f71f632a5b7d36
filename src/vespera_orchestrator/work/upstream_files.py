"""Which files the upstream tasks of a task brought, each once, and who changed them since."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactKind, ArtifactQuery, TaskStatus
from vespera_orchestrator.errors import WorktreeError
from vespera_orchestrator.progress.work_briefing import FileNote
from vespera_orchestrator.work.completion import CHANGED_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator._rooms import Rooms

log = logging.getLogger("vespera_orchestrator")

_MOST_ARTIFACTS: Final = 1000
"""How many of the session's newest artifacts are looked through for changes."""


@attrs.frozen(kw_only=True)
class _Change:
    """A task brought a version of a file."""

    path: str
    task_id: str | None
    attempt: int | None = None
    artifact_id: str | None = None
    """The version, where it was saved as an artifact of its own."""


class UpstreamFiles:
    """Reads which task changed which file, from what tasks handed in and from their landings."""

    def __init__(self, rooms: Rooms, session_id: str) -> None:
        self._rooms = rooms
        self._session_id = session_id

    def notes(self, upstream: Sequence[Task]) -> list[FileNote]:
        """Return one note for each file that the tasks brought, those of the first task first."""
        if not upstream:
            return []
        changes = list(self._newest_first())
        recorded = {change.task_id for change in changes if change.artifact_id is None}
        for task in upstream:
            if task.id not in recorded:
                changes += self._landed_without_record(task)
        by_path: dict[str, list[_Change]] = {}
        for change in changes:
            by_path.setdefault(change.path, []).append(change)
        aliases = {task.id: task.alias for task in upstream}
        notes: dict[str, FileNote] = {}
        for task in upstream:
            for change in changes:
                if change.task_id == task.id and change.path not in notes:
                    notes[change.path] = self._note(by_path[change.path], aliases)
        return list(notes.values())

    def _newest_first(self) -> Iterator[_Change]:
        query = ArtifactQuery(session_id=self._session_id, newest_first=True, limit=_MOST_ARTIFACTS)
        for artifact in self._rooms.store.artifacts(query):
            if artifact.kind == ArtifactKind.FILE:
                yield _Change(
                    path=artifact.title,
                    task_id=artifact.task_id,
                    attempt=artifact.attempt,
                    artifact_id=artifact.id,
                )
            for path in _changed_paths(artifact):
                yield _Change(path=path, task_id=artifact.task_id, attempt=artifact.attempt)

    def _landed_without_record(self, task: Task) -> list[_Change]:
        """Ask git about a landing that no record names: one that was merged later."""
        if task.status is not TaskStatus.COMPLETED or not task.worktree:
            return []
        try:
            paths = self._rooms.worktrees.changed_paths(task)
        except WorktreeError as exc:
            log.info("what %s changed cannot be told: %s", task.alias, exc)
            return []
        return [_Change(path=path, task_id=task.id) for path in paths]

    def _note(self, changes: Sequence[_Change], aliases: dict[str, str]) -> FileNote:
        """Describe a file by its changes, the newest first."""
        newest = changes[0]
        ours = next(change for change in changes if change.task_id in aliases)
        # A version from before the newest change is not the file as it is now.
        latest = (newest.task_id, newest.attempt)
        saved = [
            change.artifact_id
            for change in changes
            if change.artifact_id and (change.task_id, change.attempt) == latest
        ]
        changed_by = "" if newest.task_id in aliases else self._alias(newest.task_id)
        return FileNote(
            path=newest.path,
            alias=aliases[str(ours.task_id)],
            changed_by=changed_by,
            artifact_id=saved[0] if saved else None,
        )

    def _alias(self, task_id: str | None) -> str:
        if task_id is None:
            return "somebody"
        task = self._rooms.store.find_task(task_id, None)
        return task.alias if task else task_id


def _changed_paths(artifact: Artifact) -> list[str]:
    paths = artifact.metadata.get(CHANGED_PATHS, [])
    if not isinstance(paths, list):
        return []
    return [path for path in paths if isinstance(path, str)]
