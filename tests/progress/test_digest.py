"""The digest: at most three a day, never in the middle of a task, nothing twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.progress.digest import slots_around
from vespera_orchestrator.testing import ManualClock

HOURS = [9, 13, 18]
LATER = "Nothing new needs you."


@pytest.fixture
def clock():
    """Return a clock that stands at ten o'clock."""
    return ManualClock(datetime(2026, 1, 5, 10, tzinfo=UTC))


@pytest.fixture
def orch(tmp_path, clock):
    """A person in a session, in UTC."""
    with vespera.open(tmp_path) as first:
        first.initialize_session("Tea")
    config = tmp_path / ".task_orchestrator" / "config.toml"
    config.write_text('[person]\ntimezone = "UTC"\n')
    with vespera.open(tmp_path, clock=clock) as opened:
        yield opened


def somebody_does(orch, *names):
    """Let an agent do tasks with these names."""
    for name in names:
        orch.plan_task(name)
        with orch.execute_task(name.lower(), agent="ada", despite_pressure=True) as work:
            work.complete(summary=f"{name} is done", detailed_work="d")


@pytest.mark.parametrize(
    ("hour", "begun", "next_one"),
    [(8, (4, 18), (5, 9)), (9, (5, 9), (5, 13)), (12, (5, 9), (5, 13)), (23, (5, 18), (6, 9))],
)
def test_a_day_has_as_many_parts_as_hours_are_named(hour, begun, next_one):
    """The last part of a day lasts until the first hour of the next."""
    start, end = slots_around(datetime(2026, 1, 5, hour, tzinfo=UTC), HOURS)
    assert ((start.day, start.hour), (end.day, end.hour)) == (begun, next_one)


def test_news_come_once_and_then_wait(orch, clock):
    """However often one looks: the next ones come in the next part of the day."""
    assert str(orch.digest()) == LATER
    somebody_does(orch, "Boil")
    assert orch.digest().lines[:2] == (
        "1 thing done since you looked:",
        "  boil: Boil is done (ada)",
    )
    somebody_does(orch, "Pour", "Stir", "Sip", "Wash")
    assert str(orch.digest()) == "Nothing new. Nothing needs you: rest. The next news: at 13:00."
    clock.advance(3 * 3600)
    assert orch.digest().lines[0] == "4 things done since you looked, the last:"
    assert not orch.digest().has_news


def test_nobody_is_told_to_rest_where_something_waits(orch):
    """And what one has answered oneself is no news."""
    orch.plan_task("Tea", question="Green or black?")
    assert str(orch.digest()) == LATER
    orch.answer("tea", "green")
    assert not orch.digest().has_news
    assert "rest" in str(orch.digest())


def test_nobody_is_told_in_the_middle_of_a_task(orch):
    """At its end they are."""
    somebody_does(orch, "Boil")
    orch.plan_task("Think")
    with orch.execute_task("think") as work:
        assert "in the middle of 'Think'" in str(orch.digest())
        work.complete(summary="s", detailed_work="d")
    assert orch.digest().has_news


def test_at_most_three_a_day_and_nothing_twice(orch, clock):
    """Looked at every ten minutes for two days, while somebody works on."""
    told, days = [], {}
    for number in range(288):
        if number % 5 == 0:
            somebody_does(orch, f"T{number}")
        digest = orch.digest()
        if digest.has_news:
            told += [line for line in digest.lines if line.startswith("  t")]
            days[clock().date()] = days.get(clock().date(), 0) + 1
        clock.advance(600)
    assert max(days.values()) == len(HOURS)
    assert len(told) == len(set(told))


def test_a_look_takes_the_news_and_a_digest_writes_no_event(orch):
    """What `resume` has told is not news; looking wakes nobody."""
    somebody_does(orch, "Boil")
    orch.resume()
    assert not orch.digest().has_news
    somebody_does(orch, "Pour")
    before = orch._store.last_seq()
    assert orch.digest().has_news
    assert orch._store.last_seq() == before


def test_what_waits_for_a_person_is_said_once_and_kindly(orch, clock):
    """As something to choose."""
    orch.plan_task("Boil")
    for number in range(3):
        orch.execute_task("boil", agent="ada").fail("the fuse blew")
        if number < 2:
            orch.complete_task(orch.ready_tasks()[0], summary="s", detailed_work="d")
    assert "When you like, there is something to choose: boil." in str(orch.digest())
    clock.advance(4 * 3600)
    assert "boil" not in str(orch.digest())


def test_a_choice_is_asked_for_once(orch, clock):
    """The digest that tells what came to rest names the choice; the next ones leave it in peace."""
    orch.plan_task("Boil", max_attempts=1)
    with orch.execute_task("boil", agent="ada") as work:
        work.fail("the kettle leaks")
    assert orch.digest().next_step.action == "decide"
    somebody_does(orch, "Pour")
    clock.advance(4 * 3600)
    later = orch.digest()
    assert later.lines == ("1 thing done since you looked:", "  pour: Pour is done (ada)", LATER)
    assert later.next_step.task_id == orch.get_task("boil").id


def test_a_question_is_asked_again(orch, clock):
    """It is no reproach, and nobody else can answer it."""
    orch.plan_task("Tea or coffee", question="Tea or coffee?")
    somebody_does(orch, "Boil")
    assert "Tea or coffee?" in str(orch.digest())
    somebody_does(orch, "Pour")
    clock.advance(4 * 3600)
    assert "Tea or coffee?" in str(orch.digest())
