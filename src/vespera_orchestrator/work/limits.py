"""Fewer tasks at a time under pressure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import NextStep
from vespera_orchestrator.errors import PressureLimitError

if TYPE_CHECKING:
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.pressure import FullLoad, PressureGauge
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
        load = self._gauge.full_load(session_id, pressure.level)
        if load is not None:
            raise _refusal(pressure, load)


def _refusal(pressure: Pressure, load: FullLoad) -> PressureLimitError:
    reasons = "; ".join(cause.sentence for cause in pressure.causes[:3])
    state = f"{pressure.level} ({reasons})"
    step = NextStep(
        action="wait",
        sentence=(
            f"{load.words}, because {reasons}: that is enough for now. When one of them has "
            "ended, then take another."
        ),
        call="orch.pressure()",
    )
    remedy = "end one first, or take one more: orch.execute_task(…, despite_pressure=True)"
    return PressureLimitError(
        "", state, "start a task", remedy, next_step=step, running=load.held, limit=load.most
    )
