"""What a spawned agent inherits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Artifact, ArtifactQuery, JsonValue, Session, Task
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator._secrets import mask_value
from vespera_orchestrator._text import clip, inert, one_line, tokens
from vespera_orchestrator.agents.shared import ContextConflict, SharedContext, ancestry
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.config import (
    ENV_AGENT,
    ENV_CONTENT,
    ENV_EMBEDDER,
    ENV_HOME,
    ENV_SESSION,
    ENV_STORE,
)
from vespera_orchestrator.home.environment import without_repository
from vespera_orchestrator.home.scope import Scope

if TYPE_CHECKING:
    from vespera_orchestrator.contracts import Store

_DECISION: Final = "decision"
"""The kind of artifacts that every agent of a session should know."""
_MOST_DECISIONS: Final = 20

_FORMAT: Final = 1
"""The version of the form of `AgentContext` as plain data."""
_VALUE_WIDTH: Final = 400
_LINE_WIDTH: Final = 200


@attrs.frozen(repr=False, kw_only=True)
class AgentContext(Record):
    """What a spawned agent inherits: the session, what is shared in it, artifacts for its task.

    Hand it on in one of three forms: `environ` for a child process, `prompt` for a language model,
    `to_json` for any other program.
    """

    version: int = _FORMAT
    """The version of this form; a later one may have more fields."""
    parent_session: Session
    """The session that the agent joins."""
    task: Task | None
    """The task that it is meant for, if any."""
    agent: str
    """The name that it works under."""
    inherited_artifacts: tuple[Artifact, ...]
    """Records, not contents: ``orch.artifacts.read(a)`` gives the bytes. Nearest first."""
    shared_context: Mapping[str, JsonValue] = attrs.field(factory=dict)
    """What the session shares, and those above it. The child's ``orch.shared_context()`` is live:
    this is what it was when the agent was spawned.
    """
    conflicts: tuple[ContextConflict, ...] = ()
    """Keys of it that two agents set differently."""
    decisions: tuple[Artifact, ...] = ()
    """Artifacts of the kind ``decision`` in the session and those above it, the newest first."""
    home: Path
    """The home's folder."""
    store: str = ""
    """Which store it is, in words, without a password."""
    store_url: str = attrs.field(repr=False)
    """The store's address; it may hold a password."""
    content_url: str | None = None
    """Where the bytes of artifacts are, unless in the home."""
    embedder: str | None = None
    """The embedder by name; ``None`` for an object, which cannot be inherited."""

    json_form = JsonForm(omit=("store_url",))  # it may hold a password

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment with which a child process joins the session.

        ``subprocess.Popen([...], env=context.environ())``; the child calls
        ``vespera_orchestrator.open()`` and is in the session.

        With OpenTelemetry, ``TRACEPARENT`` lets the child continue the current trace.

        Variables that tie git to one repository, such as ``GIT_DIR`` in a hook, are left out: with
        them the child's git would work on that repository, whatever folder it runs in.

        Args:
            base: What the child gets besides; by default the environment of this process.

        Raises:
            InvalidInputError: The store is in this process's memory; no child can share it.
        """
        if self.store_url == "memory:":
            advice = "open a file store instead"
            raise InvalidInputError(
                "store", f"a memory: store cannot be shared with another process; {advice}"
            )
        if self.content_url is not None and self.content_url.startswith("memory:"):
            raise InvalidInputError(
                "content", "memory:// cannot be shared with another process; give another address"
            )
        inherited = without_repository(os.environ if base is None else base)
        inherited[ENV_SESSION] = self.parent_session.id
        inherited[ENV_HOME] = str(self.home)
        inherited[ENV_STORE] = self.store_url
        inherited[ENV_AGENT] = self.agent
        if self.content_url is not None:
            inherited[ENV_CONTENT] = self.content_url
        if self.embedder is not None:
            inherited[ENV_EMBEDDER] = self.embedder
        return inherited | _current_trace()

    def prompt(self, budget_tokens: int = 1500) -> str:
        """Write what the agent inherits as text for a language model.

        The most important comes first: what it is to do, then what is shared, what was decided, and
        which artifacts there are. Texts of others are quoted as JSON on single lines, so that none
        of them can pass for an instruction. What does not fit is counted, with the call that
        returns it.

        Args:
            budget_tokens: About how long it may be; a token is about four letters, or one digit.
        """
        sections = (
            _Section(lines=self._task_lines()),
            _Section(
                title="Shared by everybody in the session:",
                lines=self._shared_lines(),
                rest="orch.shared_context()",
            ),
            _Section(
                title="Decided:",
                lines=[_artifact_line(artifact) for artifact in self.decisions],
                rest="orch.artifacts.list(kind='decision')",
            ),
            _Section(
                title="Read what your work builds on, with orch.artifacts.text(id):",
                lines=[_artifact_line(artifact) for artifact in self.inherited_artifacts],
                rest="orch.artifacts.list()",
            ),
        )
        return _within(sections, budget_tokens)

    def _task_lines(self) -> list[str]:
        goal = _quoted(self.parent_session.goal)
        lines = [
            f"You are {_quoted(self.agent)} in a session with the goal: {goal}",
            "import vespera_orchestrator as vespera; orch = vespera.open()",
        ]
        if self.task is None:
            lines.append("Your next step: orch.next_step()")
            return lines
        call = f"orch.execute_task({self.task.alias!r})"
        lines.append(f"Your task: {_quoted(self.task.title)}; start it: {call}")
        if self.task.description:
            lines.append(f"It says: {_quoted(self.task.description)}")
        return lines

    def _shared_lines(self) -> list[str]:
        lines = [f"* in conflict: {one_line(str(each), _VALUE_WIDTH)}" for each in self.conflicts]
        for key, value in self.shared_context.items():
            masked = mask_value(key, value) if isinstance(value, str) else value
            lines.append(f"* {one_line(key)}: {_quoted(masked)}")
        return lines

    def __repr__(self) -> str:
        name = repr(self.agent)
        if self.task:
            name += f" for {self.task.alias}"
        session = self.parent_session.id
        count = len(self.inherited_artifacts)
        return f"<AgentContext of {name} in {session}, {count} artifacts>"

    @classmethod
    def of(
        cls,
        scope: Scope,
        *,
        task: Task | None,
        agent: str,
        artifacts: tuple[Artifact, ...],
        shared: SharedContext,
        content_url: str | None = None,
    ) -> Self:
        """Collect what a child of this scope inherits."""
        session = scope.session()
        embedder = scope.embedder if isinstance(scope.embedder, str) else None
        return cls(
            parent_session=session,
            task=task,
            agent=agent,
            inherited_artifacts=artifacts,
            shared_context=dict(shared),
            conflicts=shared.conflicts,
            decisions=decisions_in(scope.store, session),
            home=scope.home.path,
            store=scope.store.identity,
            store_url=scope.store.url,
            content_url=content_url,
            embedder=embedder,
        )


def decisions_in(store: Store, session: Session) -> tuple[Artifact, ...]:
    """Return what was decided in the session and those above it, the newest first."""
    decisions: list[Artifact] = []
    for each in reversed(ancestry(store, session)):
        query = ArtifactQuery(
            session_id=each.id, kind=_DECISION, newest_first=True, limit=_MOST_DECISIONS
        )
        decisions += store.artifacts(query)
    return tuple(decisions[:_MOST_DECISIONS])


# --- as text ------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Section:
    """Lines of a prompt under one title."""

    lines: list[str]
    title: str = ""
    rest: str = ""
    """The call that returns what was left out."""


def _within(sections: Iterable[_Section], budget_tokens: int) -> str:
    """Write the sections one after the other, until the budget is used up."""
    text = ""
    for section in sections:
        if not section.lines:
            continue
        head = f"{text}\n{section.title}" if section.title else text
        longer = head
        for number, line in enumerate(section.lines):
            ours = inert(line)
            next_line = f"{longer}\n{ours}" if longer else ours
            if tokens(next_line) > budget_tokens and longer:
                left = len(section.lines) - number
                note = f"\n* {left} more: {section.rest}" if section.rest else ""
                return clip(f"{longer}{note}", budget_tokens)
            longer = next_line
        text = longer
    return clip(text, budget_tokens)


def _artifact_line(artifact: Artifact) -> str:
    title = one_line(json.dumps(artifact.title, ensure_ascii=False), _LINE_WIDTH)
    return f"* {artifact.id}: {title} ({one_line(artifact.kind, 40)}, {artifact.size_bytes} bytes)"


def _quoted(value: JsonValue) -> str:
    """Return a value as JSON on one line: text of others, which can form no line of ours."""
    return one_line(json.dumps(value, ensure_ascii=False), _VALUE_WIDTH)


def _current_trace() -> dict[str, str]:
    """Return the variables with which a child continues the trace that is current, if one is.

    Loads nothing in a program that does not use OpenTelemetry.
    """
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return {name.upper(): value for name, value in carrier.items()}
