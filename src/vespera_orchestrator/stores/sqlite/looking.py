"""Looking into a database without writing anything, beside others who may be writing.

In WAL mode SQLite writes even to read: it makes a log and a file of shared memory beside the
database, and it takes locks there. So the way in depends on what lies beside the database.

``LIVE``: There are both. Somebody has the database open, or was killed with it. SQLite reads the
log through their shared memory, and makes none of its own (``readonly_shm``). Where nobody lives
any more, it makes an index of the log in its own memory.

``STILL``: There is no log, so the file is everything. SQLite is told that nobody writes
(``immutable``), and therefore makes nothing. In truth somebody may begin to write at any moment,
and SQLite would not notice. So the file is compared after each read. If it was changed meanwhile,
what was read is thrown away, and it is read again: see `retry_reads`.

``COPY``: There is a log without its shared memory, as after a power cut, or in a home that was
copied. SQLite would have to make one. So the database and its log are copied, and the copy is
read. The same is done with a database of an earlier version: the copy is brought up to date. And
where something has come about by the clock alone, such as the end of a lease, it is carried out in
a copy: so whoever only looks sees what the next writer will see.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
import time
import weakref
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator.errors import StoreUnavailableError
from vespera_orchestrator.home.files import make_temporary_folder

if TYPE_CHECKING:
    from collections.abc import Callable

_COPY_TRIES: Final = 5
_READ_TRIES: Final = 20
_LONGEST_PAUSE_S: Final = 0.05
"""Up to this, at random, is the pause before something is read again."""
_TICK_NS: Final = 20_000_000
"""How exact the times of files are on most systems, at worst."""
_COARSE_TICK_NS: Final = 2_000_000_000
"""The same on file systems that count in seconds."""
_SECOND_NS: Final = 1_000_000_000

READING_METHODS: Final = (
    "aliases",
    "artifacts",
    "attempts",
    "content_digests",
    "context_uses",
    "count",
    "count_artifacts",
    "default_agent",
    "dependents",
    "document_versions",
    "events",
    "expire",
    "find_artifact",
    "find_effect",
    "find_home",
    "find_session",
    "find_task",
    "last_checkpoint",
    "last_look",
    "last_seq",
    "longest_chain",
    "open_sessions",
    "past_work",
    "read_together",
    "ready",
    "running",
    "sessions",
    "shared_values",
    "situation",
    "task_artifacts",
    "tasks",
    "team_settings",
    "tombstones",
    "worktrees",
)
"""The methods of `contracts.Store` that work here: those that return something, and `expire`."""


def is_writable(database: Path) -> bool:
    """Tell whether files can be made beside the database, or there is none to look at."""
    return os.access(database.parent, os.W_OK) or not database.is_file()


class DisturbedError(StoreUnavailableError):
    """Somebody wrote in the middle of a read. Never leaves this package."""


class Way(Enum):
    """How to read a database without writing; see the module."""

    LIVE = "?mode=ro&readonly_shm=1"
    STILL = "?mode=ro&immutable=1"
    COPY = ""


class Looking:
    """One way into a database, chosen by what lies beside it at the moment."""

    def __init__(self, database: Path, *, copies: bool = False) -> None:
        """Choose the way.

        Args:
            database: The file.
            copies: Copy it in any case.

        Raises:
            StoreUnavailableError: It should be copied, and cannot.
            ReadOnlyError: No file can be made in the folder for temporary files.
        """
        self._database = database
        self.way = Way.COPY if copies else _way_into(database)
        self.copy: LookingCopy | None = None
        """The copy that is read instead."""
        if self.way is Way.STILL:
            _let_settle(database)
        self._stamps = _stamps(database)
        if self.way is Way.COPY:
            self.copy = LookingCopy(database)

    @property
    def address(self) -> str:
        """What to open, as a URI."""
        if self.copy is not None:
            return self.copy.path.as_uri()
        return f"{self._database.as_uri()}{self.way.value}"

    def is_current(self) -> bool:
        """Tell whether this way still shows what is there."""
        if self.copy is not None:
            return _stamps(self._database) == self._stamps
        return _way_into(self._database) is self.way and not self.was_disturbed()

    def was_disturbed(self) -> bool:
        """Tell whether what was read this way may be torn, because the file has changed."""
        return self.way is Way.STILL and _stamp(self._database) != self._stamps[0]

    def copy_whole(self, source: sqlite3.Connection) -> None:
        """Read a copy from now on; *source* is a connection that was opened this way.

        Raises:
            DisturbedError: Somebody wrote meanwhile.
        """
        if self.copy is not None:
            return
        if self.way is Way.LIVE:
            self._stamps = _stamps(self._database)
        self.copy = LookingCopy(self._database, source)
        if self.was_disturbed():
            raise DisturbedError(str(self._database), "it was written meanwhile")

    def close(self) -> None:
        """Remove the copy, if there is one. Idempotent."""
        if self.copy is not None:
            self.copy.remove()


class LookingCopy:
    """A copy of a database in a folder of its own, which goes when this object does."""

    def __init__(self, database: Path, source: sqlite3.Connection | None = None) -> None:
        """Copy *database*, its log included; through SQLite, if there is an open *source*.

        Raises:
            StoreUnavailableError: It was changed all the time, or there is no room for a copy.
            ReadOnlyError: No file can be made in the folder for temporary files.
        """
        folder = make_temporary_folder()
        self.path = folder / database.name
        """Where the copy is."""
        self._remove = weakref.finalize(self, _remove_own, folder, os.getpid())
        try:
            if source is None:
                self._fill(database)
            else:
                with closing(sqlite3.connect(self.path, isolation_level=None)) as target:
                    source.backup(target)
        except OSError as exc:
            self.remove()
            reason = f"it cannot be written, and no copy could be made to look at: {exc}"
            raise StoreUnavailableError(str(database), reason) from exc
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove the copy. Idempotent."""
        self._remove()

    def _fill(self, database: Path) -> None:
        files = [database, _log_of(database)]
        for _ in range(_COPY_TRIES):
            before = _stamps(database)
            for file, target in zip(files, (self.path, _log_of(self.path)), strict=True):
                target.unlink(missing_ok=True)
                if file.exists():
                    shutil.copyfile(file, target)
            if _stamps(database) == before:
                return
        raise OSError("another process writes it all the time")


