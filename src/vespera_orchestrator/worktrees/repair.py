"""Taking worktrees away without losing what they held, finding it again, and tidying up after a kill."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pygit2
from pygit2.enums import CheckoutStrategy

from vespera_orchestrator._model import TaskStatus
from vespera_orchestrator.errors import (
    DirtyCheckoutError,
    GitFailedError,
    InvalidInputError,
    RefMovedError,
    WorktreeError,
    WorktreeLockedError,
)
from vespera_orchestrator.worktrees import (
    checkout,
    integration,
    landing,
    landing_check,
    snapshot,
    update,
)
from vespera_orchestrator.worktrees.repository import RESCUE, WIP, git_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.repository import ProjectRepository

_TRIES = 5
_LEFT_BEHIND_S = 3600
"""What is older than this and unfinished will not be finished."""


@attrs.frozen(repr=False, kw_only=True)
class Rescued:
    """The last state of a worktree that was removed."""

    ref: str
    """The ref that keeps it."""
    commit: str
    """The commit that holds its files, in hexadecimal; earlier snapshots are its ancestors."""
    name: str
    """The worktree's name."""
    when: datetime
    """When these files were saved, in UTC."""

    def __str__(self) -> str:
        return f"{self.ref} saved {self.when:%Y-%m-%d %H:%M} UTC"

    def __repr__(self) -> str:
        return f"Rescued({self.name!r}, '{self.when:%Y-%m-%d %H:%M}', {self.ref!r})"


def rescued(repository: ProjectRepository) -> list[Rescued]:
    """Return what was kept of removed worktrees, the newest first."""
    refs = repository.refs(RESCUE)
    with git_errors("list what was rescued"):
        repo = repository.open()
        found = [
            Rescued(
                ref=ref,
                commit=commit,
                name=ref.removeprefix(RESCUE).rpartition("-")[0],
                when=datetime.fromtimestamp(repo[commit].commit_time, UTC),
            )
            for ref, commit in refs.items()
        ]
    return sorted(found, key=lambda item: (item.when, item.ref), reverse=True)


