"""Which artifact answers a query best, given the passages that were found by their words and by their vectors.

Scores are kept as scores, not turned into ranks: their margins are the best evidence there is, and a fusion of ranks throws them away. Six
things speak for an artifact, and their weighted sum is its score:

* **words**: the score of its best passage;
* **density**: the mean over all its passages, so that one that speaks of nothing else wins over one that mentions it;
* **nearness**: how near the sum of the vectors of its passages found is, in standard deviations from the mean of the candidates: what a
  cosine is worth differs from model to model;
* **neighbours**: how many neighbouring words of the query stand together in one passage;
* **opening**: how much of the query stands near the artifact's beginning, its title included: a text says first what it is about;
* **lead**: how much of the query stands near the beginning of one passage, which is how a function, a heading or a paragraph begins.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from operator import mul
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import attrs

from vespera_orchestrator.artifacts.search.passages import WORD, identifier_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WEIGHTS = (1.0, 0.75, 0.25, 1.1, 2.0, 0.7)
"""Of words, density, nearness, neighbours, opening and lead. Fitted on five kinds of text, by words alone and with vectors, and checked
on twelve others; `benchmarks/retrieval.py` asks anew."""
_ROUGH_WEIGHTS = (1.0, 0.4, 0.35)
"""Of words, density and the nearest vector, for choosing whom to look at closely."""
_SHOWN_NEARNESS = 0.6
"""Of the nearest vector, beside the weights above, for which passage of an artifact is shown."""
_CANDIDATES = 60
"""So many artifacts are looked at closely; the right one is hardly ever below."""
_OPENING_WORDS = 16
"""A word counts half when so many others stand before it."""
_WORD_CHARACTERS = 6

_STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of", "on", "or", "such",
    "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ied", "ies", "ed", "es", "s", "ly", "e")


@attrs.frozen(kw_only=True)
class Found:
    """A passage as it was found."""

    artifact_id: str
    title: str
    start: int
    end: int
    text: str
    passages: int
    """How many passages its artifact has."""
    score: float = 0.0
    """How well its words match; 0 when it was found by its vector alone."""
    cosine: float | None = None
    """How near its vector is to the query's; ``None`` when it was not among the nearest."""
    vector: Any = attrs.field(default=None, eq=False, repr=False)
    """Its vector as an array; ``None`` where it has none, or vectors were not looked for."""
    superseded: bool = False


@attrs.frozen(kw_only=True)
class Ranked:
    """An artifact in its place, by its best passage."""

    passage: Found
    score: float
    others: tuple[Found, ...] = ()
    """Its other passages that were found, the best first."""


def _stem(word: str) -> str:
    """Cut the commonest English endings; all that counts is that forms of one word come out alike."""
    suffix = next((s for s in _SUFFIXES if word.endswith(s) and len(word) - len(s) > 2), "")  # noqa: PLR2004 - what remains must still be a word
    word = word.removesuffix(suffix) + ("y" if suffix in {"ied", "ies"} else "")
    if len(word) > 3 and word[-1] == word[-2]:  # noqa: PLR2004 - "runn", but not "see"
        word = word[:-1]
    return word


@lru_cache(maxsize=50_000)
def _terms(word: str) -> tuple[str, ...]:
    return tuple(_stem(part.lower()) for part in identifier_parts(word) or [word])


_SILENT = frozenset(_stem(word) for word in _STOP_WORDS)


def terms(text: str) -> list[str]:
    """Return the words of *text* in order, identifiers taken apart, lower case, without endings."""
    return [term for word in WORD.findall(text) for term in _terms(word)]


