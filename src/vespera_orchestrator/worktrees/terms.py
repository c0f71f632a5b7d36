"""How work is to land, and the message of the commit that lands it. Loads nothing of git."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Task, Worktree
from vespera_orchestrator._text import one_line, shown
from vespera_orchestrator.errors import OperationUnderWayError, UnsavedFilesError

WorktreeRef: TypeAlias = Worktree | Task | str
"""A worktree by record or name, or by the task that has it."""
Style: TypeAlias = Literal["squash", "merge", "fast-forward"]
Check: TypeAlias = Callable[[Path], object] | Sequence[str] | str
"""What work must pass before it lands: a callable, a command's words, or a line for the shell."""

UNLANDABLE: Final = (OperationUnderWayError, UnsavedFilesError)
"""What keeps a worktree from landing until its agent has done something about it."""
_LONGEST_TITLE: Final = 500
_TRAILERS: Final = ("Task:", "Artifact:")
_ARTIFACTS_NAMED: Final = 20
"""How many artifacts a commit's message names."""


@attrs.frozen(kw_only=True)
class LandingTerms:
    """How a caller wants work to land.

    ``None`` for what the settings say. See `Worktrees.merge`.
    """

    message: str | None = None
    style: Style | None = None
    check: Check | None = None


def landing_message(task: Task, summary: str | None, artifact_ids: Sequence[str]) -> str:
    """Write the message of the commit that lands a task's work.

    Title, summary, where its record is.
    """
    body = f"{_without_trailers(summary)}\n\n" if summary else ""
    title = one_line(task.title, _LONGEST_TITLE)
    named = "".join(f"\nArtifact: {artifact_id}" for artifact_id in artifact_ids[:_ARTIFACTS_NAMED])
    return f"{title}\n\n{body}Task: {task.alias} ({task.id}){named}\n"


def _without_trailers(summary: str) -> str:
    """Return the summary with lines that look like those at our end moved in by a space."""
    lines = shown(summary).splitlines()
    return "\n".join(f" {line}" if line.startswith(_TRAILERS) else line for line in lines)
