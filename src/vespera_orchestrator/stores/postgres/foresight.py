"""What the clock has brought about, for whoever only looks at a server's store.

A lease has ended, a task wakes, a due date begins to press: the next writer will record that. Who
only looks must write nothing, and should not see yesterday's state either. So the rows are copied
into the memory of this process, the same rules are applied there, and the copy answers until
somebody writes.
"""

from __future__ import annotations

import functools
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.stores.sqlite import SQLiteStore
from vespera_orchestrator.stores.sqlite.looking import READING_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator.stores.postgres import PostgresStore

_LARGEST_BYTES: Final = 100_000_000
"""A larger store is shown as its last writer left it."""
_FROM_THE_SERVER: Final = frozenset({"expire"})
"""Whoever calls this wants a copy made, if there is reason to."""
_STATE: Final = """
    SELECT (SELECT coalesce(max(seq), 0) FROM events), count(*), coalesce(sum(lease_until), 0)
    FROM attempts WHERE ended_at IS NULL
"""
"""What changes with whatever somebody writes: events, and the leases of those who hold a task."""
_SIZE: Final = """
    SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = current_schema() AND relkind = 'r'
"""
_NOW: Final = "SELECT clock_timestamp()"


class Foresight:
    """The copy of one store, where there is reason to have one."""

    def __init__(self, store: PostgresStore, clock: Callable[[], datetime] | None) -> None:
        """Let the reading methods of *store* answer from the copy, while there is one.

        Args:
            store: The store. Its methods are replaced.
            clock: Tells the time; ``None`` for the server's.
        """
        self._store = store
        self._clock = clock
        self._copy: tuple[object, SQLiteStore] | None = None
        self._in_use = threading.local()
        for name in set(READING_METHODS) - _FROM_THE_SERVER:
            setattr(store, name, self._answering(name, getattr(store, name)))

    def look_ahead(self, is_gone: Callable[[str], bool] | None) -> None:
        """Carry out, in a copy, what the clock has brought about."""
        copy = self._current()
        if copy is None:
            state = self._state()
            if self._store.first_row(_SIZE)[0] > _LARGEST_BYTES:
                return
            copy = self._filled()
            self._copy = state, copy
        copy.anticipate(is_gone=is_gone)

    def close(self) -> None:
        """Drop the copy. Idempotent."""
        copy, self._copy = self._copy, None
        if copy is not None:
            copy[1].close()

    def _answering(self, name: str, from_server: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(from_server)
        def answer(*args: Any, **kwargs: Any) -> Any:
            copy = self._current()
            if copy is None:
                return from_server(*args, **kwargs)
            before = self._pinned
            self._in_use.copy = copy  # what is read together is read in one place
            try:
                return getattr(copy, name)(*args, **kwargs)
            finally:
                self._in_use.copy = before

        return answer

    @property
    def _pinned(self) -> SQLiteStore | None:
        """The copy from which this thread is just reading."""
        pinned: SQLiteStore | None = getattr(self._in_use, "copy", None)
        return pinned

    def _current(self) -> SQLiteStore | None:
        """Return the copy; ``None`` where there is none, or somebody has written since."""
        if self._pinned is not None:
            return self._pinned
        copy = self._copy
        if copy is not None and copy[0] != self._state():
            self._copy = copy = None  # another thread may be reading it still
        return None if copy is None else copy[1]

    def _state(self) -> object:
        return self._store.first_row(_STATE)

    def _filled(self) -> SQLiteStore:
        copy = SQLiteStore.open(None, clock=self._clock or self._server_clock())
        with self._store.ledger() as source, copy.ledger(write=True) as target:
            for table in TABLES:
                target.put(table, source.rows(table))
        return copy

    def _server_clock(self) -> Callable[[], datetime]:
        """Return a clock that goes as the server's does."""
        ahead: timedelta = self._store.first_row(_NOW)[0] - datetime.now(UTC)
        return lambda: datetime.now(UTC) + ahead
