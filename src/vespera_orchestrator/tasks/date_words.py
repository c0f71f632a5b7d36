"""Days, moments and lengths of time as a person types them. Pure.

One grammar for every place that takes a date or a length::

    when    = [ "by" | "on" | "until" ] ( day [ [ "at" ] clock ] | [ "in" ] length ) | "now"
    day     = "today" | "tomorrow" | "the day after tomorrow" | "tonight"
            | [ "this" | "next" ] weekday | weekday "next week" | "next week" | "next month"
            | [ weekday ] date
    date    = 2026-12-24 | 24 December [ 2026 ] | December 24th [ 2026 ] | 24.12. [ 2026 ] | 12/24
    clock   = 18:00 | 6 pm | 6:30 pm
    length  = ( number | "a" … "ten" ) ( seconds | minutes | hours | days | weeks | months )
            | "half an hour" | "a fortnight"

Words that people understand in two ways are refused, with what to write instead: we would rather
ask than guess a day.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta, tzinfo
from enum import Enum
from typing import Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import vague_dates

WEEKDAYS: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)
MONTHS: Final = (
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
DAYS_OF_WEEK: Final = 7

_EXAMPLES: Final = (
    "write for example tomorrow, friday, friday 18:00, in 3 days, 24 December, 2026-12-24 or "
    "2026-12-24T18:00"
)
_LENGTH: Final = re.compile(
    r"(\d{1,6}(?:\.\d{1,6})?|an?|one|two|three|four|five|six|seven|eight|nine|ten)\s*"
    r"(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)"
)
_FROM_TWO: Final = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS: Final = {
    **dict.fromkeys(("a", "an", "one"), 1.0),
    **{word: float(number) for number, word in enumerate(_FROM_TWO, 2)},
}
_NAMED_LENGTHS: Final = {"half an hour": "30 min", "a fortnight": "2 weeks", "fortnight": "2 weeks"}
_MONTHS_LENGTH: Final = re.compile(r"(\d{1,4}|[a-z]+) months?")
_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
"""The units, by their first letter."""
_BEFORE: Final = re.compile(r"^(?:by|on|until|till)\s+(?=\S)")
_CLOCK: Final = re.compile(r"(?:^|\s+)(?:at\s+)?(\d{1,2})(?::(\d{2}))?\s*(am|pm)?$")
_AT: Final = re.compile(r"\bat\s+\d")
_DAY_MONTH: Final = re.compile(r"(?P<day>\d{1,2})\.? (?P<month>[a-z]{3,9})\.?(?: (?P<year>\d{4}))?")
_MONTH_DAY: Final = re.compile(r"(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?: (?P<year>\d{4}))?")
_YEAR_FIRST: Final = re.compile(r"(\d{4})([./-])(\d{1,2})(?:\2(\d{1,2}))?")
_NUMBERS_ONLY: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})(?:\2(\d{4})?)?")
_ORDINAL: Final = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b(?: of\b)?")
_WHOLE_WEEK: Final = re.compile(r"\d{4}-?W\d{2}(?!-?\d)")
_FEWEST_LETTERS: Final = 3
"""How many letters of a weekday or a month are enough."""
_EVENING: Final = time(18)
_LAST_HOUR: Final = 23
_HALF_DAY: Final = 12


class Use(Enum):
    """What a date is for, where the same words mean another part of the day."""

    DUE = "due"
    """Something is done by then: a day counts until its end."""
    START = "start"
    """Something begins then: a day counts from its beginning."""


@attrs.frozen(kw_only=True)
class Calendar:
    """When and where words are read. Both are asked for only where a date is."""

    now: Callable[[], datetime]
    """Returns the time now."""
    zone: Callable[[], tzinfo]
    """Returns the person's time zone."""

    def here(self) -> datetime:
        """Return the time now, by the person's clock."""
        return self.now().astimezone(self.zone())


