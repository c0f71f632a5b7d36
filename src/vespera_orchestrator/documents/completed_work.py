"""The completed tasks of a project and their artifacts: what every source of a document reads."""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator._records import Record
from vespera_orchestrator._secrets import kinds_of, mask_and_warn
from vespera_orchestrator.documents import vocabulary
from vespera_orchestrator.documents.likeness import Placement, Placements, words_of
from vespera_orchestrator.documents.markdown import (
    HeadedPart,
    front_matter,
    headed_parts,
    inline,
)
from vespera_orchestrator.errors import CorruptContentError, StoreError
from vespera_orchestrator.home.reading import read_content

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator.contracts import ContentStore
    from vespera_orchestrator.documents.collection import Collected
    from vespera_orchestrator.documents.project_types import ProjectType
    from vespera_orchestrator.documents.readings import Readings
    from vespera_orchestrator.documents.tree import ProjectTree
    from vespera_orchestrator.documents.versions import ExplainMissing

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
_PLACED_TOPICS = ("literature", "methodology", "findings")
"""Topics to which a text is put that is only like others about them."""
_SECRETS = "secrets"
_ARTICLES = frozenset(
    {"the", "a", "an", "der", "die", "das", "le", "la", "les"}
    | {"el", "los", "las", "o", "os", "il", "lo", "gli"}
)
_WORD = re.compile(r"[^\W_]+")
_SHORT_WORD = 3
"""Words of so many letters say nothing in a heading: *of*, *the*, *und*."""


# --- reading artifacts ------------------------------------------------------


class ArtifactReader:
    """Reads artifacts, and remembers the analysis by digest: the same bytes are analysed once.

    Args:
        content: Where the bytes are.
        analyses: What earlier readers learnt; one mapping may serve many readers, and threads.
        explain: See `DocumentVersions`.
    """

    def __init__(
        self,
        content: ContentStore,
        analyses: dict[tuple[str, str], object],
        explain: ExplainMissing = lambda missing, *_: missing,
    ) -> None:
        self._content = content
        self._analyses = analyses
        self._explain = explain
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

    def secrets_of(self, artifact: Artifact) -> str:
        """Say which kinds of secrets an artifact holds; its text comes without them.

        Empty if it holds none, or was never read.
        """
        return self._secrets.get(artifact.digest, "")

    @property
    def has_secrets(self) -> bool:
        """Whether any artifact that was read holds one."""
        return bool(self._secrets)

    @property
    def _secrets(self) -> dict[str, str]:
        """The kinds of secrets in artifacts, by digest; only of those that hold some."""
        return cast("dict[str, str]", self._analyses.setdefault(("", _SECRETS), {}))

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

    def memory(self, name: str) -> dict[str, tuple[object, object, Any]]:
        """Return what was worked out under *name*: by id, what it was worked out from, and it."""
        return cast(
            "dict[str, tuple[object, object, Any]]", self._analyses.setdefault(("", name), {})
        )

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
            content = read_content(self._content, artifact.digest, artifact.size_bytes)
            text = content.decode("utf-8-sig")
            return self._without_secrets(artifact, text)
        except UnicodeDecodeError:
            return ""
        except CorruptContentError as exc:
            reason: StoreError = self._explain(exc, artifact.home_id, artifact.title)
        except StoreError as exc:
            reason = exc
        self.notes.append(f"artifact {artifact.id} is listed without its content: {reason}")
        return ""

    def _without_secrets(self, artifact: Artifact, text: str) -> str:
        kinds = kinds_of(text)
        if not kinds:
            return text
        self._secrets[artifact.digest] = ", ".join(kinds)
        return mask_and_warn(text, f"artifact {artifact.id}")


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
    says_topic_only: bool = False
    """Whether its heading says no more than the topic, such as *Deviations*."""

    @property
    def subject(self) -> str:
        """What it is about: its title, or that of the artifact where the heading says nothing."""
        return self.artifact.title if self.says_topic_only else self.title

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


