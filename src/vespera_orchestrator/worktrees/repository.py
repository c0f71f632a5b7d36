"""The project's repository, seen from the git directory that all its worktrees share."""

from __future__ import annotations

import hashlib
import os
import shutil
import weakref
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pygit2

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_value
from vespera_orchestrator.errors import (
    GitFailedError,
    InvalidInputError,
    NotARepositoryError,
    RefMovedError,
    WorktreeError,
)
from vespera_orchestrator.home.files import (
    make_temporary_folder,
    remove_folder,
    sync_file,
    sync_folder,
)
from vespera_orchestrator.home.locate import git_common_dir
from vespera_orchestrator.home.reading import read_small_file
from vespera_orchestrator.worktrees.compatibility import CompatibilityCheck
from vespera_orchestrator.worktrees.crossed_histories import merge_bases
from vespera_orchestrator.worktrees.durability import KnownCommits, hold_objects, sync_tree
from vespera_orchestrator.worktrees.libgit2 import check_out_as_stored
from vespera_orchestrator.worktrees.locks import LOCK_PATIENCE_S, LOCK_POLL_S, exclusive
from vespera_orchestrator.worktrees.opening import open_repository, write_objects_elsewhere
from vespera_orchestrator.worktrees.packs import (
    gather_packs,
    has_many_packs,
    release_abandoned_packs,
)
from vespera_orchestrator.worktrees.peek import git_file_target
from vespera_orchestrator.worktrees.ref_files import list_refs, read_ref, read_text_if_present
from vespera_orchestrator.worktrees.refs import WIP, RefMove, Refs
from vespera_orchestrator.worktrees.retrying import retrying
from vespera_orchestrator.worktrees.staging import Held, Staging
from vespera_orchestrator.worktrees.translation import OBJECT_ERRORS, git_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from contextlib import AbstractContextManager

    from pygit2.enums import CheckoutStrategy

    from vespera_orchestrator.home.locate import Home
    from vespera_orchestrator.worktrees.tree_merge import MergeText

_NO_REPOSITORY: Final = (
    "there is no git repository; make one: git init && git add -A && git commit -m 'first commit'"
)
_NO_COMMIT: Final = "it has no commit yet; make one: git add -A && git commit -m 'first commit'"
_MOST_BRANCH_CHARS: Final = 1000
"""Longer ones make paths that file systems refuse."""
_MOST_PART_BYTES: Final = 240
_NEAR: Final = 2
"""A home so many folders up from git's directory lies in the project, or beside it."""
_TRIES_BESIDE_GC: Final = 5
_HEAD_FILES: Final = ("HEAD", "rebase-merge/head-name", "rebase-apply/head-name")
"""Files in a git directory that name the branch which is checked out, or being rebased."""


