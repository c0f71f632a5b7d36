"""The reference in ``docs/reference/`` says what the docstrings say."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "docs" / "make_reference.py"


def test_the_reference_is_up_to_date():
    """The committed pages are those that ``python docs/make_reference.py`` writes now."""
    script = runpy.run_path(str(SCRIPT))
    assert script["outdated"](script["make"]()) == []
