"""The note in an admin directory that says whose worktree it is, and how far we have come.

Git leaves it alone. Whoever comes by after a kill can finish: with `MAKING` the folder holds
nothing but what we put there, with `REMOVING` everything in it is kept elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from vespera_orchestrator._codec import converter, to_plain
from vespera_orchestrator._model import Worktree
from vespera_orchestrator.home import machine
from vespera_orchestrator.home.files import write_atomically
from vespera_orchestrator.worktrees.refs import WIP
from vespera_orchestrator.worktrees.repository import linked_folder

if TYPE_CHECKING:
    from vespera_orchestrator.home.locate import Home
    from vespera_orchestrator.worktrees.repository import ProjectRepository

MAKING: Final = "making"
READY: Final = "ready"
REMOVING: Final = "removing"
_NOTE_FILE: Final = "vespera_orchestrator.json"


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


def owner_of(worktree: Worktree) -> str:
    """Return the name of the lock under which a worktree is made, saved and removed.

    It is known before the worktree is there.
    """
    owner = worktree.task_id or f"{worktree.session_id}/{worktree.agent}"
    return f"worktree {owner}"


def read_note(repository: ProjectRepository, name: str) -> AdminNote | None:
    """Return the note of the worktree of this name, or ``None`` where it is not ours."""
    try:
        text = repository.admin(name).joinpath(_NOTE_FILE).read_text("utf-8")
        note = converter().structure(json.loads(text), AdminNote)
    except Exception:  # noqa: BLE001 - absent, cut short or changed: it proves nothing
        return None
    is_ours = _is_of_home(note, repository.home) and note.worktree.name == name
    return note if is_ours else None


def _is_of_home(note: AdminNote, home: Home) -> bool:
    if note.worktree.home_id:
        return note.worktree.home_id == home.id
    return note.home == str(home.path)  # made by an earlier version


def read_notes(repository: ProjectRepository) -> list[AdminNote]:
    """Return the notes of all our worktrees, the oldest first."""
    notes: list[AdminNote] = []
    for admin in repository.admins():
        note = read_note(repository, admin.name)
        if note is not None:
            notes.append(note)
    return sorted(notes, key=lambda note: note.worktree.created_at)


def write_note(
    repository: ProjectRepository,
    admin: Path,
    stage: str,
    worktree: Worktree,
    *,
    seen_whole: bool = False,
) -> None:
    """Replace the note in the folder *admin*.

    Args:
        repository: The repository.
        admin: The admin directory.
        stage: `MAKING`, `READY` or `REMOVING`.
        worktree: The record.
        seen_whole: Whether the files are known to be whole in this run of the system.
    """
    before = read_note(repository, worktree.name)
    boot = machine.boot_id() if seen_whole or before is None else before.boot
    home = str(repository.home.path)
    note = AdminNote(stage=stage, home=home, worktree=worktree, boot=boot)
    text = json.dumps(to_plain(note))
    write_atomically(admin / _NOTE_FILE, text, durable=repository.is_durable)


def unreadable_reason(repository: ProjectRepository, worktree: Worktree) -> str | None:
    """Return why the worktree's files cannot be read just now, or ``None``."""
    note = read_note(repository, worktree.name)
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
    folder = Path(worktree.path)
    if note is None or note.stage == MAKING or not folder.is_dir():
        return (
            f"its folder {folder} is not complete; orch.worktrees.create(…) for the same task "
            "makes it again from the last snapshot"
        )
    if linked_folder(repository.admin(worktree.name)) != folder:
        return f"it was moved away from {folder}; move it back (git worktree move)"
    return None
