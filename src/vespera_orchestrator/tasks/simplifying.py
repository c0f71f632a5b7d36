"""Takes a heavy task apart into smaller ones. Pure: the same task gives the same pieces."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Dependency, Outcome, TaskDraft
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import plans, specialists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from vespera_orchestrator._model import JsonValue, Task

MOST_PIECES: Final[Mapping[int, int]] = {1: 2, 2: 3, 3: 5, 4: 8, 5: 12}
"""For each grain, into how many pieces a task is taken apart at most."""
MARK: Final = "simplifies"
"""Where the context of a piece names the task that it is a piece of."""
_GRAIN: Final = "grain"
_OTHERS_HAVE_THE_REST: Final = (
    "what is listed under “Done when”. The other parts have tasks of their own."
)
_SMALLEST_STEP: Final = (
    "Open what it is about, and do the smallest thing that moves it. Ten minutes are enough. Then "
    "note what you saw, and what comes next."
)
_TITLE_WIDTH: Final = 90
_LEAST_PIECES: Final = 2
_ALIAS_WIDTH: Final = 76
"""Leaves room for a number in an alias of at most 80 characters."""
_CHECKBOX: Final = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+\[([ xX])\]\s+(\S.*)$")
_ITEM: Final = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+(\S.*)$")


def pieces(
    task: Task,
    grain: int,
    by: Callable[[Task, int], Iterable[str | Mapping[str, Any] | TaskDraft]] | None = None,
) -> list[TaskDraft]:
    """Return the pieces of a task, each of which waits for the one before.

    They come from the open boxes of its checklist, else from its acceptance points, else from the
    list in its description. Where there is no list, they are a smallest first step, the rest, and
    a look whether it is done.

    Args:
        task: The task.
        grain: 1 for few and large pieces, 5 for many small ones.
        by: The caller's own way: returns titles, or specs as `Orchestrator.plan_tasks` takes them.

    Raises:
        InvalidInputError: *by* returned nothing usable.
    """
    if by is not None:
        drafts = _own_pieces(task, by(task, grain))
    else:
        items = _items(task)
        drafts = (
            _listed(task, _grouped(items, MOST_PIECES[grain])) if items else _usual(task, grain)
        )
    return _chained(task, grain, drafts)


def missing_pieces(task: Task, grain: int, planned: Sequence[Task]) -> list[TaskDraft]:
    """Return pieces for what the planned ones leave out, to follow them.

    Something is left out where others were taken back, or where the task lists more by now. What a
    caller's own way has planned is complete.
    """
    items = _items(task)
    if items:
        left = _not_among(items, _points_of(planned))
        drafts = _listed(task, _grouped(left, MOST_PIECES[grain]))
    else:
        usual = _usual(task, grain_of(planned[0]) or grain)
        titles = _not_among([draft.title for draft in usual], {each.title for each in planned})
        drafts = [draft for draft in usual if draft.title in titles]
    return _chained(task, grain, drafts, planned)


def _points_of(planned: Iterable[Task]) -> set[str]:
    lines = [line for piece in planned for line in (piece.title, *piece.acceptance.splitlines())]
    return {line.removeprefix("- ") for line in lines}


def _not_among(wanted: Sequence[str], planned: set[str]) -> list[str]:
    """Return what is not planned, if anything of it is: otherwise it was planned in another way."""
    left = [each for each in wanted if each not in planned]
    return left if len(left) < len(wanted) else []


def grain_of(piece: Task) -> int | None:
    """Return the grain with which a piece was made."""
    grain = piece.context.get(_GRAIN)
    return grain if isinstance(grain, int) else None


def context_without_marks(task: Task) -> dict[str, JsonValue]:
    """Return the context that callers gave a task, without what only this module reads."""
    return {name: value for name, value in task.context.items() if name not in (MARK, _GRAIN)}


def is_piece_of(other: Task, task: Task) -> bool:
    """Tell whether *other* is a piece of *task*."""
    return other.context.get(MARK) == task.id


# --- what the pieces are -------------------------------------------------------


def _items(task: Task) -> list[str]:
    """Return what the task itself lists, from the first list that has at least two points."""
    for points in (
        _open_boxes(f"{task.description}\n{task.acceptance}"),
        _points(task.acceptance) or _lines(task.acceptance),
        _points(task.description),
    ):
        if len(points) >= _LEAST_PIECES:
            return points
    return []


def _open_boxes(text: str) -> list[str]:
    boxes = [match for line in text.splitlines() if (match := _CHECKBOX.match(line))]
    return [match[2].strip() for match in boxes if match[1] == " "]


def _points(text: str) -> list[str]:
    return [match[1].strip() for line in text.splitlines() if (match := _ITEM.match(line))]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _grouped(items: Sequence[str], most: int) -> list[list[str]]:
    """Put neighbours together until there are at most so many groups of nearly equal size."""
    if not items:
        return []
    count = min(len(items), most)
    ends = [round(len(items) * number / count) for number in range(count + 1)]
    return [list(items[start:end]) for start, end in pairwise(ends)]


def _listed(task: Task, groups: Iterable[Sequence[str]]) -> list[TaskDraft]:
    drafts = []
    for group in groups:
        first, *others = group
        title = one_line(first, _TITLE_WIDTH)
        if others:
            title = f"{one_line(first, _TITLE_WIDTH - 12)} (and {len(others)} more)"
        drafts.append(
            TaskDraft(
                title=title,
                description=_part_of(task),
                acceptance="\n".join(f"- {point}" for point in group),
            )
        )
    return drafts


def _part_of(task: Task) -> str:
    """Describe the whole first: whoever does one part should know what it is for."""
    if not task.description:
        return f"One part of {task.title!r}: {_OTHERS_HAVE_THE_REST}"
    return f"{task.description.rstrip()}\n\nDo one part of this: {_OTHERS_HAVE_THE_REST}"


def _usual(task: Task, grain: int) -> list[TaskDraft]:
    """Return the smallest first step, the rest, and a look whether it is done."""
    title = one_line(task.title, _TITLE_WIDTH - 20)
    first = TaskDraft(
        title=f"{title}: ten minutes",
        description=f"{_SMALLEST_STEP}\n\n{task.description}".rstrip(),
        estimated_effort="10 min",
    )
    rest = TaskDraft(title=f"{title}: the rest", description=task.description)
    look = TaskDraft(
        title=f"{title}: look at it",
        description="Look whether it is done, with fresh eyes.",
        acceptance=task.acceptance,
        estimated_effort="10 min",
    )
    return [first, rest] if MOST_PIECES[grain] == _LEAST_PIECES else [first, rest, look]


def _own_pieces(
    task: Task, answer: Iterable[str | Mapping[str, Any] | TaskDraft] | object
) -> list[TaskDraft]:
    if isinstance(answer, str) or not hasattr(answer, "__iter__"):
        raise InvalidInputError("by", "should return a list of titles or of tasks")
    specs = [{"title": each} if isinstance(each, str) else each for each in answer]
    drafts, mistakes = plans.plan(specs)
    if mistakes:
        raise InvalidInputError(
            "by", f"returned what cannot be planned for {task.alias}: {mistakes[0]}"
        )
    return drafts


def _of_small_work(task: Task) -> dict[str, Any]:
    """Return what a piece is that is no heavy work: a role that nobody has named follows that."""
    small = {"complexity": "simple"}
    return {"specialist_type": task.specialist_type, **specialists.following(task, small)}


def _chained(
    task: Task, grain: int, drafts: Sequence[TaskDraft], planned: Sequence[Task] = ()
) -> list[TaskDraft]:
    """Put the pieces below the task, each after the end of the one before.

    The first waits for whatever the task waits for: subtasks do not do so by themselves. A piece
    that somebody cancels is not needed, and the next one goes on. They are for the agent that the
    task is for. The store lets them rest as long as it does.
    """
    chained: list[TaskDraft] = []
    before: str | None = planned[-1].id if planned else None
    for number, draft in enumerate(drafts, len(planned) + 1):
        piece = attrs.evolve(
            draft,
            parent=draft.parent or task.id,
            alias=draft.alias or f"{task.alias[:_ALIAS_WIDTH]}_{number}",
            task_type=task.task_type,
            **_of_small_work(task),
            priority=task.priority,
            max_attempts=task.max_attempts,
            for_agent=draft.for_agent or task.for_agent,
            context={**task.context, **draft.context, MARK: task.id, _GRAIN: grain},
        )
        if before is None:
            dependencies = (*draft.dependencies, *task.dependencies)
            piece = attrs.evolve(piece, dependencies=dependencies, condition=task.condition)
        elif not draft.dependencies:
            waits_for = Dependency(before, Outcome.DONE)
            piece = attrs.evolve(piece, dependencies=(waits_for,))
        before = str(piece.alias)
        chained.append(piece)
    return chained
