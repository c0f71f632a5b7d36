"""Finding, listing and counting tasks."""

from __future__ import annotations

import threading

import pytest

from vespera_orchestrator._model import Agenda, CauseKind, TaskDraft, TaskQuery, TaskStatus
from vespera_orchestrator.errors import StoreBusyError, TaskNotFoundError
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.testing.store_contract.examples import (
    aliases,
    draft,
    everything,
    failure,
    ready_aliases,
    start_session,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


class ReadingContract(StoreFixtures):
    """Finding, listing and counting tasks."""

    def test_a_task_is_found_by_id_or_alias(self, store, session_id):
        """By id from anywhere, by alias within its session."""
        task = store.plan(session_id, [draft("a")])[0]
        assert store.find_task(task.id, None) == task
        assert store.find_task("a", session_id) == task
        assert store.find_task("a", None) is None
        assert store.find_task("a", start_session(store)) is None
        assert store.find_task("b", session_id) is None
        calls = (
            store.situation,
            lambda missing: store.delete(missing, hard=False),
            lambda missing: store.retry(missing, ""),
        )
        for call in calls:
            with pytest.raises(TaskNotFoundError):
                call("t_missing")

    def test_several_reads_see_one_state(self, store, other, session_id):
        """What others write in between is seen by none of them, also where one is nested."""
        store.plan(session_id, [draft("a")])
        start, answers = store.last_seq(), []

        def look():
            counts = store.count(TaskQuery(session_id=session_id, limit=None))
            ready = aliases(store.ready(session_id, 9))
            return sum(counts.values()), ready, store.last_seq() - start

        def read():
            answers.append(look())
            writer = threading.Thread(target=other.plan, args=(session_id, [draft("b")]))
            writer.start()
            if other is not store:  # a store in memory lets others wait for the end
                writer.join()
            answers.append(look())
            answers.append(store.read_together(look, session_id=session_id))
            return writer

        store.read_together(read, session_id=session_id).join()
        assert answers == [(1, ["a"], 0)] * 3
        assert look() == (2, ["a", "b"], 1)

    def test_nothing_is_written_while_reading_together(self, store, session_id):
        """A write is refused and disturbs nothing, and what is raised within is raised."""
        store.plan(session_id, [draft("a")])
        before = everything(store)

        def write():
            store.plan(session_id, [draft("b")])

        with pytest.raises(StoreBusyError):
            store.read_together(write)
        with pytest.raises(KeyError):
            store.read_together(lambda: {}["no such key"])
        assert everything(store) == before
        assert store.plan(session_id, [draft("b")])

    def test_ready_tasks_read_together_are_in_order(self, store, session_id):
        """The order of the named session's ready tasks is brought up to date first."""
        drafts = [
            draft("short", estimated_effort="1 hour"),
            draft("long", estimated_effort="1 hour"),
            draft("behind", "long", estimated_effort="9 hours"),
        ]
        store.plan(session_id, drafts)
        ready = store.read_together(lambda: store.ready(session_id, 9), session_id=session_id)
        assert aliases(ready) == ["long", "short"]

    def test_looking_below_a_task(self, store, session_id):
        """What is ready, runs, and takes longest below a task: narrowed before it is cut."""
        urgent = [draft(f"u{n}", parent="other", priority=5) for n in range(4)]
        mine = [draft("p0", parent="mine"), draft("p1", "p0", parent="mid")]
        mine += [draft("p2", parent="mine")]
        drafts = [draft("other"), *urgent, draft("mine"), draft("mid", parent="mine"), *mine]
        planned = {task.alias: task.id for task in store.plan(session_id, drafts)}
        for name in ("u0", "u1", "p2"):
            store.claim(session_id, "ada", task_id=planned[name], lease_s=60)
        below = planned["mine"]
        assert aliases(store.ready(session_id, 1)) == ["u2"]
        assert aliases(store.ready(session_id, 1, below=below)) == ["p0"]
        assert [task.alias for task, *_ in store.running(session_id, 1, below=below)] == ["p2"]
        chain = ["p0", "p1", "mid", "mine"]
        assert aliases(store.longest_chain(session_id, 9, below=below)) == chain
        assert aliases(store.longest_chain(session_id, 9, below=planned["p1"])) == ["p1"]
        assert store.ready(session_id, 9, below=planned["p1"]) == []

    def test_queries_filter(self, store, session_id, clock):
        """Each field of a query leaves out what it does not describe, in the order planned.

        Counts are of the same tasks.
        """
        start = clock.now
        drafts = [
            draft("top"),
            draft("mid", parent="top"),
            draft("low", parent="mid", task_type="review", complexity="hard"),
            draft("odd", "top", specialist_type="tester", description="50% of IT_ALL"),
        ]
        top, _, low, _ = store.plan(session_id, drafts)
        clock.advance(60)
        store.plan(session_id, [draft("late")])
        store.plan(start_session(store), [draft("elsewhere")])
        store.claim(session_id, "ada", task_id=low.id, lease_s=60)
        store.finish(low.id, 1, failure(), agent="ada")
        blocked = (TaskStatus.BLOCKED,)
        blocked_or_running = (TaskStatus.BLOCKED, TaskStatus.IN_PROGRESS)
        subtree = {"parent_task_id": top.id, "include_children": True}
        for filters, expected in (
            ({}, "top mid low odd late elsewhere recover_low"),
            ({"session_id": session_id}, "top mid low odd late recover_low"),
            ({"parent_task_id": top.id}, "mid"),
            (subtree, "top mid low recover_low"),
            (subtree | {"status": blocked}, "low"),
            ({"status": blocked_or_running}, "low"),
            ({"task_type": "review"}, "low"),
            ({"complexity": "hard"}, "low recover_low"),
            ({"specialist_type": "tester"}, "odd"),
            ({"text": "0% of it_a"}, "odd"),
            ({"text": "T_A"}, "odd"),
            ({"text": "%"}, "odd"),
            ({"ready": True}, "late elsewhere recover_low"),
            ({"ready": False}, "top mid low odd"),
            ({"recoveries": True}, "recover_low"),
            ({"recoveries": False, "session_id": session_id}, "top mid low odd late"),
            ({"recovers_task_id": low.id}, "recover_low"),
            ({"agent": "ada"}, "low"),
            ({"alias_prefix": "l"}, "low late"),
            ({"alias_prefix": "%"}, ""),
            ({"created_before": clock.now}, "top mid low odd"),
            ({"created_after": clock.now}, "late elsewhere recover_low"),
            ({"updated_before": clock.now}, "top mid odd"),
            ({"updated_after": start}, "top mid low odd late elsewhere recover_low"),
        ):
            tasks = store.tasks(TaskQuery(**filters))
            assert aliases(tasks) == expected.split(), filters
            counts = store.count(TaskQuery(**filters, limit=1))
            assert sum(counts.values()) == len(tasks), filters
        assert aliases(store.tasks(TaskQuery(limit=2, offset=1))) == ["mid", "low"]
        assert aliases(store.tasks(TaskQuery(limit=None, offset=5))) == ["elsewhere", "recover_low"]
        assert store.tasks(TaskQuery(limit=0)) == []

    @pytest.mark.parametrize(
        ("title", "text"),
        [
            ("Change the Size", "tHE sIZE"),
            ("Größe ÄNDERN", "größe ändern"),
            ("größe ändern", "GRÖßE ÄNDERN"),
            ("ÉTAPE FINALE", "étape"),
            ("ΟΔΌΣ", "οδό"),
            ("ПЛАН", "план"),
            ("Istanbul", "ISTANBUL"),
            ("ŞİŞLİ", "şişli".replace("i", "İ")),
            ("ŞİŞLİ", "şişli"),
            ("日本語", "本"),
            ("Straße", "STRASSE"),
            ("STRASSE", "straße"),
            ("GROẞE", "grosse"),
            ("ΟΔΟΣ", "οδος"),
            ("οδός", "ΟΔΌΣ"),
            ("Cafe\u0301", "CAFÉ"),
            ("CAFÉ", "cafe\u0301"),
            ("J\u030c", "ǰ"),
            ("\uff26ull", "fULL"),
            ("the ﬁrst ﬂoor", "FIRST FL"),
            ("ĲSSELMEER", "ijssel"),
            ("300 \u212a", "300 k"),
            ("ᏣᎳᎩ", "ꮳꮃꭹ"),
            ("ⴙⴚ", "ႹႺ"),
            ("𐐔𐐯", "𐐼𐐇"),
            ("ᾼ", "ᾳ"),
            ("ﬃ", "FF"),
        ],
    )
    def test_text_is_found_in_either_letter_case(self, store, session_id, title, text):
        """Of any script, however it is written, and alike in every store and locale."""
        store.plan(session_id, [TaskDraft(title=title), draft("other")])
        assert [task.title for task in store.tasks(TaskQuery(text=text))] == [title]
        described = TaskDraft(title="described", description=f"to do: {title}!")
        store.plan(session_id, [described])
        assert len(store.tasks(TaskQuery(text=text))) == 2

    def test_the_best_ready_task_comes_first(self, store, session_id):
        """By priority, then by the hours of the longest chain from it, then as planned."""
        drafts = [
            draft("a"),
            draft("c1"),
            draft("c2", "c1", estimated_effort="1 week"),
            draft("c3", "c2"),
            draft("b"),
            draft("first", priority=1),
            draft("never", priority=-1),
        ]
        store.plan(session_id, drafts)
        assert ready_aliases(store, session_id) == ["first", "c1", "a", "b", "never"]
        assert aliases(store.ready(session_id, 2)) == ["first", "c1"]
        assert aliases(store.longest_chain(session_id, 9)) == ["c1", "c2", "c3"]
        assert aliases(store.longest_chain(session_id, 2)) == ["c1", "c2"]
        store.plan(session_id, [draft("more", "b", estimated_effort="3 weeks")])
        assert ready_aliases(store, session_id) == ["first", "b", "c1", "a", "never"]

    def test_ready_tasks_on_the_agenda_come_best_first(self, store, session_id):
        """Whoever asks first after planning need not ask for ready tasks before."""
        store.plan(session_id, [draft("a"), draft("b")])
        store.plan(session_id, [draft("more", "b", estimated_effort="1 week")])
        query = TaskQuery(session_id=session_id, agenda=Agenda.READY)
        assert aliases(store.tasks(query)) == ["b", "a"]

    def test_a_situation_holds_all_that_bears_on_readiness(self, store, session_id, clock):
        """What it depends on, its open children, its holder, its open recovery, and the time."""
        children = [draft(f"k{number}", parent="b") for number in range(12)]
        a, b, *_ = store.plan(session_id, [draft("a"), draft("b", "a"), *children])
        situation = store.situation(b.id)
        assert aliases(situation.needed.values()) == ["a"]
        assert situation.open_children_count == 12
        assert situation.open_children == tuple(f"k{number}" for number in range(10))
        assert situation.as_of == clock.now
        assert [cause.kind for cause in causes.why(situation).causes] == [
            CauseKind.DEPENDENCY,
            CauseKind.CHILDREN,
        ]
        claim = store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        assert store.situation(a.id).attempt == claim.attempt
        recovery = store.finish(a.id, 1, failure(), agent="ada").recovery
        assert store.situation(a.id).open_recovery == recovery
