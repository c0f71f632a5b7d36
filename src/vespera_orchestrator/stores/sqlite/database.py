"""One SQLite database: its connection and its transactions."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import stat
import threading
import time
import weakref
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

from vespera_orchestrator.errors import (
    ClosedError,
    CorruptStoreError,
    InvalidInputError,
    ReadOnlyError,
    SchemaVersionError,
    StoreBusyError,
    StoreUnavailableError,
    UnsupportedFileSystemError,
)
from vespera_orchestrator.home.files import create_file
from vespera_orchestrator.stores.sql import events, nesting
from vespera_orchestrator.stores.sql.folding import folded
from vespera_orchestrator.stores.sql.observers import Observers
from vespera_orchestrator.stores.sqlite import errors
from vespera_orchestrator.stores.sqlite.filesystem import network_file_system
from vespera_orchestrator.stores.sqlite.foreign import CallLimit, foreign_programs
from vespera_orchestrator.stores.sqlite.gate import Gate
from vespera_orchestrator.stores.sqlite.looking import DisturbedError, Looking, is_writable
from vespera_orchestrator.stores.sqlite.reserve import Reserve
from vespera_orchestrator.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS
from vespera_orchestrator.stores.sqlite.transaction import Transaction
from vespera_orchestrator.stores.sqlite.upgrade import upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vespera_orchestrator._model import Event

T = TypeVar("T")

log = logging.getLogger("vespera_orchestrator")

_PAGES_PER_CHECKPOINT: Final = 1000
"""How long the log gets before it is written back into the file: SQLite's own default."""
_PAGES_PER_STEP: Final = 100
"""How many pages the file shrinks by in one transaction: others wait no longer than that takes."""
POLL_INTERVAL_S: Final = 0.015
"""How often to look for new events while waiting for them, in seconds."""
_LOOK_TRIES: Final = 5
"""How often to find a way into a database that is only looked at; the last one is a copy."""
_LARGEST_ANTICIPATED_BYTES: Final = 500_000_000
"""A larger database is not copied only to see what the clock has brought about."""
_PROGRAMS_NAMED: Final = 5
_SHORTEST_PAUSE_S: Final = 0.0003
_FILE_ENDINGS: Final = ("", "-wal", "-shm", "-journal")
"""What SQLite opens beside the database."""
_LONGEST_PAUSE_S: Final = 0.0025
"""Between these, at random, is the pause before a lock is tried again."""

Durability: TypeAlias = Literal["full", "normal"]
"""``full``: what was acknowledged survives a power cut.

``normal``: it survives the death of every process, but a power cut may take the last transactions.
The database stays whole either way.
"""

_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _before_fork() -> None:
    for database in list(_open_databases):
        database.before_fork()


def _after_fork(*, in_child: bool) -> None:
    for database in list(_open_databases):
        database.after_fork(in_child=in_child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(in_child=False),
        after_in_child=lambda: _after_fork(in_child=True),
    )


