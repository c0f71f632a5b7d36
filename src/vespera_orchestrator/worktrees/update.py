"""Bringing a merged tree into the files of a worktree.

A kill at any moment leaves the worktree as before or as after.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._records import converter, to_plain
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.home.reading import read_json
from vespera_orchestrator.worktrees.integration import left_as_they_are
from vespera_orchestrator.worktrees.refs import LANDED, RESCUE
from vespera_orchestrator.worktrees.repository import leads_to
from vespera_orchestrator.worktrees.snapshot_index import SnapshotIndex
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_switch import TreeSwitch, room_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_JOURNAL: Final = "journal.json"
_ROOM: Final = "catching-up"


@attrs.frozen(kw_only=True)
class _UpdateJournal:
    """What is being brought in. Stored: old versions read it, and wrote it."""

    old: str
    new: str
    mark: str | None
    """The worktree's mark before. Once it is another one, the files are there for good."""


def update_files(
    repository: ProjectRepository,
    worktree: Worktree,
    old: str,
    new: str,
    *,
    move_mark: Callable[[], None],
) -> list[str]:
    """Make the files of *worktree* those of *new*, where they differ. Under its lock.

    Args:
        repository: The repository.
        worktree: The worktree.
        old: Its last snapshot, which its files are those of.
        new: The merged tree.
        move_mark: Moves the worktree's mark; with that it is done.

    Returns:
        Paths that are not as in *old*: then nothing was changed. Empty when all is done.
    """
    room = _room(repository, worktree)
    journal = _UpdateJournal(old=old, new=new, mark=repository.tip(LANDED + worktree.name))
    switch = _tree_switch(repository, worktree, room, journal)
    if blocked := switch.in_the_way():
        return blocked
    # Whoever takes it back after a power cut must be able to read what was being brought in.
    repository.sync_tree(new, [old, repository.integration_tip()])
    room.mkdir()
    is_done = False
    try:
        write_atomically(room / _JOURNAL, json.dumps(to_plain(journal)))
        repository.sync_names(room.parent)
        switch.prepare()
        changed = switch.switch()
        if changed is not None:
            return [changed]
        switch.sync_names()
        move_mark()
        is_done = True
    finally:
        admin = repository.admin(worktree.name)
        _finish(admin, worktree, switch, journal, is_done=is_done)
    return []


def is_half_updated(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether something is being brought in, or was when its process died."""
    return _room(repository, worktree).exists()


def recover_update(repository: ProjectRepository, worktree: Worktree) -> str | None:
    """Take back what was half brought in when its process died. Under the worktree's lock.

    What somebody has changed since is left.

    Returns:
        A sentence that says what was done; ``None`` where there was nothing to do.
    """
    with git_errors(f"bring the worktree {worktree.name} into order"):
        journal = _interrupted(repository, worktree)
        if journal is None:
            return None
        room = _room(repository, worktree)
        is_done = repository.tip(LANDED + worktree.name) != journal.mark
        switch = _tree_switch(repository, worktree, room, journal)
        admin = repository.admin(worktree.name)
        return _finish(admin, worktree, switch, journal, is_done=is_done)


@contextmanager
def recovered_after_restart(
    repository: ProjectRepository, worktree: Worktree
) -> Iterator[RestoredUpdate | None]:
    """Take back what was half brought in when power failed. Under the worktree's lock.

    Files may be torn, or missing. Until the block has ended, all of this is done again after the
    next power cut.

    Yields:
        What was done; ``None`` where there was nothing to take back.
    """
    doing = f"bring the worktree {worktree.name} into order"
    with git_errors(doing):
        journal = _interrupted(repository, worktree)
        if journal is not None and repository.tip(LANDED + worktree.name) != journal.mark:
            recover_update(repository, worktree)  # all was done but the clearing
            journal = None
    if journal is None:
        yield None
        return
    with git_errors(doing):
        switch = _tree_switch(repository, worktree, _room(repository, worktree), journal)
        report = _report(worktree, switch.take_back_after_restart())
    yield RestoredUpdate(commit=journal.old, report=report)
    with git_errors(doing):
        switch.clear(RESCUE + worktree.name, journal.old)


@attrs.frozen(kw_only=True)
class RestoredUpdate:
    """What was taken back after a power cut."""

    commit: str
    """The snapshot whose files the worktree has again."""
    report: str
    """A sentence that says so."""


def _interrupted(repository: ProjectRepository, worktree: Worktree) -> _UpdateJournal | None:
    """Return what was being brought in when the process died, if it had come to that."""
    room = _room(repository, worktree)
    if not room.exists():
        return None
    try:
        content = read_json(room / _JOURNAL)
    except FileNotFoundError:  # killed before it began, or after it had ended
        shutil.rmtree(room)
        return None
    return converter().structure(content, _UpdateJournal)


def _finish(
    admin: Path,
    worktree: Worktree,
    switch: TreeSwitch,
    journal: _UpdateJournal,
    *,
    is_done: bool,
) -> str | None:
    report = None
    if not is_done and leads_to(Path(worktree.path), admin):
        report = _report(worktree, switch.take_back())
    switch.clear(RESCUE + worktree.name, journal.old)
    return report


def _report(worktree: Worktree, changed: list[str]) -> str:
    report = f"Undid what was half written into the worktree {worktree.name}."
    return report + left_as_they_are(changed)


def _room(repository: ProjectRepository, worktree: Worktree) -> Path:
    folder = Path(worktree.path)
    admin = repository.admin(worktree.name)
    return room_beside(folder, admin, _ROOM)


def _tree_switch(
    repository: ProjectRepository, worktree: Worktree, room: Path, journal: _UpdateJournal
) -> TreeSwitch:
    # Line ends and modes are judged with what the snapshots know of the files.
    return TreeSwitch(
        repository,
        SnapshotIndex(repository, worktree).git_dir(),
        Path(worktree.path),
        room,
        old=journal.old,
        new=journal.new,
        may_be_there=True,
    )
