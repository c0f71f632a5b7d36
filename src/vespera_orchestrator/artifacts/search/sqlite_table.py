"""A table of some thousands of passages, in one SQLite file: words by FTS5, vectors by comparing.

It answers without loading anything heavy, not even numpy, and what was written is searched at once.
All vectors are compared by their signs, and the most promising ones number by number.

Every call has a connection of its own, which takes a fraction of a millisecond. So nothing is held
over a fork, and threads need not take turns.

The file has a rollback journal and no log: readers leave no trace in a folder that they may not
write. Every change is one transaction; a writer that was killed is rolled back by the next one.
"""

from __future__ import annotations

import heapq
import json
import sqlite3
import threading
import zlib
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.artifacts.search import vector_math
from vespera_orchestrator.artifacts.search.passages import STOP_WORDS, TERM
from vespera_orchestrator.artifacts.search.table import (
    IndexedArtifact,
    TableSize,
    match_of,
    words_of,
)
from vespera_orchestrator.errors import ArtifactIndexError
from vespera_orchestrator.home.files import create_file, translate_os_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from vespera_orchestrator._model import Artifact
    from vespera_orchestrator.artifacts.search.ranking import PassageMatch
    from vespera_orchestrator.artifacts.search.table import Row, SearchFilter

_FILE: Final = "passages.db"
_LOCK_WAIT_S: Final = 30.0
"""A writer keeps readers out for the length of one commit."""
_IN_USE: Final = "another process keeps it locked"
_PRIMARY_CODE: Final = 0xFF
_COMPRESSION_LEVEL: Final = 6
_LEAST_PACKED: Final = 100
"""Characters. Hardly any shorter text becomes shorter still."""
_WITHOUT_HEADER: Final = -zlib.MAX_WBITS
_COMPARED: Final = 800
"""How many vectors are compared number by number.

Among 2,600 they include 965 in 1,000 of the hundred nearest, and 998 of the ten nearest.
"""
_COMPARED_FOR_EACH: Final = 4
"""The same for each vector that is asked for, where that is more."""

_SCHEMA: Final = """
CREATE TABLE artifacts (
    number INTEGER PRIMARY KEY,
    artifact_id TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    tags TEXT NOT NULL,
    superseded INTEGER NOT NULL,
    title TEXT NOT NULL,
    passages INTEGER NOT NULL,
    gap TEXT NOT NULL
);
CREATE TABLE passages (
    number INTEGER PRIMARY KEY,
    artifact INTEGER NOT NULL,
    "start" INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    place TEXT NOT NULL,
    text NOT NULL,
    "before" NOT NULL
);
CREATE INDEX passages_of_artifact ON passages (artifact);
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY,
    length REAL NOT NULL,
    vector BLOB NOT NULL
);
CREATE TABLE signs (
    number INTEGER PRIMARY KEY,
    artifact INTEGER NOT NULL,
    signs BLOB NOT NULL
);
CREATE VIRTUAL TABLE inverted USING fts5(
    words, "before", content='', tokenize='porter unicode61 remove_diacritics 2'
);
"""
_ARTIFACT_COLUMNS: Final = (
    "artifact_id",
    "session_id",
    "task_id",
    "kind",
    "tags",
    "superseded",
    "title",
    "passages",
    "gap",
)
_JOINED: Final = "passages p JOIN artifacts a ON a.number = p.artifact"
_WITH_VECTORS: Final = f"{_JOINED} LEFT JOIN vectors v ON v.number = p.number"
_PASSAGE_COLUMNS: Final = ("start", "end", "place", "text", "before")
_PACKED: Final = ("text", "before")
"""Columns with compressed text. Short ones, which would not become shorter, are as they were."""
_ROW: Final = ", ".join([
    *[f"a.{name}" for name in _ARTIFACT_COLUMNS],
    *[f'p."{name}"' for name in _PASSAGE_COLUMNS],
])  # fmt: skip


@lru_cache(maxsize=1)
def is_available() -> bool:
    """Tell whether this interpreter's SQLite has FTS5; some builds leave it out."""
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(_SCHEMA)
    except sqlite3.Error:
        return False
    return True


