"""What people and agents read: the next step, the status at a glance, the way back in after a break."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import Artifact, Attempt, CauseKind, Checkpoint, NextStep, Reliance, Session, Task, TaskStatus, Why
from vespera_orchestrator.tasks import lifecycle as _rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

CHARS_PER_TOKEN: Final = 4
"""How many characters are counted as one token; English prose and code have between 3 and 5."""
BRIEFING_LINES: Final = 12
"""A tired person reads this much."""
_BAR: Final = 20
_MANY: Final = 1000


def tokens(text: str) -> int:
    """Estimate how many tokens *text* takes."""
    return -(-len(text) // CHARS_PER_TOKEN)


def clip(text: str, budget_tokens: int) -> str:
    """Cut *text* to about *budget_tokens*, at a line or a word, and say so with an ellipsis."""
    most = max(0, budget_tokens) * CHARS_PER_TOKEN
    if len(text) <= most:
        return text
    cut = text[: max(0, most - 2)]
    edge = max(cut.rfind("\n"), cut.rfind(" "))
    return (cut[:edge] if edge > len(cut) // 2 else cut).rstrip() + " …"


def one_line(text: str, width: int = 100) -> str:
    """Put *text* on one line of at most *width* characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"


# --- the next step ----------------------------------------------------------

NO_SESSION: Final = NextStep("initialize", "No session is active yet: say what you want to reach.", 'orch.initialize_session("…")')


def next_step(  # noqa: C901, PLR0911 - one return for each step there is
    *,
    counts: Mapping[TaskStatus, int],
    ready: Task | None,
    gathers: bool,
    running: int,
    decisions: Sequence[Why],
    waiting: Why | None,
    unreached: Task | None,
    synthesis: str | None = None,
    archived: bool = False,
    landed_on: str | None = None,
    unmerged: Sequence[Task] = (),
) -> NextStep:
    """Choose the one thing to do now.

    Args:
        counts: Tasks by status.
        ready: The best ready task.
        gathers: Whether that task is a parent whose subtasks have all ended.
        running: How many tasks are held.
        decisions: Blocked tasks that wait for a person.
        waiting: Any pending task that is not ready, with its causes.
        synthesis: The id of what its results were brought together in, if that was done.
        landed_on: The branch that has the work, when everything has ended and some of it has landed.
        archived: Whether there were tasks, and all of them are archived.
        unreached: A task that was given up or cancelled, when nothing is open any more.
        unmerged: Tasks whose work is done and waits to be merged, the one to begin with first. They are not counted as running.
    """
    if archived:
        return NextStep("done", "Everything has ended and is put away in the archive. Plan on, or stop here.", 'orch.plan_task("…")')
    if not sum(counts.values()):
        return NextStep("plan", "The session has no tasks yet: plan the first one.", 'orch.plan_task("…")')
    if ready is not None and gathers and synthesis is not None:
        sentence = f"The results of {one_line(ready.title, 90)!r} are brought together in {synthesis}: read it, then complete the task."
        call = f"orch.complete_task({ready.alias!r}, summary=…, detailed_work=…)"
        return NextStep("execute", sentence, call, ready.id, ready.alias)
    if ready is not None and gathers:
        sentence = f"All subtasks of {one_line(ready.title, 90)!r} have ended: bring their results together, then complete it."
        return NextStep("synthesize", sentence, f"orch.synthesize_results({ready.alias!r})", ready.id, ready.alias)
    if ready is not None:
        back = _rules.given_back(ready)
        sentence = f"Start {one_line(ready.title, 90)!r}." + (f" It was given back with: {one_line(back, 200)}." if back else "")
        return NextStep("execute", sentence, f"orch.execute_task({ready.alias!r})", ready.id, ready.alias)
    if unmerged:
        return _merge_step(unmerged)
    if running:
        tasks = "One task is" if running == 1 else f"{running} tasks are"
        also = f" Meanwhile you could decide about {decisions[0].alias}: {_person(decisions[0])}." if decisions else ""
        return NextStep("wait", f"{tasks} being worked on; there is nothing you must do.{also}", "orch.get_status()")
    if decisions:
        first = decisions[0]
        return NextStep("decide", f"{first.alias}: {_person(first)}", f"orch.retry_task({first.alias!r})", first.task_id, first.alias)
    if waiting is not None:
        return NextStep(
            "decide", f"Nothing can go on by itself: {waiting}.", f"orch.why({waiting.alias!r})", waiting.task_id, waiting.alias
        )
    if unreached is not None:
        what = f"{unreached.alias} {unreached.status} ({one_line(unreached.reason or 'no reason given')})"
        sentence = f"Everything has ended, but not all was reached: {what}.{_where(landed_on)}"
        call = "" if unreached.status is TaskStatus.CANCELLED else f"orch.retry_task({unreached.alias!r})"  # that was somebody's will
        return NextStep("done", sentence, call, unreached.id, unreached.alias)
    return NextStep("done", f"Everything has ended: {_counted(counts)}.{_where(landed_on)}", "")


