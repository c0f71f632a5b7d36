"""What every record can do: become plain data, whole or in brief, within a budget.

Here is the one converter between records and plain data. `Record` is the base of every record
that a public call returns. A class says with its `JsonForm` what its brief form leaves out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import names_mistakes, names_mistakes_in_calls
from vespera_orchestrator._text import (
    clip,
    one_line,
    show_methods,
    showing,
    tokens,
    without_half_a_secret,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cattrs import Converter

LEFT_OUT: Final = "left_out"
"""The key under which shortened data says what is missing, and how to get it."""
_RECORDS: Final = "records"
_CELL_WIDTH: Final = 80
_ROW_WIDTH: Final = 500
"""How many characters of a value a table shows."""
_ROWS_SHOWN: Final = 200
"""How many rows a notebook shows; the others are counted."""


@attrs.frozen(kw_only=True)
class JsonForm:
    """How a class of records looks as plain data."""

    properties: tuple[str, ...] = ()
    """Properties that stand beside the fields."""
    omit: tuple[str, ...] = ()
    """Fields that are never part of it, because JSON cannot hold them."""
    details: tuple[str, ...] = ()
    """Fields that the brief form leaves out, whatever they hold."""
    usual: Mapping[str, object] = attrs.field(factory=dict)
    """Values so usual that the brief form leaves them out."""
    rest: str = ""
    """The call that returns the whole record, with its fields in braces."""
    rest_of: Mapping[str, str] = attrs.field(factory=dict)
    """For single fields the call that returns all of it, where it differs from *rest*."""
    names: tuple[str, ...] = ()
    """What remains of it within the brief form of another record; empty for all."""
    columns: tuple[str, ...] = ()
    """What a list of such records shows of each, as far as one of them has it."""
    first: tuple[str, ...] = ()
    """Fields that a small budget spares before all others."""
    budget: str = ""
    """The field that holds the budget it was asked for with, which bounds it as JSON, too."""


@attrs.frozen(kw_only=True)
class _Limits:
    """How much a shortened value may hold."""

    chars: int
    """Of a text."""
    items: int
    """Of a list or a mapping."""


_BRIEF: Final = _Limits(chars=240, items=10)
_TIGHTER: Final = (
    _Limits(chars=120, items=5),
    _Limits(chars=80, items=3),
    _Limits(chars=60, items=1),
)
"""What is tried after the brief form when a budget is still too small for it."""


class Record:
    """The base of every record that a call returns: a fact as it was when you read it."""

    __slots__ = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Let no record show what a terminal would obey, or what nobody would see."""
        super().__init_subclass__(**options)
        show_methods(cls)
        names_mistakes_in_calls(cls)

    json_form: ClassVar[JsonForm] = JsonForm()
    """What the brief form of its kind leaves out."""

    @names_mistakes
    def to_dict(
        self,
        brief: bool = False,  # noqa: FBT001, FBT002 - callers rely on name and place
        *,
        budget_tokens: int | None = None,
    ) -> dict[str, Any]:
        """Return the record as plain data: what JSON can hold, and nothing else.

        Times are texts in ISO 8601, enums are their words, paths are texts.

        Args:
            brief: Leave out what is empty or usual, and shorten long texts and lists. What was
                shortened is named under ``left_out``, with the call that returns it.
            budget_tokens: About how long it may be as JSON; a token is about four letters, or one
                digit. If the whole is longer, you get the brief form, shortened as far as
                necessary. A budget below 50 may be exceeded.
        """
        data: dict[str, Any] = to_plain(self)
        budget = budget_tokens
        if budget is None and self.json_form.budget:
            budget = getattr(self, self.json_form.budget)
        if budget is not None:
            return _within(self, data, budget, whole=not brief)
        return _shorten(self, data, _BRIEF) if brief else data

    @names_mistakes
    def to_json(
        self,
        brief: bool = False,  # noqa: FBT001, FBT002 - callers rely on name and place
        *,
        budget_tokens: int | None = None,
    ) -> str:
        """Return the same as `to_dict` as JSON text on one line.

        Args:
            brief: As for `to_dict`.
            budget_tokens: As for `to_dict`.
        """
        return to_text(self.to_dict(brief, budget_tokens=budget_tokens))

    def _repr_html_(self) -> str:
        """Show itself in a notebook: what it prints, and where that is one line, its fields."""
        from vespera_orchestrator._html import fields_html, text_html

        text = str(self)
        if "\n" in text:
            return text_html(text)
        has_words = type(self).__str__ is not object.__str__
        title = text if has_words else type(self).__name__
        return fields_html(title, self.to_dict(brief=True))


