"""Taking the best ready task that fits."""

from __future__ import annotations

import pytest

from vespera_orchestrator.errors import InvalidInputError, NothingReadyError
from vespera_orchestrator.orchestrator import Orchestrator


@pytest.fixture
def orch(tmp_path):
    """A session with tasks of several kinds."""
    with Orchestrator.open(tmp_path, store="memory:", home=tmp_path / "home") as orch:
        orch.initialize_session("a kitchen")
        orch.plan_tasks(
            [
                {"title": "Top", "children": [{"title": "Two"}, {"title": "Deep", "priority": 1}]},
                {"title": "Bug", "task_type": "bugfix", "priority": 5},
                {"title": "Test it", "alias": "x_test", "specialist_type": "tester"},
                {"title": "Test more", "specialist_type": "tester", "priority": 2},
            ]
        )
        yield orch


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"specialist_type": "tester"}, ["test_more", "x_test"]),
        ({"task_type": "bugfix"}, ["bug"]),
        ({"parent_task_id": "top"}, ["deep", "two"]),
        ({"alias_prefix": "x_"}, ["x_test"]),
        ({"specialist_type": "tester", "alias_prefix": "t"}, ["test_more"]),
    ],
)
def test_the_best_that_fits_is_taken(orch, wanted, expected):
    """In the order of ready tasks, and nothing else."""
    for alias in expected:
        assert orch.execute_task(despite_pressure=True, **wanted).task.alias == alias
    with pytest.raises(NothingReadyError):
        orch.execute_task(despite_pressure=True, **wanted)


def test_the_recovery_of_the_whole_belongs_to_it(orch):
    """Where its work failed, nothing below it goes on without that."""
    for alias in ("deep", "two"):
        orch.complete_task(alias, summary="s", detailed_work="d")
    orch.execute_task("top").fail("boom")
    with pytest.raises(NothingReadyError):
        orch.execute_task(parent_task_id="top", task_type="bugfix")
    assert orch.execute_task(parent_task_id="top").task.alias == "recover_top"


def test_a_task_is_named_or_described(orch):
    """Both at once is a mistake, and nothing is taken."""
    with pytest.raises(InvalidInputError, match="not both"):
        orch.execute_task("bug", task_type="bugfix")
    assert not orch.query_tasks(status="in_progress")
