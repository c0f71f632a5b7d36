"""The SQLite store under what the world does to it: many processes, kills, full disks, damage,
other programs, hostile plans.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import tempfile
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.children import answer, python
from support.stores import start_session
from vespera_orchestrator._model import (
    ArtifactQuery,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    new_id,
    utcnow,
)
from vespera_orchestrator.contracts import Store
from vespera_orchestrator.errors import (
    CorruptStoreError,
    InvalidInputError,
    ReadOnlyError,
    SchemaVersionError,
    StoreUnavailableError,
)
from vespera_orchestrator.orchestrator import Orchestrator
from vespera_orchestrator.stores import open_store
from vespera_orchestrator.stores.sqlite import SQLiteStore
from vespera_orchestrator.stores.sqlite import errors as _errors
from vespera_orchestrator.stores.sqlite.looking import LookingCopy
from vespera_orchestrator.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS

HELD_NOW = "SCAN attempts USING INDEX attempts_lease"
"""How the attempts that are held now are looked through; there are few."""
PATIENT = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def path(tmp_path):
    """Where a store may be made."""
    return tmp_path / "orchestrator.db"


@pytest.fixture
def store(path):
    """A store in a file."""
    opened = SQLiteStore.open(path)
    yield opened
    opened.close()


PRELUDE = """
from vespera_orchestrator.stores.sqlite import SQLiteStore
argv = sys.argv[1:]
"""


def child(code, *args, **how):
    """Start a Python process that runs *code* after the prelude."""
    return python(PRELUDE + code, *args, **how)


def bytes_of(folder):
    """Every file below *folder* with its bytes, a database's own side files left out when they are
    empty.
    """
    return {
        p.name: p.read_bytes()
        for p in sorted(folder.iterdir())
        if p.is_file() and not p.name.endswith("-shm") and p.stat().st_size
    }


# --- the contract at a glance -------------------------------------------------------


def test_it_keeps_the_contract(store, path):
    """It is a `Store`, opens by address, and says under which address another process finds it."""
    assert isinstance(store, Store)
    assert store.url == f"sqlite:///{path}"
    for address in (store.url, None):
        open_store(address, path, utcnow).close()
    with pytest.raises(InvalidInputError, match="not the address of a store"):
        open_store("mysql://x", path, utcnow)


def test_it_knows_itself_from_its_copies(store, path, tmp_path):
    """Who opens the same file has the same records; a copy, a file made anew in its place, and any
    store in memory have others.
    """
    others = [SQLiteStore.open(path), SQLiteStore.open(None), SQLiteStore.open(None)]
    store.copy_to(tmp_path / "copy.db")
    others.append(SQLiteStore.open(tmp_path / "copy.db"))
    identities = [store.identity, *(other.identity for other in others)]
    assert identities[0] == identities[1]
    assert len(set(identities)) == 4
    for each in (store, *others):
        each.close()
    path.unlink()
    anew = SQLiteStore.open(path)
    assert anew.identity not in identities
    anew.close()


def test_memory_is_of_this_process_only():
    """A store in memory is a fresh one each time and leaves no file."""
    first, second = SQLiteStore.open(None), SQLiteStore.open(None)
    start_session(first)
    assert (len(first.sessions()), len(second.sessions()), first.url) == (1, 0, "memory:")
    first.close()
    second.close()


# --- many at once -------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 8])
def test_processes_may_open_a_new_store_at_the_same_moment(path, count):
    """However many open a store that does not exist yet, all succeed, and there is one schema."""
    code = """
def work(number):
    store = SQLiteStore.open(argv[0])
    start_session(store, f"s_{number}")
    seq = store.last_seq()
    store.close()
    return seq
