"""The event log, waiting for it, and the rows as they are kept."""

from __future__ import annotations

import threading

import pytest

from vespera_orchestrator._model import EventKind
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import AliasTakenError, SessionNotFoundError
from vespera_orchestrator.testing.store_contract.examples import draft, start_session
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


class LogContract(StoreFixtures):
    """The event log, waiting for it, and the rows as they are kept."""

    def test_events_follow_a_cursor(self, store, session_id):
        """After a position, by session and kind, in either direction, in pages; positions grow."""
        store.plan(session_id, [draft(f"t{number}") for number in range(5)])
        second = start_session(store)
        events = store.events(limit=None)
        positions = [event.seq for event in events]
        assert positions == sorted(set(positions))
        assert store.events(positions[2], limit=2) == events[3:5]
        assert store.events(newest_first=True, limit=2) == events[:-3:-1]
        assert store.events(session_id=second) == events[-1:]
        started = store.events(kinds=[EventKind.SESSION_STARTED])
        assert started == [events[0], events[-1]]
        assert store.events(kinds=[]) == []
        assert store.events(positions[-1]) == []
        assert store.last_seq() == positions[-1]
        assert store.last_seq(session_id) == positions[-2]
        assert store.last_seq("s_missing") == 0
        assert events[1].data == {"alias": "t0", "title": "T0"}
        task_id = store.find_task("t0", session_id).id
        assert events[1].task_id == task_id
        assert store.events(task_id=task_id) == [events[1]]
        store.cancel(task_id, "", subtree=False)
        assert len(store.events(task_id=task_id)) == 2
        [last] = store.events(task_id=task_id, newest_first=True, limit=1)
        assert last.kind == EventKind.TASK_CANCELLED
        assert store.events(task_id=task_id, kinds=[EventKind.TASK_PLANNED]) == [events[1]]

    def test_milestones_are_read_like_other_events(self, store, session_id):
        """Alone and among other kinds, of one session or of all, after a position, in pages."""
        planned = store.plan(session_id, [draft(f"t{number}") for number in range(4)])
        for task in planned[:3]:
            store.cancel(task.id, f"no {task.alias}", subtree=False)
        second = start_session(store)
        elsewhere = store.plan(second, [draft("x")])[0]
        store.cancel(elsewhere.id, "", subtree=False)
        kinds = [EventKind.TASK_CANCELLED, EventKind.TASK_COMPLETED]
        cancelled = store.events(session_id=session_id, kinds=kinds)
        assert [event.data["reason"] for event in cancelled] == ["no t0", "no t1", "no t2"]
        newest = store.events(session_id=session_id, kinds=kinds, newest_first=True, limit=2)
        assert newest == cancelled[:0:-1]
        assert store.events(cancelled[0].seq, session_id=session_id, kinds=kinds) == cancelled[1:]
        mixed = store.events(session_id=session_id, kinds=[*kinds, EventKind.TASK_PLANNED])
        assert len(mixed) == 7
        assert len(store.events(kinds=kinds)) == 4

    def test_something_that_changes_no_record_is_an_event(self, store, clock, session_id):
        """With who and when; in a session that exists."""
        clock.advance(5)
        store.record_event(session_id, EventKind.ENERGY_SET, {"energy": "low"}, agent="ada")
        (event,) = store.events(kinds=[EventKind.ENERGY_SET])
        assert (event.session_id, event.agent, event.task_id) == (session_id, "ada", None)
        assert (event.data, event.at) == ({"energy": "low"}, clock.now)
        position = store.last_seq()
        with pytest.raises(SessionNotFoundError):
            store.record_event("s_missing", EventKind.ENERGY_SET, {"energy": "low"})
        assert store.last_seq() == position

    def test_observers_are_told_after_the_commit(self, store, other, session_id):
        """Of each transaction of this object, in the order of the log; they may call the store."""
        told = []

        def look(events):
            told.append([(event, store.find_task(event.task_id, None)) for event in events])

        stop = store.observe(look)
        planned = store.plan(session_id, [draft("a"), draft("b")])
        other.plan(session_id, [draft("theirs")])
        store.cancel(planned[0].id, "no", subtree=False)
        stop()
        stop()
        store.cancel(planned[1].id, "no", subtree=False)
        logged = store.events(session_id=session_id, limit=None)
        own = [event for event in logged if event.task_id in {task.id for task in planned}]
        if store is not other:
            assert [event for events in told for event, _ in events] == own[:3]
            assert [len(events) for events in told] == [2, 1]
        assert [task.status for _, task in told[-1]] == ["cancelled"]

    def test_an_observer_that_fails_fails_nothing(self, store, session_id):
        """The write stands, and the others are told."""
        told = []

        def fail(_):
            raise RuntimeError("an observer's own mistake")

        stops = [store.observe(fail), store.observe(told.extend)]
        (task,) = store.plan(session_id, [draft("a")])
        for stop in stops:
            stop()
        assert store.find_task(task.id, None) == task
        assert [event.task_id for event in told] == [task.id]

    def test_a_write_that_fails_tells_nobody(self, store, session_id):
        """What was not committed did not happen."""
        told = []
        stop = store.observe(told.append)
        store.plan(session_id, [draft("a")])
        with pytest.raises(AliasTakenError):
            store.plan(session_id, [draft("fresh"), draft("a")])
        stop()
        assert [[event.data["alias"] for event in events] for events in told] == [["a"]]

    def test_waiting_for_events(self, store, other, session_id):
        """It returns at once when there is one, when the time is over, and soon when one comes."""
        position = store.last_seq()
        store.wait(position - 1, 60.0)
        store.wait(position, 0.0)
        store.wait(position, 0.01)
        starting = threading.Event()

        def write():
            starting.wait()
            other.plan(session_id, [draft("a")])

        writer = threading.Thread(target=write)
        writer.start()
        starting.set()
        store.wait(position, 60.0)
        assert store.last_seq() > position
        writer.join()

    def test_a_ledger_shows_all_rows_and_changes_them_together(self, store, session_id):
        """Every table's rows as of one moment.

        Changes are one transaction, undone by whatever ends the block early.
        """
        task = store.plan(session_id, [draft("a")])[0]
        with store.ledger() as ledger:
            assert [row["id"] for row in ledger.rows("tasks")] == [task.id]
            assert set(TABLES) <= set(ledger.tables)
            assert ledger.count("events") == 2
            assert ledger.schema > 0
            assert list(ledger.problems()) == []
            *_, event = (dict(row) for row in ledger.rows("events"))
        seq = event["seq"]
        with pytest.raises(ZeroDivisionError), store.ledger(write=True) as ledger:
            ledger.change("tasks", {"id": task.id}, {"title": "other"})
            ledger.remove("events", [{"seq": seq}])
            raise ZeroDivisionError
        assert store.find_task(task.id, None) == task
        assert store.last_seq() == seq
        with store.ledger(write=True) as ledger:
            ledger.rebuild_indexes()
            ledger.change("tasks", {"id": task.id}, {"title": "other"})
            ledger.remove("events", [{"seq": seq}])
            ledger.put("events", [event | {"seq": seq + 10}])
        assert store.find_task(task.id, None).title == "other"
        assert store.last_seq() == seq + 10
        store.resume_session(session_id)
        assert store.last_seq() > seq + 10

    def test_a_store_shrinks_without_losing_anything(self, store, session_id):
        """It may be asked at any time, and says by how much it shrank."""
        planned = store.plan(session_id, [draft("a"), draft("b", "a")])
        with store.ledger(write=True) as ledger:
            seq = next(row["seq"] for row in ledger.rows("events"))
            ledger.remove("events", [{"seq": seq}])
        for rewrite in (False, True):
            assert store.shrink(rewrite=rewrite) >= 0
        assert [store.find_task(task.id, None) for task in planned] == list(planned)

    def test_a_ledger_shows_the_columns_as_described(self, store, session_id):
        """`TABLES` says which columns tell rows apart, and which are times, structures or flags."""
        store.plan(session_id, [draft("a"), draft("b", "a")])
        with store.ledger() as ledger:
            for table, meaning in TABLES.items():
                described = {*meaning.key, *meaning.times, *meaning.structures, *meaning.flags}
                for row in ledger.rows(table):
                    assert described <= set(row), table
                    for name in meaning.flags:
                        assert row[name] in {0, 1}, (table, name)
