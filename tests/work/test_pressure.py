"""Pressure with the store behind it: what is counted, what is recorded, what is refused."""

from __future__ import annotations

import pickle

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import (
    InvalidInputError,
    NothingReadyError,
    PressureKind,
    PressureLimitError,
)


@pytest.fixture
def orch(tmp_path, clock):
    """The façade in a session, with a clock that the test moves."""
    with vespera.open(tmp_path, clock=clock) as opened:
        opened.initialize_session("Goal")
        yield opened


def changes(orch):
    """Return the levels that were recorded, in order."""
    events = orch._store.events(kinds=["pressure_changed"])
    return [(event.data["before"], event.data["level"]) for event in events]


def fail(orch, count, prefix="task"):
    """Let tasks fail, one after the other."""
    for number in range(count):
        task = orch.plan_task(f"{prefix} {number}", alias=f"{prefix}_{number}")
        orch.execute_task(task, despite_pressure=True).fail("no")


def finish(orch, task, agent):
    """Let somebody complete a task."""
    work = orch.execute_task(task, agent=agent, despite_pressure=True)
    work.complete(summary="s", detailed_work="d")


def kinds(pressure):
    """Return the kinds of causes."""
    return {cause.kind for cause in pressure.causes}


def test_a_new_session_is_steady(orch):
    """And looking records nothing."""
    assert orch.pressure().level == "steady"
    assert changes(orch) == []


def test_what_happens_is_counted(orch, clock):
    """Failures, silent agents, landings, finished work that nobody looked at; a look settles it."""
    fail(orch, 3)
    task = orch.plan_task("silent")
    orch.execute_task(task, agent="gone", lease_s=60)
    clock.advance(61)
    orch.get_status()  # ends the lease
    orch.execute_task(task, agent="ada")
    for number in range(8):
        done = orch.plan_task(f"done {number}")
        finish(orch, done, "ada")
    pressure = orch.pressure()
    assert kinds(pressure) == {
        PressureKind.FAILURES,
        PressureKind.EXPIRED_LEASES,
        PressureKind.UNSEEN,
    }
    orch.resume()
    assert PressureKind.UNSEEN not in kinds(orch.pressure())
    clock.advance(25 * 3600)
    assert kinds(orch.pressure()) == {PressureKind.CHECKPOINTS} or not kinds(orch.pressure())


def test_what_the_person_did_waits_for_nobody(orch):
    """They have seen it."""
    for number in range(9):
        finish(orch, orch.plan_task(f"done {number}"), "main")
    assert kinds(orch.pressure()) == set()


def test_a_night_after_a_pause_is_no_silence(orch, clock, tmp_path):
    """Whoever said in any process that they leave off has not stopped responding."""
    orch.plan_tasks([{"title": "Held"}, {"title": "Lost"}])
    orch.execute_task("held")
    with vespera.open(tmp_path, clock=clock) as other:
        other.pause("tired")
    orch.execute_task("lost", agent="ada")
    clock.advance(10 * 3600)
    orch.get_status()  # ends the leases
    [cause] = orch.pressure().causes
    assert "an agent stopped responding once" in cause.sentence


def test_going_home_without_a_word_is_no_crash(orch, clock):
    """Nor is going on a retry, also after a weekend."""
    orch.plan_task("Held")
    orch.execute_task("held")
    clock.advance(10 * 3600)
    orch.get_status()  # ends the lease
    assert kinds(orch.pressure()) == set()
    clock.advance(20 * 3600)
    orch.execute_task("held")
    assert kinds(orch.pressure()) == set()


def test_a_task_that_is_lost_again_in_the_same_day_counts(orch, clock):
    """A program that goes on crashing is not somebody who goes home."""
    orch.plan_task("Held")
    for _ in range(2):
        orch.execute_task("held")
        clock.advance(3600)
        orch.get_status()
    [cause] = orch.pressure().causes
    assert "an agent stopped responding once" in cause.sentence


def test_today_begins_in_the_morning(orch, clock):
    """What was done late yesterday is not told as done today; after midnight it still is."""
    finish(orch, orch.plan_task("One"), "main")
    night = clock.now.replace(hour=23, minute=50)
    clock.advance((night - clock.now).total_seconds())
    finish(orch, orch.plan_task("Two"), "main")
    orch.set_energy("low")
    clock.advance(3600)
    assert "2 things begun, 2 done" in str(orch.get_status())
    clock.advance(8 * 3600)
    assert "begun" not in str(orch.get_status())


def test_going_on_with_what_was_handed_back_is_no_retry(orch):
    """Neither after a release, nor after a question; after a failure it is one."""
    calm, troubled = (orch.plan_task(title) for title in ("Calm", "Troubled"))
    for _ in range(4):
        work = orch.execute_task(calm)
        work.checkpoint({"n": work.attempt.number})
        work.release("lunch")
    orch.answer(orch.execute_task(calm).ask("Which one?"), "this")
    orch.execute_task(calm).release()
    assert vespera.PressureKind.RETRIES not in kinds(orch.pressure())
    orch.execute_task(troubled).fail("no")
    orch.retry_task(troubled)
    orch.execute_task(troubled)
    [cause] = [each for each in orch.pressure().causes if each.kind == PressureKind.RETRIES]
    assert cause.sentence == "work was tried again once in a day"


