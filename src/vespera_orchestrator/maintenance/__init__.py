"""Maintenance of a home: check, repair, backup, export, import, prune.

This room knows everything that a home consists of (rows, contents, worktrees, views), and works on
every store through its `contracts.Ledger`. The methods of `Orchestrator` with the same names are
the way in.
"""

from __future__ import annotations

from vespera_orchestrator.maintenance.backup import BackupReport, back_up
from vespera_orchestrator.maintenance.check import check
from vespera_orchestrator.maintenance.export import ExportReport, export
from vespera_orchestrator.maintenance.import_ import import_
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
    "import_",
    "prune",
    "repair",
]
