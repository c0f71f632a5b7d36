"""Every error the library raises on purpose.

The branches are cut by what a caller can do about them::

    VesperaError                          retryable: ClassVar[bool] = False
    ├─ NotFoundError (LookupError)        the thing named does not exist
    │  ├─ SessionNotFoundError
    │  ├─ TaskNotFoundError
    │  ├─ ArtifactNotFoundError
    │  ├─ WorktreeNotFoundError
    │  └─ SourceFileNotFoundError         a file that was to be taken in
    ├─ InvalidInputError (ValueError)     an argument is wrong; nothing was written
    ├─ ConflictError                      somebody else was there first
    │  ├─ AliasTakenError
    │  └─ LeaseLostError                  the attempt was replaced; its work was kept
    ├─ PlanError (ValueError)             the plan is wrong; nothing was written
    │  ├─ InvalidPlanError                several mistakes at once
    │  ├─ CycleError
    │  ├─ UnknownDependencyError
    │  └─ ConditionError                  with the column and what is allowed there
    ├─ TransitionError                    the task's state forbids this
    │  ├─ NotReadyError                   carries the Why
    │  └─ NothingReadyError               carries the NextStep
    ├─ StoreError                         the store; nothing was written
    │  ├─ StoreUnavailableError           locked, disk full, I/O error; retryable
    │  ├─ OutcomeUnknownError             written whole or not at all, and nobody can tell
    │  ├─ ReadOnlyError                   the home cannot be written
    │  ├─ SchemaVersionError              made by a newer version
    │  ├─ UnsupportedFileSystemError      the home lies on a network file system
    │  ├─ CorruptStoreError               the database file is damaged
    │  ├─ CorruptRecordError              one row cannot be read
    │  ├─ CorruptContentError             an artifact's bytes are missing or changed
    │  └─ ContentAccessError              the object store refuses: no bucket, no rights
    ├─ WorktreeError                      git worktrees, snapshots, merges
    │  ├─ NotARepositoryError
    │  ├─ WorktreeBusyError               another agent works in a shared one; retryable
    │  ├─ WorktreeLockedError             another process is at work on it; retryable
    │  ├─ DirtyCheckoutError
    │  ├─ MergeConflictError
    │  ├─ LandingRefusedError             a red check, or work of others would be undone
    │  ├─ RefMovedError                   another process was faster; retryable
    │  ├─ GitFailedError
    │  └─ UnsupportedRepositoryError
    ├─ ArtifactIndexError                 the search index; the artifacts are unharmed
    │  └─ EmbedderError                   vectors could not be made
    ├─ DocumentError                      a document; the work is unharmed
    │  ├─ DocumentUpdateError
    │  └─ TemplateError
    ├─ ClosedError (RuntimeError)         used after close()
    └─ MissingDependencyError (ImportError)

Where a branch also has a builtin in brackets, code that already catches that builtin keeps working.
Every error pickles with its fields, so it crosses process pools unharmed.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from vespera_orchestrator._model import NextStep, Why


class VesperaError(Exception):
    """Base of every error raised on purpose by this library."""

    retryable: ClassVar[bool] = False
    """Whether the same call, unchanged, may succeed later."""


# --- absent -----------------------------------------------------------------


class NotFoundError(VesperaError, LookupError):
    """The thing named does not exist."""


@attrs.define(slots=False)
class SessionNotFoundError(NotFoundError):
    """No session has this id, or none is active."""

    session: str | None
    """The id that was asked for; ``None`` when no session was named."""
    remedy: str = (
        "orch.initialize_session('…') starts one; orch.list_sessions() shows those there are"
    )

    def __str__(self) -> str:
        what = (
            "no session is active"
            if self.session is None
            else f"there is no session {self.session!r}"
        )
        return f"{what}; {self.remedy}"


@attrs.define(slots=False)
class TaskNotFoundError(NotFoundError):
    """No task has this id, and none this alias in the session."""

    task: str
    """The id or alias as it was given."""
    similar: tuple[str, ...] = ()
    """Aliases of the session that look alike, best first."""

    def __str__(self) -> str:
        hint = (
            f"; did you mean {', '.join(self.similar)}?"
            if self.similar
            else "; orch.query_tasks() lists the tasks"
        )
        return f"there is no task {self.task!r} in this session{hint}"


@attrs.define(slots=False)
class ArtifactNotFoundError(NotFoundError):
    """No artifact has this id, or it has no such version."""

    artifact: str
    """The id as it was given."""
    version: int | None = None
    """The version that was asked for, where only that is missing."""

    def __str__(self) -> str:
        if self.version is not None:
            return f"artifact {self.artifact!r} has no version {self.version}; orch.artifacts.versions({self.artifact!r}) gives those it has"
        remedy = "orch.artifacts.list() shows those there are, orch.artifacts.find(title) finds one by its title"
        return f"there is no artifact with the id {self.artifact!r}; {remedy}"


@attrs.define(slots=False)
class WorktreeNotFoundError(NotFoundError):
    """No worktree has this name, and none belongs to this task."""

    worktree: str
    """The name, task id or alias as it was given."""
    since: str = ""
    """What became of it, where there was one."""

    def __str__(self) -> str:
        if self.since:
            return f"there is no worktree {self.worktree!r} any more: {self.since}"
        return (
            f"there is no worktree {self.worktree!r}; orch.worktrees.list() shows those there are"
        )


@attrs.define(slots=False)
class SourceFileNotFoundError(NotFoundError):
    """A file that should become an artifact cannot be read. Nothing was written."""

    path: str
    """The path as it was given."""
    looked_in: str
    """The folder a relative path was resolved against."""
    reason: str = "it is not there"

    def __str__(self) -> str:
        return (
            f"file {self.path!r} cannot be taken in: {self.reason} (relative paths start at {self.looked_in}); "
            "correct file_paths and call again, nothing was written"
        )


# --- bad input --------------------------------------------------------------


@attrs.define(slots=False)
class InvalidInputError(VesperaError, ValueError):
    """An argument cannot be used. Nothing was written."""

    name: str
    """The argument."""
    problem: str
    """What is wrong with it, with the value, and what would be right."""

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


# --- somebody else was first ------------------------------------------------


class ConflictError(VesperaError):
    """The store has moved on since the caller looked."""


@attrs.define(slots=False)
class AliasTakenError(ConflictError):
    """Another task of the session already has this alias."""

    alias: str
    """The alias that was asked for."""
    task_id: str
    """The task that has it."""

    def __str__(self) -> str:
        return f"alias {self.alias!r} already names task {self.task_id}; give another alias, or none to have one made"


@attrs.define(slots=False)
class LeaseLostError(ConflictError):
    """This attempt no longer holds its task: it was replaced, cancelled or released.

    What the caller brought was kept as an artifact where there was any; see *kept_artifact_id*.
    """

    task_id: str
    """The task."""
    attempt: int
    """The attempt that was refused; 0 when the caller had none."""
    state: str
    """What holds the task now, in words."""
    kept_artifact_id: str | None = None
    """Where the refused work is kept; ``None`` when nothing was brought."""

    def __str__(self) -> str:
        kept = (
            f"; what you brought is kept as artifact {self.kept_artifact_id}"
            if self.kept_artifact_id
            else ""
        )
        if not self.attempt:
            return f"you do not hold task {self.task_id}: {self.state}{kept}"
        return f"attempt {self.attempt} no longer holds task {self.task_id}: {self.state}{kept}"


# --- the plan ---------------------------------------------------------------


@attrs.define(slots=False)
class PlanError(VesperaError, ValueError):
    """The plan cannot be accepted as it is. Nothing was written."""

    problem: str
    """What is wrong, with the value and the remedy."""
    place: str = ""
    """Where in the plan, e.g. the task's title; empty when it is plain."""

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" if self.place else self.problem


