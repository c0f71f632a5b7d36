"""The records: frozen, without I/O, the same for every store.

A record shows a fact as it was when you read it. To see a later state, read it again.
Times are aware datetimes in UTC. Mappings inside a record are your copy: changing one changes
nothing in the store.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import InvalidInputError
from vespera_orchestrator._records import JsonForm, Record, RecordList
from vespera_orchestrator._text import one_line, show_methods, show_value

_LONGEST_SHOWN = 500
"""Of a title or a note, in a line that shows its record."""

JsonValue: TypeAlias = Any
"""Whatever JSON can hold: ``None``, bool, int, finite float, str, list, dict with str keys."""

# --- words ------------------------------------------------------------------


class TaskStatus(StrEnum):
    """Where a task is in its life.

    *Ready* is not a status: it is what ``why()`` says of a pending task.
    """

    PENDING = "pending"
    """Not started, or waiting to be started again."""
    IN_PROGRESS = "in_progress"
    """An attempt holds it."""
    BLOCKED = "blocked"
    """An attempt did not succeed; a recovery task, or a person, comes next."""
    COMPLETED = "completed"
    FAILED = "failed"
    """Given up by a person."""
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """It could never become ready."""

    @classmethod
    def _missing_(cls, value: object) -> TaskStatus | None:
        return cls.IN_PROGRESS if value == "active" else None

    @property
    def is_terminal(self) -> bool:
        """Whether the task has ended."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED}
)


class Outcome(StrEnum):
    """What a dependency waits for."""

    SUCCESS = "success"
    FAILURE = "failure"
    DONE = "done"
    """Any end."""
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    BLOCKED = "blocked"
    """It was blocked at some time."""


class Existing(StrEnum):
    """What planning does about a task of the plan that the session has already."""

    ERROR = "error"
    """Refuse its alias, where the plan chose one; a title gets another alias."""
    KEEP = "keep"
    """Leave it as it is."""
    UPDATE = "update"
    """Change what the plan names."""


class NextAction(StrEnum):
    """What the holder of a task wants to happen with it."""

    COMPLETE = "complete"
    CONTINUE = "continue"
    """The holder keeps the task; its work so far is saved as an artifact."""
    NEEDS_REVISION = "needs_revision"
    """Pending again, with the note."""
    BLOCKED = "blocked"
    """Blocked, with one recovery task."""


class CauseKind(StrEnum):
    """Why a task is not ready."""

    DEPENDENCY = "dependency"
    """A task that it waits for has not ended with that outcome."""
    CONDITION = "condition"
    """Its condition is undecided."""
    CHILDREN = "children"
    """Its subtasks have not all ended."""
    LEASE = "lease"
    """An agent holds it."""
    AGENT = "agent"
    """It is for another agent; only a refused start says so."""
    MERGE = "merge"
    """Its finished work waits to be merged."""
    RECOVERY = "recovery"
    """It is blocked, and its recovery task comes first."""
    PERSON = "person"
    """It is blocked, and a person must decide what comes next."""
    ANSWER = "answer"
    """It waits for a person's answer."""
    SIGNAL = "signal"
    """It waits for something that the host reports."""
    MOMENT = "moment"
    """It rests until a date or a time; the record says until when."""
    BACKOFF = "backoff"
    """An attempt did not succeed, and it is tried again after a pause; the record says when."""
    ENDED = "ended"
    """It has ended already."""


