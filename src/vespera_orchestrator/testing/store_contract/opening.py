"""The store as a whole, and sessions."""

from __future__ import annotations

import pytest

from vespera_orchestrator._model import EventKind, Position, Session, new_id, utcnow
from vespera_orchestrator.contracts import Store
from vespera_orchestrator.errors import ClosedError, SessionNotFoundError, VesperaError
from vespera_orchestrator.testing.store_contract.examples import (
    HALF_A_CHARACTER,
    artifact,
    completion,
    draft,
    everything,
    kinds,
    start_session,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


class OpeningContract(StoreFixtures):
    """The store as a whole, and sessions."""

    # --- the store as a whole -----------------------------------------------

    def test_it_is_a_store(self, store):
        """It has every operation, and an address."""
        assert isinstance(store, Store)
        assert isinstance(store.url, str)
        assert store.url
        assert isinstance(store.identity, str)
        assert store.identity

    def test_a_new_store_is_empty(self, store):
        """Nothing is found, listed or counted, and no event was ever recorded."""
        assert all(not part for part in everything(store).values())
        assert store.last_seq() == 0
        assert store.open_sessions() == 0
        assert store.find_session("s_") is None
        assert store.find_task("t", None) is None
        assert store.find_artifact("a_") is None
        assert store.expire() == []

    def test_a_closed_store_says_so(self, store, session_id):
        """``close`` is idempotent; whatever is called afterwards raises `ClosedError`."""
        store.close()
        store.close()
        calls = (
            store.last_seq,
            store.expire,
            lambda: store.plan(session_id, [draft("a")]),
            lambda: store.find_session(session_id),
        )
        for call in calls:
            with pytest.raises(ClosedError):
                call()

    def test_everything_is_seen_by_others(self, store, other, session_id):
        """What one object wrote, another one reads at once, equal record for record."""
        context = {
            "é": [1, None, {"x": 0.5}],
            "big": 2**200,
            "half": HALF_A_CHARACTER,
            "nul": "\0",
        }
        store.plan(session_id, [draft("a", context=context), draft("b")])
        task = store.claim(session_id, "ada", lease_s=60).task
        state = {"n": [1.5, "zwei", None]}
        store.checkpoint(task.id, 1, state, note="one", progress=0.5, lease_s=60)
        store.finish(task.id, 1, completion(x=1), agent="ada", artifacts=[artifact()])
        assert everything(other) == everything(store)
        assert other.find_task("a", session_id).context == context

    # --- sessions -----------------------------------------------------------

    def test_a_session_comes_back_as_given(self, store, clock):
        """Goal, project type, parent and context are kept; the time is the store's."""
        parent = start_session(store)
        session = Session(
            id=new_id("s"),
            goal="Größe",
            project_type="research_project",
            parent_session_id=parent,
            context={"k": [1]},
            created_at=utcnow(),
            updated_at=utcnow(),
        )
        started = store.start_session(session)
        assert started == store.find_session(session.id)
        assert started.goal == "Größe"
        assert started.project_type == "research_project"
        assert started.parent_session_id == parent
        assert started.context == {"k": [1]}
        assert started.created_at == clock.now
        assert started.updated_at == clock.now
        assert kinds(store) == [EventKind.SESSION_STARTED] * 2

    def test_an_id_names_one_session(self, store, session_id):
        """A second session with the same id is refused, and nothing is written."""
        before = everything(store)
        with pytest.raises(VesperaError):
            start_session(store, session_id=session_id)
        assert everything(store) == before

    def test_sessions_are_listed_by_last_use(self, store, clock):
        """The one last written to comes first, in pages, with the time when that was."""
        first, second, third = (start_session(store) for _ in range(3))
        clock.advance(60)
        assert store.resume_session(first).updated_at == clock.now
        assert [session.id for session in store.sessions()] == [first, third, second]
        assert [session.id for session in store.sessions(limit=1, offset=1)] == [third]
        assert [session.id for session in store.sessions(limit=None, offset=2)] == [second]
        assert kinds(store)[-1] == EventKind.SESSION_RESUMED

    def test_a_session_that_does_not_exist_is_told(self, store):
        """Going on with it, planning in it and saving to it raise `SessionNotFoundError`."""
        calls = (
            lambda: store.resume_session("s_missing"),
            lambda: store.note_look("s_missing", "ada", Position()),
            lambda: store.plan("s_missing", [draft("a")]),
            lambda: store.save_artifact(
                "s_missing", artifact(), task_id=None, attempt=None, agent=None
            ),
        )
        for call in calls:
            with pytest.raises(SessionNotFoundError):
                call()
        assert store.last_seq() == 0

    def test_open_sessions_are_those_with_open_tasks(self, store):
        """A session counts while one of its tasks has not ended."""
        first, second, _ = start_session(store), start_session(store), start_session(store)
        task = store.plan(first, [draft("a")])[0]
        store.plan(second, [draft("a")])
        assert store.open_sessions() == 2
        store.cancel(task.id, "", subtree=False)
        assert store.open_sessions() == 1

    # --- what agents share --------------------------------------------------

    def test_shared_values_replace_each_other_and_stay_in_the_history(
        self, store, other, session_id, clock
    ):
        """By session and key, with who and when; what changes nothing is not written."""
        second = start_session(store)
        values = {"db": {"é": [1, None]}, "port": 80}
        first = store.share_values(session_id, "ada", values)
        assert [(value.key, value.value) for value in first] == list(values.items())
        assert other.shared_values(session_id) == first
        seq = store.last_seq()
        assert store.share_values(session_id, "bob", {"port": 80}) == first[1:]
        assert store.last_seq() == seq
        clock.advance(60)
        (port,) = store.share_values(session_id, "ada", {"port": 81})
        assert (port.value, port.agent, port.shared_at) == (81, "ada", clock.now)
        assert (port.is_current, port.disputes) == (True, None)
        assert [value.value for value in other.shared_values(session_id)] == [values["db"], 81]
        history = other.shared_values(session_id, key="port", history=True)
        assert [(value.value, value.is_current) for value in history] == [(80, False), (81, True)]
        assert store.shared_values(second) == []
        (event,) = store.events(seq, session_id=session_id)
        assert (event.kind, event.agent) == (EventKind.CONTEXT_SHARED, "ada")
        assert event.data == {"keys": ["port"], "conflicts": []}
        with pytest.raises(SessionNotFoundError):
            store.share_values("s_missing", "ada", values)

    def test_two_agents_that_share_a_key_differently_dispute_it(self, store, session_id):
        """Until somebody shares the key who has seen it, or one takes over the other's value."""
        (ada,) = store.share_values(session_id, "ada", {"db": 1})
        (bob,) = store.share_values(session_id, "bob", {"db": 2})
        assert bob.disputes == ada.id
        assert store.events(newest_first=True, limit=1)[0].data["conflicts"] == ["db"]
        (still,) = store.share_values(session_id, "bob", {"db": 3})
        assert still.disputes == ada.id
        (again,) = store.share_values(session_id, "ada", {"db": 1})
        assert again.disputes == still.id
        (settled,) = store.share_values(session_id, "bob", {"db": 1})
        assert (settled.id, settled.disputes) == (again.id, None)
        (new,) = store.share_values(session_id, "eve", {"db": 4}, seen=settled.id)
        assert new.disputes == settled.id
        (decided,) = store.share_values(session_id, "ada", {"db": 5}, seen=new.id)
        assert decided.disputes is None
        assert len(store.shared_values(session_id, key="db", history=True)) == 6

    # --- leaving off, and who has seen what ---------------------------------

    def test_a_pause_keeps_the_words(self, store, other, session_id, clock):
        """As they were said, with who, when, and what was in hand."""
        words = {"note": "  half\nof it \u2028 é", "next_step": "the loop"}
        pause = store.pause_session(
            session_id, "ada", **words, worded=["next_step"], task_ids=["t_1"]
        )
        assert (pause.note, pause.next_step) == (words["note"], words["next_step"])
        assert (pause.session_id, pause.agent, pause.at) == (session_id, "ada", clock.now)
        assert (pause.worded, pause.saved, pause.not_saved) == (("next_step",), (), ())
        kinds = [EventKind.SESSION_PAUSED]
        (event,) = other.events(session_id=session_id, kinds=kinds, newest_first=True)
        assert event.data == {**words, "worded": ["next_step"], "tasks": ["t_1"]}
        assert (event.agent, event.at, event.task_id) == ("ada", clock.now, None)
        with pytest.raises(SessionNotFoundError):
            store.pause_session("s_missing", "ada", **words)

    def test_each_agent_has_a_last_look_of_its_own(self, store, other, session_id, clock):
        """One look per agent and session, the latest one, without an event."""
        second = start_session(store)
        seq = store.last_seq()
        position = Position(branch="main", head="a" * 40, integration="b" * 40)
        assert store.last_look(session_id, "ada") is None
        look = store.note_look(session_id, "ada", position)
        assert (look.seq, look.at, look.agent) == (seq, clock.now, "ada")
        assert (look.branch, look.head, look.integration) == ("main", "a" * 40, "b" * 40)
        assert other.last_look(session_id, "ada") == look
        assert other.last_look(session_id, "bob") is None
        assert other.last_look(second, "ada") is None
        clock.advance(60)
        store.plan(session_id, [draft("a")])
        later = other.note_look(session_id, "ada", Position())
        early = other.note_look(session_id, "eve", Position(), seq=later.seq - 1)
        assert store.last_look(session_id, "eve") == early
        assert early.seq == later.seq - 1
        assert later.seq > look.seq
        assert later.branch is later.head is later.integration is None
        assert store.last_look(session_id, "ada") == later
        assert store.last_seq() == later.seq
