"""The note in an admin directory that says whose worktree it is, and how far we have come.

Git leaves it alone. Whoever comes by after a kill can finish: with `MAKING` the folder holds
nothing but what we put there, with `REMOVING` everything in it is kept elsewhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import Worktree
from vespera_orchestrator._records import Record, converter, to_plain
from vespera_orchestrator.home import machine
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.home.locate import git_common_dir, main_folder
from vespera_orchestrator.home.reading import read_json
from vespera_orchestrator.worktrees.peek import NOTE_FILE
from vespera_orchestrator.worktrees.repository import is_same_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator.worktrees.repository import ProjectRepository


MAKING: Final = "making"
READY: Final = "ready"
REMOVING: Final = "removing"


@attrs.frozen(kw_only=True)
class Brought(Record):
    """What was brought along from the main worktree, as paths relative to the top."""

    copied: tuple[str, ...] = ()
    """Files and folders that are copies."""
    linked: tuple[str, ...] = ()
    """Links to those of the main worktree."""
    left: tuple[str, ...] = ()
    """What was asked for and left where it is, because git would not ignore it there."""


@attrs.frozen(kw_only=True)
class AdminNote:
    """What an admin directory of ours says about itself. Stored as JSON."""

    stage: str
    """`MAKING`, `READY` or `REMOVING`."""
    home: str
    """The home that it belongs to; another home's worktrees are not ours."""
    worktree: Worktree
    boot: str = ""
    """The run of the system in which the files were last seen whole, see `machine.boot_id`."""
    common: str = ""
    """Where the shared git directory was when this was written."""
    folder_in_git: str = ""
    """The worktree's folder relative to *common*."""
    index: int = 0
    """A number that no other worktree has meanwhile, from 1; 0 in notes of earlier versions."""
    is_furnished: bool = True
    """Whether it has what it needs beside what git tracks; see `furnishing`."""
    brought: Brought = Brought()
    """Ignored files and folders that were brought along from the main worktree."""

    @property
    def earlier_common(self) -> Path:
        """Where the shared git directory was when this was written, also of an older note."""
        return Path(self.common) if self.common else Path(self.home).parent / ".git"

    def relative_folder(self, repository: ProjectRepository) -> Path:
        """Return where the folder is now if it was moved or copied together with the project."""
        relative = self.folder_in_git or os.path.relpath(self.worktree.path, self.earlier_common)
        return Path(os.path.normpath(repository.common / relative))

    def is_of(self, repository: ProjectRepository) -> bool:
        """Tell whether it belongs to the home of *repository*, which may have been moved."""
        home = repository.home.path
        if self.worktree.home_id:
            return self.worktree.home_id == repository.home.id
        if self.home == str(home):
            return True
        # Made by an earlier version, which knew homes by their absolute path. One that is no home
        # of this repository was written before this one was moved or copied.
        earlier = Path(self.home)
        is_default = home.parent == main_folder(repository.common)
        if earlier.name != home.name or not is_default:
            return False
        return not _is_around(repository, earlier.parent)

    def is_current(self, repository: ProjectRepository, worktree: Worktree) -> bool:
        """Tell whether it names the places where the repository and the folder are now."""
        if self.common != str(repository.common):
            return False
        return self.worktree.path == worktree.path


def owner_of(worktree: Worktree) -> str:
    """Return the name of the lock under which a worktree is made, saved and removed.

    It is known before the worktree is there.
    """
    owner = worktree.task_id or f"{worktree.session_id}/{worktree.agent}"
    return f"worktree {owner}"


def read_note(repository: ProjectRepository, name: str) -> AdminNote | None:
    """Return the note of the worktree of this name, or ``None`` where it is not ours."""
    note = _read_any_note(repository, name)
    return note if note is not None and note.is_of(repository) else None


def is_of_home(repository: ProjectRepository, name: str, home_id: str) -> bool:
    """Tell whether the worktree of this name was made by that home, or copied from what it made."""
    note = _read_any_note(repository, name)
    return note is not None and note.worktree.home_id == home_id


def is_somebody_else_s(repository: ProjectRepository, name: str) -> bool:
    """Tell whether git has a worktree of this name that carries no note of any home."""
    is_there = os.path.lexists(repository.admin(name))
    return is_there and _read_any_note(repository, name) is None


def _read_any_note(repository: ProjectRepository, name: str) -> AdminNote | None:
    try:
        content = read_json(repository.admin(name) / NOTE_FILE)
        note = converter().structure(content, AdminNote)
    except Exception:  # noqa: BLE001 - absent, cut short or changed: it proves nothing
        return None
    return note if note.worktree.name == name else None


def _is_around(repository: ProjectRepository, project: Path) -> bool:
    common = git_common_dir(project) if project.is_dir() else None
    return common is not None and is_same_place(common, repository.common)


def read_notes(repository: ProjectRepository) -> list[AdminNote]:
    """Return the notes of all our worktrees, the oldest first."""
    notes: list[AdminNote] = []
    for admin in repository.admins():
        note = read_note(repository, admin.name)
        if note is not None:
            notes.append(note)
    return sorted(notes, key=lambda note: note.worktree.created_at)


def notes_of_earlier_home(repository: ProjectRepository) -> Iterator[AdminNote]:
    """Yield the notes of a home that was where this one is, and is gone."""
    for admin in repository.admins():
        note = _read_any_note(repository, admin.name)
        if note is None or note.is_of(repository):
            continue
        if note.home == str(repository.home.path):
            yield note


def write_note(
    repository: ProjectRepository,
    admin: Path,
    stage: str,
    worktree: Worktree,
    *,
    index: int | None = None,
    is_furnished: bool | None = None,
    brought: Brought | None = None,
) -> None:
    """Replace the note in the folder *admin*.

    Args:
        repository: The repository.
        admin: The admin directory.
        stage: `MAKING`, `READY` or `REMOVING`.
        worktree: The record.
        index: Its number among the worktrees; ``None``: the one it had.
        is_furnished: Whether it has what it needs; ``None``: as before.
        brought: What was brought along; ``None``: as before.
    """
    before = read_note(repository, worktree.name)
    boot = machine.boot_id() if before is None else before.boot
    earlier = before or AdminNote(stage=stage, home="", worktree=worktree)
    note = AdminNote(
        stage=stage,
        home=str(repository.home.path),
        worktree=worktree,
        boot=boot,
        common=str(repository.common),
        folder_in_git=os.path.relpath(worktree.path, repository.common),
        index=earlier.index if index is None else index,
        is_furnished=earlier.is_furnished if is_furnished is None else is_furnished,
        brought=brought or earlier.brought,
    )
    text = json.dumps(to_plain(note))
    write_atomically(admin / NOTE_FILE, text, durable=repository.is_durable)
