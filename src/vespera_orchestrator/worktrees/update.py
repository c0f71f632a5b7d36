"""Bringing a merged tree into the files of a worktree, so that a kill at any moment leaves it as before or after."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator._codec import converter, to_plain
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.worktrees import tree_switch
from vespera_orchestrator.worktrees.checkout import rescue_prefix
from vespera_orchestrator.worktrees.repository import LANDED, git_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_JOURNAL = "journal.json"


@attrs.frozen
class _Journal:
    """What is being brought in. It is there for good once the worktree's mark is not *mark* any more."""

    old: str
    new: str
    mark: str | None


def bring(
    repository: ProjectRepository, worktree: Worktree, old: str, new: str, then: Callable[[], None]
) -> list[str]:
    """Make the files of *worktree*, which are those of *old*, the ones of *new*, as far as they differ. Under the worktree's lock.

    Args:
        repository: The repository.
        worktree: The worktree.
        old: Its last snapshot.
        new: The merged tree.
        then: Moves the worktree's mark, with which it is done.

    Returns:
        Paths that are not as in *old*: then nothing was changed. Empty when all is done.
    """
    room = _room(repository, worktree)
    journal = _Journal(old, new, repository.tip(LANDED + worktree.name))
    going = _transition(repository, worktree, room, journal)
    if blocked := going.in_the_way():
        return blocked
    room.mkdir()
    done = False
    try:
        write_atomically(room / _JOURNAL, json.dumps(to_plain(journal)))
        going.prepare()
        if (changed := going.go()) is not None:
            return [changed]
        then()
        done = True
    finally:
        _finish(worktree, going, journal, done=done)
    return []


def is_half_done(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether something is being brought in, or was when its process died."""
    return _room(repository, worktree).exists()


def settle(repository: ProjectRepository, worktree: Worktree) -> str | None:
    """Take back what was half brought in when its process died, and say so; under the worktree's lock.

    What somebody has changed since is left.
    """
    with git_errors(f"bring the worktree {worktree.name} into order"):
        room = _room(repository, worktree)
        if not room.exists():
            return None
        try:
            journal = converter().structure(
                json.loads(room.joinpath(_JOURNAL).read_text("utf-8")), _Journal
            )
        except FileNotFoundError:  # killed before it began, or after it had ended
            shutil.rmtree(room)
            return None
        done = repository.tip(LANDED + worktree.name) != journal.mark
        return _finish(
            worktree, _transition(repository, worktree, room, journal), journal, done=done
        )


def _finish(
    worktree: Worktree, going: tree_switch.Transition, journal: _Journal, *, done: bool
) -> str | None:
    said = None
    if not done and Path(worktree.path).is_dir():
        left = going.take_back()
        said = f"Took back what was half brought into the worktree {worktree.name}."
        if left:
            said += f" Left as they are, because somebody has changed them since: {', '.join(map(tree_switch.shown, left))}."
    going.clear(rescue_prefix(worktree.name), journal.old)
    return said


def _room(repository: ProjectRepository, worktree: Worktree) -> Path:
    return tree_switch.room_beside(
        Path(worktree.path), repository.admin(worktree.name), "catching-up"
    )


def _transition(
    repository: ProjectRepository, worktree: Worktree, room: Path, journal: _Journal
) -> tree_switch.Transition:
    # Its line ends and modes are judged with what the snapshots know of the files.
    saved = repository.admin(worktree.name) / "vespera"
    return tree_switch.Transition(
        repository,
        saved,
        Path(worktree.path),
        room,
        old=journal.old,
        new=journal.new,
        may_be_there=True,
    )
