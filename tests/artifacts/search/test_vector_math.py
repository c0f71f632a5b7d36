"""The sums over vectors that do without numpy, held against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import records
from vespera_orchestrator.artifacts.search import sqlite_table, vector_math
from vespera_orchestrator.artifacts.search.passages import Passage
from vespera_orchestrator.artifacts.search.table import SearchFilter, passage_row
from vespera_orchestrator.artifacts.search.vectors import in_bytes

NUMBERS = st.floats(-1e3, 1e3, width=32)
WHOLE_NUMBERS = st.integers(-127, 127)
PAIRS = st.integers(1, 40).flatmap(
    lambda size: st.tuples(*[st.lists(NUMBERS, min_size=size, max_size=size)] * 2)
)


@given(PAIRS)
def test_sums_are_those_of_numpy(pair):
    """Products, lengths, sums; a cosine is one also where a vector is all zeros."""
    one, other = map(np.asarray, pair)
    assert vector_math.dot(*pair) == pytest.approx(float(one @ other), abs=1e-6)
    assert vector_math.length(pair[0]) == pytest.approx(float(np.linalg.norm(one)))
    lengths = [np.linalg.norm(vector) or 1.0 for vector in (one, other)]
    together = one / lengths[0] + other / lengths[1]
    assert vector_math.direction(pair) == pytest.approx(together.tolist(), abs=1e-6)
    assert -1.000001 <= vector_math.cosine(*pair) <= 1.000001


@given(st.lists(NUMBERS, min_size=1, max_size=40))
def test_signs_say_what_is_above_the_mean(vector):
    """One bit for each number, the first in front, and the same for rows of an array."""
    signs = vector_math.signs(vector)
    assert len(signs) == (len(vector) + 7) // 8
    bits = f"{int.from_bytes(signs, 'big'):0{8 * len(signs)}b}"[: len(vector)]
    mean = sum(vector) / len(vector)
    for bit, number in zip(bits, vector, strict=True):
        if abs(number - mean) > 1e-6:
            assert (bit == "1") == (number > mean)


@given(st.lists(st.lists(WHOLE_NUMBERS, min_size=12, max_size=12), min_size=1, max_size=5))
def test_signs_of_many_are_those_of_each(vectors):
    """What numpy makes when texts are indexed is what a search without it expects."""
    together = vector_math.all_signs(np.array(vectors, np.int8))
    assert together == list(map(vector_math.signs, vectors))


@pytest.mark.parametrize("lowest", [-1.0, 0.0], ids=["any numbers", "none below zero"])
def test_the_nearest_of_many_are_among_those_that_agree_in_signs(lowest):
    """Only some of them are compared number by number; those are the right ones."""
    chance = np.random.default_rng(7)
    dimensions, count = 64, 2_400
    centres = chance.uniform(lowest, 1, (40, dimensions))
    vectors = centres[chance.integers(0, 40, count)] + chance.normal(0, 0.3, (count, dimensions))
    vectors = in_bytes(np.maximum(vectors, lowest * 9))
    table = sqlite_table.table_in_memory()
    artifacts = [records.artifact(f"note {number}", id=f"a{number}") for number in range(count)]
    word = Passage(start=0, end=4, text="word")
    rows = [passage_row(artifact, word, 1) for artifact in artifacts]
    table.replace(artifacts, rows, vectors, 0)
    shared = []
    for query in vectors[:20] + chance.normal(0, 9, (20, dimensions)):
        _, matches = table.search(None, query.tolist(), SearchFilter(), 100)
        cosines = (vectors @ query) / np.linalg.norm(vectors, axis=1)
        nearest = {f"a{number}" for number in np.argsort(-cosines)[:10]}
        best = matches[0]
        assert len(matches) == 100
        assert best.cosine == pytest.approx(max(cosines) / np.linalg.norm(query), abs=1e-5)
        shared.append(len(nearest & {match.artifact_id for match in matches[:10]}))
    assert sum(shared) >= 195
