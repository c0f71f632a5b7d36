"""The vectors of one index: which embedder makes them, and what to do while it cannot.

All vectors of a generation come from one embedder. One that fails costs nothing but its vectors:
it is left alone for a while, and what lacks a vector gets it later.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from vespera_orchestrator.artifacts.search import embedders
from vespera_orchestrator.errors import EmbedderError, InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator.artifacts.search.state import IndexState
    from vespera_orchestrator.artifacts.search.table import Row
    from vespera_orchestrator.contracts import Embedder

log = logging.getLogger("vespera_orchestrator")

_LARGEST_BYTE = 127
_RETRY_S = 60.0
"""How long to leave an embedder alone after it failed: it may be a server that does not answer."""


class VectorMaker:
    """Makes vectors for an index, with the embedder that the settings name.

    Args:
        setting: See `embedders.choose`.
    """

    def __init__(self, setting: str | Embedder | None) -> None:
        self._setting = setting
        self._is_chosen = False
        self._embedder: Embedder | None = None
        self.paused_until = 0.0
        """On the monotonic clock: before that the embedder is left alone."""

    @property
    def embedder(self) -> Embedder | None:
        """The embedder; ``None`` when the search is by words alone.

        Raises:
            MissingDependencyError: The one that was named is not installed.
            InvalidInputError: None has this name.
        """
        if not self._is_chosen:
            self._embedder = embedders.choose(self._setting)
            self._is_chosen = True
        return self._embedder

    @property
    def is_switched_off(self) -> bool:
        """Whether the settings say that there are to be no vectors."""
        return self._setting == embedders.NONE

    def dimensions(self) -> int:
        """Return how long the vectors are; 0 without an embedder, or while it is left alone."""
        if self.embedder is None or self._is_paused():
            return 0
        try:
            return embedders.dimensions(self.embedder)
        except EmbedderError as exc:
            self._pause(exc)
            return 0

    def needs_rebuild(self, state: IndexState) -> bool:
        """Tell whether the index has to be rebuilt for the sake of its vectors."""
        if self.embedder is None:
            # Not being installed here is no reason to take away the vectors that others use; being
            # switched off is.
            return bool(state.embedder) and self.is_switched_off
        return self.embedder.identity != state.embedder and bool(self.dimensions())

    def can_fill(self, state: IndexState) -> bool:
        """Tell whether the index lacks vectors that can be made here now."""
        return state.bare and self._is_ready(state)

    def of_rows(self, state: IndexState, rows: Sequence[Row]) -> Any:
        """Return an array with a vector for each row, as `in_bytes` makes them.

        ``None`` when the index has no vectors, or they cannot be made now.
        """
        if not rows or self.embedder is None or not self._is_ready(state):
            return None
        texts = [f"{row['title']}\n{row['text']}" for row in rows]
        try:
            return in_bytes(embedders.embed(self.embedder, texts))
        except EmbedderError as exc:
            self._pause(exc)
            return None

    def of_query(self, state: IndexState, query: str) -> Any:
        """Return the vector of a query.

        ``None`` when the index has no vectors, or it cannot be made now, or the query says
        nothing to the model.
        """
        if self.embedder is None or not self._is_ready(state):
            return None
        try:
            return embedders.embed_query(self.embedder, query)
        except EmbedderError as exc:
            self._pause(exc)
            return None

    def of_query_alone(self, state: IndexState, query: str) -> Any:
        """Return the vector of a query that is to be answered by vectors alone.

        Raises:
            InvalidInputError: Vectors are switched off.
            MissingDependencyError: The embedder is not installed.
            EmbedderError: It failed, or the index has no vectors of it yet.
        """
        if self.embedder is None and self.is_switched_off:
            raise InvalidInputError(
                "mode",
                "'vector' needs an embedder, and it is switched off: open with embedder='auto'",
            )
        if self.embedder is None:
            raise MissingDependencyError(
                "searching by vectors", embedders.STATIC, embedders.INSTALL_STATIC
            )
        if self.embedder.identity != state.embedder:
            raise EmbedderError(
                "search by vectors",
                f"there are none of {self.embedder.identity} yet",
                "call again in a moment",
            )
        return embedders.embed_query(self.embedder, query)

    def note(self, state: IndexState | None) -> str:
        """Return what there is to know or do about vectors; empty when all is well."""
        if self.is_switched_off:
            return "vectors are switched off"
        if self.embedder is None:
            return f"for vectors: {embedders.INSTALL_STATIC}"
        if state is None:
            return ""
        if self.embedder.identity != state.embedder:
            return f"the next search makes the vectors of {self.embedder.identity}"
        if state.bare:
            return "some vectors could not be made; the next search tries again"
        return ""

    def _is_ready(self, state: IndexState) -> bool:
        """Tell whether vectors of this index can be made here, as far as is known."""
        if self.embedder is None or self.embedder.identity != state.embedder:
            return False
        return not self._is_paused()

    def _is_paused(self) -> bool:
        return time.monotonic() < self.paused_until

    def _pause(self, exc: Exception) -> None:
        self.paused_until = time.monotonic() + _RETRY_S
        log.warning("searching by words alone for a while: %s", exc)


def in_bytes(vectors: Any) -> Any:
    """Return *vectors* in whole numbers from -127 to 127, a byte each.

    What counts is where a vector points, which changes by less than half a degree. Its numbers take
    a quarter of the room.
    """
    import numpy as np

    largest = np.abs(vectors).max(axis=1, keepdims=True)
    scale = _LARGEST_BYTE / np.where(largest > 0, largest, 1)
    return np.rint(vectors * scale).astype(np.int8)


def stacked(rows: Sequence[Row], dimensions: int) -> Any:
    """Return the vectors that *rows* have as one array, with zeros for none.

    ``None`` when there are to be none.
    """
    if not dimensions:
        return None
    import numpy as np

    array: Any = np.zeros((len(rows), dimensions), np.int8)
    for place, row in enumerate(rows):
        if row["vector"] is not None:
            array[place] = row["vector"]
    return array
