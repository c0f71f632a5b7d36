"""The task graph: networkx behind the questions that are asked most."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import Outcome, Task, TaskStatus
from vespera_orchestrator._records import to_plain
from vespera_orchestrator._text import show_value, showing
from vespera_orchestrator.errors import InvalidInputError, TaskNotFoundError
from vespera_orchestrator.home.calls import explains_calls
from vespera_orchestrator.tasks import arguments, effort, graph_svg, lifecycle
from vespera_orchestrator.tasks.graph_layout import Edge

if TYPE_CHECKING:
    import networkx

_TITLE_WIDTH: Final = 60
"""How many characters of a title fit in a box."""
_COLOURS: Final = {
    TaskStatus.COMPLETED: ("#cfe8cf", "#123d12"),
    TaskStatus.IN_PROGRESS: ("#cfe0f7", "#0f2e57"),
    TaskStatus.BLOCKED: ("#f7d9c4", "#5c2a05"),
    TaskStatus.FAILED: ("#f3c6c6", "#5c0a0a"),
    TaskStatus.CANCELLED: ("#dddddd", "#333333"),
    TaskStatus.SKIPPED: ("#eeeeee", "#555555"),
    TaskStatus.PENDING: ("#fff7d6", "#4d3d00"),
}

_OUTCOME_WORDS: Final = {
    Outcome.SUCCESS: "",
    Outcome.FAILURE: "if {} fails",
    Outcome.DONE: "when {} has ended",
    Outcome.SKIPPED: "if {} is skipped",
    Outcome.CANCELLED: "if {} is cancelled",
    Outcome.BLOCKED: "if {} is blocked",
}
"""What a task waits for, in its box."""


@explains_calls
class TaskGraph:
    """The tasks of a session and what waits for what, as they were when it was made.

    An edge runs from what comes first to what comes after. Its attribute ``kind`` is ``dependency``
    (then ``on`` is the outcome, and ``condition`` the waiting task's condition if that governs the
    edge), ``part`` (a subtask and its parent) or ``recovery`` (an open recovery and the task it
    repairs).
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        import networkx

        self.nx: networkx.DiGraph[str] = networkx.DiGraph()
        """The graph itself, for everything else that networkx can do.

        Nodes are task ids with the attribute ``task``.
        """
        self._tasks = {task.id: task for task in tasks}
        self._ids = {task.alias: task.id for task in self._tasks.values()}
        self.nx.add_nodes_from((task.id, {"task": task}) for task in self._tasks.values())
        for task in self._tasks.values():
            self._add_edges(task)

    def _add_edges(self, task: Task) -> None:
        governed = frozenset(task.condition_names.values())
        for edge in task.dependencies:
            condition = task.condition if edge.task in governed else None
            self._add_edge(
                edge.task,
                task.id,
                kind="dependency",
                on=edge.on,
                condition=condition,
            )
        parent = task.parent_task_id
        if not self.nx.has_edge(task.id, parent):
            self._add_edge(task.id, parent, kind="part")
        broken = task.recovers_task_id
        if not task.status.is_terminal and not self.nx.has_edge(task.id, broken):
            self._add_edge(task.id, broken, kind="recovery")

    def _add_edge(
        self,
        before: str,
        after: str | None,
        *,
        kind: str,
        on: Outcome | None = None,
        condition: str | None = None,
    ) -> None:
        """Add the edge if both tasks are in the graph."""
        if before in self._tasks and after in self._tasks:
            self.nx.add_edge(
                before,
                after,
                kind=kind,
                on=on,
                condition=condition,
            )

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
        """Return the tasks in levels.

        The tasks of one level can run side by side once the levels before have ended.
        """
        import networkx

        levels = networkx.topological_generations(self.nx)
        return [[self._tasks[task_id] for task_id in level] for level in levels]

    def ancestors(self, ref: str | Task) -> list[Task]:
        """Return all tasks that come before, directly or not."""
        import networkx

        return self._in_order(networkx.ancestors(self.nx, self.task(ref).id))

    def descendants(self, ref: str | Task) -> list[Task]:
        """Return all tasks that come after, directly or not."""
        import networkx

        return self._in_order(networkx.descendants(self.nx, self.task(ref).id))

    def _in_order(self, task_ids: Container[str]) -> list[Task]:
        tasks = self._tasks.values()
        return [task for task in tasks if task.id in task_ids]

    def critical_path(self) -> list[Task]:
        """Return the longest chain of tasks that have not ended, by estimated effort.

        A task without an estimate counts one hour.
        """
        import networkx

        hours: dict[str, float] = {}
        previous: dict[str, str | None] = {}
        for task_id in networkx.topological_sort(self.nx):
            if not self._tasks[task_id].status.is_terminal:
                before = [other for other in self.nx.predecessors(task_id) if other in hours]
                longest = max(before, key=hours.__getitem__, default=None)
                previous[task_id] = longest
                hours[task_id] = self._hours(task_id)
                if longest is not None:
                    hours[task_id] += hours[longest]
        path: list[Task] = []
        current = max(hours, key=hours.__getitem__, default=None)
        while current is not None:
            path.append(self._tasks[current])
            current = previous[current]
        return path[::-1]

    def bottlenecks(self, limit: int = 5) -> list[tuple[Task, int]]:
        """Return the open tasks on which most depends, with how many open tasks each holds up.

        A task holds up another when *every* way to that one leads through it: the dominator tree of
        the open graph (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001, as
        networkx has it). Most first.
        """
        import networkx

        open_ids = [task.id for task in self._tasks.values() if not task.status.is_terminal]
        if not open_ids:
            return []
        graph = self.nx.subgraph(open_ids).copy()
        order = list(networkx.topological_sort(graph))
        root = object()  # equal to no id, not even to an empty one
        graph.add_edges_from([(root, task_id) for task_id in order if not graph.in_degree(task_id)])
        dominator = networkx.immediate_dominators(graph, root)
        count = dict.fromkeys([root, *order], 0)
        for task_id in reversed(order):
            count[dominator[task_id]] += count[task_id] + 1
        blocking = [task_id for task_id in order if count[task_id]]
        blocking.sort(key=count.__getitem__, reverse=True)
        return [(self._tasks[task_id], count[task_id]) for task_id in blocking[:limit]]

    def what_if(self, ref: str | Task, status: str | TaskStatus = TaskStatus.FAILED) -> list[Task]:
        """Return the tasks that would be skipped if this one ended like that; nothing is changed.

        Args:
            ref: The task.
            status: How it would end: ``failed``, ``cancelled``, ``skipped`` or ``completed``.
        """
        ends = [each for each in arguments.statuses("status", status) if each.is_terminal]
        if len(ends) != 1:
            allowed = "one of failed, cancelled, skipped, completed"
            raise InvalidInputError("status", f"{show_value(status)} is not an end; {allowed}")
        (end,) = ends
        task = self.task(ref)
        supposed = {task.id: attrs.evolve(task, status=end)}
        queue, skipped = deque(supposed), []
        parts = self._open_parts()
        while queue:
            current = queue.popleft()
            after = [
                task_id
                for task_id in self.nx.successors(current)
                if self._would_be_skipped(task_id, supposed)
            ]
            if supposed[current].status is TaskStatus.SKIPPED:
                after += parts[current]
            for task_id in after:
                if task_id not in supposed:
                    task = self._tasks[task_id]
                    supposed[task_id] = attrs.evolve(task, status=TaskStatus.SKIPPED)
                    queue.append(task_id)
                    skipped.append(task)
        return skipped

    def _open_parts(self) -> defaultdict[str, list[str]]:
        """Return what goes with each task when that is skipped: open parts, an open recovery."""
        parts = defaultdict(list)
        for task in self._tasks.values():
            whole_id = task.recovers_task_id or task.parent_task_id
            if whole_id is not None and not task.status.is_terminal:
                parts[whole_id].append(task.id)
        return parts

    def _would_be_skipped(self, task_id: str, supposed: dict[str, Task]) -> bool:
        task = self._tasks[task_id]
        if task.status is not TaskStatus.PENDING:
            return False
        needed = {edge.task: self._tasks[edge.task] for edge in task.dependencies}
        needed |= {other: supposed[other] for other in needed if other in supposed}
        return lifecycle.readiness(task, needed).impossible

    def _hours(self, task_id: str) -> float:
        task = self._tasks[task_id]
        return effort.effort_hours(task.estimated_effort)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Draw itself in notebooks: as SVG, which follows the theme; elsewhere as Mermaid."""
        return {
            "text/plain": repr(self),
            "text/html": self.to_svg(),
            "text/vnd.mermaid": self.to_mermaid(),
        }

    def to_svg(self, *, limit: int = 150) -> str:
        """Draw the graph as SVG, in the colour of the text around it.

        Args:
            limit: Most tasks to draw, as for `to_mermaid`.
        """
        drawn, hidden = self._chosen(limit)
        chosen = {task.id for task in drawn}
        edges = [
            _drawn_edge(before, after, edge)
            for before, after, edge in self._edges_between(chosen)
            if edge["kind"] != "part"
        ]
        return graph_svg.draw(drawn, edges, hidden=hidden)

    def _chosen(self, limit: int) -> tuple[list[Task], int]:
        """Return the tasks to draw, open ones first, and how many are left out."""
        current = [task for task in self._tasks.values() if not task.archived]
        open_first = sorted(current, key=lambda task: task.status.is_terminal)
        chosen = {task.id for task in open_first[: max(limit, 0)]}
        drawn = [task for task in self._tasks.values() if task.id in chosen]
        return drawn, len(current) - len(drawn)

    @showing
    def to_mermaid(self, *, direction: str = "TD", limit: int = 150) -> str:
        """Draw the graph as Mermaid text.

        Args:
            direction: ``TD`` (top down), ``LR``, ``BT`` or ``RL``.
            limit: Most tasks to draw. Those that have not ended come first, and the drawing says
                how many were left out.
        """
        if direction not in {"TD", "TB", "LR", "BT", "RL"}:
            problem = f"{show_value(direction)} is not one of TD, LR, BT, RL"
            raise InvalidInputError("direction", problem)
        drawn, hidden = self._chosen(limit)
        chosen = {task.id for task in drawn}
        node = {task.id: f"n{number}" for number, task in enumerate(drawn)}
        lines = [f"flowchart {direction}"]
        lines += [f'    {node[task.id]}["{_label(task)}"]:::{task.status}' for task in drawn]
        edges = [
            f"    {node[before]} {_arrow(edge)} {node[after]}"
            for before, after, edge in self._edges_between(chosen)
        ]
        lines += edges
        if hidden:
            lines.append(f'    more["… and {hidden} more tasks"]')
        lines += _class_lines({task.status for task in drawn})
        if edges:  # a grey that shows on light ground and on dark
            lines.append("    linkStyle default stroke:#888888")
        return "\n".join(lines)

    def _edges_between(self, task_ids: Container[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for before, after, edge in self.nx.edges(data=True):
            if before in task_ids and after in task_ids:
                yield before, after, edge

    @showing
    def to_dot(self) -> str:
        """Write the graph in Graphviz's DOT language."""
        lines = ["digraph tasks {", "  rankdir=TB;", "  node [shape=box, style=filled];"]
        for task in self._tasks.values():
            fill, ink = _COLOURS[task.status]
            node = _quote(task.id)
            label = _quote(f"{task.title}\n{_status_words(task.status)}")
            colours = f"fillcolor={_quote(fill)}, fontcolor={_quote(ink)}"
            lines.append(f"  {node} [label={label}, {colours}];")
        for before, after, edge in self.nx.edges(data=True):
            label = _quote(_edge_words(edge))
            style = "" if edge["kind"] == "dependency" else ", style=dashed"
            arrow = f"{_quote(before)} -> {_quote(after)}"
            lines.append(f"  {arrow} [label={label}{style}];")
        return "\n".join([*lines, "}"])

    def to_json(self) -> str:
        """Write the graph as JSON.

        ``tasks`` are records; ``edges`` have ``before``, ``after``, ``kind``, ``on`` and
        ``condition``.
        """
        edges = [
            {
                "before": before,
                "after": after,
                "kind": edge["kind"],
                "on": edge["on"] and str(edge["on"]),
                "condition": edge["condition"],
            }
            for before, after, edge in self.nx.edges(data=True)
        ]
        tasks = to_plain(list(self._tasks.values()))
        return dump_json({"version": 1, "tasks": tasks, "edges": edges}, "graph")


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_CODES: Final = str.maketrans({char: f"#{ord(char)};" for char in '#%&"<>`|\\'})


