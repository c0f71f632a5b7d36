"""A graph on Dask: several processes, the PostgreSQL store, and a worker that is killed."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support import run_handlers

distributed = pytest.importorskip("distributed")


@pytest.mark.soak
@pytest.mark.filterwarnings("default")  # Dask's own, while it replaces a worker
def test_a_killed_worker_is_replaced_and_goes_on_under_the_same_attempt(tmp_path, own_server):
    """Dask calls the function again elsewhere, and it resumes at its checkpoint. No lease expires,
    and no task is started twice.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(run_handlers)
    options = {"processes": True, "n_workers": 2, "threads_per_worker": 1}
    with (
        distributed.LocalCluster(**options, dashboard_address=None) as cluster,
        cluster.get_client() as client,
        vespera.open(tmp_path, store=own_server.url) as orch,
    ):
        orch.initialize_session("Dask")
        orch.plan_tasks([{"title": "Killer"}, {"title": "After", "dependencies": ["killer"]}])
        handlers = {"killer": run_handlers.save_and_die, "*": run_handlers.tell_process}
        executor = client.get_executor(pure=False)
        report = orch.run(handlers, executor=executor, max_parallel=2)
        kinds = [event.kind for event in orch.watch(0, timeout_s=0)]
        assert report, report
        assert orch.get_task("killer").outputs == {"resumed": {"step": 1}}
    assert kinds.count("task_started") == 2
    assert "lease_expired" not in kinds
