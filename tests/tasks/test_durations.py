"""How long such tasks usually take: a range, in plain words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_orchestrator.tasks.durations import usual_time


def minutes(*lengths):
    """Return lengths in seconds."""
    return [60.0 * length for length in lengths]


@pytest.mark.parametrize(
    ("durations", "words"),
    [
        (minutes(20, 50, 20, 50, 20, 50, 20, 50), "like the last eight: 20 to 50 minutes"),
        (minutes(30, 31, 29), "like the last three: about 30 minutes"),
        (minutes(1, 1, 1, 2), "like the last four: less than 5 minutes"),
        (minutes(4, 5, 5), "like the last three: about 5 minutes"),
        (minutes(100, 100, 200, 200), "like the last four: 1.8 to 3.2 hours"),
        (minutes(600, 900, 1200), "like the last three: 10 to 20 hours"),
        (
            minutes(20, 20, 20, 20, 20, 20, 20, 20, 900, 900),
            "like the last eight: about 20 minutes",
        ),
    ],
)
def test_a_range_is_said_in_words(durations, words):
    """Rounded, with one unit, from the last eight."""
    assert str(usual_time(durations)) == words


def test_from_two_tasks_nothing_is_concluded():
    """Nor from none."""
    assert usual_time(minutes(10, 20)) is None
    assert usual_time([]) is None


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=20))
def test_half_of_them_are_within_the_range(durations):
    """One task that took very long does not move it far."""
    usual = usual_time(durations)
    last = durations[:8]
    within = [length for length in last if usual.low_s <= length <= usual.high_s]
    assert min(last) <= usual.low_s <= usual.high_s <= max(last)
    assert 2 * len(within) >= len(last)
