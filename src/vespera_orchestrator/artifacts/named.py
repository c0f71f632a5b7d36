"""Artifacts that a query names by their id, or by that of their task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import ArtifactQuery, find_ids
from vespera_orchestrator.artifacts.content.readable import readable_text
from vespera_orchestrator.artifacts.hits import Hit
from vespera_orchestrator.artifacts.search.passages import PASSAGE_CHARACTERS, has_words
from vespera_orchestrator.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.artifacts.search.table import SearchFilter
    from vespera_orchestrator.contracts import ContentStore, Store

_MOST_IDS: Final = 100


def named_first(
    query: str, hits: Sequence[Hit], filters: SearchFilter, store: Store, content: ContentStore
) -> list[Hit]:
    """Put the artifacts whose ids stand in *query*, and those of tasks whose ids do, before *hits*.

    Each is represented by its beginning. An old version is found by its own id. Where *query* has
    nothing but ids, other hits count only if one of these stands in them: no text is about the
    letters of an id.

    Args:
        query: What somebody looks for; an id may stand anywhere in it.
        hits: What else was found for it.
        filters: Which artifacts may be found, and how many.
        store: Has the records.
        content: Has the texts.
    """
    ids = find_ids(query)
    named = _named_records(ids, filters, store)
    others = [hit for hit in hits if hit.artifact_id not in named]
    if ids and not has_words(_without(query, ids)):
        others = [hit for hit in others if any(name in hit.text for name in ids)]
    score = 1 + max((hit.score for hit in others), default=0.0)
    chosen = list(named.values())[: filters.limit]  # not one text more is read than is returned
    first = [_by_its_beginning(record, content, score) for record in chosen]
    return [*first, *others][: filters.limit]


def _named_records(ids: Sequence[str], filters: SearchFilter, store: Store) -> dict[str, Artifact]:
    records: dict[str, Artifact] = {}
    for name in ids[:_MOST_IDS]:
        for record in _records(name, store):
            if _passes(record, filters):
                records.setdefault(record.id, record)
    return records


def _without(query: str, ids: Iterable[str]) -> str:
    for name in ids:
        query = query.replace(name, "")
    return query


def _records(name: str, store: Store) -> Iterator[Artifact]:
    record = store.find_artifact(name)
    if record is not None:
        yield record
    yield from store.artifacts(ArtifactQuery(task_ids=(name,), newest_first=True))


def _passes(record: Artifact, filters: SearchFilter) -> bool:
    if filters.session_ids is not None and record.session_id not in filters.session_ids:
        return False
    if filters.task_ids is not None and record.task_id not in filters.task_ids:
        return False
    if filters.kind is not None and record.kind != filters.kind:
        return False
    return set(filters.tags) <= set(record.tags)


def _by_its_beginning(record: Artifact, content: ContentStore, score: float) -> Hit:
    text = _beginning(record, content)
    return Hit(
        text=text,
        artifact_id=record.id,
        title=record.title,
        task_id=record.task_id,
        score=score,
        start=0,
        end=len(text),
        version=record.version,
        superseded=record.superseded,
        superseded_by=record.superseded_by,
    )


def _beginning(record: Artifact, content: ContentStore) -> str:
    """Return how its text begins; empty if it is none, or cannot be read."""
    try:
        return readable_text(content, record, PASSAGE_CHARACTERS[1]).text
    except StoreError:
        return ""  # the record is found all the same; `Artifacts.read` says what is wrong
