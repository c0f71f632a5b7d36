"""Looking a whole home over: rows, contents, worktrees, views. Changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import EventKind, Finding, FindingKind, Severity
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.errors import (
    InvalidInputError,
    SessionNotFoundError,
    StoreError,
    VesperaError,
)
from vespera_orchestrator.maintenance.reports import REPAIR, CheckReport
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vespera_orchestrator.orchestrator import Orchestrator

_CONTENTS_STEP = 1000
_WORKTREE_REMEDY = (
    f"{REPAIR}; starting the task again makes a lost folder anew from its last snapshot"
)


def check(orch: Orchestrator, *, contents: bool, progress: Callable[[str], None]) -> CheckReport:
    """See `Orchestrator.check`."""
    begun = time.monotonic()
    found: list[Finding] = []
    with orch._store.ledger() as ledger:
        progress("the store's own files")
        damage = [_damage(line) for line in ledger.problems()]
        facts = Facts(ledger=ledger, now=dump_time(orch._clock()) or 0, progress=progress)
        found += [*damage, *check_rows(facts)]
    counts = dict(facts.counts)
    if contents:
        found += [*_contents(orch, facts.digests, progress), *_orphans(orch)]
        counts["contents"] = len(facts.digests)
    if not damage:
        progress("worktrees and views")
        found += [*_worktrees(orch, counts.get("worktrees", 0)), *_views(orch), *_settings(orch)]
    return CheckReport.of(found, counts, time.monotonic() - begun)


def _damage(line: str) -> Finding:
    remedy = "keep a copy of the home; orch.repair() makes indexes anew, for anything else put a backup in its place"
    return Finding(
        severity=Severity.ERROR,
        kind=FindingKind.STORAGE,
        subject="store",
        sentence=line,
        remedy=remedy,
    )


def _contents(
    orch: Orchestrator, digests: Mapping[str, list[str]], progress: Callable[[str], None]
) -> Iterator[Finding]:
    for number, (digest, names) in enumerate(digests.items()):
        if number % _CONTENTS_STEP == 0:
            progress(f"contents: {number:,} of {len(digests):,}")
        problem = orch._rooms.content.verify(digest)
        if problem is not None:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            sentence = f"the content of {names[0]}{more}: {problem}"
            remedy = f"put {digest[:2]}/{digest[2:]} back from a backup of artifacts/; if it was saved elsewhere, open with the same content="
            yield Finding(
                severity=Severity.ERROR,
                kind=FindingKind.CONTENT,
                subject=digest,
                sentence=sentence,
                remedy=remedy,
            )


def _orphans(orch: Orchestrator) -> Iterator[Finding]:
    try:
        garbage = orch.artifacts.collect_garbage(
            dry_run=True, sole_user=isinstance(orch._rooms.content, FolderContent)
        )
    except InvalidInputError:
        return  # others use the object store as well, and what is theirs cannot be told from here
    contents = garbage.contents + garbage.condemned
    if contents or garbage.leftovers:
        size = f" ({garbage.size_bytes:,} bytes)" if garbage.size_bytes else ""
        sentence = f"{contents} contents and {garbage.leftovers} leftovers belong to nothing{size}"
        yield Finding(
            severity=Severity.NOTE,
            kind=FindingKind.ORPHAN,
            subject="artifacts",
            sentence=sentence,
            remedy="orch.artifacts.collect_garbage() takes them away",
        )


def _worktrees(orch: Orchestrator, records: int) -> Iterator[Finding]:
    if not records and not any((orch.home / "locks").glob("worktree-*")):
        return
    try:
        for name, sentence in orch.worktrees.check():
            remedy = (
                "" if "orch.worktrees." in sentence else _WORKTREE_REMEDY
            )  # some name their own
            yield Finding(
                severity=Severity.WARNING,
                kind=FindingKind.WORKTREE,
                subject=name,
                sentence=sentence,
                remedy=remedy,
            )
    except VesperaError as exc:
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.WORKTREE,
            subject="repository",
            sentence=f"the worktrees could not be looked at: {exc}",
        )


def _views(orch: Orchestrator) -> Iterator[Finding]:
    cursor = orch.artifacts.index_cursor()
    behind = orch._store.events(cursor or 0, kinds=(EventKind.ARTIFACT_SAVED,), limit=None)
    if cursor is None and orch._scope.home.index.is_dir():
        yield Finding(
            severity=Severity.NOTE,
            kind=FindingKind.INDEX,
            subject="index",
            sentence="the search index is damaged, or of another log",
            remedy="the next search makes it anew",
        )
    elif behind and cursor is not None:
        yield Finding(
            severity=Severity.NOTE,
            kind=FindingKind.INDEX,
            subject="index",
            sentence=f"the search index is {len(behind)} artifacts behind",
            remedy="the next search brings it up",
        )
    try:
        yield from orch.documents.check()
    except SessionNotFoundError:
        return
    except VesperaError as exc:
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.DOCUMENT,
            subject="documents",
            sentence=f"the documents could not be looked at: {exc}",
        )


def _settings(orch: Orchestrator) -> Iterator[Finding]:
    home = orch._scope.home
    try:
        active = home.active_session.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return
    try:
        known = orch._store.find_session(active) if active else None
    except StoreError:
        return
    if active and known is None:
        sentence = f"the active session {active} is not in the store"
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.SESSION,
            subject=active,
            sentence=sentence,
            remedy="orch.resume_session(…) chooses one; orch.list_sessions() shows them",
        )
