"""The words of whoever left off, for as long as they are about now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import EventKind, Pause
from vespera_orchestrator.progress.own_tasks import LETTING_GO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vespera_orchestrator._model import Attempt, Event
    from vespera_orchestrator.contracts import Store

_LOOKED_AT: Final = 10
"""Among how many pauses the reader's own is looked for."""


def standing_pause(
    store: Store,
    session_id: str,
    reader: str,
    *,
    recent: Iterable[Event],
    attempts: Sequence[Attempt],
) -> Pause | None:
    """Return the reader's last pause, or else the last one of all, while it counts.

    It does until whoever paused has gone on, or others have done or begun all that was in hand.

    Args:
        store: Where the log is.
        session_id: The session.
        reader: Who reads it.
        recent: The session's last milestones.
        attempts: What the reader has in hand, or had last.
    """
    events = store.events(
        session_id=session_id,
        kinds=(EventKind.SESSION_PAUSED,),
        limit=_LOOKED_AT,
        newest_first=True,
    )
    events.sort(key=lambda event: event.agent != reader)
    for event in events[:1]:
        if not _has_gone_on(event, recent, attempts) and not _is_all_over(store, event, attempts):
            return _pause_of(event)
    return None


def words_for_later(pause: Pause | None, reader: str) -> str:
    """Return what the reader meant to do next, if they have said so in their own words."""
    if pause is None or pause.agent != reader or "next_step" in pause.worded:
        return ""
    return pause.next_step


def _has_gone_on(pause: Event, recent: Iterable[Event], attempts: Iterable[Attempt]) -> bool:
    """Tell whether whoever paused has worked since."""
    done = any(
        event.seq > pause.seq and event.agent == pause.agent and event.kind not in LETTING_GO
        for event in recent
    )
    return done or any(
        attempt.started_at > pause.at and attempt.agent == pause.agent for attempt in attempts
    )


def _is_all_over(store: Store, pause: Event, attempts: Iterable[Attempt]) -> bool:
    """Tell whether all that was in hand has ended, or was begun again: no word is about it now."""
    in_hand = pause.data.get("tasks")
    if not isinstance(in_hand, list) or not in_hand:
        return False
    if any(attempt.task_id in in_hand for attempt in attempts):
        return False
    return all(_is_over(store, str(task_id), pause) for task_id in in_hand)


def _is_over(store: Store, task_id: str, pause: Event) -> bool:
    task = store.find_task(task_id, None)
    if task is None or task.status.is_terminal:
        return True
    return any(attempt.started_at > pause.at for attempt in store.attempts(task_id)[-1:])


def _pause_of(event: Event) -> Pause:
    return Pause(
        session_id=str(event.session_id),
        agent=str(event.agent),
        at=event.at,
        note=str(event.data.get("note", "")),
        next_step=str(event.data.get("next_step", "")),
        worded=tuple(event.data.get("worded", ())),
    )
