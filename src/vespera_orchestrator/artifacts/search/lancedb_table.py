"""A table of any size, in LanceDB: the only module that calls it and pyarrow by what they promise.

What they do not promise is in `lancedb_private`. Every change is one LanceDB commit; `index`
elects the one process that may write.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vespera_orchestrator.artifacts.search import lancedb_private
from vespera_orchestrator.artifacts.search.lancedb_private import run, translated_errors
from vespera_orchestrator.artifacts.search.table import (
    IndexedArtifact,
    TableSize,
    match_of,
    words_of,
)
from vespera_orchestrator.errors import ArtifactIndexError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.artifacts.search.ranking import PassageMatch
    from vespera_orchestrator.artifacts.search.table import Row, SearchFilter

VECTOR_INDEX_FROM = 10_000
"""Below this many passages, comparing with every vector is as fast as an index, and exact."""

_TABLE = "passages"
_RETRAIN_GROWTH = 4
"""The vector index is trained again when the table has grown this many times.

Its cells have become too full by then.
"""
_MAX_VECTOR_PARTS = 6
"""Every optimizing adds a part to the vector index, and a search spends a millisecond on each."""
_PROBES = 20
_MAX_TOKEN_CHARACTERS = 65
"""Exclusive, so that a SHA-256 digest can be found."""
_MATCH_COLUMNS = (
    *("artifact_id", "title", "start", "end", "passages", "superseded", "words"),
    *("place", "gap"),
)


class LanceTable:
    """A table of any size; see `table.PassageTable`.

    Args:
        table: LanceDB's table.
        dimensions: How long the vectors are; 0 for none.
    """

    def __init__(self, table: Any, dimensions: int) -> None:
        self.dimensions = dimensions
        self._table = table

    @classmethod
    def create(cls, folder: Path, dimensions: int) -> LanceTable:
        """Create an empty one in *folder*, a LanceDB database of its own."""
        database = _connect(folder)
        with translated_errors("create it"):
            table = run(database.create_table(_TABLE, schema=_schema(dimensions)))
            for column, config in _column_indices().items():
                run(table.create_index(column, config=config, name=column))
        return cls(table, dimensions)

    @classmethod
    def open(cls, folder: Path, dimensions: int) -> LanceTable:
        """Open the one in *folder*.

        Raises:
            ArtifactIndexError: It cannot be opened, or is not what it should be.
        """
        database = _connect(folder)
        with translated_errors("open it"):
            table = run(database.open_table(_TABLE))
            columns = run(table.schema()).names
        if ("vector" in columns) != bool(dimensions):
            raise ArtifactIndexError("open it", "its vectors are not those that were expected")
        return cls(table, dimensions)

    # --- writing ------------------------------------------------------------

    @property
    def version(self) -> int:
        """LanceDB's number of the newest commit."""
        with translated_errors("open it"):
            return int(run(self._table.version()))

    def replace(
        self,
        artifacts: Sequence[Artifact],
        rows: Sequence[Row],
        vectors: Any,
        epoch: int,
        *,
        superseded: Sequence[str] = (),
    ) -> None:
        """See `table.PassageTable.replace`. The epoch is for `compact`."""
        from lancedb.expr import col

        own = col("artifact_id").isin([artifact.id for artifact in artifacts])
        older = [artifact.supersedes_id for artifact in artifacts if artifact.supersedes_id]
        older += superseded
        unmarked = col("artifact_id").isin(older) & ~col("superseded")
        with translated_errors("write it"):
            # Asking first: a write that changes nothing still costs a version.
            if artifacts and self._has_any(own):
                run(self._table.delete(own))
            if older and self._has_any(unmarked):
                mark = {"superseded": True, "epoch": epoch}
                run(self._table.update(mark, where=unmarked))
            if rows:
                self.add(rows, vectors, epoch)

    def add(self, rows: Sequence[Row], vectors: Any, epoch: int) -> None:
        """Add *rows* of artifacts that the table has nothing of."""
        with translated_errors("write it"):
            run(self._table.add(_arrow_table(rows, vectors, epoch, self.dimensions)))

    def _has_any(self, where: Any) -> bool:
        query = self._table.query().where(where)
        first = query.select(["artifact_id"]).limit(1)
        return bool(run(first.to_list()))

    def compact(self, epoch: int) -> None:
        """Bring what was written in *epoch* into one file, in one commit.

        Every write makes a file, and reading slows down with each.
        """
        from lancedb.expr import col, lit

        unchanged = {"epoch": "epoch"}
        with translated_errors("optimize it"):
            run(self._table.update(where=col("epoch") == lit(epoch), updates_sql=unchanged))

    def optimize(self, trained: int, keep: timedelta) -> int:
        """Index every passage, merge files and remove old versions.

        Costs as much as the table is large.

        Args:
            trained: With how many passages the vector index was trained; 0 when there is none.
            keep: Versions that are younger than this stay.

        Returns:
            The same number afterwards.
        """
        with translated_errors("optimize it"):
            count = self.size().passages if self.dimensions else 0
            parts = self._vector_index_parts() if count >= VECTOR_INDEX_FROM else None
            train = parts is not None and (
                parts == 0 or parts >= _MAX_VECTOR_PARTS or count >= trained * _RETRAIN_GROWTH
            )
            if train and parts:
                # Without its parts all files are merged. Files with deleted passages would make
                # training take minutes.
                run(self._table.drop_index("vector"))
            run(self._table.optimize(cleanup_older_than=keep))
            if not train:
                return trained
            self._train_vector_index()
            return count

    def _train_vector_index(self) -> None:
        from lancedb.index import IvfSq

        config = IvfSq(distance_type="cosine")
        run(self._table.create_index("vector", config=config, name="vector"))

    def _vector_index_parts(self) -> int:
        stats = run(self._table.index_stats("vector"))
        if stats is None:
            return 0
        return int(stats.num_indices or 1)

    # --- reading ------------------------------------------------------------

    def size(self) -> TableSize:
        """Return how large it is."""
        with translated_errors("open it"):
            stats = run(self._table.index_stats("words"))
        unindexed = stats.num_unindexed_rows
        return TableSize(passages=stats.num_indexed_rows + unindexed, unindexed=unindexed)

    def artifacts_without_vectors(self) -> list[str]:
        """Return the ids of artifacts that have passages without a vector."""
        with translated_errors("read it"):
            query = self._table.query().where("vector IS NULL")
            rows = run(query.select(["artifact_id"]).to_arrow())
        ids = rows["artifact_id"].to_pylist()
        return list(dict.fromkeys(ids))

    def artifacts(self) -> dict[str, IndexedArtifact]:
        """Return what it has of each artifact, by id."""
        columns = ["artifact_id", "passages", "superseded", "gap"]
        with translated_errors("read it"):
            rows = run(self._table.query().select(columns).to_arrow())
        ids, *known = (rows[column].to_pylist() for column in columns)
        counts = Counter(ids)
        latest = dict(zip(ids, zip(*known, strict=True), strict=True))
        return {
            artifact_id: IndexedArtifact(
                passages=counts[artifact_id],
                expected_passages=expected,
                superseded=superseded,
                gap=gap,
            )
            for artifact_id, (expected, superseded, gap) in latest.items()
        }

    def rows(self) -> list[Row]:
        """Return everything it has."""
        with translated_errors("read it"):
            return _rows(run(self._table.query().to_arrow()))

    # --- searching ----------------------------------------------------------

    def search(
        self,
        words: str | None,
        vector: Any,
        filters: SearchFilter,
        width: int,
        *,
        exact: bool = False,
    ) -> tuple[list[PassageMatch], list[PassageMatch]]:
        """Return passages that match by words, and passages that match by vector.

        Both are searched for at once, and each list has the best first.

        Args:
            words: What to look for; no character of it is syntax. ``None``: do not match words.
            vector: What to be near to; ``None``: do not match vectors.
            filters: They hold before ranking.
            width: The most passages of each kind.
            exact: Compare with every vector.
        """
        with translated_errors("search it"):
            by_words, by_vector = run(self._search_both(words, vector, filters, width, exact=exact))
        text_matches = [match_of(row, score=row["_score"]) for row in by_words]
        vector_matches = [
            match_of(row, cosine=1 - row["_distance"])
            for row in by_vector
            if row["_distance"] is not None
        ]
        return text_matches, vector_matches

    async def _search_both(
        self, words: str | None, vector: Any, filters: SearchFilter, width: int, *, exact: bool
    ) -> list[list[Row]]:
        # Nearness is judged by all matching passages, so those that match by their words bring
        # their vectors with them.
        columns = [*_MATCH_COLUMNS]
        if vector is not None:
            columns.append("vector")
        searches = [
            self._by_words(words, filters, width, columns),
            self._by_vector(vector, filters, width, columns, exact=exact),
        ]
        return await asyncio.gather(*searches)

    async def _by_words(
        self, words: str | None, filters: SearchFilter, width: int, columns: list[str]
    ) -> list[Row]:
        if not words:
            return []
        text_query = _text_query(words, filters)
        query = self._table.query().nearest_to_text(text_query)
        query = _filtered(query, filters).limit(width)
        matches = query.select([*columns, "_score"])
        return _rows(await matches.to_arrow())

    async def _by_vector(
        self, vector: Any, filters: SearchFilter, width: int, columns: list[str], *, exact: bool
    ) -> list[Row]:
        if vector is None:
            return []
        query = self._table.query().nearest_to(vector).distance_type("cosine")
        # Refining compares the exact vectors of what the index found; its own order is rough.
        query = query.bypass_vector_index() if exact else query.nprobes(_PROBES).refine_factor(1)
        query = _filtered(query, filters).limit(width)
        matches = query.select([*columns, "_distance"])
        return _rows(await matches.to_arrow())


