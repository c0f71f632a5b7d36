"""A worktree's folder and its admin directory, made and taken down by hand.

pygit2's ``add_worktree`` is not used: it holds the interpreter's lock for seconds, and what it
leaves behind when it fails or is killed makes libgit2 give wrong answers for the whole repository.
Here the admin directory is put together out of git's sight and appears under ``worktrees/`` in one
rename, complete and locked against ``git worktree prune``. Taking it down is one rename too.

A note inside of it says how far we have come, see `admin_note`.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pygit2
from pygit2.enums import CheckoutStrategy, FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import GitFailedError, RefMovedError
from vespera_orchestrator.home.files import make_folders
from vespera_orchestrator.worktrees import libgit2, nested
from vespera_orchestrator.worktrees.admin_note import (
    MAKING,
    READY,
    REMOVING,
    read_note,
    write_note,
)
from vespera_orchestrator.worktrees.furnishing import free_index, is_wanted
from vespera_orchestrator.worktrees.naming import NameChoice, free_folder, is_below_root
from vespera_orchestrator.worktrees.opening import open_repository
from vespera_orchestrator.worktrees.operation import SavedState
from vespera_orchestrator.worktrees.ownership import (
    FolderState,
    connect,
    find_place,
    is_vacant,
    point_to,
    reconnect,
)
from vespera_orchestrator.worktrees.patterns import add_pattern, escape, is_ignored
from vespera_orchestrator.worktrees.refs import LANDED, WIP
from vespera_orchestrator.worktrees.rescue import rescued_name, retire_refs
from vespera_orchestrator.worktrees.translation import git_errors
from vespera_orchestrator.worktrees.tree_merge import changes, index_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.ownership import Place
    from vespera_orchestrator.worktrees.repository import ProjectRepository

NAMES_LOCK: Final = "names"
"""The lock under which names are chosen, and admin directories appear."""
_ADMIN_FILES: Final = ("HEAD", "gitdir", "commondir", "index")
"""What a usable admin directory has."""
_TRIES: Final = 3


log = logging.getLogger("vespera_orchestrator")

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
    write_note(repository, staged, MAKING, worktree, index=free_index(repository))
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
    place = find_place(repository, worktree)
    return place.state is FolderState.OURS and str(place.folder) == worktree.path


# --- filling ----------------------------------------------------------------


def fill(repository: ProjectRepository, worktree: Worktree) -> Worktree:
    """Bring the worktree into a usable state, whatever is missing.

    That may be admin directory, branch, folder, files or index. Files come from the last snapshot,
    or from the branch when there is none. A folder that is not ours is left as it is: the worktree
    then gets another one. A folder of ours is not written over, unless its note says that nobody
    has worked in it yet. Safe to repeat after a kill.

    Returns:
        The record, with the folder where it is now.

    Raises:
        GitFailedError: Git or the file system refused.
    """
    with git_errors(f"make the worktree {worktree.name} at {worktree.path}"):
        admin = repository.admin(worktree.name)
        place = find_place(repository, worktree)
        note = place.note
        is_fresh = not place.is_ours
        if is_fresh:
            worktree = _choose_place(repository, worktree, place, has_note=note is not None)
        else:
            worktree = reconnect(repository, worktree, place)
        if note is None:
            _claim_admin(repository, worktree)
        writes_files = is_fresh or (note is not None and note.stage == MAKING)
        is_furnished = not is_wanted(repository) if writes_files else None
        stage = MAKING if writes_files else READY
        write_note(repository, admin, stage, worktree, is_furnished=is_furnished)
        point_to(repository, worktree)
        _restore_refs(repository, worktree)
        _restore_branch(repository, worktree)
        folder = Path(worktree.path)
        make_folders(folder)
        _hide_from_status(repository, folder)
        connect(repository, worktree)
        _write_files(repository, worktree, is_ours=writes_files)
        write_note(repository, admin, READY, worktree)
    return worktree


def _choose_place(
    repository: ProjectRepository, worktree: Worktree, place: Place, *, has_note: bool
) -> Worktree:
    """Return the record with the folder to fill: its place, or another where that is taken.

    A record alone is no proof that a place is meant for us: it may come from another machine.
    """
    is_free = place.state is FolderState.VACANT
    if is_free and not has_note:
        is_free = is_below_root(repository, worktree)
    if is_free:
        return attrs.evolve(worktree, path=str(place.folder))
    with repository.lock(NAMES_LOCK):
        folder = free_folder(repository, worktree)
        make_folders(folder)
    return attrs.evolve(worktree, path=str(folder))


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
        reason = exc.reason or "another program made it just now; try again"
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
        drop_damaged_index(repository, worktree)
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
        repository.refuse_lack_of_room(repo, str(head.id), Path(worktree.path))
        repository.check_out(repo, head, CheckoutStrategy.FORCE)
        return
    if not has_index:
        repository.refuse_giants(repo, str(head.id))
        write_first_index(admin, head, state)
        repo = repository.open_worktree(worktree.name)
    if is_ours:
        # The index stays the agent's: what was untracked at the snapshot is untracked again.
        tree = head if snapshot is None else repo[snapshot].peel(pygit2.Tree)
        strategy = CheckoutStrategy.FORCE | CheckoutStrategy.DONT_UPDATE_INDEX
        repository.check_out(repo, tree, strategy)
        _add_ignored(repo, head, tree)
        if snapshot is not None:
            nested.write_out(repo, snapshot, Path(worktree.path))


def write_first_index(admin: Path, head: pygit2.Tree, state: SavedState | None = None) -> None:
    """Write an index where there is none, with the conflicts of *state*.

    Whoever makes one at the same moment is as welcome, and its lock is not needed: one that a kill
    left there would be in the way for ever.
    """
    beside = admin / "vespera-index"
    beside.unlink(missing_ok=True)
    index = pygit2.Index(str(beside))
    index.read_tree(head)
    if state is not None:
        state.write_conflicts(index)
    index.write()
    with suppress(FileExistsError):
        os.link(beside, admin / "index")
    beside.unlink()


def drop_damaged_index(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Remove the worktree's index where a power cut left it empty or cut short.

    Returns:
        Whether it was damaged.
    """
    index = repository.admin(worktree.name) / "index"
    if not index.exists():
        return False
    try:
        if index.stat().st_size:
            repository.open_worktree(worktree.name).index.read(True)
            return False
    except pygit2.GitError as exc:
        if "mandatory extension" in str(exc):
            return False  # a split or sparse one is sound; only git can read it
        log.warning("the index of %s was damaged: %s", worktree.name, exc)
    index.unlink(missing_ok=True)
    index.with_name("index.lock").unlink(missing_ok=True)
    return True


