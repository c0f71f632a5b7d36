"""The pages for a day with little energy: one step, at most three choices, and gentle words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import one_line, plural
from vespera_orchestrator.tasks.effort import is_heavy
from vespera_orchestrator.tasks.next_step import beginning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vespera_orchestrator._model import NextStep, Session, Task

_RESTFUL: Final = frozenset({"wait", "done"})
"""Steps of these kinds without a call ask nothing of a person."""
_GOAL_WIDTH: Final = 80
_NOTE_WIDTH: Final = 200
_ALL_OF_IT: Final = "Everything else is kept: orch.set_energy('normal') shows it."


@attrs.frozen(kw_only=True)
class Gentleness(Record):
    """What a page for a day with little energy knows beside the status."""

    begun: int = 0
    """How many tasks the reader began today. Beginning counts."""
    completed: int = 0
    """How many the reader completed today."""
    others_completed: int = 0
    """How many others completed today."""
    is_for_person: bool = False
    """Whether a person reads it for certain: by the default name, their own word, or a setting."""


def page(session: Session, step: NextStep, ready: Sequence[Task], gentleness: Gentleness) -> str:
    """Write the status.

    Args:
        session: What it is about.
        step: The one thing to do now.
        ready: The best ready tasks; the first may be the one that the step starts.
        gentleness: What has been done today.
    """
    goal = one_line(session.goal, _GOAL_WIDTH)
    lines = [goal, _today(gentleness), *_step_lines(step), *_choices(step, ready)]
    return "\n".join(line for line in lines if line)


def way_back(goal: str, words: Sequence[str], step: NextStep, gentleness: Gentleness) -> list[str]:
    """Write the way back in.

    Args:
        goal: The session's.
        words: The lines that somebody left at a pause, and what the reader has in hand.
        step: The one thing to do now.
        gentleness: What has been done today.
    """
    goal_line = f"Goal: {one_line(goal, _GOAL_WIDTH)}" if goal else ""
    lines = [goal_line, *words, _today(gentleness), *_step_lines(step), _ALL_OF_IT]
    return [line for line in lines if line]


def begun(task: Task, folder: Path | None, note: str) -> str:
    """Write what somebody reads who has just started a task.

    Args:
        task: The task.
        folder: Where to work, if it is in a worktree.
        note: The note of its last checkpoint.
    """
    first = beginning(task)
    title = one_line(task.title, _GOAL_WIDTH)
    lines = [
        f"{title}: it is begun. That counts, and ten minutes are enough.",
        f"You were at: {one_line(note, _NOTE_WIDTH)}" if note else "",
        f"First: {first}" if first and not note else "",
        f"In: {folder}" if folder is not None else "",
        f"When it is done: orch.complete_task({task.alias!r})",
        f"Not today: orch.snooze_task({task.alias!r})",
    ]
    return "\n".join(line for line in lines if line)


def _today(gentleness: Gentleness) -> str:
    parts = []
    if gentleness.begun:
        parts.append(f"{plural(gentleness.begun, 'thing')} begun")
    if gentleness.completed:
        parts.append(f"{gentleness.completed} done")
    text = f"Today: {', '.join(parts)}. That counts." if parts else ""
    if gentleness.others_completed:
        text += f" Others have done {plural(gentleness.others_completed, 'thing')}."
    return text.strip()


def _is_restful(step: NextStep) -> bool:
    return step.action in _RESTFUL and not step.call


def _step_lines(step: NextStep) -> list[str]:
    if _is_restful(step):
        return ["Nothing needs you now. Rest."]
    return ["One thing, if you like:", f"  {step}"]


def _choices(step: NextStep, ready: Sequence[Task]) -> list[str]:
    """Offer what else there is: with the step itself, three choices at most."""
    if _is_restful(step):
        return []
    choices = []
    task = next((task for task in ready if task.id == step.task_id), None)
    if task is not None and is_heavy(task):
        choices.append(f"  a smaller piece of it  →  orch.simplify({task.alias!r})")
    if task is not None:
        choices.append(f"  not today  →  orch.snooze_task({task.alias!r})")
    else:
        choices.append("  not today: everything is kept  →  orch.pause()")
    return ["Or:", *choices]
