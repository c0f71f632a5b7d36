"""From a `TaskQuery` to the conditions of a statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator._codec import dump_time
from vespera_orchestrator._model import Agenda, TaskQuery, TaskStatus
from vespera_orchestrator.stores.sql.dialect import OPEN, Conditions
from vespera_orchestrator.stores.sql.folding import folded, folds_into
from vespera_orchestrator.tasks import lifecycle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator.stores.sql.dialect import Dialect


IS_READY: Final = f"tasks.status = '{TaskStatus.PENDING}' AND tasks.blockers = 0"
"""The test for tasks that can be started now, which is that of their index."""
BEST_FIRST: Final = "priority DESC, pressed_by, urgency DESC, tasks.seq"
"""The order of ready tasks, which is that of their index."""
_AGENDA: Final = {
    Agenda.DUE: f"tasks.due_until IS NOT NULL AND tasks.status IN {OPEN}",
    Agenda.READY: IS_READY,
    Agenda.QUESTIONS: "tasks.question IS NOT NULL AND tasks.answered = 0 AND tasks.blockers = 1"
    f" AND tasks.asleep = 0 AND tasks.status = '{TaskStatus.PENDING}'",
    Agenda.ASLEEP: f"tasks.asleep = 1 AND tasks.status IN {OPEN}",
}
_ORDER: Final[Mapping[Agenda | None, str]] = {
    Agenda.READY: BEST_FIRST,
    Agenda.DUE: "tasks.due_until, tasks.seq",
    Agenda.ASLEEP: "tasks.not_before, tasks.seq",
}


def tallied_only(query: TaskQuery) -> bool:
    """Tell whether ``tallies`` answers a count of *query*, so that no task needs to be read."""
    tallied = TaskQuery(
        session_id=query.session_id,
        recoveries=query.recoveries,
        include_archived=query.include_archived,
        limit=query.limit,
        offset=query.offset,
    )
    return query.session_id is not None and query == tallied


def subtree(task: str) -> str:
    """Start a statement with ``below (id)``: the task that a placeholder names, and all below."""
    return f"""
        WITH RECURSIVE below (id) AS (
            SELECT {task} UNION ALL
            SELECT tasks.id FROM tasks JOIN below ON tasks.parent_task_id = below.id
        )
    """


def takeable(agent: str, *, parents: bool | None) -> str:
    """Return the test for tasks that an agent may be handed without naming them.

    Args:
        agent: The placeholder of its name.
        parents: Whether tasks with subtasks are among them. ``None``: except those whose subtasks
            were planned by other agents only, under their names.
    """
    own = f"tasks.for_agent = {agent}"
    test = f"(tasks.for_agent IS NULL OR {own})"
    if parents:
        return test
    subtask = "SELECT 1 FROM tasks AS subtask WHERE subtask.parent_task_id = tasks.id"
    if parents is False:
        return f"{test} AND NOT EXISTS ({subtask})"
    by_nobody = f"NOT EXISTS ({subtask} AND subtask.planned_by <> '')"
    by_itself = f"EXISTS ({subtask} AND subtask.planned_by = {agent})"
    return f"{test} AND ({own} OR {by_nobody} OR {by_itself})"


class TaskFilter:
    """What a statement over ``tasks`` needs so that it returns what a query describes."""

    def __init__(self, dialect: Dialect, query: TaskQuery) -> None:
        self.conditions = Conditions(dialect)
        self.prefix = ""
        """Stands before the SELECT."""
        self._join = ""
        if query.parent_task_id is not None:
            self._below(query.parent_task_id, whole_subtree=query.include_children)
        self._by_columns(query)
        self._by_times(query)
        self._by_state(query)
        self._by_text(query)
        if query.agenda is not None:
            self.conditions.add(_AGENDA[query.agenda])
        self.order = _ORDER.get(query.agenda, "tasks.seq")
        """Follows ORDER BY."""

    @property
    def source(self) -> str:
        """Follows FROM."""
        return f"tasks {self._join} WHERE {self.conditions.where}"

    def _below(self, parent: str, *, whole_subtree: bool) -> None:
        if whole_subtree:
            self.prefix = subtree(self.conditions.bind(parent))
            self._join = "JOIN below ON below.id = tasks.id"
        else:
            self.conditions.equal(**{"tasks.parent_task_id": parent})

    def _by_columns(self, query: TaskQuery) -> None:
        columns = (
            "session_id",
            "task_type",
            "specialist_type",
            "complexity",
            "recovers_task_id",
            "worktree",
        )
        self.conditions.equal(**{f"tasks.{column}": getattr(query, column) for column in columns})

    def _by_times(self, query: TaskQuery) -> None:
        bounds = (
            ("created_at >=", query.created_after),
            ("created_at <", query.created_before),
            ("updated_at >=", query.updated_after),
            ("updated_at <", query.updated_before),
        )
        for test, moment in bounds:
            if moment is not None:
                self.conditions.add(f"tasks.{test} {self.conditions.bind(dump_time(moment))}")

    def _by_state(self, query: TaskQuery) -> None:
        conditions = self.conditions
        if query.status:
            slots = ", ".join(conditions.bind(str(status)) for status in query.status)
            conditions.add(f"tasks.status IN ({slots})")
        if query.recoveries is not None:
            sign = "=" if query.recoveries else "<>"
            conditions.add(f"tasks.task_type {sign} {conditions.bind(lifecycle.RECOVERY)}")
        if query.ready is not None:
            negation = "" if query.ready else "NOT "
            conditions.add(f"{negation}({IS_READY})")
        if not query.include_archived:
            conditions.add("tasks.archived = 0")

    def _by_text(self, query: TaskQuery) -> None:
        conditions = self.conditions
        if query.text is not None:
            self._mentions(query.text)
        if query.alias_prefix is not None:
            length = conditions.bind(len(query.alias_prefix))
            prefix = conditions.bind(query.alias_prefix)
            conditions.add(f"substr(tasks.alias, 1, {length}) = {prefix}")
        if query.takeable_by is not None:
            agent = conditions.bind(query.takeable_by)
            conditions.add(takeable(agent, parents=query.parents))
        if query.agent is not None:
            conditions.add(f"""
                EXISTS (SELECT 1 FROM attempts WHERE attempts.task_id = tasks.id
                    AND attempts.agent = {conditions.bind(query.agent)})
            """)

    def _mentions(self, text: str) -> None:
        """Require title or description to contain *text*, compared as folded texts.

        What a server's ``lower()`` does beyond ASCII depends on the database and its locale. So
        there it only folds ASCII, and what else may fold into *text* is replaced one by one.
        """
        conditions = self.conditions
        sought = folded(text)
        words = conditions.dialect.folded.format("tasks.title || ' ' || tasks.description")
        if conditions.dialect.folds_ascii_only:
            for other, letters in folds_into(sought):
                words = f"replace({words}, {conditions.bind(other)}, {conditions.bind(letters)})"
            words = f"normalize({words}, NFKC)"
        position = conditions.dialect.position
        conditions.add(f"{position}({words}, {conditions.bind(sought)}) > 0")
