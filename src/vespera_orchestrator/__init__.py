"""Large pieces of work, finished by several agents and a person, without losing any of it.

``vespera_orchestrator.open()`` gives an `Orchestrator`; everything else starts there.
The names are found on first use, so that importing the package costs next to nothing.
"""

# ruff: noqa: I001 - one group of names for each module

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from vespera_orchestrator._lazy import lazy_names
from vespera_orchestrator._version import __version__ as __version__

# What type checkers see. A test holds it in step with `_HOMES`, which is what counts at run time.
if TYPE_CHECKING:
    from vespera_orchestrator._mistakes import (
        InvalidInputError as InvalidInputError,
        VesperaError as VesperaError,
    )
    from vespera_orchestrator._model import (
        Artifact as Artifact,
        ArtifactKind as ArtifactKind,
        Attempt as Attempt,
        Cause as Cause,
        CauseKind as CauseKind,
        Checkpoint as Checkpoint,
        ContextUse as ContextUse,
        Dependency as Dependency,
        DocumentVersion as DocumentVersion,
        Energy as Energy,
        Event as Event,
        EventKind as EventKind,
        Existing as Existing,
        Finding as Finding,
        FindingKind as FindingKind,
        GitOperation as GitOperation,
        HandedIn as HandedIn,
        HomePlace as HomePlace,
        HomeSource as HomeSource,
        NextAction as NextAction,
        NextStep as NextStep,
        Outcome as Outcome,
        PastEvent as PastEvent,
        Pause as Pause,
        PlannedTasks as PlannedTasks,
        PressureKind as PressureKind,
        PressureLevel as PressureLevel,
        RefusalKind as RefusalKind,
        Reopening as Reopening,
        SearchGap as SearchGap,
        Session as Session,
        SettingDifference as SettingDifference,
        Severity as Severity,
        SharedValue as SharedValue,
        Task as Task,
        TaskDraft as TaskDraft,
        TaskStatus as TaskStatus,
        TeamSettings as TeamSettings,
        Why as Why,
        Worktree as Worktree,
    )
    from vespera_orchestrator._records import (
        Record as Record,
    )
    from vespera_orchestrator.agents.context import (
        AgentContext as AgentContext,
    )
    from vespera_orchestrator.agents.roles.role import (
        Role as Role,
    )
    from vespera_orchestrator.agents.shared import (
        ContextConflict as ContextConflict,
        SharedContext as SharedContext,
    )
    from vespera_orchestrator.artifacts.api import Artifacts as Artifacts
    from vespera_orchestrator.artifacts.browsing import Exported as Exported
    from vespera_orchestrator.artifacts.content import Collected as Collected
    from vespera_orchestrator.artifacts.context import (
        Context as Context,
        ContextPassage as ContextPassage,
    )
    from vespera_orchestrator.artifacts.damage import Damage as Damage
    from vespera_orchestrator.artifacts.forgetting import (
        Forgotten as Forgotten,
        Remainder as Remainder,
        RemainderKind as RemainderKind,
    )
    from vespera_orchestrator.artifacts.hits import Hit as Hit
    from vespera_orchestrator.artifacts.search.index import IndexStatus as IndexStatus
    from vespera_orchestrator.artifacts.showing import (
        ArtifactList as ArtifactList,
        Shown as Shown,
    )
    from vespera_orchestrator.documents import (
        Documents as Documents,
        Inclusion as Inclusion,
        Proposal as Proposal,
        UpdateReport as UpdateReport,
    )
    from vespera_orchestrator.errors import (
        AliasTakenError as AliasTakenError,
        AnswerNeededError as AnswerNeededError,
        ArtifactIndexError as ArtifactIndexError,
        ArtifactForgottenError as ArtifactForgottenError,
        ArtifactNotFoundError as ArtifactNotFoundError,
        ArtifactSupersededError as ArtifactSupersededError,
        ClosedError as ClosedError,
        ConditionError as ConditionError,
        ConflictError as ConflictError,
        ContentAccessError as ContentAccessError,
        ContentElsewhereError as ContentElsewhereError,
        CorruptContentError as CorruptContentError,
        CorruptRecordError as CorruptRecordError,
        CorruptStoreError as CorruptStoreError,
        CycleError as CycleError,
        DirtyCheckoutError as DirtyCheckoutError,
        DocumentError as DocumentError,
        DocumentUpdateError as DocumentUpdateError,
        EmbedderError as EmbedderError,
        GitFailedError as GitFailedError,
        HomeNotFoundError as HomeNotFoundError,
        InvalidPlanError as InvalidPlanError,
        LandingRefusedError as LandingRefusedError,
        LeaseLostError as LeaseLostError,
        MergeConflictError as MergeConflictError,
        MissingDependencyError as MissingDependencyError,
        NotARepositoryError as NotARepositoryError,
        NotFoundError as NotFoundError,
        NothingReadyError as NothingReadyError,
        NotReadyError as NotReadyError,
        OperationUnderWayError as OperationUnderWayError,
        OutcomeUnknownError as OutcomeUnknownError,
        PlanError as PlanError,
        PressureLimitError as PressureLimitError,
        ReadOnlyError as ReadOnlyError,
        RefMovedError as RefMovedError,
        SchemaVersionError as SchemaVersionError,
        SessionNotFoundError as SessionNotFoundError,
        SetupFailedError as SetupFailedError,
        SettingsConflictError as SettingsConflictError,
        SeveralSessionsError as SeveralSessionsError,
        SourceFileNotFoundError as SourceFileNotFoundError,
        StoreBusyError as StoreBusyError,
        StoreError as StoreError,
        StoreUnavailableError as StoreUnavailableError,
        TaskNotFoundError as TaskNotFoundError,
        TemplateError as TemplateError,
        TransitionError as TransitionError,
        UnknownDependencyError as UnknownDependencyError,
        UnreadableObjectError as UnreadableObjectError,
        UnsavedFilesError as UnsavedFilesError,
        UnsupportedFileSystemError as UnsupportedFileSystemError,
        UnsupportedRepositoryError as UnsupportedRepositoryError,
        UntrustedHomeError as UntrustedHomeError,
        WorktreeBusyError as WorktreeBusyError,
        WorktreeElsewhereError as WorktreeElsewhereError,
        WorktreeError as WorktreeError,
        WorktreeFolderLostError as WorktreeFolderLostError,
        WorktreeLockedError as WorktreeLockedError,
        WorktreeNameTakenError as WorktreeNameTakenError,
        WorktreeNotFoundError as WorktreeNotFoundError,
    )
    from vespera_orchestrator.home.consent import (
        Consent as Consent,
        trust as trust,
    )
    from vespera_orchestrator.maintenance import (
        BackupReport as BackupReport,
        CheckReport as CheckReport,
        ExportReport as ExportReport,
        PruneReport as PruneReport,
        RepairReport as RepairReport,
    )
    from vespera_orchestrator.orchestrator import (
        Orchestrator as Orchestrator,
    )
    from vespera_orchestrator.progress.digest import (
        Digest as Digest,
    )
    from vespera_orchestrator.progress.history import (
        History as History,
    )
    from vespera_orchestrator.progress.resume import (
        Briefing as Briefing,
    )
    from vespera_orchestrator.progress.status import (
        Running as Running,
        SessionStatus as SessionStatus,
        Status as Status,
    )
    from vespera_orchestrator.progress.watching import (
        EventWatch as EventWatch,
    )
    from vespera_orchestrator.tasks.pressure import (
        Pressure as Pressure,
        PressureCause as PressureCause,
    )
    from vespera_orchestrator.tasks.durations import (
        UsualTime as UsualTime,
    )
    from vespera_orchestrator.tasks.graph import (
        TaskGraph as TaskGraph,
    )
    from vespera_orchestrator.work.errand import (
        Result as Result,
    )
    from vespera_orchestrator.work.land_all_report import (
        LandAllReport as LandAllReport,
    )
    from vespera_orchestrator.work.run_report import (
        RunEnding as RunEnding,
        RunProgress as RunProgress,
        RunReport as RunReport,
        Trouble as Trouble,
    )
    from vespera_orchestrator.work.work import (
        Work as Work,
    )
    from vespera_orchestrator.work.worktrees import (
        Worktrees as Worktrees,
    )
    from vespera_orchestrator.worktrees.admin_note import (
        Brought as Brought,
    )
    from vespera_orchestrator.worktrees.forecast import (
        Clash as Clash,
        Forecast as Forecast,
    )
    from vespera_orchestrator.worktrees.landing import (
        Landing as Landing,
    )
    from vespera_orchestrator.worktrees.rescue import (
        Rescued as Rescued,
    )
    from vespera_orchestrator.worktrees.reverts import (
        Revert as Revert,
    )
    from vespera_orchestrator.worktrees.snapshot import (
        Snapshot as Snapshot,
    )

    open = Orchestrator.open  # noqa: A001 - vespera_orchestrator.open() reads as gzip.open() does

