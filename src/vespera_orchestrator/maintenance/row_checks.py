"""The rows of a store against the rules: references, counters recomputed, states against the event log."""

from __future__ import annotations

import json
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import (
    AttemptEnding,
    Dependency,
    EventKind,
    Finding,
    FindingKind,
    Outcome,
    RowFix,
    Severity,
    Task,
    TaskStatus,
)
from vespera_orchestrator.contracts import TABLES
from vespera_orchestrator.errors import ConditionError, StoreError
from vespera_orchestrator.maintenance.reports import REPAIR
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vespera_orchestrator._model import JsonValue
    from vespera_orchestrator.contracts import Ledger

_STEP: Final = 20_000

_fault = partial(Finding, severity=Severity.ERROR)


@attrs.define(kw_only=True)
class _Fact:
    """What has to be known of a task. It has what the rules read of a `Task`."""

    id: str
    alias: str
    session_id: str
    status: TaskStatus
    task_type: str
    parent_task_id: str | None
    recovers_task_id: str | None
    attempts: int
    was_blocked: bool
    blockers: int
    archived: bool
    ended: bool
    updated_at: int
    condition: str | None
    condition_names: Mapping[str, str]
    outputs_text: str
    dependencies: tuple[Dependency, ...] = ()
    edges: list[dict[str, Any]] = attrs.field(factory=list)
    open_children: int = 0

    @property
    def outputs(self) -> JsonValue:
        """What the completion handed on."""
        return json.loads(self.outputs_text)

    @classmethod
    def of(cls, row: Mapping[str, JsonValue]) -> _Fact:
        """Make it of a row; a row that no store of ours wrote raises."""
        for name in TABLES["tasks"].structures:
            json.loads(row[name] or "{}")
        return cls(
            id=row["id"],
            alias=row["alias"],
            session_id=row["session_id"],
            status=TaskStatus(row["status"]),
            task_type=row["task_type"],
            parent_task_id=row["parent_task_id"],
            recovers_task_id=row["recovers_task_id"],
            attempts=row["attempts"],
            was_blocked=bool(row["was_blocked"]),
            blockers=row["blockers"],
            archived=bool(row["archived"]),
            ended=row["ended_at"] is not None,
            updated_at=row["updated_at"],
            condition=row["condition"],
            condition_names=json.loads(row["condition_names"] or "{}"),
            outputs_text=row["outputs"],
        )

    @property
    def name(self) -> str:
        """What to call it."""
        return f"task {self.alias} ({self.id})"

    @property
    def needs(self) -> list[str]:
        """The ids of what it depends on."""
        return [edge.task for edge in self.dependencies]


