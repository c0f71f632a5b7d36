"""The operations of `contracts.Store` for every store that speaks SQL.

Statements are written as SQLite takes them. What another database says differently, and what it has to lock, its store replaces.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import attrs

from vespera_orchestrator._codec import dump_json, dump_time, load_time
from vespera_orchestrator._model import (
    Artifact,
    Attempt,
    AttemptEnding,
    Checkpoint,
    Claim,
    ContextUse,
    Ending,
    Finished,
    NextAction,
    Outcome,
    Situation,
    Task,
    TaskQuery,
    TaskStatus,
    new_id,
)
from vespera_orchestrator.errors import (
    ConditionError,
    LeaseLostError,
    NotReadyError,
    SessionNotFoundError,
    TaskNotFoundError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.stores.sql import planning
from vespera_orchestrator.stores.sql import rows as _sql
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from vespera_orchestrator._model import (
        ArtifactDraft,
        ArtifactQuery,
        DocumentVersion,
        Event,
        JsonValue,
        Session,
        TaskDraft,
        Worktree,
    )
    from vespera_orchestrator.errors import VesperaError

_OPEN: Final = "('pending', 'in_progress', 'blocked')"
_RESTING: Final = "('in_progress', 'blocked', 'completed')"
"""Of a task in one of these, what it was given has gone into something."""
_IS_FILE: Final = "CASE kind WHEN 'file' THEN 1 ELSE 0 END"
_READY: Final = f"""
    SELECT {_sql.TASK} FROM tasks WHERE session_id = ? AND status = 'pending' AND blockers = 0
    ORDER BY priority DESC, urgency DESC, seq LIMIT ?
"""
_SUBTREE: Final = """
    WITH RECURSIVE below (id) AS (
        SELECT ? UNION ALL SELECT tasks.id FROM tasks JOIN below ON tasks.parent_task_id = below.id
    )
"""


class Connection(Protocol):
    """What the operations need of a connection within a transaction."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement and return what can be iterated, and has ``fetchone``, ``fetchall`` and ``rowcount``."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Any:
        """Run one statement for each row."""


