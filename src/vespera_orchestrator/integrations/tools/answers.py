"""What a tool answers: a text for the model, data for the program, both within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import JsonValue, NextStep, Task, TaskStatus
from vespera_orchestrator._records import LEFT_OUT, Record, plain_list, to_plain, to_text
from vespera_orchestrator._secrets import mask, mask_value
from vespera_orchestrator._text import clip, one_line, tokens
from vespera_orchestrator.integrations.tools.signatures import (
    CHOOSE,
    arguments_of,
    open_parameter,
    parameter_names,
)
from vespera_orchestrator.integrations.tools.table import NAMES, PREFIX, in_tool_names
from vespera_orchestrator.progress.resume import Briefing

if TYPE_CHECKING:
    from vespera_orchestrator.errors import VesperaError

_TEXT_SHARE: Final = 0.4
"""How much of the budget the text may take, where the data say the same."""
_LONG_TEXT_SHARE: Final = 0.8
"""The same where the text is the answer, such as a briefing or an artifact."""
_LEAST_DATA_TOKENS: Final = 60
_SEAM_TOKENS: Final = 2
"""The line between text and data, and what is rounded where each is counted by itself."""
_LINE_CHARS: Final = 160
_TRIES: Final = 4


@attrs.frozen(kw_only=True)
class Answer(Record):
    """What a tool answers."""

    text: str
    """What the model reads: short, complete enough to go on."""
    data: Mapping[str, JsonValue]
    """The same for programs; what was left out is named under ``left_out``."""
    is_error: bool = False
    """Whether the call was refused; *text* then says why, and what to do instead."""

    def __str__(self) -> str:
        return f"{self.text}\n\n{to_text(self.data)}" if self.data else self.text


# --- answers to calls that went well ------------------------------------------------


def answer_of(result: object, budget_tokens: int) -> Answer:
    """Return the answer to a call that returned one thing."""
    if isinstance(result, Record):
        return _of_record(result, budget_tokens)
    if isinstance(result, str):
        return long_text(result, {}, budget_tokens)
    if isinstance(result, Mapping):
        data = dict(to_plain(result))
        return Answer(text=clip(to_text(data), int(budget_tokens * _TEXT_SHARE)), data=data)
    text = "done" if result is None else str(result)
    return Answer(text=text, data={"result": to_plain(result)})


def _of_record(record: Record, budget_tokens: int) -> Answer:
    if isinstance(record, NextStep):
        text, data = str(record), next_step_data(record)
        return Answer(text=in_tool_names(text), data=data)
    text = clip(in_tool_names(_line(record)), int(budget_tokens * _TEXT_SHARE))
    room = max(_LEAST_DATA_TOKENS, budget_tokens - tokens(text) - _SEAM_TOKENS)
    return Answer(text=text, data=_within(record, room))


def _within(record: Record, room_tokens: int) -> dict[str, Any]:
    """Return a record's data within the room, although names of tools are longer than calls."""
    budget = room_tokens
    data = _record_data(record, budget)
    for _ in range(_TRIES):
        excess = tokens(to_text(data)) - room_tokens
        if excess <= 0:
            break
        budget -= excess
        data = _record_data(record, budget)
    return data


def _record_data(record: Record, budget_tokens: int) -> dict[str, Any]:
    data = record.to_dict(brief=True, budget_tokens=budget_tokens)
    if isinstance(record, Briefing):
        data.pop("lines", None)  # they are the text
    step = getattr(record, "next_step", None)
    if isinstance(step, NextStep) and "next_step" in data:
        data["next_step"] = next_step_data(step)
    return _with_tool_names(data)


def _line(record: Record) -> str:
    if isinstance(record, Task) and record.status is TaskStatus.BLOCKED and record.reason:
        return f"{record}\n{record.reason}"
    return str(record)


def _with_tool_names(data: dict[str, Any]) -> dict[str, Any]:
    """Write the calls that return what was left out as tools."""
    left_out = data.get(LEFT_OUT)
    if isinstance(left_out, dict):
        data[LEFT_OUT] = {name: in_tool_names(call) for name, call in left_out.items()}
    return data


