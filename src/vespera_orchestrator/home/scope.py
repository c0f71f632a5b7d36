"""What a call is about: which home, which session, which task."""

from __future__ import annotations

import functools
import getpass
import hashlib
import logging
import os
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from vespera_orchestrator._model import Artifact, Dependency, Session, Task, TaskQuery, is_id
from vespera_orchestrator._text import show_value, similar_names
from vespera_orchestrator.errors import (
    ArtifactForgottenError,
    ArtifactNotFoundError,
    ClosedError,
    InvalidInputError,
    ReadOnlyError,
    SessionNotFoundError,
    StoreError,
    TaskNotFoundError,
)
from vespera_orchestrator.home.choice import SessionChoice
from vespera_orchestrator.home.config import ENV_AGENT, ENV_SESSION
from vespera_orchestrator.home.files import make_folders, replacing, translate_os_error
from vespera_orchestrator.home.identity import machine_name
from vespera_orchestrator.home.reading import read_small_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vespera_orchestrator.contracts import Embedder, Store
    from vespera_orchestrator.home.locate import Home

log = logging.getLogger("vespera_orchestrator")

DEFAULT_AGENT: Final = "main"
_MAX_SIMILAR: Final = 3
_MOST_LOOKED_AT: Final = 20
"""Among how many tasks with such a text a similar title is looked for."""
_LONGEST_SESSION_ID: Final = 200
_CHOOSE: Final = (
    "orch.resume_session('…') chooses another (orch.list_sessions() shows them), "
    "orch.initialize_session('…') starts one"
)
_ENVIRONMENT_REMEDY: Final = f"unset the variable to work in the active session; {_CHOOSE}"
_ACTIVE_REMEDY: Final = f"both of these rewrite the file: {_CHOOSE}"
_FOLDER_REMEDY: Final = f"a folder is where that file should be: move it away; then {_CHOOSE}"


_Method = TypeVar("_Method", bound="Callable[..., Any]")


