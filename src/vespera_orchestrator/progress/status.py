"""The status of a session at a glance, on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from vespera_orchestrator import _attrs as attrs
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
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import ago, clip, one_line, plain_start, plural, tokens
from vespera_orchestrator.progress import low_energy
from vespera_orchestrator.progress.low_energy import Gentleness  # noqa: TC001 - hints resolve
from vespera_orchestrator.tasks import causes, dates
from vespera_orchestrator.tasks.next_step import counts_line

_LINE_WIDTH: Final = 200
"""Longest line within a section: so long that no call in a sentence of ours is cut."""
_QUESTION_WIDTH: Final = 120
_BAR_WIDTH: Final = 20
"""In characters."""


@attrs.frozen(kw_only=True)
class Running(Record):
    """A task that an agent holds."""

    task: Task
    """The task."""
    attempt: Attempt
    """The attempt that holds it."""
    checkpoint: Checkpoint | None
    """The last one that it saved, if any."""
    has_left: bool = False
    """Whether the process in which it was taken has ended for certain."""
    place: str = ""
    """Where its work waits to be merged, if that is in a worktree of another home."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What that one left out of the worktree's files."""
        return () if self.checkpoint is None else self.checkpoint.left_out

    def line(self, now: datetime) -> str:
        """Describe it on one line; *now* is when the last sign of life is looked back to from."""
        agent = self.attempt.agent
        if self.attempt.is_handed_in:
            merge = causes.merge_hint(self.task)
            if self.place:
                merge += f" (on {self.place})"
            return one_line(f"{self.task.alias}: done by {agent}, {merge}", 400)
        silent_s = max(0, int((now - self.attempt.last_sign_at).total_seconds()))
        progress = self._progress()
        ended = ", and its process has ended" if self.has_left else ""
        line = one_line(
            f"{self.task.alias}: {agent}{progress}, last sign of life {ago(silent_s)}{ended}", 150
        )
        if self.left_out:
            paths = ", ".join(self.left_out)
            line += f"; left out of its save: {one_line(paths, 120)}"
        return line

    def _progress(self) -> str:
        if self.checkpoint is None:
            return ""
        words = ""
        if self.checkpoint.progress is not None:
            words += f", {self.checkpoint.progress:.0%}"
        if self.checkpoint.note:
            words += f", {self.checkpoint.note!r}"
        return words


@attrs.frozen
class Drawing:
    """Draws the graph when it is called. Where it is pickled, it is drawn then."""

    source: Callable[[], str]
    """Reads the graph and draws it."""

    def __call__(self) -> str:
        """Draw the graph as it is now."""
        return self.source()

    def __reduce__(self) -> tuple[type[_Drawn], tuple[str]]:
        return _Drawn, (self.source(),)


@attrs.frozen
class _Drawn:
    """A drawing that was made before."""

    text: str

    def __call__(self) -> str:
        return self.text


