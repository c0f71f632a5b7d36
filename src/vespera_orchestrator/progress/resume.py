"""The way back in after a break: where we were, what changed, the next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import EventKind, NextStep
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import ago, clip, one_line, plural, tokens
from vespera_orchestrator.progress.low_energy import way_back
from vespera_orchestrator.progress.status import Status, elsewhere_lines, question_line
from vespera_orchestrator.tasks.next_step import decision_sentence

if TYPE_CHECKING:
    from datetime import datetime

    from vespera_orchestrator._model import Attempt, Checkpoint, Event, Pause, Position, Task
    from vespera_orchestrator.progress.low_energy import Gentleness

BRIEFING_LINES: Final = 12
"""A tired person reads this much."""
BRIEFING_TOKENS: Final = 400
"""And no more than this on these lines."""
LISTED_CHANGES: Final = 5
"""How many changes are told one by one."""
COUNTED_CHANGES: Final = 100
"""Further changes are not counted."""
_LINE_WIDTH: Final = 130
_DECISION_WIDTH: Final = 200
"""So long that no call in a sentence of ours is cut."""
_GOAL_WIDTH: Final = 500
_SHORTEST_GOAL: Final = 60
_STEP_WIDTH: Final = 420
_WORDS_WIDTH: Final = 300
"""What somebody wrote at a pause is cut only beyond this."""
_FILES_WIDTH: Final = 64
_ITEM_WIDTH: Final = 90
_NAME_WIDTH: Final = 40
_MOST_SKIPPED: Final = 2
"""How many skipped tasks are named."""

CHANGE_WORDS: Final[dict[str, str]] = {
    EventKind.TASK_COMPLETED: "completed",
    EventKind.TASK_HANDED_IN: "done, waits to be merged",
    EventKind.TASK_BLOCKED: "blocked",
    EventKind.TASK_RECOVERED: "ready again after its recovery",
    EventKind.TASK_REVISED: "needs revision",
    EventKind.TASK_RELEASED: "handed back",
    EventKind.TASK_SKIPPED: "skipped",
    EventKind.TASK_CANCELLED: "cancelled",
    EventKind.TASK_FAILED: "given up",
    EventKind.TASK_RETRIED: "to be tried again",
    EventKind.TASK_REOPENED: "open again",
    EventKind.LEASE_EXPIRED: "released: its agent stopped responding",
    EventKind.ATTEMPT_ENDED: "released: its agent was gone",
    EventKind.ATTEMPT_TIMED_OUT: "took longer than its time limit",
    EventKind.ATTEMPT_STALLED: "released: nothing new came for too long",
    EventKind.RETRY_SCHEDULED: "did not succeed, is tried again by itself",
}
"""The events that a briefing reports, with what they did to their task."""
_AWAY: Final = "free again: you were away"
_RESTED: Final = "free again: whoever held it has paused"
_PROCESS_ENDED: Final = "released: its process had ended"


def change_words(event: Event) -> str:
    """Say what an event did to its task: of a lease that ended early, what really ended it."""
    if event.data.get("taken_by"):
        holder = one_line(event.agent or "", _NAME_WIDTH)
        return f"taken over by {one_line(str(event.data['taken_by']), _NAME_WIDTH)} from {holder}"
    if event.kind == EventKind.LEASE_EXPIRED and event.data.get("paused"):
        return _RESTED
    if event.data.get("process_ended"):
        return _PROCESS_ENDED
    return CHANGE_WORDS[event.kind]


@attrs.frozen(repr=False, kw_only=True)
class Briefing(Record):
    """The way back in: where we were, what changed, the next step.

    At most 12 lines and 400 tokens.
    """

    lines: tuple[str, ...]
    """Its text, line by line."""
    next_step: NextStep
    """What to do now."""
    budget_tokens: int | None = None
    """About how long it may print; ``None`` for the usual 400."""

    json_form = JsonForm(rest="orch.resume()", first=("next_step",), budget="budget_tokens")

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return "\n".join(self.lines)


# --- what it is written from --------------------------------------------------


@attrs.frozen(kw_only=True)
class Change:
    """What became of a task, and when."""

    alias: str
    """The task."""
    kind: str
    """What happened: a key of `CHANGE_WORDS`."""
    words: str
    """What it did to the task; see `change_words`."""
    at: datetime
    """When."""
    agent: str | None = None
    """Who did it, if known."""
    detail: str = ""
    """Its summary, or the reason."""
    files: tuple[str, ...] = ()
    """The files that it changed, with lines: the first few."""
    file_count: int = 0
    """How many files it changed."""


@attrs.frozen(kw_only=True)
class InHand:
    """A task that somebody holds, or has let go unfinished."""

    task: Task
    """The task as it is now."""
    attempt: Attempt
    """The attempt of the one who has or had it in hand."""
    checkpoint: Checkpoint | None = None
    """The last one that was saved."""
    files: tuple[str, ...] = ()
    """The files with its unfinished work, with lines: the first few."""
    file_count: int = 0
    """How many files there are."""

    @property
    def is_held(self) -> bool:
        """Whether the lease still runs."""
        return self.attempt.ended_at is None


@attrs.frozen(kw_only=True)
class Drift:
    """What is no longer as it was when the reader last looked."""

    commits: int = 0
    """New commits of the integration branch, or of the checkout where there is no such branch."""
    files: tuple[str, ...] = ()
    """The files that they changed: the first few."""
    file_count: int = 0
    """How many files they changed."""
    replaced: tuple[str, ...] = ()
    """What the reader's tasks build on and has a later version now, in words."""
    relied_on: tuple[str, ...] = ()
    """The aliases of the reader's tasks that build on others."""
    are_files_the_same: bool = False
    """Whether git says so, and the reader has something in hand."""


