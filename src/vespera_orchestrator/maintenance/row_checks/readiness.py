"""What a task waits for: its marks and counts are worked out again from its dependencies."""

from __future__ import annotations

from collections import defaultdict, deque
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


def dependency_marks_are_right(facts: Facts) -> Iterator[Finding]:
    """``met`` and ``governed`` of a dependency are what its tasks say."""
    facts.progress("counters")
    for task in facts.tasks.values():
        # A task without dependencies may have rows: unreadable ones, which another rule reports.
        for row, edge in zip(task.edges, task.dependencies, strict=False):
            other = facts.tasks[edge.task]
            marks = _marks(task, edge, other)
            wrong = {name: mark for name, mark in marks.items() if row[name] != mark}
            if wrong:
                yield _wrong_marks(task, other, row, wrong)


def _marks(task: TaskFacts, edge: Dependency, other: TaskFacts) -> dict[str, int]:
    """Return what the marks of a dependency should be."""
    is_governed = edge.task in task.governed
    marks = {"governed": int(is_governed)}
    # What a condition governs is not counted, so nothing keeps its mark up to date.
    if not is_governed and task.status is TaskStatus.PENDING:
        is_met = lifecycle.edge_met(edge.on, other.status, was_blocked=other.was_blocked)
        marks["met"] = int(is_met is True)
    return marks


def _wrong_marks(task: TaskFacts, other: TaskFacts, row: Row, marks: dict[str, int]) -> Finding:
    problems = []
    for name, mark in marks.items():
        problems.append(f"{name} is {row[name]}, should be {mark}")
    details = "; ".join(problems)
    key = {"task_id": task.id, "needs_id": other.id}
    return fixable(
        kind=FindingKind.COUNTER,
        subject=task.id,
        sentence=f"{task.name}, dependency on {other.alias}: {details}",
        fixes=[change("dependencies", key, **marks)],
    )


def conditions_name_dependencies(facts: Facts) -> Iterator[Finding]:
    """The condition of a pending task names nothing that the task does not depend on."""
    for task in facts.tasks.values():
        if task.status is TaskStatus.PENDING and not task.governed.issubset(task.needs):
            problem = "its condition names a task that it does not depend on"
            yield _condition_error(task, problem)


def blocker_counts_are_right(facts: Facts) -> Iterator[Finding]:
    """A pending task counts what it waits for; one that can never become ready is skipped."""
    for task in facts.tasks.values():
        if task.status is not TaskStatus.PENDING or not task.governed.issubset(task.needs):
            continue
        try:
            finding = _wrong_readiness(facts, task)
        except (ConditionError, KeyError) as exc:
            finding = _condition_error(task, f"its condition cannot be read: {exc}")
        if finding is not None:
            yield finding


def _condition_error(task: TaskFacts, problem: str) -> Finding:
    return unfixable(
        kind=FindingKind.CONDITION,
        subject=task.id,
        sentence=f"{task.name}: {problem}",
        remedy="plan the task again",
    )


def _wrong_readiness(facts: Facts, task: TaskFacts) -> Finding | None:
    # The facts have the fields of a task that these rules read.
    as_task = cast("Task", task)
    others = cast("Mapping[str, Task]", facts.tasks)
    readiness = lifecycle.readiness(as_task, others)
    if readiness.impossible:
        reason = lifecycle.skip_reason(as_task, readiness, others)
        return _not_skipped(task, reason, facts.now)
    blockers = readiness.blockers + task.open_children
    if task.blockers == blockers:
        return None
    return fixable(
        kind=FindingKind.COUNTER,
        subject=task.id,
        sentence=f"{task.name}: blocker count is {task.blockers}, should be {blockers}",
        fixes=[task.change(blockers=blockers)],
    )


def _not_skipped(task: TaskFacts, reason: str, now: int) -> Finding:
    skip = task.change(
        status=TaskStatus.SKIPPED,
        reason=reason,
        ended_at=now,
        updated_at=now,
    )
    data = {"reason": reason}
    event = task_event(EventKind.TASK_SKIPPED, task, data, at=now)
    return fixable(
        kind=FindingKind.STATE,
        subject=task.id,
        sentence=f"{task.name} can never become ready ({reason}), but was not skipped",
        fixes=[skip, event],
    )


def no_task_waits_for_itself(facts: Facts) -> Iterator[Finding]:
    """No circle in what tasks wait for: dependencies, subtasks and recoveries taken together."""
    stuck = _never_free(_waits(facts))
    if not stuck:
        return
    aliases = [facts.tasks[task_id].alias for task_id in stuck]
    names = ", ".join(aliases[:_NAMES_SHOWN])
    if len(aliases) > _NAMES_SHOWN:
        names += " …"
    yield unfixable(
        kind=FindingKind.CIRCLE,
        subject=aliases[0],
        sentence=f"tasks wait for each other in a circle, among them {names}",
        remedy="remove one of the dependencies",
    )


def _waits(facts: Facts) -> dict[str, list[str]]:
    """Return for each task what it waits for, whether that has ended or not."""
    tasks = facts.tasks.values()
    waits = {task.id: task.needs for task in tasks}
    for task in tasks:
        if task.parent_task_id in waits:
            waits[task.parent_task_id].append(task.id)
        if task.recovers_task_id in waits and task.is_open:
            waits[task.recovers_task_id].append(task.id)
    return waits


def _never_free(waits: dict[str, list[str]]) -> list[str]:
    """Take away, step by step, what waits for nothing: the rest is in or behind a circle."""
    waiters: dict[str, list[str]] = defaultdict(list)
    for task_id, needs in waits.items():
        for needed_id in needs:
            waiters[needed_id].append(task_id)
    remaining = {task_id: len(needs) for task_id, needs in waits.items()}
    free = deque(task_id for task_id, number in remaining.items() if not number)
    while free:
        task_id = free.popleft()
        for waiter in waiters.get(task_id, ()):
            remaining[waiter] -= 1
            if not remaining[waiter]:
                free.append(waiter)
    return [task_id for task_id, number in remaining.items() if number]
