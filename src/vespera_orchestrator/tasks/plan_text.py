"""Plans written as text: JSON is read as JSON, everything else as YAML 1.2.

PyYAML only splits the text into events. What they mean is decided here, by the core schema of YAML
1.2: ``12:30`` and ``NO`` are texts, ``1e3`` is a number. No tag can name a Python type, dates stay
texts until a parameter asks for one, and whatever JSON has no word for is refused.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_MOST_LEVELS: Final = 200
"""How deep a text may be nested."""
_MOST_EXPANDED: Final = 1_000_000
"""How many values and characters aliases may add to a text."""
_SHOWN_CHARS: Final = 60
_MOST_DIGITS: Final = 4300
"""A whole number of more digits is none that Python reads."""
_FENCE: Final = re.compile(r"\s*(```+)[\w-]*[ \t]*\n(.*)\n[ \t]*\1\s*", re.DOTALL)
"""How a model marks a text that is a whole file: lines of backquotes around it."""
_TOO_LONG: Final = "this number is too long; put it in quotes"


@attrs.frozen
class Spot:
    """Where something stands in a text; both count from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class TextMapping(dict[str, Any]):
    """A mapping that was read from a text; it knows where its keys stand."""

    def __init__(self, pairs: Iterable[tuple[str, Any]] = (), *, spot: Spot | None = None) -> None:
        super().__init__(pairs)
        self.spot = spot
        self.key_spots: dict[str, Spot] = {}


class TextList(list[Any]):
    """A list of tasks that was read from a text; it knows where its items stand."""

    def __init__(self, items: Iterable[Any] = (), spots: Iterable[Spot] = ()) -> None:
        super().__init__(items)
        self.spots = list(spots)


def spot_of_item(items: object, number: int) -> Spot | None:
    """Return where the item of a list stands, if it is known; the first one is 0."""
    if not isinstance(items, TextList) or number >= len(items.spots):
        return None
    return items.spots[number]


def spot_of(mapping: Mapping[str, Any], key: object = None) -> Spot | None:
    """Return where a mapping begins, or where one of its keys stands, if it is known."""
    if not isinstance(mapping, TextMapping):
        return None
    return mapping.key_spots.get(str(key), mapping.spot)


def at_spot(place: str, spot: Spot | None) -> str:
    """Add the line and the column to the words for a place, if they are known."""
    if spot is None:
        return place
    return f"{place}, {spot}" if place else str(spot)


def tasks_in(text: str) -> Any:
    """Return the tasks of a plan: the list in *text*, or what is under its key ``tasks``.

    Keys that begin with ``x-`` are left alone beside ``tasks``: that is a place for anchors.

    Raises:
        PlanError: The text cannot be read. Names the line and the column.
    """
    text = text.removeprefix("\ufeff")
    _refuse_half_characters(text)
    content = _read(_unfenced(text))
    if content is None:
        return ()
    if isinstance(content, str) and "\n" not in content:
        hint = "to read a file, pass Path(…).read_text()"
        raise PlanError(f"{one_line(content, _SHOWN_CHARS)!r} should be a list of tasks; {hint}")
    if not isinstance(content, dict) or "tasks" not in content:
        return content
    for key in content:
        if key != "tasks" and not key.startswith("x-"):
            problem = f"the key {key!r} beside 'tasks' is unknown; call it 'x-{key}' to keep it"
            raise PlanError(problem, at_spot("", spot_of(content, key)))
    return () if content["tasks"] is None else content["tasks"]