class Operations:
    """Carries out `contracts.Store` on a connection to a database."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def _change(
        self,
        *,
        session_id: str | None = None,  # noqa: ARG002
        task_id: str | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[Connection]:
        """Begin a transaction that may change several tasks of one session, named or that of the task, and keep others like it out."""
        return self._writing()

    def _writing(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that changes one task, or none."""
        return self._database.write()  # type: ignore[no-any-return]

    def _reading(self) -> AbstractContextManager[Connection]:
        """Begin several reads that see one state."""
        return self._database.read()  # type: ignore[no-any-return]

    def _looking(self) -> AbstractContextManager[Connection]:
        """Begin a single read."""
        return self._database.read()  # type: ignore[no-any-return]

    # --- sessions -----------------------------------------------------------

    def start_session(self, session: Session) -> Session:
        """See `contracts.Store.start_session`."""
        with self._writing() as db:
            now = self._database.clock()
            db.execute(
                f"INSERT INTO sessions ({_sql.SESSION}) VALUES ({_sql.slots(_sql.SESSION)})",
                (
                    session.id,
                    session.goal,
                    session.project_type,
                    session.parent_session_id,
                    dump_json(session.context, "context"),
                    now,
                ),
            )
            self._event(db, "session_started", session.id, None, None, {"goal": session.goal})
            return attrs.evolve(self._session(db, session.id), updated_at=load_time(now))

    def resume_session(self, session_id: str) -> Session:
        """See `contracts.Store.resume_session`."""
        with self._writing() as db:
            session = self._session(db, session_id)
            self._event(db, "session_resumed", session_id, None, None, {})
            return attrs.evolve(session, updated_at=load_time(self._database.clock()))

    def open_sessions(self) -> int:
        """See `contracts.Store.open_sessions`."""
        sql = (
            f"SELECT count(DISTINCT session_id) FROM tallies WHERE tasks > 0 AND status IN {_OPEN}"
        )
        with self._looking() as db:
            return int(db.execute(sql).fetchone()[0])

    def find_session(self, session_id: str) -> Session | None:
        """See `contracts.Store.find_session`."""
        with self._reading() as db:
            try:
                return self._session(db, session_id)
            except SessionNotFoundError:
                return None

    def sessions(self, *, limit: int | None = 100, offset: int = 0) -> list[Session]:
        """See `contracts.Store.sessions`."""
        sql = f"""
            SELECT {_sql.SESSION}, coalesce((SELECT at FROM events WHERE session_id = sessions.id ORDER BY seq DESC LIMIT 1), created_at)
            FROM sessions ORDER BY (SELECT max(seq) FROM events WHERE session_id = sessions.id) DESC LIMIT ? OFFSET ?
        """
        with self._looking() as db:
            return [
                _sql.read_session(row, row[-1])
                for row in db.execute(sql, (_sql.ALL if limit is None else limit, offset))
            ]

    def _require_session(self, db: Connection, session_id: str) -> None:
        if db.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,)).fetchone() is None:
            raise SessionNotFoundError(session_id)

    def _session(self, db: Connection, session_id: str) -> Session:
        row = db.execute(
            f"SELECT {_sql.SESSION} FROM sessions WHERE id = ?", (session_id,)
        ).fetchone()
        if row is None:
            raise SessionNotFoundError(session_id)
        last = db.execute(
            "SELECT at FROM events WHERE session_id = ? ORDER BY seq DESC LIMIT 1", (session_id,)
        ).fetchone()
        return _sql.read_session(row, last[0] if last else row[5])

    # --- planning -----------------------------------------------------------

    def plan(
        self, session_id: str, drafts: Sequence[TaskDraft], *, mistakes: Sequence[VesperaError] = ()
    ) -> list[Task]:
        """See `contracts.Store.plan`."""
        with self._change(session_id=session_id) as db:
            self._require_session(db, session_id)
            return self._plan(db, session_id, drafts, mistakes)

    def _plan(
        self,
        db: Connection,
        session_id: str,
        drafts: Sequence[TaskDraft],
        mistakes: Sequence[VesperaError] = (),
    ) -> list[Task]:
        now = self._database.clock()
        planner = planning.Planner(db, session_id, drafts, now, mistakes)
        tasks = planner.tasks()
        new = {task.id: task for task in tasks}
        children: dict[str, int] = {}
        for task in tasks:
            if task.parent_task_id is not None:
                children[task.parent_task_id] = children.get(task.parent_task_id, 0) + 1
        needed = {**planner.found, **new}
        stands = [lifecycle.readiness(task, needed) for task in tasks]
        hours = planning.urgencies(
            tasks, {parent: needed[parent].urgency for parent in children if parent not in new}
        )
        tasks = [
            attrs.evolve(
                task, blockers=s.blockers + children.get(task.id, 0), urgency=hours[task.id]
            )
            for task, s in zip(tasks, stands, strict=True)
        ]
        self._insert_tasks(db, tasks, needed, now)
        heavier = [(count, parent) for parent, count in children.items() if parent not in new]
        if heavier:
            db.executemany("UPDATE tasks SET blockers = blockers + ? WHERE id = ?", heavier)
            planning.refuse_circles_through(db, tasks)
        dead = [(task, s) for task, s in zip(tasks, stands, strict=True) if s.impossible]
        if not dead:
            return tasks
        for task, s in dead:
            self._skip(db, task, lifecycle.skip_reason(task, s, needed))
        self._follow_ends(db, self._tasks_by_id(db, [task.id for task, _ in dead]))
        return self._tasks_by_id(db, [task.id for task in tasks])

    def _insert_tasks(
        self, db: Connection, tasks: list[Task], needed: Mapping[str, Task], now: int
    ) -> None:
        new = {task.id for task in tasks}
        self._insert(
            db,
            "tasks",
            f"{_sql.TASK}, {_sql.RANKED}",
            [
                _sql.task_row(task, weighed=all(edge.task in new for edge in task.dependencies))
                for task in tasks
            ],
        )
        edges = []
        for task in tasks:
            governed = frozenset(task.condition_names.values())
            for position, edge in enumerate(task.dependencies):
                met = (
                    lifecycle.edge_met(
                        edge.on, needed[edge.task].status, was_blocked=needed[edge.task].was_blocked
                    )
                    is True
                )
                edges.append(
                    (task.id, edge.task, position, str(edge.on), edge.task in governed, met)
                )
        if edges:
            self._insert(
                db, "dependencies", "task_id, needs_id, position, on_outcome, governed, met", edges
            )
        told = [dump_json({"alias": task.alias, "title": task.title}, "title") for task in tasks]
        self._record(
            db,
            [
                (now, "task_planned", task.session_id, task.id, None, data)
                for task, data in zip(tasks, told, strict=True)
            ],
        )

    def _insert(self, db: Connection, table: str, columns: str, rows: list[_sql.Row]) -> None:
        db.executemany(f"INSERT INTO {table} ({columns}) VALUES ({_sql.slots(columns)})", rows)

    def update_task(self, task_id: str, changes: Mapping[str, JsonValue]) -> Task:
        """See `contracts.Store.update_task`."""
        values: dict[str, Any] = {
            name: changes[name] for name in _sql.TASK_TEXTS if name in changes
        }
        if "due_at" in changes:
            values["due_at"] = dump_time(changes["due_at"])
        if "worktree" in changes:
            values["worktree"] = changes["worktree"]
        if "context" in changes:
            values["context"] = dump_json(changes["context"], "context")
        with self._writing() as db:
            task = self._task(db, task_id)
            if "estimated_effort" in values:
                values["effort_hours"] = lifecycle.effort_hours(values["estimated_effort"])
                values["urgency"] = (
                    task.urgency
                    + values["effort_hours"]
                    - lifecycle.effort_hours(task.estimated_effort)
                )
                values["weighed"] = 0
            if values:
                self._set(db, task_id, **values)
                shown = {
                    name: str(value) if name == "due_at" else value
                    for name, value in changes.items()
                }
                self._event(db, "task_updated", task.session_id, task_id, None, shown)
            return self._task(db, task_id)

    def add_dependency(self, task_id: str, needs: str, on: Outcome) -> Task:
        """See `contracts.Store.add_dependency`."""
        with self._change(task_id=task_id) as db:
            task, other = self._task(db, task_id), self._task(db, needs)
            if task.status is not TaskStatus.PENDING:
                raise TransitionError(
                    task.alias,
                    task.status,
                    "take a further dependency",
                    "only a pending task can wait for more",
                )
            if other.session_id != task.session_id:
                raise UnknownDependencyError(
                    f"{other.alias!r} belongs to another session", task.title, needs
                )
            if planning.reaches(db, [needs], task_id):
                back = [other.alias] if needs == task_id else planning.find_path(db, needs, task_id)
                raise planning.circle([task.alias, *back], task.title)
            db.execute(
                """
                INSERT INTO dependencies
                VALUES (?1, ?2, (SELECT coalesce(max(position), -1) + 1 FROM dependencies WHERE task_id = ?1), ?3, 0, 0)
                ON CONFLICT (task_id, needs_id) DO UPDATE SET on_outcome = excluded.on_outcome
                """,
                (task_id, needs, str(on)),
            )
            self._set(db, task_id, weighed=0)
            self._event(
                db,
                "dependency_added",
                task.session_id,
                task_id,
                None,
                {"needs": needs, "on": str(on)},
            )
            self._restand(db, task_id)
            return self._task(db, task_id)

    def remove_dependency(self, task_id: str, needs: str) -> Task:
        """See `contracts.Store.remove_dependency`."""
        with self._change(task_id=task_id) as db:
            task = self._task(db, task_id)
            named = [name for name, meant in task.condition_names.items() if meant == needs]
            if named:
                text = str(task.condition)
                raise ConditionError(
                    f"it names {named[0]!r}, so the dependency must stay",
                    task.title,
                    text,
                    text.find(named[0]) + 1,
                )
            if not db.execute(
                "DELETE FROM dependencies WHERE task_id = ? AND needs_id = ?", (task_id, needs)
            ).rowcount:
                raise UnknownDependencyError(f"does not depend on {needs!r}", task.title, needs)
            self._event(db, "dependency_removed", task.session_id, task_id, None, {"needs": needs})
            self._restand(db, task_id)
            return self._task(db, task_id)

    # --- reading ------------------------------------------------------------

    def find_task(self, ref: str, session_id: str | None) -> Task | None:
        """See `contracts.Store.find_task`."""
        with self._reading() as db:
            sql = f"SELECT {_sql.TASK} FROM tasks WHERE id = ?"
            row = db.execute(sql, (ref,)).fetchone()
            if row is None and session_id is not None:
                sql = f"SELECT {_sql.TASK} FROM tasks WHERE session_id = ? AND alias = ?"
                row = db.execute(sql, (session_id, ref)).fetchone()
            return None if row is None else self._with_edges(db, [row])[0]

    def tasks(self, query: TaskQuery) -> list[Task]:
        """See `contracts.Store.tasks`."""
        prefix, where, values = _where(query)
        sql = f"{prefix} SELECT {_sql.prefixed(_sql.TASK, 'tasks')} FROM tasks {where} ORDER BY tasks.seq LIMIT ? OFFSET ?"
        with self._reading() as db:
            return self._with_edges(
                db,
                db.execute(
                    sql, (*values, _sql.ALL if query.limit is None else query.limit, query.offset)
                ).fetchall(),
            )

    def count(self, query: TaskQuery) -> dict[TaskStatus, int]:
        """See `contracts.Store.count`."""
        if query.session_id is not None and query == _tallied(query):
            return self._tally(query)
        prefix, where, values = _where(query)
        sql = f"{prefix} SELECT tasks.status, count(*) FROM tasks {where} GROUP BY tasks.status"
        with self._looking() as db:
            return {TaskStatus(status): number for status, number in db.execute(sql, values)}

    def _tally(self, query: TaskQuery) -> dict[TaskStatus, int]:
        sql = """
            SELECT status, CAST(sum(tasks) AS INTEGER) FROM tallies
            WHERE session_id = ?1 AND tasks > 0 AND (?2 = 1 OR archived = 0) AND (recovery = ?3 OR ?3 IS NULL) GROUP BY status
        """
        with self._looking() as db:
            rows = db.execute(sql, (query.session_id, query.include_archived, query.recoveries))
            return {TaskStatus(status): number for status, number in rows}

    def ready(self, session_id: str, limit: int) -> list[Task]:
        """See `contracts.Store.ready`."""
        self._weigh(session_id)
        with self._reading() as db:
            return self._with_edges(db, db.execute(_READY, (session_id, limit)).fetchall())

    def _weigh(self, session_id: str) -> None:
        sql = "SELECT 1 FROM tasks INDEXED BY tasks_unweighed WHERE session_id = ? AND weighed = 0 LIMIT 1"
        with self._looking() as db:
            if not db.execute(sql, (session_id,)).fetchone():
                return
        with self._change(session_id=session_id) as db:
            self._weigh_all(db, session_id)

    def _weigh_all(self, db: Connection, session_id: str) -> None:
        planning.weigh(db, session_id)

    def situation(self, task_id: str) -> Situation:
        """See `contracts.Store.situation`."""
        with self._reading() as db:
            return self._situation(db, task_id)

    def _situation(self, db: Connection, task_id: str) -> Situation:
        task = self._task(db, task_id)
        needed = {
            t.id: t
            for t in self._tasks_by_id(db, [edge.task for edge in task.dependencies], edges=False)
        }
        open_children = f"FROM tasks WHERE parent_task_id = ? AND status IN {_OPEN}"
        count = db.execute(f"SELECT count(*) {open_children}", (task_id,)).fetchone()[0]
        some = [
            row[0]
            for row in db.execute(f"SELECT alias {open_children} ORDER BY seq LIMIT 10", (task_id,))
        ]
        recovery = db.execute(
            f"SELECT {_sql.TASK} FROM tasks WHERE recovers_task_id = ? AND status IN {_OPEN} ORDER BY seq DESC LIMIT 1",
            (task_id,),
        ).fetchone()
        attempt = self._attempt(db, task) if task.status is TaskStatus.IN_PROGRESS else None
        open_recovery = self._with_edges(db, [recovery])[0] if recovery else None
        unmerged = self._unmerged(
            db, [other.id for other in needed.values() if other.status is TaskStatus.IN_PROGRESS]
        )
        return Situation(
            task=task,
            needed=needed,
            open_children=tuple(some),
            open_children_count=count,
            open_recovery=open_recovery,
            attempt=attempt,
            as_of=load_time(self._database.clock()),
            unmerged=unmerged,
        )

    def _unmerged(self, db: Connection, running: Sequence[str]) -> frozenset[str]:
        if not running:
            return frozenset()
        sql = """
            SELECT tasks.id FROM tasks JOIN attempts ON attempts.task_id = tasks.id AND attempts.number = tasks.attempts
            WHERE tasks.id IN (SELECT value FROM json_each(?)) AND attempts.ending = ?
        """
        return frozenset(
            row[0] for row in db.execute(sql, (json.dumps(running), AttemptEnding.HANDED_IN))
        )

    def aliases(self, session_id: str) -> list[str]:
        """See `contracts.Store.aliases`."""
        with self._looking() as db:
            return [
                row[0]
                for row in db.execute(
                    "SELECT alias FROM tasks WHERE session_id = ? ORDER BY seq", (session_id,)
                )
            ]

    def dependents(self, task_id: str) -> list[Task]:
        """See `contracts.Store.dependents`."""
        with self._reading() as db:
            rows = db.execute("SELECT task_id FROM dependencies WHERE needs_id = ?", (task_id,))
            return self._tasks_by_id(db, [row[0] for row in rows])

    def _task(self, db: Connection, task_id: str) -> Task:
        row = db.execute(f"SELECT {_sql.TASK} FROM tasks WHERE id = ?", (task_id,)).fetchone()
        if row is None:
            raise TaskNotFoundError(task_id)
        return self._with_edges(db, [row])[0]

    def _tasks_by_id(self, db: Connection, ids: Iterable[str], *, edges: bool = True) -> list[Task]:
        """Return the tasks with these ids; without *edges* their own dependencies are left out."""
        wanted = list(ids)
        if not wanted:
            return []
        sql = f"SELECT {_sql.TASK} FROM tasks WHERE id IN (SELECT value FROM json_each(?)) ORDER BY seq"
        rows = db.execute(sql, (json.dumps(wanted),)).fetchall()
        return self._with_edges(db, rows) if edges else [_sql.read_task(row, ()) for row in rows]

    def _with_edges(self, db: Connection, rows: list[_sql.Row]) -> list[Task]:
        if not rows:
            return []
        if len(rows) == 1:
            sql = "SELECT task_id, needs_id, on_outcome FROM dependencies WHERE task_id = ? ORDER BY position"
            edges = _sql.group_edges(db.execute(sql, (rows[0][0],)))
        else:
            sql = """
                SELECT task_id, needs_id, on_outcome FROM dependencies
                WHERE task_id IN (SELECT value FROM json_each(?)) ORDER BY task_id, position
            """
            edges = _sql.group_edges(db.execute(sql, (json.dumps([row[0] for row in rows]),)))
        return [_sql.read_task(row, edges.get(row[0], ())) for row in rows]

    # --- claims -------------------------------------------------------------

    def claim(
        self,
        session_id: str,
        agent: str,
        *,
        task_id: str | None = None,
        lease_s: float,
        take_over: bool = False,
    ) -> Claim | None:
        """See `contracts.Store.claim`."""
        with self._writing() as db:
            self._expire(db, task_id if take_over else None)
            if task_id is None:
                self._weigh_all(db, session_id)
                best = db.execute(_READY, (session_id, 1)).fetchall()
                return (
                    self._claim(db, self._with_edges(db, best)[0], agent, lease_s) if best else None
                )
            return self._claim(db, self._task(db, task_id), agent, lease_s)

    def _claim(
        self, db: Connection, task: Task, agent: str, lease_s: float, wanted: str = "start"
    ) -> Claim:
        if not task.is_ready:
            raise NotReadyError(
                task.alias, task.status, wanted, why=lifecycle.why(self._situation(db, task.id))
            )
        now = self._database.clock()
        until = self._until(now, lease_s)
        number = task.attempts + 1
        db.execute(
            "UPDATE tasks SET status = 'in_progress', attempts = ?, updated_at = ? WHERE id = ?",
            (number, now, task.id),
        )
        db.execute(
            f"INSERT INTO attempts ({_sql.ATTEMPT}) VALUES ({_sql.slots(_sql.ATTEMPT)})",
            (task.id, number, agent, now, until, now, None, None, None),
        )
        self._event(db, "task_started", task.session_id, task.id, agent, {"attempt": number})
        claimed = attrs.evolve(
            task, status=TaskStatus.IN_PROGRESS, attempts=number, updated_at=load_time(now)
        )
        return Claim(
            task=claimed,
            attempt=Attempt(
                task_id=task.id,
                number=number,
                agent=agent,
                started_at=load_time(now),
                lease_until=load_time(until),
                last_sign_at=load_time(now),
            ),
            resumed_from=self._last_checkpoint(db, task.id) if number > 1 else None,
        )

    def _until(self, now: int, lease_s: float) -> int:
        return now + int(timedelta(seconds=lease_s) / timedelta(microseconds=1))

    def _hold(self, db: Connection, task: Task, attempt: int) -> Task:
        """Check the fence: return the task when *attempt* holds it, or can have it back because nobody took it."""
        if task.attempts != attempt:
            holder = self._attempt(db, task)
            who = (
                f"attempt {task.attempts} by {holder.agent} followed it"
                if holder
                else "it was never started"
            )
            raise LeaseLostError(task.alias, attempt, who)
        if task.status is TaskStatus.IN_PROGRESS:
            return task
        ending = db.execute(
            "SELECT ending FROM attempts WHERE task_id = ? AND number = ?", (task.id, attempt)
        ).fetchone()
        if task.status is TaskStatus.PENDING and ending is not None and ending[0] == "abandoned":
            now = self._database.clock()
            db.execute(
                """
                UPDATE attempts
                SET ended_at = NULL, ending = NULL, error = NULL, lease_until = ?1 + lease_until - last_sign_at, last_sign_at = ?1
                WHERE task_id = ?2 AND number = ?3
                """,
                (now, task.id, attempt),
            )
            self._set(db, task.id, status="in_progress")
            self._event(db, "lease_regained", task.session_id, task.id, None, {"attempt": attempt})
            return attrs.evolve(task, status=TaskStatus.IN_PROGRESS)
        raise LeaseLostError(
            task.alias,
            attempt,
            f"the task is {task.status}" + (f" ({task.reason})" if task.reason else ""),
        )

    def renew(
        self,
        task_id: str,
        attempt: int,
        *,
        lease_s: float,
        within: Callable[[], None] | None = None,
    ) -> Attempt:
        """See `contracts.Store.renew`."""
        with self._writing() as db:
            task = self._hold(db, self._task(db, task_id), attempt)
            self._extend(db, task, lease_s)
            holder = self._attempt(db, task)
            assert holder is not None  # noqa: S101 - _hold has just seen it
            self._event(
                db, "lease_renewed", task.session_id, task_id, holder.agent, {"attempt": attempt}
            )
            if within is not None:
                within()
            return holder

    def _extend(self, db: Connection, task: Task, lease_s: float) -> None:
        now = self._database.clock()
        db.execute(
            "UPDATE attempts SET lease_until = ?, last_sign_at = ? WHERE task_id = ? AND number = ?",
            (self._until(now, lease_s), now, task.id, task.attempts),
        )

    def checkpoint(
        self,
        task_id: str,
        attempt: int,
        state: JsonValue,
        *,
        note: str = "",
        progress: float | None = None,
        snapshot: str | None = None,
        left_out: Sequence[str] = (),
        lease_s: float,
        within: Callable[[], None] | None = None,
    ) -> Checkpoint:
        """See `contracts.Store.checkpoint`."""
        stored = dump_json(state, "state")
        with self._writing() as db:
            task = self._hold(db, self._task(db, task_id), attempt)
            self._extend(db, task, lease_s)
            row = db.execute(
                f"""
                INSERT INTO checkpoints (task_id, attempt, state, note, progress, snapshot, created_at)
                VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING {_sql.CHECKPOINT}
                """,
                (task_id, attempt, stored, note, progress, snapshot, self._database.clock()),
            ).fetchone()
            data: dict[str, JsonValue] = {
                "attempt": attempt,
                "checkpoint": row[0],
                "note": note,
                "progress": progress,
            }
            data |= {"left_out": list(left_out)} if left_out else {}
            self._event(db, "checkpoint_saved", task.session_id, task_id, None, data)
            if within is not None:
                within()
            return _sql.read_checkpoint(row)

    def last_checkpoint(self, task_id: str) -> Checkpoint | None:
        """See `contracts.Store.last_checkpoint`."""
        with self._looking() as db:
            return self._last_checkpoint(db, task_id)

    def _last_checkpoint(self, db: Connection, task_id: str) -> Checkpoint | None:
        row = db.execute(
            f"SELECT {_sql.CHECKPOINT} FROM checkpoints WHERE task_id = ? ORDER BY id DESC LIMIT 1",
            (task_id,),
        ).fetchone()
        return None if row is None else _sql.read_checkpoint(row)

    def expire(self) -> list[Attempt]:
        """See `contracts.Store.expire`."""
        with self._reading() as db:
            if not self._lapsed(db):
                return []
        with self._writing() as db:
            return self._expire(db)

    def _lapsed(self, db: Connection) -> list[Attempt]:
        sql = f"SELECT {_sql.ATTEMPT} FROM attempts WHERE ended_at IS NULL AND lease_until < ?"
        return [_sql.read_attempt(row) for row in db.execute(sql, (self._database.clock(),))]

    def _expire(self, db: Connection, taken_over: str | None = None) -> list[Attempt]:
        lapsed = self._lapsed(db)
        if taken_over is not None and taken_over not in {attempt.task_id for attempt in lapsed}:
            task = self._task(db, taken_over)
            holder = self._attempt(db, task) if task.status is TaskStatus.IN_PROGRESS else None
            lapsed += [] if holder is None else [holder]
        for attempt in lapsed:
            task = self._task(db, attempt.task_id)
            self._end_attempt(
                db,
                task,
                "abandoned",
                f"no sign of life since {attempt.last_sign_at:%Y-%m-%d %H:%M:%S} UTC",
            )
            self._set(db, task.id, status="pending")
            self._event(
                db,
                "lease_expired",
                task.session_id,
                task.id,
                attempt.agent,
                {"attempt": attempt.number},
            )
            self._restand(db, task.id)
        return lapsed

    def _end_attempt(
        self, db: Connection, task: Task, ending: str, error: str | None, receipt: str | None = None
    ) -> None:
        db.execute(
            "UPDATE attempts SET ended_at = ?, ending = ?, error = ?, receipt = ? WHERE task_id = ? AND number = ?",
            (self._database.clock(), ending, error, receipt, task.id, task.attempts),
        )

    def attempts(self, task_id: str) -> list[Attempt]:
        """See `contracts.Store.attempts`."""
        with self._looking() as db:
            sql = f"SELECT {_sql.ATTEMPT} FROM attempts WHERE task_id = ? ORDER BY number"
            return [_sql.read_attempt(row) for row in db.execute(sql, (task_id,))]

    def _attempt(self, db: Connection, task: Task) -> Attempt | None:
        sql = f"SELECT {_sql.ATTEMPT} FROM attempts WHERE task_id = ? AND number = ?"
        row = db.execute(sql, (task.id, task.attempts)).fetchone()
        return None if row is None else _sql.read_attempt(row)

    def longest_chain(self, session_id: str, limit: int) -> list[Task]:
        """See `contracts.Store.longest_chain`."""
        first = f"SELECT id FROM tasks WHERE session_id = ? AND status IN {_OPEN} ORDER BY urgency DESC, seq LIMIT 1"
        after = f"""
            SELECT id FROM (
                SELECT task_id AS id FROM dependencies WHERE needs_id = ?1
                UNION SELECT parent_task_id FROM tasks WHERE id = ?1 AND parent_task_id IS NOT NULL
            ) AS waiting JOIN tasks USING (id) WHERE status IN {_OPEN} ORDER BY urgency DESC, seq LIMIT 1
        """
        self._weigh(session_id)
        with self._reading() as db:
            ids: list[str] = []
            row = db.execute(first, (session_id,)).fetchone()
            while row is not None and len(ids) < limit:
                ids.append(row[0])
                row = db.execute(after, (row[0],)).fetchone()
            known = {task.id: task for task in self._tasks_by_id(db, ids)}
            return [known[task_id] for task_id in ids]

    def running(self, session_id: str, limit: int) -> list[tuple[Task, Attempt, Checkpoint | None]]:
        """See `contracts.Store.running`."""
        with self._reading() as db:
            sql = f"SELECT {_sql.TASK} FROM tasks WHERE session_id = ? AND status = 'in_progress' ORDER BY updated_at, seq LIMIT ?"
            held = self._with_edges(db, db.execute(sql, (session_id, limit)).fetchall())
            found = [
                (task, self._attempt(db, task), self._last_checkpoint(db, task.id)) for task in held
            ]
            return [
                (task, attempt, checkpoint)
                for task, attempt, checkpoint in found
                if attempt is not None
            ]

    # --- endings ------------------------------------------------------------

    def finish(
        self,
        task_id: str,
        attempt: int | None,
        ending: Ending,
        *,
        agent: str,
        artifacts: Sequence[ArtifactDraft] = (),
        within: Callable[[], None] | None = None,
    ) -> Finished:
        """See `contracts.Store.finish`."""
        receipt = _receipt(ending, artifacts)
        with self._change(task_id=task_id) as db:
            task = self._task(db, task_id)
            before = self._repeated(db, task, attempt, receipt)
            if before is not None:
                return before
            task = self._holder(db, task, attempt, agent)
            self._refuse_open_children(db, task, ending)
            saved = tuple(
                self._save_artifact(db, task.session_id, draft, task.id, task.attempts, agent)
                for draft in artifacts
            )
            recovery = self._end(db, task, ending, agent, saved, receipt)
            if within is not None:
                within()
            now = db.execute(f"SELECT {_sql.TASK} FROM tasks WHERE id = ?", (task_id,)).fetchone()
            return Finished(
                task=_sql.read_task(now, task.dependencies), artifacts=saved, recovery=recovery
            )

    def _repeated(
        self, db: Connection, task: Task, attempt: int | None, receipt: str
    ) -> Finished | None:
        if attempt not in {None, task.attempts} or task.status not in _RECEIVED:
            return None
        sql = "SELECT receipt FROM attempts WHERE task_id = ? AND number = ?"
        row = db.execute(sql, (task.id, task.attempts)).fetchone()
        if row is None or row[0] != receipt:
            return None
        sql = (
            f"SELECT {_sql.ARTIFACT} FROM artifacts WHERE task_id = ? AND attempt = ? ORDER BY seq"
        )
        saved = tuple(_sql.read_artifact(r) for r in db.execute(sql, (task.id, task.attempts)))
        sql = f"SELECT {_sql.TASK} FROM tasks WHERE recovers_task_id = ? AND status IN {_OPEN} ORDER BY seq DESC LIMIT 1"
        rows = db.execute(sql, (task.id,)).fetchall()
        return Finished(
            task=task,
            artifacts=saved,
            recovery=self._with_edges(db, rows)[0] if rows else None,
            repeated=True,
        )

    def _holder(self, db: Connection, task: Task, attempt: int | None, agent: str) -> Task:
        if attempt is not None:
            return self._hold(db, task, attempt)
        if task.status is TaskStatus.IN_PROGRESS:
            holder = self._attempt(db, task)
            if holder is not None and holder.agent != agent:
                raise LeaseLostError(
                    task.alias,
                    0,
                    f"{holder.agent} holds it (attempt {holder.number}), and you are {agent}",
                )
            return task
        if task.status is TaskStatus.PENDING:
            return self._claim(db, task, agent, lifecycle.LEASE_S, "complete").task
        raise TransitionError(
            task.alias, task.status, "be completed", planning.reopening(task.alias, task.status)
        )

    def _refuse_open_children(self, db: Connection, task: Task, ending: Ending) -> None:
        if (
            ending.action is not NextAction.COMPLETE or not task.blockers
        ):  # an open child is a blocker
            return
        if db.execute(
            f"SELECT 1 FROM tasks WHERE parent_task_id = ? AND status IN {_OPEN} LIMIT 1",
            (task.id,),
        ).fetchone():
            raise NotReadyError(
                task.alias,
                task.status,
                "complete",
                why=lifecycle.why_not_complete(self._situation(db, task.id)),
            )

    def _end(
        self,
        db: Connection,
        task: Task,
        ending: Ending,
        agent: str,
        saved: tuple[Artifact, ...],
        receipt: str,
    ) -> Task | None:
        data: dict[str, JsonValue] = {
            "attempt": task.attempts,
            "artifacts": [artifact.id for artifact in saved],
        }
        data |= {"summary": ending.summary} if ending.summary else {}
        data |= {"reason": ending.reason} if ending.reason else {}
        if ending.action is NextAction.CONTINUE:
            self._set(db, task.id, summary=ending.summary)
            self._event(
                db,
                "task_continued",
                task.session_id,
                task.id,
                agent,
                data | {"outputs": dict(ending.outputs)},
            )
            return None
        if ending.later:
            self._end_attempt(db, task, AttemptEnding.HANDED_IN, None, receipt)
            outputs = dump_json(dict(ending.outputs), "outputs")
            self._set(db, task.id, summary=ending.summary, outputs=outputs, reason=ending.reason)
            self._event(db, "task_handed_in", task.session_id, task.id, agent, data)
            return None
        status = lifecycle.next_status(lifecycle.ending_verb(ending.action), task.status)
        assert status is not None  # noqa: S101 - _hold has seen to it that the task is in progress
        self._end_attempt(db, task, _ENDED[ending.action], ending.reason, receipt)
        match ending.action:
            case NextAction.COMPLETE:
                self._complete(db, task, ending, agent, data)
            case NextAction.BLOCKED:
                return self._block(db, task, ending, agent, data)
            case _:
                self._set(db, task.id, status="pending", reason=ending.reason)
                kind = "task_released" if ending.action is None else "task_revised"
                self._event(db, kind, task.session_id, task.id, agent, data)
                self._restand(db, task.id)
        return None

    def _complete(
        self, db: Connection, task: Task, ending: Ending, agent: str, data: dict[str, JsonValue]
    ) -> None:
        outputs = dump_json(dict(ending.outputs), "outputs")
        self._end_task(
            db, task, TaskStatus.COMPLETED, summary=ending.summary, outputs=outputs, reason=None
        )
        landed = {"landed": ending.landed} if ending.landed else {}
        self._event(db, "task_completed", task.session_id, task.id, agent, data | landed)
        self._follow_ends(db, [attrs.evolve(task, status=TaskStatus.COMPLETED)])

    def _block(
        self,
        db: Connection,
        task: Task,
        ending: Ending,
        agent: str,
        data: dict[str, JsonValue],
    ) -> Task | None:
        failures = task.failures + 1
        self._set(
            db,
            task.id,
            status="blocked",
            reason=ending.reason,
            failures=failures,
            was_blocked=1,
            summary=ending.summary,
        )
        self._event(db, "task_blocked", task.session_id, task.id, agent, data)
        blocked = attrs.evolve(task, status=TaskStatus.BLOCKED, failures=failures, was_blocked=True)
        failure = lifecycle.Failure(
            error=ending.reason or "no reason given",
            checkpoint=self._last_checkpoint(db, task.id),
            artifact_ids=self._artifact_ids(db, task),
            snapshot=ending.snapshot,
            context=ending.recovery,
        )
        draft = lifecycle.recovery_for(blocked, failure)
        self._follow_ends(db, [blocked])
        return None if draft is None else self._plan(db, task.session_id, [draft])[0]

    def _artifact_ids(self, db: Connection, task: Task) -> tuple[str, ...]:
        sql = "SELECT id FROM artifacts WHERE task_id = ? AND attempt = ? ORDER BY seq"
        return tuple(row[0] for row in db.execute(sql, (task.id, task.attempts)))

    # --- what follows from an end -------------------------------------------

    def _end_task(self, db: Connection, task: Task, status: TaskStatus, **values: Any) -> None:
        """Write that the task has ended. Its parent is counted down in the same step, so that a recount at any time says the same."""
        self._set(db, task.id, status=str(status), ended_at=self._database.clock(), **values)
        if task.parent_task_id is not None:
            db.execute(
                "UPDATE tasks SET blockers = blockers - 1 WHERE id = ?", (task.parent_task_id,)
            )

    def _follow_ends(self, db: Connection, ended: Iterable[Task]) -> None:
        """Carry what ended, or was blocked, to dependents and to the task that was being recovered; and so on downward.

        Args:
            db: The connection.
            ended: The tasks as they are now.
        """
        queue = deque(ended)
        while queue:
            task = queue.popleft()
            if task.recovers_task_id is not None and task.status is TaskStatus.COMPLETED:
                self._recovered(db, task)
            queue.extend(self._task(db, task_id) for task_id in self._follow_edges(db, task))

    def _recovered(self, db: Connection, recovery: Task) -> None:
        task = self._task(db, str(recovery.recovers_task_id))
        if lifecycle.next_status(lifecycle.Verb.RECOVER, task.status) is None:
            return
        self._set(db, task.id, status="pending", reason=None)
        self._event(db, "task_recovered", task.session_id, task.id, None, {"recovery": recovery.id})
        self._restand(db, task.id)

    def _follow_edges(self, db: Connection, task: Task) -> list[str]:
        """Count down the dependents whose edge is met now; return those that were skipped."""
        met, never = _edges_decided(task)
        return [
            task_id
            for task_id in self._count_down(db, task.id, met, never)
            if self._restand_once(db, task_id)
        ]

    def _count_down(
        self, db: Connection, task_id: str, met: list[str], never: list[str]
    ) -> list[str]:
        """Count down the dependents that waited for an outcome in *met*; return those to be looked at, in the order planned."""
        if met:
            marks = ", ".join("?" for _ in met)
            sql = f"""
                UPDATE dependencies SET met = 1 WHERE needs_id = ? AND governed = 0 AND met = 0 AND on_outcome IN ({marks})
                RETURNING task_id
            """
            lighter = db.execute(sql, (task_id, *met)).fetchall()
            db.executemany("UPDATE tasks SET blockers = blockers - 1 WHERE id = ?", lighter)
        marks = ", ".join("?" for _ in never) or "NULL"
        sql = f"""
            SELECT task_id FROM dependencies JOIN tasks ON tasks.id = task_id
            WHERE needs_id = ? AND tasks.status = 'pending' AND (governed = 1 OR (met = 0 AND on_outcome IN ({marks})))
            ORDER BY tasks.seq
        """
        return [row[0] for row in db.execute(sql, (task_id, *never)).fetchall()]

    def _restand(self, db: Connection, task_id: str) -> None:
        """Count the task's blockers anew from what they are, and skip it, and so on downward, when it can never become ready."""
        if self._restand_once(db, task_id):
            self._follow_ends(db, [self._task(db, task_id)])

    def _restand_once(self, db: Connection, task_id: str) -> bool:
        situation = self._situation(db, task_id)
        task = situation.task
        stands = lifecycle.readiness(task, situation.needed)
        for edge in task.dependencies:
            met = (
                lifecycle.edge_met(
                    edge.on,
                    situation.needed[edge.task].status,
                    was_blocked=situation.needed[edge.task].was_blocked,
                )
                is True
            )
            db.execute(
                "UPDATE dependencies SET met = ? WHERE task_id = ? AND needs_id = ?",
                (met, task_id, edge.task),
            )
        self._set(
            db, task_id, touch=False, blockers=stands.blockers + situation.open_children_count
        )
        if task.status is TaskStatus.PENDING and stands.impossible:
            self._skip(db, task, lifecycle.skip_reason(task, stands, situation.needed))
            return True
        return False

    def _skip(self, db: Connection, task: Task, reason: str) -> None:
        self._end_task(db, task, TaskStatus.SKIPPED, reason=reason)
        self._event(db, "task_skipped", task.session_id, task.id, None, {"reason": reason})

    # --- a person decides ---------------------------------------------------

    def cancel(self, task_id: str, reason: str, *, subtree: bool) -> list[Task]:
        """See `contracts.Store.cancel`."""
        with self._change(task_id=task_id) as db:
            task = self._task(db, task_id)
            if task.status is TaskStatus.CANCELLED:
                return []
            if lifecycle.next_status(lifecycle.Verb.CANCEL, task.status) is None:
                raise TransitionError(
                    task.alias, task.status, "be cancelled", "it has ended already"
                )
            below = f"{_SUBTREE} SELECT tasks.id FROM tasks JOIN below ON tasks.id = below.id WHERE status IN {_OPEN} ORDER BY seq DESC"
            ids = [row[0] for row in db.execute(below, (task_id,))] if subtree else [task_id]
            for each in ids:
                self._give_up(
                    db, self._task(db, each), TaskStatus.CANCELLED, "task_cancelled", reason
                )
            return [
                each for each in self._tasks_by_id(db, ids) if each.status is TaskStatus.CANCELLED
            ]

    def abandon(self, task_id: str, reason: str) -> Task:
        """See `contracts.Store.abandon`."""
        with self._change(task_id=task_id) as db:
            task = self._task(db, task_id)
            if lifecycle.next_status(lifecycle.Verb.ABANDON, task.status) is None:
                raise TransitionError(
                    task.alias, task.status, "be abandoned", "it has ended already"
                )
            self._give_up(db, task, TaskStatus.FAILED, "task_failed", reason)
            return self._task(db, task_id)

    def _give_up(
        self, db: Connection, task: Task, status: TaskStatus, event: str, reason: str
    ) -> None:
        if task.status.is_terminal:  # a consequence of one that was given up before it
            return
        if task.status is TaskStatus.IN_PROGRESS:
            self._end_attempt(db, task, "cancelled", reason)
        self._end_task(db, task, status, reason=reason or None)
        self._event(db, event, task.session_id, task.id, None, {"reason": reason})
        self._cancel_recovery(db, task)
        self._follow_ends(db, [attrs.evolve(task, status=status)])

    def _cancel_recovery(self, db: Connection, task: Task) -> None:
        sql = f"SELECT id FROM tasks WHERE recovers_task_id = ? AND status IN {_OPEN}"
        for row in db.execute(sql, (task.id,)).fetchall():
            self._give_up(
                db,
                self._task(db, row[0]),
                TaskStatus.CANCELLED,
                "task_cancelled",
                f"{task.alias} needs no recovery any more",
            )

    def retry(self, task_id: str, reason: str) -> Task:
        """See `contracts.Store.retry`."""
        with self._change(task_id=task_id) as db:
            task = self._task(db, task_id)
            if lifecycle.next_status(lifecycle.Verb.RETRY, task.status) is None:
                raise TransitionError(
                    task.alias,
                    task.status,
                    "be tried again",
                    "only an ended or blocked task can, and no completed one",
                )
            self._refuse_second_recovery(db, task)
            parent = self._completed_parent(db, task)
            if parent is not None:
                remedy = f"{parent.alias}, of which it is a part, is completed: plan a further task instead"
                raise TransitionError(task.alias, task.status, "be tried again", remedy)
            self._cancel_recovery(db, task)
            self._reopen(db, task, "task_retried", reason)
            now = self._task(db, task_id)
            if now.status is TaskStatus.SKIPPED:  # what it waits for has not changed
                remedy = (
                    f"it would be skipped again ({now.reason}); retry what it waits for instead"
                )
                raise TransitionError(task.alias, task.status, "be tried again", remedy)
            return now

    def _completed_parent(self, db: Connection, task: Task) -> Task | None:
        parent = None if task.parent_task_id is None else self._task(db, task.parent_task_id)
        return parent if parent is not None and parent.status is TaskStatus.COMPLETED else None

    def _refuse_second_recovery(self, db: Connection, task: Task) -> None:
        if task.recovers_task_id is None or task.status is TaskStatus.BLOCKED:
            return
        target = self._situation(db, task.recovers_task_id)
        if target.task.status is not TaskStatus.BLOCKED or target.open_recovery is not None:
            remedy = f"{target.task.alias} is {target.task.status} and needs it no more; see orch.why({target.task.alias!r})"
            raise TransitionError(task.alias, task.status, "be tried again", remedy)

    def _reopen(self, db: Connection, task: Task, event: str, reason: str) -> None:
        queue = deque([task.id])
        while queue:
            at = self._task(db, queue.popleft())
            kind = event if at.id == task.id else "task_reopened"
            if at.id != task.id and (
                at.status is not TaskStatus.SKIPPED
                or at.recovers_task_id is not None
                or self._completed_parent(db, at) is not None
            ):
                continue  # reached over another way before; and nobody waits for an old recovery, or for a part of what is completed
            self._set(
                db, at.id, status="pending", reason=None, failures=0, ended_at=None, archived=0
            )
            self._event(db, kind, at.session_id, at.id, None, {"reason": reason})
            if at.status.is_terminal and at.parent_task_id is not None:
                db.execute(
                    "UPDATE tasks SET blockers = blockers + 1 WHERE id = ?", (at.parent_task_id,)
                )
            sql = "SELECT task_id FROM dependencies WHERE needs_id = ?"
            for row in db.execute(sql, (at.id,)).fetchall():
                dependent = self._task(db, row[0])
                if dependent.status is TaskStatus.SKIPPED:
                    queue.append(dependent.id)
                else:
                    self._restand(db, dependent.id)
            self._restand(db, at.id)

    def delete(self, task_id: str, *, hard: bool) -> Task:
        """See `contracts.Store.delete`."""
        with self._change(task_id=task_id) as db:
            task = self._task(db, task_id)
            if not task.status.is_terminal:
                raise TransitionError(
                    task.alias,
                    task.status,
                    "be deleted",
                    f"cancel it first: orch.cancel_task({task.alias!r})",
                )
            if hard:
                self._delete_hard(db, task)
                return task
            self._set(db, task_id, archived=1)
            self._event(db, "task_archived", task.session_id, task_id, None, {})
            return self._task(db, task_id)

    def _delete_hard(self, db: Connection, task: Task) -> None:
        sql = """
            SELECT alias FROM tasks JOIN dependencies ON task_id = id WHERE needs_id = ?1
            UNION SELECT alias FROM tasks WHERE parent_task_id = ?1 OR recovers_task_id = ?1
        """
        others = [row[0] for row in db.execute(sql, (task.id,))]
        if others:
            remedy = f"{', '.join(others[:5])} depend on it or are below it; archive it instead: orch.delete_task({task.alias!r})"
            raise TransitionError(task.alias, task.status, "be removed for good", remedy)
        for table in ("dependencies", "checkpoints", "attempts", "given"):
            db.execute(f"DELETE FROM {table} WHERE task_id = ?", (task.id,))
        db.execute("DELETE FROM tasks WHERE id = ?", (task.id,))
        self._event(
            db,
            "task_deleted",
            task.session_id,
            task.id,
            None,
            {"alias": task.alias, "title": task.title},
        )

    # --- artifacts ----------------------------------------------------------

    def save_artifact(
        self,
        session_id: str,
        draft: ArtifactDraft,
        *,
        task_id: str | None,
        attempt: int | None,
        agent: str | None,
    ) -> Artifact:
        """See `contracts.Store.save_artifact`."""
        with self._writing() as db:
            self._require_session(db, session_id)
            if task_id is not None and attempt is not None:
                self._hold(db, self._task(db, task_id), attempt)
            return self._save_artifact(db, session_id, draft, task_id, attempt, agent)

    def _save_artifact(
        self,
        db: Connection,
        session_id: str,
        draft: ArtifactDraft,
        task_id: str | None,
        attempt: int | None,
        agent: str | None,
    ) -> Artifact:
        sql = f"""
            SELECT {_sql.ARTIFACT} FROM artifacts
            WHERE session_id = ? AND task_id IS ? AND title = ? AND {_IS_FILE} = ?
            ORDER BY version DESC LIMIT 1
        """
        row = db.execute(sql, (session_id, task_id, draft.title, draft.kind == "file")).fetchone()
        last = None if row is None else _sql.read_artifact(row)
        if last is not None and (last.digest, last.kind, last.partial, last.attempt) == (
            draft.digest,
            draft.kind,
            draft.partial,
            attempt,
        ):
            return last
        artifact_id = draft.id or new_id("a")
        if last is not None:
            db.execute("UPDATE artifacts SET superseded = 1 WHERE id = ?", (last.id,))
            db.execute("UPDATE given SET stale = 1 WHERE artifact_id = ?", (last.id,))
        row = (
            *(
                artifact_id,
                session_id,
                task_id,
                attempt,
                agent,
                draft.kind,
                draft.title,
                draft.media_type,
                draft.digest,
            ),
            *(
                draft.size_bytes,
                last.version + 1 if last else 1,
                last.id if last else None,
                0,
                int(draft.partial),
            ),
            *(
                dump_json(list(draft.tags), "tags"),
                dump_json(dict(draft.metadata), "metadata"),
                self._database.clock(),
            ),
        )
        db.execute(
            f"INSERT INTO artifacts ({_sql.ARTIFACT}) VALUES ({_sql.slots(_sql.ARTIFACT)})", row
        )
        data = {
            "artifact": artifact_id,
            "title": draft.title,
            "kind": draft.kind,
            "supersedes": last.id if last else None,
        }
        self._event(db, "artifact_saved", session_id, task_id, agent, data)
        return _sql.read_artifact(row)

    def record_context(
        self, task_id: str, artifact_ids: Sequence[str], *, agent: str | None
    ) -> None:
        """See `contracts.Store.record_context`."""
        with self._writing() as db:
            task = self._task(db, task_id)
            sql = f"""
                SELECT id, superseded, session_id, task_id, title, {_IS_FILE}, version FROM artifacts
                WHERE id IN (SELECT value FROM json_each(?)) AND (task_id IS NULL OR task_id <> ?)
                AND id NOT IN (SELECT artifact_id FROM given WHERE task_id = ? AND attempt = ?) ORDER BY seq {self._steady}
            """
            new = db.execute(
                sql, (json.dumps(list(artifact_ids)), task_id, task_id, task.attempts)
            ).fetchall()
            if not new:
                return
            earlier = f"""
                DELETE FROM given WHERE task_id = ? AND stale = 1 AND artifact_id IN (
                    SELECT id FROM artifacts WHERE session_id = ? AND task_id IS ? AND title = ? AND {_IS_FILE} = ? AND version < ?)
            """
            add = """
                INSERT INTO given (task_id, artifact_id, attempt, session_id, stale, given_at) VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (task_id, artifact_id) DO UPDATE SET attempt = excluded.attempt, given_at = excluded.given_at
            """
            now = self._database.clock()
            for artifact_id, stale, *lineage in new:
                db.execute(earlier, (task_id, *lineage))
                db.execute(add, (task_id, artifact_id, task.attempts, task.session_id, stale, now))
            data = {"attempt": task.attempts, "artifacts": [row[0] for row in new]}
            self._event(db, "context_given", task.session_id, task_id, agent, data)

    _steady: ClassVar[str] = ""
    """Ends a statement whose rows must not change before the transaction ends, where writers do not wait for each other."""

    def context_uses(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        artifact_ids: Iterable[str] | None = None,
        outdated: bool = False,
        limit: int | None = None,
    ) -> list[ContextUse]:
        """See `contracts.Store.context_uses`."""
        among = None if artifact_ids is None else json.dumps(list(artifact_ids))
        given = {
            "g.session_id = ?": session_id,
            "g.task_id = ?": task_id,
            "g.artifact_id IN (SELECT value FROM json_each(?))": among,
        }
        tests = [(test, value) for test, value in given.items() if value is not None]
        resting = (
            [
                "g.stale = 1",
                "t.archived = 0",
                "t.recovers_task_id IS NULL",
                f"t.status IN {_RESTING}",
            ]
            if outdated
            else []
        )
        where = " AND ".join([*(test for test, _ in tests), *resting]) or "TRUE"
        sql = f"""
            SELECT g.task_id, t.alias, g.attempt, g.artifact_id, a.title, a.version, g.given_at, a.session_id, a.task_id, {_IS_FILE}
            FROM given g JOIN tasks t ON t.id = g.task_id JOIN artifacts a ON a.id = g.artifact_id
            WHERE {where} ORDER BY g.given_at, g.task_id, a.seq LIMIT ?
        """
        latest = f"""
            SELECT id, version FROM artifacts WHERE session_id = ? AND task_id IS ? AND {_IS_FILE} = ? AND title = ?
            ORDER BY version DESC LIMIT 1
        """
        with self._looking() as db:
            rows = db.execute(
                sql, (*(value for _, value in tests), _sql.ALL if limit is None else limit)
            ).fetchall()
            found = [(row, db.execute(latest, (*row[7:10], row[4])).fetchone()) for row in rows]
        return [
            ContextUse(
                task_id=row[0],
                alias=row[1],
                attempt=row[2],
                artifact_id=row[3],
                title=row[4],
                version=row[5],
                latest_id=new[0],
                latest_version=new[1],
                given_at=load_time(row[6]),
            )
            for row, new in found
        ]

    def find_artifact(self, artifact_id: str) -> Artifact | None:
        """See `contracts.Store.find_artifact`."""
        with self._looking() as db:
            row = db.execute(
                f"SELECT {_sql.ARTIFACT} FROM artifacts WHERE id = ?", (artifact_id,)
            ).fetchone()
            return None if row is None else _sql.read_artifact(row)

    def artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """See `contracts.Store.artifacts`."""
        # Within a stored list only the strings' own ends are quotes without a backslash: a comma and a quote begin an item.
        tests: list[tuple[str, Any]] = [
            ("instr(',' || substr(tags, 2), ?) > 0", f",{dump_json(tag, 'tags')}")
            for tag in query.tags
        ]
        among = None if query.task_ids is None else json.dumps(query.task_ids)
        equal = {
            "agent = ?": query.agent,
            "partial = ?": query.partial,
            "created_at >= ?": dump_time(query.created_after),
            "created_at < ?": dump_time(query.created_before),
            "digest = ?": query.digest,
            "session_id = ?": query.session_id,
            "task_id IN (SELECT value FROM json_each(?))": among,
            "kind = ?": query.kind,
            "title = ?": query.title,
        }
        tests += [(test, value) for test, value in equal.items() if value is not None]
        conditions = [test for test, _ in tests]
        if not query.include_superseded:
            conditions.append("superseded = 0")
        where = " AND ".join(conditions) or "TRUE"
        order = "DESC" if query.newest_first else "ASC"
        limit = _sql.ALL if query.limit is None else query.limit
        sql = f"SELECT {_sql.ARTIFACT} FROM artifacts WHERE {where} ORDER BY seq {order} LIMIT ?"
        with self._looking() as db:
            rows = db.execute(sql, (*(value for _, value in tests), limit))
            return [_sql.read_artifact(row) for row in rows]

    def content_digests(self) -> set[str]:
        """See `contracts.Store.content_digests`."""
        with self._looking() as db:
            return {
                str(row[0])
                for row in db.execute(
                    "SELECT digest FROM artifacts UNION SELECT digest FROM document_versions", ()
                )
            }

    def count_artifacts(self, session_id: str) -> int:
        """See `contracts.Store.count_artifacts`."""
        with self._looking() as db:
            sql = "SELECT count(*) FROM artifacts WHERE session_id = ? AND superseded = 0"
            return int(db.execute(sql, (session_id,)).fetchone()[0])

    # --- worktrees and documents --------------------------------------------

    def put_worktree(self, worktree: Worktree, event: str) -> Worktree:
        """See `contracts.Store.put_worktree`."""
        row = (
            *attrs.astuple(worktree)[:10],
            dump_time(worktree.created_at),
            int(worktree.unlanded),
        )
        with self._writing() as db:
            others = ", ".join(
                f"{column} = excluded.{column}" for column in _sql.WORKTREE.split(", ")[1:]
            )
            slots = _sql.slots(_sql.WORKTREE)
            db.execute(
                f"INSERT INTO worktrees ({_sql.WORKTREE}) VALUES ({slots}) ON CONFLICT (name) DO UPDATE SET {others}",
                row,
            )
            data = {
                "worktree": worktree.name,
                "branch": worktree.branch,
                "landed": worktree.landed,
                "rescue": worktree.rescue_ref,
            }
            self._event(db, event, worktree.session_id, worktree.task_id, worktree.agent, data)
        return worktree

    def worktrees(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        name: str | None = None,
        include_removed: bool = False,
    ) -> list[Worktree]:
        """See `contracts.Store.worktrees`."""
        given = {"session_id = ?": session_id, "task_id = ?": task_id, "name = ?": name}
        tests = {test: value for test, value in given.items() if value is not None}
        where = (
            " AND ".join([*tests, *([] if include_removed else ["state <> 'removed'"])]) or "TRUE"
        )
        sql = f"SELECT {_sql.WORKTREE} FROM worktrees WHERE {where} ORDER BY created_at, name"
        with self._looking() as db:
            return [_sql.read_worktree(row) for row in db.execute(sql, tuple(tests.values()))]

    def put_document(self, version: DocumentVersion, session_id: str) -> DocumentVersion:
        """See `contracts.Store.put_document`."""
        row = (*attrs.astuple(version)[:4], dump_time(version.created_at))
        with self._writing() as db:
            db.execute(
                f"INSERT INTO document_versions ({_sql.DOCUMENT}) VALUES ({_sql.slots(_sql.DOCUMENT)})",
                row,
            )
            self._event(
                db,
                "document_updated",
                session_id,
                None,
                None,
                {"path": version.path, "version": version.version},
            )
        return version

    def document_versions(self, path: str | None = None) -> list[DocumentVersion]:
        """See `contracts.Store.document_versions`."""
        if path is None:
            newest = "SELECT max(version) FROM document_versions WHERE path = d.path"
            sql = f"SELECT {_sql.DOCUMENT} FROM document_versions AS d WHERE version = ({newest}) ORDER BY path"
        else:
            sql = f"SELECT {_sql.DOCUMENT} FROM document_versions WHERE path = ? ORDER BY version"
        with self._looking() as db:
            return [
                _sql.read_document(row) for row in db.execute(sql, () if path is None else (path,))
            ]

    # --- events -------------------------------------------------------------

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        kinds: Iterable[str] | None = None,
        limit: int | None = 1000,
        newest_first: bool = False,
    ) -> list[Event]:
        """See `contracts.Store.events`."""
        tests, values = ["seq > ?"], [after]
        if session_id is not None:
            tests.append("session_id = ?")
            values.append(session_id)  # type: ignore[arg-type]
        if kinds is not None:
            tests.append("kind IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(kinds)))  # type: ignore[arg-type]
        sql = f"SELECT {_sql.EVENT} FROM events WHERE {' AND '.join(tests)} ORDER BY seq {'DESC' if newest_first else 'ASC'} LIMIT ?"
        with self._looking() as db:
            return [
                _sql.read_event(row)
                for row in db.execute(sql, (*values, _sql.ALL if limit is None else limit))
            ]

    def last_seq(self, session_id: str | None = None) -> int:
        """See `contracts.Store.last_seq`."""
        where, values = ("", ()) if session_id is None else ("WHERE session_id = ?", (session_id,))
        with self._looking() as db:
            return int(
                db.execute(f"SELECT coalesce(max(seq), 0) FROM events {where}", values).fetchone()[
                    0
                ]
            )

    def _event(
        self,
        db: Connection,
        kind: str,
        session_id: str | None,
        task_id: str | None,
        agent: str | None,
        data: Mapping[str, JsonValue],
    ) -> None:
        self._record(
            db, [(self._database.clock(), kind, session_id, task_id, agent, dump_json(data, kind))]
        )

    def _record(self, db: Connection, rows: list[_sql.Row]) -> None:
        """Write events; within the transaction, or as its last act."""
        sql = "INSERT INTO events (at, kind, session_id, task_id, agent, data) VALUES (?, ?, ?, ?, ?, ?)"
        if len(rows) == 1:
            db.execute(sql, rows[0])
        else:
            db.executemany(sql, rows)

    def _set(self, db: Connection, task_id: str, *, touch: bool = True, **values: Any) -> None:
        if touch:
            values["updated_at"] = self._database.clock()
        columns = ", ".join(f"{name} = ?" for name in values)
        db.execute(f"UPDATE tasks SET {columns} WHERE id = ?", (*values.values(), task_id))


_RECEIVED: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.BLOCKED, TaskStatus.IN_PROGRESS})
"""States in which a task's last attempt may have a receipt; in progress, when its work waits to be merged."""
_ENDED: Final = {
    NextAction.COMPLETE: "completed",
    NextAction.BLOCKED: "blocked",
    NextAction.NEEDS_REVISION: "revised",
    None: "released",
}


