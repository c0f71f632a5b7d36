"""A fortnight of a person and three agents is bearable, whatever the seed."""

from __future__ import annotations

import pytest

from support.fortnight import Fortnight
from support.kind_words import UNKIND

MOST_CHANGES_A_DAY = 6


@pytest.mark.parametrize(
    ("seed", "length"),
    [(1, 3), *(pytest.param(seed, 14, marks=pytest.mark.soak) for seed in range(8))],
)
def test_a_fortnight_is_bearable(tmp_path, seed, length):
    """At most three digests a day, nothing twice, nothing on the day on which it was put off, kind
    words on bad days, no level that flickers, and no checkpoint lost.
    """
    life = Fortnight(tmp_path, seed, length)
    days = life.run()
    assert 1 <= max(day.digests for day in days) <= 3
    assert sum(day.nags for day in days) == 0
    assert life.read
    assert not [text for text in life.read if UNKIND.search(text.replace("it broke", ""))]
    assert max(life.changes.values(), default=0) <= MOST_CHANGES_A_DAY
    assert life.saved
    assert life.lost == []
