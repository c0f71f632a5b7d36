"""A task's life, decided by pure functions. The stores carry the decisions out in transactions.

What keeps a task from being ready is counted once, in ``Task.blockers``: unmet dependencies that no
condition governs, plus one for a condition that is not decided, plus children that have not ended,
plus one while it rests until its *not_before*. `why` names the same causes, so every view agrees.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import (
    AttemptEnding,
    Cause,
    CauseKind,
    Dependency,
    EventKind,
    NextAction,
    Outcome,
    Task,
    TaskDraft,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import ago, duration, one_line, plural
from vespera_orchestrator.errors import CorruptRecordError
from vespera_orchestrator.tasks import conditions, specialists
from vespera_orchestrator.tasks.dates import rest_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from vespera_orchestrator._model import Attempt, Checkpoint, JsonValue, Situation

LEASE_S: Final = 900.0
"""How long a claim holds without a sign of life, in seconds, unless the caller says otherwise."""
_SILENT_SHARE: Final = 0.5
"""The share of its lease after which a silent holder may be gone."""
MAX_LEASE_S: Final = 10 * 365 * 86_400.0
"""The longest lease that a caller may ask for, in seconds."""
MAX_PRIORITY: Final = 2**53
"""Whole numbers up to here are the same in every store and in JSON."""
CONDITION_VERSION: Final = conditions.VERSION
"""Version of the condition language that new conditions are written in."""
RECOVERY: Final = "recovery"
"""The type of a recovery task."""
PERSON_CHOICES: Final = ("retry", "abandon", "replace")
_REASON_WIDTH: Final = 300
"""Up to how many characters of a reason are shown."""
_DECISION_REASON_WIDTH: Final = 200
"""The same in a sentence that also says what a person may do."""

# --- states ------------------------------------------------------------------


class Verb(StrEnum):
    """What can happen to a task."""

    CLAIM = "claim"
    COMPLETE = "complete"
    CONTINUE = "continue"
    HAND_IN = "hand_in"
    NEEDS_REVISION = "needs_revision"
    BLOCK = "blocked"
    RELEASE = "release"
    EXPIRE = "expire"
    END_ATTEMPT = "end_attempt"
    BRAKE = "brake"
    FAIL = "fail"
    REGAIN = "regain"
    RECOVER = "recovered"
    SKIP = "skip"
    CANCEL = "cancel"
    ABANDON = "abandon"
    RETRY = "retry"
    RESTORE = "restore"
    REOPEN = "reopen"


@attrs.frozen
class Transition:
    """From which states a verb is allowed, and what it leads to."""

    words: str
    """What brings it about, for the diagram."""
    start: tuple[TaskStatus, ...]
    end: TaskStatus


_OPEN: Final = (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED)
_RETRYABLE: Final = (
    TaskStatus.BLOCKED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
    TaskStatus.SKIPPED,
)
_PENDING: Final = (TaskStatus.PENDING,)
_RUNNING: Final = (TaskStatus.IN_PROGRESS,)

TRANSITIONS: Final[Mapping[Verb, Transition]] = {
    Verb.CLAIM: Transition("execute_task", _PENDING, TaskStatus.IN_PROGRESS),
    Verb.COMPLETE: Transition("complete", _RUNNING, TaskStatus.COMPLETED),
    Verb.CONTINUE: Transition("continue", _RUNNING, TaskStatus.IN_PROGRESS),
    Verb.HAND_IN: Transition("complete with merge=later", _RUNNING, TaskStatus.IN_PROGRESS),
    Verb.NEEDS_REVISION: Transition("needs_revision", _RUNNING, TaskStatus.PENDING),
    Verb.BLOCK: Transition("fails, takes too long, says blocked", _RUNNING, TaskStatus.BLOCKED),
    Verb.RELEASE: Transition("release", _RUNNING, TaskStatus.PENDING),
    Verb.EXPIRE: Transition("the lease expires, stalls", _RUNNING, TaskStatus.PENDING),
    Verb.FAIL: Transition("fails, is tried again by itself", _RUNNING, TaskStatus.PENDING),
    Verb.REGAIN: Transition(
        "its holder comes back", (TaskStatus.PENDING, TaskStatus.BLOCKED), TaskStatus.IN_PROGRESS
    ),
    Verb.END_ATTEMPT: Transition("end_attempt", _RUNNING, TaskStatus.PENDING),
    Verb.BRAKE: Transition(
        "released too often without progress, crashes or stalls too often",
        _RUNNING,
        TaskStatus.BLOCKED,
    ),
    Verb.RECOVER: Transition(
        "its recovery is completed", (TaskStatus.BLOCKED,), TaskStatus.PENDING
    ),
    Verb.SKIP: Transition("can never become ready", _PENDING, TaskStatus.SKIPPED),
    Verb.CANCEL: Transition("cancel_task", _OPEN, TaskStatus.CANCELLED),
    Verb.ABANDON: Transition("abandon_task", _OPEN, TaskStatus.FAILED),
    Verb.RETRY: Transition("retry_task", _RETRYABLE, TaskStatus.PENDING),
    Verb.REOPEN: Transition("reopen_task", (TaskStatus.COMPLETED,), TaskStatus.PENDING),
    Verb.RESTORE: Transition(
        "what it waits for is retried or changed", (TaskStatus.SKIPPED,), TaskStatus.PENDING
    ),
}
"""What may become of a task. Every change of a state is one of these."""


def next_status(verb: Verb, status: TaskStatus) -> TaskStatus | None:
    """Return the state that *verb* leads to, or ``None`` when it is not allowed."""
    transition = TRANSITIONS[verb]
    return transition.end if status in transition.start else None


def ending_verb(action: NextAction | None) -> Verb:
    """Return what the holder of a task does to it by this action; ``None`` releases it."""
    if action is None:
        return Verb.RELEASE
    return Verb(action)


STATUS_AFTER_EVENT: Final[Mapping[str, TaskStatus]] = {
    EventKind.TASK_PLANNED: TaskStatus.PENDING,
    EventKind.TASK_REVISED: TaskStatus.PENDING,
    EventKind.TASK_RELEASED: TaskStatus.PENDING,
    EventKind.TASK_RECOVERED: TaskStatus.PENDING,
    EventKind.TASK_RETRIED: TaskStatus.PENDING,
    EventKind.TASK_REOPENED: TaskStatus.PENDING,
    EventKind.LEASE_EXPIRED: TaskStatus.PENDING,
    EventKind.ATTEMPT_ENDED: TaskStatus.PENDING,
    EventKind.ATTEMPT_TIMED_OUT: TaskStatus.PENDING,
    EventKind.ATTEMPT_STALLED: TaskStatus.PENDING,
    EventKind.RETRY_SCHEDULED: TaskStatus.PENDING,
    EventKind.TASK_STARTED: TaskStatus.IN_PROGRESS,
    EventKind.TASK_CONTINUED: TaskStatus.IN_PROGRESS,
    EventKind.LEASE_REGAINED: TaskStatus.IN_PROGRESS,
    EventKind.TASK_COMPLETED: TaskStatus.COMPLETED,
    EventKind.TASK_BLOCKED: TaskStatus.BLOCKED,
    EventKind.TASK_SKIPPED: TaskStatus.SKIPPED,
    EventKind.TASK_CANCELLED: TaskStatus.CANCELLED,
    EventKind.TASK_FAILED: TaskStatus.FAILED,
}
"""A task's state after an event of each kind; other kinds change no state."""


