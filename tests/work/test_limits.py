"""Another try, time limits and crashes, as callers meet them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator import RunEnding
from vespera_orchestrator.errors import LeaseLostError, PlanError, TransitionError
from vespera_orchestrator.testing import ManualClock


@pytest.fixture
def clock():
    """A clock that the test moves."""
    return ManualClock()


@pytest.fixture
def orch(tmp_path, clock):
    """A session on a clock."""
    with vespera.open(tmp_path, store="memory:", clock=clock) as opened:
        opened.initialize_session("limits")
        yield opened


@pytest.mark.parametrize("value", ["5 min", "300 s", 300, timedelta(minutes=5), " 5 Minutes "])
def test_lengths_of_time(orch, value):
    """As text, seconds or a timedelta."""
    assert orch.plan_task("A", time_limit=value).time_limit_s == 300


@pytest.mark.parametrize(
    "value", ["soon", "-5 s", -1, True, float("nan"), "2000 days", "5 parsecs"]
)
@pytest.mark.parametrize("name", ["retry_after", "time_limit", "stalled_after"])
def test_what_is_no_length_of_time(orch, name, value):
    """It is refused by the name of the argument, and nothing is planned."""
    with pytest.raises(PlanError, match=name):
        orch.plan_task("A", **{name: value})
    assert not orch.query_tasks()


def test_no_time_at_all_is_no_limit(orch):
    """Though a pause may be none."""
    assert orch.plan_task("A", retry_after=0).retry_after_s == 0
    with pytest.raises(PlanError, match="leave it out"):
        orch.plan_task("B", time_limit=0)


def test_an_empty_text_clears_a_limit(orch):
    """As it clears every other field."""
    orch.plan_task("A", time_limit="1 h", retry_after="1 min", stalled_after="5 min")
    changed = orch.update_task("a", time_limit="", retry_after="", stalled_after="")
    assert (changed.time_limit_s, changed.retry_after_s, changed.stalled_after_s) == (None,) * 3


def test_a_plan_has_limits(orch):
    """In a text, too; the same plan again changes nothing."""
    plan = "- title: Fetch\n  retry_after: 30 s\n  time_limit: 5 min\n  max_attempts: 5\n"
    (fetch,) = orch.plan_tasks(plan)
    assert (fetch.retry_after_s, fetch.time_limit_s, fetch.max_attempts) == (30, 300, 5)
    assert str(orch.plan_tasks(plan, existing="update")) == "1 as before"


def test_whoever_leaves_the_block_is_told_what_works_now(orch):
    """A task that is tried again by itself cannot be retried by hand: it is not blocked."""
    orch.plan_task("Fetch", retry_after="2 min", max_attempts=2)
    notes = []
    for _ in range(2):
        with pytest.raises(ConnectionError) as caught, orch.execute_task("fetch"):
            raise ConnectionError("refused")
        notes.append("".join(caught.value.__notes__))
        orch.snooze_task("fetch", None)
    assert "orch.snooze_task('fetch', None)" in notes[0]
    assert "retry_task" not in notes[0]
    assert notes[1].endswith("To simply try again: orch.retry_task('fetch')")
    orch.retry_task("fetch")


def test_a_failure_is_told_everywhere(orch, clock):
    """In `why`, in the next step, in the history, in the way back, and to who tries too early."""
    orch.plan_task("Fetch", retry_after="2 min")
    with pytest.raises(ConnectionError), orch.execute_task("fetch"):
        raise ConnectionError("refused")
    said = "tried again by itself in 2 minutes, after 1 of 3 failures (ConnectionError: refused)"
    assert said in str(orch.why("fetch"))
    assert said in str(orch.next_step())
    assert "did not succeed" in str(orch.resume())
    assert "attempt 1 failed, next try at" in str(orch.history("fetch"))
    with pytest.raises(TransitionError, match="snooze_task"):
        orch.retry_task("fetch")
    clock.advance(minutes=2)
    step = orch.next_step()
    assert (step.action, step.alias) == ("execute", "fetch")
    assert "attempt 1 (1 of 3 failures) did not succeed: ConnectionError" in step.sentence
    with orch.execute_task() as work:
        work.complete(summary="s", detailed_work="d")
    assert orch.next_step().action == "done"


def test_the_holder_learns_that_its_time_is_over(orch, clock):
    """By its next heartbeat; what it hands in then is kept."""
    orch.plan_task("Slow", time_limit="1 hour")
    work = orch.execute_task("slow", lease_s=7200)
    clock.advance(minutes=61)
    with pytest.raises(LeaseLostError, match="time limit of 1 hour"):
        work.heartbeat()
    assert orch.get_task("slow").status == "blocked"
    with pytest.raises(LeaseLostError) as lost:
        work.complete(summary="late", detailed_work="all of it")
    assert orch.artifacts.text(lost.value.kept_artifact_id) == "all of it"
    assert orch.next_step().alias == "recover_slow"


@pytest.mark.parametrize("limit", ["time_limit", "stalled_after"])
def test_a_limit_that_is_set_on_a_running_attempt(orch, clock, limit):
    """The first heartbeat after it is over says so; a time limit counts from the start."""
    orch.plan_task("Slow")
    work = orch.execute_task("slow", lease_s=7200)
    clock.advance(minutes=30)
    orch.update_task("slow", **{limit: "1 hour"})
    clock.advance(minutes=31 if limit == "time_limit" else 61)
    with pytest.raises(LeaseLostError, match=r"attempt 1 (stalled|did not|took)|is blocked"):
        work.heartbeat()
    assert orch.get_task("slow").status in {"blocked", "pending"}


def test_late_but_nobody_has_looked(orch, clock):
    """Work that is finished is taken, as long as nobody has ended the attempt."""
    orch.plan_task("Slow", time_limit="1 hour")
    work = orch.execute_task("slow", lease_s=7200)
    clock.advance(minutes=61)
    assert work.complete(summary="s", detailed_work="d").status == "completed"


def test_stalled_and_crashed_are_told_apart(orch, clock):
    """By what ended the attempt first."""
    orch.plan_task("Stuck", stalled_after="10 min")
    orch.plan_task("Gone")
    stuck = orch.execute_task("stuck", lease_s=600)
    orch.execute_task("gone", lease_s=600, despite_pressure=True)
    clock.advance(minutes=9)
    stuck.heartbeat()
    clock.advance(minutes=2)
    assert orch.why("stuck").setback == "attempt 1 stalled: nothing new for 10 minutes"
    assert orch.why("gone").setback.startswith("attempt 1 crashed: no sign of life")
    assert "stalled: nothing new for 10 minutes" in str(orch.history("stuck"))


def test_an_artifact_is_something_new(orch, clock):
    """So its task has not stalled."""
    orch.plan_task("Write", stalled_after="10 min")
    work = orch.execute_task("write", lease_s=7200)
    clock.advance(minutes=9)
    work.save_artifact("page", "one")
    clock.advance(minutes=9)
    orch.get_status()
    work.heartbeat()
    clock.advance(minutes=2)
    orch.get_status()
    with pytest.raises(LeaseLostError):
        work.heartbeat()


def test_a_run_waits_for_its_retries(tmp_path):
    """And goes on until the task is through."""
    calls = []

    def flaky(work):
        calls.append(work.attempt.number)
        if len(calls) < 5:
            raise ConnectionError("refused")
        return "done"

    with vespera.open(tmp_path) as orch:
        orch.initialize_session("run")
        orch.plan_task("Fetch", retry_after=0.005, max_attempts=9)
        report = orch.run(flaky)
    assert report.ending is RunEnding.DONE, str(report)
    assert (calls, report.completed, report.given_back) == ([1, 2, 3, 4, 5], ("fetch",), ())


def test_a_run_does_not_wait_for_what_never_comes_back(tmp_path):
    """A call that is over its limit is named; the run does the rest."""
    gate = threading.Event()

    def do(work):
        if work.task.alias == "stuck":
            gate.wait(60)
        return "done"

    with ThreadPoolExecutor(2) as pool, vespera.open(tmp_path) as orch:
        orch.initialize_session("run")
        orch.plan_task("Stuck", time_limit=0.05)
        orch.plan_task("Other")
        try:
            report = orch.run(do, executor=pool)
        finally:
            gate.set()
        assert report.ending is RunEnding.WAITING
        assert report.completed == ("other",)
        assert [trouble.alias for trouble in report.overdue] == ["stuck"]
        assert "time limit" in str(report)
        assert orch.get_task("stuck").status == "blocked"
