"""Collecting the material for a context, from the store, the search index and the contents."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._text import CHARS_PER_TOKEN
from vespera_orchestrator.artifacts.content.readable import readable_text
from vespera_orchestrator.artifacts.context import Material, UnreadArtifact
from vespera_orchestrator.artifacts.search.passages import has_words
from vespera_orchestrator.artifacts.search.table import SearchFilter
from vespera_orchestrator.errors import (
    ArtifactIndexError,
    MissingDependencyError,
    ReadOnlyError,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.artifacts.damage import Verification
    from vespera_orchestrator.artifacts.search.index import ArtifactIndex
    from vespera_orchestrator.artifacts.search.ranking import RankedArtifact
    from vespera_orchestrator.artifacts.surroundings import Surroundings
    from vespera_orchestrator.contracts import ContentStore, Store

log = logging.getLogger("vespera_orchestrator")

_MOST_HITS: Final = 40
_MOST_FROM_DEPENDENCIES: Final = 50


class MaterialReader:
    """Reads what a context may be chosen from.

    Args:
        store: Has the records.
        content: Has the bytes.
        index: Searches the texts.
        verification: Says what is wrong with bytes that cannot be read.
    """

    def __init__(
        self,
        store: Store,
        content: ContentStore,
        index: ArtifactIndex,
        verification: Verification,
    ) -> None:
        self._store = store
        self._content = content
        self._index = index
        self._verification = verification
        self._unread: list[UnreadArtifact] = []

    def read(
        self, query: str, surroundings: Surroundings, budget_tokens: int, *, is_narrow: bool = False
    ) -> Material:
        """Return what a search finds, and the beginnings of what the task builds on.

        Args:
            query: What the work is about.
            surroundings: What is near.
            budget_tokens: How much room there will be.
            is_narrow: Search only the session and those above it.
        """
        ranked = self._search(query, surroundings, is_narrow=is_narrow)
        dependencies = surroundings.artifacts[:_MOST_FROM_DEPENDENCIES]
        records = {artifact.id: artifact for artifact in dependencies}
        for artifact in self._usable_records(ranked, records, surroundings):
            records[artifact.id] = artifact
        openings = {}
        for artifact in dependencies:
            text = self._opening(artifact, budget_tokens)
            if text:
                openings[artifact.id] = text
        return Material(
            ranked=ranked, records=records, openings=openings, unread=tuple(self._unread)
        )

    def _search(
        self, query: str, surroundings: Surroundings, *, is_narrow: bool
    ) -> list[RankedArtifact]:
        """Search the home, and then what is near, where a poorer match counts too."""
        if not has_words(query):
            return []
        filters = [] if is_narrow else [SearchFilter(limit=_MOST_HITS)]
        if surroundings.session_ids:
            filters.append(SearchFilter(session_ids=surroundings.session_ids, limit=_MOST_HITS))
        if surroundings.dependencies:
            task_ids = tuple(surroundings.dependencies)
            filters.append(SearchFilter(task_ids=task_ids, limit=_MOST_HITS))
        by_artifact: dict[str, RankedArtifact] = {}
        try:
            for search_filter in filters:
                answer = self._index.search(query, search_filter)
                for entry in answer.ranked[:_MOST_HITS]:
                    by_artifact.setdefault(entry.passage.artifact_id, entry)
        except (ArtifactIndexError, ReadOnlyError, MissingDependencyError) as exc:
            log.warning("context is chosen without searching: %s", exc)
        return list(by_artifact.values())

    def _usable_records(
        self,
        ranked: Sequence[RankedArtifact],
        known: dict[str, Artifact],
        surroundings: Surroundings,
    ) -> Iterator[Artifact]:
        """Yield the artifacts that were found; not those of the task itself, nor old versions."""
        task = surroundings.task
        for entry in ranked:
            artifact_id = entry.passage.artifact_id
            record = known.get(artifact_id) or self._store.find_artifact(artifact_id)
            if record is None or record.superseded:
                continue
            if task is None or record.task_id != task.id:
                yield record

    def _opening(self, artifact: Artifact, budget_tokens: int) -> str:
        """Return as much of the beginning as may be needed.

        Empty if the content is not text, or cannot be read, which is noted.
        """
        max_chars = CHARS_PER_TOKEN * budget_tokens + 1
        try:
            with self._verification.explaining(artifact):
                return readable_text(self._content, artifact, max_chars).text
        except StoreError as exc:
            self._unread.append(UnreadArtifact.of(artifact, exc))
            return ""