MILESTONES: Final = (
    EventKind.TASK_COMPLETED,
    EventKind.TASK_HANDED_IN,
    EventKind.TASK_BLOCKED,
    EventKind.TASK_RECOVERED,
    EventKind.TASK_REVISED,
    EventKind.TASK_RELEASED,
    EventKind.TASK_RETRIED,
    EventKind.TASK_REOPENED,
    EventKind.TASK_SKIPPED,
    EventKind.TASK_CANCELLED,
    EventKind.TASK_FAILED,
    EventKind.TASK_DELETED,
    EventKind.LEASE_EXPIRED,
    EventKind.ATTEMPT_ENDED,
    EventKind.ATTEMPT_TIMED_OUT,
    EventKind.ATTEMPT_STALLED,
    EventKind.RETRY_SCHEDULED,
    EventKind.WORKTREE_CREATED,
    EventKind.WORKTREE_LANDED,
)
"""Events that tell what became of the work.

The stores have an index of exactly these, so that looking back costs the same however many events
lie between.
"""


def state_diagram() -> str:
    """Draw `TRANSITIONS` as a Mermaid state diagram."""
    arrows: dict[tuple[TaskStatus, TaskStatus], list[str]] = {}
    for transition in TRANSITIONS.values():
        for start in transition.start:
            arrows.setdefault((start, transition.end), []).append(transition.words)
    lines = ["stateDiagram-v2", "    [*] --> pending: plan_task"]
    for (start, end), words in sorted(arrows.items()):
        lines.append(f"    {start} --> {end}: {', '.join(words)}")
    ends = [status for status in TaskStatus if status.is_terminal]
    lines += [f"    {status} --> [*]" for status in ends]
    return "\n".join(lines)


