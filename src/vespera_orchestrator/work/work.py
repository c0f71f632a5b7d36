"""A task in the hands of one agent."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypeVar

from vespera_orchestrator import artifacts
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._model import (
    Artifact,
    ArtifactKind,
    Attempt,
    Checkpoint,
    Claim,
    Ending,
    GitOperation,
    HandedIn,
    JsonValue,
    NextAction,
    Task,
    TaskStatus,
    Worktree,
)
from vespera_orchestrator._rooms import Rooms
from vespera_orchestrator._text import fenced, named_error, one_line, show_value
from vespera_orchestrator.errors import (
    AnswerNeededError,
    DirtyCheckoutError,
    InvalidInputError,
    LeaseLostError,
    VesperaError,
)
from vespera_orchestrator.home.calls import WrongCall, explains_calls, keeps_work
from vespera_orchestrator.progress.work_briefing import WorkFacts
from vespera_orchestrator.tasks import arguments
from vespera_orchestrator.work import handed_in
from vespera_orchestrator.work.assignment import Assignment
from vespera_orchestrator.work.briefing import BriefingWriter
from vespera_orchestrator.work.cadence import MOST_STATE_CHARS, Cadence
from vespera_orchestrator.work.completion import Completion
from vespera_orchestrator.work.effects import Effects
from vespera_orchestrator.work.files import WorkFiles
from vespera_orchestrator.work.submission import Holder, Submission

if TYPE_CHECKING:
    from vespera_orchestrator._model import ArtifactDraft
    from vespera_orchestrator.worktrees.snapshot import Snapshot

log = logging.getLogger("vespera_orchestrator")

_T = TypeVar("_T")


@explains_calls
class Work:
    """A task in the hands of one agent.

    `Orchestrator.execute_task` makes it; the constructor is private.

    Use it as a ``with`` block. If you leave the block by an exception, the task is blocked. If you
    leave it by an interruption (``KeyboardInterrupt``, ``SystemExit``), by a mistake in the call
    that completes it, or without completing the task, the task is released. Either way its partial
    work is kept, and exceptions propagate.

    Attributes:
        task: The task, as it was when the work began.
        attempt: This try; its number fences every write.
        resumed_from: The last checkpoint of an earlier attempt, or ``None``.
        worktree: The worktree, or ``None`` if the task has none.
        conflicts: Files in the worktree with both sides of a conflict between markers, for you to
            resolve.
        left_out: What the last save of the worktree left out of its files: untracked files above
            ``max_file_bytes``, and repositories inside, which are kept apart.
        operation: The git operation (a rebase, a merge and the like) that was under way in the
            worktree when it was last saved, or ``None``. Finish it or give it up before you
            complete the task: ``operation.finish`` and ``operation.abandon`` are the commands.
        not_saved: Why the worktree's files could not be saved last time, for example because it was
            removed; empty if they were saved.
    """

    def __init__(
        self,
        rooms: Rooms,
        artifacts: artifacts.Artifacts,
        completion: Completion,
        files: WorkFiles,
        *,
        claim: Claim,
        assignment: Assignment | None,
        lease_s: float,
    ) -> None:
        self._rooms = rooms
        self._artifacts = artifacts
        self._completion = completion
        self._files = files
        self._lease_s = lease_s
        self.task: Task = claim.task
        self.attempt: Attempt = claim.attempt
        self.resumed_from: Checkpoint | None = claim.resumed_from
        self.worktree: Worktree | None = None
        self.conflicts: tuple[str, ...] = ()
        self.left_out: tuple[str, ...] = ()
        self.operation: GitOperation | None = None
        self.not_saved = ""
        self._behind = ""
        if assignment is not None:
            self.worktree = assignment.worktree
            self.conflicts = assignment.conflicts
            self.operation = assignment.operation
            self.left_out = assignment.left_out
            self._behind = assignment.behind
        self._saved_at: datetime | None = None
        self._cadence = Cadence(rooms, claim.task.session_id)
        self._is_open = True
        self._effects = Effects(rooms, self.task, self.attempt)

    def __repr__(self) -> str:
        state = "" if self._is_open else ", over"
        number, agent = self.attempt.number, self.attempt.agent
        return f"<Work on {self.task.alias}, attempt {number} by {agent}{state}>"

    @property
    def path(self) -> Path | None:
        """The folder of its worktree, or ``None`` without one.

        If the folder was moved, or made again in another place, it is the new one. Asking for it
        saves the work if that is due; see `checkpoint`.
        """
        self._save_if_due()
        self._follow_worktree()
        return None if self.worktree is None else Path(self.worktree.path)

    def _follow_worktree(self) -> None:
        """Notice where the worktree's folder is now."""
        if self.worktree is not None:
            with suppress(VesperaError):  # where it was last is the next best answer
                self.worktree = self._rooms.worktrees.locate(self.worktree)

    @property
    def is_open(self) -> bool:
        """Whether you still hold the task, as far as this process knows."""
        return self._is_open and self._is_held()

    @property
    def handed_in(self) -> HandedIn | None:
        """What an earlier attempt handed in but could not land, or ``None``.

        You need not do that work again: remove what prevented the landing, then complete the task.
        """
        if self.attempt.number == 1:
            return None
        return handed_in.find(self._rooms.store, self.task)

    def briefing(self, budget_tokens: int = 4000, *, for_shell: bool = False) -> str:
        """Write what an agent needs to start: the specialist's prompt, the most important first.

        It has the role, the task and why it is due now; what earlier attempts did; the last
        checkpoint; the record of every task that this one builds on (direct ones whole, those
        further away at least by summary and id); what the session has agreed on; the names of
        files, each once; texts of others that are clearly about the task; and how to hand in. It
        is cut at paragraphs, says what is missing and how to read it, and is never filled up.

        It says what the task is now, also where somebody has changed it since the work began.

        What others wrote is quoted line by line. The store records which artifact versions the
        task was given.

        Args:
            budget_tokens: About how long it may be; a token is about four letters, or one digit.
            for_shell: Whether the reader has the command, and not this object: then it says how to
                hand in with calls that the command can make.
        """
        arguments.whole_number("budget_tokens", budget_tokens, least=1)
        self._save_if_due()
        self._follow_worktree()
        left_out = self.left_out
        if self.resumed_from is not None:
            left_out = left_out or self.resumed_from.left_out
        facts = WorkFacts(
            task=self._rooms.store.find_task(self.task.id, None) or self.task,
            attempt=self.attempt,
            resumed_from=self.resumed_from,
            handed_in=self.handed_in,
            folder=None if self.worktree is None else self.worktree.path,
            conflicts=self.conflicts,
            operation=self.operation,
            behind=self._behind,
            left_out=left_out,
            for_shell=for_shell,
        )
        writer = BriefingWriter(self._rooms, self._artifacts)
        return writer.write(facts, budget_tokens)

    def _refuse_call(self, call: WrongCall) -> NoReturn:
        """Keep the work that came with a call that does not fit, and say what does.

        Raises:
            InvalidInputError: Always.
        """
        work = call.work
        if isinstance(work, BaseException):
            _, work = _error_texts(work)
        title = call.fitting.get("title")
        with self._completion.keeping(self._holder(), work, title=title):
            raise InvalidInputError(call.name, call.problem)

    # saving on the way

    @keeps_work("state", _refuse_call)
    def checkpoint(
        self, state: JsonValue, note: str = "", progress: float | None = None
    ) -> Checkpoint:
        """Save what the next attempt would need to continue from here, and renew the lease.

        The worktree's files are saved with it. Files that could not be saved are named in
        ``left_out`` and by the event ``checkpoint_saved``. If none could be saved, the state is
        saved without them, and ``not_saved`` says why.

        State, note and files have one number, that of the checkpoint. Work with a worktree also
        saves itself: when you ask for `path`, a briefing, a heartbeat or an artifact, ten minutes
        after the last save (five or fewer under pressure; ``checkpoint_minutes`` in
        ``config.toml``). Such a checkpoint repeats the last state and note.

        Args:
            state: Anything JSON can hold.
            note: One line for people.
            progress: The share that is done, 0 to 1.

        Raises:
            LeaseLostError: Another attempt has taken the task. The state is kept as an artifact,
                and no ref was moved.
            InvalidInputError: An argument, or the name of one, is wrong. The state is kept as a
                partial artifact, and you keep the task: correct the call and make it again.
        """
        title = f"{self.task.title}: checkpoint"
        with self._completion.keeping_mistaken(self._holder(), state, title=title):
            return self._checkpoint(state, note, progress)

    def _checkpoint(self, state: JsonValue, note: str, progress: float | None) -> Checkpoint:
        if progress is not None and not (arguments.is_number(progress) and 0 <= progress <= 1):
            raise InvalidInputError("progress", f"{show_value(progress)} is not between 0 and 1")
        arguments.text("note", note)
        share = None if progress is None else float(progress)

        def write(snapshot: Snapshot | None) -> Checkpoint:
            return self._record_checkpoint(state, note, share, snapshot)

        try:
            return self._write_with_files(write, note)
        except LeaseLostError as exc:
            content = {"note": note, "progress": progress, "state": state}
            late = self._artifacts.draft(f"{self.task.title}: checkpoint", content)
            raise self._completion.lost(self._holder(), exc, [late]) from None

    def _record_checkpoint(
        self, state: JsonValue, note: str, progress: float | None, snapshot: Snapshot | None
    ) -> Checkpoint:
        return self._rooms.store.checkpoint(
            self.task.id,
            self.attempt.number,
            state,
            note=note,
            progress=progress,
            snapshot=None if snapshot is None else snapshot.commit,
            left_out=self.left_out,
            lease_s=self._lease_s,
            within=None if snapshot is None else snapshot.pin,
        )

    def _save_if_due(self) -> None:
        """Save what nobody has saved for a while.

        It only accompanies a call, so a failure is logged, and told by the next save that you ask
        for.
        """
        if self.worktree is None or not self.is_open or not self._cadence.is_due():
            return
        try:
            self._save_again()
        except VesperaError as exc:
            log.warning("%s could not be saved by itself: %s", self.task.alias, exc)
            self._cadence.restart(self._rooms.clock())

    def _save_again(self) -> None:
        """Save changed files with the state of the last checkpoint; unchanged, renew the lease."""
        last = self._rooms.store.last_checkpoint(self.task.id)
        state = {} if last is None else last.state
        note = "" if last is None else last.note
        progress = None if last is None else last.progress
        if len(dump_json(state, "state")) > MOST_STATE_CHARS:
            self.heartbeat()
            return

        def write(snapshot: Snapshot | None) -> None:
            saved = None if last is None else last.snapshot
            if snapshot is not None and (snapshot.changed or saved not in {None, snapshot.commit}):
                self._record_checkpoint(state, note, progress, snapshot)
                return
            self._rooms.store.renew(self.task.id, self.attempt.number, lease_s=self._lease_s)

        self._write_with_files(write, note or "saved by itself")

    def heartbeat(self) -> Attempt:
        """Renew the lease, and save the worktree's files.

        Call it at least every ``lease_s`` seconds during long work without checkpoints. Looking at
        every file costs as much as ``git status``. In a large repository, set ``heartbeat_save_s``
        in ``config.toml``: a heartbeat within that many seconds of the last save then only renews
        the lease. A checkpoint always saves. Saves from heartbeats are thinned out: all of the last
        hour are kept, then the last of each hour, and after a week the last of each day. Those of
        checkpoints are always kept.

        Raises:
            LeaseLostError: Another attempt has taken the task, or its time limit is over; no ref
                was moved.
        """
        self._end_if_over()

        def renew(snapshot: Snapshot | None) -> Attempt:
            return self._rooms.store.renew(
                self.task.id,
                self.attempt.number,
                lease_s=self._lease_s,
                files_changed=snapshot is not None and snapshot.changed,
                snapshot=None if snapshot is None else snapshot.commit,
                within=None if snapshot is None else snapshot.pin,
            )

        if self._was_just_saved():
            self.attempt = renew(None)
        else:
            self.attempt = self._write_with_files(renew, "heartbeat", passing=True)
        if self._end_if_over():  # a limit that somebody has set, or shortened, since the last call
            self.attempt = renew(None)
        return self.attempt

    def _end_if_over(self) -> bool:
        """Act on the limits of this attempt, as every other caller would; tell if one is over."""
        limits = (self.attempt.times_out_at, self.attempt.stalls_at)
        now = self._rooms.clock()
        is_over = any(limit is not None and limit < now for limit in limits)
        if is_over:
            self._files.expire()
        return is_over

    def _write_with_files(
        self, write: Callable[[Snapshot | None], _T], note: str, *, passing: bool = False
    ) -> _T:
        """Write to the store, with the worktree's files saved in the same step."""

        def write_once(snapshot: Snapshot | None, trouble: str) -> _T:
            now = self._rooms.clock()
            self.not_saved = trouble
            earlier = self.left_out
            if snapshot is not None:
                self.left_out = snapshot.skipped
                self.operation = snapshot.operation
            elif self.worktree is not None:
                self.left_out = (self.worktree.path,)
            record = write(snapshot)
            if snapshot is not None and self.left_out != earlier:
                self._tell_left_out()
            self._saved_at = now
            self._cadence.restart(now)
            return record

        return self._files.write_saving(self.worktree, note, write_once, passing=passing)

    def _was_just_saved(self) -> bool:
        if self._saved_at is None:
            return False
        elapsed_s = (self._rooms.clock() - self._saved_at).total_seconds()
        return 0 <= elapsed_s < self._rooms.config.worktrees.heartbeat_save_s

    def _tell_left_out(self) -> None:
        if self.left_out:
            log.warning(
                "left out of the files saved for %s: %s "
                "(untracked and above %d bytes, a repository of its own, no plain file, "
                "or set aside with git)",
                self.task.alias,
                ", ".join(self.left_out),
                self._rooms.config.worktrees.max_file_bytes,
            )

    @keeps_work("content", _refuse_call)
    def save_artifact(
        self,
        title: str,
        content: JsonValue,
        *,
        kind: str = ArtifactKind.GENERAL,
        media_type: str | None = None,
        tags: Iterable[str] = (),
        metadata: Mapping[str, JsonValue] | None = None,
        supersedes: str | Artifact | Iterable[str | Artifact] | None = None,
    ) -> Artifact:
        """Save something produced along the way; the same title again makes the next version.

        The arguments are those of `Artifacts.save`.

        Raises:
            LeaseLostError: Another attempt has taken the task; the artifact is kept all the same.
            ArtifactNotFoundError: An artifact that it is to supersede does not exist.
            ArtifactSupersededError: Another artifact has superseded it already.
            InvalidInputError: An argument, or the name of one, is wrong. The content is kept as a
                partial artifact, and you keep the task: correct the call and make it again.
        """
        with self._completion.keeping_mistaken(self._holder(), content, title=title):
            draft = self._artifacts.draft(
                title,
                content,
                kind=kind,
                media_type=media_type,
                tags=tags,
                metadata=metadata,
                supersedes=supersedes,
            )
        self._save_if_due()
        try:
            return self._rooms.store.save_artifact(
                self.task.session_id,
                draft,
                task_id=self.task.id,
                attempt=self.attempt.number,
                agent=self.attempt.agent,
            )
        except LeaseLostError as exc:
            raise self._completion.lost(self._holder(), exc, [draft]) from None

    # the world

    def once(
        self, key: str, do: Callable[[], JsonValue], *, probe: Callable[[], JsonValue] | None = None
    ) -> JsonValue:
        """Do something to the world that must not happen twice: send, pay, publish.

        What comes of it is recorded. Every later call with this key, by whichever attempt at the
        task, returns that and does nothing.

        If the process dies between the deed and its record, or *do* raises, nobody here knows
        whether it has happened. Then the next call asks *probe*. Without one it asks a person
        instead of repeating it: the task waits for the answer, and goes on from it.

        Args:
            key: What it is, unique in the task, such as ``"mail to Ada"``.
            do: Does it, and returns what to remember: anything JSON can hold.
            probe: Looks whether it has happened. Returns what *do* would have returned, or ``True``
                if there is nothing to remember; ``None`` or ``False`` if it has not happened, and
                may be done.

        Returns:
            What *do* or *probe* returned, now or earlier.

        Raises:
            AnswerNeededError: A person was asked. You no longer hold the task.
            LeaseLostError: Another attempt has taken the task. If *do* was called, what came of it
                is recorded all the same.
            InvalidInputError: JSON cannot hold what *do* returned. That it has happened is
                recorded.
            Exception: Whatever *do* or *probe* raises.
        """
        try:
            return self._effects.once(key, do, probe)
        except AnswerNeededError:
            self._is_open = False
            raise

    def ask(self, question: str) -> Task:
        """Ask a person, and give the task back until the answer has come.

        The next attempt finds the answer in its briefing, among the outputs of what it builds on.
        Save what you have with `checkpoint` before.

        Args:
            question: What to ask.

        Returns:
            The task that asks; ``orch.answer(…)`` completes it.

        Raises:
            LeaseLostError: Another attempt has taken the task.
        """
        asking = self._effects.ask(question)
        self._is_open = False
        return asking

    # ending

    @keeps_work("detailed_work", _refuse_call)
    def complete(
        self,
        *,
        summary: str,
        detailed_work: str | bytes,
        outputs: Mapping[str, JsonValue] | None = None,
        file_paths: Iterable[str | os.PathLike[str]] = (),
        artifact_type: str = ArtifactKind.GENERAL,
        next_action: Literal["complete", "continue", "needs_revision", "blocked"]
        | NextAction = "complete",
        merge: Literal["now", "later"] = "now",
        supersedes: str | Artifact | Iterable[str | Artifact] | None = None,
    ) -> Task:
        """Hand in the work on this task.

        The work itself becomes an artifact, whole; the summary is a line for display. With a
        worktree, its files are merged into the integration branch first, and the worktree is
        removed afterwards. If the merge conflicts, or the check before landing fails, nothing
        raises: the task is blocked, and a recovery task carries what is known. Sending the same
        completion twice is one completion.

        Args:
            summary: One line.
            detailed_work: Everything you did and found; usually Markdown. Empty: the summary.
            outputs: Values for conditions and later tasks; anything JSON can hold.
            file_paths: Files to save as artifacts as they are now. Relative paths start at the
                worktree, else at the project's folder.
            artifact_type: The kind of the artifact: one of `ArtifactKind`, or any word of yours.
            next_action: ``complete``; ``continue``: hand in and keep the task; ``needs_revision``:
                pending again; ``blocked``: blocked, with a recovery task.
            merge: ``later``: the work is done, and ``orch.worktrees.merge`` lands it. Until then
                the task stays in progress, held by nobody, and its dependents wait. Without a
                worktree there is nothing to merge.
            supersedes: Artifacts of other tasks or titles that no longer hold because of this work;
                see `Artifacts.save`.

        Returns:
            The task as it is now.

        Raises:
            LeaseLostError: Another attempt has taken the task; your work is kept as an artifact.
            TransitionError: The task has open subtasks, or has ended already.
            InvalidInputError: An argument is wrong, and its ``where`` says where in the value; or
                the name of an argument is. The work is kept as a partial artifact. Correct the
                call and make it again.
            SourceFileNotFoundError: A file is missing. As above.
            ArtifactNotFoundError: An artifact that it is to supersede does not exist. As above.
            ArtifactSupersededError: Another artifact has superseded it already. As above.
            DirtyCheckoutError: The integration branch is checked out where it cannot be updated
                safely. The work is handed in as with ``merge="later"``.
        """
        holder = self._holder()
        try:
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
                task = self._completion.submit(holder, submission)
        except DirtyCheckoutError:
            self._is_open = self._is_held()  # otherwise it is handed in, to be merged later
            raise
        self._is_open = submission.next_action is NextAction.CONTINUE
        return task

    @keeps_work("error", _refuse_call)
    def fail(self, error: str | BaseException) -> Task:
        """Report that the attempt failed.

        The task is blocked, its partial work is kept, and a recovery task is made.

        Args:
            error: What went wrong. For an exception, its traceback is kept as an artifact.
        """
        headline, text = _error_texts(error)
        reason = one_line(headline, 300) or "no reason given"
        report = self._failure_report(text)
        self._is_open = False
        ending = Ending(action=NextAction.BLOCKED, reason=reason, may_retry=True)
        return self._completion.finish_saving(self._holder(), ending, [report])

    def _failure_report(self, text: str) -> ArtifactDraft:
        number, agent = self.attempt.number, self.attempt.agent
        title = one_line(self.task.title, 300)
        lines = [f"# {title}: attempt {number} by {one_line(agent)} did not succeed"]
        lines += ["", fenced(text), ""]
        last = self._rooms.store.last_checkpoint(self.task.id)
        if last is not None:
            words = one_line(last.note, 1000) or "(no note)"
            lines += [f"Last checkpoint: {last.id} of attempt {last.attempt}: {words}"]
            lines += ["Its state is what the next attempt starts from: `work.resumed_from`.", ""]
        return self._artifacts.draft(
            f"{self.task.title}: attempt {number} did not succeed",
            "\n".join(lines),
            kind=ArtifactKind.FAILURE,
            media_type="text/markdown",
            partial=True,
        )

    def release(self, note: str = "") -> Task:
        """Hand the task back without a verdict.

        It is pending again; its checkpoint, worktree and files stay. If it is handed back several
        times in a row without progress (``empty_rounds`` in the settings, three by default), it is
        blocked instead, and a person says what is missing. Progress is whatever is new: a
        checkpoint, an artifact, a subtask, a changed file, an effect.

        Args:
            note: Why, and what whoever takes it next should know.
        """
        self._is_open = False
        ending = Ending(action=None, reason=note or None)
        return self._completion.hand_back(self._holder(), ending)

    def interrupt(self, note: str) -> Task:
        """Release the task because somebody, or something, has interrupted its holder.

        As `release`, but it is never held against the task.

        Args:
            note: What has interrupted it.
        """
        self._is_open = False
        return self._completion.finish_saving(self._holder(), Ending(action=None, reason=note))

    def _holder(self) -> Holder:
        self._follow_worktree()
        return Holder(
            task=self.task,
            attempt=self.attempt.number,
            agent=self.attempt.agent,
            worktree=self.worktree,
        )

    def _is_held(self) -> bool:
        """Tell whether this process still holds the task under this attempt."""
        latest = self._completion.attempts.get(self.task.id)
        return latest == self.attempt.number

    def _is_kept(self, refusal: LeaseLostError) -> bool:
        """Tell whether a refusal is about this attempt, and its work is in an artifact already."""
        is_own = (refusal.task_id, refusal.attempt) == (self.task.alias, self.attempt.number)
        return is_own and refusal.kept_artifact_id is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_open:
            return
        if exc is None and not self._is_held():
            return  # it was completed by name, or another agent has it: nothing to give back
        if isinstance(exc, LeaseLostError) and self._is_kept(exc):
            return  # there is no more of it than what was refused
        try:
            self._leave(exc)
        except VesperaError as also:
            if exc is None:
                raise
            exc.add_note(f"and the task could not be released: {also}")

    def _leave(self, exc: BaseException | None) -> None:
        if exc is None:
            self.release("released without a result")
        elif isinstance(exc, VesperaError) and exc.completion_of == self.task.id:
            task = self.interrupt(f"a call with work was not accepted: {exc}")
            exc.add_note(
                f"the task is {task.status} again, and this does not count as a failure. "
                f"To complete it: orch.complete_task({task.alias!r}, …)"
            )
        elif isinstance(exc, Exception):
            task = self.fail(exc)
            note = f"{self._completion.why(task)}; its partial work is kept."
            if task.status is TaskStatus.BLOCKED:
                note += f" To simply try again: orch.retry_task({task.alias!r})"
            exc.add_note(note)
        else:
            self.interrupt(f"interrupted: {type(exc).__name__}")


def _error_texts(error: object) -> tuple[str, str]:
    """Return an error on one line and in full, as text that any file can hold."""
    if not isinstance(error, BaseException):
        text = _printable(error if isinstance(error, str) else show_value(error))
        return text, text
    return _printable(named_error(error)), _printable("".join(traceback.format_exception(error)))


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
