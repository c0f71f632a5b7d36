"""Where the boxes and lines of a drawn task graph go. Pure.

A task with subtasks is a frame around them. Rows hold a few boxes, so that a page is wide enough.
Lines run in the gaps between rows and, past a row, between its boxes: never behind one. What would
need a longer line is a *reference*, in words, at the task that waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import Final

from vespera_orchestrator import _attrs as attrs

BOX_WIDTH: Final = 200.0
LINE_HEIGHT: Final = 13.0
"""Of one note in a box."""
_BOX_HEIGHT: Final = 46.0
"""Of a box without notes."""
_HEADER: Final = 44.0
"""So high is what a frame says above its subtasks."""
_PADDING: Final = 12.0
_GAP_X: Final = 26.0
_GAP_Y: Final = 40.0
"""Between rows: the room for lines."""
_BLOCK_GAP: Final = 22.0
"""Between what no line connects."""
_LANE: Final = 12.0
"""The width of a line that passes a row."""
_ROW_BOXES: Final = 4
_ROW_WIDTH: Final = _ROW_BOXES * (BOX_WIDTH + _GAP_X)
_PAGE_WIDTH: Final = _ROW_WIDTH + 4 * _PADDING
"""Up to this width, blocks stand beside each other."""
_LONGEST_SPAN: Final = 3
"""A line passes at most one row less than this many."""
_MOST_LANES: Final = 4
"""Through one row."""
_SWEEPS: Final = 6
"""How often the order within the rows is improved."""
_WIDEST_PORTS: Final = 150.0
_PORT: Final = 22.0
"""How far apart lines reach the same box."""


@attrs.frozen(kw_only=True)
class Node:
    """A task to be drawn."""

    id: str
    parent: str | None
    """The task that it is part of, if that is drawn, too."""
    notes: int
    """How many lines of notes it has besides references."""


@attrs.frozen(kw_only=True)
class Edge:
    """One task waits for another."""

    before: str
    after: str
    words: str = ""
    """What it waits for, with ``{}`` in place of the first task; empty for success."""
    is_dashed: bool = False


@attrs.frozen(kw_only=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    def moved(self, x: float, y: float) -> Box:
        """Return it elsewhere."""
        return attrs.evolve(self, x=self.x + x, y=self.y + y)


@attrs.frozen(kw_only=True)
class Line:
    """The way of an edge: from point to point, by turns across a gap and straight past a row."""

    edge: Edge
    points: tuple[tuple[float, float], ...]

    def moved(self, x: float, y: float) -> Line:
        """Return it elsewhere."""
        points = tuple((point[0] + x, point[1] + y) for point in self.points)
        return attrs.evolve(self, points=points)


@attrs.frozen(kw_only=True)
class Layout:
    """Where everything is."""

    width: float = 0.0
    height: float = 0.0
    boxes: Mapping[str, Box] = attrs.field(factory=dict)
    """By task; that of a frame contains those of its subtasks."""
    frames: frozenset[str] = frozenset()
    lines: tuple[Line, ...] = ()
    references: tuple[Edge, ...] = ()
    """What no line shows, to be said in words at the task that waits."""

    def moved(self, x: float, y: float) -> Layout:
        """Return everything elsewhere."""
        boxes = {task: box.moved(x, y) for task, box in self.boxes.items()}
        lines = tuple(line.moved(x, y) for line in self.lines)
        return attrs.evolve(self, boxes=boxes, lines=lines)


def lay_out(nodes: Sequence[Node], edges: Sequence[Edge]) -> Layout:
    """Place every node, and every edge that a short line can show."""
    tree = _Tree(nodes, edges)
    layout = tree.layout(None)
    drawn = {line.edge for line in layout.lines}
    references = tuple(edge for edge in tree.waits if edge not in drawn)
    return attrs.evolve(layout, references=references)


class _Tree:
    """The tasks as frames within frames."""

    def __init__(self, nodes: Sequence[Node], edges: Sequence[Edge]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._children: dict[str | None, list[str]] = {}
        for node in nodes:
            self._children.setdefault(node.parent, []).append(node.id)
        self._paths = {node.id: self._path(node.id) for node in nodes}
        self._edges: dict[str | None, list[tuple[str, str, Edge]]] = {}
        self.waits: list[Edge] = []
        """The edges, except those between a task and a frame that it is part of."""
        for edge in edges:
            self._add(edge)

    def _path(self, task: str) -> list[str]:
        """Return the tasks that it is part of, from the outermost to itself."""
        path = [task]
        while (parent := self._nodes[path[-1]].parent) is not None:
            path.append(parent)
        return path[::-1]

    def _add(self, edge: Edge) -> None:
        """Note an edge in the innermost frame around both ends, as one between its members.

        One between a task and its own frame is shown by the frame.
        """
        before, after = self._paths[edge.before], self._paths[edge.after]
        frame = None
        for first, second in zip(before, after, strict=False):
            if first != second:
                self._edges.setdefault(frame, []).append((first, second, edge))
                self.waits.append(edge)
                return
            frame = first

    def layout(self, frame: str | None) -> Layout:
        """Lay out what is directly within a frame, or on the page."""
        edges = self._edges.get(frame, [])
        blocks = [self._block(block, edges) for block in self._blocks(frame, edges)]
        return _shelves(blocks)

    def _block(self, members: list[str], edges: list[tuple[str, str, Edge]]) -> Layout:
        if members[0] in self._children:
            return self._framed(members[0])
        within = set(members)
        lines = [
            edge
            for first, second, edge in edges
            if (first, second) == (edge.before, edge.after) and {first, second} <= within
        ]
        notes = {task: self._nodes[task].notes for task in members}
        shown = set(lines)
        elsewhere = {edge.after for edge in self.waits if edge not in shown}
        return _Rows(members, lines, notes, elsewhere).layout()

    def _framed(self, task: str) -> Layout:
        inner = self.layout(task).moved(_PADDING, _HEADER)
        width = max(inner.width, BOX_WIDTH) + 2 * _PADDING
        height = inner.height + _HEADER + _PADDING
        box = Box(x=0, y=0, width=width, height=height)
        return attrs.evolve(
            inner,
            width=width,
            height=height,
            boxes={task: box, **inner.boxes},
            frames=inner.frames | {task},
        )

    def _blocks(self, frame: str | None, edges: list[tuple[str, str, Edge]]) -> Iterator[list[str]]:
        """Yield frames, and groups of other tasks, each after what it waits for if possible."""
        waiting = {task: set[str]() for task in self._children.get(frame, [])}
        for first, second, _ in edges:
            waiting[second].add(first)
        while waiting:
            free = (task for task in waiting if not waiting[task] & waiting.keys())
            group = [next(free, next(iter(waiting)))]  # frames may wait for parts of each other
            if group[0] not in self._children:
                group = _startable(waiting, self._children) or group
            for task in group:
                del waiting[task]
            yield group


def _startable(waiting: Mapping[str, set[str]], frames: Mapping[str | None, object]) -> list[str]:
    """Return the tasks without subtasks that wait for none but each other."""
    group: dict[str, None] = {}
    is_growing = True
    while is_growing:
        is_growing = False
        for task, others in waiting.items():
            if task in group or task in frames:
                continue
            if not (others & waiting.keys()) - group.keys():
                group[task] = None
                is_growing = True
    return list(group)


def _shelves(blocks: Sequence[Layout]) -> Layout:
    """Put blocks beside each other as long as there is room, then below."""
    placed: list[Layout] = []
    x = y = width = height = 0.0
    for block in blocks:
        if x and x + block.width > _PAGE_WIDTH:
            x, y = 0.0, height + _BLOCK_GAP
        placed.append(block.moved(x, y))
        width = max(width, x + block.width)
        height = max(height, y + block.height)
        x += block.width + _BLOCK_GAP
    return Layout(
        width=width,
        height=height,
        boxes={task: box for block in placed for task, box in block.boxes.items()},
        frames=frozenset[str]().union(*(block.frames for block in placed)),
        lines=tuple(line for block in placed for line in block.lines),
    )


@attrs.frozen
class _Lane:
    """Where a line passes a row."""

    edge: Edge
    row: int


_Item = str | _Lane
"""What stands in a row: a task, or a line that passes."""


class _Rows:
    """Tasks in rows, each below everything that comes before it.

    The method is that of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of
    Hierarchical System Structures", 1981: rows, lanes for long lines, an order with few crossings.
    Rows have a limited width; a task goes into the next row that has room, those first whose
    predecessors stand lowest.
    """

    def __init__(
        self,
        members: Sequence[str],
        edges: Sequence[Edge],
        notes: Mapping[str, int],
        elsewhere: AbstractSet[str],
    ) -> None:
        self._row = _numbered_rows(members, edges)
        self._count = max(self._row.values()) + 1
        self._edges = self._drawn(edges)
        referring = elsewhere | {edge.after for edge in set(edges) - set(self._edges)}
        self._notes = {task: count + (task in referring) for task, count in notes.items()}
        self._lanes = {
            edge: [_Lane(edge, row) for row in self._passed(edge)] for edge in self._edges
        }
        self._ways: dict[Edge, list[_Item]] = {
            edge: [edge.before, *lanes, edge.after] for edge, lanes in self._lanes.items()
        }
        rows: list[list[_Item]] = [[] for _ in range(self._count)]
        for task in members:
            rows[self._row[task]].append(task)
        for lanes in self._lanes.values():
            for lane in lanes:
                rows[lane.row].append(lane)
        self._rows = _ordered(rows, list(self._ways.values()))

    def _drawn(self, edges: Sequence[Edge]) -> list[Edge]:
        """Return the edges that lines show: the shortest, while there are lanes."""
        lanes = [0] * self._count
        drawn = []
        for edge in sorted(edges, key=self._span):
            passed = self._passed(edge)
            if len(passed) < _LONGEST_SPAN and all(lanes[row] < _MOST_LANES for row in passed):
                for row in passed:
                    lanes[row] += 1
                drawn.append(edge)
        return drawn

    def _span(self, edge: Edge) -> int:
        return self._row[edge.after] - self._row[edge.before]

    def _passed(self, edge: Edge) -> range:
        """Return the rows that the line of an edge passes."""
        return range(self._row[edge.before] + 1, self._row[edge.after])

    def layout(self) -> Layout:
        """Place the rows below each other, and the items of each near what they are joined to."""
        middles = self._middles()
        tops, heights, y = [], [], 0.0
        for row in self._rows:
            notes = max(self._notes[item] for item in row if isinstance(item, str))
            tops.append(y)
            heights.append(_BOX_HEIGHT + LINE_HEIGHT * notes)
            y += heights[-1] + _GAP_Y
        boxes = {
            task: Box(
                x=middles[task] - BOX_WIDTH / 2,
                y=tops[row],
                width=BOX_WIDTH,
                height=heights[row],
            )
            for task, row in self._row.items()
        }
        return Layout(
            width=max(middles[item] + _width(item) / 2 for row in self._rows for item in row),
            height=y - _GAP_Y,
            boxes=boxes,
            lines=self._lines(middles, tops, heights),
        )

    def _middles(self) -> dict[_Item, float]:
        """Return the middle of each item, from left to right from 0 on."""
        above: dict[_Item, list[_Item]] = {}
        for way in self._ways.values():
            for first, second in pairwise(way):
                above.setdefault(second, []).append(first)
        middles: dict[_Item, float] = {}
        for row in self._rows:
            middles.update(_row_middles(row, above, middles))
        left = min(middles[item] - _width(item) / 2 for item in middles)
        return {item: middle - left for item, middle in middles.items()}

    def _lines(
        self, middles: Mapping[_Item, float], tops: Sequence[float], heights: Sequence[float]
    ) -> tuple[Line, ...]:
        starts = self._ports(middles, is_start=True)
        ends = self._ports(middles, is_start=False)
        lines = []
        for edge, lanes in self._lanes.items():
            first, last = self._row[edge.before], self._row[edge.after]
            points = [(starts[edge], tops[first] + heights[first])]
            for lane in lanes:
                x, top = middles[lane], tops[lane.row]
                points += [(x, top), (x, top + heights[lane.row])]
            points.append((ends[edge], tops[last]))
            lines.append(Line(edge=edge, points=tuple(points)))
        return tuple(lines)

    def _ports(self, middles: Mapping[_Item, float], *, is_start: bool) -> dict[Edge, float]:
        """Return where on its box each line begins or ends: beside each other, uncrossed."""
        by_task: dict[str, list[Edge]] = {}
        for edge in self._edges:
            by_task.setdefault(edge.before if is_start else edge.after, []).append(edge)
        ports = {}
        for task, edges in by_task.items():
            neighbour = 1 if is_start else -2
            edges.sort(key=lambda edge: middles[self._ways[edge][neighbour]])
            step = min(_PORT, _WIDEST_PORTS / len(edges))
            left = middles[task] - step * (len(edges) - 1) / 2
            for number, edge in enumerate(edges):
                ports[edge] = left + step * number
        return ports


def _numbered_rows(members: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the row of each task."""
    before: dict[str, list[str]] = {task: [] for task in members}
    for edge in edges:
        before[edge.after].append(edge.before)
    rows: dict[str, int] = {}
    remaining = list(members)
    number = 0
    while remaining:
        ready = [task for task in remaining if all(each in rows for each in before[task])]
        ready = ready or remaining  # a circle, which no plan has
        ready.sort(key=lambda task: -max((rows.get(each, 0) for each in before[task]), default=-1))
        for task in ready[:_ROW_BOXES]:
            rows[task] = number
            remaining.remove(task)
        number += 1
    return rows


