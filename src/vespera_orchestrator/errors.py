"""Every error the library raises on purpose.

They are sorted into branches by what you can do about them::

    VesperaError                          retryable: ClassVar[bool] = False
    ├─ NotFoundError (LookupError)        the thing named does not exist
    │  ├─ HomeNotFoundError               nothing to look at with readonly=True
    │  ├─ SessionNotFoundError
    │  ├─ TaskNotFoundError
    │  ├─ ArtifactNotFoundError
    │  │  └─ ArtifactForgottenError       it was removed for good
    │  ├─ WorktreeNotFoundError
    │  └─ SourceFileNotFoundError         a file that should become an artifact
    ├─ InvalidInputError (ValueError)     an argument is wrong; nothing was written
    ├─ ConflictError                      somebody else was there first
    │  ├─ AliasTakenError
    │  ├─ SeveralSessionsError            threads of one object work in different ones
    │  ├─ ArtifactSupersededError         another artifact has taken its place
    │  ├─ LeaseLostError                  the attempt was replaced; its work was kept
    │  ├─ WorktreeNameTakenError          another home has a worktree of this name
    │  └─ SettingsConflictError           this home lacks settings that its session agreed on
    ├─ PlanError (ValueError)             the plan is wrong; nothing was written
    │  ├─ InvalidPlanError                several mistakes at once
    │  ├─ CycleError
    │  ├─ UnknownDependencyError
    │  └─ ConditionError                  with the column and what is allowed there
    ├─ TransitionError                    the task's state forbids this
    │  ├─ NotReadyError                   carries the Why
    │  ├─ AnswerNeededError               a person was asked; the task waits for the answer
    │  └─ NothingReadyError               carries the NextStep
    │     └─ PressureLimitError           enough is under way; retryable
    ├─ StoreError                         the store; nothing was written
    │  ├─ StoreUnavailableError           locked, disk full, I/O error; retryable
    │  ├─ StoreBusyError                  this thread is in the middle of another call
    │  ├─ OutcomeUnknownError             all of it was written or nothing: nobody can tell
    │  ├─ ReadOnlyError                   the home cannot be written, or must not be
    │  ├─ SchemaVersionError              made by another version
    │  ├─ UnsupportedFileSystemError      the home is on a network file system
    │  ├─ UntrustedHomeError              the home asks for what nobody has allowed
    │  ├─ CorruptStoreError               the database file is damaged
    │  ├─ CorruptRecordError              one row cannot be read
    │  ├─ CorruptContentError             an artifact's bytes are missing or changed
    │  │  └─ ContentElsewhereError        another home has them
    │  └─ ContentAccessError              the object store refuses: no bucket, no rights
    ├─ WorktreeError                      git worktrees, snapshots, merges
    │  ├─ NotARepositoryError
    │  ├─ WorktreeBusyError               another agent works in a shared one; retryable
    │  ├─ WorktreeElsewhereError          another home made it, here or on another machine
    │  ├─ WorktreeLockedError             another process is working on it; retryable
    │  ├─ DirtyCheckoutError
    │  ├─ MergeConflictError
    │  ├─ LandingRefusedError             a failed check, or work of others would be undone
    │  ├─ OperationUnderWayError          the worktree's own rebase, merge … comes first
    │  ├─ SetupFailedError                the set-up command of a new worktree failed
    │  ├─ UnsavedFilesError               something in the worktree cannot be saved or landed
    │  ├─ RefMovedError                   another process was faster; retryable
    │  ├─ GitFailedError
    │  │  ├─ UnreadableObjectError        a git object is missing or damaged
    │  │  └─ WorktreeFolderLostError      its folder is gone, or another stands in its place
    │  └─ UnsupportedRepositoryError
    ├─ ArtifactIndexError                 the search index; the artifacts are unharmed
    │  └─ EmbedderError                   vectors could not be made
    ├─ DocumentError                      a document; the work is unharmed
    │  ├─ DocumentUpdateError
    │  └─ TemplateError
    ├─ ClosedError (RuntimeError)         used after close()
    └─ MissingDependencyError (ImportError)

A builtin in brackets is a second base: code that already catches it keeps working. Every error
pickles with its fields, so it crosses process pools unharmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import (
    InvalidInputError as InvalidInputError,  # noqa: PLC0414 - callers find it here
)
from vespera_orchestrator._mistakes import (
    VesperaError as VesperaError,  # noqa: PLC0414 - callers find it here
)
from vespera_orchestrator._mistakes import kept_words
from vespera_orchestrator._model import GitOperation, NextStep, RefusalKind, Why
from vespera_orchestrator._text import first_names, show_value

_PATHS_SHOWN: Final = 5
"""How many files in conflict a message names."""
_MISTAKES_SHOWN: Final = 20
"""How many mistakes of a plan are listed."""


def _shorten(paths: Sequence[str]) -> str:
    return first_names(paths, _PATHS_SHOWN)


# --- absent -----------------------------------------------------------------


class NotFoundError(VesperaError, LookupError):
    """The thing named does not exist."""


@attrs.define(slots=False, repr=False)
class HomeNotFoundError(NotFoundError):
    """There is no home to look at, and ``readonly=True`` makes none."""

    home: str
    """The folder where it should be."""

    def __str__(self) -> str:
        return (
            f"there is no home in {self.home}, or nothing was ever done in it; give the project's "
            "folder, or open it without readonly to begin"
        )


@attrs.define(slots=False, repr=False)
class SessionNotFoundError(NotFoundError):
    """No session has this id, or none is active."""

    session: str | None
    """The id you asked for; ``None`` if you named no session."""
    remedy: str = "orch.initialize_session('…') starts one; orch.list_sessions() shows all of them"
    """What you can do about it."""
    named_by: str | None = None
    """The environment variable, or the file, that names it; ``None`` if the call did."""

    @property
    def problem(self) -> str:
        """What is wrong, without the remedy."""
        if self.session is not None:
            source = f" (named by {self.named_by})" if self.named_by else ""
            return f"there is no session {show_value(self.session)} in this store{source}"
        if self.named_by is not None:
            return f"no session is active: {self.named_by} is damaged and names none"
        return "no session is active"

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


@attrs.define(slots=False, repr=False)
class TaskNotFoundError(NotFoundError):
    """No task has this id, and none in the session has this alias."""

    task: str
    """The id or alias, as you wrote it."""
    similar: tuple[str, ...] = ()
    """Similar aliases of the session, best first."""

    def __str__(self) -> str:
        hint = "orch.query_tasks() lists the tasks"
        if self.similar:
            hint = f"did you mean {', '.join(self.similar)}?"
        return f"there is no task {show_value(self.task)} in this session; {hint}"


@attrs.define(slots=False, repr=False)
class ArtifactNotFoundError(NotFoundError):
    """No artifact has this id, or it has no such version."""

    artifact: str
    """The id, as you wrote it."""
    version: int | None = None
    """The version you asked for, if only that is missing."""

    def __str__(self) -> str:
        if self.version is not None:
            versions = f"orch.artifacts.versions({self.artifact!r}) lists its versions"
            wanted = f"artifact {show_value(self.artifact)} has no version"
            return f"{wanted} {show_value(self.version)}; {versions}"
        remedy = (
            "orch.artifacts.list() shows all, orch.artifacts.search('…') finds one by its words"
        )
        return f"there is no artifact with the id {show_value(self.artifact)}; {remedy}"


@attrs.define(slots=False, repr=False)
class ArtifactForgottenError(ArtifactNotFoundError):
    """The artifact was removed for good; nothing of what it said is kept."""

    forgotten_at: datetime | None = None
    """When it was removed."""
    reason: str = ""
    """Why, in the words of whoever asked for it."""

    def __str__(self) -> str:
        day = "" if self.forgotten_at is None else f" on {self.forgotten_at:%Y-%m-%d}"
        why = f", because {show_value(self.reason)}" if self.reason else ""
        proof = f"orch.artifacts.forget({self.artifact!r}) tells again what was removed"
        return f"artifact {self.artifact!r} was forgotten{day}{why}; {proof}"


@attrs.define(slots=False, repr=False)
class WorktreeNotFoundError(NotFoundError):
    """No worktree has this name, and none belongs to this task."""

    worktree: str
    """The name, task id or alias, as you wrote it."""
    since: str = ""
    """What happened to it, if it existed before."""

    def __str__(self) -> str:
        if self.since:
            return f"worktree {self.worktree!r} no longer exists: {self.since}"
        name = show_value(self.worktree)
        return f"there is no worktree {name}; orch.worktrees.list() shows all of them"


@attrs.define(slots=False, repr=False)
class SourceFileNotFoundError(NotFoundError):
    """A file that should become an artifact cannot be read. Nothing was written.

    Only the work that came with it was kept, as the artifact *kept_artifact_id*.
    """

    path: str
    """The path, as you wrote it."""
    looked_in: str
    """The folder where a relative path starts."""
    reason: str = "it does not exist"
    """What is wrong with it."""

    def __str__(self) -> str:
        problem = (
            f"file {show_value(self.path)} cannot be saved: {self.reason} "
            f"(relative paths start at {self.looked_in})"
        )
        written = "nothing was written" if self.kept_artifact_id is None else kept_words(self)
        return f"{problem}; correct file_paths and call again, {written}"


# --- somebody else was first ------------------------------------------------


class ConflictError(VesperaError):
    """Something changed in the store since you last looked."""


@attrs.define(slots=False, repr=False)
class SeveralSessionsError(ConflictError):
    """Threads work in different sessions through one object, and this one has chosen none."""

    sessions: tuple[str, ...]
    """The sessions that others have chosen."""
    threads: tuple[str, ...]
    """For each of them, the name of a thread that has."""

    def __str__(self) -> str:
        pairs = zip(self.sessions, self.threads, strict=True)
        listed = ", ".join(f"{session} (thread {thread})" for session, thread in pairs)
        return (
            f"several sessions are in use here: {listed}; choose one for this thread with "
            "orch.resume_session('…'), or give each client vespera.open(session='…')"
        )


@attrs.define(slots=False, repr=False)
class AliasTakenError(ConflictError):
    """Another task of the session already has this alias."""

    alias: str
    """The alias you asked for."""
    task_id: str
    """The task that has it."""
    title: str = ""
    """Its title, if it is a task of the same plan: nobody has seen its id yet."""
    place: str = ""
    """Where in the plan; empty if there is only one task."""

    def __str__(self) -> str:
        return f"{self.place}: {self._problem()}" if self.place else self._problem()

    def _problem(self) -> str:
        if self.title:
            other = f"{self.title!r} in this plan"
            return f"alias {self.alias!r} is also the alias of {other}; choose another"
        return (
            f"alias {self.alias!r} already names task {self.task_id}; choose another alias, "
            'leave it out to get one made from the title, or plan with existing="keep" or "update" '
            "if that is the task you mean"
        )


@attrs.define(slots=False, repr=False)
class ArtifactSupersededError(ConflictError):
    """Another artifact has taken the place of this one already. Nothing was written."""

    artifact: str
    """The id of the one whose place you wanted to take."""
    by: str
    """The id of what holds instead of it now."""
    title: str
    """The title of that."""

    def __str__(self) -> str:
        problem = f"{self.title!r} ({self.by}) has taken the place of {self.artifact} already"
        remedy = f"read it; if yours is to replace it, pass supersedes={self.by!r}"
        return f"{problem}; {remedy}"


@attrs.define(slots=False, repr=False)
class LeaseLostError(ConflictError):
    """This attempt no longer holds its task: it was replaced, cancelled or released.

    Any work that you handed in was kept as an artifact; see *kept_artifact_id*.
    """

    task_id: str
    """The task."""
    attempt: int
    """The attempt that was refused; 0 if you had none."""
    state: str
    """Who or what holds the task now, in words."""
    kept_artifact_id: str | None = None
    """Where the refused work is kept; ``None`` if you handed in nothing."""

    def __str__(self) -> str:
        kept = ""
        if self.kept_artifact_id:
            kept = f"; what you handed in is kept as artifact {self.kept_artifact_id}"
        if not self.attempt:
            return f"you do not hold task {self.task_id}: {self.state}{kept}"
        return f"attempt {self.attempt} no longer holds task {self.task_id}: {self.state}{kept}"


@attrs.define(slots=False)
class WorktreeNameTakenError(ConflictError):
    """Another home, or another task, already has a worktree of this name. Nothing was written."""

    worktree: str
    """The name."""

    def __str__(self) -> str:
        return f"another worktree already has the name {self.worktree!r}; choose another name"


@attrs.define(slots=False)
class SettingsConflictError(ConflictError):
    """This home does not have the settings that the homes of its session have agreed on.

    Its work would pass no check, or not the same one, land on another branch, or be stored where
    the others cannot read it.
    """

    session: str
    """The session."""
    settings: tuple[str, ...]
    """The names of the settings that are in the way, e.g. ``worktrees.check``."""
    problem: str
    """How they differ, in words."""
    remedies: tuple[str, ...]
    """What to write into ``config.toml``: the line, and its place in brackets. Empty where the file
    is right, and this process opened the home before it was changed.
    """
    config: str
    """The ``config.toml`` of this home."""
    agreed_by: str
    """Project and machine of the home whose settings were agreed on."""

    def __str__(self) -> str:
        if not self.remedies:
            return (
                f"{self.config} has changed since this process opened the home: {self.problem}. "
                "Open it again"
            )
        lines = "; ".join(self.remedies)
        return (
            f"this home's settings are not those agreed on in session {self.session} (they are "
            f"set in {self.agreed_by}): {self.problem}. To follow them, write into {self.config}: "
            f"{lines}; then open again. To change them for every home: orch.share_settings()"
        )


# --- the plan ---------------------------------------------------------------


@attrs.define(slots=False, repr=False)
class PlanError(VesperaError, ValueError):
    """The plan cannot be accepted as it is. Nothing was written."""

    problem: str
    """What is wrong, with the value and the remedy."""
    place: str = ""
    """Where in the plan, e.g. the task's title; empty if there is only one task."""

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" if self.place else self.problem