# --- effort ------------------------------------------------------------------

_UNIT_HOURS: Final = {
    "m": 1 / 60,
    "min": 1 / 60,
    "h": 1.0,
    "hour": 1.0,
    "d": 8.0,
    "day": 8.0,
    "w": 40.0,
    "week": 40.0,
}
_HEAVY_HOURS: Final = 4.0
_RANGE: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?\s{0,3}(?:-|\u2013|to)\s{0,3}(?=\d)")
"""The shorter end of a range."""
_BETWEEN: Final = re.compile(r"\b(?:about|and|ca)\b|[\s,.~+]", re.IGNORECASE)
"""What may stand beside the parts of an estimate."""
_EFFORT = re.compile(
    r"(?<![\d.])(\d{1,9}(?:\.\d{1,9})?)\s{0,3}(min|hour|day|week|[mhdw])(?:s|utes?)?(?![a-z])",
    re.IGNORECASE,
)


def effort_hours(text: str | None) -> float:
    """Read an estimate such as ``"2 hours"``, ``"30 min"``, ``"1 day"`` or ``"1 week"``.

    A day has 8 hours, a week 40. A text without an estimate counts as one hour.
    """
    parts = _EFFORT.findall(text or "")
    if not parts:
        return 1.0
    return sum(float(number) * _UNIT_HOURS[unit.lower()] for number, unit in parts)


def read_hours(text: str) -> float | None:
    """Read an estimate that says nothing else; ``None`` if there is a word we cannot read.

    Of a range, such as ``"2-3 hours"``, the longer end counts.
    """
    rest = _EFFORT.sub(" ", _RANGE.sub("", text))
    is_estimate = _EFFORT.search(text) is not None and not _BETWEEN.sub("", rest)
    return effort_hours(text) if is_estimate else None


def is_heavy(task: Task) -> bool:
    """Tell whether a task is more than one sitting: by its complexity, or four hours and more."""
    if specialists.is_heavy_word(task.complexity):
        return True
    return bool(task.estimated_effort) and effort_hours(task.estimated_effort) >= _HEAVY_HOURS


# --- dependencies ------------------------------------------------------------

_MEETING_STATUSES: Final = {
    Outcome.SUCCESS: frozenset({TaskStatus.COMPLETED}),
    Outcome.FAILURE: frozenset({TaskStatus.FAILED}),
    Outcome.SKIPPED: frozenset({TaskStatus.SKIPPED}),
    Outcome.CANCELLED: frozenset({TaskStatus.CANCELLED}),
    Outcome.DONE: frozenset(status for status in TaskStatus if status.is_terminal),
    Outcome.BLOCKED: frozenset[TaskStatus](),
}
_OUTCOME_WORDS: Final = {
    Outcome.SUCCESS: "success",
    Outcome.FAILURE: "failure",
    Outcome.DONE: "the end",
    Outcome.SKIPPED: "the skipping",
    Outcome.CANCELLED: "the cancellation",
    Outcome.BLOCKED: "a block",
}


def edge_met(on: Outcome, status: TaskStatus, *, was_blocked: bool) -> bool | None:
    """Tell whether a dependency that waits for *on* is met: ``None`` for not yet, False for never.

    Having been blocked counts forever; every other outcome is known when the task ends.
    """
    if on is Outcome.BLOCKED and was_blocked:
        return True
    if status in _MEETING_STATUSES[on]:
        return True
    return False if status.is_terminal else None


