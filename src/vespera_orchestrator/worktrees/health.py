"""Looking at worktrees without touching them: records beside folders, notes and refs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vespera_orchestrator.worktrees import checkout, update
from vespera_orchestrator.worktrees.repository import LANDED, WIP, git_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.repository import ProjectRepository


def troubles(repository: ProjectRepository, store: Store) -> Iterator[tuple[str, str]]:
    """Yield the name of a worktree and what is wrong with it, a sentence each. Takes no lock and changes nothing.

    What somebody is at just now may show as half done; a second look tells.
    """
    with git_errors("look at the worktrees"):
        records = {record.name: record for record in store.worktrees(include_removed=True)}
        noted = {note.worktree.name: note for note in checkout.notes(repository)}
        for name, note in noted.items():
            record = records.get(name)
            if note.stage != checkout.READY:
                yield (
                    name,
                    f"the worktree {name} is half {'made' if note.stage == checkout.MAKING else 'removed'}",
                )
            elif record is None or record.state == "removed":
                yield name, f"the worktree {name} at {note.worktree.path} is in no record"
        for name, record in records.items():
            yield from (
                (name, problem)
                for problem in _of_record(repository, store, record, noted=name in noted)
            )


def _of_record(
    repository: ProjectRepository, store: Store, record: Worktree, *, noted: bool
) -> Iterator[str]:
    name = record.name
    if record.state == "removed":
        if record.rescue_ref is not None and repository.tip(record.rescue_ref) is None:
            yield f"what was kept of the removed worktree {name} is gone: there is no {record.rescue_ref}"
        left = (WIP,) if record.unlanded else (WIP, LANDED)
        if not repository.admin(name).exists() and any(
            repository.tip(prefix + name) for prefix in left
        ):
            yield f"the snapshots of the removed worktree {name} are not under its rescue ref yet"
    elif not noted and (trouble := checkout.foreign_trouble(repository, record)):
        yield trouble
    elif record.task_id is not None and store.find_task(record.task_id, None) is None:
        yield f"the worktree {name} at {record.path} is of a task that was deleted"
    elif not noted:
        yield f"the worktree {name} is gone from git, its record is not"
    elif not Path(record.path).is_dir():
        yield f"the folder {record.path} of the worktree {name} is gone"
    elif update.is_half_done(repository, record):
        yield f"what was landed is half brought into the worktree {name}"
    if record.landed is not None and record.landed not in repository.open():
        yield f"the commit {record.landed[:12]} on which the worktree {name} landed is not in the repository"
