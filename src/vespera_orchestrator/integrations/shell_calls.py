"""The calls that our texts name, as commands that a person can type.

Texts say what to do next as a call: ``orch.retry_task('lid')``. Somebody who reads them in a shell
has no ``orch``. So the command line rewrites them before it prints them: as the command that makes
this call, else as ``tool NAME JSON``. A call that is no tool stays, and says that it is Python.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from vespera_orchestrator.integrations import task_words
from vespera_orchestrator.integrations.tools import signatures
from vespera_orchestrator.integrations.tools.table import SAME_TOOL, TABLE, ToolSpec

IN_PYTHON: Final = "in Python, "
"""What stands before a call for which there is no command."""
WORDS: Final = frozenset(
    {"task", "goal", "description", "note", "next_step", "until", "reason", "energy"}
)
"""Parameters with a default that are a word of the command, and no flag."""
TEXT_FLAGS: Final = {"project_type": "TYPE", "due_date": "DAY", "parent_task_id": "TASK"}
"""Parameters with a default that are a flag with a text, and what its help calls the text."""
_CALL: Final = re.compile(r"\b(print\()?orch\.([a-z_]+(?:\.[a-z_]+)?)\(")
_ATTRIBUTES: Final = re.compile(r"(?:\.[a-z_]+)+\b(?!\()")
_CLOSING: Final = {")": -1, "]": -1, "}": -1, "(": 1, "[": 1, "{": 1}
_SPECS: Final = {spec.path: spec for spec in TABLE}
_SAME_COMMAND: Final = {**SAME_TOOL, "worktrees.create": "work"}
"""Calls for which a shell has the command of another one.

Whoever takes up a task has its folder made again.
"""
_DONE_WORDS: Final = "what you did"
_FIELDS: Final = {argument: field for field, argument in task_words.FIELDS.items()}


class _NotACommandError(Exception):
    """No command says what the call says."""


def in_commands(text: str, program: str) -> str:
    """Write the calls that *text* names as commands.

    Args:
        text: What a person will read.
        program: The words before a command.
    """
    parts = []
    at = 0
    for match in _CALL.finditer(text):
        start = match.start() + len(match[1] or "")
        end = _end_of_call(text, match.end())
        if start < at or end is None:
            continue
        parts.append(text[at : match.start()])
        try:
            words = _command(match[2], text[start:end])
        except _NotACommandError:
            parts.append(IN_PYTHON)
            at = match.start()
            continue
        parts.append(f"{program} {shlex.join(words)}")
        at = _after_attributes(text, end) + (1 if match[1] else 0)
    return "".join([*parts, text[at:]])


def _end_of_call(text: str, start: int) -> int | None:
    """Return where the call ends whose arguments begin at *start*; ``None`` if it does not."""
    depth, quote, is_escaped = 1, "", False
    for at in range(start, len(text)):
        char = text[at]
        if is_escaped or (quote and char == "\\"):
            is_escaped = not is_escaped
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        depth += 0 if quote else _CLOSING.get(char, 0)
        if depth == 0:
            return at + 1
    return None


def _after_attributes(text: str, end: int) -> int:
    """Return where the attributes end that are read from the result: a command shows all of it."""
    attributes = _ATTRIBUTES.match(text, end)
    return end if attributes is None else attributes.end()


def _command(path: str, call: str) -> list[str]:
    """Return the words of the command that makes a call.

    Raises:
        _NotACommandError: There is none.
    """
    path = _SAME_COMMAND.get(path, path)
    spec = _SPECS.get(path)
    if spec is None:
        raise _NotACommandError(path)
    try:
        values = signatures.arguments_of(path, call)
    except ValueError as exc:
        raise _NotACommandError(call) from exc
    try:
        if path in _WRITERS:
            return _all_said(_WRITERS[path], values)
        if spec.command:
            return [spec.command, *_all_said(partial(_row_words, path), values)]
    except _NotACommandError:
        pass
    return _tool_words(spec, values)


# --- writing a command --------------------------------------------------------

_Writer = Callable[[dict[str, Any]], Iterator[str]]
"""Yields the words of a command, and takes the values out that they say."""


def _all_said(writer: _Writer, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a command, if they say all the values."""
    unsaid = dict(values)
    words = list(writer(unsaid))
    if unsaid:
        raise _NotACommandError(str(unsaid))
    return words


def _tool_words(spec: ToolSpec, values: Mapping[str, Any]) -> list[str]:
    """Return the words that call any tool: its arguments are JSON."""
    if set(spec.without) & values.keys():
        raise _NotACommandError(spec.path)
    names = signatures.parameter_names(spec.path)
    arguments = {name: value for name, value in values.items() if name in names}
    others = {name: value for name, value in values.items() if name not in names}
    if others:
        arguments[signatures.open_parameter(spec.path)] = others
    words = ["tool", spec.name]
    if not arguments:
        return words
    try:
        return [*words, json.dumps(arguments, ensure_ascii=False)]
    except (TypeError, ValueError) as exc:  # a set, bytes, a complex number: no JSON
        raise _NotACommandError(spec.path) from exc