class Rows:
    """One look at all rows, as of one moment.

    Args:
        ledger: The rows.
        now: The time for what repair would write, in microseconds since 1970.
        progress: Is told what is being looked at.
    """

    def __init__(self, ledger: Ledger, now: int, progress: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._now = now
        self._progress = progress
        self._facts: dict[str, _Fact] = {}
        self._sessions: dict[str, str | None] = {}
        self._attempts: dict[str, set[int]] = {}
        self._artifacts: dict[str, dict[str, Any]] = {}
        self.digests: dict[str, list[str]] = {}
        """Every content that is referred to, and by what."""
        self.counts: dict[str, int] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield what is not as it should be. Reads each table once."""
        yield from self._session_rows()
        yield from self._task_rows()
        yield from self._edges()
        if self._facts:
            yield from self._references()
            yield from self._counters()
            yield from self._circles()
        yield from self._attempt_rows()
        yield from self._checkpoint_rows()
        yield from self._artifact_rows()
        yield from self._given_rows()
        yield from self._document_rows()
        yield from self._others("worktrees")
        yield from self._event_rows()
        yield from self._tallies()

    def _rows(self, table: str, broken: list[Finding]) -> Iterator[dict[str, Any]]:
        self._progress(f"rows of {table}")
        number = 0
        try:
            for number, row in enumerate(self._ledger.rows(table), 1):
                if number % _STEP == 0:
                    self._progress(f"rows of {table}: {number:,}")
                yield row
        except StoreError as exc:
            remedy = "keep a copy of the home, and put a backup in its place"
            broken.append(
                _fault(
                    kind=FindingKind.STORAGE,
                    subject=table,
                    sentence=f"the table {table} cannot be read behind row {number}: {exc}",
                    remedy=remedy,
                )
            )
        self.counts[table] = number

    def _unreadable(self, table: str, row: Mapping[str, JsonValue], exc: Exception) -> Finding:
        subject = " ".join(str(row[name]) for name in TABLES[table].key)
        problem = f"the row {subject!r} of {table} cannot be read back: {exc}"
        return _fault(
            kind=FindingKind.ROW,
            subject=subject,
            sentence=problem,
            remedy="no store of ours writes such a row: put a backup in its place, or correct it by hand",
        )

    def _sound(self, table: str, row: Mapping[str, JsonValue]) -> Finding | None:
        try:
            for name in TABLES[table].structures:
                json.loads(row[name])
        except (ValueError, TypeError, RecursionError) as exc:
            return self._unreadable(table, row, exc)
        return None

    # --- sessions, tasks, edges -----------------------------------------------

    def _session_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        for row in self._rows("sessions", broken):
            self._sessions[row["id"]] = row["parent_session_id"]
            broken += [bad] if (bad := self._sound("sessions", row)) else []
        yield from broken
        for session, parent in self._sessions.items():
            if parent is not None and parent not in self._sessions:
                mend = RowFix(
                    verb="change",
                    table="sessions",
                    key={"id": session},
                    values={"parent_session_id": None},
                )
                yield _fault(
                    kind=FindingKind.REFERENCE,
                    subject=session,
                    sentence=f"session {session} is part of {parent}, which is not there",
                    remedy=REPAIR,
                    fixes=(mend,),
                )

    def _task_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        for row in self._rows("tasks", broken):
            try:
                self._facts[row["id"]] = _Fact.of(row)
            except (ValueError, TypeError, KeyError, RecursionError) as exc:
                broken.append(self._unreadable("tasks", row, exc))
        yield from broken
        for fact in self._facts.values():
            parent = self._facts.get(fact.parent_task_id or "")
            if parent is not None and not fact.status.is_terminal:
                parent.open_children += 1

    def _edges(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        for row in self._rows("dependencies", broken):
            fact, needed = self._facts.get(row["task_id"]), self._facts.get(row["needs_id"])
            if fact is None or needed is None:
                lost = row["task_id"] if fact is None else row["needs_id"]
                key = {"task_id": row["task_id"], "needs_id": row["needs_id"]}
                mends = (
                    ()
                    if fact is not None and row["needs_id"] in fact.condition_names.values()
                    else (RowFix(verb="remove", table="dependencies", key=key),)
                )
                problem = f"a dependency of {row['task_id']} on {row['needs_id']} names {lost}, which is not there"
                broken.append(
                    _fault(
                        kind=FindingKind.REFERENCE,
                        subject=row["task_id"],
                        sentence=problem,
                        remedy=REPAIR if mends else "plan the task anew",
                        fixes=mends,
                    )
                )
            else:
                fact.edges.append(row)
        yield from broken
        for fact in self._facts.values():
            fact.edges.sort(key=lambda row: row["position"])
            try:
                fact.dependencies = tuple(
                    Dependency(row["needs_id"], Outcome(row["on_outcome"])) for row in fact.edges
                )
            except ValueError as exc:
                yield self._unreadable("dependencies", fact.edges[0], exc)

    def _references(self) -> Iterator[Finding]:
        for fact in self._facts.values():
            if fact.session_id not in self._sessions:
                yield _fault(
                    kind=FindingKind.REFERENCE,
                    subject=fact.id,
                    sentence=f"{fact.name} is of session {fact.session_id}, which is not there",
                    remedy="put a backup in its place",
                )
            for column in ("parent_task_id", "recovers_task_id"):
                other = getattr(fact, column)
                if other is not None and (
                    other not in self._facts or self._facts[other].session_id != fact.session_id
                ):
                    mend = RowFix(
                        verb="change", table="tasks", key={"id": fact.id}, values={column: None}
                    )
                    problem = f"{fact.name} names {other} as {column}, which is not there"
                    yield _fault(
                        kind=FindingKind.REFERENCE,
                        subject=fact.id,
                        sentence=problem,
                        remedy=REPAIR,
                        fixes=(mend,),
                    )
            if fact.ended != fact.status.is_terminal:
                mend = RowFix(
                    verb="change",
                    table="tasks",
                    key={"id": fact.id},
                    values={"ended_at": fact.updated_at if fact.status.is_terminal else None},
                )
                yield _fault(
                    kind=FindingKind.STATE,
                    subject=fact.id,
                    sentence=f"{fact.name} is {fact.status}, and its end says otherwise",
                    remedy=REPAIR,
                    fixes=(mend,),
                )
            if fact.archived and not fact.status.is_terminal:
                mend = RowFix(
                    verb="change", table="tasks", key={"id": fact.id}, values={"archived": 0}
                )
                yield _fault(
                    kind=FindingKind.STATE,
                    subject=fact.id,
                    sentence=f"{fact.name} is archived and has not ended",
                    remedy=REPAIR,
                    fixes=(mend,),
                )
        yield from self._second_recoveries()

    def _second_recoveries(self) -> Iterator[Finding]:
        running = [
            fact
            for fact in self._facts.values()
            if fact.recovers_task_id is not None and not fact.status.is_terminal
        ]
        for task_id, number in Counter(fact.recovers_task_id for fact in running).items():
            if number > 1 and task_id in self._facts:
                names = ", ".join(
                    fact.alias for fact in running if fact.recovers_task_id == task_id
                )
                yield _fault(
                    kind=FindingKind.STATE,
                    subject=str(task_id),
                    sentence=f"{self._facts[task_id].name} has {number} open recoveries: {names}",
                    remedy="cancel all but one",
                )

    # --- counters ---------------------------------------------------------------

    def _counters(self) -> Iterator[Finding]:
        self._progress("counters")
        needed = cast("Mapping[str, Task]", self._facts)
        for fact in self._facts.values():
            yield from self._edge_marks(fact)
            if fact.status is not TaskStatus.PENDING:
                continue
            try:
                unknown = set(fact.condition_names.values()) - set(fact.needs)
                stands = None if unknown else lifecycle.readiness(cast("Task", fact), needed)
            except (ConditionError, KeyError) as exc:
                yield _fault(
                    kind=FindingKind.CONDITION,
                    subject=fact.id,
                    sentence=f"the condition of {fact.name} cannot be understood: {exc}",
                    remedy="plan the task anew",
                )
                continue
            if stands is None:
                yield _fault(
                    kind=FindingKind.CONDITION,
                    subject=fact.id,
                    sentence=f"the condition of {fact.name} names what it does not depend on",
                    remedy="plan the task anew",
                )
            elif stands.impossible:
                yield self._never(fact, lifecycle.skip_reason(cast("Task", fact), stands, needed))
            elif fact.blockers != stands.blockers + fact.open_children:
                true = stands.blockers + fact.open_children
                mend = RowFix(
                    verb="change", table="tasks", key={"id": fact.id}, values={"blockers": true}
                )
                problem = (
                    f"{fact.name} is said to wait for {fact.blockers} things, and waits for {true}"
                )
                yield _fault(
                    kind=FindingKind.COUNTER,
                    subject=fact.id,
                    sentence=problem,
                    remedy=REPAIR,
                    fixes=(mend,),
                )

    def _edge_marks(self, fact: _Fact) -> Iterator[Finding]:
        governed = frozenset(fact.condition_names.values())
        for row, edge in zip(fact.edges, fact.dependencies, strict=False):
            other = self._facts[edge.task]
            true = {"governed": int(edge.task in governed)}
            # What a condition governs is not counted, so its mark is not kept up.
            if edge.task not in governed and fact.status is TaskStatus.PENDING:
                true["met"] = int(
                    lifecycle.edge_met(edge.on, other.status, was_blocked=other.was_blocked) is True
                )
            wrong = {name: value for name, value in true.items() if row[name] != value}
            if wrong:
                mend = RowFix(
                    verb="change",
                    table="dependencies",
                    key={"task_id": fact.id, "needs_id": edge.task},
                    values=wrong,
                )
                yield _fault(
                    kind=FindingKind.COUNTER,
                    subject=fact.id,
                    sentence=f"the mark of {fact.name} waiting for {other.alias} is wrong",
                    remedy=REPAIR,
                    fixes=(mend,),
                )

    def _never(self, fact: _Fact, reason: str) -> Finding:
        values = {
            "status": TaskStatus.SKIPPED,
            "reason": reason,
            "ended_at": self._now,
            "updated_at": self._now,
        }
        mends = (
            RowFix(verb="change", table="tasks", key={"id": fact.id}, values=values),
            self._event(EventKind.TASK_SKIPPED, fact, {"reason": reason}),
        )
        return _fault(
            kind=FindingKind.STATE,
            subject=fact.id,
            sentence=f"{fact.name} can never become ready ({reason}), and was not skipped",
            remedy=REPAIR,
            fixes=mends,
        )

    def _event(self, kind: EventKind, fact: _Fact, data: Mapping[str, JsonValue]) -> RowFix:
        row = {
            "at": self._now,
            "kind": kind,
            "session_id": fact.session_id,
            "task_id": fact.id,
            "agent": None,
        }
        return RowFix(verb="put", table="events", key=row | {"data": dump_json(data, kind)})

    def _circles(self) -> Iterator[Finding]:
        """Take away, again and again, what waits for nothing; what remains goes round in a circle, or waits for one."""
        waits = {fact.id: list(fact.needs) for fact in self._facts.values()}
        for fact in self._facts.values():
            if fact.parent_task_id in waits:
                waits[fact.parent_task_id].append(fact.id)
            if fact.recovers_task_id in waits and not fact.status.is_terminal:
                waits[fact.recovers_task_id].append(fact.id)
        waiters: dict[str, list[str]] = {}
        for task, needs in waits.items():
            for other in needs:
                waiters.setdefault(other, []).append(task)
        left = {task: len(needs) for task, needs in waits.items()}
        queue = deque(task for task, number in left.items() if not number)
        while queue:
            for waiter in waiters.get(queue.popleft(), ()):
                left[waiter] -= 1
                if not left[waiter]:
                    queue.append(waiter)
        stuck = [self._facts[task].alias for task, number in left.items() if number]
        if stuck:
            names = ", ".join(stuck[:10]) + (" …" if len(stuck) > 10 else "")  # noqa: PLR2004 - ten names fit a line
            yield _fault(
                kind=FindingKind.CIRCLE,
                subject=stuck[0],
                sentence=f"tasks wait for each other in a circle: among {names}",
                remedy="remove one of the dependencies",
            )

    # --- attempts, checkpoints ----------------------------------------------------

    def _attempt_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        held: set[str] = set()
        for row in self._rows("attempts", broken):
            fact, key = (
                self._facts.get(row["task_id"]),
                {"task_id": row["task_id"], "number": row["number"]},
            )
            if fact is None:
                problem = f"attempt {row['number']} is of task {row['task_id']}, which is not there"
                broken.append(
                    _fault(
                        kind=FindingKind.REFERENCE,
                        subject=row["task_id"],
                        sentence=problem,
                        remedy=REPAIR,
                        fixes=(RowFix(verb="remove", table="attempts", key=key),),
                    )
                )
                continue
            self._attempts.setdefault(fact.id, set()).add(row["number"])
            # Work that is handed in to be merged later keeps its task in progress: nobody holds it, and nobody needs to.
            running = row["ended_at"] is None or row["ending"] == AttemptEnding.HANDED_IN
            if running and fact.status is TaskStatus.IN_PROGRESS and row["number"] == fact.attempts:
                held.add(fact.id)
            elif row["ended_at"] is None:
                ended = {
                    "ended_at": self._now,
                    "ending": AttemptEnding.ABANDONED,
                    "error": "found open by a check",
                }
                problem = f"attempt {row['number']} at {fact.name} has no end, and the task is {fact.status}"
                broken.append(
                    _fault(
                        kind=FindingKind.STATE,
                        subject=fact.id,
                        sentence=problem,
                        remedy=REPAIR,
                        fixes=(RowFix(verb="change", table="attempts", key=key, values=ended),),
                    )
                )
        yield from broken
        for fact in self._facts.values():
            yield from self._hold(fact, held)

    def _hold(self, fact: _Fact, held: set[str]) -> Iterator[Finding]:
        latest = max(self._attempts.get(fact.id, ()), default=0)
        if latest > fact.attempts:
            mend = RowFix(
                verb="change", table="tasks", key={"id": fact.id}, values={"attempts": latest}
            )
            yield _fault(
                kind=FindingKind.COUNTER,
                subject=fact.id,
                sentence=f"{fact.name} counts {fact.attempts} attempts, and has {latest}",
                remedy=REPAIR,
                fixes=(mend,),
            )
        elif fact.status is TaskStatus.IN_PROGRESS and fact.id not in held:
            released = RowFix(
                verb="change",
                table="tasks",
                key={"id": fact.id},
                values={"status": TaskStatus.PENDING, "updated_at": self._now},
            )
            mends = (
                released,
                self._event(EventKind.LEASE_EXPIRED, fact, {"attempt": fact.attempts}),
            )
            yield _fault(
                kind=FindingKind.STATE,
                subject=fact.id,
                sentence=f"{fact.name} is in progress, and nobody holds it",
                remedy=REPAIR,
                fixes=mends,
            )

    def _checkpoint_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        for row in self._rows("checkpoints", broken):
            if bad := self._sound("checkpoints", row):
                broken.append(bad)
            elif row["task_id"] not in self._facts:
                problem = f"checkpoint {row['id']} is of task {row['task_id']}, which is not there"
                broken.append(
                    _fault(
                        kind=FindingKind.REFERENCE,
                        subject=str(row["id"]),
                        sentence=problem,
                        remedy=REPAIR,
                        fixes=(RowFix(verb="remove", table="checkpoints", key={"id": row["id"]}),),
                    )
                )
        yield from broken

    # --- artifacts, documents, worktrees ------------------------------------------

    def _artifact_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        followed: set[str] = set()
        for row in self._rows("artifacts", broken):
            broken += [bad] if (bad := self._sound("artifacts", row)) else []
            wanted = (
                "id",
                "session_id",
                "task_id",
                "agent",
                "title",
                "kind",
                "supersedes_id",
                "superseded",
            )
            self._artifacts[row["id"]] = {name: row[name] for name in wanted}
            self.digests.setdefault(row["digest"], []).append(
                f"artifact {row['id']} {row['title']!r}"
            )
            if row["supersedes_id"] is not None:
                followed.add(row["supersedes_id"])
            if row["session_id"] not in self._sessions:
                problem = (
                    f"artifact {row['id']} is of session {row['session_id']}, which is not there"
                )
                broken.append(
                    _fault(
                        kind=FindingKind.REFERENCE,
                        subject=row["id"],
                        sentence=problem,
                        remedy="put a backup in its place",
                    )
                )
        yield from broken
        for artifact, row in self._artifacts.items():
            if bool(row["superseded"]) != (artifact in followed):
                mend = RowFix(
                    verb="change",
                    table="artifacts",
                    key={"id": artifact},
                    values={"superseded": int(artifact in followed)},
                )
                problem = f"artifact {artifact} {row['title']!r} is {'' if row['superseded'] else 'not '}marked as superseded, wrongly"
                yield _fault(
                    kind=FindingKind.COUNTER,
                    subject=artifact,
                    sentence=problem,
                    remedy=REPAIR,
                    fixes=(mend,),
                )
        for lost in sorted(followed - self._artifacts.keys()):
            yield _fault(
                kind=FindingKind.REFERENCE,
                subject=lost,
                sentence=f"artifact {lost}, an earlier version of another, is not there",
                remedy="put a backup in its place",
            )

    def _given_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        for row in self._rows("given", broken):
            key = {"task_id": row["task_id"], "artifact_id": row["artifact_id"]}
            artifact, told = (
                self._artifacts.get(row["artifact_id"]),
                f"artifact {row['artifact_id']}, given to task {row['task_id']},",
            )
            if artifact is None or row["task_id"] not in self._facts:
                problem = f"{told} is not there, or the task is not"
                broken.append(
                    _fault(
                        kind=FindingKind.REFERENCE,
                        subject=row["task_id"],
                        sentence=problem,
                        remedy=REPAIR,
                        fixes=(RowFix(verb="remove", table="given", key=key),),
                    )
                )
            elif bool(row["stale"]) != bool(artifact["superseded"]):
                mend = RowFix(
                    verb="change",
                    table="given",
                    key=key,
                    values={"stale": int(artifact["superseded"])},
                )
                problem = (
                    f"{told} is {'' if row['stale'] else 'not '}marked as changed since, wrongly"
                )
                broken.append(
                    _fault(
                        kind=FindingKind.COUNTER,
                        subject=row["task_id"],
                        sentence=problem,
                        remedy=REPAIR,
                        fixes=(mend,),
                    )
                )
        yield from broken

    def _document_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        for row in self._rows("document_versions", broken):
            self.digests.setdefault(row["digest"], []).append(
                f"document {row['path']} v{row['version']}"
            )
        yield from broken

    def _others(self, table: str) -> Iterator[Finding]:
        broken: list[Finding] = []
        for _ in self._rows(table, broken):
            pass
        yield from broken

    # --- the log ------------------------------------------------------------------

    def _event_rows(self) -> Iterator[Finding]:
        broken: list[Finding] = []
        said: dict[str, str] = {}
        saved: set[str] = set()
        for row in self._rows("events", broken):
            if row["kind"] in lifecycle.STATUS_AFTER_EVENT:
                said[row["task_id"]] = str(lifecycle.STATUS_AFTER_EVENT[row["kind"]])
            if bad := self._sound("events", row):
                broken.append(bad)
            elif row["kind"] == EventKind.STORE_REPAIRED and row["task_id"] is not None:
                said[row["task_id"]] = json.loads(row["data"]).get(
                    "status", said.get(row["task_id"])
                )
            elif row["kind"] == EventKind.ARTIFACT_SAVED:
                saved.add(str(json.loads(row["data"]).get("artifact")))
        yield from broken
        for fact in self._facts.values():
            if said.get(fact.id) != fact.status:
                told = said.get(fact.id, "nothing")
                mend = self._event(
                    EventKind.STORE_REPAIRED, fact, {"status": str(fact.status), "log_said": told}
                )
                problem = f"{fact.name} is {fact.status}, and the event log tells of {told}"
                yield _fault(
                    kind=FindingKind.LOG,
                    subject=fact.id,
                    sentence=problem,
                    remedy=REPAIR,
                    fixes=(mend,),
                )
        yield from self._unheard(saved)

    def _unheard(self, saved: set[str]) -> Iterator[Finding]:
        for artifact, row in self._artifacts.items():
            if artifact not in saved:
                data = {
                    "artifact": artifact,
                    "title": row["title"],
                    "kind": row["kind"],
                    "supersedes": row["supersedes_id"],
                }
                event = {
                    "at": self._now,
                    "kind": EventKind.ARTIFACT_SAVED,
                    **{name: row[name] for name in ("session_id", "task_id", "agent")},
                }
                mend = RowFix(
                    verb="put",
                    table="events",
                    key=event | {"data": dump_json(data, EventKind.ARTIFACT_SAVED)},
                )
                problem = (
                    f"no event tells of artifact {artifact} {row['title']!r}, so no search finds it"
                )
                yield _fault(
                    kind=FindingKind.LOG,
                    subject=artifact,
                    sentence=problem,
                    remedy=REPAIR,
                    fixes=(mend,),
                )
        for lost in sorted(saved - self._artifacts.keys()):
            yield _fault(
                kind=FindingKind.LOG,
                subject=lost,
                sentence=f"the event log tells of artifact {lost}, which is not there",
                remedy="put a backup in its place",
            )

    def _tallies(self) -> Iterator[Finding]:
        if "tallies" not in self._ledger.tables:
            return
        true = Counter(
            (f.session_id, int(f.archived), int(f.task_type == lifecycle.RECOVERY), str(f.status))
            for f in self._facts.values()
        )
        names = ("session_id", "archived", "recovery", "status")
        counted = {
            tuple(row[name] for name in names): row["tasks"] for row in self._ledger.rows("tallies")
        }
        for key in sorted({*true, *counted}):
            if true[key] != counted.get(key, 0):
                where = dict(zip(names, key, strict=True))
                put = RowFix(verb="put", table="tallies", key={**where, "tasks": true[key]})
                mend = (
                    RowFix(verb="change", table="tallies", key=where, values={"tasks": true[key]})
                    if key in counted
                    else put
                )
                problem = f"session {key[0]} is said to have {counted.get(key, 0)} tasks that are {key[3]}, and has {true[key]}"
                yield _fault(
                    kind=FindingKind.COUNTER,
                    subject=key[0],
                    sentence=problem,
                    remedy=REPAIR,
                    fixes=(mend,),
                )
