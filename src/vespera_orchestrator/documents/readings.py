"""What was read from the project's files, remembered from process to process.

To read a large project takes seconds, and an agent that lives for one call would pay them with each
task. A reading is kept under a digest of the text, of what it was read as, and of the code that
reads: what is here is right, or is not here.

It is a view. The file may be lost or damaged at any time; then everything is read again, which is
slower and never wrong. So nothing here is synced, and nothing here can fail the work.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import sys
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vespera_orchestrator._records import converter
from vespera_orchestrator.documents.place import file_stamp
from vespera_orchestrator.home.files import create_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

FILE: Final = "readings.db"
"""Its name in the home."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS readings (
    key TEXT PRIMARY KEY,
    reading TEXT NOT NULL,
    used_on INTEGER NOT NULL
) WITHOUT ROWID
"""
_DAY_S: Final = 86_400
_KEPT_DAYS: Final = 30
"""So long a reading is kept that nobody asked for."""
_MAX_CHARS: Final = 20_000_000
"""Of one reading; nothing of ours is larger."""
_LOCK_WAIT_S: Final = 0.2
"""Another process writes for some milliseconds. To read again is better than to wait longer."""
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
)
"""What SQLite says of a file that is not ours; a locked one or a full disk is no damage."""
_PRIMARY_CODE: Final = 0xFF
_LOG: Final = logging.getLogger(__name__)


class Readings:
    """The readings of one home; see `open_readings`.

    Args:
        file: Where they are.
        readonly: Whether to write nothing.
    """

    def __init__(self, file: Path, *, readonly: bool) -> None:
        self._file = file
        self._today = int(time.time() // _DAY_S)
        self._readonly = readonly
        self._connection: sqlite3.Connection | None = None
        self._is_usable = True
        self._news: dict[str, str] = {}
        self._used: set[str] = set()

    def recall(self, kind: type[T], label: str, text: str, read: Callable[[], T]) -> T:
        """Return what *text* says: from memory, or by reading it now.

        Args:
            kind: The class of what is returned: one of attrs, of plain values.
            label: As what the text is read, with everything but the text that decides the answer.
            text: The text.
            read: Reads it.
        """
        key = _key(label, text)
        stored = self._look_up(key)
        if stored is not None:
            with suppress(Exception):  # whatever is wrong with it, the text can be read again
                return converter().structure(json.loads(stored), kind)
        reading = read()
        self._news[key] = json.dumps(converter().unstructure(reading, kind))
        return reading

    # --- the file -----------------------------------------------------------

    def _look_up(self, key: str) -> str | None:
        found = None
        with self._in_file():
            connection = self._connected()
            if connection is not None:
                found = connection.execute(
                    "SELECT reading, used_on FROM readings WHERE key = ? AND length(reading) < ?",
                    (key, _MAX_CHARS),
                ).fetchone()
        if found is None:
            return None
        reading, used_on = found
        if used_on != self._today:
            self._used.add(key)
        return str(reading)

    def _connected(self) -> sqlite3.Connection | None:
        """Return the connection to the file; ``None`` if there is no such file."""
        if self._connection is None and self._is_usable and self._file.is_file():
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self._file.is_symlink():
            raise OSError(f"{self._file} is a link")
        mode = "ro" if self._readonly else "rw"
        connection = sqlite3.connect(
            f"{self._file.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_LOCK_WAIT_S,
            isolation_level=None,
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        if not self._readonly:
            connection.execute(_SCHEMA)
        return connection

    def save(self) -> None:
        """Write what was read now, and forget what nobody has asked for in a long time."""
        has_news = self._news or self._used
        if self._readonly or not self._is_usable or not has_news:
            return
        with self._in_file():
            create_file(self._file)
            connection = self._connected()
            if connection is not None:
                self._write(connection)

    def _write(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT OR REPLACE INTO readings VALUES (?, ?, ?)",
            [(key, reading, self._today) for key, reading in self._news.items()],
        )
        connection.executemany(
            "UPDATE readings SET used_on = ? WHERE key = ?",
            [(self._today, key) for key in self._used],
        )
        oldest = self._today - _KEPT_DAYS
        connection.execute("DELETE FROM readings WHERE used_on < ?", (oldest,))
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file; what was not saved is gone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _in_file(self) -> Iterator[None]:
        """Do without the file where it cannot be used, and remove one that is damaged."""
        try:
            yield
        except (OSError, sqlite3.Error) as exc:
            self._give_up(exc)
            code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE
            if code in _DAMAGE and not self._readonly:
                with suppress(OSError):
                    self._file.unlink()

    def _give_up(self, exc: Exception) -> None:
        self._is_usable = False
        self.close()
        _LOG.debug("%s is not used: %s", self._file, exc)


@contextmanager
def open_readings(folder: Path, *, readonly: bool) -> Iterator[Readings]:
    """Open the readings of a home; what is read meanwhile is saved in the end.

    Args:
        folder: The home.
        readonly: Whether to write nothing.
    """
    readings = Readings(folder / FILE, readonly=readonly)
    try:
        yield readings
        readings.save()
    finally:
        readings.close()


def _key(label: str, text: str) -> str:
    digest = hashlib.sha256(_code_digest())
    for part in (label, text):
        digest.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _code_digest() -> bytes:
    """Return what changes with the code that reads: ours, griffe's, Python's own."""
    griffe = find_spec("griffe")
    stamp = None if griffe is None or griffe.origin is None else file_stamp(Path(griffe.origin))
    code = code_stamps(), stamp, sys.version
    return hashlib.sha256(repr(code).encode("utf-8", "surrogatepass")).digest()


@lru_cache(maxsize=1)
def code_stamps() -> dict[str, Any]:
    """Return the stamps of the modules that decide what documents say.

    A process keeps the code that it loaded, so one look is enough.
    """
    package = Path(__file__).parent
    return {str(module): file_stamp(module) for module in package.rglob("*.py")}
