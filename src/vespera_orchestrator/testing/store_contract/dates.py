"""Tasks that rest until a moment, and due dates that press."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vespera_orchestrator._model import Agenda, CauseKind, EventKind, TaskStatus
from vespera_orchestrator.errors import NotReadyError, PlanError, TransitionError
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import (
    agenda,
    completion,
    draft,
    everything,
    failure,
    kinds,
    ready_aliases,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class DatesContract(StoreFixtures):
    """Tasks that rest until a moment, and due dates that press."""

    def test_a_task_rests_until_its_moment(self, store, session_id, clock):
        """It is not ready before, and says until when; the first call after that wakes it."""
        moment = clock.now + HOUR
        task = store.plan(session_id, [draft("a", not_before=moment)])[0]
        assert (task.asleep, task.blockers, task.not_before) == (True, 1, moment)
        assert store.claim(session_id, "ada", lease_s=60) is None
        (cause,) = causes.why(store.situation(task.id)).causes
        assert (cause.kind, cause.until) == (CauseKind.MOMENT, moment)
        with pytest.raises(NotReadyError):
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        clock.advance(hours=1)
        assert store.claim(session_id, "ada", lease_s=60).task.alias == "a"

    @pytest.mark.parametrize("how", ["expire", "named claim", "completion"])
    def test_whoever_comes_first_after_it_wakes_a_task(self, store, session_id, clock, how):
        """It is woken once, with one event, and nothing has to look for it meanwhile."""
        moment = clock.now + HOUR
        task = store.plan(session_id, [draft("a", not_before=moment)])[0]
        clock.advance(hours=1)
        if how == "expire":
            assert store.expire() == []
            assert ready_aliases(store, session_id) == ["a"]
        elif how == "named claim":
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        else:
            store.finish(task.id, None, completion(), agent="ada")
        store.expire()
        assert kinds(store).count(EventKind.TASK_WOKEN) == 1
        now = store.find_task(task.id, None)
        assert (now.asleep, now.blockers) == (False, 0)

    def test_a_moment_that_is_over_lets_nobody_rest(self, store, session_id, clock):
        """Such a task is ready at once."""
        past = clock.now - HOUR
        task = store.plan(session_id, [draft("a", not_before=past)])[0]
        assert task.is_ready

    def test_a_rest_counts_beside_dependencies(self, store, session_id, clock):
        """In whatever order both end, the task is ready after the second."""
        moment = clock.now + HOUR
        store.plan(session_id, [draft("a"), draft("b", "a", not_before=moment)])
        clock.advance(hours=2)
        store.expire()
        assert ready_aliases(store, session_id) == ["a"]
        first = store.claim(session_id, "ada", lease_s=60)
        store.finish(first.task.id, 1, completion(), agent="ada")
        assert ready_aliases(store, session_id) == ["b"]

    def test_snoozing_and_waking(self, store, session_id, clock):
        """A task rests and is woken by hand; each is an event, and a subtree rests together."""
        drafts = [draft("top"), draft("part", parent="top"), draft("other")]
        top, _part, _other = store.plan(session_id, drafts)
        resting = store.snooze(top.id, clock.now + DAY, zone="UTC", subtree=True)
        assert {task.alias for task in resting} == {"top", "part"}
        assert ready_aliases(store, session_id) == ["other"]
        assert set(agenda(store, session_id, Agenda.ASLEEP)) == {"top", "part"}
        store.snooze(top.id, None, zone="UTC", subtree=True)
        assert agenda(store, session_id, Agenda.ASLEEP) == []
        assert set(ready_aliases(store, session_id)) == {"other", "part"}
        assert kinds(store).count(EventKind.TASK_SNOOZED) == 4

    def test_what_wakes_may_end_at_once(self, store, session_id, clock):
        """An answered part is completed when it wakes, and its parent counts that.

        Also a parent that wakes in the same step; and what is skipped by it does not wake.
        """
        drafts = [
            draft("top"),
            draft("b", ("part", "failure"), parent="top"),
            draft("part", parent="top", not_before=clock.now + DAY),
        ]
        top, b, part = store.plan(session_id, drafts)
        store.snooze(top.id, clock.now + DAY, zone="UTC", subtree=True)
        store.answer(part.id, {"answer": "yes"}, agent="ada")
        assert store.find_task(part.id, None).status is TaskStatus.PENDING
        woken = store.snooze(top.id, None, zone="UTC", subtree=True)
        assert store.find_task(part.id, None).status is TaskStatus.COMPLETED
        assert store.find_task(b.id, None).status is TaskStatus.SKIPPED
        assert ready_aliases(store, session_id) == ["top"]
        assert {task.alias for task in woken} == {"top", "part"}

    def test_a_due_date_moves_with_the_rest(self, store, session_id, clock):
        """A task cannot be meant for a day before the one on which it wakes."""
        dated = draft("a", due_at=clock.now + HOUR)
        task = store.plan(session_id, [dated])[0]
        (resting,) = store.snooze(task.id, clock.now + DAY, zone="UTC", subtree=False)
        assert resting.due_at == clock.now + DAY
        by_day = draft("b", due_at=clock.now, due_day="2026-01-01", zone="UTC")
        task = store.plan(session_id, [by_day])[0]
        (resting,) = store.snooze(task.id, clock.now + DAY, zone="UTC", subtree=False)
        assert resting.due_day == "2026-01-02"

    def test_a_rest_is_told_in_the_zone_of_whoever_asked_for_it(self, store, session_id, clock):
        """Unless the task has a due day, which stays a day of its own zone."""
        plain = draft("a", not_before=clock.now + HOUR, zone="UTC")
        dated = draft("b", due_at=clock.now + 9 * DAY, due_day="2026-01-10", zone="Asia/Tokyo")
        for task, zone in zip(
            store.plan(session_id, [draft("c"), plain, dated]),
            ("Europe/Berlin", "Europe/Berlin", "Asia/Tokyo"),
            strict=True,
        ):
            until = clock.now + DAY
            (resting,) = store.snooze(task.id, until, zone="Europe/Berlin", subtree=False)
            assert resting.zone == zone

    @pytest.mark.parametrize("day", [None, "2026-01-01"])
    def test_a_woken_task_is_due_as_planned_again(self, store, session_id, clock, day):
        """However often it was put off, unless that is over, or somebody set another date."""
        due = clock.now + 2 * HOUR if day is None else clock.now
        task = store.plan(session_id, [draft("a", due_at=due, due_day=day, zone="UTC")])[0]
        for days in (3, 5, 2):
            until = clock.now + days * DAY
            (resting,) = store.snooze(task.id, until, zone="Asia/Tokyo", subtree=False)
            assert resting.due_at > due
        (woken,) = store.snooze(task.id, None, zone="UTC", subtree=False)
        assert (woken.due_at, woken.due_day, woken.zone) == (due, day, "UTC")
        (resting,) = store.snooze(task.id, clock.now + DAY, zone="UTC", subtree=False)
        clock.advance(DAY.total_seconds() - 60)
        (woken,) = store.snooze(task.id, None, zone="UTC", subtree=False)
        assert woken.due_at == resting.due_at

    def test_another_due_date_outlives_the_rest(self, store, session_id, clock):
        """What somebody has set since is not taken back."""
        task = store.plan(session_id, [draft("a", due_at=clock.now + HOUR)])[0]
        store.snooze(task.id, clock.now + DAY, zone="UTC", subtree=False)
        store.update_task(task.id, {"due_at": clock.now + 3 * DAY, "due_day": None})
        (woken,) = store.snooze(task.id, None, zone="UTC", subtree=False)
        assert woken.due_at == clock.now + 3 * DAY

    def test_a_chain_longer_than_the_calendar_still_presses(self, store, session_id, clock):
        """Work that should have begun before there were dates goes first, as what is late does."""
        hours = "100000 hours"
        first = draft("a0", estimated_effort=hours)
        chain = [draft(f"a{n}", f"a{n - 1}", estimated_effort=hours) for n in range(1, 40)]
        last = draft("last", "a39", due_at=clock.now + DAY)
        store.plan(session_id, [draft("other"), first, *chain, last])
        assert ready_aliases(store, session_id) == ["a0", "other"]

    def test_nothing_is_due_before_it_may_start(self, store, session_id, clock):
        """A plan and a change that would have it so are refused, and nothing is written."""
        late = clock.now + DAY
        with pytest.raises(PlanError, match="may not start before"):
            store.plan(session_id, [draft("a", due_at=clock.now, not_before=late)])
        dated = draft("b", due_at=clock.now, due_day="2026-01-01", zone="UTC")
        task = store.plan(session_id, [dated])[0]
        before = everything(store)
        with pytest.raises(PlanError, match="is due today"):
            store.update_task(task.id, {"not_before": late})
        assert everything(store) == before
        assert store.update_task(task.id, {"not_before": clock.now + HOUR}).asleep

    def test_what_is_held_or_has_ended_does_not_rest(self, store, session_id, clock):
        """It is refused, and nothing is written."""
        store.plan(session_id, [draft("a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        before = everything(store)
        with pytest.raises(TransitionError):
            store.snooze(task.id, clock.now + DAY, zone="UTC", subtree=True)
        store.cancel(task.id, "", subtree=False)
        with pytest.raises(TransitionError):
            store.snooze(task.id, clock.now + DAY, zone="UTC", subtree=True)
        assert everything(store)["tasks"][0].asleep is before["tasks"][0].asleep

    def test_changed_dates_are_kept_and_cleared(self, store, session_id, clock):
        """A moment can be set, moved and taken away; the count of blockers follows."""
        task = store.plan(session_id, [draft("a")])[0]
        changed = store.update_task(task.id, {"not_before": clock.now + DAY, "zone": "UTC"})
        assert (changed.asleep, changed.blockers) == (True, 1)
        cleared = store.update_task(task.id, {"not_before": None})
        assert (cleared.asleep, cleared.blockers, cleared.not_before) == (False, 0, None)
        dated = store.update_task(task.id, {"due_at": clock.now + DAY, "due_day": None})
        assert dated.due_at == clock.now + DAY
        assert store.update_task(task.id, {"due_at": None, "due_day": None}).due_at is None

    def test_what_is_planned_below_a_task_that_rests_rests_too(self, store, session_id, clock):
        """Unless it has a date of its own, or asks; and it wakes with the whole."""
        (whole,) = store.plan(session_id, [draft("whole")])
        later = clock.now + timedelta(days=3)
        store.snooze(whole.id, later, zone="UTC", subtree=True)
        dated = {
            "due": {"due_at": clock.now + timedelta(days=1)},
            "own": {"not_before": clock.now + timedelta(days=1)},
            "asks": {"question": "May we?"},
        }
        parts = [draft(name, parent="whole", **fields) for name, fields in dated.items()]
        part, due, own, asks = store.plan(session_id, [draft("part", parent="whole"), *parts])
        assert (part.not_before, part.asleep, part.blockers) == (later, True, 1)
        assert (due.asleep, own.not_before < later, asks.asleep) == (False, True, False)
        store.snooze(whole.id, None, zone="UTC", subtree=True)
        assert "part" in ready_aliases(store, session_id)

    def test_a_blocked_task_that_rests_waits_for_both(self, store, session_id, clock):
        """Its recovery is done, and it still rests."""
        store.plan(session_id, [draft("a")])
        claim = store.claim(session_id, "ada", lease_s=60)
        done = store.finish(claim.task.id, 1, failure(), agent="ada")
        store.snooze(claim.task.id, clock.now + DAY, zone="UTC", subtree=False)
        store.finish(done.recovery.id, None, completion(), agent="ada")
        assert store.find_task(claim.task.id, None).status is TaskStatus.PENDING
        assert ready_aliases(store, session_id) == []
        clock.advance(hours=25)
        store.expire()
        assert ready_aliases(store, session_id) == ["a"]

    def test_a_near_due_date_goes_first(self, store, session_id, clock):
        """Far away it changes nothing; a day before the work should begin, it does by itself."""
        far = draft("far", due_at=clock.now + 10 * DAY)
        long = draft("long", estimated_effort="2 days")
        store.plan(session_id, [long, far, draft("urgent", priority=1)])
        assert ready_aliases(store, session_id) == ["urgent", "long", "far"]
        clock.advance(days=9)
        store.expire()
        assert ready_aliases(store, session_id) == ["urgent", "far", "long"]
        sooner = store.plan(session_id, [draft("sooner", due_at=clock.now + HOUR)])[0]
        store.expire()
        assert ready_aliases(store, session_id) == ["urgent", "sooner", "far", "long"]
        assert agenda(store, session_id, Agenda.DUE) == ["sooner", "far"]
        store.update_task(sooner.id, {"due_at": None, "due_day": None})
        assert ready_aliases(store, session_id) == ["urgent", "far", "long", "sooner"]

    def test_a_due_date_presses_what_it_waits_for(self, store, session_id, clock):
        """However the tasks were planned, and through parents, too."""
        chain = [draft("one"), draft("two", "one"), draft("end", "two")]
        drafts = [draft("big", estimated_effort="1 week"), *chain]
        *_, end = store.plan(session_id, drafts)
        assert ready_aliases(store, session_id) == ["big", "one"]
        due = clock.now + DAY
        store.update_task(end.id, {"due_at": due, "due_day": None})
        assert ready_aliases(store, session_id) == ["one", "big"]
        store.update_task(end.id, {"due_at": None, "due_day": None})
        assert ready_aliases(store, session_id) == ["big", "one"]
        top = store.plan(session_id, [draft("top", due_at=due)])[0]
        store.plan(session_id, [draft("part", parent=top.id)])
        assert ready_aliases(store, session_id) == ["part", "big", "one"]
