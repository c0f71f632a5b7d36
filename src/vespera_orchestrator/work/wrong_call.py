"""Calls that bring work and do not fit the signature: the work is kept, whatever is misspelt.

Python raises `TypeError` for a misspelt argument name before the method runs. For an agent that is
the worst moment: the text of hours is in that call. So the methods that take work in catch it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import attrs

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


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


def keeps_work(
    content: str, refuse: Callable[[Any, WrongCall], NoReturn]
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Hand a call that does not fit the method to *refuse*, with the work in it.

    The signature stays as it is, for people and for tools.

    Args:
        content: The parameter that the work is passed in.
        refuse: A method of the same class, which keeps the work and raises.
    """

    def decorate(method: Callable[_P, _T]) -> Callable[_P, _T]:
        signature = inspect.signature(method)

        @functools.wraps(method)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return method(*args, **kwargs)
            except TypeError as exc:
                if not args or _fits(signature, args, kwargs):
                    raise  # it was called on the class, or the mistake is further down
                this, *positional = args
                parameters = list(signature.parameters.values())[1:]
                reading = _CallReading(method.__name__, parameters, positional, kwargs)
                refuse(this, reading.wrong_call(content, str(exc)))

        return call

    return decorate


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
        self._names = [parameter.name for parameter in parameters]
        self._required = [each.name for each in parameters if each.default is Parameter.empty]
        by_position = [each.name for each in parameters if each.kind in _BY_POSITION]
        self._surplus = positional[len(by_position) :]
        self._fitting = dict(zip(by_position, positional, strict=False))
        self._unknown: dict[str, object] = {}
        for name, value in named.items():
            fits = name in self._names and name not in self._fitting
            (self._fitting if fits else self._unknown)[name] = value

    def wrong_call(self, content: str, python_says: str) -> WrongCall:
        """Return what is wrong with the call, and the work in it."""
        name, problem = self._mistake(python_says)
        return WrongCall(
            name=name, problem=problem, fitting=self._fitting, work=self._work(content)
        )

    def _mistake(self, python_says: str) -> tuple[str, str]:
        for name in self._unknown:
            if name in self._names:
                return name, f"{self._method}() got it twice, by position and by name"
            return name, f"{self._method}() has no such argument; {self._advice(name)}"
        if self._surplus:
            return "arguments", f"{self._method}() takes fewer by position; {self._list()}"
        for name in self._required:
            if name not in self._fitting:
                return name, f"{self._method}() needs it: {name}=…"
        return "arguments", python_says  # pragma: no cover - there is no other mistake

    def _advice(self, name: str) -> str:
        free = [each for each in self._names if each not in self._fitting]
        close = difflib.get_close_matches(name, free, n=1)
        return f"use {close[0]}=…" if close else self._list()

    def _list(self) -> str:
        names = ", ".join(self._names)
        return f"its arguments are {names}"

    def _work(self, content: str) -> object:
        if content in self._fitting:
            return self._fitting[content]
        close = difflib.get_close_matches(content, self._unknown, n=1)
        if close:
            return self._unknown[close[0]]
        others = [*self._unknown.values(), *self._surplus]
        return max(others, key=_length, default=None)


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | bytes) else 0
