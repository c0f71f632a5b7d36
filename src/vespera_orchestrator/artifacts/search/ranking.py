"""Which artifact answers a query best, given the passages that match its words or its vector.

Scores stay scores and are not turned into ranks: their margins are the best evidence there is, and
a fusion of ranks throws them away. Seven kinds of evidence speak for an artifact, and their
weighted sum is its score:

* **words**: the score of its best passage;
* **density**: the mean over all its passages, so that an artifact that speaks of nothing else wins
  over one that mentions it;
* **nearness**: how near its matching vectors are together to the query, in standard deviations
  from the mean of the candidates: what a cosine is worth differs from model to model;
* **neighbours**: how many neighbouring words of the query stand together in one passage;
* **opening**: how much of the query stands near the artifact's beginning, its title included: a
  text says first what it is about;
* **lead**: how much of the query stands near the beginning of one passage, which is how a function,
  a heading or a paragraph begins;
* **name**: whether the query has its title in it, or the file name that its title ends with.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from itertools import chain, compress, pairwise
from typing import TYPE_CHECKING, Any

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.artifacts.search import vector_math
from vespera_orchestrator.artifacts.search.naming import NamesInQuery
from vespera_orchestrator.artifacts.search.passages import STOP_WORDS, WORD, identifier_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CANDIDATES = 60
"""How many artifacts are looked at closely. The right one is hardly ever below."""
_OPENING_WORDS = 16
"""A word counts half when this many others stand before it."""
_CHARACTERS_PER_WORD = 6
EQUAL_TO_DIGITS = 6
"""Scores that agree to this many digits count as equal."""
_MIN_STEM_CHARACTERS = 3

_SUFFIXES = ("ingly", "edly", "ings", "ing", "ied", "ies", "ed", "es", "s", "ly", "e")


@attrs.frozen(kw_only=True)
class PassageMatch:
    """A passage that matches the query by its words, by its vector, or by both."""

    artifact_id: str
    title: str
    start: int
    end: int
    text: str
    passage_count: int
    """How many passages its artifact has."""
    score: float = 0.0
    """How well its words match; 0 when only its vector does."""
    cosine: float | None = None
    """How near its vector is to the query's; ``None`` when it is not among the nearest."""
    vector: Any = attrs.field(default=None, eq=False, repr=False)
    """Its vector; ``None`` when it has none, or the search was by words alone."""
    superseded: bool = False
    place: str = ""
    """The page or cell that it is from, where its artifact has any."""
    gap: str = ""
    """What of its artifact is not searched; see `SearchGap`."""


@attrs.frozen(kw_only=True)
class RankedArtifact:
    """An artifact in its place, represented by its best passage."""

    passage: PassageMatch
    score: float
    others: tuple[PassageMatch, ...] = ()
    """Its other matching passages, the best first."""


@attrs.define(kw_only=True)
class _Evidence:
    """What speaks for an artifact or a passage; also the weights of that.

    Never changed, but not frozen: a search makes hundreds, and those cost twice as much.
    """

    words: float
    density: float = 0.0
    nearness: float = 0.0
    neighbours: float = 0.0
    opening: float = 0.0
    lead: float = 0.0
    name: float = 0.0


_WEIGHTS = _Evidence(
    words=1.0, density=0.75, nearness=0.25, neighbours=1.1, opening=2.0, lead=0.7, name=1.0
)
"""Fitted on five kinds of text, with and without vectors, and checked on twelve others.

`benchmarks/retrieval.py` measures them again.
"""
_ROUGH_WEIGHTS = _Evidence(words=1.0, density=0.4, nearness=0.35)
"""For choosing the candidates. Nearness is that of the nearest passage here."""
_BEST_PASSAGE_NEARNESS = 0.6
"""Beside `_WEIGHTS`, for choosing which passage of an artifact represents it."""


# --- words ------------------------------------------------------------------


def terms(text: str) -> list[str]:
    """Return the words of *text* in order: identifiers taken apart, lower case, stemmed."""
    return list(chain.from_iterable(map(_word_terms, WORD.findall(text))))


@lru_cache(maxsize=50_000)
def _word_terms(word: str) -> tuple[str, ...]:
    parts = identifier_parts(word) or (word,)
    return tuple(_stem(part.lower()) for part in parts)


