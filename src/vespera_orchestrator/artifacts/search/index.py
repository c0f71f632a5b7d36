"""The search index: a view that follows the event log, kept by LanceDB, and thrown away whenever in doubt.

On disk, below the index's folder::

    state.json          which generation counts, up to which event it is complete, and whose vectors it has
    <generation>/       a LanceDB database with one table of passages

One process writes at a time (a file lock). It reads ``artifact_saved`` events behind the cursor, brings their artifacts in by batches, and
moves the cursor after each. A batch takes its artifacts out before it puts them in, so a writer killed anywhere leaves an index that the
next one completes by doing the same again. Readers take no lock. An index made anew is a new generation, and counts from the moment
``state.json`` names it.

All vectors of a generation come from one embedder. Another embedder makes another generation; a writer that cannot reach the generation's
own embedder leaves its vectors out, and says so in ``state.json`` for the next one that can.
"""

from __future__ import annotations

import json
import logging
import math
import re
import secrets
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs

from vespera_orchestrator._model import ArtifactQuery, Finding, FindingKind, Severity
from vespera_orchestrator.artifacts.search import embedders, passages, ranking
from vespera_orchestrator.artifacts.search.table import Size, Table, Wanted, refuse_after_fork, row
from vespera_orchestrator.errors import (
    ArtifactIndexError,
    EmbedderError,
    InvalidInputError,
    MissingDependencyError,
    ReadOnlyError,
    StoreError,
)
from vespera_orchestrator.home.files import translate_os_error, write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vespera_orchestrator._model import Artifact, Event
    from vespera_orchestrator.contracts import ContentStore, Embedder
    from vespera_orchestrator.home.scope import Scope

log = logging.getLogger("vespera_orchestrator")

Mode = Literal["hybrid", "text", "vector"]

FORMAT = 3
"""Raised whenever passages are cut or stored differently: an index of another format is made anew."""

_KINDS = ("artifact_saved",)
_EVENTS_AT_ONCE = 500
_BATCH_PASSAGES = 2000
_TIDY_LEAST = 250
_TIDY_ROOT = 8
"""So many times the square root of the table is searched word by word before the indices take it in. Taking in costs as much as the table
is large, and waiting costs every search: the square root keeps both growing slowly."""
_WAITING_S = 50e-6
_TAKING_IN_S, _TAKING_IN_LEAST_S = 20e-6, 0.3
"""What each passage that waits costs each search, and what taking them in costs for each that there is, and at least."""
_GATHER_VERSIONS = 30
"""Every write is a file; so many are brought together in one, which costs as much as they hold."""
_TIDY_VERSIONS = 2000
"""Every write leaves a version that only tidying removes."""
_PATIENCE_S = 30.0
"""How long to wait for another process where nothing can be answered without it."""
_RETRY_EMBEDDER_S = 60.0
"""An embedder that failed is left alone for so long: it may be a server that does not answer."""
_WIDTHS = (100, 1000, 5000)
"""How many passages are fetched: more when one long artifact fills the first helping."""


@attrs.frozen(kw_only=True)
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
    gathered: int = 0
    """The table's version after small files were last brought together."""
    epoch: int = 0
    """How often it was tidied; rows carry the number under which they were written."""
    embedder: str = ""
    """Whose vectors it has; empty for none."""
    dimensions: int = 0
    bare: bool = False
    """Whether passages are without a vector because the embedder could not be reached when they were written."""
    trained: int = 0
    """With how many passages the vector index was trained; 0: there is none, every vector is compared."""


_BLANK = _State(generation="")
"""What is read from ``state.json`` has the types of this."""


@attrs.frozen(repr=False, kw_only=True)
class IndexStatus:
    """What the search index has."""

    passages: int
    behind: int
    """How many artifacts were saved since it was last brought up to date; the next search takes them in."""
    embedder: str | None
    """Whose vectors it has; ``None`` when words alone are searched."""
    note: str
    """What is to be known or done about vectors; empty when they are there and all is well."""

    def __str__(self) -> str:
        by = f"words and vectors ({self.embedder})" if self.embedder else "words alone"
        behind = f", {self.behind} artifacts behind" if self.behind else ""
        return f"{self.passages:,} passages{behind}, searched by {by}{f': {self.note}' if self.note else ''}"

    def __repr__(self) -> str:
        return str(self)


