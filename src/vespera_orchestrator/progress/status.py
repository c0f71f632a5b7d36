"""What people and agents read: the next step, the status at a glance, the way back in after a break."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import (
    Attempt,
    Checkpoint,
    ContextUse,
    NextStep,
    Session,
    Task,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import ago, clip, one_line, plural, tokens
from vespera_orchestrator.tasks import lifecycle
from vespera_orchestrator.tasks.next_step import _counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

_BAR: Final = 20


# --- the next step ----------------------------------------------------------


# --- status -----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Running:
    """A task that somebody holds."""

    task: Task
    attempt: Attempt
    checkpoint: Checkpoint | None

    def line(self, now: datetime) -> str:
        """Describe it on one line; *now* dates the last sign of life."""
        if self.attempt.ending == lifecycle.HANDED_IN:
            return one_line(
                f"{self.task.alias}: done by {self.attempt.agent}, {lifecycle.merging(self.task)}",
                400,
            )
        seconds = max(0, int((now - self.attempt.last_sign_at).total_seconds()))
        share = (
            f", {self.checkpoint.progress:.0%}"
            if self.checkpoint and self.checkpoint.progress is not None
            else ""
        )
        note = f", {self.checkpoint.note!r}" if self.checkpoint and self.checkpoint.note else ""
        return one_line(
            f"{self.task.alias}: {self.attempt.agent}{share}{note}, last sign of life {ago(seconds)}",
            120,
        )


@attrs.frozen(repr=False, kw_only=True)
class Status:
    """Where a session, or the subtree of one task, stands. Prints as a page of constant size."""

    session: Session
    parent: Task | None
    """The task whose subtree is counted; ``None`` for the whole session."""
    counts: Mapping[TaskStatus, int]
    """How many tasks of each status; archived ones apart."""
    planned: Mapping[TaskStatus, int]
    """The same without recovery tasks."""
    elsewhere: int
    """How many other sessions have tasks that have not ended."""
    ready: tuple[Task, ...]
    """The best ready tasks, at most ten."""
    running: tuple[Running, ...]
    """What is held, the longest running first, at most ten."""
    blocked: tuple[Why, ...]
    """Blocked tasks with their causes, at most ten."""
    completed: tuple[Task, ...]
    """Completed tasks; empty unless asked for."""
    chain: tuple[Task, ...]
    """The first tasks, at most ten, of the longest chain of open work, by estimated effort."""
    clashes: tuple[str, ...]
    """Worktrees that would conflict as they were last saved, a line each; see `Worktrees.forecast`."""
    next_step: NextStep
    outdated: tuple[ContextUse, ...]
    """Tasks that were given a version of an artifact which has a later one by now, at most ten."""
    as_of: datetime
    budget_tokens: int | None
    """About how long it may print; ``None`` for the usual page."""
    draw: Callable[[], str] = attrs.field(eq=False, repr=False)
    """Makes the drawing when it is asked for."""

    @property
    def total(self) -> int:
        """How many tasks there are."""
        return sum(self.counts.values())

    @property
    def completed_count(self) -> int:
        """How many planned tasks are completed; recovery tasks do not count."""
        return self.planned.get(TaskStatus.COMPLETED, 0)

    @property
    def wanted_count(self) -> int:
        """How many planned tasks there are to complete: all but those that were skipped or cancelled."""
        return (
            sum(self.planned.values())
            - self.planned.get(TaskStatus.SKIPPED, 0)
            - self.planned.get(TaskStatus.CANCELLED, 0)
        )

    @property
    def percent(self) -> float:
        """Share of the wanted tasks that are completed, 0 to 100; 0 without any."""
        return 100 * self.completed_count / self.wanted_count if self.wanted_count else 0.0

    @property
    def line(self) -> str:
        """Progress on one line."""
        share = f"{self.completed_count} of {self.wanted_count} completed ({self.percent:.0f} %)"
        return f"{bar(self.percent)} {share}; all tasks: {_counted(self.counts)}"

    def to_mermaid(self) -> str:
        """Draw the session's graph as Mermaid text."""
        return self.draw()

    def _title(self) -> str:
        if self.parent is not None:
            return f"{one_line(self.parent.title, 90)}  ({self.parent.alias})"
        return f"{one_line(self.session.goal, 90) or 'Session'}  ({self.session.id})"

    def _parts(self) -> list[tuple[str, list[str], int, str]]:
        """Return title, lines, how many there are in all, and the call that gives the rest."""
        within = (
            f", parent_task_id={self.parent.alias!r}, include_children=True" if self.parent else ""
        )
        parts = [
            ("Blocked", [str(why) for why in self.blocked], TaskStatus.BLOCKED),
            ("Running", [run.line(self.as_of) for run in self.running], TaskStatus.IN_PROGRESS),
            ("Completed", [f"{t.alias}: {t.summary or t.title}" for t in self.completed], None),
        ]
        found = [
            (
                title,
                lines,
                self.counts.get(status, 0) if status else len(lines),
                f"orch.query_tasks(status={str(status or 'completed')!r}{within})",
            )
            for title, lines, status in parts
        ]
        if self.clashes:
            found.append(
                (
                    "Conflicts ahead",
                    list(self.clashes),
                    len(self.clashes),
                    "orch.worktrees.forecast()",
                )
            )
        if self.outdated:
            found.append(
                (
                    "Given what has changed since",
                    [str(g) for g in self.outdated],
                    len(self.outdated),
                    "orch.artifacts.context_uses(outdated=True)",
                )
            )
        if len(self.chain) > 1:
            path = " → ".join(task.alias for task in self.chain)
            found.append(("Longest chain ahead", [path], 1, "orch.graph().critical_path()"))
        return found

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        head = [self._title(), self.line]
        last = f"Next: {self.next_step}"
        if self.budget_tokens is None:
            body = [
                line
                for part in self._parts()
                for line in _section(
                    *part, most=len(self.completed) if part[0] == "Completed" else 5
                )
            ]
            return "\n".join([*head, *body, *_elsewhere(self.elsewhere), last])
        left = self.budget_tokens - tokens("\n".join([*head, last]))
        body = []
        for part in self._parts():
            for most in range(len(part[1]), -1, -1):
                lines = _section(*part, most=most)
                if tokens("\n".join(lines)) <= left:
                    body += lines
                    left -= tokens("\n".join(lines))
                    break
        return clip("\n".join([*head, *body, last]), max(self.budget_tokens, 1))

    def _repr_html_(self) -> str:
        share = f'<progress max="100" value="{self.percent:.0f}" style="width:16em"></progress>'
        body = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{title}</th>"
            f"<td style='text-align:left'>{'<br>'.join(html.escape(one_line(line, 160)) for line in lines)}</td></tr>"
            for title, lines, _, _ in self._parts()
            if lines
        )
        return (
            f"<div><b>{html.escape(self._title())}</b><br>{share} "
            f"{self.completed_count} of {self.wanted_count} completed; all tasks: {html.escape(_counted(self.counts))}"
            f"<table>{body}</table>Next: {html.escape(str(self.next_step))}</div>"
        )


