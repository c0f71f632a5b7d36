"""The types of projects, and which documents each of them has.

A new document is a name in `PROJECT_TYPES` and a template beside the others. What its template can
use comes from `sources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import Session
    from vespera_orchestrator.contracts import Store


@attrs.frozen(kw_only=True)
class ProjectType:
    """Which documents a type of project has, and what goes into them."""

    name: str
    documents: tuple[str, ...]
    """File names under ``docs/``; the template of ``x.md`` is ``x.md.j2``."""
    log_document: str
    """The document that lists every completed task; mentions of tasks link there."""
    log_section: str
    """The section of it that does."""
    topics: Mapping[str, tuple[str, ...]]
    """Topics by name, each with the beginnings of words that stand for it.

    An artifact belongs to a topic when a word of its kind or tags begins like one of them, a part
    of it when a word of its heading does.
    """
    has_python_api: bool = False
    """Whether Python in artifacts is read for its public functions and classes."""
    cited_topic: str | None = None
    """The topic whose texts are searched for links and references."""


_SOFTWARE = ProjectType(
    name="software_development",
    documents=("api_reference.md", "changelog.md", "architecture.md"),
    log_document="changelog.md",
    log_section="changelog",
    topics={"design": ("architectur", "design", "decision")},
    has_python_api=True,
)
_RESEARCH = ProjectType(
    name="research_project",
    documents=("literature_review.md", "methodology.md", "findings.md"),
    log_document="methodology.md",
    log_section="research_log",
    topics={
        "literature": ("literature", "source", "reference", "bibliograph"),
        "methodology": ("method", "protocol", "procedure"),
        "findings": ("finding", "result", "conclusion", "synthesis"),
    },
    cited_topic="literature",
)
_WRITING = ProjectType(
    name="creative_writing",
    documents=("world_building.md", "character_sheets.md", "plot_outline.md"),
    log_document="plot_outline.md",
    log_section="writing_log",
    topics={
        "world": ("world", "setting", "location"),
        "characters": ("character",),
        "plot": ("plot", "outline", "synopsis"),
    },
)

PROJECT_TYPES = {kind.name: kind for kind in (_SOFTWARE, _RESEARCH, _WRITING)}


def find_project_type(session: Session, store: Store) -> ProjectType | None:
    """Return the type of the session's project.

    It is the session's own, or that of the nearest session above it that has one.
    """
    visited = set()
    nearest: Session | None = session
    while nearest is not None and nearest.project_type is None and nearest.id not in visited:
        visited.add(nearest.id)
        parent_id = nearest.parent_session_id
        nearest = store.find_session(parent_id) if parent_id else None
    if nearest is None or nearest.project_type is None:
        return None
    return PROJECT_TYPES.get(nearest.project_type)


def document_title(document: str) -> str:
    """Return the title of a document: ``api_reference.md`` is "API reference"."""
    words = document.removesuffix(".md").replace("_", " ")
    if words.startswith("api "):
        return words.replace("api", "API", 1)
    return words.capitalize()
