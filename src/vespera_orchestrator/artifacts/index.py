"""The search index: a view that follows the event log, kept by LanceDB, and thrown away whenever in doubt.

On disk, below the index's folder::

    state.json          which generation counts, and up to which event it is complete
    <generation>/       a LanceDB database with one table of passages

One process writes at a time (a file lock). It reads ``artifact_saved`` events behind the cursor, brings their artifacts in by batches, and
moves the cursor after each. A batch takes its artifacts out before it puts them in, so a writer killed anywhere leaves an index that the
next one completes by doing the same again. Readers take no lock. An index made anew is a new generation, and counts from the moment
``state.json`` names it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import attrs

from vespera_orchestrator._sessions import translate_os_error, write_atomically
from vespera_orchestrator.artifacts import passages, ranking
from vespera_orchestrator.errors import ArtifactIndexError, ReadOnlyError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator._model import Artifact, Event
    from vespera_orchestrator._sessions import Scope
    from vespera_orchestrator.contracts import ContentStore

FORMAT = 1
"""Raised whenever passages are cut or stored differently: an index of another format is made anew."""

_TABLE = "passages"
_KINDS = ("artifact_saved",)
_EVENTS_AT_ONCE = 500
_BATCH_PASSAGES = 2000
_TIDY_PASSAGES = (250, 20_000)
"""So many passages are searched without the inverted index before it takes them in: the first in a small table, the second in a large one,
a fifth of the table in between. Taking them in costs as much as the table is large, so the share must grow with it."""
_TIDY_VERSIONS = 40
"""Every write is a version and a file; reads slow down, and the folder grows with their square."""
_KEEP_VERSIONS = timedelta(minutes=5)
"""A reader holds a version for the length of one query; removing younger ones fails it."""
_PATIENCE_S = 30.0
"""How long to wait for another process where nothing can be answered without it."""
_LONGEST_WORD = 65
"""Exclusive, so that a SHA-256 digest can be found."""
_WIDTHS = (200, 1000, 5000)
"""How many passages are fetched: more when one long artifact fills the first helping."""
_REASON_CHARACTERS = 200
_TAG_MARK = "\x1f"

_opened_by: int | None = None
"""The process that first used LanceDB here. Its threads do not survive a fork, and using them again ends in a segmentation fault."""


@attrs.frozen
class Wanted:
    """Which artifacts may be found. ``None`` and empty do not filter."""

    session_id: str | None = None
    task_id: str | None = None
    kind: str | None = None
    tags: tuple[str, ...] = ()
    include_superseded: bool = False
    limit: int = 10
    """So many artifacts will do, at most a thousand; more may come back."""


@attrs.frozen
class _State:
    generation: str
    """Name of the folder that counts."""
    cursor: int = 0
    """The last event that is taken in."""
    stamp: str = ""
    """That event in short, so that another log is noticed: a restored backup, another store."""
    version: int = 0
    """The table's version then; a lower one later means that files were lost."""
    tidied: int = 0
    """The table's version after the last tidying."""


