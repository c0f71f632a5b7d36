"""The news in one digest, at most three times a day, and never in the middle of a task.

Notices in batches, three a day at known hours, do better than single ones and than none at all
(Fitz et al. 2019). They disturb least between two tasks (Iqbal and Bailey 2008). Nothing polls: a
digest is worked out when somebody looks, as often as they like.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import EventKind, NextStep, Position, TaskStatus
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._text import one_line, plural
from vespera_orchestrator.errors import ReadOnlyError, StoreUnavailableError
from vespera_orchestrator.progress.own_tasks import held_tasks
from vespera_orchestrator.tasks import causes
from vespera_orchestrator.tasks.next_step import REST

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vespera_orchestrator._model import Event, Look, Session, Task
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.progress.overview import Overview

log = logging.getLogger("vespera_orchestrator")

_NEWS: Final = (EventKind.TASK_COMPLETED, EventKind.TASK_BLOCKED)
_MOST_COUNTED: Final = 200
_MOST_NAMED: Final = 3
_WORDS_WIDTH: Final = 70
_NOTHING_NEW: Final = "Nothing new needs you."


@attrs.frozen(repr=False, kw_only=True)
class Digest(Record):
    """What is new, in a few lines. ``str()`` tells it."""

    has_news: bool
    """Whether there is anything new. If not, the lines say that nothing needs you."""
    lines: tuple[str, ...]
    """Its text, line by line."""
    next_step: NextStep
    """What to do now."""
    next_at: datetime
    """From when on there may be news again."""

    json_form = JsonForm(rest="orch.digest()", first=("next_step",))

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from vespera_orchestrator._html import text_html

        return text_html(str(self))


def slots_around(now: datetime, hours: Iterable[int]) -> tuple[datetime, datetime]:
    """Return when the current part of the day began, and when the next one begins.

    Args:
        now: When it is, in the person's time zone.
        hours: The full hours at which a part begins.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    days = [midnight + timedelta(days=offset) for offset in (-1, 0, 1)]
    starts = [day.replace(hour=hour) for day in days for hour in sorted(set(hours))]
    begun = max(start for start in starts if start <= now)
    return begun, min(start for start in starts if start > now)


class DigestReader:
    """Works out a digest for one person.

    Args:
        rooms: The store, the clock and who is asking.
        overview: What the next step is.
        session: The session.
    """

    def __init__(self, rooms: Rooms, overview: Overview, session: Session) -> None:
        self._rooms = rooms
        self._store = rooms.store
        self._session = session
        self._step = overview.next_step()
        self._reader = rooms.scope.agent
        now = rooms.clock().astimezone(rooms.zone)
        self._begun, self._next_at = slots_around(now, rooms.config.person.digest_hours)

    def read(self) -> Digest:
        """Return the digest; what it tells counts as told."""
        in_hand = held_tasks(self._store, self._session.id, self._reader)
        if in_hand:
            title = one_line(in_hand[0][0].title, _WORDS_WIDTH)
            return self._quiet(
                f"You are in the middle of {title!r}. The news wait until it is done."
            )
        told = self._store.last_look(self._session.id, self._name)
        if told is not None and told.at >= self._begun:
            return self._quiet(f"{self._calm} The next news: at {self._next_at:%H:%M}.")
        seq = self._store.last_seq()
        events = self._news(told)
        if not events:
            return self._quiet(self._calm)
        digest = self._digest(events)
        self._note(seq)
        return digest

    @property
    def _calm(self) -> str:
        """What is said where there are no news: whoever could do something is not told to rest."""
        return _NOTHING_NEW if self._step.call else f"Nothing new. {REST}"

    @property
    def _name(self) -> str:
        """Under which name it is kept up to where the reader was told the news."""
        return f"digest:{self._reader}"

    def _news(self, told: Look | None) -> list[Event]:
        """Return what others did since the reader was told, or looked: the newest last."""
        looks = [told, self._store.last_look(self._session.id, self._reader)]
        seen = max((look.seq for look in looks if look is not None), default=0)
        events = self._store.events(
            seen, session_id=self._session.id, kinds=_NEWS, limit=_MOST_COUNTED, newest_first=True
        )
        return [event for event in reversed(events) if not self._is_own(event)]

    def _is_own(self, event: Event) -> bool:
        """Tell whether the reader did it: what a person answers is done by nobody's hands."""
        if event.agent is not None or event.kind != EventKind.TASK_COMPLETED:
            return event.agent == self._reader
        answers = self._store.events(
            task_id=event.task_id, kinds=(EventKind.TASK_ANSWERED,), limit=1, newest_first=True
        )
        return any(answer.agent == self._reader for answer in answers)

    def _digest(self, events: Sequence[Event]) -> Digest:
        done = [event for event in events if event.kind == EventKind.TASK_COMPLETED]
        stuck = [event for event in events if event.kind == EventKind.TASK_BLOCKED]
        lines = [f"{plural(len(done), 'thing')} done since you looked:"] if done else []
        lines += [self._line(event) for event in done[-_MOST_NAMED:]]
        if len(done) > _MOST_NAMED:
            lines[0] = f"{len(done)} things done since you looked, the last:"
        choices = self._choices(stuck)
        if choices:
            lines.append(f"When you like, there is something to choose: {', '.join(choices)}.")
        if self._is_old_decision(stuck):
            lines.append(_NOTHING_NEW)
        elif self._step.call:
            lines += ["One thing, if you like:", f"  {self._step}"]
        else:
            lines.append(REST)
        return Digest(
            has_news=True, lines=tuple(lines), next_step=self._step, next_at=self._next_at
        )

    def _is_old_decision(self, stuck: Sequence[Event]) -> bool:
        """Tell whether the step asks for a choice about a blocked task that was told before.

        Nobody is asked for the same choice three times a day; `next_step` goes on to name it.
        """
        task = self._task(self._step.task_id)
        if self._step.action != "decide" or task is None:
            return False
        new = [self._task(event.task_id) for event in stuck]
        told_now = {each.recovers_task_id or each.id for each in new if each is not None}
        return task.status is TaskStatus.BLOCKED and task.id not in told_now

    def _task(self, task_id: str | None) -> Task | None:
        return None if task_id is None else self._store.find_task(task_id, None)

    def _line(self, event: Event) -> str:
        task = self._task(event.task_id)
        name = "" if task is None else task.alias
        summary = one_line(str(event.data.get("summary") or ""), _WORDS_WIDTH)
        who = f" ({one_line(event.agent, 40)})" if event.agent else ""
        return f"  {name}: {summary}{who}" if summary else f"  {name}{who}"

    def _choices(self, stuck: Sequence[Event]) -> list[str]:
        """Name the tasks that wait for a person, each once."""
        ids = dict.fromkeys(str(event.task_id) for event in stuck)
        situations = [self._store.situation(task_id) for task_id in list(ids)[-_MOST_NAMED:]]
        whys = [causes.why(situation) for situation in situations]
        return [why.alias for why in whys if why.needs_person]

    def _quiet(self, line: str) -> Digest:
        return Digest(has_news=False, lines=(line,), next_step=self._step, next_at=self._next_at)

    def _note(self, seq: int) -> None:
        if self._rooms.scope.readonly:
            return
        try:
            self._store.note_look(self._session.id, self._name, Position(), seq=seq)
        except (StoreUnavailableError, ReadOnlyError) as exc:  # reading needs no write access
            log.warning("it could not be noted what %s was told: %s", self._reader, exc)
