"""What a task waits for: its marks and counts are worked out again from its dependencies."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, cast

from vespera_orchestrator._model import EventKind, FindingKind, TaskStatus
from vespera_orchestrator.errors import ConditionError
from vespera_orchestrator.maintenance.row_checks.facts import change, fixable, unfixable
from vespera_orchestrator.maintenance.row_checks.log import task_event
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vespera_orchestrator._model import Dependency, Finding, Task
    from vespera_orchestrator.maintenance.row_checks.facts import Facts, Row, TaskFacts

_NAMES_SHOWN: Final = 10
_PLAN_AGAIN: Final = "plan the task again"


def dependency_marks_are_right(facts: Facts) -> Iterator[Finding]:
    """``met`` and ``governed`` of a dependency are what its tasks say."""
    facts.progress("counters")
    for task in facts.tasks.values():
        # Without dependencies there are rows that could not be read; another rule reports them.
        for row, edge in zip(task.edges, task.dependencies, strict=False):
            other = facts.tasks[edge.task]
            marks = _marks(task, edge, other)
            wrong = {name: mark for name, mark in marks.items() if row[name] != mark}
            if wrong:
                yield _wrong_marks(task, other, row, wrong)


def _marks(task: TaskFacts, edge: Dependency, other: TaskFacts) -> dict[str, int]:
    """Return what the marks of a dependency should be."""
    is_governed = edge.task in task.condition_names.values()
    marks = {"governed": int(is_governed)}
    # What a condition governs is not counted, so nothing keeps its mark up to date.
    if not is_governed and task.status is TaskStatus.PENDING:
        is_met = lifecycle.edge_met(edge.on, other.status, was_blocked=other.was_blocked)
        marks["met"] = int(is_met is True)
    return marks


def _wrong_marks(task: TaskFacts, other: TaskFacts, row: Row, marks: dict[str, int]) -> Finding:
    values = [f"{name} is {row[name]}, should be {mark}" for name, mark in marks.items()]
    sentence = f"{task.name}, dependency on {other.alias}: {'; '.join(values)}"
    fix = change("dependencies", {"task_id": task.id, "needs_id": other.id}, **marks)
    return fixable(FindingKind.COUNTER, task.id, sentence, fix)


def blocker_counts_are_right(facts: Facts) -> Iterator[Finding]:
    """A pending task counts what it waits for; one that can never become ready is skipped."""
    needed = cast("Mapping[str, Task]", facts.tasks)  # they have the fields that the rules read
    for task in facts.tasks.values():
        if task.status is not TaskStatus.PENDING:
            continue
        finding = _condition_error(task)
        if finding is None:
            try:
                finding = _readiness_error(facts, task, needed)
            except (ConditionError, KeyError) as exc:
                sentence = f"{task.name}: its condition cannot be read: {exc}"
                finding = unfixable(FindingKind.CONDITION, task.id, sentence, _PLAN_AGAIN)
        if finding is not None:
            yield finding


def _condition_error(task: TaskFacts) -> Finding | None:
    if set(task.condition_names.values()) <= set(task.needs):
        return None
    sentence = f"{task.name}: its condition names a task that it does not depend on"
    return unfixable(FindingKind.CONDITION, task.id, sentence, _PLAN_AGAIN)


def _readiness_error(
    facts: Facts, facts_of_task: TaskFacts, needed: Mapping[str, Task]
) -> Finding | None:
    task = cast("Task", facts_of_task)
    readiness = lifecycle.readiness(task, needed)
    if readiness.impossible:
        reason = lifecycle.skip_reason(task, readiness, needed)
        return _not_skipped(facts_of_task, reason, facts.now)
    blockers = readiness.blockers + facts_of_task.open_children
    if facts_of_task.blockers == blockers:
        return None
    sentence = (
        f"{facts_of_task.name}: blocker count is {facts_of_task.blockers}, should be {blockers}"
    )
    fix = facts_of_task.change(blockers=blockers)
    return fixable(FindingKind.COUNTER, task.id, sentence, fix)


def _not_skipped(task: TaskFacts, reason: str, now: int) -> Finding:
    sentence = f"{task.name} can never become ready ({reason}), but was not skipped"
    skip = task.change(status=TaskStatus.SKIPPED, reason=reason, ended_at=now, updated_at=now)
    event = task_event(EventKind.TASK_SKIPPED, task, {"reason": reason}, at=now)
    return fixable(FindingKind.STATE, task.id, sentence, skip, event)


def no_task_waits_for_itself(facts: Facts) -> Iterator[Finding]:
    """No circle in what tasks wait for: dependencies, subtasks and recoveries taken together."""
    stuck = [facts.tasks[task_id].alias for task_id in _never_free(_waits(facts))]
    if stuck:
        names = ", ".join(stuck[:_NAMES_SHOWN])
        if len(stuck) > _NAMES_SHOWN:
            names += " …"
        sentence = f"tasks wait for each other in a circle, among them {names}"
        remedy = "remove one of the dependencies"
        yield unfixable(FindingKind.CIRCLE, stuck[0], sentence, remedy)


def _waits(facts: Facts) -> dict[str, list[str]]:
    """Return for each task what it waits for, whether that has ended or not."""
    waits = {task.id: task.needs for task in facts.tasks.values()}
    for task in facts.tasks.values():
        if task.parent_task_id in waits:
            waits[task.parent_task_id].append(task.id)
        if task.recovers_task_id in waits and task.is_open:
            waits[task.recovers_task_id].append(task.id)
    return waits


def _never_free(waits: dict[str, list[str]]) -> list[str]:
    """Take away, step by step, what waits for nothing: the rest is in or behind a circle."""
    waiters: dict[str, list[str]] = {}
    for task_id, needs in waits.items():
        for needed_id in needs:
            waiters.setdefault(needed_id, []).append(task_id)
    remaining = {task_id: len(needs) for task_id, needs in waits.items()}
    free = deque(task_id for task_id, number in remaining.items() if not number)
    while free:
        for waiter in waiters.get(free.popleft(), ()):
            remaining[waiter] -= 1
            if not remaining[waiter]:
                free.append(waiter)
    return [task_id for task_id, number in remaining.items() if number]