class SQLiteTable:
    """A table of some thousands of passages; see `table.PassageTable`.

    Args:
        folder: Where its file is.
        readonly: Whether to leave even a killed writer's traces alone.
    """

    def __init__(self, folder: Path, *, readonly: bool = False) -> None:
        self._path = folder / _FILE
        self._mode = "ro" if readonly else "rw"

    @classmethod
    def create(cls, folder: Path) -> SQLiteTable:
        """Create an empty one in *folder*."""
        table = cls(folder)
        try:
            create_file(table._path)
        except OSError as exc:
            raise translate_os_error(exc, folder) from exc
        table.create_schema()
        return table

    def create_schema(self) -> None:
        """Make what is empty a table."""
        with self._writing("create it") as connection:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)

    # --- writing ------------------------------------------------------------

    @property
    def version(self) -> int:
        """How many transactions have changed it."""
        with self._reading("open it") as connection:
            return _version(connection)

    def replace(
        self,
        artifacts: Sequence[Artifact],
        rows: Sequence[Row],
        vectors: Any,
        epoch: int,  # noqa: ARG002 - for tables that are optimized
        *,
        superseded: Sequence[str] = (),
    ) -> None:
        """See `table.PassageTable.replace`. All of it is one transaction."""
        older = [artifact.supersedes_id for artifact in artifacts if artifact.supersedes_id]
        with self._writing("write it") as connection:
            for artifact in artifacts:
                _remove(connection, artifact.id)
            connection.executemany(
                "UPDATE artifacts SET superseded = 1 WHERE artifact_id = ?",
                [(name,) for name in (*older, *superseded)],
            )
            numbers = _add(connection, rows)
            if vectors is not None:
                _add_vectors(connection, numbers, vectors)

    # --- reading ------------------------------------------------------------

    def size(self) -> TableSize:
        """Return how large it is."""
        with self._reading("open it") as connection:
            (count,) = connection.execute("SELECT count(*) FROM passages").fetchone()
        return TableSize(passages=count)

    def artifacts(self) -> dict[str, IndexedArtifact]:
        """Return what it has of each artifact, by id."""
        counted = f"""
            SELECT a.artifact_id, count(*), a.passages, a.superseded, a.gap FROM {_JOINED}
            GROUP BY a.number
        """
        with self._reading("read it") as connection:
            rows = connection.execute(counted).fetchall()
        return {
            artifact_id: IndexedArtifact(
                passages=count, expected_passages=expected, superseded=bool(superseded), gap=gap
            )
            for artifact_id, count, expected, superseded, gap in rows
        }

    def artifacts_without_vectors(self) -> list[str]:
        """Return the ids of artifacts that have passages without a vector."""
        lacking = f"SELECT DISTINCT a.artifact_id FROM {_WITH_VECTORS} WHERE v.number IS NULL"
        with self._reading("read it") as connection:
            return [artifact_id for (artifact_id,) in connection.execute(lacking)]

    def rows(self) -> list[Row]:
        """Return everything it has."""
        everything = f"SELECT {_ROW}, v.vector FROM {_WITH_VECTORS} ORDER BY p.number"
        with self._reading("read it") as connection:
            return [self._row(values) for values in connection.execute(everything)]

    def search(
        self, words: str | None, vector: Any, filters: SearchFilter, width: int
    ) -> tuple[list[PassageMatch], list[PassageMatch]]:
        """See `table.PassageTable.search`."""
        with self._reading("search it") as connection:
            scores = _scores(connection, words, filters, width)
            cosines = _cosines(connection, vector, filters, width)
            numbers = {*scores, *cosines}
            rows = self._rows_of(connection, numbers, with_vectors=vector is not None)
        text_matches = [match_of(rows[number], score=score) for number, score in scores.items()]
        vector_matches = [
            match_of(rows[number], cosine=cosine) for number, cosine in cosines.items()
        ]
        return text_matches, vector_matches

    def _rows_of(
        self, connection: sqlite3.Connection, numbers: set[int], *, with_vectors: bool
    ) -> dict[int, Row]:
        vector, tables = ("v.vector", _WITH_VECTORS) if with_vectors else ("NULL", _JOINED)
        chosen = f"""
            SELECT {_ROW}, {vector}, p.number FROM {tables}
            WHERE p.number IN (SELECT value FROM json_each(?))
        """
        rows = connection.execute(chosen, (_listed(numbers),))
        return {number: self._row(values) for *values, number in rows}

    def _row(self, values: Sequence[Any]) -> Row:
        *columns, vector = values
        row: Row = dict(zip((*_ARTIFACT_COLUMNS, *_PASSAGE_COLUMNS), columns, strict=True))
        row |= {"tags": json.loads(row["tags"]), "superseded": bool(row["superseded"])}
        row |= {name: _unpacked(row[name]) for name in _PACKED}
        row["vector"] = None if vector is None else vector_math.from_bytes(vector)
        return row

    # --- connections --------------------------------------------------------

    @contextmanager
    def _reading(self, action: str) -> Iterator[sqlite3.Connection]:
        """Read as of one moment."""
        with _translated_errors(action), self._connected() as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def _writing(self, action: str) -> Iterator[sqlite3.Connection]:
        """Change it in one transaction, which counts as one version."""
        with _translated_errors(action), self._connected() as connection:
            # Otherwise readers would wait for the whole transaction, and not only for its commit.
            connection.execute("PRAGMA cache_spill = OFF")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute(f"PRAGMA user_version = {_version(connection) + 1}")
            connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open the file, and close it again; what was not committed is rolled back."""
        uri = f"{self._path.absolute().as_uri()}?mode={self._mode}"
        connection = sqlite3.connect(uri, uri=True, timeout=_LOCK_WAIT_S, isolation_level=None)
        with closing(connection):
            yield connection

    def copy(self) -> SQLiteTable:
        """Return a copy of it in memory, for this process alone."""
        memory = _in_memory()
        with self._reading("read it") as connection:
            connection.backup(memory)
        return _TableInMemory(memory)


class _TableInMemory(SQLiteTable):
    """A table that ends with its process.

    Args:
        connection: To the database that holds it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            try:
                yield self._connection
            finally:
                self._connection.rollback()