@attrs.define(slots=False)
class InvalidPlanError(PlanError):
    """A plan has several mistakes; each is told, with its place. Nothing was written."""

    problem: str
    """How many there are."""
    place: str = ""
    """Empty: each mistake has its own."""
    mistakes: tuple[VesperaError, ...] = ()
    """The mistakes, in the order of the plan."""

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.problem}, nothing was planned:",
                *(f"- {mistake}" for mistake in self.mistakes),
            ]
        )


@attrs.define(slots=False)
class CycleError(PlanError):
    """Tasks would wait for each other in a circle, dependencies and parents taken together."""

    problem: str
    """The sentence."""
    place: str = ""
    """Where in the plan."""
    path: tuple[str, ...] = ()
    """Aliases along the circle; each waits for the next, the last is the first."""


@attrs.define(slots=False)
class UnknownDependencyError(PlanError):
    """A dependency, parent or recovered task is named that does not exist."""

    problem: str
    """The sentence."""
    place: str = ""
    """Where in the plan."""
    name: str = ""
    """The id or alias that was not found."""


@attrs.define(slots=False)
class ConditionError(PlanError):
    """A condition cannot be understood."""

    problem: str
    """What is wrong at *column*."""
    place: str = ""
    """Where in the plan."""
    text: str = ""
    """The condition as it was given."""
    column: int = 1
    """Where the trouble starts; the first character is column 1."""
    allowed: tuple[str, ...] = ()
    """What could have stood there."""

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        allowed = f"; allowed here: {', '.join(self.allowed)}" if self.allowed else ""
        start = max(0, self.column - 40)
        shown = self.text[start : start + 80]
        pointer = " " * (self.column - 1 - start) + "^"
        return f"{where}condition, column {self.column}: {self.problem}{allowed}\n    {shown!s}\n    {pointer}"


