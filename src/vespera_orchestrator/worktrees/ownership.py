"""Whose a worktree's folder is, and where it is now.

One rule: a folder is ours only if its ``.git`` leads to our repository's record of it, the admin
directory with our note, and that leads back to the folder. Anything else is never written, never
landed and never removed, whatever a record says. So an agent may delete every file of its worktree
on purpose; a folder that was deleted and made again by an editor is another folder.

Projects, their parents and worktrees are moved and copied. Both pointers are absolute paths then
that lead nowhere, or to the original. A folder is taken up again only where its ``.git`` names the
very place where our admin directory was when we wrote it, and nobody else's admin directory there
leads back to it. So a copy never takes what belongs to the original.
"""

from __future__ import annotations

import os
import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import GitFailedError, WorktreeFolderLostError
from vespera_orchestrator.home.reading import read_small_file
from vespera_orchestrator.worktrees.admin_note import MAKING, REMOVING, read_note, write_note
from vespera_orchestrator.worktrees.peek import git_file_target
from vespera_orchestrator.worktrees.refs import WIP
from vespera_orchestrator.worktrees.repository import is_same_place, leads_to, linked_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.admin_note import AdminNote
    from vespera_orchestrator.worktrees.repository import ProjectRepository


class FolderState(Enum):
    """What stands in a worktree's place."""

    OURS = "ours"
    """Its ``.git`` leads to our admin directory, which leads back."""
    MOVED = "moved"
    """Ours, but moved or copied: one of the two pointers is old."""
    VACANT = "vacant"
    """Nothing, or a folder that holds no file."""
    TAKEN = "taken"
    """Something that is not ours."""


@attrs.frozen(kw_only=True)
class Place:
    """A worktree's place, and what stands there."""

    folder: Path
    state: FolderState
    note: AdminNote | None = attrs.field(repr=False)
    """What our admin directory said; ``None`` where there is none of ours."""

    @property
    def is_ours(self) -> bool:
        """Whether the folder is ours, or can be taken up again."""
        return self.state in (FolderState.OURS, FolderState.MOVED)


# --- finding ----------------------------------------------------------------


def find_place(repository: ProjectRepository, worktree: Worktree) -> Place:
    """Find the worktree's folder: where git says, where it was, or where it was moved to.

    Nothing is changed.
    """
    return _find_place(repository, worktree, read_note(repository, worktree.name))


def _find_place(repository: ProjectRepository, worktree: Worktree, note: AdminNote | None) -> Place:
    admin = repository.admin(worktree.name)
    recorded = Path(worktree.path)
    if note is None:
        # Without a note only this proves a folder ours: it leads to where the note was.
        is_orphan = not os.path.lexists(admin) and leads_to(recorded, admin)
        state = FolderState.MOVED if is_orphan else _state_of_other(recorded, admin)
        return Place(folder=recorded, state=state, note=None)
    claimed = linked_folder(admin)
    if leads_to(claimed, admin) and not claimed.is_symlink():
        return Place(folder=claimed, state=FolderState.OURS, note=note)
    moved = _find_moved(repository, note, claimed)
    if moved is not None:
        return Place(folder=moved, state=FolderState.MOVED, note=note)
    expected = Path(note.worktree.path)
    return Place(folder=expected, state=_state_of_other(expected, admin), note=note)


def _find_moved(repository: ProjectRepository, note: AdminNote, claimed: Path) -> Path | None:
    admin = repository.admin(note.worktree.name)
    earlier_admin = note.earlier_common / "worktrees" / note.worktree.name
    recorded = Path(note.worktree.path)
    candidates = (note.relative_folder(repository), claimed, recorded)
    for folder in candidates:
        place = folder.resolve()  # the folder may have been moved, and a link left in its place
        if _was_ours(place, admin, earlier_admin):
            return place
    rooms = {folder.parent.resolve() for folder in candidates}
    places = [place for room in rooms for place in folders_in(room)]
    neighbours = [place for place in places if _was_ours(place, admin, earlier_admin)]
    # Of two nobody can tell which one is the copy.
    return neighbours[0] if len(neighbours) == 1 else None


def _was_ours(folder: Path, admin: Path, earlier_admin: Path) -> bool:
    target = git_file_target(folder)
    if target is None:
        return False
    if is_same_place(target, admin):
        return True
    if not is_same_place(target, earlier_admin):
        return False
    if not os.path.lexists(target):
        return True  # the project was moved
    # The project was copied. The original must have its own folder, which is not this one.
    original = linked_folder(target)
    return not is_same_place(original, folder) and leads_to(original, target)


def folders_in(room: Path) -> Iterator[Path]:
    """Yield the folders in *room*, in order; none where it cannot be read."""
    try:
        places = sorted(room.iterdir())
    except OSError:
        return
    for place in places:
        if place.is_dir() and not place.is_symlink():
            yield place


def _state_of_other(folder: Path, admin: Path) -> FolderState:
    return FolderState.VACANT if is_vacant(folder, admin) else FolderState.TAKEN


def is_vacant(folder: Path, admin: Path) -> bool:
    """Tell whether nothing stands in *folder* that anybody could miss.

    A ``.git`` file that was cut short when we wrote it is ours.
    """
    if not os.path.lexists(folder):
        return True
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = [entry.name for entry in folder.iterdir()]
    if names != [".git"]:
        return not names
    git_file = folder / ".git"
    if git_file.is_symlink() or not git_file.is_file():
        return False
    return git_file_text(admin).startswith(read_small_file(git_file))


