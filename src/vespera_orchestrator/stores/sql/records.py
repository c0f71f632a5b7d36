"""Records beside the tasks: artifacts and who was given them, worktrees, document versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json, dump_time, load_time
from vespera_orchestrator._model import (
    Artifact,
    ArtifactKind,
    ContextUse,
    EventKind,
    Look,
    Pause,
    TaskArtifact,
    TaskStatus,
    WorktreeState,
    new_id,
)
from vespera_orchestrator.errors import WorktreeNameTakenError
from vespera_orchestrator.stores.sql import events, reading, rows, superseding
from vespera_orchestrator.stores.sql.dialect import Conditions, quoted
from vespera_orchestrator.stores.sql.transaction import first_column

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vespera_orchestrator._model import (
        ArtifactDraft,
        ArtifactQuery,
        DocumentVersion,
        HomePlace,
        Position,
        Session,
        Task,
        TeamSettings,
        Worktree,
    )
    from vespera_orchestrator.stores.sql.transaction import Transaction

_OF_ARTIFACT: Final = ", ".join(f"artifacts.{name}" for name in rows.ARTIFACT.names)
_HAS_BEGUN: Final = quoted((TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED, TaskStatus.COMPLETED))
"""Statuses of a task whose work may build on the artifacts it was given."""
_IS_SAME_WORKTREE: Final = """
    worktrees.home_id IN ('', excluded.home_id)
    AND worktrees.session_id = excluded.session_id
    AND coalesce(worktrees.task_id, worktrees.agent, '')
        = coalesce(excluded.task_id, excluded.agent, '')
"""
"""Whether a record replaces the one of its name, and is not another home's or another task's."""


# --- sessions ---------------------------------------------------------------


def start_session(tx: Transaction, session: Session, settings: TeamSettings | None) -> Session:
    """See `contracts.Store.start_session`."""
    columns = rows.SESSION.values(session) | {"created_at": tx.now}
    rows.insert(tx, "sessions", columns)
    data = {"goal": session.goal}
    events.record(tx, EventKind.SESSION_STARTED, data, session_id=session.id)
    if settings is not None:
        _put_settings(tx, attrs.evolve(settings, agreed_at=load_time(tx.now)), replace=False)
    return _session_now(tx, session.id)


def resume_session(tx: Transaction, session_id: str) -> Session:
    """See `contracts.Store.resume_session`."""
    reading.require_session(tx, session_id)
    events.record(tx, EventKind.SESSION_RESUMED, {}, session_id=session_id)
    return _session_now(tx, session_id)


def pause_session(
    tx: Transaction,
    session_id: str,
    agent: str,
    *,
    note: str,
    next_step: str,
    worded: Sequence[str],
    task_ids: Sequence[str],
) -> Pause:
    """See `contracts.Store.pause_session`."""
    reading.require_session(tx, session_id)
    data = {
        "note": note,
        "next_step": next_step,
        "worded": list(worded),
        "tasks": list(task_ids),
    }
    events.record(tx, EventKind.SESSION_PAUSED, data, session_id=session_id, agent=agent)
    return Pause(
        session_id=session_id,
        agent=agent,
        at=load_time(tx.now),
        note=note,
        next_step=next_step,
        worded=tuple(worded),
    )


def note_look(
    tx: Transaction, session_id: str, agent: str, position: Position, seq: int | None
) -> Look:
    """See `contracts.Store.note_look`."""
    reading.require_session(tx, session_id)
    look = Look(
        session_id=session_id,
        agent=agent,
        seq=events.last_seq(tx, None) if seq is None else seq,
        at=load_time(tx.now),
        branch=position.branch,
        head=position.head,
        integration=position.integration,
    )
    _put(tx, "looks", ("session_id", "agent"), rows.LOOK.values(look))
    return look


def last_look(tx: Transaction, session_id: str, agent: str) -> Look | None:
    """See `contracts.Store.last_look`."""
    sql = f"""
        SELECT {rows.LOOK.columns} FROM looks
        WHERE session_id = {tx.mark}1 AND agent = {tx.mark}2
    """
    return rows.LOOK.read_first(tx.execute(sql, (session_id, agent)))


def _put(
    tx: Transaction,
    table: str,
    key: tuple[str, ...],
    columns: dict[str, Any],
    *,
    where: str = "TRUE",
) -> bool:
    """Insert a row, in place of the one with the same key if *where* is true of both.

    Returns:
        Whether it was written.
    """
    replaced = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    sql = f"""
        INSERT INTO {table} ({", ".join(columns)}) VALUES ({tx.dialect.slots(len(columns))})
        ON CONFLICT ({", ".join(key)}) DO UPDATE SET {replaced} WHERE {where}
    """
    return tx.execute(sql, tuple(columns.values())).rowcount > 0


def _session_now(tx: Transaction, session_id: str) -> Session:
    """Return the session as it is when this transaction, which records an event, is committed."""
    return reading.session(tx, session_id, updated_at=load_time(tx.now))


def team_settings(tx: Transaction, session_id: str) -> TeamSettings | None:
    """See `contracts.Store.team_settings`."""
    sql = f"SELECT {rows.TEAM_SETTINGS.columns} FROM team_settings WHERE session_id = {tx.mark}1"
    return rows.TEAM_SETTINGS.read_first(tx.execute(sql, (session_id,)))


def agree_settings(tx: Transaction, settings: TeamSettings, *, replace: bool) -> TeamSettings:
    """See `contracts.Store.agree_settings`."""
    reading.require_session(tx, settings.session_id)
    agreed = attrs.evolve(settings, agreed_at=load_time(tx.now))
    if not _put_settings(tx, agreed, replace=replace):
        earlier = team_settings(tx, settings.session_id)
        return agreed if earlier is None else earlier
    data = {
        "integration_branch": agreed.integration_branch,
        "check": agreed.landing_check,
        "undoing": agreed.undoing,
        "content": agreed.content_address,
        "machine": agreed.machine,
        "project": agreed.project,
    }
    events.record(tx, EventKind.SETTINGS_AGREED, data, session_id=agreed.session_id)
    return agreed


def _put_settings(tx: Transaction, settings: TeamSettings, *, replace: bool) -> bool:
    """Write the row; return whether it was written."""
    columns = rows.TEAM_SETTINGS.values(settings)
    where = "TRUE" if replace else "FALSE"
    return _put(tx, "team_settings", ("session_id",), columns, where=where)


def note_home(tx: Transaction, home: HomePlace) -> None:
    """See `contracts.Store.note_home`."""
    _put(tx, "homes", ("id",), rows.HOME.values(home))


def find_home(tx: Transaction, home_id: str) -> HomePlace | None:
    """See `contracts.Store.find_home`."""
    sql = f"SELECT {rows.HOME.columns} FROM homes WHERE id = {tx.mark}1"
    return rows.HOME.read_first(tx.execute(sql, (home_id,)))


def find_default_agent(tx: Transaction, name: str, home_id: str) -> tuple[str, bool]:
    """Return the first name that is the home's or nobody's, and whether it is the home's."""
    sql = f"SELECT home_id FROM agent_names WHERE name = {tx.mark}1"
    candidate, number = name, 1
    while True:
        owner = first_column(tx.execute(sql, (candidate,)))
        if not owner or owner == [home_id]:
            return candidate, bool(owner)
        number += 1
        candidate = f"{name}-{number}"


