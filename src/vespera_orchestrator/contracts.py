"""What a backend must promise, written for whoever implements one.

Three things can be replaced: the `Store`, which holds the truth, the `ContentStore`, which holds the bytes of artifacts, and the
`Embedder`, which turns passages into vectors.

**Rules for every store**

* Each writing operation is one transaction. It writes the new state and at least one `Event`, or, when it raises, nothing at all.
* An operation that takes *attempt* is fenced: in the same transaction that writes, the number is compared with the task's latest
  attempt. A holder that was replaced, cancelled or finished gets `LeaseLostError`. A holder whose lease lapsed while nobody took the
  task regains it by its next fenced write, whatever was added to what the task waits for meanwhile.
* Time comes from the store's own clock, so that all callers of one store agree.
* Operations may be called from any thread. In a child made by ``fork`` the store opens a connection of its own.
* What a task's state should become is decided by the pure functions in ``_rules``; a store carries the decision out.
* Foreign errors do not get out: they are translated to the branches under `StoreError`.

`vespera_orchestrator.testing.StoreContract` holds a store to all of this. The records that go in and out can be imported from here.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, Protocol, runtime_checkable

import attrs

from vespera_orchestrator._model import (
    Artifact,
    ArtifactDraft,
    ArtifactQuery,
    Attempt,
    Checkpoint,
    Claim,
    ContextUse,
    DocumentVersion,
    Ending,
    Event,
    Finished,
    JsonValue,
    Outcome,
    Session,
    Situation,
    Task,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    Worktree,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vespera_orchestrator.errors import VesperaError

__all__ = [
    "TABLES",
    "Artifact",
    "ArtifactDraft",
    "ArtifactQuery",
    "Attempt",
    "Checkpoint",
    "Claim",
    "ContentStore",
    "ContextUse",
    "DocumentVersion",
    "Embedder",
    "Ending",
    "Event",
    "Finished",
    "JsonValue",
    "Ledger",
    "Outcome",
    "Session",
    "Situation",
    "Store",
    "Table",
    "Task",
    "TaskDraft",
    "TaskQuery",
    "TaskStatus",
    "Worktree",
]


@runtime_checkable
class Store(Protocol):
    """Holds sessions, tasks, attempts, checkpoints, artifact records, worktree records and the event log."""

    @property
    def url(self) -> str:
        """The address under which another process opens the same store."""

    @property
    def identity(self) -> str:
        """Which records these are, in words for a person, without secrets: the same for everybody who has these very records open.

        A copy of them that lives on by itself has another. It may change when the records move; then they count as others, which is safe.
        """

    def close(self) -> None:
        """Let go of every resource. Idempotent. Any later call raises `ClosedError`."""

    # sessions

    def start_session(self, session: Session) -> Session:
        """Record *session* as started. Event ``session_started``."""

    def resume_session(self, session_id: str) -> Session:
        """Record that somebody went on with the session. Event ``session_resumed``.

        Raises:
            SessionNotFoundError: There is none with this id.
        """

    def open_sessions(self) -> int:
        """Return how many sessions have a task that has not ended."""

    def find_session(self, session_id: str) -> Session | None:
        """Return the session, or ``None``."""

    def sessions(self, *, limit: int | None = 100, offset: int = 0) -> list[Session]:
        """Return sessions, the one last written to first."""

    # planning

    def plan(
        self, session_id: str, drafts: Sequence[TaskDraft], *, mistakes: Sequence[VesperaError] = ()
    ) -> list[Task]:
        """Write all *drafts*, or none. Event ``task_planned`` for each.

        *mistakes* are known already: they are told together with those that are found now, and nothing is written.

        References are resolved within the same transaction, first among the drafts' own aliases, then in the session. A draft without
        an alias gets the slug of its title, with a number behind it when that is taken. A task that can never become ready, because of
        how its dependencies have ended already, is skipped at once.

        Raises:
            UnknownDependencyError: A dependency or parent that does not exist.
            CycleError: With the path; dependencies and parents are taken together.
            ConditionError: The condition cannot be understood, or names no dependency.
            AliasTakenError: An alias that was given is taken.
            TransitionError: The parent has ended.
            InvalidPlanError: Several of these at once.
        """

    def update_task(self, task_id: str, changes: Mapping[str, JsonValue]) -> Task:
        """Change descriptive fields. Event ``task_updated`` with what was changed.

        Args:
            task_id: The task.
            changes: Any of ``title description task_type complexity specialist_type priority estimated_effort due_at context worktree``.
        """

    def add_dependency(self, task_id: str, needs: str, on: Outcome) -> Task:
        """Make a pending task wait for another as well. Event ``dependency_added``.

        Raises:
            CycleError: The edge would close a circle.
            TransitionError: The task is not pending.
        """

    def remove_dependency(self, task_id: str, needs: str) -> Task:
        """Take an edge away. Event ``dependency_removed``.

        Raises:
            UnknownDependencyError: There is no such edge.
            ConditionError: The task's condition names it.
        """

    # reading

    def find_task(self, ref: str, session_id: str | None) -> Task | None:
        """Return the task with this id, or with this alias in the session, or ``None``."""

    def tasks(self, query: TaskQuery) -> list[Task]:
        """Return the tasks that *query* describes, in the order they were planned."""

    def count(self, query: TaskQuery) -> dict[TaskStatus, int]:
        """Return how many tasks of each status *query* describes; ``limit`` and ``offset`` are ignored."""

    def ready(self, session_id: str, limit: int) -> list[Task]:
        """Return tasks that can be started now, best first.

        By priority, then by the hours of the longest chain of work that starts with them, then in the order planned. The store may weigh
        newly planned tasks now: the first to ask after planning pays for it.
        """

    def situation(self, task_id: str) -> Situation:
        """Return the task and all that bears on whether it is ready.

        Raises:
            TaskNotFoundError: There is none with this id.
        """

    def aliases(self, session_id: str) -> list[str]:
        """Return every alias of the session."""

    def dependents(self, task_id: str) -> list[Task]:
        """Return the tasks that wait, or waited, for this one."""

    # the life of a task

    def claim(
        self,
        session_id: str,
        agent: str,
        *,
        task_id: str | None = None,
        lease_s: float,
        take_over: bool = False,
    ) -> Claim | None:
        """Give *agent* the task, or the best ready one. Event ``task_started``.

        Claims are exclusive: of two callers racing for one task one gets it and the other gets the next, or nothing.

        Args:
            session_id: The session.
            agent: Who is claiming; any stable, non-empty name.
            task_id: Which task; ``None`` for the best ready one.
            lease_s: Seconds until the claim lapses unless renewed.
            take_over: End the hold of whoever has the named task first, as if it had lapsed. Event ``lease_expired``.

        Returns:
            The claim; ``None`` when no task was named and nothing is ready.

        Raises:
            NotReadyError: The named task cannot be started; carries the `Why`.
        """

    def renew(
        self,
        task_id: str,
        attempt: int,
        *,
        lease_s: float,
        within: Callable[[], None] | None = None,
    ) -> Attempt:
        """Extend the hold to *lease_s* seconds from now. Event ``lease_renewed``. Fenced; regains a lapsed hold.

        *within* as for `checkpoint`.
        """

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
        """Save what the next attempt needs, and renew the hold. Event ``checkpoint_saved``. Fenced.

        *left_out* names files that *snapshot* does not hold; the event's data tell them.
        *within* is called after the fence was checked and before the commit; if it raises, nothing is written. It moves refs that must
        not move for a holder that was replaced, and must not call the store.
        """

    def last_checkpoint(self, task_id: str) -> Checkpoint | None:
        """Return the latest checkpoint of any attempt, or ``None``."""

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
        """Record how the attempt ends, or what it hands in, and all that follows from it.

        In one transaction: the artifacts, the task's new state, the recovery task when it becomes blocked, dependents that become ready
        or are skipped, downward. Events ``artifact_saved``, then ``task_completed``, ``task_blocked``, ``task_continued``,
        ``task_handed_in``, ``task_revised`` or ``task_released``, then those of the consequences.

        An ending with ``later`` hands finished work in that waits to be merged: the attempt ends as ``handed_in``, so that its hold never
        lapses, summary and outputs are written, and the task stays in progress, held by that attempt, until it is finished once more.

        The same completion sent twice (same attempt, same outputs, same artifact digests) is one completion.

        Args:
            task_id: The task.
            attempt: The attempt; ``None`` acts under whichever attempt is current, and claims a ready pending task first.
            ending: How it ends.
            agent: Who says so.
            artifacts: What was produced; the bytes are already stored.
            within: As for `checkpoint`.

        Raises:
            LeaseLostError: The attempt was replaced. Nothing was written.
            NotReadyError: With *attempt* ``None``: the task is pending and not ready; or it is to be completed with open children.
            TransitionError: The task has ended, differently.
        """

    def expire(self) -> list[Attempt]:
        """End every attempt whose lease has lapsed. Event ``lease_expired`` for each; the tasks are pending again.

        Costs one indexed read when there is none. Called by whoever comes by: there is no background process.
        """

    def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task, the first first."""

    def running(self, session_id: str, limit: int) -> list[tuple[Task, Attempt, Checkpoint | None]]:
        """Return tasks that are held, with the hold and the last checkpoint, the longest running first."""

    def longest_chain(self, session_id: str, limit: int) -> list[Task]:
        """Return the first tasks of the longest chain of open work by estimated effort, each waiting for the one before it.

        As far as the store knows it without looking at the whole graph: it follows the same weights that order `ready`.
        """

    def cancel(self, task_id: str, reason: str, *, subtree: bool) -> list[Task]:
        """Cancel the task, and with *subtree* all below it that has not ended. Event ``task_cancelled`` for each.

        Returns:
            The tasks that were cancelled; empty when it was cancelled before.

        Raises:
            TransitionError: It has ended otherwise.
        """

    def abandon(self, task_id: str, reason: str) -> Task:
        """Give the task up: it is failed. Its open recovery is cancelled. Event ``task_failed``."""

    def retry(self, task_id: str, reason: str) -> Task:
        """Make a blocked, failed, cancelled or skipped task pending again, its failure count at 0. Event ``task_retried``.

        Its open recovery is cancelled. Dependents that were skipped because of it are pending again; those that have started keep
        what they did.
        """

    def delete(self, task_id: str, *, hard: bool) -> Task:
        """Archive the task, which must have ended; with *hard* remove it. Event ``task_archived`` or ``task_deleted``.

        Raises:
            TransitionError: It has not ended, or (hard) others depend on it or are below it.
        """

    # artifacts

    def save_artifact(
        self,
        session_id: str,
        draft: ArtifactDraft,
        *,
        task_id: str | None,
        attempt: int | None,
        agent: str | None,
    ) -> Artifact:
        """Record an artifact. Event ``artifact_saved``, whose data name it under ``artifact``. Fenced when *attempt* is given.

        Same task (or none), same title: the next version. The same digest as the latest version under that title, kind and partial
        included: that version is returned and nothing is written.
        """

    def find_artifact(self, artifact_id: str) -> Artifact | None:
        """Return the artifact, or ``None``."""

    def artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """Return the artifacts that *query* describes."""

    def content_digests(self) -> set[str]:
        """Return the digest of every content that any record refers to, older versions and documents included, as of one moment.

        What is not in it may be collected: a store that forgets a kind of record here loses its bytes.
        """

    def count_artifacts(self, session_id: str) -> int:
        """Return how many current artifacts the session has."""

    def record_context(
        self, task_id: str, artifact_ids: Sequence[str], *, agent: str | None
    ) -> None:
        """Record that the task, in its latest attempt, was given these artifact versions to build on. Event ``context_given``.

        Its own artifacts do not count, nor do ids that do not exist. A version takes the place of an earlier one of the same artifact.
        What was given before, in the same attempt, is given once: where nothing is new, nothing is written.

        Raises:
            TaskNotFoundError: There is none with this id.
        """

    def context_uses(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        artifact_ids: Iterable[str] | None = None,
        outdated: bool = False,
        limit: int | None = None,
    ) -> list[ContextUse]:
        """Return which tasks were given which artifact versions, in the order they were given.

        Args:
            session_id: Only tasks of this session.
            task_id: Only this task.
            artifact_ids: Only these versions.
            outdated: Only versions that were superseded since, and only tasks that rest on them: held, blocked or completed, not
                archived, and no recovery. Costs what is found, not what is stored.
            limit: Most to return.
        """

    # worktrees and documents

    def put_worktree(self, worktree: Worktree, event: str) -> Worktree:
        """Insert or replace the record with this name. *event* is ``worktree_created``, ``worktree_landed`` or ``worktree_removed``."""

    def worktrees(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        name: str | None = None,
        include_removed: bool = False,
    ) -> list[Worktree]:
        """Return worktree records, the oldest first."""

    def put_document(self, version: DocumentVersion, session_id: str) -> DocumentVersion:
        """Record a new version of a document. Event ``document_updated``."""

    def document_versions(self, path: str | None = None) -> list[DocumentVersion]:
        """Return the versions of a document, or the latest of every document when *path* is ``None``."""

    # events

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        kinds: Iterable[str] | None = None,
        limit: int | None = 1000,
        newest_first: bool = False,
    ) -> list[Event]:
        """Return events with ``seq > after``, oldest first unless *newest_first*.

        An event is visible only together with the state it tells of, and never before one with a lower ``seq``: whoever follows the log
        and remembers the last ``seq`` misses nothing.
        """

    def last_seq(self, session_id: str | None = None) -> int:
        """Return the position of the newest event, of the session or of all; 0 when there is none."""

    def wait(self, after: int, timeout_s: float) -> None:
        """Return when an event with ``seq > after`` may exist, of whichever process, or when *timeout_s* seconds have passed.

        Returns at once when there is one already. May return early for no reason; whoever waits then reads `events` and waits again.
        """

    # maintenance

    def ledger(self, *, write: bool = False) -> AbstractContextManager[Ledger]:
        """Open the rows as they are kept, all as of one moment.

        Checking, repairing, exporting, importing and pruning are written once, above the stores, and work through this.

        Args:
            write: Hold all writers off; what is changed is committed when the block ends well, and undone whatever else ends it. Rows
                that are changed here bring no event with them: whoever changes them puts one into ``events``.
        """


