"""The full record of the work: saved whole, versioned, searchable, read by later tasks."""

from vespera_orchestrator.artifacts.api import Artifacts
from vespera_orchestrator.artifacts.browsing import Exported
from vespera_orchestrator.artifacts.content import Collected
from vespera_orchestrator.artifacts.context import Context, ContextPassage
from vespera_orchestrator.artifacts.damage import Damage
from vespera_orchestrator.artifacts.forgetting import Forgotten, Remainder, RemainderKind
from vespera_orchestrator.artifacts.hits import Hit
from vespera_orchestrator.artifacts.search.index import IndexStatus
from vespera_orchestrator.artifacts.showing import ArtifactList, Shown

__all__ = [
    "ArtifactList",
    "Artifacts",
    "Collected",
    "Context",
    "ContextPassage",
    "Damage",
    "Exported",
    "Forgotten",
    "Hit",
    "IndexStatus",
    "Remainder",
    "RemainderKind",
    "Shown",
]
