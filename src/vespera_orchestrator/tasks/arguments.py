"""Checks of what callers pass.

Each returns the value as the library uses it, or says what would be right.
"""

from __future__ import annotations

import inspect
import os
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from vespera_orchestrator._mistakes import listed
from vespera_orchestrator._model import (
    Dependency,
    Energy,
    Existing,
    NextAction,
    Outcome,
    Task,
    TaskStatus,
)
from vespera_orchestrator._text import show_value, similar_names
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.scope import task_name
from vespera_orchestrator.tasks import dates
from vespera_orchestrator.tasks.effort import read_hours
from vespera_orchestrator.tasks.lifecycle import MAX_PRIORITY

_STATUS_SYNONYMS: Final = {
    **dict.fromkeys(("done", "finished", "complete", "success"), TaskStatus.COMPLETED),
    **dict.fromkeys(("open", "todo", "ready", "waiting"), TaskStatus.PENDING),
    **dict.fromkeys(("running", "started", "doing"), TaskStatus.IN_PROGRESS),
}
"""What people write for a status."""


_COMPARED_CHARS: Final = 100
"""Of a longer word no more is compared with those that exist."""


# --- plain values ------------------------------------------------------------


def text(name: str, value: object) -> str | None:
    """Return a text, or ``None``."""
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(name, f"{show_value(value)} should be a text")
    return value


def needed_text(name: str, value: object, advice: str) -> str:
    """Return a text without the space around it; *advice* says what to write where it is empty."""
    trimmed = (text(name, value) or "").strip()
    if not trimmed:
        raise InvalidInputError(name, advice)
    return trimmed


def title(name: str, value: object) -> str:
    """Return a title without the space around it."""
    if value is None or value == "":
        raise InvalidInputError(name, "there is none; say in a few words what to do")
    if is_number(value):
        raise InvalidInputError(
            name, f"{show_value(value)} is a number; a title in quotes is a text"
        )
    return words(name, value, "is not a title; say in a few words what to do").strip()


def agent_name(name: str, value: object) -> str:
    """Return the name of an agent."""
    agent = words(name, value, "is not a name; give one")
    try:
        agent.encode()
    except UnicodeEncodeError:
        problem = f"{show_value(agent)} has half a character in it; give another name"
        raise InvalidInputError(name, problem) from None
    return agent


def optional_agent(name: str, value: object) -> str | None:
    """Return the name of an agent, or ``None``."""
    return None if value is None else agent_name(name, value)


def is_number(value: object) -> bool:
    """Tell whether *value* is a number, and not a truth value."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float)


@overload
def whole_number(name: str, value: int, *, least: int) -> int: ...
@overload
def whole_number(name: str, value: int | None, *, least: int) -> int | None: ...
def whole_number(name: str, value: int | None, *, least: int) -> int | None:
    """Return a whole number that is at least *least*, or ``None``."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(name, f"{show_value(value)} should be a whole number")
    if value > MAX_PRIORITY:
        raise InvalidInputError(name, f"{show_value(value)} should be smaller than 2**53")
    if value < least:
        raise InvalidInputError(name, f"{show_value(value)} should be at least {least}")
    return value


def yes_or_no(name: str, value: object) -> bool | None:
    """Return whether something is so; ``None`` where that does not matter."""
    if value is not None and not isinstance(value, bool):
        raise InvalidInputError(name, f"{show_value(value)} should be True or False")
    return value


def priority(name: str, value: object) -> int:
    """Return a priority; ``None`` is the usual one."""
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        problem = f"{show_value(value)} should be a whole number; higher goes first, 0 is usual"
        raise InvalidInputError(name, problem)
    if abs(value) > MAX_PRIORITY:
        problem = f"{show_value(value)} should be between -2**53 and 2**53"
        raise InvalidInputError(name, problem)
    return value


def _word(value: object) -> str:
    """Return what the word of a choice may be, and nothing that an enum would have to print."""
    return value if isinstance(value, str) else ""


def callback(name: str, value: Any) -> Any:
    """Return a function to be called, or ``None``."""
    if value is not None and not callable(value):
        raise InvalidInputError(name, f"{show_value(value)} should be a function, such as print")
    return value


def function(name: str, value: Any) -> Any:
    """Return a function to be called."""
    if not callable(value):
        raise InvalidInputError(name, f"{show_value(value)} should be a function, without brackets")
    return value


