"""What the coordinator is handed, and bringing results together when the last subtask ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import Agenda, EventKind, NextStep, TaskQuery
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import NothingReadyError, VesperaError
from vespera_orchestrator.progress.startable import has_subtasks
from vespera_orchestrator.tasks import effort, lifecycle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Task
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts import Artifacts

log = logging.getLogger("vespera_orchestrator")

_LOOKED_THROUGH: Final = 200
"""Among how many ready tasks a light one is looked for."""
_SYNTHESIS_TOKENS: Final = 8000
_MOST_FOLLOWED: Final = 200
"""Among how many skipped tasks parents are looked for at a time."""


class Coordination:
    """Keeps heavy work from the agent that coordinates.

    An agent coordinates if the settings name it, or if it has spawned another one here.
    """

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._spawners: set[str] = set()

    def note_spawned(self, agent: str) -> None:
        """Remember that *agent* has spawned another one."""
        self._spawners.add(agent)

    def choose(self, agent: str, *, parents: bool | None = None) -> Task | None:
        """Return the ready task that the coordinator is handed; ``None`` for any other agent.

        Raises:
            NothingReadyError: Only work for specialists is ready. Its next step delegates it.
        """
        settings = self._rooms.config.delegation
        is_coordinator = agent == settings.coordinator or agent in self._spawners
        if not is_coordinator or settings.coordinator_executes == "all":
            return None
        session_id = self._rooms.scope.session_id()
        query = TaskQuery(
            session_id=session_id,
            agenda=Agenda.READY,
            takeable_by=agent,
            parents=parents,
            limit=_LOOKED_THROUGH,
        )
        ready = self._rooms.store.tasks(query)
        for task in ready:
            if self._is_for_coordinator(task):
                return task
        if ready:
            raise self._only_for_specialists(ready)
        return None

    def _is_for_coordinator(self, task: Task) -> bool:
        """Tell whether to hand it out: bringing together in any case, light work by choice."""
        if has_subtasks(self._rooms.store, task):
            return True
        is_light = not effort.is_heavy(task)
        return is_light and self._rooms.config.delegation.coordinator_executes == "light"

    def _only_for_specialists(self, ready: Sequence[Task]) -> NothingReadyError:
        first, *others = ready
        more = f" and {len(others)} more" if others else ""
        sentence = (
            f"{one_line(first.title, 90)!r}{more} can start, and you coordinate: "
            f"hand it to a specialist ({first.specialist_type or 'generic'}). "
            f"To do it yourself, name it: orch.execute_task({first.alias!r})"
        )
        call = f"orch.spawn_agent_with_context({first.alias!r})"
        step = NextStep(
            action="delegate",
            sentence=sentence,
            call=call,
            task_id=first.id,
            alias=first.alias,
        )
        return NothingReadyError("", sentence, "start a task", call, next_step=step)


class Gathering:
    """Brings the results of subtasks together by itself when the last of them has ended."""

    def __init__(self, rooms: Rooms, artifacts: Artifacts) -> None:
        self._rooms = rooms
        self._artifacts = artifacts
        self._seen = rooms.store.last_seq()
        """Up to which event tasks that were skipped have been followed."""

    def after(self, task: Task) -> None:
        """Bring results together below each parent whose last subtask has ended with *task*.

        It is a view of the work, and may fail without failing the work. `next_step` names the call
        that makes it then.
        """
        if not task.status.is_terminal or not self._rooms.config.delegation.synthesize:
            return
        try:
            for parent_id in self._parents_of_ended(task):
                self._bring_together(parent_id)
        except VesperaError as exc:
            log.warning("the results below %s are not brought together: %s", task.alias, exc)
        except Exception:  # a fault of ours: the task is completed nevertheless
            log.exception("the results below %s are not brought together", task.alias)

    def _bring_together(self, parent_id: str) -> None:
        from vespera_orchestrator.progress.overview import Overview
        from vespera_orchestrator.work.synthesize import synthesize

        parent = self._rooms.store.find_task(parent_id, None)
        if parent is not None and self._is_due(parent):
            overview = Overview(self._rooms)
            synthesize(overview, self._artifacts, parent, _SYNTHESIS_TOKENS)

    def _parents_of_ended(self, task: Task) -> list[str]:
        """Return the parents of *task*, and of whatever was skipped with it, anywhere.

        The log tells what was skipped: over a condition, over several other tasks, or as a part of
        something. What others have caused to be skipped meanwhile is among it, at no harm.
        """
        skips = self._rooms.store.events(
            self._seen,
            session_id=task.session_id,
            kinds=(EventKind.TASK_SKIPPED,),
            limit=_MOST_FOLLOWED,
        )
        self._seen = max((event.seq for event in skips), default=self._seen)
        skipped = (self._rooms.store.find_task(str(event.task_id), None) for event in skips)
        ended = [task, *(each for each in skipped if each is not None)]
        parents = [each.parent_task_id for each in ended if each.parent_task_id]
        return list(dict.fromkeys(parents))

    def _is_due(self, parent: Task) -> bool:
        if parent.status.is_terminal:
            return False
        query = TaskQuery(parent_task_id=parent.id, status=lifecycle.OPEN, limit=1)
        return not self._rooms.store.tasks(query)
