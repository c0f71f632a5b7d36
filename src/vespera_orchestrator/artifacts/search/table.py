"""What a table of passages promises, and what it is given and gives back.

There are two kinds. `sqlite_table` keeps some thousands of passages in one file and answers at
once; `lancedb_table` keeps any number and takes a second or two to load. Both hold the same rows,
and `index` decides which of them a generation is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.artifacts.search import passages
from vespera_orchestrator.artifacts.search.ranking import PassageMatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Artifact, SearchGap

Row = dict[str, Any]
"""A passage, as tables store it; see `passage_row`."""


@attrs.frozen(kw_only=True)
class SearchFilter:
    """Which artifacts may be found. ``None`` and empty fields filter nothing."""

    session_ids: tuple[str, ...] | None = None
    task_ids: tuple[str, ...] | None = None
    kind: str | None = None
    tags: tuple[str, ...] = ()
    include_superseded: bool = False
    phrases: tuple[str, ...] = ()
    """What must occur word for word in what matches by its words; vectors ignore it."""
    with_before: bool = False
    """Whether what was said before a note counts as its own words do."""
    limit: int = 10
    """How many artifacts are enough, at most a thousand. More may come back."""


@attrs.frozen(kw_only=True)
class TableSize:
    """How large a table is."""

    passages: int
    unindexed: int = 0
    """How many of them each search reads, because the inverted index does not have them yet."""


@attrs.frozen(kw_only=True)
class IndexedArtifact:
    """What a table has of one artifact."""

    passages: int
    expected_passages: int
    """How many it should have."""
    superseded: bool
    gap: str
    """What of it is not searched, one of `SearchGap`; empty if all of it is."""


class PassageTable(Protocol):
    """One generation of the index. Any number of readers, one writer at a time.

    Every method raises `ArtifactIndexError` when the table cannot be read or written.
    """

    @property
    def version(self) -> int:
        """A number that grows with every write. A lower one later means that writes were lost."""

    def replace(
        self,
        artifacts: Sequence[Artifact],
        rows: Sequence[Row],
        vectors: Any,
        epoch: int,
        *,
        superseded: Sequence[str] = (),
    ) -> None:
        """Replace what the table has of *artifacts* by *rows*, and mark what they supersede.

        Args:
            artifacts: The artifacts whose passages these are.
            rows: Made by `passage_row`.
            vectors: An array of small whole numbers with a row for each, zeros for none; ``None``
                for none at all.
            epoch: How often the table was optimized before; kept with the rows by tables that are.
            superseded: Ids of other artifacts to mark.
        """

    def size(self) -> TableSize:
        """Return how large it is."""

    def artifacts(self) -> dict[str, IndexedArtifact]:
        """Return what it has of each artifact, by id."""

    def artifacts_without_vectors(self) -> list[str]:
        """Return the ids of artifacts that have passages without a vector."""

    def rows(self) -> list[Row]:
        """Return everything it has."""

    def search(
        self, words: str | None, vector: Any, filters: SearchFilter, width: int
    ) -> tuple[list[PassageMatch], list[PassageMatch]]:
        """Return passages that match by words, and passages that match by vector.

        Each list has the best first.

        Args:
            words: What to look for; no character of it is syntax. ``None``: do not match words.
            vector: What to be near to; ``None``: do not match vectors.
            filters: They hold before ranking.
            width: The most passages of each kind.
        """


def passage_row(
    artifact: Artifact,
    passage: passages.Passage,
    count: int,
    *,
    before: str = "",
    gap: SearchGap | None = None,
) -> Row:
    """Return the row for one of an artifact's *count* passages.

    Args:
        artifact: Whose passage it is.
        passage: Where it is, and its text.
        count: How many the artifact has.
        before: What was said before it, which makes clear what a short note is about.
        gap: What of the artifact is not searched.
    """
    return {
        "artifact_id": artifact.id,
        "session_id": artifact.session_id,
        "task_id": artifact.task_id or "",
        "kind": artifact.kind,
        "tags": list(artifact.tags),
        "superseded": artifact.superseded,
        "title": artifact.title,
        "passages": count,
        "gap": gap or "",
        "place": passage.place,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
        "before": before,
    }


def words_of(row: Row) -> str:
    """Return what *row* is found by: its text, and behind it what else should find it."""
    return passages.searchable_text(row["text"], row["title"])


def match_of(row: Row, *, score: float = 0.0, cosine: float | None = None) -> PassageMatch:
    """Return the passage in *row* as a match."""
    return PassageMatch(
        artifact_id=row["artifact_id"],
        title=row["title"],
        start=row["start"],
        end=row["end"],
        text=row["text"],
        passage_count=row["passages"],
        score=score,
        cosine=cosine,
        vector=row.get("vector"),
        superseded=row["superseded"],
        place=row["place"],
        gap=row["gap"],
    )
