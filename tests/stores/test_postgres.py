"""The PostgreSQL store under what the world does to it: servers that stop, connections that break,
passwords, strangers' schemas.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from support.children import answer, python
from support.stores import start_session
from vespera_orchestrator._model import (
    ArtifactDraft,
    ArtifactQuery,
    Dependency,
    Ending,
    NextAction,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    new_id,
    utcnow,
)
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    MissingDependencyError,
    OutcomeUnknownError,
    ReadOnlyError,
    SchemaVersionError,
    StoreUnavailableError,
)
from vespera_orchestrator.orchestrator import Orchestrator
from vespera_orchestrator.stores import open_store
from vespera_orchestrator.stores.postgres import PostgresStore
from vespera_orchestrator.stores.postgres import server as _server
from vespera_orchestrator.stores.postgres.address import Address
from vespera_orchestrator.stores.postgres.schema import MIGRATIONS

HOUR_S = 3600
PATIENCE_S = 120
"""How long a busy machine may take for what takes a moment."""
DONE = Ending(action=NextAction.COMPLETE, summary="done")


@pytest.fixture
def store(postgres_url):
    """A store in a schema of its own."""
    opened = PostgresStore.open(postgres_url)
    yield opened
    opened.close()


@pytest.fixture
def schema(postgres_url):
    """The name of that schema."""
    return postgres_url.rpartition("schema=")[2]


@pytest.fixture
def db(postgres):
    """A connection of somebody else to the same database."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


PRELUDE = """
from vespera_orchestrator.stores.postgres import PostgresStore
url, *argv = sys.argv[1:]
"""


def child(code, *args):
    """Start a Python process that runs *code*; ``url`` is its first argument."""
    return python(PRELUDE + code, *args)


# --- the address ----------------------------------------------------------------------


def test_it_opens_by_address(postgres_url, tmp_path):
    """The façade takes a ``postgresql://`` address, and a child opens the same store by the one
    that the store tells.
    """
    with Orchestrator.open(tmp_path, store=postgres_url) as orch:
        orch.initialize_session("Over there")
        orch.plan_task("Look around")
        environment = orch.spawn_agent_with_context().environ()
    code = "import vespera_orchestrator as v\nwith v.open() as orch: print(orch.next_step().alias)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "look_around\n"


PASSWORDS = [
    "postgresql://ada:s3cr&t@127.0.0.1:1/db",
    "postgres://ada:s3cr&t@127.0.0.1:1/db?schema=x",
    "postgresql://ada@127.0.0.1:1/db?password=s3cr%26t",
    "postgresql://ada:s3cr&t@127.0.0.1:1/db?schema=Not A Name",
    "postgresql://ada:s3cr&t@127.0.0.1:1/db?unknown_word=1",
    "postgresql://ada:s3cr&t@[::1/db",
    "postgresql://ada:s3cr&t/@#?@127.0.0.1:1/db",
    "mysql://ada:s3cr&t@127.0.0.1/db",
    "host=127.0.0.1 password=s3cr&t",
]


@pytest.mark.parametrize("url", PASSWORDS)
def test_a_password_is_never_shown(url, tmp_path):
    """Whatever is wrong with an address, its password is not told, nor is it by anything that was
    raised on the way.
    """
    with pytest.raises((InvalidInputError, StoreUnavailableError)) as caught:
        open_store(url, tmp_path / "x", utcnow)
    exc = caught.value
    while exc is not None:
        assert "s3cr" not in f"{exc} {exc!r}"
        exc = exc.__cause__


