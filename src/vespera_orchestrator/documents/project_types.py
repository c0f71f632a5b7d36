"""The types of projects, and which documents each of them has.

A new document is a name in `PROJECT_TYPES` and a template beside the others. What its template can
use comes from `sources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from vespera_orchestrator._model import Session
    from vespera_orchestrator.contracts import Store


@attrs.frozen(kw_only=True)
class ProjectType:
    """Which documents a type of project has, and what goes into them."""

    name: str
    documents: tuple[str, ...]
    """File names; the template of ``X.md`` is ``x.md.j2``."""
    has_python_api: bool = False
    """Whether the Python of the project is read."""
    has_changelog: bool = False
    """Whether completed tasks are sorted into versions."""
    has_research: bool = False
    """Whether literature, methods and findings are collected."""
    has_fiction: bool = False
    """Whether characters, chapters and the world are collected."""


_SOFTWARE = ProjectType(
    name="software_development",
    documents=("API_REFERENCE.md", "CHANGELOG.md", "ARCHITECTURE.md"),
    has_python_api=True,
    has_changelog=True,
)
_RESEARCH = ProjectType(
    name="research_project",
    documents=("LITERATURE_REVIEW.md", "METHODOLOGY.md", "FINDINGS.md"),
    has_research=True,
)
_WRITING = ProjectType(
    name="creative_writing",
    documents=("WORLD_BUILDING.md", "CHARACTER_SHEETS.md", "PLOT_OUTLINE.md"),
    has_fiction=True,
)

TOPICS: Final = {
    "changelog": ("changelog",),
    "api": ("api",),
    "design": ("design",),
    "decisions": ("decision",),
    "literature": ("literature",),
    "references": ("literature",),
    "methodology": ("methodology",),
    "deviations": ("deviation",),
    "findings": ("findings",),
    "withdrawn": ("findings",),
    "characters": ("characters",),
    "plot": ("plot",),
    "chapters": ("chapters",),
    "threads": ("thread",),
    "world": ("place", "rule", "thing", "world"),
}
"""What a section of a packaged template is about, in the words of `vocabulary` and the sources."""

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
    """Return the title of a document: ``API_REFERENCE.md`` is "API reference"."""
    words = document.removesuffix(".md").replace("_", " ").lower()
    if words.startswith("api "):
        return words.replace("api", "API", 1)
    return words.capitalize()


def template_name(document: str) -> str:
    """Return the name of the template of a document: ``api_reference.md.j2``."""
    return f"{document.lower()}.j2"