UTC_CALENDAR: Final = Calendar(now=lambda: datetime.now(UTC), zone=lambda: UTC)
"""For callers that have no person."""


def length_of(text: str) -> timedelta | None:
    """Return a length of time by the clock; ``None`` if the text is something else."""
    parts = _length_parts(_plain(text))
    return None if parts is None else _UNITS[parts[1]] * parts[0]


def read_when(name: str, text: str, calendar: Calendar, use: Use) -> date | datetime | None:
    """Return the day or the moment that a person means.

    Args:
        name: The parameter, for the error.
        text: What the person typed; not empty.
        calendar: When and where.
        use: What the date is for.

    Returns:
        A date for a day, a datetime for a moment; ``None`` for ``"now"``.

    Raises:
        InvalidInputError: The words name no day, or may mean two.
    """
    machine = _from_iso(text.strip())
    if machine is not None:
        _refuse_whole_week(name, text.strip(), machine)
        return machine
    reader = _Reader(name=name, text=text, now=calendar.here(), use=use)
    return reader.read(_BEFORE.sub("", _plain(text), count=1))


def _refuse_whole_week(name: str, text: str, monday: date) -> None:
    """Refuse a week of the calendar without its day, which ISO format reads as its Monday."""
    if _WHOLE_WEEK.match(text) is None:
        return
    friday = monday + timedelta(days=4)
    problem = f"names a whole week; write a day of it, such as {friday:%Y-%m-%d} for its Friday"
    raise InvalidInputError(name, f"{show_value(text)} {problem}")


def _plain(text: str) -> str:
    words = " ".join(text.casefold().replace(",", " ").split())
    return _ORDINAL.sub(r"\1", words)


def _from_iso(text: str) -> date | datetime | None:
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    return None


def _length_parts(words: str) -> tuple[float, str] | None:
    length = words.removeprefix("in ")
    match = _LENGTH.fullmatch(_NAMED_LENGTHS.get(length, length))
    if match is None:
        return None
    number = _NUMBERS.get(match[1])
    return float(match[1]) if number is None else number, match[2][0]


def _numbers_of(names: tuple[str, ...], word: str) -> list[int]:
    """Return the places of the names that begin with *word*."""
    if len(word) < _FEWEST_LETTERS:
        return []
    return [place for place, name in enumerate(names) if name.lower().startswith(word)]