@attrs.define(slots=False, repr=False)
class InvalidPlanError(PlanError):
    """A plan has several mistakes, and each is listed with its place. Nothing was written."""

    mistakes: tuple[VesperaError, ...] = ()
    """The mistakes, in the order of the plan."""

    def __str__(self) -> str:
        lines = [f"- {mistake}" for mistake in self.mistakes[:_MISTAKES_SHOWN]]
        more = len(self.mistakes) - _MISTAKES_SHOWN
        if more > 0:
            lines.append(f"- and {more} more")
        return "\n".join([f"{self.problem}, nothing was planned:", *lines])


@attrs.define(slots=False, repr=False)
class CycleError(PlanError):
    """Tasks would wait for each other in a circle, through dependencies and parents together."""

    path: tuple[str, ...] = ()
    """Aliases along the circle. Each waits for the next; the last is the first again."""


@attrs.define(slots=False, repr=False)
class UnknownDependencyError(PlanError):
    """The plan names a dependency, parent or recovered task that does not exist."""

    name: str = ""
    """The id or alias that was not found."""


@attrs.define(slots=False, repr=False)
class ConditionError(PlanError):
    """A condition cannot be understood."""

    text: str = ""
    """The condition, as you wrote it."""
    column: int = 1
    """Where the mistake starts; the first character is column 1."""
    allowed: tuple[str, ...] = ()
    """What is allowed there."""

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        allowed = f"; allowed here: {', '.join(self.allowed)}" if self.allowed else ""
        start = max(0, self.column - 40)
        shown = self.text[start : start + 80]
        pointer = " " * (self.column - 1 - start) + "^"
        problem = f"{where}condition, column {self.column}: {self.problem}{allowed}"
        return f"{problem}\n    {shown}\n    {pointer}"


