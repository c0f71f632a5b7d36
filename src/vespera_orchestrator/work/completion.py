"""The way from handing in to done: artifacts, store, integration branch, documents.

`Completion` is its one owner. A task that worked in a worktree is completed in the transaction
in which its work lands; whatever cannot land blocks the task, with one recovery task.
"""

from __future__ import annotations

import io
import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._mistakes import kept_words
from vespera_orchestrator._model import (
    Artifact,
    ArtifactKind,
    ArtifactQuery,
    Ending,
    NextAction,
    TaskStatus,
    WorktreeState,
    new_id,
)
from vespera_orchestrator._text import one_line
from vespera_orchestrator.errors import (
    ArtifactNotFoundError,
    ArtifactSupersededError,
    ClosedError,
    DirtyCheckoutError,
    GitFailedError,
    InvalidInputError,
    LandingRefusedError,
    LeaseLostError,
    MergeConflictError,
    NotReadyError,
    RefMovedError,
    SettingsConflictError,
    SourceFileNotFoundError,
    TransitionError,
    VesperaError,
    WorktreeElsewhereError,
    WorktreeError,
)
from vespera_orchestrator.tasks import arguments, causes, lifecycle
from vespera_orchestrator.work import handed_in
from vespera_orchestrator.work.delegation import Gathering
from vespera_orchestrator.work.files import MERGE_TRIES
from vespera_orchestrator.work.submission import Holder, digest_of
from vespera_orchestrator.worktrees.retrying import retrying
from vespera_orchestrator.worktrees.terms import UNLANDABLE, LandingTerms, landing_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from vespera_orchestrator._model import (
        ArtifactDraft,
        JsonValue,
        Task,
        Why,
        Worktree,
    )
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.artifacts import Artifacts
    from vespera_orchestrator.documents.collection import LandingTask
    from vespera_orchestrator.work.files import WorkFiles
    from vespera_orchestrator.work.submission import Submission
    from vespera_orchestrator.worktrees.landing import Landing
    from vespera_orchestrator.worktrees.snapshot import Snapshot

log = logging.getLogger("vespera_orchestrator")

NOTHING_LANDED: Final = "nothing was changed in its worktree, so nothing was landed"
"""The reason of a completed task that worked in a worktree and left no trace there."""
CHANGED_PATHS: Final = "changed_paths"
"""Where the metadata of a record of work names the files that its landing changed."""
_MAX_CHANGED_PATHS: Final = 500
_CHECK_MARGIN_S: Final = 60.0
"""How much longer than the check may take the hold lasts."""
_USUAL_TERMS: Final = LandingTerms()
_MISTAKES: Final = (
    InvalidInputError,
    ArtifactNotFoundError,
    ArtifactSupersededError,
    SourceFileNotFoundError,
    NotReadyError,
    SettingsConflictError,
    WorktreeElsewhereError,
    *UNLANDABLE,
)
"""Errors of a call that hands work in wrongly, or too early. The task itself has not failed."""


