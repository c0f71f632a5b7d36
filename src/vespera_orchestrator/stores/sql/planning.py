"""From drafts to rows: names resolved, circles refused, conditions bound. All within the caller's transaction."""

from __future__ import annotations

import difflib
import json
from collections import deque
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

import attrs

from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import Dependency, Task, TaskStatus, is_alias, is_id, new_id, slug
from vespera_orchestrator.errors import (
    AliasTakenError,
    ConditionError,
    CycleError,
    InvalidPlanError,
    PlanError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.stores.sql import rows as _sql
from vespera_orchestrator.tasks import conditions, lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from vespera_orchestrator._model import TaskDraft
    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.stores.sql.lifecycle import Connection


class Planner:
    """Turns the drafts of one plan into tasks, none of which is written yet."""

    def __init__(
        self,
        db: Connection,
        session_id: str,
        drafts: Sequence[TaskDraft],
        now: int,
        mistakes: Sequence[VesperaError] = (),
    ) -> None:
        self.db = db
        self.session_id = session_id
        self.drafts = drafts
        self.now = load_time(now)
        self.ids = [new_id("t") for _ in drafts]
        self.aliases: dict[str, str] = {
            f"#{number}": task_id for number, task_id in enumerate(self.ids)
        }
        """Alias to id, for the tasks of this plan, and ``#0``, ``#1`` … for its tasks whatever their alias."""
        self.found: dict[str, Task] = {}
        """The tasks planned before that the drafts name, by id; without their own edges."""
        self.known: dict[str, str | None] = {}
        """What a reference means, as far as it was looked up."""
        self.taken: dict[str, str | None] = {}
        """Who has an alias, as far as it was looked up."""
        self.mistakes = list(mistakes)
        """What is wrong with the plan; all of it is told at once."""

    def tasks(self) -> list[Task]:
        """Return the tasks, pending, their blockers not counted yet.

        Raises:
            PlanError: Or one of its branches; see `contracts.Store.plan`.
            AliasTakenError: An alias that was given is taken.
            TransitionError: The parent has ended.
        """
        self._look_up()
        names = self._name_all()
        tasks = [
            self._task(task_id, alias, draft)
            for task_id, alias, draft in zip(self.ids, names, self.drafts, strict=True)
        ]
        with self._noting():
            self._refuse_circles_within(tasks)
        if len(self.mistakes) > 1:
            raise InvalidPlanError(
                f"the plan has {len(self.mistakes)} mistakes", mistakes=tuple(self.mistakes)
            )
        if self.mistakes:
            raise self.mistakes[0]
        return tasks

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (PlanError, AliasTakenError, TransitionError) as exc:
            self.mistakes.append(exc)

    def _look_up(self) -> None:
        """Read at once what the drafts name: a statement for each reference would cost more than all the rest."""
        refs = dict.fromkeys(edge.task for draft in self.drafts for edge in draft.dependencies)
        refs |= dict.fromkeys(draft.parent for draft in self.drafts if draft.parent is not None)
        for column, wanted in (
            ("id", [ref for ref in refs if is_id(ref)]),
            ("alias", [ref for ref in refs if not is_id(ref)]),
        ):
            self.known |= dict.fromkeys(wanted)
            for task in map(_without_edges, self._select(_sql.TASK, column, wanted)):
                self.found[task.id] = task
                self.known[getattr(task, column)] = task.id
        wanted = [
            slug(draft.title) if draft.alias is None else draft.alias for draft in self.drafts
        ]
        self.taken = dict.fromkeys(wanted) | dict(self._select("alias, id", "alias", wanted))

    def _select(self, columns: str, column: str, wanted: Sequence[str]) -> list[Any]:
        if not wanted:
            return []
        one = len(wanted) == 1
        session = (
            "+session_id" if column == "id" else "session_id"
        )  # the plus keeps SQLite from walking through the whole session
        sql = f"SELECT {columns} FROM tasks WHERE {session} = ? AND {column} {'= ?' if one else 'IN (SELECT value FROM json_each(?))'}"
        found: list[Any] = self.db.execute(
            sql, (self.session_id, wanted[0] if one else json.dumps(wanted))
        ).fetchall()
        return found

    # names

    def _name_all(self) -> list[str]:
        names: list[str | None] = [None] * len(self.drafts)
        for number, (task_id, draft) in enumerate(zip(self.ids, self.drafts, strict=True)):
            with self._noting():
                names[number] = self._given_alias(task_id, draft)
        return [
            name if name is not None else self._made_alias(task_id, draft)
            for name, task_id, draft in zip(names, self.ids, self.drafts, strict=True)
        ]

    def _given_alias(self, task_id: str, draft: TaskDraft) -> str | None:
        alias = draft.alias
        if alias is None:
            return None
        if not is_alias(alias):
            problem = f"alias {alias!r} is none: a letter, then letters, digits and underscores, no word of the condition language"
            raise PlanError(problem, draft.place)
        taken = self.aliases.get(alias) or self._taken(alias)
        if taken:
            raise AliasTakenError(alias, taken)
        self.aliases[alias] = task_id
        return alias

    def _made_alias(self, task_id: str, draft: TaskDraft) -> str:
        base = (
            slug(draft.title)
            if draft.recovers_task_id is None
            else self._recovery_alias(draft.recovers_task_id)
        )
        alias = base if self._free(base) else f"{base}_{self._free_number(base)}"
        self.aliases[alias] = task_id
        return alias

    def _recovery_alias(self, recovers: str) -> str:
        row = self.db.execute("SELECT alias FROM tasks WHERE id = ?", (recovers,)).fetchone()
        return f"recover_{row[0]}"[:60]

    def _free(self, alias: str) -> bool:
        return alias not in self.aliases and is_alias(alias) and not self._taken(alias)

    def _free_number(self, base: str) -> int:
        # Doubling, then halving: a thousand tasks of one title cost ten look-ups each, not a thousand.
        high = 2
        while not self._free(f"{base}_{high}"):
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._free(f"{base}_{middle}") else (middle, high)
        return high

    def _taken(self, alias: str) -> str | None:
        if alias not in self.taken:
            found = self._select("id", "alias", [alias])
            self.taken[alias] = found[0][0] if found else None
        return self.taken[alias]

    # references

    def _resolve(self, ref: str) -> str | None:
        if ref in self.aliases:
            return self.aliases[ref]
        if ref not in self.known:
            found = self._select("id", "id" if is_id(ref) else "alias", [ref])
            self.known[ref] = found[0][0] if found else None
        return self.known[ref]

    def _task_id(self, ref: str, draft: TaskDraft, what: str) -> str:
        found = self._resolve(ref)
        if found is None:
            known = [alias for alias in self.aliases if not alias.startswith("#")]
            near = difflib.get_close_matches(ref, [*known, *self._all_aliases()], 3)
            hint = (
                f"; did you mean {', '.join(near)}?"
                if near
                else "; plan it first, or in the same plan"
            )
            raise UnknownDependencyError(
                f"{what} {ref!r} is not a task of this session{hint}", draft.place, ref
            )
        return found

    def _all_aliases(self) -> list[str]:
        return [
            row[0]
            for row in self.db.execute(
                "SELECT alias FROM tasks WHERE session_id = ? LIMIT 5000", (self.session_id,)
            )
        ]

    def _task(self, task_id: str, alias: str, draft: TaskDraft) -> Task:
        edges = self._edges(task_id, draft)
        parent: str | None = None
        names: dict[str, str] = {}
        with self._noting():
            parent = self._parent(task_id, draft)
        with self._noting():
            names = self._bind(draft, edges) if draft.condition is not None else {}
        return Task(
            id=task_id,
            alias=alias,
            session_id=self.session_id,
            title=draft.title,
            description=draft.description,
            status=TaskStatus.PENDING,
            task_type=draft.task_type,
            complexity=draft.complexity,
            specialist_type=draft.specialist_type,
            priority=draft.priority,
            estimated_effort=draft.estimated_effort,
            due_at=draft.due_at,
            parent_task_id=parent,
            dependencies=edges,
            condition=draft.condition,
            condition_names=names,
            context=draft.context,
            outputs={},
            summary=None,
            reason=None,
            attempts=0,
            failures=0,
            max_attempts=draft.max_attempts,
            was_blocked=False,
            blockers=0,
            urgency=0.0,
            recovers_task_id=draft.recovers_task_id,
            archived=False,
            created_at=self.now,
            updated_at=self.now,
            ended_at=None,
        )

    def _edges(self, task_id: str, draft: TaskDraft) -> tuple[Dependency, ...]:
        edges: dict[str, Dependency] = {}
        for edge in draft.dependencies:
            with self._noting():
                needs = self._task_id(edge.task, draft, "dependency")
                if needs == task_id:
                    raise CycleError(
                        "a task cannot wait for itself", draft.place, path=(edge.task, edge.task)
                    )
                if needs in edges and edges[needs].on is not edge.on:
                    problem = f"waits for {edge.task!r} in two ways, {edges[needs].on} and {edge.on}; name it once, or write a condition"
                    raise PlanError(problem, draft.place)
                edges[needs] = Dependency(needs, edge.on)
        return tuple(edges.values())

    def _parent(self, task_id: str, draft: TaskDraft) -> str | None:
        if draft.parent is None:
            return None
        parent = self._task_id(draft.parent, draft, "parent")
        if parent == task_id:
            raise CycleError(
                "a task cannot be its own parent", draft.place, path=(draft.parent, draft.parent)
            )
        known = self.found.get(parent)
        if known is not None and known.status.is_terminal and draft.recovers_task_id is None:
            raise TransitionError(
                known.alias, known.status, "take a subtask", reopening(known.alias, known.status)
            )
        return parent

    def _bind(self, draft: TaskDraft, edges: tuple[Dependency, ...]) -> dict[str, str]:
        try:
            condition = conditions.parse(draft.condition or "")
        except ConditionError as exc:
            raise attrs.evolve(exc, place=draft.place) from None
        needed = {edge.task for edge in edges}
        names: dict[str, str] = {}
        for reference in condition.references():
            found = self._resolve(reference.name)
            if found not in needed and len(edges) < len(draft.dependencies):
                continue  # a dependency was misspelt, which has been told
            if found not in needed:
                allowed = tuple(edge.task for edge in draft.dependencies)
                problem = f"{reference.name!r} is none of this task's dependencies"
                raise ConditionError(
                    problem,
                    draft.place,
                    condition.text,
                    reference.column,
                    allowed or ("none: give dependencies= as well",),
                )
            names[reference.name] = str(found)
        return names

    # circles

    def _refuse_circles_within(self, tasks: list[Task]) -> None:
        """Refuse a circle among the new tasks: each waits for its dependencies and for its children."""
        waits: dict[str, list[str]] = {
            task.id: [edge.task for edge in task.dependencies] for task in tasks
        }
        for task in tasks:
            if task.parent_task_id in waits:
                waits[task.parent_task_id].append(task.id)
        open_count = {
            task_id: sum(needs in waits for needs in needed) for task_id, needed in waits.items()
        }
        waiters: dict[str, list[str]] = {}
        for task_id, needed in waits.items():
            for needs in needed:
                waiters.setdefault(needs, []).append(task_id)
        queue = deque(task_id for task_id, count in open_count.items() if not count)
        while queue:
            for waiter in waiters.get(queue.popleft(), ()):
                open_count[waiter] -= 1
                if not open_count[waiter]:
                    queue.append(waiter)
        stuck = {task_id for task_id, count in open_count.items() if count}
        if stuck:
            names = {task.id: task.alias for task in tasks}
            raise circle([names[task_id] for task_id in _walk_round(stuck, waits)])


def _without_edges(row: Any) -> Task:
    return _sql.read_task(row, ())


def _walk_round(stuck: set[str], waits: dict[str, list[str]]) -> list[str]:
    at = min(stuck)
    path: list[str] = []
    seen: dict[str, int] = {}
    while at not in seen:
        seen[at] = len(path)
        path.append(at)
        at = next(needs for needs in waits[at] if needs in stuck)
    return [*path[seen[at] :], at]


def reopening(alias: str, status: str) -> str:
    """Say what can be done about a task that has ended, or is blocked."""
    if status == TaskStatus.COMPLETED:
        return "it is done: plan a further task instead"
    return f"orch.retry_task({alias!r}) makes it pending again"


def circle(path: Sequence[str], place: str = "") -> CycleError:
    """Make the error for a circle along *path* of aliases."""
    return CycleError(
        f"these tasks would wait for each other: {' → '.join(path)}; leave out one of these edges",
        place,
        path=tuple(path),
    )


def refuse_circles_through(db: Connection, tasks: Sequence[Task]) -> None:
    """Refuse a circle that runs through a task that existed before the plan, all rows being written.

    A new task that only names existing ones closes no circle. One that is put under an existing parent may, if what it waits for waits
    for that parent; what lies below that parent cannot, or there had been a circle before. Only the rest is searched.
    """
    new = {task.id: task for task in tasks}
    children: dict[str, list[str]] = {}
    for task in tasks:
        if task.parent_task_id is not None:
            children.setdefault(task.parent_task_id, []).append(task.id)
    for parent in [p for p in children if p not in new]:
        outside = {
            e
            for e in _existing_upstream(children[parent], new, children)
            if not _is_below(db, e, parent)
        }
        if outside and reaches(db, outside, parent):
            raise circle(find_path(db, parent, parent))


def _existing_upstream(
    start: list[str], new: dict[str, Task], children: dict[str, list[str]]
) -> set[str]:
    """Return the existing tasks that the new tasks in *start* wait for, through any number of new ones."""
    queue, seen, found = deque(start), set(start), set()
    while queue:
        at = queue.popleft()
        for needs in [*(edge.task for edge in new[at].dependencies), *children.get(at, ())]:
            if needs not in new:
                found.add(needs)
            elif needs not in seen:
                seen.add(needs)
                queue.append(needs)
    return found


def _is_below(db: Connection, task_id: str, parent: str) -> bool:
    at: str | None = task_id
    while at is not None and at != parent:
        row = db.execute("SELECT parent_task_id FROM tasks WHERE id = ?", (at,)).fetchone()
        at = row[0] if row else None
    return at == parent and task_id != parent


def reaches(db: Connection, starts: Iterable[str], goal: str) -> bool:
    """Tell whether any of *starts* is *goal* or waits for it, however indirectly."""
    return db.execute(REACHES, (_json(starts), goal)).fetchone() is not None


REACHES: Final = """
    WITH RECURSIVE up (id) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT needs_id FROM dependencies JOIN up ON task_id = up.id
        UNION SELECT tasks.id FROM tasks JOIN up ON parent_task_id = up.id
        UNION SELECT tasks.id FROM tasks JOIN up ON recovers_task_id = up.id AND status IN ('pending', 'in_progress', 'blocked')
    )
    SELECT 1 FROM up WHERE id = ?2 LIMIT 1
"""


def find_path(db: Connection, start: str, goal: str) -> list[str]:
    """Return the aliases from *start* to *goal* along "waits for", or an empty list. Dependencies and subtasks are both followed."""
    came_from: dict[str, str] = {}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        for needs in waits_for(db, at):
            if needs == goal:
                came_from.setdefault("", at)
                return _aliases(db, start, at, goal, came_from)
            if needs not in came_from and needs != start:
                came_from[needs] = at
                queue.append(needs)
    return []


def waits_for(db: Connection, task_id: str) -> list[str]:
    """Return the ids of the tasks that this one waits for directly: dependencies, subtasks, an open recovery."""
    sql = """
        SELECT needs_id FROM dependencies WHERE task_id = ?1
        UNION ALL SELECT id FROM tasks WHERE parent_task_id = ?1
        UNION ALL SELECT id FROM tasks WHERE recovers_task_id = ?1 AND status IN ('pending', 'in_progress', 'blocked')
    """
    return [row[0] for row in db.execute(sql, (task_id,))]


def _aliases(
    db: Connection, start: str, at: str, goal: str, came_from: dict[str, str]
) -> list[str]:
    path = [goal]
    while at != start:
        path.append(at)
        at = came_from[at]
    path.append(start)
    names = {
        row[0]: row[1]
        for row in db.execute(
            "SELECT id, alias FROM tasks WHERE id IN (SELECT value FROM json_each(?))",
            (_json(path),),
        )
    }
    return [names[task_id] for task_id in reversed(path)]


def _json(values: Iterable[str]) -> str:
    return "[" + ",".join(f'"{value}"' for value in values) + "]"


# --- what unblocks most -------------------------------------------------------

_FAR: Final = 16
"""How many levels upward the weight of new tasks is carried to tasks that were weighed before. Each level costs a statement, and a chain
planned one by one, and looked at each time, would pay for its whole length each time."""


def urgencies(tasks: Sequence[Task], parents: Mapping[str, float]) -> dict[str, float]:
    """Return, for each of these new tasks, the hours of the longest chain of work that starts with it, its own included.

    What comes after a task is what waits for it: its dependents, and its parent.

    Args:
        tasks: The new tasks.
        parents: The urgency of existing tasks that they are put under, by id.
    """
    after: dict[str, list[str]] = {task.id: [] for task in tasks}
    hours = dict(parents)
    for task in tasks:
        for edge in task.dependencies:
            if edge.task in after:
                after[edge.task].append(task.id)
        if task.parent_task_id in after or task.parent_task_id in hours:
            after[task.id].append(str(task.parent_task_id))
    own = {task.id: lifecycle.effort_hours(task.estimated_effort) for task in tasks}
    for start in after:
        _longest(start, after, own, hours)
    return hours


def _longest(
    start: str, after: dict[str, list[str]], own: dict[str, float], hours: dict[str, float]
) -> None:
    stack = [start]
    while stack:
        at = stack[-1]
        missing = [other for other in after[at] if other not in hours]
        if missing and at not in hours:
            stack.extend(missing)
            continue
        hours.setdefault(at, own[at] + max((hours[other] for other in after[at]), default=0.0))
        stack.pop()


def weigh(db: Connection, session_id: str, *, ahead: bool = False) -> None:
    """Carry the weight of tasks planned since the last time to those that they wait for: once for all of them, when somebody asks.

    From the newest task to the oldest, since tasks mostly wait for older ones: so each is visited once. With *ahead*, what lies above all
    tasks in the queue is read at once: for databases that are asked over a network.
    """
    new = db.execute(
        "SELECT seq, id, urgency FROM tasks INDEXED BY tasks_unweighed WHERE session_id = ? AND weighed = 0",
        (session_id,),
    ).fetchall()
    hours = {task_id: urgency for _, task_id, urgency in new}
    queue = [(-seq, task_id, 0) for seq, task_id, _ in new]
    queued = set(hours)
    above: dict[str, list[Any]] = {}
    heapify(queue)
    while queue:
        _, task_id, far = heappop(queue)
        queued.discard(task_id)
        if ahead and task_id not in above:
            above |= _read_ahead(db, [task_id, *queued])
        for seq, needs, own, known in (
            above[task_id] if ahead else db.execute(_OPEN_ABOVE, (task_id,)).fetchall()
        ):
            if own + hours[task_id] <= hours.get(needs, known):
                continue
            hours[needs] = own + hours[task_id]
            if needs not in queued and far < _FAR:
                queued.add(needs)
                heappush(queue, (-seq, needs, far + 1))
    db.executemany(
        "UPDATE tasks SET urgency = ?, weighed = 1 WHERE id = ?",
        [(weight, task_id) for task_id, weight in hours.items()],
    )


_OPEN_ABOVE: Final = """
    SELECT seq, id, effort_hours, urgency FROM (
        SELECT needs_id AS id FROM dependencies WHERE task_id = ?1
        UNION ALL SELECT id FROM tasks WHERE parent_task_id = ?1
        UNION ALL SELECT id FROM tasks WHERE recovers_task_id = ?1
    ) CROSS JOIN tasks USING (id) WHERE status IN ('pending', 'in_progress', 'blocked')
"""


def _read_ahead(db: Connection, ids: list[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {task_id: [] for task_id in ids}
    for waits, *above in db.execute(_OPEN_ABOVE_ALL, (json.dumps(ids),)).fetchall():
        found[waits].append(above)
    return found


_OPEN_ABOVE_ALL: Final = """
    SELECT waits, seq, id, effort_hours, urgency FROM (
        SELECT task_id AS waits, needs_id AS id FROM dependencies WHERE task_id IN (SELECT value FROM json_each(?1))
        UNION ALL SELECT parent_task_id, id FROM tasks WHERE parent_task_id IN (SELECT value FROM json_each(?1))
        UNION ALL SELECT recovers_task_id, id FROM tasks WHERE recovers_task_id IN (SELECT value FROM json_each(?1))
    ) CROSS JOIN tasks USING (id) WHERE status IN ('pending', 'in_progress', 'blocked')
"""
