"""A worktree's folder and its admin directory, made and taken down by hand.

pygit2's ``add_worktree`` is not used: it holds the interpreter's lock for seconds, and what it leaves behind when it fails or is killed
makes libgit2 give wrong answers for the whole repository. Here the admin directory is put together out of git's sight and appears under
``worktrees/`` in one rename, complete and locked against ``git worktree prune``; taking it down is one rename too.

Inside of it lies a note of ours (git leaves it alone) that says whose it is and how far we have come, so that whoever comes by after a
kill can finish: with *making* the folder holds nothing but what we put there, with *removing* everything in it is kept elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pygit2
from pygit2.enums import CheckoutStrategy, FileMode

from vespera_orchestrator._codec import converter, to_plain
from vespera_orchestrator._model import Worktree
from vespera_orchestrator.errors import GitFailedError, InvalidInputError, RefMovedError
from vespera_orchestrator.worktrees import tree_merge
from vespera_orchestrator.worktrees.repository import (
    LANDED,
    RESCUE,
    WIP,
    branch_ref,
    git_errors,
    linked_folder,
)
from vespera_orchestrator.worktrees.retention import HISTORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from vespera_orchestrator.worktrees.repository import ProjectRepository

_NOTE = "vespera_orchestrator.json"
MAKING, READY, REMOVING = "making", "ready", "removing"
_NAME_MAX_BYTES = 120
"""Leaves room for a number, and for git's own suffixes, below the 255 bytes of common file systems."""
_NUMBERS = 10_000


@attrs.frozen(kw_only=True)
class Note:
    """What an admin directory of ours says about itself."""

    stage: str
    """``making``, ``ready`` or ``removing``."""
    home: str
    """The home that it belongs to; another home's worktrees are not ours."""
    worktree: Worktree


def owner_of(worktree: Worktree) -> str:
    """Return the name of the lock under which a worktree is made, saved and removed; known before the worktree is."""
    return f"worktree {worktree.task_id or f'{worktree.session_id}/{worktree.agent}'}"


def read_note(repository: ProjectRepository, name: str) -> Note | None:
    """Return the note of the worktree of this name, or ``None`` where it is not ours."""
    try:
        raw = json.loads(repository.admin(name).joinpath(_NOTE).read_text("utf-8"))
        note = converter().structure(raw, Note)
    except Exception:  # noqa: BLE001 - absent, cut short or changed: whatever the reason, it proves nothing
        return None
    return note if note.home == str(repository.home.path) and note.worktree.name == name else None


def notes(repository: ProjectRepository) -> list[Note]:
    """Return the notes of all our worktrees, the oldest first."""
    found = [
        note
        for admin in repository.admins()
        if (note := read_note(repository, admin.name)) is not None
    ]
    return sorted(found, key=lambda note: note.worktree.created_at)


def _write_note(
    repository: ProjectRepository, folder: Path, stage: str, worktree: Worktree
) -> None:
    note = Note(stage=stage, home=str(repository.home.path), worktree=worktree)
    temporary = folder / f".{_NOTE}.{secrets.token_hex(4)}"
    temporary.write_text(json.dumps(to_plain(note)), "utf-8")
    temporary.replace(folder / _NOTE)


# --- names and places -------------------------------------------------------


def plain_name(text: str) -> str:
    """Make a name for a folder, a ref and an admin directory from *text*: word characters and hyphens only, so no way out of a folder."""
    name = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text)).strip("_-")
    return name.encode("utf-8", "ignore")[:_NAME_MAX_BYTES].decode("utf-8", "ignore") or "worktree"