def _stem(word: str) -> str:
    """Cut the commonest English endings; what counts is that forms of one word come out alike."""
    # All at once: most words have none of them, and a new process stems thousands first of all.
    endings = _SUFFIXES if word.endswith(_SUFFIXES) else ()
    for suffix in endings:
        if word.endswith(suffix) and len(word) - len(suffix) >= _MIN_STEM_CHARACTERS:
            word = word.removesuffix(suffix)
            if suffix in {"ied", "ies"}:
                word += "y"
            break
    # "running" leaves "runn"; "see" stays as it is.
    if len(word) > _MIN_STEM_CHARACTERS and word[-1] == word[-2]:
        word = word[:-1]
    return word


_STOP_TERMS = frozenset(_stem(word) for word in STOP_WORDS)


def _query_terms(query: str) -> list[str]:
    """Return the terms of *query* that say something, in order."""
    return [term for term in terms(query) if term not in _STOP_TERMS]


# --- the order --------------------------------------------------------------


def rank(
    query: str,
    text_matches: Sequence[PassageMatch],
    vector_matches: Sequence[PassageMatch] = (),
    *,
    vector: Any = None,
    least_cosine: float | None = None,
) -> list[RankedArtifact]:
    """Order the artifacts of the matching passages, the best first, superseded ones last.

    What scores alike to six digits is ordered by title and text, so that the answer does not
    depend on ids or on the order of writing.

    Args:
        query: What to look for.
        text_matches: Passages that match by their words, with positive scores.
        vector_matches: Passages that match by their vectors, with cosines.
        vector: The query's. Without it only words decide what a match is worth.
        least_cosine: What matches by no word must be at least this near.

    Returns:
        One entry for each artifact. Scores compare within one answer only.
    """
    groups = _by_artifact(text_matches, vector_matches, least_cosine)
    scale = _Scale.of(text_matches, vector_matches)
    rough = sorted((scale.roughly(group) for group in groups.values()), key=_sort_key)
    candidates = [groups[entry.passage.artifact_id] for entry in rough[:_CANDIDATES]]
    rest = rough[_CANDIDATES:]
    words = _QueryWords(query, candidates)
    nearness = _nearness(vector, candidates)
    ranked = [
        scale.closely(words, group, near) for group, near in zip(candidates, nearness, strict=True)
    ]
    ranked.sort(key=_sort_key)
    if rest:
        ranked += _moved_below(min(entry.score for entry in ranked), rest)
    return _superseded_last(ranked)


def beside(
    matches: Sequence[PassageMatch], newer: Sequence[PassageMatch], query: str
) -> list[PassageMatch]:
    """Return *newer* with scores that compare with those of *matches*, from another table.

    A small table does not know how rare a word is in the large one. What counts instead is how many
    words of the query a passage has: with all of them it scores like the best of *matches*.
    """
    best = max((passage.score for passage in matches), default=1.0)
    wanted = set(_query_terms(query))
    scored = []
    for passage in newer:
        present = wanted.intersection(terms(f"{passage.title}\n{passage.text}"))
        score = best * len(present) / max(1, len(wanted))
        scored.append(attrs.evolve(passage, score=score))
    return scored


def rank_by_cosine(vector_matches: Sequence[PassageMatch]) -> list[RankedArtifact]:
    """Order artifacts by the cosine of their nearest passage alone, superseded ones last."""
    nearest: dict[str, PassageMatch] = {}
    for passage in sorted(vector_matches, key=lambda passage: -(passage.cosine or 0.0)):
        nearest.setdefault(passage.artifact_id, passage)
    return _superseded_last(
        RankedArtifact(passage=passage, score=passage.cosine or 0.0) for passage in nearest.values()
    )


def _superseded_last(ranked: Iterable[RankedArtifact]) -> list[RankedArtifact]:
    return sorted(ranked, key=lambda entry: entry.passage.superseded)


def _sort_key(entry: RankedArtifact) -> tuple[bool, float, str, str, str]:
    passage = entry.passage
    score = round(entry.score, EQUAL_TO_DIGITS)
    return passage.superseded, -score, passage.title, passage.text, passage.artifact_id


def _moved_below(lowest: float, rest: Sequence[RankedArtifact]) -> list[RankedArtifact]:
    """Return *rest* with scores below *lowest*: rough and close scores do not compare."""
    shift = 1 + rest[0].score - lowest
    moved = []
    for entry in rest:
        score = entry.score - shift
        moved.append(attrs.evolve(entry, score=score))
    return moved