@attrs.frozen(kw_only=True)
class Whereabouts:
    """Where the work is."""

    position: Position
    """What is checked out in the project."""
    integration_branch: str
    """Where finished work goes."""
    missing: int = 0
    """How many commits of it the project's checkout lacks."""
    worktrees: tuple[str, ...] = ()
    """The worktrees of this home in use: the first few."""
    worktree_count: int = 0
    """How many there are."""


@attrs.frozen(kw_only=True)
class ResumeFacts:
    """What the way back in is written from."""

    status: Status
    """Where the session stands."""
    reader: str
    """Who reads it."""
    pause: Pause | None = None
    """What somebody said who left off, as long as it counts."""
    active_problem: str = ""
    """What is wrong with the file that names the active session, if anything is."""
    conflicts: Sequence[str] = ()
    """What agents share, and set differently, in words."""
    own: Sequence[InHand] = ()
    """The reader's own tasks, the last one first."""
    others: Sequence[InHand] = ()
    """What others have in hand, the longest running first."""
    last_look: datetime | None = None
    """When the reader last looked; ``None`` the first time."""
    changes: Sequence[Change] = ()
    """The last changes, the oldest first."""
    new_changes: int = 0
    """How many there have been since that look."""
    drift: Drift | None = None
    """``None`` where nothing tells of it."""
    skipped: Sequence[Change] = ()
    """Tasks that were skipped last, the newest first."""
    skipped_count: int = 0
    """How many there are."""
    where: Whereabouts | None = None
    """``None`` without git."""


# --- its lines ----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Line:
    text: str
    rank: int
    """The lines of the lowest rank are left out first, the upper ones before the lower ones."""


_GOAL, _NEXT, _WORDS = 100, 100, 95
_OWN, _DECISION, _NEWS, _PROGRESS, _WHERE, _DRIFT = 90, 80, 75, 70, 65, 60
_DATES = 72
_SKIPPED, _RUNNING, _CHANGE, _ELSEWHERE = 55, 50, 40, 30
"""How much each line matters. What the reader cannot know, and must not miss, is kept longest."""


def briefing(facts: ResumeFacts) -> Briefing:
    """Write the way back in."""
    status = facts.status
    budget = status.budget_tokens or BRIEFING_TOKENS
    if status.gentleness is None:
        step = _step_line(status.next_step)
        lines = [_goal_line(status.session.goal), *_middle(facts), step]
        fitting = _fit(lines, budget)
    else:
        fitting = _gentle(facts, status.gentleness)
        if tokens("\n".join(fitting)) > budget:
            fitting = [clip(str(status.next_step), budget)]
    return Briefing(
        lines=tuple(fitting), next_step=status.next_step, budget_tokens=status.budget_tokens
    )


