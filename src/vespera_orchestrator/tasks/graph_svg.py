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
_ENDED: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELLED, TaskStatus.SKIPPED})
"""What has ended steps back."""
_ENDED_OPACITY: Final = "0.7"
"""With it, text of JupyterLab's own colour has a contrast of 4.5 on either ground (WCAG 1.4.3)."""
_LABEL_HEIGHT: Final = 12
_LETTER_WIDTH: Final = 6
"""About how wide a letter of a label is."""
_LABEL_SPOTS: Final = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8)
"""Where along a line its label may stand, the best spot first."""
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
    labels = _labels(edges, places)
    gaps = f"vespera-gaps-{arrow[-12:]}" if labels else ""
    lines = [_line(edge, places, arrow, gaps) for edge in edges]
    boxes = [_box(task, places[task.id]) for task in tasks]
    body = "".join([*lines, *map(_written, labels), *boxes, note])
    if labels:
        body = _with_gaps(gaps, labels, width, height) + body
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
    opacity = _ENDED_OPACITY if task.status in _ENDED else "1"
    return (
        f'<g opacity="{opacity}"><title>{escape(task.alias)}: {title}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="none" stroke="currentColor" stroke-width="{heavy}"/>'
        f'<text x="{place.x:g}" y="{y + 19:g}" text-anchor="middle" font-weight="bold">'
        f"{escape(one_line(task.title, _LETTERS))}</text>"
        f'<text x="{place.x:g}" y="{y + 36:g}" text-anchor="middle">'
        f"{_SIGNS[task.status]} {escape(state)}</text></g>"
    )


def _curve(edge: Edge, places: Mapping[str, _Place]) -> tuple[_Place, _Place, _Place, _Place]:
    """Return the four points of the curve between two boxes."""
    start, end = places[edge.before], places[edge.after]
    top, bottom = start.y + HEIGHT, end.y
    bend = (bottom - top) / 2
    return (
        _Place(x=start.x, y=top),
        _Place(x=start.x, y=top + bend),
        _Place(x=end.x, y=bottom - bend),
        _Place(x=end.x, y=bottom),
    )


def _line(edge: Edge, places: Mapping[str, _Place], arrow: str, gaps: str) -> str:
    first, second, third, last = _curve(edge, places)
    path = (
        f"M{first.x:g} {first.y:g} C{second.x:g} {second.y:g} "
        f"{third.x:g} {third.y:g} {last.x:g} {last.y:g}"
    )
    dashes = ' stroke-dasharray="5 4"' if edge.is_dashed else ""
    clip = f' clip-path="url(#{gaps})"' if gaps else ""
    return (
        f'<path d="{path}" fill="none" stroke="currentColor" opacity="0.7"{dashes}{clip} '
        f'marker-end="url(#{arrow})"/>'
    )


# --- what a line waits for ---------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Area:
    """A rectangle: the upper left corner, and how large it is."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: _Area) -> bool:
        is_beside = self.x + self.width <= other.x or other.x + other.width <= self.x
        is_below = self.y + self.height <= other.y or other.y + other.height <= self.y
        return not (is_beside or is_below)


@attrs.frozen(kw_only=True)
class _Label:
    """Words on a line, which has a gap there."""

    words: str
    area: _Area


def _labels(edges: Sequence[Edge], places: Mapping[str, _Place]) -> list[_Label]:
    """Put each label on its own line, where it covers no box and no other label if possible."""
    taken = [
        _Area(x=place.x - WIDTH / 2, y=place.y, width=WIDTH, height=HEIGHT)
        for place in places.values()
    ]
    labels = []
    for edge in edges:
        if not edge.words:
            continue
        words = one_line(edge.words, 30)
        spots = [_area_at(spot, edge, places, len(words)) for spot in _LABEL_SPOTS]
        free = [area for area in spots if not any(map(area.overlaps, taken))]
        area = free[0] if free else spots[0]
        taken.append(area)
        labels.append(_Label(words=words, area=area))
    return labels


def _area_at(spot: float, edge: Edge, places: Mapping[str, _Place], letters: int) -> _Area:
    """Return the room of a label, with its middle on the curve: a spot between 0 and 1 along it."""
    rest = 1 - spot
    weights = (rest**3, 3 * rest**2 * spot, 3 * rest * spot**2, spot**3)
    points = _curve(edge, places)
    x = sum(weight * point.x for weight, point in zip(weights, points, strict=True))
    y = sum(weight * point.y for weight, point in zip(weights, points, strict=True))
    width = (letters + 1) * _LETTER_WIDTH
    return _Area(x=x - width / 2, y=y - _LABEL_HEIGHT / 2, width=width, height=_LABEL_HEIGHT)


def _with_gaps(name: str, labels: Sequence[_Label], width: float, height: float) -> str:
    """Return the whole picture but the labels: where lines may be drawn, on any ground."""
    path = f"M0 0H{width:g}V{height:g}H0z"
    for area in (label.area for label in labels):
        path += f"M{area.x:g} {area.y:g}h{area.width:g}v{area.height:g}h{-area.width:g}z"
    return f'<defs><clipPath id="{name}"><path clip-rule="evenodd" d="{path}"/></clipPath></defs>'


def _written(label: _Label) -> str:
    area = label.area
    x, y = area.x + area.width / 2, area.y + area.height - 3
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="10" text-anchor="middle">'
        f"{escape(label.words)}</text>"
    )
