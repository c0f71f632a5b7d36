"""The task graph as a drawing in SVG, made here: no program of the system, no network.

Lines and texts have the colour of the text around them, and boxes are not filled: so the drawing
follows a notebook's theme. The state of a task is told by a sign and a word, not by colour alone.
"""

from __future__ import annotations

import hashlib
from html import escape
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vespera_orchestrator._model import Task

WIDTH: Final = 190
HEIGHT: Final = 46
_GAP_X: Final = 26
_GAP_Y: Final = 44
_MARGIN: Final = 12
_LETTERS: Final = 26
"""How many letters of a title fit in a box."""
_SWEEPS: Final = 4
"""How often the order within the rows is improved."""

_SIGNS: Final = {
    TaskStatus.PENDING: "○",
    TaskStatus.IN_PROGRESS: "▶",
    TaskStatus.BLOCKED: "■",
    TaskStatus.COMPLETED: "✓",
    TaskStatus.FAILED: "✗",
    TaskStatus.CANCELLED: "⊘",
    TaskStatus.SKIPPED: "»",
}
_OPACITY: Final = {
    TaskStatus.COMPLETED: "0.65",
    TaskStatus.CANCELLED: "0.5",
    TaskStatus.SKIPPED: "0.5",
}
"""What has ended steps back; it remains readable on either ground."""
_HEAVY: Final = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED})


@attrs.frozen(kw_only=True)
class Edge:
    """A line from one task to another."""

    before: str
    after: str
    words: str
    """What it waits for; empty for success."""
    is_dashed: bool


@attrs.frozen(kw_only=True)
class _Place:
    """Where a task's box is: the middle of its upper side."""

    x: float
    y: float


def draw(tasks: Sequence[Task], edges: Sequence[Edge], *, hidden: int = 0) -> str:
    """Return the drawing, from top to bottom in the order in which things can be done.

    Args:
        tasks: What to draw.
        edges: The lines between them.
        hidden: How many more tasks there are; the drawing says so.
    """
    if not tasks:
        return "<svg></svg>"
    rows = _ordered(_rows(tasks, edges), edges)
    places = _places(rows)
    widest = max(len(row) for row in rows)
    width = widest * (WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    height = len(rows) * (HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    note = ""
    if hidden:
        height += 20
        note = f'<text x="{_MARGIN}" y="{height - 8}">… and {hidden} more tasks</text>'
    # The arrow's name is the drawing's own: a page may hold several, and hide the first.
    everything = "".join(places).encode()
    arrow = f"vespera-arrow-{hashlib.sha256(everything).hexdigest()[:12]}"
    lines = [_line(edge, places, arrow) for edge in edges]
    boxes = [_box(task, places[task.id]) for task in tasks]
    body = "".join([*lines, *boxes, note])
    return _frame(body, arrow, width, height, len(tasks))


def _frame(body: str, arrow: str, width: float, height: float, count: int) -> str:
    style = "max-width:100%;height:auto;font:12px sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="Task graph with {count} tasks" style="{style}" '
        'fill="currentColor" stroke="none">'
        f'<defs><marker id="{arrow}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        f"{body}</svg>"
    )


# --- where things go -------------------------------------------------------------


def _rows(tasks: Sequence[Task], edges: Sequence[Edge]) -> list[list[str]]:
    """Put each task in the row below everything that comes before it."""
    before: dict[str, list[str]] = {task.id: [] for task in tasks}
    waiting: dict[str, int] = dict.fromkeys(before, 0)
    after: dict[str, list[str]] = {task.id: [] for task in tasks}
    for edge in edges:
        before[edge.after].append(edge.before)
        after[edge.before].append(edge.after)
        waiting[edge.after] += 1
    depth: dict[str, int] = {}
    queue = [task_id for task_id, count in waiting.items() if not count]
    for task_id in queue:  # grows while it is read
        depth[task_id] = max((depth[each] + 1 for each in before[task_id]), default=0)
        for each in after[task_id]:
            waiting[each] -= 1
            if not waiting[each]:
                queue.append(each)
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for task in tasks:
        rows[depth[task.id]].append(task.id)
    return rows


def _ordered(rows: list[list[str]], edges: Sequence[Edge]) -> list[list[str]]:
    """Move tasks within their rows towards the middle of their neighbours: fewer lines cross.

    The barycenter method of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of
    Hierarchical System Structures", 1981.
    """
    neighbours: dict[str, list[str]] = {task_id: [] for row in rows for task_id in row}
    for edge in edges:
        neighbours[edge.after].append(edge.before)
        neighbours[edge.before].append(edge.after)
    position = {task_id: float(x) for row in rows for x, task_id in enumerate(row)}

    def middle(task_id: str) -> float:
        near = neighbours[task_id]
        if not near:
            return position[task_id]
        return sum(position[each] for each in near) / len(near)

    for _ in range(_SWEEPS):
        for row in rows:
            row.sort(key=middle)
            position.update({task_id: float(x) for x, task_id in enumerate(row)})
    return rows


def _places(rows: list[list[str]]) -> dict[str, _Place]:
    step = WIDTH + _GAP_X
    widest = max(len(row) for row in rows)
    places = {}
    for number, row in enumerate(rows):
        left = _MARGIN + (widest - len(row)) * step / 2
        y = _MARGIN + number * (HEIGHT + _GAP_Y)
        for column, task_id in enumerate(row):
            places[task_id] = _Place(x=left + column * step + WIDTH / 2, y=y)
    return places


# --- drawing ---------------------------------------------------------------------


def _box(task: Task, place: _Place) -> str:
    state = task.status.replace("_", " ")
    x, y = place.x - WIDTH / 2, place.y
    heavy = 2.5 if task.status in _HEAVY else 1
    title = escape(one_line(task.title, 200))
    opacity = _OPACITY.get(task.status, "1")
    return (
        f'<g opacity="{opacity}"><title>{escape(task.alias)}: {title}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="none" stroke="currentColor" stroke-width="{heavy}"/>'
        f'<text x="{place.x:g}" y="{y + 19:g}" text-anchor="middle" font-weight="bold">'
        f"{escape(one_line(task.title, _LETTERS))}</text>"
        f'<text x="{place.x:g}" y="{y + 36:g}" text-anchor="middle">'
        f"{_SIGNS[task.status]} {escape(state)}</text></g>"
    )


def _line(edge: Edge, places: Mapping[str, _Place], arrow: str) -> str:
    start, end = places[edge.before], places[edge.after]
    top, bottom = start.y + HEIGHT, end.y
    bend = (bottom - top) / 2
    path = (
        f"M{start.x:g} {top:g} C{start.x:g} {top + bend:g} "
        f"{end.x:g} {bottom - bend:g} {end.x:g} {bottom:g}"
    )
    dashes = ' stroke-dasharray="5 4"' if edge.is_dashed else ""
    line = (
        f'<path d="{path}" fill="none" stroke="currentColor" opacity="0.7"{dashes} '
        f'marker-end="url(#{arrow})"/>'
    )
    if not edge.words:
        return line
    x, y = (start.x + end.x) / 2, (top + bottom) / 2
    words = escape(one_line(edge.words, 30))
    return f'{line}<text x="{x + 4:g}" y="{y:g}" font-size="10">{words}</text>'
