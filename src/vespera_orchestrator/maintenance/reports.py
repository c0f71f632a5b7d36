"""What checks and repairs report, in words for people and in fields for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Finding, Severity
from vespera_orchestrator._records import JsonForm, Record

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


def counted_all(numbers: Mapping[str, int]) -> str:
    """Say how many of each, e.g. ``1 session, 3 tasks``; what there is none of is left out."""
    parts = []
    for plural, number in numbers.items():
        if number:
            parts.append(counted(number, plural))
    return ", ".join(parts)


@attrs.frozen(repr=False, kw_only=True)
class CheckReport(Record):
    """What `Orchestrator.check` found. True when nothing is wrong: ``if not orch.check(): …``."""

    findings: tuple[Finding, ...]
    """Errors first, then warnings, then notes."""
    counts: Mapping[str, int]
    """How much was checked: rows by table, contents."""
    took_s: float
    """How long the check took, in seconds."""

    json_form = JsonForm(properties=("is_clean", "exit_code"), rest="orch.check()")

    @classmethod
    def of(
        cls, findings: Sequence[Finding], counts: Mapping[str, int], took_s: float
    ) -> CheckReport:
        """Make the report, the worst findings first."""
        ordered: list[Finding] = []
        for severity in Severity:
            ordered += [finding for finding in findings if finding.severity is severity]
        return cls(findings=tuple(ordered), counts=counts, took_s=took_s)

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
        severities = {finding.severity for finding in self.findings}
        return severities <= {Severity.NOTE}

    @property
    def exit_code(self) -> int:
        """For ``sys.exit``: 0 when clean, 1 with warnings, 2 with errors."""
        if self.errors:
            return 2
        return 1 if self.warnings else 0

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        findings = self.findings
        return tuple(finding for finding in findings if finding.severity is severity)

    def _verdict(self) -> str:
        numbers = {}
        for severity in Severity:
            numbers[f"{severity}s"] = len(self._of(severity))
        result = counted_all(numbers) or "all is well"
        scope = counted_all(self.counts) or "nothing there yet"
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
        head = "<thead><tr><th>how bad</th><th>what</th><th>what helps</th></tr></thead>"
        return f"{verdict}<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _html_row(finding: Finding) -> str:
    row = "<tr>"
    for text in (finding.severity, finding.sentence, finding.remedy):
        row += f"<td>{escape(text)}</td>"
    return f"{row}</tr>"


@attrs.frozen(repr=False, kw_only=True)
class RepairReport(Record):
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
        lines = [summary]
        lines.extend(f"- {sentence}" for sentence in self.done)
        lines.append(str(self.left))
        return "\n".join(lines)

    def __repr__(self) -> str:
        number = len(self.done)
        return f"<RepairReport {number} done, {self.left!r}>"