class AttemptEnding(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    HANDED_IN = "handed_in"
    """Its work is done and waits to be merged.

    The task stays in progress, and its lease does not expire.
    """
    BLOCKED = "blocked"
    FAILED = "failed"
    """It did not succeed, and the task is tried again by itself after a pause."""
    TIMED_OUT = "timed_out"
    """It took longer than the task's time limit."""
    STALLED = "stalled"
    """Its holder was alive, and brought nothing new for too long."""
    REVISED = "revised"
    """Handed back to be revised: the task is pending again."""
    RELEASED = "released"
    ABANDONED = "abandoned"
    """It crashed: its lease expired without a sign of life, or its process ended. Or another agent
    took the task over.
    """
    RESTED = "rested"
    """Its lease expired, or its process ended, after its holder had paused: that is no crash."""
    GONE = "gone"
    """Somebody who knew that its holder was gone ended it."""
    CANCELLED = "cancelled"


class SearchGap(StrEnum):
    """What of an artifact is not searched, and why."""

    NOT_TEXT = "not_text"
    """It is no text: a picture, an archive, an office document."""
    NO_READER = "no_reader"
    """It is a PDF, and the extra ``pdf`` is not installed."""
    ENCRYPTED = "encrypted"
    """It is a PDF with a password."""
    DAMAGED = "damaged"
    """It is a PDF that cannot be read."""
    TOO_LARGE = "too_large"
    """It is a PDF that takes too much time or memory, so that not even a page of it was read."""
    NO_WORDS = "no_words"
    """It is a PDF of pictures, such as a scan."""
    UNREAD = "unread"
    """Its bytes could not be read here when it was indexed."""
    GARBLED = "garbled"
    """It is a text in an encoding that is not known here, searched by the letters it seems to have.
    """
    PART = "part"
    """A part is searched: the first two million characters, or the pages that could be read."""
    FIGURES = "figures"
    """It is a notebook, searched without its pictures."""
    ATTACHMENTS = "attachments"
    """It is a mail, searched without what is attached to it."""


class ArtifactKind(StrEnum):
    """The kinds of artifacts that the library saves itself. You may use any other word."""

    GENERAL = "general"
    """Your results, unless you choose another word."""
    FILE = "file"
    """A file, byte for byte."""
    SYNTHESIS = "synthesis"
    """The results of a task's subtasks in one text."""
    FAILURE = "failure"
    """What went wrong in an attempt."""
    LATE = "late"
    """Work that came after its attempt had been replaced or refused."""
    CONFLICT = "conflict"
    """What could not be merged."""
    REFUSAL = "refusal"
    """Why a landing was refused."""
    WARNING = "warning"
    """A landing removed work of others."""
    PROPOSAL = "proposal"
    """What we would write into a section of a document that a person has edited."""


SECONDARY_KINDS = frozenset({ArtifactKind.LATE, ArtifactKind.FAILURE})
"""Kinds that come after the results: late work, and failures before a success."""


class RefusalKind(StrEnum):
    """Why a landing was refused."""

    CHECK = "check"
    """The check before landing failed, or could not be run."""
    REVERTS = "reverts"
    """It would undo what others landed, and the settings forbid that."""


class WorktreeState(StrEnum):
    """Where a worktree is in its life."""

    ACTIVE = "active"
    LANDED = "landed"
    """Its work is on the integration branch; the folder may remain."""
    REMOVED = "removed"


class GitOperation(StrEnum):
    """A git operation that an agent has under way in its worktree."""

    REBASE = "rebase"
    MERGE = "merge"
    CHERRY_PICK = "cherry-pick"
    REVERT = "revert"
    BISECT = "bisect"
    AM = "am"
    """Patches are being applied by ``git am``."""
    STASH_POP = "stash pop"
    """Conflicts are left in the index, as ``git stash pop`` leaves them."""

    @property
    def finish(self) -> str:
        """The command that ends it with its result, once the files have no conflict left."""
        return _FINISH.get(self, f"git add -A && git -c core.editor=true {self} --continue")

    @property
    def abandon(self) -> str:
        """The command that ends it and gives up its result."""
        return _ABANDON.get(self, f"git {self} --abort")


_FINISH = {
    GitOperation.MERGE: "git add -A && git commit --no-edit",
    GitOperation.BISECT: "git bisect reset",
    GitOperation.STASH_POP: "git add -A",
}
_ABANDON = {
    GitOperation.BISECT: "git bisect reset",
    GitOperation.STASH_POP: "git reset --merge",
}


class PressureLevel(StrEnum):
    """How close to too much it is, the lowest first."""

    STEADY = "steady"
    STRAINED = "strained"
    OVERWHELMED = "overwhelmed"


class PressureKind(StrEnum):
    """What adds to the pressure."""

    FAILURES = "failures"
    """Attempts that were blocked."""
    RETRIES = "retries"
    """Tasks that were tried again."""
    EXPIRED_LEASES = "expired_leases"
    """Agents that stopped responding."""
    QUEUE = "queue"
    """More is planned than is done."""
    CONFLICTS = "conflicts"
    """Landings that are not settled."""
    RUNNING = "running"
    """More is under way than there is room for."""
    CHECKPOINTS = "checkpoints"
    """Running work has not been saved for long."""
    HOURS = "hours"
    """Long hours without a break."""
    UNSEEN = "unseen"
    """Finished work that nobody has looked at."""
    ENERGY = "energy"
    """The person's own word."""


class Energy(StrEnum):
    """How much a person can take on, in their own word."""

    NORMAL = "normal"
    LOW = "low"
    """One step at a time, few choices, no haste."""


class EventKind(StrEnum):
    """The kinds of events, in the past tense. The value is the text that is stored.

    *Data* lists the keys of the event's `Event.data`.
    """

    SESSION_STARTED = "session_started"
    """Data: ``goal``."""
    SESSION_RESUMED = "session_resumed"
    SESSION_PAUSED = "session_paused"
    """Somebody left off.

    Data: ``note`` and ``next_step``; ``worded``, which of them the library worded itself;
    ``tasks``, the ids of those that were open.
    """
    CONTEXT_SHARED = "context_shared"
    """An agent shared values with the others.

    Data: ``keys``, and ``conflicts``, those keys whose value another agent set differently.
    """
    TASK_PLANNED = "task_planned"
    """Data: ``alias``, ``title``."""
    TASK_UPDATED = "task_updated"
    """Data: the changed fields with their new values."""
    TASK_SNOOZED = "task_snoozed"
    """Somebody let it rest, or woke it.

    Data: ``until``, a time or ``None``; ``due_at`` and ``due_day`` if the due date moved with it;
    ``due_moved`` while it is not where it was planned: where it is now (``to``), and where it was
    (``from``).
    """
    TASK_ANSWERED = "task_answered"
    """A person answered it. Data: ``outputs``."""
    SIGNAL_RECEIVED = "signal_received"
    """The host reported something. Data: ``name``, ``payload``, and ``tasks``, the ids of those
    that waited for it.
    """
    QUESTION_ASKED = "question_asked"
    """Its holder needs an answer to go on. Data: ``attempt``, ``question`` (the id of the task that
    asks it).
    """
    EFFECT_BEGUN = "effect_begun"
    """Its holder is about to do something that must not happen twice.

    Data: ``attempt``, ``key``.
    """
    EFFECT_RECORDED = "effect_recorded"
    """It has happened. Data: ``attempt``, ``key``."""
    TASK_WOKEN = "task_woken"
    """Its *not_before* has come, or somebody answered what they had put off.

    Data: ``not_before``.
    """
    TASK_STARTED = "task_started"
    """Data: ``attempt``."""
    TASK_CONTINUED = "task_continued"
    """Its holder saved results and keeps it.

    Data: ``attempt``, ``artifacts`` (ids), and ``summary`` and ``reason`` if they were passed;
    ``outputs``.
    """
    TASK_HANDED_IN = "task_handed_in"
    """Its work is done and waits to be merged.

    Data: ``attempt``, ``artifacts`` (ids), and ``summary`` and ``reason`` if they were passed.
    """
    TASK_COMPLETED = "task_completed"
    """Data: ``attempt``, ``artifacts`` (ids), and ``summary`` and ``reason`` if they were passed;
    ``landed``, the commit, if its worktree was merged.
    """
    TASK_REVISED = "task_revised"
    """Its holder handed it back to be revised.

    Data: ``attempt``, ``artifacts`` (ids), and ``summary`` and ``reason`` if they were passed.
    """
    TASK_RELEASED = "task_released"
    """Its holder handed it back without a result.

    Data: ``attempt``, ``artifacts`` (ids), and ``summary`` and ``reason`` if they were passed.
    """
    TASK_BLOCKED = "task_blocked"
    """Data: ``attempt``, ``artifacts`` (ids), and ``summary`` and ``reason`` if they were passed;
    ``empty_rounds``, if it was handed back so often in a row without progress; ``crashes``, if so
    many attempts in a row crashed or stalled.
    """
    RETRY_SCHEDULED = "retry_scheduled"
    """An attempt did not succeed, and the task is tried again by itself.

    Data: ``attempt``, ``artifacts`` (ids), ``reason``, ``failures`` (how many there are), and
    ``retry_at``.
    """
    TASK_RECOVERED = "task_recovered"
    """Its recovery task is completed, so it is pending again.

    Data: ``recovery``, the id of that task.
    """
    TASK_RETRIED = "task_retried"
    """A person asked for another try, so it is pending again.

    Data: ``reason``; ``with``, the id of the whole, where it was cancelled with that and comes back
    with it.
    """
    TASK_REOPENED = "task_reopened"
    """It was completed, and a person opened it again. Or it was skipped, and is pending again
    because a task before it is tried again.

    Data: ``reason``; of a completed one also ``summary``, ``outputs``, and the ids of the tasks
    that wait again (``waiting``) and that built on it (``outdated``).
    """
    TASK_CORRECTED = "task_corrected"
    """Its summary was mended. Data: ``summary``, ``before``, and the ids of the tasks that built on
    it (``outdated``).
    """
    TASK_SKIPPED = "task_skipped"
    """Data: ``reason``."""
    TASK_CANCELLED = "task_cancelled"
    """Data: ``reason``; ``with``, the id of the task above it that was cancelled or given up, if it
    was cancelled for that.
    """
    TASK_FAILED = "task_failed"
    """A person gave it up. Data: ``reason``."""
    TASK_ARCHIVED = "task_archived"
    TASK_DELETED = "task_deleted"
    """Data: ``alias``, ``title``."""
    DEPENDENCY_ADDED = "dependency_added"
    """Data: ``needs`` (the task's id), ``on`` (the outcome)."""
    DEPENDENCY_REMOVED = "dependency_removed"
    """Data: ``needs``."""
    LEASE_RENEWED = "lease_renewed"
    """Data: ``attempt``, and ``clock_set_back`` where that was the cause."""
    LEASE_EXPIRED = "lease_expired"
    """Data: ``attempt``; ``silent_since``, when its holder was last heard of; ``paused`` if that
    one had left off. Before its time: ``process_ended`` if it ended with its process, ``taken_by``
    if this agent took the task over.
    """
    ATTEMPT_TIMED_OUT = "attempt_timed_out"
    """It took longer than the task's time limit. What follows is an event of its own.

    Data: ``attempt``, ``limit_s``.
    """
    ATTEMPT_STALLED = "attempt_stalled"
    """Its holder kept its lease, and brought nothing new for too long. The task is pending again.

    Data: ``attempt``, ``limit_s``.
    """
    ATTEMPT_ENDED = "attempt_ended"
    """Somebody who knew that its holder was gone ended it, so the task is pending again.

    Data: ``attempt``, ``holder`` (the agent that held it), ``reason``. The event's agent is the one
    that ended it.
    """
    LEASE_REGAINED = "lease_regained"
    """The holder renewed an expired lease before another agent took the task. Data: ``attempt``."""
    CHECKPOINT_SAVED = "checkpoint_saved"
    """Data: ``attempt``, ``checkpoint`` (its id), ``note``, ``progress``, and ``left_out`` if
    files could not be saved.
    """
    ARTIFACT_SAVED = "artifact_saved"
    """Data: ``artifact`` (its id), ``title``, ``kind``, ``supersedes``."""
    ARTIFACT_SUPERSEDED = "artifact_superseded"
    """An artifact of another title or task has taken its place.

    Data: ``artifact`` (its id), ``by`` (the id of the other one).
    """
    ARTIFACT_FORGOTTEN = "artifact_forgotten"
    """It was removed for good. Data: ``artifact`` (its id), ``version``, ``reason``, ``given_to``
    (the tasks that had been given it).
    """
    TEXT_FORGOTTEN = "text_forgotten"
    """A text was replaced by a mark wherever it was. Data: ``reason``."""
    CONTEXT_GIVEN = "context_given"
    """A task was given artifacts to build on. Data: ``attempt``, ``artifacts`` (ids)."""
    WORKTREE_CREATED = "worktree_created"
    """Data: ``worktree``, ``branch``, ``landed`` (the commit), ``rescue`` (the ref)."""
    WORKTREE_LANDED = "worktree_landed"
    """Data: ``worktree``, ``branch``, ``landed`` (the commit), ``rescue`` (the ref)."""
    WORKTREE_MOVED = "worktree_moved"
    """Its folder is in another place. Data: ``worktree``, ``branch``, ``landed`` (the commit),
    ``rescue`` (the ref).
    """
    WORKTREE_REMOVED = "worktree_removed"
    """Data: ``worktree``, ``branch``, ``landed`` (the commit), ``rescue`` (the ref)."""
    SETTINGS_AGREED = "settings_agreed"
    """What the homes of a session have to have in common was set, or changed.

    Data: ``integration_branch``, ``check``, ``undoing``, ``content``, ``machine``, ``project``.
    """
    DOCUMENT_UPDATED = "document_updated"
    """Data: ``path``, ``version``."""
    ENERGY_SET = "energy_set"
    """A person said how much they can take on. Data: ``energy``."""
    PRESSURE_CHANGED = "pressure_changed"
    """The level of pressure is another one.

    Data: ``level``, ``before``, ``score``, ``energy``, and ``causes`` (sentences).
    """
    STORE_IMPORTED = "store_imported"
    """Data: ``rows``, ``exported_at``."""
    STORE_PRUNED = "store_pruned"
    """Data: the name of the table, with the number of rows."""
    STORE_REPAIRED = "store_repaired"
    """Data: ``done`` (sentences), ``count``; for one task, ``status`` and ``log_said``."""


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    ERROR = "error"
    """Something is lost, wrong or in the way of the work."""
    WARNING = "warning"
    """Something is behind or half done. The next call that needs it fixes it, or `repair` does."""
    NOTE = "note"
    """Good to know; nothing is wrong."""


class HomeSource(StrEnum):
    """How the home was found that was opened."""

    CALL = "call"
    """The call named it."""
    ENVIRONMENT = "environment"
    """``VESPERA_ORCHESTRATOR_HOME`` named it."""
    REPOSITORY = "repository"
    """It belongs to the main worktree of the git repository around the folder."""
    ABOVE = "above"
    """It is that of a folder further up, in the same project."""
    HERE = "here"
    """It is that of the folder itself."""


class FindingKind(StrEnum):
    """What part of a home a finding is about."""

    STORAGE = "storage"
    """The store's own files: a damaged page, a broken index, a table that cannot be read."""
    ROW = "row"
    """A row holds values that no store of ours writes."""
    REFERENCE = "reference"
    """A row names another one that does not exist."""
    COUNTER = "counter"
    """A number or mark that is derived from other rows differs from them."""
    STATE = "state"
    """A task or an attempt is in a state that contradicts the rest."""
    CONDITION = "condition"
    """A condition that cannot be read."""
    CIRCLE = "circle"
    """Tasks wait for each other."""
    LOG = "log"
    """The event log disagrees with the rows."""
    CONTENT = "content"
    """The bytes of an artifact or document version are lost or damaged."""
    ORPHAN = "orphan"
    """Bytes that nothing refers to."""
    FORGETTING = "forgetting"
    """Something was forgotten, and not all that was made from it is removed yet."""
    WORKTREE = "worktree"
    """A worktree that is missing, damaged or left over."""
    INDEX = "index"
    """The search index."""
    DOCUMENT = "document"
    """A document that is out of date or was edited."""
    SESSION = "session"
    """The active session cannot be found."""
    SETTING = "setting"
    """A setting of this home that does not count, or is not what its session has agreed on."""


# --- names ------------------------------------------------------------------

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, lower case: no i, l, o, u to be misread."""
_ID = re.compile(rf"[sta]_[{_ALPHABET}]{{12}}")
_ID_IN_TEXT = re.compile(rf"(?<!\w)[ta]_[{_ALPHABET}]{{12}}(?!\w)")


def new_id(prefix: str) -> str:
    """Make an id: *prefix*, an underscore, 60 random bits. A condition can use it as a name."""
    bits = secrets.randbits(60)
    return f"{prefix}_" + "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(0, 60, 5))


def is_id(text: str) -> bool:
    """Tell whether *text* has the form of an id made by `new_id`."""
    return _ID.fullmatch(text) is not None


def find_ids(text: str) -> list[str]:
    """Return the ids of artifacts and tasks that stand in *text*, each once, in order."""
    return list(dict.fromkeys(_ID_IN_TEXT.findall(text)))


def utcnow() -> datetime:
    """Return the time now, aware, in UTC."""
    return datetime.now(UTC)


# --- records ----------------------------------------------------------------


@attrs.frozen(repr=False, kw_only=True)
class Session(Record):
    """A piece of work from goal to end, over days and processes."""

    id: str
    """``s_`` and twelve letters or digits."""
    goal: str
    """What you want to reach, as you wrote it."""
    project_type: str | None
    """Which documents are kept: those of ``software_development``, ``research_project`` or
    ``creative_writing``; ``None`` for none.
    """
    parent_session_id: str | None
    """The session that this one is part of."""
    context: Mapping[str, JsonValue]
    """What you passed at the start."""
    created_at: datetime
    """When it was started."""
    updated_at: datetime
    """When anything was last written in this session."""

    json_form = JsonForm(
        details=("created_at",),
        rest="orch.session_status({id!r}).session",
        names=("id", "goal", "updated_at"),
        columns=("id", "goal", "project_type", "updated_at"),
    )

    def __str__(self) -> str:
        goal = one_line(self.goal, _LONGEST_SHOWN) or "(no goal given)"
        return f"session {self.id}: {goal}"

    def __repr__(self) -> str:
        return f"Session({self.id!r}, {self.goal!r})"


def _task_reference(value: object) -> str:
    return str(value.id) if isinstance(value, Task) else str(value)


@attrs.frozen
class Dependency(Record):
    """An edge: wait until *task* has the outcome *on*."""

    task: str = attrs.field(converter=_task_reference)
    """The task to wait for: an id; on input also an alias or a `Task`."""
    on: Outcome = attrs.field(default=Outcome.SUCCESS, converter=Outcome)
    """The outcome to wait for; you can also pass a word such as ``"failure"``."""

    json_form = JsonForm(usual={"on": "success"})


@attrs.frozen(repr=False, kw_only=True)
class Task(Record):
    """One unit of work."""

    id: str
    """``t_`` and twelve letters or digits; never changes."""
    alias: str
    """Short name, unique in the session."""
    session_id: str
    """The session it belongs to."""
    title: str
    """What to do, in a few words."""
    description: str
    """What an agent must know to do it."""
    status: TaskStatus
    """Where it is in its life."""
    task_type: str
    """``standard``, ``recovery``, or any word of yours."""
    complexity: str
    """Any word of yours; ``moderate`` by default."""
    specialist_type: str | None
    """Who should do it, in any word of yours."""
    priority: int
    """Higher goes first."""
    estimated_effort: str | None
    """As you wrote it, e.g. ``"2 hours"``."""
    due_at: datetime | None
    """When it should be done; where a day was named, see *due_day*, noon of it."""
    parent_task_id: str | None
    """The task it is part of, which waits for it."""
    dependencies: tuple[Dependency, ...]
    """What it waits for."""
    condition: str | None
    """The text of the condition, as you wrote it."""
    condition_names: Mapping[str, str]
    """For each name that the condition uses, the id of the dependency it means."""
    context: Mapping[str, JsonValue]
    """What you passed with the plan for the agent that does it."""
    outputs: Mapping[str, JsonValue]
    """Values from the completion, for conditions and later tasks."""
    summary: str | None
    """A line for display. The record of the work is in the artifacts."""
    reason: str | None
    """Why it is blocked, skipped, failed or cancelled; of a completed one, that it changed nothing
    in its worktree."""
    attempts: int
    """Number of the latest attempt; 0 before the first."""
    failures: int
    """How many attempts did not succeed since a person last decided."""
    max_attempts: int
    """After this many failures, or crashes in a row without progress, a person decides."""
    was_blocked: bool
    """Whether it has been blocked at any time."""
    blockers: int
    """How many causes keep it from being ready: unmet dependencies, an undecided condition, open
    children.
    """
    urgency: float
    """Hours of the longest chain of work that starts with it, by estimated effort, as far as known
    when it was planned.
    """
    recovers_task_id: str | None
    """For a recovery task: the task it repairs."""
    archived: bool
    """Whether it is archived; lists leave it out unless you ask."""
    created_at: datetime
    """When it was planned."""
    updated_at: datetime
    """When anything about it last changed."""
    ended_at: datetime | None
    """When it was completed, failed, cancelled or skipped."""
    worktree: str | None = None
    """Name of its worktree, its own or a shared one; ``""`` if it was started without one by
    choice.
    """
    acceptance: str = ""
    """How to tell that it is done."""
    due_day: str | None = None
    """The day on which it should be done, such as ``2026-12-24``, where no time was named."""
    not_before: datetime | None = None
    """It is not ready before."""
    zone: str | None = None
    """The time zone in which its dates were meant."""
    asleep: bool = False
    """Whether it rests until *not_before*. The first call after that moment wakes it."""
    question: str | None = None
    """What a person is asked; the answer completes the task."""
    signal: str | None = None
    """The name of what the host reports; that completes the task."""
    answered: bool = False
    """Whether the answer, or the signal, has come."""
    empty_rounds: int = 0
    """How many attempts in a row handed it back without progress."""
    for_agent: str | None = None
    """The only agent that it is handed to."""
    planned_by: str = ""
    """The agent that planned it, if it had been given a name."""
    retry_after_s: float | None = None
    """The pause before the second attempt, in seconds, if it is tried again by itself after an
    attempt that did not succeed. The pause doubles each time.
    """
    time_limit_s: float | None = None
    """How long an attempt may take, in seconds."""
    stalled_after_s: float | None = None
    """How long an attempt may go without bringing anything new, in seconds."""
    retry_at: datetime | None = None
    """When it is tried again, while it pauses after an attempt that did not succeed."""
    crashes: int = 0
    """How many attempts in a row crashed or stalled without progress."""

    json_form = JsonForm(
        columns=("alias", "title", "status", "specialist_type", "for_agent", "summary"),
        properties=("is_ready",),
        details=(
            "session_id",
            "condition_names",
            "was_blocked",
            "blockers",
            "urgency",
            "zone",
            "planned_by",
            "created_at",
            "updated_at",
            "ended_at",
        ),
        usual={
            "task_type": "standard",
            "complexity": "moderate",
            "priority": 0,
            "attempts": 0,
            "failures": 0,
            "max_attempts": 3,
            "asleep": False,
            "answered": False,
            "empty_rounds": 0,
            "crashes": 0,
        },
        rest="orch.get_task({id!r})",
        names=("id", "alias", "title", "status", "summary", "reason"),
    )

    @property
    def is_ready(self) -> bool:
        """Whether it could be started when this record was read."""
        return self.status is TaskStatus.PENDING and self.blockers == 0

    def on(self, outcome: str | Outcome) -> Dependency:
        """Return the dependency on an outcome of this task, e.g. ``task.on("failure")``."""
        ends = [each for each in Outcome if each == outcome]
        if not ends:
            known = ", ".join(Outcome)
            raise InvalidInputError("outcome", f"{show_value(outcome)} is not one of {known}")
        return Dependency(self.id, ends[0])

    def __repr__(self) -> str:
        # All thirty fields would hide the three that you look for.
        return f"Task({self.alias!r}, {str(self.status)!r}, {self.title!r})"

    def __str__(self) -> str:
        return f"{self.alias} [{self.status}] {one_line(self.title, _LONGEST_SHOWN)}"


@attrs.frozen(repr=False, kw_only=True)
class Attempt(Record):
    """One try at a task, held by one agent until *lease_until*."""

    task_id: str
    """The task."""
    number: int
    """From 1. Each write under the attempt is checked against it."""
    agent: str
    """Who holds it."""
    started_at: datetime
    """When the task was claimed."""
    lease_until: datetime
    """When the lease expires unless it is renewed."""
    last_sign_at: datetime
    """When the lease was last renewed, or a checkpoint saved."""
    ended_at: datetime | None = None
    """When it ended; ``None`` while it runs."""
    ending: str | None = None
    """One of `AttemptEnding`, such as ``completed`` or ``timed_out``; ``None`` while it runs."""
    error: str | None = None
    """What went wrong."""
    process: str = ""
    """The processes that this attempt ends with, where it does: those of `Orchestrator.run`.

    Once all of them have ended, nobody needs to wait for the lease. After a question mark, the
    process in which it was taken, or taken up again: whoever did may go on in another one.
    """
    times_out_at: datetime | None = None
    """When its time limit is over, if it has one."""
    stalls_at: datetime | None = None
    """When it counts as stalled unless it brings something new before, if there is such a limit."""

    @property
    def lease_s(self) -> float:
        """How long the lease lasts without a sign of life, in seconds."""
        return (self.lease_until - self.last_sign_at).total_seconds()

    @property
    def is_handed_in(self) -> bool:
        """Whether its work is done, and waits to be merged."""
        return self.ending == AttemptEnding.HANDED_IN

    def __repr__(self) -> str:
        state = self.ending or "running"
        return f"Attempt({self.number} of {self.task_id!r} by {self.agent!r}, {state})"


@attrs.frozen(kw_only=True)
class PastWork(Record):
    """How long somebody worked on a task that is completed."""

    task_id: str
    """The task."""
    specialist_type: str | None
    """The specialist that it was for."""
    attempts_s: tuple[float, ...]
    """How long each attempt took, in seconds, without those whose holder was lost."""


@attrs.frozen(repr=False, kw_only=True)
class Checkpoint(Record):
    """What an attempt saved on the way."""

    id: int
    """Its number in the store."""
    task_id: str
    """The task."""
    attempt: int
    """The number of the attempt that saved it."""
    state: JsonValue
    """What the next attempt needs to continue."""
    note: str
    """How far the work was, in words."""
    progress: float | None
    """The share that is done, 0 to 1."""
    snapshot: str | None
    """Commit with the worktree's files at that moment, in hexadecimal."""
    left_out: tuple[str, ...] = ()
    """Paths in the worktree that *snapshot* does not contain."""
    created_at: datetime
    """When it was saved."""

    def __str__(self) -> str:
        text = f"checkpoint {self.id}"
        if self.progress is not None:
            text += f", {self.progress:.0%}"
        return f"{text}: {one_line(self.note, _LONGEST_SHOWN)}" if self.note else text

    def __repr__(self) -> str:
        return f"Checkpoint({self.id}, {self.note!r}, progress={self.progress})"


@attrs.frozen(repr=False, kw_only=True)
class Artifact(Record):
    """The full record of something produced. Its bytes are in the content store under *digest*."""

    id: str
    """``a_`` and twelve letters or digits; each version has its own."""
    session_id: str
    """The session it was saved in."""
    task_id: str | None
    """The task it belongs to, if any."""
    attempt: int | None
    """The number of the attempt that saved it, if one did."""
    agent: str | None
    """Who saved it."""
    kind: str
    """One of `ArtifactKind`, or any word of yours."""
    title: str
    """Its title; the same title in the same task makes the next version."""
    media_type: str
    """E.g. ``text/markdown``."""
    digest: str
    """SHA-256 of the bytes, in hexadecimal."""
    size_bytes: int
    """Size of the content, uncompressed."""
    version: int
    """From 1; saving under the same title in the same task makes the next."""
    supersedes_id: str | None
    """The version before it."""
    superseded: bool
    """Whether a later version exists, or another artifact has taken its place."""
    partial: bool
    """Whether the work it records is unfinished."""
    tags: tuple[str, ...]
    """Words to find it by."""
    metadata: Mapping[str, JsonValue]
    """Whatever you want to keep with it."""
    created_at: datetime
    """When it was saved."""
    home_id: str = ""
    """The home whose own folder has the bytes; empty where they went to a content store that other
    homes can reach, or an earlier version saved them.
    """
    superseded_by: str | None = None
    """The artifact of another title or task that has taken its place, if one has."""

    json_form = JsonForm(
        details=("session_id", "attempt", "digest", "created_at", "home_id"),
        usual={"kind": "general", "media_type": "text/markdown", "version": 1},
        rest="orch.artifacts.get({id!r})",
        names=("id", "title", "kind", "version", "partial", "superseded"),
    )

    def __str__(self) -> str:
        title = " ".join(self.title.split())
        return f"{self.id} {title} (v{self.version}, {self.media_type}, {self.size_bytes} bytes)"

    def _repr_html_(self) -> str:
        from html import escape

        details = [f"v{self.version}"]
        if self.partial:
            details.append("partial")
        if self.superseded:
            details.append("superseded")
        details += [self.kind, self.media_type, f"{self.size_bytes:,} bytes"]
        details += [f"by {self.agent}", self.id]
        return f"<b>{escape(self.title)}</b><br>{escape(', '.join(details))}"

    def __repr__(self) -> str:
        return f"Artifact({self.id!r}, {self.kind!r}, {self.title!r}, version {self.version})"


@attrs.frozen(kw_only=True)
class TaskArtifact(Record):
    """An artifact that holds now, as the work of a task."""

    task_id: str
    """The task whose work it is."""
    artifact: Artifact
    """What the task saved; or what has taken its place, which may be of any task."""
    replaces: Artifact | None = None
    """What the task saved, where something of another title or task has taken its place."""

    @property
    def saved(self) -> Artifact:
        """What the task itself saved."""
        return self.replaces or self.artifact


@attrs.frozen(kw_only=True)
class Tombstone(Record):
    """What the store keeps of something that was removed for good: never what it said."""

    id: str
    """The id of the artifact; or of a document, its path and version."""
    session_id: str
    """The session it was in."""
    task_id: str | None
    """The task it belonged to, if any."""
    version: int
    """Its version."""
    reason: str
    """Why it was removed, in the words of whoever asked for it."""
    agent: str | None
    """Who asked for it."""
    saved_at: datetime
    """When it had been saved."""
    forgotten_at: datetime
    """When it was removed; the same for all that one call removed."""
    digest: str | None
    """SHA-256 of its bytes, until these are removed."""
    home_id: str
    """The home whose own folder had the bytes; see `Artifact.home_id`."""
    proof: Mapping[str, JsonValue]
    """What was removed where; empty as long as nothing but the record is removed."""

    json_form = JsonForm(properties=("is_pending",))

    @property
    def is_pending(self) -> bool:
        """Whether something is left to do."""
        return not self.proof or self.digest is not None


@attrs.frozen(repr=False, kw_only=True)
class ContextUse(Record):
    """A task was given a version of an artifact to build on."""

    task_id: str
    """The task."""
    alias: str
    """Alias of the task."""
    attempt: int
    """Number of the attempt; 0 before the first."""
    artifact_id: str
    """The version that the task was given."""
    title: str
    """Title of the artifact."""
    version: int
    """Number of that version."""
    latest_id: str
    """What holds now: the artifact's latest version, or what has taken its place since. The same as
    *artifact_id* as long as that holds.
    """
    latest_version: int
    """Its number."""
    latest_title: str
    """Its title."""
    given_at: datetime
    """When the task was given it."""

    json_form = JsonForm(properties=("outdated",), details=("given_at",))

    @property
    def outdated(self) -> bool:
        """Whether something else holds now."""
        return self.latest_id != self.artifact_id

    def __str__(self) -> str:
        text = f"{self.alias} was given {self.title!r} version {self.version} ({self.artifact_id})"
        if not self.outdated:
            return text
        if self.latest_title != self.title:
            return f"{text}; {self.latest_title!r} has taken its place ({self.latest_id})"
        return f"{text}; there is version {self.latest_version} now ({self.latest_id})"

    def __repr__(self) -> str:
        return str(self)


@attrs.frozen(repr=False, kw_only=True)
class Event(Record):
    """A fact recorded, in the past tense."""

    seq: int
    """Position in the log; it only grows, and may have gaps."""
    at: datetime
    """When it happened."""
    kind: str
    """What happened: one of `EventKind`, e.g. ``task_completed``."""
    session_id: str | None
    """The session it happened in, if any."""
    task_id: str | None
    """The task it is about, if any."""
    agent: str | None
    """Who caused it, if known."""
    data: Mapping[str, JsonValue]
    """Further facts; `EventKind` names the keys of each kind."""

    json_form = JsonForm(details=("session_id",))

    def __str__(self) -> str:
        where = f"{self.kind} {self.task_id or ''} {self.agent or ''}"
        return f"{self.seq} {self.at:%H:%M:%S} {one_line(where, _LONGEST_SHOWN)}"

    def __repr__(self) -> str:
        return f"Event({self.seq}, {self.kind!r}, {self.task_id!r})"


@attrs.frozen(kw_only=True, repr=False)
class PastEvent(Event):
    """An event, with the alias of its task and what it says in words."""

    alias: str | None
    """The alias of its task as it is now; ``None`` if it is about no task."""
    words: str
    """What happened, in a few words."""
    detail: str
    """What somebody wrote about it: a summary, a reason, a note."""

    json_form = JsonForm(
        details=("session_id", "data"), first=("alias", "words"), rest="orch.history()"
    )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} UTC  {self.sentence}"

    def __repr__(self) -> str:
        return f"PastEvent({self.seq}, {self.sentence!r})"

    @property
    def sentence(self) -> str:
        """Task, words, agent and detail in one line."""
        subject = f"{self.alias}: " if self.alias else ""
        agent = f" ({one_line(self.agent)})" if self.agent else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{subject}{self.words}{agent}{detail}"


