"""The floor: the same SQL, on the same schema with the same settings, written by hand on sqlite3.

It has no records, rules or errors. It does what a plan, a claim and a completion cannot do without.
What the library does besides is what the ratio shows: resolving aliases, refusing circles, fencing
with a reason, recognizing a completion that is sent twice, following conditions, making records.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vespera_orchestrator._model import (
    ArtifactDraft,
    Ending,
    NextAction,
    Session,
    TaskDraft,
    new_id,
    utcnow,
)
from vespera_orchestrator.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = "What the one who does it must know. " * 8
"""About 0.3 KB, as a short description has."""
LEASE_US = 900_000_000

_EDGE = "INSERT INTO dependencies VALUES (?, ?, ?, 'success', 0, ?)"
_EVENT = "INSERT INTO events (at, kind, session_id, task_id, agent, data) VALUES (?, ?, ?, ?, ?, ?)"
_CLAIM = """
    UPDATE tasks SET status = 'in_progress', attempts = attempts + 1, updated_at = ?
    WHERE id = (
        SELECT id FROM tasks WHERE session_id = ? AND status = 'pending' AND blockers = 0
        ORDER BY priority DESC, urgency DESC, seq LIMIT 1
    )
    RETURNING id, attempts
"""
_COMPLETE = """
    UPDATE tasks SET status = 'completed', summary = 'done', updated_at = ?, ended_at = ?
    WHERE id = ? AND status = 'in_progress' AND attempts = ? RETURNING title
"""
_END_ATTEMPT = """
    UPDATE attempts SET ended_at = ?, ending = 'completed' WHERE task_id = ? AND number = ?
"""
_COUNT_DOWN = """
    UPDATE dependencies SET met = 1 WHERE needs_id = ? AND met = 0 AND on_outcome = 'success'
    RETURNING task_id
"""
_TASK_COLUMNS = (
    "id",
    "alias",
    "session_id",
    "title",
    "priority",
    "blockers",
    "created_at",
    "updated_at",
)
_ATTEMPT_COLUMNS = ("task_id", "number", "agent", "started_at", "lease_until", "last_sign_at")
_ARTIFACT_COLUMNS = (
    "id",
    "session_id",
    "task_id",
    "attempt",
    "agent",
    "title",
    "digest",
    "size_bytes",
    "created_at",
)


class _Insert:
    """An INSERT of rows like one that the library wrote, but for some columns."""

    def __init__(self, like: sqlite3.Row, table: str, own: tuple[str, ...]) -> None:
        others = [name for name in like.keys() if name not in {"seq", *own}]  # noqa: SIM118 - a Row iterates over its values
        columns = [*own, *others]
        slots = ", ".join("?" for _ in columns)
        self.sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({slots})"
        self._others = tuple(like[name] for name in others)

    def row(self, *own: object) -> tuple[object, ...]:
        return (*own, *self._others)


@lru_cache(maxsize=1)
def _inserts() -> tuple[_Insert, _Insert, _Insert]:
    """Return how tasks, attempts and artifacts are written.

    That is learned from the library's own rows, so that new columns need no change here.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.db"
        session_id = new_store(path)
        with closing(SQLiteStore.open(path)) as store, closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            task = store.plan(session_id, [TaskDraft(title="Task", description=DESCRIPTION)])[0]
            planned = db.execute("SELECT * FROM tasks").fetchone()
            store.claim(session_id, "main", lease_s=LEASE_US / 1e6)
            running = db.execute("SELECT * FROM attempts").fetchone()
            draft = ArtifactDraft(title="Task", digest="0" * 64, size_bytes=9)
            ending = Ending(action=NextAction.COMPLETE, summary="done")
            store.finish(task.id, 1, ending, agent="main", artifacts=[draft])
            saved = db.execute("SELECT * FROM artifacts").fetchone()
    return (
        _Insert(planned, "tasks", _TASK_COLUMNS),
        _Insert(running, "attempts", _ATTEMPT_COLUMNS),
        _Insert(saved, "artifacts", _ARTIFACT_COLUMNS),
    )


def new_store(path: Path) -> str:
    """Make a database of ours with a session in it, and return the session's id."""
    store = SQLiteStore.open(path)
    session = store.start_session(
        Session(
            id=new_id("s"),
            goal="",
            project_type=None,
            parent_session_id=None,
            context={},
            created_at=utcnow(),
            updated_at=utcnow(),
        )
    )
    store.close()
    return session.id


