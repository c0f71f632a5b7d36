"""The way back in after a break."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import EventKind, NextStep
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import clip, one_line, tokens
from vespera_orchestrator.progress.status import Running, Status, elsewhere_lines
from vespera_orchestrator.tasks.next_step import decision_sentence

if TYPE_CHECKING:
    from vespera_orchestrator._model import Event, Task, Why

BRIEFING_LINES: Final = 12
"""A tired person reads this much."""
_LINE_WIDTH: Final = 130
_COUNTED_UP_TO: Final = 1000
"""The store returns no more events at a time; what comes behind them is not counted."""

CHANGE_WORDS: Final[dict[str, str]] = {
    EventKind.TASK_COMPLETED: "completed",
    EventKind.TASK_HANDED_IN: "done, waits to be merged",
    EventKind.TASK_BLOCKED: "blocked",
    EventKind.TASK_RECOVERED: "ready again after its recovery",
    EventKind.TASK_REVISED: "needs revision",
    EventKind.TASK_SKIPPED: "skipped",
    EventKind.TASK_CANCELLED: "cancelled",
    EventKind.TASK_FAILED: "given up",
    EventKind.TASK_RETRIED: "to be tried again",
    EventKind.LEASE_EXPIRED: "released: its agent stopped responding",
}
"""The events that a briefing reports, with what they did to their task."""


@attrs.frozen(repr=False, kw_only=True)
class Briefing(Record):
    """The way back in: where we were, what changed, the next step. At most 12 lines."""

    lines: tuple[str, ...]
    """Its text, line by line."""
    next_step: NextStep
    """What to do now."""
    budget_tokens: int | None = None
    """About how long it may print; ``None`` for all lines."""

    json_form = JsonForm(rest="orch.resume()", first=("next_step",), budget="budget_tokens")

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        text = "\n".join(self.lines)
        budget = self.budget_tokens
        if budget is None or tokens(text) <= budget:
            return text
        *body, step = self.lines
        room = budget - tokens(step) - 1
        short = clip("\n".join(body), room)
        return clip(f"{short}\n{step}", budget)


def change_line(event: Event, task: Task | None) -> str:
    """Say on one line what *event* did to *task*, which is ``None`` when it was deleted since."""
    data = event.data
    name = task.alias if task else data.get("alias", "")
    line = f"{name} {CHANGE_WORDS[event.kind]}"
    detail = data.get("summary") or data.get("reason")
    if detail:
        line += f": {detail}"
    return line


def briefing(
    status: Status, *, changes: Sequence[str], total: int, since: str, decisions: Sequence[Why]
) -> Briefing:
    """Write the briefing for a session.

    Args:
        status: Where it stands.
        changes: The newest changes since the last look, newest first, one line each.
        total: How many changes there were; a thousand means that or more.
        since: When the last look was, in words.
        decisions: Blocked tasks that wait for a person.
    """
    head = [
        f"Goal: {one_line(status.session.goal, 110) or '(none given)'}",
        status.line,
        *elsewhere_lines(status.elsewhere),
    ]
    tail = [f"Running: {run.line(status.as_of)}" for run in status.running[:2]]
    tail += _left_out_lines(status.running)
    tail += [f"To decide: {why.alias}: {decision_sentence(why)}" for why in decisions[:2]]
    tail = [one_line(line, _LINE_WIDTH) for line in tail]
    tail.append(f"Next: {status.next_step}")
    room = BRIEFING_LINES - len(head) - len(tail) - 1
    middle = _change_lines(changes, total, since, room)
    return Briefing(
        lines=(*head, *middle, *tail),
        next_step=status.next_step,
        budget_tokens=status.budget_tokens,
    )


def _left_out_lines(running: Sequence[Running]) -> list[str]:
    """Name on one line what the last saves of running tasks left out."""
    parts = [f"{', '.join(run.left_out)} ({run.task.alias})" for run in running if run.left_out]
    return [f"Left out of the last save: {'; '.join(parts)}"] if parts else []


def _change_lines(changes: Sequence[str], total: int, since: str, room: int) -> list[str]:
    is_cut = total > room
    visible = changes[: room - 1] if is_cut else changes[:room]
    lines = [f"  {one_line(change, 120)}" for change in visible]
    if is_cut:
        hidden = total - len(visible)
        plus = "+" if total >= _COUNTED_UP_TO else ""
        lines.append(f"  … and {hidden}{plus} more")
    if not lines:
        return [f"Nothing has changed since the last look, {since}."]
    return [f"Since the last look, {since}:", *lines]
