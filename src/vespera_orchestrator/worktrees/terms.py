"""How work is to land, and the message of the commit that lands it. Loads nothing of git."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import attrs

from vespera_orchestrator._model import Task, Worktree
from vespera_orchestrator.errors import OperationUnderWayError, UnsavedFilesError

WorktreeRef: TypeAlias = Worktree | Task | str
"""A worktree by record or name, or by the task that has it."""
Style: TypeAlias = Literal["squash", "merge", "fast-forward"]
Check: TypeAlias = Callable[[Path], object] | Sequence[str] | str
"""What work must pass before it lands: a callable, a command's words, or a line for the shell."""

UNLANDABLE: Final = (OperationUnderWayError, UnsavedFilesError)
"""What keeps a worktree from landing until its agent has done something about it."""
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
    body = f"{summary}\n\n" if summary else ""
    named = "".join(f"\nArtifact: {artifact_id}" for artifact_id in artifact_ids[:_ARTIFACTS_NAMED])
    return f"{task.title}\n\n{body}Task: {task.alias} ({task.id}){named}\n"
