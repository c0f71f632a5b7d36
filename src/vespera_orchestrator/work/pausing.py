"""Leaving off: everything that is open is saved, and the words for the way back are kept."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import VesperaError
from vespera_orchestrator.home import machine
from vespera_orchestrator.progress.own_tasks import held_tasks
from vespera_orchestrator.progress.pauses import standing_pause
from vespera_orchestrator.progress.resume import CHANGE_WORDS, change_words
from vespera_orchestrator.tasks import arguments, lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import Attempt, Checkpoint, Pause, Task
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.overview import Overview
    from vespera_orchestrator.work.start import Starter
    from vespera_orchestrator.work.work import Work

log = logging.getLogger("vespera_orchestrator")

_BOTH: Final = ("note", "next_step")
_LOOKED_BACK: Final = 50
"""In how many of the last milestones it is looked for whether somebody has gone on."""
_MOST_WORDED: Final = 3
"""How many open tasks the library's own words name."""


def pause(
    rooms: Rooms, overview: Overview, starter: Starter, *, note: str, next_step: str
) -> Pause:
    """Keep the words, then save what is open.

    The words are durable before anything else is tried: whatever ends this call early, an
    interrupt, a full disk or a kill, does not take them away. What it leaves unsaved is still in
    the worktree, and saved by whoever comes next.

    Args:
        rooms: The store, and who is calling.
        overview: What to say about the session where the caller says nothing.
        starter: Knows what this process has in hand.
        note: Where the caller was; ``""`` for words of the library's own, or, if the caller has
            not gone on since, those of their last pause.
        next_step: What the caller meant to do next; ``""`` likewise.

    Raises:
        InvalidInputError: A word is not a text.
    """
    note = arguments.text("note", note) or ""
    next_step = arguments.text("next_step", next_step) or ""
    session_id = rooms.scope.session().id
    held = held_tasks(rooms.store, session_id, rooms.scope.agent)
    works = [*starter.open_works()]
    here = {work.task.id for work in works}
    works += [
        starter.in_hand(task, attempt.agent)
        for task, attempt in held
        if task.id not in here and _has_no_process(attempt)
    ]
    open_ids = {work.task.id for work in works}
    begun = [task for task, _ in held if task.id not in open_ids]
    in_hand = [*(work.task for work in works if _is_held(rooms, work)), *begun]
    words = _words(rooms, overview, session_id, in_hand, note=note, next_step=next_step)
    kept = rooms.store.pause_session(
        session_id,
        rooms.scope.agent,
        note=words.note,
        next_step=words.next_step,
        worded=words.worded,
        task_ids=[task.id for task in in_hand],
    )
    is_about_one = len(works) == 1 and "note" not in words.worded
    saved, not_saved = _save(rooms, works, words.note if is_about_one else "")
    names = tuple(task.alias for task in begun)
    return attrs.evolve(kept, saved=saved, not_saved=not_saved, begun=names)


def _has_no_process(attempt: Attempt) -> bool:
    """Tell whether no process but this one will save what is in hand, such as after a command."""
    return not attempt.process or machine.has_left(attempt.process)


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


# --- the words ----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Words:
    """What a pause says, and which of it the library has worded."""

    note: str
    next_step: str
    worded: tuple[str, ...] = ()


def _words(
    rooms: Rooms,
    overview: Overview,
    session_id: str,
    in_hand: list[Task],
    *,
    note: str,
    next_step: str,
) -> _Words:
    """Return the caller's words, those of their last pause, or else words of the library's own."""
    if not note.strip() and not next_step.strip():
        before = _own_words_before(rooms, session_id)
        if before is not None:
            return _Words(note=before.note, next_step=before.next_step, worded=before.worded)
    worded = tuple(
        name for name, words in (("note", note), ("next_step", next_step)) if not words.strip()
    )
    return _Words(
        note=note if note.strip() else _own_note(rooms, session_id, in_hand),
        next_step=next_step if next_step.strip() else _own_step(overview, in_hand),
        worded=worded,
    )


def _own_words_before(rooms: Rooms, session_id: str) -> Pause | None:
    """Return the caller's last pause, if they said something then and have not gone on since."""
    agent = rooms.scope.agent
    recent = rooms.store.events(
        session_id=session_id, kinds=lifecycle.MILESTONES, limit=_LOOKED_BACK, newest_first=True
    )
    held = held_tasks(rooms.store, session_id, agent)
    last = standing_pause(
        rooms.store,
        session_id,
        agent,
        recent=recent,
        attempts=[attempt for _, attempt in held],
    )
    is_own = last is not None and last.agent == agent and len(last.worded) < len(_BOTH)
    return last if is_own else None


def _own_note(rooms: Rooms, session_id: str, tasks: list[Task]) -> str:
    """Say what is in hand, or else what was done last."""
    if tasks:
        return "; ".join(_state_of(rooms, task) for task in tasks[:_MOST_WORDED])
    last = rooms.store.events(
        session_id=session_id, kinds=lifecycle.MILESTONES, limit=1, newest_first=True
    )
    if not last or last[0].kind not in CHANGE_WORDS:
        return "nothing was in hand"
    task = rooms.store.find_task(str(last[0].task_id), None)
    name = "a task" if task is None else task.alias
    return f"nothing was in hand; the last change: {name} {change_words(last[0])}"


def _state_of(rooms: Rooms, task: Task) -> str:
    checkpoint = rooms.store.last_checkpoint(task.id)
    if checkpoint is None or not checkpoint.note:
        return f"at work on {task.alias}"
    return f"at work on {task.alias}: {checkpoint.note}"


def _own_step(overview: Overview, tasks: list[Task]) -> str:
    if tasks:
        return f"go on with {tasks[0].alias}"
    return overview.next_step().sentence
