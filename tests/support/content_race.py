"""Processes that put, record, read and forget contents in one place while others collect there."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time

WRITERS = ("ada", "bob", "cyd")
COLLECTORS = ("first collector", "second collector")
WORKER = """
import os, random, select, sys, time
from pathlib import Path
from vespera_orchestrator.errors import StoreUnavailableError

records, name, grace = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])

def recorded():
    return {{file[:64] for file in os.listdir(records)}}

def put_and_forget():
    number = random.randrange({contents})
    data = (b"content %d " % number) * (1 if number % 2 else 900)
    began = time.monotonic()
    try:
        digest, _ = content.put(data)
    except StoreUnavailableError:
        # Written for longer than the grace time, what is half written counts as left behind.
        if time.monotonic() - began < grace / 2:
            raise
        return
    record = records / f"{{digest}}-{{name}}"
    record.touch()
    # Who takes longer than the grace time from a put to its record was promised nothing.
    is_promised = time.monotonic() - began < grace / 2
    longest_pause = random.choice([0, {pause_s}])
    for _ in range(3):
        time.sleep(random.random() * longest_pause)
        if is_promised and content.read(digest) != data:
            sys.exit(f"lost {{digest}}")
    record.unlink()

content = {make}
while not select.select([sys.stdin], [], [], 0)[0]:
    if name in {collectors}:
        print(0, content.collect(recorded, older_than_s=grace).contents, flush=True)
    else:
        put_and_forget()
        print(1, 0, flush=True)
"""


def race(records, make, *, contents, grace_s, pause_s, puts, takings, seconds=0):
    """Let writers and collectors work on one place, however long it takes.

    Args:
        records: A folder for the records of what is in use.
        make: The Python expression that opens the content; *records* is at hand in it.
        contents: How many different contents there are.
        grace_s: How old a content must be to be taken away.
        pause_s: How long a writer pauses at most before it reads again.
        puts: How often something must have been put before it is over.
        takings: How many contents must have been taken away by then.
        seconds: How long it lasts at least.
    """
    records.mkdir()
    script = WORKER.format(make=make, contents=contents, pause_s=pause_s, collectors=COLLECTORS)
    begin = [sys.executable, "-c", script, str(records)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen([*begin, name, str(grace_s)], stdin=pipe, stdout=pipe, text=True)
        for name in (*WRITERS, *COLLECTORS)
    ]
    said = queue.SimpleQueue()
    readers = [
        threading.Thread(target=lambda stdout=process.stdout: [*map(said.put, stdout)])
        for process in processes
    ]
    for reader in readers:
        reader.start()
    put = taken = 0
    until = time.monotonic() + seconds
    try:
        while put < puts or taken < takings or time.monotonic() < until:
            more_put, more_taken = map(int, said.get(timeout=120).split())
            put += more_put
            taken += more_taken
    finally:
        for process in processes:
            process.stdin.close()
        for process, reader in zip(processes, readers, strict=True):
            reader.join()
            process.wait()
            process.stdout.close()
    assert [process.returncode for process in processes] == [0] * len(processes)
