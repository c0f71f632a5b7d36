"""Estimates of how long a task takes, as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.tasks import specialists

if TYPE_CHECKING:
    from vespera_orchestrator._model import Task

_UNIT_HOURS: Final = {
    "m": 1 / 60,
    "min": 1 / 60,
    "h": 1.0,
    "hour": 1.0,
    "d": 8.0,
    "day": 8.0,
    "w": 40.0,
    "week": 40.0,
}
"""Hours of work: a day has 8, a week 40."""
_HEAVY_HOURS: Final = 4.0
"""From so many on, a task is more than one sitting."""
_RANGE: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?\s{0,3}(?:-|\u2013|to)\s{0,3}(?=\d)")
"""The shorter end of a range."""
_BETWEEN: Final = re.compile(r"\b(?:about|and|ca)\b|[\s,.~+]", re.IGNORECASE)
"""What may stand beside the parts of an estimate."""
_EFFORT = re.compile(
    r"(?<![\d.])(\d{1,9}(?:\.\d{1,9})?)\s{0,3}(min|hour|day|week|[mhdw])(?:s|utes?)?(?![a-z])",
    re.IGNORECASE,
)


def effort_hours(text: str | None) -> float:
    """Read an estimate such as ``"2 hours"``, ``"30 min"``, ``"1 day"`` or ``"1 week"``.

    A day has 8 hours, a week 40. A text without an estimate counts as one hour.
    """
    parts = _EFFORT.findall(text or "")
    if not parts:
        return 1.0
    return sum(float(number) * _UNIT_HOURS[unit.lower()] for number, unit in parts)


def read_hours(text: str) -> float | None:
    """Read an estimate that says nothing else; ``None`` if there is a word we cannot read.

    Of a range, such as ``"2-3 hours"``, the longer end counts.
    """
    rest = _EFFORT.sub(" ", _RANGE.sub("", text))
    is_estimate = _EFFORT.search(text) is not None and not _BETWEEN.sub("", rest)
    return effort_hours(text) if is_estimate else None


def is_heavy(task: Task) -> bool:
    """Tell whether a task is more than one sitting: by its complexity, or four hours and more."""
    if specialists.is_heavy_word(task.complexity):
        return True
    return bool(task.estimated_effort) and effort_hours(task.estimated_effort) >= _HEAVY_HOURS