def reserve_default_agent(tx: Transaction, name: str, home_id: str) -> str:
    """See `contracts.Store.default_agent`."""
    candidate, is_own = find_default_agent(tx, name, home_id)
    while not is_own:
        columns = {"name": candidate, "home_id": home_id}
        _put(tx, "agent_names", ("name",), columns, where="FALSE")
        # Another home may have been faster, and have this one now.
        candidate, is_own = find_default_agent(tx, name, home_id)
    return candidate


# --- artifacts --------------------------------------------------------------


def save_artifact(
    tx: Transaction,
    session_id: str,
    draft: ArtifactDraft,
    *,
    task_id: str | None,
    attempt: int | None,
    agent: str | None,
) -> Artifact:
    """See `contracts.Store.save_artifact`; the fence has been checked."""
    _lock_lineage(tx, session_id, task_id)
    last = _last_version(tx, session_id, draft, task_id)
    replaced = superseding.targets(tx, draft, session_id=session_id, task_id=task_id)
    if last is not None and _is_same(last, draft, attempt) and not (replaced and last.superseded):
        superseding.take_place(tx, replaced, last)
        return last
    if last is not None:
        _supersede(tx, last.id)
    columns = {
        "id": draft.id or new_id("a"),
        "session_id": session_id,
        "task_id": task_id,
        "attempt": attempt,
        "agent": agent,
        "kind": str(draft.kind),
        "title": draft.title,
        "media_type": draft.media_type,
        "digest": draft.digest,
        "size_bytes": draft.size_bytes,
        "version": last.version + 1 if last else 1,
        "supersedes_id": last.id if last else None,
        "superseded": 0,
        "partial": int(draft.partial),
        "tags": dump_json(draft.tags, "tags"),
        "metadata": dump_json(dict(draft.metadata), "metadata"),
        "created_at": tx.now,
        "home_id": draft.home_id,
        "superseded_by": None,
    }
    rows.insert(tx, "artifacts", columns)
    artifact = rows.ARTIFACT.read([columns[name] for name in rows.ARTIFACT.names])
    _record_saved(tx, artifact)
    superseding.take_place(tx, replaced, artifact)
    return artifact


