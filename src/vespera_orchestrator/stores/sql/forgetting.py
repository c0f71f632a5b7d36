"""Removing artifacts for good: the rows, and what other rows say of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vespera_orchestrator._codec import dump_json, dump_time
from vespera_orchestrator._model import EventKind
from vespera_orchestrator.errors import ArtifactNotFoundError
from vespera_orchestrator.stores.sql import events, rows, superseding
from vespera_orchestrator.stores.sql.dialect import Conditions
from vespera_orchestrator.stores.sql.transaction import first_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vespera_orchestrator._model import Artifact, JsonValue, Tombstone
    from vespera_orchestrator.stores.sql.transaction import Transaction


def forget(
    tx: Transaction, artifact_ids: Sequence[str], *, reason: str, agent: str | None
) -> list[Tombstone]:
    """See `contracts.Store.forget_artifacts`."""
    for artifact_id in artifact_ids:
        artifact = superseding.find(tx, artifact_id)
        if artifact is not None:
            _forget_one(tx, artifact, reason, agent)
        elif not tombstones(tx, ids=[artifact_id], pending=False):
            raise ArtifactNotFoundError(artifact_id)
    return tombstones(tx, ids=artifact_ids, pending=False)


def _forget_one(tx: Transaction, artifact: Artifact, reason: str, agent: str | None) -> None:
    users = tx.execute(
        f"SELECT task_id FROM given WHERE artifact_id = {tx.mark}1 ORDER BY given_at, task_id",
        (artifact.id,),
    )
    task_ids = list(first_column(users))
    _join_neighbours(tx, artifact)
    _blank_title(tx, artifact)
    tx.execute(f"DELETE FROM given WHERE artifact_id = {tx.mark}1", (artifact.id,))
    tx.execute(f"DELETE FROM artifacts WHERE id = {tx.mark}1", (artifact.id,))
    columns = {
        "id": artifact.id,
        "session_id": artifact.session_id,
        "task_id": artifact.task_id,
        "version": artifact.version,
        "reason": reason,
        "agent": agent,
        "saved_at": dump_time(artifact.created_at),
        "forgotten_at": tx.now,
        "digest": artifact.digest,
        "home_id": artifact.home_id,
        "proof": None,
    }
    rows.insert(tx, "forgotten", columns)
    data: dict[str, JsonValue] = {
        "artifact": artifact.id,
        "version": artifact.version,
        "reason": reason,
        "given_to": list(task_ids),
    }
    events.record(
        tx,
        EventKind.ARTIFACT_FORGOTTEN,
        data,
        session_id=artifact.session_id,
        task_id=artifact.task_id,
        agent=agent,
    )


def _join_neighbours(tx: Transaction, artifact: Artifact) -> None:
    """Let the next version follow the one before; without a next one, that one holds again.

    What has taken the artifact's place takes that of the version before.
    """
    later = superseding.lineage_of(tx, artifact)
    later.add(f"supersedes_id = {later.bind(artifact.id)}")
    before = later.bind(artifact.supersedes_id)
    sql = f"UPDATE artifacts SET supersedes_id = {before} WHERE {later.where}"
    if tx.execute(sql, later.values).rowcount or artifact.supersedes_id is None:
        return
    mark = int(artifact.superseded_by is not None)
    sql = f"""
        UPDATE artifacts SET superseded = {tx.mark}1, superseded_by = {tx.mark}2
        WHERE id = {tx.mark}3
    """
    tx.execute(sql, (mark, artifact.superseded_by, artifact.supersedes_id))
    sql = f"UPDATE given SET stale = {tx.mark}1 WHERE artifact_id = {tx.mark}2"
    tx.execute(sql, (mark, artifact.supersedes_id))


def _blank_title(tx: Transaction, artifact: Artifact) -> None:
    """Take the title out of the event that tells of the artifact."""
    saved = Conditions(tx.dialect)
    saved.equal(session_id=artifact.session_id, kind=str(EventKind.ARTIFACT_SAVED))
    saved.add(f"{tx.dialect.position}(data, {saved.bind(json.dumps(artifact.id))}) > 0")
    found = tx.execute(f"SELECT seq, data FROM events WHERE {saved.where}", saved.values)
    for seq, text in found.fetchall():
        data = json.loads(text)
        if data.get("artifact") == artifact.id:
            blank = dump_json({**data, "title": "(forgotten)"}, EventKind.ARTIFACT_SAVED)
            sql = f"UPDATE events SET data = {tx.mark}1 WHERE seq = {tx.mark}2"
            tx.execute(sql, (blank, seq))


def tombstones(tx: Transaction, *, ids: Iterable[str] | None, pending: bool) -> list[Tombstone]:
    """See `contracts.Store.tombstones`."""
    conditions = Conditions(tx.dialect)
    if ids is not None:
        conditions.in_list("id", json.dumps(list(ids)))
    if pending:
        conditions.add("(proof IS NULL OR digest IS NOT NULL)")
    sql = f"""
        SELECT {rows.TOMBSTONE.columns} FROM forgotten WHERE {conditions.where}
        ORDER BY forgotten_at, saved_at, id
    """
    return rows.TOMBSTONE.read_all(tx.execute(sql, conditions.values))


def complete(tx: Transaction, ids: Sequence[str], proof: Mapping[str, Any], *, whole: bool) -> None:
    """See `contracts.Store.complete_forgetting`."""
    chosen = Conditions(tx.dialect, [dump_json(dict(proof), "proof")])
    chosen.in_list("id", json.dumps(list(ids)))
    digest = "NULL" if whole else "digest"
    sql = f"UPDATE forgotten SET proof = {tx.mark}1, digest = {digest} WHERE {chosen.where}"
    tx.execute(sql, chosen.values)
