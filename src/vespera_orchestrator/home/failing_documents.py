"""Which documents could not be brought up to date, as the home remembers it.

Whoever only asks for the next step reads this, and loads nothing else of the documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.home.reading import read_json

if TYPE_CHECKING:
    from pathlib import Path

STATE_FILE: Final = "documents.json"
"""Where a home remembers up to which event its documents are up to date."""
FAILING: Final = "failing"
"""The key under which it names documents that the last update had to leave as they are."""


def failing_documents(home: Path) -> tuple[str, ...]:
    """Return the documents that the last update had to leave as they are, by path.

    Their markers are damaged, for example.
    """
    try:
        paths = read_json(home / STATE_FILE).get(FAILING, ())
        return tuple(map(str, paths))
    except (OSError, ValueError, TypeError, AttributeError):
        return ()
