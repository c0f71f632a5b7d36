"""Removing old events and checkpoints that nothing refers to."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import EventKind
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.maintenance.events import record_event
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import Ledger

_ROWS_PER_TRANSACTION: Final = 1000
"""How many rows one transaction removes: others wait no longer, and it takes little room."""
_NEVER_REMOVED: Final = frozenset(
    {
        EventKind.ARTIFACT_SAVED,
        EventKind.ARTIFACT_SUPERSEDED,
        EventKind.ARTIFACT_FORGOTTEN,
        EventKind.TEXT_FORGOTTEN,
        EventKind.SESSION_STARTED,
        EventKind.STORE_PRUNED,
        EventKind.STORE_REPAIRED,
        EventKind.STORE_IMPORTED,
    }
)
"""The search index follows those about artifacts; the others are few."""
_IN_DOCUMENTS: Final = frozenset(
    {EventKind.TASK_COMPLETED, EventKind.TASK_DELETED, EventKind.TASK_UPDATED}
)
"""Events that documents follow, apart from those that are never removed."""


@attrs.frozen(kw_only=True)
class PruneReport(Record):
    """What `Orchestrator.prune` removed, or with *dry_run* would remove."""

    events: int
    """How many events were removed."""
    checkpoints: int
    """How many checkpoints were removed."""
    kept_events: int
    """How many events stayed."""
    kept_checkpoints: int
    """How many checkpoints stayed."""
    by_kind: Mapping[str, int]
    """How many events of each kind were removed."""
    dry_run: bool
    """Whether nothing was really removed."""
    given_back_bytes: int = 0
    """By how much the store's file shrank."""

    def __str__(self) -> str:
        verb = "would remove" if self.dry_run else "removed"
        total = self.events + self.kept_events
        events = f"{self.events:,} of {total:,} events"
        if self.by_kind:
            kinds = []
            for kind, number in sorted(self.by_kind.items()):
                kinds.append(f"{number:,} {kind}")
            events += f" ({', '.join(kinds)})"
        total = self.checkpoints + self.kept_checkpoints
        checkpoints = f"{self.checkpoints:,} of {total:,} checkpoints"
        text = f"prune: {verb} {events} and {checkpoints}"
        if self.given_back_bytes:
            text += f", and gave {self.given_back_bytes:,} bytes back to the disk"
        return text


@attrs.frozen(kw_only=True)
class _Selection:
    """The rows of a table that may be removed."""

    keys: list[dict[str, int]]
    remaining: int
    by_kind: Mapping[str, int] = attrs.field(factory=dict)


def prune(
    rooms: Rooms,
    older_than: timedelta,
    *,
    keep_events: int,
    keep_checkpoints: int,
    dry_run: bool,
    compact: bool,
    progress: Callable[[str], None],
) -> PruneReport:
    """See `Orchestrator.prune`."""
    before = _time_before(rooms, older_than)
    _require_count("keep_events", keep_events, least=0)
    _require_count("keep_checkpoints", keep_checkpoints, least=1)
    versions = rooms.store.document_versions()
    documents_seq = max((version.event_seq for version in versions), default=None)
    with rooms.store.ledger() as ledger:
        checkpoints = _select_checkpoints(ledger, before, keep_checkpoints)
        events = _select_events(ledger, before, keep_events, documents_seq)
    given_back_bytes = 0
    if not dry_run:
        # What is bulky goes first, and its room with it: the disk may be full.
        for table, selection in (("checkpoints", checkpoints), ("events", events)):
            _remove(rooms, table, selection.keys, progress)
            progress(f"{table}: giving the room back")
            given_back_bytes += rooms.store.shrink(rewrite=compact)
    return PruneReport(
        events=len(events.keys),
        checkpoints=len(checkpoints.keys),
        kept_events=events.remaining,
        kept_checkpoints=checkpoints.remaining,
        by_kind=events.by_kind,
        dry_run=dry_run,
        given_back_bytes=given_back_bytes,
    )