class Database:
    """A connection that the threads of one process share, one at a time.

    A forked child opens its own.

    Each setting has its reason. WAL: readers never wait. ``synchronous=FULL``, unless chosen
    otherwise: what was acknowledged survives a power cut. ``busy_timeout=0``, with waiting of our
    own (see `Gate`): under contention SQLite's own back-off starves a waiter for seconds. ``BEGIN
    IMMEDIATE``: a reader that turns writer would fail at once.
    """

    def __init__(
        self,
        path: Path | None,
        clock: Callable[[], int],
        *,
        durability: Durability = "full",
        readonly: bool = False,
    ) -> None:
        self.path = path
        self.clock = clock
        self.durability = durability
        self._readonly = readonly
        self._gate = None if path is None else Gate(path)
        self._reserve = None if path is None else Reserve(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._closed = False
        self._inode: int | None = None
        self._looking: Looking | None = None
        self._current: Transaction | None = None
        self._in_call = False
        self._waiting_since: float | None = None
        self._limit: CallLimit | None = None
        self.observers = Observers()
        """Whoever is told what this object has written."""
        _open_databases.add(self)
        with self._lock, self.translated():
            self._connection = self._connect()

    @property
    def name(self) -> str:
        """What to call it in an error."""
        return "memory:" if self.path is None else str(self.path)

    @property
    def is_looking(self) -> bool:
        """Whether it is only read: because that was asked for, or because nothing else works."""
        return self._looking is not None

    @property
    def is_in_transaction(self) -> bool:
        """Whether this thread is in the middle of a transaction."""
        return self._pid == os.getpid() and self._running() is not None

    def close(self) -> None:
        """Close the connection. Idempotent."""
        with self._lock:
            self._closed = True
            if not self._in_call:  # otherwise it is closed at the end of the call
                self._disconnect()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Keep other threads out, and let a close in the middle wait for the end."""
        with self._lock:
            outer, self._in_call = self._in_call, True
            if self._limit is not None and not outer:
                self._limit.begin()
            try:
                with self.translated():
                    yield
            finally:
                self._in_call = outer
                if self._closed and not outer:
                    self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None
        if self._looking is not None:
            self._looking.close()
        if self._gate is not None:
            self._gate.close()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Begin several reads that see one state; within a transaction of this thread, join it."""
        self._follow_fork()
        with self._call():
            current = self._running()
            if current is not None:
                yield current
                return
            with self._undisturbed(), self._transaction(writing=False) as tx:
                yield tx

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Refuse what was read while somebody wrote, where SQLite itself could not notice.

        Raises:
            DisturbedError: That happened. The next read finds its way anew.
        """
        try:
            yield
        except Exception as exc:
            if self._lost_its_way(exc):
                self._leave_way()
                raise DisturbedError(self.name, "it was written meanwhile") from exc
            raise
        if self._looking is not None and self._looking.was_disturbed():
            self._leave_way()
            raise DisturbedError(self.name, "it was written meanwhile")

    def _lost_its_way(self, exc: Exception) -> bool:
        """Tell whether an error may come from somebody who wrote, or was killed, meanwhile."""
        if self._looking is None:
            return False
        return self._looking.was_disturbed() or (
            isinstance(exc, sqlite3.OperationalError) and errors.is_not_writable(exc)
        )

    def _leave_way(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Begin a transaction: committed if the block ends well, undone whatever else ends it.

        Raises:
            StoreBusyError: This thread is in another transaction, which a signal handler or a
                callback interrupts.
        """
        self._follow_fork()
        with self._call():
            if self._running() is not None:
                raise StoreBusyError(self.name)
            self.require_writable()
            recorded: list[Event] = []
            with self._turn(), self._transaction(writing=True) as tx:
                self._refuse_newer(tx)
                before = events.last_seq(tx, None) if self.observers else None
                yield tx
                if before is not None:  # nobody else writes meanwhile, so all of it is ours
                    recorded = events.recorded_since(tx, before)
                tx.connection.execute("COMMIT")
            if self._reserve is not None:
                self._reserve.fill()
        self.observers.tell(recorded)

    def require_writable(self) -> None:
        """Raise `ReadOnlyError` where the database is only looked at."""
        if self._readonly:
            raise ReadOnlyError.opened_readonly(self.name)
        if self._looking is not None:
            raise ReadOnlyError(self.name, "its folder can only be read")

    def anticipate(self, change: Callable[[Transaction], object]) -> None:
        """Make, in a private copy, a change that the next writer would make; then read the copy.

        Only for a database that is looked at. The copy counts until somebody writes. Events of the
        change are left out. Nothing happens where the database is too large to be copied for this.
        """
        self._follow_fork()
        with self._call(), self._undisturbed():
            connection = self._usable()
            looking = self._looking
            if looking is None or self.path is None:
                return
            if looking.copy is None:
                if self._used_bytes(connection) > _LARGEST_ANTICIPATED_BYTES:
                    return
                looking.copy_whole(connection)
                self._leave_way()
                self._connection = self._open(looking.address, self._prepare, uri=True)
            self._change_copy(change)

    def leave_anticipation(self) -> None:
        """Read what is really written again, without what `anticipate` has added."""
        self._follow_fork()
        with self._call():
            if self._looking is not None:
                self._leave_way()

    def _change_copy(self, change: Callable[[Transaction], object]) -> None:
        connection = self._usable()
        connection.execute("PRAGMA query_only=OFF")
        try:
            with self._transaction(writing=True) as tx:
                with events.without_events(tx):
                    change(tx)
                connection.execute("COMMIT")
        finally:
            connection.execute("PRAGMA query_only=ON")

    # maintenance

    @contextmanager
    def maintain(self) -> Iterator[Transaction]:
        """Begin a transaction like `write`, which takes little room: the disk may be full.

        SQLite writes changed pages into its log first, and the log back into the file when it has
        become long. That may make both of them grow. Here the log is written back after each
        transaction, where the file need not grow for it.
        """
        self.require_writable()
        if self._reserve is not None:
            self._reserve.release_if_full()
        with self._call():
            self._usable().execute("PRAGMA wal_autocheckpoint=0")
            try:
                with self.write() as tx:
                    yield tx
                self._write_log_back()
            finally:
                self._usable().execute(f"PRAGMA wal_autocheckpoint={_PAGES_PER_CHECKPOINT}")

    def _write_log_back(self) -> None:
        if self.path is None or self._reserve is None:
            return
        connection = self._usable()
        growth_bytes = self._used_bytes(connection) - self.path.stat().st_size
        if growth_bytes > self._reserve.free_bytes():
            return  # it would fail in the end, and take the little room that there is
        with suppress(sqlite3.OperationalError):  # a reader needs the log as it is
            connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()

    def _empty_log(self) -> None:
        """Write the log back and cut it off: its pages hold what rows said before.

        Removed rows are overwritten within their pages (``secure_delete``), and free pages have
        been given back.
        """
        with suppress(sqlite3.OperationalError):  # a reader needs the log as it is
            self._usable().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _used_bytes(self, connection: sqlite3.Connection) -> int:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(page_bytes)

    def shrink(self, *, rewrite: bool, erase: bool) -> int:
        """See `contracts.Store.shrink`."""
        if self.path is None:
            return 0
        self.require_writable()
        self._follow_fork()
        with self._call():
            before = self._used_bytes(self._usable())
            if (rewrite or erase) and not self._can_shrink():
                self._rewrite()
            while self._can_shrink() and self._shrink_a_step():
                pass
            if erase:
                self._empty_log()
            return before - self._used_bytes(self._usable())

    def _can_shrink(self) -> bool:
        """Tell whether the file is of the kind that can shrink step by step."""
        (kind,) = self._usable().execute("PRAGMA auto_vacuum").fetchone()
        return int(kind) != 0

    def _shrink_a_step(self) -> bool:
        """Shrink the file a little; return whether there is more to do."""
        try:
            with self.maintain() as tx:
                (unused,) = tx.execute("PRAGMA freelist_count").fetchone()
                for _ in range(min(unused, _PAGES_PER_STEP)):
                    tx.execute("PRAGMA incremental_vacuum(1)")
        except StoreUnavailableError as exc:
            if not (isinstance(exc.__cause__, sqlite3.Error) and errors.is_full(exc.__cause__)):
                raise
            return False
        return int(unused) > _PAGES_PER_STEP

    def _rewrite(self) -> None:
        """Write a file of the other kind anew, so that it can shrink step by step from now on."""
        connection = self._usable()
        (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
        # The new file is written beside the old one, and then into the log.
        needed = 2 * (self._used_bytes(connection) - unused * page_bytes)
        free = 0 if self._reserve is None else self._reserve.free_bytes()
        if free < needed:
            raise StoreUnavailableError(
                self.name,
                f"to write it anew takes {needed:,} bytes of free room, and {free:,} are free; "
                "without compact=True, prune needs none",
            )
        with self._turn():
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._patiently(lambda: connection.execute("VACUUM"))
            self._write_log_back()

    def wait(self, after: int, timeout_s: float) -> None:
        """Return when there is an event behind *after*, or after *timeout_s* seconds.

        SQLite tells nobody what another process commits. So this looks at one page every
        `POLL_INTERVAL_S` seconds. ``max(seq)`` takes 3 microseconds, as long as ``PRAGMA
        data_version``, which does not see what threads of this process wrote.
        """
        deadline = time.monotonic() + timeout_s
        while not self._has_event_behind(after):
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return
            time.sleep(min(POLL_INTERVAL_S, remaining_s))

    def copy_to(self, file: Path) -> None:
        """Write the database as of one moment into a new file, while others read and write."""
        self._follow_fork()
        with self._lock:
            self._usable()
            readable = self.path
        if readable is None or self._looking is not None:
            with self.read() as tx:
                _copy(tx.connection, file)
            return
        # A second connection, so that the threads of this process need not wait either.
        with (
            self.translated(),
            closing(
                sqlite3.connect(readable, timeout=errors.LOCK_WAIT_S, isolation_level=None)
            ) as source,
        ):
            source.execute("BEGIN")
            # From the first read on it sees one state, so that no step is ever begun again.
            source.execute("SELECT 1 FROM sqlite_schema").fetchone()
            _copy(source, file)

    def _has_event_behind(self, seq: int) -> bool:
        try:
            return self._last_event() > seq
        except DisturbedError:
            return True  # somebody writes

    def _last_event(self) -> int:
        self._follow_fork()
        with self._call():
            sql = "SELECT max(seq) FROM events"
            with self._undisturbed():
                (newest,) = self._patiently(lambda: self._usable().execute(sql).fetchone())
            return int(newest or 0)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._gate is None or self._looking is not None:
            yield
            return
        try:
            self._waiting_since = time.monotonic()
            self._gate.enter()
            yield
        finally:
            self._gate.leave()
            self._waiting_since = None

    @contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[Transaction]:
        connection = self._usable()
        begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
        tx = Transaction(connection, self.clock, writing=writing)
        tx.opener = nesting.opener()
        try:
            # An interruption may fall between any two lines. So what begins is inside, and what
            # is left over from before is undone first.
            self._current = tx
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._patiently(lambda: connection.execute(begin))
            yield tx
        finally:
            tx.opener = None
            # After an interruption this may come late, when another transaction is under way.
            if self._current is tx:
                self._current = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _running(self) -> Transaction | None:
        """Return the transaction that this thread is in the middle of."""
        current = self._current
        if current is not None and nesting.is_running(current.opener):
            return current
        return None

    def _refuse_newer(self, tx: Transaction) -> None:
        """Refuse to write what a newer version of the library would not understand."""
        version = int(tx.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise SchemaVersionError(self.name, version, len(MIGRATIONS))
        if version < 0:
            raise CorruptStoreError(self.name, f"its version is {version}")

    def _usable(self) -> sqlite3.Connection:
        if self._closed:
            raise ClosedError
        if self.path is not None and self._connection is not None:
            self._refuse_removed(self.path)
        if self.path is None and self._connection is None:
            raise StoreUnavailableError(
                self.name, "a memory: store does not follow a fork; open a file store instead"
            )
        if self._looking is not None and self._running() is None and not self._looking.is_current():
            self._leave_way()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _refuse_removed(self, path: Path) -> None:
        # SQLite would go on writing into a file that nobody can ever open again.
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            inode = None
        if inode != self._inode:
            raise StoreUnavailableError(
                self.name,
                "the file was removed or replaced while it was open (git clean -x does that); "
                "open it again",
            )

    def before_fork(self) -> None:
        """Let no connection cross a fork: a child with a copy would believe that it holds locks."""
        self._lock.acquire()
        if self.path is not None and self._connection is not None and self._current is None:
            self._connection.close()
            self._connection = None

    def after_fork(self, *, in_child: bool) -> None:
        """Go on in the parent; start over in the child."""
        if in_child:
            self._follow_fork()
        else:
            self._lock.release()

    def _follow_fork(self) -> None:
        if self._pid == os.getpid():
            return
        self._lock = threading.RLock()
        self._pid = os.getpid()
        # Forked within a transaction: the connection must be neither used nor closed here.
        self._abandoned = self._connection
        self._connection = None
        self._current = None
        self._waiting_since = None
        if self._gate is not None:
            self._gate.close()

    def _connect(self) -> sqlite3.Connection:
        if self.path is not None and (kind := network_file_system(self.path.parent)) is not None:
            raise UnsupportedFileSystemError(str(self.path), kind)
        if self.path is None:
            return self._open(":memory:", self._prepare)
        if self._readonly or self._looking is not None:
            connection = self._look(self.path)
        else:
            with suppress(OSError):  # SQLite says what is in the way
                create_file(self.path)
            try:
                connection = self._open(str(self.path), self._prepare)
            except sqlite3.OperationalError as exc:
                if not errors.is_not_writable(exc) or is_writable(self.path):
                    raise
                connection = self._look(self.path)
        self._inode = self.path.stat().st_ino
        return connection

    def _look(self, path: Path) -> sqlite3.Connection:
        """Open a database to read it, and write nothing.

        What lies beside it may change between choosing the way and opening it. Then the way is
        chosen again, and in the end the database is copied.
        """
        if not os.access(path, os.R_OK):
            there = "may not be read by this user" if path.exists() else "does not exist"
            raise StoreUnavailableError(self.name, f"the file {there}")
        for remaining in reversed(range(_LOOK_TRIES)):
            if self._looking is not None:
                self._looking.close()
            self._looking = Looking(path, copies=remaining == 0)
            try:
                return self._open_to_look(self._looking)
            except sqlite3.Error as exc:
                is_final = not remaining or not errors.is_not_writable(exc)
                if is_final and not self._looking.was_disturbed():
                    raise
        raise StoreUnavailableError(self.name, "others write it all the time")

    def _open_to_look(self, looking: Looking) -> sqlite3.Connection:
        version = len(MIGRATIONS)

        def prepare(connection: sqlite3.Connection) -> None:
            nonlocal version
            connection.execute("PRAGMA temp_store=MEMORY")
            version = self._patiently(lambda: self._version_in_one_state(connection))
            if version < len(MIGRATIONS):
                looking.copy_whole(connection)

        connection = self._open(looking.address, prepare, uri=True)
        self._limit_calls(connection)
        if version < len(MIGRATIONS):
            connection.close()
            connection = self._open(looking.address, self._prepare, uri=True)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA trusted_schema=OFF")
        return connection

    def _refuse_pipes(self) -> None:
        """Refuse what SQLite would wait for without end, to look at it."""
        if self.path is None:
            return
        for ending in _FILE_ENDINGS:
            file = self.path.with_name(self.path.name + ending)
            if _is_pipe(file):
                raise StoreUnavailableError(self.name, f"{file} is a pipe or a device; remove it")

    def _open(
        self, target: str, prepare: Callable[[sqlite3.Connection], None], *, uri: bool = False
    ) -> sqlite3.Connection:
        self._refuse_pipes()
        connection = sqlite3.connect(
            target,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            uri=uri,
        )
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, errors.MOST_BYTES)
            connection.create_function("vespera_folded", 1, folded, deterministic=True)
            prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = self._patiently(lambda: self._version_in_one_state(connection))
        if version == 0 and self.path is not None:
            self._log_ahead(connection)
        connection.execute(f"PRAGMA synchronous={self.durability}")
        connection.execute("PRAGMA foreign_keys=ON")
        # A file from somebody else may have triggers of its own: they get no dangerous function,
        # and no more than a limited time.
        connection.execute("PRAGMA trusted_schema=OFF")
        self._limit_calls(connection)
        # Some systems' SQLite overwrites what is deleted: then removing costs as much as writing.
        connection.execute("PRAGMA secure_delete=FAST")
        if version < len(MIGRATIONS):
            self._migrate(connection)

    def _limit_calls(self, connection: sqlite3.Connection) -> None:
        """Limit the time of every call where something in the schema might never end."""
        programs = self._patiently(lambda: foreign_programs(connection))
        if not programs:
            return
        if self._limit is None:
            self._limit = CallLimit()
            log.warning(
                "%s holds what this library did not make: %s; orch.check() says what to do",
                self.name,
                ", ".join(programs[:_PROGRAMS_NAMED]),
            )
        self._limit.hold(connection)

    def _log_ahead(self, connection: sqlite3.Connection) -> None:
        with self._turn():
            # Only a file that is still empty takes it.
            self._patiently(lambda: connection.execute("PRAGMA auto_vacuum=INCREMENTAL"))
            mode = self._patiently(
                lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            )
        if mode != "wal":  # SQLite falls back silently where it gets no shared memory
            raise UnsupportedFileSystemError(self.name, "one without shared memory")

    def _version_in_one_state(self, connection: sqlite3.Connection) -> int:
        # Between single reads another process might make the schema. Then its file would look like
        # another program's.
        connection.execute("BEGIN")
        try:
            return self._version(connection)
        finally:
            connection.execute("ROLLBACK")

    def _version(self, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        empty = (
            version == 0
            and owner == 0
            and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        )
        if owner != APPLICATION_ID and not empty:
            raise SchemaVersionError(self.name, -1, len(MIGRATIONS))
        if version > len(MIGRATIONS):
            raise SchemaVersionError(self.name, version, len(MIGRATIONS))
        return version

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Take every step that is missing, in one transaction: all of them or none.

        A new file pays for one commit, not for one a step.
        """
        with self._turn():
            self._patiently(lambda: self._take_missing_steps(connection))

    def _take_missing_steps(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster, so the version is read again under the lock.
            version = self._version(connection)
            upgrade(connection, MIGRATIONS, version=version, name=self.name, clock=self.clock)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _patiently(self, step: Callable[[], T]) -> T:
        """Repeat *step* while another process holds the lock.

        The pauses are short and random, so that nobody starves.
        """
        now = time.monotonic()
        # Time spent behind others at the gate counts: they waited for the same lock.
        deadline = max((self._waiting_since or now) + errors.LOCK_WAIT_S, now + 1.0)
        while True:
            try:
                return step()
            except sqlite3.OperationalError as exc:
                if not errors.is_locked(exc) or time.monotonic() > deadline:
                    raise
            pause = random.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S)  # noqa: S311 - jitter
            time.sleep(pause)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate what SQLite raises within the block into errors of ours."""
        try:
            yield
        except sqlite3.Error as exc:
            if self._closed and self._connection is None:  # closed by a signal handler meanwhile
                raise ClosedError from exc
            raise errors.translate(exc, self.name) from exc
        except UnicodeEncodeError as exc:
            raise InvalidInputError(
                "text",
                f"holds half of a surrogate pair at position {exc.start}, which no file can store",
            ) from exc
        except OverflowError as exc:
            raise InvalidInputError(
                "number", "is too large: whole numbers may have 63 bits"
            ) from exc


def _copy(source: sqlite3.Connection, file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as target:
        source.backup(target, pages=2000)


def _is_pipe(file: Path) -> bool:
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