@attrs.frozen(kw_only=True)
class Readiness:
    """Whether a task could be started, apart from its own state and its children."""

    waiting_for: tuple[Dependency, ...]
    """Unmet dependencies that the condition does not govern."""
    never: tuple[Dependency, ...]
    """Unmet dependencies that can no longer be met."""
    condition: bool | None
    """True also without a condition; ``None`` while undecided."""
    condition_final: bool
    """Whether what the condition reads has ended, so that it stays as it is."""
    asleep: bool = False
    """Whether it rests until its *not_before*."""
    is_open_question: bool = False
    """Whether it waits for an answer or a signal."""

    @property
    def impossible(self) -> bool:
        """Whether the task can never become ready."""
        if self.never or self.condition is False:
            return True
        return self.condition is None and self.condition_final

    @property
    def blockers(self) -> int:
        """How many causes there are, children apart."""
        count = len(self.waiting_for) + len(self.never) + self.asleep + self.is_open_question
        if self.condition is not True:
            count += 1
        return count


def readiness(task: Task, needed: Mapping[str, Task]) -> Readiness:
    """Work out what a task waits for.

    Args:
        task: The task; its dependencies and condition count, its status does not.
        needed: The tasks at the other end of its edges, by id.
    """
    governed = frozenset(task.condition_names.values())
    waiting: list[Dependency] = []
    never: list[Dependency] = []
    for edge in task.dependencies:
        if edge.task in governed:
            continue
        other = _other_end(task, needed, edge.task)
        met = edge_met(edge.on, other.status, was_blocked=other.was_blocked)
        if met is None:
            waiting.append(edge)
        elif not met:
            never.append(edge)
    truth, is_final = _condition_state(task, needed)
    return Readiness(
        waiting_for=tuple(waiting),
        never=tuple(never),
        condition=truth,
        condition_final=is_final,
        asleep=task.asleep,
        is_open_question=is_open_question(task),
    )


def is_open_question(task: Task) -> bool:
    """Tell whether the task waits for an answer or a signal that has not come."""
    return (task.question is not None or task.signal is not None) and not task.answered


def _condition_state(task: Task, needed: Mapping[str, Task]) -> tuple[bool | None, bool]:
    """Return what the condition says, and whether it can no longer change."""
    if task.condition is None:
        return True, True
    condition = conditions.parse(task.condition)
    by_name = _by_name(task, needed)
    open_names = conditions.undecided(condition, by_name)
    is_final = all(by_name[name].status.is_terminal for name in open_names)
    return conditions.decide(condition, by_name), is_final


def _by_name(task: Task, needed: Mapping[str, Task]) -> dict[str, Task]:
    """Return the tasks that the condition reads, by the names that it has for them."""
    names = task.condition_names
    return {name: _other_end(task, needed, names[name]) for name in names}


def _other_end(task: Task, needed: Mapping[str, Task], name: str) -> Task:
    """Return a task that *task* waits for. Somebody may have edited the rows of a store."""
    try:
        return needed[name]
    except KeyError as exc:
        problem = f"it waits for {one_line(name, 60)}, which is none of its dependencies"
        raise CorruptRecordError(f"task {task.id}", problem) from exc


def skip_reason(task: Task, state: Readiness, needed: Mapping[str, Task]) -> str:
    """Say in one sentence why the task can never become ready."""
    if state.never:
        edge = state.never[0]
        other = needed[edge.task]
        outcome = _OUTCOME_WORDS[edge.on]
        end = f"{other.status} and archived" if other.archived else str(other.status)
        return f"waits for {outcome} of {other.alias}, which is {end}"
    by_name = _by_name(task, needed)
    text = _condition_words(task, by_name)
    if state.condition is False:
        return f"condition is false: {text}"
    condition = conditions.parse(str(task.condition))
    open_names = conditions.undecided(condition, by_name)
    missing = conditions.missing_outputs(condition, by_name)
    facts = "; ".join(str(output) for output in missing if output.name in open_names)
    if facts:
        return f"condition can never be decided, {facts}: {text}"
    states = ", ".join(f"{by_name[name].alias} is {by_name[name].status}" for name in open_names)
    return (
        "condition can never be decided, what it reads is missing or not comparable "
        f"({states or 'fixed values'}): {text}"
    )


