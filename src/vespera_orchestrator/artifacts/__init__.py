"""The full record of the work: saved whole, versioned, searchable, read by later tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._lazy import lazy_names

if TYPE_CHECKING:
    from vespera_orchestrator.artifacts.api import Artifacts as Artifacts
    from vespera_orchestrator.artifacts.browsing import Exported as Exported
    from vespera_orchestrator.artifacts.context import Context as Context
    from vespera_orchestrator.artifacts.forgetting import Forgotten as Forgotten
    from vespera_orchestrator.artifacts.showing import ArtifactList as ArtifactList
    from vespera_orchestrator.artifacts.showing import Shown as Shown

__getattr__ = lazy_names(
    "vespera_orchestrator.artifacts",
    {
        "ArtifactList": "showing",
        "Artifacts": "api",
        "Context": "context",
        "Exported": "browsing",
        "Forgotten": "forgetting",
        "Shown": "showing",
    },
)
