"""Which artifact answers a query best, given the passages that full-text search found.

Full-text scores are kept as scores, not turned into ranks: their margins are the best evidence there is. To an artifact's best score come
its density (the mean over all its passages, so that one that speaks of nothing else wins over one that mentions it), how much of the query
one passage covers, and how many neighbouring words of the query stand together there.
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
    from collections.abc import Mapping, Sequence

_DENSITY, _COVERAGE, _NEIGHBOURS, _BEST, _LENGTH = 0.65, 0.7, 0.9, 0.8, 0.12
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
    """A passage as full-text search found it."""

    artifact_id: str
    title: str
    start: int
    end: int
    text: str
    passages: int
    """How many passages its artifact has."""
    score: float


@attrs.frozen
class Ranked:
    """An artifact in its place, by its best passage."""

    passage: Found
    score: float


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


def rank(query: str, found: Sequence[Found]) -> list[Ranked]:
    """Order the artifacts that *found* belongs to, the best first.

    Args:
        query: What was asked for.
        found: Passages, with positive scores.

    Returns:
        One entry for each artifact. Scores compare within one answer only.
    """
    groups: dict[str, list[Found]] = {}
    for passage in found:
        groups.setdefault(passage.artifact_id, []).append(passage)
    best = max((passage.score for passage in found), default=0.0) or 1.0
    rough = {key: _rough(group, best) for key, group in groups.items()}
    order = sorted(groups, key=lambda key: -rough[key])
    asked = _Asked(query, [groups[key] for key in order[:_CANDIDATES]])
    ranked = [_closely(asked, groups[key], best) for key in order[:_CANDIDATES]]
    ranked.sort(key=lambda entry: -entry.score)
    floor = ranked[-1].score if ranked else 0.0
    last = rough[order[len(ranked) - 1]] if ranked else 0.0
    return ranked + [Ranked(_best_of(groups[key]), floor + rough[key] - last) for key in order[_CANDIDATES:]]


def _rough(group: Sequence[Found], best: float) -> float:
    return _best_of(group).score / best + 0.4 * _density(group, best)


def _best_of(group: Sequence[Found]) -> Found:
    return max(group, key=lambda passage: passage.score)


def _density(group: Sequence[Found], best: float) -> float:
    return sum(passage.score for passage in group) / group[0].passages / best


def _closely(asked: _Asked, group: Sequence[Found], best: float) -> Ranked:
    judged = [(passage.score / best, *asked.judge(passage), passage) for passage in group]
    score = (
        _BEST * max(j[0] for j in judged)
        + _DENSITY * _density(group, best)
        + _COVERAGE * max(j[1] for j in judged)
        + _NEIGHBOURS * max(j[2] for j in judged)
        - _LENGTH * math.log(group[0].passages)
    )
    shown = max(judged, key=lambda j: _BEST * j[0] + _COVERAGE * j[1] + _NEIGHBOURS * j[2])
    return Ranked(shown[3], score)


class _Asked:
    """The query's words, weighed by how rare they are among the candidates."""

    def __init__(self, query: str, groups: Sequence[Sequence[Found]]) -> None:
        silent = {_stem(word) for word in _STOP_WORDS}
        self.words = [term for term in terms(query) if term not in silent]
        self.distinct = set(self.words)
        self.terms: Mapping[int, list[str]] = {id(p): terms(f"{p.title}\n{p.text}") for group in groups for p in group}
        spread = Counter(term for group in groups for term in self.distinct.intersection(t for p in group for t in self.terms[id(p)]))
        self.weight = {term: math.log(1 + (len(groups) - spread[term] + 0.5) / (spread[term] + 0.5)) for term in self.distinct}
        self.total = sum(self.weight.values()) or 1.0

    def judge(self, passage: Found) -> tuple[float, float]:
        """Return the share of the query that the passage covers, and the share of its neighbouring words that stand together there."""
        here = self.terms[id(passage)]
        covered = sum(self.weight[term] for term in self.distinct.intersection(here)) / self.total
        if len(self.words) < 2:  # noqa: PLR2004 - a pair takes two
            return covered, 0.0
        adjacent, apart = set(pairwise(here)), set(zip(here, here[2:], strict=False))
        together = sum(1.0 if pair in adjacent else 0.5 if pair in apart else 0.0 for pair in pairwise(self.words))
        return covered, together / (len(self.words) - 1)
