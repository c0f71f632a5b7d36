"""What a person's answer leads to: said after it is recorded."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import EventKind, Task, TaskStatus
from vespera_orchestrator._text import first_names, show_methods

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vespera_orchestrator._model import Event, JsonValue
    from vespera_orchestrator.orchestrator import Orchestrator

_MOST_READY: Final = 1000
_MOST_NAMED: Final = 5
_ENDS: Final = (EventKind.TASK_COMPLETED, EventKind.TASK_SKIPPED)
"""How an answer ends tasks."""


@show_methods
@attrs.frozen(kw_only=True)
class AnswerReport:
    """An answer that is recorded, and what it led to."""

    task: Task
    """The task that was asked."""
    ready: tuple[Task, ...]
    """What became ready."""
    skipped: tuple[Task, ...]
    """What will not be done, each with its reason."""

    def __str__(self) -> str:
        lines = [str(self.task)]
        if self.task.status is TaskStatus.PENDING:
            lines.append(
                "Your answer is kept. It counts when all that the question waits for has ended: "
                f"orch.why({self.task.alias!r})"
            )
        if self.ready:
            lines.append(f"Ready now: {_aliases(self.ready)}")
        lines += [f"Skipped: {task.alias} ({task.reason})" for task in self.skipped[:_MOST_NAMED]]
        if len(self.skipped) > _MOST_NAMED:
            lines.append(f"Skipped as well: {_aliases(self.skipped[_MOST_NAMED:])}")
        if self.skipped:
            again = f"orch.reopen_task({self.task.alias!r}, 'why')"
            lines.append(f"If you meant it otherwise: {again}, then answer again")
        return "\n".join(lines)


def _aliases(tasks: tuple[Task, ...]) -> str:
    return first_names([task.alias for task in tasks], _MOST_NAMED)


def answer(orch: Orchestrator, asked: Task, values: Mapping[str, JsonValue]) -> AnswerReport:
    """Record an answer, and find what it led to.

    What another agent does at the same moment is no part of it: what was skipped is read from the
    events of this answer, and what is ready now had waited for something that they ended.

    Args:
        orch: The project.
        asked: The task that waits for it.
        values: The answer.
    """
    ready_before = {task.id for task in orch.ready_tasks(_MOST_READY)}
    events: list[Event] = []
    stop_listening = orch.on_event(events.append)
    try:
        task = orch.answer(asked, dict(values))
    finally:
        stop_listening()
    ends = _ends_after(events, asked.id)
    ended = [orch.get_task(task_id) for task_id in ends]
    ready = [
        task
        for task in orch.ready_tasks(_MOST_READY)
        if task.id not in ready_before and _has_waited_for(task, ended)
    ]
    skipped = [each for each in ended if ends[each.id] == EventKind.TASK_SKIPPED]
    return AnswerReport(task=task, ready=tuple(ready), skipped=tuple(skipped))


def _ends_after(events: Iterable[Event], asked_id: str) -> dict[str, str]:
    """Return which tasks an answer has ended, by id, and the kinds of the events that say it.

    What happens by the clock is recorded before the answer.
    """
    following = itertools.dropwhile(lambda event: not _is_answer(event, asked_id), events)
    ends = [event for event in following if event.kind in _ENDS]
    return {str(event.task_id): event.kind for event in ends}


def _is_answer(event: Event, asked_id: str) -> bool:
    return event.kind == EventKind.TASK_ANSWERED and event.task_id == asked_id


def _has_waited_for(task: Task, ended: Iterable[Task]) -> bool:
    """Tell whether a task waited for one of these: it depends on one, or one is its part."""
    needed_ids = {edge.task for edge in task.dependencies}
    return any(each.id in needed_ids or each.parent_task_id == task.id for each in ended)
