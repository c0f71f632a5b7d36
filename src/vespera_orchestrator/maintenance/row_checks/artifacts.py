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
    key_of,
    remove,
    unfixable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Finding
    from vespera_orchestrator.maintenance.row_checks.facts import Facts, Row


def read_tombstones(facts: Facts) -> Iterator[Finding]:
    """Note what was forgotten: what names it is no mistake."""
    for row in facts.rows("forgotten"):
        facts.forgotten.add(row["id"])
        if row["proof"] is not None:
            error = json_error("forgotten", row)
            if error is not None:
                yield error


def read_artifacts(facts: Facts) -> Iterator[Finding]:
    """Read the artifacts; each belongs to a session, and its JSON can be read."""
    for row in facts.rows("artifacts"):
        artifact = ArtifactFacts.from_row(row)
        facts.artifacts[artifact.id] = artifact
        facts.use_content(row["digest"], artifact.name, home_id=row["home_id"])
        error = json_error("artifacts", row)
        if error is not None:
            yield error
        if artifact.session_id not in facts.sessions:
            yield _lost_artifact(artifact)
        if artifact.id in facts.forgotten:
            yield _back_again(artifact)


def _lost_artifact(artifact: ArtifactFacts) -> Finding:
    session = artifact.session_id
    return unfixable(
        kind=FindingKind.REFERENCE,
        subject=artifact.id,
        sentence=f"artifact {artifact.id} belongs to session {session}, which does not exist",
        remedy=RESTORE,
    )


def _back_again(artifact: ArtifactFacts) -> Finding:
    return unfixable(
        kind=FindingKind.FORGETTING,
        subject=artifact.id,
        sentence=f"artifact {artifact.id} was forgotten, and is here again",
        remedy=(
            "somebody put its row back; remove the row from the table 'forgotten', and call "
            f"orch.artifacts.forget({artifact.id!r})"
        ),
    )


def superseded_marks_are_right(facts: Facts) -> Iterator[Finding]:
    """An artifact is marked as superseded exactly when something has taken its place."""
    earlier = _earlier_versions(facts)
    for artifact in facts.artifacts.values():
        mark = int(artifact.id in earlier or artifact.superseded_by is not None)
        if int(bool(artifact.superseded)) == mark:
            continue
        yield fixable(
            kind=FindingKind.COUNTER,
            subject=artifact.id,
            sentence=f"{artifact.name}: superseded is {artifact.superseded}, should be {mark}",
            fixes=[change("artifacts", {"id": artifact.id}, superseded=mark)],
        )


def earlier_versions_exist(facts: Facts) -> Iterator[Finding]:
    """The version that an artifact supersedes exists."""
    missing = _earlier_versions(facts).difference(facts.artifacts)
    for artifact_id in sorted(missing):
        yield unfixable(
            kind=FindingKind.REFERENCE,
            subject=artifact_id,
            sentence=f"artifact {artifact_id} does not exist, but a later version of it does",
            remedy=RESTORE,
        )


def followers_exist(facts: Facts) -> Iterator[Finding]:
    """What has taken the place of an artifact exists, and is not followed by it in turn."""
    for artifact in facts.artifacts.values():
        follower_id = artifact.superseded_by
        if follower_id is None or follower_id in facts.forgotten:
            continue
        if follower_id not in facts.artifacts:
            problem = f"its place was taken by {follower_id}, which does not exist"
        elif artifact.id in _places_before(facts, follower_id):
            problem = f"its place was taken by {follower_id}, whose place it has taken"
        else:
            continue
        yield unfixable(
            kind=FindingKind.REFERENCE,
            subject=artifact.id,
            sentence=f"{artifact.name}: {problem}",
            remedy=RESTORE,
        )


def _places_before(facts: Facts, artifact_id: str) -> set[str]:
    """Return what has taken the place of an artifact, and of that, and so on."""
    followers: set[str] = set()
    next_id: str | None = artifact_id
    while next_id is not None and next_id not in followers:
        artifact = facts.artifacts.get(next_id)
        next_id = None if artifact is None else artifact.superseded_by
        if next_id is not None:
            followers.add(next_id)
    return followers


def _earlier_versions(facts: Facts) -> set[str]:
    earlier = set()
    for artifact in facts.artifacts.values():
        if artifact.supersedes_id is not None:
            earlier.add(artifact.supersedes_id)
    return earlier


