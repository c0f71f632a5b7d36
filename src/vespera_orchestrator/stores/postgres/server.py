"""One PostgreSQL database: its connections and its transactions."""

from __future__ import annotations

import hashlib
import logging
import os
import select
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._version import __version__
from vespera_orchestrator.errors import (
    ClosedError,
    CorruptStoreError,
    InvalidInputError,
    OutcomeUnknownError,
    ReadOnlyError,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
)
from vespera_orchestrator.stores.postgres import foreign
from vespera_orchestrator.stores.postgres.driver import adapt, psycopg
from vespera_orchestrator.stores.postgres.errors import LOCK_WAIT_S, translate
from vespera_orchestrator.stores.postgres.foreign import read_programs
from vespera_orchestrator.stores.postgres.schema import MIGRATIONS
from vespera_orchestrator.stores.postgres.transaction import (
    COPY_FROM_ROWS,
    SERVER_TIME,
    Transaction,
)
from vespera_orchestrator.stores.sql import nesting, rows
from vespera_orchestrator.stores.sql.observers import Observers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator._model import Event
    from vespera_orchestrator.stores.postgres.address import Address
    from vespera_orchestrator.stores.postgres.foreign import Program

log = logging.getLogger("vespera_orchestrator")

STALLED_S: Final = 120
"""How long a client may be silent in the middle of a transaction, in seconds.

Then the server takes it for stopped, and lets others go on.
"""
ASK_AGAIN_S: Final = 5.0
"""How long to ask whether a change was written, when the connection was lost at that moment."""
LOOK_AGAIN_S: Final = 1.0
"""How often a watcher looks by itself, in seconds, in case a notification is lost."""
_NEWEST_EVENTS: Final = 10_000
"""How many of the newest events are searched for one that was just written."""
_HAS_EVENT: Final = f"""
    SELECT 1 FROM (SELECT * FROM events ORDER BY seq DESC LIMIT {_NEWEST_EVENTS}) AS newest
    WHERE (at, kind, data) = (%s, %s, %s)
        AND (session_id, task_id, agent) IS NOT DISTINCT FROM (%s::text, %s::text, %s::text)
"""

_TURNS: Final = 3
"""How many transactions show whether a pooler gives them different connections."""
_POOLER: Final = (
    "leads to a pooler in transaction mode, where settings and statements of one client reach "
    "another; use session pooling (pgbouncer: pool_mode = session), or the server's own address"
)
_NEWEST_VERSION: Final = "SELECT coalesce(max(version), 0) FROM vespera_migrations"

_PROGRAMS_NAMED: Final = 5
_ENDLESS: Final = (
    f"a statement was cancelled after {foreign.LIMIT_S} s: a view, a trigger or a function that "
    "somebody put into it does not end; orch.check() names it"
)


class _BoolAsInt(adapt.Dumper):
    """Truth is 0 or 1, as in SQLite."""

    oid = 21

    def dump(self, obj: bool) -> bytes:  # noqa: FBT001 - the signature is psycopg's
        return b"1" if obj else b"0"


def _process_number(connection: psycopg.Connection[Any]) -> int:
    """Ask which of the server's processes runs a transaction; nothing is prepared for it."""
    cursor = psycopg.ClientCursor(connection)
    ((number,),) = cursor.execute("SELECT pg_backend_pid()").fetchall()
    return int(number)