class ArtifactIndex:
    """Passages of all text artifacts of one store. Any number of threads and processes may use it at once.

    Args:
        scope: Gives the home and the store.
        content: Gives the bytes.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content
        self._folder = scope.home.index
        self._open: tuple[str, Any] | None = None

    # following the log

    def catch_up(self, *, wait_s: float) -> int | None:
        """Take in every artifact that was saved since the last time.

        Args:
            wait_s: Seconds to wait while another process writes the index.

        Returns:
            How many artifacts were taken in; ``None`` when another process was writing all that time.

        Raises:
            ArtifactIndexError: It could neither be written nor made anew.
            ReadOnlyError: The home cannot be written.
        """
        _refuse_after_fork()
        if self._complete():
            return 0
        with self._writing(wait_s) as mine:
            return self._catch_up() if mine else None

    def rebuild(self, *, wait_s: float, instead_of: str | None = None) -> int | None:
        """Make the index anew from the artifacts; until it is complete, the old one is searched.

        Args:
            wait_s: Seconds to wait while another process writes the index.
            instead_of: Do so only if this generation still counts.

        Returns:
            How many artifacts were taken in; ``None`` when another process was writing all that time.
        """
        _refuse_after_fork()
        with self._writing(wait_s) as mine:
            if not mine:
                return None
            state = self._state()
            if instead_of is not None and state is not None and state.generation != instead_of:
                return 0
            return self._rebuild()

    def cursor(self) -> int | None:
        """Return the last event that is taken in; ``None`` when there is no index of this log."""
        state = self._state()
        return state.cursor if state is not None and self._same_log(state) else None

    def _complete(self) -> bool:
        state = self._state()
        if state is None:
            return self._nothing_after(0)
        return self._same_log(state) and self._nothing_after(state.cursor)

    def _nothing_after(self, cursor: int) -> bool:
        return not self._scope.store.events(cursor, kinds=_KINDS, limit=1)

    def _catch_up(self) -> int:
        state = self._usable()
        if state is None:
            state = self._begin()
            self._publish(state)
            return self._follow(state, publish=True)[1]
        try:
            return self._follow(state, publish=True)[1]
        except ArtifactIndexError:
            return self._rebuild()

    def _rebuild(self) -> int:
        state = self._begin()
        try:
            state, count = self._follow(state, publish=False)
        except BaseException:
            shutil.rmtree(self._folder / state.generation, ignore_errors=True)
            raise
        self._publish(state)
        return count

    def _follow(self, state: _State, *, publish: bool) -> tuple[_State, int]:
        table, count = self._table(state.generation), 0
        for last, artifacts, rows in self._batches(state.cursor):
            with _door("write it"):
                _replace(table, artifacts, rows)
                state = attrs.evolve(state, cursor=last.seq, stamp=_stamp(last), version=table.version)
            if publish:
                self._publish(state)
            count += len({row["artifact_id"] for row in rows})
        with _door("tidy it"):
            tidied = _tidy(table, state)
        if tidied != state and publish:
            self._publish(tidied)
        return tidied, count

    def _batches(self, cursor: int) -> Iterator[tuple[Event, list[Artifact], list[dict[str, Any]]]]:
        """Yield the last event of each batch, its artifacts and their passages: memory is bounded, whatever the log holds."""
        artifacts: list[Artifact] = []
        rows: list[dict[str, Any]] = []
        while events := self._scope.store.events(cursor, kinds=_KINDS, limit=_EVENTS_AT_ONCE):
            for event in events:
                artifact = self._scope.store.find_artifact(str(event.data["artifact"]))
                if artifact is not None:
                    artifacts.append(artifact)
                    rows += self._rows(artifact)
                if len(rows) >= _BATCH_PASSAGES or event is events[-1]:
                    yield event, artifacts, rows
                    artifacts, rows = [], []
            cursor = events[-1].seq

    def _rows(self, artifact: Artifact) -> list[dict[str, Any]]:
        if not passages.is_text(artifact.media_type):
            return []
        try:
            text = self._beginning(artifact)
        except StoreError:
            # One unreadable artifact must not stop all others from being found; verify() names it.
            return []
        cut = passages.split(text, artifact.media_type)
        shared = {
            "artifact_id": artifact.id,
            "session_id": artifact.session_id,
            "task_id": artifact.task_id or "",
            "kind": artifact.kind,
            "tags": _TAG_MARK + _TAG_MARK.join(artifact.tags) + _TAG_MARK,
            "superseded": artifact.superseded,
            "title": artifact.title,
            "passages": len(cut),
        }
        return [{**shared, "start": p.start, "end": p.end, "words": passages.searchable(p.text, artifact.title)} for p in cut]

    def _beginning(self, artifact: Artifact) -> str:
        most_bytes = 4 * passages.TEXT_CHARACTERS  # no character of UTF-8 takes more
        if artifact.size_bytes <= most_bytes:
            return self._content.read(artifact.digest).decode("utf-8", "replace")
        with self._content.open(artifact.digest) as stream:
            return stream.read(most_bytes).decode("utf-8", "replace")

    # generations

    def _state(self) -> _State | None:
        try:
            raw = json.loads((self._folder / "state.json").read_bytes())
            state = _State(**raw["state"]) if raw["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if state is None or not all(isinstance(number, int) for number in (state.cursor, state.version, state.tidied)):
            return None
        # Nothing but a name that we made may be joined to a path.
        sound = re.fullmatch(r"[0-9a-f]{16}", str(state.generation)) is not None
        return state if sound and (self._folder / state.generation).is_dir() else None

    def _same_log(self, state: _State) -> bool:
        if state.cursor == 0:
            return True
        event = next(iter(self._scope.store.events(state.cursor - 1, limit=1)), None)
        return event is not None and _stamp(event) == state.stamp

    def _usable(self) -> _State | None:
        """Return the state when the index it names opens, belongs to this log, and lost nothing since."""
        state = self._state()
        if state is None or not self._same_log(state):
            return None
        try:
            table = self._table(state.generation)
            with _door("open it"):
                return state if table.version >= state.version else None
        except ArtifactIndexError:
            return None

    def _begin(self) -> _State:
        """Make an empty index that does not count yet."""
        state = _State(secrets.token_hex(8))
        lancedb = _lancedb()
        from lancedb.index import FTS

        with _door("make it"):
            table = lancedb.connect(str(self._folder / state.generation)).create_table(_TABLE, schema=_schema())
            table.create_index("words", config=FTS(with_position=True, max_token_length=_LONGEST_WORD), name="words")
        return state

    def _publish(self, state: _State) -> None:
        """Make *state* the one that counts, and remove every generation but its own."""
        text = json.dumps({"format": FORMAT, "state": attrs.asdict(state)}, indent=1)
        try:
            write_atomically(self._folder / "state.json", text)
        except OSError as exc:
            raise translate_os_error(exc, self._folder) from exc
        for path in self._folder.iterdir():
            if path.is_dir() and path.name != state.generation:
                shutil.rmtree(path, ignore_errors=True)

    def _table(self, generation: str) -> Any:
        if self._open is None or self._open[0] != generation:
            lancedb = _lancedb()
            with _door("open it"):
                # Without the interval a table handle keeps showing the version it was opened at.
                database = lancedb.connect(str(self._folder / generation), read_consistency_interval=timedelta(0))
                self._open = generation, database.open_table(_TABLE)
        return self._open[1]

    @contextmanager
    def _writing(self, wait_s: float) -> Iterator[bool]:
        """Be the one writer; yields ``False`` when another process was it for *wait_s* seconds."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._scope.home.locks / "index.lock", timeout=wait_s)
        try:
            self._scope.home.locks.mkdir(parents=True, exist_ok=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            yield False
            return
        except OSError as exc:
            raise translate_os_error(exc, self._folder) from exc
        try:
            yield True
        finally:
            lock.release()

    # searching

    def search(self, query: str, wanted: Wanted, *, wait_s: float) -> list[ranking.Ranked]:
        """Find artifacts, the best first, each with its best passage.

        The index is brought up to date first. While another process does that, it is searched as it is after *wait_s* seconds; the
        same goes for a home that cannot be written. An index that turns out to be damaged is made anew, once.

        Raises:
            ArtifactIndexError: There is no index, and none could be made.
        """
        try:
            self.catch_up(wait_s=wait_s)
        except ReadOnlyError:
            if self._state() is None:
                raise
        state = self._state()
        try:
            return self._search(query, wanted)
        except ArtifactIndexError:
            # Damaged; or another process made it anew while we read, and then there is nothing to rebuild.
            if self.rebuild(wait_s=max(wait_s, _PATIENCE_S), instead_of=state.generation if state else None) is None:
                raise
            return self._search(query, wanted)

    def _search(self, query: str, wanted: Wanted) -> list[ranking.Ranked]:
        state = self._state()
        if state is None and self._nothing_after(0):
            return []
        if state is None:
            raise ArtifactIndexError("search it", "there is none yet, and another process is busy making it", "call again in a moment")
        table = self._table(state.generation)
        found: list[ranking.Found] = []
        for width in _WIDTHS:
            with _door("search it"):
                found = _passages(table, query, wanted, width)
            if len(found) < width or len({passage.artifact_id for passage in found}) >= wanted.limit:
                break
        return ranking.rank(query, found)


# --- LanceDB ----------------------------------------------------------------

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
        return ArtifactIndexError(doing, "there is no room to write", "free some disk space and call again")
    # The rest is paths of a build machine; the cause has it all.
    return ArtifactIndexError(doing, text if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS] + "…")