def next_step_data(step: NextStep) -> dict[str, Any]:
    """Return a next step with the tool that takes it, and the arguments as far as known."""
    data = step.to_dict(brief=True)
    call = data.pop("call", "")
    if call:
        data |= _tool_call(call)
    data["sentence"] = in_tool_names(step.sentence)
    return data


def _tool_call(call: str) -> dict[str, Any]:
    """Return a call in Python as a tool and its arguments.

    Arguments that the caller must think of stand as an ellipsis in the call, and are left out.
    """
    path = call.removeprefix("orch.").partition("(")[0]
    if path not in NAMES:
        return {"call": call}
    try:
        values = arguments_of(path, call)
    except ValueError:
        return {"call": call}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if value == CHOOSE:
            continue
        if name in parameter_names(path):
            arguments[name] = value
        else:
            arguments.setdefault(open_parameter(path), {})[name] = value
    return {"tool": PREFIX + NAMES[path], "arguments": arguments}


def list_answer(
    results: Sequence[Any], name: str, budget_tokens: int, rest: Callable[[int], str]
) -> Answer:
    """Return the answer to a call that returned a list.

    Args:
        results: What it returned.
        name: What they are, in the plural; the key of the list.
        budget_tokens: About how long text and data may be together.
        rest: Returns how to get what was left out, from how many were listed.
    """
    records = [each for each in results if isinstance(each, Record)]
    room = int(budget_tokens * (1 - _TEXT_SHARE))
    if len(records) == len(results):
        data = plain_list(records, name=name, budget_tokens=room, rest=rest)
    else:
        data = {name: to_plain(list(results))}
    lines = [f"- {in_tool_names(one_line(str(each), _LINE_CHARS))}" for each in results]
    text = _first_lines(lines, int(budget_tokens * _TEXT_SHARE)) or f"no {name}"
    notes = map(in_tool_names, getattr(results, "notes", ()))
    return Answer(text="\n".join([text, *notes]), data=_with_tool_names(data))


def _first_lines(lines: Iterable[str], budget_tokens: int) -> str:
    lines = list(lines)
    room = budget_tokens
    for count, line in enumerate(lines):
        room -= tokens(f"{line}\n")
        if room < 0 and count:
            return "\n".join([*lines[:count], f"… and {len(lines) - count} more"])
    return "\n".join(lines)


def long_text(text: str, data: dict[str, Any], budget_tokens: int) -> Answer:
    """Return an answer whose text is what was asked for, such as a briefing."""
    short = clip(text, int(budget_tokens * _LONG_TEXT_SHARE))
    return Answer(text=short, data=data)


def without_secrets(answer: Answer) -> Answer:
    """Return the answer without keys and passwords."""
    data = {name: _masked(name, value) for name, value in answer.data.items()}
    return attrs.evolve(answer, text=mask(answer.text), data=data)


def _masked(name: str, value: JsonValue) -> JsonValue:
    """Return a value without secrets; *name* may say that it is one."""
    if isinstance(value, str):
        return mask_value(name, value)
    if isinstance(value, Mapping):
        return {mask(key): _masked(key, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(name, each) for each in value]
    return value


# --- refused calls ------------------------------------------------------------------


def refusal(exc: VesperaError, budget_tokens: int) -> Answer:
    """Return the answer to a call that was refused: what is wrong, and what to do instead."""
    text = clip(in_tool_names(str(exc)), int(budget_tokens * _TEXT_SHARE))
    data: dict[str, Any] = {"error": type(exc).__name__, "retryable": exc.retryable}
    if exc.kept_artifact_id:
        data["kept_artifact_id"] = exc.kept_artifact_id
    step = getattr(exc, "next_step", None)
    if isinstance(step, NextStep):
        data["next_step"] = next_step_data(step)
    why = getattr(exc, "why", None)
    if isinstance(why, Record):
        data["why"] = why.to_dict(brief=True, budget_tokens=budget_tokens // 2)
    return Answer(text=text, data=data, is_error=True)
