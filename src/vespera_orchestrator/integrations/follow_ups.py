"""What a call on a task leads to for others: what is ready now, what will not be done, and why."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import EventKind, Task, TaskStatus
from vespera_orchestrator._text import first_names, show_methods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vespera_orchestrator._model import Event
    from vespera_orchestrator.orchestrator import Orchestrator

_Result = TypeVar("_Result", Task, list[Task])
_MOST_READY: Final = 1000
_MOST_NAMED: Final = 5
_ENDS: Final = (
    EventKind.TASK_COMPLETED,
    EventKind.TASK_SKIPPED,
    EventKind.TASK_CANCELLED,
    EventKind.TASK_FAILED,
)
"""How a call ends tasks."""
_BEGINNINGS: Final = {
    "answer": (EventKind.TASK_ANSWERED,),
    "signal": (EventKind.SIGNAL_RECEIVED,),
    "complete_task": (EventKind.TASK_COMPLETED,),
    "cancel_task": (EventKind.TASK_CANCELLED,),
    "abandon_task": (EventKind.TASK_FAILED, EventKind.TASK_CANCELLED),
}
"""By call, the kinds of its first event; what the clock does is recorded before it."""
_OF_ITS_TASK: Final = frozenset({"answer", "complete_task"})
"""The calls whose first event is about the task that they name."""
_REOPEN: Final = "orch.reopen_task({alias!r}, 'what is wrong')"
_WAY_BACK: Final = {
    "answer": f"If you meant it otherwise: {_REOPEN}, then answer again",
    "complete_task": f"If you meant it otherwise: {_REOPEN}",
    "cancel_task": "To take it back: orch.retry_task({alias!r})",
    "abandon_task": "To take it back: orch.retry_task({alias!r})",
}
"""What undoes a call that took others along."""
CALLS: Final = frozenset(_BEGINNINGS)
"""The calls of the façade that may end other tasks, or let them begin."""


@show_methods
@attrs.frozen(kw_only=True)
class FollowUps:
    """What a call led to for other tasks. It is true if there is anything to say."""

    ready: tuple[Task, ...] = ()
    """What became ready."""
    cancelled: tuple[Task, ...] = ()
    """What was cancelled with it."""
    skipped: tuple[Task, ...] = ()
    """What will not be done, each with its reason."""
    way_back: str = ""
    """What undoes it, if it took anything along."""

    def __bool__(self) -> bool:
        return bool(self.ready or self.cancelled or self.skipped)

    def __str__(self) -> str:
        lines = []
        if self.ready:
            lines.append(f"Ready now: {_aliases(self.ready)}")
        if self.cancelled:
            lines.append(f"Cancelled with it: {_aliases(self.cancelled)}")
        lines += [f"Skipped: {task.alias} ({task.reason})" for task in self.skipped[:_MOST_NAMED]]
        if len(self.skipped) > _MOST_NAMED:
            lines.append(f"Skipped as well: {_aliases(self.skipped[_MOST_NAMED:])}")
        if self.way_back:
            lines.append(self.way_back)
        return "\n".join(lines)


def _aliases(tasks: tuple[Task, ...]) -> str:
    return first_names([task.alias for task in tasks], _MOST_NAMED)


def follow(
    orch: Orchestrator, name: str, call: Callable[[], _Result], *, with_ready: bool = True
) -> tuple[_Result, FollowUps]:
    """Make a call, and find what it led to.

    What another agent does at the same moment is no part of it: what has ended is read from the
    events of this call, and what is ready now had waited for one of those.

    Args:
        orch: The project.
        name: One of `CALLS`.
        call: Makes the call.
        with_ready: Find what is ready now, too, which reads what is ready before and after it.

    Returns:
        What it returned, and what it led to.
    """
    most = _MOST_READY if with_ready else 0
    ready_before = {task.id for task in orch.ready_tasks(most)} if most else set()
    events: list[Event] = []
    stop_listening = orch.on_event(events.append)
    try:
        result = call()
    finally:
        stop_listening()
    own = _tasks_of(result)
    ended = [orch.get_task(task_id) for task_id in _ended_ids(events, name, own)]
    after = orch.ready_tasks(most) if most and ended else []
    ready = [task for task in after if task.id not in ready_before and _has_waited_for(task, ended)]
    own_ids = {task.id for task in own}
    others = [task for task in ended if task.id not in own_ids]
    return result, _sorted_out(name, own, ready, others)


def _tasks_of(result: Task | list[Task]) -> list[Task]:
    return [result] if isinstance(result, Task) else list(result)


def _sorted_out(
    name: str, own: Sequence[Task], ready: Sequence[Task], others: Sequence[Task]
) -> FollowUps:
    skipped = tuple(task for task in others if task.status is TaskStatus.SKIPPED)
    cancelled = tuple(task for task in others if task.status is TaskStatus.CANCELLED)
    way_back = ""
    if (skipped or cancelled) and name in _WAY_BACK:
        way_back = _WAY_BACK[name].format(alias=own[0].alias)
    return FollowUps(ready=tuple(ready), cancelled=cancelled, skipped=skipped, way_back=way_back)


def _ended_ids(events: Iterable[Event], name: str, own: Sequence[Task]) -> list[str]:
    """Return the ids of the tasks that a call has ended."""
    own_ids = {task.id for task in own}

    def is_before(event: Event) -> bool:
        is_own = name not in _OF_ITS_TASK or event.task_id in own_ids
        return event.kind not in _BEGINNINGS[name] or not is_own

    following = itertools.dropwhile(is_before, events)
    return list(dict.fromkeys(str(each.task_id) for each in following if each.kind in _ENDS))


def _has_waited_for(task: Task, ended: Iterable[Task]) -> bool:
    """Tell whether a task waited for one of these: it depends on one, or one is its part."""
    needed_ids = {edge.task for edge in task.dependencies}
    return any(each.id in needed_ids or each.parent_task_id == task.id for each in ended)


def kept_words(task: Task) -> str:
    """Say of an early answer that it is kept; empty if it counts already."""
    if task.status is not TaskStatus.PENDING:
        return ""
    return (
        "Your answer is kept. It counts when all that the question waits for has ended: "
        f"orch.why({task.alias!r})"
    )
