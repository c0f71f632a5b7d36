"""One call of a caller's function for one task: in this thread, another one, or another process."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactKind, Claim, JsonValue, NextAction, Task, TaskStatus
from vespera_orchestrator._records import to_plain
from vespera_orchestrator._text import named_error, one_line
from vespera_orchestrator.errors import (
    InvalidInputError,
    LeaseLostError,
    SourceFileNotFoundError,
)
from vespera_orchestrator.work.work import Work

if TYPE_CHECKING:
    from vespera_orchestrator.work.start import Starter, StartRequest


Handler: TypeAlias = Callable[[Work], object]
"""A caller's function: does the work of one task, and returns what came of it."""


@attrs.frozen(kw_only=True)
class Result:
    """What a function that `Orchestrator.run` calls may return, to say more than a text can."""

    summary: str
    """One line."""
    detailed_work: str | bytes = ""
    """Everything that was done and found; by default the summary."""
    outputs: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """Values for conditions and later tasks; anything JSON can hold."""
    file_paths: Iterable[str | Path] = ()
    """Files to save as artifacts. Relative paths start at the worktree, else at the project."""
    artifact_type: str = ArtifactKind.GENERAL
    """The kind of the artifact."""
    next_action: NextAction = attrs.field(default=NextAction.COMPLETE, converter=NextAction)
    """What becomes of the task; by default it is completed."""

    @classmethod
    def of(cls, value: object, title: str) -> Result:
        """Read what a function returned.

        ``None``: done, with nothing to add. A text or bytes: the work itself; its first line is the
        summary. A mapping: outputs. Anything else is kept as JSON, or as it prints.

        Raises:
            InvalidInputError: It is a coroutine, or something else to be awaited: nothing was done.
        """
        if isinstance(value, cls):
            return value
        if inspect.isawaitable(value):
            if inspect.iscoroutine(value):
                value.close()  # nobody will ever await it
            raise InvalidInputError(
                "handlers",
                f"the function for {title!r} returned {type(value).__name__}, which nobody awaits: "
                "pass an `async def` function to AsyncOrchestrator.run, not one that calls it",
            )
        if value is None:
            return cls(summary=f"{title}: done", detailed_work="The function returned nothing.")
        if isinstance(value, str | bytes):
            return cls(summary=_first_line(value) or title, detailed_work=value)
        outputs = value if isinstance(value, Mapping) else {}
        text = _as_json(value)
        return cls(summary=one_line(text, 120), detailed_work=text, outputs=outputs)

    def hand_in(self, work: Work) -> TaskStatus:
        """Hand this in for *work*, and return the state of the task."""
        task = work.complete(
            summary=self.summary,
            detailed_work=self.detailed_work or self.summary,
            outputs=self.outputs,
            file_paths=self.file_paths,
            artifact_type=self.artifact_type,
            next_action=self.next_action,
        )
        return task.status


def _first_line(work: str | bytes) -> str:
    text = work if isinstance(work, str) else work[:400].decode("utf-8", "replace")
    lines = (line.lstrip("# ").strip() for line in text[:4000].splitlines())
    return one_line(next(filter(None, lines), ""), 120)


def _as_json(value: object) -> str:
    try:
        return json.dumps(to_plain(value), ensure_ascii=False, indent=1)
    except (TypeError, ValueError):
        return repr(value)


_CALLED_FOR: ContextVar[Task | None] = ContextVar("vespera_called_for", default=None)


def task_called_for() -> Task | None:
    """Return the task for which a run has called the function that is being executed here."""
    return _CALLED_FOR.get()


class Elsewhere(Protocol):
    """Opens the same home in another process. Can be pickled."""

    def __call__(self) -> Starter:
        """Return what hands out tasks there.

        Raises:
            InvalidInputError: That process cannot reach what this one has open.
        """


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one errand."""

    status: TaskStatus | None
    """The state of the task; ``None`` if this attempt no longer holds it."""
    reason: str = ""
    """What the function raised, or why the task came back."""


@attrs.define(eq=False, slots=False)
class Errand:
    """A claimed task with the function that does it. Calling it does the work, once or again.

    It can be pickled, and then opens the home where it is called. An engine that lost a worker may
    call it once more: it then goes on under the same attempt, from its last checkpoint.
    """

    handler: Handler
    claim: Claim
    request: StartRequest
    elsewhere: Elsewhere | None
    """Opens the home in another process; ``None`` if the store cannot be shared."""
    starter: Starter | None = None
    """What this process hands out tasks with; ``None`` in another process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Errand, (self.handler, self.claim, self.request, self.elsewhere)

    def __call__(self) -> Outcome:
        """Do the work. Whatever the function raises is recorded with the task, not raised."""
        starter = self.starter
        if starter is None:
            assert self.elsewhere is not None  # noqa: S101 - it was checked before the first claim
            starter = self.elsewhere()
        try:
            if self.starter is None:
                if starter.has_ended(self.claim):  # an engine called this once more
                    return Outcome(status=starter.status_of(self.claim))
                starter.join(self.claim, self.request)
                self.claim = starter.with_last_checkpoint(self.claim)
            return self._perform(starter)
        except LeaseLostError as exc:
            return Outcome(status=None, reason=str(exc))
        except Exception as exc:  # noqa: BLE001 - the function is the caller's
            reason = named_error(exc)
            return Outcome(status=starter.status_of(self.claim), reason=reason)

    def _perform(self, starter: Starter) -> Outcome:
        status = None
        with starter.begin(self.claim, self.request) as work:
            token = _CALLED_FOR.set(self.claim.task)
            try:
                value = self.handler(work)
            finally:
                _CALLED_FOR.reset(token)
            if work.is_open:
                status = _hand_in(value, work)
        if status in {None, TaskStatus.IN_PROGRESS}:
            status = starter.status_of(self.claim)
        return Outcome(status=status)


def _hand_in(value: object, work: Work) -> TaskStatus:
    """Hand in what a function returned. A value that cannot be stored is its failure."""
    try:
        return Result.of(value, work.task.title).hand_in(work)
    except (InvalidInputError, SourceFileNotFoundError) as exc:
        work.fail(exc)
        raise
