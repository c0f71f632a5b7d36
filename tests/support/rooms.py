"""The rooms of a home without a façade around them."""

from vespera_orchestrator._model import utcnow
from vespera_orchestrator._rooms import Rooms
from vespera_orchestrator.artifacts import Artifacts
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.work.completion import Completion
from vespera_orchestrator.work.files import WorkFiles
from vespera_orchestrator.work.worktrees import Worktrees


def rooms_of(scope, folder=None):
    """Return the rooms of an open home.

    Args:
        scope: The home, the store and the session.
        folder: Where the content is, if not in the home.
    """
    content = FolderContent(folder or scope.home.artifacts)
    return Rooms(scope=scope, clock=utcnow, open_content=lambda: content)


def worktrees_in(scope):
    """Return what callers use as ``orch.worktrees``, without a façade around it."""
    rooms = rooms_of(scope)
    return Worktrees(rooms, Completion(rooms, Artifacts(rooms), WorkFiles(rooms)))
