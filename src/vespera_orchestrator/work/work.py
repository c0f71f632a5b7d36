"""A task in somebody's hands, and how what they made reaches the store, the integration branch and the documents."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import Ending, NextAction, Task
from vespera_orchestrator._text import one_line, tokens
from vespera_orchestrator.errors import (
    DirtyCheckoutError,
    InvalidInputError,
    LeaseLostError,
    RefMovedError,
    VesperaError,
)
from vespera_orchestrator.progress.briefing import WorkFacts, work_briefing
from vespera_orchestrator.progress.synthesis import MIN_EXCERPT_TOKENS
from vespera_orchestrator.tasks import plans
from vespera_orchestrator.work.completion import MERGE_TRIES, Holder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    from vespera_orchestrator._model import Artifact, Attempt, Checkpoint, Claim, JsonValue
    from vespera_orchestrator.orchestrator import Orchestrator
    from vespera_orchestrator.work import assignment
    from vespera_orchestrator.worktrees.snapshot import Snapshot

log = logging.getLogger("vespera_orchestrator")

_Written = TypeVar("_Written")


class Work:
    """A task in the hands of one agent. Made by `Orchestrator.execute_task`.

    As a ``with`` block: leaving it by an exception blocks the task with its partial work kept; leaving it by an interruption
    (``KeyboardInterrupt``, ``SystemExit``) or without a word releases the task, its partial work kept. Either way exceptions propagate.
    """

    def __init__(
        self,
        orchestrator: Orchestrator,
        claim: Claim,
        place: assignment.Place | None,
        lease_s: float,
    ) -> None:
        self._orch = orchestrator
        self.task = claim.task
        """The task, as it was when the work began."""
        self.attempt = claim.attempt
        """This try; its number fences every write."""
        self.resumed_from = claim.resumed_from
        """The last checkpoint of an earlier attempt, if there is one."""
        self.worktree = None if place is None else place.worktree
        """The worktree, if the task has one."""
        self.conflicts: tuple[str, ...] = () if place is None else place.conflicts
        """Files in the worktree that hold both sides of a conflict between markers, to be corrected."""
        self._behind = "" if place is None else place.behind
        self.left_out: tuple[str, ...] = ()
        """Files that the last save of the worktree had to leave out: untracked ones above ``max_file_bytes``, repositories of their own."""
        self.not_saved = ""
        """Why the worktree's files could not be saved the last time, e.g. because it was removed; empty when they were."""
        self._lease_s = lease_s
        self._saved_at: datetime | None = None
        self._open = True

    def __repr__(self) -> str:
        return f"<Work on {self.task.alias}, attempt {self.attempt.number} by {self.attempt.agent}{'' if self._open else ', over'}>"

    @property
    def path(self) -> Path | None:
        """The folder of its worktree, or ``None`` without one."""
        return None if self.worktree is None else Path(self.worktree.path)

    def briefing(self, budget_tokens: int = 4000) -> str:
        """Write what is needed to start: the task, the last checkpoint, what its dependencies brought, related passages.

        The passages are those of `Artifacts.context`, and which artifact versions they are from is recorded with the task.

        Args:
            budget_tokens: About how long it may be; one token is counted as four characters.
        """
        plans.at_least(1, budget_tokens, "budget_tokens")
        orch = self._orch
        facts = WorkFacts(
            goal=orch._scope.session(self.task.session_id).goal,
            task=self.task,
            attempt=self.attempt,
            resumed_from=self.resumed_from,
            folder=None if self.worktree is None else self.worktree.path,
            conflicts=self.conflicts,
            behind=self._behind,
            not_saved=self.left_out or orch._handover.left_out(self.resumed_from),
            needed=list(orch._store.situation(self.task.id).needed.values()),
        )
        text = work_briefing(facts, budget_tokens=budget_tokens)
        left = budget_tokens - tokens(text) - 1  # the blank line between the two
        if left < MIN_EXCERPT_TOKENS:
            return text
        query = f"{self.task.title} {self.task.description}"[:1000]
        context = str(orch.artifacts.context(query, task=self.task, budget_tokens=left))
        return f"{text}\n\n{context}" if context else text

    def checkpoint(
        self, state: JsonValue, note: str = "", progress: float | None = None
    ) -> Checkpoint:
        """Save what the next attempt would need to go on from here, and renew the hold. The worktree's files are saved with it.

        Files that could not be saved are named in `left_out`, and by the event ``checkpoint_saved``; when none could, the state is saved
        without them, and `not_saved` says why.

        Args:
            state: Anything JSON can hold.
            note: One line for people.
            progress: Share that is done, 0 to 1.

        Raises:
            LeaseLostError: Another attempt has taken the task; the state is kept as an artifact, and no ref was moved.
        """
        if progress is not None and not (plans.is_number(progress) and 0 <= progress <= 1):
            raise InvalidInputError("progress", f"{progress!r} is not between 0 and 1")
        orch = self._orch
        try:
            return self._saving(
                lambda saved: orch._store.checkpoint(
                    self.task.id,
                    self.attempt.number,
                    state,
                    note=note,
                    progress=None if progress is None else float(progress),
                    snapshot=None if saved is None else saved.commit,
                    left_out=self.left_out,
                    lease_s=self._lease_s,
                    within=None if saved is None else saved.pin,
                ),
                note,
            )
        except LeaseLostError as exc:
            late = orch.artifacts.draft(
                f"{self.task.title}: checkpoint",
                {"note": note, "progress": progress, "state": state},
            )
            raise orch._handover.lost(self._holder(), exc, [late]) from None

    def _saving(
        self, write: Callable[[Snapshot | None], _Written], note: str, *, passing: bool = False
    ) -> _Written:
        """Write to the store with the worktree's files saved in the same step; again when another snapshot came in between."""
        for remaining in reversed(range(MERGE_TRIES)):
            now = self._orch._clock()
            saved, self.not_saved = self._orch._handover.try_snapshot(
                self.worktree, note, passing=passing
            )
            if saved is not None:
                self._tell_left_out(saved.skipped)
            try:
                written = write(saved)
            except RefMovedError:
                if not remaining:
                    raise
            else:
                self._saved_at = now
                return written
        raise AssertionError  # pragma: no cover - the last round raises or returns

    def _is_just_saved(self) -> bool:
        elapsed_s = (
            -1.0
            if self._saved_at is None
            else (self._orch._clock() - self._saved_at).total_seconds()
        )
        return 0 <= elapsed_s < self._orch._scope.home.config.heartbeat_save_s

    def _tell_left_out(self, skipped: tuple[str, ...]) -> None:
        if skipped and skipped != self.left_out:
            limit = self._orch._scope.home.config.max_file_bytes
            log.warning(
                "not saved with %s, being untracked and above %d bytes or no plain files: %s",
                self.task.alias,
                limit,
                ", ".join(skipped),
            )
        self.left_out = skipped

    def heartbeat(self) -> Attempt:
        """Renew the hold, and save the worktree's files. Call it at least every ``lease_s`` seconds during long work without checkpoints.

        A look at every file costs as much as ``git status``: in a large repository set ``heartbeat_save_s`` in ``config.toml``, and within
        so many seconds of the last save it only renews. A checkpoint always saves. Of a heartbeat's saves all of the last hour are kept,
        then the last one of each hour, after a week of each day; those of checkpoints always.

        Raises:
            LeaseLostError: Another attempt has taken the task; no ref was moved.
        """
        task_id, number = self.task.id, self.attempt.number

        def renew(saved: Snapshot | None) -> Attempt:
            return self._orch._store.renew(
                task_id, number, lease_s=self._lease_s, within=None if saved is None else saved.pin
            )

        self.attempt = (
            renew(None) if self._is_just_saved() else self._saving(renew, "heartbeat", passing=True)
        )
        return self.attempt

    def save_artifact(
        self,
        title: str,
        content: JsonValue,
        *,
        kind: str = "general",
        media_type: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> Artifact:
        """Save something produced on the way; under the same title again, it becomes the next version.

        Raises:
            LeaseLostError: Another attempt has taken the task; it is kept as an artifact all the same.
        """
        orch = self._orch
        draft = orch.artifacts.draft(
            title, content, kind=kind, media_type=media_type, tags=tags, metadata=metadata
        )
        try:
            return orch._store.save_artifact(
                self.task.session_id,
                draft,
                task_id=self.task.id,
                attempt=self.attempt.number,
                agent=self.attempt.agent,
            )
        except LeaseLostError as exc:
            raise orch._handover.lost(self._holder(), exc, [draft]) from None

    def complete(
        self,
        *,
        summary: str,
        detailed_work: str | bytes,
        outputs: Mapping[str, JsonValue] | None = None,
        file_paths: Iterable[str | os.PathLike[str]] = (),
        artifact_type: str = "general",
        next_action: Literal["complete", "continue", "needs_revision", "blocked"]
        | NextAction = "complete",
        merge: Literal["now", "later"] = "now",
    ) -> Task:
        """Hand in the work; see `Orchestrator.complete_task`."""
        try:
            done = self._orch._handover.hand_in(
                self._holder(),
                summary=summary,
                detailed_work=detailed_work,
                file_paths=file_paths,
                artifact_type=artifact_type,
                outputs=outputs,
                next_action=next_action,
                merge=merge,
                worktree_of=lambda: self.worktree,
            )
        except DirtyCheckoutError:
            self._open = (
                self._orch._handover.held.get(self.task.id) == self.attempt.number
            )  # else it is handed in, to be merged later
            raise
        self._open = plans.action(next_action) is NextAction.CONTINUE
        return done

    def fail(self, error: str | BaseException) -> Task:
        """Say that it did not work. The task is blocked, its partial work kept, and a recovery task made.

        Args:
            error: What went wrong; of an exception, its traceback is kept as an artifact.
        """
        orch, task = self._orch, self.task
        reason, text = _in_text(error)
        reason = one_line(reason, 300)
        last = orch._store.last_checkpoint(task.id)
        report = orch.artifacts.draft(
            f"{task.title}: attempt {self.attempt.number} did not succeed",
            f"# {task.title}: attempt {self.attempt.number} by {self.attempt.agent} did not succeed\n\n```\n{text}\n```\n"
            + (
                f"\nLast checkpoint: {last.note or '(no note)'}\n\n```json\n{dump_json(last.state, 'state')}\n```\n"
                if last
                else ""
            ),
            kind="failure",
            media_type="text/markdown",
            partial=True,
        )
        self._open = False
        return orch._handover.finish_saving(
            self._holder(),
            self.worktree,
            Ending(action=NextAction.BLOCKED, reason=reason or "no reason given"),
            [report],
        )

    def release(self, note: str = "") -> Task:
        """Give the task back without a verdict. It is pending again; its checkpoint, worktree and files stay."""
        self._open = False
        return self._orch._handover.finish_saving(
            self._holder(), self.worktree, Ending(action=None, reason=note or None), []
        )

    def _told(self, task: Task) -> str:
        why = self._orch.why(task)
        return (
            f"{why}; its partial work is kept. To simply try again: orch.retry_task({task.alias!r})"
        )

    def _holder(self) -> Holder:
        return Holder(task=self.task, attempt=self.attempt.number, agent=self.attempt.agent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._open or (
            exc is None and self._orch._handover.held.get(self.task.id) != self.attempt.number
        ):
            return  # it was completed by its name, or somebody else has it: there is nothing to give back
        try:
            if isinstance(exc, Exception):
                exc.add_note(self._told(self.fail(exc)))
            else:
                self.release(
                    "given back without a result"
                    if exc is None
                    else f"interrupted: {type(exc).__name__}"
                )
        except VesperaError as also:
            if exc is None:
                raise
            exc.add_note(f"and the task could not be given back: {also}")


def _in_text(error: str | BaseException) -> tuple[str, str]:
    """Return an error in a line and in full, as text that every file can hold, whatever its author did."""
    if isinstance(error, BaseException):
        try:
            said = str(error)
        except Exception as exc:  # noqa: BLE001 - an exception's own __str__ may do anything; its type still tells something
            said = f"(its text could not be read: {type(exc).__name__})"
        line, full = f"{type(error).__name__}: {said}", "".join(traceback.format_exception(error))
    else:
        line = full = str(error)
    return line.encode("utf-8", "backslashreplace").decode(), full.encode(
        "utf-8", "backslashreplace"
    ).decode()
