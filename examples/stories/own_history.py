"""This library's own history: sixty commits as they are in git, with the tree they led to.

Each commit is a task. What users notice of it stands in the fragments that it added to
``changelog.d/``; a commit without one is of the inside. Design and decisions are those of
``docs/architecture.md``. It needs the repository that this file is in, with its history.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tell import Calendar

    from vespera_orchestrator import Orchestrator

GOAL = "Several agents and a tired person finish large pieces of work without losing any of it"
PROJECT_TYPE = "software_development"
FIRST = "1865e462398525310718b054fdd9131dacf0d7d5"
LAST = "95f216d631ed024c267c96c068a13ff9a104a5c0"
_REPOSITORY = Path(__file__).parents[2]
_GROUP = re.compile(r"^([A-Z][a-z ]+):\n\n((?:[*] .+\n|  .+\n)+)", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Commit:
    """A commit, with what it says to users."""

    digits: str
    at: datetime
    subject: str
    body: str
    fragments: tuple[tuple[str, str], ...]
    """The kind of each change, and the change in words."""


def is_told_here() -> bool:
    """Tell whether the repository is here, with its history: a shallow clone has none of it."""
    try:
        git("cat-file", "-e", f"{FIRST}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def git(*arguments: str) -> bytes:
    """Return what git answers."""
    command = ("git", "-C", str(_REPOSITORY), *arguments)
    return subprocess.run(command, check=True, capture_output=True).stdout


def commits() -> Iterator[Commit]:
    """Yield the commits, the oldest first."""
    listed = git("log", "--reverse", "--format=%H%x1f%ct%x1f%s%x1f%b%x1e", f"{FIRST}..{LAST}")
    for record in listed.decode().split("\x1e"):
        if not record.strip():
            continue
        digits, seconds, subject, body = record.strip("\n").split("\x1f")
        yield Commit(
            digits=digits,
            at=datetime.fromtimestamp(int(seconds), UTC),
            subject=subject,
            body=body.strip(),
            fragments=tuple(fragments(digits)),
        )


def fragments(digits: str) -> Iterator[tuple[str, str]]:
    """Yield what a commit added to the changelog: the kind, and the words."""
    paths = git(
        *("diff-tree", "-r", "--no-commit-id", "--name-only", "--diff-filter=A"),
        *(digits, "--", "changelog.d"),
    )
    for path in paths.decode().split():
        kind = Path(path).suffixes[-2].removeprefix(".")
        yield kind, git("show", f"{digits}:{path}").decode().strip()


def prepare(folder: Path) -> None:
    """Put the tree of the last commit into the project."""
    archive = git("archive", LAST, "src", "pyproject.toml", "README.md")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def happen(orch: Orchestrator, calendar: Calendar) -> None:
    """Complete a task for each commit, and write down the design and the decisions."""
    for commit in commits():
        calendar.turn_to(commit.at)
        told = commit.fragments or (("skip", commit.subject),)
        for kind, words in told:
            task = orch.plan_task(commit.subject)
            orch.complete_task(
                task,
                summary=" ".join(words.split()),
                detailed_work=f"{commit.body}\n\nCommit {commit.digits}.",
                outputs={"changelog": kind, "commit": commit.digits},
            )
    architecture = git("show", f"{LAST}:docs/architecture.md").decode()
    rooms = architecture.partition("## The rooms\n")[2].partition("\n## ")[0]
    note(orch, "The rooms", rooms, "design")
    reasons = architecture.partition("## Why it is like that\n")[2]
    for group in _GROUP.finditer(reasons):
        note(orch, group[1], f"## Decisions\n\n{group[2]}", "general")


def note(orch: Orchestrator, title: str, text: str, kind: str) -> None:
    """Complete a task that has written something about the architecture."""
    orch.complete_task(
        orch.plan_task(title),
        summary=title,
        detailed_work=text,
        artifact_type=kind,
        outputs={"changelog": "skip"},
    )