# --- the life of a task -----------------------------------------------------


@attrs.define(slots=False, repr=False)
class TransitionError(VesperaError):
    """The task's state does not allow this."""

    task_id: str
    """The task."""
    state: str
    """Its state now."""
    wanted: str
    """What the call tried to do."""
    remedy: str = ""
    """What you can do instead."""
    place: str = ""
    """Where in the plan that asks for it; empty if there is none."""

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        problem = f"{place}task {self.task_id} is {self.state}: cannot {self.wanted}"
        return f"{problem}; {self.remedy}" if self.remedy else problem


@attrs.define(slots=False, repr=False)
class NotReadyError(TransitionError):
    """The task cannot be started or completed yet; *why* says what it waits for."""

    why: Why | None = None
    """The smallest set of causes."""

    def __str__(self) -> str:
        yet = "" if self.state in {"completed", "failed", "cancelled", "skipped"} else " yet"
        reason = self.state if self.why is None else self.why
        return f"cannot {self.wanted} task {self.task_id}{yet}: {reason}"


@attrs.define(slots=False, repr=False)
class AnswerNeededError(TransitionError):
    """A person was asked, and the task waits for the answer. You no longer hold it."""

    question: str = ""
    """Alias of the task that asks."""

    def __str__(self) -> str:
        return f"cannot {self.wanted} task {self.task_id} yet: {self.remedy}"


