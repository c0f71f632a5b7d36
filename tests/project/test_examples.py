"""The examples run as a reader would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support import ROOT
from support.git_project import git

if TYPE_CHECKING:
    from pathlib import Path


def repository(folder: Path) -> Path:
    """Make a small repository with code, documents and a broken link."""
    folder.mkdir()
    (folder / "LICENSE").write_text("MIT License\n")
    (folder / "README.md").write_text(
        "# Small\n\nSee [the guide](guide.md) and [nothing](gone.md).\n"
    )
    (folder / "guide.md").write_text("# Guide\n")
    (folder / "docs").mkdir()
    (folder / "docs" / "architecture.md").write_text("# Mine\n")
    (folder / "odd\nname.txt").write_text("odd\n")
    (folder / os.fsdecode(b"latin\xe9.py")).write_text("x = 1\n")
    for number in range(12):
        (folder / f"module_{number}.py").write_text(
            f"def function_{number}(x):\n    return x + {number}\n"
        )
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def test_quickstart_on_a_repository_of_the_readers_own(tmp_path):
    """The main job makes good all its claims; the reader's repository stays as it is."""
    examples = tmp_path / "project" / "examples"
    examples.mkdir(parents=True)
    for name in ("quickstart.py", "quickstart_agents.py"):
        (examples / name).write_bytes((ROOT / "examples" / name).read_bytes())
    source = repository(tmp_path / "small")
    done = subprocess.run(
        [sys.executable, str(examples / "quickstart.py"), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO " not in done.stdout
    assert done.stdout.count("  yes  ") == 10
    assert "KILLED (SIGKILL)" in done.stdout
    # Ours land with the work; how many are there by then depends on who was first.
    assert re.search(r"done: [3-9] documents indexed", done.stdout)
    assert "1 links marked" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("make", [(), ("init", "-q"), ("init", "-q", "--bare")])
def test_quickstart_refuses_what_is_no_repository(tmp_path, make):
    """A folder without git, or without a commit, is refused in a sentence."""
    examples = tmp_path / "project" / "examples"
    examples.mkdir(parents=True)
    (examples / "quickstart.py").write_bytes((ROOT / "examples" / "quickstart.py").read_bytes())
    (tmp_path / "plain").mkdir()
    if make:
        git(tmp_path / "plain", *make)
    command = [sys.executable, str(examples / "quickstart.py"), str(tmp_path / "plain")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Give the path of a git repository" in done.stderr
