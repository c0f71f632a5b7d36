"""Care of a home: check, repair, backup, export, import, prune.

What is here knows all that a home consists of (rows, content, worktrees, views), and works on every store through its `contracts.Ledger`.
The façade's methods of the same names are the way in.
"""

from __future__ import annotations

from vespera_orchestrator.maintenance.backup import BackupReport, back_up
from vespera_orchestrator.maintenance.check import check
from vespera_orchestrator.maintenance.export import ExportReport, export, import_lines
from vespera_orchestrator.maintenance.prune import PruneReport, prune
from vespera_orchestrator.maintenance.repair import repair
from vespera_orchestrator.maintenance.reports import CheckReport, RepairReport

__all__ = [
    "BackupReport",
    "CheckReport",
    "ExportReport",
    "PruneReport",
    "RepairReport",
    "back_up",
    "check",
    "export",
    "import_lines",
    "prune",
    "repair",
]
