"""Calls that broke on a value they were never meant to get.

Most values are checked where they are used. What no check foresaw, such as a list where a number
belongs, breaks somewhere inside, with an error of Python's or of the value's own class. Then, and
only then, the arguments are compared with the annotations of the call, and the first that does not
fit is named in an error of ours. An error that no argument explains is passed on as it is: it is a
fault of ours, or comes from a function of the caller's.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from itertools import islice
from types import UnionType
from typing import Any, ClassVar, Final, Literal, TypeVar, cast

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._secrets import mask
from vespera_orchestrator._text import named_error, one_line, show_methods, show_value

_MESSAGE_CHARS: Final = 5000
"""A longer message has a value in it that nobody would read to its end."""
MOST_ITEMS: Final = 200_000
"""As many tasks as a plan may have."""
_MASKED_CHARS: Final = 50_000
"""How much of either end of a longer message is searched for keys and passwords."""
_LARGEST: Final = 2**53
"""A greater number fits into no column, and not into JSON everywhere."""
_ITEMS_LOOKED_AT: Final = 100
_KEY_AND_ITEM: Final = 2
"""How many annotations the parts of a mapping have."""
_DEEPEST: Final = 100
_YEARS: Final = range(2, 9999)
"""A moment outside of these cannot be turned into another time zone."""
_LONGEST: Final = timedelta(days=365_000)
_PLAIN: Final = (str, int, float, bytes, bytearray, list, tuple, dict, set, frozenset)

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Kind = TypeVar("_Kind", bound=type)
_Item = TypeVar("_Item")


def _readable(method: Callable[[Any], str]) -> Callable[[Any], str]:
    """Make the text of an error short, and one that can be read, whatever its fields hold."""

    @functools.wraps(method)
    def text(self: Any) -> str:
        try:
            return _shorten(method(self))
        except Exception as exc:  # noqa: BLE001 - a value of somebody else's class may do anything
            return f"{type(self).__name__} ({type(exc).__name__} while its text was made)"

    return text


def _shorten(message: str) -> str:
    """Cut what is too long in the middle, where a value is; the advice at the end stays."""
    if len(message) <= _MESSAGE_CHARS:
        return message
    half = _MESSAGE_CHARS // 2
    # A key that is cut in two would not be recognised, and so not be masked.
    start, end = mask(message[:_MASKED_CHARS]), mask(message[-_MASKED_CHARS:])
    return f"{start[:half]} … {end[-half:]}"


class VesperaError(Exception):
    """Base of every error that this library raises on purpose."""

    retryable: ClassVar[bool] = False
    """Whether the same call, unchanged, may succeed later."""
    completion_of: str | None = None
    """The task whose work you were handing in, when the error is a mistake in that very call.

    The task stays with its holder: correct the call and make it again.
    """
    kept_artifact_id: str | None = None
    """Where the work that came with a refused call is kept; ``None`` if there was none."""

    def __init_subclass__(cls, **options: object) -> None:
        """Let no message hold what a terminal would obey, and none be endless."""
        super().__init_subclass__(**options)
        if "__str__" in vars(cls):
            cls.__str__ = _readable(cls.__str__)  # type: ignore[method-assign] # a new class's
        show_methods(cls)

    def __repr__(self) -> str:
        return _readable(Exception.__repr__)(self)


@attrs.define(slots=False, repr=False)
class InvalidInputError(VesperaError, ValueError):
    """An argument cannot be used. Nothing was written.

    Only the work that came with it was kept, as the artifact *kept_artifact_id*.
    """

    name: str
    """The argument."""
    problem: str
    """What is wrong with it: the value, and what would be right."""
    where: str = ""
    """The place in the argument's value, such as ``outputs.metrics[3].loss``."""

    def __str__(self) -> str:
        problem = f"{self.where or self.name}: {self.problem}"
        return problem if self.kept_artifact_id is None else f"{problem}; {kept_words(self)}"


def kept_words(exc: VesperaError) -> str:
    """Say where the work that came with a refused call is."""
    return f"your work is kept as artifact {exc.kept_artifact_id}"


def listed(name: str, values: Iterable[_Item], *, most: int = MOST_ITEMS) -> list[_Item]:
    """Return what somebody passed as a list; it may be endless, or break off.

    Raises:
        InvalidInputError: It has more than *most* items, or going through it fails.
    """
    try:
        items = list(islice(values, most + 1))
    except Exception as exc:
        problem = f"going through {show_value(values)} failed: {named_error(exc)}"
        raise InvalidInputError(name, problem) from exc
    if len(items) > most:
        raise InvalidInputError(name, f"{show_value(values)} has more than {most:,} items")
    return items


# --- naming the argument ------------------------------------------------------


def names_mistakes(function: _Function) -> _Function:
    """Make a call that breaks on an argument name it, in an `InvalidInputError`."""
    if hasattr(function, "names_mistakes"):
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except VesperaError:
            raise
        except Exception as exc:
            mistake = _mistake(function, args, kwargs)
            if mistake is None:
                raise
            raise mistake from exc

    vars(call)["names_mistakes"] = True
    return cast("_Function", call)


