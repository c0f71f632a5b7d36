"""Texts that are clearly about a task, though the task does not build on them.

Where little has been saved, everything is compared directly. So the search index is needed only
where there is much. It is asked by words alone: what shares none with the task is not about it, and
to load the model that makes vectors would take a new process as long as all the rest.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import SECONDARY_KINDS, ArtifactKind, ArtifactQuery
from vespera_orchestrator.artifacts.content.decoding import decoded
from vespera_orchestrator.artifacts.content.readable import has_readable_beginning, is_readable
from vespera_orchestrator.artifacts.relatedness import Topic
from vespera_orchestrator.artifacts.selection import ALL_SESSIONS
from vespera_orchestrator.errors import (
    ArtifactIndexError,
    ContentElsewhereError,
    MissingDependencyError,
    ReadOnlyError,
    VesperaError,
)
from vespera_orchestrator.progress.work_briefing import RelatedText, UnreadText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts import Artifacts

log = logging.getLogger("vespera_orchestrator")

_MOST_COMPARED: Final = 100
"""If there is more to look at than this, the search index is asked."""
_MOST_LISTED: Final = 1000
_COMPARED_CHARS: Final = 16_000
_MAX_UTF8_BYTES: Final = 4
"""No character takes more in UTF-8."""
_MOST_HITS: Final = 20
_MOST_TEXTS: Final = 5
_QUERY_CHARS: Final = 1000
_REPORTS: Final = frozenset({ArtifactKind.CONFLICT, ArtifactKind.REFUSAL, ArtifactKind.WARNING})
NO_RECORDS: Final = SECONDARY_KINDS | _REPORTS | {ArtifactKind.FILE, ArtifactKind.SYNTHESIS}
"""Kinds that are no record of what a task has achieved."""


class RelatedTexts:
    """Finds texts about one task, in the whole home."""

    def __init__(self, rooms: Rooms, artifacts: Artifacts, task: Task) -> None:
        self._rooms = rooms
        self._artifacts = artifacts
        self._task = task
        self._topic = Topic(task)
        self.unread: list[UnreadText] = []
        """Texts that could not be compared, because their bytes are not here."""

    def outside(self, known: Iterable[str]) -> list[RelatedText]:
        """Return texts of other tasks than the *known* ones, those of this session first."""
        passages = self._passages(frozenset(known))
        texts = [
            RelatedText(
                title=record.title,
                artifact_id=record.id,
                origin=self._origin(record),
                text=text,
            )
            for record, text in sorted(passages, key=self._is_of_other_session)
        ]
        return texts[:_MOST_TEXTS]

    def _is_of_other_session(self, entry: tuple[Artifact, str]) -> bool:
        record, _ = entry
        return record.session_id != self._task.session_id

    def _passages(self, known: frozenset[str]) -> list[tuple[Artifact, str]]:
        candidates = self._few_candidates(known)
        if candidates is None:
            return list(self._found(known))
        return list(self._compared(candidates))

    def _few_candidates(self, known: frozenset[str]) -> list[Artifact] | None:
        """Return what may help, the newest first; ``None`` if there is more than can be compared.

        A large home shows that in its newest records already, and a large session in their number.
        """
        if self._rooms.store.count_artifacts(self._task.session_id) > _MOST_LISTED:
            return None
        for limit in (2 * _MOST_COMPARED, _MOST_LISTED):
            newest = ArtifactQuery(newest_first=True, limit=limit)
            listed = self._rooms.store.artifacts(newest)
            candidates = [record for record in listed if _may_help(record, known)]
            if len(candidates) > _MOST_COMPARED:
                return None
            if len(listed) < limit:
                return candidates
        return None

    def _compared(self, candidates: Iterable[Artifact]) -> Iterator[tuple[Artifact, str]]:
        for record in candidates:
            text = self._topic.best_passage(record.title, self._beginning(record))
            if text:
                yield record, text

    def _beginning(self, record: Artifact) -> str:
        try:
            return beginning(self._artifacts, record, _COMPARED_CHARS)
        except ContentElsewhereError as exc:
            unread = UnreadText(title=record.title, artifact_id=record.id, where=exc.where)
            self.unread.append(unread)
            return ""
        except VesperaError as exc:
            log.info("%s is left out of the briefing: %s", record.id, exc)
            return ""

    def _found(self, known: frozenset[str]) -> Iterator[tuple[Artifact, str]]:
        query = f"{self._task.title} {self._task.description}"[:_QUERY_CHARS]
        try:
            hits = self._artifacts.search(
                query, session=ALL_SESSIONS, limit=_MOST_HITS, mode="text"
            )
        except (ArtifactIndexError, ReadOnlyError, MissingDependencyError) as exc:
            log.warning("the briefing is written without searching: %s", exc)
            return
        for hit in hits:
            record = self._rooms.store.find_artifact(hit.artifact_id)
            if record is None or not hit.text or not _may_help(record, known):
                continue
            if self._topic.covers(hit.title, hit.text):
                yield record, hit.text

    def _origin(self, record: Artifact) -> str:
        if record.session_id != self._task.session_id:
            return "from another session"
        owner = None
        if record.task_id is not None:
            owner = self._rooms.store.find_task(record.task_id, None)
        if owner is None:
            return "from this session"
        parent_id = self._task.parent_task_id
        is_sibling = parent_id is not None and owner.parent_task_id == parent_id
        return f"from the sibling {owner.alias}" if is_sibling else f"from {owner.alias}"


def _may_help(record: Artifact, known: frozenset[str]) -> bool:
    if record.task_id in known or record.kind in NO_RECORDS:
        return False
    return is_readable(record.media_type)


def beginning(artifacts: Artifacts, record: Artifact, most_characters: int) -> str:
    """Return how the text of an artifact begins.

    Raises:
        VesperaError: It cannot be read here, or is a PDF without a text.
    """
    if not has_readable_beginning(record.media_type):
        return artifacts.text(record)[:most_characters]
    with artifacts.open(record) as stream:
        return decoded(stream.read(_MAX_UTF8_BYTES * most_characters))[:most_characters]
