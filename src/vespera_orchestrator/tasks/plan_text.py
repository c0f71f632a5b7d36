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

import attrs

from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_MOST_LEVELS: Final = 200
"""How deep a text may be nested."""
_MOST_EXPANDED: Final = 1_000_000
"""How many values and characters aliases may add to a text."""
_SHOWN_CHARS: Final = 60


class TextMapping(dict[str, Any]):
    """A mapping that was read from a text; it knows the lines where its keys stand."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.key_lines: dict[str, int] = {}


def line_of(mapping: Mapping[str, Any], key: str | None = None) -> int | None:
    """Return the line where a mapping begins, or where one of its keys stands, if it is known."""
    if not isinstance(mapping, TextMapping):
        return None
    return mapping.key_lines.get(key or "", mapping.line)


def at_line(place: str, line: int | None) -> str:
    """Add the line to the words for a place, if it is known."""
    if line is None:
        return place
    return f"{place}, line {line}" if place else f"line {line}"


def tasks_in(text: str) -> Any:
    """Return the tasks of a plan: the list in *text*, or what is under its key ``tasks``.

    Keys that begin with ``x-`` are left alone beside ``tasks``: that is a place for anchors.

    Raises:
        PlanError: The text cannot be read. Names the line.
    """
    content = _read(text.removeprefix("\ufeff"))
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
            raise PlanError(problem, at_line("", line_of(content, key)))
    return content["tasks"]


def _read(text: str) -> Any:
    if text.lstrip()[:1] not in {"[", "{"}:
        return _read_yaml(text)
    try:
        return _read_json(text)
    except json.JSONDecodeError as exc:
        not_json = f"JSON: line {exc.lineno}, column {exc.colno}: {exc.msg}"
    try:
        return _read_yaml(text)  # which has brackets, too
    except PlanError as exc:
        problem = f"the text is neither JSON nor YAML ({not_json}; YAML: {exc})"
        raise PlanError(problem) from exc


# --- JSON --------------------------------------------------------------------

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)


def _read_json(text: str) -> Any:
    def refuse_constant(word: str) -> Any:
        problem = f"{word} is not a number that JSON can hold; write null or a text"
        raise PlanError(problem, _place_of_word(text, word))

    def number(word: str) -> float:
        value = float(word)
        return value if math.isfinite(value) else refuse_constant(word)

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            raise _repeated_key(text)
        return result

    try:
        return json.loads(
            text,
            parse_constant=refuse_constant,
            parse_float=number,
            object_pairs_hook=mapping,
        )
    except RecursionError as exc:
        raise PlanError("the text is nested too deeply") from exc
    except (json.JSONDecodeError, PlanError):
        raise
    except ValueError as exc:  # a number of thousands of digits
        raise PlanError(f"the text holds a number that is too long: {exc}") from exc


def _place_of_word(text: str, word: str) -> str:
    for token in _TOKEN.finditer(text):
        if token[0] == word:
            return _place_at(text, token.start())
    return ""


def _repeated_key(text: str) -> PlanError:
    """Return the error for the first object that has a key twice."""
    keys_around: list[set[str]] = []
    previous = ""
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[":
                keys_around.append(set())
            case "}" | "]":
                keys_around.pop()
            case ":":
                if previous in keys_around[-1]:
                    return _repeated(json.loads(previous), _place_at(text, token.start()))
                keys_around[-1].add(previous)
        previous = token[0]
    return PlanError("a key appears twice")


def _place_at(text: str, offset: int) -> str:
    return f"line {text.count(chr(10), 0, offset) + 1}"


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
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


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
        return list(self._items(depth))

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

    def _items(self, depth: int) -> Iterator[Any]:
        from yaml import SequenceEndEvent

        while not isinstance(event := next(self._events), SequenceEndEvent):
            yield self._value(event, depth + 1)

    def _mapping(self, start: Any, depth: int) -> TextMapping:
        from yaml import MappingEndEvent

        own = TextMapping(start.start_mark.line + 1)
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
                own.key_lines[key] = event.start_mark.line + 1
        for source in merged:  # own keys win, then earlier sources
            for key in source:
                own.setdefault(key, source[key])
        return own


def _place(event: Any) -> str:
    return f"line {event.start_mark.line + 1}"


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
    if _INTEGER.fullmatch(text):
        return int(text)
    if _INTEGER_WITH_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        problem = f"{text} is not a number that JSON can hold; write null, or put it in quotes"
        raise PlanError(problem, _place(event))
    return text
