"""Calls that do not fit the signature of their method: what the caller meant, or what is right.

Python raises `TypeError` for such a call before the method runs, and names only what is wrong. A
task is understood under each name that other calls have for it. For the rest, the error names the
right word. A method that takes work in keeps it: for an agent this is the worst moment to lose it,
with the text of hours in that call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import names_mistakes_in_calls
from vespera_orchestrator._text import similar_names
from vespera_orchestrator.errors import InvalidInputError

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Room = TypeVar("_Room")

_BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_OPEN: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
_SPELLINGS: Final = (
    frozenset({"task", "task_id"}),
    frozenset({"parent_task_id", "parent_task", "parent_id", "parent"}),
)
"""What callers write for one and the same argument."""
_FOR_ANY_TASK: Final = ("task", "task_id", "parent_task_id")
"""Arguments that take a task, the likeliest first."""


def meant_name(name: str, names: Collection[str]) -> str:
    """Return which of *names* a caller means by *name*; *name* itself if that is unclear."""
    if name in names:
        return name
    for spellings in _SPELLINGS:
        if name in spellings:
            return next((each for each in names if each in spellings), name)
    return name


@attrs.frozen(kw_only=True)
class WrongCall:
    """A call whose arguments do not fit."""

    name: str
    """The argument that is wrong, or missing."""
    problem: str
    """What is wrong with it, and what would be right."""
    fitting: Mapping[str, object]
    """The arguments that do fit, by name."""
    work: object
    """The work that came with it; ``None`` if none did."""


def explains_calls(room: type[_Room]) -> type[_Room]:
    """Let each public method of a class understand, or explain, a call that does not fit it.

    A call that breaks on a value names the argument as well, see `_mistakes`. The signatures stay
    as they are, for people and for tools.
    """
    names_mistakes_in_calls(room)
    for name, method in list(vars(room).items()):
        if inspect.isfunction(method) and not name.startswith("_"):
            setattr(room, name, _explaining(method, "", _refuse))
    return room


def keeps_work(
    content: str, refuse: Callable[[Any, WrongCall], NoReturn]
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Hand a call that does not fit the method to *refuse*, with the work in it.

    Args:
        content: The parameter that the work is passed in.
        refuse: A method of the same class, which keeps the work and raises.
    """

    def decorate(method: Callable[_P, _T]) -> Callable[_P, _T]:
        return _explaining(method, content, refuse)

    return decorate


def _refuse(_room: object, call: WrongCall) -> NoReturn:
    raise InvalidInputError(call.name, call.problem)


def _explaining(
    method: Callable[_P, _T], content: str, refuse: Callable[[Any, WrongCall], NoReturn]
) -> Callable[_P, _T]:
    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(*args, **kwargs)
        except TypeError as exc:
            signature = inspect.signature(method)
            if not args or _fits(signature, args, kwargs):
                raise  # it was called on the class, or the mistake is further down
            python_says = str(exc)
        names = list(signature.parameters)
        renamed: dict[str, Any] = {meant_name(name, names): kwargs[name] for name in kwargs}
        if len(renamed) == len(kwargs) and _fits(signature, args, renamed):
            return method(*args, **renamed)
        this, *positional = args
        parameters = list(signature.parameters.values())[1:]
        reading = _CallReading(method.__name__, parameters, positional, kwargs)
        return refuse(this, reading.wrong_call(content, python_says))

    return call


def _fits(
    signature: inspect.Signature, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


class _CallReading:
    """Tells which arguments of a call fit, and which do not."""

    def __init__(
        self,
        method: str,
        parameters: list[Parameter],
        positional: list[object],
        named: Mapping[str, object],
    ) -> None:
        self._method = method
        own = [each for each in parameters if each.kind not in _OPEN]
        takes_any_name = any(each.kind is Parameter.VAR_KEYWORD for each in parameters)
        self._names = [each.name for each in own]
        self._required = [each.name for each in own if each.default is Parameter.empty]
        by_position = [each.name for each in parameters if each.kind in _BY_POSITION]
        takes_any_number = any(each.kind is Parameter.VAR_POSITIONAL for each in parameters)
        self._surplus = [] if takes_any_number else positional[len(by_position) :]
        self._fitting = dict(zip(by_position, positional, strict=False))
        self._unknown: dict[str, object] = {}
        self._written: dict[str, str] = {}
        for name, value in named.items():
            meant = meant_name(name, self._names)
            if meant in self._names and meant not in self._fitting:
                self._fitting[meant] = value
                self._written[meant] = name
            elif meant in self._names or not takes_any_name:
                self._unknown[name] = value

    def wrong_call(self, content: str, python_says: str) -> WrongCall:
        """Return what is wrong with the call, and the work in it."""
        name, problem = self._mistake(python_says)
        return WrongCall(
            name=name, problem=problem, fitting=self._fitting, work=self._work(content)
        )

    def _mistake(self, python_says: str) -> tuple[str, str]:
        for name in self._unknown:
            meant = meant_name(name, self._names)
            if meant in self._written:
                earlier = self._written[meant]
                return name, f"{self._method}() got it twice, also as {earlier}; use {meant}=…"
            if meant in self._names:
                return name, f"{self._method}() got it twice, by position and by name"
            return name, f"{self._method}() has no such argument; {self._advice(name)}"
        if self._surplus:
            return "arguments", f"{self._method}() takes fewer by position; {self._list()}"
        for name in self._required:
            if name not in self._fitting:
                return name, f"{self._method}() needs it: {name}=…"
        return "arguments", python_says  # such as one that goes by position only, by its name

    def _advice(self, name: str) -> str:
        free = [each for each in self._names if each not in self._fitting]
        close = similar_names(name, free)
        if any(name in spellings for spellings in _SPELLINGS):
            close = [each for each in _FOR_ANY_TASK if each in free] or close
        return f"use {close[0]}=…" if close else self._list()

    def _list(self) -> str:
        if not self._names:
            return "it takes none"
        names = ", ".join(self._names)
        return f"its arguments are {names}"

    def _work(self, content: str) -> object:
        if content in self._fitting:
            return self._fitting[content]
        from difflib import get_close_matches

        close = get_close_matches(content, self._unknown, n=1)
        if close:
            return self._unknown[close[0]]
        others = [*self._unknown.values(), *self._surplus]
        return max(others, key=_length, default=None)


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | bytes) else 0
