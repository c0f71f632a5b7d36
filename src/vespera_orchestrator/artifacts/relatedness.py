"""Whether a text is clearly about a task that does not build on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.artifacts.search.ranking import terms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Task

_LEAST_TERMS: Final = 2
_LEAST_SHARE: Final = 0.5
_MAX_DESCRIPTION_CHARS: Final = 4000
_PASSAGE_CHARS: Final = 1200
_SMALL_WORDS: Final = """
    a an and any are as at be but by can do each every for from has have how if in into is
    it its may more must new no not of on one only or other our own so some such than that
    the their them then there these they this those to up use was we what when where which
    who will with you your
"""
_USUAL_VERBS: Final = """
    add build change check complete create describe design document draft edit find finish
    fix get implement improve make plan prepare read refactor remove review run set start
    task test try update work write
"""
_COMMON: Final = frozenset(terms(_SMALL_WORDS + _USUAL_VERBS))
"""Words that say little about what a task is about: the usual words, and the usual verbs."""


class Topic:
    """What a task is about, to compare texts with.

    Args:
        task: The task; its title and the beginning of its description count.
    """

    def __init__(self, task: Task) -> None:
        self._title = _telling(task.title)
        self._all = self._title | _telling(task.description[:_MAX_DESCRIPTION_CHARS])

    def covers(self, title: str, text: str) -> bool:
        """Tell whether a text is clearly about the task.

        It shares at least two telling words with the task, and half of those in the task's title.
        That is an absolute measure: where nothing is about the task, nothing passes. (A search
        always has a best answer.)

        Args:
            title: The title of what the text is from.
            text: The text.
        """
        words = _telling(f"{title} {text}")
        if not self._title or len(self._all & words) < _LEAST_TERMS:
            return False
        return len(self._title & words) >= _LEAST_SHARE * len(self._title)

    def best_passage(self, title: str, text: str) -> str:
        """Return the passage that shares the most with the task; empty if none is about it."""
        passages = [part for part in _passages(text) if self.covers(title, part)]
        return max(passages, key=self._shared, default="")

    def _shared(self, text: str) -> int:
        return len(self._all & _telling(text))


def _telling(text: str) -> frozenset[str]:
    return frozenset(terms(text)) - _COMMON


def _passages(text: str) -> Iterator[str]:
    """Yield *text* in pieces of whole paragraphs, as long as these are not too long."""
    passage = ""
    for paragraph in text.split("\n\n"):
        joined = f"{passage}\n\n{paragraph}" if passage else paragraph
        if passage and len(joined) > _PASSAGE_CHARS:
            yield passage
            joined = paragraph
        passage = joined[: 2 * _PASSAGE_CHARS]
    if passage.strip():
        yield passage