@runtime_checkable
class Ledger(Protocol):
    """A store's rows as they are kept. Made by `Store.ledger`, and of use only within its block.

    A row is a mapping from column to value. `TABLES` names the tables and columns; further columns may be there, and mean something to
    this store alone. Values are texts, whole numbers, floats and ``None``: times are microseconds since 1970 in UTC, truth is 0 or 1,
    what is a structure is JSON text as `_codec.dump_json` writes it. A store that keeps them otherwise converts here.
    """

    @property
    def tables(self) -> Sequence[str]:
        """Every table, what others refer to before what refers to it; ``tallies`` only where the store keeps them itself."""

    @property
    def schema(self) -> int:
        """The number of the last migration."""

    def problems(self) -> Iterator[str]:
        """Yield what the database itself finds wrong with its files, a sentence each. May read everything."""

    def count(self, table: str) -> int:
        """Return how many rows the table has."""

    def rows(self, table: str) -> Iterator[dict[str, JsonValue]]:
        """Yield every row, in the order they were made where the table has one. One table may be read within the reading of another.

        Raises:
            StoreError: A row cannot be read.
        """

    def put(self, table: str, rows: Iterable[Mapping[str, JsonValue]]) -> None:
        """Insert rows, numbers such as ``seq`` included; the next one made goes on behind the highest.

        Columns that are left out get a default where the table has one.
        """

    def change(
        self, table: str, key: Mapping[str, JsonValue], values: Mapping[str, JsonValue]
    ) -> None:
        """Set columns of the rows that have all of *key*."""

    def remove(self, table: str, keys: Iterable[Mapping[str, JsonValue]]) -> None:
        """Remove the rows that have all of one of *keys*."""

    def rebuild_indexes(self) -> None:
        """Rebuild whatever the database derives by itself, such as its indexes."""


