"""From the text of `resume` alone, a reader who knows nothing opens the right file and does the
right thing, in at least 45 of 50 states in which somebody was interrupted.
"""

from __future__ import annotations

import pytest

from support.interrupted import CASES, Scene, action_in, file_in, try_action
from vespera_orchestrator._text import tokens

QUICK = [case for case in CASES if case["number"] % 7 == 0]
"""A few of them; all are judged in the long run."""


def judge(folder, case):
    """Return what a reader gets wrong in one state; nothing when all is right."""
    scene = Scene(folder, case)
    orch = scene.open(case["reader"])
    text = str(orch.resume())
    assert len(text.splitlines()) <= 12
    assert tokens(text) <= 400
    faults = []
    if file_in(text) != case["file"]:
        faults.append(f"file {file_in(text)!r} instead of {case['file']!r}")
    if action_in(text) != case["action"]:
        faults.append(f"action {action_in(text)!r} instead of {case['action']!r}")
    else:
        try_action(orch, action_in(text))  # a call that is named works
    scene.orch.close()
    orch.close()
    return [f"{case['number']} {case['kind']}: {fault}\n{text}" for fault in faults]


def test_the_cases_are_what_they_say():
    """Fifty states, of every kind, for the one who was interrupted and for others."""
    assert [case["number"] for case in CASES] == list(range(50))
    assert len({case["kind"] for case in CASES}) == 17
    assert {case["reader"] for case in CASES} == {"ada", "eve"}


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case["kind"])
def test_one_finds_back(tmp_path, case):
    """The right file and the right action, and the action works."""
    assert judge(tmp_path / "project", case) == []


@pytest.mark.soak
def test_one_finds_back_in_45_of_50_states(tmp_path):
    """The scoring rule: both are right, or the state does not count."""
    faults = [judge(tmp_path / f"p{case['number']}", case) for case in CASES]
    misled = [fault for fault in faults if fault]
    report = "\n\n".join(text for fault in misled for text in fault)
    assert len(CASES) - len(misled) >= 45, report