_HOMES = {
    "_mistakes": (
        "InvalidInputError",
        "VesperaError",
    ),
    "_model": (
        "Artifact",
        "ArtifactKind",
        "Attempt",
        "Cause",
        "CauseKind",
        "Checkpoint",
        "ContextUse",
        "Dependency",
        "DocumentVersion",
        "Energy",
        "Event",
        "EventKind",
        "Existing",
        "Finding",
        "FindingKind",
        "GitOperation",
        "HandedIn",
        "HomePlace",
        "HomeSource",
        "NextAction",
        "NextStep",
        "Outcome",
        "PastEvent",
        "Pause",
        "PlannedTasks",
        "PressureKind",
        "PressureLevel",
        "RefusalKind",
        "Reopening",
        "SearchGap",
        "Session",
        "SettingDifference",
        "Severity",
        "SharedValue",
        "Task",
        "TaskDraft",
        "TaskStatus",
        "TeamSettings",
        "Why",
        "Worktree",
    ),
    "_records": ("Record",),
    "agents.context": ("AgentContext",),
    "agents.roles.role": ("Role",),
    "agents.shared": (
        "ContextConflict",
        "SharedContext",
    ),
    "artifacts.api": ("Artifacts",),
    "artifacts.browsing": ("Exported",),
    "artifacts.content": ("Collected",),
    "artifacts.context": (
        "Context",
        "ContextPassage",
    ),
    "artifacts.damage": ("Damage",),
    "artifacts.forgetting": (
        "Forgotten",
        "Remainder",
        "RemainderKind",
    ),
    "artifacts.hits": ("Hit",),
    "artifacts.search.index": ("IndexStatus",),
    "artifacts.showing": (
        "ArtifactList",
        "Shown",
    ),
    "documents": (
        "Documents",
        "Inclusion",
        "Proposal",
        "UpdateReport",
    ),
    "errors": (
        "AliasTakenError",
        "AnswerNeededError",
        "ArtifactIndexError",
        "ArtifactForgottenError",
        "ArtifactNotFoundError",
        "ArtifactSupersededError",
        "ClosedError",
        "ConditionError",
        "ConflictError",
        "ContentAccessError",
        "ContentElsewhereError",
        "CorruptContentError",
        "CorruptRecordError",
        "CorruptStoreError",
        "CycleError",
        "DirtyCheckoutError",
        "DocumentError",
        "DocumentUpdateError",
        "EmbedderError",
        "GitFailedError",
        "HomeNotFoundError",
        "InvalidPlanError",
        "LandingRefusedError",
        "LeaseLostError",
        "MergeConflictError",
        "MissingDependencyError",
        "NotARepositoryError",
        "NotFoundError",
        "NotReadyError",
        "NothingReadyError",
        "OperationUnderWayError",
        "OutcomeUnknownError",
        "PlanError",
        "PressureLimitError",
        "ReadOnlyError",
        "RefMovedError",
        "SchemaVersionError",
        "SessionNotFoundError",
        "SetupFailedError",
        "SettingsConflictError",
        "SeveralSessionsError",
        "SourceFileNotFoundError",
        "StoreBusyError",
        "StoreError",
        "StoreUnavailableError",
        "TaskNotFoundError",
        "TemplateError",
        "TransitionError",
        "UnknownDependencyError",
        "UnreadableObjectError",
        "UnsavedFilesError",
        "UnsupportedFileSystemError",
        "UnsupportedRepositoryError",
        "UntrustedHomeError",
        "WorktreeBusyError",
        "WorktreeElsewhereError",
        "WorktreeError",
        "WorktreeFolderLostError",
        "WorktreeLockedError",
        "WorktreeNameTakenError",
        "WorktreeNotFoundError",
    ),
    "home.consent": ("Consent", "trust"),
    "maintenance": (
        "BackupReport",
        "CheckReport",
        "ExportReport",
        "PruneReport",
        "RepairReport",
    ),
    "orchestrator": ("Orchestrator",),
    "progress.digest": ("Digest",),
    "progress.history": ("History",),
    "progress.resume": ("Briefing",),
    "progress.status": (
        "Running",
        "SessionStatus",
        "Status",
    ),
    "progress.watching": ("EventWatch",),
    "tasks.durations": ("UsualTime",),
    "tasks.graph": ("TaskGraph",),
    "tasks.pressure": ("Pressure", "PressureCause"),
    "work.errand": ("Result",),
    "work.land_all_report": ("LandAllReport",),
    "work.run_report": (
        "RunEnding",
        "RunProgress",
        "RunReport",
        "Trouble",
    ),
    "work.work": ("Work",),
    "work.worktrees": ("Worktrees",),
    "worktrees.admin_note": ("Brought",),
    "worktrees.forecast": (
        "Clash",
        "Forecast",
    ),
    "worktrees.landing": ("Landing",),
    "worktrees.rescue": ("Rescued",),
    "worktrees.reverts": ("Revert",),
    "worktrees.snapshot": ("Snapshot",),
}
"""Where each public name is defined, by module of this package."""
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "open"])  # noqa: PLE0605 - a sorted list is a list
_find = lazy_names("vespera_orchestrator", _HOME_OF)


def __getattr__(name: str) -> Any:
    value = _find("Orchestrator").open if name == "open" else _find(name)
    _explain_loaded()
    return value


def _explain_loaded() -> None:
    """Let ``help()`` tell what fields mean, for every public record that is loaded by now."""
    from vespera_orchestrator._help import explain_fields

    for home, names in _HOMES.items():
        module = sys.modules.get(f"vespera_orchestrator.{home}")
        for name in names if module is not None else ():
            explain_fields(vars(module).get(name))


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
