"""The store for many machines: one schema in a PostgreSQL database."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import utcnow
from vespera_orchestrator.stores.postgres.address import Address
from vespera_orchestrator.stores.postgres.claims import TakenBest, take_best
from vespera_orchestrator.stores.postgres.foresight import Foresight
from vespera_orchestrator.stores.postgres.ledger import PostgresLedger
from vespera_orchestrator.stores.postgres.server import Server
from vespera_orchestrator.stores.sql import claims, expiring, reading, timing
from vespera_orchestrator.stores.sql.store import SQLStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from vespera_orchestrator._model import Attempt, Claim
    from vespera_orchestrator.stores.postgres.transaction import Transaction
    from vespera_orchestrator.stores.sql.observers import Observer


class PostgresStore(SQLStore):
    """Keeps `contracts.Store` in a schema of a PostgreSQL database, for any number of machines.

    Made by `open`. What changes one task locks that task's row only. What may change several locks
    the row of their session first. So within a session nothing of that kind happens twice at a
    time, and no two can wait for each other. The last lock is the one under which events are
    written. Time is the server's.
    """

    def __init__(self, server: Server, clock: Callable[[], datetime] | None = None) -> None:
        self._database = server
        self._foresight = Foresight(self, clock) if server.readonly else None

    @classmethod
    def open(
        cls, url: str, *, clock: Callable[[], datetime] = utcnow, readonly: bool = False
    ) -> Self:
        """Open the store at *url*; make its tables if they are missing.

        Several processes may do so at once.

        Args:
            url: ``postgresql://user@host/database``, with whatever libpq understands behind a
                ``?``, and ``schema=`` for the schema that holds the tables, ``vespera`` by
                default. It must be empty, missing, or ours.
            clock: Returns the time, aware, for leases and events; by default the server's is used.
            readonly: Only read it, in transactions that the server keeps from writing. A user
                with the right to read the tables is enough.

        Raises:
            SchemaVersionError: The schema was made by a newer version, or by another program; or
                (readonly) by an earlier one.
            StoreUnavailableError: The server cannot be reached, or refuses.
            InvalidInputError: The address cannot be understood.
            MissingDependencyError: The extra ``postgres`` is not installed.
        """
        if clock is utcnow:
            return cls(Server(Address(url), None, readonly=readonly))
        return cls(Server(Address(url), lambda: dump_time(clock()), readonly=readonly), clock)

    @property
    def url(self) -> str:
        """The address under which another process opens the same store, password included."""
        return self._database.address.url

    @cached_property
    def identity(self) -> str:
        """See `contracts.Store.identity`.

        The server by its own number, whatever address it has, the database, the schema, and when
        that was made.
        """
        sql = """
            SELECT system_identifier, current_database(), applied_at
            FROM pg_control_system(), vespera_migrations WHERE version = 1
        """
        with self._read_once() as tx:
            server, database, made_at = tx.execute(sql).fetchone()
        schema = self._database.address.schema
        return (
            f"PostgreSQL server {server}, database {database}, schema {schema}, made at {made_at}"
        )

    def __repr__(self) -> str:
        return f"PostgresStore({self._database.name!r})"

    def close(self) -> None:
        """Close the connections. Idempotent."""
        if self._foresight is not None:
            self._foresight.close()
        self._database.close()

    # --- transactions -------------------------------------------------------

    def _write(self) -> AbstractContextManager[Transaction]:
        return self._database.write()

    def _change(
        self, *, session_id: str | None = None, task_id: str | None = None
    ) -> AbstractContextManager[Transaction]:
        return self._database.write(session_id=session_id, task_id=task_id)

    def _read(self) -> AbstractContextManager[Transaction]:
        return self._database.read()

    def _read_once(self) -> AbstractContextManager[Transaction]:
        return self._database.read_once()

    def _is_reading(self) -> bool:
        return self._database.is_in_transaction

    def _weigh(self, session_id: str) -> None:
        if not self._database.readonly:  # otherwise the order is as the last writer left it
            super()._weigh(session_id)

    # --- claims -------------------------------------------------------------

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
        if task_id is None:
            return self._claim_best(session_id, agent, lease_s, process, parents=parents)
        if take_over:
            with self._change(task_id=task_id) as tx:
                expiring.expire(tx, task_id, taken_by=agent)
                task = reading.task(tx, task_id)
                return claims.claim(tx, task, agent, lease_s, process=process, for_anybody=True)
        self.expire()
        with self._write() as tx:
            task = reading.task(tx, task_id)
            return claims.claim(tx, task, agent, lease_s, process=process)

    def _claim_best(
        self, session_id: str, agent: str, lease_s: float, process: str, *, parents: bool | None
    ) -> Claim | None:
        def take(**options: bool) -> TakenBest:
            with self._write() as tx:
                return take_best(
                    tx, session_id, agent, lease_s, process, parents=parents, **options
                )

        best = take()
        for in_any_case in (False, True):
            if best.expired:
                self.expire()
            if best.unweighed:
                self._weigh(session_id)
            if best.expired or best.unweighed:
                best = take(in_any_case=in_any_case)
        if best.claim is None:
            # A process that does not take it in the end may have locked what is ready.
            best = take(in_any_case=True, wait=True)
        return best.claim

    def expire(self, *, is_gone: Callable[[str], bool] | None = None) -> list[Attempt]:
        """See `contracts.Store.expire`."""
        now = self._database.time
        is_due = expiring.lease_is_due(now)
        sql = f"""
            SELECT session_id, process, {is_due}
            FROM attempts JOIN tasks ON tasks.id = task_id
            WHERE attempts.ended_at IS NULL AND ({is_due} OR process <> '')
            UNION SELECT session_id, '', true FROM tasks WHERE {timing.wakes(now)}
            UNION SELECT session_id, '', true FROM tasks WHERE {timing.begins_to_press(now)}
        """
        with self._read_once() as tx:
            rows = tx.execute(sql).fetchall()
        dead = expiring.dead_among({process for _, process, _ in rows}, is_gone)
        sessions = sorted({row[0] for row in rows if row[2] or row[1] in dead})
        if self._foresight is not None:
            if sessions:
                self._foresight.look_ahead(is_gone)
            return []
        expired: list[Attempt] = []
        for session_id in sessions:
            with self._change(session_id=session_id) as tx:
                expired += expiring.expire(tx, dead=dead)
        return expired

    # --- the rest -----------------------------------------------------------

    def first_row(self, sql: str) -> tuple[Any, ...]:
        """Return the first row of the answer to a query without parameters."""
        with self._read_once() as tx:
            row: tuple[Any, ...] = tx.execute(sql).fetchone()
        return row

    def observe(self, callback: Observer) -> Callable[[], None]:
        """See `contracts.Store.observe`."""
        return self._database.observers.add(callback)

    def wait(self, after: int, timeout_s: float) -> None:
        """See `contracts.Store.wait`."""

        def has_news() -> bool:
            return self.last_seq() > after

        self._database.wait(has_news, timeout_s)

    def shrink(
        self,
        *,
        rewrite: bool = False,  # noqa: ARG002 - the contract has it
        erase: bool = False,  # noqa: ARG002 - the contract has it
    ) -> int:
        """See `contracts.Store.shrink`. The server uses the room again by itself."""
        return 0

    def ledger(self, *, write: bool = False) -> AbstractContextManager[PostgresLedger]:
        """See `contracts.Store.ledger`."""
        return PostgresLedger.open(self._database, write=write)
