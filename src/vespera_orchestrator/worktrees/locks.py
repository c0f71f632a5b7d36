"""Locks between threads and processes that use the same home."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import GitFailedError, WorktreeLockedError
from vespera_orchestrator.home.file_lock import file_lock
from vespera_orchestrator.home.permissions import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_PATIENCE_S: Final = 120.0
"""How long to wait for a lock before giving up."""
LOCK_POLL_S: Final = 0.003
_STRIPES: Final = 64
"""Lock files are shared by hash, so that their number stays bounded.

Two callers that share one only take turns."""


@contextmanager
def exclusive(
    folder: Path, what: str, *, patience_s: float = LOCK_PATIENCE_S, poll_s: float = LOCK_POLL_S
) -> Iterator[None]:
    """Keep all others away from *what* during the block.

    The system releases the lock when its holder dies.

    Args:
        folder: Where the lock files are; it is made where it is missing.
        what: What is locked; its first word begins the file's name.
        patience_s: How long to wait, in seconds.
        poll_s: How often to try meanwhile.

    Raises:
        WorktreeLockedError: Somebody else held it all the time.
        GitFailedError: The file system refused.
    """
    path = lock_path(folder, what)
    with ExitStack() as lock:
        try:
            make_folder(folder)
            lock.enter_context(file_lock(path, timeout_s=patience_s, poll_s=poll_s))
        except TimeoutError as exc:
            raise WorktreeLockedError(what, round(patience_s), str(path)) from exc
        except OSError as exc:
            raise GitFailedError(f"lock {path}", str(exc)) from exc
        yield


def lock_path(folder: Path, what: str) -> Path:
    """Return the file of a lock. It stays, and whoever holds the lock may write into it."""
    digest = hashlib.sha256(os.fsencode(what)).digest()
    number = int.from_bytes(digest[:4])
    stripe = number % _STRIPES
    first_word = what.split(maxsplit=1)[0]
    return folder / f"{first_word}-{stripe:02}.lock"
