"""From drafts to tasks: names are resolved, conditions bound, mistakes collected.

Nothing is written.
"""

from __future__ import annotations

import json
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import load_time
from vespera_orchestrator._model import (
    Dependency,
    Task,
    TaskDraft,
    TaskStatus,
    is_id,
    new_id,
)
from vespera_orchestrator._text import show_value, similar_names
from vespera_orchestrator.errors import (
    AliasTakenError,
    ConditionError,
    CycleError,
    InvalidPlanError,
    PlanError,
    TransitionError,
    UnknownDependencyError,
)
from vespera_orchestrator.stores.sql import reading, rows
from vespera_orchestrator.stores.sql.cycles import refuse_circles_within
from vespera_orchestrator.stores.sql.transaction import first_column
from vespera_orchestrator.tasks import dates, plans, specialists
from vespera_orchestrator.tasks.aliases import is_alias, mean_the_same, slug, spelled
from vespera_orchestrator.tasks.conditions import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from types import TracebackType

    from vespera_orchestrator.errors import VesperaError
    from vespera_orchestrator.stores.sql.transaction import Transaction

_MAX_SUGGESTED_FROM: Final = 5000
"""How many aliases of a session are compared with a name that does not exist."""
_MAX_RECOVERY_ALIAS: Final = 60
"""Longest alias of a recovery task, in characters, before a number is added."""

_TASK_FIELDS: Final = {field.name for field in attrs.fields(Task)}
_COPIED: Final = tuple(
    field.name
    for field in attrs.fields(TaskDraft)
    if field.name in _TASK_FIELDS - {"alias", "dependencies"}
)
"""Fields that a task takes over from its draft as they are."""
_copied_values: Final = attrgetter(*_COPIED)


def reopening(alias: str, status: str) -> str:
    """Say what can be done about a task that has ended, or is blocked."""
    if status == TaskStatus.COMPLETED:
        return f"it is done, and opens again by orch.reopen_task({alias!r}, 'what is wrong')"
    if status == TaskStatus.SKIPPED:
        change = f"orch.update_task({alias!r}, dependencies=…)"
        return f"orch.why({alias!r}) says why; {change} changes what it waits for"
    return f"orch.retry_task({alias!r}) makes it pending again"


def place_in_plan(place: str, title: str) -> str:
    """Return where a task stands in its plan; empty for a single task, whose error names it."""
    return "" if place == title else place


@attrs.frozen(kw_only=True)
class Change:
    """What a draft makes of a task that was planned before."""

    task: Task
    """The task as it is."""
    fields: Mapping[str, Any]
    """What will be different, by field of the task; references are ids."""
    written_dates: Mapping[str, str] = attrs.field(factory=dict)
    """The dates that were named, as they were written."""
    place: str = ""
    """Where the draft stands in its plan, or the title of the only task."""