def _add_ignored(repo: pygit2.Repository, head: pygit2.Tree, tree: pygit2.Tree) -> None:
    """Add to the index again what was in it although it is ignored.

    No later snapshot would have it otherwise.
    """
    index = repo.index
    for path, (old, new) in changes(repo, head, tree).items():
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
    pattern = escape(path)
    add_pattern(repository.common / "info" / "exclude", f"/{pattern}/")


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
        admin = repository.admin(worktree.name)
        place = find_place(repository, worktree)
        note = place.note
        is_there = os.path.lexists(place.folder)
        if note is None:
            unproven = f"{place.folder} was left: nothing proves that it is ours any more"
            return unproven if is_there else None
        left = None
        if place.state is FolderState.OURS:
            leaving = attrs.evolve(note.worktree, path=str(place.folder))
            write_note(repository, admin, REMOVING, leaving)
            _remove_folder(place.folder)
        elif is_vacant(place.folder, admin):
            _remove_folder(place.folder)
        elif is_there:
            wrong = f"its .git file does not lead to the worktree {worktree.name} any more"
            left = f"{place.folder} was left: {wrong}"
        discarded = repository.workshop / f"old-{secrets.token_hex(8)}"
        discarded.parent.mkdir(parents=True, exist_ok=True)
        admin.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)  # repair sweeps the workshop
        return left


def _remove_folder(folder: Path) -> None:
    """Remove a folder of ours; its ``.git`` goes last: without it nobody can tell that it is ours.

    So a removal that is killed can go on, and a folder that somebody makes meanwhile is safe.
    """
    if not os.path.lexists(folder):
        return
    _make_writable(folder)
    git_file = folder / ".git"
    for entry in folder.iterdir():
        if entry != git_file:
            _remove_entry(entry)
    git_file.unlink(missing_ok=True)
    folder.rmdir()


def _remove_entry(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return

    def retry_as_writable(function: Callable[..., Any], path: str, _: object) -> None:
        # Caches of other tools (Go's modules, for one) write-protect their folders.
        for target in (Path(path).parent, Path(path)):
            _make_writable(target)
        if function in (os.open, os.scandir, os.lstat):
            shutil.rmtree(path)
        else:
            function(path)

    name = "onexc" if sys.version_info >= (3, 12) else "onerror"
    hook: dict[str, Any] = {name: retry_as_writable}
    shutil.rmtree(path, **hook)


def _make_writable(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not os.access(folder, os.W_OK | os.X_OK):
        folder.chmod(stat.S_IRWXU)


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

    Submodules that hold nothing of their own are none.
    """
    root = Path(worktree.path)
    repo = repository.open_worktree(worktree.name)
    paths: list[str] = []
    for folder, names, files in os.walk(root):
        if folder == str(root):
            names[:] = [name for name in names if name != ".git"]
        elif ".git" in names or ".git" in files:
            names.clear()
            path = os.path.relpath(folder, root)
            if not is_ignored(repo, f"{path}/") and not _is_plain_submodule(repo, root, path):
                paths.append(path)
    return paths


def _is_plain_submodule(repo: pygit2.Repository, root: Path, path: str) -> bool:
    entry = libgit2.find_entry(repo.index, path)
    if entry is None or entry.mode != FileMode.COMMIT:
        return False
    try:
        return not nested.has_own_work(open_repository(root / path))
    except pygit2.GitError:
        return False
