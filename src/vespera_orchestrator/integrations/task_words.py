"""What a person writes to change a task: ``change lid due=friday``.

The fields have short names here; those of `Orchestrator.update_task` are understood, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from vespera_orchestrator._text import show_value, similar_names
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks.plans import MEANT

FIELDS: Final[Mapping[str, str]] = {
    "title": "title",
    "description": "description",
    "due": "due_date",
    "not-before": "not_before",
    "priority": "priority",
    "depends": "dependencies",
    "parent": "parent_task_id",
    "alias": "alias",
    "condition": "condition",
    "acceptance": "acceptance",
    "effort": "estimated_effort",
    "type": "task_type",
    "complexity": "complexity",
    "specialist": "specialist_type",
    "agent": "for_agent",
    "question": "question",
    "signal": "signal",
    "max-attempts": "max_attempts",
    "retry-after": "retry_after",
    "time-limit": "time_limit",
    "stalled-after": "stalled_after",
}
"""By the word that a person writes, the argument of `Orchestrator.update_task`."""
_OTHER_WAYS: Final[Mapping[str, str]] = {
    "status": "the commands done, cancel, retry, reopen, abandon and later change it",
    "context": "write it in a plan, and hand that in with: orch.plan_tasks(…, existing='update')",
}
"""What is changed otherwise, and how."""
_NUMBERS: Final = frozenset({"priority", "max_attempts"})
_DEPENDENCIES: Final = "dependencies"
_ARGUMENTS: Final = frozenset(FIELDS.values())
_FIELD: Final = re.compile(r"([A-Za-z][\w-]*)=(.*)", re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?\d{1,9}")
_BETWEEN: Final = re.compile(r"[\s,]+")


def changes(words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `Orchestrator.update_task` that the words of a command name.

    A word without ``=`` belongs to the value before it: ``due=in 3 days`` needs no quotes.

    Raises:
        InvalidInputError: A field has no name that is known, or stands there twice.
    """
    values: dict[str, str] = {}
    name = ""
    for word in words:
        match = _FIELD.fullmatch(word)
        if match is None:
            name = _needed(name, word)
            values[name] += f" {word}"
            continue
        name = _argument(match[1])
        if name in values:
            raise InvalidInputError(match[1], "stands there twice; write it once")
        values[name] = match[2]
    return {name: _value(name, text.strip()) for name, text in values.items()}


def _plain(field: str) -> str:
    return field.lower().replace("_", "-")


def _needed(name: str, word: str) -> str:
    if name:
        return name
    problem = f"{show_value(word)} names no field; write for example due=friday or title='New name'"
    raise InvalidInputError("change", problem)


def _argument(field: str) -> str:
    if field in _ARGUMENTS:
        return field
    if _plain(field) in FIELDS:
        return FIELDS[_plain(field)]
    similar = _meant(field)
    meant = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(FIELDS)}"
    problem = f"is no field of a task; {_OTHER_WAYS.get(_plain(field), meant)}"
    raise InvalidInputError(field, problem)


def _meant(field: str) -> list[str]:
    """Return the field that somebody meant, if that can be told."""
    argument = MEANT.get(field.lower())
    meant = [name for name, each in FIELDS.items() if each == argument]
    return meant or similar_names(_plain(field), FIELDS)


def _value(name: str, text: str) -> Any:
    if name == _DEPENDENCIES:
        return [alias for alias in _BETWEEN.split(text) if alias]
    if name in _NUMBERS and _NUMBER.fullmatch(text):
        return int(text)
    return text
