"""What a spawned agent inherits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import attrs

from vespera_orchestrator._model import Artifact, Session, Task
from vespera_orchestrator._records import JsonForm, Record
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


@attrs.frozen(repr=False, kw_only=True)
class AgentContext(Record):
    """What a spawned agent inherits: the session, artifacts for its task, and the environment."""

    parent_session: Session
    """The session that the agent joins."""
    task: Task | None
    """The task that it is meant for, if any."""
    agent: str
    """The name that it works under."""
    inherited_artifacts: tuple[Artifact, ...]
    """Records, not contents: ``orch.artifacts.read(a)`` gives the bytes. Nearest first."""
    home: Path
    """The home's folder."""
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
        return inherited

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
        content_url: str | None = None,
    ) -> Self:
        """Collect what a child of this scope inherits."""
        embedder = scope.embedder if isinstance(scope.embedder, str) else None
        return cls(
            parent_session=scope.session(),
            task=task,
            agent=agent,
            inherited_artifacts=artifacts,
            home=scope.home.path,
            store_url=scope.store.url,
            content_url=content_url,
            embedder=embedder,
        )