done(seqs=at_once(int(argv[1]), work))
"""
    assert max(answer(child(code, path, count))["seqs"]) == count
    store = SQLiteStore.open(path)
    assert len(store.sessions()) == count
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM migrations").fetchone()[0] == len(MIGRATIONS)
    db.close()


def test_a_new_file_has_the_tables_that_the_steps_make(path):
    """They are packaged in their final form; ``python tests/stores/make_today.py`` writes that."""
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid"
    SQLiteStore.open(path).close()
    with contextlib.closing(sqlite3.connect(path)) as made:
        tables = made.execute(sql).fetchall()
        versions = made.execute("SELECT version FROM migrations ORDER BY version").fetchall()
    with contextlib.closing(sqlite3.connect(":memory:")) as stepwise:
        for step in MIGRATIONS:
            stepwise.executescript(step)
        assert tables == stepwise.execute(sql).fetchall()
    assert versions == [(number,) for number in range(1, len(MIGRATIONS) + 1)]


def test_a_store_that_is_being_made_is_not_taken_for_another_programs(path, monkeypatch):
    """While one process looks whose file it is, another may make the schema; that is no foreign
    file.
    """
    monkeypatch.setattr(_errors, "LOCK_WAIT_S", 0.05)
    store = SQLiteStore.open(path.with_name("other.db"))

    class Slow(sqlite3.Connection):
        """A connection to a new file; before it looks at the tables, another process makes the
        schema, unless it is kept out.
        """

        def execute(self, sql, *values):
            if "sqlite_master" in sql:
                with contextlib.suppress(StoreUnavailableError):
                    SQLiteStore.open(path).close()
            return super().execute(sql, *values)

    slow = sqlite3.connect(path, factory=Slow, isolation_level=None, timeout=0)
    try:
        store._database._prepare(slow)
    finally:
        slow.close()
        store.close()
    opened = SQLiteStore.open(path)
    assert opened.last_seq() == 0
    opened.close()


def test_threads_share_one_orchestrator(tmp_path):
    """Eight threads on one object: each task is won once, and what they write adds up."""
    orch = Orchestrator.open(tmp_path, home=tmp_path / "home")
    orch.initialize_session("g")
    orch.plan_tasks(
        [{"title": "Sum", "alias": "sum", "children": [{"title": f"T{n}"} for n in range(80)]}]
    )
    trouble = []

    def work(number):
        try:
            for _ in range(10):
                with orch.execute_task(agent=f"agent {number}") as held:
                    held.checkpoint({"n": number})
                    held.complete(summary="s", detailed_work=f"work of {number}")
        except BaseException as exc:  # noqa: BLE001 - a thread's error must not be lost
            trouble.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trouble == []
    assert [task.alias for task in orch.ready_tasks()] == ["sum"]
    assert orch.get_task("sum").blockers == 0
    orch.close()


def test_a_forked_child_opens_its_own_connection(path):
    """After ``fork`` parent and child write side by side, and what the child wrote outlives the
    parent's close; memory does not follow.
    """
    code = """
import sqlite3
import tempfile
store, memory = SQLiteStore.open(argv[0]), SQLiteStore.open(None)
session = start_session(store)
readable, writable = os.pipe()
pid = os.fork()
if pid == 0:
    try:
        for n in range(30):
            store.plan(session.id, [TaskDraft(title=f"child {n}")])
        os.read(readable, 1)
        for n in range(5):
            store.plan(session.id, [TaskDraft(title=f"child later {n}")])
        try:
            memory.last_seq()
        except errors.StoreUnavailableError as exc:
            assert "fork" in str(exc)
            os._exit(0)
    finally:
        os._exit(1)
for n in range(30):
    store.plan(session.id, [TaskDraft(title=f"parent {n}")])
store.close()
os.write(writable, b"x")
status = os.waitpid(pid, 0)[1]
assert memory.last_seq() == 0
again = SQLiteStore.open(argv[0])
check = sqlite3.connect(argv[0]).execute("PRAGMA integrity_check").fetchone()[0]
done(status=status, tasks=len(again.tasks(TaskQuery(limit=None))), check=check)
"""
    assert answer(child(code, path)) == {"status": 0, "tasks": 65, "check": "ok"}


# --- killed -------------------------------------------------------------------------


def test_no_acknowledged_write_is_lost_when_the_writer_is_killed(path):
    """Ten writers are killed with SIGKILL in mid-flight: whatever one of them was told is written
    is there, whole, with its events.
    """
    code = """
store = SQLiteStore.open(argv[0])
session = argv[1]
n = 0
while True:
    title = f"{os.getpid()} {n}"
    task, _ = store.plan(session, [TaskDraft(title=title), TaskDraft(title=f"{title} after")])
    claim = store.claim(session, "w", task_id=task.id, lease_s=600)
    ending = Ending(action=NextAction.COMPLETE, summary=f"{n}")
    artifact = ArtifactDraft(title=f"A{n}", digest=f"{n:064}", size_bytes=1)
    store.finish(task.id, 1, ending, agent="w", artifacts=[artifact])
    print(task.id, flush=True)
    n += 1