def _where(branch: str | None) -> str:
    return "" if branch is None else f" The work is on the branch {branch!r}: git merge {branch}"


def _merge_step(unmerged: Sequence[Task]) -> NextStep:
    first, more = unmerged[0], f" ({len(unmerged) - 1} more after it)" if len(unmerged) > 1 else ""
    sentence = f"The work of {one_line(first.title, 90)!r} is done and waits to be merged{more}."
    if first.reason:
        sentence += f" It could not be at once: {one_line(first.reason, 400)}"
    return NextStep("merge", sentence, f"orch.worktrees.merge({first.alias!r})", first.id, first.alias)


def _person(why: Why) -> str:
    return next((c.sentence for c in why.causes if c.kind is CauseKind.PERSON), str(why))


def _counted(counts: Mapping[TaskStatus, int]) -> str:
    return ", ".join(f"{number} {status.replace('_', ' ')}" for status in TaskStatus if (number := counts.get(status, 0))) or "no tasks"


def back_to(session: Session) -> NextStep:
    """Point to a session that was left, when none is active."""
    sentence = f"No session is active, but there is one: {one_line(session.goal, 90) or session.id}."
    return NextStep("initialize", sentence, f"orch.resume_session({session.id!r})")


# --- status -----------------------------------------------------------------


@attrs.frozen
class Running:
    """A task that somebody holds."""

    task: Task
    attempt: Attempt
    checkpoint: Checkpoint | None

    def line(self, now: datetime) -> str:
        """Describe it on one line; *now* dates the last sign of life."""
        if self.attempt.ending == _rules.HANDED_IN:
            return one_line(f"{self.task.alias}: done by {self.attempt.agent}, {_rules.merging(self.task)}", 400)
        seconds = max(0, int((now - self.attempt.last_sign_at).total_seconds()))
        share = f", {self.checkpoint.progress:.0%}" if self.checkpoint and self.checkpoint.progress is not None else ""
        note = f", {self.checkpoint.note!r}" if self.checkpoint and self.checkpoint.note else ""
        return one_line(f"{self.task.alias}: {self.attempt.agent}{share}{note}, last sign of life {_rules.ago(seconds)}", 120)


