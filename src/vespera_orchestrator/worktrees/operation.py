"""A git operation that an agent has under way in its worktree: found, saved, brought back.

A rebase, a merge, a cherry-pick and the like keep commits and notes in the worktree's admin
directory. They are gone with it, and no branch leads to the commits that were not replayed yet. So
a snapshot that is taken meanwhile has one more parent, the *state commit*: its files are those
notes, and its parents are all the commits that they name.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import FileMode

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import GitOperation
from vespera_orchestrator.errors import OperationUnderWayError
from vespera_orchestrator.home.reading import MOST_STATE_BYTES, read_small_file
from vespera_orchestrator.worktrees import libgit2
from vespera_orchestrator.worktrees.git_command import run_git
from vespera_orchestrator.worktrees.nested import own_parents
from vespera_orchestrator.worktrees.paths import display_path
from vespera_orchestrator.worktrees.ref_files import read_text_if_present
from vespera_orchestrator.worktrees.repository import has_ancestor, message_of
from vespera_orchestrator.worktrees.tree_entries import files_below
from vespera_orchestrator.worktrees.tree_merge import empty_tree, index_entry, tree_with
from vespera_orchestrator.worktrees.tree_survey import read_blob

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vespera_orchestrator._model import Worktree
    from vespera_orchestrator.worktrees.repository import ProjectRepository
    from vespera_orchestrator.worktrees.tree_merge import File

_SIGNS: Final = (
    ("rebase-apply/applying", GitOperation.AM),
    ("rebase-merge", GitOperation.REBASE),
    ("rebase-apply", GitOperation.REBASE),
    ("MERGE_HEAD", GitOperation.MERGE),
    ("CHERRY_PICK_HEAD", GitOperation.CHERRY_PICK),
    ("REVERT_HEAD", GitOperation.REVERT),
    ("BISECT_LOG", GitOperation.BISECT),
)
"""What shows in the admin directory that an operation is under way. The first one counts."""
_SEQUENCE: Final = "sequencer/todo"
"""The commits that are still to be picked or reverted, also between two of them."""
_STATE_FILES: Final = (
    *("HEAD", "ORIG_HEAD", "MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "SQUASH_MSG"),
    *("CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"),
    *("BISECT_LOG", "BISECT_NAMES", "BISECT_TERMS", "BISECT_START", "BISECT_EXPECTED_REV"),
    *("BISECT_ANCESTORS_OK", "BISECT_FIRST_PARENT", "BISECT_RUN"),
)
_STATE_FOLDERS: Final = ("rebase-merge", "rebase-apply", "sequencer", "refs")
_BRANCH_FILES: Final = ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START")
"""They name the branch to go back to."""
_CONFLICTS: Final = "vespera/conflicts"
"""The entries of the index that are in conflict, one a line. Stored."""
_OBJECTS: Final = "vespera/objects"
"""Holds the files of these entries, which nothing else may hold. Stored."""
_BRANCH: Final = "vespera/branch"
"""What the worktree's branch is called, and the commit that it names. Stored."""
_TRAILER: Final = "Operation: "
"""Begins a line of a snapshot's message. Stored."""
_SEARCHED_BYTES: Final = 1 << 16
"""Larger notes are patches, and name no commits that matter."""
_COMMIT_NAME: Final = re.compile(rb"\b[0-9a-f]{7,40}\b")
_CONFLICT_LINE: Final = re.compile(r"(\d+) ([0-9a-f]{40}) ([123])\t(.+)", re.DOTALL)


@attrs.frozen(kw_only=True)
class ConflictEntry:
    """One side of a conflict, as it stands in an index."""

    mode: int
    name: str
    """The object, in hexadecimal."""
    stage: int
    """1 for the base, 2 for ours, 3 for theirs."""
    path: str

    def __str__(self) -> str:
        return f"{self.mode:o} {self.name} {self.stage}\t{self.path}"

    @classmethod
    def parse(cls, line: str) -> ConflictEntry:
        """Read what ``str``, or ``git ls-files --unmerged``, wrote."""
        match = _CONFLICT_LINE.fullmatch(line)
        if match is None:
            raise ValueError(line)
        mode, name, stage, path = match.groups()
        return cls(mode=int(mode, 8), name=name, stage=int(stage), path=path)


@attrs.frozen(kw_only=True)
class UnderWay:
    """An operation that is under way."""

    worktree: str
    """The worktree's name."""
    folder: str
    operation: GitOperation
    conflicts: tuple[ConflictEntry, ...] = ()
    """The entries of the agent's index that are in conflict."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files in conflict, as text."""
        unique = dict.fromkeys(entry.path for entry in self.conflicts)
        return tuple(display_path(path) for path in unique)

    def error(self) -> OperationUnderWayError:
        """Return the error that says what to do about it."""
        return OperationUnderWayError(
            self.worktree,
            self.folder,
            self.operation,
            self.operation.finish,
            self.operation.abandon,
            self.paths,
        )