@attrs.frozen
class Answer:
    """What a search found, and how it went about it."""

    ranked: tuple[ranking.Ranked, ...]
    mode: Mode


class ArtifactIndex:
    """Passages of all text artifacts of one store. Any number of threads and processes may use it at once.

    Args:
        scope: Gives the home, the store, and which embedder is wanted.
        content: Gives the bytes.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content
        self._folder = scope.home.index
        self._open: tuple[str, Table] | None = None
        self._chosen: tuple[Embedder | None] | None = None
        self._rest_until = 0.0
        self._lost_s = 0.0
        """What searches have lost so far to passages that wait for the indices."""
        self._size: tuple[str, int, Size] | None = None

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
            MissingDependencyError: The embedder that was named is not installed.
        """
        refuse_after_fork()
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
        refuse_after_fork()
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
        return (
            self._same_log(state)
            and self._nothing_after(state.cursor)
            and not self._vectors_due(state)
        )

    def _nothing_after(self, cursor: int) -> bool:
        return not self._scope.store.events(cursor, kinds=_KINDS, limit=1)

    def _catch_up(self) -> int:
        state = self._usable()
        if state is None or self._other_embedder(state):
            if state is None and self._state() is None and self._nothing_after(0):
                return 0
            return self._rebuild(publish=state is None)
        try:
            filled = self._filled(state)
            if filled != state:
                self._publish(filled)
            return self._follow(filled, publish=True)[1]
        except ArtifactIndexError:
            return self._rebuild()

    def _rebuild(self, *, publish: bool = False) -> int:
        """Make a new generation; with *publish* it counts at once, because there is nothing to search until it is complete."""
        state = self._begin()
        if publish:
            self._publish(state)
            return self._follow(state, publish=True)[1]
        try:
            state, count = self._follow(state, publish=False)
        except BaseException:
            shutil.rmtree(self._folder / state.generation, ignore_errors=True)
            raise
        self._publish(state)
        return count

    def _follow(self, state: _State, *, publish: bool) -> tuple[_State, int]:
        table, count = self._table(state), 0
        for last, artifacts, rows in self._batches(state.cursor):
            vectors = self._vectors(state, rows)
            table.replace(artifacts, rows, vectors, state.epoch)
            bare = state.bare or (bool(state.dimensions and rows) and vectors is None)
            state = attrs.evolve(
                state, cursor=last.seq, stamp=_stamp(last), version=table.version, bare=bare
            )
            if publish:
                self._publish(state)
            count += len({entry["artifact_id"] for entry in rows})
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
        return [row(artifact, passage, len(cut)) for passage in cut]

    def _beginning(self, artifact: Artifact) -> str:
        most_bytes = 4 * passages.TEXT_CHARACTERS  # no character of UTF-8 takes more
        if artifact.size_bytes <= most_bytes:
            return self._content.read(artifact.digest).decode("utf-8", "replace")
        with self._content.open(artifact.digest) as stream:
            return stream.read(most_bytes).decode("utf-8", "replace")

    def status(self) -> IndexStatus:
        """Return what there is; nothing is changed."""
        refuse_after_fork()
        state = self._state()
        count = self._table(state).size().passages if state is not None else 0
        behind = len(
            self._scope.store.events(state.cursor if state else 0, kinds=_KINDS, limit=None)
        )
        usable = (
            state is not None
            and self.embedder is not None
            and self.embedder.identity == state.embedder
        )
        return IndexStatus(
            passages=count,
            behind=behind,
            embedder=state.embedder if state and usable else None,
            note=self._note(state),
        )

    def _note(self, state: _State | None) -> str:
        if self.embedder is None:
            off = self._scope.embedder == embedders.NONE
            return "vectors are switched off" if off else f"for vectors: {embedders.INSTALL_STATIC}"
        if state is not None and self.embedder.identity != state.embedder:
            return f"the next search makes the vectors of {self.embedder.identity}"
        return (
            "some vectors could not be made and are tried again"
            if state is not None and state.bare
            else ""
        )

    def verify(self) -> list[Finding]:
        """Compare the index with the artifacts; one finding for each difference.

        There is none while no index exists yet. Artifacts saved since the index was last brought
        up to date do not count.
        """
        refuse_after_fork()
        state = self._state()
        if state is None:
            return []
        indexed = self._table(state).artifact_ids()
        unread = self._saved_after(state.cursor)
        findings = []
        known = set(unread)
        superseded_since = {a.supersedes_id for a in unread.values() if a is not None}
        for artifact in self._scope.store.artifacts(ArtifactQuery(include_superseded=True)):
            known.add(artifact.id)
            if artifact.id in unread:
                continue
            problem = self._difference(artifact, indexed.get(artifact.id), superseded_since)
            if problem:
                findings.append(_difference_finding(artifact.id, problem))
        strangers = [
            _difference_finding(name, f"it has passages of {name}, but no such artifact exists")
            for name in indexed
            if name not in known
        ]
        return strangers + findings

    def _saved_after(self, cursor: int) -> dict[str, Artifact | None]:
        """Return what was saved after event *cursor*, by id; ``None`` for what is gone since."""
        events = self._scope.store.events(cursor, kinds=_KINDS, limit=None)
        names = [str(event.data["artifact"]) for event in events]
        return {name: self._scope.store.find_artifact(name) for name in names}

    def _difference(
        self,
        artifact: Artifact,
        indexed: tuple[int, int, bool] | None,
        superseded_since: set[str | None],
    ) -> str:
        """Say how the passages of *artifact* differ from what they should be; empty if not."""
        name = f"artifact {artifact.id} {artifact.title!r}"
        if indexed is None:
            return f"it has no passage of {name}" if self._rows(artifact) else ""
        passages_there, passages_due, superseded = indexed
        if passages_there != passages_due:
            return f"it has {passages_there} of {passages_due} passages of {name}"
        if superseded != artifact.superseded and artifact.id not in superseded_since:
            return f"it disagrees with the store on whether {name} is superseded"
        return ""

    # vectors

    @property
    def embedder(self) -> Embedder | None:
        """What makes vectors here; ``None`` when words alone are searched.

        Raises:
            MissingDependencyError: The one that was named is not installed.
            InvalidInputError: There is none of its name.
        """
        if self._chosen is None:
            self._chosen = (embedders.choose(self._scope.embedder),)
        return self._chosen[0]

    def _other_embedder(self, state: _State) -> bool:
        """Tell whether the index must be made anew for the sake of its vectors."""
        if self.embedder is None:
            # Not being installed here is no reason to take away what others use; being switched off is.
            return bool(state.embedder) and self._scope.embedder == embedders.NONE
        return self.embedder.identity != state.embedder and bool(self._dimensions())

    def _vectors_due(self, state: _State) -> bool:
        return self._other_embedder(state) or (state.bare and self._reachable(state))

    def _reachable(self, state: _State) -> bool:
        """Tell whether vectors of this index can be made here, as far as is known."""
        return (
            self.embedder is not None
            and self.embedder.identity == state.embedder
            and time.monotonic() >= self._rest_until
        )

    def _dimensions(self) -> int:
        """Return how long the vectors are; 0 without an embedder, or while it cannot be reached."""
        if self.embedder is None or time.monotonic() < self._rest_until:
            return 0
        try:
            return embedders.dimensions(self.embedder)
        except EmbedderError as exc:
            self._rest(exc)
            return 0

    def _rest(self, exc: Exception) -> None:
        self._rest_until = time.monotonic() + _RETRY_EMBEDDER_S
        log.warning("searching by words alone for a while: %s", exc)

    def _vectors(self, state: _State, rows: Sequence[dict[str, Any]]) -> Any:
        """Return a vector for each of *rows*; ``None`` when the index has none, or they cannot be made now."""
        if not rows or self.embedder is None or not self._reachable(state):
            return None
        try:
            return embedders.embed(
                self.embedder, [f"{entry['title']}\n{_passage_of(entry)}" for entry in rows]
            )
        except EmbedderError as exc:
            self._rest(exc)
            return None

    def _query_vector(self, state: _State, query: str, mode: Mode | None) -> Any:
        if mode == "text":
            return None
        if mode == "vector":
            return embedders.embed_query(self._needed(state), query)
        if not self._reachable(state) or self.embedder is None:
            return None
        try:
            return embedders.embed_query(self.embedder, query)
        except EmbedderError as exc:
            self._rest(exc)
            return None

    def _needed(self, state: _State) -> Embedder:
        if self.embedder is None and self._scope.embedder == embedders.NONE:
            raise InvalidInputError(
                "mode",
                "'vector' needs an embedder, and it is switched off: open with embedder='auto'",
            )
        if self.embedder is None:
            raise MissingDependencyError(
                "searching by vectors", embedders.STATIC, embedders.INSTALL_STATIC
            )
        if self.embedder.identity != state.embedder:
            raise EmbedderError(
                "search by vectors",
                f"there are none of {self.embedder.identity} yet",
                "call again in a moment",
            )
        return self.embedder

    def _filled(self, state: _State) -> _State:
        """Make the vectors that could not be made when their passages were written."""
        if not state.bare or not self._reachable(state):
            return state
        table = self._table(state)
        lacking = table.without_vectors()
        artifacts: list[Artifact] = []
        rows: list[dict[str, Any]] = []
        for number, artifact_id in enumerate(lacking, 1):
            artifact = self._scope.store.find_artifact(artifact_id)
            if artifact is not None:
                artifacts.append(artifact)
                rows += self._rows(artifact)
            if len(rows) >= _BATCH_PASSAGES or number == len(lacking):
                vectors = self._vectors(state, rows)
                if rows and vectors is None:
                    return state
                table.replace(artifacts, rows, vectors, state.epoch)
                artifacts, rows = [], []
        return attrs.evolve(state, version=table.version, bare=False)

    # generations

    def _state(self) -> _State | None:
        try:
            raw = json.loads((self._folder / "state.json").read_bytes())
            state = _State(**raw["state"]) if raw["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if state is None or any(
            type(getattr(state, field.name)) is not type(getattr(_BLANK, field.name))
            for field in attrs.fields(_State)
        ):
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
            return state if self._table(state).version >= state.version else None
        except ArtifactIndexError:
            return None

    def _begin(self) -> _State:
        """Make an empty index that does not count yet."""
        dimensions = self._dimensions()
        identity = self.embedder.identity if self.embedder is not None and dimensions else ""
        state = _State(generation=secrets.token_hex(8), embedder=identity, dimensions=dimensions)
        Table.make(self._folder / state.generation, dimensions)
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

    def _table(self, state: _State) -> Table:
        if self._open is None or self._open[0] != state.generation:
            self._open = (
                state.generation,
                Table.open(self._folder / state.generation, state.dimensions),
            )
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

    def search(
        self, query: str, wanted: Wanted, *, wait_s: float, mode: Mode | None = None
    ) -> Answer:
        """Find artifacts, the best first, each with its best passage.

        The index is brought up to date first. While another process does that, it is searched as it is after *wait_s* seconds; the
        same goes for a home that cannot be written. An index that turns out to be damaged is made anew, once.

        Args:
            query: What to look for.
            wanted: Which artifacts may be found.
            wait_s: Seconds to wait while another process writes the index.
            mode: By words, by vectors, or by both; ``None`` and ``"hybrid"`` go by words where there are no vectors.

        Raises:
            ArtifactIndexError: There is no index, and none could be made.
            MissingDependencyError: Vectors alone were asked for, or an embedder named, and it is not installed.
        """
        try:
            self.catch_up(wait_s=wait_s)
        except ReadOnlyError:
            if self._state() is None:
                raise
        state = self._state()
        try:
            answer = self._search(query, wanted, mode)
        except EmbedderError:
            raise
        except ArtifactIndexError:
            # Damaged; or another process made it anew while we read, and then there is nothing to rebuild.
            if (
                self.rebuild(
                    wait_s=max(wait_s, _PATIENCE_S), instead_of=state.generation if state else None
                )
                is None
            ):
                raise
            return self._search(query, wanted, mode)
        if mode != "vector":
            self._relieve()
        return answer

    def _relieve(self) -> None:
        """Take into the indices what waits for them once reading it in every search has cost as much: no more than twice the least."""
        state = self._state()
        if state is None:
            return
        try:
            if self._size is None or self._size[:2] != (state.generation, state.version):
                self._size = (state.generation, state.version, self._table(state).size())
            size = self._size[2]
            self._lost_s += size.unindexed * _WAITING_S
            if (
                not size.unindexed
                or self._lost_s < _TAKING_IN_LEAST_S + size.passages * _TAKING_IN_S
            ):
                return
            self._lost_s = 0.0
            with self._writing(0.0) as mine:
                if mine and self._state() == state:
                    self._publish(_tidied(self._table(state), state))
        except (
            ArtifactIndexError,
            ReadOnlyError,
        ) as exc:  # the answer is there; what waits is found all the same
            log.info("passages that wait could not be taken into the indices: %s", exc)

    def _search(self, query: str, wanted: Wanted, mode: Mode | None) -> Answer:
        state = self._state()
        if state is None and self._nothing_after(0):
            return Answer((), mode or "text")
        if state is None:
            raise ArtifactIndexError(
                "search it",
                "there is none yet, and another process is busy making it",
                "call again in a moment",
            )
        table, vector = self._table(state), self._query_vector(state, query, mode)
        words = None if mode == "vector" else passages.searchable(query)
        text, near = _widely(table, words, vector, wanted)
        if wanted.phrases and words is not None:
            quoting = {passage.artifact_id for passage in text}
            near = [passage for passage in near if passage.artifact_id in quoting]
            if not text:  # nothing has them so
                text, near = _widely(table, words, vector, attrs.evolve(wanted, phrases=()))
        if mode == "vector":
            return Answer(tuple(ranking.rank_near(near)), mode)
        least = getattr(self.embedder, "least_cosine", None)
        return Answer(
            tuple(ranking.rank(query, text, near, vector=vector, least_cosine=least)),
            "text" if vector is None else "hybrid",
        )


