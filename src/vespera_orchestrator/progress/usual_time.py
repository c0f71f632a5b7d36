"""Reads from the history how long tasks like a given one took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.tasks.durations import UsualTime, usual_time

if TYPE_CHECKING:
    from vespera_orchestrator._model import PastWork, Task
    from vespera_orchestrator.contracts import Store

_LOOKED_AT: Final = 24
"""Among how many similar tasks those for the same specialist are looked for."""
_LONGEST_S: Final = 16 * 3600.0
"""An attempt that lay over night says nothing about the work."""


def usual_time_of(store: Store, task: Task) -> UsualTime | None:
    """Return how long the last such tasks took: of this type and complexity, in all sessions.

    Those for the same specialist say more. Where there are enough of them, only they count.
    """
    known = [past for past in store.past_work(task, _LOOKED_AT) if _is_known(past)]
    alike = [past for past in known if past.specialist_type == task.specialist_type]
    return usual_time(_lengths_s(alike)) or usual_time(_lengths_s(known))


def _is_known(past: PastWork) -> bool:
    """Tell whether its length is that of the work; a task that nobody started has none."""
    return sum(past.attempts_s) > 0 and max(past.attempts_s) <= _LONGEST_S


def _lengths_s(works: list[PastWork]) -> list[float]:
    return [sum(past.attempts_s) for past in works]
