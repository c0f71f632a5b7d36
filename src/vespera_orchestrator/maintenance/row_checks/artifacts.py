"""Artifacts, what tasks built on, documents and worktrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import FindingKind
from vespera_orchestrator.maintenance.row_checks.facts import (
    RESTORE,
    ArtifactFacts,
    change,
    fixable,
    json_error,
    remove,
    unfixable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Finding
    from vespera_orchestrator.maintenance.row_checks.facts import Facts, Row


def read_artifacts(facts: Facts) -> Iterator[Finding]:
    """Read the artifacts; each belongs to a session, and its JSON can be read."""
    for row in facts.rows("artifacts"):
        artifact = ArtifactFacts.from_row(row)
        facts.artifacts[artifact.id] = artifact
        facts.use_content(row["digest"], artifact.name)
        error = json_error("artifacts", row)
        if error is not None:
            yield error
        if artifact.session_id not in facts.sessions:
            session = artifact.session_id
            sentence = f"artifact {artifact.id} belongs to session {session}, which does not exist"
            yield unfixable(FindingKind.REFERENCE, artifact.id, sentence, RESTORE)


def superseded_marks_are_right(facts: Facts) -> Iterator[Finding]:
    """An artifact is marked as superseded exactly when a later version follows it."""
    earlier = _earlier_versions(facts)
    for artifact in facts.artifacts.values():
        mark = int(artifact.id in earlier)
        if bool(artifact.superseded) != bool(mark):
            number = artifact.superseded
            sentence = f"{artifact.name}: superseded is {number}, should be {mark}"
            fix = change("artifacts", {"id": artifact.id}, superseded=mark)
            yield fixable(FindingKind.COUNTER, artifact.id, sentence, fix)


def earlier_versions_exist(facts: Facts) -> Iterator[Finding]:
    """The version that an artifact supersedes exists."""
    for artifact_id in sorted(_earlier_versions(facts) - facts.artifacts.keys()):
        sentence = f"artifact {artifact_id} does not exist, but a later version of it does"
        yield unfixable(FindingKind.REFERENCE, artifact_id, sentence, RESTORE)


def _earlier_versions(facts: Facts) -> set[str]:
    artifacts = facts.artifacts.values()
    return {artifact.supersedes_id for artifact in artifacts if artifact.supersedes_id is not None}


def read_context_uses(facts: Facts) -> Iterator[Finding]:
    """What a task built on exists, and is marked as stale when a later version follows it."""
    for row in facts.rows("given"):
        task_id, artifact_id = row["task_id"], row["artifact_id"]
        artifact = facts.artifacts.get(artifact_id)
        if artifact is None or task_id not in facts.tasks:
            sentence = f"task {task_id} built on artifact {artifact_id}, and one does not exist"
            fix = remove("given", _use_key(row))
            yield fixable(FindingKind.REFERENCE, task_id, sentence, fix)
        elif bool(row["stale"]) != bool(artifact.superseded):
            mark = int(artifact.superseded)
            marks = f"stale is {row['stale']}, should be {mark}"
            sentence = f"task {task_id} built on artifact {artifact_id}: {marks}"
            fix = change("given", _use_key(row), stale=mark)
            yield fixable(FindingKind.COUNTER, task_id, sentence, fix)


def _use_key(row: Row) -> Row:
    return {"task_id": row["task_id"], "artifact_id": row["artifact_id"]}


def read_documents(facts: Facts) -> Iterator[Finding]:
    """Read the versions of documents, to note their contents. No rule is about them alone."""
    for row in facts.rows("document_versions"):
        facts.use_content(row["digest"], f"document {row['path']} v{row['version']}")
    return iter(())


def read_worktrees(facts: Facts) -> Iterator[Finding]:
    """Read the worktrees, to see that they can be read. `Worktrees.check` looks at the folders."""
    for _ in facts.rows("worktrees"):
        pass
    return iter(())