def names_mistakes_in_calls(kind: _Kind) -> _Kind:
    """Apply `names_mistakes` to every public method of a class."""
    for name, value in list(vars(kind).items()):
        if name.startswith("_"):
            continue
        if inspect.isfunction(value):
            setattr(kind, name, names_mistakes(value))
        elif isinstance(value, classmethod):
            setattr(kind, name, classmethod(names_mistakes(value.__func__)))
    return kind


def _mistake(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> InvalidInputError | None:
    """Return the error for the first argument that does not fit; ``None`` if all of them do."""
    signature = inspect.signature(function)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None  # a name or a number of arguments is wrong, not a value: see `home.calls`
    for name, value, hint in _values(signature, bound, typing.get_type_hints(function)):
        problem = _problem(value, hint, 0)
        if problem is not None:
            return InvalidInputError(name, problem)
    return None


def _values(
    signature: inspect.Signature, bound: inspect.BoundArguments, hints: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield each argument with its name and its annotation."""
    for name, value in bound.arguments.items():
        hint = hints.get(name, Any)
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            yield from ((word, each, hint) for word, each in value.items())
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            yield from ((name, each, hint) for each in value)
        else:
            yield name, value, hint


def _problem(value: object, hint: Any, depth: int) -> str | None:
    """Say why a value does not fit its annotation; ``None`` if it does."""
    if not _fits(value, hint):
        return f"{show_value(value)} should be {_words(hint)}"
    if depth > _DEEPEST:
        return "it is too deep"
    if _is_unusable(value):
        return f"{show_value(value)} cannot be used"
    for inner, inner_hint in _parts(value, hint):
        problem = _problem(inner, inner_hint, depth + 1)
        if problem is not None:
            return problem
    return None


def _fits(value: object, hint: Any) -> bool:
    """Tell whether a value is of the kind that an annotation asks for, whatever it holds."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is Literal:
        return isinstance(value, str | int | None) and value in typing.get_args(hint)
    return _is_a(value, origin or hint)


def _is_a(value: object, kind: Any) -> bool:
    if kind is None:
        return value is None
    if kind in (int, float):
        numbers = (int, float) if kind is float else (int,)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if kind is Any or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True  # a variable, ``Any``, or what only its use can tell
    return isinstance(value, kind)


def _is_unusable(value: object) -> bool:
    """Tell whether no call can work with a value, although its type is right."""
    try:
        return not isinstance(value, Enum) and _is_odd(value)
    except Exception:  # noqa: BLE001 - somebody's own class may do anything
        return True


def _is_odd(value: object) -> bool:
    odd = False
    match value:
        case _ if _is_of_a_strangers_class(value):
            odd = True
        case int():
            odd = abs(value) > _LARGEST
        case float():
            odd = not math.isfinite(value)
        case str():
            value.encode()
            odd = "\0" in value
        case datetime():
            value.astimezone(UTC)
            odd = value.year not in _YEARS
        case date():
            odd = value.year not in _YEARS
        case timedelta():
            odd = abs(value) > _LONGEST
        case os.PathLike():
            odd = "\0" in os.fsdecode(value)
        case Iterable():
            iter(value)
    return odd


def _is_of_a_strangers_class(value: object) -> bool:
    """Tell whether it is a text, a number or a list of a class that may do anything."""
    is_plain = isinstance(value, _PLAIN)
    package = type(value).__module__.partition(".")[0]
    return is_plain and package not in {"builtins", "collections", "vespera_orchestrator"}


def _parts(value: object, hint: Any) -> Iterable[tuple[object, Any]]:
    """Return what a value holds, with the annotation of each part."""
    if isinstance(value, str | bytes):
        return ()
    inner = [part for part in _inner_hints(hint, value) if part is not Ellipsis]
    if isinstance(value, Mapping):
        key_hint, item_hint = inner if len(inner) == _KEY_AND_ITEM else (Any, Any)
        pairs = list(islice(value.items(), _ITEMS_LOOKED_AT))
        keys = [(key, key_hint) for key, _ in pairs]
        return keys + [(item, item_hint) for _, item in pairs]
    if isinstance(value, list | tuple | set | frozenset):
        item_hint = inner[0] if len(inner) == 1 else Any
        return [(item, item_hint) for item in islice(value, _ITEMS_LOOKED_AT)]
    return ()


def _inner_hints(hint: Any, value: object) -> tuple[Any, ...]:
    """Return the annotations of the parts of a list or a mapping."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, UnionType):
        kinds = [part for part in typing.get_args(hint) if _fits(value, part)]
        return _inner_hints(kinds[0], value) if len(kinds) == 1 else ()
    return typing.get_args(hint)


def _words(hint: Any) -> str:
    """Say what an annotation asks for, in the words of Python."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else ()
    if parts:
        return one_line(" or ".join(map(_words, parts)), 200)
    if hint is type(None):
        return "None"
    words = hint.__name__ if isinstance(hint, type) else str(hint)
    return one_line(words.replace("typing.", "").replace("collections.abc.", ""), 200)
