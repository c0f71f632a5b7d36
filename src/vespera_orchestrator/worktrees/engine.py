"""Git and the store tied together: worktrees made, saved, merged in memory, landed, removed.

`WorktreeEngine` moves work; it does not know when a task is done. What callers use is
`vespera_orchestrator.work.worktrees.Worktrees`, above it.
"""

from __future__ import annotations

import functools
import shlex
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import EventKind, Task, Worktree, WorktreeState, utcnow
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    DirtyCheckoutError,
    GitFailedError,
    InvalidInputError,
    LandingRefusedError,
    MergeConflictError,
    NotARepositoryError,
    OperationUnderWayError,
    RefMovedError,
    TaskNotFoundError,
    UnreadableObjectError,
    UnsavedFilesError,
    WorktreeElsewhereError,
    WorktreeError,
    WorktreeFolderLostError,
    WorktreeLockedError,
    WorktreeNameTakenError,
    WorktreeNotFoundError,
)
from vespera_orchestrator.home.identity import machine_name
from vespera_orchestrator.tasks import arguments
from vespera_orchestrator.worktrees import (
    admin_note,
    checkout,
    conflict_markers,
    forecast,
    furnishing,
    health,
    landing,
    lookback,
    lost_objects,
    peek,
    removal,
    repair,
    rescue,
    restart,
    snapshot,
)
from vespera_orchestrator.worktrees.catch_up import catch_up
from vespera_orchestrator.worktrees.changed_paths import changed_by
from vespera_orchestrator.worktrees.integration import refuse_unsafe
from vespera_orchestrator.worktrees.landed_mark import own_changes
from vespera_orchestrator.worktrees.naming import plain_name
from vespera_orchestrator.worktrees.ownership import find_place, lost_folder, require_folder
from vespera_orchestrator.worktrees.peek import is_in_place
from vespera_orchestrator.worktrees.refs import HISTORY, LANDED, WIP
from vespera_orchestrator.worktrees.repository import ProjectRepository
from vespera_orchestrator.worktrees.retrying import retrying
from vespera_orchestrator.worktrees.translation import git_errors

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime

    from vespera_orchestrator._model import Finding, Position
    from vespera_orchestrator.home.scope import Scope
    from vespera_orchestrator.worktrees.admin_note import Brought
    from vespera_orchestrator.worktrees.forecast import Forecast
    from vespera_orchestrator.worktrees.landing import Landing
    from vespera_orchestrator.worktrees.lookback import Changes
    from vespera_orchestrator.worktrees.rescue import Rescued
    from vespera_orchestrator.worktrees.snapshot import Snapshot
    from vespera_orchestrator.worktrees.terms import Check, LandingTerms, Style, WorktreeRef
    from vespera_orchestrator.worktrees.tree_merge import MergeText


