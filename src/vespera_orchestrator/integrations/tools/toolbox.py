"""The tools of one project, bound to its `Orchestrator`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import vespera_orchestrator as vespera
from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import listed, names_mistakes
from vespera_orchestrator._model import JsonValue
from vespera_orchestrator._secrets import mask_and_warn
from vespera_orchestrator._text import fitting_length, show_value
from vespera_orchestrator.errors import InvalidInputError, VesperaError
from vespera_orchestrator.home.calls import explains_calls
from vespera_orchestrator.home.choice import calling_tools
from vespera_orchestrator.home.config import ENV_STORE
from vespera_orchestrator.integrations import follow_ups
from vespera_orchestrator.integrations.tools import answers, signatures
from vespera_orchestrator.integrations.tools.answers import Answer
from vespera_orchestrator.integrations.tools.schemas import checked
from vespera_orchestrator.integrations.tools.table import (
    PREFIX,
    Group,
    ToolSpec,
    in_tool_names,
)
from vespera_orchestrator.stores.sql.address import without_password

BUDGET_TOKENS: Final = 2000
"""About how long an answer may be; a token is about four letters, or one digit."""
_TAKING: Final = ("execute_task", "work")
"""Calls that return a task in hand."""
_MOST_NAME_CHARS: Final = 80
"""Of a longer name no more is compared with those that exist."""
_MOST_BLOCKS: Final = 10_000
"""More calls than a model makes in one message."""
_BRIEFING_SHARE: Final = 0.75
_PAGE_SHARE: Final = 0.75


@attrs.frozen(kw_only=True)
class Tool:
    """One tool: what a model must know of it, and how it is called."""

    spec: ToolSpec = attrs.field(repr=False)
    """The row of the table that it comes from."""
    name: str
    """Its name, such as ``orchestrator_plan_task``."""
    description: str = attrs.field(repr=False)
    """What it is for."""
    parameters: Mapping[str, Any] = attrs.field(repr=False)
    """The JSON schema of its arguments."""
    returns: Mapping[str, Any] = attrs.field(repr=False)
    """The JSON schema of `Answer.data`."""
    _toolbox: Toolbox = attrs.field(repr=False, eq=False)

    def __call__(self, arguments: Mapping[str, JsonValue] | None = None) -> Answer:
        """Call it. Refusals are answers too; see `Toolbox.answer`."""
        return self._toolbox.answer(self.name, {} if arguments is None else arguments)


@explains_calls
class Toolbox:
    """The calls of an `Orchestrator` as tools for a language model.

    Safe to use from several threads, as the `Orchestrator` is.

    Args:
        orch: The open project. It stays yours to close.
        include: Names of tools or of groups (``"sessions"``, ``"planning"``, ``"looking"``,
            ``"working"``, ``"artifacts"``, ``"worktrees"``, ``"documents"``, ``"maintenance"``), or
            ``"all"``; by default those that an agent at work needs.
        budget_tokens: About how long an answer may be; a token is about four letters, or one digit.

    Raises:
        InvalidInputError: *include* names something that does not exist.
    """

    @names_mistakes
    def __init__(
        self,
        orch: vespera.Orchestrator,
        *,
        include: str | Iterable[str] | None = None,
        budget_tokens: int = BUDGET_TOKENS,
    ) -> None:
        self._orch = orch
        self._budget_tokens = budget_tokens
        tools = [self._tool(spec) for spec in _chosen(include)]
        self._tools = {tool.name: tool for tool in tools}

    def _tool(self, spec: ToolSpec) -> Tool:
        return Tool(
            spec=spec,
            name=PREFIX + spec.name,
            description=signatures.description(spec),
            parameters=signatures.input_schema(spec),
            returns=signatures.output_schema(spec),
            toolbox=self,
        )

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools, always in the same order."""
        return tuple(self._tools.values())

    # --- the shapes that model interfaces ask for -----------------------------

    def neutral(self) -> list[dict[str, Any]]:
        """Return each tool with ``name``, ``description`` and ``parameters`` (a JSON schema)."""
        return [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in self.tools
        ]

    def anthropic(self) -> list[dict[str, Any]]:
        """Return the tools as the ``tools`` of Anthropic's Messages API."""
        return [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
            for tool in self.tools
        ]

    def openai(self) -> list[dict[str, Any]]:
        """Return the tools as the ``tools`` of OpenAI's Chat Completions API."""
        return [{"type": "function", "function": function} for function in self.neutral()]

    def openai_responses(self) -> list[dict[str, Any]]:
        """Return the tools as the ``tools`` of OpenAI's Responses API."""
        return [{"type": "function", **function} for function in self.neutral()]

    # --- calling --------------------------------------------------------------

    def answer(
        self,
        name: str,
        arguments: Mapping[str, JsonValue] | str,
        *,
        progress: Callable[[str], None] | None = None,
    ) -> Answer:
        """Call a tool.

        Whatever the model did wrong is an answer, with what to do instead; so are all errors of
        the library. Only what is wrong in your own program raises.

        Args:
            name: The tool, with or without the prefix.
            arguments: A mapping, or JSON text as OpenAI sends it.
            progress: Called with a few words for each step of a call that takes long.
        """
        with calling_tools():
            return self._answer(name, arguments, progress)

    def _answer(
        self,
        name: str,
        arguments: Mapping[str, JsonValue] | str,
        progress: Callable[[str], None] | None,
    ) -> Answer:
        try:
            tool = self._known(name)
            schema, nulls = dict(tool.parameters), tool.spec.nulls
            values = checked(_read(arguments), schema, tool.name, nulls=nulls)
            if progress and "progress" in signatures.callables_of(tool.spec.path):
                values["progress"] = progress
            answer = self._call(tool.spec, values)
        except VesperaError as exc:
            answer = answers.refusal(exc, self._budget_tokens)
        return answers.without_secrets(answer)

    def _known(self, name: str) -> Tool:
        tool = self._tools.get(name) or self._tools.get(PREFIX + name)
        if tool is None:
            wanted = PREFIX + name.removeprefix(PREFIX)[:_MOST_NAME_CHARS]
            similar = difflib.get_close_matches(wanted, self._tools, 1) or list(self._tools)
            raise InvalidInputError(
                "name", f"{show_value(name)} is not a tool; use {', '.join(similar)}"
            )
        return tool

    def _call(self, spec: ToolSpec, values: dict[str, Any]) -> Answer:
        if spec.path in _TAKING:
            return self._take(spec.path, values)
        if spec.path == "artifacts.text":
            return self._read_artifact(**values)
        if spec.path == "spawn_agent_with_context":
            return self._spawn(values)
        keywords = _keywords(values, signatures.open_parameter(spec.path))
        call = partial(self._function(spec), **values, **keywords)
        if spec.path in follow_ups.CALLS:
            result, more = follow_ups.follow(self._orch, spec.path, call, with_ready=False)
            answer = answers.answer_of(result, self._budget_tokens)
            text = f"{answer.text}\n{in_tool_names(str(more))}".rstrip()
            return attrs.evolve(answer, text=text)
        result = call()
        if spec.items:
            rest = _rest_of_list(spec, values)
            return answers.list_answer(result, spec.items, self._budget_tokens, rest)
        return answers.answer_of(result, self._budget_tokens)

    def _function(self, spec: ToolSpec) -> Any:
        function: Any = self._orch
        for name in spec.path.split("."):
            function = getattr(function, name)
        return function

    # --- tools that are more than a call --------------------------------------

    def _take(self, path: str, values: dict[str, Any]) -> Answer:
        """Start a task, or take it up again: the briefing is the answer."""
        work: vespera.Work = getattr(self._orch, path)(**values)
        briefing = work.briefing(int(self._budget_tokens * _BRIEFING_SHARE))
        data: dict[str, Any] = {
            "task": work.task.to_dict(brief=True, budget_tokens=200),
            "attempt": work.attempt.number,
            "agent": work.attempt.agent,
            "lease_until": work.attempt.lease_until.isoformat(timespec="seconds"),
        }
        if work.path is not None:
            data["path"] = str(work.path)
        if work.conflicts:
            data["conflicts"] = list(work.conflicts)
        if work.resumed_from is not None:
            data["resumed_from"] = work.resumed_from.to_dict(brief=True, budget_tokens=200)
        text = in_tool_names(briefing)
        return answers.long_text(text, data, self._budget_tokens)

    def _read_artifact(self, artifact: str, *, offset: int = 0, limit: int | None = None) -> Answer:
        if offset < 0 or (limit is not None and limit < 1):
            raise InvalidInputError("offset", "a page starts at 0 or later and has a character")
        record = self._orch.artifacts.get(artifact)
        whole = mask_and_warn(self._text_of(record), f"artifact {record.id}")
        most = fitting_length(whole[offset:], int(self._budget_tokens * _PAGE_SHARE))
        end = offset + (most if limit is None else min(limit, most))
        data = record.to_dict(brief=True, budget_tokens=200)
        data |= {"characters": len(whole), "offset": min(offset, len(whole))}
        if end < len(whole):
            data["left_out"] = {"text": f"{len(whole) - end:,} more characters: offset={end}"}
        return Answer(text=whole[offset:end], data=data)

    def _text_of(self, record: vespera.Artifact) -> str:
        try:
            return self._orch.artifacts.text(record)
        except InvalidInputError as exc:
            raise InvalidInputError(
                "artifact",
                f"{record.id} is {record.media_type}, without text that can be read; "
                f"the MCP resource orchestrator://artifacts/{record.id}/bytes has its bytes",
            ) from exc

    def _spawn(self, values: dict[str, Any]) -> Answer:
        context = self._orch.spawn_agent_with_context(**values)
        data = context.to_dict(brief=True, budget_tokens=self._budget_tokens // 2)
        base: dict[str, str] = {}
        environ = context.environ(base)
        environ[ENV_STORE] = without_password(environ[ENV_STORE])
        data["environ"] = environ
        return Answer(text=repr(context), data=data)

    # --- whole turns of a loop ------------------------------------------------

    def anthropic_results(self, content: Iterable[Any]) -> list[dict[str, Any]]:
        """Answer the ``tool_use`` blocks of a message: the content of your next message.

        Args:
            content: ``message.content``, as objects of the SDK or as mappings. Blocks of other
                kinds, and calls of tools that are not ours, are left to you.
        """
        results = []
        for block in listed("content", content, most=_MOST_BLOCKS):
            if _field(block, "type") != "tool_use" or _field(block, "name") not in self._tools:
                continue
            answer = self.answer(_field(block, "name"), _field(block, "input"))
            results.append(
                {
                    "type": "tool_result",
                    "tool_use_id": _field(block, "id"),
                    "content": str(answer),
                    "is_error": answer.is_error,
                }
            )
        return results

    def openai_results(self, calls: Iterable[Any] | None) -> list[dict[str, Any]]:
        """Answer the calls of a message: what to append to your messages, or to your input.

        Args:
            calls: ``message.tool_calls`` of Chat Completions, or ``response.output`` of the
                Responses API, as objects of the SDK or as mappings. What is not a call of one of
                our tools is left to you.
        """
        results = []
        for call in listed("calls", calls or (), most=_MOST_BLOCKS):
            function = _field(call, "function") or call
            if _field(function, "name") not in self._tools:
                continue
            answer = self.answer(_field(function, "name"), _field(function, "arguments"))
            if _field(call, "type") == "function_call":
                result = {"type": "function_call_output", "call_id": _field(call, "call_id")}
                result["output"] = str(answer)
            else:
                result = {"role": "tool", "tool_call_id": _field(call, "id")}
                result["content"] = str(answer)
            results.append(result)
        return results


def _field(thing: Any, name: str) -> Any:
    """Read a field of an SDK's object, or of a mapping."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def _read(arguments: Mapping[str, JsonValue] | str) -> JsonValue:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError as exc:
        raise InvalidInputError("arguments", f"they are not JSON: {exc}") from exc


def _keywords(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Take the arguments out of *values* that a call has names of its own for."""
    keywords = values.pop(name, {})
    for key in keywords:
        if not isinstance(key, str):
            raise InvalidInputError(name, f"the key {show_value(key)} should be a text")
    return dict(keywords)


def _rest_of_list(spec: ToolSpec, values: Mapping[str, Any]) -> Any:
    """Return what says how to get the rest of a list, from how many were listed."""
    if "offset" not in signatures.parameter_names(spec.path):
        return lambda _: "the same call with narrower filters"
    offset = values.get("offset", 0)
    return lambda listed: f"the same call with offset={offset + listed}"


def _chosen(include: str | Iterable[str] | None) -> Sequence[ToolSpec]:
    """Return the rows that a host asked for, in the order of the table."""
    rows = signatures.existing()
    if include is None:
        return [spec for spec in rows if spec.is_core]
    words = {include} if isinstance(include, str) else set(listed("include", include, most=1000))
    for word in words:
        if not isinstance(word, str):
            raise InvalidInputError("include", f"{show_value(word)} should be the name of a tool")
    words = {word.removeprefix(PREFIX) for word in words}
    known = {*(spec.name for spec in rows), *Group, "all"}
    for word in sorted(words - known):
        near = difflib.get_close_matches(word[:_MOST_NAME_CHARS], known, 3)
        similar = ", ".join(near) or ", ".join(Group)
        raise InvalidInputError(
            "include", f"{show_value(word)} is no tool and no group; use {similar}"
        )
    return [spec for spec in rows if words & {spec.name, spec.group, "all"}]
