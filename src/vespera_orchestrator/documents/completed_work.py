"""The completed tasks of a project and their artifacts: what every source of a document reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar, cast

import attrs

from vespera_orchestrator._model import ArtifactKind, ArtifactQuery, TaskQuery, TaskStatus
from vespera_orchestrator._records import Record
from vespera_orchestrator.documents import vocabulary
from vespera_orchestrator.documents.markdown import (
    HeadedPart,
    front_matter,
    headed_parts,
    inline,
)
from vespera_orchestrator.documents.project_types import find_project_type
from vespera_orchestrator.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from datetime import datetime

    from vespera_orchestrator._model import Artifact, Session, Task
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.documents.project_types import ProjectType
    from vespera_orchestrator.documents.tree import ProjectTree

    T = TypeVar("T")

MAX_READ_BYTES = 1_000_000
"""Artifacts larger than this are listed, not read."""
_PROSE_TYPES = frozenset({"text/markdown", "text/plain"})
_NOT_RESULTS = frozenset(
    {
        ArtifactKind.SYNTHESIS,
        ArtifactKind.FAILURE,
        ArtifactKind.LATE,
        ArtifactKind.CONFLICT,
        ArtifactKind.REFUSAL,
        ArtifactKind.WARNING,
        ArtifactKind.PROPOSAL,
        "briefing",
    }
)
"""What repeats the results of others, or is about the work and not of it: never quoted."""
_SUPERSEDING = ("supersedes", "replaces", "withdraws", "retracts")
"""Names of outputs and of front matter that name what no longer holds."""
_ARTICLES = frozenset(
    {"the", "a", "an", "der", "die", "das", "le", "la", "les"}
    | {"el", "los", "las", "o", "os", "il", "lo", "gli"}
)
_WORD = re.compile(r"[^\W_]+")


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
        notes_before = len(self.notes)

        def read() -> T:
            return analysis(self._text(artifact))

        result = self.remember((artifact.digest, name), read)
        if len(self.notes) > notes_before:
            # What could not be read now may be readable next time.
            self._analyses.pop((artifact.digest, name), None)
        return result

    def remember(self, key: tuple[str, str], work_out: Callable[[], T]) -> T:
        """Return what was worked out for *key* before, or work it out now."""
        if key not in self._analyses:
            self._analyses[key] = work_out()
        return cast("T", self._analyses[key])

    def remember_latest(self, name: str, state: object, work_out: Callable[[], T]) -> T:
        """Return what was worked out for *name* in this *state*; only the latest is kept."""
        latest = cast("tuple[object, T] | None", self._analyses.get(("", name)))
        if latest is None or latest[0] != state:
            latest = state, work_out()
            self._analyses["", name] = latest
        return latest[1]

    def text(self, artifact: Artifact) -> str:
        """Return the text of an artifact; empty if it is not text, too large, or unreadable."""
        return self.analyse(artifact, "text", str)

    def _text(self, artifact: Artifact) -> str:
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


def is_prose(artifact: Artifact) -> bool:
    """Tell whether an artifact is text for people."""
    media_type, _, _ = artifact.media_type.partition(";")
    return media_type in _PROSE_TYPES


# --- passages ---------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Passage:
    """A part of an artifact that is about one topic, or the whole of it."""

    title: str
    """As it was written."""
    text: str
    """Markdown, as it was written."""
    artifact: Artifact
    task: Task | None
    """The task that delivered it."""
    reason: str
    """Why it belongs to the topic."""
    is_part: bool = False
    """Whether it is what stands under one heading, and not the whole."""

    @property
    def date(self) -> str:
        """The day it was saved, UTC."""
        return f"{self.artifact.created_at:%Y-%m-%d}"

    @property
    def name(self) -> str:
        """The title, as it is compared with others."""
        return comparable(self.title)

    @property
    def comment(self) -> str:
        """A comment that says where it comes from. It is not seen when the document is read."""
        return provenance(self.artifact.id, self.task)


def provenance(artifact_id: str, task: Task | None) -> str:
    """Return a comment that says where something comes from."""
    origin = f"artifact {artifact_id}"
    if task is not None:
        origin += f", task {task.alias} ({task.id})"
    return f"<!-- {origin} -->"


def comparable(title: str) -> str:
    """Return a title by which two are compared: its words, without case."""
    return " ".join(_WORD.findall(title.casefold()))


def subject_name(title: str) -> str:
    """Return the name of a subject, by which two texts about it are brought together."""
    words = comparable(title).split()
    while len(words) > 1 and words[0] in _ARTICLES:
        words.pop(0)
    return " ".join(words)


def without_older_states(passages: Iterable[Passage]) -> list[Passage]:
    """Return passages without those that a later text of the same title replaces.

    Args:
        passages: The newest first.
    """
    artifacts: dict[str, str] = {}
    kept = []
    for passage in passages:
        artifact = passage.artifact
        latest = artifacts.setdefault(comparable(artifact.title), artifact.id)
        if latest == artifact.id:
            kept.append(passage)
    return kept


@attrs.frozen(kw_only=True)
class Inclusion(Record):
    """Why something is in a section, or is not."""

    topic: str
    """What it was looked at for."""
    subject: str
    """The id of an artifact or a task, or the path of a file."""
    title: str
    """Its title, or its path."""
    is_shown: bool
    """Whether the section shows it."""
    reason: str
    """What decided."""

    def __str__(self) -> str:
        verdict = "shown" if self.is_shown else "left out"
        return f"{verdict}: {self.title} ({self.subject}), {self.reason}"


# --- the work ---------------------------------------------------------------


@attrs.frozen(kw_only=True)
class LandingTask:
    """A task that is completed when its work has landed, as it will be then."""

    task: Task
    artifacts: tuple[Artifact, ...]
    """What it hands in, and the store does not have yet."""


class CompletedWork:
    """The completed tasks of all sessions of one project type, and their artifacts.

    Of all sessions, because a document outlives the session in which it was begun. Everything is
    in order of time, the oldest first.

    Args:
        kind: The project type.
        tasks: The completed tasks.
        artifacts: Theirs, and those of no task.
        reader: Reads artifacts.
        tree: The files of the project, as they are now.
        commits: The commits that landed tasks, by the task's id.
    """

    def __init__(
        self,
        kind: ProjectType,
        tasks: list[Task],
        artifacts: list[Artifact],
        reader: ArtifactReader,
        *,
        tree: ProjectTree,
        commits: Mapping[str, str],
    ) -> None:
        self.kind = kind
        self.tasks = tasks
        self.artifacts = [artifact for artifact in artifacts if artifact.kind not in _NOT_RESULTS]
        self.reader = reader
        self.tree = tree
        self.commits = commits
        self.inclusions: list[Inclusion] = []
        """What was decided about each artifact and task, and why."""
        self.by_id = {task.id: task for task in tasks}
        self.withdrawn = self._withdrawn()
        """What no longer holds: the id of the task that says so, by the id of the task."""

    @classmethod
    def collect(
        cls,
        store: Store,
        kind: ProjectType,
        reader: ArtifactReader,
        tree: ProjectTree,
        landing: LandingTask | None = None,
    ) -> CompletedWork:
        """Read the completed work from the store; arguments as for the class.

        A task that is *landing* counts as completed.
        """
        tasks: list[Task] = []
        artifacts: list[Artifact] = []
        for session in _sessions_of(kind, store):
            completed = _completed_tasks(session, store)
            if landing is not None and landing.task.session_id == session.id:
                completed = [task for task in completed if task.id != landing.task.id]
                completed.append(landing.task)
                artifacts += landing.artifacts
            tasks += completed
            artifacts += _artifacts_of(session, completed, store)
        tasks.sort(key=ended_at)
        artifacts.sort(key=lambda artifact: artifact.created_at)
        commits = {
            worktree.task_id: worktree.landed
            for worktree in store.worktrees(include_removed=True)
            if worktree.task_id and worktree.landed
        }
        return cls(kind, tasks, artifacts, reader, tree=tree, commits=commits)

    def task_of(self, artifact: Artifact) -> Task | None:
        """Return the task that delivered an artifact."""
        return self.by_id.get(artifact.task_id or "")

    def read_file(self, path: str, stamp: str, analysis: Callable[[str], T]) -> T:
        """Return ``analysis(text of a file)``, worked out once for each state of the file."""

        def read() -> T:
            return analysis(self.tree.read(path) or "")

        return self.reader.remember((f"{path}@{stamp}", analysis.__name__), read)

    def explain(self, topic: str, subject: str, title: str, reason: str, *, shown: bool) -> None:
        """Record a decision about what a section shows."""
        inclusion = Inclusion(
            topic=topic, subject=subject, title=title, is_shown=shown, reason=reason
        )
        self.inclusions.append(inclusion)

    def passages(self, topic: str) -> list[Passage]:
        """Return what artifacts say about a topic, the newest first.

        An artifact's front matter and tags decide first, then its kind, then headings in it, and
        lines such as ``Decisions:``. A file's name decides nothing.
        """
        passages: list[Passage] = []
        for artifact in self.artifacts:
            if is_prose(artifact):
                passages += self._passages_of(artifact, topic)
        passages.reverse()
        for passage in passages:
            self.explain(topic, passage.artifact.id, passage.title, passage.reason, shown=True)
        return passages

    def passages_headed(self, names: Container[str], topic: str) -> list[Passage]:
        """Return what stands under headings that are names of known subjects, the newest first.

        Args:
            names: The subjects, as `subject_name` returns them.
            topic: What they belong to.
        """
        passages: list[Passage] = []
        for artifact in self.artifacts:
            if not is_prose(artifact) or artifact.kind == ArtifactKind.FILE:
                continue
            parts = self.reader.analyse(artifact, "headed parts", _plain_parts)
            passages += [
                Passage(
                    title=part.title,
                    text=part.text,
                    artifact=artifact,
                    task=self.task_of(artifact),
                    reason=f"its heading {part.title!r}, which names something that is known",
                    is_part=True,
                )
                for part in parts
                if part.text and subject_name(part.title) in names
            ]
        passages.reverse()
        for passage in passages:
            self.explain(topic, passage.artifact.id, passage.title, passage.reason, shown=True)
        return passages

    def _passages_of(self, artifact: Artifact, topic: str) -> list[Passage]:
        task = self.task_of(artifact)
        settings, body = self.reader.analyse(artifact, "front", front_matter)
        if not body.strip() or _repeats_title(body, task):
            return []
        reason = self._label(artifact, settings, topic)
        if reason:
            title = str(settings.get("title") or artifact.title)
            return [Passage(title=title, text=body, artifact=artifact, task=task, reason=reason)]
        key = (artifact.digest, f"parts about {topic}")
        parts = self.reader.remember(key, lambda: _parts_about(body, topic))
        return [
            Passage(
                title=title,
                text=part,
                artifact=artifact,
                task=task,
                reason=f"its heading {title!r}",
                is_part=True,
            )
            for title, part in parts
        ]

    def _label(self, artifact: Artifact, settings: Mapping[str, object], topic: str) -> str:
        """Return what says that a whole artifact is about *topic*; empty if nothing does."""
        for name in ("topic", "section", "document", "kind", "type", "category", "tags"):
            value = settings.get(name)
            texts = value if isinstance(value, list) else [value]
            if value and vocabulary.mentions(map(str, texts), topic):
                return f"its front matter, {name}"
        if vocabulary.mentions(artifact.tags, topic):
            return "its tags"
        if artifact.kind != ArtifactKind.FILE and vocabulary.mentions((artifact.kind,), topic):
            return f"its kind {str(artifact.kind)!r}"
        return ""

    # --- what no longer holds -----------------------------------------------

    def _withdrawn(self) -> dict[str, str]:
        """Return which tasks say that what another one found no longer holds."""
        withdrawn: dict[str, str] = {}
        for task in self.tasks:
            for name in self._superseded_names(task):
                for earlier in self._named(name):
                    if earlier.id != task.id:
                        withdrawn[earlier.id] = task.id
        return withdrawn

    def _superseded_names(self, task: Task) -> Iterable[str]:
        for key in _SUPERSEDING:
            value = task.outputs.get(key)
            names = value if isinstance(value, list) else [value]
            yield from (str(name) for name in names if name)

    def _named(self, name: str) -> list[Task]:
        """Return the tasks that *name* means: by id, alias or title, its own or an artifact's."""
        wanted = comparable(name)
        owners = {
            artifact.task_id
            for artifact in self.artifacts
            if artifact.id == name or comparable(artifact.title) == wanted
        }
        return [
            task
            for task in self.tasks
            if name in (task.id, task.alias)
            or comparable(task.title) == wanted
            or task.id in owners
        ]


def _plain_parts(text: str) -> list[HeadedPart]:
    return headed_parts(front_matter(text)[1], labels=False)


def _repeats_title(text: str, task: Task | None) -> bool:
    """Tell whether a text says no more than its task's title, so that it is not about anything."""
    return task is not None and comparable(text) == comparable(task.title)


def _parts_about(text: str, topic: str) -> list[tuple[str, str]]:
    """Return title and text of each part whose heading is about *topic*.

    A part inside one that is taken already is not taken again.
    """
    parts = []
    taken_to_line = -1
    for part in headed_parts(text):
        is_inside = part.start < taken_to_line
        if is_inside or not part.text or not vocabulary.mentions((part.title,), topic):
            continue
        parts.append((part.title, part.text))
        taken_to_line = part.end
    return parts


def ended_at(task: Task) -> datetime:
    """Return when a task ended, as documents order and date it."""
    return task.ended_at or task.updated_at


def title_line(title: str) -> str:
    """Return a title as one safe line of Markdown, or a word in its place."""
    return inline(title) or "(untitled)"


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
