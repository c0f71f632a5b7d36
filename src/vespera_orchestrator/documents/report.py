"""What an update of the documents did."""

from __future__ import annotations

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import DocumentVersion
from vespera_orchestrator._records import Record
from vespera_orchestrator.errors import DocumentError


@attrs.frozen(kw_only=True)
class UpdateReport(Record):
    """What an update did. ``str()`` gives a line for each thing worth knowing."""

    written: tuple[DocumentVersion, ...] = ()
    """The documents that were changed, as they are now."""
    edited: tuple[str, ...] = ()
    """Sections that a person has edited, as ``path, section 'name'``: their text stays.

    What we would write there waits in ``orch.documents.proposals()``.
    """
    diffs: tuple[str, ...] = ()
    """With ``dry_run``: how each document would change."""
    notes: tuple[str, ...] = ()
    """What was left as it is, and why."""
    errors: tuple[DocumentError, ...] = ()
    """Documents that could not be brought up to date; the others were.

    The next update tries again.
    """
    busy: bool = False
    """Whether another process was updating, so that this update was left to the next caller."""

    def __str__(self) -> str:
        lines = list(self.diffs)
        lines += [
            f"{place}: your edit stays; orch.documents.proposals() shows what we would write"
            for place in self.edited
        ]
        lines += [f"{v.path}: up to date, version {v.version}" for v in self.written]
        lines += self.notes
        lines += map(str, self.errors)
        return "\n".join(lines) or "documents: nothing to change"

    def __add__(self, other: UpdateReport) -> UpdateReport:
        notes = dict.fromkeys(self.notes + other.notes)
        return UpdateReport(
            written=self.written + other.written,
            edited=tuple(dict.fromkeys(self.edited + other.edited)),
            diffs=self.diffs + other.diffs,
            notes=tuple(notes),
            errors=self.errors + other.errors,
            busy=self.busy or other.busy,
        )
