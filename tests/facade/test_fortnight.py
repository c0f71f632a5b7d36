"""A fortnight of a person and three agents, with nights, crashes, bad days and days away.

Everything is drawn from a seed, and the only clock is one that the simulation moves.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

import vespera_orchestrator as vespera
from support.kind_words import UNKIND
from vespera_orchestrator.testing import ManualClock

MONDAY = datetime(2026, 1, 5, 0, tzinfo=UTC)
AGENTS = ["ada", "bob", "cyd"]
AWAY = {5, 6, 9}
"""Days on which the person does not come."""
BAD = {2, 8, 10}
"""Days on which the person can take exactly one step."""
MOST_CHANGES_A_DAY = 6


class Fortnight:
    """One run: each step is half an hour."""

    def __init__(self, folder, seed, days):
        """Open a home in *folder* with as many tasks as *days* need."""
        self.random = random.Random(seed)
        self.clock = ManualClock(MONDAY)
        self.days = days
        self.digests = Counter()
        self.told, self.read, self.saved = [], [], {}
        with vespera.open(folder) as first:
            first.initialize_session("A kettle")
        config = folder / ".task_orchestrator" / "config.toml"
        config.write_text('[person]\ntimezone = "UTC"\n')
        self.orch = vespera.open(folder, clock=self.clock, durability="normal", embedder="none")
        self.orch.plan_tasks([{"title": f"T{number}"} for number in range(4 * days)])

    def run(self):
        """Live through all days."""
        with self.orch:
            for _ in range(48 * self.days):
                for agent in AGENTS:
                    self.agent_works(agent)
                if 9 <= self.clock().hour < 20:
                    self.person_looks()
                self.clock.advance(timedelta(minutes=30).total_seconds())
            self.lost = [
                alias for alias, state in self.saved.items() if self.last_state(alias) != state
            ]
            self.moods = list(self.orch._store.events(kinds=["pressure_changed"], limit=None))

    def agent_works(self, agent):
        """Let an agent begin, save, and end well, badly, or by falling silent."""
        if self.random.random() > 0.12:
            return
        try:
            work = self.orch.execute_task(agent=agent, lease_s=1200)
        except vespera.NothingReadyError:
            return
        number = self.random.randrange(1_000_000)
        work.checkpoint({"n": number}, f"at {number}")
        self.saved[work.task.alias] = number
        chance = self.random.random()
        if chance < 0.15:
            return  # it crashes: nobody ever hears of it again
        if chance < 0.35:
            work.fail("it broke")
        else:
            work.complete(summary=f"did {work.task.alias}", detailed_work="all of it")

    def person_looks(self):
        """Look at everything, once every half hour of a day that is not a day away."""
        day = (self.clock() - MONDAY).days
        if day in AWAY:
            return
        self.orch.pressure()
        if day in BAD:
            self.orch.set_energy("low")
        elif self.clock().hour == 9:
            self.orch.set_energy("normal")
        digest = self.orch.digest()
        if digest.has_news:
            self.digests[day] += 1
            self.told += [line for line in digest.lines if line.startswith("  t")]
        if day in BAD:
            self.read += [str(self.orch.get_status()), str(self.orch.resume())]
        elif self.clock().hour == 19:
            self.orch.resume()

    def last_state(self, alias):
        """Return what was saved last for a task."""
        checkpoint = self.orch._store.last_checkpoint(self.orch.get_task(alias).id)
        return None if checkpoint is None else checkpoint.state["n"]


@pytest.mark.parametrize(
    ("seed", "days"),
    [(1, 4), *(pytest.param(seed, 14, marks=pytest.mark.soak) for seed in range(5))],
)
def test_a_fortnight_is_bearable(tmp_path, seed, days):
    """At most three digests a day, no line of news twice, kind words on bad days, no level that
    flickers, and no checkpoint lost.
    """
    life = Fortnight(tmp_path, seed, days)
    life.run()
    assert 1 <= max(life.digests.values()) <= 3
    assert len(life.told) == len(set(life.told))
    assert life.read
    assert not [text for text in life.read if UNKIND.search(text.replace("it broke", ""))]
    changes = Counter(event.at.date() for event in life.moods)
    assert max(changes.values(), default=0) <= MOST_CHANGES_A_DAY
    assert life.saved
    assert life.lost == []
