"""What `Orchestrator.run` reports: while it runs, and at its end."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import NextStep
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import one_line

_LISTED: Final = 10
"""How many tasks of one kind are printed; the report has them all."""


class RunEnding(StrEnum):
    """Why `Orchestrator.run` returned."""

    DONE = "done"
    """Every task of the session has ended."""
    WAITING = "waiting"
    """What is left needs a person, another agent or another function."""
    OUT_OF_PATIENCE = "out_of_patience"
    """Other agents held what comes first for longer than ``idle_s``."""
    STOPPED = "stopped"
    """You asked it to stop. What was under way has ended."""
    BROKEN = "broken"
    """The executor takes no more calls: a worker was killed, or it was shut down."""


@attrs.frozen(kw_only=True)
class Trouble(Record):
    """A task that did not get through, and why."""

    alias: str
    """The task's alias."""
    reason: str
    """Why, on one line."""

    def __str__(self) -> str:
        return f"{self.alias}: {one_line(self.reason, 160)}"


@attrs.frozen(kw_only=True)
class RunProgress(Record):
    """How far a run is; what a *progress* function of `Orchestrator.run` is called with."""

    total: int
    """How many tasks of the session are to be completed, recoveries not counted."""
    completed: int
    """How many of them are completed, by this run or before it."""
    blocked: int
    """How many tasks of the session are blocked."""
    running: tuple[str, ...]
    """Aliases of the tasks that this run is working on."""
    took_s: float
    """Seconds since the run began."""

    def __str__(self) -> str:
        text = f"{self.completed} of {self.total} completed"
        if self.blocked:
            text += f", {self.blocked} blocked"
        if self.running:
            text += f"; working on {', '.join(self.running[:3])}"
        if len(self.running) > 3:  # noqa: PLR2004 - as many as fit on a line
            text += f" and {len(self.running) - 3} more"
        return text


@attrs.frozen(repr=False, kw_only=True)
class RunReport(Record):
    """What `Orchestrator.run` did. True when every task of the session has ended."""

    ending: RunEnding
    """Why it returned."""
    completed: tuple[str, ...]
    """Aliases of the tasks that this run completed, in the order in which it began them: each
    comes after what it depends on.
    """
    blocked: tuple[Trouble, ...]
    """Tasks that this run tried and that are blocked now."""
    given_back: tuple[Trouble, ...]
    """Tasks that came back without a result too often, and that this run no longer tries."""
    unhandled: tuple[str, ...]
    """Aliases of ready tasks for which you passed no function, at most a hundred."""
    handed_in: tuple[str, ...]
    """Aliases of tasks whose finished work waits to be merged."""
    overdue: tuple[Trouble, ...] = ()
    """Calls that had not returned when the run did, although their attempts had run into a limit.
    """
    error: str
    """What broke the executor; empty otherwise."""
    took_s: float
    """How long it took, in seconds."""
    next_step: NextStep
    """What to do now."""

    def __bool__(self) -> bool:
        return self.ending is RunEnding.DONE

    def _headline(self) -> str:
        parts = [f"{len(self.completed)} completed"]
        if self.blocked:
            parts.append(f"{len(self.blocked)} blocked")
        if self.given_back:
            parts.append(f"{len(self.given_back)} given back without a result")
        return f"run: {', '.join(parts)} in {self.took_s:.1f} s; {_ENDINGS[self.ending]}"

    def sections(self) -> list[tuple[str, list[str]]]:
        """Return what needs attention, as titles with their lines."""
        sections = [
            ("The executor broke", [self.error] if self.error else []),
            ("Blocked", [str(trouble) for trouble in self.blocked]),
            ("Given back without a result", [str(trouble) for trouble in self.given_back]),
            ("Not come back after their time was up", [str(each) for each in self.overdue]),
            ("Waiting to be merged", list(self.handed_in)),
            ("Ready, but you passed no function for them", list(self.unhandled)),
        ]
        return [(title, lines) for title, lines in sections if lines]

    def __str__(self) -> str:
        lines = [self._headline()]
        for title, entries in self.sections():
            lines.append(f"{title}:")
            lines += [f"  {one_line(entry, 180)}" for entry in entries[:_LISTED]]
            hidden = len(entries) - _LISTED
            if hidden > 0:
                lines.append(f"  … and {hidden} more")
        lines.append(f"Next: {self.next_step}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<RunReport {self._headline()}>"


_ENDINGS: Final = {
    RunEnding.DONE: "every task has ended",
    RunEnding.WAITING: "nothing more can be run now",
    RunEnding.OUT_OF_PATIENCE: "others still hold what comes first",
    RunEnding.STOPPED: "stopped, as you asked",
    RunEnding.BROKEN: "the executor takes no more calls",
}
