"""The way back in after a break, and what an agent needs to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._text import clip, one_line, tokens
from vespera_orchestrator.progress.status import Status, _elsewhere
from vespera_orchestrator.tasks.next_step import _person

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Attempt, Checkpoint, NextStep, Task, Why


BRIEFING_LINES: Final = 12
"""A tired person reads this much."""
_MANY: Final = 1000


@attrs.frozen(repr=False, kw_only=True)
class Briefing:
    """The way back in: where we were, what changed, the next step. At most 12 lines."""

    lines: tuple[str, ...]
    next_step: NextStep
    budget_tokens: int | None = None
    """About how long it may print; ``None`` for all lines."""

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        text = "\n".join(self.lines)
        if self.budget_tokens is None or tokens(text) <= self.budget_tokens:
            return text
        step = self.lines[-1]
        return clip(
            clip("\n".join(self.lines[:-1]), self.budget_tokens - tokens(step) - 1) + "\n" + step,
            self.budget_tokens,
        )


def briefing(
    status: Status, *, changes: Sequence[str], total: int, since: str, decisions: Sequence[Why]
) -> Briefing:
    """Write the briefing for a session.

    Args:
        status: Where it stands.
        changes: The newest of what happened since the last look, newest first, one line each.
        total: How much happened, a thousand meaning that or more.
        since: When that was, in words.
        decisions: Blocked tasks that wait for a person.
    """
    head = [
        f"Goal: {one_line(status.session.goal, 110) or '(none given)'}",
        status.line,
        *_elsewhere(status.elsewhere),
    ]
    tail = [one_line(f"Running: {run.line(status.as_of)}", 130) for run in status.running[:2]]
    tail += [one_line(f"To decide: {why.alias}: {_person(why)}", 130) for why in decisions[:2]]
    tail.append(f"Next: {status.next_step}")
    room = BRIEFING_LINES - len(head) - len(tail) - 1
    shown = [f"  {one_line(change, 120)}" for change in changes[: room - (total > room)]]
    if total > room:
        shown.append(f"  … and {total - len(shown)}{'+' if total >= _MANY else ''} more")
    middle = (
        [f"Since the last look, {since}:", *shown]
        if shown
        else [f"Nothing has changed since the last look, {since}."]
    )
    return Briefing(
        lines=(*head, *middle, *tail),
        next_step=status.next_step,
        budget_tokens=status.budget_tokens,
    )


def work_briefing(
    *,
    goal: str,
    task: Task,
    attempt: Attempt,
    resumed_from: Checkpoint | None,
    folder: str | None,
    conflicts: Sequence[str],
    behind: str,
    not_saved: Sequence[str],
    needed: Sequence[Task],
    budget_tokens: int,
) -> str:
    """Write what an agent needs to start, within a budget: the task, where to work, the last checkpoint, what it builds on."""
    lines = [f"# {task.title}", "", f"Goal of the session: {one_line(goal, 300)}"]
    lines += [f"Work in: {folder}"] if folder else []
    lines += (
        [
            f"Both sides of a conflict stand between markers in: {one_line(', '.join(conflicts), 600)}"
        ]
        if conflicts
        else []
    )
    lines += (
        [f"What was landed since is not in these files: {one_line(behind, 400)}"] if behind else []
    )
    lines += (
        [
            f"Files that the automatic saves leave out, for their size or kind: {one_line(', '.join(not_saved), 300)}"
        ]
        if not_saved
        else []
    )
    lines += ["", f"From the attempt before: {one_line(task.reason, 600)}"] if task.reason else []
    lines += ["", task.description] if task.description else []
    if (
        task.context and task.recovers_task_id is None
    ):  # a recovery's description tells what is in it
        lines += ["", "Context: " + one_line(str(dict(task.context)), 800)]
    if resumed_from is not None:
        lines += [
            "",
            f"This is attempt {attempt.number}. Go on from the last checkpoint: {resumed_from.note or '(no note)'}",
        ]
        lines += [f"Its state: {one_line(str(resumed_from.state), 800)}"]
    for other in needed:
        outputs = f"; outputs: {one_line(str(dict(other.outputs)), 400)}" if other.outputs else ""
        lines += [
            "",
            f"Builds on {other.alias} ({other.status}): {other.summary or other.title}{outputs}",
        ]
    return clip("\n".join(lines), budget_tokens)