_Listed = TypeVar("_Listed", bound=Record)


class RecordList(list[_Listed]):
    """A list of records that prints, and shows in a notebook, as a table.

    Records that name no columns print one below the other.
    """

    @showing
    def __str__(self) -> str:
        rows = self._rows(self)
        lines = in_columns(rows) if rows else [str(record) for record in self]
        return "\n".join(lines) or "(none)"

    @showing
    def _repr_html_(self) -> str:
        from vespera_orchestrator._html import table_html, text_html

        table = self._rows(self[:_ROWS_SHOWN])
        if not table:
            return text_html(str(self))
        head, *rows = table
        return table_html(head, rows, more=len(self) - len(rows))

    @names_mistakes
    def to_dict(
        self,
        brief: bool = False,  # noqa: FBT001, FBT002 - as for a record
        *,
        budget_tokens: int | None = None,
    ) -> dict[str, Any]:
        """Return the records as plain data, under ``records``.

        Args:
            brief: As for `Record.to_dict`, for each of them.
            budget_tokens: About how long it may be as JSON. If the whole is longer, you get the
                first records in brief, as many as fit, and ``left_out`` counts the others. One is
                always there.
        """
        whole = {_RECORDS: [record.to_dict(brief) for record in self]}
        if budget_tokens is None or _size(whole) <= budget_tokens:
            return whole
        return plain_list(
            self,
            name=_RECORDS,
            budget_tokens=budget_tokens,
            rest=lambda count: f"a larger budget, or the list from [{count}:]",
        )

    @names_mistakes
    def to_json(
        self,
        brief: bool = False,  # noqa: FBT001, FBT002 - as for a record
        *,
        budget_tokens: int | None = None,
    ) -> str:
        """Return the same as `to_dict` as JSON text on one line.

        Args:
            brief: As for `to_dict`.
            budget_tokens: As for `to_dict`.
        """
        return to_text(self.to_dict(brief, budget_tokens=budget_tokens))

    def _rows(self, records: Sequence[_Listed]) -> Sequence[Sequence[str]]:
        """Return the names of the columns and below them a row a record, where there are any."""
        return _table(records)


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows with their columns below each other, each on one line."""
    rows = [[one_line(cell, _ROW_WIDTH) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _table(records: Sequence[Record]) -> list[list[str]]:
    """Return the names of the columns that are not empty, and below them a row a record."""
    if not records or not records[0].json_form.columns:
        return []
    names = records[0].json_form.columns
    columns = {name: [_cell(getattr(record, name)) for record in records] for name in names}
    filled = {name: cells for name, cells in columns.items() if any(cells)}
    head = [name.removesuffix("_type").replace("_", " ") for name in filled]
    return [head, *(list(row) for row in zip(*filled.values(), strict=True))]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return one_line(str(value), _CELL_WIDTH)


def to_text(data: Any) -> str:
    """Write plain data as compact JSON, in as few characters as possible."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: nobody could write the text out
        return json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text


# --- the converter ------------------------------------------------------------


