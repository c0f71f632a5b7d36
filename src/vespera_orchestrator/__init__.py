"""Large pieces of work, finished by several agents and a person, without losing any of it.

``vespera_orchestrator.open()`` gives an `Orchestrator`; everything else starts there.
The names are found on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from vespera_orchestrator._version import __version__ as __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from datetime import datetime

    from vespera_orchestrator._model import Artifact as Artifact
    from vespera_orchestrator._model import Attempt as Attempt
    from vespera_orchestrator._model import Cause as Cause
    from vespera_orchestrator._model import CauseKind as CauseKind
    from vespera_orchestrator._model import Checkpoint as Checkpoint
    from vespera_orchestrator._model import ContextUse as ContextUse
    from vespera_orchestrator._model import Dependency as Dependency
    from vespera_orchestrator._model import DocumentVersion as DocumentVersion
    from vespera_orchestrator._model import Event as Event
    from vespera_orchestrator._model import Finding as Finding
    from vespera_orchestrator._model import FindingKind as FindingKind
    from vespera_orchestrator._model import NextAction as NextAction
    from vespera_orchestrator._model import NextStep as NextStep
    from vespera_orchestrator._model import Outcome as Outcome
    from vespera_orchestrator._model import Session as Session
    from vespera_orchestrator._model import Severity as Severity
    from vespera_orchestrator._model import Task as Task
    from vespera_orchestrator._model import TaskDraft as TaskDraft
    from vespera_orchestrator._model import TaskStatus as TaskStatus
    from vespera_orchestrator._model import Why as Why
    from vespera_orchestrator._model import Worktree as Worktree
    from vespera_orchestrator.agents.context import AgentContext as AgentContext
    from vespera_orchestrator.artifacts import ArtifactList as ArtifactList
    from vespera_orchestrator.artifacts import Artifacts as Artifacts
    from vespera_orchestrator.artifacts import Collected as Collected
    from vespera_orchestrator.artifacts import Context as Context
    from vespera_orchestrator.artifacts import ContextPassage as ContextPassage
    from vespera_orchestrator.artifacts import Damage as Damage
    from vespera_orchestrator.artifacts import Exported as Exported
    from vespera_orchestrator.artifacts import Hit as Hit
    from vespera_orchestrator.artifacts import IndexStatus as IndexStatus
    from vespera_orchestrator.artifacts import Shown as Shown
    from vespera_orchestrator.contracts import ContentStore, Embedder, Store
    from vespera_orchestrator.documents import Documents as Documents
    from vespera_orchestrator.documents import UpdateReport as UpdateReport
    from vespera_orchestrator.errors import AliasTakenError as AliasTakenError
    from vespera_orchestrator.errors import ArtifactIndexError as ArtifactIndexError
    from vespera_orchestrator.errors import ArtifactNotFoundError as ArtifactNotFoundError
    from vespera_orchestrator.errors import ClosedError as ClosedError
    from vespera_orchestrator.errors import ConditionError as ConditionError
    from vespera_orchestrator.errors import ConflictError as ConflictError
    from vespera_orchestrator.errors import ContentAccessError as ContentAccessError
    from vespera_orchestrator.errors import CorruptContentError as CorruptContentError
    from vespera_orchestrator.errors import CorruptRecordError as CorruptRecordError
    from vespera_orchestrator.errors import CorruptStoreError as CorruptStoreError
    from vespera_orchestrator.errors import CycleError as CycleError
    from vespera_orchestrator.errors import DirtyCheckoutError as DirtyCheckoutError
    from vespera_orchestrator.errors import DocumentError as DocumentError
    from vespera_orchestrator.errors import DocumentUpdateError as DocumentUpdateError
    from vespera_orchestrator.errors import EmbedderError as EmbedderError
    from vespera_orchestrator.errors import GitFailedError as GitFailedError
    from vespera_orchestrator.errors import InvalidInputError as InvalidInputError
    from vespera_orchestrator.errors import InvalidPlanError as InvalidPlanError
    from vespera_orchestrator.errors import LandingRefusedError as LandingRefusedError
    from vespera_orchestrator.errors import LeaseLostError as LeaseLostError
    from vespera_orchestrator.errors import MergeConflictError as MergeConflictError
    from vespera_orchestrator.errors import MissingDependencyError as MissingDependencyError
    from vespera_orchestrator.errors import NotARepositoryError as NotARepositoryError
    from vespera_orchestrator.errors import NotFoundError as NotFoundError
    from vespera_orchestrator.errors import NothingReadyError as NothingReadyError
    from vespera_orchestrator.errors import NotReadyError as NotReadyError
    from vespera_orchestrator.errors import OutcomeUnknownError as OutcomeUnknownError
    from vespera_orchestrator.errors import PlanError as PlanError
    from vespera_orchestrator.errors import ReadOnlyError as ReadOnlyError
    from vespera_orchestrator.errors import RefMovedError as RefMovedError
    from vespera_orchestrator.errors import SchemaVersionError as SchemaVersionError
    from vespera_orchestrator.errors import SessionNotFoundError as SessionNotFoundError
    from vespera_orchestrator.errors import SourceFileNotFoundError as SourceFileNotFoundError
    from vespera_orchestrator.errors import StoreError as StoreError
    from vespera_orchestrator.errors import StoreUnavailableError as StoreUnavailableError
    from vespera_orchestrator.errors import TaskNotFoundError as TaskNotFoundError
    from vespera_orchestrator.errors import TemplateError as TemplateError
    from vespera_orchestrator.errors import TransitionError as TransitionError
    from vespera_orchestrator.errors import UnknownDependencyError as UnknownDependencyError
    from vespera_orchestrator.errors import UnsupportedFileSystemError as UnsupportedFileSystemError
    from vespera_orchestrator.errors import UnsupportedRepositoryError as UnsupportedRepositoryError
    from vespera_orchestrator.errors import VesperaError as VesperaError
    from vespera_orchestrator.errors import WorktreeBusyError as WorktreeBusyError
    from vespera_orchestrator.errors import WorktreeError as WorktreeError
    from vespera_orchestrator.errors import WorktreeLockedError as WorktreeLockedError
    from vespera_orchestrator.errors import WorktreeNotFoundError as WorktreeNotFoundError
    from vespera_orchestrator.maintenance import BackupReport as BackupReport
    from vespera_orchestrator.maintenance import CheckReport as CheckReport
    from vespera_orchestrator.maintenance import ExportReport as ExportReport
    from vespera_orchestrator.maintenance import PruneReport as PruneReport
    from vespera_orchestrator.maintenance import RepairReport as RepairReport
    from vespera_orchestrator.orchestrator import Orchestrator as Orchestrator
    from vespera_orchestrator.progress.briefing import Briefing as Briefing
    from vespera_orchestrator.progress.status import Running as Running
    from vespera_orchestrator.progress.status import SessionStatus as SessionStatus
    from vespera_orchestrator.progress.status import Status as Status
    from vespera_orchestrator.tasks.graph import TaskGraph as TaskGraph
    from vespera_orchestrator.work.work import Work as Work
    from vespera_orchestrator.work.worktrees import Worktrees as Worktrees
    from vespera_orchestrator.worktrees.forecast import Clash as Clash
    from vespera_orchestrator.worktrees.forecast import Forecast as Forecast
    from vespera_orchestrator.worktrees.landing import Landing as Landing
    from vespera_orchestrator.worktrees.repair import Rescued as Rescued
    from vespera_orchestrator.worktrees.reverts import Revert as Revert
    from vespera_orchestrator.worktrees.snapshot import Snapshot as Snapshot


_HOMES = {
    "progress.briefing": ("Briefing",),
    "progress.status": (
        "Running",
        "SessionStatus",
        "Status",
    ),
    "tasks.graph": ("TaskGraph",),
    "_model": (
        "Artifact",
        "Attempt",
        "Cause",
        "CauseKind",
        "Checkpoint",
        "Dependency",
        "DocumentVersion",
        "Event",
        "Finding",
        "FindingKind",
        "NextAction",
        "NextStep",
        "Outcome",
        "ContextUse",
        "Session",
        "Severity",
        "Task",
        "TaskDraft",
        "TaskStatus",
        "Why",
        "Worktree",
    ),
    "agents.context": ("AgentContext",),
    "artifacts": (
        "ArtifactList",
        "Artifacts",
        "Collected",
        "Context",
        "ContextPassage",
        "Damage",
        "Exported",
        "Hit",
        "IndexStatus",
        "Shown",
    ),
    "maintenance": (
        "BackupReport",
        "CheckReport",
        "ExportReport",
        "PruneReport",
        "RepairReport",
    ),
    "documents": (
        "Documents",
        "UpdateReport",
    ),
    "errors": (
        "AliasTakenError",
        "ArtifactIndexError",
        "ArtifactNotFoundError",
        "ClosedError",
        "ConditionError",
        "ConflictError",
        "ContentAccessError",
        "CorruptContentError",
        "CorruptRecordError",
        "CorruptStoreError",
        "CycleError",
        "DirtyCheckoutError",
        "DocumentError",
        "DocumentUpdateError",
        "EmbedderError",
        "GitFailedError",
        "InvalidInputError",
        "InvalidPlanError",
        "LandingRefusedError",
        "LeaseLostError",
        "MergeConflictError",
        "MissingDependencyError",
        "NotARepositoryError",
        "NotFoundError",
        "NotReadyError",
        "NothingReadyError",
        "OutcomeUnknownError",
        "PlanError",
        "ReadOnlyError",
        "RefMovedError",
        "SchemaVersionError",
        "SessionNotFoundError",
        "SourceFileNotFoundError",
        "StoreError",
        "StoreUnavailableError",
        "TaskNotFoundError",
        "TemplateError",
        "TransitionError",
        "UnknownDependencyError",
        "UnsupportedFileSystemError",
        "UnsupportedRepositoryError",
        "VesperaError",
        "WorktreeBusyError",
        "WorktreeError",
        "WorktreeLockedError",
        "WorktreeNotFoundError",
    ),
    "orchestrator": ("Orchestrator",),
    "work.work": ("Work",),
    "work.worktrees": ("Worktrees",),
    "worktrees.forecast": ("Clash", "Forecast"),
    "worktrees.landing": ("Landing",),
    "worktrees.repair": ("Rescued",),
    "worktrees.reverts": ("Revert",),
    "worktrees.snapshot": ("Snapshot",),
}
"""Where each public name lives."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AgentContext",
    "AliasTakenError",
    "Artifact",
    "ArtifactIndexError",
    "ArtifactList",
    "ArtifactNotFoundError",
    "Artifacts",
    "Attempt",
    "BackupReport",
    "Briefing",
    "Cause",
    "CauseKind",
    "CheckReport",
    "Checkpoint",
    "Clash",
    "ClosedError",
    "Collected",
    "ConditionError",
    "ConflictError",
    "ContentAccessError",
    "Context",
    "ContextPassage",
    "ContextUse",
    "CorruptContentError",
    "CorruptRecordError",
    "CorruptStoreError",
    "CycleError",
    "Damage",
    "Dependency",
    "DirtyCheckoutError",
    "DocumentError",
    "DocumentUpdateError",
    "DocumentVersion",
    "Documents",
    "EmbedderError",
    "Event",
    "ExportReport",
    "Exported",
    "Finding",
    "FindingKind",
    "Forecast",
    "GitFailedError",
    "Hit",
    "IndexStatus",
    "InvalidInputError",
    "InvalidPlanError",
    "Landing",
    "LandingRefusedError",
    "LeaseLostError",
    "MergeConflictError",
    "MissingDependencyError",
    "NextAction",
    "NextStep",
    "NotARepositoryError",
    "NotFoundError",
    "NotReadyError",
    "NothingReadyError",
    "Orchestrator",
    "Outcome",
    "OutcomeUnknownError",
    "PlanError",
    "PruneReport",
    "ReadOnlyError",
    "RefMovedError",
    "RepairReport",
    "Rescued",
    "Revert",
    "Running",
    "SchemaVersionError",
    "Session",
    "SessionNotFoundError",
    "SessionStatus",
    "Severity",
    "Shown",
    "Snapshot",
    "SourceFileNotFoundError",
    "Status",
    "StoreError",
    "StoreUnavailableError",
    "Task",
    "TaskDraft",
    "TaskGraph",
    "TaskNotFoundError",
    "TaskStatus",
    "TemplateError",
    "TransitionError",
    "UnknownDependencyError",
    "UnsupportedFileSystemError",
    "UnsupportedRepositoryError",
    "UpdateReport",
    "VesperaError",
    "Why",
    "Work",
    "Worktree",
    "WorktreeBusyError",
    "WorktreeError",
    "WorktreeLockedError",
    "WorktreeNotFoundError",
    "Worktrees",
    "open",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'vespera_orchestrator' has no attribute {name!r}")
    value = getattr(import_module(f"vespera_orchestrator.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def open(  # noqa: A001 - vespera_orchestrator.open() reads as gzip.open() does
    path: str | os.PathLike[str] = ".",
    *,
    store: str | Store | None = None,
    content: str | ContentStore | None = None,
    home: str | os.PathLike[str] | None = None,
    session: str | None = None,
    agent: str | None = None,
    embedder: str | Embedder | None = None,
    clock: Callable[[], datetime] | None = None,
    durability: Literal["full", "normal"] | None = None,
) -> Orchestrator:
    """Open the project around *path*, making its home ``.task_orchestrator/`` when it is missing. Same as `Orchestrator.open`.

    Args:
        path: A folder of the project. From inside any git worktree the home of the main worktree is found.
        store: ``None`` for SQLite in the home, ``"sqlite:///file"``, ``"memory:"``, ``"postgresql://user@host/database"``, or an object
            that keeps `contracts.Store`. Without it, the environment's ``VESPERA_ORCHESTRATOR_STORE``.
        content: Where the bytes of artifacts go: ``None`` for ``artifacts/`` in the home, ``"s3://bucket/folder"``, ``"gs://…"``,
            ``"az://…"``, ``"file:///folder"``, ``"memory://"``, or an object that keeps `contracts.ContentStore`. Without it, the
            environment's ``VESPERA_ORCHESTRATOR_CONTENT``, then ``content`` of the home's ``config.toml``.
        home: The home's folder, instead of the one found; also ``VESPERA_ORCHESTRATOR_HOME``.
        session: The session to work in, instead of ``MCP_ORCHESTRATOR_SESSION`` or the active one.
        agent: Who is calling; also ``VESPERA_ORCHESTRATOR_AGENT``; ``"main"`` by default.
        embedder: What makes the vectors of the search: ``"auto"``, ``"none"``, ``"NAME:MODEL"``, or an object that keeps
            `contracts.Embedder`; see `Orchestrator.open`.
        clock: Tells the time, aware. For tests.
        durability: ``"full"`` or ``"normal"``: whether what was acknowledged survives a power cut, or only the death of every process.

    >>> import vespera_orchestrator as vespera
    >>> with vespera.open() as orch:
    ...     print(orch.next_step())
    No session is active yet: say what you want to reach.  →  orch.initialize_session("…")
    """
    from vespera_orchestrator._model import utcnow
    from vespera_orchestrator.orchestrator import Orchestrator

    return Orchestrator.open(
        path,
        store=store,
        content=content,
        home=home,
        session=session,
        agent=agent,
        embedder=embedder,
        clock=clock or utcnow,
        durability=durability,
    )
