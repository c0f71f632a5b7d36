"""A pooler between us and PostgreSQL: in session mode it serves, in transaction mode it is refused.

The real pgbouncer is used where it is installed. Without it, the pooler's numbers are played.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from support.postgres_server import GIVEN, end_with_parent, unprivileged
from support.stores import start_session
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.stores.postgres import PostgresStore
from vespera_orchestrator.stores.postgres import server as _server

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PORT = 6432


@contextlib.contextmanager
def pooler(url, mode, **settings):
    """Run pgbouncer in front of the test's server; yield the address of the same store there."""
    folder = Path(tempfile.mkdtemp(prefix="vpb-"))
    folder.chmod(0o777)
    server = psycopg.conninfo.conninfo_to_dict(
        url.partition("?schema=")[0].partition("&schema=")[0]
    )
    schema = url.rpartition("schema=")[2]
    options = {
        "listen_addr": "",
        "listen_port": PORT,
        "unix_socket_dir": folder,
        "auth_type": "any",
        "pool_mode": mode,
        "ignore_startup_parameters": "extra_float_digits,options",
        **settings,
    }
    lines = "\n".join(f"{name} = {value}" for name, value in options.items())
    target = f"host={server['host']} dbname={server['dbname']} user={server['user']}"
    config = folder / "pgbouncer.ini"
    config.write_text(f"[databases]\nwork = {target}\n[pgbouncer]\n{lines}\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, config],
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=end_with_parent,  # noqa: PLW1509 - no thread runs yet
            **unprivileged(),
        )
    try:
        deadline = time.monotonic() + 60
        while not (folder / f".s.PGSQL.{PORT}").exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)
        host = quote(str(folder), safe="")
        yield f"postgresql://vespera@/work?host={host}&port={PORT}&schema={schema}"
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None or GIVEN in os.environ, reason="pgbouncer, and a server of our own, are needed"
)


@needs_pgbouncer
@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("transaction", {}),
        ("transaction", {"default_pool_size": 1}),
        ("transaction", {"server_round_robin": 1, "min_pool_size": 3}),
        ("statement", {}),
    ],
)
def test_a_pooler_that_shares_connections_is_refused_at_open(postgres_url, mode, settings):
    """Nothing is written, and no setting of ours is left for its other clients."""
    with (
        pooler(postgres_url, mode, **settings) as address,
        contextlib.ExitStack() as others,
    ):
        plain = address.rpartition("&schema=")[0]
        clients = [others.enter_context(psycopg.connect(plain)) for _ in range(2)]
        for client in clients:
            client.autocommit = True
            client.execute("SELECT 1")
        with pytest.raises(InvalidInputError, match="pool_mode = session") as caught:
            PostgresStore.open(address)
        assert caught.value.name == "store"
        for client in clients:
            assert client.execute("SHOW search_path").fetchone() == ('"$user", public',)
            assert client.execute("SHOW lock_timeout").fetchone() == ("0",)
    with contextlib.closing(PostgresStore.open(postgres_url)) as store:
        assert store.sessions() == []


@needs_pgbouncer
def test_a_pooler_with_a_connection_for_each_client_serves(postgres_url):
    """In session mode all is as with the server itself."""
    with (
        pooler(postgres_url, "session") as address,
        contextlib.closing(PostgresStore.open(address)) as one,
        contextlib.closing(PostgresStore.open(address)) as two,
    ):
        session = start_session(one)
        assert two.find_session(session.id) == session


@pytest.mark.parametrize(
    ("numbers", "is_refused"),
    [
        ([-1, -1], False),  # -1: what the client was told at its start
        ([7, 7], True),
        ([7, 8, 7, 7, 7], False),
        ([7, 8, 8, 7, 7], True),
        ([7, 8, 7, 7, 9], True),
    ],
)
def test_the_numbers_decide(postgres_url, monkeypatch, numbers, is_refused):
    """One process for two clients, or two for one: only a pooler does that."""
    answers = iter(numbers)

    def process_number(connection):
        number = next(answers)
        return connection.info.backend_pid if number == -1 else number

    monkeypatch.setattr(_server, "_process_number", process_number)
    if is_refused:
        with pytest.raises(InvalidInputError, match="transaction mode"):
            PostgresStore.open(postgres_url)
    else:
        PostgresStore.open(postgres_url).close()