def _widely(
    table: Table, words: str | None, vector: Any, wanted: Wanted
) -> tuple[list[ranking.Found], list[ranking.Found]]:
    """Search for as many passages as it takes to have enough artifacts."""
    text: list[ranking.Found] = []
    near: list[ranking.Found] = []
    for width in _WIDTHS:
        text, near = table.search(words, vector, wanted, width)
        if (
            max(len(text), len(near)) < width
            or len({passage.artifact_id for passage in [*text, *near]}) >= wanted.limit
        ):
            break
    return text, near


def _passage_of(entry: dict[str, Any]) -> str:
    text: str = entry["words"][: entry["end"] - entry["start"]]
    return text


def _tidy(table: Table, state: _State) -> _State:
    """Take what was written into the indices where it has become much, or bring its files together where they have become many."""
    if state.version == 0:
        return state
    size = table.size()
    indexed = size.passages - size.unindexed
    enough = max(_TIDY_LEAST, int(_TIDY_ROOT * math.sqrt(indexed)))
    if size.unindexed >= enough or state.version - state.tidied >= _TIDY_VERSIONS:
        return _tidied(table, state)
    if state.version - max(state.gathered, state.tidied) >= _GATHER_VERSIONS:
        table.gather(state.epoch)
        now = table.version
        return attrs.evolve(state, version=now, gathered=now)
    return state


def _tidied(table: Table, state: _State) -> _State:
    trained = table.tidy(state.trained)
    now = table.version
    return attrs.evolve(
        state, version=now, tidied=now, gathered=now, epoch=state.epoch + 1, trained=trained
    )


def _difference_finding(artifact_id: str, problem: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        kind=FindingKind.INDEX,
        subject=artifact_id,
        sentence=f"search index: {problem}",
        remedy="orch.artifacts.rebuild_index() builds it again",
    )


def _stamp(event: Event) -> str:
    return f"{event.at.isoformat()} {event.kind} {event.session_id}"