def reserve(
    repository: ProjectRepository,
    draft: Worktree,
    *,
    path: str | os.PathLike[str] | None,
    branch: str | None,
    taken: set[str],
) -> Worktree:
    """Choose name, folder and branch for *draft*, and put its admin directory in place with stage *making*.

    Args:
        repository: The repository.
        draft: The record to be; its name is the wish, a number is put behind it when name, folder or branch are taken.
        path: The folder, if the caller chose one.
        branch: The branch, if the caller chose one.
        taken: Names that other records have.

    Raises:
        InvalidInputError: The chosen folder or branch cannot be used.
        GitFailedError: Git or the file system refused.
    """
    chosen_path = _chosen_folder(repository, path) if path is not None else None
    config = repository.home.config
    root = (
        repository.home.project
        / Path(_filled(config.worktrees.root, "worktrees.root", repository, draft)).expanduser()
    ).resolve()
    prefix = _filled(config.worktrees.branch_prefix, "worktrees.branch_prefix", repository, draft)
    if root.is_relative_to(repository.common):
        raise InvalidInputError(
            "worktrees.root",
            f"{str(root)!r} lies in git's own folder; give another one in config.toml",
        )
    with git_errors("choose a place for the worktree"), repository.lock("names"):
        branches = repository.refs("refs/heads/")
        names = {_folded(name) for name in taken}.union(
            _folded(admin.name) for admin in repository.admins()
        )
        if branch is not None:
            _refuse_taken_branch(branch, branches)
        for number in range(1, _NUMBERS):
            name = draft.name if number == 1 else f"{draft.name}-{number}"
            place = chosen_path or root / name
            line = branch or f"{prefix}{name}"
            _refuse_shadowed_branch(line, branches)
            free = _folded(name) not in names and (
                chosen_path is not None or not os.path.lexists(place)
            )
            if free and (
                branch is not None
                or not _clashes(branch_ref(line, "worktrees.branch_prefix"), branches)
            ):
                worktree = attrs.evolve(draft, name=name, path=str(place), branch=line)
                _clear_for(repository, worktree)
                if _appear(repository, worktree):
                    return worktree
    raise GitFailedError(
        "choose a name for the worktree",
        f"{draft.name!r} is taken {_NUMBERS} times over; remove some worktrees",
    )


def _clear_for(repository: ProjectRepository, worktree: Worktree) -> None:
    """Take away what an earlier worktree of the same name has left, unless this one goes on with it."""
    held = _refs(repository, worktree.name)
    if worktree.rescue_ref is not None and _kept_name(worktree.rescue_ref) == worktree.name:
        del held[LANDED]
    _retire(repository, worktree.name, held)


def _filled(pattern: str, setting: str, repository: ProjectRepository, draft: Worktree) -> str:
    """Fill in ``{project}``, ``{session}`` and ``{agent}``; what stands for them is plain, so that it leads nowhere else."""
    values = {
        "project": repository.home.project.name,
        "session": draft.session_id,
        "agent": draft.agent or "any",
    }
    unknown = sorted(set(re.findall(r"[{]([^{}]*)[}]", pattern)) - set(values))
    if unknown:
        raise InvalidInputError(
            setting,
            f"{pattern!r} has {{{unknown[0]}}}; allowed are {', '.join(f'{{{name}}}' for name in values)}",
        )
    return re.sub(r"[{](\w+)[}]", lambda match: plain_name(values[match[1]]), pattern)


def _folded(name: str) -> str:
    """Return what two names share that are one name to some file systems."""
    return unicodedata.normalize("NFC", name).casefold()


def _chosen_folder(repository: ProjectRepository, path: str | os.PathLike[str]) -> Path:
    place = (repository.home.project / Path(path).expanduser()).resolve()
    if place == repository.home.project or place.is_relative_to(repository.common):
        raise InvalidInputError(
            "path", f"{str(place)!r} is the project's own; give a folder that does not exist yet"
        )
    if os.path.lexists(place) and not _is_empty(place):
        raise InvalidInputError(
            "path",
            f"{str(place)!r} is there already and not empty; give a folder that does not exist yet",
        )
    return place


def _is_empty(folder: Path) -> bool:
    return not folder.is_symlink() and folder.is_dir() and not any(folder.iterdir())