@attrs.frozen(kw_only=True)
class Reopening(Record):
    """A completed task that was opened again, and what that means for others."""

    task: Task
    """The task, pending again."""
    waiting: tuple[Task, ...]
    """Tasks that have not begun, and wait for it again."""
    outdated: tuple[Task, ...]
    """Tasks that have built on it, directly or through others, and are not stopped."""

    @property
    def id(self) -> str:
        """The id of the task."""
        return self.task.id

    @property
    def alias(self) -> str:
        """The alias of the task."""
        return self.task.alias

    @property
    def status(self) -> TaskStatus:
        """The status of the task."""
        return self.task.status

    def __str__(self) -> str:
        lines = [f"{self.alias} is open again"]
        if self.waiting:
            lines.append(f"waiting for it again: {_aliases(self.waiting)}")
        if self.outdated:
            lines.append(f"built on what it was: {_aliases(self.outdated)}")
            done = [task.alias for task in self.outdated if task.status is TaskStatus.COMPLETED]
            if done:
                lines.append(f"to do one of them again, too: orch.reopen_task({done[0]!r}, …)")
        return "\n".join(lines)


def _aliases(tasks: tuple[Task, ...]) -> str:
    return ", ".join(task.alias for task in tasks)


@attrs.frozen(repr=False, kw_only=True)
class Worktree(Record):
    """A checkout for one task or agent."""

    name: str
    """Unique among the worktrees of the repository; also its name under git's ``worktrees/``."""
    session_id: str
    """The session it was made in."""
    task_id: str | None
    """The task it was made for, if any."""
    agent: str | None
    """The agent it was made for, if any."""
    path: str
    """Absolute path of the folder."""
    branch: str
    """E.g. ``feature/task_d``."""
    base: str
    """Commit it started from, in hexadecimal."""
    state: str
    """``active``, ``landed`` (merged, folder may remain) or ``removed``."""
    landed: str | None
    """Commit on the integration branch that holds its work."""
    rescue_ref: str | None
    """Ref that keeps its last files after removal. If the worktree was restored, the ref that it
    was restored from.
    """
    created_at: datetime
    """When it was made."""
    unlanded: bool = False
    """Whether it held work that was not on the integration branch when it was removed."""
    home_id: str = ""
    """The home that made it. Only that home saves, lands or removes it. Empty in records of
    earlier versions.
    """
    machine: str = ""
    """The name of the machine that made it."""
    project: str = ""
    """The top of the repository there; git can fetch from it."""
    saved: str | None = None
    """Commit with the files that were last saved for an attempt. Other homes need it to go on."""

    json_form = JsonForm(
        details=("session_id", "base", "created_at", "home_id", "machine", "project", "saved"),
        columns=("name", "branch", "state", "machine", "path"),
    )

    def __repr__(self) -> str:
        return f"Worktree({self.name!r}, {self.state!r}, {self.path!r})"


