"""JSON schemas made from signatures, hints and docstrings, and arguments checked against them.

What a function takes is written once, at the function. A parameter that JSON cannot hold, such as a
callable, is no parameter of the tool.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from os import PathLike
from pathlib import PurePath
from typing import Any, Final, Literal, Union

from vespera_orchestrator._model import Dependency, JsonValue, Outcome
from vespera_orchestrator._records import Record, field_names
from vespera_orchestrator._text import one_line, show_value, similar_names
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.calls import meant_name

Schema = dict[str, Any]

_KINDS: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}
_PLAIN: Final = {**_KINDS, dict: "object", list: "array"}
_DEPENDENCY: Final[Schema] = {
    "type": "object",
    "properties": {
        "task": {"type": "string"},
        "on": {
            "type": "string",
            "enum": [outcome.value for outcome in Outcome],
        },
    },
    "required": ["task"],
    "additionalProperties": False,
}
_MOST_SHOWN_CHARS: Final = 60


# --- what a function takes ------------------------------------------------------


def parameters_of(function: Callable[..., Any], *, without: Collection[str] = ()) -> Schema:
    """Return the JSON schema of the parameters of *function*.

    Args:
        function: A method; its ``self`` is left out.
        without: Parameters to leave out.
    """
    hints = typing.get_type_hints(function)
    texts = argument_texts(function)
    properties: dict[str, Schema] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or name in without:
            continue
        is_open = parameter.kind is inspect.Parameter.VAR_KEYWORD
        schema = {"type": "object"} if is_open else schema_of(hints.get(name, Any))
        if schema is None:
            continue
        if texts.get(name):
            schema = {**schema, "description": texts[name]}
        says_all = not (is_open and properties)  # else the others may say all there is to say
        if says_all and parameter.default is inspect.Parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, str | int | float) and parameter.default != "":
            schema = {**schema, "default": parameter.default}
        properties[name] = schema
    return object_schema(properties, required)


def object_schema(properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    """Return the schema of an object that has these properties and no others."""
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    return {**schema, "additionalProperties": False}


def schema_of(hint: Any) -> Schema | None:
    """Return the schema of a value with this hint; ``None`` if JSON cannot hold it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin in {Union, types.UnionType}:
        return _any_of(inner)
    if origin is Literal:
        return {"type": "string", "enum": list(inner)}
    if origin is not None:
        return _container(origin, inner)
    return _single(hint)


def _single(hint: Any) -> Schema | None:
    if not isinstance(hint, type):
        return None
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if issubclass(hint, Enum):
        return {"type": "string", "enum": [str(member.value) for member in hint]}
    if issubclass(hint, Dependency):
        return _DEPENDENCY
    return None


def _container(origin: Any, inner: tuple[Any, ...]) -> Schema | None:
    if not isinstance(origin, type):
        return None
    if issubclass(origin, PathLike):
        return {"type": "string"}
    if issubclass(origin, Mapping):
        return {"type": "object"}
    if issubclass(origin, Iterable):
        items = schema_of(inner[0]) if inner else {}
        return None if items is None else {"type": "array", "items": items}
    return None


def _any_of(hints: Iterable[Any]) -> Schema | None:
    """Return the schema of a union: what JSON cannot hold is no choice."""
    choices: list[Schema] = []
    for hint in hints:
        schema = None if hint is type(None) else schema_of(hint)
        if schema is not None and schema not in choices:
            choices.append(schema)
    if any("enum" in choice for choice in choices):
        choices = [choice for choice in choices if choice != {"type": "string"}]
    if len(choices) <= 1:
        return choices[0] if choices else None
    return {"anyOf": choices}


# --- what a function says -------------------------------------------------------


_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^    (\w+): ", re.MULTILINE)


def description_of(function: Callable[..., Any]) -> str:
    """Return what a docstring says before its sections."""
    text = inspect.getdoc(function) or ""
    return plain_text(_SECTION.split(text, maxsplit=1)[0])


