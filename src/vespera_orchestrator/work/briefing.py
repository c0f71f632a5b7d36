"""Collects what the briefing of an agent is written from: the store, the contents, the search.

Anything here may be missing or unreadable. The briefing then says so, and is written all the same.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    ArtifactKind,
    ArtifactQuery,
    TaskStatus,
)
from vespera_orchestrator._text import CHARS_PER_TOKEN
from vespera_orchestrator.agents.context import decisions_in
from vespera_orchestrator.agents.roles.role import Role, read_roles, role_named
from vespera_orchestrator.artifacts.content.readable import is_readable
from vespera_orchestrator.artifacts.input_checks import clean_title
from vespera_orchestrator.artifacts.surroundings import upstream_tasks
from vespera_orchestrator.errors import (
    ContentElsewhereError,
    InvalidInputError,
    StoreError,
    VesperaError,
)
from vespera_orchestrator.home.scope import find_type_name
from vespera_orchestrator.progress.usual_time import usual_time_of
from vespera_orchestrator.progress.work_briefing import (
    MOST_FILES,
    UpstreamTask,
    WorkFacts,
    WorkRecord,
    work_briefing,
)
from vespera_orchestrator.work.related import NO_RECORDS, RelatedTexts, beginning
from vespera_orchestrator.work.upstream_files import UpstreamFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import Artifact, Attempt, Session, Task, TaskArtifact
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.agents.shared import SharedContext
    from vespera_orchestrator.artifacts import Artifacts
    from vespera_orchestrator.progress.work_briefing import FileNote
    from vespera_orchestrator.tasks.durations import UsualTime

log = logging.getLogger("vespera_orchestrator")

_MOST_UPSTREAM: Final = 200
_MOST_DECISIONS: Final = 8
_READ_AHEAD: Final = 3
"""How many budgets of text are read, at most, to choose from."""


class BriefingWriter:
    """Writes what an agent reads before it starts."""

    def __init__(self, rooms: Rooms, artifacts: Artifacts) -> None:
        self._rooms = rooms
        self._artifacts = artifacts

    def write(self, facts: WorkFacts, budget_tokens: int) -> str:
        """Write the briefing, and record which artifacts the task was given.

        Args:
            facts: What the holder of the task knows.
            budget_tokens: About how long it may be.
        """
        collected = _Collection(self._rooms, self._artifacts, facts, budget_tokens).facts()
        briefing = work_briefing(collected, budget_tokens=budget_tokens)
        if briefing.sources:
            self._rooms.store.record_context(
                facts.task.id, briefing.sources, agent=facts.attempt.agent
            )
        return briefing.text


@attrs.frozen(kw_only=True)
class _TaskRecords:
    """What the store says about a task at one moment."""

    session: Session
    parent: Task | None
    recovers: Task | None
    dependents: Sequence[Task]
    earlier_attempts: Sequence[Attempt]
    earlier_work: Sequence[Artifact]
    """What earlier attempts saved, the newest first; files are in the worktree."""
    upstream: Sequence[tuple[Task, int, Sequence[TaskArtifact]]]
    """What the task builds on, how far it is, and its records: the nearest first."""
    shared: SharedContext
    decisions: Sequence[Artifact]
    """What was decided last in the session, and in those above it."""
    usual_time: UsualTime | None


class _Collection:
    """What there is to say about one task."""

    def __init__(
        self, rooms: Rooms, artifacts: Artifacts, known: WorkFacts, budget_tokens: int
    ) -> None:
        self._rooms = rooms
        self._artifacts = artifacts
        self._known = known
        self._task = known.task
        self._max_chars = budget_tokens * CHARS_PER_TOKEN
        self._left_to_read = _READ_AHEAD * self._max_chars

    def facts(self) -> WorkFacts:
        records = self._rooms.store.read_together(self._records)
        self._rooms.shared.note(records.session, records.shared)
        role, role_problem = self._role(records.session)
        earlier = [self._record(artifact) for artifact in records.earlier_work]
        aliases = {task.id: task.alias for task, *_ in records.upstream}
        upstream = [
            UpstreamTask(
                task=task,
                steps=steps,
                records=[self._work_record(entry, aliases) for entry in saved],
            )
            for task, steps, saved in records.upstream
        ]
        quoted_above = {record.artifact.id for entry in upstream for record in entry.records}
        decisions = [each for each in records.decisions if each.id not in quoted_above]
        texts = RelatedTexts(self._rooms, self._artifacts, self._task)
        decided_ids = {each.id for each in decisions}
        related = [
            each
            for each in texts.outside(self._known_tasks(upstream))
            if each.artifact_id not in decided_ids
        ]
        return attrs.evolve(
            self._known,
            goal=records.session.goal,
            role=role,
            role_problem=role_problem,
            parent=records.parent,
            recovers=records.recovers,
            dependents=records.dependents,
            earlier_attempts=records.earlier_attempts,
            earlier_work=earlier,
            upstream=upstream,
            agreed=dict(records.shared),
            decisions=[self._record(artifact) for artifact in decisions],
            files=self._files(upstream),
            related=related,
            unread=texts.unread,
            usual_time=records.usual_time,
        )

    def _records(self) -> _TaskRecords:
        store, task = self._rooms.store, self._task
        session = self._rooms.scope.session(task.session_id)
        recovers = self._other(task.recovers_task_id)
        number = self._known.attempt.number
        return _TaskRecords(
            session=session,
            parent=self._other(task.parent_task_id),
            recovers=recovers,
            dependents=store.dependents(task.id),
            earlier_attempts=[each for each in store.attempts(task.id) if each.number < number],
            earlier_work=self._earlier_work(recovers),
            upstream=self._upstream(),
            shared=self._rooms.shared.peek(session),
            decisions=decisions_in(store, session)[:_MOST_DECISIONS],
            usual_time=usual_time_of(store, task),
        )

    def _other(self, task_id: str | None) -> Task | None:
        return None if task_id is None else self._rooms.store.find_task(task_id, None)

    def _role(self, session: Session) -> tuple[Role | None, str]:
        specialist = self._task.specialist_type
        if not specialist:
            return None, ""
        try:
            project_type = find_type_name(session, self._rooms.store.find_session)
            roles = read_roles(self._rooms.scope.home.instructing, project_type)
        except (InvalidInputError, StoreError) as exc:
            log.warning("the project's own roles are left out: %s", exc)
            return role_named({}, specialist), str(exc)
        return role_named(roles, specialist), ""

    # what was done before

    def _earlier_work(self, recovers: Task | None) -> list[Artifact]:
        records: list[Artifact] = []
        if self._known.attempt.number > 1:
            records += self._saved_by(self._task)
        if recovers is not None:
            records += self._saved_by(recovers)
        return records

    def _saved_by(self, task: Task) -> Iterator[Artifact]:
        query = ArtifactQuery(task_ids=(task.id,), newest_first=True)
        for artifact in self._rooms.store.artifacts(query):
            if artifact.kind not in {ArtifactKind.FILE, ArtifactKind.SYNTHESIS}:
                yield artifact

    # what it builds on

    def _upstream(self) -> list[tuple[Task, int, Sequence[TaskArtifact]]]:
        tasks = upstream_tasks(self._rooms.store, self._task, _MOST_UPSTREAM)
        by_task: dict[str, list[TaskArtifact]] = {}
        for entry in self._rooms.store.task_artifacts(task.id for task, _ in tasks):
            by_task.setdefault(entry.task_id, []).append(entry)
        return [
            (task, steps, _records_of(task, by_task.get(task.id, ())))
            for task, steps in sorted(tasks, key=_nearness)
        ]

    def _work_record(self, entry: TaskArtifact, aliases: Mapping[str, str]) -> WorkRecord:
        """Read what a task saved, or what holds in its place, unless its own task is here, too."""
        artifact = entry.artifact
        own_alias = aliases.get(artifact.task_id or "", "")
        if own_alias and artifact.task_id != entry.task_id:
            return WorkRecord(artifact=artifact, replaces=entry.replaces, quoted_at=own_alias)
        return attrs.evolve(self._record(artifact), replaces=entry.replaces)

    def _record(self, artifact: Artifact) -> WorkRecord:
        """Read the beginning of an artifact, as far as the briefing may need it."""
        if not is_readable(artifact.media_type) or self._left_to_read <= 0:
            elsewhere = self._elsewhere(artifact)
            problem = "" if elsewhere is None else _way_to(elsewhere)
            return WorkRecord(artifact=artifact, problem=problem)
        try:
            text = beginning(self._artifacts, artifact, self._max_chars)
        except ContentElsewhereError as exc:
            return WorkRecord(artifact=artifact, problem=_way_to(exc))
        except VesperaError as exc:
            return WorkRecord(artifact=artifact, problem=f"it cannot be read here: {exc}")
        is_whole = len(text) < self._max_chars
        if artifact.kind == ArtifactKind.CONFLICT:
            from vespera_orchestrator.worktrees.conflict_report import WHOLE_FILES

            text, whole_files, _ = text.partition(WHOLE_FILES)
            is_whole = is_whole and not whole_files
        self._left_to_read -= len(text)
        length = len(text) if is_whole else artifact.size_bytes
        return WorkRecord(artifact=artifact, text=text, length=length)

    def _files(self, upstream: Sequence[UpstreamTask]) -> list[FileNote]:
        tasks = [entry.task for entry in upstream]
        notes = UpstreamFiles(self._rooms, self._task.session_id).notes(tasks)
        named = [self._placed(note) for note in notes[:MOST_FILES]]
        return named + notes[MOST_FILES:]

    def _placed(self, note: FileNote) -> FileNote:
        """Say where the bytes of a file are, if another home has them."""
        if note.artifact_id is None:
            return note
        artifact = self._rooms.store.find_artifact(note.artifact_id)
        elsewhere = None if artifact is None else self._elsewhere(artifact)
        return note if elsewhere is None else attrs.evolve(note, elsewhere=elsewhere.where)

    def _elsewhere(self, artifact: Artifact) -> ContentElsewhereError | None:
        """Return the error that says which other home has the bytes, if they are not here."""
        if artifact.home_id in {"", self._rooms.scope.home.id}:
            return None
        try:
            with self._artifacts.open(artifact):
                return None
        except ContentElsewhereError as exc:
            return exc
        except VesperaError:
            return None  # whoever reads it is told

    def _known_tasks(self, upstream: Sequence[UpstreamTask]) -> set[str]:
        known = {self._task.id, *(entry.task.id for entry in upstream)}
        if self._task.recovers_task_id is not None:
            known.add(self._task.recovers_task_id)
        return known


def _way_to(elsewhere: ContentElsewhereError) -> str:
    """Say where the bytes of an artifact are, and how to bring them."""
    return f"{elsewhere.problem}; to bring them: {elsewhere.fetch}"


def _nearness(entry: tuple[Task, int]) -> tuple[int, bool]:
    task, steps = entry
    return steps, task.recovers_task_id is not None


def _records_of(task: Task, entries: Iterable[TaskArtifact]) -> list[TaskArtifact]:
    """Return what a task achieved, the record of its work first, or what has taken its place.

    Of a completed task, what went wrong on the way does not count.
    """
    is_completed = task.status is TaskStatus.COMPLETED
    unwanted = NO_RECORDS if is_completed else {ArtifactKind.FILE}
    records = [entry for entry in entries if entry.artifact.kind not in unwanted]

    def rank(entry: TaskArtifact) -> tuple[bool, bool]:
        saved = entry.saved
        is_record = saved.title == clean_title(task.title) and saved.attempt == task.attempts
        return not is_record, entry.artifact.partial

    return sorted(records, key=rank)