@attrs.frozen(kw_only=True)
class Position(Record):
    """Where the project's checkout and the integration branch are."""

    branch: str | None = None
    """The branch that is checked out; ``None`` on a detached HEAD, and without git."""
    head: str | None = None
    """The commit that is checked out, in hexadecimal."""
    integration: str | None = None
    """The newest commit of the integration branch."""


@attrs.frozen(kw_only=True)
class Look(Record):
    """When an agent or a person last asked where a session stands."""

    session_id: str
    """The session."""
    agent: str
    """Who looked."""
    seq: int
    """The last event that there was."""
    at: datetime
    """When it was."""
    branch: str | None = None
    """The branch that was checked out in the project."""
    head: str | None = None
    """The commit that was checked out there."""
    integration: str | None = None
    """The newest commit of the integration branch."""


@attrs.frozen(repr=False, kw_only=True)
class Pause(Record):
    """What somebody who left off said, and what was saved then."""

    session_id: str
    """The session."""
    agent: str
    """Who left off."""
    at: datetime
    """When."""
    note: str
    """Where they were, in their own words, or in the library's."""
    next_step: str
    """What they meant to do next, likewise."""
    worded: tuple[str, ...] = ()
    """Which of the two, ``note`` and ``next_step``, the library worded."""
    saved: tuple[str, ...] = ()
    """The aliases of the open tasks that were saved."""
    not_saved: tuple[str, ...] = ()
    """What could not be saved, and why."""
    begun: tuple[str, ...] = ()
    """Tasks that they hold from another process, which saves them."""

    def __str__(self) -> str:
        parts = [f"Saved: {', '.join(self.saved)}."] if self.saved else []
        if self.begun:
            parts.append(f"Begun, and still yours: {', '.join(self.begun)}.")
        text = f"Paused. {' '.join(parts) or 'Nothing was open.'}"
        if self.not_saved:
            text += f" Not saved: {'; '.join(self.not_saved)}."
        return f"{text} When you come back: print(orch.resume())"

    def __repr__(self) -> str:
        return str(self)


