"""Dates as people mean them: a day is a day in their time zone. Pure.

A date without a time names a day. We keep the day itself and the zone in which it was meant, so
that it is the same day wherever it is read, also where the clocks change in between.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.timezone import zone_name, zone_named

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from vespera_orchestrator._model import Task

_EXAMPLES: Final = "such as 2026-12-24 or 2026-12-24T18:00"
_DAYS_ADVICE: Final = (
    "say tomorrow, a weekday, next week, a length such as '3 days', or a date such as 2026-12-24; "
    "now ends the rest"
)
_WEEKDAYS: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_DAYS_OF_WEEK: Final = 7
_LENGTH: Final = re.compile(r"(\d{1,4})\s*(minute|min|hour|h|day|d|week|w)s?")
_LENGTHS: Final = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(days=7),
}
"""Lengths of calendar time, by the first letter of their unit."""
_SOON: Final = timedelta(days=2)
"""How early a due date is mentioned, before it is over."""
_LEAD: Final = timedelta(days=1)
"""How early a task goes first, before its work should begin."""
_CALENDAR_HOURS: Final = 3.0
"""Eight hours of work take a day of 24 hours."""


# --- reading what callers write ----------------------------------------------


def due_fields(name: str, value: object, zone: Callable[[], tzinfo]) -> dict[str, Any]:
    """Return what a task keeps of its due date.

    Args:
        name: The parameter, for the error.
        value: A date, a datetime, either in ISO format, or ``None`` for no date.
        zone: Returns the person's zone. A date is a day there; a time without a zone is meant
            there.

    Raises:
        InvalidInputError: It is none of these.
    """
    value = _trimmed(value)
    if value is None:
        return {"due_at": None, "due_day": None}
    moment = _date_or_time(name, value)
    if isinstance(moment, datetime):
        return {"due_at": _in_utc(name, moment, zone), "due_day": None, "zone": zone_name(zone())}
    # Noon is the same day in nearly every zone, so that whoever reads only the moment is right.
    noon = datetime.combine(moment, time(12), zone())
    due_at = _in_utc(name, noon, zone)
    return {"due_at": due_at, "due_day": moment.isoformat(), "zone": zone_name(zone())}


def start_fields(name: str, value: object, zone: Callable[[], tzinfo]) -> dict[str, Any]:
    """Return what a task keeps of the moment before which it should not start.

    A day begins at its midnight in the person's zone. The arguments are those of `due_fields`.
    """
    value = _trimmed(value)
    if value is None:
        return {"not_before": None}
    return {"not_before": start_in_utc(name, value, zone), "zone": zone_name(zone())}


def start_in_utc(name: str, value: object, zone: Callable[[], tzinfo]) -> datetime:
    """Return a moment, or when a day begins, in UTC. The arguments are those of `due_fields`."""
    moment = _date_or_time(name, value)
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), zone())
    return _in_utc(name, moment, zone)


def snooze_until(
    name: str, value: object, *, now: datetime, zone: Callable[[], tzinfo]
) -> datetime | None:
    """Return until when a task rests: like `start_fields`, but also in a person's words.

    Args:
        name: The parameter, for the error.
        value: ``"tomorrow"``, ``"monday"``, ``"next week"``, a length such as ``"3 days"``, a
            `timedelta`, a date, or a datetime; ``None`` or ``"now"`` for no rest at all.
        now: The time now.
        zone: Returns the person's zone.

    Raises:
        InvalidInputError: It is none of these, or not in the future.
    """
    if value is None or value == "now":
        return None
    moment = _in_words(value, now, zone) if isinstance(value, str) else value
    if isinstance(moment, timedelta):
        moment = now + moment
    if isinstance(moment, str) and not moment[:1].isdigit():
        raise InvalidInputError(name, f"{show_value(value)} is no day that we know; {_DAYS_ADVICE}")
    until = start_in_utc(name, moment, zone)
    if until <= now:
        problem = f"{until:%Y-%m-%d %H:%M} UTC is over; name a later day, or None to start now"
        raise InvalidInputError(name, problem)
    return until


_SHORT_LENGTH: Final = re.compile(
    r"(\d{1,6}(?:\.\d{1,6})?)\s*(seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d|weeks?|w)"
)
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LONGEST_S: Final = 366 * 86_400.0


def length_s(name: str, value: object) -> float:
    """Return a length of time in seconds, by the clock: a day has 24 hours.

    Args:
        name: The parameter, for the error.
        value: Such as ``"30 s"``, ``"5 min"`` or ``"2 hours"``, a `timedelta`, or seconds.

    Raises:
        InvalidInputError: It is none of these, is negative, or more than a year.
    """
    seconds: float | None = None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        words = _SHORT_LENGTH.fullmatch(" ".join(value.lower().split()))
        seconds = None if words is None else float(words[1]) * _SECONDS[words[2][0]]
    if seconds is None or not 0 <= seconds <= _LONGEST_S:
        advice = "write for example '30 s', '5 min' or '2 hours', up to a year"
        raise InvalidInputError(name, f"{show_value(value)} is not a length of time; {advice}")
    return seconds


def _in_words(text: str, now: datetime, zone: Callable[[], tzinfo]) -> object:
    """Return the day or the length that the words mean; other words as they are."""
    words = " ".join(text.lower().split())
    length = _LENGTH.fullmatch(words.removeprefix("in "))
    if length is not None:
        return _LENGTHS[length[2][0]] * int(length[1])
    today = now.astimezone(zone()).date()
    if words == "tomorrow":
        return today + timedelta(days=1)
    if words == "next week":
        words = "monday"
    names = [day.lower() for day in _WEEKDAYS]
    words = words.removeprefix("next ")
    if words not in names:
        return text.strip()
    ahead = (names.index(words) - today.weekday()) % _DAYS_OF_WEEK
    return today + timedelta(days=ahead or _DAYS_OF_WEEK)


def _trimmed(value: object) -> object:
    """Return a text without the space around it, and ``None`` for an empty one."""
    return (value.strip() or None) if isinstance(value, str) else value


def _date_or_time(name: str, value: object) -> date:
    if isinstance(value, str):
        return _from_iso(name, value)
    if isinstance(value, date):
        return value
    raise InvalidInputError(
        name,
        f"{show_value(value)} is not a date; give a datetime, a date, or a text such as 2026-12-24",
    )


def _from_iso(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        problem = f"{show_value(text)} is not a date in ISO format, {_EXAMPLES}"
        raise InvalidInputError(name, problem) from None


def _in_utc(name: str, moment: datetime, zone: Callable[[], tzinfo]) -> datetime:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone())
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidInputError(name, f"{moment} is outside the calendar once in UTC") from None


# --- what follows ------------------------------------------------------------


def due_until(task: Task) -> datetime | None:
    """Return when the due date is over: the moment itself, or the end of the day."""
    if task.due_day is None or task.due_at is None:
        return task.due_at
    next_day = date.fromisoformat(task.due_day) + timedelta(days=1)
    return datetime.combine(next_day, time(), _zone_of(task)).astimezone(UTC)


def moved_due(task: Task, until: datetime, zone: str) -> dict[str, Any]:
    """Return the due date of a task that rests until after it: the day on which it wakes.

    A due date with a time becomes the moment itself.
    """
    if task.due_day is None:
        return {"due_at": until, "due_day": None}
    day = until.astimezone(zone_named(zone)).date()
    return due_fields("until", day, lambda: zone_named(zone))


def calendar_time(effort_hours: float) -> timedelta:
    """Return how long work of so many hours takes by the calendar."""
    return timedelta(hours=effort_hours * _CALENDAR_HOURS)


def pressing_from(needed_by: datetime, effort_hours: float) -> datetime:
    """Return from when on a task goes first among those of its priority.

    It is a day before the work should begin.

    Args:
        needed_by: When it should be done.
        effort_hours: Its estimate.
    """
    return needed_by - calendar_time(effort_hours) - _LEAD


# --- in words ----------------------------------------------------------------


def is_near(task: Task, now: datetime) -> bool:
    """Tell whether the due date is worth a word: it is over, or within two days."""
    until = due_until(task)
    return until is not None and until <= now + _SOON


def due_words(task: Task, now: datetime) -> str:
    """Say in kind words when the task is meant to be done, as what follows its name."""
    until = due_until(task)
    if until is None or task.due_at is None:
        return ""
    zone = _zone_of(task)
    when = _when(task.due_at, now, zone, with_time=task.due_day is None)
    if until > now:
        return f"is meant for {when}"
    is_today = task.due_at.astimezone(zone).date() == now.astimezone(zone).date()
    fine = "any time now" if is_today else "today"
    return f"was meant for {when}; {fine} would be fine, or say when"


def rest_words(task: Task, now: datetime) -> str:
    """Say until when the task rests."""
    if task.not_before is None:
        return ""
    zone = _zone_of(task)
    with_time = task.not_before.astimezone(zone).time() != time()
    return _when(task.not_before, now, zone, with_time=with_time)


def _when(at: datetime, now: datetime, zone: tzinfo, *, with_time: bool) -> str:
    local = at.astimezone(zone)
    text = _day(local.date(), now.astimezone(zone).date())
    return f"{text}, {local:%H:%M}" if with_time else text


def _day(day: date, today: date) -> str:
    days = (day - today).days
    close = {0: "today", 1: "tomorrow", -1: "yesterday"}
    if days in close:
        return close[days]
    if abs(days) < _DAYS_OF_WEEK:
        return _WEEKDAYS[day.weekday()]
    text = f"{day.day} {_MONTHS[day.month - 1]}"
    return text if day.year == today.year else f"{text} {day.year}"


def _zone_of(task: Task) -> tzinfo:
    try:
        return zone_named(task.zone)
    except LookupError:  # this machine does not know the zone; the moment is right in any case
        return UTC