_TRIES: Final = 200
"""How often to start over when another process was faster.

One of them succeeds each time, so all get through.
"""
_LOCK_PATIENCE_S: Final = 10
"""How long one wait for the landing lock lasts before the waiting holder renews its lease."""
_CHECKS_AHEAD: Final = 30
"""How many checks of full length may be waiting ahead of one landing."""
_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between tries while ``git gc`` moves objects, in seconds."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _retry_while_git_collects(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Repeat a call that did not find an object: ``git gc`` moves objects, and is done in a moment.

    The call must be safe to repeat.
    """

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for pause_s in _PAUSES_S:
            try:
                return method(*args, **kwargs)
            except UnreadableObjectError:
                time.sleep(pause_s)
        return method(*args, **kwargs)

    return call


class WorktreeEngine:
    """One git worktree for each task or agent: made, saved, landed, removed.

    Any number of threads and processes may work at once. Nothing saved is ever lost: removal keeps
    the last state, and every earlier snapshot stays reachable from it. The user's own checkouts
    (index, HEAD, stash, files) are never changed.

    Every call that touches git may raise `NotARepositoryError` (no repository, or no commit yet),
    `UnsupportedRepositoryError` (a feature that would be handled wrongly; nothing was written) and
    `GitFailedError` (git or the file system refused).
    """

    def __init__(self, scope: Scope, *, merge_text: MergeText | None = None) -> None:
        self._scope = scope
        self._merge_text = merge_text
        self._opened: ProjectRepository | None = None
        self._last_forecast: tuple[object, Forecast] | None = None

    # finding

    def list(self, *, include_removed: bool = False) -> builtins.list[Worktree]:
        """Return the worktrees of all sessions, the oldest first."""
        return self._scope.store.worktrees(include_removed=include_removed)

    def find(self, ref: WorktreeRef) -> Worktree | None:
        """Return the worktree with this name, or the one that this task has or shares, or ``None``.

        Removed ones are not found.
        """
        if isinstance(ref, Task):
            return self.of_task(ref.id)
        name = _name_of(ref)
        named = self._named(name)
        if named is None and isinstance(ref, str):
            return self.of_task(ref)
        return named

    def get(self, ref: WorktreeRef, *, include_removed: bool = False) -> Worktree:
        """Return the record of a worktree.

        Raises:
            WorktreeNotFoundError: There is none.
        """
        if isinstance(ref, Worktree):
            return ref
        worktree = self.find(ref)
        if worktree is None and include_removed:
            name = ref if isinstance(ref, str) else ref.id
            worktree = self._named(name, include_removed=True) or self.of_task(
                name, include_removed=True
            )
        if worktree is None:
            raise WorktreeNotFoundError(ref if isinstance(ref, str) else ref.id)
        return worktree

    def of_task(self, ref: str, *, include_removed: bool = False) -> Worktree | None:
        """Return the worktree that the task with this id or alias works in, or ``None``."""
        try:
            task = self._scope.task(ref)
        except (TaskNotFoundError, InvalidInputError):
            return None
        if task.worktree:
            shared = self._named(task.worktree, include_removed=include_removed)
            if shared is not None:
                return shared
        own = self._scope.store.worktrees(task_id=task.id, include_removed=include_removed)
        return own[0] if own else None

    def latest(self, worktree: Worktree) -> Worktree:
        """Return the record as the store has it now, removed or not."""
        return self._named(worktree.name, include_removed=True) or worktree

    def locate(self, worktree: Worktree) -> Worktree:
        """Return the record with the folder where it is now, if it was moved or made again.

        Changes nothing. A folder that cannot be found is where it was last.
        """
        if is_in_place(worktree):
            return worktree
        latest = self.latest(worktree)
        if latest.created_at != worktree.created_at:
            return worktree  # another one has the name by now
        place = find_place(self._repository(), latest)
        return attrs.evolve(latest, path=str(place.folder)) if place.is_ours else latest

    def is_own(self, worktree: Worktree) -> bool:
        """Tell whether this home made the worktree; only then it is saved, landed or removed."""
        return worktree.home_id in ("", self._scope.home.id)

    def _own(self, ref: WorktreeRef, *, include_removed: bool = False) -> Worktree:
        """Return the record of a worktree that this home made.

        Raises:
            WorktreeNotFoundError: There is none.
            WorktreeElsewhereError: Another home made it.
        """
        record = self.get(ref, include_removed=include_removed)
        self._refuse_elsewhere(record)
        return record

    def _refuse_elsewhere(self, record: Worktree) -> None:
        if not self.is_own(record):
            raise self._elsewhere(record)

    def _elsewhere(
        self,
        record: Worktree,
        *,
        task: Task | None = None,
        saved_at: datetime | None = None,
        without: str = "",
    ) -> WorktreeElsewhereError:
        """Return the error that says where a worktree of another home is.

        Args:
            record: The worktree.
            task: The task whose files are needed here, if any are.
            saved_at: When they were last saved.
            without: The call after which the work can go on without them.
        """
        source = _address(record)
        command = f"git fetch {source} {shlex.join(_refspecs(record))}"
        if _is_landed(record):
            command = self._merge_command(source)
        alias = "" if task is None else task.alias
        return WorktreeElsewhereError(
            record.name, record.machine, record.path, command, alias, saved_at, without
        )

    def _merge_command(self, source: str) -> str:
        """Return the command that brings what has landed in another repository."""
        repository = self._repository()
        branch = shlex.quote(repository.integration_branch)
        if repository.tip(repository.integration_ref) is None:
            return f"git fetch {source} {branch}:{branch}"
        return f"git switch {branch} && git pull --no-rebase {source} {branch}"

    def refuse_missing(self, task: Task, worktree: Worktree) -> None:
        """Refuse to go on with what another home saved, where this repository does not have it.

        Raises:
            WorktreeElsewhereError: With what brings it here.
        """
        if self.is_own(worktree):
            return
        if _is_landed(worktree):
            is_here = self._has_landed_here(worktree.landed)
        elif self._is_of_unrelated_repository(worktree):
            reason = "that repository has no commit in common with the branches here"
            raise attrs.evolve(self.elsewhere(task, worktree), fetch="", reason=reason)
        else:
            is_here = self._name_of_saved(worktree, task.id) is not None
        # A conflict can only be solved where both sides are.
        other_side = task.context.get("integration")
        if isinstance(other_side, str) and is_here and not self._has_landed_here(other_side):
            fetch = self._merge_command(_address(worktree))
            raise attrs.evolve(self.elsewhere(task, worktree), fetch=fetch)
        if not is_here:
            raise self.elsewhere(task, worktree)

    def _is_of_unrelated_repository(self, record: Worktree) -> bool:
        """Tell whether what another home's worktree started from is part of no history here.

        Its files would land beside those of another project. It is known only after a fetch.
        """
        repository = self._repository()
        repo = repository.open()
        if repo.is_shallow or not repository.has(record.base):
            return False
        starts = repository.starting_points()
        return all(repo.merge_base(start, record.base) is None for start in starts)

    def elsewhere(self, task: Task, worktree: Worktree) -> WorktreeElsewhereError:
        """Return the error that says in which other home the files of *task* are."""
        last = self._scope.store.last_checkpoint(task.id)
        saved_at = None if last is None else last.created_at
        without = f"orch.worktrees.create({task.alias!r}, resume=False)"
        return self._elsewhere(worktree, task=task, saved_at=saved_at, without=without)

    def refuse_missing_needed(self, task: Task) -> None:
        """Refuse to start without what a task that this one depends on has landed elsewhere.

        Raises:
            WorktreeElsewhereError: With what brings it here.
        """
        for edge in task.dependencies:
            needed = self._scope.task(edge.task)
            commit = self._landed_commit(needed)
            if commit is not None and not self._has_landed_here(commit):
                self._refuse_landed_elsewhere(task, needed, commit)

    def _name_of_saved(self, record: Worktree, task_id: str | None) -> str | None:
        """Return under which name this repository has what another home's worktree saved last.

        Where nobody knows what was saved last, only what was fetched as we say counts, and what was
        copied with the whole repository: it may have a worktree of the same name, from another
        store.
        """
        repository = self._repository()
        needed = record.saved or self._last_snapshot(task_id)
        fetched = _name_of_fetched(record)
        for name in (fetched, record.name):
            commits = [repository.tip(ref) for ref in (_ref_of_work(record, name), HISTORY + name)]
            starts = [commit for commit in commits if commit is not None]
            if commits[0] is None:
                continue
            if needed is None and name == fetched:
                return name
            if needed is None:
                return name if admin_note.is_of_home(repository, name, record.home_id) else None
            if repository.has(needed) and repository.reaches(needed, starts):
                return name
        return None

    def _last_snapshot(self, task_id: str | None) -> str | None:
        last = None if task_id is None else self._scope.store.last_checkpoint(task_id)
        return None if last is None else last.snapshot

    def _has_landed_here(self, commit: str | None) -> bool:
        """Tell whether a landing of another home is in what a new worktree would start from."""
        if commit is None:
            return True
        repository = self._repository()
        return any(
            landing.holds(repository, start, commit) for start in repository.starting_points()
        )

    @_retry_while_git_collects
    def adopt(self, record: Worktree, task: Task, owner_id: str) -> Worktree:
        """Make a worktree of this home that goes on from what another home's has saved.

        The other one stays as it is.

        Args:
            record: The other home's worktree.
            task: Who needs its files.
            owner_id: The task that the new worktree is for.

        Raises:
            WorktreeElsewhereError: This repository does not have what was saved last.
        """
        repository = self._repository()
        draft = self._draft(owner_id, None, record.session_id)
        self._set_aside(repository, draft)
        with repository.lock(admin_note.owner_of(draft)):
            name = self._name_of_saved(record, task.id)
            saved = None if name is None else repository.tip(_ref_of_work(record, name))
            if name is None or saved is None:
                raise self.elsewhere(task, record)
            ref = rescue.keep_last_state(repository, name, saved)
            start = self._resumed_start(
                repository, draft, attrs.evolve(record, rescue_ref=ref, landed=None)
            )
            return self._check_out(repository, start, path=None, branch=None)

    def start_anew(self, task_id: str) -> Worktree:
        """Make a new worktree for a task whose newest work was landed by another home.

        What this home has of it is older, and is kept under a rescue ref.
        """
        repository = self._repository()
        draft = self._draft(task_id, None)
        self._set_aside(repository, draft)
        with repository.lock(admin_note.owner_of(draft)):
            return self._ensure(repository, draft)

    def _set_aside(self, repository: ProjectRepository, draft: Worktree) -> None:
        """Remove the worktree that this home has for the owner, if any: another home's is newer."""
        with repository.lock(admin_note.owner_of(draft)):
            known = self._known(repository, draft)
        if known is not None:
            self.remove(known)

    def _named(self, name: str, *, include_removed: bool = False) -> Worktree | None:
        records = self._scope.store.worktrees(name=name, include_removed=include_removed)
        return records[0] if records else None

    def find_content(self, path: str, digest: str) -> str | None:
        """Look for content in what git keeps under *path*.

        Branches and our snapshots, newest first.

        Args:
            path: Relative to the top of the tree, with forward slashes.
            digest: SHA-256 of the bytes, in hexadecimal.

        Returns:
            The command that prints it, ``git show <commit>:<path>``; ``None`` when none of the last
            2,000 commits has it.
        """
        commit = snapshot.find_commit_with(self._repository(), path, digest)
        return None if commit is None else f"git show {commit[:12]}:{path}"

    # making

    def require(self) -> None:
        """Raise what `create` would raise because of the repository, and make nothing.

        Raises:
            NotARepositoryError: There is no git repository, or no commit yet.
            UnsupportedRepositoryError: It uses a feature that would be handled wrongly.
        """
        repository = self._repository()
        repository.refuse_unsupported(repository.head(repository.open()))

    @_retry_while_git_collects
    def create(
        self,
        task: str | Task | None = None,
        *,
        agent: str | None = None,
        path: str | os.PathLike[str] | None = None,
        branch: str | None = None,
        resume: bool | None = None,
    ) -> Worktree:
        """See `Worktrees.create`."""
        draft = self._draft(task, agent)
        resumes = self._is_under_way(draft.task_id) if resume is None else resume
        repository = self._repository()
        with repository.lock(admin_note.owner_of(draft)):
            return self._ensure(repository, draft, path=path, branch=branch, resume=resumes)

    @_retry_while_git_collects
    def reopen(self, worktree: Worktree) -> Worktree:
        """Return a usable worktree for this record, recreating it if necessary."""
        self._refuse_elsewhere(worktree)
        repository = self._repository()
        draft = self._draft(worktree.task_id, worktree.agent, worktree.session_id)
        with repository.lock(admin_note.owner_of(draft)):
            return self._ensure(repository, draft, resume=True)

    def _is_under_way(self, task_id: str | None) -> bool:
        if task_id is None:
            return False
        task = self._scope.task(task_id)
        return task.attempts > 0 and not task.status.is_terminal

    def _ensure(
        self,
        repository: ProjectRepository,
        draft: Worktree,
        *,
        path: str | os.PathLike[str] | None = None,
        branch: str | None = None,
        resume: bool = False,
    ) -> Worktree:
        """Return the owner's worktree, making it if there is none.

        The caller holds the owner's lock.
        """
        known = self._known(repository, draft)
        if known is not None:
            lost_objects.mend_losses(repository, self._scope.store, known)
            revived = self._revive(repository, known)
            if revived is not None:
                restart.heal_worktree(repository, revived)
                furnishing.furnish(repository, revived)
                return revived
        removed = self._removed_unlanded(draft) if resume else None
        if removed is None:
            start = self._fresh_start(repository, draft)
        else:
            start = self._resumed_start(repository, draft, removed)
        return self._check_out(repository, start, path=path, branch=branch)

    def _fresh_start(self, repository: ProjectRepository, draft: Worktree) -> Worktree:
        repository.refuse_unsupported(*repository.starting_points())
        start = attrs.evolve(draft, base=repository.follow_head())
        self._refuse_missing_work(repository, start)
        return start

    def _resumed_start(
        self, repository: ProjectRepository, draft: Worktree, removed: Worktree
    ) -> Worktree:
        if repository.tip(str(removed.rescue_ref)) is None:
            lost_objects.name_again(repository, self._scope.store, removed)
        rescued = repository.tip(str(removed.rescue_ref))
        commits = [commit for commit in (rescued, removed.base) if commit]
        repository.refuse_unsupported(*commits)
        return attrs.evolve(
            draft,
            base=removed.base,
            landed=removed.landed,
            rescue_ref=removed.rescue_ref,
            saved=removed.saved,
        )

    def _check_out(
        self,
        repository: ProjectRepository,
        start: Worktree,
        *,
        path: str | os.PathLike[str] | None,
        branch: str | None,
    ) -> Worktree:
        """Make the worktree that *start* describes, under a name that no home has.

        Of two homes that choose one name at the same moment, the second one chooses again.
        """

        @retrying(WorktreeNameTakenError, times=_TRIES)
        def make() -> Worktree:
            nonlocal start
            taken = self._names_of_others(start)
            reserved = checkout.reserve(repository, start, path=path, branch=branch, taken=taken)
            worktree = checkout.fill(repository, reserved)
            try:
                return self._scope.store.put_worktree(worktree, EventKind.WORKTREE_CREATED)
            except WorktreeNameTakenError:
                start = self._undo_unrecorded(repository, worktree, start)
                raise

        recorded = make()
        furnishing.furnish(repository, recorded)
        return recorded

    def _names_of_others(self, start: Worktree) -> set[str]:
        """Return the names that stand for the worktrees of other tasks, agents and homes."""
        return {
            record.name
            for record in self._scope.store.worktrees(include_removed=True)
            if not (self.is_own(record) and _same_owner(record, start))
        }

    def _undo_unrecorded(
        self, repository: ProjectRepository, worktree: Worktree, start: Worktree
    ) -> Worktree:
        """Take down a worktree whose name another home has; return what to start again from.

        If it continued an earlier one, what it had of that is kept under its own rescue ref.
        """
        if start.rescue_ref is None:
            removal.discard(repository, worktree)
            return start
        removed = removal.remove(repository, worktree)
        removal.retire(repository, removed)
        return attrs.evolve(start, rescue_ref=removed.rescue_ref)

    def _removed_unlanded(self, draft: Worktree) -> Worktree | None:
        """Return the owner's last worktree, if it was removed before all its work had landed."""
        records = self._scope.store.worktrees(
            session_id=draft.session_id, task_id=draft.task_id, include_removed=True
        )
        own = [record for record in records if self.is_own(record) and _same_owner(record, draft)]
        if own and self.is_removed_unlanded(own[-1]):
            return own[-1]
        return None

    def _refuse_missing_work(self, repository: ProjectRepository, draft: Worktree) -> None:
        """Refuse to start without the landed work of a task that this one depends on."""
        if draft.task_id is None:
            return
        task = self._scope.task(draft.task_id)
        for edge in task.dependencies:
            needed = self._scope.task(edge.task)
            commit = self._landed_commit(needed)
            if commit is None or landing.holds(repository, draft.base, commit):
                continue
            self._refuse_landed_elsewhere(task, needed, commit)
            branch, short = repository.integration_branch, commit[:12]
            reason = (
                f"it depends on {needed.alias}, "
                f"whose work (commit {short}) is no longer on {branch!r}. "
                f"Bring it back (git switch {shlex.quote(branch)} && git cherry-pick {short}), "
                "or remove the dependency (orch.remove_dependency)"
            )
            raise GitFailedError(f"make a worktree for {draft.name}", reason)

    def _refuse_landed_elsewhere(self, task: Task, needed: Task, commit: str) -> None:
        for record in self._scope.store.worktrees(task_id=needed.id, include_removed=True):
            if record.landed == commit and not self.is_own(record):
                without = f"orch.remove_dependency({task.alias!r}, {needed.alias!r})"
                raise self._elsewhere(record, task=needed, without=without)

    def _known(self, repository: ProjectRepository, draft: Worktree) -> Worktree | None:
        """Return the owner's worktree from the store, or from what an interrupted call noted."""
        records = self._scope.store.worktrees(session_id=draft.session_id)
        own = [record for record in records if self.is_own(record)]
        noted = [note.worktree for note in admin_note.read_notes(repository)]
        return next((record for record in (*own, *noted) if _same_owner(record, draft)), None)

    def _revive(self, repository: ProjectRepository, known: Worktree) -> Worktree | None:
        """Return the worktree in a usable state.

        ``None`` when it was being removed, or its folder is gone and all its work has landed.
        """
        recorded = self._named(known.name)
        if recorded is not None and not self.is_own(recorded):
            self._finish_removal(repository, known, None)
            return None  # another home took its name before it was recorded
        if self._is_over(repository, known):
            self._finish_removal(repository, known, recorded)
            return None
        if recorded is not None and admin_note.is_somebody_else_s(repository, known.name):
            self._give_up_name(repository, recorded)
            return None
        if not checkout.is_whole(repository, known):
            checkout.refuse_foreign(repository, known)
            repository.refuse_unsupported(repository.tip(repository.integration_ref) or known.base)
            known = checkout.fill(repository, known)
        if recorded is None:
            return self._scope.store.put_worktree(known, EventKind.WORKTREE_CREATED)
        return self._record_place(recorded, known)

    def _give_up_name(self, repository: ProjectRepository, recorded: Worktree) -> None:
        """Let go of a worktree in whose place somebody made one with git, under the same name.

        Theirs is not touched. Ours is made again under another name, from its last save.
        """
        saved = repository.tip(WIP + recorded.name) or recorded.base
        ref = rescue.keep_last_state(repository, recorded.name, saved)
        removed = attrs.evolve(
            recorded, state=WorktreeState.REMOVED, rescue_ref=ref, unlanded=True, saved=saved
        )
        self._scope.store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
        removal.retire(repository, removed)

    def _record_place(self, recorded: Worktree, located: Worktree) -> Worktree:
        """Record that a worktree's folder is another one now, or in another place."""
        if recorded.path == located.path:
            return located
        project = str(self._repository().top)
        moved = attrs.evolve(located, project=project, saved=recorded.saved)
        return self._scope.store.put_worktree(moved, EventKind.WORKTREE_MOVED)

    def _is_over(self, repository: ProjectRepository, known: Worktree) -> bool:
        note = admin_note.read_note(repository, known.name)
        if note is not None and note.stage == admin_note.REMOVING:
            return True
        if known.state != WorktreeState.LANDED or find_place(repository, known).is_ours:
            return False
        saved = snapshot.latest_snapshot(
            repository, known
        )  # others may have worked there since it landed
        return landing.is_merged(repository, known, saved)

    def _finish_removal(
        self, repository: ProjectRepository, known: Worktree, recorded: Worktree | None
    ) -> None:
        removed = removal.remove(repository, known)
        if recorded is not None:
            self._scope.store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
        removal.retire(repository, removed)

    def _draft(
        self, task: str | Task | None, agent: str | None, session_id: str | None = None
    ) -> Worktree:
        if agent is not None:
            arguments.agent_name("agent", agent)
        if task is None:
            task_id, name = None, agent or self._scope.agent
            agent, session_id = name, session_id or self._scope.session_id()
        else:
            owner = self._scope.task(task)
            task_id, name, session_id = owner.id, owner.alias, owner.session_id
        return Worktree(
            name=plain_name(name),
            session_id=session_id,
            task_id=task_id,
            agent=agent,
            path="",
            branch="",
            base="",
            state=WorktreeState.ACTIVE,
            landed=None,
            rescue_ref=None,
            created_at=utcnow(),
            home_id=self._scope.home.id,
            machine=machine_name(),
            project=str(self._repository().top),
        )

    def brought(self, worktree: WorktreeRef) -> Brought:
        """See `Worktrees.brought`."""
        record = self._own(worktree)
        note = admin_note.read_note(self._repository(), record.name)
        return admin_note.Brought() if note is None else note.brought

    @contextmanager
    def exclusively(self, worktree: Worktree) -> Iterator[None]:
        """Keep other threads and processes of this home from taking the worktree into use.

        The block itself must not call anything that uses the worktree: the lock is not reentrant.
        """
        with self._repository().lock(admin_note.owner_of(worktree)):
            yield

    # saving

    def prepare_snapshot(
        self, worktree: WorktreeRef, *, note: str = "", whole: bool = False, passing: bool = False
    ) -> Snapshot:
        """Write the worktree's files as a commit, and move no ref.

        ``Snapshot.pin()`` moves the ref; it may run inside a store's transaction. Untracked files
        are included, ignored ones are not. The agent's index, HEAD, branch and hooks stay
        untouched. Without a change since the previous snapshot no commit is made.

        Args:
            worktree: The worktree.
            note: First line of the commit's message.
            whole: Include untracked files of any size, instead of leaving out those above
                ``max_file_bytes``.
            passing: It may be thinned out: all of the last hour are kept, then the last one of each
                hour for a week, then of each day. Others are kept for ever.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
            GitFailedError: Its folder is gone or not complete.
        """
        record = self._own(worktree)
        try:
            return self._take_snapshot(record, note, whole=whole, passing=passing)
        except UnreadableObjectError:
            self._repository().is_suspect = True
            return self._take_snapshot(record, note, whole=whole, passing=passing)

    @_retry_while_git_collects
    def _take_snapshot(
        self, record: Worktree, note: str, *, whole: bool, passing: bool
    ) -> Snapshot:
        repository = self._repository()
        limit = None if whole else repository.home.config.worktrees.max_file_bytes
        with repository.lock(admin_note.owner_of(record)):
            is_suspect, repository.is_suspect = repository.is_suspect, False
            lost_objects.mend_losses(repository, self._scope.store, record, thorough=is_suspect)
            restart.heal_worktree(repository, record)
            record = self._with_folder(repository, record)
            return snapshot.take_snapshot(
                repository, record, note=note, max_file_bytes=limit, passing=passing
            )

    def _with_folder(self, repository: ProjectRepository, asked: Worktree) -> Worktree:
        """Return the record with the folder where it is now. Under the worktree's lock.

        Raises:
            WorktreeFolderLostError: The folder is gone, or is not ours any more.
        """
        located = require_folder(repository, asked)
        if located.path == asked.path:
            return located
        latest = self.latest(asked)
        if latest.created_at != asked.created_at:
            return located
        return self._record_place(latest, attrs.evolve(latest, path=located.path))

    def snapshot(
        self, worktree: WorktreeRef, *, note: str = "", passing: bool = False, noted: bool = False
    ) -> Snapshot:
        """See `Worktrees.snapshot`.

        *noted*: the store names it, in the same step, as what was saved last of the worktree.
        """
        record = self._own(worktree)

        @retrying(RefMovedError, times=_TRIES)
        def save() -> Snapshot:
            snapshot = self.prepare_snapshot(record, note=note, passing=passing)
            if noted:
                store = self._scope.store
                store.note_saved(record.name, snapshot.commit, within=snapshot.pin)
            else:
                snapshot.pin()
            return snapshot

        return save()

    # landing

    @_retry_while_git_collects
    def prepare_landing(
        self,
        worktree: WorktreeRef,
        *,
        message: str,
        snapshot: Snapshot | None = None,
        style: Style | None = None,
        check: Check | None = None,
    ) -> Landing:
        """Merge the worktree's files into the integration branch in memory.

        Nothing moves until ``Landing.apply()``. Work that is on the branch already, or no work at
        all, gives a landing that changes nothing.

        Args:
            worktree: The worktree.
            message: The commit's message.
            snapshot: What to land; by default the files as they are now, of any size.
            style: See `Worktrees.merge`.
            check: See `Worktrees.merge`.

        Raises:
            MergeConflictError: With paths and report. Nothing was changed, and the snapshot is not
                pinned: pass one from ``prepare_snapshot(whole=True)`` to keep hold of it.
            LandingRefusedError: The check refused, or work of others would be undone. As above.
            OperationUnderWayError: The agent has not finished a rebase, merge or the like in it.
                Nothing was changed.
            DirtyCheckoutError: The integration branch is checked out where it cannot be updated
                safely. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
        """
        record = self._own(worktree)
        repository = self._repository()
        rules = landing.Rules.of(repository, style=style, check=check)
        saved = snapshot or self.prepare_snapshot(record, note="before landing", whole=True)
        return landing.prepare(repository, record, saved, message, rules)

    def land(
        self,
        record: Worktree,
        message: str,
        terms: LandingTerms,
        *,
        bring_along: Callable[[Landing], Landing] = lambda landing: landing,
    ) -> Landing:
        """Land the worktree's files as they are now, whatever tasks there are, and record it.

        Args:
            record: The worktree.
            message: The commit's message.
            terms: How it lands.
            bring_along: Returns the landing with what else belongs into its commit.

        Raises:
            MergeConflictError: The work is saved as a snapshot; the branch is unchanged.
            LandingRefusedError: As above.
            DirtyCheckoutError: Nothing was changed.
            RefMovedError: Others were faster every time; safe to retry.
        """
        with self.landing_lock(terms.check):
            landing = self._land(record, message, terms, bring_along)
        self.record_landing(record, landing)
        return landing

    def _land(
        self,
        record: Worktree,
        message: str,
        terms: LandingTerms,
        bring_along: Callable[[Landing], Landing],
    ) -> Landing:
        snapshot: Snapshot | None = None

        @retrying(RefMovedError, times=_TRIES)
        def attempt() -> Landing:
            nonlocal snapshot
            if snapshot is None:
                snapshot = self.prepare_snapshot(record, note="before landing", whole=True)
            try:
                landing = self.prepare_landing(
                    record,
                    message=message,
                    snapshot=snapshot,
                    style=terms.style,
                    check=terms.check,
                )
                landing = bring_along(landing)
                landing.apply()
            except (MergeConflictError, LandingRefusedError, OperationUnderWayError):
                with suppress(RefMovedError):  # another process has just saved it
                    snapshot.pin()
                raise
            except RefMovedError as exc:
                if exc.ref == snapshot.ref:
                    snapshot = None
                raise
            return landing

        return attempt()

    @contextmanager
    def landing_lock(
        self, check: Check | None, *, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Let one landing after the other pass where there is a check.

        Work lands only as it was checked, so whoever came second would have checked in vain.

        Args:
            check: The check that the caller chose, if any.
            while_waiting: Called every few seconds while another landing holds the lock.

        Raises:
            WorktreeLockedError: One landing kept others waiting for far longer than a check may
                take.
        """
        config, repository = self._scope.home.config, self._repository()
        if check is None and config.worktrees.check is None:
            yield
            return
        longest_wait_s = (config.worktrees.check_timeout_s + 60) * _CHECKS_AHEAD
        tries = 1 + longest_wait_s // _LOCK_PATIENCE_S
        with ExitStack() as stack:
            for attempt in retrying(WorktreeLockedError, times=tries):
                with attempt:
                    lock = repository.lock(
                        "landing with a check", patience_s=_LOCK_PATIENCE_S, poll_s=0.05
                    )
                    stack.enter_context(lock)
                if not attempt.succeeded:
                    while_waiting()
            yield

    def record_landing(self, worktree: WorktreeRef, landing: Landing) -> Worktree:
        """Record that *landing* was applied."""
        latest = self.latest(self.get(worktree))  # its folder may have been moved meanwhile
        record = attrs.evolve(latest, state=WorktreeState.LANDED, landed=landing.commit)
        return self._scope.store.put_worktree(record, EventKind.WORKTREE_LANDED)

    # judging what has landed

    def is_merged(self, worktree: WorktreeRef) -> bool:
        """See `Worktrees.is_merged`."""
        record = self._own(worktree)
        snapshot = self.prepare_snapshot(record, whole=True)
        return landing.is_merged(self._repository(), record, snapshot)

    def is_removed_unlanded(self, worktree: Worktree) -> bool:
        """Tell whether a worktree was removed with work that has not landed since.

        Judged by content, as `is_merged` does.
        """
        is_removed = worktree.state == WorktreeState.REMOVED
        if not is_removed or not worktree.unlanded or worktree.rescue_ref is None:
            return False
        repository = self._repository()
        rescued = repository.tip(worktree.rescue_ref)
        if rescued is None and worktree.saved is not None and repository.has(worktree.saved):
            rescued = worktree.saved  # somebody has deleted the ref
        return rescued is not None and not landing.is_contained(repository, worktree.base, rescued)

    def lacks_work_of(self, worktree: WorktreeRef, task_ids: Iterable[str]) -> bool:
        """Tell whether the files, as last saved, lack what one of these tasks has landed."""
        repository, record = self._repository(), self.get(worktree)
        saved = snapshot.latest_snapshot(repository, record)
        for task_id in task_ids:
            commit = self._landed_commit(self._scope.task(task_id))
            if commit is not None and not landing.holds(repository, saved.commit, commit):
                return True
        return False

    def _landed_commit(self, task: Task) -> str | None:
        """Return the commit on the integration branch that has the task's work, if there is one."""
        store = self._scope.store
        records = []
        if task.worktree:
            records += store.worktrees(name=task.worktree, include_removed=True)
        records += reversed(store.worktrees(task_id=task.id, include_removed=True))
        return next((record.landed for record in records if record.landed), None)

    def changed_paths(self, task: Task) -> tuple[str, ...]:
        """Return the files that the last landing of the task's work changed; empty without one.

        Raises:
            WorktreeError: The repository cannot be read, or has lost that commit.
        """
        commit = self._landed_commit(task)
        if commit is None:
            return ()
        repository = self._repository()
        with git_errors(f"look at what {task.alias} changed"):
            return changed_by(repository.open(), commit)

    def unresolved(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Return the files that still have the conflict markers which `update` wrote into them.

        Raises:
            OperationUnderWayError: The agent has not finished a rebase, merge or the like in it.
            UnsavedFilesError: Something in it cannot be saved.
        """
        record = self._own(worktree)
        try:
            saved = self.prepare_snapshot(record, whole=True)
        except GitFailedError:
            if self._landed_mark(record) is None:
                return ()  # its folder is gone, and none of its files ever had markers
            raise
        saved.refuse_unlandable()
        return self._unresolved_in(saved, self._landed_mark(record))

    def unresolved_when_saved(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Return what `unresolved` would have returned when the files were last saved."""
        record = self._own(worktree)
        mark = self._landed_mark(record)
        if mark is None:
            return ()
        return self._unresolved_in(snapshot.latest_snapshot(self._repository(), record), mark)

    def _landed_mark(self, record: Worktree) -> str | None:
        """Return the commit of the integration branch that was last merged into the worktree."""
        return self._repository().tip(LANDED + record.name)

    def _unresolved_in(self, snapshot: Snapshot, mark: str | None) -> tuple[str, ...]:
        with git_errors(f"look for conflict markers in the worktree {snapshot.worktree}"):
            return conflict_markers.unresolved(snapshot.open(), snapshot.commit, mark)

    def update(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Merge what is new on the integration branch into the worktree.

        See `Worktrees.catch_up`.
        """
        record = self._own(worktree)
        saved = self.snapshot(record, note="before catching up")
        saved.refuse_under_way()
        repository = self._repository()
        with repository.lock(admin_note.owner_of(record)):
            return catch_up(repository, self._with_folder(repository, record), saved)

    # looking ahead

    def forecast(self, *, fresh: bool = False) -> Forecast:
        """See `Worktrees.forecast`."""
        repository = self._repository()
        records = [record for record in self.list() if self.is_own(record)]
        if fresh:
            for record in records:
                # Where its folder is gone or in use, its last snapshot has to do.
                with suppress(GitFailedError, WorktreeLockedError):
                    self.snapshot(record, note="for the forecast")
        state = forecast.read_input(repository, records)
        if self._last_forecast is None or self._last_forecast[0] != state:
            self._last_forecast = state, forecast.make_forecast(repository, state)
        return self._last_forecast[1]

    # looking back

    def position(self) -> Position:
        """Return where the project's checkout and the integration branch are."""
        branch = self._scope.home.config.worktrees.integration_branch
        return peek.read_position(self._scope.home.project, branch)

    def missing_in_checkout(self) -> int:
        """Return how many commits of the integration branch the project's checkout lacks.

        0 without such a branch, and where merging them would change nothing.
        """
        repository = self._repository()
        head = self.position().head
        if head is None or repository.tip(repository.integration_ref) is None:
            return 0
        return landing.count_missing(repository, head)

    def last_saved(self, name: str) -> str | None:
        """Return the commit with the files that were last saved of this worktree, if it is there.

        After the removal of the worktree it is kept elsewhere, and not returned.
        """
        return self._repository().tip(WIP + name)

    def lost_folder(self, worktree: Worktree) -> WorktreeFolderLostError | None:
        """Say so where the worktree's folder is gone, or not its own. Changes nothing."""
        return lost_folder(self._repository(), self.latest(worktree))

    def unlandable(self, worktree: Worktree) -> WorktreeError | None:
        """Return what keeps the files as they are now from being handed in. Moves no ref."""
        try:
            self.prepare_snapshot(worktree, whole=True).refuse_unlandable()
        except (OperationUnderWayError, UnsavedFilesError, WorktreeFolderLostError) as exc:
            return exc
        return None

    def dirty_checkout(self, worktree: Worktree) -> DirtyCheckoutError | None:
        """Return what is in the way of landing what was last saved of the worktree.

        Changes nothing, and merges nothing: what the worktree has changed counts, and not what only
        others have. A conflict is no obstacle, because landing plans a recovery.
        """
        repository = self._repository()
        saved = self.last_saved(worktree.name)
        tip = repository.tip(repository.integration_ref)
        if saved is None or tip is None:
            return None
        own = own_changes(repository, worktree, tip, saved)
        try:
            refuse_unsafe(repository, tip, saved, own)
        except DirtyCheckoutError as exc:
            return exc
        return None

    def changes_of(self, commit: str, *, documents: Collection[str] = ()) -> Changes:
        """Return what a commit changed; *documents* count only where nothing else was.

        Those are named by their paths from the project's folder.
        """
        repository = self._repository()
        placed = {repository.below + path for path in documents}
        return lookback.changes_of(repository, commit, documents=placed)

    def unlanded_changes(self, snapshot: str) -> Changes:
        """Return what a snapshot has beyond what it shares with the integration branch."""
        return lookback.unlanded_changes(self._repository(), snapshot)

    def changes_between(
        self, old: str, new: str, *, documents: Collection[str] = ()
    ) -> tuple[int, Changes]:
        """Return how many commits *new* has that *old* has not, and the files that differ.

        See `changes_of` for *documents*.
        """
        repository = self._repository()
        commits = lookback.commits_between(repository, old, new)
        return commits, lookback.changes_between(repository, old, new, documents=documents)

    # removing, and bringing back

    @_retry_while_git_collects
    def remove(self, worktree: WorktreeRef, *, delete_branch: bool = True) -> Worktree:
        """See `Worktrees.remove`."""
        asked = self._own(worktree, include_removed=True)
        repository = self._repository()
        with repository.lock(admin_note.owner_of(asked)):
            record = self.latest(asked)
            if record.created_at != asked.created_at:
                return asked  # a newer worktree of this name is not the one that was meant
            if record.state == WorktreeState.REMOVED:
                return record
            lost_objects.mend_losses(repository, self._scope.store, record)
            restart.heal_worktree(repository, record)  # or it would keep damaged files
            with git_errors(f"remove the worktree {record.name}"):
                return removal.remove_and_record(
                    repository, self._scope.store, record, with_branch=delete_branch
                )

    def rescue(self) -> builtins.list[Rescued]:
        """See `Worktrees.rescue`."""
        return rescue.list_rescued(self._repository())

    def restore(self, ref: str | Rescued, path: str | os.PathLike[str]) -> Path:
        """See `Worktrees.restore`."""
        return rescue.restore(self._repository(), ref, path)

    # checking and repairing

    def check(self) -> builtins.list[Finding]:
        """See `Worktrees.check`."""
        try:
            repository = self._repository()
        except NotARepositoryError:
            return []
        return [*health.find_problems(repository, self._scope.store, is_own=self.is_own)]

    def repair(self) -> builtins.list[str]:
        """See `Worktrees.repair`."""
        try:
            repository = self._repository()
        except NotARepositoryError:
            return []
        return [*repair.repair(repository, self._scope.store, is_own=self.is_own)]

    # the repository

    def _repository(self) -> ProjectRepository:
        self._scope.require_open()
        if self._opened is None:
            self._opened = ProjectRepository.of(self._scope.home)
            if not self._scope.readonly:
                restart.heal_repository(self._opened)
            self._opened.refuse_to_forget = self._refuse_to_forget
            self._opened.merge_text = self._merge_file
        return self._opened

    def _merge_file(self, path: str, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        """Merge a file that git cannot merge; ``None`` where it is none of the project's."""
        below = self._repository().below
        if self._merge_text is None or not path.startswith(below):
            return None
        return self._merge_text(path.removeprefix(below), base, ours, theirs)

    def _refuse_to_forget(self, start: str) -> None:
        """Refuse to recreate the integration branch at a commit without the last landed work."""
        repository = self._repository()
        commits = {
            record.landed
            for record in self.list(include_removed=True)
            if record.landed and self.is_own(record)
        }
        last = landing.newest(repository, commits)
        if last is None or landing.holds(repository, start, last):
            return
        branch, short = repository.integration_branch, last[:12]
        reason = (
            f"it is gone, and what landed on it last (commit {short}) is not in HEAD. "
            f"{landing.branch_remedy(branch, last)}"
        )
        raise GitFailedError(f"find the branch {branch}", reason)


def _address(record: Worktree) -> str:
    """Return what git can fetch the work of a worktree from, as a word for the shell."""
    is_here = record.machine == machine_name()
    return shlex.quote(record.project if is_here else f"{record.machine}:{record.project}")


def _is_landed(record: Worktree) -> bool:
    """Tell whether nothing but the integration branch has the work of a worktree."""
    return record.state == WorktreeState.REMOVED and not record.unlanded


def _ref_of_work(record: Worktree, name: str) -> str:
    """Return the ref that keeps the last files of a worktree which has this name here."""
    if record.state == WorktreeState.REMOVED and record.rescue_ref is not None:
        return rescue.renamed(record.rescue_ref, name)
    return WIP + name


def _name_of_fetched(record: Worktree) -> str:
    """Return the name that another home's worktree gets here when it is fetched.

    It is nobody's own.
    """
    return plain_name(f"{record.home_id}-{record.name}")


def _refspecs(record: Worktree) -> list[str]:
    """Return what brings the saves of another home's worktree, and what goes with them."""
    name = _name_of_fetched(record)
    target = _ref_of_work(record, name)
    source = WIP + record.name if target == WIP + name else record.rescue_ref
    # The first one by its full name: git says so if it is not there, or hidden.
    return [f"+{source}:{target}", f"+refs/vespera/*/{record.name}:refs/vespera/*/{name}"]


def _name_of(ref: object) -> str:
    if isinstance(ref, str):
        return ref
    if isinstance(ref, Worktree):
        return ref.name
    problem = f"{show_value(ref)} is no worktree; give a Worktree, its name, or its task"
    raise InvalidInputError("worktree", problem)


def _same_owner(one: Worktree, other: Worktree) -> bool:
    if one.task_id is not None or other.task_id is not None:
        return one.task_id == other.task_id
    return (one.session_id, one.agent) == (other.session_id, other.agent)
