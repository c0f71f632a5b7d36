"""The store for many machines: one schema in a PostgreSQL database."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self, cast

from vespera_orchestrator._codec import dump_time, load_time
from vespera_orchestrator._model import Attempt, Claim, utcnow
from vespera_orchestrator.errors import TaskNotFoundError
from vespera_orchestrator.stores.postgres.server import COPY_FROM, Address, Server, Transaction
from vespera_orchestrator.stores.sql import planning
from vespera_orchestrator.stores.sql import rows as _sql
from vespera_orchestrator.stores.sql.ledger import PostgresLedger
from vespera_orchestrator.stores.sql.lifecycle import Operations

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from vespera_orchestrator._model import Artifact, ArtifactDraft, Task
    from vespera_orchestrator.stores.sql.lifecycle import Connection

_EDGES: Final = """
    (SELECT json_agg(json_build_array(needs_id, on_outcome) ORDER BY position) FROM dependencies WHERE dependencies.task_id = tasks.id)
"""
_TASK: Final = _sql.prefixed(_sql.TASK, "tasks")
_BEST: Final = f"""
    WITH due AS MATERIALIZED (
        SELECT EXISTS (SELECT 1 FROM attempts WHERE ended_at IS NULL AND lease_until < ?1) AS lapsed,
            EXISTS (SELECT 1 FROM tasks WHERE session_id = ?2 AND weighed = 0) AS unweighed
    ), best AS MATERIALIZED (
        SELECT seq FROM tasks
        WHERE session_id = ?2 AND status = 'pending' AND blockers = 0 AND (?5 = 1 OR NOT (SELECT lapsed OR unweighed FROM due))
        ORDER BY priority DESC, urgency DESC, tasks.seq LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ), started AS (
        UPDATE tasks SET status = 'in_progress', attempts = attempts + 1, updated_at = ?1
        FROM best WHERE tasks.seq = best.seq RETURNING tasks.*
    ), attempt AS (
        INSERT INTO attempts ({_sql.ATTEMPT}) SELECT id, attempts, ?3, ?1, ?1 + ?4, ?1, NULL, NULL, NULL FROM started
    )
    SELECT lapsed, unweighed, {_TASK}, {_EDGES} FROM due LEFT JOIN started AS tasks ON true
"""
"""Take the best ready task: look for it, lock it unless somebody else has, hold it, and open the attempt, in one statement. It does nothing
but tell when there is something to be done before, lapsed holds or tasks that were not weighed. ``?1`` now, ``?4`` the length of the lease,
both in microseconds."""


_COUNT_DOWN: Final = """
    WITH lighter AS (
        UPDATE dependencies SET met = 1
        WHERE needs_id = ?1 AND governed = 0 AND met = 0 AND on_outcome IN (SELECT value FROM json_each(?2)) RETURNING task_id
    ), counted AS (
        UPDATE tasks SET blockers = blockers - 1 FROM lighter WHERE tasks.id = lighter.task_id
    )
    SELECT task_id FROM dependencies JOIN tasks ON tasks.id = task_id
    WHERE needs_id = ?1 AND tasks.status = 'pending'
        AND (governed = 1 OR (met = 0 AND on_outcome IN (SELECT value FROM json_each(?3))))
    ORDER BY tasks.seq
