"""What to write instead of words that name no single day. Pure.

The advice can be followed as it stands: it is read, it is not over, and it is what the words are
about. So a part of a day keeps its day, and a week or a month becomes a date.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Final

_PARTS: Final = {
    "morning": time(9),
    "afternoon": time(15),
    "evening": time(18),
    "night": time(20),
    "noon": time(12),
    "midnight": time(23, 59),
}
_NO_DAY: Final = frozenset({"", "at", "in the", "this"})
"""What stands before a part of a day that is today's."""
_FRIDAY, _SATURDAY, _SUNDAY = 4, 5, 6


def advice(words: str, now: datetime, is_day: Callable[[str], bool]) -> str | None:
    """Return what to write instead of *words*; ``None`` if they are nothing of the kind.

    Args:
        words: In small letters, with single spaces.
        now: By the person's clock.
        is_day: Tells whether words name a day that is not over.
    """
    before, _, last = words.rpartition(" ")
    last = last.removesuffix("s")
    if last in _PARTS:
        return _part_of_day(before, _PARTS[last], now, is_day)
    instead = _INSTEAD.get(last)
    return None if instead is None else instead(now.date(), int(before.endswith("next")))


def _part_of_day(before: str, clock: time, now: datetime, is_day: Callable[[str], bool]) -> str:
    shown = f"{clock:%H:%M}"
    if is_day(before):
        return f"{before} {shown}"
    if before not in _NO_DAY:
        return f"a day and a time, such as tomorrow {shown}"
    return f"today {shown}" if clock > now.time() else f"tomorrow {shown}"


def _day_of_week(today: date, place: int, *, weeks: int) -> date:
    """Return a day of this week, or of a later one; of the next one if it is over."""
    day = today + timedelta(days=place - today.weekday(), weeks=weeks)
    return day if day >= today else day + timedelta(weeks=1)


def _soon(_: date, __: int) -> str:
    return "tomorrow, or in 3 days"


def _weekend(today: date, ahead: int) -> str:
    saturday = _day_of_week(today, _SATURDAY, weeks=ahead)
    return f"{saturday}, {saturday + timedelta(days=1)} or a day of another one"


def _week(today: date, ahead: int) -> str:
    friday = _day_of_week(today, _FRIDAY, weeks=ahead)
    sunday = friday + timedelta(days=_SUNDAY - _FRIDAY)
    return f"a day of it, such as {friday} for its Friday or {sunday} for its Sunday"


def _month(today: date, ahead: int) -> str:
    from calendar import monthrange  # it reads the languages of the system

    first = today.replace(day=1)
    for _ in range(ahead):
        first = (first + timedelta(days=31)).replace(day=1)
    last = first.replace(day=monthrange(first.year, first.month)[1])
    return f"a date, such as {last}"


def _year(today: date, _: int) -> str:
    return f"a date, such as {today + timedelta(days=365)}"


_INSTEAD: Final[dict[str, Callable[[date, int], str]]] = {
    "soon": _soon,
    "later": _soon,
    "weekend": _weekend,
    "week": _week,
    "month": _month,
    "year": _year,
}
"""What to write instead of words that end like this, from today, and whether "next" is said."""
