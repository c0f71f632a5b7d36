"""What a look at a home found, in words for people and in fields for programs."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from vespera_orchestrator._model import Finding

_SHOWN = 20
"""So many findings of one severity are printed; a report has them all."""


REPAIR = "orch.repair() fixes this"


def counted(number: int, name: str) -> str:
    """Say how many, e.g. ``1 session`` or ``3 dependencies``, of what a table's name calls many."""
    words = name.replace("_", " ")
    if number == 1:
        words = (
            f"{words.removesuffix('ies')}y" if words.endswith("ies") else words.removesuffix("s")
        )
    return f"{number:,} {words}"


@attrs.frozen(repr=False, kw_only=True)
class CheckReport:
    """What `Orchestrator.check` found. True when nothing is wrong: ``if not orch.check(): …``."""

    findings: tuple[Finding, ...]
    """Errors first."""
    counts: Mapping[str, int]
    """How much was looked at: rows by table, contents, worktrees."""
    took_s: float

    @classmethod
    def of(
        cls, findings: Iterable[Finding], counts: Mapping[str, int], took_s: float
    ) -> CheckReport:
        """Make the report, the worst first."""
        order = list(Severity)
        return cls(
            findings=tuple(sorted(findings, key=lambda finding: order.index(finding.severity))),
            counts=counts,
            took_s=took_s,
        )

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What is lost, wrong or in the way."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is behind or half done."""
        return tuple(f for f in self.findings if f.severity is Severity.WARNING)

    @property
    def is_clean(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not self.errors and not self.warnings

    @property
    def exit_code(self) -> int:
        """For ``sys.exit``: 0 when clean, 1 with warnings, 2 with errors."""
        return 2 if self.errors else 1 if self.warnings else 0

    def __bool__(self) -> bool:
        return self.is_clean

    def _verdict(self) -> str:
        seen = ", ".join(counted(number, name) for name, number in self.counts.items() if number)
        counts = Counter(str(f.severity) for f in self.findings)
        told = (
            ", ".join(counted(counts[s], f"{s}s") for s in Severity if counts[s]) or "all is well"
        )
        return f"check: {told} ({seen or 'nothing there yet'}; {self.took_s:.1f} s)"

    def __str__(self) -> str:
        lines = [self._verdict()]
        for severity in Severity:
            mine = [f for f in self.findings if f.severity is severity]
            lines += [f"- {finding}" for finding in mine[:_SHOWN]]
            lines += (
                [f"- and {len(mine) - _SHOWN} more {severity}s: report.findings has them all"]
                if len(mine) > _SHOWN
                else []
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<CheckReport {self._verdict()}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(f.severity)}</td><td>{escape(f.sentence)}</td><td>{escape(f.remedy)}</td></tr>"
            for f in self.findings[:100]
        )
        table = (
            f"<table><thead><tr><th></th><th>what</th><th>what helps</th></tr></thead><tbody>{rows}</tbody></table>"
            if rows
            else ""
        )
        return f"<p>{escape(self._verdict())}</p>{table}"


@attrs.frozen(repr=False, kw_only=True)
class RepairReport:
    """What `Orchestrator.repair` did."""

    done: tuple[str, ...]
    """One sentence for each thing put right."""
    backup: Path | None
    """Where the home as it was before is kept; ``None`` when nothing had to be changed."""
    left: CheckReport
    """What a check says afterwards."""

    def __str__(self) -> str:
        if not self.done:
            return f"repair: nothing to do\n{self.left}"
        kept = f"; the home as it was is kept in {self.backup}" if self.backup else ""
        return "\n".join(
            [
                f"repair: {len(self.done)} done{kept}",
                *(f"- {line}" for line in self.done),
                str(self.left),
            ]
        )

    def __repr__(self) -> str:
        return f"<RepairReport {len(self.done)} done, {self.left!r}>"
