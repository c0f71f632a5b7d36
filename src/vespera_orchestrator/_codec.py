"""Between records and plain data: the one cattrs converter, and the JSON that is stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, overload

from vespera_orchestrator.errors import CorruptRecordError, InvalidInputError

if TYPE_CHECKING:
    from cattrs import Converter

    from vespera_orchestrator._model import JsonValue

T = TypeVar("T")


def dump_json(value: JsonValue, name: str) -> str:
    """Write *value* as compact JSON; *name* says in an error which argument it was.

    Raises:
        InvalidInputError: It holds something JSON has no word for.
    """
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        problem = (
            f"cannot be stored as JSON: {reason}; "
            "use dicts, lists, texts, finite numbers, booleans, None"
        )
        raise InvalidInputError(name, problem) from exc


_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


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
    """Turn microseconds since 1970 into an aware datetime."""
    return _EPOCH + timedelta(microseconds=stamp)


def load_time_or_none(stamp: int | None) -> datetime | None:
    """Like `load_time`; ``None`` stays ``None``."""
    return None if stamp is None else load_time(stamp)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1)
def converter() -> Converter:
    """Return the converter: datetimes as ISO 8601, enums as their words, unknown keys refused."""
    from cattrs import Converter

    result = Converter(forbid_extra_keys=True)
    result.register_unstructure_hook(datetime, datetime.isoformat)
    result.register_structure_hook(datetime, _read_datetime)
    return result


def _read_datetime(value: Any, _: type) -> datetime:
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def to_plain(record: object) -> Any:
    """Turn a record, or a list of records, into dicts, lists and scalars that JSON can hold."""
    return converter().unstructure(record)
