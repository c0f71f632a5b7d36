"""Checking worktrees without touching them: records beside folders, notes and refs."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vespera_orchestrator._model import Finding, FindingKind, Severity, WorktreeState
from vespera_orchestrator.errors import UnreadableObjectError
from vespera_orchestrator.worktrees import checkout
from vespera_orchestrator.worktrees.admin_note import (
    MAKING,
    READY,
    notes_of_earlier_home,
    read_notes,
)
from vespera_orchestrator.worktrees.landing import branch_remedy, holds, newest
from vespera_orchestrator.worktrees.lost_objects import find_losses, find_rescue_losses
from vespera_orchestrator.worktrees.ownership import (
    FolderState,
    find_place,
    folders_in,
    recreation_remedy,
)
from vespera_orchestrator.worktrees.peek import git_file_target
from vespera_orchestrator.worktrees.refs import LANDED, WIP
from vespera_orchestrator.worktrees.repair import has_task_ended, is_known
from vespera_orchestrator.worktrees.repository import is_same_place, linked_folder
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.update import is_half_updated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.admin_note import AdminNote
    from vespera_orchestrator.worktrees.lost_objects import Loss
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_warning = partial(
    Finding,
    severity=Severity.WARNING,
    kind=FindingKind.WORKTREE,
    remedy="orch.repair() fixes this",
)
"""A finding that `repair` mends; for the others there is another remedy."""


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
            finding = _problem_of_note(repository, store, note, records.get(name))
            if finding is not None:
                yield finding
        for name, record in records.items():
            if record.state == WorktreeState.REMOVED:
                yield from _problems_of_removed(repository, record)
            else:
                finding = _problem_of_record(repository, store, record, notes.get(name))
                if finding is not None:
                    yield finding
                yield from _lost_objects(repository, record)
            yield from _lost_landing(repository, record)
        yield from _unknown_folders(repository, records.values())
        yield from _of_earlier_home(repository)
        with suppress(UnreadableObjectError):  # objects that are lost are told by themselves
            yield from _forgotten_landing(repository, records.values())
        for loss in find_rescue_losses(repository):
            yield _loss(loss, "git fetch --refetch CLONE +{ref}:{ref}, if another clone has it")


def _problem_of_note(
    repository: ProjectRepository, store: Store, note: AdminNote, record: Worktree | None
) -> Finding | None:
    worktree = note.worktree
    name = worktree.name
    if note.stage == MAKING:
        return _warning(subject=name, sentence=f"the worktree {name} is half made")
    if note.stage != READY:
        return _warning(subject=name, sentence=f"the worktree {name} is half removed")
    if record is not None and record.state != WorktreeState.REMOVED:
        return None
    place = find_place(repository, worktree)
    sentence = f"the worktree {name} at {place.folder} is in no record"
    if record is not None:
        sentence = f"the worktree {name} was removed, and git has it again"
    if is_known(store, worktree):
        return _warning(subject=name, sentence=sentence)
    folder = shlex.quote(str(place.folder))
    drop = f"git worktree unlock {shlex.quote(name)}; git worktree prune"
    if place.is_ours:
        drop = f"git worktree repair {folder}; git worktree remove --force --force {folder}"
    remedy = f"no session here knows it: take what you need out of the folder, then: {drop}"
    return _warning(subject=name, sentence=sentence, remedy=remedy)


def _unknown_folders(
    repository: ProjectRepository, records: Collection[Worktree]
) -> Iterator[Finding]:
    """Yield folders beside the worktrees that are left of one which git does not know any more.

    So it is after a project was put back from a backup that is older than they are.
    """
    active = {record.name for record in records if record.state != WorktreeState.REMOVED}
    for room in sorted({Path(record.path).parent for record in records}):
        for folder in folders_in(room):
            admin = git_file_target(folder)
            if admin is None or not is_same_place(admin, repository.admin(admin.name)):
                continue
            if admin.name in active or os.path.lexists(admin):
                continue
            yield _warning(
                subject=admin.name,
                sentence=f"{folder} is left of a worktree that git does not know any more",
                remedy=(
                    "nothing of it is saved or landed: take what you need out of the folder, "
                    f"then: rm -r {shlex.quote(str(folder))}"
                ),
            )


def _of_earlier_home(repository: ProjectRepository) -> Iterator[Finding]:
    """Yield the worktrees of a home that was deleted and made again, as ``git clean -fdx`` does."""
    for note in notes_of_earlier_home(repository):
        name = note.worktree.name
        folder = linked_folder(repository.admin(name))
        yield _warning(
            subject=name,
            sentence=f"the worktree {name} at {folder} is of a home that was here before this one",
            remedy=(
                "nothing of it is saved or landed: take what you need out of the folder, "
                f"then: git worktree remove --force --force {shlex.quote(str(folder))}"
            ),
        )


def _forgotten_landing(
    repository: ProjectRepository, records: Collection[Worktree]
) -> Iterator[Finding]:
    """Yield a finding where the integration branch does not have what landed on it last."""
    branch = repository.integration_branch
    last = newest(repository, {record.landed for record in records if record.landed})
    if last is None:
        return
    tip = repository.tip(repository.integration_ref)
    what = f"what landed last (commit {last[:12]})"
    if tip is None:
        starts = repository.starting_points()
        if not holds(repository, starts[0], last):
            sentence = f"the branch {branch} is gone, and with it {what}"
            yield _warning(subject=branch, sentence=sentence, remedy=branch_remedy(branch, last))
    elif not holds(repository, tip, last):
        yield _warning(
            severity=Severity.NOTE,
            subject=branch,
            sentence=f"{what} is not on {branch} any more",
            remedy=(
                "if somebody took it out on purpose, nothing is wrong; "
                f"otherwise: git switch {shlex.quote(branch)} && git merge {last[:12]}"
            ),
        )


def _problems_of_removed(repository: ProjectRepository, record: Worktree) -> Iterator[Finding]:
    name, rescue_ref = record.name, record.rescue_ref
    is_lost = rescue_ref is not None and repository.tip(rescue_ref) is None
    if is_lost and record.saved is not None and repository.has_sound(record.saved):
        sentence = f"{rescue_ref} is gone, which kept the removed worktree {name}"
        yield _warning(subject=name, sentence=sentence)
    elif rescue_ref is not None and is_lost:
        quoted = shlex.quote(rescue_ref)
        yield _warning(
            subject=name,
            sentence=(
                f"what was kept of the removed worktree {name} is lost: {rescue_ref} does not exist"
            ),
            remedy=(
                "if another clone has it, fetch it from there: "
                f"git fetch CLONE {quoted}:{quoted}; otherwise its task starts anew"
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
    repository: ProjectRepository, store: Store, record: Worktree, note: AdminNote | None
) -> Finding | None:
    """Return the first problem of a worktree that is in use."""
    name = record.name
    if record.task_id is not None and store.find_task(record.task_id, None) is None:
        sentence = f"the worktree {name} at {record.path} is of a task that was deleted"
        return _warning(subject=name, sentence=sentence)
    if note is None:
        return _problem_without_note(repository, store, record)
    if note.stage != READY:
        return None  # it is named as half made or half removed
    finding = _problem_of_folder(repository, record)
    if finding is None and is_half_updated(repository, record):
        problem = f"newer work of the integration branch is half merged into the worktree {name}"
        return _warning(subject=name, sentence=problem)
    return finding


def _problem_without_note(repository: ProjectRepository, store: Store, record: Worktree) -> Finding:
    name = record.name
    if checkout.is_foreign(repository, record):
        return _warning(
            subject=name,
            sentence=checkout.foreign_problem(record),
            remedy=checkout.foreign_remedy(record),
        )
    sentence = f"the worktree {name} has a record, but git does not know it"
    if has_task_ended(store, record):
        return _warning(subject=name, sentence=sentence)
    return _warning(subject=name, sentence=sentence, remedy=recreation_remedy(record))


def _problem_of_folder(repository: ProjectRepository, record: Worktree) -> Finding | None:
    name, place = record.name, find_place(repository, record)
    if place.is_ours:
        is_moved = place.state is FolderState.MOVED or str(place.folder) != record.path
        if not is_moved:
            return None
        sentence = f"the worktree {name} was moved from {record.path} to {place.folder}"
        if str(place.folder) == record.path:
            sentence = (
                f"the project was moved, and the worktree {name} still leads to its old place"
            )
        return _warning(subject=name, sentence=sentence)
    if place.state is FolderState.VACANT:
        sentence = f"the folder {place.folder} of the worktree {name} does not exist"
    else:
        sentence = f"{place.folder} is not the folder of the worktree {name} any more"
    return _warning(subject=name, sentence=sentence, remedy=recreation_remedy(record))


def _lost_objects(repository: ProjectRepository, record: Worktree) -> Iterator[Finding]:
    for loss in find_losses(repository, record):
        yield _loss(loss, "git fsck lists what else is missing")


def _loss(loss: Loss, advice: str) -> Finding:
    remedy = advice.format(ref=shlex.quote(loss.ref))
    return _warning(
        severity=Severity.ERROR,
        subject=loss.worktree,
        sentence=loss.sentence,
        remedy=f"{remedy}; orch.repair() keeps the rest and goes on",
    )


def _lost_landing(repository: ProjectRepository, record: Worktree) -> Iterator[Finding]:
    if record.landed is not None and record.landed not in repository.open():
        commit, branch = record.landed[:12], shlex.quote(repository.integration_branch)
        yield _warning(
            subject=record.name,
            sentence=f"the commit {commit}, which landed the worktree {record.name}, is missing",
            remedy=f"fetch it from a clone that has it: git fetch --refetch CLONE {branch}",
        )
