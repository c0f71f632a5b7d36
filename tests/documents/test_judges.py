"""Documents before published judges: each is asked where it is installed (`nox -s judges`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
_NOT_OURS = "MD013,MD024,MD033,MD036"
"""Length of lines and repeated headings are the texts' own, comments are our markers, and what is
bold on a line of its own is meant so."""
_ASKS_FOR_AN_OLDER_VERSION = "https://keepachangelog.com/en/1.0.0/"
"""The judge knows the introduction of 1.0.0 by heart, and we follow 1.1.0."""


def test_the_changelog_keeps_the_form():
    """As python-kacl, the checker of Keep a Changelog, sees it."""
    kacl = pytest.importorskip("kacl")
    changelog = kacl.load(str(GOLDEN / "CHANGELOG.md"))
    mistakes = [error.error_message() for error in changelog.validate().errors()]
    assert [each for each in mistakes if _ASKS_FOR_AN_OLDER_VERSION not in each] == []
    assert [version.version() for version in changelog.versions()] == ["Unreleased", "1.0.0"]


def test_a_linter_has_nothing_to_say():
    """PyMarkdown, with the rules of markdownlint."""
    pytest.importorskip("pymarkdown")
    files = sorted(map(str, GOLDEN.glob("*.md")))
    command = [sys.executable, "-m", "pymarkdown", "-d", _NOT_OURS, "scan", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0
