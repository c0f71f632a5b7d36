"""What the templates of one project type can use, from every source.

No language model is asked: the same store gives the same material, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.completed_work import ArtifactReader, CompletedWork, Inclusion
from vespera_orchestrator.documents.sources import SOURCES

if TYPE_CHECKING:
    from vespera_orchestrator.documents.collection import Collected
    from vespera_orchestrator.documents.project_types import ProjectType
    from vespera_orchestrator.documents.readings import Readings
    from vespera_orchestrator.documents.tree import ProjectTree


@attrs.frozen(kw_only=True)
class Material:
    """What templates can use, and what is missing from it."""

    variables: dict[str, object]
    """By the names that templates use: the fields of every source in `sources`."""
    notes: tuple[str, ...] = ()
    """What could not be taken into account, and why; not for templates."""
    inclusions: tuple[Inclusion, ...] = ()
    """What was decided about each artifact and task, and why."""


def gather(
    kind: ProjectType,
    collected: Collected,
    reader: ArtifactReader,
    tree: ProjectTree,
    readings: Readings,
    *,
    taken_numbers: frozenset[int] = frozenset(),
) -> Material:
    """Collect the material for the documents of *kind* from all sessions of that type.

    Args:
        kind: The type.
        collected: What the store has.
        reader: Reads artifacts.
        tree: The files of the project, as they are now.
        readings: What was read from files before.
        taken_numbers: The numbers of decisions that another home has recorded.
    """
    work = CompletedWork(kind, collected, reader, tree, readings, taken_numbers=taken_numbers)
    variables: dict[str, object] = {}
    for source in SOURCES:
        record = source.collect(work)
        variables |= attrs.asdict(record, recurse=False)
    # Several sources may have met the same unreadable artifact.
    notes = dict.fromkeys(reader.notes)
    for artifact in collected.artifacts if reader.has_secrets else ():
        kinds = reader.secrets_of(artifact)
        if kinds:
            note = f"artifact {artifact.id} holds what looks like a secret, masked here: {kinds}"
            notes[note] = None
    return Material(variables=variables, notes=tuple(notes), inclusions=tuple(work.inclusions))
