"""Room on the disk that is kept for the day on which the disk is full.

Removing rows takes room, too: SQLite writes the pages that change into its log first. So a file
beside the database holds a little room. Maintenance lets go of it where there is no other, and
takes it again as soon as there is.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from vespera_orchestrator.home.files import create_file

RESERVE_BYTES: Final = 1_000_000
"""As much as the log takes for a few steps of `prune`."""
_SMALL_BYTES: Final = 1_000_000
"""A database that is smaller has nothing to remove, and gets no reserve."""
_PLENTY: Final = 3
"""The reserve is made only where so many times its size is free."""


class Reserve:
    """The file beside the database that holds the room."""

    def __init__(self, database: Path) -> None:
        self.path = Path(f"{database}-reserve")
        self._database = database

        self._is_settled = False

    def fill(self) -> None:
        """Take the room, once the database is not small any more and where the disk has plenty.

        It is called after every write, so it looks once only.
        """
        if self._is_settled or self._size_bytes(self._database) < _SMALL_BYTES:
            return
        self._is_settled = True
        if self.path.exists() or self.free_bytes() < _PLENTY * RESERVE_BYTES:
            return
        # It is a precaution, and no system has to offer it.
        with suppress(OSError):
            create_file(self.path)
        with suppress(OSError), self.path.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, RESERVE_BYTES)

    def release_if_full(self) -> None:
        """Give the room back where there is no other."""
        if self.free_bytes() < RESERVE_BYTES:
            self.path.unlink(missing_ok=True)
            self._is_settled = False

    def free_bytes(self) -> int:
        """Return how much room there is on the disk, without the reserve."""
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:
            return 0

    @staticmethod
    def _size_bytes(file: Path) -> int:
        try:
            return file.stat().st_size
        except OSError:
            return 0
