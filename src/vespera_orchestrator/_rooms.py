"""What several rooms need, as one frozen record: the way down from the façade, never back up."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.errors import WorktreeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from vespera_orchestrator.agents.shared import ContextBoard
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.documents.engine import Documents
    from vespera_orchestrator.home.config import Config
    from vespera_orchestrator.home.scope import Scope
    from vespera_orchestrator.worktrees.engine import WorktreeEngine
    from vespera_orchestrator.worktrees.forecast import Forecast


@attrs.frozen(kw_only=True, eq=False)
class Rooms:
    """The parts of one open home.

    Made by `Orchestrator.open`, handed to whatever needs more than one of them.

    Each part is made at its first use, so that opening a home loads none of the heavy libraries.
    """

    scope: Scope
    """The home, the store, and the agent and session that calls are about."""
    clock: Callable[[], datetime]
    """Tells the time, aware."""
    open_content: Callable[[], ContentStore] = attrs.field(repr=False)
    """Opens the content store; called once."""

    attempts: dict[str, int] = attrs.field(factory=dict, repr=False)
    """The attempts that this process has claimed, by task.

    One that was lost stays here: it must stay refused.
    """

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            ClosedError: The home was closed.
        """
        return self.scope.store

    @property
    def config(self) -> Config:
        """The settings of the home."""
        return self.scope.home.config

    @cached_property
    def shared(self) -> ContextBoard:
        """What the agents of a session share."""
        from vespera_orchestrator.agents.shared import ContextBoard

        return ContextBoard(self.scope)

    @cached_property
    def content(self) -> ContentStore:
        """The bytes of artifacts and document versions."""
        return self.open_content()

    @cached_property
    def worktrees(self) -> WorktreeEngine:
        """Git, and the records of worktrees."""
        from vespera_orchestrator.worktrees.engine import WorktreeEngine

        return WorktreeEngine(self.scope)

    def find_in_git(self, path: str, digest: str) -> str | None:
        """Return the command by which git prints the file with this content, if git has it.

        Args:
            path: Relative to the top of the tree, with forward slashes.
            digest: SHA-256 of the bytes, in hexadecimal.
        """
        try:
            return self.worktrees.find_content(path, digest)
        except WorktreeError:
            return None

    def forecast(self) -> Forecast | None:
        """Return what would conflict, where at least two worktrees have been saved.

        Does not load git before it is clear that there are two. The result is ``None`` too if the
        forecast fails: a view may fail without failing what shows it.
        """
        from vespera_orchestrator.worktrees.peek import may_have_several_snapshots

        names = [record.name for record in self.store.worktrees()]
        try:
            if not may_have_several_snapshots(self.scope.home.project, names):
                return None
            return self.worktrees.forecast()
        except (WorktreeError, OSError):
            return None

    @cached_property
    def documents(self) -> Documents:
        """The documents of the project."""
        from vespera_orchestrator.documents.engine import Documents

        return Documents(self.scope, self.content)