def _refuse_half_characters(text: str) -> None:
    """Refuse what no file can store, with its place: no reader of YAML or JSON tells it."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        code = ord(text[exc.start])
        problem = "this is half of a surrogate pair, which no file can store"
        if code in _STRAY_BYTES:
            problem = f"the byte {code - _STRAY_BYTES.start + 0x80:#04x} is not UTF-8; save it so"
        raise PlanError(problem, str(_Spots(text).spot(exc.start))) from None


def _unfenced(text: str) -> str:
    """Return the text without the fence around it; each line keeps its number."""
    fenced = _FENCE.fullmatch(text)
    if fenced is None:
        return text
    return "\n" * text.count("\n", 0, fenced.start(2)) + fenced[2]


def _read(text: str) -> Any:
    if text.lstrip()[:1] not in {"[", "{"}:
        return _read_yaml(text)
    try:
        return _read_json(text)
    except json.JSONDecodeError as exc:
        not_json, spot = exc.msg, Spot(exc.lineno, exc.colno)
        comma = _comma_before(text, exc.pos)
    try:
        return _read_yaml(text)  # which has brackets, too
    except PlanError as exc:
        if comma is not None:
            problem = f"there is a comma before {text[comma.end() - 1]}; leave it out"
            raise PlanError(problem, str(_Spots(text).spot(comma.start()))) from exc
        problem = f"this is neither JSON ({not_json}) nor YAML ({exc})"
        raise PlanError(problem, str(spot)) from exc


_COMMA: Final = re.compile(r",\s*[\]}]")


def _comma_before(text: str, position: int) -> re.Match[str] | None:
    """Return the comma after the last item of a list or mapping, if that is where JSON breaks."""
    at = text.rfind(",", 0, position + 1)
    match = _COMMA.match(text, at) if at >= 0 else None
    return match if match is not None and match.end() > position else None


# --- JSON --------------------------------------------------------------------

_STRAY_BYTES: Final = range(0xDC80, 0xDD00)
"""How Python writes bytes that are not UTF-8, in what it reads from a terminal or a pipe."""
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)


def _read_json(text: str) -> Any:
    mappings: list[TextMapping] = []

    def refuse_constant(word: str) -> Any:
        problem = f"{word} is not a number that JSON can hold; write null or a text"
        raise PlanError(problem, _place_of_word(text, word))

    def number(word: str) -> float:
        value = float(word)
        return value if math.isfinite(value) else refuse_constant(word)

    def whole_number(word: str) -> int:
        if len(word) > _MOST_DIGITS:
            raise PlanError(_TOO_LONG, _place_of_word(text, word))
        return int(word)

    def mapping(pairs: list[tuple[str, Any]]) -> TextMapping:
        mappings.append(TextMapping(pairs))
        return mappings[-1]

    try:
        value = json.loads(
            text,
            parse_constant=refuse_constant,
            parse_float=number,
            parse_int=whole_number,
            object_pairs_hook=mapping,
        )
    except RecursionError as exc:
        _Spots(text).find([])
        raise PlanError("the text is nested too deeply") from exc
    spots = _Spots(text).find(mappings)
    return TextList(value, spots) if isinstance(value, list) else value


def _place_of_word(text: str, word: str) -> str:
    spots = _Spots(text)
    for token in _TOKEN.finditer(text):
        if token[0] == word:
            return str(spots.spot(token.start()))
    return ""


_LISTS_OF_TASKS: Final = frozenset({"tasks", "children"})


@attrs.define
class _Open:
    """A bracket that is open: its keys, if it is a mapping; its items, if it is a list."""

    spot: Spot
    key_spots: dict[str, Spot] = attrs.field(factory=dict)
    item_spots: list[Spot] | None = None
    lists: dict[str, list[Spot]] = attrs.field(factory=dict)
    """By the last key before them, where the items of its lists stand."""


class _Spots:
    """Finds where the mappings of a JSON text stand, which its reader does not tell."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._line = 1
        self._line_start = 0
        self._read_to = 0

    def spot(self, offset: int) -> Spot:
        """Return where *offset* is; offsets are asked for in their order."""
        breaks = self._text.count("\n", self._read_to, offset)
        if breaks:
            self._line += breaks
            self._line_start = self._text.rindex("\n", self._read_to, offset) + 1
        self._read_to = offset
        return Spot(self._line, offset - self._line_start + 1)

    def find(self, mappings: Sequence[TextMapping]) -> list[Spot]:
        """Tell each mapping where it stands, and its lists of tasks where their items do.

        Args:
            mappings: Those of the text, in the order in which they end.

        Returns:
            Where the items stand, if the text is a list.

        Raises:
            PlanError: A key appears twice, or brackets are nested too deeply.
        """
        following = iter(mappings)
        around: list[_Open] = []
        closed = _Open(Spot(1, 1))
        previous = closed.spot, ""
        for token in _TOKEN.finditer(self._text):
            spot, word = self.spot(token.start()), token[0]
            if around and around[-1].item_spots is not None and word not in ",]":
                around[-1].item_spots.append(spot)
            if word in "{[":
                around.append(_Open(spot, item_spots=[] if word == "[" else None))
                if len(around) > _MOST_LEVELS:
                    raise PlanError("this is nested too deeply", str(spot))
            elif word in "}]":
                closed = around.pop()
                mapping = next(following, None) if word == "}" else None
                if mapping is not None:
                    _place_mapping(mapping, closed)
                if around and closed.item_spots and around[-1].key_spots:
                    around[-1].lists[next(reversed(around[-1].key_spots))] = closed.item_spots
            elif word == ":":
                self._add_key(around[-1].key_spots, *previous)
            previous = spot, word
        return closed.item_spots or []

    def _add_key(self, key_spots: dict[str, Spot], spot: Spot, word: str) -> None:
        key = json.loads(word) if "\\" in word else word[1:-1]
        if key in key_spots:
            raise _repeated(key, str(spot))
        key_spots[key] = spot


