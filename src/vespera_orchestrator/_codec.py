"""The JSON and the times that are stored."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, overload

from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.errors import CorruptRecordError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vespera_orchestrator._model import JsonValue


def dump_json(value: JsonValue, name: str) -> str:
    """Write *value* as compact JSON; *name* says in an error which argument it was.

    Raises:
        InvalidInputError: It holds something JSON has no word for.
    """
    try:
        text = _ENCODER.encode(value)
        require_text_keys(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise unstorable(value, name, exc) from exc
    return text


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_MAX_DEPTH = 200
"""How deep a value may be nested before a search for a mistake in it gives up."""
_SHOWN_CHARS = 80


def require_text_keys(value: object) -> None:
    """Refuse a value with a key that is not a text: JSON would make another key of it.

    Then a number would come back as a text, and of ``1`` and ``"1"`` one would be lost.

    Args:
        value: Something that JSON can hold otherwise, so that it ends somewhere.

    Raises:
        TypeError: It has one.
    """
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if not all(isinstance(key, str) for key in part):
                raise TypeError("keys must be texts")
            items: Iterable[object] = part.values()
        else:
            items = part if isinstance(part, list | tuple) else ()
        parts += [item for item in items if isinstance(item, _CONTAINERS)]


_CONTAINERS = (dict, list, tuple)


def unstorable(value: object, name: str, exc: Exception) -> InvalidInputError:
    """Return the error for a value that JSON cannot hold: what it is, and where in *value*.

    Args:
        value: What was to be written.
        name: The argument that it was passed as.
        exc: What the encoder raised.
    """
    found = _first_unstorable(value, name, (), 0)
    if found is None:
        is_deep = isinstance(exc, RecursionError)
        found = name, "it is nested too deeply" if is_deep else str(exc)
    place, problem = found
    allowed = "use dicts, lists, texts, finite numbers, booleans, None"
    where = "" if place == name else place
    return InvalidInputError(name, f"cannot be stored as JSON: {problem}; {allowed}", where)


def _first_unstorable(
    value: object, place: str, around: tuple[int, ...], depth: int
) -> tuple[str, str] | None:
    """Return the place and the problem of the first part that JSON cannot hold."""
    problem = "it contains itself" if id(value) in around else _own_problem(value)
    if problem:
        return place, problem
    if depth == _MAX_DEPTH:
        return None
    inside = (*around, id(value))
    for step, part in _parts(value):
        found = _first_unstorable(part, place + step, inside, depth + 1)
        if found is not None:
            return found
    return None


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the items of a dict or list, each with the step that a path takes to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield _step(key), item
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield f"[{number}]", item


def _own_problem(value: object) -> str:
    """Say what keeps JSON from holding *value*, apart from what is in it."""
    if isinstance(value, dict):
        keys = (key for key in value if not isinstance(key, str))
        return next((f"the key {_shown(key)} is not a text{_as_text(key)}" for key in keys), "")
    if isinstance(value, float) and not math.isfinite(value):
        return f"{show_value(value)} is not a finite number"
    if value is None or isinstance(value, str | int | float | list | tuple):
        return ""
    return f"{_shown(value)} is not one of its kinds{_conversion(value)}"


def _as_text(key: object) -> str:
    """Say how a key is written as a text, where that is plain."""
    return f" (write {str(key)!r})" if type(key) in (int, float) else ""


def _conversion(value: object) -> str:
    """Say how a value becomes one that JSON can hold, where that is known."""
    if isinstance(value, set | frozenset):
        return " (sorted(…) makes a list of it)"
    if isinstance(value, bytes | bytearray):
        return " (save bytes as an artifact)"
    for method in ("isoformat", "tolist", "item"):
        if callable(getattr(value, method, None)):
            return f" (.{method}() makes one of it)"
    return ""


def _shown(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"{one_line(show_value(value), _SHOWN_CHARS)} of type {kind}"


def _step(key: object) -> str:
    """Return how a path goes on to the item under *key*."""
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    return f"[{one_line(repr(key), _SHOWN_CHARS)}]"


def load_json(text: str, record: str) -> JsonValue:
    """Read what `dump_json` wrote; *record* says in an error what could not be read.

    Raises:
        CorruptRecordError: It is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise CorruptRecordError(record, f"invalid JSON ({exc})") from exc


@overload
def dump_time(at: datetime) -> int: ...
@overload
def dump_time(at: datetime | None) -> int | None: ...
def dump_time(at: datetime | None) -> int | None:
    """Turn an aware datetime into microseconds since 1970, UTC."""
    if at is None:
        return None
    delta = at - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def load_time(stamp: int) -> datetime:
    """Turn microseconds since 1970 into an aware datetime.

    Raises:
        CorruptRecordError: It is no time, or one that no calendar has.
    """
    try:
        return _EPOCH + timedelta(microseconds=stamp)
    except (OverflowError, TypeError) as exc:
        raise CorruptRecordError("a stored time", f"{show_value(stamp)} is no time") from exc


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
