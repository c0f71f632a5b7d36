"""The tasks of a session as a person reads them in a shell: a line for each, and never too many."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import CauseKind, Task, TaskStatus
from vespera_orchestrator._records import in_columns
from vespera_orchestrator._text import first_names, one_line, show_methods
from vespera_orchestrator.tasks import dates
from vespera_orchestrator.tasks.date_words import UTC_CALENDAR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Cause, Why
    from vespera_orchestrator.orchestrator import Orchestrator

_OPEN: Final = (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED)
_HEAD: Final = ("TASK", "TITLE", "STATUS", "DUE", "WAITS FOR")
_WIDTHS: Final = (28, 40, 10, 26, 60)
"""Most characters of each column."""
_NAMED: Final = 3
"""How many tasks a line names that a task waits for."""
_READY: Final = "ready"
_WORDS: Final = {
    TaskStatus.PENDING: "waiting",
    TaskStatus.IN_PROGRESS: "running",
    TaskStatus.BLOCKED: "blocked",
    TaskStatus.COMPLETED: "done",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
    TaskStatus.SKIPPED: "skipped",
}
_CAUSE_WORDS: Final = {
    CauseKind.ANSWER: "your answer",
    CauseKind.PERSON: "your decision",
    CauseKind.MERGE: "its merge",
}
"""What a task waits for, where that is no other task."""
_PAUSES: Final = frozenset({CauseKind.MOMENT, CauseKind.BACKOFF})


class _Group(IntEnum):
    """Which tasks stand together, in this order."""

    RUNNING = 0
    READY = 1
    FOR_A_PERSON = 2
    WAITING = 3
    RESTING = 4
    ENDED = 5


@attrs.frozen(kw_only=True)
class Choice:
    """Which tasks a person wants to see."""

    ended: bool = False
    """Those that have ended, too."""
    ready: bool = False
    """Only those that can be started now, best first."""
    due: bool = False
    """Only those with a due date, the first one first."""
    status: str | None = None
    """Only those with this status."""
    parent: str | None = None
    """Only this task and what is below it."""
    limit: int = 20
    """Most lines."""


@show_methods
@attrs.frozen(kw_only=True)
class TaskTable:
    """Some tasks, a line for each."""

    tasks: tuple[Task, ...]
    """The tasks that are shown."""
    lines: tuple[str, ...]
    """What a person reads."""

    def __str__(self) -> str:
        return "\n".join(self.lines)


def read_table(orch: Orchestrator, choice: Choice) -> TaskTable:
    """Read the tasks that a person wants to see.

    Args:
        orch: The project.
        choice: Which ones.
    """
    tasks = _chosen(orch, choice)
    shown = tasks[: choice.limit]
    now = dates.by_clock_of(UTC_CALENDAR.now(), orch.history(limit=1).zone)
    rows = [_row(orch, task, now) for task in shown]
    lines = _lines([_HEAD, *rows]) if rows else []
    more = len(tasks) - len(shown)
    if more:
        lines.append(f"… and {more} more; --limit {len(tasks)} shows them")
    if not tasks:
        lines.append(_nothing(choice))
    return TaskTable(tasks=tuple(shown), lines=tuple(lines))


# --- which ones ---------------------------------------------------------------


def _chosen(orch: Orchestrator, choice: Choice) -> list[Task]:
    statuses = _OPEN if choice.status is None else choice.status
    tasks = orch.query_tasks(
        status=None if choice.ended else statuses,
        ready=True if choice.ready else None,
        parent_task_id=choice.parent,
        include_children=choice.parent is not None,
        limit=None,
    )
    if choice.due:
        dated = [task for task in tasks if task.due_at is not None]
        return sorted(dated, key=_due_until)
    best = [task.id for task in orch.ready_tasks(choice.limit)]
    places = {task_id: place for place, task_id in enumerate(best)}
    return sorted(tasks, key=lambda task: _place(task, places))


def _due_until(task: Task) -> tuple[bool, datetime | None]:
    return task.status.is_terminal, dates.due_until(task)


def _place(task: Task, ready: dict[str, int]) -> tuple[int, int]:
    """Return where a task stands: what can be done, and what a person can do, before the rest."""
    if task.status.is_terminal:
        return _Group.ENDED, 0
    if task.status is TaskStatus.IN_PROGRESS:
        return _Group.RUNNING, 0
    if task.id in ready:
        return _Group.READY, ready[task.id]
    is_asked = task.question is not None and task.blockers == 1 and not task.answered
    if task.status is TaskStatus.BLOCKED or is_asked:
        return _Group.FOR_A_PERSON, 0
    return (_Group.RESTING if task.asleep else _Group.WAITING), 0


def _nothing(choice: Choice) -> str:
    if choice.ended:
        return "No task is planned."
    if choice.ready:
        return "No task is ready; the command next says what to do."
    if choice.status is not None:
        return f"No task has the status {choice.status}."
    if choice.due:
        return "No open task has a due date."
    return "No task is open; --all shows those that have ended."


# --- a line for each ----------------------------------------------------------


def _row(orch: Orchestrator, task: Task, now: datetime) -> tuple[str, ...]:
    if task.status.is_terminal:
        return task.alias, task.title, _WORDS[task.status], "", ""
    why = orch.why(task)
    due = dates.due_date_words(task, now)
    return task.alias, task.title, _word(task, why), due, _waits(task, why, now)


def _word(task: Task, why: Why) -> str:
    if why.ready:
        return _READY
    is_pause = any(cause.kind in _PAUSES for cause in why.causes)
    return "resting" if is_pause else _WORDS[task.status]


def _waits(task: Task, why: Why, now: datetime) -> str:
    names = list(dict.fromkeys(name for cause in why.causes for name in _names(task, cause, now)))
    return first_names(names, _NAMED)


def _names(task: Task, cause: Cause, now: datetime) -> tuple[str, ...]:
    """Return what a cause waits for, in as few words as say it."""
    if cause.kind in _CAUSE_WORDS:
        return (_CAUSE_WORDS[cause.kind],)
    if cause.kind in _PAUSES:
        return (dates.rest_words(task, now),)
    if cause.kind is CauseKind.LEASE:
        return (str(cause.agent),)
    if cause.kind is CauseKind.SIGNAL:
        return (f"signal {task.signal}",)
    return cause.names or (cause.alias or cause.sentence,)


def _lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    cells = [
        [one_line(cell, most) for cell, most in zip(row, _WIDTHS, strict=True)] for row in rows
    ]
    return in_columns(cells)
