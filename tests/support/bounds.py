"""Calls that must end soon, in little memory, and at worst with an error of the library."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import attrs

import vespera_orchestrator as vespera

CPU_S = 5
"""More processor time than this, and a call does something that grows with what others wrote."""
WALL_S = 60
"""A call that takes longer waits for something that never comes, and is ended."""
MEMORY_KB = 300_000
"""More memory than this, at any moment of a call, means that something was read or built whole."""
MESSAGE_CHARS = 5100
"""A longer message has a value in it that was not shortened."""


class WaitsForEverError(BaseException):
    """A call did not end; nobody who catches `Exception` may swallow this."""


@contextlib.contextmanager
def wall_limit(seconds):
    """Raise in the block when its time is over."""

    def stop(*_):
        raise WaitsForEverError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def memory_kb(field):
    """Return one of the kernel's numbers for the memory of this process."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise LookupError(field)


def forget_peak():
    """Let the kernel measure the most memory from here on."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


@attrs.define(kw_only=True)
class Tally:
    """What came of many calls."""

    tries: int = 0
    raw: list[str] = attrs.Factory(list)
    """Those that ended with an error of somebody else, or with one that cannot be read."""
    slow: list[str] = attrs.Factory(list)
    """Those over the bound of time."""
    large: list[str] = attrs.Factory(list)
    """Those over the bound of memory."""

    def call(self, words, function, *arguments, cpu_s=CPU_S, **keywords):
        """Make one call; return its answer, or ``None`` where it ends with an error."""
        self.tries += 1
        forget_peak()
        before_kb, start = memory_kb("VmRSS"), time.process_time()
        answer = None
        try:
            with wall_limit(max(WALL_S, 5 * cpu_s)):
                answer = function(*arguments, **keywords)
        except WaitsForEverError:
            self.slow.append(f"{words}: ended after {WALL_S} s")
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            self._judge(words, error)
        spent_s, grown_kb = time.process_time() - start, memory_kb("VmHWM") - before_kb
        if spent_s > cpu_s:
            self.slow.append(f"{words}: {spent_s:.1f} s")
        if grown_kb > MEMORY_KB:
            self.large.append(f"{words}: {grown_kb // 1000} MB")
        return answer

    def _judge(self, words, error):
        if not isinstance(error, vespera.VesperaError):
            self.raw.append(f"{words}: {type(error).__name__}: {show(error)}"[:300])
        elif len(show(error)) > MESSAGE_CHARS:
            self.raw.append(f"{words}: long: {show(error)[:200]}")
        elif "cannot be printed" in show(error):
            self.raw.append(f"{words}: {type(error).__name__} {show(error)}")

    def judge(self, name):
        """Write the counts where they can be collected, and fail if there is a fault."""
        numbers = f"{self.tries} / {len(self.raw)} / {len(self.slow)} / {len(self.large)}"
        line = f"{name}: {numbers} (calls / raw errors / over time / over memory)"
        print(f"\n{line}", flush=True)
        if "VESPERA_COUNTS" in os.environ:
            with Path(os.environ["VESPERA_COUNTS"]).open("a", encoding="utf-8") as file:
                file.write("\n".join([line, *self.raw, *self.slow, *self.large]) + "\n")
        assert (self.raw, self.slow, self.large) == ([], [], []), line


def show(error):
    """Return the text of an error."""
    try:
        repr(error)
        return str(error)
    except Exception as unspeakable:  # noqa: BLE001 - that is what is looked for
        return f"cannot be printed: {type(unspeakable).__name__}"