def _condition_words(task: Task, by_name: Mapping[str, Task]) -> str:
    """Return the condition as it was written, and whom it means by names that are others' now."""
    meant = [f"{name} is {by_name[name].alias}" for name in by_name if by_name[name].alias != name]
    return f"{task.condition}, where {' and '.join(meant)}" if meant else str(task.condition)


# --- the one answer ----------------------------------------------------------

_HAVE_BUILT: Final = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.COMPLETED})
"""Statuses of tasks that may have built on what they depend on."""


def why(situation: Situation) -> Why:
    """Name the smallest set of causes that keep the task from being ready; none when it is."""
    task = situation.task
    note = return_note(task) or _outdated_note(situation)
    result = _why(task, _causes(situation), note)
    if task.status is not TaskStatus.PENDING or situation.attempt is None or result.causes:
        return result
    return attrs.evolve(result, setback=setback(task, situation.attempt))


def _outdated_note(situation: Situation) -> str:
    """Name the dependencies that were reopened, or done again, since the task built on them."""
    task = situation.task
    if task.status not in _HAVE_BUILT:
        return ""
    built_on = [
        situation.needed[edge.task] for edge in task.dependencies if edge.on is Outcome.SUCCESS
    ]
    again = [other.alias for other in built_on if other.attempts and not other.status.is_terminal]
    if again:
        return f"what it builds on was reopened and is not done again yet: {', '.join(again)}"
    newer = [other.alias for other in built_on if _ended_after(other, situation)]
    return f"what it builds on was done again since: {', '.join(newer)}" if newer else ""


def _ended_after(other: Task, situation: Situation) -> bool:
    """Tell whether a task ended after the one that builds on it was done, or begun."""
    built_at = situation.task.ended_at
    if situation.attempt is not None:
        built_at = situation.attempt.started_at
    if other.status is not TaskStatus.COMPLETED or other.ended_at is None or built_at is None:
        return False
    return other.ended_at > built_at


def why_not_for(task: Task, agent: str) -> Why | None:
    """Say for whom a task is, if it is not for *agent*."""
    if task.for_agent is None or task.for_agent == agent:
        return None
    sentence = (
        f"it is for {task.for_agent}; "
        f"to do it all the same: orch.execute_task({task.alias!r}, take_over=True)"
    )
    cause = _cause_in(task, CauseKind.AGENT, sentence)
    return _why(task, [attrs.evolve(cause, agent=task.for_agent)])


def why_not_complete(situation: Situation) -> Why:
    """Name what keeps a held task from being completed: its subtasks that have not ended."""
    return _why(situation.task, _child_causes(situation))


def _why(task: Task, causes: Iterable[Cause], note: str = "") -> Why:
    return Why(
        task_id=task.id,
        alias=task.alias,
        status=task.status,
        causes=tuple(causes),
        note=note,
        for_agent=task.for_agent,
    )


def return_note(task: Task) -> str:
    """Return the words with which a pending task was given back, on one line; empty without any."""
    if task.status is not TaskStatus.PENDING:
        return ""
    return _short(task.reason)


def merge_hint(task: Task) -> str:
    """Say that the work of a task waits to be merged, what merges it, and why that was not done."""
    hint = f"waits to be merged: orch.worktrees.merge({task.alias!r})"
    if task.reason:
        hint += f" ({_short(task.reason)})"
    return hint


_SETBACKS: Final[dict[str, str]] = {
    AttemptEnding.FAILED: "did not succeed",
    AttemptEnding.TIMED_OUT: "did not succeed",
    AttemptEnding.STALLED: "stalled",
    AttemptEnding.ABANDONED: "crashed",
}


def setback(task: Task, attempt: Attempt) -> str:
    """Say how the latest attempt at a pending task ended, if it came to nothing by itself."""
    words = _SETBACKS.get(attempt.ending or "")
    if words is None:
        return ""
    number = str(attempt.number)
    if task.failures:
        number += f" ({task.failures} of {task.max_attempts} failures)"
    return f"attempt {number} {words}: {_short(attempt.error) or 'no reason given'}"


def _short(reason: str | None, width: int = _REASON_WIDTH) -> str:
    words = (reason or "").split()
    return " ".join(words)[:width]