class Drafts:
    """The drafts of one plan on their way to tasks."""

    def __init__(
        self,
        tx: Transaction,
        session_id: str,
        drafts: Sequence[TaskDraft],
        mistakes: Sequence[VesperaError] = (),
        *,
        matches: Mapping[int, Task] | None = None,
    ) -> None:
        """Take the drafts.

        Args:
            tx: The transaction.
            session_id: The session that they belong to.
            drafts: The drafts.
            mistakes: What is known to be wrong with them.
            matches: For the number of a draft, the task that it means: one that was planned before.
        """
        matches = matches or {}
        self._tx = tx
        self._session_id = session_id
        self._before = {task.id: task for task in matches.values()}
        self._drafts = [
            _completed(draft, matches[number]) if number in matches else draft
            for number, draft in enumerate(drafts)
        ]
        self._ids = [
            matches[number].id if number in matches else new_id("t")
            for number in range(len(drafts))
        ]
        self._draft_of = dict(zip(self._ids, self._drafts, strict=True))
        self._names = _Names(tx, session_id)
        self._names.of_plan = {
            plans.draft_reference(number): task_id for number, task_id in enumerate(self._ids)
        }
        self._names.existing |= self._before
        self._mistakes = _Mistakes(mistakes)
        """What is wrong with the plan; all of it is reported at once."""
        self.changes: list[Change] = []
        """What becomes of the tasks that were planned before; known once `tasks` has returned."""

    @property
    def ids(self) -> Sequence[str]:
        """The id of the task that each draft means."""
        return self._ids

    @property
    def existing(self) -> dict[str, Task]:
        """The tasks planned before that the drafts name, by id; without their own edges."""
        return self._names.existing

    def written_dates(self, task_id: str) -> Mapping[str, str]:
        """Return the dates of a task as the plan writes them."""
        return self._draft_of[task_id].written_dates

    def tasks(self) -> list[Task]:
        """Return the new tasks, pending, their blockers not counted yet.

        Raises:
            PlanError: Or one of its branches; see `contracts.Store.plan`.
            AliasTakenError: A draft's alias is taken.
            TransitionError: The parent has ended.
        """
        self._names.read_ahead(self._drafts)
        self._names.local = _local_names(self._drafts, self._ids)
        aliases = self._aliases()
        tasks = []
        for task_id, alias, draft in zip(self._ids, aliases, self._drafts, strict=True):
            if task_id in self._before:
                self.changes.append(self._change(self._before[task_id], draft))
            else:
                tasks.append(self._task(task_id, alias, draft))
        with self._mistakes:
            named = zip(self._ids, self._drafts, strict=True)
            refuse_circles_within(tasks, {task_id: draft.place for task_id, draft in named})
        if len(self._mistakes) > 1:
            problem = f"the plan has {len(self._mistakes)} mistakes"
            raise InvalidPlanError(problem, mistakes=tuple(self._mistakes))
        if self._mistakes:
            raise self._mistakes[0]
        return tasks

    # aliases

    def _aliases(self) -> list[str]:
        """Return an alias for each draft: aliases that callers chose win over those from titles."""
        chosen: list[str | None] = []
        for task_id, draft in zip(self._ids, self._drafts, strict=True):
            alias = None
            with self._mistakes:
                alias = self._chosen_alias(task_id, draft)
            chosen.append(alias)
        aliases = []
        for alias, task_id, draft in zip(chosen, self._ids, self._drafts, strict=True):
            aliases.append(alias or self._made_alias(task_id, draft))
        return aliases

    def _chosen_alias(self, task_id: str, draft: TaskDraft) -> str | None:
        alias = draft.alias
        if alias is None:
            return None
        if not is_alias(alias):
            problem = (
                f"{show_value(alias)} is not a valid alias: start with a letter; letters, digits, "
                "underscores; no reserved word"
            )
            raise PlanError(problem, draft.place)
        owner = self._names.owner(alias)
        if owner not in {None, task_id}:
            other = None if owner in self._before else self._draft_of.get(str(owner))
            title = "" if other is None else other.title
            place = place_in_plan(draft.place, draft.title)
            raise AliasTakenError(alias, str(owner), title, place=place)
        self._names.of_plan[alias] = task_id
        return alias

    def _made_alias(self, task_id: str, draft: TaskDraft) -> str:
        if task_id in self._before:
            return self._before[task_id].alias
        base = slug(draft.title)
        if draft.recovers_task_id is not None:
            base = self._recovery_alias(draft.recovers_task_id)
        alias = base
        if not self._names.is_free(base):
            alias = f"{base}_{self._free_number(base)}"
        self._names.of_plan[alias] = task_id
        return alias

    def _recovery_alias(self, recovers: str) -> str:
        sql = f"SELECT alias FROM tasks WHERE id = {self._tx.mark}1"
        (alias,) = self._tx.execute(sql, (recovers,)).fetchone()
        return f"recover_{alias}"[:_MAX_RECOVERY_ALIAS]

    def _free_number(self, base: str) -> int:
        # Doubling, then halving: a thousand equal titles cost ten lookups each, not a thousand.
        high = 2
        while not self._names.is_free(f"{base}_{high}"):
            high *= 2
        low = high // 2
        while high - low > 1:
            middle = (low + high) // 2
            if self._names.is_free(f"{base}_{middle}"):
                high = middle
            else:
                low = middle
        return high

    # what was planned before

    def _change(self, task: Task, draft: TaskDraft) -> Change:
        named = {name: getattr(draft, name) for name in draft.named}
        wanted: dict[str, Any] = specialists.following(task, named)
        if "parent" in wanted:
            del wanted["parent"]
            with self._mistakes:
                wanted["parent_task_id"] = self._parent(task.id, draft)
        edges = task.dependencies
        if "dependencies" in wanted:
            edges = self._edges(task.id, draft)
            wanted["dependencies"] = edges = _in_old_order(edges, task.dependencies)
        with self._mistakes:
            wanted["condition_names"] = self._names_after(task, draft, edges)
        if wanted.get("alias") is None:
            wanted.pop("alias", None)
        different = {name: value for name, value in wanted.items() if value != getattr(task, name)}
        must_fit = plans.MUST_FIT & wanted.keys()
        after = attrs.evolve(task, **{name: wanted[name] for name in must_fit})
        with self._mistakes:
            plans.refuse_contradiction(after, different, draft.place, load_time(self._tx.now))
        written = draft.written_dates
        return Change(task=task, fields=different, written_dates=written, place=draft.place)

    def _names_after(
        self, task: Task, draft: TaskDraft, edges: tuple[Dependency, ...]
    ) -> Mapping[str, str]:
        """Return what the names in the condition mean, which may have stayed as it was.

        The same text may mean other tasks, where those that it named have other names by now.
        """
        kept = {edge.task for edge in edges}.issuperset(task.condition_names.values())
        if "condition" in draft.named and not (kept and draft.condition == task.condition):
            return self._bind_condition(task.id, draft, edges)
        plans.refuse_ungoverned(task, {edge.task for edge in edges}, draft.place)
        return task.condition_names

    # references

    def _task(self, task_id: str, alias: str, draft: TaskDraft) -> Task:
        edges = self._edges(task_id, draft)
        parent: str | None = None
        condition_names: dict[str, str] = {}
        with self._mistakes:
            parent = self._parent(task_id, draft)
        with self._mistakes:
            condition_names = self._bind_condition(task_id, draft, edges)
        planned_at = load_time(self._tx.now)
        draft = _resting_with(self.existing.get(str(parent)), draft)
        asleep = draft.not_before is not None and draft.not_before > planned_at
        copied: dict[str, Any] = dict(zip(_COPIED, _copied_values(draft), strict=True))
        task = Task(
            **copied,
            id=task_id,
            alias=alias,
            session_id=self._session_id,
            status=TaskStatus.PENDING,
            parent_task_id=parent,
            dependencies=edges,
            condition_names=condition_names,
            outputs={},
            summary=None,
            reason=None,
            attempts=0,
            failures=0,
            was_blocked=False,
            blockers=0,
            urgency=0.0,
            archived=False,
            asleep=asleep,
            created_at=planned_at,
            updated_at=planned_at,
            ended_at=None,
        )
        with self._mistakes:
            plans.refuse_contradiction(task, plans.MUST_FIT, draft.place, planned_at)
        return task

    def _edges(self, task_id: str, draft: TaskDraft) -> tuple[Dependency, ...]:
        edges: dict[str, Dependency] = {}
        for edge in draft.dependencies:
            with self._mistakes:
                needed = self._task_id(edge.task, task_id, draft, "dependency")
                if needed == task_id:
                    raise CycleError(
                        "a task cannot wait for itself", draft.place, path=(edge.task, edge.task)
                    )
                if needed in edges and edges[needed].on is not edge.on:
                    problem = (
                        f"waits for {edge.task!r} in two ways, {edges[needed].on} and {edge.on}; "
                        "name it once, or write a condition"
                    )
                    raise PlanError(problem, draft.place)
                edges[needed] = Dependency(needed, edge.on)
        return tuple(edges.values())

    def _parent(self, task_id: str, draft: TaskDraft) -> str | None:
        if draft.parent is None:
            return None
        parent = self._task_id(draft.parent, task_id, draft, "parent")
        if parent == task_id:
            raise CycleError(
                "a task cannot be its own parent", draft.place, path=(draft.parent, draft.parent)
            )
        task = self.existing.get(parent)
        self._refuse_parts_of_questions(parent, task, draft)
        before = self._before.get(task_id)
        if before is not None and before.parent_task_id == parent:
            return parent  # it is a part of it already, whatever became of the whole
        # A recovery is planned beside what it recovers, whatever became of the whole.
        is_new_recovery = before is None and draft.recovers_task_id is not None
        if task is not None and task.status.is_terminal and not is_new_recovery:
            remedy = reopening(task.alias, task.status)
            place = place_in_plan(draft.place, draft.title)
            raise TransitionError(task.alias, task.status, "take a subtask", remedy, place=place)
        return parent

    def _refuse_parts_of_questions(
        self, parent_id: str, parent: Task | None, draft: TaskDraft
    ) -> None:
        """Refuse subtasks of what is completed by an answer or a signal: it has no work."""
        name = self._spoken_parent(parent_id, parent)
        if parent is not None and parent.answered and parent.status is TaskStatus.PENDING:
            problem = f"{name!r} is answered, and done as soon as it waits for nothing else"
            raise PlanError(problem, draft.place)
        above: Task | TaskDraft | None = parent
        above = self._draft_of.get(parent_id, above)
        if above is not None and (above.question is not None or above.signal is not None):
            problem = f"{name!r} waits for an answer or a signal, and has no subtasks"
            raise PlanError(problem, draft.place)

    def _spoken_parent(self, parent_id: str, parent: Task | None) -> str:
        """Return what a person calls the task above: its alias, or the title in this plan."""
        if parent is not None:
            return parent.alias
        above = self._draft_of[parent_id]
        return above.alias or above.title

    def _task_id(self, reference: str, own_id: str, draft: TaskDraft, role: str) -> str:
        task_id = self._names.task_id(reference, own_id)
        if task_id is not None:
            return task_id
        similar = similar_names(reference, self._names.all_aliases(), most=3)
        hint = "plan it first, or in the same plan"
        if similar:
            hint = f"did you mean {', '.join(similar)}?"
        problem = f"{role} {show_value(reference)} is not a task of this session; {hint}"
        raise UnknownDependencyError(problem, draft.place, reference)

    def _bind_condition(
        self, own_id: str, draft: TaskDraft, edges: tuple[Dependency, ...]
    ) -> dict[str, str]:
        """Return, for each name in the draft's condition, the id of the dependency it means."""
        if draft.condition is None:
            return {}
        try:
            condition = parse(draft.condition)
        except ConditionError as exc:
            raise attrs.evolve(exc, place=draft.place) from None
        needed = {edge.task for edge in edges}
        has_misspelt_edge = len(edges) < len(draft.dependencies)
        names: dict[str, str] = {}
        for reference in condition.references():
            task_id = self._names.task_id(reference.name, own_id)
            if task_id in needed:
                names[reference.name] = str(task_id)
            elif not has_misspelt_edge:  # otherwise that mistake has been reported already
                allowed = tuple(self._spoken(edge.task) for edge in draft.dependencies)
                hint = _hint_for(reference.name, allowed, is_task=task_id is not None)
                raise ConditionError(
                    f"{reference.name!r} is not a dependency of this task{hint}",
                    draft.place,
                    condition.text,
                    reference.column,
                    allowed or ("none: give dependencies= as well",),
                )
        return names

    def _spoken(self, reference: str) -> str:
        """Return the alias of a task that a draft names by its id."""
        task = self.existing.get(reference)
        return reference if task is None else task.alias