@attrs.frozen(kw_only=True)
class _Reader:
    """Reads the words for one date."""

    name: str
    """The parameter, for the error."""
    text: str
    """The words as they were typed."""
    now: datetime
    """By the person's clock."""
    use: Use

    def read(self, words: str) -> date | datetime | None:
        if words == "now" and self.use is Use.START:
            return None
        try:
            length = self._length(words)
            return self._day_and_clock(words) if length is None else length
        except OverflowError:
            raise self._refusal(f"is outside the calendar; {_EXAMPLES}") from None

    def _refusal(self, problem: str) -> InvalidInputError:
        return InvalidInputError(self.name, f"{show_value(self.text)} {problem}")

    def _unclear(self, one: str, other: str) -> InvalidInputError:
        return self._refusal(f"may mean {one} or {other}; write which one")

    def _length(self, words: str) -> date | datetime | None:
        """Return when a length is over: whole days by the calendar, all else by the clock."""
        parts = _length_parts(words)
        if parts is None:
            return self._months(words)
        number, unit = parts
        if re.fullmatch(r"(?:in )?\d+\s*m", words):
            raise self._unclear(f"{number:g} min", f"{number:g} months")
        length = _UNITS[unit] * number
        is_whole = unit in "dw" and not length.seconds
        if not is_whole:
            return self.now.astimezone(UTC) + length
        if self.use is Use.DUE:
            return self.now.date() + length
        return self.now + length

    def _months(self, words: str) -> date | datetime | None:
        """Return the day of a later month that has the same number, or the last one of it."""
        from calendar import monthrange  # it reads the languages of the system

        match = _MONTHS_LENGTH.fullmatch(words.removeprefix("in "))
        if match is None or not (match[1].isdigit() or match[1] in _NUMBERS):
            return None
        number = int(match[1]) if match[1].isdigit() else int(_NUMBERS[match[1]])
        years, month = divmod(self.now.month - 1 + number, len(MONTHS))
        year = self.now.year + years
        if year > MAXYEAR:
            raise OverflowError
        last = monthrange(year, month + 1)[1]
        later = self.now.replace(year=year, month=month + 1, day=min(self.now.day, last))
        return later.date() if self.use is Use.DUE else later

    def _day_and_clock(self, words: str) -> date | datetime:
        clock = _CLOCK.search(words)
        if clock is None or not (clock[2] or clock[3] or _AT.search(words)):
            return self._day(words)
        before = words[: clock.start()]
        at = self._clock(clock, before)
        if not before:
            shown = f"{at:%H:%M}"
            raise self._unclear(f"today {shown}", f"tomorrow {shown}")
        day = self.now.date() if before == "tonight" else self._day(before)
        return datetime.combine(day, at, self.now.tzinfo)

    def _clock(self, clock: re.Match[str], day: str) -> time:
        hour, minute, half = int(clock[1]), int(clock[2] or 0), clock[3]
        is_possible = 1 <= hour <= _HALF_DAY if half else hour <= _LAST_HOUR
        if not is_possible or minute >= 60:  # noqa: PLR2004 - the minutes of an hour
            raise self._refusal("has a time that no clock shows; write for example 18:00 or 6 pm")
        if not half and clock[2] is None and 0 < hour <= _HALF_DAY:
            raise self._unclear(f"{day} {hour} am", f"{day} {hour} pm")
        if half:
            hour = hour % _HALF_DAY + (_HALF_DAY if half == "pm" else 0)
        return time(hour, minute)

    def _day(self, words: str) -> date:
        day = self._named_day(words) or self._weekday(words) or self._written_date(words)
        if day is None:
            raise self._not_a_day(words)
        return day

    def _named_day(self, words: str) -> date | None:
        today = self.now.date()
        days = {"today": today, "tomorrow": today + timedelta(days=1)}
        for words_for_it in ("day after tomorrow", "the day after tomorrow"):
            days[words_for_it] = today + timedelta(days=2)
        if self.use is Use.DUE:
            days["tonight"] = today
        else:
            days["tonight"] = datetime.combine(today, _EVENING, self.now.tzinfo)
            days["next week"] = today + timedelta(days=DAYS_OF_WEEK - today.weekday())
            days["next month"] = (today.replace(day=28) + timedelta(days=4)).replace(day=1)
        return days.get(words)

    def _not_a_day(self, words: str) -> InvalidInputError:
        if words.endswith("yesterday"):
            return self._refusal("is over; write today, or a later day")
        instead = vague_dates.advice(words, self.now, self._is_day)
        if instead is not None:
            return self._refusal(f"is not clear enough; write {instead}")
        return self._refusal(f"is not a date that we can read; {_EXAMPLES}")

    def _is_day(self, words: str) -> bool:
        try:
            return bool(words) and self._day(words) >= self.now.date()
        except InvalidInputError:
            return False

    def _weekday(self, words: str) -> date | None:
        """Return the day that a weekday means; ``None`` for other words.

        Said on a Monday, "next friday" is this week's to some and next week's to others; and on a
        Sunday, "next monday" is tomorrow or in eight days. Those are refused.
        """
        if words.endswith(" next week"):
            return self._day_of_next_week(words.removesuffix(" next week"))
        which, _, word = words.rpartition(" ")
        places = _numbers_of(WEEKDAYS, word)
        if not places or which not in {"", "this", "next"}:
            return None
        today = self.now.date()
        days_ahead = (places[0] - today.weekday()) % DAYS_OF_WEEK
        coming = today + timedelta(days=days_ahead)
        week_later = coming + timedelta(days=DAYS_OF_WEEK)
        is_this_week = today.weekday() + days_ahead < DAYS_OF_WEEK
        if which == "next" and days_ahead and (is_this_week or days_ahead == 1):
            raise self._unclear(day_and_month(coming), day_and_month(week_later))
        if which == "this" and not is_this_week:
            week_before = coming - timedelta(days=DAYS_OF_WEEK)
            raise self._unclear(day_and_month(week_before), day_and_month(coming))
        if days_ahead or which == "this":
            return coming
        if which == "" and self.use is Use.DUE:
            raise self._unclear(f"today, {day_and_month(coming)},", day_and_month(week_later))
        return week_later  # nobody lets a task rest until the day that it is

    def _day_of_next_week(self, weekday: str) -> date | None:
        """Return a day of the week after this one; on a Sunday, that may have begun already."""
        places = _numbers_of(WEEKDAYS, weekday)
        if not places:
            return None
        today = self.now.date()
        day = today + timedelta(days=DAYS_OF_WEEK + places[0] - today.weekday())
        if today.weekday() == DAYS_OF_WEEK - 1:
            raise self._unclear(day_and_month(day), day_and_month(day + timedelta(weeks=1)))
        return day

    def _written_date(self, words: str) -> date | None:
        """Return the date that words or numbers write; a weekday before it has to be its own."""
        first, _, rest = words.partition(" ")
        places = _numbers_of(WEEKDAYS, first)
        day = self._date(rest if places else words)
        if day is not None and places and day.weekday() != places[0]:
            raise self._refusal(f"is no date: {day_and_month(day)} is a {WEEKDAYS[day.weekday()]}")
        return day

    def _date(self, words: str) -> date | None:
        return _from_iso(words) or self._date_in_numbers(words) or self._date_with_month(words)

    def _date_in_numbers(self, words: str) -> date | None:
        """Return the date that numbers write, if they can be read in one way."""
        match = _YEAR_FIRST.fullmatch(words)
        if match is not None:
            day = _day_or_none(int(match[1]), int(match[3]), int(match[4] or 0))
            if day is None:
                raise self._refusal("is no day of the calendar; write for example 2026-12-24")
            return day
        match = _NUMBERS_ONLY.fullmatch(words)
        if match is None:
            return None
        one, other, year = int(match[1]), int(match[3]), match[4]
        either = (self._in_year(year, other, one), self._in_year(year, one, other))
        days = sorted({day for day in either if day is not None})
        if not days:
            raise self._refusal("is no day of the calendar; write for example 24 December")
        if len(days) > 1:
            raise self._refusal(f"may mean {_dated(days[0])} or {_dated(days[1])}; write which")
        return days[0]

    def _in_year(self, year: str | None, month: int, day: int) -> date | None:
        """Return a day of that year, or without one the next day of that name."""
        meant = _day_or_none(int(year or self.now.year), month, day)
        if meant is None or year is not None or meant >= self.now.date():
            return meant
        return _day_or_none(self.now.year + 1, month, day)

    def _date_with_month(self, words: str) -> date | None:
        match = _DAY_MONTH.fullmatch(words) or _MONTH_DAY.fullmatch(words)
        months = _numbers_of(MONTHS, match["month"]) if match else []
        if match is None or len(months) != 1:
            return None
        year = int(match["year"] or self.now.year)
        try:
            day = date(year, months[0] + 1, int(match["day"]))
            if match["year"] is None and day < self.now.date():
                day = day.replace(year=year + 1)
        except ValueError:
            raise self._refusal("is not in the calendar") from None
        return day


def _day_or_none(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _dated(day: date) -> str:
    return f"{day.isoformat()} ({day_and_month(day)})"


def day_and_month(day: date) -> str:
    """Return a day as people say it, without its year."""
    return f"{day.day} {MONTHS[day.month - 1]}"
