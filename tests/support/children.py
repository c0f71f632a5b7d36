"""Python processes beside the test: started with a few names at hand, asked for their last word."""

from __future__ import annotations

import json
import subprocess
import sys

from support import TESTS

PRELUDE = f"""
import json, os, sys, time
sys.path.insert(0, {str(TESTS)!r})
from support.stores import start_session
from vespera_orchestrator import errors
from vespera_orchestrator._model import *
from vespera_orchestrator.stores import open_store
def done(**said):
    print(json.dumps(said), flush=True)
def at_once(count, work):
    "Let processes part from here and work at the same moment; return what each brought."
    gate, go = os.pipe()
    pipes = []
    for number in range(count):
        readable, writable = os.pipe()
        if os.fork() == 0:
            try:
                os.close(go)
                os.read(gate, 1)
                os.write(writable, json.dumps(work(number)).encode())
            finally:
                os._exit(0)
        os.close(writable)
        pipes.append(readable)
    os.close(go)
    return [json.loads(os.read(readable, 65536)) for readable in pipes]
"""


def python(code, *words, **how):
    """Start a process that runs *code* after the prelude, with *words* as its arguments."""
    command = [sys.executable, "-c", PRELUDE + code, *map(str, words)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, **how)


def answer(process, timeout=240):
    """Wait for a child to end well; return what it said last."""
    out, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, out
    return json.loads(out.splitlines()[-1])
