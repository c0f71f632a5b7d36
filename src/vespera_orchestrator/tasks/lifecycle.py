"""A task's life, decided by pure functions. The stores carry the decisions out inside their transactions.

What keeps a task from being ready is counted once, in ``Task.blockers``: unmet dependencies that no condition governs, plus one for a
condition that is not decided, plus children that have not ended. `why` names the same causes, so every view agrees.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import (
    Cause,
    CauseKind,
    Dependency,
    NextAction,
    Outcome,
    Task,
    TaskDraft,
    TaskStatus,
    Why,
)
from vespera_orchestrator._text import ago, duration
from vespera_orchestrator.tasks import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from vespera_orchestrator._model import Attempt, Checkpoint, JsonValue, Situation

LEASE_S: Final = 900.0
"""How long a claim holds without a sign of life, in seconds, unless said otherwise."""
MAX_LEASE_S: Final = 10 * 365 * 86_400.0
MAX_PRIORITY: Final = 2**53
"""Whole numbers up to here are the same in every store and in JSON."""
CONDITION_VERSION: Final = conditions.VERSION
"""Version of the condition language that new conditions are written in."""
RECOVERY: Final = "recovery"
"""The type of a recovery task."""
HANDED_IN: Final = "handed_in"
"""How an attempt ended whose work is done and waits to be merged. Its task stays in progress, and nobody's hold on it lapses."""
PERSON_CHOICES: Final = ("retry", "abandon", "replace")

TRANSITIONS: Final[dict[str, dict[TaskStatus, TaskStatus]]] = {
    "claim": {TaskStatus.PENDING: TaskStatus.IN_PROGRESS},
    "complete": {TaskStatus.IN_PROGRESS: TaskStatus.COMPLETED},
    "continue": {TaskStatus.IN_PROGRESS: TaskStatus.IN_PROGRESS},
    "hand_in": {TaskStatus.IN_PROGRESS: TaskStatus.IN_PROGRESS},
    "needs_revision": {TaskStatus.IN_PROGRESS: TaskStatus.PENDING},
    "blocked": {TaskStatus.IN_PROGRESS: TaskStatus.BLOCKED},
    "release": {TaskStatus.IN_PROGRESS: TaskStatus.PENDING},
    "expire": {TaskStatus.IN_PROGRESS: TaskStatus.PENDING},
    "recovered": {TaskStatus.BLOCKED: TaskStatus.PENDING},
    "skip": {TaskStatus.PENDING: TaskStatus.SKIPPED},
    "cancel": dict.fromkeys(
        (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED), TaskStatus.CANCELLED
    ),
    "abandon": dict.fromkeys(
        (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED), TaskStatus.FAILED
    ),
    "retry": dict.fromkeys(
        (TaskStatus.BLOCKED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED),
        TaskStatus.PENDING,
    ),
    "reopen": {TaskStatus.SKIPPED: TaskStatus.PENDING},
}
"""What may become of a task: by verb, from each state in which the verb is allowed, to the state that follows."""

WHO: Final[dict[str, str]] = {
    "claim": "execute_task",
    "complete": "complete",
    "continue": "continue",
    "hand_in": "complete with merge=later",
    "needs_revision": "needs_revision",
    "blocked": "fails, or says blocked",
    "release": "release",
    "expire": "the lease lapses",
    "recovered": "its recovery is completed",
    "skip": "can never become ready",
    "cancel": "cancel_task",
    "abandon": "abandon_task",
    "retry": "retry_task",
    "reopen": "what it waits for is retried",
}
"""What brings each verb about, in words for the diagram."""


def state_diagram() -> str:
    """Draw `TRANSITIONS` as a Mermaid state diagram."""
    arrows: dict[tuple[TaskStatus, TaskStatus], list[str]] = {}
    for verb, moves in TRANSITIONS.items():
        for start, end in moves.items():
            arrows.setdefault((start, end), []).append(WHO[verb])
    lines = [
        f"    {start} --> {end}: {', '.join(words)}"
        for (start, end), words in sorted(arrows.items())
    ]
    ends = [f"    {status} --> [*]" for status in TaskStatus if status.is_terminal]
    return "\n".join(["stateDiagram-v2", "    [*] --> pending: plan_task", *lines, *ends])


ENDING_VERB: Final[dict[NextAction | None, str]] = {
    NextAction.COMPLETE: "complete",
    NextAction.CONTINUE: "continue",
    NextAction.NEEDS_REVISION: "needs_revision",
    NextAction.BLOCKED: "blocked",
    None: "release",
}


