"""The event log, and the tallies of tasks, against the rows."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

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

_TALLY_KEY: Final = ("session_id", "archived", "recovery", "status")


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
    """Read the event log: which states and artifacts it tells of; its JSON can be read."""
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
        facts.artifacts_in_log.add(str(json.loads(row["data"]).get("artifact")))
    elif kind == EventKind.STORE_REPAIRED and task_id is not None:
        status = json.loads(row["data"]).get("status")
        if status is not None:
            facts.states_in_log[task_id] = status


def states_match_the_log(facts: Facts) -> Iterator[Finding]:
    """The last event about a task's state tells the state that it is in."""
    for task in facts.tasks.values():
        status = facts.states_in_log.get(task.id, "nothing")
        if status != task.status:
            sentence = f"{task.name} is {task.status}, but the event log says {status}"
            data = {"status": str(task.status), "log_said": status}
            event = task_event(EventKind.STORE_REPAIRED, task, data, at=facts.now)
            yield fixable(FindingKind.LOG, task.id, sentence, event)


def artifacts_match_the_log(facts: Facts) -> Iterator[Finding]:
    """Each artifact has an event, which the search index follows; each such event has one."""
    for artifact in facts.artifacts.values():
        if artifact.id not in facts.artifacts_in_log:
            sentence = f"{artifact.name} has no event, so no search finds it"
            event = _saved_event(artifact, facts.now)
            yield fixable(FindingKind.LOG, artifact.id, sentence, event)
    for artifact_id in sorted(facts.artifacts_in_log - facts.artifacts.keys()):
        sentence = f"the event log names artifact {artifact_id}, which does not exist"
        yield unfixable(FindingKind.LOG, artifact_id, sentence, RESTORE)


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
        tallies[tuple(row[name] for name in _TALLY_KEY)] = row["tasks"]
    counts = Counter(_tally_key(task) for task in facts.tasks.values())
    for key in sorted({*counts, *tallies}):
        tally, count = tallies.get(key, 0), counts[key]
        if tally != count:
            session, status = key[0], key[3]
            sentence = f"session {session}: count of {status} tasks is {tally}, should be {count}"
            columns = dict(zip(_TALLY_KEY, key, strict=True))
            if key in tallies:
                fix = change("tallies", columns, tasks=count)
            else:
                fix = put("tallies", {**columns, "tasks": count})
            yield fixable(FindingKind.COUNTER, session, sentence, fix)


def _tally_key(task: TaskFacts) -> tuple[str, int, int, str]:
    is_recovery = int(task.task_type == lifecycle.RECOVERY)
    is_archived = int(task.archived)
    return task.session_id, is_archived, is_recovery, str(task.status)