def retry_reads(store: object, name: str) -> None:
    """Let each reading method of *store* begin again where somebody wrote in the middle of it.

    Each of them reads one state, in one transaction. So it can be repeated as a whole.

    Args:
        store: The store. Its methods are replaced.
        name: What to call it in an error.
    """
    for method in READING_METHODS:
        setattr(store, method, _retrying(getattr(store, method), name))


def _retrying(read: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(read)
    def read_undisturbed(*args: Any, **kwargs: Any) -> Any:
        for _ in range(_READ_TRIES):
            try:
                return read(*args, **kwargs)
            except DisturbedError:
                time.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 - jitter
        raise StoreUnavailableError(name, "others write it all the time; try again in a moment")

    return read_undisturbed


def _way_into(database: Path) -> Way:
    if not _has_log(database):
        return Way.STILL
    for _ in range(_COPY_TRIES):
        if _memory_of(database).exists():
            return Way.LIVE
        time.sleep(_TICK_NS / _SECOND_NS / _COPY_TRIES)  # whoever opens it makes the log first
    return Way.COPY if _has_log(database) else Way.STILL


def _has_log(database: Path) -> bool:
    """Tell whether the log may hold what is not in the file.

    An empty log that somebody has open is as good as a full one: it may be full in a moment.
    """
    try:
        size_bytes = _log_of(database).stat().st_size
    except FileNotFoundError:
        return False
    return size_bytes > 0 or _memory_of(database).exists()


def _let_settle(database: Path) -> None:
    """Wait until a further change of the file is sure to change its times.

    Two changes within one tick of the system's clock leave the same times.
    """
    changed_ns = database.stat().st_mtime_ns
    tick_ns = _TICK_NS if changed_ns % _SECOND_NS else _COARSE_TICK_NS
    remaining_ns = tick_ns - (time.time_ns() - changed_ns)
    if 0 < remaining_ns <= tick_ns:
        time.sleep(remaining_ns / _SECOND_NS)


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _memory_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-shm")


def _stamps(database: Path) -> tuple[tuple[int, ...] | None, ...]:
    return _stamp(database), _stamp(_log_of(database))


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _remove_own(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child has the object, too
        shutil.rmtree(folder, ignore_errors=True)
