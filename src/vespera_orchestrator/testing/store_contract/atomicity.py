"""All or nothing: what is refused, or raises, has written nothing."""

from __future__ import annotations

import pytest

from vespera_orchestrator._model import Dependency, Ending, NextAction, TaskDraft, TaskQuery
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    NotReadyError,
    PlanError,
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
