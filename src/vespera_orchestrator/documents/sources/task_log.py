"""The log of completed tasks: for changelogs, research logs, writing logs and components."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator.documents.completed_work import LOGGED_TASKS, ArtifactRef, title_line
from vespera_orchestrator.documents.markdown import code, inline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator.documents.completed_work import CompletedWork

_MAX_OUTPUTS = 6
_MAX_OUTPUT_CHARACTERS = 60
_MAX_SUMMARY_CHARACTERS = 500


@attrs.frozen(kw_only=True)
class Folder:
    """Files of one folder that a task delivered."""

    name: str
    files: tuple[ArtifactRef, ...]


@attrs.frozen(kw_only=True)
class Entry:
    """A completed task."""

    id: str
    alias: str
    """As a code span."""
    link: str
    """The alias, as a link to the log if there is one."""
    title: str
    summary: str
    date: str
    """The day it was completed, UTC."""
    repairs: str
    """For a recovery task: the task it repaired."""
    outputs: tuple[tuple[str, str], ...]
    """Names and values of the short ones."""
    artifacts: tuple[ArtifactRef, ...]
    folders: tuple[Folder, ...]
    """The files among the artifacts, by folder."""


@attrs.frozen(kw_only=True)
class TaskLog:
    """The latest completed tasks."""

    entries: tuple[Entry, ...]
    """Completed tasks, the latest first."""
    older: int
    """How many completed tasks are older than those."""

    @classmethod
    def collect(cls, work: CompletedWork) -> TaskLog:
        """List the latest tasks with their artifacts."""
        artifacts = _by_task(work)
        latest = work.tasks[-LOGGED_TASKS:]
        entries = [_entry(work, task, artifacts[task.id]) for task in latest]
        entries.reverse()
        older = len(work.tasks) - len(latest)
        return cls(entries=tuple(entries), older=older)


def _by_task(work: CompletedWork) -> dict[str, list[Artifact]]:
    by_task: dict[str, list[Artifact]] = {task.id: [] for task in work.tasks}
    for artifact in work.artifacts:
        if artifact.task_id is not None:
            by_task[artifact.task_id].append(artifact)
    return by_task


def _entry(work: CompletedWork, task: Task, artifacts: Sequence[Artifact]) -> Entry:
    completed_at = task.ended_at or task.updated_at
    return Entry(
        id=task.id,
        alias=code(task.alias),
        link=work.mention(task.id),
        title=title_line(task.title),
        summary=inline(task.summary or "", limit=_MAX_SUMMARY_CHARACTERS),
        date=f"{completed_at:%Y-%m-%d}",
        repairs=work.mention(task.recovers_task_id),
        outputs=_short_outputs(task.outputs),
        artifacts=tuple(work.ref(artifact) for artifact in artifacts),
        folders=_folders(work, artifacts),
    )


def _folders(work: CompletedWork, artifacts: Sequence[Artifact]) -> tuple[Folder, ...]:
    by_folder: dict[str, list[ArtifactRef]] = {}
    for artifact in sorted(artifacts, key=lambda artifact: artifact.title):
        if artifact.kind != ArtifactKind.FILE:
            continue
        path = PurePosixPath(artifact.title.replace("\\", "/"))
        file = attrs.evolve(work.ref(artifact), title=code(path.name))
        siblings = by_folder.setdefault(str(path.parent), [])
        siblings.append(file)
    folders = []
    for name, refs in by_folder.items():
        label = "./" if name == "." else name
        folders.append(Folder(name=code(label), files=tuple(refs)))
    return tuple(folders)


def _short_outputs(outputs: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    short = []
    for name in sorted(outputs):
        value = json.dumps(outputs[name], ensure_ascii=False, sort_keys=True, default=str)
        if len(value) <= _MAX_OUTPUT_CHARACTERS:
            short_name = code(name, limit=_MAX_OUTPUT_CHARACTERS)
            short.append((short_name, code(value)))
    return tuple(short[:_MAX_OUTPUTS])