def is_coroutine_function(function: object) -> bool:
    """Tell whether calling it only makes a coroutine; an object's ``__call__`` counts, too."""
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object that can be called
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def plain_function(name: str, value: Any) -> Any:
    """Return a function that has done its work when it returns: no coroutine function."""
    if is_coroutine_function(function(name, value)):
        problem = (
            f"{show_value(value)} is async, and returns before it has done anything; give a "
            "function that waits for the end, such as lambda: asyncio.run(…)"
        )
        raise InvalidInputError(name, problem)
    return value


def words(name: str, value: object, problem: str) -> str:
    """Return a text that is not empty; *problem* says what is wrong with another value."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(name, f"{show_value(value)} {problem}")
    return value


def question(name: str, value: object) -> str | None:
    """Return what a person is asked, or ``None``."""
    return None if value is None else words(name, value, "asks nothing; write a sentence")


def signal_name(name: str, value: object) -> str | None:
    """Return the name of a signal, or ``None``."""
    return None if value is None else signal_that_came(name, value)


def signal_that_came(name: str, value: object) -> str:
    """Return the name of a signal. However an accent is encoded, it is the same name."""
    text = words(name, value, "is not the name of a signal; give a short text").strip()
    return unicodedata.normalize("NFC", text)


def as_outputs(value: Any, key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came from outside as outputs of a task.

    Args:
        value: A mapping is the outputs themselves; another value is the output *key*.
        key: The name for such a value.
        values: Further outputs.
    """
    if value is None:
        return dict(values)
    own = dict(value) if isinstance(value, Mapping) else {key: value}
    return {**own, **values}


