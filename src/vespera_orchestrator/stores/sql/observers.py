"""Whoever is told of events in this process, once they are committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from vespera_orchestrator._model import Event

Observer: TypeAlias = Callable[[Sequence[Event]], object]
"""Is told of the events of one transaction."""

log = logging.getLogger("vespera_orchestrator")


class Observers:
    """The callbacks of one store object; see `contracts.Store.observe`."""

    def __init__(self) -> None:
        self._callbacks: list[Observer] = []

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def add(self, callback: Observer) -> Callable[[], None]:
        """Tell *callback* from now on; return what ends that."""
        entry: Observer = lambda events: callback(events)  # noqa: E731 - one entry a call
        self._callbacks.append(entry)

        def remove() -> None:
            if entry in self._callbacks:
                self._callbacks.remove(entry)

        return remove

    def tell(self, events: Sequence[Event]) -> None:
        """Tell everybody. What they raise can no longer fail the write."""
        if not events:
            return
        for callback in list(self._callbacks):
            try:
                callback(events)
            except Exception:
                log.exception("an observer of events failed; the write stands")