@attrs.define
class _ReadResults:
    """What was read of results for a topic: the next reading goes on behind it."""

    results: list[Artifact] = attrs.field(factory=list)
    tasks: list[Task | None] = attrs.field(factory=list)
    """Of each result."""
    labelled: list[tuple[Artifact, list[Passage]]] = attrs.field(factory=list)
    """Those that say that they are about the topic."""

    def go_back(self, results: list[Artifact], tasks: list[Task | None]) -> int:
        """Return how many of these results were read before, as they are; forget the others."""
        count = len(self.results)
        # The same objects are the same at once, so this compares pointers.
        is_same = results[:count] == self.results and tasks[:count] == self.tasks
        if not is_same:
            self.forget()
        return len(self.results)

    def forget(self) -> None:
        """Begin anew with the next reading."""
        self.results, self.tasks, self.labelled = [], [], []


# --- the work ---------------------------------------------------------------


class CompletedWork:
    """The completed tasks of all sessions of one project type, and their artifacts.

    Of all sessions, because a document outlives the session in which it was begun. Everything is
    in order of time, the oldest first.

    Args:
        kind: The project type.
        collected: What the store has.
        reader: Reads artifacts.
        tree: The files of the project, as they are now.
        readings: What was read from files before.
        taken_numbers: The numbers of decisions that another home has recorded.
    """

    def __init__(
        self,
        kind: ProjectType,
        collected: Collected,
        reader: ArtifactReader,
        tree: ProjectTree,
        readings: Readings,
        *,
        taken_numbers: frozenset[int] = frozenset(),
    ) -> None:
        self.kind = kind
        self.taken_numbers = taken_numbers
        self.tasks = collected.tasks
        self._results = [each for each in collected.artifacts if each.kind not in _NOT_RESULTS]
        self.artifacts = [each for each in self._results if not each.superseded]
        """Results that hold."""
        self.followers = collected.followers
        """What holds in place of superseded artifacts, by the superseded one's id."""
        self.reader = reader
        self.readings = readings
        self.tree = tree
        self.commits = collected.commits
        self.inclusions: list[Inclusion] = []
        """What was decided about each artifact and task, and why."""
        self.by_id = collected.by_id
        self._result_tasks = [self.by_id.get(each.task_id or "") for each in self._results]
        self.withdrawn = self._withdrawn()
        """What no longer holds: the id of the task that says so, by the id of the task."""

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
        self.record(inclusion)

    def record(self, inclusion: Inclusion) -> None:
        """Record a decision that was made before."""
        self.inclusions.append(inclusion)

    def passages(self, topic: str, *, with_superseded: bool = False) -> list[Passage]:
        """Return what artifacts say about a topic, the newest first.

        An artifact's front matter and tags decide first, then its kind, then headings in it, and
        lines such as ``Decisions:``. A file's name decides nothing. Where none of them does,
        likeness to earlier texts about literature, methods and findings decides.

        Args:
            topic: What it is about.
            with_superseded: Whether to return also what another artifact has superseded. Otherwise
                it is recorded as left out.
        """
        passages: list[Passage] = []
        for artifact, labelled in self._labelled(topic):
            about = labelled or self._alike(artifact, topic)
            if artifact.superseded and not with_superseded:
                self._leave_out(about, topic)
            else:
                passages += about
        return self._shown(passages, topic)

    def _labelled(self, topic: str, first: int = 0) -> Iterator[tuple[Artifact, list[Passage]]]:
        """Yield results with what they themselves say to be about a topic.

        Those that say nothing are among them only where likeness may place them.
        """
        if topic in _PLACED_TOPICS:
            yield from self._labelled_from(topic, first)
            return
        read = self.reader.remember(("", f"results read for {topic}"), _ReadResults)
        notes_before = len(self.reader.notes)
        count = read.go_back(self._results, self._result_tasks)
        news = [pair for pair in self._labelled_from(topic, count) if pair[1]]
        read.labelled += news
        yield from read.labelled[:]
        if len(self.reader.notes) == notes_before:
            read.results, read.tasks = self._results, self._result_tasks
        else:
            read.forget()  # what could not be read now may be readable next time

    def _labelled_from(self, topic: str, first: int) -> Iterator[tuple[Artifact, list[Passage]]]:
        memory = self.reader.memory(f"passages about {topic}")
        tasks = itertools.islice(self._result_tasks, first, None)
        for artifact, task in zip(self._results[first:], tasks, strict=True):
            latest = memory.get(artifact.id)
            if latest is None or latest[0] is not artifact or latest[1] is not task:
                latest = artifact, task, self._remembered_passages(artifact, topic, memory)
            yield artifact, latest[2]

    def _alike(self, artifact: Artifact, topic: str) -> list[Passage]:
        """Return an artifact that says nothing of its topic, but is like texts about this one."""
        placement = self._placements.get(artifact.id)
        if placement is None or placement.topic != topic:
            return []
        settings, body = self.reader.analyse(artifact, "front", front_matter)
        title = str(settings.get("title") or artifact.title)
        reason = f"its likeness to other texts about that, {placement.votes:.0%} of its words"
        task = self.task_of(artifact)
        return [Passage(title=title, text=body, artifact=artifact, task=task, reason=reason)]

    @functools.cached_property
    def _placements(self) -> Mapping[str, Placement]:
        """Where likeness puts artifacts that say nothing of their topic, by id."""
        if not self.kind.has_research:
            return {}
        placements = self.reader.remember(("", "placements"), Placements)
        first = placements.go_back(self._results)
        labelled = [
            {artifact.id for artifact, passages in self._labelled(topic, first) if passages}
            for topic in _PLACED_TOPICS
        ]
        by_topic = dict(zip(_PLACED_TOPICS, labelled, strict=True))
        for artifact in self._results[first:]:
            topics = tuple(topic for topic, ids in by_topic.items() if artifact.id in ids)
            words = self.reader.analyse(artifact, "words", words_of) if is_prose(artifact) else {}
            is_placed_by_itself = artifact.kind == ArtifactKind.FILE or _repeats_title(
                self.reader.text(artifact), self.task_of(artifact)
            )
            placements.add(artifact, topics, {} if is_placed_by_itself else words)
        return placements.by_artifact()

    def _leave_out(self, passages: Iterable[Passage], topic: str) -> None:
        """Record that passages are not shown, because something else holds now."""
        for passage in passages:
            follower = self.followers.get(passage.artifact.id)
            by = "an artifact that is gone" if follower is None else repr(follower.title)
            reason = f"{passage.reason}, but {by} supersedes it"
            self.explain(topic, passage.artifact.id, passage.title, reason, shown=False)

    def _shown(self, passages: list[Passage], topic: str) -> list[Passage]:
        """Record that passages are shown, and return them the newest first.

        Args:
            passages: The oldest first.
            topic: What they are shown for.
        """
        passages.reverse()
        for passage in passages:
            self.explain(topic, passage.artifact.id, passage.title, passage.reason, shown=True)
        return passages

    def _remembered_passages(
        self, artifact: Artifact, topic: str, memory: dict[str, tuple[object, object, Any]]
    ) -> list[Passage]:
        notes_before = len(self.reader.notes)
        passages = self._passages_of(artifact, topic) if is_prose(artifact) else []
        if len(self.reader.notes) == notes_before:
            # What could not be read now may be readable next time.
            memory[artifact.id] = artifact, self.task_of(artifact), passages
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
        return self._shown(passages, topic)

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
                says_topic_only=says_topic_only(title, topic),
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

    def withdrawing_task(self, task: Task | None) -> Task | None:
        """Return the task that says that what *task* found no longer holds; ``None`` if it does.

        Where that task is withdrawn as well, it is the one that says so of it, and so on.
        """
        latest, visited = task, set()
        while latest is not None and latest.id in self.withdrawn and latest.id not in visited:
            visited.add(latest.id)
            latest = self.by_id[self.withdrawn[latest.id]]
        return None if latest is task else latest

    def _withdrawn(self) -> dict[str, str]:
        """Return which tasks say that what another one found no longer holds."""
        withdrawn: dict[str, str] = {}
        for task in self.tasks:
            if not task.outputs:
                continue
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


def says_topic_only(heading: str, topic: str) -> bool:
    """Tell whether a heading says no more than the topic, such as *Deviations*."""
    words = [word for word in _WORD.findall(heading) if len(word) > _SHORT_WORD]
    return all(vocabulary.mentions((word,), topic) for word in words)


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


def without_own_heading(passage: Passage, topic: str) -> str:
    """Return a text without first headings that repeat its title, or name only the topic."""
    text = passage.text.strip("\n")
    for part in headed_parts(text, labels=False):
        is_own = part.title.casefold() == passage.title.casefold() or says_topic_only(
            part.title, topic
        )
        if not is_own or not text.startswith("#"):
            break
        text = text.partition("\n")[2].strip("\n")
    return text


def title_line(title: str) -> str:
    """Return a title as one safe line of Markdown, or a word in its place."""
    return inline(title) or "(untitled)"
