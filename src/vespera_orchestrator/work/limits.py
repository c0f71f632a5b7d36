"""Fewer tasks at a time under pressure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import NextStep
from vespera_orchestrator.errors import PressureLimitError

if TYPE_CHECKING:
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.pressure import PressureGauge
    from vespera_orchestrator.tasks.pressure import Pressure


class ClaimLimit:
    """Refuses to hand out more tasks than the pressure allows."""

    def __init__(self, rooms: Rooms, gauge: PressureGauge) -> None:
        self._rooms = rooms
        self._gauge = gauge

    def refuse_too_many(self, session_id: str) -> None:
        """Refuse one more task if as many are held as the pressure allows.

        Raises:
            PressureLimitError: Nothing was written but the level of pressure, if it is a new one.
        """
        is_limited = self._rooms.config.pressure.limit_claims
        if not is_limited or self._gauge.was_steady(session_id):
            return
        pressure = self._gauge.update(session_id)
        if pressure.max_parallel is None:
            return
        running = self._gauge.running(session_id)
        if running >= pressure.max_parallel:
            raise _refusal(pressure, running, pressure.max_parallel)


def _refusal(pressure: Pressure, running: int, limit: int) -> PressureLimitError:
    reasons = "; ".join(cause.sentence for cause in pressure.causes[:3])
    state = f"{pressure.level} ({reasons})"
    step = NextStep(
        action="wait",
        sentence=(
            f"It is {state}. {running} of at most {limit} tasks are under way: "
            "end one of them before you take another."
        ),
        call="orch.pressure()",
    )
    remedy = "end one first, or pass despite_pressure=True"
    return PressureLimitError(
        "", state, "start a task", remedy, next_step=step, running=running, limit=limit
    )
