"""Running a command that the person has set: with a time limit, and killed with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.home.config import ENV_HOME
from vespera_orchestrator.home.environment import without_repository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MOST_OUTPUT_BYTES: Final = 400_000
"""As much of the end of a command's output is kept."""
MOST_WRITTEN_BYTES: Final = 100_000_000
"""A command that says more is killed: it would fill the disk until its time is over."""
_LOOK_S: Final = 0.5
"""How often the length of what it has said is looked at."""


@attrs.frozen(kw_only=True)
class CommandFailure:
    """How a command failed."""

    what: str
    """What happened, to be put behind the command's name: ``ended with 1``."""
    output: str = ""
    """The end of what it said."""


def run_command(
    command: Sequence[str] | str, *, folder: Path, home: Path, timeout_s: float, output: IO[bytes]
) -> CommandFailure | None:
    """Run a command in *folder*; return how it failed, or ``None``.

    Args:
        command: A list of words, or a line for the shell.
        folder: Where it runs. Git, called by it, finds the repository around that folder.
        home: Our home; the library, called by it, finds this one.
        timeout_s: Seconds after which it is killed, with all that it started.
        output: A file that gets what it says; more than 100 MB end it, too.
    """
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
    environment = without_repository(os.environ)
    environment[ENV_HOME] = str(home)
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as exc:
        return CommandFailure(what=f"could not be started: {exc.strerror or exc}")
    what = _wait(process, timeout_s, output)
    return CommandFailure(what=what, output=_end_of(output)) if what else None


def command_name(command: Sequence[str] | str) -> str:
    """Return a command as people know it."""
    return command if isinstance(command, str) else " ".join(command)


def _wait(process: subprocess.Popen[bytes], timeout_s: float, output: IO[bytes]) -> str:
    """Wait until the process has ended, or kill it; return how it failed, empty if it did not."""
    ends_at = time.monotonic() + timeout_s
    try:
        while True:
            left_s = ends_at - time.monotonic()
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(max(0.0, min(left_s, _LOOK_S)))
                return f"ended with {code}" if code else ""
            if left_s <= 0:
                what = f"took longer than {timeout_s:g} s"
                break
            if os.fstat(output.fileno()).st_size > MOST_WRITTEN_BYTES:
                what = f"said more than {MOST_WRITTEN_BYTES // 1_000_000} MB"
                break
    except BaseException:
        _kill(process)
        raise
    _kill(process)
    return what


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        # It has a session of its own: whatever it has started is killed with it.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _MOST_OUTPUT_BYTES))
    text = output.read().decode("utf-8", "backslashreplace")
    if size > _MOST_OUTPUT_BYTES:
        return f"(only the last {_MOST_OUTPUT_BYTES} of {size} bytes)\n{text}"
    return text