@attrs.frozen(repr=False, kw_only=True)
class SharedValue(Record):
    """A value that an agent shared with the others under a key."""

    id: int
    """Its number in the store; a later value has a higher one."""
    session_id: str
    """The session that it was shared in."""
    key: str
    """Its name."""
    value: JsonValue
    """Anything JSON can hold."""
    agent: str
    """Who shared it."""
    shared_at: datetime
    """When."""
    is_current: bool = True
    """Whether no later value has taken its place."""
    disputes: int | None = None
    """The id of the value of another agent that this one contradicts, until somebody settles it."""

    def __str__(self) -> str:
        source = f"{one_line(self.agent)}, {self.shared_at:%Y-%m-%d %H:%M} UTC"
        return f"{one_line(self.key)} = {self.value!r} ({source})"

    def __repr__(self) -> str:
        return f"SharedValue({self.key!r}, {self.value!r}, by {self.agent!r})"


@attrs.frozen(kw_only=True)
class DocumentVersion(Record):
    """One state of a project document."""

    path: str
    """Relative to the project's folder, with forward slashes."""
    version: int
    """From 1."""
    digest: str
    """SHA-256 of the text, kept in the content store."""
    event_seq: int
    """The last event that this version includes."""
    created_at: datetime
    """When it was written."""
    edited: tuple[str, ...] = ()
    """The sections that a person has edited; their text is not ours."""
    home_id: str = ""
    """The home that has the text, if only its own folder does."""

    json_form = JsonForm(columns=("path", "version", "created_at"))