def answer(value: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a person's answer as outputs. Nothing at all is no answer: it would end the task."""
    outputs = as_outputs(value, "answer", values)
    is_blank = isinstance(value, str) and not value.strip() and not values
    if not outputs or is_blank:
        problem = "it says nothing; give words, or values such as approved=True"
        raise InvalidInputError("answer", problem)
    return outputs


def max_attempts(name: str, value: object) -> int | None:
    """Return after how many failures a person decides; ``None`` for the default."""
    if value is None:
        return None
    return whole_number(name, value, least=1)  # type: ignore[call-overload,no-any-return] # checked


def length_s(name: str, value: object) -> float | None:
    """Return a length of time in seconds; ``None`` for none."""
    seconds = None if value is None else dates.length_s(name, value)
    if seconds == 0:
        raise InvalidInputError(name, "no time at all is no limit; leave it out")
    return seconds


def pause_s(name: str, value: object) -> float | None:
    """Return a pause in seconds, which may be none at all; ``None`` where nobody asks for it."""
    return None if value is None else dates.length_s(name, value)


def mapping(name: str, value: object) -> dict[str, Any]:
    """Return a copy of a mapping; ``None`` is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            name, f"{show_value(value)} should be a mapping, such as {{'key': 'value'}}"
        )
    return dict(value)


def paths(name: str, value: Any) -> list[str | os.PathLike[str]]:
    """Return file paths as a list; a single path is a list of one."""
    if isinstance(value, str | os.PathLike):
        return [value]
    if not isinstance(value, Iterable):
        raise InvalidInputError(name, f"{show_value(value)} should be a list of paths")
    every = listed(name, value)
    if not all(isinstance(path, str | os.PathLike) for path in every):
        raise InvalidInputError(name, f"{show_value(value)} should be a list of paths")
    return every


def path(name: str, value: Any) -> Path:
    """Return a path that the file system can be asked for; ``~`` is the user's folder."""
    try:
        wanted = Path(value).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(wanted)  # it tells whether the name is one that a file can have
    except (TypeError, ValueError, RuntimeError, OSError) as exc:
        problem = f"{show_value(value)} is not the path of a file or folder"
        raise InvalidInputError(name, problem) from exc
    return wanted


def absolute_path(name: str, value: Any) -> Path:
    """Return a path like `path` does, absolute. It is taken from the current folder."""
    wanted = path(name, value)
    try:
        return wanted.absolute()
    except OSError as exc:
        problem = (
            f"{show_value(value)} is relative, and the current folder is gone ({exc.strerror})"
        )
        raise InvalidInputError(name, problem) from exc


def moment(name: str, value: object) -> datetime | None:
    """Return a time as an aware datetime in UTC.

    A date means its midnight. A time without a zone is in UTC.
    """
    return None if value is None else dates.start_in_utc(name, value)


_MOST_HOURS: Final = 100_000
"""The longest estimate: the working life of one person."""


def effort(name: str, value: object) -> str | None:
    """Return an estimate that can be read, see `effort.read_hours`; an empty text is none."""
    estimate = text(name, value)
    if not estimate or not estimate.strip():
        return estimate
    hours = read_hours(estimate)
    if hours is None:
        examples = "write for example '30 min', '2 hours' or '1 day'"
        raise InvalidInputError(name, f"{show_value(value)} is not an estimate; {examples}")
    if hours > _MOST_HOURS:
        problem = f"{show_value(value)} is more than {_MOST_HOURS:,} hours; estimate its parts"
        raise InvalidInputError(name, problem)
    return estimate


# --- words of the library ----------------------------------------------------


_Choice = TypeVar("_Choice", bound=StrEnum)


def _one_of(choices: type[_Choice], name: str, value: object) -> _Choice:
    """Return the choice that a word names."""
    try:
        return choices(_word(value))
    except ValueError:
        problem = f"{show_value(value)} is not one of {', '.join(choices)}"
        raise InvalidInputError(name, problem) from None


def outcome(name: str, value: str | Outcome) -> Outcome:
    """Return the outcome of this name."""
    return _one_of(Outcome, name, value)


def next_action(name: str, value: str) -> NextAction:
    """Return the action of this name."""
    return _one_of(NextAction, name, value)


def existing(name: str, value: str) -> Existing:
    """Return what planning does about tasks that are there already."""
    return _one_of(Existing, name, value)


def statuses(
    name: str, value: str | TaskStatus | Iterable[str | TaskStatus] | None
) -> tuple[TaskStatus, ...]:
    """Return the statuses that one word or several name; ``None`` is none of them."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (_status(name, value),)
    if not isinstance(value, Iterable):
        raise InvalidInputError(name, _no_status(value))
    return tuple(_status(name, word) for word in listed(name, value))


def _status(name: str, value: str) -> TaskStatus:
    try:
        return TaskStatus(_word(value))
    except ValueError:
        raise InvalidInputError(name, _no_status(value)) from None


def _no_status(value: object) -> str:
    word = value if isinstance(value, str) else ""
    statuses = [str(status) for status in TaskStatus]
    synonym = _STATUS_SYNONYMS.get(word.lower())
    meant = _nearest(word, statuses) if synonym is None else [str(synonym)]
    return f"{show_value(value)} is not a status{_hint(meant)} ({', '.join(statuses)})"


def _nearest(word: str, names: Iterable[str]) -> list[str]:
    """Return the name that is most like *word*, if one is."""
    return similar_names(word[:_COMPARED_CHARS], names)


def _hint(names: list[str]) -> str:
    return f", did you mean {names[0]}?" if names else ""


def project_type(value: object, known: tuple[str, ...]) -> str | None:
    """Return the name of a known project type, or ``None``.

    "Software development" and "software-development" mean ``software_development``.
    """
    if value is None:
        return None
    word = _word(value)
    plain = word.strip().lower().replace(" ", "_").replace("-", "_")
    for name in (word, plain):
        if name in known:
            return name
    hint = _hint(_nearest(plain, known))
    raise InvalidInputError(
        "project_type", f"{show_value(value)} is no project type{hint} ({', '.join(known)})"
    )


# --- tasks -------------------------------------------------------------------


def task_reference(name: str, value: object) -> str | None:
    """Return the id or alias of a task, or ``None``."""
    if value is None:
        return None
    return task_name(name, value)


def dependencies(name: str, value: Any) -> tuple[Dependency, ...]:
    """Return what a task waits for; ``None`` is nothing."""
    if value is None:
        return ()
    is_single = isinstance(value, str | Task | Dependency | Mapping)
    if is_single or not isinstance(value, Iterable):
        raise InvalidInputError(name, f"{show_value(value)} should be a list; put it in brackets")
    return tuple(_dependency(name, edge) for edge in listed(name, value))


def _dependency(name: str, edge: Any) -> Dependency:
    if isinstance(edge, Dependency):
        return edge
    if isinstance(edge, Mapping) and "task" in edge and set(edge) <= {"task", "on"}:
        on = outcome("on", edge.get("on", Outcome.SUCCESS))
        return Dependency(task_name(name, edge["task"]), on)
    if not isinstance(edge, str | Task):
        raise InvalidInputError(
            name, f"{show_value(edge)} is not a task; give an id, an alias, a Task or a Dependency"
        )
    return Dependency(task_name(name, edge))


def energy(name: str, value: object) -> Energy:
    """Return a person's word for how much they can take on."""
    return _one_of(Energy, name, value)
