"""Reads from the store what pressure is computed from, and records when its level changes."""

from __future__ import annotations

import logging
from datetime import UTC, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Energy,
    EventKind,
    PressureLevel,
    TaskQuery,
    TaskStatus,
)
from vespera_orchestrator._text import plural
from vespera_orchestrator.errors import ReadOnlyError, StoreUnavailableError
from vespera_orchestrator.home.scope import DEFAULT_AGENT
from vespera_orchestrator.progress.low_energy import Gentleness
from vespera_orchestrator.tasks.pressure import (
    Pressure,
    PressureFacts,
    Standing,
    assess,
    parallel_limit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from vespera_orchestrator._model import Event
    from vespera_orchestrator._rooms import Rooms

log = logging.getLogger("vespera_orchestrator")

_WINDOW: Final = timedelta(days=1)
_NIGHT: Final = timedelta(hours=4)
"""Who works after midnight is still in the day before."""
_STEADY_FOR: Final = timedelta(seconds=60)
"""How long a steady level counts for further claims of this process."""
_ENERGY_LASTS: Final = timedelta(hours=16)
"""A person's word counts for the rest of the day; then it may be asked anew."""
_JUST: Final = timedelta(hours=1)
_SEQ_WINDOW: Final = 20_000
"""No event further back in the log than this is looked at."""
_MOST: Final = 200
"""Most events of one kind that are counted."""
_MOST_ACTS: Final = 500
_MOST_RUNNING: Final = 50
_DECISIONS: Final = (
    EventKind.SESSION_STARTED,
    EventKind.SESSION_RESUMED,
    EventKind.SESSION_PAUSED,
    EventKind.TASK_RETRIED,
    EventKind.TASK_CANCELLED,
    EventKind.TASK_FAILED,
    EventKind.ENERGY_SET,
)
"""What only a person does, or whoever coordinates."""
_WORK: Final = (EventKind.TASK_STARTED, EventKind.CHECKPOINT_SAVED, EventKind.TASK_COMPLETED)
"""What a person does too, under the name that is the default."""
_FAILURES: Final = (EventKind.TASK_BLOCKED, EventKind.RETRY_SCHEDULED)
_LOST_HOLDERS: Final = (EventKind.LEASE_EXPIRED, EventKind.ATTEMPT_STALLED)
_HANDED_BACK: Final = (EventKind.TASK_RELEASED, EventKind.QUESTION_ASKED)
"""How a holder lets go on purpose: going on afterwards is no setback."""
_MOODS: Final = (EventKind.ENERGY_SET, EventKind.PRESSURE_CHANGED)
"""The store has an index of these, in this order."""
_ENDINGS: Final = (
    EventKind.TASK_COMPLETED,
    EventKind.TASK_SKIPPED,
    EventKind.TASK_CANCELLED,
    EventKind.TASK_FAILED,
)


@attrs.frozen(kw_only=True)
class FullLoad:
    """As many tasks are held as the pressure allows, or more."""

    held: int
    most: int
    level: PressureLevel

    @property
    def words(self) -> str:
        """The sentence that says so, without its full stop."""
        are = "is" if self.held == 1 else "are"
        tasks = plural(self.held, "task")
        return f"{tasks} {are} under way, at most {self.most} while it is {self.level}"


class PressureGauge:
    """Says how close to too much a session is."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._steady_at: dict[str, datetime] = {}
        """When each session was last found to be steady."""

    def was_steady(self, session_id: str) -> bool:
        """Tell whether the session was found to be steady within the last minute."""
        found_at = self._steady_at.get(session_id)
        if found_at is None:
            return False
        return timedelta() <= self._rooms.clock() - found_at < _STEADY_FOR

    def read(self, session_id: str) -> Pressure:
        """Judge it, and write nothing."""
        pressure, _ = self._read(session_id)
        return pressure

    def update(self, session_id: str) -> Pressure:
        """Judge it, and record the level if it is another one than before."""
        pressure, standing = self._read(session_id)
        is_same = (pressure.level, pressure.energy) == (standing.level, standing.energy)
        if not is_same and not self._rooms.scope.readonly:
            self._record(session_id, pressure, standing)
        self._steady_at.pop(session_id, None)
        if pressure.level is PressureLevel.STEADY:
            self._steady_at[session_id] = self._rooms.clock()
        return pressure

    def last_level(self, session_id: str) -> PressureLevel:
        """Return the level that was recorded last, without judging anew."""
        return _LogReader(self._rooms, session_id, self._rooms.clock()).standing().level

    def full_load(self, session_id: str, level: PressureLevel) -> FullLoad | None:
        """Return what is held, if that is as much as the level of pressure allows."""
        most = parallel_limit(level, self._rooms.config.pressure)
        if most is None:
            return None
        held, _ = _LogReader(self._rooms, session_id, self._rooms.clock()).running()
        return FullLoad(held=held, most=most, level=level) if held >= most else None

    def is_gentle(self, session_id: str) -> bool:
        """Tell whether the caller sees one step at a time, in gentle words."""
        return _LogReader(self._rooms, session_id, self._rooms.clock()).is_gentle()

    def gentleness(self, session_id: str) -> Gentleness | None:
        """Return what was done today if the caller sees one step at a time, else ``None``."""
        reader = _LogReader(self._rooms, session_id, self._rooms.clock())
        return reader.gentleness() if reader.is_gentle() else None

    def set_energy(self, session_id: str, energy: Energy) -> Pressure:
        """Record the person's word, unless it was said just before, and judge again."""
        reader = _LogReader(self._rooms, session_id, self._rooms.clock())
        if not reader.has_just_said(energy):
            agent = self._rooms.scope.agent
            self._rooms.store.record_event(
                session_id, EventKind.ENERGY_SET, {"energy": energy}, agent=agent
            )
        return self.update(session_id)

    def _record(self, session_id: str, pressure: Pressure, standing: Standing) -> None:
        data = {
            "level": pressure.level,
            "before": standing.level,
            "score": pressure.score,
            "energy": pressure.energy,
            "causes": [cause.sentence for cause in pressure.causes],
        }
        try:
            self._rooms.store.record_event(session_id, EventKind.PRESSURE_CHANGED, data)
        except (StoreUnavailableError, ReadOnlyError) as exc:  # looking needs no write access
            log.warning("the pressure could not be recorded: %s", exc)

    def _read(self, session_id: str) -> tuple[Pressure, Standing]:
        now = self._rooms.clock()
        reader = _LogReader(self._rooms, session_id, now)
        standing = reader.standing()
        facts = reader.facts()
        settings = self._rooms.config.pressure
        return assess(facts, settings, standing, now), standing


class _LogReader:
    """Counts what happened in a session, as of one moment."""

    def __init__(self, rooms: Rooms, session_id: str, now: datetime) -> None:
        self._rooms = rooms
        self._session_id = session_id
        self._now = now
        self._reader = rooms.scope.agent

    @cached_property
    def _first_seq(self) -> int:
        return max(0, self._rooms.store.last_seq() - _SEQ_WINDOW)

    def standing(self) -> Standing:
        """Return the level that was recorded last."""
        event = self._newest_mood(EventKind.PRESSURE_CHANGED)
        if event is None:
            return Standing()
        return Standing(
            level=PressureLevel(event.data.get("level", PressureLevel.STEADY)),
            since=event.at,
            energy=Energy(event.data.get("energy", Energy.NORMAL)),
        )

    def _newest_mood(self, kind: EventKind) -> Event | None:
        """Return the newest event of this kind, however far back."""
        return next((event for event in self._moods if event.kind == kind), None)

    @cached_property
    def _moods(self) -> Sequence[Event]:
        return self._rooms.store.events(
            session_id=self._session_id, kinds=_MOODS, limit=_MOST, newest_first=True
        )

    def facts(self) -> PressureFacts:
        started = self._recent((EventKind.TASK_STARTED,))
        planned = self._recent((EventKind.TASK_PLANNED, EventKind.TASK_REOPENED))
        ended = self._recent(_ENDINGS)
        running, silent_s = self.running()
        whose = self._low_energy()
        return PressureFacts(
            failures=len(self._recent(_FAILURES)),
            retries=self._retries(started),
            expired_leases=len(self._lost_holders()),
            completed=sum(event.kind == EventKind.TASK_COMPLETED for event in ended),
            growth=max(0, len(planned) - len(ended)),
            conflicts=self._conflicts(),
            running=running,
            silent_s=silent_s,
            unbroken_s=self._unbroken_s(),
            unseen=self._unseen(),
            energy=Energy.NORMAL if whose is None else Energy.LOW,
            energy_of="" if whose in {None, self._reader} else str(whose),
        )

    def _lost_holders(self) -> list[Event]:
        """Return where an agent fell silent; whoever has only gone home has not.

        The first time in a day that the person's own agent falls silent at a task may be that, and
        the second is not.
        """
        silences = [each for each in self._recent(_LOST_HOLDERS) if not each.data.get("paused")]
        went_home = {each.task_id: each.seq for each in silences if _may_have_gone_home(each)}
        return [each for each in silences if each.seq != went_home.get(each.task_id)]

    def _retries(self, started: Iterable[Event]) -> int:
        """Count attempts that were not the first at their task, unless the last was handed back."""
        later = [event for event in started if _attempt_of(event) > 1]
        if not later:
            return 0
        # Before a weekend, too: only the new attempt must be of this day.
        handed_back = self._newest((*_HANDED_BACK, EventKind.LEASE_EXPIRED), _MOST)
        planned = {
            (event.task_id, _attempt_of(event) + 1)
            for event in handed_back
            if event.kind in _HANDED_BACK or _may_have_gone_home(event)
        }
        return sum((event.task_id, _attempt_of(event)) not in planned for event in later)

    def _newest(self, kinds: Iterable[EventKind], limit: int) -> Sequence[Event]:
        return self._rooms.store.events(
            self._first_seq,
            session_id=self._session_id,
            kinds=kinds,
            limit=limit,
            newest_first=True,
        )

    def _recent(self, kinds: Iterable[EventKind]) -> list[Event]:
        """Return the events of these kinds within the window, the newest first."""
        start = self._now - _WINDOW
        return [event for event in self._newest(kinds, _MOST) if event.at > start]

    def running(self) -> tuple[int, float]:
        """Return how many tasks are held, and for how long the most silent one has not saved."""
        rows = self._rooms.store.running(self._session_id, _MOST_RUNNING)
        held = [attempt for _, attempt, _ in rows if not attempt.is_handed_in]
        silences = [self._now - attempt.last_sign_at for attempt in held]
        longest = max(silences, default=timedelta())
        return len(held), max(0.0, longest.total_seconds())

    def _conflicts(self) -> int:
        """Count open recoveries whose task could not land."""
        query = TaskQuery(
            session_id=self._session_id,
            recoveries=True,
            status=(TaskStatus.PENDING, TaskStatus.IN_PROGRESS, TaskStatus.BLOCKED),
            limit=_MOST_RUNNING,
        )
        marks = ("conflict_paths", "refused")
        open_recoveries = self._rooms.store.tasks(query)
        return sum(any(mark in task.context for mark in marks) for task in open_recoveries)

    def _unbroken_s(self) -> float:
        """Return how long the person has been at it without a break, until now."""
        pause = timedelta(minutes=self._rooms.config.pressure.break_minutes)
        earliest = self._now
        for event in self._newest((*_DECISIONS, *_WORK), _MOST_ACTS):
            if event.kind in _WORK and event.agent != DEFAULT_AGENT:
                continue
            if earliest - event.at > pause:
                break
            earliest = min(earliest, event.at)
        return (self._now - earliest).total_seconds()

    def _unseen(self) -> int:
        """Count what others have completed since the person last looked."""
        looks = self._newest((EventKind.SESSION_STARTED, EventKind.SESSION_RESUMED), 1)
        last_look = max([self._first_seq, *(event.seq for event in looks)])
        look = self._rooms.store.last_look(self._session_id, DEFAULT_AGENT)
        if look is not None:
            last_look = max(last_look, look.seq)
        completed = self._rooms.store.events(
            last_look,
            session_id=self._session_id,
            kinds=(EventKind.TASK_COMPLETED,),
            limit=_MOST,
        )
        return sum(event.agent != DEFAULT_AGENT for event in completed)

    def is_gentle(self) -> bool:
        """Tell whether the caller sees one step at a time: by their own word, or the settings."""
        settings = self._rooms.config.low_energy
        choice = self._choice()
        if choice is not None:
            return choice
        if self._is_overwhelmed:
            return settings.when_overwhelmed
        return bool(settings.days_away) and self._has_been_away(settings.days_away)

    def _choice(self) -> bool | None:
        """Return whether the caller wants one step at a time; ``None`` if nobody has said so."""
        word = self._words.get(self._reader)
        if word is not None and _energy_of(word) is Energy.LOW:
            return True
        # What was said before it became too much is no answer to that.
        since = self.standing().since
        if word is not None and not (self._is_overwhelmed and since and word.at < since):
            return False
        return True if self._reader in (self._rooms.config.low_energy.people or ()) else None

    @property
    def _is_overwhelmed(self) -> bool:
        return self.standing().level is PressureLevel.OVERWHELMED

    def _has_been_away(self, days: int) -> bool:
        """Tell whether the caller was here before, but has done nothing and not looked for long."""
        acts = self._newest((*_DECISIONS, *_WORK), _MOST_ACTS)
        last = [event.at for event in acts if event.agent == self._reader][:1]
        look = self._rooms.store.last_look(self._session_id, self._reader)
        if look is not None:
            last.append(look.at)
        return bool(last) and self._now - max(last) >= timedelta(days=days)

    def gentleness(self) -> Gentleness:
        """Return what was done today, by the caller and by others.

        A task counts once, however often it was taken up. What nobody's hands have completed, such
        as a question by its answer, is nobody's.
        """
        begun = self._today(EventKind.TASK_STARTED)
        completed = self._today(EventKind.TASK_COMPLETED)
        own = {event.task_id for event in completed if event.agent == self._reader}
        by_others = {
            event.task_id for event in completed if event.agent not in (self._reader, None)
        }
        return Gentleness(
            is_for_person=self._reader == DEFAULT_AGENT or bool(self._choice()),
            begun=len({event.task_id for event in begun if event.agent == self._reader}),
            completed=len(own),
            others_completed=len(by_others - own),
        )

    def _today(self, kind: EventKind) -> list[Event]:
        """Return the events since the person's day began, which is at four in the morning."""
        now = self._now.astimezone(self._rooms.zone)
        midnight = (now - _NIGHT).replace(hour=0, minute=0, second=0, microsecond=0)
        morning = (midnight + _NIGHT).astimezone(UTC)
        return [event for event in self._recent((kind,)) if event.at >= morning]

    def has_just_said(self, energy: Energy) -> bool:
        """Tell whether the caller's last word is the same, and less than an hour old."""
        word = self._words.get(self._reader)
        if word is None or self._now - word.at > _JUST:
            return False
        return _energy_of(word) is energy

    @cached_property
    def _words(self) -> dict[str, Event]:
        """The last word of each person, while it counts."""
        words: dict[str, Event] = {}
        for event in self._moods:
            is_new = self._now - event.at <= _ENERGY_LASTS
            if event.kind == EventKind.ENERGY_SET and is_new:
                words.setdefault(str(event.agent), event)
        return words

    def _low_energy(self) -> str | None:
        """Return whose energy is low: the caller's if it is, else somebody else's."""
        low = [who for who, word in self._words.items() if _energy_of(word) is Energy.LOW]
        return min(low, key=lambda who: who != self._reader, default=None)


def _may_have_gone_home(event: Event) -> bool:
    """Tell whether a holder may have left off for the day: after a pause, or without a word.

    The person's own program that was closed looks like one that crashed.
    """
    is_silence = event.kind == EventKind.LEASE_EXPIRED
    return is_silence and (bool(event.data.get("paused")) or event.agent == DEFAULT_AGENT)


def _attempt_of(event: Event) -> int:
    attempt = event.data.get("attempt", 1)
    return attempt if isinstance(attempt, int) else 1


def _energy_of(word: Event) -> Energy:
    return Energy(word.data.get("energy", Energy.NORMAL))