# --- finding ----------------------------------------------------------------


def find_operation(
    repository: ProjectRepository, worktree: Worktree, *, has_conflicts: bool
) -> UnderWay | None:
    """Return the operation that is under way in the worktree, or ``None``.

    A merge without conflicts left is none: all of it is in the files.

    Args:
        repository: The repository.
        worktree: The worktree.
        has_conflicts: Whether the agent's index has entries in conflict.
    """
    admin = repository.admin(worktree.name)
    operation = operation_in(admin)
    if operation is None and has_conflicts:
        operation = GitOperation.STASH_POP
    is_resolved = operation is GitOperation.MERGE and not has_conflicts
    if operation is None or is_resolved:
        return None
    conflicts = tuple(_conflicts(repository, worktree)) if has_conflicts else ()
    return UnderWay(
        worktree=worktree.name, folder=worktree.path, operation=operation, conflicts=conflicts
    )


def merged_commits(repository: ProjectRepository, worktree: Worktree) -> list[str]:
    """Return the commits that the agent is merging into the worktree."""
    merge_head = repository.admin(worktree.name) / "MERGE_HEAD"
    text = read_text_if_present(merge_head) or ""
    return text.split()


def operation_in(admin: Path) -> GitOperation | None:
    """Return the operation whose notes are in the git directory *admin*, or ``None``."""
    for sign, operation in _SIGNS:
        if admin.joinpath(sign).exists():
            return operation
    try:
        command = read_small_file(admin / _SEQUENCE, MOST_STATE_BYTES).split(maxsplit=1)[0]
    except (OSError, IndexError):
        return None
    return GitOperation.REVERT if command == b"revert" else GitOperation.CHERRY_PICK


def _conflicts(repository: ProjectRepository, worktree: Worktree) -> Iterator[ConflictEntry]:
    try:
        index = repository.open_worktree(worktree.name).index
    except pygit2.GitError:  # a split index: git can read it
        admin = repository.admin(worktree.name)
        place = (f"--git-dir={admin}", f"--work-tree={worktree.path}")
        run = run_git(*place, "ls-files", "--unmerged", "-z", cwd=worktree.path)
        lines = os.fsdecode(run.stdout).split("\0")
        yield from (ConflictEntry.parse(line) for line in lines if line)
        return
    for path, stage, entry in libgit2.conflict_entries(index):
        yield ConflictEntry(mode=entry.mode, name=entry.name, stage=stage, path=path)


# --- saving -----------------------------------------------------------------


def operation_line(operation: GitOperation) -> str:
    """Return the line of a snapshot's message that says which operation was under way."""
    return _TRAILER + operation


def write_state(
    repository: ProjectRepository, repo: pygit2.Repository, worktree: Worktree, under_way: UnderWay
) -> str:
    """Write the state commit and return it. The same state gives the same commit."""
    admin = repository.admin(worktree.name)
    notes = dict(_read_notes(admin))
    files: dict[str, File] = {}
    for path, content in notes.items():
        files[path] = str(repo.create_blob(content)), FileMode.BLOB
    branch_tip = repository.tip(f"refs/heads/{worktree.branch}") or ""
    files[_BRANCH] = _text_blob(repo, f"{worktree.branch}\n{branch_tip}\n")
    if under_way.conflicts:
        lines = "\0".join(str(entry) for entry in under_way.conflicts)
        files[_CONFLICTS] = _text_blob(repo, lines)
    for entry in under_way.conflicts:
        if entry.mode != FileMode.COMMIT:
            files[f"{_OBJECTS}/{entry.name}"] = entry.name, FileMode.BLOB
    tree = tree_with(repo, empty_tree(repo), files)
    if tree is None:  # pragma: no cover - git gives all of its notes plain names
        raise ValueError(f"the names of git's notes in {admin} are not UTF-8")
    parents = _named_commits(repo, [branch_tip.encode(), *notes.values()])
    start = repo[worktree.base].peel(pygit2.Commit)
    who = start.committer  # the same each time
    message = f"{under_way.operation} under way in {worktree.name}\n"
    return str(repo.create_commit(None, who, who, message, tree, parents))


def _text_blob(repo: pygit2.Repository, text: str) -> tuple[str, int]:
    return str(repo.create_blob(os.fsencode(text))), int(FileMode.BLOB)