def _supersede(tx: Transaction, artifact_id: str) -> None:
    """Mark a version as no longer the latest, also where tasks were given it."""
    tx.execute(f"UPDATE artifacts SET superseded = 1 WHERE id = {tx.mark}1", (artifact_id,))
    superseding.mark_uses(tx, artifact_id)


def _record_saved(tx: Transaction, artifact: Artifact) -> None:
    data = {
        "artifact": artifact.id,
        "title": artifact.title,
        "kind": artifact.kind,
        "supersedes": artifact.supersedes_id,
    }
    events.record(
        tx,
        EventKind.ARTIFACT_SAVED,
        data,
        session_id=artifact.session_id,
        task_id=artifact.task_id,
        agent=artifact.agent,
    )


def _lock_lineage(tx: Transaction, session_id: str, task_id: str | None) -> None:
    """Let two that save under one title make two versions of it, one after the other."""
    lock = tx.dialect.lock_row
    if not lock or tx.locked_session is not None:
        return
    sql = f"SELECT 1 FROM tasks WHERE id = {tx.mark}1 {lock}"
    if task_id is not None and tx.execute(sql, (task_id,)).fetchone():
        return
    tx.execute(f"SELECT 1 FROM sessions WHERE id = {tx.mark}1 {lock}", (session_id,))


def _last_version(
    tx: Transaction, session_id: str, draft: ArtifactDraft, task_id: str | None
) -> Artifact | None:
    is_file = int(draft.kind == ArtifactKind.FILE)
    versions = superseding.lineage(tx, session_id, task_id, draft.title, is_file)
    return superseding.latest_version(tx, versions)


def _is_same(last: Artifact, draft: ArtifactDraft, attempt: int | None) -> bool:
    return (last.digest, last.kind, last.partial, last.attempt) == (
        draft.digest,
        draft.kind,
        draft.partial,
        attempt,
    )


def find_artifact(tx: Transaction, artifact_id: str) -> Artifact | None:
    """See `contracts.Store.find_artifact`."""
    return superseding.find(tx, artifact_id)


def artifact_ids_of_attempt(tx: Transaction, task: Task) -> tuple[str, ...]:
    """Return the ids of what the task's latest attempt saved."""
    sql = f"""
        SELECT id FROM artifacts WHERE task_id = {tx.mark}1 AND attempt = {tx.mark}2 ORDER BY seq
    """
    return tuple(first_column(tx.execute(sql, (task.id, task.attempts))))


def artifacts(tx: Transaction, query: ArtifactQuery) -> list[Artifact]:
    """See `contracts.Store.artifacts`."""
    conditions = Conditions(tx.dialect)
    conditions.equal(
        session_id=query.session_id,
        kind=query.kind and str(query.kind),
        title=query.title,
        agent=query.agent,
        digest=query.digest,
    )
    if query.task_ids is not None:
        conditions.in_list("task_id", json.dumps(query.task_ids))
    if query.partial is not None:
        conditions.equal(partial=int(query.partial))
    if query.larger_than_bytes is not None:
        conditions.add(f"size_bytes > {conditions.bind(query.larger_than_bytes)}")
    if query.created_after is not None:
        conditions.add(f"created_at >= {conditions.bind(dump_time(query.created_after))}")
    if query.created_before is not None:
        conditions.add(f"created_at < {conditions.bind(dump_time(query.created_before))}")
    for tag in query.tags:
        # Within a stored list, only the strings' own ends are quotes without a backslash. So a
        # comma and a quote begin an item.
        item = conditions.bind(f",{dump_json(tag, 'tags')}")
        conditions.add(f"{tx.dialect.position}(',' || substr(tags, 2), {item}) > 0")
    if not query.include_superseded:
        conditions.add("superseded = 0")
    order = "DESC" if query.newest_first else "ASC"
    sql = f"""
        SELECT {rows.ARTIFACT.columns} FROM artifacts WHERE {conditions.where}
        ORDER BY seq {order} LIMIT {conditions.bind(rows.limited(query.limit))}
    """
    return rows.ARTIFACT.read_all(tx.execute(sql, conditions.values))


