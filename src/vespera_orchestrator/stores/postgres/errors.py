"""What PostgreSQL and its driver report, as errors of ours that say what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import (
    CorruptStoreError,
    InvalidInputError,
    ReadOnlyError,
    StoreError,
    StoreUnavailableError,
)
from vespera_orchestrator.stores.postgres.driver import psycopg

if TYPE_CHECKING:
    from vespera_orchestrator.stores.postgres.address import Address

LOCK_WAIT_S: Final = 30
"""How long to wait for another writer before giving up, in seconds."""

_UNREACHABLE: Final = (
    "the server cannot be reached, or was lost: see that it runs and that the address is right"
)
_SCHEMA_REMOVED: Final = "its schema was removed while it was open; open it again"
_REMEDIES: Final = {
    "": _UNREACHABLE,
    "08": _UNREACHABLE,
    "28": "the server refuses this user or password: see the address, ~/.pgpass, or pg_hba.conf",
    "3D": "the database does not exist: create it with createdb",
    "42501": (
        "this user is not allowed to do that: GRANT CREATE ON DATABASE … TO …, "
        "or name an existing schema with ?schema="
    ),
    "42P01": _SCHEMA_REMOVED,
    "3F": _SCHEMA_REMOVED,
    "40": "the server undid the change in favor of another one",
    "53100": "the server's disk is full: free some space",
    "53300": "the server has no connection left: close some, or raise max_connections",
    "55P03": f"another program has kept it locked for {LOCK_WAIT_S} s; close it, or wait",
    "57014": "the server cancelled the statement: see its statement_timeout",
    "57": "the server is stopping or starting, or ended this connection",
}
"""What helps, by SQLSTATE or by its class, the first two characters."""
_UNSTORABLE_CHARACTER: Final = frozenset({"22P05", "22021"})
_READ_ONLY: Final = "25006"


def translate(exc: psycopg.Error, address: Address) -> StoreError | InvalidInputError:
    """Return the error of ours that says the same."""
    code = exc.sqlstate or ""
    message = address.without_secrets(" ".join(str(exc).split()))
    is_data_error = isinstance(exc, psycopg.DataError)
    if code in _UNSTORABLE_CHARACTER or (is_data_error and "NUL" in message):
        problem = f"holds a character that this database cannot store ({message})"
        return InvalidInputError("text", f"{problem}; nothing was written")
    if is_data_error or isinstance(exc, psycopg.IntegrityError) or code.startswith("22"):
        problem = f"is of a kind that cannot be stored ({message})"
        return InvalidInputError("argument", f"{problem}; nothing was written")
    if code.startswith("XX"):
        return CorruptStoreError(address.name, message)
    if code == _READ_ONLY:
        reason = "the server is a read-only replica, or set to read only"
        return ReadOnlyError(address.name, reason)
    remedy = _REMEDIES.get(code) or _REMEDIES.get(code[:2])
    if remedy is None:
        return StoreUnavailableError(address.name, f"the server reports: {message}")
    return StoreUnavailableError(address.name, f"{remedy} ({message})")
