"""Stored values and times: whatever goes in comes out, whatever cannot is refused by name."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.records import NOW
from vespera_orchestrator._codec import dump_json, dump_time, load_json, load_time
from vespera_orchestrator.errors import CorruptRecordError, InvalidInputError

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
AWARE = st.datetimes(timezones=st.timezones())


@settings(max_examples=40)
@given(JSON)
def test_json_comes_back_as_it_was(value):
    """Whatever JSON can hold is the same after it was stored."""
    assert load_json(dump_json(value, "value"), "value") == value


@settings(max_examples=40)
@given(JSON)
def test_json_is_compact_and_ascii(value):
    """No store needs an encoding for it, and no space is wasted."""
    text = dump_json(value, "value")
    assert text.isascii()
    assert text == json.dumps(value, separators=(",", ":"))


NESTED = []
NESTED.append(NESTED)


class NumberLike:
    """What a library of numbers returns instead of a float."""

    def item(self):
        return 0.25


class Rude:
    """Cannot even be shown."""

    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "outputs: cannot be stored as JSON: nan is not a finite number"),
        ([math.inf], "outputs[0]: cannot be stored as JSON: inf is not"),
        ({1, 2}, "{1, 2} of type set is not one of its kinds (sorted(…)"),
        (b"bytes", "(save bytes as an artifact)"),
        ({"when": NOW}, "outputs.when: "),
        ({"when": NOW}, "(.isoformat() makes one of it)"),
        ({("a", "b"): 1}, "the key ('a', 'b') of type tuple is not a text"),
        (
            {1: "a", "1": "b"},
            "outputs: cannot be stored as JSON: the key 1 of type int is not a text",
        ),
        ({"scores": [{0.5: "a"}]}, "outputs.scores[0]: "),
        ({"scores": {7: "a"}}, "(write '7')"),
        ({"x": ({None: 1},)}, "the key None of type NoneType is not a text"),
        ({True: 1}, "the key True of type bool is not a text"),
        ({"a b": {"c": {b"d": 1}}}, "outputs['a b'].c: "),
        (NESTED, "outputs[0]: cannot be stored as JSON: it contains itself"),
        ([[]] * 3 + [object], "outputs[3]: "),
        ({"metrics": [0, 1, (2, {"loss": NumberLike()})]}, "outputs.metrics[2][1].loss: "),
        ({"metrics": NumberLike()}, "(.item() makes one of it)"),
        ({"rude": Rude()}, "outputs.rude: cannot be stored as JSON: <Rude instance at "),
    ],
)
def test_what_json_has_no_word_for_is_refused(value, reason):
    """The error names the argument, the place in it, the reason, and what can be used instead."""
    with pytest.raises(InvalidInputError) as caught:
        dump_json(value, "outputs")
    assert caught.value.name == "outputs"
    assert reason in str(caught.value)
    assert "use dicts, lists, texts, finite numbers" in str(caught.value)


def test_what_is_nested_too_deeply_is_refused():
    """It is an error of ours, not of the interpreter."""
    deep = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        dump_json(deep, "outputs")
    with pytest.raises(CorruptRecordError, match="invalid JSON"):
        load_json("[" * 100_000, "the outputs of t_1")


@pytest.mark.parametrize("text", ["", "{", "nul", "{'a': 1}", "[1,]", '"\x00'])
def test_damaged_json_is_told_by_its_record(text):
    """The error says which record cannot be read."""
    with pytest.raises(CorruptRecordError, match=r"the outputs of t_1.*invalid JSON"):
        load_json(text, "the outputs of t_1")


@given(AWARE)
def test_times_come_back_to_the_microsecond(at):
    """Whatever their zone, also before 1970; they come back in UTC."""
    again = load_time(dump_time(at))
    assert again == at.astimezone(UTC)
    assert again.tzinfo is UTC


@given(AWARE, AWARE)
def test_times_are_ordered_as_numbers(one, other):
    """A store can sort and compare by the number alone."""
    is_earlier = one.astimezone(UTC) < other.astimezone(UTC)
    assert (dump_time(one) < dump_time(other)) == is_earlier


def test_no_time_stays_none():
    """A time that is not known is stored as none, and zero is a time."""
    assert dump_time(None) is None
    assert load_time(0) == datetime(1970, 1, 1, tzinfo=UTC)