class Completion:
    """Takes what an attempt hands in to where it belongs."""

    def __init__(self, rooms: Rooms, artifacts: Artifacts, files: WorkFiles) -> None:
        self._rooms = rooms
        self._artifacts = artifacts
        self._files = files
        self._gathering = Gathering(rooms, artifacts)
        self.assignments = files.assignments
        """Which worktree each task works in."""
        self.attempts = rooms.attempts

    # handing in

    def holder_of(self, task: Task, agent: str | None = None) -> Holder:
        """Return who acts when a caller names a task, and does not come with its `Work`.

        An *agent* that is named may come from a process that has ended: the store compares it with
        the agent that holds the task.
        """
        if agent is not None:
            agent = arguments.agent_name("agent", agent)
        return Holder(
            task=task,
            attempt=self.attempts.get(task.id) if agent is None else None,
            agent=agent or self._rooms.scope.agent,
            worktree=self.assignments.worktree_of(task),
        )

    @contextmanager
    def keeping(self, holder: Holder, work: object, *, title: object = None) -> Iterator[None]:
        """Keep the work when the call that hands it in fails, whatever the reason.

        A mistake in the call is marked on the error: it does not count as a failure of the task.

        Args:
            holder: Who hands it in.
            work: The work, of whatever type. ``None`` if there is none.
            title: What to call it, if it is a text; by default as the task.
        """
        if not isinstance(title, str) or not title.strip():
            title = holder.task.title
        try:
            yield
        except BaseException as exc:
            kept_id = self._keep_refused(holder, title, work, exc)
            if isinstance(exc, _MISTAKES):
                exc.completion_of = holder.task.id
                exc.kept_artifact_id = kept_id
            elif kept_id is not None and not getattr(exc, "kept_artifact_id", None):
                if isinstance(exc, VesperaError):
                    exc.kept_artifact_id = kept_id
                exc.add_note(f"your work is kept as artifact {kept_id}")
            raise

    @contextmanager
    def keeping_mistaken(self, holder: Holder, work: object, *, title: object) -> Iterator[None]:
        """Keep what a call on the way brings, when one of its arguments is wrong.

        Whatever else goes wrong there, the caller still has it, and can make the same call again.
        A file or a stream stays where it is. Of what is empty, nothing is kept.

        Args:
            holder: Who makes the call.
            work: What it brings.
            title: What to call it.
        """
        try:
            yield
        except InvalidInputError:
            is_elsewhere = isinstance(work, os.PathLike) or hasattr(work, "read")
            if is_elsewhere or work in ({}, [], "", b""):
                work = None
            with self.keeping(holder, work, title=title):
                raise

    def _keep_refused(
        self, holder: Holder, title: str, work: object, exc: BaseException
    ) -> str | None:
        """Save the work unless it was saved on the way; return the artifact's id.

        Nothing that goes wrong here may hide what went wrong before.
        """
        is_blank = isinstance(work, str | bytes) and not work.strip()
        if work is None or is_blank or isinstance(exc, ClosedError):
            return None
        try:
            return self._keep_work(holder, title, _as_text(work), exc)
        except Exception as also:  # noqa: BLE001 - the text of a stranger's object, a full disk
            exc.add_note(f"and your work could not be kept: {also}")
            return None

    def _keep_work(
        self, holder: Holder, title: str, work: str | bytes, exc: BaseException
    ) -> str | None:
        saved = self._saved_before(holder, digest_of(work))
        if saved is not None:
            return saved
        draft = self._artifacts.draft(
            title,
            work,
            media_type="text/markdown",
            metadata={"refused": one_line(str(exc), 300) or type(exc).__name__},
        )
        return self._keep(holder, [draft], "not accepted")

    def _saved_before(self, holder: Holder, digest: str) -> str | None:
        """Return the artifact that has this content for the task already."""
        saved = self._rooms.store.artifacts(
            ArtifactQuery(task_ids=(holder.task.id,), digest=digest, newest_first=True, limit=1)
        )
        return saved[0].id if saved else None

    def submit(self, holder: Holder, submission: Submission) -> Task:
        """Hand in an attempt's work; see `Orchestrator.complete_task`."""
        recorded = self._recorded_before(holder, submission)
        if recorded is not None:
            return recorded
        if submission.is_completion:
            self._rooms.team.refuse_conflict(holder.task.session_id, lands=False)
        drafts = self._drafts(holder, submission)
        ending = submission.ending
        if submission.next_action is NextAction.NEEDS_REVISION:
            return self.hand_back(holder, ending, drafts)
        if not submission.is_completion:
            return self.finish_saving(holder, ending, drafts)
        holder = attrs.evolve(holder, worktree=self._present_worktree(holder, drafts))
        if holder.worktree is None:
            return self.finish_saving(holder, ending, drafts)
        if self.assignments.is_borrowed(holder.task, holder.worktree):
            return self._submit_recovery(holder, holder.worktree, ending, drafts)
        return self._submit_for_landing(holder, holder.worktree, ending, drafts, submission.merge)

    def _recorded_before(self, holder: Holder, submission: Submission) -> Task | None:
        """Return the task when this very completion was recorded before.

        The files that it names may have gone with the worktree since, so they are not read again.
        """
        brings_files = holder.worktree is not None or submission.file_paths
        if not submission.is_completion or not brings_files:
            return None
        task = self._rooms.scope.task(holder.task)
        if task.status is not TaskStatus.COMPLETED or holder.attempt not in {None, task.attempts}:
            return None
        outputs = dump_json(dict(task.outputs), "outputs")
        same_outputs = outputs == dump_json(dict(submission.outputs), "outputs")
        if task.summary != submission.summary or not same_outputs:
            return None
        digest = submission.digest
        saved = self._rooms.store.artifacts(
            ArtifactQuery(task_ids=(task.id,), include_superseded=True)
        )
        is_saved = any(
            artifact.digest == digest and artifact.attempt == task.attempts for artifact in saved
        )
        return task if is_saved else None

    def _drafts(self, holder: Holder, submission: Submission) -> list[ArtifactDraft]:
        """Put the bytes of the work and of its files where artifacts are kept."""
        root = self._rooms.scope.home.project
        if holder.worktree is not None:
            root = Path(holder.worktree.path)
        files = [self._artifacts.draft_file(path, root=root) for path in submission.file_paths]
        work = self._artifacts.draft(
            holder.task.title,
            submission.detailed_work,
            kind=submission.artifact_type,
            media_type="text/markdown",
            partial=not submission.is_completion,
            supersedes=submission.supersedes,
        )
        return [work, *files]

    def _present_worktree(self, holder: Holder, drafts: Sequence[ArtifactDraft]) -> Worktree | None:
        """Return the holder's worktree as it is now, ``None`` once it was removed.

        Work that went with it before it had landed is not called done.
        """
        if holder.worktree is None:
            return None
        record = self._rooms.worktrees.latest(holder.worktree)
        if self._rooms.is_elsewhere(record):
            self._refuse_elsewhere(holder, record, drafts)
            return None
        if record.state != WorktreeState.REMOVED:
            return record
        task = self._rooms.scope.task(holder.task)
        if task.status.is_terminal or not self._rooms.worktrees.is_removed_unlanded(record):
            return None
        alias = task.alias
        error = GitFailedError(
            f"complete {alias}",
            "its worktree was removed before its work had landed, which is kept under "
            f"{record.rescue_ref}. To go on with it: orch.execute_task({alias!r}, take_over=True) "
            "recreates the worktree. To finish without it: "
            f"orch.execute_task({alias!r}, worktree=False, take_over=True), "
            "and complete what that returns",
        )
        error.kept_artifact_id = self._keep(holder, drafts, "not landed")
        error.add_note(kept_words(error))
        raise error

    def _refuse_elsewhere(
        self, holder: Holder, worktree: Worktree, drafts: Sequence[ArtifactDraft]
    ) -> None:
        """Refuse to call a task done whose files another home has, unless they have landed there.

        Raises:
            WorktreeElsewhereError: With where they are.
        """
        if worktree.state == WorktreeState.REMOVED and not worktree.unlanded:
            return
        task = self._rooms.scope.task(holder.task)
        error = self._rooms.worktrees.elsewhere(task, worktree)
        error.kept_artifact_id = self._keep(holder, drafts, "not landed")
        error.add_note(
            f"{task.alias} is not completed; your work is kept as artifact "
            f"{error.kept_artifact_id}. Complete it in that home, or bring its files, start it "
            f"here (orch.execute_task({task.alias!r})), and complete what that returns"
        )
        raise error

    def _submit_recovery(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: Sequence[ArtifactDraft],
    ) -> Task:
        """Complete a recovery; its files land with the task that it recovers.

        A conflict is not solved while files still have its markers: whoever takes the recovery next
        goes on there.
        """
        try:
            unresolved = self._rooms.worktrees.unresolved(worktree)
        except UNLANDABLE as exc:
            raise self._unlanded(holder, worktree, exc, drafts) from None
        if not unresolved:
            return self.finish_saving(holder, ending, drafts)
        task = self._rooms.scope.task(holder.task)
        may_retry = task.attempts < task.max_attempts
        action = NextAction.NEEDS_REVISION if may_retry else NextAction.BLOCKED
        paths = ", ".join(unresolved)
        reason = f"files still hold both sides of the conflict between markers: {paths}"
        partial = [attrs.evolve(draft, partial=True) for draft in drafts]
        return self.finish_saving(holder, Ending(action=action, reason=reason), partial)

    def _submit_for_landing(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: Sequence[ArtifactDraft],
        merge: str,
    ) -> Task:
        numbered = self._numbered(holder, drafts)
        first = None
        if worktree.task_id != holder.task.id:
            first = self.assignments.recovery_due_first(holder.task, worktree)
        if first is not None:
            reason = f"what is in its worktree conflicts: {first.alias} goes first"
            waiting = attrs.evolve(ending, reason=reason)
            return self._hand_in_or_keep(holder, worktree, waiting, numbered)
        if merge == "later":
            return self._hand_in_or_keep(holder, worktree, ending, numbered)
        return self._land_or_keep(holder, worktree, ending, numbered)

    def _numbered(self, holder: Holder, drafts: Sequence[ArtifactDraft]) -> list[ArtifactDraft]:
        """Give each draft the id it will have, so that the commit's message can name it."""
        task = self._rooms.scope.task(holder.task)
        ids = {}
        if task.status is TaskStatus.IN_PROGRESS:
            for artifact in self._rooms.store.artifacts(ArtifactQuery(task_ids=(task.id,))):
                if artifact.attempt == task.attempts:
                    key = artifact.title, artifact.digest, artifact.kind, artifact.partial
                    ids[key] = artifact.id
        numbered = []
        for draft in drafts:
            known = ids.get((draft.title, draft.digest, draft.kind, draft.partial))
            numbered.append(attrs.evolve(draft, id=known or new_id("a")))
        return numbered

    def _hand_in_or_keep(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: Sequence[ArtifactDraft],
    ) -> Task:
        try:
            return self._hand_in(holder, worktree, ending, drafts)
        except UNLANDABLE as exc:
            raise self._unlanded(holder, worktree, exc, drafts) from None

    def _hand_in(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: Sequence[ArtifactDraft],
    ) -> Task:
        """Hand in finished work that `Worktrees.merge` lands; the task is completed then."""

        @retrying(RefMovedError, times=MERGE_TRIES)
        def hand_in() -> Task:
            note = ending.summary or "handed in"
            snapshot = self._rooms.worktrees.prepare_snapshot(worktree, note=note, whole=True)
            snapshot.refuse_unlandable()
            later = attrs.evolve(ending, later=True, snapshot=snapshot.commit)
            return self.finish(holder, later, drafts, within=snapshot.pin)

        return hand_in()

    # landing

    def land_handed_in(self, task: Task, worktree: Worktree, terms: LandingTerms) -> Landing:
        """Merge work that was handed in earlier, and complete its task.

        Raises:
            MergeConflictError: The task is blocked now, with a recovery task.
            LandingRefusedError: As above.
            DirtyCheckoutError: Nothing was changed.
        """
        agent = self._rooms.scope.agent
        holder = Holder(task=task, attempt=task.attempts, agent=agent, worktree=worktree)
        ending = Ending(action=NextAction.COMPLETE, summary=task.summary, outputs=task.outputs)
        _, outcome = self._land(holder, worktree, ending, [], terms)
        if isinstance(outcome, WorktreeError):
            outcome.add_note(str(self.why(task)))
            raise outcome
        return outcome

    def _land_or_keep(
        self, holder: Holder, worktree: Worktree, ending: Ending, drafts: list[ArtifactDraft]
    ) -> Task:
        """Land; if it remains undecided, raise an error that says where the work is kept."""
        try:
            task, _ = self._land(holder, worktree, ending, drafts, _USUAL_TERMS)
        except DirtyCheckoutError as exc:
            self._hand_in(holder, worktree, attrs.evolve(ending, reason=str(exc)), drafts)
            exc.add_note(
                f"your work is handed in and kept as artifact {drafts[0].id}; "
                "once this is settled: "
                f"orch.worktrees.merge({holder.task.alias!r})"
            )
            raise
        except (WorktreeError, SettingsConflictError) as exc:
            raise self._unlanded(holder, worktree, exc, drafts) from exc.__cause__
        return task

    def _unlanded(
        self,
        holder: Holder,
        worktree: Worktree,
        exc: WorktreeError | SettingsConflictError,
        drafts: Sequence[ArtifactDraft],
    ) -> VesperaError:
        """Keep work whose landing could not be decided, and return the error that says where.

        The task stays with its holder.
        """
        try:
            self._save_files(holder, worktree)
        except LeaseLostError as lost:
            return self.lost(holder, lost, drafts)
        except (WorktreeError, TransitionError) as also:
            log.warning("the files of %s could not be saved: %s", worktree.name, also)
        exc.kept_artifact_id = self._keep(holder, drafts, "not landed")
        task = self._rooms.scope.task(holder.task)
        is_held = task.status is TaskStatus.IN_PROGRESS
        whose = f"the task stays with {holder.agent}" if is_held else "the task was not taken"
        exc.add_note(
            f"{whose}; your work is kept as artifact {exc.kept_artifact_id}. "
            "Complete the task again once this is settled"
        )
        return exc

    def _save_files(self, holder: Holder, worktree: Worktree) -> None:
        """Save the worktree's files, if the holder still holds the task, and renew its lease."""
        attempt = holder.attempt
        if attempt is None:
            return

        @retrying(RefMovedError, times=MERGE_TRIES)
        def save() -> None:
            note = "when it could not land"
            snapshot = self._rooms.worktrees.prepare_snapshot(worktree, note=note)
            self._rooms.store.renew(
                holder.task.id,
                attempt,
                lease_s=lifecycle.LEASE_S,
                snapshot=snapshot.commit,
                within=snapshot.pin,
            )

        save()

    def _land(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: list[ArtifactDraft],
        terms: LandingTerms,
    ) -> tuple[Task, Landing | WorktreeError]:
        """Land, or block the task with a recovery when its work cannot land.

        Returns:
            The task as it is now, and what came of the landing.
        """

        @retrying(RefMovedError, times=MERGE_TRIES)
        def land() -> tuple[Task, Landing | WorktreeError]:
            note = ending.summary or "before landing"
            snapshot = self._rooms.worktrees.prepare_snapshot(worktree, note=note, whole=True)
            try:
                return self._land_once(
                    holder, worktree, ending, drafts, snapshot=snapshot, terms=terms
                )
            except (MergeConflictError, LandingRefusedError) as exc:
                return self._block(
                    holder, worktree, exc, drafts, refused=ending, snapshot=snapshot
                ), exc

        def renew() -> None:
            self._renew_for_check(holder)

        self._rooms.team.refuse_conflict(holder.task.session_id, lands=True)
        with self._rooms.worktrees.landing_lock(terms.check, while_waiting=renew):
            return land()

    def _land_once(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: list[ArtifactDraft],
        *,
        snapshot: Snapshot,
        terms: LandingTerms,
    ) -> tuple[Task, Landing]:
        if terms.check is not None or self._rooms.config.worktrees.check is not None:
            self._renew_for_check(holder)
        snapshot.refuse_unlandable()
        landing = self._rooms.worktrees.prepare_landing(
            worktree,
            message=terms.message or self._message(holder, ending, drafts),
            snapshot=snapshot,
            style=terms.style,
            check=terms.check,
        )
        artifacts = [*_telling_what_changed(drafts, landing), *self._warnings(holder, landing)]
        completed = self._completed(holder.task, ending, artifacts)
        landing = self.with_documents(holder.task.session_id, landing, completed)
        landed = attrs.evolve(
            ending,
            landed=landing.commit,
            snapshot=snapshot.commit,
            reason=self._nothing_landed(holder, worktree, landing),
        )
        task = self.finish(holder, landed, artifacts, within=landing.apply, update_documents=False)
        self._tidy_up(holder, worktree, landing)
        self._update_documents(holder.task)
        return task, landing

    def _nothing_landed(self, holder: Holder, worktree: Worktree, landing: Landing) -> str | None:
        """Say so when the task is completed without a change in its worktree."""
        if not landing.is_empty or worktree.landed is not None:
            return None
        log.warning("%s is completed, and changed nothing in its worktree", holder.task.alias)
        return NOTHING_LANDED

    def _tidy_up(self, holder: Holder, worktree: Worktree, landing: Landing) -> None:
        """Record the landing, and remove the worktree unless other tasks share it."""
        try:
            self._rooms.worktrees.record_landing(worktree, landing)
            if worktree.task_id == holder.task.id:
                self._rooms.worktrees.remove(worktree)
        except VesperaError as exc:  # the task is completed; worktrees.repair() removes it later
            log.warning("%s was merged, but its worktree stays for now: %s", worktree.name, exc)

    def _renew_for_check(self, holder: Holder) -> None:
        """Renew the lease for as long as the check before landing may take."""
        if holder.attempt is None:
            return
        check_s = self._rooms.config.worktrees.check_timeout_s + _CHECK_MARGIN_S
        lease_s = max(lifecycle.LEASE_S, check_s)
        self._rooms.store.renew(holder.task.id, holder.attempt, lease_s=lease_s)

    def _message(self, holder: Holder, ending: Ending, drafts: Sequence[ArtifactDraft]) -> str:
        ids = [str(draft.id) for draft in drafts]
        if not ids:
            saved = self._rooms.store.artifacts(ArtifactQuery(task_ids=(holder.task.id,)))
            ids = [artifact.id for artifact in saved]
        return landing_message(holder.task, ending.summary, ids)

    def _warnings(self, holder: Holder, landing: Landing) -> list[ArtifactDraft]:
        if not landing.reverts:
            return []
        reverts = ", ".join(map(str, landing.reverts))
        log.warning("%s undoes what others landed: %s", landing.worktree, reverts)
        warning = self._artifacts.draft(
            f"Work by others undone: {holder.task.title}",
            landing.revert_report,
            kind=ArtifactKind.WARNING,
            media_type="text/markdown",
        )
        return [warning]

    def _block(
        self,
        holder: Holder,
        worktree: Worktree,
        exc: MergeConflictError | LandingRefusedError,
        drafts: Sequence[ArtifactDraft],
        *,
        refused: Ending,
        snapshot: Snapshot,
    ) -> Task:
        """Block the task, with a recovery task that carries the report."""
        context: dict[str, JsonValue] = {
            "integration_branch": exc.branch,
            "integration": self._rooms.worktrees.position().integration,
            "worktree": worktree.name,
        }
        if isinstance(exc, MergeConflictError):
            kind, heading = ArtifactKind.CONFLICT, "Merge conflict"
            context["conflict_paths"] = list(exc.paths)
        else:
            kind, heading = ArtifactKind.REFUSAL, "Landing refused"
            context["refused"] = exc.reason
        title = f"{heading}: {holder.task.title}"
        report = self._artifacts.draft(
            title,
            exc.report,
            kind=kind,
            media_type="text/markdown",
            metadata=handed_in.note_for(refused),
        )
        ending = Ending(
            action=NextAction.BLOCKED,
            reason=str(exc),
            recovery=context,
            snapshot=snapshot.commit,
        )
        partial = [attrs.evolve(draft, id=None, partial=True) for draft in drafts]
        return self.finish(holder, ending, [*partial, report], within=snapshot.pin)

    # ending an attempt

    def hand_back(
        self, holder: Holder, ending: Ending, drafts: Sequence[ArtifactDraft] = ()
    ) -> Task:
        """End an attempt that gives its task back. Too many without progress block the task."""
        most = self._rooms.config.delegation.empty_rounds
        return self.finish_saving(holder, attrs.evolve(ending, most_empty_rounds=most), drafts)

    def finish_saving(
        self, holder: Holder, ending: Ending, drafts: Sequence[ArtifactDraft] = ()
    ) -> Task:
        """End the attempt with the worktree's files saved in the same step.

        The ref moves inside the fenced transaction: never for a holder that was replaced.
        """

        def finish(snapshot: Snapshot | None, trouble: str) -> Task:
            saved = self._with_snapshot(holder, ending, snapshot, trouble)
            return self.finish(holder, saved, drafts, within=snapshot.pin if snapshot else None)

        note = ending.reason or "released"
        return self._files.write_saving(holder.worktree, note, finish)

    def _with_snapshot(
        self, holder: Holder, ending: Ending, snapshot: Snapshot | None, trouble: str
    ) -> Ending:
        if holder.worktree is None:
            return ending
        context: dict[str, JsonValue] = {**ending.recovery, "worktree": holder.worktree.name}
        if trouble:
            context["not_saved"] = trouble
        if snapshot is None:
            return attrs.evolve(ending, recovery=context)
        return attrs.evolve(
            ending,
            snapshot=snapshot.commit,
            recovery=context,
            files_changed=snapshot.changed,
        )

    def finish(
        self,
        holder: Holder,
        ending: Ending,
        drafts: Sequence[ArtifactDraft] = (),
        *,
        within: Callable[[], None] | None = None,
        update_documents: bool = True,
    ) -> Task:
        """End the attempt in the store, and keep what came with it when the store refuses."""
        task = holder.task
        try:
            finished = self._rooms.store.finish(
                task.id, holder.attempt, ending, agent=holder.agent, artifacts=drafts, within=within
            )
        except LeaseLostError as exc:
            raise self.lost(holder, exc, drafts) from None
        except TransitionError as exc:
            is_refused = type(exc) is TransitionError or exc.state == TaskStatus.IN_PROGRESS
            if drafts and is_refused:
                exc.kept_artifact_id = self._keep(holder, drafts, "late")
                exc.add_note(kept_words(exc))
            raise
        if ending.action is not NextAction.CONTINUE:
            self.attempts.pop(task.id, None)
        self._gathering.after(finished.task)
        if update_documents and finished.task.status.is_terminal:
            self._update_documents(task)
        return finished.task

    def lost(
        self, holder: Holder, exc: LeaseLostError, drafts: Sequence[ArtifactDraft]
    ) -> LeaseLostError:
        """Keep the work of a replaced holder, and return the error that says where."""
        return attrs.evolve(exc, kept_artifact_id=self._keep(holder, drafts, "late"))

    def refuse_lost(self, task: Task) -> None:
        """Refuse a holder of this process that has lost the task.

        Raises:
            LeaseLostError: Nothing was changed.
        """
        attempt = self.attempts.get(task.id)
        if attempt is None:
            return
        if attempt != task.attempts or task.status is not TaskStatus.IN_PROGRESS:
            where = f"the task is {task.status}, at attempt {task.attempts}"
            raise LeaseLostError(task.alias, attempt, where)

    def _keep(self, holder: Holder, drafts: Sequence[ArtifactDraft], why: str) -> str | None:
        """Save work that was not accepted, under a title that never passes for accepted work.

        What an earlier call has saved, refused or handed in, is not saved again.
        """
        ids = [self._keep_draft(holder, draft, why) for draft in drafts]
        return ids[0] if ids else None

    def _keep_draft(self, holder: Holder, draft: ArtifactDraft, why: str) -> str:
        saved = self._saved_before(holder, draft.digest)
        if saved is not None:
            return saved
        title = f"{draft.title} ({why}, by {holder.agent})"
        late = attrs.evolve(draft, title=title, kind=ArtifactKind.LATE, partial=True)
        artifact = self._rooms.store.save_artifact(
            holder.task.session_id,
            late,
            task_id=holder.task.id,
            attempt=None,
            agent=holder.agent,
        )
        return artifact.id

    def why(self, task: Task) -> Why:
        """Say what keeps the task from being ready, and what it builds on that has changed."""
        store = self._rooms.store
        outdated = store.context_uses(task_id=task.id, outdated=True, limit=10)
        return attrs.evolve(causes.why(store.situation(task.id)), outdated=tuple(outdated))

    def ended(self, task: Task) -> None:
        """Do what follows if a person, or the world outside, has ended the task."""
        self._gathering.after(task)

    # documents

    def _keeps_documents(self, session_id: str) -> bool:
        session = self._rooms.scope.session(session_id)
        if session.project_type is None and session.parent_session_id is None:
            return False
        return self._rooms.config.documents.enabled

    def with_documents(
        self, session_id: str, landing: Landing, completed: LandingTask | None = None
    ) -> Landing:
        """Return a landing that brings the documents along, as they are once the work has landed.

        Whatever is wrong with them never keeps the work from landing.

        Args:
            session_id: The session whose work it is.
            landing: What lands.
            completed: The task that is completed by it, if one is.
        """
        if not landing.changed or not self._keeps_documents(session_id):
            return landing
        try:
            texts = self._rooms.documents.prepare_landing(session_id, landing.files(), completed)
            return landing.with_files(texts) if texts else landing
        except VesperaError as exc:
            log.warning("the documents do not land with the work: %s", exc)
        except Exception:  # also where a library stumbles over somebody's text
            log.exception("the documents do not land with the work")
        return landing

    def _completed(
        self, task: Task, ending: Ending, drafts: Sequence[ArtifactDraft]
    ) -> LandingTask:
        """Return the task as it will be once its work has landed."""
        now = self._rooms.clock()
        completed = attrs.evolve(
            self._rooms.scope.task(task),
            status=TaskStatus.COMPLETED,
            summary=ending.summary,
            outputs=ending.outputs,
            ended_at=now,
        )
        artifacts = [_as_artifact(draft, completed, now) for draft in drafts]
        supersedes = {
            earlier_id: artifact.id
            for draft, artifact in zip(drafts, artifacts, strict=True)
            for earlier_id in draft.supersedes
        }
        from vespera_orchestrator.documents.collection import LandingTask

        return LandingTask(task=completed, artifacts=tuple(artifacts), supersedes=supersedes)

    def _update_documents(self, task: Task) -> None:
        if not self._keeps_documents(task.session_id):
            return
        session = self._rooms.scope.session(task.session_id)
        try:
            report = self._rooms.documents.update(session=session.id)
        except VesperaError as exc:  # a view may fail without failing the work
            log.warning("the documents are behind: %s", exc)
            return
        except Exception:  # also where a library stumbles over somebody's text
            log.exception("the documents are behind")
            return
        needs_attention = report.errors or report.edited
        log.log(logging.WARNING if needs_attention else logging.INFO, "%s", report)


