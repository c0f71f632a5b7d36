"""The result of collecting garbage, the same for every content store."""

from __future__ import annotations

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record


@attrs.frozen(kw_only=True)
class Collected(Record):
    """What `Artifacts.collect_garbage` removed, or with *dry_run* would remove.

    ``str()`` says it in a sentence.
    """

    contents: int
    """How many unreferenced contents were removed."""
    size_bytes: int
    """Disk space that they and the leftovers took."""
    leftovers: int
    """How many temporary files of killed writers were removed."""
    kept: int
    """Unreferenced contents that are too young: their writer may be about to record them."""
    dry_run: bool
    """Whether this only counted."""
    condemned: int = 0
    """Contents in an object store that were marked in this call.

    A call that comes later than the grace time removes them.
    """

    def __str__(self) -> str:
        removed, marked = "removed", "marked"
        if self.dry_run:
            removed, marked = "would remove", "would mark"
        condemned = ""
        if self.condemned:
            condemned = f"{marked} {self.condemned} for a later call; "
        return (
            f"{removed} {self.contents} contents and {self.leftovers} leftovers, "
            f"{self.size_bytes:,} bytes; {condemned}"
            f"{self.kept} unreferenced contents are too young"
        )