def test_hours_without_a_break(orch, clock):
    """A break of three quarters of an hour begins a new stretch."""
    for _ in range(14):
        clock.advance(40 * 60)
        orch.complete_task(orch.plan_task("step"), summary="s", detailed_work="d")
    assert PressureKind.HOURS in kinds(orch.pressure())
    clock.advance(50 * 60)
    assert PressureKind.HOURS not in kinds(orch.pressure())


def test_the_persons_word_lasts_for_the_day_and_can_be_taken_back(orch, clock):
    """Each change is an event."""
    assert orch.set_energy("low").level == "strained"
    assert orch.pressure().energy == "low"
    assert orch.set_energy("normal").level == "steady"
    orch.set_energy("low")
    clock.advance(17 * 3600)
    assert orch.pressure().level == "steady"
    assert changes(orch) == [
        ("steady", "strained"),
        ("strained", "steady"),
        ("steady", "strained"),
        ("strained", "steady"),
    ]
    with pytest.raises(InvalidInputError, match="'tired' is not one of normal, low"):
        orch.set_energy("tired")


def test_fewer_tasks_at_a_time_under_pressure(orch):
    """Beyond the limit a claim is refused with the reason, unless told otherwise; when one ends,
    the next may begin.
    """
    orch.plan_tasks([{"title": name} for name in ("one", "two", "three", "four")])
    orch.execute_task("one")
    orch.set_energy("low")
    orch.execute_task("two")
    with pytest.raises(PressureLimitError) as error:
        orch.execute_task()
    assert (error.value.running, error.value.limit, error.value.retryable) == (2, 2, True)
    assert "you said: low energy" in str(error.value)
    assert isinstance(error.value, NothingReadyError)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(PressureLimitError):
        orch.execute_task("three")
    assert orch.get_task("three").status == "pending"
    orch.execute_task("three", despite_pressure=True)
    orch.execute_task("two", take_over=True)  # that is not one more
    orch.complete_task("one", summary="s", detailed_work="d")
    with pytest.raises(PressureLimitError):
        orch.execute_task()
    orch.set_energy("normal")
    assert orch.execute_task().task.alias == "four"


def test_the_next_step_begins_nothing_beyond_the_limit(orch):
    """It says that this is enough; what you hold yourself it names."""
    orch.plan_tasks([{"title": name} for name in ("one", "two", "three")])
    orch.set_energy("low")
    orch.execute_task("one", agent="bob")
    assert orch.next_step().call == "orch.execute_task('two')"
    orch.execute_task("two", agent="carl")
    for energy in ("normal", "low"):
        orch.set_energy(energy)
        step = orch.next_step()
        is_limited = energy == "low"
        assert ("enough for now" in step.sentence) == is_limited
        assert step.call == ("" if is_limited else "orch.execute_task('three')")
    orch.complete_task(
        orch.execute_task("one", take_over=True).task, summary="s", detailed_work="d"
    )
    work = orch.execute_task("three")
    assert "orch.complete_task('three'" in orch.next_step().call
    work.complete(summary="s", detailed_work="d")
    assert orch.next_step().action == "wait"


def test_a_limit_is_noticed_within_a_minute(orch, clock):
    """Another process may have raised the level; a steady one is not asked at every claim."""
    orch.plan_tasks([{"title": name} for name in ("one", "two", "three", "four")])
    orch.execute_task("one")
    orch.execute_task("two")
    orch._store.record_event(orch.current_session().id, "energy_set", {"energy": "low"})
    clock.advance(60)
    with pytest.raises(PressureLimitError):
        orch.execute_task()


def test_the_limit_can_be_switched_off(tmp_path):
    """In the settings."""
    home = tmp_path / ".task_orchestrator"
    home.mkdir()
    (home / "config.toml").write_text("[pressure]\nlimit_claims = false\n")
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("Goal")
        orch.set_energy("low")
        works = [orch.execute_task(orch.plan_task(f"t{number}")) for number in range(5)]
        assert len(works) == 5


@pytest.mark.parametrize("setting", ["capacity = 0", 'hours = "8"', "strained_at = true"])
def test_a_threshold_that_makes_no_sense_is_refused_when_it_is_read(tmp_path, setting):
    """With its name and what is allowed."""
    home = tmp_path / ".task_orchestrator"
    home.mkdir()
    (home / "config.toml").write_text(f"[pressure]\n{setting}\n")
    name = setting.split()[0]
    with pytest.raises(InvalidInputError, match=f"pressure.{name} .* whole number, at least 1"):
        vespera.open(tmp_path)
