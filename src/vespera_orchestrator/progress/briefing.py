"""The way back in after a break, and what an agent needs to start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import EventKind, NextStep
from vespera_orchestrator._text import clip, one_line, tokens
from vespera_orchestrator.progress.status import Running, Status, elsewhere_lines
from vespera_orchestrator.tasks.next_step import decision_sentence

if TYPE_CHECKING:
    from vespera_orchestrator._model import (
        Attempt,
        Checkpoint,
        Event,
        GitOperation,
        HandedIn,
        Task,
        Why,
    )

BRIEFING_LINES: Final = 12
"""A tired person reads this much."""
_LINE_WIDTH: Final = 130
_MAX_IDS: Final = 20
"""How many artifacts a briefing names."""
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
class Briefing:
    """The way back in: where we were, what changed, the next step. At most 12 lines."""

    lines: tuple[str, ...]
    """Its text, line by line."""
    next_step: NextStep
    """What to do now."""
    budget_tokens: int | None = None
    """About how long it may print; ``None`` for all lines."""

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


@attrs.frozen(kw_only=True)
class WorkFacts:
    """What the briefing of an agent is written from."""

    goal: str
    """The goal of the session."""
    task: Task
    attempt: Attempt
    resumed_from: Checkpoint | None = None
    handed_in: HandedIn | None = None
    """What an earlier attempt handed in and only failed to land."""
    folder: str | None = None
    """Where to work."""
    operation: GitOperation | None = None
    """The git operation that is under way there."""
    conflicts: Sequence[str] = ()
    """Files that still hold both sides of a conflict between markers."""
    behind: str = ""
    """What is on the integration branch and not in these files, in words."""
    left_out: Sequence[str] = ()
    """Paths that automatic saves leave out."""
    needed: Sequence[Task] = ()
    """The tasks it builds on."""


def work_briefing(facts: WorkFacts, *, budget_tokens: int) -> str:
    """Write what an agent needs to start: the task, where to work, what it goes on from."""
    lines = [
        f"# {facts.task.title}",
        "",
        f"Goal of the session: {one_line(facts.goal, 300)}",
        *_folder_lines(facts),
        *_handed_in_lines(facts.handed_in),
        *_task_lines(facts.task),
        *_checkpoint_lines(facts),
    ]
    for task in facts.needed:
        lines += _needed_lines(task)
    return clip("\n".join(lines), budget_tokens)


def _folder_lines(facts: WorkFacts) -> list[str]:
    lines = []
    if facts.folder:
        lines.append(f"Work in: {facts.folder}")
    if facts.conflicts:
        paths = one_line(", ".join(facts.conflicts), 600)
        lines.append(f"Both sides of a conflict are between markers in: {paths}")
    if facts.operation is not None:
        lines.append(_operation_line(facts.operation))
    if facts.behind:
        behind = one_line(facts.behind, 400)
        lines.append(f"Newer work on the integration branch is not merged here yet: {behind}")
    if facts.left_out:
        paths = one_line(", ".join(facts.left_out), 300)
        lines.append(f"Files that automatic saves leave out, for their size or kind: {paths}")
    return lines


def _handed_in_lines(work: HandedIn | None) -> list[str]:
    if work is None:
        return []
    reason = one_line(work.reason, 400)
    lines = [
        "",
        f"Attempt {work.attempt} handed in the finished work; only its landing failed: {reason}",
        "Do not do the work again: settle that, look at the files, and complete.",
    ]
    if work.summary:
        lines.append(f"Its summary: {one_line(work.summary, 300)}")
    if work.outputs:
        lines.append(f"Its outputs: {one_line(str(dict(work.outputs)), 800)}")
    if work.artifact_ids:
        ids = ", ".join(work.artifact_ids[:_MAX_IDS])
        lines.append(f"What it saved, for orch.artifacts.read(…): {ids}")
    return lines


def _operation_line(operation: GitOperation) -> str:
    return (
        f"A git {operation} is under way there, with commits or conflicts that are in no file yet. "
        f"Nothing lands before it has ended: finish it ({operation.finish}) or give it up "
        f"({operation.abandon})"
    )


def _task_lines(task: Task) -> list[str]:
    lines = []
    if task.reason:
        lines += ["", f"From the attempt before: {one_line(task.reason, 600)}"]
    if task.description:
        lines += ["", task.description]
    if task.acceptance:
        lines += ["", f"Done when: {task.acceptance}"]
    is_recovery = task.recovers_task_id is not None
    if task.context and not is_recovery:  # the description of a recovery says what is in it
        lines += ["", f"Context: {one_line(str(dict(task.context)), 800)}"]
    return lines


def _checkpoint_lines(facts: WorkFacts) -> list[str]:
    checkpoint = facts.resumed_from
    if checkpoint is None:
        return []
    note = checkpoint.note or "(no note)"
    return [
        "",
        f"This is attempt {facts.attempt.number}. Go on from the last checkpoint: {note}",
        f"Its state: {one_line(str(checkpoint.state), 800)}",
    ]


def _needed_lines(task: Task) -> list[str]:
    result = task.summary or task.title
    line = f"Builds on {task.alias} ({task.status}): {result}"
    if task.outputs:
        outputs = str(dict(task.outputs))
        line += f"; outputs: {one_line(outputs, 400)}"
    return ["", line]
