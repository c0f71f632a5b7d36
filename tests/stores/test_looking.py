"""A SQLite store that is only looked at: nothing is written, whoever else lives or died there."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
import signal
import sqlite3
from datetime import timedelta

import pytest

from support.children import answer, python
from support.stores import start_session
from vespera_orchestrator._model import Dependency, TaskDraft, TaskQuery
from vespera_orchestrator.contracts import Store
from vespera_orchestrator.errors import (
    ReadOnlyError,
    SchemaVersionError,
    StoreUnavailableError,
)
from vespera_orchestrator.stores.sqlite import SQLiteStore, looking
from vespera_orchestrator.stores.sqlite.looking import READING_METHODS, DisturbedError, Way
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS
from vespera_orchestrator.testing import ManualClock


def stamps(folder):
    """Return names, sizes and times of all files of *folder*.

    Without opening one: closing a file drops the locks that SQLite holds on it in this process.
    """
    found = {}
    for place in (folder, *folder.iterdir()):
        status = place.stat()
        found[place.name] = (status.st_size, status.st_mtime_ns)
    return found


def fingerprint(folder):
    """Return the same with all bytes; only while this process has no database open."""
    return stamps(folder), {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def path(tmp_path):
    """A database with a session and one task, which nobody has open."""
    path = tmp_path / "home" / "orchestrator.db"
    path.parent.mkdir()
    with contextlib.closing(SQLiteStore.open(path)) as store:
        session = start_session(store, "s_looking")
        store.plan(session.id, [TaskDraft(title="Before")])
    return path


@contextlib.contextmanager
def opened(path, **options):
    """Open the store to look at it."""
    with contextlib.closing(SQLiteStore.open(path, readonly=True, **options)) as store:
        yield store


def titles(store):
    """Return the titles of all tasks."""
    return [task.title for task in store.tasks(TaskQuery(limit=None))]


def way(store):
    """Return how the store is read at the moment."""
    return store._database._looking.way


WRITER = """
from vespera_orchestrator.stores.sqlite import SQLiteStore
store = SQLiteStore.open(sys.argv[1])
for line in map(str.strip, sys.stdin):
    if line == "kill":
        os.kill(os.getpid(), 9)
    if line == "close":
        store.close()
    else:
        store.plan("s_looking", [TaskDraft(title=line)])
    done()
"""


class Writer:
    """Another process that has the store open, and does as it is told."""

    def __init__(self, path):
        self.process = python(WRITER, path)

    def tell(self, line):
        """Have it plan a task of this title, or close the store, and wait until it has."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline()

    def kill(self):
        """Have it die at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def writer(path):
    """A writer, ended with the test."""
    writer = Writer(path)
    yield writer
    writer.process.kill()
    writer.process.communicate()


def test_a_store_that_nobody_has_open_is_left_as_it_is(path):
    """No log, no shared memory, no gate, no copy."""
    before = fingerprint(path.parent)
    with opened(path) as store:
        assert titles(store) == ["Before"]
        assert (way(store), store._database._looking.copy) == (Way.STILL, None)
        assert stamps(path.parent) == before[0]
    assert fingerprint(path.parent) == before


def test_what_a_living_writer_wrote_is_seen_at_once(path, writer):
    """Though it is in the log only; and later writes are seen as well."""
    writer.tell("First")
    before = fingerprint(path.parent)
    with opened(path) as store:
        assert titles(store) == ["Before", "First"]
        assert way(store) is Way.LIVE
        assert stamps(path.parent) == before[0]
        writer.tell("Second")
        before = (stamps(path.parent),)
        assert titles(store) == ["Before", "First", "Second"]
        assert stamps(path.parent) == before[0]


def test_what_a_killed_writer_wrote_is_seen(path, writer):
    """Its log is read, and left for the next writer."""
    writer.tell("First")
    writer.kill()
    before = fingerprint(path.parent)
    assert "orchestrator.db-wal" in before[0]
    with opened(path) as store:
        assert titles(store) == ["Before", "First"]
        assert (way(store), store._database._looking.copy) == (Way.LIVE, None)
    assert fingerprint(path.parent) == before


def test_a_log_without_its_shared_memory_is_read_from_a_copy(path, writer):
    """As after a power cut. The copy goes with the store."""
    writer.tell("First")
    writer.kill()
    (path.parent / "orchestrator.db-shm").unlink()
    before = fingerprint(path.parent)
    with opened(path) as store:
        assert titles(store) == ["Before", "First"]
        copy = store._database._looking.copy.path
        assert copy.exists()
    assert not copy.parent.exists()
    assert fingerprint(path.parent) == before


def test_whoever_looks_goes_along_with_writers_that_come_and_go(path):
    """A store that was still, has a writer, and is still again."""
    with opened(path) as store:
        assert titles(store) == ["Before"]
        for title in ("First", "Second"):
            writer = Writer(path)
            writer.tell(title)
            assert titles(store)[-1] == title
            assert way(store) is Way.LIVE
            writer.tell("close")
            writer.process.communicate()
            assert titles(store)[-1] == title
    with opened(path) as store:
        assert titles(store) == ["Before", "First", "Second"]


def test_what_was_read_while_somebody_wrote_is_read_again(path, monkeypatch):
    """Whole transactions come and go in the middle of a read. None of it is seen in part."""
    code = """
