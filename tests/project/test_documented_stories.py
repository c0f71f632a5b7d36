"""The three stories of the examples: they end with the pages that are kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STORIES = Path(__file__).parents[2] / "examples" / "stories"


def check(name):
    """Tell a story anew, and compare its pages with those that are kept."""
    command = [sys.executable, str(STORIES / "tell.py"), "--check", name]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["wonderland", "finding_texts"])
def test_a_story_ends_as_it_is_shown(name):
    """Its documents say the same, have nothing to correct and lead nowhere."""
    done = check(name)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
def test_our_own_history_ends_as_it_is_shown():
    """Sixty commits and 300 modules; with the commits that a full clone has."""
    sys.path.insert(0, str(STORIES))
    try:
        import own_history
    finally:
        sys.path.remove(str(STORIES))
    if not own_history.is_told_here():
        pytest.skip("the commits of the story are not in this clone")
    done = check("own_history")
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr
