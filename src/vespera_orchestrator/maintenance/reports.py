"""What checks and repairs report, in words for people and in fields for programs."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._model import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from vespera_orchestrator._model import Finding

REPAIR: Final = "orch.repair() fixes this"
_LINES_SHOWN: Final = 20
"""How many findings of one severity are printed; a report holds them all."""
_ROWS_SHOWN: Final = 100
"""How many findings a notebook shows."""


def counted(number: int, plural: str) -> str:
    """Say how many, e.g. ``1 session``, ``3 dependencies``; *plural* may be the name of a table."""
    words = plural.replace("_", " ")
    if number == 1 and words.endswith("ies"):
        words = words.removesuffix("ies") + "y"
    elif number == 1:
        words = words.removesuffix("s")
    return f"{number:,} {words}"


@attrs.frozen(repr=False, kw_only=True)
class CheckReport:
    """What `Orchestrator.check` found. True when nothing is wrong: ``if not orch.check(): …``."""

    findings: tuple[Finding, ...]
    """Errors first, then warnings, then notes."""
    counts: Mapping[str, int]
    """How much was checked: rows by table, contents."""
    took_s: float

    @classmethod
    def of(
        cls, findings: Iterable[Finding], counts: Mapping[str, int], took_s: float
    ) -> CheckReport:
        """Make the report, the worst findings first."""
        order = list(Severity)
        by_severity = sorted(findings, key=lambda finding: order.index(finding.severity))
        return cls(findings=tuple(by_severity), counts=counts, took_s=took_s)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What is lost, wrong or in the way of the work."""
        return self._of(Severity.ERROR)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is behind or half done."""
        return self._of(Severity.WARNING)

    @property
    def is_clean(self) -> bool:
        """Whether there is neither an error nor a warning."""
        return not self.errors and not self.warnings

    @property
    def exit_code(self) -> int:
        """For ``sys.exit``: 0 when clean, 1 with warnings, 2 with errors."""
        if self.errors:
            return 2
        return 1 if self.warnings else 0

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity is severity)

    def _verdict(self) -> str:
        numbers = Counter(finding.severity for finding in self.findings)
        results = [counted(numbers[level], f"{level}s") for level in Severity if numbers[level]]
        parts = [counted(number, name) for name, number in self.counts.items() if number]
        result = ", ".join(results) or "all is well"
        scope = ", ".join(parts) or "nothing there yet"
        return f"check: {result} ({scope}; {self.took_s:.1f} s)"

    def __bool__(self) -> bool:
        return self.is_clean

    def __str__(self) -> str:
        lines = [self._verdict()]
        for severity in Severity:
            findings = self._of(severity)
            lines += [f"- {finding}" for finding in findings[:_LINES_SHOWN]]
            more = len(findings) - _LINES_SHOWN
            if more > 0:
                lines.append(f"- and {more} more {severity}s: report.findings has them all")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<CheckReport {self._verdict()}>"

    def _repr_html_(self) -> str:
        verdict = f"<p>{escape(self._verdict())}</p>"
        if not self.findings:
            return verdict
        rows = [_html_row(finding) for finding in self.findings[:_ROWS_SHOWN]]
        head = "<thead><tr><th></th><th>what</th><th>what helps</th></tr></thead>"
        return f"{verdict}<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _html_row(finding: Finding) -> str:
    texts = (finding.severity, finding.sentence, finding.remedy)
    cells = [f"<td>{escape(text)}</td>" for text in texts]
    return f"<tr>{''.join(cells)}</tr>"


@attrs.frozen(repr=False, kw_only=True)
class RepairReport:
    """What `Orchestrator.repair` did."""

    done: tuple[str, ...]
    """One sentence for each repair."""
    backup: Path | None
    """A backup of the home as it was before; ``None`` when no row had to be changed."""
    left: CheckReport
    """What a check says afterwards."""

    def __str__(self) -> str:
        if not self.done:
            return f"repair: nothing to do\n{self.left}"
        summary = f"repair: {len(self.done)} done"
        if self.backup is not None:
            summary += f"; the home as it was before is in {self.backup}"
        return "\n".join([summary, *(f"- {line}" for line in self.done), str(self.left)])

    def __repr__(self) -> str:
        return f"<RepairReport {len(self.done)} done, {self.left!r}>"