def _as_artifact(draft: ArtifactDraft, task: Task, at: datetime) -> Artifact:
    """Return what a draft becomes when its task is completed."""
    return Artifact(
        id=draft.id or new_id("a"),
        session_id=task.session_id,
        task_id=task.id,
        attempt=task.attempts,
        agent=None,
        kind=draft.kind,
        title=draft.title,
        media_type=draft.media_type,
        digest=draft.digest,
        size_bytes=draft.size_bytes,
        version=1,
        supersedes_id=None,
        superseded=False,
        partial=draft.partial,
        tags=draft.tags,
        metadata=draft.metadata,
        created_at=at,
        home_id=draft.home_id,
    )


def _as_text(work: object) -> str | bytes:
    """Return work of whatever type as something that a file can hold."""
    if isinstance(work, io.StringIO | io.BytesIO):
        return work.getvalue()
    if isinstance(work, bytearray | memoryview):
        return bytes(work)
    if isinstance(work, str | bytes):
        return work
    try:
        return dump_json(cast("JsonValue", work), "work")
    except InvalidInputError:
        return str(work)


def _telling_what_changed(
    drafts: Sequence[ArtifactDraft], landing: Landing
) -> Sequence[ArtifactDraft]:
    """Let the record of the work name every file that its landing changes."""
    paths = landing.changed_paths[:_MAX_CHANGED_PATHS]
    if not drafts or not paths:
        return drafts
    record, *files = drafts
    metadata = {**record.metadata, CHANGED_PATHS: list(paths)}
    return [attrs.evolve(record, metadata=metadata), *files]
