"""What happened, in words."""

from __future__ import annotations

import json
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import EventKind, InvalidInputError, TaskNotFoundError
from vespera_orchestrator.integrations.command import main
from vespera_orchestrator.progress import history


@pytest.fixture
def orch(tmp_path, clock):
    """An orchestrator with a session in memory."""
    with vespera.open(tmp_path, store="memory:", clock=clock, agent="ada") as opened:
        opened.initialize_session("a house")
        yield opened


def sentences(orch, *arguments, **filters):
    """What the history says, line by line, without the times."""
    return [event.sentence for event in orch.history(*arguments, **filters)]


def test_it_tells_what_happened_to_a_task(orch, clock):
    """Who did what, in order; what others wrote is quoted, what changed is named."""
    orch.plan_tasks([{"title": "Walls"}, {"title": "Roof", "dependencies": ["walls"]}])
    orch.update_task("roof", priority=5, due_date="2027-01-01", dependencies=[])
    orch.update_task("roof", due_date="", dependencies=[{"task": "walls", "on": "done"}])
    work = orch.execute_task("walls")
    work.checkpoint({"n": 1}, note="half the bricks stand")
    work.complete(summary="walls of brick", detailed_work="bricks")
    clock.advance(60)
    orch.execute_task("roof").fail("no tiles left")
    assert sentences(orch, "roof") == [
        "roof: planned",
        "roof: no longer waits for walls",
        "roof: changed: due date to 1 January 2027, priority to 5",
        "roof: waits for walls (done)",
        "roof: changed: no due date",
        "roof: started, attempt 1 (ada)",
        "roof: saved Roof: attempt 1 did not succeed (ada)",
        "roof: blocked (ada): no tiles left",
    ]
    assert sentences(orch, "walls")[2:] == [
        "walls: checkpoint saved (ada): half the bricks stand",
        "walls: saved Walls (ada)",
        "walls: completed (ada): walls of brick",
    ]


def test_how_a_holder_lost_its_task_is_told_as_what_it_was(orch, clock):
    """Ended by whoever knew that it was gone, taken over, or expired: three different things."""
    orch.plan_task("Walls")
    orch.execute_task("walls", agent="ben")
    orch.end_attempt("walls", "its machine is off")
    orch.execute_task("walls", agent="carl")
    orch.execute_task("walls", agent="dora", take_over=True)
    clock.advance(hours=1)
    orch.get_status()
    assert [line for line in sentences(orch, "walls") if "started" not in line] == [
        "walls: planned",
        "walls: attempt 1 of ben ended (ada): its machine is off",
        "walls: lost to dora (carl)",
        "walls: lost, with no sign of life since 1 January 2026, 12:00 (dora)",
    ]


def test_lengths_of_time_are_told_in_words(orch, clock):
    """Those of a limit that was changed, and of one that was reached."""
    orch.plan_task("Slow")
    orch.update_task("slow", time_limit="2 hours", stalled_after=300)
    orch.execute_task("slow")
    clock.advance(301)
    orch.get_status()
    orch.update_task("slow", time_limit="")
    words = [event.words for event in orch.history("slow")]
    assert words[1:] == [
        "changed: limit without progress to 5 minutes, time limit to 2 hours",
        "started, attempt 1",
        "attempt 1 stalled: nothing new for 5 minutes",
        "changed: no time limit",
    ]


def test_of_a_session_the_latest_are_told(orch):
    """As many as asked for, oldest first, and none of another session."""
    orch.plan_tasks([{"title": f"Brick {number}"} for number in range(5)])
    assert sentences(orch, limit=2) == ["brick_3: planned", "brick_4: planned"]
    assert sentences(orch)[0] == "session started: a house"
    assert len(orch.history(limit=None)) == 6
    orch.initialize_session("a garden")
    assert sentences(orch) == ["session started: a garden"]
    with pytest.raises(InvalidInputError):
        orch.history(limit=-1)
    with pytest.raises(TaskNotFoundError):
        orch.history("nothing")


def test_events_are_told_by_the_present_name(orch):
    """Also by the last one of a task that is gone."""
    orch.plan_tasks([{"title": "A"}, {"title": "B", "dependencies": ["a"]}, {"title": "C"}])
    orch.update_task("a", alias="first")
    orch.add_dependency("c", "first")
    orch.cancel_task("b", "a was enough")
    orch.delete_task("b", hard=True)
    assert sentences(orch)[1:] == [
        "first: planned",
        "b: planned",
        "c: planned",
        "first: changed: alias to first",
        "c: waits for first (success)",
        "b: cancelled: a was enough",
        "b: deleted",
    ]


