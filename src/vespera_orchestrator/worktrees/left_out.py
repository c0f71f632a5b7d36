"""What a snapshot cannot hold, and what somebody can do about it."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.errors import UnsavedFilesError
from vespera_orchestrator.worktrees.paths import display_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vespera_orchestrator._model import Worktree


class LeftOutKind(StrEnum):
    """Why a path is not in a snapshot."""

    TOO_LARGE = "too large"
    """Untracked, and above ``max_file_bytes``. Landing takes it all the same."""
    NESTED_REPOSITORY = "nested repository"
    SUBMODULE_EDITS = "submodule edits"
    SUBMODULE_COMMIT = "submodule commit"
    UNINITIALISED = "uninitialised submodule"
    """The folder of a submodule that has files in it, and no repository."""
    BROKEN_REPOSITORY = "broken repository"
    UNREADABLE = "unreadable"
    REFUSED = "refused"
    SPECIAL = "special"
    """A pipe, a socket or a device where git has a file. It holds nothing to be saved."""
    STASH = "stash"
    """What ``git stash`` took out of the worktree."""
    BRANCH = "branch"
    """Commits of the worktree's own branch, which is not checked out any more."""
    UNLISTED = "unlisted"
    """A folder that git never lists, because its name is that of a repository's in other letters.
    """
    TOO_LONG = "too long"
    """Below it is a path that is too long for the system to open in one piece."""


_REPOSITORIES: Final = frozenset(
    {
        LeftOutKind.NESTED_REPOSITORY,
        LeftOutKind.SUBMODULE_EDITS,
        LeftOutKind.SUBMODULE_COMMIT,
        LeftOutKind.UNINITIALISED,
        LeftOutKind.BROKEN_REPOSITORY,
        LeftOutKind.UNLISTED,
    }
)
_KEPT_BY_GIT: Final = frozenset({LeftOutKind.STASH, LeftOutKind.BRANCH})
"""The repository has it; it outlives the worktree."""
_HARMLESS: Final = frozenset({LeftOutKind.TOO_LARGE, LeftOutKind.SPECIAL})
_STASH_NUMBER: Final = '"$(($(git rev-list -g refs/stash | grep -n ^{commit} | cut -d: -f1) - 1))"'
"""The number of a stash when the command is run: it changes with every other stash, whose ever."""
_PROBLEMS: Final = {
    LeftOutKind.NESTED_REPOSITORY: (
        "{path} is a git repository of its own; to land its files with the project: "
        "rm -rf {quoted}/.git; to leave it out: move it elsewhere, or name it in .gitignore"
    ),
    LeftOutKind.SUBMODULE_EDITS: (
        "the submodule {path} has changes of its own; commit and push them there, or drop them: "
        "git -C {quoted} stash -u"
    ),
    LeftOutKind.SUBMODULE_COMMIT: (
        "the submodule {path} is at a commit that no remote branch has; push it: "
        "git -C {quoted} push origin HEAD:refs/heads/NAME"
    ),
    LeftOutKind.UNINITIALISED: (
        "{path} is the folder of a submodule without a repository in it, where git sees no files; "
        "move them elsewhere, make the submodule (git submodule update --init), and put them back"
    ),
    LeftOutKind.BROKEN_REPOSITORY: (
        "git cannot read the repository in {path}; mend it, or remove what makes it one: "
        "rm -rf {quoted}/.git"
    ),
    LeftOutKind.UNREADABLE: (
        "{path} cannot be read; make it readable (chmod u+r {quoted}), or delete it"
    ),
    LeftOutKind.STASH: (
        "{path} was set aside here by git stash; to land it: git stash pop {stash}; "
        "if the files have it by now, or to leave it out: git stash drop {stash}"
    ),
    LeftOutKind.BRANCH: (
        "the branch {path} has commits that are not in what is checked out; to land them: "
        "git merge {quoted}; to leave them out: git branch -f {quoted} HEAD"
    ),
    LeftOutKind.UNLISTED: (
        "git never lists {path}, nor what is in it; to land it: rename it; "
        "to leave it out: name it in .gitignore"
    ),
    LeftOutKind.TOO_LONG: (
        "below {path} is a path that is too long for git; "
        "shorten names in it, or move the files further up"
    ),
    LeftOutKind.REFUSED: "git refuses the name {path}; rename it, or name it in .gitignore",
}


@attrs.frozen(kw_only=True)
class LeftOut:
    """A path that a snapshot had to leave out."""

    path: str
    """The path, as text."""
    kind: LeftOutKind
    commit: str = ""
    """Of a stash, its commit."""
    is_kept: bool = False
    """Whether it was saved beside the snapshot, as a repository of its own."""

    @property
    def is_repository(self) -> bool:
        """Whether it is a repository of its own, or kept like one."""
        return self.kind in _REPOSITORIES

    @property
    def is_lost_with_worktree(self) -> bool:
        """Whether nothing but the worktree holds it."""
        return self.keeps_from_landing and not self.is_kept and self.kind not in _KEPT_BY_GIT

    @property
    def keeps_from_landing(self) -> bool:
        """Whether the work is not whole without it."""
        return self.kind not in _HARMLESS

    def __str__(self) -> str:
        quoted = shlex.quote(self.path)
        name = f"{self.path} (kept apart)" if self.is_kept else self.path
        stash = _STASH_NUMBER.format(commit=self.commit)
        return _PROBLEMS[self.kind].format(path=name, quoted=quoted, stash=stash)


def shown_path(path: str) -> str:
    """Return *path*, which may be any bytes, as text on one line."""
    return display_path(path).replace("\n", "\\n")


def refuse_left_out(worktree: Worktree, left_out: Sequence[LeftOut]) -> None:
    """Refuse to call work done that would land without a part of it.

    Raises:
        UnsavedFilesError: It names each path, and what to do.
    """
    lost = [item for item in left_out if item.keeps_from_landing]
    if lost:
        paths = tuple(dict.fromkeys(item.path for item in lost))
        problems = tuple(str(item) for item in lost)
        raise UnsavedFilesError(worktree.name, worktree.path, paths, problems)
