"""Levels and critical path of a whole graph, beside networkx doing nothing but that."""

from __future__ import annotations

import random
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import networkx

import vespera_orchestrator as vespera
from by_hand import ByHand, new_store
from measure import Cost, Row, Scale, alternate, metered, say
from vespera_orchestrator._model import Dependency, Task, TaskStatus, utcnow
from vespera_orchestrator.tasks.graph import TaskGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

_EFFORTS = (("30 min", 0.5), ("2 hours", 2.0), ("1 day", 8.0), (None, 1.0))
"""Estimates as people write them, and the hours they mean."""


def rows(scale: Scale) -> list[Row]:
    sizes = [500, 1000] if scale.quick else [10_000, 100_000]
    table = []
    for size in sizes:
        at_most = 1.5 if size == sizes[-1] else None
        table.append(_in_memory(size, at_most))
        table.append(_from_the_store(scale, size))
    return table


def _in_memory(size: int, at_most: float | None) -> Row:
    tasks, plain = _plan(size)
    costs = alternate(3, ours=partial(_ours, tasks), networkx=partial(_networkx, plain))
    label = f"build, levels, critical path of {size:,} tasks"
    return Row.of(label, costs["ours"], "networkx alone", costs["networkx"], at_most=at_most)


def _plan(size: int) -> tuple[list[Task], list[tuple[str, list[str], float]]]:
    """Make tasks that each wait for three of the thousand before, and the same as plain ids."""
    choice, now = random.Random(11), utcnow()
    values: dict[str, Any] = (
        dict.fromkeys(attrs.fields_dict(Task)) | _COMMON | {"created_at": now, "updated_at": now}
    )
    first = Task(**values)
    tasks, plain = [], []
    for number in range(size):
        needs = []
        if number:
            nearest = max(0, number - 1000)
            drawn = {choice.randrange(nearest, number) for _ in range(3)}
            needs = [f"t_{other}" for other in drawn]
        text, hours = _EFFORTS[number % 4]
        edges = tuple(Dependency(other) for other in needs)
        tasks.append(
            attrs.evolve(
                first,
                id=f"t_{number}",
                alias=f"task_{number}",
                dependencies=edges,
                estimated_effort=text,
            )
        )
        plain.append((f"t_{number}", needs, hours))
    return tasks, plain


_COMMON = {
    "session_id": "s",
    "title": "A task",
    "description": "",
    "status": TaskStatus.PENDING,
    "task_type": "standard",
    "complexity": "moderate",
    "condition_names": {},
    "context": {},
    "outputs": {},
    "priority": 0,
    "attempts": 0,
    "failures": 0,
    "max_attempts": 3,
    "was_blocked": False,
    "blockers": 0,
    "archived": False,
}


def _ours(tasks: Sequence[Task]) -> Cost:
    with metered() as meter:
        graph = TaskGraph(tasks)
        graph.levels()
        graph.critical_path()
    return meter.per(1)


def _networkx(plain: Sequence[tuple[str, list[str], float]]) -> Cost:
    with metered() as meter:
        graph = networkx.DiGraph()
        graph.add_nodes_from(task_id for task_id, _, _ in plain)
        hours = {task_id: weight for task_id, _, weight in plain}
        graph.add_edges_from(
            (other, task_id, {"weight": hours[other]})
            for task_id, needs, _ in plain
            for other in needs
        )
        list(networkx.topological_generations(graph))
        networkx.dag_longest_path(graph)
    return meter.per(1)


def _from_the_store(scale: Scale, size: int) -> Row:
    """Measure what callers pay: the tasks are read first."""
    folder = scale.folder / str(size)
    path = folder / ".task_orchestrator" / "orchestrator.db"
    path.parent.mkdir(parents=True)
    new_store(path)
    by_hand = ByHand(path)
    start = time.perf_counter()
    by_hand.fill(size)
    took_s = time.perf_counter() - start
    say(f"{size:,} tasks put in, {took_s:.1f} s")
    with vespera.open(folder) as orch, closing(by_hand):
        orch.resume_session(orch.list_sessions()[0])
        costs = alternate(
            2, ours=lambda: _read_and_analyse(orch), hand=lambda: _read_by_hand(by_hand)
        )
    label = f"read from the store, build, levels, critical path of {size:,} tasks"
    return Row.of(label, costs["ours"], "two SELECTs and networkx", costs["hand"])


def _read_and_analyse(orch: vespera.Orchestrator) -> Cost:
    with metered() as meter:
        graph = orch.graph()
        graph.levels()
        graph.critical_path()
    return meter.per(1)


def _read_by_hand(floor: ByHand) -> Cost:
    with metered() as meter:
        statuses = "SELECT id, status FROM tasks WHERE session_id = ?"
        status = dict(floor.db.execute(statuses, (floor.session_id,)))
        graph = networkx.DiGraph()
        graph.add_nodes_from(status)
        edges = floor.db.execute("SELECT needs_id, task_id FROM dependencies")
        graph.add_edges_from(edges, weight=1.0)
        list(networkx.topological_generations(graph))
        pending = [task_id for task_id, word in status.items() if word == "pending"]
        networkx.dag_longest_path(graph.subgraph(pending))
    return meter.per(1)