from vespera_orchestrator.stores.sqlite import SQLiteStore
store = SQLiteStore.open(sys.argv[1])
store.plan("s_looking", [TaskDraft(title="Meanwhile " + str(n)) for n in range(50)])
store.close()
done()
"""
    with opened(path) as store:
        read = looking.Looking.was_disturbed
        comers = [lambda: answer(python(code, path))]

        def somebody_comes_first(self):
            if comers:
                comers.pop()()
            return read(self)

        assert titles(store) == ["Before"]
        monkeypatch.setattr(looking.Looking, "is_current", lambda _: True)
        monkeypatch.setattr(looking.Looking, "was_disturbed", somebody_comes_first)
        assert len(titles(store)) == 51
    assert comers == []


def test_who_is_disturbed_all_the_time_is_told(path, monkeypatch):
    """And may try again."""
    monkeypatch.setattr(looking, "_LONGEST_PAUSE_S", 0.0)
    with opened(path) as store:
        monkeypatch.setattr(looking.Looking, "was_disturbed", lambda _: True)
        with pytest.raises(StoreUnavailableError, match="others write it all the time") as caught:
            store.tasks(TaskQuery())
        assert caught.value.retryable
        assert not isinstance(caught.value, DisturbedError)


def test_a_store_of_an_earlier_version_is_read_and_left_as_it_is(path):
    """A copy of it is brought up to date instead."""
    old = path.with_name("old.db")
    with contextlib.closing(sqlite3.connect(old)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(MIGRATIONS[0])
        db.execute("INSERT INTO migrations VALUES (1, 0, 'old')")
        row = "('s_old', 'Old', NULL, NULL, '{}', 0)"
        columns = "id, goal, project_type, parent_session_id, context, created_at"
        db.execute(f"INSERT INTO sessions ({columns}) VALUES {row}")
        db.execute("PRAGMA user_version=1")
        db.execute(f"PRAGMA application_id={0x56455350}")
        db.commit()
    before = fingerprint(path.parent)
    with opened(old) as store:
        assert store.find_session("s_old").goal == "Old"
    assert fingerprint(path.parent) == before


def test_a_store_of_a_newer_version_is_refused(path):
    """As ever."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(SchemaVersionError):
        SQLiteStore.open(path, readonly=True)


