r"""Whether a question names a text: by its title, or by the path that its title is.

Tracebacks, imports and people name files by the last parts of their paths, in three spellings:
``mark/evaluate.py``, ``mark\evaluate.py`` and ``mark.evaluate``. All become words in a row.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BETWEEN_WORDS: Final = re.compile(r"\W+")
_FOLDERS: Final = re.compile(r"[/\\]")
_BY_FILE_NAME: Final = 0.6
"""Many folders have a file of the same name."""


class NamesInQuery:
    """The words of a question in a row, in which names are looked for.

    Args:
        query: What to look for.
    """

    def __init__(self, query: str) -> None:
        self._row = _in_a_row(query)

    def share(self, title: str) -> float:
        """Return how surely the question names the text with this title, from 0 to 1.

        It is 1 for the whole title of two words or more, and for a file with its folder.
        """
        *folders, name = _FOLDERS.split(title)
        if not folders:
            return 1.0 if self._has(_in_a_row(title)) else 0.0
        if any(map(self._has, _with_folder(folders, name))):
            return 1.0
        return _BY_FILE_NAME if self._has(_in_a_row(name)) else 0.0

    def _has(self, words: str) -> bool:
        return words.strip().count(" ") > 0 and words in self._row


def _with_folder(folders: list[str], name: str) -> Iterator[str]:
    """Yield what a file is called with its nearest folder: as a path, and as a module."""
    for last in (name, PurePosixPath(name).stem):
        yield _in_a_row(f"{folders[-1]}/{last}")


def _in_a_row(text: str) -> str:
    """Return the words of *text* in small letters, with one space around each."""
    words = _BETWEEN_WORDS.sub(" ", text.lower()).strip()
    return f" {words} "
