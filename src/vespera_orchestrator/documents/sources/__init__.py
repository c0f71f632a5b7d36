"""The sources of documents: one module for each kind of thing that templates can show.

A source is a record. Its fields are the names that templates use, and its ``collect`` fills them
from the completed work. A new source is one module here, and its class in `SOURCES`.
A source that reads files of a new ending also adds it to `tree.READ_SUFFIXES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vespera_orchestrator.documents.sources.architecture import Architecture
from vespera_orchestrator.documents.sources.changes import Changes
from vespera_orchestrator.documents.sources.fiction import Fiction
from vespera_orchestrator.documents.sources.other_languages import OtherLanguages
from vespera_orchestrator.documents.sources.python_api import PythonApi
from vespera_orchestrator.documents.sources.research import Research

if TYPE_CHECKING:
    from typing import Self

    from vespera_orchestrator._attrs import AttrsInstance
    from vespera_orchestrator.documents.completed_work import CompletedWork

    class Source(AttrsInstance, Protocol):
        """What a source has to have."""

        @classmethod
        def collect(cls, work: CompletedWork) -> Self:
            """Collect everything that this source has to show.

            It is asked for every project type. For one that it has nothing to do with, its
            fields are empty: a template may name any of them.
            """


SOURCES: tuple[type[Source], ...] = (
    Changes,
    PythonApi,
    OtherLanguages,
    Architecture,
    Research,
    Fiction,
)
"""All of them. No two may have a field of the same name."""
