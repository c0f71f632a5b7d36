"""The task graph as a drawing in SVG, made here: no program of the system, no network.

Lines and texts have the colour of the text around them, and boxes are not filled: so the drawing
follows a notebook's theme. The state of a task is told by a sign and a word, not by colour alone.
"""

from __future__ import annotations

import hashlib
import unicodedata
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import first_names, one_line, plural
from vespera_orchestrator.tasks import graph_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Task
    from vespera_orchestrator.tasks.graph_layout import Box, Edge, Layout, Line

_MARGIN: Final = 12
_TITLE_LETTER: Final = 7.6
"""About how wide a letter of a title is. Letters of Chinese, Japanese and Korean are two."""
_NOTE_LETTER: Final = 5.6
"""The same of a note."""
_TITLES_NAMED: Final = 2
"""How many tasks a reference names; the others are counted."""
_REFERENCE_LETTERS: Final = 22

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
_HEAVY: Final = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED})


def draw(tasks: Sequence[Task], edges: Sequence[Edge], *, hidden: int = 0) -> str:
    """Return the drawing, from top to bottom in the order in which things can be done.

    A task with subtasks is a frame around them. Where no short line can show what a task waits
    for, its box says so in words.

    Args:
        tasks: What to draw.
        edges: What waits for what. That a task is part of another is known from the tasks.
        hidden: How many more tasks there are; the drawing says so.
    """
    if not tasks:
        return "<svg></svg>"
    notes = _own_notes(tasks, edges)
    chosen = {task.id for task in tasks}
    nodes = [
        graph_layout.Node(
            id=task.id,
            parent=task.parent_task_id if task.parent_task_id in chosen else None,
            notes=len(notes[task.id]),
        )
        for task in tasks
    ]
    layout = graph_layout.lay_out(nodes, edges)
    references = _references(tasks, layout)
    layout = layout.moved(_MARGIN, _MARGIN)
    boxes = []
    for task in tasks:
        words = [*notes[task.id], *filter(None, [references.get(task.id)])]
        is_frame = task.id in layout.frames
        drawn = _frame if is_frame else _box
        boxes.append(drawn(task, layout.boxes[task.id], words))
    arrow = f"vespera-arrow-{hashlib.sha256(''.join(boxes).encode()).hexdigest()[:12]}"
    lines = [_line(line, arrow) for line in layout.lines]
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    if hidden:
        height += 20
        boxes.append(f'<text x="{_MARGIN}" y="{height - 8:g}">… and {hidden} more tasks</text>')
    return _picture("".join([*lines, *boxes]), arrow, width, height, len(tasks))


def _picture(body: str, arrow: str, width: float, height: float, count: int) -> str:
    # The arrow's name is the drawing's own: a page may hold several, and hide the first.
    style = "max-width:100%;height:auto;font:12px sans-serif"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="Task graph with {plural(count, "task")}" style="{style}" '
        'fill="currentColor" stroke="none">'
        f'<defs><marker id="{arrow}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
        f"{body}</svg>"
    )


# --- words -----------------------------------------------------------------------


def _own_notes(tasks: Sequence[Task], edges: Sequence[Edge]) -> dict[str, list[str]]:
    """Return what each task says of its condition, and of outcomes other than success."""
    titles = {task.id: task.title for task in tasks}
    notes: dict[str, list[str]] = {
        task.id: [f"if {task.condition}"] if task.condition else [] for task in tasks
    }
    for edge in edges:
        if edge.words:
            notes[edge.after].append(edge.words.format(_short(titles[edge.before])))
    return notes


def _references(tasks: Sequence[Task], layout: Layout) -> dict[str, str]:
    """Return which tasks each task waits for without a line that shows it."""
    titles = {task.id: task.title for task in tasks}
    names: dict[str, list[str]] = {}
    for edge in layout.references:
        if not edge.words:
            names.setdefault(edge.after, []).append(_short(titles[edge.before]))
    return {task: f"after {first_names(before, _TITLES_NAMED)}" for task, before in names.items()}


def _short(title: str) -> str:
    return _fitting(title, _REFERENCE_LETTERS)


def _fitting(text: str, letters: int) -> str:
    """Return as much of a text as is about so many letters wide."""
    line = one_line(text, 4 * letters)
    while _letters(line) > letters:
        line = f"{line.removesuffix('…')[:-1].rstrip()}…"
    return line


def _letters(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


# --- shapes ----------------------------------------------------------------------


def _box(task: Task, box: Box, notes: Sequence[str]) -> str:
    middle = box.x + box.width / 2
    title = _fitting(task.title, int((box.width - 14) / _TITLE_LETTER))
    return (
        f"{_opening(task)}{_rectangle(task, box)}"
        f'<text x="{middle:g}" y="{box.y + 19:g}" text-anchor="middle" font-weight="bold">'
        f"{escape(title)}</text>"
        f'<text x="{middle:g}" y="{box.y + 36:g}" text-anchor="middle">{_state(task)}</text>'
        f"{_written(notes, middle, box, 50)}</g>"
    )


def _frame(task: Task, box: Box, notes: Sequence[str]) -> str:
    left = box.x + 12
    title = _fitting(task.title, int((box.width - 24) / _TITLE_LETTER))
    said = _fitting(" · ".join([_state(task), *notes]), int((box.width - 24) / _TITLE_LETTER))
    return (
        f"{_opening(task)}{_rectangle(task, box)}"
        f'<text x="{left:g}" y="{box.y + 18:g}" font-weight="bold">{escape(title)}</text>'
        f'<text x="{left:g}" y="{box.y + 34:g}">{escape(said)}</text></g>'
    )


def _opening(task: Task) -> str:
    opacity = _ENDED_OPACITY if task.status in _ENDED else "1"
    title = escape(one_line(task.title, 200))
    return f'<g opacity="{opacity}"><title>{escape(task.alias)}: {title}</title>'


def _rectangle(task: Task, box: Box) -> str:
    heavy = 2.5 if task.status in _HEAVY else 1
    return (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="6" '
        f'fill="none" stroke="currentColor" stroke-width="{heavy}"/>'
    )


def _state(task: Task) -> str:
    return f"{_SIGNS[task.status]} {task.status.replace('_', ' ')}"


def _written(notes: Sequence[str], middle: float, box: Box, first: float) -> str:
    letters = int((box.width - 10) / _NOTE_LETTER)
    return "".join(
        f'<text x="{middle:g}" y="{box.y + first + graph_layout.LINE_HEIGHT * number:g}" '
        f'font-size="10" text-anchor="middle">{escape(_fitting(note, letters))}</text>'
        for number, note in enumerate(notes)
    )


def _line(line: Line, arrow: str) -> str:
    (x, y), *_ = line.points
    path = f"M{x:g} {y:g}"
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(line.points)):
        bend = (to_y - y) / 2
        is_across = number % 2 == 0  # else straight past a row
        path += f" C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g}" if is_across else " L"
        path += f" {to_x:g} {to_y:g}"
    dashes = ' stroke-dasharray="5 4"' if line.edge.is_dashed else ""
    return (
        f'<path d="{path}" fill="none" stroke="currentColor" opacity="0.7"{dashes} '
        f'marker-end="url(#{arrow})"/>'
    )
