"""Dates as people mean them: a day is a day in their time zone. Pure.

A date without a time names a day. We keep the day itself and the zone in which it was meant, so
that it is the same day wherever it is read, also where the clocks change in between.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.timezone import zone_name, zone_named
from vespera_orchestrator.tasks.date_words import (
    DAYS_OF_WEEK,
    WEEKDAYS,
    Calendar,
    Use,
    day_and_month,
    length_of,
    read_when,
)

if TYPE_CHECKING:
    from datetime import tzinfo

    from vespera_orchestrator._model import Task, TaskDraft

_ISO_EXAMPLES: Final = "such as 2026-12-24 or 2026-12-24T18:00"
_SOON: Final = timedelta(days=2)
"""How early a due date is mentioned, before it is over."""
_LEAD: Final = timedelta(days=1)
"""How early a task goes first, before its work should begin."""
_CALENDAR_HOURS: Final = 3.0
"""Eight hours of work take a day of 24 hours."""
_FIRST: Final = datetime(1, 1, 3, tzinfo=UTC)
"""No date is before it: so the day before, in any zone, can still be told."""
_UTC_OF_A_READER: Final = timezone(timedelta(), "UTC")
"""For a reader who lives by UTC."""
_LAST: Final = datetime(9999, 12, 29, tzinfo=UTC)
"""No date is after it: so the day after, in any zone, can still be told."""


# --- reading what callers write ----------------------------------------------


def due_fields(name: str, value: object, calendar: Calendar) -> dict[str, Any]:
    """Return what a task keeps of its due date.

    Args:
        name: The parameter, for the error.
        value: A date, a datetime, a `timedelta` from now, or a person's words for one of them, see
            `date_words`; ``None`` or an empty text for no date.
        calendar: When and where the words are read. A date is a day in its zone; a time without a
            zone is meant there.

    Raises:
        InvalidInputError: It is none of these, or may mean two days.
    """
    value = _trimmed(value)
    if value is None:
        return {"due_at": None, "due_day": None}
    moment = _date_or_time(name, value, calendar, Use.DUE)
    zone = calendar.zone()
    if isinstance(moment, datetime):
        return {
            "due_at": _in_utc(name, moment, zone),
            "due_day": None,
            "zone": zone_name(zone),
        }
    return _day_fields(name, moment, zone)


def _day_fields(name: str, day: date, zone: tzinfo) -> dict[str, Any]:
    # Noon is the same day in nearly every zone, so that whoever reads only the moment is right.
    noon = datetime.combine(day, time(12), zone)
    return {
        "due_at": _in_utc(name, noon, zone),
        "due_day": day.isoformat(),
        "zone": zone_name(zone),
    }


def start_fields(name: str, value: object, calendar: Calendar) -> dict[str, Any]:
    """Return what a task keeps of the moment before which it should not start.

    A day begins at its midnight in the person's zone, and ``"now"`` is no rest at all. The
    arguments are those of `due_fields`.
    """
    value = _trimmed(value)
    moment = None if value is None else _start(name, value, calendar)
    if moment is None:
        return {"not_before": None}
    return {"not_before": moment, "zone": zone_name(calendar.zone())}


def as_written(value: object) -> str:
    """Return a date as its caller wrote it, to see whether somebody writes the same again.

    A text and a date that mean the same day are the same; so are two ways of spacing.
    """
    if value is None:
        return ""
    if isinstance(value, date):
        return value.isoformat()
    return " ".join(str(value).split())


def start_in_utc(name: str, value: object) -> datetime:
    """Return a moment, or when a day begins; both are in UTC unless they say otherwise."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            problem = f"{show_value(value)} is not a date in ISO format, {_ISO_EXAMPLES}"
            raise InvalidInputError(name, problem) from None
    return _beginning(name, _as_date(name, value), UTC)


