"""Git worktrees: one checkout for each task or agent.

They are saved as the work goes, and landed without touching anybody's checkout.

The only room that knows pygit2, which is loaded when a worktree is asked for. What callers use is
`vespera_orchestrator.work.worktrees.Worktrees`.

"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._lazy import lazy_names

if TYPE_CHECKING:
    from vespera_orchestrator.worktrees.admin_note import Brought as Brought
    from vespera_orchestrator.worktrees.forecast import Forecast as Forecast
    from vespera_orchestrator.worktrees.landing import Landing as Landing
    from vespera_orchestrator.worktrees.rescue import Rescued as Rescued
    from vespera_orchestrator.worktrees.snapshot import Snapshot as Snapshot

__getattr__ = lazy_names(
    "vespera_orchestrator.worktrees",
    {
        "Brought": "admin_note",
        "Forecast": "forecast",
        "Landing": "landing",
        "Rescued": "rescue",
        "Snapshot": "snapshot",
    },
)