@attrs.define(slots=False, repr=False)
class NothingReadyError(TransitionError):
    """No task of the session can be started now; *next_step* says what to do about it."""

    next_step: NextStep | None = None
    """The next step; never empty."""

    def __str__(self) -> str:
        reason = self.state if self.next_step is None else self.next_step
        return f"nothing is ready to start: {reason}"


@attrs.define(slots=False)
class PressureLimitError(NothingReadyError):
    """As many tasks are under way as the pressure allows. Nothing was written.

    Go on when one of them has ended, or pass ``despite_pressure=True`` to take one more.
    """

    retryable: ClassVar[bool] = True

    running: int = 0
    """How many tasks are held."""
    limit: int = 0
    """How many may be, at this level of pressure."""

    def __str__(self) -> str:
        are = "task is" if self.running == 1 else "tasks are"
        return (
            f"{self.running} {are} under way, at most {self.limit} while it is {self.state}: "
            f"{self.remedy}"
        )


# --- the store --------------------------------------------------------------


class StoreError(VesperaError):
    """The store failed. Nothing was written."""


@attrs.define(slots=False, repr=False)
class StoreUnavailableError(StoreError):
    """The store cannot be reached or written now. Nothing was written; it is safe to retry."""

    retryable: ClassVar[bool] = True

    store: str
    """The file or address."""
    reason: str
    """What is wrong and what helps."""

    def __str__(self) -> str:
        return f"{self.store}: {self.reason}; nothing was written, it is safe to try again"