def _causes(situation: Situation) -> list[Cause]:
    task, attempt = situation.task, situation.attempt
    if task.status.is_terminal:
        return [_end_cause(task)]
    if task.status is TaskStatus.BLOCKED:
        return [_blocked_cause(situation)]
    if task.status is TaskStatus.IN_PROGRESS and attempt is not None:
        if attempt.is_handed_in:
            return [_merge_cause(task)]
        return [_lease_cause(task, attempt, situation.as_of)]
    return [
        *_moment_causes(situation),
        *_world_causes(task),
        *_dependency_causes(situation),
        *_condition_causes(situation),
        *_child_causes(situation),
    ]


def _cause_in(task: Task, kind: CauseKind, sentence: str, names: tuple[str, ...] = ()) -> Cause:
    return Cause(
        kind=kind,
        sentence=sentence,
        task_id=task.id,
        alias=task.alias,
        names=names,
    )


def _end_cause(task: Task) -> Cause:
    sentence = f"it is {task.status}"
    if task.reason:
        sentence += f" ({_short(task.reason)})"
    return _cause_in(task, CauseKind.ENDED, sentence)


def _merge_cause(task: Task) -> Cause:
    sentence = f"its work is done and {merge_hint(task)}"
    return _cause_in(task, CauseKind.MERGE, sentence)


def may_be_gone(silent_s: float, lease_s: float) -> bool:
    """Tell whether a holder has been silent so long that another agent may take the task over.

    An agent that is told so any earlier takes over too often, even from one that is working.
    """
    return silent_s > _SILENT_SHARE * lease_s


def _lease_cause(task: Task, attempt: Attempt, now: datetime) -> Cause:
    silent_s = int((now - attempt.last_sign_at).total_seconds())
    left_s = max(0, int((attempt.lease_until - now).total_seconds()))
    sentence = (
        f"{attempt.agent} is working on it (attempt {attempt.number}, "
        f"last sign of life {ago(silent_s)}, held for another {duration(left_s)})"
    )
    if may_be_gone(silent_s, attempt.lease_s):
        sentence += f"; if that agent is gone: orch.execute_task({task.alias!r}, take_over=True)"
    return Cause(
        kind=CauseKind.LEASE,
        sentence=sentence,
        task_id=attempt.task_id,
        agent=attempt.agent,
        until=attempt.lease_until,
    )


def _blocked_cause(situation: Situation) -> Cause:
    task, recovery = situation.task, situation.open_recovery
    if recovery is None or recovery.status is TaskStatus.BLOCKED:
        return _cause_in(task, CauseKind.PERSON, _decision_sentence(task, recovery), PERSON_CHOICES)
    sentence = f"its recovery {recovery.alias} comes first ({recovery.status})"
    if task.reason:
        sentence += f"; it stopped with: {_short(task.reason)}"
    return _cause_in(recovery, CauseKind.RECOVERY, sentence)


def _decision_sentence(task: Task, recovery: Task | None) -> str:
    if task.crashes >= task.max_attempts:
        return (
            f"a person must look at it first ({_short(task.reason)}): "
            f"orch.retry_task({task.alias!r}), orch.abandon_task({task.alias!r}), "
            "or plan a replacement"
        )
    if task.empty_rounds:
        return (
            f"a person must say what is missing, then orch.retry_task({task.alias!r}) "
            f"({_short(task.reason)})"
        )
    if recovery is not None:
        cause = f"as its recovery {recovery.alias} is blocked itself"
    elif task.failures >= task.max_attempts:
        cause = f"after {plural(task.failures, 'failed attempt')}"
    else:
        cause = "as its recovery did not succeed"
    reason = _short(task.reason or "no reason given", _DECISION_REASON_WIDTH)
    return (
        f"a person must decide {cause}: orch.retry_task({task.alias!r}), "
        f"orch.abandon_task({task.alias!r}), or plan a replacement ({reason})"
    )


def pause_words(task: Task, now: datetime) -> str:
    """Say until when a task rests, and why if that is because it failed."""
    return retry_words(task, now) or f"it rests until {rest_words(task, now)}"


