"""The event log, and the tallies of tasks, against the rows."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import EventKind, FindingKind
from vespera_orchestrator.maintenance.row_checks.facts import (
    RESTORE,
    change,
    fixable,
    json_error,
    put,
    unfixable,
)
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vespera_orchestrator._model import Finding, JsonValue, RowFix
    from vespera_orchestrator.maintenance.row_checks.facts import (
        ArtifactFacts,
        Facts,
        Row,
        TaskFacts,
    )


def task_event(
    kind: EventKind, task: TaskFacts, data: Mapping[str, JsonValue], *, at: int
) -> RowFix:
    """Return a fix that adds an event about a task, at microseconds since 1970."""
    row = {
        "at": at,
        "kind": kind,
        "session_id": task.session_id,
        "task_id": task.id,
        "agent": None,
        "data": dump_json(data, kind),
    }
    return put("events", row)


def read_events(facts: Facts) -> Iterator[Finding]:
    """Note the states and artifacts that the event log records; report data that is not JSON."""
    for row in facts.rows("events"):
        status = lifecycle.STATUS_AFTER_EVENT.get(row["kind"])
        if status is not None:
            facts.states_in_log[row["task_id"]] = str(status)
        error = json_error("events", row)
        if error is not None:
            yield error
        else:
            _note_event(facts, row)


def _note_event(facts: Facts, row: Row) -> None:
    kind, task_id = row["kind"], row["task_id"]
    if kind == EventKind.ARTIFACT_SAVED:
        data = json.loads(row["data"])
        facts.artifacts_in_log.add(str(data.get("artifact")))
    elif kind == EventKind.STORE_REPAIRED and task_id is not None:
        data = json.loads(row["data"])
        if "status" in data:
            facts.states_in_log[task_id] = data["status"]


def states_match_the_log(facts: Facts) -> Iterator[Finding]:
    """The last event about a task's state tells the state that it is in."""
    for task in facts.tasks.values():
        status = facts.states_in_log.get(task.id, "nothing")
        if status == task.status:
            continue
        data = {"status": str(task.status), "log_said": status}
        event = task_event(EventKind.STORE_REPAIRED, task, data, at=facts.now)
        yield fixable(
            kind=FindingKind.LOG,
            subject=task.id,
            sentence=f"{task.name} is {task.status}, but the event log says {status}",
            fixes=[event],
        )


def artifacts_are_in_the_log(facts: Facts) -> Iterator[Finding]:
    """Each artifact has an event; the search index follows these."""
    for artifact in facts.artifacts.values():
        if artifact.id in facts.artifacts_in_log:
            continue
        yield fixable(
            kind=FindingKind.LOG,
            subject=artifact.id,
            sentence=f"{artifact.name} has no event, so no search finds it",
            fixes=[_saved_event(artifact, facts.now)],
        )


def artifacts_in_the_log_exist(facts: Facts) -> Iterator[Finding]:
    """Each event about an artifact has its artifact."""
    missing = facts.artifacts_in_log.difference(facts.artifacts, facts.forgotten)
    for artifact_id in sorted(missing):
        yield unfixable(
            kind=FindingKind.LOG,
            subject=artifact_id,
            sentence=f"the event log names artifact {artifact_id}, which does not exist",
            remedy=RESTORE,
        )


def _saved_event(artifact: ArtifactFacts, now: int) -> RowFix:
    data = {
        "artifact": artifact.id,
        "title": artifact.title,
        "kind": artifact.kind,
        "supersedes": artifact.supersedes_id,
    }
    row = {
        "at": now,
        "kind": EventKind.ARTIFACT_SAVED,
        "session_id": artifact.session_id,
        "task_id": artifact.task_id,
        "agent": artifact.agent,
        "data": dump_json(data, EventKind.ARTIFACT_SAVED),
    }
    return put("events", row)


def tallies_are_right(facts: Facts) -> Iterator[Finding]:
    """Where the store keeps count of its tasks, the counts are right."""
    if "tallies" not in facts.ledger.tables:
        return
    tallies = {}
    for row in facts.ledger.rows("tallies"):
        tallies[_Tally.from_row(row)] = row["tasks"]
    counts = Counter(_Tally.of(task) for task in facts.tasks.values())
    for tally in sorted({*counts, *tallies}):
        if tallies.get(tally, 0) != counts[tally]:
            yield _wrong_tally(tally, tallies.get(tally), counts[tally])


class _Tally(NamedTuple):
    """Which tasks a tally counts; its fields are columns of the table."""

    session_id: str
    archived: int
    recovery: int
    status: str

    @classmethod
    def from_row(cls, row: Row) -> _Tally:
        return cls(
            session_id=row["session_id"],
            archived=row["archived"],
            recovery=row["recovery"],
            status=row["status"],
        )

    @classmethod
    def of(cls, task: TaskFacts) -> _Tally:
        return cls(
            session_id=task.session_id,
            archived=int(task.archived),
            recovery=int(task.task_type == lifecycle.RECOVERY),
            status=str(task.status),
        )


def _wrong_tally(tally: _Tally, stored: int | None, count: int) -> Finding:
    key = tally._asdict()
    if stored is None:
        fix = put("tallies", {**key, "tasks": count})
    else:
        fix = change("tallies", key, tasks=count)
    name = f"session {tally.session_id}: count of {tally.status} tasks"
    return fixable(
        kind=FindingKind.COUNTER,
        subject=tally.session_id,
        sentence=f"{name} is {stored or 0}, should be {count}",
        fixes=[fix],
    )