@attrs.define(slots=False, repr=False)
class StoreBusyError(StoreError):
    """This thread is in the middle of another call to the store. Nothing was written.

    A signal handler or a callback that runs in the middle of a call gets it when it writes. It
    disappears when that call has returned, not sooner: do not try again from the handler.
    """

    store: str
    """The file or address."""

    def __str__(self) -> str:
        return (
            f"{self.store}: this thread is in the middle of another call to it, and nothing was "
            "written. In a signal handler or callback, only note what to do, and do it "
            "when that call has returned"
        )


@attrs.define(slots=False, repr=False)
class OutcomeUnknownError(StoreError):
    """The connection broke during a commit, and the server cannot be asked about the result.

    Either the whole change was written, or nothing.
    """

    store: str
    """The address."""
    reason: str
    """What happened."""

    def __str__(self) -> str:
        return (
            f"{self.store}: the change may or may not have been written; {self.reason}. Try again "
            "when the server is back: the same completion or artifact is recognised; before you "
            "plan or start a task again, look with orch.get_status()"
        )


@attrs.define(slots=False, repr=False)
class ReadOnlyError(StoreError):
    """The home or the store cannot be written."""

    path: str
    """The file or folder."""
    reason: str
    """What the system said, or that it was opened with ``readonly=True``."""
    remedy: str = (
        "make it writable, or choose another folder with vespera.open(home=…) or the environment "
        "variable VESPERA_ORCHESTRATOR_HOME"
    )
    """What you can do about it."""

    def __str__(self) -> str:
        return f"{self.path} cannot be written ({self.reason}); {self.remedy}"

    @classmethod
    def opened_readonly(cls, path: str) -> ReadOnlyError:
        """Return the error for whoever opened it to look only, and now wants to change it."""
        return cls(
            path,
            "it was opened with readonly=True",
            "to change something, open it again without that",
        )


@attrs.define(slots=False, repr=False)
class SchemaVersionError(StoreError):
    """Another version of this library made the store, or another program. It was not touched.

    An earlier version is no error, unless the store was opened with ``readonly=True``: to read it,
    it would have to be brought up to date.
    """

    store: str
    """The file or address."""
    found: int
    """Its schema version."""
    supported: int
    """The newest version that this library knows."""

    def __str__(self) -> str:
        if self.found < 0:
            program = f"{self.store} is a database of another program"
            return f"{program}; it was left as it is, choose another file"
        if self.found < self.supported:
            made = "nothing in it yet" if self.found == 0 else f"schema version {self.found}"
            return (
                f"{self.store} has {made}, and readonly=True leaves it as it is; this library "
                f"reads version {self.supported}. Open it once without readonly: that brings it "
                "up to date"
            )
        return (
            f"{self.store} has schema version {self.found}, this library knows up to "
            f"{self.supported}; it was left as it is. "
            "Upgrade: python -m pip install --upgrade vespera-orchestrator"
        )


@attrs.define(slots=False, repr=False)
class UnsupportedFileSystemError(StoreError):
    """The database would be on a file system where SQLite is not safe.

    That is a network file system, or one without shared memory.
    """

    path: str
    """The file."""
    kind: str
    """Which file system it is, e.g. ``nfs4``."""

    def __str__(self) -> str:
        return (
            f"{self.path} is on a file system ({self.kind}) where several processes cannot safely "
            "share a SQLite database; put the home on a local disk: vespera.open(home=…), or the "
            "environment variable VESPERA_ORCHESTRATOR_HOME"
        )


@attrs.define(slots=False, repr=False)
class UntrustedHomeError(StoreError):
    """The home came from somebody else, and leads to where nobody has allowed it to lead.

    Nothing was read from there or written there.
    """

    home: str
    """The home's folder."""
    problem: str
    """What it asks for."""
    remedy: str
    """What you can do about it."""

    def __str__(self) -> str:
        return f"{self.home} is not trusted: {self.problem}; {self.remedy}"


@attrs.define(slots=False, repr=False)
class CorruptStoreError(StoreError):
    """The database file is damaged. It was left as it is."""

    store: str
    """The file."""
    reason: str
    """What the database said."""

    def __str__(self) -> str:
        return (
            f"{self.store} is damaged ({self.reason}); it was left as it is. Copy it somewhere "
            "safe first, then replace it with a backup, or move it away to start over: artifacts "
            "stay readable in the folder artifacts/ beside it"
        )


@attrs.define(slots=False, repr=False)
class CorruptRecordError(StoreError):
    """One row of the store cannot be read."""

    record: str
    """Which one, e.g. ``task t_…``."""
    reason: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return f"{self.record} cannot be read: {self.reason}; the rest of the store is unaffected"


