"""A worktree's folder and its admin directory, made and taken down by hand.

pygit2's ``add_worktree`` is not used: it holds the interpreter's lock for seconds, and what it
leaves behind when it fails or is killed makes libgit2 give wrong answers for the whole repository.
Here the admin directory is put together out of git's sight and appears under ``worktrees/`` in one
rename, complete and locked against ``git worktree prune``. Taking it down is one rename too.

A note inside of it says how far we have come, see `admin_note`.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pygit2
from pygit2.enums import CheckoutStrategy

from vespera_orchestrator.errors import GitFailedError, RefMovedError
from vespera_orchestrator.home.files import make_folders
from vespera_orchestrator.worktrees.admin_note import (
    MAKING,
    READY,
    REMOVING,
    read_note,
    write_note,
)
from vespera_orchestrator.worktrees.naming import NameChoice, is_empty_folder
from vespera_orchestrator.worktrees.operation import SavedState
from vespera_orchestrator.worktrees.refs import LANDED, WIP
from vespera_orchestrator.worktrees.rescue import rescued_name, retire_refs
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import changes, index_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository

NAMES_LOCK: Final = "names"
"""The lock under which names are chosen, and admin directories appear."""
_ADMIN_FILES: Final = ("HEAD", "gitdir", "commondir", "index")
"""What a usable admin directory has."""
_TRIES: Final = 3


# --- making -----------------------------------------------------------------


def reserve(
    repository: ProjectRepository,
    draft: Worktree,
    *,
    path: str | os.PathLike[str] | None,
    branch: str | None,
    taken: set[str],
) -> Worktree:
    """Choose name, folder and branch for *draft*, and put its admin directory in place.

    The admin directory is then at the stage `MAKING`.

    Args:
        repository: The repository.
        draft: The record to be; its name is the wish, a number is put behind it when name, folder
            or branch are taken.
        path: The folder, if the caller chose one.
        branch: The branch, if the caller chose one.
        taken: Names that other records have.

    Raises:
        InvalidInputError: The chosen folder or branch cannot be used.
        GitFailedError: Git or the file system refused.
    """
    with git_errors("choose a place for the worktree"), repository.lock(NAMES_LOCK):
        choice = NameChoice.of(repository, draft, path=path, branch=branch, taken=taken)
        for worktree in choice.candidates():
            _clear_for(repository, worktree)
            if _make_admin(repository, worktree):
                return worktree
    raise AssertionError  # pragma: no cover - candidates() raises when there are no more


def _clear_for(repository: ProjectRepository, worktree: Worktree) -> None:
    """Remove the refs of an earlier worktree of the same name, unless this one continues it."""
    ref = worktree.rescue_ref
    is_continued = ref is not None and rescued_name(ref) == worktree.name
    retire_refs(repository, worktree.name, keep_mark=is_continued)


def _make_admin(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Put a complete admin directory in place; return whether the name was free."""
    staged = repository.workshop / f"new-{secrets.token_hex(8)}"
    staged.mkdir(parents=True)
    # Without this lock, `git worktree prune` removes a worktree whose folder is not there yet.
    staged.joinpath("locked").write_text(_lock_reason(worktree), "utf-8")
    staged.joinpath("gitdir").write_bytes(os.fsencode(worktree.path) + b"/.git\n")
    staged.joinpath("commondir").write_text("../..\n", "utf-8")
    staged.joinpath("HEAD").write_text(f"ref: refs/heads/{worktree.branch}\n", "utf-8")
    write_note(repository, staged, MAKING, worktree)
    repository.sync_files(*staged.iterdir())
    admin = repository.admin(worktree.name)
    for _ in range(_TRIES):
        make_folders(admin.parent)
        try:
            staged.rename(admin)
        except FileNotFoundError:  # `git worktree prune` removes worktrees/ when it is empty
            continue
        except OSError:
            shutil.rmtree(staged)
            if not admin.exists():
                raise
            return False
        repository.sync_names(admin.parent)
        return True
    reason = "its parent keeps disappearing; try again when no other program is at work there"
    raise GitFailedError(f"make {admin}", reason)