def _hint_for(name: str, dependencies: Collection[str], *, is_task: bool) -> str:
    """Say what a name in a condition may have been meant to be."""
    if is_task:
        return "; add it to the dependencies"
    similar = similar_names(name, dependencies)
    return f", did you mean {similar[0]!r}?" if similar else ""


def _resting_with(whole: Task | None, draft: TaskDraft) -> TaskDraft:
    """Let a part rest as long as its whole, which somebody has put off.

    Not if it has a date of its own that says otherwise, nor where it waits for the world: an agent
    that works on another part may ask.
    """
    if whole is None or not whole.asleep or whole.retry_at is not None:
        return draft
    waits_for_world = draft.question is not None or draft.signal is not None
    if draft.not_before is not None or waits_for_world or draft.recovers_task_id is not None:
        return draft
    due_until = dates.due_until(draft)
    if due_until is not None and whole.not_before is not None and due_until <= whole.not_before:
        return draft
    return attrs.evolve(draft, not_before=whole.not_before, zone=draft.zone or whole.zone)


def matching(tx: Transaction, session_id: str, drafts: Sequence[TaskDraft]) -> dict[int, Task]:
    """Return, by the number of a draft, the task of the session that has its alias already.

    A draft without an alias counts by the one it would get if the plan were alone in the session.
    Where that would be the alias of another title, too, its own title decides.
    """
    numbers = _local_names(drafts, range(len(drafts)))
    tasks = _tasks_with(tx, session_id, "alias", list(numbers))
    matches = {numbers[task.alias]: task for task in tasks}
    unlike = [
        number
        for number, task in matches.items()
        if drafts[number].alias is None and not mean_the_same(drafts[number].title, task.title)
    ]
    if unlike:
        for number in unlike:
            del matches[number]
        known_ids = {task.id for task in matches.values()}
        titled = _tasks_with(tx, session_id, "title", [drafts[number].title for number in unlike])
        by_title = {task.title: task for task in titled if task.id not in known_ids}
        for number in unlike:
            task = by_title.pop(drafts[number].title, None)
            if task is not None:
                matches[number] = task
    return matches


