"""Several callers at the same moment."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

from vespera_orchestrator._model import (
    ArtifactQuery,
    AttemptEnding,
    Dependency,
    EventKind,
    Outcome,
    TaskDraft,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator.errors import (
    AliasTakenError,
    CycleError,
    LeaseLostError,
    NotReadyError,
    TransitionError,
)
from vespera_orchestrator.testing.store_contract.examples import (
    ALL_TASKS,
    artifact,
    at_once,
    completion,
    draft,
    errors,
    kinds,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

FOUR_AGENTS = [f"agent {number}" for number in range(4)]


class ConcurrencyContract(StoreFixtures):
    """Several callers at the same moment."""

    # --- many workers -------------------------------------------------------

    def test_many_take_from_one_queue(self, open_store, store, clock, session_id):
        """Four at once, each with a store of its own, empty a queue: every task is won once."""
        store.plan(session_id, [TaskDraft(title="T") for _ in range(40)])

        def work(agent):
            won = []
            with _own_store(open_store, clock, store) as own:
                while (claim := own.claim(session_id, agent, lease_s=600)) is not None:
                    won.append(claim.task.id)
                    number = claim.attempt.number
                    own.finish(claim.task.id, number, completion(), agent=agent)
            return won

        answers = at_once(*(partial(work, agent) for agent in FOUR_AGENTS))
        assert errors(answers) == [], answers
        won = [task_id for task_ids in answers for task_id in task_ids]
        assert sorted(won) == sorted(task.id for task in store.tasks(ALL_TASKS))
        assert store.count(ALL_TASKS) == {TaskStatus.COMPLETED: 40}

    def test_of_many_that_begin_an_effect_one_does(self, open_store, store, clock, session_id):
        """Four of one name at once, each with a store of its own: the others are refused."""
        store.plan(session_id, [TaskDraft(title="T")])
        task = store.claim(session_id, "ada", lease_s=600).task
        together = threading.Barrier(4)

        def begin():
            won = []
            with _own_store(open_store, clock, store) as own:
                for number in range(10):
                    together.wait()
                    if own.begin_effect(task.id, 1, f"mail {number}") is not None:
                        won.append(number)
            return won

        answers = at_once(*[begin] * 4)
        assert errors(answers) == [], answers
        assert sorted(number for won in answers for number in won) == list(range(10))

    def test_dense_convergence_is_counted_exactly(self, open_store, store, clock, session_id):
        """Layers of eight, all waiting for all of the layer before, four at once.

        Nothing hangs, and each counter ends at what is true.
        """
        layers = [[f"l{layer}_{number}" for number in range(8)] for layer in range(4)]
        drafts = [draft(name) for name in layers[0]]
        for before, layer in pairwise(layers):
            drafts += [draft(name, *before) for name in layer]
        store.plan(session_id, drafts)
        pending = TaskQuery(status=(TaskStatus.PENDING,))

        def work(agent):
            with _own_store(open_store, clock, store) as own:
                while store.count(pending):
                    claim = own.claim(session_id, agent, lease_s=600)
                    if claim is not None:
                        number = claim.attempt.number
                        own.finish(claim.task.id, number, completion(), agent=agent)

        assert at_once(*(partial(work, agent) for agent in FOUR_AGENTS)) == [None] * 4
        assert store.count(ALL_TASKS) == {TaskStatus.COMPLETED: 32}
        assert {task.blockers for task in store.tasks(ALL_TASKS)} == {0}

    def test_a_reader_of_the_log_misses_nothing(self, open_store, store, clock, session_id):
        """While four write, one follows the log by its last position.

        In the end it has read each event once, in order.
        """
        writers_are_done = threading.Event()
        positions = [0]

        def write(agent):
            with _own_store(open_store, clock, store) as own:
                for number in range(15):
                    planned = own.plan(session_id, [TaskDraft(title=f"{agent} {number}")])
                    task_id = planned[0].id
                    own.finish(task_id, None, completion(), agent=agent, artifacts=[artifact()])

        def follow(limit):
            positions.extend(event.seq for event in store.events(positions[-1], limit=limit))

        def follow_until_done():
            while not writers_are_done.is_set():
                follow(7)

        follower = threading.Thread(target=follow_until_done)
        follower.start()
        answers = at_once(*(partial(write, agent) for agent in FOUR_AGENTS))
        writers_are_done.set()
        follower.join()
        follow(None)
        assert answers == [None] * 4
        assert positions[1:] == [event.seq for event in store.events(limit=None)]
        assert len(positions) == 2 + 60 * 4

    # --- one task, two sides ------------------------------------------------

    def test_two_claim_one_task(self, store, other, session_id):
        """One of them gets it, the other gets nothing, or is told who holds it."""
        for number in range(10):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            named = task.id if number % 2 else None
            answers = at_once(
                partial(store.claim, session_id, "ada", task_id=named, lease_s=60),
                partial(other.claim, session_id, "bob", task_id=named, lease_s=60),
            )
            claims = [
                answer
                for answer in answers
                if answer is not None and not isinstance(answer, NotReadyError)
            ]
            assert len(claims) == 1, answers
            assert store.attempts(task.id) == [claims[0].attempt]
            store.cancel(task.id, "", subtree=False)

    def test_two_complete_one_task(self, store, other, session_id):
        """The same completion from two sides is one."""
        for _ in range(5):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            answers = at_once(
                *(
                    partial(
                        side.finish, task.id, 1, completion(), agent="ada", artifacts=[artifact()]
                    )
                    for side in (store, other)
                )
            )
            assert sorted(answer.repeated for answer in answers) == [False, True]
            query = ArtifactQuery(task_ids=(task.id,), include_superseded=True)
            assert len(store.artifacts(query)) == 1

    def test_a_completion_and_a_cancellation_are_one_of_both(self, store, other, session_id):
        """Whichever comes first is recorded whole, the other is refused."""
        waiting = TaskDraft(title="B", dependencies=(Dependency("#0"),))
        for _ in range(5):
            task, dependent = store.plan(session_id, [TaskDraft(title="A"), waiting])
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            answers = at_once(
                lambda: store.finish(task.id, 1, completion(), agent="ada"),
                lambda: other.cancel(task.id, "", subtree=False),
            )
            expected = TransitionError, TaskStatus.PENDING, EventKind.TASK_COMPLETED
            if store.find_task(task.id, None).status is TaskStatus.CANCELLED:
                expected = LeaseLostError, TaskStatus.SKIPPED, EventKind.TASK_CANCELLED
            error, dependent_status, last_event = expected
            assert errors(answers) == [error]
            assert store.find_task(dependent.id, None).status is dependent_status
            assert kinds(store, task.id)[-1] == last_event

    def test_a_cancellation_and_a_claim_are_one_after_the_other(self, store, other, session_id):
        """Whichever comes first: a cancelled task has no attempt that still runs."""
        for _ in range(10):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            answers = at_once(
                lambda: store.cancel(task.id, "", subtree=False),
                lambda: other.claim(session_id, "ada", lease_s=60),
            )
            assert errors(answers) == [], answers
            assert store.find_task(task.id, None).status is TaskStatus.CANCELLED
            for attempt in store.attempts(task.id):
                assert attempt.ending == AttemptEnding.CANCELLED

    # --- expired leases -----------------------------------------------------

    def test_two_notice_one_lapse(self, store, other, session_id, clock):
        """One of them ends the attempt; there is one event."""
        for _ in range(5):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            clock.advance(61)
            answers = at_once(store.expire, other.expire)
            assert sorted(map(len, answers)) == [0, 1]
            assert kinds(store, task.id).count(EventKind.LEASE_EXPIRED) == 1
            store.cancel(task.id, "", subtree=False)

    def test_a_lapse_and_a_sign_of_life(self, store, other, session_id, clock):
        """A holder that renews while its end is noticed keeps the task, whoever comes first."""
        for _ in range(5):
            task = store.plan(session_id, [TaskDraft(title="A")])[0]
            store.claim(session_id, "ada", task_id=task.id, lease_s=60)
            clock.advance(61)
            answers = at_once(other.expire, lambda: store.renew(task.id, 1, lease_s=60))
            assert errors(answers) == [], answers
            assert store.find_task(task.id, None).status is TaskStatus.IN_PROGRESS
            assert store.attempts(task.id)[0].ending is None
            store.cancel(task.id, "", subtree=False)

    # --- planners -----------------------------------------------------------

    def test_two_planners(self, store, other, session_id):
        """An alias is taken once, and titles get numbers.

        Of two edges that close a circle together, one is refused.
        """
        for number in range(5):
            drafts = [draft(f"same{number}"), TaskDraft(title="Twin")]
            answers = at_once(
                partial(store.plan, session_id, drafts), partial(other.plan, session_id, drafts)
            )
            assert errors(answers) == [AliasTakenError]
            a, b = store.plan(session_id, [TaskDraft(title="A"), TaskDraft(title="B")])
            answers = at_once(
                partial(store.add_dependency, a.id, b.id, Outcome.SUCCESS),
                partial(other.add_dependency, b.id, a.id, Outcome.SUCCESS),
            )
            assert errors(answers) == [CycleError]
        twins = [task.alias for task in store.tasks(ALL_TASKS) if task.title == "Twin"]
        assert len(twins) == len(set(twins)) == 5


@contextmanager
def _own_store(open_store, clock, store):
    """Open the store once more, as another process would; close it unless it is *store* itself."""
    own = open_store(clock)
    yield own
    if own is not store:
        own.close()