def _elsewhere(number: int) -> list[str]:
    if not number:
        return []
    sessions = "1 other session has" if number == 1 else f"{number} other sessions have"
    return [f"Elsewhere: {sessions} open tasks: orch.list_sessions(), orch.resume_session(…)"]


def bar(percent: float) -> str:
    """Draw a share of 0 to 100 as a bar."""
    full = round(percent / 100 * _BAR)
    return "[" + "#" * full + "." * (_BAR - full) + "]"


def _section(title: str, lines: Sequence[str], total: int, rest: str, *, most: int) -> list[str]:
    if not lines:
        return []
    shown = [f"  {one_line(line, 120)}" for line in lines[:most]]
    more = [f"  … and {total - len(shown)} more: {rest}"] if total > len(shown) else []
    return [f"{title}:", *shown, *more]


@attrs.frozen(repr=False, kw_only=True)
class SessionStatus:
    """A session's progress in figures."""

    session: Session
    counts: Mapping[TaskStatus, int]
    percent: float
    """Share of the wanted tasks that are completed, 0 to 100; see `Status.percent`."""
    artifacts: int
    """How many current artifacts there are."""
    worktrees: int
    """How many worktrees are in use."""
    events: int
    """Position of the session's last event in the log."""
    next_step: NextStep

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return (
            f"{self.session}\n{bar(self.percent)} {self.percent:.0f} %: {_counted(self.counts)}; {plural(self.artifacts, 'artifact')}, "
            f"{plural(self.worktrees, 'worktree')}; last written {self.session.updated_at:%Y-%m-%d %H:%M} UTC\nNext: {self.next_step}"
        )


# --- coming back ------------------------------------------------------------


# --- briefing an agent ------------------------------------------------------


# --- bringing together ------------------------------------------------------
