"""The words for dates: what each means as a due date and as a beginning, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks.date_words import Calendar, Use, read_when

BERLIN = ZoneInfo("Europe/Berlin")


def calendar(day="2026-06-10", at="10:00"):
    """The calendar of a person in Berlin; 2026-06-10 is a Wednesday."""
    now = datetime.fromisoformat(f"{day}T{at}").replace(tzinfo=BERLIN)
    return Calendar(now=lambda: now.astimezone(UTC), zone=lambda: BERLIN)


def read(text, use, **when):
    """What *text* means, as ISO text in Berlin."""
    meant = read_when("due_date", text, calendar(**when), use)
    if isinstance(meant, datetime):
        return meant.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M")
    return str(meant)


@pytest.mark.parametrize(
    ("text", "due", "start"),
    [
        ("today", "2026-06-10", "2026-06-10"),
        ("Tomorrow", "2026-06-11", "2026-06-11"),
        ("tonight", "2026-06-10", "2026-06-10 18:00"),
        ("tonight at 9 pm", "2026-06-10 21:00", "2026-06-10 21:00"),
        ("friday", "2026-06-12", "2026-06-12"),
        ("by Friday", "2026-06-12", "2026-06-12"),
        ("until fri", "2026-06-12", "2026-06-12"),
        ("this friday", "2026-06-12", "2026-06-12"),
        ("tuesday", "2026-06-16", "2026-06-16"),
        ("next monday", "2026-06-15", "2026-06-15"),
        ("friday 18:00", "2026-06-12 18:00", "2026-06-12 18:00"),
        ("tomorrow at 6 pm", "2026-06-11 18:00", "2026-06-11 18:00"),
        ("tomorrow 12 am", "2026-06-11 00:00", "2026-06-11 00:00"),
        ("tomorrow 12:30pm", "2026-06-11 12:30", "2026-06-11 12:30"),
        ("in 3 days", "2026-06-13", "2026-06-13 10:00"),
        ("2 weeks", "2026-06-24", "2026-06-24 10:00"),
        ("in a week", "2026-06-17", "2026-06-17 10:00"),
        ("in two days", "2026-06-12", "2026-06-12 10:00"),
        ("in 90 min", "2026-06-10 11:30", "2026-06-10 11:30"),
        ("an hour", "2026-06-10 11:00", "2026-06-10 11:00"),
        ("1.5 days", "2026-06-11 22:00", "2026-06-11 22:00"),
        ("24 December", "2026-12-24", "2026-12-24"),
        ("dec 24", "2026-12-24", "2026-12-24"),
        ("7 June", "2027-06-07", "2027-06-07"),
        ("June 7, 2030", "2030-06-07", "2030-06-07"),
        ("24 December 18:00", "2026-12-24 18:00", "2026-12-24 18:00"),
        ("2026-12-24 at 18:00", "2026-12-24 18:00", "2026-12-24 18:00"),
        ("2026-12-24", "2026-12-24", "2026-12-24"),
        ("2026-12-24T18:00+00:00", "2026-12-24 19:00", "2026-12-24 19:00"),
    ],
)
def test_words_mean_the_same_wherever_they_are_typed(text, due, start):
    """A due day lasts until its end; what begins on a day, or after a length, has its moment."""
    assert (read(text, Use.DUE), read(text, Use.START)) == (due, start)


@pytest.mark.parametrize(
    ("text", "day", "start"),
    [
        ("next week", "2026-06-10", "2026-06-15"),
        ("next month", "2026-12-31", "2027-01-01"),
        ("wednesday", "2026-06-10", "2026-06-17"),
        ("next wednesday", "2026-06-10", "2026-06-17"),
        ("in 1 day", "2026-10-24", "2026-10-25 10:00"),  # that night has an hour more
        ("24 hours", "2026-10-24", "2026-10-25 09:00"),
    ],
)
def test_what_begins(text, day, start):
    """What can only mean one beginning is that; a day is one of the calendar."""
    assert read(text, Use.START, day=day) == start


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("next friday", "may mean 12 June or 19 June"),
        ("this monday", "may mean 8 June or 15 June"),
        ("wednesday", "may mean today, 10 June, or 17 June"),
        ("tomorrow at 9", "may mean tomorrow 9 am or tomorrow 9 pm"),
        ("18:00", "may mean today 18:00 or tomorrow 18:00"),
        ("5 m", "may mean 5 min or 5 months"),
        ("next week", "write friday or sunday"),
        ("end of the month", "write a date, such as"),
        ("the weekend", "write saturday or sunday"),
        ("tomorrow morning", "write a time, such as tomorrow 9:00"),
        ("friday night", "write a time, such as tomorrow 20:00"),
        ("in 3 months", "write a date, such as"),
        ("2026-02-30", "no day of the calendar"),
        ("2026-12", "no day of the calendar"),
        ("soon", "write tomorrow, or in 3 days"),
        ("12/24", "day and month in either order"),
        ("3.4.2027", "day and month in either order"),
        ("tomorrow 25:00", "a time that no clock shows"),
        ("tomorrow 13 pm", "a time that no clock shows"),
        ("30 February", "not in the calendar"),
        ("ma 5", "write for example tomorrow"),
        ("5 ju", "write for example tomorrow"),
        ("june", "write for example tomorrow"),
        ("999999 weeks", "outside the calendar"),
        ("now", "write for example tomorrow"),
        ("yesterday", "write for example tomorrow"),
    ],
)
def test_what_may_mean_two_days_is_asked_back(text, advice):
    """The error says what to write instead; nothing is guessed."""
    with pytest.raises(InvalidInputError) as caught:
        read(text, Use.DUE)
    assert advice in str(caught.value)
    assert text in str(caught.value)


def test_on_a_sunday_next_monday_may_be_tomorrow():
    """So that is asked back, too; on a Saturday it is clear."""
    with pytest.raises(InvalidInputError, match="15 June or 22 June"):
        read("next monday", Use.START, day="2026-06-14")
    assert read("next monday", Use.START, day="2026-06-13") == "2026-06-15"


PARTS = ["in", "a", "3", "next", "friday", "dec", "24", "18:00", "at", "9", "am", "m", "29 feb"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=5).map(" ".join), st.sampled_from(Use))
def test_words_are_a_date_or_a_refusal(text, use):
    """No text makes anything else happen."""
    try:
        meant = read_when("due_date", text, calendar(), use)
    except InvalidInputError:
        return
    assert meant is None or isinstance(meant, date)