"""
    store = SQLiteStore.open(path)
    session_id = start_session(store).id
    acknowledged = []
    for kill in range(10):
        writer = child(code, path, session_id)
        acknowledged += [writer.stdout.readline().strip() for _ in range(3 + 2 * kill)]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        rest = writer.stdout.read().splitlines()
        acknowledged += [line for line in rest if len(line) == len(new_id("t"))]
        writer.stdin.close()
        writer.stdout.close()
    store.close()
    store = SQLiteStore.open(path)
    completed = {
        task.id: task for task in store.tasks(TaskQuery(status=(TaskStatus.COMPLETED,), limit=None))
    }
    assert len(acknowledged) >= 120
    assert set(acknowledged) <= set(completed)
    brought = {artifact.task_id for artifact in store.artifacts(ArtifactQuery())}
    told = {event.task_id for event in store.events(kinds=("task_completed",), limit=None)}
    assert set(completed) == brought == told
    everything = store.tasks(TaskQuery(limit=None))
    assert len(everything) % 2 == 0, "a plan of two was half written"
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    db.close()


# --- files that are not as they should be -----------------------------------------------


def full(path):
    """Make a store with enough in it to fill many pages, and close it."""
    store = SQLiteStore.open(path)
    session_id = start_session(store).id
    store.plan(
        session_id, [TaskDraft(title=f"Task {n}", description="x" * 300) for n in range(200)]
    )
    store.close()
    return session_id


def test_a_newer_schema_is_refused_and_left_alone(path, tmp_path):
    """A file that a newer version made is refused with the way to upgrade, and not one byte of it
    changes.
    """
    full(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=999")
    db.close()
    before = bytes_of(tmp_path)
    with pytest.raises(
        SchemaVersionError, match=r"schema version 999, this library knows up to \d+; .*--upgrade"
    ) as caught:
        SQLiteStore.open(path)
    assert (caught.value.found, caught.value.supported) == (999, len(MIGRATIONS))
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize("owner", [(0, 0), (0, 7), (12345, 0), (12345, 1)])
def test_another_programs_database_is_refused_and_left_alone(path, tmp_path, owner):
    """A database that is not ours is never touched, whatever numbers its owner keeps in it."""
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.execute(f"PRAGMA application_id={owner[0]}")
        db.execute(f"PRAGMA user_version={owner[1]}")
    db.close()
    before = bytes_of(tmp_path)
    with pytest.raises(
        SchemaVersionError, match="database of another program; it was left as it is"
    ):
        SQLiteStore.open(path)
    assert bytes_of(tmp_path) == before


def overwritten_header(path):
    """The first hundred bytes are gone."""
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)


def text_file(path):
    """It is something else altogether."""
    path.write_text("this is no database\n" * 500)


def truncated(path):
    """The second half is missing."""
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def garbage_page(path):
    """The page that the table of tasks starts on holds garbage."""
    with sqlite3.connect(path) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tasks'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("damage", [overwritten_header, text_file, truncated, garbage_page])
def test_a_damaged_file_is_told_and_left_alone(path, tmp_path, damage):
    """Damage is told with what to do, when the store is opened or when the damaged part is met, and
    the file stays as it was found.
    """
    session_id = full(path)
    damage(path)
    before = bytes_of(tmp_path)

    def use():
        store = SQLiteStore.open(path)
        try:
            with pytest.raises(CorruptStoreError):
                store.plan(session_id, [TaskDraft(title="One more")])
            store.tasks(TaskQuery(limit=None))
        finally:
            store.close()

    with pytest.raises(
        CorruptStoreError,
        match=r"is damaged .* it was left as it is\. Copy it somewhere safe first",
    ) as caught:
        use()
    assert caught.value.store == str(path)
    assert not caught.value.retryable
    assert bytes_of(tmp_path) == before


def test_a_home_with_a_damaged_store_opens_as_an_error(tmp_path):
    """The same through the front door."""
    home = tmp_path / "home"
    Orchestrator.open(tmp_path, home=home).close()
    text_file(home / "orchestrator.db")
    with pytest.raises(CorruptStoreError):
        Orchestrator.open(tmp_path, home=home)


NOBODY = """
def become_nobody():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
def meet(call):
    become_nobody()
    try:
        call()
    except errors.VesperaError as exc:
        done(error=type(exc).__name__, said=str(exc))
    else:
        done(error=None)
"""


def test_a_folder_that_cannot_be_written_is_told(public_path):
    """A new home in a read-only folder: the error names the folder and the ways out, and nothing is
    made.
    """
    public_path.chmod(0o555)
    code = (
        NOBODY
        + "from vespera_orchestrator.orchestrator import Orchestrator\n"
        + "meet(lambda: Orchestrator.open(argv[0]))"
    )
    said = answer(child(code, public_path))
    assert said["error"] == "ReadOnlyError"
    assert "VESPERA_ORCHESTRATOR_HOME" in said["said"]
    assert str(public_path) in said["said"]
    assert list(public_path.iterdir()) == []


LOOK = (
    NOBODY
    + """