def _ordered(rows: list[list[_Item]], ways: Sequence[list[_Item]]) -> list[list[_Item]]:
    """Move items within their rows towards the middle of their neighbours: fewer lines cross."""
    neighbours: dict[_Item, list[_Item]] = {item: [] for row in rows for item in row}
    for way in ways:
        for first, second in pairwise(way):
            neighbours[first].append(second)
            neighbours[second].append(first)
    position = {item: float(x) for row in rows for x, item in enumerate(row)}

    def middle(item: _Item) -> float:
        near = neighbours[item]
        return sum(position[each] for each in near) / len(near) if near else position[item]

    for _ in range(_SWEEPS):
        for row in rows:
            row.sort(key=middle)
            position.update({item: float(x) for x, item in enumerate(row)})
    return rows


def _row_middles(
    row: Sequence[_Item], above: Mapping[_Item, list[_Item]], middles: Mapping[_Item, float]
) -> dict[_Item, float]:
    """Place a row as near below what it is joined to as its order and widths allow."""
    placed: dict[_Item, float] = {}
    wishes: list[float] = []
    left = float("-inf")
    for item in row:
        near = [middles[each] for each in above.get(item, ())]
        edge = left + _width(item) / 2
        start = max(edge, 0.0)
        wish = sum(near) / len(near) if near else start
        placed[item] = max(wish, edge)
        wishes.append(wish)
        left = placed[item] + _width(item) / 2 + _GAP_X
    shift = sum(wishes) / len(row) - sum(placed.values()) / len(row)
    first = placed[row[0]] - _width(row[0]) / 2
    last = placed[row[-1]] + _width(row[-1]) / 2
    shift = max(min(shift, _ROW_WIDTH - last), -first)
    return {item: middle + shift for item, middle in placed.items()}


def _width(item: _Item) -> float:
    return BOX_WIDTH if isinstance(item, str) else _LANE
