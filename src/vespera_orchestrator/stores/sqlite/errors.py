"""What SQLite raises, as errors of ours that say what helps."""

from __future__ import annotations

import os
import sqlite3
from typing import Final

from vespera_orchestrator.errors import (
    CorruptStoreError,
    InvalidInputError,
    ReadOnlyError,
    StoreError,
    StoreUnavailableError,
)

LOCK_WAIT_S: Final = 30.0
"""How long to wait for another program's lock before giving up, in seconds."""

MOST_BYTES: Final = 100_000_000
"""The longest row. One of a gigabyte, put there by somebody else, would take four to be shown."""

_PRIMARY_CODE: Final = 0xFF
"""The part of an extended result code that names the kind of error."""
_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NOT_WRITABLE: Final = frozenset(
    {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)
_LONGEST_PATH: Final = 500
"""In bytes; SQLite's own limit is 512, and it makes files beside with longer names."""
_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_INTERRUPT}
)
_ENDLESS: Final = (
    "a view or a trigger that somebody put into it does not end; orch.check() names it"
)
"""The only reason for which we interrupt a statement, see `stores.sqlite.foreign`."""
_WRONG_VALUE: Final = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH})


def _code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY_CODE


def is_locked(exc: sqlite3.Error) -> bool:
    """Tell whether another connection holds the lock."""
    return _code(exc) in _LOCKED


def is_not_writable(exc: sqlite3.Error) -> bool:
    """Tell whether the database, or its folder, cannot be written."""
    return _code(exc) in _NOT_WRITABLE


def is_full(exc: sqlite3.Error) -> bool:
    """Tell whether the disk is full."""
    return _code(exc) == sqlite3.SQLITE_FULL


def translate(exc: sqlite3.Error, name: str) -> StoreError | InvalidInputError:
    """Return the error of ours that says the same of the store *name*."""
    code = _code(exc)
    length = len(os.fsencode(name))
    if code == sqlite3.SQLITE_CANTOPEN and length > _LONGEST_PATH:
        problem = f"its path has {length} bytes, and SQLite takes at most 512"
        return ReadOnlyError(name, problem)
    if code in _NOT_WRITABLE:
        return ReadOnlyError(name, str(exc))
    if code in _DAMAGED:
        return CorruptStoreError(name, _ENDLESS if code == sqlite3.SQLITE_INTERRUPT else str(exc))
    is_misuse = isinstance(exc, sqlite3.ProgrammingError | sqlite3.InterfaceError)
    if is_misuse or code in _WRONG_VALUE:
        problem = f"is of a kind that cannot be stored ({exc}); nothing was written"
        return InvalidInputError("argument", problem)
    if code == sqlite3.SQLITE_TOOBIG:
        problem = "is larger than the 100 MB that the store takes; save it as an artifact instead"
        reading = "if you were only reading, somebody has put it into the database"
        return InvalidInputError("text", f"{problem}; {reading}")
    return StoreUnavailableError(name, _reason(exc, code))


def _reason(exc: sqlite3.Error, code: int) -> str:
    if code in _LOCKED:
        return (
            f"another program has kept it locked for {LOCK_WAIT_S:.0f} s; "
            "close that program, or wait"
        )
    if code == sqlite3.SQLITE_FULL:
        return "the disk is full: free some space"
    return f"the database reports: {exc}"
