"""Runs the code in README.md and docs/ as it stands, and hands tests out to several processes.

Each page runs from top to bottom, in a git repository of its own.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from doctest import ELLIPSIS, IGNORE_EXCEPTION_DETAIL
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser
from xdist.scheduler import LoadScopeScheduling

from support import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

# How long one example takes says more of the machine than of the code; the whole test has its own
# limit.
settings.register_profile("vespera", deadline=None)
settings.load_profile("vespera")


def enter_repository(namespace: dict[str, Any]) -> None:
    """Make a repository with one commit and go there, as the reader of a page would."""
    room = tempfile.TemporaryDirectory()
    folder = Path(room.name) / "kettle"
    folder.mkdir()
    (folder / "README.md").write_text("# Kettle\n", "utf-8")
    git = ["git", "-C", str(folder), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first commit"]):
        subprocess.run([*git, *command], check=True)
    namespace["__leave__"] = leave_by(
        room, Path.cwd(), {name: os.environ.pop(name) for name in VARIABLES if name in os.environ}
    )
    os.chdir(folder)


def leave_by(
    room: tempfile.TemporaryDirectory[str], back: Path, environment: dict[str, str]
) -> Callable[[], None]:
    """Return what undoes `enter_repository`."""

    def leave() -> None:
        os.chdir(back)
        os.environ.update(environment)
        room.cleanup()

    return leave


def leave_repository(namespace: dict[str, Any]) -> None:
    """Go back, close what the page left open, and clear up."""
    if (orch := namespace.get("orch")) is not None:
        orch.close()
    namespace["__leave__"]()


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | IGNORE_EXCEPTION_DETAIL)],
    patterns=["*.md"],
    excludes=["changelog.d/*", "build/*", "CHANGELOG.md", "tests/documents/golden/*"],
    setup=enter_repository,
    teardown=leave_repository,
).pytest()


class PagesStayWhole(LoadScopeScheduling):
    """Hands out whole pages, whose examples build on one another, and single tests otherwise.

    A test stays together with its parameters, which share what is costly to set up.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        return file if file.endswith(".md") else f"{file}::{test.partition('[')[0]}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Give the processes of ``pytest -n`` new work as soon as they have done the last."""
    return PagesStayWhole(config, log)
