"""The PostgreSQL store against the same SQL written by hand on psycopg.

By one process and by eight. Needs the extra ``postgres``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contention import Comparison, Round, run_round, take_all
from measure import Row, Scale, say
from store import LEASE_S, Side, play
from vespera_orchestrator._model import (
    ArtifactDraft,
    Dependency,
    Ending,
    NextAction,
    Session,
    TaskDraft,
    new_id,
    utcnow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DESCRIPTION = "What the one who does it must know. " * 8
_LEASE_US = int(LEASE_S * 1e6)
_CLAIM = """
    WITH best AS (
        SELECT seq FROM tasks WHERE session_id = $1 AND status = 'pending' AND blockers = 0
        ORDER BY priority DESC, urgency DESC, seq LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE tasks SET status = 'in_progress', attempts = attempts + 1, updated_at = $2
    FROM best WHERE tasks.seq = best.seq RETURNING id, attempts
"""
_EVENT = """
    INSERT INTO events (at, kind, session_id, task_id, agent, data)
    VALUES ($1, $2, $3, $4, $5, $6)
"""
_COMPLETE = """
    UPDATE tasks SET status = 'completed', summary = 'done', updated_at = $1, ended_at = $1
    WHERE id = $2 AND attempts = $3 AND status = 'in_progress'
"""
_END_ATTEMPT = """
    UPDATE attempts SET ended_at = $1, ending = 'completed' WHERE task_id = $2 AND number = $3
"""
_COUNT_DOWN = """
    UPDATE dependencies SET met = 1 WHERE needs_id = $1 AND met = 0 RETURNING task_id
"""


class ByHand:
    """A schema that the library made, used without it: no records, rules or errors.

    It takes the same locks, so that nothing goes wrong.
    """

    def __init__(self, url: str, session_id: str) -> None:
        import psycopg

        address, _, schema = url.rpartition("&schema=")
        self.session_id = session_id
        self.db = psycopg.connect(
            address, autocommit=True, prepare_threshold=1, cursor_factory=psycopg.RawCursor
        )
        self.db.execute(f"SET search_path = {schema}")
        self._inserts = {table: self._learn(table) for table in ("tasks", "attempts", "artifacts")}

    def _learn(self, table: str) -> tuple[list[str], list[Any]]:
        cursor = self.db.execute(f"SELECT * FROM {table} LIMIT 1")
        row = cursor.fetchone()
        names = [column.name for column in cursor.description or ()]
        return names, list(row or ())

    def _insert(self, table: str, **given: Any) -> None:
        names, row = self._inserts[table]
        values = {
            name: given.get(name, value)
            for name, value in zip(names, row, strict=True)
            if name != "seq"
        }
        slots = ", ".join(f"${number + 1}" for number in range(len(values)))
        self.db.execute(
            f"INSERT INTO {table} ({', '.join(values)}) VALUES ({slots})", list(values.values())
        )

    def _lock(self, lock: str, key: object) -> None:
        self.db.execute("BEGIN")
        if key:
            self.db.execute(lock, [key])

    def _write_events(self, *events: Sequence[Any]) -> None:
        self.db.execute("SELECT pg_advisory_xact_lock(4711)")
        for event in events:
            self.db.execute(_EVENT, event)
        self.db.execute("COMMIT")

    def plan(self, number: int, needs: Sequence[str]) -> str:
        """Plan a task: look the dependencies up, write the task, its edges and an event."""
        task_id, now = new_id("t"), time.time_ns() // 1000
        self._lock("SELECT 1 FROM sessions WHERE id = $1 FOR NO KEY UPDATE", self.session_id)
        done = dict(
            self.db.execute(
                "SELECT id, status = 'completed' FROM tasks WHERE id = ANY($1)", [list(needs)]
            ).fetchall()
        )
        task = {
            "id": task_id,
            "alias": f"task_{number}",
            "session_id": self.session_id,
            "title": f"Task {number}",
            "created_at": now,
        }
        self._insert(
            "tasks",
            **task,
            status="pending",
            attempts=0,
            blockers=sum(not done[other] for other in needs),
            weighed=1,
        )
        edges = [[task_id, other, place, int(done[other])] for place, other in enumerate(needs)]
        with self.db.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO dependencies VALUES ($1, $2, $3, 'success', 0, $4)", edges
            )
        self._write_events(
            (
                now,
                "task_planned",
                self.session_id,
                task_id,
                None,
                json.dumps({"alias": f"task_{number}"}),
            )
        )
        return task_id

    def claim(self, agent: str = "main") -> tuple[str, int] | None:
        """Take the best ready task: the task, an attempt, an event."""
        now = time.time_ns() // 1000
        self._lock("", None)
        row = self.db.execute(_CLAIM, [self.session_id, now]).fetchone()
        if row is None:
            self.db.execute("COMMIT")
            return None
        self._insert(
            "attempts",
            task_id=row[0],
            number=row[1],
            agent=agent,
            started_at=now,
            lease_until=now + _LEASE_US,
            ended_at=None,
        )
        self._write_events(
            (now, "task_started", self.session_id, row[0], agent, json.dumps({"attempt": row[1]}))
        )
        return row[0], row[1]

    def complete(self, task_id: str, attempt: int, digest: str, agent: str = "main") -> None:
        """Complete a task under its fence.

        Written are an artifact, the task, its attempt, the dependents' counters and two events.
        """
        now, artifact_id = time.time_ns() // 1000, new_id("a")
        self._lock("SELECT 1 FROM sessions WHERE id = $1 FOR NO KEY UPDATE", self.session_id)
        self.db.execute(_COMPLETE, [now, task_id, attempt])
        self._insert(
            "artifacts",
            id=artifact_id,
            task_id=task_id,
            attempt=attempt,
            digest=digest,
            created_at=now,
        )
        self.db.execute(_END_ATTEMPT, [now, task_id, attempt])
        dependents = [row[0] for row in self.db.execute(_COUNT_DOWN, [task_id]).fetchall()]
        sql = "UPDATE tasks SET blockers = blockers - 1 WHERE id = ANY($1)"
        self.db.execute(sql, [dependents])
        data = json.dumps({"attempt": attempt, "artifacts": [artifact_id]})
        kinds = ("artifact_saved", "task_completed")
        events = [(now, kind, self.session_id, task_id, agent, data) for kind in kinds]
        self._write_events(*events)


def rows(scale: Scale) -> list[Row]:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        install = "python -m pip install 'vespera-orchestrator[postgres]'"
        say(f"postgres: left out, as psycopg is not installed: {install}")
        return []
    with ExitStack() as stack:
        try:
            address = stack.enter_context(_server())
        except (ImportError, LookupError) as exc:
            say(f"postgres: left out, {exc}")
            return []
        return [*_one_process(scale, address, stack), *_many_processes(scale, address)]


@contextmanager
def _server() -> Iterator[str]:
    """Provide the address of a database.

    It is the one named in the environment, or that of a server of our own, which syncs like any.
    """
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.postgres_server import GIVEN, Server

    if os.environ.get(GIVEN):
        yield os.environ[GIVEN]
        return
    server = Server.make(durable=True)
    try:
        yield server.url
    finally:
        server.remove()


def _new(address: str) -> tuple[str, str, Any]:
    from vespera_orchestrator.stores.postgres import PostgresStore

    url = f"{address}{'&' if '?' in address else '?'}schema=bench_{new_id('s')[2:]}"
    store = PostgresStore.open(url)
    session_id = store.start_session(
        Session(
            id=new_id("s"),
            goal="",
            project_type=None,
            parent_session_id=None,
            context={},
            created_at=utcnow(),
            updated_at=utcnow(),
        )
    ).id
    task = store.plan(session_id, [TaskDraft(title="Task", description=DESCRIPTION)])[
        0
    ]  # rows to learn from
    _operations(store, session_id)[1](store.claim(session_id, "main", lease_s=LEASE_S))
    return url, task.session_id, store


def _operations(store: Any, session_id: str) -> tuple[Callable[[], Any], Callable[[Any], str]]:
    def hand_in(claim: Any) -> str:
        draft = ArtifactDraft(title=claim.task.title, digest="0" * 64, size_bytes=9)
        ending = Ending(action=NextAction.COMPLETE, summary="done")
        return str(
            store.finish(
                claim.task.id, claim.attempt.number, ending, agent="main", artifacts=[draft]
            ).task.id
        )

    return lambda: store.claim(session_id, "main", lease_s=LEASE_S), hand_in


def _one_process(scale: Scale, address: str, stack: ExitStack) -> list[Row]:
    count, rounds = scale.pick(200, 20), scale.pick(7, 2)
    _, session_id, store = _new(address)
    take, hand_in = _operations(store, session_id)

    def plan(_: int, needs: Sequence[str]) -> str:
        return str(
            store.plan(
                session_id,
                [
                    TaskDraft(
                        title="Task",
                        description=DESCRIPTION,
                        dependencies=tuple(map(Dependency, needs)),
                    )
                ],
            )[0].id
        )

    url, session, other = _new(address)
    other.close()
    floor = ByHand(url, session)
    sides = {
        "store": Side(plan, lambda _: hand_in(take()), store.close),
        "hand": Side(
            floor.plan,
            lambda _: floor.complete(*floor.claim() or ("", 0), "0" * 64),
            floor.db.close,
        ),
    }
    planned, lived = play(sides, count, rounds, stack)
    sql = "same SQL by hand on psycopg"
    return [
        Row.of(
            "PostgreSQL, plan, store (CPU of the client)", planned["store"], sql, planned["hand"]
        ),
        Row.of(
            "PostgreSQL, claim + complete, store (CPU of the client)",
            lived["store"],
            sql,
            lived["hand"],
        ),
    ]


def _many_processes(scale: Scale, address: str) -> list[Row]:
    tasks, repetitions = scale.pick(1000, 40), scale.pick(3, 1)
    rounds: dict[str, list[Round]] = {"store": [], "hand": []}
    for _ in range(repetitions):
        for way, rounds_of_way in rounds.items():
            url, session_id, store = _new(address)
            store.plan(session_id, [TaskDraft(title=f"Task {number}") for number in range(tasks)])
            store.ready(session_id, 1)
            store.close()
            rounds_of_way.append(run_round(drain, way, url, session_id))
    comparison = Comparison(
        name="PostgreSQL store",
        tasks=tasks,
        ours=rounds["store"],
        against="same SQL by hand on psycopg",
        floor=rounds["hand"],
    )
    return comparison.rows()


def drain(way: str, url: str, session_id: str, gate: Any, reports: Any) -> None:
    """Drain the session's queue, in this process."""
    if way == "store":
        from vespera_orchestrator.stores.postgres import PostgresStore

        take, hand_in = _operations(PostgresStore.open(url), session_id)
        take_all(take, hand_in, gate, reports)
        return
    floor = ByHand(url, session_id)

    def complete(claim: Any) -> str:
        floor.complete(*claim, "0" * 64)
        return str(claim[0])

    take_all(floor.claim, complete, gate, reports)
