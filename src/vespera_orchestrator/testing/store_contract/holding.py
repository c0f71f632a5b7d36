"""Claims, leases and checkpoints."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Agenda,
    AttemptEnding,
    CauseKind,
    Ending,
    EventKind,
    TaskDraft,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.errors import (
    LeaseLostError,
    NotReadyError,
    TaskNotFoundError,
    TransitionError,
)
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import (
    artifact,
    completion,
    draft,
    everything,
    kinds,
    status_of,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

MINUTE = timedelta(seconds=60)


def takeable(store, session_id, agent, *, parents=None):
    """Return the aliases of what an agent may be handed without naming it, the best first."""
    query = TaskQuery(
        session_id=session_id, agenda=Agenda.READY, takeable_by=agent, parents=parents
    )
    return [task.alias for task in store.tasks(query)]


class HoldingContract(StoreFixtures):
    """Claims, leases and checkpoints."""

    # --- clocks ---

    @pytest.mark.parametrize("how", ["expire", "claim"])
    def test_a_clock_set_back_does_not_stretch_a_hold(self, store, session_id, clock, how):
        """From when somebody notices, a hold lasts no longer than it was given.

        Otherwise a dead agent would hold its task for as long as the clock was set back.
        """
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(hours=-5)
        notice = {
            "expire": store.expire,
            "claim": lambda: store.claim(session_id, "bob", lease_s=60),
        }
        assert not notice[how]()
        attempt = store.attempts(task.id)[0]
        assert attempt.lease_until == clock.now + MINUTE
        clock.advance(seconds=59)
        assert store.expire() == []
        clock.advance(seconds=2)
        assert [each.number for each in store.expire()] == [1]
        assert status_of(store, task.id) == "pending"

    # --- processes ---

    def test_what_ends_with_a_process_ends_when_it_is_gone(self, store, session_id):
        """It is ready at once; what may outlive its process keeps its lease."""
        tasks = store.plan(session_id, [draft("a"), draft("b"), draft("c")])
        for process, task in zip(("p1", "p2", ""), tasks, strict=True):
            claim = store.claim(session_id, "run", task_id=task.id, lease_s=60, process=process)
            assert claim.attempt.process == process
            assert store.attempts(task.id) == [claim.attempt]
        asked = []
        assert store.expire(is_gone=lambda process: asked.append(process)) == []
        assert sorted(asked) == ["p1", "p2"]
        assert store.expire() == []
        (gone,) = store.expire(is_gone=lambda process: process == "p1")
        assert (gone.task_id, gone.process) == (tasks[0].id, "p1")
        states = [status_of(store, task.id) for task in tasks]
        assert states == ["pending", "in_progress", "in_progress"]
        (ending,) = [event for event in store.events() if event.kind == EventKind.LEASE_EXPIRED]
        assert (ending.data["attempt"], ending.data["process_ended"]) == (1, True)
        assert store.claim(session_id, "run", lease_s=60).attempt.number == 2

    def test_the_best_task_can_be_claimed_for_a_process(self, store, session_id):
        """Also without a name, and with *take_over*."""
        store.plan(session_id, [draft("a")])
        claim = store.claim(session_id, "run", lease_s=60, process="p1")
        assert claim.attempt.process == "p1"
        again = {"task_id": claim.task.id, "lease_s": 60, "take_over": True}
        assert store.claim(session_id, "run", process="p2", **again).attempt.process == "p2"
        assert store.claim(session_id, "run", **again).attempt.process == ""

    def test_whoever_takes_work_up_keeps_it_when_its_process_is_gone(self, store, session_id):
        """A renewal says which processes the attempt ends with from then on, or leaves it."""
        (task,) = store.plan(session_id, [draft("a")])
        store.claim(session_id, "run", lease_s=60, process="p1")
        assert store.renew(task.id, 1, lease_s=60).process == "p1"
        assert store.renew(task.id, 1, lease_s=60, process="p1 p2").process == "p1 p2"
        assert store.expire(is_gone=lambda process: process == "p1") == []
        assert store.renew(task.id, 1, lease_s=60, process="").process == ""
        assert store.expire(is_gone=lambda _: True) == []

    def test_a_process_is_compared_again_when_its_attempt_is_ended(self, store, session_id):
        """If somebody took the work up while the caller asked about its process, it is theirs."""
        (task,) = store.plan(session_id, [draft("a")])
        store.claim(session_id, "run", lease_s=60, process="p1")

        def is_gone(_):
            store.renew(task.id, 1, lease_s=60, process="")
            return True

        assert store.expire(is_gone=is_gone) == []
        assert status_of(store, task.id) == "in_progress"

    # --- claims -------------------------------------------------------------

    def test_a_claim_holds_the_task(self, store, session_id, clock):
        """The task is in progress under a first attempt, until the lease expires."""
        task = store.plan(session_id, [draft("a")])[0]
        claim = store.claim(session_id, "ada", lease_s=60)
        assert claim.task == store.find_task(task.id, None)
        assert claim.task.status is TaskStatus.IN_PROGRESS
        assert claim.task.attempts == 1
        assert claim.resumed_from is None
        attempt = claim.attempt
        assert attempt.number == 1
        assert attempt.agent == "ada"
        assert attempt.started_at == clock.now
        assert attempt.last_sign_at == clock.now
        assert attempt.lease_until == clock.now + MINUTE
        assert store.attempts(task.id) == [attempt]
        assert store.running(session_id, 9) == [(claim.task, attempt, None)]
        assert kinds(store, task.id) == [EventKind.TASK_PLANNED, EventKind.TASK_STARTED]

    def test_a_claim_takes_the_best_or_nothing(self, store, session_id):
        """Without a name the best ready task is taken; if nothing is ready, nothing is written."""
        store.plan(session_id, [draft("a"), draft("b", priority=1), draft("c", "a")])
        assert store.claim(session_id, "ada", lease_s=60).task.alias == "b"
        assert store.claim(session_id, "ada", lease_s=60).task.alias == "a"
        before = everything(store)
        assert store.claim(session_id, "ada", lease_s=60) is None
        assert store.claim("s_missing", "ada", lease_s=60) is None
        assert everything(store) == before

    def test_a_named_task_that_is_not_ready_is_refused_with_its_causes(self, store, session_id):
        """Whether it waits, is held, or has ended."""
        a, b = store.plan(session_id, [draft("a"), draft("b", "a")])
        with pytest.raises(NotReadyError) as caught:
            store.claim(session_id, "ada", task_id=b.id, lease_s=60)
        assert caught.value.why == causes.why(store.situation(b.id))
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        with pytest.raises(NotReadyError) as caught:
            store.claim(session_id, "bob", task_id=a.id, lease_s=60)
        assert caught.value.why.causes[0].agent == "ada"
        store.finish(a.id, 1, completion(), agent="ada")
        with pytest.raises(NotReadyError):
            store.claim(session_id, "bob", task_id=a.id, lease_s=60)
        with pytest.raises(TaskNotFoundError):
            store.claim(session_id, "bob", task_id="t_missing", lease_s=60)

    def test_a_hold_can_be_taken_over(self, store, other, session_id):
        """By name, on demand, without waiting for the lease; then the old holder is fenced off."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=600)
        claim = other.claim(session_id, "bob", task_id=task.id, lease_s=60, take_over=True)
        assert claim.attempt.number == 2
        assert claim.attempt.agent == "bob"
        assert kinds(store, task.id)[-2:] == [EventKind.LEASE_EXPIRED, EventKind.TASK_STARTED]
        (ending,) = store.events(kinds=[EventKind.LEASE_EXPIRED])
        assert (ending.data["attempt"], ending.data["taken_by"]) == (1, "bob")
        assert store.attempts(task.id)[0].error == "taken over by bob"
        with pytest.raises(LeaseLostError):
            store.renew(task.id, 1, lease_s=60)

    # --- renewals and checkpoints -------------------------------------------

    def test_a_hold_can_be_renewed(self, store, session_id, clock):
        """It then lasts as long from that moment."""
        store.plan(session_id, [draft("a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        clock.advance(50)
        renewed = store.renew(task.id, 1, lease_s=60)
        assert renewed.lease_until == clock.now + MINUTE
        assert renewed.last_sign_at == clock.now
        assert store.attempts(task.id) == [renewed]
        clock.advance(50)
        assert store.expire() == []
        assert kinds(store)[-1] == EventKind.LEASE_RENEWED

    def test_a_checkpoint_is_kept_for_the_next_attempt(self, store, session_id, clock):
        """It renews the hold, is the last one until the next, and is handed to whoever goes on."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(50)
        store.checkpoint(task.id, 1, {"n": 1}, lease_s=60)
        saved = store.checkpoint(
            task.id,
            1,
            {"n": 2},
            note="half",
            progress=0.5,
            snapshot="ab" * 20,
            left_out=("big.bin", "größe"),
            lease_s=60,
        )
        assert saved.state == {"n": 2}
        assert saved.note == "half"
        assert saved.progress == 0.5
        assert saved.snapshot == "ab" * 20
        assert saved.left_out == ("big.bin", "größe")
        assert saved.attempt == 1
        assert store.last_checkpoint(task.id) == saved
        assert store.attempts(task.id)[0].lease_until == clock.now + MINUTE
        assert store.running(session_id, 9)[0][2] == saved
        event = store.events(kinds=[EventKind.CHECKPOINT_SAVED])[-1]
        assert event.agent == "ada"
        assert event.data["checkpoint"] == saved.id
        assert event.data["note"] == "half"
        assert event.data["left_out"] == ["big.bin", "größe"]
        store.finish(task.id, 1, Ending(action=None), agent="ada")
        assert store.claim(session_id, "bob", lease_s=60).resumed_from == saved

    # --- for whom a task is -------------------------------------------------

    def test_a_task_for_one_agent_is_given_to_nobody_else(self, store, session_id):
        """Neither as the best one, nor by its name, nor by completing it, but by taking over."""
        mine, other = store.plan(
            session_id, [draft("mine", for_agent="ada", priority=9), draft("other")]
        )
        assert mine.for_agent == "ada"
        before = everything(store)
        with pytest.raises(NotReadyError) as caught:
            store.claim(session_id, "bob", task_id=mine.id, lease_s=60)
        (cause,) = caught.value.why.causes
        assert (cause.kind, cause.agent) == (CauseKind.AGENT, "ada")
        with pytest.raises(NotReadyError, match="it is for ada"):
            store.finish(mine.id, None, completion(), agent="bob")
        assert everything(store) == before
        assert store.claim(session_id, "bob", lease_s=60).task.id == other.id
        assert store.claim(session_id, "ada-child", lease_s=60) is None
        assert takeable(store, session_id, "bob") == []
        assert takeable(store, session_id, "ada") == ["mine"]
        assert store.claim(session_id, "ada", lease_s=60).task.id == mine.id
        taken = store.claim(session_id, "bob", task_id=mine.id, lease_s=60, take_over=True)
        assert (taken.attempt.number, taken.task.for_agent) == (2, "ada")
        store.finish(mine.id, 2, Ending(action=None), agent="bob")
        assert store.update_task(mine.id, {"for_agent": None}).for_agent is None
        assert store.claim(session_id, "bob", lease_s=60).task.id == mine.id

    def test_a_parent_is_left_to_the_agent_that_planned_its_parts(self, store, session_id):
        """If that agent has a name. Whoever wants all of them, or none, says so."""
        plan = [
            draft("led", planned_by="lead"),
            draft("part", parent="led", planned_by="lead"),
            draft("free"),
            draft("piece", parent="free"),
        ]
        led, part, free, piece = store.plan(session_id, plan)
        for task in (part, piece):
            store.finish(task.id, None, completion(), agent="worker")
        assert takeable(store, session_id, "worker") == ["free"]
        assert takeable(store, session_id, "lead") == ["led", "free"]
        assert takeable(store, session_id, "worker", parents=True) == ["led", "free"]
        assert takeable(store, session_id, "lead", parents=False) == []
        assert store.claim(session_id, "worker", lease_s=60, parents=False) is None
        assert store.claim(session_id, "worker", lease_s=60).task.id == free.id
        assert store.claim(session_id, "worker", lease_s=60) is None
        assert store.claim(session_id, "lead", lease_s=60).task.id == led.id
        store.finish(led.id, 1, Ending(action=None), agent="lead")
        assert store.claim(session_id, "worker", lease_s=60, parents=True).task.id == led.id

    # --- holders that are gone ----------------------------------------------

    def test_the_attempt_of_a_holder_that_is_gone_is_ended(self, store, session_id):
        """The task is pending again with its checkpoint; the log says who ended it, and why."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        saved = store.checkpoint(task.id, 1, 7, lease_s=60)
        ended = store.end_attempt(task.id, "killed", agent="lead", holder="ada")
        assert (ended.number, ended.agent) == (1, "ada")
        assert (ended.ending, ended.error) == (AttemptEnding.GONE, "killed")
        assert store.attempts(task.id) == [ended]
        (event,) = store.events(kinds=[EventKind.ATTEMPT_ENDED])
        assert (event.task_id, event.agent) == (task.id, "lead")
        assert event.data == {"attempt": 1, "holder": "ada", "reason": "killed"}
        assert store.find_task(task.id, None).is_ready
        with pytest.raises(LeaseLostError, match="killed"):
            store.renew(task.id, 1, lease_s=60)
        with pytest.raises(LeaseLostError):
            store.finish(task.id, 1, completion(), agent="ada")
        claim = store.claim(session_id, "bob", lease_s=60)
        assert (claim.attempt.number, claim.resumed_from) == (2, saved)

    def test_only_the_holder_that_is_meant_is_ended(self, store, session_id):
        """Nothing is written where nobody holds the task, or somebody else.

        Work that waits to be merged is in nobody's hands.
        """
        task = store.plan(session_id, [draft("a")])[0]
        before = everything(store)
        with pytest.raises(TransitionError, match="nobody holds it"):
            store.end_attempt(task.id, "killed", agent="lead")
        assert everything(store) == before
        store.claim(session_id, "bob", lease_s=60)
        before = everything(store)
        with pytest.raises(TransitionError, match=r"bob holds it \(attempt 1\); ada never has"):
            store.end_attempt(task.id, "killed", agent="lead", holder="ada")
        assert everything(store) == before
        store.finish(task.id, 1, attrs.evolve(completion(), later=True), agent="bob")
        with pytest.raises(TransitionError, match="nobody holds it"):
            store.end_attempt(task.id, "killed", agent="lead")

    # --- expired leases -----------------------------------------------------

    def test_a_lapsed_hold_is_ended_by_whoever_comes_by(self, store, other, session_id, clock):
        """The attempt is abandoned, and the task is ready again with its checkpoint.

        The next attempt has the next number.
        """
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        saved = store.checkpoint(task.id, 1, 7, lease_s=60)
        clock.advance(60)
        assert other.expire() == []
        clock.advance(1)
        (lapsed,) = other.expire()
        assert lapsed.task_id == task.id
        assert lapsed.number == 1
        assert lapsed.agent == "ada"
        assert other.expire() == []
        assert store.attempts(task.id)[0].ending == AttemptEnding.ABANDONED
        assert kinds(store, task.id)[-1] == EventKind.LEASE_EXPIRED
        claim = other.claim(session_id, "bob", lease_s=60)
        assert claim.attempt.number == 2
        assert claim.resumed_from == saved

    def test_a_claim_notices_lapsed_holds_itself(self, store, session_id, clock):
        """Nobody needs to call ``expire`` first."""
        store.plan(session_id, [draft("a")])
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(61)
        claim = store.claim(session_id, "bob", lease_s=60)
        assert claim.task.alias == "a"
        assert claim.attempt.number == 2
        (ending,) = store.events(kinds=[EventKind.LEASE_EXPIRED])
        silent_since = datetime.fromisoformat(str(ending.data["silent_since"]))
        assert ending.at - silent_since == timedelta(seconds=61)
        assert kinds(store)[-3:] == [
            EventKind.TASK_STARTED,
            EventKind.LEASE_EXPIRED,
            EventKind.TASK_STARTED,
        ]

    @pytest.mark.parametrize("noticed", [False, True])
    @pytest.mark.parametrize("first_write", ["renew", "checkpoint", "save_artifact"])
    def test_a_sleeper_regains_its_hold_if_nobody_took_it(
        self, store, other, session_id, clock, noticed, first_write
    ):
        """After nine hours of sleep the holder goes on, whether or not its end was noticed."""
        task = store.plan(session_id, [TaskDraft(title="A")])[0]
        store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        clock.advance(hours=9)
        if noticed:
            assert len(other.expire()) == 1
        writes = {
            "renew": lambda: store.renew(task.id, 1, lease_s=60),
            "checkpoint": lambda: store.checkpoint(task.id, 1, {}, lease_s=60),
            "save_artifact": lambda: store.save_artifact(
                session_id, artifact(), task_id=task.id, attempt=1, agent="ada"
            ),
        }
        writes[first_write]()
        assert store.find_task(task.id, None).status is TaskStatus.IN_PROGRESS
        assert (EventKind.LEASE_REGAINED in kinds(store, task.id)) is noticed
        finished = store.finish(task.id, 1, completion(), agent="ada")
        assert finished.task.status is TaskStatus.COMPLETED

    def test_a_holder_that_was_replaced_can_write_nothing(self, store, other, session_id, clock):
        """Every fenced write of the old attempt is refused, and leaves no trace."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(61)
        other.claim(session_id, "bob", lease_s=60)
        before = everything(store)

        def within():
            pytest.fail("called behind the fence")

        calls = (
            lambda: store.renew(task.id, 1, lease_s=60, within=within),
            lambda: store.renew(task.id, 7, lease_s=60),
            lambda: store.checkpoint(task.id, 1, {}, lease_s=60, within=within),
            lambda: store.finish(
                task.id, 1, completion(), agent="ada", artifacts=[artifact()], within=within
            ),
            lambda: store.save_artifact(
                session_id, artifact(), task_id=task.id, attempt=1, agent="ada"
            ),
        )
        for call in calls:
            with pytest.raises(LeaseLostError):
                call()
            assert everything(store) == before

    def test_a_clock_that_jumps_back_loses_no_hold(self, store, session_id, clock):
        """No lease expires, and work goes on."""
        task = store.plan(session_id, [draft("a")])[0]
        store.claim(session_id, "ada", lease_s=60)
        clock.advance(hours=-9)
        assert store.expire() == []
        store.checkpoint(task.id, 1, {}, lease_s=60)
        store.finish(task.id, 1, completion(), agent="ada")
        assert status_of(store, task.id) == TaskStatus.COMPLETED
