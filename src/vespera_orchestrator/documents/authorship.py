"""Who wrote what a section says: this home, another one, a formatter, or a person.

Only what nobody but homes have written is ever replaced.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.documents.entries import (
    combine,
    differs_by_foreign_entries,
    has_foreign,
    ids_in,
)
from vespera_orchestrator.documents.markdown import definitions_in
from vespera_orchestrator.documents.merging import with_notation
from vespera_orchestrator.documents.sections import outside_sections, section_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vespera_orchestrator.documents.versions import DocumentVersions

    IsForeign = Callable[[frozenset[str]], bool]
    """Tells whether only another home knows what an entry was made from."""

_FROM_FILES: Final = frozenset({"api", "chapters", "components", "see_also"})
"""Sections that say what the project's files say, whoever writes them."""


def foreign_ids(rendered: str, knows: Callable[[str], bool]) -> IsForeign:
    """Return what tells whether only another home knows what an entry was made from.

    Args:
        rendered: What this home says: it knows all ids in it.
        knows: Whether this home has, or once had, the task or the artifact of an id.
    """
    known: dict[str, bool] = dict.fromkeys(ids_in(rendered), True)

    def is_foreign(ids: frozenset[str]) -> bool:
        for each in ids - known.keys():
            known[each] = knows(each)
        return bool(ids) and not any(known[each] for each in ids)

    return is_foreign


class Authorship:
    """Tells who wrote what the sections of one document say.

    Args:
        path: The document.
        text: What it says.
        rendered: What its template makes of the material.
        versions: What we wrote before.
        is_foreign: Whether another home knows some ids, and this one does not.
        written_then: Returns what this home would have written into each section when the document
            became what it is; with ``is_without_tasks``, what the files alone say.
    """

    def __init__(
        self,
        path: str,
        text: str,
        rendered: str,
        versions: DocumentVersions,
        *,
        is_foreign: IsForeign,
        written_then: Callable[..., Mapping[str, str]],
    ) -> None:
        self._path = path
        self._text = text
        self._rendered = rendered
        self._versions = versions
        self._is_foreign = is_foreign
        self._written_then = written_then

    @functools.cached_property
    def definitions(self) -> str:
        """The lines outside of all sections that say where links lead."""
        return definitions_in("\n".join(outside_sections(self._text)))

    def is_as_written(self, section: str, content: str) -> bool:
        """Tell whether we wrote what a section says, letter by letter."""
        return self._versions.is_ours(self._path, section, content)

    def in_its_notation(self, section: str, content: str, due: str) -> str | None:
        """Return what is due as a formatter would write it that has been at a section.

        Args:
            section: The section.
            content: What it says.
            due: What it should say.

        Returns:
            ``None`` if more than the notation of ours was changed.
        """
        base = self._versions.ours_read_alike(self._path, section, content, self.definitions)
        return None if base is None else with_notation(base, content, due)

    def is_ours(self, section: str, content: str) -> bool:
        """Tell whether homes alone have written what a section says, though not as we last did."""
        if section in _FROM_FILES:
            return self._files_say(section, content)
        return self._homes_say(section, content)

    def with_others(self, due: str, present: str) -> str:
        """Return what a section should say, with what other homes wrote into it.

        Args:
            due: What this home would write.
            present: What the section says.
        """
        strange = ids_in(present) - ids_in(due) if due != present else frozenset()
        is_everything_known = not any(self._is_foreign(frozenset({each})) for each in strange)
        return due if is_everything_known else combine(due, present, self._is_foreign)

    def _files_say(self, section: str, content: str) -> bool:
        """Tell whether a content is what the project's files said, whoever wrote it."""
        due = section_contents(self._rendered).get(section, "")
        if self._versions.is_ours_in_lines(self._path, section, content, due):
            return True
        return self._written_then(is_without_tasks=False).get(section) == content

    def _homes_say(self, section: str, content: str) -> bool:
        """Tell whether a content is ours but for what other homes wrote into it."""
        if self._versions.is_ours_beside_others(self._path, section, content, self._is_foreign):
            return True
        has_others = has_foreign(content, self._is_foreign)
        if self._versions.our_last(self._path, section) and not has_others:
            return False
        without_tasks = self._written_then(is_without_tasks=True).get(section, "")
        return differs_by_foreign_entries(content, without_tasks, self._is_foreign)