def no_session(step: NextStep, budget_tokens: int | None = None) -> Briefing:
    """Write the way in where no session is active."""
    text = f"Next: {step}"
    if budget_tokens is not None:
        text = clip(text, budget_tokens)
    return Briefing(lines=(text,), next_step=step, budget_tokens=budget_tokens)


def _gentle(facts: ResumeFacts, gentleness: Gentleness) -> list[str]:
    """Write the way back in for somebody with little energy: it reports nothing but good."""
    words = [line.text for line in _pause_lines(facts, has_age=False)]
    words += [_own_line(own, facts) for own in facts.own[:1]]
    status = facts.status
    step = attrs.evolve(status.next_step, own_words="")  # they are among the words
    return way_back(status.session.goal, words, step, gentleness)


def _goal_line(goal: str) -> _Line:
    text = one_line(goal, _GOAL_WIDTH) or "(none given)"
    return _Line(text=f"Goal: {text}", rank=_GOAL)


def _step_line(step: NextStep) -> _Line:
    """Write the step, whose call is never cut. The reader's own words have a line of their own."""
    room = max(_STEP_WIDTH - len(step.call), _NAME_WIDTH)
    short = attrs.evolve(step, sentence=one_line(step.sentence, room), own_words="")
    return _Line(text=f"Next: {short}", rank=_NEXT)


def _middle(facts: ResumeFacts) -> list[_Line]:
    status = facts.status
    lines = [_Line(text=_shorten(status.line), rank=_PROGRESS), *_pause_lines(facts)]
    lines += _own_lines(facts)
    lines.append(_Line(text=_news_line(facts), rank=_NEWS))
    for change in facts.changes:
        lines.append(_Line(text=_change_line(change, facts), rank=_CHANGE))
    if lines[-1].rank == _CHANGE:  # what was done last is the best way in
        lines[-1] = attrs.evolve(lines[-1], rank=_DECISION)
    lines += _drift_lines(facts.drift)
    lines += _date_lines(status)
    lines += _trouble_lines(facts)
    lines += [_Line(text=_other_line(other, facts), rank=_RUNNING) for other in facts.others]
    lines += _left_out_lines(status)
    lines += _skipped_lines(facts)
    if facts.where is not None:
        lines.append(_Line(text=_where_line(facts.where), rank=_WHERE))
    for text in elsewhere_lines(status.elsewhere):
        lines.append(_Line(text=text, rank=_ELSEWHERE))
    return lines


def _pause_lines(facts: ResumeFacts, *, has_age: bool = True) -> list[_Line]:
    """Repeat the words of whoever left off; those of the library only where there are no others."""
    pause = facts.pause
    if pause is None:
        return []
    who = "you" if pause.agent == facts.reader else one_line(pause.agent, _NAME_WIDTH)
    head = f"Paused by {who}"
    if has_age:
        head += f", {_age(pause.at, facts)}"
    note = one_line(pause.note, _WORDS_WIDTH)
    if "note" not in pause.worded:
        note = f"“{note}”"
    lines = [_Line(text=f"{head}: {note}", rank=_WORDS)]
    if "next_step" not in pause.worded:
        step = one_line(pause.next_step, _WORDS_WIDTH)
        lines.append(_Line(text=f"Meant to be next: “{step}”", rank=_WORDS))
    return lines


def _own_lines(facts: ResumeFacts) -> list[_Line]:
    """Tell of two tasks in hand, and name the rest: whoever comes back takes the list as whole."""
    texts = [_own_line(own, facts) for own in facts.own[:2]]
    others = [one_line(own.task.alias, _NAME_WIDTH) for own in facts.own[2:]]
    if others:
        verb = "hold" if all(own.is_held for own in facts.own) else "had in hand"
        texts.append(_shorten(f"You also {verb}: {', '.join(others)}"))
    return [_Line(text=text, rank=_OWN) for text in texts]


