"""The public door: `Worktrees`, which ties git and the store together."""

from __future__ import annotations

import functools
import re
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

import attrs

from vespera_orchestrator._model import ArtifactQuery, Task, TaskQuery, TaskStatus, Worktree, utcnow
from vespera_orchestrator.errors import (
    GitFailedError,
    InvalidInputError,
    LandingRefusedError,
    MergeConflictError,
    NotARepositoryError,
    RefMovedError,
    TaskNotFoundError,
    WorktreeError,
    WorktreeLockedError,
    WorktreeNotFoundError,
)
from vespera_orchestrator.tasks.lifecycle import HANDED_IN

if TYPE_CHECKING:
    import builtins
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from vespera_orchestrator.home.scope import Scope
    from vespera_orchestrator.worktrees.forecast import Forecast
    from vespera_orchestrator.worktrees.landing import Landing, Style
    from vespera_orchestrator.worktrees.landing_check import Check
    from vespera_orchestrator.worktrees.repair import Rescued
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.snapshot import Snapshot

WorktreeRef: TypeAlias = "Worktree | Task | str"
"""A worktree: its record or name; or its task, as a record, id or alias."""


@attrs.frozen(kw_only=True)
class Terms:
    """How a caller wants work to land; ``None`` for what is usual. See `Worktrees.merge`."""

    message: str | None = None
    style: Style | None = None
    check: Check | None = None