def rank(
    query: str,
    found: Sequence[Found],
    near: Sequence[Found] = (),
    *,
    vector: Any = None,
    least_cosine: float | None = None,
) -> list[Ranked]:
    """Order the artifacts that *found* and *near* belong to, the best first; superseded ones after all others.

    What scores alike to six digits is ordered by title and text, so that the answer does not hang on ids or on the order of writing.

    Args:
        query: What was asked for.
        found: Passages found by their words, with positive scores.
        near: Passages found by their vectors, with cosines.
        vector: The query's, an array; without it only the words decide what *found* and *near* are worth.
        least_cosine: What is not found by its words must be at least that near.

    Returns:
        One entry for each artifact. Scores compare within one answer only.
    """
    groups = _groups(found, near, least_cosine)
    scale = _Scale.of(found, near)
    rough = sorted(
        (Ranked(passage=scale.best(group), score=scale.rough(group)) for group in groups.values()),
        key=_place,
    )
    judged, rest = rough[:_CANDIDATES], rough[_CANDIDATES:]
    candidates = [groups[entry.passage.artifact_id] for entry in judged]
    asked = _Asked(query, candidates)
    nearness = _nearness(vector, candidates)
    ranked = sorted(
        (scale.closely(asked, *candidate) for candidate in zip(candidates, nearness, strict=True)),
        key=_place,
    )
    # All scores stay in one order: the first of the rest comes just behind the last that was looked at closely.
    down = 1 + rest[0].score - min(entry.score for entry in ranked) if rest else 0.0
    return sorted(
        [*ranked, *(attrs.evolve(entry, score=entry.score - down) for entry in rest)],
        key=lambda entry: entry.passage.superseded,
    )


def _place(entry: Ranked) -> tuple[bool, float, str, str, str]:
    """Return what decides where *entry* stands."""
    passage = entry.passage
    return (
        passage.superseded,
        -round(entry.score, 6),
        passage.title,
        passage.text,
        passage.artifact_id,
    )


def rank_near(near: Sequence[Found]) -> list[Ranked]:
    """Order the artifacts that *near* belongs to by the cosine of their nearest passage alone; superseded ones after all others."""
    best: dict[str, Found] = {}
    for passage in sorted(near, key=lambda passage: -(passage.cosine or 0.0)):
        best.setdefault(passage.artifact_id, passage)
    return sorted(
        (Ranked(passage=passage, score=passage.cosine or 0.0) for passage in best.values()),
        key=lambda entry: entry.passage.superseded,
    )


def _groups(
    found: Sequence[Found], near: Sequence[Found], least_cosine: float | None
) -> dict[str, list[Found]]:
    """Bring together what belongs to one artifact; a passage found both ways is one."""
    merged = {(passage.artifact_id, passage.start): passage for passage in found}
    worded = {passage.artifact_id for passage in found}
    for passage in near:
        key = (passage.artifact_id, passage.start)
        if key in merged:
            merged[key] = attrs.evolve(merged[key], cosine=passage.cosine)
        elif (
            passage.artifact_id in worded
            or least_cosine is None
            or (passage.cosine or 0.0) >= least_cosine
        ):
            merged[key] = passage
    groups: dict[str, list[Found]] = {}
    for passage in merged.values():
        groups.setdefault(passage.artifact_id, []).append(passage)
    return groups


@attrs.frozen(kw_only=True)
class _Scale:
    """Brings scores and cosines of one answer to the same measure, 0 to 1."""

    best_score: float
    nearest: float
    farthest: float

    @classmethod
    def of(cls, found: Sequence[Found], near: Sequence[Found]) -> _Scale:
        cosines = [passage.cosine for passage in near if passage.cosine is not None]
        best = max((passage.score for passage in found), default=0.0) or 1.0
        return cls(
            best_score=best, nearest=max(cosines, default=0.0), farthest=min(cosines, default=0.0)
        )

    def text(self, passage: Found) -> float:
        return passage.score / self.best_score

    def near(self, passage: Found) -> float:
        if passage.cosine is None:
            return 0.0
        span = self.nearest - self.farthest
        return (passage.cosine - self.farthest) / span if span > 0 else 1.0

    def density(self, group: Sequence[Found]) -> float:
        return sum(self.text(passage) for passage in group) / group[0].passages

    def best(self, group: Sequence[Found]) -> Found:
        words, _, nearness = _ROUGH_WEIGHTS
        return max(
            group, key=lambda passage: words * self.text(passage) + nearness * self.near(passage)
        )

    def rough(self, group: Sequence[Found]) -> float:
        return _weighed(
            _ROUGH_WEIGHTS,
            (max(map(self.text, group)), self.density(group), max(map(self.near, group))),
        )

    def closely(self, asked: _Asked, group: Sequence[Found], nearness: float) -> Ranked:
        judged = [
            (self.text(passage), asked.neighbours(passage), asked.lead(passage))
            for passage in group
        ]
        words, neighbours, lead = map(max, zip(*judged, strict=True))
        score = _weighed(
            _WEIGHTS, (words, self.density(group), nearness, neighbours, asked.opening(group), lead)
        )
        best, _, _, together, _, early = _WEIGHTS
        worth = {
            id(p): best * w + _SHOWN_NEARNESS * self.near(p) + together * n + early * e
            for p, (w, n, e) in zip(group, judged, strict=True)
        }
        shown = sorted(group, key=lambda passage: -worth[id(passage)])
        return Ranked(passage=shown[0], score=score, others=tuple(shown[1:]))