STATUS_AFTER_EVENT: Final[dict[str, TaskStatus]] = {
    **dict.fromkeys(
        (
            "task_planned",
            "task_revised",
            "task_released",
            "task_recovered",
            "task_retried",
            "task_reopened",
        ),
        TaskStatus.PENDING,
    ),
    **dict.fromkeys(("task_started", "task_continued", "lease_regained"), TaskStatus.IN_PROGRESS),
    "lease_expired": TaskStatus.PENDING,
    "task_completed": TaskStatus.COMPLETED,
    "task_blocked": TaskStatus.BLOCKED,
    "task_skipped": TaskStatus.SKIPPED,
    "task_cancelled": TaskStatus.CANCELLED,
    "task_failed": TaskStatus.FAILED,
}
"""What a task's state is after an event of each kind; other kinds change no state."""


def after(verb: str, status: TaskStatus) -> TaskStatus | None:
    """Return the state that *verb* leads to, or ``None`` when it is not allowed."""
    return TRANSITIONS[verb].get(status)


# --- effort -----------------------------------------------------------------

_UNITS_H: Final = {
    "m": 1 / 60,
    "min": 1 / 60,
    "h": 1.0,
    "hour": 1.0,
    "d": 8.0,
    "day": 8.0,
    "w": 40.0,
    "week": 40.0,
}
_EFFORT = re.compile(
    r"(?<![\d.])(\d{1,9}(?:\.\d{1,9})?)\s{0,3}(min|hour|day|week|[mhdw])(?:s|utes?)?(?![a-z])",
    re.IGNORECASE,
)


def effort_hours(text: str | None) -> float:
    """Read an estimate such as ``"2 hours"``, ``"30 min"``, ``"1 day"`` (8 hours), ``"1 week"`` (40 hours); 1.0 when it says none."""
    total, found = 0.0, False
    for number, unit in _EFFORT.findall(text or ""):
        factor = _UNITS_H.get(unit.lower())
        if factor is not None:
            total, found = total + float(number) * factor, True
    return total if found else 1.0


# --- dependencies -----------------------------------------------------------

_MET_BY: Final = {
    Outcome.SUCCESS: frozenset({TaskStatus.COMPLETED}),
    Outcome.FAILURE: frozenset({TaskStatus.FAILED}),
    Outcome.SKIPPED: frozenset({TaskStatus.SKIPPED}),
    Outcome.CANCELLED: frozenset({TaskStatus.CANCELLED}),
    Outcome.DONE: frozenset(s for s in TaskStatus if s.is_terminal),
    Outcome.BLOCKED: frozenset[TaskStatus](),
}


def edge_met(on: Outcome, status: TaskStatus, *, was_blocked: bool) -> bool | None:
    """Tell whether a dependency that waits for *on* is met: True, False for never, ``None`` for not yet.

    Having been blocked counts for ever; every other outcome is known when the task ends.
    """
    if on is Outcome.BLOCKED and was_blocked:
        return True
    if status in _MET_BY[on]:
        return True
    return False if status.is_terminal else None


@attrs.frozen(kw_only=True)
class Readiness:
    """How a task stands towards being ready, apart from its own state."""

    waiting_for: tuple[Dependency, ...]
    """Unmet dependencies that the condition does not govern."""
    never: tuple[Dependency, ...]
    """Unmet dependencies that can no longer be met."""
    condition: bool | None
    """True also where there is none; ``None`` while undecided."""
    condition_final: bool
    """Whether the condition can still change."""

    @property
    def impossible(self) -> bool:
        """Whether the task can never become ready."""
        return (
            bool(self.never)
            or self.condition is False
            or (self.condition is None and self.condition_final)
        )

    @property
    def blockers(self) -> int:
        """How many causes there are, children apart."""
        return len(self.waiting_for) + len(self.never) + (self.condition is not True)


