"""The only door to what LanceDB does not promise: an upgrade can break this module alone.

LanceDB runs its own calls on a thread that it starts when it is imported, and on an event loop
that never ends. A library must not leave a thread behind. So each call here runs its coroutine in
the calling thread, on a loop that ends with it, and LanceDB's thread stops until somebody else
needs it.

What this module relies on, and LanceDB may change at any time:

* ``lancedb.background_loop.LOOP``, its ``thread``, ``loop``, ``_start`` and ``run``;
* that its threads do not survive a fork;
* that its errors are bare builtins, and that a panic in Rust has the type of ``pyo3_runtime``;
* ``get_registry()._functions``, the only list of the embedders that it knows;
* the words "Please install", before the name of a package that an embedder lacks.

``tests/artifacts/search/test_lancedb_private.py`` says in plain words which of them moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vespera_orchestrator.errors import ArtifactIndexError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

_FOREIGN_ERRORS = (RuntimeError, ValueError, OSError, LookupError, TypeError)
"""What LanceDB and pyarrow raise: bare builtins, and subclasses of them."""
_PANIC_MODULE = "pyo3_runtime"
"""Where the type of a panic in Rust says that it lives. It is no ``Exception``."""
_DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_MAX_REASON_CHARACTERS = 200
_MISSING_PACKAGE = "Please install "

_process_id: int | None = None
"""The process that first used LanceDB here.

Its threads do not survive a fork, and using them in the child ends in a segmentation fault.
"""
_import_lock = threading.Lock()


# --- importing --------------------------------------------------------------


def load() -> Any:
    """Import LanceDB: without messages on stderr, and without its thread.

    Raises:
        ArtifactIndexError: This process was forked from one that had used LanceDB.
    """
    global _process_id  # noqa: PLW0603 - it belongs to the process, like the library's threads
    refuse_after_fork()
    with _import_lock:
        if _process_id is None:
            _process_id = os.getpid()
            _import_quietly()
    import lancedb

    return lancedb


def refuse_after_fork() -> None:
    """Raise in a process that was forked from one that had used LanceDB.

    Raises:
        ArtifactIndexError: With the remedy.
    """
    if _process_id in (None, os.getpid()):
        return
    raise ArtifactIndexError(
        "use it in a forked process",
        f"process {_process_id} used it before the fork, and LanceDB does not survive that",
        "start children with multiprocessing's 'spawn' or 'forkserver', or search in the parent",
    )


def _import_quietly() -> None:
    host_uses_it = "lancedb" in sys.modules
    # LanceDB reads the variable when it is loaded. Without it, warnings go to the host's stderr.
    unset = "LANCEDB_LOG" not in os.environ
    os.environ.setdefault("LANCEDB_LOG", "error")
    try:
        import lancedb  # noqa: F401 - loaded here, used by the callers
    finally:
        if unset:
            os.environ.pop("LANCEDB_LOG", None)
    if not host_uses_it:
        _stop_background_thread()


def _stop_background_thread() -> None:
    """Stop the thread that importing LanceDB starts.

    It starts again when the host calls LanceDB's blocking functions, which we never do. A LanceDB
    that looks different from those we know keeps its thread.
    """
    from lancedb import background_loop

    background: Any = getattr(background_loop, "LOOP", None)
    has_thread = isinstance(getattr(background, "thread", None), threading.Thread)
    if not has_thread or not hasattr(type(background), "_start"):
        return

    class OnDemand(type(background)):  # type: ignore[misc]
        """Starts with the first call."""

        def _start(self) -> None:  # LanceDB calls it in a forked child, where the thread is gone
            self.loop = self.thread = None

        def run(self, future: Any) -> Any:
            if self.thread is None:
                super()._start()
            return super().run(future)

    background.loop.call_soon_threadsafe(background.loop.stop)
    background.thread.join()
    background.loop.close()
    background.loop = background.thread = None
    background.__class__ = OnDemand


# --- calling ----------------------------------------------------------------


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run *coroutine* to its end. The caller's signal handlers and event loop stay untouched.

    Inside a running event loop, as in a notebook, it runs in a thread that ends before this
    returns.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_on_new_loop(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_run_on_new_loop, coroutine).result()


def _run_on_new_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.new_event_loop()
    try:
        task = loop.create_task(_awaited(coroutine))
        try:
            return loop.run_until_complete(task)
        except BaseException:
            # Interrupted: LanceDB's side has to stop before the loop goes away under it.
            if not task.done():
                task.cancel()
                with contextlib.suppress(BaseException):
                    loop.run_until_complete(task)
            raise
    finally:
        loop.close()


async def _awaited(awaitable: Any) -> Any:
    # LanceDB returns awaitables that are no coroutines, and a loop makes tasks of coroutines only.
    return await awaitable


@contextmanager
def translated_errors(action: str) -> Iterator[None]:
    """Turn every error of LanceDB and pyarrow into one of ours.

    Args:
        action: What the caller is doing, for "search index: cannot …".

    Raises:
        ArtifactIndexError: In place of the foreign error, which is its cause.
    """
    try:
        yield
    except _FOREIGN_ERRORS as exc:
        raise _translated(action, exc) from exc
    except BaseException as exc:
        if type(exc).__module__ != _PANIC_MODULE:
            raise
        raise _translated(action, exc) from exc


def _translated(action: str, exc: BaseException) -> ArtifactIndexError:
    reason = " ".join(str(exc).split()) or type(exc).__name__
    if any(f"os error {number}" in reason for number in _DISK_FULL):
        remedy = "free some disk space and call again"
        return ArtifactIndexError(action, "there is no room to write", remedy)
    if len(reason) > _MAX_REASON_CHARACTERS:
        # The rest is paths of a build machine; the cause has all of it.
        reason = reason[:_MAX_REASON_CHARACTERS] + "…"
    return ArtifactIndexError(action, reason)


# --- its embedders ----------------------------------------------------------


def embedding_functions() -> dict[str, Any]:
    """Return the classes in LanceDB's embedding registry, by name. It has no public list."""
    load()
    from lancedb.embeddings import get_registry

    functions: dict[str, Any] = get_registry()._functions  # noqa: SLF001 - see above
    return functions


def missing_package(exc: ImportError) -> str:
    """Return the package that an embedder of the registry lacks, from what LanceDB raised."""
    first_line, _, _ = str(exc).partition("\n")
    return first_line.removeprefix(_MISSING_PACKAGE)