def _moment_causes(situation: Situation) -> list[Cause]:
    task = situation.task
    if not task.asleep or task.not_before is None or task.not_before <= situation.as_of:
        return []
    words = pause_words(task, situation.as_of)
    purpose = "to start it now"
    if task.answered:
        answer = "it is answered" if task.signal is None else "its signal has come"
        words = f"{answer}, and {words}"
        purpose = "to let that count now"
    sentence = f"{words}; {purpose}: orch.snooze_task({task.alias!r}, None)"
    kind = CauseKind.MOMENT if task.retry_at is None else CauseKind.BACKOFF
    cause = _cause_in(task, kind, sentence)
    return [attrs.evolve(cause, until=task.retry_at or task.not_before)]


def retry_words(task: Task, now: datetime) -> str:
    """Say when a task is tried again by itself, and what went wrong."""
    if task.retry_at is None:
        return ""
    left_s = max(1, round((task.retry_at - now).total_seconds()))
    reason = _short(task.reason) or "no reason given"
    return (
        f"it is tried again by itself in {duration(left_s)}, "
        f"after {task.failures} of {task.max_attempts} failures ({reason})"
    )


def _world_causes(task: Task) -> list[Cause]:
    if not is_open_question(task):
        return []
    if task.question is not None:
        sentence = (
            f"it waits for a person's answer: {_short(task.question) or task.title} "
            f"orch.answer({task.alias!r}, …)"
        )
        return [_cause_in(task, CauseKind.ANSWER, sentence)]
    sentence = f"it waits for the signal {task.signal!r}: orch.signal({task.signal!r}, …)"
    return [_cause_in(task, CauseKind.SIGNAL, sentence, (str(task.signal),))]


def _dependency_causes(situation: Situation) -> list[Cause]:
    causes = []
    for edge in readiness(situation.task, situation.needed).waiting_for:
        other = situation.needed[edge.task]
        sentence = f"waits for {_OUTCOME_WORDS[edge.on]} of {other.alias} ({other.status})"
        if other.id in situation.unmerged:
            call = f"orch.worktrees.merge({other.alias!r})"
            sentence = f"waits for {other.alias}'s work to be merged: {call}"
        cause = _cause_in(other, CauseKind.DEPENDENCY, sentence)
        causes.append(attrs.evolve(cause, on=edge.on))
    return causes


def _condition_causes(situation: Situation) -> list[Cause]:
    task = situation.task
    if task.condition is None:
        return []
    condition = conditions.parse(task.condition)
    by_name = _by_name(task, situation.needed)
    open_names = conditions.undecided(condition, by_name)
    if not open_names:
        return []
    states = [_state_words(by_name[name], situation.unmerged) for name in open_names]
    text = _condition_words(task, by_name)
    sentence = f"the condition is not decided yet: {', '.join(states)} ({text})"
    return [
        Cause(
            kind=CauseKind.CONDITION,
            sentence=sentence,
            names=open_names,
        )
    ]


def _state_words(task: Task, unmerged: frozenset[str]) -> str:
    if task.id in unmerged:
        return f"{task.alias}'s work {merge_hint(task)}"
    return f"{task.alias} is {task.status}"


def _child_causes(situation: Situation) -> list[Cause]:
    count, named = situation.open_children_count, situation.open_children
    if not count:
        return []
    have = "has" if count == 1 else "have"
    sentence = f"{plural(count, 'subtask')} {have} not ended: {', '.join(named)}"
    if count > len(named):
        sentence += f" and {count - len(named)} more"
    return [
        Cause(
            kind=CauseKind.CHILDREN,
            sentence=sentence,
            names=named,
        )
    ]


# --- the brake ----------------------------------------------------------------

_LOST_FOR_EACH_ATTEMPT: Final = 10
"""How many attempts in a row may be lost for each of a task's ``max_attempts``, in vain or not."""


def brake_reason(rounds: int, last_words: str | None) -> str:
    """Say why a task is no longer handed out after *rounds* attempts without progress."""
    reason = f"handed back {rounds} times in a row without progress"
    words = _short(last_words)
    return f"{reason}, the last time with: {words}" if words else reason


def crash_reason(crashes: int, words: str) -> str:
    """Say why a task is no longer handed out after *crashes* attempts that were lost."""
    if crashes == 1:
        return words
    return f"{crashes} attempts in a row came to nothing, the last time {words}"