import vespera_orchestrator as vespera
def make(project):
    orch = vespera.open(project)
    orch.initialize_session("Boil water")
    orch.plan_task("A")
    orch.artifacts.save("Notes", "hot")
    return orch
def look(orch, elsewhere):
    os.mkdir(elsewhere)
    looks = [orch.get_status, orch.next_step, orch.resume, orch.query_tasks, orch.check]
    looks += [orch.list_sessions, orch.session_status, lambda: orch.why("a")]
    looks += [lambda: orch.artifacts.text(orch.artifacts.list()[0])]
    looks += [lambda: orch.export(elsewhere + "/all.jsonl"), lambda: orch.backup(elsewhere + "/b")]
    return [str(look()) for look in looks]
os.mkdir(argv[1] + "/warm")
with make(argv[1] + "/warm") as warm:  # what is imported on the way is imported while it can be
    look(warm, argv[1] + "/first")
become_nobody()
orch = vespera.open(argv[0])
looking = orch._store._database._looking
looked = look(orch, argv[1] + "/second")
refused = []
for write in (lambda: orch.plan_task("B"), lambda: orch.execute_task("a")):
    try:
        write()
    except vespera.ReadOnlyError as exc:
        refused.append(str(exc))
orch.close()
done(looked=looked, refused=refused, way=looking and looking.way.name)
"""
)


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_home_that_cannot_be_written_can_be_looked_at(public_path, is_closed):
    """Where SQLite would have to make files, the file is read as one that nobody writes. Nothing
    is written, and whoever tries is told that it cannot be.
    """
    project, elsewhere = public_path / "project", public_path / "elsewhere"
    for folder in (project, elsewhere):
        folder.mkdir()
        folder.chmod(0o777)
    orch = Orchestrator.open(project)
    orch.initialize_session("Boil water")
    orch.plan_task("A")
    orch.artifacts.save("Notes", "hot")
    if is_closed:
        orch.close()
    for place in [*project.rglob("*"), project]:
        place.chmod(0o555 if place.is_dir() else 0o444)
    before = bytes_of(project)
    said = answer(child(LOOK, project, elsewhere))
    assert "Boil water" in said["looked"][0]
    assert "hot" in said["looked"]
    assert all("cannot be written" in text for text in said["refused"])
    assert len(said["refused"]) == 2
    assert said["way"] == ("STILL" if is_closed else None)
    assert bytes_of(project) == before
    orch.close()


def test_a_store_that_cannot_be_written_is_told(public_path):
    """A store in a folder that has become read-only, when it is opened or at the latest when it is
    written.
    """
    path = public_path / "orchestrator.db"
    session_id = full(path)
    path.chmod(0o444)
    public_path.chmod(0o555)
    before = bytes_of(public_path)
    said = answer(
        child(
            NOBODY
            + "meet(lambda: SQLiteStore.open(argv[0]).plan(argv[1], [TaskDraft(title='A')]))",
            path,
            session_id,
        )
    )
    assert (said["error"], str(path) in said["said"]) == ("ReadOnlyError", True)
    assert bytes_of(public_path) == before


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    """A home that is a file, and a store that is a folder, are told as what cannot be written."""
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ReadOnlyError):
        Orchestrator.open(tmp_path, home=tmp_path / "home")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(ReadOnlyError):
        SQLiteStore.open(tmp_path / "folder.db")


def test_a_full_disk_writes_nothing_and_says_so(store, session_id):
    """When there is no room, the whole operation is undone, the error may be retried, and with room
    again it succeeds.
    """
    db = store._database._connection
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count={pages + 2}")
    before = (store.last_seq(), store.tasks(TaskQuery(limit=None)))
    plan = [TaskDraft(title=f"T{n}", description="x" * 1000) for n in range(50)]
    with pytest.raises(
        StoreUnavailableError, match="the disk is full: free some space; nothing was written"
    ) as caught:
        store.plan(session_id, plan)
    assert caught.value.retryable
    assert (store.last_seq(), store.tasks(TaskQuery(limit=None))) == before
    db.execute("PRAGMA max_page_count=1000000")
    assert len(store.plan(session_id, plan)) == 50


def test_a_write_that_the_system_refuses_is_undone(path):
    """When the system itself refuses to let the file grow, nothing is half written and the store
    can be used again.
    """
    code = """
