"""The façade: signatures, documentation and wiring. What decides is in the rooms below."""

from __future__ import annotations

import functools
import logging
import os
import threading  # noqa: TC003 - tools read the hints at run time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import date, datetime, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias

import vespera_orchestrator as vespera
from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Artifact,
    Dependency,
    Energy,
    Existing,
    HomeSource,
    JsonValue,
    NextAction,
    NextStep,
    Outcome,
    Pause,
    PlannedTasks,
    Reopening,
    Session,
    Task,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    TeamSettings,
    Why,
    utcnow,
)
from vespera_orchestrator._records import RecordList
from vespera_orchestrator._rooms import Rooms
from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.agents.context import AgentContext
from vespera_orchestrator.contracts import ContentStore, Embedder, Executor, Store
from vespera_orchestrator.errors import (
    CorruptContentError,
    InvalidInputError,
    ReadOnlyError,
    SessionNotFoundError,
    StoreUnavailableError,
    VesperaError,
)
from vespera_orchestrator.home.calls import WrongCall, explains_calls, keeps_work
from vespera_orchestrator.home.config import ENV_SESSION, ENV_STORE
from vespera_orchestrator.home.consent import refuse_elsewhere, withheld_warning
from vespera_orchestrator.home.files import remove_folder
from vespera_orchestrator.home.identity import machine_name
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.scope import Scope, find_type_name, writes
from vespera_orchestrator.home.timezone import zone_name
from vespera_orchestrator.stores import caller_store, durability_in, open_store
from vespera_orchestrator.tasks import arguments, dates, lifecycle, plans
from vespera_orchestrator.tasks.date_words import Calendar

if TYPE_CHECKING:
    from vespera_orchestrator.progress.overview import Overview
    from vespera_orchestrator.progress.pressure import PressureGauge
    from vespera_orchestrator.work.completion import Completion
    from vespera_orchestrator.work.delegation import Coordination
    from vespera_orchestrator.work.files import WorkFiles
    from vespera_orchestrator.work.start import Starter

log = logging.getLogger("vespera_orchestrator")


def _log_renamed(planned: vespera.PlannedTasks) -> None:
    """Tell whoever plans a title again that there are two tasks now."""
    if planned.renamed:
        names = ", ".join(f"{new} (beside {old})" for new, old in planned.renamed.items())
        log.warning(
            "planned under a further name: %s. To plan it once: "
            "orch.plan_tasks(…, existing='keep')",
            one_line(names, 300),
        )


Handler: TypeAlias = Callable[["vespera.Work"], object]
"""Does the work of a task, and returns what came of it; see `Orchestrator.run`."""
TaskRef = str | Task
"""A task by id, alias or record."""


def _is_another_store(named: str | Store, store: Store) -> bool:
    """Tell whether the call names a store that is not the environment's."""
    if store.url == "memory:":
        return True
    inherited = os.environ.get(ENV_STORE, "").strip()
    return bool(inherited) and inherited not in (named, store.url)