def test_it_is_told_day_by_day_where_the_person_is(orch, clock):
    """A line an event, under its day."""
    orch.plan_task("A")
    clock.advance(timedelta(days=1).total_seconds())
    orch.plan_task("B")
    events = orch.history()
    told = history.History(events, zone=ZoneInfo("Asia/Tokyo"))
    lines = str(told).splitlines()
    days = [line for line in lines if not line.startswith(" ")]
    assert len(days) == 2
    local = events[0].at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert lines[1] == f"  {local:%H:%M}  session started: a house"
    assert str(history.History()) == "nothing has happened yet"


def test_a_task_that_is_opened_again_says_why(orch):
    """And not what was said when it was done."""
    orch.plan_task("A")
    orch.complete_task("a", summary="all well", detailed_work="d")
    orch.reopen_task("a", "the figures are wrong")
    assert sentences(orch, "a")[-1].endswith(": the figures are wrong")


def test_a_rest_tells_where_the_due_date_went(orch):
    """Otherwise nobody could find the old one again; and no rest is a word, not ``None``."""
    orch.plan_task("A", due_date="2027-01-01")
    orch.snooze_task("a", "2027-02-01")
    orch.snooze_task("a", None)
    assert [line.partition(": ")[2] for line in sentences(orch, "a")[-2:]] == [
        "rests until 1 February 2027; it is due 1 February 2027 now",
        "its rest is over; it is due 1 January 2027 now",
    ]


def test_moments_are_told_by_the_person_s_clock(tmp_path, clock):
    """Also those within a sentence; to the minute, and whose clock is meant is known."""
    with vespera.open(tmp_path, clock=clock, agent="ada") as orch:
        tmp_path.joinpath(".task_orchestrator", "config.toml").write_text(
            '[person]\ntimezone = "Asia/Tokyo"\n'
        )
    with vespera.open(tmp_path, clock=clock, agent="ada") as orch:
        orch.initialize_session("a house")
        orch.plan_task("Fetch", retry_after="10 min")
        orch.snooze_task("fetch", "2027-03-01")
        orch.snooze_task("fetch", None)
        orch.execute_task("fetch").fail("no answer")
        told = [event.sentence for event in orch.history("fetch")]
    retry_at = clock.now.astimezone(ZoneInfo("Asia/Tokyo")) + timedelta(minutes=10)
    assert told[1] == "fetch: rests until 1 March 2027"
    words = f"attempt 1 failed, next try at {retry_at.day} January 2026, {retry_at:%H:%M}"
    assert told[-1] == f"fetch: {words} (ada): no answer"


def test_every_kind_of_event_has_words():
    """None is told by the name that is stored."""
    assert set(EventKind) <= history._WORDS.keys()


def test_texts_of_others_stay_data(orch):
    """Braces, markup and control characters are nobody's instructions."""
    orch.plan_task("A")
    orch.complete_task("a", summary="{0} {x} <b>\x1b[31m\nred", detailed_work="x")
    last = orch.history("a")[-1]
    assert last.sentence.startswith("a: completed (ada): {0} {x} <b>")
    assert "\x1b" not in str(orch.history())
    assert "<b>{0}" not in orch.history()._repr_html_()
    assert "&lt;b&gt;" in orch.history()._repr_html_()


def test_it_travels_as_json_and_on_the_command_line(tmp_path, capsys):
    """The words stand beside the facts; a brief form leaves the facts out."""
    with vespera.open(tmp_path, agent="ada") as orch:
        orch.initialize_session("a house")
        orch.plan_task("Roof")
        [event] = orch.history("roof")
        assert event.to_dict(brief=True).keys() == {
            "seq",
            "at",
            "kind",
            "task_id",
            "alias",
            "words",
        }
    assert main(["--project", str(tmp_path), "history", "roof"]) == 0
    assert capsys.readouterr().out.endswith("roof: planned\n")
    assert main(["--project", str(tmp_path), "history", "--json"]) == 0
    assert [event["words"] for event in json.loads(capsys.readouterr().out)] == [
        "session started",
        "planned",
    ]