def task_artifacts(tx: Transaction, task_ids: Iterable[str]) -> list[TaskArtifact]:
    """See `contracts.Store.task_artifacts`."""
    conditions = Conditions(tx.dialect)
    conditions.in_list("task_id", json.dumps(list(task_ids)))
    conditions.add("(superseded = 0 OR superseded_by IS NOT NULL)")
    sql = f"SELECT {rows.ARTIFACT.columns} FROM artifacts WHERE {conditions.where} ORDER BY seq"
    holding: dict[tuple[str, str], TaskArtifact] = {}
    for saved in rows.ARTIFACT.read_all(tx.execute(sql, conditions.values)):
        artifact = superseding.current(tx, saved) if saved.superseded else saved
        replaces = None if superseding.is_same_lineage(saved, artifact) else saved
        task_id = str(saved.task_id)
        entry = TaskArtifact(task_id=task_id, artifact=artifact, replaces=replaces)
        holding.setdefault((task_id, artifact.id), entry)
    return list(holding.values())


def content_digests(tx: Transaction) -> set[str]:
    """See `contracts.Store.content_digests`."""
    sql = "SELECT digest FROM artifacts UNION SELECT digest FROM document_versions"
    return set(first_column(tx.execute(sql)))


def count_artifacts(tx: Transaction, session_id: str) -> int:
    """See `contracts.Store.count_artifacts`."""
    sql = f"SELECT count(*) FROM artifacts WHERE session_id = {tx.mark}1 AND superseded = 0"
    (number,) = tx.execute(sql, (session_id,)).fetchone()
    return int(number)


# --- who was given what -----------------------------------------------------


def record_context(
    tx: Transaction, task_id: str, artifact_ids: Sequence[str], *, agent: str | None
) -> None:
    """See `contracts.Store.record_context`."""
    task = reading.task(tx, task_id)
    sql = f"""
        SELECT {rows.ARTIFACT.columns} FROM artifacts
        WHERE id {tx.dialect.in_list(1)} AND (task_id IS NULL OR task_id <> {tx.mark}2)
            AND id NOT IN (
                SELECT artifact_id FROM given WHERE task_id = {tx.mark}2 AND attempt = {tx.mark}3
            )
        ORDER BY seq {tx.dialect.keep_rows}
    """
    values = (json.dumps(list(artifact_ids)), task_id, task.attempts)
    new = rows.ARTIFACT.read_all(tx.execute(sql, values))
    if not new:
        return
    _drop_what_they_follow(tx, task_id, new)
    columns = ("task_id", "artifact_id", "attempt", "session_id", "stale", "given_at")
    add = f"""
        INSERT INTO given ({", ".join(columns)}) VALUES ({tx.dialect.slots(len(columns))})
        ON CONFLICT (task_id, artifact_id)
            DO UPDATE SET attempt = excluded.attempt, given_at = excluded.given_at
    """
    for artifact in new:
        is_stale = int(artifact.superseded)
        use = (task_id, artifact.id, task.attempts, task.session_id, is_stale, tx.now)
        tx.execute(add, use)
    data = {"attempt": task.attempts, "artifacts": [artifact.id for artifact in new]}
    events.record_for(tx, task, EventKind.CONTEXT_GIVEN, data, agent=agent)


def _drop_what_they_follow(tx: Transaction, task_id: str, new: Sequence[Artifact]) -> None:
    """Forget that the task was given what *new* artifacts have taken the place of."""
    sql = f"SELECT artifact_id FROM given WHERE task_id = {tx.mark}1 AND stale = 1"
    for earlier_id in list(first_column(tx.execute(sql, (task_id,)))):
        if any(superseding.follows(tx, artifact, earlier_id) for artifact in new):
            sql = f"DELETE FROM given WHERE task_id = {tx.mark}1 AND artifact_id = {tx.mark}2"
            tx.execute(sql, (task_id, earlier_id))