def _row_words(path: str, values: dict[str, Any]) -> Iterator[str]:
    """Yield the words of a command whose row of the table is the call itself."""
    function = signatures.function_of(path)
    flags = []
    for name, parameter in inspect.signature(function).parameters.items():  # type: ignore[arg-type] # it exists
        if name == "self":
            continue
        is_needed = parameter.default is inspect.Parameter.empty
        if is_needed or (name in WORDS and name in values):
            yield _word(values.pop(name, signatures.CHOOSE))
        elif name in TEXT_FLAGS and name in values:
            flags += [flag(name), _word(values.pop(name))]
        elif parameter.default is False and values.get(name) is True:
            flags.append(flag(name))
            del values[name]
    yield from flags


def flag(name: str) -> str:
    """Return the flag by which a command takes a parameter."""
    return f"--{name.replace('_', '-')}"


def _word(value: Any) -> str:
    if value is None:
        return "now"  # only a rest has a word that may be none
    if not isinstance(value, str):
        raise _NotACommandError(repr(value))
    return value


def _start_words(values: dict[str, Any]) -> Iterator[str]:
    yield "start"
    task = values.pop("task_id", signatures.CHOOSE)
    if task != signatures.CHOOSE:
        yield _word(task)
    for name in ("take_over", "despite_pressure"):
        if values.pop(name, False):
            yield flag(name)
    worktree = values.pop("worktree", None)
    if worktree is not None:
        yield "--worktree" if worktree else "--no-worktree"


def _simplify_words(values: dict[str, Any], *flags: str) -> Iterator[str]:
    yield "simplify"
    yield _word(values.pop("task"))
    if "grain" in values:
        yield from ("--grain", str(values.pop("grain")))
    yield from flags


def _undo_simplify_words(values: dict[str, Any]) -> Iterator[str]:
    yield from _simplify_words(values, "--undo")


def _work_words(values: dict[str, Any]) -> Iterator[str]:
    yield "start"
    yield _word(values.pop("task"))


def _done_words(values: dict[str, Any]) -> Iterator[str]:
    if "summary" in values and "detailed_work" not in values:
        raise _NotACommandError(str(values))  # the text goes on to say what else to hand in
    summary = values.pop("summary", signatures.CHOOSE)
    work = values.pop("detailed_work", signatures.CHOOSE)
    yield "done"
    yield _word(values.pop("task_id", signatures.CHOOSE))
    yield _DONE_WORDS if summary == signatures.CHOOSE else _word(summary)
    if work != signatures.CHOOSE:
        yield _word(work)
    for name, value in values.pop("outputs", {}).items():
        yield from ("--output", f"{name}={_answer_value(value)}")


def _save_words(values: dict[str, Any]) -> Iterator[str]:
    if values.pop("state") not in (signatures.CHOOSE, {}):
        raise _NotACommandError(str(values))
    yield "save"
    yield _word(values.pop("task"))
    yield _word(values.pop("note", signatures.CHOOSE))


def _answer_words(values: dict[str, Any]) -> Iterator[str]:
    yield "answer"
    yield _word(values.pop("task"))
    if values.get("answer") == signatures.CHOOSE:  # whoever has no value in mind writes words
        yield values.pop("answer")
    for name in list(values):
        yield f"{name}={_answer_value(values.pop(name))}"


def _answer_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plan_words(values: dict[str, Any]) -> Iterator[str]:
    yield from ("plan", "-")
    if "existing" in values:
        yield from ("--existing", _word(values.pop("existing")))
    if values.pop("specs", signatures.CHOOSE) != signatures.CHOOSE:
        raise _NotACommandError(str(values))


def _signal_words(values: dict[str, Any]) -> Iterator[str]:
    yield "signal"
    yield _word(values.pop("name"))
    payload = values.pop("payload", signatures.CHOOSE)
    if payload == signatures.CHOOSE:
        return
    if not isinstance(payload, dict):
        raise _NotACommandError(str(payload))
    for name, value in payload.items():
        yield f"{name}={_answer_value(value)}"


def _tasks_words(values: dict[str, Any]) -> Iterator[str]:
    yield "tasks"
    if values.pop("ready", False):
        yield "--ready"
    if "status" in values:
        yield from ("--status", _word(values.pop("status")))
    elif "limit" in values:
        yield "--all"
    values.pop("limit", None)
    values.pop("include_children", None)
    if "parent_task_id" in values:
        yield from ("--parent", _word(values.pop("parent_task_id")))


def _read_words(values: dict[str, Any]) -> Iterator[str]:
    yield "read"
    yield _word(values.pop("artifact"))


def _change_words(values: dict[str, Any]) -> Iterator[str]:
    yield "change"
    yield _word(values.pop("task"))
    for name in [name for name in values if name in _FIELDS]:
        yield f"{_FIELDS[name]}={_field_value(values.pop(name))}"


def _field_value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_word, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_WRITERS: Final[Mapping[str, _Writer]] = {
    "execute_task": _start_words,
    "work": _work_words,
    "simplify": _simplify_words,
    "undo_simplify": _undo_simplify_words,
    "checkpoint": _save_words,
    "complete_task": _done_words,
    "plan_tasks": _plan_words,
    "answer": _answer_words,
    "signal": _signal_words,
    "query_tasks": _tasks_words,
    "update_task": _change_words,
    "artifacts.text": _read_words,
}
"""Commands that take their words otherwise than the call behind them."""
