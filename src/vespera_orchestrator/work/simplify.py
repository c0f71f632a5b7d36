"""Plans a heavy task as smaller ones, and takes that back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import TaskQuery, TaskStatus
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    AliasTakenError,
    InvalidInputError,
    InvalidPlanError,
    TransitionError,
    VesperaError,
)
from vespera_orchestrator.tasks import lifecycle, simplifying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from vespera_orchestrator._model import Task, TaskDraft
    from vespera_orchestrator._rooms import Rooms


class Simplifier:
    """Takes tasks apart in the store."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def simplify(
        self,
        task: Task,
        grain: int,
        by: Callable[[Task, int], Iterable[str | Mapping[str, Any] | TaskDraft]] | None,
    ) -> list[Task]:
        """Plan the pieces of a task below it; see `Orchestrator.simplify`."""
        if isinstance(grain, bool) or grain not in simplifying.MOST_PIECES:
            raise InvalidInputError(
                "grain", f"{show_value(grain)} should be a whole number from 1 to 5"
            )
        if task.status.is_terminal:
            remedy = "there is nothing left to take apart"
            raise TransitionError(task.alias, task.status, "be simplified", remedy)
        if lifecycle.is_open_question(task):
            remedy = f"it waits for the world, and has no work: orch.why({task.alias!r})"
            raise TransitionError(task.alias, task.status, "be simplified", remedy)
        children = self._children(task)
        known = [child for child in children if simplifying.is_piece_of(child, task)]
        if known and _has_begun(known):
            missing = simplifying.missing_pieces(task, grain, known)
            if missing:
                self._plan(task, missing, known)
            return self._pieces(task)
        if known and _grains(known) == {grain}:
            return known
        others = [child for child in children if child not in known]
        if any(not child.status.is_terminal for child in others):
            call = f"orch.query_tasks(parent_task_id={task.alias!r})"
            remedy = f"it has subtasks already: {call}; simplify one of these"
            raise TransitionError(task.alias, task.status, "be simplified", remedy)
        drafts = simplifying.pieces(task, grain, by)
        if known:
            self.undo(task)
        return self._plan(task, drafts)

    def undo(self, task: Task) -> Task:
        """Remove the pieces that nobody has begun; see `Orchestrator.undo_simplify`."""
        store = self._rooms.store
        unbegun = [piece for piece in self._pieces(task) if not _has_begun([piece])]
        self._refuse_needed(unbegun)
        for piece in reversed(unbegun):  # the last first: none is skipped because of another
            if not piece.status.is_terminal:
                store.cancel(piece.id, "taken back", subtree=True)
            store.delete(piece.id, hard=True)
        return self._rooms.scope.task(task)

    def _refuse_needed(self, pieces: Sequence[Task]) -> None:
        """Refuse to take back what others depend on, or have parts of, before anything changes."""
        own_ids = {piece.id for piece in pieces}
        for piece in pieces:
            others = [*self._rooms.store.dependents(piece.id), *self._children(piece)]
            for other in others:
                if other.id in own_ids:
                    continue
                remedy = f"{other.alias} is a part of it"
                if other.parent_task_id != piece.id:
                    call = f"orch.remove_dependency({other.alias!r}, {piece.alias!r})"
                    remedy = f"{other.alias} depends on it: {call}"
                raise TransitionError(piece.alias, piece.status, "be taken back", remedy)

    def _children(self, task: Task) -> list[Task]:
        query = TaskQuery(
            session_id=task.session_id,
            parent_task_id=task.id,
            recoveries=False,
            limit=None,
        )
        return self._rooms.store.tasks(query)

    def _pieces(self, task: Task) -> list[Task]:
        return [each for each in self._children(task) if simplifying.is_piece_of(each, task)]

    def _plan(self, task: Task, drafts: list[TaskDraft], known: Sequence[Task] = ()) -> list[Task]:
        planner = self._rooms.scope.planner
        drafts = [attrs.evolve(draft, planned_by=planner) for draft in drafts]
        try:
            return self._rooms.store.plan(task.session_id, drafts)
        except (AliasTakenError, InvalidPlanError) as exc:
            if not _is_about_aliases(exc):
                raise
            pieces = self._pieces(task)
            if len(pieces) > len(known):
                return pieces  # somebody else was faster
        return self._rooms.store.plan(task.session_id, _with_free_aliases(task, drafts))


def _is_about_aliases(exc: VesperaError) -> bool:
    """Tell whether all that is wrong with a plan is that aliases are taken."""
    mistakes = exc.mistakes if isinstance(exc, InvalidPlanError) else (exc,)
    return all(isinstance(mistake, AliasTakenError) for mistake in mistakes)


def _has_begun(pieces: Iterable[Task]) -> bool:
    """Tell whether there is work on any of them; an answer is work, too."""
    return any(
        piece.attempts or piece.answered or piece.status is TaskStatus.COMPLETED for piece in pieces
    )


def _grains(pieces: Iterable[Task]) -> set[int | None]:
    return {simplifying.grain_of(piece) for piece in pieces}


def _with_free_aliases(task: Task, drafts: Iterable[TaskDraft]) -> list[TaskDraft]:
    """Give the pieces aliases that nobody else has: the task's id is in them."""
    renamed = {draft.alias: f"{task.id}_{number}" for number, draft in enumerate(drafts, 1)}
    pieces = []
    for draft in drafts:
        dependencies = tuple(
            attrs.evolve(edge, task=renamed.get(edge.task, edge.task))
            for edge in draft.dependencies
        )
        pieces.append(attrs.evolve(draft, alias=renamed[draft.alias], dependencies=dependencies))
    return pieces
