"""What the command line asks back: people in a shell repeat a line, or mistype a name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator._text import first_names
from vespera_orchestrator.errors import PlanError
from vespera_orchestrator.tasks.aliases import slug
from vespera_orchestrator.tasks.plan_text import tasks_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.orchestrator import Orchestrator

_MOST_NAMED: Final = 3


def second_plan(orch: Orchestrator, text: str) -> str:
    """Ask what is meant by a plan whose tasks are there already.

    Args:
        orch: The project.
        text: The plan.

    Returns:
        Empty if all of it is new, or if it cannot be read, which planning tells.
    """
    try:
        aliases = dict.fromkeys(_aliases(tasks_in(text)))
    except PlanError:
        return ""
    if orch.current_session() is None:
        return ""
    known = {task.alias for task in orch.query_tasks(limit=None, include_archived=True)}
    again = [alias for alias in aliases if alias in known]
    if not again:
        return ""
    names = first_names(again, _MOST_NAMED)
    is_there = "is" if len(again) == 1 else "are"
    return (
        f"Nothing is planned yet: {names} {is_there} there already. Which do you mean?\n"
        "Plan what is new, and change what is different: orch.plan_tasks(…, existing='update')\n"
        "Plan only what is new: orch.plan_tasks(…, existing='keep')\n"
        "Plan all of it once more: orch.plan_tasks(…, existing='again')"
    )


def _aliases(tasks: Any) -> Iterator[str]:
    """Yield the alias that each task of a plan has, or gets from its title."""
    for task in tasks if isinstance(tasks, list) else ():
        if not isinstance(task, dict):
            continue
        alias, title = task.get("alias"), task.get("title")
        if isinstance(alias, str):
            yield alias
        elif isinstance(title, str):
            yield slug(title)
        yield from _aliases(task.get("children"))


def similar_signal(orch: Orchestrator, name: str, payload: Mapping[str, JsonValue]) -> str:
    """Name the signal that a task waits for, and that was probably meant; empty if none is.

    Args:
        orch: The project.
        name: The name that was written.
        payload: What was reported with it, which the call says again.
    """
    waiting = {
        task.signal: task.alias
        for task in orch.query_tasks(status=TaskStatus.PENDING, limit=None)
        if task.signal is not None
    }
    for similar in difflib.get_close_matches(name, waiting, n=1):
        values = f", {dict(payload)!r}" if payload else ""
        call = f"orch.signal({similar!r}{values})"
        return f"Did you mean {similar}? {waiting[similar]} waits for it: {call}"
    return ""