def test_an_open_store_shows_no_password(postgres_url, tmp_path):
    """Neither the store, nor its server, nor what a child inherits prints it; the address handed to
    the child has it.
    """
    url = postgres_url.replace("//vespera@", "//vespera:s3cret@")
    if url == postgres_url:
        url += "&password=s3cret"
    with Orchestrator.open(tmp_path, store=url) as orch:
        orch.initialize_session("secret")
        context = orch.spawn_agent_with_context()
        store = orch._store
        database = store._database
        for shown in (store, database, database.address, orch, context):
            assert "s3cret" not in f"{shown!r} {shown}"
        assert context.environ()["VESPERA_ORCHESTRATOR_STORE"] == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///db", {"dbname": "db"}),
        (
            "postgresql://ada:x%40y@h1:1,h2:2/db?schema=mine&options=-ca%3Db+c",
            {"host": "h1,h2", "port": "1,2", "options": "-ca=b+c"},
        ),
        (
            "postgres://?host=/tmp&user=ada&connect_timeout=3&schema=mine",
            {"host": "/tmp", "user": "ada", "connect_timeout": "3"},
        ),
    ],
)
def test_an_address_is_libpqs(url, expected):
    """Whatever libpq understands is handed to it as it was written; only the schema is ours."""
    address = Address(url)
    assert expected.items() <= address.parameters.items()
    assert address.schema == ("mine" if "schema" in url else "vespera")


@pytest.mark.parametrize(
    "name", ["", "Upper", "1st", "a-b", "pg_own", 'x"; DROP SCHEMA public', "x" * 64]
)
def test_a_schema_has_a_plain_name(postgres, name):
    """Anything else is refused before a server is asked."""
    with pytest.raises(InvalidInputError, match="not a valid name for a schema"):
        PostgresStore.open(f"{postgres}{'&' if '?' in postgres else '?'}schema={quote(name)}")


def test_what_is_missing_is_told(postgres, tmp_path):
    """A server that is not there, a database or user that does not exist: each with what helps."""
    for url, match in (
        (
            f"postgresql://x@/x?host={quote(str(tmp_path), safe='')}",
            "see that it runs and that the address is right",
        ),
        (postgres.replace("/postgres?", "/no_such_database?"), "no_such_database"),
        (postgres.replace("//vespera@", "//nobody_at_all@"), "nobody_at_all"),
    ):
        with pytest.raises(StoreUnavailableError, match=match) as caught:
            PostgresStore.open(url)
        assert caught.value.retryable


def test_the_extra_is_named_when_it_is_missing():
    """Without psycopg the error says what to install."""
    code = """
import sys
sys.modules["psycopg"] = None
from vespera_orchestrator import errors
from vespera_orchestrator.stores import open_store
try:
    open_store("postgresql://x/y", None, None)
except errors.MissingDependencyError as exc:
    print(exc)
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    install = "python -m pip install 'vespera-orchestrator[postgres]'"
    assert said == f"{MissingDependencyError('the PostgreSQL store', 'psycopg', install)}\n"


# --- the schema -------------------------------------------------------------------------


def test_processes_may_open_a_new_store_at_the_same_moment(postgres_url):
    """However many open a store that does not exist yet, all succeed, and there is one schema."""
    code = """
def work(number):
    store = PostgresStore.open(url)
    start_session(store)
    store.close()
    return True
done(ok=at_once(6, work))
"""
    assert answer(child(code, postgres_url)) == {"ok": [True] * 6}
    store = PostgresStore.open(postgres_url)
    assert len(store.sessions()) == 6
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(store, postgres_url, schema, db):
    """A schema that a newer version made is refused with the way to upgrade, and nothing in it
    changes.
    """
    store.close()
    db.execute(f"INSERT INTO {schema}.vespera_migrations VALUES (999, 0, 'newer')")
    with pytest.raises(
        SchemaVersionError, match=r"schema version 999, this library knows up to \d+; .*--upgrade"
    ) as caught:
        PostgresStore.open(postgres_url)
    assert (caught.value.found, caught.value.supported) == (999, len(MIGRATIONS))
    assert db.execute(f"SELECT count(*) FROM {schema}.vespera_migrations").fetchone() == (
        len(MIGRATIONS) + 1,
    )


def test_another_programs_schema_is_refused_and_left_alone(postgres_url, schema, db):
    """A schema that holds somebody else's tables is never touched."""
    db.execute(f"CREATE SCHEMA {schema}")
    db.execute(f"CREATE TABLE {schema}.tasks (theirs int)")
    with pytest.raises(SchemaVersionError, match="of another program; it was left as it is"):
        PostgresStore.open(postgres_url)
    assert db.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace", (schema,)
    ).fetchall() == [("tasks",)]