def _refuse_after_fork() -> None:
    if _opened_by not in (None, os.getpid()):
        raise ArtifactIndexError(
            "use it in a forked process",
            f"process {_opened_by} used it before the fork, and LanceDB does not survive that",
            "start children with multiprocessing's 'spawn' or 'forkserver', or search in the parent",
        )


def _lancedb() -> Any:
    """Import LanceDB, once, in silence."""
    global _opened_by  # noqa: PLW0603 - it belongs to the process, like the library's threads
    _refuse_after_fork()
    if _opened_by is None:
        _opened_by = os.getpid()
        # Read when the library is loaded; its warnings go to the host's stderr otherwise.
        quiet = "LANCEDB_LOG" not in os.environ
        os.environ.setdefault("LANCEDB_LOG", "error")
        try:
            import lancedb
        finally:
            if quiet:
                os.environ.pop("LANCEDB_LOG", None)
    import lancedb

    return lancedb


def _schema() -> Any:
    import pyarrow as pa

    texts = ("artifact_id", "session_id", "task_id", "kind", "tags", "title", "words")
    numbers = ("passages", "start", "end")
    return pa.schema([*((t, pa.string()) for t in texts), *((n, pa.int32()) for n in numbers), ("superseded", pa.bool_())])


def _replace(table: Any, artifacts: Sequence[Artifact], rows: Sequence[dict[str, Any]]) -> None:
    """Put *rows* in place of whatever there is of *artifacts*, and mark what they supersede."""
    import pyarrow as pa
    from lancedb.expr import col

    own = col("artifact_id").isin([artifact.id for artifact in artifacts])
    if artifacts and _any(table, own):
        table.delete(own)
    older = [artifact.supersedes_id for artifact in artifacts if artifact.supersedes_id]
    stale = col("artifact_id").isin(older) & ~col("superseded")
    if older and _any(table, stale):
        table.update(where=stale, values={"superseded": True})
    if rows:
        table.add(pa.Table.from_pylist(rows, schema=_schema()))