def _time_before(rooms: Rooms, older_than: object) -> int:
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        problem = f"{show_value(older_than)} should be a timedelta, e.g. timedelta(days=30)"
        raise InvalidInputError("older_than", problem)
    try:
        return dump_time(rooms.clock() - older_than)
    except OverflowError as exc:
        problem = f"{show_value(older_than)} reaches back before the year 1"
        raise InvalidInputError("older_than", problem) from exc


def _require_count(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        problem = f"{show_value(value)} should be a whole number, at least {least}"
        raise InvalidInputError(name, problem)


def _select_checkpoints(ledger: Ledger, before: int, keep: int) -> _Selection:
    """Select checkpoints that may be removed.

    The last ones of each task stay, above all the very last: the next attempt starts from it. What
    a recovery task names stays too.
    """
    named = set(_checkpoints_of_recoveries(ledger))
    latest: dict[str, deque[int]] = {}
    old: list[tuple[int, str]] = []
    total = 0
    for row in ledger.rows("checkpoints"):
        total += 1
        number, task_id = row["id"], row["task_id"]
        if task_id not in latest:
            latest[task_id] = deque(maxlen=keep)
        latest[task_id].append(number)
        if row["created_at"] < before and number not in named:
            old.append((number, task_id))
    keys = []
    for number, task_id in old:
        if number not in latest[task_id]:
            keys.append({"id": number})
    return _Selection(keys=keys, remaining=total - len(keys))


def _checkpoints_of_recoveries(ledger: Ledger) -> Iterator[int | None]:
    for row in ledger.rows("tasks"):
        if row["task_type"] == lifecycle.RECOVERY:
            with suppress(ValueError, TypeError, RecursionError):  # `check` names the row
                context = json.loads(row["context"] or "{}")
                number = context.get("checkpoint_id") if isinstance(context, dict) else None
                yield number if isinstance(number, int) else None


def _select_events(ledger: Ledger, before: int, keep: int, documents_seq: int | None) -> _Selection:
    """Select events that may be removed.

    What stays: the newest *keep*; those that documents do not tell of yet (*documents_seq* is the
    last that they do); for each task the last that says its state; for each session the last one
    and the last resumption, to which `check` and `resume` look back; kinds that are never removed.
    """
    newest: deque[int] = deque(maxlen=keep)
    last: dict[tuple[str, str], int] = {}
    old: list[tuple[int, str]] = []
    total = 0
    for row in ledger.rows("events"):
        total += 1
        seq, kind = row["seq"], row["kind"]
        newest.append(seq)
        for role in _roles(row):
            last[role] = seq
        is_unseen = documents_seq is not None and seq > documents_seq and kind in _IN_DOCUMENTS
        if row["at"] < before and kind not in _NEVER_REMOVED and not is_unseen:
            old.append((seq, kind))
    needed = {*newest, *last.values()}
    keys = []
    by_kind: dict[str, int] = {}
    for seq, kind in old:
        if seq not in needed:
            keys.append({"seq": seq})
            by_kind[kind] = by_kind.get(kind, 0) + 1
    return _Selection(keys=keys, remaining=total - len(keys), by_kind=by_kind)


def _roles(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the event is the last of, so far."""
    yield "session", row["session_id"]
    if row["kind"] in lifecycle.STATUS_AFTER_EVENT:
        yield "task", row["task_id"]
    if row["kind"] == EventKind.SESSION_RESUMED:
        yield "resumption", row["session_id"]


def _remove(
    rooms: Rooms, table: str, keys: list[dict[str, int]], progress: Callable[[str], None]
) -> None:
    total = len(keys)
    for start in range(0, total, _ROWS_PER_TRANSACTION):
        progress(f"{table}: {start:,} of {total:,}")
        part = keys[start : start + _ROWS_PER_TRANSACTION]
        with rooms.store.ledger(write=True) as ledger:
            ledger.remove(table, part)
            data = {table: len(part)}
            record_event(ledger, rooms, EventKind.STORE_PRUNED, data)