class ProjectRepository:
    """The repository around the home's project.

    It holds no open handle, so threads may share it.
    """

    def __init__(self, home: Home, common: Path) -> None:
        self.home = home
        self.common = common
        """The git directory that all worktrees share."""
        place = _relative_home(home.path, common) or home.path
        digest = hashlib.sha256(os.fsencode(place)).hexdigest()
        self.workshop = common / "vespera" / digest[:12]
        """Where admin directories are put together and taken apart.

        It is on git's own file system, and out of git's sight."""
        self.refuse_to_forget: Callable[[str], None] = lambda _: None
        """Raises where the integration branch must not be made anew from the given commit.

        That is where it is known to have had more."""
        self.merge_text: MergeText | None = None
        """Merges files that git cannot merge, wherever something is merged here."""
        self.is_durable = home.config.store.durability != "normal"
        """Whether whatever was acknowledged survives a power cut."""
        self.is_suspect = False
        """Whether an object could not be read: the next save looks for everything that is gone."""
        self._refs = Refs(common, home.locks, self.workshop, self.open, durable=self.is_durable)
        self._compatibility = CompatibilityCheck(common)

    @classmethod
    def of(cls, home: Home) -> Self:
        """Find the repository.

        Raises:
            NotARepositoryError: There is none.
        """
        common = git_common_dir(home.project)
        if common is None:
            raise NotARepositoryError(str(home.project), _NO_REPOSITORY)
        return cls(home, common.resolve())

    def open(self, staging: Staging | None = None) -> pygit2.Repository:
        """Open the shared repository anew, with what is in *staging* and not on disk yet.

        Threads must not share pygit2's objects, and its caches must not outlive a call.
        """
        with git_errors(f"open the repository {self.common}"):
            repo = open_repository(self.common)
            if self.home.readonly:
                write_objects_elsewhere(repo, self._scratch)
            return repo if staging is None else staging.attach(repo)

    @cached_property
    def top(self) -> Path:
        """The folder at the top of the project's checkout."""
        project = self.home.project
        folders = (project, *project.parents)
        return next((folder for folder in folders if (folder / ".git").exists()), project)

    @cached_property
    def below(self) -> str:
        """Where the project lies below the top of the repository, with a slash at its end.

        Empty if it is the top.
        """
        below = self.home.project.relative_to(self.top).as_posix()
        return "" if below == "." else f"{below}/"

    def staging(self) -> Staging:
        """Return a place for the new objects of a save or a landing."""
        return Staging(self.common, durable=self.is_durable)

    @cached_property
    def _scratch(self) -> Path:
        """A folder for what merges in memory write, where nothing may be written into git."""
        folder = make_temporary_folder()
        weakref.finalize(self, remove_folder, folder, os.getpid())
        return folder

    def admin(self, name: str) -> Path:
        """Return the admin directory of the worktree of this name."""
        return self.common / "worktrees" / name

    def open_worktree(self, name: str) -> pygit2.Repository:
        """Open a linked worktree by its admin directory.

        So a damaged ``.git`` file in its folder cannot mislead.
        """
        with git_errors(f"open the worktree {name}"):
            return open_repository(self.admin(name))

    def lock(
        self, what: str, *, patience_s: float = LOCK_PATIENCE_S, poll_s: float = LOCK_POLL_S
    ) -> AbstractContextManager[None]:
        """Keep other threads and processes that use this home away from *what* during a block.

        Raises:
            WorktreeLockedError: Somebody else held it all the time.
        """
        return exclusive(self.home.locks, what, patience_s=patience_s, poll_s=poll_s)

    def refuse_unsupported(self, *commits: str, repo: pygit2.Repository | None = None) -> None:
        """Check that libgit2 handles the configuration, and the files of *commits*, as git does.

        Raises:
            UnsupportedRepositoryError: Names the feature and the remedy.
        """
        with git_errors("look at the repository's configuration"):
            self._compatibility.refuse_unsupported(repo or self.open(), commits)

    def refuse_giants(self, repo: pygit2.Repository, *names: str, with_files: bool = False) -> None:
        """Check that these commits and trees do not hold more than libgit2 can go through.

        Args:
            repo: The repository.
            names: The commits and trees.
            with_files: Whether to look at the size of each file, too, because libgit2 is to write
                all of them, or to merge whole trees.

        Raises:
            UnsupportedRepositoryError: They have too many files or levels, or too large a file.
        """
        with git_errors("look at the size of a commit"):
            self._compatibility.refuse_giants(repo, names)
            if with_files:
                for name in names:
                    self._compatibility.size_bytes(repo, name)

    def refuse_giant_bases(self, repo: pygit2.Repository, one: str, two: str) -> None:
        """Check what libgit2 merges first, where the histories of two commits have crossed.

        Raises:
            UnsupportedRepositoryError: It is too much, see `refuse_giants`, or too many commits.
        """
        bases = merge_bases(repo, one, two, self.integration_branch)
        self.refuse_giants(repo, *bases, with_files=True)

    def refuse_lack_of_room(self, repo: pygit2.Repository, tree: str, folder: Path) -> None:
        """Check that the disk has room for the files of *tree*.

        Raises:
            UnsupportedRepositoryError: They are too many or too large for any.
            GitFailedError: It has not.
        """
        needed = self._compatibility.size_bytes(repo, tree)
        free = shutil.disk_usage(folder).free
        if needed > free:
            reason = f"they take {needed:,} bytes, and only {free:,} are free there"
            raise GitFailedError(f"write files to {folder}", reason)

    def check_out(
        self, repo: pygit2.Repository, tree: pygit2.Tree, strategy: CheckoutStrategy
    ) -> None:
        """Write the files of *tree* to where *repo* has its own.

        Raises:
            UnsupportedRepositoryError: They use a feature that libgit2 gets wrong.
            pygit2.GitError: A file could not be written.
        """
        self.refuse_giants(repo, str(tree.id), with_files=True)
        if self._compatibility.are_files_as_stored(repo, tree):
            check_out_as_stored(repo, tree, strategy)
        else:
            repo.checkout_tree(tree, strategy=strategy)

    # commits

    @property
    def integration_branch(self) -> str:
        """The branch that finished work goes to."""
        return self.home.config.worktrees.integration_branch

    @property
    def integration_ref(self) -> str:
        """Its full name.

        Raises:
            InvalidInputError: The configured name cannot be a branch's name.
        """
        return branch_ref(self.integration_branch, "integration_branch")

    def head(self, repo: pygit2.Repository) -> str:
        """Return the commit that is checked out in the main worktree.

        Raises:
            NotARepositoryError: There is no commit yet.
        """
        with git_errors("read HEAD"):
            if repo.head_is_unborn:
                raise NotARepositoryError(str(self.home.project), _NO_COMMIT)
            return str(repo.head.peel(pygit2.Commit).id)

    def worktree_head(self, name: str) -> str | None:
        """Return the commit that is checked out in the worktree of this name.

        ``None`` on a branch without a commit.
        """
        with git_errors(f"read HEAD of the worktree {name}"):
            return self._head_in(self.admin(name))

    def _head_in(self, git_dir: Path) -> str | None:
        text = (read_text_if_present(git_dir / "HEAD") or "").strip()
        if text.startswith("ref:"):
            return read_ref(self.common, text.removeprefix("ref:").strip())
        return text or None

    def starting_points(self) -> list[str]:
        """Return the commits that a worktree may start from. Nothing is written.

        They are the head of the integration branch, and HEAD.

        Raises:
            NotARepositoryError: There is no commit yet.
        """
        tip = self.tip(self.integration_ref)
        with git_errors("read HEAD"):
            repo = self.open()
            if tip is None:
                return [self.head(repo)]
            return [tip] if repo.head_is_unborn else [tip, self.head(repo)]

    def integration_tip(self) -> str:
        """Return the head of the integration branch.

        Where the branch is missing it is made from the main worktree's HEAD.

        Raises:
            NotARepositoryError: There is no commit yet.
            GitFailedError: It is gone, and with it work that had landed on it and is not in HEAD.
        """
        ref = self.integration_ref
        while (tip := self.tip(ref)) is None:
            with git_errors(f"make the branch {self.integration_branch}"):
                start = self.head(self.open())
            self.refuse_to_forget(start)
            try:
                self.move(ref, None, start, message="vespera_orchestrator: made from HEAD")
            except RefMovedError:
                continue  # somebody else made it just now
        return tip

    def follow_head(self) -> str:
        """Fast-forward the integration branch to HEAD, and return its head.

        Only where it is strictly behind, and checked out nowhere.
        """
        tip = self.integration_tip()
        with git_errors(f"compare {self.integration_branch} with HEAD"):
            repo = self.open()
            if repo.head_is_unborn:
                return tip
            head = self.head(repo)
            is_behind = head != tip and repo.descendant_of(head, tip)
        if not is_behind or self.checked_out(self.integration_branch) is not None:
            return tip
        try:
            message = "vespera_orchestrator: fast-forward to HEAD"
            self.move(self.integration_ref, tip, head, message=message)
        except RefMovedError:
            return self.integration_tip()
        return head

    def has(self, commit: str) -> bool:
        """Tell whether the repository has the object *commit*."""
        with git_errors(f"look for {commit}"):
            return commit in self.open()

    def has_sound(self, commit: str) -> bool:
        """Tell whether a commit is there, with its top folder and what it builds on."""
        with git_errors(f"look for {commit}"):
            return is_sound(self.open(), commit)

    def reaches(self, commit: str, from_commits: Iterable[str]) -> bool:
        """Tell whether *commit* is one of *from_commits* or an ancestor of one."""
        repo = self.open()
        return any(has_ancestor(repo, start, commit) for start in from_commits)

    # what is checked out where

    def checked_out(self, branch: str) -> Path | None:
        """Return the folder in which *branch* is checked out or being rebased, or ``None``."""
        for _, folder in self.holders(branch):
            return folder
        return None

    def holders(self, branch: str) -> list[tuple[Path, Path]]:
        """Return git directory and folder of every checkout that has *branch*, or is rebasing it.

        Read from the files: libgit2 gives wrong answers while another process makes a worktree.
        """
        ref = f"refs/heads/{branch}"
        git_dirs = [self.common, *self.admins()]
        named = [git_dir for git_dir in git_dirs if ref in _checked_out_refs(git_dir)]
        folders = [(git_dir, self._checkout_of(git_dir)) for git_dir in named]
        return [(git_dir, folder) for git_dir, folder in folders if folder is not None]

    def _checkout_of(self, git_dir: Path) -> Path | None:
        """Return the folder that has the checkout of a git directory, if there is one."""
        if git_dir == self.common:
            folder, is_checkout = self.home.project, not self.open().is_bare
        else:
            folder = linked_folder(git_dir)
            is_checkout = _is_checkout_of(folder, git_dir)
        return folder if is_checkout and folder.exists() else None

    def admins(self) -> list[Path]:
        """Return the admin directories of all linked worktrees."""
        try:
            return sorted(self.common.joinpath("worktrees").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    # refs

    def tip(self, ref: str) -> str | None:
        """Return the commit that *ref* names, or ``None``."""
        with git_errors(f"read {ref}"):
            return read_ref(self.common, ref)

    def refs(self, prefix: str) -> dict[str, str]:
        """Return the refs below *prefix* and what they name."""
        with git_errors(f"list {prefix}"):
            return list_refs(self.common, prefix)

    def move(
        self,
        ref: str,
        expected: str | None,
        new: str | None,
        *,
        message: str = "vespera_orchestrator",
        while_locked: Callable[[], None] | None = None,
        held: Held | None = None,
    ) -> None:
        """Move *ref* from *expected* to *new* in one step; ``None`` stands for "does not exist".

        See `RefMove` for the arguments, and `Refs.move`. With *held*, the caller is within
        `holding` for *new*.

        Raises:
            RefMovedError: It is not at *expected*, or objects of *new* were pruned before a ref
                held them. Nothing was changed; make *new* again.
            GitFailedError: Git refused, e.g. because another program holds the ref's lock.
        """
        move = RefMove(
            ref=ref,
            expected=expected,
            new=new,
            message=message,
            while_locked=while_locked,
            held=held,
        )
        if new is None or held is not None:
            self._refs.move(move)
            return
        with self.holding([new], expected=expected, ref=ref) as held_now:
            self._refs.move(attrs.evolve(move, held=held_now))

    def confirm(self, ref: str, commit: str | None) -> None:
        """Check that *ref* names *commit*, also after a power cut; nothing is written.

        ``None`` stands for "does not exist".

        Raises:
            RefMovedError: It names something else.
        """
        self._refs.confirm(ref, commit)

    @contextmanager
    def holding(
        self,
        commits: Collection[str],
        *,
        expected: str | None,
        ref: str,
        known: Iterable[str | None] = (),
        staging: Staging | None = None,
    ) -> Iterator[Held | None]:
        """Keep everything that *commits* need until the block ends, and put it on disk.

        Args:
            commits: What refs are going to name within the block.
            expected: What one of these refs names now.
            ref: Its name, for the error.
            known: Further commits that refs name, and that are on disk therefore. They are not
                looked at again, which matters for a long history.
            staging: Where their new objects are.

        Yields:
            What to move the refs with; ``None`` without *commits*.

        Raises:
            RefMovedError: An object was pruned or is damaged: make the commit again.
        """
        if not commits:
            yield None
            return
        staging = staging or self.staging()
        try:
            repo = self._hold(commits, expected, ref, known, staging)
            yield Held(repo, staging)
        finally:
            has_new_packs = staging.release()
        if has_new_packs and has_many_packs(self.common):
            self._gather_packs()

    def _hold(
        self,
        commits: Collection[str],
        expected: str | None,
        ref: str,
        known: Iterable[str | None],
        staging: Staging,
    ) -> pygit2.Repository:
        @retrying(OBJECT_ERRORS, times=_TRIES_BESIDE_GC)
        def hold() -> pygit2.Repository:
            repo = self.open()
            pack = hold_objects(
                repo,
                commits,
                self._known_commits(repo, expected, self.tip(ref), *known),
                expected=expected,
                kept=staging.kept_names(),
                durable=self.is_durable,
            )
            if pack is not None:
                staging.keep(pack)
            return repo

        with git_errors(f"put on disk what {ref} is to name"):
            staging.write()
            try:
                return hold()
            except (KeyError, pygit2.GitError) as exc:
                self.is_suspect = True
                reason = f"an object of its new commit cannot be read ({exc})"
                raise RefMovedError(ref, expected or "", reason=reason) from exc

    def _known_commits(self, repo: pygit2.Repository, *others: str | None) -> KnownCommits:
        """Return commits that refs name, and that are on disk with all they need.

        Each may be pruned before it is read, where its ref has moved on and git tidies up.
        """

        def sound(names: Iterable[str | None]) -> set[str]:
            return {name for name in names if name is not None and is_sound(repo, name)}

        near = (*others, self._head_in(self.common), self.tip(self.integration_ref))
        return KnownCommits(near=sound(near), list_others=lambda: sound(self.refs(WIP).values()))

    def _gather_packs(self) -> None:
        # It only saves time later: whatever is in the way, the next one tries again.
        in_the_way = (WorktreeError, OSError, ValueError, KeyError, pygit2.GitError)
        with suppress(*in_the_way), self.lock("packs", patience_s=0):
            release_abandoned_packs(self.common)
            gather_packs(self.open())

    def sync_tree(self, tree: str, known: Iterable[str]) -> None:
        """Put *tree* on disk, unless durability is relaxed.

        Args:
            tree: The tree.
            known: Commits that are on disk with all they need; what they have is not looked at.
        """
        if self.is_durable:
            sync_tree(self.open(), tree, known)

    def sync_files(self, *files: Path) -> None:
        """Put the bytes of *files* on disk, unless durability is relaxed."""
        if self.is_durable:
            for file in files:
                sync_file(file)

    def sync_names(self, folder: Path) -> None:
        """Put the names in *folder* on disk, unless durability is relaxed."""
        if self.is_durable:
            sync_folder(folder)

    def maybe_locked_refs(self) -> list[str]:
        """Return the refs of ours on which a killed process may have left a lock."""
        return self._refs.maybe_locked(self.integration_ref)

    def clear_locks_before(self, moment: float) -> None:
        """Remove locks on refs of ours that are older than *moment*, when the system was started.

        Whoever held them is gone.
        """
        self._refs.clear_locks_before(moment, self.integration_ref)

    def clear_stale_lock(self, ref: str) -> bool:
        """Remove the lock on *ref* if no living process can hold it. See `Refs.clear_stale_lock`.

        Returns:
            Whether there was one.
        """
        return self._refs.clear_stale_lock(ref)


def _relative_home(home: Path, common: Path) -> str:
    """Return a path that stays when both are moved; empty where the home is not beside *common*."""
    relative = os.path.relpath(home, common)
    levels_up = Path(relative).parts.count(os.pardir)
    return relative if levels_up <= _NEAR else ""


def branch_ref(branch: str, argument: str) -> str:
    """Return the full name of *branch*.

    Raises:
        InvalidInputError: It cannot be a branch's name.
    """
    if not _can_name_a_branch(branch):
        reason = f"{show_value(branch)} cannot name a branch; use letters, digits, - _ / ."
        raise InvalidInputError(argument, reason)
    return f"refs/heads/{branch}"


def _can_name_a_branch(branch: object) -> bool:
    if not isinstance(branch, str) or not branch.isprintable():
        return False
    if branch.startswith("-") or branch == "HEAD" or len(branch) > _MOST_BRANCH_CHARS:
        return False
    # Each part is a file, and git puts ".lock" behind it.
    if any(len(part.encode()) > _MOST_PART_BYTES for part in branch.split("/")):
        return False
    return bool(pygit2.reference_is_valid_name(f"refs/heads/{branch}"))


def linked_folder(admin: Path) -> Path:
    """Return the folder that an admin directory belongs to.

    One that does not exist, where the admin directory does not say.
    """
    try:
        text = os.fsdecode(read_small_file(admin / "gitdir")).strip()
    except (FileNotFoundError, NotADirectoryError):
        return admin / "nowhere"
    if not text:
        return admin / "nowhere"
    git_file = Path(text)
    # Newer versions of git can write a path relative to the admin directory.
    return git_file.parent if git_file.is_absolute() else (admin / text).parent.resolve()


def leads_to(folder: Path, git_dir: Path) -> bool:
    """Tell whether the ``.git`` file in *folder* names *git_dir*."""
    target = git_file_target(folder)
    return target is not None and is_same_place(target, git_dir)


def is_same_place(one: Path, other: Path) -> bool:
    """Tell whether two paths, which need not exist, mean the same place."""
    return one == other or one.resolve() == other.resolve()


def is_sound(repo: pygit2.Repository, name: str) -> bool:
    """Tell whether a commit is there, with its top folder and what it builds on.

    In a shallow clone the oldest commits have parents that nobody has fetched.
    """
    try:
        commit = repo[name].peel(pygit2.Commit)
    except (KeyError, ValueError, pygit2.GitError):
        return False
    needed = [commit.tree_id] if repo.is_shallow else [commit.tree_id, *commit.parent_ids]
    return all(each in repo for each in needed)


def message_of(repo: pygit2.Repository, commit: str) -> str:
    """Return the message of a commit, read as UTF-8.

    Whoever writes a commit can name any encoding, and pygit2 raises where Python knows none of
    that name.
    """
    raw: bytes = repo[commit].peel(pygit2.Commit).raw_message
    return raw.decode("utf-8", "replace")


def has_ancestor(repo: pygit2.Repository, commit: str, ancestor: str) -> bool:
    """Tell whether *ancestor* is *commit* itself or in its history."""
    if commit == ancestor:
        return True
    return bool(repo.descendant_of(commit, ancestor))


def _is_checkout_of(folder: Path, admin: Path) -> bool:
    """Tell whether *folder* is the checkout that the admin directory is for.

    In a copied repository the admin directory still names the folder of the original.
    """
    target = git_file_target(folder)
    if target is None:
        return False
    return is_same_place(target, admin) or not os.path.lexists(target)  # the project was moved


def _checked_out_refs(git_dir: Path) -> set[str]:
    refs: set[str] = set()
    for name in _HEAD_FILES:
        try:
            text = os.fsdecode(read_small_file(git_dir / name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        refs.add(text.removeprefix("ref:").strip())
    return refs