def most_lost(task: Task) -> int:
    """Return how many attempts in a row may be lost before a person looks, in vain or not."""
    return _LOST_FOR_EACH_ATTEMPT * task.max_attempts


def lost_reason(lost: int, words: str) -> str:
    """Say why a task is not handed out after *lost* attempts that crashed, though not in vain."""
    return f"{lost} attempts in a row were lost, though not all in vain; the last time {words}"


# --- another try --------------------------------------------------------------

_LONGEST_PAUSE_S: Final = 86_400.0


def retry_pause_s(task: Task, failures: int) -> float | None:
    """Return the pause before a task is tried again by itself, in seconds.

    It doubles with each failure, up to a day, or up to the first pause if that is longer.

    Args:
        task: The task.
        failures: How many of its attempts have failed, with the one that has just ended.

    Returns:
        ``None`` when it is not tried again by itself: nobody asked for that, or it has failed
        ``max_attempts`` times.
    """
    first_s = task.retry_after_s
    if first_s is None or failures >= task.max_attempts:
        return None
    longest_s = max(first_s, _LONGEST_PAUSE_S)
    return min(first_s * 2.0 ** min(failures - 1, 60), longest_s)


# --- recovery ----------------------------------------------------------------


_LONGEST_QUOTE: Final = 1000


@attrs.frozen(kw_only=True)
class Failure:
    """What is known about an attempt that did not succeed."""

    error: str
    """What went wrong."""
    checkpoint: Checkpoint | None = None
    """The task's last checkpoint."""
    artifact_ids: tuple[str, ...] = ()
    """What was kept of this attempt."""
    snapshot: str | None = None
    """Commit with the worktree's last files."""
    context: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """Further context for the recovery, e.g. a conflict, or the worktree's name."""


def recovery_for(task: Task, failure: Failure) -> TaskDraft | None:
    """Draft the recovery of a task that has just become blocked, its ``failures`` counted already.

    Returns:
        ``None`` when a person must decide: a recovery that is itself blocked gets none, and neither
        does a task that has failed ``max_attempts`` times.
    """
    if task.task_type == RECOVERY or task.failures >= task.max_attempts:
        return None
    return TaskDraft(
        title=f"Recover: {task.title}",
        description=_recovery_description(task, failure),
        parent=task.parent_task_id,
        alias=None,
        task_type=RECOVERY,
        complexity=task.complexity,
        specialist_type=specialists.of_recovery(task),
        priority=min(task.priority + 1, MAX_PRIORITY),
        context=_recovery_context(task, failure),
        max_attempts=task.max_attempts,
        recovers_task_id=task.id,
    )


def _recovery_context(task: Task, failure: Failure) -> dict[str, JsonValue]:
    context: dict[str, JsonValue] = {
        "error": failure.error,
        "attempt": task.attempts,
        "artifact_ids": list(failure.artifact_ids),
        **failure.context,
    }
    if failure.checkpoint is not None:
        context["checkpoint_id"] = failure.checkpoint.id
        context["checkpoint_note"] = failure.checkpoint.note
    if failure.snapshot is not None:
        context["snapshot"] = failure.snapshot
    return context


def _recovery_description(task: Task, failure: Failure) -> str:
    """Word what is to be done. What others wrote gets no line of its own in it."""
    error = one_line(failure.error, _LONGEST_QUOTE)
    error = error if error.endswith((".", "!", "?")) else f"{error}."
    lines = [f"{one_line(task.title, _LONGEST_QUOTE)!r} could not be finished: {error}"]
    if failure.checkpoint is not None and failure.checkpoint.note:
        lines.append(f"Its last checkpoint: {one_line(failure.checkpoint.note, _LONGEST_QUOTE)}.")
    if "worktree" in failure.context:
        name = failure.context["worktree"]
        lines.append(f"Its files are in the worktree {name}, where this task works, too.")
    if failure.artifact_ids:
        lines.append(f"Its work so far is kept in: {', '.join(failure.artifact_ids)}.")
    restart = "the blocked one becomes ready again"
    if failure.checkpoint is not None:
        restart += " and continues from its last checkpoint"
    lines.append(f"Remove the cause, then complete this task: {restart}.")
    return "\n".join(lines)