def _place_mapping(mapping: TextMapping, closed: _Open) -> None:
    mapping.spot, mapping.key_spots = closed.spot, closed.key_spots
    for key in _LISTS_OF_TASKS & closed.lists.keys():
        mapping[key] = TextList(mapping[key], closed.lists[key])


def _repeated(key: str, place: str) -> PlanError:
    return PlanError(f"the key {one_line(key, _SHOWN_CHARS)!r} appears twice", place)


# --- YAML --------------------------------------------------------------------

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_INTEGER_WITH_BASE: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MERGE: Final = "<<"
_CORE: Final = "tag:yaml.org,2002:"
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    f"{_CORE}null": (type(None),),
    f"{_CORE}bool": (bool,),
    f"{_CORE}int": (int,),
    f"{_CORE}float": (float, int),
}
"""The tags of the core schema for which a text must have the right form."""


def _read_yaml(text: str) -> Any:
    import yaml

    parser = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # the same events; in C 20 times faster
    try:
        return _YamlReader(yaml.parse(text, parser)).document()
    except yaml.MarkedYAMLError as exc:
        raise PlanError(f"this is not YAML: {_reason(exc)}", _mark_words(exc)) from exc
    except PlanError:
        raise
    except (yaml.YAMLError, ValueError) as exc:
        raise PlanError(f"this is not YAML: {one_line(str(exc), 200)}") from exc


def _reason(exc: Any) -> str:
    words = [word for word in (exc.context, exc.problem) if word]
    return ": ".join(words)


def _mark_words(exc: Any) -> str:
    mark = exc.problem_mark or exc.context_mark
    return "" if mark is None else str(Spot(mark.line + 1, mark.column + 1))


@attrs.frozen(kw_only=True)
class _Anchored:
    """A value that aliases can repeat."""

    value: Any
    size: int
    """How many values and characters it consists of."""


