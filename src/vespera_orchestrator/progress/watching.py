"""Following the event log as it grows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Self

from vespera_orchestrator._model import Event
from vespera_orchestrator.errors import ClosedError
from vespera_orchestrator.home.scope import Scope
from vespera_orchestrator.progress.history import tell

LONGEST_WAIT_S: Final = 1.0
"""How long the store waits at a time; until then another thread's ``close`` may go unnoticed."""


class EventWatch(Iterator[Event]):
    """Yields the session's events as they are recorded, in words; see `Orchestrator.watch`.

    Each is a `PastEvent`: it has the alias of its task, and prints with it and the agent.

    Args:
        scope: Gives the store, until it is closed.
        session_id: The session.
        after: Start behind this event's ``seq``.
        timeout_s: Stop after this many seconds without an event; ``None`` for never.
        follow_clock: Ends leases that are over, so that this is seen although nobody else calls.
    """

    def __init__(
        self,
        scope: Scope,
        session_id: str,
        after: int,
        timeout_s: float | None,
        *,
        follow_clock: Callable[[], None],
    ) -> None:
        self._scope = scope
        self._follow_clock = follow_clock
        self._session_id = session_id
        self._after = after
        self._timeout_s = timeout_s
        self._unread: deque[Event] = deque()
        self._quiet_since = time.monotonic()
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<EventWatch of {self._session_id} after event {self._after}>"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._is_closed:
            raise StopIteration
        try:
            while not self._unread:
                self._follow_clock()
                self._unread.extend(self._read())
                if not self._unread:
                    self._wait()
            event = self._unread.popleft()
            told = tell(self._scope.store, [event])[0]
        except ClosedError:
            raise StopIteration from None
        self._quiet_since = time.monotonic()
        return told

    def close(self) -> None:
        """End it: it yields nothing more."""
        self._is_closed = True

    def poll(self) -> list[Event]:
        """Return the events that were recorded since, without waiting for any."""
        self._follow_clock()
        events = [*self._unread]
        self._unread.clear()
        while more := self._read():
            events += more
        return events

    def _read(self) -> list[Event]:
        store = self._scope.store
        newest = store.last_seq()
        if newest <= self._after:
            return []
        events = store.events(self._after, session_id=self._session_id)
        # Events of other sessions need not be read again.
        self._after = events[-1].seq if events else max(self._after, newest)
        return events

    def _wait(self) -> None:
        """Wait for an event, for a while.

        Raises:
            StopIteration: There has been none for too long.
        """
        left_s = LONGEST_WAIT_S
        if self._timeout_s is not None:
            left_s = self._quiet_since + self._timeout_s - time.monotonic()
        if left_s <= 0:
            raise StopIteration
        self._scope.store.wait(self._after, min(left_s, LONGEST_WAIT_S))
