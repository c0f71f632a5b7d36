"""Objects that are gone although a ref of ours names them: told, and gone on without.

Nothing of ours takes them away. A disk does, a copy of the repository without everything, a power
cut beside another git, or a ``git prune`` that began while a process of ours was asleep. Such a ref
would make each later call fail, and the user's own ``git gc`` as well. So what is still there of it
is kept in a new commit, the ref moves to that, and whoever comes by is told what is missing.
"""

from __future__ import annotations

import logging
import os
import re
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import FileMode, ObjectType, SortMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import WorktreeState
from vespera_orchestrator.home.files import translate_os_error, write_atomically
from vespera_orchestrator.home.reading import MOST_GIT_BYTES, read_small_text
from vespera_orchestrator.worktrees.git_config import read_signatures
from vespera_orchestrator.worktrees.landed_mark import LandedMark
from vespera_orchestrator.worktrees.nested import own_parents
from vespera_orchestrator.worktrees.operation import operation_line, operation_of
from vespera_orchestrator.worktrees.ownership import find_place
from vespera_orchestrator.worktrees.paths import display_paths
from vespera_orchestrator.worktrees.refs import HISTORY, LANDED, RESCUE, WIP
from vespera_orchestrator.worktrees.repository import is_sound, message_of
from vespera_orchestrator.worktrees.rescue import name_saved_again
from vespera_orchestrator.worktrees.retention import EarlierSnapshot, read_history, write_history
from vespera_orchestrator.worktrees.snapshot import is_snapshot_message
from vespera_orchestrator.worktrees.snapshot_index import SnapshotIndex
from vespera_orchestrator.worktrees.translation import OBJECT_ERRORS, git_errors
from vespera_orchestrator.worktrees.tree_entries import (
    FOLDER,
    MOST_LEVELS,
    MOST_PATHS,
    read_entries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.worktrees.repository import ProjectRepository

log = logging.getLogger("vespera_orchestrator")

_OBJECT_NAME: Final = re.compile("[0-9a-f]{40}")
_NO_COMMIT: Final = "0" * 40
_PAUSES_S: Final = (0.05, 0.2, 0.5, 1.0)
"""How long to wait until something counts as gone, in seconds."""
_DAMAGE: Final = (*OBJECT_ERRORS, ValueError, TypeError)
"""What reading a damaged object raises."""


# --- looking ----------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Loss:
    """A ref of ours that names something of which objects are missing."""

    worktree: str
    ref: str
    commit: str
    """What the ref names."""
    what: str
    """What it keeps, in words."""
    missing: str
    """What is missing of that, in words."""

    @property
    def sentence(self) -> str:
        """What is wrong."""
        place = f"{self.ref} at {self.commit[:12]}" if self.commit else self.ref
        return f"git has lost {self.missing} of {self.what} of {self.worktree} ({place})"


def find_losses(repository: ProjectRepository, worktree: Worktree) -> Iterator[Loss]:
    """Yield what is missing of a worktree's own refs. Reads every folder once, and no file."""
    looking = _Looking(repository, thorough=True)
    yield from looking.losses(worktree)


def find_rescue_losses(repository: ProjectRepository) -> Iterator[Loss]:
    """Yield what is missing of what was kept of removed worktrees."""
    looking = _Looking(repository, thorough=True)
    for ref, commit in repository.refs(RESCUE).items():
        missing = looking.missing_of(commit)
        if missing:
            name = ref.removeprefix(RESCUE).rpartition("-")[0]
            kept = "what was kept"
            yield Loss(worktree=name, ref=ref, commit=commit, what=kept, missing=missing)


class _Looking:
    """Tells whether commits have all they need; remembers the folders that have."""

    def __init__(self, repository: ProjectRepository, *, thorough: bool) -> None:
        """Open the repository.

        Args:
            repository: The repository.
            thorough: Whether to look for every file and commit; otherwise only for the commit, its
                parents and the top folder, which takes no time.
        """
        self.repo = repository.open()
        self._repository = repository
        self._thorough = thorough
        self._whole: set[str] = set()
        self._counts: dict[bytes, int] = {}

    @cached_property
    def _known(self) -> list[str]:
        """The integration branch, whose history is not looked at. A quick look needs it rarely."""
        tip = self._repository.tip(self._repository.integration_ref)
        return [] if tip is None or not is_sound(self.repo, tip) else [tip]

    def losses(self, worktree: Worktree) -> Iterator[Loss]:
        """Yield what is missing of a worktree's refs, in the order in which it can be mended."""
        looks: tuple[tuple[str, str, Callable[[str], str]], ...] = (
            (HISTORY, "the earlier snapshots", self._missing_of_history),
            (WIP, "the last snapshot", self.missing_of),
            (LANDED, "the note of what has landed", self._missing_of_mark),
        )
        for prefix, what, look in looks:
            ref = prefix + worktree.name
            commit = self._repository.tip(ref)
            missing = "" if commit is None else look(commit)
            if commit is not None and missing:
                yield Loss(
                    worktree=worktree.name, ref=ref, commit=commit, what=what, missing=missing
                )

    def missing_of(self, name: str) -> str:
        """Return what is missing of a commit, in words; nothing where it is whole."""
        commit = self.commit(name)
        if commit is None:
            return "the commit"
        lost = [os.fsdecode(path) for path, _ in self.lost_files(commit)]
        if lost == ["."]:
            return "all files"
        if lost:
            return display_paths(lost)
        if any(parent not in self.repo for parent in self._parents(commit)):
            return "a commit at the root"
        if self._thorough and not self.leads_back(name):
            return "a commit at the root"
        return ""

    def leads_back(self, name: str) -> bool:
        """Tell whether all commits are there that *name* has beyond the integration branch."""
        walker = self.repo.walk(pygit2.Oid(hex=name), SortMode.NONE)
        try:
            for commit in self._known:
                walker.hide(pygit2.Oid(hex=commit))
            for _ in walker:
                pass
        except _DAMAGE:
            return False
        return True

    def _missing_of_mark(self, name: str) -> str:
        commit = self.commit(name)
        mark = None if commit is None else LandedMark.read(self.repo, name)
        if mark is not None and mark.seen not in self.repo:
            return ""  # the integration branch has a hole: that is not mended by forgetting
        missing = self.missing_of(name)
        if mark is not None and mark.origin is not None and mark.origin not in self.repo:
            return "the files at the root"
        return missing

    def _missing_of_history(self, name: str) -> str:
        if not self._thorough:  # there may be hundreds; who adds one comes upon what is gone
            return "" if self.commit(name) is not None else "the commit"
        missing = self.missing_of(name)
        if missing:
            return missing
        for snapshot in read_history(self.repo, name):
            missing = self.missing_of(snapshot.commit)
            if missing:
                return f"{missing}, in {snapshot.commit[:12]},"
        return ""

    def commit(self, name: str) -> pygit2.Commit | None:
        """Return a commit; ``None`` where it is gone, or is none."""
        if not _OBJECT_NAME.fullmatch(name):
            return None
        try:
            commit = self.repo[name]
        except _DAMAGE:
            return None
        return commit if isinstance(commit, pygit2.Commit) else None

    def tree(self, name: str) -> pygit2.Tree | None:
        """Return a tree; ``None`` where it is gone."""
        try:
            tree = self.repo[name]
        except _DAMAGE:
            return None
        return tree if isinstance(tree, pygit2.Tree) else None

    def _parents(self, commit: pygit2.Commit) -> list[str]:
        """Return the parents that should be there.

        In a shallow clone the oldest commits have parents that nobody has fetched.
        """
        return [] if self.repo.is_shallow else [str(parent) for parent in commit.parent_ids]

    def lost_files(self, commit: pygit2.Commit) -> Iterator[tuple[bytes, str]]:
        """Yield path and object of what is gone; a dot, or a path with a slash, is a folder."""
        if not self._thorough or self._paths_in(commit.tree_id.raw) <= MOST_PATHS:
            yield from self._lost_in(str(commit.tree_id), b"")

    def _paths_in(self, tree: bytes, level: int = 0) -> int:
        """Count the files and folders that are there; what is too deep counts as too many.

        A giant is nothing that was saved here.
        """
        if level > MOST_LEVELS:
            return MOST_PATHS + 1
        if tree not in self._counts:
            with suppress(*_DAMAGE):
                entries = read_entries(self.repo, tree)
                folders = [entry for mode, _, entry in entries if mode == FOLDER]
                below = sum(self._paths_in(folder, level + 1) for folder in folders)
                self._counts[tree] = len(entries) + below
        return self._counts.get(tree, 0)

    def _lost_in(self, name: str, folder: bytes) -> Iterator[tuple[bytes, str]]:
        if name in self._whole:
            return
        tree = self.tree(name)
        if tree is None:
            yield folder or b".", name
            return
        is_whole = True
        for entry in tree if self._thorough else ():
            for lost in self._lost_at(entry, folder):
                is_whole = False
                yield lost
        if is_whole:
            self._whole.add(name)

    def _lost_at(self, entry: pygit2.Object, folder: bytes) -> Iterator[tuple[bytes, str]]:
        path = folder + entry.raw_name
        if entry.filemode == FileMode.TREE:
            yield from self._lost_in(str(entry.id), path + b"/")
        elif entry.filemode != FileMode.COMMIT and entry.id not in self.repo:
            yield path, str(entry.id)


# --- mending ----------------------------------------------------------------


def mend_losses(
    repository: ProjectRepository, store: Store, worktree: Worktree, *, thorough: bool = False
) -> list[str]:
    """Keep what is left of a worktree's refs, and go on without the rest.

    Call it under the worktree's lock.

    Args:
        repository: The repository.
        store: Its checkpoints name snapshots, where the list of them is gone.
        worktree: The worktree.
        thorough: Whether to look for every file of the snapshots.

    Returns:
        Sentences that say what was missing.
    """
    with git_errors(f"look for what is missing of the worktree {worktree.name}"):
        mending = _Mending(repository, store, worktree, thorough=thorough)
        if repository.tip(WIP + worktree.name) is None:
            _name_again(repository, store, worktree)
        for pause_s in _PAUSES_S:  # a `git gc` that moves objects is done in a moment
            if not mending.is_needed():
                return []
            time.sleep(pause_s)
            mending = _Mending(repository, store, worktree, thorough=thorough)
        reports = list(mending.mend()) if mending.is_needed() else []
    for report in reports:
        log.warning("%s", report)
    return reports


def _name_again(repository: ProjectRepository, store: Store, worktree: Worktree) -> None:
    for record in store.worktrees(name=worktree.name):
        if record.created_at == worktree.created_at:
            name_again(repository, store, record)


def name_again(repository: ProjectRepository, store: Store, record: Worktree) -> bool:
    """Name what was saved of a worktree again, after somebody deleted our refs of it.

    Whoever fetches with ``--prune`` into a mirror deletes every ref that the other side lacks. What
    they named stays until git collects it.

    Returns:
        Whether it was still there.
    """
    return _Mending(repository, store, record, thorough=False).name_again()


def mend_rescued(repository: ProjectRepository) -> Iterator[str]:
    """Keep what is left of removed worktrees; yield a sentence for each that lacks something."""
    known = {loss.ref for loss in find_rescue_losses(repository)}
    if known:
        time.sleep(sum(_PAUSES_S))
    for loss in find_rescue_losses(repository) if known else ():
        with git_errors(f"mend {loss.ref}"):
            salvage = _Salvage(_Looking(repository, thorough=True))
            kept = salvage.rewritten(loss.commit)
            _move(repository, loss, kept)
        yield _report(loss, kept)


def _move(repository: ProjectRepository, loss: Loss, new: str | None) -> None:
    commits = [] if new is None else [new]
    with repository.holding(commits, expected=None, ref=loss.ref) as held:
        repository.move(loss.ref, loss.commit, new, held=held)


def _report(loss: Loss, kept: str | None) -> str:
    rest = "Nothing is left" if kept is None else f"What is left is kept as {kept[:12]}"
    sentence = loss.sentence[0].upper() + loss.sentence[1:]
    return f"{sentence}. {rest}."


class _Mending:
    """Moves the refs of one worktree to what is left."""

    def __init__(
        self, repository: ProjectRepository, store: Store, worktree: Worktree, *, thorough: bool
    ) -> None:
        self._repository = repository
        self._store = store
        self._worktree = worktree
        self._quick = _Looking(repository, thorough=thorough)

    @cached_property
    def _looking(self) -> _Looking:
        return _Looking(self._repository, thorough=True)

    @cached_property
    def _salvage(self) -> _Salvage:
        base = self._worktree.base
        stand_in = base if self._looking.commit(base) else None
        return _Salvage(self._looking, stand_in=stand_in)

    def is_needed(self) -> bool:
        """Tell whether anything is missing."""
        losses = self._quick.losses(self._worktree)
        return any(losses) or self._lost_head() is not None

    def mend(self) -> Iterator[str]:
        """Mend everything of the worktree; yield what was missing."""
        yield from self._write_again()
        yield from self._mend_refs()
        yield from self._mend_head()

    def name_again(self) -> bool:
        """Name what was saved last, and before, where somebody has deleted our refs of it."""
        repository, worktree = self._repository, self._worktree
        if worktree.saved is None or not repository.has_sound(worktree.saved):
            return False
        ref = HISTORY + worktree.name
        history = self._history_again("") if repository.tip(ref) is None else None
        if history is not None:
            repository.move(ref, None, history)
        name_saved_again(repository, worktree, worktree.saved)
        if history is not None and worktree.state == WorktreeState.REMOVED:
            repository.move(ref, history, None)  # the rescue ref leads to it
        return True

    def _write_again(self) -> Iterator[str]:
        """Write files of the last snapshot, or of HEAD, again that the folder still has."""
        repository, worktree = self._repository, self._worktree
        commits = [repository.tip(WIP + worktree.name), worktree.base]
        lost: dict[bytes, str] = {}
        for commit in map(self._looking.commit, filter(None, commits)):
            lost |= dict(() if commit is None else self._looking.lost_files(commit))
        if not lost or not find_place(repository, worktree).is_ours:
            return
        repo = repository.open_worktree(worktree.name)
        if any(path.endswith((b"/", b".")) for path in lost):
            with suppress(*_DAMAGE):
                repo.index.write_tree()  # with all folders
        again = [path for path, name in lost.items() if _is_there_again(repo, path, name)]
        if again:
            paths = display_paths([os.fsdecode(path) for path in again])
            yield (
                f"Git had lost files of the worktree {worktree.name}; "
                f"they were written again from its folder: {paths}."
            )

    def _mend_refs(self) -> Iterator[str]:
        for loss in list(self._quick.losses(self._worktree)):
            if loss.ref.startswith(LANDED):
                # Half of it would be worse than nothing: what is new would be counted wrongly.
                _move(self._repository, loss, None)
                counted = "What is new is counted from where the worktree began"
                yield f"{_report(loss, None)} {counted}."
                continue
            if loss.ref.startswith(WIP):
                kept = self._salvage.rewritten(loss.commit) or self._newest_earlier()
                SnapshotIndex(self._repository, self._worktree).discard()  # it trusts the old one
            else:
                kept = self._history_again(loss.commit)
            _move(self._repository, loss, kept)
            yield _report(loss, kept)

    def _newest_earlier(self) -> str | None:
        tip = self._repository.tip(HISTORY + self._worktree.name)
        earlier = read_history(self._looking.repo, tip)
        return earlier[-1].commit if earlier else None

    def _history_again(self, lost: str) -> str | None:
        """Write the list of earlier snapshots with what is left of them."""
        repo = self._looking.repo
        entries = self._listed(lost)
        rewritten = [(entry, self._salvage.rewritten(entry.commit)) for entry in entries]
        kept = [
            attrs.evolve(entry, commit=commit) for entry, commit in rewritten if commit is not None
        ]
        if not kept:
            return None
        _, committer = read_signatures(repo)
        return write_history(repo, self._worktree.name, kept, committer)

    def _listed(self, lost: str) -> list[EarlierSnapshot]:
        """Return the earlier snapshots as the list has them, else as the checkpoints name them."""
        repo = self._looking.repo
        if self._looking.commit(lost) is not None:
            return read_history(repo, lost)
        last = self._repository.tip(WIP + self._worktree.name)
        with self._store.ledger() as ledger:
            names = [str(row["snapshot"]) for row in ledger.rows("checkpoints") if row["snapshot"]]
        commits = [self._looking.commit(name) for name in dict.fromkeys(names) if name != last]
        return [
            EarlierSnapshot(commit=str(commit.id), at=commit.commit_time, named=True)
            for commit in commits
            if commit is not None
            and is_snapshot_message(message_of(repo, str(commit.id)), self._worktree.name)
        ]

    def _lost_head(self) -> str | None:
        """Return the commit that is checked out, if it is gone."""
        name, repository = self._worktree.name, self._repository
        head = repository.worktree_head(name) if repository.admin(name).exists() else None
        if head is None or head in self._known_heads(self._quick):
            return None
        is_lost = bool(self._quick.missing_of(head)) or not self._quick.leads_back(head)
        return head if is_lost else None

    def _mend_head(self) -> Iterator[str]:
        """Move the worktree's branch back where its last commit is gone. No file is changed."""
        name, repository = self._worktree.name, self._repository
        admin, head = repository.admin(name), self._lost_head()
        last = None if head is None else self._last_known_head()
        if head is None or last is None or last == head:
            return
        file = admin / "HEAD"
        ref = read_small_text(file, MOST_GIT_BYTES, errors="surrogateescape").strip()
        branch = f"refs/heads/{self._worktree.branch}"
        if ref == f"ref: {branch}":
            loss = Loss(worktree=name, ref=branch, commit=head, what="", missing="")
            _move(repository, loss, last)
        elif ref == head:
            try:
                write_atomically(file, f"{last}\n")
            except OSError as exc:
                raise translate_os_error(exc, file) from exc
        else:
            return  # a branch of the user's own
        for log_file in (admin / "logs" / "HEAD", repository.common / "logs" / branch):
            self._shorten_reflog(log_file)
        yield (
            f"The last commit in the worktree {name} ({head[:12]}) is gone, or what it builds on. "
            f"Its HEAD is at {last[:12]} again; the files stay as they are."
        )

    def _shorten_reflog(self, file: Path) -> None:
        """Drop what names commits that are gone, or that lead to them: ``git gc`` fails there."""
        if not file.exists():
            return
        lines = read_small_text(file, MOST_GIT_BYTES, errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if self._is_followable(line)]
        if len(kept) < len(lines):
            try:
                write_atomically(file, "".join(kept))
            except OSError as exc:
                raise translate_os_error(exc, file) from exc

    def _is_followable(self, line: str) -> bool:
        names = {*line.split(" ")[:2]} - {_NO_COMMIT}
        return all(
            self._looking.commit(name) is not None and self._looking.leads_back(name)
            for name in names
        )

    def _last_known_head(self) -> str | None:
        """Return the commit that was checked out at the last snapshot, else the first one."""
        heads = self._known_heads(self._looking)
        whole = (head for head in heads if not self._quick.missing_of(head))
        return next(whole, None)

    def _known_heads(self, looking: _Looking) -> list[str]:
        """Return what was checked out at the last snapshot, which keeps it, and at first."""
        snapshot = self._repository.tip(WIP + self._worktree.name)
        if snapshot is None or looking.commit(snapshot) is None:
            return [self._worktree.base]
        return [*own_parents(looking.repo, snapshot)[:1], self._worktree.base]


def _is_there_again(repo: pygit2.Repository, path: bytes, name: str) -> bool:
    """Write a file of the worktree's folder as an object; tell whether the one meant is there."""
    if Path(repo.workdir, os.fsdecode(path)).is_file():
        with suppress(*_DAMAGE):
            repo.create_blob_fromworkdir(os.fsdecode(path))
    return name in repo


class _Salvage:
    """Writes commits again without what is gone."""

    def __init__(self, looking: _Looking, stand_in: str | None = None) -> None:
        """Take the reader.

        Args:
            looking: Reads what is there.
            stand_in: What stands for a first parent that is gone.
        """
        self._looking = looking
        self._repo = looking.repo
        self._stand_in = stand_in
        self._sound: dict[str, str | None] = {}
        """What is left of each folder."""

    def rewritten(self, name: str) -> str | None:
        """Return the commit if it is whole, else one with all that is left of it.

        ``None`` where nothing is left.
        """
        commit = self._looking.commit(name)
        if commit is None:
            return None
        if not self._looking.missing_of(name):
            return name
        tree = self._sound_tree(str(commit.tree_id))
        if tree is None:
            return None
        lines = self._message_lines(commit)
        message = "\n".join(lines) + "\n"
        parents = self._sound_parents(commit)
        return str(
            self._repo.create_commit(None, commit.author, commit.committer, message, tree, parents)
        )

    def _sound_parents(self, commit: pygit2.Commit) -> list[str]:
        parents = [str(parent) for parent in commit.parent_ids]
        if parents and self._stand_in is not None and not self._is_whole(parents[0]):
            parents[0] = self._stand_in
        there = [parent for parent in parents if self._is_whole(parent)]
        return list(dict.fromkeys(there))

    def _is_whole(self, name: str) -> bool:
        return name in self._repo and self._looking.leads_back(name)

    def _message_lines(self, commit: pygit2.Commit) -> list[str]:
        """Return the message, without what it says of commits that were kept beside the files."""
        gone = [str(each) for each in commit.parent_ids[1:] if not self._is_whole(str(each))]
        lines = [
            line
            for line in message_of(self._repo, str(commit.id)).splitlines()
            if not any(each in line for each in gone)
        ]
        operation = operation_of(self._repo, str(commit.id)) if gone else None
        if operation is not None:
            lines.remove(operation_line(operation))
        return lines

    def _sound_tree(self, name: str) -> str | None:
        """Return a tree without what is gone of it; ``None`` where all of it is."""
        if name not in self._sound:
            self._sound[name] = self._rewritten_tree(name)
        return self._sound[name]

    def _rewritten_tree(self, name: str) -> str | None:
        tree = self._looking.tree(name)
        if tree is None:
            return None
        entries = [(entry, self._sound_entry(entry)) for entry in tree]
        if all(str(entry.id) == sound for entry, sound in entries):
            return name
        # Written by hand: libgit2 builds trees with UTF-8 names only.
        content = b"".join(
            b"%o %s\0%s" % (entry.filemode, entry.raw_name, bytes.fromhex(sound))
            for entry, sound in entries
            if sound is not None
        )
        return str(self._repo.write(ObjectType.TREE, content))

    def _sound_entry(self, entry: pygit2.Object) -> str | None:
        if entry.filemode == FileMode.TREE:
            return self._sound_tree(str(entry.id))
        is_there = entry.filemode == FileMode.COMMIT or entry.id in self._repo
        return str(entry.id) if is_there else None
