"""Leaving off: everything that is open is saved, and the words for the way back are kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.progress.own_tasks import held_tasks
from vespera_orchestrator.progress.resume import CHANGE_WORDS, change_words
from vespera_orchestrator.tasks import arguments, lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import Checkpoint, Pause
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.overview import Overview
    from vespera_orchestrator.work.work import Work

log = logging.getLogger("vespera_orchestrator")

_MOST_WORDED: Final = 3
"""How many open tasks the library's own words name."""


def pause(
    rooms: Rooms, overview: Overview, works: Iterable[Work], *, note: str, next_step: str
) -> Pause:
    """Keep the words, then save what is open.

    The words are durable before anything else is tried: whatever ends this call early, an
    interrupt, a full disk or a kill, does not take them away. What it leaves unsaved is still in
    the worktree, and saved by whoever comes next.

    Args:
        rooms: The store, and who is calling.
        overview: What to say about the session where the caller says nothing.
        works: What this process has in hand.
        note: Where the caller was; ``""`` for words of the library's own.
        next_step: What the caller meant to do next; ``""`` likewise.

    Raises:
        InvalidInputError: A word is not a text.
    """
    note = arguments.text("note", note) or ""
    next_step = arguments.text("next_step", next_step) or ""
    session_id = rooms.scope.session().id
    open_works = [work for work in works if work.is_open]
    held = [work for work in open_works if _is_held(rooms, work)]
    worded = tuple(
        name for name, words in (("note", note), ("next_step", next_step)) if not words.strip()
    )
    kept = rooms.store.pause_session(
        session_id,
        rooms.scope.agent,
        note=note if note.strip() else _own_note(rooms, session_id, held),
        next_step=next_step if next_step.strip() else _own_step(overview, held),
        worded=worded,
        task_ids=[work.task.id for work in held],
    )
    is_about_one = len(open_works) == 1 and "note" not in worded
    saved, not_saved = _save(rooms, open_works, note if is_about_one else "")
    own_ids = {work.task.id for work in open_works}
    begun = held_tasks(rooms.store, session_id, rooms.scope.agent)
    names = tuple(task.alias for task, _ in begun if task.id not in own_ids)
    return attrs.evolve(kept, saved=saved, not_saved=not_saved, begun=names)


def _save_again(rooms: Rooms, work: Work, note: str) -> Checkpoint:
    """Save the files of *work*, with the state, note and progress of its last checkpoint.

    The words of a pause are kept by themselves. They are the task's note only where it has none.
    """
    last = rooms.store.last_checkpoint(work.task.id)
    if last is None:
        return work.checkpoint({}, note)
    return work.checkpoint(last.state, last.note or note, last.progress)


def _is_held(rooms: Rooms, work: Work) -> bool:
    """Tell whether nobody has taken the task since: what is lost is saved, but not said."""
    latest = rooms.store.attempts(work.task.id)[-1:]
    return [attempt.number for attempt in latest] == [work.attempt.number]


def _save(
    rooms: Rooms, works: Iterable[Work], note: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Save each of *works*, whatever becomes of the others; return what was saved, and what not."""
    saved, not_saved = [], []
    for work in works:
        try:
            _save_again(rooms, work, one_line(note, len(note) + 1))
        except VesperaError as exc:
            log.warning("%s could not be saved: %s", work.task.alias, exc)
            not_saved.append(f"{work.task.alias}: {exc}")
            continue
        if work.not_saved:
            not_saved.append(f"the files of {work.task.alias}: {work.not_saved}")
        saved.append(work.task.alias)
    return tuple(saved), tuple(not_saved)


# --- the library's own words --------------------------------------------------


def _own_note(rooms: Rooms, session_id: str, works: list[Work]) -> str:
    """Say what is in hand, or else what was done last."""
    if works:
        return "; ".join(_state_of(rooms, work) for work in works[:_MOST_WORDED])
    last = rooms.store.events(
        session_id=session_id, kinds=lifecycle.MILESTONES, limit=1, newest_first=True
    )
    if not last or last[0].kind not in CHANGE_WORDS:
        return "nothing was in hand"
    task = rooms.store.find_task(str(last[0].task_id), None)
    name = "a task" if task is None else task.alias
    return f"nothing was in hand; the last change: {name} {change_words(last[0])}"


def _state_of(rooms: Rooms, work: Work) -> str:
    checkpoint = rooms.store.last_checkpoint(work.task.id)
    if checkpoint is None or not checkpoint.note:
        return f"at work on {work.task.alias}"
    return f"at work on {work.task.alias}: {checkpoint.note}"


def _own_step(overview: Overview, works: list[Work]) -> str:
    if works:
        return f"go on with {works[0].task.alias}"
    return overview.next_step().sentence
