"""What keeps a task from being ready: the one answer, from which every view is made. Pure.

`why` names the same causes that ``Task.blockers`` counts; see `lifecycle.readiness`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    AttemptEnding,
    Cause,
    CauseKind,
    Outcome,
    Task,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import ago, duration, plural
from vespera_orchestrator.tasks import conditions
from vespera_orchestrator.tasks.dates import moment_words, rest_words
from vespera_orchestrator.tasks.lifecycle import (
    HAVE_BUILT,
    OUTCOME_WORDS,
    condition_words,
    is_open_question,
    readiness,
    short_reason,
    tasks_by_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, tzinfo

    from vespera_orchestrator._model import Attempt, Dependency, JsonValue, Situation

_SILENT_SHARE: Final = 0.5
"""The share of its lease after which a silent holder may be gone."""
_BUILT_ON: Final = frozenset({Outcome.SUCCESS, Outcome.DONE})
"""Outcomes with which a task builds on what another one has done."""
_PERSON_CHOICES: Final = ("retry", "abandon", "replace")
"""What a person may do about a task on which nobody goes on by itself."""
_DECISION_REASON_WIDTH: Final = 200
"""Up to how many characters of a reason are shown where a person is also told what to do."""


def why(situation: Situation) -> Why:
    """Name the smallest set of causes that keep the task from being ready; none when it is."""
    task = situation.task
    note = return_note(task) or _outdated_note(situation)
    result = _why(task, _causes(situation), note)
    if task.status is not TaskStatus.PENDING or situation.attempt is None or result.causes:
        return result
    zone = situation.as_of.tzinfo
    return attrs.evolve(result, setback=setback(task, situation.attempt, zone))


def _outdated_note(situation: Situation) -> str:
    """Name the dependencies that were reopened, or done again, since the task built on them."""
    task = situation.task
    if task.status not in HAVE_BUILT:
        return ""
    governed = frozenset(task.condition_names.values())
    again, newer = [], []
    for edge in task.dependencies:
        other = situation.needed[edge.task]
        if _is_open_again(edge, other, is_governed=edge.task in governed):
            again.append(other.alias)
        elif edge.on in _BUILT_ON and _ended_after(other, situation):
            newer.append(other.alias)
    if again:
        return f"what it builds on was reopened and is not done again yet: {', '.join(again)}"
    return f"what it builds on was done again since: {', '.join(newer)}" if newer else ""


def _is_open_again(edge: Dependency, other: Task, *, is_governed: bool) -> bool:
    """Tell whether a task had ended before the one that builds on it began, and is open now.

    A condition may have decided without it, so there it counts only once somebody has begun it.
    """
    if edge.on not in _BUILT_ON or other.status.is_terminal:
        return False
    return other.attempts > 0 or not is_governed


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
        is_reopened=is_reopened(task),
        for_agent=task.for_agent,
    )


def return_note(task: Task) -> str:
    """Return the words with which a pending task was given back, on one line; empty without any."""
    if task.status is not TaskStatus.PENDING:
        return ""
    return short_reason(task.reason)


def is_reopened(task: Task) -> bool:
    """Tell whether a pending task was done once: its summary stays when it is opened again."""
    return task.status is TaskStatus.PENDING and task.summary is not None


def merge_hint(task: Task) -> str:
    """Say that the work of a task waits to be merged, what merges it, and why that was not done."""
    hint = f"waits to be merged: orch.worktrees.merge({task.alias!r})"
    if task.reason:
        hint += f" ({short_reason(task.reason)})"
    return hint


_SETBACKS: Final[dict[str, str]] = {
    AttemptEnding.FAILED: "did not succeed",
    AttemptEnding.TIMED_OUT: "did not succeed",
    AttemptEnding.STALLED: "stalled",
    AttemptEnding.ABANDONED: "crashed",
    AttemptEnding.GONE: "was ended",
}


def setback(task: Task, attempt: Attempt, zone: tzinfo | None = None) -> str:
    """Say how the latest attempt at a pending task ended, if it came to nothing by itself.

    Args:
        task: The task.
        attempt: Its latest attempt.
        zone: Where the reader is. ``None``, where nobody knows, leaves out when it crashed.
    """
    words = _SETBACKS.get(attempt.ending or "")
    if words is None:
        return ""
    number = str(attempt.number)
    if task.failures:
        number += f" ({task.failures} of {task.max_attempts} failures)"
    result = f"attempt {number} {words}: {short_reason(attempt.error) or 'no reason given'}"
    if attempt.ending == AttemptEnding.ABANDONED and zone is not None:
        result += f", last heard of on {moment_words(attempt.last_sign_at, zone)}"
    return result


def _causes(situation: Situation) -> list[Cause]:
    task, attempt = situation.task, situation.attempt
    if task.status.is_terminal:
        return [_end_cause(task)]
    if task.status is TaskStatus.BLOCKED:
        return [_blocked_cause(situation)]
    if task.status is TaskStatus.IN_PROGRESS and attempt is not None:
        if attempt.is_handed_in:
            return [_merge_cause(task)]
        return [_lease_cause(situation, attempt)]
    return [
        *_moment_causes(situation),
        *_world_causes(situation),
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
        sentence += f" ({short_reason(task.reason)})"
    return _cause_in(task, CauseKind.ENDED, sentence)


def _merge_cause(task: Task) -> Cause:
    sentence = f"its work is done and {merge_hint(task)}"
    return _cause_in(task, CauseKind.MERGE, sentence)


def may_be_gone(silent_s: float, lease_s: float) -> bool:
    """Tell whether a holder has been silent so long that another agent may take the task over.

    An agent that is told so any earlier takes over too often, even from one that is working.
    """
    return silent_s > _SILENT_SHARE * lease_s


def _lease_cause(situation: Situation, attempt: Attempt) -> Cause:
    task, now = situation.task, situation.as_of
    silent_s = int((now - attempt.last_sign_at).total_seconds())
    left_s = max(0, int((attempt.lease_until - now).total_seconds()))
    sentence = (
        f"{attempt.agent} is working on it (attempt {attempt.number}, "
        f"last sign of life {ago(silent_s)}, held for another {duration(left_s)})"
    )
    if situation.has_holder_left:
        sentence += (
            f"; the process in which {attempt.agent} took it has ended. If nobody goes on with it: "
            f"orch.execute_task({task.alias!r}, take_over=True)"
        )
    elif may_be_gone(silent_s, attempt.lease_s):
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
        decision = _decision_sentence(task, recovery)
        return _cause_in(task, CauseKind.PERSON, decision, _PERSON_CHOICES)
    sentence = f"its recovery {recovery.alias} comes first ({recovery.status})"
    if task.reason:
        sentence += f"; it stopped with: {short_reason(task.reason)}"
    return _cause_in(recovery, CauseKind.RECOVERY, sentence)


def _decision_sentence(task: Task, recovery: Task | None) -> str:
    if task.crashes >= task.max_attempts:
        return (
            f"a person must look at it first ({short_reason(task.reason)}): "
            f"orch.retry_task({task.alias!r}), orch.abandon_task({task.alias!r}), "
            "or plan a replacement"
        )
    if task.empty_rounds:
        return (
            f"a person must say what is missing, then orch.retry_task({task.alias!r}) "
            f"({short_reason(task.reason)})"
        )
    if recovery is not None:
        cause = f"as its recovery {recovery.alias} is blocked itself"
    elif task.failures >= task.max_attempts:
        cause = f"after {plural(task.failures, 'failed attempt')}"
    else:
        cause = "as it has no open recovery"
    reason = short_reason(task.reason or "no reason given", _DECISION_REASON_WIDTH)
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


def answer_call(task: Task, names: Iterable[str], value: JsonValue = None) -> str:
    """Return the call that answers a task.

    Args:
        task: The task.
        names: The outputs that conditions read; where there is none, any value will do.
        value: What a plain answer has said; yes or no is taken over for a single output.
    """
    unique = dict.fromkeys(names)
    example = repr(value) if isinstance(value, bool) and len(unique) == 1 else "…"
    values = ", ".join(f"{name}={example}" for name in unique) or example
    return f"orch.answer({task.alias!r}, {values})"


def retry_words(task: Task, now: datetime) -> str:
    """Say when a task is tried again by itself, and what went wrong."""
    if task.retry_at is None:
        return ""
    left_s = max(1, round((task.retry_at - now).total_seconds()))
    reason = short_reason(task.reason) or "no reason given"
    return (
        f"it is tried again by itself in {duration(left_s)}, "
        f"after {task.failures} of {task.max_attempts} failures ({reason})"
    )


def _world_causes(situation: Situation) -> list[Cause]:
    task = situation.task
    if not is_open_question(task):
        return []
    if task.question is not None:
        sentence = (
            f"it waits for a person's answer: {short_reason(task.question) or task.title} "
            f"{answer_call(task, situation.outputs_read)}"
        )
        return [_cause_in(task, CauseKind.ANSWER, sentence)]
    sentence = f"it waits for the signal {task.signal!r}: orch.signal({task.signal!r}, …)"
    return [_cause_in(task, CauseKind.SIGNAL, sentence, (str(task.signal),))]


def _dependency_causes(situation: Situation) -> list[Cause]:
    causes = []
    for edge in readiness(situation.task, situation.needed).waiting_for:
        other = situation.needed[edge.task]
        sentence = f"waits for {OUTCOME_WORDS[edge.on]} of {other.alias} ({other.status})"
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
    by_name = tasks_by_name(task, situation.needed)
    open_names = conditions.undecided(condition, by_name)
    if not open_names:
        return []
    states = [_state_words(by_name[name], situation.unmerged) for name in open_names]
    text = condition_words(task, by_name)
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