def _lock_reason(worktree: Worktree) -> str:
    owner = worktree.task_id or worktree.agent
    remedy = f"orch.worktrees.remove({worktree.name!r}) takes it down"
    return f"vespera_orchestrator: in use for {owner}; {remedy}\n"


def lock_against_prune(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Lock the worktree again where somebody unlocked it; return whether that was so."""
    marker = repository.admin(worktree.name) / "locked"
    if marker.exists():
        return False
    marker.write_text(_lock_reason(worktree), "utf-8")
    return True


def refuse_foreign(repository: ProjectRepository, worktree: Worktree) -> None:
    """Refuse a worktree whose commits this repository never had, as after an import elsewhere.

    Raises:
        GitFailedError: With what brings them here, and how to go on without them.
    """
    if is_foreign(repository, worktree):
        reason = f"{foreign_problem(worktree)}; {foreign_remedy(worktree)}"
        raise GitFailedError(f"make the worktree {worktree.name}", reason)


def is_foreign(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether this repository never had the commits of the worktree."""
    if repository.tip(WIP + worktree.name) is not None:
        return False
    return not repository.has(worktree.base)


def foreign_problem(worktree: Worktree) -> str:
    """Say what is wrong with a worktree whose commits this repository never had."""
    commit = worktree.base[:12]
    return (
        f"this repository lacks the commit {commit} that the worktree {worktree.name} started from"
    )


def foreign_remedy(worktree: Worktree) -> str:
    """Say what brings the commits, and how to go on without."""
    return (
        "fetch it, and what was saved since, from the old repository: "
        "git fetch OLD 'refs/vespera/*:refs/vespera/*'; "
        f"to start over instead: orch.worktrees.remove({worktree.name!r})"
    )


def is_whole(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether the worktree can be used as it is."""
    note = read_note(repository, worktree.name)
    if note is None or note.stage != READY:
        return False
    admin = repository.admin(worktree.name)
    if not all(admin.joinpath(name).is_file() for name in _ADMIN_FILES):
        return False
    return leads_to(Path(worktree.path), admin)


def leads_to(folder: Path, admin: Path) -> bool:
    """Tell whether the ``.git`` file in *folder* names *admin*."""
    try:
        text = os.fsdecode(folder.joinpath(".git").read_bytes())
    except OSError:
        return False
    if not text.startswith("gitdir:"):
        return False
    target = folder / text.removeprefix("gitdir:").strip()
    return target.resolve() == admin.resolve()


# --- filling ----------------------------------------------------------------


def fill(repository: ProjectRepository, worktree: Worktree) -> None:
    """Bring the worktree into a usable state, whatever is missing.

    That may be admin directory, branch, folder, files or index. Files come from the last snapshot,
    or from the branch when there is none. A folder that holds files is never written over, unless
    its note says that all of them are ours. Safe to repeat after a kill.

    Raises:
        GitFailedError: Git or the file system refused, or the folder is used for something else.
    """
    doing = f"make the worktree {worktree.name}"
    with git_errors(f"{doing} at {worktree.path}"):
        folder, admin = Path(worktree.path), repository.admin(worktree.name)
        note = read_note(repository, worktree.name)
        if note is None:
            _claim_admin(repository, worktree)
        is_missing = not os.path.lexists(folder) or is_empty_folder(folder)
        is_ours = is_missing or (note is not None and note.stage == MAKING)
        is_repository = os.path.lexists(folder / ".git") and not leads_to(folder, admin)
        if is_repository and not is_ours:
            reason = f"{folder} is used for something else; move it away and try again"
            raise GitFailedError(doing, reason)
        write_note(repository, admin, MAKING if is_ours else READY, worktree)
        _restore_refs(repository, worktree)
        _restore_branch(repository, worktree)
        make_folders(folder)
        _hide_from_status(repository, folder)
        folder.joinpath(".git").write_bytes(b"gitdir: " + os.fsencode(admin) + b"\n")
        repository.sync_files(folder / ".git")
        repository.sync_names(folder)
        _write_files(repository, worktree, is_ours=is_ours)
        write_note(repository, admin, READY, worktree)


def _claim_admin(repository: ProjectRepository, worktree: Worktree) -> None:
    with repository.lock(NAMES_LOCK):
        if not _make_admin(repository, worktree):
            admin = repository.admin(worktree.name)
            reason = f"{admin} belongs to another worktree; remove that one first"
            raise GitFailedError(f"make the worktree {worktree.name}", reason)


def _restore_refs(repository: ProjectRepository, worktree: Worktree) -> None:
    """Let a worktree that is made again continue from the last snapshot of the removed one.

    It also knows what that one knew of the integration branch.
    """
    ref = worktree.rescue_ref
    if ref is None or repository.tip(WIP + worktree.name) is not None:
        return
    commit = repository.tip(ref)
    if commit is None:
        doing = f"make the worktree {worktree.name} again"
        raise GitFailedError(doing, f"there is no {ref} any more")
    earlier = rescued_name(ref)
    mark = None if earlier == worktree.name else repository.tip(LANDED + earlier)
    if mark is not None:
        repository.move(LANDED + worktree.name, repository.tip(LANDED + worktree.name), mark)
        if not repository.admin(earlier).exists():  # else another home goes on with it
            repository.move(LANDED + earlier, mark, None)
    # The ref is named after the snapshot; it may name a commit that holds earlier ones as well.
    short_name = ref.rpartition("-")[2]
    if not commit.startswith(short_name):
        commit = str(repository.open()[commit].parent_ids[0])
    repository.move(WIP + worktree.name, None, commit)


def _restore_branch(repository: ProjectRepository, worktree: Worktree) -> None:
    ref = f"refs/heads/{worktree.branch}"
    if repository.tip(ref) is not None:
        return
    message = f"vespera_orchestrator: worktree {worktree.name}"
    start = _branch_start(repository, worktree)
    try:
        repository.move(ref, None, start, message=message)
    except RefMovedError as exc:
        reason = "another program made it just now; try again"
        raise GitFailedError(f"make the branch {worktree.branch}", reason) from exc


def _branch_start(repository: ProjectRepository, worktree: Worktree) -> str:
    """Return what the branch should name when it is gone: HEAD at the last snapshot.

    In the middle of a rebase the branch was elsewhere.
    """
    snapshot = repository.tip(WIP + worktree.name)
    if snapshot is None:
        return worktree.base
    repo = repository.open()
    state = SavedState.read(repo, snapshot)
    if state is not None and state.branch_tip:
        return state.branch_tip
    parents = repo[snapshot].parent_ids
    return str(parents[0]) if parents else worktree.base


def _write_files(repository: ProjectRepository, worktree: Worktree, *, is_ours: bool) -> None:
    admin = repository.admin(worktree.name)
    if is_ours:
        # Nobody but us has been here: the lock is that of a killed checkout.
        admin.joinpath("index.lock").unlink(missing_ok=True)
    snapshot = repository.tip(WIP + worktree.name)
    has_index = admin.joinpath("index").exists()
    state = None
    if snapshot is not None and not has_index:
        state = SavedState.read(repository.open(), snapshot)
    if state is not None:
        state.write_notes(admin, worktree.branch)
    repo = repository.open_worktree(worktree.name)
    head = repo.revparse_single("HEAD").peel(pygit2.Tree)
    if is_ours and snapshot is None and not has_index:
        repo.checkout_tree(head, strategy=CheckoutStrategy.FORCE)
        return
    if not has_index:
        index = repo.index
        index.read_tree(head)
        if state is not None:
            state.write_conflicts(index)
        index.write()
    if is_ours:
        # The index stays the agent's: what was untracked at the snapshot is untracked again.
        tree = head if snapshot is None else repo[snapshot].peel(pygit2.Tree)
        strategy = CheckoutStrategy.FORCE | CheckoutStrategy.DONT_UPDATE_INDEX
        repo.checkout_tree(tree, strategy=strategy)
        _add_ignored(repo, head, tree)


def _add_ignored(repo: pygit2.Repository, head: pygit2.Tree, tree: pygit2.Tree) -> None:
    """Add to the index again what was in it although it is ignored.

    No later snapshot would have it otherwise.
    """
    index = repo.index
    for path, (old, new) in changes(head, tree).items():
        if old is not None or new is None or not is_ignored(repo, path):
            continue
        if path not in index:
            index.add(index_entry(path, new))
    index.write()


def _hide_from_status(repository: ProjectRepository, folder: Path) -> None:
    """Keep a worktree that lies inside the main one out of that one's status."""
    repo = repository.open()
    project = repository.home.project
    if repo.is_bare or not folder.is_relative_to(project):
        return
    path = folder.relative_to(project).as_posix()
    if is_ignored(repo, f"{path}/"):
        return
    exclude = repository.common / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    pattern = re.sub(r"([\\*?\[ ])", r"\\\1", path)
    with exclude.open("ab") as stream:
        stream.write(b"/" + os.fsencode(pattern) + b"/\n")


# --- taking down ------------------------------------------------------------


def take_down(repository: ProjectRepository, worktree: Worktree) -> str | None:
    """Remove folder and admin directory. Whatever they hold must be kept elsewhere already.

    Safe to repeat after a kill.

    Returns:
        Why the folder was left where it is, or ``None``.

    Raises:
        GitFailedError: The file system refused; what is left is finished by the next call.
    """
    with git_errors(f"remove the worktree {worktree.name} at {worktree.path}"):
        folder, admin = Path(worktree.path), repository.admin(worktree.name)
        note = read_note(repository, worktree.name)
        if note is None:
            unproven = f"{folder} was left: nothing proves that it is ours any more"
            return unproven if folder.exists() else None
        left = None
        if note.stage in (MAKING, REMOVING) or leads_to(folder, admin):
            write_note(repository, admin, REMOVING, note.worktree)
            _remove_folder(folder)
        elif folder.exists():
            wrong = f"its .git file does not lead to the worktree {worktree.name} any more"
            left = f"{folder} was left: {wrong}"
        discarded = repository.workshop / f"old-{secrets.token_hex(8)}"
        discarded.parent.mkdir(parents=True, exist_ok=True)
        admin.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)  # repair sweeps the workshop
        return left


def _remove_folder(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink():
        folder.unlink()
        return

    def make_writable(function: Callable[..., Any], path: str, _: object) -> None:
        # Caches of other tools (Go's modules, for one) write-protect their folders.
        for target in (Path(path).parent, Path(path)):
            if target.is_dir() and not target.is_symlink():
                target.chmod(stat.S_IRWXU)
        if function in (os.open, os.scandir, os.lstat):
            shutil.rmtree(path)
        else:
            function(path)

    hook: dict[str, Any] = {"onexc" if sys.version_info >= (3, 12) else "onerror": make_writable}
    shutil.rmtree(folder, **hook)


def delete_branch(repository: ProjectRepository, worktree: Worktree, kept: Iterable[str]) -> bool:
    """Delete the worktree's branch, unless it is still needed.

    It is needed where a commit of it is not reachable from the commits *kept*, or where somebody
    has it checked out.

    Returns:
        Whether it is gone.
    """
    ref = f"refs/heads/{worktree.branch}"
    tip = repository.tip(ref)
    if tip is None:
        return True
    with git_errors(f"compare {worktree.branch}"):
        if not repository.reaches(tip, kept) or repository.checked_out(worktree.branch) is not None:
            return False
    try:
        repository.move(ref, tip, None)
    except RefMovedError:
        return False  # somebody works on it
    return True


# --- looking ----------------------------------------------------------------


def nested_repositories(repository: ProjectRepository, worktree: Worktree) -> list[str]:
    """Return folders inside the worktree that are repositories of their own and not ignored.

    No snapshot can keep their history.
    """
    root = Path(worktree.path)
    repo = repository.open_worktree(worktree.name)
    nested: list[str] = []
    for folder, names, files in os.walk(root):
        if folder == str(root):
            names[:] = [name for name in names if name != ".git"]
        elif ".git" in names or ".git" in files:
            names.clear()
            path = os.path.relpath(folder, root)
            if not is_ignored(repo, f"{path}/"):
                nested.append(path)
    return nested


def is_ignored(repo: pygit2.Repository, path: str) -> bool:
    """Tell whether git ignores *path*; ``False`` for a name that is not UTF-8."""
    try:
        return bool(repo.path_is_ignored(path))
    except ValueError:
        return False
