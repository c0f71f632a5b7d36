"""The search index: a view that follows the event log, rebuilt when in doubt.

It is one table of passages. While these are some thousands, it is a SQLite file: nothing heavy is
loaded, and a new process has its first answer in a tenth of a second. When they become more,
LanceDB takes them over, with their vectors, as a new generation.

One process writes at a time (a file lock). It reads ``artifact_saved`` events behind the cursor,
indexes their artifacts in batches, and moves the cursor after each. A batch takes its artifacts out
before it puts them in, so a writer killed anywhere leaves an index that the next one completes by
doing the same again. Readers take no lock. A rebuilt index is a new generation, and counts from the
moment ``state.json`` names it; see `state`.

All vectors of a generation come from one embedder. Another embedder makes another generation. A
writer that cannot reach the generation's own embedder leaves its vectors out, and says so in
``state.json`` for the next one that can.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    ArtifactQuery,
    EventKind,
    Finding,
    FindingKind,
    SearchGap,
    Severity,
)
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator.artifacts.content import pdfs, readable
from vespera_orchestrator.artifacts.content.readable_text import ReadableText
from vespera_orchestrator.artifacts.search import passages, ranking, sqlite_table, upkeep
from vespera_orchestrator.artifacts.search.gaps import BY_TITLE, gap_words
from vespera_orchestrator.artifacts.search.notes_before import NotesBefore
from vespera_orchestrator.artifacts.search.sqlite_table import SQLiteTable
from vespera_orchestrator.artifacts.search.state import IndexFolder, IndexState, event_stamp
from vespera_orchestrator.artifacts.search.table import passage_row
from vespera_orchestrator.artifacts.search.vectors import VectorMaker, stacked
from vespera_orchestrator.errors import (
    ArtifactIndexError,
    EmbedderError,
    ReadOnlyError,
    StoreError,
)
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.files import translate_os_error
from vespera_orchestrator.home.links import refuse_links
from vespera_orchestrator.home.permissions import is_shared, make_folder, share_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from vespera_orchestrator._model import Artifact, Event
    from vespera_orchestrator.artifacts.search.lancedb_table import LanceTable
    from vespera_orchestrator.artifacts.search.ranking import PassageMatch, RankedArtifact
    from vespera_orchestrator.artifacts.search.table import (
        IndexedArtifact,
        PassageTable,
        SearchFilter,
        TableSize,
    )
    from vespera_orchestrator.contracts import ContentStore, Embedder
    from vespera_orchestrator.home.scope import Scope

    Matches = tuple[list[PassageMatch], list[PassageMatch]]
    """Passages that match by their words, and passages that match by their vectors."""

log = logging.getLogger("vespera_orchestrator")

SearchMode = Literal["hybrid", "text", "vector"]
"""The ways to search; the first is the default where there are vectors."""

_EVENT_KINDS = (
    EventKind.ARTIFACT_SAVED,
    EventKind.ARTIFACT_SUPERSEDED,
    EventKind.ARTIFACT_FORGOTTEN,
    EventKind.TEXT_FORGOTTEN,
)
SMALL_PASSAGES = 10_000
"""Up to this many passages SQLite searches as fast as LanceDB, and nothing has to be loaded."""
_EVENTS_PER_READ = 500
_BATCH_PASSAGES = 2000
_MOST_AHEAD = 3000
"""How many artifacts to read into memory where the index cannot be written."""
_SEARCH_WAIT_S = 2.0
_REBUILD_WAIT_S = 30.0
"""How long to wait for another process where nothing can be answered without the lock."""
_SEARCH_WIDTHS = (100, 1000, 5000)
"""How many passages to fetch; more when one long artifact fills the first helping."""
_WHOLE = ("", SearchGap.NOT_TEXT)
"""What is no text lacks nothing that a search could find."""
_LEVELS = 8
"""More than there are folders within each other in a generation of the index."""
_MOST_NAMED = 20
_MOST_GENERATIONS = 10
"""How often one search may be overtaken by a new generation before that counts as a failure."""


@attrs.frozen(repr=False, kw_only=True)
class IndexStatus(Record):
    """What the search index has."""

    passages: int
    """How many passages it holds."""
    behind: int
    """How many artifacts were saved since it was last brought up to date.

    The next search indexes them.
    """
    embedder: str | None
    """Whose vectors it has; ``None`` when the search is by words alone."""
    note: str
    """What there is to know or do about vectors; empty when all is well."""
    gaps: Mapping[str, SearchGap] = attrs.field(factory=dict)
    """What is not searched, or not whole: artifact ids, and why. Of what is *behind*, it has only
    what the media type tells.
    """

    json_form = JsonForm(properties=("in_part", "not_text"))

    @property
    def in_part(self) -> tuple[str, ...]:
        """Ids of the artifacts of which only a part is searched."""
        return tuple(name for name, gap in self.gaps.items() if gap not in BY_TITLE)

    @property
    def not_text(self) -> tuple[str, ...]:
        """Ids of the artifacts that are found by title and id only: pictures, scans and others."""
        return tuple(name for name, gap in self.gaps.items() if gap in BY_TITLE)

    def __str__(self) -> str:
        text = f"{self.passages:,} passages"
        if self.behind:
            text += f", {self.behind} artifacts behind"
        text += ", searched by "
        text += f"words and vectors ({self.embedder})" if self.embedder else "words alone"
        if self.note:
            text += f": {self.note}"
        for gap in SearchGap:
            names = [name for name, other in self.gaps.items() if other is gap]
            if names:
                text += f"; {gap_words(gap)}: {_some(names)}"
        return text

    def __repr__(self) -> str:
        return str(self)


@attrs.frozen(kw_only=True)
class SearchResult:
    """What matches a query, and how it was searched for."""

    ranked: tuple[RankedArtifact, ...]
    mode: SearchMode


@attrs.frozen
class _Ahead:
    """A table in memory that has more than the index, for searches that cannot write it."""

    basis: tuple[int, str]
    """The process, and the generation that it is beside; empty when there was no index."""
    state: IndexState
    table: SQLiteTable


@attrs.define
class _Batch:
    """Artifacts to index together, and their passages."""

    artifacts: list[Artifact] = attrs.field(factory=list)
    rows: list[dict[str, Any]] = attrs.field(factory=list)
    superseded_ids: list[str] = attrs.field(factory=list)
    """Artifacts of earlier batches whose place others have taken."""

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= _BATCH_PASSAGES

    @property
    def has_gaps(self) -> bool:
        """Whether a text among them is not searched whole."""
        return any(row["gap"] not in _WHOLE for row in self.rows)

    @property
    def lacks_reader(self) -> bool:
        """Whether one of them is a PDF that cannot be read without another package."""
        return any(row["gap"] == SearchGap.NO_READER for row in self.rows)


class ArtifactIndex:
    """Passages of all text artifacts of one store.

    Any number of threads and processes may use it at once.

    Args:
        scope: Knows the home, the store, and which embedder the settings name.
        content: Where the bytes are.
    """

    def __init__(self, scope: Scope, content: ContentStore) -> None:
        self._scope = scope
        self._content = content
        self._folder = IndexFolder(scope.home.index)
        self._vectors = VectorMaker(scope.embedder)
        self._open_table: tuple[str, LanceTable] | None = None
        self._ahead: _Ahead | None = None
        self._measured: tuple[IndexState, TableSize] | None = None
        """The size of the table, in a state of the index."""
        self._scan_cost = upkeep.ScanCost()

    @property
    def embedder(self) -> Embedder | None:
        """What makes the vectors here; ``None`` when the search is by words alone.

        Raises:
            MissingDependencyError: The one that was named is not installed.
            InvalidInputError: None has this name.
        """
        return self._vectors.embedder

    # --- following the log --------------------------------------------------

    def catch_up(self, *, wait_s: float) -> int | None:
        """Index every artifact that was saved since the last time.

        Args:
            wait_s: Seconds to wait while another process writes the index.

        Returns:
            How many artifacts were indexed; ``None`` when another process was writing all that
            time.

        Raises:
            ArtifactIndexError: It could neither be written nor rebuilt.
            ReadOnlyError: The home cannot be written.
            MissingDependencyError: The embedder that was named is not installed.
        """
        if self._is_complete():
            return 0
        with self._write_lock(wait_s) as locked:
            return self._catch_up() if locked else None

    def rebuild(self, *, wait_s: float, instead_of: str | None = None) -> int | None:
        """Build the index again from the artifacts. Until it is complete, the old one is searched.

        Args:
            wait_s: Seconds to wait while another process writes the index.
            instead_of: Do so only if this generation still counts.

        Returns:
            How many artifacts were indexed; ``None`` when another process was writing all that
            time.
        """
        with self._write_lock(wait_s) as locked:
            if not locked:
                return None
            state = self._state()
            if instead_of is not None and state is not None and state.generation != instead_of:
                return 0
            return self._rebuild()

    def discard(self, *, wait_s: float) -> bool:
        """Remove the index, so that nothing of what was forgotten is in it; tell if there was one.

        To remove passages would leave their words in LanceDB's older files. The next search builds
        it again.

        Raises:
            ArtifactIndexError: Another process was writing it all that time.
        """
        readable.forget_kept_texts()
        if not self._folder.path.is_dir():
            return self._folder.clear()
        with self._write_lock(wait_s) as locked:
            if not locked:
                reason = "another process is writing it"
                raise ArtifactIndexError("remove it", reason, "call again in a moment")
            self._open_table = None
            self._measured = None
            self._ahead = None
            return self._folder.clear()

    def _is_complete(self) -> bool:
        state = self._state()
        if state is None:
            return self._has_nothing_after(0)
        if not self._is_of_this_log(state) or not self._has_nothing_after(state.cursor):
            return False
        if self._vectors.needs_rebuild(state) or self._vectors.can_fill(state):
            return False
        return not _can_read_more(state)

    def _has_nothing_after(self, cursor: int) -> bool:
        events = self._scope.store.events(cursor, kinds=_EVENT_KINDS, limit=1)
        return not events

    def _has_forgotten_after(self, cursor: int) -> bool:
        forgotten = (EventKind.ARTIFACT_FORGOTTEN, EventKind.TEXT_FORGOTTEN)
        return bool(self._scope.store.events(cursor, kinds=forgotten, limit=1))

    def _catch_up(self) -> int:
        state = self._usable_state()
        if state is None:
            if self._state() is None and self._has_nothing_after(0):
                return 0
            return self._rebuild_in_place()
        # What was forgotten, perhaps from another home, would stay in LanceDB's older files.
        if self._vectors.needs_rebuild(state) or self._has_forgotten_after(state.cursor):
            return self._rebuild()
        try:
            filled = self._fill_vectors(self._fill_texts(state))
            if filled != state:
                self._folder.publish(filled)
            return self._index_events(filled, publish=True)[1]
        except ArtifactIndexError:
            return self._rebuild()

    def _rebuild(self) -> int:
        """Build a new generation, which counts once it is complete."""
        state = self._create_generation()
        try:
            state, count = self._index_events(state, publish=False)
        except BaseException:
            shutil.rmtree(self._folder.generation(state), ignore_errors=True)
            raise
        self._folder.publish(state)
        return count

    def _rebuild_in_place(self) -> int:
        """Build a new generation that counts at once, because there is no other to search."""
        state = self._create_generation()
        self._folder.publish(state)
        return self._index_events(state, publish=True)[1]

    def _create_generation(self) -> IndexState:
        state = self._empty_state(large=not sqlite_table.is_available())
        self._create_table(state)
        return state

    def _empty_state(self, *, large: bool) -> IndexState:
        dimensions = self._vectors.dimensions()
        identity = self.embedder.identity if self.embedder is not None and dimensions else ""
        return IndexState(
            generation=_new_generation(), large=large, embedder=identity, dimensions=dimensions
        )

    def _create_table(self, state: IndexState) -> PassageTable:
        folder = self._folder.generation(state)
        if state.large:
            from vespera_orchestrator.artifacts.search.lancedb_table import LanceTable

            return LanceTable.create(folder, state.dimensions)
        make_folder(folder)
        return SQLiteTable.create(folder)

    def _index_events(self, state: IndexState, *, publish: bool) -> tuple[IndexState, int]:
        """Index what the log has behind the cursor; return the state then, and how many artifacts.

        With *publish* every batch counts at once.
        """
        count = 0
        for last_event, batch in self._batches(state.cursor):
            if not state.large and self._outgrows(state, batch):
                state = self._enlarged(state)
            state = self._indexed(self._table(state), state, last_event, batch)
            if publish:
                self._folder.publish(state)
            count += len(batch.artifacts)
        if not state.large:
            return state, count
        maintained = upkeep.maintain(self._large_table(state), state)
        if publish and maintained != state:
            self._folder.publish(maintained)
        return maintained, count

    def _indexed(
        self, table: PassageTable, state: IndexState, last_event: Event, batch: _Batch
    ) -> IndexState:
        """Put a batch into *table*, and return the state then."""
        vectors = self._vectors.of_rows(state, batch.rows)
        table.replace(
            batch.artifacts, batch.rows, vectors, state.epoch, superseded=batch.superseded_ids
        )
        return attrs.evolve(
            state,
            cursor=last_event.seq,
            stamp=event_stamp(last_event),
            version=table.version,
            bare=state.bare or _lacks_vectors(state, batch, vectors),
            unread=state.unread or batch.lacks_reader,
            has_gaps=state.has_gaps or batch.has_gaps,
        )

    def _outgrows(self, state: IndexState, batch: _Batch) -> bool:
        return self._table(state).size().passages + len(batch.rows) > SMALL_PASSAGES

    def _enlarged(self, state: IndexState) -> IndexState:
        """Copy a small table into a large one, a new generation that counts once published."""
        rows = self._table(state).rows()
        large = attrs.evolve(state, generation=_new_generation(), large=True)
        self._create_table(large)
        table = self._large_table(large)
        for start in range(0, len(rows), _BATCH_PASSAGES):
            batch = rows[start : start + _BATCH_PASSAGES]
            table.add(batch, stacked(batch, large.dimensions), large.epoch)
        return attrs.evolve(large, version=table.version)

    def _batches(self, cursor: int) -> Iterator[tuple[Event, _Batch]]:
        """Yield batches and the last event of each: memory is bounded, whatever the log holds."""
        batch, notes = _Batch(), NotesBefore(self._scope.store, self._passages)
        while events := self._scope.store.events(
            cursor, kinds=_EVENT_KINDS, limit=_EVENTS_PER_READ
        ):
            for event in events:
                self._follow(batch, event, notes)
                if batch.is_full or event is events[-1]:
                    yield event, batch
                    batch = _Batch()
            cursor = events[-1].seq

    def _follow(self, batch: _Batch, event: Event, notes: NotesBefore) -> None:
        artifact_id = str(event.data.get("artifact"))
        if event.kind == EventKind.ARTIFACT_SUPERSEDED:
            batch.superseded_ids.append(artifact_id)
        elif event.kind == EventKind.ARTIFACT_SAVED:
            self._add(batch, artifact_id, notes)

    def _add(self, batch: _Batch, artifact_id: str, notes: NotesBefore) -> None:
        artifact = self._scope.store.find_artifact(artifact_id)
        if artifact is not None:
            batch.artifacts.append(artifact)
            text = self._searched_text(artifact)
            parts = passages.passages_of(text, artifact.media_type)
            before = notes.before(artifact, parts)
            notes.add(artifact, parts)
            # What says nothing by itself is found by its title.
            found_by = parts or [passages.Passage(start=0, end=0, text="")]
            batch.rows += [
                passage_row(artifact, passage, len(found_by), before=before, gap=text.gap)
                for passage in found_by
            ]

    def _passages(self, artifact: Artifact) -> list[passages.Passage]:
        """Return the passages of *artifact*; none if it is no text or cannot be read."""
        return passages.passages_of(self._searched_text(artifact), artifact.media_type)

    def _searched_text(self, artifact: Artifact) -> ReadableText:
        try:
            return readable.readable_text(self._content, artifact, readable.MAX_TEXT_CHARACTERS)
        except StoreError:
            # One unreadable artifact must not hide all others; Artifacts.verify() names it.
            return ReadableText(text="", gap=SearchGap.UNREAD)

    def _fill_vectors(self, state: IndexState) -> IndexState:
        """Make the vectors that could not be made when their passages were written."""
        if not self._vectors.can_fill(state):
            return state
        table = self._table(state)
        for batch in self._batches_of(table.artifacts_without_vectors()):
            vectors = self._vectors.of_rows(state, batch.rows)
            if batch.rows and vectors is None:
                return state
            table.replace(batch.artifacts, batch.rows, vectors, state.epoch)
        return attrs.evolve(state, version=table.version, bare=False)

    def _fill_texts(self, state: IndexState) -> IndexState:
        """Read the PDFs that could not be read when they were indexed."""
        if not _can_read_more(state):
            return state
        table = self._table(state)
        gaps = {name: entry.gap for name, entry in table.artifacts().items()}
        unread = [name for name, gap in gaps.items() if gap == SearchGap.NO_READER]
        is_bare = state.bare
        for batch in self._batches_of(unread):
            vectors = self._vectors.of_rows(state, batch.rows)
            table.replace(batch.artifacts, batch.rows, vectors, state.epoch)
            is_bare = is_bare or _lacks_vectors(state, batch, vectors)
        return attrs.evolve(state, version=table.version, bare=is_bare, unread=False)

    def _batches_of(self, artifact_ids: Iterable[str]) -> Iterator[_Batch]:
        batch = _Batch()
        for artifact_id in artifact_ids:
            # Not one after the other: each has its own notes before it.
            self._add(batch, artifact_id, NotesBefore(self._scope.store, self._passages))
            if batch.is_full:
                yield batch
                batch = _Batch()
        if batch.artifacts:
            yield batch

    # --- the table ----------------------------------------------------------

    def _state(self) -> IndexState | None:
        return self._folder.read_state()

    def _is_of_this_log(self, state: IndexState) -> bool:
        if state.cursor == 0:
            return True
        events = self._scope.store.events(state.cursor - 1, limit=1)
        return bool(events) and event_stamp(events[0]) == state.stamp

    def _usable_state(self) -> IndexState | None:
        """Return the state if its table opens, is of this log, and lost nothing since."""
        state = self._state()
        if state is None or not self._is_of_this_log(state):
            return None
        try:
            is_complete = self._table(state).version >= state.version
        except ArtifactIndexError:
            return None
        return state if is_complete else None

    def _table(self, state: IndexState) -> PassageTable:
        if state.large:
            return self._large_table(state)
        return self._small_table(state, readonly=self._scope.readonly)

    def _small_table(self, state: IndexState, *, readonly: bool) -> SQLiteTable:
        folder = self._folder.generation(state)
        refuse_links(folder, 1)  # SQLite reads and writes through one
        return SQLiteTable(folder, readonly=readonly)

    def _large_table(self, state: IndexState) -> LanceTable:
        from vespera_orchestrator.artifacts.search.lancedb_private import refuse_after_fork
        from vespera_orchestrator.artifacts.search.lancedb_table import LanceTable

        refuse_after_fork()
        if self._open_table is None or self._open_table[0] != state.generation:
            folder = self._folder.generation(state)
            refuse_links(folder, _LEVELS)  # LanceDB writes through one, and removes what is there
            table = LanceTable.open(folder, state.dimensions)
            self._open_table = (state.generation, table)
        return self._open_table[1]

    @contextmanager
    def _write_lock(self, wait_s: float) -> Iterator[bool]:
        """Be the one writer; yield ``False`` when another process was it for *wait_s* seconds."""
        locks = self._scope.home.locks
        with ExitStack() as lock:
            locked = True
            try:
                make_folder(locks)
                make_folder(self._folder.path)
                lock.enter_context(file_lock(locks / "index.lock", timeout_s=wait_s))
            except TimeoutError:
                locked = False
            except OSError as exc:
                raise translate_os_error(exc, self._folder.path) from exc
            yield locked
            if locked and is_shared(self._scope.home.path):
                share_with(self._folder.path)  # LanceDB knows no group

    # --- looking at it ------------------------------------------------------

    def status(self) -> IndexStatus:
        """Return what there is. Changes nothing."""
        state = self._state()
        cursor = state.cursor if state is not None else 0
        return IndexStatus(
            passages=self._table(state).size().passages if state is not None else 0,
            behind=len(self._scope.store.events(cursor, kinds=_EVENT_KINDS, limit=None)),
            embedder=self._searched_embedder(state),
            note=self._vectors.note(state),
            gaps=self._gaps(state, cursor),
        )

    def known_gaps(self) -> list[SearchGap]:
        """Return what the index has not searched whole, one for each artifact."""
        state = self._state()
        if state is None or not state.has_gaps:
            return []
        entries = self._table(state).artifacts().values()
        return [SearchGap(entry.gap) for entry in entries if entry.gap and not entry.superseded]

    def _gaps(self, state: IndexState | None, cursor: int) -> dict[str, SearchGap]:
        """Return what is not searched whole: by the index, and of what it lacks by media types."""
        gaps = {}
        if state is not None:
            for name, entry in self._table(state).artifacts().items():
                if entry.gap and not entry.superseded:
                    gaps[name] = SearchGap(entry.gap)
        for artifact in self._saved_after(cursor).values():
            if artifact is not None and not readable.is_readable(artifact.media_type):
                gaps[artifact.id] = SearchGap.NOT_TEXT
        return gaps

    def _searched_embedder(self, state: IndexState | None) -> str | None:
        """Return whose vectors a search here would use."""
        if state is None or self.embedder is None or self.embedder.identity != state.embedder:
            return None
        return state.embedder

    def check(self) -> list[Finding]:
        """Look whether there is an index of this event log, and how far behind it is.

        Quick: loads nothing and changes nothing. `verify` compares the passages.
        """
        state = self._state()
        if state is None or not self._is_of_this_log(state):
            if not self._folder.path.is_dir():
                return []
            sentence = "the search index is damaged, or belongs to another store"
            return [_note(sentence, "the next search rebuilds it")]
        saved = self._scope.store.events(state.cursor, kinds=_EVENT_KINDS, limit=None)
        if not saved:
            return []
        sentence = f"the search index is {len(saved)} artifacts behind"
        return [_note(sentence, "the next search updates it")]

    def verify(self) -> list[Finding]:
        """Compare the index with the artifacts; one finding for each difference.

        There is none while no index exists yet. Artifacts saved since the index was last brought
        up to date do not count. An index that cannot be read is a finding, too.
        """
        try:
            return self._differences()
        except ArtifactIndexError as exc:
            finding = Finding(
                severity=Severity.WARNING,
                kind=FindingKind.INDEX,
                subject="index",
                sentence=f"search index: cannot {exc.doing}: {exc.reason}",
                remedy=exc.remedy,
            )
            return [finding]

    def _differences(self) -> list[Finding]:
        state = self._state()
        if state is None:
            return []
        indexed = self._table(state).artifacts()
        unread = self._saved_after(state.cursor)
        superseded_since = {a.supersedes_id for a in unread.values() if a is not None}
        known = set(unread)
        differences = []
        for artifact in self._scope.store.artifacts(ArtifactQuery(include_superseded=True)):
            known.add(artifact.id)
            if artifact.id in unread:
                continue
            problem = self._difference(artifact, indexed.get(artifact.id), superseded_since)
            if problem:
                differences.append(_finding(artifact.id, problem))
        strangers = [
            _finding(name, f"it has passages of {name}, but no such artifact exists")
            for name in indexed
            if name not in known
        ]
        return strangers + differences

    def _saved_after(self, cursor: int) -> dict[str, Artifact | None]:
        """Return what was saved after event *cursor*, by id; ``None`` for what is gone since."""
        store = self._scope.store
        artifacts = {}
        for event in store.events(cursor, kinds=_EVENT_KINDS, limit=None):
            artifact_id = str(event.data.get("artifact"))
            artifacts[artifact_id] = store.find_artifact(artifact_id)
        return artifacts

    def _difference(
        self,
        artifact: Artifact,
        indexed: IndexedArtifact | None,
        superseded_since: AbstractSet[str | None],
    ) -> str:
        """Say how the passages of *artifact* differ from what they should be; empty if not."""
        name = f"artifact {artifact.id} {artifact.title!r}"
        if indexed is None:
            return f"it has no passage of {name}"
        if indexed.passages != indexed.expected_passages:
            share = f"{indexed.passages} of {indexed.expected_passages} passages"
            return f"it has {share} of {name}"
        if indexed.superseded != artifact.superseded and artifact.id not in superseded_since:
            return f"it disagrees with the store on whether {name} is superseded"
        return ""

    # --- searching ----------------------------------------------------------

    def search(
        self,
        query: str,
        filters: SearchFilter,
        *,
        wait_s: float | None = None,
        mode: SearchMode | None = None,
    ) -> SearchResult:
        """Find artifacts, the best first, each with its best passage.

        The index is brought up to date first. Where that cannot be done, because another process is
        at it for *wait_s* seconds or the home cannot be written, what the index lacks is read into
        memory and searched as well. A damaged index is rebuilt, once.

        Args:
            query: What to look for.
            filters: Which artifacts may be found.
            wait_s: Seconds to wait while another process writes the index; by default two.
            mode: By words, by vectors, or by both. ``None`` and ``"hybrid"`` go by words where
                there are no vectors.

        Raises:
            ArtifactIndexError: There is no index, none could be built, and there is too much to
                read into memory.
            MissingDependencyError: Vectors alone were asked for, or an embedder was named, and it
                is not installed.
        """
        wait_s = _SEARCH_WAIT_S if wait_s is None else wait_s
        if self._scope.readonly or not self._is_brought_up(wait_s):
            return self._following(lambda: self._search_ahead(query, filters, mode))
        state = self._state()
        if state is None:
            return SearchResult(ranked=(), mode=mode or "text")
        try:
            result = self._following(lambda: self._search(query, filters, mode))
        except EmbedderError:
            raise
        except ArtifactIndexError:
            if not self._replace_damaged(state.generation, max(wait_s, _REBUILD_WAIT_S)):
                raise
            return self._following(lambda: self._search(query, filters, mode))
        if mode != "vector":
            self._optimize_if_worthwhile()
        return result

    def _following(self, search: Callable[[], SearchResult]) -> SearchResult:
        """Search again where another process has put a new generation in place meanwhile.

        It removes the old one at once, also from under a search that has just read its name.
        """
        for _ in range(_MOST_GENERATIONS):
            before = self._generation()
            try:
                return search()
            except EmbedderError:
                raise
            except ArtifactIndexError:
                if self._generation() == before:
                    raise
        return search()

    def _generation(self) -> str | None:
        state = self._state()
        return None if state is None else state.generation

    def _is_brought_up(self, wait_s: float) -> bool:
        """Bring the index up to date; tell whether it could be done."""
        try:
            return self.catch_up(wait_s=wait_s) is not None
        except ReadOnlyError:
            return False

    def _replace_damaged(self, damaged: str, wait_s: float) -> bool:
        """Rebuild a generation that could not be read; tell whether there is another one now.

        Nothing is rebuilt when another process did that while this one read.
        """
        return self.rebuild(wait_s=wait_s, instead_of=damaged) is not None

    def _search(self, query: str, filters: SearchFilter, mode: SearchMode | None) -> SearchResult:
        state = self._state()
        if state is None:
            return SearchResult(ranked=(), mode=mode or "text")
        return self._ranked(query, filters, mode, state, [self._table(state)])

    def _ranked(
        self,
        query: str,
        filters: SearchFilter,
        mode: SearchMode | None,
        state: IndexState,
        tables: Sequence[PassageTable],
    ) -> SearchResult:
        """Search *tables*, of which the first has nearly everything."""
        filters = attrs.evolve(filters, with_before=passages.is_wordy(query))
        if mode == "vector":
            vector = self._vectors.of_query_alone(state, query)
            _, vector_matches = _search_all(tables, None, vector, filters)
            return SearchResult(ranked=tuple(ranking.rank_by_cosine(vector_matches)), mode=mode)
        vector = None if mode == "text" else self._vectors.of_query(state, query)
        words = passages.searched_words(query)
        text_matches, vector_matches = _search_all(tables, words, vector, filters)
        ranked = ranking.rank(
            query,
            text_matches,
            vector_matches,
            vector=vector,
            least_cosine=getattr(self.embedder, "least_cosine", None),
        )
        return SearchResult(ranked=tuple(ranked), mode="text" if vector is None else "hybrid")

    # --- searching ahead of the index ---------------------------------------

    def _search_ahead(
        self, query: str, filters: SearchFilter, mode: SearchMode | None
    ) -> SearchResult:
        """Search the index and, in memory, what it lacks; write nothing.

        A small index is copied and completed in memory, which gives the same answer as if it had
        been written. Beside a large one, only what it lacks is in memory.

        Raises:
            ArtifactIndexError: Too much would have to be read.
        """
        state = self._state()
        if state is not None and not self._is_of_this_log(state):
            state = None
        cursor = state.cursor if state is not None else 0
        if state is not None and self._has_nothing_after(cursor):
            try:
                return self._ranked(query, filters, mode, state, [self._table(state)])
            except EmbedderError:
                raise
            except ArtifactIndexError:
                if state.large:
                    raise
        ahead = self._brought_ahead(state)
        self._ahead = ahead
        tables: list[PassageTable] = [ahead.table]
        if state is not None and state.large:
            tables.insert(0, self._table(state))
        return self._ranked(query, filters, mode, ahead.state, tables)

    def _brought_ahead(self, state: IndexState | None) -> _Ahead:
        """Return a table in memory with all that the index in *state* lacks.

        The one of the last search is continued, where it is of the same index.
        """
        basis = (os.getpid(), state.generation if state is not None else "")
        ahead = self._ahead
        is_usable = ahead is not None and ahead.basis == basis
        if ahead is None or not is_usable or self._has_forgotten_after(ahead.state.cursor):
            ahead = self._started_ahead(basis, state)
        behind = self._scope.store.events(
            ahead.state.cursor, kinds=_EVENT_KINDS, limit=_MOST_AHEAD + 1
        )
        if len(behind) > _MOST_AHEAD:
            raise ArtifactIndexError(
                "search it",
                f"it lacks more than {_MOST_AHEAD:,} artifacts, and cannot be written now",
                "search again in a moment, with the home opened without readonly; "
                "orch.artifacts.list() and read() need no index",
            )
        reached = ahead.state
        for last_event, batch in self._batches(reached.cursor):
            reached = self._indexed(ahead.table, reached, last_event, batch)
        return attrs.evolve(ahead, state=reached)

    def _started_ahead(self, basis: tuple[int, str], state: IndexState | None) -> _Ahead:
        if state is None:
            state = self._empty_state(large=False)
        elif not state.large:
            try:
                table = self._small_table(state, readonly=True)
                return _Ahead(basis, state, table.copy())
            except ArtifactIndexError as exc:
                # A killed writer's traces, which only the next writer may tidy up; or damage.
                log.info("the search index is read from the artifacts instead: %s", exc)
                state = attrs.evolve(state, cursor=0)
        return _Ahead(basis, state, sqlite_table.table_in_memory())

    def _optimize_if_worthwhile(self) -> None:
        """Optimize a large table once reading what is unindexed has cost searches as much."""
        state = self._state()
        if state is None or not state.large:
            return
        try:
            size = self._size(state)
            self._scan_cost.add_search(size)
            if not self._scan_cost.exceeds_optimizing(size):
                return
            self._scan_cost.reset()
            with self._write_lock(0.0) as locked:
                if locked and self._state() == state:
                    self._folder.publish(upkeep.optimize(self._large_table(state), state))
        except (ArtifactIndexError, ReadOnlyError) as exc:
            # The answer is there, and what is unindexed is found all the same.
            log.info("the search index could not be optimized: %s", exc)

    def _size(self, state: IndexState) -> TableSize:
        if self._measured is None or self._measured[0] != state:
            size = self._large_table(state).size()
            self._measured = (state, size)
        return self._measured[1]


def _can_read_more(state: IndexState) -> bool:
    """Tell whether PDFs that were left out can be read here."""
    return state.unread and pdfs.reader_folder() is not None


def _lacks_vectors(state: IndexState, batch: _Batch, vectors: Any) -> bool:
    """Tell whether a batch should have vectors, and they could not be made."""
    return bool(state.dimensions and batch.rows) and vectors is None


def _new_generation() -> str:
    return secrets.token_hex(8)


def _search_all(
    tables: Sequence[PassageTable], words: str | None, vector: Any, filters: SearchFilter
) -> Matches:
    """Search each table, and bring their scores to one measure."""
    text_matches: list[PassageMatch] = []
    vector_matches: list[PassageMatch] = []
    for table in tables:
        by_words, by_vector = _search_with_phrases(table, words, vector, filters)
        if text_matches:
            by_words = ranking.beside(text_matches, by_words, words or "")
        text_matches += by_words
        vector_matches += by_vector
    return text_matches, vector_matches


def _search_with_phrases(
    table: PassageTable, words: str | None, vector: Any, filters: SearchFilter
) -> Matches:
    """Search; artifacts without the quoted phrases are left out, unless no artifact has them."""
    text_matches, vector_matches = _search_widely(table, words, vector, filters)
    if words is None or not filters.phrases:
        return text_matches, vector_matches
    if not text_matches:
        return _search_widely(table, words, vector, attrs.evolve(filters, phrases=()))
    quoting = {passage.artifact_id for passage in text_matches}
    return text_matches, [passage for passage in vector_matches if passage.artifact_id in quoting]


def _search_widely(
    table: PassageTable, words: str | None, vector: Any, filters: SearchFilter
) -> Matches:
    """Fetch as many passages as it takes to have enough artifacts."""
    text_matches: list[PassageMatch] = []
    vector_matches: list[PassageMatch] = []
    for width in _SEARCH_WIDTHS:
        text_matches, vector_matches = table.search(words, vector, filters, width)
        there_is_no_more = max(len(text_matches), len(vector_matches)) < width
        artifact_ids = {passage.artifact_id for passage in [*text_matches, *vector_matches]}
        if there_is_no_more or len(artifact_ids) >= filters.limit:
            break
    return text_matches, vector_matches


def _some(names: Sequence[str]) -> str:
    """List the first names, and count the rest."""
    text = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{text} and {more:,} more" if more > 0 else text


def _finding(artifact_id: str, problem: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        kind=FindingKind.INDEX,
        subject=artifact_id,
        sentence=f"search index: {problem}",
        remedy="orch.artifacts.rebuild_index() builds it again",
    )


def _note(sentence: str, remedy: str) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        kind=FindingKind.INDEX,
        subject="index",
        sentence=sentence,
        remedy=remedy,
    )
