"""The one thing to do now: pure rules over what is known about a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import CauseKind, NextStep, Session, Task, TaskStatus, Why
from vespera_orchestrator._text import one_line
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TITLE_WIDTH: Final = 90


@attrs.frozen(kw_only=True)
class SessionFacts:
    """What the choice of the next step depends on."""

    counts: Mapping[TaskStatus, int]
    """Tasks by status; archived ones do not count."""
    is_archived: bool = False
    """Whether there were tasks, and all of them are archived."""
    ready: Task | None = None
    """The best ready task."""
    ready_has_subtasks: bool = False
    """Whether that task is a parent. Its subtasks have ended then, or it would not be ready."""
    synthesis_id: str | None = None
    """The artifact with the results of these subtasks, if it has been made and is up to date."""
    unmerged: Sequence[Task] = ()
    """Tasks whose work is done and waits to be merged, the first to merge first."""
    running: int = 0
    """How many tasks are in progress; the unmerged ones do not count."""
    decisions: Sequence[Why] = ()
    """Blocked tasks that wait for a person."""
    waiting: Why | None = None
    """Some task that is blocked or waits, with its causes, when nothing else can go on."""
    unreached: Task | None = None
    """A task that failed or was cancelled, when every task has ended."""
    landed_on: str | None = None
    """The branch with the work, when every task has ended and some of it has landed."""


def next_step(facts: SessionFacts) -> NextStep:
    """Choose the one thing to do now."""
    for rule in _RULES:
        step = rule(facts)
        if step is not None:
            return step
    return _finish(facts)


def first_step(problem: str | None = None) -> NextStep:
    """Ask for a goal if there is no session at all.

    Args:
        problem: What is wrong with the session that the environment or a file names, if one does.
    """
    sentence = "No session is active yet: say what you want to reach."
    if problem is not None:
        sentence = f"{problem[0].upper()}{problem[1:]}. Say what you want to reach."
    return NextStep(action="initialize", sentence=sentence, call='orch.initialize_session("…")')


def resume_step(session: Session, problem: str) -> NextStep:
    """Point to *session*, which was left, when no session is active for the reason *problem*."""
    name = one_line(session.goal, _TITLE_WIDTH) or session.id
    return NextStep(
        action="initialize",
        sentence=f"{problem[0].upper()}{problem[1:]}, but there is one: {name}.",
        call=f"orch.resume_session({session.id!r})",
    )


# --- the rules, in their order -----------------------------------------------


def _plan(facts: SessionFacts) -> NextStep | None:
    call = 'orch.plan_task("…")'
    if facts.is_archived:
        sentence = "Everything is finished and archived. Plan something new, or stop here."
        return NextStep(
            action="done",
            sentence=sentence,
            call=call,
        )
    if not any(facts.counts.values()):
        sentence = "The session has no tasks yet: plan the first one."
        return NextStep(
            action="plan",
            sentence=sentence,
            call=call,
        )
    return None


def _synthesize(facts: SessionFacts) -> NextStep | None:
    task = facts.ready
    if task is None or not facts.ready_has_subtasks:
        return None
    title = one_line(task.title, _TITLE_WIDTH)
    if facts.synthesis_id is None:
        action = "synthesize"
        sentence = (
            f"All subtasks of {title!r} have ended: bring their results together, then complete it."
        )
        call = f"orch.synthesize_results({task.alias!r})"
    else:
        action = "execute"
        sentence = (
            f"The results of {title!r} are brought together in {facts.synthesis_id}: "
            "read it, then complete the task."
        )
        call = f"orch.complete_task({task.alias!r}, summary=…, detailed_work=…)"
    return _step_on(task, action, sentence, call)


def _start(facts: SessionFacts) -> NextStep | None:
    task = facts.ready
    if task is None:
        return None
    sentence = f"Start {one_line(task.title, _TITLE_WIDTH)!r}."
    note = lifecycle.return_note(task)
    if note:
        sentence += f" It was handed back with: {one_line(note, 200)}."
    return _step_on(task, "execute", sentence, f"orch.execute_task({task.alias!r})")


def _merge(facts: SessionFacts) -> NextStep | None:
    if not facts.unmerged:
        return None
    task, *others = facts.unmerged
    more = f" ({len(others)} more after it)" if others else ""
    title = one_line(task.title, _TITLE_WIDTH)
    sentence = f"The work of {title!r} is done and waits to be merged{more}."
    if task.reason:
        sentence += f" Merging it at once was not possible: {one_line(task.reason, 400)}"
    return _step_on(task, "merge", sentence, f"orch.worktrees.merge({task.alias!r})")


def _wait(facts: SessionFacts) -> NextStep | None:
    if not facts.running:
        return None
    tasks = "One task is" if facts.running == 1 else f"{facts.running} tasks are"
    sentence = f"{tasks} being worked on; there is nothing you must do."
    if facts.decisions:
        first = facts.decisions[0]
        sentence += (
            f" In the meantime you could decide about {first.alias}: {decision_sentence(first)}."
        )
    return NextStep(
        action="wait",
        sentence=sentence,
        call="orch.get_status()",
    )


def _decide(facts: SessionFacts) -> NextStep | None:
    if not facts.decisions:
        return None
    first = facts.decisions[0]
    return NextStep(
        action="decide",
        sentence=f"{first.alias}: {decision_sentence(first)}",
        call=f"orch.retry_task({first.alias!r})",
        task_id=first.task_id,
        alias=first.alias,
    )


def _explain(facts: SessionFacts) -> NextStep | None:
    why = facts.waiting
    if why is None:
        return None
    return NextStep(
        action="decide",
        sentence=f"Nothing can continue without you: {why}.",
        call=f"orch.why({why.alias!r})",
        task_id=why.task_id,
        alias=why.alias,
    )


def _reconsider(facts: SessionFacts) -> NextStep | None:
    task = facts.unreached
    if task is None:
        return None
    reason = one_line(task.reason or "no reason given")
    sentence = (
        "Everything has ended, but not all was reached: "
        f"{task.alias} {task.status} ({reason}).{_branch_hint(facts)}"
    )
    call = ""
    if task.status is not TaskStatus.CANCELLED:  # somebody wanted it cancelled
        call = f"orch.retry_task({task.alias!r})"
    return _step_on(task, "done", sentence, call)


def _finish(facts: SessionFacts) -> NextStep:
    sentence = f"Everything has ended: {counts_line(facts.counts)}.{_branch_hint(facts)}"
    return NextStep(
        action="done",
        sentence=sentence,
        call="",
    )


_RULES: Final[tuple[Callable[[SessionFacts], NextStep | None], ...]] = (
    _plan,
    _synthesize,
    _start,
    _merge,
    _wait,
    _decide,
    _explain,
    _reconsider,
)
"""The first rule that applies chooses the step; `_finish` is left when none does."""


# --- words -------------------------------------------------------------------


def _step_on(task: Task, action: str, sentence: str, call: str) -> NextStep:
    return NextStep(
        action=action,
        sentence=sentence,
        call=call,
        task_id=task.id,
        alias=task.alias,
    )


def _branch_hint(facts: SessionFacts) -> str:
    branch = facts.landed_on
    if branch is None:
        return ""
    return f" The work is on the branch {branch!r}: git merge {branch}"


def decision_sentence(why: Why) -> str:
    """Return the sentence that says what a person can choose, or all of *why*."""
    for cause in why.causes:
        if cause.kind is CauseKind.PERSON:
            return cause.sentence
    return str(why)


def counts_line(counts: Mapping[TaskStatus, int]) -> str:
    """Write how many tasks there are of each status, e.g. ``2 pending, 1 completed``."""
    parts = [
        f"{counts[status]} {status.replace('_', ' ')}"
        for status in TaskStatus
        if counts.get(status)
    ]
    return ", ".join(parts) or "no tasks"
