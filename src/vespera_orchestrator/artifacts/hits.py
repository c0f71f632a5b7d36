"""The answers to a search: artifacts, each by its best passage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress, islice
from typing import TYPE_CHECKING, Final, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Artifact, SearchGap
from vespera_orchestrator._records import JsonForm, Record, RecordList
from vespera_orchestrator._text import one_line, show_methods
from vespera_orchestrator.artifacts.alike import Saying
from vespera_orchestrator.artifacts.search.gaps import gap_words
from vespera_orchestrator.artifacts.search.index import SearchMode
from vespera_orchestrator.artifacts.search.ranking import EQUAL_TO_DIGITS, RankedArtifact

if TYPE_CHECKING:
    from vespera_orchestrator.artifacts.surroundings import Surroundings
    from vespera_orchestrator.contracts import Store

_MORE_HITS: Final = 20
"""Looked at beyond those that are wanted: some of these may only repeat others, and a source that
stands further down is put before what quotes it.
"""
_MOST_COMPARED: Final = 50
"""Who asks for a thousand hits wants all of them, and soon."""
_REPR_CHARS: Final = 60
_Outline: TypeAlias = tuple[int, int]
"""Where the best passage of an artifact begins, and how many passages it has."""
_USUAL: Final = {"version": 1, "place": "", "gap": None, "alike": ()}


@attrs.frozen(repr=False, kw_only=True)
class Hit(Record):
    """An artifact that answers a search, by its best passage."""

    text: str
    """The passage, exactly as it stands in the artifact."""
    artifact_id: str
    """The artifact."""
    title: str
    """Its title."""
    task_id: str | None
    """The task that saved it; ``None`` if it belongs to the session."""
    score: float
    """Higher is better; compares within one answer only."""
    start: int
    """Offset of the passage's first character in ``artifacts.text(artifact_id)``."""
    end: int
    """Offset after its last character."""
    version: int
    """Which version of the artifact this is."""
    superseded: bool = False
    """Whether something has taken its place: a later version, or what *superseded_by* names. Only
    ever true with ``include_superseded``, or for what you named by its id.
    """
    superseded_by: str | None = None
    """The artifact of another title or task that has taken its place, if one has."""
    mode: SearchMode = "text"
    """How the search was done: ``"hybrid"``, ``"text"`` or ``"vector"``."""
    place: str = ""
    """The page of a PDF or the cell of a notebook that the passage is from: ``page 3``."""
    gap: SearchGap | None = None
    """What of the artifact is not searched; ``None`` if all of it is. What has no text at all is
    found by its title.
    """
    alike: tuple[str, ...] = ()
    """Artifacts that were left out, because their best passage says the same, or nearly."""

    json_form = JsonForm(
        usual=_USUAL,
        rest="orch.artifacts.text({artifact_id!r})",
        columns=("title", "score", "text", "artifact_id"),
    )

    @classmethod
    def of(cls, entry: RankedArtifact, record: Artifact, mode: SearchMode) -> Hit:
        """Combine what the index and the store know."""
        passage = entry.passage
        return cls(
            text=passage.text,
            artifact_id=record.id,
            title=record.title,
            task_id=record.task_id,
            score=entry.score,
            start=passage.start,
            end=passage.start + len(passage.text),
            version=record.version,
            superseded=record.superseded,
            superseded_by=record.superseded_by,
            mode=mode,
            place=passage.place,
            gap=SearchGap(passage.gap) if passage.gap else None,
        )

    def __repr__(self) -> str:
        text = one_line(self.text, _REPR_CHARS)
        names = f"{self.artifact_id!r}, {self.title!r}"
        return f"Hit({names}, {text!r})"

    def __str__(self) -> str:
        version = f"v{self.version}"
        place = f"characters {self.start}-{self.end}"
        if self.place:
            place = f"{self.place}, {place}"
        about = f"{version}, {self.artifact_id}, {place}"
        if self.gap is not None:
            about += f", {gap_words(self.gap)}"
        if self.superseded:
            about += f", superseded by {self.superseded_by or 'a later version'}"
        if self.alike:
            about += f"; +{len(self.alike)} like it"
        return f"{one_line(self.title)} ({about})\n{self.text}"