@attrs.frozen(kw_only=True)
class Table:
    """What a table's columns mean, where they are more than texts and numbers."""

    key: tuple[str, ...]
    """The columns that tell its rows apart."""
    times: tuple[str, ...] = ()
    """Columns that are points in time."""
    structures: tuple[str, ...] = ()
    """Columns that are JSON text."""
    flags: tuple[str, ...] = ()
    """Columns that are 0 or 1."""


TABLES: Final[Mapping[str, Table]] = {
    "sessions": Table(key=("id",), times=("created_at",), structures=("context",)),
    "tasks": Table(
        key=("id",),
        times=("due_at", "created_at", "updated_at", "ended_at"),
        structures=("condition_names", "context", "outputs"),
        flags=("was_blocked", "weighed", "archived"),
    ),
    "dependencies": Table(key=("task_id", "needs_id"), flags=("governed", "met")),
    "attempts": Table(
        key=("task_id", "number"),
        times=("started_at", "lease_until", "last_sign_at", "ended_at"),
    ),
    "checkpoints": Table(key=("id",), times=("created_at",), structures=("state",)),
    "artifacts": Table(
        key=("id",),
        times=("created_at",),
        structures=("tags", "metadata"),
        flags=("superseded", "partial"),
    ),
    "given": Table(key=("task_id", "artifact_id"), times=("given_at",), flags=("stale",)),
    "worktrees": Table(key=("name",), times=("created_at",), flags=("unlanded",)),
    "document_versions": Table(key=("path", "version"), times=("created_at",)),
    "events": Table(key=("seq",), times=("at",), structures=("data",)),
}
"""The tables that hold the truth, what others refer to before what refers to it."""


