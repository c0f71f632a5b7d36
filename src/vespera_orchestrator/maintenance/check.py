"""Checking a whole home: rows, contents, worktrees, views. Changes nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import Finding, FindingKind, Severity
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.artifacts.content.packing import is_digest
from vespera_orchestrator.artifacts.damage import missing_here
from vespera_orchestrator.artifacts.forgetting import TEXT
from vespera_orchestrator.artifacts.whereabouts import Whereabouts
from vespera_orchestrator.errors import (
    InvalidInputError,
    SessionNotFoundError,
    StoreError,
    VesperaError,
)
from vespera_orchestrator.home.consent import allowing_call
from vespera_orchestrator.maintenance.reports import REPAIR, CheckReport
from vespera_orchestrator.maintenance.row_checks import Facts, check_rows
from vespera_orchestrator.worktrees.peek import has_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from vespera_orchestrator._model import HomePlace, SettingDifference, Tombstone
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts import Artifacts
    from vespera_orchestrator.contracts import ContentStore

_CONTENTS_PER_PROGRESS: Final = 1000


def check(
    rooms: Rooms, artifacts: Artifacts, *, contents: bool, progress: Callable[[str], None]
) -> CheckReport:
    """See `Orchestrator.check`."""
    started = time.monotonic()
    with rooms.store.ledger() as ledger:
        progress("the store's own files")
        findings = [_storage_finding(problem) for problem in ledger.problems()]
        can_trust_store = not findings
        facts = Facts(ledger=ledger, now=dump_time(rooms.clock()), progress=progress)
        findings += check_rows(facts)
    counts = dict(facts.counts)
    if contents:
        findings += _check_contents(rooms, facts, progress)
        findings += _find_orphans(rooms.content, artifacts)
        counts["contents"] = len(facts.digests)
    if can_trust_store:
        progress("worktrees and views")
        findings += _check_worktrees(rooms, counts.get("worktrees", 0))
        findings += artifacts.check_index()
        findings += _check_forgetting(rooms)
        findings += _check_documents(rooms)
        findings += _check_active_session(rooms)
        findings += _check_settings(rooms)
        findings += _check_timezone(rooms)
    return CheckReport.of(findings, counts, time.monotonic() - started)


def _storage_finding(problem: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        kind=FindingKind.STORAGE,
        subject="store",
        sentence=problem,
        remedy=(
            "keep a copy of the home; orch.repair() rebuilds indexes, "
            "for anything else restore a backup"
        ),
    )


def _check_contents(
    rooms: Rooms, facts: Facts, progress: Callable[[str], None]
) -> Iterator[Finding]:
    content, digests = rooms.content, facts.digests
    whereabouts = Whereabouts(rooms=rooms)
    kept_by: dict[HomePlace, list[str]] = {}
    for number, (digest, users) in enumerate(digests.items()):
        if number % _CONTENTS_PER_PROGRESS == 0:
            progress(f"contents: {number:,} of {len(digests):,}")
        problem = content.verify(digest)
        if problem is None:
            continue
        if missing_here(content, digest) is None:
            yield _damaged_content(digest, users, problem)
            continue
        keepers = facts.keepers[digest]
        home = whereabouts.other_home(keepers)
        if rooms.scope.home.id in keepers or (home is None and not _may_be_elsewhere(rooms)):
            yield _damaged_content(digest, users, problem)
        elif home is None:
            yield _content_elsewhere(digest, users)
        else:
            kept_by.setdefault(home, []).extend(users)
    for home, users in kept_by.items():
        yield _kept_by_another(home, users)


def _may_be_elsewhere(rooms: Rooms) -> bool:
    """Tell whether missing bytes may be in another home that has this store, too.

    That is so where the store is not this home's own, and each home keeps what it saves.
    """
    return not rooms.is_content_chosen and not rooms.scope.home.is_own_store(rooms.store.url)


def _kept_by_another(home: HomePlace, users: list[str]) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        kind=FindingKind.CONTENT,
        subject=home.id,
        sentence=f"the content of {_named(users)} is in another home, {home}",
        remedy=(
            "orch.artifacts.read(…) says how to bring one here; the same content= in all homes "
            "lets each read what the others save"
        ),
    )


def _content_elsewhere(digest: str, users: list[str]) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        kind=FindingKind.CONTENT,
        subject=digest,
        sentence=f"the content of {_named(users)} is not in this home",
        remedy=(
            "if another home with this store saved it, its bytes are there; the same content= in "
            "all homes lets each read what the others save"
        ),
    )


def _named(users: list[str]) -> str:
    more = len(users) - 1
    return f"{users[0]} and {more} more" if more else users[0]


def _damaged_content(digest: str, users: list[str], problem: str) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        kind=FindingKind.CONTENT,
        subject=digest,
        sentence=f"the content of {_named(users)}: {problem}",
        remedy=_content_remedy(digest),
    )


def _content_remedy(digest: str) -> str:
    if not is_digest(digest):
        return (
            "the record itself is damaged: restore the store from a backup; "
            "to save the content again makes a sound new version"
        )
    return (
        f"restore {digest[:2]}/{digest[2:]} from a backup of artifacts/; "
        "if it was saved elsewhere, open with the same content="
    )


def _find_orphans(content: ContentStore, artifacts: Artifacts) -> Iterator[Finding]:
    is_folder = isinstance(content, FolderContent)
    try:
        garbage = artifacts.collect_garbage(dry_run=True, sole_user=is_folder)
    except InvalidInputError:
        return  # others use this object store as well; what is theirs cannot be seen from here
    unused = garbage.contents + garbage.condemned
    if unused or garbage.leftovers:
        sentence = f"{unused} contents and {garbage.leftovers} leftovers belong to nothing"
        if garbage.size_bytes:
            sentence += f" ({garbage.size_bytes:,} bytes)"
        yield Finding(
            severity=Severity.NOTE,
            kind=FindingKind.ORPHAN,
            subject="artifacts",
            sentence=sentence,
            remedy="orch.artifacts.collect_garbage() removes them",
        )


def _check_forgetting(rooms: Rooms) -> Iterator[Finding]:
    """Name what was forgotten, and of which something may still be there; once for each call."""
    calls: dict[datetime, list[Tombstone]] = {}
    for tombstone in rooms.store.tombstones(pending=True):
        calls.setdefault(tombstone.forgotten_at, []).append(tombstone)
    for moment, call in calls.items():
        call.sort(key=lambda each: each.id)  # the artifact, or the text, before documents
        first = call[0]
        is_ours = any(each.home_id in ("", rooms.scope.home.id) for each in call)
        where = "this home" if is_ours else f"home {first.home_id}"
        remedy = _remedy_of_forgetting(call)
        yield Finding(
            severity=Severity.WARNING if is_ours else Severity.NOTE,
            kind=FindingKind.FORGETTING,
            subject=first.id,
            sentence=(
                f"{first.id} was forgotten on {moment:%Y-%m-%d}, and {where} has not removed all "
                "of it"
            ),
            remedy=remedy if is_ours else f"in that home: {remedy}",
        )


def _remedy_of_forgetting(call: list[Tombstone]) -> str:
    if any(each.id.startswith(TEXT) for each in call):
        return "orch.artifacts.forget_text(…), with the same text again, removes the rest"
    return REPAIR


def _check_worktrees(rooms: Rooms, records: int) -> Iterator[Finding]:
    # Without a record, a lock and a note there is no worktree of ours; git need not be loaded.
    home = rooms.scope.home
    has_traces = any(home.locks.glob("worktree-*")) or has_notes(home.project)
    if not records and not has_traces:
        return
    try:
        yield from rooms.worktrees.check()
    except VesperaError as exc:
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.WORKTREE,
            subject="repository",
            sentence=f"the worktrees could not be checked: {exc}",
        )


def _check_documents(rooms: Rooms) -> Iterator[Finding]:
    try:
        yield from rooms.documents.check()
    except SessionNotFoundError:
        return
    except VesperaError as exc:
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.DOCUMENT,
            subject="documents",
            sentence=f"the documents could not be checked: {exc}",
        )


def _check_settings(rooms: Rooms) -> Iterator[Finding]:
    """Compare this home's settings with what a person allowed, and what the session agreed on."""
    home = rooms.scope.home
    for power in home.withheld:
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.SETTING,
            subject=power.name,
            sentence=f"{power} does not count: the home came from somebody else",
            remedy=allowing_call(home),
        )
    with suppress(StoreError, SessionNotFoundError):
        session_id = rooms.scope.session_id()
        for difference in rooms.team.differences(session_id):
            yield Finding(
                severity=Severity.ERROR if difference.is_refused else Severity.WARNING,
                kind=FindingKind.SETTING,
                subject=difference.setting,
                sentence=f"{difference}, as agreed on in this session",
                remedy=_setting_remedy(rooms, session_id, difference),
            )