def writes(method: _Method) -> _Method:
    """Refuse a public call that writes before it begins, where the home is only looked at.

    For methods of objects that have a ``_scope``.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._scope.require_writable()
        return method(self, *args, **kwargs)

    return cast("_Method", call)


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
        is_environments_store: bool = True,
    ) -> None:
        self.home = home
        self._store = store
        self._closed = False
        self.planner = agent or os.environ.get(ENV_AGENT) or ""
        """Who plans here: the agent, if it has been given a name."""
        self.agent = self.planner or _default_agent(home, store)
        self._choice = SessionChoice(session_id)
        self._is_environments_store = is_environments_store
        """Whether the environment's session must be in this store."""
        self._known_sessions: set[str] = set()
        """Sessions that the store has; none is ever deleted."""
        self.active_problem = ""
        """What was wrong with the home's file when it was last read, if anything was."""
        self.embedder: str | Embedder = embedder or home.config.search.embedder
        """The embedder, as it was asked for. It is not loaded here."""

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

    @property
    def pinned(self) -> str | None:
        """The session that the caller chose itself; see `SessionChoice`.

        Raises:
            SeveralSessionsError: The caller has chosen none, and other threads several.
        """
        return self._choice.chosen()

    @pinned.setter
    def pinned(self, session_id: str | None) -> None:
        self._choice.choose(session_id)

    @property
    def readonly(self) -> bool:
        """Whether the home was opened to look at it only."""
        return self.home.readonly

    def require_writable(self) -> None:
        """Raise `ReadOnlyError` where the home was opened to look at it only."""
        self.require_open()
        if self.home.readonly:
            raise ReadOnlyError.opened_readonly(str(self.home.path))

    def close(self) -> None:
        """Stop giving out the store, whether it is ours or the caller's."""
        self._closed = True

    def session_id(self, ref: str | Session | None = None) -> str:
        """Return the id of the session that a call is about.

        In this order: *ref*, the pinned session, the environment's, the active one.

        Raises:
            SessionNotFoundError: None is active, or the one that is named is not in the store;
                the error says where the name comes from.
        """
        if isinstance(ref, Session):
            return ref.id
        if ref is not None:
            _require_name("session", ref, "an id or a Session")
            return self._existing(ref, SessionNotFoundError(ref))
        pinned = self.pinned
        if pinned:
            return self._existing(pinned, SessionNotFoundError(pinned))
        session_id = self._session_of_environment() or self.active_session_id()
        if session_id is None:
            raise SessionNotFoundError(None)
        return session_id

    def _existing(self, session_id: str, error: SessionNotFoundError) -> str:
        if not self._is_in_store(session_id):
            raise error
        return session_id

    def _is_in_store(self, session_id: str) -> bool:
        if session_id not in self._known_sessions:
            if self.store.find_session(session_id) is None:
                return False
            self._known_sessions.add(session_id)
        return True

    def _session_of_environment(self) -> str | None:
        """Return the session that the environment names for this home and store, or ``None``.

        A call that names another store is not about the environment's session, unless that is in
        the other store as well: one store has several addresses.
        """
        session_id = os.environ.get(ENV_SESSION, "").strip()
        if not session_id or not self.home.follows_environment:
            return None
        if not self._is_environments_store and not self._is_in_store(session_id):
            return None
        error = SessionNotFoundError(session_id, _ENVIRONMENT_REMEDY, ENV_SESSION)
        return self._existing(session_id, error)

    def session(self, ref: str | Session | None = None) -> Session:
        """Return the session that a call is about.

        Raises:
            SessionNotFoundError: None is active, or there is none with this id.
        """
        session_id = self.session_id(ref)
        session = self.store.find_session(session_id)
        if session is None:
            raise SessionNotFoundError(session_id)
        return session

    @contextmanager
    def activating(self, session_id: str) -> Iterator[None]:
        """Make a session the active one, for this process and for those that come later.

        The ``with`` block records it in the store. The new files are prepared before it: if that
        fails, nothing is recorded.

        ``.active_session`` names the one that was chosen last, whatever its store. Another file
        remembers it for this store, in case the home is used with a second one.
        """
        self.require_writable()
        is_recorded = False
        file, chosen_last = self._active_in_store, self.home.active_session
        text = session_id + "\n"
        try:
            make_folders(file.parent)
            with replacing(chosen_last, text), replacing(file, text):
                yield
                is_recorded = True
                self.pinned = session_id
                self._known_sessions.add(session_id)
        except OSError as exc:
            error: StoreError | InvalidInputError = translate_os_error(exc, chosen_last)
            if is_recorded:
                error = ReadOnlyError(str(chosen_last), exc.strerror or str(exc))
                error.add_note(
                    f"session {session_id} was written, and is the session of this object; "
                    f"orch.resume_session({session_id!r}) makes it the active one for others"
                )
            raise error from exc

    @property
    def _active_in_store(self) -> Path:
        digest = hashlib.sha256(self.store.identity.encode()).hexdigest()
        return self.home.active_sessions / digest[:16]

    def active_session_id(self) -> str | None:
        """Return the active session of this store; ``None`` if none was ever chosen.

        Raises:
            SessionNotFoundError: The home's file is damaged, or names a session that is not in the
                store.
        """
        chosen_last = self.home.active_session
        if not os.path.lexists(chosen_last):
            return None
        session_id = _read_session_id(chosen_last)
        if session_id is not None and self._is_in_store(session_id):
            return session_id
        own = self._active_in_store
        remembered = _read_session_id(own)
        if remembered is not None and self._is_in_store(remembered):
            if session_id is None or not self._is_another_stores(session_id, own):
                self._tell_problem(session_id, remembered)
            return remembered
        if session_id is not None and self._is_another_stores(session_id, own):
            return None
        remedy = _FOLDER_REMEDY if chosen_last.is_dir() else _ACTIVE_REMEDY
        raise SessionNotFoundError(session_id, remedy, str(chosen_last))

    def _tell_problem(self, session_id: str | None, remembered: str) -> None:
        """Say once that the file is stale or damaged, and what counts instead."""
        error = SessionNotFoundError(session_id, _ACTIVE_REMEDY, str(self.home.active_session))
        problem = f"{error.problem}; {remembered}, the last one chosen here, counts instead"
        if problem != self.active_problem:
            log.warning("%s: %s", problem, _ACTIVE_REMEDY)
        self.active_problem = problem

    def _is_another_stores(self, session_id: str, own: Path) -> bool:
        try:
            files = [path for path in self.home.active_sessions.iterdir() if path != own]
        except OSError:
            return False
        return any(_read_session_id(path) == session_id for path in files)

    def task(self, ref: str | Task | Dependency) -> Task:
        """Return the task with this id, or with this alias in the session.

        A `Dependency` means the task that is waited for.

        Raises:
            TaskNotFoundError: With aliases that look alike.
        """
        name = task_name("task", ref)
        session_id = None if is_id(name) else self.session_id()
        task = self.store.find_task(name, session_id)
        if task is None:  # a Mac writes some letters as two characters
            task = self.store.find_task(unicodedata.normalize("NFKC", name), session_id)
        if task is None:
            similar = () if session_id is None else self._similar(name, session_id)
            raise TaskNotFoundError(name, similar)
        return task

    def _similar(self, ref: str, session_id: str) -> tuple[str, ...]:
        query = TaskQuery(session_id=session_id, text=ref, limit=_MOST_LOOKED_AT)
        words = ref.casefold()
        by_title = [
            task.alias for task in self.store.tasks(query) if words in task.title.casefold()
        ]
        aliases = self.store.aliases(session_id)
        by_alias = similar_names(ref, aliases, most=_MAX_SIMILAR)
        return tuple(dict.fromkeys([*by_title, *by_alias]))[:_MAX_SIMILAR]

    def artifact(self, ref: str | Artifact) -> Artifact:
        """Return the artifact with this id.

        Raises:
            ArtifactNotFoundError: There is none.
            ArtifactForgottenError: It was removed for good.
        """
        artifact_id = ref.id if isinstance(ref, Artifact) else ref
        _require_name("artifact", artifact_id, "an id or an Artifact")
        artifact = self.store.find_artifact(artifact_id)
        if artifact is None:
            raise self._no_artifact(artifact_id)
        return artifact

    def _no_artifact(self, artifact_id: str) -> ArtifactNotFoundError:
        for tombstone in self.store.tombstones(ids=[artifact_id]):
            return ArtifactForgottenError(
                artifact_id, forgotten_at=tombstone.forgotten_at, reason=tombstone.reason
            )
        return ArtifactNotFoundError(artifact_id)


