"""What a backend must promise, written for those who implement one.

You can replace three things: the `Store`, which holds the truth, the `ContentStore`, which holds
the bytes of artifacts, and the `Embedder`, which turns passages into vectors.

**Rules for every store**

* Each writing operation is one transaction. It writes the new state and at least one `Event`. If it
  raises, it writes nothing at all. Only `Store.note_look` writes no event.
* An operation that takes *attempt* is fenced: in the transaction that writes, the number is
  compared with the task's latest attempt. A holder that was replaced, cancelled or finished gets a
  `LeaseLostError`. If a lease expired and nobody has taken the task, the holder regains it with its
  next fenced write, even if the task has since been given more to wait for.
* Time comes from the store's own clock, so all callers of one store agree.
* Operations may be called from any thread. In a child made by ``fork``, the store opens a
  connection of its own.
* The pure functions in ``tasks.lifecycle`` decide what a task's state should become. A store
  carries the decision out.
* Foreign errors stay inside: they are translated to the branches under `StoreError`.

`vespera_orchestrator.testing.StoreContract` tests all of this. You can import the records that go
in and out from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeVar, runtime_checkable

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    Artifact,
    ArtifactDraft,
    ArtifactQuery,
    Attempt,
    Checkpoint,
    Claim,
    ContextUse,
    DocumentVersion,
    Effect,
    Ending,
    Event,
    Existing,
    Finished,
    HomePlace,
    JsonValue,
    Look,
    Outcome,
    PastWork,
    Pause,
    PlannedTasks,
    Position,
    Reopening,
    Session,
    SharedValue,
    Situation,
    Task,
    TaskArtifact,
    TaskDraft,
    TaskQuery,
    TaskStatus,
    TeamSettings,
    Tombstone,
    Worktree,
)
from vespera_orchestrator.errors import VesperaError

T = TypeVar("T")

__all__ = [
    "COPIED_TABLES",
    "TABLES",
    "Artifact",
    "ArtifactDraft",
    "ArtifactQuery",
    "Attempt",
    "Checkpoint",
    "Claim",
    "ContentStore",
    "ContextUse",
    "DocumentVersion",
    "Effect",
    "Embedder",
    "Ending",
    "Event",
    "Executor",
    "Existing",
    "Finished",
    "JsonValue",
    "Ledger",
    "Look",
    "Outcome",
    "PastWork",
    "Pause",
    "PlannedTasks",
    "Position",
    "Reopening",
    "Session",
    "SharedValue",
    "Situation",
    "Store",
    "Table",
    "Task",
    "TaskArtifact",
    "TaskDraft",
    "TaskQuery",
    "TaskStatus",
    "TeamSettings",
    "Tombstone",
    "Worktree",
]


@runtime_checkable
class Store(Protocol):
    """Holds sessions, tasks, attempts, checkpoints, events; records of artifacts and worktrees.

    A signal handler, or a callback such as *within*, may call the store in the middle of another
    call of the same thread. What only reads is answered. What writes raises `StoreBusyError`, has
    written nothing, and disturbs nothing: the other call ends as if nobody had asked.

    A store whose schema a newer version has changed since it was opened raises
    `SchemaVersionError` at its next write.
    """

    @property
    def url(self) -> str:
        """The address under which another process opens the same store."""

    @property
    def identity(self) -> str:
        """Which records these are, in words for a person, without secrets.

        It is the same for everybody who has these very records open. A copy that lives on
        separately has another identity. It may change when the records move. They then count as
        different records, which is safe.
        """

    def close(self) -> None:
        """Release every resource. Idempotent. Any later call raises `ClosedError`.

        In the middle of another call of the same thread, that call ends first.
        """

    # sessions

    def start_session(self, session: Session, *, settings: TeamSettings | None = None) -> Session:
        """Record *session* as started. Event ``session_started``.

        *settings* are agreed on in the same transaction, see `agree_settings`.
        """

    def resume_session(self, session_id: str) -> Session:
        """Record that somebody resumed the session. Event ``session_resumed``.

        Raises:
            SessionNotFoundError: No session has this id.
        """

    def pause_session(
        self,
        session_id: str,
        agent: str,
        *,
        note: str,
        next_step: str,
        worded: Sequence[str] = (),
        task_ids: Sequence[str] = (),
    ) -> Pause:
        """Record that *agent* leaves off, with its words. Event ``session_paused``.

        Args:
            session_id: The session.
            agent: Who leaves off.
            note: Where it was.
            next_step: What comes next.
            worded: Which of the two the library worded.
            task_ids: What it has in hand.

        Raises:
            SessionNotFoundError: No session has this id.
        """

    def share_values(
        self, session_id: str, agent: str, values: Mapping[str, JsonValue], *, seen: int = 0
    ) -> list[SharedValue]:
        """Share each of *values* under its key. Event ``context_shared``.

        The value takes the place of the current one, which stays in the history. Where another
        agent set the current one differently, the new one disputes it. Whoever shares the key again
        after having seen the dispute, or takes over the other's value, settles it. A value that
        changes nothing is not written.

        Args:
            session_id: The session.
            agent: Who shares.
            values: By key; anything JSON can hold.
            seen: The highest id of a value that the agent has read in this session.

        Returns:
            The current value of each key, in the order of *values*.

        Raises:
            SessionNotFoundError: No session has this id.
        """

    def shared_values(
        self, session_id: str, *, key: str | None = None, history: bool = False
    ) -> list[SharedValue]:
        """Return the current values of the session, by key; with *history* earlier ones, too.

        The history of a key comes in the order in which its values were shared.

        Args:
            session_id: The session.
            key: Only this one.
            history: Whether to return values that were replaced, too.
        """

    def note_look(
        self, session_id: str, agent: str, position: Position, *, seq: int | None = None
    ) -> Look:
        """Remember what *agent* has seen of the session, in place of its earlier look.

        Looking changes nothing in the session, so it writes no event.

        Args:
            session_id: The session.
            agent: Who looked.
            position: Where git was.
            seq: The last event that there was when it was read; by default, the last one now.

        Raises:
            SessionNotFoundError: No session has this id.
        """

    def last_look(self, session_id: str, agent: str) -> Look | None:
        """Return when *agent* last looked at the session, or ``None``."""

    def open_sessions(self) -> int:
        """Return how many sessions have a task that has not ended."""

    def find_session(self, session_id: str) -> Session | None:
        """Return the session, or ``None``."""

    def sessions(self, *, limit: int | None = 100, offset: int = 0) -> list[Session]:
        """Return sessions, the most recently written first."""

    def team_settings(self, session_id: str) -> TeamSettings | None:
        """Return what the homes of the session have agreed on; ``None`` before any has worked."""

    def agree_settings(self, settings: TeamSettings, *, replace: bool) -> TeamSettings:
        """Record what the homes of a session have to have in common. Event ``settings_agreed``.

        Args:
            settings: The settings. ``agreed_at`` is set by the store.
            replace: Whether to replace what was agreed on before. Otherwise, of several callers,
                the first one decides, and nothing is written for the others.

        Returns:
            What counts now.

        Raises:
            SessionNotFoundError: No session has this id.
        """

    # homes

    def note_home(self, home: HomePlace) -> None:
        """Record where a home is, in place of what was recorded of it before. No event."""

    def find_home(self, home_id: str) -> HomePlace | None:
        """Return where the home was last; ``None`` if it was never recorded."""

    def default_agent(self, name: str, home_id: str, *, reserve: bool) -> str:
        """Return the agent name that a home has by default, and no other home. No event.

        That is *name*, or with a number (``name-2``) where other homes have the ones before it.
        Of homes that ask at once, each gets one of its own.

        Args:
            name: What tells person and machine. Machines may be called alike.
            home_id: The home.
            reserve: Whether the home keeps the name from now on. Otherwise nothing is written.
        """

    # planning

    def plan(
        self,
        session_id: str,
        drafts: Sequence[TaskDraft],
        *,
        mistakes: Sequence[VesperaError] = (),
        existing: Existing = Existing.ERROR,
    ) -> PlannedTasks:
        """Write all *drafts*, or none. Event ``task_planned`` for each.

        References are resolved in the same transaction, first among the drafts, by the names that
        they would have if they were alone in the session, then in the session; ``#0``, ``#1`` … are
        the drafts themselves, by their place, whatever their alias. A draft without an alias gets
        the slug of its title, with a number if that is taken. A task that can never become ready,
        because of how its dependencies have already ended, is skipped at once.

        Args:
            session_id: The session.
            drafts: The tasks to plan.
            mistakes: Mistakes that are already known. They are reported together with those found
                here, and nothing is written.
            existing: What to do about a draft whose alias the session has already. To keep or to
                change that task, a draft without an alias counts by the one that it would get if
                the plan were alone in the session.

        Returns:
            The task of each draft, in their order.

        Raises:
            UnknownDependencyError: A dependency or parent does not exist.
            CycleError: With the path, through dependencies and parents together.
            ConditionError: The condition cannot be understood, or names no dependency.
            AliasTakenError: The chosen alias is taken.
            TransitionError: The parent has ended; or what an existing task waits for should change,
                and it is not pending.
            InvalidPlanError: Several of these at once.
        """

    def update_task(self, task_id: str, changes: Mapping[str, JsonValue]) -> Task:
        """Change a task. Event ``task_updated`` with what is different; nothing if nothing is.

        Edges that come and go are events of their own, as in `add_dependency`.

        Args:
            task_id: The task.
            changes: Any of ``title description acceptance task_type complexity specialist_type
                priority estimated_effort due_at due_day not_before zone context max_attempts
                retry_after_s time_limit_s stalled_after_s alias parent dependencies condition
                question signal written_dates``, as in a `TaskDraft`, and ``worktree``. References
                are resolved as in `plan`.

        Raises:
            PlanError: Or one of its branches, as in `plan`.
            AliasTakenError: The alias names another task.
            TransitionError: The new parent has ended; or what the task waits for should change, and
                it is neither pending nor skipped. A skipped one is decided anew.
        """

    def snooze(
        self, task_id: str, until: datetime | None, *, zone: str, subtree: bool
    ) -> list[Task]:
        """Let a task rest until a moment. Event ``task_snoozed`` for each.

        A due date before that moment moves to it: to its day, where it is a day. A task that rests
        until that very moment already stays as it is.

        Args:
            task_id: The task.
            until: When it may be ready again; ``None`` wakes it now.
            zone: The time zone in which *until* is meant.
            subtree: Every open task below it, too.

        Returns:
            The tasks that rest now, or that were woken.

        Raises:
            TransitionError: It has ended, or an agent holds it.
        """

    def add_dependency(self, task_id: str, needs: str, on: Outcome) -> Task:
        """Make a pending task wait for another one too. Event ``dependency_added``.

        Raises:
            CycleError: The edge would close a circle.
            TransitionError: The task is not pending.
        """

    def remove_dependency(self, task_id: str, needs: str) -> Task:
        """Remove an edge. Event ``dependency_removed``.

        Raises:
            UnknownDependencyError: There is no such edge.
            ConditionError: The task's condition names it.
        """

    # reading

    def find_task(self, ref: str, session_id: str | None) -> Task | None:
        """Return the task with this id, or with this alias in the session, or ``None``."""

    def tasks(self, query: TaskQuery) -> list[Task]:
        """Return the tasks that match *query*, in the order in which they were planned.

        With an *agenda* they come in its order; ready tasks of a session as `ready` orders them.
        """

    def count(self, query: TaskQuery) -> dict[TaskStatus, int]:
        """Return how many tasks of each status match *query*, without its limit and offset."""

    def ready(self, session_id: str, limit: int, *, below: str | None = None) -> list[Task]:
        """Return tasks that can start now, best first.

        They are ordered by priority. Then come those that their due dates press, or the due dates
        of what waits for them, the first due first: from a day before the work should begin. Then
        they are ordered by the hours of the longest chain of work that starts with them, then by
        the order in which they were planned. The store may weigh newly planned tasks now: the
        first caller after planning pays for it. Tasks whose *not_before* has come since the last
        `expire` or `claim` may be missing. With *below*, only that task and what is below it
        counts; so for `running` and `longest_chain`.
        """

    def situation(self, task_id: str) -> Situation:
        """Return the task, and everything that decides whether it is ready.

        Raises:
            TaskNotFoundError: No task has this id.
        """

    def aliases(self, session_id: str) -> list[str]:
        """Return every alias of the session."""

    def dependents(self, task_id: str) -> list[Task]:
        """Return the tasks that wait, or waited, for this one."""

    def read_together(self, read: Callable[[], T], *, session_id: str | None = None) -> T:
        """Call *read*, and let all that it reads from this store be of one state.

        What others write meanwhile is seen by none of its reads. A call within another one joins
        it. *read* writes nothing: a writing operation raises `StoreBusyError`.

        Keep *read* short. Other threads of the process may wait for it, and a server may end a
        client that is silent for long. So ask git, or anything else that takes its time, before
        or afterwards. It may be called again where it was disturbed, so it has no other effect.

        Args:
            read: Calls reading operations, and returns what it makes of them. What it raises is
                raised here.
            session_id: A session whose ready tasks, or longest chain, are among what is read.
                Their order is brought up to date first; within *read* it is taken as it is.
        """

    # the life of a task

    def claim(
        self,
        session_id: str,
        agent: str,
        *,
        task_id: str | None = None,
        lease_s: float,
        take_over: bool = False,
        process: str = "",
        parents: bool | None = None,
    ) -> Claim | None:
        """Give *agent* the task, or the best ready one. Event ``task_started``.

        Claims are exclusive: of two callers racing for one task, one gets it and the other gets the
        next one, or nothing.

        Args:
            session_id: The session.
            agent: Who is claiming; any stable, non-empty name.
            task_id: Which task; ``None`` for the best ready one.
            lease_s: Seconds until the claim expires unless it is renewed.
            take_over: First end the lease of the named task's holder, as if it had expired.
                Event ``lease_expired``. And take the task although it is for another agent.
            process: The processes that the attempt ends with, as `expire` asks about them; empty
                if it may outlive any process.
            parents: Where no task is named, whether it may be one with subtasks, as for
                `TaskQuery.parents`. None that is for another agent is given in any case.

        Returns:
            The claim; ``None`` if no task was named and nothing is ready for this agent.

        Raises:
            NotReadyError: The named task cannot start, or is for another agent; carries the `Why`.
        """

    def renew(
        self,
        task_id: str,
        attempt: int,
        *,
        lease_s: float,
        process: str | None = None,
        files_changed: bool = False,
        snapshot: str | None = None,
        within: Callable[[], None] | None = None,
    ) -> Attempt:
        """Extend the lease to *lease_s* seconds from now. Event ``lease_renewed``. Fenced.

        Regains a lease that has expired. *process* replaces what the claim said; ``None`` leaves
        it. *files_changed* notes that the attempt has changed files, which is progress, see
        `finish`. *snapshot* and *within* as for `checkpoint`.
        """

    def checkpoint(
        self,
        task_id: str,
        attempt: int,
        state: JsonValue,
        *,
        note: str = "",
        progress: float | None = None,
        snapshot: str | None = None,
        left_out: Sequence[str] = (),
        lease_s: float,
        within: Callable[[], None] | None = None,
    ) -> Checkpoint:
        """Save what the next attempt needs, and renew the lease. Fenced.

        Event ``checkpoint_saved``.

        Args:
            task_id: The task.
            attempt: The attempt.
            state: Anything JSON can hold.
            note: One line for people.
            progress: The share that is done, 0 to 1.
            snapshot: The commit with the worktree's files. The record of the worktree names it,
                too, see `note_saved`.
            left_out: Paths that *snapshot* does not contain. The record and the event's data name
                them.
            lease_s: Seconds until the lease expires unless it is renewed.
            within: Called after the fence was checked and before the commit. If it raises, nothing
                is written. It moves refs that must not move for a holder that was replaced, and
                must not call the store.
        """

    def last_checkpoint(self, task_id: str) -> Checkpoint | None:
        """Return the latest checkpoint of any attempt, or ``None``."""

    def finish(
        self,
        task_id: str,
        attempt: int | None,
        ending: Ending,
        *,
        agent: str,
        artifacts: Sequence[ArtifactDraft] = (),
        within: Callable[[], None] | None = None,
    ) -> Finished:
        """Record how the attempt ends, or what it hands in, and everything that follows from it.

        One transaction writes the artifacts, the task's new state, the recovery task if the task
        becomes blocked, and the dependents that become ready or are skipped, and so on downward.
        What is open below a skipped task is skipped, too: a running attempt ends as ``cancelled``,
        and the recovery of a blocked task goes with it.
        Events: ``artifact_saved``, then ``task_completed``, ``task_blocked``, ``task_continued``,
        ``task_handed_in``, ``task_revised`` or ``task_released``, then those of the consequences.

        An ending with ``later`` hands in finished work that waits to be merged. The attempt ends as
        ``handed_in``, so its lease never expires. Summary and outputs are written, and the task
        stays in progress, held by that attempt, until it is finished once more.

        An attempt that is released or revised is a round without progress if it saved no checkpoint
        that differs from the last one before it, no artifact with new content other than the
        ending's summary, and no effect, planned no subtask, and changed no files. After
        ``ending.most_empty_rounds`` of them in a row the task is blocked instead of pending: its
        reason says so, no recovery task is planned, and the event ``task_blocked`` follows that of
        the release.

        An ending with ``blocked`` and ``may_retry``, of a task with ``retry_after_s``, that has not
        failed ``max_attempts`` times: the task is pending again, and rests until it is tried again;
        event ``retry_scheduled``. The pause is that of ``tasks.lifecycle.retry_pause_s``.

        The same completion sent twice (same attempt, same outputs, same artifact digests) counts as
        one completion.

        Args:
            task_id: The task.
            attempt: The attempt. ``None`` acts under the current attempt, and first claims a
                pending task that is ready.
            ending: How it ends.
            agent: Who is calling.
            artifacts: What was produced; the bytes are already stored.
            within: As for `checkpoint`.

        Raises:
            LeaseLostError: The attempt was replaced. Nothing was written.
            NotReadyError: With *attempt* ``None``: the task is pending and not ready. Or it has
                open children and cannot be completed.
            TransitionError: The task has already ended in another way.
        """

    def expire(self, *, is_gone: Callable[[str], bool] | None = None) -> list[Attempt]:
        """Let happen what is due by the clock.

        Ends every attempt whose lease has expired: its task is pending again, event
        ``lease_expired``. An attempt whose ``times_out_at`` comes before the end of its lease has
        failed, event ``attempt_timed_out``; see `finish` for what follows. One whose ``stalls_at``
        does has stalled, event ``attempt_stalled``: its task is pending again, and it cannot regain
        its lease. An attempt whose holder has paused since it began, see `pause_session`, neither
        crashed nor stalled: it rests, and counts for nothing below. After ``max_attempts`` attempts
        in a row that crashed, stalled or were ended as gone, without progress (see `finish`), the
        task is blocked, event ``task_blocked``, and a person decides. Wakes every task whose
        *not_before* has come, event ``task_woken``. Lets due dates press that are near, see
        `ready`. If there is nothing to do, this costs one indexed read. Any caller may do it: there
        is no background process.

        Args:
            is_gone: Tells whether the processes that an attempt ends with have ended for certain.
                Such an attempt is ended at once. It is asked outside any transaction, and what it
                was asked about is compared again in the transaction that writes.

        Returns:
            The attempts that were ended.
        """

    def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task, the first one first."""

    def past_work(self, task: Task, limit: int) -> list[PastWork]:
        """Return how long completed tasks like *task* took, in all sessions, the last first.

        These have its type and its complexity. Attempts whose holder was lost do not count. Only
        recent completions need to be looked through, so that it costs the same in a store of any
        size.

        Args:
            task: What they are to be like. It is not among them.
            limit: Most tasks to return.
        """

    def running(
        self, session_id: str, limit: int, *, below: str | None = None
    ) -> list[tuple[Task, Attempt, Checkpoint | None]]:
        """Return tasks in progress with attempt and last checkpoint, the longest running first."""

    def longest_chain(self, session_id: str, limit: int, *, below: str | None = None) -> list[Task]:
        """Return the first tasks of the longest chain of open work by estimated effort.

        Each waits for the one before it. The chain is as the store knows it without looking at the
        whole graph: it follows the same weights that order `ready`.
        """

    def end_attempt(self, task_id: str, reason: str, *, agent: str, holder: str = "") -> Attempt:
        """End the attempt that holds the task: its holder is known to be gone.

        Event ``attempt_ended``. The task is pending again, with its checkpoints. That holder cannot
        regain its lease. It counts as a crash, see `expire`: after too many, the task is blocked.

        Args:
            task_id: The task.
            reason: How that is known. It is the task's reason, and the attempt's error.
            agent: Who ends it.
            holder: Whose attempt it must be; empty for anybody's.

        Returns:
            The attempt, ended.

        Raises:
            TransitionError: Nobody holds the task, or not that holder.
        """

    def cancel(self, task_id: str, reason: str, *, subtree: bool) -> list[Task]:
        """Cancel the task, and with *subtree* every open task below it.

        Event ``task_cancelled`` for each.

        Returns:
            The cancelled tasks; empty if the task was already cancelled.

        Raises:
            TransitionError: It has already ended in another way.
        """

    def abandon(self, task_id: str, reason: str, *, subtree: bool) -> list[Task]:
        """Give up the task: it is failed. Event ``task_failed``.

        Its open recovery is cancelled, and with *subtree* every open task below it.

        Returns:
            The task, and those below it that were cancelled.

        Raises:
            TransitionError: It has already ended.
        """

    def retry(self, task_id: str, reason: str) -> Task:
        """Make a blocked, failed, cancelled or skipped task pending again. Event ``task_retried``.

        Its failure count is 0 again, and its open recovery is cancelled. Dependents that were
        skipped because of it are pending again. Those that have started keep what they did. What
        was cancelled below it in the same call comes back with it, unless it is archived, and so do
        questions that its agents had asked; what had been cancelled before stays cancelled.
        """

    def reopen(self, task_id: str, reason: str) -> Reopening:
        """Make a completed task pending again. Event ``task_reopened``.

        Attempts, artifacts, the worktree's record, summary and outputs stay. Dependents that have
        not begun wait for it again. Those that were skipped because it had succeeded are pending
        again, too. Those that run or are completed stay as they are, and are named, and so is what
        was built on them.

        Raises:
            TransitionError: It is not completed, or what it is a part of is.
        """

    def correct(self, task_id: str, summary: str) -> Task:
        """Replace the summary of a task. Event ``task_corrected``.

        The event names the tasks that have built on it, directly or by and by.

        Raises:
            TransitionError: It has no summary.
        """

    # the world

    def answer(self, task_id: str, outputs: Mapping[str, JsonValue], *, agent: str) -> Task:
        """Answer a task. Event ``task_answered``.

        The answer is the task's outputs. It is completed at once, or as soon as what it waits for
        besides has ended. Any pending task can be answered that waits for an answer or a signal, or
        that nobody has begun. The same answer once more changes nothing; another one replaces it
        as long as the task is pending.

        A value under the name ``answer`` alone also becomes the output that conditions read, if
        they read one only.

        Raises:
            InvalidInputError: A condition of another task could never be decided by it, or would
                take a text for a yes.
            TransitionError: It is held or blocked, somebody has worked on it, it has open subtasks,
                or has ended in another way.
        """

    def signal(
        self,
        session_id: str,
        name: str,
        payload: Mapping[str, JsonValue],
        *,
        agent: str,
        key: str | None = None,
    ) -> list[Task]:
        """Record that something happened. Event ``signal_received``.

        It answers every pending task of the session that waits for *name*. If none does, it is kept
        for the first one that is planned: so nothing is lost if it comes early.

        Args:
            session_id: The session.
            name: What happened.
            payload: The outputs of the tasks that waited.
            agent: Who reports it.
            key: Names this one report: the same key once more changes nothing.

        Returns:
            The tasks that waited for it.
        """

    def ask(
        self, task_id: str, attempt: int, question: str, *, agent: str, effect: str | None = None
    ) -> Task:
        """Give the task back until a person has answered. Event ``question_asked``. Fenced.

        In one transaction, a task with the question is planned beside it, the task waits for its
        end, and the attempt ends as released.

        Args:
            task_id: The task.
            attempt: The attempt.
            question: What to ask.
            agent: Who asks.
            effect: The key of the effect that the question is about.

        Returns:
            The task that asks.
        """

    # effects

    def begin_effect(
        self, task_id: str, attempt: int, key: str, *, instead_of: Effect | None = None
    ) -> Effect | None:
        """Record that something is about to happen. Event ``effect_begun``. Fenced.

        Only whoever gets an effect back may do it: of several callers that race, one. That holds
        for callers under the same attempt, too.

        Args:
            task_id: The task.
            attempt: The attempt.
            key: What is about to happen.
            instead_of: The effect as it was begun earlier, of which it is known that it has not
                happened.

        Returns:
            The effect, whose ``begun_at`` is another one than before; ``None`` if there is one
            already that is not *instead_of*: nothing is written.
        """

    def record_effect(self, task_id: str, attempt: int, key: str, result: JsonValue) -> Effect:
        """Record that an effect has happened. Event ``effect_recorded``.

        Not fenced: what happened is a fact, whoever holds the task by now. What was recorded first
        stays.
        """

    def find_effect(self, task_id: str, key: str) -> Effect | None:
        """Return the effect of this key, or ``None`` if it was never begun."""

    def delete(self, task_id: str, *, hard: bool) -> Task:
        """Archive a task that has ended; with *hard* remove it.

        Event ``task_archived`` or ``task_deleted``.

        Raises:
            TransitionError: It has not ended, or (hard) others depend on it or are below it.
        """

    # artifacts

    def save_artifact(
        self,
        session_id: str,
        draft: ArtifactDraft,
        *,
        task_id: str | None,
        attempt: int | None,
        agent: str | None,
    ) -> Artifact:
        """Record an artifact. Event ``artifact_saved``, whose data names it under ``artifact``.

        Fenced if *attempt* is given. The same title in the same task (or in no task) makes the next
        version. If the digest is the same as that of the latest version under that title, with the
        same kind and partial mark, that version is returned and nothing is written.

        It takes the place of what ``draft.supersedes`` names: the latest version of each is marked
        as superseded by it, with the event ``artifact_superseded`` for each, and so is what tasks
        were given of it. Whoever names any version means the artifact. A version that is saved
        afterwards holds again. A partial draft takes no place. Of two that race for one place, one
        gets it.

        Raises:
            ArtifactNotFoundError: An artifact that it is to supersede does not exist.
            ArtifactSupersededError: Another artifact has taken the place of one. Its own earlier
                versions do not count: to name the same one again with a new version is fine.
        """

    def forget_artifacts(
        self, artifact_ids: Sequence[str], *, reason: str, agent: str | None
    ) -> list[Tombstone]:
        """Remove artifacts for good, and leave a tombstone of each. Event ``artifact_forgotten``.

        In one transaction go the records, the notes of which tasks were given them, and their
        titles in the log. A later version then follows the one before; without a later one, the one
        before holds again, unless something else has taken their place. What they have superseded
        stays superseded. One that was forgotten before stays as it is.

        Returns:
            The tombstones of all of them, the oldest artifact first.

        Raises:
            ArtifactNotFoundError: One neither exists nor was forgotten; nothing was changed.
        """

    def tombstones(
        self, *, ids: Iterable[str] | None = None, pending: bool = False
    ) -> list[Tombstone]:
        """Return what is known of what was forgotten, the earliest first.

        Args:
            ids: Only those of these.
            pending: Only those with something left to do: without a proof, or with a digest.
        """

    def complete_forgetting(
        self, ids: Sequence[str], proof: Mapping[str, JsonValue], *, whole: bool
    ) -> None:
        """Record what was removed. No event.

        Args:
            ids: Those of tombstones.
            proof: What was removed where.
            whole: Whether the bytes are gone as well; then the digests go, too.
        """

    def find_artifact(self, artifact_id: str) -> Artifact | None:
        """Return the artifact, or ``None``."""

    def artifacts(self, query: ArtifactQuery) -> list[Artifact]:
        """Return the artifacts that match *query*."""

    def task_artifacts(self, task_ids: Iterable[str]) -> list[TaskArtifact]:
        """Return what holds now of what the tasks saved, in the order in which they saved it.

        Where an artifact of another title or task has taken the place of one, that artifact stands
        for it, or whatever holds in its place by now: once for each task, however many it has
        replaced. Earlier versions are left out.
        """

    def content_digests(self) -> set[str]:
        """Return the digest of every content that any record refers to, as of one moment.

        Older versions and documents are included. A content that is not in the set may be
        collected: a store that forgets a kind of record here loses its bytes.
        """

    def count_artifacts(self, session_id: str) -> int:
        """Return how many current artifacts the session has."""

    def record_context(
        self, task_id: str, artifact_ids: Sequence[str], *, agent: str | None
    ) -> None:
        """Record that the task was given these artifact versions. Event ``context_given``.

        It counts for the task's latest attempt. The task's own artifacts do not count, nor do
        unknown ids. A version replaces an earlier one of the same artifact. Nothing is recorded
        twice in one attempt; if nothing is new, nothing is written.

        Raises:
            TaskNotFoundError: No task has this id.
        """

    def context_uses(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        artifact_ids: Iterable[str] | None = None,
        outdated: bool = False,
        limit: int | None = None,
    ) -> list[ContextUse]:
        """Return which tasks were given which artifact versions, in the order in which it happened.

        Args:
            session_id: Only tasks of this session.
            task_id: Only this task.
            artifact_ids: Only these versions.
            outdated: Only versions with a later one, and only tasks that are based on them: held,
                blocked or completed, not archived, not a recovery. Costs what is found, not what is
                stored.
            limit: Most to return.
        """

    # worktrees and documents

    def put_worktree(self, worktree: Worktree, event: str) -> Worktree:
        """Insert the record, or replace the earlier one of the same worktree.

        A name stands for one worktree over all homes. Of two homes racing for a name, one gets it.

        Args:
            worktree: The record.
            event: ``worktree_created``, ``worktree_moved``, ``worktree_landed`` or
                ``worktree_removed``.

        Raises:
            WorktreeNameTakenError: The name is that of another home's worktree, or of another
                task's. A record without a home, of an earlier version, may be replaced by any.
        """

    def note_saved(
        self, worktree: str, commit: str, *, within: Callable[[], None] | None = None
    ) -> None:
        """Note which commit has the files that were last saved of the worktree of this name.

        `checkpoint`, `renew` and `finish` do so for what an attempt saves; this is for what is
        saved when nobody holds the task any more. No event. Without a record nothing is noted.
        *within* as for `checkpoint`: of two who save at once, the later save is noted.
        """

    def worktrees(
        self,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        name: str | None = None,
        include_removed: bool = False,
    ) -> list[Worktree]:
        """Return worktree records, the oldest first."""

    def put_document(self, version: DocumentVersion, session_id: str) -> DocumentVersion:
        """Record a new version of a document. Event ``document_updated``."""

    def document_versions(self, path: str | None = None) -> list[DocumentVersion]:
        """Return the versions of a document; with ``None`` the latest version of each document."""

    # events

    def events(
        self,
        after: int = 0,
        *,
        session_id: str | None = None,
        task_id: str | None = None,
        kinds: Iterable[str] | None = None,
        limit: int | None = 1000,
        newest_first: bool = False,
    ) -> list[Event]:
        """Return events with ``seq > after``, oldest first unless *newest_first*.

        An event becomes visible together with the state that it reports, and never before an event
        with a lower ``seq``. So if you follow the log and remember the last ``seq``, you miss
        nothing.
        """

    def record_event(
        self,
        session_id: str,
        kind: str,
        data: Mapping[str, JsonValue],
        *,
        agent: str | None = None,
    ) -> None:
        """Record that something happened in a session which changes no other record.

        Args:
            session_id: The session.
            kind: What happened.
            data: Further facts; anything JSON can hold.
            agent: Who caused it.

        Raises:
            SessionNotFoundError: No session has this id.
        """

    def last_seq(self, session_id: str | None = None) -> int:
        """Return the position of the newest event, of the session or of all; 0 if there is none."""

    def observe(self, callback: Callable[[Sequence[Event]], object]) -> Callable[[], None]:
        """Call *callback* with the events of each transaction of this object, once it is committed.

        It is called by the thread that wrote, before the writing call returns, and outside of every
        transaction and lock: it may call the store itself. What it raises is logged. It neither
        undoes the write nor fails the call. A process that dies after the commit may not have told
        it. What other processes write comes through `events` and `wait` only.

        Returns:
            A function that ends it. Idempotent.
        """

    def wait(self, after: int, timeout_s: float) -> None:
        """Wait until an event with ``seq > after`` may exist, or *timeout_s* seconds have passed.

        The event may come from any process. Returns at once if there is one already. May return
        early for no reason: read `events`, and wait again.
        """

    # maintenance

    def ledger(self, *, write: bool = False) -> AbstractContextManager[Ledger]:
        """Open the rows as they are stored, all as of one moment.

        Check, repair, export, import and prune are written once, above the stores, and work through
        this.

        Args:
            write: Keep all writers out. The changes are committed if the block ends normally, and
                rolled back otherwise. Changed rows bring no event with them: whoever changes them
                adds one to ``events``.
        """

    def shrink(self, *, rewrite: bool = False, erase: bool = False) -> int:
        """Give room that removed rows took back to the disk, in small steps beside other writers.

        A store that uses such room again by itself, or keeps its rows elsewhere, does nothing.

        Args:
            rewrite: Also write the whole store anew where it cannot shrink otherwise. Others wait
                for as long as that takes.
            erase: Also leave nothing of removed rows in the store's own files, as far as that can
                be done from here.

        Returns:
            How many bytes smaller it is.

        Raises:
            StoreUnavailableError: There is not enough room to write it anew. Nothing was changed.
        """


