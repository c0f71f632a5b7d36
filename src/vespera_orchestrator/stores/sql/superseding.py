"""Which artifact holds now: later versions, and what has taken the place of another.

An artifact's versions are one *lineage*: the same title in the same task (or in no task). Across
lineages, the older record names what has taken its place (``superseded_by``). A version that is
saved afterwards holds again: somebody has said it anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import Artifact, ArtifactKind, EventKind
from vespera_orchestrator.errors import ArtifactNotFoundError, ArtifactSupersededError
from vespera_orchestrator.stores.sql import events, rows
from vespera_orchestrator.stores.sql.dialect import Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vespera_orchestrator._model import ArtifactDraft
    from vespera_orchestrator.stores.sql.transaction import Transaction

IS_FILE: Final = f"CASE kind WHEN '{ArtifactKind.FILE}' THEN 1 ELSE 0 END"
"""Files have versions of their own: a file and a text of the same title are two artifacts."""


def find(tx: Transaction, artifact_id: str) -> Artifact | None:
    """Return the artifact, or ``None``."""
    sql = f"SELECT {rows.ARTIFACT.columns} FROM artifacts WHERE id = {tx.mark}1"
    return rows.ARTIFACT.read_first(tx.execute(sql, (artifact_id,)))


def lineage(
    tx: Transaction, session_id: str, task_id: str | None, title: str, is_file: int
) -> Conditions:
    """Describe all versions of one artifact."""
    versions = Conditions(tx.dialect)
    versions.same("task_id", task_id)
    versions.equal(session_id=session_id, title=title)
    versions.equal(**{IS_FILE: is_file})
    return versions


def latest_version(tx: Transaction, versions: Conditions) -> Artifact | None:
    """Return the latest of *versions*, if there is any."""
    sql = f"""
        SELECT {rows.ARTIFACT.columns} FROM artifacts WHERE {versions.where}
        ORDER BY version DESC LIMIT 1
    """
    return rows.ARTIFACT.read_first(tx.execute(sql, versions.values))


def current(tx: Transaction, artifact: Artifact) -> Artifact:
    """Return what holds now in place of *artifact*; the artifact itself as long as it does."""
    seen = set()
    while artifact.id not in seen:
        seen.add(artifact.id)
        latest = _latest_of(tx, artifact)
        follower = None if latest.superseded_by is None else find(tx, latest.superseded_by)
        artifact = follower or latest
    return artifact


def follows(tx: Transaction, artifact: Artifact, earlier_id: str) -> bool:
    """Tell whether *artifact* has taken the place of the earlier one, directly or by and by."""
    followers = set()
    queue = [earlier_id]
    while queue:
        earlier = find(tx, queue.pop())
        if earlier is None:
            continue
        if is_same_lineage(earlier, artifact) and earlier.version < artifact.version:
            return True
        for follower_id in _followers(tx, earlier):
            if follower_id == artifact.id:
                return True
            if follower_id not in followers:
                followers.add(follower_id)
                queue.append(follower_id)
    return False


def _followers(tx: Transaction, artifact: Artifact) -> Iterator[str]:
    """Yield what has taken the place of this version, or of a later one."""
    versions = lineage_of(tx, artifact)
    versions.add(f"version >= {versions.bind(artifact.version)}")
    versions.add("superseded_by IS NOT NULL")
    sql = f"SELECT superseded_by FROM artifacts WHERE {versions.where}"
    for (follower_id,) in tx.execute(sql, versions.values).fetchall():
        yield follower_id


def is_same_lineage(one: Artifact, other: Artifact) -> bool:
    """Tell whether both are versions of one artifact."""
    return _series(one) == _series(other)


def _series(artifact: Artifact) -> tuple[str, str | None, str, bool]:
    is_file = artifact.kind == ArtifactKind.FILE
    return artifact.session_id, artifact.task_id, artifact.title, is_file


def lineage_of(tx: Transaction, artifact: Artifact) -> Conditions:
    """Describe all versions of the artifact."""
    session_id, task_id, title, is_file = _series(artifact)
    return lineage(tx, session_id, task_id, title, int(is_file))


def _latest_of(tx: Transaction, artifact: Artifact) -> Artifact:
    return latest_version(tx, lineage_of(tx, artifact)) or artifact


# --- taking a place -----------------------------------------------------------


def targets(
    tx: Transaction, draft: ArtifactDraft, *, session_id: str, task_id: str | None
) -> list[Artifact]:
    """Return the versions whose place the draft takes: the latest of each artifact that it names.

    Its own earlier versions are not among them, since a new version follows these anyway.

    Raises:
        ArtifactNotFoundError: One does not exist.
        ArtifactSupersededError: Another artifact has taken the place of one.
    """
    if draft.partial:
        return []
    own = session_id, task_id, draft.title, draft.kind == ArtifactKind.FILE
    chosen: dict[str, Artifact] = {}
    for artifact_id in sorted(set(draft.supersedes)):
        named = find(tx, artifact_id)
        if named is None:
            raise ArtifactNotFoundError(artifact_id)
        latest = _latest_of(tx, named)
        if _series(latest) != own and not _is_superseded_by(tx, latest, own):
            chosen[latest.id] = latest
    return list(chosen.values())


def _is_superseded_by(
    tx: Transaction, artifact: Artifact, own: tuple[str, str | None, str, bool]
) -> bool:
    """Tell whether a version of *own* has taken the artifact's place.

    Raises:
        ArtifactSupersededError: Something else has.
    """
    if artifact.superseded_by is None:
        return False
    follower = find(tx, artifact.superseded_by)
    if follower is None:
        return False  # it was removed for good since
    if _series(follower) == own:
        return True
    raise _superseded_error(artifact, current(tx, follower))


def _superseded_error(artifact: Artifact, by: Artifact) -> ArtifactSupersededError:
    return ArtifactSupersededError(artifact.id, by.id, by.title)


def take_place(tx: Transaction, replaced: Iterable[Artifact], by: Artifact) -> None:
    """Record that *by* has taken the place of others, also where tasks were given these.

    Raises:
        ArtifactSupersededError: Somebody else was faster.
    """
    for artifact in replaced:
        sql = f"""
            UPDATE artifacts SET superseded = 1, superseded_by = {tx.mark}1
            WHERE id = {tx.mark}2 AND coalesce(superseded_by, '') = {tx.mark}3
        """
        values = (by.id, artifact.id, artifact.superseded_by or "")
        if not tx.execute(sql, values).rowcount:
            now = find(tx, artifact.id)
            follower = find(tx, (now and now.superseded_by) or "")
            raise _superseded_error(artifact, follower or by)
        mark_uses(tx, artifact.id)
        events.record(
            tx,
            EventKind.ARTIFACT_SUPERSEDED,
            {"artifact": artifact.id, "by": by.id},
            session_id=artifact.session_id,
            task_id=artifact.task_id,
            agent=by.agent,
        )


def mark_uses(tx: Transaction, artifact_id: str) -> None:
    """Mark what tasks were given as no longer the latest."""
    sql = f"UPDATE given SET stale = 1 WHERE artifact_id = {tx.mark}1"
    tx.execute(sql, (artifact_id,))