def _connect(folder: Path) -> Any:
    library = lancedb_private.load()
    with translated_errors("open it"):
        # Without the interval, a table handle keeps showing the version at which it was opened.
        database = library.connect_async(str(folder), read_consistency_interval=timedelta(0))
        return run(database)


# --- rows -------------------------------------------------------------------


def _rows(matches: Any) -> list[Row]:
    """Return the rows of an Arrow table.

    Arrow would turn vectors into lists number by number, which costs more than the search.
    """
    vectors: Any = [None] * matches.num_rows
    if "vector" in matches.column_names:
        vectors = matches["vector"].to_numpy()
        matches = matches.drop_columns("vector")
    rows = []
    for row, vector in zip(matches.to_pylist(), vectors, strict=True):
        text = row["words"][: row["end"] - row["start"]]
        numbers = None if vector is None else vector.tolist()
        rows.append({**row, "text": text, "vector": numbers})
    return rows


def _schema(dimensions: int) -> Any:
    import pyarrow as pa

    texts = (
        "artifact_id",
        "session_id",
        "task_id",
        "kind",
        "title",
        "words",
        "before",
        "gap",
        "place",
    )
    numbers = ("passages", "start", "end", "epoch")
    fields = [(name, pa.string()) for name in texts]
    fields += [(name, pa.int32()) for name in numbers]
    fields += [("tags", pa.list_(pa.string())), ("superseded", pa.bool_())]
    if dimensions:
        # Half precision holds small whole numbers exactly, and LanceDB indexes no bytes.
        fields.append(("vector", pa.list_(pa.float16(), dimensions)))
    return pa.schema(fields)


