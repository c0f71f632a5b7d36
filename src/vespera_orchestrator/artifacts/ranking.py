"""Which artifact answers a query best, given the passages that were found by their words and by their vectors.

Scores are kept as scores, not turned into ranks: their margins are the best evidence there is, and a fusion of ranks throws them away. An
artifact counts by the score of its best passage, by its density (the mean over all its passages, so that one that speaks of nothing else
wins over one that mentions it), by how near its best vector is, by how much of the query one passage covers, and by how many neighbouring
words of the query stand together there.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.artifacts.passages import WORD, identifier_parts

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

_DENSITY, _NEARNESS, _COVERAGE, _NEIGHBOURS, _BEST, _LENGTH = 0.65, 0.5, 0.7, 0.9, 0.8, 0.12
_ROUGH_DENSITY, _ROUGH_NEARNESS = 0.4, 0.35
"""Weights, fitted on commit messages with their diffs and docstrings with their functions; each fit moved the other set by 0.01 at most."""
_CANDIDATES = 60
"""So many artifacts are looked at closely; the right one is hardly ever below."""

_STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of", "on", "or", "such",
    "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ied", "ies", "ed", "es", "s", "ly", "e")


@attrs.frozen
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
    superseded: bool = False


@attrs.frozen
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


def terms(text: str) -> list[str]:
    """Return the words of *text* in order, identifiers taken apart, lower case, without endings."""
    return [term for word in WORD.findall(text) for term in _terms(word)]


def rank(query: str, found: Sequence[Found], near: Sequence[Found] = (), *, least_cosine: float | None = None) -> list[Ranked]:
    """Order the artifacts that *found* and *near* belong to, the best first; superseded ones after all others.

    Args:
        query: What was asked for.
        found: Passages found by their words, with positive scores.
        near: Passages found by their vectors, with cosines.
        least_cosine: What is not found by its words must be at least that near.

    Returns:
        One entry for each artifact. Scores compare within one answer only.
    """
    groups = _groups(found, near, least_cosine)
    scale = _Scale.of(found, near)
    rough = {key: scale.rough(group) for key, group in groups.items()}
    order = sorted(groups, key=lambda key: (groups[key][0].superseded, -rough[key]))
    asked = _Asked(query, [groups[key] for key in order[:_CANDIDATES]])
    ranked = [scale.closely(asked, groups[key]) for key in order[:_CANDIDATES]]
    ranked.sort(key=lambda entry: (entry.passage.superseded, -entry.score))
    floor = min((entry.score for entry in ranked), default=0.0)
    last = rough[order[len(ranked) - 1]] if ranked else 0.0
    rest = [Ranked(scale.best(groups[key]), floor - 1 + min(0.0, rough[key] - last)) for key in order[_CANDIDATES:]]
    return sorted(ranked + rest, key=lambda entry: entry.passage.superseded)


def rank_near(near: Sequence[Found]) -> list[Ranked]:
    """Order the artifacts that *near* belongs to by the cosine of their nearest passage alone; superseded ones after all others."""
    best: dict[str, Found] = {}
    for passage in sorted(near, key=lambda passage: -(passage.cosine or 0.0)):
        best.setdefault(passage.artifact_id, passage)
    return sorted((Ranked(passage, passage.cosine or 0.0) for passage in best.values()), key=lambda entry: entry.passage.superseded)


def _groups(found: Sequence[Found], near: Sequence[Found], least_cosine: float | None) -> dict[str, list[Found]]:
    """Bring together what belongs to one artifact; a passage found both ways is one."""
    merged = {(passage.artifact_id, passage.start): passage for passage in found}
    worded = {passage.artifact_id for passage in found}
    for passage in near:
        key = (passage.artifact_id, passage.start)
        if key in merged:
            merged[key] = attrs.evolve(merged[key], cosine=passage.cosine)
        elif passage.artifact_id in worded or least_cosine is None or (passage.cosine or 0.0) >= least_cosine:
            merged[key] = passage
    groups: dict[str, list[Found]] = {}
    for passage in merged.values():
        groups.setdefault(passage.artifact_id, []).append(passage)
    return groups


@attrs.frozen
class _Scale:
    """Brings scores and cosines of one answer to the same measure, 0 to 1."""

    best_score: float
    nearest: float
    farthest: float

    @classmethod
    def of(cls, found: Sequence[Found], near: Sequence[Found]) -> _Scale:
        cosines = [passage.cosine for passage in near if passage.cosine is not None]
        best = max((passage.score for passage in found), default=0.0) or 1.0
        return cls(best, max(cosines, default=0.0), min(cosines, default=0.0))

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
        return max(group, key=lambda passage: self.text(passage) + _ROUGH_NEARNESS * self.near(passage))

    def rough(self, group: Sequence[Found]) -> float:
        nearest = max(map(self.near, group))
        return max(map(self.text, group)) + _ROUGH_DENSITY * self.density(group) + _ROUGH_NEARNESS * nearest

    def closely(self, asked: _Asked, group: Sequence[Found]) -> Ranked:
        judged = [(self.text(passage), self.near(passage), *asked.judge(passage), passage) for passage in group]
        score = (
            _BEST * max(j[0] for j in judged)
            + _DENSITY * self.density(group)
            + _NEARNESS * max(j[1] for j in judged)
            + _COVERAGE * max(j[2] for j in judged)
            + _NEIGHBOURS * max(j[3] for j in judged)
            - _LENGTH * math.log(group[0].passages)
        )
        shown = sorted(judged, key=lambda j: -(_BEST * j[0] + _NEARNESS * j[1] + _COVERAGE * j[2] + _NEIGHBOURS * j[3]))
        return Ranked(shown[0][4], score, tuple(j[4] for j in shown[1:]))


class _Asked:
    """The query's words, weighed by how rare they are among the candidates."""

    def __init__(self, query: str, groups: Sequence[Sequence[Found]]) -> None:
        silent = {_stem(word) for word in _STOP_WORDS}
        self.words = [term for term in terms(query) if term not in silent]
        self.distinct = frozenset(self.words)
        self.places = {id(passage): self._places(f"{passage.title}\n{passage.text}") for group in groups for passage in group}
        spread = Counter(term for group in groups for term in frozenset().union(*(self.places[id(passage)] for passage in group)))
        self.weight = {term: math.log(1 + (len(groups) - spread[term] + 0.5) / (spread[term] + 0.5)) for term in self.distinct}
        self.total = sum(self.weight.values()) or 1.0

    def _places(self, text: str) -> dict[str, set[int]]:
        """Return where each of the query's words stands in *text*."""
        distinct, found = self.distinct, dict[str, set[int]]()
        # Most words of a text are none of the query's: they are passed over in the comprehension, which is much the faster.
        for place, term in [(place, term) for place, term in enumerate(terms(text)) if term in distinct]:
            found.setdefault(term, set()).add(place)
        return found

    def judge(self, passage: Found) -> tuple[float, float]:
        """Return the share of the query that the passage covers, and the share of its neighbouring words that stand together there."""
        here = self.places[id(passage)]
        covered = sum(self.weight[term] for term in here) / self.total
        if len(self.words) < 2:  # noqa: PLR2004 - a pair takes two
            return covered, 0.0
        together = sum(_together(here.get(a, ()), here.get(b, ())) for a, b in pairwise(self.words))
        return covered, together / (len(self.words) - 1)


def _together(places: Iterable[int], others: Container[int]) -> float:
    """Return 1 where one word follows the other, half of it with a word between them."""
    gaps = [gap for place in places for gap in (1, 2) if place + gap in others]
    return 1 / min(gaps) if gaps else 0.0