def _nearness(vector: Any, groups: Sequence[Sequence[Found]]) -> list[float]:
    """Return for each group how near its vectors are to *vector*, in standard deviations from the mean of all; 0 for what has none."""
    cosines = [
        None
        if vector is None
        else _cosine(vector, [p.vector for p in group if p.vector is not None])
        for group in groups
    ]
    known = [cosine for cosine in cosines if cosine is not None]
    if not known:
        return [0.0] * len(groups)
    mean, spread = fmean(known), pstdev(known)
    return [
        (cosine - mean) / spread if cosine is not None and spread > 0 else 0.0 for cosine in cosines
    ]


def _cosine(vector: Any, others: Sequence[Any]) -> float | None:
    """Return the cosine of *vector* and the sum of *others*; ``None`` when there is none."""
    total = sum(others)
    length = math.sqrt(total @ total) * math.sqrt(vector @ vector) if others else 0.0
    return float(vector @ total) / length if length > 0 else None


def _weighed(weights: Sequence[float], evidence: Sequence[float]) -> float:
    return math.fsum(map(mul, weights, evidence))


class _Asked:
    """The query's words, weighed by how rare they are among the candidates."""

    def __init__(self, query: str, groups: Sequence[Sequence[Found]]) -> None:
        self.words = [term for term in terms(query) if term not in _SILENT]
        self.distinct = frozenset(self.words)
        self.places = {
            id(passage): self._places(f"{passage.title}\n{passage.text}")
            for group in groups
            for passage in group
        }
        spread = Counter(
            term
            for group in groups
            for term in frozenset().union(*(self.places[id(passage)] for passage in group))
        )
        weight = {
            term: math.log(1 + (len(groups) - spread[term] + 0.5) / (spread[term] + 0.5))
            for term in self.distinct
        }
        total = sum(weight.values())
        self.weight = {term: part / total for term, part in weight.items()}

    def _places(self, text: str) -> dict[str, list[int]]:
        """Return where each of the query's words stands in *text*, in order."""
        distinct, found = self.distinct, dict[str, list[int]]()
        # Most words of a text are none of the query's: they are passed over in the comprehension, which is much the faster.
        for place, term in [
            (place, term) for place, term in enumerate(terms(text)) if term in distinct
        ]:
            found.setdefault(term, []).append(place)
        return found

    def lead(self, passage: Found) -> float:
        """Return how much of the query stands near the beginning of *passage*, title first; 1 for all of it at the very beginning."""
        return self._early({term: places[0] for term, places in self.places[id(passage)].items()})

    def opening(self, group: Sequence[Found]) -> float:
        """Return the same for the beginning of the artifact, as far as its passages were found."""
        first: dict[str, float] = {}
        for passage in group:
            title, before = len(terms(passage.title)), passage.start / _WORD_CHARACTERS
            for term, (place, *_) in self.places[id(passage)].items():
                whole = place if place < title else place + before
                first[term] = min(whole, first.get(term, whole))
        return self._early(first)

    def _early(self, first: Mapping[str, float]) -> float:
        return sum(
            self.weight[term] / (1 + place / _OPENING_WORDS) for term, place in first.items()
        )

    def neighbours(self, passage: Found) -> float:
        """Return the share of the query's neighbouring words that stand together in *passage*."""
        here = self.places[id(passage)]
        together = sum(
            _together(here[a], here[b]) for a, b in pairwise(self.words) if a in here and b in here
        )
        return together / max(1, len(self.words) - 1)


def _together(places: Sequence[int], others: Sequence[int]) -> float:
    """Return 1 where one word follows the other, half of it with a word between them."""
    following = frozenset(others)
    gaps = [gap for place in places for gap in (1, 2) if place + gap in following]
    return 1 / min(gaps) if gaps else 0.0
