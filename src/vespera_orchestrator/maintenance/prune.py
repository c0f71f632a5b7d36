"""Letting go of old events and checkpoints that nothing refers to."""

from __future__ import annotations

import json
from collections import Counter, deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from vespera_orchestrator._codec import dump_json, dump_time
from vespera_orchestrator._model import EventKind
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vespera_orchestrator.contracts import Ledger
    from vespera_orchestrator.orchestrator import Orchestrator

_AT_ONCE: Final = 5000
"""Rows removed in one transaction: others wait for the write lock no longer than that takes."""
_KEPT_KINDS: Final = frozenset(
    {
        EventKind.ARTIFACT_SAVED,
        EventKind.SESSION_STARTED,
        EventKind.STORE_PRUNED,
        EventKind.STORE_REPAIRED,
        EventKind.STORE_IMPORTED,
    }
)
"""Events that are kept for ever: the search index is made anew from ``artifact_saved``; the others are few."""
_TOLD: Final = frozenset({EventKind.TASK_COMPLETED, EventKind.TASK_DELETED, EventKind.TASK_UPDATED})
"""Events that documents follow, apart from those that are kept anyway."""


@attrs.frozen(kw_only=True)
class PruneReport:
    """What `Orchestrator.prune` let go of, or with *dry_run* would let go of."""

    events: int
    checkpoints: int
    kept_events: int
    kept_checkpoints: int
    by_kind: Mapping[str, int]
    """How many events of each kind."""
    dry_run: bool

    def __str__(self) -> str:
        did = "would remove" if self.dry_run else "removed"
        told = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.by_kind.items()))
        return (
            f"prune: {did} {self.events:,} of {self.events + self.kept_events:,} events{f' ({told})' if told else ''} and "
            f"{self.checkpoints:,} of {self.checkpoints + self.kept_checkpoints:,} checkpoints"
        )


def prune(
    orch: Orchestrator,
    older_than: timedelta,
    *,
    keep_events: int,
    keep_checkpoints: int,
    dry_run: bool,
    progress: Callable[[str], None],
) -> PruneReport:
    """See `Orchestrator.prune`."""
    _refuse_nonsense(older_than, keep_events, keep_checkpoints)
    try:
        before = dump_time(orch._clock() - older_than) or 0
    except OverflowError as exc:
        raise InvalidInputError(
            "older_than", f"{older_than!r} reaches back before the year 1"
        ) from exc
    written = max((version.event_seq for version in orch._store.document_versions()), default=None)
    with orch._store.ledger() as ledger:
        checkpoints, all_checkpoints = _checkpoints(ledger, before, keep_checkpoints)
        events, all_events, kinds = _events(ledger, before, keep_events, written)
    if not dry_run:
        _remove(orch, "events", [{"seq": seq} for seq in events], progress)
        _remove(orch, "checkpoints", [{"id": number} for number in checkpoints], progress)
    return PruneReport(
        events=len(events),
        checkpoints=len(checkpoints),
        kept_events=all_events - len(events),
        kept_checkpoints=all_checkpoints - len(checkpoints),
        by_kind=kinds,
        dry_run=dry_run,
    )


def _refuse_nonsense(older_than: object, keep_events: object, keep_checkpoints: object) -> None:
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):
        raise InvalidInputError(
            "older_than", f"{older_than!r} should be a timedelta, e.g. timedelta(days=30)"
        )
    for name, value, least in (
        ("keep_events", keep_events, 0),
        ("keep_checkpoints", keep_checkpoints, 1),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidInputError(name, f"{value!r} should be a whole number, at least {least}")


def _checkpoints(ledger: Ledger, before: int, keep: int) -> tuple[list[int], int]:
    """Return which checkpoints may go, and how many there are.

    The last ones of each task stay, the very last above all: the next attempt starts from it. What a recovery task names stays too.
    """
    named = {
        json.loads(row["context"] or "{}").get("checkpoint_id")
        for row in ledger.rows("tasks")
        if row["task_type"] == lifecycle.RECOVERY
    }
    latest: dict[str, deque[int]] = {}
    old: list[tuple[int, str]] = []
    total = 0
    for row in ledger.rows("checkpoints"):
        total += 1
        latest.setdefault(row["task_id"], deque(maxlen=keep)).append(row["id"])
        if row["created_at"] < before and row["id"] not in named:
            old.append((row["id"], row["task_id"]))
    return [number for number, task in old if number not in latest[task]], total


def _events(
    ledger: Ledger, before: int, keep: int, written: int | None
) -> tuple[list[int], int, dict[str, int]]:
    """Return which events may go, how many there are, and how many of each kind go.

    What stays: the newest *keep*; what documents would tell of and have not yet (*written* is how far they are); of each task the last
    that tells its state, of each session the last of all and the last resumption, to which `check` and `resume` look back; and the kinds
    that are never let go.
    """
    newest: deque[int] = deque(maxlen=keep or 1)
    cited: dict[Any, int] = {}
    old: list[tuple[int, str]] = []
    total = 0
    for row in ledger.rows("events"):
        total += 1
        newest.append(row["seq"])
        for mark in _marks(row):
            cited[mark] = row["seq"]
        if row["at"] < before and row["kind"] not in _KEPT_KINDS:
            old.append((row["seq"], row["kind"]))
    stays = {*cited.values(), *(newest if keep else ())}
    gone = [
        (seq, kind)
        for seq, kind in old
        if seq not in stays and not (kind in _TOLD and written is not None and seq > written)
    ]
    return [seq for seq, _ in gone], total, dict(Counter(kind for _, kind in gone))


def _marks(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the event is the last of, so far."""
    yield "session", row["session_id"]
    if row["kind"] in lifecycle.STATUS_AFTER_EVENT:
        yield "task", row["task_id"]
    if row["kind"] == EventKind.SESSION_RESUMED:
        yield "look", row["session_id"]


def _remove(
    orch: Orchestrator, table: str, keys: list[dict[str, int]], progress: Callable[[str], None]
) -> None:
    for start in range(0, len(keys), _AT_ONCE):
        progress(f"{table}: {start:,} of {len(keys):,}")
        part = keys[start : start + _AT_ONCE]
        with orch._store.ledger(write=True) as ledger:
            ledger.remove(table, part)
            data = dump_json({table: len(part)}, EventKind.STORE_PRUNED)
            row = {
                "at": dump_time(orch._clock()),
                "kind": EventKind.STORE_PRUNED,
                "session_id": None,
                "task_id": None,
                "agent": orch.agent,
            }
            ledger.put("events", [row | {"data": data}])
