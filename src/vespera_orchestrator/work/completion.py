"""How what an agent made reaches the store, the integration branch and the documents."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import ArtifactQuery, Ending, NextAction, Task, TaskStatus, new_id
from vespera_orchestrator.errors import (
    DirtyCheckoutError,
    GitFailedError,
    InvalidInputError,
    LandingRefusedError,
    LeaseLostError,
    MergeConflictError,
    RefMovedError,
    TransitionError,
    VesperaError,
    WorktreeError,
)
from vespera_orchestrator.tasks import lifecycle, plans
from vespera_orchestrator.work import assignment

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vespera_orchestrator._model import ArtifactDraft, Attempt, Checkpoint, JsonValue, Worktree
    from vespera_orchestrator.orchestrator import Orchestrator
    from vespera_orchestrator.worktrees.engine import Terms
    from vespera_orchestrator.worktrees.landing import Landing
    from vespera_orchestrator.worktrees.snapshot import Snapshot


log = logging.getLogger("vespera_orchestrator")

MERGE_TRIES: Final = 50
"""How often a landing is prepared anew because another one was faster."""


@attrs.frozen(kw_only=True)
class Holder:
    """Who acts on a task, and under which attempt; ``None`` for whichever is current."""

    task: Task
    attempt: int | None
    agent: str


class Handover:
    """Takes what an attempt hands in to where it belongs: artifacts, store, integration branch, documents."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orch = orchestrator
        self.places = assignment.Places(orchestrator._scope, lambda: orchestrator.worktrees)
        """Which worktree each task works in."""
        self.held: dict[str, int] = {}
        """The attempts this process has taken, by task. One that was lost stays remembered: it must stay refused."""

    def hand_in(
        self,
        holder: Holder,
        *,
        summary: str,
        detailed_work: str | bytes,
        file_paths: Iterable[str | os.PathLike[str]],
        artifact_type: str,
        outputs: Mapping[str, JsonValue] | None,
        next_action: str,
        merge: str,
        worktree_of: Callable[[], Worktree | None] | None = None,
    ) -> Task:
        """Hand in an attempt's work; see `Orchestrator.complete_task`."""
        action, task = plans.action(next_action), holder.task
        if merge not in {"now", "later"}:
            raise InvalidInputError("merge", f"{merge!r} should be 'now' or 'later'")
        given = plans.mapping("outputs", outputs)
        dump_json(given, "outputs")
        worktree = (
            self.places.of(self._orch._scope.task(task)) if worktree_of is None else worktree_of()
        )
        files = plans.paths(file_paths)
        if action is NextAction.COMPLETE and (worktree is not None or files):
            before = self._said_before(holder, summary, detailed_work, given)
            if before is not None:
                return before
        drafts = self._drafts_of_work(
            task,
            worktree,
            detailed_work,
            artifact_type,
            files,
            partial=action is not NextAction.COMPLETE,
        )
        ending = Ending(
            action=action,
            summary=summary,
            outputs=given,
            reason=None if action is NextAction.COMPLETE else summary,
        )
        if worktree is not None and action is NextAction.COMPLETE:
            worktree = self._standing(holder, worktree, drafts)
        if worktree is None or action is not NextAction.COMPLETE:
            return self.finish_saving(holder, worktree, ending, drafts)
        if self.places.is_lent(task, worktree):  # its work will land with the task that it recovers
            left = self._orch.worktrees.unsolved(worktree)
            return (
                self._give_back(holder, worktree, left, drafts)
                if left
                else self.finish_saving(holder, worktree, ending, drafts)
            )
        drafts = self._numbered(holder, drafts)
        waits_for = self.places.waits_for(task, worktree) if worktree.task_id != task.id else None
        if merge == "now" and waits_for is None:
            return self._land(holder, worktree, ending, drafts)
        if waits_for is not None:
            ending = attrs.evolve(
                ending, reason=f"what is in its worktree conflicts: {waits_for.alias} goes first"
            )
        return self._hand_over_later(holder, worktree, ending, drafts)

    def _standing(
        self, holder: Holder, worktree: Worktree, drafts: Sequence[ArtifactDraft]
    ) -> Worktree | None:
        """Return the worktree as it is now, ``None`` once it is gone; work that went with it before it had landed is not called done."""
        record = next(
            iter(self._orch._store.worktrees(name=worktree.name, include_removed=True)), worktree
        )
        if record.state != "removed":
            return record
        now = self._orch._scope.task(holder.task)
        if now.status.is_terminal or not self._orch.worktrees.is_removed_unlanded(record):
            return None
        reason = (
            f"its worktree was removed before its work had landed, which is kept under {record.rescue_ref}. To go on with it: "
            f"orch.execute_task({now.alias!r}, take_over=True) makes the worktree again. To finish without it: "
            f"orch.execute_task({now.alias!r}, worktree=False, take_over=True), and complete what that returns"
        )
        exc = GitFailedError(f"complete {now.alias}", reason)
        exc.add_note(
            f"what was brought is kept as artifact {self._keep(holder, drafts, 'not landed')}"
        )
        raise exc

    def _give_back(
        self,
        holder: Holder,
        worktree: Worktree,
        left: Sequence[str],
        drafts: Sequence[ArtifactDraft],
    ) -> Task:
        """Do not call a conflict solved whose files still have the markers: whoever takes the recovery next goes on there."""
        now = self._orch._scope.task(holder.task)
        action = (
            NextAction.NEEDS_REVISION if now.attempts < now.max_attempts else NextAction.BLOCKED
        )
        ending = Ending(
            action=action,
            reason=f"files still hold both sides of the conflict between markers: {', '.join(left)}",
        )
        return self.finish_saving(
            holder, worktree, ending, [attrs.evolve(draft, partial=True) for draft in drafts]
        )

    def _said_before(
        self,
        holder: Holder,
        summary: str,
        detailed_work: str | bytes,
        outputs: Mapping[str, JsonValue],
    ) -> Task | None:
        """Return the task when this very completion was recorded before: the files it names may be gone with the worktree since."""
        now = self._orch._scope.task(holder.task)
        if now.status is not TaskStatus.COMPLETED or holder.attempt not in {None, now.attempts}:
            return None
        if now.summary != summary or dump_json(dict(now.outputs), "outputs") != dump_json(
            dict(outputs), "outputs"
        ):
            return None
        text = (
            detailed_work
            if isinstance(detailed_work, bytes)
            else str(detailed_work).encode("utf-8", "surrogatepass")
        )
        digest = hashlib.sha256(text).hexdigest()
        found = self._orch._store.artifacts(
            ArtifactQuery(task_ids=(now.id,), include_superseded=True)
        )
        return (
            now
            if any(
                artifact.digest == digest and artifact.attempt == now.attempts for artifact in found
            )
            else None
        )

    def _drafts_of_work(
        self,
        task: Task,
        worktree: Worktree | None,
        detailed_work: str | bytes,
        kind: str,
        file_paths: Sequence[str | os.PathLike[str]],
        *,
        partial: bool,
    ) -> list[ArtifactDraft]:
        if not isinstance(detailed_work, str | bytes):
            raise InvalidInputError(
                "detailed_work", f"{detailed_work!r} should be the work itself, as text or bytes"
            )
        root = Path(worktree.path) if worktree is not None else self._orch.project
        files = [self._orch.artifacts.draft_file(path, root=root) for path in file_paths]
        work = self._orch.artifacts.draft(
            task.title, detailed_work, kind=kind, media_type="text/markdown", partial=partial
        )
        return [work, *files]

    def finish_saving(
        self,
        holder: Holder,
        worktree: Worktree | None,
        ending: Ending,
        drafts: Sequence[ArtifactDraft],
    ) -> Task:
        """Finish with the worktree's files saved: the ref moves within the fenced transaction, never for a holder that was replaced."""
        for _ in range(MERGE_TRIES):
            saved, trouble = self.try_snapshot(worktree, ending.reason or "released")
            if worktree is not None:
                more = {
                    **ending.recovery,
                    "worktree": worktree.path,
                    **({"not_saved": trouble} if trouble else {}),
                }
                ending = attrs.evolve(
                    ending, snapshot=saved.commit if saved else None, recovery=more
                )
            try:
                return self.finish(holder, ending, drafts, within=saved.pin if saved else None)
            except RefMovedError:
                continue
        raise RefMovedError("refs/vespera/wip", "", f"another snapshot, {MERGE_TRIES} times over")

    def save_left_behind(self, attempt: Attempt) -> None:
        """Save the files of an attempt that was ended because its holder fell silent."""
        task = self._orch._store.find_task(attempt.task_id, None)
        if task is not None:
            self._save(task, f"as attempt {attempt.number} by {attempt.agent} left it")

    def save_cancelled(self, task: Task) -> None:
        """Save the files of a task that was cancelled while somebody worked on it."""
        if task.attempts:
            self._save(task, "as it was when the task was cancelled")

    def left_out(self, checkpoint: Checkpoint | None) -> tuple[str, ...]:
        """Return the files that a checkpoint's snapshot had to leave out."""
        if checkpoint is None or checkpoint.snapshot is None:
            return ()
        try:
            return self._orch.worktrees.left_out(checkpoint.snapshot)
        except WorktreeError:
            return ()

    def _save(self, task: Task, note: str) -> None:
        worktree = self.places.of(task)
        if worktree is None or worktree.state == "removed":
            return
        try:
            self._orch.worktrees.snapshot(worktree, note=note)
        except WorktreeError as exc:  # its last snapshot remains
            log.warning("the files of %s could not be saved: %s", worktree.name, exc)

    def try_snapshot(
        self, worktree: Worktree | None, note: str, *, passing: bool = False
    ) -> tuple[Snapshot | None, str]:
        """Take a snapshot if that can be done: a worktree that is gone must not keep anybody from saying how the work went."""
        if worktree is None:
            return None, ""
        try:
            return self._orch.worktrees.prepare_snapshot(worktree, note=note, passing=passing), ""
        except WorktreeError as exc:
            log.warning("the files of %s could not be saved: %s", worktree.name, exc)
            return None, str(exc)

    def _numbered(self, holder: Holder, drafts: Sequence[ArtifactDraft]) -> list[ArtifactDraft]:
        """Give each draft the id under which it will be found, so that the commit's message can name it."""
        now = self._orch._scope.task(holder.task)
        saved = (
            self._orch._store.artifacts(ArtifactQuery(task_ids=(now.id,)))
            if now.status is TaskStatus.IN_PROGRESS
            else []
        )
        ids = {
            (a.title, a.digest, a.kind, a.partial): a.id for a in saved if a.attempt == now.attempts
        }
        return [
            attrs.evolve(
                draft,
                id=ids.get((draft.title, draft.digest, draft.kind, draft.partial)) or new_id("a"),
            )
            for draft in drafts
        ]

    def _hand_over_later(
        self, holder: Holder, worktree: Worktree, ending: Ending, drafts: Sequence[ArtifactDraft]
    ) -> Task:
        """Hand finished work in that is merged by `Worktrees.merge`; the task is completed then."""
        for _ in range(MERGE_TRIES):
            snapshot = self._orch.worktrees.prepare_snapshot(
                worktree, note=ending.summary or "handed in", whole=True
            )
            try:
                return self.finish(
                    holder,
                    attrs.evolve(ending, later=True, snapshot=snapshot.commit),
                    drafts,
                    within=snapshot.pin,
                )
            except RefMovedError:
                continue
        raise RefMovedError("refs/vespera/wip", "", f"another snapshot, {MERGE_TRIES} times over")

    def refuse_lost(self, task: Task) -> None:
        """Refuse whoever worked on the task and was replaced, or had it taken away.

        Raises:
            LeaseLostError: Nothing was changed.
        """
        mine = self.held.get(task.id)
        if mine is not None and (
            mine != task.attempts or task.status is not TaskStatus.IN_PROGRESS
        ):
            raise LeaseLostError(
                task.alias, mine, f"the task is {task.status}, at attempt {task.attempts}"
            )

    def land_handed_in(self, task: Task, worktree: Worktree, terms: Terms) -> Landing:
        """Merge what was handed in to be merged later, and complete its task.

        Raises:
            MergeConflictError: The task is blocked now, with a recovery task.
            LandingRefusedError: Likewise.
            DirtyCheckoutError: Nothing was changed.
        """
        holder = Holder(task=task, attempt=task.attempts, agent=self._orch.agent)
        ending = Ending(action=NextAction.COMPLETE, summary=task.summary, outputs=task.outputs)
        _, outcome = self._try_landing(holder, worktree, ending, [], terms)
        if isinstance(outcome, WorktreeError):
            outcome.add_note(str(self._orch.why(task)))
            raise outcome
        return outcome

    def _land(
        self, holder: Holder, worktree: Worktree, ending: Ending, drafts: list[ArtifactDraft]
    ) -> Task:
        try:
            return self._try_landing(holder, worktree, ending, drafts)[0]
        except DirtyCheckoutError as exc:
            self._hand_over_later(holder, worktree, attrs.evolve(ending, reason=str(exc)), drafts)
            exc.add_note(
                f"the work is handed in, what was brought is kept as artifact {drafts[0].id}; once this is settled: "
                f"orch.worktrees.merge({holder.task.alias!r})"
            )
            raise
        except WorktreeError as exc:
            kept = self._keep(holder, drafts, "not landed")
            exc.add_note(
                f"the task stays with {holder.agent}; what was brought is kept as artifact {kept}, complete it again once this is settled"
            )
            raise

    def _try_landing(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: list[ArtifactDraft],
        terms: Terms | None = None,
    ) -> tuple[Task, Landing | WorktreeError]:
        """Land, or block the task with a recovery when its work cannot land; return the task and what came of it."""
        check = None if terms is None else terms.check
        with self._orch.worktrees.turn(check, while_waiting=lambda: self._keep_hold(holder)):
            for remaining in reversed(range(MERGE_TRIES)):
                snapshot = self._orch.worktrees.prepare_snapshot(
                    worktree, note=ending.summary or "before landing", whole=True
                )
                try:
                    return self._land_once(
                        holder, worktree, ending, drafts, snapshot=snapshot, terms=terms
                    )
                except (MergeConflictError, LandingRefusedError) as exc:
                    return self._block(holder, worktree, exc, drafts, snapshot), exc
                except RefMovedError:
                    if not remaining:
                        raise
        raise AssertionError  # pragma: no cover - the last round raises or returns

    def _land_once(
        self,
        holder: Holder,
        worktree: Worktree,
        ending: Ending,
        drafts: list[ArtifactDraft],
        *,
        snapshot: Snapshot,
        terms: Terms | None,
    ) -> tuple[Task, Landing]:
        style, check = (None, None) if terms is None else (terms.style, terms.check)
        if check is not None or self._orch._scope.home.config.check is not None:
            self._keep_hold(holder)
        message = (
            terms.message
            if terms is not None and terms.message
            else self._message(holder, ending, drafts)
        )
        landing = self._orch.worktrees.prepare_landing(
            worktree, message=message, snapshot=snapshot, style=style, check=check
        )
        drafts = [*drafts, *self._warnings(holder, landing)]
        ending = attrs.evolve(ending, landed=landing.commit, snapshot=snapshot.commit)
        done = self.finish(holder, ending, drafts, within=landing.apply, follow=False)
        try:
            self._orch.worktrees.record_landing(worktree, landing)
            if worktree.task_id == holder.task.id:  # one that others work in as well stays
                self._orch.worktrees.remove(worktree)
        except VesperaError as exc:  # the task is completed; worktrees.repair() takes away what could not be removed now
            log.warning("%s was merged, but its worktree stays for now: %s", worktree.name, exc)
        self._update_documents(holder.task)
        return done, landing

    def _keep_hold(self, holder: Holder) -> None:
        """Renew the hold for as long as the check before landing may take."""
        if holder.attempt is not None:
            lease_s = max(lifecycle.LEASE_S, self._orch._scope.home.config.check_timeout_s + 60.0)
            self._orch._store.renew(holder.task.id, holder.attempt, lease_s=lease_s)

    def _message(self, holder: Holder, ending: Ending, drafts: Sequence[ArtifactDraft]) -> str:
        from vespera_orchestrator.worktrees.engine import landing_message

        ids = [str(draft.id) for draft in drafts] or [
            artifact.id
            for artifact in self._orch._store.artifacts(ArtifactQuery(task_ids=(holder.task.id,)))
        ]
        return landing_message(holder.task, ending.summary, ids)

    def _warnings(self, holder: Holder, landing: Landing) -> list[ArtifactDraft]:
        if not landing.reverts:
            return []
        log.warning(
            "%s takes back what others landed: %s",
            landing.worktree,
            ", ".join(map(str, landing.reverts)),
        )
        title = f"Work of others undone: {holder.task.title}"
        return [
            self._orch.artifacts.draft(
                title, landing.revert_report, kind="warning", media_type="text/markdown"
            )
        ]

    def _block(
        self,
        holder: Holder,
        worktree: Worktree,
        exc: MergeConflictError | LandingRefusedError,
        drafts: list[ArtifactDraft],
        snapshot: Snapshot,
    ) -> Task:
        conflict = isinstance(exc, MergeConflictError)
        title = f"{'Merge conflict' if conflict else 'Landing refused'}: {holder.task.title}"
        told = self._orch.artifacts.draft(
            title,
            exc.report,
            kind="conflict" if conflict else "refusal",
            media_type="text/markdown",
        )
        more: dict[str, JsonValue] = {"integration_branch": exc.branch, "worktree": worktree.path}
        more |= (
            {"conflict_paths": list(exc.paths)}
            if isinstance(exc, MergeConflictError)
            else {"refused": exc.reason}
        )
        ending = Ending(
            action=NextAction.BLOCKED, reason=str(exc), recovery=more, snapshot=snapshot.commit
        )
        kept = [attrs.evolve(draft, id=None, partial=True) for draft in drafts]
        return self.finish(holder, ending, [*kept, told], within=snapshot.pin)

    def finish(
        self,
        holder: Holder,
        ending: Ending,
        drafts: Sequence[ArtifactDraft] = (),
        *,
        within: Callable[[], None] | None = None,
        follow: bool = True,
    ) -> Task:
        """End the attempt in the store, and keep what was brought when the store refuses it."""
        task, agent = holder.task, holder.agent
        try:
            finished = self._orch._store.finish(
                task.id, holder.attempt, ending, agent=agent, artifacts=drafts, within=within
            )
        except LeaseLostError as exc:
            raise self.lost(holder, exc, drafts) from None
        except TransitionError as exc:
            if drafts and (type(exc) is TransitionError or exc.state == TaskStatus.IN_PROGRESS):
                exc.add_note(
                    f"what you brought is kept as artifact {self._keep(holder, drafts, 'late')}"
                )
            raise
        if ending.action is not NextAction.CONTINUE:
            self.held.pop(task.id, None)
        if follow and finished.task.status.is_terminal:
            self._update_documents(task)
        return finished.task

    def lost(
        self, holder: Holder, exc: LeaseLostError, drafts: Sequence[ArtifactDraft]
    ) -> LeaseLostError:
        """Keep what the holder brought and return the error that tells both. The lost attempt stays remembered: it must stay refused."""
        return attrs.evolve(exc, kept_artifact_id=self._keep(holder, drafts, "late"))

    def _keep(self, holder: Holder, drafts: Sequence[ArtifactDraft], why: str) -> str | None:
        """Keep what was brought and not accepted, under a title of its own so that it never passes for accepted work."""
        kept = [
            self._orch._store.save_artifact(
                holder.task.session_id,
                attrs.evolve(
                    draft,
                    title=f"{draft.title} ({why}, by {holder.agent})",
                    kind="late",
                    partial=True,
                ),
                task_id=holder.task.id,
                attempt=None,
                agent=holder.agent,
            )
            for draft in drafts
        ]
        return kept[0].id if kept else None

    def _update_documents(self, task: Task) -> None:
        session = self._orch._scope.session(task.session_id)
        if not self._orch._scope.home.config.documents or (
            session.project_type is None and session.parent_session_id is None
        ):
            return
        try:
            report = self._orch.documents.update(session=session.id)
        except VesperaError as exc:  # a view may fail without failing the work; documents.check() and the next update tell it again
            log.warning("the documents are behind: %s", exc)
        else:
            log.log(logging.WARNING if report.errors or report.kept else logging.INFO, "%s", report)