def _refuse_taken_branch(branch: str, branches: dict[str, str]) -> None:
    ref = branch_ref(branch, "branch")
    if _clashes(ref, branches):
        raise InvalidInputError(
            "branch",
            f"a branch {branch!r} (or one below that name, letter case ignored) exists already; give another name, or none",
        )


def _refuse_shadowed_branch(branch: str, branches: dict[str, str]) -> None:
    parts = branch_ref(branch, "worktrees.branch_prefix").split("/")
    for end in range(3, len(parts)):
        if (above := "/".join(parts[:end])) in branches:
            short = above.removeprefix("refs/heads/")
            reason = f"the branch {short!r} exists, and git cannot have one below it; rename it, or set another worktrees.branch_prefix"
            raise GitFailedError(f"make the branch {branch}", reason)


def _clashes(ref: str, branches: dict[str, str]) -> bool:
    wanted = _folded(ref)
    return any(
        other == wanted or other.startswith(f"{wanted}/") for other in map(_folded, branches)
    )


# --- making -----------------------------------------------------------------


def _appear(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Put a complete admin directory in place; return whether the name was free."""
    staged = repository.workshop / f"new-{secrets.token_hex(8)}"
    staged.mkdir(parents=True)
    # First of all, as long as anything can see it: without this, `git worktree prune` takes a worktree whose folder is not there yet.
    staged.joinpath("locked").write_text(_lock_reason(worktree), "utf-8")
    staged.joinpath("gitdir").write_bytes(os.fsencode(worktree.path) + b"/.git\n")
    staged.joinpath("commondir").write_text("../..\n", "utf-8")
    staged.joinpath("HEAD").write_text(f"ref: refs/heads/{worktree.branch}\n", "utf-8")
    _write_note(repository, staged, MAKING, worktree)
    admin = repository.admin(worktree.name)
    for _ in range(3):
        admin.parent.mkdir(exist_ok=True)
        try:
            staged.rename(admin)
        except FileNotFoundError:  # `git worktree prune` removes worktrees/ when it is empty
            continue
        except OSError:
            shutil.rmtree(staged)
            if not admin.exists():
                raise
            return False
        return True
    raise GitFailedError(
        f"make {admin}",
        "its parent keeps disappearing; try again when no other program works on the repository",
    )


def _lock_reason(worktree: Worktree) -> str:
    return f"vespera_orchestrator: in use for {worktree.task_id or worktree.agent}; orch.worktrees.remove({worktree.name!r}) takes it down\n"


def refuse_foreign(repository: ProjectRepository, worktree: Worktree) -> None:
    """Refuse a worktree whose commits this repository never had, as after an import elsewhere.

    Raises:
        GitFailedError: With what brings them, and how to go on without.
    """
    if is_foreign(repository, worktree):
        problem = f"{foreign_problem(worktree)}; {foreign_remedy(worktree)}"
        raise GitFailedError(f"make the worktree {worktree.name}", problem)


def is_foreign(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether this repository never had the commits of the worktree."""
    has_snapshot = repository.tip(WIP + worktree.name) is not None
    return not has_snapshot and not repository.has(worktree.base)


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


def lock_against_prune(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Lock the worktree again where somebody unlocked it; return whether that was so."""
    marker = repository.admin(worktree.name) / "locked"
    if marker.exists():
        return False
    marker.write_text(_lock_reason(worktree), "utf-8")
    return True


def is_whole(repository: ProjectRepository, worktree: Worktree) -> bool:
    """Tell whether the worktree can be used as it is."""
    note = read_note(repository, worktree.name)
    admin = repository.admin(worktree.name)
    if (
        note is None
        or note.stage != READY
        or not all(
            admin.joinpath(part).is_file() for part in ("HEAD", "gitdir", "commondir", "index")
        )
    ):
        return False
    return leads_to(Path(worktree.path), admin)


def leads_to(folder: Path, admin: Path) -> bool:
    """Tell whether the ``.git`` file in *folder* names *admin*."""
    try:
        text = os.fsdecode(folder.joinpath(".git").read_bytes())
    except OSError:
        return False
    return (
        text.startswith("gitdir:")
        and (folder / text.removeprefix("gitdir:").strip()).resolve() == admin.resolve()
    )


def fill(repository: ProjectRepository, worktree: Worktree) -> None:
    """Bring the worktree into a usable state, whatever is missing: admin directory, branch, folder, files, index.

    Files come from the last snapshot, or from the branch when there is none. A folder that holds files is never written over, unless its
    note says that all of them are ours. Safe to repeat after a kill.

    Raises:
        GitFailedError: Git or the file system refused, or the folder is used for something else.
    """
    with git_errors(f"make the worktree {worktree.name} at {worktree.path}"):
        folder, admin = Path(worktree.path), repository.admin(worktree.name)
        note = read_note(repository, worktree.name)
        if note is None:
            with repository.lock("names"):
                if not _appear(repository, worktree):
                    reason = f"{admin} belongs to another worktree; remove that one first"
                    raise GitFailedError(f"make the worktree {worktree.name}", reason)
        missing = not os.path.lexists(folder) or _is_empty(folder)
        ours = missing or (note is not None and note.stage == MAKING)
        if not ours and not leads_to(folder, admin) and os.path.lexists(folder / ".git"):
            raise GitFailedError(
                f"make the worktree {worktree.name}",
                f"{folder} is used for something else; move it away and try again",
            )
        _write_note(repository, admin, MAKING if ours else READY, worktree)
        _take_up(repository, worktree)
        _restore_branch(repository, worktree)
        folder.mkdir(parents=True, exist_ok=True)
        _hide_from_status(repository, folder)
        folder.joinpath(".git").write_bytes(b"gitdir: " + os.fsencode(admin) + b"\n")
        _write_files(repository, worktree, ours=ours)
        _write_note(repository, admin, READY, worktree)


def _take_up(repository: ProjectRepository, worktree: Worktree) -> None:
    """Let one that is made again go on from the last snapshot of the one that was removed, and know what that one knew."""
    if worktree.rescue_ref is None or repository.tip(WIP + worktree.name) is not None:
        return
    kept = repository.tip(worktree.rescue_ref)
    if kept is None:
        raise GitFailedError(
            f"make the worktree {worktree.name} again",
            f"there is no {worktree.rescue_ref} any more",
        )
    earlier = _kept_name(worktree.rescue_ref)
    if earlier != worktree.name and (mark := repository.tip(LANDED + earlier)) is not None:
        repository.move(LANDED + worktree.name, repository.tip(LANDED + worktree.name), mark)
        repository.move(LANDED + earlier, mark, None)
    if not kept.startswith(
        worktree.rescue_ref.rpartition("-")[2]
    ):  # a commit that holds earlier snapshots as well
        kept = str(repository.open()[kept].parent_ids[0])
    repository.move(WIP + worktree.name, None, kept)


def _restore_branch(repository: ProjectRepository, worktree: Worktree) -> None:
    ref = f"refs/heads/{worktree.branch}"
    if repository.tip(ref) is None:
        try:
            repository.move(
                ref,
                None,
                _start(repository, worktree),
                message=f"vespera_orchestrator: worktree {worktree.name}",
            )
        except RefMovedError as exc:
            raise GitFailedError(
                f"make the branch {worktree.branch}", "another program made it just now; try again"
            ) from exc


def _start(repository: ProjectRepository, worktree: Worktree) -> str:
    """Return the commit that the branch should name when it is gone: where HEAD was at the last snapshot."""
    snapshot = repository.tip(WIP + worktree.name)
    parents = repository.open()[snapshot].parent_ids if snapshot is not None else []
    return str(parents[0]) if parents else worktree.base


def _write_files(repository: ProjectRepository, worktree: Worktree, *, ours: bool) -> None:
    admin = repository.admin(worktree.name)
    if ours:
        admin.joinpath("index.lock").unlink(
            missing_ok=True
        )  # nobody but us has been here: it is that of a killed checkout
    repo = repository.open_worktree(worktree.name)
    head = repo.revparse_single("HEAD").peel(pygit2.Tree)
    snapshot = repository.tip(WIP + worktree.name)
    fresh = not admin.joinpath("index").exists()
    if ours and snapshot is None and fresh:
        repo.checkout_tree(head, strategy=CheckoutStrategy.FORCE)
        return
    if fresh:
        index = repo.index
        index.read_tree(head)
        index.write()
    if ours:
        # The index stays the agent's: what was untracked at the snapshot is untracked again.
        tree = head if snapshot is None else repo[snapshot].peel(pygit2.Tree)
        repo.checkout_tree(
            tree, strategy=CheckoutStrategy.FORCE | CheckoutStrategy.DONT_UPDATE_INDEX
        )
        _know_ignored(repo, head, tree)


def _know_ignored(repo: pygit2.Repository, head: pygit2.Tree, tree: pygit2.Tree) -> None:
    """Let the index know again what was in it although it is ignored: no later snapshot would take that."""
    added = [
        (path, new)
        for path, (old, new) in tree_merge.changes(head, tree).items()
        if old is None and new is not None
    ]
    for path, (name, mode) in added:
        if _is_ignored(repo, path) and path not in repo.index:
            repo.index.add(pygit2.IndexEntry(path, pygit2.Oid(hex=name), FileMode(mode)))
    repo.index.write()


def _hide_from_status(repository: ProjectRepository, folder: Path) -> None:
    """Keep a worktree that lies inside the main one out of that one's status."""
    repo = repository.open()
    project = repository.home.project
    if repo.is_bare or not folder.is_relative_to(project):
        return
    inside = folder.relative_to(project).as_posix()
    if _is_ignored(repo, f"{inside}/"):
        return
    exclude = repository.common / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    with exclude.open("ab") as stream:
        stream.write(b"/" + os.fsencode(re.sub(r"([\\*?\[ ])", r"\\\1", inside)) + b"/\n")


# --- taking down ------------------------------------------------------------


def take_down(repository: ProjectRepository, worktree: Worktree) -> str | None:
    """Remove folder and admin directory. Whatever they hold must be kept elsewhere already. Safe to repeat after a kill.

    Returns:
        Why the folder was left where it is, or ``None``.

    Raises:
        GitFailedError: The file system refused; what is left is finished by the next call.
    """
    with git_errors(f"remove the worktree {worktree.name} at {worktree.path}"):
        folder, admin = Path(worktree.path), repository.admin(worktree.name)
        note = read_note(repository, worktree.name)
        if note is None:
            return (
                None
                if not folder.exists()
                else f"{folder} was left: nothing proves that it is ours any more"
            )
        left = None
        if note.stage in (MAKING, REMOVING) or leads_to(folder, admin):
            _write_note(repository, admin, REMOVING, note.worktree)
            _remove_tree(folder)
        elif folder.exists():
            left = f"{folder} was left: its .git file does not lead to the worktree {worktree.name} any more"
        discarded = repository.workshop / f"old-{secrets.token_hex(8)}"
        discarded.parent.mkdir(parents=True, exist_ok=True)
        admin.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)  # the workshop is swept by repair
        return left


def _remove_tree(folder: Path) -> None:
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


def rescue_ref(name: str, commit: str) -> str:
    """Return the ref under which a worktree's last state is kept."""
    return f"{rescue_prefix(name)}-{commit[:12]}"


def rescue_prefix(name: str) -> str:
    """Return the beginning of every ref under which something of the worktree of this name is kept; a short commit name follows."""
    return RESCUE + name


def keep(repository: ProjectRepository, name: str, commit: str) -> str:
    """Make a rescue ref for *commit*, the last state of the worktree of this name, and return the ref. Idempotent.

    Where there were earlier snapshots, it names a commit with the same files that has both as parents.
    """
    ref = rescue_ref(name, commit)
    earlier = repository.tip(HISTORY + name)
    with git_errors(f"keep the last state of {name}"):
        repo = repository.open()
        if earlier is not None and not (earlier == commit or repo.descendant_of(commit, earlier)):
            last = repo[commit].peel(pygit2.Commit)
            who = last.committer  # the same each time: it may be made twice
            commit = str(
                repo.create_commit(
                    None, who, who, f"last state of {name}\n", last.tree_id, [commit, earlier]
                )
            )
    found = repository.tip(ref)
    if found is None or not repository.reaches(commit, [found]):
        repository.move(ref, found, commit)
    return ref


def _kept_name(ref: str) -> str:
    """Return the name of the worktree whose last state *ref* keeps."""
    return ref.removeprefix(RESCUE).rpartition("-")[0]


def retire(repository: ProjectRepository, removed: Worktree) -> bool:
    """Take the snapshot refs of a worktree that is no more away, its last snapshot being kept; return whether there were any.

    Of one whose work has not landed, what it knows of the integration branch stays: it may be made again.
    """
    held = _refs(repository, removed.name)
    if removed.unlanded:
        del held[LANDED]
    return _retire(repository, removed.name, held)


def _refs(repository: ProjectRepository, name: str) -> dict[str, str | None]:
    return {
        prefix: repository.tip(prefix + name) for prefix in (HISTORY, LANDED, WIP)
    }  # the latest goes last: it leads to the rescue ref


def _retire(repository: ProjectRepository, name: str, held: dict[str, str | None]) -> bool:
    if (last := held[WIP] or held[HISTORY]) is not None:
        keep(repository, name, last)
    for prefix, commit in held.items():
        if commit is not None:
            repository.move(prefix + name, commit, None)
    return any(commit is not None for commit in held.values())


def drop_branch(repository: ProjectRepository, worktree: Worktree, kept: list[str]) -> bool:
    """Delete the worktree's branch where all its commits are reachable from the commits *kept* and nobody has it checked out."""
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


def nested_repositories(repository: ProjectRepository, worktree: Worktree) -> list[str]:
    """Return folders inside the worktree that are repositories of their own and not ignored: no snapshot can keep their history."""
    root = Path(worktree.path)
    repo = repository.open_worktree(worktree.name)
    found = []
    for folder, names, files in os.walk(root):
        if folder == str(root):
            names[:] = [name for name in names if name != ".git"]
        elif ".git" in names or ".git" in files:
            inside = os.path.relpath(folder, root)
            names.clear()
            if not _is_ignored(repo, f"{inside}/"):
                found.append(inside)
    return found


def _is_ignored(repo: pygit2.Repository, path: str) -> bool:
    try:
        return bool(repo.path_is_ignored(path))
    except ValueError:  # not UTF-8
        return False


def admin_trouble(repository: ProjectRepository, worktree: Worktree) -> str | None:
    """Return why the worktree's files cannot be read just now, or ``None``."""
    note = read_note(repository, worktree.name)
    if (note is None and repository.tip(WIP + worktree.name) is None) or (
        note is not None and note.stage == REMOVING
    ):
        return (
            "it was removed; orch.worktrees.create(…, resume=True) for the same task or agent makes it again "
            "with the files of the last save, and orch.worktrees.rescue() lists what was kept of removed ones"
        )
    if note is None or note.stage == MAKING or not Path(worktree.path).is_dir():
        return f"its folder {worktree.path} is not complete; orch.worktrees.create(…) for the same task makes it again from the last snapshot"
    if linked_folder(repository.admin(worktree.name)) != Path(worktree.path):
        return f"it was moved away from {worktree.path}; move it back (git worktree move)"
    return None