def _read_notes(admin: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what git has noted about the operation: paths in the admin directory, and content."""
    candidates = [admin / name for name in _STATE_FILES]
    for name in _STATE_FOLDERS:
        candidates += sorted(admin.joinpath(name).rglob("*"))
    for path in candidates:
        try:
            content = read_small_file(path, MOST_STATE_BYTES)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue  # git goes on with it just now
        yield path.relative_to(admin).as_posix(), content


def _named_commits(repo: pygit2.Repository, texts: Iterable[bytes]) -> list[str]:
    """Return the commits that *texts* name, without those that others of them lead to."""
    words: dict[bytes, None] = {}
    for text in texts:
        if len(text) <= _SEARCHED_BYTES:
            words.update(dict.fromkeys(_COMMIT_NAME.findall(text)))
    commits: list[str] = []
    for word in words:
        commit = _commit_named(repo, word.decode("ascii"))
        if commit is None or any(has_ancestor(repo, other, commit) for other in commits):
            continue
        commits = [other for other in commits if not has_ancestor(repo, commit, other)]
        commits.append(commit)
    return commits


def _commit_named(repo: pygit2.Repository, word: str) -> str | None:
    try:
        found = repo[word]
    except (KeyError, ValueError):
        return None
    return str(found.id) if isinstance(found, pygit2.Commit) else None


# --- reading ----------------------------------------------------------------


def operation_of(repo: pygit2.Repository, commit: str) -> GitOperation | None:
    """Return the operation that was under way when the snapshot *commit* was taken, or ``None``."""
    for line in message_of(repo, commit).splitlines():
        if line.startswith(_TRAILER):
            return GitOperation(line.removeprefix(_TRAILER))
    return None


def own_line(repo: pygit2.Repository, snapshot: str) -> str:
    """Return the commit whose history is that of the worktree's files.

    It is the snapshot itself. While an operation was under way it is the HEAD of that moment: what
    git noted beside it may come from anywhere.
    """
    if operation_of(repo, snapshot) is None:
        return snapshot
    return str(repo[snapshot].peel(pygit2.Commit).parent_ids[0])


# --- bringing back ----------------------------------------------------------


@attrs.frozen(kw_only=True)
class SavedState:
    """What a state commit holds."""

    notes: Mapping[str, bytes]
    """Paths in the admin directory, and their content."""
    conflicts: tuple[ConflictEntry, ...]
    branch: str
    """What the worktree's branch was called."""
    branch_tip: str
    """The commit that it named; empty when there was none."""

    @classmethod
    def read(cls, repo: pygit2.Repository, snapshot: str) -> SavedState | None:
        """Read what was under way at *snapshot*; ``None`` when nothing was."""
        if operation_of(repo, snapshot) is None:
            return None
        state = repo[own_parents(repo, snapshot)[-1]]
        files = files_below(state.peel(pygit2.Tree))
        notes = {path: read_blob(repo, str(entry.id), MOST_STATE_BYTES) for path, entry in files}
        branch, tip, _ = os.fsdecode(notes.pop(_BRANCH)).split("\n")
        lines = os.fsdecode(notes.pop(_CONFLICTS, b"")).split("\0")
        return cls(
            notes={path: text for path, text in notes.items() if _is_note(path)},
            conflicts=tuple(ConflictEntry.parse(line) for line in lines if line),
            branch=branch,
            branch_tip=tip,
        )

    def write_notes(self, admin: Path, branch: str) -> None:
        """Write git's notes into the admin directory *admin*. Safe to repeat.

        Args:
            admin: The admin directory.
            branch: What the worktree's branch is called now.
        """
        for path, content in self.notes.items():
            text = self._renamed(content, branch) if path in _BRANCH_FILES else content
            if path == "HEAD" and text.startswith(b"ref:"):
                continue  # the branch is checked out, whatever it is called now
            target = admin / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)

    def _renamed(self, content: bytes, branch: str) -> bytes:
        prefix, name = re.fullmatch(rb"(refs/heads/)?(.*?)\s*", content, re.DOTALL).groups(b"")  # type: ignore[union-attr]
        if name != os.fsencode(self.branch):
            return content
        return prefix + os.fsencode(branch) + b"\n"

    def write_conflicts(self, index: pygit2.Index) -> None:
        """Add the entries in conflict to *index*, in memory."""
        sides: dict[str, dict[int, pygit2.IndexEntry]] = {}
        for entry in self.conflicts:
            side = index_entry(entry.path, (entry.name, entry.mode))
            sides.setdefault(entry.path, {})[entry.stage] = side
        for path, by_stage in sides.items():
            if libgit2.has_entry(index, path):
                index.remove(path)
            index.add_conflict(*(by_stage.get(stage) for stage in (1, 2, 3)))


def _is_note(path: str) -> bool:
    """Tell whether git notes something about an operation there, and nothing else."""
    return path in _STATE_FILES or path.partition("/")[0] in _STATE_FOLDERS
