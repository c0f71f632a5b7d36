"""Dates through the façade: what rests, what is meant for today, and what people are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from vespera_orchestrator._model import CauseKind
from vespera_orchestrator.errors import (
    InvalidInputError,
    InvalidPlanError,
    NothingReadyError,
    NotReadyError,
    PlanError,
)
from vespera_orchestrator.integrations.tools import Toolbox
from vespera_orchestrator.orchestrator import Orchestrator
from vespera_orchestrator.testing import ManualClock


@pytest.fixture
def clock():
    """A Wednesday morning."""
    return ManualClock(datetime(2026, 6, 10, 8, tzinfo=UTC))


@pytest.fixture
def orch(tmp_path, clock):
    """A session of somebody in Berlin."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text('[person]\ntimezone = "Europe/Berlin"\n')
    with Orchestrator.open(tmp_path, store="memory:", home=home, clock=clock) as orch:
        orch.initialize_session("a quiet week")
        yield orch


def test_a_day_is_a_day_where_the_person_is(orch, clock):
    """It is over when the night begins there, and told kindly from then on."""
    task = orch.plan_task("Buy milk", due_date="2026-06-10")
    assert (task.due_day, task.zone) == ("2026-06-10", "Europe/Berlin")
    assert "buy_milk is meant for today" in str(orch.get_status())
    clock.advance(hours=13, minutes=59)
    assert "is meant for today" in str(orch.next_step())
    clock.advance(minutes=2)
    words = "was meant for yesterday; today would be fine, or say when"
    for text in (orch.next_step(), orch.get_status(), orch.resume()):
        assert words in str(text)
    with orch.execute_task("buy_milk") as work:
        assert words in str(work.briefing())
        assert "overdue" not in str(work.briefing())


def test_when_another_agent_fell_silent_is_told_by_the_person_s_clock(orch, clock):
    """As any other moment: what is stored names no clock."""
    orch.plan_task("Call")
    orch.execute_task("call", agent="ada", lease_s=60)
    clock.advance(hours=1)
    words = "attempt 1 crashed: no sign of life, last heard of on 10 June 2026, 10:00"
    assert words in str(orch.next_step())
    assert orch.why("call").setback == words