def read_context_uses(facts: Facts) -> Iterator[Finding]:
    """What a task built on exists, and is marked as stale when a later version follows it."""
    for row in facts.rows("given"):
        artifact = facts.artifacts.get(row["artifact_id"])
        if artifact is None or row["task_id"] not in facts.tasks:
            yield _lost_use(row)
            continue
        mark = int(bool(artifact.superseded))
        if int(bool(row["stale"])) != mark:
            yield _wrong_stale_mark(row, mark)


def _lost_use(row: Row) -> Finding:
    task_id, artifact_id = row["task_id"], row["artifact_id"]
    return fixable(
        kind=FindingKind.REFERENCE,
        subject=task_id,
        sentence=f"task {task_id} built on artifact {artifact_id}: one of them does not exist",
        fixes=[remove("given", key_of("given", row))],
    )


def _wrong_stale_mark(row: Row, mark: int) -> Finding:
    task_id, artifact_id = row["task_id"], row["artifact_id"]
    use = f"task {task_id} built on artifact {artifact_id}"
    return fixable(
        kind=FindingKind.COUNTER,
        subject=task_id,
        sentence=f"{use}: stale is {row['stale']}, should be {mark}",
        fixes=[change("given", key_of("given", row), stale=mark)],
    )


def read_documents(facts: Facts) -> Iterator[Finding]:
    """Read the versions of documents, to note their contents. No rule is about them alone."""
    for row in facts.rows("document_versions"):
        user = f"document {row['path']} v{row['version']}"
        facts.use_content(row["digest"], user, home_id=row["home_id"])
    return iter(())


def read_worktrees(facts: Facts) -> Iterator[Finding]:
    """Read the worktrees, to see that they can be read. `Worktrees.check` looks at the folders."""
    for _ in facts.rows("worktrees"):
        pass
    return iter(())


def read_shared_values(facts: Facts) -> Iterator[Finding]:
    """A shared value that disputes another one disputes a row of its own key."""
    rows = list(facts.rows("shared_values")) if "shared_values" in facts.ledger.tables else []
    keys = {row["id"]: (row["session_id"], row["key"]) for row in rows}
    for row in rows:
        error = json_error("shared_values", row)
        if error is not None:
            yield error
        own_key = row["session_id"], row["key"]
        if row["disputes"] is not None and keys.get(row["disputes"]) != own_key:
            yield _dangling_dispute(row)


def _dangling_dispute(row: Row) -> Finding:
    value = f"the shared value {row['key']!r} of session {row['session_id']}"
    return fixable(
        kind=FindingKind.REFERENCE,
        subject=row["session_id"],
        sentence=f"{value} disputes value {row['disputes']}, which is not there",
        fixes=[change("shared_values", key_of("shared_values", row), disputes=None)],
    )


def read_signals(facts: Facts) -> Iterator[Finding]:
    """A signal belongs to a session, and its payload can be read."""
    for row in facts.rows("signals") if "signals" in facts.ledger.tables else ():
        error = json_error("signals", row)
        if error is not None:
            yield error
        if row["session_id"] not in facts.sessions:
            yield fixable(
                kind=FindingKind.REFERENCE,
                subject=row["session_id"],
                sentence=f"signal {row['name']!r}: session {row['session_id']} does not exist",
                fixes=[remove("signals", key_of("signals", row))],
            )


def read_effects(facts: Facts) -> Iterator[Finding]:
    """An effect belongs to a task, and its result can be read."""
    for row in facts.rows("effects") if "effects" in facts.ledger.tables else ():
        error = json_error("effects", row)
        if error is not None:
            yield error
        if row["task_id"] not in facts.tasks:
            yield fixable(
                kind=FindingKind.REFERENCE,
                subject=row["task_id"],
                sentence=f"effect {row['key']!r}: task {row['task_id']} does not exist",
                fixes=[remove("effects", key_of("effects", row))],
            )


def read_the_rest(facts: Facts) -> Iterator[Finding]:
    """Read the tables that no rule is about, to see that they can be read."""
    for table in ("homes", "agent_names", "team_settings", "looks"):
        if table in facts.ledger.tables:
            for _ in facts.rows(table):
                pass
    return iter(())