@explains_calls
class Orchestrator:
    """Sessions, tasks, artifacts, worktrees and documents of one project. Made by `open`.

    Safe to use from several threads. A thread that starts or resumes a session keeps it for itself;
    one that has not works in that of the others, and is refused (`SeveralSessionsError`) if they
    have several. Give each client of a server an object of its own, with
    ``vespera.open(session=…)``: the calls of a `Toolbox` are those of one client, whatever their
    thread.

    Wherever a task is asked for, you can pass its id, its alias or its `Task` record. The argument
    is called ``task``, and the task above it ``parent_task_id``; only `execute_task` and
    `complete_task` say ``task_id``. Each call understands the other names as well. Nothing runs in
    the background: when you call, expired leases are noticed, and views such as the search index
    catch up.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        clock: Callable[[], datetime] = utcnow,
        owns_store: bool = True,
        content: str | ContentStore | None = None,
    ) -> None:
        self._scope = scope
        self._clock = clock
        self._chosen_content = content or scope.home.config.content
        if self._chosen_content is not None and not isinstance(self._chosen_content, str):
            from vespera_orchestrator.artifacts.content import caller_content

            caller_content(self._chosen_content)
        self._rooms = Rooms(
            scope=scope,
            clock=clock,
            open_content=self._open_content,
            is_content_chosen=self._chosen_content is not None,
            explain_missing=self._explain_missing,
        )
        self._resources = ExitStack()
        if owns_store:
            self._resources.callback(scope.store.close)

    # --- opening and closing ------------------------------------------------

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        store: str | Store | None = None,
        content: str | ContentStore | None = None,
        home: str | os.PathLike[str] | None = None,
        session: str | None = None,
        agent: str | None = None,
        embedder: str | Embedder | None = None,
        clock: Callable[[], datetime] = utcnow,
        durability: Literal["full", "normal"] | None = None,
        readonly: bool = False,
    ) -> Self:
        """Open the project around *path*, making its home ``.task_orchestrator/`` if it is missing.

        Several processes may do so at once. From inside any git worktree the home of the main
        worktree is found. Elsewhere it may be that of a folder above, as long as that is of the
        same project. `home_source` says which home was taken, and so does the log.

        Args:
            path: A folder of the project. Any but ``"."`` wins over the environment: where
                ``VESPERA_ORCHESTRATOR_HOME`` belongs to another project, this one is opened, with
                the store, the session and the settings of its own.
            store: ``None`` for SQLite in the home, ``"sqlite:///file"``, ``"memory:"``,
                ``"postgresql://user@host/database"``, or an object that keeps `contracts.Store`,
                which remains yours to close. By default ``VESPERA_ORCHESTRATOR_STORE``, then
                ``[store] url`` of ``config.toml``. With ``"memory:"`` the project's own home and
                documents stay as they are; contents go to a temporary folder, removed by `close`.
            content: Where the bytes of artifacts go: ``None`` for ``artifacts/`` in the home,
                ``"s3://bucket/folder"``, ``"gs://…"``, ``"az://…"``, ``"file:///folder"``,
                ``"memory://"``, or an object that keeps `contracts.ContentStore`. By default
                ``VESPERA_ORCHESTRATOR_CONTENT``, then ``content`` of ``config.toml``.
            home: The home's folder, instead of the one that is found; also
                ``VESPERA_ORCHESTRATOR_HOME``. A home that you name wins over the environment in
                the same way as a path.
            session: The session to work in, instead of ``MCP_ORCHESTRATOR_SESSION`` or the active
                one.
            agent: Who is calling; also ``VESPERA_ORCHESTRATOR_AGENT``; ``"main"`` by default.
            embedder: What makes the vectors for the search: ``"auto"`` (the default: the static
                model of the extra ``vectors`` where it is installed), ``"none"``, ``"NAME"`` or
                ``"NAME:MODEL"`` from LanceDB's registry, such as ``"ollama:nomic-embed-text"``, or
                an object that keeps `contracts.Embedder`. Also ``VESPERA_ORCHESTRATOR_EMBEDDER``,
                and ``[search] embedder`` in ``config.toml``: set it there when several processes
                share the home. It is loaded by the first search, not here.
            clock: Tells the time, aware. For tests.
            durability: ``"full"``: whatever was acknowledged survives a power cut. ``"normal"``:
                faster on a disk that really flushes; a power cut may take the last moments, the
                death of a process never does. By default what ``config.toml`` says, else full.
            readonly: Only look, and write nothing whatsoever: no file in the home, no row, no
                lock, no note that you have looked. It takes no more than the right to read, and
                others may work meanwhile. Every call that writes raises `ReadOnlyError` before it
                begins. A lease that is over is shown as the next writer will see it.

        Raises:
            ReadOnlyError: The home cannot be made or written.
            HomeNotFoundError: With *readonly*, and there is no home.
            UnsupportedFileSystemError: The home is on a network file system.
            UntrustedHomeError: The home came from somebody else, and keeps its records elsewhere;
                or something in it is a link.
            SchemaVersionError: The store was made by a newer version; or with *readonly*, and it
                is a PostgreSQL store of an earlier one.
            CorruptStoreError: The store is damaged.
            StoreUnavailableError: The store is locked, the disk is full, or the server cannot be
                reached.
            MissingDependencyError: The extra ``postgres`` is not installed.
            InvalidInputError: An argument or ``config.toml`` is wrong.
        """
        place = Home.locate(path, home)
        if store is None and place.config.store.url is None:
            refuse_elsewhere(place)
        chosen = place.config.store.url if store is None else store
        address = chosen if isinstance(chosen, str) else None
        in_address = durability_in(address)
        place = place.with_durability(durability if in_address is None else in_address)
        is_trial = chosen == "memory:" and home is None and not readonly
        with ExitStack() as on_failure:
            if is_trial:
                place = place.temporary()
                on_failure.callback(remove_folder, place.path, os.getpid())
            if readonly:
                place = place.to_look_at(needs_database=chosen is None)
            else:
                place.create()
            if chosen is None or isinstance(chosen, str):
                word = place.config.store.durability
                opened = open_store(
                    chosen, place.database, clock, durability=word, readonly=readonly
                )
                on_failure.callback(opened.close)
            elif readonly:
                problem = "a store that you made is yours to protect; pass its address instead"
                raise InvalidInputError("readonly", problem)
            else:
                opened = caller_store(chosen)
            scope = Scope(
                place,
                opened,
                agent=agent,
                session_id=session,
                embedder=embedder,
                is_environments_store=store is None or not _is_another_store(store, opened),
            )
            orch = cls(scope, clock=clock, owns_store=opened is not chosen, content=content)
            if orch._content_url is not None:
                _ = orch._rooms.content  # a wrong address is refused now, not when work comes in
            on_failure.pop_all()
        if is_trial:
            remove = weakref.finalize(orch, remove_folder, place.path, os.getpid())
            orch._resources.callback(remove)
        orch._warn_of_settings()
        return orch

    def _warn_of_settings(self) -> None:
        """Say at once what will be in the way of the work. Any trouble belongs to a later call."""
        log.info("opened %s (found by: %s)", self._scope.home.path, self._scope.home.source)
        withheld = withheld_warning(self._scope.home)
        if withheld:
            log.warning("%s", withheld)
        with suppress(VesperaError):
            differences = self._rooms.team.differences(self._scope.session_id())
            if differences:
                listed = "; ".join(map(str, differences))
                log.warning("not as agreed on in this session: %s. See orch.check()", listed)

    def close(self) -> None:
        """Release every resource. Idempotent.

        Any later call raises `ClosedError`, including through objects obtained earlier.
        """
        self._scope.close()
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        home = self._scope.home
        notes = []
        if home.source is HomeSource.ABOVE:
            notes.append("the home of a folder above")
        if home.readonly:
            notes.append("readonly")
        if self._scope.is_closed:
            notes.append("closed")
        state = f" ({', '.join(notes)})" if notes else ""
        return f"<Orchestrator {home.path}{state}>"

    @property
    def home(self) -> Path:
        """The folder that holds everything."""
        return self._scope.home.path

    @property
    def home_source(self) -> HomeSource:
        """How the home was found: named, or that of the folder, the repository, a folder above."""
        return self._scope.home.source

    @property
    def project(self) -> Path:
        """The project's folder."""
        return self._scope.home.project

    @property
    def agent(self) -> str:
        """Who is calling, unless a call says otherwise."""
        return self._scope.agent

    # --- the rooms ----------------------------------------------------------

    @cached_property
    def artifacts(self) -> vespera.Artifacts:
        """The full record of the work: save, read, search."""
        from vespera_orchestrator.artifacts import Artifacts

        return Artifacts(self._rooms)

    @cached_property
    def worktrees(self) -> vespera.Worktrees:
        """Git worktrees: create, snapshot, merge, forecast, remove, rescue, repair."""
        from vespera_orchestrator.work.worktrees import Worktrees

        return Worktrees(self._rooms, self._completion)

    @property
    def documents(self) -> vespera.Documents:
        """Project documents that update themselves: update, check, versions, restore."""
        return self._rooms.documents

    @property
    def _store(self) -> Store:
        return self._scope.store

    def _open_content(self) -> ContentStore:
        from vespera_orchestrator.artifacts.content import open_chosen

        home, store = self._scope.home, self._store
        return open_chosen(
            self._chosen_content,
            home.artifacts,
            user=None if home.readonly else store.identity,
            is_owner=home.is_own_store(store.url),
        )

    def _explain_missing(
        self, missing: CorruptContentError, home_id: str, name: str
    ) -> CorruptContentError:
        from vespera_orchestrator.artifacts.whereabouts import Whereabouts

        here = Whereabouts(rooms=self._rooms)
        return here.in_other_home(missing, [home_id], name) or missing

    @property
    def _content_url(self) -> str | None:
        """Where the bytes are, unless in the home."""
        chosen = self._chosen_content
        return chosen if chosen is None or isinstance(chosen, str) else chosen.url

    @cached_property
    def _files(self) -> WorkFiles:
        from vespera_orchestrator.work.files import WorkFiles

        return WorkFiles(self._rooms)

    @cached_property
    def _completion(self) -> Completion:
        from vespera_orchestrator.work.completion import Completion

        return Completion(self._rooms, self.artifacts, self._files)

    @cached_property
    def _starter(self) -> Starter:
        from vespera_orchestrator.work.limits import ClaimLimit
        from vespera_orchestrator.work.start import Starter

        return Starter(
            self._rooms,
            self.artifacts,
            self._completion,
            self._files,
            coordination=self._coordination,
            limit=ClaimLimit(self._rooms, self._gauge),
        )

    @cached_property
    def _gauge(self) -> PressureGauge:
        from vespera_orchestrator.progress.pressure import PressureGauge

        return PressureGauge(self._rooms)

    @cached_property
    def _coordination(self) -> Coordination:
        from vespera_orchestrator.work.delegation import Coordination

        return Coordination(self._rooms)

    @cached_property
    def _overview(self) -> Overview:
        from vespera_orchestrator.progress.overview import Overview

        return Overview(self._rooms)

    def _require_open(self) -> None:
        self._scope.require_open()

    def _expire(self) -> None:
        """End expired leases, and save what their holders left in their worktrees.

        Whoever only looks does so on a full disk as well, or without the right to write.
        """
        try:
            self._files.expire()
        except (StoreUnavailableError, ReadOnlyError) as exc:
            log.warning("expired leases could not be ended: %s", exc)

    @writes
    def catch_up(self) -> dict[str, int]:
        """Bring every view up to the last event.

        Returns:
            How many artifacts were indexed (``index``) and how many documents were written
            (``documents``).
        """
        self._require_open()
        try:
            written = len(self.documents.catch_up().written)
        finally:  # one view catches up whatever becomes of the other
            indexed = self.artifacts.catch_up()
        return {"index": indexed, "documents": written}

    # --- sessions -----------------------------------------------------------

    @writes
    def initialize_session(
        self,
        goal: str = "",
        *,
        project_type: str | None = None,
        context: Mapping[str, JsonValue] | None = None,
        parent_session: str | Session | None = None,
    ) -> Session:
        """Start a session and make it the active one.

        Args:
            goal: What you want to reach, in a sentence.
            project_type: ``software_development``, ``research_project``, ``creative_writing``, or
                a type of the home's own: keep its documents under ``docs/`` of the project up to
                date. Spaces and hyphens serve as well. ``None``: keep none.
            context: Whatever later agents should know; anything JSON can hold.
            parent_session: The session that this one is part of.

        Raises:
            InvalidInputError: An unknown project type, or a context that JSON cannot hold.
        """
        parent = None if parent_session is None else self._scope.session(parent_session)
        draft = plans.new_session(
            goal=goal,
            project_type=project_type,
            context=context,
            parent_session_id=None if parent is None else parent.id,
            now=self._clock(),
            project_types=self._project_types(project_type),
        )
        settings = self._rooms.team.settings_of_new(draft.id)
        with self._scope.activating(draft.id):
            return self._store.start_session(draft, settings=settings)

    def _project_types(self, wanted: str | None) -> tuple[str, ...]:
        """Return the known types; the home's own are read only if one of them may be wanted."""
        if wanted is None or wanted in plans.PROJECT_TYPES:
            return plans.PROJECT_TYPES
        return self.documents.project_types()

    def current_session(self) -> Session:
        """Return the session that calls are about.

        That is this object's own, else the one in ``MCP_ORCHESTRATOR_SESSION``, else the active
        one.

        Raises:
            SessionNotFoundError: None is active.
        """
        self._require_open()
        return self._scope.session()

    @writes
    def resume_session(self, session_id: str | Session | None = None) -> Session:
        """Continue a session, by default the active one, and make it the active one.

        Raises:
            SessionNotFoundError: There is none with this id, or none is active.
        """
        meant = self._scope.session_id(session_id)
        with self._scope.activating(meant):
            return self._store.resume_session(meant)

    def list_sessions(self, *, limit: int | None = 100, offset: int = 0) -> list[Session]:
        """Return sessions, the most recently written to first."""
        sessions = self._store.sessions(
            limit=arguments.whole_number("limit", limit, least=0),
            offset=arguments.whole_number("offset", offset, least=0) or 0,
        )
        return RecordList(sessions)

    def session_status(self, session_id: str | Session | None = None) -> vespera.SessionStatus:
        """Return a session's progress in figures."""
        session = self._scope.session(session_id)
        self._expire()
        return self._overview.session_status(session)

    def team_settings(self, session_id: str | Session | None = None) -> TeamSettings:
        """Return the settings that all homes which work in a session have to have in common.

        These are ``integration_branch``, ``check`` and ``undoing`` of ``[worktrees]``, and where
        the bytes of artifacts go. They are those of the home that started the session, or of the
        one that called `share_settings` last. A change in the ``config.toml`` of that home counts
        from its next work on.

        A home that would do less than was agreed is refused with a `SettingsConflictError` before
        a task is taken, completed or landed. `check` names every difference.
        """
        return self._rooms.team.agreed(self._scope.session(session_id).id)

    @writes
    def share_settings(self, session_id: str | Session | None = None) -> TeamSettings:
        """Make this home's settings those of every home that works in a session.

        Other homes with other settings are refused from now on, until a person has changed theirs.
        See `team_settings`.
        """
        return self._rooms.team.share(self._scope.session(session_id).id)

    def spawn_agent_with_context(
        self, task: TaskRef | None = None, *, agent: str | None = None
    ) -> AgentContext:
        """Collect what a new agent process inherits.

        You start the process yourself: ``Popen(…, env=context.environ())``. From now on you
        coordinate: ``execute_task()`` hands you light tasks only, unless you name one
        (``coordinator_executes`` in the settings).

        Args:
            task: The task that the agent is meant for. It inherits the artifacts of everything the
                task builds on, nearest first; without a task, the session's newest artifacts.
            agent: The name it will work under; by default made from the task's alias.
        """
        from vespera_orchestrator.artifacts import inheritance

        self._require_open()
        self._coordination.note_spawned(self.agent)
        if task is None:
            meant, name = None, f"{self.agent}-child"
            inherited = inheritance.newest_artifacts(self._store, self._scope.session_id())
        else:
            meant = self._scope.task(task)
            name = f"{meant.alias}-agent"
            inherited = inheritance.upstream_artifacts(self._store, meant)
        return AgentContext.of(
            self._scope,
            task=meant,
            agent=agent or name,
            artifacts=inherited,
            shared=self._rooms.shared.read(),
            content_url=self._content_url,
        )

    @writes
    def share_context(self, /, **values: JsonValue) -> vespera.SharedContext:
        """Share values with all agents of the current session, and of the sessions below it.

        ``orch.share_context(database="sqlite", port=8080)``. A later value takes the place of an
        earlier one; `SharedContext.history` keeps them all, with who and when. Where two agents set
        one key differently, the later value counts, and the conflict is reported: in the answer, by
        `shared_context` and `resume`, until somebody who has seen it shares the key again.

        Args:
            values: By key, anything JSON can hold, up to 8 KB each. Save what is longer as an
                artifact, and share its id.

        Returns:
            All that is shared now; ``.conflicts`` names the conflicts.

        Raises:
            InvalidInputError: A key is no name, a value is too long or cannot be JSON, or there
                are more than 200 keys. Nothing was shared.
            SessionNotFoundError: No session is active.
        """
        self._require_open()
        return self._rooms.shared.share(values)

    def shared_context(self) -> vespera.SharedContext:
        """Return what the agents of the current session share: a mapping from key to value.

        It includes what the session was started with, and what the sessions above it share; nearer
        values win. Sessions beside it are not included. ``.conflicts`` are the keys that two agents
        set differently; ``.source(key)`` and ``.history(key)`` say who set a value, and when.

        Raises:
            SessionNotFoundError: No session is active.
        """
        self._require_open()
        return self._rooms.shared.read()

    def resume(self, *, budget_tokens: int | None = None) -> vespera.Briefing:
        """Say where you were, what has changed since you last looked, and the next step.

        At most 12 lines and 400 tokens. Each agent has a last look of its own in each session, so
        one that looks takes no news away from another. Without a session, it says how to start.
        With little energy (`set_energy`) it is shorter still: your own words, and one step. The
        news wait until you look with more.

        Args:
            budget_tokens: About how long it may print; a token is about four letters, or one
                digit. The next step is always included, and the goal is cut last.
        """
        from vespera_orchestrator.progress.resume import briefing, no_session
        from vespera_orchestrator.progress.resume_facts import ResumeReader, ResumeView

        self._require_open()
        arguments.whole_number("budget_tokens", budget_tokens, least=1)
        try:
            session = self._scope.session()
        except SessionNotFoundError as exc:
            if exc.named_by == ENV_SESSION:
                raise  # somebody meant another session: nobody should go on as if it were none
            return no_session(self.next_step(), budget_tokens)
        self._expire()
        status, records = self._overview.status_with(
            session,
            lambda status, reader: ResumeReader(self._rooms, status, reader, self.agent).records(),
            budget_tokens=budget_tokens,
        )
        view = ResumeView(self._rooms, status, self.agent)
        text = briefing(view.facts(records))
        if records.shared is not None:
            self._rooms.shared.note(session, records.shared)
        if status.gentleness is not None or self._scope.readonly:
            return text  # the news are still new when all of it is shown again
        try:
            view.note(records)
        except (StoreUnavailableError, ReadOnlyError) as exc:  # reading needs no write access
            log.warning("it could not be noted what %s has seen: %s", self.agent, exc)
        return text

    def digest(self) -> vespera.Digest:
        """Tell the news, at most three times a day, and never in the middle of a task of yours.

        Call it as often as you like, for example from a shell prompt: nothing polls, and each piece
        of news is told once. In between it says that nothing needs you. What `resume` has shown is
        not told again. The hours are a setting, ``digest_hours`` in the section ``[person]``.

        Raises:
            SessionNotFoundError: No session is active.
        """
        from vespera_orchestrator.progress.digest import DigestReader

        session = self._scope.session()
        self._expire()
        return DigestReader(self._rooms, self._overview, session).read()

    @writes
    def pause(self, note: str = "", next_step: str = "") -> Pause:
        """Leave off: keep your words, and save everything that you have in hand.

        Nothing is asked. Your words are durable first, whatever ends this call early. The tasks
        stay yours for as long as their leases run. When you come back, `resume` shows the words as
        you wrote them; if you write none, your last ones go on to count.

        Args:
            note: Where you are. Without one, it says what is in hand.
            next_step: What you mean to do next. Without one, it is worked out.

        Raises:
            SessionNotFoundError: No session is active.
        """
        from vespera_orchestrator.work.pausing import pause

        self._require_open()
        return pause(self._rooms, self._overview, self._starter, note=note, next_step=next_step)

    # --- planning -----------------------------------------------------------

    @writes
    def plan_task(
        self,
        title: str,
        description: str = "",
        *,
        dependencies: Iterable[TaskRef | Dependency] = (),
        condition: str | None = None,
        parent_task_id: TaskRef | None = None,
        alias: str | None = None,
        task_type: str = "standard",
        complexity: str = "moderate",
        specialist_type: str | None = None,
        priority: int = 0,
        estimated_effort: str | None = None,
        due_date: datetime | date | timedelta | str | None = None,
        not_before: datetime | date | timedelta | str | None = None,
        max_attempts: int = 3,
        retry_after: timedelta | float | str | None = None,
        time_limit: timedelta | float | str | None = None,
        stalled_after: timedelta | float | str | None = None,
        question: str | None = None,
        signal: str | None = None,
        context: Mapping[str, JsonValue] | None = None,
        acceptance: str = "",
        for_agent: str | None = None,
    ) -> Task:
        """Plan a task in the current session.

        Args:
            title: What to do, in a few words.
            description: What an agent must know to do it.
            dependencies: Tasks to wait for: ids, aliases, records, or `Dependency` for an outcome
                other than success.
            condition: When to do it at all, such as ``"task_d.success"`` or
                ``"tests.outputs.coverage >= 0.8"``. It may name dependencies only; those it names
                are governed by it, and no longer wait for their own outcome. When it turns out
                false, the task is skipped.
            parent_task_id: The task that this one is a part of. The parent waits for it.
            alias: A short name, unique in the session; by default made from the title:
                ``"Task D"`` becomes ``task_d``.
            task_type: Any word, such as ``research``, ``bugfix``, ``review``.
            complexity: Any word. ``complex``, ``hard``, ``large`` and the like mean more than one
                sitting.
            specialist_type: Who should do it: the name of a role, or any words. By default a role
                that suits the type and the complexity; see `roles`.
            priority: Higher goes first.
            estimated_effort: Such as ``"2 hours"`` or ``"1 day"``; used for the critical path.
            due_date: When it should be done: a datetime, a date, either in ISO format, or words:
                ``"friday"``, ``"tomorrow 18:00"``, ``"in 3 days"``. A date is that day in your
                time zone (``timezone``, section ``[person]`` of ``config.toml``; by default that of
                the machine), and so is a time. When it is near, the task goes first among those
                of its priority, and so does what it waits for.
            not_before: The task rests until then: it is not ready before. Words are as for
                *due_date*. A date means the beginning of that day. See `snooze_task`.
            max_attempts: After so many failures no further recovery task is made, and a person
                decides; likewise after so many crashes in a row without progress.
            retry_after: When an attempt fails, try again by itself after this pause, such as
                ``"30 s"``; it doubles each time. By default a failure blocks the task.
            time_limit: How long an attempt may take, such as ``"2 hours"``.
            stalled_after: How long an attempt may bring nothing new.
            question: What a person is asked. The answer completes the task, see `answer`; nobody
                is handed it. A task that needs the answer depends on this one.
            signal: A name that the host reports by `signal`, which completes the task as well.
            context: Whatever else an agent should know; anything JSON can hold.
            acceptance: How to tell that it is done, such as ``"the tests pass on both stores"``.
            for_agent: The only agent that is handed it, by exactly this name; others are refused,
                unless with ``take_over=True``.

        Raises:
            PlanError: Or one of its branches: an unknown dependency, a circle, a condition that
                cannot be understood.
            AliasTakenError: The alias names another task.
            TransitionError: The parent has ended.
            SessionNotFoundError: No session is active.
        """
        spec = {
            "title": title,
            "description": description,
            "dependencies": dependencies,
            "condition": condition,
            "parent_task_id": parent_task_id,
            "alias": alias,
            "task_type": task_type,
            "complexity": complexity,
            "specialist_type": specialist_type,
            "priority": priority,
            "estimated_effort": estimated_effort,
            "due_date": due_date,
            "not_before": not_before,
            "max_attempts": max_attempts,
            "retry_after": retry_after,
            "time_limit": time_limit,
            "stalled_after": stalled_after,
            "question": question,
            "signal": signal,
            "context": context,
            "acceptance": acceptance,
            "for_agent": for_agent,
        }
        draft = plans.draft(spec, calendar=self._calendar, planned_by=self._scope.planner)
        planned = self._store.plan(self._scope.session_id(), [draft])
        _log_renamed(planned)
        return planned[0]

    @property
    def _calendar(self) -> Calendar:
        return Calendar(now=self._clock, zone=self._zone)

    def _zone(self) -> tzinfo:
        return self._rooms.zone

    @writes
    def plan_tasks(
        self,
        specs: str | Iterable[Mapping[str, Any] | TaskDraft],
        *,
        existing: Literal["error", "keep", "update"] | Existing = "error",
    ) -> PlannedTasks:
        """Plan several tasks at once, all or none.

        Args:
            specs: For each task a mapping with the parameters of `plan_task`, at least ``title``;
                ``children`` may hold further mappings. References are by alias, in any order; a
                dependency may also be a mapping with ``task`` and ``on``. A reference means a task
                of this plan before one that was there already. Instead of mappings you can pass
                `TaskDraft` records, or the whole plan as JSON or YAML 1.2 text: a list, or a
                mapping with the key ``tasks``.
            existing: What to do about a task that the session has already, by its alias: the one
                that the plan chose, or the one made from its title. ``"keep"`` leaves it as it is,
                so that the same plan again adds only what is missing. ``"update"`` also changes
                what the plan names, and ``None`` clears it; what is left out stays. ``"error"``
                refuses an alias that
                the plan chose, and gives a title another one: ``write_docs_2``.

        Returns:
            The tasks, in the order given, each followed by its children: a list that also says what
            is ``new``, ``changed`` and ``unchanged``.

        Raises:
            PlanError: Or one of its branches, with the place in the plan. Nothing was planned.
            InvalidPlanError: Several mistakes, each with its place.
            TransitionError: What an existing task waits for should change, and it is not pending.
        """
        mode = arguments.existing("existing", existing)
        planner = self._scope.planner
        drafts, mistakes = plans.plan(specs, calendar=self._calendar, planned_by=planner)
        session_id = self._scope.session_id()
        planned = self._store.plan(session_id, drafts, mistakes=mistakes, existing=mode)
        _log_renamed(planned)
        return planned

    @writes
    def update_task(
        self,
        task: TaskRef,
        *,
        title: str | None = None,
        description: str | None = None,
        dependencies: Iterable[TaskRef | Dependency] | None = None,
        condition: str | None = None,
        parent_task_id: TaskRef | None = None,
        alias: str | None = None,
        task_type: str | None = None,
        complexity: str | None = None,
        specialist_type: str | None = None,
        priority: int | None = None,
        estimated_effort: str | None = None,
        due_date: datetime | date | timedelta | str | None = None,
        not_before: datetime | date | timedelta | str | None = None,
        max_attempts: int | None = None,
        retry_after: timedelta | float | str | None = None,
        time_limit: timedelta | float | str | None = None,
        stalled_after: timedelta | float | str | None = None,
        question: str | None = None,
        signal: str | None = None,
        context: Mapping[str, JsonValue] | None = None,
        acceptance: str | None = None,
        for_agent: str | None = None,
    ) -> Task:
        """Change a task. Whatever you do not pass stays as it is.

        The parameters are those of `plan_task`. An empty text clears a condition, a parent, a date,
        an estimate, a limit, a specialist, a question, a signal, an agent; ``dependencies=[]``
        clears them all. What the task waits for can be changed while it is pending, everything else
        at any time. Its state is changed by other verbs, such as `cancel_task`.

        Returns:
            The task as it is now.

        Raises:
            PlanError: Or one of its branches, as in `plan_task`.
            AliasTakenError: The alias names another task.
            TransitionError: The new parent has ended; or what the task waits for should change, and
                it is not pending.
        """
        spec = {
            "title": title,
            "description": description,
            "dependencies": dependencies,
            "condition": condition,
            "parent_task_id": parent_task_id,
            "alias": alias,
            "task_type": task_type,
            "complexity": complexity,
            "specialist_type": specialist_type,
            "priority": priority,
            "estimated_effort": estimated_effort,
            "due_date": due_date,
            "not_before": not_before,
            "max_attempts": max_attempts,
            "retry_after": retry_after,
            "time_limit": time_limit,
            "stalled_after": stalled_after,
            "question": question,
            "signal": signal,
            "context": context,
            "acceptance": acceptance,
            "for_agent": for_agent,
        }
        meant = self._scope.task(task)
        return self._store.update_task(meant.id, plans.changes(spec, calendar=self._calendar))

    @writes
    def snooze_task(
        self,
        task: TaskRef,
        until: datetime | date | timedelta | str | None = "tomorrow",
        *,
        subtree: bool = True,
    ) -> Task:
        """Let a task rest until another day: it is not ready, and not handed out.

        It is not mentioned, either; the status only counts what rests. It wakes by itself. A due
        date before that day moves there. Nothing is lost, and nothing is held against anybody.

        Args:
            task: The task.
            until: As *not_before* of `plan_task`: ``"tomorrow"``, ``"monday"``, ``"next week"``,
                ``"3 days"``, a date, a datetime, a `timedelta`. ``None`` wakes it now.
            subtree: Everything below it that has not ended, too.

        Returns:
            The task as it is now.

        Raises:
            InvalidInputError: The moment cannot be understood, or is over.
            TransitionError: The task has ended, or an agent holds it.
        """
        self._expire()
        meant = self._scope.task(task)
        moment = dates.snooze_until("until", until, self._calendar)
        zone = zone_name(self._zone())
        self._store.snooze(meant.id, moment, zone=zone, subtree=subtree)
        return self._scope.task(meant)

    @writes
    def simplify(
        self,
        task: TaskRef,
        *,
        grain: int = 3,
        by: Callable[[Task, int], Iterable[str | Mapping[str, Any] | TaskDraft]] | None = None,
    ) -> list[Task]:
        """Take a heavy task apart into smaller ones, below it, one after the other.

        The pieces come from the open boxes of its checklist, else from its acceptance points, else
        from the list in its description. Where it lists nothing, they are a smallest first step of
        ten minutes, the rest, and a look whether it is done. No language model is asked, and the
        same task gives the same pieces. Called again, it returns the same tasks; with another
        grain, it takes those back that nobody has begun.

        `undo_simplify` takes them back in one call.

        Args:
            task: The task.
            grain: From 1 (two pieces at most) to 5 (twelve at most).
            by: Your own way to take it apart. Called with the task and the grain, it returns
                titles, or tasks as `plan_tasks` takes them.

        Returns:
            The pieces, the first one first.

        Raises:
            InvalidInputError: The grain, or what *by* returned, is unusable; nothing was planned.
            TransitionError: The task has ended, or has subtasks of another kind.
        """
        from vespera_orchestrator.work.simplify import Simplifier

        return RecordList(Simplifier(self._rooms).simplify(self._scope.task(task), grain, by))

    @writes
    def undo_simplify(self, task: TaskRef) -> Task:
        """Take back what `simplify` planned below a task, but for pieces that somebody has begun.

        The pieces are removed for good. Safe to repeat.

        Returns:
            The task as it is now.

        Raises:
            TransitionError: Another task depends on a piece, or is a part of it. All stay.
        """
        from vespera_orchestrator.work.simplify import Simplifier

        return Simplifier(self._rooms).undo(self._scope.task(task))

    @writes
    def add_dependency(
        self, task: TaskRef, needs: TaskRef | Dependency, *, on: str | Outcome = Outcome.SUCCESS
    ) -> Task:
        """Make a pending task wait for another one too.

        Raises:
            CycleError: With the path.
            TransitionError: The task is not pending.
        """
        outcome = needs.on if isinstance(needs, Dependency) else arguments.outcome("on", on)
        task_id, needed_id = self._scope.task(task).id, self._scope.task(needs).id
        return self._store.add_dependency(task_id, needed_id, outcome)

    @writes
    def remove_dependency(self, task: TaskRef, needs: TaskRef | Dependency) -> Task:
        """Remove a dependency.

        Raises:
            UnknownDependencyError: There is no such dependency.
            ConditionError: The task's condition names it.
        """
        task_id, needed_id = self._scope.task(task).id, self._scope.task(needs).id
        return self._store.remove_dependency(task_id, needed_id)

    def pressure(self) -> vespera.Pressure:
        """Say how close to too much the current session is, why, and what follows.

        It is computed from what happened in the last day: failures, retries, agents that stopped
        responding, more planned than done, landings that are not settled, too much at once, work
        that was not saved, long hours, finished work that nobody has looked at, and your own word
        (`set_energy`). A level that is new is recorded (event ``pressure_changed``). The thresholds
        are settings.

        Raises:
            SessionNotFoundError: No session is active.
        """
        return self._gauge.update(self._scope.session().id)

    @writes
    def set_energy(self, energy: Literal["low", "normal"] | Energy) -> vespera.Pressure:
        """Say how much you can take on. It counts for the rest of the day, or until you say more.

        With ``low``, you see one step at a time, in few and gentle words, and fewer tasks are
        handed out at once. ``normal`` takes it back. Your word is your own: what others see does
        not change.

        Returns:
            The pressure as it is now.

        Raises:
            InvalidInputError: Another word.
            SessionNotFoundError: No session is active.
        """
        word = arguments.energy("energy", energy)
        return self._gauge.set_energy(self._scope.session().id, word)

    def usual_time(self, task: TaskRef) -> vespera.UsualTime | None:
        """Say how long tasks like this one usually took, as a range from your own history.

        Tasks of the same type and complexity count, the last eight in all sessions: those for the
        same specialist, where there are three. The range is the middle half of them: `print` says
        "like the last eight: 20 to 50 minutes". It promises nothing, and is held against nobody.

        Returns:
            The range, or ``None`` if fewer than three such tasks have been completed.
        """
        from vespera_orchestrator.progress.usual_time import usual_time_of

        return usual_time_of(self._store, self._scope.task(task))

    def roles(self) -> dict[str, vespera.Role]:
        """Return the roles that a specialist can have, by name.

        Those of the library, changed and extended by ``roles/project_roles.yaml`` in the home.
        Where a session is active, they suit its ``project_type``.

        Raises:
            InvalidInputError: That file cannot be understood. Names the role and the key.
        """
        from vespera_orchestrator.agents.roles.role import read_roles

        self._require_open()
        try:
            project_type = find_type_name(self._scope.session(), self._store.find_session)
        except SessionNotFoundError:
            project_type = None
        return read_roles(self._scope.home.instructing, project_type)

    # --- looking ------------------------------------------------------------

    def get_task(self, task: TaskRef) -> Task:
        """Return the task as it is now.

        Raises:
            TaskNotFoundError: With similar aliases.
        """
        self._expire()
        return self._scope.task(task)

    def query_tasks(
        self,
        *,
        parent_task_id: TaskRef | None = None,
        include_children: bool = False,
        status: str | TaskStatus | Iterable[str | TaskStatus] | None = None,
        task_type: str | None = None,
        specialist_type: str | None = None,
        complexity: str | None = None,
        text: str | None = None,
        ready: bool | None = None,
        agent: str | None = None,
        alias_prefix: str | None = None,
        created_after: datetime | date | str | None = None,
        created_before: datetime | date | str | None = None,
        updated_after: datetime | date | str | None = None,
        updated_before: datetime | date | str | None = None,
        session_id: str | Session | None = None,
        include_archived: bool = False,
        limit: int | None = 100,
        offset: int = 0,
    ) -> list[Task]:
        """Return tasks of a session, in the order they were planned.

        Args:
            parent_task_id: Only subtasks of this one.
            include_children: With *parent_task_id*: the parent and its whole subtree.
            status: One status or several; ``"active"`` is another word for ``"in_progress"``.
            task_type: Only tasks of this type.
            specialist_type: Only tasks for this specialist.
            complexity: Only tasks of this complexity.
            text: Part of the title or description, ignoring case and ways of writing in every
                script: ``strasse`` finds "Straße", and ``fi`` finds the ligature.
            ready: Only tasks that can be started now, or only those that cannot.
            agent: Only tasks that this agent holds or has held.
            alias_prefix: Only tasks whose alias begins like this.
            created_after: Only tasks planned at this time or later; a datetime, a date, or either
                in ISO format.
            created_before: Only tasks planned before this time.
            updated_after: Only tasks changed at this time or later.
            updated_before: Only tasks last changed before this time.
            session_id: The session; by default the current one.
            include_archived: Archived ones, too.
            limit: Most tasks to return; ``None`` for all.
            offset: How many to skip first.
        """
        self._expire()
        parent = None if parent_task_id is None else self._scope.task(parent_task_id)
        session = parent.session_id if parent else self._scope.session(session_id).id
        query = plans.task_query(
            session_id=session,
            parent_task_id=None if parent is None else parent.id,
            include_children=include_children,
            status=status,
            task_type=task_type,
            specialist_type=specialist_type,
            complexity=complexity,
            text=text,
            ready=ready,
            agent=agent,
            alias_prefix=alias_prefix,
            created_after=created_after,
            created_before=created_before,
            updated_after=updated_after,
            updated_before=updated_before,
            include_archived=include_archived,
            limit=limit,
            offset=offset,
        )
        return RecordList(self._store.tasks(query))

    def ready_tasks(self, limit: int = 10) -> list[Task]:
        """Return tasks that can be started now, best first."""
        self._expire()
        most = arguments.whole_number("limit", limit, least=0) or 0
        return RecordList(self._store.ready(self._scope.session_id(), most))

    def why(self, task: TaskRef) -> Why:
        """Say what keeps a task from being ready: the smallest set of causes, empty when it is.

        In addition, ``Why.outdated`` names what the task was given to build on and has changed
        since.
        """
        self._expire()
        meant = self._scope.task(task)
        outdated = self._store.context_uses(task_id=meant.id, outdated=True, limit=10)
        return attrs.evolve(self._overview.why(meant), outdated=tuple(outdated))

    def next_step(self) -> NextStep:
        """Say the one thing to do now. Never empty, even without a session."""
        self._require_open()
        self._expire()
        return self._overview.next_step()

    def get_status(
        self,
        include_completed: bool = False,  # noqa: FBT001, FBT002 - callers rely on name and place
        *,
        session_id: str | Session | None = None,
        parent_task_id: TaskRef | None = None,
        budget_tokens: int | None = None,
    ) -> vespera.Status:
        """Return where a session stands: counts, what runs, what is blocked and why, the next step.

        Prints as a short page.

        Args:
            include_completed: List the completed tasks, too.
            session_id: The session; by default the current one.
            parent_task_id: Only this task and what is below it, the next step too.
            budget_tokens: About how long it may print; a token is about four letters, or one digit.
                Whatever is left out is replaced by the call that returns it.
        """
        self._require_open()
        arguments.whole_number("budget_tokens", budget_tokens, least=1)
        parent = None if parent_task_id is None else self._scope.task(parent_task_id)
        session = self._scope.session(parent.session_id if parent else session_id)
        self._expire()
        return self._overview.status(
            session, parent, include_completed=include_completed, budget_tokens=budget_tokens
        )

    def graph(self, session_id: str | Session | None = None) -> vespera.TaskGraph:
        """Return the task graph of a session as it is now; ``.nx`` is the networkx graph."""
        self._expire()
        return self._overview.graph(self._scope.session(session_id).id)

    def history(self, task: TaskRef | None = None, *, limit: int | None = 100) -> vespera.History:
        """Tell what happened, in words and as records, oldest first.

        ``print(orch.history("build"))`` gives a line for each event: when, what, and who. Each item
        is an `Event`, with the task's ``alias`` and its ``words`` beside the facts.

        Args:
            task: Only what happened to this task; by default all of the current session.
            limit: How many events at most, the latest ones; ``None`` for all. Each costs a read or
                less.

        Raises:
            TaskNotFoundError: There is no such task.
            SessionNotFoundError: No session is active.
        """
        from vespera_orchestrator.progress import history

        limit = arguments.whole_number("limit", limit, least=0)
        meant = None if task is None else self._scope.task(task)
        events = self._store.events(
            session_id=self._scope.session_id() if meant is None else None,
            task_id=None if meant is None else meant.id,
            limit=None if limit is None else limit + 1,
            newest_first=True,
        )
        rest_call = ""
        if limit and len(events) > limit:
            rest_call = f"orch.history(limit={10 * limit})"
            if meant is not None:
                rest_call = f"orch.history({meant.alias!r}, limit={10 * limit})"
        latest = reversed(events[:limit])
        return history.tell(self._store, latest, zone=self._zone(), rest_call=rest_call)

    def watch(
        self, after: int | None = None, *, timeout_s: float | None = None
    ) -> vespera.EventWatch:
        """Yield events of the current session as they are recorded, by whichever process.

        On SQLite they come within 50 milliseconds. The iterator ends when *timeout_s* is over, and
        when another thread closes this object. Leaving the loop costs nothing. `EventKind` lists
        what an event can tell, e.g. ``event.kind == EventKind.TASK_COMPLETED``.

        Args:
            after: Start behind this event's ``seq``; by default with the first event after this
                call.
            timeout_s: Stop after this many seconds without an event; ``None``: continue until you
                leave the loop.
        """
        from vespera_orchestrator.progress.watching import EventWatch

        if timeout_s is not None and not arguments.is_number(timeout_s):
            raise InvalidInputError(
                "timeout_s", f"{show_value(timeout_s)} should be a number of seconds"
            )
        self._require_open()
        session_id = self._scope.session_id()
        if after is None:
            after = self._store.last_seq()
        else:
            after = arguments.whole_number("after", after, least=0)
        return EventWatch(self._scope, session_id, after, timeout_s, follow_clock=self._expire)

    def on_event(self, callback: Callable[[vespera.Event], object]) -> Callable[[], None]:
        """Call *callback* with every event that this object records, once it is committed.

        It is called in the thread that made the change, before that call returns, in the order of
        the log, and for all sessions, with events in words, as `watch` yields them. It may call
        this object. What it raises is logged, and neither undoes nor fails the change. Events of
        other processes, and of other objects of this one, come through `watch` only.

        Returns:
            A function that ends it.
        """
        from vespera_orchestrator.progress.history import tell

        self._require_open()

        def call(events: Sequence[vespera.Event]) -> None:
            for event in events:
                try:
                    callback(tell(self._store, [event])[0])
                except Exception:
                    log.exception("on_event: %r failed on %s", callback, event)

        return self._store.observe(call)

    # --- working ------------------------------------------------------------

    @writes
    def execute_task(
        self,
        task_id: TaskRef | None = None,
        *,
        agent: str | None = None,
        worktree: bool | Literal["task", "agent", "subtree"] | None = None,
        lease_s: float = lifecycle.LEASE_S,
        take_over: bool = False,
        despite_pressure: bool = False,
        specialist_type: str | None = None,
        task_type: str | None = None,
        parent_task_id: TaskRef | None = None,
        alias_prefix: str | None = None,
        parents: bool | None = None,
    ) -> vespera.Work:
        """Start a task: claim it, and get what you need to do it.

        Args:
            task_id: The task; ``None`` for the best ready one that is not for another agent.
            agent: Who works on it; by default this object's agent.
            worktree: Give it a git worktree to work in. ``True`` or ``"task"``: its own, removed
                when its work has landed. ``"agent"``: that of the agent, for all its tasks in the
                session. ``"subtree"``: that of the topmost task above it, for everything below that
                one. The last two stay after a task has landed. Each task lands everything that is
                there, so two agents cannot work in one at once. ``None``: the one that an earlier
                attempt had, if any. A task with work in a worktree stays there, whatever you pass,
                until that work has landed. A recovery works in the worktree of the task that it
                recovers; after a conflict, newer work is already merged into its files.
            lease_s: Seconds until the lease expires without a sign of life (checkpoint, heartbeat).
                Then the next caller may take the task.
            take_over: Do not wait for that: take the named task from its holder, for example from
                an agent that was killed. If that agent is alive after all, its next call is
                refused, and its work is kept. Or take the named task although it is for another
                agent.
            despite_pressure: Take the task although as many are under way as the `pressure` allows.
            specialist_type: Without *task_id*: take the best ready task for this specialist.
            task_type: The same for tasks of this type.
            parent_task_id: The same for tasks anywhere below this one, and this one itself.
            alias_prefix: The same for tasks whose alias begins like this.
            parents: Without *task_id*: whether it may be a task with subtasks, whose own work is to
                bring their results together. By default such a task is left to the agent that
                planned its subtasks, if that one was given a name (``vespera.open(agent=…)``), or
                that it is for. ``False`` leaves out all of them, ``True`` none.

        Returns:
            The work. Use it in a ``with`` block: an exception then blocks the task with its partial
            work kept, and propagates.

        Raises:
            NotReadyError: The named task cannot start yet, or is for another agent; carries the
                `Why`.
            NothingReadyError: You named no task, and none that you want is ready; carries the
                `NextStep` of those.
            PressureLimitError: As many tasks are under way as the `pressure` allows; says why.
            NotARepositoryError: You asked for a worktree, and there is no git repository with a
                commit.
            SettingsConflictError: This home lacks settings that its session has agreed on.
            WorktreeElsewhereError: The task's files are in a worktree of another home; the error
                says how to bring them.
            WorktreeBusyError: Another agent works in the worktree that the task shares.
        """
        from vespera_orchestrator.work.start import StartRequest

        request = StartRequest.read(
            task=task_id,
            agent=agent or self.agent,
            worktree=worktree,
            lease_s=lease_s,
            take_over=take_over,
            despite_pressure=despite_pressure,
            parents=parents,
            wanted=self._wanted(
                task_id,
                specialist_type=specialist_type,
                task_type=task_type,
                parent_task_id=parent_task_id,
                alias_prefix=alias_prefix,
            ),
        )
        return self._starter.start(request)

    def _wanted(
        self, task: TaskRef | None, *, parent_task_id: TaskRef | None, **filters: str | None
    ) -> TaskQuery | None:
        """Return which tasks may be taken; ``None`` for any."""
        if parent_task_id is None and not any(filters.values()):
            return None
        if task is not None:
            problem = "name the task, or say which kind you want, but not both"
            raise InvalidInputError("task_id", problem)
        parent = None if parent_task_id is None else self._scope.task(parent_task_id).id
        return plans.task_query(parent_task_id=parent, include_children=True, **filters)

    @writes
    def work(
        self, task: TaskRef, *, agent: str | None = None, lease_s: float | None = None
    ) -> vespera.Work:
        """Take up again a task that you hold, for example after your process was restarted.

        It is the same attempt: nothing is taken over, and ``resumed_from`` is your last checkpoint.
        An agent of many short processes begins each of them with this call. The lease is renewed;
        if it had expired and nobody took the task meanwhile, it is yours again.

        Leaving a ``with`` block of it ends the attempt: to go on later,
        use none.
        For a single step, `checkpoint`, `heartbeat`, `release`, `fail` and `complete_task` take the
        task itself.

        Args:
            task: The task.
            agent: Who holds it; by default this object's agent.
            lease_s: Seconds until the lease expires without a sign of life; by default as before.

        Raises:
            TransitionError: This agent does not hold it; says who does, or what comes next.
        """
        from vespera_orchestrator.work.start import StartRequest

        chosen_s = lifecycle.LEASE_S if lease_s is None else lease_s
        request = StartRequest.again(task, agent or self.agent, lease_s=chosen_s)
        return self._starter.take_up(request, keeps_lease=lease_s is None)

    def _refuse_completion(self, call: WrongCall) -> NoReturn:
        """Keep the work that came with a call that does not fit, and say what does.

        Raises:
            InvalidInputError: Always.
        """
        error = InvalidInputError(call.name, call.problem)
        try:
            named = call.fitting.get("task", call.fitting.get("task_id"))
            task = self._scope.task(named)  # type: ignore[arg-type]
        except (LookupError, InvalidInputError):
            raise error from None  # there is no task to keep it with
        with self._completion.keeping(self._completion.holder_of(task), call.work):
            raise error

    def _in_hand(
        self, task: TaskRef, agent: str | None, *, brings: object = None, saves_files: bool = False
    ) -> vespera.Work:
        """Return the work on a task that the caller holds, or held: its late work is kept."""
        meant = self._scope.task(task)
        holder = self._completion.holder_of(meant, agent)
        with self._completion.keeping(holder, brings if meant.attempts else None):
            return self._starter.in_hand(meant, agent, saves_files=saves_files)

    @writes
    @keeps_work("state", _refuse_completion)
    def checkpoint(
        self,
        task: TaskRef,
        state: JsonValue,
        note: str = "",
        progress: float | None = None,
        *,
        agent: str | None = None,
    ) -> vespera.Checkpoint:
        """Save where you are with a task that you hold, and renew its lease.

        The same as `Work.checkpoint`, for an agent that comes back in a new process: it needs the
        task's name only, and goes on under the same attempt. The files of the task's worktree are
        saved with it.

        Args:
            task: The task.
            state: What the next attempt would need to continue from here: anything JSON can hold.
            note: One line for people.
            progress: The share that is done, 0 to 1.
            agent: Who holds it, if you call for several agents; by default whom this object has
                started it for, else this object's agent.

        Raises:
            LeaseLostError: Another agent holds the task. The state is kept as an artifact.
            TransitionError: Nobody holds it; says what comes next. If it was started before, the
                state is kept as an artifact.
            InvalidInputError: An argument, or the name of one, is wrong. The state is kept as a
                partial artifact, and you keep the task: correct the call and make it again.
        """
        work = self._in_hand(task, agent, brings=state, saves_files=True)
        return work.checkpoint(state, note, progress)

    @writes
    def heartbeat(self, task: TaskRef, *, agent: str | None = None) -> vespera.Attempt:
        """Renew the lease of a task that you hold, and save the files of its worktree.

        The same as `Work.heartbeat`, for an agent that comes back in a new process. The lease lasts
        as long from now on as it did before.

        Args:
            task: The task.
            agent: Who holds it, as for `checkpoint`.

        Raises:
            LeaseLostError: Another agent holds the task.
            TransitionError: Nobody does; says what comes next.
        """
        return self._in_hand(task, agent, saves_files=True).heartbeat()

    @writes
    def release(self, task: TaskRef, note: str = "", *, agent: str | None = None) -> Task:
        """Hand back a task that you hold, without a verdict.

        The same as `Work.release`: the task is pending again; its checkpoint, worktree and files
        stay.

        Args:
            task: The task.
            note: Why, and what whoever takes it next should know.
            agent: Who holds it, as for `checkpoint`.

        Returns:
            The task as it is now.

        Raises:
            LeaseLostError: Another agent holds the task.
            TransitionError: Nobody does; says what comes next.
        """
        return self._in_hand(task, agent).release(note)

    @writes
    @keeps_work("error", _refuse_completion)
    def fail(self, task: TaskRef, error: str | BaseException, *, agent: str | None = None) -> Task:
        """Report that you could not do a task that you hold.

        The same as `Work.fail`: the task is blocked, its partial work is kept, and a recovery task
        is made. To give a task up for good, use `abandon_task`.

        Args:
            task: The task.
            error: What went wrong. For an exception, its traceback is kept as an artifact.
            agent: Who holds it, as for `checkpoint`.

        Returns:
            The task as it is now.

        Raises:
            LeaseLostError: Another agent holds the task. The report is kept as an artifact.
            TransitionError: Nobody holds it; says what comes next. If it was started before, the
                report is kept as an artifact.
        """
        return self._in_hand(task, agent, brings=error).fail(error)

    @writes
    def end_attempt(self, task: TaskRef, reason: str, *, holder: str | None = None) -> Task:
        """End the attempt at a task whose holder you know is gone: killed, lost, switched off.

        Nobody has to wait for its lease. The task is pending again, and the next attempt goes on
        from the last checkpoint, in the same worktree, with the files as they were left. The log
        says that you ended it, and why. If the holder is alive after all, its next call raises
        `LeaseLostError`, and its work is kept as an artifact.

        To hand back what you hold yourself, use `release`.

        Args:
            task: The task.
            reason: How you know, such as ``"worker 3 was killed: out of memory"``. The next attempt
                reads it.
            holder: The agent that you mean. Then nothing happens to another one that has taken the
                task meanwhile.

        Returns:
            The task as it is now.

        Raises:
            TransitionError: Nobody holds the task, or not this holder. Nothing was changed.
            InvalidInputError: You gave no reason.
        """
        words = arguments.needed_text(
            "reason", reason, "say how you know that its holder is gone; the next attempt reads it"
        )
        name = "" if holder is None else arguments.agent_name("holder", holder)
        meant = self._scope.task(task)
        attempt = self._store.end_attempt(meant.id, words, agent=self.agent, holder=name)
        self._completion.attempts.pop(meant.id, None)
        self._files.save_left_behind(attempt)
        return self._scope.task(meant)

    @writes
    @keeps_work("detailed_work", _refuse_completion)
    def complete_task(
        self,
        task_id: TaskRef,
        *,
        summary: str,
        detailed_work: str | bytes,
        file_paths: Iterable[str | os.PathLike[str]] = (),
        artifact_type: str = "general",
        outputs: Mapping[str, JsonValue] | None = None,
        next_action: Literal["complete", "continue", "needs_revision", "blocked"]
        | NextAction = "complete",
        merge: Literal["now", "later"] = "now",
        agent: str | None = None,
        supersedes: str | Artifact | Iterable[str | Artifact] | None = None,
    ) -> Task:
        """Hand in work on a task.

        The work itself becomes an artifact, whole; the summary is a line for display. A task that
        worked in a worktree is merged into the integration branch first, and its worktree removed
        afterwards. If that conflicts, or the check before landing is red, nothing raises: the task
        is blocked, and a recovery task carries what is known. A recovery whose files still hold
        both sides of a conflict between markers is pending again.

        Sending the same completion twice is one completion. A mistake in the call costs nothing:
        the work is kept as a partial artifact, which the error names, and the task stays with its
        holder, so that you can correct the call and make it again. Leaving the ``with`` block of
        the task by such an error releases the task; it does not count as a failure.

        Args:
            task_id: The task. You need not have started it: a ready one is claimed in the same
                step.
            summary: One line.
            detailed_work: Everything you did and found; usually Markdown. Empty: the summary.
            file_paths: Files to save as artifacts as they are now. Relative paths start at the
                worktree, else at the project's folder.
            artifact_type: The kind of the artifact: one of `ArtifactKind`, or any word of yours.
            outputs: Values for conditions and later tasks; anything JSON can hold.
            next_action: ``complete``; ``continue``: hand in and keep the task; ``needs_revision``:
                pending again; ``blocked``: blocked, with a recovery task.
            merge: ``later``: the work is done, and ``orch.worktrees.merge`` lands it. Until then
                the task stays in progress, held by nobody, and what depends on it waits; `why` and
                `next_step` say so. Without a worktree there is nothing to merge.
            agent: Who holds it, if you call for several agents; by default whom this object has
                started it for, else this object's agent.
            supersedes: Artifacts of other tasks or titles that no longer hold because of this work;
                see `Artifacts.save`.

        Returns:
            The task as it is now.

        Raises:
            LeaseLostError: Another attempt has taken the task; your work is kept as an artifact.
            NotReadyError: It waits for something, or has open subtasks.
            TransitionError: It has ended already.
            InvalidInputError: An argument is wrong, and its ``where`` says where in the value; or
                the name of an argument is.
            ArtifactNotFoundError: An artifact that it is to supersede does not exist.
            ArtifactSupersededError: Another artifact has superseded it already; says which.
            SourceFileNotFoundError: A file is missing.
            SettingsConflictError: This home lacks settings that its session has agreed on. The work
                is kept as a partial artifact, and the task stays with its holder.
            DirtyCheckoutError: The integration branch is checked out where it cannot be updated
                safely. The work is handed in as with ``merge="later"``.
        """
        from vespera_orchestrator.work.submission import Submission

        holder = self._completion.holder_of(self._scope.task(task_id), agent)
        with self._completion.keeping(holder, detailed_work):
            submission = Submission.read(
                summary=summary,
                detailed_work=detailed_work,
                artifact_type=artifact_type,
                outputs=outputs,
                file_paths=file_paths,
                next_action=next_action,
                merge=merge,
                supersedes=supersedes,
            )
            return self._completion.submit(holder, submission)

    @writes
    def run(
        self,
        handlers: Handler | Mapping[str, Handler],
        *,
        executor: Executor | None = None,
        max_parallel: int | None = None,
        worktree: bool | Literal["task", "agent", "subtree"] | None = None,
        on_recovery: Handler | Literal["retry"] | None = None,
        progress: bool | Callable[[vespera.RunProgress], object] = False,
        lease_s: float = lifecycle.LEASE_S,
        backoff_s: float = 1.0,
        idle_s: float | None = None,
        stop: threading.Event | None = None,
    ) -> vespera.RunReport:
        """Drive the task graph with your own functions, until nothing more can be run.

        Each ready task is claimed, and your function is called with its `Work`. What the function
        returns is handed in: nothing at all, a text (the work itself), a mapping (outputs for
        conditions and later tasks), or a `Result`. It may also call ``work.complete`` or
        ``work.fail`` itself. If it raises, the task is blocked with its partial work kept, and the
        others go on.

        A parent whose subtasks have ended gets their results brought together, unless one of your
        functions is named for it by alias, role or type.

        The loop runs in the calling thread. While your functions run on an executor, it renews
        their leases and saves their worktrees. Other agents may work in the same session; if they
        hold what comes first, it waits for them. Leases that expire, and workers that die, are
        noticed, and their tasks taken up again from the last checkpoint.

        Args:
            handlers: Your functions, by the task's alias, its ``specialist_type`` or its
                ``task_type``, looked up in this order; ``"*"`` is for any other task. A single
                function is for all. Recovery tasks only go to ``"recovery"``, their alias, or
                *on_recovery*.
            executor: Where your functions run: a thread pool, a process pool, or anything whose
                ``submit`` returns a ``concurrent.futures.Future``, such as Dask's
                ``client.get_executor(pure=False)``. It stays yours to shut down. ``None``: one
                after the other in this thread; renew the lease yourself (``work.heartbeat()``)
                where one takes longer than *lease_s*. In another process your function gets a
                `Work` of that process, over the same store.
            max_parallel: How many tasks at once; by default as many as the executor has workers.
            worktree: As for `execute_task`.
            on_recovery: Your function for recovery tasks; or ``"retry"``: try again from the last
                checkpoint, up to the task's ``max_attempts``. ``None``: leave them to a person.
                Work that conflicts, or fails the check, is never tried again by itself.
            progress: ``True`` shows a bar, in a terminal or a notebook. Or a function, called with
                a `RunProgress` whenever something began or ended.
            lease_s: Seconds until a task is free again after this process has died; whoever can see
                on this machine that it has died need not wait for that.
            backoff_s: Pause before a task that failed or came back is tried again; doubled each
                time, up to a minute. A task planned with ``retry_after`` has its own pauses, which
                the run waits for. A task that comes back three times without even a checkpoint
                is left alone.
            idle_s: Return when others have held what comes first for so long, or tasks have paused
                before another try. ``None``: wait as long as that takes.
            stop: Set it, from anywhere, to take no further task: the run returns when what is under
                way has ended.

        Returns:
            What was completed, what is blocked and why, and the next step. It is true when every
            task of the session has ended.

        Raises:
            InvalidInputError: An argument is wrong, or cannot be sent to the executor's processes.
                No task was taken.
            KeyboardInterrupt: Tasks that have not begun are given back. Those that run keep their
                hold, and hand in their work when they are done.
        """
        from vespera_orchestrator.work.run_bar import shown_by
        from vespera_orchestrator.work.run_request import RunRequest
        from vespera_orchestrator.work.runner import Runner

        self._require_open()
        with shown_by(progress) as show:
            request = RunRequest.read(
                handlers=handlers,
                executor=executor,
                max_parallel=max_parallel,
                worktree=worktree,
                on_recovery=on_recovery,
                progress=show,
                lease_s=lease_s,
                backoff_s=backoff_s,
                idle_s=idle_s,
                stop=stop,
            )
            runner = Runner(
                self._rooms,
                self._starter,
                self._completion,
                self._files,
                self._overview,
                request=request,
                elsewhere=self._elsewhere(),
                bring_together=self._bring_together,
            )
            return runner.drive()

    def _bring_together(self, parent: Task) -> str:
        return self.artifacts.text(self.synthesize_results(parent))

    def _elsewhere(self) -> _Elsewhere | None:
        """Return what opens this home in another process; ``None`` if none can."""
        embedder = self._scope.embedder
        content_url = self._content_url
        is_private = content_url is not None and content_url.startswith("memory:")
        if self._store.url == "memory:" or is_private:
            return None
        return _Elsewhere(
            home=str(self.home),
            store_url=self._store.url,
            content_url=content_url,
            session_id=self._scope.session_id(),
            agent=self.agent,
            embedder=embedder if isinstance(embedder, str) else "none",
            machine=machine_name(),
        )

    # --- the world ----------------------------------------------------------

    @writes
    def answer(self, /, task: TaskRef, answer: JsonValue = None, **values: JsonValue) -> Task:
        """Answer a task that waits for a person. The answer becomes its outputs.

        It is completed at once, or when what else it waits for has come. Conditions read the
        answer: ``answer("gate", approved=True)`` decides ``gate.outputs.approved``. So does a plain
        ``True`` if they read nothing else. Any task that nobody has begun can be answered.

        Args:
            task: The task.
            answer: A mapping is the outputs; another value is the output ``answer``.
            values: Further outputs.

        Raises:
            TransitionError: Somebody works on the task or has worked on it, it has subtasks that
                have not ended, or it has ended in another way.
            InvalidInputError: JSON cannot hold the answer, it says nothing, or it lacks what
                conditions read.
        """
        self._expire()
        meant = self._scope.task(task)
        outputs = arguments.answer(answer, values)
        completion = self._completion  # it follows the log from here on
        completion.ended(self._store.answer(meant.id, outputs, agent=self.agent))
        return self._scope.task(meant)

    @writes
    def signal(self, name: str, payload: JsonValue = None, *, key: str | None = None) -> list[Task]:
        """Report that something has happened outside: a build is green, a letter has come.

        It completes every task of the session that waits for it, with *payload* as the outputs. If
        none waits yet, it is kept for the first that is planned to.

        Args:
            name: What happened, as the tasks name it (``plan_task(…, signal=name)``).
            payload: A mapping is the outputs themselves; any other value is the output
                ``payload``.
            key: Names this one report, such as the id of a delivery. Reported again under the same
                key, it changes nothing.

        Returns:
            The tasks that waited for it.

        Raises:
            InvalidInputError: The name is empty, or JSON cannot hold the payload.
        """
        self._expire()
        checked = arguments.signal_that_came("name", name)
        outputs = arguments.as_outputs(payload, "payload", {})
        session_id = self._scope.session_id()
        completion = self._completion  # it follows the log from here on
        tasks = self._store.signal(session_id, checked, outputs, agent=self.agent, key=key)
        for task in tasks:
            completion.ended(task)
        return tasks

    # --- a person decides ---------------------------------------------------

    @writes
    def cancel_task(self, task: TaskRef, reason: str = "", *, subtree: bool = True) -> Task:
        """Cancel a task, and by default everything below it that has not ended.

        Work done so far is kept. Cancelling twice is no error.

        Raises:
            TransitionError: It has ended otherwise.
        """
        meant = self._scope.task(task)
        completion = self._completion  # it follows the log from here on
        for cancelled in self._store.cancel(meant.id, reason, subtree=subtree):
            self._files.save_cancelled(cancelled)
            completion.ended(cancelled)
        return self._scope.task(meant)

    @writes
    def retry_task(self, task: TaskRef, reason: str = "") -> Task:
        """Make a blocked, failed, cancelled or skipped task pending again.

        So are subtasks that were cancelled with it, and tasks that were skipped because of it. A
        completed task needs a reason to be done again: with one, this is `reopen_task`.

        Raises:
            TransitionError: It is completed and you gave no reason; it is running or pending; or
                what it waits for still makes it impossible.
        """
        meant = self._scope.task(task)
        if reason and meant.status is TaskStatus.COMPLETED:
            return self.reopen_task(meant, reason).task
        self._completion.attempts.pop(meant.id, None)
        return self._store.retry(meant.id, reason)

    @writes
    def reopen_task(self, task: TaskRef, reason: str) -> Reopening:
        """Open a completed task again, because it turned out to be wrong or not enough.

        Its attempts, artifacts and landed work stay. The next attempt starts from them, and reads
        the reason. Tasks that depend on it and have not begun wait for it again. Those that have
        built on it are named, and go on: say for each whether to reopen it, too.

        Args:
            task: The task.
            reason: What is wrong with it.

        Returns:
            The task, what waits again, and what is outdated. Prints as a few lines.

        Raises:
            TransitionError: It is not completed, or what it is a part of is completed.
            InvalidInputError: You gave no reason.
        """
        words = arguments.needed_text(
            "reason", reason, "say what is wrong; the next attempt reads it"
        )
        self._expire()  # what woke by the clock, or was answered until then, has built on it
        return self._store.reopen(self._scope.task(task).id, words)

    @writes
    def correct_task(self, task: TaskRef, *, summary: str) -> Task:
        """Mend the summary of a task, for example when it claims what is not so.

        The earlier one stays in the history, and so do the ids of the tasks that have built on it:
        ``orch.history(task)[-1].data["outdated"]``. The record of the work is in the artifacts, and
        is not touched; what replaces it says so with ``supersedes``.

        Raises:
            TransitionError: It has no summary yet.
        """
        words = arguments.needed_text("summary", summary, "say in a line what was done")
        return self._store.correct(self._scope.task(task).id, words)

    @writes
    def abandon_task(self, task: TaskRef, reason: str = "", *, subtree: bool = True) -> Task:
        """Give a task up: it is failed. By default everything open below it is cancelled.

        Work done so far is kept.

        Raises:
            TransitionError: It has ended already.
        """
        meant = self._scope.task(task)
        completion = self._completion  # it follows the log from here on
        for ended in self._store.abandon(meant.id, reason, subtree=subtree):
            self._files.save_cancelled(ended)
            completion.ended(ended)
        return self._scope.task(meant)

    @writes
    def delete_task(self, task: TaskRef, *, hard: bool = False) -> Task:
        """Archive an ended task: it no longer appears in lists.

        Args:
            task: The task.
            hard: Remove it for good; its artifacts stay.

        Raises:
            TransitionError: It has not ended; or (hard) others depend on it or are below it.
        """
        return self._store.delete(self._scope.task(task).id, hard=hard)

    # --- bringing together --------------------------------------------------

    @writes
    def synthesize_results(self, parent_task_id: TaskRef, *, budget_tokens: int = 8000) -> Artifact:
        """Gather what the subtasks produced into one artifact.

        When the last subtask ends, this happens by itself. The artifact begins with what is done,
        missing, skipped and left open, and with what does not agree. Then comes the report of each
        subtask, whole or cut at a paragraph. Files are only named. The parent is not completed by
        it: read it, add to it, then call `complete_task`. Called again when nothing has changed, it
        returns the same artifact. The record of the work stays where it is.

        Args:
            parent_task_id: The task whose subtasks are gathered.
            budget_tokens: About how long the part with the reports may be; one token is counted as
                four characters.

        Raises:
            TransitionError: The task has no subtasks.
        """
        from vespera_orchestrator.work.synthesize import synthesize

        arguments.whole_number("budget_tokens", budget_tokens, least=1)
        parent = self._scope.task(parent_task_id)
        self._expire()
        return synthesize(self._overview, self.artifacts, parent, budget_tokens)

    # --- maintenance --------------------------------------------------------

    def check(
        self, *, contents: bool = True, progress: Callable[[str], None] | None = None
    ) -> vespera.CheckReport:
        """Check the whole home, and change nothing.

        Rows are compared with the rules, counters recounted, contents, worktrees and views looked
        at. Others may work meanwhile: the rows are as of one moment. It reads everything that was
        ever saved, so expect some seconds for each gigabyte and each 100,000 tasks.

        Args:
            contents: Read every content, too, and compare it with its digest.
            progress: Called with a few words for each thing that is begun, for example ``print``;
                by default they are logged for debugging.

        Returns:
            A report that is true when all is well. ``sys.exit(report.exit_code)`` gives 0, 1 with
            warnings, 2 with errors.
        """
        from vespera_orchestrator import maintenance

        self._require_open()
        return maintenance.check(
            self._rooms, self.artifacts, contents=contents, progress=_told(progress)
        )

    @writes
    def repair(self, *, progress: Callable[[str], None] | None = None) -> vespera.RepairReport:
        """Repair what `check` finds, as far as that is possible.

        Counters, dangling references, half-done worktrees, and views that are behind. Before any
        row is changed, the home as it is goes to ``backups/`` in the home, under today's date. Rows
        are repaired in one transaction, all or none, with an event that says so. What cannot be
        repaired (a lost content, a damaged file) is left as it is and reported. Safe to repeat;
        with nothing to repair nothing is written.
        """
        from vespera_orchestrator import maintenance

        self._require_open()
        return maintenance.repair(self._rooms, self.artifacts, progress=_told(progress))

    def backup(
        self,
        path: str | os.PathLike[str],
        *,
        link: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> vespera.BackupReport:
        """Write a backup of this home, while others go on working, into the new folder *path*.

        It appears whole or not at all. A backup is a home: ``open(home=path)`` opens it, and in the
        place of a lost ``.task_orchestrator`` it is the home again. It has all rows as of one
        moment (in SQLite, whatever the store), every content they name, checked, and the settings;
        not the search index, which the next search rebuilds, and not the worktrees, which belong to
        git.

        Args:
            path: A folder that does not exist yet.
            link: Link contents instead of copying them, where the disk is the same: takes no time
                and no room, and guards against deletion, not against a failing disk. Linked
                contents are not read, so not checked either.
            progress: As for `check`.

        Raises:
            InvalidInputError: There is something at *path* already.
            StoreUnavailableError: Disk full or I/O error. Nothing appeared.
        """
        from vespera_orchestrator import maintenance

        self._require_open()
        return maintenance.back_up(
            self._rooms, _absolute(path), link=link, progress=_told(progress)
        )

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        contents: bool = True,
        progress: Callable[[str], None] | None = None,
    ) -> vespera.ExportReport:
        """Write everything as readable JSON Lines into the new file *path*.

        One line a record, as of one moment, the contents behind. An export is derived, and its
        first line says so: the home remains the truth, and only `import_` reads an export back.

        Args:
            path: A file that does not exist yet.
            contents: Whether to write the contents as well, or only their digests.
            progress: As for `check`.

        Raises:
            InvalidInputError: There is something at *path* already.
        """
        from vespera_orchestrator import maintenance

        self._require_open()
        return maintenance.export(
            self._rooms, _absolute(path), contents=contents, progress=_told(progress)
        )

    @writes
    def import_(
        self, path: str | os.PathLike[str], *, progress: Callable[[str], None] | None = None
    ) -> vespera.ExportReport:
        """Take an export into this home, which must be empty.

        All of it, checked against its digest, or nothing. Ids stay the same.

        Args:
            path: What `export` wrote.
            progress: As for `check`.

        Raises:
            InvalidInputError: It is not an export, was cut short or changed, is of a newer version,
                or of a damaged store.
            TransitionError: Somebody has worked in this home already.
        """
        from vespera_orchestrator import maintenance

        self._require_open()
        return maintenance.import_(self._rooms, _absolute(path), progress=_told(progress))

    def prune(
        self,
        older_than: timedelta = timedelta(days=90),
        *,
        keep_events: int = 10_000,
        keep_checkpoints: int = 3,
        dry_run: bool = False,
        compact: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> vespera.PruneReport:
        """Delete old events and checkpoints to which nothing refers.

        Tasks, attempts, artifacts and their contents stay. Always kept: the last checkpoints of
        each task and those that a recovery names; of each task the last event that tells its state;
        of each session the events that `resume` looks back to; events about artifacts, and events
        that documents have not followed yet.

        A SQLite file shrinks by what was removed, in small steps beside other writers. That takes
        hardly any room, so it helps on a full disk, too. The file of a store that an earlier
        version made stays as large as it is, and uses the room for new rows; *compact* changes
        that, once.

        Args:
            older_than: Only what is older is deleted.
            keep_events: This many of the newest events stay, however old.
            keep_checkpoints: This many of the newest checkpoints of each task stay, however old; at
                least 1.
            dry_run: Only say what would be deleted.
            compact: Write a SQLite file that cannot shrink anew. Others wait meanwhile, and it
                takes twice as much free room as the store really uses.
            progress: As for `check`.

        Raises:
            StoreUnavailableError: The disk is full all the same, or has not the room that
                *compact* takes. What was removed until then stays removed.
        """
        from vespera_orchestrator import maintenance

        self._require_open()
        if not dry_run:
            self._scope.require_writable()
        return maintenance.prune(
            self._rooms,
            older_than,
            keep_events=keep_events,
            keep_checkpoints=keep_checkpoints,
            dry_run=dry_run,
            compact=compact,
            progress=_told(progress),
        )


@attrs.frozen(kw_only=True)
class _Elsewhere:
    """Opens the same home in another process. It is pickled there, with the call to be made."""

    home: str
    store_url: str = attrs.field(repr=False)
    content_url: str | None
    session_id: str
    agent: str
    embedder: str
    machine: str

    def __call__(self) -> Starter:
        return _opened_here(self, os.getpid())._starter  # noqa: SLF001 - its own class's


@functools.lru_cache(maxsize=16)
def _opened_here(address: _Elsewhere, _pid: int) -> Orchestrator:
    """Open a home once in each process that is sent calls. A fork opens its own."""
    if address.content_url is None and address.machine != machine_name():
        raise InvalidInputError(
            "content",
            "what is saved here would stay on this machine; open the home with content='s3://…' "
            "or another address that every machine reaches",
        )
    return Orchestrator.open(
        home=address.home,
        store=address.store_url,
        content=address.content_url,
        session=address.session_id,
        agent=address.agent,
        embedder=address.embedder,
    )


def _told(progress: Callable[[str], None] | None) -> Callable[[str], None]:
    """Return who is told of what is begun."""
    told: Callable[[str], None] = arguments.callback("progress", progress) or log.debug
    return told


def _absolute(path: str | os.PathLike[str]) -> Path:
    return arguments.absolute_path("path", path)
