"""The events that maintenance records. They are about the whole store: no session, no task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._codec import dump_json, dump_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import EventKind, JsonValue
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.contracts import Ledger


def record_event(
    ledger: Ledger, rooms: Rooms, kind: EventKind, data: Mapping[str, JsonValue]
) -> None:
    """Add an event in the ledger's transaction, under the caller's agent and at this moment."""
    row = {
        "at": dump_time(rooms.clock()),
        "kind": kind,
        "session_id": None,
        "task_id": None,
        "agent": rooms.scope.agent,
        "data": dump_json(data, kind),
    }
    ledger.put("events", [row])