@runtime_checkable
class Ledger(Protocol):
    """A store's rows as they are stored. Made by `Store.ledger`, and usable only within its block.

    A row is a mapping from column to value. `TABLES` names the tables and their special columns.
    There may be further columns that only this store understands. Values are texts, whole numbers,
    floats and ``None``: times are microseconds since 1970 in UTC, flags are 0 or 1, and structures
    are JSON text as `_codec.dump_json` writes it. A store that keeps them in another way converts
    here.
    """

    @property
    def tables(self) -> Sequence[str]:
        """Every table, in an order in which a row only refers to earlier tables.

        The last may be ``tallies``, if the store keeps these counts itself.
        """

    @property
    def schema(self) -> int:
        """The number of the last migration."""

    def problems(self) -> Iterator[str]:
        """Yield what the database itself finds wrong with its files, one sentence each.

        May read everything.
        """

    def count(self, table: str) -> int:
        """Return how many rows the table has."""

    def rows(self, table: str) -> Iterator[dict[str, JsonValue]]:
        """Yield every row, in the order in which they were made if the table has one.

        You may read one table while you are reading another.

        Raises:
            StoreError: A row cannot be read.
        """

    def put(self, table: str, rows: Iterable[Mapping[str, JsonValue]]) -> None:
        """Insert rows, including numbers such as ``seq``; the next new row gets a higher one.

        Columns that you leave out get their default, if the table has one.
        """

    def change(
        self, table: str, key: Mapping[str, JsonValue], values: Mapping[str, JsonValue]
    ) -> None:
        """Set columns of the rows that match all of *key*."""

    def remove(self, table: str, keys: Iterable[Mapping[str, JsonValue]]) -> None:
        """Remove the rows that match one of *keys*."""

    def rebuild_indexes(self) -> None:
        """Rebuild everything that the database derives itself, such as its indexes."""