@show_methods
class SearchHits(RecordList[Hit]):
    """The hits, and below them what they do not show.

    Args:
        hits: The best first.
        notes: A line each.
    """

    def __init__(self, hits: Iterable[Hit] = (), notes: Iterable[str] = ()) -> None:
        super().__init__(hits)
        self.notes = tuple(notes)
        """What was left out: hits in other sessions, texts that are searched in part."""

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.notes])


def note_on_other_sessions(count: int) -> str:
    """Say what *count* hits another session has; nothing when there are none."""
    if not count:
        return ""
    hits = "1 hit" if count == 1 else f"{count} hits"
    return f"{hits} in other sessions: search without session="


def note_on_gaps(gaps: Collection[SearchGap]) -> str:
    """Say that texts are not searched whole; nothing when all are."""
    in_part = len([gap for gap in gaps if gap is not SearchGap.NOT_TEXT])
    if not in_part:
        return ""
    texts = "1 text is" if in_part == 1 else f"{in_part} texts are"
    return f"{texts} searched in part or not at all: orch.artifacts.index_status()"


def hits_of(
    ranked: Iterable[RankedArtifact],
    store: Store,
    *,
    surroundings: Surroundings,
    mode: SearchMode,
    limit: int,
    include_superseded: bool,
) -> list[Hit]:
    """Return the hits, the best first, and each source before what quotes it.

    What is of this session counts a little more than it would elsewhere.
    """
    records: list[Artifact] = []
    hits: dict[str, Hit] = {}
    outlines: dict[str, _Outline] = {}
    enough = limit + _MORE_HITS
    for entry, record in _current(ranked, store, include_superseded=include_superseded):
        records.append(record)
        hits[record.id] = Hit.of(entry, record, mode)
        outlines[record.id] = (entry.passage.start, entry.passage.passage_count)
        if len(records) == enough:
            break
    best = max((hit.score for hit in hits.values()), default=0.0)
    for record in records:
        hit, bonus = hits[record.id], best * surroundings.session_bonus(record)
        hits[record.id] = attrs.evolve(hit, score=round(hit.score + bonus, EQUAL_TO_DIGITS))
    records.sort(key=lambda record: (record.superseded, -hits[record.id].score))
    ordered = _sources_first(records)
    return _folded([hits[record.id] for record in ordered], outlines, limit)


def _folded(hits: Iterable[Hit], outlines: Mapping[str, _Outline], limit: int) -> list[Hit]:
    """Return the first hits that say something each, and note there which ones only repeat them.

    One that has a passage in common with another, such as a licence, does not repeat it: it would
    be as long, and have that passage in the same place. A few words are no copy of others: the
    titles tell them apart. What is superseded stays by itself: who asks for it wants to see the
    difference.
    """
    kept: list[Hit] = []
    sayings: list[Saying] = []
    for hit in hits:
        saying = Saying(hit.text)
        same = None
        if saying.has_a_run and not hit.superseded:
            outline = outlines[hit.artifact_id]
            may_repeat = [outlines[other.artifact_id] == outline for other in kept]
            same = _first_equal(saying, compress(enumerate(sayings), may_repeat))
        if same is not None:
            alike = (*kept[same].alike, hit.artifact_id)
            kept[same] = attrs.evolve(kept[same], alike=alike)
        elif len(kept) < limit:
            kept.append(hit)
            sayings.append(saying)
    return kept


def _first_equal(saying: Saying, others: Iterable[tuple[int, Saying]]) -> int | None:
    for place, other in islice(others, _MOST_COMPARED):
        if saying.equals(other):
            return place
    return None


def _current(
    ranked: Iterable[RankedArtifact], store: Store, *, include_superseded: bool
) -> Iterator[tuple[RankedArtifact, Artifact]]:
    """Yield what the store still has: the index may be a moment behind."""
    for entry in ranked:
        record = store.find_artifact(entry.passage.artifact_id)
        if record is not None and (include_superseded or not record.superseded):
            yield entry, record


def _sources_first(records: list[Artifact]) -> list[Artifact]:
    """Move each artifact that quotes others behind the first of them.

    Its metadata name them as ``sources``.
    """
    order = list(records)
    for record in records:
        sources = record.metadata.get("sources", ())
        position = order.index(record)
        for later in range(position + 1, len(order)):
            if order[later].id in sources:
                order.insert(later, order.pop(position))
                break
    return order