def snooze_until(name: str, value: object, calendar: Calendar) -> datetime | None:
    """Return until when a task rests, as `start_fields` reads it.

    Args:
        name: The parameter, for the error.
        value: As in `due_fields`; ``None`` or ``"now"`` for no rest at all.
        calendar: When and where the words are read.

    Raises:
        InvalidInputError: It cannot be read, or is not in the future.
    """
    if value is None:
        return None
    if isinstance(value, str) and not value.strip():
        raise InvalidInputError(name, f"{show_value(value)} names no day; write one, or now")
    until = _start(name, value, calendar)
    if until is not None and until <= calendar.now():
        when = moment_words(until, calendar.zone())
        problem = f"{when} is over; write a later day, or now to start it"
        raise InvalidInputError(name, problem)
    return until


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
    length = length_of(value) if isinstance(value, str) else value
    if isinstance(length, timedelta):
        seconds = length.total_seconds()
    elif isinstance(length, int | float) and not isinstance(length, bool):
        seconds = float(length)
    if seconds is None or not 0 <= seconds <= _LONGEST_S:
        advice = "write for example '30 s', '5 min' or '2 hours', up to a year"
        raise InvalidInputError(name, f"{show_value(value)} is not a length of time; {advice}")
    return seconds


def _trimmed(value: object) -> object:
    """Return a text without the space around it, and ``None`` for an empty one."""
    return (value.strip() or None) if isinstance(value, str) else value


def _date_or_time(name: str, value: object, calendar: Calendar, use: Use) -> date:
    moment = _read(name, value, calendar, use)
    return _as_date(name, moment)


def _start(name: str, value: object, calendar: Calendar) -> datetime | None:
    moment = _read(name, value, calendar, Use.START)
    if moment is None:
        return None
    return _beginning(name, _as_date(name, moment), calendar.zone())


def _read(name: str, value: object, calendar: Calendar, use: Use) -> object:
    if isinstance(value, str):
        return read_when(name, value, calendar, use)
    if not isinstance(value, timedelta):
        return value
    try:
        return calendar.now() + value
    except OverflowError:
        raise InvalidInputError(name, f"{value} from now is outside the calendar") from None


def _as_date(name: str, value: object) -> date:
    if isinstance(value, date):
        return value
    raise InvalidInputError(
        name,
        f"{show_value(value)} is not a date; give a datetime, a date, or a text such as friday or "
        "2026-12-24",
    )


def _beginning(name: str, moment: date, zone: tzinfo) -> datetime:
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), zone)
    return _in_utc(name, moment, zone)


def _in_utc(name: str, moment: datetime, zone: tzinfo) -> datetime:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        in_utc = moment.astimezone(UTC)
    except OverflowError:
        in_utc = None
    if in_utc is None or not _FIRST <= in_utc <= _LAST:
        raise InvalidInputError(name, f"{moment} is outside the calendar; write a nearer day")
    return in_utc


# --- what follows ------------------------------------------------------------


def due_until(task: Task | TaskDraft) -> datetime | None:
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
    person_zone = zone_named(zone)
    return _day_fields("until", until.astimezone(person_zone).date(), person_zone)


def beginning_of_work(needed_by: datetime, effort_hours: float) -> datetime:
    """Return when work of so many hours should begin, by the calendar."""
    try:
        return max(_FIRST, needed_by - timedelta(hours=effort_hours * _CALENDAR_HOURS))
    except OverflowError:
        return _FIRST


def pressing_from(needed_by: datetime, effort_hours: float) -> datetime:
    """Return from when on a task goes first among those of its priority.

    It is a day before the work should begin.

    Args:
        needed_by: When it should be done.
        effort_hours: Its estimate.
    """
    return beginning_of_work(needed_by, effort_hours) - _LEAD


# --- in words ----------------------------------------------------------------


def is_near(task: Task, now: datetime) -> bool:
    """Tell whether the due date is worth a word: it is over, or within two days."""
    until = due_until(task)
    return until is not None and until <= now + _SOON


def due_words(task: Task, now: datetime, waits_for: str = "") -> str:
    """Say in kind words when the task is meant to be done, as what follows its name.

    Args:
        task: The task.
        now: The time now.
        waits_for: The alias of a task that has to end before it, if there is one.
    """
    until = due_until(task)
    if until is None or task.due_at is None:
        return ""
    zone = _zone_of(task)
    when = _when(task.due_at, now, zone, with_time=task.due_day is None)
    if until > now:
        return f"is meant for {when}"
    is_today = _is_meant_for_today(task, now)
    fine = "any time now would be fine" if is_today else "today would be fine"
    if waits_for:
        fine = f"it waits for {waits_for} first"
    return f"was meant for {when}; {fine}, or say when"


