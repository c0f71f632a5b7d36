"""Putting right what a check found, after a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._codec import dump_json, dump_time
from vespera_orchestrator._model import EventKind, FindingKind
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.maintenance.backup import back_up
from vespera_orchestrator.maintenance.check import check
from vespera_orchestrator.maintenance.reports import CheckReport, RepairReport
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vespera_orchestrator._model import Finding
    from vespera_orchestrator.contracts import Ledger
    from vespera_orchestrator.orchestrator import Orchestrator

_ROUNDS: Final = 50
"""What one repair brings about, e.g. a task that is skipped, may call for the next."""


def repair(orch: Orchestrator, *, progress: Callable[[str], None]) -> RepairReport:
    """See `Orchestrator.repair`."""
    before = check(orch, contents=False, progress=progress)
    fixable = [
        finding
        for finding in before.findings
        if finding.fixes or finding.kind is FindingKind.STORAGE
    ]
    backup, done = None, []
    if fixable:
        progress("backup")
        backup = _dated(orch)
        back_up(orch, backup, link=True, progress=progress)
        done += _fix(orch, progress)
    if any(finding.kind is FindingKind.WORKTREE for finding in before.findings):
        done += orch.worktrees.repair()
    done += _views(orch, before)
    return RepairReport(
        done=tuple(done), backup=backup, left=check(orch, contents=True, progress=progress)
    )


def _dated(orch: Orchestrator) -> Path:
    stamp = f"{orch._clock():%Y-%m-%dT%H%M%SZ}"
    folder = orch.home / "backups"
    number = 1
    while (place := folder / f"{stamp}-before-repair{f'-{number}' if number > 1 else ''}").exists():
        number += 1
    return place


def _fix(orch: Orchestrator, progress: Callable[[str], None]) -> list[str]:
    """Look again under the write lock, and mend until nothing is left to mend: all or nothing."""
    done: list[str] = []
    now = dump_time(orch._clock()) or 0
    with orch._store.ledger(write=True) as ledger:
        if any(True for _ in ledger.problems()):
            ledger.rebuild_indexes()
            done.append("Made the database's indexes anew.")
        for _ in range(_ROUNDS):
            found = [
                finding
                for finding in check_rows(Facts(ledger=ledger, now=now, progress=progress))
                if finding.fixes
            ]
            if not found:
                break
            # A state that is set right brings its event along, so the log is compared only when all states are right.
            first = [finding for finding in found if finding.kind is not FindingKind.LOG] or found
            done += _apply(ledger, first)
        if done:
            data = dump_json({"done": done[:100], "count": len(done)}, EventKind.STORE_REPAIRED)
            row = {
                "at": now,
                "kind": EventKind.STORE_REPAIRED,
                "session_id": None,
                "task_id": None,
                "agent": orch.agent,
                "data": data,
            }
            ledger.put("events", [row])
    return done


def _apply(ledger: Ledger, found: list[Finding]) -> Iterator[str]:
    for finding in found:
        for fix in finding.fixes:
            if fix.verb == "change":
                ledger.change(fix.table, fix.key, fix.values)
            elif fix.verb == "put":
                ledger.put(fix.table, [fix.key])
            else:
                ledger.remove(fix.table, [fix.key])
        yield f"Fixed: {finding.sentence}."


def _views(orch: Orchestrator, before: CheckReport) -> list[str]:
    done = []
    kinds = {finding.kind for finding in before.findings}
    try:
        if FindingKind.INDEX in kinds:
            done.append(f"Brought the search index up: {orch.artifacts.catch_up()} artifacts.")
        if FindingKind.DOCUMENT in kinds and (written := orch.documents.update().written):
            done.append(f"Brought up to date: {', '.join(version.path for version in written)}.")
    except VesperaError as exc:  # a view may fail without failing the repair
        done.append(f"A view stays behind: {exc}.")
    return done
