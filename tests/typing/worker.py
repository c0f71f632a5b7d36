"""The loop that docs/running.md shows for workers of one's own, word for word."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import vespera_orchestrator as vespera

Do = Callable[[vespera.Work], object]


def worker(orch: vespera.Orchestrator, do: Do) -> vespera.NextStep | None:
    while True:
        news = orch.watch(timeout_s=60)  # from here on, so that nothing is missed
        try:
            work = orch.execute_task()
        except vespera.NothingReadyError as nothing:
            if nothing.next_step is None or nothing.next_step.action != "wait":
                return nothing.next_step
            next(news, None)
            continue
        with suppress(Exception), work:  # a failure is kept with its task, which is blocked
            do(work)