def _receipt(ending: Ending, artifacts: Sequence[ArtifactDraft]) -> str:
    """Digest what a completion says, so that the same one sent twice is known."""
    said = [
        ending.action,
        ending.summary,
        dump_json(dict(ending.outputs), "outputs"),
        [(a.title, a.digest) for a in artifacts],
    ]
    said += ["later"] if ending.later else []
    return hashlib.sha256(dump_json(said, "summary").encode()).hexdigest()


def _edges_decided(task: Task) -> tuple[list[str], list[str]]:
    """Return the outcomes that are met by how the task stands, and those that never will be."""
    decided = {
        on: lifecycle.edge_met(on, task.status, was_blocked=task.was_blocked) for on in Outcome
    }
    return [str(on) for on, met in decided.items() if met], [
        str(on) for on, met in decided.items() if met is False
    ]


def _tallied(query: TaskQuery) -> TaskQuery:
    """Return *query* with nothing but what is counted all the time; equal to it when it asks for no more."""
    return TaskQuery(
        session_id=query.session_id,
        recoveries=query.recoveries,
        include_archived=query.include_archived,
        limit=query.limit,
        offset=query.offset,
    )


def _where(query: TaskQuery) -> tuple[str, str, list[Any]]:
    """Return what comes before the statement, what follows its table, and the values for both, in order."""
    subtree = query.parent_task_id is not None and query.include_children
    tests: list[tuple[str, tuple[Any, ...]]] = [
        (f"tasks.{column} = ?", (wanted,))
        for column in (
            "session_id",
            "task_type",
            "specialist_type",
            "complexity",
            "recovers_task_id",
            "worktree",
        )
        if (wanted := getattr(query, column)) is not None
    ]
    tests += [
        (f"tasks.{column}_at {sign} ?", (dump_time(moment),))
        for column in ("created", "updated")
        for side, sign in (("after", ">="), ("before", "<"))
        if (moment := getattr(query, f"{column}_{side}")) is not None
    ]
    if query.parent_task_id is not None and not subtree:
        tests.append(("tasks.parent_task_id = ?", (query.parent_task_id,)))
    if query.status:
        tests.append(
            (
                f"tasks.status IN ({', '.join('?' for _ in query.status)})",
                tuple(map(str, query.status)),
            )
        )
    if query.recoveries is not None:
        tests.append(
            (f"tasks.task_type {'=' if query.recoveries else '<>'} ?", (lifecycle.RECOVERY,))
        )
    if query.ready is not None:
        tests.append(
            (
                f"{'' if query.ready else 'NOT '}(tasks.status = 'pending' AND tasks.blockers = 0)",
                (),
            )
        )
    tests += [(sql, values) for wanted, sql, values in _text_tests(query) if wanted is not None]
    if not query.include_archived:
        tests.append(("tasks.archived = 0", ()))
    prefix, source, first = (
        (_SUBTREE, "JOIN below ON below.id = tasks.id", (query.parent_task_id,))
        if subtree
        else ("", "", ())
    )
    where = " AND ".join(sql for sql, _ in tests) or "TRUE"
    return (
        prefix,
        f"{source} WHERE {where}",
        [*first, *(value for _, values in tests for value in values)],
    )


def _text_tests(query: TaskQuery) -> list[tuple[str | None, str, tuple[Any, ...]]]:
    prefix = query.alias_prefix
    held = (
        "EXISTS (SELECT 1 FROM attempts WHERE attempts.task_id = tasks.id AND attempts.agent = ?)"
    )
    return [
        (
            query.text,
            "instr(lower(tasks.title || ' ' || tasks.description), lower(?)) > 0",
            (query.text,),
        ),
        (prefix, "substr(tasks.alias, 1, ?) = ?", (len(prefix or ""), prefix)),
        (query.agent, held, (query.agent,)),
    ]