# --- taking up again --------------------------------------------------------


def require_folder(repository: ProjectRepository, worktree: Worktree) -> Worktree:
    """Return the record with the folder where it is now, after mending what a move broke.

    Call it under the worktree's lock.

    Raises:
        WorktreeFolderLostError: The folder is gone, or is not ours any more.
        GitFailedError: The worktree was removed, or is not complete.
    """
    doing = f"use the files of worktree {worktree.name}"
    note = read_note(repository, worktree.name)
    reason = _unusable_reason(repository, worktree, note)
    if reason is not None:
        raise GitFailedError(doing, reason)
    place = _find_place(repository, worktree, note)
    if not place.is_ours:
        raise _lost(repository, worktree, place)
    return reconnect(repository, worktree, place)


def lost_folder(
    repository: ProjectRepository, worktree: Worktree
) -> WorktreeFolderLostError | None:
    """Return the error of `require_folder` where the folder is lost. Changes nothing."""
    place = find_place(repository, worktree)
    return None if place.is_ours else _lost(repository, worktree, place)


def _lost(
    repository: ProjectRepository, worktree: Worktree, place: Place
) -> WorktreeFolderLostError:
    return WorktreeFolderLostError(
        f"use the files of worktree {worktree.name}",
        _lost_reason(repository, worktree, place),
        worktree.name,
        str(place.folder),
    )


def reconnect(repository: ProjectRepository, worktree: Worktree, place: Place) -> Worktree:
    """Let the pointers and the note name *place*, which is ours, and return the record with it.

    The note comes last: it names the places that the pointers had. Safe to repeat after a kill.
    """
    located = attrs.evolve(worktree, path=str(place.folder))
    admin, note = repository.admin(worktree.name), place.note
    if note is not None and place.state is FolderState.MOVED:
        connect(repository, located)
    is_noted = note is not None and note.is_current(repository, located)
    if note is not None and not is_noted:
        write_note(repository, admin, note.stage, attrs.evolve(note.worktree, path=located.path))
    return located


def connect(repository: ProjectRepository, worktree: Worktree) -> None:
    """Let the folder's ``.git`` and the admin directory lead to each other."""
    admin, folder = repository.admin(worktree.name), Path(worktree.path)
    git_file = folder / ".git"
    if not leads_to(folder, admin):
        git_file.write_bytes(git_file_text(admin))
        repository.sync_files(git_file)
        repository.sync_names(folder)
    point_to(repository, worktree)


def point_to(repository: ProjectRepository, worktree: Worktree) -> None:
    """Let the admin directory lead to the worktree's folder, which need not exist yet."""
    admin, folder = repository.admin(worktree.name), Path(worktree.path)
    if linked_folder(admin) == folder:
        return
    new = admin / "gitdir.new"
    new.write_bytes(os.fsencode(folder) + b"/.git\n")
    repository.sync_files(new)
    new.replace(admin / "gitdir")
    repository.sync_names(admin)


def git_file_text(admin: Path) -> bytes:
    """Return what the ``.git`` file of a worktree holds."""
    return b"gitdir: " + os.fsencode(admin) + b"\n"


# --- what to say ------------------------------------------------------------


def _unusable_reason(
    repository: ProjectRepository, worktree: Worktree, note: AdminNote | None
) -> str | None:
    if note is None:
        is_removed = repository.tip(WIP + worktree.name) is None
    else:
        is_removed = note.stage == REMOVING
    if is_removed:
        return (
            "it was removed; orch.worktrees.create(…, resume=True) for the same task or agent "
            "makes it again with the files of the last save, and orch.worktrees.rescue() lists "
            "what was kept of removed ones"
        )
    if note is None or note.stage == MAKING:
        return f"its folder {worktree.path} is not complete; {recreation_remedy(worktree)}"
    return None


def _lost_reason(repository: ProjectRepository, worktree: Worktree, place: Place) -> str:
    remedy = recreation_remedy(worktree)
    folder = shlex.quote(str(place.folder))
    if place.state is FolderState.VACANT:
        return (
            f"its folder {folder} is gone; {remedy}. "
            "If you moved it, run this in the project: git worktree repair NEW_FOLDER"
        )
    pointer = shlex.quote(f"gitdir: {repository.admin(worktree.name)}")
    case, command = "only its .git file was lost", f"echo {pointer} > {folder}/.git"
    if place.folder.joinpath(".git").is_dir():  # somebody has run `git init` there
        aside = shlex.quote(f"{place.folder}.git")
        case, command = "its .git is not wanted", f"mv -n {folder}/.git {aside} && {command}"
    return (
        f"{folder} is not its folder any more: no .git file there leads to this worktree. "
        f"Nothing of it is saved or landed. {remedy}, in another folder, and leaves this one "
        f"alone. If it is the right folder and {case}: {command}"
    )


def recreation_remedy(worktree: Worktree) -> str:
    """Say what makes the folder again."""
    owner = f"agent={worktree.agent!r}" if worktree.task_id is None else repr(worktree.task_id)
    return f"orch.worktrees.create({owner}) makes it again with the files of the last save"