def test_a_rest_until_tomorrow_is_offered_where_it_means_another_day(orch, clock):
    """Not where the task is meant for tomorrow, or later."""
    orch.plan_task("Call", due_date="2026-06-11")
    assert str(orch.next_step()).partition("It is meant for ")[2].startswith("tomorrow.  →")
    clock.advance(days=1)
    assert "It is meant for today. If you want another day" in str(orch.next_step())


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("America/New_York", "today, 19:30", "11 June (Europe/Berlin)"),
        ("UTC", "today, 23:30", "11 June (Europe/Berlin)"),
        ("Europe/Paris", "tomorrow, 01:30", "tomorrow"),
    ],
)
def test_a_reader_elsewhere_is_told_by_the_clock_there(orch, tmp_path, zone, moment, day):
    """A moment is one of that clock; a day that is another one there has its name and its zone."""
    orch.plan_tasks(
        [
            {"title": "Nap", "not_before": "2026-06-10T23:30Z"},
            {"title": "Call", "due_date": "2026-06-11"},
        ]
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.toml").write_text(f'[person]\ntimezone = "{zone}"\n')
    with Orchestrator.open(tmp_path, store=orch._store, home=other, clock=orch._clock) as reader:
        reader.resume_session(orch.current_session().id)
        assert f"rests until {moment};" in str(reader.why("nap"))
        status = str(reader.get_status())
        assert f"call is meant for {day}" in status
        assert f"1 task rests until {moment}" in status
        assert f"It is meant for {day}" in str(reader.next_step())


def test_a_check_names_a_time_zone_that_does_not_exist(tmp_path):
    """Whoever only looks is not stopped by it, and would never know."""
    with Orchestrator.open(tmp_path, embedder="none") as orch:
        orch.initialize_session("a quiet week")
        orch.plan_task("Nap", not_before="2031-06-10")
        settings = orch.home / "config.toml"
    settings.write_text('[person]\ntimezone = "Pacific/Aukland"\n')
    with Orchestrator.open(tmp_path, embedder="none") as orch:
        assert "rests until" in str(orch.why("nap"))
        assert "'Pacific/Aukland' is no time zone" in str(orch.check())


def test_nobody_is_told_to_do_today_what_waits_for_something(orch, clock):
    """What comes first is named, and the call that says another day."""
    orch.plan_tasks(
        [
            {"title": "Move", "children": [{"title": "Pack"}]},
            {"title": "Party", "dependencies": ["move"], "due_date": "2026-06-10"},
            {"title": "Tour", "due_date": "2026-06-10", "children": [{"title": "Map"}]},
        ]
    )
    clock.advance(hours=24)
    status = str(orch.get_status())
    words = "was meant for yesterday; it waits for {} first, or say when: orch.snooze_task('{}', "
    assert f"party {words.format('move', 'party')}" in status
    assert f"tour {words.format('map', 'tour')}" in status
    assert f"Dates: party {words.format('move', 'party')}" in str(orch.resume())
    orch.plan_task("Call", due_date="2026-06-11", priority=90)
    step = str(orch.next_step())
    assert "It is meant for today. If you want another day: orch.snooze_task('call'" in step


def test_the_same_words_in_every_place_that_takes_a_date(orch):
    """A call, a change, a plan in a file, a tool: "friday" is that Friday in each."""
    tools = Toolbox(orch, include="all")
    words = {"due_date": "friday", "not_before": "tomorrow"}
    orch.plan_task("a", **words)
    orch.plan_task("b")
    orch.update_task("b", **words)
    orch.plan_tasks("- {title: c, due_date: friday, not_before: tomorrow}")
    orch.plan_tasks(json.dumps([{"title": "d", **words}]))
    tools.answer("plan_task", {"title": "e", **words})
    orch.plan_task("f", due_date="friday")
    tools.answer("snooze_task", {"task": "f", "until": "tomorrow"})
    planned = {(task.due_day, task.not_before) for task in orch.query_tasks()}
    assert planned == {("2026-06-12", datetime(2026, 6, 10, 22, tzinfo=UTC))}


def test_a_word_that_may_mean_two_days_names_its_place(orch):
    """In a plan the mistake stands beside all others, and nothing is planned."""
    with pytest.raises(PlanError, match=r"line 2.*'next friday' may mean 12 June or 19 June"):
        orch.plan_tasks("- title: a\n  due_date: next friday")
    assert orch.query_tasks() == []


def test_null_for_a_tool_wakes_a_task(orch):
    """As ``None`` does in Python; what is left out is tomorrow."""
    tools = Toolbox(orch, include="all")
    orch.plan_task("a")
    assert not tools.answer("snooze_task", {"task": "a"}).is_error
    assert orch.get_task("a").asleep
    assert not tools.answer("snooze_task", {"task": "a", "until": None}).is_error
    assert not orch.get_task("a").asleep


def test_a_snoozed_task_is_not_mentioned_until_it_wakes(orch, clock):
    """And then it is meant for that day."""
    orch.plan_task("Write to Ada", due_date="2026-06-09")
    task = orch.snooze_task("write_to_ada", "friday")
    assert (task.due_day, task.is_ready) == ("2026-06-12", False)
    step = orch.next_step()
    assert step.action == "wait"
    assert "until Friday" in step.sentence
    assert "write_to_ada" not in str(orch.get_status()).split("Next:")[0]
    with pytest.raises(NothingReadyError, match="until Friday"):
        orch.execute_task()
    clock.advance(days=2)
    assert "is meant for today" in str(orch.next_step())
    assert orch.execute_task().task.alias == "write_to_ada"


def test_why_says_until_when_and_how_to_start_now(orch):
    """The call that it names works."""
    orch.plan_task("A", not_before="2026-06-15T09:00")
    why = orch.why("a")
    (cause,) = why.causes
    assert cause.kind is CauseKind.MOMENT
    assert "until Monday, 09:00" in str(why)
    with pytest.raises(NotReadyError, match="until Monday"):
        orch.execute_task("a")
    orch.snooze_task("a", None)
    assert orch.why("a").ready


def test_a_rest_is_tomorrow_unless_another_day_is_named(orch, clock):
    """Tomorrow begins at midnight where the person is; the past is refused."""
    orch.plan_task("A")
    assert orch.snooze_task("a").not_before == datetime(2026, 6, 10, 22, tzinfo=UTC)
    assert orch.snooze_task("a", timedelta(hours=1)).not_before == clock.now + timedelta(hours=1)
    with pytest.raises(InvalidInputError, match="until"):
        orch.snooze_task("a", "2026-06-09")


def test_plans_as_text_have_dates_too(orch):
    """A day in YAML is a day; each mistake has its place."""
    text = """
    - {title: A, due_date: 2026-12-24, not_before: 2026-12-01, max_attempts: 1}
    - {title: B, due_date: 2026-12-24T18:00, estimated_effort: 2-3 hours}
    """
    a, b = orch.plan_tasks(text)
    assert (a.due_day, a.max_attempts, a.asleep) == ("2026-12-24", 1, True)
    assert b.due_at == datetime(2026, 12, 24, 17, tzinfo=UTC)
    bad = [{"title": "C", "due_date": "soon", "estimated_effort": "a while", "max_attempts": 0}]
    with pytest.raises(InvalidPlanError) as caught:
        orch.plan_tasks(bad)
    assert len(caught.value.mistakes) == 3
    with pytest.raises(PlanError, match="estimate"):
        orch.plan_task("D", estimated_effort="a few moons")


def test_an_estimate_stands_beside_how_long_it_usually_takes(orch, clock):
    """So a person can see which of the two to believe."""
    for number in range(3):
        with orch.execute_task(orch.plan_task(f"Old {number}")) as work:
            clock.advance(minutes=40)
            work.complete(summary="s", detailed_work="d")
    orch.plan_task("New", estimated_effort="10 min")
    briefing = str(orch.execute_task("new").briefing())
    assert "estimated 10 min; like the last three: about 40 minutes" in briefing


def test_nothing_is_found_wrong_with_tasks_that_rest(orch):
    """Neither by a check, nor in the counts."""
    orch.plan_task("A", not_before="2026-06-15")
    orch.plan_task("B", dependencies=["a"], due_date="2026-06-20")
    orch.snooze_task("b", "3 days")
    assert not orch.check().errors


def test_whoever_asks_for_a_task_first_finds_it_awake(orch, clock):
    """Also by name, and before it is opened again: an answer that waited for its day counts."""
    orch.plan_tasks([{"title": "Bake"}, {"title": "Eat", "not_before": "in 1 hour"}])
    asked = {"title": "Sweet", "question": "Is it?", "dependencies": ["bake"]}
    orch.plan_tasks([asked | {"not_before": "in 1 hour"}])
    orch.answer("sweet", "yes")
    orch.complete_task("bake", summary="baked", detailed_work="It is brown.")
    assert not orch.get_task("eat").is_ready
    clock.advance(7200)
    reopening = orch.reopen_task("bake", "raw inside")
    assert [task.alias for task in reopening.outdated] == ["sweet"]
    clock.advance(1)
    assert orch.get_task("eat").is_ready
    orch.snooze_task("eat", "in 1 hour")
    clock.advance(7200)
    assert orch.get_task("eat").is_ready


@pytest.mark.parametrize("week", ["2026-W48", "2026W48", " 2026-W48 "])
def test_a_week_without_a_day_is_asked_back(orch, week):
    """It is no day; ISO format would read it as its Monday, which may be over."""
    for name in ("due_date", "not_before"):
        with pytest.raises(PlanError, match=r"a whole week; .* 2026-11-27 for its Friday"):
            orch.plan_task("Call", **{name: week})


def test_a_day_of_a_week_is_a_day(orch):
    """ISO format writes it so, too."""
    assert orch.plan_task("Call", due_date="2031-W10-3").due_day == "2031-03-05"


def test_a_question_of_nothing_is_refused(orch):
    """Planned or changed; an empty text still clears it."""
    with pytest.raises(PlanError, match="question: ' ' asks nothing"):
        orch.plan_task("Ask", question=" ")
    asking = orch.plan_task("Ask", question="Red?")
    with pytest.raises(InvalidInputError, match="asks nothing"):
        orch.update_task(asking, question="\t")
    assert orch.update_task(asking, question="").question is None


def test_dates_that_contradict_each_other_are_told_in_words(orch):
    """As every other text tells them."""
    with pytest.raises(PlanError, match="not start before 2 April 2031, but is due 1 April 2031;"):
        orch.plan_task("Call", not_before="2031-04-02", due_date="2031-04-01")