def _check_timezone(rooms: Rooms) -> Iterator[Finding]:
    try:
        rooms.zone  # noqa: B018 - reading it is the check
    except InvalidInputError as exc:
        yield Finding(
            severity=Severity.WARNING,
            kind=FindingKind.SETTING,
            subject="person.timezone",
            sentence=f"{exc.problem}; until then dates are told in the zones of their tasks",
            remedy="mend it in config.toml; without it, the zone of this machine counts",
        )


def _setting_remedy(rooms: Rooms, session_id: str, difference: SettingDifference) -> str:
    if rooms.team.is_outdated(session_id):
        return "config.toml has changed since this process opened the home; open it again"
    remedy = "orch.share_settings() makes this home's settings those of every home"
    if difference.is_refused:
        return f"write into config.toml: {difference.remedy}; or {remedy}"
    return remedy


def _check_active_session(rooms: Rooms) -> Iterator[Finding]:
    with suppress(StoreError):
        try:
            rooms.scope.active_session_id()
        except SessionNotFoundError as exc:
            yield Finding(
                severity=Severity.WARNING,
                kind=FindingKind.SESSION,
                subject=exc.session or "active session",
                sentence=exc.problem,
                remedy="choose one with orch.resume_session(…); orch.list_sessions() shows them",
            )
