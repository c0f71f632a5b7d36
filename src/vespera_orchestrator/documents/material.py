"""What the templates of one project type can use, from every source.

No language model is asked: the same store gives the same material, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.documents.completed_work import ArtifactReader, CompletedWork
from vespera_orchestrator.documents.project_types import document_title
from vespera_orchestrator.documents.sources import SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.documents.project_types import ProjectType


@attrs.frozen(kw_only=True)
class Material:
    """What templates can use, and what is missing from it."""

    variables: Mapping[str, object]
    """By the names that templates use: the fields of every source in `sources`, and ``see_also``.

    ``see_also`` has title and file of each document of the project type.
    """
    notes: tuple[str, ...] = ()
    """What could not be taken into account, and why; not for templates."""


def gather(store: Store, kind: ProjectType, reader: ArtifactReader, *, linked: bool) -> Material:
    """Collect the material for the documents of *kind* from all sessions of that type.

    Args:
        store: Where the work is.
        kind: The type.
        reader: Reads artifacts.
        linked: Whether the document with the log is ours, so that mentions of a task can link
            there.
    """
    work = CompletedWork.collect(store, kind, reader, linked=linked)
    titles = [(document_title(name), name) for name in kind.documents]
    variables: dict[str, object] = {"see_also": tuple(titles)}
    for source in SOURCES:
        record = source.collect(work)
        variables |= attrs.asdict(record, recurse=False)
    # Several sources may have met the same unreadable artifact.
    notes = dict.fromkeys(reader.notes)
    return Material(variables=variables, notes=tuple(notes))