def test_a_migration_is_whole_or_not_at_all(postgres_url, schema, db, monkeypatch):
    """When a step fails, the schema is as it was before; the next opening makes it whole."""
    monkeypatch.setattr(_server, "MIGRATIONS", (MIGRATIONS[0] + "SELECT 1 / 0;",))
    with pytest.raises(InvalidInputError):
        PostgresStore.open(postgres_url)
    assert db.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone() is None
    monkeypatch.undo()
    PostgresStore.open(postgres_url).close()


def test_several_stores_live_in_one_database(store, session_id, postgres):
    """Each in its schema, none sees the other."""
    name = f"test_{new_id('s')[2:]}"
    url = f"{postgres}{'&' if '?' in postgres else '?'}schema={name}"
    second = PostgresStore.open(url)
    try:
        assert second.sessions() == []
        start_session(second)
        assert [one.id for one in store.sessions()] == [session_id]
        assert second._database.log_key != store._database.log_key
        assert second.identity != store.identity
    finally:
        second.close()
        with psycopg.connect(postgres, autocommit=True) as db:
            db.execute("SET client_min_messages = warning")
            db.execute(f"DROP SCHEMA {name} CASCADE")


def test_it_knows_itself_however_it_is_addressed(store, postgres_url):
    """The same records have one identity, by whatever address and role they are opened."""
    for more in ("application_name=another", "options=-crole%3Dpg_read_all_data"):
        other = PostgresStore.open(f"{postgres_url}&{more}")
        if "role" in more:  # the schema is not that role's: only what names the server is tried
            with other._read_once() as db:
                assert (
                    str(
                        db.execute(
                            "SELECT system_identifier FROM pg_control_system()", ()
                        ).fetchone()[0]
                    )
                    in store.identity
                )
        else:
            assert other.identity == store.identity
        other.close()


def test_a_schema_that_vanished_is_told(store, session_id, schema, db):
    """Dropped while it was open: an error that says so, no crash."""
    db.execute("SET client_min_messages = warning")
    db.execute(f"DROP SCHEMA {schema} CASCADE")
    with pytest.raises(StoreUnavailableError, match="was removed while it was open"):
        store.plan(session_id, [TaskDraft(title="A")])


def test_a_server_that_may_not_be_written_is_told(postgres_url, session_id):
    """A replica, or a server set to read only: reading works, writing says so."""
    reader = PostgresStore.open(f"{postgres_url}&options=-cdefault_transaction_read_only%3Don")
    assert reader.find_session(session_id) is not None
    with pytest.raises(ReadOnlyError, match="read only"):
        reader.plan(session_id, [TaskDraft(title="A")])
    reader.close()


# --- time ---------------------------------------------------------------------------------


def test_time_is_the_servers(store, session_id, schema, db):
    """Unless a clock is given, leases and events go by the server's clock, which all machines
    share.
    """
    before = db.execute("SELECT clock_timestamp()").fetchone()[0]
    store.plan(session_id, [TaskDraft(title="A")])
    claim = store.claim(session_id, "ada", lease_s=60)
    after = db.execute("SELECT clock_timestamp()").fetchone()[0]
    assert before <= claim.attempt.started_at <= after
    assert before <= store.events()[-1].at <= after
    assert before <= store.situation(claim.task.id).as_of
    db.execute(f"UPDATE {schema}.attempts SET lease_until = lease_until - 61 * 1000000")
    assert [attempt.task_id for attempt in store.expire()] == [claim.task.id]


# --- connections ------------------------------------------------------------------------


def backends(db):
    """How many connections of ours the server has."""
    return db.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vespera_orchestrator'"
    ).fetchone()[0]