@lru_cache(maxsize=1)
def converter() -> Converter:
    """Return the converter: datetimes as ISO 8601, enums as their words, unknown keys refused."""
    from cattrs import Converter

    result = Converter(
        forbid_extra_keys=True, unstruct_collection_overrides={tuple: list, frozenset: sorted}
    )
    result.register_unstructure_hook(datetime, datetime.isoformat)
    result.register_structure_hook(datetime, _read_datetime)
    for base in (Path, BaseException, StrEnum):
        result.register_unstructure_hook(base, str)
    result.register_unstructure_hook_factory(_is_record, _unstructure_hook)
    result.register_structure_hook_factory(_is_record, _structure_hook)
    return result


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)


def _unstructure_hook(kind: Any) -> Callable[[Any], dict[str, Any]]:
    names = field_names(kind)

    def unstructure(record: Any) -> dict[str, Any]:
        convert = converter().unstructure
        return {name: convert(getattr(record, name)) for name in names}

    return unstructure


def _structure_hook(kind: Any) -> Callable[[Any, Any], Any]:
    from cattrs.gen import make_dict_structure_fn

    structure_fields = make_dict_structure_fn(
        kind, converter(), _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )
    properties = kind.json_form.properties

    def structure(data: Any, kind: Any) -> Any:
        fields = {name: value for name, value in data.items() if name not in properties}
        return structure_fields(fields, kind)

    return structure


def _read_datetime(value: Any, _: type) -> datetime:
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def to_plain(record: object) -> Any:
    """Turn a record, or a list of records, into dicts, lists and scalars that JSON can hold."""
    return converter().unstructure(record)


@lru_cache(maxsize=256)
def field_names(kind: type[Record]) -> tuple[str, ...]:
    """Return the keys of a record's plain data: its public fields, then its properties."""
    form = kind.json_form
    names = [field.name for field in attrs.fields(kind)]  # type: ignore[arg-type]
    public = [name for name in names if not name.startswith("_") and name not in form.omit]
    return (*public, *form.properties)


# --- shortening ---------------------------------------------------------------


def _within(
    record: Record, data: dict[str, Any], budget_tokens: int, *, whole: bool
) -> dict[str, Any]:
    """Return *data* in the longest form that is within the budget."""
    if whole and _size(data) <= budget_tokens:
        return data
    short = data
    for limits in (_BRIEF, *_TIGHTER):
        short = _shorten(record, data, limits)
        if _size(short) <= budget_tokens:
            return short
    return _first_fields(record, short, budget_tokens)


def _size(data: Any) -> int:
    return tokens(to_text(data))


def _first_fields(record: Record, data: dict[str, Any], budget_tokens: int) -> dict[str, Any]:
    """Keep the most important fields, as far as they fit."""
    form = record.json_form
    call = form.rest.format_map(_Fields(record))
    rest = {LEFT_OUT: {"*": call or "everything else"}}
    short: dict[str, Any] = {}
    for name in dict.fromkeys((*form.first, *data)):
        if name not in data or name == LEFT_OUT:
            continue
        longer = short | {name: data[name]}
        if _size(longer | rest) <= budget_tokens:
            short = longer
        elif not short:
            short = {name: _first_parts(data[name], budget_tokens - _size({name: ""} | rest))}
    ordered = {name: short[name] for name in data if name in short}
    return ordered | rest


def _first_parts(value: Any, budget_tokens: int) -> Any:
    """Return what of a value's beginning is within the budget, and always something."""
    if isinstance(value, str):
        return clip(value, max(1, budget_tokens))
    if not isinstance(value, dict):
        return value
    parts: dict[str, Any] = {}
    for name, part in value.items():
        if not parts or _size(parts | {name: part}) <= budget_tokens:
            parts[name] = part
    return parts