def _tasks_with(tx: Transaction, session_id: str, column: str, values: list[str]) -> list[Task]:
    """Return the tasks of a session that have one of the values in a column."""
    sql = f"""
        SELECT id FROM tasks
        WHERE {column} {tx.dialect.in_list(1)} AND session_id = {tx.mark}2
    """
    ids = first_column(tx.execute(sql, (json.dumps(values), session_id)).fetchall())
    return reading.tasks_by_id(tx, ids)


def _in_old_order(
    edges: tuple[Dependency, ...], before: tuple[Dependency, ...]
) -> tuple[Dependency, ...]:
    """Return the edges as they stood, where they are the same: their order means nothing."""
    return before if set(edges) == set(before) else edges


def _completed(draft: TaskDraft, task: Task) -> TaskDraft:
    """Return the draft with what it does not name as the task has it."""
    fields = {name: getattr(task, name) for name in _COPIED}
    fields |= {"parent": task.parent_task_id, "dependencies": task.dependencies}
    fields |= {name: getattr(draft, name) for name in draft.named}
    return TaskDraft(
        **fields, place=draft.place, named=draft.named, written_dates=draft.written_dates
    )


_Id = TypeVar("_Id", int, str)


def _local_names(drafts: Sequence[TaskDraft], ids: Sequence[_Id]) -> dict[str, _Id]:
    """Return what the drafts would be called if they were alone in the session, with their ids."""
    names: dict[str, _Id] = {}
    for draft, task_id in zip(drafts, ids, strict=True):
        if draft.alias is not None:
            names.setdefault(draft.alias, task_id)
    counts: Counter[str] = Counter()
    for draft, task_id in zip(drafts, ids, strict=True):
        if draft.alias is None and draft.recovers_task_id is None:
            names[_free_name(slug(draft.title), names, counts)] = task_id
    return names