@attrs.frozen(repr=False, kw_only=True)
class Status(Record):
    """Where a session, or the subtree of one task, stands. Prints as a page of constant size."""

    session: Session
    """The session."""
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
    dated: tuple[Task, ...] = ()
    """Open tasks whose due date is over or within two days, the first one first, at most ten."""
    dated_after: Mapping[str, str] = attrs.field(factory=dict)
    """For those of them that wait for others: by their ids, the alias of one that comes first."""
    questions: tuple[Task, ...] = ()
    """Tasks that wait for your answer, at most ten."""
    resting: tuple[Task, ...] = ()
    """Tasks that pause until a moment, the first to wake first, at most ten: those with a
    ``not_before``, snoozed ones, and those that are tried again by themselves.
    """
    chain: tuple[Task, ...]
    """The first tasks, at most ten, of the longest chain of open work, by estimated effort."""
    clashes: tuple[str, ...]
    """Worktrees that would conflict as they were last saved; see `Worktrees.forecast`."""
    next_step: NextStep
    """What to do now."""
    outdated: tuple[ContextUse, ...]
    """Tasks that were given a version of an artifact which has a later one by now, at most ten."""
    as_of: datetime
    """When it was read."""
    budget_tokens: int | None
    """About how long it may print; ``None`` for the usual page."""
    draw: Callable[[], str] = attrs.field(eq=False, repr=False)
    """Makes the drawing when it is asked for."""
    gentleness: Gentleness | None = None
    """What was done today, on a day with little energy: the page is short and gentle then. ``None``
    on any other day.
    """

    json_form = JsonForm(
        properties=("total", "completed_count", "wanted_count", "percent"),
        omit=("draw",),
        details=("planned", "as_of"),
        rest="orch.get_status({part})",
        rest_of={
            "blocked": "orch.query_tasks(status='blocked', {queried_part})",
            "completed": "orch.query_tasks(status='completed', {queried_part})",
            "running": "orch.query_tasks(status='in_progress', {queried_part})",
            "ready": "orch.query_tasks(ready=True, {queried_part})",
            "outdated": "orch.artifacts.context_uses(outdated=True)",
            "clashes": "orch.worktrees.forecast()",
            "chain": "orch.graph().critical_path()",
            "questions": "orch.get_status({part}).questions",
            "dated": "orch.get_status({part}).dated",
            "resting": "orch.get_status({part}).resting",
        },
        first=("next_step", "percent", "counts"),
        budget="budget_tokens",
    )

    @property
    def part(self) -> str:
        """The arguments with which `Orchestrator.get_status` returns the same."""
        if self.parent is not None:
            return f"parent_task_id={self.parent.alias!r}"
        return f"session_id={self.session.id!r}"

    @property
    def queried_part(self) -> str:
        """The arguments with which `Orchestrator.query_tasks` looks at the same tasks."""
        return self.part if self.parent is None else f"{self.part}, include_children=True"

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
        """How many planned tasks there are to complete, without those skipped or cancelled."""
        unwanted = {TaskStatus.SKIPPED, TaskStatus.CANCELLED}
        counts = self.planned.items()
        return sum(count for status, count in counts if status not in unwanted)

    @property
    def percent(self) -> float:
        """Share of the wanted tasks that are completed, 0 to 100; 0 without any.

        A question is one of them: to answer it is a step, too.
        """
        if not self.wanted_count:
            return 0.0
        return 100 * self.completed_count / self.wanted_count

    @property
    def line(self) -> str:
        """Progress on one line."""
        drawing = bar(self.percent)
        completed = f"{self.completed_count} of {self.wanted_count} completed"
        share = f"{self.percent:.0f} %"
        counts = counts_line(self.counts)
        asked = f", {plural(len(self.questions), 'question')} to answer" if self.questions else ""
        return f"{drawing} {completed} ({share}){asked}; all tasks: {counts}"

    def to_mermaid(self) -> str:
        """Draw the session's graph as Mermaid text."""
        return self.draw()

    def _title(self) -> str:
        parent, session = self.parent, self.session
        if parent is not None:
            title = one_line(parent.title, 90)
            return f"{title}  ({parent.alias})"
        goal = plain_start(one_line(session.goal, 90)) or "Session"
        return f"{goal}  ({session.id})"

    def _sections(self) -> list[_Section]:
        running = [run.line(self.as_of) for run in self.running]
        sections = [
            self._task_section("Blocked", [str(why) for why in self.blocked], TaskStatus.BLOCKED),
            self._task_section("Running", running, TaskStatus.IN_PROGRESS),
            self._for_one_agent_section(),
            self._questions_section(),
            self._dates_section(),
            self._resting_section(),
            self._completed_section(),
            _Section(
                title="Conflicts ahead",
                lines=self.clashes,
                total=len(self.clashes),
                rest_call="orch.worktrees.forecast()",
            ),
            _Section(
                title="Newer versions of what these were given",
                lines=[str(use) for use in self.outdated],
                total=len(self.outdated),
                rest_call="orch.artifacts.context_uses(outdated=True)",
            ),
        ]
        if len(self.chain) > 1:
            sections.append(
                _Section(
                    title="Longest chain ahead",
                    lines=[" → ".join(task.alias for task in self.chain)],
                    total=1,
                    rest_call="orch.graph().critical_path()",
                )
            )
        return [section for section in sections if section.lines]

    def _task_section(self, title: str, lines: Sequence[str], status: TaskStatus) -> _Section:
        return _Section(
            title=title,
            lines=lines,
            total=self.counts.get(status, 0),
            rest_call=self._query_call(status),
        )

    def _for_one_agent_section(self) -> _Section:
        lines = [f"{task.alias}: for {task.for_agent}" for task in self.ready if task.for_agent]
        return _Section(
            title="Ready, for one agent",
            lines=lines,
            total=len(lines),
            rest_call="orch.ready_tasks()",
        )

    def _questions_section(self) -> _Section:
        return _Section(
            title="Questions for you",
            lines=[question_line(task) for task in self.questions],
            total=len(self.questions),
            rest_call="orch.get_status().questions",
        )

    def _dates_section(self) -> _Section:
        return _Section(
            title="Dates",
            lines=self.date_lines(),
            total=len(self.dated),
            rest_call="orch.get_status().dated",
        )

    def date_lines(self) -> list[str]:
        """Say of each task whose date is near when it is meant to be done."""
        return [
            f"{task.alias} {dates.due_line(task, self.as_of, self.dated_after.get(task.id, ''))}"
            for task in self.dated
        ]

    def _resting_section(self) -> _Section:
        """Name what is tried again by itself; what somebody has put off is only counted."""
        call = self._query_call(TaskStatus.PENDING)
        now = self.as_of
        retried = [task for task in self.resting if task.retry_at is not None]
        put_off = [task for task in self.resting if task.retry_at is None]
        lines = [f"{task.alias}: {causes.pause_words(task, now)}" for task in retried]
        if put_off:
            until = dates.rest_words(put_off[0], now)
            rest = "1 task rests" if len(put_off) == 1 else f"{len(put_off)} tasks rest, the first"
            lines.append(f"{rest} until {until}: {call}")
        return _Section(title="Resting", lines=lines, total=len(lines), rest_call=call)

    def _completed_section(self) -> _Section:
        return _Section(
            title="Completed",
            lines=[f"{task.alias}: {task.summary or task.title}" for task in self.completed],
            total=len(self.completed),
            rest_call=self._query_call(TaskStatus.COMPLETED),
            usual=len(self.completed),
        )

    def _query_call(self, status: TaskStatus) -> str:
        below = "" if self.parent is None else f", {self.queried_part}"
        return f"orch.query_tasks(status={str(status)!r}{below})"

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        if self.gentleness is not None:
            return low_energy.page(self.session, self.next_step, self.ready, self.gentleness)
        head = [self._title(), self.line]
        last = f"Next: {self.next_step}"
        budget = self.budget_tokens
        if budget is not None:
            frame = "\n".join([*head, last])
            body = self._body_within(budget - tokens(frame))
            text = "\n".join([*head, *body, last])
            return clip(text, max(budget, 1))
        body = []
        for section in self._sections():
            body += section.print(section.usual)
        body += elsewhere_lines(self.elsewhere)
        return "\n".join([*head, *body, last])

    def _body_within(self, budget_tokens: int) -> list[str]:
        """Print of each section as many lines as there is room for, the first sections first."""
        body: list[str] = []
        for section in self._sections():
            for count in range(len(section.lines), -1, -1):
                lines = section.print(count)
                size = tokens("\n".join(lines))
                if size <= budget_tokens:
                    body += lines
                    budget_tokens -= size
                    break
        return body

    def _repr_html_(self) -> str:
        from vespera_orchestrator._html import lists_html, text_html

        if self.gentleness is not None:
            return text_html(str(self))
        counts = counts_line(self.counts)
        return lists_html(
            self._title(),
            self.percent,
            f"{self.completed_count} of {self.wanted_count} completed; all tasks: {counts}",
            [(section.title, section.lines) for section in self._sections()],
            f"Next: {self.next_step}",
        )