@attrs.frozen(kw_only=True)
class TeamSettings(Record):
    """What all homes that work in a session have to have in common. The store keeps it."""

    session_id: str
    """The session."""
    integration_branch: str
    """Setting ``integration_branch``, section ``[worktrees]`` of ``config.toml``."""
    landing_check: str | tuple[str, ...] | None
    """Setting ``check``, section ``[worktrees]``; ``None`` if work lands without a check."""
    undoing: str
    """Setting ``undoing``, section ``[worktrees]``."""
    content_address: str | None
    """Setting ``content``, or the argument of that name: where the bytes of artifacts go. ``None``
    if each home keeps the bytes that it saves.
    """
    home_id: str
    """The home that these are the settings of."""
    machine: str
    """The name of its machine."""
    project: str
    """The project's folder there."""
    agreed_at: datetime
    """Since when they count."""


@attrs.frozen(kw_only=True)
class HomePlace(Record):
    """Where a home is that works with the store, so that others can say where its files are."""

    id: str
    """The home's id."""
    machine: str
    """The name of its machine."""
    path: str
    """The home's folder there."""

    def __str__(self) -> str:
        return f"{self.path} on {self.machine}"


@attrs.frozen(kw_only=True)
class SettingDifference(Record):
    """A setting of this home that is not what its session has agreed on."""

    setting: str
    """Its name in ``config.toml``, with the section: ``worktrees.check``."""
    here: JsonValue
    """Its value in this home."""
    agreed: JsonValue
    """What the session has agreed on."""
    is_refused: bool
    """Whether the work that it is about is refused here, because this home would do less."""

    def __str__(self) -> str:
        here, agreed = _as_toml(self.here), _as_toml(self.agreed)
        return f"{self.setting} is {here} here, and should be {agreed}"

    @property
    def remedy(self) -> str:
        """What to write where, so that this home does what was agreed."""
        section, _, key = self.setting.rpartition(".")
        place = f"in section [{section}]" if section else "before the first section"
        return f"{key} = {_as_toml(self.agreed)} ({place})"


def _as_toml(value: JsonValue) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


# --- answers ----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Cause(Record):
    """One reason why a task is not ready, with one plain sentence."""

    kind: CauseKind
    """What sort of reason it is."""
    sentence: str
    """The reason, in plain words."""
    task_id: str | None = None
    """The task it waits for, if any."""
    alias: str | None = None
    """That task's alias."""
    on: Outcome | None = None
    """The outcome it waits for."""
    names: tuple[str, ...] = ()
    """For a condition: the names that keep it undecided. For a person: the choices."""
    agent: str | None = None
    """Who holds the task."""
    until: datetime | None = None
    """When that lease expires, or the rest of the task ends."""

    def __str__(self) -> str:
        return self.sentence