def _own_line(own: InHand, facts: ResumeFacts) -> str:
    verb = "You hold" if own.is_held else "You left"
    return _in_hand_line(f"{verb} {one_line(own.task.alias, _NAME_WIDTH)}", [], own, facts)


def _other_line(other: InHand, facts: ResumeFacts) -> str:
    head = f"Running: {one_line(other.task.alias, _NAME_WIDTH)}"
    return _in_hand_line(head, [one_line(other.attempt.agent, _NAME_WIDTH)], other, facts)


def _in_hand_line(head: str, details: list[str], one: InHand, facts: ResumeFacts) -> str:
    saved = one.checkpoint
    if saved is not None and saved.progress is not None:
        details.append(f"{saved.progress:.0%}")
    if saved is None:
        details.append(f"last sign of life {_age(one.attempt.last_sign_at, facts)}")
    else:
        details.append(f"saved {_age(saved.created_at, facts)}")
    note = "" if saved is None else saved.note
    return _with_files(head, note, ", ".join(details), one.files, one.file_count)


def _news_line(facts: ResumeFacts) -> str:
    if facts.last_look is None:
        if not facts.changes:
            return "This is your first look at all of it, and nothing has changed yet."
        return "This is your first look at all of it. The last changes:"
    since = _age(facts.last_look, facts)
    if not facts.new_changes:
        more = " The last changes:" if facts.changes else ""
        return f"Nothing has changed since you looked, {since}.{more}"
    plus = "+" if facts.new_changes >= COUNTED_CHANGES else ""
    noun = "change" if facts.new_changes == 1 else "changes"
    # Where earlier ones stand below as well, the words must not call them new.
    below = ", the last:" if facts.new_changes >= len(facts.changes) else ". With earlier ones:"
    return f"Since you looked, {since}: {facts.new_changes}{plus} {noun}{below}"


def _change_line(change: Change, facts: ResumeFacts) -> str:
    state = _age(change.at, facts)
    is_reader = change.agent == facts.reader
    if change.agent:
        who = "you" if is_reader else one_line(change.agent, _NAME_WIDTH)
        state = f"{who}, {state}"
    is_own_silence = is_reader and change.words == CHANGE_WORDS[EventKind.LEASE_EXPIRED]
    words = _AWAY if is_own_silence else change.words
    head = f"  {one_line(change.alias, _NAME_WIDTH)} {words}"
    return _with_files(head, change.detail, state, change.files, change.file_count)


def _with_files(head: str, detail: str, state: str, files: Sequence[str], count: int) -> str:
    """Put a line together: of the words in the middle only as many as there is room for."""
    listed = _list(files, count, _FILES_WIDTH)
    end = f" ({state}; {listed})" if listed else f" ({state})"
    room = _LINE_WIDTH - len(head) - len(end) - 2
    words = one_line(detail, room) if room > 0 else ""
    return f"{head}: {words}{end}" if words else f"{head}{end}"


def _drift_lines(drift: Drift | None) -> list[_Line]:
    if drift is None:
        return []
    parts = []
    if drift.commits:
        commits = plural(drift.commits, "new commit")
        parts.append(f"{commits}, {plural(drift.file_count, 'file')} changed")
        listed = _list(drift.files, drift.file_count, _FILES_WIDTH)
        if listed:
            parts[-1] += f" ({listed})"
    elif drift.are_files_the_same:
        parts.append("the files are as you left them")
    relied_on = " and ".join(drift.relied_on)
    if drift.replaced:
        parts.insert(0, f"look again: {drift.replaced[0]}")
    elif relied_on:
        verb = "builds" if len(drift.relied_on) == 1 else "build"
        parts.insert(0, f"what {relied_on} {verb} on is unchanged")
    if not parts:
        return []
    return [_Line(text=_shorten(f"Since then: {'; '.join(parts)}."), rank=_DRIFT)]


def _date_lines(status: Status) -> list[_Line]:
    named = status.date_lines()
    if not named:
        return []
    more = f"; {len(named) - 1} more: orch.get_status()" if len(named) > 1 else ""
    return [_Line(text=one_line(f"Dates: {named[0]}{more}", _DECISION_WIDTH), rank=_DATES)]


