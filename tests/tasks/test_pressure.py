"""Pressure: a score that can be explained, levels that do not flicker, and what follows."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.records import NOW
from vespera_orchestrator._model import Energy, PressureKind, PressureLevel
from vespera_orchestrator.home.config import PressureSettings
from vespera_orchestrator.tasks.pressure import PressureFacts, Standing, assess

STEADY, STRAINED, OVERWHELMED = PressureLevel
SETTINGS = PressureSettings()
ORDER = list(PressureLevel)
COUNTED = [
    field.name for field in attrs.fields(PressureFacts) if not field.name.startswith("energy")
]
NEW = Standing()
CAUSES = [name for name in COUNTED if name != "completed"]


def judge(standing=NEW, now=NOW, **facts):
    """Judge these facts."""
    return assess(PressureFacts(**facts), SETTINGS, standing, now)


def test_where_nothing_happens_it_is_steady():
    """And it says so, and changes nothing."""
    pressure = judge(completed=500)
    assert (pressure.level, pressure.score, pressure.causes) == (STEADY, 0, ())
    assert (pressure.max_parallel, pressure.acts) == (None, ())
    assert "Nothing weighs on it." in str(pressure)


@pytest.mark.parametrize(
    ("facts", "kind", "points"),
    [
        ({"failures": 6}, PressureKind.FAILURES, 25),
        ({"failures": 6, "completed": 12}, PressureKind.FAILURES, 25),
        ({"failures": 12}, PressureKind.FAILURES, 40),
        ({"failures": 14, "completed": 1}, PressureKind.FAILURES, 38),
        ({"failures": 12, "completed": 24}, PressureKind.FAILURES, 25),
        ({"failures": 6, "completed": 594}, PressureKind.FAILURES, 1),
        ({"failures": 3}, PressureKind.FAILURES, 12),
        ({"retries": 8}, PressureKind.RETRIES, 10),
        ({"expired_leases": 9}, PressureKind.EXPIRED_LEASES, 15),
        ({"growth": 40}, PressureKind.QUEUE, 10),
        ({"growth": 10}, None, 0),
        ({"conflicts": 1}, PressureKind.CONFLICTS, 7),
        ({"running": 4}, None, 0),
        ({"running": 8}, PressureKind.RUNNING, 15),
        ({"silent_s": 2 * 3600}, PressureKind.CHECKPOINTS, 10),
        ({"unbroken_s": 4 * 3600}, None, 0),
        ({"unbroken_s": 6 * 3600}, PressureKind.HOURS, 12),
        ({"unseen": 20}, PressureKind.UNSEEN, 20),
        ({"energy": Energy.LOW}, PressureKind.ENERGY, 45),
    ],
)
def test_each_cause_adds_points_up_to_its_weight(facts, kind, points):
    """And is named in a sentence."""
    causes = judge(**facts).causes
    assert [(cause.kind, cause.points) for cause in causes] == ([(kind, points)] if kind else [])
    assert all(cause.sentence in str(judge(**facts)) for cause in causes)


FACTS = st.builds(
    PressureFacts,
    failures=st.integers(0, 20),
    retries=st.integers(0, 20),
    expired_leases=st.integers(0, 10),
    completed=st.integers(0, 200),
    growth=st.integers(0, 60),
    conflicts=st.integers(0, 6),
    running=st.integers(0, 20),
    silent_s=st.floats(0, 20_000),
    unbroken_s=st.floats(0, 50_000),
    unseen=st.integers(0, 40),
    energy=st.sampled_from(Energy),
)
STANDINGS = st.builds(
    Standing,
    level=st.sampled_from(PressureLevel),
    since=st.none() | st.integers(0, 120).map(lambda minutes: NOW - timedelta(minutes=minutes)),
    energy=st.sampled_from(Energy),
)


@given(FACTS, STANDINGS, st.sampled_from(CAUSES), st.integers(1, 1000))
def test_more_of_a_cause_never_means_less_pressure(facts, standing, name, more):
    """Neither in the score nor in the level, wherever it stood before."""
    before = assess(facts, SETTINGS, standing, NOW)
    worse = attrs.evolve(facts, **{name: getattr(facts, name) + more})
    after = assess(worse, SETTINGS, standing, NOW)
    assert after.score >= before.score
    assert ORDER.index(after.level) >= ORDER.index(before.level)


@given(FACTS, STANDINGS)
def test_the_same_facts_give_the_same_answer(facts, standing):
    """Every point is accounted for by a cause, and low energy is never steady."""
    pressure = assess(facts, SETTINGS, standing, NOW)
    assert pressure == assess(facts, SETTINGS, standing, NOW)
    assert pressure.score == min(100, sum(cause.points for cause in pressure.causes))
    if facts.energy is Energy.LOW:
        assert pressure.level is not STEADY
        assert pressure.is_low_energy


def test_a_level_ends_later_than_it_began_and_not_at_once():
    """It rises at once; it falls when the score is clearly lower, after a while."""
    high = {"failures": 6, "conflicts": 3}
    rising = judge(**high)
    assert (rising.score, rising.level) == (45, STRAINED)
    strained = Standing(level=STRAINED, since=NOW)
    a_bit_better, better = {"failures": 6, "conflicts": 1}, {"conflicts": 1}
    soon, later = NOW + timedelta(minutes=20), NOW + timedelta(hours=2)
    assert judge(strained, soon, **better).level is STRAINED
    assert judge(strained, later, **a_bit_better).level is STRAINED
    assert judge(strained, later, **better).level is STEADY
    assert judge(Standing(level=STEADY, since=NOW), soon, **a_bit_better).level is STEADY


def test_the_persons_word_counts_at_once():
    """In both directions, however short the level has lasted."""
    low = judge(Standing(level=STEADY, since=NOW), energy=Energy.LOW)
    assert low.level is STRAINED
    told = Standing(level=STRAINED, since=NOW, energy=Energy.LOW)
    assert judge(told, NOW + timedelta(minutes=1)).level is STEADY


def test_each_level_says_what_it_changes_and_how_to_undo_it():
    """Fewer at a time, saved more often, in smaller steps, one step shown."""
    strained = judge(energy=Energy.LOW)
    assert (strained.max_parallel, strained.checkpoint_s) == (2, 300)
    assert any("despite_pressure=True" in act for act in strained.acts)
    assert any("set_energy('normal')" in act for act in strained.acts)
    overwhelmed = judge(failures=9, conflicts=5, unseen=40, unbroken_s=40_000)
    assert (overwhelmed.level, overwhelmed.max_parallel, overwhelmed.checkpoint_s) == (
        OVERWHELMED,
        1,
        120,
    )
    assert overwhelmed.is_low_energy
    unlimited = attrs.evolve(SETTINGS, limit_claims=False)
    free = assess(PressureFacts(energy=Energy.LOW), unlimited, Standing(), NOW)
    assert free.max_parallel is None


@pytest.mark.parametrize("seed", range(5))
def test_on_simulated_weeks_the_level_does_not_flicker(seed):
    """Two weeks of good and bad days, looked at every ten minutes: few changes, no back and forth
    within half an hour, and never from steady to steady over a single bad moment.
    """
    chance = random.Random(seed)
    standing = Standing(level=STEADY, since=NOW)
    changes = []
    failures = unseen = 0.0
    for step in range(14 * 24 * 6):
        now = NOW + timedelta(minutes=10 * step)
        hour, is_bad_day = now.hour, (step // 144) % 4 == 2
        at_work = 9 <= hour < 18
        failures = max(0.0, failures * 0.98 + (chance.random() < 0.08 * (1 + 4 * is_bad_day)))
        unseen = 0.0 if at_work and chance.random() < 0.1 else unseen + chance.random()
        pressure = judge(
            standing,
            now,
            failures=round(failures + chance.uniform(-1, 1)) if failures > 1 else 0,
            completed=chance.randint(8, 12),
            conflicts=chance.choice([0, 0, 1]) + is_bad_day,
            running=chance.randint(0, 6),
            unseen=round(unseen),
            unbroken_s=max(0, hour - 9) * 3600 if at_work else 0,
        )
        if pressure.level is not standing.level:
            changes.append((now, pressure.level))
            standing = Standing(level=pressure.level, since=now)
    falls = [
        (later, earlier)
        for (earlier, before), (later, after) in pairwise(changes)
        if ORDER.index(after) < ORDER.index(before)
    ]
    assert changes
    assert len(changes) <= 14 * 6
    assert all(later - earlier >= timedelta(minutes=30) for later, earlier in falls)
