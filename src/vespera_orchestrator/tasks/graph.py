"""The task graph: networkx behind the questions that are asked most."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from vespera_orchestrator._codec import dump_json, to_plain
from vespera_orchestrator._model import Outcome, Task, TaskStatus
from vespera_orchestrator.errors import InvalidInputError, TaskNotFoundError
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    import networkx

_COLOURS: Final = {
    TaskStatus.COMPLETED: ("#cfe8cf", "#123d12"),
    TaskStatus.IN_PROGRESS: ("#cfe0f7", "#0f2e57"),
    TaskStatus.BLOCKED: ("#f7d9c4", "#5c2a05"),
    TaskStatus.FAILED: ("#f3c6c6", "#5c0a0a"),
    TaskStatus.CANCELLED: ("#dddddd", "#333333"),
    TaskStatus.SKIPPED: ("#eeeeee", "#555555"),
    TaskStatus.PENDING: ("#fff7d6", "#4d3d00"),
}


class TaskGraph:
    """The tasks of a session and what waits for what, as they were when it was made.

    An edge runs from what comes first to what comes after. Its attribute ``kind`` is ``dependency`` (then ``on`` is the outcome, and
    ``condition`` the waiting task's condition if that governs the edge), ``part`` (a subtask and its parent) or ``recovery`` (an open
    recovery and the task it repairs).
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        import networkx

        self.nx: networkx.DiGraph[str] = networkx.DiGraph()
        """The graph itself, for everything else networkx can do. Nodes are task ids with the attribute ``task``."""
        self._tasks = {task.id: task for task in tasks}
        self._ids = {task.alias: task.id for task in self._tasks.values()}
        self.nx.add_nodes_from((task.id, {"task": task}) for task in self._tasks.values())
        for task in self._tasks.values():
            self._add_edges(task)

    def _add_edges(self, task: Task) -> None:
        governed = frozenset(task.condition_names.values())
        for edge in task.dependencies:
            if edge.task in self._tasks:
                condition = task.condition if edge.task in governed else None
                self.nx.add_edge(
                    edge.task, task.id, kind="dependency", on=edge.on, condition=condition
                )
        parent = task.parent_task_id
        if parent in self._tasks and not self.nx.has_edge(task.id, parent):
            self.nx.add_edge(task.id, parent, kind="part", on=None, condition=None)
        broken = task.recovers_task_id
        if (
            broken in self._tasks
            and not task.status.is_terminal
            and not self.nx.has_edge(task.id, broken)
        ):
            self.nx.add_edge(task.id, broken, kind="recovery", on=None, condition=None)

    def __repr__(self) -> str:
        return f"<TaskGraph of {len(self)} tasks; .levels(), .critical_path(), .to_mermaid(), .nx>"

    def __len__(self) -> int:
        return len(self._tasks)

    def task(self, ref: str | Task) -> Task:
        """Return the task with this id or alias.

        Raises:
            TaskNotFoundError: It is not in the graph.
        """
        key = ref.id if isinstance(ref, Task) else self._ids.get(ref, ref)
        if key not in self._tasks:
            raise TaskNotFoundError(str(ref))
        return self._tasks[key]

    def levels(self) -> list[list[Task]]:
        """Return the tasks in levels: those of one level can run side by side once the levels before have ended."""
        import networkx

        return [
            [self._tasks[task_id] for task_id in level]
            for level in networkx.topological_generations(self.nx)
        ]

    def ancestors(self, ref: str | Task) -> list[Task]:
        """Return all tasks that come before, directly or not."""
        import networkx

        found = networkx.ancestors(self.nx, self.task(ref).id)
        return [task for task in self._tasks.values() if task.id in found]

    def descendants(self, ref: str | Task) -> list[Task]:
        """Return all tasks that come after, directly or not."""
        import networkx

        found = networkx.descendants(self.nx, self.task(ref).id)
        return [task for task in self._tasks.values() if task.id in found]

    def critical_path(self) -> list[Task]:
        """Return the longest chain of tasks that have not ended, by estimated effort; a task without an estimate counts one hour."""
        import networkx

        longest: dict[str, float] = {}
        before: dict[str, str | None] = {}
        for task_id in networkx.topological_sort(self.nx):
            if not self._tasks[task_id].status.is_terminal:
                ways = [other for other in self.nx.predecessors(task_id) if other in longest]
                before[task_id] = max(ways, key=longest.__getitem__, default=None)
                longest[task_id] = self._hours(task_id) + max(
                    (longest[way] for way in ways), default=0.0
                )
        path: list[Task] = []
        at = max(longest, key=longest.__getitem__, default=None)
        while at is not None:
            path.append(self._tasks[at])
            at = before[at]
        return path[::-1]

    def bottlenecks(self, limit: int = 5) -> list[tuple[Task, int]]:
        """Return the open tasks that most depends on, each with how many open tasks cannot end before it, most first.

        A task counts for another when *every* way to it leads through the first: the dominator tree of the open graph (Cooper, Harvey
        and Kennedy, "A Simple, Fast Dominance Algorithm", 2001, as networkx has it).
        """
        import networkx

        rest = self.nx.subgraph(
            [task.id for task in self._tasks.values() if not task.status.is_terminal]
        ).copy()
        order = list(networkx.topological_sort(rest))
        rest.add_edges_from([("", task_id) for task_id in order if not rest.in_degree(task_id)])
        above = networkx.immediate_dominators(rest, "") if order else {}
        held = dict.fromkeys(order, 0)
        for task_id in reversed(order):
            if above[task_id]:
                held[above[task_id]] += held[task_id] + 1
        found = sorted(
            (task_id for task_id in order if held[task_id]), key=lambda task_id: -held[task_id]
        )
        return [(self._tasks[task_id], held[task_id]) for task_id in found[:limit]]

    def what_if(self, ref: str | Task, status: str | TaskStatus = TaskStatus.FAILED) -> list[Task]:
        """Return the tasks that would be skipped if this one ended like that; nothing is changed.

        Args:
            ref: The task.
            status: How it would end: ``failed``, ``cancelled``, ``skipped`` or ``completed``.
        """
        end = TaskStatus(status)
        if not end.is_terminal:
            raise InvalidInputError(
                "status", f"{status!r} is no end; one of failed, cancelled, skipped, completed"
            )
        supposed = {self.task(ref).id: attrs.evolve(self.task(ref), status=end)}
        queue, skipped = deque(supposed), []
        while queue:
            for after in self.nx.successors(queue.popleft()):
                task = self._tasks[after]
                if (
                    after in supposed
                    or task.status is not TaskStatus.PENDING
                    or not self._would_be_skipped(task, supposed)
                ):
                    continue
                supposed[after] = attrs.evolve(task, status=TaskStatus.SKIPPED)
                queue.append(after)
                skipped.append(task)
        return skipped

    def _would_be_skipped(self, task: Task, supposed: dict[str, Task]) -> bool:
        needed = {
            edge.task: supposed.get(edge.task) or self._tasks[edge.task]
            for edge in task.dependencies
        }
        return lifecycle.readiness(task, needed).impossible

    def _hours(self, task_id: str) -> float:
        return lifecycle.effort_hours(self._tasks[task_id].estimated_effort)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Draw itself in notebooks: JupyterLab renders Mermaid by itself, from version 4.1 on."""
        return {"text/plain": repr(self), "text/vnd.mermaid": self.to_mermaid()}

    def to_mermaid(self, *, direction: str = "TD", limit: int = 150) -> str:
        """Draw the graph as Mermaid text.

        Args:
            direction: ``TD`` (top down), ``LR``, ``BT`` or ``RL``.
            limit: Most tasks to draw; those that have not ended come first, and the drawing says how many were left out.
        """
        if direction not in {"TD", "TB", "LR", "BT", "RL"}:
            raise InvalidInputError("direction", f"{direction!r} is none of TD, LR, BT, RL")
        order = sorted(
            (task for task in self._tasks.values() if not task.archived),
            key=lambda task: task.status.is_terminal,
        )
        chosen = {task.id for task in order[: max(limit, 0)]}
        shown = {
            task_id: f"n{number}"
            for number, task_id in enumerate(t for t in self._tasks if t in chosen)
        }
        lines = [f"flowchart {direction}"]
        lines += [
            f'    {name}["{_label(self._tasks[task_id])}"]:::{self._tasks[task_id].status}'
            for task_id, name in shown.items()
        ]
        edges = [
            f"    {shown[a]} {_arrow(data)} {shown[b]}"
            for a, b, data in self.nx.edges(data=True)
            if a in shown and b in shown
        ]
        lines += edges
        if len(shown) < len(order):
            lines.append(f'    more["… and {len(order) - len(shown)} more tasks"]')
        used = {self._tasks[task_id].status for task_id in shown}
        lines += [
            f"    classDef {status} fill:{fill},color:{ink},stroke:{ink}"
            for status, (fill, ink) in _COLOURS.items()
            if status in used
        ]
        if edges:
            lines.append("    linkStyle default stroke:#888888")  # seen on light ground and on dark
        return "\n".join(lines)

    def to_dot(self) -> str:
        """Write the graph in Graphviz's DOT language."""
        lines = ["digraph tasks {", "  rankdir=TB;", "  node [shape=box, style=filled];"]
        for task in self._tasks.values():
            fill, ink = _COLOURS[task.status]
            label = f"{task.title}\n{task.status.replace('_', ' ')}"
            lines.append(
                f"  {_quote(task.id)} [label={_quote(label)}, fillcolor={_quote(fill)}, fontcolor={_quote(ink)}];"
            )
        for before, after, data in self.nx.edges(data=True):
            style = "" if data["kind"] == "dependency" else ", style=dashed"
            lines.append(
                f"  {_quote(before)} -> {_quote(after)} [label={_quote(_words(data))}{style}];"
            )
        return "\n".join([*lines, "}"])

    def to_json(self) -> str:
        """Write the graph as JSON: ``tasks`` as records, ``edges`` with ``before``, ``after``, ``kind``, ``on`` and ``condition``."""
        edges = [
            {
                "before": a,
                "after": b,
                "kind": d["kind"],
                "on": d["on"] and str(d["on"]),
                "condition": d["condition"],
            }
            for a, b, d in self.nx.edges(data=True)
        ]
        return dump_json(
            {"version": 1, "tasks": to_plain(list(self._tasks.values())), "edges": edges}, "graph"
        )


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_CODES: Final = str.maketrans({char: f"#{ord(char)};" for char in '#%&"<>`|\\'})


def _escape(text: str) -> str:
    return " ".join(text.split()).translate(_CODES)


def _label(task: Task) -> str:
    title = task.title if len(task.title) <= 60 else task.title[:59] + "…"  # noqa: PLR2004 - what fits a box
    return f"{_escape(title)}<br/>{task.status.replace('_', ' ')}"


def _words(data: dict[str, Any]) -> str:
    """Say on an edge what it waits for; nothing when it is success."""
    if data["kind"] != "dependency":
        return {"part": "part of", "recovery": "repairs"}[data["kind"]]
    if data["condition"] is not None:
        return f"if {data['condition']}"
    return "" if data["on"] is Outcome.SUCCESS else f"on {data['on']}"


def _arrow(data: dict[str, Any]) -> str:
    line = "-->" if data["kind"] == "dependency" else "-.->"
    words = _words(data)
    return f'{line}|"{_escape(words)}"|' if words else line
