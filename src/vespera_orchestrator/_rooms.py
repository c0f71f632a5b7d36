"""What several rooms need, as one frozen record: the way down from the façade, never back up."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import HomePlace, WorktreeState
from vespera_orchestrator.errors import (
    InvalidInputError,
    VesperaError,
    WorktreeElsewhereError,
    WorktreeError,
)
from vespera_orchestrator.home.identity import machine_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, tzinfo

    from vespera_orchestrator._model import Task, Worktree
    from vespera_orchestrator.agents.shared import ContextBoard
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.documents.engine import Documents
    from vespera_orchestrator.errors import CorruptContentError, WorktreeFolderLostError
    from vespera_orchestrator.home.config import Config
    from vespera_orchestrator.home.scope import Scope
    from vespera_orchestrator.home.team import Team
    from vespera_orchestrator.worktrees.engine import WorktreeEngine
    from vespera_orchestrator.worktrees.forecast import Forecast


log = logging.getLogger("vespera_orchestrator")

_T = TypeVar("_T")


@attrs.frozen(kw_only=True, eq=False)
class Rooms:
    """The parts of one open home.

    Made by `Orchestrator.open`, handed to whatever needs more than one of them.

    Each part is made at its first use, so that opening a home loads none of the heavy libraries.
    """

    scope: Scope
    """The home, the store, and the agent and session that calls are about."""
    clock: Callable[[], datetime]
    """Tells the time, aware."""
    open_content: Callable[[], ContentStore] = attrs.field(repr=False)
    """Opens the content store; called once."""
    is_content_chosen: bool = False
    """Whether the content store is another one than the home's own folder."""
    explain_missing: Callable[[CorruptContentError, str, str], CorruptContentError] = attrs.field(
        default=lambda error, *_: error, repr=False
    )
    """Returns the error that says which home has bytes that are missing here."""

    attempts: dict[str, int] = attrs.field(factory=dict, repr=False)
    """The attempts that this process has claimed, by task.

    One that was lost stays here: it must stay refused.
    """

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            ClosedError: The home was closed.
        """
        return self.scope.store

    @property
    def config(self) -> Config:
        """The settings of the home."""
        return self.scope.home.config

    @cached_property
    def zone(self) -> tzinfo:
        """The time zone in which a person means dates.

        Raises:
            InvalidInputError: The setting names no zone.
        """
        from vespera_orchestrator.home.timezone import person_zone

        return person_zone(self.config.person.timezone)

    def by_clock_here(self, at: datetime) -> datetime:
        """Return a moment by the clock of whoever reads what we say."""
        from vespera_orchestrator.tasks import dates

        try:
            return dates.by_clock_of(at, self.zone)
        except InvalidInputError:  # a setting stops nobody who only looks
            return at

    @cached_property
    def shared(self) -> ContextBoard:
        """What the agents of a session share."""
        from vespera_orchestrator.agents.shared import ContextBoard

        return ContextBoard(self.scope)

    @cached_property
    def content(self) -> ContentStore:
        """The bytes of artifacts and document versions."""
        return self.open_content()

    @cached_property
    def team(self) -> Team:
        """What this home must have in common with others that work in a session."""
        from vespera_orchestrator.home.team import Team

        return Team(self.scope, self._shared_content())

    def _shared_content(self) -> str | None:
        """Return the address of the content store, if another home can open the same one."""
        if not self.is_content_chosen:
            return None
        address = self.content.url
        return None if address.startswith("memory:") else address

    @cached_property
    def keeper(self) -> str:
        """The id of this home, if only its own folder has the bytes that it saves.

        Empty where they go to a content store that other homes can open. The store then knows
        where the home is, so that others can say where its bytes are.
        """
        if self.is_content_chosen or self.store.url == "memory:":
            return ""
        home = HomePlace(
            id=self.scope.home.id, machine=machine_name(), path=str(self.scope.home.path)
        )
        if not self.scope.readonly and self.store.find_home(home.id) != home:
            self.store.note_home(home)
        return home.id

    @cached_property
    def worktrees(self) -> WorktreeEngine:
        """Git, and the records of worktrees."""
        from vespera_orchestrator.worktrees.engine import WorktreeEngine

        return WorktreeEngine(self.scope, merge_text=self._merge_document)

    def _merge_document(self, path: str, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """Merge a document by its sections, wherever git is asked to merge it and cannot."""
        try:
            return self.documents.merge(path, base, ours, theirs)
        except VesperaError as exc:
            log.warning("%s is merged like any other file: %s", path, exc)
            return None

    def is_elsewhere(self, worktree: Worktree) -> bool:
        """Tell whether another home made the worktree. Does not load git."""
        return worktree.home_id not in ("", self.scope.home.id)

    def last_worktree(self, task: Task) -> Worktree | None:
        """Return the worktree that any attempt at the task worked in last, whoever made it.

        That of a recovery is, by default, the one of the task that it recovers. Does not load git.
        """
        records: list[Worktree] = []
        if task.worktree:
            records += self.store.worktrees(name=task.worktree, include_removed=True)
        records += reversed(self.store.worktrees(task_id=task.id, include_removed=True))
        last = _last_used(task, records)
        if last is not None and self.is_elsewhere(last):
            return last
        records = [record for record in records if not self.is_elsewhere(record)]
        if records:
            in_use = (record for record in records if record.state != WorktreeState.REMOVED)
            return next(in_use, records[0])
        if task.recovers_task_id is None:
            return None
        recovered = self.store.find_task(task.recovers_task_id, None)
        return None if recovered is None else self.last_worktree(recovered)

    def obstacle(self, task: Task, *, lands: bool) -> VesperaError | None:
        """Return what keeps this home from starting a task that is ready, or ``None``.

        Does not load git unless another home has worked in the task's session.

        Args:
            task: The task.
            lands: Whether it would get a worktree, even if it has none yet.
        """
        conflict = self.settings_obstacle(task, lands=lands)
        if conflict is not None:
            return conflict
        if not self.may_lack_files(task, lands=lands):
            return None
        return self.files_obstacle(task, lands=lands)

    def settings_obstacle(self, task: Task, *, lands: bool) -> VesperaError | None:
        """Return which settings keep this home from starting the task; see `obstacle`."""
        return self.team.conflict(task.session_id, lands=lands or bool(task.worktree))

    def may_lack_files(self, task: Task, *, lands: bool) -> bool:
        """Tell whether files of another home may be needed, so that git has to be asked."""
        if not (lands or task.worktree or task.attempts or task.recovers_task_id):
            return False
        records = self.store.worktrees(session_id=task.session_id, include_removed=True)
        return any(map(self.is_elsewhere, records))

    def files_obstacle(self, task: Task, *, lands: bool) -> VesperaError | None:
        """Return which files of another home the task needs and this one lacks. Asks git."""
        try:
            last = self.last_worktree(task)
            if last is not None:
                self.worktrees.refuse_missing(task, last)
            elif lands or task.worktree:
                self.worktrees.refuse_missing_needed(task)
        except WorktreeElsewhereError as exc:
            return exc
        except WorktreeError:
            return None  # starting it says what is wrong
        return None

    def _lost_folder(self, worktree: Worktree) -> WorktreeFolderLostError | None:
        """Say so where the folder of the worktree is gone.

        Git is not asked where the folder looks as it should.
        """
        from vespera_orchestrator.worktrees.peek import is_in_place

        if worktree.state == WorktreeState.REMOVED:
            return None
        if self.is_elsewhere(worktree) or is_in_place(worktree):
            return None
        return self._from_git(lambda: self.worktrees.lost_folder(worktree))

    def handing_in_obstacle(self, task: Task, *, was_refused: bool) -> WorktreeError | None:
        """Return what keeps a task that somebody holds from being handed in.

        Args:
            task: The task.
            was_refused: Whether that was tried: only then git is asked for more than the folder.
        """
        worktree = self.last_worktree(task)
        if worktree is None:
            return None
        lost = self._lost_folder(worktree)
        if lost is not None or not was_refused or self.scope.readonly:
            return lost
        return self._from_git(lambda: self.worktrees.unlandable(worktree))

    def landing_obstacle(self, task: Task) -> WorktreeError | None:
        """Return what is in the way of landing the handed-in work of a task. Asks git.

        A folder that is gone is none: landing makes it again.
        """
        worktree = self.last_worktree(task)
        if worktree is None or self.is_elsewhere(worktree):
            return None
        return self._from_git(lambda: self.worktrees.dirty_checkout(worktree))

    def _from_git(self, ask: Callable[[], _T]) -> _T | None:
        """Return what git says; nothing where it cannot answer: the call itself says why."""
        try:
            return ask()
        except (WorktreeError, OSError):
            return None

    def find_in_git(self, path: str, digest: str) -> str | None:
        """Return the command by which git prints the file with this content, if git has it.

        Args:
            path: Relative to the top of the tree, with forward slashes.
            digest: SHA-256 of the bytes, in hexadecimal.
        """
        try:
            return self.worktrees.find_content(path, digest)
        except WorktreeError:
            return None

    def forecast(self) -> Forecast | None:
        """Return what would conflict, where at least two worktrees have been saved.

        Does not load git before it is clear that there are two. The result is ``None`` too if the
        forecast fails: a view may fail without failing what shows it.
        """
        from vespera_orchestrator.worktrees.peek import may_have_several_snapshots

        names = [record.name for record in self.store.worktrees()]

        def ask() -> Forecast | None:
            if not may_have_several_snapshots(self.scope.home.project, names):
                return None
            return self.worktrees.forecast()

        return self._from_git(ask)

    @cached_property
    def documents(self) -> Documents:
        """The documents of the project."""
        from vespera_orchestrator.documents.engine import Documents
        from vespera_orchestrator.worktrees.branch_files import IntegrationFiles

        branch = IntegrationFiles(self.scope.home)
        return Documents(
            self.scope,
            self.content,
            branch,
            keeper=lambda: self.keeper,
            explain=self.explain_missing,
        )


def _last_used(task: Task, records: list[Worktree]) -> Worktree | None:
    """Return the worktree where the task was last worked on, whichever home made it."""
    named = (record for record in records if record.name == task.worktree)
    newest = max(records, key=lambda record: record.created_at, default=None)
    return next(named, newest)
