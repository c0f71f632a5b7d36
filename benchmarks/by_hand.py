"""The floor: the same SQL, on the same schema with the same settings, written by hand on sqlite3, without records, rules or errors.

It does what a plan, a claim and a completion cannot do without. What the library does besides (resolving aliases, refusing circles,
fencing with a reason, recognising a completion that is sent twice, following conditions, making records) is what the ratio shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
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
    WHERE id = (SELECT id FROM tasks WHERE session_id = ? AND status = 'pending' AND blockers = 0 ORDER BY {order} LIMIT 1)
    RETURNING id, attempts
"""


class _Insert:
    """An INSERT of rows like one that the library wrote, but for the columns that are given."""

    def __init__(self, like: sqlite3.Row, table: str, *given: str) -> None:
        rest = [column for column in like.keys() if column not in {"seq", *given}]  # noqa: SIM118 - a Row iterates over its values
        columns = [*given, *rest]
        self.sql = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})"
        )
        self.rest = tuple(like[column] for column in rest)

    def row(self, *given: object) -> tuple[object, ...]:
        return (*given, *self.rest)


@lru_cache(maxsize=1)
def _inserts() -> tuple[_Insert, _Insert, _Insert]:
    """Return how tasks, attempts and artifacts are written, learnt from the library's own rows: new columns need no change here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.db"
        session_id = new_store(path)
        with closing(SQLiteStore.open(path)) as store, closing(sqlite3.connect(path)) as db:
            db.row_factory = sqlite3.Row
            task = store.plan(session_id, [TaskDraft(title="Task", description=DESCRIPTION)])[0]
            planned = db.execute("SELECT * FROM tasks").fetchone()
            store.claim(session_id, "main", lease_s=LEASE_US / 1e6)
            held = db.execute("SELECT * FROM attempts").fetchone()
            draft = ArtifactDraft(title="Task", digest="0" * 64, size_bytes=9)
            store.finish(
                task.id,
                1,
                Ending(action=NextAction.COMPLETE, summary="done"),
                agent="main",
                artifacts=[draft],
            )
            saved = db.execute("SELECT * FROM artifacts").fetchone()
    named = (
        "id",
        "alias",
        "session_id",
        "title",
        "priority",
        "blockers",
        "created_at",
        "updated_at",
    )
    return (
        _Insert(planned, "tasks", *named),
        _Insert(
            held,
            "attempts",
            "task_id",
            "number",
            "agent",
            "started_at",
            "lease_until",
            "last_sign_at",
        ),
        _Insert(
            saved,
            "artifacts",
            "id",
            "session_id",
            "task_id",
            "attempt",
            "agent",
            "title",
            "digest",
            "size_bytes",
            "created_at",
        ),
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
        index = self.db.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'tasks_ready'"
        ).fetchone()[0]
        self._claim = _CLAIM.format(order=re.findall(r"session_id, (.*)\)\s+WHERE", index)[0])
        self._task, self._attempt, self._artifact = _inserts()
        self.session_id: str = self.db.execute(
            "SELECT id FROM sessions ORDER BY seq LIMIT 1"
        ).fetchone()[0]

    def close(self) -> None:
        """Let go of the connection."""
        self.db.close()

    def plan(self, number: int, needs: Sequence[str], *, priority: int = 0) -> str:
        """Plan a task: look the dependencies up, write the task, its edges and an event."""
        task_id, now = new_id("t"), _now()
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" for _ in needs)
            done = {
                row[0]: row[1] == "completed"
                for row in self.db.execute(
                    f"SELECT id, status FROM tasks WHERE id IN ({marks})", needs
                )
            }
            blockers = sum(not done[other] for other in needs)
            title = f"Task {number}"
            row = self._task.row(
                task_id, f"task_{number}", self.session_id, title, priority, blockers, now, now
            )
            self.db.execute(self._task.sql, row)
            self.db.executemany(
                _EDGE,
                [(task_id, other, position, done[other]) for position, other in enumerate(needs)],
            )
            data = json.dumps({"alias": f"task_{number}", "title": title})
            self.db.execute(_EVENT, (now, "task_planned", self.session_id, task_id, None, data))
        return task_id

    def claim(self, agent: str = "main") -> tuple[str, int] | None:
        """Take the best ready task: the task, an attempt, an event."""
        now = _now()
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            row = self.db.execute(self._claim, (now, self.session_id)).fetchone()
            if row is None:
                return None
            self.db.execute(
                self._attempt.sql, self._attempt.row(*row, agent, now, now + LEASE_US, now)
            )
            self.db.execute(
                _EVENT,
                (
                    now,
                    "task_started",
                    self.session_id,
                    row[0],
                    agent,
                    json.dumps({"attempt": row[1]}),
                ),
            )
            return row[0], row[1]

    def complete(
        self, task_id: str, attempt: int, digest: str, size: int, agent: str = "main"
    ) -> None:
        """Complete a task under its fence: artifact, task, attempt, the dependents' counters, two events."""
        now, artifact_id = _now(), new_id("a")
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            row = self.db.execute(
                "UPDATE tasks SET status = 'completed', summary = 'done', updated_at = ?, ended_at = ? "
                "WHERE id = ? AND status = 'in_progress' AND attempts = ? RETURNING title",
                (now, now, task_id, attempt),
            ).fetchone()
            if row is None:
                raise RuntimeError(task_id)
            saved = self._artifact.row(
                artifact_id, self.session_id, task_id, attempt, agent, row[0], digest, size, now
            )
            self.db.execute(self._artifact.sql, saved)
            self.db.execute(
                _EVENT,
                (
                    now,
                    "artifact_saved",
                    self.session_id,
                    task_id,
                    agent,
                    json.dumps({"artifact": artifact_id, "title": row[0]}),
                ),
            )
            self.db.execute(
                "UPDATE attempts SET ended_at = ?, ending = 'completed' WHERE task_id = ? AND number = ?",
                (now, task_id, attempt),
            )
            lighter = self.db.execute(
                "UPDATE dependencies SET met = 1 WHERE needs_id = ? AND met = 0 AND on_outcome = 'success' RETURNING task_id",
                (task_id,),
            ).fetchall()
            self.db.executemany("UPDATE tasks SET blockers = blockers - 1 WHERE id = ?", lighter)
            data = json.dumps({"attempt": attempt, "artifacts": [artifact_id], "summary": "done"})
            self.db.execute(_EVENT, (now, "task_completed", self.session_id, task_id, agent, data))

    def fill(self, count: int) -> None:
        """Put *count* tasks in, each with two dependencies: the first seven tenths completed, with all that leaves behind."""
        now, done = _now(), count * 7 // 10
        session = self.session_id

        def waits(number: int) -> list[int]:
            return [n for n in (number - 1 - number % 7, number - 9 - number % 41) if n >= 0]

        def blockers(number: int) -> int:
            return 0 if number < done else sum(other >= done for other in waits(number))

        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            task, attempt, artifact = self._task, self._attempt, self._artifact
            rows = (
                task.row(f"t_{n}", f"old_{n}", session, f"Old {n}", -1, blockers(n), now, now)
                for n in range(count)
            )
            self.db.executemany(task.sql, rows)
            self.db.executemany(
                _EDGE,
                (
                    (f"t_{n}", f"t_{other}", place, other < done)
                    for n in range(count)
                    for place, other in enumerate(waits(n))
                ),
            )
            self.db.execute(
                "UPDATE tasks SET status = 'completed', attempts = 1, ended_at = ? WHERE seq <= ?",
                (now, done),
            )
            self.db.executemany(
                attempt.sql, (attempt.row(f"t_{n}", 1, "main", now, now, now) for n in range(done))
            )
            self.db.execute("UPDATE attempts SET ended_at = ?, ending = 'completed'", (now,))
            saved = (
                (f"a_{n}", session, f"t_{n}", 1, "main", f"Old {n}", secrets.token_hex(32), 9, now)
                for n in range(done)
            )
            self.db.executemany(artifact.sql, (artifact.row(*row) for row in saved))
            for kind, upto in (
                ("task_planned", count),
                ("task_started", done),
                ("artifact_saved", done),
                ("task_completed", done),
            ):
                data = json.dumps({"alias": "old", "title": "Old", "artifact": "a_0"})
                self.db.executemany(
                    _EVENT, ((now, kind, session, f"t_{n}", "main", data) for n in range(upto))
                )
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy_store(source: Path, target: Path) -> Path:
    """Copy a database that nobody has open."""
    target.parent.mkdir(parents=True, exist_ok=True)
    return shutil.copyfile(source, target)


def put_content(folder: Path, content: bytes) -> tuple[str, int]:
    """Store bytes under their digest as durably as the library does: file and folders synced, renamed into place."""
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
