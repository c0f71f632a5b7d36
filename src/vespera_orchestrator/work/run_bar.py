"""A bar that shows how far a run is, in a terminal or a notebook."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack, contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator.work.run_report import RunProgress

    Show = Callable[[RunProgress], object]

_BAR_WIDTH: Final = 24
"""In characters."""


@contextmanager
def shown_by(progress: object) -> Iterator[Show | None]:
    """Give the function that shows the progress of a run: the caller's, a bar's, or none.

    Raises:
        InvalidInputError: *progress* is neither a truth value nor a function.
    """
    with ExitStack() as stack:
        if progress is None or progress is False:
            yield None
        elif progress is True:
            yield stack.enter_context(_bar())
        elif callable(progress):
            yield progress
        else:
            problem = f"{show_value(progress)} should be True, False or a function"
            raise InvalidInputError("progress", one_line(problem, 300))


@contextmanager
def _bar() -> Iterator[Show]:
    """Give what draws the bar where people look: notebook, terminal; else one line at the end."""
    if _in_notebook():
        yield _NotebookBar()
    elif not sys.stderr.isatty():
        lines = _LastLine()
        yield lines
        lines.print()
    else:
        with _terminal_bar() as show:
            yield show


@contextmanager
def _terminal_bar() -> Iterator[Show]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        bar = _PlainBar()
        yield bar
        bar.close()
        return
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as display:
        drawn = display.add_task("", total=None)

        def show(progress: RunProgress) -> None:
            display.update(
                drawn,
                total=progress.total,
                completed=progress.completed,
                description=str(progress),
            )

        yield show


class _PlainBar:
    """A line in a terminal, written over itself."""

    def __call__(self, progress: RunProgress) -> None:
        share = progress.completed / progress.total if progress.total else 0.0
        full = round(share * _BAR_WIDTH)
        marks = "#" * full + "." * (_BAR_WIDTH - full)
        width = shutil.get_terminal_size().columns - 1
        line = one_line(f"[{marks}] {progress}", width)
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the last state on a line of its own."""
        sys.stderr.write("\n")


class _LastLine:
    """Prints the last state, where nobody can watch a bar."""

    def __init__(self) -> None:
        self._last: RunProgress | None = None

    def __call__(self, progress: RunProgress) -> None:
        self._last = progress

    def print(self) -> None:
        """Print it."""
        if self._last is not None:
            sys.stderr.write(f"{self._last}\n")


class _NotebookBar:
    """A bar in the output of a cell, updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, progress: RunProgress) -> None:
        from IPython.display import display

        bundle = {"text/html": bar_html(progress), "text/plain": str(progress)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def bar_html(progress: RunProgress) -> str:
    """Return the bar as HTML."""
    most = max(progress.total, 1)
    label = escape(str(progress))
    return (
        f'<div><progress max="{most}" value="{progress.completed}" aria-label="{label}" '
        f'style="width:16em;vertical-align:middle"></progress> {label}</div>'
    )


def _in_notebook() -> bool:
    """Tell whether the output goes to a notebook. Loads nothing where it does not."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    shell: Any = ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
