"""A simulated fortnight of a person and three agents, with nights, crashes and bad days.

Everything is drawn from a seed, and the only clock is one that the simulation moves.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import attrs

import vespera_orchestrator as vespera
from vespera_orchestrator.testing import ManualClock

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
STEPS_A_DAY = 48
"""Each step is half an hour."""
AGENTS = ("ada", "bob", "cyd")
AWAY = frozenset({5, 6, 12})
"""Days on which the person does not come; the first day is 0."""
BAD = frozenset({2, 8, 11})
"""Days on which the person can take exactly one step."""
TROUBLED = frozenset({1, 9})
"""Days on which most of what the agents try goes wrong."""
LONG = frozenset({3})
"""Days on which the person takes no break."""
FIRST_HOUR, LAST_HOUR = 9, 19
"""When the person begins, and looks for the last time."""
PLANNED_A_DAY = 6
_AGENT_BEGINS = {True: 0.2, False: 0.05}
"""How likely an agent begins something within a step, on a day with trouble and on any other."""
_PERSON_BEGINS = 0.3


@attrs.frozen(kw_only=True)
class Moment:
    """How much it was at one time."""

    at: datetime
    score: int
    level: str
    is_low_energy: bool
    """Whether the person saw one step at a time."""


@attrs.define(kw_only=True)
class Day:
    """What one day was like."""

    number: int
    """0 is the first Monday."""
    moments: list[Moment] = attrs.field(factory=list)
    digests: int = 0
    """How often the person looked for news and there was some: the only interruption."""
    looks: int = 0
    """How often the person looked for news."""
    nags: int = 0
    """How often news or a choice was told again, or a task came back on the day it was put off."""
    begun: int = 0
    """Tasks that anybody began."""
    completed: int = 0
    """Tasks that anybody completed."""
    troubles: int = 0
    """Attempts that were blocked, and agents that stopped responding."""

    @property
    def highest(self) -> int:
        """The highest score of the day."""
        return max(moment.score for moment in self.moments)

    @property
    def lowest(self) -> int:
        """The lowest score of the day."""
        return min(moment.score for moment in self.moments)

    @property
    def is_low_energy(self) -> bool:
        """Whether the person saw one step at a time, at any hour."""
        return any(moment.is_low_energy for moment in self.moments)


class Fortnight:
    """One run.

    Args:
        folder: An empty folder for the home.
        seed: What everything is drawn from.
        length: How many days.
    """

    def __init__(self, folder, seed, length=14):
        """Open the home."""
        self.random = random.Random(seed)
        self.clock = ManualClock(MONDAY)
        self.days = [Day(number=number) for number in range(length)]
        self.read = []
        """Every text that the person read on a bad day."""
        self.saved = {}
        """The state that was saved last for each task."""
        self._news = set()
        self._put_off = set()
        self._planned = 0
        self._holds_until = None
        self._work = None
        with vespera.open(folder) as first:
            first.initialize_session("A kettle")
        config = folder / ".task_orchestrator" / "config.toml"
        config.write_text('[person]\ntimezone = "UTC"\n')
        self.orch = vespera.open(folder, clock=self.clock, durability="normal", embedder="none")
        self._observer = vespera.open(folder, clock=self.clock, readonly=True)

    def run(self):
        """Live through all days; return them."""
        with self.orch, self._observer:
            for day in self.days:
                self._put_off.clear()
                for step in range(STEPS_A_DAY):
                    self._half_hour(day, hour=step / 2)
            self._count_events()
            self.lost = [
                alias for alias, state in self.saved.items() if self._last_state(alias) != state
            ]
        return self.days

    def _half_hour(self, day, hour):
        for agent in AGENTS:
            self._agent_works(agent, day)
        if day.number not in AWAY and FIRST_HOUR <= hour <= LAST_HOUR:
            if hour == FIRST_HOUR:
                self._morning(day)
            self._person_works(day, hour)
            self._person_looks(day)
            if hour == LAST_HOUR:
                self._evening(day)
        self._observe(day)
        self.clock.advance(timedelta(minutes=30).total_seconds())

    def _observe(self, day):
        """Note how much it is, without anybody looking."""
        pressure = self._observer.pressure()
        is_gentle = self._observer.get_status().gentleness is not None
        day.moments.append(
            Moment(
                at=self.clock(),
                score=pressure.score,
                level=str(pressure.level),
                is_low_energy=is_gentle,
            )
        )

    # --- the agents -------------------------------------------------------------

    def _agent_works(self, agent, day):
        """Let an agent begin, save, and end well, badly, or by falling silent."""
        has_trouble = day.number in TROUBLED
        if self.random.random() > _AGENT_BEGINS[has_trouble]:
            return
        try:
            work = self.orch.execute_task(agent=agent, lease_s=1200)
        except vespera.NothingReadyError:
            return
        self._save(work)
        chance = self.random.random()
        crashes, fails = (0.3, 0.8) if has_trouble else (0.06, 0.18)
        if chance < crashes:
            return  # nobody ever hears of it again
        if chance < fails:
            work.fail("it broke")
        else:
            work.complete(summary=f"did {work.task.alias}", detailed_work="all of it")

    def _save(self, work):
        number = self.random.randrange(1_000_000)
        work.checkpoint({"n": number}, f"at {number}")
        self.saved[work.task.alias] = number

    # --- the person -------------------------------------------------------------

    def _morning(self, day):
        """Say how one is, and plan the day unless it is a bad one."""
        if day.number in BAD:
            self.orch.set_energy("low")
            return
        self.orch.set_energy("normal")
        self.orch.resume()
        numbers = range(self._planned, self._planned + PLANNED_A_DAY)
        self.orch.plan_tasks([{"title": f"T{number}"} for number in numbers])
        self._planned += PLANNED_A_DAY

    def _person_works(self, day, hour):
        """Go on with what is in hand, or begin something: on a bad day one step at most."""
        if self._work is not None:
            self._save(self._work)
            if self.clock() >= self._holds_until:
                work, self._work = self._work, None
                work.complete(summary=f"did {work.task.alias}", detailed_work="with care")
            return
        if day.number in BAD:
            if hour == FIRST_HOUR + 1:
                self._not_today()
            if hour != FIRST_HOUR + 2:
                return
        elif day.number not in LONG and self.random.random() > _PERSON_BEGINS:
            return
        if hour < LAST_HOUR - 2:
            self._begin(hours=8.0 if day.number in LONG else self.random.choice([0.5, 1.0, 1.5]))

    def _begin(self, hours):
        """Take what the next step names, or else the best ready task."""
        step = self.orch.next_step()
        task = step.task_id if step.action == "execute" else None
        try:
            self._work = self.orch.execute_task(task, lease_s=3600)
        except vespera.NothingReadyError:
            return
        self._save(self._work)
        self._holds_until = self.clock() + timedelta(hours=hours)

    def _not_today(self):
        """Put off the one thing that is shown."""
        step = self.orch.next_step()
        if step.action == "execute":
            task = self.orch.snooze_task(step.task_id)
            self._put_off.add(task.alias)

    def _person_looks(self, day):
        """Look at everything, as often as one likes."""
        self.orch.pressure()
        digest = self.orch.digest()
        day.looks += 1
        if digest.has_news:
            day.digests += 1
            self._read_news(day, digest)
        if day.number in BAD:
            pages = [str(self.orch.get_status()), str(self.orch.resume())]
            self.read += [*pages, str(digest)]
            day.nags += sum(self._names_what_was_put_off(page) for page in pages)

    def _read_news(self, day, digest):
        day.nags += self._names_what_was_put_off(str(digest))
        told = [line for line in digest.lines if line.startswith("  ")]
        if digest.next_step.action != "decide":
            told = [line for line in told if line.strip() != str(digest.next_step)]
        day.nags += sum(line in self._news for line in told)
        self._news.update(told)

    def _names_what_was_put_off(self, page):
        return any(re.search(rf"\b{alias}\b", page) for alias in self._put_off)

    def _evening(self, day):
        """Leave off; where there is the energy, look at the whole of it."""
        if day.number not in BAD:
            self.orch.resume()
        self.orch.pause()

    # --- what came of it --------------------------------------------------------

    def _count_events(self):
        """Count what happened on each day, and how often the level changed."""
        events = list(self.orch.watch(after=0, timeout_s=0))
        self.changes = Counter(e.at.date() for e in events if e.kind == "pressure_changed")
        by_day = Counter(((e.at - MONDAY).days, str(e.kind)) for e in events)
        for day in self.days:
            day.begun = by_day[day.number, "task_started"]
            day.completed = by_day[day.number, "task_completed"]
            day.troubles = by_day[day.number, "task_blocked"]
            day.troubles += by_day[day.number, "lease_expired"]

    def _last_state(self, alias):
        """Return what was saved last for a task."""
        checkpoint = self.orch._store.last_checkpoint(self.orch.get_task(alias).id)
        return None if checkpoint is None else checkpoint.state["n"]
