"""A task's life, decided by pure functions. The stores carry the decisions out in transactions.

What keeps a task from being ready is counted once, in ``Task.blockers``: unmet dependencies that no
condition governs, plus one for a condition that is not decided, plus children that have not ended,
plus one while it rests until its *not_before*. `causes.why` names what is counted here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Dependency,
    EventKind,
    NextAction,
    Outcome,
    Task,
    TaskDraft,
    TaskStatus,
)
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import CorruptRecordError
from vespera_orchestrator.tasks import conditions, specialists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import Checkpoint, JsonValue

LEASE_S: Final = 900.0
"""How long a claim holds without a sign of life, in seconds, unless the caller says otherwise."""
MAX_LEASE_S: Final = 10 * 365 * 86_400.0
"""The longest lease that a caller may ask for, in seconds."""
MAX_PRIORITY: Final = 2**53
"""Whole numbers up to here are the same in every store and in JSON."""
CONDITION_VERSION: Final = conditions.VERSION
"""Version of the condition language that new conditions are written in."""
RECOVERY: Final = "recovery"
"""The type of a recovery task."""
_REASON_WIDTH: Final = 300
"""Up to how many characters of a reason are shown."""
HAVE_BUILT: Final = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.COMPLETED})
"""Statuses of tasks that may have built on what they depend on."""

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
    SKIP_PART = "skip_part"
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


OPEN: Final = (TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED)
"""Statuses of tasks that have not ended."""
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
    Verb.SKIP_PART: Transition("what it belongs to is skipped", OPEN, TaskStatus.SKIPPED),
    Verb.CANCEL: Transition("cancel_task", OPEN, TaskStatus.CANCELLED),
    Verb.ABANDON: Transition("abandon_task", OPEN, TaskStatus.FAILED),
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


# --- dependencies ------------------------------------------------------------

_MEETING_STATUSES: Final = {
    Outcome.SUCCESS: frozenset({TaskStatus.COMPLETED}),
    Outcome.FAILURE: frozenset({TaskStatus.FAILED}),
    Outcome.SKIPPED: frozenset({TaskStatus.SKIPPED}),
    Outcome.CANCELLED: frozenset({TaskStatus.CANCELLED}),
    Outcome.DONE: frozenset(status for status in TaskStatus if status.is_terminal),
    Outcome.BLOCKED: frozenset[TaskStatus](),
}
OUTCOME_WORDS: Final = {
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
    by_name = tasks_by_name(task, needed)
    open_names = conditions.undecided(condition, by_name)
    is_final = all(by_name[name].status.is_terminal for name in open_names)
    return conditions.decide(condition, by_name), is_final


def tasks_by_name(task: Task, needed: Mapping[str, Task]) -> dict[str, Task]:
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
        outcome = OUTCOME_WORDS[edge.on]
        end = f"{other.status} and archived" if other.archived else str(other.status)
        return f"waits for {outcome} of {other.alias}, which is {end}"
    by_name = tasks_by_name(task, needed)
    text = condition_words(task, by_name)
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


def condition_words(task: Task, by_name: Mapping[str, Task]) -> str:
    """Return the condition as it was written, and whom it means by names that are others' now."""
    meant = [f"{name} is {by_name[name].alias}" for name in by_name if by_name[name].alias != name]
    return f"{task.condition}, where {' and '.join(meant)}" if meant else str(task.condition)


def short_reason(reason: str | None, width: int = _REASON_WIDTH) -> str:
    """Return a reason on one line, no longer than *width* characters; empty without one."""
    words = (reason or "").split()
    return " ".join(words)[:width]


# --- the brake ----------------------------------------------------------------

_LOST_FOR_EACH_ATTEMPT: Final = 10
"""How many attempts in a row may be lost for each of a task's ``max_attempts``, in vain or not."""


def brake_reason(rounds: int, last_words: str | None) -> str:
    """Say why a task is no longer handed out after *rounds* attempts without progress."""
    reason = f"handed back {rounds} times in a row without progress"
    words = short_reason(last_words)
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
        priority=task.priority,
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
