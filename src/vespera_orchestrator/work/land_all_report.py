"""What `Worktrees.land_all` reports."""

from __future__ import annotations

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import plural
from vespera_orchestrator.work.run_report import Trouble


@attrs.frozen(repr=False, kw_only=True)
class LandAllReport(Record):
    """What landed, and what did not. True when nothing is left."""

    branch: str
    """The integration branch."""
    landed: tuple[str, ...]
    """Aliases of the tasks whose work landed, in this order. They are completed."""
    left: tuple[Trouble, ...]
    """Tasks whose work did not land, and why. It is kept as it was handed in."""

    def __bool__(self) -> bool:
        return not self.left

    def __str__(self) -> str:
        if not self.landed and not self.left:
            return "Nothing waits to be merged."
        lines = [f"{plural(len(self.landed), 'task')} landed on {self.branch}"]
        if self.landed:
            lines[0] += f": {', '.join(self.landed)}"
        lines += [f"  not landed: {trouble}" for trouble in self.left]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<LandAllReport {len(self.landed)} landed, {len(self.left)} left>"
