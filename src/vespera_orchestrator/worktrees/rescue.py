"""What is kept of removed worktrees: their last state, under a ref of its own."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import CheckoutStrategy

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import WorktreeState
from vespera_orchestrator._records import Record
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks import arguments
from vespera_orchestrator.worktrees import nested
from vespera_orchestrator.worktrees.naming import is_empty_folder
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.operation import operation_line, operation_of
from vespera_orchestrator.worktrees.refs import HISTORY, LANDED, RESCUE, WIP
from vespera_orchestrator.worktrees.repository import has_ancestor
from vespera_orchestrator.worktrees.translation import git_errors

if TYPE_CHECKING:
    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

log = logging.getLogger("vespera_orchestrator")

_WHICH: Final = "orch.worktrees.rescue() lists what was"
_OTHERS: Final = ("refs/heads/", "refs/remotes/")
"""Refs through which commits of others come."""
_WRITE_OUT: Final = (
    CheckoutStrategy.FORCE | CheckoutStrategy.RECREATE_MISSING | CheckoutStrategy.DONT_UPDATE_INDEX
)


@attrs.frozen(repr=False, kw_only=True)
class Rescued(Record):
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
        when = f"{self.when:%Y-%m-%d %H:%M}"
        return f"{self.ref} saved {when} UTC"

    def __repr__(self) -> str:
        when = f"{self.when:%Y-%m-%d %H:%M}"
        return f"Rescued({self.name!r}, {when!r}, {self.ref!r})"


# --- finding and restoring --------------------------------------------------


def list_rescued(repository: ProjectRepository) -> list[Rescued]:
    """Return what was kept of removed worktrees, the newest first."""
    refs = repository.refs(RESCUE)
    with git_errors("list what was rescued"):
        repo = repository.open()
        # One that is gone must not hide the others; `check` names it.
        rescued = [_rescued(repo, ref, commit) for ref, commit in refs.items() if commit in repo]
    rescued.sort(key=lambda item: (item.when, item.ref), reverse=True)
    return rescued


def _rescued(repo: pygit2.Repository, ref: str, commit: str) -> Rescued:
    seconds = repo[commit].commit_time
    return Rescued(
        ref=ref,
        commit=commit,
        name=rescued_name(ref),
        when=datetime.fromtimestamp(seconds, UTC),
    )


def restore(
    repository: ProjectRepository, wanted: str | Rescued, path: str | os.PathLike[str]
) -> Path:
    """Write the files that a ref keeps into the folder *path*, and the repositories inside.

    It appears complete or not at all.

    Raises:
        InvalidInputError: The folder is there and not empty, or nothing has this name.
        GitFailedError: Git or the file system refused.
    """
    named = wanted.ref if isinstance(wanted, Rescued) else wanted
    ref = arguments.needed_text("ref", named, f"name what was kept; {_WHICH}")
    folder = arguments.absolute_path("path", path)
    is_free = not os.path.lexists(folder) or is_empty_folder(folder)
    if not is_free:
        reason = f"{str(folder)!r} is there already and not empty"
        raise InvalidInputError("path", f"{reason}; give a folder that does not exist yet")
    repo = repository.open()
    try:
        commit = str(repo.revparse_single(ref).peel(pygit2.Commit).id)
    except (pygit2.GitError, KeyError, ValueError) as exc:
        problem = f"{show_value(ref)} names nothing that was kept; {_WHICH}"
        raise InvalidInputError("ref", problem) from exc
    with git_errors(f"restore {ref} to {folder}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
        beside.mkdir()
        try:
            repository.refuse_giants(repo, commit, with_files=True)
            _write_out(repository, commit, beside)
            if _has_repositories_beside(repository, commit):
                nested.write_out(repo, commit, beside)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return folder


def _has_repositories_beside(repository: ProjectRepository, commit: str) -> bool:
    """Tell whether a commit is a snapshot of ours that may have repositories beside it.

    It then leads to whatever its message names, so nobody else's may pass for one: a snapshot with
    something beside it never lands, and no branch leads to it.
    """
    if nested.nested_commit(repository.open(), commit) is None:
        return False
    ours = [tip for prefix in (RESCUE, WIP, HISTORY) for tip in repository.refs(prefix).values()]
    others = [tip for prefix in _OTHERS for tip in repository.refs(prefix).values()]
    return repository.reaches(commit, ours) and not repository.reaches(commit, others)


def _write_out(repository: ProjectRepository, commit: str, folder: Path) -> None:
    # Through a git directory of its own: the user's index must not change, and may be of a kind
    # that libgit2 cannot read.
    with tempfile.TemporaryDirectory(prefix="vespera-restore-") as git_dir:
        common, work_tree = os.fsencode(repository.common), os.fsencode(folder)
        Path(git_dir, "HEAD").write_text("ref: refs/heads/nothing\n", "utf-8")
        Path(git_dir, "commondir").write_bytes(common + b"\n")
        Path(git_dir, "gitdir").write_bytes(work_tree + b"/.git\n")
        repo = open_repository(git_dir)
        repo.checkout_tree(repo[commit].peel(pygit2.Tree), strategy=_WRITE_OUT)


# --- keeping ----------------------------------------------------------------


def rescue_ref(name: str, commit: str) -> str:
    """Return the ref under which a worktree's last state is kept."""
    short_name = commit[:12]
    return f"{RESCUE}{name}-{short_name}"


