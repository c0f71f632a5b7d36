"""Tests of another try, of time limits, and of attempts that crash or stall."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    AttemptEnding,
    CauseKind,
    Ending,
    EventKind,
    NextAction,
    TaskStatus,
)
from vespera_orchestrator.errors import LeaseLostError
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import draft, kinds
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

FAILED = Ending(action=NextAction.BLOCKED, reason="no answer", may_retry=True)


def plan_and_claim(store, session_id, **fields):
    """Plan a task with these fields, and start it."""
    planned = store.plan(session_id, [attrs.evolve(draft("a"), **fields)])[0]
    claim(store, planned)
    return planned


def claim(store, task, lease_s=60):
    """Start a task."""
    store.claim(task.session_id, "ada", task_id=task.id, lease_s=lease_s)


def current(store, task):
    """Return the task as it is now."""
    return store.situation(task.id).task


class _Retries(StoreFixtures):
    """A task may be tried again by itself."""

    def test_a_failed_attempt_is_tried_again_after_longer_pauses(self, store, clock, session_id):
        """Each pause is twice the last. The last attempt blocks the task, for a person."""
        a = plan_and_claim(store, session_id, retry_after_s=10.0, max_attempts=3)
        for number, pause_s in ((1, 10), (2, 20)):
            failed = store.finish(a.id, number, FAILED, agent="ada").task
            assert (failed.status, failed.failures) == (TaskStatus.PENDING, number)
            assert failed.retry_at == failed.not_before == clock.now + timedelta(seconds=pause_s)
            (cause,) = causes.why(store.situation(a.id)).causes
            assert (cause.kind, cause.until) == (CauseKind.BACKOFF, failed.retry_at)
            assert "no answer" in cause.sentence
            clock.advance(seconds=pause_s - 1)
            store.expire()
            assert not current(store, a).is_ready
            clock.advance(seconds=1)
            store.expire()
            ready = current(store, a)
            assert (ready.is_ready, ready.retry_at) == (True, None)
            claim(store, a)
        finished = store.finish(a.id, 3, FAILED, agent="ada")
        assert (finished.task.status, finished.recovery) == (TaskStatus.BLOCKED, None)
        assert causes.why(store.situation(a.id)).needs_person
        endings = [attempt.ending for attempt in store.attempts(a.id)]
        assert endings == [AttemptEnding.FAILED, AttemptEnding.FAILED, AttemptEnding.BLOCKED]

    def test_the_event_says_when(self, store, clock, session_id):
        """It carries the number of failures and the moment of the next try."""
        a = plan_and_claim(store, session_id, retry_after_s=10.0)
        store.finish(a.id, 1, FAILED, agent="ada")
        (event,) = store.events(kinds=[EventKind.RETRY_SCHEDULED])
        assert (event.task_id, event.data["failures"]) == (a.id, 1)
        assert event.data["retry_at"] == str(clock.now + timedelta(seconds=10))

    def test_what_needs_somebody_is_not_tried_again(self, store, session_id):
        """Such as work that says it is blocked, or that conflicts."""
        a = plan_and_claim(store, session_id, retry_after_s=10.0)
        blocked = attrs.evolve(FAILED, may_retry=False)
        finished = store.finish(a.id, 1, blocked, agent="ada")
        assert finished.task.status is TaskStatus.BLOCKED
        assert finished.recovery is not None

    def test_by_default_a_failure_blocks(self, store, session_id):
        """With one recovery task."""
        a = plan_and_claim(store, session_id)
        finished = store.finish(a.id, 1, FAILED, agent="ada")
        assert finished.task.status is TaskStatus.BLOCKED
        assert finished.recovery is not None

    def test_a_pause_may_be_none_at_all(self, store, session_id):
        """Then the task is ready at once."""
        a = plan_and_claim(store, session_id, retry_after_s=0.0)
        assert store.finish(a.id, 1, FAILED, agent="ada").task.is_ready

    def test_a_person_may_end_the_pause(self, store, session_id):
        """By waking the task; or it rests for longer, as they said."""
        a = plan_and_claim(store, session_id, retry_after_s=10.0)
        store.finish(a.id, 1, FAILED, agent="ada")
        (woken,) = store.snooze(a.id, None, zone="UTC", subtree=False)
        assert (woken.is_ready, woken.retry_at) == (True, None)

    def test_a_person_who_asks_for_another_try_waits_for_no_pause(self, store, session_id):
        """Also where the task was cancelled while it paused."""
        a = plan_and_claim(store, session_id, retry_after_s=10.0)
        store.finish(a.id, 1, FAILED, agent="ada")
        store.cancel(a.id, "", subtree=False)
        retried = store.retry(a.id, "after all")
        assert (retried.is_ready, retried.retry_at, retried.not_before) == (True, None, None)

    @pytest.mark.parametrize("clears", [False, True])
    def test_the_settings_can_be_changed(self, store, session_id, *, clears):
        """And cleared."""
        value = None if clears else 5.0
        a = store.plan(session_id, [attrs.evolve(draft("a"), retry_after_s=1.0, time_limit_s=2.0)])
        names = ("retry_after_s", "time_limit_s", "stalled_after_s")
        changed = store.update_task(a[0].id, dict.fromkeys(names, value))
        assert [getattr(changed, name) for name in names] == [value] * 3


class _Limits(StoreFixtures):
    """An attempt may take so long, and may go so long without anything new."""

    def test_what_takes_too_long_has_failed(self, store, clock, session_id):
        """Whatever its lease says; a recovery follows, and the holder is fenced off."""
        a = plan_and_claim(store, session_id, time_limit_s=100.0)
        for _ in range(2):
            clock.advance(seconds=50)
            store.renew(a.id, 1, lease_s=60)
        clock.advance(seconds=1)
        (ended,) = store.expire()
        assert ended.number == 1
        assert current(store, a).status is TaskStatus.BLOCKED
        assert store.situation(a.id).open_recovery is not None
        assert store.attempts(a.id)[0].ending == AttemptEnding.TIMED_OUT
        assert kinds(store, a.id)[-2:] == [EventKind.ATTEMPT_TIMED_OUT, EventKind.TASK_BLOCKED]
        with pytest.raises(LeaseLostError, match="time limit"):
            store.renew(a.id, 1, lease_s=60)

    def test_what_takes_too_long_is_tried_again(self, store, clock, session_id):
        """Where the task says so."""
        a = plan_and_claim(store, session_id, time_limit_s=30.0, retry_after_s=5.0)
        clock.advance(seconds=31)
        store.expire()
        assert current(store, a).retry_at == clock.now + timedelta(seconds=5)
        clock.advance(seconds=5)
        store.expire()
        why = causes.why(store.situation(a.id))
        assert why.ready
        assert "time limit of 30 s" in why.setback

    def test_a_lost_holder_crashed_even_if_its_time_is_over(self, store, clock, session_id):
        """What came first counts; and it may come back."""
        a = plan_and_claim(store, session_id, time_limit_s=100.0, stalled_after_s=90.0)
        clock.advance(seconds=1000)
        store.expire()
        assert store.attempts(a.id)[0].ending == AttemptEnding.ABANDONED
        store.renew(a.id, 1, lease_s=60)
        assert store.expire() == []
        assert current(store, a).status is TaskStatus.IN_PROGRESS

    def test_time_without_a_lease_does_not_count(self, store, clock, session_id):
        """A holder that slept has the rest of its time."""
        a = plan_and_claim(store, session_id, time_limit_s=100.0)
        clock.advance(seconds=1060)
        store.renew(a.id, 1, lease_s=60)
        clock.advance(seconds=39)
        store.renew(a.id, 1, lease_s=60)
        assert store.expire() == []
        clock.advance(seconds=2)
        store.expire()
        assert store.attempts(a.id)[0].ending == AttemptEnding.TIMED_OUT

    def test_a_changed_limit_holds_at_once(self, store, clock, session_id):
        """Also for the attempt that runs."""
        a = plan_and_claim(store, session_id, time_limit_s=10.0)
        clock.advance(seconds=9)
        store.update_task(a.id, {"time_limit_s": 40.0})
        clock.advance(seconds=30)
        assert store.expire() == []
        clock.advance(seconds=2)
        assert len(store.expire()) == 1

    def test_a_holder_that_lives_and_brings_nothing_has_stalled(self, store, clock, session_id):
        """The same checkpoint again is nothing new; another one is. It cannot come back."""
        a = plan_and_claim(store, session_id, stalled_after_s=50.0)
        clock.advance(seconds=40)
        store.checkpoint(a.id, 1, {"n": 1}, lease_s=60)
        clock.advance(seconds=40)
        assert store.expire() == []
        store.checkpoint(a.id, 1, {"n": 1}, lease_s=60)
        clock.advance(seconds=11)
        store.expire()
        assert store.attempts(a.id)[0].ending == AttemptEnding.STALLED
        task = current(store, a)
        assert (task.is_ready, task.failures) == (True, 0)
        assert kinds(store, a.id)[-1] == EventKind.ATTEMPT_STALLED
        assert "stalled: nothing new for 50 s" in str(causes.why(store.situation(a.id)))
        words = r"pending; attempt 1 stalled: nothing new for 50 s; to go on: orch\.execute_task"
        with pytest.raises(LeaseLostError, match=words):
            store.renew(a.id, 1, lease_s=60)

    @pytest.mark.parametrize("kind", ["files", "effect", "part"])
    def test_whatever_is_new_counts(self, store, clock, session_id, *, kind):
        """Not only checkpoints."""
        a = plan_and_claim(store, session_id, stalled_after_s=50.0)
        clock.advance(seconds=40)
        if kind == "files":
            store.renew(a.id, 1, lease_s=60, files_changed=True)
        elif kind == "part":
            store.plan(session_id, [draft("b", parent="a")])
            store.renew(a.id, 1, lease_s=60)
        else:
            store.begin_effect(a.id, 1, "mail")
            store.renew(a.id, 1, lease_s=60)
        clock.advance(seconds=40)
        assert store.expire() == []

    def test_the_best_task_has_limits_too(self, store, clock, session_id):
        """However it is claimed."""
        store.plan(session_id, [attrs.evolve(draft("a"), time_limit_s=7.0, stalled_after_s=5.0)])
        taken = store.claim(session_id, "ada", lease_s=60)
        assert taken is not None
        assert taken.attempt.times_out_at == clock.now + timedelta(seconds=7)
        assert taken.attempt.stalls_at == clock.now + timedelta(seconds=5)
        assert store.attempts(taken.task.id) == [taken.attempt]


class _Crashes(StoreFixtures):
    """A task whose holders are lost again and again is not handed out for ever."""

    def crash(self, store, clock, task):
        """Start the task, and lose its holder."""
        claim(store, task)
        clock.advance(seconds=61)
        store.expire()
        return current(store, task)

    def test_too_many_crashes_block(self, store, clock, session_id):
        """With the reason, for a person, who may have it tried again."""
        a = store.plan(session_id, [draft("a")])[0]
        statuses = [self.crash(store, clock, a).status for _ in range(3)]
        assert statuses == [TaskStatus.PENDING, TaskStatus.PENDING, TaskStatus.BLOCKED]
        blocked = current(store, a)
        assert blocked.crashes == 3
        assert "3 attempts in a row" in str(blocked.reason)
        assert "no sign of life" in str(blocked.reason)
        why = causes.why(store.situation(a.id))
        assert why.needs_person
        assert store.situation(a.id).open_recovery is None
        retried = store.retry(a.id, "it has more memory now")
        assert (retried.is_ready, retried.crashes) == (True, 0)

    def test_progress_counts_anew(self, store, clock, session_id):
        """Who brings something new before the crash has not failed to begin."""
        a = store.plan(session_id, [draft("a")])[0]
        for number in range(1, 6):
            claim(store, a)
            store.checkpoint(a.id, number, {"n": number}, lease_s=60)
            clock.advance(seconds=61)
            store.expire()
        task = current(store, a)
        assert (task.is_ready, task.crashes) == (True, 0)

    def pause(self, store, session_id, agent, *task_ids):
        """Leave off, with these tasks in hand as far as the process knows."""
        words = {"note": "tired", "next_step": "call"}
        store.pause_session(session_id, agent, **words, task_ids=task_ids)

    @pytest.mark.parametrize("pauses", ["ada", "its process"])
    def test_whoever_pauses_has_not_crashed(self, store, clock, session_id, pauses):
        """However many nights come between, also where another process says it."""
        a = store.plan(session_id, [draft("a", max_attempts=1)])[0]
        for _ in range(11):
            claim(store, a)
            if pauses == "ada":
                self.pause(store, session_id, "ada")
            else:
                self.pause(store, session_id, "main", a.id)
            clock.advance(seconds=61)
            store.expire()
        task = current(store, a)
        assert (task.is_ready, task.crashes, task.reason) == (True, 0, None)
        last = store.attempts(a.id)[-1]
        assert (last.ending, last.error) == (AttemptEnding.RESTED, None)
        assert causes.setback(task, last) == ""
        (event,) = store.events(kinds=[EventKind.LEASE_EXPIRED])[-1:]
        assert (event.data["attempt"], event.data["paused"]) == (11, True)
        store.renew(a.id, 11, lease_s=60)
        assert current(store, a).status is TaskStatus.IN_PROGRESS

    def test_who_has_not_paused_since_has_crashed(self, store, clock, session_id):
        """Neither a pause of another agent counts, nor one before the attempt."""
        a = store.plan(session_id, [draft("a")])[0]
        self.pause(store, session_id, "ada")
        clock.advance(seconds=1)
        claim(store, a)
        self.pause(store, session_id, "bob", "t_other")
        clock.advance(seconds=61)
        store.expire()
        assert current(store, a).crashes == 1

    def test_attempts_end_in_the_order_of_their_leases(self, store, clock, session_id):
        """Whoever reads the log finds it in that order, in every store."""
        planned = store.plan(session_id, [draft(name) for name in "abcdef"])
        for number, task in enumerate(planned):
            store.claim(session_id, "ada", task_id=task.id, lease_s=60 - number)
        clock.advance(seconds=61)
        ended = [attempt.task_id for attempt in store.expire()]
        assert ended == [task.id for task in reversed(planned)]

    def test_whoever_settles_a_doubt_has_brought_something(self, store, clock, session_id):
        """An effect that an earlier attempt began, and this one records."""
        a = store.plan(session_id, [draft("a", max_attempts=2)])[0]
        claim(store, a)
        store.begin_effect(a.id, 1, "mail")
        clock.advance(seconds=61)
        store.expire()
        assert self.crash(store, clock, a).crashes == 1
        claim(store, a)
        store.record_effect(a.id, 3, "mail", "sent")
        clock.advance(seconds=61)
        store.expire()
        task = current(store, a)
        assert (task.is_ready, task.crashes) == (True, 0)

    def test_no_number_of_crashes_is_unlimited(self, store, clock, session_id):
        """Also where each of them brings something new: after ten times as many, a person looks.

        Whoever has it retried can do so as often again.
        """
        a = store.plan(session_id, [draft("a", max_attempts=1)])[0]
        for number in range(1, 21):
            assert current(store, a).status is TaskStatus.PENDING
            claim(store, a)
            store.checkpoint(a.id, number, {"n": number}, lease_s=60)
            if number % 2:
                clock.advance(seconds=61)
                store.expire()
            else:
                store.end_attempt(a.id, "out of memory", agent="lead")
            if number == 10:
                blocked = current(store, a)
                assert blocked.status is TaskStatus.BLOCKED
                assert "10 attempts in a row were lost" in str(blocked.reason)
                why = causes.why(store.situation(a.id))
                assert why.needs_person
                assert "out of memory" in str(why)
                store.retry(a.id, "it has more memory now")
        assert current(store, a).status is TaskStatus.BLOCKED

    def test_an_attempt_that_ends_otherwise_starts_the_long_count_again(
        self, store, clock, session_id
    ):
        """A release, a failure or a completion in between."""
        a = store.plan(session_id, [draft("a", max_attempts=1)])[0]
        for number in range(1, 16):
            claim(store, a)
            store.checkpoint(a.id, number, {"n": number}, lease_s=60)
            if number == 6:
                store.finish(a.id, number, Ending(action=None), agent="ada")
                continue
            clock.advance(seconds=61)
            store.expire()
        assert current(store, a).is_ready

    def test_a_holder_that_comes_back_has_not_crashed(self, store, clock, session_id):
        """Even the third time: the task is no longer blocked."""
        a = store.plan(session_id, [draft("a")])[0]
        for _ in range(3):
            self.crash(store, clock, a)
        store.renew(a.id, 3, lease_s=60)
        task = current(store, a)
        assert (task.status, task.crashes, task.reason) == (TaskStatus.IN_PROGRESS, 2, None)

    def test_whoever_takes_over_gets_the_task(self, store, session_id):
        """However often it was tried."""
        a = plan_and_claim(store, session_id)
        for number in range(2, 7):
            taken = store.claim(session_id, "bob", task_id=a.id, lease_s=60, take_over=True)
            assert taken is not None
            assert taken.attempt.number == number

    def test_ended_by_a_coordinator_again_and_again(self, store, session_id):
        """It counts as a crash that was known before the lease expired."""
        a = store.plan(session_id, [draft("a", max_attempts=2)])[0]
        for _ in range(2):
            claim(store, a)
            store.end_attempt(a.id, "killed by the host", agent="lead")
        task = current(store, a)
        assert task.status is TaskStatus.BLOCKED
        assert "killed by the host" in str(task.reason)


class LimitsContract(_Retries, _Limits, _Crashes):
    """How attempts end that do not succeed, and what follows."""
