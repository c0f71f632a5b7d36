"""The passages in LanceDB: the only door to lancedb and pyarrow.

LanceDB's own calls run on a thread that it starts for itself and on an event loop that never ends. Here every call runs its coroutine in
the calling thread, on a loop that ends with it, and LanceDB's thread is stopped until somebody else asks for it: a library has no thread
of its own. Every change is one LanceDB commit; the one process that may write is elected in `index`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

from vespera_orchestrator.artifacts.search import passages
from vespera_orchestrator.artifacts.search.ranking import Found
from vespera_orchestrator.errors import ArtifactIndexError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from pathlib import Path

    from vespera_orchestrator._model import Artifact

VECTOR_INDEX_FROM = 10_000
"""Up to here comparing with every vector is as fast as an index, and exact."""

_TABLE = "passages"
_TRAINED_FOR = 4
"""A vector index is trained anew when the table has grown so many times; its cells become too full."""
_VECTOR_PARTS = 6
"""Every tidying adds a part to the vector index, and every search goes through all of them: a millisecond each."""
_PROBES = 20
_KEEP_VERSIONS = timedelta(minutes=5)
"""A reader holds a version for the length of one query; removing younger ones fails it."""
_LONGEST_WORD = 65
"""Exclusive, so that a SHA-256 digest can be found."""
_REASON_CHARACTERS = 200
_COLUMNS = ("artifact_id", "title", "start", "end", "passages", "superseded", "words")

_opened_by: int | None = None
"""The process that first used LanceDB here. Its threads do not survive a fork, and using them again ends in a segmentation fault."""
_importing = threading.Lock()


@attrs.frozen(kw_only=True)
class Wanted:
    """Which artifacts may be found. ``None`` and empty do not filter."""

    session_ids: tuple[str, ...] | None = None
    task_ids: tuple[str, ...] | None = None
    kind: str | None = None
    tags: tuple[str, ...] = ()
    include_superseded: bool = False
    phrases: tuple[str, ...] = ()
    """What must stand so, word for word, in what is found by words; vectors know nothing of it."""
    limit: int = 10
    """So many artifacts will do, at most a thousand; more may come back."""


@attrs.frozen
class Size:
    """How large a table is."""

    passages: int
    unindexed: int
    """How many of them are searched word by word, because the inverted index does not have them yet."""


class Table:
    """One generation of the index. Readers in any number, one writer at a time.

    Args:
        folder: The LanceDB database; it has one table.
        opened: LanceDB's table.
        dimensions: How long the vectors are; 0 for none.
    """

    def __init__(self, folder: Path, opened: Any, dimensions: int) -> None:
        self.folder = folder
        self.dimensions = dimensions
        self._table = opened

    @classmethod
    def make(cls, folder: Path, dimensions: int) -> Table:
        """Make an empty one."""
        connected = _connect(folder)
        with _door("make it"):
            table = run(connected.create_table(_TABLE, schema=_schema(dimensions)))
            for column, config in _indices().items():
                run(table.create_index(column, config=config, name=column))
        return cls(folder, table, dimensions)

    @classmethod
    def open(cls, folder: Path, dimensions: int) -> Table:
        """Open what is there.

        Raises:
            ArtifactIndexError: It cannot be opened, or is not what it should be.
        """
        connected = _connect(folder)
        with _door("open it"):
            table = run(connected.open_table(_TABLE))
            names = run(table.schema()).names
        if ("vector" in names) != bool(dimensions):
            raise ArtifactIndexError("open it", "its vectors are not those that were expected")
        return cls(folder, table, dimensions)

    # --- writing ------------------------------------------------------------

    @property
    def version(self) -> int:
        """LanceDB's number of the newest commit."""
        with _door("open it"):
            return int(run(self._table.version()))

    def replace(
        self,
        artifacts: Sequence[Artifact],
        rows: Sequence[dict[str, Any]],
        vectors: Any,
        epoch: int,
    ) -> None:
        """Put *rows* in place of whatever there is of *artifacts*, and mark what they supersede.

        Args:
            artifacts: Whose passages they are.
            rows: What `row` made.
            vectors: An array with a row for each, zeros for none; ``None`` for none at all.
            epoch: Kept with the rows, for `gather`.
        """
        from lancedb.expr import col

        own = col("artifact_id").isin([artifact.id for artifact in artifacts])
        older = [artifact.supersedes_id for artifact in artifacts if artifact.supersedes_id]
        stale = col("artifact_id").isin(older) & ~col("superseded")
        with _door("write it"):
            # Asked first: a write that changes nothing still costs a version.
            if artifacts and self._any(own):
                run(self._table.delete(own))
            if older and self._any(stale):
                run(self._table.update({"superseded": True, "epoch": epoch}, where=stale))
            if rows:
                run(self._table.add(_arrow(rows, vectors, epoch, self.dimensions)))

    def gather(self, epoch: int) -> None:
        """Bring what was written in *epoch* together in one file, in one commit: every write made a file, and reading slows with each."""
        from lancedb.expr import col, lit

        with _door("tidy it"):
            run(
                self._table.update(where=col("epoch") == lit(epoch), updates_sql={"epoch": "epoch"})
            )

    def size(self) -> Size:
        """Return how large it is."""
        with _door("open it"):
            stats = run(self._table.index_stats("words"))
        return Size(stats.num_indexed_rows + stats.num_unindexed_rows, stats.num_unindexed_rows)

    def tidy(self, trained: int) -> int:
        """Take all passages into the indices, merge files, and remove old versions. Costs as much as the table is large.

        Args:
            trained: With how many passages the vector index was trained; 0 when there is none.

        Returns:
            The same afterwards.
        """
        from lancedb.index import IvfSq

        with _door("tidy it"):
            count = self.size().passages if self.dimensions else 0
            parts = self._vector_parts() if count >= VECTOR_INDEX_FROM else None
            due = parts is not None and (
                parts == 0 or parts >= _VECTOR_PARTS or count >= trained * _TRAINED_FOR
            )
            if due and parts:
                # Only without its parts are all files merged, and files with passages deleted from them make training take minutes.
                run(self._table.drop_index("vector"))
            run(self._table.optimize(cleanup_older_than=_KEEP_VERSIONS))
            if due:
                run(
                    self._table.create_index(
                        "vector", config=IvfSq(distance_type="cosine"), name="vector"
                    )
                )
        return count if due else trained

    def _vector_parts(self) -> int:
        stats = run(self._table.index_stats("vector"))
        return 0 if stats is None else int(stats.num_indices or 1)

    def without_vectors(self) -> list[str]:
        """Return the ids of artifacts that have passages without a vector."""
        with _door("read it"):
            query = self._table.query().where("vector IS NULL").select(["artifact_id"])
            return list(dict.fromkeys(run(query.to_arrow())["artifact_id"].to_pylist()))

    def artifact_ids(self) -> dict[str, tuple[int, int, bool]]:
        """Return for each artifact how many passages it has here, how many it should have, and whether it is marked as superseded."""
        with _door("read it"):
            columns = ["artifact_id", "passages", "superseded"]
            rows = run(self._table.query().select(columns).to_arrow())
        found: dict[str, tuple[int, int, bool]] = {}
        for name, wanted, superseded in zip(
            *(rows[column].to_pylist() for column in columns), strict=True
        ):
            found[name] = (found.get(name, (0,))[0] + 1, wanted, superseded)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return everything it holds."""
        with _door("read it"):
            found: list[dict[str, Any]] = run(self._table.query().to_list())
        return found

    def _any(self, where: Any) -> bool:
        return bool(
            run(self._table.query().where(where).select(["artifact_id"]).limit(1).to_list())
        )

    # --- searching ----------------------------------------------------------

    def search(
        self, words: str | None, vector: Any, wanted: Wanted, width: int, *, exact: bool = False
    ) -> tuple[list[Found], list[Found]]:
        """Return up to *width* passages by words and as many by vector, the best first; both are looked for at once.

        Args:
            words: What to look for; every character is one of a word or of none. ``None``: do not look for words.
            vector: What to be near to; ``None``: do not look for vectors.
            wanted: The filter; it holds before ranking.
            width: How many passages of each kind.
            exact: Compare with every vector.
        """
        with _door("search it"):
            text, near = run(self._search(words, vector, wanted, width, exact=exact))
        by_text = [_found(row, score=row["_score"]) for row in text]
        return by_text, [
            _found(row, cosine=1 - row["_distance"]) for row in near if row["_distance"] is not None
        ]

    async def _search(
        self, words: str | None, vector: Any, wanted: Wanted, width: int, *, exact: bool
    ) -> list[Any]:
        # Nearness is judged by all passages that were found, so those found by their words bring their vectors with them.
        columns = [*_COLUMNS, "vector"] if vector is not None else [*_COLUMNS]
        condition = _condition(wanted)
        text = (
            self._by_words(words, wanted.phrases, condition, width, columns)
            if words
            else _nothing()
        )
        near = (
            self._by_vector(vector, condition, width, columns, exact=exact)
            if vector is not None
            else _nothing()
        )
        return list(await asyncio.gather(text, near))

    async def _by_words(
        self,
        words: str,
        phrases: Sequence[str],
        condition: str | None,
        width: int,
        columns: list[str],
    ) -> Any:
        from lancedb.query import BooleanQuery, MatchQuery, Occur, PhraseQuery

        # A match query takes words and no syntax: quotes, operators and brackets in a query are just not words.
        asked: Any = MatchQuery(words, "words")
        if phrases:
            asked = BooleanQuery(
                [
                    *((Occur.MUST, PhraseQuery(phrase, "words")) for phrase in phrases),
                    (Occur.SHOULD, asked),
                ]
            )
        query = self._table.query().nearest_to_text(asked)
        query = query if condition is None else query.where(condition)
        return _rows(await query.limit(width).select([*columns, "_score"]).to_arrow())

    async def _by_vector(
        self, vector: Any, condition: str | None, width: int, columns: list[str], *, exact: bool
    ) -> Any:
        query = self._table.query().nearest_to(vector).distance_type("cosine")
        # Refining compares the exact vectors of what the index found; without it the order within is a rough one.
        query = query.bypass_vector_index() if exact else query.nprobes(_PROBES).refine_factor(1)
        query = query if condition is None else query.where(condition)
        return _rows(await query.limit(width).select([*columns, "_distance"]).to_arrow())


async def _nothing() -> list[Any]:
    return []


def _rows(found: Any) -> list[dict[str, Any]]:
    """Return the rows of an Arrow table; vectors stay arrays, because lists of numbers cost more than the search."""
    if "vector" not in found.column_names:
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows
    vectors = found["vector"].to_numpy()
    return [
        {**row, "vector": vector}
        for row, vector in zip(found.drop_columns("vector").to_pylist(), vectors, strict=True)
    ]


def _found(row: dict[str, Any], *, score: float = 0.0, cosine: float | None = None) -> Found:
    return Found(
        artifact_id=row["artifact_id"],
        title=row["title"],
        start=row["start"],
        end=row["end"],
        text=row["words"][: row["end"] - row["start"]],
        passages=row["passages"],
        score=score,
        cosine=cosine,
        vector=row.get("vector"),
        superseded=row["superseded"],
    )


def row(artifact: Artifact, passage: passages.Passage, count: int) -> dict[str, Any]:
    """Return what is kept of one of an artifact's *count* passages."""
    return {
        "artifact_id": artifact.id,
        "session_id": artifact.session_id,
        "task_id": artifact.task_id or "",
        "kind": artifact.kind,
        "tags": list(artifact.tags),
        "superseded": artifact.superseded,
        "title": artifact.title,
        "passages": count,
        "start": passage.start,
        "end": passage.end,
        "words": passages.searchable(passage.text, artifact.title),
    }