@attrs.frozen(repr=False, kw_only=True)
class Why(Record):
    """The one answer to "is it ready?": the smallest set of causes, empty when it is."""

    task_id: str
    """The task."""
    alias: str
    """Its alias."""
    status: TaskStatus
    """Its state."""
    causes: tuple[Cause, ...]
    """What holds it up; empty when it is ready."""
    outdated: tuple[ContextUse, ...] = ()
    """Artifacts it was given that have changed since; not a cause, but worth a look."""
    note: str = ""
    """The note with which a pending task was handed back, or what a task that has begun was built
    on and is done again; not a cause, but good to know.
    """
    is_reopened: bool = False
    """Whether the note says why the task was opened again, after it had been done."""
    setback: str = ""
    """How the latest attempt at a pending task ended, if it failed, took too long, stalled or
    crashed; not a cause, but good to know.
    """
    for_agent: str | None = None
    """The only agent that it is handed to."""
    obstacle: str = ""
    """Why this home cannot start a task that is ready: another home has its files, or what it
    builds on, or the settings differ. Empty where it can.
    """

    json_form = JsonForm(properties=("ready", "needs_person"), rest="orch.why({task_id!r})")

    @property
    def ready(self) -> bool:
        """Whether the task can be started now."""
        return self.status is TaskStatus.PENDING and not self.causes

    @property
    def needs_person(self) -> bool:
        """Whether a person must decide before anything can happen."""
        return any(cause.kind is CauseKind.PERSON for cause in self.causes)

    def __str__(self) -> str:
        note = [self.note] if self.note and self.status is not TaskStatus.PENDING else []
        return "; ".join([self._state(), *note, *self._changes()])

    def _state(self) -> str:
        if self.ready:
            verb = "opened again" if self.is_reopened else "handed back with"
            note = f"; it was {verb}: {self.note}" if self.note else ""
            if self.setback:
                note = f"; {self.setback}"
            reader = f", for {self.for_agent}" if self.for_agent else ""
            here = f", but this home cannot start it: {self.obstacle}" if self.obstacle else ""
            return f"{self.alias} is ready{reader}{note}{here}"
        sentences = [cause.sentence for cause in self.causes]
        if self.status.is_terminal:
            endings = [sentence.removeprefix("it ") for sentence in sentences]
            return f"{self.alias} {'; '.join(endings)}"
        return f"{self.alias} is {self.status}: {'; '.join(sentences)}"

    def _changes(self) -> list[str]:
        return [str(use).removeprefix(f"{self.alias} ") for use in self.outdated]

    def __repr__(self) -> str:
        return str(self)


@attrs.frozen(repr=False, kw_only=True)
class NextStep(Record):
    """What to do now; never empty."""

    action: str
    """``initialize``, ``plan``, ``execute``, ``delegate``, ``merge``, ``wait``, ``decide``,
    ``synthesize`` or ``done``.
    """
    sentence: str
    """The step in plain words."""
    call: str
    """The line of Python that takes it; empty when there is nothing to call."""
    task_id: str | None = None
    """The task it is about, if any."""
    alias: str | None = None
    """That task's alias."""
    own_words: str = ""
    """What you meant to do next when you paused."""

    def __str__(self) -> str:
        return f"{self._words}  →  {self.call}" if self.call else self._words

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from vespera_orchestrator._html import step_html

        return step_html(self._words, self.call)

    @property
    def _words(self) -> str:
        if not self.own_words:
            return self.sentence
        return (
            f"You meant to do next: “{one_line(self.own_words, _LONGEST_SHOWN)}”. {self.sentence}"
        )


@attrs.frozen(kw_only=True)
class RowFix(Record):
    """One change of a row that puts something right."""

    verb: Literal["change", "put", "remove"]
    """What to do with the row."""
    table: str
    """Name of the table."""
    key: Mapping[str, JsonValue]
    """The columns that identify the row; for ``put`` the whole row."""
    values: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """The columns to change, and their new values."""


@attrs.frozen(kw_only=True)
class Finding(Record):
    """One thing that a check found wrong, or worth knowing."""

    severity: Severity
    """How much it matters."""
    kind: FindingKind
    """What part of the home it is about."""
    subject: str
    """What the finding is about: an id, a digest, a path, a name."""
    sentence: str
    """What is wrong, in plain words."""
    remedy: str = ""
    """What you can do about it."""
    fixes: tuple[RowFix, ...] = attrs.field(default=(), repr=False)
    """What `Orchestrator.repair` would change in the store."""

    json_form = JsonForm(details=("fixes",))

    def __str__(self) -> str:
        text = f"{self.severity}: {self.sentence}"
        return f"{text}; {self.remedy}" if self.remedy else text


# --- input to the store -----------------------------------------------------


@attrs.frozen(kw_only=True)
class TaskDraft(Record):
    """A task to be planned; see `Orchestrator.plan_task`.

    References may be ids or aliases, of the session or of the same plan.
    """

    title: str
    """What to do, in a few words."""
    description: str = ""
    """What an agent must know to do it."""
    acceptance: str = ""
    """How to tell that it is done."""
    dependencies: tuple[Dependency, ...] = ()
    """What it waits for."""
    condition: str | None = None
    """When it may start, as a boolean expression over its dependencies."""
    parent: str | None = None
    """The task it is a part of."""
    alias: str | None = None
    """Short name, unique in the session; made from the title if you pass none."""
    task_type: str = "standard"
    """``standard``, ``recovery``, or any word of yours."""
    complexity: str = "moderate"
    """Any word of yours."""
    specialist_type: str | None = None
    """Who should do it, in any word of yours."""
    priority: int = 0
    """Higher goes first."""
    estimated_effort: str | None = None
    """As you write it, e.g. ``"2 hours"``."""
    due_at: datetime | None = None
    """When it should be done; of a day, noon."""
    due_day: str | None = None
    """The day on which it should be done, in ISO format, where no time is named."""
    not_before: datetime | None = None
    """It is not ready before."""
    zone: str | None = None
    """The time zone in which its dates are meant."""
    question: str | None = None
    """What a person is asked; the answer completes the task."""
    signal: str | None = None
    """The name of what the host reports; that completes the task."""
    context: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """Values for the agent that does it; anything JSON can hold."""
    max_attempts: int = 3
    """After this many failures, or crashes in a row without progress, a person decides."""
    retry_after_s: float | None = None
    """The pause before it is tried again by itself; ``None``: a failure blocks it."""
    time_limit_s: float | None = None
    """How long an attempt may take, in seconds."""
    stalled_after_s: float | None = None
    """How long an attempt may go without bringing anything new, in seconds."""
    recovers_task_id: str | None = None
    """For a recovery task: the task it repairs."""
    for_agent: str | None = None
    """The only agent that it is handed to."""
    planned_by: str = ""
    """The agent that plans it, if it has been given a name."""
    place: str = ""
    """Its place in the plan, for error messages."""
    named: frozenset[str] = attrs.field(default=frozenset(), eq=False)
    """The fields that a plan names, for ``existing="update"``: the others stay as they are."""
    written_dates: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    """``due_date`` and ``not_before`` as a plan writes them, for ``existing="update"``: the same
    words again change nothing.
    """