"""
"""Count down what waited for an outcome that has come, and tell what must be looked at: all in one statement. The rows that are counted
down may be locked in any order: nobody who holds one of them waits for another."""
_BEST_PATIENTLY: Final = _BEST.replace(" SKIP LOCKED", "")
"""The same, waiting for whoever has locked it."""


class PostgresStore(Operations):
    """Keeps `contracts.Store` in a schema of a PostgreSQL database, for any number of machines. Made by `open`.

    What changes one task locks that task's row only. What may change several locks the row of their session first, so that within a
    session nothing of that kind goes on twice, and no two can wait for each other. Last of all comes the lock under which events are told.
    Time is the server's.
    """

    _database: Server

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], datetime] = utcnow) -> Self:
        """Open the store at *url*, making its tables when they are missing. Several processes may do so at once.

        Args:
            url: ``postgresql://user@host/database``, with whatever libpq understands behind a ``?``, and ``schema=`` for the schema that
                holds the tables, ``vespera`` by default. It must be empty, missing, or ours.
            clock: Tells the time, aware, for leases and events; by default the server does.

        Raises:
            SchemaVersionError: The schema was made by a newer version, or by another program.
            StoreUnavailableError: The server cannot be reached, or refuses.
            InvalidInputError: The address cannot be understood.
            MissingDependencyError: The extra ``postgres`` is not installed.
        """
        return cls(Server(Address(url), None if clock is utcnow else lambda: dump_time(clock())))

    @property
    def url(self) -> str:
        """The address under which another process opens the same store, password included."""
        return self._database.address.url

    @cached_property
    def identity(self) -> str:
        """See `contracts.Store.identity`: the server by its own number, whatever it is called, the database, the schema, and its making."""
        sql = """
            SELECT system_identifier, current_database(), applied_at
            FROM pg_control_system(), vespera_migrations WHERE version = 1
        """
        with self._looking() as db:
            server, database, made_at = db.execute(sql).fetchone()
        return f"PostgreSQL server {server}, database {database}, schema {self._database.address.schema}, made at {made_at}"

    def __repr__(self) -> str:
        return f"PostgresStore({self._database.name!r})"

    def close(self) -> None:
        """Let go of the connections. Idempotent."""
        self._database.close()

    # --- transactions and locks ---------------------------------------------

    def _change(
        self, *, session_id: str | None = None, task_id: str | None = None
    ) -> AbstractContextManager[Connection]:
        return self._database.write(session_id=session_id, task_id=task_id)

    def _looking(self) -> AbstractContextManager[Connection]:
        return self._database.look()

    def _task(self, db: Connection, task_id: str) -> Task:
        """Read a task; what is going to write locks it first, and sees it as whoever had it locked has left it."""
        lock = "FOR NO KEY UPDATE OF tasks" if cast("Transaction", db).writing else ""
        row = db.execute(
            f"SELECT {_TASK}, {_EDGES} FROM tasks WHERE id = ? {lock}", (task_id,)
        ).fetchone()
        if row is None:
            raise TaskNotFoundError(task_id)
        return _read_task(row)

    def find_task(self, ref: str, session_id: str | None) -> Task | None:
        """See `contracts.Store.find_task`."""
        with self._database.look() as db:
            sql = f"SELECT {_TASK}, {_EDGES} FROM tasks WHERE id = ?1 OR (session_id = ?2 AND alias = ?1) ORDER BY id <> ?1 LIMIT 1"
            row = db.execute(sql, (ref, session_id)).fetchone()
            return None if row is None else _read_task(row)

    def _require_session(self, db: Connection, session_id: str) -> None:
        if cast("Transaction", db).alone_in != session_id:
            super()._require_session(db, session_id)

    def _weigh_all(self, db: Connection, session_id: str) -> None:
        planning.weigh(db, session_id, ahead=True)

    def _count_down(
        self, db: Connection, task_id: str, met: list[str], never: list[str]
    ) -> list[str]:
        rows = db.execute(_COUNT_DOWN, (task_id, json.dumps(met), json.dumps(never))).fetchall()
        return [row[0] for row in rows]

    # --- writing ------------------------------------------------------------

    def _record(self, db: Connection, rows: list[_sql.Row]) -> None:
        cast("Transaction", db).events.extend(rows)

    def _insert(self, db: Connection, table: str, columns: str, rows: list[_sql.Row]) -> None:
        if len(rows) < COPY_FROM:
            super()._insert(db, table, columns, rows)
        else:
            cast("Transaction", db).copy(table, columns, rows)

    def _insert_tasks(self, db: Connection, tasks: list[Task], *others: Any) -> None:
        planned = cast("Transaction", db).planned
        for task in tasks:
            kind = task.session_id, int(task.task_type == "recovery")
            planned[kind] = planned.get(kind, 0) + 1
        super()._insert_tasks(db, tasks, *others)

    def _save_artifact(
        self,
        db: Connection,
        session_id: str,
        draft: ArtifactDraft,
        task_id: str | None,
        attempt: int | None,
        agent: str | None,
    ) -> Artifact:
        if cast("Transaction", db).alone_in is None:
            # Two that save under one title make two versions of it, one after the other.
            locked = (
                task_id
                and db.execute(
                    "SELECT 1 FROM tasks WHERE id = ? FOR NO KEY UPDATE", (task_id,)
                ).fetchone()
            )
            if not locked:
                db.execute("SELECT 1 FROM sessions WHERE id = ? FOR NO KEY UPDATE", (session_id,))
        return super()._save_artifact(db, session_id, draft, task_id, attempt, agent)

    _steady = "FOR SHARE"

    # --- claims -------------------------------------------------------------

    def claim(
        self,
        session_id: str,
        agent: str,
        *,
        task_id: str | None = None,
        lease_s: float,
        take_over: bool = False,
    ) -> Claim | None:
        """See `contracts.Store.claim`."""
        if task_id is not None:
            return self._claim_named(task_id, agent, lease_s, take_over=take_over)
        lapsed, unweighed, claim = self._claim_best(session_id, agent, lease_s, _BEST)
        for last in (False, True):
            if lapsed:
                self.expire()
            if unweighed:
                self._weigh(session_id)
            if lapsed or unweighed:
                lapsed, unweighed, claim = self._claim_best(
                    session_id, agent, lease_s, _BEST, anyway=last
                )
        if claim is None:  # what is ready may have been locked by somebody who does not take it
            *_, claim = self._claim_best(session_id, agent, lease_s, _BEST_PATIENTLY, anyway=True)
        return claim

    def _claim_best(
        self, session_id: str, agent: str, lease_s: float, sql: str, *, anyway: bool = False
    ) -> tuple[bool, bool, Claim | None]:
        with self._database.write() as db:
            now = self._database.clock()
            length = self._until(0, lease_s)
            lapsed, unweighed, *row = cast(
                "_sql.Row", db.execute(sql, (now, session_id, agent, length, anyway)).fetchone()
            )
            if row[0] is None:
                return lapsed, unweighed, None
            task = _read_task(row)
            self._event(db, "task_started", session_id, task.id, agent, {"attempt": task.attempts})
            before = self._last_checkpoint(db, task.id) if task.attempts > 1 else None
            return (
                False,
                False,
                Claim(
                    task=task,
                    attempt=Attempt(
                        task_id=task.id,
                        number=task.attempts,
                        agent=agent,
                        started_at=load_time(now),
                        lease_until=load_time(now + length),
                        last_sign_at=load_time(now),
                    ),
                    resumed_from=before,
                ),
            )

    def _claim_named(self, task_id: str, agent: str, lease_s: float, *, take_over: bool) -> Claim:
        if take_over:
            with self._change(task_id=task_id) as db:
                self._expire(db, task_id)
                return self._claim(db, self._task(db, task_id), agent, lease_s)
        self.expire()
        with self._writing() as db:
            return self._claim(db, self._task(db, task_id), agent, lease_s)

    def _lapsed(self, db: Connection) -> list[Attempt]:
        """Lock the tasks of this session whose hold seems to have lapsed, then look again: a holder may have renewed meanwhile."""
        sql = """
            SELECT tasks.id FROM attempts JOIN tasks ON tasks.id = task_id
            WHERE session_id = ? AND attempts.ended_at IS NULL AND lease_until < ? ORDER BY tasks.id FOR NO KEY UPDATE OF tasks
        """
        now = self._database.clock()
        found = [
            row[0] for row in db.execute(sql, (cast("Transaction", db).alone_in, now)).fetchall()
        ]
        if not found:
            return []
        sql = f"""
            SELECT {_sql.ATTEMPT} FROM attempts
            WHERE task_id IN (SELECT value FROM json_each(?)) AND ended_at IS NULL AND lease_until < ? ORDER BY lease_until
        """
        return [
            _sql.read_attempt(row) for row in db.execute(sql, (json.dumps(found), now)).fetchall()
        ]

    def expire(self) -> list[Attempt]:
        """See `contracts.Store.expire`."""
        sql = f"""
            SELECT DISTINCT session_id FROM attempts JOIN tasks ON tasks.id = task_id
            WHERE attempts.ended_at IS NULL AND lease_until < {self._database.time} ORDER BY session_id
        """
        with self._database.look() as db:
            sessions = [row[0] for row in db.execute(sql).fetchall()]
        lapsed: list[Attempt] = []
        for session_id in sessions:
            with self._change(session_id=session_id) as db:
                lapsed += self._expire(db)
        return lapsed

    def ledger(self, *, write: bool = False) -> AbstractContextManager[PostgresLedger]:
        """See `contracts.Store.ledger`."""
        return PostgresLedger.of(self._database, write=write)

    def wait(self, after: int, timeout_s: float) -> None:
        """See `contracts.Store.wait`."""
        self._database.wait(lambda: self.last_seq() > after, timeout_s)


def _read_task(row: _sql.Row) -> Task:
    return _sql.read_task(
        row[:-1], tuple([_sql.read_edge(needs, on) for needs, on in row[-1] or ()])
    )