def due_line(task: Task, now: datetime, waits_for: str = "") -> str:
    """Say when the task is meant to be done, and how to say another day where that one is over.

    The arguments are those of `due_words`.
    """
    words = due_words(task, now, waits_for)
    until = due_until(task)
    if until is None or until > now:
        return words
    return f"{words}: {_another_day(task)}"


def due_hint(task: Task, now: datetime) -> str:
    """Say to whoever may begin the task when it is meant to be done; empty if that is far off."""
    if not is_near(task, now):
        return ""
    line = f"It {due_line(task, now)}"
    until = due_until(task)
    if until is None or until <= now or not _is_meant_for_today(task, now):
        return f"{line}."  # a rest until tomorrow would be no other day
    return f"{line}. If you want another day: {_another_day(task)}."


def _is_meant_for_today(task: Task, now: datetime) -> bool:
    """Tell whether its day is today, where the task was planned."""
    if task.due_at is None:
        return False
    zone = _zone_of(task)
    return task.due_at.astimezone(zone).date() == now.astimezone(zone).date()


def _another_day(task: Task) -> str:
    return f"orch.snooze_task({task.alias!r}, 'tomorrow')"


def rest_words(task: Task, now: datetime) -> str:
    """Say until when the task rests."""
    if task.not_before is None:
        return ""
    zone = _zone_of(task)
    with_time = task.not_before.astimezone(_reader_zone(now, zone)).time() != time()
    return _when(task.not_before, now, zone, with_time=with_time)


def due_date_words(task: Task, now: datetime) -> str:
    """Say on which day, or when, the task is meant to be done; empty if it has no such date."""
    if task.due_at is None:
        return ""
    return _when(task.due_at, now, _zone_of(task), with_time=task.due_day is None)


def moment_words(at: datetime, zone: tzinfo) -> str:
    """Say when something is by the clock of *zone*, in words that stay right on any day."""
    local = at.astimezone(zone)
    return f"{day_words(local.date())}, {local:%H:%M}"


def day_words(day: date) -> str:
    """Say which day it is, in words that stay right on any day."""
    return f"{day_and_month(day)} {day.year}"


def by_clock_of(now: datetime, zone: tzinfo) -> datetime:
    """Return the time by a reader's clock: the words for a date tell moments by that of *now*.

    A time in plain UTC, as stores have it, is that of no reader: then the task's zone counts.
    """
    return now.astimezone(_UTC_OF_A_READER if zone is UTC else zone)


def _reader_zone(now: datetime, zone: tzinfo) -> tzinfo:
    return zone if now.tzinfo is None or now.tzinfo is UTC else now.tzinfo


def _when(at: datetime, now: datetime, zone: tzinfo, *, with_time: bool) -> str:
    """Say when something is; *zone* is that of the task.

    A day that is another one where the reader is now has its name and its zone: "tomorrow" would
    be wrong for one of the two.
    """
    here = _reader_zone(now, zone)
    if with_time:
        local = at.astimezone(here)
        return f"{_day(local.date(), now.astimezone(here).date())}, {local:%H:%M}"
    day, today = at.astimezone(zone).date(), now.astimezone(here).date()
    if at.astimezone(here).utcoffset() != at.astimezone(zone).utcoffset():
        return f"{_date_of(day, today)} ({zone_name(zone)})"
    return _day(day, today)


def _day(day: date, today: date) -> str:
    days = (day - today).days
    close = {0: "today", 1: "tomorrow", -1: "yesterday"}
    if days in close:
        return close[days]
    if abs(days) < DAYS_OF_WEEK:
        return WEEKDAYS[day.weekday()]
    return _date_of(day, today)


def _date_of(day: date, today: date) -> str:
    text = day_and_month(day)
    return text if day.year == today.year else f"{text} {day.year}"


def _zone_of(task: Task | TaskDraft) -> tzinfo:
    try:
        return zone_named(task.zone)
    except LookupError:  # this machine does not know the zone; the moment is right in any case
        return UTC
