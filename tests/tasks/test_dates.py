"""Dates as people mean them: days in their zone, moments, rests, and the words for them."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from support.records import task
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.timezone import person_zone, zone_name, zone_named
from vespera_orchestrator.tasks import arguments, dates
from vespera_orchestrator.tasks.date_words import Calendar

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 6, 10, 8, tzinfo=UTC)  # a Wednesday


IN_BERLIN = Calendar(now=lambda: NOW, zone=lambda: BERLIN)
"""A person in Berlin, at ten in the morning."""


def dated(text):
    """A task with this due date."""
    return task(**dates.due_fields("due_date", text, IN_BERLIN))


# --- days --------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Pacific/Honolulu", "Europe/London", "Asia/Tokyo"])
def test_a_day_is_the_same_day_wherever_it_is_read(zone):
    """Its moment is noon where the person is."""
    at = dated("2026-06-08").due_at
    assert at.astimezone(ZoneInfo(zone)).date() == date(2026, 6, 8)


@pytest.mark.parametrize(
    ("day", "end"),
    [
        ("2026-06-08", "2026-06-08T22:00+00:00"),  # summer
        ("2026-03-29", "2026-03-29T22:00+00:00"),  # 23 hours long
        ("2026-10-25", "2026-10-25T23:00+00:00"),  # 25 hours long
    ],
)
def test_a_day_ends_at_midnight_where_the_person_is(day, end):
    """Also where the clocks change on it."""
    assert dates.due_until(dated(day)) == datetime.fromisoformat(end)


def test_a_time_without_a_zone_is_meant_where_the_person_is():
    """And one with a zone is that moment; it has no day of its own."""
    local = dated("2026-12-24T18:00")
    assert (local.due_at, local.due_day) == (datetime(2026, 12, 24, 17, tzinfo=UTC), None)
    aware = dated("2026-12-24T18:00+00:00")
    assert dates.due_until(aware) == datetime(2026, 12, 24, 18, tzinfo=UTC)
    assert aware.zone == "Europe/Berlin"


def test_no_date_is_none():
    """None and an empty text clear it."""
    for empty in (None, "", " "):
        assert dates.due_fields("due_date", empty, IN_BERLIN)["due_at"] is None
        assert dates.start_fields("not_before", empty, IN_BERLIN) == {"not_before": None}


@pytest.mark.parametrize("value", ["soon", 5, "2026-13-01", datetime.max.replace(tzinfo=BERLIN)])
def test_what_is_no_date_is_refused(value):
    """With what would be one; a datetime at the end of all calendars, too."""
    west = timezone(timedelta(hours=-5))
    if isinstance(value, datetime):
        value = value.replace(tzinfo=west)
    with pytest.raises(InvalidInputError):
        dates.due_fields("due_date", value, IN_BERLIN)


# --- rests -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "until"),
    [
        ("tomorrow", "2026-06-10T22:00+00:00"),
        ("Friday", "2026-06-11T22:00+00:00"),
        ("wednesday", "2026-06-16T22:00+00:00"),
        ("next week", "2026-06-14T22:00+00:00"),
        ("next Monday", "2026-06-14T22:00+00:00"),
        ("3 days", "2026-06-13T08:00+00:00"),
        ("in 3 days", "2026-06-13T08:00+00:00"),
        ("90 min", "2026-06-10T09:30+00:00"),
        (timedelta(hours=2), "2026-06-10T10:00+00:00"),
        ("2026-07-01", "2026-06-30T22:00+00:00"),
        (date(2026, 7, 1), "2026-06-30T22:00+00:00"),
    ],
)
def test_a_rest_is_named_in_a_persons_words(words, until):
    """A day begins at its midnight, and a weekday is the next one."""
    rest = dates.snooze_until("until", words, IN_BERLIN)
    assert rest == datetime.fromisoformat(until)


@pytest.mark.parametrize("words", ["now", None])
def test_a_rest_can_be_ended(words):
    """In a shell there is no ``None``."""
    assert dates.snooze_until("until", words, IN_BERLIN) is None


@pytest.mark.parametrize("words", ["none", "someday", "in a while"])
def test_words_that_name_no_day_are_answered_with_those_that_do(words):
    """And not with the form of dates that machines write."""
    with pytest.raises(InvalidInputError, match="tomorrow"):
        dates.snooze_until("until", words, IN_BERLIN)


@pytest.mark.parametrize("words", ["yesterday", "2026-06-10", "0 days", "", " "])
def test_a_rest_is_in_the_future(words):
    """A moment that is over, and a word that means none, are refused."""
    with pytest.raises(InvalidInputError):
        dates.snooze_until("until", words, IN_BERLIN)


# --- words -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due", "words"),
    [
        ("2026-06-10", "is meant for today"),
        ("2026-06-11", "is meant for tomorrow"),
        ("2026-06-13", "is meant for Saturday"),
        ("2026-12-24", "is meant for 24 December"),
        ("2027-01-02", "is meant for 2 January 2027"),
        ("2026-06-10T18:00", "is meant for today, 18:00"),
        ("2026-06-10T09:00", "was meant for today, 09:00; any time now would be fine, or say when"),
        ("2026-06-09", "was meant for yesterday; today would be fine, or say when"),
        ("2026-06-08", "was meant for Monday; today would be fine, or say when"),
    ],
)
def test_due_dates_are_told_kindly(due, words):
    """A day is over only when it has ended, and nothing is called late."""
    assert dates.due_words(dated(due), NOW) == words


def test_a_rest_is_told_by_the_day():
    """With a time only where there is one."""
    monday = task(**dates.start_fields("not_before", "2026-06-15", IN_BERLIN))
    assert dates.rest_words(monday, NOW) == "Monday"
    at_nine = task(**dates.start_fields("not_before", "2026-06-11T09:00", IN_BERLIN))
    assert dates.rest_words(at_nine, NOW) == "tomorrow, 09:00"


# --- zones -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "UTC+05:30", "UTC-03:00"])
def test_a_zone_is_found_again_by_its_name(name):
    """So it can be stored with a date."""
    assert zone_name(zone_named(name)) == name


@pytest.mark.parametrize("name", ["Middle/Earth", "../etc/passwd", "Europe"])
def test_what_is_no_zone_is_refused(name):
    """With the setting that names it."""
    with pytest.raises(InvalidInputError, match=r"person\.timezone"):
        person_zone(name)


def test_without_a_setting_the_machine_says_it(monkeypatch):
    """The environment comes first, as everywhere on the system; nonsense in it is passed over."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert zone_name(person_zone(None)) == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "Middle/Earth")
    assert zone_named(zone_name(person_zone(None))) is not None


