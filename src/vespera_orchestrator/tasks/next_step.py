"""The one thing to do now: pure, from what the store told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import CauseKind, NextStep, Session, Task, TaskStatus, Why
from vespera_orchestrator._text import one_line
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


NO_SESSION: Final = NextStep(
    action="initialize",
    sentence="No session is active yet: say what you want to reach.",
    call='orch.initialize_session("…")',
)


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
        return NextStep(
            action="done",
            sentence="Everything has ended and is put away in the archive. Plan on, or stop here.",
            call='orch.plan_task("…")',
        )
    if not sum(counts.values()):
        return NextStep(
            action="plan",
            sentence="The session has no tasks yet: plan the first one.",
            call='orch.plan_task("…")',
        )
    if ready is not None and gathers and synthesis is not None:
        sentence = f"The results of {one_line(ready.title, 90)!r} are brought together in {synthesis}: read it, then complete the task."
        call = f"orch.complete_task({ready.alias!r}, summary=…, detailed_work=…)"
        return NextStep(
            action="execute", sentence=sentence, call=call, task_id=ready.id, alias=ready.alias
        )
    if ready is not None and gathers:
        sentence = f"All subtasks of {one_line(ready.title, 90)!r} have ended: bring their results together, then complete it."
        return NextStep(
            action="synthesize",
            sentence=sentence,
            call=f"orch.synthesize_results({ready.alias!r})",
            task_id=ready.id,
            alias=ready.alias,
        )
    if ready is not None:
        back = lifecycle.return_note(ready)
        sentence = f"Start {one_line(ready.title, 90)!r}." + (
            f" It was given back with: {one_line(back, 200)}." if back else ""
        )
        return NextStep(
            action="execute",
            sentence=sentence,
            call=f"orch.execute_task({ready.alias!r})",
            task_id=ready.id,
            alias=ready.alias,
        )
    if unmerged:
        return _merge_step(unmerged)
    if running:
        tasks = "One task is" if running == 1 else f"{running} tasks are"
        also = (
            f" Meanwhile you could decide about {decisions[0].alias}: {_person(decisions[0])}."
            if decisions
            else ""
        )
        return NextStep(
            action="wait",
            sentence=f"{tasks} being worked on; there is nothing you must do.{also}",
            call="orch.get_status()",
        )
    if decisions:
        first = decisions[0]
        return NextStep(
            action="decide",
            sentence=f"{first.alias}: {_person(first)}",
            call=f"orch.retry_task({first.alias!r})",
            task_id=first.task_id,
            alias=first.alias,
        )
    if waiting is not None:
        return NextStep(
            action="decide",
            sentence=f"Nothing can go on by itself: {waiting}.",
            call=f"orch.why({waiting.alias!r})",
            task_id=waiting.task_id,
            alias=waiting.alias,
        )
    if unreached is not None:
        what = f"{unreached.alias} {unreached.status} ({one_line(unreached.reason or 'no reason given')})"
        sentence = f"Everything has ended, but not all was reached: {what}.{_where(landed_on)}"
        call = (
            ""
            if unreached.status is TaskStatus.CANCELLED
            else f"orch.retry_task({unreached.alias!r})"
        )  # that was somebody's will
        return NextStep(
            action="done", sentence=sentence, call=call, task_id=unreached.id, alias=unreached.alias
        )
    return NextStep(
        action="done",
        sentence=f"Everything has ended: {_counted(counts)}.{_where(landed_on)}",
        call="",
    )


def _where(branch: str | None) -> str:
    return "" if branch is None else f" The work is on the branch {branch!r}: git merge {branch}"


def _merge_step(unmerged: Sequence[Task]) -> NextStep:
    first, more = unmerged[0], f" ({len(unmerged) - 1} more after it)" if len(unmerged) > 1 else ""
    sentence = f"The work of {one_line(first.title, 90)!r} is done and waits to be merged{more}."
    if first.reason:
        sentence += f" It could not be at once: {one_line(first.reason, 400)}"
    return NextStep(
        action="merge",
        sentence=sentence,
        call=f"orch.worktrees.merge({first.alias!r})",
        task_id=first.id,
        alias=first.alias,
    )


def _person(why: Why) -> str:
    return next((c.sentence for c in why.causes if c.kind is CauseKind.PERSON), str(why))


def _counted(counts: Mapping[TaskStatus, int]) -> str:
    return (
        ", ".join(
            f"{number} {status.replace('_', ' ')}"
            for status in TaskStatus
            if (number := counts.get(status, 0))
        )
        or "no tasks"
    )


def back_to(session: Session) -> NextStep:
    """Point to a session that was left, when none is active."""
    sentence = (
        f"No session is active, but there is one: {one_line(session.goal, 90) or session.id}."
    )
    return NextStep(
        action="initialize", sentence=sentence, call=f"orch.resume_session({session.id!r})"
    )