@show_methods
class PlannedTasks(RecordList[Task]):
    """The tasks of a plan, in its order; and what planning did about each.

    It is a list. ``str()`` says in a line what is new and what has changed.
    """

    def __init__(
        self,
        tasks: Iterable[Task] = (),
        *,
        new: Iterable[str] = (),
        changed: Mapping[str, tuple[str, ...]] | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        """Take the tasks.

        Args:
            tasks: All of them.
            new: Ids of those that were planned now.
            changed: For ids of those that were there already, what was changed.
            renamed: For the alias of a new one, the alias that its title would have given it.
        """
        super().__init__(tasks)
        by_id = {task.id: task for task in self}
        changed = changed or {}
        self.new = [by_id[task_id] for task_id in new]
        """Those that were planned now."""
        self.changed = {by_id[task_id].alias: names for task_id, names in changed.items()}
        """What was changed of those that were there already, by alias: arguments of planning."""
        self.renamed = dict(renamed or {})
        """New ones whose title gave an alias that another task has, by the alias that they got."""
        touched = {*(task.id for task in self.new), *changed}
        self.unchanged = [task for task in self if task.id not in touched]
        """Those that were there already and stayed as they were."""
        self.archived = [task for task in self if task.archived]
        """Those of the plan that are archived: they count as there, and no list shows them."""
        self.skipped = [task for task in self.new if task.status is TaskStatus.SKIPPED]
        """New ones that can never start, because of how something else has ended."""

    def __str__(self) -> str:
        changes = [f"{alias} ({', '.join(names)})" for alias, names in self.changed.items()]
        parts = [
            f"{len(self.new)} new" if self.new else "",
            f"{len(changes)} changed: {', '.join(changes)}" if changes else "",
            f"{len(self.unchanged)} as before" if self.unchanged else "",
            *(f"{new} is a second {old}" for new, old in self.renamed.items()),
            *(f"{task.alias} is archived ({task.status})" for task in self.archived),
            *(f"{task.alias} is skipped: {task.reason}" for task in self.skipped),
        ]
        return "; ".join(part for part in parts if part) or "no tasks"


@attrs.frozen(kw_only=True)
class ArtifactDraft(Record):
    """An artifact whose bytes are already in the content store."""

    title: str
    """Its title; the same title in the same task makes the next version."""
    digest: str
    """SHA-256 of the bytes, in hexadecimal."""
    size_bytes: int
    """Size of the content, uncompressed."""
    kind: str = "general"
    """One of `ArtifactKind`, or any word of the caller's."""
    media_type: str = "text/markdown"
    """E.g. ``text/markdown``."""
    tags: tuple[str, ...] = ()
    """Words to find it by."""
    metadata: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """Whatever the caller wants to keep with it."""
    partial: bool = False
    """Whether the work it records is unfinished."""
    id: str | None = None
    """The id it gets if it becomes a record; ``None`` for a new one. A commit's message names it
    before it is saved.
    """
    home_id: str = ""
    """The home whose own folder has the bytes; see `Artifact.home_id`."""
    supersedes: tuple[str, ...] = ()
    """Ids of artifacts of other titles or tasks whose place it takes. A partial one takes none."""


@attrs.frozen(kw_only=True)
class Ending(Record):
    """How a holder ends its attempt, or hands something in and keeps the task."""

    action: NextAction | None
    """``None``: released, without a verdict."""
    summary: str | None = None
    """A line for display."""
    outputs: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """Values for conditions and later tasks."""
    reason: str | None = None
    """The error or the note."""
    landed: str | None = None
    """Commit on the integration branch."""
    snapshot: str | None = None
    """Commit that holds the worktree's last files. Unless the work has landed, the record of the
    worktree names it, too.
    """
    recovery: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """More context for the recovery task, e.g. the conflict."""
    later: bool = False
    """With ``complete``: the work is handed in, and the task is completed when it is merged. Until
    then it stays in progress.
    """
    files_changed: bool = False
    """Whether files of the worktree have changed since they were last saved."""
    may_retry: bool = False
    """With ``blocked``: the attempt failed, so a task that is planned so is tried again by itself.
    What needs somebody to act first, such as a conflict, is not.
    """
    most_empty_rounds: int = 0
    """After so many attempts in a row that were handed back without progress the task is blocked;
    0: never, and this one does not count as such an attempt.
    """


@attrs.frozen(kw_only=True)
class HandedIn(Record):
    """Work that an earlier attempt handed in as finished, and that only failed to land."""

    attempt: int
    """The number of that attempt."""
    reason: str
    """Why it did not land."""
    summary: str | None = None
    """The line that it was handed in with."""
    outputs: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """The values that it was handed in with."""
    artifact_ids: tuple[str, ...] = ()
    """What that attempt saved, in order; the work itself is among it, marked as partial."""


@attrs.frozen(kw_only=True)
class Claim(Record):
    """What a successful claim returns."""

    task: Task
    """The task, now in progress."""
    attempt: Attempt
    """The new attempt, which holds it."""
    resumed_from: Checkpoint | None
    """The last checkpoint of an earlier attempt."""


@attrs.frozen(kw_only=True)
class Effect(Record):
    """Something that a task does to the world, and that must not happen twice."""

    task_id: str
    """The task."""
    key: str
    """What it is, unique in the task."""
    attempt: int
    """The attempt that began it last, or has recorded it."""
    is_done: bool
    """Whether it has happened for certain. Otherwise it was begun, and nobody recorded its end."""
    result: JsonValue
    """What came of it."""
    begun_at: datetime
    """When it was begun last."""
    recorded_at: datetime | None = None
    """When it was recorded."""
    question_id: str | None = None
    """The task that asks a person whether it has happened."""


@attrs.frozen(kw_only=True)
class Finished(Record):
    """The result of ending an attempt."""

    task: Task
    """The task as it is now."""
    artifacts: tuple[Artifact, ...]
    """What was saved with it, in order."""
    recovery: Task | None
    """The recovery task that was made."""
    repeated: bool = False
    """Whether this completion was recorded earlier, so that nothing was written now."""


class Agenda(StrEnum):
    """Open tasks to look at by the calendar."""

    DUE = "due"
    """Those with a due date, the first to be done first."""
    ASLEEP = "asleep"
    """Those that rest, the first to wake first."""
    READY = "ready"
    """Those that can be started now, the best first."""
    QUESTIONS = "questions"
    """Those that a person can answer now."""


@attrs.frozen(kw_only=True)
class TaskQuery(Record):
    """Which tasks to return. Fields left at their default do not filter."""

    session_id: str | None = None
    """In this session."""
    parent_task_id: str | None = None
    """Direct children of this task."""
    include_children: bool = False
    """With *parent_task_id*: the parent and its whole subtree, instead of its direct children."""
    status: tuple[TaskStatus, ...] = ()
    """In any of these states; empty for all."""
    task_type: str | None = None
    """Of exactly this type."""
    specialist_type: str | None = None
    """For exactly this specialist."""
    complexity: str | None = None
    """Of exactly this complexity."""
    text: str | None = None
    """Part of the title or description, letter case ignored."""
    ready: bool | None = None
    """Ready now, or not."""
    recovers_task_id: str | None = None
    """The recovery tasks of this task."""
    recoveries: bool | None = None
    """Only recovery tasks, or all but these."""
    agent: str | None = None
    """Held, now or earlier, by this agent."""
    worktree: str | None = None
    """Working in the worktree of this name now, or last."""
    alias_prefix: str | None = None
    """With an alias that starts with this."""
    created_after: datetime | None = None
    """At this time or later."""
    created_before: datetime | None = None
    """Before this time."""
    updated_after: datetime | None = None
    """Last changed at this time or later."""
    updated_before: datetime | None = None
    """Last changed before this time."""
    include_archived: bool = False
    """Archived tasks too."""
    takeable_by: str | None = None
    """Such as this agent may be handed without naming them: not for another one; see *parents*."""
    parents: bool | None = None
    """With *takeable_by*, whether tasks with subtasks are among them. ``None``: except those whose
    subtasks were planned by other agents only, under their names.
    """
    agenda: Agenda | None = None
    """Only open tasks of this kind, in its order instead of the one in which they were planned."""
    limit: int | None = 100
    """``None``: all."""
    offset: int = 0
    """How many of the first matches to leave out."""


@attrs.frozen(kw_only=True)
class ArtifactQuery(Record):
    """Which artifacts to return. Fields left at their default do not filter."""

    session_id: str | None = None
    """In this session."""
    task_ids: tuple[str, ...] | None = None
    """Belonging to any of these tasks; an empty tuple matches nothing."""
    kind: str | None = None
    """Of exactly this kind."""
    title: str | None = None
    """Exactly this title."""
    agent: str | None = None
    """Saved by this agent."""
    partial: bool | None = None
    """Marked as partial, or not."""
    tags: tuple[str, ...] = ()
    """Having all of these tags."""
    created_after: datetime | None = None
    """At this time or later."""
    created_before: datetime | None = None
    """Before this time."""
    digest: str | None = None
    """With exactly these bytes."""
    larger_than_bytes: int | None = None
    """Of more bytes than this."""
    include_superseded: bool = False
    """Older versions too."""
    newest_first: bool = False
    """The newest first, instead of the order in which they were saved."""
    limit: int | None = None
    """``None``: all."""


@attrs.frozen(kw_only=True)
class Situation(Record):
    """A task, and everything that decides whether it is ready, read in one transaction."""

    task: Task
    """The task."""
    needed: Mapping[str, Task]
    """The tasks it depends on, by id."""
    open_children: tuple[str, ...]
    """Aliases of children that have not ended, at most ten."""
    open_children_count: int
    """How many children have not ended."""
    open_recovery: Task | None
    """Its recovery task that has not ended, if any."""
    attempt: Attempt | None
    """The attempt that holds it; of a pending task, its latest one."""
    as_of: datetime
    """When it was read, by the store's clock."""
    unmerged: frozenset[str] = frozenset()
    """Ids of those *needed* tasks whose work is handed in and waits to be merged."""
    has_holder_left: bool = False
    """Whether the process in which it was taken has ended for certain. No store can tell."""
    outputs_read: tuple[str, ...] = ()
    """Of a question or a signal that is still open: its outputs that conditions of others read."""
