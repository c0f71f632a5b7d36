"""Whose artifacts a call is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import SessionNotFoundError

if TYPE_CHECKING:
    from vespera_orchestrator._model import Session, Task
    from vespera_orchestrator.home.scope import Scope

ALL_SESSIONS: Final = "*"


@attrs.frozen(kw_only=True)
class Selection:
    """Whose artifacts are meant."""

    task: Task | None
    session_id: str | None
    """``None``: any session, or the one of the task."""

    @classmethod
    def of_home(
        cls, scope: Scope, task: str | Task | None, session: str | Session | None
    ) -> Selection:
        """Resolve what a caller passed. Without either, all of the home is meant."""
        return cls.of(scope, task, ALL_SESSIONS if session is None else session)

    @classmethod
    def of(cls, scope: Scope, task: str | Task | None, session: str | Session | None) -> Selection:
        """Resolve what a caller passed.

        Without either, the current session is meant, and all of the home where there is none.
        """
        owner = None if task is None else scope.task(task)
        session_id = _session_id(scope, owner, session)
        return cls(task=owner, session_id=session_id)

    @property
    def task_id(self) -> str | None:
        """The task's id."""
        if self.task is None:
            return None
        return self.task.id

    @property
    def task_ids(self) -> tuple[str, ...] | None:
        """The task's id, as a query takes it."""
        if self.task is None:
            return None
        return (self.task.id,)


def _session_id(scope: Scope, task: Task | None, session: str | Session | None) -> str | None:
    if session == ALL_SESSIONS:
        return None
    if session is not None:
        return scope.session(session).id
    if task is not None:
        return None
    try:
        return scope.session_id()
    except SessionNotFoundError:
        return None