@attrs.define(slots=False, repr=False)
class CorruptContentError(StoreError):
    """The bytes of an artifact are missing, or are not the bytes that were saved."""

    digest: str
    """SHA-256 of the bytes that were saved, in hexadecimal."""
    path: str
    """Where they should be."""
    reason: str
    """What is wrong."""
    about: str = ""
    """Which artifact it is, if that is known."""
    intact: tuple[str, ...] = ()
    """What is still intact, each with the call or command that gets it."""
    is_missing: bool = False
    """Whether there are no bytes at all, so that another home may have them."""

    @property
    def problem(self) -> str:
        """What is wrong, in a few words, without what you can do about it."""
        return f"its bytes cannot be read here: {self.reason}"

    def __str__(self) -> str:
        artifact = f"{self.about}: " if self.about else ""
        remedy = (
            "restore it from a backup of the home, or save the same content again; if it was saved "
            "elsewhere (by another machine, or with content=…), open with the same content="
        )
        if self.intact:
            remedy = f"intact: {'; '.join(self.intact)}"
        return f"{artifact}content {self.digest[:12]}… at {self.path}: {self.reason}; {remedy}"


@attrs.define(slots=False, repr=False)
class ContentElsewhereError(CorruptContentError):
    """The bytes of an artifact are in another home. Nothing is lost, and they can be brought here.

    A home without a content store that others can reach keeps the bytes that it saves in its own
    folder. The records are in the store that all homes share.
    """

    machine: str = ""
    """The name of the machine that has them; empty if they are in a content store."""
    place: str = ""
    """The home's folder there, or the address of the content store."""
    fetch: str = ""
    """How to bring these bytes into this home."""

    @property
    def where(self) -> str:
        """Where the bytes are, in words."""
        if not self.machine:
            return f"in the content store {self.place}"
        return f"in another home, {self.place} on {self.machine}"

    @property
    def problem(self) -> str:
        """See `CorruptContentError.problem`."""
        return f"its bytes are {self.where}"

    def __str__(self) -> str:
        artifact = self.about or f"content {self.digest[:12]}…"
        text = f"{artifact}: {self.problem}; to bring them: {self.fetch}"
        if self.machine:
            text += "; the same content= in both homes lets each read what the other saves"
        if self.intact:
            text += f"; intact here: {'; '.join(self.intact)}"
        return text


@attrs.define(slots=False, repr=False)
class ContentAccessError(StoreError):
    """The object store that holds the bytes of artifacts refuses. Nothing was recorded.

    Trying again does not help.
    """

    url: str
    """Its address."""
    reason: str
    """What it said."""
    remedy: str
    """What helps."""

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}; {self.remedy}; nothing was recorded"


# --- git --------------------------------------------------------------------


class WorktreeError(VesperaError):
    """A git worktree, snapshot or merge failed."""


@attrs.define(slots=False, repr=False)
class GitFailedError(WorktreeError):
    """Git refused; *reason* has its message."""

    doing: str
    """What the call tried to do."""
    reason: str
    """What git said, and what helps."""

    def __str__(self) -> str:
        return f"cannot {self.doing}: {self.reason}"


@attrs.define(slots=False, repr=False)
class UnreadableObjectError(GitFailedError):
    """A git object is missing or damaged. Nothing was changed.

    A ``git gc`` that moves objects takes moments, and was waited for. So it was deleted, or the
    disk has lost it: ``git fsck`` tells what else is missing.
    """


@attrs.define(slots=False, repr=False)
class WorktreeFolderLostError(GitFailedError):
    """A worktree's folder is gone, or another folder stands in its place.

    Nothing was changed, and nothing of that other folder was saved or landed. Making the worktree
    again gives the files of its last save, and leaves the other folder alone.
    """

    worktree: str
    """The worktree's name."""
    path: str
    """Where its folder should be."""


@attrs.define(slots=False, repr=False)
class NotARepositoryError(WorktreeError):
    """There is no git repository here, or it has no commit yet. Only worktrees need one."""

    path: str
    """The folder."""
    missing: str
    """What is missing, and the command that creates it."""

    def __str__(self) -> str:
        return f"worktrees need a git repository with a commit; {self.path}: {self.missing}"


@attrs.define(slots=False, repr=False)
class DirtyCheckoutError(WorktreeError):
    """Somebody's checkout is in the way and would have to change. Nothing was changed."""

    path: str
    """The checkout."""
    reason: str
    """What is in the way, and what helps."""

    def __str__(self) -> str:
        return f"{self.path} was left as it is: {self.reason}"