# --- the life of a task -----------------------------------------------------


@attrs.define(slots=False)
class TransitionError(VesperaError):
    """The state the task is in does not allow this."""

    task_id: str
    """The task."""
    state: str
    """Its state now."""
    wanted: str
    """What was to be done."""
    remedy: str = ""
    """What can be done instead."""

    def __str__(self) -> str:
        return f"task {self.task_id} is {self.state}: cannot {self.wanted}" + (
            f"; {self.remedy}" if self.remedy else ""
        )


@attrs.define(slots=False)
class NotReadyError(TransitionError):
    """The task cannot be started or completed yet; *why* says what it waits for."""

    task_id: str
    """The task."""
    state: str
    """Its state now."""
    wanted: str
    """What was to be done."""
    remedy: str = ""
    """What can be done instead."""
    why: Why | None = None
    """The smallest set of causes."""

    def __str__(self) -> str:
        yet = "" if self.state in {"completed", "failed", "cancelled", "skipped"} else " yet"
        return f"cannot {self.wanted} task {self.task_id}{yet}: {self.why if self.why is not None else self.state}"


@attrs.define(slots=False)
class NothingReadyError(TransitionError):
    """No task of the session can be started now; *next_step* says what to do about it."""

    task_id: str
    """Empty: no single task is meant."""
    state: str
    """What the session is doing, in words."""
    wanted: str
    """What was to be done."""
    remedy: str = ""
    """What can be done instead."""
    next_step: NextStep | None = None
    """The next step; never empty."""

    def __str__(self) -> str:
        return f"nothing is ready to start: {self.next_step if self.next_step is not None else self.state}"


# --- the store --------------------------------------------------------------


class StoreError(VesperaError):
    """The store could not do it. Nothing was written."""


@attrs.define(slots=False)
class StoreUnavailableError(StoreError):
    """The store cannot be reached or written just now. Nothing was written; safe to retry."""

    retryable: ClassVar[bool] = True

    store: str
    """The file or address."""
    reason: str
    """What is wrong and what helps."""

    def __str__(self) -> str:
        return f"{self.store}: {self.reason}; nothing was written, it is safe to try again"


@attrs.define(slots=False)
class OutcomeUnknownError(StoreError):
    """The connection was lost in the moment of writing, and the server cannot be asked. The change is there whole, or not at all."""

    store: str
    """The address."""
    reason: str
    """What happened."""

    def __str__(self) -> str:
        return (
            f"{self.store}: the change may have been written or not; {self.reason}. Try again when the server is back: the same completion "
            "or artifact is known again; before planning or claiming once more, look with orch.get_status()"
        )


@attrs.define(slots=False)
class ReadOnlyError(StoreError):
    """The home or the store cannot be written at all."""

    path: str
    """The file or folder."""
    reason: str
    """What the system said."""

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be written ({self.reason}); make it writable, or choose another folder with "
            "vespera.open(home=…) or the environment variable VESPERA_ORCHESTRATOR_HOME"
        )


