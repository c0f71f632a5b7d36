"""The words for dates: what each means as a due date and as a beginning, and what is refused."""

from __future__ import annotations

import re
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
        ("24.12.2026", "2026-12-24", "2026-12-24"),
        ("24.12.", "2026-12-24", "2026-12-24"),
        ("12/24", "2026-12-24", "2026-12-24"),
        ("30.5.", "2027-05-30", "2027-05-30"),
        ("7/7/2026", "2026-07-07", "2026-07-07"),
        ("2027-3-1", "2027-03-01", "2027-03-01"),
        ("2027/03/01", "2027-03-01", "2027-03-01"),
        ("March 5th", "2027-03-05", "2027-03-05"),
        ("the day after tomorrow", "2026-06-12", "2026-06-12"),
        ("5th of March 2027", "2027-03-05", "2027-03-05"),
        ("Mon 7 Dec", "2026-12-07", "2026-12-07"),
        ("friday next week", "2026-06-19", "2026-06-19"),
        ("half an hour", "2026-06-10 10:30", "2026-06-10 10:30"),
        ("a fortnight", "2026-06-24", "2026-06-24 10:00"),
        ("in 3 months", "2026-09-10", "2026-09-10 10:00"),
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
        ("a month", "2027-01-31", "2027-02-28 10:00"),
        ("24 months", "2028-02-29", "2030-02-28 10:00"),
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
        ("next week", "such as 2026-06-19 for its Friday or 2026-06-21"),
        ("end of the week", "such as 2026-06-12 for its Friday"),
        ("end of the month", "such as 2026-06-30"),
        ("end of next month", "such as 2026-07-31"),
        ("in a year", "such as 2027-06-10"),
        ("the weekend", "write 2026-06-13, 2026-06-14"),
        ("tomorrow morning", "write tomorrow 09:00"),
        ("friday night", "write friday 20:00"),
        ("monday evening", "write monday 18:00"),
        ("this evening", "write today 18:00"),
        ("in the morning", "write tomorrow 09:00"),
        ("wednesday night", "write a day and a time, such as tomorrow 20:00"),
        ("2026-02-30", "no day of the calendar"),
        ("2026-12", "no day of the calendar"),
        ("31.13.", "no day of the calendar"),
        ("soon", "write tomorrow, or in 3 days"),
        ("3.4.2027", "may mean 2027-03-04 (4 March) or 2027-04-03 (3 April)"),
        ("tue 7 dec", "7 December is a Monday"),
        ("0 months ago", "that we can read"),
        ("tomorrow 25:00", "a time that no clock shows"),
        ("tomorrow 13 pm", "a time that no clock shows"),
        ("30 February", "not in the calendar"),
        ("ma 5", "write for example tomorrow"),
        ("5 ju", "write for example tomorrow"),
        ("june", "write for example tomorrow"),
        ("999999 weeks", "outside the calendar"),
        ("now", "write for example tomorrow"),
        ("yesterday", "is over"),
    ],
)
def test_what_may_mean_two_days_is_asked_back(text, advice):
    """The error says what to write instead; nothing is guessed."""
    with pytest.raises(InvalidInputError) as caught:
        read(text, Use.DUE)
    assert advice in str(caught.value)
    assert text in str(caught.value)


VAGUE = ["this week", "next week", "the weekend", "end of the month", "friday night", "evening"]
ADVICE = re.compile(r"\b(?:today|tomorrow|[a-z]+day|\d{4}-\d\d-\d\d)(?: \d\d:\d\d)?")


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("day", range(8, 15))
@pytest.mark.parametrize("text", VAGUE)
def test_what_is_advised_is_read(text, day, use):
    """On each day of the week: nobody is sent from one refusal to the next."""
    when = {"day": f"2026-06-{day:02}", "at": "21:00"}
    try:
        read(text, use, **when)
    except InvalidInputError as caught:
        advice = ADVICE.findall(str(caught).partition("write ")[2])
        assert advice
        for each in advice:
            assert read(each, use, **when) >= when["day"]


def test_on_a_sunday_next_monday_may_be_tomorrow():
    """So that is asked back, too; on a Saturday it is clear."""
    with pytest.raises(InvalidInputError, match="15 June or 22 June"):
        read("next monday", Use.START, day="2026-06-14")
    with pytest.raises(InvalidInputError, match="15 June or 22 June"):
        read("monday next week", Use.START, day="2026-06-14")
    assert read("next monday", Use.START, day="2026-06-13") == "2026-06-15"


PARTS = ["in", "a", "3", "next", "friday", "dec", "24", "18:00", "at", "9", "am", "m", "29 feb"]
PARTS += ["week", "months", "night", "1.2.", "2/13", "5th", "of", "2027-1-1"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=5).map(" ".join), st.sampled_from(Use))
def test_words_are_a_date_or_a_refusal(text, use):
    """No text makes anything else happen."""
    try:
        meant = read_when("due_date", text, calendar(), use)
    except InvalidInputError:
        return
    assert meant is None or isinstance(meant, date)