def _schema(dimensions: int) -> Any:
    import pyarrow as pa

    texts = ("artifact_id", "session_id", "task_id", "kind", "title", "words")
    fields = [
        *((name, pa.string()) for name in texts),
        *((name, pa.int32()) for name in ("passages", "start", "end", "epoch")),
    ]
    fields += [("tags", pa.list_(pa.string())), ("superseded", pa.bool_())]
    return pa.schema(
        [*fields, ("vector", pa.list_(pa.float32(), dimensions))] if dimensions else fields
    )


def _arrow(rows: Sequence[dict[str, Any]], vectors: Any, epoch: int, dimensions: int) -> Any:
    import pyarrow as pa

    plain = pa.Table.from_pylist([{**row, "epoch": epoch} for row in rows], schema=_schema(0))
    if not dimensions:
        return plain
    if vectors is None:
        column = pa.nulls(len(rows), pa.list_(pa.float32(), dimensions))
    else:
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1)), dimensions, mask=pa.array(~vectors.any(axis=1))
        )
    return plain.append_column(_schema(dimensions).field("vector"), column)


def _indices() -> dict[str, Any]:
    """Return what is indexed from the beginning; the filters as well, or each of both ways of searching would read all of their columns."""
    from lancedb.index import FTS, Bitmap, LabelList

    words = FTS(with_position=True, max_token_length=_LONGEST_WORD)
    return {
        "words": words,
        "tags": LabelList(),
        **{name: Bitmap() for name in ("session_id", "task_id", "kind", "superseded")},
    }


