"""Which topic a text is like, where nothing says what it is about.

Every word of a text votes for the topics in whose texts it occurs, by how often it does; words that
say nothing about the topic do not count. One topic has to have most of the votes, and far more
than the next. That is right nine times in ten where there are three topics, and most texts are
placed nowhere: what is not clear is left to the people.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.vocabulary import UNSEPARATED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vespera_orchestrator._model import Artifact

_WORD: Final = re.compile(r"[^\W\d_]+")
_SHORTEST: Final = 4
"""Shorter words are those that every text has."""
_STEM: Final = 6
"""So many letters of a word count, so that its forms are one."""
_MOST_VOTES: Final = 0.5
_MARGIN: Final = 2.5
_FEWEST_WORDS: Final = 6


def words_of(text: str) -> Mapping[str, float]:
    """Return the words of a text with their weights. Of Chinese and Japanese, pairs of signs."""
    folded = unicodedata.normalize("NFC", text).casefold()
    counts: Counter[str] = Counter()
    for word in _WORD.findall(UNSEPARATED.sub(" ", folded)):
        if len(word) >= _SHORTEST:
            counts[word[:_STEM]] += 1
    signs = UNSEPARATED.findall(folded)
    counts.update("".join(pair) for pair in pairwise(signs))
    return {word: 1 + math.log(count) for word, count in counts.items()}


@attrs.frozen(kw_only=True)
class Placement:
    """Where likeness puts a text."""

    topic: str
    votes: float
    """Its part of the votes, up to 1."""


class Likeness:
    """Knows texts by topic."""

    def __init__(self) -> None:
        self._texts: Counter[str] = Counter()
        """How many there are of each topic."""
        self._with_word: dict[str, Counter[str]] = {}
        """How many of each topic have a word."""

    def learn(self, topics: Iterable[str], words: Iterable[str], *, times: int = 1) -> None:
        """Remember a text, or forget it with ``times=-1``."""
        listed = list(words)
        for topic in topics:
            self._texts[topic] += times
            for word in listed:
                self._with_word.setdefault(word, Counter())[topic] += times

    def place(self, words: Mapping[str, float]) -> Placement | None:
        """Return the topic that a text is like; ``None`` if that is not clear."""
        votes: defaultdict[str, float] = defaultdict(float)
        shared: Counter[str] = Counter()
        total = 0.0
        for word, weight in words.items():
            shares = self._shares(word)
            if not shares:
                total += weight
            elif max(shares.values()) >= _MOST_VOTES:
                total += weight
                for topic, share in shares.items():
                    votes[topic] += weight * share
                    shared[topic] += 1
        ranking = sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))
        (best, most), (_, next_most), *_ = [*ranking, ("", 0.0), ("", 0.0)]
        is_clear = most >= _MOST_VOTES * total and most >= _MARGIN * next_most
        if not best or not is_clear or shared[best] < _FEWEST_WORDS:
            return None
        return Placement(topic=best, votes=most / total)

    def _shares(self, word: str) -> dict[str, float]:
        """Return how a word's votes are shared out among the topics."""
        counts = self._with_word.get(word, Counter())
        rates = {topic: count / self._texts[topic] for topic, count in counts.items() if count}
        whole = sum(rates.values())
        return {topic: rate / whole for topic, rate in rates.items()}


@attrs.frozen(kw_only=True)
class _Step:
    artifact: Artifact
    topics: tuple[str, ...]
    """What it is about by what it says itself."""
    words: Mapping[str, float]
    placement: Placement | None


class Placements:
    """Places artifacts one after the other, each by those before it.

    So a decision does not change because something new comes. Where something earlier changes, what
    was decided since is decided again.
    """

    def __init__(self) -> None:
        self._likeness = Likeness()
        self._steps: list[_Step] = []

    def go_back(self, artifacts: list[Artifact]) -> int:
        """Keep the decisions about the first of these artifacts, and return how many they are."""
        kept = 0
        for step, artifact in zip(self._steps, artifacts, strict=False):
            if step.artifact is not artifact and step.artifact != artifact:
                break
            kept += 1
        while len(self._steps) > kept:
            step = self._steps.pop()
            self._likeness.learn(step.topics, step.words, times=-1)
        return kept

    def add(self, artifact: Artifact, topics: tuple[str, ...], words: Mapping[str, float]) -> None:
        """Decide about one more.

        Args:
            artifact: The artifact.
            topics: What it is about, if it says so itself.
            words: See `words_of`; none if it is not to be placed.
        """
        placement = None if topics else self._likeness.place(words)
        self._likeness.learn(topics, words)
        step = _Step(artifact=artifact, topics=topics, words=words, placement=placement)
        self._steps.append(step)

    def by_artifact(self) -> dict[str, Placement]:
        """Return where likeness puts artifacts, by id."""
        return {step.artifact.id: step.placement for step in self._steps if step.placement}