def rescued_name(ref: str) -> str:
    """Return the name of the worktree whose last state *ref* keeps."""
    name, _, _ = ref.removeprefix(RESCUE).rpartition("-")
    return name


def renamed(ref: str, name: str) -> str:
    """Return the ref that keeps the same state of a worktree of another name."""
    short_name = ref.rpartition("-")[2]
    return f"{RESCUE}{name}-{short_name}"


def keep_last_state(repository: ProjectRepository, name: str, commit: str) -> str:
    """Make a rescue ref for *commit*, a worktree's last state, and return the ref. Idempotent.

    Where there were earlier snapshots, it names a commit with the same files that has both as
    parents.
    """
    ref = rescue_ref(name, commit)
    with git_errors(f"keep the last state of {name}"):
        last = _with_history(repository, name, commit)
    current = repository.tip(ref)
    if current is not None and repository.reaches(last, [current]):
        return ref
    if current is not None:
        with git_errors(f"keep the last state of {name}"):
            last = _joined(repository, name, last, current)
    repository.move(ref, current, last)
    return ref


def name_saved_again(repository: ProjectRepository, worktree: Worktree, saved: str) -> None:
    """Let our ref of a worktree's last save name it again, after somebody deleted the ref."""
    if worktree.state == WorktreeState.REMOVED:
        ref = keep_last_state(repository, worktree.name, saved)
    else:
        ref = WIP + worktree.name
        repository.move(ref, None, saved)
    log.warning("%s was gone; it names the last save of %s again", ref, worktree.name)


def _with_history(repository: ProjectRepository, name: str, commit: str) -> str:
    earlier = repository.tip(HISTORY + name)
    return commit if earlier is None else _joined(repository, name, commit, earlier)


def _joined(repository: ProjectRepository, name: str, commit: str, earlier: str) -> str:
    """Return a commit with the files of *commit* from which *earlier* can be reached, too."""
    repo = repository.open()
    if has_ancestor(repo, commit, earlier):
        return commit
    last = repo[commit].peel(pygit2.Commit)
    who = last.committer  # the same each time: it may be made twice
    lines = [f"last state of {name}", ""]
    operation = operation_of(repo, commit)
    if operation is not None:
        lines.append(operation_line(operation))
    inside = nested.nested_commit(repo, commit)
    if inside is not None:
        lines.append(nested.nested_line(inside))
    message = "\n".join(lines).rstrip() + "\n"
    return str(repo.create_commit(None, who, who, message, last.tree_id, [commit, earlier]))


def retire_refs(repository: ProjectRepository, name: str, *, keep_mark: bool) -> bool:
    """Remove the snapshot refs of a worktree that is gone; its last snapshot is kept.

    Args:
        repository: The repository.
        name: The worktree's name.
        keep_mark: Whether what it knows of the integration branch stays: it may be made again.

    Returns:
        Whether there were any.
    """
    # The latest goes last: it leads to the rescue ref.
    prefixes = (HISTORY, WIP) if keep_mark else (HISTORY, LANDED, WIP)
    commits = {prefix: repository.tip(prefix + name) for prefix in prefixes}
    last = commits[WIP] or commits[HISTORY]
    if last is not None:
        keep_last_state(repository, name, last)
    for prefix, commit in commits.items():
        if commit is not None:
            repository.move(prefix + name, commit, None)
    return any(commit is not None for commit in commits.values())