def test_connections_are_reused_and_closed(store, session_id, db):
    """Calls in a row use one connection; as many as threads are needed at most; none is left after
    ``close``.
    """
    for number in range(5):
        store.plan(session_id, [TaskDraft(title=f"A{number}")])
    assert len(store._database._idle) == 1
    threads = [
        threading.Thread(target=store.plan, args=(session_id, [TaskDraft(title="B")]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.tasks(TaskQuery())) == 9
    assert len(store._database._idle) <= 4
    store.close()
    deadline = time.monotonic() + PATIENCE_S
    while backends(db):
        assert time.monotonic() < deadline


def test_a_connection_that_was_cut_is_replaced(store, session_id, db):
    """After the server ended it, the next call opens another and works."""
    (connection,) = store._database._idle
    assert db.execute(
        "SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,)
    ).fetchone() == (True,)
    assert store.plan(session_id, [TaskDraft(title="A")])[0].alias == "a"


def test_a_connection_that_is_cut_in_the_middle_writes_nothing(store, session_id, db):
    """The error may be retried; nothing was written; the retry succeeds."""
    store.plan(session_id, [TaskDraft(title="A")])
    claim = store.claim(session_id, "ada", lease_s=60)
    pid = store._database._idle[0].info.backend_pid
    cut = lambda: db.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))  # noqa: E731
    before = (store.last_seq(), store.find_task(claim.task.id, None))
    with pytest.raises(StoreUnavailableError) as caught:
        store.finish(
            claim.task.id,
            1,
            DONE,
            agent="ada",
            artifacts=[ArtifactDraft(title="T", digest="0" * 64, size_bytes=1)],
            within=cut,
        )
    assert caught.value.retryable
    assert (store.last_seq(), store.find_task(claim.task.id, None)) == before
    assert store.artifacts(ArtifactQuery()) == []
    assert store.finish(claim.task.id, 1, DONE, agent="ada").task.status is TaskStatus.COMPLETED


def test_a_forked_child_opens_its_own_connections(postgres_url):
    """Parent and child write side by side, each on connections of its own, and the child's end
    leaves the parent's alone.
    """
    code = """
store = PostgresStore.open(url)
session = start_session(store).id
pid = os.fork()
if pid == 0:
    for n in range(10):
        store.plan(session, [TaskDraft(title=f"child {n}")])
    store.close()
    os._exit(0)
for n in range(10):
    store.plan(session, [TaskDraft(title=f"parent {n}")])
status = os.waitpid(pid, 0)[1]
store.plan(session, [TaskDraft(title="last")])
done(status=status, tasks=len(store.tasks(TaskQuery(limit=None))))
store.close()
"""
    assert answer(child(code, postgres_url)) == {"status": 0, "tasks": 21}


def test_no_thread_is_started(store, session_id):
    """Whatever is done with it, there is no thread but the caller's."""
    before = threading.enumerate()
    store.wait(store.last_seq(), 0.01)
    store.plan(session_id, [TaskDraft(title="A")])
    assert threading.enumerate() == before


# --- the server stops -----------------------------------------------------------------------


def test_a_server_that_restarts_is_found_again(own_server):
    """While it is down each call says so and may be retried; when it is back, the next call works,
    and nothing is missing.
    """
    store = PostgresStore.open(own_server.url)
    session_id = start_session(store).id
    store.plan(session_id, [TaskDraft(title="A")])
    own_server.stop()
    for call in (
        store.last_seq,
        lambda: store.plan(session_id, [TaskDraft(title="B")]),
        store.expire,
    ):
        with pytest.raises(StoreUnavailableError, match="see that it runs"):
            call()
    own_server.start()
    assert store.plan(session_id, [TaskDraft(title="B")])[0].alias == "b"
    assert [task.alias for task in store.tasks(TaskQuery())] == ["a", "b"]
    store.close()


def test_a_server_that_crashes_in_the_middle_of_a_change(own_server):
    """It is undone whole, and the same change succeeds when the server is back; what had been
    acknowledged is there.
    """
    store = PostgresStore.open(own_server.url)
    session_id = start_session(store).id
    store.plan(
        session_id, [TaskDraft(title="A"), TaskDraft(title="B", dependencies=(Dependency("a"),))]
    )
    claim = store.claim(session_id, "ada", lease_s=600)
    with pytest.raises(StoreUnavailableError):
        store.finish(
            claim.task.id, 1, DONE, agent="ada", within=lambda: own_server.stop(signal.SIGQUIT)
        )
    own_server.start()
    assert store.find_task(claim.task.id, None) == claim.task
    assert store.find_task("b", session_id).blockers == 1
    assert store.finish(claim.task.id, 1, DONE, agent="ada").task.status is TaskStatus.COMPLETED
    assert store.find_task("b", session_id).is_ready
    store.close()


