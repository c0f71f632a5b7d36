"""Which session each user of one open home has chosen: its threads, and a client of its tools."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import SeveralSessionsError

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_TOOL: Final[ContextVar[bool]] = ContextVar("vespera_in_tool", default=False)


@contextmanager
def calling_tools() -> Iterator[None]:
    """Take the calls in the block for those of one client, in whatever threads they are made.

    A server does each call of a client in another thread of a pool.
    """
    token = _IN_TOOL.set(True)
    try:
        yield
    finally:
        _IN_TOOL.reset(token)


class SessionChoice:
    """The sessions that were chosen through one object.

    A thread that starts or resumes a session has chosen for itself. A thread that has chosen none
    works in the session of the others, as long as they have only one. Threads that have ended count
    where no other is left.
    """

    def __init__(self, session_id: str | None) -> None:
        # No lock: a fork may fall into the middle of it. Each step on the dict is one of Python's.
        self._of_threads: dict[threading.Thread, str] = {}
        self._of_tools: str | None = None
        self._last: str | None = None
        if session_id:
            self.choose(session_id)

    def choose(self, session_id: str | None) -> None:
        """Let the caller work in this session from now on; ``None`` takes every choice back."""
        self._last = session_id
        if session_id is None:
            self._of_threads = {}
            self._of_tools = None
            return
        for thread in list(self._of_threads):
            if not thread.is_alive():
                self._of_threads.pop(thread, None)
        self._of_threads[threading.current_thread()] = session_id
        if _IN_TOOL.get():
            self._of_tools = session_id

    def chosen(self) -> str | None:
        """Return the session of the caller; ``None`` if nobody has chosen one.

        Raises:
            SeveralSessionsError: The caller has chosen none, and others have chosen several.
        """
        own = self._of_threads.get(threading.current_thread())
        if self._of_tools is not None and (own is None or _IN_TOOL.get()):
            return self._of_tools
        if own is not None:
            return own
        choices = list(self._of_threads.items())
        living = [choice for choice in choices if choice[0].is_alive()]
        sessions = {session_id: thread.name for thread, session_id in living or choices}
        if len(sessions) > 1:
            raise SeveralSessionsError(tuple(sessions), tuple(sessions.values()))
        return next(iter(sessions), self._last)