def _condition(wanted: Wanted) -> str | None:
    among = {
        "session_id": wanted.session_ids,
        "task_id": wanted.task_ids,
        "kind": None if wanted.kind is None else (wanted.kind,),
    }
    parts = [
        f"{name} IN ({', '.join(map(_quoted, values))})" for name, values in among.items() if values
    ]
    # LanceDB's expressions know no function for lists.
    parts += [f"array_has(tags, {_quoted(tag)})" for tag in wanted.tags]
    parts += [] if wanted.include_superseded else ["NOT superseded"]
    return " AND ".join(parts) or None


def _quoted(text: str) -> str:
    """Return *text* as SQL writes it; a quote is all that must be doubled, backslashes stand for themselves."""
    return "'" + text.replace("'", "''") + "'"


# --- LanceDB itself ---------------------------------------------------------

_FOREIGN = (RuntimeError, ValueError, OSError, LookupError, TypeError)
"""What LanceDB and pyarrow raise: bare builtins, and subclasses of them."""


@contextmanager
def _door(doing: str) -> Iterator[None]:
    """Let no foreign error out."""
    try:
        yield
    except _FOREIGN as exc:
        raise _translated(doing, exc) from exc
    except BaseException as exc:
        # A panic in Rust is no Exception, but it is an error of the index all the same.
        if type(exc).__module__ != "pyo3_runtime":
            raise
        raise _translated(doing, exc) from exc