def test_a_store_that_does_not_exist_is_told_and_not_made(tmp_path):
    """It would be empty."""
    with pytest.raises(StoreUnavailableError, match="does not exist"):
        SQLiteStore.open(tmp_path / "none.db", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_the_clock_goes_on_for_whoever_looks(tmp_path):
    """A lease that is over, and a task that wakes, are seen as the next writer will see them; the
    log holds nothing of it, and the file is left as it is.
    """
    path, clock = tmp_path / "orchestrator.db", ManualClock()
    with contextlib.closing(SQLiteStore.open(path, clock=clock)) as store:
        session_id = start_session(store).id
        asleep = clock() + timedelta(hours=1)
        drafts = [TaskDraft(title="Held"), TaskDraft(title="Asleep", not_before=asleep)]
        held, _ = store.plan(session_id, drafts)
        store.claim(session_id, "ada", task_id=held.id, lease_s=60)
        last_seq = store.last_seq()
    before = fingerprint(tmp_path)
    with opened(path, clock=clock) as store:
        assert store.expire() == store.ready(session_id, 10) == []
        clock.advance(7200)
        assert store.expire() == []
        assert {task.title for task in store.ready(session_id, 10)} == {"Held", "Asleep"}
        assert store.last_seq() == last_seq
        assert stamps(tmp_path) == before[0]


def test_the_order_is_that_of_the_next_writer(path):
    """Tasks that nobody has weighed yet are weighed in a copy."""
    drafts = [
        TaskDraft(title="Short", estimated_effort="1 hour"),
        TaskDraft(title="Long", alias="long", estimated_effort="1 hour"),
        TaskDraft(
            title="Behind", dependencies=(Dependency(task="long"),), estimated_effort="9 hours"
        ),
    ]
    with contextlib.closing(SQLiteStore.open(path)) as store:
        store.plan("s_looking", drafts)
    with opened(path) as store:
        assert store.ready("s_looking", 1)[0].title == "Long"


def test_every_method_of_a_store_reads_or_is_refused(path):
    """None is forgotten: what is not in the list of those that read writes, and says that it
    cannot.
    """
    others = {"close", "identity", "url", "observe", "wait", "ledger", "shrink"}
    members = {name for name in vars(Store) if not name.startswith("_")}
    writing = members - others - set(READING_METHODS)
    assert set(READING_METHODS) < members
    assert len(writing) > 20
    before = fingerprint(path.parent)
    with opened(path) as store:
        for name in sorted(writing):
            method = getattr(store, name)
            needed = [
                parameter
                for parameter in inspect.signature(method).parameters.values()
                if parameter.default is inspect.Parameter.empty
            ]
            by_place = [None for each in needed if each.kind is not each.KEYWORD_ONLY]
            by_name = {each.name: None for each in needed if each.kind is each.KEYWORD_ONLY}
            with pytest.raises(ReadOnlyError, match="readonly=True"):
                method(*by_place, **by_name)
        with pytest.raises(ReadOnlyError, match="readonly=True"), store.ledger(write=True):
            pass
        with pytest.raises(ReadOnlyError, match="readonly=True"):
            store.shrink()
    assert fingerprint(path.parent) == before


def test_waiting_ends_when_another_process_writes(path, writer):
    """Whoever watches sees it, though nothing tells them."""
    with opened(path) as store:
        seq = store.last_seq()
        store.wait(seq, 0.0)
        writer.tell("News")
        store.wait(seq, 60.0)
        assert store.last_seq() > seq


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else")
def test_a_file_that_may_not_be_read_is_told(public_path):
    """Not as one that cannot be written."""
    path = public_path / "orchestrator.db"
    SQLiteStore.open(path).close()
    path.chmod(0o600)
    code = """
from vespera_orchestrator.stores.sqlite import SQLiteStore
os.setgid(65534); os.setuid(65534)
try:
    SQLiteStore.open(sys.argv[1], readonly=True)
except errors.StoreUnavailableError as exc:
    done(said=str(exc))
"""
    assert "may not be read" in answer(python(code, path))["said"]


def test_a_fork_and_its_parent_both_look_on(path):
    """Each opens its own, and the copy of one outlives the other."""
    with contextlib.closing(SQLiteStore.open(path)) as store:
        store.plan(
            "s_looking",
            [TaskDraft(title="A"), TaskDraft(title="B", dependencies=(Dependency(task="a"),))],
        )
    with opened(path) as store:
        assert len(store.ready("s_looking", 5)) == 2
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                code = 0 if len(store.ready("s_looking", 5)) == 2 else 2
                store.close()
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert len(store.ready("s_looking", 5)) == 2


def test_a_home_copied_without_its_shared_memory_is_the_same(path, writer, tmp_path):
    """Copying a home copies the log, and whoever looks reads both."""
    writer.tell("First")
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("orchestrator.db", "orchestrator.db-wal"):
        shutil.copyfile(path.parent / name, copied / name)
    with opened(copied / "orchestrator.db") as store:
        assert titles(store) == ["Before", "First"]