class ByHand:
    """A database made by `new_store`, used without the library."""

    def __init__(self, path: Path, *, busy_s: float = 5.0) -> None:
        self.path = path
        self.db = sqlite3.connect(path, timeout=busy_s, isolation_level=None)
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("PRAGMA foreign_keys=ON")
        self._task, self._attempt, self._artifact = _inserts()
        first = self.db.execute("SELECT id FROM sessions ORDER BY seq LIMIT 1").fetchone()
        self.session_id: str = first[0]

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def _event(
        self, at: int, kind: str, task_id: str, agent: str | None, data: dict[str, object]
    ) -> None:
        self.db.execute(_EVENT, (at, kind, self.session_id, task_id, agent, json.dumps(data)))

    def plan(self, number: int, needs: Sequence[str], *, priority: int = 0) -> str:
        """Plan a task: look the dependencies up, write the task, its edges and an event."""
        task_id, now = new_id("t"), _now()
        alias, title = f"task_{number}", f"Task {number}"
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            slots = ", ".join("?" for _ in needs)
            sql = f"SELECT id, status FROM tasks WHERE id IN ({slots})"
            statuses = dict(self.db.execute(sql, needs).fetchall())
            met = [statuses[other] == "completed" for other in needs]
            row = self._task.row(
                task_id, alias, self.session_id, title, priority, met.count(False), now, now
            )
            self.db.execute(self._task.sql, row)
            edges = [
                (task_id, other, position, met[position]) for position, other in enumerate(needs)
            ]
            self.db.executemany(_EDGE, edges)
            self._event(now, "task_planned", task_id, None, {"alias": alias, "title": title})
        return task_id

    def claim(self, agent: str = "main") -> tuple[str, int] | None:
        """Take the best ready task: the task, an attempt, an event."""
        now = _now()
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            row = self.db.execute(_CLAIM, (now, self.session_id)).fetchone()
            if row is None:
                return None
            task_id, number = row
            attempt = self._attempt.row(task_id, number, agent, now, now + LEASE_US, now)
            self.db.execute(self._attempt.sql, attempt)
            self._event(now, "task_started", task_id, agent, {"attempt": number})
            return task_id, number

    def complete(
        self, task_id: str, attempt: int, digest: str, size: int, agent: str = "main"
    ) -> None:
        """Complete a task under its fence.

        Written are an artifact, the task, its attempt, the dependents' counters and two events.
        """
        now, artifact_id = _now(), new_id("a")
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            row = self.db.execute(_COMPLETE, (now, now, task_id, attempt)).fetchone()
            if row is None:
                raise RuntimeError(task_id)
            (title,) = row
            saved = self._artifact.row(
                artifact_id, self.session_id, task_id, attempt, agent, title, digest, size, now
            )
            self.db.execute(self._artifact.sql, saved)
            about = {"artifact": artifact_id, "title": title}
            self._event(now, "artifact_saved", task_id, agent, about)
            self.db.execute(_END_ATTEMPT, (now, task_id, attempt))
            dependents = self.db.execute(_COUNT_DOWN, (task_id,)).fetchall()
            sql = "UPDATE tasks SET blockers = blockers - 1 WHERE id = ?"
            self.db.executemany(sql, dependents)
            data = {"attempt": attempt, "artifacts": [artifact_id], "summary": "done"}
            self._event(now, "task_completed", task_id, agent, data)

    def fill(self, count: int) -> None:
        """Put *count* tasks in, each with two dependencies.

        The first seven tenths of them are completed, with all that leaves behind.
        """
        now, completed = _now(), count * 7 // 10
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            self._fill_tasks(count, completed, now)
            self._fill_completions(completed, now)
            self._fill_events(count, completed, now)
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _fill_tasks(self, count: int, completed: int, now: int) -> None:
        tasks, edges = [], []
        for number in range(count):
            needs = _needs(number)
            unmet = sum(other >= completed for other in needs)
            blockers = unmet if number >= completed else 0
            names = f"t_{number}", f"old_{number}", self.session_id, f"Old {number}"
            tasks.append(self._task.row(*names, -1, blockers, now, now))
            for position, other in enumerate(needs):
                edges.append((f"t_{number}", f"t_{other}", position, other < completed))
        self.db.executemany(self._task.sql, tasks)
        self.db.executemany(_EDGE, edges)

    def _fill_completions(self, completed: int, now: int) -> None:
        sql = "UPDATE tasks SET status = 'completed', attempts = 1, ended_at = ? WHERE seq <= ?"
        self.db.execute(sql, (now, completed))
        attempts, artifacts = [], []
        for number in range(completed):
            task_id = f"t_{number}"
            attempts.append(self._attempt.row(task_id, 1, "main", now, now, now))
            names = f"a_{number}", self.session_id, task_id, 1, "main", f"Old {number}"
            artifacts.append(self._artifact.row(*names, secrets.token_hex(32), 9, now))
        self.db.executemany(self._attempt.sql, attempts)
        self.db.execute("UPDATE attempts SET ended_at = ?, ending = 'completed'", (now,))
        self.db.executemany(self._artifact.sql, artifacts)

    def _fill_events(self, count: int, completed: int, now: int) -> None:
        data = json.dumps({"alias": "old", "title": "Old", "artifact": "a_0"})
        for kind, number_of_tasks in (
            ("task_planned", count),
            ("task_started", completed),
            ("artifact_saved", completed),
            ("task_completed", completed),
        ):
            ids = (f"t_{number}" for number in range(number_of_tasks))
            rows = [(now, kind, self.session_id, task_id, "main", data) for task_id in ids]
            self.db.executemany(_EVENT, rows)


def _needs(number: int) -> list[int]:
    """Return the numbers of the tasks that one of `ByHand.fill` waits for."""
    near, far = number - 1 - number % 7, number - 9 - number % 41
    return [other for other in (near, far) if other >= 0]


def copy_store(source: Path, target: Path) -> Path:
    """Copy a database that nobody has open."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return shutil.copyfile(source, target)


def put_content(folder: Path, content: bytes) -> tuple[str, int]:
    """Store bytes under their digest as durably as the library does.

    File and folders are synced, and the file is renamed into place.
    """
    digest = hashlib.sha256(content).hexdigest()
    place = folder / digest[:2] / digest[2:]
    temporary = folder / secrets.token_hex(8)
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    place.parent.mkdir(exist_ok=True)
    os.replace(temporary, place)
    for parent in (place.parent, folder):
        handle = os.open(parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return digest, len(content)


def _now() -> int:
    return time.time_ns() // 1000