def _translated(doing: str, exc: BaseException) -> ArtifactIndexError:
    text = " ".join(str(exc).split()) or type(exc).__name__
    if any(f"os error {number}" in text for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)):
        return ArtifactIndexError(
            doing, "there is no room to write", "free some disk space and call again"
        )
    # The rest is paths of a build machine; the cause has it all.
    return ArtifactIndexError(
        doing, text if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS] + "…"
    )


def refuse_after_fork() -> None:
    """Raise in a process that was forked from one that had used LanceDB.

    Raises:
        ArtifactIndexError: With the remedy.
    """
    if _opened_by not in (None, os.getpid()):
        raise ArtifactIndexError(
            "use it in a forked process",
            f"process {_opened_by} used it before the fork, and LanceDB does not survive that",
            "start children with multiprocessing's 'spawn' or 'forkserver', or search in the parent",
        )


def lancedb() -> Any:
    """Import LanceDB: in silence, and without its thread."""
    global _opened_by  # noqa: PLW0603 - it belongs to the process, like the library's threads
    refuse_after_fork()
    with _importing:
        if _opened_by is None:
            _opened_by = os.getpid()
            theirs = "lancedb" in sys.modules
            # Read when the library is loaded; its warnings go to the host's stderr otherwise.
            quiet = "LANCEDB_LOG" not in os.environ
            os.environ.setdefault("LANCEDB_LOG", "error")
            try:
                import lancedb
            finally:
                if quiet:
                    os.environ.pop("LANCEDB_LOG", None)
            if not theirs:
                _stop_its_thread()
    import lancedb

    return lancedb


def _stop_its_thread() -> None:
    """Stop the thread that importing LanceDB starts; it starts again when somebody calls LanceDB's blocking functions, as we never do."""
    from lancedb import background_loop

    loop: Any = getattr(background_loop, "LOOP", None)
    if not isinstance(getattr(loop, "thread", None), threading.Thread) or not hasattr(
        type(loop), "_start"
    ):
        return  # another LanceDB than those we know

    class OnDemand(type(loop)):  # type: ignore[misc]
        """Starts with the first call."""

        def _start(self) -> None:  # LanceDB calls it in a forked child, where the thread is gone
            self.loop = self.thread = None

        def run(self, future: Any) -> Any:
            if self.thread is None:
                super()._start()
            return super().run(future)

    loop.loop.call_soon_threadsafe(loop.loop.stop)
    loop.thread.join()
    loop.loop.close()
    loop.loop = loop.thread = None
    loop.__class__ = OnDemand


def _connect(folder: Path) -> Any:
    library = lancedb()
    with _door("open it"):
        # Without the interval a table handle keeps showing the version it was opened at.
        return run(library.connect_async(str(folder), read_consistency_interval=timedelta(0)))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run *coroutine* to its end, without touching the signal handlers or the event loop of the caller.

    Where the calling thread is inside an event loop already, as in a notebook, it runs in a thread that ends before this returns.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_here(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_run_here, coroutine).result()


def _run_here(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(_awaited(coroutine))
        try:
            return loop.run_until_complete(task)
        except BaseException:
            # Interrupted: LanceDB's side is told to stop before the loop goes away under it.
            if not task.done():
                task.cancel()
                with contextlib.suppress(BaseException):
                    loop.run_until_complete(task)
            raise
    finally:
        loop.close()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
