"""One PostgreSQL database: its connections, its transactions, its errors in our words. The only door to psycopg."""

from __future__ import annotations

import hashlib
import os
import re
import select
import threading
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from vespera_orchestrator._version import __version__
from vespera_orchestrator.errors import (
    ClosedError,
    CorruptStoreError,
    InvalidInputError,
    MissingDependencyError,
    OutcomeUnknownError,
    ReadOnlyError,
    SchemaVersionError,
    StoreError,
    StoreUnavailableError,
)
from vespera_orchestrator.stores.postgres.schema import MIGRATIONS
from vespera_orchestrator.stores.sql import planning
from vespera_orchestrator.stores.sql.address import masked

try:
    import psycopg
    from psycopg import adapt
except ImportError as exc:
    raise MissingDependencyError(
        "the PostgreSQL store", "psycopg", "python -m pip install 'vespera-orchestrator[postgres]'"
    ) from exc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

LOCK_WAIT_S: Final = 30
"""How long to wait for another writer before giving up."""
STALLED_S: Final = 120
"""After so long without a word in the middle of a transaction the server takes a client for stopped, and lets others go on."""
ASK_AGAIN_S: Final = 5.0
"""How long to try to learn whether a change was written when the connection was lost in that very moment."""
LOOK_AGAIN_S: Final = 1.0
"""How often a watcher looks by itself, in case a notification is lost."""
COPY_FROM: Final = 32
"""From so many rows on they are copied, not inserted."""
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "application_name": "vespera_orchestrator",
    "client_encoding": "utf8",
}
"""A server that is gone is noticed after a minute, not after two hours. What the address says counts more."""
_SERVER_TIME: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TOLD: Final = """
    SELECT 1 FROM (SELECT * FROM events ORDER BY seq DESC LIMIT 10000) AS newest
    WHERE (at, kind, data) = (%s, %s, %s) AND (session_id, task_id, agent) IS NOT DISTINCT FROM (%s::text, %s::text, %s::text)
"""
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Address:
    """Where a store is: what libpq needs, and the schema. Its password is never shown."""

    def __init__(self, url: str) -> None:
        self.url = url
        head, _, query = url.partition("?")
        words = [word for word in query.split("&") if word]
        self.schema = unquote(
            next((word[7:] for word in words if word.startswith("schema=")), "vespera")
        )
        if not _NAME.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise InvalidInputError(
                "store",
                f"{self.schema!r} is no name for a schema: a small letter, then small letters, digits, _",
            )
        conninfo = head + "?" + "&".join(word for word in words if not word.startswith("schema="))
        try:
            given = psycopg.conninfo.conninfo_to_dict(conninfo)
        except psycopg.Error:
            raise InvalidInputError(
                "store", f"{masked(url)!r} is no address that libpq understands"
            ) from None
        self.parameters = {
            **_DEFAULTS,
            **{name: value for name, value in given.items() if value is not None},
        }
        self.secrets = [
            str(self.parameters[name])
            for name in ("password", "sslpassword")
            if self.parameters.get(name)
        ]

    @property
    def name(self) -> str:
        """The address without its password."""
        return masked(self.url)

    def without_secrets(self, text: str) -> str:
        """Take passwords out of what a server or driver said."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"Address({self.name!r})"


# --- SQL as PostgreSQL words it ----------------------------------------------

_WORDED_ANEW: Final = {
    planning.REACHES: """
        WITH RECURSIVE up (id) AS (
            SELECT json_array_elements_text(?1::json)
            UNION SELECT above.id FROM up CROSS JOIN LATERAL (
                SELECT needs_id FROM dependencies WHERE task_id = up.id
                UNION ALL SELECT tasks.id FROM tasks WHERE parent_task_id = up.id
                UNION ALL SELECT tasks.id FROM tasks
                WHERE recovers_task_id = up.id AND status IN ('pending', 'in_progress', 'blocked')
            ) AS above (id)
        )
        SELECT 1 FROM up WHERE id = ?2 LIMIT 1
    """
}
"""Whole statements that PostgreSQL does not take as SQLite does."""
_WORDS: Final = (
    (
        re.compile(r"IN \(SELECT value FROM json_each\((\?\d*)\)\)"),
        r"= ANY (ARRAY(SELECT json_array_elements_text(\1::json)))",
    ),
    (re.compile(r"(\w+) IS \?"), r"\1 IS NOT DISTINCT FROM ?"),
    (re.compile(r"\binstr\("), "strpos("),
    (re.compile(r"\+session_id\b"), "session_id"),
    (re.compile(r" INDEXED BY \w+"), ""),
    (re.compile(r"\) CROSS JOIN tasks USING \(id\)"), ") AS found JOIN tasks USING (id)"),
)


@lru_cache(maxsize=512)
def in_postgres(sql: str) -> str:
    """Word a statement of the shared operations for PostgreSQL: ``?`` becomes ``$1``, and the few things it says differently."""
    sql = _WORDED_ANEW.get(sql, sql)
    for pattern, word in _WORDS:
        sql = pattern.sub(word, sql)
    number = 0

    def numbered(slot: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return f"${slot[1] or number}"

    return re.sub(r"\?(\d*)", numbered, sql)


class _BoolAsInt(adapt.Dumper):
    """Truth is 0 or 1, as in SQLite."""

    oid = 21

    def dump(self, obj: bool) -> bytes:  # noqa: FBT001 - the signature is psycopg's
        return b"1" if obj else b"0"


# --- transactions ---------------------------------------------------------------


class Transaction:
    """A transaction, or a single statement, on one connection."""

    def __init__(self, connection: psycopg.Connection[Any], *, writing: bool) -> None:
        self.connection = connection
        self.writing = writing
        self.now: int | None = None
        """The time, in microseconds since 1970, as far as it was asked for."""
        self.xid: str | None = None
        self.alone_in: str | None = None
        """The session whose row is locked."""
        self.events: list[Any] = []
        """What is told when all else is written."""
        self.planned: dict[tuple[str, int], int] = {}
        """How many tasks were added, by session and whether they are recoveries."""
        self._pid = os.getpid()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> psycopg.RawCursor[Any]:
        """Run one statement."""
        if self._pid != os.getpid():
            raise StoreUnavailableError(
                "postgresql",
                "this process was forked in the middle of a transaction, which stays the parent's",
            )
        return psycopg.RawCursor(self.connection).execute(in_postgres(sql), parameters)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each row, in one round trip."""
        rows = list(rows)
        if len(rows) == 1:
            self.execute(sql, rows[0])
        elif rows:
            psycopg.RawCursor(self.connection).executemany(in_postgres(sql), rows)

    def copy(self, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
        """Write many rows."""
        with self.connection.cursor().copy(
            f"COPY {table} ({columns}) FROM STDIN".encode()
        ) as target:
            for row in rows:
                target.write_row(row)

    def together(self, sql: str, parameters: Sequence[Any] = ()) -> list[list[Any]]:
        """Send several statements at once, with ``%s`` for values, and return the rows of each."""
        cursor = psycopg.ClientCursor(self.connection)
        cursor.execute(sql.encode(), parameters or None)
        said = []
        while True:
            said.append(cursor.fetchall() if cursor.description is not None else [])
            if not cursor.nextset():
                return said


class Server:
    """Connections to one database, as many as threads use at once. A child made by ``fork`` opens its own.

    Events become visible in the order of their ``seq``: whoever writes some takes a lock of the whole schema first, holds it until its
    commit, and sends both in one message, so that nobody waits for a client that dawdles. It is the last lock of every transaction.
    """

    def __init__(self, address: Address, clock: Callable[[], int] | None) -> None:
        self.address = address
        self._clock = clock
        self._forget()
        self._closed = False
        key = (
            int.from_bytes(
                hashlib.sha256(f"vespera_orchestrator {address.schema}".encode()).digest()[:7],
                "big",
            )
            << 2
        )
        self.log_key, self.watch_key, self.gate_key = key, key + 1, key + 2
        with self._translated():
            self._idle.append(self._prepared(self._connect()))

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
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
            version = self._version(connection)
            if version < len(MIGRATIONS):
                self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _settings(self) -> str:
        return (
            f"SET search_path = {self.address.schema}; SET lock_timeout = '{LOCK_WAIT_S}s'; "
            f"SET idle_in_transaction_session_timeout = '{STALLED_S}s'; SET client_min_messages = warning; "
        )

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        try:
            talk = Transaction(connection, writing=False)
            version = int(
                talk.together(
                    f"{self._settings()} SELECT coalesce(max(version), 0) FROM vespera_migrations"
                )[-1][0][0]
            )
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            connection.execute(self._settings().encode())
            return 0
        if version > len(MIGRATIONS):
            raise SchemaVersionError(self.name, version, len(MIGRATIONS))
        return version

    def _migrate(self, connection: psycopg.Connection[Any]) -> None:
        schema = self.address.schema
        for _ in MIGRATIONS:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (self.log_key,))
                # Another process may have been faster: what is there is looked at again under the lock.
                found = connection.execute(
                    "SELECT to_regclass(%s)::text", (f"{schema}.vespera_migrations",)
                ).fetchone()
                version = 0
                if found is not None and found[0] is not None:
                    row = connection.execute(
                        "SELECT coalesce(max(version), 0) FROM vespera_migrations"
                    ).fetchone()
                    version = int(row[0]) if row else 0
                else:
                    self._refuse_foreign(connection)
                    if not connection.execute(
                        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)
                    ).fetchone():
                        connection.execute(f"CREATE SCHEMA {schema}".encode())
                if version >= len(MIGRATIONS):
                    return
                connection.execute(MIGRATIONS[version].encode())
                record = f"INSERT INTO vespera_migrations VALUES (%s, {_SERVER_TIME}, %s)"
                connection.execute(record.encode(), (version + 1, __version__))

    def _refuse_foreign(self, connection: psycopg.Connection[Any]) -> None:
        sql = "SELECT 1 FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s LIMIT 1"
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

    def clock(self) -> int:
        """Tell the time in microseconds since 1970: the server's, asked once in a transaction, unless a clock was given."""
        if self._clock is not None:
            return self._clock()
        talk: Transaction = self._local.transaction
        if talk.now is None:
            talk.now = int(talk.execute(f"SELECT {_SERVER_TIME}").fetchone()[0])  # type: ignore[index]
        return talk.now

    @property
    def time(self) -> str:
        """The time now, as an expression for a single statement, by which an index can be searched."""
        return (
            _SERVER_TIME.replace("clock_", "statement_")
            if self._clock is None
            else f"{self._clock()}::bigint"
        )

    # transactions

    @contextmanager
    def look(self) -> Iterator[Transaction]:
        """Give a connection for a single read."""
        if (
            current := getattr(self._local, "transaction", None)
        ) is not None and self._pid == os.getpid():
            yield current
            return
        with (
            self._translated(),
            self._connection() as connection,
            self._transaction(connection, writing=False) as talk,
        ):
            yield talk

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a connection for several reads that see one state."""
        if (
            current := getattr(self._local, "transaction", None)
        ) is not None and self._pid == os.getpid():
            yield current
            return
        with (
            self._translated(),
            self._connection() as connection,
            self._transaction(connection, writing=False) as talk,
        ):
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield talk
            connection.execute("COMMIT")

    @contextmanager
    def write(
        self, *, session_id: str | None = None, task_id: str | None = None, alone: bool = False
    ) -> Iterator[Transaction]:
        """Give a connection for one transaction: committed when the block ends well, otherwise undone whatever ended it.

        With a session, or a task of it, it waits until no other such transaction of that session goes on; *alone*, until none at all does.
        """
        with (
            self._translated(),
            self._connection() as connection,
            self._transaction(connection, writing=True) as talk,
        ):
            self._begin(talk, session_id, task_id, alone=alone)
            yield talk
            if talk.events:
                self._tell_and_commit(talk)
            else:
                connection.execute("COMMIT")

    @contextmanager
    def _transaction(
        self, connection: psycopg.Connection[Any], *, writing: bool
    ) -> Iterator[Transaction]:
        before = getattr(self._local, "transaction", None)
        talk = self._local.transaction = Transaction(connection, writing=writing)
        try:
            yield talk
        finally:
            # An interruption may fall between any two lines: what is left over is undone.
            self._local.transaction = before
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
        self, talk: Transaction, session_id: str | None, task_id: str | None, *, alone: bool
    ) -> None:
        sql = f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock{'' if alone else '_shared'}({self.gate_key});"
        values: list[str] = []
        if session_id is not None:
            sql += " SELECT id FROM sessions WHERE id = %s FOR NO KEY UPDATE;"
            values.append(session_id)
        elif task_id is not None:
            sql += " SELECT id FROM sessions WHERE id = (SELECT session_id FROM tasks WHERE id = %s) FOR NO KEY UPDATE;"
            values.append(task_id)
        said = talk.together(f"{sql} SELECT pg_current_xact_id()::text, {_SERVER_TIME}", values)
        talk.xid, talk.now = said[-1][0]
        if values and said[2]:
            talk.alone_in = said[2][0][0]

    def _tell_and_commit(self, talk: Transaction) -> None:
        """Write what is to be written last, and commit with it, under the lock that keeps events in order."""
        sql = "SELECT pg_advisory_xact_lock(%s);"
        values: list[Any] = [self.log_key]
        for (session_id, recovery), tasks in talk.planned.items():
            sql += """
                INSERT INTO tallies AS t VALUES (%s, 0, %s, 'pending', %s)
                ON CONFLICT (session_id, archived, recovery, status) DO UPDATE SET tasks = t.tasks + excluded.tasks;
            """
            values += [session_id, recovery, tasks]
        columns = "at, kind, session_id, task_id, agent, data"
        if len(talk.events) < COPY_FROM:
            sql += f"INSERT INTO events ({columns}) VALUES {', '.join(['(%s, %s, %s, %s, %s, %s)'] * len(talk.events))};"
            values += [value for row in talk.events for value in row]
        else:
            talk.together(sql, values)
            talk.copy("events", columns, talk.events)
            sql, values = "", []
        sql += f" SELECT pg_notify('{self.channel}', '') WHERE NOT pg_try_advisory_xact_lock(%s); COMMIT"
        self._commit(talk, lambda: talk.together(sql, [*values, self.watch_key]))

    @property
    def channel(self) -> str:
        """The channel on which watchers listen."""
        return f"vespera_{self.log_key:x}"

    def _commit(self, talk: Transaction, send: Callable[[], object]) -> None:
        """Send what ends with COMMIT; when the connection is lost in that moment, ask on another one what became of it."""
        try:
            send()
        except psycopg.Error as exc:
            if not talk.connection.closed and not talk.connection.broken:
                raise
            if not self._was_committed(talk):
                raise StoreUnavailableError(
                    self.name, "the connection was lost, and the change with it"
                ) from exc

    def _was_committed(self, talk: Transaction) -> bool:
        """Learn whether a transaction that told events was committed, asking until it has ended.

        Its number alone does not say: a server that crashed before the commit was on disk gives the same number again, to another
        transaction. So what it told must be there as well. (``nox -s soak`` found this.)
        """
        at, kind, session_id, task_id, agent, data = talk.events[-1]
        deadline = time.monotonic() + ASK_AGAIN_S
        said = "the server does not answer"
        while time.monotonic() < deadline:
            with suppress(psycopg.Error), self._connect() as other:
                other.execute(self._settings().encode())
                row = other.execute(
                    "SELECT coalesce(pg_xact_status(%s::xid8), 'ended')", (talk.xid,)
                ).fetchone()
                said = str(row and row[0])
                if said == "aborted":
                    return False
                if (
                    said != "in progress"
                ):  # asked in a statement of its own, which sees what has been committed since
                    return (
                        other.execute(
                            _TOLD, (at, kind, data, session_id, task_id, agent)
                        ).fetchone()
                        is not None
                    )
            time.sleep(0.05)
        raise OutcomeUnknownError(
            self.name, f"its connection was lost while it was written ({said})"
        )

    # waiting

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return when *ready* says so, asked again whenever somebody has written, and every second; or when the time is over."""
        deadline = time.monotonic() + timeout_s
        if ready() or timeout_s <= 0:
            return
        with self._translated(), self._listener() as connection:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                for _ in connection.notifies(timeout=min(left, LOOK_AGAIN_S), stop_after=1):
                    pass

    @contextmanager
    def _listener(self) -> Iterator[psycopg.Connection[Any]]:
        connection = self._take(self._listening)
        if connection is None:
            connection = self._prepared(self._connect())
            # Whoever writes looks whether anybody holds this lock, and spares the notification when nobody does.
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
        except psycopg.Error as exc:
            raise self._in_our_words(exc) from exc
        except UnicodeEncodeError as exc:
            raise InvalidInputError(
                "text",
                f"holds half of a surrogate pair at position {exc.start}, which no file can store",
            ) from exc

    def _in_our_words(self, exc: psycopg.Error) -> StoreError | InvalidInputError:
        code = exc.sqlstate or ""
        said = self.address.without_secrets(" ".join(str(exc).split()))
        if code in {"22P05", "22021"} or (isinstance(exc, psycopg.DataError) and "NUL" in said):
            return InvalidInputError(
                "text",
                f"holds a character that this database cannot store ({said}); nothing was written",
            )
        if isinstance(exc, psycopg.IntegrityError | psycopg.DataError) or code.startswith("22"):
            return InvalidInputError(
                "argument", f"is of a kind that cannot be stored ({said}); nothing was written"
            )
        if code.startswith("XX"):
            return CorruptStoreError(self.name, said)
        if code == "25006":
            return ReadOnlyError(
                self.name, "the server is a read-only replica, or set to read only"
            )
        remedy = _REMEDIES.get(code) or _REMEDIES.get(code[:2])
        return StoreUnavailableError(
            self.name, f"{remedy} ({said})" if remedy else f"the server said: {said}"
        )


_REMEDIES: Final = {
    "": "the server cannot be reached, or was lost: see that it runs and that the address is right",
    "08": "the server cannot be reached, or was lost: see that it runs and that the address is right",
    "28": "the server refuses this user or password: see the address, ~/.pgpass, or pg_hba.conf",
    "3D": "there is no such database: createdb makes one",
    "42501": "this user may not do that: GRANT CREATE ON DATABASE … TO …, or name a schema of its own with ?schema=",
    "42P01": "its schema was removed while it was open; open it anew",
    "3F": "its schema was removed while it was open; open it anew",
    "40": "the server undid the change in favour of another one",
    "53100": "the server's disk is full: free some space",
    "53300": "the server has no connection left: close some, or raise max_connections",
    "55P03": f"another program has kept it locked for {LOCK_WAIT_S} s; close it, or wait",
    "57014": "the server cancelled the statement: see its statement_timeout",
    "57": "the server is stopping or starting, or ended this connection",
}


def _was_cut(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether an idle connection was ended from the other side, as far as is known here without asking."""
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
    return (
        bool(poll.poll(0)) or connection.broken
    )  # what is readable still is the end of the stream
