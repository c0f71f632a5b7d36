"""What a person's answer leads to: said before the answer is lost, and after it is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import EventKind, Task, TaskStatus
from vespera_orchestrator._text import first_names, show_methods
from vespera_orchestrator.integrations.shell_calls import ANYTHING
from vespera_orchestrator.tasks import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import Event, JsonValue
    from vespera_orchestrator.orchestrator import Orchestrator

_WORDS: Final = "answer"
"""The output that free words become."""
_MOST_READY: Final = 1000
_MOST_NAMED: Final = 5


@show_methods
@attrs.frozen(kw_only=True)
class Answered:
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


def answer(orch: Orchestrator, asked: Task, values: Mapping[str, JsonValue]) -> Answered:
    """Record an answer, and find what it led to.

    Args:
        orch: The project.
        asked: The task that waits for it.
        values: The answer.
    """
    before = {task.id for task in orch.ready_tasks(_MOST_READY)}
    events: list[Event] = []
    stop_listening = orch.on_event(events.append)
    try:
        task = orch.answer(asked, dict(values))
    finally:
        stop_listening()
    ready = [task for task in orch.ready_tasks(_MOST_READY) if task.id not in before]
    skipped = [
        orch.get_task(event.task_id)
        for event in events
        if event.kind == EventKind.TASK_SKIPPED and event.task_id is not None
    ]
    return Answered(task=task, ready=tuple(ready), skipped=tuple(skipped))


def unread_words(orch: Orchestrator, asked: Task, words: str, value: JsonValue) -> str:
    """Say what to write instead of free words in which no condition finds what it reads.

    Args:
        orch: The project.
        asked: The task that waits for the answer.
        words: The words.
        value: What they mean, if they are yes or no.

    Returns:
        Empty if no condition reads anything else than the words.
    """
    readers: dict[str, str] = {}
    for task in orch.query_tasks(status=TaskStatus.PENDING, limit=None):
        for name in _outputs_read(task, asked.id):
            readers.setdefault(name, task.alias)
    readers.pop(_WORDS, None)
    if not readers:
        return ""
    example = repr(value) if isinstance(value, bool) else repr(ANYTHING)
    values = ", ".join(f"{name}={example}" for name in readers)
    reads = ", ".join(f"{alias} reads {asked.alias}.outputs.{n}" for n, alias in readers.items())
    return (
        f"Nothing is recorded yet: {reads}, and words alone do not say it. "
        f"Write: orch.answer({asked.alias!r}, {values})\n"
        f"If the words are all you want to say: orch.answer({asked.alias!r}, {_WORDS}={words!r})"
    )


def _outputs_read(task: Task, needed_id: str) -> list[str]:
    """Return the names of the outputs of a task that the condition of another one reads."""
    if task.condition is None or needed_id not in task.condition_names.values():
        return []
    references = conditions.parse(task.condition).references()
    return [
        str(reference.path[0])
        for reference in references
        if reference.path and task.condition_names.get(reference.name) == needed_id
    ]