@runtime_checkable
class ContentStore(Protocol):
    """Holds bytes under their SHA-256 digest. Writing the same bytes twice stores them once.

    The digest is always of the bytes as they were given; whether they are kept compressed is the store's own business. Several threads,
    processes and machines may use one at the same time.
    """

    @property
    def url(self) -> str:
        """The address under which another process opens the same content, without credentials."""

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content* durably and return its digest (hexadecimal) and size in bytes.

        Atomic: a reader sees all of it or nothing, whatever kills the writer. A stream is read once, from where it stands to its end, in
        pieces, in constant memory, and stays the caller's to close. A damaged copy that is noticed is replaced.

        Raises:
            StoreUnavailableError: Disk full, I/O error, no connection. Nothing was stored; safe to retry.
            ContentAccessError: The store refuses. Nothing was stored.
            InvalidInputError: The stream cannot be read, or gives no bytes.
        """

    def read(self, digest: str) -> bytes:
        """Return the bytes.

        Raises:
            CorruptContentError: They are missing, or are not those that were stored.
        """

    def open(self, digest: str) -> AbstractContextManager[IO[bytes]]:
        """Open the bytes for reading from the beginning, in pieces, in constant memory.

        They are checked on the way: only who has read to the end knows that they were right.

        Raises:
            CorruptContentError: They are missing; or, from a ``read`` of the stream, at the latest at the end: they are damaged.
        """

    def path(self, digest: str) -> Path | None:
        """Return the file that holds the bytes as they are, where there is one."""

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``. Reads all of them, in constant memory."""


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors, so that texts about the same thing point the same way.

    Called from any thread, and from several processes at once. It may be slow and it may fail: a passage whose vector could not be made
    is found by its words, and embedded later.

    It may have an attribute ``least_cosine``: what shares no word with a query and is not that near to it is no answer to it. Without
    one, the nearest are given, however far they are.
    """

    @property
    def identity(self) -> str:
        """Names everything that the vectors depend on: name, model, version. Another identity means another index."""

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; always the same for one identity."""

    def passages(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector for each text, of any length but finite; compared by their angle. Zeros where a text says nothing.

        A text is an artifact's title, a line break, and a passage. An array of numpy will do as well.

        Raises:
            Exception: Any: the passages are kept without vectors, and tried again when the index is next brought up to date.
        """

    def query(self, text: str) -> Sequence[float]:
        """Return the vector of what somebody asks for.

        Raises:
            Exception: Any: the search goes by words alone, unless vectors alone were asked for.
        """
