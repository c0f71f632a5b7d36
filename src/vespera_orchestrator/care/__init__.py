"""Care of a home: check, repair, backup, export, import, prune.

What is here knows all that a home consists of (rows, content, worktrees, views), and works on every store through its `contracts.Ledger`.
The façade's methods of the same names are the way in.
"""

from __future__ import annotations

from vespera_orchestrator.care.backups import BackupReport, back_up
from vespera_orchestrator.care.checking import check
from vespera_orchestrator.care.exports import ExportReport, export, import_lines
from vespera_orchestrator.care.findings import CheckReport, Finding, RepairReport, Severity
from vespera_orchestrator.care.pruning import PruneReport, prune
from vespera_orchestrator.care.repairing import repair

__all__ = [
    "BackupReport",
    "CheckReport",
    "ExportReport",
    "Finding",
    "PruneReport",
    "RepairReport",
    "Severity",
    "back_up",
    "check",
    "export",
    "import_lines",
    "prune",
    "repair",
]