def argument_texts(function: Callable[..., Any]) -> dict[str, str]:
    """Return what a docstring says of each argument."""
    text = inspect.getdoc(function) or ""
    parts = _SECTION.split(text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    entries = _ENTRY.split(sections.get("Args", ""))
    pairs = zip(entries[1::2], entries[2::2], strict=True)
    return {name: plain_text(words) for name, words in pairs}


def plain_text(text: str) -> str:
    """Put a docstring's paragraph on one line, without its markup."""
    flat = " ".join(text.split())
    return re.sub(r"``([^`]*)``", r"`\1`", flat)


# --- what a function returns ----------------------------------------------------


def result_schema(kind: type[Record]) -> Schema:
    """Return the schema of a record's plain data, each of whose fields may be left out."""
    hints = typing.get_type_hints(kind)
    properties: dict[str, Schema] = {}
    for name in field_names(kind):  # type: ignore[arg-type] # a class is hashable
        hint = hints.get(name)
        if hint is None:
            hint = typing.get_type_hints(getattr(kind, name).fget).get("return", Any)
        properties[name] = _outline(hint)
    properties["left_out"] = {"type": "object"}
    return {"type": "object", "properties": properties}


def _outline(hint: Any) -> Schema:
    """Return the kind of a field; what is within it is not described."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in {Union, types.UnionType}:
        kinds = [_outline(part) for part in inner if part is not type(None)]
        schema = kinds[0] if len(kinds) == 1 else {}
        if type(None) in inner and "type" in schema:
            return {"type": [schema["type"], "null"]}
        return schema
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type):
        return {}
    return _kind_schema(kind)


def _kind_schema(kind: type) -> Schema:
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if issubclass(kind, str | datetime | date | PurePath | Enum):
        return {"type": "string"}
    if issubclass(kind, Record | Mapping):
        return {"type": "object"}
    if issubclass(kind, Iterable):
        return {"type": "array"}
    return {}


# --- arguments ------------------------------------------------------------------


def checked(
    arguments: object, schema: Schema, tool: str, *, nulls: Collection[str] = ()
) -> dict[str, Any]:
    """Return the arguments of a call, if they fit the schema.

    ``None`` for an optional argument is the same as leaving it out, as language models do it,
    unless the argument is one of *nulls*.

    Raises:
        InvalidInputError: With the argument, and what would be right.
    """
    if not isinstance(arguments, Mapping):
        raise InvalidInputError("arguments", f"{_shown(arguments)} should be an object")
    properties, required = schema["properties"], schema.get("required", ())
    accepted: dict[str, Any] = {}
    for written, value in arguments.items():
        if not isinstance(written, str):
            raise InvalidInputError("arguments", f"{_shown(written)} is not a name")
        name = meant_name(written, properties)
        if name not in properties:
            raise InvalidInputError(name, _unknown(name, properties, tool))
        if name in accepted:
            raise InvalidInputError(name, f"{tool} got it twice, also under another name")
        if value is None and name in nulls:
            accepted[name] = None
            continue
        if value is None and name not in required:
            continue
        problem = _problem(value, properties[name])
        if problem:
            raise InvalidInputError(name, problem)
        accepted[name] = _converted(value, properties[name])
    missing = [name for name in required if name not in accepted]
    if missing:
        text = properties[missing[0]].get("description", "")
        raise InvalidInputError(missing[0], f"{tool} needs it{': ' if text else ''}{text}")
    return accepted


def _unknown(name: str, properties: Mapping[str, Schema], tool: str) -> str:
    similar = similar_names(name[:_MOST_SHOWN_CHARS], properties)
    if similar:
        return f"{tool} has no such argument; did you mean {similar[0]}?"
    names = ", ".join(properties) or "none"
    return f"{tool} has no such argument; it takes {names}"


def _problem(value: JsonValue, schema: Schema) -> str:
    """Say how *value* differs from *schema*; empty if it fits."""
    if "anyOf" in schema:
        return _problem_with_all(value, schema["anyOf"])
    kind = schema.get("type")
    if kind is not None and not _is_kind(value, kind):
        return f"{_shown(value)} should be {_KIND_WORDS[kind]}"
    if "enum" in schema and value not in schema["enum"]:
        words = ", ".join(schema["enum"])
        return f"{_shown(value)} is not one of {words}"
    if kind == "array":
        return _problem_within(enumerate(value), lambda _: schema.get("items", {}))
    if kind == "object" and "properties" in schema:
        return _object_problem(value, schema)
    return ""


def _problem_with_all(value: JsonValue, choices: Sequence[Schema]) -> str:
    """Say how *value* differs from the choice that is nearest to it."""
    nearest = choices[0]
    for choice in choices:
        if not _problem(value, choice):
            return ""
        if _is_kind(value, choice["type"]):
            nearest = choice
    return _problem(value, nearest)


def _object_problem(value: Mapping[str, Any], schema: Schema) -> str:
    properties = schema["properties"]
    required = schema.get("required", ())
    for name in required:
        if name not in value:
            return f"{_shown(value)} has no {name!r}"
    for name in value:
        if name not in properties and schema.get("additionalProperties") is False:
            return f"{_shown(name)} is not one of {', '.join(properties)}"
    # A null says that there is none, or that what was there is to go: the call knows which.
    said = ((name, item) for name, item in value.items() if item is not None or name in required)
    return _problem_within(said, lambda name: properties.get(name, {}))


def _problem_within(items: Iterable[tuple[Any, Any]], schema_for: Callable[[Any], Schema]) -> str:
    for place, item in items:
        problem = _problem(item, schema_for(place))
        if problem:
            return f"{place}: {problem}"
    return ""


_KIND_WORDS: Final = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "an object",
}
_KIND_TYPES: Final[dict[str, Any]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": int | float,
    "array": list | tuple,
    "object": Mapping,
}


def _is_kind(value: JsonValue, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _KIND_TYPES[kind])


def _shown(value: object) -> str:
    return one_line(show_value(value), _MOST_SHOWN_CHARS)


def _converted(value: JsonValue, schema: Schema) -> Any:
    """Turn the plain form of a dependency into one; leave everything else as it is."""
    choices = schema.get("anyOf", (schema,))
    if isinstance(value, Mapping) and _DEPENDENCY in choices:
        return Dependency(**{name: item for name, item in value.items() if item is not None})
    if isinstance(value, list | tuple):
        items: Schema = next((choice["items"] for choice in choices if "items" in choice), {})
        return [_converted(item, items) for item in value]
    return value
