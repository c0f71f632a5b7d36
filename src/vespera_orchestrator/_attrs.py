"""attrs as the library uses it: the same classes, with less to compile at import.

attrs writes and compiles ``__eq__``, ``__hash__`` and ``__repr__`` anew for each class, which is
half of what a class costs, and a command loads two hundred. Here they are written once, for all.
They do what those of attrs do. Type checkers see attrs itself.
"""

from __future__ import annotations

from functools import cache, partial
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

import attrs
from attrs import AttrsInstance, asdict, evolve, field, fields, fields_dict

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import define, frozen

else:

    def define(cls: Any = None, **options: Any) -> Any:
        """Do as `attrs.define`."""
        if cls is None:
            return partial(define, **options)
        return _build(attrs.define, cls, options)

    def frozen(cls: Any = None, **options: Any) -> Any:
        """Do as `attrs.frozen`."""
        if cls is None:
            return partial(frozen, **options)
        return _build(attrs.frozen, cls, options)


__all__ = [
    "AttrsInstance",
    "asdict",
    "define",
    "evolve",
    "field",
    "fields",
    "fields_dict",
    "frozen",
]


def _build(build: Callable[..., type], cls: type, options: dict[str, Any]) -> type:
    """Give a class the methods that it neither has nor declines, and the others by attrs."""
    own = vars(cls)
    is_compared = options.get("eq", True) and not issubclass(cls, BaseException)
    if is_compared and "__eq__" not in own:
        cls.__eq__ = _equal  # type: ignore[assignment] # a class made by attrs
        if "__hash__" not in own:
            is_frozen = build is attrs.frozen or options.get("frozen")
            cls.__hash__ = _hash if is_frozen else None  # type: ignore[assignment]
    if options.get("repr", True) and "__repr__" not in own:
        cls.__repr__ = _repr  # type: ignore[assignment]
    return build(cls, **options | {"eq": False, "repr": False})


@cache
def _compared(cls: Any) -> Callable[[Any], Any]:
    """Return what reads the values by which objects of a class are compared."""
    names = [each.name for each in fields(cls) if each.eq]
    return attrgetter(*names) if names else attrgetter("__class__")


def _equal(self: Any, other: object) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    cls: Any = self.__class__
    values = _compared(cls)
    return values(self) == values(other)


def _hash(self: Any) -> int:
    cls = self.__class__
    return hash((cls, _compared(cls)(self)))


@cache
def _shown(cls: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.repr)


@recursive_repr()
def _repr(self: Any) -> str:
    cls = self.__class__
    name = cls.__qualname__.rpartition(">.")[2]
    values = (f"{each}={getattr(self, each, attrs.NOTHING)!r}" for each in _shown(cls))
    return f"{name}({', '.join(values)})"