@attrs.frozen(kw_only=True)
class Table:
    """What a table's columns mean, if they are more than texts and numbers."""

    key: tuple[str, ...]
    """The columns that identify a row."""
    times: tuple[str, ...] = ()
    """Columns that are points in time."""
    structures: tuple[str, ...] = ()
    """Columns that are JSON text."""
    flags: tuple[str, ...] = ()
    """Columns that are 0 or 1."""
    is_copied: bool = True
    """Whether exports and backups contain the table. One that is about the homes which share this
    very store means nothing in a copy of it.
    """


TABLES: Final[Mapping[str, Table]] = {
    "homes": Table(key=("id",)),
    "agent_names": Table(key=("name",), is_copied=False),
    "sessions": Table(key=("id",), times=("created_at",), structures=("context",)),
    "tasks": Table(
        key=("id",),
        times=(
            "due_at",
            "due_until",
            "not_before",
            "needed_by",
            "press_at",
            "retry_at",
            "created_at",
            "updated_at",
            "ended_at",
        ),
        structures=("condition_names", "context", "outputs", "answer"),
        flags=("was_blocked", "weighed", "archived", "asleep", "answered"),
    ),
    "dependencies": Table(key=("task_id", "needs_id"), flags=("governed", "met")),
    "attempts": Table(
        key=("task_id", "number"),
        times=(
            "started_at",
            "lease_until",
            "last_sign_at",
            "ended_at",
            "times_out_at",
            "stalls_at",
        ),
    ),
    "checkpoints": Table(key=("id",), times=("created_at",), structures=("state", "left_out")),
    "artifacts": Table(
        key=("id",),
        times=("created_at",),
        structures=("tags", "metadata"),
        flags=("superseded", "partial"),
    ),
    "given": Table(key=("task_id", "artifact_id"), times=("given_at",), flags=("stale",)),
    "forgotten": Table(key=("id",), times=("saved_at", "forgotten_at"), structures=("proof",)),
    "worktrees": Table(key=("name",), times=("created_at",), flags=("unlanded",)),
    "document_versions": Table(
        key=("path", "version"), times=("created_at",), structures=("edited",)
    ),
    "team_settings": Table(
        key=("session_id",),
        times=("agreed_at",),
        structures=("landing_check",),
        is_copied=False,
    ),
    "events": Table(key=("seq",), times=("at",), structures=("data",)),
    "shared_values": Table(
        key=("id",), times=("shared_at",), structures=("value",), flags=("is_current",)
    ),
    "signals": Table(
        key=("id",), times=("received_at",), structures=("payload",), flags=("taken",)
    ),
    "effects": Table(
        key=("task_id", "key"),
        times=("begun_at", "recorded_at"),
        structures=("result",),
        flags=("is_done",),
    ),
    "looks": Table(key=("session_id", "agent"), times=("at",)),
}
"""The tables that hold the truth. Each refers only to tables before it."""