class _YamlReader:
    """Makes values from the events of one document."""

    def __init__(self, events: Iterable[Any]) -> None:
        self._events: Iterator[Any] = iter(events)
        self._anchors: dict[str, _Anchored | None] = {}
        """By name; ``None`` while the value is still being read."""
        self._size = 0
        self._expanded = 0

    def document(self) -> Any:
        """Return the value of the only document; ``None`` when there is none."""
        from yaml import DocumentStartEvent, StreamEndEvent

        next(self._events)
        if isinstance(next(self._events), StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        after = next(self._events)
        if isinstance(after, DocumentStartEvent):
            problem = "a second document begins; a plan is one list of tasks"
            raise PlanError(problem, _place(after))
        return value

    def _value(self, event: Any, depth: int) -> Any:
        from yaml import AliasEvent

        if depth > _MOST_LEVELS:
            raise PlanError("this is nested too deeply", _place(event))
        if isinstance(event, AliasEvent):
            return self._repeat(event)
        if event.anchor is None:
            return self._own_value(event, depth)
        before = self._size
        self._anchors[event.anchor] = None
        value = self._own_value(event, depth)
        self._anchors[event.anchor] = _Anchored(value=value, size=self._size - before)
        return value

    def _own_value(self, event: Any, depth: int) -> Any:
        from yaml import MappingStartEvent, ScalarEvent

        self._size += 1
        if isinstance(event, ScalarEvent):
            self._size += len(event.value)
            return _scalar(event)
        is_mapping = isinstance(event, MappingStartEvent)
        _refuse_other_tag(event, "map" if is_mapping else "seq")
        if is_mapping:
            return self._mapping(event, depth)
        return self._list(depth)

    def _repeat(self, event: Any) -> Any:
        name = event.anchor
        if name not in self._anchors:
            raise PlanError(f"*{name} names no anchor above it", _place(event))
        anchored = self._anchors[name]
        if anchored is None:
            raise PlanError(f"*{name} stands inside of what it repeats", _place(event))
        self._size += anchored.size
        self._expanded += anchored.size
        if self._expanded > _MOST_EXPANDED:
            problem = "the aliases repeat too much; write the tasks out, or plan them from code"
            raise PlanError(problem, _place(event))
        return anchored.value

    def _list(self, depth: int) -> TextList:
        from yaml import SequenceEndEvent

        items = TextList()
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._value(event, depth + 1))
            items.spots.append(_spot(event))
        return items

    def _mapping(self, start: Any, depth: int) -> TextMapping:
        from yaml import MappingEndEvent

        own = TextMapping(spot=_spot(start))
        merged: list[dict[str, Any]] = []
        while not isinstance(event := next(self._events), MappingEndEvent):
            is_merge = _is_plain(event) and event.value == _MERGE
            key = _MERGE if is_merge else _key(event)
            if key in own or (is_merge and merged):
                raise _repeated(key, _place(event))
            value = self._value(next(self._events), depth + 1)
            if is_merge:
                merged += _merge_sources(value, event)
            else:
                own[key] = value
                own.key_spots[key] = _spot(event)
        for source in merged:  # own keys win, then earlier sources
            for key in source:
                own.setdefault(key, source[key])
        return own


def _spot(event: Any) -> Spot:
    mark = event.start_mark
    return Spot(mark.line + 1, mark.column + 1)


def _place(event: Any) -> str:
    return str(_spot(event))


def _key(event: Any) -> str:
    from yaml import ScalarEvent

    if not isinstance(event, ScalarEvent):
        raise PlanError("a key is not a plain word", _place(event))
    key = _scalar(event)
    if not isinstance(key, str):
        shown = one_line(event.value, _SHOWN_CHARS)
        problem = f"the key {shown} is not a text; put it in quotes: '{shown}'"
        raise PlanError(problem, _place(event))
    return key


def _merge_sources(value: Any, event: Any) -> list[dict[str, Any]]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        problem = "<< takes a mapping, or a list of mappings, such as '<<: *defaults'"
        raise PlanError(problem, _place(event))
    return sources


def _refuse_other_tag(event: Any, kind: str) -> None:
    if event.tag not in {None, "!", f"{_CORE}{kind}"}:
        raise _unknown_tag(event)


def _unknown_tag(event: Any) -> PlanError:
    tag = one_line(event.tag.replace(_CORE, "!!"), _SHOWN_CHARS)
    return PlanError(f"the tag {tag} does not fit here; leave it out", _place(event))


def _is_plain(event: Any) -> bool:
    """Tell whether a scalar stands without quotes and without a tag."""
    return getattr(event, "implicit", None) == (True, False) and event.tag is None


def _scalar(event: Any) -> Any:
    if _is_plain(event):
        return _plain(event)
    if event.tag in {None, "!", f"{_CORE}str"}:
        return event.value
    types = _TYPES.get(event.tag)
    value = _plain(event)
    if types is None or not isinstance(value, types):
        raise _unknown_tag(event)
    is_float = event.tag == f"{_CORE}float"
    return float(event.value) if is_float else value


def _plain(event: Any) -> Any:
    """Return what a text without quotes means in the core schema of YAML 1.2."""
    text: str = event.value
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text) or _INTEGER_WITH_BASE.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise PlanError(_TOO_LONG, _place(event))
        return int(text, 0) if text[1:2] in {"o", "x"} else int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        problem = f"{text} is not a number that JSON can hold; write null, or put it in quotes"
        raise PlanError(problem, _place(event))
    return text
