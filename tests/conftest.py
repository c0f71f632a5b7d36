"""A real PostgreSQL for the tests that need one: given or started, with a schema of its own for
each test.
"""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import tempfile
from pathlib import Path

import psycopg
import pytest

from support import VARIABLES
from support.clones import any_team, team
from support.git_project import identity, make, project, trees
from support.postgres_server import GIVEN, Server
from vespera_orchestrator.stores.postgres import PostgresStore
from vespera_orchestrator.testing import ManualClock

__all__ = ["any_team", "identity", "make", "project", "team", "trees"]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path_factory):
    """No test hears of the session, home or agent of whoever runs it, nor of what they trust."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "of-a-person"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def public_path():
    """A new folder that every user can reach.

    The folder of ``tmp_path`` is not: each pytest of the same user that starts meanwhile closes
    the one above it to all others.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        yield place
        for each in (place, *place.rglob("*")):
            if each.is_dir():
                each.chmod(0o755)


@pytest.fixture
def clock():
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def postgres():
    """The address of a server: the given one, or one that is started for this process's tests and
    forgets everything afterwards.
    """
    if os.environ.get(GIVEN):
        yield os.environ[GIVEN]
        return
    server = Server.make(durable=False)
    yield server.url
    server.remove()


TABLES = [
    "forgotten",
    "effects",
    "signals",
    "shared_values",
    "looks",
    "events",
    "given",
    "document_versions",
    "team_settings",
    "worktrees",
    "artifacts",
    "checkpoints",
    "attempts",
    "dependencies",
    "tasks",
    "tallies",
    "sessions",
    "homes",
    "agent_names",
]


"""All tables of a store, each before those that its rows refer to."""
OUR_TABLES = """
    SELECT tablename FROM pg_tables
    WHERE schemaname = %s AND tablename <> 'vespera_migrations'
"""


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
    """A function that gives the address of a store that does not exist yet, another one each
    time.
    """
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
    """The address of a store that holds nothing: cheaper than a new one, where a test does not
    touch the schema.
    """
    yield used_postgres_url
    schema = used_postgres_url.rpartition("schema=")[2]
    with psycopg.connect(postgres, autocommit=True) as db:
        there = {table for (table,) in db.execute(OUR_TABLES, (schema,))}
        assert there == set(TABLES)
        deletions = " ".join(f"DELETE FROM {table};" for table in TABLES)
        db.execute(f"SET search_path = {schema}; BEGIN; {deletions} COMMIT")


@pytest.fixture
def own_server():
    """A server for this test alone, which it may stop, kill and start again.

    It writes to disk as a real one does.
    """
    server = Server.make(durable=True)
    yield server
    server.remove()


def pytest_collection_finish():
    """What was collected is never given back, so the garbage collector need not look at it."""
    gc.collect()
    gc.freeze()
