"""Run work in children that are killed before their first, second, … file operation.

The work runs as a script in a fresh interpreter, so that no other thread or lock exists when it
forks. It ends when a child comes to its end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from support import TESTS

CHANGING = ("open", "write", "fsync", "replace", "unlink", "utime", "makedirs", "close", "read")
CALLS = (*CHANGING, "mkdir", "listdir", "scandir", "stat", "fstat")


def run(script, *arguments):
    """Run *script*, which can import this module, and return the number that it prints."""
    places = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


def killed_before(step, act, calls=CALLS):
    """Call *act* in a forked child that is killed before its operation number *step*.

    Return whether it was killed; otherwise it had fewer operations.
    """
    child = os.fork()
    if child == 0:
        try:
            _die_before(step, calls)
            act()
        except BaseException as exc:  # noqa: BLE001 - the parent is told
            print(repr(exc), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    ended = os.waitpid(child, 0)[1]
    assert ended in {0, signal.SIGKILL}, ended
    return bool(ended)


def _die_before(step, calls):
    left = step

    def dying(real):
        def call(*arguments, **more):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **more)

        return call

    for name in calls:
        setattr(os, name, dying(getattr(os, name)))
