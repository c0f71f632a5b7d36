"""Names that a package imports at their first use.

A type annotation such as ``worktrees.Forecast`` is looked up the same way. So
`typing.get_type_hints` resolves it, and only those who ask pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, home_of: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: Its full name.
        home_of: For each name the module below *package* that defines it.
    """

    def getattr_(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        vars(import_module(package))[name] = value
        return value

    return getattr_