@attrs.define(slots=False)
class SchemaVersionError(StoreError):
    """The store was made by a newer version of this library, or is not ours. It was left as it is."""

    store: str
    """The file or address."""
    found: int
    """Its schema version."""
    supported: int
    """The newest version that this library knows."""

    def __str__(self) -> str:
        if self.found < 0:
            return f"{self.store} is a database of another program; it was left as it is, choose another file"
        return (
            f"{self.store} has schema version {self.found}, this library knows up to {self.supported}; it was left as it is. "
            "Upgrade: python -m pip install --upgrade vespera-orchestrator"
        )


@attrs.define(slots=False)
class UnsupportedFileSystemError(StoreError):
    """The database would lie where SQLite cannot keep it safe: on a network file system, or on one without shared memory."""

    path: str
    """The file."""
    kind: str
    """Which file system it is, e.g. ``nfs4``."""

    def __str__(self) -> str:
        return (
            f"{self.path} lies on a file system ({self.kind}) on which several processes cannot share a SQLite database safely; put the "
            "home on a local disk: vespera.open(home=…), or the environment variable VESPERA_ORCHESTRATOR_HOME"
        )


@attrs.define(slots=False)
class CorruptStoreError(StoreError):
    """The database file is damaged. It was left as it is."""

    store: str
    """The file."""
    reason: str
    """What the database said."""

    def __str__(self) -> str:
        return (
            f"{self.store} is damaged ({self.reason}); it was left as it is. Copy it somewhere safe first, then put a backup "
            "in its place, or move it away to start anew: artifacts stay readable in the folder artifacts/ beside it"
        )


@attrs.define(slots=False)
class CorruptRecordError(StoreError):
    """One row of the store cannot be read back."""

    record: str
    """Which one, e.g. ``task t_…``."""
    reason: str
    """What is wrong with it."""

    def __str__(self) -> str:
        return (
            f"{self.record} cannot be read back: {self.reason}; the rest of the store is unaffected"
        )


@attrs.define(slots=False)
class CorruptContentError(StoreError):
    """The bytes of an artifact are missing or are not those that were saved."""

    digest: str
    """SHA-256 of the bytes that were saved, in hexadecimal."""
    path: str
    """Where they should be."""
    reason: str
    """What is wrong."""
    about: str = ""
    """Which artifact it is, where that is known."""
    intact: tuple[str, ...] = ()
    """What still can be had, each with the call or command that gives it."""

    def __str__(self) -> str:
        whose = f"{self.about}: " if self.about else ""
        if self.intact:
            remedy = f"intact: {'; '.join(self.intact)}"
        else:
            remedy = (
                "put it back from a backup of the home, or save the same content again; "
                "if it was saved elsewhere (by another machine, or with content=…), open with the same content="
            )
        return f"{whose}content {self.digest[:12]}… at {self.path}: {self.reason}; {remedy}"


@attrs.define(slots=False)
class ContentAccessError(StoreError):
    """The object store that holds the bytes of artifacts refuses. Nothing was recorded; trying again changes nothing."""

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
    """A git worktree, snapshot or merge could not be made."""


@attrs.define(slots=False)
class GitFailedError(WorktreeError):
    """Git refused; what it said is in *reason*."""

    doing: str
    """What was to be done."""
    reason: str
    """What git said, and what helps."""

    def __str__(self) -> str:
        return f"cannot {self.doing}: {self.reason}"


@attrs.define(slots=False)
class NotARepositoryError(WorktreeError):
    """There is no git repository here, or it has no commit yet; everything but worktrees works without."""

    path: str
    """The folder."""
    missing: str
    """What is missing, and the command that makes it."""

    def __str__(self) -> str:
        return f"worktrees need a git repository with a commit; {self.path}: {self.missing}"


@attrs.define(slots=False)
class DirtyCheckoutError(WorktreeError):
    """A checkout of somebody else's would have to change. Nothing was changed."""

    path: str
    """The checkout."""
    reason: str
    """What stands in the way, and what helps."""

    def __str__(self) -> str:
        return f"{self.path} was left as it is: {self.reason}"


@attrs.define(slots=False)
class WorktreeBusyError(WorktreeError):
    """Another agent works in the worktree that the task shares; two at once would land each other's unfinished files. Safe to retry."""

    retryable: ClassVar[bool] = True

    worktree: str
    """The worktree's name."""
    task: str
    """Alias of the task that is worked on there."""
    agent: str
    """Who works on it."""

    def __str__(self) -> str:
        return (
            f"{self.agent} works in the worktree {self.worktree!r}, on {self.task}; start this when that has ended, or plan it with a "
            f"worktree of its own: orch.execute_task(…, worktree=True)"
        )


