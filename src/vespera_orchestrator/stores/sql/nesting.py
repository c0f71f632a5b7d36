"""Whether the transaction of a thread is still being worked on, or was left by an interruption.

Ctrl-C may fall between any two steps, also where a ``with`` block is just being left. Its end then
comes only with the last reference to the traceback, and until then something looks like an open
transaction that is none any more. A signal handler, in contrast, runs on top of the call that it
interrupts: that call is below it on the stack.
"""

from __future__ import annotations

import contextlib
import inspect
from types import FrameType
from typing import Final

_CONTEXTLIB: Final = contextlib.__file__


def opener() -> FrameType | None:
    """Return the frame that works on what is being opened: no generator, no context manager."""
    frame = inspect.currentframe()
    while frame is not None and _only_passes_on(frame):
        frame = frame.f_back
    return frame


def _only_passes_on(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_filename in {_CONTEXTLIB, __file__}:
        return True
    return bool(code.co_flags & inspect.CO_GENERATOR)


def is_running(frame: FrameType | None) -> bool:
    """Tell whether *frame* is below the caller on the stack of this thread."""
    current = inspect.currentframe()
    while current is not None:
        if current is frame:
            return True
        current = current.f_back
    return False