def _free_name(base: str, names: Mapping[str, object], counts: Counter[str]) -> str:
    name = base
    while name in names:
        counts[base] += 1
        name = f"{base}_{counts[base] + 1}"
    return name


class _Mistakes(list["VesperaError"]):
    """Collects what is wrong with a plan: a ``with`` block that meets a mistake ends early."""

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(exc, PlanError | AliasTakenError | TransitionError):
            return False
        self.append(exc)
        return True


class _Names:
    """What the names in a plan mean: its own tasks, then those of its session."""

    def __init__(self, tx: Transaction, session_id: str) -> None:
        self._tx = tx
        self._session_id = session_id
        self.local: dict[str, str] = {}
        """Alias to id, as the plan's tasks would be called if they were alone in the session."""
        self.of_plan: dict[str, str] = {}
        """Alias to id, for the tasks of this plan, and ``#0``, ``#1`` … whatever their alias."""
        self.existing: dict[str, Task] = {}
        """The tasks of the session that were named, by id; without their own edges."""
        self._meanings: dict[str, str | None] = {}
        """Reference to id, for those that were looked up."""
        self._owners: dict[str, str | None] = {}
        """Alias to the id of the task that has it, for those that were looked up."""

    def read_ahead(self, drafts: Sequence[TaskDraft]) -> None:
        """Read at once what the drafts name: a statement for each would cost more than the rest."""
        references: dict[str, None] = {}
        for draft in drafts:
            references.update(dict.fromkeys(edge.task for edge in draft.dependencies))
        for draft in drafts:
            if draft.parent is not None:
                references[draft.parent] = None
        self._meanings = dict.fromkeys(references)
        self._read("id", [reference for reference in references if is_id(reference)])
        self._read("alias", [reference for reference in references if not is_id(reference)])
        aliases = [slug(draft.title) if draft.alias is None else draft.alias for draft in drafts]
        self._owners = dict.fromkeys(aliases)
        self._read_owners(aliases)

    def task_id(self, reference: str, own_id: str) -> str | None:
        """Return the id of the task that *reference*, an id or alias, means to the task *own_id*.

        A plan means its own tasks first, whatever alias they got: planned a second time, it must
        not wait for the tasks of the first time. Nobody means itself, though.
        """
        local = self.local.get(reference)
        if local is not None and (local != own_id or self._existing_id(reference) is None):
            return local
        if reference in self.of_plan and self.of_plan[reference] != own_id:
            return self.of_plan[reference]
        existing = self._existing_id(reference)
        if existing is None and spelled(reference) != reference:
            return self.task_id(spelled(reference), own_id)
        return existing

    def _existing_id(self, reference: str) -> str | None:
        if reference not in self._meanings:
            self._meanings[reference] = None
            self._read("id" if is_id(reference) else "alias", [reference])
        return self._meanings[reference]

    def owner(self, alias: str) -> str | None:
        """Return the id of the task that has *alias*, in this plan or before."""
        if alias in self.of_plan:
            return self.of_plan[alias]
        if alias not in self._owners:
            self._owners[alias] = None
            self._read_owners([alias])
        return self._owners[alias]

    def is_free(self, alias: str) -> bool:
        """Tell whether a task may get this alias."""
        return is_alias(alias) and self.owner(alias) is None

    def all_aliases(self) -> list[str]:
        """Return aliases to suggest: those of the plan, then those of the session."""
        of_plan = [name for name in self.of_plan if is_alias(name)]
        mark = self._tx.mark
        sql = f"SELECT alias FROM tasks WHERE session_id = {mark}1 LIMIT {_MAX_SUGGESTED_FROM}"
        return [*of_plan, *first_column(self._tx.execute(sql, (self._session_id,)))]

    def _read(self, column: str, references: Sequence[str]) -> None:
        columns = f"{rows.TASK.columns}, {rows.NO_EDGES}"
        for task in rows.TASK.read_all(self._select(columns, column, references)):
            if task.session_id == self._session_id:
                self.existing[task.id] = task
                self._meanings[getattr(task, column)] = task.id

    def _read_owners(self, aliases: Sequence[str]) -> None:
        self._owners.update(self._select("alias, id", "alias", aliases))

    def _select(self, columns: str, column: str, names: Sequence[str]) -> list[Any]:
        if not names:
            return []
        mark = self._tx.mark
        one = len(names) == 1
        test = f"= {mark}1" if one else self._tx.dialect.in_list(1)
        values = [names[0] if one else json.dumps(names)]
        sql = f"SELECT {columns} FROM tasks WHERE {column} {test}"
        if column == "alias":  # with an id, SQLite would walk through the whole session instead
            sql += f" AND session_id = {mark}2"
            values.append(self._session_id)
        return self._tx.execute(sql, values).fetchall()