def _by_artifact(
    text_matches: Sequence[PassageMatch],
    vector_matches: Sequence[PassageMatch],
    least_cosine: float | None,
) -> dict[str, list[PassageMatch]]:
    """Group passages by artifact; a passage that matches both ways becomes one."""
    matches = {(passage.artifact_id, passage.start): passage for passage in text_matches}
    matched_by_words = {passage.artifact_id for passage in text_matches}
    for passage in vector_matches:
        key = (passage.artifact_id, passage.start)
        if key in matches:
            matches[key] = attrs.evolve(matches[key], cosine=passage.cosine)
            continue
        is_near = least_cosine is None or (passage.cosine or 0.0) >= least_cosine
        if is_near or passage.artifact_id in matched_by_words:
            matches[key] = passage
    groups: dict[str, list[PassageMatch]] = {}
    for passage in matches.values():
        groups.setdefault(passage.artifact_id, []).append(passage)
    return groups


# --- scores -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Scale:
    """Brings the scores and cosines of one answer to the same measure, 0 to 1."""

    best_score: float
    nearest: float
    farthest: float

    @classmethod
    def of(
        cls, text_matches: Sequence[PassageMatch], vector_matches: Sequence[PassageMatch]
    ) -> _Scale:
        best = max((passage.score for passage in text_matches), default=0.0)
        cosines = [passage.cosine for passage in vector_matches if passage.cosine is not None]
        return cls(
            best_score=best or 1.0,
            nearest=max(cosines, default=0.0),
            farthest=min(cosines, default=0.0),
        )

    def words(self, passage: PassageMatch) -> float:
        return passage.score / self.best_score

    def nearness(self, passage: PassageMatch) -> float:
        if passage.cosine is None:
            return 0.0
        span = self.nearest - self.farthest
        return (passage.cosine - self.farthest) / span if span > 0 else 1.0

    def density(self, group: Sequence[PassageMatch]) -> float:
        total = sum(map(self.words, group))
        return total / group[0].passage_count

    def roughly(self, group: Sequence[PassageMatch]) -> RankedArtifact:
        """Score an artifact by what costs nothing to know."""
        weights = _ROUGH_WEIGHTS
        score = math.fsum((
            weights.words * max(map(self.words, group)),
            weights.density * self.density(group),
            weights.nearness * max(map(self.nearness, group)),
        ))  # fmt: skip
        return RankedArtifact(passage=max(group, key=self._rough_worth), score=score)

    def _rough_worth(self, passage: PassageMatch) -> float:
        weights = _ROUGH_WEIGHTS
        by_words = weights.words * self.words(passage)
        by_nearness = weights.nearness * self.nearness(passage)
        return by_words + by_nearness

    def closely(
        self, words: _QueryWords, group: Sequence[PassageMatch], nearness: float
    ) -> RankedArtifact:
        """Score an artifact by all the evidence, and put its best passage first."""
        evidence = [self._passage_evidence(words, passage) for passage in group]
        whole = _Evidence(
            words=max([part.words for part in evidence]),
            density=self.density(group),
            nearness=nearness,
            neighbours=max([part.neighbours for part in evidence]),
            opening=words.opening(group),
            lead=max([part.lead for part in evidence]),
            name=words.names.share(group[0].title),
        )
        best, *others = _by_worth(group, evidence)
        return RankedArtifact(passage=best, score=_weighted_sum(whole), others=tuple(others))

    def _passage_evidence(self, words: _QueryWords, passage: PassageMatch) -> _Evidence:
        return _Evidence(
            words=self.words(passage),
            nearness=self.nearness(passage),
            neighbours=words.neighbours(passage),
            lead=words.lead(passage),
        )


def _weighted_sum(evidence: _Evidence) -> float:
    return math.fsum((
        _WEIGHTS.words * evidence.words,
        _WEIGHTS.density * evidence.density,
        _WEIGHTS.nearness * evidence.nearness,
        _WEIGHTS.neighbours * evidence.neighbours,
        _WEIGHTS.opening * evidence.opening,
        _WEIGHTS.lead * evidence.lead,
        _WEIGHTS.name * evidence.name,
    ))  # fmt: skip


def _by_worth(
    group: Sequence[PassageMatch], evidence: Sequence[_Evidence]
) -> Sequence[PassageMatch]:
    """Return the passages of an artifact, first the one that represents it best."""
    if len(group) == 1:
        return group
    worth = {}
    for passage, part in zip(group, evidence, strict=True):
        worth[id(passage)] = _worth(part)
    return sorted(group, key=lambda passage: -worth[id(passage)])


def _worth(passage: _Evidence) -> float:
    return (
        _WEIGHTS.words * passage.words
        + _BEST_PASSAGE_NEARNESS * passage.nearness
        + _WEIGHTS.neighbours * passage.neighbours
        + _WEIGHTS.lead * passage.lead
    )


