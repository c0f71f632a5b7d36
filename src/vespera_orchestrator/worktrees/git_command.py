"""The git command line, for what libgit2 does not do. Everything else works without it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from vespera_orchestrator.errors import GitFailedError
from vespera_orchestrator.home.environment import without_repository

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CONFIGURATION: Final = frozenset({"GIT_CONFIG_COUNT"})
"""Settings from the environment count for git, wherever it runs: containers set
``safe.directory`` there."""


def find_git() -> str | None:
    """Return the path of the git command, or ``None``."""
    return shutil.which("git")


def run_git(
    *words: str,
    cwd: str | Path,
    environment: Mapping[str, str] | None = None,
    text: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git to its end, for the repository that *words* or *cwd* name and for no other.

    Args:
        words: What stands behind ``git``.
        cwd: The folder that it runs in.
        environment: Variables to set beside those of this process.
        text: What it reads.

    Returns:
        What it printed, and its return code, which may be any.

    Raises:
        GitFailedError: There is no git command.
    """
    git = find_git()
    if git is None:
        reason = "the git command is not installed; install git, then try again"
        raise GitFailedError(f"run git {words[0] if words else ''}".strip(), reason)
    inherited = without_repository(os.environ)
    for name in _CONFIGURATION.intersection(os.environ):
        inherited[name] = os.environ[name]
    return subprocess.run(
        [git, *words],
        cwd=cwd,
        env={**inherited, "GIT_OPTIONAL_LOCKS": "0", **(environment or {})},
        input=b"" if text is None else text,
        capture_output=True,
        check=False,
    )