@attrs.frozen(repr=False)
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
    outdated: tuple[Reliance, ...]
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
        return sum(self.planned.values()) - self.planned.get(TaskStatus.SKIPPED, 0) - self.planned.get(TaskStatus.CANCELLED, 0)

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
        within = f", parent_task_id={self.parent.alias!r}, include_children=True" if self.parent else ""
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
            found.append(("Conflicts ahead", list(self.clashes), len(self.clashes), "orch.worktrees.forecast()"))
        if self.outdated:
            found.append(
                (
                    "Given what has changed since",
                    [str(g) for g in self.outdated],
                    len(self.outdated),
                    "orch.artifacts.reliances(outdated=True)",
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
            body = [line for part in self._parts() for line in _section(*part, most=len(self.completed) if part[0] == "Completed" else 5)]
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


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


@attrs.frozen(repr=False)
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
            f"{self.session}\n{bar(self.percent)} {self.percent:.0f} %: {_counted(self.counts)}; {_number(self.artifacts, 'artifact')}, "
            f"{_number(self.worktrees, 'worktree')}; last written {self.session.updated_at:%Y-%m-%d %H:%M} UTC\nNext: {self.next_step}"
        )


# --- coming back ------------------------------------------------------------


@attrs.frozen(repr=False)
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
        return clip(clip("\n".join(self.lines[:-1]), self.budget_tokens - tokens(step) - 1) + "\n" + step, self.budget_tokens)


def briefing(status: Status, *, changes: Sequence[str], total: int, since: str, decisions: Sequence[Why]) -> Briefing:
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
    middle = [f"Since the last look, {since}:", *shown] if shown else [f"Nothing has changed since the last look, {since}."]
    return Briefing((*head, *middle, *tail), status.next_step, status.budget_tokens)


# --- briefing an agent ------------------------------------------------------


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
    lines += [f"Both sides of a conflict stand between markers in: {one_line(', '.join(conflicts), 600)}"] if conflicts else []
    lines += [f"What was landed since is not in these files: {one_line(behind, 400)}"] if behind else []
    lines += (
        [f"Files that the automatic saves leave out, for their size or kind: {one_line(', '.join(not_saved), 300)}"] if not_saved else []
    )
    lines += ["", f"From the attempt before: {one_line(task.reason, 600)}"] if task.reason else []
    lines += ["", task.description] if task.description else []
    if task.context and task.recovers_task_id is None:  # a recovery's description tells what is in it
        lines += ["", "Context: " + one_line(str(dict(task.context)), 800)]
    if resumed_from is not None:
        lines += ["", f"This is attempt {attempt.number}. Go on from the last checkpoint: {resumed_from.note or '(no note)'}"]
        lines += [f"Its state: {one_line(str(resumed_from.state), 800)}"]
    for other in needed:
        outputs = f"; outputs: {one_line(str(dict(other.outputs)), 400)}" if other.outputs else ""
        lines += ["", f"Builds on {other.alias} ({other.status}): {other.summary or other.title}{outputs}"]
    return clip("\n".join(lines), budget_tokens)


# --- bringing together ------------------------------------------------------


def synthesis(
    parent: Task,
    children: Sequence[Task],
    found: Sequence[Artifact],
    open_whys: Sequence[Why],
    excerpt: Callable[[Artifact, int], str],
    *,
    budget_tokens: int,
) -> str:
    """Write what the subtasks brought: how they ended, what is missing, and of each artifact its id and an excerpt.

    Args:
        parent: The task they are parts of.
        children: The subtasks.
        found: Their artifacts.
        open_whys: For each subtask that has not ended, why.
        excerpt: Gives the beginning of an artifact's text within so many tokens.
        budget_tokens: About how long the excerpts may be together; beyond it artifacts are named, and beyond that counted.
    """
    planned = [child for child in children if child.recovers_task_id is None]
    completed = [child for child in planned if child.status is TaskStatus.COMPLETED]
    missing = [str(why) for why in open_whys]
    missing += [_ended(c) for c in planned if c.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}]
    skipped = [_ended(c) for c in planned if c.status is TaskStatus.SKIPPED]
    rest = f"orch.query_tasks(parent_task_id={parent.alias!r}, limit=None)"
    lines = [f"# {one_line(parent.title, 200)}", "", f"{len(completed)} of {len(planned)} subtasks are completed."]
    lines += _listed("What is missing", missing, rest)
    lines += _listed("What was not needed or could not be", skipped, rest)
    by_task: dict[str, list[Artifact]] = {}
    for artifact in found:
        by_task.setdefault(str(artifact.task_id), []).append(artifact)
    share = budget_tokens // max(1, len(found))
    told = [child for child in children if child in completed or child.id in by_task]
    for child in told[: max(1, budget_tokens // _NAMING)]:
        lines += _brought(child, by_task.get(child.id, ()), min(share, _EXCERPT), excerpt)
    if len(told) > max(1, budget_tokens // _NAMING):
        lines += ["", f"… and the results of {len(told) - max(1, budget_tokens // _NAMING)} more subtasks: {rest}"]
    return "\n".join(lines) + "\n"


_LISTED: Final = 50
"""So many unfinished subtasks are named; the rest are counted."""
_EXCERPT: Final = 200
"""Longest excerpt of one artifact, in tokens."""
SHORTEST: Final = 20
"""A shorter excerpt says nothing: the artifact is only named."""
_NAMING: Final = 25
"""About how many tokens it takes to name a subtask and its artifacts."""


def _listed(title: str, entries: Sequence[str], rest: str) -> list[str]:
    if not entries:
        return []
    more = [f"- … and {len(entries) - _LISTED} more: {rest}"] if len(entries) > _LISTED else []
    return ["", f"## {title}", "", *(f"- {one_line(entry, 300)}" for entry in entries[:_LISTED]), *more]


def _brought(child: Task, artifacts: Sequence[Artifact], share: int, excerpt: Callable[[Artifact, int], str]) -> list[str]:
    lines = ["", f"## {one_line(child.title, 200)}", "", one_line(child.summary or "(no summary)", 300)]
    if child.outputs:
        lines += ["", f"Outputs: `{one_line(dump_json(dict(child.outputs), 'outputs'), 400)}`"]
    for artifact in artifacts:
        name = f"{one_line(artifact.title, 200)}, {artifact.id}{' (cut short)' if artifact.partial else ''}"
        if share < SHORTEST:
            lines += ["", f"See {name}."]
        else:
            lines += ["", f"From {name}:", "", *_quoted(excerpt(artifact, share))]
    return lines


def _ended(task: Task) -> str:
    return f"{task.alias} is {task.status}{f': {task.reason}' if task.reason else ''}"


def _quoted(text: str) -> list[str]:
    return [f"> {line}".rstrip() for line in text.splitlines()]