def _escape(text: str) -> str:
    flat = " ".join(text.split())
    return flat.translate(_CODES)


def _label(task: Task) -> str:
    title = task.title
    if len(title) > _TITLE_WIDTH:
        title = title[: _TITLE_WIDTH - 1] + "…"
    return f"{_escape(title)}<br/>{_status_words(task.status)}"


def _status_words(status: TaskStatus) -> str:
    return status.replace("_", " ")


def _class_lines(statuses: Container[TaskStatus]) -> list[str]:
    return [
        f"    classDef {status} fill:{fill},color:{ink},stroke:{ink}"
        for status, (fill, ink) in _COLOURS.items()
        if status in statuses
    ]


def _edge_words(edge: dict[str, Any]) -> str:
    """Say what an edge waits for; nothing when it is success."""
    if edge["kind"] != "dependency":
        return {"part": "part of", "recovery": "repairs"}[edge["kind"]]
    if edge["condition"] is not None:
        return f"if {edge['condition']}"
    return "" if edge["on"] is Outcome.SUCCESS else f"on {edge['on']}"


def _drawn_edge(before: str, after: str, edge: dict[str, Any]) -> Edge:
    """Return an edge as it is drawn; its condition stands in the box of the task that waits."""
    is_governed = edge["condition"] is not None
    words = "repairs {}" if edge["kind"] == "recovery" else _OUTCOME_WORDS[edge["on"]]
    return Edge(
        before=before,
        after=after,
        words="" if is_governed else words,
        is_dashed=bool(words) or is_governed,
    )


def _arrow(edge: dict[str, Any]) -> str:
    line = "-->" if edge["kind"] == "dependency" else "-.->"
    words = _edge_words(edge)
    return f'{line}|"{_escape(words)}"|' if words else line