_TRIES = 200
"""How often to begin again when others were faster. One of them succeeds each time, so all get through."""
_TURN_PATIENCE_S = 10
_LANDINGS_AHEAD = 30
"""So many checks of full length may be ahead of one."""


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _patient(method: Callable[_P, _T]) -> Callable[_P, _T]:
    """Repeat a call, which must be safe to repeat, that did not find an object: ``git gc`` moves them about, and is done in a moment."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for pause_s in _PAUSES_S:
            try:
                return method(*args, **kwargs)
            except GitFailedError as exc:
                if not re.search(_MISSING, exc.reason):
                    raise
                time.sleep(pause_s)
        return method(*args, **kwargs)

    return call


_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MISSING = "object not found|no match for id|cannot be peeled|can not be successfully peeled|invalid object specified|^'?[0-9a-f]{40}'?$"


class Worktrees:
    """One git worktree for each task or agent: made, saved, landed, removed. Reached as ``orch.worktrees``.

    Any number of threads and processes may work at once. What was saved is never lost: removal keeps the last state, and every earlier
    snapshot stays reachable from it. The user's own checkouts (index, HEAD, stash, files) are never changed.

    Every call that touches git may raise `NotARepositoryError` (no repository, or no commit yet), `UnsupportedRepositoryError` (a feature
    that would be handled wrongly; nothing was written) and `GitFailedError` (git or the file system refused).
    """

    def __init__(
        self,
        scope: Scope,
        *,
        complete: Callable[[Task, Worktree, Terms], Landing] | None = None,
        refuse_lost: Callable[[Task], None] | None = None,
    ) -> None:
        self._scope = scope
        self._refuse_lost = refuse_lost
        """Raises `LeaseLostError` when the caller had the task, and has it no more."""
        self._complete = complete
        """Completes a task whose work was handed in, landing it."""
        self._found: ProjectRepository | None = None
        self._forecast: tuple[object, Forecast] | None = None

    # making and finding

    def find_content(self, path: str, digest: str) -> str | None:
        """Look for the bytes with this SHA-256 in what git keeps under *path*: branches and our snapshots, newest commits first.

        Args:
            path: Relative to the top of the tree, with forward slashes.
            digest: SHA-256 of the bytes, in hexadecimal.

        Returns:
            The command that gives them, ``git show <commit>:<path>``; ``None`` when none of the last 2,000 commits has them.
        """
        from vespera_orchestrator.worktrees import snapshot

        commit = snapshot.commit_with(self._repository(), path, digest)
        return None if commit is None else f"git show {commit[:12]}:{path}"

    def require(self) -> None:
        """Raise what `create` would raise because of the repository, and make nothing.

        Raises:
            NotARepositoryError: There is no git repository, or no commit yet.
            UnsupportedRepositoryError: It uses a feature that would be handled wrongly.
        """
        repository = self._repository()
        repository.refuse_unsupported(repository.head(repository.open()))

    @_patient
    def create(
        self,
        task: str | Task | None = None,
        *,
        agent: str | None = None,
        path: str | os.PathLike[str] | None = None,
        branch: str | None = None,
        resume: bool | None = None,
    ) -> Worktree:
        """Return the worktree of a task, or of an agent, making it where there is none.

        Idempotent: a task that has a worktree gets the same one, and when its folder is gone it is made again with exactly the files of
        the last snapshot. After a kill at any moment the next call finishes what was begun. Starts from the head of the integration
        branch, which is made from the main worktree's HEAD when it is missing, and fast-forwarded to it when it is merely behind.

        Args:
            task: The task; ``None`` makes one for an agent, over all its tasks in the session.
            agent: The agent; by default the scope's, when no task is given.
            path: Folder, relative to the project's; by default ``../worktrees/<alias>``, numbered when that is taken.
            branch: Branch to make; by default ``feature/<alias>``, numbered likewise.
            resume: Where the last one was removed before its work had landed, go on with what was kept of it, as
                `Orchestrator.execute_task` does; by default for a task that was started and has not ended, which would otherwise be
                completed without that work. Otherwise a removed one is begun anew.

        Raises:
            TaskNotFoundError: There is no such task.
            InvalidInputError: *path* or *branch* is taken or cannot be used.
            GitFailedError: The integration branch no longer has what a task that this one depends on had landed there.
        """
        from vespera_orchestrator.worktrees import checkout

        wanted = self._draft(task, agent)
        goes_on = self._is_under_way(wanted.task_id) if resume is None else resume
        repository = self._repository()
        with repository.lock(checkout.owner_of(wanted)):
            return self._made(repository, wanted, path=path, branch=branch, resume=goes_on)

    def _is_under_way(self, task_id: str | None) -> bool:
        task = None if task_id is None else self._scope.task(task_id)
        return task is not None and task.attempts > 0 and not task.status.is_terminal

    @_patient
    def again(self, worktree: Worktree) -> Worktree:
        """Return the worktree that a record tells of in a usable state, made again from what was kept if it has to be; see `create`."""
        from vespera_orchestrator.worktrees import checkout

        repository = self._repository()
        draft = self._draft(worktree.task_id, worktree.agent, worktree.session_id)
        with repository.lock(checkout.owner_of(draft)):
            return self._made(repository, draft, resume=True)

    def _made(
        self,
        repository: ProjectRepository,
        wanted: Worktree,
        *,
        path: str | os.PathLike[str] | None = None,
        branch: str | None = None,
        resume: bool = False,
    ) -> Worktree:
        """See `create`; under the lock of the one it is for."""
        from vespera_orchestrator.worktrees import checkout

        known = self._known(repository, wanted)
        if known is not None and (revived := self._revive(repository, known)) is not None:
            return revived
        kept = self._kept(wanted) if resume else None
        if kept is None:
            repository.refuse_unsupported(*repository.starting_points())
            draft = attrs.evolve(wanted, base=repository.follow_head())
            self._refuse_missing_work(repository, draft)
        else:
            repository.refuse_unsupported(
                *filter(None, [repository.tip(str(kept.rescue_ref)), kept.base])
            )
            draft = attrs.evolve(
                wanted, base=kept.base, landed=kept.landed, rescue_ref=kept.rescue_ref
            )
        taken = {
            record.name
            for record in self._scope.store.worktrees(include_removed=True)
            if not _same_owner(record, wanted)
        }
        made = checkout.reserve(repository, draft, path=path, branch=branch, taken=taken)
        checkout.fill(repository, made)
        return self._scope.store.put_worktree(made, "worktree_created")

    def _kept(self, wanted: Worktree) -> Worktree | None:
        """Return the record of the last worktree of this owner, if it was removed before all its work had landed."""
        records = self._scope.store.worktrees(
            session_id=wanted.session_id, task_id=wanted.task_id, include_removed=True
        )
        last = next((record for record in reversed(records) if _same_owner(record, wanted)), None)
        return last if last is not None and self.is_removed_unlanded(last) else None

    def lacks(self, worktree: WorktreeRef, task_ids: Iterable[str]) -> bool:
        """Tell whether the worktree's files lack what one of these tasks has landed; by content, as they were last saved."""
        from vespera_orchestrator.worktrees import landing as merge
        from vespera_orchestrator.worktrees import snapshot

        repository, record = self._repository(), self._record(worktree)
        saved = snapshot.pinned(repository, record)
        found = (self._landed(self._scope.task(task_id)) for task_id in task_ids)
        return any(
            landed is not None and not merge.holds(repository, saved.commit, landed)
            for landed in found
        )

    def _landed(self, task: Task) -> str | None:
        """Return the commit on the integration branch that has the task's work, if it worked in a worktree."""
        store = self._scope.store
        records = store.worktrees(name=task.worktree, include_removed=True) if task.worktree else []
        records += reversed(store.worktrees(task_id=task.id, include_removed=True))
        return next((record.landed for record in records if record.landed), None)

    @contextmanager
    def kept_from_others(self, worktree: Worktree) -> Iterator[None]:
        """Keep other threads and processes of this home from taking the worktree into use during the block, which must not use it."""
        from vespera_orchestrator.worktrees import checkout

        with self._repository().lock(checkout.owner_of(worktree)):
            yield

    def _refuse_missing_work(self, repository: ProjectRepository, wanted: Worktree) -> None:
        from vespera_orchestrator.worktrees import landing as merge

        task = None if wanted.task_id is None else self._scope.task(wanted.task_id)
        for edge in () if task is None else task.dependencies:
            landed = self._landed(self._scope.task(edge.task))
            if landed is None or merge.holds(repository, wanted.base, landed):
                continue
            name, branch = self._scope.task(edge.task).alias, repository.integration_branch
            reason = (
                f"it depends on {name}, whose work (commit {landed[:12]}) is not on {branch!r} any more; bring it back there "
                f"(git switch {branch} && git cherry-pick {landed[:12]}), or take the dependency away (orch.remove_dependency)"
            )
            raise GitFailedError(f"make a worktree for {wanted.name}", reason)

    def list(self, *, include_removed: bool = False) -> builtins.list[Worktree]:
        """Return the worktrees of all sessions, the oldest first."""
        return self._scope.store.worktrees(include_removed=include_removed)

    def find(self, task_ref_or_name: WorktreeRef) -> Worktree | None:
        """Return the worktree that has this name, or that this task has or shares, or ``None``. Removed ones are not found."""
        named = self._scope.store.worktrees
        if isinstance(task_ref_or_name, str):
            return next(iter(named(name=task_ref_or_name)), None) or self._of_task(task_ref_or_name)
        if isinstance(task_ref_or_name, Task):
            return self._of_task(task_ref_or_name.id)
        return next(iter(named(name=task_ref_or_name.name)), None)

    # saving

    @_patient
    def prepare_snapshot(
        self, worktree: WorktreeRef, *, note: str = "", whole: bool = False, passing: bool = False
    ) -> Snapshot:
        """Write the worktree's files as a commit, and move no ref: that is ``pin()``'s part, which may run inside a store's transaction.

        Untracked files are included, ignored ones are not. The agent's index, HEAD, branch and hooks stay untouched. Without a change
        since the previous snapshot no commit is made.

        Args:
            worktree: The worktree.
            note: First line of the commit's message.
            whole: Take untracked files of any size, instead of leaving out those above ``max_file_bytes``.
            passing: It may be thinned out: all of the last hour are kept, then the last one of each hour for a week, then of each day.
                Others are kept for ever.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
            GitFailedError: Its folder is gone or not complete.
        """
        from vespera_orchestrator.worktrees import checkout, snapshot

        record = self._record(worktree)
        repository = self._repository()
        limit = None if whole else repository.home.config.max_file_bytes
        with repository.lock(checkout.owner_of(record)):
            return snapshot.take_snapshot(
                repository, record, note=note, max_file_bytes=limit, passing=passing
            )

    def snapshot(self, worktree: WorktreeRef, *, note: str = "", passing: bool = False) -> Snapshot:
        """Save the worktree's files under ``refs/vespera/wip/<name>``. See `prepare_snapshot`.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
            RefMovedError: Others saved it all the time; safe to retry.
        """
        record = self._record(worktree)
        for remaining in reversed(range(_TRIES)):
            taken = self.prepare_snapshot(record, note=note, passing=passing)
            try:
                taken.pin()
            except RefMovedError:
                if not remaining:
                    raise
            else:
                return taken
        raise AssertionError  # pragma: no cover - the last round raises or returns

    def left_out(self, commit: str) -> tuple[str, ...]:
        """Return the paths that a snapshot had to leave out."""
        from vespera_orchestrator.worktrees import snapshot

        return snapshot.left_out(self._repository(), commit)

    # landing

    @_patient
    def prepare_landing(
        self,
        worktree: WorktreeRef,
        *,
        message: str,
        snapshot: Snapshot | None = None,
        style: Style | None = None,
        check: Check | None = None,
    ) -> Landing:
        """Merge the worktree's files into the integration branch in memory; nothing moves until ``Landing.apply()``.

        Work that is on the branch already, or no work at all, gives a landing that changes nothing.

        Args:
            worktree: The worktree.
            message: The commit's message.
            snapshot: What to land; by default the files as they are now, of any size.
            style: See `merge`.
            check: See `merge`.

        Raises:
            MergeConflictError: With paths and report. Nothing was changed, and the snapshot is not pinned: give one of
                ``prepare_snapshot(whole=True)`` to keep hold of it.
            LandingRefusedError: The check refused, or work of others would be undone. Likewise.
            DirtyCheckoutError: The integration branch is checked out where it cannot be updated safely. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
        """
        from vespera_orchestrator.worktrees import landing as merge

        record = self._record(worktree)
        repository = self._repository()
        rules = merge.Rules.of(repository, style=style, check=check)
        taken = snapshot or self.prepare_snapshot(record, note="before landing", whole=True)
        return merge.prepare(repository, record, taken, message, rules)

    def merge(
        self,
        worktree: WorktreeRef,
        *,
        message: str | None = None,
        style: Style | None = None,
        check: Check | None = None,
    ) -> Landing:
        """Land the worktree's files on the integration branch, and record it.

        When its task was completed with ``merge="later"``, this completes it, and takes folder and branch away; of one that several tasks
        share, it completes all that were handed in, or the one that is named. Otherwise folder and branch stay, for further work; `remove`
        takes them away. Other mergers may be at it: whoever comes second merges again on top. Safe to repeat: work lands once.

        A checkout of the integration branch is brought along, if nothing of its owner's is touched by that.

        Args:
            worktree: The worktree. A word that is both a task's alias and the name of another worktree stands for the task.
            message: The commit's message; by default made from the task.
            style: ``squash``: one commit with one parent, whatever the agent committed in between. ``merge``: a merge commit, with the
                agent's own commits behind it. ``fast-forward``: the agent's commits themselves where nothing else has landed since they
                began, otherwise as ``merge``. By default as ``config.toml`` says.
            check: A callable that is given a folder with the merged files, and refuses by raising or by returning ``False``; or a command:
                a list of words, or a line for the shell. Work lands only as it was checked. By default as ``config.toml`` says.

        Returns:
            The landing; its ``reverts`` are changes of others that it takes back.

        Raises:
            MergeConflictError: With paths and report. The branch is unchanged, and the work is saved as a snapshot. A task that was
                completed with ``merge="later"`` is blocked, with a recovery task.
            LandingRefusedError: The check refused, or work of others would be undone and the settings refuse that. Likewise.
            DirtyCheckoutError: The integration branch is checked out where it cannot be updated safely. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
            LeaseLostError: The caller worked on the task, and was replaced, or the task was taken from it. Nothing was changed.
            RefMovedError: Others were faster all the time; safe to retry.
        """
        # A task first: another session's worktree, or an agent's, may have for its name what is this task's alias.
        own = self._of_task(worktree, include_removed=True) if isinstance(worktree, str) else None
        record = own or self._record(worktree, include_removed=True)
        owner = (
            None if record.task_id is None else self._scope.store.find_task(record.task_id, None)
        )
        if owner is not None and self._refuse_lost is not None:
            self._refuse_lost(owner)
        tasks = self._handed_in(record, worktree)
        if record.state == "removed":
            if not tasks:
                since = "its work has landed, there is nothing to merge"
                if self.is_removed_unlanded(record):
                    since = "it was removed before all its work had landed; orch.worktrees.create(…, resume=True) makes it again"
                raise WorktreeNotFoundError(
                    worktree if isinstance(worktree, str) else record.name, since
                )
            record = self.again(record)
        if tasks and self._complete is not None:
            landings = [
                self._complete(task, record, Terms(message=message, style=style, check=check))
                for task in tasks
            ]
            return next((landing for landing in landings if landing.changed), landings[0])
        landing = self._land(record, message or self._message(record), style, check)
        self.record_landing(record, landing)
        return landing

    def _handed_in(self, record: Worktree, named: WorktreeRef) -> builtins.list[Task]:
        """Return the tasks whose finished work waits in the worktree to be merged; only the one that was *named*, if one was."""
        query = TaskQuery(worktree=record.name, status=(TaskStatus.IN_PROGRESS,), limit=None)
        found = self._scope.store.tasks(query)
        if record.task_id is not None and all(task.id != record.task_id for task in found):
            own = self._scope.store.find_task(record.task_id, None)
            found += (
                [own]
                if own is not None and own.status is TaskStatus.IN_PROGRESS and own.worktree is None
                else []
            )
        if isinstance(named, Task) or (isinstance(named, str) and named != record.name):
            meant = self._scope.task(named).id
            found = [task for task in found if task.id == meant]
        attempts = ((task, self._scope.store.situation(task.id).attempt) for task in found)
        return [
            task
            for task, attempt in attempts
            if attempt is not None and attempt.ending == HANDED_IN
        ]

    @contextmanager
    def turn(
        self, check: Check | None, *, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Land one after the other where there is a check: work lands only as it was checked, so whoever came second would check in vain.

        Args:
            check: The check that the caller chose, if any.
            while_waiting: Called every few seconds as long as somebody else is at it.

        Raises:
            WorktreeLockedError: One landing has kept others waiting for far longer than a check may take.
        """
        config, repository = self._scope.home.config, self._repository()
        if check is None and config.check is None:
            yield
            return
        with ExitStack() as held:
            for remaining in reversed(
                range(1 + (config.check_timeout_s + 60) * _LANDINGS_AHEAD // _TURN_PATIENCE_S)
            ):
                try:
                    held.enter_context(
                        repository.lock(
                            "landing with a check", patience_s=_TURN_PATIENCE_S, poll_s=0.05
                        )
                    )
                    break
                except WorktreeLockedError:
                    if not remaining:
                        raise
                    while_waiting()
            yield

    def unsolved(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Return the files of the worktree that still have the conflict markers which `catch_up` wrote into them."""
        from vespera_orchestrator.worktrees import landing as merge
        from vespera_orchestrator.worktrees.repository import LANDED

        record, repository = self._record(worktree), self._repository()
        mark = repository.tip(LANDED + record.name)
        return (
            ()
            if mark is None
            else merge.unsolved(
                repository.open(), self.prepare_snapshot(record, whole=True).commit, mark
            )
        )

    def unsolved_when_saved(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Return what `unsolved` would have returned when the files were last saved."""
        from vespera_orchestrator.worktrees import landing as merge
        from vespera_orchestrator.worktrees import snapshot
        from vespera_orchestrator.worktrees.repository import LANDED

        record, repository = self._record(worktree), self._repository()
        mark = repository.tip(LANDED + record.name)
        return (
            ()
            if mark is None
            else merge.unsolved(repository.open(), snapshot.pinned(repository, record).commit, mark)
        )

    def _land(
        self, record: Worktree, message: str, style: Style | None, check: Check | None
    ) -> Landing:
        with self.turn(check):
            return self._land_in_turn(record, message, style, check)

    def _land_in_turn(
        self, record: Worktree, message: str, style: Style | None, check: Check | None
    ) -> Landing:
        snapshot = None
        for remaining in reversed(range(_TRIES)):
            snapshot = snapshot or self.prepare_snapshot(record, note="before landing", whole=True)
            try:
                landing = self.prepare_landing(
                    record, message=message, snapshot=snapshot, style=style, check=check
                )
                landing.apply()
            except (MergeConflictError, LandingRefusedError):
                with suppress(RefMovedError):  # then somebody has just saved it
                    snapshot.pin()
                raise
            except RefMovedError as exc:
                if not remaining:
                    raise
                snapshot = None if exc.ref == snapshot.ref else snapshot
            else:
                return landing
        raise AssertionError  # pragma: no cover - the last round raises or returns

    def record_landing(self, worktree: WorktreeRef, landing: Landing) -> Worktree:
        """Record that *landing* was applied; `merge` does so itself."""
        record = attrs.evolve(self._record(worktree), state="landed", landed=landing.commit)
        return self._scope.store.put_worktree(record, "worktree_landed")

    def is_merged(self, worktree: WorktreeRef) -> bool:
        """Tell whether the worktree's work, as it is now, is on the integration branch.

        By content: also when somebody squashed, rebased or picked it, so that no commit of the worktree's is there. Then nothing is lost
        by removing it.

        Raises:
            WorktreeNotFoundError: There is no such worktree.
        """
        from vespera_orchestrator.worktrees import landing as merge

        record = self._record(worktree)
        return merge.is_merged(
            self._repository(), record, self.prepare_snapshot(record, whole=True)
        )

    def is_removed_unlanded(self, worktree: Worktree) -> bool:
        """Tell whether a worktree was removed with work that had not landed, and has not since; judged by content, as `is_merged`."""
        from vespera_orchestrator.worktrees import landing as merge

        if worktree.state != "removed" or not worktree.unlanded or worktree.rescue_ref is None:
            return False
        repository = self._repository()
        kept = repository.tip(worktree.rescue_ref)
        return kept is not None and not merge.is_contained(repository, worktree.base, kept)

    def catch_up(self, worktree: WorktreeRef) -> tuple[str, ...]:
        """Bring what is new on the integration branch into the worktree's files. Its index, HEAD and branch stay; it is saved before.

        Where both changed the same lines the file holds both, between conflict markers, and does not land before these are gone. What
        cannot be put together as text stays as the worktree has it.

        An agent may be at work there. Only files that differ are written, each only where it is still as it was saved; where one is not,
        all are made as they were, saved again and merged anew. No edit is lost: two that met within one such moment leave the later one
        in the file and the earlier one under a rescue ref. A process that is killed on the way leaves it to the next save, or to
        `repair`, to take back what it had written.

        Returns:
            The paths in conflict.

        Raises:
            DirtyCheckoutError: A file that no snapshot keeps, as an ignored one, is where one was landed; or files were changed all the
                time. It names them. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
        """
        from vespera_orchestrator.worktrees import checkout
        from vespera_orchestrator.worktrees import landing as merge

        record = self._record(worktree)
        saved = self.snapshot(record, note="before catching up")
        repository = self._repository()
        with repository.lock(checkout.owner_of(record)):
            return merge.catch_up(repository, record, saved)

    # looking ahead

    def forecast(self, *, fresh: bool = False) -> Forecast:
        """Tell which live worktrees would conflict with each other, or with the integration branch, and in what order to merge them.

        Args:
            fresh: Save every worktree first, instead of going by the last snapshots.
        """
        from vespera_orchestrator.worktrees import forecast

        repository, records = self._repository(), self.list()
        for record in records if fresh else ():
            with suppress(
                GitFailedError, WorktreeLockedError
            ):  # its folder is gone: its last snapshot tells enough
                self.snapshot(record, note="for the forecast")
        state = forecast.state(repository, records)
        if self._forecast is None or self._forecast[0] != state:
            self._forecast = state, forecast.make(repository, state)
        return self._forecast[1]

    def foreseen(self) -> Forecast | None:
        """Return the forecast where at least two worktrees have been saved, else ``None``, without loading what a forecast needs."""
        records = self.list()
        if len(records) < 2:  # noqa: PLR2004 - one has nothing to conflict with
            return None
        try:
            common = self._common()
            saved = [
                record
                for record in records
                if common.joinpath("refs", "vespera", "wip", record.name).exists()
            ]
            packed = common / "packed-refs"
            if len(saved) < 2 and not (  # noqa: PLR2004
                packed.exists() and b" refs/vespera/wip/" in packed.read_bytes()
            ):
                return None
            return self.forecast()
        except (WorktreeError, OSError):  # a view may fail without failing what it is shown in
            return None

    # taking away

    @_patient
    def remove(self, worktree: WorktreeRef, *, delete_branch: bool = True) -> Worktree:
        """Take the worktree away; its last state is kept under a rescue ref first, with every earlier snapshot behind it.

        Works as well when the folder is gone already, or half removed. Ignored files are not kept. Idempotent.

        Args:
            worktree: The worktree.
            delete_branch: Whether to delete its branch, when all its commits are kept and it is checked out nowhere else.

        Returns:
            The record, with ``rescue_ref``.

        Raises:
            DirtyCheckoutError: It holds something that no snapshot can keep, e.g. a repository of its own. Nothing was changed.
            WorktreeNotFoundError: There is no such worktree.
        """
        from vespera_orchestrator.worktrees import checkout, repair

        given = self._record(worktree, include_removed=True)
        repository = self._repository()
        with repository.lock(checkout.owner_of(given)):
            record = next(
                iter(self._scope.store.worktrees(name=given.name, include_removed=True)), given
            )
            if record.state == "removed" or record.created_at != given.created_at:
                return record if record.created_at == given.created_at else given
            removed = repair.remove(repository, record, delete_branch=delete_branch)
            self._scope.store.put_worktree(removed, "worktree_removed")
            checkout.retire(repository, removed)
            return removed

    def rescue(self) -> builtins.list[Rescued]:
        """Return what was kept of removed worktrees, the newest first. `restore` writes it out."""
        from vespera_orchestrator.worktrees import repair

        return repair.rescued(self._repository())

    def restore(self, ref: str | Rescued, path: str | os.PathLike[str]) -> Path:
        """Write the files that a rescue ref (or any commit) keeps into a new folder, which appears complete or not at all.

        Raises:
            InvalidInputError: *ref* names nothing, or *path* is there already and not empty.
        """
        from vespera_orchestrator.worktrees import repair

        return repair.restore(self._repository(), ref if isinstance(ref, str) else ref.ref, path)

    def check(self) -> builtins.list[tuple[str, str]]:
        """Look at all worktrees and change nothing; return the name and what is wrong, a sentence each. `repair` puts most of it right."""
        from vespera_orchestrator.worktrees import health as inspection

        try:
            repository = self._repository()
        except NotARepositoryError:
            return []
        return [*inspection.troubles(repository, self._scope.store)]

    def repair(self) -> builtins.list[str]:
        """Bring everything of ours into order after a kill; return one plain sentence for each thing done.

        Finishes or takes back half-made worktrees, finishes removals, takes away locks that a dead process of ours left on refs of ours.
        What cannot be proven ours, and what somebody is at just now, is left alone. Without a repository there is nothing to do.
        """
        from vespera_orchestrator.worktrees import repair

        try:
            repository = self._repository()
        except NotARepositoryError:
            return []
        return [*repair.repair(repository, self._scope.store)]

    # behind the door

    def _common(self) -> Path:
        from vespera_orchestrator.home.locate import git_common_dir

        project = self._scope.home.project
        common = git_common_dir(project)
        if common is None:
            raise NotARepositoryError(str(project), "there is no git repository")
        return common

    def _repository(self) -> ProjectRepository:
        from vespera_orchestrator.worktrees.repository import ProjectRepository

        self._scope.require_open()
        if self._found is None:
            self._found = ProjectRepository.of(self._scope.home)
            self._found.refuse_to_forget = self._refuse_to_forget
        return self._found

    def _refuse_to_forget(self, start: str) -> None:
        """Refuse to make the integration branch anew where the last work that landed on it would not be there."""
        from vespera_orchestrator.worktrees import landing as merge

        repository = self._repository()
        last = merge.newest(
            repository,
            {
                record.landed
                for record in self.list(include_removed=True)
                if record.landed is not None
            },
        )
        if last is None or merge.holds(repository, start, last):
            return
        branch = repository.integration_branch
        reason = (
            f"it is gone, and what landed on it last (commit {last[:12]}) is not in HEAD. Bring it back: git branch {branch} {last[:12]}. "
            f"If it has another name now, set worktrees.integration_branch in config.toml. If HEAD has it all: git branch {branch} HEAD"
        )
        raise GitFailedError(f"find the branch {branch}", reason)

    def _draft(
        self, task: str | Task | None, agent: str | None, session_id: str | None = None
    ) -> Worktree:
        from vespera_orchestrator.worktrees.checkout import plain_name

        if agent is not None and not agent.strip():
            raise InvalidInputError("agent", "is empty; give a name, or none for the current agent")
        if task is not None:
            found = self._scope.task(task)
            task_id, session_id, name = found.id, found.session_id, found.alias
        else:
            agent = agent or self._scope.agent
            task_id, session_id, name = None, session_id or self._scope.session_id(), agent
        return Worktree(
            name=plain_name(name),
            session_id=session_id,
            task_id=task_id,
            agent=agent,
            path="",
            branch="",
            base="",
            state="active",
            landed=None,
            rescue_ref=None,
            created_at=utcnow(),
        )

    def _known(self, repository: ProjectRepository, wanted: Worktree) -> Worktree | None:
        from vespera_orchestrator.worktrees import checkout

        records = self._scope.store.worktrees(session_id=wanted.session_id)
        candidates = (*records, *(note.worktree for note in checkout.notes(repository)))
        return next((record for record in candidates if _same_owner(record, wanted)), None)

    def _revive(self, repository: ProjectRepository, known: Worktree) -> Worktree | None:
        """Return the worktree in a usable state; ``None`` when it was being removed, or its folder is gone and all of it has landed."""
        from pathlib import Path

        from vespera_orchestrator.worktrees import checkout, repair, snapshot
        from vespera_orchestrator.worktrees import landing as merge

        note = checkout.read_note(repository, known.name)
        recorded = self.find(known)
        gone = known.state == "landed" and not Path(known.path).exists()
        gone = gone and merge.is_merged(
            repository, known, snapshot.pinned(repository, known)
        )  # others may have worked there since
        if gone or (note is not None and note.stage == checkout.REMOVING):
            removed = repair.remove(repository, known, delete_branch=True)
            if recorded is not None:
                self._scope.store.put_worktree(removed, "worktree_removed")
            checkout.retire(repository, removed)
            return None
        if not checkout.is_whole(repository, known):
            checkout.refuse_foreign(repository, known)
            repository.refuse_unsupported(repository.tip(repository.integration_ref) or known.base)
            checkout.fill(repository, known)
        if recorded is None:
            return self._scope.store.put_worktree(known, "worktree_created")
        return known

    def _record(self, ref: WorktreeRef, *, include_removed: bool = False) -> Worktree:
        if isinstance(ref, Worktree):
            return ref
        found = self.find(ref)
        if found is None and include_removed:
            name = ref if isinstance(ref, str) else ref.id
            named = next(iter(self._scope.store.worktrees(name=name, include_removed=True)), None)
            found = named or self._of_task(name, include_removed=True)
        if found is None:
            raise WorktreeNotFoundError(ref if isinstance(ref, str) else ref.id)
        return found

    def _of_task(self, ref: str, *, include_removed: bool = False) -> Worktree | None:
        try:
            task = self._scope.task(ref)
        except (TaskNotFoundError, InvalidInputError):
            return None
        found = (
            self._scope.store.worktrees(name=task.worktree, include_removed=include_removed)
            if task.worktree
            else []
        )
        return next(
            iter(
                [
                    *found,
                    *self._scope.store.worktrees(task_id=task.id, include_removed=include_removed),
                ]
            ),
            None,
        )

    def _message(self, record: Worktree) -> str:
        task = None if record.task_id is None else self._scope.store.find_task(record.task_id, None)
        if task is None:
            return f"Work of {record.agent or record.name}\n\nWorktree: {record.name}"
        return landing_message(
            task,
            task.summary,
            [
                artifact.id
                for artifact in self._scope.store.artifacts(ArtifactQuery(task_ids=(task.id,)))
            ],
        )


def landing_message(task: Task, summary: str | None, artifact_ids: Sequence[str]) -> str:
    """Write the message of the commit that brings a task's work: title, summary, where its record is."""
    said = f"{summary}\n\n" if summary else ""
    known = "".join(f"\nArtifact: {artifact_id}" for artifact_id in artifact_ids[:_NAMED])
    return f"{task.title}\n\n{said}Task: {task.alias} ({task.id}){known}\n"


_NAMED = 20
"""So many artifacts are named in a commit's message."""


def _same_owner(one: Worktree, other: Worktree) -> bool:
    if one.task_id is not None or other.task_id is not None:
        return one.task_id == other.task_id
    return (one.session_id, one.agent) == (other.session_id, other.agent)
