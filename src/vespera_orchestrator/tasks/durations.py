"""How long such tasks usually take, from one's own history. Pure.

A range says what has been, and promises nothing. It is never held against anybody.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST: Final = 3
"""From fewer tasks nothing is concluded."""
_COUNTED: Final = 8
"""How many of the last ones count."""
_STEPS_MIN: Final = ((60, 5), (8 * 60, 15))
"""Up to so many minutes, times are rounded to so many."""
_LARGEST_STEP_MIN: Final = 60
_SHORT_S: Final = 4 * 60
"""Shorter lengths would be rounded up to much more than they are."""
_HOURS_FROM_MIN: Final = 120
"""From here on lengths are told in hours."""
_NUMBERS: Final = {3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}


@attrs.frozen(kw_only=True)
class UsualTime(Record):
    """How long the last tasks of a kind took. ``str()`` says it in words."""

    low_s: float
    """The shorter end, in seconds: about three quarters of them took at least this long."""
    high_s: float
    """The longer end, in seconds: about three quarters of them took at most this long."""
    count: int
    """How many tasks it is from."""

    @property
    def words(self) -> str:
        """The range alone, such as ``20 to 50 minutes``."""
        if self.high_s < _SHORT_S:
            return "less than 5 minutes"
        low, high = _rounded(self.low_s), _rounded(self.high_s)
        unit = "minutes" if high < _HOURS_FROM_MIN else "hours"
        longer = f"{_number(high, unit)} {unit}"
        return f"about {longer}" if low == high else f"{_number(low, unit)} to {longer}"

    @property
    def source(self) -> str:
        """What it is from, such as ``the last eight``."""
        return f"the last {_NUMBERS.get(self.count, self.count)}"

    def __str__(self) -> str:
        return f"like {self.source}: {self.words}"


def usual_time(durations_s: Sequence[float]) -> UsualTime | None:
    """Return the range of the middle half or a little more; ``None`` when there are too few.

    Args:
        durations_s: How long such tasks took, the last first.
    """
    last = sorted(durations_s[:_COUNTED])
    if len(last) < _LEAST:
        return None
    low, high = floor((len(last) - 1) * 0.25), ceil((len(last) - 1) * 0.75)
    return UsualTime(low_s=last[low], high_s=last[high], count=len(last))


def _rounded(seconds: float) -> int:
    """Return whole minutes, in steps that grow with the length."""
    minutes = seconds / 60
    step = next((step for most, step in _STEPS_MIN if minutes <= most), _LARGEST_STEP_MIN)
    return max(step, round(minutes / step) * step)


def _number(minutes: int, unit: str) -> str:
    """Write a length of time as a number of the unit."""
    if unit == "minutes":
        return str(minutes)
    return f"{minutes / 60:.1f}".removesuffix(".0")
