"""The project's repository, seen from the git directory that all its worktrees share: opening, what it must not use, refs, locks."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

import attrs
import pygit2
from pygit2.enums import ConfigLevel, FileMode, ObjectType

from vespera_orchestrator.errors import (
    GitFailedError,
    InvalidInputError,
    NotARepositoryError,
    RefMovedError,
    UnsupportedRepositoryError,
    VesperaError,
    WorktreeError,
    WorktreeLockedError,
)
from vespera_orchestrator.home.locate import git_common_dir
from vespera_orchestrator.worktrees.tree_merge import changes, folders_above

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from vespera_orchestrator.home.locate import Home

WIP = "refs/vespera/wip/"
"""Latest snapshot of each worktree."""
LANDED = "refs/vespera/landed/"
"""What each worktree had when it was last landed, see ``merge``."""
RESCUE = "refs/vespera/rescue/"
"""Last state of each worktree that was removed."""

_STRIPES = 64
"""Lock files are shared out by hash, so that their number stays bounded; a shared one only makes two callers take turns."""
_OWNER_PATIENCE_S = 120.0
_REF_PATIENCE_S = 2.0
_TRIES = 20
_OLD_GC_S = 43_200.0
"""Git itself takes an older ``gc.pid`` for one that was left behind."""
_HELD_BYTES = 8_000_000
"""Larger objects are not held in memory while a ref moves."""
_OLD_LOCK_S = 600.0
"""A ref lock is held for milliseconds; one that is older than this was left behind."""


@contextmanager
def git_errors(doing: str) -> Iterator[None]:
    """Turn what pygit2 and the system raise inside the block into a `WorktreeError`."""
    try:
        yield
    except VesperaError:
        raise
    except (pygit2.GitError, KeyError, ValueError, OSError) as exc:
        raise _translated(doing, exc) from exc


def _translated(doing: str, exc: Exception) -> WorktreeError:
    text = str(exc)
    for sign, feature, remedy in _REFUSED_BY_LIBGIT2:
        if re.search(sign, text):
            return UnsupportedRepositoryError(feature, remedy)
    if match := re.search(r"unsupported extension name (?:extensions\.)?(\S+)", text):
        return UnsupportedRepositoryError(
            f"the extension {match[1]}", "work without worktrees here, or turn the extension off"
        )
    if match := re.search("'(.+)' is not owned by current user", text):
        return GitFailedError(
            doing,
            f"{match[1]} belongs to another user; if you trust it: git config --global --add safe.directory {match[1]}",
        )
    return GitFailedError(doing, text or type(exc).__name__)


_REFUSED_BY_LIBGIT2 = (
    (
        "unknown object format",
        "sha256 object names",
        "git has no conversion; work without worktrees here, or in a sha1 clone",
    ),
    (
        r"extensions\.refstorage",
        "the reftable ref storage",
        "git refs migrate --ref-format=files (git 2.46 or newer)",
    ),
    (
        "mandatory extension:? 'link'",
        "a split index",
        "install git, or: git config core.splitIndex false && git update-index --no-split-index",
    ),
    (
        "mandatory extension:? 'sdir'",
        "a sparse index",
        "install git, or: git sparse-checkout disable",
    ),
)

_Raw: TypeAlias = "tuple[int, bytes]"
"""An object's type and content."""

_NEVER_MADE = (
    "there is no git repository; make one: git init && git add -A && git commit -m 'first commit'"
)
_NO_COMMIT = "it has no commit yet; make one: git add -A && git commit -m 'first commit'"


@attrs.frozen(kw_only=True)
class _Move:
    """What `ProjectRepository.move` is to do; see there."""

    ref: str
    expected: str | None
    new: str | None
    message: str
    first: Callable[[], None] | None
    brings: Collection[str] | None


