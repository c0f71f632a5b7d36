"""All or nothing: what is refused, or raises, has written nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from vespera_orchestrator._model import Dependency, Ending, NextAction, TaskDraft, TaskQuery
from vespera_orchestrator.errors import (
    ClosedError,
    InvalidInputError,
    LeaseLostError,
    NotReadyError,
    PlanError,
    StoreBusyError,
    TaskNotFoundError,
    UnknownDependencyError,
)
from vespera_orchestrator.testing.store_contract.examples import (
    HALF_A_CHARACTER,
    artifact,
    completion,
    draft,
    everything,
    start_session,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures

WRITES: Final[Mapping[str, Callable[[Any, str, str], object]]] = {
    "plan": lambda store, session_id, _: store.plan(session_id, [draft("c")]),
    "claim": lambda store, session_id, _: store.claim(session_id, "bob", lease_s=60),
    "named claim": lambda store, session_id, task_id: store.claim(
        session_id, "bob", task_id=task_id, lease_s=60
    ),
    "cancel": lambda store, _, task_id: store.cancel(task_id, "", subtree=True),
    "save": lambda store, session_id, task_id: store.save_artifact(
        session_id, artifact(), task_id=task_id, attempt=None, agent="bob"
    ),
    "ledger": lambda store, _, __: _touch_rows(store),
}
"""Calls that write, by name."""


def _touch_rows(store) -> None:
    with store.ledger(write=True) as ledger:
        assert ledger.count("tasks")


class AtomicityContract(StoreFixtures):
    """All or nothing: what is refused, or raises, has written nothing."""

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_what_runs_within_undoes_everything_when_it_raises(self, store, session_id, error):
        """An exception, or Ctrl-C, within a checkpoint or a completion leaves no trace of it."""
        store.plan(session_id, [draft("a"), draft("b", "a")])
        task = store.claim(session_id, "ada", lease_s=60).task
        before = everything(store)

        def within():
            raise error

        with pytest.raises(error):
            store.checkpoint(task.id, 1, {}, lease_s=60, within=within)
        with pytest.raises(error):
            store.finish(task.id, 1, completion(), agent="a", artifacts=[artifact()], within=within)
        assert everything(store) == before
        finished = store.finish(task.id, 1, completion(), agent="a")
        assert finished.task.status == "completed"

    @pytest.mark.parametrize("verb", WRITES)
    def test_a_write_in_the_middle_of_a_call_is_refused(self, store, session_id, verb):
        """A signal handler or callback that writes within a call of its thread is refused.

        It writes nothing, and the call ends as if nobody had asked. Reading is answered.
        """
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        store.claim(session_id, "ada", task_id=a.id, lease_s=60)
        refused = []

        def within():
            assert store.find_task(b.id, None).alias == "b"
            assert store.last_seq() >= 0
            try:
                WRITES[verb](store, session_id, b.id)
            except StoreBusyError as exc:
                refused.append(exc)

        saved = store.checkpoint(a.id, 1, {"n": 1}, lease_s=60, within=within)
        assert store.last_checkpoint(a.id) == saved
        before = everything(store)
        finished = store.finish(a.id, 1, completion(), agent="ada", within=within)
        assert finished.task.status == "completed"
        assert len(refused) == 2
        after = everything(store)
        assert len(after["events"]) == len(before["events"]) + 1
        assert [task.alias for task in after["tasks"]] == ["a", "b"]
        assert store.find_task(b.id, None) == b
        WRITES[verb](store, session_id, b.id)

    def test_a_write_in_the_middle_of_reading_is_refused(self, store, session_id):
        """Whoever reads the rows through goes on with the same state."""
        store.plan(session_id, [draft("a"), draft("b")])
        with store.ledger() as ledger:
            rows = ledger.rows("tasks")
            next(rows)
            with pytest.raises(StoreBusyError):
                store.plan(session_id, [draft("c")])
            assert [row["alias"] for row in rows] == ["b"]
        assert [task.alias for task in store.tasks(TaskQuery())] == ["a", "b"]

    def test_closing_in_the_middle_of_a_call_waits_for_its_end(
        self, store, session_id, open_store, clock
    ):
        """What a signal handler closes ends its call first: it is written, and only then closed."""
        task = store.plan(session_id, [draft("a")])[0]
        finished = store.finish(task.id, None, completion(), agent="ada", within=store.close)
        assert finished.task.status == "completed"
        with pytest.raises(ClosedError):
            store.find_task(task.id, None)
        if store.url == "memory:":
            return
        again = open_store(clock)
        assert again.find_task(task.id, None).status == "completed"
        again.close()

    def test_what_raises_has_written_nothing(self, store, session_id):
        """Each refused operation leaves the store exactly as it was."""
        a, b = store.plan(session_id, [draft("a"), draft("b", parent="a")])
        store.claim(session_id, "ada", task_id=b.id, lease_s=60)
        not_json = completion(x={1})
        before = everything(store)
        for error, call in (
            (
                UnknownDependencyError,
                lambda: store.plan(session_id, [draft("c"), draft("d", parent="x")]),
            ),
            (NotReadyError, lambda: store.claim(session_id, "bob", task_id=a.id, lease_s=60)),
            (NotReadyError, lambda: store.finish(a.id, None, completion(), agent="x")),
            (LeaseLostError, lambda: store.finish(b.id, 7, completion(), agent="x")),
            (
                InvalidInputError,
                lambda: store.finish(b.id, 1, not_json, agent="x", artifacts=[artifact()]),
            ),
            (
                InvalidInputError,
                lambda: store.checkpoint(b.id, 1, {"x": object()}, lease_s=60),
            ),
            (InvalidInputError, lambda: store.update_task(b.id, {"priority": 2**63})),
            (TaskNotFoundError, lambda: store.cancel("t_missing", "", subtree=True)),
        ):
            with pytest.raises(error):
                call()
            assert everything(store) == before

    @pytest.mark.parametrize(
        "fields",
        [
            {"title": HALF_A_CHARACTER},
            {"description": HALF_A_CHARACTER},
            {"dependencies": (Dependency(HALF_A_CHARACTER),)},
            {"parent": HALF_A_CHARACTER},
            {"priority": 2**63},
            {"priority": -(2**64)},
            {"context": {"n": float("inf")}},
            {"context": {1: {2}}},
        ],
    )
    @pytest.mark.parametrize("others", [0, 100])
    def test_a_plan_that_no_file_can_hold_is_refused(self, store, session_id, fields, others):
        """Half a surrogate pair, a number beyond 63 bits, what JSON has no word for."""
        drafts = [TaskDraft(title="x")] * others
        drafts.append(TaskDraft(**{"title": "x"} | fields))
        before = everything(store)
        with pytest.raises((InvalidInputError, PlanError)):
            store.plan(session_id, drafts)
        assert everything(store) == before

    @pytest.mark.parametrize(
        "call",
        [
            lambda store, _, __: start_session(store, session_id=HALF_A_CHARACTER),
            lambda store, _, __: store.find_task(HALF_A_CHARACTER, HALF_A_CHARACTER),
            lambda store, _, __: store.tasks(TaskQuery(text=HALF_A_CHARACTER)),
            lambda store, _, __: store.tasks(TaskQuery(limit=2**70)),
            lambda store, session_id, _: store.claim(session_id, HALF_A_CHARACTER, lease_s=60),
            lambda store, session_id, _: store.ready(session_id, 2**70),
            lambda store, _, task_id: store.cancel(task_id, HALF_A_CHARACTER, subtree=True),
            lambda store, _, task_id: store.finish(
                task_id,
                None,
                Ending(action=NextAction.COMPLETE, summary=HALF_A_CHARACTER),
                agent="x",
            ),
        ],
    )
    def test_what_no_file_can_hold_is_refused(self, store, session_id, call):
        """It is refused as input wherever it comes in, and nothing is written."""
        task = store.plan(session_id, [draft("a")])[0]
        before = everything(store)
        with pytest.raises((InvalidInputError, PlanError)):
            call(store, session_id, task.id)
        assert everything(store) == before

    def test_a_nul_in_a_text_is_kept_or_refused(self, store, session_id):
        """A title with a NUL comes back as it was, or is refused as input with nothing written."""
        before = everything(store)
        try:
            task = store.plan(session_id, [TaskDraft(title="a\0b")])[0]
        except InvalidInputError:
            assert everything(store) == before
        else:
            assert store.find_task(task.id, None).title == "a\0b"
