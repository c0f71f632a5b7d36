"""Many processes on one store, on SQLite and on PostgreSQL: nothing is won twice, nothing hangs,
nothing is missed, nothing is lost.
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading

import psycopg
import pytest

from support.children import answer, python
from support.stores import start_session
from vespera_orchestrator._model import (
    ArtifactQuery,
    Dependency,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    utcnow,
)
from vespera_orchestrator.stores import open_store
from vespera_orchestrator.tasks import lifecycle

WORKER = """
url, session, name, *argv = sys.argv[1:]
def opened():
    return open_store(url, None, utcnow)
def complete(store, claim):
    artifact = ArtifactDraft(title=f"A {claim.task.alias}", digest="0" * 64, size_bytes=1)
    attempt, ending = claim.attempt, Ending(action=NextAction.COMPLETE, summary="s")
    task_id, number = claim.task.id, attempt.number
    return store.finish(task_id, number, ending, agent=attempt.agent, artifacts=[artifact])
"""


def child(code, url, session_id, name, *args):
    """Start a worker that runs *code*."""
    return python(WORKER + code, url, session_id, name, *args)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The address of a store, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'orchestrator.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def store(url):
    """The store there."""
    opened = open_store(url, None, utcnow)
    yield opened
    opened.close()


def verify(store, session_id):
    """Hold all that is counted against what is true."""
    tasks = {
        task.id: task
        for task in store.tasks(TaskQuery(session_id=session_id, limit=None, include_archived=True))
    }
    counted = {}
    for task in tasks.values():
        counted[task.status] = counted.get(task.status, 0) + 1
        situation = store.situation(task.id)
        if task.status is TaskStatus.PENDING:
            assert (
                task.blockers
                == lifecycle.readiness(task, situation.needed).blockers
                + situation.open_children_count
            ), task
        running = [attempt for attempt in store.attempts(task.id) if attempt.ended_at is None]
        assert len(running) == (task.status is TaskStatus.IN_PROGRESS), task
        assert [attempt.number for attempt in store.attempts(task.id)] == list(
            range(1, task.attempts + 1)
        )
    assert store.count(TaskQuery(session_id=session_id, include_archived=True)) == counted
    events = store.events(session_id=session_id, limit=None)
    told = [event.task_id for event in events if event.kind == "task_completed"]
    assert sorted(told) == sorted(
        task.id for task in tasks.values() if task.status is TaskStatus.COMPLETED
    )
    assert sorted(e.task_id for e in events if e.kind == "task_planned") == sorted(tasks)
    assert len([event for event in events if event.kind == "artifact_saved"]) == len(
        store.artifacts(ArtifactQuery(include_superseded=True))
    )


@pytest.mark.timeout(600)
def test_32_processes_win_each_task_once(store, url, session_id):
    """Thirty-two processes take from one queue until it is empty: each task is won and completed
    once, and nobody meets an error.
    """
    total = 96
    store.plan(session_id, [TaskDraft(title=f"T{n}", alias=f"t{n}") for n in range(total)])
    code = """
opened().close()  # all is imported before the processes part
def work(number):
    store, won, me = opened(), [], f"{name} {number}"
    while (claim := store.claim(session, me, lease_s=600)) is not None:
        won.append(claim.task.alias)
        complete(store, claim)
    return won
done(won=at_once(32, work))
"""
    won = [alias for each in answer(child(code, url, session_id, "agent"))["won"] for alias in each]
    assert sorted(won) == sorted(f"t{n}" for n in range(total))
    verify(store, session_id)
    assert store.count(TaskQuery(session_id=session_id)) == {TaskStatus.COMPLETED: total}
    kinds = [event.kind for event in store.events(limit=None)]
    assert (kinds.count("task_started"), kinds.count("task_completed")) == (total, total)


def test_dense_convergence_never_deadlocks(store, url, session_id, request):
    """Layers of twelve, each waiting for all of the layer before, eight processes: counted exactly,
    and nobody waits in a circle.
    """
    width, depth = 12, 5
    names = [[f"l{layer}_{n}" for n in range(width)] for layer in range(depth)]
    store.plan(
        session_id,
        [
            TaskDraft(
                title=name,
                alias=name,
                dependencies=tuple(map(Dependency, names[layer - 1])) if layer else (),
            )
            for layer in range(depth)
            for name in names[layer]
        ],
    )
    code = """