@attrs.define(slots=False)
class WorktreeLockedError(WorktreeError):
    """Another process held one of the library's own locks all the time. Nothing was changed."""

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


@attrs.define(slots=False)
class MergeConflictError(WorktreeError):
    """The work does not merge cleanly. The integration branch is unchanged and the work is kept."""

    branch: str
    """The integration branch."""
    paths: tuple[str, ...]
    """The files in conflict."""
    report: str = ""
    """Base, the integration branch, the worktree and the diff3 text of each file, as Markdown."""

    def __str__(self) -> str:
        shown = ", ".join(self.paths[:5]) + (
            f" and {len(self.paths) - 5} more" if len(self.paths) > 5 else ""  # noqa: PLR2004
        )
        return f"merging into {self.branch!r} conflicts in {shown}"


@attrs.define(slots=False)
class LandingRefusedError(WorktreeError):
    """The merged work was refused before it landed. The integration branch is unchanged and the work is kept."""

    branch: str
    """The integration branch."""
    reason: str
    """What refused: the check that was red, or what of others' work would be undone."""
    report: str = ""
    """All that is known about it, as Markdown; of a check, its output."""

    def __str__(self) -> str:
        return f"not landed on {self.branch!r}: {self.reason}"


@attrs.define(slots=False)
class RefMovedError(WorktreeError):
    """A ref was moved by another process between reading and writing. Nothing was changed; safe to retry."""

    retryable: ClassVar[bool] = True

    ref: str
    """The ref."""
    expected: str
    """Where it was, in hexadecimal; empty when it did not exist."""
    found: str
    """Where it is now."""

    def __str__(self) -> str:
        return f"{self.ref} moved from {self.expected[:12] or 'nothing'} to {self.found[:12] or 'nothing'} meanwhile; it is safe to try again"


@attrs.define(slots=False)
class UnsupportedRepositoryError(WorktreeError):
    """The repository uses something that would be handled wrongly. Nothing was written."""

    feature: str
    """The feature's name."""
    remedy: str
    """What can be done."""

    def __str__(self) -> str:
        return f"this repository uses {self.feature}, which worktrees made here would handle wrongly: {self.remedy}"


# --- the views --------------------------------------------------------------


@attrs.define(slots=False)
class ArtifactIndexError(VesperaError):
    """The search index could not be read or written. The artifacts themselves are unharmed."""

    doing: str
    """What was to be done."""
    reason: str
    """What went wrong."""
    remedy: str = "orch.artifacts.rebuild_index() makes it anew from the artifacts"

    def __str__(self) -> str:
        return f"search index: cannot {self.doing}: {self.reason}; {self.remedy}"


class EmbedderError(ArtifactIndexError):
    """The embedder failed, or gave something else than vectors. What was saved is kept, and found by its words."""


class DocumentError(VesperaError):
    """A document could not be brought up to date. The work itself is unharmed."""


@attrs.define(slots=False)
class DocumentUpdateError(DocumentError):
    """One document could not be read or written."""

    path: str
    """The document."""
    reason: str
    """What is wrong and what helps."""

    def __str__(self) -> str:
        return f"document {self.path}: {self.reason}"


@attrs.define(slots=False)
class TemplateError(DocumentError):
    """A template does not render."""

    template: str
    """Its file name."""
    line: int
    """The line, from 1; 0 when unknown."""
    reason: str
    """What is wrong."""

    def __str__(self) -> str:
        return f"template {self.template}, line {self.line}: {self.reason}"


# --- use --------------------------------------------------------------------


@attrs.define(slots=False)
class ClosedError(VesperaError, RuntimeError):
    """Used after ``close()``."""

    what: str = "this Orchestrator"
    """The thing that is closed."""

    def __str__(self) -> str:
        return f"{self.what} is closed; open it again with vespera_orchestrator.open()"


@attrs.define(slots=False)
class MissingDependencyError(VesperaError, ImportError):
    """A package that this feature needs is not installed."""

    feature: str
    """What was asked for."""
    package: str
    """The package that is missing."""
    install: str
    """The command that installs it."""

    def __str__(self) -> str:
        return f"{self.feature} needs {self.package}, which is not installed: {self.install}"
