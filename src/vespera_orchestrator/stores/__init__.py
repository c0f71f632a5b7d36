"""Where the truth is kept. The only door to sqlite3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from vespera_orchestrator.contracts import Store

__all__ = ["open_store"]


def open_store(address: str | None, default: Path, clock: Callable[[], datetime]) -> Store:
    """Open the store at *address*.

    Args:
        address: ``sqlite:///file`` (three slashes: relative to the working folder, four: absolute), ``memory:``, or ``None``.
        default: The database file when *address* is ``None``.
        clock: Tells the time for leases and events.

    Raises:
        InvalidInputError: No store of ours has such an address.
    """
    from vespera_orchestrator.stores.sqlite import SQLiteStore

    if address is None:
        return SQLiteStore.open(default, clock=clock)
    if address == "memory:":
        return SQLiteStore.open(None, clock=clock)
    scheme, _, rest = address.partition(":///")
    if scheme == "sqlite" and rest:
        return SQLiteStore.open(rest, clock=clock)
    raise InvalidInputError("store", f"{address!r} is no address of a store; known are sqlite:///file and memory:")