def context_uses(
    tx: Transaction,
    *,
    session_id: str | None,
    task_id: str | None,
    artifact_ids: Iterable[str] | None,
    outdated: bool,
    limit: int | None,
) -> list[ContextUse]:
    """See `contracts.Store.context_uses`."""
    conditions = Conditions(tx.dialect)
    conditions.equal(**{"given.session_id": session_id, "given.task_id": task_id})
    if artifact_ids is not None:
        conditions.in_list("given.artifact_id", json.dumps(list(artifact_ids)))
    if outdated:
        conditions.add("given.stale = 1")
        conditions.add("tasks.archived = 0")
        conditions.add("tasks.recovers_task_id IS NULL")
        conditions.add(f"tasks.status IN {_HAS_BEGUN}")
    sql = f"""
        SELECT given.task_id, tasks.alias, given.attempt, given.given_at, {_OF_ARTIFACT}
        FROM given JOIN tasks ON tasks.id = given.task_id {tx.dialect.as_id}
            JOIN artifacts ON artifacts.id = given.artifact_id {tx.dialect.as_id}
        WHERE {conditions.where} ORDER BY given.given_at, given.task_id, artifacts.seq
        LIMIT {conditions.bind(rows.limited(limit))}
    """
    uses = tx.execute(sql, conditions.values).fetchall()
    return [_context_use(tx, use) for use in uses]


def _context_use(tx: Transaction, row: Any) -> ContextUse:
    task_id, alias, attempt, given_at, *columns = row
    artifact = rows.ARTIFACT.read(columns)
    latest = superseding.current(tx, artifact) if artifact.superseded else artifact
    return ContextUse(
        task_id=task_id,
        alias=alias,
        attempt=attempt,
        artifact_id=artifact.id,
        title=artifact.title,
        version=artifact.version,
        latest_id=latest.id,
        latest_version=latest.version,
        latest_title=latest.title,
        given_at=load_time(given_at),
    )


# --- worktrees and documents ------------------------------------------------


def put_worktree(tx: Transaction, worktree: Worktree, event: str) -> Worktree:
    """See `contracts.Store.put_worktree`."""
    columns = rows.WORKTREE.values(worktree) | {"state": str(worktree.state)}
    if not _put(tx, "worktrees", ("name",), columns, where=_IS_SAME_WORKTREE):
        raise WorktreeNameTakenError(worktree.name)
    data = {
        "worktree": worktree.name,
        "branch": worktree.branch,
        "landed": worktree.landed,
        "rescue": worktree.rescue_ref,
    }
    events.record(
        tx,
        event,
        data,
        session_id=worktree.session_id,
        task_id=worktree.task_id,
        agent=worktree.agent,
    )
    return worktree


def note_saved(tx: Transaction, name: str, commit: str) -> None:
    """See `contracts.Store.note_saved`."""
    sql = f"""
        UPDATE worktrees SET saved = {tx.mark}1
        WHERE name = {tx.mark}2 AND coalesce(saved, '') <> {tx.mark}1
    """
    tx.execute(sql, (commit, name))


def worktrees(
    tx: Transaction,
    *,
    session_id: str | None,
    task_id: str | None,
    name: str | None,
    include_removed: bool,
) -> list[Worktree]:
    """See `contracts.Store.worktrees`."""
    conditions = Conditions(tx.dialect)
    conditions.equal(session_id=session_id, task_id=task_id, name=name)
    if not include_removed:
        conditions.add(f"state <> '{WorktreeState.REMOVED}'")
    sql = f"""
        SELECT {rows.WORKTREE.columns} FROM worktrees WHERE {conditions.where}
        ORDER BY created_at, name
    """
    return rows.WORKTREE.read_all(tx.execute(sql, conditions.values))


def put_document(tx: Transaction, version: DocumentVersion, session_id: str) -> DocumentVersion:
    """See `contracts.Store.put_document`."""
    rows.insert(tx, "document_versions", rows.DOCUMENT.values(version))
    data = {"path": version.path, "version": version.version}
    events.record(tx, EventKind.DOCUMENT_UPDATED, data, session_id=session_id)
    return version


def document_versions(tx: Transaction, path: str | None) -> list[DocumentVersion]:
    """See `contracts.Store.document_versions`."""
    select = f"SELECT {rows.DOCUMENT.columns} FROM document_versions AS document"
    if path is not None:
        sql = f"{select} WHERE path = {tx.mark}1 ORDER BY version"
        return rows.DOCUMENT.read_all(tx.execute(sql, (path,)))
    sql = f"""
        WITH RECURSIVE paths (name) AS (
            SELECT min(path) FROM document_versions
            UNION ALL SELECT (SELECT min(path) FROM document_versions WHERE path > name)
                FROM paths WHERE name IS NOT NULL
        )
        SELECT {rows.DOCUMENT.columns} FROM paths JOIN document_versions ON path = name
        WHERE version = (SELECT max(version) FROM document_versions WHERE path = name)
        ORDER BY path
    """  # from path to path: each has far more versions than there are documents
    return rows.DOCUMENT.read_all(tx.execute(sql))