@attrs.frozen(kw_only=True)
class _Section:
    """A titled list within a status."""

    title: str
    lines: Sequence[str]
    total: int
    """How many lines there would be in all."""
    rest_call: str
    """The call that returns the others."""
    usual: int = 5
    """How many lines are printed without a budget."""

    def print(self, count: int) -> list[str]:
        """Return the title and the first *count* lines."""
        lines = self.lines[:count]
        visible = [f"  {one_line(line, _LINE_WIDTH)}" for line in lines]
        hidden = self.total - len(visible)
        if hidden > 0:
            visible.append(f"  … and {hidden} more: {self.rest_call}")
        return [f"{self.title}:", *visible]


def question_line(task: Task) -> str:
    """Return a question, and the call that answers it."""
    question = one_line(task.question or task.title, _QUESTION_WIDTH)
    return f"{question}  →  orch.answer({task.alias!r}, …)"


def elsewhere_lines(count: int) -> list[str]:
    """Say that *count* other sessions have open tasks; nothing when none has."""
    if not count:
        return []
    sessions = "1 other session has" if count == 1 else f"{count} other sessions have"
    return [f"Elsewhere: {sessions} open tasks: orch.list_sessions(), orch.resume_session(…)"]


def bar(percent: float) -> str:
    """Draw a share of 0 to 100 as a bar."""
    full = round(percent / 100 * _BAR_WIDTH)
    marks = "#" * full + "." * (_BAR_WIDTH - full)
    return f"[{marks}]"


@attrs.frozen(repr=False, kw_only=True)
class SessionStatus(Record):
    """A session's progress in figures."""

    session: Session
    """The session."""
    counts: Mapping[TaskStatus, int]
    """How many tasks of each status; archived ones apart."""
    percent: float
    """Share of the wanted tasks that are completed, 0 to 100; see `Status.percent`."""
    artifacts: int
    """How many current artifacts there are."""
    worktrees: int
    """How many worktrees are in use."""
    events: int
    """Position of the session's last event in the log."""
    next_step: NextStep
    """What to do now."""
    is_gentle: bool = False
    """Whether it is a day with little energy: then it prints what is done and what is open."""

    json_form = JsonForm(
        usual={"is_gentle": False},
        rest="orch.session_status({session.id!r})",
        first=("next_step", "percent", "counts"),
    )

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        words = self._done_and_open() if self.is_gentle else counts_line(self.counts)
        counts = f"{bar(self.percent)} {self.percent:.0f} %: {words}"
        artifacts = plural(self.artifacts, "artifact")
        worktrees = plural(self.worktrees, "worktree")
        last_write = f"last written {self.session.updated_at:%Y-%m-%d %H:%M} UTC"
        figures = f"{counts}; {artifacts}, {worktrees}; {last_write}"
        return f"{self.session}\n{figures}\nNext: {self.next_step}"

    def _done_and_open(self) -> str:
        done = self.counts.get(TaskStatus.COMPLETED, 0)
        still_open = [count for status, count in self.counts.items() if not status.is_terminal]
        return f"{done} done, {sum(still_open)} open"
