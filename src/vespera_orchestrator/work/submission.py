"""What a holder hands in, checked before anything is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._codec import dump_json
from vespera_orchestrator._mistakes import names_mistakes
from vespera_orchestrator._model import (
    Artifact,
    Ending,
    JsonValue,
    NextAction,
)
from vespera_orchestrator._text import one_line, show_value
from vespera_orchestrator.artifacts.input_checks import artifact_refs
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import arguments

if TYPE_CHECKING:
    from vespera_orchestrator._model import Task, Worktree

When = Literal["now", "later"]
"""When finished work is merged."""


@attrs.frozen(kw_only=True)
class Holder:
    """Who acts on a task, and under which attempt."""

    task: Task
    """The task as the holder last saw it."""
    attempt: int | None
    """The number of the attempt; ``None`` for whichever is current."""
    agent: str
    worktree: Worktree | None = None
    """The worktree that the holder works in."""


@attrs.frozen(kw_only=True)
class Submission:
    """What a holder hands in; see `Orchestrator.complete_task`."""

    summary: str
    detailed_work: str | bytes
    artifact_type: str
    outputs: Mapping[str, JsonValue]
    file_paths: tuple[str | os.PathLike[str], ...]
    next_action: NextAction
    merge: When
    supersedes: tuple[str | Artifact, ...] = ()

    @classmethod
    @names_mistakes
    def read(
        cls,
        *,
        summary: str,
        detailed_work: str | bytes,
        artifact_type: str,
        outputs: Mapping[str, JsonValue] | None,
        file_paths: Iterable[str | os.PathLike[str]],
        next_action: str,
        merge: str,
        supersedes: str | Artifact | Iterable[str | Artifact] | None,
    ) -> Submission:
        """Check what a caller passed.

        Raises:
            InvalidInputError: Names the argument.
        """
        if not isinstance(detailed_work, str | bytes):
            problem = f"{show_value(detailed_work)} should be the work itself, as text or bytes"
            raise InvalidInputError("detailed_work", one_line(problem, 300))
        arguments.text("summary", summary)
        arguments.title("artifact_type", artifact_type)
        action = arguments.next_action("next_action", next_action)
        if merge not in get_args(When):
            raise InvalidInputError("merge", f"{show_value(merge)} should be 'now' or 'later'")
        values = arguments.mapping("outputs", outputs)
        dump_json(values, "outputs")
        paths = tuple(arguments.paths("file_paths", file_paths))
        texts = (summary, detailed_work)
        if not (values or paths or any(text.strip() for text in texts)):
            problem = "is empty, like all the rest; say in a line what was done"
            raise InvalidInputError("summary", problem)
        # A summary is for display: whoever searches, or builds on the work, reads its artifact.
        work = detailed_work if detailed_work.strip() else summary
        superseded = artifact_refs("supersedes", supersedes)
        if superseded and action is not NextAction.COMPLETE:
            problem = "only finished work takes another's place: leave it out until you complete"
            raise InvalidInputError("supersedes", problem)
        return cls(
            summary=summary,
            detailed_work=work,
            artifact_type=artifact_type,
            outputs=values,
            file_paths=paths,
            next_action=action,
            merge="later" if merge == "later" else "now",
            supersedes=superseded,
        )

    @property
    def is_completion(self) -> bool:
        """Whether this submission completes the task."""
        return self.next_action is NextAction.COMPLETE

    @property
    def ending(self) -> Ending:
        """How this submission ends the attempt."""
        return Ending(
            action=self.next_action,
            summary=self.summary,
            outputs=self.outputs,
            reason=None if self.is_completion else self.summary,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the work, in hexadecimal."""
        return digest_of(self.detailed_work)


def digest_of(work: str | bytes) -> str:
    """Return the SHA-256 of work, in hexadecimal, as a content store would name it."""
    content = work if isinstance(work, bytes) else work.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()
