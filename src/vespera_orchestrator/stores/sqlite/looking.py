"""Looking into a database that cannot be written: through a private copy of it.

In WAL mode SQLite needs to write even to read: it makes a file beside the database. Where nothing
can be written, as on read-only media, the database is copied, together with what is only in its
log. So it reads as it was when it was opened.
"""

from __future__ import annotations

import os
import shutil
import weakref
from pathlib import Path
from typing import Final

from vespera_orchestrator.errors import StoreUnavailableError
from vespera_orchestrator.home.files import make_temporary_folder

_TRIES: Final = 5


def is_writable(database: Path) -> bool:
    """Tell whether files can be made beside the database, or there is none to look at."""
    return os.access(database.parent, os.W_OK) or not database.is_file()


class LookingCopy:
    """A copy of a database in a folder of its own, which goes when this object does."""

    def __init__(self, database: Path) -> None:
        """Copy *database*.

        Raises:
            StoreUnavailableError: It was changed all the time, or there is no room for a copy.
            ReadOnlyError: No file can be made in the folder for temporary files.
        """
        folder = make_temporary_folder()
        self.path = folder / database.name
        """Where the copy is."""
        self._remove = weakref.finalize(self, _remove_own, folder, os.getpid())
        try:
            self._fill(database)
        except OSError as exc:
            self.remove()
            reason = f"it cannot be written, and no copy could be made to look at: {exc}"
            raise StoreUnavailableError(str(database), reason) from exc

    def remove(self) -> None:
        """Remove the copy. Idempotent."""
        self._remove()

    def _fill(self, database: Path) -> None:
        files = [database, _log_of(database)]
        for _ in range(_TRIES):
            before = [_stamp(file) for file in files]
            for file, target in zip(files, (self.path, _log_of(self.path)), strict=True):
                target.unlink(missing_ok=True)
                if file.exists():
                    shutil.copyfile(file, target)
            if [_stamp(file) for file in files] == before:
                return
        raise OSError("another process writes it all the time")


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _remove_own(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked child has the object, too
        shutil.rmtree(folder, ignore_errors=True)