@attrs.define(slots=False, repr=False)
class WorktreeElsewhereError(WorktreeError):
    """The files are in a worktree of another home, on this machine or another. Nothing was changed.

    Only the home that made a worktree saves, lands and removes it.
    """

    worktree: str
    """The worktree's name."""
    machine: str
    """The machine that made it."""
    path: str
    """The worktree's folder there."""
    fetch: str
    """The git command that brings its work into this repository."""
    task: str = ""
    """Alias of the task that works there, if you asked for one."""
    saved_at: datetime | None = None
    """When the work was last saved."""
    without: str = ""
    """The call after which the task can be started without these files."""
    reason: str = ""
    """Why they cannot be brought; then *fetch* is empty."""

    def __str__(self) -> str:
        saved = ""
        if self.saved_at is not None:
            saved = f", last saved {self.saved_at.astimezone():%Y-%m-%d %H:%M}"
        whose = f"the files of {self.task} are" if self.task else "it is"
        problem = f"the worktree {self.worktree!r} belongs to another home: {whose} on "
        problem += f"{self.machine}, at {self.path}{saved}"
        if not self.task:
            return f"{problem}; do this there"
        way = self.reason or f"to bring them: {self.fetch}"
        return f"{problem}; {way}; to start without them: {self.without}"


@attrs.define(slots=False, repr=False)
class WorktreeBusyError(WorktreeError):
    """Another agent works in the worktree that the task shares. It is safe to retry.

    Two agents at once would land each other's unfinished files.
    """

    retryable: ClassVar[bool] = True

    worktree: str
    """The worktree's name."""
    task: str
    """Alias of the task in progress there."""
    agent: str
    """Who works on it."""

    def __str__(self) -> str:
        return (
            f"{self.agent} works in the worktree {self.worktree!r}, on {self.task}; start this "
            "when that has ended, or give it a worktree of its own: "
            "orch.execute_task(…, worktree=True)"
        )


@attrs.define(slots=False, repr=False)
class WorktreeLockedError(WorktreeError):
    """Another process held one of the library's own locks for too long. Nothing was changed."""

    retryable: ClassVar[bool] = True

    what: str
    """What is locked: a worktree, a ref, a landing."""
    waited_s: int
    """How long this call waited for it, in whole seconds."""
    lock: str
    """The lock file. It is released when its holder ends, so there is no need to delete it."""

    def __str__(self) -> str:
        return (
            f"cannot work on {self.what}: another process has held the lock {self.lock} for "
            f"{self.waited_s} s; wait for that process or end it, then try again"
        )


@attrs.define(slots=False, repr=False)
class MergeConflictError(WorktreeError):
    """The work does not merge cleanly. The integration branch is unchanged and the work is kept."""

    branch: str
    """The integration branch."""
    paths: tuple[str, ...]
    """The files in conflict."""
    report: str = ""
    """Of each file: base, integration branch, worktree and diff3 text, as Markdown."""

    def __str__(self) -> str:
        return f"merging into {self.branch!r} conflicts in {_shorten(self.paths)}"


@attrs.define(slots=False, repr=False)
class LandingRefusedError(WorktreeError):
    """The merged work was refused. The integration branch is unchanged, and the work is kept."""

    branch: str
    """The integration branch."""
    kind: RefusalKind
    """Why, for code: the check failed, or work of others would be undone."""
    reason: str
    """Why, in words: which check, or whose work."""
    report: str = ""
    """Everything known about it, as Markdown; for a check, its output."""

    def __str__(self) -> str:
        return f"not landed on {self.branch!r}: {self.reason}"


@attrs.define(slots=False, repr=False)
class OperationUnderWayError(WorktreeError):
    """The worktree is in the middle of a git operation of its own. Nothing was landed.

    Commits that are not replayed yet, or conflicts that are not resolved, would be left behind.
    """

    worktree: str
    """The worktree's name."""
    path: str
    """Its folder; run the commands there."""
    operation: GitOperation
    """What is under way."""
    finish: str
    """The command that ends it with its result."""
    abandon: str
    """The command that ends it and gives up its result."""
    paths: tuple[str, ...] = ()
    """The files in conflict."""

    def __str__(self) -> str:
        finish = f"finish it ({self.finish})"
        if self.paths:
            finish = f"resolve {_shorten(self.paths)} and {finish}"
        return (
            f"a git {self.operation} is under way in {self.path}, so nothing was landed; "
            f"there, {finish}, or give it up ({self.abandon}), then try again"
        )


