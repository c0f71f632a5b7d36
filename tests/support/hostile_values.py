"""Values that no call expects: each with its name, made anew for each call."""

from __future__ import annotations

import decimal
import itertools
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path


class Unspeakable:
    """Somebody's own object, which cannot even be printed."""

    def __repr__(self):
        raise RuntimeError("no words")

    __str__ = __repr__


class Contrary:
    """An object that answers no question."""

    def _refuse(self, *_):
        raise RuntimeError("not telling")

    __eq__ = __lt__ = __bool__ = __len__ = __iter__ = __getitem__ = __fspath__ = _refuse
    __int__ = __index__ = __float__ = __contains__ = __call__ = __enter__ = _refuse
    __hash__ = _refuse


class OddText(str):
    """A text of a class of its own, with nothing to say for itself."""

    __slots__ = ()

    def __repr__(self):
        raise RuntimeError("no words")

    __str__ = __format__ = strip = encode = lower = __repr__


class OddMapping(dict):
    """A mapping that cannot be read."""

    def _refuse(self, *_):
        raise RuntimeError("not telling")

    keys = items = values = __iter__ = __getitem__ = get = _refuse


class OddZone(tzinfo):
    """A time zone that raises."""

    def utcoffset(self, _):
        raise RuntimeError("nowhere")


def nested(depth, wrap):
    """Something in something in something, deeper than Python prints."""
    value = None
    for _ in range(depth):
        value = wrap(value)
    return value


def round_list():
    """A list that holds itself."""
    value = []
    value.append(value)
    return value


def failing_items():
    """Something to go through that breaks off."""
    yield "first"
    raise RuntimeError("no more")


VALUES = {
    "a number of 5,000 digits": lambda: 10**5000,
    "a list too deep to be printed": lambda: nested(5000, lambda value: [value]),
    "a mapping too deep to be printed": lambda: nested(5000, lambda value: {"a": value}),
    "a list that holds itself": round_list,
    "an object that cannot be printed": Unspeakable,
    "one of those in a mapping": lambda: {"a": Unspeakable()},
    "an object that answers nothing": Contrary,
    "one of those in a list": lambda: [Contrary()],
    "a text of another class": lambda: OddText("first"),
    "a mapping that cannot be read": lambda: OddMapping(a=1),
    "no number": lambda: float("nan"),
    "a number near the end": lambda: 1e308,
    "an infinite number": lambda: float("-inf"),
    "a negative number": lambda: -1,
    "nothing": lambda: 0,
    "a number beyond the database": lambda: 2**63,
    "a decimal number": lambda: decimal.Decimal("sNaN"),
    "true": lambda: True,
    "bytes that are no text": lambda: b"\xff",
    "many bytes": lambda: bytes(3_000_000),
    "an object": object,
    "a class": lambda: dict,
    "a function": lambda: print,
    "a mapping with a number for a key": lambda: {1: 2},
    "a mapping with a text": lambda: {"a": "b"},
    "a mapping with many keys": lambda: {f"k{number}": None for number in range(20_000)},
    "a list of nothing": lambda: [None],
    "a list of a word": lambda: ["first"],
    "a list of many words": lambda: ["frist"] * 20_000,
    "names that are nearly right": lambda: [f"frist{number}" for number in range(3000)],
    "a list without end": lambda: itertools.repeat("first"),
    "a list that breaks off": failing_items,
    "a very long row of numbers": lambda: range(10**9),
    "half a character": lambda: "\ud800",
    "a list of half a character": lambda: ["\ud800"],
    "a NUL": lambda: "\0",
    "a list with a NUL": lambda: ["\0"],
    "a path with a NUL": lambda: Path("a\0b"),
    "a way out": lambda: "../../../../etc/passwd",
    "an option": lambda: "--upload-pack=touch x",
    "an escape sequence": lambda: "\x1b[2J\u202eowned",
    "spaces": lambda: " \t\n ",
    "a long text": lambda: "x" * 100_000,
    "a long text of brackets": lambda: "(" * 50_000,
    "a long text of words": lambda: "not " * 50_000 + "first.success",
    "a long number": lambda: "9" * 50_000,
    "a template": lambda: "{0.__class__}%s%n{}",
    "a set": set,
    "an empty tuple": tuple,
    "a date": lambda: date.max,
    "the last moment": lambda: datetime.max.replace(tzinfo=UTC),
    "the first moment": lambda: datetime.min.replace(tzinfo=UTC),
    "a moment nowhere": lambda: datetime(2026, 1, 1, tzinfo=OddZone()),
    "the longest time": lambda: timedelta.max,
}
