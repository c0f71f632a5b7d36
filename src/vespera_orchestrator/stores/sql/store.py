"""`contracts.Store` for every store that speaks SQL: each operation is one transaction.

What an operation does is in the functions beside this module. A store provides the transactions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TypeVar

from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import (
    Agenda,
    Artifact,
    ArtifactDraft,
    ArtifactQuery,
    Attempt,
    Checkpoint,
    Claim,
    ContextUse,
    DocumentVersion,
    Effect,
    Ending,
    Event,
    Existing,
    Finished,
    HomePlace,
    JsonValue,
    Look,
    Outcome,
    PastWork,
    Pause,
    PlannedTasks,
    Position,
    Reopening,
    Session,
    SharedValue,
    Situation,
    Task,
    TaskArtifact,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    TeamSettings,
    Tombstone,
    Worktree,
)
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.stores.sql import (
    changing,
    claims,
    deciding,
    effects,
    events,
    expiring,
    finishing,
    forgetting,
    planning,
    reading,
    records,
    sharing,
    timing,
    urgency,
    waiting,
)
from vespera_orchestrator.stores.sql.transaction import Transaction

T = TypeVar("T")


class SQLStore(ABC):
    """Opens a transaction for each operation of `contracts.Store`."""

    # --- transactions -------------------------------------------------------

    @abstractmethod
    def _write(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction that changes one task, or none."""

    def _change(
        self,
        *,
        session_id: str | None = None,  # noqa: ARG002 - see the store for many machines
        task_id: str | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[Transaction]:
        """Begin a transaction that may change several tasks of one session, alone of its kind.

        The session is named, or it is that of the task.
        """
        return self._write()

    @abstractmethod
    def _read(self) -> AbstractContextManager[Transaction]:
        """Begin several reads that see one state."""

    def _read_once(self) -> AbstractContextManager[Transaction]:
        """Begin a single read."""
        return self._read()

    @abstractmethod
    def _is_reading(self) -> bool:
        """Tell whether this thread is in a transaction, which further reads join."""

    def read_together(self, read: Callable[[], T], *, session_id: str | None = None) -> T:
        """See `contracts.Store.read_together`."""
        if session_id is not None:
            self._weigh(session_id)
        with self._read():
            return read()

    # --- sessions -----------------------------------------------------------

    def start_session(self, session: Session, *, settings: TeamSettings | None = None) -> Session:
        """See `contracts.Store.start_session`."""
        with self._write() as tx:
            return records.start_session(tx, session, settings)

    def resume_session(self, session_id: str) -> Session:
        """See `contracts.Store.resume_session`."""
        with self._write() as tx:
            return records.resume_session(tx, session_id)

    def pause_session(
        self,
        session_id: str,
        agent: str,
        *,
        note: str,
        next_step: str,
        worded: Sequence[str] = (),
        task_ids: Sequence[str] = (),
    ) -> Pause:
        """See `contracts.Store.pause_session`."""
        with self._write() as tx:
            return records.pause_session(
                tx,
                session_id,
                agent,
                note=note,
                next_step=next_step,
                worded=worded,
                task_ids=task_ids,
            )

    def share_values(
        self, session_id: str, agent: str, values: Mapping[str, JsonValue], *, seen: int = 0
    ) -> list[SharedValue]:
        """See `contracts.Store.share_values`."""
        with self._change(session_id=session_id) as tx:
            reading.require_session(tx, session_id)
            return sharing.share(tx, session_id, agent, values, seen=seen)

    def shared_values(
        self, session_id: str, *, key: str | None = None, history: bool = False
    ) -> list[SharedValue]:
        """See `contracts.Store.shared_values`."""
        with self._read_once() as tx:
            return sharing.shared(tx, session_id, key=key, history=history)

    def note_look(
        self, session_id: str, agent: str, position: Position, *, seq: int | None = None
    ) -> Look:
        """See `contracts.Store.note_look`."""
        with self._write() as tx:
            return records.note_look(tx, session_id, agent, position, seq)

    def last_look(self, session_id: str, agent: str) -> Look | None:
        """See `contracts.Store.last_look`."""
        with self._read_once() as tx:
            return records.last_look(tx, session_id, agent)

    def open_sessions(self) -> int:
        """See `contracts.Store.open_sessions`."""
        with self._read_once() as tx:
            return reading.open_sessions(tx)

    def find_session(self, session_id: str) -> Session | None:
        """See `contracts.Store.find_session`."""
        with self._read() as tx:
            return reading.find_session(tx, session_id)

    def sessions(self, *, limit: int | None = 100, offset: int = 0) -> list[Session]:
        """See `contracts.Store.sessions`."""
        with self._read_once() as tx:
            return reading.sessions(tx, limit=limit, offset=offset)

    def team_settings(self, session_id: str) -> TeamSettings | None:
        """See `contracts.Store.team_settings`."""
        with self._read_once() as tx:
            return records.team_settings(tx, session_id)

    def agree_settings(self, settings: TeamSettings, *, replace: bool) -> TeamSettings:
        """See `contracts.Store.agree_settings`."""
        with self._write() as tx:
            return records.agree_settings(tx, settings, replace=replace)

    def note_home(self, home: HomePlace) -> None:
        """See `contracts.Store.note_home`."""
        with self._write() as tx:
            records.note_home(tx, home)

    def find_home(self, home_id: str) -> HomePlace | None:
        """See `contracts.Store.find_home`."""
        with self._read_once() as tx:
            return records.find_home(tx, home_id)

    def default_agent(self, name: str, home_id: str, *, reserve: bool) -> str:
        """See `contracts.Store.default_agent`."""
        with self._read() as tx:
            candidate, is_own = records.find_default_agent(tx, name, home_id)
        if is_own or not reserve:
            return candidate
        with self._write() as tx:
            return records.reserve_default_agent(tx, name, home_id)

    # --- planning -----------------------------------------------------------

    def plan(
        self,
        session_id: str,
        drafts: Sequence[TaskDraft],
        *,
        mistakes: Sequence[VesperaError] = (),
        existing: Existing = Existing.ERROR,
    ) -> PlannedTasks:
        """See `contracts.Store.plan`."""
        with self._change(session_id=session_id) as tx:
            reading.require_session(tx, session_id)
            return planning.plan(tx, session_id, drafts, mistakes, existing)

    def update_task(self, task_id: str, changes: Mapping[str, JsonValue]) -> Task:
        """See `contracts.Store.update_task`."""
        with self._change(task_id=task_id) as tx:
            return changing.update_task(tx, task_id, changes)

    def snooze(
        self, task_id: str, until: datetime | None, *, zone: str, subtree: bool
    ) -> list[Task]:
        """See `contracts.Store.snooze`."""
        with self._change(task_id=task_id) as tx:
            return timing.snooze(tx, task_id, until, zone=zone, whole_subtree=subtree)

    def add_dependency(self, task_id: str, needs: str, on: Outcome) -> Task:
        """See `contracts.Store.add_dependency`."""
        with self._change(task_id=task_id) as tx:
            return changing.add_dependency(tx, task_id, needs, on)

    def remove_dependency(self, task_id: str, needs: str) -> Task:
        """See `contracts.Store.remove_dependency`."""
        with self._change(task_id=task_id) as tx:
            return changing.remove_dependency(tx, task_id, needs)

    # --- reading ------------------------------------------------------------

    def find_task(self, ref: str, session_id: str | None) -> Task | None:
        """See `contracts.Store.find_task`."""
        with self._read_once() as tx:
            return reading.find_task(tx, ref, session_id)

    def tasks(self, query: TaskQuery) -> list[Task]:
        """See `contracts.Store.tasks`."""
        if query.agenda is Agenda.READY and query.session_id is not None:
            self._weigh(query.session_id)
        with self._read_once() as tx:
            return reading.tasks(tx, query)

    def count(self, query: TaskQuery) -> dict[TaskStatus, int]:
        """See `contracts.Store.count`."""
        with self._read_once() as tx:
            return reading.count(tx, query)

    def ready(self, session_id: str, limit: int, *, below: str | None = None) -> list[Task]:
        """See `contracts.Store.ready`."""
        self._weigh(session_id)
        with self._read_once() as tx:
            return reading.ready(tx, session_id, limit, below)

    def longest_chain(self, session_id: str, limit: int, *, below: str | None = None) -> list[Task]:
        """See `contracts.Store.longest_chain`."""
        self._weigh(session_id)
        with self._read() as tx:
            return reading.longest_chain(tx, session_id, limit, below)

    def _weigh(self, session_id: str) -> None:
        if self._is_reading():  # nothing can be written: whoever began it took the order as it is
            return
        with self._read_once() as tx:
            if not urgency.has_unweighed(tx, session_id):
                return
        with self._change(session_id=session_id) as tx:
            urgency.weigh(tx, session_id)

    def situation(self, task_id: str) -> Situation:
        """See `contracts.Store.situation`."""
        with self._read() as tx:
            return reading.situation(tx, task_id)

    def aliases(self, session_id: str) -> list[str]:
        """See `contracts.Store.aliases`."""
        with self._read_once() as tx:
            return reading.aliases(tx, session_id)

    def dependents(self, task_id: str) -> list[Task]:
        """See `contracts.Store.dependents`."""
        with self._read() as tx:
            return reading.tasks_by_id(tx, reading.dependent_ids(tx, task_id))

    def attempts(self, task_id: str) -> list[Attempt]:
        """See `contracts.Store.attempts`."""
        with self._read_once() as tx:
            return reading.attempts(tx, task_id)

    def past_work(self, task: Task, limit: int) -> list[PastWork]:
        """See `contracts.Store.past_work`."""
        with self._read_once() as tx:
            return reading.past_work(tx, task, limit)

    def last_checkpoint(self, task_id: str) -> Checkpoint | None:
        """See `contracts.Store.last_checkpoint`."""
        with self._read_once() as tx:
            return reading.last_checkpoint(tx, task_id)

    def running(
        self, session_id: str, limit: int, *, below: str | None = None
    ) -> list[tuple[Task, Attempt, Checkpoint | None]]:
        """See `contracts.Store.running`."""
        with self._read() as tx:
            return reading.running(tx, session_id, limit, below)

    # --- holding ------------------------------------------------------------

    @abstractmethod
    def claim(
        self,
        session_id: str,
        agent: str,
        *,
        task_id: str | None = None,
        lease_s: float,
        take_over: bool = False,
        process: str = "",
        parents: bool | None = None,
    ) -> Claim | None:
        """See `contracts.Store.claim`."""

    @abstractmethod
    def expire(self, *, is_gone: Callable[[str], bool] | None = None) -> list[Attempt]:
        """See `contracts.Store.expire`."""

    def renew(
        self,
        task_id: str,
        attempt: int,
        *,
        lease_s: float,
        process: str | None = None,
        files_changed: bool = False,
        snapshot: str | None = None,
        within: Callable[[], None] | None = None,
    ) -> Attempt:
        """See `contracts.Store.renew`."""
        with self._write() as tx:
            return claims.renew(
                tx,
                task_id,
                attempt,
                lease_s=lease_s,
                process=process,
                files_changed=files_changed,
                snapshot=snapshot,
                within=within,
            )

    def checkpoint(
        self,
        task_id: str,
        attempt: int,
        state: JsonValue,
        *,
        note: str = "",
        progress: float | None = None,
        snapshot: str | None = None,
        left_out: Sequence[str] = (),
        lease_s: float,
        within: Callable[[], None] | None = None,
    ) -> Checkpoint:
        """See `contracts.Store.checkpoint`."""
        with self._write() as tx:
            return claims.checkpoint(
                tx,
                task_id,
                attempt,
                state,
                note=note,
                progress=progress,
                snapshot=snapshot,
                left_out=left_out,
                lease_s=lease_s,
                within=within,
            )

    # --- ending -------------------------------------------------------------

    def finish(
        self,
        task_id: str,
        attempt: int | None,
        ending: Ending,
        *,
        agent: str,
        artifacts: Sequence[ArtifactDraft] = (),
        within: Callable[[], None] | None = None,
    ) -> Finished:
        """See `contracts.Store.finish`."""
        with self._change(task_id=task_id) as tx:
            return finishing.finish(
                tx, task_id, attempt, ending, agent=agent, artifacts=artifacts, within=within
            )

    def end_attempt(self, task_id: str, reason: str, *, agent: str, holder: str = "") -> Attempt:
        """See `contracts.Store.end_attempt`."""
        with self._change(task_id=task_id) as tx:
            return expiring.end_attempt(tx, task_id, reason, agent=agent, holder=holder)

    def cancel(self, task_id: str, reason: str, *, subtree: bool) -> list[Task]:
        """See `contracts.Store.cancel`."""
        with self._change(task_id=task_id) as tx:
            return deciding.cancel(tx, task_id, reason, whole_subtree=subtree)

    def abandon(self, task_id: str, reason: str, *, subtree: bool) -> list[Task]:
        """See `contracts.Store.abandon`."""
        with self._change(task_id=task_id) as tx:
            return deciding.abandon(tx, task_id, reason, whole_subtree=subtree)

    def retry(self, task_id: str, reason: str) -> Task:
        """See `contracts.Store.retry`."""
        with self._change(task_id=task_id) as tx:
            return deciding.retry(tx, task_id, reason)

    def reopen(self, task_id: str, reason: str) -> Reopening:
        """See `contracts.Store.reopen`."""
        with self._change(task_id=task_id) as tx:
            return deciding.reopen(tx, task_id, reason)

    def correct(self, task_id: str, summary: str) -> Task:
        """See `contracts.Store.correct`."""
        with self._change(task_id=task_id) as tx:
            return deciding.correct(tx, task_id, summary)

    # --- the world ----------------------------------------------------------

    def answer(self, task_id: str, outputs: Mapping[str, JsonValue], *, agent: str) -> Task:
        """See `contracts.Store.answer`."""
        with self._change(task_id=task_id) as tx:
            return waiting.answer(tx, task_id, outputs, agent=agent)

    def signal(
        self,
        session_id: str,
        name: str,
        payload: Mapping[str, JsonValue],
        *,
        agent: str,
        key: str | None = None,
    ) -> list[Task]:
        """See `contracts.Store.signal`."""
        with self._change(session_id=session_id) as tx:
            reading.require_session(tx, session_id)
            return waiting.signal(tx, session_id, name, payload, agent=agent, key=key)

    def ask(
        self, task_id: str, attempt: int, question: str, *, agent: str, effect: str | None = None
    ) -> Task:
        """See `contracts.Store.ask`."""
        with self._change(task_id=task_id) as tx:
            return effects.ask(tx, task_id, attempt, question, agent=agent, effect=effect)

    def begin_effect(
        self, task_id: str, attempt: int, key: str, *, instead_of: Effect | None = None
    ) -> Effect | None:
        """See `contracts.Store.begin_effect`."""
        with self._write() as tx:
            return effects.begin(tx, task_id, attempt, key, instead_of=instead_of)

    def record_effect(self, task_id: str, attempt: int, key: str, result: JsonValue) -> Effect:
        """See `contracts.Store.record_effect`."""
        with self._write() as tx:
            return effects.record(tx, task_id, attempt, key, result)

    def find_effect(self, task_id: str, key: str) -> Effect | None:
        """See `contracts.Store.find_effect`."""
        with self._read_once() as tx:
            return effects.find(tx, task_id, key)

    def delete(self, task_id: str, *, hard: bool) -> Task:
        """See `contracts.Store.delete`."""
        with self._change(task_id=task_id) as tx:
            return deciding.delete(tx, task_id, hard=hard)

    # --- artifacts ----------------------------------------------------------

    def save_artifact(
        self,
        session_id: str,
        draft: ArtifactDraft,
        *,
        task_id: str | None,
        attempt: int | None,
        agent: str | None,
    ) -> Artifact:
        """See `contracts.Store.save_artifact`."""
        with self._write() as tx:
            reading.require_session(tx, session_id)
            holder = None
            if task_id is not None and attempt is not None:
                holder = claims.require_hold(tx, reading.task(tx, task_id), attempt)
            saved = records.save_artifact(
                tx, session_id, draft, task_id=task_id, attempt=attempt, agent=agent
            )
            if holder is not None and saved.created_at == load_time(tx.now):
                claims.note_progress(tx, holder)
            return saved

    def forget_artifacts(
        self, artifact_ids: Sequence[str], *, reason: str, agent: str | None
    ) -> list[Tombstone]:
        """See `contracts.Store.forget_artifacts`."""
        with self._write() as tx:
            return forgetting.forget(tx, artifact_ids, reason=reason, agent=agent)

    def tombstones(
        self, *, ids: Iterable[str] | None = None, pending: bool = False
    ) -> list[Tombstone]:
        """See `contracts.Store.tombstones`."""
        with self._read_once() as tx:
            return forgetting.tombstones(tx, ids=ids, pending=pending)

    def complete_forgetting(
        self, ids: Sequence[str], proof: Mapping[str, JsonValue], *, whole: bool
    ) -> None:
        """See `contracts.Store.complete_forgetting`."""
        with self._write() as tx:
            forgetting.complete(tx, ids, proof, whole=whole)

    def find_artifact(self, artifact_id: str) -> Artifact | None:
        """See `contracts.Store.find_artifact`."""
        with self._read_once() as tx:
            return records.find_artifact(tx, artifact_id)

    def artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """See `contracts.Store.artifacts`."""
        with self._read_once() as tx:
            return records.artifacts(tx, query)

    def task_artifacts(self, task_ids: Iterable[str]) -> list[TaskArtifact]:
        """See `contracts.Store.task_artifacts`."""
        with self._read() as tx:
            return records.task_artifacts(tx, task_ids)

    def content_digests(self) -> set[str]:
        """See `contracts.Store.content_digests`."""
        with self._read_once() as tx:
            return records.content_digests(tx)

    def count_artifacts(self, session_id: str) -> int:
        """See `contracts.Store.count_artifacts`."""
        with self._read_once() as tx:
            return records.count_artifacts(tx, session_id)

    def record_context(
        self, task_id: str, artifact_ids: Sequence[str], *, agent: str | None
    ) -> None:
        """See `contracts.Store.record_context`."""
        with self._write() as tx:
            records.record_context(tx, task_id, artifact_ids, agent=agent)

    def context_uses(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        artifact_ids: Iterable[str] | None = None,
        outdated: bool = False,
        limit: int | None = None,
    ) -> list[ContextUse]:
        """See `contracts.Store.context_uses`."""
        with self._read() as tx:
            return records.context_uses(
                tx,
                session_id=session_id,
                task_id=task_id,
                artifact_ids=artifact_ids,
                outdated=outdated,
                limit=limit,
            )

    # --- worktrees and documents --------------------------------------------

    def put_worktree(self, worktree: Worktree, event: str) -> Worktree:
        """See `contracts.Store.put_worktree`."""
        with self._write() as tx:
            return records.put_worktree(tx, worktree, event)

    def note_saved(
        self, worktree: str, commit: str, *, within: Callable[[], None] | None = None
    ) -> None:
        """See `contracts.Store.note_saved`."""
        with self._write() as tx:
            records.note_saved(tx, worktree, commit)
            if within is not None:
                within()

    def worktrees(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        name: str | None = None,
        include_removed: bool = False,
    ) -> list[Worktree]:
        """See `contracts.Store.worktrees`."""
        with self._read_once() as tx:
            return records.worktrees(
                tx,
                session_id=session_id,
                task_id=task_id,
                name=name,
                include_removed=include_removed,
            )

    def put_document(self, version: DocumentVersion, session_id: str) -> DocumentVersion:
        """See `contracts.Store.put_document`."""
        with self._write() as tx:
            return records.put_document(tx, version, session_id)

    def document_versions(self, path: str | None = None) -> list[DocumentVersion]:
        """See `contracts.Store.document_versions`."""
        with self._read_once() as tx:
            return records.document_versions(tx, path)

    # --- events -------------------------------------------------------------

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        kinds: Iterable[str] | None = None,
        limit: int | None = 1000,
        newest_first: bool = False,
    ) -> list[Event]:
        """See `contracts.Store.events`."""
        with self._read_once() as tx:
            return events.events(
                tx,
                after,
                session_id=session_id,
                task_id=task_id,
                kinds=kinds,
                limit=limit,
                newest_first=newest_first,
            )

    def record_event(
        self,
        session_id: str,
        kind: str,
        data: Mapping[str, JsonValue],
        *,
        agent: str | None = None,
    ) -> None:
        """See `contracts.Store.record_event`."""
        with self._write() as tx:
            reading.require_session(tx, session_id)
            events.record(tx, kind, data, session_id=session_id, agent=agent)

    def last_seq(self, session_id: str | None = None) -> int:
        """See `contracts.Store.last_seq`."""
        with self._read_once() as tx:
            return events.last_seq(tx, session_id)