def _trouble_lines(facts: ResumeFacts) -> list[_Line]:
    status = facts.status
    step = status.next_step
    decisions = [
        why
        for why in status.blocked
        if why.needs_person and (step.action, step.task_id) != ("decide", why.task_id)
    ]
    texts = [f"Question: {question_line(task)}" for task in status.questions[:1]]
    texts += [f"To decide: {why.alias}: {decision_sentence(why)}" for why in decisions[:2]]
    texts += [f"Blocked: {why}" for why in status.blocked if not why.needs_person][:1]
    texts += [f"Conflict: {conflict}" for conflict in facts.conflicts[:1]]
    texts += [f"Conflict ahead: {clash}" for clash in status.clashes[:1]]
    if facts.active_problem:
        texts.append(f"Note: {facts.active_problem}")
    return [_Line(text=one_line(text, _DECISION_WIDTH), rank=_DECISION) for text in texts]


def _left_out_lines(status: Status) -> list[_Line]:
    """Name what the last saves of running tasks left out: it may be lost with its folder."""
    runs = [run for run in status.running if run.left_out]
    parts = [f"{', '.join(run.left_out)} ({run.task.alias})" for run in runs]
    if not parts:
        return []
    return [_Line(text=_shorten(f"Left out of the last save: {'; '.join(parts)}"), rank=_DRIFT)]


def _skipped_lines(facts: ResumeFacts) -> list[_Line]:
    named = facts.skipped[:_MOST_SKIPPED]
    if not named:
        return []
    more = facts.skipped_count - len(named)
    texts = [f"{change.alias} ({one_line(change.detail, 50)})" for change in named]
    if more > 0:
        texts.append(f"{more} more")
    return [_Line(text=_shorten(f"Skipped: {', '.join(texts)}"), rank=_SKIPPED)]


def _where_line(where: Whereabouts) -> str:
    branch = where.position.branch or "no branch (a detached HEAD)"
    text = f"Where: the project is on {branch}"
    if where.position.integration is not None and branch != where.integration_branch:
        if where.missing:
            commits = plural(where.missing, "commit")
            text += f", {commits} behind {where.integration_branch}"
        else:
            text += f", which has all of {where.integration_branch}"
    worktrees = _list(where.worktrees, where.worktree_count, _FILES_WIDTH)
    if worktrees:
        noun = "worktree" if where.worktree_count == 1 else "worktrees"
        text += f"; {noun}: {worktrees}"
    return _shorten(text)


def _list(items: Sequence[str], count: int, width: int) -> str:
    """List as many of the items as fit, and say how many more there are."""
    text = ""
    listed = 0
    for item in items:
        name = one_line(item, _ITEM_WIDTH)
        longer = f"{text}, {name}" if text else name
        if text and len(longer) > width:
            break
        text, listed = longer, listed + 1
    if count > listed > 0:
        text += f" and {count - listed} more"
    return text


def _age(at: datetime, facts: ResumeFacts) -> str:
    return ago(int((facts.status.as_of - at).total_seconds()))


def _shorten(text: str) -> str:
    return one_line(text, _LINE_WIDTH)


# --- fitting ------------------------------------------------------------------


def _fit(lines: Sequence[_Line], budget_tokens: int) -> list[str]:
    """Leave out the least important lines; shorten the goal only when nothing else can go."""
    rest = list(lines)
    while len(rest) > BRIEFING_LINES or _size(rest) > budget_tokens:
        least = min(rest, key=lambda line: line.rank)
        if least.rank == _GOAL:
            break
        rest.remove(least)
    texts = [line.text for line in rest]
    if _size(rest) > budget_tokens:
        return _squeeze(texts, budget_tokens)
    return texts


def _size(lines: Sequence[_Line]) -> int:
    return tokens("\n".join(line.text for line in lines))


def _squeeze(texts: list[str], budget_tokens: int) -> list[str]:
    """Shorten the goal, and then the step, to fit the budget."""
    goal, step = texts
    left = budget_tokens - tokens(step) - 1
    goal = clip(goal, max(left, _SHORTEST_GOAL // 4))
    if tokens(f"{goal}\n{step}") <= budget_tokens:
        return [goal, step]
    return [clip(step, budget_tokens)]