def _default_agent(home: Home, store: Store) -> str:
    """Return who is calling where nobody says so.

    One name must not be two people's: whoever has it may complete what the other holds. People and
    machines may be called alike, so the store keeps which home has which name.
    """
    if not store.url.startswith(("postgresql:", "postgres:")):
        return DEFAULT_AGENT
    try:
        person = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        person = str(os.getuid())
    name = f"{person}@{machine_name()}"
    return store.default_agent(name, home.id, reserve=not home.readonly)


def _read_session_id(path: Path) -> str | None:
    """Return the id that a file holds; ``None`` where it cannot be read, or holds no id."""
    try:
        content = read_small_file(path, _LONGEST_SESSION_ID, follow_links=False)
        text = content.decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if text.isprintable() and text else None


def task_name(argument: str, ref: object) -> str:
    """Return the id or alias that an argument names.

    Raises:
        InvalidInputError: It names no task.
    """
    if isinstance(ref, Task):
        return ref.id
    name = ref.task if isinstance(ref, Dependency) else ref
    if not isinstance(name, str) or not name:
        problem = f"{show_value(name)} is not a task; give an id, an alias or a Task"
        raise InvalidInputError(argument, problem)
    return name


def _require_name(kind: str, ref: object, right: str) -> None:
    if not isinstance(ref, str):
        raise InvalidInputError(kind, f"{show_value(ref)} does not name one; give {right}")


def find_type_name(session: Session, find_session: Callable[[str], Session | None]) -> str | None:
    """Return the name of the type of the session's project.

    It is the session's own, or that of the nearest session above it that has one.

    Args:
        session: The session.
        find_session: Returns the session of an id; ``None`` if there is none.
    """
    visited = set()
    nearest: Session | None = session
    while nearest is not None and nearest.project_type is None and nearest.id not in visited:
        visited.add(nearest.id)
        parent_id = nearest.parent_session_id
        nearest = find_session(parent_id) if parent_id else None
    return None if nearest is None else nearest.project_type