def readiness(task: Task, needed: Mapping[str, Task]) -> Readiness:
    """Work out how a task stands.

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
        met = edge_met(edge.on, needed[edge.task].status, was_blocked=needed[edge.task].was_blocked)
        if not met:
            (waiting if met is None else never).append(edge)
    truth: bool | None = True
    final = True
    if task.condition is not None:
        names = {name: needed[task_id] for name, task_id in task.condition_names.items()}
        condition = conditions.parse(task.condition)
        truth = conditions.decide(condition, names)
        final = all(
            names[name].status.is_terminal for name in conditions.undecided(condition, names)
        )
    return Readiness(
        waiting_for=tuple(waiting), never=tuple(never), condition=truth, condition_final=final
    )


def skip_reason(task: Task, stands: Readiness, needed: Mapping[str, Task]) -> str:
    """Say in one sentence why the task can never become ready."""
    if stands.never:
        other = needed[stands.never[0].task]
        return f"waits for {_outcome_words(stands.never[0].on)} of {other.alias}, which is {other.status}"
    if stands.condition is False:
        return f"condition is false: {task.condition}"
    names = {name: needed[task_id] for name, task_id in task.condition_names.items()}
    open_names = conditions.undecided(conditions.parse(str(task.condition)), names)
    states = ", ".join(f"{name} is {names[name].status}" for name in open_names)
    return f"condition can never be decided, what it reads is missing or not comparable ({states or 'fixed values'}): {task.condition}"


def _outcome_words(on: Outcome) -> str:
    return {
        Outcome.SUCCESS: "success",
        Outcome.FAILURE: "failure",
        Outcome.DONE: "the end",
        Outcome.SKIPPED: "the skipping",
        Outcome.CANCELLED: "the cancellation",
        Outcome.BLOCKED: "a block",
    }[on]


# --- the one answer ---------------------------------------------------------


def why(situation: Situation) -> Why:
    """Name the smallest set of causes that keep the task from being ready; none when it is."""
    task = situation.task
    return Why(
        task_id=task.id,
        alias=task.alias,
        status=task.status,
        causes=tuple(_causes(situation)),
        note=return_note(task),
    )


def return_note(task: Task) -> str:
    """Return with what words a pending task was given back, on one line; empty where nothing was said."""
    return " ".join((task.reason or "").split())[:300] if task.status is TaskStatus.PENDING else ""


def why_not_complete(situation: Situation) -> Why:
    """Name what keeps a task that somebody holds from being completed: its subtasks that have not ended."""
    task = situation.task
    return Why(
        task_id=task.id,
        alias=task.alias,
        status=task.status,
        causes=tuple(_child_causes(situation)),
    )


def _causes(situation: Situation) -> list[Cause]:
    task = situation.task
    if task.status.is_terminal:
        reason = f" ({' '.join(task.reason.split())[:300]})" if task.reason else ""
        return [
            Cause(
                kind=CauseKind.ENDED,
                sentence=f"it is {task.status}{reason}",
                task_id=task.id,
                alias=task.alias,
            )
        ]
    if task.status is TaskStatus.IN_PROGRESS and situation.attempt is not None:
        if situation.attempt.ending == HANDED_IN:
            return [_merge_cause(task)]
        return [_lease_cause(task, situation.attempt, situation.as_of)]
    if task.status is TaskStatus.BLOCKED:
        return [_blocked_cause(situation)]
    return [
        *_dependency_causes(situation),
        *_condition_causes(situation),
        *_child_causes(situation),
    ]


def merge_hint(task: Task) -> str:
    """Say that the work of a task waits to be merged, why that was not done at once, and what does it."""
    reason = f" ({' '.join(task.reason.split())[:300]})" if task.reason else ""
    return f"waits to be merged: orch.worktrees.merge({task.alias!r}){reason}"


def _merge_cause(task: Task) -> Cause:
    return Cause(
        kind=CauseKind.MERGE,
        sentence=f"its work is done and {merge_hint(task)}",
        task_id=task.id,
        alias=task.alias,
    )


def _lease_cause(task: Task, attempt: Attempt, now: datetime) -> Cause:
    silent = int((now - attempt.last_sign_at).total_seconds())
    left = max(0, int((attempt.lease_until - now).total_seconds()))
    sentence = (
        f"{attempt.agent} is working on it (attempt {attempt.number}, last sign of life {ago(silent)}, held for another {duration(left)}); "
        f"if that agent is gone: orch.execute_task({task.alias!r}, take_over=True)"
    )
    return Cause(
        kind=CauseKind.LEASE,
        sentence=sentence,
        task_id=attempt.task_id,
        agent=attempt.agent,
        until=attempt.lease_until,
    )


def _blocked_cause(situation: Situation) -> Cause:
    task, recovery = situation.task, situation.open_recovery
    if recovery is not None and recovery.status is not TaskStatus.BLOCKED:
        stopped = (
            f"; it stopped with: {' '.join(situation.task.reason.split())[:300]}"
            if situation.task.reason
            else ""
        )
        sentence = f"its recovery {recovery.alias} comes first ({recovery.status}){stopped}"
        return Cause(
            kind=CauseKind.RECOVERY, sentence=sentence, task_id=recovery.id, alias=recovery.alias
        )
    what = (
        f"after {task.failures} failed attempts"
        if task.failures >= task.max_attempts
        else "as its recovery did not succeed"
    )
    if recovery is not None:
        what = f"as its recovery {recovery.alias} is blocked itself"
    sentence = (
        f"a person must decide {what}: orch.retry_task({task.alias!r}), orch.abandon_task({task.alias!r}), "
        f"or plan a replacement ({' '.join((task.reason or 'no reason given').split())[:200]})"
    )
    return Cause(
        kind=CauseKind.PERSON,
        sentence=sentence,
        task_id=task.id,
        alias=task.alias,
        names=PERSON_CHOICES,
    )


def _dependency_causes(situation: Situation) -> list[Cause]:
    stands = readiness(situation.task, situation.needed)
    causes = []
    for edge in stands.waiting_for:
        other = situation.needed[edge.task]
        sentence = f"waits for {_outcome_words(edge.on)} of {other.alias} ({other.status})"
        if other.id in situation.unmerged:
            sentence = f"waits for {other.alias}'s work to be merged: orch.worktrees.merge({other.alias!r})"
        causes.append(
            Cause(
                kind=CauseKind.DEPENDENCY,
                sentence=sentence,
                task_id=other.id,
                alias=other.alias,
                on=edge.on,
            )
        )
    return causes


def _condition_causes(situation: Situation) -> list[Cause]:
    if situation.task.condition is None:
        return []
    names = situation.task.condition_names
    condition = conditions.parse(situation.task.condition)
    open_names = conditions.undecided(
        condition, {name: situation.needed[task_id] for name, task_id in names.items()}
    )
    if not open_names:
        return []
    states = ", ".join(
        _standing_words(name, situation.needed[names[name]], situation.unmerged)
        for name in open_names
    )
    return [
        Cause(
            kind=CauseKind.CONDITION,
            sentence=f"the condition is not decided yet: {states} ({condition.text})",
            names=open_names,
        )
    ]


def _standing_words(name: str, task: Task, unmerged: frozenset[str]) -> str:
    return (
        f"{name}'s work {merge_hint(task)}" if task.id in unmerged else f"{name} is {task.status}"
    )


def _child_causes(situation: Situation) -> list[Cause]:
    count = situation.open_children_count
    if not count:
        return []
    more = (
        f" and {count - len(situation.open_children)} more"
        if count > len(situation.open_children)
        else ""
    )
    sentence = f"{count} subtask{'s have' if count > 1 else ' has'} not ended: {', '.join(situation.open_children)}{more}"
    return [Cause(kind=CauseKind.CHILDREN, sentence=sentence, names=situation.open_children)]


# --- recovery ---------------------------------------------------------------


def recovery_for(
    task: Task,
    *,
    error: str,
    checkpoint: Checkpoint | None,
    artifact_ids: tuple[str, ...],
    snapshot: str | None,
    more: Mapping[str, JsonValue],
) -> TaskDraft | None:
    """Draft the recovery task for a task that has just become blocked, or ``None`` when a person must decide.

    A recovery task that is itself blocked gets none, and neither does a task that has failed ``max_attempts`` times.

    Args:
        task: The task, its ``failures`` counted already.
        error: What went wrong.
        checkpoint: Its last checkpoint.
        artifact_ids: What was kept of this attempt.
        snapshot: Commit with the worktree's last files.
        more: Further context, e.g. a conflict.
    """
    if task.task_type == RECOVERY or task.failures >= task.max_attempts:
        return None
    context: dict[str, JsonValue] = {
        "error": error,
        "attempt": task.attempts,
        "artifact_ids": list(artifact_ids),
        **more,
    }
    lines = [f"{task.title!r} could not be finished: {error}"]
    if checkpoint is not None:
        context["checkpoint_id"] = checkpoint.id
        context["checkpoint_note"] = checkpoint.note
        lines += [f"Its last checkpoint: {checkpoint.note}."] if checkpoint.note else []
    if snapshot is not None:
        context["snapshot"] = snapshot
    if "worktree" in more:
        lines.append(f"Its files are in {more['worktree']}.")
    if artifact_ids:
        lines.append(f"What it had done is kept in: {', '.join(artifact_ids)}.")
    goes_on = " and goes on from its last checkpoint" if checkpoint is not None else ""
    lines.append(
        f"Remove the cause, then complete this task: the blocked one becomes ready again{goes_on}."
    )
    return TaskDraft(
        title=f"Recover: {task.title}",
        description="\n".join(lines),
        parent=task.parent_task_id,
        alias=None,
        task_type=RECOVERY,
        complexity=task.complexity,
        specialist_type=task.specialist_type,
        priority=min(task.priority + 1, MAX_PRIORITY),
        context=context,
        max_attempts=task.max_attempts,
        recovers_task_id=task.id,
    )
