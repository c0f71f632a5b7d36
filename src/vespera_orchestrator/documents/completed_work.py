"""The completed tasks of a project and their artifacts: what every source of a document reads.

Every text in the records here, and in those of the sources, is safe Markdown already (see
`markdown`), so that a template can put it anywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from vespera_orchestrator._model import ArtifactKind, ArtifactQuery, TaskQuery, TaskStatus
from vespera_orchestrator.documents.markdown import code, inline
from vespera_orchestrator.documents.project_types import find_project_type
from vespera_orchestrator.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vespera_orchestrator._model import Artifact, Session, Task
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.documents.project_types import ProjectType

    T = TypeVar("T")

LOGGED_TASKS = 200
"""The most tasks that a document lists; older ones are counted.

Each change keeps the whole text as a version, so it must not grow forever.
"""
MAX_READ_BYTES = 1_000_000
"""Artifacts larger than this are listed, not read."""
_PROSE_TYPES = frozenset({"text/markdown", "text/plain"})
_PYTHON_TYPES = frozenset({"text/x-python", "text/x-script.python"})
_PYTHON_SUFFIXES = (".py", ".pyi")
_WORD = re.compile(r"[^\W_]+")


@attrs.frozen(kw_only=True)
class ArtifactRef:
    """An artifact, as a document names it."""

    id: str
    title: str
    date: str
    """The day it was saved, UTC."""
    task: str
    """Its task, as a link to the log if there is one; empty for an artifact without a task."""

    @property
    def credit(self) -> str:
        """Where something comes from, in one phrase."""
        origin = f"artifact `{self.id}`"
        if self.task:
            origin += f", task {self.task}"
        return f"{origin}, {self.date}"


# --- reading artifacts ------------------------------------------------------


class ArtifactReader:
    """Reads artifacts, and remembers the analysis by digest: the same bytes are analysed once.

    Args:
        content: Where the bytes are.
        analyses: What earlier readers learnt; one mapping may serve many readers, and threads.
    """

    def __init__(self, content: ContentStore, analyses: dict[tuple[str, str], object]) -> None:
        self._content = content
        self._analyses = analyses
        self.notes: list[str] = []
        """Which artifacts could not be read, and why."""

    def analyse(self, artifact: Artifact, name: str, analysis: Callable[[str], T]) -> T:
        """Return ``analysis(text of the artifact)``, worked out once for each digest and *name*."""
        key = (artifact.digest, name)
        if key not in self._analyses:
            notes_before = len(self.notes)
            result = analysis(self._text(artifact))
            if len(self.notes) > notes_before:
                # What could not be read now may be readable next time.
                return result
            self._analyses[key] = result
        return cast("T", self._analyses[key])

    def _text(self, artifact: Artifact) -> str:
        """Return the text of an artifact; empty if it is not text, too large, or unreadable."""
        if artifact.size_bytes > MAX_READ_BYTES:
            self.notes.append(
                f"artifact {artifact.id} is larger than {MAX_READ_BYTES:,} bytes: it is listed, "
                "but was not read for its content"
            )
            return ""
        try:
            return self._content.read(artifact.digest).decode("utf-8-sig")
        except UnicodeDecodeError:
            return ""
        except StoreError as exc:
            self.notes.append(f"artifact {artifact.id} is listed without its content: {exc}")
            return ""


def is_python(artifact: Artifact) -> bool:
    """Tell whether an artifact is Python, by its type or its name."""
    if artifact.media_type in _PYTHON_TYPES:
        return True
    return artifact.title.endswith(_PYTHON_SUFFIXES)


def is_prose(artifact: Artifact) -> bool:
    """Tell whether an artifact is text for people."""
    if is_python(artifact):
        return False
    media_type, _, _ = artifact.media_type.partition(";")
    return media_type in _PROSE_TYPES


def is_labelled(artifact: Artifact, stems: tuple[str, ...]) -> bool:
    """Tell whether a word of its kind or tags begins with one of *stems*."""
    labels = (artifact.kind, *artifact.tags)
    return mentions(labels, stems)


def mentions(texts: Iterable[str], stems: tuple[str, ...]) -> bool:
    """Tell whether a word of *texts* begins with one of *stems*, in any case."""
    for text in texts:
        words = _WORD.findall(text.lower())
        if any(word.startswith(stems) for word in words):
            return True
    return False


# --- the work ---------------------------------------------------------------


class CompletedWork:
    """The completed tasks of all sessions of one project type, and their artifacts.

    Of all sessions, because a document outlives the session in which it was begun. Everything is
    in order of time, the oldest first.

    Args:
        kind: The project type.
        tasks: The completed tasks.
        artifacts: Theirs, and those of no task.
        reader: Reads artifacts.
        linked: Whether the document with the log is ours, so that mentions of a task can link
            there.
    """

    def __init__(
        self,
        kind: ProjectType,
        tasks: list[Task],
        artifacts: list[Artifact],
        reader: ArtifactReader,
        *,
        linked: bool,
    ) -> None:
        self.kind = kind
        self.tasks = tasks
        self.artifacts = artifacts
        self.reader = reader
        self.current_artifacts = _without_replaced_files(artifacts)
        """The artifacts to read: of each file the latest only."""
        logged = {task.id for task in tasks[-LOGGED_TASKS:]} if linked else set()
        self._mentions = {
            task.id: self._mention(task, is_logged=task.id in logged) for task in tasks
        }
        self._refs = {artifact.id: self._make_ref(artifact) for artifact in artifacts}

    @classmethod
    def collect(
        cls, store: Store, kind: ProjectType, reader: ArtifactReader, *, linked: bool
    ) -> CompletedWork:
        """Read the completed work from the store; arguments as for the class."""
        tasks: list[Task] = []
        artifacts: list[Artifact] = []
        for session in _sessions_of(kind, store):
            completed = _completed_tasks(session, store)
            tasks += completed
            artifacts += _artifacts_of(session, completed, store)
        tasks.sort(key=lambda task: task.ended_at or task.updated_at)
        artifacts.sort(key=lambda artifact: artifact.created_at)
        return cls(kind, tasks, artifacts, reader, linked=linked)

    def mention(self, task_id: str | None) -> str:
        """Return the alias of a task, as a link to the log if it is there; empty if unknown."""
        return self._mentions.get(task_id or "", "")

    def ref(self, artifact: Artifact) -> ArtifactRef:
        """Return an artifact as documents name it."""
        return self._refs[artifact.id]

    def _mention(self, task: Task, *, is_logged: bool) -> str:
        alias = code(task.alias)
        if not is_logged:
            return alias
        return f"[{alias}]({self.kind.log_document}#{task.id})"

    def _make_ref(self, artifact: Artifact) -> ArtifactRef:
        return ArtifactRef(
            id=artifact.id,
            title=title_line(artifact.title),
            date=f"{artifact.created_at:%Y-%m-%d}",
            task=self.mention(artifact.task_id),
        )


def title_line(title: str) -> str:
    """Return a title as one safe line of Markdown, or a word in its place."""
    return inline(title) or "(untitled)"


def _without_replaced_files(artifacts: list[Artifact]) -> list[Artifact]:
    files = (artifact for artifact in artifacts if artifact.kind == ArtifactKind.FILE)
    latest_ids = {file.title: file.id for file in files}
    return [
        artifact
        for artifact in artifacts
        if artifact.kind != ArtifactKind.FILE or latest_ids[artifact.title] == artifact.id
    ]


def _sessions_of(kind: ProjectType, store: Store) -> list[Session]:
    sessions = [
        session
        for session in store.sessions(limit=None)
        if find_project_type(session, store) is kind
    ]
    sessions.sort(key=lambda session: (session.created_at, session.id))
    return sessions


def _completed_tasks(session: Session, store: Store) -> list[Task]:
    query = TaskQuery(
        session_id=session.id, status=(TaskStatus.COMPLETED,), include_archived=True, limit=None
    )
    return store.tasks(query)


def _artifacts_of(session: Session, completed: list[Task], store: Store) -> list[Artifact]:
    owners = {None, *(task.id for task in completed)}
    artifacts = store.artifacts(ArtifactQuery(session_id=session.id))
    return [
        artifact for artifact in artifacts if not artifact.partial and artifact.task_id in owners
    ]
