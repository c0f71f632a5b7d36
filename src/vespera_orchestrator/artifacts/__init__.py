"""The full record of the work: saved whole, versioned, searchable, handed to later tasks."""

from vespera_orchestrator.artifacts.api import (
    ArtifactList,
    Artifacts,
    Collected,
    Context,
    ContextPassage,
    Damage,
    Exported,
    Hit,
    IndexStatus,
    Shown,
)

__all__ = [
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
]