class _Fields(dict[str, Any]):
    """The fields of a record, for a format string."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    def __missing__(self, name: str) -> Any:
        return getattr(self._record, name)


def _shorten(
    record: Record, data: Mapping[str, Any], limits: _Limits, *, is_inner: bool = False
) -> dict[str, Any]:
    """Return the brief form of a record's plain data; *is_inner*: within that of another."""
    form = record.json_form
    short: dict[str, Any] = {}
    cuts: dict[str, str] = {}
    for name in (is_inner and form.names) or data:
        value = data[name]
        if name in form.details or _is_empty(value) or form.usual.get(name, _NEVER) == value:
            continue
        original = getattr(record, name)
        cut = _Cut(limits)
        short[name] = cut.value(original, value, name)
        for path, missing in cut.missing.items():
            call = form.rest_of.get(path, form.rest).format_map(_Fields(record))
            cuts[path] = f"{missing}: {call}" if call else missing
    if cuts:
        short[LEFT_OUT] = cuts
    return short


_NEVER: Final = object()
"""Equal to nothing that a record holds."""


_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})


def _is_empty(value: Any) -> bool:
    return value is False or value in _EMPTY


class _Cut:
    """Shortens the value of one field, and notes what is missing afterwards."""

    def __init__(self, limits: _Limits) -> None:
        self._limits = limits
        self.missing: dict[str, str] = {}

    def value(self, original: Any, data: Any, path: str) -> Any:
        """Shorten *data*, which was made of *original*."""
        match original, data:
            case Record(), dict():
                short: Any = _shorten(original, data, self._limits, is_inner=True)
            case datetime(), _:
                short = original.isoformat(timespec="seconds")
            case _, str():
                short = self._text(data, path)
            case _, list():
                originals = original if isinstance(original, list | tuple) else data
                short = self._list(originals, data, path)
            case _, dict():
                short = self._dict(original, data, path)
            case _:
                short = data
        return short

    def _text(self, text: str, path: str) -> str:
        most = self._limits.chars
        if len(text) <= most:
            return text
        cut = text[: without_half_a_secret(text, most - 2)]
        edge = max(cut.rfind(" "), cut.rfind("\n"))
        if edge > len(cut) // 2:
            cut = cut[:edge]
        self.missing[path] = f"{len(text) - len(cut):,} more characters"
        return cut.rstrip() + " …"

    def _list(self, originals: Iterable[Any], data: list[Any], path: str) -> list[Any]:
        most = self._limits.items
        pairs = zip(originals, data, strict=True)
        items = []
        for position, (original, item) in enumerate(pairs):
            if position == most:
                self.missing[path] = f"{len(data) - most:,} more"
                break
            items.append(self.value(original, item, f"{path}[{position}]"))
        return items

    def _dict(self, original: Any, data: dict[str, Any], path: str) -> dict[str, Any]:
        most = 2 * self._limits.items
        values = original.values() if isinstance(original, Mapping) else data.values()
        items = {}
        pairs = zip(values, data.items(), strict=True)
        for position, (value, (key, item)) in enumerate(pairs):
            if position == most:
                self.missing[path] = f"{len(data) - most:,} more"
                break
            items[key] = self.value(value, item, f"{path}.{key}")
        return items


def plain_list(
    records: Iterable[Record], *, name: str, budget_tokens: int, rest: Callable[[int], str]
) -> dict[str, Any]:
    """Return the brief forms of *records* under *name*, as many as are within the budget.

    Args:
        records: What to list.
        name: The key of the list.
        budget_tokens: About how long it may be as JSON.
        rest: Returns the call for what is left out, from how many were listed.
    """
    records = list(records)
    room = budget_tokens - _FRAME_TOKENS
    items: list[dict[str, Any]] = []
    for record in records:
        item = record.to_dict(brief=True, budget_tokens=max(_LEAST_TOKENS, budget_tokens // 4))
        room -= _size(item) + 1
        if room < 0 and items:
            break
        items.append(item)
    data: dict[str, Any] = {name: items}
    if len(items) < len(records):
        missing = len(records) - len(items)
        data[LEFT_OUT] = {name: f"{missing:,} more: {rest(len(items))}"}
    return data


_FRAME_TOKENS: Final = 40
"""For what is around a list."""
_LEAST_TOKENS: Final = 60
"""Less than that says nothing about a record."""