COPIED_TABLES: Final = tuple(name for name, table in TABLES.items() if table.is_copied)
"""The tables that exports and backups contain."""


@runtime_checkable
class ContentStore(Protocol):
    """Holds bytes under their SHA-256 digest. Writing the same bytes twice stores them once.

    A text that is not a digest names a content that is missing: a damaged record may hold one.

    The digest is always that of the original bytes, even if the store compresses them. Several
    threads, processes and machines may use one content store at the same time.

    It may have a method ``remove(digest)``, which removes a content at once; one that is not there
    is removed already. Without it, `Artifacts.forget` says that the bytes stay.
    """

    @property
    def url(self) -> str:
        """The address under which another process opens the same content, without credentials."""

    def put(self, content: bytes | IO[bytes]) -> tuple[str, int]:
        """Store *content* durably and return its digest (hexadecimal) and size in bytes.

        Atomic: a reader sees all of it or nothing, whatever kills the writer. A stream is read
        once, from its current position to its end, in pieces, in constant memory, and stays yours
        to close. If the store notices a damaged copy, it replaces it.

        Raises:
            StoreUnavailableError: Disk full, I/O error, no connection. Nothing was stored; it is
                safe to retry.
            ContentAccessError: The store refuses. Nothing was stored.
            InvalidInputError: The stream cannot be read, or does not return bytes.
        """

    def read(self, digest: str) -> bytes:
        """Return the bytes.

        Raises:
            CorruptContentError: They are missing, or are not the bytes that were stored.
        """

    def open(self, digest: str) -> AbstractContextManager[IO[bytes]]:
        """Open the bytes for reading from the beginning, in pieces, in constant memory.

        They are checked on the way: only after reading to the end do you know that they are intact.

        Raises:
            CorruptContentError: They are missing. If they are damaged, a ``read`` of the stream
                raises it, at the latest at the end.
        """

    def path(self, digest: str) -> Path | None:
        """Return the file that holds the bytes unchanged, if there is one."""

    def verify(self, digest: str) -> str | None:
        """Return what is wrong with the bytes, or ``None``.

        Reads all of them, in constant memory.
        """


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors, so that texts about the same thing point in the same direction.

    Called from any thread, and from several processes at once. It may be slow and it may fail: a
    passage without a vector is found by its words, and embedded later.

    It may have an attribute ``least_cosine``: a text that shares no word with a query, and is less
    similar to it than that, is not an answer. Without the attribute, the nearest texts are
    returned, however far away they are.
    """

    @property
    def identity(self) -> str:
        """Names everything that the vectors depend on: name, model, version.

        Another identity means another index.
        """

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; always the same for one identity."""

    def passages(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector for each text.

        Vectors may have any finite length; they are compared by their angle. Return zeros for a
        text that says nothing. A text is an artifact's title, a line break, and a passage. You may
        also return a numpy array.

        Raises:
            Exception: Any error: the passages are kept without vectors, and tried again when the
                index is next updated.
        """

    def query(self, text: str) -> Sequence[float]:
        """Return the vector of a query.

        Raises:
            Exception: Any error: the search then uses words only, unless you asked for vectors
                only.
        """


@runtime_checkable
class Executor(Protocol):
    """Calls functions, here or elsewhere: what `Orchestrator.run` needs of an executor.

    Those of `concurrent.futures` have it, and ``client.get_executor(pure=False)`` of Dask.
    """

    def submit(self, fn: Callable[[], Any], /) -> Future[Any]:
        """Call *fn* somewhere, some time; return the future of what it returns.

        It may be called twice, if its worker died in between.
        """