@pytest.mark.parametrize("rule", ["<+0330>-3:30", "XST-3:30"])
def test_a_rule_in_the_environment_counts_as_for_every_program(monkeypatch, rule):
    """It names no zone, so the distance from UTC is that of the machine's clock."""
    monkeypatch.setenv("TZ", rule)
    time.tzset()
    try:
        assert zone_name(person_zone(None)) == "UTC+03:30"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "9999-12-31T12:00"])
def test_a_date_is_within_the_calendar(day):
    """The day after it, and the day before, can be told in any zone."""
    for fields in (dates.due_fields, dates.start_fields):
        with pytest.raises(InvalidInputError, match="outside the calendar"):
            fields("date", day, IN_BERLIN)


# --- estimates ---------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["2 hours", "30 min", "1d 4h", "1 day, 2 hours", "about 2 hours", "2-3 hours", "1.5h"]
)
def test_an_estimate_is_kept_as_it_was_written(text):
    """When it can be read."""
    assert arguments.effort("estimated_effort", text) == text


@pytest.mark.parametrize("text", ["a while", "2", "2 moons", "2 hours of pain", 2, "9999 weeks"])
def test_an_estimate_that_cannot_be_read_is_refused(text):
    """Otherwise it would silently count as one hour, or as more than a calendar has."""
    with pytest.raises(InvalidInputError):
        arguments.effort("estimated_effort", text)
