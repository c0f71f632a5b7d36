"""Where the truth is kept, chosen by its address. The only door to sqlite3 and psycopg.

A new store is a package here, and a line in `open_store`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._text import show_value
from vespera_orchestrator.contracts import Store
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.stores.sql.address import masked

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from vespera_orchestrator.stores.sqlite.database import Durability

__all__ = ["caller_store", "open_store"]


def open_store(
    address: str | None,
    default: Path,
    clock: Callable[[], datetime],
    *,
    durability: str | None = None,
    readonly: bool = False,
) -> Store:
    """Open the store at *address*.

    Args:
        address: ``sqlite:///file`` (three slashes: relative to the working folder, four:
            absolute), ``memory:``, ``postgresql://user@host/database``, or ``None``. A file's
            address may end in ``?durability=normal``.
        default: The database file when *address* is ``None``.
        clock: Returns the time for leases and events.
        durability: ``full`` or ``normal``, unless the address says; see `SQLiteStore.open`.
        readonly: Only read it, and write nothing.

    Raises:
        MissingDependencyError: The extra ``postgres`` is not installed.
        InvalidInputError: It is not the address of a store.
    """
    from vespera_orchestrator.stores.sqlite import SQLiteStore

    if address is None:
        word = _durability(durability)
        return SQLiteStore.open(default, clock=clock, durability=word, readonly=readonly)
    if address == "memory:":
        if readonly:
            raise InvalidInputError("readonly", "nothing is in a memory: store yet")
        return SQLiteStore.open(None, clock=clock)
    scheme, _, rest = address.partition(":///")
    if scheme == "sqlite" and rest:
        file = rest.partition("?durability=")[0]
        in_address = durability_in(address)
        chosen = _durability(in_address if in_address is not None else durability)
        return SQLiteStore.open(file, clock=clock, durability=chosen, readonly=readonly)
    if address.startswith(("postgresql://", "postgres://")):
        from vespera_orchestrator.stores.postgres import PostgresStore

        return PostgresStore.open(address, clock=clock, readonly=readonly)
    known = "sqlite:///file, memory: and postgresql://user@host/database"
    raise InvalidInputError(
        "store", f"{show_value(masked(address))} is not the address of a store; known are {known}"
    )


def durability_in(address: str | None) -> str | None:
    """Return the durability that a store's address asks for, if it does."""
    if address is None or "?durability=" not in address:
        return None
    return address.partition("?durability=")[2]


def _durability(word: str | None) -> Durability:
    if word is None or word == "full":
        return "full"
    if word == "normal":
        return "normal"
    raise InvalidInputError("durability", f"{show_value(word)} is neither 'full' nor 'normal'")


def caller_store(store: object) -> Store:
    """Return *store*, an object that the caller made, if it keeps the `contracts.Store` contract.

    Raises:
        InvalidInputError: It does not.
    """
    if not isinstance(store, Store):
        problem = "is neither an address nor an object that keeps the Store contract"
        raise InvalidInputError("store", f"{show_value(store)} {problem}")
    return store
