"""Fixing what a check found, after a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import EventKind, FindingKind
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.maintenance.backup import back_up
from vespera_orchestrator.maintenance.check import check
from vespera_orchestrator.maintenance.events import record_event
from vespera_orchestrator.maintenance.reports import RepairReport
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vespera_orchestrator._model import Finding, RowFix
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts import Artifacts
    from vespera_orchestrator.contracts import Ledger

_MAX_ROUNDS: Final = 50
"""What one fix changes, e.g. a task that is skipped, may call for another fix: so often at most."""
_SENTENCES_IN_EVENT: Final = 100


def repair(rooms: Rooms, artifacts: Artifacts, *, progress: Callable[[str], None]) -> RepairReport:
    """See `Orchestrator.repair`."""
    before = check(rooms, artifacts, contents=False, progress=progress)
    kinds = {finding.kind for finding in before.findings}
    has_row_fixes = any(finding.fixes for finding in before.findings)
    backup = None
    results: list[str] = []
    if has_row_fixes or FindingKind.STORAGE in kinds:
        progress("backup")
        backup = _new_backup_path(rooms)
        back_up(rooms, backup, link=True, progress=progress)
        results += _fix_rows(rooms, progress)
    if FindingKind.WORKTREE in kinds:
        results += rooms.worktrees.repair()
    if FindingKind.FORGETTING in kinds:
        for proof in artifacts.finish_forgetting():
            results.append(f"Finished forgetting {', '.join(proof.artifact_ids)}.")
    results += _update_views(rooms, artifacts, kinds)
    after = check(rooms, artifacts, contents=True, progress=progress)
    return RepairReport(done=tuple(results), backup=backup, left=after)


def _new_backup_path(rooms: Rooms) -> Path:
    folder = rooms.scope.home.path / "backups"
    name = f"{rooms.clock():%Y-%m-%dT%H%M%SZ}-before-repair"
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def _fix_rows(rooms: Rooms, progress: Callable[[str], None]) -> list[str]:
    """Check again under the write lock, and fix until nothing is left to fix: all or nothing."""
    results: list[str] = []
    now = dump_time(rooms.clock())
    with rooms.store.ledger(write=True) as ledger:
        if any(True for _ in ledger.problems()):
            ledger.rebuild_indexes()
            results.append("Rebuilt the indexes of the database.")
        for _ in range(_MAX_ROUNDS):
            facts = Facts(ledger=ledger, now=now, progress=progress)
            findings = _next_to_fix(facts)
            if not findings:
                break
            for finding in findings:
                for fix in finding.fixes:
                    _apply(ledger, fix)
                results.append(f"Fixed: {finding.sentence}.")
        if results:
            data = {"done": results[:_SENTENCES_IN_EVENT], "count": len(results)}
            record_event(ledger, rooms, EventKind.STORE_REPAIRED, data)
    return results


def _next_to_fix(facts: Facts) -> list[Finding]:
    findings = [finding for finding in check_rows(facts) if finding.fixes]
    # Fixing a state adds its event, so the log is compared only when all states are right.
    states = [finding for finding in findings if finding.kind is not FindingKind.LOG]
    return states or findings


def _apply(ledger: Ledger, fix: RowFix) -> None:
    if fix.verb == "change":
        ledger.change(fix.table, fix.key, fix.values)
    elif fix.verb == "put":
        ledger.put(fix.table, [fix.key])
    else:
        ledger.remove(fix.table, [fix.key])


def _update_views(rooms: Rooms, artifacts: Artifacts, kinds: set[FindingKind]) -> list[str]:
    results = []
    try:
        if FindingKind.INDEX in kinds:
            number = artifacts.catch_up()
            results.append(f"Updated the search index: {number} artifacts.")
        if FindingKind.DOCUMENT in kinds:
            versions = rooms.documents.update().written
            if versions:
                paths = ", ".join(version.path for version in versions)
                results.append(f"Updated the documents: {paths}.")
    except VesperaError as exc:  # a view may fail without failing the repair
        results.append(f"A view could not be updated: {exc}.")
    return results