def table_in_memory() -> SQLiteTable:
    """Return an empty table that ends with this process.

    Raises:
        ArtifactIndexError: This interpreter's SQLite has no FTS5.
    """
    table = _TableInMemory(_in_memory())
    table.create_schema()
    return table


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


# --- rows -------------------------------------------------------------------


def _remove(connection: sqlite3.Connection, artifact_id: str) -> None:
    own = f'SELECT p.number, a.title, p.text, p."before" FROM {_JOINED} WHERE a.artifact_id = ?'
    for number, title, text, before in connection.execute(own, (artifact_id,)).fetchall():
        row = {"title": title, "text": _unpacked(text), "before": _unpacked(before)}
        # FTS5 keeps no copy of the text, and has to be told what to take out.
        connection.execute(
            """
            INSERT INTO inverted (inverted, rowid, words, "before") VALUES ('delete', ?, ?, ?)
            """,
            (number, *_indexed_words(row)),
        )
        for table in ("passages", "vectors", "signs"):
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))
    connection.execute("DELETE FROM artifacts WHERE artifact_id = ?", (artifact_id,))


def _add(connection: sqlite3.Connection, rows: Sequence[Row]) -> range:
    """Add *rows*, and return their numbers."""
    artifacts = _add_artifacts(connection, rows)
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM passages").fetchone()
    numbers = range(last + 1, last + 1 + len(rows))
    connection.executemany(
        """
        INSERT INTO passages (number, artifact, "start", "end", place, text, "before")
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        [
            (
                number,
                artifacts[row["artifact_id"]],
                *(row["start"], row["end"], row["place"]),
                *(_packed(row[name]) for name in _PACKED),
            )
            for number, row in zip(numbers, rows, strict=True)
        ],
    )
    connection.executemany(
        'INSERT INTO inverted (rowid, words, "before") VALUES (?, ?, ?)',
        ((number, *_indexed_words(row)) for number, row in zip(numbers, rows, strict=True)),
    )
    return numbers


def _add_artifacts(connection: sqlite3.Connection, rows: Sequence[Row]) -> dict[str, int]:
    """Add the artifacts of *rows*, and return the number of each by its id."""
    columns, places = ", ".join(_ARTIFACT_COLUMNS), ", ".join("?" * len(_ARTIFACT_COLUMNS))
    statement = f"INSERT INTO artifacts ({columns}) VALUES ({places}) RETURNING number"
    numbers: dict[str, int] = {}
    for row in rows:
        if row["artifact_id"] not in numbers:
            artifact = {**row, "tags": json.dumps(row["tags"])}
            values = [artifact[name] for name in _ARTIFACT_COLUMNS]
            (numbers[row["artifact_id"]],) = connection.execute(statement, values).fetchone()
    return numbers


def _add_vectors(connection: sqlite3.Connection, numbers: range, vectors: Any) -> None:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1).tolist()
    signs = vector_math.all_signs(vectors)
    made = [place for place, length in enumerate(lengths) if length]
    connection.executemany(
        "INSERT INTO vectors (number, length, vector) VALUES (?, ?, ?)",
        [(numbers[place], lengths[place], vectors[place].tobytes()) for place in made],
    )
    connection.executemany(
        """
        INSERT INTO signs (number, artifact, signs)
        SELECT number, artifact, ? FROM passages WHERE number = ?
        """,
        [(signs[place], numbers[place]) for place in made],
    )


def _indexed_words(row: Row) -> tuple[str, str]:
    """Return the words of its two columns: FTS5 has no list of stop words of its own."""
    return " ".join(_terms(words_of(row))), " ".join(_terms(row["before"]))


def _packed(text: str) -> bytes | str:
    if len(text) < _LEAST_PACKED:
        return text
    packed = zlib.compress(text.encode(), _COMPRESSION_LEVEL, _WITHOUT_HEADER)
    return packed if len(packed) < len(text) else text


def _unpacked(stored: bytes | str) -> str:
    if isinstance(stored, str):
        return stored
    return zlib.decompress(stored, _WITHOUT_HEADER).decode()


# --- queries ----------------------------------------------------------------


def _scores(
    connection: sqlite3.Connection, words: str | None, filters: SearchFilter, width: int
) -> dict[int, float]:
    """Return how well the best passages match *words*, by number, the best first."""
    expression = _expression(words or "", filters)
    if not expression:
        return {}
    condition, values = _condition(filters)
    matching = f"""
        SELECT p.number, -inverted.rank
        FROM inverted JOIN passages p ON p.number = inverted.rowid
        JOIN artifacts a ON a.number = p.artifact
        WHERE inverted MATCH ? {condition} ORDER BY inverted.rank LIMIT ?
    """
    return dict(connection.execute(matching, (expression, *values, width)).fetchall())


def _cosines(
    connection: sqlite3.Connection, vector: Any, filters: SearchFilter, width: int
) -> dict[int, float]:
    """Return how near the nearest passages are to *vector*, by number, the nearest first."""
    if vector is None:
        return {}
    numbers = _most_agreeing(connection, vector, filters, _compared(width))
    chosen = """
        SELECT number, length, vector FROM vectors
        WHERE number IN (SELECT value FROM json_each(?))
    """
    own_length = vector_math.length(vector)
    cosines: list[tuple[float, int]] = []
    for number, length, blob in connection.execute(chosen, (_listed(numbers),)):
        product = vector_math.dot(vector, vector_math.from_bytes(blob))
        cosines.append((product / (own_length * length), number))
    cosines.sort(key=lambda entry: (-entry[0], entry[1]))
    return {number: cosine for cosine, number in cosines[:width]}


def _compared(width: int) -> int:
    return max(_COMPARED, _COMPARED_FOR_EACH * width)


def _most_agreeing(
    connection: sqlite3.Connection, vector: Any, filters: SearchFilter, count: int
) -> list[int]:
    """Return the passages whose vectors agree with *vector* in the most signs."""
    condition, values = _condition(filters)
    compared = f"""
        SELECT s.number, s.signs FROM signs s
        WHERE s.artifact IN (SELECT a.number FROM artifacts a WHERE true {condition})
    """
    wanted = int.from_bytes(vector_math.signs(vector), "big")
    differing = [
        ((int.from_bytes(signs, "big") ^ wanted).bit_count(), number)
        for number, signs in connection.execute(compared, values)
    ]
    return [number for _, number in heapq.nsmallest(count, differing)]


def _listed(numbers: Iterable[int]) -> str:
    return json.dumps(sorted(numbers))


def _expression(words: str, filters: SearchFilter) -> str:
    """Return what FTS5 is to match; no character of a query is syntax between its quotes."""
    terms = _terms(words)
    if not terms:
        return ""
    required = [f'words : "{" ".join(_terms(phrase))}"' for phrase in filters.phrases]
    any_word = " OR ".join(f'"{term}"' for term in terms)
    columns = "" if filters.with_before else "words : "
    return " AND ".join([*required, f"{columns}({any_word})"])


def _terms(text: str) -> list[str]:
    """Return the words of *text* that say something, as often as they occur."""
    return list(filterfalse(STOP_WORDS.__contains__, TERM.findall(text.lower())))


def _condition(filters: SearchFilter) -> tuple[str, list[str]]:
    """Return what *filters* say in SQL, to go on with, and the values in it."""
    parts: list[str] = []
    values: list[str] = []
    kinds = (filters.kind,) if filters.kind is not None else None
    for column, wanted in (
        ("session_id", filters.session_ids),
        ("task_id", filters.task_ids),
        ("kind", kinds),
    ):
        if wanted:
            parts.append(f"AND a.{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(wanted))
    for tag in filters.tags:
        parts.append("AND ? IN (SELECT value FROM json_each(a.tags))")
        values.append(tag)
    if not filters.include_superseded:
        parts.append("AND NOT a.superseded")
    return " ".join(parts), values


# --- errors -----------------------------------------------------------------


@contextmanager
def _translated_errors(action: str) -> Iterator[None]:
    """Turn every error of SQLite into one of ours.

    Raises:
        ArtifactIndexError: In place of SQLite's, which is its cause.
    """
    try:
        yield
    except sqlite3.Error as exc:
        raise _translated(action, exc) from exc


def _translated(action: str, exc: sqlite3.Error) -> ArtifactIndexError:
    code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code == sqlite3.SQLITE_IOERR_WRITE or code & _PRIMARY_CODE == sqlite3.SQLITE_FULL:
        remedy = "free some disk space and call again"
        return ArtifactIndexError(action, "there is no room to write", remedy)
    if code & _PRIMARY_CODE == sqlite3.SQLITE_BUSY:
        return ArtifactIndexError(action, _IN_USE, "call again in a moment")
    return ArtifactIndexError(action, str(exc))
