"""The rooms of a home without a façade around them."""

from vespera_orchestrator._model import utcnow
from vespera_orchestrator._rooms import Rooms
from vespera_orchestrator.artifacts import Artifacts
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.work.completion import Completion
from vespera_orchestrator.work.files import WorkFiles
from vespera_orchestrator.work.worktrees import Worktrees


def worktrees_in(scope):
    """Return what callers use as ``orch.worktrees``, without a façade around it."""
    content = FolderContent(scope.home.artifacts)
    rooms = Rooms(scope=scope, clock=utcnow, open_content=lambda: content)
    return Worktrees(rooms, Completion(rooms, Artifacts(scope, content), WorkFiles(rooms)))
