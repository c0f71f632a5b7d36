"""Following the event log as it grows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Event
    from vespera_orchestrator.home.scope import Scope

LONGEST_WAIT_S: Final = 1.0
"""How long the store waits at a time; until then another thread's ``close`` may go unnoticed."""


def watch_events(
    scope: Scope, session_id: str, after: int, timeout_s: float | None
) -> Iterator[Event]:
    """Yield the session's events as they are recorded; see `Orchestrator.watch`.

    Args:
        scope: Gives the store, until it is closed.
        session_id: The session.
        after: Start behind this event's ``seq``.
        timeout_s: Stop after this many seconds without an event; ``None`` for never.
    """
    quiet_since = time.monotonic()
    try:
        while True:
            newest = scope.store.last_seq()
            while events := scope.store.events(after, session_id=session_id):
                for event in events:
                    after = event.seq
                    yield event
                quiet_since = time.monotonic()
            after = max(after, newest)  # events of other sessions need not be read again
            left_s = LONGEST_WAIT_S
            if timeout_s is not None:
                left_s = quiet_since + timeout_s - time.monotonic()
            if left_s <= 0:
                return
            scope.store.wait(after, min(left_s, LONGEST_WAIT_S))
    except ClosedError:
        return