@attrs.define(slots=False, repr=False)
class SetupFailedError(WorktreeError):
    """The set-up command of a new worktree failed.

    The worktree stays, and the next call tries again.
    """

    worktree: str
    """The worktree's name."""
    command: str
    """The command, as ``config.toml`` has it."""
    what: str
    """How it failed, such as ``ended with 1``."""
    log: str
    """The file with everything that it said."""
    output: str
    """The last lines of that."""

    def __str__(self) -> str:
        said = f"; the last it said:\n{self.output}\n" if self.output else ". "
        return (
            f"the set-up command {self.command!r} of worktree {self.worktree!r} {self.what}{said}"
            f"All of it is in {self.log}. Correct [worktrees] setup in config.toml, or what the "
            "command needs, and start the task again"
        )


@attrs.define(slots=False, repr=False)
class UnsavedFilesError(WorktreeError):
    """Something in the worktree is not among its saved files, and would not land.

    Nothing was landed. It may be a nested repository, a submodule's own changes, a file that cannot
    be read, or what was set aside with ``git stash`` or on a branch that is not checked out any
    more. Repositories are kept apart, if they are not too large.
    """

    worktree: str
    """The worktree's name."""
    path: str
    """Its folder."""
    files: tuple[str, ...]
    """What would not land, relative to that folder."""
    problems: tuple[str, ...]
    """Of each: what it is, and what you can do; commands are for that folder."""

    def __str__(self) -> str:
        shown = "; ".join(self.problems[:_PATHS_SHOWN])
        more = len(self.problems) - _PATHS_SHOWN
        if more > 0:
            shown += f"; and {more} more"
        return f"not everything in {self.path} would land, so nothing was landed: {shown}"


@attrs.define(slots=False, repr=False)
class RefMovedError(WorktreeError):
    """A ref was not moved: another process was faster, or pruned an object that it needs.

    Nothing was changed; it is safe to retry.
    """

    retryable: ClassVar[bool] = True

    ref: str
    """The ref."""
    expected: str
    """Where it was, in hexadecimal; empty if it did not exist."""
    found: str = ""
    """Where it is now, in hexadecimal; empty if it does not exist."""
    reason: str = ""
    """Why it was not moved, if it is still where it was expected."""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.ref} was not moved: {self.reason}; it is safe to try again"
        before = self.expected[:12] or "nothing"
        now = self.found[:12] or "nothing"
        return f"{self.ref} moved from {before} to {now} in the meantime; it is safe to try again"


@attrs.define(slots=False, repr=False)
class UnsupportedRepositoryError(WorktreeError):
    """The repository uses a feature that we would handle wrongly. Nothing was written."""

    feature: str
    """The feature's name."""
    remedy: str
    """What you can do."""

    def __str__(self) -> str:
        problem = f"this repository uses {self.feature}, which our worktrees would handle wrongly"
        return f"{problem}: {self.remedy}"


# --- the views --------------------------------------------------------------


@attrs.define(slots=False, repr=False)
class ArtifactIndexError(VesperaError):
    """The search index could not be read or written. The artifacts themselves are unharmed."""

    doing: str
    """What the call tried to do."""
    reason: str
    """What went wrong."""
    remedy: str = "orch.artifacts.rebuild_index() rebuilds it from the artifacts"
    """What you can do about it."""

    def __str__(self) -> str:
        return f"search index: cannot {self.doing}: {self.reason}; {self.remedy}"


class EmbedderError(ArtifactIndexError):
    """The embedder failed, or returned something other than vectors.

    Everything saved is kept, and found by its words.
    """


class DocumentError(VesperaError):
    """A document could not be updated. The work itself is unharmed."""


@attrs.define(slots=False, repr=False)
class DocumentUpdateError(DocumentError):
    """One document could not be read or written."""

    path: str
    """The document."""
    reason: str
    """What is wrong and what helps."""

    def __str__(self) -> str:
        return f"document {self.path}: {self.reason}"


@attrs.define(slots=False, repr=False)
class TemplateError(DocumentError):
    """A template does not render."""

    template: str
    """Its file name."""
    line: int
    """The line, from 1; 0 when unknown."""
    reason: str
    """What is wrong."""

    def __str__(self) -> str:
        place = f", line {self.line}" if self.line else ""
        return f"template {self.template}{place}: {self.reason}"


# --- use --------------------------------------------------------------------


@attrs.define(slots=False, repr=False)
class ClosedError(VesperaError, RuntimeError):
    """The object was used after ``close()``."""

    what: str = "this Orchestrator"
    """The object that is closed."""

    def __str__(self) -> str:
        return f"{self.what} is closed; open it again with vespera_orchestrator.open()"


@attrs.define(slots=False, repr=False)
class MissingDependencyError(VesperaError, ImportError):
    """A package that this feature needs is not installed."""

    feature: str
    """The feature you used."""
    package: str
    """The missing package."""
    install: str
    """The command that installs it."""

    def __str__(self) -> str:
        return f"{self.feature} needs {self.package}, which is not installed: {self.install}"
