"""How often running work is saved by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import PressureLevel
from vespera_orchestrator.progress.pressure import PressureGauge
from vespera_orchestrator.tasks.pressure import checkpoint_interval_s

if TYPE_CHECKING:
    from datetime import datetime

    from vespera_orchestrator._rooms import Rooms

MOST_STATE_CHARS: Final = 100_000
"""A checkpoint by itself repeats the state of the last one, unless that is longer as JSON."""


class Cadence:
    """Says when a task's work is due to be saved: more often under pressure.

    Time passes when it is asked. Where the work was saved a moment ago, nothing is read.
    """

    def __init__(self, rooms: Rooms, session_id: str) -> None:
        self._rooms = rooms
        self._session_id = session_id
        self._counted_from = rooms.clock()

    def restart(self, at: datetime) -> None:
        """Count from *at*, when the work was saved."""
        self._counted_from = at

    def is_due(self) -> bool:
        """Tell whether the work should be saved now."""
        settings = self._rooms.config.pressure
        if not settings.checkpoint_minutes:
            return False
        elapsed_s = (self._rooms.clock() - self._counted_from).total_seconds()
        if elapsed_s < checkpoint_interval_s(PressureLevel.OVERWHELMED, settings):
            return False
        level = PressureGauge(self._rooms).last_level(self._session_id)
        return elapsed_s >= checkpoint_interval_s(level, settings)