class Server:
    """Connections to one database, as many as threads use at once.

    A forked child opens its own.

    Events become visible in the order of their ``seq``. Whoever writes some first takes a lock of
    the whole schema and holds it until its commit. All of that is sent in one message, so that
    nobody waits for a slow client. It is the last lock of every transaction.
    """

    def __init__(
        self, address: Address, clock: Callable[[], int] | None, *, readonly: bool = False
    ) -> None:
        self.address = address
        self.readonly = readonly
        """Whether the server is told that nothing may be written."""
        self._clock = clock
        self.observers = Observers()
        """Whoever is told what this object has written."""
        self._forget()
        self._closed = False
        self._has_programs = False
        """Whether somebody put something into the schema that runs with our statements."""
        digest = hashlib.sha256(f"vespera_orchestrator {address.schema}".encode()).digest()
        key = int.from_bytes(digest[:7], "big") << 2
        self.log_key, self.watch_key, self.gate_key = key, key + 1, key + 2
        with self._translated():
            connection = self._connect()
            self._refuse_transaction_pooler(connection)
            self._idle.append(self._prepared(connection))

    def _forget(self) -> None:
        self._pid = os.getpid()
        # A signal handler may call in the middle of whatever this thread does with the pools.
        self._lock = threading.RLock()
        self._abandoned: list[psycopg.Connection[Any]] = [
            *getattr(self, "_idle", ()),
            *getattr(self, "_listening", ()),
        ]
        self._idle: list[psycopg.Connection[Any]] = []
        self._listening: list[psycopg.Connection[Any]] = []
        self._local = threading.local()

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return self.address.name

    def __repr__(self) -> str:
        return f"<Server {self.name}>"

    def close(self) -> None:
        """Close every connection. Idempotent."""
        self._closed = True
        if self._pid == os.getpid():
            with self._lock:
                for connection in (*self._idle, *self._listening):
                    connection.close()
                self._idle.clear()
                self._listening.clear()

    # connections

    def _refuse_transaction_pooler(self, connection: psycopg.Connection[Any]) -> None:
        """Refuse a pooler that gives each transaction another connection to the server.

        Our settings, such as the schema, and our prepared statements belong to one connection to
        the server. Behind such a pooler, the statements of its other clients would run in our
        schema, and ours in theirs. Nothing is set before this check.

        A pooler makes up the process number that it gives to its clients. Only where it differs
        from the server's own is it tried whether transactions change their process.

        Raises:
            InvalidInputError: It is one; with what to do.
        """
        try:
            process = _process_number(connection)
            if process == connection.info.backend_pid:
                return
            with self._connect() as other:
                is_shared = _process_number(other) == process
            if not is_shared:
                # At least two connections to the server are idle now, and the pooler takes turns.
                later = [_process_number(connection) for _ in range(_TURNS)]
                is_shared = any(number != process for number in later)
        except BaseException:
            connection.close()
            raise
        if is_shared:
            connection.close()
            raise InvalidInputError("store", f"{self.name} {_POOLER}")

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(
            **self.address.parameters,  # type: ignore[arg-type]
            autocommit=True,
            prepare_threshold=1,
        )
        connection.adapters.register_dumper(bool, _BoolAsInt)
        connection.prepared_max = 300
        return connection

    def _prepared(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        """Set up a new connection: our schema, bounded waits, and a schema version that we know."""
        try:
            connection.execute(self._settings().encode())
            self._look_at_programs(connection)
            version = self._version(connection)
            if version < len(MIGRATIONS):
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _settings(self) -> str:
        readonly = "SET default_transaction_read_only = on; " if self.readonly else ""
        return (
            f"{readonly}SET search_path = {self.address.schema}; "
            f"SET lock_timeout = '{LOCK_WAIT_S}s'; "
            f"SET idle_in_transaction_session_timeout = '{STALLED_S}s'; "
            "SET client_min_messages = warning; "
        )

    def _look_at_programs(self, connection: psycopg.Connection[Any]) -> None:
        """Limit every statement where something in the schema might never end.

        Raises:
            InvalidInputError: A role that cannot act as ours put it there: it would gain our
                rights on the server.
        """
        run = psycopg.ClientCursor(connection).execute
        programs = read_programs(lambda sql: run(sql.encode()).fetchall())
        others = [program for program in programs if not program.is_ours]
        strangers = [program for program in others if not program.owner_may_act_as_us]
        if strangers:
            raise InvalidInputError("store", _of_a_stranger(self.name, strangers[0]))
        if not others:
            return
        if not self._has_programs:
            self._has_programs = True
            named = ", ".join(str(program) for program in others[:_PROGRAMS_NAMED])
            message = "%s holds what this library did not make: %s; orch.check() says what to do"
            log.warning(message, self.name, named)
        connection.execute(f"SET statement_timeout = '{foreign.LIMIT_S}s'".encode())

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        try:
            ((version,),) = connection.execute(_NEWEST_VERSION.encode()).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return 0
        if version > len(MIGRATIONS):
            raise SchemaVersionError(self.name, version, len(MIGRATIONS))
        return int(version)

    def _migrate(self, connection: psycopg.Connection[Any]) -> None:
        """Take every step that is missing, in one transaction: all of them or none."""
        if self.readonly:
            raise SchemaVersionError(self.name, self._version(connection), len(MIGRATIONS))
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (self.log_key,))
            # Another process may have been faster, so the version is read again under the lock.
            version = self._version_under_lock(connection)
            for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
                connection.execute(step.encode())
                record = f"INSERT INTO vespera_migrations VALUES (%s, {SERVER_TIME}, %s)"
                connection.execute(record.encode(), (number, __version__))

    def _version_under_lock(self, connection: psycopg.Connection[Any]) -> int:
        """Return the schema's version; make the schema where there is none."""
        schema = self.address.schema
        sql = "SELECT to_regclass(%s)::text"
        table = connection.execute(sql, (f"{schema}.vespera_migrations",)).fetchone()
        if table is not None and table[0] is not None:
            row = connection.execute(_NEWEST_VERSION.encode()).fetchone()
            return int(row[0]) if row else 0
        self._refuse_foreign(connection)
        sql = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if not connection.execute(sql, (schema,)).fetchone():
            connection.execute(f"CREATE SCHEMA {schema}".encode())
        return 0

    def _refuse_foreign(self, connection: psycopg.Connection[Any]) -> None:
        sql = """
            SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE nspname = %s LIMIT 1
        """
        if connection.execute(sql, (self.address.schema,)).fetchone():
            raise SchemaVersionError(
                f"{self.name} (schema {self.address.schema})", -1, len(MIGRATIONS)
            )

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        if self._closed:
            raise ClosedError
        if self._pid != os.getpid():
            self._forget()
        connection = self._take(self._idle) or self._prepared(self._connect())
        try:
            yield connection
        finally:
            self._give_back(connection, self._idle)

    def _take(self, pool: list[psycopg.Connection[Any]]) -> psycopg.Connection[Any] | None:
        while True:
            with self._lock:
                connection = pool.pop() if pool else None
            if connection is None or not _was_cut(connection):
                return connection
            connection.close()

    def _give_back(
        self, connection: psycopg.Connection[Any], pool: list[psycopg.Connection[Any]]
    ) -> None:
        idle = connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._lock:
            if idle and not self._closed:
                pool.append(connection)
                return
        connection.close()

    # time

    @property
    def time(self) -> str:
        """The time now, as an expression that lets an index serve a single statement."""
        if self._clock is not None:
            return f"{self._clock()}::bigint"
        return SERVER_TIME.replace("clock_", "statement_")

    # transactions

    @contextmanager
    def read_once(self) -> Iterator[Transaction]:
        """Begin a single read; within a transaction of this thread, join it."""
        current = self._current()
        if current is not None:
            yield current
            return
        with (
            self._translated(),
            self._connection() as connection,
            self._transaction(connection, writing=False) as tx,
        ):
            yield tx

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Begin several reads that see one state; within a transaction of this thread, join it."""
        current = self._current()
        if current is not None:
            yield current
            return
        with self.read_once() as tx:
            tx.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield tx
            tx.connection.execute("COMMIT")

    @contextmanager
    def write(
        self, *, session_id: str | None = None, task_id: str | None = None, alone: bool = False
    ) -> Iterator[Transaction]:
        """Begin a transaction: committed if the block ends well, undone whatever else ends it.

        With a session, or a task of it, it waits until no other such transaction of that session
        is under way; *alone*, until none at all is.

        Raises:
            StoreBusyError: This thread is in another transaction, which a signal handler or a
                callback interrupts.
        """
        if self._in_transaction() is not None:
            raise StoreBusyError(self.name)
        if self.readonly:
            raise ReadOnlyError.opened_readonly(self.name)
        recorded: list[Event] = []
        with (
            self._translated(),
            self._connection() as connection,
            self._transaction(connection, writing=True) as tx,
        ):
            self._begin(tx, session_id, task_id, alone=alone)
            yield tx
            if tx.events:
                recorded = self._commit(tx)
            else:
                connection.execute("COMMIT")
        self.observers.tell(recorded)

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread is in the middle of a transaction."""
        return self._in_transaction() is not None

    def _in_transaction(self) -> Transaction | None:
        """Return the transaction that this thread is in."""
        if self._pid != os.getpid():
            return None
        tx: Transaction | None = getattr(self._local, "transaction", None)
        if tx is None or nesting.is_running(tx.opener):
            return tx
        # An interruption left it open, with its locks: nobody works on it any more.
        self._local.transaction = None
        tx.connection.close()
        return None

    def _current(self) -> Transaction | None:
        """Return the transaction of this thread that a read can join.

        None can in the middle of a statement, when a signal handler reads: psycopg would wait for
        itself.
        """
        tx = self._in_transaction()
        return None if tx is None or tx.connection.lock.locked() else tx

    @contextmanager
    def _transaction(
        self, connection: psycopg.Connection[Any], *, writing: bool
    ) -> Iterator[Transaction]:
        outer = getattr(self._local, "transaction", None)
        tx = Transaction(connection, self._clock, writing=writing)
        tx.opener = nesting.opener()
        self._local.transaction = tx
        try:
            yield tx
        finally:
            # An interruption may fall between any two lines: what is left over is undone.
            tx.opener = None
            # After an interruption this may come late, when another transaction is under way.
            if getattr(self._local, "transaction", None) is tx:
                self._local.transaction = outer
            status = connection.pgconn.transaction_status
            if status == psycopg.pq.TransactionStatus.ACTIVE:
                connection.close()
            elif status in {
                psycopg.pq.TransactionStatus.INTRANS,
                psycopg.pq.TransactionStatus.INERROR,
            }:
                with suppress(psycopg.Error):
                    connection.execute("ROLLBACK")

    def _begin(
        self, tx: Transaction, session_id: str | None, task_id: str | None, *, alone: bool
    ) -> None:
        gate = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
        script = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {gate}({self.gate_key});"
        values: list[str] = []
        if session_id is not None:
            script += " SELECT id FROM sessions WHERE id = %s FOR NO KEY UPDATE;"
            values.append(session_id)
        elif task_id is not None:
            owner = "SELECT session_id FROM tasks WHERE id = %s"
            script += f" SELECT id FROM sessions WHERE id = ({owner}) FOR NO KEY UPDATE;"
            values.append(task_id)
        script += f" SELECT pg_current_xact_id()::text, {SERVER_TIME}, ({_NEWEST_VERSION})"
        _, _, *locked, ((tx.xid, server_time, version),) = tx.execute_script(script, values)
        if version > len(MIGRATIONS):
            raise SchemaVersionError(self.name, version, len(MIGRATIONS))
        tx.set_server_time(server_time)
        if locked and locked[0]:
            ((tx.locked_session,),) = locked[0]

    # commits

    def _commit(self, tx: Transaction) -> list[Event]:
        """Write what is written last, and commit, under the lock that keeps events in order.

        Returns:
            The events, if anybody is to be told of them.
        """
        script, values = self._last_writes(tx)
        if len(tx.events) >= COPY_FROM_ROWS:
            tx.execute_script(script, values)
            tx.copy("events", tx.event_columns, tx.events)
            script, values = "", []
        is_observed = bool(self.observers)
        if is_observed:  # nobody else writes events meanwhile, so the last ones are ours
            columns = rows.EVENT.columns
            script += f"SELECT {columns} FROM events ORDER BY seq DESC LIMIT {len(tx.events)};"
        script += f"""
            SELECT pg_notify('{self.channel}', '') WHERE NOT pg_try_advisory_xact_lock(%s); COMMIT
        """
        values.append(self.watch_key)
        try:
            answers = tx.execute_script(script.strip(), values)
        except psycopg.Error as exc:
            if not tx.connection.closed and not tx.connection.broken:
                raise
            if not self._was_committed(tx):
                raise StoreUnavailableError(
                    self.name, "the connection was lost, and the change with it"
                ) from exc
            return []
        if not is_observed:
            return []
        newest_first = answers[-3]  # before the notification and the commit
        return rows.EVENT.read_all(reversed(newest_first))

    def _last_writes(self, tx: Transaction) -> tuple[str, list[Any]]:
        """Return the statements that write tallies, and few events, with their values."""
        script = "SELECT pg_advisory_xact_lock(%s);"
        values: list[Any] = [self.log_key]
        for (session_id, recovery), tasks in tx.planned.items():
            script += """
                INSERT INTO tallies AS t VALUES (%s, 0, %s, 'pending', %s)
                ON CONFLICT (session_id, archived, recovery, status)
                    DO UPDATE SET tasks = t.tasks + excluded.tasks;
            """
            values += [session_id, recovery, tasks]
        if len(tx.events) < COPY_FROM_ROWS:
            row = "(" + ", ".join(["%s"] * len(tx.events[0])) + ")"
            slots = ", ".join([row] * len(tx.events))
            script += f"INSERT INTO events ({tx.event_columns}) VALUES {slots};"
            for event in tx.events:
                values += event
        return script, values

    @property
    def channel(self) -> str:
        """The channel on which watchers listen."""
        return f"vespera_{self.log_key:x}"

    def _was_committed(self, tx: Transaction) -> bool:
        """Find out whether a transaction that wrote events was committed; wait until it has ended.

        Its number alone does not say: a server that crashed before the commit was on disk gives
        the same number again, to another transaction. So its event must exist as well. (``nox -s
        soak`` found this.)
        """
        at, kind, session_id, task_id, agent, data = tx.events[-1]
        deadline = time.monotonic() + ASK_AGAIN_S
        status = "the server does not answer"
        while time.monotonic() < deadline:
            with suppress(psycopg.Error), self._connect() as other:
                other.execute(self._settings().encode())
                sql = "SELECT coalesce(pg_xact_status(%s::xid8), 'ended')"
                row = other.execute(sql, (tx.xid,)).fetchone()
                status = str(row and row[0])
                if status == "aborted":
                    return False
                if status != "in progress":
                    # A second statement, because that sees what has been committed since.
                    event = (at, kind, data, session_id, task_id, agent)
                    return other.execute(_HAS_EVENT.encode(), event).fetchone() is not None
            time.sleep(0.05)
        raise OutcomeUnknownError(
            self.name, f"its connection was lost while it was written ({status})"
        )

    # waiting

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return when *ready* returns true, or when the time is over.

        It is asked again whenever somebody has written, and at least every second.
        """
        deadline = time.monotonic() + timeout_s
        if ready() or timeout_s <= 0:
            return
        with self._translated(), self._listener() as connection:
            while not ready():
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    return
                for _ in connection.notifies(timeout=min(remaining_s, LOOK_AGAIN_S), stop_after=1):
                    pass

    @contextmanager
    def _listener(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._take(self._listening)
        if connection is None:
            connection = self._prepared(self._connect())
            # Writers look whether anybody holds this lock, and only notify when somebody does.
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (self.watch_key,))
            connection.execute(f"LISTEN {self.channel}".encode())
        try:
            yield connection
        finally:
            self._give_back(connection, self._listening)

    # errors

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.QueryCanceled as exc:
            if self._has_programs:
                raise CorruptStoreError(self.name, _ENDLESS) from exc
            raise translate(exc, self.address) from exc
        except psycopg.Error as exc:
            raise translate(exc, self.address) from exc
        except UnicodeEncodeError as exc:
            raise InvalidInputError(
                "text",
                f"holds half of a surrogate pair at position {exc.start}, which no file can store",
            ) from exc


def _was_cut(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the other side ended an idle connection, as far as is known without asking."""
    if connection.closed or connection.broken:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    # What can still be read is the end of the stream.
    return bool(poll.poll(0)) or connection.broken


def _of_a_stranger(store: str, program: Program) -> str:
    """Say why a store is not opened."""
    return (
        f"{store} has the {program}, put there by the role {program.owner!r}, and it would run "
        f"with your rights on this server; look at it, and remove it: {program.removal}"
    )
