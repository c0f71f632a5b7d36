"""Texts that say the same, or nearly: copies, later versions, reports made from one template."""

from __future__ import annotations

from functools import cached_property
from typing import Final, TypeAlias

from vespera_orchestrator.artifacts.search.ranking import terms

_RUN_WORDS: Final = 5
_WITHIN_SHARE: Final = 0.8
"""A text is within another one if this share of its runs of five words is there."""
_EQUAL_SHARE: Final = 0.9
"""Texts are equal if this share of the runs of either is in the other."""
_LEAST_COMMON_WORDS: Final = 0.5
"""With fewer words in common, runs are not looked at: they cost fifty times as much."""

_Runs: TypeAlias = frozenset[tuple[str, ...]]


class Saying:
    """What a text says, to be compared with what others say.

    Args:
        text: The text.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def has_a_run(self) -> bool:
        """Whether there are enough words to tell a copy from a coincidence."""
        return len(self._terms) >= _RUN_WORDS

    def is_within(self, other: Saying) -> bool:
        """Tell whether the shorter of the two says little that is not in the other one."""
        if not self._has_words_of(other):
            return False
        shorter = min(len(self._runs), len(other._runs))
        return len(self._runs & other._runs) >= _WITHIN_SHARE * shorter

    def equals(self, other: Saying) -> bool:
        """Tell whether both say nearly the same, and neither much more."""
        if not self._has_words_of(other):
            return False
        longer = max(len(self._runs), len(other._runs))
        return len(self._runs & other._runs) >= _EQUAL_SHARE * longer

    def _has_words_of(self, other: Saying) -> bool:
        shorter = min(len(self._words), len(other._words))
        return len(self._words & other._words) >= _LEAST_COMMON_WORDS * shorter

    @cached_property
    def _words(self) -> frozenset[str]:
        if self._text.isascii():
            return frozenset(self._text.lower().split())
        # Where no spaces set words apart, one changed character would make all of it another word.
        return frozenset(self._terms)

    @cached_property
    def _runs(self) -> _Runs:
        words = self._terms
        count = max(1, len(words) - _RUN_WORDS + 1)
        return frozenset(tuple(words[start : start + _RUN_WORDS]) for start in range(count))

    @cached_property
    def _terms(self) -> list[str]:
        return terms(self._text)
