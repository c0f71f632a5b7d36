"""The page for a day with little energy: one step, at most three choices, and gentle words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._records import Record
from vespera_orchestrator._text import one_line, plural
from vespera_orchestrator.tasks.lifecycle import is_heavy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import NextStep, Session, Task

_NOTHING_TO_DO: Final = frozenset({"wait", "done"})
"""Next steps that ask nothing of a person."""
_GOAL_WIDTH: Final = 80


@attrs.frozen(kw_only=True)
class Gentleness(Record):
    """What a page for a day with little energy knows beside the status."""

    begun: int = 0
    """How many tasks were begun today. Beginning counts."""
    completed: int = 0
    """How many were completed today."""


def page(session: Session, step: NextStep, ready: Sequence[Task], gentleness: Gentleness) -> str:
    """Write the page.

    Args:
        session: What it is about.
        step: The one thing to do now.
        ready: The best ready tasks; the first may be the one that the step starts.
        gentleness: What has been done today.
    """
    lines = [_today(gentleness), *_step_lines(step), *_choices(step, ready)]
    goal = one_line(session.goal, _GOAL_WIDTH)
    if goal:
        lines.insert(0, goal)
    return "\n".join(line for line in lines if line)


def _today(gentleness: Gentleness) -> str:
    parts = []
    if gentleness.begun:
        parts.append(f"{plural(gentleness.begun, 'thing')} begun")
    if gentleness.completed:
        parts.append(f"{gentleness.completed} done")
    return f"Today: {', '.join(parts)}. That counts." if parts else ""


def _step_lines(step: NextStep) -> list[str]:
    if step.action in _NOTHING_TO_DO:
        return ["Nothing needs you now. Rest."]
    return ["One thing, if you like:", f"  {step}"]


def _choices(step: NextStep, ready: Sequence[Task]) -> list[str]:
    """Offer what else there is: with the step itself, three choices at most."""
    if step.action in _NOTHING_TO_DO:
        return []
    choices = []
    task = next((task for task in ready if task.id == step.task_id), None)
    if task is not None and is_heavy(task):
        choices.append(f"  a smaller piece of it  →  orch.simplify({task.alias!r})")
    choices.append("  not today: everything is kept  →  orch.pause()")
    return ["Or:", *choices]