def restore(repository: ProjectRepository, ref: str, path: str | os.PathLike[str]) -> Path:
    """Write the files that *ref* keeps into the folder *path*, which appears complete or not at all.

    Raises:
        InvalidInputError: The folder is there and not empty, or nothing has this name.
        GitFailedError: Git or the file system refused.
    """
    folder = Path(path).expanduser().absolute()
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise InvalidInputError(
            "path",
            f"{str(folder)!r} is there already and not empty; give a folder that does not exist yet",
        )
    repo = repository.open()
    try:
        tree = repo.revparse_single(ref).peel(pygit2.Tree)
    except (pygit2.GitError, KeyError, ValueError) as exc:
        raise InvalidInputError(
            "ref", f"{ref!r} names nothing that was kept; orch.worktrees.rescue() lists what was"
        ) from exc
    with git_errors(f"restore {ref} to {folder}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        beside.mkdir()
        try:
            _write_out(repository, str(tree.id), beside)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return folder


def _write_out(repository: ProjectRepository, tree: str, folder: Path) -> None:
    # Through a git directory of its own: the user's index is none of our business, and may be of a kind that libgit2 cannot read.
    with tempfile.TemporaryDirectory(prefix="vespera-restore-") as place:
        Path(place, "HEAD").write_text("ref: refs/heads/nothing\n", "utf-8")
        Path(place, "commondir").write_bytes(os.fsencode(repository.common) + b"\n")
        Path(place, "gitdir").write_bytes(os.fsencode(folder) + b"/.git\n")
        repo = pygit2.Repository(place)
        strategy = (
            CheckoutStrategy.FORCE
            | CheckoutStrategy.RECREATE_MISSING
            | CheckoutStrategy.DONT_UPDATE_INDEX
        )
        repo.checkout_tree(repo[tree], strategy=strategy)


# --- removal ----------------------------------------------------------------


def remove(repository: ProjectRepository, worktree: Worktree, *, delete_branch: bool) -> Worktree:
    """Keep the worktree's last state under a rescue ref, then take it down; return its record as it should be now.

    The snapshot refs stay until the record is written (`checkout.retire`), so that a kill in between changes nothing. To be called under
    the worktree's lock. Safe to repeat.

    Raises:
        DirtyCheckoutError: It holds something that no snapshot can keep. Nothing was changed.
        GitFailedError: Git or the file system refused; the next call goes on.
    """
    commit = _last_state(repository, worktree)
    if not repository.has(
        commit
    ):  # the records were imported, and git's objects were not: there is nothing here to keep
        checkout.take_down(repository, worktree)
        return attrs.evolve(worktree, state="removed", unlanded=True)
    unlanded = _is_unlanded(repository, worktree, commit)
    ref = checkout.keep(repository, worktree.name, commit)
    checkout.take_down(repository, worktree)
    if delete_branch:
        tip = repository.tip(repository.integration_ref)
        checkout.drop_branch(repository, worktree, [commit, *([tip] if tip else [])])
    return attrs.evolve(worktree, state="removed", rescue_ref=ref, unlanded=unlanded)


def _is_unlanded(repository: ProjectRepository, worktree: Worktree, commit: str) -> bool:
    """Tell whether the worktree's last state is not on the integration branch; also when that cannot be told."""
    try:
        return not landing.is_merged(
            repository, worktree, snapshot.at(repository, worktree, commit)
        )
    except WorktreeError:
        return True


def _last_state(repository: ProjectRepository, worktree: Worktree) -> str:
    folder = Path(worktree.path)
    if checkout.read_note(repository, worktree.name) is None and checkout.leads_to(
        folder, repository.admin(worktree.name)
    ):
        checkout.fill(
            repository, worktree
        )  # its admin directory was deleted, its files are still there
    if checkout.admin_trouble(repository, worktree) is None:
        return _final_snapshot(repository, worktree)
    known = (repository.tip(ref) for ref in (WIP + worktree.name, f"refs/heads/{worktree.branch}"))
    return next((commit for commit in known if commit is not None), worktree.base)


def _final_snapshot(repository: ProjectRepository, worktree: Worktree) -> str:
    nested = checkout.nested_repositories(repository, worktree)
    if nested:
        raise _cannot_keep(
            worktree, "git repositories of their own", nested, "move them elsewhere, or delete them"
        )
    for _ in range(_TRIES):
        last = snapshot.take_snapshot(
            repository, worktree, note="last state before removal", max_file_bytes=None, hidden=True
        )
        if last.skipped:
            raise _cannot_keep(
                worktree,
                "files that cannot be read",
                list(last.skipped),
                "make them readable, or delete them",
            )
        try:
            last.pin()
        except RefMovedError:
            continue  # a checkpoint of an earlier moment was pinned just now
        return last.commit
    raise GitFailedError(
        f"remove the worktree {worktree.name}",
        "it is being saved all the time; stop the agent that works in it first",
    )


def _cannot_keep(
    worktree: Worktree, what: str, paths: list[str], remedy: str
) -> DirtyCheckoutError:
    shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")  # noqa: PLR2004 - five names fit a line
    return DirtyCheckoutError(
        worktree.path,
        f"it holds {what}, which would be lost: {shown}; {remedy}, then remove it again",
    )


# --- repair -----------------------------------------------------------------


def repair(repository: ProjectRepository, store: Store) -> Iterator[str]:
    """Bring everything of ours into order after a kill, and yield one sentence for each thing done.

    What somebody is at just now is left alone.
    """
    with git_errors("repair"):
        for ref in repository.clear_stale_locks():
            yield f"Removed a lock that a killed process left on {ref}."
        if said := _settled(repository):
            yield said
        if folders := landing_check.sweep(repository):
            yield f"Removed {folders} folder{'s' if folders > 1 else ''} of checks that were killed."
        swept = _sweep_workshop(repository)
        if swept:
            yield f"Swept away {swept} half-made or half-removed admin director{'ies' if swept > 1 else 'y'}."
        records = {record.name: record for record in store.worktrees(include_removed=True)}
        for note in checkout.notes(repository):
            try:
                with repository.lock(checkout.owner_of(note.worktree), patience_s=0):
                    yield from _repair_worktree(
                        repository, store, note.worktree.name, records.get(note.worktree.name)
                    )
            except WorktreeLockedError:
                continue  # somebody is at work there
            except GitFailedError as exc:
                yield f"Could not repair the worktree {note.worktree.name}: {exc}."
        yield from _sweep_leftovers(repository)
        for record in records.values():
            yield from _settle_record(repository, store, record)


def _settle_record(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    if record.state == "removed":
        if not repository.admin(record.name).exists() and checkout.retire(repository, record):
            yield f"Moved the snapshots of the removed worktree {record.name} to its rescue ref."
        return
    closed = [*_close_removal(repository, store, record)]
    yield from closed
    if (
        not closed
        and checkout.read_note(repository, record.name) is None
        and not os.path.lexists(record.path)
    ):
        yield from _settle_vanished(repository, store, record)


def _settled(repository: ProjectRepository) -> str | None:
    try:
        return integration.settle(repository)
    except WorktreeError as exc:
        return f"Could not finish a landing that was killed: {exc}."


def _sweep_workshop(repository: ProjectRepository) -> int:
    swept = 0
    with repository.lock("names"):
        for leftover in repository.workshop.glob("*"):
            shutil.rmtree(leftover, ignore_errors=True)
            swept += not leftover.exists()
    return swept


def _sweep_leftovers(repository: ProjectRepository) -> Iterator[str]:
    """Remove what holds nothing and what nobody can be writing any more, whoever left it."""
    before = time.time() - _LEFT_BEHIND_S
    for admin in repository.admins():
        # pygit2's own add_worktree leaves such when it fails; two of them make libgit2 refuse every further worktree, with a false reason.
        if admin.is_dir() and admin.stat().st_mtime < before and not any(admin.iterdir()):
            with suppress(OSError):
                admin.rmdir()
                yield f"Removed the empty admin directory {admin}, which a failed attempt to make a worktree had left."
    for path in sorted(repository.common.joinpath("objects").glob("tmp_object_git2_*")):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                yield f"Removed {path}, an object that was never finished."


def _settle_vanished(
    repository: ProjectRepository, store: Store, record: Worktree
) -> Iterator[str]:
    """Close the record of a worktree that is gone without a trace and whose task has ended; the next attempt makes any other again."""
    if _is_over(store, record):
        with repository.lock(checkout.owner_of(record)):
            done = remove(repository, record, delete_branch=True)
            store.put_worktree(done, "worktree_removed")
            checkout.retire(repository, done)
        yield f"Closed the record of the worktree {record.name}, whose folder is gone; its last files are kept under {done.rescue_ref}."


def _repair_worktree(
    repository: ProjectRepository, store: Store, name: str, record: Worktree | None
) -> Iterator[str]:
    note = checkout.read_note(repository, name)
    if note is None:
        return
    yield from _settle_files(repository, note.worktree)
    in_use = record is not None and record.state != "removed"
    if note.stage == checkout.REMOVING:
        done = remove(repository, note.worktree, delete_branch=True)
        if in_use:
            store.put_worktree(done, "worktree_removed")
        checkout.retire(repository, done)
        yield f"Finished removing the worktree {name}; its files are kept under {done.rescue_ref}."
    elif note.stage == checkout.MAKING and in_use:
        checkout.fill(repository, note.worktree)
        yield f"Made the worktree {name} whole again at {note.worktree.path}."
    elif note.stage == checkout.MAKING:
        _discard(repository, note.worktree)
        yield f"Removed the worktree {name}, which was never finished."
    elif in_use and (ended := _how_ended(store, note.worktree)):
        done = remove(repository, note.worktree, delete_branch=True)
        store.put_worktree(done, "worktree_removed")
        checkout.retire(repository, done)
        yield f"Removed the worktree {name}, whose task {ended}; its files are kept under {done.rescue_ref}."
    elif not in_use and _is_known(store, note.worktree):
        store.put_worktree(note.worktree, "worktree_created")
        yield f"Took the worktree {name} at {note.worktree.path} back into the records."
    elif checkout.lock_against_prune(repository, note.worktree):
        yield f"Locked the worktree {name} against git worktree prune again."


def _close_removal(repository: ProjectRepository, store: Store, record: Worktree) -> Iterator[str]:
    """Record a removal whose process was killed after it had taken everything down: the last snapshot stands under its rescue ref."""
    if (
        record.state == "removed"
        or repository.admin(record.name).exists()
        or os.path.lexists(record.path)
    ):
        return
    commit = repository.tip(WIP + record.name)
    if commit is None:
        return
    kept = repository.tip(ref := checkout.rescue_ref(record.name, commit))
    if kept is None or not repository.reaches(commit, [kept]):
        return  # somebody else took it down: the next attempt gets it back from its last snapshot
    try:
        with repository.lock(checkout.owner_of(record), patience_s=0):
            tip = repository.tip(repository.integration_ref)
            checkout.drop_branch(repository, record, [kept, *([tip] if tip else [])])
            removed = attrs.evolve(
                record,
                state="removed",
                rescue_ref=ref,
                unlanded=_is_unlanded(repository, record, commit),
            )
            store.put_worktree(removed, "worktree_removed")
            checkout.retire(repository, removed)
    except WorktreeLockedError:
        return
    yield f"Recorded that the worktree {record.name} was removed; its files are kept under {ref}."


def _settle_files(repository: ProjectRepository, worktree: Worktree) -> Iterator[str]:
    if snapshot.tidy(repository, worktree):
        yield f"Removed what a killed process left of a snapshot of the worktree {worktree.name}."
    if said := update.settle(repository, worktree):
        yield said


def _discard(repository: ProjectRepository, worktree: Worktree) -> None:
    """Take down a worktree that nobody was ever given: nothing in it needs keeping."""
    tip = repository.tip(repository.integration_ref)
    checkout.take_down(repository, worktree)
    checkout.drop_branch(repository, worktree, [worktree.base, *([tip] if tip else [])])


def _how_ended(store: Store, worktree: Worktree) -> str | None:
    """Say how its task ended for good; it is completed only once its work is on the integration branch."""
    task = None if worktree.task_id is None else store.find_task(worktree.task_id, None)
    if worktree.task_id is not None and task is None:
        return "was deleted"
    return "is completed" if task is not None and task.status is TaskStatus.COMPLETED else None


def _is_over(store: Store, worktree: Worktree) -> bool:
    task = None if worktree.task_id is None else store.find_task(worktree.task_id, None)
    return worktree.task_id is not None and (task is None or task.status.is_terminal)


def _is_known(store: Store, worktree: Worktree) -> bool:
    if store.find_session(worktree.session_id) is None:
        return False
    return worktree.task_id is None or store.find_task(worktree.task_id, None) is not None