opened().close()
def work(number):
    store, finished = opened(), 0
    while store.count(TaskQuery(session_id=session, status=(TaskStatus.PENDING,))):
        claim = store.claim(session, f"{name} {number}", lease_s=600)
        if claim is not None:
            complete(store, claim)
            finished += 1
    return finished
done(finished=at_once(8, work))
"""
    finished = answer(child(code, url, session_id, "agent"))["finished"]
    assert sum(finished) == width * depth
    verify(store, session_id)
    if url.startswith("postgresql"):
        with psycopg.connect(request.getfixturevalue("postgres")) as db:
            assert db.execute("SELECT sum(deadlocks) FROM pg_stat_database").fetchone()[0] == 0


def test_a_reader_of_the_log_misses_nothing(store, url, session_id):
    """Six processes write at once in sessions of their own, another follows the log by its last
    position: it sees each event once.
    """
    writer = """
store = opened()
own = start_session(store).id
for number in range(20):
    where, count = own if number % 2 else session, 40 if number == 7 else 1
    store.plan(where, [TaskDraft(title=f"{name} {number}")] * count)
done(ok=True)
"""
    reader = """
import threading
store, seen, over = opened(), [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
while True:
    last = over.is_set()
    found = [event.seq for event in store.events(seen[-1] if seen else 0, limit=11)]
    seen += found
    if last and not found:
        break
done(seen=seen)
"""
    follower = child(reader, url, session_id, "reader")
    for one in [child(writer, url, session_id, f"writer {n}") for n in range(6)]:
        assert answer(one) == {"ok": True}
    follower.stdin.write("over\n")
    follower.stdin.flush()
    assert answer(follower)["seen"] == [event.seq for event in store.events(limit=None)]
    assert store.last_seq() >= 6 * 60


# --- connections and processes that are killed ---------------------------------------------------

LIFE = """
store, number = None, 0
while store is None:
    try:
        store = opened()
    except errors.StoreUnavailableError:
        time.sleep(0.05)
while True:
    number += 1
    try:
        claim = store.claim(session, name, lease_s=5)
        if claim is None:
            after = TaskDraft(title="After", dependencies=(Dependency("#0"),))
            first, _ = store.plan(session, [TaskDraft(title=f"{name} {number}"), after])
            print("planned", first.id, flush=True)
            continue
        print("claimed", claim.task.id, claim.attempt.number, flush=True)
        store.checkpoint(claim.task.id, claim.attempt.number, {"n": number}, lease_s=5)
        print("checkpointed", claim.task.id, claim.attempt.number, flush=True)
        complete(store, claim)
        print("completed", claim.task.id, flush=True)
    except (errors.StoreUnavailableError, errors.OutcomeUnknownError, errors.LeaseLostError):
        continue
"""


class Workers:
    """Processes that live, and what all of them were told so far."""

    def __init__(self, url, session_id):
        self._start = lambda name: child(LIFE, url, session_id, name)
        self._told = queue.SimpleQueue()
        self._readers = []
        self.running = []
        self.lines = []

    def start(self, name):
        """Start one more, and a thread that reads what it says."""
        worker = self._start(name)
        reader = threading.Thread(target=lambda: [*map(self._told.put, worker.stdout)])
        reader.start()
        self._readers.append((reader, worker.stdout))
        self.running.append(worker)

    def hear(self, count):
        """Wait until they were told *count* things more than now."""
        self._take_what_is_there()
        for _ in range(count):
            self.lines.append(self._told.get(timeout=120))

    def kill(self, worker):
        """End one of them at once."""
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdin.close()
        self.running.remove(worker)

    def close(self):
        """Kill all that still run."""
        for worker in [*self.running]:
            self.kill(worker)
        for reader, stdout in self._readers:
            reader.join()
            stdout.close()

    def said(self):
        """Return all that was told so far, each thing as its words."""
        self._take_what_is_there()
        whole = [line for line in self.lines if line.endswith("\n")]  # a kill may cut one off
        return [line.split() for line in whole]

    def _take_what_is_there(self):
        while not self._told.empty():
            self.lines.append(self._told.get())


def live_through(url, session_id, disturbances, disturb, most_heard):
    """Let workers live while *disturb* does its worst; return all that they were told.

    Between two disturbances they are told at most as many things as *most_heard*, at least one.
    """
    chance = random.Random(disturbances)
    workers = Workers(url, session_id)
    with contextlib.closing(workers):
        for number in range(4):
            workers.start(f"worker {number}")
        for number in range(disturbances):
            workers.hear(chance.randint(1, most_heard))
            disturb(chance, workers)
            while len(workers.running) < 4:
                workers.start(f"worker 4.{number}")
        workers.hear(1)
    return workers.said()


def hold_to(store, session_id, said):
    """Nothing that a worker was told is missing, all counts are right, and the work goes on."""
    tasks = {task.id: task for task in store.tasks(TaskQuery(session_id=session_id, limit=None))}
    for word, task_id, *number in said:
        assert task_id in tasks
        if word == "completed":
            assert tasks[task_id].status is TaskStatus.COMPLETED
        if word == "claimed":
            assert tasks[task_id].attempts >= int(number[0])
        if word == "checkpointed":
            assert store.last_checkpoint(task_id) is not None
    verify(store, session_id)
    store.plan(session_id, [TaskDraft(title="Go on")])
    assert store.claim(session_id, "ada", lease_s=60) is not None


def kill_a_worker(chance, workers):
    """SIGKILL a process."""
    workers.kill(chance.choice(workers.running))


def end_a_backend(postgres):
    """Make what ends one of our connections from the server's side."""
    ours = """
        SELECT pid FROM pg_stat_activity
        WHERE application_name = 'vespera_orchestrator' AND pid <> pg_backend_pid()
    """

    def disturb(chance, _):
        with psycopg.connect(postgres, autocommit=True) as db:
            pids = []
            while not pids:  # they are connecting again
                pids = db.execute(ours).fetchall()
            db.execute("SELECT pg_terminate_backend(%s)", chance.choice(pids))

    return disturb


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "kills", [25, pytest.param(600, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_nothing_is_lost_when_connections_are_ended(store, url, session_id, postgres, kills):
    """The server ends connections at any moment, in the midst of a commit too.

    What was acknowledged is there, and nothing is there by half.
    """
    said = live_through(url, session_id, kills, end_a_backend(postgres), 6)
    assert len(said) > kills
    hold_to(store, session_id, said)


@pytest.mark.parametrize(
    "kills", [10, pytest.param(300, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_nothing_is_lost_when_processes_are_killed(store, url, session_id, kills):
    """Workers are killed at any moment: what they were told is there, nothing is by half."""
    said = live_through(url, session_id, kills, kill_a_worker, 12)
    hold_to(store, session_id, said)


@pytest.mark.parametrize(
    "crashes", [1, pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_nothing_is_lost_when_the_server_crashes(own_server, crashes):
    """The server stops as in a crash and starts again while workers write.

    They find it again, and what they were told is there.
    """
    url = own_server.url
    store = open_store(url, None, utcnow)
    session_id = start_session(store).id

    def crash(_chance, _workers):
        own_server.stop(signal.SIGQUIT)
        own_server.start()

    said = live_through(url, session_id, crashes, crash, 40)
    hold_to(store, session_id, said)
    store.close()
