"""Artifacts that a query names by their id, or by that of their task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import ArtifactQuery, find_ids
from vespera_orchestrator.artifacts.content.media_types import is_text
from vespera_orchestrator.artifacts.hits import Hit
from vespera_orchestrator.artifacts.search.passages import PASSAGE_CHARACTERS, has_words
from vespera_orchestrator.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.artifacts.search.table import SearchFilter
    from vespera_orchestrator.contracts import ContentStore, Store

_MOST_IDS: Final = 100
_MOST_BYTES: Final = 4 * PASSAGE_CHARACTERS[1]
"""No character takes more than four bytes in UTF-8."""


def named_hits(query: str, filters: SearchFilter, store: Store, content: ContentStore) -> list[Hit]:
    """Return the artifacts whose ids stand in *query*, and those of tasks whose ids do.

    Each is represented by its beginning. An old version is found by its own id.

    Args:
        query: What somebody looks for; an id may stand anywhere in it.
        filters: Which artifacts may be found.
        store: Has the records.
        content: Has the texts.
    """
    records: dict[str, Artifact] = {}
    for name in find_ids(query)[:_MOST_IDS]:
        for record in _records(name, store):
            if _passes(record, filters, is_named=record.id == name):
                records.setdefault(record.id, record)
    return [_by_its_beginning(record, content) for record in records.values()]


def first_of_all(query: str, named: Sequence[Hit], hits: Sequence[Hit]) -> list[Hit]:
    """Put the *named* ones before the other *hits*, with scores to match.

    Where *query* has nothing but ids, others count only if one of these stands in them: no text
    is about the letters of an id.
    """
    named_ids = {hit.artifact_id for hit in named}
    others = [hit for hit in hits if hit.artifact_id not in named_ids]
    ids = find_ids(query)
    if ids and not has_words(_without(query, ids)):
        others = [hit for hit in others if any(name in hit.text for name in ids)]
    score = 1 + max((hit.score for hit in others), default=0.0)
    return [*(attrs.evolve(hit, score=score) for hit in named), *others]


def _without(query: str, ids: Iterable[str]) -> str:
    for name in ids:
        query = query.replace(name, "")
    return query


def _records(name: str, store: Store) -> Iterator[Artifact]:
    record = store.find_artifact(name)
    if record is not None:
        yield record
    yield from store.artifacts(ArtifactQuery(task_ids=(name,), newest_first=True))


def _passes(record: Artifact, filters: SearchFilter, *, is_named: bool) -> bool:
    if filters.session_ids is not None and record.session_id not in filters.session_ids:
        return False
    if filters.task_ids is not None and record.task_id not in filters.task_ids:
        return False
    if filters.kind is not None and record.kind != filters.kind:
        return False
    if not set(filters.tags) <= set(record.tags):
        return False
    return is_named or filters.include_superseded or not record.superseded


def _by_its_beginning(record: Artifact, content: ContentStore) -> Hit:
    text = _beginning(record, content)
    return Hit(
        text=text,
        artifact_id=record.id,
        title=record.title,
        task_id=record.task_id,
        score=1.0,
        start=0,
        end=len(text),
        version=record.version,
        superseded=record.superseded,
    )


def _beginning(record: Artifact, content: ContentStore) -> str:
    """Return how its text begins; empty if it is none, or cannot be read."""
    if not is_text(record.media_type):
        return ""
    try:
        with content.open(record.digest) as stream:
            beginning = stream.read(_MOST_BYTES)
    except StoreError:
        return ""  # the record is found all the same; `Artifacts.read` says what is wrong
    return beginning.decode("utf-8", "replace")[: PASSAGE_CHARACTERS[1]]