def _nearness(vector: Any, groups: Sequence[Sequence[PassageMatch]]) -> list[float]:
    """Return how near each group is to *vector*, in standard deviations from the mean of all.

    A group without vectors gets 0.
    """
    if vector is None:
        return [0.0] * len(groups)
    cosines = [_group_cosine(vector, group) for group in groups]
    present = [cosine for cosine in cosines if cosine is not None]
    if not present:
        return [0.0] * len(groups)
    mean = math.fsum(present) / len(present)
    # The module `statistics` would do it, and load decimals and fractions for it.
    spread = math.dist(present, [mean] * len(present)) / math.sqrt(len(present))
    if spread <= 0:
        return [0.0] * len(groups)
    return [0.0 if cosine is None else (cosine - mean) / spread for cosine in cosines]


def _group_cosine(vector: Any, group: Sequence[PassageMatch]) -> float | None:
    """Return the cosine of *vector* and the group's direction; ``None`` when it has no vector."""
    vectors = [passage.vector for passage in group if passage.vector is not None]
    if not vectors:
        return None
    return vector_math.cosine(vector, vector_math.direction(vectors))


class _QueryWords:
    """The words of the query, weighted by how rare they are among the candidates."""

    def __init__(self, query: str, groups: Sequence[Sequence[PassageMatch]]) -> None:
        self._terms = _query_terms(query)
        self._distinct = frozenset(self._terms)
        self.names = NamesInQuery(query)
        self._positions = {
            id(passage): self._positions_in(f"{passage.title}\n{passage.text}")
            for group in groups
            for passage in group
        }
        self._weights = self._rarity(groups)

    def _positions_in(self, text: str) -> dict[str, list[int]]:
        """Return where each of the query's terms stands in *text*, in order."""
        words = terms(text)
        # Most words of a text are not in the query. `compress` passes over them fastest.
        hits = compress(enumerate(words), map(self._distinct.__contains__, words))
        positions: dict[str, list[int]] = {}
        for place, term in hits:
            positions.setdefault(term, []).append(place)
        return positions

    def _rarity(self, groups: Sequence[Sequence[PassageMatch]]) -> dict[str, float]:
        """Return each term's share of the whole weight: the inverse document frequency of BM25."""
        spread: Counter[str] = Counter()
        for group in groups:
            terms_of_passages = [self._positions[id(passage)] for passage in group]
            spread.update(set().union(*terms_of_passages))
        rarity = {}
        for term in self._distinct:
            within = spread[term]
            without = len(groups) - within
            rarity[term] = math.log(1 + (without + 0.5) / (within + 0.5))
        total = sum(rarity.values())
        return {term: weight / total for term, weight in rarity.items()}

    def lead(self, passage: PassageMatch) -> float:
        """Return how much of the query stands near the beginning of *passage*, title first.

        It is 1 when all of it stands at the very beginning.
        """
        first: dict[str, float] = {}
        for term, places in self._positions[id(passage)].items():
            first[term] = places[0]
        return self._earliness(first)

    def opening(self, group: Sequence[PassageMatch]) -> float:
        """Return the same for the beginning of the artifact, as far as its passages match."""
        first: dict[str, float] = {}
        for passage in group:
            title_words = len(terms(passage.title))
            words_before = passage.start / _CHARACTERS_PER_WORD
            positions = self._positions[id(passage)]
            for term, (place, *_) in positions.items():
                in_artifact = place if place < title_words else place + words_before
                earlier = first.get(term, in_artifact)
                first[term] = min(in_artifact, earlier)
        return self._earliness(first)

    def _earliness(self, first: Mapping[str, float]) -> float:
        earliness = 0.0
        for term, place in first.items():
            earliness += self._weights[term] / (1 + place / _OPENING_WORDS)
        return earliness

    def neighbours(self, passage: PassageMatch) -> float:
        """Return the share of the query's neighbouring words that stand together in *passage*."""
        positions = self._positions[id(passage)]
        together = 0.0
        for first, second in pairwise(self._terms):
            if first in positions and second in positions:
                together += _closeness(positions[first], positions[second])
        pairs = max(1, len(self._terms) - 1)
        return together / pairs


def _closeness(positions: Sequence[int], others: Sequence[int]) -> float:
    """Return 1 when one word follows the other, half of it with one word between them."""
    behind = frozenset(others)
    if not behind.isdisjoint([place + 1 for place in positions]):
        return 1.0
    if not behind.isdisjoint([place + 2 for place in positions]):
        return 0.5
    return 0.0
