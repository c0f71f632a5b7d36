"""What the world does to a home: kills, full and failing disks, other programs, jumping clocks."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

import vespera_orchestrator as vespera
from support import TESTS
from vespera_orchestrator.errors import LeaseLostError, NotReadyError, StoreUnavailableError
from vespera_orchestrator.stores import open_store
from vespera_orchestrator.stores.sqlite import errors as _errors
from vespera_orchestrator.stores.sqlite.filesystem import kind_of_mount, network_file_system
from vespera_orchestrator.stores.sqlite.gate import Gate
from vespera_orchestrator.stores.sqlite.schema import MIGRATIONS

PATIENCE_S = 120
"""How long a busy machine may take for what takes a moment."""
KILLING = TESTS / "support" / "killing.py"


def child(code, *words):
    """Start a Python process that runs *code*."""
    command = [
        sys.executable,
        "-c",
        "import sys, os, time\nimport vespera_orchestrator as vespera\nargv = sys.argv[1:]\n"
        + code,
    ]
    return subprocess.Popen(
        [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    """Wait for a child and return what it printed."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


# --- killed, or refused, at a system call ---------------------------------------------


def killing(tmp_path, *words):
    """Run the driver; return what it found."""
    done = subprocess.run(
        [sys.executable, KILLING, "--json", tmp_path / "told.json", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return json.loads((tmp_path / "told.json").read_text())


def test_killed_at_any_call_nothing_is_lost_and_the_work_goes_on(tmp_path):
    """Some calls of some operations; ``nox -s soak`` takes every call of every operation."""
    told = killing(
        tmp_path,
        "--most",
        "2",
        "initialize_session",
        "plan a tree",
        "execute_task",
        "complete",
    )
    assert [one["tried"] for one in told] == [2] * 4


def test_an_io_error_at_any_call_is_told_and_harms_nothing(tmp_path):
    """A failed write, fsync or rename raises an error of ours, or does not matter."""
    told = killing(tmp_path, "--how", "eio", "--most", "3", "complete", "checkpoint")
    assert sum(one["refused"] for one in told) >= 3


def test_killed_while_what_was_landed_comes_in_it_is_there_or_not(tmp_path):
    """The worktree is as before or as after, and catching up again finishes it."""
    [told] = killing(tmp_path, "--most", "4", "catch up")
    assert told["tried"] == 4


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", ["kill", "eio", "enospc"])
def test_every_call_of_every_operation(tmp_path, how):
    """Nothing is lost, whichever system call is the last, or fails; the table is printed."""
    told = killing(tmp_path, "--how", how)
    print("\n".join(f"| {one['operation']} | {one['calls']} | {one['tried']} |" for one in told))


WORKER = """
with vespera.open(argv[0], agent=argv[1]) as orch:
    n = 0
    while True:
        n += 1
        try:
            task = orch.plan_task(f"{argv[1]} {n}")
            with orch.execute_task(task, lease_s=600) as work:
                work.checkpoint({"n": n})
                artifact = work.save_artifact("Notes", f"{argv[1]} {n}")
                work.complete(summary=str(n), detailed_work=f"{argv[1]} {n}")
            print(task.id, artifact.id, flush=True)
        except vespera.NotReadyError:
            pass
"""


def last_words(worker):
    """Kill a worker; return the lines that nobody has read."""
    worker.kill()
    lines = worker.stdout.read().splitlines()
    worker.communicate()
    return lines


def kill_at_random(folder, kills, seed):
    """Kill three working processes, one after the other; return what was acknowledged."""
    moments = random.Random(seed)
    with vespera.open(folder) as orch:
        orch.initialize_session("Random kills")
    acknowledged = []
    workers = []
    try:
        for number in range(kills):
            while len(workers) < 3:
                workers.append(child(WORKER, folder, f"w{number}-{len(workers)}"))
            victim = workers.pop(0)
            acknowledged.append(victim.stdout.readline())  # it is at work
            deadline = time.monotonic() + moments.uniform(0, 0.05)
            while time.monotonic() < deadline:
                pass  # a moment is shorter than a sleep
            acknowledged += last_words(victim)
    finally:
        for worker in workers:
            acknowledged += last_words(worker)
    return [
        line.split() for line in acknowledged if len(line.split()) == 2 and len(line.strip()) == 29
    ]


def expect_all(folder, acknowledged):
    """What was acknowledged is there, and the home is clean."""
    with vespera.open(folder) as orch:
        report = orch.check()
        assert report, str(report)
        for task, artifact in acknowledged:
            assert str(orch.get_task(task).status) == "completed"
            assert orch.artifacts.read(artifact)


def test_processes_killed_at_random_moments_lose_nothing(tmp_path):
    """Twelve kills among three processes; the soak takes three hundred."""
    acknowledged = kill_at_random(tmp_path, 12, seed=1)
    assert len(acknowledged) >= 12
    expect_all(tmp_path, acknowledged)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_three_hundred_kills_at_random_moments(tmp_path):
    """The same, three hundred times in one home."""
    acknowledged = kill_at_random(tmp_path, 300, seed=2)
    assert len(acknowledged) >= 300
    expect_all(tmp_path, acknowledged)


# --- the gate -------------------------------------------------------------------------


def test_the_gate_frees_itself_when_its_holder_is_killed(tmp_path):
    """A process killed inside keeps nobody out."""
    code = """
from vespera_orchestrator.stores.sqlite.gate import Gate
from pathlib import Path
gate = Gate(Path(argv[0])); gate.enter(); print("in", flush=True); time.sleep(600)
"""
    holder = child(code, tmp_path / "x.db")
    assert holder.stdout.readline() == "in\n"
    holder.kill()
    holder.communicate()
    gate = Gate(tmp_path / "x.db")
    gate.enter()
    gate.leave()
    gate.close()


def test_writers_come_in_one_after_the_other(tmp_path):
    """Two connections of one process write at once, in several threads: nothing is lost."""
    with vespera.open(tmp_path) as one, vespera.open(tmp_path) as two:
        one.initialize_session("x")
        two.resume_session(one.current_session())
        threads = [
            threading.Thread(
                target=lambda orch=orch, n=n: [orch.plan_task(f"{n} {i}") for i in range(20)]
            )
            for n, orch in enumerate((one, two) * 3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one.query_tasks(limit=None)) == 120
        assert one.check(), str(one.check())


def test_a_fork_within_the_gate_leaves_parent_and_child_their_own(tmp_path):
    """A child that was forked inside, and outlives its killed parent, keeps nobody out."""
    code = """
orch = vespera.open(argv[0]); orch.initialize_session("x")
def fork():
    child = os.fork()
    if not child:
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
work = orch.execute_task(orch.plan_task("T"))
orch._store.checkpoint(work.task.id, 1, {}, lease_s=600, within=fork)
"""
    parent = child(code, tmp_path)
    orphan = int(parent.stdout.readline())
    parent.kill()
    try:
        with vespera.open(tmp_path) as orch:
            assert orch.plan_task("Goes on").id
            assert orch.check(), str(orch.check())
    finally:
        os.kill(orphan, signal.SIGKILL)
        parent.communicate()


def test_a_gate_that_cannot_be_used_is_passed_over(tmp_path):
    """A folder in the gate's place, or any other trouble with it, keeps nobody from writing."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
    gate = tmp_path / ".task_orchestrator" / "orchestrator.db-gate"
    gate.unlink()
    gate.mkdir()
    with vespera.open(tmp_path) as orch:
        assert orch.plan_task("T").id


# --- other programs, clocks, file systems ----------------------------------------------


def test_another_programs_lock_is_waited_for_and_then_told(tmp_path, monkeypatch):
    """A program that holds SQLite's lock delays us for a while; then an error names it."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        other = sqlite3.connect(
            orch.home / "orchestrator.db", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN EXCLUSIVE")
        released = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        released.start()
        assert orch.plan_task("Waits").id
        released.join()
        monkeypatch.setattr(_errors, "LOCK_WAIT_S", 0.2)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="another program"):
            orch.plan_task("Refused")
        other.execute("ROLLBACK")
        other.close()
        assert orch.plan_task("Goes on").id
        assert orch.check(), str(orch.check())


def test_a_clock_that_jumps_nine_hours_forward(tmp_path, clock):
    """The lease lapses; its holder regains it, unless another agent took the task."""
    with (
        vespera.open(tmp_path, clock=clock) as orch,
        vespera.open(tmp_path, clock=clock, agent="other") as other,
    ):
        orch.initialize_session("x")
        other.resume_session(orch.current_session())
        one, two = orch.plan_task("One"), orch.plan_task("Two")
        slept, replaced = orch.execute_task(one), orch.execute_task(two)
        clock.now += timedelta(hours=9)
        slept.checkpoint({"after": "the jump"})
        assert slept.complete(summary="s", detailed_work="d").status == "completed"
        taken = other.execute_task(two)
        with pytest.raises(LeaseLostError) as lost:
            replaced.complete(summary="s", detailed_work="late")
        assert orch.artifacts.read(lost.value.kept_artifact_id) == b"late"
        taken.complete(summary="s", detailed_work="d")
        assert orch.check(), str(orch.check())


def test_a_clock_that_jumps_nine_hours_back(tmp_path, clock):
    """Nobody loses a lease, the log keeps its order, and a task can be taken over at once."""
    with vespera.open(tmp_path, clock=clock) as orch:
        orch.initialize_session("x")
        task = orch.plan_task("One")
        work = orch.execute_task(task)
        clock.now -= timedelta(hours=9)
        work.checkpoint({"at": 1})
        assert work.heartbeat().lease_until == clock.now + timedelta(seconds=900)
        with pytest.raises(NotReadyError):
            orch.execute_task(task)
        again = orch.execute_task(task, take_over=True)
        assert again.resumed_from.state == {"at": 1}
        again.complete(summary="s", detailed_work="d")
        assert [event.seq for event in orch._store.events()] == sorted(
            event.seq for event in orch._store.events()
        )
        assert orch.check(), str(orch.check())


MOUNTS = """\
21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 21 0:40 / /home rw shared:1 - nfs4 server:/home rw
31 30 0:41 / /home/ada/local rw - xfs /dev/sdb rw
32 21 0:42 / /mnt/with\\040space rw - fuse.sshfs ada@host: rw
33 21 0:43 / /data rw master:3 propagate_from:2 - cifs //server/data rw
34 21 0:44 / /data rw - tmpfs tmpfs rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada/project", "nfs4"),
        ("/home/ada/local/project", "xfs"),
        ("/homework", "ext4"),
        ("/mnt/with space/x", "fuse.sshfs"),
        ("/data/x", "tmpfs"),
        ("/", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_found(path, kind):
    """By the longest mount point above it, escapes and mounts on top of each other included."""
    assert kind_of_mount(MOUNTS, Path(path)) == kind


def test_this_machines_folder_is_no_network(tmp_path):
    """A database may lie where the tests run; a network file system would be refused."""
    assert network_file_system(tmp_path) is None
    assert "VESPERA_ORCHESTRATOR_HOME" in str(
        vespera.UnsupportedFileSystemError("/home/x.db", "nfs4")
    )


@pytest.mark.parametrize("way", ["argument", "config", "address"])
def test_durability_is_full_unless_chosen(tmp_path, way):
    """Argument, config.toml or address choose "normal"; children inherit it; "full" is default."""
    with vespera.open(tmp_path) as orch:
        assert orch._store._database._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert "?durability" not in orch._store.url
    if way == "config":
        config = tmp_path / ".task_orchestrator" / "config.toml"
        config.write_text(
            config.read_text().replace('# durability = "full"  ', 'durability = "normal"  ')
        )
    given = {
        "argument": {"durability": "normal"},
        "address": {"store": f"sqlite:///{tmp_path}/x.db?durability=normal"},
        "config": {},
    }[way]
    with vespera.open(tmp_path, **given) as orch:
        assert orch._store._database._connection.execute("PRAGMA synchronous").fetchone() == (1,)
        store = open_store(orch._store.url, tmp_path / "unused.db", orch._clock)
        assert store.path == orch._store.path
        assert store._database.durability == "normal"
        store.close()
    with pytest.raises(vespera.InvalidInputError, match="neither 'full' nor 'normal'"):
        vespera.open(tmp_path, durability="sloppy")


# --- watching -------------------------------------------------------------------------


def test_events_of_another_process_are_seen_as_they_come(tmp_path):
    """Every event is yielded once, in order, whoever recorded it."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        seen = orch.watch(timeout_s=PATIENCE_S)  # from the call on, not from the first look
        writer = child(
            "orch = vespera.open(argv[0])\nfor n in range(50): orch.plan_task(f'T{n}')", tmp_path
        )
        events = [next(seen) for _ in range(50)]
        finish(writer)
        seen.close()
        assert [event.data["title"] for event in events] == [f"T{n}" for n in range(50)]


def test_watching_ends(tmp_path):
    """By its time, by leaving the loop, and by close from another thread."""
    orch = vespera.open(tmp_path)
    orch.initialize_session("x")
    assert [event.kind for event in orch.watch(0, timeout_s=0.05)] == ["session_started"]
    for _ in orch.watch(0):
        break
    seen, events = queue.SimpleQueue(), orch.watch()
    watcher = threading.Thread(target=lambda: [*map(seen.put, events)])
    watcher.start()
    orch.plan_task("Look")
    assert seen.get(timeout=PATIENCE_S).kind == "task_planned"
    orch.close()
    watcher.join(PATIENCE_S)
    assert not watcher.is_alive()
    assert seen.empty()


def test_watching_is_interrupted_like_anything_else(tmp_path):
    """Ctrl-C ends it at once, and leaves a store that works."""
    code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us may ignore it
orch = vespera.open(argv[0]); orch.initialize_session("x")
# Python swallows a Ctrl-C that meets a callback of its imports: load what watching needs before.
list(orch.watch(timeout_s=0))
try:
    print("on", flush=True)
    list(orch.watch())
except KeyboardInterrupt:
    print(orch.plan_task("Still works").alias)
"""
    watcher = child(code, tmp_path)
    assert watcher.stdout.readline() == "on\n"
    watcher.send_signal(signal.SIGINT)
    assert finish(watcher) == "still_works\n"


# --- migrations -----------------------------------------------------------------------


def old_store(folder):
    """Put a store of the first schema in place, as it was left then."""
    home = folder / ".task_orchestrator"
    home.mkdir(parents=True)
    db = sqlite3.connect(home / "orchestrator.db")
    db.executescript((TESTS / "stores" / "schema-1.sql").read_text("utf-8"))
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    return home / "orchestrator.db"


def test_a_store_of_the_first_schema_opens_and_works(tmp_path):
    """It is migrated to today's schema, everything is there, and its work goes on."""
    path = old_store(tmp_path)
    with vespera.open(tmp_path) as orch:
        report = orch.check(contents=False)
        assert report, str(report)
        tasks = orch.query_tasks(session_id=orch.list_sessions()[0])
        assert {task.alias: str(task.status) for task in tasks} == {
            "first": "completed",
            "second": "pending",
            "third": "blocked",
            "recover_third": "pending",
            "held": "in_progress",
        }
        orch.resume_session(orch.list_sessions()[0])
        orch.complete_task("second", summary="s", detailed_work="d")
        assert orch.check(contents=False)
    db = sqlite3.connect(path)
    versions = [row[0] for row in db.execute("SELECT version FROM migrations ORDER BY version")]
    assert versions == list(range(1, len(MIGRATIONS) + 1))
    db.close()


NEXT = """
from vespera_orchestrator.stores.sqlite import database as _database
_database.MIGRATIONS += (
    "CREATE TABLE extra (n INTEGER) STRICT;",
    "INSERT INTO extra VALUES (1);",
    "INSERT INTO extra VALUES (2);",
)
"""


def test_eight_processes_migrate_at_once(tmp_path):
    """Each step is taken once."""
    path = old_store(tmp_path)
    everybody = [
        child(NEXT + "sys.stdin\nvespera.open(argv[0]).close()", tmp_path) for _ in range(8)
    ]
    for process in everybody:
        finish(process)
    db = sqlite3.connect(path)
    assert db.execute("SELECT n FROM extra ORDER BY n").fetchall() == [(1,), (2,)]
    count, last = db.execute("SELECT count(*), max(version) FROM migrations").fetchone()
    assert count == last == len(MIGRATIONS) + 3
    db.close()


def test_a_migration_killed_half_way_leaves_nothing_and_the_next_makes_it_whole(tmp_path):
    """Of several steps all are taken or none, so that no file stands between two versions."""
    path = old_store(tmp_path)
    killed = """
import signal
_database.MIGRATIONS = _database.MIGRATIONS[:-1] + ("INSERT INTO extra VALUES (3); SELECT die();",)
connect = _database.Database._prepare
def prepare(self, connection):
    connection.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    connect(self, connection)
_database.Database._prepare = prepare
vespera.open(argv[0])
"""
    victim = child(NEXT + killed.replace("; SELECT", ";\\nSELECT"), tmp_path)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    db = sqlite3.connect(path)
    assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchone()
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    db.close()
    finish(child(NEXT + "vespera.open(argv[0]).close()", tmp_path))
    db = sqlite3.connect(path)
    assert db.execute("SELECT n FROM extra ORDER BY n").fetchall() == [(1,), (2,)]
    db.close()


def test_opening_what_is_up_to_date_only_looks_at_the_version(tmp_path):
    """It takes no lock: a holder of the write lock does not keep others from opening."""
    with vespera.open(tmp_path) as orch:
        orch.initialize_session("x")
        with orch._store.ledger(write=True), vespera.open(tmp_path) as other:
            assert other.current_session()


# --- room -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A small disk. Where none can be mounted, the caller limits the size of files instead."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place]
    mount = subprocess.run(command, capture_output=True, check=False)
    yield place
    if mount.returncode == 0:
        subprocess.run(["umount", "-l", place], check=True)
    shutil.rmtree(place, ignore_errors=True)


def test_a_full_disk_is_told_and_what_was_acknowledged_stays(small_disk):
    """When nothing fits any more, an error says so; what was acknowledged stays."""
    code = """
import resource
if not os.path.ismount(argv[0]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
done = 0
with vespera.open(argv[0]) as orch:
    orch.initialize_session("x")
    filler = open(argv[0] + "/filler", "wb")
    try:
        while True:
            text = os.urandom(20_000).hex()
            orch.complete_task(orch.plan_task(f"T{done}"), summary="s", detailed_work=text)
            done += 1
    except vespera.VesperaError as exc:
        print(done, type(exc).__name__, exc.retryable, flush=True)
"""
    done, kind, retryable = finish(child(code, small_disk)).split()
    assert (kind, retryable) == ("StoreUnavailableError", "True")
    with contextlib.suppress(OSError):
        (small_disk / "filler").unlink()
    if small_disk.is_mount():
        subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    with vespera.open(small_disk) as orch:
        assert len(orch.query_tasks(status="completed", limit=None)) >= int(done) > 3
        assert orch.check(), str(orch.check())
        assert orch.plan_task("Room again").id
