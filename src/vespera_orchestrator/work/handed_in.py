"""Finds work that was handed in and only failed to land, so that it is not done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import ArtifactKind, ArtifactQuery, AttemptEnding, HandedIn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vespera_orchestrator._model import Artifact, Attempt, Ending, JsonValue, Task
    from vespera_orchestrator.contracts import Store

_REPORTS: Final = frozenset({ArtifactKind.CONFLICT, ArtifactKind.REFUSAL})
"""Kinds of the reports about work that could not land."""
_NOT_WORK: Final = _REPORTS | {ArtifactKind.WARNING}
_KEY: Final = "handed_in"


def note_for(ending: Ending) -> dict[str, JsonValue]:
    """Return what the report about a failed landing remembers of what was handed in."""
    return {_KEY: {"summary": ending.summary, "outputs": dict(ending.outputs)}}


def find(store: Store, task: Task) -> HandedIn | None:
    """Return the last work that was handed in and did not land.

    ``None`` also if the task has been completed since.
    """
    query = ArtifactQuery(task_ids=(task.id,), include_superseded=True)
    artifacts = store.artifacts(query)
    reports = [each for each in artifacts if each.kind in _REPORTS and each.attempt is not None]
    if not reports:
        return None
    report = reports[-1]
    attempts = store.attempts(task.id)
    number = report.attempt or 0
    if any(each.ending == AttemptEnding.COMPLETED for each in attempts[number:]):
        return None
    note = report.metadata.get(_KEY)
    remembered: Mapping[str, JsonValue] = note if isinstance(note, dict) else {}
    return HandedIn(
        attempt=number,
        reason=_reason(attempts, number),
        summary=remembered.get("summary"),
        outputs=remembered.get("outputs") or {},
        artifact_ids=tuple(_ids_of_work(artifacts, number)),
    )


def _reason(attempts: Sequence[Attempt], number: int) -> str:
    reasons = [each.error for each in attempts if each.number == number]
    return (reasons[0] if reasons else None) or "it could not land"


def _ids_of_work(artifacts: Sequence[Artifact], attempt: int) -> Iterator[str]:
    for artifact in artifacts:
        if artifact.attempt == attempt and artifact.kind not in _NOT_WORK:
            yield artifact.id
