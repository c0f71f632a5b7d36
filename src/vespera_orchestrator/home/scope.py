"""What a call is about: which home, which session, which task."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import Artifact, Dependency, Session, Task, TaskQuery, is_id
from vespera_orchestrator.errors import (
    ArtifactNotFoundError,
    ClosedError,
    InvalidInputError,
    SessionNotFoundError,
    TaskNotFoundError,
)
from vespera_orchestrator.home.config import ENV_AGENT, ENV_SESSION
from vespera_orchestrator.home.files import translate_os_error, write_atomically

if TYPE_CHECKING:
    from vespera_orchestrator.contracts import Embedder, Store
    from vespera_orchestrator.home.locate import Home

DEFAULT_AGENT: Final = "main"
_MAX_SIMILAR: Final = 3


class Scope:
    """What a call is about when it does not say so: the home, the store, the agent, the session.

    The rooms below the façade are given one, so that all of them resolve names in the same way.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        *,
        agent: str | None = None,
        session_id: str | None = None,
        embedder: str | Embedder | None = None,
    ) -> None:
        self.home = home
        self._store = store
        self._closed = False
        self.agent = agent or os.environ.get(ENV_AGENT) or DEFAULT_AGENT
        self.pinned = session_id
        """The session that this process chose itself."""
        self.embedder: str | Embedder = embedder or home.config.search.embedder
        """What makes vectors, as it was asked for; nothing is loaded for it here."""

    @property
    def store(self) -> Store:
        """The store. Every room asks for it at every call: so all of them notice ``close``.

        Raises:
            ClosedError: `close` was called.
        """
        self.require_open()
        return self._store

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def require_open(self) -> None:
        """Raise `ClosedError` when `close` was called."""
        if self._closed:
            raise ClosedError

    def close(self) -> None:
        """Stop giving out the store, to any room, whoever it belongs to."""
        self._closed = True

    def session_id(self, ref: str | Session | None = None) -> str:
        """Return the id of the session that is meant.

        In this order: *ref*, the pinned session, the environment's, the active one.

        Raises:
            SessionNotFoundError: None is active.
        """
        if ref is not None:
            return ref.id if isinstance(ref, Session) else ref
        from_environment = os.environ.get(ENV_SESSION, "").strip()
        session_id = self.pinned or from_environment or self.active_session_id()
        if not session_id:
            raise SessionNotFoundError(None)
        return session_id

    def session(self, ref: str | Session | None = None) -> Session:
        """Return the session that is meant.

        Raises:
            SessionNotFoundError: None is active, or there is none with this id.
        """
        session_id = self.session_id(ref)
        session = self.store.find_session(session_id)
        if session is None:
            raise SessionNotFoundError(session_id)
        return session

    def activate(self, session_id: str) -> None:
        """Make the session the active one, for this process and for those that come later."""
        self.pinned = session_id
        try:
            write_atomically(self.home.active_session, session_id + "\n")
        except OSError as exc:
            raise translate_os_error(exc, self.home.active_session) from exc

    def active_session_id(self) -> str | None:
        """Return the id in the home's file, or ``None``; it may name no session any more."""
        try:
            return self.home.active_session.read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def task(self, ref: str | Task | Dependency) -> Task:
        """Return the task with this id, or with this alias in the session.

        A `Dependency` means the task that is waited for.

        Raises:
            TaskNotFoundError: With aliases that look alike.
        """
        name = _task_name(ref)
        session_id = None if is_id(name) else self.session_id()
        task = self.store.find_task(name, session_id)
        if task is None:
            similar = () if session_id is None else self._similar(name, session_id)
            raise TaskNotFoundError(name, similar)
        return task

    def _similar(self, ref: str, session_id: str) -> tuple[str, ...]:
        query = TaskQuery(
            session_id=session_id,
            text=ref,
            limit=_MAX_SIMILAR,
        )
        by_text = [task.alias for task in self.store.tasks(query)]
        aliases = self.store.aliases(session_id)
        by_alias = difflib.get_close_matches(ref, aliases, _MAX_SIMILAR)
        return tuple(dict.fromkeys([*by_text, *by_alias]))[:_MAX_SIMILAR]

    def artifact(self, ref: str | Artifact) -> Artifact:
        """Return the artifact with this id.

        Raises:
            ArtifactNotFoundError: There is none.
        """
        artifact_id = ref.id if isinstance(ref, Artifact) else ref
        artifact = self.store.find_artifact(artifact_id)
        if artifact is None:
            raise ArtifactNotFoundError(artifact_id)
        return artifact


def _task_name(ref: object) -> str:
    if isinstance(ref, Task):
        return ref.id
    name = ref.task if isinstance(ref, Dependency) else ref
    if not isinstance(name, str) or not name:
        raise InvalidInputError("task", f"{name!r} is not a task; give an id, an alias or a Task")
    return name
