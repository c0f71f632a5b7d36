"""Checking worktrees without touching them: records beside folders, notes and refs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vespera_orchestrator._model import Finding, FindingKind, Severity, WorktreeState
from vespera_orchestrator.worktrees import checkout
from vespera_orchestrator.worktrees.admin_note import MAKING, READY, read_notes
from vespera_orchestrator.worktrees.refs import LANDED, WIP
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.update import is_half_updated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.admin_note import AdminNote
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_REMEDY: Final = (
    "orch.repair() fixes this; starting the task again recreates a lost folder from its last "
    "snapshot"
)
_warning = partial(Finding, severity=Severity.WARNING, kind=FindingKind.WORKTREE, remedy=_REMEDY)


def find_problems(
    repository: ProjectRepository, store: Store, *, is_own: Callable[[Worktree], bool]
) -> Iterator[Finding]:
    """Yield what is wrong with this home's worktrees. Takes no lock and changes nothing.

    What somebody is working on just now may look half done; a second check shows whether it is.
    """
    with git_errors("look at the worktrees"):
        all_records = store.worktrees(include_removed=True)
        records = {record.name: record for record in all_records if is_own(record)}
        notes = {note.worktree.name: note for note in read_notes(repository)}
        for name, note in notes.items():
            problem = _problem_of_note(note, records.get(name))
            if problem is not None:
                yield _warning(subject=name, sentence=problem)
        for name, record in records.items():
            if record.state == WorktreeState.REMOVED:
                yield from _problems_of_removed(repository, record)
            else:
                finding = _problem_of_record(repository, store, record, has_note=name in notes)
                if finding is not None:
                    yield finding
            yield from _lost_landing(repository, record)


def _problem_of_note(note: AdminNote, record: Worktree | None) -> str | None:
    name = note.worktree.name
    if note.stage == MAKING:
        return f"the worktree {name} is half made"
    if note.stage != READY:
        return f"the worktree {name} is half removed"
    if record is None or record.state == WorktreeState.REMOVED:
        return f"the worktree {name} at {note.worktree.path} is in no record"
    return None


def _problems_of_removed(repository: ProjectRepository, record: Worktree) -> Iterator[Finding]:
    name, rescue_ref = record.name, record.rescue_ref
    if rescue_ref is not None and repository.tip(rescue_ref) is None:
        yield _warning(
            subject=name,
            sentence=(
                f"what was kept of the removed worktree {name} is lost: {rescue_ref} does not exist"
            ),
        )
    prefixes = (WIP,) if record.unlanded else (WIP, LANDED)
    has_snapshots = any(repository.tip(prefix + name) for prefix in prefixes)
    if has_snapshots and not repository.admin(name).exists():
        yield _warning(
            subject=name,
            sentence=f"the snapshots of the removed worktree {name} have no rescue ref yet",
        )


def _problem_of_record(
    repository: ProjectRepository, store: Store, record: Worktree, *, has_note: bool
) -> Finding | None:
    """Return the first problem of a worktree that is in use."""
    name = record.name
    if not has_note and checkout.is_foreign(repository, record):
        return _warning(
            subject=name,
            sentence=checkout.foreign_problem(record),
            remedy=checkout.foreign_remedy(record),
        )
    problem = None
    if record.task_id is not None and store.find_task(record.task_id, None) is None:
        problem = f"the worktree {name} at {record.path} is of a task that was deleted"
    elif not has_note:
        problem = f"the worktree {name} has a record, but git does not know it"
    elif not Path(record.path).is_dir():
        problem = f"the folder {record.path} of the worktree {name} does not exist"
    elif is_half_updated(repository, record):
        problem = f"newer work of the integration branch is half merged into the worktree {name}"
    return None if problem is None else _warning(subject=name, sentence=problem)


def _lost_landing(repository: ProjectRepository, record: Worktree) -> Iterator[Finding]:
    if record.landed is not None and record.landed not in repository.open():
        commit = record.landed[:12]
        yield _warning(
            subject=record.name,
            sentence=f"the commit {commit}, which landed the worktree {record.name}, is missing",
        )
