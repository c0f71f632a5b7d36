"""A live board for notebooks: the status of a session, updated in place while others work.

    from vespera_orchestrator.integrations.notebook import board

    board(orch)

All records show themselves anyway: make one the last line of a cell.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import MissingDependencyError, NextStep, Orchestrator, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAUSE_S: Final = 0.25
"""At least so long one state stays, however fast events come."""
_OVER: Final = frozenset({"done", "plan", "initialize"})
"""Next steps after which nothing more happens by itself."""


def board(orch: Orchestrator, *, timeout_s: float | None = None) -> NextStep:
    """Show where the current session stands, and update it in place whenever something happens.

    It returns when everything has ended, when nothing has happened for *timeout_s* seconds, and
    when you interrupt the cell. The work itself goes on elsewhere.

    Args:
        orch: The session that it works in is shown.
        timeout_s: Seconds without an event after which it returns; ``None`` for never.

    Returns:
        The next step at that time.

    Raises:
        MissingDependencyError: IPython is not installed.
    """
    handle = None
    status = orch.get_status()
    try:
        for status in _states(orch, timeout_s):
            if handle is None:
                handle = _display(status)
            else:
                handle.update(status)
    except KeyboardInterrupt:
        pass  # whoever watches has seen enough
    return status.next_step


def _states(orch: Orchestrator, timeout_s: float | None) -> Iterator[Status]:
    """Yield the status now, and after each burst of events."""
    news = orch.watch(timeout_s=timeout_s)
    status = orch.get_status()
    yield status
    while status.next_step.action not in _OVER:
        if next(news, None) is None:
            return
        time.sleep(_PAUSE_S)
        news.poll()  # what came meanwhile is in the next status, too
        status = orch.get_status()
        yield status


def _display(status: Status) -> Any:
    try:
        from IPython.display import display
    except ImportError as exc:
        install = f"{sys.executable} -m pip install ipython"
        raise MissingDependencyError("board()", "ipython", install) from exc
    return display(status, display_id=True)
