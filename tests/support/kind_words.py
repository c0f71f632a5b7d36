"""The words that nobody should read on a day with little energy."""

from __future__ import annotations

import re

UNKIND = re.compile(
    r"\b(overdue|failed to|fail(ed|ure)?|should have|must|late|behind|urgent|asap|still not|only|"
    r"hurry|wrong|error|missed|lazy|immediately|at once|deadline)\b",
    re.IGNORECASE,
)
