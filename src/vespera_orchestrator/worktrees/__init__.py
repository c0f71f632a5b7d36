"""Git worktrees: one checkout for each task or agent, saved as it goes, landed without touching anybody's checkout.

This is the only room that knows pygit2. Nothing here loads it before a worktree is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vespera_orchestrator.worktrees.engine import Worktrees

if TYPE_CHECKING:
    from vespera_orchestrator.worktrees.forecast import Clash, Forecast
    from vespera_orchestrator.worktrees.landing import Landing
    from vespera_orchestrator.worktrees.repair import Rescued
    from vespera_orchestrator.worktrees.reverts import Revert
    from vespera_orchestrator.worktrees.snapshot import Snapshot

__all__ = ["Clash", "Forecast", "Landing", "Rescued", "Revert", "Snapshot", "Worktrees"]

_LAZY = {
    "Clash": "forecast",
    "Forecast": "forecast",
    "Landing": "landing",
    "Rescued": "repair",
    "Snapshot": "snapshot",
    "Revert": "reverts",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