def _any(table: Any, where: Any) -> bool:
    """Tell whether a row matches; asked first, because a write that changes nothing still costs a version."""
    return bool(table.search().where(where).select(["artifact_id"]).limit(1).to_list())


def _tidy(table: Any, state: _State) -> _State:
    if state.version == 0:
        return state
    stats = table.index_stats("words")
    least, most = _TIDY_PASSAGES
    enough = min(max(least, stats.num_indexed_rows // 5), most)
    if stats.num_unindexed_rows < enough and table.version - state.tidied < _TIDY_VERSIONS:
        return state
    table.optimize(cleanup_older_than=_KEEP_VERSIONS)
    return attrs.evolve(state, version=table.version, tidied=table.version)


def _passages(table: Any, query: str, wanted: Wanted, width: int) -> list[ranking.Found]:
    from lancedb.query import MatchQuery

    # A match query takes words and no syntax: quotes, operators and brackets in a query are just not words.
    search = table.search(MatchQuery(passages.searchable(query), "words"), query_type="fts")
    condition = _condition(wanted)
    if condition is not None:
        search = search.where(condition, prefilter=True)
    columns = ["artifact_id", "title", "start", "end", "passages", "words", "_score"]
    return [
        ranking.Found(
            artifact_id=row["artifact_id"],
            title=row["title"],
            start=row["start"],
            end=row["end"],
            text=row["words"][: row["end"] - row["start"]],
            passages=row["passages"],
            score=row["_score"],
        )
        for row in search.limit(width).select(columns).to_list()
    ]


def _condition(wanted: Wanted) -> Any:
    from lancedb.expr import col, lit

    equal = {"session_id": wanted.session_id, "task_id": wanted.task_id, "kind": wanted.kind}
    parts = [col(name) == lit(value) for name, value in equal.items() if value is not None]
    parts += [col("tags").contains(lit(_TAG_MARK + tag + _TAG_MARK)) for tag in wanted.tags]
    if not wanted.include_superseded:
        parts.append(~col("superseded"))
    return reduce(lambda a, b: a & b, parts) if parts else None


def _stamp(event: Event) -> str:
    return f"{event.at.isoformat()} {event.kind} {event.session_id}"