import resource
store = SQLiteStore.open(argv[0])
session = start_session(store).id
store.plan(session, [TaskDraft(title="before")])
grown = max(os.path.getsize(argv[0]), os.path.getsize(argv[0] + "-wal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (grown + 20_000, resource.RLIM_INFINITY))
try:
    store.plan(session, [TaskDraft(title=f"T{n}", description="x" * 1000) for n in range(100)])
except errors.StoreUnavailableError as exc:
    said = str(exc)
tasks = len(store.tasks(TaskQuery(limit=None)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.plan(session, [TaskDraft(title="after")])
done(said=said, tasks=tasks, then=len(store.tasks(TaskQuery(limit=None))), seq=store.last_seq())
"""
    said = answer(child(code, path))
    assert "nothing was written, it is safe to try again" in said["said"]
    assert (said["tasks"], said["then"], said["seq"]) == (1, 2, 3)


# --- plans ------------------------------------------------------------------------------


@PATIENT
@given(st.lists(st.text(max_size=12).filter(str.strip), max_size=12))
def test_any_titles_make_a_plan(titles):
    """Every title gives a task with an alias of its own, or is refused as text that no file can
    hold.
    """
    store = SQLiteStore.open(None)
    session = start_session(store).id
    try:
        planned = store.plan(session, [TaskDraft(title=title) for title in titles])
    except InvalidInputError:
        assert any("\ud800" <= char <= "\udfff" for title in titles for char in title)
    else:
        assert len({task.alias for task in planned}) == len(titles)
        assert [task.title for task in store.tasks(TaskQuery(limit=None))] == titles
    finally:
        store.close()


# --- the queue stays fast ---------------------------------------------------------------


def test_what_is_asked_at_every_call_is_answered_by_an_index(store, session_id):
    """Claiming, listing what is ready and noticing lapsed holds cost the same in a store of any
    size: nothing is scanned or sorted.
    """
    asked = []
    db = store._database._connection
    db.set_trace_callback(asked.append)
    assert store.claim(session_id, "ada", lease_s=60) is None
    assert store.ready(session_id, 10) == store.expire() == []
    db.set_trace_callback(None)
    selects = [sql for sql in asked if sql.lstrip().startswith("SELECT")]
    assert len(selects) >= 3
    for sql in selects:
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "USING" in plan
        assert "INDEX" in plan
        assert "SCAN" not in plan.replace(HELD_NOW, "").replace("SCAN CONSTANT ROW", "")
        assert "TEMP B-TREE" not in plan


@pytest.mark.usefixtures("store")
def test_the_file_is_marked_as_ours(path):
    """The application id names the file's owner, so that other versions and programs can tell."""
    db = sqlite3.connect(path)
    assert (
        db.execute("PRAGMA application_id").fetchone()[0]
        == APPLICATION_ID
        == int.from_bytes(b"VESP", "big")
    )
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


def test_a_path_too_long_for_sqlite_is_told(tmp_path):
    """Making it writable would not help."""
    folder = tmp_path.joinpath(*["long" * 50] * 3)
    folder.mkdir(parents=True)
    with pytest.raises(ReadOnlyError, match="at most 512"):
        SQLiteStore.open(folder / "orchestrator.db")


def test_what_is_only_in_the_log_is_copied_too(tmp_path):
    """After a crash the last changes are nowhere else."""
    path = tmp_path / "orchestrator.db"
    store = SQLiteStore.open(path)
    session_id = start_session(store).id
    store.plan(session_id, [TaskDraft(title="A", alias="a")])
    copy = LookingCopy(path)
    with contextlib.closing(sqlite3.connect(copy.path)) as connection:
        assert connection.execute("SELECT alias FROM tasks").fetchall() == [("a",)]
    copy.remove()
    copy.remove()
    assert not copy.path.parent.exists()
    store.close()


def test_no_room_for_a_copy_is_told(tmp_path, monkeypatch):
    """And nothing is left of it."""
    path = tmp_path / "orchestrator.db"
    SQLiteStore.open(path).close()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StoreUnavailableError, match="no copy could be made"):
        LookingCopy(path)
    assert list(tmp_path.glob("vespera-*")) == []


def test_a_copy_to_look_at_that_has_no_place_is_told(tmp_path, monkeypatch):
    """Where no temporary file can be made, the error is ours and names the folder."""
    path = tmp_path / "store.db"
    SQLiteStore.open(path).close()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreUnavailableError, match="gone"):
        LookingCopy(path)