def _arrow_table(rows: Sequence[Row], vectors: Any, epoch: int, dimensions: int) -> Any:
    import pyarrow as pa

    dated = [{**row, "words": words_of(row), "epoch": epoch} for row in rows]
    table = pa.Table.from_pylist(dated, schema=_schema(0))
    if not dimensions:
        return table
    if vectors is None:
        column = pa.nulls(len(rows), pa.list_(pa.float16(), dimensions))
    else:
        numbers = pa.array(vectors.reshape(-1).astype("float16"))
        missing = pa.array(~vectors.any(axis=1))
        column = pa.FixedSizeListArray.from_arrays(numbers, dimensions, mask=missing)
    return table.append_column(_schema(dimensions).field("vector"), column)


def _column_indices() -> dict[str, Any]:
    """Return the indices that every table has.

    Those for the filters as well: without them, each way of searching would read whole columns.
    """
    from lancedb.index import FTS, Bitmap, LabelList

    return {
        "words": FTS(with_position=True, max_token_length=_MAX_TOKEN_CHARACTERS),
        "before": FTS(max_token_length=_MAX_TOKEN_CHARACTERS),
        "tags": LabelList(),
        "session_id": Bitmap(),
        "task_id": Bitmap(),
        "kind": Bitmap(),
        "superseded": Bitmap(),
    }


# --- queries ----------------------------------------------------------------


def _text_query(words: str, filters: SearchFilter) -> Any:
    from lancedb.query import BooleanQuery, MatchQuery, Occur, PhraseQuery

    # A match query has no syntax: quotes, operators and brackets in it are just not words.
    any_word = [MatchQuery(words, "words")]
    if filters.with_before:
        any_word.append(MatchQuery(words, "before"))
    required = [(Occur.MUST, PhraseQuery(phrase, "words")) for phrase in filters.phrases]
    if not required and len(any_word) == 1:
        return any_word[0]
    return BooleanQuery([*required, *[(Occur.SHOULD, query) for query in any_word]])


def _filtered(query: Any, filters: SearchFilter) -> Any:
    condition = _condition(filters)
    return query.where(condition) if condition else query


def _condition(filters: SearchFilter) -> str:
    parts = [
        _one_of("session_id", filters.session_ids),
        _one_of("task_id", filters.task_ids),
        _one_of("kind", (filters.kind,) if filters.kind is not None else None),
    ]
    # LanceDB's expressions have no function for lists.
    parts += [f"array_has(tags, {_quoted(tag)})" for tag in filters.tags]
    if not filters.include_superseded:
        parts.append("NOT superseded")
    return " AND ".join(part for part in parts if part)


def _one_of(column: str, values: Sequence[str] | None) -> str:
    if not values:
        return ""
    return f"{column} IN ({', '.join(map(_quoted, values))})"


def _quoted(text: str) -> str:
    """Return *text* as SQL writes it.

    Only quotes have to be doubled; a backslash stands for itself.
    """
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