class ProjectRepository:
    """The repository around the home's project. Holds no open handle, so it may be shared by threads."""

    def __init__(self, home: Home, common: Path) -> None:
        self.home = home
        self.common = common
        """The git directory that all worktrees share."""
        digest = hashlib.sha256(os.fsencode(home.path)).hexdigest()
        self.workshop = common / "vespera" / digest[:12]
        """Where admin directories are put together and taken apart: on the same file system, out of git's sight."""
        self._clean_trees: set[str] = set()
        self.refuse_to_forget: Callable[[str], None] = lambda _: None
        """Raises where the integration branch must not be made anew from the given commit, because it is known to have had more."""

    @classmethod
    def of(cls, home: Home) -> Self:
        """Find the repository.

        Raises:
            NotARepositoryError: There is none.
        """
        common = git_common_dir(home.project)
        if common is None:
            raise NotARepositoryError(str(home.project), _NEVER_MADE)
        return cls(home, common.resolve())

    def open(self) -> pygit2.Repository:
        """Open the shared repository anew: pygit2's objects must not be shared by threads, and caches must not outlive a call.

        All refs are written through it: libgit2 opened in a linked worktree silently overwrites an existing loose ref.
        """
        with git_errors(f"open the repository {self.common}"):
            return pygit2.Repository(str(self.common))

    def admin(self, name: str) -> Path:
        """Return the admin directory of the worktree of this name."""
        return self.common / "worktrees" / name

    def open_worktree(self, name: str) -> pygit2.Repository:
        """Open a linked worktree by its admin directory, so that a damaged ``.git`` file in its folder cannot mislead."""
        with git_errors(f"open the worktree {name}"):
            return pygit2.Repository(str(self.admin(name)))

    # commits

    @property
    def integration_branch(self) -> str:
        """The branch that finished work goes to."""
        return self.home.config.worktrees.integration_branch

    @property
    def integration_ref(self) -> str:
        """Its full name.

        Raises:
            InvalidInputError: The configured name is no branch name.
        """
        return branch_ref(self.integration_branch, "integration_branch")

    def head(self, repo: pygit2.Repository) -> str:
        """Return the commit that is checked out in the main worktree.

        Raises:
            NotARepositoryError: There is no commit yet.
        """
        if repo.head_is_unborn:
            raise NotARepositoryError(str(self.home.project), _NO_COMMIT)
        return str(repo.head.peel(pygit2.Commit).id)

    def tip(self, ref: str) -> str | None:
        """Return the commit that *ref* names, or ``None``."""
        with git_errors(f"read {ref}"):
            return read_ref(self.common, ref)

    def refs(self, prefix: str) -> dict[str, str]:
        """Return the refs below *prefix* and what they name."""
        with git_errors(f"list {prefix}"):
            return {
                name: target
                for name in _ref_names(self.common, prefix)
                if (target := read_ref(self.common, name)) is not None
            }

    def worktree_head(self, name: str) -> str | None:
        """Return the commit that is checked out in the worktree of this name, or ``None`` on a branch without a commit."""
        with git_errors(f"read HEAD of the worktree {name}"):
            text = (_read_if_there(self.admin(name) / "HEAD") or "").strip()
            return (
                read_ref(self.common, text.removeprefix("ref:").strip())
                if text.startswith("ref:")
                else text or None
            )

    def starting_points(self) -> list[str]:
        """Return the commits that a worktree may start from: the head of the integration branch, and HEAD. Nothing is written.

        Raises:
            NotARepositoryError: There is no commit yet.
        """
        tip = self.tip(self.integration_ref)
        with git_errors("read HEAD"):
            repo = self.open()
            head = None if tip is not None and repo.head_is_unborn else self.head(repo)
        return [commit for commit in (tip, head) if commit is not None]

    def integration_tip(self) -> str:
        """Return the head of the integration branch; where it is missing it is made from the main worktree's HEAD.

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
        """Fast-forward the integration branch to HEAD where it is strictly behind and checked out nowhere; return its head."""
        tip = self.integration_tip()
        with git_errors(f"compare {self.integration_branch} with HEAD"):
            repo = self.open()
            if repo.head_is_unborn:
                return tip
            head = self.head(repo)
            behind = head != tip and repo.descendant_of(head, tip)
        if not behind or self.checked_out(self.integration_branch) is not None:
            return tip
        try:
            self.move(
                self.integration_ref,
                tip,
                head,
                message="vespera_orchestrator: fast-forward to HEAD",
            )
        except RefMovedError:
            return self.integration_tip()
        return head

    def has(self, commit: str) -> bool:
        """Tell whether the repository has the object *commit*."""
        with git_errors(f"look for {commit}"):
            return commit in self.open()

    def reaches(self, commit: str, from_commits: list[str]) -> bool:
        """Tell whether *commit* is one of *from_commits* or an ancestor of one."""
        repo = self.open()
        return any(start == commit or repo.descendant_of(start, commit) for start in from_commits)

    # what is checked out where

    def checked_out(self, branch: str) -> Path | None:
        """Return the folder in which *branch* is checked out or being rebased, or ``None``."""
        return next((folder for _, folder in self.holders(branch)), None)

    def holders(self, branch: str) -> list[tuple[Path, Path]]:
        """Return the git directory and the folder of every checkout that has *branch*, or is rebasing it.

        Read from the files: libgit2 gives wrong answers while another process makes a worktree.
        """
        ref = f"refs/heads/{branch}"
        return [
            (git_dir, folder)
            for git_dir, folder in self._checkouts()
            if folder.exists() and ref in _held_refs(git_dir)
        ]

    def _checkouts(self) -> Iterator[tuple[Path, Path]]:
        if not self.open().is_bare:
            yield self.common, self.home.project
        for admin in self.admins():
            yield admin, linked_folder(admin)

    def admins(self) -> list[Path]:
        """Return the admin directories of all linked worktrees."""
        try:
            return sorted(self.common.joinpath("worktrees").iterdir())
        except FileNotFoundError:
            return []

    # refs

    def move(
        self,
        ref: str,
        expected: str | None,
        new: str | None,
        *,
        message: str = "vespera_orchestrator",
        first: Callable[[], None] | None = None,
        brings: Collection[str] | None = None,
    ) -> None:
        """Move *ref* from *expected* to *new* in one step; ``None`` stands for "does not exist". Moving it to where it is does nothing.

        A process that was killed in the middle leaves a lock file behind; the next move of the ref takes it away, on the evidence that
        the first one left.

        Args:
            ref: The ref.
            expected: The commit that it names.
            new: The commit that it is to name.
            message: For its log.
            first: Called while the ref is locked and at *expected*; if it raises, the ref does not move.
            brings: The trees and blobs that were written for *new*; by default they are found by comparing its files.

        Raises:
            RefMovedError: It is not at *expected*, or objects of *new* were pruned before a ref held them. Nothing was changed; make
                *new* again.
            GitFailedError: Git refused, e.g. because another program holds the ref's lock.
        """
        with git_errors(f"move {ref}"), self.lock(f"ref {ref}"):
            self.clear_dead_move(ref)
            evidence = self._evidence(ref)
            evidence.write_text(ref, "utf-8")
            try:
                self._move_patiently(
                    _Move(
                        ref=ref,
                        expected=expected,
                        new=new,
                        message=message,
                        first=first,
                        brings=brings,
                    )
                )
            finally:
                evidence.unlink(missing_ok=True)

    def _move_patiently(self, move: _Move) -> None:
        deadline = time.monotonic() + _REF_PATIENCE_S
        while True:
            try:
                self._move_once(move)
                # A `git pack-refs` that read the ref just before we removed it writes it back; then it is removed again.
                if (
                    move.new is not None
                    or move.expected is None
                    or self.tip(move.ref) != move.expected
                ):
                    return
            except pygit2.GitError as exc:
                if not re.search("failed to (lock|create locked) file", str(exc)):
                    raise
                if time.monotonic() > deadline:
                    hint = "another git process holds it; when none is running, delete that file"
                    raise GitFailedError(f"move {move.ref}", f"{exc}; {hint}") from exc
                time.sleep(0.01)

    def _move_once(self, move: _Move) -> None:
        repo = self.open()
        with repo.transaction() as transaction:
            transaction.lock_ref(move.ref)
            found = read_ref(self.common, move.ref)
            if found == move.new:
                return
            if found != move.expected:
                raise RefMovedError(move.ref, move.expected or "", found or "")
            if move.new is None:
                self._remove_packed(move.ref)
                self.common.joinpath(move.ref).unlink(missing_ok=True)
                _forget_reflog(self.common, move.ref)
                return
            brought = _brought(repo, move)
            if move.first is not None:
                move.first()
            transaction.set_target(move.ref, move.new, None, move.message)
        self._hold_against_gc(brought)

    def _remove_packed(self, ref: str) -> None:
        """Take *ref* out of ``packed-refs``, under its lock and before its own file goes: what is packed may be years old.

        libgit2 is not let near it: it reads ``packed-refs`` before it locks it (libgit2 #1534), so that what a ``git pack-refs`` writes in
        between is written over. The refs that were packed just then go back to an old value or are lost, and with them what others landed.
        """
        path, lock, mine = (
            self.common / "packed-refs",
            self.common / "packed-refs.lock",
            self._packing(ref),
        )
        if not _is_packed(path, ref):
            return
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.unlink(missing_ok=True)
        mine.touch()
        try:
            os.link(mine, lock)  # so that after a kill the lock is known for ours
        except FileExistsError as exc:
            raise pygit2.GitError(f"failed to lock file '{lock}' for writing") from exc
        try:
            with mine.open("wb") as stream:
                stream.writelines(
                    _without(path.read_bytes().splitlines(keepends=True), os.fsencode(ref))
                )
                stream.flush()
                os.fsync(stream.fileno())
            lock.replace(path)
        except BaseException:
            lock.unlink(missing_ok=True)
            raise
        finally:
            mine.unlink(missing_ok=True)

    def _packing(self, ref: str) -> Path:
        return self.workshop / f"packing-{hashlib.sha256(ref.encode()).hexdigest()[:24]}"

    def _hold_against_gc(self, brought: dict[str, _Raw | None]) -> None:
        """Write objects anew that a ``git gc --prune=now`` took away because it had read the refs before one held them.

        It deletes whatever no ref held then, however young. As long as one runs they go into a pack, which it leaves alone when it did
        not see it at its start. The next one sees the ref.
        """
        for remaining in reversed(range(_TRIES)):
            running = self._is_gc_running()
            repo = self.open()
            for name, raw in brought.items():
                if raw is not None and name not in repo:
                    repo.write(*raw)
            if not running:
                return
            try:
                repo.pack(
                    pack_delegate=lambda builder: [
                        builder.add(pygit2.Oid(hex=name)) for name in brought
                    ],
                    n_threads=1,
                )
            except (KeyError, pygit2.GitError):  # it has just come by
                if not remaining:
                    raise
            else:
                return

    def _is_gc_running(self) -> bool:
        try:
            return time.time() - self.common.joinpath("gc.pid").stat().st_mtime < _OLD_GC_S
        except FileNotFoundError:
            return False

    def _evidence(self, ref: str) -> Path:
        return self.home.locks / f"moving-{hashlib.sha256(ref.encode()).hexdigest()[:24]}"

    def clear_dead_move(self, ref: str) -> bool:
        """Remove the lock file that a killed process of ours left on *ref*, under the ref's lock; return whether there was one.

        Whoever holds our lock of the ref is the only one of us that may be moving it, so evidence of another move is that of a dead one.
        """
        evidence = self._evidence(ref)
        try:
            since = evidence.stat().st_mtime
        except FileNotFoundError:
            return False
        cleared = _unlink_if(self.common / f"{ref}.lock", newer_than=since)
        lock, mine = self.common / "packed-refs.lock", self._packing(ref)
        with suppress(FileNotFoundError):
            if lock.samefile(mine):
                lock.unlink()
                cleared = True
        mine.unlink(missing_ok=True)
        evidence.unlink(missing_ok=True)
        return cleared

    def clear_stale_locks(self) -> Iterator[str]:
        """Remove lock files from refs of ours that no living process can be holding, and name each ref."""
        refs = [
            str(p.relative_to(self.common))[: -len(".lock")]
            for p in self.common.joinpath("refs", "vespera").rglob("*.lock")
        ]
        refs += [path.read_text("utf-8") for path in self.home.locks.glob("moving-*")]
        for ref in sorted({*refs, self.integration_ref}):
            with self.lock(f"ref {ref}"):
                dead = self.clear_dead_move(ref)
                if dead or _unlink_if(
                    self.common / f"{ref}.lock", older_than=time.time() - _OLD_LOCK_S
                ):
                    yield ref

    # locks between processes

    @contextmanager
    def lock(
        self, what: str, *, patience_s: float = _OWNER_PATIENCE_S, poll_s: float = 0.003
    ) -> Iterator[None]:
        """Keep other threads and processes that use this home away from *what* during the block.

        Raises:
            WorktreeLockedError: Somebody else held it all the time.
        """
        from filelock import FileLock, Timeout

        stripe = int.from_bytes(hashlib.sha256(os.fsencode(what)).digest()[:4]) % _STRIPES
        path = self.home.locks / f"{what.split(maxsplit=1)[0]}-{stripe:02}.lock"
        lock = FileLock(path)
        try:
            self.home.locks.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience_s, poll_interval=poll_s)
        except Timeout as exc:
            raise WorktreeLockedError(what, round(patience_s), str(path)) from exc
        except OSError as exc:
            raise GitFailedError(f"lock {path}", str(exc)) from exc
        try:
            yield
        finally:
            lock.release()

    # who we are

    def signatures(self, repo: pygit2.Repository) -> tuple[pygit2.Signature, pygit2.Signature]:
        """Return author and committer: from the environment, from git's configuration, or ours.

        libgit2 itself ignores the environment and raises without a configuration.
        """
        config = _settings(repo)
        return _signature("author", config), _signature("committer", config)

    def excludes_file(self, repo: pygit2.Repository) -> Path:
        """Return the file in which the user says what is ignored everywhere; it need not exist."""
        chosen = _settings(repo).get("core.excludesfile") or Path(
            os.environ.get("XDG_CONFIG_HOME") or "~/.config", "git", "ignore"
        )
        return Path(os.path.expanduser(chosen))  # noqa: PTH111 - must not raise without a home

    # what would be handled wrongly

    def refuse_unsupported(self, *commits: str) -> None:
        """Check that nothing is in use which libgit2 would get wrong, in the configuration or in the files of *commits*.

        Raises:
            UnsupportedRepositoryError: Names the feature and the remedy.
        """
        with git_errors("look at the repository's configuration"):
            repo = self.open()
            config = _settings(repo)
            _refuse_configuration(config)
            for path in _attribute_files(self.common, config):
                _refuse_attributes(path.read_bytes(), str(path), config)
            for commit in commits:
                self._refuse_tree(repo, repo[commit].peel(pygit2.Tree), "", config)

    def _refuse_tree(
        self, repo: pygit2.Repository, tree: pygit2.Tree, prefix: str, config: Mapping[str, str]
    ) -> None:
        if str(tree.id) in self._clean_trees:
            return
        for entry in tree:
            if entry.type == ObjectType.TREE:
                self._refuse_tree(repo, entry, f"{prefix}{entry.name}/", config)
            elif entry.name == ".gitattributes" and entry.type == ObjectType.BLOB:
                _refuse_attributes(entry.data, f"{prefix}.gitattributes", config)
        self._clean_trees.add(str(tree.id))


def branch_ref(branch: str, argument: str) -> str:
    """Return the full name of *branch*.

    Raises:
        InvalidInputError: It cannot be a branch's name.
    """
    ref = f"refs/heads/{branch}"
    if (
        branch.startswith("-")
        or branch == "HEAD"
        or not branch.isprintable()
        or not pygit2.reference_is_valid_name(ref)
    ):
        raise InvalidInputError(
            argument, f"{branch!r} cannot name a branch; use letters, digits, - _ / ."
        )
    return ref


def linked_folder(admin: Path) -> Path:
    """Return the folder that an admin directory belongs to; one that does not exist when it does not say."""
    try:
        text = os.fsdecode(admin.joinpath("gitdir").read_bytes()).strip()
    except (FileNotFoundError, NotADirectoryError):
        return admin / "nowhere"
    return (admin / text).parent if text else admin / "nowhere"


def _held_refs(git_dir: Path) -> set[str]:
    held = set()
    for name in ("HEAD", "rebase-merge/head-name", "rebase-apply/head-name"):
        try:
            text = os.fsdecode(git_dir.joinpath(name).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        held.add(text.removeprefix("ref:").strip())
    return held


def read_ref(common: Path, ref: str) -> str | None:
    """Return the commit that *ref* names, read from git's own files, or ``None``.

    libgit2 looks for the ref's own file, then into ``packed-refs``, and does not look again: a ref that was packed, and is written as a
    file of its own between the two looks, is answered with its old value.
    """
    for _ in range(_MOST_LINKS):
        loose = _read_if_there(common / ref)
        if loose is None:
            return _packed(common, ref)
        if not loose.startswith("ref:"):
            return loose.strip()
        ref = loose.removeprefix("ref:").strip()
    return None


_MOST_LINKS = 5
"""Git follows so many symbolic refs."""


def _ref_names(common: Path, prefix: str) -> list[str]:
    """Return the names of all refs below *prefix*, which ends with a slash.

    Loose ones first: a ref that is packed between the two looks is found by the second one.
    """
    loose = (
        Path(place, name)
        for place, _, names in os.walk(common / prefix)
        for name in names
        if not name.endswith(".lock")
    )
    found = {path.relative_to(common).as_posix() for path in loose}
    lines = (_read_if_there(common / "packed-refs") or "").splitlines()
    packed = (line.partition(" ")[2] for line in lines if not line.startswith(("#", "^")))
    return sorted(found.union(name for name in packed if name.startswith(prefix)))


def _packed(common: Path, ref: str) -> str | None:
    for line in (_read_if_there(common / "packed-refs") or "").splitlines():
        commit, _, name = line.partition(" ")
        if name == ref:
            return commit
    # Between the two reads it may have been written as a file of its own.
    loose = _read_if_there(common / ref)
    return None if loose is None or loose.startswith("ref:") else loose.strip()


def _is_packed(path: Path, ref: str) -> bool:
    return any(line.partition(" ")[2] == ref for line in (_read_if_there(path) or "").splitlines())


def _without(lines: list[bytes], ref: bytes) -> Iterator[bytes]:
    inside = False
    for line in lines:
        # A line that begins with ^ tells what the annotated tag above it stands for.
        inside = inside if line.startswith(b"^") else line.rstrip(b"\n").partition(b" ")[2] == ref
        if not inside:
            yield line


def _read_if_there(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _brought(repo: pygit2.Repository, move: _Move) -> dict[str, _Raw | None]:
    """Return the objects that *move* brings; ``None`` stands for one that is too large to be held in memory.

    Raises:
        RefMovedError: One of them is gone: a ``git gc --prune=now`` ran before a ref held them.
    """
    commit = str(move.new)
    names = [commit]
    try:
        if move.brings is not None:
            names += move.brings
        elif known := move.expected or next(
            (str(parent) for parent in repo[commit].parent_ids), None
        ):
            names += _added(repo[commit].tree, repo[known].peel(pygit2.Tree))
        return {name: _raw(repo, name) for name in names}
    except (KeyError, pygit2.GitError) as exc:
        raise RefMovedError(
            move.ref, move.expected or "", "a commit whose objects were pruned meanwhile"
        ) from exc


def _raw(repo: pygit2.Repository, name: str) -> _Raw | None:
    _, size = repo.odb.read_header(name)
    return None if size > _HELD_BYTES else repo.read(name)


def _added(tree: pygit2.Tree, known: pygit2.Tree) -> Iterator[str]:
    """Yield the blobs and trees of *tree*, itself included, that *known* does not have in the same place."""
    if tree.id == known.id:
        return
    yield str(tree.id)
    folders = set()
    for path, (_, file) in changes(known, tree).items():
        folders |= set(folders_above(path))
        if file is not None and file[1] != FileMode.COMMIT:
            yield file[0]
    yield from (str(tree[folder].id) for folder in folders if folder in tree)


def _forget_reflog(common: Path, ref: str) -> None:
    # A transaction leaves the reflog of a branch it removes, and that then stands in the way of other names.
    log = common / "logs" / ref
    log.unlink(missing_ok=True)
    for folder in log.parents:
        if folder in (common / "logs" / "refs" / "heads", common):
            return
        try:
            folder.rmdir()
        except OSError:
            return


def _unlink_if(
    path: Path, *, newer_than: float | None = None, older_than: float | None = None
) -> bool:
    try:
        modified = path.stat().st_mtime
    except FileNotFoundError:
        return False
    # File times are coarse: a lock made within the same tick as the evidence counts as newer.
    if (newer_than is not None and modified < newer_than - 0.1) or (
        older_than is not None and modified > older_than
    ):
        return False
    path.unlink(missing_ok=True)
    return True


def _settings(repo: pygit2.Repository) -> dict[str, str]:
    """Return git's configuration; of a name that is set several times, the value that counts."""
    entries = list(repo.config)  # from the lowest level to the highest
    elsewhere = os.environ.get("GIT_CONFIG_GLOBAL")
    if (
        elsewhere is not None
    ):  # git reads it instead of the user's own files; libgit2 knows nothing of it
        chosen = list(pygit2.Config(elsewhere)) if Path(elsewhere).is_file() else []
        system = [entry for entry in entries if entry.level <= ConfigLevel.SYSTEM]
        entries = system + chosen + [entry for entry in entries if entry.level >= ConfigLevel.LOCAL]
    return {entry.name: entry.value or "true" for entry in entries}


def _signature(role: str, config: Mapping[str, str]) -> pygit2.Signature:
    def chosen(field: str, default: str) -> str:
        candidates = (
            os.environ.get(f"GIT_{role.upper()}_{field.upper()}"),
            config.get(f"{role}.{field}"),
            config.get(f"user.{field}"),
        )
        cleaned = (re.sub(r"[<>\x00-\x1f]", "", text or "").strip() for text in candidates)
        return next((text for text in cleaned if text), default)

    return pygit2.Signature(
        chosen("name", "vespera_orchestrator"), chosen("email", "vespera@localhost")
    )


# --- features ---------------------------------------------------------------

_FALSE = frozenset({"false", "no", "off", "0", ""})

_REFUSED_SETTINGS = (
    (r"core\.sparsecheckout", "sparse checkout", "git sparse-checkout disable"),
    (
        r"remote\..*\.promisor|extensions\.partialclone",
        "a partial clone",
        "clone it again without --filter",
    ),
)


def _refuse_configuration(config: Mapping[str, str]) -> None:
    if config.get("extensions.objectformat", "sha1").lower() != "sha1":
        raise UnsupportedRepositoryError(*_REFUSED_BY_LIBGIT2[0][1:])
    if config.get("extensions.refstorage", "files").lower() != "files":
        raise UnsupportedRepositoryError(*_REFUSED_BY_LIBGIT2[1][1:])
    for pattern, feature, remedy in _REFUSED_SETTINGS:
        if any(
            re.fullmatch(pattern, name) and value.lower() not in _FALSE
            for name, value in config.items()
        ):
            raise UnsupportedRepositoryError(feature, remedy)


def _attribute_files(common: Path, config: Mapping[str, str]) -> list[Path]:
    default = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "git", "attributes")
    candidates = (
        common / "info" / "attributes",
        Path(config.get("core.attributesfile") or default),
    )
    return [
        path
        for candidate in candidates
        if (path := Path(os.path.expanduser(candidate))).is_file()  # noqa: PTH111
    ]


def _refuse_attributes(text: bytes, place: str, config: Mapping[str, str]) -> None:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(b"#")]
    words = {word.decode("utf-8", "replace") for line in lines for word in line.split()[1:]}
    for word in sorted(words):
        name, _, value = word.partition("=")
        # A filter that has no driver does nothing, in git as in libgit2. LFS counts always: its driver may come at any time.
        if name == "filter" and (
            value == "lfs" or any(key.startswith(f"filter.{value}.") for key in config)
        ):
            feature = "Git LFS" if value == "lfs" else f"the filter {value!r}"
            raise UnsupportedRepositoryError(f"{feature} ({place})", _NO_ATTRIBUTE_REMEDY)
        if name == "working-tree-encoding" and value.lower() not in ("utf-8", "utf8", ""):
            raise UnsupportedRepositoryError(
                f"working-tree-encoding={value} ({place})", _NO_ATTRIBUTE_REMEDY
            )


_NO_ATTRIBUTE_REMEDY = "take the attribute away, or work without worktrees in this repository; everything else of the orchestrator works"
