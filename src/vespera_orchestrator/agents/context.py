"""What a spawned agent inherits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import attrs

from vespera_orchestrator._model import Artifact, Session, Task
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home.config import (
    ENV_AGENT,
    ENV_CONTENT,
    ENV_EMBEDDER,
    ENV_HOME,
    ENV_SESSION,
    ENV_STORE,
)
from vespera_orchestrator.home.scope import Scope


@attrs.frozen(repr=False, kw_only=True)
class AgentContext:
    """What a spawned agent is given: the session, the artifacts that bear on its task, and the environment to start it with."""

    parent_session: Session
    task: Task | None
    agent: str
    inherited_artifacts: tuple[Artifact, ...]
    """Records, not contents: ``orch.artifacts.read(a)`` gives the bytes. Nearest first."""
    home: Path
    store_url: str = attrs.field(repr=False)
    """It may hold a password."""
    content_url: str | None = None
    """Where the bytes of artifacts are, when not in the home or where its settings say."""
    embedder: str | None = None
    """What makes vectors, where it was named; an object cannot be handed on."""

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment for the child process: *base* (by default this process's) with the names that make it join the session.

        ``subprocess.Popen([...], env=context.environ())``; in the child ``vespera_orchestrator.open()`` is in the session.

        Raises:
            InvalidInputError: The store lives in this process's memory; no child can share it.
        """
        if self.store_url == "memory:":
            raise InvalidInputError(
                "store",
                "a memory: store cannot be shared with another process; open a file store instead",
            )
        if self.content_url is not None and self.content_url.startswith("memory:"):
            raise InvalidInputError(
                "content", "memory:// cannot be shared with another process; give another address"
            )
        inherited = dict(os.environ if base is None else base)
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
        of = f" for {self.task.alias}" if self.task else ""
        return f"<AgentContext of {self.agent!r}{of} in {self.parent_session.id}, {len(self.inherited_artifacts)} artifacts>"

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
        """Collect what a child of this scope is given."""
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
