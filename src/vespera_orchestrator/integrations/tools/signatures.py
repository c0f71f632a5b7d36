"""The functions behind the rows of the table, and the schemas of what they take and return."""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import vespera_orchestrator as vespera
from vespera_orchestrator._records import Record
from vespera_orchestrator.integrations.tools import schemas
from vespera_orchestrator.integrations.tools.schemas import Schema
from vespera_orchestrator.integrations.tools.table import TABLE, ToolSpec, in_tool_names

CHOOSE: Final = "…"
"""What a text writes where you have to choose."""
_ROOMS = {"artifacts": "Artifacts", "worktrees": "Worktrees", "documents": "Documents"}
_MOST_DESCRIPTION_CHARS = 700


def function_of(path: str) -> Callable[..., Any] | None:
    """Return the function that a row calls, unbound; ``None`` if it does not exist."""
    room, _, name = path.rpartition(".")
    owner: Any = vespera.Orchestrator
    if room:
        owner = getattr(vespera, _ROOMS[room])
    return getattr(owner, name, None)


def existing() -> tuple[ToolSpec, ...]:
    """Return the rows whose call exists."""
    return tuple(spec for spec in TABLE if function_of(spec.path) is not None)


@lru_cache(maxsize=128)
def parameter_names(path: str) -> tuple[str, ...]:
    """Return the parameters of a call in their order, without ``self``."""
    function = function_of(path)
    if function is None:
        return ()
    return tuple(name for name in inspect.signature(function).parameters if name != "self")


@lru_cache(maxsize=128)
def open_parameter(path: str) -> str:
    """Return the name under which a call takes any keyword; empty if it takes none."""
    parameters = inspect.signature(_required(path)).parameters.values()
    kind = inspect.Parameter.VAR_KEYWORD
    return next((parameter.name for parameter in parameters if parameter.kind is kind), "")


def arguments_of(path: str, call: str) -> dict[str, Any]:
    """Return the arguments of a call that a text of ours names, by their names.

    Args:
        path: What is called, as a row of the table has it.
        call: The call in Python. `CHOOSE` stands where the reader has to think of a value.

    Raises:
        ValueError: It is no call that can be read, or has arguments that it does not take.
    """
    try:
        tree = ast.parse(call.replace(CHOOSE, "..."), mode="eval").body
    except SyntaxError as exc:
        raise ValueError(call) from exc
    if not isinstance(tree, ast.Call):
        raise ValueError(call)  # noqa: TRY004 - the text is wrong, not its type
    names = parameter_names(path)
    if len(tree.args) > len(names):
        raise ValueError(call)
    values = dict(zip(names, map(_value, tree.args), strict=False))
    for keyword in tree.keywords:
        values[str(keyword.arg)] = _value(keyword.value)
    if values.keys() - set(names) and not open_parameter(path):
        raise ValueError(call)
    return values


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id.upper()
    return _with_choices(ast.literal_eval(node))


def _with_choices(value: Any) -> Any:
    """Return a value in which "…" stands again where the reader has to think of one."""
    if isinstance(value, dict):
        return {name: _with_choices(each) for name, each in value.items()}
    return CHOOSE if value in (..., "...") else value


@lru_cache(maxsize=128)
def callables_of(path: str) -> frozenset[str]:
    """Return the parameters of a call that no JSON can hold."""
    function = function_of(path)
    if function is None:
        return frozenset()
    hints = typing.get_type_hints(function)
    names = [name for name in parameter_names(path) if name in hints]
    return frozenset(name for name in names if schemas.schema_of(hints[name]) is None)


@lru_cache(maxsize=128)
def input_schema(spec: ToolSpec) -> Schema:
    """Return the JSON schema of a tool's arguments."""
    function = _function(spec)
    schema = schemas.parameters_of(function, without=spec.without)
    properties = dict(schema["properties"])
    required = list(schema.get("required", ()))
    for name, property_schema in properties.items():
        text = in_tool_names(property_schema.get("description", ""))
        properties[name] = {**property_schema, "description": text} if text else property_schema
    if spec.name == "plan_tasks":
        properties["specs"] = _specs_schema(properties["specs"])
    if spec.name == "read_artifact":
        properties |= _PAGE
    return schemas.object_schema(properties, required)


_PAGE: Schema = {
    "offset": {"type": "integer", "description": "Start at this character.", "default": 0},
    "limit": {"type": "integer", "description": "Most characters; as many as fit by default."},
}


def _specs_schema(schema: Schema) -> Schema:
    """Describe a plan: a list of tasks with the parameters of ``plan_task``, and children."""
    plan_task = next(spec for spec in TABLE if spec.name == "plan_task")
    one = input_schema(plan_task)
    task = {name: dict(property_) for name, property_ in one["properties"].items()}
    for property_ in task.values():
        property_.pop("description", None)  # plan_task has it
    task["children"] = {"type": "array", "items": {"type": "object"}}
    items = {"type": "object", "properties": task, "required": ["title"]}
    return {"type": "array", "items": items, "description": schema.get("description", "")}


@lru_cache(maxsize=128)
def output_schema(spec: ToolSpec) -> Schema:
    """Return the JSON schema of the data in a tool's answer."""
    if spec.items:
        properties = {spec.items: {"type": "array"}, "left_out": {"type": "object"}}
        return {"type": "object", "properties": properties, "required": [spec.items]}
    hint = typing.get_type_hints(_function(spec)).get("return")
    if isinstance(hint, type) and issubclass(hint, Record) and hint is not vespera.NextStep:
        return schemas.result_schema(hint)
    return {"type": "object"}


@lru_cache(maxsize=128)
def description(spec: ToolSpec) -> str:
    """Return what a tool is for, from the docstring of its call."""
    text = in_tool_names(schemas.description_of(_function(spec)))
    if len(text) <= _MOST_DESCRIPTION_CHARS:
        return text
    cut = text[:_MOST_DESCRIPTION_CHARS]
    return cut[: cut.rfind(". ") + 1] or cut


def _function(spec: ToolSpec) -> Callable[..., Any]:
    return _required(spec.path)


def _required(path: str) -> Callable[..., Any]:
    function = function_of(path)
    if function is None:
        raise LookupError(path)
    return function