class Proxy:
    """Stands between a store and its server, and breaks the connection in the moment of a
    COMMIT.
    """

    def __init__(self, target, *, before):
        self.folder = Path(tempfile.mkdtemp(prefix="vpx-"))
        self.target, self.before = target, before
        self.armed = self.shut = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        """Take connections until the listener is closed."""
        carriers = []
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                if self.shut:
                    near.close()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.target)
                carriers.append(threading.Thread(target=self.carry, args=(near, far)))
                carriers[-1].start()
        for carrier in carriers:
            carrier.join()

    def carry(self, near, far):
        """Carry bytes both ways; break when a COMMIT comes by and it is armed."""
        with near, far:
            while True:
                for one in select.select([near, far], [], [])[0]:
                    data = one.recv(65536)
                    breaks = self.armed and one is near and b"; COMMIT" in data
                    if not data or (breaks and self.before):
                        return
                    (far if one is near else near).sendall(data)
                    if breaks:
                        far.recv(65536)  # it is written; the answer is lost
                        return

    def close(self):
        """Stop."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("events", [1, 100])
def test_a_connection_lost_at_the_commit_is_cleared_up(own_server, before, events):
    """Whether the change was written is asked of the server: if so, the call succeeds; if not, it
    says that nothing was.
    """
    proxy = Proxy(str(own_server.folder / ".s.PGSQL.5432"), before=before)
    store = PostgresStore.open(
        own_server.url.replace(
            quote(str(own_server.folder), safe=""), quote(str(proxy.folder), safe="")
        )
    )
    try:
        session_id = start_session(store).id
        proxy.armed = True
        drafts = [TaskDraft(title=f"A{n}") for n in range(events)]
        if before:
            with pytest.raises(
                StoreUnavailableError,
                match="the connection was lost, and the change with it; nothing was written",
            ):
                store.plan(session_id, drafts)
            proxy.armed = False
            assert store.tasks(TaskQuery()) == []
        else:
            assert len(store.plan(session_id, drafts)) == events
            proxy.armed = False
            assert sum(store.count(TaskQuery(session_id=session_id)).values()) == events
        assert len(store.plan(session_id, [TaskDraft(title="After")])) == 1
    finally:
        store.close()
        proxy.close()


def test_an_outcome_that_nobody_can_tell_is_told_as_such(own_server, monkeypatch):
    """When the connection is lost at the commit and the server cannot be asked, the error promises
    neither; the retry is one completion.
    """
    monkeypatch.setattr(_server, "ASK_AGAIN_S", 0.2)
    proxy = Proxy(str(own_server.folder / ".s.PGSQL.5432"), before=False)
    store = PostgresStore.open(
        own_server.url.replace(
            quote(str(own_server.folder), safe=""), quote(str(proxy.folder), safe="")
        )
    )
    try:
        session_id = start_session(store).id
        store.plan(session_id, [TaskDraft(title="A")])
        claim = store.claim(session_id, "ada", lease_s=600)
        proxy.armed = proxy.shut = True
        with pytest.raises(OutcomeUnknownError, match="may or may not have been written") as caught:
            store.finish(claim.task.id, 1, DONE, agent="ada")
        assert not caught.value.retryable
        assert "nothing was written" not in str(caught.value)
        proxy.armed = proxy.shut = False
        assert store.finish(claim.task.id, 1, DONE, agent="ada").repeated
    finally:
        store.close()
        proxy.close()


# --- watching ---------------------------------------------------------------------------------


def test_waiting_is_woken_by_the_writer(store, postgres_url, session_id, monkeypatch):
    """Whoever waits is woken by the server, long before it would look by itself."""
    monkeypatch.setattr(_server, "LOOK_AGAIN_S", HOUR_S)
    other = PostgresStore.open(postgres_url)
    for _ in range(5):
        ready = threading.Event()

        def wait(ready=ready):
            seen = other.last_seq()
            ready.set()
            other.wait(seen, HOUR_S)

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        ready.wait()
        while not other._database._listening and not backends_waiting(store):
            pass
        store.plan(session_id, [TaskDraft(title="A")])
        waiter.join(PATIENCE_S)
        assert not waiter.is_alive()
    other.close()


def backends_waiting(store):
    """Whether somebody listens, as the server tells."""
    with store._database.read_once() as tx:
        sql = """
            SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted
        """
        return tx.execute(sql).fetchone()[0] > 0


def test_nobody_is_notified_when_nobody_watches(store, session_id, db):
    """A notification costs every writer; without a watcher none is sent, with one it is, and after
    its end none is again.
    """
    db.execute(f"LISTEN {store._database.channel}")
    store.plan(session_id, [TaskDraft(title="A")])
    assert list(db.notifies(timeout=0, stop_after=1)) == []
    watcher = PostgresStore.open(store.url)
    watcher.wait(watcher.last_seq(), 0.01)
    store.plan(session_id, [TaskDraft(title="B")])
    assert len(list(db.notifies(timeout=PATIENCE_S, stop_after=1))) == 1
    watcher.close()
    deadline = time.monotonic() + PATIENCE_S
    while backends_waiting(store):
        assert time.monotonic() < deadline
    store.plan(session_id, [TaskDraft(title="C")])
    assert list(db.notifies(timeout=0, stop_after=1)) == []


# --- what PostgreSQL cannot take ------------------------------------------------------------------


@pytest.mark.parametrize("many", [1, 100])
def test_a_nul_is_refused_as_input(store, session_id, many):
    """In a text it is refused, one by one and copied, and nothing is written; in JSON it is
    kept.
    """
    before = store.last_seq()
    with pytest.raises(InvalidInputError, match="cannot store"):
        store.plan(session_id, [TaskDraft(title="a\0b")] * many)
    assert store.last_seq() == before
    store.plan(session_id, [TaskDraft(title="a", context={"x\0": "\0"})] * many)
    assert store.tasks(TaskQuery())[0].context == {"x\0": "\0"}


# --- locks -------------------------------------------------------------------------------------


def test_holders_do_not_wait_for_each_other(store, session_id, postgres_url):
    """While one task is being finished, slowly, others are claimed, renewed, checkpointed and given
    artifacts, in the same session.
    """
    store.plan(session_id, [TaskDraft(title=f"T{n}", alias=f"t{n}") for n in range(3)])
    first, second = (store.claim(session_id, f"agent {n}", lease_s=600) for n in range(2))
    other = PostgresStore.open(f"{postgres_url}")
    other._database._idle[0].execute("SET lock_timeout = '2s'")
    done = []

    def meanwhile():
        other.renew(second.task.id, 1, lease_s=600)
        other.checkpoint(second.task.id, 1, {}, lease_s=600)
        other.save_artifact(
            session_id,
            ArtifactDraft(title="T", digest="0" * 64, size_bytes=1),
            task_id=second.task.id,
            attempt=1,
            agent="agent 1",
        )
        done.append(other.claim(session_id, "agent 2", lease_s=600).task.alias)

    store.finish(first.task.id, 1, DONE, agent="agent 0", within=meanwhile)
    assert done == ["t2"]
    other.close()


def test_a_task_that_somebody_looks_at_is_not_taken_for_none(store, session_id, postgres, schema):
    """A ready task whose row is locked for a moment is waited for, not passed over as if nothing
    were ready.
    """
    store.plan(session_id, [TaskDraft(title="A")])
    with psycopg.connect(postgres) as other:
        other.execute(f"SELECT 1 FROM {schema}.tasks FOR NO KEY UPDATE")
        release = threading.Timer(0.3, other.rollback)
        release.start()
        assert store.claim(session_id, "ada", lease_s=60).task.alias == "a"
        release.join()


def test_a_stopped_writer_holds_nobody_up_for_long(store, session_id, monkeypatch):
    """A lock that is not let go ends in an error that may be retried, not in waiting for ever."""
    store.plan(session_id, [TaskDraft(title="A")])
    claim = store.claim(session_id, "ada", lease_s=60)
    monkeypatch.setattr(_server, "LOCK_WAIT_S", 1)
    other = PostgresStore.open(store.url)

    def within():
        with pytest.raises(StoreUnavailableError, match="kept it locked"):
            other.cancel(claim.task.id, "", subtree=False)

    store.finish(claim.task.id, 1, DONE, agent="ada", within=within)
    with pytest.raises(LeaseLostError):
        other.renew(claim.task.id, 1, lease_s=60)
    other.close()


def test_a_large_plan_is_copied(store, session_id):
    """Tasks, edges and events of a large plan, with the tallies right."""
    drafts = [
        TaskDraft(
            title=f"T{n}",
            alias=f"t{n}",
            dependencies=tuple(Dependency(f"t{m}") for m in range(max(0, n - 3), n)),
        )
        for n in range(3000)
    ]
    store.plan(session_id, drafts)
    assert store.count(TaskQuery(session_id=session_id)) == {TaskStatus.PENDING: 3000}
    assert len(store.events(kinds=["task_planned"], limit=None)) == 3000


def test_a_ledger_keeps_all_writers_out(store, session_id, postgres_url):
    """Whoever writes rows by themselves waits for writers, and they for it, without an error; rows
    may come in any order.
    """
    other = PostgresStore.open(postgres_url)
    trouble, over = [], threading.Event()

    def work():
        try:
            while not over.is_set():
                task = other.plan(session_id, [TaskDraft(title="T")])[0]
                other.finish(task.id, None, DONE, agent="ada")
        except BaseException as exc:  # noqa: BLE001 - a thread's error must not be lost
            trouble.append(exc)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(10):
        with store.ledger(write=True) as ledger:
            before = ledger.count("events")
            for task in list(ledger.rows("tasks"))[:1]:
                ledger.change("tasks", {"id": task["id"]}, {"description": f"{number}"})
            assert ledger.count("events") == before
    over.set()
    for thread in threads:
        thread.join()
    assert trouble == []
    task = store.plan(session_id, [TaskDraft(title="T")])[0]
    claim = store.claim(session_id, "ada", task_id=task.id, lease_s=60)
    with store.ledger(write=True) as ledger:
        rows = {
            table: [r for r in ledger.rows(table) if task.id in {r.get("id"), r.get("task_id")}]
            for table in ("attempts", "tasks")
        }
        ledger.remove("tasks", [{"id": task.id}])  # what refers to it is still there
        ledger.put("tasks", rows["tasks"])
    assert store.find_task(task.id, None) == claim.task
    assert store.attempts(task.id) == [claim.attempt]
    assert sum(store.count(TaskQuery(session_id=session_id)).values()) == len(
        store.tasks(TaskQuery(limit=None))
    )
    other.close()


def test_what_somebody_put_into_the_schema_is_named(store, postgres_url):
    """A trigger, a rule or a view decides about rows; ours may be turned off, or do something
    else.
    """
    address = Address(postgres_url)
    with store.ledger() as ledger:
        assert list(ledger.problems()) == []
    with psycopg.connect(**address.parameters, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {address.schema}")
        connection.execute(
            "CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE TRIGGER evil BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION evil()"
        )
        connection.execute("CREATE RULE quiet AS ON DELETE TO effects DO INSTEAD NOTHING")
        connection.execute("CREATE VIEW all_tasks AS SELECT * FROM tasks")
        connection.execute("ALTER TABLE tasks DISABLE TRIGGER tasks_tallied_out")
    with store.ledger() as ledger:
        problems = "\n".join(ledger.problems())
    assert "the trigger 'evil' was not made by this library" in problems
    assert "DROP TRIGGER evil ON events" in problems
    assert "the rule 'quiet' was not made by this library" in problems
    assert "the view 'all_tasks' was not made by this library" in problems
    assert "the trigger 'tasks_tallied_out' is turned off" in problems
